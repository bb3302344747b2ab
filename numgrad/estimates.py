"""estimate_derivative and estimate_gradient: derivatives with error bars."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import driver
from .arguments import ALL_COORDINATES, as_coordinates, describe, finite_real, is_compiled, real_array, real_number
from .containers import is_container
from .driver import Progress, Workers, differentiate
from .estimate import Estimate
from .estimated_containers import estimates_of_container
from .loops import Floats, Rule
from .objectives.python import PythonObjective
from .objectives.vectors import VectorObjective
from .points import EPS, private_copy, resolution
from .replays import make_estimates_of_outputs
from .ridders import COLUMNS, make_estimates, make_guarded_estimates
from .schemes import Bounds, limits

__all__ = ["estimate_derivative", "estimate_gradient"]

# Relative error, without unit, below which an estimate counts as converged; a promise of Estimate's docstring.
_CONVERGED = 1e-6
# Unit: eps. The relative error at which no other first step is tried, 1e-10 in float64: another one costs some 12
# evaluations. Fixed by test_the_catalogue_is_estimated_accurately_and_cheaply.
_GOOD = 4.5e5
# Neither bounds nor first steps. Made once, since NumPy takes 0.2 us.
_FREE = np.empty((0, 0))


@overload
def estimate_derivative(
    f: Callable[..., Any],
    x: float,
    *,
    args: tuple[Any, ...] = (),
    bounds: Bounds | None = None,
    rtol: float | None = None,
    atol: float = 0.0,
    first_step: ArrayLike | None = None,
) -> Estimate[float]: ...
@overload
def estimate_derivative(
    f: Callable[..., Any],
    x: ArrayLike,
    *,
    args: tuple[Any, ...] = (),
    bounds: Bounds | None = None,
    rtol: float | None = None,
    atol: float = 0.0,
    first_step: ArrayLike | None = None,
) -> Estimate[Floats]: ...
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
    it seemed from afar. If not, a few more tell noise and steps, as of float32, rounding or an iteration, from a
    structure finer than x. For functions of few digits that takes 20 to 45 evaluations, at kinks up to 110.

    The error is an estimate, no bound. At 1,000 random points of each of the 18 kinds of tests/kinds.py (smooth,
    float32, rounded, noisy, cancelling, kinked and others) no true error was larger than ten reported ones, but for two
    where f stores x in few decimals: the derivative is that at the x that is stored.
    ``python tests/test_kinds.py 1000`` prints the table. What f computes wrongly but smoothly, as a series that ends
    early or an iteration to a tolerance, goes unseen: the derivative is that of what f computes.

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
    points, goals = private_copy(real_array(x)), checked_goals(rtol, atol)
    objective = _of_one(f) if is_compiled(f) else PythonObjective(lambda point, *args: f(float(point[0]), *args))
    reach = reach_of(points, bounds, first_step)
    rows, plan = plan_estimates(EPS, ALL_COORDINATES, points.size, goals, reach)
    for k, value in enumerate(points.reshape(-1)):
        if reach.size:
            plan = plan_estimates(EPS, ALL_COORDINATES, 0, goals, reach[:, k : k + 1].copy())[1]
        point = objective.place(np.array([value]), args)[0]
        if isinstance(objective, PythonObjective):
            returned = objective.returned(point, args)
            if k == 0 and _has_several(returned):
                return _of_several(VectorObjective(objective.f), points, args, (EPS, goals, reach))
            rule = plan[0]._replace(data=(real_number(returned), *plan[0].data[1:]), needs_value=False)
            plan = rule, plan[1]
        differentiate(objective, point, args, plan, rows[k : k + 1])
    if isinstance(x, np.ndarray) or points.ndim:
        return estimate_of_rows(rows, points.shape, points.size, goals)
    value, error, step, _, evaluations = rows[0].tolist()
    converged = error <= max((goals[0] or _CONVERGED) * abs(value), goals[1])
    return Estimate(value, error, step, int(evaluations) + 1, converged)


def _has_several(returned: Any) -> bool:
    with suppress(ValueError):  # ragged, as of a value and a gradient
        return bool(math.prod(np.shape(returned)) != 1)
    return False


def _of_several(objective: VectorObjective, points: Floats, args: tuple[Any, ...], options: Any) -> Estimate[Any]:
    """Return the derivatives of an f with several outputs, of shape ``(*f(x).shape, *points.shape)``."""
    eps, goals, reach = options
    found = []
    for k, number in enumerate(points.reshape(-1)):
        own = eps, goals, reach[:, k : k + 1].copy() if reach.size else reach
        found.append(estimate_of_outputs(objective, np.array([number]), args, own)[0])
    columns = (
        np.concatenate([getattr(part, name) for part in found], axis=-1)
        for name in ("value", "error", "step", "converged")
    )
    value, error, step, converged = [part.reshape(*part.shape[:-1], *points.shape) for part in columns]
    evaluations = sum(part.evaluations for part in found) + 1  # the first value showed the shape
    return Estimate(value, error, step, evaluations, converged)


def plan_estimates(
    eps: float, where: NDArray[np.intp], size: int, goals: tuple[float, float] = (0.0, 0.0), reach: Floats = _FREE
) -> tuple[Floats, tuple[Rule, NDArray[np.intp]]]:
    """Return room for estimates, a row each, and what to do where, for memory of the relative spacing `eps`.

    ``goals = rtol, atol``, the first 0 for none of the user's own; `reach` is what `reach_of` returns.
    """
    data = math.nan, eps, goals[0] or _GOOD * eps, goals[1], reach
    return np.empty((size, COLUMNS)), (Rule(make_estimates, data, True, COLUMNS, make_guarded_estimates), where)


def good_enough(goals: tuple[float, float]) -> float:
    """Return the relative error at which no other first step is tried."""
    return goals[0] or _GOOD * EPS


def has_converged(value: Any, error: Any, goals: tuple[float, float]) -> Any:
    """Tell which errors are at most what the user, or `Estimate`, allows."""
    return error <= np.maximum((goals[0] or _CONVERGED) * abs(value), goals[1])


def checked_goals(rtol: float | None, atol: float) -> tuple[float, float]:
    """Return `rtol`, 0 for None, and `atol`; ValueError unless they are positive and not negative."""
    goals = 0.0 if rtol is None else finite_real("rtol", rtol), finite_real("atol", atol)
    if min(goals) < 0.0 or rtol == 0.0:
        raise ValueError(f"rtol must be positive and atol not negative, got {rtol} and {atol}")
    return goals


def reach_of(x: NDArray[Any], bounds: Bounds | None, first_step: ArrayLike | None) -> Floats:
    """Return the lower and upper bounds and the first steps, 0 for one that is to be found, in rows, or no rows."""
    if bounds is None and first_step is None:
        return _FREE
    low, high = (-math.inf, math.inf) if bounds is None else limits(x, bounds)
    steps = real_array(0.0 if first_step is None else first_step, "first_step")
    if first_step is not None and not (np.isfinite(steps) & (steps > 0)).all():
        raise ValueError("first_step must be finite and positive in every element")
    try:
        steps = np.broadcast_to(steps, x.shape).reshape(-1)
    except ValueError:
        raise ValueError(f"first_step of shape {steps.shape} does not broadcast to x of shape {x.shape}") from None
    rows = np.empty((3, x.size))
    rows[0], rows[1], rows[2] = low, high, steps
    return rows


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
    if x.__class__ is not np.ndarray and is_container(x):
        options: dict[str, Any] = {"args": args, "workers": workers, "rtol": rtol, "atol": atol}
        options |= {"coordinates": coordinates, "progress": progress, "bounds": bounds, "first_step": first_step}
        return Estimate(*estimates_of_container(estimate_gradient, f, x, options))
    objective = driver.as_objective(f, args)
    driver.check_progress(progress)
    point, private = objective.place(x, args)
    workers = driver.as_workers(workers, objective)
    chosen = ALL_COORDINATES if coordinates is None else as_coordinates(coordinates, point.size)
    shape = point.shape if coordinates is None else chosen.shape
    goals, reach = checked_goals(rtol, atol), reach_of(point, bounds, first_step)
    rows, plan = plan_estimates(EPS if private else resolution(point), chosen, math.prod(shape), goals, reach)
    flags = differentiate(objective, point, args, plan, rows, workers, progress)
    ignored = coordinates is None and driver.seems_ignored(objective, private, workers, flags, rows[:, 0])
    driver.warn_of(flags, math.nan, ignored, point)
    return estimate_of_rows(rows, shape, min(len(rows), 1), goals)


def estimate_of_outputs(
    objective: VectorObjective,
    x: NDArray[Any],
    args: tuple[Any, ...],
    options: tuple[float, tuple[float, float], Floats],
    workers: Workers = 1,
    progress: Progress = False,
) -> tuple[Estimate[Any], int]:
    """Return the estimates for an f with several outputs, of shape ``(*f(x).shape, *x.shape)``, and flags.

    ``options = eps, goals, reach``, as of `plan_estimates`.
    """
    eps, goals, reach = options
    base = objective.value(x, args)
    if base.dtype.kind == "c":
        raise TypeError("f must return real numbers, it returned complex ones; estimate its real and imaginary parts")
    data = base, eps, good_enough(goals), goals[1], reach
    rule = Rule(make_estimates_of_outputs, data, False, base.size * COLUMNS, make_estimates_of_outputs)
    rows = np.empty((x.size, base.size * COLUMNS))
    flags = differentiate(objective, x, args, (rule, ALL_COORDINATES), rows, workers, progress) if rows.size else 0
    each = rows.reshape(x.size, base.size, COLUMNS).transpose(1, 0, 2).reshape(-1, COLUMNS)
    return estimate_of_rows(each, (*base.shape, *x.shape), 1, goals), flags


def estimate_of_rows(rows: Floats, shape: tuple[int, ...], further: int, goals: tuple[float, float]) -> Estimate[Any]:
    """Return the rows that `numgrad.ridders` has written as an Estimate, with `further` evaluations, of f(x)."""
    value, error, step = (column.reshape(shape).copy() for column in rows.T[:3])
    converged = has_converged(value, error, goals)
    return Estimate(value, error, step, int(rows[:, 4].sum()) + further, converged)
