"""Steps of second differences: how long they are, within bounds, and which are lost."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import driver
from .bounds import storable
from .loops import STEP_LOST, Floats
from .points import is_narrow, private_copy, resolution
from .schemes import SPARE_ROOM, Scheme, steps_of, stored_steps

__all__: list[str] = []  # nothing here is public

# Relative to the step of a second derivative in one variable: that of a Hessian from values. The 8 values of a mixed
# derivative have 1.6 times the round-off of f, where four would have 0.5; twice the step makes up for it.
# Fixed by test_hessian_error in benchmarks/bench_hessian.py.
LONGER = 2.0


def steps_at(x: NDArray[Any], h: Any, scheme: Any, eps: float) -> Floats:
    """Return the step of each coordinate of the plain array `x`, as the points are stored."""
    steps = steps_of(x, h, scheme, eps)
    if isinstance(h, str) and scheme.derivative == 2:
        steps *= LONGER
    return stored_steps(x, np.broadcast_to(steps, x.size))


def within(x: NDArray[Any], steps: Floats, scheme: Scheme, ends: tuple[Floats, Floats]) -> tuple[Floats, NDArray[Any]]:
    """Return steps towards the side with room for one-sided differences, and where the scheme itself has room."""
    values, reach = x.reshape(-1).astype(np.promote_types(x.dtype, np.float64)), scheme.order + 1
    low, high = storable(*ends, x.dtype.type) if is_narrow(x) else ends
    room = np.maximum(high - values, values - low).astype(np.float64)
    # A power of two is what x can move by exactly, and so by a multiple that does not pass the bound.
    with np.errstate(all="ignore"):
        short = np.exp2(np.floor(np.log2(room * (1 - SPARE_ROOM) / reach)))
    tight = room < reach * steps
    if (lost := tight & ~(short > np.abs(values) * resolution(x))).any():
        i = int(lost.argmax())
        raise ValueError(f"the bounds {ends[0][i]} to {ends[1][i]} leave coordinate {i} no room for a step")
    steps = np.where(tight, short, steps)
    steps = np.where(high - values < reach * steps, -steps, steps)
    inside = np.ones(x.size, np.bool_)
    for offset in scheme.offsets:
        inside &= (low <= values + offset * steps) & (values + offset * steps <= high)
    return steps, inside


def warn_of(
    objective: driver.Objective, at: tuple[Any, tuple[Any, ...]], step: tuple[Any, Floats], ignored: bool
) -> None:
    """Warn of lost steps, and of an f that does not respond to a private copy: all second differences may be 0."""
    (x, args), (h, steps) = at, step
    plain = x.view(np.ndarray)
    if ignored:
        moved = plain + steps.reshape(x.shape)
        ignored = objective.value(moved, args) == objective.value(private_copy(plain), args)
    lengths, flat, eps = np.abs(steps), plain.reshape(-1), resolution(plain)
    # The longest coordinate and the shortest step first: that takes a third of the time.
    is_lost = not max(flat.max(initial=0.0), -flat.min(initial=0.0)) * eps <= lengths.min(initial=np.inf)
    driver.warn_of(STEP_LOST if is_lost and (np.abs(flat) * eps > lengths).any() else 0, h, ignored, x)
