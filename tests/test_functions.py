"""function_1, function_2, softmax, cross_entropy_error."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from problems import needs_jit

from numgrad import (
    LayerObjective,
    MultiLayerNet,
    cross_entropy_error,
    function_1,
    function_2,
    numerical_gradient,
    reference,
    relu,
    sigmoid,
    simpleNet,
    softmax,
    sum_squared_error,
)

logits = hnp.arrays(
    np.float64, hnp.array_shapes(max_dims=2, max_side=6), elements=st.floats(-800, 800, allow_subnormal=False)
)


@needs_jit
def test_the_functions_compile_as_they_stand():
    from numba import njit

    assert njit()(function_1)(5.0) == function_1(5.0)
    assert njit()(function_2)(np.array([3.0, 4.0])) == 25.0


@settings(max_examples=50, deadline=None, derandomize=True)
@given(x=logits, shift=st.floats(-1e3, 1e3))
def test_softmax_gives_probabilities_that_a_shift_does_not_change(x, shift):
    y = softmax(x)
    assert y.shape == x.shape
    assert ((y >= 0) & (y <= 1)).all()
    assert np.allclose(y.sum(axis=-1), 1.0, rtol=0, atol=x.shape[-1] * 2.0**-52)
    # The logits are rounded when they are shifted, by half a unit in the last place of 1800 at most.
    assert np.allclose(softmax(x + shift), y, rtol=4 * 1800 * 2.0**-52, atol=1e-300)
    assert y.tobytes() == reference.softmax(x).tobytes()


def test_softmax_takes_lists_and_integers_and_leaves_x_alone():
    x = np.array([[1, 2], [3, 4]])
    assert softmax(x).tobytes() == softmax([[1.0, 2.0], [3.0, 4.0]]).tobytes()
    assert x.tolist() == [[1, 2], [3, 4]]


@settings(max_examples=50, deadline=None, derandomize=True)
@given(data=st.data(), x=logits)
def test_one_hot_and_integer_labels_give_the_same_loss(data, x):
    y = softmax(x)
    labels = np.asarray(data.draw(hnp.arrays(np.int64, x.shape[:-1], elements=st.integers(0, x.shape[-1] - 1))))
    one_hot = np.eye(x.shape[-1])[labels]
    loss = cross_entropy_error(y, one_hot)
    assert type(loss) is float
    assert loss == cross_entropy_error(y, labels) == cross_entropy_error(y.tolist(), labels.tolist())
    rows = y.reshape(-1, x.shape[-1])
    exact = -np.mean([np.log(row[label] + 1e-7) for row, label in zip(rows, labels.reshape(-1), strict=True)])
    assert loss == pytest.approx(exact, rel=1e-14, abs=1e-15)


def test_a_zero_probability_gives_a_finite_loss():
    assert cross_entropy_error([1.0, 0.0], 1) == pytest.approx(-np.log(1e-7))


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        ([], ValueError, "at least one class"),
        (3.0, ValueError, "at least one class"),
        (np.empty((2, 0)), ValueError, "at least one class"),
        ([1j], TypeError, "real numbers"),
        (["a"], TypeError, "real numbers"),
        (None, TypeError, "real numbers"),
    ],
)
def test_softmax_misused(x, error, message):
    with pytest.raises(error, match=message):
        softmax(x)


Y = np.full((2, 3), 1 / 3)


@pytest.mark.parametrize(
    ("y", "t", "error", "message"),
    [
        (Y, [0, 3], ValueError, r"labels must be in range\(3\), got 0 to 3"),
        (Y, [-1, 0], ValueError, r"labels must be in range\(3\), got -1 to 0"),
        (
            Y,
            [0, 1, 2],
            ValueError,
            r"one-hot or soft, of shape \(2, 3\), or integer labels, of shape \(2,\), got \(3,\)",
        ),
        (Y, 0, ValueError, r"got \(\)"),
        (Y, [0.0, 1.0], TypeError, "labels must be integers"),
        (Y, ["a", "b"], TypeError, "t must hold real numbers"),
        (Y * 1j, [0, 1], TypeError, "y must hold real numbers"),
        (np.empty((0, 3)), np.empty(0, int), ValueError, "must have the shape"),
        (np.ones((1, 1, 1)), [[0]], ValueError, "must have the shape"),
        (1.0, 0, ValueError, "must have the shape"),
    ],
)
def test_cross_entropy_misused(y, t, error, message):
    with pytest.raises(error, match=message):
        cross_entropy_error(y, t)


BAD_ROWS = [
    [0.0, 0.0, 0.0],
    [0, 0, 0],
    [False, False, False],
    [1, 0, 1],
    [True, True, False],
    [2, 0, 0],
    [0, -1, 2],
    [1.5, -0.5, 0.0],
    [0.4, 0.3, 0.2],
    [0.5, 0.5, 2e-6],
    [np.nan, 0.5, 0.5],
    [np.nan, 0.0, 0.0],
    [1.0, np.nan, 0.0],
    [np.inf, 0.0, 0.0],
    [1.0, np.inf, -np.inf],
]


@pytest.mark.parametrize("row", BAD_ROWS)
def test_what_is_no_label_is_refused(row):
    net = simpleNet((2, 3), rng=0)
    good = np.array([0, 1, 0], np.asarray(row).dtype)
    for t, b, x, y in ((row, 0, np.ones(2), Y[0]), ([good, row], 1, np.ones((2, 2)), Y)):
        for call in (
            lambda t=t, y=y: cross_entropy_error(y, t),
            lambda t=t, x=x: net.loss(x, t),
            lambda t=t, x=x: net.objective(x, t),
            lambda t=t, x=x: net.numerical_gradient(x, t),
            lambda t=t, x=x: net.accuracy(x, t),
        ):
            with pytest.raises(ValueError, match=rf"row of t must be one-hot, or probabilities.*; row {b} has the sum"):
                call()


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint64, np.float16, np.float32, np.float64, np.longdouble])
def test_one_hot_rows_of_any_kind_have_the_bits_of_the_reference(dtype):
    y = softmax(np.random.default_rng(3).standard_normal((5, 4)))
    labels = np.array([0, 3, 1, 1, 2])
    rows = np.eye(4)[labels].astype(dtype)
    assert cross_entropy_error(y, rows) == reference.cross_entropy_error(y, labels)
    assert cross_entropy_error(y, rows.tolist()) == reference.cross_entropy_error(y, labels)
    assert cross_entropy_error(y[1], rows[1]) == reference.cross_entropy_error(y[1], labels[1])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("batch", [None, 4])
def test_soft_labels_are_the_cross_entropy_that_they_mean(dtype, batch):
    rng = np.random.default_rng(4)
    y, t = softmax(rng.standard_normal((2, *([batch] if batch else []), 1000 if dtype is np.float32 else 6)))
    t = t.astype(dtype)
    expected = -np.sum(np.float64(t) * np.log(y + 1e-7)) / (batch or 1)
    assert cross_entropy_error(y, t) == pytest.approx(expected, rel=1e-13)


def test_a_label_of_one_class_may_stand_in_a_list():
    assert cross_entropy_error([1.0], [0]) == cross_entropy_error([1.0], [1]) == cross_entropy_error([1.0], 0)


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int32, np.uint64, np.float32, float])
@pytest.mark.parametrize("other", [np.int8, bool, float])
def test_squares_of_small_integers_do_not_overflow(kind, other):
    y, t = np.array([120, 2, 0]).astype(kind), np.array([0, 1, 1]).astype(other)
    assert sum_squared_error(y, t) == 0.5 * (120**2 + 1 + 1)
    assert sum_squared_error(y.tolist(), t.tolist()) == 0.5 * (120**2 + 1 + 1)


def test_masks_stay_or_are_refused():
    x = np.ma.masked_greater(np.array([-1.0, 0.5, 2.0]), 1.0)
    for f in (sigmoid, relu):
        assert np.ma.getmaskarray(f(x)).tolist() == [False, False, True]
        assert f(x)[:2].tolist() == f(x.data)[:2].tolist()
    for y, t in ((np.ma.masked_less([0.5, 0.4, 0.1], 0.2), 0), ([0.5, 0.4, 0.1], np.ma.masked_equal([1, 0, 0], 1))):
        with pytest.raises(TypeError, match=r"[yt] has masked elements, which would count as what is below"):
            cross_entropy_error(y, t)


@pytest.mark.parametrize("labels", [np.ma.array([True, False, False], mask=[1, 0, 0])])
def test_masked_labels_are_refused_whatever_they_are(labels):
    p, net = np.array([0.2, 0.3, 0.5]), simpleNet()
    for call in (cross_entropy_error, sum_squared_error):
        for t in (labels, labels.astype(float), [labels]):
            with pytest.raises(TypeError, match="t has masked elements"):
                call(p, t)
    with pytest.raises(TypeError, match="t has masked elements"):
        net.loss([0.6, 0.9], labels)


@pytest.mark.parametrize("function", [relu, sigmoid])
@pytest.mark.parametrize("values", [[1 + 1j, 2], [True, False], ["a", "b"]])
def test_masked_arrays_of_no_real_numbers_are_refused(function, values):
    with pytest.raises(TypeError, match="x must hold real numbers"):
        function(np.ma.array(values, mask=[1, 0]))


@needs_jit  # plain Python would raise in a kernel too
def test_underflow_is_no_error_of_a_caller_who_has_numpy_raise():
    rng = np.random.default_rng(0)
    x, t, soft = 1000.0 * rng.standard_normal((5, 3)), [0, 1, 2, 0, 1], np.full((5, 3), 1 / 3)
    nets = [MultiLayerNet(3, [4, 3], 3, activation, rng=1) for activation in ("relu", "tanh", "sigmoid")]
    layer, W = simpleNet((3, 3), rng=0), rng.standard_normal((3, 2))
    plain = LayerObjective(np.array([[1e-200, 1.0, 2.0]] * 4), lambda z: z.sum(axis=1))
    for net in nets:
        net.params["b1"][0] = 1e-200

    def found():
        yield sigmoid([1e4, -1e4, 0.0])
        yield softmax([1000.0, 0.0, -1000.0])
        yield sum_squared_error([1e-200, 2.0], [0, 0])
        yield cross_entropy_error([1e-300, 1.0], 1)
        for net in nets:
            yield net.loss(x, t), net.loss(x, soft), net.accuracy(x, t)
            yield from (*net.gradient(x, t).values(), *net.numerical_gradient(x, t).values())
        yield layer.loss(x, t), layer.loss(x, soft)
        yield from (layer.numerical_gradient(x, t), layer.numerical_gradient(x, soft), numerical_gradient(plain, W))
        layer.objective(x, t).verify(layer.W)
        yield numerical_gradient(lambda x: x.sum(), np.array([5e-324, 1e-300, 1.0]), "auto")

    expected = list(found())
    with np.errstate(under="raise"):
        for one, other in zip(found(), expected, strict=True):
            assert np.array_equal(one, other)


def test_sums_of_float16_do_not_overflow():
    ones, many = np.ones(200_000, np.float16), np.full((100_000, 4), 0.25, np.float16)
    assert sum_squared_error(ones, np.zeros(200_000, np.float16)) == 100_000.0
    assert sum_squared_error(np.array([600.0], np.float16), [0]) == 180_000.0
    assert cross_entropy_error(many, np.zeros(100_000, int)) == pytest.approx(np.log(4), abs=1e-6)
    assert cross_entropy_error(many, many) == pytest.approx(np.log(4), abs=1e-6)
    assert cross_entropy_error(np.array([0.0, 1.0], np.float16), 0) == pytest.approx(-np.log(1e-7))
