"""Scalars: one real number out of whatever `f` returned, in Python and in compiled code."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .arguments import describe

if TYPE_CHECKING:
    from .kernels import Kernel


def real_number(value: Any) -> float:
    """Return what `f` returned as a float: a real number, or an array of any shape that holds just one.

    Raises
    ------
    TypeError
        If it is anything else.
    """
    with contextlib.suppress(OverflowError, ValueError):  # too large an integer, a ragged list
        array = np.asarray(value)
        number: Any = (
            array.item() if array.size == 1 and array.dtype.kind in "fiuO" and value is not np.ma.masked else None
        )
        if hasattr(number, "__float__") and not isinstance(number, type | complex | np.complexfloating):
            return float(number)
    raise TypeError(f"f must return one real number, it returned {describe(value)}")


def compiled_evaluation(f: Any, as_number: Callable[[Any], float] | None = None) -> Kernel:
    """Return the compiled ``evaluate(x, args)``: `f` with what it returns made a float, by default by `real_number`."""
    from .kernels import compiled

    number = _known_to_numba(as_number or real_number)

    @compiled()
    def evaluate(x: Any, args: Any) -> Any:
        return number(f(x, *args))

    return evaluate


def compiled_difference(difference: Any) -> Kernel:
    """Return the compiled ``difference(state, k)`` with what it returns made a float."""
    from .kernels import compiled

    number = _known_to_numba(real_number)

    @compiled(inline=True)
    def evaluate(state: Any, k: int) -> Any:
        return number(difference(state, k))

    return evaluate


def imaginary_part(value: Any) -> float:
    """Return the imaginary part of what `f` returned for a complex x.

    Raises
    ------
    TypeError
        If it is not one complex number.
    """
    array = np.asarray(value)
    if array.size == 1 and array.dtype.kind == "c":
        return float(array.item().imag)
    raise TypeError(f"{_DROPPED} it returned {describe(value)}")


_DROPPED = (
    "scheme='complex' needs an f that returns a complex number for a complex x, and keeps the imaginary part; use "
    "another scheme:"
)


@functools.cache
def _known_to_numba(function: Callable[[Any], float]) -> Callable[[Any], float]:
    """Return `function`, `real_number` or `imaginary_part`, after teaching numba its compiled forms."""
    from numba.extending import overload

    overload(function)(compiled_form if function is real_number else _imaginary_form)
    return function


def _imaginary_form(value: Any) -> Callable[[Any], Any]:
    from numba import types
    from numba.core.errors import NumbaTypeError

    if not isinstance(value, types.Complex):
        raise NumbaTypeError(f"{_DROPPED} it returned {value}")
    return _from_complex


def compiled_form(value: Any) -> Callable[[Any], Any]:
    """Return the compiled `real_number` for a value of the numba type `value`.

    Raises
    ------
    numba.core.errors.NumbaTypeError
        If no value of that type is one real number.
    """
    from numba import types
    from numba.core.errors import NumbaTypeError

    message = f"f must return one real number, it returned {value}"
    if value == types.none:
        return _from_none(message)
    real = types.Float | types.Integer
    if isinstance(value, real):
        return _from_number
    if isinstance(value, types.Array) and isinstance(value.dtype, real):
        return _from_array(f"{message} with more or less than one element")
    if isinstance(value, types.Optional) and isinstance(value.type, real):
        return _from_optional("f must return one real number, it returned None")
    raise NumbaTypeError(message)


# Numba wants the parameter of each implementation to look just like that of the overload, annotation included.


def _from_number(value: Any) -> Any:
    return float(value)


def _from_complex(value: Any) -> Any:
    return value.imag


def _from_none(message: str) -> Callable[[Any], Any]:
    def number(value: Any) -> Any:  # noqa: ARG001
        for _ in range(1):  # numba would prune the return, and with it the type, after a bare raise
            raise TypeError(message)
        return 0.0

    return number


def _from_array(message: str) -> Callable[[Any], Any]:
    def number(value: Any) -> Any:
        if value.size != 1:
            raise TypeError(message)
        return float(value.flat[0])

    return number


def _from_optional(message: str) -> Callable[[Any], Any]:
    def number(value: Any) -> Any:
        if value is None:
            raise TypeError(message)
        return value * 1.0  # float(value) does not unwrap an optional

    return number
