"""simpleNet: the book's net of one linear layer, whose loss is one BLAS product and one compiled loop."""

import functools
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arguments import whole_number
from .buffers import FLOAT64, real_array
from .functions import as_labels, check_labels

__all__ = ["SimpleNet", "simpleNet"]


@functools.cache
def _softmax_cross_entropy() -> Any:
    """Return the kernel, whose import costs half a second, when the first loss is asked for."""
    from .kernels import softmax_cross_entropy

    return softmax_cross_entropy


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
        x = real_array(x)
        shape = np.shape(self.W)
        if not 1 <= x.ndim <= 2 or len(shape) != 2 or x.shape[-1] != shape[0]:
            raise ValueError(
                f"x must have the shape (features,) or (batch, features) with the features of W, "
                f"got x of shape {x.shape} and W of shape {shape}"
            )
        logits: NDArray[np.float64] = np.dot(x, self.W)
        return logits

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
        rows = np.asarray(logits.reshape(-1, logits.shape[-1]), dtype=FLOAT64)
        loss = float(_softmax_cross_entropy()(rows, labels.reshape(-1).astype(np.intp, copy=False)))
        if loss < 0.0:
            check_labels(labels, logits.shape[-1])
        return loss

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
