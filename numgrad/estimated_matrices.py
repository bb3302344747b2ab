"""estimate_jacobian and estimate_hessian: matrices of derivatives with error bars."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import driver
from .arguments import ALL_COORDINATES, describe, is_compiled, real_number
from .bounds import SPARE_ROOM, Bounds
from .containers import Joined, in_order, is_container, is_labelled, with_labels
from .driver import Progress, Workers
from .estimate_loops import COLUMNS, make_second_estimates
from .estimates import Estimate, problem_of
from .gradient import takes_containers
from .loops import Directions, Floats, Rule
from .objectives.python import PythonObjective
from .objectives.vectors import VectorObjective

__all__ = ["estimate_hessian", "estimate_jacobian"]

# Unit: scales of x. The first step of a second derivative.
_FIRST = math.sqrt(0.1875)
# Unit: steps by which the first derivatives were found. The length on which f changes is taken to be the magnitude of
# the coordinate, but at least so many, up to 1, and at most so many: a coordinate may say nothing of it. Fixed by
# test_true_errors_of_hessians_over_the_kinds and test_a_structure_finer_than_x_is_seen in the tests of this module.
_SHORTEST, _LONGEST = 16.0, 512.0
# Error bars up to which a second derivative may be zero: with all of an array, f may not read that array. Fixed by
# test_zeros_of_copies_that_f_does_not_read_warn in the same file.
_HIDDEN = 10.0


def estimate_jacobian(
    f: Callable[..., Any],
    x: ArrayLike,
    *,
    args: tuple[Any, ...] = (),
    workers: Workers = 1,
    progress: Progress = False,
    bounds: Bounds | None = None,
    rtol: float | None = None,
    atol: float = 0.0,
    first_step: ArrayLike | None = None,
) -> Estimate[NDArray[np.float64]]:
    """Return the Jacobian of `f` at `x` with an estimate of the error of each element.

    Parameters
    ----------
    f : callable
        ``f(x, *args)``: an array of any shape of real numbers, or a list, as for `numerical_jacobian`. One compiled
        with `numba.njit` is called from Python, as the extrapolation is not compiled for several outputs.
    x, args, workers, progress
        As for `estimate_gradient`, but `x` is one array, or a Series or DataFrame, which reaches `f` with its labels;
        it is perturbed in place likewise, and restored. Workers are processes.
    bounds, rtol, atol, first_step
        As for `estimate_gradient`.

    Returns
    -------
    Estimate
        Of arrays of shape ``(*f(x).shape, *x.shape)``; `evaluations` counts the calls of `f`.

    Raises
    ------
    TypeError
        If `f` returns anything but real numbers, or is an objective that has one number; else as `estimate_gradient`.
    ValueError
        If the shape of what `f` returns changes; else as `estimate_gradient`.

    Notes
    -----
    The method of `estimate_derivative` for each coordinate and each output. The outputs share their evaluations: a step
    that several ask for is evaluated once. So smooth outputs take some 14 evaluations a coordinate in all, and one
    more; outputs that need other steps, as those of few digits do, add theirs.

    Examples
    --------
    >>> import numpy as np
    >>> from numgrad import estimate_jacobian
    >>> print(estimate_jacobian(lambda x: np.array([x[0] * x[1], x[0] ** 2 + x[1]]), np.array([3.0, 4.0])))
    (0, 0)  4.00000000000000(2)
    (0, 1)  3.00000000000000(2)
    (1, 0)  6.00000000000000(3)
    (1, 1)  1.00000000000000(2)
    """
    options: dict[str, Any] = {"args": args, "workers": workers, "progress": progress}
    options |= {"bounds": bounds, "rtol": rtol, "atol": atol, "first_step": first_step}
    if is_labelled(x):
        f, x = with_labels(f, x, takes_containers(f, args, x), bounds=bounds, first_step=first_step)
    problem = problem_of(VectorObjective(f), _python_or_compiled(f, args).place, x, options)
    rows, shape, flags = problem.rows_of_outputs(progress)
    problem.warn_of(flags, rows[..., 0].reshape(-1))
    return problem.goals.estimate(rows, (*shape, *problem.point.shape), 1)


def estimate_hessian(
    f: Callable[..., Any],
    x: ArrayLike,
    *,
    args: tuple[Any, ...] = (),
    workers: Workers = 1,
    progress: Progress = False,
    bounds: Bounds | None = None,
    rtol: float | None = None,
    atol: float = 0.0,
    first_step: ArrayLike | None = None,
) -> Estimate[NDArray[np.float64]]:
    """Return the Hessian of `f` at `x`, its second derivatives, with an estimate of the error of each element.

    Parameters
    ----------
    f : callable
        ``f(x, *args) -> float``. One compiled with `numba.njit` is called from Python.
    x, args, workers, progress
        As for `estimate_gradient`; `x` is perturbed in place likewise, and restored. Workers are processes.
    bounds : pair of array_like, optional
        ``low, high``, between which alone `f` is evaluated. A coordinate at a bound has no second difference: NaN.
    rtol, atol : float, optional
        As for `estimate_gradient`, of each second derivative along a line.
    first_step : array_like, optional
        The step of each coordinate to begin with, in the unit of x: the length on which `f` changes.

    Returns
    -------
    Estimate
        Of symmetric matrices of shape ``(x.size, x.size)``, in the unit of f per squared unit of x; a step is that of
        the line on which the element was found, the geometric mean of those of both coordinates. For `x` in a container
        they are over all its arrays in turn, whose names `labels` returns.

    Raises
    ------
    TypeError, ValueError, ImportError, Exception
        As `estimate_gradient`.

    Warns
    -----
    RuntimeWarning
        If `f` saw a private copy of all of `x`, or of an array of a container, and did not respond to it at all.

    Notes
    -----
    The second differences ``(f(x + t v) - 2 f(x) + f(x - t v)) / t**2`` are extrapolated to t = 0 by the method of
    `estimate_derivative`, for their errors have even powers of t. The lines v are the coordinates and, for each pair,
    their diagonal: ``H_ij = (d_ij - d_ii - d_jj) / 2`` of these second derivatives, whose errors add up. A line of a
    smooth f takes some 14 evaluations, and the first derivatives, which show the noise of f, some 14 a coordinate: a
    Hessian some ``7 n**2 + 25 n`` in all. The first step of a line is about half of each coordinate, unless the steps
    of the first derivatives tell that f changes on another length.

    The error is an estimate, no bound. At 1,000 random points of each of 13 kinds (smooth, float32, rounded, noisy and
    others) at least 98.9 % of the true errors are within ten reported ones; ``python tests/test_estimated_matrices.py
    1000`` prints the table. An f that changes over a length far below a coordinate, which the first derivatives do not
    see, needs `first_step`. Of an f
    that stores `x` itself in fewer digits, as float32 or rounded decimals, the error is too small at some points in a
    hundred: let `f` keep float64, or pass a step of your own to `numerical_hessian`.

    Examples
    --------
    >>> import numpy as np
    >>> from numgrad import estimate_hessian
    >>> hessian = estimate_hessian(lambda x: x[0] ** 2 * x[1], np.array([3.0, 2.0]))
    >>> print(hessian.value.round(9) + 0.0)
    [[4. 6.]
     [6. 0.]]
    >>> bool((abs(hessian.value - [[4, 6], [6, 0]]) <= hessian.error).all())
    True
    """
    options: dict[str, Any] = {"args": args, "workers": workers, "progress": progress}
    options |= {"bounds": bounds, "rtol": rtol, "atol": atol, "first_step": first_step}
    if x.__class__ is not np.ndarray and is_container(x) and takes_containers(f, args, x):
        joined = Joined(x)
        options["first_step"] = None if first_step is None else joined.numbers(first_step, "first_step")
        options["bounds"] = joined.limits(bounds)
        of_flat = joined.of(f)

        def estimated() -> Estimate[Any]:
            found = estimate_hessian(of_flat, joined.flat, **options)
            seen = np.where(np.abs(found.value) > _HIDDEN * found.error, found.value, 0.0)
            driver.warn_of(0, 1.0, joined.has_unread_copies(of_flat, seen, args, options["bounds"]), joined.flat)
            return found

        return joined.run(estimated)  # type: ignore[no-any-return]
    in_order(x, bounds=bounds, first_step=first_step)
    problem = problem_of(PythonObjective(f), _python_or_compiled(f, args).place, x, options)
    rows, flags = problem.run(problem.rule(), ALL_COORDINATES, problem.point.size)
    base = real_number(problem.objective.returned(problem.point, args))
    with np.errstate(all="ignore"):  # squares of units may overflow
        lines = _Lines(problem.point.view(np.ndarray), problem.reach, rows)
        rule = Rule(make_second_estimates, problem.data(base, lines.rooms), False, COLUMNS, make_second_estimates)
        along, more = problem.run(rule, lines.directions(), len(lines.first), progress)
        value, error, step = lines.matrices(along)
    problem.warn_of(flags | more, along[:, 0])
    evaluations = int(rows[:, 4].sum() + along[:, 4].sum()) + 2
    return Estimate(value, error, step, evaluations, problem.goals.has_converged(value, error))


def _python_or_compiled(f: Any, args: tuple[Any, ...]) -> driver.Objective:
    known = driver.as_objective(f, args)
    if not (type(known) is PythonObjective or is_compiled(f)):
        raise TypeError(f"f must be a function of x, got {describe(f)}; pass a function that calls it")
    return known


class _Lines:
    """The lines along which second derivatives are taken: all coordinates, and the diagonals of all pairs.

    Attributes
    ----------
    units : ndarray
        As parts of which the steps of the coordinates are measured: the lengths on which f changes.
    is_finite : ndarray of bool
        The coordinates that can move.
    rooms : ndarray
        How far each coordinate may go either way.
    noise : ndarray
        The round-off and noise of f along each coordinate, as its first derivatives show them.
    first, second : ndarray of int
        The coordinates of each line, which are the same for one along a coordinate.
    """

    def __init__(self, x: NDArray[Any], reach: Floats, rows: Floats) -> None:
        values = x.reshape(-1).astype(np.float64)
        self.n, (self.first, self.second), self.is_finite = x.size, np.triu_indices(x.size), np.isfinite(values)
        sizes, steps = np.where(values != 0.0, np.abs(values), 1.0), np.where(rows[:, 2] > 0.0, rows[:, 2], math.nan)
        self.units = np.fmax(np.fmin(sizes, _LONGEST * steps), np.fmin(_SHORTEST * steps, 1.0))
        self.rooms = np.full(x.size, math.inf)
        if len(reach):
            self.units = np.where(reach[2] > 0.0, reach[2] / _FIRST, self.units)
            self.rooms = (1 - SPARE_ROOM) * np.fmin(values - reach[0], reach[1] - values)
        self.noise = np.nan_to_num(np.fmax(rows[:, 3], 0.5 * rows[:, 1]) * rows[:, 2], nan=0.0, posinf=0.0)

    def directions(self) -> Directions:
        """Return all lines."""
        pairs = np.stack([self.first, self.second], axis=1)
        is_member = np.stack([np.ones(len(pairs), np.bool_), self.first != self.second], axis=1)
        starts = np.cumsum([0, *is_member.sum(axis=1)])
        return Directions(starts, pairs[is_member], self.units[pairs][is_member])

    def matrices(self, rows: Floats) -> Floats:
        """Return second derivatives, errors and steps, from what was found along the lines."""
        i, j = self.first, self.second
        own, noise = i == j, 2.0 * np.fmax(self.noise[i], self.noise[j])
        value, error, step = 2.0 * rows[:, 0], 2.0 * np.fmax(rows[:, 1], noise / rows[:, 2]), np.sqrt(rows[:, 2])
        along, bars = value[own], error[own]
        value = np.where(own, value, 0.5 * (value - along[i] - along[j]))
        error = np.where(own, error, 0.5 * (error + bars[i] + bars[j]))
        one, other = self.units[i], self.units[j]
        matrices = np.empty((3, self.n, self.n))
        found = value / one / other, error / one / other, step * np.sqrt(one) * np.sqrt(other)
        matrices[:, i, j] = matrices[:, j, i] = np.stack(found)
        is_known = np.logical_and.outer(self.is_finite, self.is_finite)
        matrices[0, ~(np.isfinite(matrices[:2]).all(axis=0) & is_known)] = math.nan
        matrices[1, np.isnan(matrices[0])] = math.inf
        return matrices
