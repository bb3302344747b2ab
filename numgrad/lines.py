"""Derivatives along directions of an f with several outputs, and longer steps where rounding hides them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .bounds import ends_of_lines
from .loops import RESPONDED, STEP_LOST, Floats
from .magnitudes import MOST_SHARE, SMALL, enough, least_magnitude, lengthen
from .points import is_narrow, resolution, scales
from .schemes import along_rows, rule_at, steps_of

__all__: list[str] = []  # nothing here is public

# The longest t of a line ``x + t v`` along a tiny v: with the offsets of any scheme it stays finite.
_LONGEST = 1e300
# Part of the automatic step of each coordinate from which on a step along a line is as good as can be, though it loses
# more than a thousandth: that of float16 loses 0.5 to 2% itself. Fixed by
# test_automatic_steps_of_directions_are_not_warned_of in tests/test_sparsity.py.
_NEAR_BEST = 0.25
# The same as `MOST_SHARE`, for float64 points and a scheme of order 1, whose steps are so short that the rounding of
# x + t v shows in a derivative: more takes steps too long where f changes over the length of a tiny coordinate.
# Fixed by test_one_sided_differences_along_lines_of_several_magnitudes in tests/test_magnitudes.py.
_ONE_SIDED_SHARE = 2e-6


class _Lines(NamedTuple):
    """Derivatives along lines ``x + t v``, a row each.

    Attributes
    ----------
    rows, reach, per_value : ndarray of float64
        The derivatives, how far t goes, and how far a value of f that is off by 1 puts them off.
    flags : int
        What the loop has seen.
    """

    rows: Floats
    reach: Floats
    per_value: Floats
    flags: int = RESPONDED


def along(problem: Any, vectors: Floats) -> tuple[Floats, int]:
    """Return the derivatives along vectors, a row each, and flags.

    Where rounding hides what an automatic step relative to a small coordinate changes, it is longer.
    """
    steps, plain = np.abs(problem.plan[1].lengths), np.asarray(problem.point)
    first = _lines(problem, vectors, steps)
    moving = np.where(vectors.any(axis=0), plain.reshape(-1), plain.dtype.type(1.0))
    if not problem.is_automatic or least_magnitude(moving) >= SMALL:
        return first.rows, first.flags
    with np.errstate(all="ignore"):
        # The points are rounded too: what that makes of f is not known, but its share of the whole move is.
        points = resolution(plain) * ((vectors != 0.0) @ scales(plain)) / np.abs(vectors).sum(axis=1)
        noise = np.repeat(problem.noise(), problem.width // problem.base.size) if problem.base.size else np.empty(0)

    def rounding(lines: _Lines, most: float) -> Floats:
        with np.errstate(all="ignore"):
            of_points = np.abs(lines.rows.T) * np.minimum(points / lines.reach, most)
            return of_points.T + np.outer(lines.per_value, noise)  # type: ignore[no-any-return]

    def again(longer: Floats, missing: NDArray[np.bool_]) -> tuple[Floats, Floats, Floats]:
        lines = _lines(problem, np.where(missing.any(axis=1, keepdims=True), vectors, 0.0), longer)
        # The last length comes again where another coordinate limits t.
        return lines.rows, rounding(lines, most), lines.reach[:, np.newaxis]

    most = MOST_SHARE if is_narrow(plain) else _ONE_SIDED_SHARE if problem.scheme.order == 1 else 0.0
    lost = ~(np.abs(first.rows) > enough(problem.eps, problem.scheme.order) * rounding(first, np.inf))
    lengthen(first.rows, moving, steps, rounding(first, most), again, lost)
    return first.rows, first.flags


def _lines(problem: Any, vectors: Floats, steps: Floats) -> _Lines:
    """Return the derivatives along vectors by steps; along zeros they are zero.

    The scheme is applied to the parameter t of each line ``x + t v``, whose bounds are where the line ends.
    """
    plain, sizes, count = np.asarray(problem.point), np.abs(vectors), len(vectors)
    with np.errstate(all="ignore"):
        longest = np.where(sizes > 0.0, np.minimum(steps / sizes, _LONGEST), np.inf).min(axis=1, initial=np.inf)
    lines = _Lines(np.zeros((count, problem.width)), np.full(count, np.inf), np.zeros(count))
    if not (moving := np.isfinite(longest)).any():
        return lines
    v, sizes = vectors[moving], sizes[moving]
    ends = None if problem.options.bounds is None else ends_of_lines(problem.point, v, problem.options.bounds)
    plan, where = rule_at(np.zeros(len(v)), longest[moving], problem.scheme, ends)
    base, _, offsets, weights, index, denominators, _ = plan.data
    rule = plan._replace(data=(base, 0.0, offsets, weights, index, np.ones(len(denominators)), False))
    found, reach = np.empty((len(v), problem.width)), np.abs(where.lengths)
    flags = problem.differentiate((rule, along_rows(where.lengths[:, np.newaxis] * v)), found, problem.options.progress)
    with np.errstate(all="ignore"):
        lines.rows[moving] = found / (denominators[index] * reach)[:, np.newaxis]
        lines.reach[moving], lines.per_value[moving] = reach, plan.amplification() / reach
        # Of points that are stored in fewer digits a thousandth goes sooner; of float16, of automatic steps too.
        x, moves = np.abs(plain.astype(np.float64)).reshape(-1), reach[:, np.newaxis] * sizes
        best = x * steps_of(np.ones(1, plain.dtype), "auto", problem.scheme, problem.eps)
        kept = ~(x * (1e3 * resolution(plain)) > moves) & (sizes > 0.0)  # NaN loses nothing
        is_best = np.all((moves >= _NEAR_BEST * best) | (sizes == 0.0), axis=-1)
        is_kept = np.all(np.any(kept, axis=-1) | is_best | problem.is_complex)
    return lines._replace(flags=flags if is_kept else flags | STEP_LOST)
