"""Scalars: one real number out of whatever `f` returned, in Python and in compiled code."""

from __future__ import annotations

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
    array = np.asarray(value)
    if array.size == 1 and array.dtype.kind in "fiuO":
        number = array.item()
        if hasattr(number, "__float__"):
            return float(number)
    raise TypeError(f"f must return one real number, it returned {describe(value)}")


def compiled_evaluation(f: Any) -> Kernel:
    """Return the compiled ``evaluate(x, args)``: `f` with what it returns made a float."""
    from .kernels import compiled

    number = _known_to_numba(real_number)

    @compiled()
    def evaluate(x: Any, args: Any) -> Any:
        return number(f(x, *args))

    return evaluate


@functools.cache
def _known_to_numba(function: Callable[[Any], float]) -> Callable[[Any], float]:
    """Return `function`, which is `real_number`, after teaching numba its compiled form."""
    from numba import types
    from numba.core.errors import NumbaTypeError
    from numba.extending import overload

    real = types.Float | types.Integer

    @overload(function)
    def _(value: Any) -> Callable[[Any], float]:
        message = f"f must return one real number, it returned {value}"
        if isinstance(value, types.Array) and isinstance(value.dtype, real):
            message += " with more or less than one element"

            def number(value: Any) -> float:
                if value.size != 1:
                    raise TypeError(message)
                return float(value.flat[0])
        elif isinstance(value, types.NoneType | types.Optional):

            def number(value: Any) -> float:
                if value is None:
                    raise TypeError("f must return one real number, it returned None")
                return float(value)
        elif isinstance(value, real):

            def number(value: Any) -> float:
                return float(value)
        else:
            raise NumbaTypeError(message)
        return number

    return function
