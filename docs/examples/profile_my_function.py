"""Time the gradient of your own function by each route, and compare the results: ``python profile_my_function.py``.

Replace `f`, its batch form and `x` by yours.
"""

import timeit

import numpy as np
from numba import njit

from numgrad import estimate_gradient, numerical_gradient


def f(x):
    """Return a sum of x sin(x); yours takes an array and returns a number."""
    return np.sum(x * np.sin(x))


def batch_of_f(points):
    """Return f of each row."""
    return np.sum(points * np.sin(points), axis=1)


def main():
    """Print a row for each route: milliseconds a gradient, and the largest difference from the estimate."""
    x = np.random.default_rng(0).uniform(0.5, 2.0, 200)
    compiled = njit()(f)
    routes = {
        "Python f": lambda: numerical_gradient(f, x),
        "Python f, vectorized": lambda: numerical_gradient(batch_of_f, x, vectorized=True),
        "compiled f": lambda: numerical_gradient(compiled, x),
        "compiled f, 2 threads": lambda: numerical_gradient(compiled, x, workers=2),
        "compiled f, central4": lambda: numerical_gradient(compiled, x, "auto", scheme="central4"),
    }
    truth = estimate_gradient(f, x)
    print(f"{'route':24}{'ms':>8}{'difference':>13}   (the estimate's own error is {truth.error.max():.0e})")
    for name, gradient in routes.items():
        difference = np.abs(gradient() - truth.value).max()  # the first call compiles
        seconds = min(timeit.repeat(gradient, number=1, repeat=5))
        print(f"{name:24}{1e3 * seconds:8.2f}{difference:13.0e}")


if __name__ == "__main__":
    main()
