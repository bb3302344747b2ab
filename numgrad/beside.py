"""The noise of f beside x, where derivatives do not explain by how much f changes."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .bounds import moved_within
from .loops import Floats
from .magnitudes import SMALL, least_magnitude, rounding_by
from .noise import LOOKS, noise_of, spacings
from .points import EPS, FEW_DIGITS, FLOAT64, parts_of_steps, resolution, scales, where_defined

__all__: list[str] = []  # nothing here is public

# Standard deviations of rounding, which is uniform, that the spacing of the floats is. No tuning.
_SPACING = math.sqrt(12.0)
# Spacings of x between the points of a line that shows the rounding of f, at least. No tuning: x is stored exactly.
_LEAST = 4.0
# Parts of spacings along lines on which rounding is shown: the seven values of one may show a quarter of it, or none
# where spacings change f by multiples of its unit. Fixed by the former, and by
# test_noise_by_small_coordinates_beside_large_ones_is_warned_of in tests/test_digits.py.
_LINES = 1.0, 0.75
# Roundings of f that a difference is at most which shows that f has its digits: a mixed one has twelve.
# Fixed by test_evaluations_are_counted_exactly in tests/test_hessian.py.
ROUNDED = 64.0
# Times that what derivatives do not explain, a sample of noise, may be smaller than the noise.
# Fixed by test_noise_of_any_kind_is_warned_of in tests/test_digits.py.
SMALLER = 4.0
# Part of a move by which noise is told from curvature, of which that makes a thousandth.
# Fixed by test_what_tells_noise_takes_few_evaluations in tests/test_digits.py.
_SHORT = 1 / 32
# Relative to x: the length of the line that shows noise, at least: 16 steps of a difference to both sides, within one
# of which six decimals may stay the same. Fixed by test_noise_of_outputs_is_warned_of in tests/test_digits.py.
_LONG = 1e-4
# Relative to x: how far f is looked at, to see by how much it changes over its length where its slopes are next to 0.
# Fixed by test_smooth_outputs_are_not_warned_of in tests/test_digits.py.
FAR = 1 / 16
# Places up to there at which f is asked whether it stays the same over a part of a step, and values at which it does so
# if it changes by steps again and again. Fixed by test_zeros_of_an_f_that_changes_by_steps_are_warned_of and
# test_zeros_that_are_right_are_not_warned_of in tests/test_digits.py.
_PLACES, _APART, _LEVELS = 16, 1 / 16, 12
# Another place at which that is asked first. No simple fraction: at both a value may be about to change by chance.
# Fixed by test_zeros_of_float32_inside_by_one_sided_steps_are_warned_of.
_SECOND = 0.713
# Part of what f changes by over its length to one side that it changes by to the other, the other way, if it has a
# slope there. Fixed by test_smooth_outputs_are_not_warned_of, and by
# test_a_constant_does_not_accuse_what_is_0_at_a_minimum.
_INCLINED = 0.1
# Roundings of f that it changes by over its length if it has a slope that rounding hides.
# Fixed by test_a_slope_beside_a_large_constant_is_warned_of in tests/test_digits.py.
_CHANGED = 16.0
# Times as long is a line on which noise is looked for, where f stayed the same along the one before.
# Fixed by test_so_few_digits_that_no_step_changes_f_are_warned_of in tests/test_digits.py.
_FARTHER = 16.0
# Part of the slope of f, over the length x or 1, from which on a higher derivative that is no more than its rounding is
# worth a warning, and roundings of f that its change is to be: no constant has one.
# Fixed by test_of_an_order_without_a_digit_is_warned in tests/test_magnitudes.py.
_HIDDEN, _SEEN = 1 / 32, 8.0


class Beside(NamedTuple):
    """An f at the plain array x: its value there, as floats; ``near(moves)``, a row for each; moves within bounds."""

    x: NDArray[Any]
    base: Floats
    near: Callable[[Floats], Floats]
    inside: Callable[[Floats], Floats]

    def values(self, moves: Floats) -> Any:
        """Return f where x has moved by each row, or by one, or None where it is not defined."""
        return where_defined(lambda: self.near(moves.reshape(-1, self.x.size)))

    def change(self, move: Floats, k: int) -> float:
        """Return by how much the output k changes by a move, or 0 where it is not defined."""
        return 0.0 if (found := self.values(move)) is None else abs(found.item(k) - self.base.item(k))

    def longer(self, move: Floats, least: float) -> Floats:
        """Return a move that is at least so long, relative to x, as far as bounds leave room for it."""
        with np.errstate(all="ignore"):
            return self.inside(np.fmax(1.0, least / np.max(np.abs(move) / scales(self.x))) * move)

    def lengths(self, move: Floats) -> list[Floats]:
        """Return the moves over whose lengths f may change: a part of x, and of 1 where x is small."""
        return [self.longer(move, FAR), self.far(move)][: 1 + (least_magnitude(self.x) < SMALL)]

    def far(self, move: Floats) -> Floats:
        """Return a move of the same coordinates to where f may be another one, if they are of the magnitude 1.

        Their parts differ, so that what f changes by one does not make up for another.
        """
        return self.inside(parts_of_steps(move.size) * np.sign(move) * FAR * np.fmax(scales(self.x), 1.0))


def beside_point(
    objective: Any, at: tuple[Any, Any], value: float, values: Callable[[Floats], Floats], bounds: Any
) -> Beside:
    """Return a `Beside` of an f with one value, NaN if it is not known; ``values(moves)`` has a number for each."""
    point, value = at[0], value if value == value else objective.value(*at)

    def near(moves: Floats) -> Floats:
        return values(moves)[:, np.newaxis]

    return Beside(np.asarray(point), np.array([value]), near, lambda moves: moved_within(point, moves, bounds))


def noise_of_derivatives(
    at: Beside, found: Any, move: Floats, per_value: Any, rest: Floats | None = None
) -> tuple[float, float]:
    """Return how far noise puts derivatives off, or 0, and the largest one. See `noise_beside`.

    They are an array or a sparse one, a row for each output. Where one of an array is not finite, the others of that
    output are looked at without its coordinate. Those by some coordinates, or of some outputs, may be 0 since f changes
    by steps.
    """
    if not (move := at.inside(move)).any():
        return 0.0, 0.0
    entries = found if isinstance(found, np.ndarray) else found.data
    with np.errstate(all="ignore"):
        change, largest = (found @ move).view(FLOAT64), largest_finite(entries)
        if entries is found and not math.isfinite(change.sum()):
            known = np.isfinite(found)
            lost = (known.any(axis=1, keepdims=True) & ~known).any(axis=0)
            move, change = np.where(lost, 0.0, move), (np.where(lost, 0.0, found) @ move).view(FLOAT64)
    error = noise_beside(at, (move, change, rest), (largest, per_value), found)
    if error or not largest or entries.all():
        return error, largest
    still, outputs = _still(found, move), change == 0.0
    if still.any():
        move, outputs = still, np.ones(change.shape, np.bool_)
    return (stairs(at, move, outputs, per_value) if outputs.any() else 0.0), largest


def _still(found: Any, move: Floats) -> Floats:
    """Return a move of those coordinates alone by which all derivatives are 0."""
    return np.where(abs(found).sum(axis=0) != 0.0, 0.0, move)


def noise_beside(at: Beside, line: tuple[Floats, Floats, Any], sizes: tuple[float, Any], found: Any = None) -> float:
    """Return how far noise puts the largest derivative off, or 0 where derivatives explain by how much f changes.

    The `line` is a move, by what derivatives tell that f changes, each float that it returns, and what is left of that
    where it was looked, or None: curvature, or noise. Only where much is left by a short part of the move too, f is
    asked for more, of the output of which most is left. The `sizes` are the largest derivative, and by how much a value
    of f that is off by 1 puts one off, or those by each coordinate, of which derivatives are `found`.
    """
    (move, change, _), (largest, per_value) = line, sizes
    if not largest:
        return stairs(at, move, change == 0.0, per_value)
    with np.errstate(all="ignore"):
        own, most = ROUNDED * EPS * largest_finite(at.base), float(np.max(per_value))
        limits, values = (own, FEW_DIGITS / SMALLER * largest / most), np.where(change != 0.0, np.abs(at.base), 0.0)
        if EPS * largest_finite(values) * most > FEW_DIGITS * largest:  # as of a small f beside a large constant
            return _hidden_by_rounding(at, move, int(values.argmax()), per_value)
        if (k := _doubtful_output(at, line, limits)) is None:
            return 0.0
        shown = 0.5 * shown_rounding(at, at.longer(move, _LONG), k)  # to either side
        # Only those coordinates move of which noise hides the derivatives: another one may change f by far more.
        hidden = np.where(shown * per_value > FEW_DIGITS * largest, move, 0.0)
        if not (shown > own and hidden.any()):
            return 0.0
        own_line = hidden, change if found is None else (found @ hidden).view(FLOAT64), None
        if (hidden != move).any() and _doubtful_output(at, own_line, limits) is None:
            # Or derivatives are 0 by coordinates that change the output where they are farther than noise reaches.
            far = at.far(_still(found, hidden))
            if not at.change(far, k) > max(own, FEW_DIGITS * largest * largest_finite(far)):
                return 0.0
        # Slopes next to 0 are no sign of noise: then what f changes by over its length counts.
        far = at.longer(hidden, FAR)
        over_length = at.change(far, k) / (largest_finite(far) or 1.0) * largest_finite(hidden)
        return shown * most if shown > FEW_DIGITS * over_length else 0.0


def _hidden_by_rounding(at: Beside, move: Floats, k: int, per_value: Any) -> float:
    """Return how far the rounding of an output puts first derivatives off, or 0 where these are next to 0 anyway.

    By how much the output changes over a part of x, and of 1 where x is small, to both sides, tells which: at a
    minimum, beside it, or at an inflection it has no slope that rounding could hide.
    """
    own = EPS * abs(at.base.item(k))
    error = own * float(np.min(np.where(move != 0.0, per_value, math.inf)))
    for far in at.lengths(move):
        found, reach = at.values(np.array([far, at.inside(-far), 0.5 * far])), largest_finite(far)
        if found is None or not reach:
            return 0.0
        above, below, half = (found[:, k] - at.base[k]).tolist()
        less, change = sorted(map(abs, (above, below)))
        # By half the way a line has half the change, and an inflection an eighth.
        is_inclined = above * below < 0.0 and abs(half) > 0.25 * abs(above)
        if is_inclined and less > max(_CHANGED * own, _INCLINED * change):
            return error if error * reach > FEW_DIGITS * change else 0.0
    return 0.0


def stairs(at: Beside, move: Floats, outputs: NDArray[np.bool_], per_value: Any = None) -> float:
    """Return how far the derivatives of some outputs that are 0 are off, or 0 if these zeros are right.

    They are wrong where f changes by steps along the move: it stays the same over a part of a step, at several values.
    First derivatives are wrong too where the rounding of f hides by how much it changes. `per_value` is how far a value
    that is off by 1 puts them off, and None for second derivatives, of which only steps are told. An f that is
    constant, even, or a single step has right zeros. f is looked at over a part of x, and of 1 where x is small.
    """
    with np.errstate(all="ignore"):
        for far in at.lengths(move):
            if not (reach := largest_finite(far)) or (found := at.values(far)) is None:
                return 0.0
            changes, length = np.where(outputs, np.abs(found[0] - at.base), 0.0), largest_finite(move) / reach
            k = int((changes == (change := largest_finite(changes))).argmax())
            if change > _CHANGED * EPS * largest_finite(at.base):
                least = 1.0 if per_value is None else float(np.min(np.where(move != 0.0, per_value, math.inf)))
                if per_value is not None and EPS * abs(at.base.item(k)) * least * reach > FEW_DIGITS * change:
                    return _hidden_by_rounding(at, move, k, per_value)
                apart = _APART * length
                # Two places first: an f that is even has other values beside both.
                some = at.values(np.multiply.outer([1.0 - apart, _SECOND, _SECOND - apart], far))
                if some is None or (found[0, k] != some[0, k] and some[1, k] != some[2, k]):
                    return 0.0
                if _has_levels(at, far, k, apart):
                    return change * length * least
    return 0.0


def _has_levels(at: Beside, far: Floats, k: int, apart: float) -> bool:
    """Tell whether the output k stays the same over a part of the way far from x, at several values."""
    places, own = np.arange(1, _PLACES + 1) / _PLACES, ROUNDED * EPS * largest_finite(at.base)

    def are_levels(values: Floats) -> bool:
        levels = np.unique(np.append(values, at.base[k]))
        # A smooth f that changes so from place to place would not stay the same: rounding hides less.
        return len(levels) >= _LEVELS and bool(np.diff(levels).min() * _PLACES * apart > own)

    # Along the second line, which may be the first, coordinates do not make up for each other.
    for line in (far, at.inside(np.abs(far)))[: 1 + bool((far < 0.0).any())]:
        found = at.values(np.multiply.outer(places, line))
        if found is not None and are_levels(found[:, k]):
            beside = at.values(np.multiply.outer(places - apart, line))
            if beside is not None and are_levels(found[beside[:, k] == found[:, k], k]):
                return True
    return False


def noise_of_slopes(at: Beside, slopes: Floats, plan: Any, chosen: Any, taken: Floats | None) -> tuple[float, float]:
    """Return what `noise_beside` returns, for the slopes of an f with one value by a plan, and the largest slope.

    The slopes are those of all coordinates, or of the chosen ones. Longer steps have been `taken` in place of those of
    the plan where that is not 0. Unless they are for all, these slopes are not looked at: along so long a step by one
    coordinate its curvature would seem to be noise of the others.
    """
    lengths, per_value = np.abs(plan[1].lengths), rounding_by(plan, 1.0)
    if taken is not None:
        with np.errstate(all="ignore"):  # next to the smallest numbers
            lengths, per_value = taken_or_first(taken, lengths, per_value)
    if chosen is not None:
        whole = np.zeros((3, at.x.size))
        whole[:, chosen] = slopes, lengths, per_value
        slopes, lengths, per_value = whole
    with np.errstate(all="ignore"):  # next to the smallest numbers
        move = parts_of_steps(at.x.size, True) * lengths
    return noise_of_derivatives(at, slopes[np.newaxis], move, per_value)


def taken_or_first(taken: Floats, first: Floats, per_value: Floats) -> tuple[Floats, Floats]:
    """Return the steps that were taken, and what values count by these, or the first ones, and 0 where others were."""
    if (taken > 0.0).all():
        return taken, per_value * (first / taken)
    return np.where(taken == 0.0, first, 0.0), np.where(taken == 0.0, per_value, 0.0)


def noise_of_number(
    x: Floats, terms: Any, found: Floats, values: Callable[[Floats], Floats], bounds: Any
) -> tuple[float, float]:
    """Return what `noise_of_derivatives` returns for the derivative `found` of one number x, by these differences.

    One that is not what the `terms` of a difference tell is by a longer step. What f(x) is they tell too.
    """
    if terms.found.item() == found.item() != 0.0:  # in a fifth of the time, as a rule
        value, start, slope = terms.values.item(0), terms.moves.item(0), found.item()
        move = 0.5 * _SHORT * max(terms.moves.item(-1), start, key=abs)
        near = where_defined(lambda: values(np.array([[move]])).item())
        least = max(ROUNDED * EPS * abs(value), FEW_DIGITS / SMALLER * abs(slope) * terms.lengths.item())
        has_digits = EPS * abs(value) <= FEW_DIGITS * abs(slope) * terms.lengths.item()
        if has_digits and near is not None and abs(near - value - slope * (move - start)) <= least:
            return 0.0, abs(slope)
    with np.errstate(all="ignore"):
        per_value = np.abs(terms.weights).sum(axis=0) / terms.divisors
        at = Beside(x, terms.values[0] - found * terms.moves[0], values, lambda moves: moved_within(x, moves, bounds))
        move = parts_of_steps(1) * np.where(found == terms.found, terms.lengths, 0.0)
    return noise_of_derivatives(at, found[np.newaxis], move, per_value)


def hidden_by_rounding(
    length: Floats,
    terms: Any,
    rounding: Floats,
    numbers: tuple[int, float, float],
    far: Callable[[], tuple[Floats, Floats | None]],
) -> Floats:
    """Return the rounding of the derivatives of an elementwise f that are no more than it, and 0 for the others.

    The `length` is that of each x, or 1. The `numbers` are the order, the relative spacing of f, and the part of a
    derivative that rounding may be: 1, and less for orders that are extrapolated. ``far()`` returns a move by a part of
    the length, and f there.
    """
    order, eps, few = numbers
    with np.errstate(all="ignore"):
        if not (is_small := rounding > few * np.abs(terms.found)).any():  # as a rule
            return np.zeros(rounding.shape)
        # The derivative of an f that varies over the length is then no more than its rounding.
        by_value = np.abs(terms.weights).sum(axis=0) * terms.lengths / terms.divisors
        is_faint = ((terms.lengths / length) ** order < eps * by_value) & (few == 1.0)
        # How steep f is between the outermost of the points. Where that is not seen, it may bend over the length.
        own = _SEEN * eps * np.abs(terms.values).max(axis=0)
        slopes = np.ptp(terms.values, axis=0) / np.ptp(terms.moves, axis=0)
        is_seen = slopes * terms.lengths > own
        move, values = far() if (is_small & ~is_seen).any() else (length, None)
        if values is not None:
            change = np.abs(values[0] - terms.values[0])
            slopes = np.where(is_seen, slopes, change / np.abs(move - terms.moves[0]) / FAR)
            is_seen |= change > own
        is_curved = is_seen & (rounding > min(few, _HIDDEN) * slopes / length ** (order - 1))
        return np.where((is_faint | is_curved) & is_small, rounding, 0.0)


def _doubtful_output(at: Beside, line: tuple[Floats, Floats, Any], limits: tuple[float, float]) -> int | None:
    """Return the float of what f returns of which derivatives explain the least, if more than the limits is left.

    These are the rounding of f, and what would leave a derivative few digits.
    """
    (move, change, rest), (own, least) = line, limits
    # Next to nothing is left of a linear f, or of few digits that happen to change alike to both sides.
    if rest is not None and own < largest_finite(rest) <= least:
        return None
    if (found := at.values(_SHORT * move)) is None:
        return None
    left = found[0] - at.base - _SHORT * change
    if not (largest := largest_finite(left)) > max(limits):
        return None
    return int((np.abs(left) == largest).argmax())


def shown_rounding(at: Beside, move: Floats, k: int = 0) -> float:
    """Return how far a value of f, the output `k`, may be off, as its noise shows beside x, or 0 where none is seen.

    It is looked for along a move of all coordinates. Where f stays the same along that, or is not defined, others
    follow that are ever longer: the digits of f may be so few that no step of a difference changes it.
    """
    times, most = 1.0, FAR * float(np.fmax(scales(at.x), 1.0).max(initial=0.0))
    while move.any():
        line = at.inside(times * move)
        if shown := where_defined(partial(_noise_along, at, line, k)):
            return float(shown)
        times *= _FARTHER
        if not times * largest_finite(move) <= most:
            break
    return 0.0


def _noise_along(at: Beside, move: Floats, k: int) -> float:
    """Return how far a value of f may be off, as its noise shows between x and where all coordinates have moved."""
    rng = np.random.default_rng(0)

    def noise(line: Floats) -> float:
        def values(places: list[float]) -> Floats:
            return at.near(middle + np.multiply.outer(places, line))[:, k]

        return noise_of(values, values([0.0]).item(), LOOKS, farthest)

    with np.errstate(all="ignore"):
        middle, least = 0.5 * move, _LEAST * resolution(at.x) * scales(at.x)
        unit = np.where(move == 0.0, 0.0, spacings(np.abs(move), least))
        farthest = float(np.min(np.abs(middle[move != 0.0] / unit[move != 0.0])))
        return _SPACING * max([noise(rng.choice([-part, part], unit.size) * unit) for part in _LINES])


def largest_finite(values: Floats) -> float:
    """Return the largest magnitude that is finite, or 0."""
    largest = float(np.abs(values).max(initial=0.0))
    return largest if math.isfinite(largest) else float(np.nan_to_num(np.abs(values), posinf=0.0).max())
