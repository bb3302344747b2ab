"""IncrementalObjective: the loop around its differences, verify, misuse."""

import math

import numpy as np
import pytest
from problems import JIT, needs_jit

from numgrad import IncrementalObjective, descent_path, gradient_ascent, gradient_descent, numerical_gradient


def jit(f):
    from numba import njit

    return njit()(f)


def value(x, weights):
    return float(np.sum(weights * x**2))


def prepare(x, h, weights):
    return x.reshape(-1), weights.reshape(-1), h


@jit
def difference(state, k):
    x, weights, h = state
    return 4.0 * h * weights[k] * x[k]


@jit
def wrong_at_2(state, k):
    x, weights, h = state
    return 4.0 * h * weights[k] * x[k] * (1.0 if k != 2 else 1.0 + 1e-6)


OBJECTIVE = IncrementalObjective(value, prepare, difference)
X = np.random.default_rng(0).standard_normal((3, 4))
WEIGHTS = np.random.default_rng(1).uniform(1, 2, (3, 4))


def test_it_is_called_like_its_value_and_says_what_it_is():
    assert OBJECTIVE(X, WEIGHTS) == value(X, WEIGHTS)
    assert repr(OBJECTIVE) == "IncrementalObjective(difference=difference)"


@pytest.mark.parametrize("h", [1e-4, 0.5])
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("layout", [lambda x: x.copy(), np.asfortranarray, lambda x: x.tolist(), lambda x: x[:, ::-1]])
def test_the_gradient_of_any_layout_is_that_of_the_plain_objective(h, workers, layout):
    x, weights = layout(X), np.array(layout(WEIGHTS))
    gradient = numerical_gradient(OBJECTIVE, x, h, args=(weights,), workers=workers)
    assert gradient.shape == (3, 4)
    assert np.allclose(gradient, 2 * weights * np.array(x), rtol=4 * 2.0**-52)
    plain = numerical_gradient(value, np.array(x), h, args=(weights,))
    assert np.allclose(gradient, plain, rtol=0, atol=2.0**-52 * 12 * value(np.array(x) + h, weights) / h)


def test_prepare_is_called_once_a_gradient_and_x_is_left_alone():
    calls = []

    def counted(x, h, weights):
        calls.append((x.dtype, x.flags.c_contiguous, h))
        return prepare(x, h, weights)

    x = X.astype(np.float32)
    before = x.tobytes()
    numerical_gradient(IncrementalObjective(value, counted, difference), x, args=(WEIGHTS,), workers=3)
    assert calls == [(np.dtype(np.float64), True, 1e-4)]
    assert x.tobytes() == before


def test_descents_take_it():
    start = X.copy()
    x = gradient_descent(OBJECTIVE, start, 0.1, 3, args=(WEIGHTS,))
    assert x is start
    assert np.allclose(x, X * (1 - 0.2 * WEIGHTS) ** 3, rtol=1e-14)
    assert np.allclose(gradient_ascent(OBJECTIVE, X.copy(), -0.1, 3, args=(WEIGHTS,)), x, rtol=1e-14)
    assert descent_path(OBJECTIVE, X, 0.1, 3, args=(WEIGHTS,), workers=2)[-1].tobytes() == x.tobytes()


def test_coordinates_and_progress_work_with_it():
    seen = []
    chosen = [11, 0, 5]
    some = numerical_gradient(OBJECTIVE, X, args=(WEIGHTS,), coordinates=chosen, progress=lambda *now: seen.append(now))
    assert some.tobytes() == numerical_gradient(OBJECTIVE, X, args=(WEIGHTS,)).reshape(-1)[chosen].tobytes()
    assert seen[-1] == (3, 3)


def test_a_stationary_point_is_no_news():
    assert not numerical_gradient(OBJECTIVE, [0.0, 0.0], args=(np.ones(2),)).any()


def test_verify_accepts_right_differences_and_names_the_worst_wrong_one():
    OBJECTIVE.verify(X, (WEIGHTS,))
    OBJECTIVE.verify(X, (WEIGHTS,), samples=1000, rng=0)
    wrong = IncrementalObjective(value, prepare, wrong_at_2)
    before = X.tobytes()
    with pytest.raises(
        AssertionError, match=r"worst at coordinate \(0, 2\): difference -?0\.\d+.*, plain -?0\..*, tolerance \d"
    ):
        wrong.verify(X, (WEIGHTS,), samples=12)
    assert X.tobytes() == before


def relu(state, k):
    x, h = state
    return max(x[k] + h, 0.0) - max(x[k] - h, 0.0)


def test_verify_accepts_what_is_exactly_zero_and_subclasses_are_given_as_plain_arrays():
    objective = IncrementalObjective(lambda x: float(np.maximum(x, 0).sum()), lambda x, h: (x.ravel(), h), jit(relu))
    objective.verify(np.array([-1.0, -2.0]))
    x = np.array([[1.0, -2.0], [3.0, 4.0]])
    for subclass in (np.ma.array(x), x.view(np.recarray)):
        assert np.allclose(numerical_gradient(objective, subclass), x > 0)


def nan_at_0(state, k):
    return np.nan if k == 0 else 4.0 * state[1]


def test_verify_names_the_coordinate_that_is_nan():
    objective = IncrementalObjective(lambda x: float(2 * x.sum()), lambda x, h: (x.ravel(), h), jit(nan_at_0))
    with pytest.raises(AssertionError, match=r"worst at coordinate \(0,\): difference nan"):
        objective.verify(np.array([1.0, 2.0, 3.0]))


@needs_jit
def test_exceptions_of_the_three_functions_reach_the_caller():
    def fails(*_):
        raise KeyError("mine")

    def fails_late(state, k):
        if k == 7:
            raise IndexError("mine")
        return 1.0

    with pytest.raises(KeyError, match="mine"):
        numerical_gradient(IncrementalObjective(value, fails, difference), X)
    for workers in (1, 2):
        with pytest.raises(IndexError, match="mine"):
            numerical_gradient(IncrementalObjective(value, prepare, jit(fails_late)), X, args=(X,), workers=workers)


@needs_jit
def test_a_difference_that_numba_cannot_type_is_one_clear_line():
    with pytest.raises(TypeError, match=r"^numba cannot compile difference\(state, k\): .*no_such") as caught:
        numerical_gradient(IncrementalObjective(value, prepare, jit(lambda state, k: state.no_such)), X, args=(X,))
    assert "\n" not in str(caught.value)


@needs_jit
@pytest.mark.parametrize("state", [{"a": X}, object(), (X, {"a": 1})])
def test_a_state_that_numba_has_no_type_for_is_named(state):
    f = IncrementalObjective(value, lambda x, h, y: state, jit(lambda state, k: 1.0))
    with pytest.raises(TypeError, match=r"^what prepare returned is .*, which numba cannot pass to difference; pass"):
        numerical_gradient(f, X, args=(X,))


@pytest.mark.parametrize(
    ("functions", "message"),
    [
        ((None, prepare, difference), "value must be callable, got NoneType None"),
        ((value, 3, difference), "prepare must be callable, got int 3"),
        ((value, prepare, "d"), "difference must be callable, got str 'd'"),
        pytest.param(
            (value, prepare, lambda state, k: 0.0),
            "difference must be compiled",
            marks=pytest.mark.skipif(not JIT, reason="nothing is compiled"),
        ),
    ],
)
def test_misuse(functions, message):
    with pytest.raises(TypeError, match=message):
        IncrementalObjective(*functions)


@pytest.mark.parametrize("samples", [0, 1.5])
def test_verify_misused(samples):
    with pytest.raises((TypeError, ValueError), match="samples must be"):
        OBJECTIVE.verify(X, (WEIGHTS,), samples=samples)


# --- verify ----------------------------------------------------------------------------------------------------------


def reading(array, function):
    """Return an objective whose value ignores its argument and reads `array`, as the book's f does."""
    return IncrementalObjective(lambda _: function(array), lambda x, h: (x.reshape(-1), np.ones(x.size), h), difference)


def of_squares(x):
    return float(np.sum(np.asarray(x, dtype=np.float64) ** 2))


@pytest.mark.parametrize(
    "make", [np.copy, np.asfortranarray, lambda x: x[:, ::-1], lambda x: np.repeat(x, 2, 0)[::2], lambda x: x.T]
)
def test_verify_accepts_a_value_that_ignores_its_argument_and_reads_the_array_itself(make):
    x = make(X.copy())
    before = x.tobytes()
    for options in ({}, {"samples": 3, "rng": 0}, {"samples": 1000}):
        assert reading(x, of_squares).verify(x, **options) is None
        assert x.tobytes() == before


@pytest.mark.parametrize("factor", [1.0 + 1e-5, 0.0, -1.0])
def test_verify_still_finds_a_wrong_difference_of_such_a_value(factor):
    x = X.copy()
    before = x.tobytes()
    wrong = IncrementalObjective(
        lambda _: factor * of_squares(x), lambda x, h: (x.reshape(-1), np.ones(x.size), h), difference
    )
    with pytest.raises(AssertionError, match="the incremental difference is wrong, worst at coordinate"):
        wrong.verify(x)
    assert x.tobytes() == before


@pytest.mark.parametrize(
    "make", [lambda x: x.tolist(), lambda x: x.astype(int), lambda x: np.array(x, np.int8)], ids=["list", "int", "int8"]
)
def test_verify_says_that_a_value_ignores_a_private_copy(make):
    x = make(np.array([[1.0, -2.0], [3.0, 4.0]]))
    with pytest.raises(AssertionError, match="value seems to ignore its argument: pass the array that it reads"):
        reading(x, of_squares).verify(x)


def test_verify_says_that_a_value_ignores_a_read_only_array():
    x = X.copy()
    x.flags.writeable = False
    with pytest.raises(AssertionError, match="value seems to ignore its argument"):
        reading(x, of_squares).verify(x)


def test_verify_gives_x_back_after_an_exception_of_value():
    x, calls = X.copy(), []
    before = x.tobytes()

    def fails(_):
        calls.append(None)
        if len(calls) == 5:
            raise KeyError("mine")
        return of_squares(x)

    with pytest.raises(KeyError, match="mine"):
        IncrementalObjective(fails, lambda x, h: (x.reshape(-1), np.ones(x.size), h), difference).verify(x)
    assert x.tobytes() == before


def test_verify_finds_a_value_that_writes_to_its_argument():
    def sorts(x):
        x.sort()
        return of_squares(x)

    x = X.copy()
    with pytest.raises(ValueError, match="f writes to its argument"):
        IncrementalObjective(sorts, lambda x, h: (x.reshape(-1), np.ones(x.size), h), difference).verify(x)
    assert x.tobytes() == X.tobytes()


@needs_jit
def test_verify_takes_a_compiled_value():
    objective = IncrementalObjective(
        jit(lambda x: np.sum(x**2)), lambda x, h: (x.reshape(-1), np.ones(x.size), h), difference
    )
    x = X.copy()
    objective.verify(x)
    assert x.tobytes() == X.tobytes()


def quadratic(factor=1.0, offset=0.0, step=None):
    """Return a sum of squares plus an offset, whose difference is off by a factor or has one step for every h."""
    return IncrementalObjective(
        lambda x: float(np.sum(x**2)) + offset,
        lambda x, h: (x.reshape(-1), np.full(x.size, factor), step or h),
        difference,
    )


@pytest.mark.parametrize("offset", [0.0, -1e6, 1e9, 1e12, -1e14])
@pytest.mark.parametrize("wrong", [{"factor": -1.0}, {"factor": 2.0}, {"factor": 0.5}, {"factor": 0.0}, {"step": 1e-4}])
@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_verify_finds_what_one_step_hides(offset, wrong, scale):
    x = scale * (1.0 + np.arange(6.0).reshape(2, 3))
    if abs(offset) < 1e14 * scale:  # else no step shows the difference
        before = x.copy()
        assert quadratic(offset=offset).verify(x) is None
        with pytest.raises(AssertionError, match="the incremental difference is wrong"):
            quadratic(offset=offset, **wrong).verify(x)
        assert x.tobytes() == before.tobytes()


def test_verify_says_that_no_step_shows_a_difference():
    with pytest.raises(AssertionError, match="nothing is verified: up to the step 1 value changes by no more"):
        quadratic(offset=1e20).verify(np.ones(3))
    assert quadratic(factor=0.0, offset=1e20).verify(np.zeros(3)) is None  # nothing changes on either side


@pytest.mark.parametrize("x", [np.zeros(3), np.full(3, 1e-30), np.array([1e-9, 0.0, 3.0]), np.array([1e17, 1e3, 1.0])])
def test_verify_accepts_stationary_and_distant_points(x):
    assert quadratic().verify(x) is None


@jit
def of_logarithms(state, k):
    x, h = state
    return np.log(x[k] + h) - np.log(x[k] - h)


@jit
def of_exponentials(state, k):
    x, h = state
    return 2.0 * np.exp(x[k]) * np.sinh(h)


@pytest.mark.parametrize(
    ("value_of", "own"),
    [
        (lambda x: float(np.log(x).sum()), of_logarithms),  # NaN, and a warning of NumPy
        (lambda x: sum(map(math.log, x.tolist())), of_logarithms),  # a ValueError
        (lambda x: float(np.exp(x).sum()), of_exponentials),
    ],
)
def test_verify_stays_where_value_is_defined(value_of, own):
    def at(offset, step=None):
        return IncrementalObjective(lambda x: value_of(x) + offset, lambda x, h: (x.reshape(-1).copy(), step or h), own)

    x = np.array([0.05, 0.4, 0.7])
    for offset in (0.0, 1e10):
        assert at(offset).verify(x) is None
    with pytest.raises(AssertionError, match=r"step 0\.001"):
        at(0.0, 1e-4).verify(x)


def test_verify_raises_what_a_function_raises_at_the_first_step_only():
    def near(x, h):
        if h > 1e-3:
            raise ValueError("too far")
        return x.reshape(-1), np.ones(x.size), h

    assert IncrementalObjective(of_squares, near, difference).verify(np.zeros(3)) is None
    far = IncrementalObjective(of_squares, lambda x, h: near(x, 1.0), difference)
    with pytest.raises(ValueError, match="too far"):
        far.verify(np.zeros(3))


@pytest.mark.parametrize("way", [lambda f: f, jit])
def test_verify_allows_for_the_rounding_of_what_value_returns(way):
    def change(state, k):
        x, h = state
        return 4.0 * h * x[k]

    def wrong(state, k):
        x, h = state
        return 6.0 * h * x[k]

    value, x = way(lambda x: np.float32(np.sum(x**2))), np.array([3.0, 4.0, 1.0])
    IncrementalObjective(value, lambda x, h: (x, h), jit(change)).verify(x)
    with pytest.raises(AssertionError, match="difference"):
        IncrementalObjective(value, lambda x, h: (x, h), jit(wrong)).verify(x)


def test_verify_takes_float32_and_nothing():
    x = np.array([1.0, 2.0, 3.0], np.float32)
    assert quadratic().verify(x) is None
    assert quadratic().verify(np.empty(0)) is None
    with pytest.raises(AssertionError, match="the incremental difference is wrong"):
        quadratic(factor=1.25).verify(x)


@jit
def fails_far_from_the_third(state, k):
    x, h = state
    if k == 2 and h > 0.15:
        raise ValueError("too far")
    return np.exp(x[k] + h) - np.exp(x[k] - h)


@pytest.mark.parametrize("chosen", [None, [4, 0, 2, 1]])
def test_after_an_exception_no_part_of_a_sum_of_differences_is_left(chosen):
    f = IncrementalObjective(lambda x: np.exp(x).sum(), lambda x, h: (x.reshape(-1), h), fails_far_from_the_third)
    x = np.linspace(-1.0, 1.0, 5)
    out, options = np.empty(5 if chosen is None else 4), {"scheme": "central4", "coordinates": chosen}
    with pytest.raises(ValueError, match="too far"):
        numerical_gradient(f, x, 0.1, out=out, **options)
    right = numerical_gradient(lambda x: float(np.exp(x).sum()), x, 0.1, **options)
    assert (np.isnan(out) | (np.abs(out - right) < 1e-12)).all()


@pytest.mark.parametrize("factor", [1.0, 1.01])
def test_verify_allows_for_terms_that_cancel(factor):
    # The values of one coordinate are far smaller than its two terms, by whose rounding the plain difference is off.
    @jit
    def difference(state, k):
        x, h, a, factor = state
        below = 4.0 * h * a[k - 1] * (x[k] - x[k - 1]) if k > 0 else 0.0
        above = 4.0 * h * a[k] * (x[k + 1] - x[k]) if k < len(a) else 0.0
        return factor * (below - above)

    def verify(seed):
        rng = np.random.default_rng(seed)
        x, a = 10.0 ** rng.choice([-9.0, -6.0, 0.0]) * rng.standard_normal(20), rng.standard_normal(19)
        f = IncrementalObjective(
            lambda x, a: float(np.sum(a * np.diff(x) ** 2)), lambda x, h, a: (x, h, a, factor), difference
        )
        f.verify(x, (a,), samples=20)

    for seed in range(60):
        if factor == 1.0:
            verify(seed)
        else:
            with pytest.raises(AssertionError, match="the incremental difference is wrong"):
                verify(seed)


@pytest.mark.parametrize("factor", [1.0, 3.0, -1.0])
def test_rounding_of_terms_that_cancel_verifies_nothing(factor):
    @jit
    def difference(state, k):
        x, h, factor = state
        return 4.0 * h * x[k] * factor

    def rough(x, noise):
        return float(noise * np.sum(np.sin(1e9 * x)) + x @ x)

    def verify(noise):
        f = IncrementalObjective(lambda x: rough(x, noise), lambda x, h: (x, h, factor), difference)
        f.verify(np.random.default_rng(0).standard_normal(5))

    for noise in (1e-9, 1e-3, 1e2):
        if factor == 1.0 and noise < 1.0:
            verify(noise)
        else:
            with pytest.raises(AssertionError, match=r"nothing is verified|the incremental difference is wrong"):
                verify(noise)


def test_verify_accuses_a_difference_at_the_end_of_its_domain():
    def prepare(x, h):
        if h > 1e-4:
            raise ValueError("beyond the domain")
        return x, h

    @jit
    def difference(state, k):
        x, h = state
        return 6.0 * h * x[k]

    f = IncrementalObjective(lambda x: float(x @ x), prepare, difference)
    with pytest.raises(AssertionError, match="the incremental difference is wrong"):
        f.verify(np.array([3.0, 4.0]))
