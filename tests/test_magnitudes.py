"""Derivatives at tiny coordinates where f is of the magnitude 1: no step is so short that rounding hides them."""

import math

import numpy as np
import pytest
from numba import njit

from numgrad import (
    Hessian,
    LayerObjective,
    SeparableObjective,
    directional_derivative,
    hessian_vector_product,
    numerical_hessian,
)

TINY = [0.0, 1e-300, 1e-30, -1e-12, 1e-9, -1e-6, 1e-4, 1e-3, 0.03]


# f, its gradient and its Hessian, of three coordinates: all bend within the magnitude 1.
def coupled(x):
    return math.exp(x[0]) * x[1] + math.sin(x[2]) * (1.0 + x[0]) + 2.0 * x[0] ** 2


def coupled_gradient(x):
    return np.array([
        math.exp(x[0]) * x[1] + math.sin(x[2]) + 4.0 * x[0],
        math.exp(x[0]),
        math.cos(x[2]) * (1.0 + x[0]),
    ])  # fmt: skip


def coupled_hessian(x):
    e, c, s = math.exp(x[0]), math.cos(x[2]), math.sin(x[2])
    return np.array([[e * x[1] + 4.0, e, c], [e, 0.0, 0.0], [c, 0.0, -s * (1.0 + x[0])]])


COMPILED = njit(lambda x: np.exp(x[0]) * x[1] + np.sin(x[2]) * (1.0 + x[0]) + 2.0 * x[0] ** 2)
DIRECTIONS = [np.ones(3), np.array([1.0, 0.0, 0.0]), np.array([-0.3, 2.0, 1.0]), np.array([0.0, 1.0, 0.0])]


@pytest.mark.parametrize("tiny", TINY)
@pytest.mark.parametrize("scheme", ["central", "forward", "central4"])
def test_a_derivative_along_a_direction(scheme, tiny):
    for x in ([tiny, 1.3, 0.7], [tiny, tiny, -0.4], [0.6, tiny, tiny]):
        x = np.array(x)
        for v in DIRECTIONS:
            found = directional_derivative(coupled, x, v, "auto", scheme=scheme)
            # Half of the digits that the step of the scheme leaves are enough for it.
            assert abs(found - coupled_gradient(x) @ v) < (1e-3 if scheme == "forward" else 1e-4)


def test_each_output_has_its_own_step():
    x, v = np.array([1e-11, 1.0, 2.0]), np.ones(3)

    def outputs(x):
        return np.array([1e11 * x[0], math.exp(x[1]), math.log(abs(x[0])), 3.0, x[2] - 2.0])

    found = directional_derivative(outputs, x, v, "auto")
    assert found == pytest.approx([1e11, math.e, 1e11, 0.0, 1.0], rel=1e-6)


def test_a_step_grows_only_as_far_as_f_is_smooth_and_defined():
    for x0 in (1e-14, 1e-12, 1e-8):
        x = np.array([x0, 1.0])
        for unit in (1e-3, 1e-6):  # f bends within it
            found = directional_derivative(lambda x, u=unit: math.sin(x[0] / u) + x[1], x, np.ones(2), "auto")
            assert found == pytest.approx(math.cos(x0 / unit) / unit + 1.0, rel=1e-4)
        found = directional_derivative(lambda x: math.log(x[0]) + x[1], x, np.ones(2), "auto")  # raises below 0
        assert found == pytest.approx(1.0 / x0, rel=1e-6)


def test_a_step_that_grows_stays_within_the_bounds():
    def f(x):
        assert (x >= 0.0).all()
        assert (x <= 1e-3).all()
        return float(np.exp(x).sum())

    for x in ([1e-7, 1e-9], [0.0, 1e-12], [1e-3, 1e-9]):
        found = directional_derivative(f, np.array(x), np.ones(2), "auto", bounds=(0.0, 1e-3))
        assert found == pytest.approx(np.exp(x).sum(), rel=1e-4)


@pytest.mark.parametrize("tiny", TINY)
@pytest.mark.parametrize("compiled", [False, True])
def test_products_with_a_hessian(compiled, tiny):
    f = COMPILED if compiled else coupled
    for x in ([tiny, 1.3, 0.7], [tiny, tiny, -0.4], [0.6, tiny, tiny]):
        x = np.array(x)
        before = x.tobytes()
        for v in DIRECTIONS:
            exact = coupled_hessian(x) @ v
            assert np.abs(hessian_vector_product(f, x, v) - exact).max() < 1e-3
            assert np.abs(hessian_vector_product(f, x, v, gradient=coupled_gradient) - exact).max() < 1e-4
        assert x.tobytes() == before


@pytest.mark.parametrize("tiny", TINY)
def test_hessians_of_gradients(tiny):
    for x in ([tiny, 1.3, 0.7], [tiny, tiny, -0.4], [0.6, tiny, tiny]):
        x = np.array(x)
        exact = coupled_hessian(x)
        for pattern in (None, exact != 0.0):
            found = numerical_hessian(coupled, x, gradient=coupled_gradient, sparsity=pattern)
            assert np.abs((found if pattern is None else found.toarray()) - exact).max() < 1e-4
        found = numerical_hessian(coupled, x.reshape(3, 1), gradient=lambda x: coupled_gradient(x[:, 0])[:, np.newaxis])
        assert np.abs(found.reshape(3, 3) - exact).max() < 1e-4


@njit
def element(z):
    return np.exp(z[0]) * (1.0 + z[1]) + np.cos(z[0] * z[1])


@pytest.mark.parametrize("tiny", TINY)
def test_objectives_that_give_their_own_gradients(tiny):
    x, v = np.array([tiny, 1.2, 2.0]), np.array([1.0, -0.5, 0.25])
    chain = SeparableObjective(element, [[0, 1], [1, 2]])
    exact = np.zeros((3, 3))
    for i, (a, b) in enumerate([x[:2], x[1:]]):
        e, c, s = math.exp(a), math.cos(a * b), math.sin(a * b)
        across = e - s - a * b * c
        exact[i : i + 2, i : i + 2] += [[e * (1 + b) - b * b * c, across], [across, -a * a * c]]
    with np.errstate(all="ignore"):  # the square of a step at 1e-300 is 0; what is compiled says nothing of it
        assert np.abs(numerical_hessian(chain, x).toarray() - exact).max() < 2e-3
    assert np.abs(hessian_vector_product(chain, x, v) - exact @ v).max() < 2e-3
    data = np.random.default_rng(0).normal(size=(20, 3))
    layer = LayerObjective(data, lambda z: np.log1p(np.exp(z[:, 0])))
    p = 1.0 / (1.0 + np.exp(-data @ x))
    exact = data.T @ (data * (p * (1 - p))[:, np.newaxis]) / 20
    weights = x[:, np.newaxis]
    assert np.abs(numerical_hessian(layer, weights).reshape(3, 3) - exact).max() < 1e-4
    assert np.abs(Hessian(layer).product(weights, v[:, np.newaxis])[:, 0] - exact @ v).max() < 1e-4


@pytest.mark.parametrize("returns", [np.float32, np.float64])
def test_points_of_single_precision(returns):
    def f(x):
        return returns(np.exp(x.astype(returns)).sum())

    for tiny in (1e-20, 1e-8, 1e-4, 0.02):
        x, v = np.array([tiny, 1.0, 2.0], np.float32), np.array([1.0, -0.5, 1.0])
        exact = np.exp(x.astype(float))
        # The rounding of points and values, 6e-8, is divided by steps that are some 6e-3 of them, or squares of 4e-2.
        assert directional_derivative(f, x, v, "auto") == pytest.approx(exact @ v, rel=1e-2)
        assert np.abs(hessian_vector_product(f, x, v) - exact * v).max() < 0.1
        found = numerical_hessian(f, x, gradient=lambda x: np.exp(x.astype(returns)))
        assert np.abs(found - np.diag(exact)).max() < 0.02


def test_evaluations_where_nothing_is_lost_and_where_it_is():
    calls = []

    def f(x):
        calls.append(0)
        return float(np.exp(x).sum())

    def slopes(x):
        calls.append(0)
        return np.exp(x)

    def count(run):
        calls.clear()
        run()
        return len(calls)

    v = np.ones(3)
    for x, lost in ((np.array([0.01, 1.0, 2.0]), False), (np.array([1e-9, 1.0, 2.0]), True)):
        assert count(lambda x=x: directional_derivative(f, x, v, "auto")) == 3 + 4 * lost
        assert count(lambda x=x: numerical_hessian(f, x, gradient=slopes)) == 7 + 4 * lost
        assert count(lambda x=x: hessian_vector_product(f, x, v, gradient=slopes)) == 2 + 4 * lost
        assert count(lambda x=x: hessian_vector_product(f, x, v)) == 13 + 24 * lost
        assert count(lambda x=x: directional_derivative(f, x, v, 1e-4)) == 3
    # A coordinate that does not move along v does not count.
    assert count(lambda: directional_derivative(f, np.array([1e-9, 1.0, 2.0]), [0.0, 1.0, 1.0], "auto")) == 3
