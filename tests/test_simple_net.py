"""simpleNet against the reference net."""

import numpy as np
import pytest

from numgrad import SimpleNet, cross_entropy_error, numerical_gradient, reference, simpleNet, softmax


def twin_of(net):
    twin = reference.SimpleNet()
    twin.W = net.W
    return twin


@pytest.mark.parametrize("shape", [(2, 3), (5, 1), (1, 4), (20, 10)])
@pytest.mark.parametrize("batch", [None, 1, 7])
def test_predict_and_loss_are_those_of_the_reference(shape, batch):
    rng = np.random.default_rng(7)
    net = simpleNet(shape, rng=rng)
    x = rng.standard_normal(shape[:1] if batch is None else (batch, shape[0]))
    labels = rng.integers(0, shape[1], () if batch is None else batch)
    one_hot = np.eye(shape[1])[labels]
    twin = twin_of(net)
    assert net.predict(x).tobytes() == twin.predict(x).tobytes()
    for t in (labels, one_hot):
        # The same sums in another order, and another library's exp: a few roundings a class.
        assert net.loss(x, t) == pytest.approx(twin.loss(x, t), rel=(shape[1] + 8) * 2.0**-52, abs=1e-15)
        assert type(net.loss(x, t)) is float


def test_the_gradient_of_the_loss_is_the_exact_one_to_the_error_of_a_central_difference():
    rng = np.random.default_rng(8)
    net, x, t = simpleNet((6, 4), rng=rng), rng.standard_normal((9, 6)), rng.integers(0, 4, 9)
    gradient = numerical_gradient(lambda _: net.loss(x, t), net.W)
    p, one_hot = reference.softmax(net.predict(x)), np.eye(4)[t]
    p_label = p[np.arange(9), t][:, None]
    # The offset 1e-7 in the logarithm makes each sample count for p_label / (p_label + 1e-7) of itself.
    exact = x.T @ ((p - one_hot) * p_label / (p_label + 1e-7)) / 9
    # Third derivatives are below |x|**3, and the loss, below 20, carries about ten roundings.
    assert np.abs(gradient - exact).max() <= 1e-8 / 6 * np.abs(x).max() ** 3 + 200 * 2.0**-52 / 1e-4


def test_weights_come_from_numpys_global_state_as_in_the_book():
    np.random.seed(3)
    expected = np.random.randn(2, 3)
    np.random.seed(3)
    assert simpleNet().W.tobytes() == expected.tobytes()
    np.random.seed(3)
    assert reference.SimpleNet().W.tobytes() == expected.tobytes()


def test_weights_come_from_rng_if_it_is_given():
    expected = np.random.default_rng(5).standard_normal((4, 2))
    assert simpleNet((4, 2), rng=np.random.default_rng(5)).W.tobytes() == expected.tobytes()
    assert SimpleNet((4, 2), rng=5).W.tobytes() == expected.tobytes()
    assert SimpleNet is simpleNet
    assert repr(simpleNet((4, 2))) == "simpleNet(shape=(4, 2))"


def test_accuracy():
    net = simpleNet((2, 2))
    net.W = np.eye(2)
    assert net.accuracy([[3.0, 1.0], [1.0, 2.0], [0.0, 1.0]], [0, 0, 1]) == pytest.approx(2 / 3)
    assert net.accuracy([3.0, 1.0], [1, 0]) == 1.0
    assert net.accuracy([3.0, 1.0], 1) == 0.0


def test_huge_logits_and_nan_pass_through():
    net = simpleNet((1, 2))
    net.W = np.array([[1.0, -1.0]])
    assert net.loss([1e300], 0) == pytest.approx(-1e-7)
    assert net.loss([1e300], 1) == pytest.approx(-np.log(1e-7))
    assert np.isnan(net.loss([np.nan], 1))


@pytest.mark.parametrize(
    ("x", "t", "error", "message"),
    [
        ([1.0, 2.0, 3.0], 0, ValueError, r"x of shape \(3,\) and W of shape \(2, 3\)"),
        ([[1.0], [2.0]], [0, 0], ValueError, r"x of shape \(2, 1\) and W of shape \(2, 3\)"),
        (1.0, 0, ValueError, r"x of shape \(\) and W"),
        (np.ones((1, 1, 2)), 0, ValueError, r"x of shape \(1, 1, 2\)"),
        ([1.0, 2.0], 3, ValueError, r"labels must be in range\(3\), got 3 to 3"),
        ([1.0, 2.0], -1, ValueError, r"labels must be in range\(3\), got -1 to -1"),
        ([1.0, 2.0], [0, 1], ValueError, r"of shape \(3,\), or integer labels, of shape \(\), got \(2,\)"),
        ([[1.0, 2.0]], 0, ValueError, r"of shape \(1, 3\), or integer labels, of shape \(1,\), got \(\)"),
        ([1.0, 2.0], 1.0, TypeError, "labels must be integers"),
        (np.empty((0, 2)), np.empty(0, int), ValueError, "not be empty"),
        ([1j, 0], 0, TypeError, "x must hold real numbers"),
        (["1", "2"], 0, TypeError, "x must hold real numbers"),
        ([1.0, 2.0], [True], TypeError, "labels must be integers"),
    ],
)
def test_misuse(x, t, error, message):
    net = simpleNet()
    for method in (net.loss, net.accuracy, net.objective, net.numerical_gradient):
        with pytest.raises(error, match=message):
            method(x, t)


@pytest.mark.parametrize(
    ("W", "error", "message"),
    [
        (None, TypeError, "W must hold real numbers"),
        ([["a", "b"], ["c", "d"]], TypeError, "W must hold real numbers"),
        (np.ones((2, 3)) * 1j, TypeError, "W must hold real numbers"),
        (np.ones((2, 3), object), TypeError, "W must hold real numbers"),
        ([[1.0], [2.0, 3.0]], ValueError, "W must be a rectangular array"),
        (1.0, ValueError, r"W must have the shape \(features, classes\) and not be empty, got \(\)"),
        (np.ones(2), ValueError, r"W must have the shape .* got \(2,\)"),
        (np.ones((1, 2, 3)), ValueError, r"W must have the shape .* got \(1, 2, 3\)"),
        (np.ones((2, 0)), ValueError, r"W must have the shape .* got \(2, 0\)"),
        (np.ones((3, 3)), ValueError, r"x of shape \(2,\) and W of shape \(3, 3\)"),
    ],
)
def test_weights_that_are_no_matrix(W, error, message):
    net = simpleNet()
    net.W = W
    methods = net.loss, net.accuracy, net.objective, net.numerical_gradient, lambda x, _: net.predict(x)
    for method in methods:
        with pytest.raises(error, match=message) as caught:
            method([1.0, 2.0], 0)
        assert "\n" not in str(caught.value)


def test_soft_labels_in_every_method():
    net, rng = simpleNet((3, 4), rng=1), np.random.default_rng(9)
    x, t = rng.standard_normal((5, 3)), softmax(rng.standard_normal((5, 4)))
    assert net.loss(x, t) == pytest.approx(cross_entropy_error(softmax(net.predict(x)), t), rel=1e-14)
    assert net.loss(x[0], t[0]) == pytest.approx(cross_entropy_error(softmax(net.predict(x[0])), t[0]), rel=1e-14)
    assert net.objective(x, t)(net.W) == net.loss(x, t)
    assert net.accuracy(x, t) == net.accuracy(x, t.argmax(-1))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_sample_with_a_nan_logit_is_never_right(bad):
    net = simpleNet((1, 3))
    net.W = np.array([[bad, 0.0, 1.0]])
    with np.errstate(all="ignore"):
        assert net.accuracy([[0.0], [0.0]], [0, 2]) == 0.0  # inf * 0
        net.W = np.array([[1.0, 0.0, -1.0]])
        assert net.accuracy([[np.nan], [1.0]], [0, 0]) == 0.5
        assert net.accuracy([np.nan], [0.5, 0.25, 0.25]) == 0.0


@pytest.mark.parametrize(
    ("shape", "error", "message"),
    [
        (3, TypeError, "shape must be a pair of integers"),
        ((1, 2, 3), TypeError, "shape must be a pair of integers"),
        ((2, 0), ValueError, "classes must be at least 1, got 0"),
        ((-2, 3), ValueError, "features must be at least 1"),
        ((2.0, 3), TypeError, "features must be an integer"),
    ],
)
def test_bad_shapes(shape, error, message):
    with pytest.raises(error, match=message):
        simpleNet(shape)


def test_an_objective_of_soft_labels_takes_the_shape_of_the_weights():
    net = simpleNet((7, 3), rng=0)
    objective = net.objective(np.ones((5, 7)), np.full((5, 3), 1 / 3))
    for columns in (1, 2, 4):
        for call in (objective, lambda W: numerical_gradient(objective, W)):
            with pytest.raises(ValueError, match=f"W must have a column for each of 3 classes, got {columns}"):
                call(np.ones((7, columns)))


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.float16, np.float32, ">f8", np.longdouble])
def test_logits_are_sums_of_float64(kind):
    net, x = simpleNet((2, 2)), np.array([200, 250], np.uint8).astype(kind if kind != np.int8 else np.uint8)
    net.W = np.array([[100, 0], [101, 3]]).astype(kind)
    assert net.predict(x).dtype == np.float64
    assert net.predict(x).tolist() == [45250.0, 750.0]
    assert net.loss(x, 1) == net.objective(x, 1)(net.W) == pytest.approx(-np.log(1e-7))
    assert net.loss(1000 * x.astype(float), [0.5, 0.5]) == pytest.approx(-np.log(1e-7) / 2)


def test_what_underflows_is_as_good_as_zero_whatever_numpy_is_to_do():
    net, x, t = simpleNet((4, 3), rng=0), np.linspace(-1.0, 1.0, 20).reshape(5, 4), np.array([0, 1, 2, 0, 1])
    net.W *= 1e-200
    x *= 1e-200
    with np.errstate(under="raise"):
        assert not net.predict(x=x).any()
        assert net.loss(x, t) == pytest.approx(np.log(3.0), rel=1e-6)
        assert net.accuracy(x, t) == 0.4
        assert np.abs(net.numerical_gradient(x, t)).max() < 1e-199
