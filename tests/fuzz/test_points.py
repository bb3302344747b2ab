"""f is evaluated at no point outside the bounds, by any scheme and step, and linear functions come out exact."""

import numpy as np
from harness import fuzz, seconds  # noqa: F401

from numgrad import Scheme, numerical_gradient
from numgrad.schemes import SCHEMES

ONE_SIDED = Scheme((0, 1, 2), (-3, 4, -1), 2)
UNEVEN = Scheme((-0.5, 0.25, 3), (-13 / 7, 2, -1 / 7), 1)


def random_bounds(rng, x):
    """Return bounds around x, some of which x lies on, some of which leave little room."""
    room = 10.0 ** rng.uniform(-7, 1, (2, *x.shape)) * rng.choice([0.0, 1.0, np.inf], (2, *x.shape), p=[0.2, 0.6, 0.2])
    room = np.where(np.isnan(room), np.inf, room)
    both = (room == 0.0).all(axis=0)
    room[1][both] = 1.0
    return (x.astype(np.float64) - room[0]), (x.astype(np.float64) + room[1])


@fuzz(300)
def test_schemes_and_bounds_stay_within_the_interval(rng):
    x = (rng.standard_normal(4) * 10.0 ** rng.integers(-2, 3, 4)).astype(rng.choice([np.float64, np.float32]))
    low, high = random_bounds(rng, x)
    scheme = [*SCHEMES, ONE_SIDED][rng.integers(len(SCHEMES) + 1)]
    h = [1e-4, 1e-2, "auto", 10.0 ** rng.uniform(-5, 0, 4)][rng.integers(4)]
    weights, nearest = rng.standard_normal(4), [np.inf]
    values = x.astype(np.float64)
    vectorized = bool(rng.random() < 0.3)

    def f(point):
        point = point.astype(np.float64)
        assert (low <= point).all()
        assert (point <= high).all()
        moved = np.abs(point - values)
        nearest[0] = min(nearest[0], moved[moved > 0].min(initial=np.inf))
        return point @ weights

    try:
        gradient = numerical_gradient(f, x, h, scheme=scheme, bounds=(low, high), vectorized=vectorized)
    except ValueError as error:
        if "leave coordinate" not in str(error):
            raise
        return
    # Rounding of f and of the points, over the smallest step that was taken, times the weights of the widest scheme.
    size = np.abs(values) @ np.abs(weights) + 1.0
    lost = np.isnan(gradient)  # a step below the spacing of float32, which is warned of
    assert not lost.any() or x.dtype == np.float32
    assert np.abs(gradient - weights)[~lost].max(initial=0.0) <= 200 * 2.0**-52 * size / nearest[0] + 1e-3
