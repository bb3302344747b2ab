"""The same gradient by the peers: scipy.optimize.approx_fprime, numdifftools, jacobi, with their own defaults.

scipy's function takes forward differences, so numgrad's stand beside it. The others do more: steps of their own choice,
extrapolation and error estimates. The table of targets has the errors too.
"""

import numpy as np
import pytest
from numba import njit

from numgrad import numerical_gradient


def numpy_f(x):
    return np.sum(np.sin(x) * x)


@njit()
def compiled_f(x):
    total = 0.0
    for value in x:
        total += np.sin(value) * value
    return total


def scipy_route(f, x):
    optimize = pytest.importorskip("scipy.optimize", reason="scipy is not installed: pip install '.[bench]'")
    return lambda: optimize.approx_fprime(x, f)


def numdifftools_route(f, x):
    numdifftools = pytest.importorskip("numdifftools", reason="numdifftools is not installed: pip install '.[bench]'")
    gradient = numdifftools.Gradient(f)
    return lambda: gradient(x)


def jacobi_route(f, x):
    jacobi = pytest.importorskip("jacobi", reason="jacobi is not installed: pip install '.[bench]'")
    return lambda: jacobi.jacobi(f, x)[0]


ROUTES = {
    "numgrad": lambda f, x: lambda: numerical_gradient(f, x),
    "numgrad, forward": lambda f, x: lambda: numerical_gradient(f, x, "auto", scheme="forward"),
    "scipy.optimize.approx_fprime": scipy_route,
    "numdifftools Gradient": numdifftools_route,
    "jacobi": jacobi_route,
}
FORWARD = {"numgrad, forward", "scipy.optimize.approx_fprime"}


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("f", [numpy_f, compiled_f], ids=["NumPy f", "compiled f"])
def test_peers(benchmark, promise, table, exact, f, route):
    kind = "compiled f" if f is compiled_f else "NumPy f"
    benchmark.group = f"peers, n = 100, {kind}"
    x = np.random.default_rng(0).uniform(0.5, 2.0, 100)
    expected = np.sin(x) + x * np.cos(x)
    gradient = ROUTES[route](f, x)
    gradient()
    # Truncation h**2/6 * |f'''| <= 1e-8 at h = 1e-4, or h/2 |f''| <= 3e-8 at 3e-8; round-off of 100 terms below 2 over
    # the smallest step, 6e-6 or 7e-9.
    bound = 3e-8 + 2.0**-52 * 200 * 10 / (7e-9 if route in FORWARD else 6e-6)
    exact(benchmark.pedantic(gradient, rounds=20), expected, bound)
    if route.startswith("numgrad"):
        return
    ours = "numgrad, forward" if route in FORWARD else "numgrad"
    promise(f"{ours}, n = 100, {kind}, against {route}", gradient, ROUTES[ours](f, x))
    errors = [float(np.max(np.abs(side() - expected))) for side in (gradient, ROUTES[ours](f, x))]
    table("  its largest error, in numgrad's", errors[0] / errors[1])
