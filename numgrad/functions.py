"""The chapter's functions, and what they take for labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import reference
from .arguments import FLOAT64, describe, plain_numbers, real_array, refuse_masks, unmasked, widened
from .loops import Floats
from .points import largest, private_copy, smallest

__all__ = ["cross_entropy_error", "function_1", "function_2", "relu", "sigmoid", "softmax", "sum_squared_error"]

# Without unit: how far the sum of soft labels may be from 1, ten roundings of a float32.
# Fixed by test_what_is_no_label_is_refused in tests/test_functions.py.
SUM_ROUNDING = 1e-6
# The least x whose exponential of -x is finite. Fixed by test_the_functions_of_the_chapter in tests/test_networks.py.
_LOWEST = -709.0
# Classes up to which rows are so short that NumPy spends its time between them. Fixed by bench_networks.py.
_FEW = 32
# What underflows here is as good as zero, also for a caller who has NumPy raise of it.
_underflows = np.errstate(under="ignore")


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


@_underflows
def sigmoid(x: Any) -> Any:
    """Return ``1 / (1 + exp(-x))``, elementwise, without overflow.

    Examples
    --------
    >>> from numgrad import sigmoid
    >>> print(sigmoid([-1000.0, 0.0, 2.0]).round(6))
    [0.       0.5      0.880797]
    """
    values = np.asanyarray(_real_or_masked(x), dtype=FLOAT64)
    return 1.0 / (1.0 + np.exp(-np.clip(values, _LOWEST, None)))


def relu(x: Any) -> Any:
    """Return ``max(x, 0)``, elementwise.

    Examples
    --------
    >>> from numgrad import relu
    >>> print(relu([-1.0, 2.0]))
    [0. 2.]
    """
    return np.maximum(_real_or_masked(x), 0.0)


def _real_or_masked(x: Any) -> NDArray[Any]:
    """Return real numbers as an array, with the mask that they have."""
    if isinstance(x, np.ma.MaskedArray):
        real_array(x.data)  # for what it refuses
        return x
    return real_array(x)


@_underflows
def sum_squared_error(y: ArrayLike, t: ArrayLike) -> float:
    """Return ``sum((y - t)**2) / 2``.

    Examples
    --------
    >>> from numgrad import sum_squared_error
    >>> round(sum_squared_error([0.1, 0.6, 0.3], [0, 1, 0]), 9)
    0.13
    """
    y, t = widened(real_array(y, "y")), _real_or_boolean(t)
    if y.dtype.kind != "f":  # a small integer would overflow when it is squared
        y = y.astype(FLOAT64)
    if y.shape != t.shape:
        raise ValueError(f"y and t must have one shape, got {y.shape} and {t.shape}")
    return float(0.5 * np.sum((y - t) ** 2))


@_underflows
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


@_underflows
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
        If `y` or `t` is not real, or has masked elements, or if labels are not integers.
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
    probabilities = widened(plain_numbers(y, "y"))
    labels = labels_of(t, probabilities.shape)
    if labels.ndim == 2:
        return float(-np.sum(labels * np.log(probabilities + 1e-7)) / len(labels))
    return float(reference.cross_entropy_error(probabilities, labels))


def labels_of(t: ArrayLike, shape: tuple[int, ...], *, checks_range: bool = True) -> NDArray[Any]:
    """Return the labels of logits or probabilities of `shape`: a flat array of integers, or rows of soft labels.

    `loss` leaves the range to its kernel, which looks at each label anyway.
    """
    if t.__class__ is not np.ndarray or t.dtype.kind not in "fiu":
        t = unmasked(_real_or_boolean(t), "t")
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
    least, most = (smallest(t), largest(t)) if checks_range else (0, 0)
    if least < 0 or most >= shape[-1]:
        raise ValueError(f"labels must be in range({shape[-1]}), got {least} to {most}")
    return t.ravel().astype(np.intp, copy=False)


def _real_or_boolean(t: ArrayLike) -> NDArray[Any]:
    refuse_masks(t, "t")
    try:
        return real_array(t, "t")
    except TypeError:
        if isinstance(t, np.ndarray | list | tuple) and (rows := np.asarray(t)).dtype == np.bool_:
            return rows
        raise


def _labels_of_rows(t: NDArray[Any]) -> NDArray[Any]:
    """Return the labels of one-hot rows, or rows of soft labels as float64; ValueError if a row is neither."""
    if t.ndim == 1:  # one sample, at each step of the chapter's loop: a list takes a third of the time
        elements = t.tolist()
        if elements.count(1) == 1 and elements.count(0) == len(elements) - 1:
            return np.array([elements.index(1)])
    else:
        labels = t.argmax(-1)
        # Each row has a 1, and there are no other elements than zeros.
        ones = np.count_nonzero(t[np.arange(len(t)), labels] == 1)
        if ones == len(t) == np.count_nonzero(t):
            return np.asarray(labels)
    soft = np.atleast_2d(np.asarray(t, dtype=FLOAT64))
    with np.errstate(invalid="ignore"):  # NaN and infinities, which are refused
        least, total = soft.min(axis=1), soft.sum(axis=1)
    rounding = max(SUM_ROUNDING, 4 * float(np.finfo(t.dtype).eps) if t.dtype.kind == "f" else 0.0)
    wrong = np.flatnonzero(~((least >= 0.0) & (np.abs(total - 1.0) <= rounding)))
    if wrong.size:
        b = wrong[0]
        rule = "each row of t must be one-hot, or probabilities, not negative and with the sum 1"
        raise ValueError(f"{rule}; row {b} has the sum {total[b]:g} and the least element {least[b]:g}")
    return soft


def slopes_of(z: Floats, t: NDArray[Any]) -> Floats:
    """Return the gradient of the mean of `losses_of` with respect to the logits, the offset 1e-7 included."""
    p = reference.softmax(z)
    shares = -(t if t.ndim == 2 else np.eye(p.shape[1])[t]) / (p + 1e-7) / len(p)
    return np.asarray(p * (shares - np.sum(shares * p, axis=1, keepdims=True)))


@_underflows
def losses_of(z: Floats, t: NDArray[Any]) -> Floats:
    """Return the cross-entropy of each row of logits with its label, or with its soft labels."""
    # Of few classes, the maximum of each row takes NumPy a quarter of the time in the other order.
    top = z.max(axis=1) if z.shape[1] > _FEW else np.ascontiguousarray(z.T).max(axis=0)
    powers = z - top[:, np.newaxis]
    np.exp(powers, out=powers)
    total = powers @ np.ones(z.shape[1])
    if t.ndim == 1:
        return -np.log(powers[np.arange(len(z)), t] / total + 1e-7)  # type: ignore[no-any-return]
    if z.shape != t.shape:
        raise ValueError(f"W must have a column for each of {t.shape[1]} classes, got {z.shape[1]}")
    return -np.sum(t * np.log(powers / total[:, np.newaxis] + 1e-7), axis=1)  # type: ignore[no-any-return]
