"""The book's nets, simpleNet, TwoLayerNet and MultiLayerNet: numerical gradients of all weights, backpropagation."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arguments import describe, finite_real, random_generator, underflowing, whole_number
from .functions import labels_of, losses_of, relu, sigmoid, slopes_of, softmax
from .gradient import numerical_gradient
from .loops import Floats
from .objectives.networks import HasParams, HiddenLayer, Layer, NetObjective, Params, arrays_of, flat_of, plain
from .objectives.rows import LayerObjective
from .points import private_copy

if TYPE_CHECKING:
    from .objectives.incremental import IncrementalObjective

__all__ = ["MultiLayerNet", "SimpleNet", "TwoLayerNet", "simpleNet"]

# Of each activation: itself, and its slope from its value.
_ACTIVATIONS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "sigmoid": (sigmoid, lambda a: a * (1.0 - a)),
    "relu": (relu, lambda a: (a > 0.0).astype(np.float64)),
    "tanh": (np.tanh, lambda a: 1.0 - a * a),
}
# The names of initial standard deviations: their squares times the number of inputs, after He and after Glorot.
_GAINS = {"relu": 2.0, "he": 2.0, "sigmoid": 1.0, "xavier": 1.0, "tanh": 1.0}


_dot: Callable[..., Floats] = underflowing(np.dot)


@functools.cache
def _softmax() -> Any:
    """Return the module of the layer's compiled functions, whose import takes half a second, on first use."""
    from .objectives import softmax

    return softmax


def _activation(name: Any) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """Return an activation and its slope; ValueError, or TypeError of what is no str, if there is none of that name."""
    if not isinstance(name, str) or name not in _ACTIVATIONS:
        kind = ValueError if isinstance(name, str) else TypeError
        raise kind(f"activation must be one of {', '.join(_ACTIVATIONS)}, got {describe(name)}")
    return _ACTIVATIONS[name]


def _is_of(net: Any, name: str, kind: type) -> bool:
    """Tell whether a method is that of a class: no subclass has another, and none was set on it or on the net."""
    return name not in vars(net) and getattr(type(net), name) is _METHODS[kind][name]


def layer_of_losses(x: Floats, labels: NDArray[Any], *, bias: bool = False) -> LayerObjective:
    """Return the mean cross-entropy of a linear layer, whose rows are known to be independent."""
    layer = LayerObjective(x, losses_of, (labels,), bias=bias)
    layer._asks = False
    return layer


def _accuracy(logits: Floats, labels: NDArray[Any]) -> float:
    """Return the fraction of the rows whose largest logit is that of the label; none that is NaN is right."""
    labels = labels.argmax(axis=1) if labels.ndim == 2 else labels
    return float(np.mean((logits.argmax(axis=1) == labels) & ~np.isnan(logits).any(axis=1)))


class simpleNet:  # noqa: N801, the book's name
    """A linear layer without bias and a softmax cross-entropy loss.

    Parameters
    ----------
    shape : tuple of two ints, default (2, 3)
        Number of features and number of classes.
    rng : numpy.random.Generator or seed, optional
        Source of the standard normal weights. Without it they come from `numpy.random.randn`, as in the book, so
        that `numpy.random.seed` reproduces them.

    Attributes
    ----------
    W : ndarray of float64, shape (features, classes)
        The weights. `loss` reads this very array at each call, so that whatever perturbs or updates it in place
        is seen.

    Raises
    ------
    TypeError
        If `shape` is not a pair of integers.
    ValueError
        If a length is below 1.

    References
    ----------
    Saitoh, K., *Deep Learning from Scratch*, O'Reilly, section 4.4.2.

    Examples
    --------
    >>> import numpy as np
    >>> from numgrad import numerical_gradient, simpleNet
    >>> net = simpleNet()
    >>> net.W[...] = [[0.47355232, 0.9977393, 0.84668094], [0.85557411, 0.03563661, 0.69422093]]
    >>> x, t = np.array([0.6, 0.9]), np.array([0, 0, 1])
    >>> net.loss(x, t)
    0.9280682857864075
    >>> print(numerical_gradient(lambda w: net.loss(x, t), net.W))
    [[ 0.21924757  0.14356243 -0.36281   ]
     [ 0.32887136  0.21534364 -0.544215  ]]
    """

    def __init__(self, shape: tuple[int, int] = (2, 3), *, rng: Any = None) -> None:
        try:
            features, classes = shape
        except (TypeError, ValueError):
            raise TypeError(f"shape must be a pair of integers (features, classes), got {shape!r}") from None
        size = whole_number("features", features, 1), whole_number("classes", classes, 1)
        self.W = np.random.randn(*size) if rng is None else random_generator(rng).standard_normal(size)

    def __repr__(self) -> str:
        return f"simpleNet(shape={np.shape(self.W)})"

    def predict(self, x: ArrayLike) -> NDArray[np.float64]:
        """Return the logits ``x @ W``.

        Parameters
        ----------
        x : array_like
            One sample of shape (features,) or a batch of shape (batch, features).

        Returns
        -------
        ndarray of float64
            Of shape (classes,) or (batch, classes).

        Raises
        ------
        TypeError
            If `x` or `W` is not real.
        ValueError
            If the number of features is not that of `W`, or `W` is no matrix.

        Examples
        --------
        >>> import numpy as np
        >>> from numgrad import simpleNet
        >>> simpleNet((4, 3)).predict(np.ones((5, 4))).shape
        (5, 3)
        """
        return _dot(*self._operands(x))

    def _operands(self, x: ArrayLike) -> tuple[Floats, Floats]:
        """Return `x` as one sample or a batch of samples that fit `W`, and `W`."""
        rows, weights = plain(x), plain(self.W, "W")
        if weights.ndim != 2 or 0 in weights.shape:
            raise ValueError(f"W must have the shape (features, classes) and not be empty, got {weights.shape}")
        if not 1 <= rows.ndim <= 2 or rows.shape[-1] != len(weights):
            rule = "x must have the shape (features,) or (batch, features) with the features of W"
            raise ValueError(f"{rule}, got x of shape {rows.shape} and W of shape {weights.shape}")
        return rows, weights

    def loss(self, x: ArrayLike, t: ArrayLike) -> float:
        """Return the mean softmax cross-entropy of the logits of `x` with the labels `t`.

        Parameters
        ----------
        x : array_like
            One sample of shape (features,) or a batch of shape (batch, features).
        t : array_like
            One-hot rows or soft labels, of the shape of the logits, or integer labels, of shape () or (batch,), as
            `cross_entropy_error` takes them.

        Returns
        -------
        float
            The loss, in nats: ``cross_entropy_error(softmax(predict(x)), t)`` to round-off.

        Raises
        ------
        TypeError
            If `x`, `t` or `W` is not real, or if labels are not integers.
        ValueError
            If shapes do not fit, the batch is empty, a label is not in ``range(classes)``, or a row is no label.
        """
        logits = plain(self.predict(x))
        labels = labels_of(t, logits.shape, checks_range=False)
        rows = logits.reshape(-1, logits.shape[-1])
        if labels.ndim == 2:
            return float(losses_of(rows, labels).mean())
        loss = float(_softmax().softmax_cross_entropy(rows, labels))
        if loss < 0.0:  # a label may be no column
            labels_of(t, logits.shape)
        return loss

    def objective(self, x: ArrayLike, t: ArrayLike) -> IncrementalObjective | LayerObjective:
        """Return the loss of these data as a function of W, whose differences cost less than a call.

        Parameters
        ----------
        x, t : array_like
            As for `loss`. They are copied.

        Returns
        -------
        IncrementalObjective, or LayerObjective for soft labels
            ``objective(W)`` is the loss for the weights W, of the shape of `W`. Give it to `numerical_gradient`, or to
            `gradient_descent` with ``net.W`` to train the net in place.

        Raises
        ------
        TypeError, ValueError
            As `loss`; a TypeError also of a subclass or a net with a `loss` or `predict` of its own, which the closed
            form does not know; a ValueError also when it is used with a W of another shape.

        Notes
        -----
        A difference is one sum over the batch, since ``W[i, j]`` moves one logit a sample; it holds for any step and
        nothing in it cancels. `numgrad.objectives.softmax` derives it. For soft labels differences are those of the
        plain loop, to its round-off.

        Examples
        --------
        >>> import numpy as np
        >>> from numgrad import gradient_descent, simpleNet
        >>> net = simpleNet((784, 10), rng=0)
        >>> x, t = np.random.default_rng(0).standard_normal((100, 784)) / 10, np.arange(100) % 10
        >>> _ = gradient_descent(net.objective(x, t), net.W, lr=1.0, step_num=100)
        >>> net.accuracy(x, t)
        1.0
        """
        if self._has_other_loss():
            owner = "net" if type(self) is simpleNet else "class"
            rule = f"objective is the loss of simpleNet itself, and this {owner} has another"
            raise TypeError(f"{rule}: {type(self).__name__}; pass lambda W: net.loss(x, t) and net.W")
        return self._objective(private_copy(plain(x)), t)

    def _has_other_loss(self) -> bool:
        return not (_is_of(self, "loss", simpleNet) and _is_of(self, "predict", simpleNet))

    def _objective(self, x: ArrayLike, t: ArrayLike) -> IncrementalObjective | LayerObjective:
        """Return the objective of samples that it need not copy."""
        x, weights = self._operands(x)
        samples = np.ascontiguousarray(x).reshape(-1, len(weights))
        labels = labels_of(t, (*x.shape[:-1], weights.shape[1])).copy()
        if labels.ndim == 2:
            return layer_of_losses(samples, labels)
        return _softmax().SoftmaxObjective(samples, labels, weights.shape)  # type: ignore[no-any-return]

    def numerical_gradient(self, x: ArrayLike, t: ArrayLike, h: float = 1e-4, *, workers: int = 1) -> Floats:
        """Return the gradient of the loss with respect to `W`, by central differences of the step `h`.

        ``numerical_gradient(net.objective(x, t), net.W, h, workers=workers)``, of the shape of `W`; of a subclass with
        another `loss` or `predict`, or where one was set on the net itself, the differences of that.

        Examples
        --------
        >>> import numpy as np
        >>> from numgrad import simpleNet
        >>> net = simpleNet()
        >>> net.W[...] = [[0.47355232, 0.9977393, 0.84668094], [0.85557411, 0.03563661, 0.69422093]]
        >>> print(net.numerical_gradient(np.array([0.6, 0.9]), np.array([0, 0, 1])))
        [[ 0.21924757  0.14356243 -0.36281   ]
         [ 0.32887136  0.21534364 -0.544215  ]]
        """
        if {"loss", "predict"} & vars(self).keys():  # what was set on this very net may read its W
            return numerical_gradient(lambda _: self.loss(x, t), self.W, h, workers=workers)
        if self._has_other_loss():
            net, weights = copy.copy(self), plain(self.W, "W")

            def loss(W: Floats) -> float:  # noqa: N803
                net.W = W
                return net.loss(x, t)

            return numerical_gradient(loss, weights, h, workers=workers)
        return numerical_gradient(self._objective(x, t), self.W, h, workers=workers)

    def accuracy(self, x: ArrayLike, t: ArrayLike) -> float:
        """Return the fraction of the samples whose largest logit is that of the label.

        The label of a soft one is its most probable class. A sample with a logit that is NaN is not right.

        Parameters, errors: as `loss`.

        Examples
        --------
        >>> from numgrad import simpleNet
        >>> net = simpleNet((2, 2))
        >>> net.W[...] = [[1.0, 0.0], [0.0, 1.0]]
        >>> net.accuracy([[3.0, 1.0], [1.0, 2.0]], [0, 0])
        0.5
        """
        logits = self.predict(x)
        return _accuracy(np.atleast_2d(logits), labels_of(t, logits.shape))


SimpleNet = simpleNet


class MultiLayerNet(HasParams):
    """The net of the book's chapter 6: linear layers with activations between, and a softmax cross-entropy loss.

    Parameters
    ----------
    input_size : int
        Number of features.
    hidden_size_list : sequence of int
        Number of units of each hidden layer.
    output_size : int
        Number of classes.
    activation : {'relu', 'sigmoid', 'tanh'}, default 'relu'
        What follows each hidden layer.
    weight_init_std : float or str, default 'relu'
        Standard deviation of the weights, or 'relu' or 'he' for ``sqrt(2 / inputs)``, 'sigmoid' or 'xavier' for
        ``sqrt(1 / inputs)``, of the layer at hand. Biases begin at 0.
    weight_decay_lambda : float, default 0
        Factor of ``sum(W**2) / 2`` over all weights, which is added to the loss.
    rng : numpy.random.Generator or seed, optional
        Source of the weights. Without it they come from `numpy.random.randn`, as in the book.

    Attributes
    ----------
    params : dict of ndarray
        'W1', 'b1', 'W2', ...: float64 arrays, which are read at each call. They are views of one buffer, `flat`, also
        of a net that was pickled or copied by `copy.deepcopy`; `copy.copy` shares them. An array may be replaced by
        another one, of numbers of any kind; `flat` then replaces all of them by views of a new buffer.

    Raises
    ------
    TypeError, ValueError
        If a size is no integer from 1, or an option has no such value. When used: if `params` lacks a key, or the
        shapes do not fit each other.

    Notes
    -----
    `loss` and `gradient` do not call `predict`. Of a subclass with a `loss` of its own, or where one was set on the net
    itself, `numerical_gradient` and `objective` take that one, by plain differences, with respect to all of `params`;
    `gradient` must be its own too.

    Derivatives by one of two arrays that share memory are not those of the loss, which both of them move: `gradient`
    and `numerical_gradient` refuse tied weights. Such a net needs a `loss` and a `gradient` of its own.

    Whoever holds an array of `params` beside the net, or `flat`, still holds that of the net after `copy.deepcopy`,
    unless it was copied before the net, and in other processes that `workers` starts. A pickle of NumPy's makes two
    arrays of two views of one buffer: take the arrays from the net that was unpickled.

    References
    ----------
    Saitoh, K., *Deep Learning from Scratch*, O'Reilly, chapters 4 to 6.

    Examples
    --------
    >>> import numpy as np
    >>> from numgrad import MultiLayerNet
    >>> net = MultiLayerNet(6, [8, 5], 3, rng=0)
    >>> x, t = np.random.default_rng(1).standard_normal((4, 6)), np.array([0, 2, 1, 2])
    >>> slopes, exact = net.numerical_gradient(x, t), net.gradient(x, t)
    >>> bool(max(np.abs(slopes[key] - exact[key]).max() for key in net.params) < 1e-8)
    True
    """

    def __init__(
        self,
        input_size: int,
        hidden_size_list: Sequence[int],
        output_size: int,
        activation: str = "relu",
        weight_init_std: float | str = "relu",
        weight_decay_lambda: float = 0.0,
        *,
        rng: Any = None,
    ) -> None:
        _activation(activation)
        if isinstance(hidden_size_list, str) or not isinstance(hidden_size_list, Sequence | np.ndarray):
            raise TypeError(f"hidden_size_list must be a sequence of integers, got {describe(hidden_size_list)}")
        sizes = [whole_number("input_size", input_size, 1)]
        sizes += [whole_number("a hidden size", size, 1) for size in hidden_size_list]
        sizes += [whole_number("output_size", output_size, 1)]
        self.activation, self.weight_decay_lambda = activation, finite_real("weight_decay_lambda", weight_decay_lambda)
        source = None if rng is None else random_generator(rng)
        self.params: Params = {}
        for k, shape in enumerate(pairwise(sizes), 1):
            self.params[f"W{k}"] = _std(weight_init_std, shape[0]) * (
                np.random.randn(*shape) if source is None else source.standard_normal(shape)
            )
            self.params[f"b{k}"] = np.zeros(shape[1])
        self._depth = len(sizes) - 1
        flat_of(self.params)

    def __repr__(self) -> str:
        sizes = [len(self.params["W1"]), *(len(self.params[f"b{k}"]) for k in range(1, self._depth + 1))]
        return f"{type(self).__name__}({'-'.join(map(str, sizes))}, {self.activation})"

    @np.errstate(under="ignore")
    def _forward(self, x: ArrayLike) -> tuple[list[Layer], list[Floats], Floats]:
        """Return the layers, their inputs and the logits, as batches, and the logits of one sample or of a batch."""
        rows, layers, act = plain(x), self._weights_and_biases(), _activation(self.activation)[0]
        features = len(layers[0][0])
        if not 1 <= rows.ndim <= 2 or rows.shape[-1] != features or not rows.size:
            rule = f"x must have the shape ({features},) or (batch, {features}), for the rows of W1, and not be empty"
            raise ValueError(f"{rule}, got {rows.shape}")
        values = [np.atleast_2d(rows)]
        for k, (W, b) in enumerate(layers, 1):  # noqa: N806
            z = values[-1] @ W + b
            values.append(act(z) if k < self._depth else z)
        return layers, values, values[-1][0] if rows.ndim == 1 else values[-1]

    def _prepared(self, x: ArrayLike, t: ArrayLike) -> tuple[list[Layer], list[Floats], NDArray[Any]]:
        """Return the layers, their inputs and the logits, and the labels of the batch."""
        layers, values, logits = self._forward(x)
        return layers, values, labels_of(t, logits.shape)

    def predict(self, x: ArrayLike) -> Floats:
        """Return the logits of one sample or of a batch, of shape (classes,) or (batch, classes)."""
        return self._forward(x)[2]

    @np.errstate(under="ignore")
    def loss(self, x: ArrayLike, t: ArrayLike) -> float:
        """Return the mean softmax cross-entropy of a batch with its labels, and the weight decay.

        Parameters
        ----------
        x : array_like
            One sample of shape (features,) or a batch of shape (batch, features).
        t : array_like
            Integer labels, one-hot rows or soft labels, as `cross_entropy_error` takes them.

        Returns
        -------
        float
            In nats.

        Raises
        ------
        TypeError, ValueError
            As `cross_entropy_error`; a ValueError also if `x` has another number of features.
        """
        layers, values, labels = self._prepared(x, t)
        loss = float(losses_of(values[-1], labels).mean())
        if self.weight_decay_lambda:
            loss += 0.5 * self.weight_decay_lambda * sum(float(np.sum(W**2)) for W, _ in layers)
        return loss

    def accuracy(self, x: ArrayLike, t: ArrayLike) -> float:
        """Return the fraction of the samples whose largest logit is that of the label, the likeliest of a soft one."""
        _, values, labels = self._prepared(x, t)
        return _accuracy(values[-1], labels)

    def objective(self, x: ArrayLike, t: ArrayLike) -> NetObjective:
        """Return the loss of these data as a function of the parameters, a dict as `params`.

        Arrays and lists are copied. `check_gradient` knows the slopes for each sample and unit, and hence those of all
        weights with error bars, for some two to seven numerical gradients of the net.

        Examples
        --------
        >>> import numpy as np
        >>> from numgrad import TwoLayerNet, check_gradient
        >>> net = TwoLayerNet(784, 50, 10, rng=0)
        >>> x, t = np.random.default_rng(0).uniform(0, 1, (100, 784)), np.arange(100) % 10
        >>> check_gradient(net.objective(x, t), net.gradient(x, t), net.params).ok
        True
        """
        return NetObjective(self, x, t)

    def numerical_gradient(self, x: ArrayLike, t: ArrayLike, h: float = 1e-4, *, workers: int = 1) -> Params:
        """Return all central differences of the loss, as a dict with the keys of `params`.

        Parameters
        ----------
        x, t : array_like
            As for `loss`.
        h : float, default 1e-4
            Step, in the unit of the weights.
        workers : int, default 1
            Threads, which pay for slow layers only.

        Returns
        -------
        dict of ndarray
            What ``numerical_gradient(lambda W: net.loss(x, t), net.params["W1"], h)`` gives for each array, to
            round-off, from some four evaluations of what follows each unit in place of two for each weight.

        Notes
        -----
        Each layer is a `LayerObjective`. Of a hidden layer, the next operation is linear too, so that a move of a unit
        changes the next pre-activations by rank 1.
        """
        if "loss" in vars(self):  # what was set on this very net may read its params
            return numerical_gradient(lambda _: self.loss(x, t), self.params, h, workers=workers)  # type: ignore[no-any-return]
        if self._has_other_loss():
            return numerical_gradient(self.objective(x, t), arrays_of(self.params), h, workers=workers)  # type: ignore[no-any-return]
        layers, values, labels = self._prepared(x, t)
        self._refuse_tied()
        slopes: Params = {}
        with np.errstate(under="ignore"):
            for k, layer in enumerate(layers, 1):
                weights = np.vstack(layer)
                both = numerical_gradient(self._layer(k, layers, values, labels), weights, h, workers=workers)
                # The difference of a square is exact, of any step.
                slopes[f"W{k}"], slopes[f"b{k}"] = both[:-1] + self.weight_decay_lambda * weights[:-1], both[-1]
        return {key: slopes[key] for key in self.params if key in slopes}

    def _has_other_loss(self) -> bool:
        return not _is_of(self, "loss", MultiLayerNet)

    def _layer(self, k: int, layers: list[Layer], values: list[Floats], labels: NDArray[Any]) -> LayerObjective:
        """Return the loss without decay as a function of the weights of layer k and, as a last row, its biases."""
        if k == self._depth:
            return layer_of_losses(values[k - 1], labels, bias=True)
        act = _activation(self.activation)[0]

        def rows(z: Floats, t: NDArray[Any]) -> Floats:
            for V, c in layers[k + 1 :]:  # noqa: N806
                z = act(z) @ V + c
            return losses_of(z, t)

        return HiddenLayer(values[k - 1], (labels,), act, layers[k], rows)

    @np.errstate(under="ignore")
    def gradient(self, x: ArrayLike, t: ArrayLike) -> Params:
        """Return the exact gradient of the loss by backpropagation, the offset 1e-7 of its logarithm included.

        Parameters, errors: as `loss`.
        """
        layers, values, labels = self._prepared(x, t)
        self._refuse_tied()
        delta = slopes_of(values[-1], labels)
        slopes: Params = {}
        for k in range(self._depth, 0, -1):
            weights = layers[k - 1][0]
            slopes[f"W{k}"] = values[k - 1].T @ delta + self.weight_decay_lambda * weights
            slopes[f"b{k}"] = delta.sum(axis=0)
            if k > 1:
                delta = delta @ weights.T * _activation(self.activation)[1](values[k - 1])
        return {key: slopes[key] for key in self.params if key in slopes}


def _std(weight_init_std: float | str, inputs: int) -> float:
    """Return the standard deviation of the weights of a layer of so many inputs."""
    if not isinstance(weight_init_std, str):
        return finite_real("weight_init_std", weight_init_std)
    if weight_init_std.lower() not in _GAINS:
        raise ValueError(f"weight_init_std must be a number or one of {', '.join(_GAINS)}, got {weight_init_std!r}")
    return float(np.sqrt(_GAINS[weight_init_std.lower()] / inputs))


class TwoLayerNet(MultiLayerNet):
    """The net of the book's chapter 4: a sigmoid layer, a linear layer, softmax and the cross-entropy loss.

    Parameters
    ----------
    input_size, hidden_size, output_size : int
        Number of features, of hidden units and of classes.
    weight_init_std : float, default 0.01
        Standard deviation of the weights. Biases begin at 0.
    rng : numpy.random.Generator or seed, optional
        Source of the weights. Without it they come from `numpy.random.randn`, as in the book, so that
        `numpy.random.seed` reproduces them.

    Attributes
    ----------
    params : dict of ndarray
        'W1', 'b1', 'W2' and 'b2', as of `MultiLayerNet`.

    Raises
    ------
    TypeError, ValueError
        If a size is no integer from 1, or `weight_init_std` is not a finite number.

    References
    ----------
    Saitoh, K., *Deep Learning from Scratch*, O'Reilly, section 4.5.

    Examples
    --------
    >>> import numpy as np
    >>> from numgrad import TwoLayerNet, numerical_gradient
    >>> net = TwoLayerNet(784, 100, 10, rng=0)
    >>> x, t = np.random.default_rng(0).uniform(0, 1, (100, 784)), np.arange(100) % 10
    >>> slopes = net.numerical_gradient(x, t)
    >>> {key: array.shape for key, array in slopes.items()}
    {'W1': (784, 100), 'b1': (100,), 'W2': (100, 10), 'b2': (10,)}
    >>> bool(np.abs(slopes["b1"] - numerical_gradient(lambda b: net.loss(x, t), net.params["b1"])).max() < 1e-10)
    True
    """

    def __init__(
        self, input_size: int, hidden_size: int, output_size: int, weight_init_std: float = 0.01, *, rng: Any = None
    ) -> None:
        hidden = whole_number("hidden_size", hidden_size, 1)
        super().__init__(input_size, [hidden], output_size, "sigmoid", weight_init_std, rng=rng)

    def predict(self, x: ArrayLike) -> Floats:
        """Return the probabilities of one sample or of a batch, of shape (classes,) or (batch, classes)."""
        return softmax(super().predict(x))


# The methods as they are written here, whatever is set on a class later.
_METHODS: dict[type, dict[str, Any]] = {kind: dict(vars(kind)) for kind in (simpleNet, MultiLayerNet)}
