"""Derivatives at tiny coordinates where f is of the magnitude 1: no step is so short that rounding hides them."""

import math
import warnings

import numpy as np
import pytest
from numba import njit

from numgrad import (
    Gradient,
    Hessian,
    LayerObjective,
    SeparableObjective,
    descent_path,
    directional_derivative,
    gradient_descent,
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
        # Six show the rounding of f next to x, where steps are short, and one more the gradient at x itself.
        # Curvature is less than rounding along so short a line, so that one more tells whether f has noise.
        assert count(lambda x=x: directional_derivative(f, x, v, "auto")) == 4 + (6 + 4) * lost
        assert count(lambda x=x: numerical_hessian(f, x, gradient=slopes)) == 7 + 6 * lost + 4  # for entries that are 0
        assert count(lambda x=x: hessian_vector_product(f, x, v, gradient=slopes)) == 9 + 4 * lost
        assert count(lambda x=x: hessian_vector_product(f, x, v)) == 19 + 24 * lost
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


@pytest.mark.parametrize("x", [[1e-9], [[0.02]], 1e-5], ids=str)
def test_a_coordinate_that_is_asked_for_several_times(x):
    def f(x):
        return 3.0 + np.sum(np.sin(x))

    for function in (f, njit()(f)) if x == [1e-9] else (f,):
        for options in ({}, {"scheme": "forward"}, {"bounds": (-0.5, 2.0)}):
            chosen = numerical_gradient(function, np.array(x), "auto", coordinates=[0, 0, 0], **options)
            assert chosen.tolist() == 3 * [numerical_gradient(function, np.array(x), "auto", **options).item()]
            assert chosen == pytest.approx(math.cos(np.sum(x)), rel=1e-4)


@pytest.mark.parametrize("length", [1e-12, 1e-7, 1e-3])
@pytest.mark.parametrize("scheme", ["central", "forward"])
def test_a_gradient_of_what_is_small_itself(scheme, length):
    """It changes over the length of x, and beside a large number: rounding hides half of its digits."""
    x = length * np.array([0.3, -1.2, 2.0])
    found = numerical_gradient(lambda x: 3.0 + np.sum(np.sin(x / length)), x, "auto", scheme=scheme)
    assert np.abs(length * found - np.cos(x / length)).max() < 1e-6


def test_where_steps_are_long_nothing_is_asked():
    calls = []
    for tiny, more in ((1e-5, 6), (1e-3, 0), (1.0, 0)):  # a step of 6e-11 is a tenth of a million spacings
        x = np.array([tiny, 0.02, -0.5])
        calls.clear()
        numerical_gradient(lambda x: calls.append(1) or np.sum(np.cos(x + 1.0)), x, "auto")
        # One shows how many digits f has, six what is rounded inside it, and one whether it has noise.
        assert len(calls) == 2 * 3 + 1 + more + 1


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
    for scheme, order in (("forward", 15), ("backward", 14), ("central", 30), ("central6", 40)):
        with pytest.warns(RuntimeWarning, match=f"no digit of the derivative of order {order} is right near 1:"):
            numerical_diff(np.exp, 1.0, order=order, scheme=scheme)
    for order in (2, 3, 4, 6):  # of a straight line rounding is all there is, and it is little
        assert abs(numerical_diff(lambda x: 3.0 * x + 7.0, np.array([1.0, 5.0]), order=order)).max() < 0.2


# Entire functions want long steps in high orders, those with a pole or a branch point near x short ones.
OF_ANY_ORDER = {
    "exp": (np.exp, lambda x, k: math.exp(x)),
    "sin": (np.sin, lambda x, k: math.sin(x + k * math.pi / 2.0)),
    "exp(-3 x)": (lambda x: np.exp(-3.0 * x), lambda x, k: (-3.0) ** k * math.exp(-3.0 * x)),
    "log": (np.log, lambda x, k: (-1.0) ** (k - 1) * math.factorial(k - 1) / x**k),
    "1 / x": (lambda x: 1.0 / x, lambda x, k: (-1.0) ** k * math.factorial(k) / x ** (k + 1)),
    "x ** 5.5": (lambda x: x**5.5, lambda x, k: math.prod(5.5 - j for j in range(k)) * x ** (5.5 - k)),
}


@pytest.mark.parametrize("order", range(5, 13))
@pytest.mark.parametrize("name", OF_ANY_ORDER)
def test_high_orders_have_digits_or_are_told(name, order):
    f, exact = OF_ANY_ORDER[name]
    for scheme in ("central", "central4", "forward"):
        for x in (0.4, 1.0, 2.3, np.array([0.7, 1.9, 40.0])):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                found = numerical_diff(f, x, "auto", order=order, scheme=scheme)
            assert all(f"of the derivative of order {order}" in str(warning.message) for warning in caught)
            for at, value in zip(np.atleast_1d(x).tolist(), np.atleast_1d(found).tolist(), strict=True):
                # An f that varies over another length than x or 1 has derivatives that are nothing beside its slope.
                size = max(abs(exact(at, order)), abs(exact(at, 1)) / max(at, 1.0) ** (order - 1))
                assert caught or abs(value - exact(at, order)) <= 4e-3 * size, (scheme, at)
            assert not caught or scheme == "forward" or order > 7 or np.min(x) < 1.0  # steps are relative to x


def test_high_orders_of_what_has_none_are_no_news():
    for f in (lambda x: 2.5 + 0.0 * x, lambda x: 3.0 * x - 7.0, lambda x: x**4 - x):
        for x in (1.0, np.array([-2.0, 0.0, 1.3])):
            for order in range(5, 13):
                with warnings.catch_warnings():
                    warnings.simplefilter("error")
                    assert np.abs(numerical_diff(f, x, order=order)).max() < 1e-3


def test_high_orders_ask_f_beyond_its_domain_in_silence():
    """Longer steps are tried too, of which those within the bounds and the domain count."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert numerical_diff(math.log, 1.0, order=6) == pytest.approx(-120.0, rel=1e-4)
        within = numerical_diff(np.log, np.array([1.0, 3.0]), order=5, bounds=(0.9, 9.0))
    assert within == pytest.approx(24.0 / np.array([1.0, 3.0]) ** 5, rel=1e-2)


@pytest.mark.parametrize("order", [6, 8])
@pytest.mark.parametrize("x", [0.3, 1.3, 4.0])
def test_high_orders_within_narrow_bounds(x, order):
    """Bounds cut several of the steps to one length, but for its last digit: of these nothing is extrapolated."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = numerical_diff(np.exp, x, order=order, bounds=(0.9 * x, 1.03 * x))
    assert caught or found == pytest.approx(math.exp(x), rel=1e-2)


def test_no_step_of_a_high_order_is_asked_twice():
    asked = []
    numerical_diff(lambda x: asked.append(x) or math.exp(x), 1.0, order=5)
    assert len(asked) == 7 * 6  # the points of 7 steps; an odd order leaves out x itself


def test_a_derivative_whose_rounding_overflows_is_returned():
    x = np.array([0.3, 1.0, 2.0], np.float32)
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("ignore")
        for unit in (1e300, 1e305):
            found = numerical_diff(lambda x: unit * np.sin(x), x, order=6, bounds=(x - 1e-3 * (x + 1.0), x))  # noqa: B023
            assert found.shape == x.shape


@pytest.mark.parametrize("size", [1e-320, 1e-300, 1e-200, 1.0, 1e200, 1e305])
@pytest.mark.parametrize("noise", [0.0, 1e-6])
def test_nothing_raises_next_to_the_ends_of_the_numbers_in_noise(size, noise):
    calls = []

    def f(x):
        calls.append(1)
        with np.errstate(all="ignore"):
            return float(np.tanh(x / size).sum()) + noise * math.sin(1e3 * len(calls))

    with np.errstate(all="ignore"):
        x, low, high = (size * np.array(part) for part in ([0.3, -1.2], [0.2, -1.3], [0.3, -1.1]))
    for run in (numerical_gradient, lambda f, *rest, **options: numerical_jacobian(lambda x: [f(x)], *rest, **options)):
        for options in ({}, {"scheme": "forward"}, {"bounds": (low, high)}):
            with warnings.catch_warnings(), np.errstate(all="raise"):
                warnings.simplefilter("ignore")
                assert run(f, x.copy(), "auto", **options).size == 2


@pytest.mark.parametrize("x", [2e-2, -4e-4, 3e-7, 1e-12])
@pytest.mark.parametrize(("scheme", "order"), [("forward", 3), ("forward", 5), ("backward", 3), ("central", 5)])
def test_of_longer_steps_without_a_digit_is_warned(scheme, order, x):
    exact = np.cos(x) * (-1) ** (order // 2)
    large = 3e5 if order < 5 else 3e9  # from the fifth on, the longest of several steps leave more
    for point in (x, np.array([2.0, x])):
        with pytest.warns(RuntimeWarning, match=f"no digit of the derivative of order {order} is right near"):
            found = numerical_diff(lambda t: large + np.sin(t), point, order=order, scheme=scheme)
        assert abs(np.ravel(found)[-1] - exact) > 0.5


@pytest.mark.parametrize("x", [2e-2, -4e-4, 3e-7, 1e-12, 0.0])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_of_longer_steps_that_are_good_is_not_warned(order, x):
    slope = 0.5 * np.sin(x + 0.8 + order * np.pi / 2)
    for scheme in ("central", "central4", "central6"):
        for point in (x, np.array([x, 1.0])):
            found = numerical_diff(lambda t: 2.0 + 0.5 * np.sin(t + 0.8), point, "auto", order=order, scheme=scheme)
            assert np.ravel(found)[0] == pytest.approx(slope, rel=2e-2)
            constant = numerical_diff(lambda t: 5.0 + 0.0 * t, point, "auto", order=order, scheme=scheme)
            assert not np.any(constant)
    numerical_diff(lambda t: np.sin(1e4 * t), x, "auto", order=order)  # which has no length of 1


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


# f that is small at 0 since terms cancel, which are rounded; its first two derivatives at 0; and their rounding.
CANCELLING = {
    "logarithm": (lambda t: np.log(2.0 + t) - math.log(2.0), 0.5, -0.25),
    "product": (lambda t: (t - 2.0) * (t - 3.0) - 6.0, -5.0, 2.0),
    "quotient": (lambda t: 3.0 / (3.0 - t) - 1.0 + t, 4.0 / 3.0, 2.0 / 9.0),
    "sine": (lambda t: np.sin(t + 0.5) - math.sin(0.5) + np.cosh(t) - 1.0, math.cos(0.5), 1.0 - math.sin(0.5)),
    "energies": (lambda t: 20.0 + np.exp(t) + t**2 - 21.0, 1.0, 3.0),
}


@pytest.mark.filterwarnings("ignore:about 3 digits of the Hessian")
@pytest.mark.parametrize("tiny", [1e-300, 1e-14, -1e-12, 3e-11, 1e-9, -1e-8, 1e-7, 2e-6])
@pytest.mark.parametrize("name", CANCELLING)
def test_f_that_is_small_since_terms_cancel(name, tiny):
    f, slope, curvature = CANCELLING[name]
    x, bounds = np.array([tiny, 1.5]), (-0.5, 2.0)

    def g(x):
        return float(f(x[0]) * x[1])

    for scheme in ("central", "forward", "central4"):
        found = [
            numerical_gradient(g, x, "auto", scheme=scheme)[0] / 1.5,
            numerical_gradient(g, x, "auto", scheme=scheme, bounds=bounds)[0] / 1.5,
            numerical_jacobian(lambda x: np.array([x[0], g(x)]), x, "auto", scheme=scheme)[1, 0] / 1.5,
            directional_derivative(g, x, [1.0, 0.0], "auto", scheme=scheme) / 1.5,
            numerical_diff(f, tiny, "auto", scheme=scheme),
        ]
        assert np.abs(np.array(found) - slope).max() < 2e-4 * abs(slope)  # four digits are enough
    found = [
        numerical_hessian(g, x)[0, 0] / 1.5,
        numerical_hessian(g, x, bounds=bounds)[0, 0] / 1.5,
        numerical_diff(f, np.array([tiny, -tiny]), order=2)[1],
        hessian_vector_product(g, x, [1.0, 0.0])[0] / 1.5,
    ]
    assert np.abs(np.array(found) - curvature).max() < 2e-3 * abs(slope)
    assert abs(propagate(f, tiny, 1.0)[1] - slope**2) < 4e-4 * slope**2


def test_single_precision_that_is_small_since_terms_cancel():
    def f(x):
        return np.float32(np.exp(np.float32(x[0])) - np.float32(1.0))

    for tiny in (1e-7, 1e-5, 3e-4):
        found = numerical_gradient(f, np.array([tiny]), "auto"), numerical_jacobian(f, np.array([tiny]), "auto")
        assert np.abs(np.array(found) - 1.0).max() < 1e-3


def test_what_is_no_rounding_is_not_taken_for_it():
    """f that has a form of its own on the scale of x, though it is small itself: the first steps are right."""
    forms = {
        "wave": (lambda t, u: np.sin(t / u), lambda t, u: math.cos(t / u) / u),
        "power": (lambda t, u: np.abs(t) ** 2.5, lambda t, u: 2.5 * abs(t) ** 1.5),
        "root": (lambda t, u: np.sqrt(np.abs(t)), lambda t, u: 0.5 * abs(t) ** -0.5),
        "kink": (lambda t, u: np.hypot(t, u), lambda t, u: t / math.hypot(t, u)),
        "both": (
            lambda t, u: 3e-3 * np.sin(t / u) + np.expm1(t),
            lambda t, u: 3e-3 * math.cos(t / u) / u + math.exp(t),
        ),
    }
    for f, exact in forms.values():
        for t in (1e-13, 3e-9, 1e-6, 2e-3):
            for options in ({}, {"bounds": (0.0, 1.0)}):
                slope, unit = exact(t, 0.7 * t), 0.7 * t
                found = numerical_gradient(lambda x, f=f, u=unit: f(x[0], u), np.array([t]), "auto", **options)
                assert found == pytest.approx(slope, rel=1e-5)


@pytest.mark.parametrize("returns", [np.float32, np.float64])
def test_each_entry_of_a_jacobian_is_judged(returns):
    """An output that is 0, or has a large slope, tells nothing of the rounding of the others."""
    rows = [
        lambda t: t,
        lambda t: 1e6 * t,
        lambda t: 0.0 * t,
        np.cosh,
        lambda t: 2.0 + 3.0 * t,
        lambda t: np.exp(2.0 * t),
    ]
    exact = np.array([1.0, 1e6, 0.0, 0.0, 3.0, 2.0])

    def outputs(x):
        return np.array([row(x[0]) for row in rows]).astype(returns) + returns(0.0) * returns(x[1])

    allowed = 2e-2 if returns is np.float32 else 1e-6
    for tiny in (1e-12, 1e-300, -1e-20):
        x = np.array([tiny, 2.0])
        for scheme in ("central", "forward", "central6"):
            out, pattern = np.empty((6, 2)), np.ones((6, 2))
            found = [
                numerical_jacobian(outputs, x, "auto", scheme=scheme)[:, 0],
                numerical_jacobian(outputs, x, "auto", scheme=scheme, out=out)[:, 0],
                numerical_jacobian(outputs, x, "auto", scheme=scheme, sparsity=pattern).toarray()[:, 0],
            ]
            error = np.abs(found - exact) / np.fmax(np.abs(exact), 1.0)
            assert error.max() < allowed * (10.0 if scheme == "forward" else 1.0)
    if returns is np.float64:
        covariance = propagate(lambda t: outputs([t, 2.0]), 1e-12, 1.0)[1]
        assert np.abs(covariance / np.fmax(np.outer(exact, exact), 1.0) - np.sign(np.outer(exact, exact))).max() < 1e-6


@pytest.mark.parametrize("scheme", ["central", "forward", "central4"])
@pytest.mark.parametrize("compiled", [False, True])
def test_all_functions_of_a_gradient_take_the_same_automatic_steps(compiled, scheme):
    f, options = COMPILED if compiled else coupled, {"scheme": scheme}
    for tiny in (1e-13, -1e-8, 1e-3, 1.0):
        x = np.array([tiny, 1.3, -tiny])
        exact = numerical_gradient(f, x, "auto", **options)
        for bounds in (None, (-1.5, 9.0)):
            gradient = Gradient(f, "auto", bounds=bounds, **options)
            value, slopes = gradient.value_and_gradient(x)
            assert value == f(x)
            assert slopes.tobytes() == gradient(x).tobytes()
        chosen = Gradient(f, "auto", coordinates=[2, 0], **options)
        assert chosen.value_and_gradient(x)[1].tobytes() == chosen(x).tobytes()
        ended = gradient_descent(f, x.copy(), 0.5, 1, h="auto", **options)
        assert ended.tobytes() == (x - 0.5 * exact).tobytes()
        assert descent_path(f, x.copy(), 0.5, 1, h="auto", **options)[1].tobytes() == ended.tobytes()
    moved = gradient_descent(
        lambda p: coupled(p["a"]), {"a": np.array([1e-13, 1.3, 1e-9])}, 0.5, 1, h="auto", **options
    )
    x = np.array([1e-13, 1.3, 1e-9])
    assert np.array_equal(moved["a"], x - 0.5 * numerical_gradient(coupled, x, "auto", **options))


def test_a_value_and_a_gradient_take_no_evaluation_twice():
    calls = []

    def f(x):
        calls.append(x.tobytes())
        return float(np.exp(x).sum())

    for x, n in ((np.array([1.0, 2.0]), 2), (np.array([1e-9, 2.0]), 2)):
        for scheme in ("central", "forward"):
            calls.clear()
            Gradient(f, "auto", scheme=scheme).value_and_gradient(x)
            assert calls.count(x.tobytes()) == 1
            assert len(calls) == (2 * n if scheme == "central" else n) + 1 + (x[0] < 0.1) * (
                6 + (4 if scheme == "central" else 2)
            )


def test_a_sum_of_elements_by_automatic_steps():
    chain = SeparableObjective(element, [[0, 1], [1, 2]])
    for tiny in (1e-13, 1e-9, -1e-5, 0.01):
        x = np.array([tiny, 0.7, tiny])
        exact = [
            math.exp(x[0]) * (1 + x[1]) - x[1] * math.sin(x[0] * x[1]),
            math.exp(x[0]) - x[0] * math.sin(x[0] * x[1]) + math.exp(x[1]) * (1 + x[2]) - x[2] * math.sin(x[1] * x[2]),
            math.exp(x[1]) - x[1] * math.sin(x[1] * x[2]),
        ]
        for scheme in ("central", "forward"):
            found = numerical_gradient(chain, x, "auto", scheme=scheme)
            assert np.abs(found - exact).max() < 3e-4  # four digits are enough
            assert Gradient(chain, "auto", scheme=scheme).value_and_gradient(x)[1].tobytes() == found.tobytes()


ROOMS = [(0.0, 9.0), (1e-12, 3e-8), (2e-10, 1e-7), (1e-9 / 3, np.inf)]


@pytest.mark.parametrize("room", ROOMS)
@pytest.mark.parametrize("form", ["logarithm", "root", "power"])
def test_within_bounds_the_same_points_confirm_nothing_and_a_diverging_ladder_neither(form, room):
    """f has no length but x, and rounding hides its derivatives by the first steps."""
    f, first, second = {
        "logarithm": (np.log, lambda t: 1.0 / t, lambda t: -1.0 / t**2),
        "root": (np.sqrt, lambda t: 0.5 * t**-0.5, lambda t: -0.25 * t**-1.5),
        "power": (lambda t: t**1.5, lambda t: 1.5 * t**0.5, lambda t: 0.75 * t**-0.5),
    }[form]
    t = 1e-9
    # Of which f changes by some 1e9 roundings over the length of x.
    large = float(f(t)) * 1e6 if form != "logarithm" else 1e7

    def g(x):
        assert np.all(room[0] <= x)
        assert np.all(x <= room[1])
        return f(x) + large

    options = {"bounds": room}
    for scheme in ("central", "forward", "central4"):
        options["scheme"] = scheme
        found = [
            numerical_gradient(lambda x: float(g(x[0])), np.array([t]), "auto", **options)[0],
            numerical_diff(g, t, "auto", **options),
            numerical_jacobian(g, np.array([t]), "auto", **options)[0, 0],
            directional_derivative(lambda x: float(g(x[0])), np.array([t]), [1.0], "auto", **options),
        ]
        assert np.array(found) == pytest.approx(first(t), rel=2e-2)
    del options["scheme"]
    assert numerical_diff(g, t, order=2, **options) == pytest.approx(second(t), rel=5e-2)
    assert numerical_hessian(lambda x: float(g(x[0])), np.array([t]), **options)[0, 0] == pytest.approx(
        second(t), rel=5e-2
    )


def test_a_hessian_next_to_a_bound_where_f_is_a_root():
    for t in (1e-8, 1e-10, 1e-14):
        with pytest.warns(RuntimeWarning, match=r"about [01] digits of the Hessian"):
            found = numerical_hessian(lambda x: np.sqrt(x[0]) + 2e6 * x[1], np.array([t, 3.0]), bounds=(0.0, 10.0))
        assert found[0, 0] == pytest.approx(-0.25 * t**-1.5, rel=0.5)


@pytest.mark.parametrize("scheme", ["central", "central4", "central6"])
def test_small_coordinates_on_a_bound(scheme):
    for constant in (0.0, 2.0, -30.0):
        for tiny in (3e-13, 2e-9, 4e-6, 7e-5):
            x = np.array([tiny, 1.2, 3.0 * tiny])

            def f(x, constant=constant):
                return float(constant + np.sin(x).sum() + x[0] ** 2 * x[1] + 2.0 * x[1] * x[2] + x[2] ** 2)

            for bounds in ((x.copy(), None), (None, x.copy())):
                found = numerical_hessian(f, x.copy(), scheme=scheme, bounds=bounds)
                expected = np.array([[2.4, 2.0 * tiny, 0.0], [2.0 * tiny, 0.0, 2.0], [0.0, 2.0, 2.0]])
                assert np.abs(found - expected + np.diag(np.sin(x))).max() < 2e-4
                found = numerical_gradient(f, x.copy(), "auto", scheme=scheme, bounds=bounds)
                expected = np.array([2.4 * tiny, tiny**2 + 6.0 * tiny, 2.4 + 6.0 * tiny])
                assert np.abs(found - expected - np.cos(x)).max() < 2e-5


def test_the_weights_of_rows_count_in_the_warning():
    for scheme, times in (("central", 12), ("central4", 53), ("central6", 192)):
        x = np.array([1.0])
        with pytest.warns(RuntimeWarning, match=f"the rounding of f, {times} eps"):
            numerical_hessian(lambda x: 1e7 + float(np.sin(x[0])), x, 2e-3, scheme=scheme, bounds=(x.copy(), None))


def test_zeros_under_a_large_constant():
    for large in (1e9, -5e9):
        with pytest.warns(RuntimeWarning, match="about 0 digits of the Hessian are right"):
            assert not numerical_hessian(lambda x, c=large: c + x[0] * x[1] - x[1] ** 2, np.ones(2)).any()
        with pytest.warns(RuntimeWarning, match="no digit of the derivative of order 2 is right near 1:"):
            numerical_diff(lambda t, c=large: c + t**2, 1.0, order=2)
    for scheme, order in (("forward", 3), ("central", 4)):
        with pytest.warns(RuntimeWarning, match=f"no digit of the derivative of order {order} is right"):
            numerical_diff(lambda t: 5.0 + np.sin(t / 60.0), 0.5, order=order, scheme=scheme)
    # A line has no curvature, nor has a constant.
    for f in (lambda t: 7.0 - 2.0 * t, lambda t: 1e9 + 0.0 * t, lambda t: 1e3 + 5.0 * t):
        for order in (2, 3):
            numerical_diff(f, 1.0, order=order)
        assert not numerical_hessian(lambda x, f=f: f(x[0]) + f(x[1]), np.array([1.0, 3.0])).any()


def test_higher_derivatives_that_are_zero_since_f_reads_integers():
    whole = np.array([2, 5, -3])
    for order in (1, 2, 3):
        with pytest.warns(RuntimeWarning, match="all differences are exactly zero"):
            assert not numerical_diff(lambda _: whole**3.0, whole, order=order).any()
    fixed = np.array([2.0, 5.0])
    fixed.flags.writeable = False
    with pytest.warns(RuntimeWarning, match="all differences are exactly zero"):
        numerical_diff(lambda _: fixed**2, fixed, order=2)
    assert not numerical_diff(lambda t: 4.0 * t, whole, order=2).any()  # it responds, and is a line


def test_a_product_of_which_rounding_hides_a_part():
    """The element of a coordinate that is not small is hidden too: the line is as short as a small one makes it."""
    rng, wrong = np.random.default_rng(8), 0
    for _ in range(300):
        x = np.array([10.0 ** rng.uniform(-8, -4), rng.normal()])
        w, phase, v = rng.normal(size=2) / [10.0, 2.0], rng.normal(), rng.normal(size=2)
        exact = -np.sin(w @ x + phase) * w * (w @ v)
        found = hessian_vector_product(lambda x, w=w, phase=phase: np.sin(w @ x + phase), x, v)
        wrong += np.abs(found - exact).max() > 0.02 * np.abs(w * (w @ v)).max()
    assert not wrong


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("unit", [1e-6, 1e-9, 1e-12])
@pytest.mark.parametrize("part", [3e-2, 1e-3, 5e-4, 1e-6])
def test_what_overflows_by_longer_steps_confirms_nothing(unit, part):
    """f changes over lengths far below 1, and is infinite at the steps of the first rungs."""
    x = np.array([part * unit])

    def f(x):
        return 1e3 + float(np.exp(x[0] / unit))

    exact = np.exp(part)
    first = [
        numerical_gradient(f, x, "auto")[0],
        numerical_jacobian(lambda x: [f(x)], x, "auto")[0, 0],
        directional_derivative(f, x, [1.0], "auto"),
        numerical_diff(lambda t: f([t]), x[0], "auto"),
    ]
    assert np.array(first) * unit == pytest.approx(exact, rel=1e-3)
    second = [
        numerical_hessian(f, x)[0, 0],
        hessian_vector_product(f, x, [1.0])[0],
        hessian_vector_product(f, x, [1.0], gradient=lambda x: np.exp(x / unit) / unit)[0],
        numerical_hessian(f, x, gradient=lambda x: np.exp(x / unit) / unit)[0, 0],
    ]
    assert np.array(second) * unit * unit == pytest.approx(exact, rel=2e-3)


@pytest.mark.parametrize("sparsity", [None, np.eye(3)])
@pytest.mark.parametrize(("scheme", "most"), [("central", 1e-5), ("central4", 5e-7), ("central6", 5e-7)])
def test_the_weights_of_one_sided_rows_count_in_jacobians(scheme, most, sparsity):
    """As noise of 1 they were up to 30 times too small: rounding was taken for digits."""
    if sparsity is not None:
        pytest.importorskip("scipy.sparse")
    rng = np.random.default_rng(0)
    for _ in range(20):
        x, a = 10.0 ** rng.uniform(-12, -3, 3), rng.uniform(0.5, 2.0, 3)
        found = numerical_jacobian(
            lambda x, a: 1.0 + np.sin(a * x) + x**2,
            x,
            "auto",
            args=(a,),
            scheme=scheme,
            bounds=(x, None),
            sparsity=sparsity,
        )
        found = found if sparsity is None else found.toarray()
        assert np.abs(found - np.diag(a * np.cos(a * x) + 2 * x)).max() <= most


@pytest.mark.parametrize("scheme", ["central", "central4", "central6"])
def test_a_direction_next_to_a_bound_counts_the_weights_of_its_row(scheme):
    rng, errors = np.random.default_rng(0), []
    for _ in range(200):
        x, w, v = 10.0 ** rng.uniform(-14.0, -1.0, 3), rng.normal(size=3), rng.normal(size=3)
        bounds = np.where(v >= 0.0, x, -np.inf), np.where(v < 0.0, x, np.inf)

        def f(x, w=w):
            return np.array([7.0 + np.sin(w @ x), np.exp(w @ x)])

        found = directional_derivative(f, x, v, "auto", scheme=scheme, bounds=bounds)
        errors.append(np.abs(found - w @ v * np.array([np.cos(w @ x), np.exp(w @ x)])).max() / np.abs(w * v).max())
    # A one-sided row of central6 amplifies the rounding of f by 49.
    assert max(errors) < {"central": 2e-6, "central4": 5e-7, "central6": 2e-7}[scheme]


def test_points_of_few_digits_and_several_magnitudes():
    rng, errors = np.random.default_rng(0), []
    for _ in range(120):
        n = rng.integers(2, 6)
        a, b = rng.normal(size=(n, n)), rng.normal(size=n)
        x = (rng.normal(size=n) * 10.0 ** rng.integers(-8, 1, size=n)).astype(np.float32)
        v = rng.normal(size=n) * 10.0 ** rng.integers(-3, 1, size=n)
        matrix = a + a.T - np.diag(b * b * np.cos(b * x.astype(float)))

        def slopes(x, a=a, b=b):
            return (a + a.T) @ x.astype(float) - b * np.sin(b * x.astype(float))

        along = directional_derivative(slopes, x, v, "auto")
        product = hessian_vector_product(None, x, v, gradient=slopes)
        scale = (np.abs(matrix) @ np.abs(v)).max()
        errors += [np.abs(found - matrix @ v).max() / scale for found in (along, product)]
    # What moves least by the step of the coordinate that moves most is stored in few digits all the same.
    assert max(errors) < 2e-2
    assert np.quantile(errors, 0.98) < 2e-3


@pytest.mark.parametrize("scheme", ["forward", "backward"])
def test_one_sided_differences_along_lines_of_several_magnitudes(scheme):
    rng, errors = np.random.default_rng(3), []
    for _ in range(400):
        w, phase, a = rng.uniform(0.3, 1.5, 6), rng.uniform(0, 6, 6), rng.normal(size=6)
        x, v = rng.uniform(0.5, 2, 6) * 10.0 ** rng.choice([0, 1, -3, -8], size=6), rng.normal(size=6)
        found = directional_derivative(
            lambda x, c=(w, phase, a): c[2] @ np.sin(c[0] * x + c[1]), x, v, "auto", scheme=scheme
        )
        errors.append(abs(found - a * w * np.cos(w * x + phase) @ v))
    assert max(errors) < 2e-3


def test_a_coordinate_that_a_short_move_leaves_where_it_is():
    x, v = np.array([1e-12, 1.0]), np.ones(2)
    exact = pytest.approx([1.0, 1.0], abs=1e-5)
    assert hessian_vector_product(None, x, v, gradient=lambda x: x - np.array([0.0, 1.0])) == exact
    assert hessian_vector_product(lambda x: 0.5 * x[0] ** 2 + 0.5 * (x[1] - 1.0) ** 2, x, v) == exact
    assert directional_derivative(lambda x: x - np.array([0.0, 1.0]), x, v, "auto") == exact


def test_what_f_returns_is_looked_at_as_an_array():
    x, calls = np.arange(1e5) - 5e4, []
    for f, count in ((np.sin, 2), (np.sign, 4), (lambda x: 0.0 * x, 4), (lambda x: np.sin(np.float32(x)) + 0.0 * x, 5)):
        calls.clear()
        numerical_diff(lambda x, f=f: calls.append(1) or f(x), x + 0.25, "auto", scheme="forward")
        assert len(calls) == count, f  # of what seems constant two more see whether f ignores x


@pytest.mark.parametrize("unit", [1e-9, 1e-6, 1.0])
def test_a_structure_of_one_unit_far_below_1_has_its_second_derivatives(unit):
    # A cube of atoms, some coordinates of which are far smaller than its edge: over longer steps there are no forces.
    places = np.indices((2, 2, 2)).reshape(3, -1).T * 1.15 + np.random.default_rng(3).normal(0.0, 0.05, (8, 3))
    places[0], places[5, 1] = [1e-3, -3e-4, 1e-2], 2e-3
    i, j = np.triu_indices(8, 1)

    def forces(x):
        apart = ((x[0::3] - x[0::3, np.newaxis]), (x[1::3] - x[1::3, np.newaxis]), (x[2::3] - x[2::3, np.newaxis]))
        apart = np.stack(apart, axis=-1)[j, i] / unit
        square = np.sum(apart**2, axis=1, keepdims=True)
        each, total = 12.0 * (square**-4.0 - square**-7.0) * apart, np.zeros((8, 3))
        np.add.at(total, i, each)
        np.subtract.at(total, j, each)
        return total.reshape(-1)

    x = unit * places.reshape(-1)
    # Central differences by steps of the edge have a truncation error of 1e-9.
    expected = numerical_jacobian(forces, x, 6e-6 * unit)
    for found in (numerical_jacobian(forces, x, "auto"), numerical_hessian(None, x, gradient=forces)):
        assert np.abs(found - expected).max() < 1e-7 * np.abs(expected).max()


# Of u = x / unit: f, its first and its second derivative. Each has a part that is bounded, or ends, over the length of
# x beside one that grows, which from afar is all that is left.
FORMS = {
    "spring and van der Waals": (
        lambda u: 0.5 * (u - 3.0) ** 2 - 1.0 / (6.0 * u),
        lambda u: u - 3.0 + 1.0 / (6.0 * u * u),
        lambda u: 1.0 - 1.0 / (3.0 * u**3),
    ),
    "lattice and trap": (
        lambda u: np.sin(u) + u * u,
        lambda u: np.cos(u) + 2.0 * u,
        lambda u: 2.0 - np.sin(u),
    ),
    "peak and line": (
        lambda u: np.exp(-u * u) + u,
        lambda u: 1.0 - 2.0 * u * np.exp(-u * u),
        lambda u: (4.0 * u * u - 2.0) * np.exp(-u * u),
    ),
    "saturation and leak": (
        lambda u: u / (1.0 + u) + 0.1 * u,
        lambda u: 1.0 / (1.0 + u) ** 2 + 0.1,
        lambda u: -2.0 / (1.0 + u) ** 3,
    ),
    "Lennard-Jones and trap": (
        lambda u: u**-12.0 - u**-6.0 + u * u,
        lambda u: -12.0 * u**-13.0 + 6.0 * u**-7.0 + 2.0 * u,
        lambda u: 156.0 * u**-14.0 - 42.0 * u**-8.0 + 2.0,
    ),
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("unit", [1e-5, 1e-9, 1e-12, 1e-20])
def test_a_form_of_the_length_of_x_is_no_rounding(name, unit):
    """Nor is it where energies are as small as lengths, nor beside other coordinates, nor at a bound."""
    form, slope, curvature = FORMS[name]
    for at in (0.31, 0.8, 1.3, 2.2):
        x, size = np.array([at * unit, 1.0]), unit if at > 1.0 else 1.0

        def f(x, size=size):
            return float(size * form(x[0] / unit) + size * x[1] ** 2)

        steep, bent = size * slope(at) / unit, size * curvature(at) / unit**2
        first = [numerical_gradient(f, x, "auto", scheme=scheme)[0] for scheme in ("central", "forward", "central4")]
        first += [numerical_gradient(f, x, "auto", bounds=(end, np.inf))[0] for end in (0.0, x)]
        first += [numerical_jacobian(lambda x, f=f: np.array([1.0, f(x)]), x, "auto")[1, 0]]
        first += [directional_derivative(f, x, [1.0, 0.0], "auto")]
        first += [numerical_diff(lambda t, size=size: size * form(t / unit), x[0], "auto")]
        assert np.abs(np.subtract(first, steep)).max() < 1e-4 * (abs(steep) + size / unit)
        second = [numerical_hessian(f, x)[0, 0], hessian_vector_product(f, x, np.array([1.0, 0.0]))[0]]
        second += [numerical_diff(lambda t, size=size: size * form(t / unit), x[0], order=2)]
        assert np.abs(np.subtract(second, bent)).max() < 1e-4 * (abs(bent) + size / unit**2)
