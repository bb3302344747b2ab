"""Every compiled loop around a user's function, the update, and the compile policy. It knows no other module.

Conventions: arrays are C-contiguous float64 and owned by the caller, outputs come last, what depends on the user's
function is baked in by a factory, one loop per idea. With ``NUMBA_DISABLE_JIT=1`` each kernel is the plain Python
that it looks like.

Arithmetic is strict IEEE in the order written (no fastmath), so that the results are the bits of `numgrad.reference`.
"""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Kernel = Callable[..., Any]

_EPS = float(np.finfo(np.float64).eps)
_ROWS = 16


def compiled(*, cache: bool = False, reorder: bool = False, inline: bool = False) -> Callable[[Kernel], Kernel]:
    """Return the decorator with the one compile policy: release the GIL, divide as NumPy does, stay strict.

    `reorder` lets sums be reordered and contracted, so that they vectorise: not for a loop around a user's function.
    `inline` has LLVM copy the function into its callers whatever its size, for where handing over its arguments and
    counting references to them would take longer than what it does.
    """

    def decorate(kernel: Kernel) -> Kernel:
        options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
        if inline:
            options["forceinline"] = True
        if reorder:
            options["fastmath"] = {"reassoc", "contract", "nsz"}
        try:
            return cast("Kernel", njit(cache=cache, **options)(kernel))
        except RuntimeError:  # numba found no folder in which it may keep a cache
            return cast("Kernel", njit(**options)(kernel))

    return decorate


def make_differences(evaluate: Kernel) -> Kernel:
    """Return the central-difference loop around the compiled ``evaluate(x, args) -> float``."""

    @compiled()
    def differences(
        x: Floats, point: Floats, h: float, args: Any, coordinates: Indices, start: int, stop: int, quotients: Floats
    ) -> int:
        """Write ``(f(x + h e_i) - f(x - h e_i)) / 2h`` to ``quotients[k]`` for start <= k < stop.

        i is ``coordinates[k]``, or k if `coordinates` is empty. `point` is the flat view of `x`; it is perturbed, and
        restored unless `f` raises. Returns 1 if `h` was below the spacing of a coordinate, plus 2 if some difference
        was not zero.
        """
        coarse, lost, moved = h / _EPS, 0, 0
        for k in range(start, stop):
            i = coordinates[k] if coordinates.size else k
            value = point[i]
            if abs(value) > coarse:
                lost = 1
            point[i] = value + h
            plus = evaluate(x, args)
            point[i] = value - h
            difference = plus - evaluate(x, args)
            point[i] = value
            if difference != 0.0:
                moved = 2
            quotients[k] = difference / (2 * h)
        return lost + moved

    return differences


def make_gradient(differences: Kernel) -> Kernel:
    """Return the gradient over a range of coordinates, around a loop made by `make_differences`."""

    @compiled()
    def gradient(x: Floats, h: float, args: Any, coordinates: Indices, start: int, stop: int, out: Floats) -> int:
        """Write the quotients start <= k < stop to `out`, of any shape; `differences` explains the rest."""
        flags: int = differences(x, x.reshape(x.size), h, args, coordinates, start, stop, out.reshape(out.size))
        return flags

    return gradient


def make_descent(differences: Kernel) -> Kernel:
    """Return the loop of gradient descent, around a loop made by `make_differences`."""

    @compiled()
    def descent(
        x: Floats, lr: float, h: float, args: Any, start: int, stop: int, slopes: Floats, iterates: Floats
    ) -> int:
        """Compute the iterates start < k <= stop of ``x <- x - lr * gradient(x)``.

        Iterate k is ``iterates[k]``, counted around: as many rows as iterates keep the path, one row keeps the
        last. `x` is a private copy of iterate `start`. If `f` raises, `iterates` holds all that were completed.
        Returns the flags of the differences, plus 4 if the last iterate is not finite.
        """
        n, flags = x.size, 0
        point, slope, path = x.reshape(n), slopes.reshape(n), iterates.reshape(iterates.size)
        here, every = start % len(iterates) * n, np.empty(0, np.intp)
        for _ in range(start, stop):
            flags |= differences(x, point, h, args, every, 0, n, slope)
            there = here + n if here + n < path.size else 0
            for i in range(n):
                point[i] = path[here + i] - lr * slope[i]
                path[there + i] = point[i]
            here = there
        for i in range(n):
            if not np.isfinite(point[i]):
                flags |= 4
        return flags

    return descent


def make_quotients(difference: Kernel) -> Kernel:
    """Return the loop over an incremental objective's compiled ``difference(state, k) -> float``."""

    @compiled()
    def quotients(state: Any, h: float, coordinates: Indices, columns: int, start: int, stop: int, out: Floats) -> int:
        """Write ``difference(state, i) / 2h`` to ``out[k]`` for start <= k < stop.

        i is ``coordinates[k]``, or k if `coordinates` is empty; `out` may have any shape. Returns 2 if some
        difference was not zero, else 0. The order is that of tiles of `_ROWS` rows of a matrix with so many `columns`,
        down each column of a tile: what differences of one column or of one row share then stays in the cache.
        """
        flat, moved = out.reshape(out.size), 0
        for tile in range(start, stop, _ROWS * columns):
            for column in range(columns):
                for k in range(tile + column, min(tile + _ROWS * columns, stop), columns):
                    change = difference(state, coordinates[k] if coordinates.size else k)
                    if change != 0.0:
                        moved = 2
                    flat[k] = change / (2 * h)
        return moved

    return quotients


@compiled(cache=True)
def update(lr: float, slope: Floats, x: Floats) -> None:
    """Do ``x -= lr * slope`` over flat buffers in one pass, without the temporary that NumPy needs."""
    for i in range(x.size):
        x[i] -= lr * slope[i]
