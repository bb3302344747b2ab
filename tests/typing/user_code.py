# pyright: strict
"""Code as a user writes it, for test_typing.py: an error is expected in each line that says so, and in no other."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import numgrad
from numgrad import Estimate, GradientCheck, Scheme, check_gradient, estimate_derivative, estimate_gradient, simpleNet

Floats = NDArray[np.float64]


def f(x: Floats) -> float:
    return float(np.sum(x**2))


def slope(x: Floats) -> Floats:
    return 2 * x


x: Floats = np.array([3.0, 4.0])

assert_type(numgrad.numerical_diff(np.exp, 1.0), float)
assert_type(numgrad.numerical_diff(np.exp, x, "auto", scheme="complex"), Floats)
numgrad.numerical_diff(np.exp, 1.0, scheme="centre")  # error: a scheme of this name does not exist

assert_type(numgrad.numerical_gradient(f, [3.0, 4.0]), Floats)
assert_type(numgrad.numerical_gradient(f, x, workers=2, coordinates=[0], bounds=(0.0, 10.0)), Floats)
numgrad.numerical_gradient(f, x, scheme=Scheme([0, 1], [-1, 1]))
numgrad.numerical_gradient(f, x, scheme="central5")  # error: a scheme of this name does not exist
numgrad.numerical_gradient(f, x, steps=1e-4)  # error: an argument of this name does not exist
numgrad.numerical_gradient(f(x), x)  # error: f is a number

assert_type(numgrad.gradient_descent(f, x, lr=0.1, callback=lambda k, x: None), NDArray[Any])
numgrad.gradient_descent(f, x, lr="0.1")  # error: the learning rate is a number

assert_type(estimate_derivative(np.exp, 1.0), Estimate[float])
value, error = estimate_derivative(np.exp, 1.0)
assert_type(value, float)
assert_type(error, float)
assert_type(estimate_gradient(f, x), Estimate[Floats])
assert_type(estimate_gradient(f, x).error, Floats)
assert_type(estimate_gradient(f, x).evaluations, int)

check = check_gradient(f, slope, x)
assert_type(check, GradientCheck)
assert_type(check.ok, bool)
print(check.okay)  # error: an attribute of this name does not exist

net = simpleNet((64, 10), rng=0)
assert_type(net.numerical_gradient(np.zeros((5, 64)), np.arange(5)), Floats)
net.objective(np.zeros(64))  # error: the labels are missing
Path(numgrad.__version__)

# What an optimizer wants of `jac` and `hess`.
jac: Callable[..., Floats] = numgrad.Gradient(f)
hess: Callable[..., Any] = numgrad.Hessian(f)
slopes: Floats = numgrad.Gradient(f)(x)
assert_type(numgrad.numerical_hessian(f, x, sparsity=None), Any)
numgrad.numerical_jacobean(slope, x)  # error: a function of this name does not exist
numgrad.gradient_descent({"W": x}, x)  # error: f is a dict
