"""Parameters in containers: arrays in dicts, lists and tuples, and pandas objects, as what is perturbed.

Each array is perturbed by itself, as one that was given alone; `f` receives all of them, in the structure of what was
given. For second derivatives and directions of checks, which move several of them, they are the parts of one flat
array. pandas is not imported: who has an object of it, has imported it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import copy
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arguments import raise_argument_changed, real_array
from .bounds import limits
from .points import SHARE, preserving, read_only, watched, where_defined, written_through

__all__ = ["labels"]


def is_tree(value: Any, is_part: bool = True) -> bool:
    """Tell whether something holds arrays or is a named tuple, and is none itself: a list of numbers is one array.

    Arrays without axes are arrays where they are parts of a container; a list of them alone is numbers.
    """
    if isinstance(value, Mapping) or (isinstance(value, tuple) and hasattr(value, "_fields")):
        return True
    arrays = np.ndarray if is_part else ()
    return isinstance(value, list | tuple) and any(
        is_tree(part, is_part) or getattr(part, "ndim", 0) or isinstance(part, arrays) for part in value
    )


def is_labelled(value: Any) -> bool:
    """Tell whether something is a Series or a DataFrame of pandas."""
    pandas = sys.modules.get("pandas") if hasattr(value, "to_numpy") else None
    return pandas is not None and isinstance(value, pandas.Series | pandas.DataFrame)


def is_container(x: Any) -> bool:
    """Tell whether `x` holds arrays by keys, places or labels, and is no array: arrays of one shape in a list are one.

    The types of the parts of a list are looked at first: numbers alone are no container.
    """
    if isinstance(x, np.ndarray | float | int):
        return False
    if isinstance(x, list | tuple) and not hasattr(x, "_fields"):  # a named tuple is no list of numbers or rows
        if set(map(type, x)) <= {float, int} or not is_tree(x, is_part=False):
            return False
        try:
            return np.asarray(x).dtype.kind == "O"
        except ValueError:
            return True
    return is_tree(x) or is_labelled(x)


def items(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[tuple[Any, ...], Any]]:
    """Return the paths and the parts of one level of a tree."""
    if isinstance(tree, Mapping) and not all(isinstance(key, str) for key in tree):
        raise TypeError(f"the keys of x must be strings, got {list(tree)}")
    keys = getattr(tree, "_fields", range(len(tree)))
    pairs = tree.items() if isinstance(tree, Mapping) else zip(keys, tree, strict=True)
    return [((*path, key), part) for key, part in pairs]


def leaves(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield path and array of each leaf of a tree of dicts, lists and tuples; the path of a single array is empty."""
    if not is_tree(tree, bool(path)):
        yield path, tree
        return
    for below, part in items(tree, path):
        yield from leaves(part, below)


def rebuilt(tree: Any, parts: Iterator[Any], is_part: bool = False) -> Any:
    """Return a tree of the same kind with other leaves."""
    if not is_tree(tree, is_part):
        return next(parts)
    inner = [rebuilt(part, parts, is_part=True) for _, part in items(tree)]
    if isinstance(tree, Mapping):
        new = copy(tree) if isinstance(tree, dict) else {}  # a class of the user's own keeps what else it holds
        new.update(zip(tree, inner, strict=True))
        return new
    return type(tree)(*inner) if hasattr(tree, "_fields") else type(tree)(inner)


def named(path: tuple[Any, ...]) -> str:
    """Return the name of a leaf, by the keys and places under which it is found: W, layers[0], [1]."""
    first = 1 if path and isinstance(path[0], str) else 0
    return "".join([*path[:first], *(f"[{key!r}]" for key in path[first:])])


def by_name(tree: Any, label: str = "x") -> dict[str, tuple[str, Any]]:
    """Return label and array of each leaf by its name; ValueError if two leaves have one."""
    found: dict[str, tuple[str, Any]] = {}
    for path, part in leaves(tree):
        if (name := named(path)) in found:
            raise ValueError(f"{label} must have another name for each array, got two by the name {name}; rename one")
        found[name] = named((label, *path)), part
    return found


def relabelled(like: Any, values: NDArray[Any]) -> Any:
    """Return `values` with the labels of the pandas object `like`, over the same memory; as they are if it has none."""
    if not is_labelled(like):
        return values
    more = {"columns": like.columns} if hasattr(like, "columns") else {"name": like.name}
    return type(like)(values, index=like.index, copy=False, **more)


def in_order(x: Any, **others: Any) -> None:
    """Raise a ValueError if an argument has the labels of x in another order; other labels need not be the user's own.

    Numbers are taken by their places. A pair is one of arguments. Each axis of a matrix may have the labels of a
    Series, as in a covariance or a stack of directions.
    """
    for name, value in others.items() if is_labelled(x) else ():
        for part in filter(is_labelled, value if isinstance(value, tuple | list) else (value,)):
            alike = part.ndim == x.ndim
            pairs = zip(map(list, part.axes), map(list, x.axes if alike else part.ndim * [x.axes[-1]]), strict=True)
            if any(ours != theirs and set(ours) == set(theirs) for ours, theirs in pairs):
                cure = f"{name}.reindex_like(x)" if alike else "it in the order of x.index, rows and columns"
                raise ValueError(f"{name} must have the labels of x in their order; pass {cure}")


def joined(parts: Iterable[Any]) -> NDArray[Any]:
    """Return all elements of some arrays, in C order, as float64 at least."""
    return np.concatenate([np.empty(0), *(np.asarray(part).reshape(-1) for part in parts)])


def flat_of(value: Any) -> NDArray[Any]:
    """Return all elements of an array, or of the arrays of a container."""
    return joined(part for _, part in leaves(value))


def plain_of(value: Any) -> Any:
    """Return an array, or the arrays of a container, as numbers, lists and dicts."""
    if isinstance(value, Mapping):
        return {key: plain_of(part) for key, part in value.items()}
    return list(map(plain_of, value)) if is_tree(value) else np.asarray(value).tolist()


def labels(x: Any) -> list[str]:
    """Return the name of each coordinate of all arrays of `x`, in C order, as a Hessian or `coordinates` counts them.

    Parameters
    ----------
    x : array_like, or dicts, lists and tuples of arrays, or a Series or DataFrame of pandas
        Parameters, as for `numerical_gradient`; they are not read.

    Returns
    -------
    list of str
        One name for each coordinate; of a Series its labels.

    Raises
    ------
    TypeError
        If a key of a dict is no string.
    ValueError
        If two arrays have one name, as those of ``{"a[0]": ..., "a": [...]}``, or coordinates of two arrays have.

    Examples
    --------
    >>> import numpy as np
    >>> from numgrad import labels, numerical_hessian
    >>> x = {"W": np.array([[1.0, 2.0]]), "b": np.array([3.0])}
    >>> labels(x)
    ['W[0, 0]', 'W[0, 1]', 'b[0]']
    >>> print(numerical_hessian(lambda p: np.sum(p["W"]) ** 2 * p["b"][0], x).round(4) + 0.0)
    [[6. 6. 6.]
     [6. 6. 6.]
     [6. 6. 0.]]
    """
    found: list[str] = []
    for name, (label, part) in by_name(x).items():
        keys: Any = (", ".join(map(str, place)) for place in np.ndindex(np.shape(part)))
        if is_labelled(part):
            keys = part.index if part.ndim == 1 else (f"{row}, {key}" for row in part.index for key in part.columns)
            if part is x:
                return list(map(str, keys))
        own = [f"{name or label}[{key}]" if np.ndim(part) else name or label for key in keys]
        if twice := set(found).intersection(own):
            raise ValueError(f"x must have another name for each coordinate, got two by the name {min(twice)}; rename")
        found += own
    return found


class Container:
    """The arrays of what was given as x, each by its name, which is '' for what is no container.

    Attributes
    ----------
    arrays : dict of str to ndarray
        The memory that is perturbed: the caller's own where it is a writable floating array, else a float64 copy.
    copies : set of str
        The names of the copies.
    places : dict of str to slice
        The flat coordinates of each array, which are counted through all of them.
    size : int
        How many coordinates there are.
    """

    def __init__(self, given: Any, name: str = "x") -> None:
        self.given, self.size, self.copies = given, 0, set()
        self.arrays, self.places, self.given_as = {}, {}, {}
        for key, (label, part) in by_name(given, name).items():
            source = part.to_numpy() if is_labelled(part) else part
            memory, is_copy = written_through(real_array(source, label), source, label)
            first, self.size = self.size, self.size + memory.size
            self.arrays[key], self.places[key], self.given_as[key] = memory, slice(first, self.size), part
            if is_copy or (source is not part and not np.may_share_memory(source, part.to_numpy())):
                self.copies.add(key)

    @property
    def views(self) -> dict[str, NDArray[Any]]:
        """The arrays as plain ones, which stay writable whatever f does; a subclass may do more than assign."""
        return {name: memory.view(np.ndarray) for name, memory in self.arrays.items()}

    def like(self, parts: Iterable[Any]) -> Any:
        """Return other arrays in the structure of what was given, with its labels."""
        return rebuilt(self.given, map(relabelled, self.given_as.values(), parts))

    def container(self) -> Any:
        """Return what was given, or a new container if some of its arrays are copies."""
        return self.like(self.arrays.values()) if self.copies else self.given

    def apart(self) -> dict[str, NDArray[Any]]:
        """Return views of all arrays to update, without one that is given twice; ValueError if others share memory."""
        found: dict[str, NDArray[Any]] = {}
        for name, memory in self.arrays.items():
            shared = [other for other in found if np.shares_memory(memory, self.arrays[other])]
            if any(self.arrays[other] is not memory for other in shared):
                raise ValueError(f"{name} and {shared[0]} share memory, so that one moves the other; pass one of them")
            if not shared:
                found[name] = memory.view(np.ndarray)
        return found

    def own(self, value: Any, what: str) -> dict[str, Any]:
        """Return what an argument says for each array: one for all, or a dict by the names of the arrays."""
        own = value if isinstance(value, Mapping) else dict.fromkeys(self.arrays, value)
        if own.keys() != self.arrays.keys():
            raise ValueError(f"{what} must be one for all arrays, or have the keys {[*self.arrays]}, got {[*own]}")
        for name, part in self.given_as.items():
            in_order(part, **{f"{what}[{name!r}]" if own is value else what: own[name]})
        return dict(own)

    def limits(self, bounds: Any) -> tuple[NDArray[Any], NDArray[Any]] | None:
        """Return bounds, one pair for all or by the names of the arrays, as a pair of flat arrays, or None for none."""
        own = self.own(bounds, "bounds")
        if all(pair is None for pair in own.values()):
            return None
        low, high = np.full(self.size, -np.inf), np.full(self.size, np.inf)
        for name, part in self.views.items():
            if own[name] is not None:
                low[self.places[name]], high[self.places[name]] = limits(part, own[name])
        return low, high

    def each(self, f: Any, args: tuple[Any, ...], work: Callable[..., Any]) -> list[Any]:
        """Return ``work(function, memory, name, first)`` for each array, whose first flat coordinate is `first`."""
        arrays = self.arrays.items()
        each = ((OfOneArray(f, self, name, args), memory, name, self.places[name].start) for name, memory in arrays)
        return self.protected(lambda: [work(*own) for own in each])  # type: ignore[no-any-return]

    def protected(self, work: Callable[[], Any], it: str = "f") -> Any:
        """Return what `work` returns; all arrays are restored after any exit; ValueError if `it` has written to any."""
        found, unchanged = watched(list(self.arrays.values()), work)
        if not unchanged:
            raise_argument_changed(it)
        return found


class OfOneArray:
    """``f`` of a container as a function of one of its arrays, for an objective that perturbs this one.

    f receives a new container at each call, which it may change; the arrays in it are the same.
    """

    def __init__(self, f: Callable[..., Any], x: Container, name: str, args: tuple[Any, ...]) -> None:
        self.f, self.x, self.name, self.args = f, x, name, args
        self.part: Any = None
        self.whole: Any = None
        self.renew: Callable[[Any], Any] = renewed

    def __reduce__(self) -> Any:
        return OfOneArray, (self.f, self.x, self.name, self.args)

    def __call__(self, part: NDArray[Any], *args: Any) -> Any:
        """Return what f returns where the array is `part`, which is the array itself or a copy in its place."""
        if part is not self.part:
            own = self.x.arrays[self.name]
            parts = [part if memory is own else memory for memory in self.x.arrays.values()]
            self.part, self.whole = part, self.x.like(parts)
            kind = self.whole.__class__
            is_flat = kind in {dict, list, tuple} and all(p.__class__ is np.ndarray for _, p in items(self.whole))
            self.renew = kind if is_flat else renewed  # in half the time
        return self.f(self.renew(self.whole), *self.args, *args)


def of_labelled(f: Callable[..., Any], x: Any, name: str = "x") -> tuple[OfOneArray, NDArray[Any]]:
    """Return `f` of a pandas object as a function of one array, and this array; f receives it with its labels.

    An array that is a copy is read-only, so that it is known for one.
    """
    whole = Container(x, name)
    return OfOneArray(f, whole, "", ()), read_only(whole.arrays[""]) if whole.copies else whole.arrays[""]


def with_labels(f: Any, x: Any, takes_labels: bool, **others: Any) -> tuple[Any, NDArray[Any]]:
    """Return f as a function of an array, and the array of the Series or DataFrame `x`.

    An f that takes labels receives it with them, over the same memory; another one the plain array, as for a gradient.
    Other arguments that have its labels have them in its order, or a ValueError is raised.
    """
    in_order(x, **others)
    return of_labelled(f, x) if takes_labels else (f, x.to_numpy())


def both_with_labels(f: Any, gradient: Any, x: Any, takes_labels: bool, **others: Any) -> tuple[Any, Any, Any]:
    """Return f, its gradient and x, for an array; of both that one which is called."""
    if gradient is None:
        f, array = with_labels(f, x, takes_labels, **others)
    else:
        checked = partial(_in_order, gradient, x) if takes_labels else gradient
        gradient, array = with_labels(checked, x, takes_labels, **others)
    return f, gradient, array


def _in_order(gradient: Any, like: Any, x: Any, *args: Any) -> Any:
    """Return what a gradient returns; ValueError if it has the labels of `like` in another order."""
    found = gradient(x, *args)
    in_order(like, gradient=found)
    return found


def renewed(value: Any) -> Any:
    """Return a new container over the same arrays."""
    kind = value.__class__
    if kind is np.ndarray:
        return value
    if kind is dict:
        return {key: renewed(part) for key, part in value.items()}
    if kind is list or kind is tuple:
        return kind(map(renewed, value))
    if is_tree(value):
        return rebuilt(value, (renewed(part) for _, part in leaves(value)))
    return value.copy(deep=False) if is_labelled(value) else value


class Joined(Container):
    """The arrays of a container as the parts of one array, `flat`, in C order.

    In place of an array that has fewer digits than `flat`, which stays as it is, f receives one of the same class.
    """

    def __init__(self, x: Any) -> None:
        super().__init__(x)
        if twice := [name for name in self.arrays if name not in self.apart()]:
            raise ValueError(f"{twice[0]} is given twice, so that it has no derivative of its own; pass it once")
        flat = np.concatenate([np.empty(0, np.float16), *(part.reshape(-1) for part in self.views.values())])
        self.flat: NDArray[Any] = flat.astype(flat.dtype.newbyteorder("=") if self.arrays else np.float64)
        kind = self.flat.dtype
        self.parts = [a if a.dtype == kind else a.astype(kind) for a in self.arrays.values()]

    def of(self, f: Callable[..., Any], is_gradient: bool = False) -> Callable[..., Any]:
        """Return f, or a function that returns a container of gradients, as a function of the flat array."""
        return OfFlat(self, self.parts, f, self.gradients if is_gradient else None)

    def gradients(self, found: Any) -> NDArray[Any]:
        """Return what a gradient returns for each array by its name, in the order of x."""
        returned, parts = by_name(found, "gradient"), []
        if set(returned) != set(self.arrays):
            raise ValueError(f"gradient must return the keys of x, {list(self.arrays)}, it returned {list(returned)}")
        for name, own in self.arrays.items():
            label, part = returned[name]
            in_order(self.given_as[name], **{label: part})
            parts.append(real_array(part, label))
            if parts[-1].shape != own.shape:
                raise ValueError(f"gradient must return for {name} an array of shape {own.shape}, got {np.shape(part)}")
        return joined(parts)

    def run(self, work: Callable[[], Any]) -> Any:
        """Return what `work` returns; the arrays are restored after any exit."""
        return preserving(list(self.arrays.values()), lambda _: work())

    def has_unread_copies(self, f: Any, hessian: Any, args: tuple[Any, ...], ends: Any) -> bool:
        """Tell whether f, as `of` gives it, does not respond to an array of which it gets a copy: all zeros may be so.

        It is asked between the ends, where they are not None, and where the derivatives by the array are zero.
        """
        for (name, place), part in zip(self.places.items(), self.parts, strict=True):
            is_copy = name in self.copies or part is not self.arrays[name]
            if is_copy and part.size and not abs(hessian[place]).max():  # of a sparse one too
                moved = self.flat.copy()
                moved[place] += SHARE * (1.0 + np.abs(moved[place]))
                moved = moved if ends is None else np.clip(moved, *ends).astype(moved.dtype)
                if (moved != self.flat).any() and where_defined(partial(f, moved, *args)) == f(self.flat, *args):
                    return True
        return False

    def numbers(self, value: Any, what: str) -> Any:
        """Return an argument of numbers, one for all or by the names of the arrays, as a flat array."""
        own = self.own(value, what)
        names = [part for part in own.values() if isinstance(part, str)]
        if not names:
            return joined(np.broadcast_to(real_array(own[name], what), part.shape) for name, part in self.views.items())
        if len(names) < len(own) or len(set(names)) > 1:
            raise ValueError(f"{what} of second derivatives must be 'auto' for all arrays or steps for all, got {own}")
        return names[0]


class OfFlat:
    """A function of a container as a function of a flat array, which is written to the `parts` that f receives.

    The parts hold the last point then; ValueError if f has written to them. In another process their views are made
    anew.
    """

    def __init__(self, x: Container, parts: list[NDArray[Any]], f: Callable[..., Any], gather: Any = None) -> None:
        self.x, self.parts, self.f, self.gather = x, parts, f, gather
        self.plain = [part.view(np.ndarray) for part in parts]

    def __reduce__(self) -> Any:
        return OfFlat, (self.x, self.parts, self.f, self.gather)

    def __call__(self, flat: NDArray[Any], *args: Any) -> Any:
        """Return what f returns for a point that is written to its arrays, or what `gather` makes of it."""
        for place, part in zip(self.x.places.values(), self.plain, strict=True):
            part[...] = flat[place].reshape(part.shape)
        found, unchanged = watched(self.plain, lambda: self.f(renewed(self.x.like(self.parts)), *args))
        if not unchanged:
            raise_argument_changed()
        return found if self.gather is None else self.gather(found)
