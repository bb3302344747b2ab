"""A function of arrays in a container as one of a single flat array: for second derivatives, which move two of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arguments import raise_argument_changed, real_array
from .bounds import limits
from .containers import Container, leaves, renewed
from .points import is_unchanged, native_copy, preserving

__all__: list[str] = []  # nothing here is public


class Joined:
    """The arrays of a container as the parts of one array, `flat`, in C order.

    What `of` returns writes a point to the arrays, calls f, and finds out whether f has written to them. An array that
    is a copy, or that has fewer digits than `flat`, stays as it is, and f receives a part of the point instead.
    """

    def __init__(self, x: Any) -> None:
        self.whole = Container(x)
        if twice := [name for name in self.whole.arrays if name not in self.whole.apart()]:
            raise ValueError(f"{twice[0]} is given twice, so that it has no derivative of its own; pass it once")
        arrays = self.whole.views.values()
        self.flat: NDArray[Any] = np.concatenate([np.empty(0, np.float16), *(part.reshape(-1) for part in arrays)])
        self.flat = self.flat.astype(self.flat.dtype.newbyteorder("=") if len(arrays) else np.float64)
        copies = self.whole.copies
        self.moved = {n: a for n, a in self.whole.views.items() if n not in copies and a.dtype == self.flat.dtype}

    def of(self, f: Callable[..., Any], is_gradient: bool = False) -> Callable[..., Any]:
        """Return f, or a function that returns a container of gradients, as a function of the flat array."""

        def of_flat(flat: NDArray[Any], *args: Any) -> Any:
            parts, first = dict(self.whole.views), 0
            for name, part in parts.items():
                values = flat[first : first + part.size].reshape(part.shape)
                first += part.size
                if name in self.moved:
                    part[...] = values
                else:
                    parts[name] = values
            before = list(map(native_copy, self.moved.values()))
            found = f(renewed(self.whole.like(parts.values())), *args)
            if not all(map(is_unchanged, self.moved.values(), before)):
                raise_argument_changed()
            if is_gradient:
                return np.concatenate([np.empty(0), *(real_array(part).reshape(-1) for _, part in leaves(found))])
            return found

        return of_flat

    def run(self, work: Callable[[], Any]) -> Any:
        """Return what `work` returns; the arrays are restored after any exit."""
        return preserving(list(self.whole.views.values()), lambda _: work())[0]

    def numbers(self, value: Any, what: str) -> Any:
        """Return an argument of numbers, one for all or by the names of the arrays, as a flat array."""
        own, views = self.whole.own(value, what), self.whole.views
        if any(isinstance(part, str) for part in own.values()):
            return value
        parts = (np.broadcast_to(real_array(own[n], what), views[n].shape).reshape(-1) for n in views)
        return np.concatenate([np.empty(0), *parts])

    def limits(self, bounds: Any) -> Any:
        """Return bounds, one pair for all or by the names of the arrays, as a pair of flat arrays."""
        if bounds is None:
            return None
        own = self.whole.own(bounds, "bounds")
        free, views = (-np.inf, np.inf), self.whole.views
        pairs = [limits(part, free if own[name] is None else own[name]) for name, part in views.items()]
        return tuple(map(np.concatenate, zip(*pairs, strict=True))) if pairs else None
