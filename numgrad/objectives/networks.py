"""Objectives of nets: the loss as a function of all parameters, and of one hidden layer."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..loops import Floats, Indices
from ..parameters import layers_of, names_of
from .python import PythonObjective
from .responses import Slopes
from .rows import LayerObjective

__all__: list[str] = []  # nothing here is public


class HiddenLayer(LayerObjective):
    """A layer whose next operation after the activation is linear too: a move changes what follows by rank 1.

    `rows` takes the pre-activations of the next layer, of weights V and biases c.
    """

    def __init__(self, x: Floats, data: tuple[Any, ...], act: Any, after: tuple[Floats, Floats], rows: Any) -> None:
        super().__init__(x, rows, data, bias=True)
        self._act, self._after, self._is_known = act, after, True

    def _near(self, W: Floats, inputs: Floats, block: slice) -> tuple[Floats, int, Callable[..., Any]]:  # noqa: N803
        (V, c), z, data = self._after, inputs @ W, [array[block] for array in self.data]  # noqa: N806
        a = self._act(z)
        y, flat_z, flat_a = a @ V + c, z.reshape(-1), a.reshape(-1)

        def near(b: Indices, j: Indices, u: Floats) -> Floats:
            at = b * z.shape[1] + j
            points = V.take(j, axis=0)
            points *= (self._act(flat_z[at] + u) - flat_a[at])[:, np.newaxis]
            points += y.take(b, axis=0)
            return self._values(points, [array[b] for array in data])

        return z, self._length(y), near


class NetObjective:
    """The loss of a net for some data as a function of a dict of parameters, with the keys of `net.params`."""

    def __init__(self, net: Any, x: ArrayLike, t: ArrayLike) -> None:
        self.net, self.x, self.t = copy.copy(net), x, t

    def __call__(self, params: Any) -> float:
        """Return the loss for these parameters."""
        loss: float = self.net_of(params).loss(self.x, self.t)
        return loss

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
        weights = np.vstack(layers_of(params, net._depth)[k - 1])
        if k not in self._slopes:
            own = net._layer(k, *net._prepared(f.x, f.t))._as_objective()
            self._slopes[k] = own.slopes(weights, args)
        found, *bars = (both[:-1] if is_weight else both[-1] for both in self._slopes[k])
        return Slopes(found + net.weight_decay_lambda * weights[:-1] if is_weight else found, *bars)
