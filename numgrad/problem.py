"""An f with several outputs at a point, and its derivatives by coordinates."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import arguments, driver
from .arguments import ALL_COORDINATES, describe
from .beside import Beside
from .bounds import Bounds, limits, moved_within
from .containers import is_labelled, with_labels
from .driver import Progress, Workers
from .gradient import takes_containers
from .inside import check_analytic, is_single_inside
from .loops import RESPONDED, Directions, Floats, Indices, Rule, make_central, make_complex_step
from .magnitudes import SMALL, enough, lengthen, rounding_by, rounding_near
from .objectives.python import PythonObjective, VectorizedObjective
from .objectives.vectors import BatchObjective, VectorObjective, floats, like, mixed, outputs
from .points import EPS, SINGLE, is_plain, lengths_of, preserving, resolution, scales
from .schemes import AnyScheme, along_rows, as_scheme, central_rule, rule_at, sum_of_values
from .sparsity import as_pattern, sparse_jacobian

__all__: list[str] = []  # nothing here is public

# Bytes of the points of a batch at most, as in `numerical_gradient`.
_BATCH_BYTES = 2**26


class Options(NamedTuple):
    """The options of `numerical_jacobian`, and what only a compiled f has that fills its outputs.

    Attributes
    ----------
    fills : bool or tuple of int
        For ``f(x, out, *args)``: the shape of `out`, or True if that is the shape of x.
    """

    h: Any = 1e-4
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
    has_lines : bool
        Whether its derivatives are those along lines, so that no coordinate needs room for its own step.
    verified : tuple or None
        The move that has verified a sparsity pattern, and f there; None without a pattern.
    taken : ndarray of float64
        The longer steps by which derivatives have been taken, 0 where there are none, and NaN where these are several.
    is_automatic : bool
        Whether steps are automatic, so that rounding may hide what those of small coordinates change.
    """

    def __init__(self, f: Any, x: Any, options: Options, has_lines: bool = False) -> None:
        if x.__class__ is not np.ndarray and is_labelled(x):
            takes_labels = takes_containers(f, options.args, x, options.vectorized)
            f, x = with_labels(f, x, takes_labels, h=options.h, bounds=options.bounds)
        self.f, self.x, self.h, self.options, self.has_lines = f, x, options.h, options, has_lines
        self.objective = _objective(f, x, options)
        driver.check_progress(options.progress)
        self.point, self.private = self.objective.place(x, options.args)
        self.workers = driver.as_workers(options.workers, self.objective)
        # The scheme itself and not its name: the loop of the default has but one output.
        self.scheme: Any = as_scheme(options.scheme)
        self.eps, self.verified, self.taken = EPS, None, np.zeros(self.point.size)  # type: Any, Any, Any
        self.plan = self.plan_of(None)
        try:
            returned = self.objective.returned(self.point, options.args)
        except BaseException:
            out = options.out
            if isinstance(out, np.ndarray) and out.dtype.kind in "fc" and not options.resume:  # no column is finished
                arguments.result_buffer(out, out.shape, x, options.args, out.dtype).fill(np.nan)
            raise
        self.base, self.is_flat = outputs(returned).copy(), is_plain(returned)
        self.width, self.is_complex = floats(self.base).size, self.plan[0].make is make_complex_step
        self.is_automatic = isinstance(self.h, str) and not self.is_complex
        if self.is_complex and self.base.dtype.kind == "c":
            raise TypeError(
                "scheme='complex' needs an f that is real for a real x, this one is not; use another scheme"
            )
        own = max(EPS, resolution(np.asarray(returned)))
        self.eps = SINGLE if own == EPS and self.is_automatic and self._is_single_inside() else own
        if isinstance(self.h, str) and self.eps != EPS:
            self.plan = self.plan_of(None)

    def _is_single_inside(self) -> bool:
        """Tell whether f seems to round to float32; NaN and infinity tell nothing."""
        workers, (at, values, near, _) = self.workers, self.beside
        finite = np.isfinite(values)
        found = is_single_inside(at, values[finite], lambda moves: near(moves)[:, finite], self.options.bounds)
        self.workers = workers
        return found

    def plan_of(self, chosen: Indices | None) -> tuple[Rule, Any]:
        """Return the plan of some coordinates, or of all."""
        bounds = None if self.has_lines else self.options.bounds
        return rule_at(self.point, self.h, self.scheme, bounds, chosen, self.eps)

    def _plan_of_columns(self, chosen: Indices | None) -> tuple[Rule, Any]:
        """Return the plan of the columns of a dense Jacobian, or of the chosen ones; a compiled f has a loop of it."""
        is_default = self.h.__class__ is float and self.options.scheme == "central" and self.options.bounds is None
        if is_default and self.is_flat and hasattr(self.objective, "again"):
            return central_rule(self.h), ALL_COORDINATES if chosen is None else chosen
        return self.plan if chosen is None else self.plan_of(chosen)

    def differentiate(self, plan: tuple[Rule, Any], rows: Floats, progress: Progress = False) -> int:
        """Write what a plan makes of f to the rows, one a direction, and return flags."""
        (rule, where), args = plan, self.options.args
        if not rows.size:
            return RESPONDED
        if rule.make is not make_central:
            plan = Rule(rule.make, (self.base, *rule.data[1:]), False, rows.shape[1]), where
        flags = driver.differentiate(self.objective, self.point, args, plan, rows, self.workers, progress)
        if rule.make is make_complex_step:
            check_analytic(self.f, self.point, args, None, self.options.bounds, self._mixed)
        return flags

    def values(self, where: Directions) -> NDArray[Any]:
        """Return f where some coordinates have moved, as flat outputs: a row for each direction."""
        rows = np.empty((len(where.starts) - 1, self.width))
        self.differentiate((sum_of_values(1.0), where), rows)
        return rows.view(self.base.dtype)

    def moved(self, lengths: Floats, members: Indices = ALL_COORDINATES) -> NDArray[Any]:
        """Return f, as flat outputs, where all coordinates, or some, have moved together."""
        objective, args, shape = self.objective, self.options.args, self.point.shape
        if len(members) or not (objective.has_descent or objective.__class__ is VectorObjective):
            return self.values(Directions(np.array([0, len(lengths)]), members, lengths))[0]  # type: ignore[no-any-return]
        if objective.has_descent:  # it is called with copies anyway
            with np.errstate(all="ignore"):  # next to the largest number
                point = np.asarray(self.point + lengths.reshape(shape))
            return like(objective.returned(point, args), self.base).reshape(-1)
        memory = self.point.view(np.ndarray)

        def at(saved: list[NDArray[Any]]) -> NDArray[Any]:
            with np.errstate(all="ignore"):
                memory[...] = saved[0] + lengths.reshape(shape)
            return like(objective.evaluate(self.point, args), self.base).reshape(-1).copy()

        return preserving([self.point], at)  # type: ignore[no-any-return]

    def jacobian(self, noise: float = 0.0) -> Any:
        """Return what `numerical_jacobian` does, or the memory of `out`, of outputs whose rounding is this at least."""
        base, point, (args, out) = self.base, self.point, (self.options.args, self.options.out)
        if self.options.resume and out is None:
            raise ValueError(
                "resume=True goes on with what is in out; pass the array of the Jacobian that was broken off"
            )
        if self.options.sparsity is not None:
            if out is not None:
                raise ValueError("out must be None with a sparsity: the result is a scipy.sparse.csr_array")
            found, flags = self._sparse()
            self._lengthen_columns(found, noise)
            self.warn(flags, found.data)
            return found
        shape = (*base.shape, *point.shape)
        if out is not None:
            result = arguments.result_buffer(out, shape, self.x, args, base.dtype)
            self._write(result.reshape(base.size, point.size), noise)
            return result
        rows = np.empty((point.size, self.width))
        flags = self.differentiate(self._plan_of_columns(None), rows, self.options.progress)
        if self.is_automatic:
            self._lengthen_columns(rows.view(base.dtype).T, noise)
        self.warn(flags, rows)
        axes = *range(point.ndim, len(shape)), *range(point.ndim)
        return rows.view(base.dtype).reshape((*point.shape, *base.shape)).transpose(axes)

    def _write(self, columns: NDArray[Any], noise: float) -> None:
        """Write the columns of a Jacobian, and NaN for those that are not finished; to resume, those with a NaN."""
        resume, small = self.options.resume, (scales(np.asarray(self.point)) < SMALL) & self.is_automatic
        chosen = np.flatnonzero(np.isnan(columns).any(axis=0)) if resume else np.arange(columns.shape[1])
        rows = np.full((len(chosen), self.width), np.nan)
        try:
            flags = self.differentiate(self._plan_of_columns(chosen if resume else None), rows, self.options.progress)
            columns[:, chosen] = rows.view(columns.dtype).T
            self._lengthen_columns(columns, noise)
        except BaseException:
            rows[small[chosen]] = math.nan  # nobody has looked whether they are good enough
            columns[:, chosen] = rows.view(columns.dtype).T
            raise
        self.warn(flags, columns)

    def _lengthen_columns(self, found: Any, least_noise: float) -> None:
        """Take again the columns of small coordinates with an entry that rounding hides, and keep what is better.

        `least_noise` is what the rounding of each output is at least.
        """
        plain = np.asarray(self.point)
        if not (self.is_automatic and (small := scales(plain) < SMALL).any()):
            return
        steps, noise = np.abs(self.plan[1].lengths), np.fmax(self.noise(), least_noise)
        if is_dense := isinstance(found, np.ndarray):
            entries, columns, noise = found, np.broadcast_to(np.arange(len(steps)), found.shape), noise[:, np.newaxis]
        else:
            entries, columns, noise = found.data, found.indices, np.repeat(noise, np.diff(found.indptr))

        def again(longer: Floats, missing: Any) -> tuple[Any, Floats, Floats]:
            hidden = np.isin(np.arange(len(steps)), columns[missing])
            self.h = np.where(hidden, longer, steps).reshape(plain.shape)
            self.plan = self.plan_of(None)
            found = self._columns(hidden) if is_dense else self._sparse()[0].data
            return found, noise * rounding_by(self.plan, 1.0)[columns], np.abs(self.plan[1].lengths)[columns]

        with np.errstate(all="ignore"):  # next to the smallest numbers
            rounding = noise * rounding_by(self.plan, 1.0)[columns]
            lost = small[columns] & ~(np.abs(entries) > enough(self.eps, self.scheme.order) * rounding)
        given = self.h, self.plan
        taken = lengthen(entries, plain, steps, rounding, again, lost)
        least, most = np.full(len(steps), math.inf), np.zeros(len(steps))
        np.minimum.at(least, columns, taken)
        np.maximum.at(most, columns, taken)
        self.taken = np.where((least == most) | (least == math.inf), most, math.nan)
        self.h, self.plan = given  # of the entries that were not replaced

    def _columns(self, chosen: NDArray[np.bool_]) -> NDArray[Any]:
        """Return some columns of a dense Jacobian, and NaN for the others."""
        rows, own = np.full((len(chosen), self.width), math.nan), np.empty((chosen.sum(), self.width))
        self.differentiate(self.plan_of(np.flatnonzero(chosen)), own)
        rows[chosen] = own
        return rows.view(self.base.dtype).T

    def _sparse(self) -> tuple[Any, int]:
        return sparse_jacobian(self, as_pattern(self.options.sparsity, (self.base.size, self.point.size)))

    def noise(self) -> Floats:
        """Return how far rounding puts off each output at the point: its spacing, or more that is seen next to it.

        These evaluations, and those that follow, count as no progress, and need no other processes.
        """
        self.options = self.options._replace(progress=False)
        self.workers = 1 if callable(self.workers) else self.workers
        ends = None if self.options.bounds is None else limits(self.point, self.options.bounds)
        base, shortest = self.base.reshape(-1), float(np.abs(self.plan[1].lengths).min(initial=np.inf))
        at = np.asarray(self.point), base, self.eps
        inside = rounding_near(*at, lambda moves: self.values(along_rows(moves)), ends, shortest)
        with np.errstate(all="ignore"):
            return np.fmax(self.eps * np.abs(base), inside)  # type: ignore[no-any-return]

    @property
    def beside(self) -> Beside:
        """The f beside the point, where a few evaluations need no other processes."""
        self.workers = 1

        def near(moves: Floats) -> Floats:
            if len(moves) == 1:
                return floats(self.moved(moves[0]))[np.newaxis]
            return self.values(along_rows(moves)).view(np.float64)

        return Beside(np.asarray(self.point), floats(self.base), near, self.inside)

    def inside(self, lengths: Floats) -> Floats:
        """Return flat displacements within the bounds, turned round where there is no room, as x stores them."""
        return moved_within(self.point, lengths, self.options.bounds)

    def _mixed(self, x: NDArray[Any], *args: Any) -> Any:
        scratch = self.objective.scratch(True) if hasattr(self.objective, "scratch") else ()
        returned = self.f(x, *scratch, *args)
        return mixed(scratch[0] if scratch else returned, True)

    def warn(self, flags: int, rows: Floats) -> None:
        """Warn of what the flags say, and of few digits."""
        if self.eps > EPS and not self.is_complex:
            driver.warn_of_digits(float(np.abs(self.base).max(initial=0.0)), self.eps, self.options.h, rows)
        if flags != RESPONDED:
            at = self.point, self.options.args, self.options.bounds, lengths_of(self.plan)
            ignored = driver.seems_ignored(self.objective, self.private, self.workers, flags, rows, at)
            driver.warn_of(flags, self.options.h, ignored, self.point)


def _objective(f: Any, x: Any, options: Options) -> Any:
    """Recognise the kind of an f with several outputs.

    Raises
    ------
    TypeError
        If it is not callable, or of a kind that returns one number; if one that is not compiled is to fill its outputs.
    """
    found: Any = driver.as_objective(f, options.args, _BATCH_BYTES if options.vectorized else None, options.bounds)
    if isinstance(found, VectorizedObjective):
        return BatchObjective(f, _BATCH_BYTES, found.refuse, found.ends_at)
    if found.has_descent:
        from .objectives.compiled_vectors import compiled_vector

        fills = np.shape(x) if options.fills is True else None if options.fills is False else options.fills
        return compiled_vector(found, fills)
    if options.fills is not False:
        raise TypeError(f"fills=True needs a compiled f, got {describe(f)}; let f return an array")
    if type(found) is not PythonObjective:
        raise TypeError(f"f must return an array, {describe(f)} has one number; numerical_gradient takes it")
    return VectorObjective(f)
