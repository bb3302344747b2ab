"""The candidate of a gradient check: somebody else's gradient, as parts of the shapes of x, or refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arguments import describe, real_array
from .containers import in_order, is_array, is_tree, leaves, named

__all__: list[str] = []  # nothing here is public


def parts_of(gradient: Any, x: Any, held: Iterator[NDArray[Any]], path: str = "") -> Iterator[NDArray[Any]]:
    """Yield the parts of the candidate as copies, since f may change them, in the order of the leaves of x."""
    label = f"gradient{path}"
    if not is_tree(x):
        in_order(x, **{label: gradient})
        yield _part(gradient, next(held).shape, label)
        return
    if isinstance(x, Mapping):
        if not isinstance(gradient, Mapping) or set(gradient) != set(x):
            got = sorted(gradient) if isinstance(gradient, Mapping) else describe(gradient)
            raise ValueError(f"{label} must have the keys of x, {sorted(x)}, got {got}")
    elif not isinstance(gradient, list | tuple):
        raise ValueError(
            f"x{path} must be one array, got arrays of several shapes; pass one at a time, or with a candidate that "
            f"is a list of {len(x)} parts, got {describe(gradient)}"
        )
    elif len(gradient) != len(x):
        raise ValueError(f"{label} must be a list of {len(x)} parts as x, got {describe(gradient)}")
    for key in x if isinstance(x, Mapping) else range(len(x)):
        yield from parts_of(gradient[key], x[key], held, f"{path}[{key!r}]")


def shared(gradient: Any, x: dict[str, NDArray[Any]]) -> list[str]:
    """Return a line on parts of the candidate that share memory where those of x do not: one was overwritten."""
    held = {named(path): part for path, part in leaves(gradient) if isinstance(part, np.ndarray)}
    pairs = [(a, b) for a, b in combinations(held, 2) if np.may_share_memory(held[a], held[b])]
    apart = [pair for pair in pairs if set(pair) <= set(x) and not np.may_share_memory(x[pair[0]], x[pair[1]])]
    return [f"the candidate's {a} and {b} share memory: was one overwritten by the other?" for a, b in apart[:1]]


def _part(part: Any, shape: tuple[int, ...], label: str) -> NDArray[Any]:
    if isinstance(part, tuple) and any(map(is_array, part)):
        raise TypeError(
            f"{label} must be one array of shape {shape}, got a tuple of {len(part)}, as of a value and a gradient; "
            f"pass the part that is the gradient"
        )
    array = np.array(real_array(part, label), order="C", subok=False)
    if array.shape != shape:
        transposed = " (is it transposed?)" if array.shape == shape[::-1] else ""
        raise ValueError(f"{label} must have the shape of x, {shape}, got {array.shape}{transposed}")
    return array
