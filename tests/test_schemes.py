"""Schemes, steps and bounds: orders, points, evaluation counts, and which objective takes what."""

import copy
import dataclasses
import itertools
import math
import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import PROBLEMS, compiled, compiled_once, interrupt_at, needs_jit, waves

from numgrad import (
    IncrementalObjective,
    Scheme,
    descent_path,
    directional_derivative,
    estimate_gradient,
    gradient_descent,
    numerical_diff,
    numerical_gradient,
    numerical_hessian,
    numerical_jacobian,
    reference,
    schemes,
    simpleNet,
)
from numgrad.arguments import imaginary_part
from numgrad.objectives.vectors import imaginary_parts

ORDERS = {"central": 2, "forward": 1, "backward": 1, "central4": 4, "central6": 6}
EPS = 2.0**-52


waves_gradient = PROBLEMS["waves"].gradient
ROUTES = {"python": waves, "compiled": compiled_once(waves)}
X = np.array([0.3, -1.1, 2.0])


@pytest.fixture(params=ROUTES)
def route(request):
    return ROUTES[request.param]


# --- schemes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ORDERS)
def test_the_error_falls_with_the_order_of_the_scheme(route, name):
    assert schemes.SCHEMES[name].order == ORDERS[name]
    steps = (0.2, 0.1) if ORDERS[name] > 2 else (0.02, 0.01)
    coarse, fine = (np.max(np.abs(numerical_gradient(route, X, h, scheme=name) - waves_gradient(X))) for h in steps)
    assert ORDERS[name] - 0.15 <= np.log2(coarse / fine) <= ORDERS[name] + 0.15


@pytest.mark.parametrize("h", [1e-4, 0.5, [1e-4]])
def test_the_general_loop_gives_the_bits_of_the_reference_for_the_central_scheme(route, h):
    central = Scheme((1, -1), (1, -1), 2)
    general = numerical_gradient(route, X, h, scheme=central)
    if isinstance(h, float):
        assert general.tobytes() == reference.numerical_gradient(route, X.copy(), h).tobytes()
    assert general.tobytes() == numerical_gradient(route, X, h).tobytes()
    assert np.abs(general - numerical_gradient(route, X, 1e-4 if isinstance(h, list) else h)).max() < 1e-9


@pytest.mark.parametrize(
    ("scheme", "count"), [("central", 6), ("forward", 4), ("backward", 4), ("central4", 12), ("central6", 18)]
)
def test_evaluations_are_counted_exactly(scheme, count):
    calls = []

    def f(x):
        calls.append(x.copy())
        return waves(x)

    numerical_gradient(f, X, scheme=scheme)
    assert len(calls) == count


def cubic(x):  # of operations that are rounded alike everywhere
    total = 0.0
    for value in x.flat:
        total += value * value * value - 2.0 * value
    return total


@pytest.mark.parametrize("scheme", [*ORDERS, Scheme((0, 1, 2), (-3, 4, -1), 2)], ids=str)
def test_both_routes_and_threads_and_the_elementwise_derivative_agree_bit_for_bit(scheme):
    steps, twin = (1e-4, "auto", [1e-3, 1e-4, 1e-5]), compiled_once(cubic)
    gradients = [numerical_gradient(f, X, h, scheme=scheme) for f in (cubic, twin) for h in steps]
    threaded = [numerical_gradient(twin, X, h, scheme=scheme, workers=3) for h in steps]
    assert np.array(gradients[:3]).tobytes() == np.array(gradients[3:]).tobytes() == np.array(threaded).tobytes()

    def square(x):
        return x * x

    for h in (1e-4, "auto"):
        elementwise = numerical_diff(square, X, h, scheme=scheme)
        one_by_one = [numerical_diff(square, float(value), h, scheme=scheme) for value in X]
        assert elementwise.tolist() == one_by_one
        assert np.allclose(elementwise, 2 * X, rtol=1e-3 if scheme in {"forward", "backward"} else 1e-6)


@given(
    nodes=st.lists(st.integers(-6, 6), min_size=2, max_size=8, unique=True),
    derivative=st.integers(1, 7),
    step=st.sampled_from([0.25, 1.0, 2.0]),
)
@settings(max_examples=100, deadline=None)
def test_weights_of_any_derivative_reproduce_all_polynomials_of_their_degree(nodes, derivative, step):
    derivative = min(derivative, len(nodes) - 1)
    scheme = schemes.scheme_on(tuple(nodes), derivative)
    assert scheme.derivative == derivative
    assert scheme.order >= len(nodes) - derivative
    for power in range(derivative + scheme.order):
        terms = [w * (o * step) ** power for o, w in zip(scheme.offsets, scheme.weights, strict=True)]
        found = math.fsum(terms) / (scheme.denominator * step**derivative)
        exact = math.factorial(derivative) if power == derivative else 0.0
        assert abs(found - exact) <= 4 * EPS * sum(map(abs, terms)) / (scheme.denominator * step**derivative)


@pytest.mark.parametrize("derivative", range(1, 6))
@pytest.mark.parametrize("name", ORDERS)
def test_the_named_schemes_have_counterparts_of_their_order_for_each_derivative(name, derivative):
    scheme = schemes.as_scheme(name, derivative)
    assert (scheme.derivative, scheme.order) == (derivative, ORDERS[name])
    if derivative == 1:
        assert scheme is schemes.SCHEMES[name]
    if name.startswith("central"):
        table = dict(zip(scheme.offsets, scheme.weights, strict=True))
        assert all(table[-offset] == (-1) ** derivative * weight for offset, weight in table.items())
        assert len(table) == 2 * ((derivative - 1 + ORDERS[name]) // 2) + (derivative + 1) % 2
    else:
        assert len(scheme.offsets) == derivative + 1
        assert min(scheme.offsets if name == "forward" else [-offset for offset in scheme.offsets]) == 0.0


# One-sided, rounding leaves no digit of the fourth at 0.3.
@pytest.mark.filterwarnings("ignore:no digit of the derivative of order 4")
@pytest.mark.parametrize("derivative", [2, 3, 4])
@pytest.mark.parametrize("name", ORDERS)
@pytest.mark.parametrize("bounds", [None, (X, X + 4.0)], ids=["free", "bounded"])
def test_the_error_of_a_higher_derivative_falls_with_the_order(name, derivative, bounds):
    order, power = ORDERS[name], ORDERS[name] + derivative

    def errors(h, x):
        options = {"order": derivative, "scheme": name, "bounds": bounds if np.ndim(x) else None}
        found = numerical_diff(lambda x, a: np.exp(a * x), x, h, args=(0.5,), **options)
        return np.abs(found - 0.5**derivative * np.exp(0.5 * np.asarray(x)))

    # The stand-ins near a bound are among the rows.
    scheme = schemes.as_scheme(name, derivative)
    offsets, weights, _, denominators, _ = schemes.linear_rule(scheme, power + 1, False, 0.0).data[2:]
    share = np.abs(weights) / denominators[:, np.newaxis]
    round_off = 8 * EPS * np.exp(3.0) * share.sum(axis=1).max()
    truncation = (share * np.abs(offsets) ** power).sum(axis=1).max() / math.factorial(power) * 0.5**power * np.exp(3.0)
    for x in (X, 0.7):
        assert order - 0.3 <= np.log2(np.max(errors(0.4, x)) / np.max(errors(0.2, x))) <= order + 1.2
        step = EPS ** (1 / power) * np.abs(x)
        assert (errors("auto", x) <= truncation * step**order + round_off / step**derivative).all()


@pytest.mark.parametrize(
    ("returns", "order", "scheme"),
    [
        *itertools.product([np.float32, ">f4"], [1, 2, 3], ["central", "central4"]),
        *itertools.product([np.float16], [1, 2], ["central", "central4"]),
        (np.float32, 1, "forward"),
        (np.float32, 2, "forward"),
    ],
)
def test_an_automatic_step_of_any_order_knows_how_many_digits_f_returns(returns, order, scheme):
    accuracy, eps = {"central": 2, "central4": 4, "forward": 1}[scheme], float(np.finfo(returns).eps)
    known = eps ** (accuracy / (accuracy + order))
    for x in (np.array([0.5, 1.0, 2.0]), np.array([[1.0], [2e-2]]), np.array(1.5), 2.0):
        found = numerical_diff(lambda t: np.exp(t).astype(returns), x, "auto", order=order, scheme=scheme)
        # Truncation and rounding are alike at this step, of some times the derivative each.
        assert np.abs(found / np.exp(x) - 1.0).max() < 20.0 * known


@pytest.mark.parametrize(("x", "said"), [(np.ones(2), "must be a rectangular array"), (1.0, "f must return one real")])
@pytest.mark.parametrize("options", [{}, {"h": "auto"}, {"order": 2}], ids=str)
def test_what_an_elementwise_f_must_not_return_is_named(x, said, options):
    with pytest.raises((TypeError, ValueError), match=said):
        numerical_diff(lambda _: [[1.0], [1.0, 2.0]], x, **options)


def test_the_default_step_of_higher_orders_is_automatic():
    for order in (2, 3, 4):
        default = numerical_diff(np.exp, X, order=order)
        assert default.tobytes() == numerical_diff(np.exp, X, "auto", order=order).tobytes()
        assert default.tobytes() != numerical_diff(np.exp, X, 1e-4, order=order).tobytes()
    assert numerical_diff(np.exp, X).tobytes() == numerical_diff(np.exp, X, 1e-4).tobytes()


def test_second_derivatives_of_the_logarithm_from_1e_100_to_1e12():
    x = np.array([1e-100, 1e-8, 1.0, 1e9, 1e12])
    # Round-off of 4 eps |log x| over the squared step, sqrt(eps) x**2.
    assert numerical_diff(np.log, x, order=2) * x**2 == pytest.approx(-np.ones(5), rel=4 * 230 * EPS**0.5)
    assert numerical_diff(math.log, 1e-8, order=2) == pytest.approx(-1e16, rel=1e-6)
    for narrow in (np.array([0.3, 2.0], np.float32), [1, 2]):
        assert numerical_diff(np.log, narrow, order=2) == pytest.approx(-1.0 / np.square(narrow), rel=1e-5)


def test_a_lost_step_of_a_second_derivative_is_warned_of():
    with pytest.warns(RuntimeWarning, match="the step h=1e-06"):
        assert np.isnan(numerical_diff(np.sqrt, 1e12, 1e-6, order=2))


def test_a_scheme_has_the_fields_of_its_signature_and_travels():
    scheme = Scheme((0, 1, 2), (-3, 4, -1), 2)
    assert numerical_diff(lambda x: x**2, 3.0, scheme=scheme) == pytest.approx(6.0)
    assert list(dataclasses.asdict(scheme)) == ["offsets", "weights", "denominator", "derivative", "order"]
    for other in (pickle.loads(pickle.dumps(scheme)), copy.deepcopy(scheme), dataclasses.replace(scheme)):
        assert (other, hash(other), repr(other)) == (scheme, hash(scheme), repr(scheme))


def test_a_scheme_serves_its_derivative_alone():
    second = Scheme((1, 0, -1), (1, -2, 1), derivative=2)
    assert numerical_diff(np.exp, X, order=2, scheme=second) == pytest.approx(np.exp(X), rel=1e-6)
    message = "scheme must be for the derivative 1, got one for the derivative 2; numerical_diff takes it with order=2"
    for call in (numerical_gradient, numerical_diff, gradient_descent, descent_path):
        with pytest.raises(ValueError, match=message):
            call(waves, X.copy(), scheme=second)
    with pytest.raises(ValueError, match="scheme must be for the derivative 2, got one for the derivative 1"):
        numerical_diff(np.exp, X, order=2, scheme=Scheme((1, -1), (1, -1), 2))
    with pytest.raises(ValueError, match="scheme='complex' gives the first derivative only, not number 3; use another"):
        numerical_diff(np.exp, X, order=3, scheme="complex")
    for order, error, message in (
        (0, ValueError, "order must be at least 1, got 0"),
        (1.5, TypeError, "order must be an"),
    ):
        with pytest.raises(error, match=message):
            numerical_diff(np.exp, X, order=order)
    for args in (2.0, None, [1.0]):
        with pytest.raises(TypeError, match="args must be a tuple"):
            numerical_diff(np.exp, X, args=args)


@pytest.mark.parametrize("scheme", [*ORDERS, "complex"])
def test_further_arguments_reach_an_elementwise_f(scheme):
    def power(x, a, b):
        return a * x**b

    for x in (0.7, X):
        assert numerical_diff(power, x, args=(2.0, 3), scheme=scheme) == pytest.approx(6.0 * np.square(x), rel=1e-3)
    assert numerical_diff(compiled(power), X, args=(2.0, 3), order=2) == pytest.approx(12.0 * X, rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (((1, 0, -1), (1, -2, 1), 2, 2), ValueError, r"reproduce x\*\*2 and all lower powers: .* / 2! is 1, but the"),
        (((0, 1, 2), (1, -3, 2), 1, 2), ValueError, "with lower powers that do not vanish"),
        (((1, -1), (1, -1), 2, 0), ValueError, "derivative must be at least 1, got 0"),
        (((1, -1), (1, -1), 2, 1.0), TypeError, "derivative must be an integer, got float 1.0"),
        (((1, -1), (1, -2)), ValueError, "must sum to zero, these sum to -1"),
        (((1, -1), (1, -1)), ValueError, r"reproduce a linear function: sum\(offsets \* weights\) is 2"),
        (((1, -1), (1, -1), 0), ValueError, "reproduce a linear function"),
        (((1, 1), (1, -1)), ValueError, "all different"),
        (((1, 0), (1,)), ValueError, "one weight for each offset"),
        ((("a", 0), (1, -1)), TypeError, "an offset must be a real number, got str 'a'"),
        (((1, math.inf), (1, -1)), ValueError, "an offset must be finite"),
    ],
)
def test_wrong_schemes_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        Scheme(*arguments)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"scheme": "nosuch"}, ValueError, "scheme must be one of central, forward, .*, got 'nosuch'"),
        ({"scheme": 2}, TypeError, "scheme must be a name or a numgrad.Scheme, got int 2"),
        ({"h": "small"}, TypeError, "h must be a real number"),
        ({"h": [1e-4, -1.0, 1e-4]}, ValueError, "h must be finite and positive in every element"),
        ({"h": [1e-4, 1e-4]}, ValueError, r"h of shape \(2,\) does not broadcast to x of shape \(3,\)"),
        ({"h": ["a"]}, TypeError, "h must hold real numbers"),
        ({"bounds": 3}, ValueError, r"bounds must be a pair \(low, high\), or a pair for each coordinate, got int 3"),
        ({"bounds": (0, 1, 2)}, ValueError, "bounds must be a pair"),
        ({"bounds": (0, [None, 1])}, TypeError, "a bound must hold real numbers"),
        ({"bounds": (0, "a")}, TypeError, "a bound must hold real numbers"),
        ({"bounds": (0.0, np.nan)}, ValueError, "bounds must not be NaN"),
        ({"bounds": ([0.0, 0.0], 1.0)}, ValueError, r"bounds do not broadcast to x of shape \(3,\)"),
        ({"bounds": (0.0, 5.0)}, ValueError, "coordinate 1 is -1.1, not in 0.0 to 5.0"),
        ({"bounds": (X, X)}, ValueError, "the bounds 0.3 to 0.3 leave coordinate 0 no room"),
    ],
)
def test_misuse_is_an_error_before_anything_is_evaluated(options, error, message):
    def never(x):
        raise AssertionError("evaluated")

    with pytest.raises(error, match=message):
        numerical_gradient(never, X, **options)
    with pytest.raises(error, match=message):
        numerical_diff(never, X, **options)


# --- steps -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["central", "central4", "central6", "complex"])
def test_automatic_steps_of_the_logarithm_from_1e_8_to_1e12(scheme):
    x = np.array([1e-8, 1e-3, 1.0, 1e9, 1e12])

    def log(x):
        assert np.all(np.real(x) > 0)
        return np.log(x)

    assert np.max(np.abs(numerical_diff(log, x, "auto", scheme=scheme) * x - 1)) < 1e-7
    gradient = numerical_gradient(lambda x: np.sum(log(x)), x, "auto", scheme=scheme)
    # Every other term's round-off weighs on the small ones' differences.
    assert np.max(np.abs(gradient * x - 1)) < 1e-5
    for value in x:
        assert abs(numerical_diff(log, float(value), "auto", scheme=scheme) * value - 1) < 1e-7


def test_automatic_steps_follow_the_precision_and_the_point():
    def steps(x, scheme="central"):
        return schemes.rule_at(x, "auto", scheme)[1].lengths

    assert steps(np.array([2.0, 0.0, -8.0])).tolist() == pytest.approx(
        [2 * EPS ** (1 / 3), EPS ** (1 / 3), 8 * EPS ** (1 / 3)]
    )
    assert steps(np.array([2.0], np.float32), "forward") == pytest.approx(2 * (2.0**-23) ** (1 / 2))
    for extreme in (0.0, 1e-320, 1e300, np.inf, np.nan):
        assert 0.0 < steps(np.array([extreme]))[0] < np.inf


@pytest.mark.parametrize("scheme", [*schemes.SCHEMES, "complex"])
@pytest.mark.parametrize("x", [1e-302, 1e-300, 1e-291, 1e-280, 1e280, 1e291, 1e300, 1e306, -1e306, -1e-300])
def test_automatic_steps_at_the_ends_of_the_numbers(scheme, x):
    """f has the length of x: a step of another length would give another slope."""
    with np.errstate(all="raise", under="ignore"):
        assert numerical_gradient(lambda p: p[0] * 0.5, [x], "auto", scheme=scheme)[0] == pytest.approx(0.5, rel=1e-6)
        slope = numerical_gradient(lambda p: np.sin(p[0] / x), [x], "auto", scheme=scheme)[0]
    assert slope * x == pytest.approx(math.cos(1.0), rel=1e-6)


@pytest.mark.parametrize("scheme", ["central", "forward", "backward", "central4"])
def test_automatic_steps_do_not_leave_the_numbers(scheme):
    for x in (np.finfo(np.float64).max, -np.finfo(np.float64).max):
        slope = numerical_gradient(lambda p, x=x: np.sqrt(p[0] / x), [x], "auto", scheme=scheme)[0]
        assert slope * x == pytest.approx(0.5, rel=1e-6)


@pytest.mark.parametrize("scheme", ORDERS)
def test_steps_of_each_coordinate_are_divided_by_the_stored_distance(route, scheme):
    x, h = np.array([1.0, 1e3, 1e6]), np.array([1e-4, 1e-7, 1e-5])
    f = compiled_once(linear) if route is ROUTES["compiled"] else linear
    gradient = numerical_gradient(f, x, h, scheme=scheme)
    # f of a point is exact, so only the few roundings of the weighted sum count, each relative to the largest term.
    assert np.max(np.abs(gradient - 2.0)) <= 4 * EPS * 1e6 * 2 / 1e-7
    one = numerical_gradient(f, np.array([1e6]), [1e-5], scheme=scheme)
    assert abs(one[0] - 2.0) <= 40 * EPS * 2e6 / 1e-5


def linear(x):
    total = 0.0
    for value in x.flat:
        total += 2.0 * value
    return total


@pytest.mark.parametrize(
    "derive",
    [
        lambda h: numerical_gradient(lambda x: float(x[1] ** 2), np.array([np.inf, 1.0]), h),
        lambda h: numerical_jacobian(lambda x: x[1:] ** 2, np.array([np.inf, 1e-9]), h),
        lambda h: numerical_jacobian(lambda x: x[1:] ** 2, np.array([np.inf, 1e-9]), h, out=np.empty((1, 2))),
        lambda h: numerical_jacobian(lambda x: x * 1.0, np.array([np.inf, 1e-9]), h, sparsity=np.eye(2)),
        lambda h: numerical_hessian(lambda x: float(x[1] ** 2), np.array([np.inf, 1.0]), h),
        lambda h: numerical_diff(lambda x: x * 1.0, np.array([np.inf, 1.0]), h),
        lambda h: directional_derivative(lambda x: x * 1.0, np.array([np.inf, 1.0]), [1.0, 0.0], h),
    ],
)
def test_an_automatic_step_is_no_cure_of_itself(derive):
    for h, cure in (("auto", "there; rescale x"), (1e-4, "; pass h='auto', or rescale x")):
        with pytest.warns(RuntimeWarning, match=r"^the step h") as caught, np.errstate(all="ignore"):
            derive(h)
        assert [str(warning.message).endswith(cure) for warning in caught] == [True]


def test_a_descent_by_automatic_steps_is_told_of_its_rate_alone():
    with pytest.warns(RuntimeWarning) as caught, np.errstate(all="ignore"):
        gradient_descent(lambda x: float(x[1] ** 2), np.array([np.inf, 1.0]), 0.5, 2, h="auto")
    assert str(caught[0].message).endswith("there; pass a smaller lr than 0.5 if the iterates grow, or rescale x")


def test_a_lost_step_warns(route):
    with pytest.warns(RuntimeWarning, match=r"the step h is below the spacing"):
        numerical_gradient(route, [1e9, 1.0, 1.0], [1e-9, 1e-4, 1e-4])


@pytest.mark.parametrize("scheme", ORDERS)
def test_narrow_arrays_are_divided_by_what_they_store(scheme):
    x = np.array([[0.3, -1.1], [2.0, 0.7]], np.float32)[:, ::-1]
    before = x.tobytes()
    gradient = numerical_gradient(lambda w: float(np.sum(x.astype(np.float64) ** 2)), x, 1e-3, scheme=scheme)
    assert x.tobytes() == before
    first_order = 1e-3 if ORDERS[scheme] == 1 else 0.0
    # Points are stored to 6e-8 of themselves, at distances of 1e-3; the centre of the two shifts by as much.
    assert np.max(np.abs(gradient - 2 * x)) <= 1.1 * first_order + 1e-5


# --- bounds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ORDERS)
@pytest.mark.parametrize("h", [0.01, "auto"])
def test_no_evaluation_leaves_the_bounds_and_the_order_is_kept(scheme, h):
    low, high = np.array([0.3, -2.0, 1.0, 0.0]), np.array([1.0, -1.1, 2.0, 1e-3])
    x = np.array([0.3, -1.1, 1.995, 5e-4])

    def f(x):
        assert (low <= x).all()
        assert (x <= high).all()
        return waves(x)

    error = np.abs(numerical_gradient(f, x, h, scheme=scheme, bounds=(low, high)) - waves_gradient(x))
    elementwise = numerical_diff(lambda x: np.sin(x) * np.exp(-0.5 * x), x, h, scheme=scheme, bounds=(low, high))
    assert np.max(np.abs(elementwise - waves_gradient(x))) < 10 * np.max(error) + 1e-7
    if h == 0.01:
        # One-sided stencils of the same order have up to some 10 times the constant; derivatives stay below 3.
        assert np.max(error) < 30 * 0.01 ** ORDERS[scheme] + 1e-9
    else:
        # Round-off: weights of up to 50 times a value of 3, which has a few roundings, over the step.
        round_off = 50 * 4 * EPS * 3 / np.abs(x)
        step = EPS ** (1 / (ORDERS[scheme] + 1))
        assert (error < 30 * step ** ORDERS[scheme] + round_off / step).all()


def test_inside_the_bounds_nothing_changes(route):
    gradient = numerical_gradient(route, X, bounds=(-5.0, np.inf))
    assert gradient.tobytes() == numerical_gradient(route, X).tobytes()


@pytest.mark.parametrize("bounds", [(0.5, None), (None, 0.5), (None, None)])
def test_none_is_a_bound_that_there_is_not(bounds):
    x, reals = (
        np.array([0.5, 0.5, 0.5]),
        tuple(np.inf * s if b is None else b for s, b in zip((-1, 1), bounds, strict=True)),
    )
    for derivative in (
        numerical_gradient,
        numerical_jacobian,
        lambda f, x, bounds: estimate_gradient(f, x, bounds=bounds).value,
    ):
        found, expected = (derivative(waves, x, bounds=each) for each in (bounds, reals))
        assert found.tobytes() == expected.tobytes()
    found, expected = (numerical_diff(np.exp, 0.5, order=2, bounds=each) for each in (bounds, reals))
    assert found == expected


class ArrayLike:
    """What is no array, but converts to one, as a Series or a tensor."""

    def __init__(self, values):
        self.values, self.ndim = np.asarray(values), np.ndim(values)

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype)


@pytest.mark.parametrize("scheme", [*ORDERS, "complex"])
def test_steps_are_any_array_like(scheme):
    steps = [1e-4, 2e-4, 3e-4]
    for derivative in (numerical_gradient, numerical_diff):
        f = waves if derivative is numerical_gradient else np.sin
        expected = derivative(f, X, np.array(steps), scheme=scheme)
        for h in (steps, ArrayLike(steps)):
            assert derivative(f, X, h, scheme=scheme).tobytes() == expected.tobytes()
    expected = numerical_gradient(np.sum, np.array([X, X]), np.array(steps), points_axis=0)
    assert numerical_gradient(np.sum, np.array([X, X]), ArrayLike(steps), points_axis=0).tobytes() == expected.tobytes()
    with pytest.raises(ValueError, match=r"h of shape \(2,\) does not broadcast"):
        numerical_gradient(waves, X, ArrayLike([1e-4, 1e-4]), scheme=scheme)
    with pytest.raises(TypeError, match="h must be a real number, got ArrayLike"):
        numerical_gradient(waves, X, ArrayLike(1e-4), scheme=scheme)


def test_compiled_and_python_agree_at_the_bounds():
    bounds = (X, X + 1)
    gradients = [numerical_gradient(f, X, 1e-3, scheme="central4", bounds=bounds) for f in ROUTES.values()]
    assert gradients[0].tobytes() == gradients[1].tobytes()
    assert np.max(np.abs(gradients[0] - waves_gradient(X))) < 1e-9


def test_what_is_stored_stays_within_the_bounds_in_float32_too():
    seen, x = [], np.array([1.0], np.float32)

    def f(x):
        seen.append(float(x[0]))
        return float(x.sum())

    for high in (1.0001, 1.00000012, 1.5):
        numerical_gradient(f, x, 1e-4, bounds=(0, high))
        assert max(seen) <= high
        seen.clear()


def test_a_centre_that_does_not_count_is_not_evaluated():
    scheme = Scheme((-1, 0, 1), (-1, 0, 1), 2)
    for f in ROUTES.values():
        assert np.max(np.abs(numerical_gradient(f, X, scheme=scheme) - numerical_gradient(f, X))) < 1e-10


def test_bounds_between_the_points_that_float32_can_store_are_refused():
    x = np.ones(1, np.float32)
    spacing = float(np.spacing(x[0]))
    for room, scheme in ((0.6, "central"), (0.6, "forward"), (0.9, "central4")):
        with pytest.raises(ValueError, match="leave coordinate 0 no room"):
            numerical_gradient(lambda x: float(x[0]), x, scheme=scheme, bounds=(1.0, 1.0 + room * spacing))
    assert numerical_gradient(lambda x: 3 * float(x[0]), x, bounds=(1.0, 1.0 + 4.2 * spacing)).tolist() == [3.0]


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ">f4"])
@pytest.mark.parametrize("scheme", ["central", "forward", "central4"])
def test_a_narrow_array_steps_up_to_a_bound_that_it_cannot_store(dtype, scheme):
    seen = []

    def f(x):
        seen.append(float(x[0]))
        return 3.0 * float(x[0])

    for low, high in ((0.5, 0.6), (0.4, 0.5), (0.5, 0.5123)):
        gradient = numerical_gradient(f, np.array([0.5], dtype), 0.1, scheme=scheme, bounds=(low, high))
        assert gradient == pytest.approx(3.0, rel=1e-12)
        assert low <= min(seen) <= max(seen) <= high
        seen.clear()


@pytest.mark.parametrize("route", ROUTES.values(), ids=ROUTES)
def test_a_coordinate_that_the_bounds_fix_may_be_left_out(route):
    low, high = np.where(np.arange(3) == 1, X, X - 1), np.where(np.arange(3) == 1, X, X + 1)
    with pytest.raises(ValueError, match="leave coordinate 1 no room"):
        numerical_gradient(route, X, bounds=(low, high), coordinates=[2, 1])
    some = numerical_gradient(route, X, bounds=(low, high), coordinates=[2, 0])
    assert some.tobytes() == numerical_gradient(route, X, coordinates=[2, 0], bounds=(-9, 9)).tobytes()


def test_the_complex_step_wants_x_within_the_bounds_too():
    with pytest.raises(ValueError, match="x must lie within the bounds"):
        numerical_gradient(lambda z: np.sum(z**2), np.array([5.0]), scheme="complex", bounds=(0, 1))
    assert numerical_gradient(
        lambda z: np.sum(z**2), np.array([1.0]), scheme="complex", bounds=(0, 1)
    ) == pytest.approx(2)


# --- the complex step ------------------------------------------------------------------------------------------------


def complex_waves(x):
    total = 0j
    for value in x.flat:
        total += np.sin(value) * np.exp(-0.5 * value)
    return total


@pytest.mark.parametrize("f", [complex_waves, compiled(complex_waves)], ids=ROUTES)
def test_the_complex_step_has_no_round_off(f):
    x = X.copy()
    gradient = numerical_gradient(f, x, "auto", scheme="complex")
    assert np.max(np.abs(gradient - waves_gradient(x))) < 8 * EPS
    assert x.tobytes() == X.tobytes()
    assert numerical_gradient(f, x, 1e-3, scheme="complex") == pytest.approx(waves_gradient(x), abs=1e-5)
    some = numerical_gradient(f, x, "auto", scheme="complex", coordinates=[2, 0])
    assert some.tobytes() == gradient[[2, 0]].tobytes()


def test_the_complex_step_takes_n_evaluations_of_an_array_like_x():
    shapes = []

    def f(z):
        shapes.append((z.shape, z.dtype))
        return np.sum(z**2)

    x = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    for further in (5, 0):  # f is asked once whether it reads x by another way, and whether it is analytic
        shapes.clear()
        assert numerical_gradient(f, x, "auto", scheme="complex") == pytest.approx(2 * x, rel=4 * EPS)
        assert shapes == [((2, 3), np.complex128)] * (further + 6)
    assert numerical_diff(lambda z: z**3, 2.0, "auto", scheme="complex") == 12.0


@pytest.mark.parametrize("f", [lambda z: abs(z[0]), lambda z: float(z[0].real), lambda z: None])
def test_an_f_that_drops_the_imaginary_part_is_refused(f):
    with pytest.raises(TypeError, match="keeps the imaginary part; use another scheme: it returned"):
        numerical_gradient(f, X, scheme="complex")


def test_an_elementwise_f_that_drops_the_imaginary_part_is_refused():
    with pytest.raises(TypeError, match="keeps the imaginary part"):
        numerical_diff(np.abs, X, scheme="complex")
    with pytest.raises(TypeError, match="keeps the imaginary part"):
        numerical_diff(abs, 1.0, scheme="complex")


def cubes_or(z, value):
    return np.where(z.real > 0.0, z * z * z, value)


def total_of_cubes_or(z, value):
    return np.sum(np.where(z.real > 0.0, z * z * z, value))


def product_and_total_of_cubes_or(z, value):
    return z[0] * z[1], np.sum(np.where(z.real > 0.0, z * z * z, value))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("wrap", [lambda f: f, compiled_once], ids=["python", "compiled"])
@pytest.mark.parametrize("h", [1e-20, "auto"])
def test_the_complex_step_is_nan_where_f_is_not_finite(value, wrap, h):
    many, one, both = map(wrap, (cubes_or, total_of_cubes_or, product_and_total_of_cubes_or))
    options = {"scheme": "complex", "args": (value,)}
    for x in (np.array([-0.5, 1.5, 3.0]), np.array([0.5, 1.5, 3.0])):
        inside = np.where(x > 0.0, 3.0 * x * x, np.nan)
        slopes = inside if (x > 0.0).all() else np.full(3, np.nan)
        jacobian = np.where(np.isnan(inside)[:, np.newaxis], np.nan, np.diag(inside))
        for found, expected in (
            (numerical_jacobian(many, x, h, **options), jacobian),
            (numerical_jacobian(many, x, h, **options, sparsity=np.eye(3)).toarray(), np.diag(inside)),
            (numerical_jacobian(both, x, h, **options), [[x[1], x[0], 0.0], slopes]),
            (numerical_gradient(one, x, h, **options), slopes),
            (numerical_diff(many, x, h, **options), inside),
            (directional_derivative(many, x, [1.0, 0.5, 0.0], h, **options), jacobian @ [1.0, 0.5, 0.0]),
        ):
            np.testing.assert_allclose(found, expected, rtol=4 * EPS)


@pytest.mark.parametrize("value", [complex(math.nan, 2.0), complex(-math.inf, 2.0), complex(-3.0, -0.0), 1 - 2j])
def test_an_imaginary_part_counts_beside_a_finite_real_part_alone(value):
    expected = value.imag if math.isfinite(value.real) else math.nan
    for kind in (complex, np.complex128, np.array, lambda number: np.array([number])):
        found = imaginary_part(kind(value))
        assert np.array_equal(found, expected, equal_nan=True)
        assert math.copysign(1.0, found) == math.copysign(1.0, expected) or math.isnan(expected)
    found = imaginary_parts(np.array([value, complex(-2.0, -0.0)]))
    assert np.array_equal(found, [expected, -0.0], equal_nan=True)
    assert np.signbit(found[1])
    assert imaginary_parts(value) == expected or math.isnan(expected)


@needs_jit
def test_a_compiled_f_that_drops_the_imaginary_part_is_refused():
    def modulus(x):
        return abs(x[0])

    with pytest.raises(TypeError, match="keeps the imaginary part; use another scheme: it returned float64"):
        numerical_gradient(compiled(modulus), X, scheme="complex")


# --- what else takes a scheme ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scheme", "order"), [("central4", 4), ("central6", 6)])
def test_an_incremental_objective_combines_its_central_differences(scheme, order):
    net, rng = simpleNet((4, 3), rng=0), np.random.default_rng(1)
    x, t = rng.standard_normal((5, 4)), np.array([0, 1, 2, 1, 0])
    objective = net.objective(x, t)
    found = numerical_gradient(objective, net.W, 0.1, scheme=scheme)
    plain = numerical_gradient(lambda w: net.loss(x, t), net.W, 0.1, scheme=scheme)
    assert np.max(np.abs(found - plain)) < 1e-12
    progress = []
    numerical_gradient(objective, net.W, scheme=scheme, progress=lambda *at: progress.append(at))
    assert progress[-1] == (12, 12)
    assert progress == sorted(progress)


@pytest.mark.parametrize(
    "options", [{"scheme": "forward"}, {"scheme": "complex"}, {"h": "auto"}, {"h": [1e-4]}, {"bounds": (-9, 9)}]
)
def test_an_incremental_objective_refuses_the_rest(options):
    net = simpleNet((2, 3))
    objective = net.objective([1.0, 2.0], 1)
    assert isinstance(objective, IncrementalObjective)
    with pytest.raises(ValueError, match="an incremental objective has central differences of one step h"):
        numerical_gradient(objective, net.W, **options)


def quartic(x):
    return (x[0] - 1.0) ** 4 + x[1] ** 2


@pytest.mark.parametrize("scheme", ["central4", "forward", Scheme((1, -1), (1, -1), 2)], ids=str)
@pytest.mark.parametrize("h", [1e-4, "auto"])
def test_descents_take_schemes(route, scheme, h):
    f = compiled_once(quartic) if route is ROUTES["compiled"] else quartic
    x = np.array([2.0, 1.0])
    assert gradient_descent(f, x, 0.05, 3, h=h, scheme=scheme) is x
    by_hand = np.array([2.0, 1.0])
    for _ in range(3):
        by_hand -= 0.05 * numerical_gradient(f, by_hand, h, scheme=scheme)
    assert x.tobytes() == by_hand.tobytes()
    assert descent_path(f, [2.0, 1.0], 0.05, 3, h=h, scheme=scheme)[-1].tobytes() == x.tobytes()


@pytest.mark.parametrize("scheme", ["central4", "complex"])
def test_memory_is_restored_after_an_exception_and_after_ctrl_c(scheme):
    x = np.array([[0.1, 0.2], [0.3, 0.4]], order="F")
    before = x.tobytes("A")

    def fails(x):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        numerical_gradient(fails, x, scheme=scheme)
    with pytest.raises(KeyboardInterrupt):
        numerical_gradient(interrupt_at(3), x, scheme="central4")
    assert x.tobytes("A") == before


# --- what a rewrite of the inside got wrong at first -----------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32, ">f4"])
@pytest.mark.parametrize("options", [{}, {"h": "auto"}, {"h": [1e-3, 1e-4]}, {"coordinates": [1, 0]}], ids=str)
def test_the_complex_step_of_narrow_arrays_is_right_and_silent(dtype, options):
    x = np.array([1.0, 3.0], dtype)
    gradient = numerical_gradient(lambda x: np.sum(x * x), x, scheme="complex", **options)
    assert gradient == pytest.approx([6.0, 2.0] if "coordinates" in options else [2.0, 6.0], rel=1e-12)


@pytest.mark.parametrize("coordinates", [[0], [0, 0, 0], []])
@pytest.mark.parametrize("h", [1e-4, "auto", [1e-4]])
def test_one_element_with_bounds_may_be_asked_for_at_will(coordinates, h):
    found = numerical_gradient(lambda x: x[0] ** 2, np.ones(1), h, coordinates=coordinates, bounds=(0, 2))
    assert found == pytest.approx(np.full(len(coordinates), 2.0), rel=1e-8)


@pytest.mark.parametrize(("scheme", "count"), [("forward", 2), ("central", 3), ("central4", 5), ("central6", 7)])
def test_elementwise_stand_ins_near_bounds_cost_an_evaluation_for_each_offset(scheme, count):
    calls, x = [], np.array([0.0, 0.5, 1.0, 0.5, 0.01])

    def square(x):
        calls.append(x.copy())
        return x**2

    found = numerical_diff(square, x, 1e-2, scheme=scheme, bounds=(0, 1))
    assert len(calls) == count
    assert np.max(np.abs(found - 2 * x)) <= (0.011 if scheme == "forward" else 1e-12)
    assert 0.0 <= np.min(calls) <= np.max(calls) <= 1.0


@pytest.mark.parametrize("scheme", [*ORDERS, "complex"])
def test_an_elementwise_derivative_keeps_the_kind_of_what_it_was_asked_at(scheme):
    for x in (np.array(0.5), np.float64(0.5), [0.5], np.array([[0.5]])):
        found = numerical_diff(lambda x: x * x, x, scheme=scheme)
        assert np.shape(found) == np.shape(x)
        assert np.ravel(found) == pytest.approx([1.0], rel=1e-3)
    assert numerical_diff(lambda x: x * x, np.empty((0, 3)), scheme=scheme).shape == (0, 3)
    assert numerical_diff(lambda x: x * x, np.empty((0, 3)), np.empty((0, 3)), scheme=scheme).shape == (0, 3)


# --- what is not analytic --------------------------------------------------------------------------------------------

W = np.array([1.0, 2.0, 3.0])
NOT_ANALYTIC = {
    "vdot": lambda z: np.vdot(z, W) + 0j,
    "conj": lambda z: z.conj() @ np.diag(W) @ z,
    "a term with abs": lambda z: np.sum(z**2) + np.sum(abs(z)),
    "real part": lambda z: np.sum(z**2) + np.sum(z.real),
    "norm": lambda z: np.linalg.norm(z) + 0 * z[0],
    "cholesky": lambda z: np.linalg.cholesky(np.diag(z**2 + 1))[0, 0],
    "cov": lambda z: np.cov(z, z)[0, 1] + 0j,
}
ANALYTIC = {
    "exp": lambda z: np.sum(np.exp(z) * W),
    "far below its scale": lambda z: np.sum(np.sin(1e6 * z)),
    "far above its scale": lambda z: 1e14 + np.sum(np.sin(1e-9 * z)),
    "constant": lambda z: 0 * z.sum() + 5.0,
    "real by a comparison": lambda z: np.where(z.real > 0, z**2, -z).sum(),
    "nan beside x": lambda z: z.sum() if z[0].real == 1.0 else np.nan * z.sum(),
}


@pytest.mark.parametrize("x", [np.array([1.0, -2.0, 3.0]), np.array([1e-2, 2e4, -0.5])])
@pytest.mark.parametrize("f", NOT_ANALYTIC.values(), ids=NOT_ANALYTIC)
@pytest.mark.parametrize("options", [{}, {"coordinates": [2, 0, 1, 1]}, {"bounds": (-1e5, 1e5)}, {"h": 1e-8}])
def test_an_f_that_is_not_analytic_is_refused(f, x, options):
    before = x.tobytes()
    with pytest.raises(ValueError, match="scheme='complex' needs an analytic f: along a random line its slope is"):
        numerical_gradient(f, x, **{"h": "auto", "scheme": "complex"} | options)
    with pytest.raises(ValueError, match="needs an analytic f"):
        gradient_descent(f, x.copy(), scheme="complex")
    assert x.tobytes() == before


@pytest.mark.parametrize("f", ANALYTIC.values(), ids=ANALYTIC)
def test_an_analytic_f_is_not_accused(f):
    x = np.array([1.0, -2.0, 3.0])
    exact = [(f(x + 1e-30j * e) / 1e-30).imag for e in np.eye(3)]
    assert numerical_gradient(f, x, "auto", scheme="complex") == pytest.approx(np.array(exact))


@needs_jit
def test_a_compiled_or_elementwise_f_that_is_not_analytic_is_refused():
    from numba import njit

    with pytest.raises(ValueError, match="needs an analytic f"):
        numerical_gradient(njit(lambda z: np.sum(z * np.conj(z))), X, "auto", scheme="complex")
    for x in (2.0, X):
        with pytest.raises(ValueError, match="needs an analytic f"):
            numerical_diff(lambda z: z.conjugate(), x, "auto", scheme="complex")


def test_f_is_asked_within_the_bounds():
    def f(z):
        assert (z.real >= 0.0).all()
        return np.sqrt(z).sum()

    x = np.array([0.0, 1e-3, 1.0])
    gradient = numerical_gradient(f, x, 1e-20, scheme="complex", bounds=(0, 2), coordinates=[1, 2])
    assert gradient == pytest.approx(0.5 / np.sqrt(x[1:]))


# --- bounds as SciPy has them ----------------------------------------------------------------------------------------


def reached(bounds, x):
    """Return the least and the largest points at which f was evaluated."""
    seen = []
    numerical_gradient(lambda w: seen.append(w.copy()) or w.sum(), x, 0.25, bounds=bounds)
    return np.min(seen, axis=0).tolist(), np.max(seen, axis=0).tolist()


def test_pairs_and_scipys_object_mean_what_low_and_high_mean():
    Bounds = pytest.importorskip("scipy.optimize").Bounds
    x = np.array([1.0, 5.0, 2.0])
    low, high = [1.0, -np.inf, 2.0], [np.inf, 5.0, 4.0]
    expected = reached((low, high), x)
    assert expected[0][0] == 1.0
    assert expected[1][1] == 5.0
    for bounds in (
        Bounds(low, high),
        [(1.0, None), (None, 5.0), (2.0, 4.0)],
        [(1.0, np.inf), (-np.inf, 5.0), (2.0, 4.0)],
        np.array([low, high]).T,
    ):
        assert reached(bounds, x) == expected


def test_two_pairs_are_read_in_the_one_way_that_fits_or_refused():
    x = np.array([1.0, 5.0])
    assert reached([(0.5, 2), (None, 5)], x) == reached((np.array([0.5, -np.inf]), np.array([2.0, 5.0])), x)
    y = x[::-1].copy()
    assert reached([(4, 5.25), (1, 2)], y) == reached((np.array([4, 1]), np.array([5.25, 2])), y)
    assert reached([(0, 0), (9, 9)], x) == reached((0, 9), x)
    for bounds in ([(0.5, 2), (4, 6)], ([0.5, 2], [4, 6]), np.array([[0.5, 2], [4, 6]])):
        with pytest.raises(ValueError, match=r"could be \(low, high\) or a pair for each coordinate"):
            reached(bounds, x)
    assert reached((np.array([0.5, 2]), np.array([4, 6])), x) == ([0.75, 4.75], [1.25, 5.25])


def test_a_large_complex_step_is_no_fault_of_f():
    for h in (0.5, 0.1, 1e-3):
        gradient = numerical_gradient(lambda z: np.sum(np.exp(z)), X, h, scheme="complex")
        assert gradient == pytest.approx(np.exp(X) * np.sin(h) / h)
        assert numerical_diff(np.exp, X, h, scheme="complex") == pytest.approx(np.exp(X) * np.sin(h) / h)


@pytest.mark.parametrize("scheme", ["central", "forward", "backward", "central4", "central6"])
@pytest.mark.parametrize("order", [80, 100, 300, 10**9])
def test_an_order_that_is_too_high_is_named(scheme, order):
    with pytest.raises(ValueError, match=f"scheme='{scheme}' has no derivative {order}, .*take a lower one"):
        numerical_diff(np.sin, 1.0, order=order, scheme=scheme)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("make", [lambda x: x.astype(int), lambda x: np.broadcast_to(x, x.shape)])
def test_a_look_at_zeros_stays_within_the_bounds(make, order):
    seen = []

    def line(x):
        seen.extend(np.ravel(x).tolist())
        return 0.0 * x

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        numerical_diff(line, make(np.array([1.0, 0.0])), order=order, bounds=(0.0, 1.0))
        numerical_hessian(lambda x: seen.extend(x) or 2.0 * x[0] + x[1], [1.0, 0.5], bounds=(0.0, 1.0))
    assert 0.0 <= min(seen) <= max(seen) <= 1.0
