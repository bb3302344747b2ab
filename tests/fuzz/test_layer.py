"""The closed form of the softmax layer is the central difference, to the last digits, for any logits and step."""

import mpmath
import numpy as np
from harness import fuzz, seconds  # noqa: F401
from test_layers import losses_in_50_digits

from numgrad import numerical_gradient, simpleNet


@fuzz(40)
def test_differences_agree_with_50_digits(rng):
    batch, features, classes = rng.integers([1, 1, 2], [4, 4, 5])
    x = rng.standard_normal((batch, features)) * 10.0 ** rng.integers(-3, 8, (1, features))
    W = rng.standard_normal((features, classes)) * 10.0 ** rng.uniform(-2, 3.5) / np.abs(x).max(axis=0)[:, np.newaxis]
    t, h = rng.integers(0, classes, batch), 10.0 ** rng.uniform(-6, 0)
    net = simpleNet((features, classes))
    net.W[...] = W
    gradient = numerical_gradient(net.objective(x, t), net.W, h)
    i, j = int(rng.integers(features)), int(rng.integers(classes))
    with mpmath.workdps(100):
        plus, minus = losses_in_50_digits(W, x, t, i, j, h)
        error = abs(2 * mpmath.mpf(h) * mpmath.mpf(gradient[i, j]) - (plus - minus))
        # Roundings of the larger loss, and of the logits, by which a loss changes by its own size or by as much.
        size, logits = max(abs(plus), abs(minus)), float((np.abs(x) @ np.abs(W)).max())
        assert error <= 10 * 2.0**-52 * (size + min(size, 1) * logits) + 1e-300
