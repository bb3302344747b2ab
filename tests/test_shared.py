"""Loops that are compiled once for all f."""

import numpy as np
import pytest
from problems import needs_jit

from numgrad import estimate_derivative, estimate_gradient
from numgrad.estimate_loops import make_estimates

pytestmark = needs_jit

X = np.array([0.3, -1.7, 2.5])


def ints(x):
    return int(1e9 * x[0])


def float32(x):
    return np.float32(x[0] * x[1])


def one_element(x):
    return x[:1] * x[2]


def several_arguments(x, pair, name, is_twice, function):
    weights, power = pair
    total = (x * weights).sum() ** power if name == "sum" else 0.0
    return 2.0 * function(total) if is_twice else total


def half(x):
    return 0.5 * x


def fails(x):
    if x[1] != -1.7:
        raise ValueError("x[1] moved")
    return x[0]


@pytest.mark.parametrize(
    ("f", "x", "args"),
    [
        (ints, X, ()),
        (float32, X, ()),
        (several_arguments, np.arange(6.0).reshape(2, 3), ((X + 1.0, 2), "sum", True, half)),
    ],
)
def test_an_f_of_any_type_has_the_bits_of_the_plain_loop(f, x, args):
    from numba import njit

    compiled = [njit(value) if value is half else value for value in args]
    found, plain = estimate_gradient(njit(f), x, args=tuple(compiled)), estimate_gradient(f, x.copy(), args=args)
    for name in ("value", "error", "step", "converged"):
        assert getattr(found, name).tobytes() == getattr(plain, name).tobytes()
    assert found.evaluations == plain.evaluations


def test_what_f_raises_arrives():
    from numba import njit

    compiled = njit(fails)
    for _ in range(2):
        with pytest.raises(ValueError, match="moved") as caught:
            estimate_gradient(compiled, X)
        assert caught.value.args == ("x[1] moved",)
    assert estimate_gradient(compiled, X, coordinates=[0]).value[0] == pytest.approx(1.0)


def test_the_loop_is_compiled_once_for_all_f():
    from numba import njit

    from numgrad.objectives import compiling

    estimate_derivative(njit(half), 2.0)
    estimate_gradient(njit(one_element), X, coordinates=[1], bounds=(-3, 3), rtol=1e-3, atol=1)
    assert len(compiling._loop_of(make_estimates).overloads) == 1
