"""Hessians against the peers: evaluations, time and error at a Rosenbrock function of 50 coordinates.

What bounds them: n*n + n + 1 evaluations of f, of which a compiled one takes 50 ns here and a NumPy one 6 us. The four
corners that statsmodels takes for each pair make twice as many. numdifftools extrapolates over some 15 steps: its error
is that of a scheme of a higher order with a longer step, which takes two or three times the evaluations of 'central'.
"""

import functools

import numpy as np
import pytest
from numba import njit

from numgrad import hessian_vector_product, numerical_hessian

N = 50
X = np.random.default_rng(0).uniform(0.5, 2.0, N)


def numpy_f(x):
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


@njit()
def compiled_f(x):
    total = 0.0
    for i in range(x.size - 1):
        total += 100.0 * (x[i + 1] - x[i] ** 2) ** 2 + (1.0 - x[i]) ** 2
    return total


@njit()
def compiled_gradient(x):
    gradient = np.zeros(x.size)
    for i in range(x.size - 1):
        gradient[i] -= 400.0 * x[i] * (x[i + 1] - x[i] ** 2) + 2.0 * (1.0 - x[i])
        gradient[i + 1] += 200.0 * (x[i + 1] - x[i] ** 2)
    return gradient


def exact_hessian(x):
    diagonal, beside = np.zeros(x.size), -400.0 * x[:-1]
    diagonal[:-1] = 1200.0 * x[:-1] ** 2 - 400.0 * x[1:] + 2.0
    diagonal[1:] += 200.0
    return np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)


EXACT = exact_hessian(X)
# Round-off of some 60 operations a value, over the square of the smallest step, twice eps**(1/4) of 0.5.
BOUND = 60 * 2.0**-52 * numpy_f(X) / (2 * 2.0**-13 * 0.5) ** 2


@functools.cache
def statsmodels_route():
    numdiff = pytest.importorskip("statsmodels.tools.numdiff", reason="statsmodels is not installed")
    return lambda: numdiff.approx_hess3(X, numpy_f)


@functools.cache
def numdifftools_route():
    numdifftools = pytest.importorskip("numdifftools", reason="numdifftools is not installed: pip install '.[bench]'")
    hessian = numdifftools.Hessian(numpy_f)
    return lambda: hessian(X)


def largest_error(hessian):
    return float(np.max(np.abs(hessian - EXACT)))


@functools.cache
def error_of(peer):
    return largest_error(peer())


@pytest.mark.benchmark(group="Hessian, Rosenbrock, n = 50")
@pytest.mark.parametrize("f", [numpy_f, compiled_f], ids=["NumPy f", "compiled f"])
def test_hessian(benchmark, exact, f):
    numerical_hessian(f, X)
    exact(benchmark(numerical_hessian, f, X), EXACT, BOUND)


@pytest.mark.parametrize(
    ("name", "route", "at_least"),
    [("statsmodels.approx_hess3", statsmodels_route, 20), ("numdifftools.Hessian", numdifftools_route, 100)],
)
def test_compiled_hessian_against_the_peers(benchmark, promise, table, name, route, at_least):
    peer = route()
    benchmark.pedantic(peer)  # once: the ratio below takes samples of its own
    promise(
        f"Hessian, compiled f, against {name} of a NumPy f",
        peer,
        lambda: numerical_hessian(compiled_f, X),
        at_least=at_least,
    )
    table("  its largest error, in numgrad's", error_of(peer) / largest_error(numerical_hessian(compiled_f, X)))


def test_hessian_error(benchmark, promise, table):
    # The same formula as theirs on the diagonal, and less round-off beside it; one point of many is one draw.
    ours = numerical_hessian(compiled_f, X)
    table(
        "Hessian: error of statsmodels.approx_hess3, in numgrad's",
        error_of(statsmodels_route()) / largest_error(ours),
        at_least=1,
    )
    peer = numdifftools_route()

    def smooth():
        return numerical_hessian(compiled_f, X, 1.0, scheme="central4")

    benchmark(smooth)
    promise("Hessian by 'central4', h = 1, against numdifftools.Hessian", peer, smooth, at_least=100)
    table("  its largest error, in numgrad's", error_of(peer) / largest_error(smooth()), at_least=1)


def test_hessian_of_a_numpy_f(benchmark, promise, table):
    calls = 0

    def counted(x):
        nonlocal calls
        calls += 1
        return numpy_f(x)

    def bare():
        for _ in range(N * N + N + 1):
            numpy_f(X)

    numerical_hessian(counted, X)
    benchmark(bare)
    table("Hessian, NumPy f, n = 50: evaluations", calls, "", at_most=2551)
    promise(
        "Hessian, NumPy f, against as many bare calls: times as long",
        bare,
        lambda: numerical_hessian(numpy_f, X),
        inverse=True,
        at_most=1.15,
    )


def test_product_with_a_vector(benchmark, promise, exact):
    v = np.random.default_rng(1).standard_normal(N)
    exact(benchmark(hessian_vector_product, compiled_f, X, v), EXACT @ v, 5 * BOUND)
    promise(
        "Hessian times a vector, compiled f, against the Hessian",
        lambda: numerical_hessian(compiled_f, X) @ v,
        lambda: hessian_vector_product(compiled_f, X, v),
        at_least=1,
    )
