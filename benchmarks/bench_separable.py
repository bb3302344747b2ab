"""A sum of a million small elements: its gradient and its sparse Hessian, in evaluations of the same sum.

The chain of Rosenbrock: two coordinates an element, so that a gradient evaluates each element four times and a Hessian
seven times. The evaluation to compare with is compiled and reads the coordinates by the same index.
"""

import numpy as np
import pytest
from numba import njit

from numgrad import SeparableObjective, numerical_gradient, numerical_hessian

N = 1_000_000
RNG = np.random.default_rng(0)
X = RNG.uniform(0.5, 2.0, N) * RNG.choice([-1.0, 1.0], N)
INDEX = np.stack([np.arange(N - 1), np.arange(1, N)], axis=1)


@njit()
def element(z):
    return 100.0 * (z[1] - z[0] ** 2) ** 2 + (1.0 - z[0]) ** 2


@njit()
def bare(x, index):
    total = 0.0
    for e in range(len(index)):
        total += 100.0 * (x[index[e, 1]] - x[index[e, 0]] ** 2) ** 2 + (1.0 - x[index[e, 0]]) ** 2
    return total


CHAIN = SeparableObjective(element, INDEX)


def evaluation():
    return bare(X, INDEX)


@pytest.mark.benchmark(group="a sum of a million elements")
@pytest.mark.parametrize(("workers", "at_most"), [(1, 6.0), (2, 4.5)])
def test_gradient(benchmark, promise, workers, at_most):
    inner = X[1:] - X[:-1] ** 2
    exact = np.zeros(N)
    exact[:-1] += -400.0 * X[:-1] * inner - 2.0 * (1.0 - X[:-1])
    exact[1:] += 200.0 * inner
    found = numerical_gradient(CHAIN, X, workers=workers)
    # h**2 times a sixth of the third derivative 2400 x, and the round-off of some 8 operations of two elements.
    assert np.abs(found - exact).max() < 1e-8 * 400.0 * 2.0 + 16 * 2.0**-52 * 5000.0 / 1e-4
    promise(
        f"gradient of Rosenbrock's chain, n = 1,000,000, {workers} thread(s), in evaluations",
        evaluation,
        lambda: numerical_gradient(CHAIN, X, workers=workers),
        inverse=True,
        at_most=at_most,
    )
    benchmark(numerical_gradient, CHAIN, X, workers=workers)


@pytest.mark.benchmark(group="a sum of a million elements")
def test_hessian(benchmark, promise):
    pytest.importorskip("scipy", reason="the Hessian is a scipy.sparse.csr_array: python -m pip install scipy")
    found = numerical_hessian(CHAIN, X)
    assert found.nnz == 3 * N - 2
    # Steps of 1.2e-4 and more: h**2 times 2400 / 12, and the round-off of some 8 operations of two elements.
    bound = 2400 / 12 * (2.0**-11) ** 2 + 16 * 2.0**-52 * 5000.0 * 2.0**26
    assert np.abs(found.diagonal(1) + 400.0 * X[:-1]).max() < bound
    promise(
        "sparse Hessian of Rosenbrock's chain, n = 1,000,000, in evaluations",
        evaluation,
        lambda: numerical_hessian(CHAIN, X),
        inverse=True,
        at_most=15.0,
    )
    benchmark(numerical_hessian, CHAIN, X)
