"""Whether a sparse Jacobian or Hessian has all entries: what f changes with, beside rounding, noise and curvature."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .loops import Floats, Indices
from .points import refusal, scales, where_defined

__all__: list[str] = []  # nothing here is public

# Part of what the entries of a row change f by from which on a change by something else is looked into: for steps that
# are given, of which 1e-4 makes as much of a curved f; and for automatic ones, which make 6e-6 of it, in multiples of
# the part of x by which coordinates move, if that is less.
# Fixed by test_a_missing_entry_is_found and test_a_missing_entry_of_another_unit_is_found in tests/test_sparsity.py.
_SUSPICIOUS, _BY_MOVE = 1e-3, 16.0
# Spacings of the floats of an output for which a change is not looked into. Fixed by the same test.
FAINT = 64.0
# Rows that are looked into at most, for an evaluation each: in turn that with the largest change, and that with the
# largest one beside what is expected of it, so that outputs of other units hide none.
_SUSPECTS = 8
# Spacings of the floats by which an output may change with a coordinate on which it does not depend, since a sum or a
# transform rounds otherwise. Fixed by test_no_wolf_is_cried in tests/test_sparsity.py.
_ROUNDED = 1024
# Times the noise of an f that is random, of five values, by which it may change.
_NOISY = 10
# Spacings of the floats of the largest output by which another one may change without depending, if it does so at
# random: what cancels in it may be as large. Fixed, as the next three, by the tests of large intermediates there.
_CANCELLED = 8
# Relative to x: how far a move goes by which such rounding is told from a slope, which grows with the move.
_FAR = 1e-2
# Points on the way there, part of their values by which a cubic may miss those of a smooth f, and how often values at
# random go through the whole of their range.
_POINTS, _SMOOTH, _RANDOM = 16, 0.1, 3
# Spacings of f by which a sum of its values may be off, by the way in which it is rounded.
# Fixed, as _CURVED and _ROUNDS, by test_a_missing_pair_is_found_and_no_other in tests/test_hessian.py.
_SUMMED = 64.0
# Times the rounding that f shows by which a sum of four of its values may be off: seven values may show a quarter of
# it. Fixed, as the next two, by test_no_pair_is_missing_in_few_digits in tests/test_hessian.py.
_SHOWN = 16.0
# Parts of what a step changes between which half the step is to change it: a fourth for a product, all or nothing for
# a jump of an f of so few digits that no noise is seen.
_LEAST_HALF, _MOST_HALF = 1 / 64, 3 / 4
# Part of the squared relative step by which truncation may change the second difference along a random direction.
_CURVED = 0.1
# Pairs of sets that are moved where a pattern is in doubt, by three evaluations each: of the pairs that are missing,
# each is between the sets of a round once in ten or so.
_ROUNDS = 40


def suspicious(problem: Any, v: Floats) -> float:
    """Return the part of what its entries change an output by from which on a change by others is looked into."""
    if not problem.is_automatic:
        return _SUSPICIOUS
    with np.errstate(all="ignore"):
        moved = np.abs(v) / scales(np.asarray(problem.point))
        return min(_SUSPICIOUS, _BY_MOVE * float(np.max(moved, initial=0.0)))


def check(problem: Any, jacobian: Any, v: Floats, forth: NDArray[Any]) -> None:
    """Raise a ValueError if outputs change with coordinates for which the Jacobian has no entry.

    Only where f changes along v by other than J v, and is not just curved, which an evaluation on the other side shows,
    coordinates without an entry are moved for themselves: then an output must not change at all, but for rounding and
    noise.
    """
    base, back = problem.base.reshape(-1), problem.inside(-v)
    with np.errstate(all="ignore"):
        expected, size = jacobian @ v, abs(jacobian) @ np.abs(v)
        rounding, change = problem.eps * np.abs(base), forth - base
        if np.allclose(back, -v, rtol=1e-6, atol=0.0):  # the half of both sides is free of the curvature of f
            change = (change - (problem.moved(back) - base)) / 2
        excess = np.nan_to_num(np.abs(change - expected))
        usual = suspicious(problem, v) * size + FAINT * rounding
        noise = _noise(lambda: np.nan_to_num(np.abs(problem.moved(0.0 * v) - base)))
        allowed = _ROUNDED * (rounding + problem.eps * size) + _NOISY * noise
        is_odd = excess > usual
        ranks = (np.argsort(-np.where(is_odd, key, -1.0), kind="stable") for key in (excess, excess / usual))
    in_turn = dict.fromkeys(np.stack([rank[:_SUSPECTS] for rank in ranks], axis=1).reshape(-1).tolist())
    for i in list(in_turn)[:_SUSPECTS]:
        if is_odd[i]:
            _look_into(problem, jacobian, i, v, float(allowed[i]))


def _noise(sample: Callable[[], Floats]) -> Floats:
    """Return by how much each output differs from itself: the largest of five samples, or 0 if all are in the first."""
    first = sample()
    return np.max([first, *[sample() for _ in range(4)]], axis=0) if first.any() else first


def _look_into(problem: Any, jacobian: Any, i: int, v: Floats, allowed: float) -> None:
    """Raise a ValueError that names a coordinate without an entry with which output i changes, if there is one."""
    own, base = jacobian.indices[jacobian.indptr[i] : jacobian.indptr[i + 1]], problem.base.reshape(-1)[i]

    def change(members: Indices) -> Any:
        return problem.moved(v[members], members)[i] - base

    others = np.setdiff1d(np.arange(v.size), own)
    whole = change(others) if len(others) else 0.0
    if not abs(whole) > allowed or _is_rounded(problem, (i, whole), v, others):
        return
    while len(others) > 1:
        half = others[: len(others) // 2]
        part = change(half)
        others, whole = (half, part) if abs(part) > abs(whole - part) else (others[len(half) :], whole - part)
    named = f"coordinate {others[0]}" if abs(change(others)) > allowed else "several coordinates together"
    cure = "numgrad.jacobian_sparsity(f, x) looks for all"
    if problem.options.sparsity is None:  # this is what it has found
        cure = "what was found at x is not all; add the entry, or take the union of the patterns of several points"
    raise refusal(f"sparsity is too small: output {i} changes with {named}, for which it has no entry; {cure}")


def _is_rounded(problem: Any, output: tuple[int, Any], v: Floats, others: Indices) -> bool:
    """Tell whether an output changes with the others at random, as by the rounding of large numbers that cancel in it.

    A change that the largest output does not explain must be seen to be random. Any other one must be seen to be none:
    it is smooth for a longer move too, if f is defined there.
    """
    (i, whole), base, parts = output, problem.base.reshape(-1), np.arange(1, _POINTS + 1) / _POINTS
    largest, lengths = np.nan_to_num(np.abs(base), posinf=0.0).max(), np.abs(v[others])
    with np.errstate(divide="ignore"):
        longest = np.min(_FAR * scales(np.asarray(problem.point))[others] / lengths, initial=_FAR / problem.eps)

    def changes(times: float) -> NDArray[Any]:
        move = problem.inside(times * v)[others]
        return np.array([problem.moved(part * move, others)[i] - base[i] for part in parts])

    if not abs(whole) <= _CANCELLED * problem.eps * largest:
        values = np.append(0.0, changes(1.0))
        with np.errstate(all="ignore"):
            return bool(np.abs(np.diff(values)).sum() > _RANDOM * np.ptp(values))
    values = where_defined(lambda: changes(max(1.0, float(longest))))
    values = np.nan_to_num(changes(1.0) if values is None or not np.isfinite(values).all() else values)
    powers = parts[:, np.newaxis] ** [1, 2, 3]
    return bool(np.abs(powers @ np.linalg.lstsq(powers, values)[0] - values).max() > _SMOOTH * np.abs(values).max())


def check_pairs(problem: Any, found: Floats, mixed: Floats, pairs: tuple[Indices, Indices]) -> None:
    """Raise a ValueError if f couples coordinates for which there is no pair.

    What the second differences by each coordinate, and twice the mixed ones, say of a random direction shows it, but so
    does truncation. Then sets of coordinates are moved that no pair connects: what both change f by must be the sum of
    what each does, but for rounding.
    """
    n, (i, j), rng, at_x = len(found), pairs, np.random.default_rng(0), problem.value
    with np.errstate(all="ignore"):
        size = np.abs(found).sum() + np.abs(mixed).sum()
        relative = problem.relative_steps()
        # Of the terms of f, which may cancel in it, the second derivatives tell the size.
        terms = np.sum(np.abs(found) / relative**2) + np.sum(np.abs(mixed) / relative[i] / relative[j])
        rounding = _SUMMED * problem.eps * (abs(at_x) + terms)
        expected = _CURVED * np.max(relative) ** 2 * size + rounding
    if not problem.unexplained(found, mixed, pairs) > expected:
        return
    rounding = max(rounding, _SHOWN * (shown := problem.shown_rounding()))
    for _ in range(_ROUNDS):
        one = rng.random(n) < 1.0 / (2.0 + 2.0 * len(i) / n)
        near = one.copy()
        near[i[one[j]]] = near[j[one[i]]] = True
        sets = [np.flatnonzero(one | ~near), np.flatnonzero(one), np.flatnonzero(~near)]

        def change(part: float, sets: list[Indices] = sets) -> float:
            both, first, second = problem.values(sets, part)
            return abs(float(both - first - second + at_x))

        if (whole := change(1.0)) > rounding and (shown or _LEAST_HALF < change(0.5) / whole < _MOST_HALF):
            raise ValueError(
                "sparsity is too small: f couples coordinates for which it has no entry; add all pairs of "
                "coordinates of which f has a product or another common term"
            )
