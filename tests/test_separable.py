"""SeparableObjective: a sum of small elements, against the plain loop over the whole sum and exact derivatives."""

import math
import pickle
from importlib.util import find_spec

import numpy as np
import pytest
from numba import njit
from problems import needs_jit

import numgrad
from numgrad import (
    SeparableObjective,
    check_gradient,
    checking,
    gradient_descent,
    numerical_gradient,
    numerical_hessian,
    reference,
    threads,
)
from numgrad.objectives import separable

EPS = float(np.finfo(float).eps)
needs_scipy = pytest.mark.skipif(find_spec("scipy") is None, reason="the Hessian is a scipy.sparse.csr_array")


@njit()
def rosenbrock(z):
    return 100.0 * (z[1] - z[0] ** 2) ** 2 + (1.0 - z[0]) ** 2


@njit()
def pull(z, weight):
    return weight[0] * np.sum(z) ** 2 + weight[1] * np.cos(z[0])


@njit()
def scaled(z, weight, power):
    return weight * (z[0] - z[1]) ** power


@njit()
def writes(z):
    if z[0] > 0.0:
        z[0] = 0.0
    return z[0] * z[1]


@njit()
def fails(z):
    if z[0] > 2.0:
        raise ValueError("too far")
    return z[0] ** 2


@njit()
def wave(z, weight):
    return weight * (np.cos(z[0] * z[1]) + np.exp(z[0] - z[1]))


def chain(n):
    return SeparableObjective(rosenbrock, np.stack([np.arange(n - 1), np.arange(1, n)], axis=1))


def ragged(seed=0, n=9, elements=12):
    rng = np.random.default_rng(seed)
    index = [rng.integers(0, n, rng.integers(1, 5)) for _ in range(elements)]
    return SeparableObjective(pull, index, rng.standard_normal((elements, 2))), index


def plain(f, x, h=1e-4, **options):
    """Return the gradient of the whole sum, and the round-off of its values in it."""
    found = numerical_gradient(lambda y: f(y), x, h, **options)
    largest = sum(abs(f(x + s)) for s in (0.0, 1e-3)) + 1.0
    return found, 64 * EPS * largest / 1e-4


@pytest.mark.parametrize(
    ("scheme", "bounds", "h"),
    [
        # Each row takes a second to compile: all schemes and steps, with and without bounds, in as few as there can be.
        ("central", None, 1e-4), ("central", (-np.inf, 0.5), "auto"), ("forward", (-np.inf, 0.5), "array"),
        ("backward", None, "auto"), ("central4", None, 1e-4), ("central6", None, "array"),
    ],
)  # fmt: skip
def test_it_equals_the_plain_loop(scheme, bounds, h):
    f, _ = ragged()
    x = np.minimum(np.random.default_rng(1).standard_normal(9), 0.5)
    h = np.linspace(1e-4, 2e-4, 9) if isinstance(h, str) and h == "array" else h
    expected, round_off = plain(f, x, h, scheme=scheme, bounds=bounds)
    found = numerical_gradient(f, x, h, scheme=scheme, bounds=bounds)
    # An automatic step of order 1 is 1.5e-8 and amplifies the round-off of both.
    np.testing.assert_allclose(found, expected, rtol=0, atol=round_off * (1e4 if isinstance(h, str) else 1))


def test_the_default_equals_the_reference_and_the_exact_gradient():
    x = np.random.default_rng(2).standard_normal(40)
    f, inner = chain(40), x[1:] - x[:-1] ** 2
    exact = np.zeros(40)
    exact[:-1] += -400 * x[:-1] * inner - 2 * (1 - x[:-1])
    exact[1:] += 200 * inner
    found = numerical_gradient(f, x)
    np.testing.assert_allclose(found, reference.numerical_gradient(f, x), rtol=0, atol=64 * EPS * f(x) / 1e-4)
    # The third derivative is 2400 x, of which a sixth counts, times h**2.
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-8 * 400 * 4 + 1e-12 * f(x) / 1e-4)


def test_a_coordinate_that_an_element_reads_twice_moves_at_both_places():
    f = SeparableObjective(rosenbrock, [[0, 0], [1, 0]])
    x = np.array([0.3, -0.7])
    np.testing.assert_allclose(numerical_gradient(f, x), plain(f, x)[0], rtol=0, atol=1e-9)


def test_coordinates_are_sampled_in_any_order_and_repeated():
    f, x = chain(30), np.random.default_rng(3).standard_normal(30)
    chosen = [7, 3, 3, 29, 0]
    assert numerical_gradient(f, x, coordinates=chosen).tobytes() == numerical_gradient(f, x)[chosen].tobytes()
    every = np.linspace(1e-4, 2e-4, 30)
    found = numerical_gradient(f, x, every, coordinates=chosen)
    assert found.tobytes() == numerical_gradient(f, x, every)[chosen].tobytes()


def test_an_x_of_any_shape_a_coordinate_that_nothing_reads_and_no_elements():
    x = np.arange(6.0).reshape(2, 3)
    found = numerical_gradient(SeparableObjective(rosenbrock, [[0, 4]]), x)
    assert found.shape == (2, 3)
    assert np.flatnonzero(found).tolist() == [0, 4]
    assert not numerical_gradient(SeparableObjective(rosenbrock, np.empty((0, 2), int)), x).any()
    assert SeparableObjective(rosenbrock, []).__call__(x) == 0.0


def test_args_reach_the_element():
    f = SeparableObjective(scaled, [[0, 1]], [3.0])
    assert f(np.array([2.0, 1.0]), 2) == 3.0
    np.testing.assert_allclose(numerical_gradient(f, np.array([2.0, 1.0]), args=(2,)), [6.0, -6.0], rtol=1e-9)


@pytest.mark.parametrize("kind", [list, np.float32, "readonly", "reversed"])
def test_any_real_x(kind):
    x = np.array([0.5, -0.25, 2.0])
    given = {"readonly": x.copy(), "reversed": x[::-1].copy()[::-1]}.get(kind) if isinstance(kind, str) else None
    given = (x.tolist() if kind is list else x.astype(kind)) if given is None else given
    if kind == "readonly":
        given.flags.writeable = False
    assert numerical_gradient(chain(3), given).tobytes() == numerical_gradient(chain(3), x).tobytes()


def test_threads_give_the_bits_of_one_thread_and_leave_x(monkeypatch):
    from numgrad.objectives import separable

    monkeypatch.setattr(separable, "_BLOCK", 16)
    f, x = chain(2000), np.random.default_rng(4).standard_normal(2000)
    before, alone = x.tobytes(), numerical_gradient(f, x)
    assert all(numerical_gradient(f, x, workers=2).tobytes() == alone.tobytes() for _ in range(5))
    assert numerical_gradient(f, x, workers=map).tobytes() == alone.tobytes()
    assert x.tobytes() == before


def test_blocks_are_few_where_they_overlap(monkeypatch):
    from numgrad.objectives import separable

    monkeypatch.setattr(separable, "_BLOCK", 16)
    index = np.random.default_rng(5).integers(0, 200, (800, 2))
    f, x = SeparableObjective(rosenbrock, index), np.random.default_rng(6).uniform(-1, 1, 200)
    _, lowest, width = f._layout(200).blocks
    assert len(lowest) * width <= 4 * 200
    assert len(chain(2001)._layout(2001).blocks[1]) == 125
    expected, round_off = plain(f, x)
    np.testing.assert_allclose(numerical_gradient(f, x), expected, rtol=0, atol=round_off)


def test_the_sum_of_many_elements_keeps_its_digits():
    f = SeparableObjective(scaled, np.tile([0, 1], (100_000, 1)), np.full(100_000, 0.1))
    exact = math.fsum([0.1] * 100_000)
    # A plain sum would be off by some 2e-9 of it.
    assert abs(f(np.array([1.0, 0.0]), 1) - exact) <= 2e-12 * exact


def test_nan_and_lost_steps_stay_in_their_place():
    x = np.array([1.0, 2.0, np.nan, 1.0, 2.0])
    found = numerical_gradient(SeparableObjective(rosenbrock, [[0, 1], [1, 2], [3, 4]]), x)
    assert np.isnan(found).tolist() == [False, True, True, False, False]
    with pytest.warns(RuntimeWarning, match=r"the step h=0\.0001 is below the spacing"):
        numerical_gradient(chain(2), np.array([1e15, 1.0]))


@pytest.mark.parametrize("options", [{}, {"scheme": "forward"}, {"h": np.full(4, 1e-4)}])
def test_a_step_is_lost_where_it_is_taken_only(options):
    x = np.array([1.0, 2.0, 3.0, 1e14])
    with pytest.warns(RuntimeWarning, match="the step"):
        numerical_gradient(chain(4), x, **options)
    kept = numerical_gradient(chain(4), x, coordinates=[0, 1], **options)  # without a warning, which would fail
    np.testing.assert_array_equal(kept, numerical_gradient(chain(3), x[:3], **(options | _first(options)))[:2])


def _first(options):
    return {"h": options["h"][:3]} if "h" in options else {}


def test_a_descent_moves_x_in_place():
    x, f = np.zeros(3), SeparableObjective(scaled, [[0, 1], [1, 2]], [1.0, 1.0])
    x[0] = 1.0
    assert gradient_descent(f, x, 0.1, 200, args=(2,)) is x
    np.testing.assert_allclose(x, 1 / 3, rtol=0, atol=1e-8)


def test_a_check_judges_it():
    x = np.random.default_rng(7).standard_normal(20)
    f = chain(20)
    inner = x[1:] - x[:-1] ** 2
    exact = np.zeros(20)
    exact[:-1] += -400 * x[:-1] * inner - 2 * (1 - x[:-1])
    exact[1:] += 200 * inner
    assert check_gradient(f, exact, x).ok
    assert check_gradient(f, exact, x, directions=3).ok
    wrong = exact.copy()
    wrong[3] *= 1.01
    assert not check_gradient(f, wrong, x).ok


@njit()
def bent(z, weight):
    return weight * (0.25 * (z[1] - z[0]) ** 4 + 0.5 * (z[1] - z[0]) ** 2)


@pytest.mark.parametrize("options", [{}, {"bounds": (-1e9, 1e9)}, {"h": 1e-3}, {"workers": 2}], ids=str)
def test_a_check_of_a_sum_of_elements_takes_no_evaluations_a_coordinate(options, monkeypatch):
    n, calls = 2000, []
    kind = type(SeparableObjective(bent, [[0, 1]])._as_objective())
    value = kind.value
    monkeypatch.setattr(kind, "value", lambda self, *point: (calls.append(0), value(self, *point))[1])
    monkeypatch.setattr(checking, "_SHARED", 700)
    x = np.cumsum(np.random.default_rng(3).standard_normal(n))
    f = SeparableObjective(bent, np.stack([np.arange(n - 1), np.arange(1, n)], axis=1), np.linspace(1.0, 2.0, n - 1))
    pulls = f.data * (np.diff(x) ** 3 + np.diff(x))
    exact = np.append(0.0, pulls) - np.append(pulls, 0.0)
    slopes = np.where(np.arange(n) % 7, 1.01, 1.0) * exact  # what is right among the first few says nothing of others
    check = check_gradient(f, slopes, x, **options)
    assert check.arrays[""].failed > 0.99 * np.count_nonzero(slopes != exact)
    assert check_gradient(f, exact.astype(np.float32), x, **options).ok  # the steps of float32 are too long at first
    assert check_gradient(f, exact, x, **options).ok
    assert len(calls) < 600  # for the noise of f; a ladder of plain values takes 30,000


def test_a_check_of_a_sum_of_elements_knows_kinks():
    f, x = SeparableObjective(stretched, [[0, 1], [1, 2]]), np.array([1.0, 1.0, 3.0])
    for slope in (-1.0, 0.3, 1.0):
        assert check_gradient(f, [-slope, slope - 1.0, 1.0], x).subgradients
    assert not check_gradient(f, [-1.2, 0.2, 1.0], x).ok


@njit()
def stretched(z):
    return abs(z[1] - z[0])


@njit()
def reads_beyond(z, weight):
    return weight[1] * (z[-2] - z[0])


@pytest.mark.parametrize(
    ("element", "index", "data"),
    [
        (rosenbrock, [[0], [1]], None), (rosenbrock, [[0, 1], [2]], None), (rosenbrock, [[]], None),
        (reads_beyond, [[0], [1]], np.ones((2, 2))), (reads_beyond, [[0, 1]], np.ones((1, 1))),
    ],
)  # fmt: skip
def test_an_element_that_reads_beyond_its_arrays_is_refused(element, index, data):
    f = SeparableObjective(element, index, data)
    for use in (f, lambda x: numerical_gradient(f, x), lambda x: check_gradient(f, x, x)):
        with pytest.raises(ValueError, match=r"an element of \d coordinates reads beyond what index, data or args"):
            use(np.ones(3))


@needs_jit
def test_an_element_that_indexes_a_number_is_no_matter_of_reach():
    with pytest.raises(TypeError, match="numba cannot compile element for this index and data"):
        SeparableObjective(reads_beyond, [[0], [1]], np.ones(2))(np.ones(2))


def test_it_survives_a_pickle():
    f, _ = ragged()
    x = np.random.default_rng(8).standard_normal(9)
    again = pickle.loads(pickle.dumps(SeparableObjective(_module_level, [[0, 1], [2, 1]], [1.0, 2.0])))
    assert again(x) == SeparableObjective(_module_level, [[0, 1], [2, 1]], [1.0, 2.0])(x)
    assert len(again) == 2
    assert "12 elements" in repr(f)


@njit()
def _module_level(z, d):
    return d * z[0] * z[1]


@njit()
def squares(z):
    return np.sum(z**2)


def test_an_element_that_writes_to_its_argument_is_found():
    f = SeparableObjective(writes, [[0, 1]])
    assert numerical_gradient(f, np.array([-1.0, 2.0])).round(6).tolist() == [2.0, -1.0]
    with pytest.raises(ValueError, match="f writes to its argument"):
        numerical_gradient(f, np.array([1.0, 2.0]))
    with pytest.raises(ValueError, match="f writes to its argument"):
        f._hessian(np.array([1.0, 2.0]), np.full(2, 1e-4), (), 1, False)


def test_what_an_element_raises_is_raised():
    f = SeparableObjective(fails, [[0], [1]])
    with pytest.raises(ValueError, match="too far"):
        numerical_gradient(f, np.array([1.0, 3.0]))


def test_a_sum_of_no_elements_has_zeros():
    f, x = SeparableObjective(squares, np.empty((0, 2), int)), np.array([0.01, 2.0])
    for options in ({}, {"h": "auto"}, {"h": "auto", "scheme": "forward"}):
        assert numerical_gradient(f, x, **options).tolist() == [0.0, 0.0]
    if find_spec("scipy"):
        assert not numerical_hessian(f, x).toarray().any()


def test_an_element_without_coordinates_is_one_of_the_sum():
    f = SeparableObjective(squares, [[0], [], [1, 2], []])
    assert len(f) == 4
    assert f(np.array([1.0, 2.0, 3.0])) == 14.0
    assert numerical_gradient(f, np.array([1.0, 2.0, 3.0])) == pytest.approx([2.0, 4.0, 6.0])


@pytest.mark.parametrize("last", [0, 9])
@pytest.mark.parametrize("empty", [(), (3,), (3, 4, 5), (0, 4), (2, 3, 5)])
def test_blocks_reach_all_that_their_elements_read(last, empty):
    # Compiled code would write beyond the sums of a block that reaches too few.
    rng = np.random.default_rng(10)
    starts, targets = np.zeros(1, np.intp), np.zeros(0, np.uint32)
    for block in range(6):  # of as many elements as a block has at least, which read a coordinate each, or none
        own = rng.integers(3, 6, 0 if block in empty else separable._LEAST).astype(np.uint32)
        own[-1:] = last
        starts, targets = np.append(starts, starts[-1] + np.cumsum(own > -1)), np.append(targets, own)
        starts = np.append(starts, np.full(separable._LEAST - len(own), starts[-1]))
    bounds, lowest, width = separable._blocks_of(starts, targets, 10)
    assert len(lowest) > 1
    for first, stop, low in zip(starts[bounds[:-1]], starts[bounds[1:]], lowest, strict=True):
        assert (targets[first:stop] >= low).all()
        assert (targets[first:stop].astype(int) - int(low) < width).all()


@needs_scipy
def test_elements_at_the_end_may_read_nothing():
    index, x = [*([500 + k] for k in range(299)), [0], *[[]] * 300], np.arange(1.0, 1001.0)
    f, reads = SeparableObjective(squares, index), np.isin(np.arange(1000), [0, *range(500, 799)])
    np.testing.assert_allclose(numerical_gradient(f, x), 2.0 * x * reads, rtol=1e-9)
    np.testing.assert_allclose(numerical_hessian(f, x).diagonal(), 2.0 * reads, rtol=1e-6)


X5 = np.linspace(0.5, 1.5, 5)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: SeparableObjective(3, [[0]]), TypeError, r"element must be compiled.*got int 3"),
        (lambda: SeparableObjective(rosenbrock, 3), TypeError, r"index must be an array of shape \(elements, k\)"),
        (lambda: SeparableObjective(rosenbrock, [0, 1]), TypeError, r"index must be an array of shape \(elements, k\)"),
        (lambda: SeparableObjective(rosenbrock, [[0.5, 1]]), TypeError, "index must hold integers, got dtype float64"),
        (lambda: SeparableObjective(rosenbrock, [[0, -1]]), ValueError, "index must hold coordinates from 0, got -1"),
        (lambda: SeparableObjective(pull, [[0, 1]], [1.0, 2.0]), ValueError, "one row for each of 1 elements"),
        (lambda: SeparableObjective(pull, [[0, 1]], 3.0), ValueError, "one row for each of 1 elements"),
        (lambda: chain(5)(np.zeros(3)), ValueError, "x of 3 elements is too short: index goes up to 4"),
        (lambda: numerical_gradient(chain(5), np.zeros(3)), ValueError, "x of 3 elements is too short"),
        (lambda: numerical_gradient(chain(5), "no"), TypeError, "x must hold real numbers"),
        (lambda: numerical_gradient(chain(5), X5, args=(X5,)), ValueError, r"args\[0\] shares memory with x"),
        (lambda: numerical_gradient(chain(5), X5, args=({"a": X5[1:]},)), (TypeError, ValueError), r"args\[0\]"),
    ],
)
def test_misuse(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_an_element_that_cannot_be_compiled():
    if numgrad.objectives.separable.config.DISABLE_JIT:
        pytest.skip("needs the compiler")

    @njit()
    def wrong(z):
        return z.no_such_name

    with pytest.raises(TypeError, match="numba cannot compile element"):
        numerical_gradient(SeparableObjective(wrong, [[0]]), np.ones(1))


def test_elements_that_read_x_by_another_way_are_refused():
    x = np.array([1.0, 2.0, 3.0])
    weighted = njit()(lambda z, d: z[0] * d)
    captured = njit()(lambda z: z[0] * x[0])
    calls = njit()(lambda z: captured(z))
    for data in (x, x[::-1], x.reshape(3, 1)[:, 0]):
        with pytest.raises(ValueError, match="data shares memory with x"):
            numerical_gradient(SeparableObjective(weighted, [[0], [1], [2]], data), x)
    for element in (captured, calls) if numgrad.arguments.is_compiled(captured) else ():
        with pytest.raises(ValueError, match="reads x as the captured variable 'x'"):
            numerical_gradient(SeparableObjective(element, [[0], [1], [2]]), x)
    copied = SeparableObjective(weighted, [[0], [1], [2]], x.copy())
    np.testing.assert_allclose(numerical_gradient(copied, x), x, rtol=1e-9)


@njit()
def weighted_square(z, d):
    return z[0] ** 2 * d


@pytest.mark.parametrize("kind", [">f8", "f2", "f4", "i2", "?"])
def test_data_of_any_numbers(kind):
    data = np.array([1, 0, 1]).astype(kind)
    f = SeparableObjective(weighted_square, [[0], [1], [2]], data)
    np.testing.assert_allclose(numerical_gradient(f, np.array([1.0, 2.0, 3.0])), [2.0, 0.0, 6.0], rtol=1e-9)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ([1, None], TypeError, "data must hold numbers"),
        (np.ones(2, np.longdouble), TypeError, "data must hold numbers"),
        (["a", {}], TypeError, "data must hold numbers"),
        ([[1.0], [1.0, 2.0]], ValueError, "data must be one array"),
    ],
)
def test_data_that_numba_does_not_know(data, error, message):
    with pytest.raises(error, match=message):
        SeparableObjective(squares, [[0], [1]], data)


@pytest.mark.parametrize("kinds", [("uint64", "uint64"), ("int8", "uint64"), ("uint16", "int64")])
def test_rows_of_integers_of_any_kind_are_an_index(kinds):
    index = [np.array(row, kind) for row, kind in zip(([0, 1], [2]), kinds, strict=True)]
    gradient = numerical_gradient(SeparableObjective(squares, index), np.arange(3.0))
    np.testing.assert_allclose(gradient, [0.0, 2.0, 4.0], atol=1e-9)
    with pytest.raises(ValueError, match="index must hold coordinates from 0, got -"):
        SeparableObjective(squares, [np.array([2**64 - 1], np.uint64), np.array([0, 1])])


@pytest.mark.parametrize("index", [[[True, False]], [[True, False], [True]], [[0, 1], [True]], [[0.0], [0, 1]]])
def test_an_index_holds_integers(index):
    with pytest.raises(TypeError, match=r"index must hold integers, got dtype (bool|float64)"):
        SeparableObjective(squares, index)


def test_there_is_no_complex_step():
    with pytest.raises(ValueError, match="a SeparableObjective has no complex step"):
        numerical_gradient(chain(3), np.ones(3), scheme="complex")


@needs_scipy
@pytest.mark.parametrize(("make", "n"), [(lambda: ragged()[0], 9), (lambda: chain(300), 300)], ids=["ragged", "chain"])
def test_threads_keep_the_second_derivatives_that_were_done_before(make, n, monkeypatch):
    x = np.random.default_rng(9).standard_normal(n)
    dense = numerical_hessian(make(), x).toarray()
    # Any work is long enough for threads, which begin after the first block; blocks share coordinates.
    monkeypatch.setattr(threads, "INTERRUPT_INTERVAL", 1e-9)
    monkeypatch.setattr(numgrad.objectives.separable, "_BLOCK", 2)
    expected = numerical_hessian(make(), x).toarray()
    np.testing.assert_allclose(expected, dense, rtol=0, atol=64 * EPS * np.abs(dense).max())
    for _ in range(5):
        assert numerical_hessian(make(), x, workers=3).toarray().tobytes() == expected.tobytes()


@needs_scipy
@pytest.mark.parametrize("workers", [1, 2])
def test_the_hessian_is_sparse_and_that_of_the_plain_sum(workers):
    f, _ = ragged()
    x = np.random.default_rng(9).standard_normal(9)
    found = numerical_hessian(f, x, workers=workers)
    assert type(found).__name__ == "csr_array"
    dense = numerical_hessian(lambda y: f(y), x)
    # Steps of 2**-12 or so: round-off of 64 spacings of the sum over their square.
    np.testing.assert_allclose(found.toarray(), dense, rtol=0, atol=64 * EPS * (abs(f(x)) + 10) * 2.0**24)
    assert (found != found.T).nnz == 0
    assert found.toarray().tobytes() == numerical_hessian(f, x).toarray().tobytes()


@needs_scipy
def test_the_hessian_of_a_chain_is_tridiagonal_and_exact():
    n = 50
    x, f = np.random.default_rng(10).standard_normal(n), chain(n)
    exact = np.diag(np.r_[1200 * x[:-1] ** 2 - 400 * x[1:] + 2, 0] + np.r_[0, np.full(n - 1, 200)])
    exact += np.diag(-400 * x[:-1], 1) + np.diag(-400 * x[:-1], -1)
    found = numerical_hessian(f, x)
    assert found.nnz == 3 * n - 2
    # h = 2**-12 and less: h**2 / 12 times the fourth derivative 2400, and the round-off of an element.
    atol = 2400 * 2.0**-24 + 32 * EPS * 2e4 * 2.0**26
    np.testing.assert_allclose(found.toarray(), exact, rtol=0, atol=atol)
    found.data[:] = 0.0
    found.eliminate_zeros()
    assert numerical_hessian(f, x).nnz == 3 * n - 2


@needs_scipy
def test_the_hessian_of_an_element_that_reads_a_coordinate_twice():
    f, x = SeparableObjective(rosenbrock, [[0, 0], [1, 0]]), np.array([0.3, -0.7])
    np.testing.assert_allclose(numerical_hessian(f, x).toarray(), numerical_hessian(lambda y: f(y), x), atol=1e-5)


@needs_scipy
@pytest.mark.parametrize("options", [{"scheme": "central4"}, {"bounds": (0.0, 1.0)}, {"out": np.empty((2, 2))}])
def test_the_hessian_has_one_scheme(options):
    with pytest.raises(ValueError, match="is a csr_array by central differences"):
        numerical_hessian(chain(2), np.zeros(2), **options)


@needs_scipy
def test_the_hessian_takes_no_engine():
    with pytest.raises(TypeError, match="takes a number of threads"):
        numerical_hessian(chain(2), np.zeros(2), workers=map)


@pytest.mark.parametrize("most", [2, 3])
def test_an_element_has_memory_of_its_own_whatever_its_size(most, monkeypatch):
    monkeypatch.setattr(numgrad.objectives.elements, "_ON_STACK", most)
    k = 3
    x, index = np.random.default_rng(k).uniform(0.5, 1.5, 3 * k), np.arange(3 * k).reshape(3, k)[:, ::-1]

    @njit()
    def element(z):
        return np.exp(z / len(z)).prod() + z[0] ** 2

    f = SeparableObjective(element, index)
    means = np.exp(x.reshape(3, k).mean(axis=1, keepdims=True) * np.ones(k))
    exact = means / k + 2.0 * x.reshape(3, k) * (np.arange(k) == k - 1)
    assert f(x) == pytest.approx((means[:, 0] + x.reshape(3, k)[:, -1] ** 2).sum(), rel=1e-14)
    assert numerical_gradient(f, x) == pytest.approx(exact.reshape(-1), rel=1e-7)
    if find_spec("scipy"):
        second = numerical_hessian(f, x).toarray()[:k, :k]
        assert second == pytest.approx(means[0] / k**2 + 2.0 * np.diag(np.arange(k) == k - 1), abs=1e-6)


def test_a_block_is_done_in_parts_between_which_ctrl_c_is_seen(monkeypatch):
    x = np.random.default_rng(0).uniform(0.5, 2.0, 400)
    index = np.stack([np.arange(399), np.arange(1, 400)], axis=1)
    expected, parts = numerical_gradient(SeparableObjective(rosenbrock, index), x), []
    run_range = separable._Elements.run_range
    monkeypatch.setattr(threads, "INTERRUPT_INTERVAL", 1e-7)
    monkeypatch.setattr(
        separable._Elements, "run_range", lambda self, *units: parts.append(units[1:]) or run_range(self, *units)
    )
    assert np.array_equal(numerical_gradient(SeparableObjective(rosenbrock, index), x), expected)
    assert parts[0] == (0, 1)
    assert len(parts) > 10


def test_what_an_objective_holds_is_no_place_for_a_result():
    data, x = np.ones(3), np.arange(3.0)

    @njit()
    def product(z, d):
        return d * z[0] * z[1]

    f = SeparableObjective(product, [[0, 1], [1, 2], [2, 0]], data)
    layer = numgrad.LayerObjective(np.eye(3), lambda z, t: ((z - t) ** 2).sum(axis=1), (np.ones((3, 3)),))
    for objective, point, own in ((f, x, data), (layer, np.eye(3), layer.x), (layer, np.eye(3), layer.data[0])):
        before = own.copy()
        with pytest.raises(ValueError, match=r"out must not share memory with what .* holds"):
            numerical_gradient(objective, point, out=own)
        assert np.array_equal(own, before)


@needs_scipy
@pytest.mark.parametrize("tiny", [0.02, 0.002, 1e-5, 1e-9])
def test_elements_that_cancel_at_small_coordinates(tiny, recwarn):
    for seed in range(12):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(4, 30))
        index = np.array([rng.choice(n, 2, replace=False) for _ in range(2 * n)])
        weights = np.repeat([1.0, -1.0], n) * rng.uniform(0.5, 1.5, 2 * n)
        weights = (weights - (seed % 2) * weights.mean()) * 10.0 ** rng.choice([0, 3, 6])
        x, exact = rng.normal(size=n) * rng.choice([1.0, tiny, tiny, 0.01 * tiny], n), np.zeros((n, n))
        for (i, j), weight in zip(index, weights, strict=True):
            (a, b), grown = x[[i, j]], math.exp(x[i] - x[j])
            exact[i, i] += weight * (grown - b * b * math.cos(a * b))
            exact[j, j] += weight * (grown - a * a * math.cos(a * b))
            mixed = -weight * (math.sin(a * b) + a * b * math.cos(a * b) + grown)
            exact[i, j] += mixed
            exact[j, i] += mixed
        found = numerical_hessian(SeparableObjective(wave, index, weights), x).toarray()
        assert np.abs(found - exact).max() < 1e-4 * np.abs(exact).max()
    assert [str(warning.message) for warning in recwarn] == []
