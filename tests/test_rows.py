"""LayerObjective against the plain loop, 50-digit arithmetic, and all that may be wrong with rows."""

import pickle
import tracemalloc

import numpy as np
import pytest
from problems import needs_jit
from test_layers import losses_in_50_digits

from numgrad import LayerObjective, check_gradient, estimate_gradient, gradient_descent, numerical_gradient
from numgrad.objectives import responses
from numgrad.objectives import rows as module

EPS = 2.0**-52


def sigmoid(z):
    return 1.0 / (1.0 + np.exp(-z))


def cross_entropy(z, t):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return -np.log(e[np.arange(len(z)), t % z.shape[1]] / e.sum(axis=1) + 1e-7)


def behind(act, V):
    return lambda z, t: cross_entropy(act(z) @ V, t)


def kinds(V):
    return {
        "softmax": cross_entropy,
        "sigmoid": behind(sigmoid, V),
        "tanh": behind(np.tanh, V),
        "relu": behind(lambda z: np.maximum(z, 0.0), V),
        "leaky": behind(lambda z: np.maximum(z, 0.999 * z), V),
        "squares": lambda z, t: ((z - t[:, None]) ** 2).sum(axis=1),
        "hinge": lambda z, t: np.maximum(0.0, 1.0 + z - z[np.arange(len(z)), t % z.shape[1]][:, None]).sum(axis=1),
        "cubes of relus": lambda z, t: (np.maximum(z, 0.0) ** 3).sum(axis=1) + t,
    }


KINDS = list(kinds(np.ones((1, 1))))


def problem(seed, batch=8, inputs=6, columns=5, scale=1.0):
    rng = np.random.default_rng(seed)
    x = scale * rng.standard_normal((batch, inputs))
    x[rng.random(x.shape) < 0.2] = 0.0
    W = rng.standard_normal((inputs, columns)) / (scale * np.sqrt(inputs))
    return x, W, rng.integers(0, 100, batch), kinds(rng.standard_normal((columns, 4)))


def plain_gradient(x, W, rows, data, h):
    return numerical_gradient(lambda W: np.mean(rows(x @ W, *data)), W, h)


def round_off(x, W, values, gradient, h):
    """Return the rounding of both: a few of a value, and of a pre-activation where the loss depends on it."""
    return EPS * (16 * np.abs(values).max() + 8 * np.abs(x @ W).max() * np.abs(gradient).max() / np.abs(x).max()) / h


def assert_is_the_plain_loop(x, W, rows, data, h, roundings=1):
    found, plain = numerical_gradient(LayerObjective(x, rows, data), W, h), plain_gradient(x, W, rows, data, h)
    largest = np.abs(plain).max()
    error = np.abs(found - plain).max()
    assert error <= roundings * round_off(x, W, rows(x @ W, *data), plain, h) + 1e-9 * largest * (h > 1e-3)


@pytest.mark.parametrize("h", [1e-5, 1e-4, 1e-3, 1e-2])
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_plain_loop(kind, h):
    for seed in range(6):
        x, W, t, rows = problem(seed, *np.random.default_rng(seed).integers([1, 1, 2], [10, 8, 8]))
        if np.abs(x).max() > 0.0:
            assert_is_the_plain_loop(x, W, rows[kind], (t,), h)


@pytest.mark.parametrize("h", [1e-4, 1e-3, 1e-2])
@pytest.mark.parametrize("change", [1e-9, 1e-6, 1e-3, 1.0])
def test_no_kink_hides_between_the_steps(change, h):
    x, W = np.array([[1.0, 0.3, -0.77, 0.9]]), np.zeros((4, 1))
    weak = [1 / 3, 0.2, 0.636, 0.6735, 0.257, 0.65591, 0.7037, 0.5, 0.75, 0.25, 1.0, 1e-9, 0.0, -0.7083]
    for place in [*weak, *np.random.default_rng(0).uniform(-1, 1, 40)]:

        def rows(z, place=place):
            return np.sin(z[:, 0] + 0.3) + change * np.maximum(z[:, 0] - place * h, 0.0)

        # What passes for noise, 8 roundings, hides a kink that the fit is off by four times as much for.
        assert_is_the_plain_loop(x, W, rows, (), h, roundings=3)


STAIRS = {
    "half precision": lambda z: np.tanh(z.astype(np.float16)).astype(float).sum(axis=1),
    "rounded": lambda z: np.round(np.log(np.exp(z).sum(axis=1)), 5),
    "fine stairs": lambda z: np.floor(z * 1e4).sum(axis=1) / 1e4,
    "wide stairs": lambda z: np.floor(z * 64).sum(axis=1) / 64,
    "sawtooth": lambda z: np.abs(z * 300 % 1 - 0.5).sum(axis=1),
    "rounded relu": lambda z: np.round(np.maximum(z, 0.0), 3).sum(axis=1),
}


@pytest.mark.parametrize("h", [1e-4, 1e-3, 1e-2, 1e-1])
@pytest.mark.parametrize("kind", STAIRS)
def test_stairs_are_evaluated_at_their_own_steps(kind, h):
    for seed in range(4):
        rng = np.random.default_rng(seed)
        assert_is_the_plain_loop(rng.normal(size=(40, 5)), 0.3 * rng.normal(size=(5, 3)), STAIRS[kind], (), h)


@pytest.mark.filterwarnings("ignore:the step h=")  # of the plain loop, whose weights are 1e9
@pytest.mark.parametrize("kind", ["softmax", "sigmoid", "relu"])
@pytest.mark.parametrize("scale", [1e-9, 1e3])
def test_inputs_of_any_size(kind, scale):
    x, W, t, rows = problem(1, scale=scale)
    h = 1e-4 / max(1.0, scale)
    assert_is_the_plain_loop(x, W, rows[kind], (t,), h)
    x[0] *= 1e-6 / scale
    x[1] = 0.0
    assert_is_the_plain_loop(x, W, rows[kind], (t,), h)


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_beyond_every_series_is_the_plain_loops(kind):
    x, W, t, rows = problem(2)
    found = numerical_gradient(LayerObjective(x, rows[kind], (t,)), W, 0.5)
    plain = plain_gradient(x, W, rows[kind], (t,), 0.5)
    # A 100,000th of the truncation error: 0.5**2 / 6 of the third derivative, which is no larger than x**3 allows.
    assert np.abs(found - plain).max() <= 1e-6 * np.abs(plain).max()


@pytest.mark.parametrize("h", [1e-4, 0.5])
def test_a_softmax_layer_agrees_with_50_digits(h):
    x, W, t, rows = problem(3, 4, 3, 4)
    t = t % 4
    found = numerical_gradient(LayerObjective(x, rows["softmax"], (t,)), W, h)
    for i, j in np.ndindex(W.shape):
        plus, minus = losses_in_50_digits(W, x, t, i, j, h)
        assert abs(found[i, j] - float((plus - minus) / (2 * h))) <= 32 * EPS * float(abs(plus)) / h + 1e-7 * (h > 0.1)


@pytest.mark.parametrize("kind", ["softmax", "sigmoid", "relu"])
def test_a_bias_is_a_last_row(kind):
    x, W, t, rows = problem(4)
    W = np.vstack([W, np.linspace(-1, 1, W.shape[1])])
    with_ones = np.hstack([x, np.ones((len(x), 1))])
    f = LayerObjective(x, rows[kind], (t,), bias=True)
    assert f(W) == pytest.approx(np.mean(rows[kind](with_ones @ W, t)), rel=8 * EPS)
    found, plain = numerical_gradient(f, W), plain_gradient(with_ones, W, rows[kind], (t,), 1e-4)
    assert np.abs(found - plain).max() <= round_off(with_ones, W, rows[kind](with_ones @ W, t), plain, 1e-4)
    f.verify(W)


@pytest.mark.parametrize("scheme", ["central4", "central6"])
def test_schemes_of_central_quotients(scheme):
    x, W, t, rows = problem(5)
    f = LayerObjective(x, rows["tanh"], (t,))
    exact = numerical_gradient(lambda W: np.mean(rows["tanh"](x @ W, t)), W, 1e-3, scheme=scheme)
    assert np.abs(numerical_gradient(f, W, 1e-3, scheme=scheme) - exact).max() <= 1e-11
    for options in ({"h": "auto"}, {"scheme": "forward"}, {"bounds": (-9.0, 9.0)}, {"h": np.full(W.shape, 1e-4)}):
        with pytest.raises(ValueError, match="a layer objective has central differences of one step h"):
            numerical_gradient(f, W, **options)
    with pytest.raises(TypeError, match="a layer objective has no steps of each coordinate"):
        estimate_gradient(f, W)


def test_chosen_weights_have_the_bits_of_all():
    x, W, t, rows = problem(6, columns=7)
    f = LayerObjective(x, rows["relu"], (t,))
    whole = numerical_gradient(f, W, 1e-2)
    chosen = np.array([41, 3, 3, 17, 0])
    assert numerical_gradient(f, W, 1e-2, coordinates=chosen).tobytes() == whole.ravel()[chosen].tobytes()
    out = np.full(W.shape, np.nan)
    assert numerical_gradient(f, W, 1e-2, out=out) is out
    assert out.tobytes() == whole.tobytes()


@pytest.mark.parametrize("workers", [2, map])
def test_workers_give_the_same_bits(workers, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 200)  # several blocks of samples
    x, W, t, rows = problem(7, 60, 9, 24)
    f = LayerObjective(x, rows["relu"], (t,))
    whole = numerical_gradient(f, W, 1e-3)
    assert numerical_gradient(f, W, 1e-3, workers=workers).tobytes() == whole.tobytes()
    chosen = np.array([100, 7, 50])
    some = numerical_gradient(f, W, 1e-3, workers=workers, coordinates=chosen)
    assert some.tobytes() == whole.ravel()[chosen].tobytes()
    monkeypatch.setattr(module, "KEPT", 0)  # blocks are made again for each group
    assert numerical_gradient(f, W, 1e-3, workers=workers).tobytes() == whole.tobytes()


def test_progress_counts_weights():
    x, W, t, rows = problem(8)
    seen = []
    numerical_gradient(LayerObjective(x, rows["tanh"], (t,)), W, progress=lambda *counts: seen.append(counts))
    assert seen[-1] == (30, 30)
    assert seen == sorted(seen)


@pytest.mark.parametrize("kind", ["softmax", "sigmoid", "tanh"])
@pytest.mark.parametrize(("h", "most"), [(1e-4, 6), (1e-2, 6)])
def test_evaluations(kind, h, most):
    rng, count = np.random.default_rng(9), [0]
    x, W, t = rng.uniform(0, 1, (50, 30)), rng.standard_normal((30, 40)) / 6, rng.integers(0, 10, 50)
    rows = kinds(rng.standard_normal((40, 10)) / 6)[kind]

    def counted(z, t):
        count[0] += len(z)
        return rows(z, t)

    f = LayerObjective(x, counted, (t,))
    numerical_gradient(f, W, h)
    count[0] = 0
    numerical_gradient(f, W, h)
    assert count[0] / 50 <= most * 40 + 1


def test_a_layer_of_relus_takes_its_own_steps_only_at_kinks():
    rng, count = np.random.default_rng(10), [0]
    x, W, t = rng.uniform(0, 1, (50, 30)), rng.standard_normal((30, 40)) / 5, rng.integers(0, 10, 50)
    rows = kinds(rng.standard_normal((40, 10)) / 6)["relu"]

    def counted(z, t):
        count[0] += len(z)
        return rows(z, t)

    numerical_gradient(LayerObjective(x, counted, (t,)), W, 1e-4)
    assert count[0] / 50 <= 7 * 40


@pytest.mark.parametrize("kind", ["relu", "sigmoid"])
def test_dead_and_saturated_units_have_no_slope(kind):
    x, W, t, rows = problem(11)
    x, W = np.abs(x) + 0.1, -40.0 * np.ones_like(W)
    gradient = numerical_gradient(LayerObjective(x, rows[kind], (t,)), W)
    assert not gradient.any() if kind == "relu" else np.abs(gradient).max() <= 1e-9


def test_one_class_and_huge_logits():
    x = np.array([[1.0], [3.0]])
    f = LayerObjective(x, cross_entropy, (np.array([0, 0]),))
    assert numerical_gradient(f, np.array([[2.0]])).tolist() == [[0.0]]
    W = np.array([[800.0, -800.0]])
    assert_is_the_plain_loop(x, W, cross_entropy, (np.array([0, 1]),), 1e-4)


def test_a_value_that_is_not_finite_is_not_finite_in_the_gradient():
    x, W, t, rows = problem(12)
    x[2, 1] = np.nan
    with np.errstate(all="ignore"):
        assert np.isnan(numerical_gradient(LayerObjective(x, rows["softmax"], (t,)), W)).all()


@pytest.mark.parametrize("kind", ["softmax", "relu"])
def test_other_kinds_of_data(kind):
    x, W, t, rows = problem(13)
    expected = numerical_gradient(LayerObjective(x, rows[kind], (t,)), W).tobytes()
    forms = np.asfortranarray(x), x.astype(">f8"), x.tolist(), np.repeat(x, 2, axis=1)[:, ::2]
    for form in forms:
        assert numerical_gradient(LayerObjective(form, rows[kind], (t.tolist(),)), W).tobytes() == expected
    narrow = LayerObjective(x.astype(np.float32), rows[kind], (t,))
    wide = LayerObjective(x.astype(np.float32).astype(float), rows[kind], (t,))
    assert numerical_gradient(narrow, W).tobytes() == numerical_gradient(wide, W).tobytes()
    assert numerical_gradient(wide, np.asfortranarray(W)).tobytes() == numerical_gradient(wide, W).tobytes()
    assert numerical_gradient(wide, W.tolist()).tobytes() == numerical_gradient(wide, W).tobytes()


def test_rows_of_float32_are_judged_by_their_own_precision():
    x, W, t, rows = problem(14)
    count = [0]

    def narrow(z, t):
        count[0] += len(z)
        return rows["softmax"](z.astype(np.float32), t)

    f = LayerObjective(x, narrow, (t,))
    gradient = numerical_gradient(f, W, 1e-2)
    assert np.abs(gradient - numerical_gradient(LayerObjective(x, rows["softmax"], (t,)), W, 1e-2)).max() <= 1e-4
    assert count[0] <= 8 * 8 * 5 + 100


@needs_jit
def test_compiled_rows():
    from numba import njit

    x, W, t, _ = problem(15)

    def squares(z, t):
        values = np.empty(len(z))
        for b in range(len(z)):
            values[b] = 0.0
            for j in range(z.shape[1]):
                values[b] += (z[b, j] - t[b]) ** 2
        return values

    squares, parallel = njit()(squares), njit(parallel=True)(squares)

    plain = plain_gradient(x, W, lambda z, t: ((z - t[:, None]) ** 2).sum(axis=1), (t,), 1e-4)
    found = numerical_gradient(LayerObjective(x, squares, (t,)), W, workers=2)
    assert np.abs(found - plain).max() <= 1e-6
    with pytest.raises(TypeError, match="starts threads"):
        numerical_gradient(LayerObjective(x, parallel, (t,)), W, workers=2)
    with pytest.raises(TypeError, match="numba cannot compile rows for this z and data"):
        numerical_gradient(LayerObjective(x, njit()(lambda z: z.nothing)), W)


def test_rows_may_write_to_what_they_are_given():
    x, W, t, rows = problem(16)

    def writing(z, t):
        values = rows["tanh"](z, t)
        z[...], t[...] = np.nan, 0
        return values

    saved = x.copy(), t.copy(), W.copy()
    f = LayerObjective(x, writing, (t,))
    assert f(W) == LayerObjective(x, rows["tanh"], (t,))(W)
    found = numerical_gradient(f, W)
    assert found.tobytes() == numerical_gradient(LayerObjective(x, rows["tanh"], (t,)), W).tobytes()
    f.verify(W)
    assert [a.tobytes() for a in saved] == [a.tobytes() for a in (x, t, W)]


def batch_norm(strength):
    return lambda z: np.tanh(z - strength * z.mean(axis=0)).sum(axis=1)


MIXING = {
    "batch normalisation": lambda z: np.tanh((z - z.mean(axis=0)) / (z.std(axis=0) + 1e-5)).sum(axis=1),
    "weak batch normalisation": batch_norm(1e-6),
    "mean over the batch": lambda z: z.sum(axis=1) / len(z),
    "sum over the batch": lambda z: np.exp(z).sum(axis=1) / np.exp(z).sum(),
    "maximum over the batch": lambda z: z.sum(axis=1) / np.abs(z).max(),
    "cumulative sum": lambda z: np.cumsum(z.sum(axis=1)),
}


@pytest.mark.parametrize("kind", MIXING)
@pytest.mark.parametrize("batch", [1, 2, 9])
def test_rows_that_see_each_other_are_named(kind, batch):
    x, W, *_ = problem(17, batch)
    f = LayerObjective(x, MIXING[kind])
    for use in (lambda: numerical_gradient(f, W), lambda: f.verify(W), lambda: gradient_descent(f, W.copy())):
        with pytest.raises(ValueError, match=r"rows are not independent.*batch normalisation"):
            use()


@pytest.mark.parametrize("size", [1e3, 1e9, 1e14, 1e20, 1e30])
def test_small_inputs_beside_large_ones_of_a_sample_keep_their_digits(size):
    rng = np.random.default_rng(62)
    for _ in range(20):
        x, W, t, rows = problem(rng, batch=3, inputs=4, columns=2)
        x[:, 0] *= size
        W[0] /= size
        found = numerical_gradient(LayerObjective(x, rows["squares"], (t,)), W)
        exact = x.T @ (2.0 * (x @ W - t[:, None])) / 3
        # Values of 1e4 carry some ten roundings.
        assert np.abs(found - exact)[1:].max() < 10 * EPS * 1e4 / 1e-4 + 1e-9 * np.abs(exact[1:]).max()


@pytest.mark.parametrize("size", [1e3, 1e5, 1e6, 3e6, 1e7])
@pytest.mark.parametrize("power", [np.exp, np.sinh, lambda z: z**9])
def test_steep_samples_hide_no_small_inputs(size, power):
    rng = np.random.default_rng(66)
    for _ in range(5):
        x, y = rng.standard_normal((20, 3)), rng.poisson(2.0, 20).astype(float)
        x[:, 0] = size * 10.0 ** rng.uniform(-3.0, 0.0, 20)
        W = np.array([[1.0 / size, -0.5 / size], [0.3, 0.2], [0.1, -0.4]])

        def rows(z, y):
            return (power(z) - y[:, None] * z).sum(axis=1)

        with np.errstate(over="ignore", invalid="ignore"):
            found, plain = numerical_gradient(LayerObjective(x, rows, (y,)), W), plain_gradient(x, W, rows, (y,), 1e-4)
        assert np.isfinite(plain[1:]).all()
        assert np.abs(found[1:] - plain[1:]).max() < 1e-9 * np.abs(plain[1:]).max()


def test_verify_names_a_weight_that_is_wrong_and_no_nan(monkeypatch):
    right, x = responses.Block.differences, np.random.default_rng(67).uniform(0.5, 1.0, (4, 3))
    x[0, 0] = 1e9  # which takes the first sample to NaN by all steps of the first weight
    monkeypatch.setattr(responses.Block, "differences", lambda *args: 2.0 * right(*args))
    f = LayerObjective(x, lambda z: np.where(np.abs(z[:, 0]) > 50.0, np.nan, z[:, 0]))
    with pytest.raises(AssertionError, match=r"weight \([12], 0\) is wrong") as caught:
        f.verify(np.zeros((3, 1)))
    assert "nan" not in str(caught.value)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_that_are_small_differences_may_round_otherwise_in_another_call(dtype):
    x, W, *_ = problem(60)
    W[:, -1] = 1e-6 * W[:, -1] - W[:, :-1].sum(axis=1)

    def rows(z):  # adds in another order, as a product of matrices of another size does
        order = 1 if len(z) == len(x) else -1
        return sum(z.astype(dtype).T[::order])

    assert np.abs(rows(x @ W)).max() < 1e-5 < np.abs(x @ W).max()
    found = numerical_gradient(LayerObjective(x, rows), W, 1e-2)
    assert np.abs(found - x.mean(axis=0)[:, None]).max() < 10 * np.finfo(dtype).eps / 1e-2


@pytest.mark.parametrize("size", [1e-310, 1e-200, 1.0])
@pytest.mark.parametrize("weight", [1e-200, 1e-120, 1.0])
@pytest.mark.parametrize("bias", [False, True])
def test_what_underflows_is_as_good_as_zero_whatever_numpy_is_to_do(size, weight, bias):
    x, W, t, rows = problem(61, inputs=4, columns=3)
    with np.errstate(under="ignore"):
        x[1:] *= size
        W = np.concatenate([W, W[:1]] if bias else [W]) * weight
        f = LayerObjective(x, rows["tanh"], (t,), bias=bias)
        expected = f(W), numerical_gradient(f, W).tobytes()
    with np.errstate(under="raise"):
        f = LayerObjective(*(f.x, f.rows, f.data), bias=bias)
        assert (f(W), numerical_gradient(f, W).tobytes()) == expected
        f.verify(W)
        check_gradient(f, np.zeros(W.shape), W)
        for options in ({"coordinates": [1, 5]}, {"h": 1e-2}, {"scheme": "central4"}, {"workers": 2}):
            assert np.isfinite(numerical_gradient(f, W, **options)).all()


def test_layer_normalisation_is_independent():
    x, W, *_ = problem(18)

    def rows(z):
        return np.tanh((z - z.mean(axis=1, keepdims=True)) / (z.std(axis=1, keepdims=True) + 1e-5))[:, 0] ** 2

    LayerObjective(x, rows).verify(W)
    assert_is_the_plain_loop(x, W, rows, (), 1e-4)


@pytest.mark.parametrize("columns", [1, 2, 5, 31, 33, 61, 74, 97])
def test_groups_are_few_whatever_the_number_of_columns(columns):
    x, W, t, rows = problem(64, columns=columns)
    f, units = LayerObjective(x, rows["squares"], (t,)), []

    def engine(function, tasks):
        units.extend(task.stop - task.start for task in tasks)
        return map(function, tasks)

    found, exact = numerical_gradient(f, W), x.T @ (2.0 * (x @ W - t[:, None])) / len(x)
    assert np.abs(found - exact).max() < 1e-9 * np.abs(exact).max()
    f.verify(W)
    for workers in (2, engine):
        assert numerical_gradient(f, W, workers=workers).tobytes() == found.tobytes()
    assert sum(units) == max(min(columns, 2), -(-columns // 32))
    chosen = np.random.default_rng(65).integers(0, W.size, 7)
    assert numerical_gradient(f, W, coordinates=chosen).tobytes() == found.reshape(-1)[chosen].tobytes()


X = np.random.default_rng(5).standard_normal((6, 2))


def decoder(W):
    return LayerObjective(X, lambda z, x: np.sum((np.tanh(z) @ W.T - x) ** 2, axis=1), (X,))


def penalty(W):
    return LayerObjective(X, lambda z: np.sum(z**2, axis=1) + W[0, 0] ** 2)


def weights_as_x(W):
    return LayerObjective(W, lambda z: z[:, 0] ** 2)


def weights_as_data(W):
    return LayerObjective(X[:2], lambda z, w: z[:, 0] * w, (W[1],))


@pytest.mark.parametrize(
    ("make", "dtype"),
    [(decoder, "f8"), (decoder, "f4"), (penalty, "f8"), (penalty, "f2"), (weights_as_x, "f8"), (weights_as_data, "f4")],
)
def test_rows_that_read_the_weights_by_another_way_are_refused(make, dtype):
    W = np.random.default_rng(0).standard_normal((2, 2)).astype(dtype)
    for differentiate in (numerical_gradient, lambda f, W: f.verify(W), lambda f, W: f._as_objective().slopes(W, ())):
        with pytest.raises(ValueError, match=r"read W by another way than x @ W.*pass lambda W: objective\(W\)"):
            differentiate(make(W), W)
    objective = make(W)
    plain = numerical_gradient(lambda w: objective(w), W, 1e-2)
    assert plain.tobytes() == numerical_gradient(lambda _: objective(W), W, 1e-2).tobytes()
    numerical_gradient(make(W), W.copy())  # which rows do not read


def test_rows_may_return_a_buffer_that_is_used_again():
    rng, buffer = np.random.default_rng(5), np.empty(10**4)
    x, W = rng.standard_normal((9, 5)), rng.standard_normal((5, 3))

    def reusing(rows):
        def write(z):
            buffer[: len(z)] = rows(z)
            return buffer[: len(z)]

        return LayerObjective(x, write)

    def apart(z):
        return np.tanh(z).sum(axis=1)

    f, fresh = reusing(apart), LayerObjective(x, apart)
    assert numerical_gradient(f, W).tobytes() == numerical_gradient(fresh, W).tobytes()
    f.verify(W)
    assert check_gradient(f, x.T @ np.cosh(x @ W) ** -2.0 / 9, W)
    with pytest.raises(ValueError, match="the rows are not independent"):
        numerical_gradient(reusing(lambda z: apart(z - z.mean(axis=0))), W)
    with pytest.raises(ValueError, match="rows is random"):
        numerical_gradient(reusing(lambda z: apart(z) * rng.choice([0.0, 2.0], len(z))), W)


def test_rows_are_asked_anew_for_other_weights():
    W = np.random.default_rng(0).standard_normal((2, 2))
    for make in (decoder, penalty):
        objective = make(W)
        numerical_gradient(objective, W.copy())
        with pytest.raises(ValueError, match="read W by another way"):
            numerical_gradient(objective, W)


@needs_jit
def test_compiled_rows_that_captured_the_weights_are_refused():
    from numba import njit

    W = np.ones((2, 2))
    rows = njit()(lambda z: z[:, 0] * W[0, 0])
    with pytest.raises(ValueError, match="the compiled rows reads x as the captured variable 'W'"):
        numerical_gradient(LayerObjective(X, rows), W)


@needs_jit
def test_rows_that_start_threads_are_run_on_one():
    from numba import njit, prange

    @njit(parallel=True, nogil=True)
    def parallel(z):
        values = np.empty(len(z))
        for b in prange(len(z)):
            values[b] = z[b, 0] ** 2
        return values

    calls = njit()(lambda z: parallel(z))
    for rows in (parallel, calls, lambda z: parallel(z), lambda z: calls(z) + 0.0):
        with pytest.raises(TypeError, match="workers=2 needs an f compiled without parallel=True"):
            numerical_gradient(LayerObjective(X, rows), np.ones((2, 2)), workers=2)
        assert numerical_gradient(LayerObjective(X, rows), np.ones((2, 2))).any()


def test_random_rows_are_named():
    x, W, *_ = problem(19)
    rng = np.random.default_rng(0)
    f = LayerObjective(x, lambda z: (z * (rng.random(z.shape) < 0.5)).sum(axis=1))
    for use in (lambda: numerical_gradient(f, W), lambda: f.verify(W)):
        with pytest.raises(ValueError, match=r"rows is random: .* dropout"):
            use()


def test_labels_of_a_closure_are_named():
    x, W, t, rows = problem(20)
    with pytest.raises(ValueError, match=r"rows must take any number of samples.* data=\(t,\)"):
        numerical_gradient(LayerObjective(x, lambda z: rows["softmax"](z, t)), W)


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        (lambda z: z, ValueError, r"rows must return one number a sample, of shape \(8,\), got the shape \(8, 5\)"),
        (lambda z: [[1.0], [1.0, 2.0]], ValueError, "rows must return one number a sample, got list .*, ragged"),
        (lambda z: z.sum(), ValueError, r"got the shape \(\)"),
        (lambda z: None, ValueError, "rows must return one number a sample, it returned None: is a return missing"),
        (lambda z: z.sum(axis=1) * 1j, TypeError, "rows must return real numbers, got dtype complex128"),
        (lambda z: 1 / 0, ZeroDivisionError, "division by zero"),
    ],
)
def test_what_rows_may_return(rows, error, message):
    x, W, *_ = problem(21)
    f = LayerObjective(x, rows)
    for use in (lambda: f(W), lambda: numerical_gradient(f, W), lambda: f.verify(W)):
        with pytest.raises(error, match=message):
            use()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([[1.0]], None), TypeError, "rows must be callable"),
        (([1.0], len), ValueError, r"x must have the shape \(batch, inputs\)"),
        ((np.empty((0, 2)), len), ValueError, "not be empty"),
        (([[1j]], len), TypeError, "x must hold real numbers"),
        (([[1.0]], len, np.ones(1)), TypeError, "data must be a tuple of arrays"),
        (([[1.0]], len, (np.ones(2),)), ValueError, r"data\[0\] must have the length of the batch, 1"),
    ],
)
def test_misuse(arguments, error, message):
    with pytest.raises(error, match=message):
        LayerObjective(*arguments)


def test_weights_that_do_not_fit():
    x, W, *_ = problem(22)
    f = LayerObjective(x, lambda z: z.sum(axis=1), bias=True)
    for use in (lambda W: f(W), lambda W: numerical_gradient(f, W)):
        with pytest.raises(
            ValueError, match=r"W must have the shape \(7, columns\), a row for each input and one for the"
        ):
            use(W)
        with pytest.raises(TypeError, match="W must hold real numbers"):
            use(W * 1j)
    with pytest.raises(TypeError, match="takes no args"):
        numerical_gradient(f, np.ones((7, 2)), args=(1,))
    with pytest.raises(ValueError, match="take the points one by one, without points_axis"):
        numerical_gradient(f, np.ones((4, 7, 2)), points_axis=0)
    # Another number of columns is another layer.
    assert numerical_gradient(f, np.ones((7, 2))).shape == (7, 2)


def test_descents_and_checks():
    x, W, t, rows = problem(23, 20)
    f, start = LayerObjective(x, rows["sigmoid"], (t,)), W.copy()
    assert gradient_descent(f, W, 0.5, 30) is W
    plain = gradient_descent(lambda W: np.mean(rows["sigmoid"](x @ W, t)), start.copy(), 0.5, 30)
    assert np.abs(W - plain).max() <= 1e-9
    assert check_gradient(f, numerical_gradient(f, W, 1e-5), W).ok
    assert not check_gradient(f, numerical_gradient(f, W, 1e-5) * 1.01, W).ok


SLOPES = {  # of functions of z with a kink at 0, and the slope of each
    "sine": (lambda z: np.sin(3.0 * z + 1.0), lambda z: 3.0 * np.cos(3.0 * z + 1.0)),
    "exponential": (lambda z: np.exp(z), np.exp),
    "relu": (lambda z: np.maximum(z, 0.0), lambda z: (z > 0.0) * 1.0),
    "weak kink": (lambda z: np.cos(z) + 1e-6 * np.abs(z), lambda z: 1e-6 * np.sign(z) - np.sin(z)),
    "kink in a curve": (
        lambda z: np.tanh(z) + 0.3 * np.maximum(z, 0.0),
        lambda z: np.cosh(z) ** -2.0 + 0.3 * (z > 0.0),
    ),
    "fine": (lambda z: np.sin(1e4 * z), lambda z: 1e4 * np.cos(1e4 * z)),
    "rounded": (lambda z: np.round(np.sin(z), 7), np.cos),
    "float32": (lambda z: np.sin(z).astype(np.float32), np.cos),
}


@pytest.mark.parametrize("kind", SLOPES)
def test_slopes_have_honest_bars(kind):
    g, slope = SLOPES[kind]
    rng = np.random.default_rng(27)
    z = rng.choice([-1.0, 1.0], 2000) * 10.0 ** rng.uniform(-9, 1, 2000)
    z = np.clip(z, -3.0, 3.0) if kind not in ("rounded", "float32") else rng.uniform(-3.0, 3.0, 2000)
    f = LayerObjective(z[:, None], lambda z: g(z[:, 0]))
    block = f._block(np.ones((1, 1)), slice(None))
    found, bars, *_ = (values[:, 0] for values in block.slopes(np.array([0])))
    assert (np.abs(found - slope(z)) <= bars + 4 * EPS).all()
    if kind in ("sine", "exponential"):
        assert bars.max() <= 2e-10 * max(1.0, np.abs(slope(z)).max())
    if kind in ("relu", "kink in a curve"):
        assert (bars <= 1e-6)[np.abs(z) > 1e-6].all()
    gradient, errors, _ = f._as_objective().slopes(np.ones((1, 1)), ())
    assert abs(gradient[0, 0] - np.mean(slope(z) * z)) <= errors[0, 0]


@pytest.mark.parametrize("width", [3e-9, 1e-7, 1e-6, 1e-4])
def test_a_bar_covers_the_slope_between_two_kinks_that_undo_each_other(width):
    rng = np.random.default_rng(34)
    z = rng.choice([-1.0, 1.0], 2000) * 10.0 ** rng.uniform(-13, -2, 2000)
    f = LayerObjective(z[:, None], lambda z: (np.maximum(z, 0.0) - 0.9 * np.maximum(z - width, 0.0))[:, 0])
    found, bars, *_ = f._block(np.ones((1, 1)), slice(None)).slopes(np.array([0]))
    assert (np.abs(found[:, 0] - ((z > 0.0) - 0.9 * (z > width))) <= bars[:, 0]).all()
    assert (bars[:, 0] <= 1e-4)[(np.abs(z) > 1e-8) & (np.abs(z - width) > 1e-8)].all()


def test_the_bar_at_a_kink_covers_the_slopes_on_both_sides():
    f = LayerObjective([[0.5], [1.0], [-2.0]], lambda z: np.abs(z[:, 0] - 0.5) + 2.0 * z[:, 0])
    block = f._block(np.ones((1, 1)), slice(None))
    slopes, bars, kinks, _ = (values[:, 0] for values in block.slopes(np.array([0])))
    assert slopes == pytest.approx([2.0, 3.0, 1.0])
    assert bars[0] == pytest.approx(1.0)
    assert kinks == pytest.approx([1.0, 0.0, 0.0])
    assert bars[1:].max() <= 1e-9
    for claim in (1, 2, 3):  # as a slope of the first sample
        assert check_gradient(f, [[(0.5 * claim + 3.0 - 2.0) / 3.0]], np.ones((1, 1)))
    assert not check_gradient(f, [[(0.5 * 3.1 + 3.0 - 2.0) / 3.0]], np.ones((1, 1)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["relu", "leaky", "absolute", "hard tanh"])
def test_every_slope_between_those_of_kinks_is_a_subgradient(kind, dtype):
    act, below, above = {
        "relu": (lambda z: np.maximum(z, 0.0), 0.0, 1.0),
        "leaky": (lambda z: np.maximum(z, 0.1 * z), 0.1, 1.0),
        "absolute": (np.abs, -1.0, 1.0),
        "hard tanh": (lambda z: np.clip(z + 1.0, -1.0, 1.0), 1.0, 0.0),
    }[kind]
    for seed in range(15):
        rng = np.random.default_rng(seed)
        x, W, V = rng.normal(size=(6, 4)), rng.normal(size=(5, 5)), rng.normal(size=(5, 3))
        x[rng.integers(6)], W[-1] = 0.0, 0.0  # a blank sample is at the kink of all columns
        t = rng.integers(0, 3, 6)

        def rows(z, t, V=V):
            y = act(z.astype(dtype)) @ V.astype(dtype)
            return np.log(np.exp(y).sum(axis=1)) - y[np.arange(len(z)), t]

        f = LayerObjective(x, rows, (t,), bias=True)
        inputs = np.hstack([x, np.ones((6, 1))])
        z = inputs @ W
        e = np.exp(act(z) @ V)
        delta = (e / e.sum(axis=1, keepdims=True) - np.eye(3)[t]) @ V.T / 6
        slope = np.vectorize(lambda z: (act(z + 1e-6) - act(z - 1e-6)) / 2e-6)(z)
        for part in (0.0, 0.3, 1.0):
            right = inputs.T @ (delta * np.where(z == 0.0, below + part * (above - below), slope))
            check = check_gradient(f, right, W)
            assert check, str(check)
            assert part == 0.3 or 0 < check.subgradients <= 10
            wrong = right.copy()
            wrong[0, 2] += 0.1 * max(0.1, abs(wrong[0, 2]))
            assert check_gradient(f, wrong, W).arrays[""].failed == 1
        beyond = inputs.T @ (delta * np.where(z == 0.0, below + 1.2 * (above - below), slope))
        check = check_gradient(f, beyond, W)
        assert check.arrays[""].failed > 0
        assert any("f has a kink at x" in hint for hint in check.hints)


SHARED = {  # inputs with a bias, weights, and where the kinks of all samples are
    "blank samples": (np.zeros((6, 1)), [[0.4], [0.0]], 0.0),
    "no weights": (np.array([[1.0], [-2.0], [0.5], [3.0], [-1.0], [2.0]]), [[0.0], [0.0]], 0.0),
    "not at zero": (np.full((6, 1), -2.0), [[-0.25], [0.25]], 0.75),
}


@pytest.mark.parametrize("kind", SHARED)
def test_samples_share_the_side_of_a_kink(kind):
    x, W, at = SHARED[kind]
    W, signs = np.array(W), np.array([1.0, -1.0, 2.0, -1.0, 1.5, -2.0])
    f = LayerObjective(x, lambda z, signs: signs * np.maximum(z[:, 0] - at, 0.0) + z[:, 0], (signs,), bias=True)
    inputs = np.hstack([x, np.ones((6, 1))])

    def claim(part):  # of the jump of each sample
        return inputs.T @ (1.0 + part * signs)[:, np.newaxis] / 6

    for part in (0.0, 0.25, 0.5, 1.0):
        check = check_gradient(f, claim(part), W, rtol=1e-7)
        assert check, str(check)
    h = 2.0**-20
    for place in np.ndindex(W.shape):
        step = np.zeros(W.shape)
        step[place] = h
        above, below = f(W + step) - f(W), f(W) - f(W - step)
        for slope in (above / h, below / h, (above + below) / (2 * h)):
            right = claim(0.5)
            right[place] = slope
            assert check_gradient(f, right, W)
        for part in (signs > 0.0, signs < 0.0):  # a side of its own for each sample
            wrong = claim(0.5)
            wrong[place] = claim(part)[place]
            lowest, highest = sorted((claim(0.0)[place], claim(1.0)[place]))
            lowest, highest = min(lowest, above / h, below / h), max(highest, above / h, below / h)
            assert check_gradient(f, wrong, W).ok == (lowest - 1e-6 <= wrong[place] <= highest + 1e-6)
    assert not check_gradient(f, claim(signs > 0.0), W)


def test_samples_next_to_a_kink_take_a_side_each():
    rng = np.random.default_rng(2)
    W, signs = rng.standard_normal((3, 1)), rng.choice([-1.0, 1.0], 40)
    x = np.cross(rng.standard_normal((40, 3)), W[:, 0])  # at the kink but for rounding
    f = LayerObjective(x, lambda z, signs: signs * np.maximum(z[:, 0], 0.0), (signs,))
    assert len(np.unique(x @ W > 0.0)) == 2
    check = check_gradient(f, x.T @ (signs[:, np.newaxis] * (x @ W > 0.0)) / 40, W)
    assert check, str(check)


def test_a_check_takes_a_few_evaluations_a_column():
    x, W, t, rows = problem(28, 40, 30, 6)
    for kind in ("softmax", "sigmoid", "relu"):
        count = [0]

        def counted(z, t, kind=kind, count=count):
            count[0] += len(z)
            return rows[kind](z, t)

        f = LayerObjective(x, counted, (t,))
        exact = f._as_objective().slopes(W, ())[0]
        count[0] = 0
        assert check_gradient(f, exact, W).ok
        assert count[0] <= 40 * (12 * 6 + 4)
        wrong = exact.copy()
        wrong[3, 2] *= 1.001
        check = check_gradient(f, wrong, W)
        assert check.worst.index == (3, 2)
        assert check.arrays[""].failed == 1
        assert check_gradient(f, exact, W, h=1e-4).ok  # by steps
        assert check_gradient(f, exact, W, samples=5, rng=0).checked == 5
        assert check_gradient(f, exact, W, directions=3, rng=0).ok


def test_verify_finds_a_wrong_difference(monkeypatch):
    x, W, t, rows = problem(24)
    f = LayerObjective(x, rows["tanh"], (t,))
    f.verify(W, samples=30)
    monkeypatch.setattr(responses.Block, "power", lambda self, k: 2.0 * self.inputs)
    with pytest.raises(AssertionError, match=r"the difference of weight \(\d, \d\) is wrong for the step"):
        f.verify(W, samples=30)


@pytest.mark.parametrize("kind", ["tanh", "relu", "sigmoid", "squares"])
def test_verify_allows_rows_of_float32_for_their_rounding(kind):
    x, W, t, rows = problem(25)
    single = LayerObjective(x, lambda z, t: rows[kind](z.astype(np.float32), t).astype(np.float32), (t,))
    single.verify(W, samples=30)
    # And it is right: as far as the spacing of float32 lets differences of a step of 1e-2 be.
    double = LayerObjective(x, rows[kind], (t,))
    apart = np.abs(numerical_gradient(single, W, 1e-2) - numerical_gradient(double, W, 1e-2))
    assert apart.max() < 64 * 2.0**-23 * np.abs(rows[kind](x @ W, t)).max() / 1e-2


def test_verify_allows_for_the_rounding_of_any_block_and_of_rows_far_away(monkeypatch):
    monkeypatch.setattr(module, "MOST", 8)
    rng = np.random.default_rng(32)
    x, W, offset = rng.standard_normal((24, 3)), rng.standard_normal((3, 2)), np.repeat([0.0, 1e9, 0.0], 8)
    LayerObjective(x, lambda z, offset: np.tanh(z).sum(axis=1) + offset, (offset,)).verify(W)
    for size in (1e20, 1e80, 1e150):
        x[1, 0], W[0] = size, 0.0  # the square of a step of it hides what is left where its sides cancel
        LayerObjective(x, lambda z: (z**2).sum(axis=1)).verify(W)
    silent = LayerObjective(x[2:], lambda z: np.tanh(z).sum(axis=1))
    monkeypatch.setattr(responses.Block, "differences", lambda self, columns, h: np.zeros((3, len(columns))))
    with pytest.raises(AssertionError, match=r"is wrong for the step 0\.0001"):
        silent.verify(W)


@pytest.mark.parametrize("kind", [np.sin, np.cos, lambda z: np.abs(np.sin(z))])
def test_verify_allows_for_the_rounding_of_pre_activations_of_many_periods(kind, monkeypatch):
    # A step is longer than a period: its quotient does not tell the slope, which magnifies the rounding of z.
    rng = np.random.default_rng(33)
    W, x = rng.standard_normal((5, 3)), rng.standard_normal((8, 5))
    for size in (1e5, 1e7, 1e8, 1e9, 1e12, 1e16):
        LayerObjective(size * x, lambda z: kind(z).sum(axis=1)).verify(W)
    monkeypatch.setattr(responses.Block, "power", lambda self, k: 2.0 * self.inputs)
    monkeypatch.setattr(responses.Block, "both", lambda self, b, j, u: np.full((2, len(b)), 0.1))
    for size in (1e5, 1e7):
        with pytest.raises(AssertionError, match=r"is wrong for the step 0\.0001"):
            LayerObjective(size * x, lambda z: kind(z).sum(axis=1)).verify(W)


def test_an_objective_travels():
    x, W, *_ = problem(25)
    f = LayerObjective(x, module_rows)
    again = pickle.loads(pickle.dumps(f))
    assert numerical_gradient(again, W).tobytes() == numerical_gradient(f, W).tobytes()
    assert repr(f) == "LayerObjective(x of shape (8, 6), module_rows)"


def module_rows(z):
    return np.tanh(z).sum(axis=1)


def test_ctrl_c_passes_through():
    x, W, *_ = problem(26)
    calls = []

    def rows(z):
        calls.append(0)
        if len(calls) > 6:
            raise KeyboardInterrupt
        return z.sum(axis=1)

    with pytest.raises(KeyboardInterrupt):
        numerical_gradient(LayerObjective(x, rows), W, workers=2)


@pytest.mark.parametrize(
    ("batch", "inputs", "columns"), [(3000, 50, 60), (600, 2000, 20), (6000, 500, 2), (60_000, 4, 8), (40, 300, 1500)]
)
def test_memory_is_bounded(batch, inputs, columns):
    rng = np.random.default_rng(0)
    x, W = rng.uniform(0, 1, (batch, inputs)), rng.standard_normal((inputs, columns)) / inputs
    f = LayerObjective(x, lambda z: (z * z).sum(axis=1), bias=False)
    chosen = np.arange(0, columns, 17) if columns > 1000 else None
    numerical_gradient(f, W, 1e-2, coordinates=np.arange(1))
    tracemalloc.start()
    gradient = numerical_gradient(f, W, 1e-2, coordinates=chosen, workers=2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak - gradient.nbytes <= 64 * 2**20


@pytest.mark.parametrize("kind", ["float32", "rounded", "float32 inside"])
def test_rows_of_few_digits_pass_and_a_wrong_weight_of_theirs_fails(kind):
    for seed in range(12):
        rng = np.random.default_rng(seed)
        act, slope = [(np.tanh, lambda z: 1.0 - np.tanh(z) ** 2), (lambda z: np.maximum(z, 0.0), lambda z: z > 0.0)][
            seed % 2
        ]
        batch = int(rng.integers(2, 20))
        x, W, V = rng.normal(size=(batch, 4)), rng.normal(size=(4, 5)), rng.normal(size=(5, 3))
        t, narrow = rng.integers(0, 3, batch), np.float64 if kind == "rounded" else np.float32

        def rows(z, t, act=act, V=V, narrow=narrow):
            y = act(z.astype(narrow)) @ V.astype(narrow)
            values = np.log(np.exp(y).sum(axis=1)) - y[np.arange(len(z)), t]
            return values if kind == "float32" else np.round(values.astype(float), 6 if kind == "rounded" else 15)

        e = np.exp(act(x @ W) @ V)
        right = x.T @ ((e / e.sum(axis=1, keepdims=True) - np.eye(3)[t]) @ V.T / batch * slope(x @ W))
        f = LayerObjective(x, rows, (t,))
        assert check_gradient(f, right, W)
        k = int(rng.integers(20))
        wrong = right.copy()
        wrong.flat[k] += 0.3 * max(abs(wrong.flat[k]), 0.05)
        assert check_gradient(f, wrong, W).arrays[""].failed >= 1


@pytest.mark.filterwarnings("ignore:the step h=")  # of the plain loop, where a weight is infinite
@pytest.mark.parametrize("h", [1e-4, 1e-2])
def test_values_that_are_not_finite_are_those_of_the_plain_loop(h):
    kinds = {
        "saturates": lambda z: np.tanh(z).sum(axis=1),
        "skips NaN": lambda z: np.where(np.isnan(z), 0.0, z**2).sum(axis=1),
        "pole": lambda z: 1.0 / np.abs(z[:, 0] - 1.0) + np.sin(z).sum(axis=1),
        "hands on": lambda z: (z**2).sum(axis=1),
        "ends": lambda z: np.sqrt(1.0 - z[:, 0]),
    }
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x, W = rng.integers(-2, 3, (5, 3)).astype(float), rng.choice([-1.0, 1.0, 2.0], (3, 2))
        x[0], W[0, 0] = [1.0, 0.0, 0.0], 1.0  # at the pole, and at the end
        for _ in range(seed % 3):
            x[rng.integers(1, 5), rng.integers(3)] = rng.choice([np.inf, -np.inf, np.nan])
        if seed % 4 == 0:
            W[1, 1] = rng.choice([np.inf, np.nan])
        for name, rows in kinds.items():
            with np.errstate(all="ignore"):
                found, plain = numerical_gradient(LayerObjective(x, rows), W, h), plain_gradient(x, W, rows, (), h)
            assert found[~np.isfinite(plain)] == pytest.approx(plain[~np.isfinite(plain)], nan_ok=True), name
            known = np.isfinite(plain)
            assert np.abs(found[known] - plain[known]).max(initial=0.0) <= 1e-7 * np.abs(plain[known]).max(initial=1.0)


@pytest.mark.parametrize("h", [1e-4, 1e-2])
@pytest.mark.parametrize("bias", [False, True])
def test_a_weight_whose_sign_a_step_changes_beside_an_infinite_input_is_the_plain_loops(bias, h):
    kinds = {
        "saturates": lambda z: np.tanh(z).sum(axis=1),
        "hands on": lambda z: (z**2).sum(axis=1),
        "the same on both sides": lambda z: np.exp(-(z**2)).sum(axis=1) + z[:, 1] / (1.0 + np.abs(z[:, 1])),
        "skips NaN": lambda z: np.where(np.isnan(z), 2.0, np.tanh(z)).sum(axis=1),
        "float32": lambda z: np.tanh(z).sum(axis=1).astype(np.float32),
    }
    for seed in range(12):
        rng = np.random.default_rng(seed)
        x, W = rng.standard_normal((5, 3)), rng.standard_normal((3 + bias, 3))
        W[rng.random(W.shape) < 0.5] *= 0.5 * h
        W[0, 0], W[0, 1] = rng.choice([0.0, h, -h, 1.5 * h]), -0.0
        for _ in range(1 + seed % 3):
            x[rng.integers(5), rng.integers(3)] = rng.choice([np.inf, -np.inf])
        for name, rows in kinds.items():
            f = LayerObjective(x, rows, bias=bias)
            inputs = np.hstack([x, np.ones((5, 1))]) if bias else x
            with np.errstate(all="ignore"):
                plain = plain_gradient(inputs, W, lambda z, rows=rows: rows(z).astype(float), (), h)
                found = numerical_gradient(f, W, h)
                one = numerical_gradient(f, W, h, coordinates=[0])
                if name != "float32":
                    f.verify(W)
            assert np.isnan(found).tolist() == np.isnan(plain).tolist(), name
            known = ~np.isnan(plain)
            rounding = 1e-7 * max(1.0, np.abs(plain[known]).max(initial=0.0)) + (1e-6 / h if name == "float32" else 0.0)
            assert (np.abs(found - plain)[known] <= rounding).all(), name
            assert one[0] == found[0, 0] or np.isnan(one[0])


FLAT = {  # functions of z and a width with flat sides, or kinks not at 0, and their slopes
    "relu": (lambda z, w: np.maximum(z, 0.0), lambda z, w: z > 0.0),
    "negative relu": (lambda z, w: np.minimum(z, 0.0), lambda z, w: z < 0.0),
    "clip": (lambda z, w: np.clip(z, 0.0, w), lambda z, w: (z > 0.0) & (z < w)),
    "hard tanh": (lambda z, w: np.clip(z, -w, w), lambda z, w: np.abs(z) < w),
    "shrink": (lambda z, w: np.sign(z) * np.maximum(np.abs(z) - w, 0.0), lambda z, w: np.abs(z) > w),
    "leaky": (lambda z, w: np.maximum(z, 0.01 * z), lambda z, w: np.where(z > 0.0, 1.0, 0.01)),
    "absolute": (lambda z, w: np.abs(z - w), lambda z, w: np.sign(z - w)),
    "hat": (lambda z, w: np.maximum(w - np.abs(z), 0.0), lambda z, w: -np.sign(z) * (np.abs(z) < w)),
}


@pytest.mark.parametrize("scale", [1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7])
@pytest.mark.parametrize("kind", FLAT)
def test_a_kink_is_no_noise_of_rows(kind, scale):
    act, slope = FLAT[kind]
    for seed in range(6):
        rng = np.random.default_rng(seed)
        x, W, V = scale * rng.standard_normal((8, 4)), rng.standard_normal((4, 3)), rng.standard_normal(3)
        x[0, seed % 4] = 0.0
        z, w = x @ W, scale * rng.uniform(0.5, 2.0)
        f = LayerObjective(x, lambda z, V=V, w=w: (act(z, w) @ V - 1.0) ** 2)
        block = f._block(W, slice(None))
        assert block.noise <= 4 * EPS * block.largest
        right = x.T @ (2.0 * (act(z, w) @ V - 1.0)[:, None] * V * slope(z, w)) / 8
        check = check_gradient(f, right, W)
        assert check.ok, str(check)
        assert np.abs(right).max() <= 1e-6 * scale or not check_gradient(f, -right, W).ok


def test_dead_units_and_what_wakes_far_away_are_no_noise():
    x, W = np.ones((6, 1)), np.linspace(-0.05, 0.05, 12)[None]
    # Most units are dead and flat, and next to all lies a slope of some width between two flat parts.
    for width in (1e-1, 3e-2, 1e-2, 3e-3):
        f = LayerObjective(x, lambda z, width=width: 1.0 + np.clip((z - 0.06) / width, 0.0, 1.0).sum(axis=1))
        assert f._block(W, slice(None)).noise <= 4 * EPS


@pytest.mark.parametrize("kind", ["2 digits", "3 digits", "4 digits", "float16", "table"])
@pytest.mark.parametrize("batch", [3, 40])
def test_stairs_of_rows_are_their_noise_and_zero_is_no_gradient_of_them(kind, batch):
    few = {
        "float16": lambda v: v.astype(np.float16),
        "table": lambda v: np.floor(v / 0.003) * 0.003,
        **{f"{k} digits": lambda v, k=k: np.round(v, k) for k in (2, 3, 4)},
    }[kind]
    for seed in range(10):
        rng = np.random.default_rng(seed)
        x, W = rng.uniform(0.5, 1.5, (batch, 4)), rng.uniform(0.1, 0.5, (4, 1 + seed % 2))
        f = LayerObjective(x, lambda z: few(1.0 + np.tanh(0.5 * z.sum(axis=1))))
        slope = 0.5 / np.cosh(0.5 * (x @ W).sum(axis=1)) ** 2
        right = np.repeat((x.T @ slope / batch)[:, None], W.shape[1], axis=1)
        stair = {"2": 1e-2, "3": 1e-3, "4": 1e-4, "f": 2.0**-10, "t": 0.003}[kind[0]]
        assert 0.1 * stair <= f._block(W, slice(None)).noise <= 0.6 * stair
        found, bars, _ = f._as_objective().slopes(W, ())
        assert (np.abs(found - right) <= bars).all()
        assert (bars > 0.1 * stair).all()
        check = check_gradient(f, right, W)
        assert check.arrays[""].failed == 0
        assert check.ok or check.verdict == "too noisy to judge"
        assert check.ok or stair > 5e-4
        assert not check_gradient(f, 0.0 * right, W).ok
        assert not check_gradient(f, -5.0 * right, W).ok


@pytest.mark.parametrize("kind", ["float16", "3 digits"])
@pytest.mark.parametrize("repeats", [1, 20])
def test_noise_of_many_samples_is_judged_and_the_same_one_in_all_is_covered(kind, repeats):
    few = (lambda v: v.astype(np.float16).astype(float)) if kind == "float16" else (lambda v: np.round(v, 3))
    for seed in range(10):
        rng = np.random.default_rng(seed)
        x, W, V = rng.standard_normal((60 // repeats, 4)), rng.standard_normal((4, 2)) / 2, rng.uniform(0.5, 1.0, 2)
        x = np.repeat(x, repeats, axis=0)
        f = LayerObjective(x, lambda z, V=V: few((np.tanh(z) @ V - 2.0) ** 2 / 4.0))
        right = x.T @ ((np.tanh(x @ W) @ V - 2.0)[:, None] * V * (1.0 - np.tanh(x @ W) ** 2)) / 120
        found, bars, _ = f._as_objective().slopes(W, ())
        assert (np.abs(found - right) <= bars).all()
        assert check_gradient(f, right, W).ok
        assert not check_gradient(f, -right, W).ok


@pytest.mark.parametrize("scale", [1e-9, 1e-12, 1e-30])
def test_a_small_gradient_is_judged_by_its_bars(scale):
    x, W, *_ = problem(31)
    rows = {"tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2), "relu": (lambda z: np.maximum(z, 0), lambda z: z > 0)}
    for act, slope in rows.values():
        f = LayerObjective(x, lambda z, act=act: scale * act(z).sum(axis=1))
        right = x.T @ (scale * slope(x @ W)) / len(x)
        check = check_gradient(f, right, W)
        assert check.ok
        assert check.verdict == "passed"
        for wrong in (0.0, -1.0, 3.0, 1.01):
            assert not check_gradient(f, wrong * right, W).ok
            assert check_gradient(f, wrong * right, W, atol=2e-8).ok  # asked for
        one = right.copy()
        one.flat[np.abs(right).argmax()] *= 1.1
        assert check_gradient(f, one, W).arrays[""].failed == 1
    assert check_gradient(LayerObjective(x, lambda z: 0.0 * z.sum(axis=1)), 0.0 * W, W).verdict == "nothing was judged"


@pytest.mark.parametrize("kind", ["relu", "absolute", "hard tanh"])
def test_directions_take_every_slope_between_those_of_kinks(kind):
    act, below, above = {
        "relu": (lambda z: np.maximum(z, 0.0), 0.0, 1.0),
        "absolute": (np.abs, -1.0, 1.0),
        "hard tanh": (lambda z: np.clip(z + 1.0, -1.0, 1.0), 1.0, 0.0),
    }[kind]
    for seed in range(10):
        rng = np.random.default_rng(seed)
        x, W, V = rng.normal(size=(6, 4)), rng.normal(size=(5, 5)), rng.normal(size=5)
        x[rng.integers(6, size=2)], W[-1] = 0.0, 0.0
        f = LayerObjective(x, lambda z, V=V: (act(z) @ V - 1.0) ** 2, bias=True)
        inputs = np.hstack([x, np.ones((6, 1))])
        z = inputs @ W
        slope = np.vectorize(lambda z: (act(z + 1e-6) - act(z - 1e-6)) / 2e-6)(z)
        delta = 2.0 * (act(z) @ V - 1.0)[:, None] * V / 6
        for part in (0.0, 0.3, 1.0):
            right = inputs.T @ (delta * np.where(z == 0.0, below + part * (above - below), slope))
            check = check_gradient(f, right, W, directions=6, rng=seed)
            assert check.ok, str(check)
            assert not check_gradient(f, -right, W, directions=6, rng=seed).ok
            assert not check_gradient(f, 2.0 * right, W, directions=6, rng=seed).ok


def test_directions_pass_at_kinks_what_coordinates_pass():
    rng = np.random.default_rng(0)
    x, W = rng.standard_normal((40, 3)), rng.standard_normal((3, 2))
    x[:8] = np.cross(rng.standard_normal((8, 3)), W[:, 0])  # at the kink of the first column
    f = LayerObjective(x, lambda z: np.maximum(z, 0.0).sum(axis=1))
    right = x.T @ (x @ W > 1e-12) / 40
    for factor in (1.0, 1.1, 1.3, 2.0, 0.0, -1.0):
        assert check_gradient(f, factor * right, W).ok == (factor == 1.0)
        assert check_gradient(f, factor * right, W, directions=8, rng=0).ok == (factor == 1.0)


def test_the_mean_of_float16_rows_does_not_overflow():
    objective = LayerObjective(np.ones((3000, 2)), lambda z: (30.0 * z[:, 0]).astype(np.float16))
    assert objective(np.ones((2, 1))) == 60.0
    assert objective._as_objective().returned(np.ones((2, 1)), ()).dtype == np.float16


@pytest.mark.parametrize("columns", [4, 5, 67])
def test_what_is_finished_when_rows_raise_is_kept(columns):
    rng = np.random.default_rng(0)
    x, W = rng.standard_normal((6, 4)), rng.standard_normal((4, columns))
    calls = []

    def rows(z):
        calls.append(len(z))
        if len(calls) == last:
            raise KeyboardInterrupt
        return np.tanh(z).sum(axis=1)

    for options in ({}, {"coordinates": np.arange(0, W.size, 2)}):
        f, last = LayerObjective(x, rows), 0
        whole = numerical_gradient(f, W, **options)
        calls.clear()
        numerical_gradient(f, W, **options)
        last, out = len(calls), np.empty(whole.shape)
        calls.clear()
        with pytest.raises(KeyboardInterrupt):
            numerical_gradient(f, W, out=out, **options)
        finished = ~np.isnan(out)
        assert 0.25 < finished.mean() < 1.0
        assert np.array_equal(out[finished], whole[finished])


LOOKS = {
    "value": lambda f, W: f(W),
    "gradient": numerical_gradient,
    "some": lambda f, W: numerical_gradient(f, W, coordinates=[0]),
    "central4": lambda f, W: numerical_gradient(f, W, scheme="central4"),
    "workers": lambda f, W: numerical_gradient(f, W, workers=map),
    "slopes": lambda f, W: f._as_objective().slopes(W, ()),
    "verify": lambda f, W: f.verify(W, samples=2),
}


# Rows may draw from an iterator, which ends. As any other exception it must reach the caller, from wherever it comes:
# where `map` or a generator is waited for, it would end a loop over samples, or become a RuntimeError.
@pytest.mark.parametrize("look", LOOKS)
def test_an_iterator_that_ends_in_rows_ends_no_loop(look):
    x, W = np.random.default_rng(0).uniform(size=(2100, 2)), np.ones((2, 3))  # more than one block of samples

    def run(most):
        draws = iter(range(most))

        def rows(z):
            next(draws)
            return (z**2).sum(axis=1)

        LOOKS[look](LayerObjective(x, rows), W)
        return most - len(list(draws))

    count = run(10**6)
    assert count > 1
    for most in {*range(min(count, 40)), *range(0, count, 7)}:
        with pytest.raises(StopIteration):
            run(most)
