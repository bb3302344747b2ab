"""estimate_derivative and estimate_gradient: derivatives with error bars."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import driver
from .arguments import ALL_COORDINATES, as_coordinates, describe, is_compiled, real_array
from .driver import Progress, Workers, differentiate
from .loops import Floats, Rule
from .objectives.python import PythonObjective
from .points import EPS, private_copy, resolution
from .ridders import COLUMNS, make_estimates

__all__ = ["Estimate", "estimate_derivative", "estimate_gradient"]

# Rows of a printed table: it fits on a screen. Fixed by test_arrays_are_written_as_a_table.
_ROWS = 10
# Relative error, without unit, below which an estimate counts as converged; a promise of Estimate's docstring.
_CONVERGED = 1e-6
# Unit: round-offs. An error up to so many is no more than round-off, and has converged too: no error is small beside a
# slope of 0.
_ROUND_OFF = 64.0

Number = TypeVar("Number", float, NDArray[np.float64])


@dataclass(frozen=True, eq=False, repr=False)
class Estimate(Generic[Number]):
    """A derivative or a gradient with its error.

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
        Whether the error is below 1e-6 of the value, or no more than round-off.

    Examples
    --------
    >>> from numgrad import estimate_derivative
    >>> line = estimate_derivative(lambda x: 3.0 * x, 2.0)
    >>> line
    Estimate(3.000000000000000(8))
    >>> line.value, line.evaluations, line.converged
    (3.0, 6, True)
    """

    value: Number
    error: Number
    step: Number
    evaluations: int
    converged: Any

    def __repr__(self) -> str:
        if np.ndim(self.value) == 0:
            return f"Estimate({self})"
        worst = f"largest error {np.max(self.error):.1e}" if np.size(self.value) else "empty"
        return f"Estimate(shape {np.shape(self.value)}, {worst}, {int(np.sum(self.converged))} converged)"

    def __str__(self) -> str:
        if np.ndim(self.value) == 0:
            return concise(float(self.value), float(self.error))
        names = [f"({', '.join(map(str, index))})" for index in islice(np.ndindex(np.shape(self.value)), _ROWS)]
        width = max(map(len, names), default=0)
        columns = map(np.ravel, (self.value, self.error, self.converged))
        lines = [
            f"{name:{width}}  {concise(value, error)}{'' if converged else '  ?'}"
            for name, value, error, converged in zip(names, *columns, strict=False)
        ]
        more = np.size(self.value) - len(lines)
        if more > 0:
            lines.append(f"... and {more} more; largest error {np.max(self.error):.1e}")
        if not np.all(self.converged):
            lines.append(f"{np.size(self.value) - int(np.sum(self.converged))} did not converge (?)")
        return "\n".join(lines)


def concise(value: float, error: float) -> str:
    """Return the value up to the digit that is uncertain, and its error in units of that digit: 1.9999999999(3)."""
    if not (math.isfinite(value) and math.isfinite(error)):
        return f"{value} +- {error}"
    if error <= 0.0:
        return repr(float(value))
    size = math.floor(math.log10(error))
    digit = math.ceil(error / 10.0**size - 1e-9) if size > -300 else 1
    if digit == 10:
        digit, size = 1, size + 1
    power = max(size, math.floor(math.log10(abs(value)))) if abs(value) > 1e-300 else size
    if size > 0 or power < -4:
        return f"{value / 10.0**power:.{power - size}f}({digit})e{power:+03d}"
    return f"{value:.{-size}f}({digit})"


@overload
def estimate_derivative(f: Callable[..., Any], x: float, *, args: tuple[Any, ...] = ()) -> Estimate[float]: ...
@overload
def estimate_derivative(f: Callable[..., Any], x: ArrayLike, *, args: tuple[Any, ...] = ()) -> Estimate[Floats]: ...
def estimate_derivative(f: Callable[..., Any], x: ArrayLike, *, args: tuple[Any, ...] = ()) -> Any:
    """Return the derivative of `f` at `x` with an estimate of its error, by Ridders' extrapolation.

    Parameters
    ----------
    f : callable
        ``f(x, *args) -> float`` for a float. It may be compiled with `numba.njit`; the extrapolation is then compiled
        around it.
    x : float or array_like
        Where the derivative is taken; of an array, element by element.
    args : tuple, optional
        Further arguments of `f`.

    Returns
    -------
    Estimate
        Of floats for a number, else of arrays of the shape of `x`.

    Raises
    ------
    TypeError
        If `f` is not callable or returns anything but a real number; if `x` is not real.
    Exception
        Whatever `f` raises. A point outside the domain should give NaN: the differences are one-sided then.

    Notes
    -----
    Central differences for steps that halve from 3/16 of |x| are extrapolated to the step 0, until that gets worse:
    some 14 evaluations for smooth functions, with relative errors near 2e-15. The error is the largest of the distances
    between neighbours in the tableau, the round-off ``eps max(|f|, |x f'|) / h``, the noise that one evaluation next to
    x shows, and half the jump between the one-sided slopes at 0, which tells a kink. It is an estimate, no bound: a
    structure of f much finer than x can go unseen.

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
    if not callable(f):
        raise TypeError(f"f must be callable, got {describe(f)}")
    points = private_copy(real_array(x))
    objective = _of_one(f) if is_compiled(f) else PythonObjective(lambda point, *args: f(float(point[0]), *args))
    rows, plan = plan_estimates(EPS, ALL_COORDINATES, points.size)
    for k, value in enumerate(points.reshape(-1)):
        differentiate(objective, objective.place(np.array([value]), args)[0], args, plan, rows[k : k + 1])
    return _as_estimate(rows, points.shape, points.size, is_scalar=not isinstance(x, np.ndarray) and points.ndim == 0)


def plan_estimates(eps: float, where: NDArray[np.intp], size: int) -> tuple[Floats, tuple[Rule, NDArray[np.intp]]]:
    """Return room for estimates, a row each, and what to do where, for memory of the relative spacing `eps`."""
    rule = Rule(make_estimates, (math.nan, eps), needs_value=True, columns=COLUMNS)
    return np.empty((size, COLUMNS)), (rule, where)


def _of_one(f: Any) -> driver.Objective:
    """Return the objective whose array has one element, the argument of the compiled `f`; it is kept with `f`."""
    from .objectives.compiled import CompiledObjective, of_one_element

    # Each CompiledObjective has loops of its own: without this, each call would compile them again.
    objective: driver.Objective | None = getattr(f, "_numgrad_of_one", None)
    if objective is None:
        objective = f._numgrad_of_one = CompiledObjective(of_one_element(f))
    return objective


def estimate_gradient(
    f: Callable[..., Any],
    x: ArrayLike,
    *,
    args: tuple[Any, ...] = (),
    workers: Workers = 1,
    coordinates: ArrayLike | None = None,
    progress: Progress = False,
) -> Estimate[NDArray[np.float64]]:
    """Return the gradient of `f` at `x` with an estimate of the error of each partial derivative.

    Parameters
    ----------
    f : callable
        ``f(x, *args) -> float``, as for `numerical_gradient`, but not incremental.
    x, args, workers, coordinates, progress
        As for `numerical_gradient`; `x` is perturbed in place likewise, and restored.

    Returns
    -------
    Estimate
        Of arrays of the shape of `x`, or with `coordinates` of one-dimensional ones.

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
    (0)  12.00000000000000(2)
    (1)  9.00000000000000(3)
    """
    objective = driver.as_objective(f, args)
    driver.check_progress(progress)
    point, private = objective.place(x, args)
    workers = driver.as_workers(workers, objective)
    chosen = ALL_COORDINATES if coordinates is None else as_coordinates(coordinates, point.size)
    shape = point.shape if coordinates is None else chosen.shape
    rows, plan = plan_estimates(EPS if private else resolution(point), chosen, math.prod(shape))
    flags = differentiate(objective, point, args, plan, rows, workers, progress)
    ignored = coordinates is None and driver.seems_ignored(objective, private, workers, flags, rows[:, 0])
    driver.warn_of(flags, math.nan, ignored, point)
    return _as_estimate(rows, shape, min(len(rows), 1))


def _as_estimate(rows: Floats, shape: tuple[int, ...], further: int, *, is_scalar: bool = False) -> Estimate[Any]:
    """Return the rows that `numgrad.ridders` has written as an Estimate, with `further` evaluations, of f(x)."""
    evaluations = int(rows[:, 4].sum()) + further
    if is_scalar:
        value, error, step, round_off, _ = rows[0].tolist()
    else:
        value, error, step, round_off = (column.reshape(shape).copy() for column in rows.T[:4])
    converged = (error <= _CONVERGED * abs(value)) | ((error <= _ROUND_OFF * round_off) & (error < math.inf))
    return Estimate(value, error, step, evaluations, converged)
