"""The loops as plain Python: what they write, what they leave alone, what their flags tell; and the compiled twins."""

import importlib
import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from problems import needs_jit

from numgrad import loops, numerical_gradient, reference
from numgrad.arguments import ALL_COORDINATES, imaginary_part, real_number
from numgrad.loops import (
    ARGUMENT_CHANGED,
    NOT_FINITE,
    RESPONDED,
    STEP_LOST,
    Directions,
    Rule,
    interpreted_central,
    make_central,
    make_complex_step,
    make_descent,
    make_directions,
)
from numgrad.objectives import compiled as kernels
from numgrad.objectives import compiling
from numgrad.objectives.incremental import make_quotients
from numgrad.objectives.python import PythonObjective

EPS = 2.0**-52
ONE, NONE = np.zeros(1, np.intp), np.empty(0, np.intp)
PAIR = np.array([[1.0, -1.0]])


def f(x):
    return float(np.sum(x * x * x))


def evaluate(x, args):
    return float(np.sum(x * x * x)) + sum(args)


def state_at(x):
    """Return the state of a thread that works on x itself."""
    return x, x.reshape(-1), x.reshape(-1).copy()


def central(x, where=ALL_COORDINATES, *, f=evaluate, h=1e-4, start=0, stop=None, out):
    return make_central(f)(state_at(x), (h,), (), where, start, len(out) if stop is None else stop, out)


def directions(x, where, data, *, f=evaluate, start=0, stop=None, out, make=make_directions):
    return make(f)(state_at(x), data, (), where, start, len(out) if stop is None else stop, out)


def interpreted(x, where=ALL_COORDINATES, *, f=f, h=1e-4, eps=EPS, is_narrow=False, start=0, stop=None, out):
    state, data = (x, x.data, x.copy().data), (f, real_number, h, eps, is_narrow)
    return interpreted_central(state, data, (), where, start, len(out) if stop is None else stop, out)


# --- the default scheme ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loop", [central, interpreted])
def test_a_loop_writes_its_range_and_nothing_else(loop):
    x, out = np.array([1.0, 2.0, 3.0, 4.0]), np.full(4, np.nan)
    before = x.tobytes()
    assert loop(x, start=1, stop=3, out=out) == RESPONDED
    assert np.isnan(out[[0, 3]]).all()
    assert out[1:3].tobytes() == reference.numerical_gradient(f, x.copy())[1:3].tobytes()
    assert x.tobytes() == before
    assert loop(x, start=2, stop=2, out=out) == 0


@pytest.mark.parametrize("loop", [central, interpreted])
def test_coordinates_are_taken_in_the_order_in_which_they_are_given(loop):
    x, out, chosen = np.array([1.0, 2.0, 3.0, 4.0]), np.full(5, np.nan), np.array([3, 0, 0, 2, 1])
    assert loop(x, chosen, start=1, out=out) == RESPONDED
    assert np.isnan(out[0])
    assert out[1:].tobytes() == reference.numerical_gradient(f, x.copy())[chosen[1:]].tobytes()


@pytest.mark.parametrize("loop", [central, interpreted])
@pytest.mark.parametrize(
    ("x", "g", "flags"),
    [
        ([1.0], lambda x: 3.0, 0),
        ([1e13], lambda x: 3.0, STEP_LOST),
        ([-1e13], lambda x: 3.0, STEP_LOST),
        ([1.0], lambda x: x[0], RESPONDED),
        ([1.0, -1e13], lambda x: x[0], STEP_LOST | RESPONDED),
        ([np.inf], lambda x: 3.0, STEP_LOST),
        ([np.nan], lambda x: 3.0, 0),
        ([1.0], lambda x: np.nan, RESPONDED),
    ],
)
def test_flags_of_the_default_scheme(loop, x, g, flags):
    x, out = np.array(x), np.empty(len(x))
    assert loop(x, f=(lambda x, args: g(x)) if loop is central else g, out=out) == flags


@pytest.mark.parametrize("value", [3, np.float32(3), np.float64(3), np.array([[3]]), 3.0])
def test_the_interpreted_loop_takes_any_single_number(value):
    out = np.full(2, np.nan)
    assert interpreted(np.ones(2), f=lambda x: value, out=out) == 0
    assert not out.any()


def test_the_interpreted_loop_divides_by_the_stored_distances_and_tells_where_there_is_none():
    # The floats below 2**24 are 1 apart, those above 2; around 2**25 they are 2 and 4.
    x, out = np.array([2.0**24, 2.0**25, 3.0], np.float32), np.full(3, np.nan)
    before = x.tobytes()

    def flags(k, is_narrow=True):
        g = lambda x: float(x[0]) + float(x[1])  # noqa: E731
        return interpreted(x, f=g, h=0.75, is_narrow=is_narrow, start=k, stop=k + 1, out=out)

    assert flags(0) == RESPONDED
    assert out[0] == 1.0
    assert flags(1) == STEP_LOST
    assert np.isnan(out[1])
    assert flags(2) == 0
    assert out[2] == 0.0
    assert flags(0, is_narrow=False) == RESPONDED
    assert out[0] == 1.0 / 1.5
    assert x.tobytes() == before
    assert interpreted(np.array([1e4]), eps=2.0**-10, out=out[:1]) & STEP_LOST  # the spacing of float16


def writes_the_last(x, *_):
    x[-1] += 1.0
    return 0.0


def test_loops_tell_that_f_wrote_where_the_restored_point_hides_it():
    x, out = np.array([1.0, 2.0]), np.empty(1)
    assert interpreted(x, np.array([1]), f=writes_the_last, out=out) & ARGUMENT_CHANGED
    assert x.tolist() == [1.0, 2.0]
    where = Directions(NONE, np.array([1]), np.array([1e-4]))
    assert directions(x, where, linear(PAIR, PAIR, 2.0), f=writes_the_last, out=out) & ARGUMENT_CHANGED
    assert x.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_an_f_that_clips_one_coordinate_in_place_is_found_by_its_own_direction(dtype):
    def clips(x):
        np.minimum(x, 1.0, out=x)
        return float(x @ x)

    for x in ([1.0, 0.5, 0.25], [0.5, 1.0, 0.25], [0.5, 0.25, 1.0]):
        x = np.array(x, dtype)
        with pytest.raises(ValueError, match="f writes to its argument"):
            numerical_gradient(clips, x, scheme="forward")
        assert x.max() == 1.0


def test_the_argument_keeps_its_shape_and_args_are_passed_on():
    x, out, seen = np.arange(6.0).reshape(2, 3), np.full(6, np.nan), []

    def g(x, args):
        seen.append((x.shape, args))
        return evaluate(x, args)

    expected = reference.numerical_gradient(lambda x: evaluate(x, (2, 3.0)), x.copy())
    make_central(g)(state_at(x), (1e-4,), (2, 3.0), ALL_COORDINATES, 0, 6, out)
    assert seen == [((2, 3), (2, 3.0))] * 12
    assert out.tobytes() == expected.tobytes()
    flat = x.reshape(-1).data, x.reshape(-1).copy().data
    data = lambda x, *args: g(x, args), real_number, 1e-4, EPS, False
    interpreted_central((x, *flat), data, (2, 3.0), ALL_COORDINATES, 0, 6, out)
    assert seen == [((2, 3), (2, 3.0))] * 24
    assert out.tobytes() == expected.tobytes()


# --- directions ------------------------------------------------------------------------------------------------------


def linear(offsets, weights, denominators, *, base=np.nan, index=ONE, eps=EPS, use_stored_distance=False):
    """Return the data of a linear scheme, or of several, a row each."""
    tables = np.atleast_2d(offsets), np.atleast_2d(weights), index, np.atleast_1d(denominators)
    return base, eps, *tables, use_stored_distance


@pytest.mark.parametrize("chosen", [NONE, np.array([2, 0, 2, 1])], ids=["all", "some"])
@pytest.mark.parametrize("lengths", [np.array([1e-4]), np.full(4, 1e-4)], ids=["one", "each"])
def test_single_coordinates_have_the_bits_of_the_default_scheme(chosen, lengths):
    x = np.array([0.3, -1.7, 2.9, 1.1])
    size = len(chosen) or 4
    out, expected = np.full(size, np.nan), np.empty(size)
    central(x, chosen, out=expected)
    before = x.tobytes()
    assert directions(x, Directions(NONE, chosen, lengths), linear(PAIR, PAIR, 2.0), out=out) == RESPONDED
    assert out.tobytes() == expected.tobytes()
    assert x.tobytes() == before


@pytest.mark.parametrize("members", [NONE, np.array([0, 1, 2, 3, 4]), np.array([4, 1, 0, 2, 3])], ids=str)
@pytest.mark.parametrize("lengths", [np.array([0.5]), np.array([0.5, 0.25, 1.0, 2.0, 0.125])], ids=["one", "each"])
def test_several_members_move_together_by_their_lengths(members, lengths):
    starts, seen, out = np.array([0, 2, 2, 5]), [], np.full(3, np.nan)
    x = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    before = x.copy()

    def g(x, args):
        seen.append(x - before)
        return float(x @ np.arange(1.0, 6.0))

    flags = directions(x, Directions(starts, members, lengths), linear(PAIR, PAIR, 1.0), f=g, out=out)
    seeds = np.zeros((3, 5))
    for k, (first, last) in enumerate(itertools.pairwise(starts)):
        for p in range(first, last):
            seeds[k, members[p] if len(members) else p - first] = lengths[p if len(lengths) > 1 else 0]
    assert np.array_equal(seen[::2], seeds)
    assert np.array_equal(seen[1::2], -seeds)
    assert np.array_equal(out, 2 * seeds @ np.arange(1.0, 6.0))
    assert flags == RESPONDED
    assert x.tobytes() == before.tobytes()


def test_a_direction_has_the_row_and_the_length_of_its_own():
    x, out, calls = np.array([3.0, 5.0, 7.0]), np.full(3, np.nan), []

    def g(x, args):
        calls.append(x.copy())
        return float(np.sum(x))

    rows = np.array([0, 1, 0])
    data = linear([[1.0, 0.0], [0.0, -1.0]], [[1.0, -1.0], [1.0, -1.0]], [1.0, 0.5], base=15.0, index=rows)
    directions(x, Directions(NONE, NONE, np.array([0.5, 0.25, 2.0])), data, f=g, out=out)
    assert out.tolist() == [1.0, 2.0, 1.0]
    assert [c.tolist() for c in calls] == [[3.5, 5.0, 7.0], [3.0, 4.75, 7.0], [3.0, 5.0, 9.0]]


def test_an_offset_without_weight_is_not_evaluated_and_f_of_x_is_taken_from_the_data():
    x, out = np.ones(2), np.full(2, np.nan)

    def g(x, args):
        if not np.array_equal(np.sort(x), [1.0, 1.5]):
            raise AssertionError("evaluated elsewhere")
        return float(np.sum(x))

    data = linear([0.0, 1.0, -1.0, 2.0], [-1.0, 1.0, 0.0, 0.0], 1.0, base=2.0)
    directions(x, Directions(NONE, NONE, np.array([0.5])), data, f=g, out=out)
    assert out.tolist() == [1.0, 1.0]
    where = Directions(np.array([0, 2]), NONE, np.array([0.25]))
    directions(x, where, linear([0.0], [2.0], 1.0, base=8.0), f=lambda x, args: 1 / 0, out=out[:1])
    assert out[0] == 16.0


@pytest.mark.parametrize("use_stored_distance", [False, True], ids=["asked", "stored"])
@pytest.mark.parametrize(
    ("x", "length", "eps", "flags"),
    [
        (1.0, 1e-4, EPS, RESPONDED),
        (1e13, 1e-4, EPS, STEP_LOST),
        (-1e13, -1e-4, EPS, STEP_LOST),
        (1e13, -1.0, EPS, RESPONDED),
        (1e13, 1e-4, 0.0, None),
        (np.nan, 1e-4, EPS, RESPONDED),
    ],
)
def test_flags_of_directions(x, length, eps, flags, use_stored_distance):
    data, out = linear(PAIR, PAIR, 1.0, eps=eps, use_stored_distance=use_stored_distance), np.empty(1)
    if flags is None:  # no distance is left to divide by
        flags = STEP_LOST if use_stored_distance else 0
    assert directions(np.array([x]), Directions(NONE, NONE, np.array([length])), data, out=out) == flags
    assert np.isnan(out[0]) == (np.isnan(x) or (use_stored_distance and abs(x) == 1e13 and abs(length) == 1e-4))
    together = Directions(np.array([0, 1]), NONE, np.array([length]))
    assert directions(np.array([x]), together, data, out=out) == flags


def test_single_coordinates_may_be_divided_by_the_stored_distances():
    x, out = np.array([2.0**24, 3.0], np.float32), np.empty(2)
    data = linear([1.0, -1.0, 2.0], [2.0, -1.0, -1.0], 100.0, use_stored_distance=True)
    where = Directions(NONE, NONE, np.array([0.75]))
    assert directions(x, where, data, f=lambda x, args: float(x[0]) + 2.0 * float(x[1]), out=out) == RESPONDED
    assert out.tolist() == [1.0, 2.0]  # whatever the weights, f is linear
    use_the_denominator = linear([1.0, -1.0], [1.0, -1.0], 2.0)
    directions(x, where, use_the_denominator, f=lambda x, args: float(x[0]), out=out)
    assert out.tolist() == [1.0 / 1.5, 0.0]


def test_directions_write_their_range_and_nothing_else():
    for where in (Directions(NONE, NONE, np.ones(1)), Directions(np.arange(5), np.arange(4), np.ones(1))):
        out = np.full(4, np.nan)
        directions(np.ones(4), where, linear(PAIR, PAIR, 2.0), start=1, stop=3, out=out)
        assert np.isnan(out).tolist() == [True, False, False, True]


# --- the complex step ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("starts", "members", "denominator"),
    [(NONE, NONE, 1.0), (np.arange(4), np.arange(3), 1e-30)],
    ids=["single", "together"],
)
def test_the_complex_step_has_no_round_off_and_gives_the_point_back(starts, members, denominator):
    x, out, h = np.array([0.5, -1.5, 2.0], np.complex128), np.full(3, np.nan), 1e-30
    before = x.tobytes()

    def imaginary(x, args):
        return imaginary_part(np.sum(x**3))

    data = linear([1.0], [1.0], denominator, eps=0.0)
    flags = directions(
        x, Directions(starts, members, np.array([1j * h])), data, f=imaginary, out=out, make=make_complex_step
    )
    assert flags == RESPONDED
    assert np.allclose(out, 3 * x.real**2, rtol=8 * EPS, atol=0)
    assert x.tobytes() == before


@pytest.mark.parametrize("members", [np.array([1, 2]), np.array([2])], ids=str)
def test_the_complex_step_moves_named_members_together(members):
    one, h = np.ones((1, 1)), 1e-20
    rule = Rule(make_complex_step, (np.nan, 0.0, one, one, np.zeros(1, np.intp), np.array([h]), False))
    where = Directions(np.array([0, len(members)]), members, np.full(len(members), 1j * h))
    x, out = np.array([1.0, 2.0, 3.0]), np.empty(1)
    sweep = PythonObjective(lambda z: np.sum(z**3)).sweep(x, (), rule, where, out)
    sweep.run_range(sweep.thread_state(), 0, 1)
    assert out.item() == pytest.approx(3.0 * np.sum(x[members] ** 2))


# --- quotients -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chosen", [NONE, np.array([2, 0, 1, 1])], ids=["all", "some"])
def test_quotients_divide_the_differences(chosen):
    out, asked = np.full(4, np.nan), []

    def difference(state, k):
        asked.append(int(k))
        return state[k]

    changes = (4.0, 0.0, 2.0, 8.0)
    flags = make_quotients(difference)(changes, (0.5,), (), chosen, 1, 3, out)
    where = chosen if len(chosen) else np.arange(4)
    assert asked == where[1:3].tolist()
    assert out[1:3].tolist() == [changes[k] for k in where[1:3]]
    assert np.isnan(out[[0, 3]]).all()
    assert flags == RESPONDED
    assert make_quotients(lambda state, k: 0.0)((), (0.5,), (), chosen, 0, 3, out) == 0
    assert make_quotients(lambda state, k: np.nan)((), (0.5,), (), chosen, 0, 1, out) == RESPONDED


@pytest.mark.parametrize(("start", "stop"), [(0, 90), (5, 77), (13, 14), (3, 3)])
def test_quotients_write_their_range_once_and_nothing_else(start, stop):
    asked, out = [], np.full(90, np.nan)
    make_quotients(lambda state, k: asked.append(k) or 1.0)((), (0.5,), (), NONE, start, stop, out)
    assert asked == list(range(start, stop))
    assert np.flatnonzero(np.isfinite(out)).tolist() == list(range(start, stop))


# --- descent ---------------------------------------------------------------------------------------------------------


def descend(x, iterates, start, stop, *, f=evaluate, lr=0.1, h=1e-4, slopes=None):
    """Do the coordinates from `start` to `stop`, counted through all iterations; slopes are new by default."""
    slopes = np.empty(x.size) if slopes is None else slopes
    return make_descent(f)((x, x, x), (h, lr, slopes), (), ALL_COORDINATES, start, stop, iterates)


@pytest.mark.parametrize("rows", [1, 2, 6])
@pytest.mark.parametrize("cuts", [[0, 15], [0, 3, 6, 15], [0, 9, 9, 15], range(16), [0, 2, 7, 8, 14, 15]])
def test_descent_goes_round_its_rows_and_can_be_cut_anywhere(rows, cuts):
    start = np.array([1.0, -0.2, 0.5])
    expected = [reference.gradient_descent(f, start.copy(), 0.1, k) for k in range(6)]
    x, iterates = start.copy(), np.full((rows, 3), np.nan)
    iterates[0] = start
    slopes = np.full(3, np.nan)
    for begin, end in itertools.pairwise(cuts):
        assert descend(x, iterates, begin, end, slopes=slopes) in (0, RESPONDED)
        done = end // 3
        assert x.tobytes() == iterates[done % rows].tobytes() == expected[done].tobytes()
    for k in range(6 - rows, 6):
        assert iterates[k % rows].tobytes() == expected[k].tobytes()
    assert x.tobytes() == expected[5].tobytes()


def test_descent_keeps_what_was_completed_if_f_raises():
    calls = []

    def fails(x, args):
        calls.append(None)
        if len(calls) > 6 * 2:
            raise ValueError("mine")
        return evaluate(x, args)

    start = np.array([1.0, -0.2, 0.5])
    iterates = np.full((6, 3), np.nan)
    iterates[0] = start
    with pytest.raises(ValueError, match="mine"):
        descend(start.copy(), iterates, 0, 15, f=fails)
    for k in range(3):
        assert iterates[k].tobytes() == reference.gradient_descent(f, start.copy(), 0.1, k).tobytes()
    assert np.isnan(iterates[3:]).all()


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_descent_tells_that_it_diverged_and_that_a_step_was_lost(bad):
    x = np.array([1.0])
    with np.errstate(invalid="ignore"):
        assert descend(x, x.copy()[None], 0, 3, f=lambda x, args: x[0] * bad) & NOT_FINITE
    x = np.array([1e13])
    assert descend(x, x.copy()[None], 0, 1) & STEP_LOST
    assert not descend(x, x.copy()[None], 0, 1) & NOT_FINITE


def sorts(x, args):
    x.sort()
    return float(x[0])


def writes_nan(x, args):
    x[1] = np.nan
    return 0.0


def leaves_alone(x, args):
    return float(x[0])


@pytest.mark.parametrize("writes", [sorts, writes_nan, lambda x, args: x.fill(1.0) or 1.0])
@pytest.mark.parametrize("rows", [1, 3])
def test_descent_tells_that_f_wrote_to_its_argument(writes, rows):
    x, iterates = np.array([3.0, 1.0, 2.0]), np.full((rows, 3), np.nan)
    iterates[0] = x
    assert descend(x, iterates, 0, 6, f=writes) & ARGUMENT_CHANGED
    assert iterates[0].tolist() == [3.0, 1.0, 2.0]
    x = iterates[0].copy()
    assert not descend(x, iterates, 0, 6, f=leaves_alone) & ARGUMENT_CHANGED


def test_nan_in_the_point_is_no_write_of_f():
    x = np.array([np.nan, 1.0])
    flags = descend(x, x.copy()[None], 0, 4, f=lambda x, args: float(x[1]))
    assert not flags & ARGUMENT_CHANGED
    assert flags & NOT_FINITE


# --- the compiled twins ----------------------------------------------------------------------------------------------


def cubes(x):
    total = 0.0
    for value in x.flat:
        total += value * value * value
    return total


@pytest.mark.parametrize("where", [ALL_COORDINATES, np.array([2, 0])], ids=["all", "some"])
def test_the_compiled_loop_gives_the_bits_and_flags_of_the_plain_one(where):
    from numba import njit

    results = []
    for evaluation, decorate in (
        (kernels.evaluation(njit()(cubes)), kernels.compiled()),
        (lambda x, args: cubes(x), None),
    ):
        loops_of = [make_central, make_directions, make_descent]
        made = [make(evaluation, decorate) if decorate else make(evaluation) for make in loops_of]
        one, linear_ones, descent = map(decorate, made) if decorate else made
        x, rows = np.array([0.3, -1.7, 1e13]), np.full((3, 3), np.nan)
        found = np.full((2, len(where) or 3), np.nan)
        flags = [one(state_at(x), (1e-4,), (), where, 0, found.shape[1], found[0])]
        data = linear([1.0, 0.0, -2.0], [1.0, 1.0, -2.0], 3.0, base=0.5)
        for starts, members in ((NONE, where), (np.array([0, 2, 3]), NONE)):
            units = tuple(Directions(starts, members, np.array([1e-4])))
            flags.append(linear_ones(state_at(x), data, (), units, 0, 2, found[1]))
        rows[0] = x
        flags.append(descent((x, x, x), (1e-4, 0.1, np.empty(3)), (), ALL_COORDINATES, 0, 6, rows))
        results.append((flags, found.tobytes(), rows.tobytes(), x.tobytes()))
    assert results[0] == results[1]


def test_update_has_the_bits_of_numpy():
    rng = np.random.default_rng(0)
    x, slope = rng.standard_normal(17), rng.standard_normal(17)
    expected = x - 0.3 * slope
    for kernel in (loops.update, kernels.update):
        y = x.copy()
        kernel(0.3, slope, y)
        assert y.tobytes() == expected.tobytes()


def test_without_a_folder_for_its_cache_a_kernel_is_compiled_all_the_same(monkeypatch):
    def no_folder(kernel):
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr(compiling, "_Cache", no_folder)
    assert compiling.compiled(cache=True)(lambda x: x + 1.0)(1.0) == 2.0


def test_the_one_compile_policy(monkeypatch):
    monkeypatch.setattr(compiling, "njit", lambda **options: lambda kernel: options)
    assert compiling.compiled()(len) == {"nogil": True, "error_model": "numpy"}
    options = compiling.compiled(**compiling.INLINE, **compiling.PASTE)(len)
    assert options["forceinline"]
    assert options["inline"] == "always"
    assert "fastmath" not in options  # IEEE order, around any function


@needs_jit
@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"x" + data])
@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
def test_a_cache_file_that_cannot_be_read_is_compiled_anew(tmp_path, monkeypatch, damage, suffix):
    module = tmp_path / "cached_module.py"
    module.write_text("def twice(x):\n    return 2.0 * x\n")
    monkeypatch.syspath_prepend(tmp_path)
    twice = importlib.import_module("cached_module").twice
    try:
        for whole in (False, True, True):  # a file that is there, one that is damaged, one that was written anew
            kernel = compiling.compiled(cache=True)(twice)
            if whole:
                # Beside the module, or where NUMBA_CACHE_DIR says.
                files = list(Path(kernel.stats.cache_path).glob(f"*.{suffix}"))
                assert files
                if damage is not None:
                    files[0].write_bytes(damage(files[0].read_bytes()))
                    damage = None
            assert kernel(1.5) == 3.0
        assert sum(kernel.stats.cache_hits.values()) == 1
    finally:
        del sys.modules["cached_module"]


def test_a_child_that_is_forked_while_another_thread_compiles_compiles_too():
    code = """
import os, threading, time
import numpy as np
from numba import njit
from numba.core.compiler_lock import global_compiler_lock
import numgrad

def objective(k):
    @njit
    def f(x):
        return x[0] * x[0] + x[1] * x[1] + k
    return f

numgrad.numerical_gradient(objective(0.0), np.ones(2))
compiling = threading.Event()

def compile_for_a_while():
    with global_compiler_lock:
        compiling.set()
        time.sleep(0.5)

threading.Thread(target=compile_for_a_while).start()
compiling.wait()
child = os.fork()
if child == 0:
    print(numgrad.numerical_gradient(objective(1.0), np.ones(2)).tolist(), flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert np.allclose(json.loads(done.stdout), 2.0)
