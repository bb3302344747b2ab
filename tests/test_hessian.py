"""Hessians and their products: exact values, evaluations, memory, workers, bounds, what f may not do."""

import math
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import compiled, compiled_once, needs_jit

from numgrad import (
    Hessian,
    IncrementalObjective,
    Scheme,
    hessian_vector_product,
    numerical_gradient,
    numerical_hessian,
    simpleNet,
)

EPS = 2.0**-52


def rosenbrock(x):
    total = 0.0
    for i in range(x.size - 1):
        total += 100.0 * (x[i + 1] - x[i] ** 2) ** 2 + (1.0 - x[i]) ** 2
    return total


def rosenbrock_gradient(x):
    gradient = np.zeros(x.size)
    gradient[:-1] = -400.0 * x[:-1] * (x[1:] - x[:-1] ** 2) - 2.0 * (1.0 - x[:-1])
    gradient[1:] += 200.0 * (x[1:] - x[:-1] ** 2)
    return gradient


def rosenbrock_hessian(x):
    diagonal = np.zeros(x.size)
    diagonal[:-1] = 1200.0 * x[:-1] ** 2 - 400.0 * x[1:] + 2.0
    diagonal[1:] += 200.0
    return np.diag(diagonal) + np.diag(-400.0 * x[:-1], 1) + np.diag(-400.0 * x[:-1], -1)


# Exact values of the tests of numdifftools' Hessian, and of functions whose Hessians are written down by hand.
CASES = {
    "cos(x - y)": (lambda x: math.cos(x[0] - x[1]), [0.0, 0.0], [[-1.0, 1.0], [1.0, -1.0]]),
    "xyz + exp(x) y": (
        lambda x: x[0] * x[1] * x[2] + math.exp(x[0]) * x[1],
        [3.0, 5.0, 7.0],
        [
            [math.exp(3.0) * 5.0, math.exp(3.0) + 7.0, 5.0],
            [math.exp(3.0) + 7.0, 0.0, 3.0],
            [5.0, 3.0, 0.0],
        ],
    ),
    "cos(xy)": (
        lambda x: math.cos(x[0] * x[1]),
        [3.0, 5.0],
        [
            [-25 * math.cos(15), -15 * math.cos(15) - math.sin(15)],
            [-15 * math.cos(15) - math.sin(15), -9 * math.cos(15)],
        ],
    ),
    "sin(xy)": (
        lambda x: math.sin(x[0] * x[1]),
        [3.0, 5.0],
        [
            [-25 * math.sin(15), math.cos(15) - 15 * math.sin(15)],
            [math.cos(15) - 15 * math.sin(15), -9 * math.sin(15)],
        ],
    ),
    "log x + log y": (lambda x: math.log(x[0]) + math.log(x[1]), [0.5, 2.0], [[-4.0, 0.0], [0.0, -0.25]]),
    "a constant": (lambda x: 3.0, [1.0, 2.0, 3.0], np.zeros((3, 3))),
}
POINT = np.random.default_rng(0).uniform(0.5, 2.0, 7)
ROUTES = {"python": rosenbrock, "compiled": compiled(rosenbrock)}


@pytest.fixture(params=ROUTES)
def route(request):
    return ROUTES[request.param]


def bound_of(f, x, exact, order=2):
    """Bound the error: some eps of f over the squared step, and as much for the truncation, of which the steps are."""
    h = 2.0 * EPS ** (1 / (order + 2)) * np.abs(np.where(x == 0.0, 1.0, x))
    scale = abs(f(x)) + np.abs(exact * np.multiply.outer(x, x)).max() + 1.0
    return 60.0 * EPS * scale / np.multiply.outer(h, h)


# --- values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("scheme", ["central", "central4", "central6"])
def test_exact_hessians(name, scheme):
    f, x, exact = CASES[name]
    x, exact = np.array(x), np.array(exact)
    found = numerical_hessian(f, x, scheme=scheme)
    order = {"central": 2, "central4": 4, "central6": 6}[scheme]
    # Relative to x, derivatives grow by at most 3, and those of an angle of 15 by 25.
    growth = 25.0 if name.endswith("(xy)") else 3.0
    truncation = (growth * 2.0 * EPS ** (1 / (order + 2))) ** order * np.abs(exact).max()
    assert (np.abs(found - exact) <= bound_of(f, x, exact, order) + truncation).all()
    assert found.tobytes() == found.T.copy().tobytes()


@pytest.mark.parametrize("x", [POINT, np.ones(7), np.linspace(-2.0, 1.0, 7)])
def test_rosenbrock_by_both_routes(route, x):
    exact = rosenbrock_hessian(x)
    found = numerical_hessian(route, x)
    assert (np.abs(found - exact) <= 100.0 * bound_of(rosenbrock, x, exact)).all()
    assert found.tobytes() == found.T.copy().tobytes()
    # Of the fourth degree, so that no step truncates anything of a scheme of order 4: round-off alone is left.
    wide = numerical_hessian(route, x, 0.5, scheme="central4")
    assert np.abs(wide - exact).max() <= 100.0 * EPS * rosenbrock(np.abs(x) + 1.0) / 0.25


@given(
    n=st.integers(1, 6),
    seed=st.integers(0, 2**32 - 1),
    power=st.integers(-6, 3),
    scheme=st.sampled_from(["central", "forward"]),
)
@settings(max_examples=60, deadline=None)
def test_a_quadratic_form_has_no_truncation_error(n, seed, power, scheme):
    rng = np.random.default_rng(seed)
    a, x, h = rng.integers(-8, 9, (n, n)), rng.integers(-64, 65, n) / 8.0, 2.0**power
    # Halves and eighths: each value of f is exact, and so is each sum of them.
    found = numerical_hessian(lambda x: float(x @ a @ x), x, h, scheme=scheme)
    assert found.tolist() == (a + a.T).astype(float).tolist()


# Of an x that may be tiny and a y of the magnitude 1, with the second derivatives by (x, x), (x, y) and (y, y).
SMOOTH = {
    "exp": (lambda x: math.exp(x[0]) + x[1] ** 2, lambda x, y: (math.exp(x), 0.0, 2.0)),
    "sin": (lambda x: math.sin(1.0 + x[0]) * x[1], lambda x, y: (-math.sin(1.0 + x) * y, math.cos(1.0 + x), 0.0)),
    "quadratic": (lambda x: 1.0 + x[0] ** 2 - 3.0 * x[0] * x[1], lambda x, y: (2.0, -3.0, 0.0)),
    "product": (lambda x: 1.0 + x[0] * x[1], lambda x, y: (0.0, 1.0, 0.0)),
    "linear": (lambda x: 2.0 + 3.0 * x[0] + x[1] ** 2, lambda x, y: (0.0, 0.0, 2.0)),
}
TINY = [sign * size for size in (1e-12, 1e-9, 1e-6, 1e-4, 1e-3, 1e-2) for sign in (1.0, -1.0)]


@pytest.mark.parametrize("unit", [1.0, 1e-5])
@pytest.mark.parametrize("scheme", ["central", "forward", "central4", "central6"])
@pytest.mark.parametrize("name", SMOOTH)
def test_a_coordinate_may_be_tiny_where_f_is_not(name, scheme, unit):
    f, exact = SMOOTH[name]
    for x in TINY if unit == 1.0 else TINY[::3]:
        # Where the unit is 1e-5, f bends within 1e-5, far before the step has grown to that of the magnitude 1.
        found = numerical_hessian(lambda p: f([p[0] / unit, p[1]]), np.array([x * unit, 1.3]), scheme=scheme)
        found = found * np.outer([unit, 1.0], [unit, 1.0])
        xx, xy, yy = exact(x, 1.3)
        # The step ends where 4 eps |f| is 1/4096 of the second difference, and truncation is what these two share.
        assert np.abs(found - [[xx, xy], [xy, yy]]).max() < 10 * max(map(abs, (xx, xy, yy))) / 4096


def test_a_step_grows_only_where_f_allows_it():
    def edge(x):
        return math.log(x[0]) + math.sqrt(x[0]) + x[1] ** 2

    for x in (1e-12, 1e-6, 1e-3):
        for constant, digits in ((0.0, 1e-6), (1e4, 1e-3)):  # with which the first step says less and less of it
            found = numerical_hessian(lambda p, c=constant: edge(p) + c, np.array([x, 2.0]))
            exact = -1.0 / x**2 - 0.25 * x**-1.5
            assert abs(found[0, 0] / exact - 1.0) < digits
    # Where a longer step raises, the result is that of the step that did not: with few digits, which is said.
    with pytest.warns(RuntimeWarning, match=r"about \d digits of the Hessian are right: the rounding of f, 4 eps"):
        numerical_hessian(lambda p: math.sqrt(p[0]) + 1e9, np.array([1e-6]))


def test_a_step_that_grows_stays_within_the_bounds():
    def f(x):
        assert (x >= 0.0).all()
        assert (x <= 1e-3).all()
        return np.exp(x[0]) + 10.0 * x[0] * x[1]

    for x in ([1e-7, 1e-8], [0.0, 1e-9], [1e-3, 1e-3 - 1e-9]):
        found = numerical_hessian(f, np.array(x), bounds=(0.0, 1e-3))
        assert np.abs(found - [[1.0, 10.0], [10.0, 0.0]]).max() < 10.0 / 4096


def test_evaluations_for_tiny_coordinates_are_few_and_the_memory_is_restored(route):
    calls, x = [], np.array([1e-9, 0.7, 1e-3, 3.0])

    def f(x):
        calls.append(None)
        return rosenbrock(x + 0.5)

    before = x.tobytes()
    found = numerical_hessian(f, x)
    # 21 are the least. 1e-9 is differenced anew by five steps, 1e-3 by one or two, and the six pairs but one again. Six
    # show the rounding of f.
    assert 21 < len(calls) <= 21 + 3 * 7 + 2 * 5 + 6
    assert x.tobytes() == before
    assert numerical_hessian(route, x + 0.5).shape == (4, 4)
    exact = rosenbrock_hessian(x + 0.5)
    assert np.abs(found - exact).max() < 1e-3 * np.abs(exact).max()


def test_compiled_and_python_take_the_same_longer_steps():
    def f(x):
        return np.exp(x[0]) * x[1] + np.sin(x[2])

    x = np.array([1e-8, 1.5, -1e-5])
    assert numerical_hessian(f, x).tobytes() == numerical_hessian(compiled(f), x).tobytes()
    entries = numerical_hessian(f, x, sparsity=[[0, 1], [1], [2]]).toarray()
    assert entries.tobytes() == (numerical_hessian(f, x) * [[1, 1, 0], [1, 1, 0], [0, 0, 1]]).tobytes()


def test_rounding_that_leaves_fewer_than_three_digits_is_warned_of():
    message = r"about 0 digits of the Hessian are right: .* is to be compared with .*; pass h='auto'$"
    with pytest.warns(RuntimeWarning, match=message):
        numerical_hessian(rosenbrock, np.array([1.1, 2.0]), 1e-9)
    with pytest.warns(RuntimeWarning, match=message):  # all elements come out as 0
        numerical_hessian(rosenbrock, np.array([1.0, 2.0]), 1e-9)
    with pytest.warns(RuntimeWarning, match="subtract from f what does not change, pass longer steps h, or a gradient"):
        numerical_hessian(lambda x: 1e6 + x[0] ** 2, np.array([1.0]))


def test_forward_and_backward_are_of_the_first_order():
    for scheme in ("forward", "backward"):
        f, x, exact = CASES["sin(xy)"]
        errors = [np.abs(numerical_hessian(f, np.array(x), h, scheme=scheme) - exact).max() for h in (2e-3, 1e-3)]
        assert 1.7 < errors[0] / errors[1] < 2.3


def sines(x):
    total = 0.0
    for i in range(x.size):
        total += np.sin(x[i] + 0.5 * x[i - 1])
    return total


@pytest.mark.parametrize("name", ["central", "central4", "central6"])
def test_the_error_falls_with_the_order_of_the_scheme(route, name):
    order = {"central": 2, "central4": 4, "central6": 6}[name]

    def exact(x):
        total = np.zeros((x.size, x.size))
        for i in range(x.size):
            row = np.zeros(x.size)
            row[i], row[i - 1] = 1.0, 0.5
            total -= np.sin(row @ x) * np.outer(row, row)
        return total

    f = compiled_once(sines) if route is ROUTES["compiled"] else sines
    errors = [np.abs(numerical_hessian(f, POINT, h, scheme=name) - exact(POINT)).max() for h in (0.2, 0.1)]
    assert order - 0.3 < np.log2(errors[0] / errors[1]) < order + 0.3


def test_a_scalar_a_matrix_and_an_empty_x_have_hessians_of_their_shapes():
    assert numerical_hessian(math.sin, 2.0).shape == ()
    assert numerical_hessian(math.sin, 2.0) == pytest.approx(-math.sin(2.0), abs=1e-6)
    weights = np.arange(1.0, 7.0).reshape(2, 3)
    found = numerical_hessian(lambda w: float(np.sum(weights * w) ** 2), weights.copy())
    assert found.shape == (2, 3, 2, 3)
    assert found == pytest.approx(2.0 * np.multiply.outer(weights, weights), rel=1e-5)
    assert numerical_hessian(lambda x: 0.0, np.empty((0, 2))).shape == (0, 2, 0, 2)


def test_steps_follow_the_magnitude_and_the_precision():
    x = np.array([1e-8, 1e-2, 1e6])
    found = numerical_hessian(lambda x: float(np.log(x).sum()), x)
    assert np.diag(found) * x**2 == pytest.approx(-np.ones(3), rel=1e-5)
    assert numerical_hessian(lambda x: x[0] ** 2 / 1e300, np.array([1e-150]))[0, 0] == pytest.approx(2e-300, rel=1e-6)
    narrow = np.array([0.3, -1.1], np.float32)
    before = narrow.tobytes()
    found = numerical_hessian(lambda _: float(np.exp(narrow.astype(float)).prod()), narrow)
    assert found == pytest.approx(np.full((2, 2), math.exp(narrow.astype(float).sum())), rel=3e-3)
    assert narrow.tobytes() == before
    with pytest.warns(RuntimeWarning, match="about 2 digits of the Hessian are right"):
        found = numerical_hessian(lambda x: np.float32(np.exp(x).prod()), np.array([0.3, -1.1]))
    assert found == pytest.approx(np.full((2, 2), math.exp(-0.8)), rel=1e-2)


def test_not_a_number_stays_in_its_place():
    x = np.array([1.0, np.nan, 2.0, np.inf])
    with pytest.warns(RuntimeWarning, match="the step h is below the spacing"):
        found = numerical_hessian(lambda x: float(x[0] ** 2 * x[2] + 0.0 * np.nan_to_num(x[1])), x)
    assert found[np.ix_([0, 2], [0, 2])] == pytest.approx(np.array([[4.0, 2.0], [2.0, 0.0]]), abs=1e-5)
    root = numerical_hessian(lambda x: np.sqrt(x[0]) + x[1] ** 2 if x[0] >= 0.0 else math.nan, np.array([0.0, 1.0]))
    assert np.isnan(root).tolist() == [[True, True], [True, False]]
    assert root[1, 1] == pytest.approx(2.0, abs=1e-6)


def cubic(x):
    """An f of operations that are rounded alike everywhere."""
    total = 0.0
    for i in range(x.size):
        total += x[i] * x[i] * x[i - 1] - 2.0 * x[i]
    return total


@pytest.mark.parametrize("scheme", ["central", "central4", "forward"])
@pytest.mark.parametrize("bounds", [None, (POINT, POINT + 1.0)], ids=["free", "bounded"])
def test_both_routes_agree_bit_for_bit(scheme, bounds):
    found = [numerical_hessian(f, POINT, scheme=scheme, bounds=bounds) for f in (cubic, compiled_once(cubic))]
    assert found[0].tobytes() == found[1].tobytes()


# --- evaluations and memory ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("h", "scheme", "count"), [
    ("auto", "central", 7 * 7 + 7 + 1),
    (1e-3, "central", 7 * 7 + 7 + 1),
    ("auto", "central4", 2 * (7 * 7 + 7) + 1),
    ("auto", "forward", 7 * 7 + 7 + 1),
])  # fmt: skip
def test_evaluations_are_counted_exactly(h, scheme, count):
    calls = []
    numerical_hessian(lambda x: calls.append(0) or rosenbrock(x), POINT.copy(), h, scheme=scheme)
    assert len(calls) == count


def test_products_take_four_evaluations_a_coordinate_or_two_gradients():
    calls, v = [], np.linspace(-1.0, 1.0, 7)
    hessian_vector_product(lambda x: calls.append(0) or rosenbrock(x), POINT.copy(), v, 1e-3)
    assert len(calls) == 28
    calls.clear()
    hessian_vector_product(lambda x: calls.append(0) or rosenbrock(x), POINT.copy(), v)
    assert len(calls) == 29  # one tells of how many digits f is
    calls.clear()
    hessian_vector_product(None or rosenbrock, POINT, v, gradient=lambda x: calls.append(0) or rosenbrock_gradient(x))
    assert len(calls) == 2


def test_an_f_that_ignores_its_argument_reads_the_memory_that_moves():
    x = POINT.copy()
    assert numerical_hessian(lambda _: rosenbrock(x), x).tobytes() == numerical_hessian(rosenbrock, x).tobytes()
    assert x.tobytes() == POINT.tobytes()
    net = simpleNet(rng=0)
    loss = numerical_hessian(lambda _: net.loss(np.array([0.6, 0.9]), 2), net.W)
    assert loss.shape == (2, 3, 2, 3)
    assert np.abs(loss.sum(axis=3)).max() < 1e-6  # softmax does not see what all logits have in common
    v = np.linspace(-1.0, 1.0, 7)
    product = hessian_vector_product(lambda _: rosenbrock(x), x, v, gradient=lambda _: rosenbrock_gradient(x))
    assert product == pytest.approx(rosenbrock_hessian(x) @ v, abs=1e-5)
    assert x.tobytes() == POINT.tobytes()


@pytest.mark.parametrize("layout", ["F", "strided", "float32", "longdouble", "big-endian"])
def test_memory_of_any_layout_is_used_and_restored(layout):
    base = np.linspace(0.5, 2.0, 12).reshape(3, 4)
    x = {
        "F": np.asfortranarray(base),
        "strided": np.repeat(base, 2, axis=1)[:, ::2],
        "float32": base.astype(np.float32),
        "longdouble": base.astype(np.longdouble),
        "big-endian": base.astype(">f8"),
    }[layout]
    before = x.tobytes()

    def f(_):
        return float(np.sum(x.astype(float) ** 2 * np.arange(12.0).reshape(3, 4)))

    found = numerical_hessian(f, x).reshape(12, 12)
    rough = 200.0 * np.finfo(x.dtype).eps ** 0.5 if layout == "float32" else 1e-4
    assert np.abs(found - np.diag(2.0 * np.arange(12.0))).max() < rough * 100.0
    assert x.tobytes() == before


def test_what_f_raises_arrives_and_the_memory_is_restored(route):
    x, calls = POINT.copy(), []

    def f(x):
        calls.append(0)
        if len(calls) == 40:
            raise ZeroDivisionError("enough")
        return rosenbrock(x)

    with pytest.raises(ZeroDivisionError, match="enough"):
        numerical_hessian(f, x)
    assert x.tobytes() == POINT.tobytes()
    del calls[:]
    with pytest.raises(ZeroDivisionError, match="enough"):
        hessian_vector_product(f, x, np.ones(7), 1e-3) + hessian_vector_product(f, x, np.ones(7), 1e-3)
    assert x.tobytes() == POINT.tobytes()


def writes(x, index):
    x[index] = 0.25
    return x[0] * x[3] * x[-1]


@pytest.mark.parametrize("index", [0, 3, -1])
def test_an_f_that_writes_to_its_argument_is_found(route, index):
    f = compiled_once(writes) if route is ROUTES["compiled"] else writes
    x = POINT.copy()
    for h in ("auto", 1e-3):
        with pytest.raises(ValueError, match="f writes to its argument"):
            numerical_hessian(f, x, h, args=(index,))
        with pytest.raises(ValueError, match="f writes to its argument"):
            hessian_vector_product(f, x, np.ones(7), h, args=(index,))
    assert x.tobytes() == POINT.tobytes()


@pytest.mark.parametrize("kind", [float, np.float32])
@pytest.mark.parametrize("derivatives", [numerical_gradient, numerical_hessian])
def test_an_f_that_writes_to_another_coordinate_near_x_only_is_found(derivatives, kind):
    def f(x):
        if x[0] != 1.0:
            x[1] += 1e-3 if kind is np.float32 else 1e-9
        return float(x @ x)

    x = np.array([1.0, 2.0, 3.0], kind)
    with pytest.raises(ValueError, match="f writes to its argument"):
        derivatives(f, x)
    assert x.tolist() == [1.0, 2.0, 3.0]


def test_the_result_goes_where_it_is_asked_for():
    out = np.full((7, 7), np.nan)
    assert numerical_hessian(rosenbrock, POINT, out=out) is out
    assert out.tobytes() == numerical_hessian(rosenbrock, POINT).tobytes()
    for wrong, error, message in (
        (np.empty((7, 6)), ValueError, r"out must have the shape of the result, \(7, 7\)"),
        (np.empty((7, 7), np.float32), TypeError, "out must be a float64 array"),
        (np.empty((7, 14))[:, ::2], ValueError, "C-contiguous"),
    ):
        with pytest.raises(error, match=message):
            numerical_hessian(rosenbrock, POINT, out=wrong)


# --- workers and progress --------------------------------------------------------------------------------------------


def test_threads_and_processes_give_the_bits_of_one():
    f = ROUTES["compiled"]
    one = numerical_hessian(f, POINT)
    assert numerical_hessian(f, POINT, workers=3).tobytes() == one.tobytes()
    assert numerical_hessian(
        rosenbrock, POINT, workers=lambda function, tasks: list(map(function, tasks))
    ).tobytes() == (numerical_hessian(rosenbrock, POINT).tobytes())
    v = np.linspace(-1.0, 1.0, 7)
    assert hessian_vector_product(f, POINT, v, workers=3).tobytes() == hessian_vector_product(f, POINT, v).tobytes()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # the fork is what is tested
def test_processes_give_the_bits_of_one_and_find_another_array():
    x = POINT.copy()
    both = np.array([POINT, POINT])
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as executor:
        found = numerical_hessian(lambda _: rosenbrock(x), x, workers=executor.map)
        assert found.tobytes() == numerical_hessian(rosenbrock, x).tobytes()
        # Nothing depends on the first coordinate, which is that of the first direction.
        with pytest.raises(ValueError, match="in another process f reads another array"):
            numerical_hessian(lambda _: rosenbrock(both[0, 1:]), both[0], workers=executor.map)
        by_gradient = numerical_hessian(rosenbrock, x, gradient=rosenbrock_gradient, workers=executor.map)
        assert by_gradient.tobytes() == numerical_hessian(rosenbrock, x, gradient=rosenbrock_gradient).tobytes()


def test_progress_counts_directions():
    seen = []
    numerical_hessian(ROUTES["compiled"], POINT, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (28, 28)


# --- bounds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["central", "central4", "forward"])
@pytest.mark.parametrize("h", [0.01, "auto"])
def test_no_evaluation_leaves_the_bounds_and_the_order_is_kept(scheme, h):
    low, high = np.array([0.5, -2.0, 1.0, 0.0, -9.0]), np.array([1.0, -1.1, 2.0, 1e-3, np.inf])
    x = np.array([0.5, -1.1, 1.995, 5e-4, 0.7])

    def f(x):
        assert (low <= x).all()
        assert (x <= high).all()
        return math.sin(x[0] * x[1] + x[2] * x[3] + x[4])

    row = np.array([x[1], x[0], x[3], x[2], 1.0])
    inner = np.zeros((5, 5))
    inner[0, 1] = inner[1, 0] = inner[2, 3] = inner[3, 2] = 1.0
    angle = x[0] * x[1] + x[2] * x[3] + x[4]
    exact = math.cos(angle) * inner - math.sin(angle) * np.outer(row, row)
    found = numerical_hessian(f, x, h, scheme=scheme, bounds=(low, high))
    order = {"central": 2, "central4": 4, "forward": 1}[scheme]
    step = np.minimum(0.01 if h == 0.01 else 2 * EPS ** (1 / (order + 2)) * np.abs(x), 5e-4 / 8 + (np.arange(5) != 3))
    truncation = 100.0 * step.max() ** order
    assert (np.abs(found - exact) <= truncation + 400.0 * EPS / np.multiply.outer(step, step)).all()
    assert found.tobytes() == found.T.copy().tobytes()


def test_inside_the_bounds_nothing_changes(route):
    assert numerical_hessian(route, POINT, bounds=(-9.0, np.inf)).tobytes() == numerical_hessian(route, POINT).tobytes()


def test_compiled_and_python_agree_at_the_bounds():
    found = [numerical_hessian(f, POINT, bounds=(POINT, POINT + 1.0)) for f in ROUTES.values()]
    assert np.abs(found[0] - rosenbrock_hessian(POINT)).max() < 0.05
    assert found[0] == pytest.approx(found[1], abs=0.05)


def test_bounds_without_room_are_refused():
    for high in (POINT, POINT * (1 + EPS)):
        with pytest.raises(ValueError, match="leave coordinate 0 no room for a step"):
            numerical_hessian(rosenbrock, POINT, bounds=(POINT, high))
    with pytest.raises(ValueError, match="x must lie within the bounds"):
        numerical_hessian(rosenbrock, POINT, bounds=(3.0, 4.0))
    narrow = POINT.astype(np.float32)
    seen = []
    with pytest.warns(RuntimeWarning, match="about 0 digits of the Hessian are right"):  # of a step of 1e-3 at most
        numerical_hessian(
            lambda x: seen.append(x.copy()) or rosenbrock(x), narrow, bounds=(narrow, narrow + np.float32(1e-3))
        )
    assert (np.min(seen, axis=0) >= narrow).all()
    assert (np.max(seen, axis=0) <= narrow + np.float32(1e-3)).all()


# --- gradients -------------------------------------------------------------------------------------------------------


def test_the_jacobian_of_a_gradient_made_symmetric(route):
    gradient, calls = compiled_once(rosenbrock_gradient) if route is ROUTES["compiled"] else rosenbrock_gradient, []
    found = numerical_hessian(route, POINT, gradient=gradient)
    # The cube root of eps: round-off of the gradient, some 1000, over 6e-6 of x, and as much for the truncation.
    assert np.abs(found - rosenbrock_hessian(POINT)).max() <= 100.0 * EPS ** (2 / 3) * 1000.0
    assert found.tobytes() == found.T.copy().tobytes()
    out, x = np.empty((7, 7)), POINT.copy()
    counted = numerical_hessian(route, x, gradient=lambda w: calls.append(0) or rosenbrock_gradient(w), out=out)
    assert counted is out
    assert len(calls) == 15
    assert x.tobytes() == POINT.tobytes()
    matrix = numerical_hessian(None, POINT[:6].reshape(2, 3), gradient=lambda w: w**2)
    assert matrix.shape == (2, 3, 2, 3)
    assert matrix.reshape(6, 6) == pytest.approx(np.diag(2.0 * POINT[:6]), abs=1e-8)


def test_what_a_gradient_returns_is_checked():
    for gradient, error, message in (
        (lambda x: x[1:], ValueError, r"gradient must return an array of the shape of x, \(7,\), it returned \(6,\)"),
        (lambda x: x * 1j, TypeError, "gradient must return real numbers"),
        (lambda x: float(x[0]), ValueError, "gradient must return an array of the shape of x"),
        (lambda x: (1.0, x), ValueError, "^gradient must return an array, it returned lists that differ in length"),
        (lambda x: None, TypeError, "^gradient must return an array of numbers"),
    ):
        with pytest.raises(error, match=message):
            numerical_hessian(rosenbrock, POINT, gradient=gradient)


def test_the_hessian_of_an_incremental_objective_is_that_of_its_gradient():
    net, x, t = simpleNet(rng=0), np.array([0.6, 0.9]), 2
    exact = numerical_hessian(lambda _: net.loss(x, t), net.W, scheme="central6")
    assert numerical_hessian(net.objective(x, t), net.W) == pytest.approx(exact, abs=1e-8)


# --- patterns --------------------------------------------------------------------------------------------------------

BAND = np.abs(np.subtract.outer(np.arange(7), np.arange(7))) <= 1
PATTERNS = {
    "boolean": BAND,
    "upper": np.triu(BAND, 1),
    "columns": [np.flatnonzero(row) for row in BAND],
    "sparse": BAND,
}


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("gradient", [None, rosenbrock_gradient], ids=["values", "gradient"])
def test_a_pattern_gives_the_same_as_a_sparse_array(route, name, gradient):
    sparse = pytest.importorskip("scipy.sparse")
    pattern = sparse.coo_array(PATTERNS[name]) if name == "sparse" else PATTERNS[name]
    found = numerical_hessian(route, POINT, sparsity=pattern, gradient=gradient)
    assert isinstance(found, sparse.csr_array)
    assert found.shape == (7, 7)
    assert found.nnz == 19
    dense = numerical_hessian(route, POINT, gradient=gradient)
    assert found.toarray().tobytes() == found.toarray().T.copy().tobytes()
    assert np.abs(found.toarray() - dense * BAND).max() <= (0.0 if gradient is None else 1e-6)


def test_a_pattern_saves_evaluations():
    pytest.importorskip("scipy.sparse")
    for gradient, count in ((False, 1 + 2 * (7 + 6) + 2), (True, 1 + 2 * 3 + 1)):
        calls = []
        f = lambda x: calls.append(0) or (rosenbrock_gradient(x) if gradient else rosenbrock(x))  # noqa: E731, B023
        numerical_hessian(f, POINT.copy(), sparsity=BAND, gradient=f if gradient else None)
        assert len(calls) == count


@pytest.mark.parametrize("h", ["auto", 1e-3, 0.1])
@pytest.mark.parametrize("seed", range(3))
def test_a_missing_pair_is_found_and_no_other(h, seed):
    pytest.importorskip("scipy.sparse")
    functions = {
        "rosenbrock": rosenbrock,
        "sines": lambda x: float(np.sum(np.sin(3.0 * x[1:] * x[:-1]))),
        "exponentials": lambda x: float(np.sum(np.exp(x[1:] - x[:-1]))) + 1e4,
        "logarithms": lambda x: float(np.sum(np.log(x[1:] + x[:-1]))),
    }
    x = np.random.default_rng(seed).uniform(0.5, 2.0, 20)
    band = np.abs(np.subtract.outer(np.arange(20), np.arange(20))) == 1
    missing = band.copy()
    missing[3, 4] = missing[4, 3] = False
    for f in functions.values():
        numerical_hessian(f, x, h, sparsity=band)
        numerical_hessian(f, x, h, sparsity=band, bounds=(x, np.inf))
        with pytest.raises(ValueError, match="sparsity is too small: f couples coordinates"):
            numerical_hessian(f, x, h, sparsity=missing)
    rng = np.random.default_rng(0)
    numerical_hessian(lambda x: rosenbrock(x) + 1e-6 * rng.random(), x, 1e-2, sparsity=band)


def _separable(z):
    return (z**3).sum() + np.cos(z).sum()


def _chained(z):
    return np.exp(z[1:] - z[:-1]).sum() + 20.0


FEW_DIGITS = {
    "float32 inside": (np.float64, lambda f: lambda x: float(f(x.astype(np.float32)))),
    "six decimals": (np.float64, lambda f: lambda x: round(float(f(x)), 6)),
    "three decimals": (np.float64, lambda f: lambda x: round(float(f(x)), 3)),
    "eight digits": (np.float64, lambda f: lambda x: float(f"{float(f(x)):.8g}")),
    "float32": (np.float32, lambda f: lambda x: float(f(x.view(np.ndarray)))),
}


@pytest.mark.filterwarnings("ignore:about . digits of the Hessian")
@pytest.mark.parametrize(
    ("h", "scheme"), [("auto", "central"), (1e-2, "central"), ("auto", "forward"), (1e-3, "central4")]
)
@pytest.mark.parametrize("way", FEW_DIGITS)
def test_no_pair_is_missing_in_few_digits(way, h, scheme):
    pytest.importorskip("scipy.sparse")
    dtype, rounded = FEW_DIGITS[way]
    for seed in range(3):
        x = np.random.default_rng(seed).uniform(0.5, 2.0, 9).astype(dtype)
        for f, pattern, entries in ((_separable, np.eye(9), 9), (_chained, np.eye(9) + np.eye(9, k=1), 25)):
            assert numerical_hessian(rounded(f), x, h, sparsity=pattern, scheme=scheme).nnz == entries


@pytest.mark.filterwarnings("ignore:about 3 digits of the Hessian")
def test_a_missing_pair_is_found_in_few_digits():
    pytest.importorskip("scipy.sparse")
    for way, h, factor in (("float32 inside", 2e-2, 1.0), ("six decimals", 1e-2, 1.0), ("float32", "auto", 0.1)):
        dtype, rounded = FEW_DIGITS[way]
        x = np.random.default_rng(1).uniform(0.5, 2.0, 9).astype(dtype)
        f = rounded(lambda z, factor=factor: _separable(z) + factor * z[1] * z[6])
        with pytest.raises(ValueError, match="sparsity is too small: f couples coordinates"):
            numerical_hessian(f, x, h, sparsity=np.eye(9))


def test_a_small_pair_is_missing():
    pytest.importorskip("scipy.sparse")
    x = np.random.default_rng(2).uniform(0.5, 2.0, 9)
    for f in (lambda x: _separable(x) + 1e-3 * x[1] * x[6], lambda x: 1e-4 * (x[0] - x[8]) ** 2 + (x**2).sum()):
        with pytest.raises(ValueError, match="sparsity is too small: f couples coordinates"):
            numerical_hessian(f, x, sparsity=np.eye(9))
    # No noise is seen of an f that is not rounded at all.
    with pytest.raises(ValueError, match="sparsity is too small: f couples coordinates"):
        numerical_hessian(lambda x: x[0] * x[1], np.array([2.0, 4.0]), 2.0**-7, sparsity=np.eye(2))


def test_rounding_of_narrow_numbers_is_warned_of_whatever_f_returns():
    x = np.array([0.4, 1.7, 2.3], np.float32)

    def f(x):
        return float(np.cos(x[0]) * x[1] + x[2] ** 2 + x.dtype.type(60.0))

    with pytest.warns(RuntimeWarning, match=r"about 0 digits of the Hessian are right: .*; pass h='auto'$"):
        numerical_hessian(f, x, 1e-3)
    # Of narrow numbers too, an f that computes in float64 has its digits.
    found = numerical_hessian(lambda x: f(x.astype(float)), x, 1e-3)
    assert found[2, 2] == pytest.approx(2.0, rel=1e-6)


@pytest.mark.parametrize("count", [127, 128, 256])
@pytest.mark.parametrize("value", [1, np.nan])
def test_what_the_entries_of_a_pattern_are_and_how_many_times_each_is_given_is_not_read(count, value):
    sparse = pytest.importorskip("scipy.sparse")
    columns = np.repeat([1, 0, 2], count)
    given = sparse.csr_array((np.full(3 * count, value), columns, [0, count, 2 * count, 3 * count]), shape=(3, 3))
    for pattern in (given, np.split(columns, 3)):
        found = numerical_hessian(lambda x: x[0] * x[1] + x[2] ** 2, np.array([1.0, 2.0, 3.0]), sparsity=pattern)
        assert found.toarray() == pytest.approx(np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 2.0]]), abs=1e-6)
    assert given.nnz == 3 * count


def test_misuse_of_patterns():
    pytest.importorskip("scipy.sparse")
    for options, message in (
        ({"sparsity": BAND[1:]}, r"sparsity must have the shape \(x.size, x.size\), \(7, 7\), got \(6, 7\)"),
        ({"sparsity": BAND, "out": np.empty((7, 7))}, "out must be None with a sparsity"),
    ):
        with pytest.raises(ValueError, match=message):
            numerical_hessian(rosenbrock, POINT, **options)


@pytest.mark.parametrize("missing", [(0, 1), (1, 0), (2, 0), (2, 2)])
def test_what_is_missing_on_either_side_of_the_diagonal_is_resumed(missing):
    x = np.array([1.0, 0.5, -2.0])
    expected = numerical_hessian(rosenbrock, x)
    out = expected.copy()
    out[missing] = np.nan
    assert numerical_hessian(rosenbrock, x, out=out, resume=True).tobytes() == expected.tobytes()


# --- products --------------------------------------------------------------------------------------------------------


INTEGERS = {
    "list": [3, 4],
    "tuple": (3, 0),
    "int64": np.array([3, 4]),
    "int32": np.array([-3, 4], np.int32),
    "uint8": np.array([3, 4], np.uint8),
    "scalar": 3,
    "dict": {"a": 3, "b": np.array([4, 0])},
}


@pytest.mark.parametrize("kind", INTEGERS)
@pytest.mark.parametrize(
    "options",
    [{}, {"gradient": lambda x: 4.0 * x**3}, {"scheme": "forward"}, {"h": 1e-3}],
    ids=["values", "gradient", "forward", "h"],
)
def test_integers_are_the_same_point_as_floats(options, kind):
    def f(x):
        if isinstance(x, dict):
            return f(x["a"]) * f(x["b"])
        return float(np.sum(x**4.0))

    given, options = INTEGERS[kind], dict(options)
    if kind == "dict":
        floats, flat = {"a": 3.0, "b": np.array([4.0, 0.0])}, np.array([3.0, 4.0, 0.0])
        if "gradient" in options:
            options["gradient"] = lambda p: {name: 4.0 * part**3 for name, part in p.items()}
    else:
        floats = flat = np.array(given, np.float64)
    expected = numerical_hessian(f, floats, **options)
    assert expected.size == flat.size**2
    assert numerical_hessian(f, given, **options).tobytes() == expected.tobytes()
    assert Hessian(f, **options)(given).tobytes() == expected.tobytes()


@pytest.mark.parametrize("gradient", [None, rosenbrock_gradient], ids=["values", "gradient"])
@pytest.mark.parametrize("sparsity", [None, [[0, 1], [1]]], ids=["dense", "sparse"])
def test_integers_by_both_routes_and_with_a_pattern(route, gradient, sparsity):
    pytest.importorskip("scipy.sparse")
    found = numerical_hessian(route, [3, 4], gradient=gradient, sparsity=sparsity)
    found = found if sparsity is None else found.toarray()
    assert found == pytest.approx(rosenbrock_hessian(np.array([3.0, 4.0])), rel=1e-5)


@pytest.mark.parametrize("v", [np.ones(7), np.eye(7)[3], 1e9 * np.linspace(-1, 1, 7), 1e-9 * np.ones(7)], ids=str)
def test_products_by_values_and_by_gradients(route, v):
    exact = rosenbrock_hessian(POINT) @ v
    scale = np.abs(v).max()
    assert np.abs(hessian_vector_product(route, POINT, v) - exact).max() <= 5e-3 * scale
    gradient = compiled_once(rosenbrock_gradient) if route is ROUTES["compiled"] else rosenbrock_gradient
    assert np.abs(hessian_vector_product(route, POINT, v, gradient=gradient) - exact).max() <= 1e-5 * scale
    lists = hessian_vector_product(route, POINT.tolist(), v.tolist(), gradient=gradient)
    assert np.abs(lists - exact).max() <= 1e-5 * scale


def test_a_product_with_zeros_is_zeros_and_evaluates_nothing():
    def never(x):
        raise AssertionError

    assert hessian_vector_product(never, POINT, np.zeros(7)).tolist() == [0.0] * 7


def test_products_with_vectors_of_any_length():
    f, x, v = CASES["xyz + exp(x) y"][0], np.array([3.0, 5.0, 7.0]), np.array([1.0, 0.0, -0.5])
    expected = hessian_vector_product(f, x, v)
    for power in (-1000, -30, 30, 900):  # exact
        assert hessian_vector_product(f, x, np.ldexp(v, power)).tolist() == np.ldexp(expected, power).tolist()
    assert np.abs(hessian_vector_product(f, x, [1e-320, 0.0, 0.0])).max() < 1e-317
    assert np.isinf(hessian_vector_product(f, x, [1e308, 0.0, 0.0])).all()


def test_products_of_the_chapters_net_and_of_single_precision():
    net, v = simpleNet(rng=0), np.arange(6.0).reshape(2, 3)
    x, t = np.array([0.6, 0.9]), 2
    hessian = numerical_hessian(lambda _: net.loss(x, t), net.W, scheme="central6")
    exact = np.tensordot(hessian, v, 2)
    assert hessian_vector_product(net.objective(x, t), net.W, v) == pytest.approx(exact, abs=1e-7)
    product = hessian_vector_product(
        rosenbrock, POINT, np.ones(7), gradient=lambda x: rosenbrock_gradient(x).astype("f4")
    )
    assert product == pytest.approx(rosenbrock_hessian(POINT) @ np.ones(7), rel=1e-2, abs=1.0)


# --- misuse ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"scheme": "complex"}, ValueError, "scheme='complex' gives the first derivative only"),
        ({"scheme": "nosuch"}, ValueError, "scheme must be one of"),
        ({"scheme": Scheme((1, -1), (1, -1), 2)}, ValueError, "scheme must be for the derivative 2, got one for"),
        ({"h": 0.0}, ValueError, "h must be finite and positive"),
        ({"h": "small"}, TypeError, "h must be a real number"),
        ({"h": [1.0, 2.0]}, ValueError, "does not broadcast"),
        ({"args": 3}, TypeError, r"args must be a tuple, got int 3"),
        ({"progress": 3}, TypeError, "progress must be a bool or a callable"),
        ({"workers": 0}, ValueError, "workers must be at least 1"),
        ({"bounds": 3}, ValueError, "bounds must be a pair"),
    ],
)
def test_misuse_is_an_error_before_anything_is_differenced(options, error, message):
    with pytest.raises(error, match=message):
        numerical_hessian(rosenbrock, POINT, **options)


def test_what_is_not_a_number_is_refused(route):
    for f, message in ((3, "f must be callable"), (lambda x: 2.0 * x, "f must return one real number")):
        with pytest.raises(TypeError, match=message):
            numerical_hessian(f, POINT)
        with pytest.raises(TypeError, match=message):
            hessian_vector_product(f, POINT, POINT)
    for v, error, message in (
        (POINT[1:], ValueError, r"v must be finite and of the shape of x, \(7,\), got"),
        (np.full(7, np.nan), ValueError, "v must be finite"),
        (POINT * 1j, TypeError, "v must hold real numbers"),
    ):
        with pytest.raises(error, match=message):
            hessian_vector_product(route, POINT, v)
    for gradient, error, message in (
        (lambda x: x[1:], ValueError, "gradient must return an array of the shape of x"),
        (lambda x: x * 1j, TypeError, "what gradient returns must hold real numbers"),
    ):
        with pytest.raises(error, match=message):
            hessian_vector_product(route, POINT, POINT, gradient=gradient)


@needs_jit
def test_a_compiled_f_with_a_captured_x_is_refused():
    from numba import njit

    x = POINT.copy()
    f = njit(lambda w: x[0] * w[0])
    with pytest.raises(ValueError, match="captured variable 'x'"):
        numerical_hessian(f, x)
    with pytest.raises(ValueError, match="captured variable 'x'"):
        hessian_vector_product(f, x, np.ones(7))


def test_a_compiled_gradient_with_a_captured_x_is_refused():
    X = np.array([3.0, 4.0])
    gradient = compiled(lambda x: X * x[0])
    if not hasattr(gradient, "py_func"):
        pytest.skip("nothing is compiled")
    with pytest.raises(ValueError, match="reads x as the captured variable 'X'"):
        hessian_vector_product(None, X, [1.0, 0.0], gradient=gradient)
    with pytest.raises(ValueError, match="reads x as the captured variable 'X'"):
        Hessian(lambda x: 0.0, gradient=gradient).product(X, [1.0, 0.0])
    other = compiled(lambda x: x * x[0])
    assert hessian_vector_product(None, X, [1.0, 0.0], gradient=other) == pytest.approx([6.0, 4.0], rel=1e-6)


@pytest.mark.parametrize("x", [[1.0, 2.0], np.array([1, 2]), (3.0, 4.0)], ids=["list", "int", "tuple"])
def test_the_gradient_of_a_linear_f_has_zero_products_of_copies_too(x):
    with pytest.warns(RuntimeWarning, match="all differences are exactly zero"):  # nobody can tell it from a fault
        found = hessian_vector_product(None, x, [1.0, 0.0], gradient=lambda x: np.array([1.0, 2.0]))
    assert found.tolist() == [0.0, 0.0]
    assert not hessian_vector_product(lambda x: x[0] + x[1], x, [1.0, 0.0], gradient=lambda x: np.ones(2)).any()
    product = hessian_vector_product(None, x, [1.0, 1.0], gradient=lambda x: 2.0 * x)
    assert product == pytest.approx([2.0, 2.0])


WRONG = [
    *({"h": h} for h in (-1.0, [1.0, -1.0], np.ones(3))),
    *({"bounds": ends} for ends in ((5.0, 6.0), (np.zeros(3), 1.0), 3.0)),
    *({"sparsity": pattern} for pattern in (np.eye(3), "text", [[0], [5]])),
    *({"workers": workers} for workers in (0, "two", -3)),
    *({"scheme": name} for name in ("complex", "none")),
    {"progress": 3},
]


def never(*_):
    raise AssertionError("f was evaluated")


@pytest.mark.parametrize("options", WRONG, ids=str)
@pytest.mark.parametrize("kind", ["values", "gradient", "objective"])
def test_arguments_are_checked_before_anything_is_evaluated(kind, options):
    if kind == "gradient" and options == {"scheme": "complex"}:
        return  # which is one of a gradient
    f, more = never, {"gradient": never} if kind == "gradient" else {}
    if kind == "objective":
        if "scheme" in options:
            return
        f = IncrementalObjective(never, never, compiled(lambda state, h: h))
    with pytest.raises((TypeError, ValueError)):
        numerical_hessian(f, np.array([1.0, 2.0]), **more, **options)


@pytest.mark.parametrize("options", [{"workers": 0}, {"h": -1.0}, {"h": np.ones(3)}], ids=str)
@pytest.mark.parametrize("more", [{}, {"gradient": never}], ids=["values", "gradient"])
def test_arguments_of_a_product_are_checked_before_anything_is_evaluated(more, options):
    with pytest.raises(ValueError, match=r"workers must|h must|h of shape"):
        hessian_vector_product(never, np.array([1.0, 2.0]), [1.0, 0.0], **more, **options)


def test_a_lost_step_and_an_f_that_ignores_a_copy_are_warned_of():
    with pytest.warns(RuntimeWarning, match="is below the spacing of the floats"):
        found = numerical_hessian(rosenbrock, 1e9 * POINT, 1e-9)
    assert np.isnan(found).all()
    with pytest.warns(RuntimeWarning, match="f may ignore its argument"):
        numerical_hessian(lambda _: rosenbrock(POINT), POINT.tolist())
    with pytest.warns(RuntimeWarning, match="f may ignore its argument"):
        hessian_vector_product(lambda _: rosenbrock(POINT), POINT.tolist(), np.ones(7))


@pytest.mark.filterwarnings("error")
def test_a_linear_f_is_not_accused():
    assert numerical_hessian(lambda x: 2.0 * x[0], [1.0, 2.0]).tolist() == [[0.0, 0.0], [0.0, 0.0]]


def scaled(x, a):
    return a * x[0] ** 2 * x[1]


def scaled_gradient(x, a):
    return a * np.array([2 * x[0] * x[1], x[0] ** 2])


def test_further_arguments_reach_f(route):
    f = compiled(scaled) if route is ROUTES["compiled"] else scaled
    x = np.array([3.0, 4.0])
    assert numerical_hessian(f, x, args=(2.0,)) == pytest.approx(np.array([[16.0, 12.0], [12.0, 0.0]]), abs=1e-5)
    assert hessian_vector_product(f, x, np.ones(2), args=(2.0,)) == pytest.approx([28.0, 12.0], abs=1e-5)
    gradient = compiled_once(scaled_gradient)
    assert hessian_vector_product(f, x, np.ones(2), args=(2.0,), gradient=gradient) == pytest.approx([28.0, 12.0])
    assert numerical_gradient(f, x, args=(2.0,)) == pytest.approx([48.0, 18.0])


@pytest.mark.parametrize("scale", [1e-2, 1e-3, 1e-6])
def test_a_missing_pair_is_found_where_coordinates_are_small(scale):
    for seed in range(10):
        rng = np.random.default_rng(seed)
        x, b = scale * rng.uniform(-2.0, 2.0, 5), rng.uniform(0.5, 2.0, 5)

        def f(x, b=b):
            return float(np.sum(b * np.cos(x)) + np.sin(x[0] * x[1]) + math.exp(0.3 * x[2] - x[3]))

        pattern = np.eye(5, dtype=bool)
        pattern[[0, 1, 2, 3], [1, 0, 3, 2]] = True
        numerical_hessian(f, x, sparsity=pattern)
        for i, j in ((0, 1), (2, 3)):
            less = pattern.copy()
            less[[i, j], [j, i]] = False
            with pytest.raises(ValueError, match="sparsity is too small"):
                numerical_hessian(f, x, sparsity=less)


IN_FEW_DIGITS = {
    "rounded to float32": lambda x: float(np.float32(np.sum(x**2))),
    "in the first digits of decimals": lambda x: float(np.float32(np.exp(x[0]) * 0.37)) * 64.0 + 2.0,
    "computed in float32": lambda x: float(np.exp(x.astype(np.float32)).sum()),
    "beside a constant": lambda x: 3.0 + float(np.sin(x.astype(np.float32)).sum()),
    "in steps": lambda x: np.floor(1e3 * np.sum(x**2)),
}


@pytest.mark.parametrize("sparsity", [None, np.ones((3, 3))], ids=["dense", "sparse"])
@pytest.mark.parametrize("name", IN_FEW_DIGITS)
def test_digits_that_f_loses_inside_are_warned_of(name, sparsity):
    for x in (np.array([1.0, 2.0, 3.0]), np.array([0.3, -0.7, 1.9])):
        with pytest.warns(RuntimeWarning, match="about 0 digits of the Hessian are right"):
            numerical_hessian(IN_FEW_DIGITS[name], x, sparsity=sparsity)


EXACT = {
    "product": (lambda x: x[0] * x[1] + x[2] ** 2, [[0, 1, 0], [1, 0, 0], [0, 0, 2]]),
    "large": (lambda x: 2.0**40 * x[0] ** 2, np.diag([2.0**41, 0.0, 0.0])),
    "beside 8": (lambda x: 8.0 + 16.0 * x[1] ** 2, np.diag([0.0, 32.0, 0.0])),
    "constant": (lambda x: 1000.0, np.zeros((3, 3))),
    "large constant": (lambda x: 2.0**1000, np.zeros((3, 3))),
}


@pytest.mark.parametrize("x", [np.array([1.0, 2.0, 4.0]), np.array([0.0, 1.0, 0.5]), np.array([0.3, -0.7, 1.9])])
@pytest.mark.parametrize("name", EXACT)
def test_terms_that_happen_to_be_exact_are_no_few_digits(name, x, recwarn):
    f, exact = EXACT[name]
    assert np.allclose(numerical_hessian(f, x), exact, rtol=1e-6, atol=1e-6 * np.abs(exact).max())
    assert not recwarn


@pytest.mark.parametrize("scale", [1.0, 1e-4, 1e-6, 1e-12])
def test_a_missing_pair_of_an_f_in_the_units_of_small_coordinates_is_found(scale):
    def f(x):
        u = x / scale
        return float(np.sum(u**2) + u[0] * u[1])

    x = scale * np.array([1.3, 0.7, 0.4])
    with pytest.raises(ValueError, match="sparsity is too small"):
        numerical_hessian(f, x, sparsity=np.eye(3, dtype=bool))


@pytest.mark.parametrize("beyond", [lambda room: 0.0 * math.sqrt(room), lambda room: 0.0 if room >= 0.0 else math.nan])
def test_f_need_not_be_defined_where_its_digits_are_looked_at(beyond, recwarn):
    hessian = numerical_hessian(lambda x: float(np.sum(x**2)) + beyond(20.0 + 2.5 * 2.0**-12 - x.sum()), np.ones(20))
    assert np.array_equal(hessian, 2.0 * np.eye(20))
    assert not recwarn


@pytest.mark.parametrize(
    "x", [np.array([1000.3, 1500.4], np.float32), np.array([1.3, 0.7], np.float16), np.array([1e6 + 1.0, 1e6])], ids=str
)
def test_an_f_in_the_units_of_x_has_not_few_digits(x, recwarn):
    assert not numerical_hessian(lambda x: 3.0 * float(x[0]) - 2.0 * float(x[1]), x).any()
    assert not numerical_hessian(lambda x: float(x[0]) - float(x[1]), x).any()
    assert not recwarn


def test_a_product_keeps_elements_that_are_known_beside_much_larger_ones():
    x, v, scales = np.array([-50.0, -4e-9]), np.array([1.0, -0.3]), np.array([0.02, 1e8])

    def f(x):
        return float(np.tanh(x @ scales) + np.tanh(1.75e8 * x[1]))

    def second(z):
        return -2.0 * np.tanh(z) * (1.0 - np.tanh(z) ** 2)

    exact = second(x @ scales) * scales * (scales @ v) + [0.0, second(1.75e8 * x[1]) * 1.75e8**2 * v[1]]
    assert np.allclose(hessian_vector_product(f, x, v), exact, rtol=1e-6)


@pytest.mark.parametrize(
    ("x", "h"), [([1.0, np.inf], "auto"), ([1.0, -np.inf], 1e-3), ([1.0, 2.0], 1e-30)], ids=["inf", "-inf", "tiny h"]
)
def test_a_step_of_a_product_that_is_lost_is_warned_of_once(x, h):
    for gradient in (None, lambda x: 2.0 * x):
        with pytest.warns(RuntimeWarning, match="in round-off there") as caught:
            found = hessian_vector_product(lambda x: x[0] ** 2 + np.exp(-x[1]), x, np.ones(2), h, gradient=gradient)
        assert len(caught) == 1
        assert np.isnan(found[1])


def grid(x):
    total = 0.0
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            total += (1.0 + i + 2.0 * j) * np.sin(x[i, j]) * x[i, j]
    return total


LAYOUTS = {
    "Fortran": np.asfortranarray,
    "every other row": lambda x: np.repeat(x, 2, axis=0)[::2],
    "big-endian": lambda x: x.astype(">f8"),
    "transposed": lambda x: x.T.copy().T,
}


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_product_at_small_coordinates_of_any_layout_and_a_gradient_after_it(layout, workers):
    f, plain = compiled_once(grid), np.array([[1.0, 2.0, 5.0], [3.0, -4.0, 7.0]]) * 1e-6
    curvature, v = 2.0 + 2.0 * np.arange(2)[:, np.newaxis] + 4.0 * np.arange(3), np.arange(1.0, 7.0).reshape(2, 3)
    x = LAYOUTS[layout](plain)
    for _ in range(2):
        found = hessian_vector_product(f, x, v, workers=workers)
        assert np.abs(found - curvature * v).max() < 1e-5 * np.abs(curvature * v).max()
    for point in (x, plain):
        assert np.allclose(numerical_gradient(f, point, "auto"), curvature * plain, rtol=1e-4, atol=0.0)
