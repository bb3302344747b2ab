"""The same gradient by the peers: scipy's approx_derivative, numdifftools, jacobi, with their own defaults.

They do more than numgrad: steps of their own choice (all), extrapolation and error estimates (numdifftools, jacobi).
Compare the errors too, in the column that ``--benchmark-json`` writes as extra_info.
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
    optimize = pytest.importorskip("scipy.optimize._numdiff", reason="scipy is not installed: pip install '.[bench]'")
    return lambda: optimize.approx_derivative(f, x, method="3-point")


def numdifftools_route(f, x):
    numdifftools = pytest.importorskip("numdifftools", reason="numdifftools is not installed: pip install '.[bench]'")
    gradient = numdifftools.Gradient(f)
    return lambda: gradient(x)


def jacobi_route(f, x):
    jacobi = pytest.importorskip("jacobi", reason="jacobi is not installed: pip install '.[bench]'")
    return lambda: jacobi.jacobi(f, x)[0]


ROUTES = {
    "numgrad": lambda f, x: lambda: numerical_gradient(f, x),
    "scipy approx_derivative": scipy_route,
    "numdifftools Gradient": numdifftools_route,
    "jacobi": jacobi_route,
}


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("f", [numpy_f, compiled_f], ids=["NumPy f", "compiled f"])
def test_peers(benchmark, exact, f, route):
    benchmark.group = f"peers, n = 100, {'compiled' if f is compiled_f else 'NumPy'} f"
    x = np.random.default_rng(0).uniform(0.5, 2.0, 100)
    gradient = ROUTES[route](f, x)
    gradient()
    # Truncation h**2/6 * |f'''| <= 1e-8 at h = 1e-4; round-off of 100 terms below 2 over the smallest step, 6e-6.
    exact(benchmark.pedantic(gradient, rounds=20), np.sin(x) + x * np.cos(x), 1e-8 + 2.0**-52 * 200 * 10 / 6e-6)
