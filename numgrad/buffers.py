"""Points: which memory is perturbed, and how it is read, written and checked.

A gradient perturbs either the caller's own array (*written through*, so that an `f` which ignores its argument
and reads that array sees every step) or a *private* float64 copy. This module decides which, and gives flat
access to it.
"""

from collections.abc import Iterator, MutableSequence, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arguments import describe

FLOAT64 = np.dtype(np.float64)
EPS = float(np.finfo(np.float64).eps)
_BLOCK = 4096
LINE = 8  # float64s in a cache line


def real_array(x: ArrayLike, name: str = "x") -> NDArray[Any]:
    """Return `x` as an array of real numbers, without a copy where it is one already.

    Raises
    ------
    TypeError
        If `x` holds anything but integers and floating-point numbers.
    """
    if x.__class__ is np.ndarray and x.dtype is FLOAT64:
        return cast("NDArray[Any]", x)
    try:
        array = x if isinstance(x, np.ndarray) else np.asarray(x)
    except ValueError:
        raise ValueError(f"{name} must be a rectangular array, but its rows differ in length") from None
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name} must hold real numbers (integers or floats), got dtype {array.dtype}")
    return array


def private_copy(x: NDArray[Any]) -> NDArray[np.float64]:
    """Return a new C-contiguous float64 array with the shape and values of `x`."""
    if x.__class__ is np.ndarray and x.dtype is FLOAT64:
        return x.copy()  # half the time of the general way
    return np.array(x, dtype=FLOAT64, order="C", subok=False)


def aligned_zeros(rows: int, columns: int) -> NDArray[np.float64]:
    """Return zeros of at least so many columns, each row of which fills whole cache lines.

    Where a row does not begin with a cache line, half of the vector loads of AVX-512 touch two of them.
    """
    width = -(-columns // LINE) * LINE
    memory = np.zeros(rows * width + LINE)
    start = -(memory.ctypes.data // memory.itemsize) % LINE
    return memory[start : start + rows * width].reshape(rows, width)


def written_through(x: ArrayLike, name: str = "x") -> tuple[NDArray[Any], bool]:
    """Return the array to perturb and whether it is a private copy.

    A writable floating array of any layout is returned as it is; integers, lists, scalars and read-only
    arrays as a float64 copy.

    Raises
    ------
    TypeError
        As `real_array`.
    ValueError
        If two elements of a writable `x` share memory, so that one cannot be perturbed alone.
    """
    array = real_array(x, name)
    if array is not x or array.dtype.kind != "f" or not array.flags.writeable:
        return private_copy(array), True
    if not array.flags.forc and _overlaps_itself(array):
        raise ValueError(f"{name} may have elements that share memory (strides {array.strides}); pass a copy of it")
    return array, False


def _overlaps_itself(x: NDArray[Any]) -> bool:
    reach = x.itemsize
    for stride, length in sorted((abs(s), n) for s, n in zip(x.strides, x.shape, strict=True) if n > 1):
        if stride < reach:
            return True
        reach = stride * (length - 1) + reach
    return False


def is_flat_float64(x: NDArray[Any]) -> bool:
    """Tell whether `x` is a C-contiguous, aligned float64 buffer in native byte order, as kernels want it."""
    return x.dtype == FLOAT64 and x.flags.carray


def cells(x: NDArray[Any]) -> MutableSequence[float]:
    """Return the elements of `x` in C order, readable and writable by one integer, over the same memory.

    A memoryview is the fastest such view, but it needs contiguous, aligned memory and a native float format.
    """
    x = x.view(np.ndarray)
    if x.flags.carray and (x.dtype is FLOAT64 or (x.dtype.isnative and x.dtype.char in "fd")):
        return cast("MutableSequence[float]", x.ravel().data)
    return cast("MutableSequence[float]", x.flat)


def native_copy(x: NDArray[Any]) -> NDArray[Any]:
    """Return a C-contiguous copy of `x` in the same precision and native byte order: what to restore it from."""
    if x.dtype is FLOAT64:
        return private_copy(x)
    return np.array(x, dtype=x.dtype.newbyteorder("="), order="C", subok=False)


def numbers(saved: NDArray[Any]) -> Sequence[float]:
    """Return the elements of a native copy, so that ``element + h`` is rounded to float64 and not to less."""
    return cells(saved.astype(FLOAT64) if saved.dtype.itemsize < 4 else saved)


def resolution(x: NDArray[Any]) -> float:
    """Return the relative spacing (machine epsilon) of the numbers that `x` can store."""
    return EPS if x.dtype is FLOAT64 else float(np.finfo(x.dtype).eps)


def is_narrow(x: NDArray[Any]) -> bool:
    """Tell whether `x` stores fewer digits than float64, so that ``x + h`` is rounded when it is stored."""
    return x.dtype.itemsize < FLOAT64.itemsize


def divide_by_stored_width(differences: NDArray[np.float64], values: NDArray[Any], h: float) -> bool:
    """Divide each difference by the distance of the two points that `values`, a narrow dtype, could store.

    A step that was lost altogether leaves the distance 0 and the quotient NaN; return whether there was one.
    """
    lost = False
    for start in range(0, len(values), _BLOCK):
        block = slice(start, start + _BLOCK)
        exact = values[block].astype(np.float64)
        with np.errstate(all="ignore"):
            width = (exact + h).astype(values.dtype).astype(np.float64) - (exact - h).astype(values.dtype)
            differences[block] /= width
        lost |= not width.all()
    return lost


def result_buffer(out: Any, shape: tuple[int, ...], x: ArrayLike, args: tuple[Any, ...]) -> NDArray[np.float64]:
    """Return `out` after checking that a result of `shape` can be written to it, or a new array if it is None.

    Raises
    ------
    TypeError
        If `out` is not a float64 array.
    ValueError
        If its shape is another, if it is not a writable C-contiguous buffer, or if it shares memory
        with `x` or with one of `args`.
    """
    if out is None:
        return np.empty(shape)
    if not isinstance(out, np.ndarray) or out.dtype != FLOAT64:
        raise TypeError(f"out must be a float64 array, got {describe(out)}")
    if out.shape != shape:
        raise ValueError(f"out must have the shape of the result, {shape}, got {out.shape}")
    if not out.flags.carray:
        raise ValueError(f"out must be a writable C-contiguous array; pass out=numpy.empty({shape})")
    for name, array in [("x", np.asarray(x)), *arrays_in(args)]:
        if np.shares_memory(out, array):
            raise ValueError(f"out must not share memory with {name}, which f still reads; pass a new array")
    return out


def arrays_in(args: Sequence[Any], name: str = "args") -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the name and value of each array among `args`, in tuples and lists within it too."""
    for i, value in enumerate(args):
        if isinstance(value, np.ndarray):
            yield f"{name}[{i}]", value
        elif isinstance(value, Sequence) and not isinstance(value, str | bytes | range):
            yield from arrays_in(value, f"{name}[{i}]")
