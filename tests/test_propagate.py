"""Covariances to first order, against exact ones: the cases of jacobi's own tests, and what it leaves out."""

import numpy as np
import pytest
from problems import compiled, needs_jit

from numgrad import propagate

# The default is a central difference with a step of eps**(1/3): its error is about 1e-10 of values near 1.
RTOL = 1e-8
A = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])


@pytest.mark.parametrize(
    ("f", "x", "cov", "value", "covariance"),
    [
        (lambda x: x**2 + 5, 2, 3, 9.0, 48.0),
        (lambda x: np.ones(2) * x**2, 2, 3, [4.0, 4.0], [[48.0, 48.0], [48.0, 48.0]]),
        (np.sum, [0, 1], [1, 1], 1.0, 2.0),
        (np.sum, [0, 1], [[1, 0], [0, 1]], 1.0, 2.0),
        (np.sum, [0, 1], 2, 1.0, 4.0),
        (np.sum, [0, 1], [[1, 0.5], [0.5, 1]], 1.0, 3.0),
        (lambda x: A @ x, [0, 1], [1, 1], [2, 4, 6], A @ A.T),
        (lambda x: A @ x, [0, 1], [[2, 1], [1, 3]], [2, 4, 6], A @ [[2, 1], [1, 3]] @ A.T),
        (lambda x: A @ x, [0, 1], 2, [2, 4, 6], 2 * A @ A.T),
        (lambda x: 2 * x, [1, 2], [3, 4], [2, 4], [12, 16]),
        (lambda x: 2 * x, [1], [3], [2], [12]),
        (lambda x: 2 * x, [1], [[3]], [2], [[12]]),
        (lambda x: 2 * x, [1, 2], [[3, 0], [0, 4]], [2, 4], [[12, 0], [0, 16]]),
        (lambda x: x**2 + 1, [1, 2], [[3, 1], [1, 4]], [2, 5], [[12, 8], [8, 64]]),
        (lambda x: x**2 + 1, [1, 2], 3, [2, 5], [12, 48]),
        (lambda x: x[::-1] * 2, [1, 2], [3, 4], [4, 2], [[16, 0], [0, 12]]),
    ],
)
def test_exact_covariances(f, x, cov, value, covariance):
    found, own = propagate(f, x, cov)
    assert np.shape(found) == np.shape(value)
    assert np.shape(own) == np.shape(covariance)
    assert np.allclose(found, value, rtol=1e-15)
    assert np.allclose(own, covariance, rtol=RTOL, atol=1e-9)


@pytest.mark.parametrize("cov", [[3.0, 4.0], [[3.0, 1.0], [1.0, 4.0]], 3.0], ids=str)
def test_an_f_that_is_known_to_be_elementwise_takes_two_evaluations(cov):
    calls = []
    f = lambda x: calls.append(1) or x**2 + 3  # noqa: E731
    covariance = propagate(f, [1.0, 2.0], cov, diagonal=True)[1]
    assert len(calls) == 3
    assert np.allclose(covariance, propagate(f, [1.0, 2.0], cov)[1], rtol=RTOL)
    assert propagate(lambda x: x**2 + 3, 2, 3, diagonal=True) == (7.0, pytest.approx(48.0, rel=RTOL))


@pytest.mark.parametrize("diagonal", [False, True])
def test_what_is_not_a_number_stays_where_it_is(diagonal):
    nan = np.nan
    cov = [[3.0, nan, 1.0], [nan, nan, nan], [1.0, nan, 5.0]]
    value, covariance = propagate(lambda x: x**2 + 1, [1.0, nan, 2.0], cov, diagonal=diagonal)
    assert np.allclose(value, [2, nan, 5], equal_nan=True)
    assert np.allclose(covariance, [[12, nan, 8], [nan, nan, nan], [8, nan, 80]], rtol=RTOL, equal_nan=True)


def test_independent_arguments_add_up():
    f = lambda x, y: (x - y) / (x + y)  # noqa: E731
    # The slopes are 2 y / (x + y)**2 and -2 x / (x + y)**2.
    value, variance = propagate(f, 1, 2, 3, 4)
    assert value == -0.5
    assert variance == pytest.approx((6 / 16) ** 2 * 2 + (2 / 16) ** 2 * 4, rel=RTOL)
    assert np.ndim(variance) == 0


def test_vectors_and_numbers_mix():
    join = lambda x, y: np.concatenate([x, np.atleast_1d(y)])  # noqa: E731
    value, covariance = propagate(join, [1, 2], [2, 3], 3, 4)
    assert value.tolist() == [1, 2, 3]
    assert np.allclose(covariance, np.diag([2, 3, 4]), atol=1e-9)
    # A number moves all of a vector: its part is a matrix, that of the vector itself are variances.
    expected = np.diag([18.0, 27.0]) + 4.0 * np.outer([1, 2], [1, 2])
    for given in (([1.0, 2.0], [2.0, 3.0], 3.0, 4.0), (3.0, 4.0, [1.0, 2.0], [2.0, 3.0])):
        assert np.allclose(propagate(lambda x, y: x * y, *given)[1], expected, rtol=RTOL, atol=1e-8)


@pytest.mark.parametrize("n", [20, 21, 64, 1000])
def test_an_elementwise_f_of_many_numbers_takes_few_evaluations(n):
    calls = []
    x = np.linspace(-2.0, 2.0, n)
    _, variances = propagate(lambda x: calls.append(1) or np.sin(x), x, np.full(n, 2.0))
    assert len(calls) <= 2 * (np.log2(n) + 1) + 3 + 9  # of which nine are for elements below 0.1
    assert variances.shape == (n,)
    assert np.allclose(variances, 2.0 * np.cos(x) ** 2, atol=1e-8)


@pytest.mark.parametrize("shift", [1, -1, 7, 16])
def test_a_single_other_coordinate_is_found(shift):
    x = np.linspace(1.0, 2.0, 32)

    def f(x):
        y = x**2
        y[5] += 1e-3 * x[(5 + shift) % 32]
        return y

    jacobian = np.diag(2 * x)
    jacobian[5, (5 + shift) % 32] = 1e-3
    covariance = propagate(f, x, np.ones(32))[1]
    assert np.allclose(covariance, jacobian @ jacobian.T, rtol=1e-6, atol=1e-9)


def test_differences_of_neighbours_are_not_elementwise():
    x = np.ones(32)
    covariance = propagate(lambda x: x - np.roll(x, 1), x, np.ones(32))[1]
    assert covariance.shape == (32, 32)
    assert np.allclose(np.diag(covariance), 2.0, atol=1e-8)


def test_a_compiled_f_is_differentiated_as_one():
    f = compiled(lambda x: np.array([x[0] * x[1], x[0]]))
    value, covariance = propagate(f, [3.0, 4.0], [0.1, 0.2])
    J = np.array([[4.0, 3.0], [1.0, 0.0]])
    assert value.tolist() == [12.0, 3.0]
    assert np.allclose(covariance, J @ np.diag([0.1, 0.2]) @ J.T, rtol=RTOL)


def test_steps_and_schemes_are_chosen():
    exact = (2 * 3.0 * np.cos(9.0)) ** 2 * 0.1
    options = {"h": 1e-2}, {"scheme": "central6"}
    errors = [abs(propagate(lambda x: np.sin(x**2), 3.0, 0.1, **o)[1] - exact) for o in options]
    assert errors[1] < 1e-7 < 1e-5 < errors[0]


def test_arguments_are_not_changed():
    x, cov = np.array([1.0, 2.0]), np.eye(2)
    before = x.tobytes(), cov.tobytes()

    def f(x, y):
        return x * y

    propagate(f, x, cov, 3.0, 1.0)
    assert (x.tobytes(), cov.tobytes()) == before


def test_a_fit_propagates_like_linear_algebra_says():
    # A line through points: the variance of its value at t is (1, t) C (1, t).
    C = np.array([[0.2, -0.05], [-0.05, 0.1]])
    t = np.linspace(0.0, 1.0, 5)
    rows = np.stack([np.ones(5), t], axis=1)
    value, covariance = propagate(lambda p: p[0] + p[1] * t, [1.0, 2.0], C)
    assert np.allclose(value, 1.0 + 2.0 * t)
    assert np.allclose(covariance, rows @ C @ rows.T, rtol=RTOL, atol=1e-10)


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ((1, 2, 3), ValueError, "each argument needs a covariance, got 3 arrays"),
        (([[1.0]], 1), ValueError, r"x must have at most 1 axis, got the shape \(1, 1\)"),
        ((1, [[[1]]]), ValueError, "cov must be a variance, or of shape"),
        ((2, [1.0, 1.0]), ValueError, r"cov must be a variance, or of shape \(\) or \(\) as x is, got \(2,\)"),
        (([1.0, 2.0], np.ones((2, 3))), ValueError, "cov must be a variance"),
        (([1.0, 2.0], "text"), TypeError, "cov must hold real numbers"),
        ((1.0, -1e-300), ValueError, "cov must have no negative variance, got -1e-300"),
        (([1.0, 2.0], [3.0, -1e-6]), ValueError, "cov must have no negative variance, got -1e-06"),
        ((1, 1, [1.0, 2.0], [[-1.0, 0.0], [0.0, 2.0]]), ValueError, "cov must have no negative variance, got -1"),
        (([1.0, 2.0], [[1.0, 2.0], [0.0, 1.0]]), ValueError, r"symmetric, got 2 at \[0, 1\] and 0 at \[1, 0\]"),
        (([1.0, 2.0], [[1e-8, 0.9], [0.8, 1e8]]), ValueError, "cov must be symmetric"),
        ((["a"], 1.0), TypeError, "x must hold real numbers"),
    ],
)
def test_misuse_is_one_clear_line(given, error, said):
    with pytest.raises(error, match=said):
        propagate(lambda *x: x[0], *given)


@pytest.mark.parametrize("n", [1, 3, 25])
@pytest.mark.parametrize("options", [{}, {"diagonal": True}, {"h": 1e-3, "scheme": "forward"}])
def test_an_f_that_reads_x_itself_is_refused(n, options):
    w, v = np.linspace(1.0, 2.0, n), np.linspace(0.5, 1.0, n)
    before = w.tobytes()
    for given, f in (
        ((w, np.ones(n)), lambda _: w**2),
        ((v, np.ones(n), w, np.ones(n)), lambda v, _: w**2 * v),
        ((w.astype(np.float32), np.ones(n)), None),
    ):
        own = given[0]
        f = f or (lambda _, own=own: own.astype(float) ** 2)
        with pytest.raises(ValueError, match="f reads x by another way than its argument"):
            propagate(f, *given, **options)
    assert w.tobytes() == before


@pytest.mark.parametrize("kind", ["integers", "read-only"])
def test_where_that_cannot_be_seen_zeros_are_warned_of(kind):
    w = np.array([1, 2, 3]) if kind == "integers" else np.array([1.0, 2.0, 3.0])
    w.flags.writeable = False
    with pytest.warns(RuntimeWarning, match="all differences are exactly zero") as caught:
        assert not propagate(lambda _: w**2, w, np.ones(3))[1].any()
    assert caught[0].filename == __file__


def test_a_constant_f_is_no_fault():
    x, cov = np.array([1.0, 2.0]), np.ones(2)
    assert not propagate(lambda x: np.ones(3), x, cov)[1].any()
    assert not propagate(lambda x: 7.0, [1, 2], cov)[1].any()
    _, covariance = propagate(lambda x, y: 2.0 * y, x, cov, np.array([3.0]), 1.0)
    assert np.allclose(covariance, [[4.0]])
    calls = []
    propagate(lambda x: calls.append(1) or np.ones(3), x, cov)
    assert len(calls) <= 2 * 2 + 2 + 4


def test_f_is_a_function():
    with pytest.raises(TypeError, match="f must be callable, got int 3"):
        propagate(3, 1.0, 1.0)


def test_values_have_one_axis_at_most():
    with pytest.raises(ValueError, match="the value of f must have at most 1 axis"):
        propagate(lambda x: np.ones((2, 2)) * x, 1.0, 1.0)


@pytest.mark.parametrize(
    "case", [(np.sin, [1.0, 2.0], [0.1, 0.2]), (np.prod, [1.0, 2.0, 3.0], np.eye(3))], ids=["sin", "prod"]
)
def test_jacobi_agrees(case):
    jacobi = pytest.importorskip("jacobi")
    for own, other in zip(propagate(*case), jacobi.propagate(*case), strict=True):
        assert np.allclose(own, other, rtol=1e-7)


def test_the_rounding_of_a_covariance_is_no_fault():
    rng = np.random.default_rng(0)
    for power in (0, 3, 6):  # the condition of the columns of a fit, which is squared
        rows = rng.normal(size=(20, 4)) @ np.diag(10.0 ** np.linspace(0, power, 4))
        for cov in (np.linalg.inv(rows.T @ rows), np.linalg.pinv(rows.T @ rows, rcond=1e-16)):
            for digits in (17, 6):
                given = np.array([[float(f"{element:.{digits}g}") for element in row] for row in cov])
                assert propagate(np.sum, np.ones(4), given)[1] == pytest.approx(given.sum(), rel=1e-6, abs=1e-20)
    for cov in ([1.0, -1e-18], [[1.0, 0.0], [0.0, -1e-18]], [np.inf, 1.0], [[np.nan, 0.0], [0.0, 1.0]]):
        propagate(lambda x: 2.0 * x, [1.0, 2.0], cov)


def by_label(p):
    return p["a"] ** 2 * p["b"] + 0.0 * p["c"]


@pytest.mark.parametrize("f", [by_label, lambda p: 2.0 * p, lambda p: p[["c", "a"]]], ids=["number", "Series", "part"])
@pytest.mark.parametrize("options", [{}, {"h": 1e-4, "scheme": "forward"}, {"scheme": "complex"}])
def test_a_series_reaches_f_with_its_labels(f, options):
    pd = pytest.importorskip("pandas")
    x, names = pd.Series({"a": 1.0, "b": 2.0, "c": 3.0}), list("abc")
    cov = np.array([[1.0, 0.5, 0.0], [0.5, 4.0, 0.1], [0.0, 0.1, 9.0]])
    jacobian = [[4.0, 1.0, 0.0]] if f is by_label else np.array(f(pd.DataFrame(np.eye(3), names, names).T).T)
    expected = jacobian @ cov @ np.transpose(jacobian)
    if f is by_label:
        expected = expected[0, 0]
    elif np.ndim(f(x)) and len(f(x)) == 2:
        expected = cov[np.ix_([2, 0], [2, 0])]
    for given in (cov, pd.DataFrame(cov, names, names), pd.DataFrame(cov)):
        value, covariance = propagate(f, x, given, **options)
        assert type(value) in (np.float64, np.ndarray)
        assert np.array_equal(value, f(x))
        assert np.allclose(covariance, expected, rtol=1e-4, atol=1e-6)
    assert x.tolist() == [1.0, 2.0, 3.0]


def test_one_of_several_arguments_may_have_labels():
    pd = pytest.importorskip("pandas")
    x = pd.Series({"a": 1.0, "b": 2.0})
    value, variance = propagate(lambda k, p: k * p["b"], 3.0, 0.1, x, pd.Series({"a": 1.0, "b": 4.0}))
    assert (value, variance) == (6.0, pytest.approx(4 * 0.1 + 9 * 4.0))


@needs_jit
def test_a_compiled_f_receives_a_series_as_an_array():
    pd = pytest.importorskip("pandas")
    x = pd.Series({"a": 1.0, "b": 2.0})
    assert propagate(compiled(lambda x: x[0] * x[1]), x, [1.0, 4.0])[1] == pytest.approx(8.0)


@pytest.mark.parametrize("kind", [lambda f: f, compiled], ids=["Python", "compiled"])
def test_a_covariance_with_labels_in_another_order_is_refused(kind):
    pd = pytest.importorskip("pandas")
    x, f = pd.Series({"a": 1.0, "b": 2.0, "c": 3.0}), kind(lambda p: 2.0 * p)
    cov = pd.DataFrame(np.diag([1.0, 4.0, 9.0]), list("abc"), list("abc"))
    wrongs = [cov.loc[list("cba"), list("cba")], cov[list("bac")], cov.loc[list("acb")], pd.Series(1.0, list("bca"))]
    for wrong in wrongs:
        for given in ((x, wrong), (2.0 * x, cov, x, wrong)):
            with pytest.raises(ValueError, match="cov must have the labels of x in their order"):
                propagate(f, *given)


def test_a_series_that_f_reads_itself_is_found():
    pd = pytest.importorskip("pandas")
    x = pd.Series([1.0, 2.0])
    with (
        pytest.raises(ValueError, match="f reads x by another way")
        if x.to_numpy().flags.writeable
        else pytest.warns(RuntimeWarning, match="all differences are exactly zero")
    ):
        propagate(lambda _: x.to_numpy() ** 2, x, np.ones(2))
