"""Jacobians, dense and sparse, against their bare evaluations and against SciPy."""

import numpy as np
import pytest
from numba import njit

from numgrad import numerical_jacobian
from numgrad.sparsity import Pattern, as_pattern

sparse = pytest.importorskip("scipy.sparse")
numdiff = pytest.importorskip("scipy.optimize._numdiff")


@njit(error_model="numpy")
def banded(x):
    """Broyden's banded function."""
    values = np.empty(x.size)
    for i in range(x.size):
        value = x[i] * (2.0 + 5.0 * x[i] * x[i]) + 1.0
        for j in range(max(0, i - 5), min(x.size, i + 2)):
            if j != i:
                value -= x[j] * (1.0 + x[j])
        values[i] = value
    return values


def banded_by_numpy(x):
    sums = np.concatenate([np.zeros(6), np.cumsum(x * (1.0 + x)), np.zeros(1)])
    sums[-1] = sums[-2]
    n = np.arange(x.size)
    return x * (2.0 + 5.0 * x * x) + 1.0 - (sums[n + 7] - sums[n]) + x * (1.0 + x)


@njit(error_model="numpy")
def chain(x):
    """Broyden's tridiagonal function."""
    values = np.empty(x.size)
    for i in range(x.size):
        left = x[i - 1] if i else 0.0
        right = x[i + 1] if i + 1 < x.size else 0.0
        values[i] = (3.0 - 2.0 * x[i]) * x[i] - left - 2.0 * right + 1.0
    return values


def chain_by_numpy(x):
    values = (3.0 - 2.0 * x) * x + 1.0
    values[1:] -= x[:-1]
    values[:-1] -= 2.0 * x[1:]
    return values


def bare(f):
    """Return a compiled loop of so many calls of `f`, each at another point, which uses what they return."""

    @njit(error_model="numpy")
    def calls(x, count):
        total = 0.0
        for k in range(count):
            x[k % x.size] += 1e-4  # else one call would do for all
            total += f(x)[k % x.size]
            x[k % x.size] -= 1e-4
        return total

    return calls


def test_dense_compiled(benchmark, promise, exact):
    n = 50
    x = np.linspace(-1.0, 1.0, n)
    calls = bare(banded)
    found = benchmark(numerical_jacobian, banded, x)
    exact(found, numdiff.approx_derivative(banded_by_numpy, x, method="3-point"), 1e-6)
    promise(
        "dense Jacobian, compiled Broyden banded, n = 50: against 2n bare compiled calls: times as long",
        lambda: calls(x, 2 * n),
        lambda: numerical_jacobian(banded, x),
        inverse=True,
        at_most=1.1,
    )
    promise(
        "  the same, against SciPy's 2-point dense Jacobian of a NumPy f",
        lambda: numdiff.approx_derivative(banded_by_numpy, x, method="2-point"),
        lambda: numerical_jacobian(banded, x),
        at_least=20,
    )
    promise(
        "  the same, of the NumPy f here too",
        lambda: numdiff.approx_derivative(banded_by_numpy, x, method="3-point"),
        lambda: numerical_jacobian(banded_by_numpy, x),
    )


def tridiagonal(n):
    return sparse.diags_array([1.0, 1.0, 1.0], offsets=[-1, 0, 1], shape=(n, n), format="csr", dtype=float)


def test_sparse_compiled(benchmark, promise, exact):
    n = 100_000 if not benchmark.disabled else 1000
    x, pattern = np.linspace(-1.0, 1.0, n), tridiagonal(n)
    calls = bare(chain)
    groups = numdiff.group_columns(pattern)
    found = benchmark(numerical_jacobian, chain, x, sparsity=pattern)
    exact(found.diagonal(), 3.0 - 4.0 * x, 1e-9)

    def evaluations_and_csr():
        calls(x, 6)
        return sparse.csr_array((np.empty(pattern.nnz), pattern.indices.copy(), pattern.indptr.copy()), shape=(n, n))

    promise(
        "sparse Jacobian, compiled, n = 100,000, 3 colours: against 6 bare calls and a csr: times as long",
        evaluations_and_csr,
        lambda: numerical_jacobian(chain, x, sparsity=pattern),
        inverse=True,
        at_most=2,
    )
    promise(
        "  the same, against SciPy's 2-point sparse Jacobian of a NumPy f",
        lambda: numdiff.approx_derivative(chain_by_numpy, x, method="2-point", sparsity=(pattern, groups)),
        lambda: numerical_jacobian(chain, x, sparsity=pattern),
        at_least=10,
    )
    promise(
        "  the same, of the NumPy f here too",
        lambda: numdiff.approx_derivative(chain_by_numpy, x, method="2-point", sparsity=(pattern, groups)),
        lambda: numerical_jacobian(chain_by_numpy, x, sparsity=pattern, scheme="forward"),
    )
    assert as_pattern(pattern, (n, n)).count == 3


def test_colours(benchmark, promise, table):
    side = 500 if not benchmark.disabled else 20
    one, line = sparse.eye_array(side), tridiagonal(side)
    grid = (sparse.kron(one, line) + sparse.kron(line, one)).tocsr()
    pattern = benchmark.pedantic(lambda: Pattern(grid), rounds=3)
    most = numdiff.group_columns(grid).max() + 1
    assert pattern.count <= most
    table("colours of a 5-point Laplacian, n = 250,000; SciPy's are the limit", pattern.count, "", at_most=float(most))
    promise(
        "  times as long as SciPy's group_columns",
        lambda: numdiff.group_columns(grid),
        lambda: Pattern(grid),
        inverse=True,
        at_most=0.5,
    )
