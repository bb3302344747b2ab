"""Schemes against the plain gradient; estimates with error bars against the peers that give them too.

What bounds them: the evaluations, of which a scheme takes as many as it has offsets, and an estimate some 11 to 13 a
coordinate where the plain gradient takes 2. The tableau between them is 45 numbers on the stack. Where f itself is
dear, as 100 sines are, all packages wait for it: scipy evaluates x sin(x) 11 times a coordinate, as we do, and its
price beyond f is all that can be saved.
"""

import numpy as np
import pytest
from bench_peers import compiled_f, jacobi_route
from numba import njit

from numgrad import estimate_gradient, numerical_gradient, schemes


@njit()
def compiled_complex(x):
    total = 0j
    for value in x:
        total += np.sin(value) * value
    return total


X = np.random.default_rng(0).uniform(0.5, 2.0, 100)
EXACT = np.sin(X) + X * np.cos(X)
BOUND = 2.0**-52 * 200 * 10 / 1e-8  # round-off of 100 terms below 2 over the smallest step, that of forward differences


@pytest.mark.benchmark(group="schemes, n = 100, compiled f")
@pytest.mark.parametrize("scheme", [*schemes.SCHEMES, "complex"])
def test_scheme(benchmark, promise, exact, scheme):
    f = compiled_complex if scheme == "complex" else compiled_f

    def gradient():
        return numerical_gradient(f, X, "auto", scheme=scheme)

    gradient()
    exact(benchmark(gradient), EXACT, BOUND)
    promise(
        f"scheme {scheme!r} with automatic steps, against the plain gradient: times as long",
        lambda: numerical_gradient(compiled_f, X),
        gradient,
        inverse=True,
    )


@njit()
def rational_f(x):
    total = 0.0
    for value in x:
        total += value / (1.0 + value * value)
    return total


FUNCTIONS = {
    "sum of x / (1 + x**2)": (rational_f, (1 - X**2) / (1 + X**2) ** 2),
    "sum of x sin(x)": (compiled_f, EXACT),
}


def numdifftools_route(f):
    numdifftools = pytest.importorskip("numdifftools", reason="numdifftools is not installed: pip install '.[bench]'")
    gradient = numdifftools.Gradient(f, full_output=True)
    return lambda: gradient(X)[0]


def scipy_route(f):
    differentiate = pytest.importorskip("scipy.differentiate", reason="scipy is not installed: pip install '.[bench]'")

    def columns(x):  # scipy asks for all points at once, in columns
        points = np.ascontiguousarray(x.reshape(len(x), -1).T)
        return np.array([f(point) for point in points]).reshape(x.shape[1:])

    return lambda: differentiate.jacobian(columns, X).df


ROUTES = {
    "numgrad estimate_gradient": lambda f: lambda: estimate_gradient(f, X).value,
    "scipy.differentiate": scipy_route,
    "numdifftools": numdifftools_route,
    "jacobi": lambda f: jacobi_route(f, X),
}


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("name", ROUTES)
def test_estimate(benchmark, promise, table, exact, name, function):
    benchmark.group = f"estimates with errors, n = 100, compiled {function}"
    f, expected = FUNCTIONS[function]
    route, ours = ROUTES[name](f), ROUTES["numgrad estimate_gradient"](f)
    route()
    exact(benchmark.pedantic(route, rounds=10), expected, BOUND)
    if name == "numgrad estimate_gradient":
        promise(
            f"estimate_gradient, {function}, against the plain gradient: times as long",
            lambda: numerical_gradient(f, X),
            ours,
            inverse=True,
        )
        return
    promise(f"estimate_gradient, {function}, against {name}", route, ours, at_least=5)
    errors = [float(np.max(np.abs(gradient() - expected))) for gradient in (route, ours)]
    table("  its largest error, in numgrad's", errors[0] / errors[1], at_least=1)
