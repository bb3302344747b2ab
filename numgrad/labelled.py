"""Functions of a container as functions of an array: the order of labels, and copies of arrays that f may not read."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import driver
from .containers import Joined, in_order, of_labelled
from .objectives.python import PythonObjective
from .points import where_defined

# Part of 1 + |x| by which an array is moved, to which f has not responded by any second difference.
_PROBE = 1e-3


def with_labels(
    f: Any, x: Any, args: tuple[Any, ...], vectorized: bool = False, **others: Any
) -> tuple[Any, NDArray[Any]]:
    """Return f as a function of an array, and the array of the Series or DataFrame `x`.

    A Python f receives it with its labels, over the same memory; other kinds the plain array, as for a gradient. Other
    arguments that have its labels have them in its order, or a ValueError is raised.
    """
    in_order(x, **others)
    if vectorized or not isinstance(driver.as_objective(f, args), PythonObjective):
        return f, x.to_numpy()
    return of_labelled(f, x)


def both_with_labels(f: Any, gradient: Any, x: Any, args: tuple[Any, ...], **others: Any) -> tuple[Any, Any, Any]:
    """Return f, its gradient and x, for an array; of both that one which is called."""
    called, array = with_labels(f if gradient is None else gradient, x, args, **others)
    if gradient is None:
        return called, None, array
    if called is not gradient:
        called.f = partial(_in_order, gradient, x)
    return f, called, array


def _in_order(gradient: Any, like: Any, x: Any, *args: Any) -> Any:
    """Return what a gradient returns; ValueError if it has the labels of `like` in another order."""
    found = gradient(x, *args)
    in_order(like, gradient=found)
    return found


def warn_of_copies(joined: Joined, f: Any, hessian: Any, args: tuple[Any, ...], ends: Any) -> None:
    """Warn if f does not respond, between the ends, to an array of which it gets a copy, and so gives zeros alone."""
    for name, part in zip(joined.arrays, joined.parts, strict=True):
        if name not in joined.copies and part is joined.arrays[name]:
            continue
        place, moved = joined.places[name], joined.flat.copy()
        moved[place] += _PROBE * (1.0 + np.abs(moved[place]))
        moved = moved if ends is None else np.clip(moved, *ends).astype(moved.dtype)
        is_zero = moved[place].size and not abs(hessian[place]).max() and (moved != joined.flat).any()
        if is_zero and where_defined(partial(f, moved, *args)) == f(joined.flat, *args):
            driver.warn_of(0, 1.0, True, moved)
