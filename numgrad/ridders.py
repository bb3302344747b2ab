"""Ridders' extrapolation of central differences to the step 0, with an estimate of the error.

To Ridders' tableau are added: a floor of round-off and of noise, a look at the jump between the one-sided slopes (at a
kink the central differences agree with each other and are wrong), looks at f next to x, which tell noise and steps from
a structure of f (from afar a periodic f is flat, and from near all steps are), one-sided differences where f is not
finite on one side, and a search for the first step.

The functions are plain Python, and serve a Python f as they are. For a compiled f `linked` compiles copies of them.
Everything that concerns one coordinate travels as ``spot = x, point, i, value, base, eps, args, low, high, out, k,
evaluate, noise``: what f receives and its perturbed elements, the coordinate, its value, f(x), the relative spacing,
the arguments of f, the limits of the coordinate, the row of the result whose last number counts the evaluations, f as a
function of x and args, and the noise of f as far as it is known. A `place` is a spot without the noise.

References
----------
Ridders, C. J. F., *Accurate computation of F'(x) and F'(x) F''(x)*, Advances in Engineering Software 4, 1982; Press et
al., *Numerical Recipes*, section 5.7.
"""

from __future__ import annotations

import math
from types import FunctionType
from typing import Any

from .loops import Decorator

__all__: list[str] = []  # nothing here is public

Spot = tuple[Any, ...]
Numbers = tuple[float, ...]  # as many as the docstring names
Work = tuple[Any, Any]  # the slopes and the jumps of a tableau

# Each constant below was chosen for the functions of tests/catalogue.py and tests/kinds.py, and is fixed by the test of
# tests/test_kinds.py or tests/test_estimates.py that is named, or by test_true_errors_at_random_points_of_each_kind for
# several kinds.

ABOVE, BELOW = 1, -1  # sides of x; 0 is both

# Relative error, without unit, from which on other results must be better than this one. Fixed by "noise", "minima".
FAIR = 1e-3
# Unit: first steps. How near to x f is asked whether its slope is what it seemed from afar: so far that a structure of
# length 1 shows at x = 1e6, so near that the round-off of smooth functions is larger. Fixed by "fine structure".
_NEAR = 4e-6
# Unit: the look nearby. Another one on the other side; and nearer ones, of no simple ratio, where f has steps. Fixed by
# "fine structure", "iterated".
_ACROSS, _NEARER = -0.61, (1 / 211.3, -1 / 173.9, 1 / 97.1)
# Part of a surprise from nearby that remains at the nearer looks if it is noise: of a root of x there remains 1/14.
# Fixed by "noise", and by test_no_derivative_is_nan_with_an_infinite_error.
_REMAINS = 0.2
# Unit: first steps. Looks between those nearby and the steps of a tableau, where f has noise; and multiples of it from
# which on f has a structure there. Fixed by test_a_structure_of_few_digits_is_admitted.
_BETWEEN, _ABOVE_NOISE = (-6.1e-5, 7.3e-4, -9.1e-3), 6.0
# Growths by 8 from the look nearby on, to 500 first steps, within which a flat piece must end. Fixed by "rounded".
_GROWTHS = 9
# Unit: steps. Where the four looks at the far end are: many numbers of float32 apart, and not evenly, since multiples
# of its spacing would look smooth; and the weights of their third difference, of size 1. Fixed by "float32 next to 0".
_PLACES = (0.0, 3.4477e-6, 8.2103e-6, 14.2951e-6)
_WEIGHTS = tuple(float(2e-16 / math.prod(p - q for q in _PLACES if q != p)) for p in _PLACES)
# Steps of a tableau at most, each half the one before, so that the last is 1/512 of the first. Fixed by
# test_the_catalogue_is_estimated_accurately_and_cheaply.
LEVELS = 10
# Unit: scales of the coordinate. The first step: no power of 2, where functions of a round period take equal values.
# Fixed by test_steps_that_meet_equal_values_by_chance_are_not_believed.
_FIRST = 0.1875
# First steps that are tried at most, since each takes 12 evaluations at a kink. Fixed by "kinks".
_ATTEMPTS = 9
# Levels of a tableau that do not halve the error before it is given up, as at a kink. Fixed by "kinks".
_STALLED = 3
# Unit: x. Below it there is a look whether the slope holds at a length of 1. Fixed by "cancellation".
_SMALL = 1e-3
# A direction: no further first step. Else 1 is to larger ones, -1 to smaller ones, 0 neither yet.
_DONE = 2


def quotient(spot: Spot, h: float, side: int) -> tuple[float, float, float, int]:
    """Return the slope for the step h, the jump between the slopes on both sides, the round-off, and a side.

    `side` is 0 for a central quotient, else the sign of a one-sided one. What is returned last is the sign of the side
    on which f is not finite, as beyond the limits, or 0. The round-off is that of f, its noise, and that of what f
    computes from x first, eps x times the steepest slope.
    """
    x, point, i, value, base, eps, args, low, high, out, k, evaluate, noise = spot
    plus = minus = base
    above = below = value
    if side >= 0:
        point[i] = value + h
        above, plus = float(point[i]), math.nan
        if above <= high:
            plus = evaluate(x, args)
            out[k, 4] += 1.0
    if side <= 0:
        point[i] = value - h
        below, minus = float(point[i]), math.nan
        if below >= low:
            minus = evaluate(x, args)
            out[k, 4] += 1.0
    point[i] = value
    if not (math.isfinite(plus) and math.isfinite(minus)):
        return math.nan, 0.0, 0.0, BELOW if math.isfinite(plus) else ABOVE
    # The step is lost in the rounding of x + h: there is no distance to divide by.
    if above == below:
        return math.nan, 0.0, 0.0, 0
    slope, jump = (plus - minus) / (above - below), 0.0
    if side == 0 and math.isfinite(base) and below < value < above:
        jump = (plus - base) / (above - value) - (base - minus) / (value - below)
    rough = eps * max(abs(plus), abs(minus)) + eps * abs(value) * (abs(slope) + 0.5 * abs(jump)) + noise
    return slope, jump, rough / h, 0


def edge(spot: Spot, low: float, side: int) -> float:
    """Return how much f changes where it no longer is what it is at x, as it is up to `low` at least, or 0."""
    high, slope = 8.0 * low, 0.0
    for _ in range(_GROWTHS):
        slope = quotient(spot, high, side)[0]
        if slope != 0.0:
            break
        high = 8.0 * high
    change = abs(slope) * high
    return change if math.isfinite(change) else 0.0


def residual(spot: Spot, h: float, found: Numbers) -> tuple[float, float, bool]:
    """Return how far f is at x + h from what was found, what of that is no surprise, and whether f is flat."""
    slope, error, bend, size = found[0], found[1], found[2], abs(h)
    near, _, rough, _ = quotient(spot, size, ABOVE if h > 0.0 else BELOW)
    predicted = slope + bend * (size if found[3] != 0.0 else h)
    expected = 2.0 * rough + 3.0 * error + 1e-3 * abs(bend * h) + 1e-11 * abs(slope)
    flat = near == 0.0 and (slope == 0.0 or abs(predicted) > 2.0 * rough)
    return abs(near - predicted) * size, expected * size, flat


def explain(spot: Spot, h: float, rest: float, flat: bool, found: Numbers) -> tuple[float, float]:
    """Return the noise of f, and from where to look again, or 0, for a surprise at x + h, `rest`, or a flat f."""
    low, largest, both = abs(h), rest, found[3] == 0.0
    if not flat:
        low, largest = _NEARER[0] * abs(h), 0.0
        rest = max(rest, residual(spot, _ACROSS * h, found)[0] if both else 0.0)
        for part in _NEARER:
            nearer, _, is_flat = residual(spot, part * h if both else abs(part) * h, found)
            largest, flat = max(largest, nearer), flat or is_flat
    if flat:
        change = edge(spot, low, ABOVE if h > 0.0 else BELOW)
        return max(change, rest) if change > 0.0 else 0.0, 0.0
    return (0.0, abs(h)) if largest <= _REMAINS * rest else (max(largest, rest), low)


def hidden_slope(spot: Spot, first: float, noise: float, found: Numbers) -> float:
    """Return what a structure of f may add to the slope that is coarser than the look nearby, whose noise hid it."""
    largest, size = 0.0, abs(found[0]) + abs(found[2] * first)
    for part in _BETWEEN:
        h = (part if found[3] == 0.0 else math.copysign(part, found[3])) * first
        rest, expected, _ = residual(spot, h, found)
        if rest > expected + _ABOVE_NOISE * noise + size * part**2 * abs(h):
            largest = max(largest, rest / abs(h))
    return largest


def look_near(spot: Spot, first: float, found: Numbers) -> tuple[float, float, float]:
    """Return the noise of f, from where to look again, or 0, and what a structure that noise hid may add to the slope.

    ``found = slope, error, bend, side`` of the tableau, where `bend` is half the second derivative. One value will
    do; where it surprises, nearer ones tell whether f is rough (the surprise is as large there), has steps, or has
    another slope.
    """
    h = (_NEAR if found[3] >= 0.0 else -_NEAR) * first
    rest, expected, flat = residual(spot, h, found)
    if rest <= expected and not flat and abs(found[0]) < abs(found[2] * h):  # at an extremum steps of f are wide
        h *= _NEARER[0]
        rest, expected, flat = residual(spot, h, found)
    if not (rest > expected or flat):
        return 0.0, 0.0, 0.0
    noise, nearer = explain(spot, h, rest, flat, found)
    # Noise that leaves no digit may be a structure that is finer yet.
    if noise == 0.0 or 4.0 * noise >= abs(found[0]) * first:
        return noise, nearer, 0.0
    return noise, 0.0, hidden_slope(spot, first, noise, found)


def roughness(spot: Spot, h: float, side: int) -> float:
    """Return the third difference of f at x + h, or 0 where round-off explains it, or h is no farther than x.

    There the noise of f is that next to x.
    """
    change, rough = 0.0, 0.0
    if not 0.0 < 4.0 * abs(spot[3]) < h:
        return 0.0
    for m in range(4):
        step = h * (1.0 + _PLACES[m])
        slope, _, rough, _ = quotient(spot, step, side if side != 0 else ABOVE)
        change += _WEIGHTS[m] * slope * step
    return abs(change) if abs(change) > 3.0 * rough * h else 0.0


def refine(work: Work, j: int, current: float, jump: float, round_off: float, power: float) -> Numbers:
    """Extrapolate the quotient of level j, and return its best slope, that one's error, and the last slope.

    ``work = slopes, jumps`` holds the last extrapolations of level j - 1 and receives those of level j. The error
    is the largest of the distances to the neighbours in the tableau, the round-off, and half the jump.
    """
    slopes, jumps = work
    slope, error, factor, jump_factor = math.nan, math.inf, power, 2.0
    for q in range(j):
        further = current + (current - slopes[q]) / (factor - 1.0)
        further_jump = jump + (jump - jumps[q]) / (jump_factor - 1.0)
        new_error = max(abs(further - current), abs(further - slopes[q]), round_off)
        slopes[q], jumps[q], current, jump = current, jump, further, further_jump
        new_error = max(new_error, 0.5 * abs(jump))
        if new_error <= error:
            slope, error = current, new_error
        factor, jump_factor = factor * power, jump_factor * 4.0
    slopes[j], jumps[j] = current, jump
    return slope, error, current


def tableau(spot: Spot, first: float, side: int, work: Work) -> tuple[float, float, float, float, float, int, float]:
    """Extrapolate the quotients of the steps ``first / 2**j``, and end where that gets worse.

    Return the slope, its error, the last step that it used, the round-off there, half the second derivative, the
    side on which f was not finite, and the quantum of an f that has steps.
    """
    slope, error, step, round_off, side_lost, last, quantum = math.nan, math.inf, first, 0.0, 0, math.nan, 0.0
    bend, before, h, stalled = 0.0, 0.0, first, 0
    for j in range(LEVELS):
        h = first / 2.0**j
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
        bend = (0.5 * jump if side == 0 else before - slope) / h
        stalled += 1 if new_error > 0.5 * previous else 0
        is_worse = previous < math.inf and abs(current - last) >= 2.0 * error
        if error <= 2.0 * round_off or stalled == _STALLED or is_worse:
            if step == h and abs(current - last) <= 0.5 * round_off:  # the same slope, with half the round-off
                slope, step = last, 2.0 * h
            break
        last = current
    if error == math.inf and quantum > 0.0:
        slope, error, step, round_off = before, quantum / h, 2.0 * h, quantum / h
    error = max(error, 2.0 * spot[-1] / step) if error < math.inf else error
    return slope, error, step, round_off, bend, side_lost, quantum


def begin(place: Spot, first: float) -> tuple[float, int, int]:
    """Return the first step, the side and the direction to begin with, for a step that may be too long for the limits.

    Where one limit is near, the differences are one-sided.
    """
    below, above = place[3] - place[7], place[8] - place[3]
    side, direction = 0, _DONE if math.isinf(place[4]) else 0
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
    steps: Numbers, direction: int, is_new: bool, best: Numbers, new: Numbers, goals: Numbers
) -> tuple[float, int]:
    """Return the first step to try next, and the direction.

    ``steps = first, scale``; `is_new` tells whether the last tableau was the best, ``new = error, round_off`` of it;
    ``goals = relative error, absolute error, eps, nearer``, the last the first step that a look nearby asks for, or 0.
    Where round-off rules, a larger step, so that it would be 450 eps of the slope, else a smaller one; but not back.
    """
    (first, scale), (new_error, round_off), (good, atol, eps, nearer) = steps, new, goals
    slope, error = abs(best[0]), best[1]
    if nearer > 0.0:
        return nearer, _DONE if error <= FAIR * slope else -1
    worse = not is_new and (direction > 0 or error <= FAIR * slope)
    if worse or error <= max(good * slope, atol):
        return first, _DONE
    if new_error > 512.0 * round_off:  # which grows by 64
        return first / 64.0, _DONE if direction > 0 else -1
    if direction < 0 or slope <= 4.0 * error or first > 1e8 * scale:
        return first, _DONE
    growth = min(max(new_error / slope / (450.0 * eps), 8.0), 1e6) if new_error <= 0.01 * slope else 8.0
    return (_FIRST if first < _FIRST < first * growth else first * growth), 1


def look_far(spot: Spot, steps: Numbers, side: int, best: Numbers, work: Work) -> Numbers:
    """Return what was found, ``best = slope, error, step, round_off, is_bent``, or what a step for 1 finds.

    Where both are certain and differ, the more certain slope, with the difference as its error: t + log(1 + t t)
    is t next to 0, and one cannot tell that from t.
    """
    (first, scale), slope, error = steps, best[0], best[1]
    is_bent = best[4] > 0.0 and spot[-1] == 0.0  # next to x already
    if error == math.inf or scale >= _SMALL or first >= _FIRST or is_bent:
        return best
    new_slope, new_error, h, rough = tableau(spot, _FIRST, side, work)[:4]
    apart = abs(new_slope - slope)
    if apart > error + new_error:
        if new_error > FAIR * abs(new_slope):
            return best
        return (new_slope, apart, h, rough, 0.0) if new_error < error else (slope, apart, best[2], best[3], 0.0)
    return (new_slope, new_error, h, rough, 0.0) if new_error < error else best


# Longer than other functions: a state machine whose branches share all that they know, a dozen variables.
# A function of a branch would take and return nearly all of these.
def estimate(place: Spot, first: float, goals: tuple[float, float], work: Work) -> Numbers:
    """Return the derivative, its error, the step, the round-off there, and a flag, for a first step or 0."""
    value, noise, least, is_free = place[3], 0.0, 0.0, first == 0.0
    scale = abs(value) if value != 0.0 else 1.0
    first, side, direction = begin(place, _FIRST * scale if is_free else first)
    best = math.nan, math.inf, 0.0, math.inf, 0.0
    for _ in range(_ATTEMPTS):
        if direction == _DONE:
            break
        spot = place + (noise,)  # noqa: RUF005, numba has no star here
        slope, error, h, rough, bend, side_lost, quantum = tableau(spot, first, side, work)
        if error == math.inf:
            first, side, direction = retreat(spot, (first, scale), side_lost, side, direction)
            continue
        if is_free and direction == 0 and scale < 1.0 and abs(slope) <= error <= 64.0 * rough:
            # Not a digit: x says nothing of the length on which f changes.
            scale, first, noise = 1.0, _FIRST, max(noise, quantum)
            best = math.nan, math.inf, 0.0, math.inf, 0.0
            continue
        nearer, is_known = 0.0, noise > 0.0 or direction > 0
        if not is_known and quantum == 0.0:
            quantum, nearer, least = look_near(spot, first, (slope, error, bend, float(side)))
        if nearer > 0.0:
            error = max(error, 2.0 * quantum / h) if quantum > 0.0 else math.inf
        error = max(error, least)
        is_new = is_better(best, slope, error, direction)
        if is_new and nearer == 0.0:
            quantum = quantum if quantum > 0.0 and not is_known else roughness(spot, first, side)
            if quantum > 2.0 * noise:
                noise = quantum
                continue
        best = (slope, error, h, rough, 1.0 if abs(bend) * first > 64.0 * rough else 0.0) if is_new else best
        goal = goals[0], goals[1], place[5], nearer
        first, direction = next_first((first, scale), direction, is_new, best, (error, rough), goal)
    spot, steps = place + (noise,), (first, scale if is_free else 1.0)  # noqa: RUF005
    return look_far(spot, steps, side, best, work)


def linked(decorate: Decorator) -> Any:
    """Return a copy of `estimate` that is decorated, as are the copies of the functions above that it calls."""
    names = dict(globals())
    own = quotient, edge, residual, explain, look_near, roughness, refine, tableau, begin, retreat, is_better
    for function in (*own, hidden_slope, next_first, look_far, estimate):
        names[function.__name__] = decorate(FunctionType(function.__code__, names, function.__name__))
    return names["estimate"]
