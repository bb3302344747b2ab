"""A right gradient passes every check, and a wrong one fails."""

import numpy as np
import pytest
from check_kinds import KINDS, wrong_ones
from harness import fuzz, seconds  # noqa: F401
from problems import same_without_jit
from test_checking import LOOKED_AT, STORED_AS, assert_is_not_evaluated_beyond_bounds

from numgrad import assert_gradient, check_gradient

pytestmark = same_without_jit


def random_problem(rng):
    """Return f, its gradient and a point: a smooth function of a matrix with terms of several sizes."""
    shape = tuple(rng.integers(2, 5, 2).tolist())
    a, b, c = rng.uniform(0.5, 2.0, (3, *shape)) * rng.choice([-1, 1], (3, *shape))

    def f(x):
        return float(np.sum(a * np.sin(b * x) + c * x**2))

    return f, lambda x: a * b * np.cos(b * x) + 2 * c * x, rng.uniform(-2, 2, shape)


def planted(rng, right):
    """Return a wrong gradient, and whether most of it is wrong."""
    kind, wrong = rng.integers(7), right.copy()
    i = tuple(rng.integers(0, right.shape))
    if kind == 0:
        return -wrong, True
    if kind == 1:
        return wrong * rng.choice([2.0, 0.5, 100.0, 0.01]), True
    if kind == 2:
        return wrong + 1.0, True
    if kind == 3:
        wrong[i] += 0.01 * max(1.0, abs(wrong[i]))
    elif kind == 4:
        wrong[i] = -wrong[i] if abs(wrong[i]) > 0.01 else 1.0
    elif kind == 5:
        wrong[i] = rng.choice([np.nan, np.inf, -np.inf])
    else:
        wrong[:, i[1]] = 0.0
        return (wrong, False) if np.abs(right[:, i[1]]).max() > 1e-3 else (-right, True)
    return wrong, False


@fuzz(60)
def test_right_gradients_pass(rng):
    f, gradient, x = random_problem(rng)
    assert_gradient(f, gradient, x)
    assert_gradient(f, gradient(x), x, samples=3, rng=rng)
    assert_gradient(f, gradient(x), x, directions=3, rng=rng)
    assert_gradient(lambda p: f(p["W"]), {"W": gradient(x)}, {"W": x})
    narrow = x.astype(np.float32)
    assert_gradient(f, gradient(narrow), narrow)


@fuzz(100)
def test_planted_errors_are_found(rng):
    f, gradient, x = random_problem(rng)
    wrong, is_large = planted(rng, gradient(x))
    ways = [{}, {"samples": x.size}] + [{"directions": 20, "rng": 0}] * (is_large or not np.isfinite(wrong).all())
    for options in ways:
        check = check_gradient(f, wrong, x, **options)
        assert not check.ok
        assert not np.isnan(check.max_relative_error)
        assert str(check)
    with pytest.raises(AssertionError):
        assert_gradient(lambda p: f(p["W"]), {"W": wrong}, {"W": x})


@fuzz(60)
def test_right_gradients_of_any_kind_pass_and_those_of_the_wrong_sign_fail(rng):
    kind = rng.choice([kind for kind in KINDS if kind not in {"float32 nets, std 0.01", "x of any scale"}])
    make, options = KINDS[kind]
    f, gradient, x = make(rng)
    assert check_gradient(f, gradient, x, rng=0, **options), kind
    wrong = dict(wrong_ones(rng, gradient))
    for mistake in ("sign", "zero", "shifted"):
        assert not check_gradient(f, wrong[mistake], x, rng=0, **options), (kind, mistake)


@fuzz(40)
def test_nothing_is_evaluated_beyond_the_bounds(rng):
    assert_is_not_evaluated_beyond_bounds(rng, rng.choice(list(LOOKED_AT)), rng.choice(STORED_AS))
