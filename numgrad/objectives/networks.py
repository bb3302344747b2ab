"""The parameters of nets, as a dict and as one flat array, and their loss as a function of them."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Collection, Mapping, MutableMapping
from itertools import accumulate, combinations
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arguments import FLOAT64, describe, plain_numbers
from ..loops import Floats, Indices
from ..remote import buffers
from .python import PythonObjective
from .responses import Slopes
from .rows import LayerObjective

__all__: list[str] = []  # nothing here is public

Params = dict[str, NDArray[Any]]
Layer = tuple[Floats, Floats]  # weights and biases


@functools.cache
def names_of(depth: int) -> tuple[str, ...]:
    """Return the keys of the parameters of so many layers."""
    return tuple(f"{kind}{k}" for k in range(1, depth + 1) for kind in "Wb")


def plain(value: Any, name: str = "x") -> Floats:
    """Return real numbers as a plain float64 array, without a copy where it is one; refuse what is masked."""
    if value.__class__ is np.ndarray and value.dtype is FLOAT64:  # a fifth of the time of what follows
        return value
    return np.asarray(plain_numbers(value, name), dtype=FLOAT64)


def _check_keys(params: Any, names: tuple[str, ...]) -> None:
    rule = f"params must be a dict with the keys {', '.join(names)}, as net.params"
    if not isinstance(params, Mapping):
        raise TypeError(f"{rule}, got {describe(params)}")
    if not set(names) <= set(params):
        raise ValueError(f"{rule}, got {', '.join(map(str, params)) or 'none'}")


def arrays_of(params: Any) -> Params:
    """Return all parameters as float64 arrays; TypeError if they are no dict of real arrays."""
    if not isinstance(params, Mapping):
        raise TypeError(f"params must be a dict of arrays, got {describe(params)}")
    return {key: plain(value, key) for key, value in params.items()}


def _buffer_of(params: Any) -> Floats | None:
    """Return the array of which all parameters are the parts, in turn, or None; its views arrive as such elsewhere."""
    arrays = list(params.values()) if isinstance(params, Mapping) and are_float64(params) else []
    flat: Any = arrays[0].base if arrays else None
    if not are_float64(flat) or flat.ndim != 1 or not flat.flags.c_contiguous:
        return None
    places = list(accumulate((array.nbytes for array in arrays), initial=_address(flat)))
    are_parts = all(array.base is flat and array.flags.c_contiguous for array in arrays)
    is_whole = are_parts and places == [*map(_address, arrays), places[0] + flat.nbytes]
    return _registered(flat) if is_whole else None


def _registered(flat: Floats) -> Floats:
    """Return a buffer, whose views arrive as such in other processes."""
    buffers[id(flat)] = flat
    return flat


def flat_of(params: MutableMapping[str, Any]) -> Floats:
    """Return the array of which all parameters are the parts, in turn; if there is none, make it and its views."""
    arrays = arrays_of(params)
    if (known := _buffer_of(params)) is not None:
        return known
    flat = np.concatenate([array.reshape(-1) for array in arrays.values()] or [np.empty(0)])
    for key, view in zip(arrays, _parts_of(flat, arrays.values()), strict=True):
        params[key] = view
    return _registered(flat)


def _parts_of(flat: Floats, arrays: Collection[NDArray[Any]]) -> list[Floats]:
    """Return views of a buffer, in turn, of the shapes of arrays."""
    ends = accumulate(array.size for array in arrays)
    return [flat[end - array.size : end].reshape(array.shape) for array, end in zip(arrays, ends, strict=True)]


def are_float64(params: Any) -> bool:
    """Tell whether all parameters are plain float64 arrays, which a flat array holds as they are."""
    arrays = params.values() if isinstance(params, Mapping) else [params]
    return all(array.__class__ is np.ndarray and array.dtype == FLOAT64 for array in arrays)


def _address(array: NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])


class HasParams:
    """A dict `params` of arrays that are the parts of one buffer, `flat`, also of what was copied or unpickled."""

    params: Params
    _depth: int  # the number of layers

    def _weights_and_biases(self) -> list[Layer]:
        """Return weights and biases of each layer, which fit each other; other keys are somebody else's.

        Raises
        ------
        TypeError
            If `params` is no dict, or an array is not real.
        ValueError
            If a key is missing, or a shape does not fit.
        """
        params, names, units = self.params, names_of(self._depth), ("features",)
        try:
            arrays = [plain(params[name], name) for name in names]
        except (KeyError, IndexError, TypeError):
            _check_keys(params, names)
            raise
        layers = list(zip(arrays[::2], arrays[1::2], strict=True))
        for k, (W, b) in enumerate(layers, 1):  # noqa: N806
            shape: Any = W.shape
            if len(shape) != 2 or 0 in shape or (k > 1 and shape[:1] != units):
                raise ValueError(f"W{k} must have the shape ({units[0]}, units) and not be empty, got {shape}")
            units = shape[1:]
            if b.shape != units:
                raise ValueError(f"b{k} must have the shape {units}, for the columns of W{k}, got {b.shape}")
        return layers

    def _refuse_tied(self) -> None:
        """Raise a ValueError if two parameters share memory: each is differentiated alone, and one moves the other."""
        for one, other in combinations(names_of(self._depth), 2):
            if np.shares_memory(self.params[one], self.params[other]):
                both = f"{one} and {other}"
                raise ValueError(f"{both} share memory, so that one moves the other; give each its own array")

    def __copy__(self) -> Self:
        twin = self.__class__.__new__(self.__class__)
        is_own = type(self).__getstate__ is HasParams.__getstate__  # which looks at all arrays: 20 us
        return twin._with(super().__getstate__() if is_own else self.__getstate__())

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        twin = memo[id(self)] = self.__class__.__new__(self.__class__)
        if (flat := _buffer_of(self.params)) is not None:  # whoever holds a part of it has a view of the new one, too
            arrays = self.params.values()
            for array, view in zip(arrays, _parts_of(copy.deepcopy(flat, memo), arrays), strict=True):
                memo.setdefault(id(array), view)
        return twin._with(copy.deepcopy(self.__getstate__(), memo))

    def __getstate__(self) -> Any:
        state: Any = super().__getstate__()
        of_dict, *of_slots = state if isinstance(state, tuple) else (state,)  # a subclass may have slots
        of_dict = of_dict | {"_was_whole": _buffer_of(self.params) is not None}
        return (of_dict, *of_slots) if of_slots else of_dict

    def __setstate__(self, state: Any) -> None:
        if self._take(state) and are_float64(self.params):
            flat_of(self.params)  # a pickle of NumPy parts the views of one buffer

    def _with(self, state: Any) -> Self:
        """Take the state, as a subclass does that has its own way, and return the net."""
        (self._take if type(self).__setstate__ is HasParams.__setstate__ else self.__setstate__)(state)
        return self

    def _take(self, state: Any) -> bool:
        """Take what `__getstate__` gives, and tell whether the arrays were the parts of one buffer."""
        of_dict, of_slots = state if isinstance(state, tuple) else (state, {})
        self.__dict__.update(of_dict or {})
        for name, value in of_slots.items():
            setattr(self, name, value)
        return bool(self.__dict__.pop("_was_whole", True))

    @property
    def flat(self) -> Floats:
        """All parameters as one float64 array, of which `params` holds views; made anew if one was replaced."""
        return flat_of(self.params)


class HiddenLayer(LayerObjective):
    """A layer whose next operation after the activation is linear too: a move changes what follows by rank 1.

    `rows` takes the pre-activations of the next layer, of weights V and biases c.
    """

    def __init__(self, x: Floats, data: tuple[Any, ...], act: Any, after: tuple[Floats, Floats], rows: Any) -> None:
        super().__init__(x, rows, data, bias=True)
        self._act, self._after, self._asks = act, after, False

    def _mover(self, z: Floats) -> tuple[int, Callable[..., Floats]]:
        (V, c), a = self._after, self._act(z)  # noqa: N806
        y, flat_z, flat_a = a @ V + c, z.reshape(-1), a.reshape(-1)

        def moved(b: Indices, j: Indices, u: Floats) -> Floats:
            at = b * z.shape[1] + j
            points = V.take(j, axis=0)
            points *= (self._act(flat_z[at] + u) - flat_a[at])[:, np.newaxis]
            points += y.take(b, axis=0)
            return points

        return y.shape[1], moved


class NetObjective:
    """The loss of a net for some data as a function of a dict of parameters, with the keys of `net.params`."""

    def __init__(self, net: Any, x: ArrayLike, t: ArrayLike) -> None:
        self.net = copy.copy(net)
        # Whoever goes on with the same buffer means this batch. A loss of one's own may take anything else as data.
        self.x, self.t = (
            copy.deepcopy(data) if isinstance(data, np.ndarray | list | tuple) else data for data in (x, t)
        )

    def __call__(self, params: Any) -> float:
        """Return the loss for these parameters."""
        return self.net_of(params).loss(self.x, self.t)  # type: ignore[no-any-return]

    def net_of(self, params: Any) -> Any:
        """Return the net with other parameters: one for each call, since several threads may call."""
        net = copy.copy(self.net)
        net.params = params
        return net

    def _as_objective(self) -> _NetKind:
        return _NetKind(self)


class _NetKind(PythonObjective):
    """The kind of a `NetObjective`: a Python f, whose slopes are known with error bars."""

    def __init__(self, f: Any) -> None:
        super().__init__(f)
        self._slopes: dict[int, Slopes] = {}  # by layer: of its weights and its biases together

    def slopes(self, params: Any, args: tuple[Any, ...], name: str) -> Slopes | None:
        """Return the gradient with respect to one array, and its error bars, or None of a loss of somebody else's."""
        f: Any = self.f
        net = f.net_of(params)
        if net._has_other_loss() or name not in names_of(net._depth):
            return None
        k, is_weight = int(name[1:]), name.startswith("W")
        weights = np.vstack(net._weights_and_biases()[k - 1])
        if k not in self._slopes:
            own = net._layer(k, *net._prepared(f.x, f.t))._as_objective()
            self._slopes[k] = own.slopes(weights, args)
        found, *bars = (both[:-1] if is_weight else both[-1] for both in self._slopes[k])
        return Slopes(found + net.weight_decay_lambda * weights[:-1] if is_weight else found, *bars)
