"""Arguments: the numbers that a public function may be given, and how an error message names what it got."""

import math
import operator
import sys
from numbers import Real
from typing import Any

import numpy as np

_LARGEST_STEP = sys.float_info.max / 2  # 2h must be finite


def positive_step(h: Any) -> float:
    """Return `h` as a float.

    Raises
    ------
    TypeError
        If it is not a real number.
    ValueError
        If it is not positive, or if 2h is not finite.
    """
    if h.__class__ is not float:
        h = finite_real("h", h)
    if not 0.0 < h <= _LARGEST_STEP:
        rule = "2h must be finite" if 0.0 < h < math.inf else "h must be finite and positive"
        raise ValueError(f"{rule}, got {h}")
    return float(h)


def finite_real(name: str, value: Any) -> float:
    """Return `value` as a float; TypeError if it is not a real number, ValueError if it is not finite."""
    try:
        real = value.__class__ is float or (isinstance(value, Real) and not isinstance(value, bool))
        number = float(value) if real else None
    except OverflowError:
        number = math.inf
    if number is None:
        raise TypeError(f"{name} must be a real number, got {describe(value)}")
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, got {number}")
    return number


def whole_number(name: str, value: Any, least: int) -> int:
    """Return `value` as an int; TypeError if it is not an integer, ValueError if it is below `least`."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {describe(value)}") from None
    if number < least:
        raise ValueError(f"{name} must be at least {least}, got {number}")
    return number


def describe(value: Any) -> str:
    """Return a short description of `value` for an error message: its type, and dtype and shape of an array."""
    if isinstance(value, np.ndarray):
        return f"an array of dtype {value.dtype} and shape {value.shape}"
    text = repr(value)
    return f"{type(value).__name__} {text}" if len(text) <= 40 else type(value).__name__
