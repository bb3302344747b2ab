"""The layer's central difference against 50-digit arithmetic, the plain loop, and its edge cases."""

import mpmath
import numpy as np
import pytest
from problems import needs_jit

from numgrad import gradient_descent, numerical_gradient, reference, simpleNet
from numgrad.objectives import softmax


def layer(features, classes, batch, seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    net = simpleNet((features, classes), rng=rng)
    return net, scale * rng.standard_normal((batch, features)), rng.integers(0, classes, batch)


def losses_in_50_digits(W, x, t, i, j, h):
    """Return the losses at +-h; `t` holds labels or soft rows."""
    soft = t if t.ndim == 2 else np.eye(W.shape[1])[t]

    def loss(step):
        total = mpmath.mpf(0)
        for b in range(len(x)):
            z = [
                mpmath.fdot(zip(map(mpmath.mpf, x[b]), map(mpmath.mpf, W[:, c]), strict=True))
                for c in range(W.shape[1])
            ]
            z[j] += step * mpmath.mpf(x[b, i])
            shift = max(z)
            e = [mpmath.exp(v - shift) for v in z]
            for weight, power in zip(soft[b], e, strict=True):
                if weight:
                    total -= mpmath.mpf(weight) * mpmath.log(power / sum(e) + mpmath.mpf(10) ** -7)
        return total / len(x)

    with mpmath.workdps(100):  # 50 are left where the two losses agree in the first 50
        return loss(mpmath.mpf(h)), loss(-mpmath.mpf(h))


def difference_in_50_digits(W, x, t, i, j, h):
    plus, minus = losses_in_50_digits(W, x, t, i, j, h)
    with mpmath.workdps(100):
        return plus - minus


def relative_errors(net, x, t, h):
    """Return the errors of all differences, relative to the sum of magnitudes over the batch that each one is."""
    x = np.atleast_2d(x)
    t = np.atleast_1d(t)
    found = 2 * h * net.numerical_gradient(x, t, h)
    errors = []
    for i, j in np.ndindex(net.W.shape):
        exact = difference_in_50_digits(net.W, x, t, i, j, h)
        parts = [difference_in_50_digits(net.W, x[[b]], t[[b]], i, j, h) / len(x) for b in range(len(x))]
        size = sum(map(abs, parts))
        errors.append(float(abs(mpmath.mpf(found[i, j]) - exact) / size) if size else float(abs(found[i, j])))
    return max(errors)


# The logits, of a few tens at most, are rounded before the probabilities are taken: a few dozen units of 1e-16.
TOLERANCE = 1e-14


@pytest.mark.parametrize(
    ("scales", "h", "far"),
    [
        ([0.1, 0.1, 0.1], 1e-4, [False, False, False]),
        ([1.0, 2.0, 1.0], 1e-4, [False, False, False]),
        ([1.0, 2.0, 1.0], 1e-3, [False, False, False]),
        ([1e-3, 0.01, 1.0], 1e-2, [False, False, True]),
        ([1.0, 1.0, 1.0], 0.5, [True, True, True]),
        ([10.0, 10.0, 10.0], 2.0, [True, True, True]),
        ([1e-5, 1e-1, 1e4], 0.5, [False, True, True]),
        ([1e5, 1e5, 1e5], 0.5, [True, True, True]),
        ([1e-12, 1e-12, 1e-12], 1e8, [False, False, False]),
        ([1e12, 1e12, 1e12], 1e-16, [False, False, False]),
        ([1e-14, 1.0, 1e-7], 1e-4, [False, False, False]),
    ],
)
def test_every_regime_agrees_with_50_digits(scales, h, far):
    net, x, t = layer(3, 4, 5)
    x *= scales
    net.W /= np.maximum(1.0, scales)[:, None]
    assert softmax.beyond_series(x, h).tolist() == far
    assert relative_errors(net, x, t, h) <= TOLERANCE


@pytest.mark.parametrize("bound", [softmax.SHORT, softmax.SERIES, 300.0, 1e-9])
@pytest.mark.parametrize("side", [0.0, np.inf])
def test_both_sides_of_the_bounds_agree_with_50_digits(bound, side):
    h = float(np.nextafter(bound, side))
    net, _, t = layer(2, 3, 4)
    x = np.ones((4, 2))
    assert relative_errors(net, x, t, h) <= TOLERANCE


def test_every_difference_agrees_with_the_exact_one():
    for h in (1e-4, 1e-3, 1e-2, 1.0):
        net, x, t = layer(4, 5, 6)
        objective = net.objective(x, t)
        state = objective.prepare(net.W, h)
        exact = np.array([objective.difference(state, k) for k in range(20)]) / (2 * h)
        found = numerical_gradient(objective, net.W, h)
        assert np.abs(found.ravel() - exact).max() <= TOLERANCE * np.abs(x).max()


def test_tiny_steps():
    net, x, t = layer(3, 4, 5)
    for h in (1e-10, 1e-20, 1e-100, 1e-300):
        found, limit = net.numerical_gradient(x, t, h), net.numerical_gradient(x, t, 1e-9)
        assert np.abs(found - limit).max() <= TOLERANCE * np.abs(x).max()


@pytest.mark.parametrize("workers", [2, map])
def test_tiles_have_the_same_bits_whoever_does_them(workers, monkeypatch):
    monkeypatch.setattr(softmax, "TILE", 20)  # 4 features, of 6 and of 8
    for features in (6, 8):
        net, x, t = layer(features, 5, 7)
        objective, chosen = net.objective(x, t), np.array([29, 3, 3, 14])
        for h in (1e-4, 1e-3, 0.5):
            whole = numerical_gradient(objective, net.W, h)
            assert numerical_gradient(objective, net.W, h, workers=workers).tobytes() == whole.tobytes()
            for some in (1, workers):
                part = numerical_gradient(objective, net.W, h, coordinates=chosen, workers=some)
                assert part.tobytes() == whole.ravel()[chosen].tobytes()


@pytest.mark.parametrize(
    ("weights", "x"),
    [
        ([[0.0, 40.0, -40.0]], [[1.0]]),  # probabilities of 1, 4e-18 and 2e-35
        ([[0.0, 700.0, -700.0]], [[1.0]]),  # and some that underflow
        ([[5.0, 5.0, 5.0]], [[2.0], [-3.0]]),  # ties
        ([[1.0, 2.0, 3.0]], [[0.0], [1.0]]),  # a pixel without ink
        ([[2.0]], [[1.0], [3.0]]),  # one class
    ],
)
@pytest.mark.parametrize("h", [1e-4, 0.5])
@pytest.mark.parametrize("label", [0, -1])
def test_edge_cases_agree_with_50_digits(weights, x, h, label):
    net, x = simpleNet(np.shape(weights)), np.array(x)
    net.W = np.array(weights)
    t = np.full(len(x), label % net.W.shape[1])
    errors = relative_errors(net, x, t, h)
    assert errors <= TOLERANCE * (1 + np.abs(net.W).max())  # exp magnifies the rounding of a logit by the logit


@pytest.mark.parametrize("h", [1e-4, 0.5])
@pytest.mark.parametrize("workers", [1, 2])
def test_it_is_the_plain_loops_quotient_and_not_the_derivative(h, workers):
    net, x, t = layer(6, 5, 7)
    plain = numerical_gradient(lambda _: net.loss(x, t), net.W, h)
    found = net.numerical_gradient(x, t, h, workers=workers)
    # The plain loop subtracts two losses of about 10, each with some ten roundings.
    assert np.abs(found - plain).max() <= 100 * 2.0**-52 / h
    if h == 0.5:
        assert np.abs(found / plain - 1).max() <= 1e-11
        p = reference.softmax(net.predict(x)) - np.eye(5)[t]
        assert np.abs((x.T @ p / 7) / plain - 1).max() > 1e-3


def test_the_objective_is_the_loss_takes_every_form_of_data_and_verifies():
    net, x, t = layer(6, 5, 7)
    objective = net.objective(x, t)
    assert objective(net.W) == net.loss(x, t)
    objective.verify(net.W, samples=30)
    gradient = numerical_gradient(objective, net.W)
    assert gradient.tobytes() == net.numerical_gradient(x, t).tobytes()
    assert gradient.tobytes() == net.numerical_gradient(x.tolist(), np.eye(5)[t].tolist()).tobytes()
    one = net.numerical_gradient(x[0], t[0])
    assert one.tobytes() == net.numerical_gradient(x[:1], t[:1]).tobytes()


def test_the_data_are_copied():
    net, x, t = layer(3, 3, 4)
    objective = net.objective(x, t)
    before = numerical_gradient(objective, net.W)
    x += 1.0
    t[...] = 0
    assert numerical_gradient(objective, net.W).tobytes() == before.tobytes()
    assert numerical_gradient(objective, net.W, 1e-3).shape == net.W.shape


def test_training_moves_net_w_in_place():
    net, x, t = layer(8, 3, 20)
    weights, first = net.W, net.loss(x, t)
    assert gradient_descent(net.objective(x, t), net.W, 0.5, 50) is weights
    assert net.loss(x, t) < first / 2


def test_nan_passes_through():
    net, x, t = layer(2, 3, 4)
    x[1, 0] = np.nan
    assert np.isnan(net.numerical_gradient(x, t)).all()


@needs_jit
def test_prepare_and_the_result_are_all_that_grows():
    import tracemalloc

    net, x, t = layer(500, 300, 16)
    objective = net.objective(x, t)
    numerical_gradient(objective, net.W)
    tracemalloc.start()
    numerical_gradient(objective, net.W)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The gradient, a term of a tile in both precisions, twelve arrays of (batch, classes), four of (batch, features).
    assert peak <= net.W.nbytes + 12 * min(net.W.size, softmax.TILE) + 12 * 16 * 300 * 8 + 4 * 16 * 500 * 8 + 20_000


@pytest.mark.parametrize(
    ("W", "error", "message"),
    [
        (np.ones((3, 2)), ValueError, r"W must have the shape of the net's weights, \(2, 3\), got \(3, 2\)"),
        (np.ones((2, 3)) * 1j, TypeError, "must hold real numbers"),
    ],
)
def test_weights_that_do_not_fit(W, error, message):
    objective = simpleNet().objective([1.0, 2.0], 0)
    with pytest.raises(error, match=message):
        objective(W)
    with pytest.raises(error, match=message):
        numerical_gradient(objective, W)


@pytest.mark.parametrize("batch", [1, 8])
def test_softmax_cross_entropy_is_the_loss_of_the_reference(batch):
    rng = np.random.default_rng(1)
    logits, labels = 5 * rng.standard_normal((batch, 6)), rng.integers(0, 6, batch)
    expected = reference.cross_entropy_error(reference.softmax(logits), labels)
    for kernel in (softmax.softmax_cross_entropy, getattr(softmax.softmax_cross_entropy, "py_func", None)):
        if kernel is not None:
            assert kernel(logits, labels) == pytest.approx(expected, rel=20 * 2.0**-52)


@pytest.mark.parametrize("label", [-1, 3])
def test_softmax_cross_entropy_tells_of_a_label_that_is_no_column(label):
    assert softmax.softmax_cross_entropy(np.zeros((1, 3)), np.array([label])) == -1.0


# Rounded to integers and tenths, so that products and sums of weights, data and steps are nearly exact, and the
# distance of two logits of 1e3 is no source of error.
FAR = [
    ([[0.0, -9e-5]], [[1e7]], [1], 1e-4),
    ([[0.0, -5e-5]], [[2e7]], [0], 1e-4),
    ([[0.0, -1000.0]], [[1.0]], [0], 1100.0),
    ([[0.0, -1000.0]], [[-1.0]], [1], 1100.0),
    ([[0.0, -1000.0, -1000.5, 0.5]], [[1.0]], [3], 1000.0),
    ([[0.0, -1000.0, -1000.5]], [[1.0]], [0], 1000.0),
    ([[0.0, -720.0, -730.0]], [[1.0]], [1], 720.25),
    ([[0.0, -800.0, -1600.0]], [[1.0]], [2], 801.0),
    ([[0.0, -800.0, -1600.0]], [[1.0], [0.0], [-2.0]], [2, 0, 1], 801.0),
    pytest.param([[1e300, -1e300]], [[1.0]], [1], 2e300, marks=needs_jit),  # as plain Python, it warns of overflow
    ([[5.0]], [[2.0]], [0], 400.0),
    ([[0.0, -1000.0]], [[1.0]], [[0.25, 0.75]], 1100.0),
    ([[0.0, -1000.0, -1000.5]], [[1.0]], [[0.25, 0.5, 0.25]], 1000.0),
]


def random_layers():
    rng = np.random.default_rng(11)
    for k in range(60):
        classes, features, batch = rng.integers(1, 5), rng.integers(1, 3), rng.integers(1, 3)
        W = np.round(rng.standard_normal((features, classes)) * 10 ** rng.uniform(-1, 3.5), 1)
        x = rng.integers(-3, 4, (batch, features)).astype(float)
        t = rng.integers(0, classes, batch) if k % 3 else rng.dirichlet(np.ones(classes), batch)
        yield W, x, t, float(np.round(10 ** rng.uniform(-3, 3.5), 3))


@pytest.mark.parametrize(("W", "x", "t", "h"), [*FAR, *random_layers()])
def test_any_gap_of_logits_and_any_step_agree_with_50_digits(W, x, t, h):
    W, x, t = np.array(W), np.array(x), np.array(t)
    net = simpleNet(W.shape)
    net.W = W
    found = 2 * h * net.numerical_gradient(x, t, h)
    for i, j in np.ndindex(W.shape):
        plus, minus = losses_in_50_digits(W, x, t, i, j, h)
        # A few roundings of the larger loss, and of the logits where the losses depend on them.
        assert abs(mpmath.mpf(found[i, j]) - (plus - minus)) <= 8 * 2.0**-52 * max(abs(plus), abs(minus))


@needs_jit
@pytest.mark.filterwarnings("ignore:the step h=.* is below the spacing")
@pytest.mark.parametrize("W", [[np.inf, 1, 2], [-np.inf, 1, 2], [1, np.nan, 2], [1e308, 1, 2], [-np.inf] * 3])
@pytest.mark.parametrize("x", [[[1.0]], [[-1.0]], [[1e3]], [[0.0]], [[0.5], [1.0]]])
@pytest.mark.parametrize("h", [1e-4, 0.5, 500.0, 1e305])
@pytest.mark.parametrize("soft", [False, True])
def test_the_difference_is_nan_where_that_of_the_plain_loop_is(W, x, h, soft):
    net = simpleNet((1, 3))
    net.W = np.array([W], dtype=float)
    x = np.repeat(x, 2, axis=0) if soft else x  # of one sample 0 * inf is 0 to np.dot, and NaN to @
    for label in range(3):
        t = np.tile(0.5 * np.eye(3)[label] + [0.25, 0.25, 0.0], (len(x), 1)) if soft else np.full(len(x), label)
        with np.errstate(all="ignore"):
            plain = numerical_gradient(lambda _, t=t: net.loss(x, t), net.W, h)
            found = net.numerical_gradient(x, t, h)
        assert np.isnan(found).tolist() == np.isnan(plain).tolist()
        assert np.allclose(2 * h * found, 2 * h * plain, rtol=1e-12, atol=1e-9, equal_nan=True)


@pytest.mark.parametrize("h", [5e-5, 1e-3, 0.5, 20.0])
def test_soft_labels_agree_with_50_digits_to_the_rounding_of_the_plain_loop(h):
    net, x, _ = layer(2, 4, 3)
    t = reference.softmax(np.random.default_rng(2).standard_normal((3, 4)))
    t[0] = [0.5, 0.0, 0.5, 0.0]
    found = 2 * h * net.numerical_gradient(x, t, h)
    objective = net.objective(x, t)
    objective.verify(net.W)
    t[...] = np.nan  # it was copied
    assert (2 * h * numerical_gradient(objective, net.W, h)).tobytes() == found.tobytes()
    t = reference.softmax(np.random.default_rng(2).standard_normal((3, 4)))
    t[0] = [0.5, 0.0, 0.5, 0.0]
    for i, j in np.ndindex(net.W.shape):
        parts = [
            t[b, c] * difference_in_50_digits(net.W, x[[b]], np.array([c]), i, j, h) / 3 for b, c in np.ndindex(t.shape)
        ]
        rounding = 8 * 2.0**-52 * sum(losses_in_50_digits(net.W, x, t, i, j, h))
        assert abs(mpmath.mpf(found[i, j]) - sum(parts)) <= rounding + TOLERANCE * sum(map(abs, parts))


@pytest.mark.parametrize("h", [1e-4, 1e-2, 1.0])
@pytest.mark.parametrize("size", [3e2, 1e3, 1e4])
def test_products_may_underflow_whatever_numpy_is_to_do(size, h):
    rng = np.random.default_rng(30)
    for _ in range(20):
        net, x = simpleNet((3, 4), rng=rng), rng.standard_normal((5, 3))
        net.W *= size
        x *= 10.0 ** rng.integers(-3, 2)
        t = rng.integers(0, 4, 5)
        with np.errstate(under="ignore"):
            expected = net.numerical_gradient(x, t, h)
        with np.errstate(under="raise"):
            assert net.numerical_gradient(x, t, h).tobytes() == expected.tobytes()


@pytest.mark.parametrize("scheme", ["central", "central4"])
@pytest.mark.parametrize("tile", [8, softmax.TILE])
def test_what_a_second_product_interrupts_is_nan(tile, scheme, monkeypatch):
    rng, dot = np.random.default_rng(31), np.dot
    net, x, t = simpleNet((6, 4), rng=rng), rng.standard_normal((5, 6)), np.arange(5) % 4
    monkeypatch.setattr(softmax, "TILE", tile)
    f, out = net.objective(x, t), np.empty((6, 4))
    right = numerical_gradient(f, net.W, scheme=scheme)
    for last in range(1, 9):  # the products before the interrupt, of which the first are the logits
        left = [last]

        def interrupted(*args, left=left, **options):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            return dot(*args, **options)

        with monkeypatch.context() as patch:
            patch.setattr(np, "dot", interrupted)
            try:
                numerical_gradient(f, net.W, scheme=scheme, out=out)
            except KeyboardInterrupt:
                assert np.isnan(out).any()
        assert ((out == right) | np.isnan(out)).all()


@needs_jit  # a store of float32 by NumPy tells the caller that it overflows
@pytest.mark.parametrize("scheme", ["central", "central4", "central6"])
def test_a_step_that_is_too_small_for_a_layer_overflows_in_silence(scheme):
    x = 1e-60 * np.random.default_rng(0).normal(size=(3, 5))
    objective = softmax.SoftmaxObjective(x, np.array([0, 1, 2]), (5, 3))
    with np.errstate(all="raise"):
        assert np.isnan(numerical_gradient(objective, np.zeros((5, 3)), 1e-310, scheme=scheme)).all()
