"""Steps at small coordinates: an x_i may be tiny where f is of the magnitude 1, and a step relative to it is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .loops import Floats
from .points import scales

__all__: list[str] = []  # nothing here is public

# Of |x|: a coordinate below it may be small for f. Fixed, as what follows, by tests/test_magnitudes.py.
SMALL = 0.1
# Between the steps of two rungs: the rounding of the lower one, by which the upper one is judged, is so much larger.
_RATIO = 32.0
# Rungs below the magnitude 1: the last one is that of 1e-18, which is lost beside 1 anyway.
_RUNGS = 12
# Spacings of f by which two rungs may differ: its values are sums of many terms.
_SURE = 16.0
# Part of a derivative by which two rungs may differ; it is the truncation error of the upper one.
_AGREE = 1e-6


def magnitudes(x: NDArray[Any], least: float) -> Floats:
    """Return the magnitude of each coordinate of the plain array `x`, of a small one at least this."""
    found = scales(x)
    return np.where(found < SMALL, np.maximum(found, least), found)


def least_magnitude(x: NDArray[Any]) -> float:
    """Return the smallest magnitude of a coordinate."""
    least = float(np.abs(x).min(initial=1.0))
    return least if least >= SMALL else float(scales(x).min(initial=1.0))


def enough(eps: float, order: int, derivative: int = 1) -> float:
    """Return the multiple of its rounding that a derivative should be: half of the digits of that by the best step."""
    return float(eps ** (-0.5 * order / (order + derivative)))


def lengthen(
    found: NDArray[Any],
    rounding: NDArray[Any],
    lost: NDArray[np.bool_],
    measure: Callable[[float, NDArray[np.bool_]], tuple[Any, Any]],
    floor: float,
    eps: float,
) -> None:
    """Write to the derivatives `found`, where they are `lost` in rounding, what longer steps tell that f allows.

    ``measure(least, missing)`` returns derivatives, and their rounding, by the steps of magnitudes of at least `least`,
    or NaN; the smallest magnitude is `floor`, and `eps` the spacing of the points. That of 1 comes first. A result is
    good if the one by steps that are shorter by 32 is the same, but for the rounding of that one. It takes the place of
    what was found if that differs from it, or may be off by more. So does the best, if none is good, and the two differ
    by less than that.
    """
    agree = max(_AGREE, _RATIO * eps ** (2 / 3))  # what the rounding of narrow points makes of the lower one's step
    missing, best = lost.copy(), np.where(found == 0.0, np.inf, rounding)
    with np.errstate(all="ignore"):  # f need not be defined where nobody asked for it
        upper, _ = measure(1.0, missing)
        for rung in range(1, _RUNGS + 1):
            lower, allowed = measure(_RATIO**-rung, missing)
            differ = np.abs(upper - lower)
            sure = _SURE * allowed + agree * np.abs(upper)
            better = missing & ((differ < best) | ((differ <= sure) & ~(np.abs(upper - found) <= 2.0 * sure)))
            found[better], best[better] = upper[better], differ[better]
            missing &= ~(differ <= sure)
            if not missing.any() or _RATIO**-rung <= floor:
                return
            upper = lower
