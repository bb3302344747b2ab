"""Looks at f next to x, which tell noise and steps from a structure of f, for the extrapolation of `numgrad.ridders`.

From afar a periodic f is flat, and from near all steps are: flat, or on the line of one tooth of a saw. The functions
are plain Python, of which `numgrad.ridders.linked` makes compiled copies. A spot is what it says there.
"""

from __future__ import annotations

import math
from typing import Any

__all__: list[str] = []  # nothing here is public

Spot = tuple[Any, ...]
Numbers = tuple[float, ...]  # as many as the docstring names

# Each constant below was chosen for the functions of tests/catalogue.py and tests/kinds.py, and is fixed by the test of
# tests/test_kinds.py or tests/test_estimates.py that is named, or by test_true_errors_at_random_points_of_each_kind for
# several kinds.

ABOVE, BELOW = 1, -1  # sides of x; 0 is both

# Unit: first steps. Where f is asked whether it is in all digits what a tableau foresees, which smooth functions are. A
# structure that is finer than the steps, but larger than round-off, shows there. No simple fraction: where that is a
# multiple of the stairs of an f of few digits, f is as foreseen. Fixed by test_interpolants_of_many_knots and
# test_a_line_of_few_digits.
CLOSE = 1.01373e-3
# Round-offs by which f may be off there without another look: 97 of 100 smooth functions are, and few noisy ones. Fixed
# by "Osborne 2" of tests/test_estimated_matrices.py.
_QUIET = 0.5
# Unit: first steps. How near to x f is asked whether its slope is what it seemed from afar: so far that a structure of
# length 1 shows at x = 1e6, so near that the round-off of smooth functions is larger. Fixed by "fine structure".
_NEAR = 4e-6
# Unit: the look nearby. Another one on the other side; and nearer ones, of no simple ratio, where f has steps. Fixed by
# "fine structure", "iterated".
_ACROSS, _NEARER = -0.61, (1 / 211.3, -1 / 173.9, 1 / 97.1)
# Part of the bend of f by which it may be off, and next to x where a tableau of both sides gives it. Fixed by "few
# iterations", and by test_interpolants_of_many_knots.
ROUGH_BEND, KNOWN_BEND = 1e-3, 1e-5
# Part of a surprise from nearby that remains at the nearer looks if it is noise: of a root of x there remains 1/14.
# Fixed by "noise", and by test_no_derivative_is_nan_with_an_infinite_error.
_REMAINS = 0.2
# Unit: first steps. Looks between those nearby and the steps of a tableau, where f has noise; and multiples of it from
# which on f has a structure there. Fixed by test_a_structure_of_few_digits_is_admitted.
_BETWEEN, _ABOVE_NOISE = (-6.1e-5, 7.3e-4, -9.1e-3), 6.0
# Growths by 8 from the look nearby on, to 500 first steps, within which a flat piece must end. Fixed by "rounded".
_GROWTHS = 9
# A look is so many times as far as the one before; multiples of a departure that grows by a power of that, from which
# on it is a jump, and from which on it is a bend; units of what is expected, from which on that is seen; and parts of
# the first step that the length of a bent f is. Fixed by test_few_digits_beside_something_smooth,
# test_teeth_of_which_little_is_known, and test_smooth_functions_finer_than_x_cost_a_few_looks_more.
_FARTHER, _JUMPED, _BENT, _SEEN, _SHORTER = 4.0, 2.0, 0.5, 4.0, 3.0
# Part of the first departure by which it may differ from that of the bend. Fixed by
# test_a_bend_of_round_off_hides_no_teeth.
_ALONE = 0.5
# Teeth in the first step that an f of few digits has at least. An f with fewer jumps has the slope between these. Fixed
# by test_rare_jumps and test_few_digits_beside_something_smooth.
TEETH = 50.0
# Halvings that tell a jump, of which a part remains, from a kink, beyond which a look may be by little; and part that
# tells the first of some jumps: no simple fraction. Fixed by test_a_kink_just_before_a_look_is_no_jump.
_BISECTIONS, _REMAINING, _PART = 12, 0.1, 0.42
# Unit: steps. Where the four looks at the far end are: many numbers of float32 apart, and not evenly, since multiples
# of its spacing would look smooth; and the weights of their third difference, of size 1. Fixed by "float32 next to 0".
_PLACES = (0.0, 3.4477e-6, 8.2103e-6, 14.2951e-6)
_WEIGHTS = tuple(float(2e-16 / math.prod(p - q for q in _PLACES if q != p)) for p in _PLACES)

# Unit: steps. Windows at the far end, of no simple ratio; factor by which the places are spread where f is flat there;
# and a spread that is too wide: one factor less and the last place is twice as far as the first, where even one digit
# has changed. Fixed by test_a_line_of_few_digits.
_WINDOWS, _SPREAD, _WIDEST = (1.0, 0.8317, 0.6143), 41.0, 7e4


def quotient(spot: Spot, h: float, side: int) -> tuple[float, float, float, int]:
    """Return the slope for the step h, the jump between the slopes on both sides, the round-off, and a side.

    `side` is 0 for a central quotient, else the sign of a one-sided one. What is returned last is the sign of the side
    on which f is not finite, as beyond the limits, or 0. The round-off is that of f, its noise, and that of what f
    computes from x first, eps x times the steepest slope.
    """
    x, point, i, value, base, eps, args, low, high, known, evaluate = spot
    plus = minus = base
    above = below = value
    if side >= 0:
        point[i] = value + h
        above, plus = float(point[i]), math.nan
        if above <= high:
            plus = evaluate(x, args)
            known[0] += 1.0
    if side <= 0:
        point[i] = value - h
        below, minus = float(point[i]), math.nan
        if below >= low:
            minus = evaluate(x, args)
            known[0] += 1.0
    point[i] = value
    if plus - plus != minus - minus:  # NaN of what is not finite
        return math.nan, 0.0, 0.0, BELOW if math.isfinite(plus) else ABOVE
    # The step is lost in the rounding of x + h: there is no distance to divide by.
    if above == below:
        return math.nan, 0.0, 0.0, 0
    slope, jump = (plus - minus) / (above - below), 0.0
    if side == 0 and base == base and below < value < above:  # not NaN; of infinity nothing is asked
        jump = (plus - base) / (above - value) - (base - minus) / (value - below)
    rough = eps * max(abs(plus), abs(minus)) + eps * abs(value) * (abs(slope) + 0.5 * abs(jump)) + known[1]
    return slope, jump, rough / h, 0


def edge(spot: Spot, low: float, side: int) -> float:
    """Return how much f changes where it no longer is what it is at x, as it is up to `low` at least, or 0."""
    for _ in range(_GROWTHS):
        low = 8.0 * low
        slope = quotient(spot, low, side)[0]
        if slope != 0.0:
            change = abs(slope) * low
            return change if math.isfinite(change) else 0.0
    return 0.0


def residual(spot: Spot, h: float, found: Numbers) -> tuple[float, float, bool]:
    """Return how far f is at x + h from what was found, what of that is no surprise, and whether f is flat."""
    slope, error, bend, size = found[0], found[1], found[2], abs(h)
    near, _, rough, _ = quotient(spot, size, ABOVE if h > 0.0 else BELOW)
    predicted = slope + bend * (size if found[3] != 0.0 else h)
    expected = 2.0 * rough + 3.0 * error + found[4] * abs(bend * h) + 1e-11 * abs(slope)
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


def look_near(spot: Spot, first: float, found: Numbers, foreseen: float) -> tuple[float, float, float]:
    """Return the noise of f, from where to look again, or 0, and what a structure that noise hid may add to the slope.

    ``found = slope, error, bend, side, part`` of the tableau, where `bend` is half the second derivative, of which a
    part is unknown. For differences of both sides the first look is farther than the others: there the tableau has
    `foreseen` the quotient. One value will do; where it surprises, nearer ones tell whether f is rough (the surprise is
    as large there), has steps, or has another slope.
    """
    off = 0.0
    if found[3] == 0.0:
        near, _, rough, _ = quotient(spot, CLOSE * first, ABOVE)
        off = abs(near - foreseen)
        if off <= _QUIET * rough and 3.0 * found[1] <= 2.0 * rough and near != 0.0:
            return 0.0, 0.0, 0.0
        if near == 0.0 or not off > 2.0 * rough + 3.0 * found[1]:
            off = 0.0
    h = (_NEAR if found[3] >= 0.0 else -_NEAR) * first
    rest, expected, flat = residual(spot, h, found)
    if rest <= expected and not flat and abs(found[0]) < abs(found[2] * h):  # at an extremum steps of f are wide
        h *= _NEARER[0]
        rest, expected, flat = residual(spot, h, found)
    if not (rest > expected or flat):
        if off == 0.0:
            return 0.0, 0.0, 0.0
        # Between both looks f leaves what it is next to x, or its noise was small there by chance.
        h, rest, found = CLOSE * first, off * CLOSE * first, (found[0], found[1], found[2], 1.0, found[4])
    noise, nearer = explain(spot, h, rest, flat, found)
    # Noise that leaves no digit may be a structure that is finer yet.
    if noise == 0.0 or 4.0 * noise >= abs(found[0]) * first:
        return noise, nearer, 0.0
    return noise, 0.0, hidden_slope(spot, first, noise, found)


def first_half_off(ends: Numbers, middle: float, off: float, rest: float) -> tuple[float, float, float, float]:
    """Return the half of an interval in which f leaves a line: beyond its end f is off the line by `rest`.

    ``ends = low, high, below, above``: the interval, and how far f is off the line at both ends. In the `middle` it is
    `off` the line. The half is returned in the same form.
    """
    low, high, below, above = ends
    return (low, middle, below, off) if off > _PART * rest else (middle, high, off, above)


def jump_between(spot: Spot, low: float, high: float, rest: float, found: Numbers) -> float:
    """Return by how much f jumps between two steps up to which it is on a line and `rest` off it, or 0."""
    below, above = 0.0, rest
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        off = residual(spot, middle, found)[0]
        low, high, below, above = first_half_off((low, high, below, above), middle, off, rest)
        if not above - below > _REMAINING * rest:
            return 0.0
    return above - below


def tooth(spot: Spot, step: float, afar: Numbers, found: Numbers) -> float:
    """Return by how much f jumps where it leaves the line found next to x, or 0 where it bends away from it.

    Up to the step at least it is on that line; the jump is sought as far as the width of `TEETH` teeth in the step
    `first`. ``afar = first, steep``: f is as steep as that within it, as near an extremum, where it bends by more than
    its slope at x tells. Few digits plus or times something smooth are the teeth of a saw: the slope of one is not that
    of f. Without a bend, most of what is expected is the error of the slope, which grows evenly: what grew much faster
    is looked at, jump or bend.
    """
    first, steep = afar
    h, known, power = (step if found[3] >= 0.0 else -step), math.inf, 2.0 if found[2] != 0.0 else 1.0
    growth = _FARTHER ** (power + 1.0)
    while abs(h) < _FARTHER * first / TEETH:
        rest, expected, _ = residual(spot, h, found)
        if not rest < math.inf:
            break
        # What is off is the bend alone, which was round-off: next to x f is on a straight line.
        if known == math.inf and rest > _SEEN * expected and abs(rest - abs(found[2]) * h * h) < _ALONE * rest:
            found, power, growth = (found[0], found[1], 0.0, found[3], found[4]), 1.0, _FARTHER**2
            continue
        bent = max(abs(found[0]), steep) * abs(h) * (_SHORTER * abs(h) / first) ** power
        is_off = rest > max(_SEEN * expected, bent)
        if rest > _JUMPED * growth * (known if is_off and found[2] == 0.0 else max(known, expected)):
            jump = jump_between(spot, h / _FARTHER, h, rest, found)
            if jump > 0.0:
                return jump
        if is_off and rest > _BENT * growth * known:
            break
        known, h = rest, _FARTHER * h
    return 0.0


def roughness(spot: Spot, h: float, side: int) -> float:
    """Return the largest third difference of f next to x + h, or 0 where f is smooth, or h is no farther than x.

    There the noise of f is that next to x. One third difference may be small by chance, so that of a rough f is sought
    in some windows.
    """
    largest, spread = 0.0, 1.0
    if not 0.0 < 4.0 * abs(spot[3]) < h:
        return 0.0
    for part in _WINDOWS:
        change, spread = third_difference(spot, part * h, side if side != 0 else ABOVE, spread)
        if change == 0.0:
            break
        largest = max(largest, change)
    return largest


def third_difference(spot: Spot, h: float, side: int, spread: float) -> tuple[float, float]:
    """Return the third difference of f at x + h, or 0 where round-off explains it, and how far the places are spread.

    Where f is flat, its steps are wider than the places are apart, and these are spread farther.
    """
    change, rough = 0.0, 0.0
    while spread < _WIDEST:
        change, rough, start, flat = 0.0, 0.0, 0.0, True
        for m in range(4):
            step = h * (1.0 + spread * _PLACES[m])
            slope, _, rough, _ = quotient(spot, step, side)
            start = slope * step if m == 0 else start
            flat = flat and abs(slope * step - start) <= rough * h
            change += _WEIGHTS[m] * slope * step
        if not flat or start == 0.0:
            break
        spread *= _SPREAD
    return abs(change) if abs(change) > 3.0 * rough * h else 0.0, spread
