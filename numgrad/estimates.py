"""estimate_derivative and estimate_gradient: derivatives with error bars."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import buffers
from .arguments import describe
from .distribution import Engine
from .gradient import Workers, as_coordinates, as_workers, cost_key, warn_of
from .inspection import is_compiled
from .jobs import RangeJob, run_job
from .objectives import CompiledObjective, Objective, as_objective
from .progress import Progress, Report, check_progress, reporting
from .python_objectives import EVERY, PythonObjective
from .workers import Filler

__all__ = ["Estimate", "estimate_derivative", "estimate_gradient"]

_ROWS = 10  # of a printed table
_SETTLED = 1e-6  # relative error that counts as converged
_ROUND_OFF = 64.0  # times the round-off: an error that counts as nothing but it


@dataclass(frozen=True, eq=False, repr=False)
class Estimate:
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

    value: Any
    error: Any
    step: Any
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
        indices = list(np.ndindex(np.shape(self.value)))[:_ROWS]
        names = [f"({', '.join(map(str, index))})" for index in indices]
        width = max(map(len, names), default=0)
        lines = [
            f"{name:{width}}  {concise(self.value[index], self.error[index])}{'' if self.converged[index] else '  ?'}"
            for name, index in zip(names, indices, strict=True)
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
    largest = math.floor(math.log10(abs(value))) if abs(value) > 1e-300 else size
    if size > 0 or max(largest, size) < -4:
        power = max(largest, size)
        return f"{value / 10.0**power:.{power - size}f}({digit})e{power:+03d}"
    return f"{value:.{-size}f}({digit})"


def estimate_derivative(f: Callable[..., Any], x: ArrayLike, *, args: tuple[Any, ...] = ()) -> Estimate:
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
    points = buffers.private_copy(buffers.real_array(x))
    objective: Objective = _elementwise_compiled(f) if is_compiled(f) else PythonObjective(_elementwise(f))
    outputs = _outputs(points.shape)
    flat = [output.reshape(-1) for output in outputs]
    for k, value in enumerate(points.reshape(-1).tolist()):
        point = np.array([value])
        base = objective.value_at(point, args)
        objective.estimate(point, base, args, EVERY, 0, 1, tuple(output[k : k + 1] for output in flat))
    return _as_estimate(outputs, points.size, scalar=not isinstance(x, np.ndarray) and points.ndim == 0)


def _elementwise(f: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, *args: f(float(x[0]), *args)


def _elementwise_compiled(f: Any) -> CompiledObjective:
    """Return the objective whose array has one element, the argument of `f`; it is kept with `f`."""
    objective = getattr(f, "_numgrad_elementwise", None)
    if objective is None:
        from numba import njit

        @njit()
        def of_one(x: Any, *args: Any) -> Any:
            return f(x[0], *args)

        objective = f._numgrad_elementwise = CompiledObjective(of_one)
    return objective


def estimate_gradient(
    f: Callable[..., Any],
    x: ArrayLike,
    *,
    args: tuple[Any, ...] = (),
    workers: Workers = 1,
    coordinates: ArrayLike | None = None,
    progress: Progress = False,
) -> Estimate:
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
    objective = as_objective(f, args)
    engine = as_workers(workers, objective)
    check_progress(progress)
    point, private = objective.hold(x)
    objective.check(point, args)
    chosen = EVERY if coordinates is None else as_coordinates(coordinates, point.size)
    outputs = _outputs(point.shape if coordinates is None else chosen.shape)
    n = outputs[0].size
    if n:
        base = objective.value_at(point, args)
        with reporting(progress, n) as report:
            flags = _fill(objective, point, base, args, engine, chosen, outputs, report)
        deaf = coordinates is None and objective.may_be_deaf(private or callable(engine))
        warn_of(flags, math.nan, deaf, stacklevel=3)
    return _as_estimate(outputs, min(n, 1))


def _fill(
    objective: Objective,
    x: NDArray[Any],
    base: float,
    args: tuple[Any, ...],
    workers: int | Engine,
    coordinates: NDArray[np.intp],
    outputs: tuple[NDArray[Any], ...],
    report: Report | None,
) -> int:
    flat, n = tuple(output.reshape(-1) for output in outputs), outputs[0].size

    if callable(workers):
        return run_job(workers, EstimateJob(objective, x, args, base), coordinates, flat, report)

    def make_filler() -> Filler:
        own = objective.own(x)
        return lambda start, stop: objective.estimate(own, base, args, coordinates, start, stop, flat)

    if report is None and not objective.threads:
        return make_filler()(0, n)
    return objective.estimate_pace.run(make_filler, n, cost_key(x, args), workers, report)


class EstimateJob(RangeJob):
    """Estimates with errors; the step of a `RangeJob` is f(x) here."""

    def run(self, coordinates: NDArray[np.intp], wanted: Callable[[], bool]) -> tuple[int, tuple[NDArray[Any], ...]]:
        """Return the flags, and the outputs that `numgrad.ridders` fills."""
        outputs = _outputs((len(coordinates),))

        def fill(start: int, stop: int) -> int:
            return self.objective.estimate(self.state, self.step, self.args, coordinates, start, stop, outputs)

        return self.in_ranges(fill, coordinates, wanted), outputs


def _outputs(shape: tuple[int, ...]) -> tuple[NDArray[Any], ...]:
    """Return room for slopes, errors, steps, round-offs and numbers of evaluations."""
    return *(np.empty(shape) for _ in range(4)), np.empty(shape, np.intp)


def _as_estimate(outputs: tuple[NDArray[Any], ...], further: int, *, scalar: bool = False) -> Estimate:
    value, error, step, noise, counts = outputs
    settled = (error <= _SETTLED * np.abs(value)) | ((error <= _ROUND_OFF * noise) & np.isfinite(error))
    if scalar:
        value, error, step, settled = value.item(), error.item(), step.item(), settled.item()
    return Estimate(value, error, step, int(counts.sum()) + further, settled)
