"""Gradient, the prepared callable, against the public function and the loop of the book, at n = 2.

A gradient is then the entry into compiled code, a small array for the result and the checks of x: what can be known
before the call is bound to the object.
"""

import statistics
import timeit

import numpy as np
from numba import njit

from numgrad import Gradient, numerical_gradient, reference

X = np.array([3.0, 4.0])


def python_2(x):
    return x[0] ** 2 + x[1] ** 2


compiled_2 = njit()(python_2)


def warm(gradient):
    """Call it until it has bound what it knows."""
    for _ in range(4):
        gradient(X)
    return gradient


def test_compiled_f_against_the_public_function(benchmark, promise, table):
    gradient = warm(Gradient(compiled_2))
    promise(
        "Gradient(f) of a compiled f, n = 2: time of the public function",
        lambda: numerical_gradient(compiled_2, X),
        lambda: gradient(X),
        inverse=True,
    )
    benchmark(lambda: gradient(X))
    if not benchmark.disabled:  # of a machine that is slower, 0.4 of the public function
        seconds = statistics.median(timeit.repeat(lambda: gradient(X), number=1000, repeat=101)) / 1000
        target = max(1.1, 0.4 / benchmark.extra_info["ratio"] * 1e6 * seconds)
        table("  the same, a call: 1.1 us, or 0.4 of the public function", 1e6 * seconds, "us", at_most=target)


def test_compiled_f_against_the_book(benchmark, promise):
    gradient = warm(Gradient(compiled_2))
    promise(
        "Gradient(f) of a compiled f, n = 2: the loop of the book",
        lambda: reference.numerical_gradient(python_2, X),
        lambda: gradient(X),
        at_least=2.5,
    )
    benchmark(lambda: gradient(X))


def test_python_f_against_the_book(benchmark, promise):
    gradient = Gradient(python_2)
    promise(
        "Gradient(f) of a Python f, n = 2: the loop of the book",
        lambda: reference.numerical_gradient(python_2, X),
        lambda: gradient(X),
        at_least=0.75,
    )
    benchmark(lambda: gradient(X))


def test_a_container_against_its_arrays(benchmark, promise):
    weights, biases = np.ones((50, 10)), np.ones(10)
    x, t = np.ones((20, 50)), np.zeros((20, 10))

    def loss(_):
        return np.sum((x @ weights + biases - t) ** 2)

    def each():
        return numerical_gradient(loss, weights), numerical_gradient(loss, biases)

    promise(
        "a dict of arrays, 510 coordinates: time of one array after the other",
        each,
        lambda: numerical_gradient(loss, {"W": weights, "b": biases}),
        inverse=True,
        at_most=1.2,
    )
    benchmark(lambda: numerical_gradient(loss, {"W": weights, "b": biases}))


def test_many_points_against_one_by_one(benchmark, promise):
    points = np.random.default_rng(0).normal(size=(1000, 2))
    promise(
        "gradients of a compiled f at 1,000 points of 2 coordinates: a call for each point",
        lambda: [numerical_gradient(compiled_2, point) for point in points],
        lambda: numerical_gradient(compiled_2, points, points_axis=0),
        at_least=10.0,
    )
    benchmark(lambda: numerical_gradient(compiled_2, points, points_axis=0))
