"""The chapter in plain NumPy, loop for loop.

This module is the specification: in float64 the package returns the same bits, the tests compare with it, and
the benchmarks are measured against it. It checks nothing and compiles nothing.

References
----------
Saitoh, K., *Deep Learning from Scratch*, O'Reilly, chapter 4 (numerical differentiation, gradient, simpleNet)
and chapter 3 (softmax).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "SimpleNet",
    "cross_entropy_error",
    "gradient_descent",
    "numerical_diff",
    "numerical_gradient",
    "numerical_jacobian",
    "softmax",
]


def numerical_diff(f: Callable[[Any], Any], x: Any, h: float = 1e-4) -> Any:
    """Return the central difference quotient of `f` at `x`, in units of f per unit of x."""
    return (f(x + h) - f(x - h)) / (2 * h)


def numerical_gradient(f: Callable[[Any], Any], x: NDArray[Any], h: float = 1e-4) -> NDArray[np.float64]:
    """Return the gradient of `f` at the floating array `x`, perturbing `x` in place, one coordinate at a time."""
    gradient = np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        value = x[index]
        x[index] = value + h
        plus = f(x)
        x[index] = value - h
        minus = f(x)
        gradient[index] = (plus - minus) / (2 * h)
        x[index] = value
    return gradient


def numerical_jacobian(f: Callable[[Any], Any], x: NDArray[Any], h: float = 1e-4) -> NDArray[np.float64]:
    """Return the Jacobian of `f` at the floating array `x`, of shape ``(*f(x).shape, *x.shape)``, as the gradient."""
    jacobian = np.zeros(np.shape(f(x)) + x.shape)
    for index in np.ndindex(x.shape):
        value = x[index]
        x[index] = value + h
        plus = np.array(f(x))
        x[index] = value - h
        minus = np.array(f(x))
        jacobian[(..., *index)] = (plus - minus) / (2 * h)
        x[index] = value
    return jacobian


def gradient_descent(
    f: Callable[[Any], Any], init_x: NDArray[Any], lr: float = 0.01, step_num: int = 100
) -> NDArray[Any]:
    """Move `init_x` in place `step_num` times by ``-lr`` times the gradient, and return it."""
    x = init_x
    for _ in range(step_num):
        x -= lr * numerical_gradient(f, x)
    return x


def softmax(x: NDArray[Any]) -> NDArray[np.float64]:
    """Return ``exp(x) / sum(exp(x))`` along the last axis, shifted by its maximum so that nothing overflows."""
    exponentials = np.exp(x - np.max(x, axis=-1, keepdims=True))
    return exponentials / np.sum(exponentials, axis=-1, keepdims=True)  # type: ignore[no-any-return]


def cross_entropy_error(y: NDArray[Any], t: NDArray[Any]) -> float:
    """Return the mean over the batch of ``-log(y_label + 1e-7)``; `t` holds one-hot rows or integer labels."""
    labels = t.argmax(axis=-1) if t.shape == y.shape else t
    y, labels = np.atleast_2d(y), np.atleast_1d(labels)
    return -np.sum(np.log(y[np.arange(len(y)), labels] + 1e-7)) / len(y)  # type: ignore[no-any-return]


class SimpleNet:
    """One linear layer without bias and a softmax cross-entropy loss; `W` has shape (features, classes)."""

    def __init__(self, shape: tuple[int, int] = (2, 3)) -> None:
        self.W = np.random.randn(*shape)

    def predict(self, x: NDArray[Any]) -> NDArray[np.float64]:
        """Return the logits ``x @ W``."""
        return np.dot(x, self.W)  # type: ignore[no-any-return]

    def loss(self, x: NDArray[Any], t: NDArray[Any]) -> float:
        """Return the softmax cross-entropy of the logits of `x` with the labels `t`."""
        return cross_entropy_error(softmax(self.predict(x)), t)
