"""An f with several outputs at a point: its kind, its memory, its rule, and the drive of rows of its outputs."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import driver
from .analytic import check_analytic
from .arguments import describe
from .driver import Progress, Workers
from .loops import RESPONDED, STEP_LOST, Directions, Floats, Indices, Rule, make_complex_step, make_directions
from .objectives.python import PythonObjective, VectorizedObjective
from .objectives.vectors import BatchObjective, VectorObjective, floats, mixed, outputs
from .points import EPS, is_narrow, resolution
from .schemes import SPARE_ROOM, AnyScheme, Bounds, as_scheme, limits, rule_at

__all__: list[str] = []  # nothing here is public

# Bytes of the points of a batch at most, as in `numerical_gradient`.
_BATCH_BYTES = 2**26
# The longest t of a line ``x + t v`` along a tiny v: with the offsets of any scheme it stays finite.
_LONGEST = 1e300


class Options(NamedTuple):
    """The options of `numerical_jacobian`, and what only a compiled f has that fills its outputs.

    Attributes
    ----------
    fills : bool or tuple of int
        For ``f(x, out, *args)``: the shape of `out`, or True if that is the shape of x.
    """

    args: tuple[Any, ...] = ()
    workers: Workers = 1
    out: NDArray[Any] | None = None
    sparsity: Any = None
    progress: Progress = False
    scheme: AnyScheme = "central"
    bounds: Bounds | None = None
    vectorized: bool = False
    fills: bool | tuple[int, ...] = False
    resume: bool = False


class Problem:
    """An f with several outputs, at a point: its kind, the memory that is perturbed, f(x), and the rule of its scheme.

    Attributes
    ----------
    base : ndarray of float64 or complex128
        f(x), in its shape.
    eps : float
        The relative spacing of the floats that f returns, of float64 at least.
    """

    def __init__(self, f: Any, x: Any, h: Any, options: Options) -> None:
        self.f, self.h, self.options = f, h, options
        self.objective = _objective(f, x, options)
        if options.progress is not False:
            driver.check_progress(options.progress)
        self.point, self.private = self.objective.place(x, options.args)
        self.workers = driver.as_workers(options.workers, self.objective)
        # The scheme itself and not its name: the loop of the default has but one output.
        scheme: Any = as_scheme(options.scheme)
        self.plan = rule_at(self.point, h, scheme, options.bounds)
        returned = self.objective.returned(self.point, options.args)
        self.base, dtype = outputs(returned).copy(), np.asarray(returned).dtype
        self.eps = max(EPS, float(np.finfo(dtype).eps)) if dtype.kind in "fc" else EPS
        self.width = floats(self.base).size
        self.is_complex = self.plan[0].make is make_complex_step
        if self.is_complex and self.base.dtype.kind == "c":
            raise TypeError(
                "scheme='complex' needs an f that is real for a real x, this one is not; use another scheme"
            )
        if h.__class__ is str and self.eps != EPS:
            self.plan = rule_at(self.point, h, scheme, options.bounds, None, self.eps)

    def only(self, chosen: Indices) -> tuple[Rule, Any]:
        """Return the plan of some coordinates."""
        scheme: Any = as_scheme(self.options.scheme)
        eps = self.eps if self.h.__class__ is str else EPS
        return rule_at(self.point, self.h, scheme, self.options.bounds, chosen, eps)

    def differentiate(self, plan: tuple[Rule, Any], rows: Floats, progress: Progress = False) -> int:
        """Write what a plan makes of f to the rows, one a direction, and return flags."""
        rule, where = plan
        if not rows.size:
            return RESPONDED
        rule = Rule(rule.make, (self.base, *rule.data[1:]), False, rows.shape[1])
        options = self.options
        flags = driver.differentiate(
            self.objective, self.point, options.args, (rule, where), rows, self.workers, progress
        )
        if rule.make is make_complex_step:
            check_analytic(self.f, self.point, options.args, None, options.bounds, self._mixed)
        return flags

    def values(self, where: Directions, rows: Floats | None = None) -> NDArray[Any]:
        """Return f where some coordinates have moved, as flat outputs: a row for each direction, those of `rows`."""
        one = np.ones((1, 1))
        if rows is None:
            rows = np.empty((max(0, len(where.starts) - 1) or len(where.members), self.width))
        rule = Rule(make_directions, (math.nan, 0.0, one, one, np.zeros(1, np.intp), np.ones(1), False))
        self.differentiate((rule, where), rows)
        return rows.view(self.base.dtype)

    def along(self, vectors: Floats) -> tuple[Floats, int]:
        """Return the derivatives along vectors, a row each, and flags.

        The scheme is applied to the parameter t of each line ``x + t v``, whose bounds are where the line ends.
        """
        steps = np.abs(self.plan[1].lengths)
        x, sizes = np.abs(np.asarray(self.point, np.float64)).reshape(-1), np.abs(vectors)
        with np.errstate(all="ignore"):
            longest = np.where(sizes > 0.0, np.minimum(steps / sizes, _LONGEST), np.inf).min(axis=1, initial=np.inf)
        moving, rows = np.isfinite(longest), np.zeros((len(vectors), self.width))
        if not moving.any():
            return rows, RESPONDED
        ends = self._ends(vectors[moving])
        scheme: Any = as_scheme(self.options.scheme)
        rule, where = rule_at(np.zeros(int(moving.sum())), longest[moving], scheme, ends)
        base, _, offsets, weights, index, denominators, _ = rule.data
        data = base, 0.0, offsets, weights, index, np.ones(len(denominators)), False
        moves = (where.lengths[:, np.newaxis] * vectors[moving]).reshape(-1)
        found, n = np.empty((len(where.lengths), self.width)), vectors.shape[1]
        starts, members = n * np.arange(len(found) + 1), np.tile(np.arange(n), len(found))
        flags = self.differentiate(
            (rule._replace(data=data), Directions(starts, members, moves)), found, self.options.progress
        )
        with np.errstate(all="ignore"):
            rows[moving] = found / (denominators[index] * np.abs(where.lengths))[:, np.newaxis]
            # Of points that are stored in fewer digits a thousandth goes sooner.
            lost = x * (1e3 * resolution(np.asarray(self.point))) > longest[moving, np.newaxis] * sizes[moving]
            kept = self.is_complex or (~lost & (sizes[moving] > 0.0))
        return rows, flags if np.all(np.any(kept, axis=-1)) else flags | STEP_LOST

    def _ends(self, vectors: Floats) -> Any:
        """Return between which numbers t each line ``x + t v`` stays within the bounds."""
        if self.options.bounds is None:
            return None
        x = np.asarray(self.point, np.float64).reshape(-1)
        low, high = (end - x for end in limits(self.point, self.options.bounds))
        with np.errstate(all="ignore"):
            forth = np.where(vectors > 0.0, high, np.where(vectors < 0.0, low, np.inf)) / np.abs(vectors)
            back = np.where(vectors > 0.0, low, np.where(vectors < 0.0, high, np.inf)) / np.abs(vectors)
        return -np.abs(back).min(axis=1, initial=np.inf), np.abs(forth).min(axis=1, initial=np.inf)

    def inside(self, lengths: Floats) -> Floats:
        """Return flat displacements within the bounds, turned round where there is no room, as x stores them."""
        if self.options.bounds is None and not is_narrow(self.point):
            return lengths
        x = np.asarray(self.point).reshape(-1).astype(np.float64)
        low, high = (-np.inf, np.inf) if self.options.bounds is None else limits(self.point, self.options.bounds)
        low, high = ((1 - SPARE_ROOM) * (end - x) for end in (low, high))
        moved = np.clip(lengths, low, high)
        moved = np.where(np.abs(moved) < 0.5 * np.abs(lengths), np.clip(-lengths, low, high), moved)
        return moved if not is_narrow(self.point) else (x + moved).astype(self.point.dtype).astype(np.float64) - x

    def _mixed(self, x: NDArray[Any], *args: Any) -> Any:
        fills = getattr(self.objective, "fills", None)
        if fills is None:
            return mixed(self.f(x, *args), True)
        filled = np.empty(fills, np.complex128)
        self.f(x, filled, *args)
        return mixed(filled, True)

    def warn(self, flags: int, rows: Floats) -> None:
        """Warn of what the flags say, and of few digits."""
        if self.h.__class__ is float and not self.private and is_narrow(self.point) and not self.is_complex:
            largest = float(np.abs(self.base).max(initial=0.0))
            driver.warn_of_digits(largest, self.eps, self.h, rows)
        if flags != RESPONDED:
            ignored = driver.seems_ignored(self.objective, self.private, self.workers, flags, rows)
            driver.warn_of(flags, self.h, ignored, self.point)


def _objective(f: Any, x: Any, options: Options) -> Any:
    """Recognise the kind of an f with several outputs.

    Raises
    ------
    TypeError
        If it is not callable or of a kind that returns one number, or if one that is not compiled is to fill `out`.
    """
    found: Any = driver.as_objective(f, options.args, _BATCH_BYTES if options.vectorized else None)
    if isinstance(found, VectorizedObjective):
        return BatchObjective(f, _BATCH_BYTES, found.refuse)
    if found.has_descent:
        from .objectives.compiled_vectors import compiled_vector

        fills = np.shape(x) if options.fills is True else options.fills or None
        return compiled_vector(found, fills)
    if options.fills is not False:
        raise TypeError(f"fills=True needs a compiled f, got {describe(f)}; let f return an array")
    if type(found) is not PythonObjective:
        raise TypeError(f"numerical_jacobian needs an f that returns an array, got {describe(f)}; it has one number")
    return VectorObjective(f)
