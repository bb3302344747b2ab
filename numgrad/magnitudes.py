"""Steps at small coordinates: where those relative to them are lost in the rounding of f, and longer ones are not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .loops import Floats
from .points import resolution, scales, smallest, where_defined

__all__: list[str] = []  # nothing here is public

# Of |x|: a coordinate below it may be small for f: x_i may be tiny where f is of the magnitude 1, and a step relative
# to it is lost. Fixed, as what follows, by tests/test_magnitudes.py.
SMALL = 0.1
# Between the steps of two rungs: the rounding of the lower one, by which the upper one is judged, is so much larger.
_RATIO = 32.0
# Rungs below the magnitude 1: the last one is that of 1e-18, which is lost beside 1 anyway.
_RUNGS = 12
# Part of a derivative that the rounding of narrow points is taken for, where a longer step is judged by a shorter one:
# with the 16 roundings by which two may differ, and twice that, it stays below the whole.
# Fixed by test_points_of_few_digits_and_several_magnitudes in tests/test_magnitudes.py.
MOST_SHARE = 1 / 2048
# Spacings of f by which two rungs may differ: its values are sums of many terms.
_SURE = 16.0
# The same, where rungs differ by more than the last ones: then the form of f is as likely.
_LEAST_SURE = 2.0
# Multiple of its rounding that a first derivative is to be. Where it is, to look again would take five times as long.
_DIGITS = 1e4
# Spacings of the values of f from which on a step leaves a first derivative four digits, though terms inside f are a
# hundred times as large as it is. Fixed by test_where_steps_are_long_nothing_is_asked.
LONG = 1e6
# Part of a derivative by which two rungs may differ; it is the truncation error of the upper one.
_AGREE = 1e-6
# Roundings of the first derivative by which a longer step may tell another: beyond, f has a structure finer than it.
# Fixed by test_a_structure_of_one_unit_far_below_1_has_its_second_derivatives in tests/test_magnitudes.py.
_KNOWN = 64.0
# Roundings of the values themselves, so that what is beyond is rounding inside f.
_OWN = 8.0
# Part of what f changes by that rounding is at most: more is the form of f, such as a kink or a root.
_FAINT = 1e-5
# Times which samples of rounding may differ: of truncation those of two rungs differ by 32**3 and more. On one side of
# a kink, those that count f at x itself differ from those that do not.
_SAME, _ALIKE = 100.0, 16.0
# Part of x along which the form of f is told from rounding, and multiples of it there, of no simple ratio.
# Fixed by test_a_form_of_the_length_of_x_is_no_rounding in tests/test_magnitudes.py.
_PART, _PLACES = 1 / 32, np.array([1.0, 0.61, 0.37, 0.83, 0.47, 0.23])


def least_magnitude(x: NDArray[Any]) -> float:
    """Return the smallest magnitude of a coordinate."""
    least = smallest(np.abs(x))
    return min(least if least >= SMALL else smallest(scales(x)), 1.0)


def enough(eps: float, order: int, derivative: int = 1) -> float:
    """Return the multiple of its rounding that a derivative should be: half of the digits of that by the best step."""
    return float(eps ** (-0.5 * order / (order + derivative)))


def rounding_by(plan: Any, noise: float) -> Floats:
    """Return how far values of f that are off by `noise` put the derivatives by a plan off."""
    with np.errstate(all="ignore"):  # next to the smallest and largest numbers
        return np.asarray(noise * plan[0].amplification() / np.abs(plan[1].lengths))


def with_value(plan: Any, value: float) -> Any:
    """Return a plan whose rule needs f(x) with that, if it is known."""
    if plan[0].needs_value and value == value:
        plan = plan[0]._replace(data=(value, *plan[0].data[1:]), needs_value=False), plan[1]
    return plan


def of_few_digits(found: NDArray[Any], x: NDArray[Any], rounding: NDArray[Any]) -> NDArray[np.bool_]:
    """Tell of which derivatives by small coordinates of the flat `x` rounding leaves fewer than four digits."""
    with np.errstate(all="ignore"):
        lost = np.asarray(~(np.abs(found) > _DIGITS * rounding))
    return lost & (scales(x) < SMALL) if np.count_nonzero(lost) else lost


def rounding_near(
    x: NDArray[Any],
    base: NDArray[Any],
    eps: float,
    values: Callable[[Floats], NDArray[Any]],
    ends: tuple[NDArray[Any], NDArray[Any]] | None = None,
    shortest: float = 0.0,
) -> Floats:
    """Return how far rounding inside f puts off each of its values `base` at the plain array `x`, where it is seen.

    That is more than their own rounding where they are small since terms cancel. ``values(moves)`` returns a row of
    values at x and each row of moves; `eps` is their spacing, `ends` are bounds. Where the `shortest` step of a first
    derivative is long, nothing is asked, and the answer is 0.

    All small coordinates move together, by ever shorter steps, two evaluations each. What is no cubic parabola in their
    values is rounding if it is small beside what f changes by, and does not vanish with the step as truncation does.
    Six evaluations as a rule, two more for each rung on which f has another form, and six where some is found.
    """
    if shortest >= LONG * eps:
        return np.zeros(base.size)
    size, (move, sides) = base.size, _line(x, max(eps, resolution(x)) ** (1 / 3), ends)
    found, missing = np.zeros(size), np.ones(size, np.bool_)
    pairs: list[NDArray[Any]] = []
    seen: list[tuple[NDArray[Any], NDArray[np.bool_]]] = []
    for rung in range(_RUNGS if move.any() else 0):
        with np.errstate(all="ignore"):  # f need not be defined where nobody asked for it
            moves = np.multiply.outer(_RATIO**-rung * sides, move)
            pair = where_defined(lambda moves=moves: values(moves))  # type: ignore[misc]
            pairs.append(np.full((2, size), np.nan) if pair is None else pair.reshape(2, size))
            if rung:
                seen.append(_rest_of(np.concatenate([*pairs[-2:], base.reshape(1, size)]), sides, eps))
        if rung > 1:
            (noise, is_faint), (later, _) = seen[-2:]
            largest, is_alike = np.maximum(noise, later), (noise < _SAME * later) & (later < _SAME * noise)
            known = missing & ((is_alike & is_faint) | (largest == 0.0))
            found[known], missing = largest[known], missing & ~known
        if not missing.any() or _RATIO ** (2 - rung) <= least_magnitude(x):  # two rungs below confirm what is found
            break
    return np.where(_is_form(x, base, eps, values, found, ends), 0.0, found) if found.any() else found


def _is_form(
    x: NDArray[Any], base: NDArray[Any], eps: float, values: Callable[[Floats], NDArray[Any]], found: Floats, ends: Any
) -> NDArray[np.bool_]:
    """Tell for which outputs that which was `found` is no rounding, but the form of f over the length of x itself.

    Along a part of x rounding is as large as from afar, or nothing where values stay the same. The form of f is far
    smaller there, but more than the rounding of the values themselves.
    """
    move, sides = _line(x, _PART * scales(x), ends)
    places = np.where(np.arange(_PLACES.size) % 2, np.sign(sides[1]), 1.0) * _PLACES
    near = where_defined(lambda: values(np.multiply.outer(places, move)))
    if near is None:
        return np.zeros(base.size, np.bool_)
    with np.errstate(all="ignore"):
        at, nodes = np.concatenate([base.reshape(1, -1), near.reshape(places.size, -1)]), np.append(0.0, places)
        # Of noise one may be small by chance.
        rest = np.max([np.abs(_divided(nodes[k : k + 5]) @ at[k : k + 5]) for k in range(len(nodes) - 4)], axis=0)
        own = _OWN * eps * np.abs(at).max(axis=0)
        own += _ALIKE * resolution(x) * np.abs(at - at[0]).max(axis=0)  # what the rounding of points makes of f
        return np.asarray((rest < found / _SAME) & (rest > own))


def _rest_of(at: NDArray[Any], sides: Floats, eps: float) -> tuple[Floats, NDArray[np.bool_]]:
    """Return what is no cubic parabola in values of two rungs, and of x, beyond their own rounding; where it is faint.

    The values of a rung are at two multiples, `sides`, of its step.
    """
    nodes, faint = np.multiply.outer([1.0, 1.0 / _RATIO], sides).reshape(-1), max(_FAINT, _RATIO * eps ** (2 / 3))
    samples = [np.abs(_divided(where) @ at[: len(where)]) for where in (nodes, np.append(nodes, 0.0))]
    noise, less = np.max(samples, axis=0), np.min(samples, axis=0)
    is_alike = (noise < _ALIKE * less) | (sides[1] < 0.0)
    is_faint = is_alike & (noise < faint * np.abs(at[:4] - at[4]).max(axis=0))
    return np.where(noise <= _OWN * eps * np.abs(at).max(axis=0), 0.0, noise), is_faint


def _line(x: NDArray[Any], unit: Any, ends: Any) -> tuple[Floats, Floats]:
    """Return a move of all small coordinates by a unit, or one of each, and the multiples that are within bounds."""
    small = scales(x) < SMALL
    move, sides = np.random.default_rng(0).choice([-1.0, 1.0], small.size) * unit * small, np.array([1.0, -1.0])
    if ends is not None:
        flat, (low, high) = x.reshape(-1), ends
        least = float(np.finfo(x.dtype).smallest_subnormal) if x.dtype.kind == "f" else 0.0
        with np.errstate(under="ignore"):
            spare = np.where(np.isfinite(ends), 2.0 * (resolution(x) * np.abs(ends) + least), 0.0)
        below, above = np.fmax([flat - low, high - flat] - spare, 0.0)
        if (np.minimum(below, above) < unit)[small].any():
            move = np.where(above < below, -np.minimum(below, unit), np.minimum(above, unit)) * small
            sides = np.array([1.0, 0.5])
    return move, sides


def _divided(nodes: Floats) -> Floats:
    """Return the weights of the divided difference of values at these nodes, the largest of which is 1."""
    weights = 1.0 / (np.subtract.outer(nodes, nodes) + np.eye(len(nodes))).prod(axis=1)
    return weights / np.abs(weights).max()  # type: ignore[no-any-return]


def _longer(steps: Floats, sizes: Floats, least: float) -> Floats:
    """Return steps relative to the sizes of coordinates, of small ones as if these were at least so."""
    return steps * (np.where(sizes < SMALL, np.maximum(sizes, least), sizes) / sizes)


def lengthen(
    found: NDArray[Any],
    x: NDArray[Any],
    steps: Floats,
    rounding: NDArray[Any],
    again: Callable[[Floats, NDArray[np.bool_]], tuple[Any, Any, Any]],
    lost: NDArray[np.bool_],
    most: float = _KNOWN,
) -> Floats:
    """Write to the derivatives `found`, where they are `lost` in rounding, what longer steps tell that f allows.

    It returns the lengths of the steps by which they are others now, and 0 where they are not. ``again(steps,
    missing)`` returns derivatives, their rounding, and the lengths of their steps, by other steps of the coordinates of
    the plain array `x`, or NaN.

    The steps of the magnitude 1 come first. A result is good if the one by steps that are shorter by 32 is the same,
    but for the rounding of that one. It takes the place of what was found if that differs from it, or may be off by
    more. So does the best, if none is good, and the two differ by less than that; but not if the next ones differ by
    more: then f has no length such as 1. Nor does what differs from first derivatives, which are not 0, by more than
    `most` of their roundings; `most` is infinite where the rounding of points is not among these. Steps that bounds
    make as long as the last ones tell nothing. Nothing is taken from where f raises.
    """
    if not lost.any():
        return np.zeros(found.shape)
    agree = max(_AGREE, _RATIO * resolution(x) ** (2 / 3))  # of narrow points, whose rounding changes the lower step
    missing, own, first, taken = lost.copy(), np.asarray(rounding), found.copy(), np.zeros(found.shape)
    best, known, before, sizes = own.copy(), np.nan, np.inf, scales(x)  # type: Any, Any, Any, Any

    def measured(least: float) -> tuple[Any, Any]:
        nonlocal known
        nothing = np.full(found.shape, np.nan), rounding, known  # f need not be defined where nobody asked for it
        by_longer, allowed, length = where_defined(lambda: again(_longer(steps, sizes, least), missing)) or nothing
        is_same, known = length == known, length
        return np.where(is_same | ~np.isfinite(by_longer), np.nan, np.broadcast_arrays(by_longer, length)), allowed

    with np.errstate(all="ignore"):
        upper, _ = measured(1.0)
        for rung in range(1, _RUNGS + 1):
            lower, allowed = measured(_RATIO**-rung)
            differ = np.abs(upper[0] - lower[0])
            sure = np.where(differ > before, _LEAST_SURE, _SURE) * allowed + agree * np.abs(upper[0])
            like_first = ~((np.abs(upper[0] - first) > most * rounding) & (first != 0.0))
            diverging, good = missing & (differ > np.fmax(before, sure)), missing & (differ <= sure) & like_first
            found[diverging], best[diverging], taken[diverging] = first[diverging], own[diverging], 0.0
            better = good & ((sure < _RATIO * best) | ~(np.abs(upper[0] - found) <= 2.0 * sure))
            better |= missing & (differ < best) & like_first
            found[better], best[better], taken[better] = upper[0][better], differ[better], upper[1][better].real
            missing &= ~good
            if not missing.any() or _RATIO**-rung <= least_magnitude(x):
                break
            upper, before = np.where(np.isnan(lower), upper, lower), np.where(np.isnan(differ), before, differ)
    return np.where(found != first, taken, 0.0)
