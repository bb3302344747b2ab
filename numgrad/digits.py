"""How many digits differences of f have: what its rounding and its noise leave of them, and warnings of that."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import driver
from .driver import FEW_DIGITS
from .inside import coarse_unit, noise_of, spacings
from .loops import Floats, Indices
from .magnitudes import SMALL, rounding_by
from .objectives.vectors import floats
from .points import EPS, resolution, scales, where_defined
from .schemes import along_rows
from .sparsity import parts_of_steps

__all__: list[str] = []  # nothing here is public

# Part of what f changes by, over the length x or 1, from which on curvature that is no more than its rounding is worth
# a warning though none is seen. Fixed by test_zeros_under_a_large_constant in tests/test_magnitudes.py.
_FAINT = 1 / 32
# Standard deviations of rounding, which is uniform, that the spacing of the floats is. No tuning.
_SPACING = math.sqrt(12.0)
# Spacings of x between the points of a line that shows the rounding of f, at least. No tuning: x is stored exactly.
_LEAST = 4.0
# Looks, each 16 times farther, for the noise of an f that stores x in fewer digits: from the first to the thousandth
# of coordinates that then moves.
# Fixed, as the next one, by test_no_pair_is_missing_in_few_digits in tests/test_hessian.py.
_LOOKS = 3
# Lines along which rounding is shown: the seven values of one may show a quarter of it.
_LINES = 2
# Roundings of f that a second difference is at most which shows that f has its digits: a mixed one has twelve.
# Fixed by test_evaluations_are_counted_exactly in tests/test_hessian.py.
_ROUNDED = 64.0
# Elements of a Hessian that are to be so small: one may be so by chance, where f rounds to a coarse unit.
# Fixed by the former, and by test_noise_in_few_coordinates_is_warned_of in tests/test_digits.py.
_EXACT = 4
# Times that what second differences do not explain, a sample of noise, may be smaller than the noise.
# Fixed by test_noise_of_any_kind_is_warned_of in tests/test_digits.py.
_SMALLER = 4.0
# Part of a move by which noise is told from curvature, of which that makes a thousandth.
# Fixed by test_what_tells_noise_takes_few_evaluations in tests/test_digits.py.
_SHORT = 1 / 32
# Relative to x: the length of the line that shows noise, at least: 16 steps of a difference to both sides, within one
# of which six decimals may stay the same. Fixed by test_noise_of_outputs_is_warned_of in tests/test_digits.py.
_LONG = 1e-4
# Relative to x: how far f is looked at, to see by how much it changes over its length where its slopes are next to 0.
# Fixed by test_smooth_outputs_are_not_warned_of in tests/test_digits.py.
_FAR = 1 / 16


def shown_rounding(plain: NDArray[Any], steps: Floats, near: Callable[[Floats], Floats]) -> float:
    """Return how far a value of f may be off, as its noise shows between x and where all coordinates have moved.

    ``near(moves)`` is f where the plain array x has moved by each row; `steps` are how far coordinates move.
    """
    rng = np.random.default_rng(0)

    def noise(line: Floats) -> float:
        def values(places: list[float]) -> Floats:
            return near(middle + np.multiply.outer(places, line))

        return noise_of(values, values([0.0]).item(), _LOOKS, farthest)

    with np.errstate(all="ignore"):
        middle, least = 0.5 * steps, _LEAST * resolution(plain) * scales(plain)
        unit = np.where(steps == 0.0, 0.0, spacings(np.abs(steps), least))
        farthest = float(np.min(np.abs(middle[steps != 0.0] / unit[steps != 0.0])))
        return _SPACING * max(noise(rng.choice([-1.0, 1.0], unit.size) * unit) for _ in range(_LINES))


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
    is_rounded = (sizes > 0.0) & (sizes <= _ROUNDED * problem.eps * abs(problem.value))
    if not _may_have_noise(problem) or np.count_nonzero(is_rounded) >= _EXACT:
        return False
    return _is_noisy(problem, problem.unexplained(*differences), largest, len(sizes))


def see_noise_of_terms(problem: Any, hessian: Any, largest: float, terms: int) -> bool:
    """Do the same for a sum of so many terms with this sparse Hessian: the noise is that of one of its terms."""
    if not _may_have_noise(problem):
        return False
    rest = problem.beyond(lambda parts: (move := parts * problem.steps) @ (hessian @ move))
    return _is_noisy(problem, rest, largest, hessian.nnz, terms)


def _may_have_noise(problem: Any) -> bool:
    return isinstance(problem.h, str) and 0.0 < problem.rounding < math.inf


def _is_noisy(problem: Any, rest: float, largest: float, count: int, terms: int = 1) -> bool:
    """Tell whether what a line leaves unexplained of so many differences is noise that leaves the largest few digits.

    The rounding of f is that noise from now on, or that of one of its terms.
    """
    if not rest > _ROUNDED * problem.eps * abs(problem.value):
        return False
    with np.errstate(all="ignore"):
        noise = _SMALLER * rest / math.sqrt(1.0 + 0.5 * count)  # as many differences, each off by the noise, are added
        if not noise * (_errors(problem) / problem.rounding).max() > FEW_DIGITS * largest:
            return False
    problem.shown_rounding(terms)
    return True


def warn_of_rounding(problem: Any, largest: float) -> None:
    """Warn if the rounding of f leaves few digits of the largest second derivative, or hides it."""
    with np.errstate(all="ignore"):
        errors = _errors(problem)
        # An f of narrow numbers may compute in these, though it returns others.
        times = resolution(problem.plain) / problem.eps
        if times > 1.0 and (times * errors > FEW_DIGITS * largest).any():
            problem.shown_rounding()
            errors = _errors(problem)
        error = float(errors.max(initial=0.0))
        if not FEW_DIGITS * largest < error < math.inf:
            return
        # Zeros are right for a linear f, unless the step is so short that a curved one would have them too.
        size = np.maximum(scales(problem.plain), 1.0)
        if not largest and (errors * size**2).min() < FEW_DIGITS * abs(problem.value) and not _is_faint(problem, size):
            return
    warn_of_few(
        "Hessian",
        f"the rounding of f, {np.max(problem.noise) / problem.rounding:.0f} eps |f| / h**2 =",
        (error, largest),
        "subtract from f what does not change, pass longer steps h, or a gradient"
        if isinstance(problem.h, str)
        else "pass h='auto'",
    )


def warn_of_product(problem: Any, largest: float, square: float) -> None:
    """Warn if the noise of f next to x leaves few digits of the largest element of a product, by a squared step."""
    with np.errstate(all="ignore"):
        error = float(np.divide(problem.shown_rounding(), square))
    warn_of_few(
        "product", "the rounding of f, eps |f| / h**2 =", (error, largest), "pass longer steps h, or a gradient"
    )


def see_noise_of_outputs(problem: Any, found: Any, what: str = "Jacobian") -> None:
    """Warn if the noise of f next to x leaves few digits of a Jacobian by automatic steps.

    Its product with a move should be what f changes by: that which has verified a pattern, or a short random one.
    """
    if not (problem.is_automatic and problem.eps == EPS and problem.base.size and problem.point.size):
        return
    plain, steps = np.asarray(problem.point), np.abs(problem.plan[1].lengths)
    is_large = scales(plain) >= SMALL  # longer steps of the others are judged where they are taken
    if (verified := problem.verified) is None:
        move = problem.inside(np.where(is_large, parts_of_steps(steps.size, True) * steps, 0.0))
        entries = found = found.reshape(-1, steps.size)
    else:
        move, entries = verified[0], found.data
    if not is_large.any() or (verified is not None and not is_large.all()):
        return
    with np.errstate(all="ignore"):
        change, largest = found @ move, largest_finite(entries)
        rest = None if verified is None else floats(verified[1] - problem.base.reshape(-1) - change)
        per_value = np.where(is_large, rounding_by(problem.plan, 1.0), 0.0)
    warn_of_noise(problem, what, (move, floats(change), rest), (largest, float(per_value.max())))


def warn_of_noise(problem: Any, what: str, line: tuple[Floats, Floats, Any], sizes: tuple[float, float]) -> None:
    """Warn if the noise of f next to x leaves few digits of the largest derivative.

    The `line` is a move, by what derivatives tell that f changes, each float that it returns, and what is left of that
    where it was looked, or None: curvature, or noise. Only where much is left by a short part of the move too, f is
    asked for more, of the output of which most is left. The `sizes` are the largest derivative, and by how much a value
    of f that is off by 1 puts one off.
    """
    (move, _, _), (largest, per_value), base = line, sizes, floats(problem.base)
    problem.workers = 1  # a few evaluations need no other processes
    with np.errstate(all="ignore"):
        own = _ROUNDED * EPS * largest_finite(base)
        if (k := _doubtful_output(problem, line, own, FEW_DIGITS / _SMALLER * largest / per_value)) is None:
            return

    def near(moves: Floats) -> Floats:
        return problem.values(along_rows(moves)).view(np.float64)[:, k]  # type: ignore[no-any-return]

    plain, long, far = np.asarray(problem.point), _as_long(problem, move), _as_long(problem, move, _FAR)
    shown = 0.5 * float(where_defined(lambda: shown_rounding(plain, long, near)) or 0.0)  # to either side
    # Slopes next to 0 are no sign of noise: then what f changes by over its length counts.
    with np.errstate(all="ignore"):
        value, change = where_defined(lambda: near(far[np.newaxis]).item()), 0.0
        if value is not None:
            change = abs(value - base.item(k)) / (largest_finite(far) or 1.0) * largest_finite(move)
        error = float(shown * per_value)
    if shown > max(own, FEW_DIGITS * change):
        warn_of_few(what, "the noise of f next to x, over the step,", (error, largest), "pass longer steps h")


def _doubtful_output(problem: Any, line: tuple[Floats, Floats, Any], own: float, least: float) -> int | None:
    """Return the float of what f returns of which derivatives explain the least, if more than `least` is left."""
    move, change, rest = line
    # Next to nothing is left of a linear f, or of few digits that happen to change alike to both sides.
    if rest is not None and own < largest_finite(rest) <= least:
        return None
    part = _SHORT if least else 1.0
    look = part * (move if least else _as_long(problem, move))
    found = where_defined(lambda: floats(problem.moved(look)))
    if found is None:
        return None
    left = found - floats(problem.base) - part * change
    if not (largest := largest_finite(left)) > max(own, least):
        return None
    return int((np.abs(left) == largest).argmax())


def largest_finite(values: Floats) -> float:
    """Return the largest magnitude that is finite, or 0."""
    largest = float(np.abs(values).max(initial=0.0))
    return largest if math.isfinite(largest) else float(np.nan_to_num(np.abs(values), posinf=0.0).max())


def _as_long(problem: Any, move: Floats, least: float = _LONG) -> Floats:
    """Return a move that is at least so long beside x, as far as bounds leave room for it."""
    with np.errstate(all="ignore"):
        relative = np.max(np.abs(move) / scales(np.asarray(problem.point)))
        return problem.inside(np.fmax(1.0, least / relative) * move)  # type: ignore[no-any-return]


def warn_of_halves(apart: Any, hessian: Any) -> bool:
    """Tell, and warn, if derivatives of a gradient are so far `apart` from those across the diagonal that it shows."""
    error, largest = (float(abs(each).max()) if each.shape[0] else 0.0 for each in (apart, hessian))
    rounding = "half of what the derivatives (i, j) and (j, i) of gradient differ by,"
    cure = "compute it in float64, check it, or pass longer steps h"
    return warn_of_few("Hessian", rounding, (error, largest), cure)


def warn_of_few(what: str, rounding: str, sizes: tuple[float, float], cure: str) -> bool:
    """Tell, and warn, if an error leaves few digits of the largest element: both are `sizes`."""
    error, largest = sizes
    if not FEW_DIGITS * largest < error < math.inf:
        return False
    digits = max(0, round(-math.log10(error / largest))) if largest else 0
    driver.warn(
        f"about {digits} digits of the {what} are right: {rounding} {error:.1g}, is to be compared with {largest:.1g}; "
        f"{cure}"
    )
    return True


def _errors(problem: Any) -> Floats:
    """Return how far rounding puts off the second derivative by each coordinate."""
    return problem.noise / problem.steps / problem.steps  # type: ignore[no-any-return]


def _is_faint(problem: Any, size: Floats) -> bool:
    """Tell whether rounding hides the curvature that f has if its slope is another one over this length."""
    sides = np.random.default_rng(0).uniform(0.5, 1.0, problem.plain.size)
    sides *= np.where(np.arange(len(sides)) % 2 & problem.inside.all(), -1.0, 1.0)
    (found,) = problem.near((sides * problem.steps)[np.newaxis])
    with np.errstate(all="ignore"):
        change, hidden = abs(found - problem.value), np.max(problem.noise * size / np.abs(problem.steps))
        return bool(hidden > _FAINT * change > _FAINT * 8.0 * problem.eps * abs(problem.value))
