"""Gradients at many points: the points along an axis of x, the loop over them, and batches of them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arguments import describe, plain_numbers, positive_step, real_array, refuse_masks, whole_number
from .loops import RESPONDED, STEP_LOST, Decorator, Floats, Loop, Rule, make_central, plain
from .objectives.python import VectorizedObjective
from .points import LOSS_EPS, private_copy

__all__: list[str] = []  # nothing here is public


def as_points(x: Any, axis: Any, h: Any, bounds: Any) -> tuple[Floats, int, Callable[[Any], dict[str, Any]]]:
    """Return a copy of points, one after the other, the axis along which they lay, and what gives options of point k.

    The axis is counted from 0. See `_own_options`.

    Raises
    ------
    TypeError
        If `x` is not real, or `axis` no integer.
    ValueError
        If it has fewer than two axes, or not this one, or if `h` or `bounds` do not broadcast to it.
    """
    array = real_array(x)
    if array.ndim < 2:
        raise ValueError(f"points_axis needs an x of two axes or more, points and coordinates, got {describe(array)}")
    axis = whole_number("points_axis", axis, -array.ndim)
    if axis >= array.ndim:
        raise ValueError(f"points_axis must be less than {array.ndim}, the number of axes of x, got {axis}")
    axis %= array.ndim
    points = private_copy(np.moveaxis(array, axis, 0))
    return points, axis, _own_options(points, axis, h, bounds)


def _own_options(points: Floats, axis: int, h: Any, bounds: Any) -> Callable[[Any], dict[str, Any]]:
    """Return what gives `h` and `bounds` of point k: rows of what broadcasts to x, and else what was given."""
    pair = (bounds.lb, bounds.ub) if hasattr(bounds, "lb") and hasattr(bounds, "ub") else bounds
    is_pair = isinstance(pair, list | tuple | np.ndarray) and len(pair) == 2
    ends = [(end, _rows_of(end, "a bound", points, axis)) for end in pair] if is_pair else []
    has_rows = any(rows is not None for _, rows in ends)
    steps = _rows_of(h, "h", points, axis) if isinstance(h, list) or getattr(h, "ndim", 0) > 0 else None

    def of_point(k: Any) -> dict[str, Any]:
        # Without rows it is one pair for each point, or a pair for each coordinate of a point.
        own = tuple(end if rows is None else rows[k] for end, rows in ends) if has_rows else bounds
        return {"h": h if steps is None else steps[k], "bounds": own}

    return of_point


def _rows_of(value: Any, what: str, points: Floats, axis: int) -> NDArray[Any] | None:
    """Return a row for each point of what broadcasts to x, and None for what is the same for each point.

    Lengths that happen to be equal do not decide which of the two is meant: a ValueError is raised if they differ, and
    if it broadcasts to neither.
    """
    try:
        array = np.asarray(value)
    except ValueError:  # what is no array is refused with the first point
        return None
    refuse_masks(value, what)
    if array.dtype.kind != "O":  # an end may be None
        plain_numbers(array, what)
    rows, same, shape = None, None, np.moveaxis(points, 0, axis).shape
    with suppress(ValueError):
        same = np.broadcast_to(array, points.shape[1:])
    with suppress(ValueError):
        rows = np.moveaxis(np.broadcast_to(array, shape), axis, 0)
    if rows is None and same is None:
        raise ValueError(f"{what} of shape {array.shape} does not broadcast to x of shape {shape}, nor to a point")
    if rows is not None and same is not None and not (rows == same).all():
        rule = f"{what} of shape {array.shape} could be one of each point or of each coordinate of a point"
        raise ValueError(f"{rule}; pass an array of the shape of x, {shape}")
    return rows if same is None else None


def rule_at_points(h: Any) -> Rule:
    """Return the default scheme at each of many points: the units are the coordinates of all of them."""
    return Rule(make_at_points, (positive_step(h),))


def make_at_points(evaluate: Any, decorate: Decorator = plain) -> Loop:
    """Return the loop over points, each of which is a row of x, and over the coordinates of each."""
    central: Loop = decorate(make_central(evaluate))

    def at_points(state: Any, data: Any, args: Any, where: Any, start: int, stop: int, out: Any) -> int:
        """Write ``(f(x[k] + h e_i) - f(x[k] - h e_i)) / 2h`` for ``h, = data`` to element ``k * size + i`` of `out`."""
        x, point, origin = state
        flags, size = 0, len(out) // len(x)
        k, first = start // size, start % size
        while start < stop:
            last, begin, end = min(size, first + stop - start), k * size, (k + 1) * size
            flags |= central((x[k], point[begin:end], origin), data, args, where, first, last, out[begin:end])
            start += last - first
            k, first = k + 1, 0
        return flags

    return at_points


def in_batches(
    objective: VectorizedObjective, x: Floats, args: tuple[Any, ...], h: float, out: Floats, report: Any
) -> int:
    """Write the gradients at all points to `out`, shaped as x, by batches over points and coordinates; return flags.

    f sees copies, as many as memory allows; first, one batch of another length, by which a wrong axis shows.
    """
    flat = x.reshape(len(x), -1)
    objective.value(x[0], args)
    length = max(1, objective.batch_bytes // max(1, 2 * flat[0].nbytes))
    for first in range(0, flat.size, length):
        units = np.arange(first, min(first + length, flat.size))
        rows, columns = np.divmod(units, flat.shape[1])
        batch = np.repeat(flat[rows][np.newaxis], 2, axis=0)
        batch[:, np.arange(len(units)), columns] += np.array([[h], [-h]])
        found = objective.values(batch.reshape(-1, *x.shape[1:]), args).astype(np.float64).reshape(2, -1)
        with np.errstate(all="ignore"):
            out.reshape(-1)[units] = (found[0] - found[1]) / (2 * h)
        if report is not None:
            report(int(units[-1]) + 1)
    lost = STEP_LOST if (np.abs(flat) * LOSS_EPS > h).any() else 0
    return lost | (RESPONDED if out.any() else 0)
