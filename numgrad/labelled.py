"""A function of a Series or DataFrame of pandas as one of an array."""

from __future__ import annotations

from functools import partial
from typing import Any

from numpy.typing import NDArray

from . import driver
from .containers import Container, is_labelled, read_only, relabelled
from .objectives.python import PythonObjective

__all__: list[str] = []  # nothing here is public


def with_labels(f: Any, x: Any, args: tuple[Any, ...], vectorized: bool = False, is_gradient: bool = False) -> Any:
    """Return f as a function of an array, and the array of the Series or DataFrame `x`.

    A Python f receives it with its labels, over the same memory; other kinds the plain array, as for a gradient.
    """
    if vectorized or not isinstance(driver.as_objective(f, args), PythonObjective):
        return f, x.to_numpy()
    whole = Container(x)
    memory = whole.arrays[""]
    return partial(_labelled, f, x, is_gradient), read_only(memory) if whole.copies else memory


def both_with_labels(f: Any, gradient: Any, x: Any, args: tuple[Any, ...]) -> tuple[Any, Any, Any]:
    """Return f, its gradient and x, for an array; of both that one which is called."""
    called, array = with_labels(f if gradient is None else gradient, x, args, is_gradient=gradient is not None)
    return (called, None, array) if gradient is None else (f, called, array)


def _labelled(f: Any, like: Any, is_gradient: bool, x: NDArray[Any], *args: Any) -> Any:
    """Return what f returns for an array with labels; ValueError for a gradient that has them in another order."""
    found = f(relabelled(like, x), *args)
    if is_gradient and is_labelled(found):
        for own, axis in zip(found.axes, like.axes, strict=False):
            if len(own) == len(axis) and set(own) == set(axis) and list(own) != list(axis):
                raise ValueError("gradient must return the labels of x in their order; pass gradient.reindex_like(x)")
    return found
