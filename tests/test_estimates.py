"""Derivatives with error bars: accuracy and coverage over a catalogue, kinks, noise, one-sided domains."""

import math
import random

import numpy as np
import pytest
from catalogue import entries, entries_around
from problems import compiled, compiled_once, interrupt_at, needs_jit, waves

from numgrad import estimate_derivative, estimate_gradient, estimate_hessian, estimate_jacobian, simpleNet
from numgrad.display import concise

EPS = 2.0**-52
CATALOGUE = entries()
AROUND = entries_around(random.Random(0), 20)


@pytest.fixture(scope="module")
def results():
    return [(entry, entry.derivative(), estimate_derivative(entry.f, entry.x)) for entry in CATALOGUE]


def test_the_catalogue_is_covered_by_the_reported_errors(results, capsys):
    covered = [abs(estimate.value - exact) <= 10 * estimate.error for _, exact, estimate in results]
    with capsys.disabled():
        print(f"\n  true errors within 10 reported ones: {sum(covered)} of {len(covered)}")  # noqa: T201
    assert len(covered) >= 40
    assert np.mean(covered) >= 0.95


def test_the_catalogue_is_estimated_accurately_and_cheaply(results):
    relative = np.array([abs(estimate.value / exact - 1) for _, exact, estimate in results])
    assert relative.max() <= 1e-10
    assert np.median(relative) <= 1e-14
    assert np.mean([estimate.evaluations for *_, estimate in results]) <= 15
    assert all(estimate.converged for *_, estimate in results)


def test_true_errors_at_random_points_are_within_the_reported_ones():
    found = [(entry.derivative(), estimate_derivative(entry.f, entry.x)) for entry in AROUND]
    errors = np.array([(abs(estimate.value - exact), estimate.error) for exact, estimate in found])
    assert len(AROUND) >= 1200
    assert np.mean(errors[:, 0] <= errors[:, 1]) >= 0.99
    assert (errors[:, 0] <= 10 * errors[:, 1]).all()
    assert max(error / abs(exact) for error, (exact, _) in zip(errors[:, 0], found, strict=True)) <= 1e-10


def test_reported_errors_are_not_idle(results):
    # An error bar of any size would cover; these stay small against the derivative.
    assert np.median([estimate.error / abs(exact) for _, exact, estimate in results]) <= 1e-12
    assert max(estimate.error / abs(exact) for _, exact, estimate in results) <= 1e-9


@needs_jit
def test_compiled_and_python_agree_to_round_off():
    x, f = np.array([[0.3, -1.1, 2.0], [0.0, 1e-3, 30.0]]), compiled_once(waves)
    ours, theirs = estimate_gradient(waves, x), estimate_gradient(f, x)
    exact = np.exp(-0.5 * x) * (np.cos(x) - 0.5 * np.sin(x))
    assert (np.abs(ours.value - theirs.value) <= ours.error + theirs.error).all()
    for estimate in (ours, theirs):
        assert estimate.value.shape == estimate.error.shape == estimate.step.shape == estimate.converged.shape == (2, 3)
        assert (np.abs(estimate.value - exact) <= 10 * estimate.error).all()
    threaded = estimate_gradient(f, x, workers=3)
    assert threaded.value.tobytes() == theirs.value.tobytes()
    assert threaded.evaluations == theirs.evaluations


@needs_jit
def test_a_compiled_f_has_estimates_with_the_labels_of_x():
    # A frame and not a series: its loops are those of the test above, and take seconds to compile.
    pandas = pytest.importorskip("pandas")
    x = pandas.DataFrame([[0.3, -1.1, 2.0], [0.0, 1e-3, 30.0]], ["r", "s"], list("abc"))
    found, expected = estimate_gradient(compiled_once(waves), x), estimate_gradient(compiled_once(waves), x.to_numpy())
    for name in ("value", "error"):
        labelled = getattr(found, name)
        assert (list(labelled.index), list(labelled.columns)) == (["r", "s"], ["a", "b", "c"])
        assert labelled.to_numpy().tobytes() == getattr(expected, name).tobytes()


@pytest.mark.parametrize(
    ("f", "x"),
    [
        (abs, 0.0),
        (lambda x: abs(x) + x, 0.0),
        (lambda x: max(x, 0.0), 0.0),
        (lambda x: abs(x - 1.0) + math.sin(x), 1.0),
        (lambda x: float(x > 0.0), 0.0),
    ],
)
def test_a_kink_does_not_get_a_small_error(f, x):
    estimate = estimate_derivative(f, x)
    assert estimate.error >= 0.5
    assert not estimate.converged


def test_beside_a_kink_the_derivative_is_found():
    estimate = estimate_derivative(lambda x: abs(x - 1.0), 1.0001)
    assert abs(estimate.value - 1.0) <= estimate.error + 1e-12
    assert estimate.error < 1e-10


def test_noise_is_reported():
    def noisy(x):
        return math.sin(x) + 1e-8 * math.sin(1e9 * x * x + 3 * x)

    estimate = estimate_derivative(noisy, 1.0)
    assert abs(estimate.value - math.cos(1.0)) <= 1e-5  # of the noise's own derivative, 20, nothing is seen
    assert 1e-10 < estimate.error < 1e-5


def test_a_domain_that_ends_at_x_is_left_on_one_side_only():
    def right(x):
        return math.exp(x) if x >= 0.0 else math.nan

    def left(x):
        return math.exp(x) if x <= 2.0 else math.nan

    for f, x in ((right, 0.0), (left, 2.0)):
        estimate = estimate_derivative(f, x)
        assert abs(estimate.value - math.exp(x)) <= 10 * estimate.error
        assert estimate.error < 1e-9
        assert estimate.converged


def test_no_derivative_is_nan_with_an_infinite_error():
    for f, x in ((lambda x: math.nan, 1.0), (lambda x: math.sqrt(x) if x >= 0 else math.nan, 0.0)):
        estimate = estimate_derivative(f, x)
        assert math.isnan(estimate.value)
        assert estimate.error == math.inf
        assert not estimate.converged


def test_steps_that_meet_equal_values_by_chance_are_not_believed():
    for x in np.linspace(10, 200, 100).tolist():
        estimate = estimate_derivative(lambda t: t + math.sin(t), x)
        assert abs(estimate.value - 1 - math.cos(x)) <= 10 * estimate.error
    for f, x, exact in (
        (math.sin, 200.0, math.cos(200.0)),
        (lambda t: math.sin(8 * math.pi * t), 1.0, 8 * math.pi),
    ):
        estimate = estimate_derivative(f, x)
        assert abs(estimate.value - exact) <= 10 * estimate.error


def test_the_slope_of_a_narrow_feature_is_found_where_f_is_flat_from_afar():
    estimate = estimate_derivative(lambda t: (t - 1.0) * math.exp(-1e8 * (t - 1.0) ** 2), 1.0)
    assert abs(estimate.value - 1.0) <= estimate.error
    assert estimate.converged


def test_what_f_computes_from_x_first_counts_as_round_off():
    # sin is 0 at x, but 8 pi x is 25 and rounded: f carries an error of 25 eps, whatever its size.
    estimate = estimate_derivative(lambda t: math.sin(8 * math.pi * t), 1.0)
    assert estimate.error >= 25.0 * EPS / estimate.step


HARD = [
    ("sin far from 0", math.sin, 123456.0, math.cos(123456.0)),
    ("cos far from 0", lambda t: math.cos(2 * t), 475027.5410811936, -2 * math.sin(2 * 475027.5410811936)),
    ("a line with waves", lambda t: t + math.sin(t), 123456.0, 1 + math.cos(123456.0)),
    ("a time stamp", lambda t: math.tanh(t - 1.7e9), 1.7e9 + 0.5, 1 - math.tanh(0.5) ** 2),
    ("cos near 0", math.cos, -1.3083192851316408e-07, 1.3083192851316404e-07),
    ("a large constant", lambda t: 1e6 + math.sin(t), 3.7148689447397203, math.cos(3.7148689447397203)),
    ("a small amplitude", lambda t: 1 + 1e-6 * math.sin(t), 1.034405262, 1e-6 * math.cos(1.034405262)),
    ("cancellation in a sum", lambda t: math.log(1 + t * t), 1e-4, 2e-4 / (1 + 1e-8)),
    ("cancellation in a difference", lambda t: 1 - math.cos(t), 3e-4, math.sin(3e-4)),
    ("float32 within", lambda t: math.exp(float(np.float32(t))), 3.1322989463806152, math.exp(3.1322989463806152)),
    ("rounded to 8 digits", lambda t: round(math.sin(t), 8), 0.7, math.cos(0.7)),
]


@pytest.mark.parametrize(("f", "x", "exact"), [case[1:] for case in HARD], ids=[case[0] for case in HARD])
def test_the_error_covers_in_hard_places_too(f, x, exact):
    estimate = estimate_derivative(f, x)
    assert abs(estimate.value - exact) <= 10 * estimate.error
    assert estimate.error <= 1e-3 * abs(exact)  # and is no idle one


def test_periodic_functions_and_time_stamps_at_random_points_are_covered():
    rng = random.Random(0)
    points = [10 ** rng.uniform(3, 7) for _ in range(200)]
    found = [(estimate_derivative(math.sin, x), math.cos(x)) for x in points]
    for origin in (1e8, 1e9, 1.7e9):
        times = [origin + rng.uniform(-1.5, 1.5) for _ in range(50)]
        found += [
            (estimate_derivative(lambda t, o=origin: math.tanh(t - o), t), 1 - math.tanh(t - origin) ** 2)
            for t in times
        ]
    assert all(abs(estimate.value - exact) <= 10 * estimate.error for estimate, exact in found)
    assert np.median([estimate.error / abs(exact) for estimate, exact in found]) <= 1e-6


def test_random_kinks_get_an_error_of_the_size_of_half_their_jump():
    rng = random.Random(0)
    for _ in range(100):
        at, jump, slope = rng.choice([0.0, 1.0, 10 ** rng.uniform(-3, 3)]), 10 ** rng.uniform(-6, 0), rng.uniform(-3, 3)
        estimate = estimate_derivative(lambda t, a=at, j=jump, s=slope: s * math.sin(t) + j * max(t - a, 0.0), at)
        assert estimate.error >= 0.1 * jump / 2


def test_a_pole_has_no_derivative():
    estimate = estimate_derivative(lambda t: math.log(abs(t)) if t else -math.inf, 0.0)
    assert math.isnan(estimate.value)
    assert not estimate.converged


def test_points_at_the_ends_of_the_floats_are_no_error():
    for x in (5e-324, -5e-324, 1e-323, 1e-320, 1e308):
        estimate = estimate_derivative(lambda t: t, x)
        assert abs(estimate.value - 1.0) <= 10 * estimate.error
        assert estimate.error < 1e-12


@pytest.mark.parametrize("x", [5e-324, -1e-323, 7e-322, 3e-319, -1e-310])
def test_a_subnormal_x_has_steps(x):
    for f, exact in [(math.exp, 1.0), (math.sin, 1.0), (lambda t: t * t - 3 * t, -3.0)]:
        estimate = estimate_derivative(f, x)
        assert abs(estimate.value - exact) <= 10 * estimate.error <= 1e-10
    # Steps that are halved until none is left find no slope, or its digits.
    for f, exact in [
        (math.cbrt, 1 / (3 * math.cbrt(x) ** 2)),
        (lambda t: math.sqrt(abs(t)), math.copysign(0.5 / math.sqrt(abs(x)), x)),
    ]:
        estimate = estimate_derivative(f, x)
        assert math.isnan(estimate.value) or abs(estimate.value - exact) <= 10 * estimate.error


def test_constants_and_lines_are_exact():
    assert estimate_derivative(lambda x: 3.0, 1.0).value == 0.0
    line = estimate_derivative(lambda x: 3.0 * x - 1.0, 2.0)
    assert abs(line.value - 3.0) <= line.error <= 1e-13
    assert line.evaluations <= 9


def test_float32_arrays_are_perturbed_in_place_and_their_precision_is_told():
    x = np.array([0.5, 2.0], np.float32)[::-1]
    before = x.tobytes()
    estimate = estimate_gradient(lambda w: float(np.sum(np.exp(x.astype(float)))), x)
    assert x.tobytes() == before
    exact = np.exp(x.astype(float))
    assert (np.abs(estimate.value - exact) <= 10 * estimate.error).all()
    assert 1e-7 < np.max(estimate.error) < 1e-3


def test_shapes_coordinates_and_counts():
    calls = []

    def f(x):
        calls.append(None)
        return float(np.sum(x**2))

    x = np.arange(1.0, 7.0).reshape(2, 3)
    estimate = estimate_gradient(f, x)
    assert estimate.evaluations == len(calls)
    assert np.allclose(estimate.value, 2 * x, rtol=1e-12)
    some = estimate_gradient(f, x, coordinates=[5, 0])
    assert some.value.tobytes() == estimate.value.reshape(-1)[[5, 0]].tobytes()
    assert estimate_gradient(f, np.empty((0, 2))).value.shape == (0, 2)
    assert estimate_gradient(f, 3.0).value.shape == ()
    elementwise = estimate_derivative(math.exp, np.array([[0.0], [1.0]]))
    assert elementwise.value.shape == (2, 1)
    progress = []
    estimate_gradient(f, x, progress=lambda *at: progress.append(at))
    assert progress[-1] == (6, 6)


@needs_jit
def test_a_compiled_f_of_one_number_is_extrapolated_by_compiled_code():
    def scaled(x, a):
        return np.exp(a * x)

    f = compiled(scaled)
    estimate = estimate_derivative(f, [0.5, 1.0], args=(2.0,))
    assert np.allclose(estimate.value, 2 * np.exp([1.0, 2.0]), rtol=1e-12)
    assert estimate_derivative(f, 0.5, args=(2.0,)).value == estimate.value[0]


def test_faults_and_misuse():
    x = np.array([1.0, 2.0])
    before = x.tobytes()
    with pytest.raises(KeyboardInterrupt):
        estimate_gradient(interrupt_at(5), x)
    with pytest.raises(ZeroDivisionError):
        estimate_gradient(lambda x: 1 / 0, x)
    assert x.tobytes() == before
    with pytest.raises(TypeError, match="f must be callable, got int 3"):
        estimate_derivative(3, 1.0)
    with pytest.raises(TypeError, match="f must return one real number, it returned str"):
        estimate_derivative(lambda x: "a", 1.0)
    with pytest.raises(TypeError, match="x must hold real numbers"):
        estimate_derivative(math.exp, 1j)
    with pytest.raises(TypeError, match="workers must be an integer, got str '2'"):
        estimate_gradient(lambda x: x[0], x, workers="2")
    with pytest.raises(TypeError, match="an incremental objective has no steps of each coordinate"):
        estimate_gradient(simpleNet().objective([1.0, 2.0], 1), np.ones((2, 3)))
    with pytest.warns(RuntimeWarning, match="f may ignore its argument"):
        estimate_gradient(lambda x: 1.0, [1.0, 2.0])


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (1.9999999999, 3e-10, "1.9999999999(3)"),
        (2.0, 2.1e-14, "2.00000000000000(3)"),
        (-0.5, 9.7e-3, "-0.50(1)"),
        (12345.678, 20.0, "1.235(2)e+04"),
        (1.5e-9, 1e-12, "1.500(1)e-09"),
        (0.0, 1.0, "0(1)"),
        (3.0, 0.0, "3.0"),
        (math.nan, math.inf, "nan +- inf"),
        (1e-9, 0.5, "0.0(5)"),
    ],
)
def test_a_value_is_written_up_to_its_uncertain_digit(value, error, text):
    assert concise(value, error) == text


def test_arrays_are_written_as_a_table():
    estimate = estimate_gradient(lambda x: float(np.sum(x**2)) + abs(float(x[0])), np.r_[0.0, np.ones(11)])
    lines = str(estimate).splitlines()
    assert lines[0].startswith("(0)")
    assert lines[0].endswith("?")
    assert lines[1].startswith("(1)   2.0") or lines[1].startswith("(1)  2.0") or lines[1].startswith("(1)  1.9")
    assert lines[10].startswith("... and 2 more; largest error 1")
    assert lines[11] == "1 did not converge (?)"
    assert repr(estimate).startswith("Estimate(shape (12,), largest error 1")
    assert repr(estimate_derivative(math.sin, 1.0)).startswith("Estimate(0.5403023058")


def ripples_of_few_digits(rng, how):
    """Return a parabola with ripples of 100 to 100,000 quanta of an f of few digits, a point, and its slope there."""
    x, phase, height = rng.normal(), rng.uniform(0, 6), 10.0 ** rng.uniform(2, 5)
    k = 10.0 ** (rng.uniform(3, 6) if how == "rounded" else rng.uniform(2.5, 4))
    height *= 1e-8 if how == "rounded" else 6e-8

    def exact(t):
        return t * t + height * math.sin(k * t + phase)

    few = {"rounded": lambda t: round(exact(t), 8), "float32": lambda t: float(np.float32(exact(t)))}
    return few[how], x, 2 * x + height * k * math.cos(k * x + phase)


@pytest.mark.parametrize("how", ["rounded", "float32"])
def test_a_structure_of_few_digits_is_admitted(how):
    """Nearby its digits hide it, and from afar it is as small as noise: it stays in the bar, at whatever step."""
    rng, beyond, silent = np.random.default_rng(29), 0, 0
    for _ in range(200):
        f, x, slope = ripples_of_few_digits(rng, how)
        found = estimate_derivative(f, x)
        gap = abs(found.value - slope)
        beyond += gap > 10 * found.error
        silent += found.converged and gap > 100 * found.error
    assert beyond <= 20
    assert silent <= 4


@pytest.mark.parametrize("args", [2.0, None, [1.0], "ab", {}, np.ones(2)], ids=str)
def test_further_arguments_are_a_tuple(args):
    for estimate, x in ((estimate_derivative, 1.0), (estimate_gradient, np.ones(2))):
        with pytest.raises(TypeError, match=r"args must be a tuple, got .*; write args="):
            estimate(lambda x, *more: np.sum(x), x, args=args)


def test_an_estimate_is_formatted_as_its_value():
    estimate = estimate_derivative(lambda x: 3.0 * x, 2.0)
    assert f"{estimate:.3f} {estimate:8.1e}" == " ".join((f"{estimate.value:.3f}", f"{estimate.value:8.1e}"))
    assert f"{estimate}" == str(estimate)


@pytest.mark.parametrize("estimate", [estimate_gradient, estimate_hessian])
def test_longdouble_keeps_its_digits(estimate):
    x = (np.array([1.0, 2.0]) / 3).astype(np.longdouble) + np.longdouble(1e-19)
    before = x.tobytes()
    found = estimate(lambda x: float(np.sum(x * x)), x)
    assert x.tobytes() == before
    assert np.allclose(found.value, 2 * np.eye(2) if found.value.ndim == 2 else 2 * x.astype(float))


@pytest.mark.parametrize("estimate", [estimate_gradient, estimate_hessian])
def test_tiny_derivatives_raise_no_underflow_of_the_package(estimate):
    with np.errstate(all="raise"):
        found = estimate(lambda x: 1e-305 * math.sin(x[0] * x[1]), np.array([1.0, 2.0]))
        assert found._repr_html_()
        assert str(found)
    assert (found.error < 1e-305).all()


class OutOfTime(Exception):
    """What the handler of a signal raises."""


@pytest.mark.parametrize("error", [OutOfTime, StopIteration, ValueError])
@pytest.mark.parametrize(
    "estimate",
    [
        lambda f: estimate_derivative(lambda t: f(np.array([t, 1.0])), 0.3),
        lambda f: estimate_gradient(f, np.array([0.3, 1.2])),
        lambda f: estimate_jacobian(lambda x: np.array([f(x), 1.0]), np.array([0.3, 1.2])),
        lambda f: estimate_hessian(f, np.array([0.3, 1.2])),
    ],
    ids=["derivative", "gradient", "jacobian", "hessian"],
)
def test_what_is_raised_but_once_is_raised_on(estimate, error):
    """Whichever evaluation is asked for at that moment: f itself raises wherever it is not defined, each time."""

    def f(x):
        calls.append(0)
        if len(calls) == moments[-1]:
            raise error("no more")
        return float(np.sin(x).sum())

    moments, calls = [0], []
    estimate(f)
    for moment in range(1, len(calls) + 1):
        moments.append(moment)
        calls.clear()
        with pytest.raises(error, match="no more"):
            estimate(f)
