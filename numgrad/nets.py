"""simpleNet, the book's net of one linear layer."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from .arguments import FLOAT64, real_array, whole_number
from .functions import as_batch, as_labels
from .gradient import numerical_gradient
from .points import private_copy

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    from .loops import Floats
    from .objectives.incremental import IncrementalObjective

__all__ = ["SimpleNet", "simpleNet"]


@functools.cache
def _softmax() -> Any:
    """Return the module of the layer's compiled functions, whose import takes half a second, on first use."""
    from .objectives import softmax

    return softmax


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
        logits: Floats = np.dot(*self._operands(x))
        return logits

    def _operands(self, x: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return `x` as one sample or a batch of samples that fit `W`, and `W`."""
        x, weights = real_array(x), real_array(self.W, "W")
        if weights.ndim != 2 or 0 in weights.shape:
            raise ValueError(f"W must have the shape (features, classes) and not be empty, got {weights.shape}")
        if not 1 <= x.ndim <= 2 or x.shape[-1] != len(weights):
            rule = "x must have the shape (features,) or (batch, features) with the features of W"
            raise ValueError(f"{rule}, got x of shape {x.shape} and W of shape {weights.shape}")
        return x, weights

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
        logits = self.predict(x)
        labels = as_labels(t, logits.shape, checks_range=False)
        rows = np.asarray(logits.reshape(-1, logits.shape[-1]), dtype=FLOAT64)
        loss = float(_softmax().cross_entropy(rows, as_batch(labels, logits)))
        if loss < 0.0:  # a label may be no column
            as_labels(t, logits.shape)
        return loss

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
        nothing in it cancels. `numgrad.objectives.softmax` derives it.

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
        return self._objective(x, t, private_copy)

    def _objective(self, x: ArrayLike, t: ArrayLike, convert: Callable[[NDArray[Any]], Floats]) -> IncrementalObjective:
        x, weights = self._operands(x)
        logits = np.empty((*x.shape[:-1], weights.shape[1]))
        labels = as_batch(as_labels(t, logits.shape), logits).copy()
        from .objectives.softmax import SoftmaxObjective

        return SoftmaxObjective(np.atleast_2d(convert(x)), labels, weights.shape)

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
        objective = self._objective(x, t, lambda x: np.asarray(x, dtype=FLOAT64, order="C"))
        gradient: NDArray[np.float64] = numerical_gradient(objective, self.W, h, workers=workers)
        return gradient

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
        labels = as_labels(t, logits.shape)
        if labels.shape == logits.shape:
            labels = labels.argmax(-1)
        return float(np.mean((logits.argmax(-1) == labels) & ~np.isnan(logits).any(-1)))


SimpleNet = simpleNet
