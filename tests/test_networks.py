"""TwoLayerNet, MultiLayerNet and train: against the plain loop, backpropagation, and the book's ways to use them."""

import numpy as np
import pytest

from numgrad import (
    MultiLayerNet,
    TwoLayerNet,
    check_gradient,
    cross_entropy_error,
    function_1,
    gradient_descent,
    numerical_diff,
    numerical_gradient,
    plotting,
    relu,
    sigmoid,
    simpleNet,
    softmax,
    sum_squared_error,
    tangent_line,
    train,
)
from numgrad.commands.demo import load_digits

EPS = 2.0**-52
NETS = {
    "two layers": lambda: TwoLayerNet(7, 5, 4, 0.5, rng=0),
    "relu": lambda: MultiLayerNet(7, [6, 5], 4, rng=0),
    "sigmoid": lambda: MultiLayerNet(7, [6, 5, 4], 4, "sigmoid", "sigmoid", rng=0),
    "tanh, decay": lambda: MultiLayerNet(7, [6], 4, "tanh", 0.7, 0.1, rng=0),
    "no hidden layer": lambda: MultiLayerNet(7, [], 4, rng=0),
}


def batch(seed=0, size=9, features=7, classes=4):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((size, features)), rng.integers(0, classes, size)


def plain(net, x, t, key, h=1e-4):
    return numerical_gradient(lambda _: net.loss(x, t), net.params[key], h)


@pytest.mark.parametrize("h", [1e-5, 1e-4, 1e-3, 1e-2])
@pytest.mark.parametrize("kind", NETS)
def test_every_difference_is_that_of_the_plain_loop(kind, h):
    for seed in range(3):
        net, (x, t) = NETS[kind](), batch(seed, 3 + seed)
        net.flat[...] += 0.1 * np.random.default_rng(seed).standard_normal(net.flat.size)  # biases too
        slopes = net.numerical_gradient(x, t, h)
        assert list(slopes) == list(net.params)
        for key, found in slopes.items():
            expected = plain(net, x, t, key, h)
            assert found.shape == expected.shape
            error, largest = np.abs(found - expected).max(), np.abs(expected).max()
            assert error <= 32 * EPS * (net.loss(x, t) + 8) / h + 1e-9 * largest * (h > 1e-3)


@pytest.mark.parametrize("kind", [kind for kind in NETS if kind != "relu"])
def test_backpropagation_is_the_limit_of_the_differences(kind):
    net, (x, t) = NETS[kind](), batch(1)
    for labels in (t, np.eye(4)[t], softmax(np.random.default_rng(0).standard_normal((9, 4)))):
        exact, slopes = net.gradient(x, labels), net.numerical_gradient(x, labels, 1e-4)
        assert list(exact) == list(net.params)
        for key in exact:  # third derivatives are some 100 of x cubed
            assert np.abs(exact[key] - slopes[key]).max() <= 1e-7


@pytest.mark.parametrize("kind", NETS)
def test_check_gradient_passes_backpropagation_and_the_unchanged_idiom(kind):
    net, (x, t) = NETS[kind](), batch(2)
    assert check_gradient(lambda _: net.loss(x, t), net.gradient(x, t), net.params).ok
    wrong = net.gradient(x, t)
    wrong["b1"] = 1.01 * wrong["b1"]
    assert not check_gradient(lambda _: net.loss(x, t), wrong, net.params).ok
    slopes = numerical_gradient(lambda W: net.loss(x, t), net.params["W1"])
    assert np.abs(slopes - net.gradient(x, t)["W1"]).max() <= 1e-6


@pytest.mark.parametrize("kind", NETS)
def test_all_weights_are_checked_through_the_objective(kind):
    for seed in range(4):
        net, (x, t) = NETS[kind](), batch(seed)
        net.flat[...] += 0.1 * np.random.default_rng(seed).standard_normal(net.flat.size)  # or dead units make kinks
        f, exact = net.objective(x, t), net.gradient(x, t)
        assert f(net.params) == net.loss(x, t)
        saved = net.flat.tobytes()
        check = check_gradient(f, exact, net.params, rtol=1e-7)
        assert check.ok, str(check)
        assert check.checked == net.flat.size
        for key in exact:
            wrong = {**exact, key: exact[key].copy()}
            wrong[key].reshape(-1)[0] = wrong[key].reshape(-1)[0] * 1.001 + 1e-5
            check = check_gradient(f, wrong, net.params)
            assert [name for name, array in check.arrays.items() if not array.ok] == [key]
        assert net.flat.tobytes() == saved


def test_relu_nets_with_kinks_next_to_x_have_honest_bars():
    for seed in range(16):
        rng = np.random.default_rng(seed)
        net = MultiLayerNet(20, [16, 12], 5, rng=seed)
        x, t = np.round(rng.standard_normal((30, 20)), 1), rng.integers(0, 5, 30)
        assert check_gradient(net.objective(x, t), net.gradient(x, t), net.params, rtol=1e-7).ok
    x[...], net.params["W1"][...] = 0.0, 0.0  # every first pre-activation is a kink
    assert check_gradient(net.objective(x, t), net.gradient(x, t), net.params).arrays["W1"].failed == 0


@pytest.mark.parametrize("scale", [1e-1, 1e-3, 1e-4, 1e-5, 1e-6])
def test_relu_nets_of_small_inputs_are_judged(scale):
    for seed in range(8):
        rng, net = np.random.default_rng(seed), MultiLayerNet(3, [6, 4], 3, rng=seed)
        x, t = scale * rng.standard_normal((5, 3)), rng.integers(0, 3, 5)
        right, f = net.gradient(x, t), net.objective(x, t)
        check = check_gradient(f, right, net.params)
        assert check.ok, str(check)
        for key in ("b1", "b2"):
            for factor in (-1.0, 0.0, 1.5) if np.abs(right[key]).max() > 1e-3 else ():
                assert not check_gradient(f, right | {key: factor * right[key]}, net.params).ok


def test_a_deep_net_with_small_weights_hides_no_wrong_bias():
    net = MultiLayerNet(50, [30] * 4, 5, "relu", 0.01, rng=3)
    rng = np.random.default_rng(3)
    x, t = rng.uniform(0, 1, (40, 50)), rng.integers(0, 5, 40)
    right, f = net.gradient(x, t), net.objective(x, t)
    assert check_gradient(f, right, net.params).ok
    for key in ("b3", "b4"):
        for factor in (-1.0, 0.0, 1.5):
            assert not check_gradient(f, right | {key: factor * right[key]}, net.params).ok


@pytest.mark.parametrize("at_zero", [0.0, 0.5, 1.0])
def test_backprop_with_any_slope_of_relu_at_zero_passes(at_zero):
    for seed in range(12):
        rng, net = np.random.default_rng(seed), MultiLayerNet(3, [5], 3, rng=seed)
        x, t, n = rng.standard_normal((8, 3)), rng.integers(0, 3, 8), np.arange(8)
        x[: seed // 2], net.params["W1"][:, : 3 * (seed % 3)] = 0.0, 0.0  # blank samples, and dead units, maybe all
        z = x @ net.params["W1"]
        y = np.maximum(z, 0.0) @ net.params["W2"]
        p = np.exp(y) / np.exp(y).sum(axis=1, keepdims=True)
        delta = (p - np.eye(3)[t]) * (p / (p + 1e-7))[n, t][:, np.newaxis] / 8
        inner = delta @ net.params["W2"].T * np.where(z == 0.0, at_zero, z > 0.0)
        parts = x.T @ inner, inner.sum(axis=0), np.maximum(z, 0.0).T @ delta, delta.sum(axis=0)
        right = dict(zip(net.params, parts, strict=True))
        check = check_gradient(net.objective(x, t), right, net.params)
        assert check.verdict == "passed", str(check)


def test_directions_at_the_kinks_of_a_net():
    for seed in range(15):
        rng, net = np.random.default_rng(seed), MultiLayerNet(4, [5], 3, rng=seed)
        x, t = rng.standard_normal((6, 4)), rng.integers(0, 3, 6)
        x[0] = 0.0  # at the kink of all units, for biases are 0
        right, f = net.gradient(x, t), net.objective(x, t)
        check = check_gradient(f, right, net.params, directions=5, rng=0)
        assert check.ok, str(check)
        wrong = {key: -array for key, array in right.items()}
        assert not check_gradient(f, wrong, net.params, directions=5, rng=0).ok


@pytest.mark.parametrize("kind", ["relu", "sigmoid"])
def test_weights_of_an_infinite_input_whose_sign_a_step_changes(kind):
    net = MultiLayerNet(2, [3, 3], 2, kind, rng=0)
    net.params["W1"][0] = 5e-5, -5e-5, 0.3
    x, t = np.array([[np.inf, 1.0], [0.5, 2.0], [-np.inf, 1.0]]), np.array([0, 1, 1])
    with np.errstate(all="ignore"):
        found, plain = net.numerical_gradient(x, t), numerical_gradient(lambda _: net.loss(x, t), net.params)
    for key, array in found.items():
        np.testing.assert_allclose(array, plain[key], rtol=1e-7, atol=1e-9)


def test_large_nets_agree_on_random_weights():
    rng = np.random.default_rng(3)
    x, t = rng.uniform(0, 1, (20, 100)), rng.integers(0, 10, 20)
    for net in (TwoLayerNet(100, 30, 10, rng=0), MultiLayerNet(100, [40, 30], 10, rng=0)):
        slopes = net.numerical_gradient(x, t)
        for key, array in net.params.items():
            chosen = rng.choice(array.size, min(40, array.size), replace=False)
            expected = numerical_gradient(lambda _, net=net: net.loss(x, t), array, coordinates=chosen)
            assert np.abs(slopes[key].ravel()[chosen] - expected).max() <= 32 * EPS * 10 / 1e-4


@pytest.mark.parametrize("kind", NETS)
def test_two_threads_give_the_same_bits(kind):
    net, (x, t) = NETS[kind](), batch(4)
    one, two = net.numerical_gradient(x, t), net.numerical_gradient(x, t, workers=2)
    assert all(one[key].tobytes() == two[key].tobytes() for key in one)


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh"])
def test_saturated_nets_pass_by_the_rounding_of_their_logarithm(activation):
    for seed in range(20):
        rng, net = np.random.default_rng(seed), MultiLayerNet(4, [5, 5], 3, activation, 3.0, rng=seed)
        x = 10.0 ** rng.uniform(0, 3) * rng.standard_normal((5, 4))
        t = net.predict(x).argmax(axis=1)  # probabilities next to 1, and losses next to -1e-7
        exact, f = net.gradient(x, t), net.objective(x, t)
        assert check_gradient(f, exact, net.params).ok
        assert not check_gradient(f, exact | {"b3": exact["b3"] + 1e-4}, net.params).ok


@pytest.mark.parametrize("kind", ["two layers", "relu"])
def test_hard_cases(kind):
    net, (x, t) = NETS[kind](), batch(5)
    x[0], x[1], x[2] = 0.0, 1e-9, 1e3 * x[2]
    expected = {key: plain(net, x, t, key) for key in net.params}
    found = net.numerical_gradient(x, t)
    for key in found:  # steps of 0.1 in a pre-activation: a large truncation error, which both have
        assert np.abs(found[key] - expected[key]).max() <= 1e-9 * np.abs(expected[key]).max() + 1e-10
    for key in ("W1", "b1"):
        net.params[key][...] = -50.0  # dead, or saturated
    x = np.abs(x)
    assert max(np.abs(net.numerical_gradient(x, t)[key] - plain(net, x, t, key)).max() for key in net.params) <= 1e-9
    net.params["W2"][...] *= 1e4
    assert all(np.isfinite(array).all() for array in net.numerical_gradient(x, t).values())


def test_forms_of_data():
    net, (x, t) = NETS["two layers"](), batch(6)
    expected = net.numerical_gradient(x, t)
    forms = [(x.tolist(), t.tolist()), (np.asfortranarray(x), np.eye(4, dtype=int)[t]), (x, np.eye(4, dtype=bool)[t])]
    for form in forms:
        found = net.numerical_gradient(*form)
        assert max(np.abs(found[key] - expected[key]).max() for key in found) <= 1e-12 / 1e-4
        assert net.loss(*form) == pytest.approx(net.loss(x, t), rel=4 * EPS)
        assert net.accuracy(*form) == net.accuracy(x, t)
    one, of_batch = net.numerical_gradient(x[0], t[0]), net.numerical_gradient(x[:1], t[:1])
    assert all(one[key].tobytes() == of_batch[key].tobytes() for key in one)
    assert net.predict(x[0]).shape == (4,)
    narrow = net.loss(x.astype(np.float32), t)
    assert narrow == net.loss(x.astype(np.float32).astype(float), t)


def test_the_two_layer_net_is_the_books():
    np.random.seed(3)
    net = TwoLayerNet(3, 2, 4)
    np.random.seed(3)
    for key, shape in (("W1", (3, 2)), ("W2", (2, 4))):
        assert net.params[key].tobytes() == (0.01 * np.random.randn(*shape)).tobytes()
        assert not net.params[key.replace("W", "b")].any()
    x, t = batch(7, 5, 3)
    y = net.predict(x)
    hidden = 1 / (1 + np.exp(-(x @ net.params["W1"] + net.params["b1"])))
    assert np.abs(y - softmax(hidden @ net.params["W2"] + net.params["b2"])).max() <= 4 * EPS
    assert net.loss(x, t) == pytest.approx(cross_entropy_error(y, t), rel=8 * EPS)
    assert net.accuracy(x, t) == np.mean(y.argmax(axis=1) == t)
    assert TwoLayerNet(3, 2, 4, rng=5).params["W1"].tobytes() == TwoLayerNet(3, 2, 4, rng=5).params["W1"].tobytes()
    assert repr(net) == "TwoLayerNet(3-2-4, sigmoid)"


def test_initial_deviations():
    for name, gain in (("relu", 2), ("he", 2), ("He", 2), ("sigmoid", 1), ("xavier", 1)):
        W = MultiLayerNet(400, [300], 3, weight_init_std=name, rng=0).params["W1"]
        assert W.std() == pytest.approx(np.sqrt(gain / 400), rel=0.02)
    assert MultiLayerNet(400, [300], 3, weight_init_std=0.3, rng=0).params["W1"].std() == pytest.approx(0.3, rel=0.02)


def test_params_are_views_of_one_buffer_and_may_be_replaced():
    net, (x, t) = NETS["two layers"](), batch(8)
    flat = net.flat
    assert flat is net.flat
    assert flat.size == sum(array.size for array in net.params.values())
    flat[0] = 7.0
    assert net.params["W1"][0, 0] == 7.0
    net.params["W1"] = np.ones((7, 5), np.float32)
    loss = net.loss(x, t)
    assert net.flat is not flat
    assert net.flat[:35].tolist() == [1.0] * 35
    net.flat[:35] = 0.0
    assert net.loss(x, t) != loss
    net.params["b2"] -= 1.0  # in place
    assert net.flat[-4:].tolist() == [-1.0] * 4
    net.params["W1"], net.params["b1"] = np.ones((7, 3)), np.zeros(3)
    net.params["W2"] = np.ones((3, 4))
    assert net.numerical_gradient(x, t)["W1"].shape == (7, 3)
    assert repr(net) == "TwoLayerNet(7-3-4, sigmoid)"
    net.params["W1"] = np.ones((7, 5))
    with pytest.raises(ValueError, match=r"b1 must have the shape \(5,\), for the columns of W1, got \(3,\)"):
        net.loss(x, t)
    net.params["W1"] = "weights"
    with pytest.raises(TypeError, match="W1 must hold real numbers"):
        net.loss(x, t)


def test_a_descent_moves_all_parameters_at_once():
    net, (x, t) = NETS["two layers"](), batch(9)
    before = net.loss(x, t)
    assert gradient_descent(lambda _: net.loss(x, t), net.flat, 0.5, 20) is net.flat
    assert net.loss(x, t) < 0.9 * before


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: TwoLayerNet(0, 2, 3), ValueError, "input_size must be at least 1, got 0"),
        (lambda: TwoLayerNet(2, 2.5, 3), TypeError, "hidden_size must be an integer"),
        (lambda: TwoLayerNet(2, 2, 3, np.nan), ValueError, "weight_init_std must be finite"),
        (lambda: MultiLayerNet(2, 5, 3), TypeError, "hidden_size_list must be a sequence of integers, got int 5"),
        (lambda: MultiLayerNet(2, [0], 3), ValueError, "a hidden size must be at least 1"),
        (
            lambda: MultiLayerNet(2, [2], 3, ["relu"]),
            TypeError,
            "activation must be one of sigmoid, relu, tanh, got li",
        ),
        (lambda: TwoLayerNet(2, 2, 3).numerical_gradient([1.0, 2.0], 0, workers=-2), ValueError, "or -1 for all cores"),
        (lambda: MultiLayerNet(2, [2], 3, "step"), ValueError, "activation must be one of sigmoid, relu, tanh, got"),
        (lambda: MultiLayerNet(2, [2], 3, weight_init_std="small"), ValueError, "weight_init_std must be a number or"),
        (lambda: TwoLayerNet(2, 2, 3).loss([1.0], 0), ValueError, r"x must have .*\(2,\) or \(batch, 2\), for .* W1"),
        (lambda: TwoLayerNet(2, 2, 3).loss(np.ones((0, 2)), []), ValueError, "not be empty"),
        (lambda: TwoLayerNet(2, 2, 3).gradient([1.0, 2.0], 3), ValueError, r"labels must be in range\(3\)"),
        (lambda: TwoLayerNet(2, 2, 3).numerical_gradient([1.0, 2.0], 0.5), TypeError, "labels must be integers"),
        (lambda: TwoLayerNet(2, 2, 3).numerical_gradient([1.0, 2.0], 0, -1.0), ValueError, "h must be finite and pos"),
    ],
)
def test_misuse(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_the_functions_of_the_chapter():
    assert sigmoid(0.0) == 0.5
    x = np.linspace(-30, 30, 61)
    assert np.abs(sigmoid(x) - 0.5 * (1 + np.tanh(0.5 * x))).max() <= 2 * EPS
    with np.errstate(over="raise", invalid="raise"):
        assert sigmoid(np.array([-1e300, 1e300])).tolist() == [pytest.approx(0.0, abs=1e-300), 1.0]
    assert np.isnan(sigmoid(np.nan))
    assert relu([-1, 0, 2]).tolist() == [0.0, 0.0, 2.0]
    assert sum_squared_error([0.1, 0.05, 0.6, 0.0, 0.05, 0.1, 0.0, 0.1, 0.0, 0.0], np.eye(10)[2]) == pytest.approx(
        0.0975
    )
    with pytest.raises(ValueError, match=r"one shape, got \(2,\) and \(3,\)"):
        sum_squared_error([1.0, 2.0], [1.0, 2.0, 3.0])
    line, slope = tangent_line(function_1, 5), numerical_diff(function_1, 5)
    assert line(5) == function_1(5)
    assert line(np.array([6.0]))[0] - line(5) == pytest.approx(slope)


@pytest.mark.parametrize("gradient", ["numerical", "backprop"])
def test_training_learns_the_digits(gradient):
    digits = [*load_digits()[0], *load_digits()[1]]
    net, losses = TwoLayerNet(64, 20, 10, rng=0), []
    history = train(
        net, *digits, iterations=120, batch_size=50, lr=1.0, gradient=gradient, rng=0,
        progress=lambda *counts: losses.append(counts),
    )  # fmt: skip
    assert losses[-1] == (120, 120)
    assert history.losses.shape == (120,)
    assert history.iterations.tolist() == [0, 28, 56, 84, 112, 120]
    assert history.test_accuracies[-1] == net.accuracy(*digits[2:])
    assert history.test_accuracies[-1] > 0.6 > 0.2 > history.test_accuracies[0]
    assert np.mean(history.losses[-10:]) < 0.8 * np.mean(history.losses[:10])
    again = train(TwoLayerNet(64, 20, 10, rng=0), *digits, epochs=1, batch_size=50, lr=1.0, gradient=gradient, rng=0)
    assert again.losses.tobytes() == history.losses[:28].tobytes()
    assert len(plotting.plot_training(history).lines) == 2


def test_training_takes_batches_from_numpys_global_state_as_in_the_book():
    x, t = batch(10, 30)
    np.random.seed(1)
    first = train(NETS["two layers"](), x, t, x, t, iterations=3, batch_size=5)
    np.random.seed(1)
    net = NETS["two layers"]()
    for _ in range(3):
        chosen = np.random.choice(30, 5)
        for key, slope in net.numerical_gradient(x[chosen], t[chosen]).items():
            net.params[key] -= 0.1 * slope
    assert first.losses[-1] == net.loss(x[chosen], t[chosen])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, ValueError, "takes either epochs or iterations"),
        ({"epochs": 1, "iterations": 1}, ValueError, "takes either epochs or iterations"),
        ({"epochs": -1}, ValueError, "epochs must be at least 0"),
        ({"epochs": 1, "lr": np.inf}, ValueError, "lr must be finite"),
        ({"epochs": 1, "batch_size": 0}, ValueError, "batch_size must be at least 1"),
        ({"epochs": 1, "gradient": "exact"}, ValueError, "gradient must be 'numerical' or 'backprop', got str 'exact'"),
        ({"epochs": 1, "gradient": ["numerical"]}, TypeError, "gradient must be 'numerical' or 'backprop', got list"),
        ({"epochs": 1, "gradient": None}, TypeError, "gradient must be 'numerical' or 'backprop', got NoneType None"),
        ({"epochs": 1, "progress": 3}, TypeError, "progress must be a bool or a callable"),
    ],
)
def test_misuse_of_train(options, error, message):
    x, t = batch(11)
    with pytest.raises(error, match=message):
        train(NETS["two layers"](), x, t, x, t, **options)
    for rng in ("s", -1):
        with pytest.raises((TypeError, ValueError), match=r"^rng must be a numpy.random.Generator or a seed, got "):
            train(NETS["two layers"](), x, t, x, t, epochs=1, rng=rng)
    for labels in ({0, 1}, {0: 1}, [None] * len(x), len):
        with pytest.raises(TypeError, match=r"^t must be an array of labels, one for each row of x, got "):
            train(NETS["two layers"](), x, labels, x, t, epochs=1)
    with pytest.raises(ValueError, match="x and t must have one length, got 9 and 8"):
        train(NETS["two layers"](), x, t[1:], x, t, epochs=1)
    with pytest.raises(ValueError, match="x and t must be rectangular arrays, but their rows differ in length"):
        train(NETS["two layers"](), x, [[1], [1, 2]], x, t, epochs=1)
    for lacking in ("loss", "accuracy"):
        methods = {"params": {}, "gradient": None, "loss": None, "accuracy": None}
        del methods[lacking]
        with pytest.raises(TypeError, match=r"net must have loss\(x, t\) and accuracy\(x, t\), got Net"):
            train(type("Net", (), methods)(), x, t, x, t, epochs=1, gradient="backprop")
    with pytest.raises(ValueError, match="x must hold at least one sample, got none"):
        train(NETS["two layers"](), x[:0], t[:0], x, t, epochs=1)
    with pytest.raises(ValueError, match=r"x must have the shape \(7,\) or \(batch, 7\)"):
        train(NETS["two layers"](), 3.0, 1, x, t, epochs=1)


class Own:
    """A net of somebody else's: a line, of which each step of a training may be told to go wrong."""

    def __init__(self, slopes=lambda slopes: slopes, **params):
        self.params = {"a": np.zeros(2), "b": np.zeros(()), **params}
        self.change = slopes

    def loss(self, x, t):
        return float(np.mean((x @ self.params["a"] + self.params["b"] - t) ** 2))

    def accuracy(self, x, t):
        return 1.0 - self.loss(x, t)

    def gradient(self, x, t):
        error = 2 * (x @ self.params["a"] + self.params["b"] - t) / len(x)
        return self.change({"a": error @ x, "b": np.sum(error)})


def on_a_line(net, **options):
    x = np.random.default_rng(0).standard_normal((20, 2))
    return train(net, x, x @ [1.0, -2.0], x, x @ [1.0, -2.0], gradient="backprop", rng=0, **{"iterations": 5} | options)


@pytest.mark.parametrize("batch_size", [1, 20, 100])
def test_a_net_of_somebody_elses_is_trained(batch_size):
    net = Own()
    history = on_a_line(net, iterations=300, batch_size=batch_size)
    assert history.test_accuracies[-1] > 1 - 1e-6
    assert np.allclose(net.params["a"], [1.0, -2.0], atol=1e-2)
    lists = Own(lambda slopes: {key: slope.tolist() for key, slope in slopes.items()})
    assert on_a_line(lists).losses.tobytes() == on_a_line(Own()).losses.tobytes()
    own = Own()
    own.change = lambda slopes: {"a": own.params["a"] + 1.0, "b": own.params["a"][0]}  # not as it is after its update
    on_a_line(own, iterations=2, lr=1.0)
    assert own.params["b"] == 1.0


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ([1.0, 2.0], r"params\['a'\] must be a writable array of floats, .* got list \[1.0, 2.0\]; put np.array"),
        (np.array([1, 2]), r"params\['a'\] must be .* got an array of dtype int64 and shape \(2,\)"),
        (np.array([1, 2], dtype=complex), r"params\['a'\] must be .* got an array of dtype complex128"),
        (np.array([1.0, 2.0], dtype=object), r"params\['a'\] must be .* got an array of dtype object"),
        (np.broadcast_to(1.0, 2), r"params\['a'\] must be a writable array .* got a read-only array; put"),
        (1.0, r"params\['a'\] must be a writable array of floats, .* got float 1.0"),
        (np.float64(1.0), r"params\['a'\] must be a writable array of floats, .* got float64"),
        (None, r"params\['a'\] must be a writable array of floats, .* got NoneType None"),
    ],
)
def test_parameters_that_cannot_be_trained_in_place_are_refused(value, error):
    first = np.zeros(())
    net = Own(b=first, a=value)
    net.params = {"b": first, "a": value}
    with pytest.raises(TypeError, match=error) as caught:
        on_a_line(net)
    assert "\n" not in str(caught.value)
    assert first == 0.0


class Deaf(Own):
    """A net whose loss is always the same, and its gradient what it was told."""

    def loss(self, x, t):
        return 0.5

    def accuracy(self, x, t):
        return 0.25

    def gradient(self, x, t):
        return self.change


@pytest.mark.parametrize("first", ["a", "b"])
def test_all_parameters_are_updated_whatever_numpy_is_told_to_raise(first):
    net = Deaf({"a": np.ones(2), "b": np.ones(())})
    net.change[first] *= np.inf
    net.params[first] += np.inf
    with np.errstate(all="raise"):
        on_a_line(net, iterations=1)
    for key, array in net.params.items():
        np.testing.assert_array_equal(array, np.full(array.shape, np.nan if key == first else -0.1))


@pytest.mark.parametrize("name", ["loss", "accuracy"])
def test_what_a_net_returns_is_one_number(name):
    for value in (0.75, [0.75], np.array([[0.75]]), np.float32(0.75)):
        net = Deaf({"a": np.ones(2), "b": np.ones(())})
        setattr(net, name, lambda x, t, value=value: value)
        history = on_a_line(net)
        assert set(history.losses.tolist() + history.test_accuracies.tolist()) == {
            0.75,
            0.25 if name == "loss" else 0.5,
        }
    for wrong in (None, 1j, [0.5, 0.5]):
        setattr(net, name, lambda x, t, wrong=wrong: wrong)
        with pytest.raises(TypeError, match=rf"net\.{name} must return one real number, it returned"):
            on_a_line(net)


def test_parameters_that_are_replaced_in_the_middle_are_checked_again():
    net = Own()
    with pytest.raises(TypeError, match=r"must be a writable array of floats, .* got list"):
        on_a_line(net, progress=lambda k, _: k == 2 and net.params.update(a=net.params["a"].tolist()))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda s: {"b": s["b"]}, ValueError, "the gradient must have the keys of params, a, b, got b"),
        (lambda s: {**s, "c": 1.0}, ValueError, "the gradient must have the keys of params, a, b, got a, b, c"),
        (lambda s: list(s.values()), TypeError, "the gradient must be a dict with the keys of params, a, b, got list"),
        (lambda s: None, TypeError, "the gradient must be a dict with the keys of params, a, b, got NoneType"),
        (lambda s: {**s, "b": s["a"]}, ValueError, r"the gradient of b must have its shape \(\), got \(2,\)"),
        (lambda s: {**s, "a": s["b"]}, ValueError, r"the gradient of a must have its shape \(2,\), got \(\)"),
        (lambda s: {**s, "b": None}, TypeError, "the gradient of b must hold real numbers"),
        (lambda s: {**s, "b": 1j * s["b"]}, TypeError, "the gradient of b must hold real numbers"),
        (lambda s: {**s, "a": np.ma.masked_less(s["a"], 9.0)}, TypeError, "the gradient of a has masked elements"),
    ],
)
def test_a_gradient_that_does_not_fit_changes_nothing(change, error, message):
    net = Own(change)
    with pytest.raises(error, match=message):
        on_a_line(net)
    assert not net.params["a"].any()
    assert net.params["b"] == 0.0


@pytest.mark.parametrize("gradient", ["numerical", "backprop"])
def test_arrays_that_were_replaced_are_trained(gradient):
    x, t = batch(10, 30)
    options = {"iterations": 4, "batch_size": 7, "gradient": gradient, "rng": 0}
    net, twin = NETS["two layers"](), NETS["two layers"]()
    mine = net.params["W1"] = np.array(net.params["W1"], order="F")
    expected = train(twin, x, t, x, t, **options)
    found = train(net, x, t, x, t, **options)
    assert np.abs(found.losses - expected.losses).max() <= 1e-10
    assert net.params["W1"] is mine
    assert np.abs(mine - twin.params["W1"]).max() <= 1e-10
    net.params["b1"] = np.zeros(5, np.float32)
    train(net, x, t, x, t, **options)
    assert net.params["b1"].dtype == np.float32
    assert net.params["b1"].any()
    net.params["extra"] = np.ones(2)
    before = net.params["W1"].tobytes()
    with pytest.raises(ValueError, match="must have the keys of params, W1, b1, W2, b2, extra, got W1, b1, W2, b2"):
        train(net, x, t, x, t, **options)
    assert net.params["W1"].tobytes() == before


@pytest.mark.parametrize("options", [{"epochs": 0}, {"iterations": 0}])
def test_no_iterations_leave_the_accuracy_at_the_start(options):
    x, t = batch(10, 30)
    net = NETS["two layers"]()
    before, seen = net.flat.tobytes(), []
    history = train(net, x, t, x, t, progress=lambda *counts: seen.append(counts), **options)
    assert [array.tolist() for array in history] == [[], [0], [net.accuracy(x, t)], [net.accuracy(x, t)]]
    assert net.flat.tobytes() == before
    assert not seen


def test_what_a_callback_raises_ends_the_training_after_a_whole_update():
    x, t = batch(10, 30)
    net, twin = NETS["two layers"](), NETS["two layers"]()

    def stop(done, _):
        if done == 3:
            raise StopIteration("enough")

    with pytest.raises(StopIteration, match="enough"):
        train(net, x, t, x, t, iterations=9, progress=stop, rng=0)
    train(twin, x, t, x, t, iterations=3, rng=0)
    assert net.flat.tobytes() == twin.flat.tobytes()


def test_a_simple_net_is_a_layer_objective_too():
    from numgrad import LayerObjective
    from numgrad.nets import losses_of

    net, (x, t) = simpleNet((7, 4), rng=0), batch(12)
    found = numerical_gradient(LayerObjective(x, losses_of, (t,)), net.W)
    assert np.abs(found - net.numerical_gradient(x, t)).max() <= 32 * EPS * 10 / 1e-4


@pytest.mark.parametrize("gradient", ["numerical", "backprop"])
def test_a_net_without_params_is_no_net_to_train(gradient):
    with pytest.raises(TypeError, match="net must have a dict params and its gradient"):
        train(simpleNet((4, 3)), np.zeros((5, 4)), np.zeros(5, int), [], [], iterations=1, gradient=gradient)


def test_the_bar_of_a_training_shows_the_loss(capsys):
    net = TwoLayerNet(4, 3, 2, rng=0)
    x, t = np.random.default_rng(0).standard_normal((20, 4)), np.arange(20) % 2
    history = train(net, x, t, x, t, iterations=3, batch_size=10, progress=True, rng=0)
    assert f"loss {history.losses[-1]:.3g}" in capsys.readouterr().err


@pytest.mark.parametrize("tie", [lambda W: W, lambda W: W.T, lambda W: W[::-1]], ids=["same", "transposed", "flipped"])
def test_tied_weights_are_refused(tie):
    net, x, t = MultiLayerNet(3, [3], 3, "tanh", rng=0), np.eye(3), [0, 1, 2]
    net.params["W2"] = tie(net.params["W1"])
    for method in (net.gradient, net.numerical_gradient):
        with pytest.raises(ValueError, match="W1 and W2 share memory, so that one moves the other; give each"):
            method(x, t)
    assert net.loss(x, t) > 0.0
    net.params["W2"] = net.params["W2"].copy()
    slopes, exact = net.numerical_gradient(x, t), net.gradient(x, t)
    assert max(np.abs(slopes[key] - exact[key]).max() for key in net.params) < 1e-8
