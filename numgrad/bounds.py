"""Bounds: what a caller may give for them, and which numbers lie within."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arguments import describe, plain_numbers
from .loops import Floats
from .points import FLOAT64, is_narrow, largest, private_copy

__all__: list[str] = []  # nothing here is public

Bounds: TypeAlias = "tuple[ArrayLike, ArrayLike] | Mapping[str, Any]"  # a mapping: for each array of x

# Relative: what a step that was shortened for bounds leaves for the rounding of x + h.
SPARE_ROOM = 1e-9


def limits(x: NDArray[Any], bounds: Any) -> tuple[Floats, Floats]:
    """Return the flat bounds of all coordinates, after checking that `x` lies within them."""
    values = x.view(np.ndarray).reshape(-1).astype(np.float64)  # a matrix has no flat form
    readings = []
    for pair in _readings(bounds, x):
        low, high = (private_copy(plain_numbers(bound, "a bound")) for bound in _numbers(*pair))
        if np.isnan(low).any() or np.isnan(high).any():
            raise ValueError("bounds must not be NaN; use -inf and inf where there are none")
        try:
            low, high = (np.broadcast_to(bound, x.shape).reshape(-1) for bound in (low, high))
        except ValueError:
            raise ValueError(f"bounds do not broadcast to x of shape {x.shape}") from None
        readings.append((low, high, ~((low <= values) & (values <= high))))
    fitting = [reading for reading in readings if not reading[2].any()]
    if len(fitting) > 1:
        raise ValueError(
            f"bounds {np.asarray(bounds).tolist()} could be (low, high) or a pair for each coordinate; pass "
            f"(numpy.array(low), numpy.array(high)), or scipy.optimize.Bounds"
        )
    low, high, outside = (fitting or readings)[0]
    if outside.any():
        i = int(outside.argmax())
        raise ValueError(f"x must lie within the bounds: coordinate {i} is {values[i]}, not in {low[i]} to {high[i]}")
    return low, high


def ends_of_lines(x: NDArray[Any], vectors: Floats, bounds: Any) -> tuple[Floats, Floats]:
    """Return between which numbers t each line ``x + t v`` stays within bounds; ValueError if one cannot begin."""
    values, (low, high) = np.asarray(x, np.float64).reshape(-1), limits(x, bounds)
    low, high = storable(low, high, x)
    with np.errstate(all="ignore"):
        back, forth = (
            np.abs(np.where(v > 0.0, high - values, np.where(v < 0.0, low - values, np.inf)) / v)
            for v in (-vectors, vectors)
        )
    ends = back.min(axis=1, initial=np.inf), forth.min(axis=1, initial=np.inf)
    for k in np.flatnonzero(np.maximum(*ends) == 0.0)[:1]:
        stops = [
            f"coordinate {i} is {values[i]}, in {low[i]} to {high[i]}" for i in {back[k].argmin(), forth[k].argmin()}
        ]
        raise ValueError(f"the bounds leave no room along v: {'; '.join(sorted(stops))}")
    return -ends[0], ends[1]


def ends_of_numbers(x: NDArray[Any]) -> tuple[Floats, Floats] | None:
    """Return bounds where x + h may overflow, else None."""
    most = sys.float_info.max if x.dtype is FLOAT64 or x.dtype.kind != "f" else float(np.finfo(x.dtype).max)
    is_near = 0.01 * most < largest(np.abs(x)) <= most
    return limits(x, (-most, most)) if is_near else None


def moved_within(point: Any, lengths: Floats, bounds: Any) -> Floats:
    """Return flat displacements within the bounds, turned round where there is no room, as the point stores them."""
    if bounds is None and not is_narrow(point):
        return lengths
    x = np.asarray(point).reshape(-1).astype(np.float64)
    ends = storable(*limits(point, (-np.inf, np.inf) if bounds is None else bounds), point)
    with np.errstate(all="ignore"):  # next to the largest number
        low, high = ((1 - SPARE_ROOM) * (end - x) for end in ends)
        moved, turned = np.clip(lengths, low, high), np.clip(-lengths, low, high)
        moved = np.where(np.abs(moved) < np.minimum(0.5 * np.abs(lengths), np.abs(turned)), turned, moved)
        if not is_narrow(point):
            return moved
        stored = (x + moved).astype(point.dtype).astype(np.float64)
        return np.where(np.isfinite(stored), stored - x, 0.0)


def _readings(bounds: Any, x: NDArray[Any]) -> list[tuple[Any, Any]]:
    """Return the (low, high) that `bounds` may stand for: two bounds, SciPy's object, or a pair for each coordinate."""
    if hasattr(bounds, "lb") and hasattr(bounds, "ub"):
        return [(bounds.lb, bounds.ub)]
    items = list(bounds) if isinstance(bounds, list | tuple | np.ndarray) else []
    readings = [(items[0], items[1])] if len(items) == 2 else []
    are_arrays = isinstance(bounds, tuple) and all(isinstance(item, np.ndarray) for item in items)
    if x.ndim == 1 and len(items) == len(x) > 0 and not are_arrays and all(np.shape(item) == (2,) for item in items):
        has_none = any(end is None for item in items for end in item)
        low_high: Any = tuple(map(list, zip(*(_numbers(*item) for item in items), strict=True)))
        readings = [low_high] if has_none else [*readings, low_high]
    if not readings:
        raise ValueError(f"bounds must be a pair (low, high), or a pair for each coordinate, got {describe(bounds)}")
    return readings


def _numbers(low: Any, high: Any) -> tuple[Any, Any]:
    """Return two bounds, infinite ones in place of None."""
    return -np.inf if low is None else low, np.inf if high is None else high


def storable(low: Floats, high: Floats, x: NDArray[Any]) -> tuple[Floats, Floats]:
    """Return the outermost numbers within the limits that `x` stores; what lies between is not rounded beyond."""
    if not is_narrow(x):
        return low, high
    kind = x.dtype.type
    with np.errstate(all="ignore"):
        lowest, highest = low.astype(kind), high.astype(kind)
        lowest = np.where(lowest < low, np.nextafter(lowest, kind(np.inf)), lowest)
        highest = np.where(highest > high, np.nextafter(highest, kind(-np.inf)), highest)
    return lowest.astype(np.float64), highest.astype(np.float64)
