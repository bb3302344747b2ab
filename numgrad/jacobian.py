"""An f with several outputs at a point, its derivatives by coordinates and along directions, and their pattern."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import arguments, driver
from .analytic import check_analytic
from .arguments import ALL_COORDINATES, describe
from .driver import Progress, Workers
from .loops import RESPONDED, STEP_LOST, Directions, Floats, Indices, Rule, make_complex_step, make_directions
from .objectives.python import PythonObjective, VectorizedObjective
from .objectives.vectors import BatchObjective, VectorObjective, floats, mixed, outputs
from .points import EPS, is_narrow, resolution, scales
from .schemes import SPARE_ROOM, AnyScheme, Bounds, StepSize, as_scheme, limits, rule_at
from .sparsity import as_pattern, scipy_sparse, sparse_jacobian

__all__ = ["directional_derivative", "jacobian_sparsity", "numerical_jacobian"]

# Bytes of the points of a batch at most, as in `numerical_gradient`.
_BATCH_BYTES = 2**26
# The longest t of a line ``x + t v`` along a tiny v: with the offsets of any scheme it stays finite.
_LONGEST = 1e300
# Relative to x: by how much coordinates move where a pattern is sought.
_PROBE = 1e-3


# The rule whose results are the values of f at displaced points themselves.
_ONE = np.ones((1, 1))
VALUES = Rule(make_directions, (math.nan, 0.0, _ONE, _ONE, np.zeros(1, np.intp), np.ones(1), False))


def along_rows(moves: Floats) -> Directions:
    """Return directions that move all coordinates, each by a row of `moves`."""
    count, n = moves.shape
    return Directions(n * np.arange(count + 1), np.tile(np.arange(n), count), moves.reshape(-1))


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
    """

    def __init__(self, f: Any, x: Any, options: Options) -> None:
        self.f, self.x, self.h, self.options = f, x, options.h, options
        self.objective = _objective(f, x, options)
        driver.check_progress(options.progress)
        self.point, self.private = self.objective.place(x, options.args)
        self.workers = driver.as_workers(options.workers, self.objective)
        # The scheme itself and not its name: the loop of the default has but one output.
        self.scheme: Any = as_scheme(options.scheme)
        self.eps = EPS
        self.plan = self._plan_of(None)
        try:
            returned = self.objective.returned(self.point, options.args)
        except BaseException:
            out = options.out
            if isinstance(out, np.ndarray) and out.dtype.kind in "fc" and not options.resume:  # no column is finished
                arguments.result_buffer(out, out.shape, x, options.args, out.dtype).fill(np.nan)
            raise
        self.base, dtype = outputs(returned).copy(), np.asarray(returned).dtype
        self.eps = max(EPS, float(np.finfo(dtype).eps)) if dtype.kind in "fc" else EPS
        self.width = floats(self.base).size
        self.is_complex = self.plan[0].make is make_complex_step
        if self.is_complex and self.base.dtype.kind == "c":
            raise TypeError(
                "scheme='complex' needs an f that is real for a real x, this one is not; use another scheme"
            )
        if self.h.__class__ is str and self.eps != EPS:
            self.plan = self._plan_of(None)

    def _plan_of(self, chosen: Indices | None) -> tuple[Rule, Any]:
        """Return the plan of some coordinates, or of all."""
        eps = self.eps if self.h.__class__ is str else EPS
        return rule_at(self.point, self.h, self.scheme, self.options.bounds, chosen, eps)

    def differentiate(self, plan: tuple[Rule, Any], rows: Floats, progress: Progress = False) -> int:
        """Write what a plan makes of f to the rows, one a direction, and return flags."""
        rule, where = plan
        if not rows.size:
            return RESPONDED
        plan, args = (Rule(rule.make, (self.base, *rule.data[1:]), False, rows.shape[1]), where), self.options.args
        flags = driver.differentiate(self.objective, self.point, args, plan, rows, self.workers, progress)
        if rule.make is make_complex_step:
            check_analytic(self.f, self.point, args, None, self.options.bounds, self._mixed)
        return flags

    def values(self, where: Directions, rows: Floats | None = None) -> NDArray[Any]:
        """Return f where some coordinates have moved, as flat outputs: a row for each direction, those of `rows`."""
        rows = np.empty((len(where.starts) - 1, self.width)) if rows is None else rows
        self.differentiate((VALUES, where), rows)
        return rows.view(self.base.dtype)

    def moved(self, lengths: Floats, members: Indices = ALL_COORDINATES, rows: Floats | None = None) -> NDArray[Any]:
        """Return f, as flat outputs, where all coordinates, or some, have moved together."""
        return self.values(Directions(np.array([0, len(lengths)]), members, lengths), rows)[0]  # type: ignore[no-any-return]

    def jacobian(self) -> Any:
        """Return what `numerical_jacobian` does."""
        base, point, (args, out) = self.base, self.point, (self.options.args, self.options.out)
        if self.options.sparsity is not None:
            if out is not None:
                raise ValueError("out must be None with a sparsity: the result is a scipy.sparse.csr_array")
            return sparse_jacobian(self, as_pattern(self.options.sparsity, (base.size, point.size)))
        shape = (*base.shape, *point.shape)
        if out is not None:
            result = arguments.result_buffer(out, shape, self.x, args, base.dtype)
            self._write(result.view(np.ndarray).reshape(base.size, point.size))
            return result
        if self.options.resume:
            raise ValueError(
                "resume=True goes on with what is in out; pass the array of the Jacobian that was broken off"
            )
        rows = np.empty((point.size, self.width))
        self.warn(self.differentiate(self.plan, rows, self.options.progress), rows)
        axes = *range(point.ndim, len(shape)), *range(point.ndim)
        return rows.view(base.dtype).reshape((*point.shape, *base.shape)).transpose(axes)

    def _write(self, columns: NDArray[Any]) -> None:
        """Write the columns of a Jacobian, and NaN for those that are not finished; to resume, those with a NaN."""
        resume = self.options.resume
        chosen = np.flatnonzero(np.isnan(columns).any(axis=0)) if resume else np.arange(columns.shape[1])
        rows = np.full((len(chosen), self.width), np.nan)
        try:
            flags = self.differentiate(self._plan_of(chosen) if resume else self.plan, rows, self.options.progress)
        finally:
            columns[:, chosen] = rows.view(columns.dtype).T
        self.warn(flags, rows)

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
        v = vectors[moving]
        rule, where = rule_at(np.zeros(len(v)), longest[moving], self.scheme, self._ends(v))
        base, _, offsets, weights, index, denominators, _ = rule.data
        rule = rule._replace(data=(base, 0.0, offsets, weights, index, np.ones(len(denominators)), False))
        found, moves = np.empty((len(where.lengths), self.width)), along_rows(where.lengths[:, np.newaxis] * v)
        flags = self.differentiate((rule, moves), found, self.options.progress)
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
            back, forth = (
                np.abs(np.where(v > 0.0, high, np.where(v < 0.0, low, np.inf)) / v).min(axis=1, initial=np.inf)
                for v in (-vectors, vectors)
            )
        return -back, forth

    def inside(self, lengths: Floats) -> Floats:
        """Return flat displacements within the bounds, turned round where there is no room, as x stores them."""
        if self.options.bounds is None and not is_narrow(self.point):
            return lengths
        x = np.asarray(self.point).reshape(-1).astype(np.float64)
        ends = (-np.inf, np.inf) if self.options.bounds is None else limits(self.point, self.options.bounds)
        low, high = ((1 - SPARE_ROOM) * (end - x) for end in ends)
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


def numerical_jacobian(
    f: Callable[..., Any],
    x: ArrayLike,
    h: StepSize = 1e-4,
    *,
    args: tuple[Any, ...] = (),
    workers: Workers = 1,
    out: NDArray[Any] | None = None,
    sparsity: Any = None,
    progress: Progress = False,
    scheme: AnyScheme = "central",
    bounds: Bounds | None = None,
    vectorized: bool = False,
    resume: bool = False,
) -> Any:
    """Return the Jacobian of `f` at `x` by finite differences, one coordinate at a time.

    Parameters
    ----------
    f : callable
        ``f(x, *args)``: an array of any shape, a list, or a number. A Python callable is called in place, on the array
        `x` itself; a function compiled with `numba.njit` is compiled together with the whole loop and sees a private
        float64 copy, as for `numerical_gradient`. What it returns is used at once: it may be the same buffer each time.
    x : array_like
        Where the Jacobian is taken: real, of any shape and layout. It is perturbed in place where `f` is a Python
        callable and it is writable and floating, and is bit for bit what it was after any exit.
    h : float, 'auto' or array_like, default 1e-4
        Step, in the unit of x, as for `numerical_gradient`.
    args : tuple, optional
        Further arguments of `f`.
    workers : int or map-like callable, default 1
        Threads for a compiled `f`, processes for a Python `f`, or an engine, as for `numerical_gradient`. The result is
        the same to the last bit.
    out : ndarray, optional
        Where to write the result: C-contiguous, of its shape, float64, or complex128 if `f` returns complex numbers.
        After an exception it holds the columns that were finished, and NaN for the others.
    sparsity : array_like of bool, scipy sparse array or list of index arrays, optional
        Which outputs depend on which coordinates, of shape ``(f(x).size, x.size)``. What a sparse array stores is an
        entry, whatever its value. A list has an array for each row, of the columns of its entries. Columns that share
        no row move together; what they are is kept for the last few patterns. It needs scipy.
    progress : bool or callable, default False
        As for `numerical_gradient`.
    scheme : str or Scheme, default 'central'
        As for `numerical_gradient`.
    bounds : pair of array_like, optional
        As for `numerical_gradient`.
    vectorized : bool, default False
        If true, `f` receives a batch of points, of shape ``(k, *x.shape)``, and returns an array of shape
        ``(k, *f(x).shape)``.

    resume : bool, default False
        If true, only those columns are evaluated that hold a NaN in `out`.

    Returns
    -------
    ndarray of float64 or complex128
        The Jacobian, of shape ``(*f(x).shape, *x.shape)``, in the unit of f per unit of x: element ``[..., i]`` is the
        derivative by coordinate i. It is `out` if that was given, else its memory holds one coordinate after the other.
        With a `sparsity`, a `scipy.sparse.csr_array` of the entries of the pattern.

    Raises
    ------
    TypeError
        If `f` is not callable, returns anything but numbers, or cannot be compiled for this `x`; else as for
        `numerical_gradient`.
    ValueError
        If `f` returns arrays of different shapes, or lists of different lengths; if `sparsity` has another shape or is
        too small: some output changes with a coordinate for which it has no entry; else as for `numerical_gradient`.
    ImportError
        If a `sparsity` is given and scipy is not installed; else as for `numerical_gradient`.

    Warns
    -----
    RuntimeWarning
        As `numerical_gradient`.

    Notes
    -----
    ``(f(x + h e_i) - f(x - h e_i)) / (2 h)``, with a truncation error of ``h**2 / 6`` times the third derivative and
    a round-off error of about ``eps * |f| / h``. Exactly 2n evaluations for n coordinates, and one at `x`, which
    shows the shape. The real and imaginary parts of complex outputs are differentiated each for itself.

    With a `sparsity` two evaluations for each colour: 6 for a tridiagonal Jacobian of any size. Two more, at `x` and
    along a random direction v, verify the pattern: f must change by J v. Where it does not, a few more tell a missing
    entry from the curvature, kinks and noise of f. An entry that makes less than a thousandth of its row may be missed.
    Near bounds a colour takes two evaluations for each side to which its members turn.

    References
    ----------
    Nocedal, J. and Wright, S., *Numerical Optimization*, Springer, section 8.1; for the colours, Curtis, A., Powell, M.
    and Reid, J., *On the estimation of sparse Jacobian matrices*, IMA Journal of Applied Mathematics 13, 1974.

    Examples
    --------
    >>> import numpy as np
    >>> from numgrad import numerical_jacobian
    >>> print(numerical_jacobian(lambda x: np.array([x[0] * x[1], x[0] - x[1]]), np.array([3.0, 4.0])).round(6))
    [[ 4.  3.]
     [ 1. -1.]]
    """
    options = Options(h, args, workers, out, sparsity, progress, scheme, bounds, vectorized, resume=resume)
    return Problem(f, x, options).jacobian()


def directional_derivative(
    f: Callable[..., Any],
    x: ArrayLike,
    v: ArrayLike,
    h: StepSize = 1e-4,
    *,
    args: tuple[Any, ...] = (),
    workers: Workers = 1,
    progress: Progress = False,
    scheme: AnyScheme = "central",
    bounds: Bounds | None = None,
) -> Any:
    """Return the derivative of `f` at `x` along `v`, the product J v of its Jacobian, by two evaluations.

    Parameters
    ----------
    f : callable
        ``f(x, *args)``: a number or an array of any shape, as for `numerical_jacobian`.
    x : array_like
        Where the derivative is taken, as for `numerical_jacobian`; perturbed in place and restored likewise.
    v : array_like
        The direction, of the shape of `x` and in the unit of x; or a stack of k of them, of shape ``(k, *x.shape)``.
        Its length counts: the derivative along 2 v is twice that along v. Along zeros it is zero.
    h : float, 'auto' or array_like, default 1e-4
        Step, in the unit of x, as for `numerical_gradient`: the points are ``x + t v`` and ``x - t v`` with the largest
        t for which no coordinate moves by more than its step. So `h` does not depend on how long `v` is.
    args, workers, progress, scheme, bounds
        As for `numerical_jacobian`. Near bounds the scheme turns one-sided along `v`.

    Returns
    -------
    float or ndarray of float64 or complex128
        The derivative, of the shape of ``f(x)``, in the unit of f; for a stack of directions of shape
        ``(k, *f(x).shape)``.

    Raises
    ------
    TypeError
        As `numerical_jacobian`.
    ValueError
        If `v` has another shape or is not finite; if the bounds leave no room along `v`; else as `numerical_jacobian`.

    Warns
    -----
    RuntimeWarning
        As `numerical_jacobian`; of a lost step if it is lost in each coordinate that moves.

    Notes
    -----
    ``(f(x + t v) - f(x - t v)) / (2 t)``: two evaluations a direction, and one at `x`, which shows the shape.
    The truncation error is ``t**2 / 6`` times the third derivative along `v`, the round-off error ``eps * |f| / t``.

    References
    ----------
    Nocedal, J. and Wright, S., *Numerical Optimization*, Springer, section 8.1.

    Examples
    --------
    >>> import numpy as np
    >>> from numgrad import directional_derivative, function_2
    >>> round(directional_derivative(function_2, np.array([3.0, 4.0]), [1.0, -1.0]), 6)
    -2.0
    """
    problem = Problem(f, x, Options(h, args, workers, progress=progress, scheme=scheme))
    problem.options = problem.options._replace(bounds=bounds)  # where they leave no room, v need not go
    point, base, given = problem.point, problem.base, np.array(arguments.real_array(v, "v"), np.float64)
    if given.ndim - point.ndim not in {0, 1} or given.shape[given.ndim - point.ndim :] != point.shape:
        raise ValueError(f"v must have the shape of x, {point.shape}, or (k, *x.shape), got {given.shape}")
    if not np.isfinite(given).all():
        raise ValueError("v must be finite")
    vectors = given.reshape(len(given) if given.ndim > point.ndim else 1, point.size)
    rows, flags = problem.along(vectors)
    problem.warn(flags, rows / (np.abs(vectors).max(initial=0.0) or 1.0))
    result = rows.view(base.dtype).reshape((len(vectors), *base.shape))
    if given.ndim == point.ndim:
        result = result[0]
    return result[()] if result.ndim else result.item()


def jacobian_sparsity(
    f: Callable[..., Any],
    x: ArrayLike,
    *,
    args: tuple[Any, ...] = (),
    workers: Workers = 1,
    progress: Progress = False,
    bounds: Bounds | None = None,
) -> Any:
    """Find which outputs of `f` depend on which coordinates, for the `sparsity` of `numerical_jacobian`: a heuristic.

    Parameters
    ----------
    f : callable
        As for `numerical_jacobian`.
    x : array_like
        A point near which `f` is looked at, as for `numerical_jacobian`; perturbed in place and restored likewise.
    args : tuple, optional
        Further arguments of `f`.
    workers : int or map-like callable, default 1
        As for `numerical_jacobian`.
    progress : bool or callable, default False
        As for `numerical_jacobian`.
    bounds : pair of array_like, optional
        As for `numerical_jacobian`.

    Returns
    -------
    scipy.sparse.csr_array of bool
        The entries that were found, of shape ``(f(x).size, x.size)``.

    Raises
    ------
    TypeError
        As `numerical_jacobian`.
    ValueError
        If the pattern that was found proves too small for the Jacobian at `x`; else as `numerical_jacobian`.
    ImportError
        If scipy is not installed.

    Notes
    -----
    All coordinates are moved to a random place nearby, by up to a thousandth of their size, and then each one half the
    way back: the outputs that change are its entries. One evaluation for each coordinate, two for each colour and a few
    more, by which the pattern is verified as `numerical_jacobian` does. A dependence that shows elsewhere only, as in
    the branch of an ``if`` that is not taken near `x`, is not found. Take the union of the patterns of several points.
    NaN in place of numbers is not tried: comparisons and maxima swallow it, solvers and integrators raise or run on,
    and a product with a constant 0 hands it on where nothing depends.

    References
    ----------
    Curtis, A., Powell, M. and Reid, J., *On the estimation of sparse Jacobian matrices*, IMA Journal of Applied
    Mathematics 13, 1974.

    Examples
    --------
    >>> import numpy as np
    >>> from numgrad import jacobian_sparsity
    >>> print(jacobian_sparsity(lambda x: x[1:] - x[:-1] ** 2, np.ones(4)).toarray().astype(int))
    [[1 1 0 0]
     [0 1 1 0]
     [0 0 1 1]]
    """
    sparse = scipy_sparse()
    problem = Problem(f, x, Options(1e-4, args, workers, progress=progress, bounds=bounds))
    n, base, rng = problem.point.size, problem.base.reshape(-1), np.random.default_rng(0)
    signs = rng.choice([-1.0, 1.0], n)
    sizes = _PROBE * scales(np.asarray(problem.point)) * rng.uniform(0.6, 1.0, n)
    far, near = problem.inside(signs * sizes), problem.inside(0.5 * signs * sizes)
    at_far = problem.moved(far) if n else base
    found = [np.empty((2, 0), np.intp)]  # coordinates and outputs
    block = max(1, 2**22 // max(1, base.size, n))  # 32 MiB of outputs, and of displacements, at a time
    for first in range(0, n, block):
        count = min(block, n - first)
        moves, chosen = np.tile(far, (count, 1)), np.arange(first, first + count)
        moves[np.arange(count), chosen] = near[chosen]
        values = problem.values(along_rows(moves))
        by, changed = np.nonzero((values != at_far) & ~(np.isnan(values) & np.isnan(at_far)))
        found.append(np.array([chosen[by], changed]))
    columns, rows = np.concatenate(found, axis=1)
    pattern = sparse.csr_array((np.ones(len(rows), np.bool_), (rows, columns)), shape=(base.size, n))
    sparse_jacobian(problem, as_pattern(pattern, pattern.shape))
    return pattern
