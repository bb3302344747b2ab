"""Schemes with h="auto" over kinds of hard functions: the error is that of truncation and round-off, or it is NaN."""

import math
import warnings

import mpmath
import numpy as np
import pytest
from kinds import KINDS

from numgrad import Gradient
from numgrad.schemes import SCHEMES

POINTS = 20
EPS = 2.0**-52
# Entries of these kinds have no model of f, but the derivative at x alone.
UNKNOWN = {"float32 nets", "iterated", "few iterations"}


def differenced(entry, scheme):
    """Return the derivative by the public function, and the values of f by their points."""
    seen = {}

    def f(x):
        t = float(x[0])
        seen[t] = entry.f(t)
        return seen[t]

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            # At a small x, f is evaluated elsewhere too, to see how it is rounded, and where f(x) has the digits of
            # float32, to see whether it is inside: here the first step alone counts, without a look at noise.
            first = [EPS ** (1.0 / (SCHEMES[scheme].order + 1)) * (abs(entry.x) or 1.0)]
            is_first = abs(entry.x) < 0.1 or float(np.float32(entry.f(entry.x))) == entry.f(entry.x)
            gradient = Gradient(f, first if is_first else "auto", scheme=scheme)
            value = gradient.value_and_gradient([entry.x])[1][0]
        except (ArithmeticError, ValueError):  # of f itself, outside its domain
            value = math.nan
    return value, seen, caught


def bound(entry, scheme, seen):
    """Return truncation, by 60 digits of the model of f, and round-off, by the true errors of the values of f.

    A distance of stored numbers is exact, a value loses half an eps in each of five operations.
    """
    rule, points = SCHEMES[scheme], np.array([t for t in seen if t != entry.x or scheme in {"forward", "backward"}])
    h = (max(points) - min(points)) / (max(rule.offsets) - min(rule.offsets))
    with mpmath.workdps(60):
        model = {t: entry.exact(mpmath.mpf(t)) for t in points}
        at = {o: min(points, key=lambda t: abs(t - entry.x - o * h)) for o in rule.offsets}
        pairs = list(zip(rule.offsets, rule.weights, strict=True))
        span = mpmath.mpf(rule.denominator) * mpmath.mpf(h)
        exact = sum(w * model[at[o]] for o, w in pairs) / span
        truncation = abs(exact - mpmath.mpf(entry.derivative()))
        errors = sum(abs(w) * (abs(seen[at[o]] - model[at[o]]) + 5 * EPS * abs(model[at[o]])) for o, w in pairs)
        stored = sum(abs(w) * abs(mpmath.mpf(at[o]) - entry.x - o * mpmath.mpf(h)) for o, w in pairs)
        # Where x + 2h and x + h are rounded apart, f is taken a little beside its place.
        slopes = max(abs(mpmath.diff(entry.exact, mpmath.mpf(entry.x), h=mpmath.mpf(h))), abs(exact))
        return float(truncation), float((errors + 2 * stored * slopes) / span + 8 * EPS * abs(exact))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in UNKNOWN])
def test_the_error_is_that_of_truncation_and_round_off(kind, scheme):
    rng = np.random.default_rng(11)
    entries = [KINDS[kind](rng) for _ in range(POINTS)]
    known = 0
    for entry in entries:
        value, seen, caught = differenced(entry, scheme)
        if not all(map(math.isfinite, seen.values())) or not math.isfinite(value):
            assert math.isnan(value) or math.isinf(value)
            continue
        truncation, round_off = bound(entry, scheme, seen)
        assert abs(value - entry.derivative()) <= truncation + round_off or caught, entry
        known += 1
    assert known > 0


if __name__ == "__main__":
    import sys

    for name in KINDS:
        rng, errors = np.random.default_rng(11), []
        for entry in [KINDS[name](rng) for _ in range(int(sys.argv[1]))]:
            value, exact = differenced(entry, "central")[0], entry.derivative()
            errors.append(abs(value - exact) / (abs(exact) or 1.0))
        nan = np.isnan(errors).sum()
        print(f"{name:18} median relative error {np.nanmedian(errors):.1e}, {nan} without a value")  # noqa: T201
