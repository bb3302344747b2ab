"""simpleNet: the book's net of one linear layer, whose loss is one BLAS product and one compiled loop."""

import functools
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arguments import whole_number
from .buffers import FLOAT64, aligned_zeros, private_copy, real_array
from .functions import as_labels, check_labels
from .gradient import numerical_gradient
from .incremental import IncrementalObjective

__all__ = ["SimpleNet", "simpleNet"]

Floats = NDArray[np.float64]


@functools.cache
def _layer() -> Any:
    """Return the module of the layer's compiled functions, whose import costs half a second, on first use."""
    from . import softmax_layer

    return softmax_layer


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
        self.W = np.random.randn(*size) if rng is None else np.random.default_rng(rng).standard_normal(size)

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
            If `x` is not real.
        ValueError
            If the number of features is not that of `W`.

        Examples
        --------
        >>> import numpy as np
        >>> from numgrad import simpleNet
        >>> simpleNet((4, 3)).predict(np.ones((5, 4))).shape
        (5, 3)
        """
        logits: Floats = np.dot(self._samples(x), self.W)
        return logits

    def _samples(self, x: ArrayLike) -> NDArray[Any]:
        """Return `x` as one sample or a batch of samples that fit `W`."""
        x, shape = real_array(x), np.shape(self.W)
        if not 1 <= x.ndim <= 2 or len(shape) != 2 or x.shape[-1] != shape[0]:
            raise ValueError(
                f"x must have the shape (features,) or (batch, features) with the features of W, "
                f"got x of shape {x.shape} and W of shape {shape}"
            )
        return x

    def loss(self, x: ArrayLike, t: ArrayLike) -> float:
        """Return the mean softmax cross-entropy of the logits of `x` with the labels `t`.

        Parameters
        ----------
        x : array_like
            One sample of shape (features,) or a batch of shape (batch, features).
        t : array_like
            One-hot rows, of the shape of the logits (their argmax is the label), or integer labels, of shape () or
            (batch,).

        Returns
        -------
        float
            The loss, in nats: ``cross_entropy_error(softmax(predict(x)), t)`` to round-off.

        Raises
        ------
        TypeError
            If `x` or `t` is not real, or if labels are not integers.
        ValueError
            If shapes do not fit, the batch is empty, or a label is not in ``range(classes)``.
        """
        logits = self.predict(x)
        labels = as_labels(t, logits.shape)
        return _loss(logits, labels)

    def objective(self, x: ArrayLike, t: ArrayLike) -> IncrementalObjective:
        """Return the loss of these data as a function of W, whose differences cost less than a call.

        Parameters
        ----------
        x, t : array_like
            As for `loss`. They are copied.

        Returns
        -------
        IncrementalObjective
            ``objective(W)`` is the loss for the weights W, of the shape of `W`. Give it to `numerical_gradient`, or to
            `gradient_descent` with ``net.W`` to train the net in place.

        Raises
        ------
        TypeError, ValueError
            As `loss`; a ValueError also when it is used with a W of another shape.

        Notes
        -----
        A difference is one sum over the batch, since ``W[i, j]`` moves one logit a sample; it holds for any step and
        nothing in it cancels. `numgrad.softmax_layer` derives it.

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
        x = self._samples(x)
        classes = np.shape(self.W)[1]
        labels = as_labels(t, (*x.shape[:-1], classes)).reshape(-1)
        check_labels(labels, classes)
        return _layer_objective(np.atleast_2d(private_copy(x)), labels.astype(np.intp), np.shape(self.W))

    def numerical_gradient(self, x: ArrayLike, t: ArrayLike, h: float = 1e-4, *, workers: int = 1) -> Floats:
        """Return the gradient of the loss with respect to `W`, by central differences of the step `h`.

        ``numerical_gradient(net.objective(x, t), net.W, h, workers=workers)``, of the shape of `W`.

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
        return numerical_gradient(self.objective(x, t), self.W, h, workers=workers)

    def accuracy(self, x: ArrayLike, t: ArrayLike) -> float:
        """Return the fraction of the samples whose largest logit is that of the label.

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
        labels = as_labels(t, logits.shape)
        check_labels(labels, logits.shape[-1])
        return float(np.mean(logits.argmax(-1) == labels))


SimpleNet = simpleNet


def _loss(logits: NDArray[Any], labels: NDArray[Any]) -> float:
    """Return the mean loss of logits of shape (classes,) or (batch, classes)."""
    rows = np.asarray(logits.reshape(-1, logits.shape[-1]), dtype=FLOAT64)
    loss = float(_layer().softmax_cross_entropy(rows, labels.reshape(-1).astype(np.intp, copy=False)))
    if loss < 0.0:
        check_labels(labels, logits.shape[-1])
    return loss


def _layer_objective(x: Floats, labels: NDArray[np.intp], shape: tuple[int, ...]) -> IncrementalObjective:
    """Return the loss of a layer of weights of `shape` for the samples `x`, of shape (batch, features)."""
    (batch, features), classes = x.shape, shape[1]
    largest = np.maximum(x.max(axis=0), -x.min(axis=0))

    def logits(W: NDArray[Any]) -> Floats:  # noqa: N803
        if W.shape != shape:
            raise ValueError(f"W must have the shape of the net's weights, {shape}, got {W.shape}")
        return np.asarray(np.dot(x, W), dtype=FLOAT64)

    def value(W: ArrayLike) -> float:  # noqa: N803
        return _loss(logits(real_array(W, "W")), labels)

    kept: dict[float, tuple[Floats, NDArray[np.intp]]] = {}  # a descent has one h, and the steps do not depend on W

    def steps(h: float) -> tuple[Floats, NDArray[np.intp]]:
        known = kept.get(h)
        if known is None:
            known = aligned_zeros(features, batch), np.empty(features, np.intp)
            _layer().steps(x, largest, h, *known)
            kept.clear()
            kept[h] = known
        return known

    def prepare(W: Floats, h: float) -> Any:  # noqa: N803
        a, a1, a2, e, log_p = (aligned_zeros(classes, batch) for _ in range(5))
        _layer().coefficients(logits(W), labels, a, a1, a2, e, log_p)
        return *steps(h), a, a1, a2, e, log_p, labels

    return IncrementalObjective(value, prepare, _layer().difference)
