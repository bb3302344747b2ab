"""Digits that f loses inside: derivatives by automatic steps are right all the same, or what is left is warned of."""

import contextlib
import itertools
import math
import re
import warnings
from importlib.util import find_spec

import numpy as np
import pytest
from problems import compiled, needs_jit

from numgrad import (
    Gradient,
    Jacobian,
    SeparableObjective,
    directional_derivative,
    hessian_vector_product,
    numerical_diff,
    numerical_gradient,
    numerical_hessian,
    numerical_jacobian,
)

A = np.random.default_rng(0).normal(size=(4, 4))
NARROW = A.astype(np.float32)
X, V = np.array([0.3, -1.2, 2.0, 0.7]), np.array([1.0, -0.5, 0.3, 2.0])


def f(x):
    return float(np.sum(np.sin(A @ x)))


def gradient(x):
    return A.T @ np.cos(A @ x)


HESSIAN = -(A.T * np.sin(A @ X)) @ A


def noise(x):
    """Return a number from -1 to 1 that is another one at each point."""
    bits = np.bitwise_xor.reduce(
        np.frombuffer(np.asarray(x, float).tobytes(), np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    )
    return np.random.default_rng(int(bits) >> 1).uniform(-1.0, 1.0)


NOISY = {
    "computed in float32": lambda x: float(np.sum(np.sin(NARROW @ x.astype(np.float32)))),
    "a mean of float32": lambda x: float(np.mean(np.sin(NARROW @ x.astype(np.float32)).astype(float)[:3])) * 4.0 / 3.0,
    "x in float32": lambda x: f(x.astype(np.float32).astype(float)),
    "six decimals": lambda x: round(f(x), 6),
    "noise of 1e-6": lambda x: f(x) * (1.0 + 1e-6 * noise(x)),
    "noise of 1e-8": lambda x: f(x) * (1.0 + 1e-8 * noise(x)),
}


@pytest.mark.parametrize("name", NOISY)
def test_noise_of_any_kind_is_warned_of(name):
    with pytest.warns(RuntimeWarning, match=r"about 0 digits of the Hessian are right: the rounding of f, 4 eps"):
        numerical_hessian(NOISY[name], X.copy())
    with pytest.warns(RuntimeWarning, match=r"about [01] digits of the product are right: the rounding of f, eps"):
        hessian_vector_product(NOISY[name], X.copy(), V)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_noise_in_few_coordinates_is_warned_of(n):
    def g(x):
        return float(np.float32(np.exp(x).sum() / 3.0)) / 3.0

    x = np.array([0.3, 1.9, -0.4])[:n]
    with pytest.warns(RuntimeWarning, match="about 0 digits of the Hessian are right"):
        numerical_hessian(g, x)
    if n > 1:
        with pytest.warns(RuntimeWarning, match="about 0 digits of the product are right"):
            hessian_vector_product(g, x, np.ones(n))


def test_noise_of_elements_is_warned_of(recwarn):
    pytest.importorskip("scipy.sparse")
    exact = compiled(lambda z, scale: np.sin(scale * z[0] * z[1]) + z[0] ** 2)
    rounded = compiled(lambda z, scale: np.float32(np.sin(scale * z[0] * z[1])) / 3.0)
    rng = np.random.default_rng(1)
    for n in (60, 3000):  # so many that some are looked at, of several lengths in turn
        index, x = np.stack([np.arange(n), np.arange(n) + 1], axis=1), rng.uniform(0.5, 2.0, n + 1)
        rows = index if n == 60 else [row[: 2 + k % 2] for k, row in enumerate(np.c_[index, index[:, ::-1]])]
        numerical_hessian(SeparableObjective(exact, rows, rng.uniform(0.5, 1.0, n)), x)
        assert not recwarn
        with pytest.warns(RuntimeWarning, match="about [01] digits of the Hessian are right"):
            numerical_hessian(SeparableObjective(rounded, rows, rng.uniform(0.5, 1.0, n)), x)
        steps = numerical_hessian(SeparableObjective(exact, rows, np.ones(n)), x, np.full(n + 1, 1e-3))
        assert steps.shape == (n + 1, n + 1)  # a step of each coordinate, of which some elements read but a few


def outputs(x):
    return np.sin(A @ x) + (A @ x) ** 2


# Noise of 1e-6 of outputs of the size 1: what solvers with that tolerance, and decimals, leave.
NOISY_OUTPUTS = {
    "noise of 1e-6": lambda x: outputs(x) + 1e-6 * np.array([noise(x + k) for k in range(4)]),
    "noise of one output": lambda x: outputs(x) + 1e-6 * noise(x) * (np.arange(4) == 2),
    "six decimals": lambda x: np.round(outputs(x), 6),
    "a step of 1e-6 inside": lambda x: outputs(np.round(x, 6)),
    "complex": lambda x: np.round(np.exp(1j * (A @ x)), 6),
}


@pytest.mark.parametrize("name", NOISY_OUTPUTS)
@pytest.mark.parametrize("scheme", ["central", "forward", "central4"])
def test_noise_of_outputs_is_warned_of(name, scheme):
    g, few = NOISY_OUTPUTS[name], r"about [0-2] digits of the %s are right: the noise of f next to x"
    x = X + 1e-7
    if scheme == "central4":  # whose steps are so long that more noise is needed
        g = lambda x: outputs(x) + 1e-3 * np.array([noise(x + k) for k in range(4)])  # noqa: E731
    with pytest.warns(RuntimeWarning, match=few % "Jacobian"):
        numerical_jacobian(g, x.copy(), "auto", scheme=scheme)
    with pytest.warns(RuntimeWarning, match=few % "product"):
        directional_derivative(g, x.copy(), np.stack([V, 2.0 * V]), "auto", scheme=scheme)
    out = np.empty(g(x).shape + x.shape, g(x).dtype)
    with pytest.warns(RuntimeWarning, match=few % "Jacobian"):
        numerical_jacobian(g, x.copy(), "auto", scheme=scheme, out=out, bounds=(x - 1.0, x))
    pytest.importorskip("scipy.sparse")
    with pytest.warns(RuntimeWarning, match=few % "Jacobian"):
        numerical_jacobian(g, x.copy(), "auto", scheme=scheme, sparsity=np.ones((4, 4)))


def test_noise_of_a_gradient_is_warned_of(recwarn):
    def total(x):
        return float(outputs(x).sum())

    exact = (np.cos(A @ X) + 2.0 * (A @ X)) @ A
    few = r"about [0-2] digits of the gradient are right: the noise of f next to x"
    for size in (1.0, 0.05, 1e-3):  # in which longer steps may be better
        x = size * X + 1e-7 * size
        for h, options in (("auto", {}), ("auto", {"scheme": "forward"}), ("auto", {"coordinates": [2, 0, 2]})):
            numerical_gradient(total, x.copy(), h, **options)
            assert not recwarn
            with pytest.warns(RuntimeWarning, match=few):
                numerical_gradient(lambda x: total(x) + 1e-5 * noise(x), x.copy(), h, **options)
        with pytest.warns(RuntimeWarning, match=few):
            numerical_gradient(lambda x: total(x) + 1e-5 * noise(x), x.copy(), "auto", bounds=(x - 1.0, x))
        with pytest.warns(RuntimeWarning, match=few):
            numerical_gradient(lambda p: total(p["x"]) + 1e-5 * noise(p["x"]), {"x": x.copy()}, "auto")
    with pytest.warns(RuntimeWarning, match=few):
        assert np.abs(numerical_gradient(lambda x: round(total(x), 5), X.copy(), "auto") - exact).max() > 0.01


def jacobian_of_two(f, x, h):
    return numerical_jacobian(lambda x: np.array([f(x), x[2]]), x, h)[0]


@pytest.mark.parametrize("differentiate", [numerical_gradient, jacobian_of_two])
def test_noise_by_small_coordinates_beside_large_ones_is_warned_of(differentiate, recwarn):
    slopes, few, wrong = np.array([1.0, 0.7, -0.4]), "about [0-2] digits of the .* are right: the noise of f", 0
    for unit, small, seed in itertools.product((1e-3, 1.0, 1e3), (1e-4, 1e-5, 1e-7), range(8)):
        x = unit * np.random.default_rng(seed).uniform(0.5, 2.0, 3) * np.array([small, 1.0, 1.0])
        decimals = 4 - round(math.log10(small * unit))  # by which the small one is still seen

        def total(x, size=x[1]):
            return 3.0 + float(slopes @ x + x[1] * x[2] / size)

        def rounded(x, decimals=decimals, total=total):
            return round(total(x), decimals)

        differentiate(total, x.copy(), "auto")
        assert not recwarn
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = differentiate(rounded, x.copy(), "auto")
        if abs(found[0] - 1.0) > 0.02 and 10.0**-decimals > 1e-10 * unit:  # longer steps may tell it all the same
            wrong += 1
            assert [bool(re.match(few, str(warning.message))) for warning in caught] == [True]
    assert wrong >= 20


def test_a_large_coordinate_accuses_no_small_one(recwarn):
    """The rounding of the terms of others is no noise where these do not move, and f may ignore a coordinate."""
    for f in (
        lambda x: x[1] * x[1] - 1.0 + x[0],
        lambda x: float((x[1] ** 3 - 1.0) * 1e3 + x[0]),
        lambda x: round(math.sin(x[1]), 9),
        lambda x: math.cos(1e9 * x[0] - 1.0) + math.cos(x[1] - 1.0) - 2.0,
        lambda x: float(np.sum((x / np.array([1e-9, 1e-9])) ** 2)),
    ):
        numerical_gradient(f, np.array([1e-9, 1.0]), "auto")
        numerical_jacobian(lambda x, f=f: np.array([f(x), x[1]]), np.array([1e-9, 1.0]), "auto")
    assert [str(warning.message) for warning in recwarn] == []


@pytest.mark.parametrize("other", [math.nan, math.inf, -math.inf])
def test_noise_beside_a_derivative_that_is_not_finite_is_warned_of(other, recwarn):
    def total(x):
        return x[0] - x[2] * x[0] + (other if x[1] > 2.0 else 0.0)

    x, few = np.array([1.0, 2.0, 3.0]), r"about [01] digits of the %s are right: the noise of f"
    for noisy in (lambda x: total(x) + 1e-5 * noise(x), lambda x: round(total(x) + 0.1 * x[0] ** 2, 6)):
        for options in ({}, {"coordinates": [1, 2, 0]}):
            with pytest.warns(RuntimeWarning, match=few % "gradient"):
                numerical_gradient(noisy, x.copy(), "auto", **options)
        with pytest.warns(RuntimeWarning, match=few % "Jacobian"):
            numerical_jacobian(lambda x, f=noisy: np.array([f(x), x[0]]), x.copy(), "auto")
        with pytest.warns(RuntimeWarning, match=few % "Jacobian"):
            numerical_jacobian(lambda x, f=noisy: np.array([f(x), 1j * x[0], other]), x.copy(), "auto")
    assert not np.isfinite(numerical_gradient(total, x.copy(), "auto")[1])
    numerical_jacobian(lambda x: np.array([total(x), x[0], other]), x.copy(), "auto")
    assert [str(warning.message) for warning in recwarn] == []


STAIRS = {
    "float16": lambda z: z.astype(np.float16).astype(float),
    "three decimals": lambda z: np.round(z, 3),
    "an integer": lambda z: (1000.0 * z).astype(int) / 1000.0,
    "a table": lambda z: np.sin(np.linspace(-4.0, 4.0, 8001))[np.clip((z + 4.0) * 1000.0, 0, 8000).astype(int)],
}


@pytest.mark.parametrize("name", STAIRS)
def test_zeros_of_an_f_that_changes_by_steps_are_warned_of(name):
    stairs, rng, few = STAIRS[name], np.random.default_rng(5), "about [01] digits of the %s are right: the noise of f"
    for n in (1, 2, 3, 5):
        x, B = rng.uniform(0.6, 1.5, n) + 1e-5, rng.normal(size=(3, n)) / n

        def inside(x, B=B):
            return float(np.sin(B @ stairs(x)).sum())

        def at_last(x, B=B):
            return stairs(np.array([np.sin(B @ x).sum()])).item()

        for f in (inside, at_last):
            with pytest.warns(RuntimeWarning, match=few % "gradient"):
                numerical_gradient(f, x.copy(), "auto")
            with pytest.warns(RuntimeWarning, match=few % "product"):
                directional_derivative(f, x.copy(), rng.uniform(0.5, 1.0, n), "auto")
        with pytest.warns(RuntimeWarning, match=few % "gradient"):  # by one coordinate of some
            numerical_gradient(lambda x: float(x[-1]) + stairs(x[:1]).item() + np.sin(x[-1]), np.append(x, 0.7), "auto")
        with pytest.warns(RuntimeWarning, match=few % "Jacobian"):  # by one output of some
            numerical_jacobian(lambda x, f=at_last: np.append(x, f(x)), x.copy(), "auto")


ZEROS = {
    "constant": lambda x: 3.0,
    "of one coordinate": lambda x: float(np.exp(x[0])),
    "even": lambda x: float(np.cos(x - X).sum()),
    "even by one": lambda x: float(np.cos(x[0] - X[0]) + x[1:].sum()),
    "even beside a constant": lambda x: 1e5 + float(((x - X) ** 2).sum()),
    "a step": lambda x: float(x[0] > 0.3001),
    "a few steps": lambda x: float(np.floor(x).sum()),
    "a unit that is dead": lambda x: float(np.maximum(x - X - 0.001, 0.0).sum()) + x[0],
    "units that are dead": lambda x: float((np.maximum(x - X - 0.001, 0.0) ** 2).sum()),
    "clipped": lambda x: float(np.clip(10.0 * x, -1.0, 1.0).sum()),
    "the largest": lambda x: float(x.max()),
    "saturated": lambda x: float(1.0 / (1.0 + np.exp(-36.0 - x.sum()))),
    "saturated beside others": lambda x: float(np.tanh(60.0 * x).sum() + x[0]),
    "not defined there": lambda x: 0.0 if abs(x[0] - 0.3) < 1e-3 else math.nan,
}


@pytest.mark.parametrize("name", ZEROS)
def test_zeros_that_are_right_are_not_warned_of(name, recwarn):
    f, calls = ZEROS[name], []
    numerical_gradient(lambda x: calls.append(0) or f(x), X.copy(), "auto")
    assert len(calls) <= 2 * 4 + 2 + 4 or "step" in name
    numerical_jacobian(lambda x: np.array([f(x), x[1]]), X.copy(), "auto")
    directional_derivative(f, X.copy(), V, "auto")
    assert [str(warning.message) for warning in recwarn] == []


@pytest.mark.parametrize("scheme", ["central", "forward"])
def test_noise_of_the_derivative_of_one_number_is_warned_of(scheme, recwarn):
    few, wrong = r"about [0-2] digits of the derivative are right: the noise of f next to x", 0

    def smooth(x):
        return np.sin(3.0 * x) + x**2

    for x in (0.3, 2.0, 0.01, 0.05, np.array([0.7]), 12.0):
        for f in (lambda x: smooth(x) + 1e-5 * noise(np.ravel(x)), lambda x: np.round(smooth(x), 5)):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                found = numerical_diff(f, x, "auto", scheme=scheme)
            if abs(found - 3.0 * np.cos(3.0 * x) - 2.0 * x) > 0.1 * abs(3.0 * np.cos(3.0 * x) + 2.0 * x):
                wrong += 1
                assert [bool(re.match(few, str(warning.message))) for warning in caught] == [True]
        numerical_diff(smooth, x, "auto", scheme=scheme)
    assert wrong >= 5
    calls = []
    for x in (0.3, np.pi / 6.0, 2.0):
        numerical_diff(lambda x: calls.append(0) or float(smooth(x)), x, "auto", scheme=scheme)
    assert len(calls) == 3 * (2 + 1)
    assert [str(warning.message) for warning in recwarn] == []


@needs_jit
def test_a_compiled_f_is_looked_at_for_noise_at_some_calls():
    f = compiled(lambda x: np.round(np.sin(x[0]) + x[1] ** 2, 6))
    for call in range(1, 10):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            numerical_gradient(f, np.array([0.3, 0.7]), "auto")
        assert len(caught) == (call in (1, 2, 4, 8))


def test_noise_of_a_compiled_f_and_of_one_number_is_warned_of():
    g = compiled(lambda x: np.round(np.sin(x) + x**2, 6))
    with pytest.warns(RuntimeWarning, match="digits of the Jacobian are right: the noise of f"):
        numerical_jacobian(g, X.copy(), "auto")
    for h in (g, NOISY["six decimals"]):
        with pytest.warns(RuntimeWarning, match="digits of the product are right: the noise of f"):
            directional_derivative(h, X.copy(), V, "auto")


def test_noise_is_warned_of_by_callables():
    jacobian = Jacobian(lambda x: np.round(np.sin(x) + x**2, 6), h="auto")
    for call in (jacobian, jacobian.value_and_jacobian):
        with pytest.warns(RuntimeWarning, match="digits of the Jacobian are right: the noise of f"):
            call(X.copy())


def test_the_noise_of_a_gradient_is_warned_of_where_each_element_has_its_own():
    pytest.importorskip("scipy.sparse")
    with pytest.warns(RuntimeWarning, match="digits of the Hessian are right: the noise of f"):
        numerical_hessian(None, X.copy(), gradient=lambda x: np.round(np.sin(x), 6), sparsity=np.eye(4))


SMOOTH = [
    lambda z, x: np.sin(z),
    lambda z, x: np.exp(z),
    lambda z, x: z**4 - z**2,
    lambda z, x: 1.0 / (1.0 + z * z),
    lambda z, x: np.cos(x[0]) - 1.0,
    lambda z, x: (z + 1e2) ** 3 - 1e6 - 3e4 * z,
    lambda z, x: np.prod(x) - 1.0,
    lambda z, x: 0.0 * z,
]


@pytest.mark.parametrize("seed", range(8))
def test_smooth_outputs_are_not_warned_of(seed, recwarn):
    rng = np.random.default_rng(seed)
    for _ in range(40):
        n, m = rng.integers(1, 6, 2)
        B, b, kinds = rng.normal(size=(m, n)), rng.normal(size=m), rng.integers(0, len(SMOOTH), m)
        c, offset = 10.0 ** rng.uniform(-6, 6, m), rng.choice([0.0, 1.0, 1e3], m)
        x = [rng.normal(size=n), np.round(rng.normal(size=n)), np.zeros(n), 1e2 * rng.normal(size=n)][rng.integers(4)]

        def g(x, B=B, b=b, kinds=kinds, c=c, offset=offset):
            each = zip(kinds, B @ x + b, strict=True)
            # Of what is smaller than exp(-15) beside an offset of 1000, rounding hides the derivative, which is told.
            return c * (offset + np.array([SMOOTH[k](np.clip(z, -15.0, 30.0), x) for k, z in each]))

        numerical_jacobian(g, x.copy(), "auto")
        directional_derivative(g, x.copy(), rng.normal(size=n), "auto")
    assert [str(warning.message) for warning in recwarn] == []


def test_what_tells_noise_takes_few_evaluations():
    calls = []

    def g(x):
        calls.append(0)
        return outputs(x)

    for scheme, each in (("central", 2), ("forward", 1), ("central4", 4)):
        calls.clear()
        numerical_jacobian(g, X.copy(), "auto", scheme=scheme)
        assert len(calls) == each * 4 + 2
        calls.clear()
        directional_derivative(g, X.copy(), np.stack([V, V]), "auto", scheme=scheme)
        assert len(calls) == each * 2 + 1 + (scheme != "central")
        calls.clear()
        numerical_jacobian(g, X.copy(), 1e-4, scheme=scheme)
        assert len(calls) == each * 4 + 1


@pytest.mark.parametrize("scheme", ["central", "forward", "backward"])
def test_no_three_digits_are_warned_of(scheme):
    rng, few = np.random.default_rng(0), 0
    for size in 10.0 ** rng.uniform(0.0, 3.5, 40):
        x = rng.normal(size=2)
        exact = -np.outer(B := np.array([1.0, -0.5]), B) * math.sin(B @ x)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = numerical_hessian(lambda x, size=size, B=B: size + math.sin(B @ x), x, scheme=scheme)
        error = np.abs(found - exact).max() / np.abs(exact).max()
        assert error < (1e-3 if not caught else 1.0)
        assert not any("about 3" in str(warning.message) for warning in caught)
        few += bool(caught)
    assert few or scheme == "central"


ROUNDED = {
    "at last": lambda x: gradient(x).astype(np.float32).astype(float),
    "inside": lambda x: (NARROW.T @ np.cos(NARROW @ x.astype(np.float32))).astype(float),
}


@pytest.mark.parametrize("name", ROUNDED)
def test_what_rounds_to_float32_takes_steps_for_that(name, recwarn):
    rounded, calls = ROUNDED[name], []
    exact = HESSIAN @ V

    def counted(x):
        calls.append(0)
        return rounded(x)

    assert np.abs(numerical_jacobian(counted, X.copy(), "auto") - HESSIAN).max() < 2e-4
    assert len(calls) == 2 * 4 + 2
    assert np.abs(directional_derivative(rounded, X.copy(), V, "auto") - exact).max() < 4e-4
    assert np.abs(hessian_vector_product(None, X.copy(), V, gradient=rounded) - exact).max() < 4e-4
    assert np.abs(numerical_hessian(None, X.copy(), gradient=rounded) - HESSIAN).max() < 2e-4
    assert abs(directional_derivative(lambda x: float(np.float32(f(x))), X.copy(), V, "auto") - gradient(X) @ V) < 2e-4
    assert not recwarn


def test_a_gradient_that_is_not_symmetric_is_warned_of():
    def mixed(x):
        return A.T @ np.cos(NARROW @ x.astype(np.float32))

    for options in ({}, {"sparsity": np.ones((4, 4))}):
        if options:
            pytest.importorskip("scipy.sparse")
        with pytest.warns(RuntimeWarning, match="about 2 digits of the Hessian are right: half of what"):
            numerical_hessian(None, X.copy(), gradient=mixed, **options)
    numerical_hessian(None, X.copy(), 1e-2, gradient=gradient)


@pytest.mark.parametrize("seed", range(40))
def test_smooth_functions_are_not_warned_of(seed):
    rng = np.random.default_rng(seed)
    n, m = rng.integers(1, 7, 2)
    B, b, c = rng.normal(size=(m, n)), rng.normal(size=m), rng.normal(size=m) * 10.0 ** rng.uniform(-9, 9)
    x, v = rng.normal(size=n), rng.normal(size=n)
    x = np.round(x, 1) if seed % 3 == 0 else x
    kinds = np.sin, np.exp, lambda z: z**4 + z**2, lambda z: 1.0 / (1.0 + z * z), lambda z: np.logaddexp(0.0, z)

    def g(x):
        return float(c @ kinds[seed % len(kinds)](B @ x + b))

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        numerical_hessian(g, x)
        hessian_vector_product(g, x, v)
        directional_derivative(g, x, v, "auto")
        numerical_jacobian(lambda x: np.sin(B @ x), x, "auto")
    assert [str(warning.message) for warning in caught] == []


def test_nothing_is_asked_beyond_bounds():
    outside = []

    def g(x):
        outside.extend(x[(x < 0.0) | (x > 1.0)])
        return np.float32(np.sin([x @ x, x[0]])).astype(float)

    for x in (np.array([0.0, 1.0, 0.3]), np.array([1.0, 1.0, 1.0])):
        directional_derivative(g, x, np.sign(0.5 - x), "auto", bounds=(0.0, 1.0))
        numerical_jacobian(g, x, "auto", bounds=(0.0, 1.0))
    assert not outside


@pytest.mark.parametrize("scheme", ["central", "forward", "backward", "central4", "central6"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_no_look_leaves_the_bounds_however_near_they_are(scheme, dtype):
    rng = np.random.default_rng(1)
    kinds = (
        lambda x: np.sin(x).sum(),
        lambda x: 1e10 + x @ x,
        lambda x: np.round(np.sin(x).sum(), 5),
        lambda x: float(np.float32(np.exp(-x @ x))),
        lambda x: 5.0 + 0.0 * x[0],
        lambda x: np.exp(x.sum()) - 1.0,
    )
    for _ in range(60):
        n, (low, high), outside = rng.integers(1, 4), np.full((2, 3), [[-np.inf], [np.inf]]), []
        x, v = (rng.normal(size=n) * 10.0 ** rng.integers(-8, 4, n)).astype(dtype), rng.normal(size=n)
        low, high = low[:n], high[:n]
        for end, sign in ((low, -1.0), (high, 1.0)):
            room = np.abs(x) * 10.0 ** rng.uniform(-9, 0, n) * rng.choice([0.0, 1.0], n, p=[0.3, 0.7])
            near = rng.random(n) < 0.3
            end[near] = (x + sign * room)[near]
        kind, h = kinds[rng.integers(len(kinds))], "auto" if rng.random() < 0.7 else 10.0 ** rng.uniform(-7, -3)

        def f(z, low=low, high=high, outside=outside, kind=kind):
            outside.extend(z[(z < low) | (z > high)])
            return float(kind(z.astype(np.float64)))

        options, whole = {"scheme": scheme, "bounds": (low, high)}, np.ones((n, n))
        for derivative in (
            lambda f=f, x=x, o=options, h=h: numerical_gradient(f, x, h, **o),
            lambda f=f, x=x, o=options, h=h, v=v: directional_derivative(f, x, [v, -v], h, **o),
            lambda f=f, x=x, o=options, h=h, v=v: directional_derivative(lambda z: np.array([f(z)]), x, v, h, **o),
            lambda f=f, x=x, o=options, h=h: numerical_jacobian(lambda z: np.array([f(z), 1.0]), x, h, **o),
            lambda f=f, x=x, o=options, h=h: numerical_hessian(f, x, h, **o),
            lambda f=f, x=x, o=options, h=h, p=whole: numerical_hessian(f, x, h, sparsity=p, **o),
        ):
            with contextlib.suppress(ValueError):  # no room for a step
                derivative()
        assert not outside


@pytest.mark.parametrize("size", [5e-324, 1e-300, 1e-160, 1.0, 1e154, 1e300, 1e308])
def test_nothing_is_raised_next_to_the_ends_of_the_numbers(size):
    x, v = np.array([size, 1.0]), np.array([min(size, 1e300), 1.0])

    def h(x):
        return float((x[0] / size) ** 2 * x[1])

    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        numerical_hessian(h, x)
        assert hessian_vector_product(h, x, np.ones(2)).shape == (2,)
        if size > 5e-324:  # whose multiples by parts of 1 are lost
            hessian_vector_product(h, x, v)
            hessian_vector_product(None, x, v, gradient=lambda x: np.array([x[0] / size * x[1], x[1]]))
        pytest.importorskip("scipy.sparse")
        numerical_hessian(h, x, sparsity=np.ones((2, 2)))


def silently(g, unit):
    def h(x):
        with np.errstate(all="ignore"):
            return unit * g(x)

    return h


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("unit", [1e-310, 1.0, 1e300])
def test_no_jacobian_raises_next_to_the_ends_of_the_numbers(unit, kind):
    for g in (np.sin, lambda x: np.append(x, np.nan), np.zeros_like, lambda x: np.float32(x**2).astype(float)):
        for first in (np.finfo(kind).max, 5e-324 if kind is np.float64 else 0.0, 0.7):
            x, h = np.array([first, 1.0], kind), silently(g, unit)
            with np.errstate(all="raise"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                size = len(h(x))
                assert numerical_jacobian(h, x, "auto").shape == (size, 2)
                assert numerical_diff(silently(np.sin, unit), x, order=6).shape == (2,)
                for v in (np.ones(2), np.arange(6.0).reshape(3, 2)):
                    assert directional_derivative(h, x, v, "auto").shape == (*v.shape[:-1], size)
                assert numerical_gradient(silently(lambda x: float(np.sin(x).sum()), unit), x, "auto").shape == (2,)
                if kind is np.float64 and find_spec("scipy"):
                    assert numerical_jacobian(h, x, "auto", sparsity=np.ones((size, 2))).shape == (size, 2)


def test_noise_beside_an_output_without_a_value_is_warned_of():
    def h(x):
        return np.array([np.nan, np.inf, x[0] * (1.0 + 1e-6 * noise(x)), x[1]])

    x = np.array([1.0, 2.0])
    with np.errstate(invalid="ignore"):
        with pytest.warns(RuntimeWarning, match=r"about [01] digits of the product .* is to be compared with 1;"):
            directional_derivative(h, x, np.ones(2), "auto")
        with pytest.warns(RuntimeWarning, match=r"about [01] digits of the Jacobian .* is to be compared with 1;"):
            numerical_jacobian(h, x, "auto")


def test_noise_along_a_line_is_warned_of_with_progress_too():
    def h(x):
        return np.array([x[0] * (1.0 + 1e-6 * noise(x)), x[1]])

    for progress in (False, lambda *_: None):
        with pytest.warns(RuntimeWarning, match=r"about [01] digits of the product are right"):
            directional_derivative(h, np.array([1.0, 2.0]), np.ones(2), "auto", progress=progress)


def test_a_gradient_of_no_coordinate_has_no_hessian(recwarn):
    assert numerical_hessian(None, np.empty(0), gradient=np.cos).shape == (0, 0)
    pytest.importorskip("scipy.sparse")
    assert numerical_hessian(None, np.empty(0), gradient=np.cos, sparsity=np.ones((0, 0))).shape == (0, 0)
    assert not recwarn


@pytest.mark.parametrize("missing", [0.0, 0.1])
def test_a_sparse_hessian_of_an_f_that_stores_x_in_float32_is_warned_of(missing):
    pytest.importorskip("scipy.sparse")
    x = np.random.default_rng(2).normal(size=8)
    pattern = np.abs(np.subtract.outer(range(8), range(8))) <= 1

    def h(x):
        z = x.astype(np.float32).astype(float)
        return float(np.sum(np.sin(z[1:] * z[:-1])) + missing * z[0] * z[7])

    with pytest.warns(RuntimeWarning, match="about 0 digits of the Hessian are right"):
        numerical_hessian(h, x, sparsity=pattern)


@pytest.mark.parametrize("other", [math.nan, math.inf])
@pytest.mark.parametrize("order", [1, -1])
def test_an_output_that_tells_nothing_hides_no_float32(other, order):
    x = np.array([1.3, 1.1])
    found = numerical_jacobian(lambda x: np.append(np.float32(np.cos(x)), other)[::order], x, "auto")[::order]
    assert found[:2] == pytest.approx(np.diag(-np.sin(x)), abs=2e-4)


def test_a_hessian_that_is_resumed_is_judged_as_a_whole(recwarn):
    out, calls = numerical_hessian(f, X.copy()), []
    out[0, 1] = math.nan
    numerical_hessian(lambda x: calls.append(0) or f(x), X.copy(), out=out, resume=True)
    assert len(calls) == 1 + 2 * 4 + 2 + 2  # f(x), the coordinates, the pair, and a line
    assert np.abs(out - HESSIAN).max() < 1e-6
    assert not recwarn
    out[0, 1] = math.nan
    with pytest.warns(RuntimeWarning, match="about 0 digits of the Hessian are right"):
        numerical_hessian(NOISY["six decimals"], X.copy(), out=out, resume=True)


@pytest.mark.parametrize("bits", [18, 24])
def test_a_unit_of_all_values_that_hides_curvature_is_warned_of(bits):
    with pytest.warns(RuntimeWarning, match="about 0 digits of the Hessian are right"):
        numerical_hessian(lambda x: round((10.0 + math.cos(x[0])) * 2.0**bits) / 2.0**bits, np.array([0.01]))


FEW = {
    "two decimals": lambda value: round(value, 2),
    "three decimals": lambda value: round(value, 3),
    "five decimals": lambda value: round(value, 5),
    "seven decimals": lambda value: round(value, 7),
    "four digits": lambda value: float(f"{value:.4g}"),
    "seven digits": lambda value: float(f"{value:.6e}"),
    "parts of 2**-12": lambda value: math.floor(4096.0 * value) / 4096.0,
    "a table": lambda value: math.exp(round(math.log(value) * 3000.0) / 3000.0),
}


@pytest.mark.parametrize("sparsity", [None, np.ones((3, 3))], ids=["dense", "sparse"])
@pytest.mark.parametrize("name", FEW)
def test_so_few_digits_that_no_step_changes_f_are_warned_of(name, sparsity):
    few, rng = FEW[name], np.random.default_rng(3)
    units = [np.full(3, 10.0**-k) for k in (0, 1, 2, 3, 4, 6)]
    for unit in [*units, np.array([1.0, 1e-3, 1e-5])]:
        x, B = unit * rng.uniform(0.4, 1.0, 3), 20.0 * rng.normal(size=(5, 3))
        with pytest.warns(RuntimeWarning, match="about 0 digits of the Hessian are right: the rounding of f"):
            numerical_hessian(lambda x, B=B: few(float(np.log1p(np.exp(B @ x)).sum())), x, sparsity=sparsity)


@pytest.mark.parametrize("decimals", [2, 4, 6])
def test_zeros_of_the_hessian_by_a_gradient_of_few_digits_are_warned_of(decimals):
    for unit in (1.0, 0.1, 1e-2, 1e-4, 1e-6):
        x, calls = unit * X, []
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            found = numerical_hessian(None, x, gradient=lambda x: np.round(gradient(x) + A @ A @ x, decimals))
        assert seen or np.abs(found).min() > 0.0
        found = numerical_hessian(None, x, gradient=lambda x, calls=calls: calls.append(0) or gradient(x))
        assert len(calls) <= 70


LINEAR = {
    "of whole numbers": lambda x: float(3.0 * x[0] - 2.0 * x[1] + 0.5),
    "of decimals": lambda x: float(0.1 * x[0] + 0.7 * x[1]),
    "of one coordinate": lambda x: float(x[0]),
    "a constant of decimals": lambda x: 0.125,
    "a unit that is dead": lambda x: max(0.0, float(x.sum()) - 50.0) + 0.25,
}


@pytest.mark.parametrize("x", [[1.0, 2.0], [0.3, 0.7], [0.01, 0.25], [1e-3, 1e-5]], ids=str)
@pytest.mark.parametrize("name", LINEAR)
def test_values_that_happen_to_be_short_are_no_few_digits(name, x, recwarn):
    calls = []
    found = numerical_hessian(lambda x: calls.append(0) or LINEAR[name](x), np.array(x))
    assert np.abs(found).max() < 1e-5
    assert not [warning for warning in recwarn if not found.any()]


FEW_OF_OUTPUTS = {
    "three decimals": lambda values, x: np.round(values, 3),
    "seven decimals": lambda values, x: np.round(values, 7),
    "a tolerance": lambda values, x: values + 1e-6 * noise(x),
    "five digits": lambda values, x: np.array([float(f"{value:.5g}") for value in values]),
}


@pytest.mark.parametrize("unit", [0.1, 0.03, 1e-3, 1e-5, "several", "one"], ids=str)
@pytest.mark.parametrize("name", FEW_OF_OUTPUTS)
def test_noise_of_a_sparse_jacobian_at_small_coordinates_is_warned_of(name, unit, recwarn):
    n, rng = 15, np.random.default_rng(2)
    if isinstance(unit, str):
        unit = np.where(np.arange(n) == 4, 1e-4, 1.0) if unit == "one" else 10.0 ** rng.integers(-5, 1, n)
    pattern = np.abs(np.subtract.outer(np.arange(n), np.arange(n))) < 2
    B, x = pattern * rng.normal(size=(n, n)), unit * rng.uniform(0.3, 0.9, n)

    def smooth(x):
        return np.log1p(np.exp(B @ x)) + (B @ x) ** 2

    exact = (1.0 / (1.0 + np.exp(-B @ x)) + 2.0 * (B @ x))[:, np.newaxis] * B
    for scheme in ("central", "forward"):
        found = numerical_jacobian(smooth, x.copy(), "auto", sparsity=pattern, scheme=scheme).toarray()
        assert np.abs(found - exact).max() < 1e-4
    assert not recwarn
    with pytest.warns(RuntimeWarning, match=r"about [0-2] digits of the Jacobian are right: the noise of f next to x"):
        numerical_jacobian(lambda x: FEW_OF_OUTPUTS[name](smooth(x), x), x.copy(), "auto", sparsity=pattern)


def sines_and(x, c):
    return np.sum(np.sin(x)) + c


OFFSET = {
    "gradient": lambda f, x: numerical_gradient(lambda x: float(f(x).sum()), x, "auto"),
    "compiled gradient": lambda f, x: numerical_gradient(compiled(sines_and), x, "auto", args=(f.c,)),
    "Jacobian": lambda f, x: numerical_jacobian(f, x, "auto"),
    "derivative": lambda f, x: numerical_diff(f, x[0], "auto"),
    "product": lambda f, x: directional_derivative(f, x, np.ones(x.size), "auto"),
}


class Offset:
    """A smooth function beside a constant `c`."""

    def __init__(self, c):
        self.c = c

    def __call__(self, x):
        return np.sin(x) + self.c


@pytest.mark.parametrize("what", OFFSET)
def test_a_constant_that_leaves_few_digits_is_warned_of(what, recwarn):
    x = np.array([0.3, 1.1, 2.0])
    for c in (0.0, -1e3, 1e6):
        OFFSET[what](Offset(c), x.copy())
    assert not recwarn
    for c in (1e10, -1e11, 1e12):  # of the last, some derivatives are 0
        with pytest.warns(RuntimeWarning, match="about [01] digits of the .* are right: the noise of f"):
            OFFSET[what](Offset(c), x.copy())


def test_a_constant_does_not_accuse_what_is_0_at_a_minimum(recwarn):
    for off in (0.0, 1e-9, 1e-6):
        x = np.array([1.0, -2.0]) + off
        numerical_gradient(lambda x: 1e3 + (x[0] - 1.0) ** 2 + (x[1] + 2.0) ** 2, x, "auto")
        numerical_gradient(lambda x: 1e8 + math.cos(x[0] - 1.0) + math.cosh(x[1] + 2.0), x, "auto")
        numerical_jacobian(lambda x: np.array([1e15, x[0] * x[1]]), x, "auto")
        numerical_gradient(lambda x: 1e15, x, "auto")
        numerical_diff(lambda t: 1e12 + (t - 1.0) ** 2, 1.0 + off, "auto")
    assert not recwarn


@pytest.mark.parametrize("bounds", [None, (-math.inf, math.inf)])
def test_an_infinite_coordinate_has_no_noise(bounds):
    """Its derivative is NaN, and the others are what they are."""
    for dtype in (np.float64, np.float32):
        for x in ([math.inf], [-math.inf, 0.3, 2.0]):
            with pytest.warns(RuntimeWarning, match="is lost in round-off"):
                found = numerical_gradient(lambda x: float(abs(x[0])), np.array(x, dtype), "auto", bounds=bounds)
            assert math.isnan(found[0])
            with pytest.warns(RuntimeWarning, match="is lost in round-off"):
                numerical_jacobian(lambda x: np.array([3.0]), np.array(x, dtype), "auto", bounds=bounds)


def test_zeros_take_few_evaluations_more():
    for f, x, most in (
        (lambda x: float(np.cos(x).sum()), np.zeros(3), 12),  # even
        (lambda x: float(np.floor(10.0 * x).sum()), np.array([1.05, 2.55]), 45),  # fewer steps than digits would make
        (lambda x: float((x * x).sum() + 1e12), np.array([1.0, -7.4, 69.4]), 10),
        (lambda x: float(x[0] ** 2), np.ones(3), 9),
    ):
        calls = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            numerical_gradient(lambda x, f=f, calls=calls: (calls.append(None), f(x))[1], x, "auto")
        assert len(calls) <= most


def test_zeros_of_float32_inside_by_one_sided_steps_are_warned_of():
    """At a single place a value may be another one a part of a step beside it by chance."""
    for seed in range(60):
        x = np.random.default_rng(seed).uniform(1.0, 5.0, 1)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = numerical_gradient(
                lambda y: float((y.astype("f4").astype(float) ** 2).sum()), x, "auto", scheme="forward"
            )
        assert caught or abs(found[0] / x[0] / 2.0 - 1.0) < 0.05, seed


PRODUCTS = {
    "4 decimals": lambda value: round(value, 4),
    "6 decimals": lambda value: round(value, 6),
    "6 digits": lambda value: float(f"{value:.6g}"),
    "float32": lambda value: float(np.float32(value)),
}


@pytest.mark.parametrize("digits", PRODUCTS)
def test_a_product_of_a_hessian_of_few_digits_is_right_or_warned_of(digits, recwarn):
    """Of values of f, with longer steps of small coordinates too; a smooth f is not accused."""
    for unit, seed in itertools.product((1.0, 0.1, 1e-2, 1e-4, 1e-6), range(4)):
        rng = np.random.default_rng(seed)
        B, x, v = rng.normal(size=(4, 4)), unit * rng.uniform(0.3, 1.0, 4), rng.normal(size=4)
        exact = (B.T * (2.0 - np.sin(B @ x))) @ (B @ v)

        def smooth(x, B=B):
            return float(np.sum(np.sin(B @ x) + (B @ x) ** 2 + 1.0))

        assert not recwarn
        np.testing.assert_allclose(hessian_vector_product(smooth, x, v), exact, atol=1e-3 * np.abs(exact).max())
        assert not recwarn
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = hessian_vector_product(lambda x, f=smooth: PRODUCTS[digits](f(x)), x, v)
        assert caught or np.abs(found - exact).max() < 0.01 * np.abs(exact).max()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_noise_of_a_hessian_of_a_matrix_within_bounds_is_warned_of(dtype):
    x = np.array([[0.3, 1.0], [-0.7, 2.0]], dtype)
    for bounds in ((-9.0, 9.0), (x - 1.0, x + 1.0)):
        with pytest.warns(RuntimeWarning, match="digits of the Hessian are right"):
            numerical_hessian(lambda x: round(float(np.exp(x).sum()), 5), x, bounds=bounds)


def test_columns_by_longer_steps_alone_have_no_noise_to_look_for(recwarn):
    pytest.importorskip("scipy.sparse")
    for seed in range(40):
        at, width = 0.03 + np.random.default_rng(seed).uniform(-1e-4, 1e-4), 0.1

        def f(x, at=at, width=width):
            return 10.0 + np.exp(-(((x - at) / width) ** 2))

        numerical_jacobian(f, np.array([0.03]), "auto", sparsity=[[True]])
        numerical_hessian(None, np.array([0.03]), "auto", gradient=f, sparsity=[[True]])
    assert not recwarn


@pytest.mark.parametrize("unit", [1e-12, 1e-4, 1e-2, 1.0, 1e6, 1e13])
def test_products_of_a_linear_f_are_not_warned_of(unit, recwarn):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x, a, v = rng.normal(size=(3, 3)) * np.array([[unit], [1.0], [1.0]])
        hessian_vector_product(lambda x, a=a: float(a @ x), x, v)
        hessian_vector_product(lambda x: float(3.0 * x[0] + 1.0), x, v)
    assert not recwarn


@pytest.mark.parametrize("constant", [1e10, -3e11, 2e12])
@pytest.mark.parametrize("at", [1e-6, -2e-3, 0.05, 0.7, -3.0])
def test_a_slope_beside_a_large_constant_is_warned_of(constant, at):
    def f(x):
        return float(constant + np.sum(np.sin(x)) + 2.0 * x[0])

    x, v = np.array([at, 1.3 * at]), np.array([1.0, 0.5])
    for derivative in (
        lambda: numerical_gradient(f, x, "auto"),
        lambda: numerical_gradient(f, x, "auto", scheme="forward"),
        lambda: numerical_jacobian(lambda x: np.array([f(x)]), x, "auto"),
        lambda: directional_derivative(f, x, v, "auto"),
    ):
        with pytest.warns(RuntimeWarning, match=r"about [01] digits of the \w+ are right: the noise of f next to x"):
            derivative()


@pytest.mark.parametrize("digits", [5, 7, "noise"])
def test_noise_along_directions_of_small_coordinates_is_warned_of(digits):
    """One sample of noise may be small by chance: of 50 wrong products one is not told."""
    rng, wrong, told = np.random.default_rng(4), 0, 0
    for _ in range(50):
        n = rng.integers(1, 4)
        x, v, a = rng.normal(size=n) * 10.0 ** rng.uniform(-6, -1, n), rng.normal(size=n), rng.normal(size=n)

        def f(z, a=a):
            total = float(np.sum(np.sin(a + z)))
            return total + rng.normal(scale=1e-8) if digits == "noise" else round(total, digits)

        for g in (f, lambda z, f=f: np.array([f(z), 0.0])):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                found = directional_derivative(g, x, v, "auto")
            if abs(np.ravel(found)[0] - np.cos(a + x) @ v) > 0.01 * np.abs(v).sum():
                wrong += 1
                told += any("digits of the product are right: the noise of f" in str(each.message) for each in caught)
    assert wrong > 80
    assert told >= 0.98 * wrong


SUMS = {  # smooth f, whose curvature is that of f + c too
    "even": lambda x: float(np.sum(x**2)),
    "mixed": lambda x: float(x[0] * x[1] - x[1] ** 2),
    "exp": lambda x: float(np.exp(0.3 * x).sum()),
}


@pytest.mark.parametrize("name", SUMS)
@pytest.mark.parametrize("constant", [1e10, -3e11, 1e12])
@pytest.mark.parametrize("at", [(0.0, 0.0), (1.3, 2.1), (0.7, -4.0)])
def test_second_derivatives_beside_a_large_constant_are_warned_of(name, constant, at):
    def f(x):
        return SUMS[name](x) + constant

    for derivative in (numerical_hessian, lambda f, x: hessian_vector_product(f, x, np.array([1.0, 0.5]))):
        with pytest.warns(RuntimeWarning, match=r"digits of the .* are right: the rounding of f"):
            derivative(f, np.array(at))


@pytest.mark.parametrize("order", [2, 3, 4])
@pytest.mark.parametrize("at", [0.0, 1.3, -0.4])
def test_higher_derivatives_beside_a_large_constant_are_warned_of(order, at):
    for constant in (1e10, -3e11, 1e12):
        for f in (lambda t: np.cos(t) + np.sin(t), lambda t: t**2 + t, lambda t: t**2):
            with pytest.warns(RuntimeWarning, match=f"of the derivative of order {order} (is|are) right"):
                numerical_diff(lambda t, c=constant, f=f: f(t) + c, np.array([at]), order=order)


def test_zeros_that_longer_steps_give_too_are_warned_of():
    def f(x):
        return float(np.sum(np.cosh(x)) + 1e6)

    options = {"h": "auto", "scheme": "backward"}
    for make in (lambda x: numerical_gradient(f, x, **options), Gradient(f, **options)):
        with pytest.warns(RuntimeWarning, match="about 0 digits of the gradient are right"):
            assert not make(np.array([0.002, 1e-5])).any()


def test_a_flat_minimum_beside_a_constant_has_right_zeros(recwarn):
    for f in (lambda x: float(np.sum(x**6) + 1.0), lambda x: float(np.sum(x**4) + 1000.0)):
        numerical_hessian(f, np.zeros(2))
        hessian_vector_product(f, np.zeros(2), np.ones(2))
        numerical_diff(lambda t, f=f: f(np.array([t])), 0.0, order=2)
    assert not recwarn


def test_a_product_beside_a_coordinate_of_another_unit_is_known(recwarn):
    """The values by which the one element is taken count, not those by a longer step of the other coordinate."""
    x, v = np.array([0.7, 0.4e-6]), np.array([1.0, 0.0])
    found = hessian_vector_product(lambda x: np.exp(x[0]) + np.exp(x[1] / 1e-6), x, v)
    assert found[0] == pytest.approx(math.exp(0.7), rel=1e-6)
    assert not recwarn


def test_a_product_that_is_zero_is_not_warned_of(recwarn):
    """Along a vector on which f does not depend, and for a linear f, what is found is rounding."""
    rng = np.random.default_rng(3)
    for n in (2, 3, 5):
        for size in (0.3, 1.0, 50.0):
            x, v, a = rng.normal(size=(3, n)) * np.array([[size], [1.0], [1.0]])
            across = np.eye(n) - np.outer(v, v) / (v @ v)
            for f in (lambda x, p=across: np.sum((p @ x) ** 2), lambda x, a=a: a @ x, lambda x, a=a: 7.0 + a @ x):
                hessian_vector_product(f, x, v)
            for f in (lambda _: 5e12, lambda x, a=a: 30.0 * (a @ x > 1e3)):
                numerical_hessian(f, x)
                hessian_vector_product(f, x, v)
            for f in (lambda t: 5e12 + 0.0 * t, lambda t: 30.0 * (t > 1e3)):
                numerical_diff(f, x, order=2)
    assert not recwarn


def test_an_inflection_beside_a_constant_is_not_accused(recwarn):
    for scheme, x in itertools.product(("central", "forward"), (0.11, 1.0, -3.0)):
        numerical_gradient(lambda y, x=x: 1e6 + float(np.sum((y - x) ** 3)), np.array([x]), "auto", scheme=scheme)
    assert not recwarn


def test_the_unit_of_a_constant_tells_nothing():
    with pytest.warns(RuntimeWarning, match=r"eps \|f\| / h\*\*2 = 1e\+01, is to be compared") as caught:
        numerical_hessian(lambda y: float(1e9 + np.sum(y * y)), np.array([9.2e-6]))
    assert len(caught) == 1


def test_the_hessian_of_no_coordinates_asks_for_nothing():
    assert numerical_hessian(lambda x: 1 / 0, np.empty(0)).shape == (0, 0)
