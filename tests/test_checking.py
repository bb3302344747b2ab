"""check_gradient: what it catches, what it passes, what it says."""

import dis
import itertools
import math
import re
import sys
import tracemalloc
import warnings
import zlib

import numpy as np
import pytest
from check_kinds import smooth
from problems import compiled, interrupt_at, needs_jit, same_without_jit

from numgrad import MultiLayerNet, assert_gradient, check_gradient, numerical_gradient, reference, simpleNet
from numgrad.noise import noise_of
from numgrad.sides import Sides

BATCH = 20
RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.standard_normal((BATCH, 50)), RNG.integers(0, 10, BATCH)
NET = simpleNet((50, 10), rng=1)


def backprop(W, x=IMAGES, t=LABELS):
    p = reference.softmax(x @ W)
    label = p[np.arange(len(x)), t][:, None]
    p[np.arange(len(x)), t] -= 1
    return x.T @ (p * label / (label + 1e-7)) / len(x)


def loss(_):
    return NET.loss(IMAGES, LABELS)  # the book's way: it reads NET.W


def test_the_right_gradient_passes_every_way():
    before = NET.W.tobytes()
    for f in (loss, NET.objective(IMAGES, LABELS)):
        for options in ({}, {"samples": 30}, {"directions": 4}):
            check = check_gradient(f, backprop, NET.W, rng=0, **options)
            assert check.ok, str(check)
            assert check.checked == options.get("samples", options.get("directions", 500))
            assert check.total == 500
            assert not check.hints
            assert check.max_relative_error < 1e-2  # of a derivative of 2e-6 within its error bar
    assert NET.W.tobytes() == before
    assert_gradient(loss, backprop(NET.W), NET.W)


def wrong(change):
    gradient = backprop(NET.W)
    return change(gradient)


def set_in(gradient, where, factor=1.0, plus=0.0):
    gradient[where] = gradient[where] * factor + plus
    return gradient


@pytest.mark.parametrize(
    ("change", "failed", "hint"),
    [
        (lambda g: g * BATCH, 500, "20 times the gradient: is the mean over a batch of 20 missing?"),
        (lambda g: g / BATCH, 500, "1/20 of the gradient: was it divided by the size of the batch twice?"),
        (lambda g: 2 * g, 500, "2 times the gradient: is there a square, or a half"),
        (lambda g: 1.5 * g, 500, "1.5 times the gradient: is a factor missing?"),
        (lambda g: -g, 500, "the sign is wrong"),
        (lambda g: set_in(g, np.s_[:, 3], 1.01), 50, "only column 3 is wrong"),
        (lambda g: set_in(g, np.s_[7], 1.01), 10, "only row 7 is wrong"),
        (lambda g: set_in(g, (17, 4), plus=1e-3), 1, r"only one coordinate is wrong: \[17, 4\]"),
        (lambda g: set_in(g, (3, 2), plus=np.nan), 1, "the candidate is not finite there"),
        (lambda g: np.roll(g, 1, axis=-1), 500, "shifted by one place"),
    ],
)
def test_the_usual_mistakes_are_caught_and_named(change, failed, hint):
    check = check_gradient(loss, wrong(change), NET.W)
    assert not check.ok
    assert check.arrays[""].failed >= failed - 2  # a derivative of 2e-6 hides in its error bar
    assert check.arrays[""].failed <= failed
    assert any(map(re.compile(hint).search, check.hints)), check.hints


def test_a_check_that_fails_is_an_assertion_error():
    with pytest.raises(AssertionError, match="gradient check FAILED: 500 of 500 checked"):
        assert_gradient(loss, wrong(lambda g: -g), NET.W)


def test_the_worst_is_where_the_error_is():
    check = check_gradient(loss, wrong(lambda g: set_in(g, (17, 4), plus=1e-3)), NET.W)
    assert check.worst.index == (17, 4)
    assert check.worst.candidate - check.worst.numerical == pytest.approx(1e-3, abs=1e-7)
    assert 0 < check.worst.error < 1e-7
    assert "worst: [17, 4]: candidate" in str(check)


def test_directions_find_what_is_wrong_everywhere_and_several_find_a_column():
    assert not check_gradient(loss, wrong(lambda g: g * 1.001), NET.W, directions=1, rng=0).ok
    assert not check_gradient(loss, wrong(lambda g: set_in(g, np.s_[:, 3], 1.01)), NET.W, directions=5, rng=0).ok


def test_directions_cost_two_evaluations_each():
    calls = []

    def f(x):
        calls.append(None)
        return float(np.sum(x**3))

    x = RNG.standard_normal(1000)
    assert check_gradient(f, 3 * x**2, x, directions=3, rng=0).ok
    assert len(calls) == 3 * 2 + 1


def test_a_transposed_square_matrix_is_named_and_another_is_refused():
    A, W = RNG.standard_normal((4, 4)), RNG.standard_normal((4, 4))

    def f(w):
        return float(np.sum(A * w**2))

    check = check_gradient(f, (2 * A * W).T, W)
    assert not check.ok
    assert "the candidate is transposed" in check.hints
    with pytest.raises(ValueError, match=r"the shape of x, \(50, 10\), got \(10, 50\) \(is it transposed\?\)"):
        check_gradient(loss, backprop(NET.W).T, NET.W)


class TwoLayers:
    """The book's net of two layers, whose params are a dict of arrays."""

    def __init__(self):
        rng = np.random.default_rng(2)
        self.params = {
            "W1": rng.standard_normal((50, 8)) / 7,
            "b1": rng.standard_normal(8) / 7,
            "W2": rng.standard_normal((8, 10)) / 3,
            "b2": rng.standard_normal(10) / 3,
        }

    def loss(self, _=None):
        hidden = np.tanh(IMAGES @ self.params["W1"] + self.params["b1"])
        logits = hidden @ self.params["W2"] + self.params["b2"]
        return reference.cross_entropy_error(reference.softmax(logits), LABELS)

    def gradient(self, _=None):
        hidden = np.tanh(IMAGES @ self.params["W1"] + self.params["b1"])
        p = reference.softmax(hidden @ self.params["W2"] + self.params["b2"])
        label = p[np.arange(BATCH), LABELS][:, None]
        p[np.arange(BATCH), LABELS] -= 1
        delta = p * label / (label + 1e-7) / BATCH
        back = delta @ self.params["W2"].T * (1 - hidden**2)
        return {"W1": IMAGES.T @ back, "b1": back.sum(0), "W2": hidden.T @ delta, "b2": delta.sum(0)}


def test_a_dict_of_arrays_is_checked_array_by_array():
    net = TwoLayers()
    before = {name: array.tobytes() for name, array in net.params.items()}
    for options in ({}, {"samples": 50}, {"directions": 3}):
        check = check_gradient(net.loss, net.gradient, net.params, rng=0, **options)
        assert check.ok, str(check)
        assert check.total == 50 * 8 + 8 + 8 * 10 + 10
    full = check_gradient(net.loss, net.gradient(), net.params)
    assert {name: part.checked for name, part in full.arrays.items()} == {"W1": 400, "b1": 8, "W2": 80, "b2": 10}
    assert {name: array.tobytes() for name, array in net.params.items()} == before


@pytest.mark.parametrize(
    ("name", "change", "hint"),
    [
        ("b1", lambda g: np.roll(g, 1), "the candidate is shifted by one place"),
        ("W2", lambda g: g * BATCH, "is the mean over a batch of 20 missing?"),
        ("b2", lambda g: -g, "the sign is wrong"),
    ],
)
def test_mistakes_in_one_array_of_a_dict(name, change, hint):
    net = TwoLayers()
    gradient = net.gradient()
    gradient[name] = change(gradient[name])
    check = check_gradient(net.loss, gradient, net.params)
    assert not check.ok
    assert [key for key, part in check.arrays.items() if not part.ok] == [name]
    assert check.worst.name == name
    assert f"worst: {name}[" in str(check)
    assert any(hint in found for found in check.hints)


def test_an_error_bar_that_is_not_finite_excuses_nothing():
    assert not check_gradient(lambda x: -np.log(x[0] - 1) if x[0] > 1 else np.inf, [12345.0], np.array([1 + 8e-6])).ok
    with np.errstate(all="ignore"):
        assert not check_gradient(lambda x: float(np.log(abs(x[0]))), [12345.0], np.array([0.0])).ok


def test_what_cannot_be_judged_does_not_pass():
    def rough(x):  # its noise is a thousand times its slope
        return float(1e3 * np.sin(1e15 * np.sum(x)) + 1e-3 * np.sum(x))

    check = check_gradient(rough, np.full(4, 5.0), np.arange(1.0, 5.0))
    assert not check.ok


def test_small_weights_of_a_float32_net_are_judged():
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((20, 50)).astype(np.float32), rng.integers(0, 10, 20)
    W = (1e-3 * rng.standard_normal((50, 10))).astype(np.float32)

    def single(W):
        z = x @ W
        z = z - z.max(1, keepdims=True)
        return -np.mean((z - np.log(np.exp(z).sum(1, keepdims=True)))[np.arange(20), t])

    assert not check_gradient(single, lambda W: -np.ones_like(W) * np.float32(0.02), W).ok
    assert check_gradient(single, backprop(W, x, t).astype(np.float32), W).ok


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1.0, 1e3])
def test_right_gradients_pass_and_wrong_ones_fail_at_every_scale_of_x(scale):
    x = scale * np.random.default_rng(0).standard_normal(20)
    for f, gradient in (
        (lambda x: float(np.sum(np.log(1 + x**2) if scale >= 1e-3 else np.log1p(x**2))), 2 * x / (1 + x**2)),
        (lambda x: 1e3 + float(np.sum(np.cos(x))), -np.sin(x)),
        (lambda x: float(np.sum(np.sin(x))), np.cos(x)),
    ):
        assert check_gradient(f, gradient, x).ok
        if scale >= 1e-3:  # below, round-off of 1e3 hides the slopes, and the check says that it cannot judge
            assert check_gradient(f, gradient, x, directions=3, rng=0).ok
        assert not check_gradient(f, 1.01 * gradient + 1e-6, x).ok


def test_candidates_are_kept_as_they_were_returned():
    x, buffer = np.random.default_rng(0).standard_normal(100), np.empty(3)
    assert check_gradient(lambda x: 0.5 * np.sum(x**2), lambda x: x, x, directions=50, rng=1).ok

    def f(x):
        np.multiply(2, x, out=buffer)
        return float(np.sum(x**2))

    y = np.array([1.0, 2.0, 3.0])
    assert check_gradient(f, lambda x: np.multiply(2, x, out=buffer), y, directions=5).ok
    assert check_gradient(f, lambda x: np.multiply(3, x, out=buffer), y).arrays[""].failed == 3


def test_copies_that_f_ignores_warn_here_too():
    W = np.ones((2, 3))
    with pytest.warns(RuntimeWarning, match="f may ignore its argument"):
        assert check_gradient(lambda _: float((W**2).sum()), np.zeros((2, 3)), W.astype(int)).ok


def test_directions_with_small_slopes_are_judged_though_an_element_exceeds_atol():
    # A direction moves each coordinate by a part of its own size: rate constants of 1 and 1e7 make its slope small.
    rng = np.random.default_rng(0)
    for _ in range(10):
        size, a = np.array([1.0, 1e4, 1e7]), rng.uniform(0.5, 2.0, 3)
        x = size * rng.uniform(0.5, 2.0, 3)

        def f(x, a=a, size=size):
            return 1e-5 * float(np.sum(np.sin(a * x / size)))

        right = 1e-5 * a * np.cos(a * x / size) / size
        assert np.abs(right).max() > 1e-8
        check = check_gradient(f, right, x, directions=4, rng=0)
        assert check.ok
        assert check.verdict == "passed"
        for factor in (-1.0, 0.0, 1.001, 2.0):
            assert not check_gradient(f, factor * right, x, directions=4, rng=0).ok, factor


def lennard_jones(x):
    """Return an energy in joule and its gradient by positions in metres."""
    r = x.reshape(-1, 3)
    i, j = np.triu_indices(len(r), 1)
    d = r[i] - r[j]
    s6 = (3.4e-10**2 / np.sum(d**2, axis=1)) ** 3
    forces = (4 * 1.65e-21 * (6 * s6 - 12 * s6**2) / np.sum(d**2, axis=1))[:, np.newaxis] * d
    gradient = np.zeros_like(r)
    np.add.at(gradient, i, forces)
    np.add.at(gradient, j, -forces)
    return 4 * 1.65e-21 * float(np.sum(s6**2 - s6)), gradient.reshape(-1)


def discharge(x):
    """Return the misfit of a voltage that falls in microseconds, and its gradient by resistance and capacity."""
    t, tau = np.linspace(0.1e-6, 5e-6, 30), x[0] * x[1]
    model, data = np.exp(-t / tau), np.exp(-t / 0.8e-6)
    slope = np.sum(2 * (model - data) * model * t / tau**2)
    return float(np.sum((model - data) ** 2)), slope * x[::-1]


def test_small_units():
    # The first step is far longer than x, where f is constant, or next to a pole.
    for seed in range(6):
        rng = np.random.default_rng(seed)
        atoms = 1e-10 * (3.6 * np.repeat(np.arange(4), 3) + rng.uniform(0, 3, 12))
        size = float(rng.choice([1e-4, 1e-5, 1e-6, 1e-8]))
        for problem, x in ((lennard_jones, atoms), (discharge, np.array([1e-6 / size, size]))):
            gradient = problem(x)[1]
            assert check_gradient(lambda x, p=problem: p(x)[0], gradient, x).ok, (seed, problem)
            for factor in (0.0, 0.9, 1.1, -1.0, 2.0):
                for k in (0, len(x) - 1):
                    wrong = gradient * np.where(np.arange(len(x)) == k, factor, 1.0)
                    check = check_gradient(lambda x, p=problem: p(x)[0], wrong, x)
                    assert not check.ok, (seed, problem, factor, k)


@pytest.mark.parametrize("length", [1e-3, 1e-4, 1e-5, 1e-6, 1e-7])
@pytest.mark.parametrize("directions", [None, 3])
def test_a_factor_near_1_is_found_where_f_changes_over_short_lengths(length, directions):
    for seed in range(6):
        f, right, x = smooth(np.random.default_rng(seed), n=6, length=length)
        assert check_gradient(f, right, x, directions=directions, rng=0).ok, seed
        for factor in (0.99, 1.003, 1.01):
            assert not check_gradient(f, factor * right, x, directions=directions, rng=0).ok, (seed, factor)


def test_an_f_that_is_even_at_a_copy_does_not_ignore_it(recwarn):
    for f, point in ((lambda x: np.sum(x**2), [0, 0]), (lambda x: np.cos(x).sum(), [0.0]), (lambda x: x @ x, (0, 0.0))):
        assert check_gradient(f, np.zeros(len(point)), point).ok
    assert not recwarn.list


@pytest.mark.parametrize("options", [{}, {"samples": 3, "rng": 0}, {"directions": 2, "rng": 0}], ids=str)
@pytest.mark.parametrize("as_dict", [False, True])
def test_an_f_that_reads_other_arrays_is_named(options, as_dict):
    W = np.linspace(1.0, 2.0, 6)
    copies = {"W": W.copy(), "b": np.ones(2)} if as_dict else W.copy()
    slopes = {"W": 2 * W, "b": np.zeros(2)} if as_dict else 2 * W
    check = check_gradient(lambda _: float((W**2).sum()), slopes, copies, **options)
    assert not check.ok
    assert any("all differences of f are zero: does it read another array than x" in hint for hint in check.hints)
    assert "differences of f are zero" not in str(check_gradient(lambda x: float((x**2).sum()), np.ones(6), W))


def test_of_an_even_f_only_its_differences_are_called_zero():
    check = check_gradient(lambda x: float((x**2).sum()), np.ones(3), np.zeros(3))
    assert not check.ok
    assert "all differences of f are zero" in str(check)
    assert "is the same" not in str(check)


def test_directions_through_several_kinks_send_to_the_coordinates():
    # Of each kink the candidate takes one side: along a line their sum may leave what lies between the slopes there.
    weights, x = np.array([1.0, -1.0, 2.0, -3.0]), np.zeros(4)
    kinked = lambda x: float(weights @ np.maximum(x, 0.0))  # noqa: E731
    check = check_gradient(kinked, np.zeros(4), x, directions=20, rng=0)
    assert any("several kinks may add up along it: check coordinates" in hint for hint in check.hints)
    assert check_gradient(kinked, np.zeros(4), x).subgradients == 4


@pytest.mark.parametrize("scale", [1e-9, 1e-7, 1e-5, 1e-2, 10.0])
@pytest.mark.parametrize("sides", ["low", "both", "origin"])
def test_between_narrow_bounds_error_bars_are_those_of_the_steps_that_fit(scale, sides):
    for seed in range(8):
        a, x = np.random.default_rng(seed).standard_normal((2, 5)) * [[1.0], [scale]]
        low, high = (np.minimum(x, 0.0), np.maximum(x, 0.0)) if sides == "origin" else (x - np.abs(x), x)
        bounds = low, high + np.abs(x) * (sides == "both")
        bent = lambda y, a=a: float(np.sum(np.exp(np.sin(a * y + 1.0)) + 3.0 * y**2))  # noqa: E731
        exact = np.exp(np.sin(a * x + 1.0)) * np.cos(a * x + 1.0) * a + 6.0 * x
        assert check_gradient(bent, exact, x, bounds=bounds).ok
        assert not check_gradient(bent, exact + 0.1, x, bounds=bounds).ok
        # Of a length of 1e-9, round-off leaves six digits less than usual: no slope of 1e-8 can be told from 0.
        small = check_gradient(lambda y: 3.0 + float(np.sum(y**2)), 2.0 * x, x, bounds=bounds)
        assert small.verdict in {"passed", "too noisy to judge", "nothing was judged"}, str(small)


def test_memory_of_every_precision_is_restored_after_directions():
    for dtype in (np.longdouble, np.float32, np.float16):
        x = (np.array([1, 2, 3]) / dtype(3)).astype(dtype)
        before = x.copy()
        check_gradient(lambda x: float(np.sum(x.astype(float) ** 2)), 2 * x, x, directions=2)
        assert (x == before).all()


def test_one_element_arrays_are_numbers_and_other_values_are_refused():
    assert check_gradient(lambda x: x**2, lambda x: 2 * x, np.array([3.0])).ok
    for value in ("3.5", True, None):
        with pytest.raises(TypeError, match="f must return one real number"):
            check_gradient(lambda x, value=value: value, [1.0], np.array([1.0]), directions=1)


def test_a_kink_is_named():
    x = np.array([0.0, 2.0])
    check = check_gradient(lambda x: float(np.sum(np.maximum(x, 0.0) * (1 + x))), np.array([-3.0, 5.0]), x)
    assert not check.ok
    assert check.arrays[""].failed == 1
    assert "f has a kink at x" in check.hints[-1]
    assert "f has a kink" not in str(check_gradient(lambda x: float(np.sum(x**2)), [1.0, 1.0], x))
    assert "f has a kink" not in str(check_gradient(lambda x: float((x[0] - 3) ** 2), [1.0], np.array([3.0])))


def test_differences_within_the_error_bar_pass_and_are_reported():
    noise = 1e-7

    def noisy(x):
        return float(np.sum(x**2) + noise * np.sin(1e12 * x[0]))

    x = np.array([1.0, 2.0])
    # The noise moves the quotients of x[0] by 1e-7 / h, of which the largest steps leave some 1e-6.
    check = check_gradient(noisy, 2 * x, x, rtol=1e-9)
    assert check.ok
    assert check.explained == 1
    assert "1 differences are within the error of the numerical gradient, and pass" in str(check)


def test_float32_passes_with_tolerances_of_its_own():
    W, x = NET.W.astype(np.float32), IMAGES.astype(np.float32)

    def single(w):
        return reference.cross_entropy_error(reference.softmax(x @ w), LABELS)

    gradient = backprop(W, x).astype(np.float32)
    check = check_gradient(single, gradient, W)
    assert check.ok, str(check)
    assert check.rtol == pytest.approx(np.sqrt(2.0**-23))
    assert check.atol > 1e-8
    assert not check_gradient(single, -gradient, W).ok
    assert not check_gradient(single, gradient * BATCH, W).ok


BOWLS = {
    "beside a constant": (lambda w: np.sum((w - 1) ** 2) + 500.0, lambda w: 2 * (w - 1)),
    "beside a larger constant": (lambda w: 1e3 - np.sum(np.cos(w - 1)), lambda w: np.sin(w - 1)),
    "of large terms": (
        lambda w: np.sum(200.0 * np.exp(-((w - 1) ** 2))),
        lambda w: 400 * (1 - w) * np.exp(-((w - 1) ** 2)),
    ),
}


@pytest.mark.parametrize("options", [{}, {"h": 2.0**-10}, {"samples": 3, "rng": 0}, {"strict": True}], ids=str)
@pytest.mark.parametrize("name", BOWLS)
@pytest.mark.parametrize("kinds", [("f8", "f4"), ("f4", "f8"), ("f4", "f4"), ("f8", "f2")], ids="-".join)
def test_bars_are_those_of_the_digits_that_f_has(kinds, name, options):
    """Not those of what it is given or beside which it is judged: of 500 a float32 has no smaller change than 3e-5."""
    f, slope = BOWLS[name]
    for seed in range(6):
        rng = np.random.default_rng(seed)
        x = (1 + rng.choice([-1.0, 1.0], 5) * rng.uniform(0.01, 0.04, 5)).astype(kinds[0])
        right = slope(x.astype(float))

        def in_double(w):
            return float(f(w.astype(float)))

        assert check_gradient(in_double, right.astype(kinds[1]), x, **options), seed
        # What rounds inside has the bars of that, whatever it returns.
        chosen = check_gradient(in_double, right, x, **options).comparisons[0].chosen
        wrong = np.where(np.arange(5) == chosen[np.abs(right[chosen]).argmax()], 2.0, 1.0) * right
        for g in (in_double, lambda w: float(np.float32(in_double(w)))):
            assert not check_gradient(g, wrong.astype(kinds[1]), x, **options), seed


@needs_jit
def test_a_compiled_f_with_args():
    f = compiled(lambda x, a: np.sum(a * x**2))
    x, a = np.array([1.0, -2.0, 3.0]), np.array([0.5, 1.0, 2.0])
    assert check_gradient(f, lambda x, a: 2 * a * x, x, args=(a,)).ok
    assert check_gradient(f, lambda x, a: 2 * a * x, x, args=(a,), directions=2).ok
    assert not check_gradient(f, lambda x, a: a * x, x, args=(a,)).ok


def test_zeros_pass_and_nan_of_f_fails():
    x = np.array([1.0, 2.0])
    assert check_gradient(lambda x: float(x[0]), [1.0, 0.0], x).ok
    assert check_gradient(lambda x: float(x[0]), [1.0, 1e-9], x).ok
    check = check_gradient(lambda x: float("nan"), [1.0, 0.0], x)
    assert not check.ok
    assert "x, or f near it, is not finite, so the numerical gradient is not either" in check.hints


def test_progress_and_memory():
    x, seen = np.array([1.0, 2.0, 3.0]), []
    check_gradient(lambda x: float(np.sum(x**2)), 2 * x, x, progress=lambda *at: seen.append(at))
    assert seen[-1] == (6, 6)
    assert seen == sorted(seen)
    before = x.tobytes()
    for options in ({}, {"directions": 3}):
        with pytest.raises(KeyboardInterrupt):
            check_gradient(interrupt_at(4), 2 * x, x, **options)
        assert x.tobytes() == before


@pytest.mark.parametrize(
    ("gradient", "options", "error", "message"),
    [
        ([1.0], {}, ValueError, r"gradient must have the shape of x, \(2,\), got \(1,\)"),
        ([1j, 0], {}, TypeError, "gradient must hold real numbers"),
        ([1.0, 2.0], {"samples": 0}, ValueError, "samples must be at least 1"),
        ([1.0, 2.0], {"directions": 1.5}, TypeError, "directions must be an integer"),
        ([1.0, 2.0], {"samples": 1, "directions": 1}, ValueError, "two ways to check"),
        ([1.0, 2.0], {"rtol": -1}, ValueError, "must not be negative"),
        ([1.0, 2.0], {"atol": "a"}, TypeError, "atol must be a real number"),
        ([1.0, 2.0], {"progress": 3}, TypeError, "progress must be a bool or a callable"),
    ],
)
def test_misuse(gradient, options, error, message):
    with pytest.raises(error, match=message):
        check_gradient(lambda x: float(np.sum(x)), gradient, np.ones(2), **options)


def test_misused_dicts():
    x = {"a": np.ones(2), "b": np.ones(3)}

    def f(x):
        return float(np.sum(x["a"]) + np.sum(x["b"]))

    for gradient in ({"a": np.ones(2)}, np.ones(2), {"a": np.ones(2), "b": np.ones(3), "c": 1}):
        with pytest.raises(ValueError, match=r"gradient must have the keys of x, \['a', 'b'\], got"):
            check_gradient(f, gradient, x)
    with pytest.raises(ValueError, match=r"gradient\['b'\] must have the shape of x, \(3,\), got \(2,\)"):
        check_gradient(f, {"a": np.ones(2), "b": np.ones(2)}, x)
    with pytest.raises(TypeError, match="the keys of x must be strings"):
        check_gradient(f, {1: np.ones(2)}, {1: np.ones(2)})
    wrong = check_gradient(
        lambda p: float(np.sum(p["direction"])), {"direction": 3 * np.ones(2)}, {"direction": x["a"]}
    )
    assert wrong.arrays["direction"].failed == 2
    assert check_gradient(f, {"a": [1, 1], "b": [1.0, 1.0, 1.0]}, {"a": [1, 2], "b": x["b"]}).ok


SIZES = np.array([0.7, -1.2, 2.5, -0.4])
WAYS = [{}, {"samples": 3}, {"directions": 3}]


def cubes(x):
    return float(np.sum(np.asarray(x, np.float64) ** 3))


@pytest.fixture(scope="module")
def sum_of_cubes():
    return compiled(lambda x: np.sum(x**3))


@needs_jit
@pytest.mark.parametrize("options", WAYS)
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_a_candidate_that_is_not_finite_fails_every_way(options, bad, sum_of_cubes):
    for where in (np.s_[:], np.s_[:3]):  # of 8 coordinates, 3 samples find one of these 3
        candidate = set_in(3 * SIZES**2, where, 0.0, bad)
        for f, given, x in (
            (cubes, candidate, SIZES),
            (sum_of_cubes, candidate, SIZES),
            (cubes, lambda x, c=candidate: c.astype(np.float32), SIZES),
            (lambda d: cubes(d["a"]) + cubes(d["b"]), {"a": candidate, "b": 3 * SIZES**2}, {"a": SIZES, "b": SIZES}),
        ):
            check = check_gradient(f, given, x, rng=1, **options)
            assert not check.ok
            assert any(hint.endswith("the candidate is not finite there") for hint in check.hints)
            assert not np.isnan(check.max_relative_error)
            with pytest.raises(AssertionError, match="gradient check FAILED"):
                assert_gradient(f, given, x, rng=1, **options)


@pytest.mark.parametrize("options", WAYS)
@pytest.mark.parametrize("slope", [0.0, 3.0, np.inf])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_no_candidate_passes_where_f_is_not_finite(options, slope, value):
    for sides in ((value, value), (-value, value)):  # their difference is a NaN, or infinite
        check = check_gradient(
            lambda x, sides=sides: sides[int(x[0] > 2.0)] if x[0] != 2.0 else 0.0,
            [slope],
            np.array([2.0]),
            rng=0,
            **options,
        )
        assert not check.ok
        assert check.max_relative_error == np.inf
        assert "x, or f near it, is not finite, so the numerical gradient is not either" in check.hints


def test_a_product_along_a_direction_that_overflows_fails():
    for candidate in ([1.6e308] * 4, [1.6e308, -1.6e308] * 2):
        check = check_gradient(cubes, candidate, SIZES, directions=20, rng=0)
        assert check.arrays["direction"].failed == 20
        assert check.max_relative_error == np.inf


@pytest.mark.parametrize("options", WAYS)
def test_masked_candidates_are_refused_in_one_line(options):
    masked = np.ma.array(3 * SIZES**2, mask=[0, 0, 1, 0])
    given = [(cubes, candidate, SIZES) for candidate in (masked, lambda x: masked, [*masked])]
    given.append((cubes, [[*masked[:2]], masked[2:]], SIZES.reshape(2, 2)))
    given.append((lambda d: cubes(d["w"]), lambda d: {"w": masked}, {"w": SIZES}))
    for f, candidate, x in given:
        with pytest.raises(TypeError, match=r"^gradient(\['w'\])? has masked elements, [^\n]*$"):
            check_gradient(f, candidate, x, **options)
    assert check_gradient(cubes, np.ma.array(3 * SIZES**2, mask=False), SIZES, **options).ok


class Quantity(np.ndarray):
    """An array that mixes with no array but its own kind, as those with units."""

    def __array_ufunc__(self, ufunc, method, *inputs, **keywords):
        if not all(isinstance(value, Quantity | float | int) for value in inputs):
            raise TypeError("units differ")
        result = getattr(ufunc, method)(*map(np.asarray, inputs), **keywords)
        return np.asarray(result).view(Quantity)


@pytest.mark.parametrize("options", WAYS)
def test_points_of_subclasses_of_arrays_are_judged_element_by_element(options):
    matrix, quantity = SIZES.reshape(2, 2).view(np.matrix), SIZES.copy().view(Quantity)
    for x in (matrix, quantity, np.ma.array(SIZES.copy())):
        before, right = x.tobytes(), 3 * np.asarray(x) ** 2
        for candidate in (right, lambda x, right=right: right.view(Quantity)):
            assert check_gradient(cubes, candidate, x, **options).ok
        assert check_gradient(lambda d: cubes(d["w"]), {"w": right}, {"w": x}, **options).ok
        assert check_gradient(cubes, 2 * right, x, **options).arrays.popitem()[1].failed > 2
        assert x.tobytes() == before
    assert check_gradient(lambda x: (x * x).sum(), lambda x: x + x, quantity, **options).ok


@pytest.mark.parametrize("options", WAYS)
@pytest.mark.parametrize("candidate", [0.0, 5e-324, 1e-310, -1e-300, 1e-9, 3e267, 1.7e308, -1e200, np.inf, np.nan])
@pytest.mark.parametrize("slope", [0.0, 1e-310, 1e-5, 1.0, 1e300])
def test_no_number_raises_whatever_the_user_made_of_warnings_and_floating_errors(options, candidate, slope):
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        before = np.geterr(), warnings.filters.copy()
        check = check_gradient(lambda x: float(np.sum(slope * x)), [candidate] * 4, SIZES, atol=0.0, rng=0, **options)
        assert check.ok == (candidate == slope)
        assert max(map(len, str(check).splitlines())) < 120
        assert (np.geterr(), warnings.filters) == before
    with np.errstate(all="raise"), pytest.raises(KeyboardInterrupt):
        check_gradient(interrupt_at(3), [1e-310] * 4, SIZES, **options)


def test_hints_tell_of_what_was_checked_alone():
    """Numbers of directions are no places, a few coordinates are not all, and one ratio is no common factor."""
    rng = np.random.default_rng(1)
    x, sizes = rng.normal(size=(6, 5)), rng.uniform(0.5, 2.0, (6, 5))

    def hints(wrong, **options):
        check = check_gradient(lambda x: np.sum(sizes * np.sin(x)), wrong(sizes * np.cos(x)), x, **options)
        assert not check
        return " ".join(check.hints)

    def rows(g):
        return set_in(set_in(g, np.s_[2], 0.0), np.s_[4], 0.0)

    def faint(g):
        return set_in(set_in(g, (2, 3), 1 + 3e-5), (0, 0), 1 - 3e-5)

    found = [hints(faint, directions=9, rng=seed) for seed in range(12)]
    assert not re.search(r"only|\[|shifted|transposed", " ".join(found))
    for seed in range(12):
        text = hints(rows, samples=9, rng=seed)
        assert text.count("only") == text.count("of those checked, only")
        assert "factor" not in hints(lambda g: set_in(g, np.s_[3], 0.0), directions=1, rng=seed)
    assert hints(rows, coordinates=[10, 11, 12, 0, 1]) == "of those checked, only row 2 is wrong"
    assert hints(rows, coordinates=[10, 0, 1]) == "of those checked, only one coordinate is wrong: [2, 0]"
    assert hints(lambda g: set_in(g, (2, 0), 0.0)) == "only one coordinate is wrong: [2, 0]"
    for factor, hint in ((1.7, ""), (30.0, ""), (-1.0, "the sign"), (2.0, "square"), (0.5, "half")):
        for options in ({"directions": 1, "rng": 0}, {"coordinates": [7]}):
            found = hints(lambda g, factor=factor: factor * g, **options)
            assert hint in found
            assert bool(hint) == bool(found)
        assert not hint or hint in hints(lambda g, factor=factor: factor * g, directions=3, rng=0)
    assert "1.7 times" in hints(lambda g: 1.7 * g, directions=3, rng=0)


@pytest.mark.parametrize(
    ("factor", "hint"),
    [
        (3e6, "the candidate is 3000000 times the gradient: is the mean over a batch of 3000000 missing?"),
        (1 / 3e6, "the candidate is 1/3000000 of the gradient: was it divided by the size of the batch twice?"),
        (1e30, r"the candidate is 1e+30 times the gradient: is a factor missing?"),
        (-1e-30, r"the candidate is -1e-30 times the gradient: is a factor missing?"),
        (1e-320, r"the candidate is 9.99989e-321 times the gradient: is a factor missing?"),
    ],
)
def test_hints_of_extreme_factors_are_short(factor, hint):
    assert check_gradient(lambda x: float(np.sum(x)), np.full(4, factor), SIZES, atol=0.0).hints == (hint,)


LOOKS = "CALL", "RESUME", "JUMP_BACKWARD"  # how the opcodes after which CPython looks for a Ctrl-C begin


def interrupting(at, seen):
    """Return a trace function that raises a Ctrl-C at the `at`-th place in the modules that write to memory.

    The places are those where CPython looks for one: after a call, at the start of a function, at a jump backwards. A
    call that raises looks for none.
    """

    def trace(frame, event, _):
        if not frame.f_code.co_filename.endswith(("points.py", "python.py", "loops.py")):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines, looks = True, False, True

        def opcode(frame, event, _):
            nonlocal looks
            if event != "opcode":
                looks = False
                return opcode
            here, looks = looks, dis.opname[frame.f_code.co_code[frame.f_lasti]].startswith(LOOKS)
            if here:
                seen.append(f"{frame.f_code.co_name} {frame.f_lasti}")
                if len(seen) == at:
                    raise KeyboardInterrupt
            return opcode

        return opcode

    return trace


def traced(work, at, is_first=True):
    """Return the places where a Ctrl-C may come, up to the `at`-th, at which it does."""
    if is_first and sys.version_info >= (3, 12):  # it leaves places out where code was not traced to its end before
        traced(work, 0, is_first=False)
    seen, outer = [], sys.gettrace()
    sys.settrace(interrupting(at, seen))
    try:
        work()
    except (KeyboardInterrupt, ArithmeticError):
        pass
    finally:
        sys.settrace(outer)
    return seen


def fails_where_moved(d):
    if d["a"][0] != SIZES[0]:
        raise ArithmeticError
    return 0.0


def freezes_where_moved(d):
    d["a"].flags.writeable = bool(d["a"][0] == SIZES[0])
    return cubes(d["a"]) + cubes(d["b"])


# CPython 3.12 traces a generator that is closed, from where an exception reaches nobody.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@same_without_jit
@pytest.mark.parametrize(
    ("f", "x"),
    [
        (cubes, SIZES),
        (cubes, SIZES.reshape(2, 2).T.astype(np.float32)),
        (lambda x: fails_where_moved({"a": x}), SIZES),
        (lambda d: cubes(d["a"]) + cubes(d["b"]), {"a": SIZES, "b": SIZES[:3].astype(np.float32)}),
        (fails_where_moved, {"a": SIZES, "b": SIZES}),
        (freezes_where_moved, {"b": SIZES, "a": SIZES}),
    ],
)
def test_ctrl_c_at_any_place_leaves_x_as_it_was_after_directions(f, x):
    is_dict = isinstance(x, dict)
    arrays = {name: array.copy() for name, array in (x if is_dict else {"": x}).items()}
    before = {name: array.tobytes() for name, array in arrays.items()}

    def work():
        point = arrays if is_dict else arrays[""]
        for array in arrays.values():
            array.flags.writeable = True
        candidate = {name: a**2 for name, a in arrays.items()} if is_dict else point**2
        check_gradient(f, candidate, point, directions=2, rng=0)

    places = traced(work, 0)
    assert len(places) > 20
    # The first interrupt in each place, and the last, where the memory is about to be restored.
    first = {name: k for k, name in reversed(list(enumerate(places, 1)))}
    last = {name: k for k, name in enumerate(places, 1)}
    for at in sorted({*first.values(), *last.values()}):
        assert traced(work, at) == places[:at]
        assert {name: array.tobytes() for name, array in arrays.items()} == before, places[at - 1]


def test_directions_of_nothing_compare_nothing():
    assert check_gradient(lambda x: 1.0, np.zeros(0), np.zeros(0), directions=2).ok


# --- what cannot be judged, and what is said -------------------------------------------------------------------------


def test_directions_of_nothing_and_zeros_say_that_nothing_was_judged():
    nothing = np.zeros(0)
    for f, candidate, x, why, options in (
        (lambda x: 1.0, nothing, nothing, "x is empty", {}),
        (lambda x: 1.0, nothing, nothing, "x is empty", {"directions": 2}),
        (lambda x: 1.0, {"a": nothing}, {"a": nothing}, "x is empty", {}),
        (lambda x: 1.0, {}, {}, "x is empty", {}),
        (lambda x: 1.0, np.zeros(4), SIZES, "no value exceeds its own error bar", {}),
        (lambda x: 1.0, np.zeros(4), SIZES, "no value exceeds its own error bar", {"directions": 2}),
        (lambda x: 1e-12 * cubes(x), 3e-12 * SIZES**2, SIZES, "no value exceeds atol", {"atol": 1e-6}),
    ):
        check = check_gradient(f, candidate, x, **options)
        assert check.ok
        assert check.verdict == "nothing was judged"
        assert np.isnan(check.max_relative_error)
        assert "gradient check passed (nothing was judged)" in str(check)
        assert f"hint: nothing was judged: {why}" in str(check)
        assert "0.00e+00" not in str(check)
        assert not check_gradient(f, candidate, x, strict=True, **options)
    assert check_gradient(cubes, 3 * SIZES**2, SIZES, strict=True).verdict == "passed"


@pytest.mark.parametrize("options", [{}, {"directions": 3}])
def test_a_small_gradient_is_judged_by_its_error_bars(options):
    """The default of atol would excuse all of it, right or wrong; one of the user's own does."""
    right = 3e-12 * SIZES**2

    def f(x):
        return 1e-12 * cubes(x)

    check = check_gradient(f, right, SIZES, rng=0, **options)
    assert check.verdict == "passed"
    assert check.max_relative_error < 1e-5
    for wrong in (2 * right, -right, 1.001 * right, np.zeros(4), right + 1e-9):
        assert not check_gradient(f, wrong, SIZES, rng=0, **options)
        assert check_gradient(f, wrong, SIZES, atol=1e-7, rng=0, **options).verdict == "nothing was judged"


def test_a_random_f_is_named_with_the_size_of_its_noise():
    rng = np.random.default_rng(0)
    for candidate in (3 * SIZES**2, -3 * SIZES**2):
        check = check_gradient(lambda x: cubes(x * (rng.uniform(size=4) < 0.5)), candidate, SIZES)
        assert not check
        assert check.verdict == "too noisy to judge"
        assert any(hint.startswith("f is random: two values at x differ by ") for hint in check.hints)
        assert "use float64, a larger step h=, or a fixed seed" in str(check)
        assert "and pass" not in str(check)
    small = check_gradient(lambda x: cubes(x) + 1e-7 * rng.standard_normal(), 3 * SIZES**2, SIZES)
    assert small
    assert small.hints[0].startswith("f is random")


def test_an_f_that_stays_the_same_has_the_noise_of_its_rounding():
    check = check_gradient(lambda x: 1e3 + 1e-3 * x[0], [1e-3, 0.0], np.array([1.0, 2.0]), strict=True)
    assert check
    assert check.unjudged == 0
    assert not check_gradient(lambda x: round(cubes(x), 3), np.zeros(4), SIZES)


def test_points_may_be_nested():
    for x, name in (
        ({"l": [{"W": SIZES.copy()}, (SIZES[:2].copy(),)], "b": SIZES[:3].copy()}, "l[0]['W']"),
        ([SIZES.copy(), SIZES[:2].copy()], "[0]"),
        ((SIZES.copy(), {"a": SIZES[:2].copy()}), "[0]"),
    ):

        def cubes_of(p):
            parts = p.values() if isinstance(p, dict) else p
            return cubes(p) if isinstance(p, np.ndarray) else sum(map(cubes_of, parts))

        def slopes_of(p, factor=3):
            if isinstance(p, np.ndarray):
                return factor * p**2
            kind = type(p)
            return {k: slopes_of(v, factor) for k, v in p.items()} if kind is dict else kind(map(slopes_of, p))

        before = repr(x)
        for options in WAYS:
            assert check_gradient(cubes_of, slopes_of, x, rng=0, **options), name
        wrong = slopes_of(x)
        at = wrong["l"][0]["W"] if isinstance(wrong, dict) else wrong[0]
        at *= -1
        check = check_gradient(cubes_of, wrong, x)
        assert check.worst.name == name
        assert f"{name}: the sign is wrong" in check.hints
        assert repr(x) == before


def test_candidates_that_do_not_fit_get_one_clear_line():
    with pytest.raises(TypeError, match=r"gradient must be one array of shape \(4,\), got a tuple of 2, as of a value"):
        check_gradient(cubes, lambda x: (cubes(x), 3 * x**2), SIZES)
    with pytest.raises(ValueError, match="gradient must be a list of 2 parts as x"):
        check_gradient(lambda p: cubes(p[0]), [SIZES], [SIZES, SIZES.copy()])
    buffer = 3 * SIZES**2
    check = check_gradient(
        lambda p: cubes(p["a"]) + 2 * cubes(p["b"]), {"a": buffer, "b": buffer}, {"a": SIZES, "b": SIZES.copy()}
    )
    assert "the candidate's a and b share memory: was one overwritten by the other?" in check.hints


def test_bounds_are_never_left_and_steps_and_coordinates_may_be_given():
    x, seen = np.array([0.0, 1.0, 4.0]), []

    def f(x):
        seen.append(x.copy())
        return float(np.sum(np.sqrt(x) ** 3))

    right = 1.5 * np.sqrt(x)
    for options in ({}, {"directions": 3, "rng": 0}, {"h": 1e-3, "rtol": 1e-3}, {"h": [1e-4, 1e-5, 1e-4]}):
        assert check_gradient(f, right, x, bounds=(0.0, 4.0), **options)
        assert not check_gradient(f, 1.01 * right + 0.01, x, bounds=(0.0, 4.0), **options)
    assert np.min(seen) >= 0.0
    assert np.max(seen) <= 4.0
    wrong = set_in(3 * SIZES**2, 1, 2.0)
    assert check_gradient(cubes, wrong, SIZES, coordinates=[0, 2, 3]).checked == 3
    assert not check_gradient(cubes, wrong, SIZES, coordinates=[1])
    for h in (-1.0, np.inf, [1e-3, 1e-3], "a"):
        with pytest.raises((ValueError, TypeError), match="h "):
            check_gradient(cubes, wrong, SIZES, h=h)


def test_a_small_number_in_the_logarithm_is_named():
    def exact(W):
        p = reference.softmax(IMAGES @ W)
        p[np.arange(BATCH), LABELS] -= 1
        return IMAGES.T @ p / BATCH

    def near(W):
        return reference.cross_entropy_error(reference.softmax(IMAGES @ W), LABELS)

    check = check_gradient(near, exact, 0.5 * NET.W)
    assert not check
    assert any("such as log(p + 1e-7)" in hint for hint in check.hints)
    assert not any("times the gradient" in hint for hint in check.hints)


def test_a_check_is_what_it_found():
    check = check_gradient(cubes, -3 * SIZES**2, SIZES)
    assert bool(check) is check.ok is False
    assert check.to_dict()["worst"]["index"] == check.worst.index
    assert check.to_dict()["arrays"][""]["failed"] == 4
    assert "comparisons" not in check.to_dict()
    assert check.comparisons[0].failed.sum() == 4


@pytest.mark.parametrize("n", [1, 2, 5, 600])
@pytest.mark.parametrize("call", range(1, 5))
def test_an_f_that_writes_to_its_argument_once_is_found_along_directions(n, call):
    calls, x = itertools.count(), np.linspace(0.5, 1.5, n)
    before = x.copy()

    def f(x):
        value = float(x @ x)
        if next(calls) == call:  # after f(x): both sides of two directions
            x[-1] += 0.125
        return value

    with pytest.raises(ValueError, match="f writes to its argument"):
        check_gradient(f, 2 * x, x, directions=2, rng=0)
    assert x.tobytes() == before.tobytes()


@pytest.mark.parametrize("kind", ["f2", "f4", ">f4", ">f8", "g"])
def test_memory_of_any_kind_is_not_taken_for_written_along_directions(kind):
    x = np.array([-0.0, 1.0, 3.0, 1e4, 5.0]).astype(kind)[::2]
    assert check_gradient(lambda x: float(np.sum(x.astype(float) ** 2)), 2.0 * x.astype(float), x, directions=2, rng=0)


def test_the_worst_has_the_largest_relative_error_of_those_that_failed():
    x = np.array([1.0, 100.0])
    check = check_gradient(lambda x: float(np.sum(x**2)), np.array([4.0, 210.0]), x)  # off by 2 of 4, and by 10 of 210
    assert check.worst.index == (0,)
    check = check_gradient(lambda x: float(np.sum(x**3)), -3 * x**2, x)  # the wrong sign: alike, but for rounding
    assert check.worst.index == (1,)
    both = {"a": x[1:], "b": x[:1]}
    check = check_gradient(lambda p: float(p["a"] @ p["a"] + p["b"] @ p["b"]), {"a": [210.0], "b": [4.0]}, both)
    assert (check.worst.name, check.max_relative_error) == ("b", pytest.approx(0.5))


def test_tables_are_short_and_begin_with_the_worst():
    names = [f"W{k}" for k in range(30)] + ["<script>alert('1')</script>"]
    x = {name: np.arange(1.0, 4.0) for name in names}
    slopes = {name: np.cos(array) for name, array in x.items()}
    slopes["W7"] = -slopes["W7"]
    slopes[names[-1]] = slopes[names[-1]] + [0.0, 0.0, 1.0]
    html = check_gradient(lambda x: float(sum(np.sin(array).sum() for array in x.values())), slopes, x)._repr_html_()
    assert "<script" not in html
    first, second = re.findall(r'<th style="text-align: left">(.*?)</th>', html)[1:3]
    assert (first, second) == ("W7", "&lt;script&gt;alert(&#x27;1&#x27;)&lt;/script&gt;")
    assert html.count("<tr>") == 21
    assert "... and 11 more" in html
    assert "hint: W7: the sign is wrong" in html


# Functions that have a check look far: constant, kinked, with stairs, noisy, of few digits of x or of f.
LOOKED_AT = {
    "smooth": lambda x: float(np.sum(np.sin(x))),
    "constant": lambda x: 1.0,
    "kinked": lambda x: float(np.sum(np.abs(x))),
    "stairs": lambda x: float(np.sum(np.floor(50 * x))),
    "fine": lambda x: float(np.sum(np.sin(1e4 * x))),
    "float32": lambda x: float(np.float32(np.sum(x**3))),
    "x in float32": lambda x: float(np.sum(x.astype(np.float32) ** 2)),
    "x in float16": lambda x: float(np.sum(x.astype(np.float16).astype(float) ** 2)),
}


def assert_is_not_evaluated_beyond_bounds(rng, name, dtype, n=3):
    """Check several gradients of one of these functions between random bounds, in all forms of a check."""
    scale = 10.0 ** rng.integers(-1, 2 if dtype == "f2" else 4)
    x = (scale * rng.normal(size=n)).astype(dtype)
    near = 10.0 ** rng.uniform(-1 if dtype == "f2" else -4, 1, (2, n)) * (rng.random((2, n)) < 0.7)
    near[1, ~near.any(axis=0)] = 1.0
    low, high = x.astype(float) - scale * near[0], x.astype(float) + scale * near[1]
    outside = []

    def f(p):
        flat = np.concatenate([p["a"], p["b"]]) if isinstance(p, dict) else p
        outside.extend(flat[(flat < low) | (flat > high)].tolist())
        return LOOKED_AT[name](flat.astype(float))

    for candidate in (np.cos(x.astype(float)), rng.normal(size=n), np.zeros(n)):
        check_gradient(f, candidate, x, bounds=(low, high), rng=0)
        check_gradient(f, candidate, x, bounds=(low, high), directions=2, rng=0)
        parts = {"a": x[:1], "b": x[1:]}
        check_gradient(
            f,
            {"a": candidate[:1], "b": candidate[1:]},
            parts,
            h={"a": scale / 9, "b": None},
            bounds={"a": (low[:1], high[:1]), "b": (low[1:], high[1:])},
        )
    assert outside == []


STORED_AS = ["f8", ">f8", "f4", "f2", "g"]


@pytest.mark.parametrize("name", LOOKED_AT)
@pytest.mark.parametrize("dtype", STORED_AS)
def test_whatever_is_checked_nothing_is_evaluated_beyond_the_bounds(name, dtype):
    for seed in range(2):  # others are in tests/fuzz
        assert_is_not_evaluated_beyond_bounds(np.random.default_rng(seed), name, dtype)


@pytest.mark.parametrize("rng", [-1, "seed", 0.5, object()])
def test_another_rng_is_refused_in_one_line(rng):
    with pytest.raises((TypeError, ValueError), match=r"^rng must be a numpy.random.Generator or a seed, got .*$"):
        check_gradient(np.sum, np.ones(2), np.ones(2), rng=rng)


def test_steps_and_bounds_of_arrays_are_taken_by_their_names():
    seen, x = [], {"a": np.array([1.0, 2.0]), "b": np.array([3.0])}

    def f(p):
        seen.append((float(p["a"][0]), float(p["b"][0])))
        return float(p["a"] @ p["a"] * p["b"][0])

    right = {"a": 6 * x["a"], "b": [x["a"] @ x["a"]]}
    assert check_gradient(f, right, x, h={"a": 0.25, "b": 0.5}, bounds={"a": None, "b": (0, 3)})
    assert np.max(seen, axis=0).tolist() == [1.5, 3.0]
    with pytest.raises(ValueError, match="h must be one for all arrays, or have the keys"):
        check_gradient(f, right, x, h={"a": 0.25})


def test_labels_of_a_candidate_are_those_of_x():
    pandas = pytest.importorskip("pandas")
    x = pandas.Series([1.0, 2.0], ["a", "b"])
    right = pandas.Series([4.0, 2.0], ["b", "a"])
    with pytest.raises(ValueError, match="must have the labels of x in their order"):
        check_gradient(lambda s: s @ s, right, x)
    assert check_gradient(lambda s: s @ s, right.reindex_like(x), x)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_an_f_that_stores_its_parameters_in_fewer_digits(dtype):
    rng = np.random.default_rng(1)
    x, y = {"W": rng.normal(size=(4, 3)), "b": np.zeros(3)}, rng.normal(size=(6, 4))

    def f(p):
        small = {name: array.astype(dtype).astype(np.float64) for name, array in p.items()}
        return float(np.sum(np.tanh(y @ small["W"] + small["b"])))

    slope = 1 - np.tanh(y @ x["W"] + x["b"]) ** 2
    right = {"W": y.T @ slope, "b": slope.sum(axis=0)}
    assert check_gradient(f, right, x)
    assert check_gradient(f, right, x, directions=4, rng=0)
    wrong = right["W"].copy()
    wrong[0] *= 2.0
    assert not check_gradient(f, right | {"W": wrong}, x)
    assert not check_gradient(f, right | {"b": -right["b"]}, x, directions=4, rng=0)


def test_a_dead_unit_is_no_stair():
    x = np.array([0.5, -1e-4, -0.3, -3.0])
    right = (x > 0).astype(float)
    f = lambda x: float(np.sum(np.maximum(x, 0.0)))  # noqa: E731
    assert check_gradient(f, right, x)
    check = check_gradient(f, np.ones(4), x)
    assert check.arrays[""].failed == 3


# --- what f rounds away ----------------------------------------------------------------------------------------------

SATURATED = {
    "softmax": (lambda x: float(np.log(np.sum(np.exp(x - x.max()))) + x.max() - x[0]), lambda x: softmaxed(x) - FIRST),
    "sigmoid": (
        lambda x: float(np.sum(1.0 - 1.0 / (1.0 + np.exp(-x)))),
        lambda x: -np.exp(-x) / (1.0 + np.exp(-x)) ** 2,
    ),
    "tanh": (lambda x: float(np.sum(1.0 - np.tanh(x))), lambda x: -1.0 / np.cosh(x) ** 2),
}
FIRST = np.array([1.0, 0.0, 0.0])


def softmaxed(x):
    powers = np.exp(x - x.max())
    return powers / powers.sum()


@pytest.mark.parametrize("way", [{}, {"directions": 4, "rng": 0}, {"samples": 2, "rng": 0}], ids=str)
@pytest.mark.parametrize("name", SATURATED)
@pytest.mark.parametrize("size", [20.0, 37.0, 45.0, 200.0])
def test_a_gradient_that_a_saturated_loss_rounds_away_passes(name, size, way):
    f, gradient = SATURATED[name]
    x = np.array([size, 0.3, 1.0]) if name == "softmax" else size * np.array([1.0, 1.1, 1.3])
    check = check_gradient(f, gradient, x, **way)
    assert check.ok
    assert f(x) or check.verdict == "nothing was judged"


@pytest.mark.parametrize("way", [{}, {"directions": 5, "rng": 0}, {"coordinates": [0]}], ids=str)
@pytest.mark.parametrize("value", [0.0, 1.0, -1e3, 1.8e6, 1e10])
@pytest.mark.parametrize("x", [[0.0], [1.0, 2.0]], ids=str)
def test_a_constant_f_passes_whatever_its_offset(value, x, way):
    check = check_gradient(lambda x: value, lambda x: 0.0 * x, np.array(x), **way)
    assert (check.ok, check.verdict) == (True, "nothing was judged")


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e6])
def test_coordinates_on_which_f_does_not_depend_pass_beside_an_offset(offset):
    x = np.array([1.0, 2.0, 3.0])
    check = check_gradient(lambda x: offset + x[0] ** 2, lambda x: [2.0 * x[0], 0.0, 0.0], x, coordinates=[1, 2])
    assert check.ok


@pytest.mark.parametrize("way", [{}, {"directions": 4, "rng": 0}], ids=str)
@pytest.mark.parametrize("digits", [1, 2, 3])
def test_zeros_for_the_slopes_of_a_rounded_f_do_not_pass(digits, way):
    x = np.array([7.4, -10.8, -6.0])
    assert not check_gradient(lambda x: round(float(np.sum(x**2)), digits), np.zeros(3), x, **way)


@pytest.mark.parametrize("h", [np.full(3, 1e-3), [1e-3, 1e-4, 1e-2], np.float32([1e-3])], ids=["array", "list", "one"])
def test_first_steps_are_those_of_the_coordinates(h):
    x, far = np.array([1.0, -2.0, 0.5]), []
    exact = np.exp(x)

    def f(x):
        far.append(np.abs(x - [1.0, -2.0, 0.5]))
        return float(np.exp(x).sum())

    assert check_gradient(f, exact, x, h=h).ok
    assert not check_gradient(f, exact * [1.0, 1.0, 1.001], x, h=h).ok
    for k, step in enumerate(np.broadcast_to(h, 3)):
        assert any(step / 3 <= moved[k] <= 3 * step for moved in far)


def penalized(rng, rounded, decay=0.1):
    """Return a loss of few digits plus weight decay, its gradient, that of the decay alone, and a point."""
    data, labels, w = rng.normal(size=(20, 4)), rng.integers(2, size=20), rng.normal(size=4)

    def loss(w):
        z = data.astype(w.dtype) @ w
        return np.mean(np.logaddexp(z.dtype.type(0), z) - labels.astype(z.dtype) * z)

    gradient = data.T @ (1 / (1 + np.exp(-data @ w)) - labels) / 20
    return lambda w: rounded(loss, w) + 0.5 * decay * float(w @ w), gradient + decay * w, decay * w, w


@pytest.mark.parametrize(
    "rounded",
    [
        lambda loss, w: float(loss(w.astype(np.float32))),
        lambda loss, w: float(np.float32(loss(w))),
        lambda loss, w: round(float(loss(w)), 8),
    ],
    ids=["inside", "returned", "8 digits"],
)
@pytest.mark.parametrize("directions", [None, 5])
def test_a_penalty_beside_few_digits(rounded, directions):
    for seed in range(8):
        f, right, penalty, w = penalized(np.random.default_rng(seed), rounded)
        assert check_gradient(f, right, w, directions=directions, rng=0), seed
        for wrong in (penalty, 2 * right, -right):
            assert not check_gradient(f, wrong, w, directions=directions, rng=0), seed


BENT = {
    "sin": (lambda w: np.sin(8.0 * w), lambda w: 8.0 * np.cos(8.0 * w)),
    "log": (lambda w: np.log1p(100.0 * w * w), lambda w: 200.0 * w / (1.0 + 100.0 * w * w)),
}


@pytest.mark.parametrize("bent", BENT)
def test_a_bent_penalty_beside_few_digits(bent):
    """By the largest steps the penalty has another slope than at x: shorter ones show that of the few digits."""
    penalty, slope = BENT[bent]
    for seed in range(12):
        rng = np.random.default_rng(seed)
        data, w = rng.normal(size=(6, 3)), rng.uniform(0.3, 1.2, 3) * rng.choice([-1, 1], 3)

        def f(w, data=data):
            return float(np.tanh(data @ w.astype(np.float16).astype(float)).sum() + penalty(w).sum())

        right = (1.0 - np.tanh(data @ w) ** 2) @ data + slope(w)
        assert check_gradient(f, right, w), seed
        assert not check_gradient(f, -right, w), seed


def test_the_rounding_of_points_denies_no_claim_that_is_off_by_truncation():
    """Near a minimum f bends within the first step: smaller ones tell, as far as x has digits for them."""
    for seed in range(150):
        rng = np.random.default_rng(seed)
        k, x = 10.0 ** rng.uniform(0, 3), 1.0 + 10.0 ** rng.uniform(-7, -4) * rng.standard_normal(20)
        right = 2.0 * (x - 1.0) + 3.0 * k * (x - 1.0) ** 2

        def f(x, k=k):
            return float(np.sum((x - 1.0) ** 2 + k * (x - 1.0) ** 3))

        assert check_gradient(f, right, x, directions=3, rng=seed), seed
        assert not check_gradient(f, 2.0 * right, x, directions=3, rng=seed), seed


def test_a_small_coordinate_beside_a_large_one_is_judged_alone():
    """Along a vector that moves the large one by less than x stores, its slope would be one of rounding."""
    for seed in range(100):
        rng, size = np.random.default_rng(seed), 10.0 ** (3 + seed % 5)
        x, (large, small) = np.array([size, 0.0]), 10.0 ** rng.uniform([0.0, -5.0], [2.0, -2.0])

        def f(y, size=size, large=large, small=small):
            return float(large * (y[0] - size) + (y[0] - size) ** 3 + small * y[1] + y[1] ** 3)

        assert check_gradient(f, np.array([large, small]), x), seed
        assert not check_gradient(f, np.array([large, -small]), x), seed


@pytest.mark.parametrize("bounds", [None, (0.0, math.inf)])
def test_noise_is_measured_where_arrays_share_memory(bounds):
    for n in range(1, 9):
        shared = np.zeros(n)
        x = {"a": shared, "b": shared}

        def f(x):
            return round(float(np.sum(np.exp(x["a"]) + np.exp(2.0 * x["b"]))), 6)

        for slope, passes in ((3.0, True), (0.0, False), (-3.0, False)):
            candidate = {"a": np.full(n, slope), "b": np.full(n, slope)}
            assert check_gradient(f, candidate, x, bounds=bounds).ok == passes, (n, slope)
        assert not shared.any()


FEW_DIGITS = {"float32": lambda v: float(np.float32(v)), "6 digits": lambda v: round(v, 6)}


@pytest.mark.parametrize("digits", FEW_DIGITS)
def test_noise_is_measured_where_all_coordinates_are_at_a_bound(digits):
    for seed in range(10):
        rng = np.random.default_rng(seed)
        a, b = rng.uniform(0.5, 2.0, (2, int(rng.integers(1, 6))))

        def f(x, a=a, b=b):
            assert (x >= 0.0).all()
            return FEW_DIGITS[digits](float(np.sum(a * np.exp(b * x))))

        x, right, options = np.zeros(len(a)), a * b, {"bounds": (0.0, math.inf)}
        assert check_gradient(f, right, x, **options), seed
        for wrong in (-right, 0.0 * right, 2.0 * right):
            assert not check_gradient(f, wrong, x, **options), seed


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_few_digits_between_narrow_bounds(dtype):
    for seed in range(40):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(2, 6))
        a, b = rng.uniform(0.5, 2.0, (2, n))
        x = rng.uniform(-2.0, 2.0, n).astype(dtype)
        below, above = 10.0 ** rng.uniform(-6, 1, (2, n))
        low, high = x - np.where(rng.random(n) < 0.4, 0.0, below), x + above
        seen = []

        def f(z, a=a, b=b, seen=seen):
            seen.append(z.astype(np.float64))
            return round(float(np.sum(a * np.sin(b * seen[-1]))), 7)

        check = check_gradient(f, a * b * np.cos(b * x.astype(np.float64)), x, bounds=(low, high))
        assert check.verdict in {"passed", "too noisy to judge"}, seed
        assert (low <= np.min(seen, axis=0)).all()
        assert (np.max(seen, axis=0) <= high).all()


@pytest.mark.parametrize("inside", [np.float64, np.float32, np.float16])
def test_directions_of_float16(inside):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x = rng.uniform(-2, 2, int(rng.integers(2, 10))).astype(np.float16)
        right = np.cos(x.astype(np.float64))

        def f(x):
            return np.sum(np.sin(x.astype(inside)))

        assert check_gradient(f, right, x, directions=5, rng=seed), seed
        for wrong in (-right, 0 * right):
            assert not check_gradient(f, wrong, x, directions=5, rng=seed), seed


@pytest.mark.parametrize("x", [np.array([1.0, 2.0, 3.0]), [1.0, 2.0, 3.0], {"w": np.array([1.0, 2.0, 3.0])}], ids=str)
def test_a_gradient_that_writes_to_its_argument_is_named(x):
    def part(x):
        return x["w"] if isinstance(x, dict) else x

    def gradient(x):
        slopes = np.multiply(2.0, part(x), out=part(x))
        return {"w": slopes} if isinstance(x, dict) else slopes

    with pytest.raises(ValueError, match="the gradient of f writes to its argument"):
        check_gradient(lambda x: np.sum(part(x) ** 2), gradient, x)
    assert list(part(x)) == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("options", [{"coordinates": [0, 2, 3]}, {"directions": 4, "rng": 0}], ids=str)
def test_a_coordinate_that_bounds_fix_does_not_hide_the_noise_of_f(options):
    x, high = np.array([0.7, 0.3, 1.1, -0.4]), np.array([np.inf, 0.3, np.inf, np.inf])
    low, slopes = np.where(high == 0.3, 0.3, -np.inf), np.cos(x)

    def noisy(x):
        return float(np.sum(np.sin(x)) + 1e-6 * (zlib.crc32(x.tobytes()) / 2**32 - 0.5))

    def rounded(x):
        return float(np.float32(np.sum(np.sin(x)) + 10.0))

    for f in (noisy, rounded):
        assert check_gradient(f, slopes, x, bounds=(low, high), **options)
        assert not check_gradient(f, 1.5 * slopes, x, bounds=(low, high), **options)


def test_a_coordinate_that_is_not_a_number_is_at_no_bound():
    check = check_gradient(np.sum, np.ones(2), np.array([1.0, math.nan]), directions=3, rng=0)
    assert not check
    assert not any("bound" in hint for hint in check.hints)


def test_a_bend_that_begins_in_the_rounding_ends_no_search_for_jumps():
    for bend in np.geomspace(1e-25, 1e-21, 40):

        def values(places, bend=bend):
            t = np.array(places)
            return 6.5 + 2.5e-12 * t + bend * t * t + 1e-3 * np.floor(1e-9 * t + 0.4)

        assert noise_of(values, 6.5) > 5e-5, bend


def test_a_kink_is_no_noise():
    def noise_of(f, n):
        sides = Sides(f, np.zeros(n), (), (None, None))
        sides.evaluate(np.zeros(n))
        return sides.noise

    rng = np.random.default_rng(0)
    slopes = rng.uniform(0.5, 2.0, 6)
    kinks = {
        "on both sides": lambda x: 3.0 + np.sum(slopes * np.abs(x)),
        "on one side": lambda x: np.sum(np.maximum(x[:1], 0.0)),
        "on the other side": lambda x: np.sum(np.maximum(-x[:1], 0.0)),
        "with a slope": lambda x: 2.0 + np.sum(slopes * np.maximum(x, 0.0) + np.sin(x)),
        **{f"beside, {d:g}": lambda x, d=d: np.sum(np.maximum(np.abs(x) - d, 0.0)) for d in (1e-9, 1e-5, 1e-2)},
    }
    for name, f in kinks.items():
        assert noise_of(f, 6) <= 2e-14, name
        assert noise_of(lambda x, f=f: f(x) + 1e-7 * np.sin(1e14 * slopes @ x), 6) > 3e-8, name
        assert noise_of(lambda x, f=f: round(float(f(x) + slopes @ x), 6), 6) > 5e-8, name


def test_a_kink_just_before_a_look_is_no_jump():
    """The search for teeth looks at 3 * 16**k spacings; what is left of a kink there is as narrow as its distance."""
    for look, before, slope in itertools.product(range(1, 12), np.geomspace(1e-9, 0.5, 8), (1e-12, 1e-9)):
        first = 3.0 * 16.0**look * (1.0 - before)

        def kinks(places, first=first, slope=slope):
            t = np.array(places)
            return 6.5 + slope * (0.3 * t + np.maximum(t - first, 0.0) + np.maximum(np.abs(t) - 1.7 * first, 0.0))

        assert noise_of(kinks, 6.5) < 1e-13, (look, before)

        def teeth(places, first=first):
            t = np.array(places)
            return 6.5 + 1e-13 * t + 1e-3 * np.floor((t - first) / (2.5 * first) + 1.0)

        assert look > 6 or noise_of(teeth, 6.5) > 5e-5, (look, before)


@pytest.mark.parametrize("way", [{}, {"directions": 3, "rng": 0}], ids=str)
def test_sums_of_many_kinks_hide_no_wrong_element(way):
    for seed in range(60, 110):
        rng = np.random.default_rng(seed)
        data, target = rng.normal(size=(100, 13)), rng.normal(size=100)
        x = 1e-4 * rng.normal(size=13)
        right = data.T @ np.sign(data @ x - target) / 100
        wrong = np.where(np.abs(right) == np.abs(right).min(), -right, right) if not way else 1.1 * right

        def f(x, data=data, target=target):
            return float(np.mean(np.abs(data @ x - target)))

        assert check_gradient(f, right, x, **way), seed
        assert not check_gradient(f, wrong, x, **way), seed


@pytest.mark.parametrize("distance", [1e-6, 1e-4, 1e-2, 0.04])
def test_no_slope_passes_where_f_is_flat_up_to_a_kink(distance):
    def f(x):
        return np.sum(np.maximum(x - distance, 0.0))

    assert check_gradient(f, np.zeros(4), np.zeros(4))
    for claim in (1e-6, 1e-3, 1.0):
        assert not check_gradient(f, claim * (np.arange(4) == 2), np.zeros(4))


def test_a_kink_of_one_array_hides_no_other():
    for seed in range(12):
        rng = np.random.default_rng(seed)
        net = MultiLayerNet(4, [1, 4], 3, weight_init_std=0.01, rng=seed)
        net.params["b1"][...] = -1.7  # the first unit is dead: the second layer is at its kink
        net.params["b3"][...] = rng.normal(size=3)
        x, t = rng.normal(size=(3, 4)), rng.integers(0, 3, 3)
        right = net.gradient(x, t)
        assert check_gradient(lambda _, net=net, x=x, t=t: net.loss(x, t), right, net.params)
        for name, place in (("W1", (2, 0)), ("b3", 1)):
            wrong = right | {name: right[name].copy()}
            wrong[name][place] += 1e-4
            check = check_gradient(lambda _, net=net, x=x, t=t: net.loss(x, t), wrong, net.params)
            assert check.arrays[name].failed == 1


BUMPS = {
    "Gauss": (lambda y: np.exp(-np.sum(y**2)), lambda y: -2 * y * np.exp(-np.sum(y**2))),
    "sech": (lambda y: np.prod(1 / np.cosh(y)), lambda y: -np.tanh(y) * np.prod(1 / np.cosh(y))),
    "waves": (lambda y: np.sum(np.cos(y)), lambda y: -np.sin(y)),
}


@pytest.mark.parametrize("way", [{}, {"directions": 2, "rng": 0}], ids=str)
@pytest.mark.parametrize("name", BUMPS)
def test_what_f_does_far_from_x_is_no_noise(name, way):
    """Of a small bump on a large constant, the look for stairs met the bump; from farther yet f is flat."""
    (f, slope), rng = BUMPS[name], np.random.default_rng(11)
    for _ in range(60):
        offset, n = rng.choice([1.0, 1e2, 1e4, 1e6]), rng.integers(2, 6)
        lengths = 10.0 ** rng.uniform(-4, 2, n)
        x = lengths * rng.normal(size=n)
        size = offset * 10.0 ** rng.uniform(-14, -6)
        if abs(size * f(x / lengths)) < 10 * np.spacing(offset):  # a few quanta of f do not tell its slope
            continue
        check = check_gradient(
            lambda x, c=offset, a=size, s=lengths: c + a * float(f(x / s)),
            size * slope(x / lengths) / lengths,
            x,
            **way,
        )
        assert check.verdict != "failed", (offset, size, lengths, x, str(check))


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("f", ["exact", "rounded", "float32"])
@pytest.mark.parametrize("is_dict", [False, True])
def test_a_coordinate_that_is_not_finite_stays_where_it_is(bad, f, is_dict):
    """As the mask of attention's logits; no line makes NaN of it, and of f one that writes to its argument."""
    for where in range(3):
        x, seen = np.array([0.5, -1.5, 2.0]), []
        x[where] = bad
        others = np.flatnonzero(np.isfinite(x))

        def cubes(x):
            seen.append(x[where])  # noqa: B023
            terms = np.where(np.isfinite(x), x, 0.0) ** 3
            return {"exact": terms.sum, "rounded": terms.round(5).sum, "float32": terms.astype("f4").sum}[f]()

        right = np.where(np.isfinite(x), 3 * x**2, 0.0)
        for gradient, ok in ((right, True), (1.5 * right, False)):
            for way in ({"coordinates": others}, {"directions": 3, "rng": 0}):
                function = (lambda p: cubes(p["x"])) if is_dict else cubes
                found = check_gradient(
                    function, {"x": gradient} if is_dict else gradient, {"x": x} if is_dict else x, **way
                )
                assert found.ok == ok, (str(found), way)
            whole = check_gradient(cubes, gradient, x)
            assert whole.worst.index == (where,)
            assert "x, or f near it, is not finite, so the numerical gradient is not either" in whole.hints
        assert np.array_equal(np.unique(seen), [bad], equal_nan=True)


REFUSED = {
    "h": [-1.0, 0.0, np.ones(3), [1e-3, np.nan], "auto"],
    "samples": [0, -1, 1.5],
    "directions": [0, -1, "2"],
    "coordinates": [[9], [-3], [0.5], "0"],
    "bounds": [(5, 6), (0,), ([0, 0, 0], [9, 9, 9])],
    "workers": [0, -2, 1.5],
    "rng": [-1, "seed"],
    "progress": [3],
    "rtol": [-1.0, "a"],
    "atol": [-1.0],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in REFUSED for value in REFUSED[name]], ids=str)
@pytest.mark.parametrize("is_dict", [False, True])
def test_arguments_are_checked_before_anything_is_evaluated(name, value, is_dict):
    def never(x):
        raise AssertionError("evaluated")

    x = {"a": np.array([1.0, 2.0])} if is_dict else np.array([1.0, 2.0])
    with pytest.raises((TypeError, ValueError)):
        check_gradient(never, never, x, **{name: value})


@pytest.mark.parametrize("cast", [np.rint, np.float16, lambda x: np.round(x, 6)])
def test_zeros_do_not_pass_along_directions_where_the_stairs_of_f_hide_its_slopes(cast):
    """Two values next to x are equal there, and nothing but the noise of all coordinates tells a stair from 0."""
    length = 1e4 if cast is np.rint else 1.0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        a, b = rng.uniform(0.5, 2.0, (2, 20))
        x = length * rng.uniform(-2, 2, 20)

        def f(x, a=a, b=b):
            return float(np.sum(a * np.sin(b * cast(x).astype(np.float64) / length)))

        right = a * b * np.cos(b * x / length) / length
        assert check_gradient(f, right, x, directions=5, rng=seed)
        assert not check_gradient(f, 0.0 * right, x, directions=5, rng=seed)


@pytest.mark.parametrize("others", [(), (1.0,), (1e-3, 1.0, 1e4, 1e8)])
def test_an_error_of_a_hundredth_is_found_at_a_coordinate_far_smaller_than_the_first_step(others):
    """The first steps are 1000 times too long there; the least error bar counts, whatever longer steps say."""
    x = np.array([1e-8, *others])
    c = 1.0 / x
    right = c * np.cos(c * x)
    wrong = right.copy()
    wrong[0] *= 1.01

    def f(x):
        return float(np.sum(np.sin(c * x)))

    assert check_gradient(f, right, x)
    check = check_gradient(f, wrong, x)
    assert check.arrays[""].failed == 1
    assert check.worst.index == (0,)


FORMS = {
    "sin": (np.sin, np.cos),
    "exp": (np.exp, np.exp),
    "tanh": (np.tanh, lambda y: 1 / np.cosh(y) ** 2),
    "square": (lambda y: (y - 0.3) ** 2, lambda y: 2 * (y - 0.3)),
}


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("units", [(1e5, 1e-7), (1e3, 1e-7, 1e-7), (1e9, 1e-4), (1.0, 1e-9, 1e6)], ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_a_gradient_in_several_units_is_judged_as_a_whole(form, units, apart):
    """What moves the small coordinates alone may be as short as these store, whatever the large ones store."""
    f, slope = FORMS[form]
    for seed in range(8):
        x = np.array(units) * np.random.default_rng(seed).normal(size=len(units))
        right = slope(x / units) / units
        point, claim = ({str(k): a[k : k + 1] for k in range(a.size)} if apart else a for a in (x, right))

        def value(p):
            return float(np.sum(f(np.concatenate([*p.values()] if apart else [p]) / units)))

        check = check_gradient(value, claim, point)
        assert check, (seed, check)
        wrong = {key: 1.5 * part for key, part in claim.items()} if apart else 1.5 * claim
        assert not check_gradient(value, wrong, point), seed


def test_the_memory_of_directions_does_not_grow_with_their_number(monkeypatch):
    x, f = np.linspace(1.0, 2.0, 2000), lambda x: float(np.sum(x**2))
    at_once = check_gradient(f, 2 * x, x, directions=40, rng=0)
    monkeypatch.setattr("numgrad.sides._NUMBERS", 2 * x.size)

    def peak(count):
        tracemalloc.start()
        try:
            check = check_gradient(f, 2 * x, x, directions=count, rng=0)
            return tracemalloc.get_traced_memory()[1], check
        finally:
            tracemalloc.stop()

    (few, _), (many, check) = peak(4), peak(40)
    assert many < 1.2 * few
    assert check.ok
    assert str(check) == str(at_once)
    for one, other in zip(check.comparisons[0][2:8], at_once.comparisons[0][2:8], strict=True):
        # BLAS adds up the 2,000 terms, of 4 at most, in another order for another shape.
        np.testing.assert_allclose(one, other, rtol=0.0, atol=x.size * 4 * 2.0**-52)


JUMPS = {
    "of each coordinate": (lambda x: x @ x + np.floor(x + 0.3).sum(), lambda x: 2 * x),
    "of the largest": (lambda x: np.sin(x).sum() + 3.0 * np.argmax(x), np.cos),
    "of pieces": (lambda x: np.where(x < 0, x**2, x**2 + 1).sum(), lambda x: 2 * x),
    "of a part of f": (lambda x: 10 + 0.5 * x @ x + 0.01 * (x > 0).sum(), np.copy),
    "of a small part": (lambda x: 10 + 0.5 * x @ x + 0.001 * np.round(x).sum(), np.copy),
}


@pytest.mark.parametrize("name", JUMPS)
def test_a_jump_beside_x_is_no_noise(name):
    f, gradient = JUMPS[name]
    rng = np.random.default_rng(3)
    for case in range(20):
        x = rng.normal(size=8)
        right = gradient(x)
        assert check_gradient(f, right, x), case
        for factor in (-1.0, 0.0, 1.1):
            wrong = np.where(np.arange(8) == np.abs(right).argmax(), factor * right, right)
            assert not check_gradient(f, wrong, x), (case, factor)


DOMAINS = {
    "acos": (lambda x: math.acos(x[0]), lambda x: -1 / np.sqrt(1 - x * x), 1.0),
    "sqrt": (lambda x: math.sqrt(2 - x[0]), lambda x: -0.5 / np.sqrt(2 - x), 2.0),
    "two": (lambda x: math.log(3 - x[0]) - math.log(3 - x[1]), lambda x: np.array([-1, 1]) / (3 - x), 3.0),
}


@pytest.mark.parametrize("directions", [None, 4])
@pytest.mark.parametrize("name", DOMAINS)
def test_f_may_raise_where_only_the_noise_or_a_long_step_is_sought(name, directions):
    f, gradient, end = DOMAINS[name]
    for room in np.geomspace(1e-3, 0.5, 12):
        x = end - room * np.array([1.0, 0.7])[: 1 + (name == "two")]
        assert check_gradient(f, gradient(x), x, directions=directions, rng=0), room
        assert not check_gradient(f, -gradient(x), x, directions=directions, rng=0), room


def test_coordinates_that_do_not_move_along_directions_are_not_judged():
    x, bounds = np.array([0.0, 1e-5, 0.5, 1.0]), (0.0, 1.0)
    right = 2 * (x - 3)
    check = check_gradient(lambda x: np.sum((x - 3) ** 2), right * [-1, 1, 1, 1], x, bounds=bounds, directions=5, rng=0)
    assert check
    assert check.unjudged == 3
    assert "3 coordinates next to a bound do not move along directions; check coordinates" in check.hints
    assert "have error bars" not in str(check)
    how = {"bounds": bounds, "directions": 5, "rng": 0, "strict": True}
    assert not check_gradient(lambda x: np.sum((x - 3) ** 2), right, x, **how)
    inside = np.full(4, 0.5)
    assert check_gradient(lambda x: np.sum((x - 3) ** 2), 2 * (inside - 3), inside, **how)
    none = check_gradient(lambda x: np.sum(x), np.full(3, 1e6), np.zeros(3), **how)
    assert not none
    assert none.hints[0] == "nothing was judged: no coordinate moves along the directions"


@pytest.mark.parametrize("room", [3e-6, 1e-5, 1.5e-5])
def test_f_may_end_between_the_steps_of_the_two_sweeps(room):
    x = np.array([1 - room, 0.2, room - 1])
    for value in (np.inf, np.nan):
        inside = lambda x, value=value: np.sum((x - 2) ** 2) if (np.abs(x) <= 1).all() else value  # noqa: E731
        assert check_gradient(inside, 2 * (x - 2), x)
        assert not check_gradient(inside, 2 * (x - 2) * [1.001, 1, 1], x)
    x = np.array([709.7827 - 0.006])
    assert check_gradient(lambda x: float(np.exp(x[0])), np.exp, x, strict=True)


def test_a_step_that_x_loses_is_longer():
    x = np.array([1.0, 2.0])
    check = check_gradient(lambda x: x @ x, 2 * x, x, h=1e-300)
    assert np.isfinite(check.comparisons[0].numerical).all()
    assert not any("not finite" in hint for hint in check.hints)
    assert check_gradient(lambda x: x @ x, 2 * x, x, coordinates=[]).hints == (
        "nothing was judged: no coordinate was asked for",
    )


@pytest.mark.parametrize(
    ("noise", "part", "most"), [(1e-8, 0.01, 3), (1e-7, 0.05, 3), (1e-7, 1 / 6, 1), (1e-6, 1 / 6, 1)]
)
def test_an_element_that_is_off_by_little_fails_in_noise(noise, part, most):
    passed = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x, weights = rng.uniform(-1, 1, 6), rng.normal(size=(6, 6))

        def f(x, weights=weights):
            at_random = zlib.crc32(x.tobytes()) / 2**32 - 0.5
            return float(np.sum(np.sin(weights @ x)) + 3.0 * noise * at_random)

        slopes, off = weights.T @ np.cos(weights @ x), np.ones(6)
        off[np.abs(slopes).argmax()] += rng.choice([-part, part])
        assert check_gradient(f, slopes, x), seed
        passed += bool(check_gradient(f, off * slopes, x))
    assert passed <= most


@pytest.mark.parametrize("unit", [1e-9, 1e-8])
def test_a_structure_of_one_unit_far_below_the_first_step(unit):
    # A cube of atoms in metres, one of which is nearly at the origin: its coordinates are far smaller than the lengths.
    x = unit * (np.indices((2, 2, 2)).reshape(3, -1).T * 1.1 + np.random.default_rng(1).normal(0, 0.02, (8, 3)))
    i, j = np.triu_indices(8, 1)

    def energy(x):
        square = np.sum(((x[i] - x[j]) / unit) ** 2, axis=1)
        return float(np.sum(square**-6.0 - 2.0 * square**-3.0))

    apart = (x[i] - x[j]) / unit
    square = np.sum(apart**2, axis=1, keepdims=True)
    forces = 12.0 * (square**-4.0 - square**-7.0) * apart / unit
    gradient = np.zeros((8, 3))
    np.add.at(gradient, i, forces)
    np.add.at(gradient, j, -forces)
    assert check_gradient(energy, gradient, x).verdict == "passed"
    for k in range(0, 24, 5):
        off = np.ones(24)
        off[k] += 1e-3
        assert check_gradient(energy, off.reshape(8, 3) * gradient, x).verdict == "failed"


@pytest.mark.parametrize("capacity", [1e-10, 1e-12, 1e-14])
@pytest.mark.parametrize("options", [{}, {"directions": 3, "rng": 0}])
def test_parameters_far_below_the_first_step(capacity, options):
    t = np.linspace(0.1, 5.0, 30)
    x = np.array([1e-6 / capacity, capacity])

    def charge(x):
        return float(np.sum((np.exp(-1e-6 * t / (x[0] * x[1])) - np.exp(-t / 0.8)) ** 2))

    decay, rate = np.exp(-t), 1e6
    slope = np.sum(2 * (decay - np.exp(-t / 0.8)) * decay * t) * rate
    gradient = slope * x[::-1]
    assert check_gradient(charge, gradient, x, **options).verdict == "passed"
    for factor in ([1, 0], [1, 1.001], [1, 2], [1, -1], [2, 2], [0, 0]):
        assert check_gradient(charge, factor * gradient, x, **options).verdict == "failed"


# Each has a form of the length of u, and from afar the slope that is last.
SMALL_FORMS = {
    "a wave on a line": (lambda u: np.sin(u) + u, lambda u: np.cos(u) + 1, lambda u: 0 * u + 1),
    "a faint wave": (lambda u: 0.003 * np.sin(u) + u, lambda u: 0.003 * np.cos(u) + 1, lambda u: 0 * u + 1),
    "a wave on a bowl": (lambda u: np.sin(u) + u**2, lambda u: np.cos(u) + 2 * u, lambda u: 2 * u),
    "a spring": (lambda u: 0.5 * (u - 3) ** 2 - 1 / (6 * u), lambda u: u - 3 + 1 / (6 * u**2), lambda u: u - 3),
    "a bump": (
        lambda u: np.exp(-u * u) + 0.3 * u,
        lambda u: 0.3 - 2 * u * np.exp(-u * u),
        lambda u: 0 * u + 0.3,
    ),
    "saturation": (lambda u: np.tanh(u) + 5 * u, lambda u: 5 + 1 / np.cosh(u) ** 2, lambda u: 0 * u + 5),
}


@pytest.mark.parametrize("directions", [None, 4])
@pytest.mark.parametrize("name", SMALL_FORMS)
def test_a_form_of_the_length_of_a_small_x(name, directions):
    f, slope, from_afar = SMALL_FORMS[name]
    for unit, n in itertools.product(10.0 ** -np.arange(5, 15), (1, 3)):
        u = np.random.default_rng(n).uniform(0.5, 2.0, n)
        options = {} if directions is None else {"directions": directions, "rng": 0}

        def value(x, unit=unit):
            return float(np.sum(f(x / unit)))

        assert check_gradient(value, slope(u) / unit, u * unit, **options), unit
        assert not check_gradient(value, from_afar(u) / unit, u * unit, **options), unit
        wrong = np.where(np.arange(n) == 0, 1.03, 1.0) * slope(u) / unit
        assert directions or not check_gradient(value, wrong, u * unit), unit


@pytest.mark.parametrize("others", [[], [1.0], [1.0, 6e23]], ids=str)
def test_a_minimum_at_a_small_x(others):
    for size, seed in itertools.product((1e-7, 1e-9, 1e-10, 1e-13), range(15)):
        off = 0.1 * np.random.default_rng(seed).normal(size=5)
        x, power = np.array([size, *others]), np.array([3.0, 1.0, -1.0])[: 1 + len(others)]
        least = np.log(x) @ power

        def f(x, off=off, power=power, least=least):
            return float(np.sum((np.log(x) @ power - least - off) ** 2))

        right = -2 * np.sum(off) * power / x
        assert check_gradient(f, right, x), (size, seed)
        assert not check_gradient(f, np.where(x == size, 1.01, 1.0) * right, x), (size, seed)


def test_elements_that_happen_to_be_tiny_keep_their_steps():
    x, calls = np.array([0.3, 1e-11, -0.7]), []

    def f(x):  # whose noise is no structure of the size of the element
        calls.append(1)
        return float(x @ x + x.sum()) * (1 + 1e-9 * (zlib.crc32(x.tobytes()) / 2**32))

    assert check_gradient(f, 2 * x + 1, x).verdict == "passed"
    assert check_gradient(f, (2 * x + 1) * [1, 2, 1], x).verdict == "failed"
    calls.clear()
    assert check_gradient(lambda x: calls.append(1) or float(np.cos(x).sum()), -np.sin(x), x)
    assert len(calls) == 1 + 4 * 3 + 6


@pytest.mark.parametrize("seed", [1004, 1048])
def test_a_slope_next_to_x_counts_beside_one_from_afar(seed):
    # From afar the ripples of f are gone, and rungs there agree with one another, and not with those next to x.
    rng = np.random.default_rng(seed)
    n, length = int(rng.choice([1, 3, 20])), 10.0 ** rng.uniform(-6, 1)
    A, x = rng.standard_normal((4, n)), rng.standard_normal(n) * 10.0 ** rng.uniform(-3, 3)
    phase = rng.standard_normal(4)
    gradient = 2 * x + A.T @ np.cos(A @ x / length + phase)
    assert check_gradient(lambda x: float(x @ x + length * np.sum(np.sin(A @ x / length + phase))), gradient, x).ok
    for factor in (0.0, 1.01, 2.0):
        claim = factor * gradient
        assert not check_gradient(lambda x: float(x @ x + length * np.sum(np.sin(A @ x / length + phase))), claim, x).ok


def test_a_check_that_fails_asks_both_sides_of_its_steps_at_once():
    x, calls, sweeps, ask = np.random.default_rng(0).uniform(-1, 1, 50), [], [], Sides.one_sided

    def f(x):
        calls.append(None)
        return np.sum(x**2)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sides, "one_sided", lambda *given: (sweeps.append(None), ask(*given))[1])
        assert not check_gradient(f, -2 * x, x)
    assert len(sweeps) == 2
    assert len(calls) <= 230


@pytest.mark.parametrize(("std", "dtype"), [(0.1, np.float64), (0.01, np.float64), (0.1, np.float32)])
def test_a_check_of_weights_near_0_takes_few_evaluations(std, dtype):
    """Some of many weights are near 0 by chance: no length of f is theirs."""
    rng, calls = np.random.default_rng(0), []
    layers = [rng.normal(scale=std, size=(40, 40)).astype(dtype) for _ in range(3)]
    points = rng.normal(size=(20, 40)).astype(dtype)

    def f(layers):
        calls.append(0)
        hidden = points
        for weights in layers:
            hidden = np.tanh(hidden @ weights)
        return float(np.mean(hidden**2))

    slopes = numerical_gradient(f, layers, 1e-2 if dtype is np.float32 else 1e-5)
    calls.clear()
    assert check_gradient(f, slopes, layers, directions=1, rng=0, rtol=1e-2).ok
    assert len(calls) < 40


@pytest.mark.parametrize(
    ("f", "slope", "near"),
    [
        (lambda t: 16.0 * (1.0 - np.cos(t)), lambda t: 16.0 * np.sin(t), 5e-9),
        (lambda t: 8192.0 * (np.sqrt(1.0 + t * t) - 1.0), lambda t: 8192.0 * t, 1.87e-9),
        (lambda t: np.log(1.0 + t * t), lambda t: 2.0 * t, 1.5e-9),
        (lambda t: np.exp(t) - 1.0 - t, lambda t: t, 3.4e-8),
    ],
    ids=["cosine", "root", "logarithm", "exponential"],
)
def test_terms_that_cancel_next_to_a_small_x_make_no_form_of_f(f, slope, near):
    """What they round to is flat next to x, and noise: the slope is that from afar."""
    for x in near * 2.0 ** np.linspace(-1.0, 1.0, 21):
        right = check_gradient(lambda x: float(f(x[0])), np.array([slope(x)]), np.array([x]))
        assert right.ok, (x, str(right))
        assert not check_gradient(lambda x: float(f(x[0])), np.zeros(1), np.array([x]), atol=0.0, strict=True).ok


def test_no_step_of_a_small_x_leaves_the_bounds():
    outside = []

    def f(x):
        outside.extend(x[(x < low) | (x > high)])
        return float(np.sum(np.asarray(x, float) ** 2))

    for dtype, small in ((np.float64, 1e-7), (np.float32, 1e-3), (np.float16, 1e-2)):
        x = np.array([small, 1.0], dtype)
        low, high = np.array([x[0], 0.0]), np.array([x[0], 2.0])
        for options in ({"directions": 2, "rng": 0}, {"coordinates": [1]}):
            check_gradient(f, 2.0 * x.astype(float), x, bounds=(low, high), **options)
    assert not outside
