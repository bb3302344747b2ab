"""The functions of the chapter: two to differentiate, and the softmax with its loss."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import reference
from .arguments import describe
from .buffers import private_copy, real_array

__all__ = ["cross_entropy_error", "function_1", "function_2", "softmax"]


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
        One-hot rows, of the shape of `y` (their argmax is the label), or integer labels, of shape () or (batch,).

    Returns
    -------
    float
        The loss, in nats.

    Raises
    ------
    TypeError
        If `y` or `t` is not real, or if labels are not integers.
    ValueError
        If the shapes do not fit, the batch is empty, or a label is not in ``range(classes)``.

    Notes
    -----
    ``-sum(log(y_label + 1e-7)) / batch``; the offset keeps the logarithm of 0 finite.

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
    labels = as_labels(t, probabilities.shape)
    check_labels(labels, probabilities.shape[-1])
    return float(reference.cross_entropy_error(probabilities, labels))


def as_labels(t: ArrayLike, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return the integer labels that `t` gives for logits or probabilities of `shape`; their range is not checked."""
    t = real_array(t, "t")
    if not 1 <= len(shape) <= 2 or 0 in shape:
        raise ValueError(f"y must have the shape (classes,) or (batch, classes) and not be empty, got {shape}")
    if t.shape == shape:
        return np.asarray(t.argmax(-1))
    if t.shape == (1,) and len(shape) == 1:
        t = t.reshape(())  # the label of a single sample, as the book's code takes it too
    if t.shape != shape[:-1]:
        raise ValueError(
            f"t must be one-hot, of shape {shape}, or integer labels, of shape {shape[:-1]}, got {t.shape}"
        )
    if t.dtype.kind == "f":
        raise TypeError(f"labels must be integers, got {describe(t)}")
    return t


def check_labels(labels: NDArray[Any], classes: int) -> None:
    """Raise a ValueError unless all labels are columns."""
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"labels must be in range({classes}), got {labels.min()} to {labels.max()}")
