"""The noise of f beside x, where derivatives do not explain by how much f changes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .bounds import moved_within
from .loops import Floats
from .magnitudes import rounding_by
from .noise import noise_of, spacings
from .points import EPS, FEW_DIGITS, FLOAT64, parts_of_steps, resolution, scales, where_defined

__all__: list[str] = []  # nothing here is public

# Standard deviations of rounding, which is uniform, that the spacing of the floats is. No tuning.
_SPACING = math.sqrt(12.0)
# Spacings of x between the points of a line that shows the rounding of f, at least. No tuning: x is stored exactly.
_LEAST = 4.0
# Looks, each 16 times farther, for the noise of an f that stores x in fewer digits: from the first to the thousandth
# of coordinates that then moves. Fixed by test_no_pair_is_missing_in_few_digits in tests/test_hessian.py.
_LOOKS = 3
# Lines along which rounding is shown: the seven values of one may show a quarter of it. Fixed by the former.
_LINES = 2
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
_FAR = 1 / 16


class Beside(NamedTuple):
    """An f at the plain array x: its value there, as floats; ``near(moves)``, a row for each; moves within bounds."""

    x: NDArray[Any]
    base: Floats
    near: Callable[[Floats], Floats]
    inside: Callable[[Floats], Floats]

    def longer(self, move: Floats, least: float) -> Floats:
        """Return a move that is at least so long, relative to x, as far as bounds leave room for it."""
        with np.errstate(all="ignore"):
            return self.inside(np.fmax(1.0, least / np.max(np.abs(move) / scales(self.x))) * move)


def beside_point(
    objective: Any, at: tuple[Any, Any], value: float, values: Callable[[Floats], Floats], bounds: Any
) -> Beside:
    """Return a `Beside` of an f with one value, NaN if it is not known; ``values(moves)`` has a number for each."""
    point, value = at[0], value if value == value else objective.value(*at)

    def near(moves: Floats) -> Floats:
        return values(moves)[:, np.newaxis]

    return Beside(np.asarray(point), np.array([value]), near, lambda moves: moved_within(point, moves, bounds))


def noise_beside(at: Beside, line: tuple[Floats, Floats, Any], sizes: tuple[float, float]) -> float:
    """Return how far noise puts the largest derivative off, or 0 where derivatives explain by how much f changes.

    The `line` is a move, by what derivatives tell that f changes, each float that it returns, and what is left of that
    where it was looked, or None: curvature, or noise. Only where much is left by a short part of the move too, f is
    asked for more, of the output of which most is left. The `sizes` are the largest derivative, and by how much a value
    of f that is off by 1 puts one off.
    """
    (move, _, _), (largest, per_value) = line, sizes
    with np.errstate(all="ignore"):
        own = ROUNDED * EPS * largest_finite(at.base)
        if (k := _doubtful_output(at, line, own, FEW_DIGITS / SMALLER * largest / per_value)) is None:
            return 0.0

    def near(moves: Floats) -> Floats:
        return at.near(moves)[:, k]

    long, far = at.longer(move, _LONG), at.longer(move, _FAR)
    shown = 0.5 * float(where_defined(lambda: shown_rounding(at.x, long, near)) or 0.0)  # to either side
    # Slopes next to 0 are no sign of noise: then what f changes by over its length counts.
    with np.errstate(all="ignore"):
        value, change = where_defined(lambda: near(far[np.newaxis]).item()), 0.0
        if value is not None:
            change = abs(value - at.base.item(k)) / (largest_finite(far) or 1.0) * largest_finite(move)
        return shown * per_value if shown > max(own, FEW_DIGITS * change) else 0.0


def noise_of_slopes(
    at: Beside, slopes: Floats, plan: Any, chosen: Any, judged: NDArray[np.bool_] | None
) -> tuple[float, float]:
    """Return what `noise_beside` returns, for the slopes of an f with one value by a plan, and the largest slope.

    The slopes are those of all coordinates, or of the chosen ones. Those that are `judged` are by longer steps, which
    `magnitudes.lengthen` has chosen.
    """
    lengths, per_value = np.abs(plan[1].lengths), rounding_by(plan, 1.0)
    if judged is not None:
        lengths, per_value = (np.where(judged, 0.0, each) for each in (lengths, per_value))
    if chosen is not None:  # once each
        (places, first), n = np.unique(chosen, return_index=True), at.x.size
        lengths = np.bincount(places, np.broadcast_to(lengths, slopes.shape)[first], n).astype(FLOAT64)
        slopes = np.bincount(places, slopes[first], n).astype(FLOAT64)
    with np.errstate(all="ignore"):  # next to the smallest numbers
        move = parts_of_steps(at.x.size, True) * lengths
    if not (move := at.inside(move)).any():
        return 0.0, 0.0
    with np.errstate(all="ignore"):
        change, largest = np.array([slopes @ move]), largest_finite(slopes)
    return noise_beside(at, (move, change, None), (largest, float(per_value.max()))), largest


def _doubtful_output(at: Beside, line: tuple[Floats, Floats, Any], own: float, least: float) -> int | None:
    """Return the float of what f returns of which derivatives explain the least, if more than `least` is left."""
    move, change, rest = line
    # Next to nothing is left of a linear f, or of few digits that happen to change alike to both sides.
    if rest is not None and own < largest_finite(rest) <= least:
        return None
    part = _SHORT if least else 1.0
    look = part * (move if least else at.longer(move, _LONG))
    found = where_defined(lambda: at.near(look[np.newaxis])[0])
    if found is None:
        return None
    left = found - at.base - part * change
    if not (largest := largest_finite(left)) > max(own, least):
        return None
    return int((np.abs(left) == largest).argmax())


def shown_rounding(plain: NDArray[Any], steps: Floats, near: Callable[[Floats], Floats]) -> float:
    """Return how far a value of f may be off, as its noise shows between x and where all coordinates have moved.

    ``near(moves)`` is f where the plain array x has moved by each row; `steps` are how far coordinates move.
    """
    rng = np.random.default_rng(0)

    def noise(line: Floats) -> float:
        def values(places: list[float]) -> Floats:
            return near(middle + np.multiply.outer(places, line))

        return noise_of(values, values([0.0]).item(), _LOOKS, farthest)

    with np.errstate(all="ignore"):
        middle, least = 0.5 * steps, _LEAST * resolution(plain) * scales(plain)
        unit = np.where(steps == 0.0, 0.0, spacings(np.abs(steps), least))
        farthest = float(np.min(np.abs(middle[steps != 0.0] / unit[steps != 0.0])))
        return _SPACING * max(noise(rng.choice([-1.0, 1.0], unit.size) * unit) for _ in range(_LINES))


def largest_finite(values: Floats) -> float:
    """Return the largest magnitude that is finite, or 0."""
    largest = float(np.abs(values).max(initial=0.0))
    return largest if math.isfinite(largest) else float(np.nan_to_num(np.abs(values), posinf=0.0).max())
