"""How many digits differences of f have: what its rounding and its noise leave of them, and warnings of that."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from . import driver
from .beside import FAR, ROUNDED, SMALLER, noise_of_derivatives, stairs, taken_or_first
from .driver import warn_of_few
from .loops import Floats, Indices
from .magnitudes import SMALL, rounding_by
from .noise import coarse_unit
from .objectives.vectors import floats
from .points import EPS, FEW_DIGITS, parts_of_steps, resolution, scales

__all__: list[str] = []  # nothing here is public

# Part of what f changes by, over the length x or 1, from which on curvature that is no more than its rounding is worth
# a warning though none is seen. Fixed by test_zeros_under_a_large_constant in tests/test_magnitudes.py.
_FAINT = 1 / 32
# Elements of a Hessian that are to be so small: one may be so by chance, where f rounds to a coarse unit.
# Fixed by the former, and by test_noise_in_few_coordinates_is_warned_of in tests/test_digits.py.
_EXACT = 4
# Decimal digits that f(x) has more of, if all other values have: rounded to decimals, values that are the same but for
# their last bits would look like digits. Fixed by test_noise_of_any_kind_is_warned_of in tests/test_digits.py.
_DECIMALS = 12
# Roundings of a product up to which it may be 0. Fixed by test_a_product_that_is_zero_is_not_warned_of in
# tests/test_digits.py.
_ZERO = 8.0


def see_digits(problem: Any, found: Floats) -> None:
    """Take half the unit of which all values of f are multiples for its rounding, if that is larger."""
    if _may_have_noise(problem):
        problem.rounding = max(problem.rounding, 0.5 * coarse_unit(problem, found))


def see_noise(problem: Any, differences: tuple[Floats, Floats, tuple[Indices, Indices]], largest: float) -> bool:
    """Take for the rounding of f its noise next to x, if differences show that, and tell so.

    Those are the second differences by each coordinate, and twice the mixed ones of pairs; the `largest` derivative is
    known. They show noise where they do not explain that along a line, by more than truncation by an automatic step is.
    Where some are next to nothing, f has its digits: no line then.
    """
    alone, mixed, _ = differences
    sizes = np.abs(np.concatenate([alone, 0.5 * mixed, 0.5 * mixed]))
    is_rounded = (sizes > 0.0) & (sizes <= ROUNDED * problem.eps * abs(problem.value))
    has_digits = np.count_nonzero(is_rounded) >= _EXACT and float(f"{problem.value:.{_DECIMALS}g}") != problem.value
    return not has_digits and _is_noisy(problem, partial(problem.unexplained, *differences), largest, len(sizes))


def see_noise_of_terms(problem: Any, hessian: Any, largest: float, terms: int) -> bool:
    """Do the same for a sum of so many terms with this sparse Hessian: the noise is that of one of its terms."""
    rest = partial(problem.beyond, lambda parts: (move := parts * problem.steps) @ (hessian @ move))
    return _is_noisy(problem, rest, largest, hessian.nnz, terms)


def _may_have_noise(problem: Any) -> bool:
    return isinstance(problem.h, str) and 0.0 < problem.rounding < math.inf


def _is_noisy(problem: Any, rest: Callable[[], float], largest: float, count: int, terms: int = 1) -> bool:
    """Tell whether what a line leaves unexplained of so many differences is noise that leaves the largest few digits.

    The rounding of f is that noise from now on, or that of one of its terms.
    """
    if not (_may_have_noise(problem) and (left := rest()) > ROUNDED * problem.eps * abs(problem.value)):
        return False
    with np.errstate(all="ignore"):
        noise = SMALLER * left / math.sqrt(1.0 + 0.5 * count)  # as many differences, each off by the noise, are added
        if not noise * (problem.errors / problem.rounding).max() > FEW_DIGITS * largest:
            return False
    problem.shown_rounding(terms)
    return True


def warn_of_rounding(problem: Any, largest: float) -> None:
    """Warn if the rounding of f leaves few digits of the largest second derivative, or hides it."""
    with np.errstate(all="ignore"):
        # An f of narrow numbers may compute in these, though it returns others.
        times = resolution(problem.plain) / problem.eps
        if times > 1.0 and (times * problem.errors > FEW_DIGITS * largest).any():
            problem.shown_rounding()
        errors = problem.errors
        if not FEW_DIGITS * largest < errors.max(initial=0.0) < math.inf:
            return
        # Zeros are right for a linear f, unless the step is so short that a curved one would have them too.
        by_size = errors * (size := np.maximum(scales(problem.plain), 1.0))
        may_be_right = not largest and (by_size * size).min() < FEW_DIGITS * abs(problem.value)
        if may_be_right and not _is_faint(problem, by_size):
            return
        error = float(problem.errors.max())  # as it is known now
    rounding = f"the rounding of f, {np.max(problem.noise) / problem.rounding:.0f} eps |f| / h**2 ="
    cure = "subtract from f what does not change, pass longer steps h, or a gradient"
    warn_of_few("Hessian", rounding, (error, largest), cure if isinstance(problem.h, str) else "pass h='auto'")


def see_noise_of_product(problem: Any, product: Any, found: Floats, is_doubtful: bool) -> None:
    """Warn if the rounding of f, or its noise next to x, leaves few digits of a product with its Hessian.

    Noise is looked for where the values of the product make it doubtful, and where zeros may hide steps of f.
    """
    (largest, square, size), noise = product.largest(found), 0.0
    if is_doubtful or (not largest and stairs(problem.beside, problem.steps, np.array([True]))):
        noise = problem.shown_rounding()
    with np.errstate(all="ignore"):
        error, length = max(noise, problem.eps * size) / square, np.maximum(scales(problem.plain), 1.0)
    # What is no more than rounding may be right: v may be such that the product is 0. A line that small coordinates
    # make short has zeros as well.
    is_wrong = largest > _ZERO * error if largest else noise > 0.0
    if is_wrong or ((largest or not problem.small.any()) and _is_faint(problem, error * length)):
        cure = "pass longer steps h, or a gradient" if isinstance(problem.h, str) else "pass h='auto'"
        warn_of_few("product", "the rounding of f, eps |f| / h**2 =", (error, largest), cure)


def see_noise_of_outputs(problem: Any, found: Any, what: str = "Jacobian") -> None:
    """Warn if the noise of f next to x leaves few digits of a Jacobian by automatic steps.

    Its product with a move should be what f changes by: that which has verified a pattern, or a short random one.
    """
    if not (problem.is_automatic and problem.eps == EPS and problem.base.size):
        return
    steps, rest = np.abs(problem.plan[1].lengths), None
    with np.errstate(all="ignore"):  # next to the smallest numbers
        lengths, per_value = taken_or_first(problem.taken, steps, rounding_by(problem.plan, 1.0))
        if not lengths.any():
            return
        move = parts_of_steps(steps.size, True) * lengths
        if problem.verified is None:
            found = found.reshape(-1, steps.size)
        elif not (np.abs(problem.verified[0]) > steps).any():  # else longer steps have verified the pattern as well
            move, base = problem.verified[0], problem.base.reshape(-1)
            rest = problem.verified[1] - base - found @ move
            # Beside a small coordinate curvature by large ones is not to be taken for its noise.
            bent = ROUNDED * EPS * np.abs(base)
            bent += (np.abs(move) / scales(problem.point)).max() * (abs(found) @ np.abs(move))
            if found.data.any() and (scales(problem.point) < SMALL).any() and not (np.abs(rest) > bent).any():
                return
            rest = floats(rest)
    driver.warn_of_noise(what, *noise_of_derivatives(problem.beside, found, move, per_value, rest))


def warn_of_halves(apart: Any, hessian: Any) -> bool:
    """Tell, and warn, if derivatives of a gradient are so far `apart` from those across the diagonal that it shows."""
    error, largest = (float(abs(each).max()) if each.shape[0] else 0.0 for each in (apart, hessian))
    rounding = "half of what the derivatives (i, j) and (j, i) of gradient differ by,"
    cure = "compute it in float64, check it, or pass longer steps h"
    return warn_of_few("Hessian", rounding, (error, largest), cure)


def _is_faint(problem: Any, errors: Floats) -> bool:
    """Tell whether rounding hides the curvature that f has if its slope is another one over its length.

    It puts slopes over that length, which is x, or 1 where x is small, so far off by each coordinate. The slope is
    that over one step. Where no step changes f, what it changes by over a part of its length is taken for curvature.
    """
    sides, own = np.random.default_rng(0).uniform(0.5, 1.0, problem.plain.size), 8.0 * problem.eps * abs(problem.value)
    sides *= np.where(np.arange(len(sides)) % 2 & problem.both_ways, -1.0, 1.0)
    far = problem.beside.inside(FAR * sides * np.maximum(scales(problem.plain), 1.0))
    for move, part in ((step := sides * problem.steps, 1.0), (far, FAR)):
        change = problem.beside.change(move, 0)
        if change == 0.0 and move is step and stairs(problem.beside, problem.steps, np.array([True])):
            return bool(problem.shown_rounding())  # its digits are so few that no step changes it
        with np.errstate(all="ignore"):
            if change > own:
                return bool(np.max(errors * np.abs(move)) * part > _FAINT * change)
    return False
