"""Sparse Jacobians: colours, patterns, their verification; derivatives along directions."""

import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse
from problems import compiled, compiled_once, needs_jit
from scipy.optimize._numdiff import group_columns

import numgrad
from numgrad import directional_derivative, jacobian_sparsity, numerical_hessian, numerical_jacobian, reference
from numgrad.sparsity import Pattern, _colour, as_pattern

REAL = ["central", "forward", "backward", "central4", "central6"]


def chain(x):
    """Broyden's tridiagonal function."""
    left, right = np.zeros_like(x), np.zeros_like(x)
    left[1:], right[:-1] = x[:-1], x[1:]
    return (3.0 - 2.0 * x) * x - left - 2.0 * right + 1.0


def chain_jacobian(x):
    return np.diag(3.0 - 4.0 * x) - np.eye(len(x), k=-1) - 2.0 * np.eye(len(x), k=1)


def tridiagonal(n):
    return scipy.sparse.diags_array([1.0, 1.0, 1.0], offsets=[-1, 0, 1], shape=(n, n), format="csr", dtype=float)


def laplacian(n):
    one, line = scipy.sparse.eye_array(n), tridiagonal(n)
    return (scipy.sparse.kron(one, line) + scipy.sparse.kron(line, one)).tocsr()


def counted(f):
    def counting(x, *args):
        counting.calls += 1
        return f(x, *args)

    counting.calls = 0
    return counting


X = np.linspace(-1.0, 1.5, 30)


@pytest.mark.parametrize(
    ("scheme", "count"), [("forward", 4), ("central", 6), ("complex", 3), ("central4", 12), ("central6", 18)]
)
def test_a_tridiagonal_function_takes_as_many_evaluations_as_in_finitediff(scheme, count):
    f = counted(chain)
    found = numerical_jacobian(f, X.copy(), "auto", sparsity=tridiagonal(30), scheme=scheme)
    assert isinstance(found, scipy.sparse.csr_array)
    assert np.abs(found.toarray() - chain_jacobian(X)).max() < 2e-7
    # Beside those of the scheme: f(x), which the forward scheme has, and one for the verification. The complex step
    # takes five more: two by which f shows that it reads no other array, and three by which it is analytic.
    f.calls = 0
    numerical_jacobian(f, X.copy(), "auto", sparsity=tridiagonal(30), scheme=scheme)
    assert f.calls - count in ({1} if scheme == "forward" else {2, 4} if scheme != "complex" else {2, 4, 5, 7})


@pytest.mark.parametrize("scheme", REAL)
@pytest.mark.parametrize("h", [1e-4, "auto", np.geomspace(1e-5, 1e-3, 30)], ids=["one", "auto", "each"])
def test_entries_are_those_of_the_dense_jacobian(scheme, h):
    found = numerical_jacobian(chain, X.copy(), h, sparsity=tridiagonal(30), scheme=scheme)
    dense = numerical_jacobian(chain, X.copy(), h, scheme=scheme)
    assert np.abs(found.toarray() - dense).max() < 1e-9  # other points are added up, in f too
    assert np.array_equal(found.indices, tridiagonal(30).indices)


def test_a_diagonal_function_has_the_bits_of_the_plain_loop():
    found = numerical_jacobian(np.sin, X.copy(), sparsity=scipy.sparse.eye_array(30))
    assert found.data.tobytes() == np.diag(reference.numerical_jacobian(np.sin, X.copy())).tobytes()


@pytest.mark.parametrize("scheme", [*REAL, "complex"])
def test_next_to_bounds_each_member_has_its_own_side_and_no_point_lies_outside(scheme):
    low, high = np.full(30, -3.0), np.full(30, 3.0)
    low[::3], high[1::3] = X[::3], X[1::3] + 1e-5 * (np.arange(30)[1::3] % 2)

    def f(x):
        assert np.iscomplexobj(x) or ((low <= x) & (x <= high)).all()
        return chain(x)

    if scheme == "complex":
        low, high = low - 1.0, high + 1.0
    found = numerical_jacobian(f, X.copy(), 1e-3, sparsity=tridiagonal(30), scheme=scheme, bounds=(low, high))
    assert np.abs(found.toarray() - chain_jacobian(X)).max() < (5e-3 if scheme in {"forward", "backward"} else 1e-5)


@pytest.mark.parametrize("kind", [lambda f: f, compiled_once], ids=["Python", "compiled"])
def test_threads_and_processes_have_the_bits_of_one(kind):
    f = kind(chain)
    alone = numerical_jacobian(f, X.copy(), sparsity=tridiagonal(30))
    assert numerical_jacobian(f, X.copy(), sparsity=tridiagonal(30), workers=2).data.tobytes() == alone.data.tobytes()
    assert numerical_jacobian(f, X.copy(), sparsity=tridiagonal(30), workers=map).data.tobytes() == alone.data.tobytes()
    if f is chain:
        twin = numerical_jacobian(compiled_once(chain), X.copy(), sparsity=tridiagonal(30))
        assert twin.data.tobytes() == alone.data.tobytes()
        batches = numerical_jacobian(
            lambda x: np.stack([chain(p) for p in x]), X.copy(), sparsity=tridiagonal(30), vectorized=True
        )
        assert batches.data.tobytes() == alone.data.tobytes()


@pytest.mark.parametrize(
    "make",
    [
        lambda s: s.toarray(),
        lambda s: s.toarray().astype(bool).tolist(),
        lambda s: s.toarray().astype(int).tolist(),
        lambda s: s.tocsc(),
        lambda s: s.tocoo(),
        scipy.sparse.csr_matrix,
        lambda s: np.split(s.indices, s.indptr[1:-1]),
        lambda s: [row[::-1].tolist() for row in np.split(s.indices, s.indptr[1:-1])],
        lambda s: [row.astype(np.uint64 if row[0] % 2 else np.int8) for row in np.split(s.indices, s.indptr[1:-1])],
        lambda s: [130 * row.tolist() for row in np.split(s.indices, s.indptr[1:-1])],
        lambda s: scipy.sparse.csr_array((np.full(s.nnz, np.nan), s.indices, s.indptr), shape=s.shape),
        lambda s: s * (1.0 + 2.0j),
    ],
    ids=[
        "array",
        "list of bool",
        "list of zeros and ones",
        "csc",
        "coo",
        "matrix",
        "index arrays",
        "index lists",
        "kinds of integers",
        "each 130 times",
        "entries of NaN",
        "complex entries",
    ],
)
def test_a_pattern_may_have_any_form(make):
    given = make(tridiagonal(30))
    before = repr(given)
    found = numerical_jacobian(chain, X.copy(), sparsity=given)
    assert np.abs(found.toarray() - chain_jacobian(X)).max() < 1e-9
    assert found.has_sorted_indices
    assert repr(given) == before


@pytest.mark.parametrize(
    ("sparsity", "error", "said"),
    [
        (np.eye(29), ValueError, r"sparsity must have the shape \(f\(x\).size, x.size\), \(30, 30\), got \(29, 29\)"),
        ([[0, 31]] * 30, ValueError, r"columns of sparsity must be in range\(30\), got 0 to 31"),
        ([[0.5]] * 30, TypeError, "as integers, got dtype float64"),
        ("abc", TypeError, "sparsity"),
        ([None] * 30, TypeError, "as integers, got dtype object"),
        ([[True], [True, False]], ValueError, "sparsity as a list of bool must have rows of one length"),
        (3.0, TypeError, "sparsity must be a boolean array, a scipy sparse array or a list of columns a row"),
        ([[True, False], []] * 15, TypeError, "as integers, got dtype bool"),
        ([np.array([2**64 - 1], np.uint64), []] * 15, ValueError, f"range\\(30\\), got {2**64 - 1} to {2**64 - 1}"),
        ([np.array([3], np.uint64), [-2]] * 15, ValueError, r"range\(30\), got -2 to 3"),
        ([], ValueError, r"sparsity must have the shape \(f\(x\).size, x.size\), \(30, 30\), got \(0, 30\)"),
    ],
)
def test_what_is_no_pattern_is_named(sparsity, error, said):
    with pytest.raises(error, match=said):
        numerical_jacobian(chain, X.copy(), sparsity=sparsity)


def test_the_result_and_the_pattern_share_no_memory():
    given = tridiagonal(30)
    first = numerical_jacobian(chain, X.copy(), sparsity=given)
    first.indices[:] = 0
    first.indptr[:] = 0
    assert np.array_equal(given.indices, tridiagonal(30).indices)
    second = numerical_jacobian(chain, X.copy(), sparsity=given)
    assert np.abs(second.toarray() - chain_jacobian(X)).max() < 1e-9


def test_there_is_no_place_to_write_to():
    with pytest.raises(ValueError, match="out must be None with a sparsity"):
        numerical_jacobian(chain, X.copy(), sparsity=tridiagonal(30), out=np.empty((30, 30)))


def test_a_list_of_no_rows_is_the_pattern_of_no_outputs():
    for given in ([], ()):
        assert numerical_jacobian(lambda x: np.empty(0), X.copy(), sparsity=given).shape == (0, 30)


def test_complex_outputs_and_empty_patterns():
    found = numerical_jacobian(lambda x: np.exp(1j * x), X.copy(), sparsity=np.eye(30))
    assert found.dtype == np.complex128
    assert np.abs(found.diagonal() - 1j * np.exp(1j * X)).max() < 1e-8
    for shape in [(0, 3), (3, 0), (0, 0), (2, 3)]:
        rows, n = shape
        found = numerical_jacobian(lambda x, rows=rows: np.ones(rows), np.ones(n), sparsity=np.zeros(shape))
        assert found.shape == shape
        assert found.nnz == 0


def test_narrow_memory_divides_by_what_it_stores():
    x = np.linspace(1.0, 2.0, 6, dtype=np.float32)
    found = numerical_jacobian(lambda x: 3.0 * x.astype(float), x, 1e-3, sparsity=np.eye(6))
    assert np.abs(found.diagonal() - 3.0).max() < 1e-12


def is_valid(pattern, given):
    for row in np.split(given.indices, given.indptr[1:-1]):
        if len(set(pattern.colours[row])) < len(row):
            return False
    return pattern.count == pattern.colours.max(initial=-1) + 1


@pytest.mark.parametrize("density", [0.0, 0.02, 0.1, 0.5, 1.0])
def test_colours_share_no_row_and_are_no_more_than_in_scipy(density):
    for seed in range(5):
        given = scipy.sparse.random_array((40, 70), density=density, rng=np.random.default_rng(seed), format="csr")
        pattern = Pattern(given)
        assert is_valid(pattern, given)
        assert pattern.count <= 1.1 * max(group_columns(given, order=o).max() + 1 for o in range(3))
        assert sorted(pattern.members) == list(range(70))


def test_colours_of_known_patterns():
    assert Pattern(tridiagonal(30)).count == 3
    assert Pattern(scipy.sparse.eye_array(9).tocsr()).count == 1
    assert Pattern(scipy.sparse.csr_array(np.ones((2, 130)))).count == 130  # more than the bits of one pass
    grid = laplacian(30)
    pattern = Pattern(grid)
    assert is_valid(pattern, grid)
    assert pattern.count <= group_columns(grid).max() + 1


def test_the_colours_of_a_pattern_are_found_once():
    given = tridiagonal(30)
    assert as_pattern(given, (30, 30)) is as_pattern(tridiagonal(30), (30, 30))
    assert as_pattern(given, (30, 30)) is not as_pattern(np.eye(30), (30, 30))
    for n in range(2, 9):
        as_pattern(np.eye(n), (n, n))
    assert as_pattern(given, (30, 30)).count == 3
    given.indices[0] = 5  # it was changed in place: the kept one is of what it was
    assert 5 in as_pattern(given, (30, 30)).columns[:2]


def test_the_memory_that_a_pattern_keeps_is_lent_to_one_at_a_time():
    given, inner = tridiagonal(30), []

    def f(x):
        if len(inner) < 4:  # at x, and while the memory of the outer call is in use
            inner.append(None)
            inner[-1] = numerical_jacobian(chain, X.copy(), sparsity=given)
        return chain(x)

    expected = numerical_jacobian(chain, X.copy(), sparsity=given)
    before = expected.data.tobytes()
    assert numerical_jacobian(f, X.copy(), sparsity=given).data.tobytes() == before
    assert [found.data.tobytes() for found in inner] == 4 * [before]
    other = numerical_jacobian(lambda x: 1j * chain(x), X.copy(), sparsity=given)  # takes more of it
    assert np.abs(other.toarray() - 1j * expected.toarray()).max() < 1e-9
    with ThreadPoolExecutor(4) as pool:
        many = pool.map(lambda _: numerical_jacobian(chain, X.copy(), sparsity=given).data.tobytes(), range(40))
        assert set(many) == {before}
    assert expected.data.tobytes() == before


CURVED = {
    "chain": chain,
    "exponential": lambda x: np.exp(x) + np.roll(x, 1) * np.roll(x, -1),
    "kinks": lambda x: np.abs(x - np.round(x, 3)) + np.roll(x, 1) + np.roll(x, -1),
}


@pytest.mark.parametrize("name", ["chain", "exponential"])
@pytest.mark.parametrize("scheme", ["central", "forward", "complex"])
def test_a_missing_entry_is_found(name, scheme):
    f, full = CURVED[name], tridiagonal(30).toarray() + np.eye(30, k=29) + np.eye(30, k=-29)
    rng = np.random.default_rng(3)
    for _ in range(20):
        i = rng.integers(1, 29)
        j = i + rng.choice([-1, 1])
        small = full.copy()
        small[i, j] = 0.0
        said = f"sparsity is too small: output {i} changes with coordinate {j}, for which it has no entry"
        with pytest.raises(ValueError, match=said):
            numerical_jacobian(f, X + 0.001, "auto", sparsity=small, scheme=scheme)


@pytest.mark.parametrize("kind", [lambda f: f, compiled_once], ids=["Python", "compiled"])
def test_a_missing_entry_is_found_without_a_member_of_the_row(kind):
    with pytest.raises(ValueError, match=r"output 3 changes with coordinate [234]"):
        numerical_jacobian(
            kind(chain), X.copy(), sparsity=[[] if i == 3 else [max(i - 1, 0), i, min(i + 1, 29)] for i in range(30)]
        )


FAR_APART = [
    *((large, {}) for large in (1e3, 1e8, 1e11, 1e300)),
    (1e8, {"h": "auto", "scheme": "forward"}),
    *((1e10, {"h": "auto", "scheme": name}) for name in ("central", "central4", "complex")),
    (1e12, {"h": "auto", "bounds": (0.5, 1.0)}),
]


def of_far_magnitudes(x, large):
    return np.array([large * x[0], x[1] + x[2], large * x[3] ** 2])


@pytest.mark.parametrize("kind", [lambda f: f, compiled_once], ids=["Python", "compiled"])
@pytest.mark.parametrize(("large", "options"), FAR_APART)
def test_a_missing_entry_is_found_whatever_other_outputs_are(kind, large, options):
    f = kind(of_far_magnitudes)
    small = [[0], [1], [3]]  # 1 and 2 have one colour: their sum would be the entry
    with pytest.raises(ValueError, match="sparsity is too small: output 1 changes with coordinate 2"):
        numerical_jacobian(f, np.ones(4), args=(large,), sparsity=small, **options)
    numerical_jacobian(f, np.ones(4), args=(large,), sparsity=[[0], [1, 2], [3]], **options)


@pytest.mark.parametrize("options", [{}, {"h": "auto"}, {"h": "auto", "scheme": "forward"}], ids=str)
def test_missing_entries_of_rows_of_mixed_units_are_found_and_no_others(options):
    rng, tried = np.random.default_rng(8), 0
    for _ in range(60):
        rows, n = rng.integers(2, 25, 2)
        pattern = rng.random((rows, n)) < 0.25
        weights = rng.normal(size=(rows, n)) * pattern * 10.0 ** rng.uniform(-8, 8, (rows, 1))
        x = rng.uniform(0.5, 2.0, n) * rng.choice([-1.0, 1.0], n)

        def f(x, weights=weights):
            return weights @ x + 0.1 * np.abs(weights) @ x**2

        numerical_jacobian(f, x, sparsity=pattern, **options)
        shares = np.abs(weights * (1.0 + 0.2 * np.sign(weights) * x))
        shares /= shares.sum(axis=1, keepdims=True) + 1e-300
        for i, j in np.argwhere(shares > 0.02)[:3]:  # what makes less than a thousandth may be missed, beside others
            small, tried = pattern.copy(), tried + 1
            small[i, j] = False
            with pytest.raises(ValueError, match=f"output {i} changes with coordinate {j}, "):
                numerical_jacobian(f, x, sparsity=small, **options)
    assert tried > 100


@pytest.mark.filterwarnings("ignore:about [0-2] digits of the Jacobian are right")  # they are: 1e-3 to 0.2 are wrong
@pytest.mark.parametrize("unit", [1.0, 1e6, 1e12])
@pytest.mark.parametrize("options", [{}, {"h": "auto"}, {"h": "auto", "scheme": "forward"}], ids=str)
def test_the_rounding_of_large_intermediates_is_no_entry(unit, options):
    n = 12
    rng = np.random.default_rng(1)
    q, units = np.linalg.qr(rng.normal(size=(n, n)))[0], 10.0 ** rng.uniform(-3, 3, n)
    cases = {
        "of the next one": lambda x: unit * np.roll(x, 1) - (unit * np.roll(x, 1) + x**2),
        "of a sum": lambda x: (units * x - unit * x.sum()) + unit * x.sum(),
        "of products with the first one": lambda x: unit * x[0] ** 3 - (unit * x[0] ** 3 - units * x),
        "of a transform": lambda x: np.fft.irfft(np.fft.rfft(units * x**2), n),
        "of a rotation": lambda x: q.T @ (q @ (units * np.sin(x))),
        "of a solution": lambda x: np.linalg.solve(q + 2 * np.eye(n), (q + 2 * np.eye(n)) @ (units * x)),
        "beside the largest one": lambda x: np.append((unit * x[1:] - (unit + 1.0) * x[1:]), unit * x[0]),
    }
    for name, f in cases.items():
        x = rng.normal(size=n)
        pattern = np.roll(np.eye(n), 1, axis=1) if name.startswith("beside") else np.eye(n)
        found = numerical_jacobian(f, x, sparsity=pattern, **options)
        assert found.shape == (n, n), name


def test_a_pattern_that_was_found_is_not_advised_to_be_sought():
    with pytest.raises(ValueError, match=r"sparsity is too small.*take the union of the patterns of several points"):
        jacobian_sparsity(lambda x: np.exp(np.clip(3e6 * (x - 1.0), -1.0, 1.0)), np.ones(2))


@pytest.mark.parametrize("n", [2, 3, 10, 77])
def test_columns_of_one_colour_move_by_other_lengths(n):
    pattern = as_pattern(np.eye(n), (n, n))
    lengths = np.sort(np.abs(pattern.direction))
    assert lengths[0] >= 0.25
    assert lengths[-1] <= 1.0
    assert np.diff(lengths).min() > 0.1 / n
    assert n < 10 or abs(pattern.direction.sum()) > 0.1  # an output that sums them up changes


def test_no_wolf_is_cried():
    rng, n = np.random.default_rng(0), 30
    wave = np.fft.fft(np.eye(n))
    cases = {
        "strongly curved": lambda x: np.exp(1e3 * x) + np.sin(1e4 * x),
        "kinks": lambda x: np.abs(x - X) + np.maximum(x, X) ** 2,
        "steps": lambda x: np.floor(1e5 * x),
        "noise": lambda x: x + 1e-3 * rng.normal(size=n),
        "noise of a part": lambda x: x + 1e-6 * rng.normal(size=n) * (np.arange(n) == 4),
        "a transform there and back": lambda x: np.fft.irfft(np.fft.rfft(x**2, n), n),
        "a product there and back": lambda x: (x @ wave @ np.linalg.inv(wave)).real ** 3,
        "not defined next to x": lambda x: np.where(np.arange(n) % 2, np.sqrt(x - X), x),
        "infinite": lambda x: np.where(np.arange(n) == 3, np.inf, x),
        "large": lambda x: 1e12 + x,
        "float32": lambda x: (x**2).astype(np.float32),
    }
    for name, f in cases.items():
        with np.errstate(all="ignore"):
            found = numerical_jacobian(f, X.copy(), sparsity=np.eye(n))
        assert found.shape == (n, n), name


def test_a_pattern_is_found():
    f = counted(chain)
    x = X.copy()
    found = jacobian_sparsity(f, x)
    assert isinstance(found, scipy.sparse.csr_array)
    assert found.dtype == np.bool_
    assert np.array_equal(found.toarray(), tridiagonal(30).toarray() > 0)
    assert f.calls <= 30 + 6 + 4
    assert x.tobytes() == X.tobytes()
    assert np.array_equal(jacobian_sparsity(compiled_once(chain), X).toarray(), found.toarray())


def test_a_pattern_is_found_where_derivatives_vanish_and_within_bounds():
    def f(x):
        assert (x >= 0.0).all()
        return np.array([x[0] * x[1], x[1] ** 2, x[2] + x[0] ** 3])

    found = jacobian_sparsity(f, np.array([0.0, 0.0, 1.0]), bounds=(0.0, 2.0)).toarray()
    assert found.tolist() == [[True, True, False], [False, True, False], [True, False, True]]


def test_scipy_is_imported_only_where_a_pattern_is_given():
    code = (
        "import sys, numpy, numgrad; numgrad.numerical_jacobian(numpy.sin, numpy.ones(3)); "
        "print('scipy' in sys.modules, 'numba' in sys.modules); sys.modules['scipy.sparse'] = None\n"
        "try: numgrad.numerical_jacobian(numpy.sin, numpy.ones(3), sparsity=numpy.eye(3))\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["False False", "a sparsity needs scipy: python -m pip install scipy"]


@pytest.mark.parametrize("scheme", [*REAL, "complex"])
@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_directions_of_any_length(scheme, size):
    v = size * np.linspace(-1.0, 1.0, 30)
    expected = chain_jacobian(X) @ v
    for f in (chain, compiled_once(chain)) if size == 1.0 else (chain,):
        found = directional_derivative(f, X.copy(), v, scheme=scheme)
        bound = 3e-4 if scheme in {"forward", "backward"} else 1e-8
        assert np.abs(found - expected).max() <= bound * size


def test_a_direction_takes_two_evaluations_and_a_stack_two_each():
    f = counted(chain)
    x, stack = X.copy(), np.random.default_rng(0).normal(size=(4, 30))
    found = directional_derivative(f, x, stack)
    assert f.calls == 9
    assert found.shape == (4, 30)
    assert np.abs(found - stack @ chain_jacobian(X).T).max() < 1e-8
    f.calls = 0
    assert directional_derivative(f, x, stack[2]).tobytes() == found[2].tobytes()
    assert f.calls == 3
    assert x.tobytes() == X.tobytes()
    assert directional_derivative(chain, X.copy(), stack, workers=2).tobytes() == found.tobytes()
    assert directional_derivative(chain, X.copy(), stack, workers=map).tobytes() == found.tobytes()


def test_a_direction_of_one_output_and_of_zeros():
    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    for f in (lambda x: np.sum(x * x), compiled(lambda x: np.sum(x * x))):
        found = directional_derivative(f, x.copy(), np.ones((2, 2)))
        assert abs(found - 20.0) < 1e-9
        assert math.copysign(1.0, directional_derivative(f, x.copy(), np.zeros((2, 2)))) == 1.0
        both = directional_derivative(f, x.copy(), np.array([np.zeros((2, 2)), np.ones((2, 2))]))
        assert both.tolist() == [0.0, found]
    assert directional_derivative(lambda x: x * x, np.empty(0), np.empty(0)).shape == (0,)
    assert directional_derivative(lambda x: x * x, 3.0, 2.0) == pytest.approx(12.0)
    assert directional_derivative(lambda x: x * x, x.copy(), 1e-310 * x).max() >= 0.0


@pytest.mark.parametrize("room", [1e-2, 1e-4, 1e-6, 1e-9])
def test_a_pattern_is_found_however_near_the_bounds_are(room):
    x = np.array([0.5, -70.0, 0.0, 3.0])

    def f(x):
        return np.array([x[0] * x[1], x[2] + np.sin(x[3]), x[1], 1.0])

    expected = [[1, 1, 0, 0], [0, 0, 1, 1], [0, 1, 0, 0], [0, 0, 0, 0]]
    for low, high in (
        (x - room, x + room),
        (x, x + room),
        (x - np.array([room, 1, 1, room]), x + np.array([0, 1, 1, room])),
    ):
        assert jacobian_sparsity(f, x, bounds=(low, high)).toarray().tolist() == np.array(expected, bool).tolist()


@pytest.mark.filterwarnings("ignore:all differences", "ignore:the step")
@pytest.mark.parametrize("seed", range(5))
def test_no_point_of_float32_is_rounded_beyond_bounds(seed):
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=20) * 10.0 ** rng.integers(-6, 4, 20)).astype(np.float32)
    room = np.abs(x) * 10.0 ** rng.uniform(-5, 0, 20)
    low, high = x - room * rng.choice([0.0, 1e-3, 1.0], 20), x + room

    def f(v):
        assert (low <= v).all()
        assert (v <= high).all()
        return v.astype(np.float64) ** 2

    assert np.array_equal(jacobian_sparsity(f, x, bounds=(low, high)).toarray(), np.eye(20, dtype=bool))
    assert not numerical_jacobian(lambda v: 0.0 * f(v), x.copy(), bounds=(low, high)).any()


@pytest.mark.parametrize(
    ("pattern", "error"),
    [(scipy.sparse.coo_array(np.ones(3)), ValueError), ("abc", TypeError), ([[[0], [1, 2]], [0], [1]], ValueError)],
    ids=["one axis", "text", "ragged"],
)
def test_what_is_no_pattern_is_named_in_one_line(pattern, error):
    with pytest.raises(error, match=r"^sparsity [^\n]*$"):
        numerical_jacobian(chain, np.ones(3), sparsity=pattern)


def test_objectives_of_one_number_have_derivatives_along_directions():
    from numgrad import LayerObjective, SeparableObjective, simpleNet

    W, V = np.array([[0.3, -0.2], [1.0, 0.4]]), np.array([[1.0, -1.0], [0.5, 2.0]])
    layer = LayerObjective(np.array([[1.0, 2.0], [0.0, -1.0]]), lambda z: np.sum(z**2, axis=1))
    x = layer.x
    assert directional_derivative(layer, W, V) == pytest.approx(np.sum(x.T @ (2 * x @ W) / 2 * V), rel=1e-7)
    chained = SeparableObjective(compiled(lambda z: z[0] * z[1]), [[0, 1], [1, 2]])
    point, v = np.array([1.0, 2.0, 3.0]), np.array([1.0, 0.0, -1.0])
    assert directional_derivative(chained, point, v) == pytest.approx(0.0, abs=1e-9)
    assert directional_derivative(chained, point, [v, 2 * v + 1]) == pytest.approx([0.0, 8.0], abs=1e-8)
    net = simpleNet(rng=0)
    loss = net.objective(np.array([0.6, 0.9]), 2)
    assert directional_derivative(loss, net.W, np.ones((2, 3))) == pytest.approx(0.0, abs=1e-9)  # all scores alike


def test_a_direction_within_bounds_turns_one_sided():
    def f(x):
        assert (x >= 1.0).all()
        assert (x <= 2.0).all()
        return x**3

    x = np.array([1.0, 1.5, 2.0])
    for v in ([1.0, 1.0, -1.0], [-1.0, 2.0, 0.5], [0.0, 1.0, 0.0]):
        found = directional_derivative(f, x.copy(), v, bounds=(1.0, 2.0))
        assert np.abs(found - 3 * x**2 * v).max() < 1e-6
    with pytest.raises(ValueError, match="no room"):
        directional_derivative(f, x.copy(), [1.0, 0.0, 1.0], bounds=(1.0, 2.0))


def test_steps_of_directions_follow_those_of_the_coordinates():
    seen = []

    def f(x):
        seen.append(x.copy())
        return x.sum()

    directional_derivative(f, np.ones(3), [1.0, 2.0, 0.0], np.array([1e-2, 1e-3, 1e-9]))
    assert np.abs(seen[1] - [1.0005, 1.001, 1.0]).max() < 1e-15
    seen.clear()
    directional_derivative(f, np.ones(3), [1e5, 0.0, 0.0], "auto")
    # f(x) = 3 may be a float32, so that another value is looked at first.
    assert abs(seen[2][0] - 1.0 - np.cbrt(2.0**-52)) < 1e-15


@pytest.mark.parametrize("scheme", REAL)
@pytest.mark.parametrize(("kind", "error"), [(np.float16, 0.02), (np.float32, 1e-3), (np.float64, 1e-7)])
def test_automatic_steps_of_directions_are_not_warned_of(scheme, kind, error):
    def f(x):
        return x.astype(np.float64) ** 2

    x = np.array([5.0, -7.0, 12.0], kind)  # warnings are errors here
    for options in ({}, {"bounds": (-20.0, 20.0)}):
        for v in ([1.0, 0.0, 0.0], [1.0, -2.0, 1.0]):
            found = directional_derivative(f, x.copy(), v, "auto", scheme=scheme, **options)
            assert found == pytest.approx(2.0 * x.astype(float) * v, rel=5 * error, abs=5 * error)


def test_a_coordinate_of_few_digits_that_an_automatic_step_hardly_moves_is_warned_of():
    x = np.array([0.7, 12.0], np.float16)
    with pytest.warns(RuntimeWarning, match="; rescale x$"):
        directional_derivative(lambda x: x.astype(float), x, [1.0, 0.5], "auto")


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_a_direction_that_loses_a_thousandth_of_its_step_is_warned_of(kind):
    x = np.array([3.0, 3.0], kind)
    spacing = float(np.spacing(x[0]))
    for h, options in ((8.0 * spacing, {}), ("auto", {"bounds": (x - 8.0 * spacing, x + 8.0 * spacing)})):
        cure = "rescale x" if h == "auto" else "pass h='auto', or rescale x"
        with pytest.warns(RuntimeWarning, match="is rounded, near 3; |is lost in round-off there; ") as caught:
            directional_derivative(lambda x: x.astype(float), x, [1.0, 1.0], h, **options)
        assert [str(warning.message).rpartition("; ")[2] for warning in caught] == [cure]


@pytest.mark.parametrize(
    ("v", "said"),
    [
        (np.ones(2), r"v must have the shape of x, \(3,\), or \(k, \*x.shape\), got \(2,\)"),
        (np.ones((1, 1, 3)), "v must have the shape of x"),
        ([1.0, np.nan, 0.0], "v must be finite"),
    ],
)
def test_what_is_no_direction_is_named(v, said):
    with pytest.raises(ValueError, match=said):
        directional_derivative(chain, np.ones(3), v)


def never(x):
    raise AssertionError("f was evaluated")


@pytest.mark.parametrize(
    "options", [{"bounds": (5.0, 6.0)}, {"bounds": (0.0, 1.0)}, {"h": -1.0}, {"workers": 0}], ids=str
)
def test_arguments_of_a_direction_are_checked_before_anything_is_evaluated(options):
    with pytest.raises(ValueError, match=r"must|no room along v"):
        directional_derivative(never, np.array([0.0, 1.0]), [1.0, 1.0], **options)
    with pytest.raises(ValueError, match="v must"):
        directional_derivative(never, np.ones(2), [1.0])


def test_where_no_direction_leads_the_bounds_are_named():
    said = r"no room along v: coordinate 0 is 0\.0, in 0\.0 to 5\.0; coordinate 1 is 1\.0, in -2\.0 to 1\.0$"
    for v in ([1.0, 1.0, 0.0], [[0.0, 1.0, 0.0], [-2.0, -3.0, 1e-9]]):
        with pytest.raises(ValueError, match=said):
            directional_derivative(never, np.array([0.0, 1.0, 3.0]), v, bounds=([0.0, -2.0, -9.0], [5.0, 1.0, 9.0]))
    with pytest.raises(ValueError, match=r"along v: coordinate 1 is 1\.0, in 1\.0 to 1\.0$"):
        directional_derivative(never, np.ones(2), [0.0, 1.0], bounds=([0.0, 1.0], 1.0))
    corner = np.array([0.0, 1.0])  # along an edge there is room
    assert directional_derivative(np.sum, corner, [2.0, -1.0], bounds=(0.0, 1.0)) == pytest.approx(1.0)
    assert directional_derivative(np.sum, corner, [2.0, 0.0], bounds=(0.0, 1.0)) == pytest.approx(2.0)


def test_a_step_lost_in_every_coordinate_of_a_direction_is_warned_of():
    with pytest.warns(RuntimeWarning, match="the step"):
        directional_derivative(np.sum, np.full(3, 1e14), np.ones(3))


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_a_direction_of_which_narrow_memory_loses_a_thousandth_is_warned_of(kind):
    with pytest.warns(RuntimeWarning, match="the step"):
        directional_derivative(lambda x: float(np.sum(x * x)), np.array([1.0, 2.0], kind), [1.0, 1.0])
    if kind is np.float32:
        wide = np.array([1.0, 2.0], kind)
        assert directional_derivative(lambda x: float(np.sum(x.astype(float) ** 2)), wide, [1, 1], 2.0**-4) == 6.0


def test_the_kernels_run_as_plain_python_too():
    given = tridiagonal(30).tocsc()
    colours = np.full(30, -1)
    count = _colour(given.indptr, given.indices, np.arange(30), np.zeros(30, np.int64), colours)
    assert (count, colours.tolist()) == (3, 10 * [0, 1, 2])
    assert numgrad.jacobian_sparsity is jacobian_sparsity


@pytest.mark.parametrize("x", [np.array([3, 4]), np.float32([[1.0, 2.0]]).astype(">i4"), [1.0, 2.0]], ids=str)
def test_a_pattern_without_entries_of_a_copy_that_f_does_not_read_warns(x):
    with pytest.warns(RuntimeWarning, match="all differences are exactly zero: f may ignore its argument"):
        assert jacobian_sparsity(lambda _: np.ravel(x) ** 2.0, x).nnz == 0
    assert jacobian_sparsity(lambda x: np.ravel(x) ** 2.0, x).nnz == 2
    assert jacobian_sparsity(lambda x: np.ravel(x)[:0], x).shape == (0, 2)
    assert jacobian_sparsity(lambda x: np.ones(3), np.ones(2)).nnz == 0


@pytest.mark.parametrize("h", [1e-4, "auto"])
@pytest.mark.parametrize("form", [np.sum, np.prod, lambda x: x[0] - x[1], lambda x: x[0] / x[1], lambda x: x[-1]])
@pytest.mark.parametrize("n", [2, 3, 4, 7])
def test_an_output_without_entries_is_found_whatever_it_makes_of_x(n, form, h):
    x = np.linspace(3.0, 7.0, n)
    for pattern in (np.eye(n + 1, n), np.tri(n + 1, n, 0) * (np.arange(n + 1) < n)[:, np.newaxis]):
        with pytest.raises(ValueError, match=f"sparsity is too small: output {n} changes with"):
            numerical_jacobian(lambda x: np.append(x, form(x)), x, h, sparsity=pattern != 0.0)


def test_a_missing_entry_that_longer_steps_show_is_found():
    def f(x):
        return 1.0 + np.array([x[0] + x[1], x[1]])

    for tiny in (1e-2, 1e-9, 1e-14):
        with pytest.raises(ValueError, match="sparsity is too small: output 0 changes with coordinate 1"):
            numerical_jacobian(f, np.array([tiny, 2.0 * tiny]), "auto", sparsity=np.eye(2) != 0.0)


@needs_jit
def test_a_compiled_f_of_a_number_has_a_pattern():
    from numba import njit

    f = njit()(lambda x: np.array([x.sum() * 2.0, x.sum() ** 2]))
    found = numerical_jacobian(f, np.array(1.5), sparsity=np.ones((2, 1)) != 0.0)
    np.testing.assert_allclose(found.toarray(), [[2.0], [3.0]], rtol=1e-9)
    assert jacobian_sparsity(f, np.array(1.5)).toarray().tolist() == [[True], [True]]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", [np.float64, np.float32, np.longdouble])
@pytest.mark.parametrize("size", [1e-12, 1e-6, 1.0, 3e5, 1e12])
@pytest.mark.parametrize("bounds", [None, (0.0, np.inf)], ids=["free", "bounded"])
def test_a_pattern_is_found_near_x_whatever_its_unit(size, kind, bounds):
    x = (size * np.arange(1.0, 7.0)).astype(kind)

    def f(y):
        assert np.all(np.abs(y - x) <= 1.001e-3 * x)  # an f of concentrations is not defined far away
        return np.log(y) + np.roll(y, 1) / kind(size)

    pattern = jacobian_sparsity(f, x, bounds=bounds).toarray()
    assert np.array_equal(pattern, np.eye(6, dtype=bool) | np.roll(np.eye(6, dtype=bool), 1, axis=0))


@pytest.mark.parametrize("x", [[1e3, 0.9], [1.0, 1e-3], [5e5, 300.0], [2e-3, 4.0]])
@pytest.mark.parametrize("h", ["auto", 1e-4])
def test_a_missing_entry_of_another_unit_is_found(x, h):
    """It makes half of its row, though but a thousandth of what its row changes by."""
    pattern = np.array([[1, 0], [1, 1]]) if x[0] > x[1] else np.array([[0, 1], [1, 1]])
    with pytest.raises(ValueError, match="sparsity is too small: output 0 changes with coordinate"):
        numerical_jacobian(lambda x: np.array([x[0] + x[1], x[1] * x[0] + 3.0]), np.array(x), h, sparsity=pattern)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_pattern_is_found_in_narrow_points(dtype):
    rng = np.random.default_rng(0)
    for _ in range(40):
        x = rng.uniform(0.5, 2.0, 4).astype(dtype)
        assert jacobian_sparsity(lambda x: np.full(3, np.sum(x.astype(float) ** 3)), x).nnz == 12
        assert (jacobian_sparsity(lambda x: x.astype(float) ** 3, x).toarray() == np.eye(4)).all()


@pytest.mark.parametrize(
    "x",
    [
        np.cos(np.pi * np.linspace(0.0, 1.0, 11)),
        np.sin(2.0 * np.pi * np.linspace(0.0, 1.0, 9)),
        np.array([1e-20, 1.0, 0.1 + 0.2 - 0.3, 3.0]),
        np.array([1e-13, 1.0, -1e-7, 1e-300]),
    ],
    ids=["cosine", "sine", "few", "several"],
)
def test_a_pattern_is_found_by_tiny_coordinates(x):
    def heat(u):
        flow = -2.0 * u
        flow[1:] += u[:-1]
        flow[:-1] += u[1:]
        return flow

    n = len(x)
    exact = np.eye(n, k=1) + np.eye(n, k=-1) - 2.0 * np.eye(n)
    pattern = jacobian_sparsity(heat, x)
    assert (pattern.toarray() == (exact != 0.0)).all()
    assert np.abs(numerical_jacobian(heat, x, "auto", sparsity=pattern).toarray() - exact).max() < 1e-9
    # Where f is not defined a thousandth away, what is found next to x is all.
    logs = jacobian_sparsity(lambda x: np.array([math.log(value) for value in x]), np.array([1e-9, 2.0]))
    assert (logs.toarray() == np.eye(2)).all()


def test_a_pattern_has_no_entry_from_where_f_is_not_finite(recwarn):
    mixed = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 1.0]])
    found = jacobian_sparsity(lambda x: mixed @ np.exp(x / 1e-6), np.array([0.5, 0.3, 0.2]) * 1e-7)
    assert (found.toarray() == (mixed != 0.0)).all()
    assert not recwarn


def test_derivatives_by_longer_steps_are_no_zeros(recwarn):
    """That of the first steps was 0, of a copy: nothing says that f may ignore it."""
    for x in ([1e-14], np.array([1e-14]), np.array([1e-14], np.float32)):
        for options in ({}, {"sparsity": [[0]]}, {"out": np.empty((1, 1))}):
            found = numerical_jacobian(lambda x: np.cos(x + 0.3), x, "auto", **options)
            assert abs(found[0, 0] + math.sin(0.3)) < 1e-3
        assert abs(numerical_hessian(None, x, gradient=lambda x: np.cos(x + 0.3))[0, 0] + math.sin(0.3)) < 1e-3
    for options in ({}, {"sparsity": [[0]]}, {"scheme": "forward"}):
        found = numerical_hessian(lambda x: np.cos(float(x[0]) - 0.3), [1e-14], **options)
        assert abs(found[0, 0] + math.cos(0.3)) < 1e-5
    assert not recwarn
