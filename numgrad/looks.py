"""The looks at f next to a point: one difference quotient, and what tells noise and steps from a structure of f.

As in `numgrad.loops`, the source serves both kinds of function: what a factory makes is passed through `decorate`,
which may compile it. Everything that concerns one coordinate travels as ``spot = x, point, i, value, base, eps, args,
low, high, out, k, noise``: what f receives and its perturbed elements, the coordinate, its value, f(x), the relative
spacing, the arguments of f, the limits of the coordinate, the row of the result whose last number counts the
evaluations, and the noise of f as far as it is known.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

__all__: list[str] = []  # nothing here is public

Decorator = Callable[[Any], Any]
Spot = tuple[Any, ...]
Numbers = tuple[float, ...]  # as many as the docstring names

# Each constant below was chosen for the functions of tests/catalogue.py and tests/kinds.py, and is fixed by the test of
# tests/test_kinds.py that is named, or by test_true_errors_at_random_points_of_each_kind for several kinds.

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
# Growths by 8 from the look nearby on, to 500 first steps, within which a flat piece must end. Fixed by "rounded".
_GROWTHS = 9
# Unit: x. Above it two looks nearby, since one may be right by chance. Fixed by "fine structure".
_LARGE = 1e2
# Unit: steps. Where the four looks at the far end are: many numbers of float32 apart, and not evenly, since multiples
# of its spacing would look smooth; and the weights of their third difference, of size 1. Fixed by "float32 next to 0".
_PLACES = (0.0, 3.4477e-6, 8.2103e-6, 14.2951e-6)
_WEIGHTS = tuple(float(2e-16 / math.prod(p - q for q in _PLACES if q != p)) for p in _PLACES)


# Longer than other functions, for it holds `quotient`, which has a part for either side.
def make_quotient(evaluate: Any, decorate: Decorator) -> Any:
    """Return the difference quotient of one step."""

    @decorate
    def quotient(spot: Spot, h: float, side: int) -> Numbers:
        """Return the slope for the step h, the jump between the slopes on both sides, the round-off, and a side.

        `side` is 0 for a central quotient, else the sign of a one-sided one. What is returned last is the sign of the
        side on which f is not finite, as beyond the limits, or 0. The round-off is that of f, its noise, and that of
        what f computes from x first, eps x times the steepest slope.
        """
        x, point, i, value, base, eps, args, low, high, out, k, noise = spot
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

    return quotient


def make_edge(quotient: Any, decorate: Decorator) -> Any:
    """Return the search for the edge of a flat piece of f."""

    @decorate
    def edge(spot: Spot, low: float, side: int) -> tuple[float, float]:
        """Return how far from x f is what it is at x, from `low` on, and how much it changes at that place, or 0."""
        high, slope = 8.0 * low, 0.0
        for _ in range(_GROWTHS):
            slope = quotient(spot, high, side)[0]
            if slope != 0.0:
                break
            low, high = high, 8.0 * high
        change = abs(slope) * high
        for _ in range(3 if change > 0.0 else 0):  # not where f is not finite
            middle = math.sqrt(low / high) * high
            slope = quotient(spot, middle, side)[0]
            low, high, change = (middle, high, change) if slope == 0.0 else (low, middle, abs(slope) * middle)
        return low, change if math.isfinite(change) else 0.0

    return edge


def make_residual(quotient: Any, decorate: Decorator) -> Any:
    """Return the comparison of f with what was found."""

    @decorate
    def residual(spot: Spot, h: float, found: Numbers) -> tuple[float, float, bool]:
        """Return how far f is at x + h from what was found, what of that is no surprise, and whether f is flat."""
        slope, error, bend, size = found[0], found[1], found[2], abs(h)
        near, _, rough, _ = quotient(spot, size, ABOVE if h > 0.0 else BELOW)
        predicted = slope + bend * (size if found[3] != 0.0 else h)
        expected = 2.0 * rough + 3.0 * error + 1e-3 * abs(bend * h) + 1e-11 * abs(slope)
        flat = near == 0.0 and (slope == 0.0 or abs(predicted) > 2.0 * rough)
        return abs(near - predicted) * size, expected * size, flat

    return residual


def make_explain(quotient: Any, residual: Any, decorate: Decorator) -> Any:
    """Return the looks that tell why f is not what was found."""
    edge = make_edge(quotient, decorate)

    @decorate
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
            low, change = edge(spot, low, ABOVE if h > 0.0 else BELOW)
            # What grows from nothing is no step of f, but a flat piece of it.
            if change < 0.1 * abs(found[0] * low) and found[1] > FAIR * abs(found[0]):
                return 0.0, 0.5 * low
            return max(change, rest) if change > 0.0 else 0.0, 0.0
        if largest <= _REMAINS * rest:
            return 0.0, abs(h)
        return max(largest, rest), low

    return explain


def make_look_near(quotient: Any, decorate: Decorator) -> Any:
    """Return the look whether f has near x the slope that it has from afar."""
    residual = make_residual(quotient, decorate)
    explain = make_explain(quotient, residual, decorate)

    @decorate
    def look_near(spot: Spot, first: float, found: Numbers) -> tuple[float, float]:
        """Return the noise of f, and from where to look again, or 0.

        ``found = slope, error, bend, side`` of the tableau, where `bend` is half the second derivative. One value will
        do; where it surprises, nearer ones tell whether f is rough (the surprise is as large there), has steps, or has
        another slope.
        """
        h = (_NEAR if found[3] >= 0.0 else -_NEAR) * first
        rest, expected, flat = residual(spot, h, found)
        if rest <= expected and not flat:
            if abs(found[0]) < abs(found[2] * h):  # next to an extremum, where steps of f are wide
                h *= _NEARER[0]
                rest, expected, flat = residual(spot, h, found)
            elif abs(spot[3]) > _LARGE and found[3] == 0.0:
                rest, expected, flat = residual(spot, _ACROSS * h, found)
        if not (rest > expected or flat):
            return 0.0, 0.0
        noise, nearer = explain(spot, h, rest, flat, found)
        # Noise that leaves no digit may be a structure that is finer yet.
        return noise, nearer if noise == 0.0 or 4.0 * noise >= abs(found[0]) * first else 0.0

    return look_near


def make_roughness(quotient: Any, decorate: Decorator) -> Any:
    """Return the look whether f is noisier afar, as one whose digits are few, not its decimals."""

    @decorate
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

    return roughness
