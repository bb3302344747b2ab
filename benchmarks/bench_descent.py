"""Gradient descent, whole; and its update alone.

What bounds them: the descent is one compiled loop, in which each iteration waits for the last; the update reads x and
the gradient once and writes x once, where NumPy also writes and reads a temporary.
"""

import numpy as np
import pytest
from numba import njit

from numgrad import function_2, gradient_descent, reference
from numgrad.objectives.compiled import update

compiled_2 = njit()(function_2)
START = np.array([-3.0, 4.0])
LAST = START * 0.8**100

ROUTES = {
    "numgrad, compiled f": lambda x: gradient_descent(compiled_2, x, 0.1, 100),
    "numgrad, compiled f, callback": lambda x: gradient_descent(compiled_2, x, 0.1, 100, callback=lambda k, x: None),
    "numgrad, Python f": lambda x: gradient_descent(function_2, x, 0.1, 100),
    "reference, Python f": lambda x: reference.gradient_descent(function_2, x, 0.1, 100),
    "reference, compiled f": lambda x: reference.gradient_descent(compiled_2, x, 0.1, 100),
}


@pytest.mark.benchmark(group="descent, 100 iterations of function_2")
@pytest.mark.parametrize("route", ROUTES)
def test_descent(benchmark, exact, route):
    ROUTES[route](START.copy())  # compile
    # Each difference is off by eps * f / h, and the errors die out as the point does.
    exact(benchmark(lambda: ROUTES[route](START.copy())), LAST, 2.0**-52 * 25 / 1e-4)


@pytest.mark.benchmark(group="descent, targets")
def test_compiled_descent_against_the_reference(benchmark, promise, exact):
    exact(benchmark(lambda: gradient_descent(compiled_2, START.copy(), 0.1, 100)), LAST, 2.0**-52 * 25 / 1e-4)
    promise(
        "compiled function_2, 100 descent iterations, against the reference",
        lambda: reference.gradient_descent(function_2, START.copy(), 0.1, 100),
        lambda: gradient_descent(compiled_2, START.copy(), 0.1, 100),
        at_least=60,
    )


def numpy_update(lr, slope, x):
    x -= lr * slope


@pytest.mark.parametrize("n", [1_000_000, 10_000_000])
@pytest.mark.parametrize("route", [update, numpy_update], ids=["compiled", "NumPy"])
def test_update(benchmark, promise, n, route):
    benchmark.group = f"update, {n:.0e} elements"
    slope, x, y = np.full(n, 0.5), np.ones(n), np.ones(n)
    route(0.25, slope, x)
    assert (x == 0.875).all()
    benchmark.pedantic(route, (1e-9, slope, x), rounds=20, warmup_rounds=1)
    if route is update:
        promise(
            f"compiled update against x -= lr * g, {n:.0e} elements",
            lambda: numpy_update(1e-9, slope, y),
            lambda: update(1e-9, slope, x),
            at_least=1.8,
        )
