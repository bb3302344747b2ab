"""What values next to x tell of the inside of f: whether it rounds to float32 there, and whether it is analytic."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bounds import Bounds, limits
from .loops import Floats
from .points import SINGLE, are_single, is_narrow, may_be_single, scales, shown_by, where_defined

__all__: list[str] = []  # nothing here is public

# Relative to x: halves of the lines along which a gradient by the complex step is compared with a central difference.
# The truncation error of the first is 1e-10 of f, if f changes over lengths like x itself; the second shows whether it
# does. Fixed, as the next, by tests/test_schemes.py, the complex step.
_LINES = 1e-5, 3e-7
# Relative difference of the two from which on f is not analytic, if both lines tell the same.
_ALIKE = 1e-6
# Relative to x, or to 1 where that is more: how far f is asked for float32 inside, the central step for that.
# Fixed by test_an_automatic_step_allows_for_float32_inside_of_f in tests/test_gradient.py.
_NEAR = SINGLE ** (1 / 3)


def is_single_inside(
    x: Any, value: Floats, values: Callable[[Floats], Floats], bounds: Bounds | None = None, chosen: Any = None
) -> bool:
    """Tell whether f rounds to float32 inside, though what it returns is float64.

    One more value of f tells it, if the digits of f(x) allow it, where all coordinates of `x`, or the chosen ones, have
    moved within the bounds. `value` holds numbers of f at x, or one NaN, and ``values(moves)`` returns a row for each
    of moves. Small coordinates move farther, since terms that cancel next to 0 leave few digits too.
    """
    if value.size == 1 and np.isnan(value).all():
        value = values(np.zeros((1, x.size)))
    if is_narrow(x) or not may_be_single(value):
        return False
    flat, step = _random_line(x, chosen)
    with np.errstate(all="ignore"):  # next to the largest number
        step *= _NEAR / np.fmin(scales(x), 1.0)
        above, below = (_within(flat + move, x, bounds) - flat for move in (step, -step))
        move = np.where(np.abs(above) < np.abs(below), below, above)  # where there is room
    near = where_defined(lambda: values(move[np.newaxis]))
    return near is not None and are_single(near) and bool((near != value).any())


def _random_line(x: NDArray[Any], chosen: Any) -> tuple[Floats, Floats]:
    """Return the flat point and a move of all its coordinates, or of the chosen ones, by half of each size or more."""
    flat = x.view(np.ndarray).reshape(-1).astype(np.float64)
    step, own = np.zeros(flat.size), np.arange(flat.size) if chosen is None else chosen
    step[own] = scales(flat)[own] * np.random.default_rng(0).uniform(0.5, 1.0, len(own)) * (-1.0) ** np.arange(len(own))
    return flat, step


def _within(flat: Floats, x: NDArray[Any], bounds: Bounds | None) -> Floats:
    return flat if bounds is None else np.clip(flat, *limits(x, bounds))


def check_analytic(
    f: Callable[..., Any],
    x: NDArray[Any],
    args: tuple[Any, ...] = (),
    chosen: Any = None,
    bounds: Bounds | None = None,
    call: Callable[..., Any] | None = None,
) -> None:
    """Raise a ValueError if the complex step along a random line is not the slope of the sum of what `f` returns.

    One complex step, however small, and one central difference, within the bounds; another one nearer if they differ,
    since `f` may be curved. Where `f` is not finite or raises, nothing is said. Asked once for each f, as far as f can
    be remembered; `call` takes an array in place of an f that does not.
    """
    if not (x.size if chosen is None else len(chosen)):
        return
    shown = shown_by(f)
    if "analytic" not in shown and _is_analytic(call or f, x, args, chosen, bounds):
        shown["analytic"] = True


def _values_at(f: Any, points: list[NDArray[Any]], args: tuple[Any, ...]) -> list[NDArray[Any]]:
    """Return what f returns for complex copies of points."""
    return [np.asarray(f(point.astype(np.complex128), *args)) for point in points]


def _is_analytic(f: Any, x: NDArray[Any], args: tuple[Any, ...], chosen: Any, bounds: Bounds | None) -> bool:
    """Tell whether f has shown on a random line that it is analytic; ValueError if it has shown that it is not."""
    flat, step = _random_line(x, chosen)
    found = []
    for length in _LINES:
        tiny = 1e-15 / length
        with np.errstate(all="ignore"):  # next to the largest number
            ends = [_within(end, x, bounds) for end in (flat + length * step, flat - length * step)]
            points = [*ends, flat + 1j * tiny * (ends[0] - ends[1])]
        values = where_defined(partial(_values_at, f, [point.reshape(x.shape) for point in points], args))
        if values is None:  # f need not be defined on both sides
            return False
        above, below, aside = values
        with np.errstate(all="ignore"):
            change, expected = float((above - below).sum().real), float(aside.sum().imag / tiny)
            noise = 64 * np.finfo(above.dtype).eps * float(np.abs(above).sum() + np.abs(below).sum())
        if not abs(change - expected) > _ALIKE * max(abs(expected), abs(change)) + noise:
            return bool(abs(change) > noise)
        found.append((change / length, expected / length))
    if abs(found[0][0] - found[1][0]) <= 0.1 * abs(np.subtract(*found[1])):
        raise ValueError(
            f"scheme='complex' needs an analytic f: along a random line its slope is {found[1][0]:.6g}, by the complex "
            f"step {found[1][1]:.6g}; abs, conj, vdot and real parts are not analytic; use another scheme"
        )
    return False
