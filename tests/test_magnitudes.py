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
    numerical_diff,
    numerical_gradient,
    numerical_hessian,
    numerical_jacobian,
    propagate,
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


def rows_of(x):
    return np.exp(x[:, 0]) * x[:, 1] + np.sin(x[:, 2]) * (1.0 + x[:, 0]) + 2.0 * x[:, 0] ** 2


GRADIENTS = {
    "python": (coupled, {}),
    "compiled": (COMPILED, {}),
    "threads": (COMPILED, {"workers": 2}),
    "vectorized": (rows_of, {"vectorized": True}),
    "bounds": (coupled, {"bounds": (-0.5, 2.0)}),
}


@pytest.mark.parametrize("tiny", TINY)
@pytest.mark.parametrize("kind", GRADIENTS)
def test_a_gradient(kind, tiny):
    f, options = GRADIENTS[kind]
    for scheme, allowed in (("central", 3e-4), ("forward", 1e-3), ("central4", 1e-4)):
        for x in (np.array([tiny, 1.3, 0.7]), np.array([tiny, tiny, -0.4]), np.array([0.6, tiny, tiny])):
            before = x.tobytes()
            found = numerical_gradient(f, x, "auto", scheme=scheme, **options)
            assert np.abs(found - coupled_gradient(x)).max() < allowed
            chosen = numerical_gradient(f, x, "auto", scheme=scheme, coordinates=[2, 0], **options)
            assert np.array_equal(chosen, found[[2, 0]])
            assert x.tobytes() == before


@pytest.mark.parametrize("length", [1e-12, 1e-7, 1e-3])
@pytest.mark.parametrize("scheme", ["central", "forward"])
def test_a_gradient_of_what_is_small_itself(scheme, length):
    """It changes over the length of x, and beside a large number: rounding hides half of its digits."""
    x = length * np.array([0.3, -1.2, 2.0])
    found = numerical_gradient(lambda x: 3.0 + np.sum(np.sin(x / length)), x, "auto", scheme=scheme)
    assert np.abs(length * found - np.cos(x / length)).max() < 1e-6


def test_a_gradient_takes_no_more_where_nothing_is_lost():
    calls = []
    x = np.array([1e-3, 0.02, -0.5])
    numerical_gradient(lambda x: calls.append(1) or np.sum(np.cos(x + 1.0)), x, "auto")
    assert len(calls) == 2 * 3 + 1  # one shows how many digits f has


@pytest.mark.parametrize("tiny", TINY)
def test_a_jacobian(tiny):
    x = np.array([tiny, 1.3, 0.7])
    exact = np.array([coupled_gradient(x), [0.0, 2.0 * x[1], 0.0], [0.0, 0.0, 0.0]])

    def outputs(x):
        return np.array([coupled(x), x[1] ** 2, 5.0])

    assert np.abs(numerical_jacobian(outputs, x, "auto") - exact).max() < 1e-4
    sparse = numerical_jacobian(outputs, x, "auto", sparsity=exact != 0.0)
    assert np.abs(sparse.toarray() - exact).max() < 1e-4
    out = np.empty((3, 3))
    assert numerical_jacobian(outputs, x, "auto", out=out) is out
    assert np.abs(out - exact).max() < 1e-4
    turned = numerical_jacobian(lambda x: (1.0 - 2.0j) * outputs(x), x, "auto")
    assert np.abs(turned - (1.0 - 2.0j) * exact).max() < 3e-4


@pytest.mark.parametrize("tiny", TINY)
def test_a_covariance(tiny):
    slope = math.exp(2.0 * tiny)
    assert abs(propagate(np.exp, tiny, 1.0)[1] - slope) < 1e-4
    assert abs(propagate(np.exp, np.array([tiny, 1.0]), np.ones(2))[1][0] - slope) < 1e-4
    assert abs(propagate(lambda x, y: np.exp(x) * y, tiny, 1.0, 2.0, 0.0)[1] - 4.0 * slope) < 4e-4


@pytest.mark.parametrize("tiny", TINY)
@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("options", [{}, {"scheme": "forward"}, {"bounds": (-1.0, 9.0)}], ids=str)
def test_higher_derivatives_of_an_elementwise_f(options, order, tiny):
    allowed = 2e-2 if "scheme" in options else 3e-3
    for x in (tiny, np.array([tiny, 1.0, -tiny]), np.array([[tiny]])):
        found = numerical_diff(np.exp, x, "auto", order=order, **options)
        assert np.abs(found - np.exp(x)).max() < allowed


def test_of_an_order_without_a_digit_is_warned():
    for scheme, order in (("forward", 15), ("backward", 14), ("central", 30), ("central6", 19)):
        with pytest.warns(RuntimeWarning, match=f"no digit of the derivative of order {order} is right near 1:"):
            numerical_diff(np.exp, 1.0, order=order, scheme=scheme)
    for order in (2, 3, 4, 6):  # of a straight line rounding is all there is, and it is little
        assert abs(numerical_diff(lambda x: 3.0 * x + 7.0, np.array([1.0, 5.0]), order=order)).max() < 0.2


def test_where_another_coordinate_limits_the_step_the_same_points_confirm_nothing():
    rng, wrong = np.random.default_rng(5), 0
    for _ in range(300):
        lengths = np.array([1.0, 10.0 ** rng.uniform(-15, -3)])
        x, w, phase, v = rng.normal(size=2) * lengths, rng.normal(size=2) / lengths, rng.normal(), rng.normal(size=2)
        slope = np.cos(w @ x + phase)
        if abs(slope) > 0.1:
            found = directional_derivative(lambda x, w=w, phase=phase: np.sin(w @ x + phase) + 3.0, x, v, "auto")
            wrong += abs(found - slope * (w @ v)) > 1e-3 * abs(slope * (w @ v))
    assert not wrong


@pytest.mark.parametrize("tiny", [1e-150, 1e-170, 1e-300, 5e-324])
@pytest.mark.parametrize("scheme", ["central", "forward", "central6"])
def test_steps_whose_square_is_zero(scheme, tiny):
    x = np.array([tiny, 1.0, 2.0])
    found = numerical_hessian(lambda x: np.sum(np.exp(x)), x, scheme=scheme)
    assert np.abs(found - np.diag(np.exp(x))).max() < 3e-2
    assert np.abs(hessian_vector_product(lambda x: np.sum(np.exp(x)), x, np.ones(3)) - np.exp(x)).max() < 1e-4


class Stop(KeyboardInterrupt):
    pass


@pytest.mark.parametrize("scheme", ["central", "forward"])
@pytest.mark.parametrize("derivative", [numerical_gradient, numerical_jacobian, numerical_hessian])
def test_what_was_broken_off_has_no_step_that_is_too_short(derivative, scheme):
    x, options = np.array([1e-9, 2.0, 1e-11]), {"h": "auto", "scheme": scheme}
    whole = derivative(coupled, x, **options)
    for most in range(3, 40, 5):
        calls, out = [], np.full(whole.shape, 7.0)

        def late(x, calls=calls, most=most):
            calls.append(1)
            if len(calls) == most:
                raise Stop
            return coupled(x)

        try:
            derivative(late, x, out=out, **options)
        except Stop:
            done = np.isfinite(out)
            assert np.array_equal(out[done], whole[done])
            derivative(late, x, out=out, resume=True, **options)
        assert np.abs(out - whole).max() < 1e-3


def test_what_is_wrong_is_said_before_a_hessian_is_written():
    for options in ({"scheme": "complex"}, {"scheme": "x"}, {"bounds": (5, 9)}, {"h": -1.0}, {"workers": 0}):
        for gradient in (None, coupled_gradient):
            if options == {"scheme": "complex"} and gradient is not None:
                continue  # which has one
            out = np.full((3, 3), 7.0)
            with pytest.raises(ValueError, match=r"must|gives|h "):
                numerical_hessian(coupled, np.ones(3), out=out, gradient=gradient, **options)
            assert (out == 7.0).all()


def test_where_f_raises_at_longer_steps_the_first_result_stays():
    """A sparse Jacobian by such steps has no entries at all."""

    def outputs(x):
        if (x < 0.0).any():
            raise ValueError("outside")
        return 1.0 + x

    x = np.array([1e-7, 2e-7, 3e-7, 1.0])
    for options in ({}, {"sparsity": np.eye(4)}):
        found = numerical_jacobian(outputs, x, "auto", **options)
        assert np.isfinite(np.asarray(found.todense() if options else found)).all()
    numerical_gradient(lambda x: outputs(x).sum(), x, "auto")
    hessian_vector_product(lambda x: outputs(x).sum(), x, np.ones(4))


DERIVATIVES = {
    "gradient": lambda f, x: numerical_gradient(f, x, "auto"),
    "jacobian": lambda f, x: numerical_jacobian(f, x, "auto"),
    "hessian": numerical_hessian,
    "direction": lambda f, x: directional_derivative(f, x, np.ones(3), "auto"),
    "product": lambda f, x: hessian_vector_product(f, x, np.ones(3)),
}


@pytest.mark.parametrize("name", DERIVATIVES)
def test_what_is_raised_once_is_no_edge_of_f(name):
    """As a limit of time, which a signal handler raises in whatever evaluation it is."""
    calls, x = [], np.array([1e-11, 1.0, 1e-9])
    DERIVATIVES[name](lambda x: calls.append(1) or coupled(x), x.copy())
    for limit in range(len(calls)):
        seen = []

        def f(x, seen=seen, limit=limit):
            seen.append(1)
            if len(seen) == limit + 1:
                raise TimeoutError
            return coupled(x)

        with pytest.raises(TimeoutError):
            DERIVATIVES[name](f, x)


def test_engines_are_not_asked_for_longer_steps():
    tasks = []

    def engine(function, items):
        tasks.append(1)
        if len(tasks) > 1:
            raise RuntimeError("the workers are gone")
        return map(function, items)

    found = numerical_gradient(lambda x: 1.0 + x[0] + x[1], np.array([1e-13, 1.0]), "auto", workers=engine)
    assert np.allclose(found, 1.0)


def test_a_derivative_that_is_zero_stays_so_next_to_a_kink():
    for distance in (2e-6, 1e-4):
        found = numerical_gradient(lambda x, d=distance: 1.0 + max(x[0] - 0.05 - d, 0.0), np.array([0.05]), "auto")
        assert found == 0.0


def test_progress_is_that_of_the_work_itself():
    x, seen = np.array([1e-8, 1.0]), []
    directional_derivative(lambda x: np.sum(np.exp(x)), x, np.ones(2), "auto", progress=lambda *at: seen.append(at))
    assert seen == [(1, 1)]
