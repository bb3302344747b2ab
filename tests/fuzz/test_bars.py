"""Estimates at random points of every kind of hard function: never silently wrong, and f raises at no step of ours."""

from harness import fuzz, seconds  # noqa: F401
from kinds import KINDS

from numgrad import estimate_derivative


@fuzz(5)
def test_no_bar_is_silently_wrong(rng):
    for kind in KINDS.values():
        entry = kind(rng)
        exact, estimate = entry.derivative(), estimate_derivative(entry.f, entry.x)
        error = abs(estimate.value - exact)
        assert error <= 1000 * estimate.error, entry
        assert not estimate.converged or error <= 100 * estimate.error, entry
