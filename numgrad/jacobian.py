"""numerical_jacobian and directional_derivative."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import arguments
from .columns import Options, Problem
from .driver import Progress, Workers
from .objectives.vectors import floats
from .schemes import AnyScheme, Bounds, StepSize

__all__ = ["directional_derivative", "numerical_jacobian"]


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
    return jacobian_of(
        f, x, h, Options(args, workers, out, sparsity, progress, scheme, bounds, vectorized, resume=resume)
    )


def jacobian_of(f: Any, x: Any, h: Any, options: Options, known: Problem | None = None) -> Any:
    """Return what `numerical_jacobian` does; of a problem that is `known`, f(x) is."""
    problem = known or Problem(f, x, h, options)
    base, point, out = problem.base, problem.point, options.out
    if options.sparsity is not None:
        from .sparsity import as_pattern, sparse_jacobian

        if out is not None:
            raise ValueError("out must be None with a sparsity: the result is a scipy.sparse.csr_array")
        return sparse_jacobian(problem, as_pattern(options.sparsity, (base.size, point.size)))
    shape = (*base.shape, *point.shape)
    if out is None and options.resume:
        raise ValueError("resume=True goes on with what is in out; pass the array of the Jacobian that was broken off")
    if out is None:
        rows = np.empty((point.size, floats(base).size))
        problem.warn(problem.differentiate(problem.plan, rows, options.progress), rows)
        axes = *range(point.ndim, len(shape)), *range(point.ndim)
        return rows.view(base.dtype).reshape((*point.shape, *base.shape)).transpose(axes)
    result = arguments.result_buffer(out, shape, x, options.args, base.dtype)
    _write(result.view(np.ndarray).reshape(base.size, point.size), problem)
    return result


def _write(columns: NDArray[Any], problem: Problem) -> None:
    """Write the columns of a Jacobian, and NaN for those that are not finished; to resume, those with a NaN."""
    resume = problem.options.resume
    chosen = np.flatnonzero(np.isnan(columns).any(axis=0)) if resume else np.arange(columns.shape[1])
    rows = np.full((len(chosen), problem.width), np.nan)
    try:
        flags = problem.differentiate(problem.only(chosen) if resume else problem.plan, rows, problem.options.progress)
    finally:
        columns[:, chosen] = rows.view(columns.dtype).T
    problem.warn(flags, rows)


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
    problem = Problem(f, x, h, Options(args, workers, progress=progress, scheme=scheme))
    problem.options = problem.options._replace(bounds=bounds)  # where they leave no room, v need not go
    point, base, given = problem.point, problem.base, np.array(arguments.real_array(v, "v"), np.float64)
    if given.ndim - point.ndim not in {0, 1} or given.shape[given.ndim - point.ndim :] != point.shape:
        raise ValueError(f"v must have the shape of x, {point.shape}, or (k, *x.shape), got {given.shape}")
    if not np.isfinite(given).all():
        raise ValueError("v must be finite")
    vectors = (
        given.reshape(-1, point.size) if point.size else np.empty((len(given) if given.ndim > point.ndim else 1, 0))
    )
    rows, flags = problem.along(vectors)
    problem.warn(flags, rows / (np.abs(vectors).max(initial=0.0) or 1.0))
    result = rows.view(base.dtype).reshape((len(vectors), *base.shape))
    if given.ndim == point.ndim:
        result = result[0]
    return result[()] if result.ndim else result.item()
