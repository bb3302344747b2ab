"""numerical_diff and numerical_gradient: bits, memory, faults, misuse."""

import gc
import math
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
import tracemalloc
import warnings
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from problems import JIT, PROBLEMS, compiled, compiled_once, error_bound, interrupt_at, needs_jit, sum_of_squares

from numgrad import (
    Gradient,
    check_gradient,
    directional_derivative,
    estimate_gradient,
    gradient_descent,
    numerical_diff,
    numerical_gradient,
    numerical_jacobian,
    reference,
)

COMPILED = {name: compiled_once(problem.f) for name, problem in PROBLEMS.items()}
ROUTES = {"python": lambda name: PROBLEMS[name].f, "compiled": COMPILED.get}
SHAPES = [(), (1,), (7,), (3, 4), (2, 3, 2)]
# The problem that is compiled for arrays of other than one dimension: each number of them is another type to numba.
OF_DIMENSIONS = {0: "waves", 2: "chained", 3: "cubic"}

points = hnp.arrays(
    np.float64, hnp.array_shapes(max_dims=3, max_side=4), elements=st.floats(-3, 3, allow_subnormal=False)
)


@pytest.fixture(params=ROUTES)
def route(request):
    return ROUTES[request.param]


# --- the result ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", PROBLEMS)
def test_gradient_is_the_reference_bit_for_bit(route, name, shape):
    x = np.asarray(np.random.default_rng(3).standard_normal(shape))
    f = PROBLEMS[name].f if route("cubic") is PROBLEMS["cubic"].f else COMPILED[OF_DIMENSIONS.get(len(shape), name)]
    expected = reference.numerical_gradient(f, x.copy())
    gradient = numerical_gradient(f, x)
    assert gradient.shape == shape
    assert gradient.dtype == np.float64
    assert gradient.tobytes() == expected.tobytes()


@settings(max_examples=40, deadline=None, derandomize=True)
@given(x=points, name=st.sampled_from(sorted(PROBLEMS)), h=st.sampled_from([1e-6, 1e-4, 0.5]))
@pytest.mark.filterwarnings("ignore:all differences are exactly zero")
def test_every_route_is_the_reference_and_within_the_error_bound_of_the_exact_gradient(x, name, h):
    before, twin = x.tobytes(), OF_DIMENSIONS.get(x.ndim, name)
    for problem, f in ((PROBLEMS[name], PROBLEMS[name].f), (PROBLEMS[twin], COMPILED[twin])):
        gradient = numerical_gradient(f, x, h)
        assert gradient.tobytes() == reference.numerical_gradient(f, x.copy(), h).tobytes()
        assert np.max(np.abs(gradient - problem.gradient(x))) <= error_bound(problem, x, h)
        assert x.tobytes() == before


@pytest.mark.parametrize("name", ["cubic", "waves"])
def test_halving_the_step_quarters_the_error(route, name):
    x, problem = np.array([0.3, -1.1, 2.0]), PROBLEMS[name]
    coarse, fine = (np.max(np.abs(numerical_gradient(route(name), x, h) - problem.gradient(x))) for h in (0.02, 0.01))
    assert 1.9 <= np.log2(coarse / fine) <= 2.1


def test_f_is_evaluated_exactly_twice_a_coordinate_at_the_reference_points():
    def points_of(gradient):
        seen = []

        def f(x):
            seen.append(x.copy())
            return sum_of_squares(x)

        gradient(f, np.arange(6.0).reshape(2, 3))
        return np.array(seen)

    seen = points_of(numerical_gradient)
    assert seen.shape == (12, 2, 3)
    assert seen.tobytes() == points_of(reference.numerical_gradient).tobytes()


def test_empty_x_gives_an_empty_gradient_and_no_evaluation(route):
    def never(x):
        raise AssertionError("evaluated")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert numerical_gradient(never, np.empty((0, 3))).shape == (0, 3)
        assert numerical_gradient(route("cubic"), []).shape == (0,)


def test_nan_and_inf_pass_through_as_nan_without_numpy_warnings(route):
    for x in (np.array([np.nan, 1.0]), np.array([1e200, 1.0])):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", "the step")
            if not JIT:
                warnings.filterwarnings("ignore", "overflow|invalid")
            with np.errstate(all="ignore"):
                gradient = numerical_gradient(route("cubic"), x)
        assert np.isnan(gradient).any()


def test_args_reach_f():
    def weighted(x, w, power):
        return np.sum(w * x**power)

    x, w = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    expected = numerical_gradient(lambda x: weighted(x, w, 2), x)
    assert numerical_gradient(weighted, x, args=(w, 2)).tobytes() == expected.tobytes()
    assert np.allclose(numerical_gradient(compiled(weighted), x, args=(w, 2)), expected, rtol=1e-9)


def test_a_step_that_narrow_numbers_cannot_hold_warns_and_gives_nan():
    for value, dtype, h in [(0.0, "f2", 1e-8), (1e-5, "f2", 1e-8), (0.0, "f4", 1e-46)]:
        with pytest.warns(RuntimeWarning, match="is lost in round-off"):
            assert np.isnan(numerical_gradient(lambda x: float(x[0]), np.array([value], dtype), h)).all()


def test_infinite_points_of_an_elementwise_f_give_nan_and_no_warning_of_numpy():
    with pytest.warns(RuntimeWarning, match="the step h=0.5 is below the spacing") as caught:
        assert np.isnan(numerical_diff(lambda x: x, np.array([np.inf, 1.0]), 0.5)).tolist() == [True, False]
    assert len(caught) == 1


def test_numba_errors_of_a_python_f_pass_through_as_they_were_raised():
    from numba.core.errors import TypingError

    def f(x):
        raise TypingError("mine")

    for run in (lambda: numerical_diff(f, 1.0), lambda: numerical_gradient(f, [1.0])):
        with pytest.raises(TypingError, match=r"^mine$"):
            run()


def test_classes_may_be_args_and_progress_still_moves():
    seen = []
    x = np.ones(2)
    numerical_gradient(lambda x, kind: kind(x[0]), x, args=(float,), progress=lambda *at: seen.append(at))
    assert seen[-1] == (2, 2)


def test_a_reused_buffer_still_gives_the_right_gradient():
    for shape in [(), (1,), (1, 1)]:
        buffer = np.empty(shape)

        def f(x, buffer=buffer):
            buffer[...] = np.sum(x * x)
            return buffer

        assert np.allclose(numerical_gradient(f, np.array([3.0, 4.0])), [6.0, 8.0])


def test_a_reused_buffer_of_a_compiled_f_still_gives_the_right_gradient():
    def f(x, buffer):
        buffer[0] = x[0] * x[0] + x[1] * x[1]
        return buffer

    assert np.allclose(numerical_gradient(compiled(f), np.array([3.0, 4.0]), args=(np.empty(1),)), [6.0, 8.0])


@pytest.mark.parametrize("value", [3, np.int8(3), np.float32(3), np.array(3.0), np.array([[3]])])
def test_f_may_return_any_single_real_number(value):
    with pytest.warns(RuntimeWarning, match="all differences are exactly zero"):
        assert numerical_gradient(lambda x: value, [1.0]) == 0.0


# --- memory ----------------------------------------------------------------------------------------------------------


def layouts():
    base = np.random.default_rng(4).standard_normal((6, 8))
    packed = np.zeros((6, 8), dtype=[("tag", "u1"), ("value", "f8")])
    packed["value"] = base
    return {
        "C": base.copy(),
        "Fortran": np.asfortranarray(base),
        "transposed": base.copy().T,
        "strided": base.copy()[::2, 1::3],
        "negative strides": base.copy()[::-1, ::-2],
        "0-d view": base.copy()[2, 3, ...],
        "big-endian": base.astype(">f8"),
        "longdouble": base.astype(np.longdouble),
        "float32": base.astype(np.float32),
        "float32 strided": base.astype(np.float32)[:, ::2],
        "float16": base.astype(np.float16),
        "big-endian float32": base.astype(">f4"),
        "unaligned": np.frombuffer(bytearray(b"?" + base.tobytes()), dtype=np.float64, offset=1),
        "packed in a record": packed["value"],
        "masked array without a mask": np.ma.masked_array(base.copy()),
    }


def memory_of(x):
    return np.asarray(x.base if isinstance(x.base, np.ndarray) else x)


@pytest.mark.parametrize("layout", layouts())
def test_any_writable_floating_array_is_written_through_and_given_back_bit_for_bit(layout):
    x = layouts()[layout]
    owner = memory_of(x)
    before, memory = owner.tobytes(), np.asarray(x)

    def exact_sum_of_squares(values):  # in whatever order the memory is read
        return math.fsum(float(value) ** 2 for value in values.flat)

    expected = np.empty(x.shape)
    for i, value in enumerate(memory.flat):
        plus, minus = memory.copy(), memory.copy()
        plus.flat[i], minus.flat[i] = (float(value) if x.itemsize < 8 else value) + np.array([1e-4, -1e-4])
        width = float(plus.flat[i]) - float(minus.flat[i]) if x.itemsize < 8 else 2e-4
        with np.errstate(invalid="ignore"):
            expected.flat[i] = np.float64(exact_sum_of_squares(plus) - exact_sum_of_squares(minus)) / width
    with warnings.catch_warnings():
        if x.dtype == np.float16:
            warnings.filterwarnings("ignore", "the step h=0.0001 is below the spacing")
        gradient = numerical_gradient(lambda _: exact_sum_of_squares(memory), x)
    assert gradient.tobytes() == expected.tobytes()
    assert owner.tobytes() == before


def test_a_memory_mapped_array_is_written_through(tmp_path):
    x = np.memmap(tmp_path / "x", dtype=np.float64, mode="w+", shape=(3,))
    x[:] = [1.0, 2.0, 3.0]
    assert np.allclose(numerical_gradient(lambda _: float(x @ x), x), [2.0, 4.0, 6.0])
    assert x.tolist() == [1.0, 2.0, 3.0]


def test_signalling_bits_survive():
    x = np.array([1.0, 2.0, 3.0])
    x.view(np.uint64)[1] = 0x7FF0000000000001  # a signalling NaN
    narrow = np.array([1.0, 2.0], dtype=np.float32)
    narrow.view(np.uint32)[1] = 0x7F800001
    for array in (x, narrow, np.array([-0.0, 5e-324])):
        before = array.tobytes()
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            numerical_gradient(lambda x: 0.0, array)
        assert array.tobytes() == before


def test_float32_divides_by_the_distance_of_the_stored_points():
    x = np.array([1.0, 100.0], dtype=np.float32)
    gradient = numerical_gradient(lambda x: float(np.sum(x.astype(np.float64))), x)
    assert gradient.dtype == np.float64
    # However the points were rounded, the slope is that of the sum, but for the rounding of the sum in float64.
    assert np.allclose(gradient, 1.0, rtol=0, atol=2 * 2.0**-52 * 101 / 1e-4)


def test_a_step_that_float32_cannot_store_warns_and_gives_nan():
    x = np.array([1.0, 1e6], dtype=np.float32)
    with pytest.warns(RuntimeWarning, match="below the spacing"):
        gradient = numerical_gradient(lambda x: float(np.sum(x.astype(np.float64))), x)
    assert np.isnan(gradient[1])
    assert np.isclose(gradient[0], 1.0)


def read_only(x):
    x = np.array(x)
    x.flags.writeable = False
    return x


@pytest.mark.parametrize("make", [list, tuple, lambda x: np.array(x, dtype=np.int64), read_only])
def test_what_cannot_be_written_through_is_worked_on_as_a_float64_copy(make, route):
    x = make([3, 4])
    before = str(x)
    seen = []

    def f(x):
        seen.append((x.dtype, x.shape))
        return sum_of_squares(x)

    assert np.allclose(numerical_gradient(f, x), [6.0, 8.0])
    assert set(seen) == {(np.dtype(np.float64), (2,))}
    assert np.allclose(numerical_gradient(route("sum of squares"), x), [6.0, 8.0])
    assert str(x) == before


def test_a_scalar_gives_a_0_d_gradient(route):
    gradient = numerical_gradient(route("sum of squares"), 3)
    assert gradient.shape == ()
    assert np.isclose(gradient, 6.0)


@pytest.mark.parametrize("fault", [ValueError("mine"), KeyboardInterrupt(), SystemExit(3), StopIteration()])
@pytest.mark.parametrize("call", [1, 2, 5, 6])
@pytest.mark.parametrize("layout", ["C", "strided", "float32"])
def test_memory_is_what_it_was_after_an_exception(fault, call, layout):
    x, calls = layouts()[layout], 0
    owner = memory_of(x)
    before = owner.tobytes()

    def f(x):
        nonlocal calls
        calls += 1
        if calls == call:
            raise fault
        return float(np.sum(x))

    with pytest.raises(type(fault)) as caught:
        numerical_gradient(f, x)
    assert caught.value is fault
    assert owner.tobytes() == before


@pytest.mark.parametrize("call", [1, 2, 7, 8])
def test_memory_is_what_it_was_after_ctrl_c(call):
    x = np.array([0.1, 0.2, 0.3, 0.4])
    before = x.tobytes()
    with pytest.raises(KeyboardInterrupt):
        numerical_gradient(interrupt_at(call), x)
    assert x.tobytes() == before


def doubles(x):
    x *= 2.0
    return x[0]


def sorts(x):
    x.sort()
    return x[0] + 2 * x[1]


def normalises(x):
    x /= x.sum()
    return x[0] * x[1]


def writes_one_back_to_front(x):
    x[:] = x[::-1].copy()
    return x[0] ** 2


def fills(x):
    x[1] = np.nan
    return 1.0 + x[0]


@pytest.mark.parametrize("f", [doubles, sorts, normalises, writes_one_back_to_front, fills])
@pytest.mark.parametrize("options", [{}, {"scheme": "central4"}, {"h": "auto"}, {"coordinates": [0, 2]}], ids=str)
def test_an_f_that_writes_to_its_argument_is_an_error_and_memory_is_what_it_was(f, options):
    x = np.array([2.0, 1.0, 3.0])
    before = x.tobytes()
    runs = [numerical_gradient] if options else [numerical_gradient, estimate_gradient, gradient_descent]
    # Each loop takes a second to compile, and looks at the argument as the first one does: one function does for them.
    compiled_runs = runs if f is doubles else runs[: not options]
    for used, run in [(f, run) for run in runs] + [(compiled_once(f), run) for run in compiled_runs]:
        with np.errstate(all="ignore"), pytest.raises(ValueError, match=r"f writes to its argument.*x\.copy\(\)"):
            run(used, x, **options)
        assert x.tobytes() == before


def test_an_f_that_restores_what_it_writes_or_writes_to_a_copy_is_right():
    def borrows(x):
        value = x[0]
        x[0] = 0.0
        total = np.sum(x) + value**2
        x[0] = value
        return total

    for f in (borrows, lambda x: np.sort(x)[0], lambda x: (x.copy() * 2.0).sum()):
        assert np.isfinite(numerical_gradient(f, np.array([2.0, 1.0, 3.0]))).all()
    assert np.allclose(numerical_gradient(compiled(borrows), np.array([2.0, 1.0, 3.0])), [4.0, 1.0, 1.0])


def test_an_exception_of_a_compiled_f_reaches_the_caller_as_it_was_raised():
    def sometimes(x):
        if x[1] > 2.0:
            raise ValueError("mine", 3)
        return x[0]

    def always(x):
        raise IndexError("mine")

    x = np.array([1.0, 2.0])
    before = x.tobytes()
    f = compiled(sometimes)
    for workers in (1, 2):
        with pytest.raises(ValueError, match="mine") as caught:
            numerical_gradient(f, x, workers=workers)
        assert caught.value.args == ("mine", 3)
    with pytest.raises(IndexError, match="mine"):
        numerical_gradient(compiled(always), x)
    assert x.tobytes() == before


@needs_jit
def test_ctrl_c_stops_a_compiled_gradient_within_a_second():
    from numba import njit

    @njit()
    def slow(x):
        total = 0.0
        for _ in range(20_000):
            for value in x:
                total += value * value
        return total

    x = np.ones(1000)
    before, result = x.tobytes(), {}
    numerical_gradient(slow, x[:1])  # compile
    for workers in (1, 2):
        timer = threading.Timer(
            0.3, lambda: (result.update(sent=time.perf_counter()), os.kill(os.getpid(), signal.SIGINT))
        )
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            numerical_gradient(slow, x, workers=workers)
        assert time.perf_counter() - result["sent"] < 1.0
        timer.join()
        assert x.tobytes() == before


@needs_jit
@pytest.mark.parametrize("seed", [0, 1])
def test_random_ctrl_c_on_threads_neither_hangs_nor_damages(seed):
    rng, x, interrupted = np.random.default_rng(seed), np.ones(60), 0
    before = x.tobytes()
    numerical_gradient(COMPILED["waves"], x, workers=2)
    for _ in range(150):
        timer = threading.Timer(rng.uniform(0, 2e-3), os.kill, (os.getpid(), signal.SIGINT))
        try:
            timer.start()
            while True:
                numerical_gradient(COMPILED["waves"], x, workers=2)
        except KeyboardInterrupt:
            interrupted += 1
        timer.join()
        assert x.tobytes() == before
    assert interrupted == 150


def first(x):
    return x[0]


@needs_jit
def test_warm_calls_allocate_the_result_and_one_copy_of_x():
    x = np.ones(8_000)

    def peak(f, x):
        gc.collect()
        tracemalloc.start()
        try:
            gradient = numerical_gradient(f, x)
            return tracemalloc.get_traced_memory()[1], gradient.shape
        finally:
            tracemalloc.stop()

    for f in (first, compiled_once(first)):
        numerical_gradient(f, x)
        size, shape = peak(f, x)
        assert shape == x.shape
        assert size <= 2 * x.nbytes + 20_000


# --- diagnostics -----------------------------------------------------------------------------------------------------


def test_an_f_that_ignores_a_private_copy_is_reported():
    w = np.array([1.0, 2.0])
    for f in (lambda _: float(w @ w), compiled(lambda x: 1.5)):
        with pytest.warns(RuntimeWarning, match="f may ignore its argument") as caught:
            assert not numerical_gradient(f, [1.0, 2.0]).any()
        assert caught[0].filename == __file__


def test_an_f_that_is_even_at_x_is_not_said_to_ignore_it(route):
    """All its differences are exactly zero, as at the least value of a sum of squares, but it is another one nearby."""
    f, zeros = route("sum of squares"), np.zeros(3)
    own = Gradient(f)
    for once in (
        lambda: numerical_gradient(f, [0.0, 0.0, 0.0]),
        lambda: numerical_gradient(f, np.zeros(3, int), "auto"),
        lambda: numerical_gradient(f, zeros, bounds=(-1.0, 1e-3)),
        lambda: numerical_gradient(f, np.zeros((2, 3)), points_axis=0),
        lambda: numerical_gradient(f, np.zeros((3, 2)), points_axis=1, bounds=(-1.0, 2.0)),
        lambda: numerical_gradient(f, np.zeros((2, 3)), "auto", points_axis=0),
        lambda: numerical_gradient(f, np.zeros((2, 3)), np.full((2, 3), 1e-3), points_axis=0),
        lambda: numerical_gradient(f, np.zeros((2, 3)), points_axis=0, scheme="central4"),
        lambda: [own(zeros) for _ in range(3)],
        lambda: own.value_and_gradient([0.0, 0.0])[1],
        lambda: estimate_gradient(f, [0, 0], bounds=(-1.0, 1e-3)).value,
        lambda: gradient_descent(f, [0.0, 0.0], 0.1, 3),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert not np.any(once())


def test_an_f_that_is_not_defined_at_x_or_nearby_is_not_said_to_ignore_it():
    def defined_beside(x):
        if x[0] == 0.0 or abs(x[0]) > 5e-4:
            raise ZeroDivisionError
        return float(x[0] ** -2)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert numerical_gradient(defined_beside, [0.0]).tolist() == [0.0]


def test_coordinates_that_f_does_not_depend_on_are_no_news(route):
    f = compiled_once(first) if route("cubic") is COMPILED["cubic"] else first
    assert numerical_gradient(f, [1.0, 2.0], coordinates=[1]).tolist() == [0.0]


def test_an_f_that_ignores_its_argument_but_reads_x_is_right_and_silent():
    w = np.array([1.0, 2.0])
    assert np.allclose(numerical_gradient(lambda _: float(w @ w), w), [2.0, 4.0])
    assert not numerical_gradient(lambda _: 0.0, w).any()  # constant, written through: nothing to report


def linear(x):
    return x.flat[0] + x.flat[1]


@pytest.mark.parametrize("large", [1e12, -1e13, 1e300, np.inf])
def test_a_lost_step_warns_once_and_still_returns(route, large):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with np.errstate(all="ignore"), pytest.warns(RuntimeWarning, match="below the spacing") as caught:
            gradient = numerical_gradient(
                linear if route("cubic") is PROBLEMS["cubic"].f else compiled_once(linear), np.array([large, 1.0])
            )
    assert len([w for w in caught if "spacing" in str(w.message)]) == 1
    assert gradient.shape == (2,)


@needs_jit
@pytest.mark.parametrize("workers", [1, 2])
def test_a_compiled_f_that_captured_x_is_an_error_that_names_the_variable(workers):
    from numba import njit

    weights = np.array([1.0, 2.0])

    @njit()
    def inner():
        return weights[0]

    @njit()
    def direct(x):
        return weights[0] + weights[1]

    @njit()
    def indirect(x):
        return inner() + x[0]

    for f in (direct, indirect):
        for x in (weights, weights[::-1], weights[:1]):
            with pytest.raises(ValueError, match=r"captured variable 'weights'.*args="):
                numerical_gradient(f, x, workers=workers)
    with pytest.warns(RuntimeWarning, match="f may ignore"):
        numerical_gradient(direct, weights.copy())


@needs_jit
def test_a_compiled_f_whose_args_share_the_memory_of_x_is_an_error():
    x, f = np.array([1.0, 2.0]), compiled(lambda x, w: x[0] * w[1])
    with pytest.raises(ValueError, match=r"args\[0\] shares memory with x"):
        numerical_gradient(f, x, args=(x,))
    with pytest.raises(ValueError, match=r"args\[1\]\[0\] shares memory with x"):
        numerical_gradient(compiled(lambda x, a, w: x[0] * w[0][1]), x, args=(3, (x[::-1],)))
    x.flags.writeable = False  # nobody perturbs it, so f may read it as data
    assert numerical_gradient(f, x, args=(x,)) == pytest.approx([2.0, 0.0])


@needs_jit
def test_a_captured_name_that_was_bound_to_x_after_the_compilation_is_an_error():
    from numba import njit

    weights = np.array([1.0, 2.0])

    @njit()
    def f(x):
        return weights[0] * x[0]

    numerical_gradient(f, np.ones(2))
    weights = np.array([10.0, 20.0])
    with pytest.raises(ValueError, match="captured variable 'weights'"):
        numerical_gradient(f, weights)


@needs_jit
def test_an_f_with_threads_of_its_own_is_not_run_on_several():
    from numba import njit

    f = njit(parallel=True)(lambda x: x[0])
    with pytest.raises(TypeError, match="workers=2 needs an f compiled without parallel=True"):
        numerical_gradient(f, np.ones(2), workers=2)


def test_args_of_any_kind_are_passed_on():
    def f(x, weights, settings):
        return weights[0][0, 0] * x[0] + weights[1][0] * settings[0]

    args = ((np.ones((2, 2)), np.ones(3)), (2, 3.0))
    for used in (f, compiled(f)):
        assert numerical_gradient(used, np.ones(2), args=args) == pytest.approx([1.0, 0.0])
    ragged = ([np.ones((2, 2)), np.ones(3)], (2,))
    assert numerical_gradient(f, np.ones(2), args=ragged) == pytest.approx([1.0, 0.0])


@pytest.mark.parametrize("workers", [1, 2])
def test_coordinates_choose_partial_derivatives(workers):
    x = np.random.default_rng(2).standard_normal((5, 6))
    before, chosen = x.tobytes(), [29, 0, 7, 7]
    for f in (PROBLEMS["waves"].f, COMPILED["waves"])[workers - 1 :]:
        expected = reference.numerical_gradient(f, x.copy()).reshape(-1)[chosen]
        for coordinates in (chosen, np.array(chosen, dtype=np.uint8)):
            out = np.full(4, np.nan)
            assert numerical_gradient(f, x, coordinates=coordinates, workers=workers, out=out) is out
            assert out.tobytes() == expected.tobytes()
        assert numerical_gradient(f, x, coordinates=[]).shape == (0,)
        assert x.tobytes() == before
    unaligned = np.frombuffer(b"0" + np.array(chosen).tobytes(), np.uint8)[1:].view(np.intp)
    for scheme in ("central", "forward"):
        found = numerical_gradient(PROBLEMS["waves"].f, x, coordinates=unaligned, scheme=scheme)
        assert (
            found.tobytes() == numerical_gradient(PROBLEMS["waves"].f, x, coordinates=chosen, scheme=scheme).tobytes()
        )
    narrow = np.array([1.0, 2.0, 3.0], dtype=np.float32)
    everywhere = numerical_gradient(sum_of_squares, narrow, 1e-2)
    assert numerical_gradient(sum_of_squares, narrow, 1e-2, coordinates=[2, 1]).tolist() == everywhere[[2, 1]].tolist()


@pytest.mark.parametrize("workers", [1, 2])
def test_progress_reports_to_the_end_in_the_calling_thread(workers):
    x = np.random.default_rng(2).standard_normal(40)
    for f in (PROBLEMS["waves"].f, COMPILED["waves"])[workers - 1 :]:
        seen, threads = [], set()

        def progress(done, total, seen=seen, threads=threads):
            seen.append((done, total))
            threads.add(threading.get_ident())

        gradient = numerical_gradient(f, x, workers=workers, progress=progress)
        assert gradient.tobytes() == numerical_gradient(f, x).tobytes()
        assert seen == sorted(seen)
        assert seen[-1] == (40, 40)
        assert threads == {threading.get_ident()}


def test_an_exception_of_the_progress_callable_ends_the_work_and_leaves_x():
    x = np.ones(50)

    def progress(done, total):
        raise ValueError("mine")

    for f, workers in [(sum_of_squares, 1), (COMPILED["waves"], 1), (COMPILED["waves"], 2)]:
        with pytest.raises(ValueError, match="mine"):
            numerical_gradient(f, x, workers=workers, progress=progress)
        assert (x == 1.0).all()


def test_progress_true_shows_a_bar(capsys):
    pytest.importorskip("tqdm")
    numerical_gradient(sum_of_squares, np.ones(7), progress=True)
    assert "| 7/7 [" in capsys.readouterr().err


def test_progress_true_without_tqdm_names_tqdm(monkeypatch):
    for name in ("tqdm", "tqdm.auto"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"pip install tqdm$"):
        numerical_gradient(never, np.ones(7), progress=True)


@needs_jit
def test_a_compiled_f_that_numba_cannot_type_is_one_clear_line():
    cases = [
        (lambda x: x[0, 0], (), "cannot index array"),
        (lambda x: x.nosuch, (), "Unknown attribute 'nosuch'"),
        (lambda x: undefined_name, (), "name 'undefined_name' is not defined"),  # noqa: F821
        (lambda x, y: x[0] + y, (), "missing a required argument: 'y'"),
        (lambda x, y: x[0] + y, ("text",), ""),
    ]
    for f, args, useful in cases:
        with pytest.raises(TypeError, match="numba cannot compile f for this x and args: ") as caught:
            numerical_gradient(compiled(f), np.ones(2), args=args)
        assert useful in str(caught.value)
        assert "\n" not in str(caught.value)
        assert caught.value.__cause__ is not None


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "NoneType None"),
        ("3.0", "str '3.0'"),
        (1j, "complex 1j"),
        (np.complex128(1), "complex"),
        (np.array([1j]), "dtype complex128"),
        (np.array([1.0, 2.0]), r"dtype float64 and shape \(2,\)"),
        (np.array([]), r"shape \(0,\)"),
        (True, "bool True"),
        (float, "type"),
        (np.array([1j], object), "dtype object"),
        (np.ma.masked, "."),
        ([1.0, [2.0]], "list"),
        ((1.0,), None),
        ([1.0, 2.0], r"list \[1.0, 2.0\]"),
    ],
)
def test_anything_but_one_real_number_from_f_is_a_type_error(value, said):
    x = np.array([1.0, 2.0])
    if said is None:  # a sequence of one number is one number
        assert not numerical_gradient(lambda x: value, x).any()
        return
    with pytest.raises(TypeError, match="f must return one real number, it returned .*" + said):
        numerical_gradient(lambda x: value, x)
    assert x.tolist() == [1.0, 2.0]


@needs_jit
@pytest.mark.parametrize(
    ("f", "said"),
    [
        (lambda x: None, "it returned none"),
        (lambda x: "text", "it returned"),
        (lambda x: x[0] * 1j, "it returned complex128"),
        (lambda x: x, r"it returned array\(float64, 1d, C\) with more or less than one element"),
        (lambda x: (x[0], 1), "it returned Tuple"),
        (lambda x: x[0] > 0, "it returned bool"),
    ],
)
def test_anything_but_one_real_number_from_a_compiled_f_is_a_type_error(f, said):
    with pytest.raises(TypeError, match="f must return one real number, " + said) as caught:
        numerical_gradient(compiled(f), np.ones(2))
    assert "\n" not in str(caught.value)


@needs_jit
def test_a_compiled_f_may_return_an_array_of_one_element_or_an_optional_number():
    def optional(x):
        if x[0] > 100.0:
            return None
        return x[0] * x[0]

    for f in (lambda x: x[:1] * x[:1], optional):
        assert np.isclose(numerical_gradient(compiled(f), np.array([3.0, 1.0]))[0], 6.0)


# --- misuse ----------------------------------------------------------------------------------------------------------


def never(x, *args):
    raise AssertionError("evaluated before the arguments were checked")


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"h": 0.0}, ValueError, "h must be finite and positive, got 0.0"),
        ({"h": -1e-4}, ValueError, "h must be finite and positive"),
        ({"h": float("nan")}, ValueError, "h must be finite"),
        ({"h": np.inf}, ValueError, "h must be finite"),
        ({"h": 1e308}, ValueError, "h must be finite"),
        ({"h": 1e308}, ValueError, "2h must be finite, got 1e\\+308"),
        ({"coordinates": [0, [1]]}, ValueError, "coordinates must be .*, got nested lists"),
        ({"h": "1e-4"}, TypeError, "h must be a real number, got str '1e-4'; the automatic step is 'auto'"),
        ({"h": None}, TypeError, "h must be a real number"),
        ({"h": 1j}, TypeError, "h must be a real number"),
        ({"h": True}, TypeError, "h must be a real number"),
        ({"workers": 0}, ValueError, "workers must be at least 1, or -1 for all cores, got 0"),
        ({"workers": -2}, ValueError, "workers must be at least 1"),
        ({"workers": 1.5}, TypeError, "workers must be an integer"),
        ({"workers": True}, TypeError, "workers must be an integer"),
        ({"workers": "2"}, TypeError, "workers must be an integer"),
        ({"workers": "2"}, TypeError, "workers must be an integer, got str '2'"),
        ({"h": 10**400}, ValueError, "h must be finite"),
        ({"h": np.complex128(1e-4)}, TypeError, "h must be a real number"),
        ({"x": [[1.0], [2.0, 3.0]]}, ValueError, "x must be a rectangular array"),
        ({"coordinates": [[0]]}, ValueError, r"coordinates must be a one-dimensional array .* got shape \(1, 1\)"),
        ({"coordinates": 0}, ValueError, r"coordinates must be a one-dimensional array .* got shape \(\)"),
        ({"coordinates": [0.0]}, TypeError, "coordinates must be integers, got dtype float64"),
        ({"coordinates": [True]}, TypeError, "coordinates must be integers, got dtype bool"),
        ({"coordinates": [0, 2]}, ValueError, r"coordinates must be in range\(2\), got 0 to 2"),
        ({"coordinates": [-1]}, ValueError, r"coordinates must be in range\(2\), got -1 to -1"),
        ({"coordinates": [0], "out": np.empty(2)}, ValueError, r"the shape of the result, \(1,\), got \(2,\)"),
        ({"progress": 3}, TypeError, "progress must be a bool or a callable, got int 3"),
        ({"args": [1.0]}, TypeError, r"args must be a tuple, got list \[1.0\]; write args="),
        ({"args": np.ones(2)}, TypeError, "args must be a tuple"),
        ({"out": [0.0, 0.0]}, TypeError, "out must be a float64 array"),
        ({"out": np.empty(2, np.float32)}, TypeError, "out must be a float64 array, got an array of dtype float32"),
        ({"out": np.empty(3)}, ValueError, r"out must have the shape of the result, \(2,\), got \(3,\)"),
        ({"out": np.empty(4)[::2]}, ValueError, "out must be a writable C-contiguous array"),
        ({"out": read_only([0.0, 0.0])}, ValueError, "out must be a writable C-contiguous array"),
        ({"f": None}, TypeError, "f must be callable, got NoneType None"),
        ({"f": 3.0}, TypeError, "f must be callable"),
        ({"x": np.array([1j])}, TypeError, "x must hold real numbers .* got dtype complex128"),
        ({"x": np.array([True])}, TypeError, "got dtype bool"),
        ({"x": np.array([1.0], dtype=object)}, TypeError, "got dtype object"),
        ({"x": ["a"]}, TypeError, "got dtype <U1"),
        ({"x": None}, TypeError, "got dtype object"),
    ],
)
def test_misuse_is_an_error_before_anything_is_evaluated(kwargs, error, message):
    call = {"f": never, "x": np.array([1.0, 2.0])} | kwargs
    with pytest.raises(error, match=message) as caught:
        numerical_gradient(call.pop("f"), call.pop("x"), **call)
    assert "\n" not in str(caught.value)


def test_out_is_written_and_returned(route):
    x, out = np.array([1.0, 2.0]), np.full(2, np.nan)
    assert numerical_gradient(route("cubic"), x, out=out) is out
    assert out.tobytes() == reference.numerical_gradient(route("cubic"), x).tobytes()


def test_out_must_not_share_memory_with_what_f_reads():
    memory = np.ones(4)
    with pytest.raises(ValueError, match="out must not share memory with x"):
        numerical_gradient(never, memory[:3], out=memory[1:])
    with pytest.raises(ValueError, match=r"out must not share memory with args\[1\]"):
        numerical_gradient(never, np.ones(4), out=memory, args=(2, memory))
    with pytest.raises(ValueError, match=r"out must not share memory with args\[0\]\[1\]"):
        numerical_gradient(never, np.ones(4), out=memory, args=((2, memory),))
    frozen = memory.view()
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="out must not share memory with x"):
        numerical_gradient(never, frozen, out=memory)
    assert memory.tolist() == [1.0] * 4


def test_an_x_whose_elements_share_memory_is_an_error():
    x = np.lib.stride_tricks.as_strided(np.ones(5), shape=(3, 3), strides=(8, 8))
    with pytest.raises(ValueError, match="x may have elements that share memory"):
        numerical_gradient(never, x)


# --- threads and processes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [2, 3, np.int64(4), 50])
@pytest.mark.parametrize("name", PROBLEMS)
def test_threads_give_the_same_bits(name, workers):
    x = np.random.default_rng(5).standard_normal((5, 9))
    before, out = x.tobytes(), np.full((5, 9), np.nan)
    expected = reference.numerical_gradient(COMPILED[name], x.copy())
    assert numerical_gradient(COMPILED[name], x, workers=workers, out=out).tobytes() == expected.tobytes()
    assert x.tobytes() == before


def test_calls_from_several_python_threads_work(route):
    xs = np.random.default_rng(6).standard_normal((6, 30))
    expected = [reference.numerical_gradient(route("waves"), x.copy()) for x in xs]
    results = [None] * len(xs)

    def work(i):
        for _ in range(3):
            results[i] = numerical_gradient(route("waves"), xs[i])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(xs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [r.tobytes() for r in results] == [e.tobytes() for e in expected]


def gradient_in_child(workers):
    f = COMPILED["sum of squares"]
    return numerical_gradient(f, np.array([3.0, 4.0]), workers=workers).tobytes()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # fork with threads: what is tested here
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_calls_from_a_child_process_work(start):
    expected = gradient_in_child(2)
    if start not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {start} on {sys.platform}")
    with multiprocessing.get_context(start).Pool(1) as pool:
        assert pool.map(gradient_in_child, [1, 2]) == [expected] * 2


# --- numerical_diff --------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None, derandomize=True)
@given(x=st.floats(-1e3, 1e3), h=st.sampled_from([1e-6, 1e-4, 0.5]))
def test_numerical_diff_is_the_reference_bit_for_bit(x, h):
    def f(x):
        return x * x * x - 2 * x

    expected = reference.numerical_diff(f, x, h)
    assert numerical_diff(f, x, h) == expected
    assert type(numerical_diff(f, x, h)) is float
    array = numerical_diff(f, [x, 1.0], h)
    assert array[0] == expected
    assert numerical_diff(compiled(f) if not JIT else f, np.array(x), h) == expected


def test_numerical_diff_works_elementwise_and_leaves_x_alone():
    x = np.arange(6.0).reshape(2, 3)
    before = x.tobytes()
    assert numerical_diff(np.square, x).tobytes() == reference.numerical_diff(np.square, x).tobytes()
    assert numerical_diff(np.square, x.astype(np.float32)).dtype == np.float64
    assert numerical_diff(np.square, [1, 2]).tolist() == pytest.approx([2.0, 4.0])
    assert x.tobytes() == before


@pytest.mark.parametrize("options", [{}, {"scheme": "central4"}, {"h": "auto"}])
def test_numerical_diff_of_an_f_that_reads_x_itself_is_refused(options):
    x = np.array([1.0, 2.0])
    with pytest.raises(ValueError, match="f reads x by another way"):
        numerical_diff(lambda _: x**2, x, **options)
    assert x.tolist() == [1.0, 2.0]
    assert numerical_diff(lambda x: np.ones(2), x, **options).tolist() == [0.0, 0.0]
    assert numerical_diff(lambda x: 3.0 * x, x, order=2).tolist() == pytest.approx([0.0, 0.0], abs=1e-6)


def test_numerical_diff_copes_with_a_reused_buffer():
    buffer = np.empty(2)

    def f(x):
        return np.multiply(x, x, out=buffer)

    assert numerical_diff(f, [3.0, 4.0]) == pytest.approx([6.0, 8.0])


@pytest.mark.parametrize(
    ("f", "x", "h", "error", "message"),
    [
        (3.0, 1.0, 1e-4, TypeError, "f must be callable"),
        (abs, "1.0", 1e-4, TypeError, "x must hold real numbers"),
        (abs, 1j, 1e-4, TypeError, "x must hold real numbers"),
        (abs, 1.0, 0, ValueError, "h must be finite and positive"),
        (abs, 1.0, "a", TypeError, "h must be a real number"),
        (lambda x: None, 1.0, 1e-4, TypeError, "f must return one real number, it returned NoneType"),
        (lambda x: 1j, 1.0, 1e-4, TypeError, "f must return one real number"),
        (lambda x: x * 1j, [1.0], 1e-4, TypeError, "what f returns must hold real numbers"),
        (np.sum, [1.0, 2.0], 1e-4, ValueError, r"f must be elementwise: x has the shape \(2,\), f\(x\) has \(\)"),
    ],
)
def test_numerical_diff_misused(f, x, h, error, message):
    with pytest.raises(error, match=message):
        numerical_diff(f, x, h)


def test_numerical_diff_warns_of_a_lost_step():
    with pytest.warns(RuntimeWarning, match="below the spacing") as caught:
        numerical_diff(float, 1e15)
    assert caught[0].filename == __file__


def test_nan_in_a_narrow_array_is_no_lost_step():
    for f in (np.sum, lambda x: float(np.sum(x.astype(float)))):
        assert np.isnan(numerical_gradient(f, np.array([np.nan, 1.0], np.float32))).all()


def scales(x):
    x.flat[0] *= 2.0
    return x.sum()


@pytest.mark.parametrize("x", [np.ones(1), np.ones((1, 1)), np.ones(3)], ids=str)
def test_a_write_to_the_only_coordinate_that_is_asked_for_is_found(x):
    for f in (scales, compiled_once(scales)) if x.ndim == 1 else (scales,):
        with pytest.raises(ValueError, match="f writes to its argument"):
            numerical_gradient(f, x, coordinates=[0])
        assert (x == 1.0).all()


# --- steps that are lost by degrees ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1e3, 1e7, 4e8])
def test_a_step_that_keeps_all_but_a_thousandth_is_not_warned_of(size):
    assert numerical_gradient(lambda x: x[0], np.array([size])) == pytest.approx([1.0], rel=2e-3)


@needs_jit
@pytest.mark.parametrize("size", [1e9, 4e10, 4e11])
def test_a_step_that_loses_a_thousandth_is_warned_of(size):
    x = np.array([size, 1.0])
    said = r"the step h=0.0001 loses up to .*% of itself where x \+ h .* near " + re.escape(
        f"{size:.2g}; pass h='auto'"
    )
    calls = [
        lambda f: numerical_gradient(f, x),
        lambda f: numerical_gradient(f, x, scheme="central4"),
        lambda f: numerical_gradient(f, x, scheme="forward", bounds=(0.0, 1e12)),
        lambda f: gradient_descent(f, x.copy(), step_num=1),
    ]
    for f in (first, compiled_once(first)):
        for call in calls:
            with pytest.warns(RuntimeWarning, match=said):
                call(f)
        assert numerical_gradient(f, x, "auto") == pytest.approx([1.0, 0.0])
    with pytest.warns(RuntimeWarning, match=said):
        numerical_gradient(lambda batch: batch[:, 0], x, vectorized=True)
    for point in (size, x):
        with pytest.warns(RuntimeWarning, match=said):
            numerical_diff(lambda x: x, point)
        with pytest.warns(RuntimeWarning, match=said):
            numerical_diff(lambda x: x, point, scheme="central4")


def test_where_the_stored_distance_is_the_divisor_only_a_step_that_vanishes_is_lost():
    narrow = np.array([1000.0], np.float32)
    assert numerical_gradient(lambda x: float(x[0]), narrow, 1e-3) == pytest.approx([1.0])
    with pytest.warns(RuntimeWarning, match="below the spacing"):
        numerical_gradient(lambda x: float(x[0]), narrow, 1e-6)
    assert numerical_gradient(lambda x: x[0], np.array([4e11]), [1e-4]) == pytest.approx([1.0])


@pytest.mark.parametrize("x", [1e285, 1e300, 1e-300, 5e-324])
def test_automatic_steps_serve_every_magnitude(x):
    for scheme in ("central", "forward", "central4"):
        assert numerical_gradient(lambda x: x[0], np.array([x]), "auto", scheme=scheme) == pytest.approx([1.0])


def test_automatic_steps_of_more_than_float64_are_those_of_the_values():
    x, h = np.array([1.0], np.longdouble), []
    numerical_gradient(lambda x: h.append(abs(float(x[0]) - 1.0)) or float(x[0]), x, "auto")
    assert max(h) == pytest.approx(2.0 ** (-52 / 3), rel=1e-6)


# --- an f that moves the memory itself -------------------------------------------------------------------------------


def resizes(x):
    x.resize(1000, refcheck=False)
    return 0.0


def reshapes_and_fails(x):
    x.shape = (x.size, 1, 1)
    raise KeyError("mine")


def locks_and_fails(x):
    x.flags.writeable = False
    raise KeyError("mine")


@pytest.mark.parametrize("h", [1e-4, "auto"])
def test_an_f_that_resizes_x_is_refused_by_numpy_and_x_stays(h):
    for call in (
        lambda x: numerical_gradient(resizes, x, h),
        lambda x: estimate_gradient(resizes, x),
        lambda x: check_gradient(resizes, x, x),
        lambda x: check_gradient(lambda p: resizes(p["x"]), {"x": x.copy()}, {"x": x}, directions=2),
        lambda x: gradient_descent(resizes, x, h=h),
    ):
        x = np.arange(4.0)
        with pytest.raises(ValueError, match="cannot resize"):
            call(x)
        assert x.tolist() == [0.0, 1.0, 2.0, 3.0]


@pytest.mark.parametrize("f", [reshapes_and_fails, locks_and_fails])
@pytest.mark.parametrize("h", [1e-4, "auto"])
@pytest.mark.parametrize("dtype", [float, np.float16])
def test_an_f_that_reshapes_or_locks_x_and_raises_leaves_its_numbers(f, h, dtype):
    x = np.arange(4.0).astype(dtype)
    with pytest.raises(KeyError, match="mine"):
        numerical_gradient(f, x, h)
    assert x.ravel().tolist() == [0.0, 1.0, 2.0, 3.0]


# --- values of few digits --------------------------------------------------------------------------------------------


def in_float32(x):
    return np.sum((x.astype(np.float32) - 1) ** 2, dtype=np.float32) + np.float32(1000)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.longdouble])
@pytest.mark.parametrize("scheme", ["central", "forward", "backward", "central4", "central6"])
@pytest.mark.parametrize("options", [{}, {"bounds": (0.0, 9.0)}, {"coordinates": [0, 1]}, {"workers": map}])
def test_an_automatic_step_allows_for_the_digits_of_f(dtype, scheme, options):
    x = np.array([2.0, 3.0], dtype)
    order = {"forward": 1, "backward": 1, "central": 2, "central4": 4, "central6": 6}[scheme]
    h = 2.0 ** (-23 / (order + 1)) * x.astype(float)
    # Truncation, of a parabola, and the round-off of f in float32, of weights that add up to less than 4.
    error = (h if order == 1 else 0.0 * h) + 8 * 1004 * 2.0**-23 / h
    assert np.all(np.abs(numerical_gradient(in_float32, x, "auto", scheme=scheme, **options) - [2.0, 4.0]) <= error)


def test_an_automatic_step_of_a_descent_and_of_batches_allows_for_the_digits_of_f():
    x = gradient_descent(in_float32, np.array([2.0, 3.0]), 0.25, 1, h="auto")
    assert x == pytest.approx(np.array([1.5, 2.0]), abs=2e-3)
    gradient = numerical_gradient(
        lambda batch: np.float32(1000) + np.sum((batch.astype(np.float32) - 1) ** 2, axis=1, dtype=np.float32),
        np.array([2.0, 3.0]),
        "auto",
        vectorized=True,
    )
    assert gradient == pytest.approx(np.array([2.0, 4.0]), abs=2e-2)


@pytest.mark.parametrize("scheme", ["central", "forward", "backward", "central4", "central6"])
@pytest.mark.parametrize("options", [{}, {"bounds": (0.0, 9.0)}, {"coordinates": [1, 0]}, {"workers": map}])
def test_an_automatic_step_allows_for_float32_inside_of_f(scheme, options):
    x, exact = np.array([2.0, 3.0]), np.array([2.0, 4.0])
    chosen = options.get("coordinates", [0, 1])
    found = numerical_gradient(lambda x: float(in_float32(x)), x, "auto", scheme=scheme, **options)
    assert np.array_equal(found, numerical_gradient(in_float32, x, "auto", scheme=scheme, **options))
    assert found == pytest.approx(exact[chosen], abs=0.5)  # round-off by the steps for float64 is 5 to 4e3

    def sine(t):
        return np.sin(np.asarray(t).astype(np.float32)).astype(np.float64)

    for t in (1.0, np.linspace(0.3, 2.0, 5)):
        assert numerical_diff(sine, t, "auto", scheme=scheme) == pytest.approx(np.cos(t), abs=1e-3)
        second = numerical_diff(sine, t, scheme=scheme, order=2)
        assert second == pytest.approx(-np.sin(t), abs=5e-2)


@compiled
def sum_in_float32(x):
    total = np.float32(0.0)
    for i in range(x.size):
        total += np.exp(np.float32(x[i])) * np.float32(i + 1)
    return np.float64(total)


@pytest.mark.parametrize("x", [[1.0, 2.0], [0.0, 0.0], [0.3, -0.7, 1.9], [2.5]])
@pytest.mark.parametrize("scheme", ["central", "forward", "central4"])
@pytest.mark.parametrize("f", [sum_in_float32, lambda x: float(sum_in_float32(x))], ids=["compiled", "Python"])
def test_steps_allow_for_float32_inside_of_a_compiled_f_and_in_descents(f, scheme, x):
    x = np.array(x)
    exact = np.exp(x) * np.arange(1, len(x) + 1)
    allowed = 2e-2 if scheme == "forward" else 2e-3
    for _ in range(2):  # of a compiled f, the type of its values is known the second time
        assert numerical_gradient(f, x, "auto", scheme=scheme) == pytest.approx(exact, rel=allowed)
        first = numerical_gradient(f, x, "auto", scheme=scheme, coordinates=[len(x) - 1])
        assert first == pytest.approx(exact[-1:], rel=allowed)
        below = x - 0.01 * exact
        steps = 0.01 * exact + 0.01 * np.exp(below) * np.arange(1, len(x) + 1)
        assert x - gradient_descent(f, x.copy(), 0.01, 2, h="auto", scheme=scheme) == pytest.approx(steps, rel=allowed)


def test_where_f_is_a_simple_number_float32_inside_is_seen_too():
    def f(x):
        return (x.astype(np.float32) ** 2).cumsum().astype(np.float64)

    x = np.array([1.0, 2.0, 3.0])
    assert numerical_jacobian(f, x, "auto") == pytest.approx(np.tril(np.tile(2.0 * x, (3, 1))), abs=1e-3)


@pytest.mark.parametrize("low", [0.0, 1.0, 2.3])
def test_float32_inside_is_seen_at_a_bound_too(low):
    x, bounds = np.array([2.3]), (low, 2.3 if low < 2.3 else 9.0)

    def f(x):
        return np.float32(x) ** 2

    for found in (
        numerical_gradient(lambda x: float(f(x)[0]), x, "auto", bounds=bounds),
        numerical_jacobian(lambda x: f(x).astype(float), x, "auto", bounds=bounds)[0],
        directional_derivative(lambda x: f(x).astype(float), x, np.ones(1), "auto", bounds=bounds),
    ):
        assert found == pytest.approx(np.array([4.6]), rel=1e-3)  # 1e-2 by the step for float64


@pytest.mark.parametrize("last", [4, 9])
def test_what_was_broken_off_has_no_step_for_float64_where_f_has_float32_inside(last):
    calls, x, out = [], np.array([2.0, 3.0]), np.empty(2)

    def f(x):
        calls.append(1)
        if len(calls) == last:
            raise KeyboardInterrupt
        return float(in_float32(x))

    with pytest.raises(KeyboardInterrupt):
        numerical_gradient(f, x, "auto", out=out)
    assert np.isnan(out).sum() == 1 + (last == 4)  # the first sweep is 2 to 5, the look 6, the second one 7 to 10
    whole = numerical_gradient(lambda x: float(in_float32(x)), x, "auto")
    assert np.array_equal(numerical_gradient(f, x, "auto", out=out, resume=True), whole)


def test_steps_of_f_are_not_taken_for_float32():
    x = np.array([3.0, -0.25])
    for f in (np.floor, np.sign, lambda x: np.round(64.0 * x) / 64.0, lambda x: 1000.0 * (x > 2.9999)):
        assert not numerical_gradient(lambda x, f=f: float(f(x).sum()), x + 1e-3, "auto").any()
    calls = []
    for f in (lambda x: x @ x, lambda x: x.sum(), lambda x: x.prod(), lambda x: 2.0):
        numerical_gradient(lambda x, f=f: calls.append(1) or float(f(x)), x, "auto")
    assert len(calls) == 4 * (5 + 1) + 1  # one tells noise; a constant is asked for once more


@pytest.mark.parametrize("run", [numerical_gradient, gradient_descent])
def test_few_digits_of_f_are_warned_of_once(run):
    with pytest.warns(RuntimeWarning, match=r"about 1 digits of the gradient are right: f returns float32") as caught:
        run(in_float32, np.array([2.0, 3.0], np.float32))
    assert len(caught) == 1
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    "ask",
    [
        numerical_gradient,
        lambda f, x: numerical_gradient(f, x.tolist()),
        lambda f, x: numerical_gradient(f, x, scheme="forward"),
        lambda f, x: numerical_gradient(f, x, bounds=(0, 9)),
        lambda f, x: numerical_gradient(f, x, np.float64(1e-4)),
        lambda f, x: numerical_gradient(f, x, workers=map),
        lambda f, x: numerical_gradient(lambda p: f(p["x"]), {"x": x}),
        lambda f, x: numerical_gradient(lambda rows: np.array([f(row) for row in rows]), x, vectorized=True),
        lambda f, x: Gradient(f)(x),
        lambda f, x: Gradient(f).value_and_gradient(x),
        lambda f, x: numerical_jacobian(lambda x: np.array([f(x)]), x),
        lambda f, x: directional_derivative(f, x, x),
        lambda f, x: numerical_diff(lambda x: f(np.array([x])), 2.0),
        lambda f, x: numerical_diff(lambda x: f(np.array([x])), 2.0, scheme="forward"),
        lambda f, x: numerical_gradient(f, x[np.newaxis], points_axis=0),
        lambda f, x: numerical_gradient(f, x[np.newaxis], points_axis=0, scheme="forward"),
        lambda f, x: numerical_gradient(f, x, out=np.full(2, np.nan), resume=True),
        lambda f, x: numerical_diff(lambda x: np.array([f(x[:1]), f(x[1:])]), x),
        lambda f, x: gradient_descent(f, x.tolist(), step_num=1),
    ],
)
@pytest.mark.filterwarnings("ignore:the step h=0.0001 loses")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_few_digits_of_f_are_warned_of_whatever_x_is(ask, dtype):
    x = np.array([2.0, 3.0], dtype)
    with pytest.warns(RuntimeWarning, match=r"about [0-2] digits of the gradient are right: f returns float32"):
        ask(in_float32, x)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "about")
        ask(lambda x: float(np.sum(np.asarray(x, float) ** 2)), x)


def test_digits_that_suffice_are_not_warned_of(recwarn):
    x = np.array([2.0, 3.0], np.float32)
    for f, h in (
        (lambda x: float(np.sum(x.astype(float) ** 2)), 1e-4),  # f computes in float64
        (in_float32, "auto"),
        (lambda x: np.sum(x) * np.float32(1e-4), 1e-1),
        (lambda x: np.float32(0.0), 1e-4),
    ):
        assert np.isfinite(numerical_gradient(f, x, h)).all()
    assert not recwarn.list


def test_a_descent_that_grows_or_leaves_the_domain_names_the_learning_rate():
    with pytest.warns(RuntimeWarning, match=r"pass h='auto', or a smaller lr than 10 if the iterates grow"):
        gradient_descent(sum_of_squares, np.array([-3.0, 4.0]), lr=10.0, step_num=10)
    with np.errstate(all="ignore"), pytest.warns(RuntimeWarning, match="diverges, or leaves the domain of f; try a"):
        gradient_descent(lambda x: float(np.sqrt(x).sum()), np.array([0.001, 1.0]), 0.1, 10)


@needs_jit
def test_an_automatic_step_allows_for_the_digits_of_a_compiled_f():
    from numba import njit

    @njit
    def in_float32_too(x):
        return np.float32(1000) + np.float32(np.sum((x - 1) ** 2))

    for _ in range(2):
        gradient = numerical_gradient(in_float32_too, np.array([2.0, 3.0]), "auto")
        assert gradient == pytest.approx(np.array([2.0, 4.0]), abs=2e-2)

    @njit
    def like_x(x):
        return x[0] / x.dtype.type(3)

    assert like_x(np.ones(2, np.float32)) != 1 / 3  # a signature that returns float32, beside that for float64
    expected = numerical_gradient(lambda x: x[0] / 3.0, np.ones(2), scheme="forward")
    assert numerical_gradient(like_x, np.ones(2), scheme="forward").tobytes() == expected.tobytes()


def single(x):
    return np.float32(1000.0 + np.sum(x * x))


@pytest.mark.parametrize("form", [single, compiled_once(single)], ids=["Python", "compiled"])
@pytest.mark.parametrize(
    "differentiate",
    [
        lambda f: numerical_gradient(f, np.array([1.0, 2.0]), np.float32(1e-4)),
        lambda f: numerical_gradient(f, np.array([1.0, 2.0]), Fraction(1, 10000)),
        lambda f: numerical_gradient(f, np.array([[1.0, 2.0]]), points_axis=0),
        lambda f: gradient_descent(f, np.array([1.0, 2.0]), step_num=2),
        lambda f: Gradient(f)(np.array([1.0, 2.0])),
        lambda f: Gradient(f).value_and_gradient(np.array([1.0, 2.0])),
    ],
)
@needs_jit
def test_few_digits_are_warned_of_by_every_way(form, differentiate):
    for _ in range(3):
        with pytest.warns(RuntimeWarning, match=r"about [01] digits"):
            differentiate(form)


def test_digits_are_those_of_what_f_returns_now():
    gradient = Gradient(lambda x, kind: kind(1000.0 + np.sum(x * x)))
    x = np.array([1.0, 2.0])
    with pytest.warns(RuntimeWarning, match="about 1 digits"):
        gradient(x, np.float32)
    assert np.allclose(gradient(x, float), 2 * x)
    with pytest.warns(RuntimeWarning, match="about 0 digits"):  # also beside what is not finite
        found = numerical_gradient(lambda x: np.float32(1000.0 + x[0] ** 2 if x[1] == 2.0 else np.nan), x)
    assert np.isnan(found[1])
    with pytest.warns(RuntimeWarning, match="about 0 digits"):
        assert not numerical_gradient(lambda x: np.float32(1e9 + np.sum(x * x)), x).any()


@needs_jit
def test_digits_of_a_compiled_f_are_those_of_float64_points():
    f = compiled(lambda x: np.sum(x * x))
    f(np.ones(3, np.float32))  # returns float32
    x = np.full(3, 300.0)
    assert np.allclose(numerical_gradient(f, x, "auto"), 2 * x)
    assert np.allclose(numerical_gradient(f, x), 2 * x)


class Lazy:
    """A number that is computed whenever an array is made of it, as of dask."""

    dtype = np.dtype(float)

    def __init__(self, value, made):
        self.value, self.made = value, made

    def __array__(self, dtype=None, copy=None):
        self.made.append(self.value)
        return np.array(self.value)


def test_a_value_that_is_computed_when_it_is_read_is_read_once():
    made = []
    assert np.allclose(numerical_gradient(lambda x: Lazy(float(np.sum(x * x)), made), np.ones(3)), 2.0)
    assert len(made) == 6
