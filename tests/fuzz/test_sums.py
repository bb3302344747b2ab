"""Objectives that know what f is made of agree with the plain loop over all of it, to truncation and round-off."""

import numpy as np
from harness import fuzz, seconds  # noqa: F401
from problems import JIT
from test_rows import KINDS, assert_is_the_plain_loop, problem
from test_separable import EPS, pull

from numgrad import SeparableObjective, numerical_gradient, reference


@fuzz(60)
def test_rows_are_the_plain_loop(rng):
    batch, inputs, columns = rng.integers([1, 1, 2], [12, 9, 9]).tolist()
    x, W, t, rows = problem(int(rng.integers(2**32)), batch, inputs, columns)
    kind, h = rng.choice(KINDS), 10.0 ** rng.uniform(-5, -1.5)
    if np.abs(x).max() > 0.0:
        assert_is_the_plain_loop(x, W, rows[kind], (t,), h)


@fuzz(60 if JIT else 10)
def test_sums_of_elements_are_the_plain_loop(rng):
    n, elements, h = int(rng.integers(1, 12)), int(rng.integers(1, 20)), 10.0 ** rng.uniform(-5, -1)
    index = [rng.integers(0, n, rng.integers(1, 5)) for _ in range(elements)]
    weights = rng.standard_normal((elements, 2)) * 10.0 ** rng.integers(-3, 4)
    f, x = SeparableObjective(pull, index, weights), rng.standard_normal(n) * 10.0 ** rng.integers(-2, 3)
    before, sums = x.tobytes(), [np.abs(x[i]).sum() + len(i) * h for i in index]
    size = np.sum(np.abs(weights[:, 0]) * np.square(sums) + np.abs(weights[:, 1]))
    pairs = list(zip(index, weights, strict=True))
    expected = reference.numerical_gradient(lambda v: sum(pull(v[i], w) for i, w in pairs), x.copy(), h)
    # Roundings of a sum of all elements, of each of them, and of the coordinates.
    bar = (elements + 10) * EPS * size / h
    assert np.abs(numerical_gradient(f, x, h) - expected).max() <= bar
    assert numerical_gradient(f, x, h, workers=2).tobytes() == numerical_gradient(f, x, h).tobytes()
    assert x.tobytes() == before
