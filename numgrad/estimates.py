"""Estimate: numbers with an error; estimate_derivative and estimate_gradient, which make them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypedDict, TypeVar, Unpack, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import driver
from .arguments import (
    ALL_COORDINATES,
    as_coordinates,
    finite_real,
    is_compiled,
    plain_numbers,
    real_array,
    real_number,
)
from .containers import flat_of, in_order, is_container, labels, plain_of
from .display import MOST_ROWS, concise, table
from .driver import Progress, Workers, differentiate
from .estimate_loops import COLUMNS, make_estimates, make_estimates_of_outputs, make_guarded_estimates
from .gradient import of_each_array
from .loops import RESPONDED, Floats, Rule
from .objectives.python import PythonObjective
from .objectives.vectors import VectorObjective
from .points import EPS, SHARE, private_copy, resolution
from .schemes import Bounds, limits

__all__ = ["Estimate", "estimate_derivative", "estimate_gradient"]

# Relative error, without unit, below which an estimate counts as converged; a promise of Estimate's docstring.
_CONVERGED = 1e-6
# Unit: eps. The relative error at which no other first step is tried, 1e-10 in float64: another one costs some 12
# evaluations. Fixed by test_the_catalogue_is_estimated_accurately_and_cheaply.
_GOOD = 4.5e5
# Rows of a printed table: it fits on a screen. Fixed by test_arrays_are_written_as_a_table.
_ROWS = 10

Number = TypeVar("Number", float, NDArray[np.float64])


@dataclass(frozen=True, eq=False, repr=False)
class Estimate(Generic[Number]):
    """A derivative or a gradient with its error: ``value, error = estimate`` unpacks it.

    Attributes
    ----------
    value : float or ndarray of float64
        The derivative, in the unit of f per unit of x; NaN where none was found.
    error : float or ndarray of float64
        An estimate of its absolute error, of the same shape; infinite where no derivative was found.
    step : float or ndarray of float64
        The smallest step that counts in the value.
    evaluations : int
        How often f was evaluated in all.
    converged : bool or ndarray of bool
        Whether the error is at most `rtol`, by default 1e-6, of the value, or at most `atol`.

    Examples
    --------
    >>> from numgrad import estimate_derivative
    >>> line = estimate_derivative(lambda x: 3.0 * x, 2.0)
    >>> line
    Estimate(3.00000000000000(2))
    >>> line.value, line.evaluations, line.converged
    (3.0, 6, True)
    """

    value: Number
    error: Number
    step: Number
    evaluations: int
    converged: Any

    def __iter__(self) -> Iterator[Number]:
        return iter((self.value, self.error))

    def __float__(self) -> float:
        return float(self.value)

    def __format__(self, spec: str) -> str:
        return format(self.value, spec) if spec else str(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as a dict of numbers and lists, as JSON takes them."""
        return {name: plain_of(value) for name, value in vars(self).items()}

    def _repr_html_(self) -> str:
        value, error, converged = map(flat_of, (self.value, self.error, self.converged))
        with np.errstate(all="ignore"):
            relative = np.where(np.isinf(error), np.inf, np.where(error > 0.0, error / np.abs(value), 0.0))
        places = np.lexsort((-error, -relative, converged))[:MOST_ROWS]
        rows = [
            (name, concise(value[k], error[k]), f"{error[k]:.1e}", "yes" if converged[k] else "no")
            for k, name in zip(places, self._names(places), strict=True)
        ]
        caption = f"{int(np.sum(converged)):,} of {value.size:,} converged, {self.evaluations:,} evaluations"
        return table(("index", "value", "error", "converged"), rows, value.size, caption=caption)

    def __repr__(self) -> str:
        if self._is_number():
            return f"Estimate({self})"
        error, converged = map(flat_of, (self.error, self.converged))
        worst = f"largest error {np.max(error):.1e}" if error.size else "empty"
        shape = f"of a {type(self.value).__name__}" if is_container(self.value) else f"shape {np.shape(self.value)}"
        return f"Estimate({shape}, {worst}, {int(np.sum(converged))} converged)"

    def __str__(self) -> str:
        if self._is_number():
            return concise(float(self.value), float(self.error))
        names = self._names(range(min(_ROWS, flat_of(self.value).size)))
        width = max(map(len, names), default=0)
        columns = values, errors, converged = tuple(map(flat_of, (self.value, self.error, self.converged)))
        lines = [
            f"{name:{width}}  {concise(value, error)}{'' if is_good else '  ?'}"
            for name, value, error, is_good in zip(names, *columns, strict=False)
        ]
        if values.size > len(lines):
            lines.append(f"... and {values.size - len(lines)} more; largest error {np.max(errors):.1e}")
        if not converged.all():
            lines.append(f"{values.size - int(converged.sum())} did not converge (?)")
        return "\n".join(lines)

    def _names(self, places: Iterable[int]) -> list[str]:
        """Return the names of some elements, of all in C order."""
        if is_container(self.value):
            known = labels(self.value)
            return [known[k] for k in places]
        shape = np.shape(self.value)
        return [f"({', '.join(map(str, np.unravel_index(k, shape) if shape else ()))})" for k in places]

    def _is_number(self) -> bool:
        return not is_container(self.value) and np.ndim(self.value) == 0


class _Options(TypedDict, total=False):
    """The further parameters of `estimate_derivative`, for a type checker."""

    args: tuple[Any, ...]
    bounds: Bounds | None
    rtol: float | None
    atol: float
    first_step: ArrayLike | None


@overload
def estimate_derivative(f: Callable[..., Any], x: float, **options: Unpack[_Options]) -> Estimate[float]: ...
@overload
def estimate_derivative(f: Callable[..., Any], x: ArrayLike, **options: Unpack[_Options]) -> Estimate[Floats]: ...
def estimate_derivative(
    f: Callable[..., Any],
    x: ArrayLike,
    *,
    args: tuple[Any, ...] = (),
    bounds: Bounds | None = None,
    rtol: float | None = None,
    atol: float = 0.0,
    first_step: ArrayLike | None = None,
) -> Any:
    """Return the derivative of `f` at `x` with an estimate of its error, by Ridders' extrapolation.

    Parameters
    ----------
    f : callable
        ``f(x, *args) -> float`` for a float, or an array of any shape. It may be compiled with `numba.njit`; if it
        returns a float, the extrapolation is then compiled around it.
    x : float or array_like
        Where the derivative is taken; of an array, element by element.
    args : tuple, optional
        Further arguments of `f`.
    bounds : pair of array_like, optional
        ``low, high``, between which alone `f` is evaluated; the differences are one-sided where there is no room.
    rtol : float, optional
        Relative error at which it stops to look for a better first step, and up to which it has converged: by default
        1e-10 and 1e-6.
    atol : float, optional
        Absolute error up to which it stops and has converged, in the unit of f per unit of x; for a slope of 0.
    first_step : array_like, optional
        The step to begin with, in the unit of x, in place of one that is found: the length on which `f` changes.

    Returns
    -------
    Estimate
        Of floats for a number, else of arrays of the shape of `x`; of shape ``(*f(x).shape, *x.shape)`` if `f` returns
        an array, whose elements share their evaluations.

    Raises
    ------
    TypeError
        If `f` is not callable or returns anything but a real number; if `x` or an option is not real.
    ValueError
        If `x` lies outside the bounds, `rtol` or `atol` is negative, or `first_step` is not positive and finite.
    Exception
        Whatever `f` raises at `x`, or wherever it was asked before a step worked, and what left no derivative to find.
        At other points an exception of a Python `f` counts as NaN, the end of a domain: the differences are one-sided
        or their steps smaller there. A compiled `f` must return NaN or infinity there.

    Notes
    -----
    Central differences for steps that halve from 3/16 of |x| are extrapolated to the step 0, until that gets worse:
    some 14 evaluations for smooth functions, with relative errors near 2e-15. The error is the largest of the distances
    between neighbours in the tableau, the round-off ``eps (|f| + |x f'|) / h``, the noise of f over h, and half the
    jump between the one-sided slopes at 0, which tells a kink. One evaluation next to x tells whether f is there what
    the steps foresee, to its last digits. If not, a few more tell noise and steps, as of float32, rounding or an
    iteration, from a structure finer than the steps, as of a spline with thousands of knots. Where f has noise, three
    more look between there and the steps: what a structure above the noise may add to the slope stays in the error. The
    first step is then 3/4 of |x| at most, or 3/16, since longer ones would miss what the noise hides. For functions of
    few digits that takes 20 to 60 evaluations, beside something smooth up to 110, as at kinks; for lines of two digits
    up to 90.

    Few digits beside something smooth make many jumps: the derivative is the mean slope. An f with fewer than 50 jumps
    in the first step has the slope between them; where one is met, the error is the difference to the mean slope.

    The error is an estimate, no bound. At 1,000 random points of each of the 18 kinds of tests/kinds.py (smooth,
    float32, rounded, noisy, cancelling, kinked and others) no true error was larger than ten reported ones: ``python
    tests/test_kinds.py 1000`` prints the table. What f computes wrongly but smoothly, as a series that ends early or an
    iteration to a tolerance, goes unseen: the derivative is that of what f computes. So may, of an f of few digits,
    ripples of some ten units of its last digit of which x has more than four periods; of any f, a structure finer than
    the steps that its round-off hides, as that of a spline with 20,000 knots: some 1e-11 of its slope, up to 200 times
    the reported error; and ripples below the round-off of a line beside a constant, from steps far beyond x.

    References
    ----------
    Ridders, C. J. F., *Accurate computation of F'(x) and F'(x) F''(x)*, Advances in Engineering Software 4, 1982; Press
    et al., *Numerical Recipes*, section 5.7.

    Examples
    --------
    >>> import math
    >>> from numgrad import estimate_derivative
    >>> print(estimate_derivative(math.exp, 0.0))
    1.00000000000000(2)
    >>> print(estimate_derivative(abs, 0.0))
    0(1)
    """
    driver.as_objective(f, args)  # which checks them
    in_order(x, bounds=bounds, first_step=first_step)
    points, goals = private_copy(real_array(x)), _goals(rtol, atol)
    objective = _of_one(f) if is_compiled(f) else PythonObjective(lambda point, *args: f(float(point[0]), *args))
    reach, rows, base = _reach(points, bounds, first_step), np.empty((points.size, COLUMNS)), None
    for k, value in enumerate(points.reshape(-1)):
        point = objective.place(np.array([value]), args)[0]
        own = reach[:, k : k + 1].copy() if reach.size else reach
        problem = Problem(objective, point, True, args, goals, own)
        if isinstance(objective, PythonObjective):
            returned = f(float(value), *args)
            if k == 0 and _has_several(returned):
                return _of_several(problem._replace(objective=VectorObjective(objective.f)), points, reach)
            base = real_number(returned)
        differentiate(objective, point, args, (problem.rule(base), ALL_COORDINATES), rows[k : k + 1])
    if isinstance(x, np.ndarray) or points.ndim:
        return goals.estimate(rows, points.shape, points.size)
    value, error, step, _, evaluations = rows[0].tolist()
    return Estimate(value, error, step, int(evaluations) + 1, goals.has_converged(value, error))


def _has_several(returned: Any) -> bool:
    with suppress(ValueError):  # ragged, as of a value and a gradient
        return bool(math.prod(np.shape(returned)) != 1)
    return False


def _of_several(problem: Problem, points: Floats, reach: Floats) -> Estimate[Any]:
    """Return the derivatives of an f with several outputs, of shape ``(*f(x).shape, *points.shape)``."""
    found, shape = list[Floats](), tuple[int, ...]()
    for k, number in enumerate(points.reshape(-1)):
        own = problem._replace(point=np.array([number]), reach=reach[:, k : k + 1].copy())
        rows, shape, _ = own.rows_of_outputs()
        found.append(rows)
    # One evaluation more: the first value showed the shape.
    return problem.goals.estimate(np.concatenate(found, axis=1), (*shape, *points.shape), points.size + 1)


class Goals(NamedTuple):
    """What is good enough: a relative error, 0 for none of the user's own, and an absolute one."""

    rtol: float
    atol: float

    def estimate(self, rows: Floats, shape: tuple[int, ...], further: int) -> Estimate[Any]:
        """Return the rows of a loop of `numgrad.estimate_loops` as an Estimate, with `further` evaluations, of f(x)."""
        value, error, step, _, evaluations = rows.reshape(-1, COLUMNS).T.copy().reshape(COLUMNS, *shape)
        return Estimate(value, error, step, int(evaluations.sum()) + further, self.has_converged(value, error))

    def has_converged(self, value: Any, error: Any) -> Any:
        """Tell which errors are at most what the user, or `Estimate`, allows."""
        if value.__class__ is float:
            return error <= max((self.rtol or _CONVERGED) * abs(value), self.atol)
        with np.errstate(all="ignore"):  # a part of a tiny value
            return error <= np.maximum((self.rtol or _CONVERGED) * abs(value), self.atol)


class Problem(NamedTuple):
    """An f near the point where its derivatives are estimated, and what is asked of the estimates.

    `private` tells that the point is a copy; `reach` holds the lower and upper bounds and the first steps, 0 for one
    that is to be found, in rows, or no rows.
    """

    objective: Any
    point: NDArray[Any]
    private: bool
    args: tuple[Any, ...]
    goals: Goals
    reach: Floats
    workers: Workers = 1

    def data(self, base: Any, limits: Floats) -> tuple[Any, ...]:
        """Return what the loops of `numgrad.estimate_loops` take: f is known in float64 at most."""
        eps = resolution(self.point)
        return base, eps, self.goals.rtol or _GOOD * max(eps, EPS), self.goals.atol, limits

    def rule(self, base: float | None = None) -> Rule:
        """Return the rule of first derivatives; without `base`, f(x) is evaluated."""
        data = self.data(math.nan if base is None else base, self.reach)
        return Rule(make_estimates, data, base is None, COLUMNS, make_guarded_estimates)

    def run(self, rule: Rule, where: Any, count: int, progress: Progress = False) -> tuple[Floats, int]:
        """Return what a rule makes of f, a row for each of `count` units, and flags."""
        rows = np.empty((count, rule.columns))
        return rows, differentiate(self.objective, self.point, self.args, (rule, where), rows, self.workers, progress)

    def rows_of_outputs(self, progress: Progress = False) -> tuple[Floats, tuple[int, ...], int]:
        """Return the rows of each output and coordinate of an f with several outputs, its shape, and flags."""
        base = self.objective.value(self.point, self.args)
        if base.dtype.kind == "c":
            raise TypeError(
                "f must return real numbers, it returned complex ones; estimate its real and imaginary parts"
            )
        columns, data = base.size * COLUMNS, self.data(base, self.reach)
        rule = Rule(make_estimates_of_outputs, data, False, columns, make_estimates_of_outputs)
        rows, flags = self.run(rule, ALL_COORDINATES, self.point.size if base.size else 0, progress)
        return rows.reshape(self.point.size, base.size, COLUMNS).transpose(1, 0, 2), base.shape, flags

    def warn_of(self, flags: int, values: Floats | None) -> None:
        """Warn of an argument that f seems to ignore, where the `values` are those for all coordinates."""
        if values is not None and not flags & RESPONDED:
            at = self.point, self.args, [row.reshape(self.point.shape) for row in self.reach[:2]] or None, SHARE
            ignored = driver.seems_ignored(self.objective, self.private, self.workers, flags, values, at)
            driver.warn_of(flags, math.nan, ignored, self.point)


def problem_of(objective: driver.Objective, place: Callable[..., Any], x: Any, options: dict[str, Any]) -> Problem:
    """Return the problem of an objective and the options of a public function; `place` says which memory to perturb."""
    args = options["args"]
    driver.check_progress(options["progress"])
    point, private = place(x, args)
    workers = driver.as_workers(options["workers"], objective)
    reach = _reach(point, options["bounds"], options["first_step"])
    return Problem(objective, point, private, args, _goals(options["rtol"], options["atol"]), reach, workers)


def _goals(rtol: float | None, atol: float) -> Goals:
    """Return what is good enough; ValueError unless rtol is positive, or None, and atol is not negative."""
    goals = Goals(0.0 if rtol is None else finite_real("rtol", rtol), finite_real("atol", atol))
    if min(goals) < 0.0 or rtol == 0.0:
        raise ValueError(f"rtol must be positive and atol not negative, got {rtol} and {atol}")
    return goals


def _reach(x: NDArray[Any], bounds: Bounds | None, first_step: ArrayLike | None) -> Floats:
    """Return bounds and first steps as a `Problem` holds them."""
    if bounds is None and first_step is None:
        return np.empty((0, 0))
    low, high = (-math.inf, math.inf) if bounds is None else limits(x, bounds)
    steps = plain_numbers(0.0 if first_step is None else first_step, "first_step")
    if first_step is not None and not (np.isfinite(steps) & (steps > 0)).all():
        raise ValueError("first_step must be finite and positive in every element")
    try:
        steps = np.broadcast_to(steps, x.shape).reshape(-1)
    except ValueError:
        raise ValueError(f"first_step of shape {steps.shape} does not broadcast to x of shape {x.shape}") from None
    return np.array(np.broadcast_arrays(low, high, steps), np.float64)


# Each CompiledObjective has loops of its own: without the cache, each call would compile them again. It holds as many
# as there are functions whose loops are kept.
@functools.lru_cache(maxsize=256)
def _of_one(f: Any) -> driver.Objective:
    """Return the objective whose array has one element, the argument of the compiled `f`."""
    from .objectives.compiled import CompiledObjective
    from .objectives.compiling import compiled, when_recompiled

    of_one: Any = compiled()(lambda x, *args: f(x[0], *args))
    when_recompiled(f, of_one)
    return CompiledObjective(of_one)


def estimate_gradient(
    f: Callable[..., Any],
    x: ArrayLike,
    *,
    args: tuple[Any, ...] = (),
    workers: Workers = 1,
    coordinates: ArrayLike | None = None,
    progress: Progress = False,
    bounds: Bounds | None = None,
    rtol: float | None = None,
    atol: float = 0.0,
    first_step: ArrayLike | None = None,
) -> Estimate[NDArray[np.float64]]:
    """Return the gradient of `f` at `x` with an estimate of the error of each partial derivative.

    Parameters
    ----------
    f : callable
        ``f(x, *args) -> float``, as for `numerical_gradient`, but not incremental.
    x, args, workers, coordinates, progress
        As for `numerical_gradient`; `x` is perturbed in place likewise, and restored.
    bounds, rtol, atol, first_step
        As for `estimate_derivative`; bounds and first steps broadcast to `x`. For arrays in a container, one for all of
        them, or a dict by their names.

    Returns
    -------
    Estimate
        Of arrays of the shape of `x`, or with `coordinates` of one-dimensional ones. For a container, `value`,
        `error`, `step` and `converged` are containers of the same structure.

    Raises
    ------
    TypeError, ValueError, ImportError, Exception
        As `numerical_gradient`; a TypeError also for an `IncrementalObjective`.

    Warns
    -----
    RuntimeWarning
        If `f` saw a private copy and did not respond to it at all.

    Notes
    -----
    The method of `estimate_derivative` for each coordinate, and one more evaluation.

    Examples
    --------
    >>> import numpy as np
    >>> from numgrad import estimate_gradient
    >>> print(estimate_gradient(lambda x: x[0] ** 2 * x[1], np.array([3.0, 2.0])))
    (0)  12.00000000000000(5)
    (1)  9.00000000000000(5)
    """
    options: dict[str, Any] = {"args": args, "workers": workers, "progress": progress}
    options |= {"bounds": bounds, "rtol": rtol, "atol": atol, "first_step": first_step}
    if x.__class__ is not np.ndarray and is_container(x):
        return _of_container(f, x, options | {"coordinates": coordinates})
    objective = driver.as_objective(f, args)
    problem = problem_of(objective, objective.place, x, options)
    chosen = ALL_COORDINATES if coordinates is None else as_coordinates(coordinates, problem.point.size)
    shape = problem.point.shape if coordinates is None else chosen.shape
    rows, flags = problem.run(problem.rule(), chosen, math.prod(shape), progress)
    problem.warn_of(flags, rows[:, 0] if coordinates is None else None)
    return problem.goals.estimate(rows, shape, min(len(rows), 1))


def _of_container(f: Any, x: Any, options: dict[str, Any]) -> Estimate[Any]:
    """Return the estimates for all arrays of `x` in its structure, or at flat coordinates of all arrays."""
    found, gather = of_each_array(estimate_gradient, f, x, options, ("bounds", "first_step"))
    names = "value", "error", "step", "converged"
    value, error, step, converged = (gather([getattr(part, name) for part in found]) for name in names)
    return Estimate(value, error, step, sum(part.evaluations for part in found), converged)
