"""Ridders' extrapolation of central differences to the step 0, with an estimate of the error.

To Ridders' tableau are added: a floor of round-off and of noise, a look at the jump between the one-sided slopes (at a
kink the central differences agree with each other and are wrong), the looks of `numgrad.looks` at f next to x,
one-sided differences where f is not finite on one side, and a search for the first step.

The functions are plain Python, and serve a Python f as they are; `extrapolated` alone is for arrays. For a compiled f
`linked` compiles copies of the others.
Everything that concerns one coordinate travels as ``spot = x, point, i, value, base, eps, args, low, high, known,
evaluate``: what f receives and its perturbed elements, the coordinate, its value, f(x), the relative spacing, the
arguments of f, the limits of the coordinate, the number of evaluations and the noise of f as far as they are known, and
f as a function of x and args.

References
----------
Ridders, C. J. F., *Accurate computation of F'(x) and F'(x) F''(x)*, Advances in Engineering Software 4, 1982; Press et
al., *Numerical Recipes*, section 5.7.
"""

from __future__ import annotations

import math
from types import FunctionType
from typing import Any

import numpy as np

from . import looks
from .looks import ABOVE, BELOW, CLOSE, KNOWN_BEND, ROUGH_BEND, Numbers, Spot, look_near, quotient, roughness, tooth
from .loops import Decorator, Floats

__all__: list[str] = []  # nothing here is public

Start = tuple[float, float, int, int, bool]
Ends = tuple[float, float, int, float, float]
Work = tuple[Any, Any]  # the slopes and the jumps of a tableau
Tableau = tuple[float, float, float, float, float, int, float, float]

# Each constant below was chosen for the functions of tests/catalogue.py and tests/kinds.py, and is fixed by the test of
# tests/test_kinds.py or tests/test_estimates.py that is named, or by test_true_errors_at_random_points_of_each_kind for
# several kinds.

# Ratio of two steps from which on `extrapolated` takes both: bounds may have cut them to one length.
# Fixed by test_high_orders_within_narrow_bounds in tests/test_magnitudes.py.
_STEPS_APART = 1.1
# Relative error, without unit, from which on other results must be better than this one. Fixed by "noise", "minima".
FAIR = 1e-3
# Part of the first step, 1 to it, below which the step that counts makes f worth a look farther away: no smooth f of
# the length of x gets there. Fixed by test_few_digits_beside_something_smooth.
_DEEP = 50.0
# Relative error of a slope from which on nothing tells that f leaves its line.
_UNKNOWN = 0.1
# Steps of a tableau at most, each half the one before, so that the last is 1/512 of the first. Fixed by
# test_the_catalogue_is_estimated_accurately_and_cheaply.
LEVELS = 10
# Unit: scales of the coordinate. The first step: no power of 2, where functions of a round period take equal values.
# Fixed by test_steps_that_meet_equal_values_by_chance_are_not_believed.
_FIRST = 0.1875
# Unit: scales of the coordinate. The longest first step where f has noise: that hides a ripple of its own size, which
# longer steps would miss too, with less noise to say so; shorter ones leave twice the error to lines of float32, of
# which fewer converge. Fixed by test_ripples_on_a_line_of_few_digits and test_lines_of_float32_converge.
_LONGEST = 0.75
# Unit: x. The least scale of which a tableau has no step below the smallest float. Fixed by
# test_a_subnormal_x_has_steps.
_LEAST = math.ulp(0.0) * 2.0**LEVELS / _FIRST
# First steps that are tried at most, since each takes 12 evaluations at a kink. Fixed by "kinks".
_ATTEMPTS = 9
# Levels of a tableau that do not halve the error before it is given up, as at a kink. Fixed by "kinks".
_STALLED = 3
# Unit: x. Below it there is a look whether the slope holds at a length of 1. Fixed by "cancellation".
_SMALL = 1e-3
# What is found before anything is: slope, error, step, round-off, half the second derivative, first step, and side.
_NOTHING: Numbers = (math.nan, math.inf, 0.0, math.inf, 0.0, 0.0, 0.0)
# A direction: no further first step. Else 1 is to larger ones, -1 to smaller ones, 0 neither yet.
_DONE = 2


def refine(work: Work, j: int, current: float, jump: float, round_off: float, power: float) -> Numbers:
    """Extrapolate the quotient of level j, and return its best slope, that one's error, and the last slope.

    ``work = slopes, jumps`` holds the last extrapolations of level j - 1 and receives those of level j. The error
    is the largest of the distances to the neighbours in the tableau, the round-off, and half the jump.
    """
    slopes, jumps = work
    slope, error, factor, jump_factor = math.nan, math.inf, power, 2.0
    for q in range(j):
        before = slopes[q]
        further = current + (current - before) / (factor - 1.0)
        further_jump = jump + (jump - jumps[q]) / (jump_factor - 1.0)
        new_error = max(abs(further - current), abs(further - before), round_off, 0.5 * abs(further_jump))
        slopes[q], jumps[q], current, jump = current, jump, further, further_jump
        if new_error <= error:
            slope, error = current, new_error
        factor, jump_factor = factor * power, jump_factor * 4.0
    slopes[j], jumps[j] = current, jump
    return slope, error, current


def foresee(work: Work, slope: float, part: float) -> float:
    """Return the slope from x to `part` of the last step above it, as the last row of a tableau of both sides has it.

    That is Newton's interpolation through its steps: of the even quotients, and of the odd jumps.
    """
    slopes, jumps = work
    square, first, second = part * part, slopes[0], slopes[1]  # type: float, float, float
    even = second - first + (1.0 - 0.25 * square) * (slope - second)
    odd, third, fourth = jumps[1], jumps[2], jumps[3]  # type: float, float, float
    # Where a row has steps beyond a kink, what is to be small is not.
    last = 7.0 / 720.0 * third + 31.0 / 207360.0 * (16.0 - square) * fourth
    last *= 4.0 - square if abs(fourth) <= abs(third) <= abs(odd) else 0.0
    odd = jumps[0] + (1.0 - square) * (odd / 6.0 + last)
    return first + (1.0 - square) * even + 0.5 * part * odd


def tableau(spot: Spot, first: float, side: int, work: Work) -> Tableau:
    """Extrapolate the quotients of the steps ``first / 2**j``, and end where that gets worse.

    Return the slope, its error, the last step that it used, the round-off there, half the second derivative, the
    side on which f was not finite, the quantum of an f that has steps, and the step of the last row.
    """
    work[1][1] = work[1][2] = work[1][3] = 0.0  # which a short tableau does not write
    slope, error, step, round_off, side_lost, last, quantum = math.nan, math.inf, first, 0.0, 0, math.nan, 0.0
    before, h, stalled = 0.0, first, 0
    for j in range(LEVELS):
        h = 0.5 * h if j > 0 else first
        current, jump, rough, side_lost = quotient(spot, h, side)
        # The same values for the first time: f has steps, the smallest difference seen is a few of their heights.
        if current == 0.0 and before != 0.0:
            quantum = abs(before) * h * (4.0 if side == 0 else 2.0)
        if current != current or quantum > 0.0:
            break
        before, previous = current, error
        better, new_error, current = refine(work, j, current, jump, rough, 2.0 if side != 0 else 4.0)
        if new_error <= error and better == better:  # not NaN, as of the first level
            slope, error, step, round_off = better, new_error, h, rough
        stalled += 1 if new_error > 0.5 * previous else 0
        is_worse = previous < math.inf and abs(current - last) >= 2.0 * error
        if error <= 2.0 * round_off or stalled == _STALLED or is_worse:
            if step == h and abs(current - last) <= 0.5 * round_off:  # the same slope, with half the round-off
                slope, step = last, 2.0 * h
            break
        last = current
    least, bend = (2.0 * h if side_lost != 0 or quantum > 0.0 else h) or step, 0.0  # below the floats h is 0
    if error < math.inf:
        bend = (0.5 * work[1][0] + work[1][1] / 12.0 if side == 0 else work[0][0] - slope) / least
    if error == math.inf and quantum > 0.0:
        slope, error, step, round_off = before, quantum / h, 2.0 * h, quantum / h
    error = max(error, 2.0 * spot[9][1] / step) if error < math.inf else error
    return slope, error, step, round_off, bend, side_lost, quantum, least


def begin(spot: Spot, first: float) -> tuple[float, int, int]:
    """Return the first step, the side and the direction to begin with, for a step that may be too long for the limits.

    Where one limit is near, the differences are one-sided.
    """
    value, base, low, high = spot[3], spot[4], spot[7], spot[8]
    below, above = value - low, high - value
    side, direction = 0, _DONE if math.isinf(base) else 0
    if first > below or first > above:
        narrow, wide = min(below, above), max(below, above)
        if narrow < first / 64.0:
            side = ABOVE if above > below else BELOW
        first = 0.75 * narrow if side == 0 else min(first, 0.75 * wide)
    return first, side, direction


def retreat(spot: Spot, steps: Numbers, side_lost: int, side: int, direction: int) -> tuple[float, int, int]:
    """Return the next first step, side and direction, for ``steps = first, scale`` and the side without values."""
    first, scale = steps
    if side_lost == 0 or direction > 0:
        return first, side, _DONE
    if side == 0 and quotient(spot, 1e-9 * scale, side_lost)[3] != 0:  # f is not finite there at all
        return first, -side_lost, 0
    return first / 64.0, side, -1


def is_better(best: Numbers, new_slope: float, new_error: float, direction: int) -> bool:
    """Tell whether to take `new_slope` with `new_error` instead of what was found before, ``slope, error = best[:2]``.

    Larger steps (`direction` > 0) must agree, for from far enough any bounded f is flat. From nearer, the first
    acceptable slope need not have the smaller error: that of a slope near 0 was small for nothing.
    """
    slope, error = best[0], best[1]
    if direction > 0:
        return new_error < error and abs(new_slope - slope) <= error + new_error
    return new_error < error or (error > FAIR * abs(slope) and new_error <= FAIR * abs(new_slope))


def next_first(
    eps: float, steps: Numbers, direction: int, is_new: bool, best: Numbers, new: Numbers, goals: Numbers
) -> tuple[float, int]:
    """Return the first step to try next, and the direction.

    ``steps = first, scale, noise``, the last that of f; `is_new` tells whether the last tableau was the best, ``new =
    error, round_off, nearer`` of it, the last the first step that a look nearby asks for, or 0; ``goals = relative
    error, absolute error``. Where round-off rules, a larger step, so that it would be 450 eps of the slope, else a
    smaller one; but not back.
    """
    (first, scale, noise), (new_error, round_off, nearer), (good, atol) = steps, new, goals
    slope, error = abs(best[0]), best[1]
    if nearer > 0.0:
        return nearer, -1
    worse = not is_new and (direction > 0 or error <= FAIR * slope)
    if worse or error <= max(good * slope, atol):
        return first, _DONE
    if new_error > 512.0 * round_off:  # which grows by 64
        return first / 64.0, _DONE if direction > 0 else -1
    longest = max(_LONGEST * scale, _FIRST) if noise > 0.0 else math.inf
    if direction < 0 or slope <= 4.0 * error or first > 1e8 * scale or first >= longest:
        return first, _DONE
    growth = min(max(new_error / slope / (450.0 * eps), 8.0), 1e6) if new_error <= 0.01 * slope else 8.0
    return (_FIRST if first < _FIRST < first * growth else min(first * growth, longest)), 1


def look_far(spot: Spot, steps: Numbers, side: int, best: Numbers, work: Work) -> Numbers:
    """Return what was found, ``slope, error, step, round_off = best[:4]``, or what a step for 1 finds.

    Where both are certain and differ, the more certain slope, with the difference as its error: t + log(1 + t t)
    is t next to 0, and one cannot tell that from t.
    """
    (first, scale), (slope, error, step, round_off) = steps, best[:4]
    if error == math.inf or scale >= _SMALL or first >= _FIRST:
        return best[:4]
    if abs(best[4]) * best[5] > 64.0 * round_off and spot[9][1] == 0.0:  # it is bent next to x already
        return best[:4]
    new_slope, new_error, h, rough = tableau(spot, _FIRST, side, work)[:4]
    apart = abs(new_slope - slope)
    if apart > error + new_error:
        if new_error > FAIR * abs(new_slope):
            return best[:4]
        return (new_slope, apart, h, rough) if new_error < error else (slope, apart, step, round_off)
    return (new_slope, new_error, h, rough) if new_error < error else best[:4]


def with_structure(error: float, h: float, seen: Numbers) -> float:
    """Return the error of a slope by steps from h on, at least what was `seen` nearby, as `look_near` returns it."""
    noise, nearer, least = seen
    if nearer > 0.0:
        error = max(error, 2.0 * noise / h) if noise > 0.0 else math.inf
    return max(error, least)


def search(spot: Spot, start: Start, goals: Numbers, work: Work) -> tuple[Numbers, Ends]:
    """Return the best of the tableaus by some first steps, and the last steps; keep the noise of f.

    ``start = first, scale, side, direction, is_free``, the last for a first step of our own. The best is ``slope,
    error, step, round_off, bend, first, side``, where `bend` is half the second derivative. The steps are those of the
    start, and the first step of all; with it comes how steep f is within that, or less where that is not known.
    Where a step of our own leaves no digit, x tells no length on which f changes: the next step is of the scale 1.
    """
    (first, scale, side, direction, is_free), known = start, spot[9]
    best, origin, least, is_rough, steep = _NOTHING, first, 0.0, False, 0.0
    for _ in range(_ATTEMPTS):
        if direction == _DONE:
            break
        slope, error, h, rough, bend, side_lost, quantum, last = tableau(spot, first, side, work)
        if error == math.inf:
            first, side, direction = retreat(spot, (first, scale), side_lost, side, direction)
            continue
        if is_free and direction == 0 and scale < 1.0 and abs(slope) <= error <= 64.0 * rough:
            first, scale, origin, known[1], best = _FIRST, 1.0, _FIRST, max(known[1], quantum), _NOTHING
            continue
        steep = abs(slope) + 2.0 * abs(bend) * first - error / _UNKNOWN if first == origin else steep
        nearer, is_known = 0.0, known[1] > 0.0 or direction > 0
        if not is_known and quantum == 0.0:
            found = slope, error, bend, float(side), KNOWN_BEND if side == 0 else ROUGH_BEND
            quantum, nearer, least = look_near(spot, first, found, foresee(work, slope, CLOSE * first / last))
        error = with_structure(error, h, (quantum, nearer, least))
        is_new = is_better(best, slope, error, direction)
        if is_new and nearer == 0.0 and not is_rough:
            quantum = quantum if quantum > 0.0 and not is_known else roughness(spot, first, side)
            if quantum > 2.0 * known[1]:
                known[1], is_rough = quantum, direction > 0
                continue
        if is_new:
            best = slope, error, h, rough, bend, first, float(side)
        new = error, rough, nearer
        first, direction = next_first(spot[5], (first, scale, known[1]), direction, is_new, best, new, goals)
        direction = _DONE if is_rough else direction  # noise that grows with the distance remains as large beside it
    return best, (first, scale, side, origin, steep)


def estimate(spot: Spot, first: float, goals: tuple[float, float], work: Work) -> Numbers:
    """Return the derivative, its error, the step, and the round-off there, for a first step or 0."""
    is_free = first == 0.0
    scale = max(abs(spot[3]), _LEAST) if spot[3] != 0.0 else 1.0
    first, side, direction = begin(spot, _FIRST * scale if is_free else first)
    start, best, near, teeth, jump = (first, scale, side, direction, is_free), _NOTHING, _NOTHING, 0.0, math.inf
    while jump > 0.0:  # once more where f has teeth, whose jumps are noise then
        best, (first, scale, side, origin, steep) = search(spot, start, goals, work)
        jump = 0.0
        # Noise that was found within a tooth says nothing of its height.
        if teeth == 0.0 and best[2] * _DEEP < origin and best[1] <= _UNKNOWN * abs(best[0]):
            slope, error, step, rough, bend, _, of = best
            line = slope, error, bend if abs(bend) * step > 8.0 * rough else 0.0, of, ROUGH_BEND
            jump = tooth(spot, step, (origin, steep), line)
        if jump > 0.0:
            near, start, spot[9][1] = best, (origin, scale, side, 0, is_free), jump
            teeth = looks.TEETH * jump / origin
    found = look_far(spot, (first, scale if is_free else 1.0), side, best, work)
    # Where both agree, or the saw has few teeth, some jumps may have been met, beside which the slope next to x is
    # right: within the difference.
    apart = abs(found[0] - near[0])
    if near[1] < math.inf and not (apart > found[1] + near[1] and apart > teeth):
        return near[0], max(near[1], apart), near[2], near[3]
    return found


def linked(decorate: Decorator) -> Any:
    """Return a copy of `estimate` that is decorated, as are the copies of the functions above that it calls."""
    names = vars(looks) | globals()
    for name, function in list(names.items()):
        if isinstance(function, FunctionType):  # what nobody calls is not compiled either
            names[name] = decorate(FunctionType(function.__code__, names, name))
    return names["estimate"]


def extrapolated(rows: Floats, power: int, further: int) -> tuple[Floats, Floats]:
    """Return the extrapolations of several derivatives at once, and how far they may be off, infinity if not known.

    ``rows[k]`` has the derivatives by one step of each, what rounding puts these off by, and the steps, which shrink.
    Truncation begins with a `power` of the step; what follows has powers larger by `further` each.
    """
    with np.errstate(all="ignore"):
        values, errors, lengths = rows.transpose(1, 0, 2)
        ratio, found, least = lengths[:-1] / lengths[1:], values[0], np.full(values.shape[1], np.inf)
        ratio[ratio < _STEPS_APART] = np.nan
        for k in range(len(ratio)):
            gain = ratio[k:] ** (power + further * k)
            values, before = (gain * values[1:] - values[:-1]) / (gain - 1.0), values
            errors = (gain * errors[1:] + errors[:-1]) / (gain - 1.0)
            apart = np.maximum(np.abs(values - before[1:]), np.abs(values - before[:-1]))
            sizes = np.nan_to_num(apart + errors, nan=np.inf)
            best = sizes.argmin(axis=0), np.arange(len(least))
            found, least = np.where(sizes[best] < least, values[best], found), np.fmin(sizes[best], least)
    return found, least
