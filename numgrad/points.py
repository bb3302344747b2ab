"""Points: which memory is perturbed, how it is read and written, and its safe return.

A gradient perturbs either the caller's own array (*written through*, so that an `f` which ignores its argument and
reads that array sees every step) or a *private* float64 copy.
"""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__: list[str] = []  # nothing here is public

# Compared by `is` first, which takes less time than `==`. Native float64 arrays nearly always have this very object.
FLOAT64 = np.dtype(np.float64)
EPS = float(np.finfo(np.float64).eps)
# Elements compared at a time, so that no temporary grows with x: 4 kB of float64.
# Fixed by test_warm_calls_allocate_the_result_and_one_copy_of_x in tests/test_gradient.py.
_BLOCK = 512


def private_copy(x: NDArray[Any]) -> NDArray[np.float64]:
    """Return a new C-contiguous float64 array with the shape and values of `x`."""
    if x.__class__ is np.ndarray and x.dtype is FLOAT64:
        return x.copy()  # half the time of the general way
    return np.array(x, dtype=FLOAT64, order="C", subok=False)


def written_through(array: NDArray[Any], given: ArrayLike, name: str = "x") -> tuple[NDArray[Any], bool]:
    """Return the memory to perturb and whether it is a private copy, for the real `array` made of what was `given`.

    A writable floating array of any layout is returned as it is; integers, lists, scalars and read-only arrays as a
    float64 copy.

    Raises
    ------
    ValueError
        If two elements of a writable array share memory, so that one cannot be perturbed alone.
    """
    if array is not given or array.dtype.kind != "f" or not array.flags.writeable:
        return private_copy(array), True
    if not array.flags.forc and _overlaps_itself(array):
        raise ValueError(f"{name} may have elements that share memory (strides {array.strides}); pass a copy of it")
    return array, False


def _overlaps_itself(x: NDArray[Any]) -> bool:
    reach = x.itemsize
    # From the smallest stride on, each axis must step beyond all bytes that the axes before it reach.
    for stride, length in sorted((abs(s), n) for s, n in zip(x.strides, x.shape, strict=True) if n > 1):
        if stride < reach:
            return True
        reach = stride * (length - 1) + reach
    return False


def is_flat_float64(x: NDArray[Any]) -> bool:
    """Tell whether `x` is a C-contiguous, aligned float64 buffer in native byte order, as kernels want it."""
    return (x.dtype is FLOAT64 or x.dtype == FLOAT64) and x.flags.carray


def cells(x: NDArray[Any]) -> MutableSequence[float]:
    """Return the elements of `x` in C order, readable and writable by one integer, over the same memory.

    A memoryview is the fastest such view, but it needs contiguous, aligned memory and a native float format.
    """
    if (x.dtype is FLOAT64 or (x.dtype.isnative and x.dtype.char in "fd")) and x.flags.carray:
        return x.data if x.ndim == 1 else x.ravel().data  # type: ignore[return-value]
    return x.flat  # type: ignore[return-value]


class JoinedArrays:
    """Several arrays as the parts of one flat array that is written to, in C order."""

    def __init__(self, parts: Sequence[NDArray[Any]]) -> None:
        self.parts, self.stops = parts, list(accumulate(part.size for part in parts))

    def __setitem__(self, index: Any, values: Any) -> None:
        # In the wider of both precisions, so that arrays of longdouble lose no digits.
        flat = np.concatenate([part.reshape(-1) for part in self.parts]).astype(np.promote_types(FLOAT64, values.dtype))
        flat[index] = values
        for part, stop in zip(self.parts, self.stops, strict=True):
            part[...] = flat[stop - part.size : stop].reshape(part.shape)


def native_copy(x: NDArray[Any]) -> NDArray[Any]:
    """Return a C-contiguous copy of a plain array in the same precision and native byte order, to restore it from."""
    if x.dtype is FLOAT64:
        return x.copy()
    return np.array(x, dtype=x.dtype.newbyteorder("="), order="C", subok=False)


def numbers(saved: NDArray[Any]) -> Sequence[float]:
    """Return the elements of a native copy, so that ``element + h`` is rounded to float64 and not to less."""
    if saved.dtype is FLOAT64:
        return saved.data if saved.ndim == 1 else saved.ravel().data
    # A memoryview gives float32 as Python floats. float16 has no such view: its scalars would round to float16.
    return cells(saved.astype(FLOAT64) if saved.dtype.itemsize < 4 else saved)


def is_unchanged(memory: NDArray[Any], saved: NDArray[Any]) -> bool:
    """Tell whether `memory` holds what its native copy `saved` holds."""
    # Equal bytes are the usual case, and equal NaNs are among them.
    # Values are compared next, since memory in another byte order differs from its native copy in bytes.
    if memory.size <= _BLOCK:
        return memory.tobytes() == saved.tobytes() or np.array_equal(memory, saved, equal_nan=True)
    blocks = (slice(start, start + _BLOCK) for start in range(0, memory.size, _BLOCK))
    flat: Any = memory.reshape(-1) if memory.flags.c_contiguous else memory.flat
    return all(is_unchanged(flat[block], saved.reshape(-1)[block]) for block in blocks)


def resolution(x: NDArray[Any]) -> float:
    """Return the relative spacing (machine epsilon) of the numbers that `x` can store."""
    return EPS if x.dtype is FLOAT64 else float(np.finfo(x.dtype).eps)


def is_narrow(x: NDArray[Any]) -> bool:
    """Tell whether `x` stores fewer digits than float64, so that ``x + h`` is rounded when it is stored."""
    return x.dtype.kind == "f" and x.dtype.itemsize < FLOAT64.itemsize


def stored(values: NDArray[Any], x: NDArray[Any]) -> NDArray[Any]:
    """Return `values` rounded as they are where they are stored in `x`."""
    if not is_narrow(x):
        return values
    with np.errstate(all="ignore"):
        return values.astype(x.dtype).astype(FLOAT64)
