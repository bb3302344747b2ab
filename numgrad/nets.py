"""The chapter's functions, and simpleNet, the book's net of one linear layer."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from . import reference
from .arguments import FLOAT64, describe, real_array, whole_number
from .gradient import numerical_gradient
from .points import private_copy

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from .loops import Floats
    from .objectives.incremental import IncrementalObjective

__all__ = ["SimpleNet", "cross_entropy_error", "function_1", "function_2", "simpleNet", "softmax"]

# Without unit: how far the sum of soft labels may be from 1, ten roundings of a float32.
# Fixed by test_what_is_no_label_is_refused in tests/test_functions.py.
SUM_ROUNDING = 1e-6


@functools.cache
def _layers() -> Any:
    """Return the module of the layer's compiled functions, whose import takes half a second, on first use."""
    from .objectives import layers

    return layers


def function_1(x: Any) -> Any:
    """Return ``0.01 x**2 + 0.1 x``, elementwise. Plain Python that `numba.njit` compiles as it stands.

    Examples
    --------
    >>> from numgrad import function_1
    >>> function_1(10.0)
    2.0
    """
    return 0.01 * x**2 + 0.1 * x


def function_2(x: Any) -> Any:
    """Return ``x[0]**2 + x[1]**2``. Plain Python that `numba.njit` compiles as it stands.

    Examples
    --------
    >>> from numgrad import function_2
    >>> function_2([3.0, 4.0])
    25.0
    """
    return x[0] ** 2 + x[1] ** 2


def softmax(x: ArrayLike) -> NDArray[np.float64]:
    """Return the softmax of `x` along its last axis.

    Parameters
    ----------
    x : array_like
        Logits: real, of at least one dimension, with at least one class on the last axis.

    Returns
    -------
    ndarray of float64
        Probabilities, of the shape of `x`; they sum to 1 along the last axis.

    Raises
    ------
    TypeError
        If `x` is not real.
    ValueError
        If `x` has no classes.

    Notes
    -----
    ``exp(x - max(x)) / sum(exp(x - max(x)))``: the shift changes nothing but the danger of overflow.

    References
    ----------
    Saitoh, K., *Deep Learning from Scratch*, O'Reilly, section 3.5.

    Examples
    --------
    >>> from numgrad import softmax
    >>> print(softmax([0.3, 2.9, 4.0]))
    [0.01821127 0.24519181 0.73659691]
    """
    logits = private_copy(real_array(x))
    if not logits.ndim or not logits.shape[-1]:
        raise ValueError(f"x must have at least one class on its last axis, got the shape {logits.shape}")
    return reference.softmax(logits)


def cross_entropy_error(y: ArrayLike, t: ArrayLike) -> float:
    """Return the mean cross-entropy of the probabilities `y` with the labels `t`.

    Parameters
    ----------
    y : array_like
        Probabilities, of shape (classes,) for one sample or (batch, classes).
    t : array_like
        One-hot rows or soft labels, of the shape of `y`, or integer labels, of shape () or (batch,). A one-hot row
        holds one 1 and zeros; soft labels are probabilities, and each row of them sums to 1.

    Returns
    -------
    float
        The loss, in nats.

    Raises
    ------
    TypeError
        If `y` or `t` is not real, or if labels are not integers.
    ValueError
        If the shapes do not fit, the batch is empty, a label is not in ``range(classes)``, or a row is no label.

    Notes
    -----
    ``-sum(t * log(y + 1e-7)) / batch``; the offset keeps the logarithm of 0 finite.

    References
    ----------
    Saitoh, K., *Deep Learning from Scratch*, O'Reilly, section 4.2.

    Examples
    --------
    >>> from numgrad import cross_entropy_error
    >>> cross_entropy_error([0.1, 0.05, 0.6, 0.0, 0.05, 0.1, 0.0, 0.1, 0.0, 0.0], 2)
    0.510825457099338
    """
    probabilities = real_array(y, "y")
    labels = _labels(t, probabilities.shape)
    if labels.shape == probabilities.shape:
        batch = probabilities.size // probabilities.shape[-1]
        return float(-np.sum(labels * np.log(probabilities + 1e-7)) / batch)
    return float(reference.cross_entropy_error(probabilities, labels))


def _labels(t: ArrayLike, shape: tuple[int, ...], *, checks_range: bool = True) -> NDArray[Any]:
    """Return the integer labels that `t` gives for logits or probabilities of `shape`, or soft labels of that shape.

    `loss` leaves the range to its kernel, which looks at each label anyway.
    """
    t = _real_or_boolean(t)
    if not 1 <= len(shape) <= 2 or 0 in shape:
        raise ValueError(f"y must have the shape (classes,) or (batch, classes) and not be empty, got {shape}")
    if t.shape == (1,) and len(shape) == 1 and (shape != (1,) or not t.any()):
        t = t.reshape(())  # the label of a single sample, as the book's code takes it too
    if t.shape == shape:
        return _labels_of_rows(t)
    if t.shape != shape[:-1]:
        rule = f"t must be one-hot or soft, of shape {shape}, or integer labels, of shape {shape[:-1]}"
        raise ValueError(f"{rule}, got {t.shape}")
    if t.dtype.kind in "fb":
        raise TypeError(f"labels must be integers, got {describe(t)}")
    if checks_range and (t.min() < 0 or t.max() >= shape[-1]):
        raise ValueError(f"labels must be in range({shape[-1]}), got {t.min()} to {t.max()}")
    return t


def _real_or_boolean(t: ArrayLike) -> NDArray[Any]:
    try:
        return real_array(t, "t")
    except TypeError:
        if isinstance(t, np.ndarray | list | tuple) and (rows := np.asarray(t)).dtype == np.bool_:
            return rows
        raise


def _labels_of_rows(t: NDArray[Any]) -> NDArray[Any]:
    """Return the labels of one-hot rows, or soft labels as float64; ValueError if a row is neither."""
    if t.ndim == 1:  # one sample, at each step of the chapter's loop: a list takes a third of the time
        elements = t.tolist()
        if elements.count(1) == 1 and elements.count(0) == len(elements) - 1:
            return np.asarray(elements.index(1))
    else:
        labels = t.argmax(-1)
        # Each row has a 1, and there are no other elements than zeros.
        ones = np.count_nonzero(t[np.arange(len(t)), labels] == 1)
        if ones == len(t) == np.count_nonzero(t):
            return np.asarray(labels)
    soft = np.asarray(t, dtype=FLOAT64)
    with np.errstate(invalid="ignore"):  # NaN and infinities, which are refused
        least, total = np.atleast_1d(soft.min(axis=-1)), np.atleast_1d(soft.sum(axis=-1))
    rounding = max(SUM_ROUNDING, 4 * float(np.finfo(t.dtype).eps) if t.dtype.kind == "f" else 0.0)
    wrong = np.flatnonzero(~((least >= 0.0) & (np.abs(total - 1.0) <= rounding)))
    if wrong.size:
        b = wrong[0]
        rule = "each row of t must be one-hot, or probabilities, not negative and with the sum 1"
        raise ValueError(f"{rule}; row {b} has the sum {total[b]:g} and the least element {least[b]:g}")
    return soft


def _batch_of(labels: NDArray[Any], logits: Floats) -> NDArray[Any]:
    """Return the labels as a batch, as the layer's kernels take them: integers, or soft labels of two dimensions."""
    if labels.shape == logits.shape:
        return np.atleast_2d(labels)
    return labels.reshape(-1).astype(np.intp, copy=False)


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
        labels = _labels(t, logits.shape, checks_range=False)
        rows = np.asarray(logits.reshape(-1, logits.shape[-1]), dtype=FLOAT64)
        loss = float(_layers().cross_entropy(rows, _batch_of(labels, logits)))
        if loss < 0.0:  # a label may be no column
            _labels(t, logits.shape)
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
        nothing in it cancels. `numgrad.objectives.layers` derives it.

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
        x, weights = self._operands(x)
        logits = np.empty((*x.shape[:-1], weights.shape[1]))
        labels = _batch_of(_labels(t, logits.shape), logits).copy()
        return _layers().softmax_objective(np.atleast_2d(private_copy(x)), labels, weights.shape)  # type: ignore[no-any-return]

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
        gradient: NDArray[np.float64] = numerical_gradient(self.objective(x, t), self.W, h, workers=workers)
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
        labels = _labels(t, logits.shape)
        if labels.shape == logits.shape:
            labels = labels.argmax(-1)
        return float(np.mean((logits.argmax(-1) == labels) & ~np.isnan(logits).any(-1)))


SimpleNet = simpleNet
