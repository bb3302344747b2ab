"""Derivatives of an f with several outputs: its Jacobian, along directions, where it is 0, and of a covariance."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import arguments, driver
from .arguments import KNOWN_COMPILED, describe, is_compiled, plain_numbers
from .bounds import ends_of_lines
from .containers import in_order, is_labelled, relabelled
from .digits import see_noise_of_outputs
from .driver import Progress, Workers
from .elementwise import check_reads_argument, numerical_diff
from .loops import Floats, Indices
from .points import is_plain, private_copy, resolution, scales, where_defined
from .problem import Options, Problem
from .products import along, is_cheap
from .schemes import AnyScheme, Bounds, StepSize, along_rows
from .sparsity import as_pattern, scipy_sparse, sparse_jacobian

__all__ = ["directional_derivative", "jacobian_sparsity", "numerical_jacobian", "propagate"]

# The defaults. Python has one object of each, so that a call that passes no others is told by identity: to compare
# types and values takes 0.9 us more, of 37. Fixed by test_dense_compiled in benchmarks/bench_jacobian.py.
_ARGS: tuple[Any, ...] = ()
_WORKERS, _SCHEME = 1, "central"

# Relative to x: by how much coordinates move where a pattern is sought, of narrow points by so many spacings at least.
# And the size of a coordinate below which it moves by that part of 1 too. Fixed by
# test_a_pattern_is_found_in_narrow_points and test_a_pattern_is_found_by_tiny_coordinates in tests/test_sparsity.py.
_PROBE, _SPACINGS, _TINY = 1e-3, 16.0, 1e-6
# Coordinates from which on f is asked whether it is elementwise: two evaluations a binary digit of n are fewer than 2n.
# Fixed by test_an_elementwise_f_of_many_numbers_takes_few_evaluations in tests/test_propagate.py.
_MANY = 20
# Relative to x: by how much coordinates move for that question, as for a derivative.
_MOVE = 1e-5
# Of the largest: what rounding may make of a variance, or a standard deviation, that is 0. Of two standard deviations:
# by how much the rounding of an inverse, or of printed digits, may make their covariances differ.
# Fixed by test_the_rounding_of_a_covariance_is_no_fault in tests/test_propagate.py.
_ROUNDED, _UNEVEN = 1e-12, 1e-3


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
        callable and it is writable and floating, and is bit for bit what it was after any exit. A Python `f` receives
        a Series or DataFrame with its labels.
    h : float, 'auto' or array_like, default 1e-4
        Step, in the unit of x, as for `numerical_gradient`. Automatic steps of a coordinate grow for each output of
        which rounding leaves less than half of the digits, or that does not change with it. They are those of float32
        for an `f` that rounds to it, whatever it returns, as one more evaluation tells.
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
        As `numerical_gradient`; if the noise of `f` next to `x`, as that of a solver, leaves fewer than three digits of
        the largest element by automatic steps.

    Notes
    -----
    ``(f(x + h e_i) - f(x - h e_i)) / (2 h)``, with a truncation error of ``h**2 / 6`` times the third derivative and
    a round-off error of about ``eps * |f| / h``. Exactly 2n evaluations for n coordinates, and one at `x`, which
    shows the shape; a compiled `f` of flat arrays shows it once. The real and imaginary parts of complex outputs are
    differentiated each for itself. With 'auto' one more, a short way from `x`, tells whether f has noise, and 15 to 70
    where that is in doubt.

    With a `sparsity` two evaluations for each colour: 6 for a tridiagonal Jacobian of any size. Two more, at `x` and
    along a random direction v, verify the pattern: f must change by J v. Where it does not, a few more tell a missing
    entry from the curvature, kinks and noise of f, and some 20 for an output in which large numbers cancel. An entry
    that makes less than a thousandth of its row may be missed. With 'auto' that direction tells whether f has noise;
    beside a coordinate below 0.1 one evaluation more does.
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
    is_usual = out is sparsity is bounds is None and progress is vectorized is resume is False
    if is_usual and args is _ARGS and workers is _WORKERS and scheme is _SCHEME:
        return usual_jacobian(f, x, h)
    options = Options(h, args, workers, out, sparsity, progress, scheme, bounds, vectorized, resume=resume)
    return jacobian_of(Problem(f, x, options))


def jacobian_of(problem: Problem) -> Any:
    """Return the Jacobian of a problem, and warn of the noise of f where steps are automatic."""
    found = problem.jacobian()
    see_noise_of_outputs(problem, found)
    return found if problem.options.out is None else problem.options.out


def usual_jacobian(f: Any, x: Any, h: Any) -> Any:
    """Return the dense Jacobian by the default scheme; of a compiled f, as its last one was made if that is alike."""
    is_known = h.__class__ is float and is_plain(x) and x.flags.carray
    vector = getattr(KNOWN_COMPILED.get(id(f)), "vectors", {}).get(None) if is_known else None
    if vector is not None and (found := vector.again(x, h)) is not None:
        return found
    return jacobian_of(Problem(f, x, Options(h)))


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
        t for which no coordinate moves by more than its step. So `h` does not depend on how long `v` is. 'auto' takes
        longer steps of coordinates below 0.1, up to those of the magnitude 1, where rounding hides what the first one
        changes, and those of float32 for an `f` that rounds to it.
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
        As `numerical_jacobian`, of the derivative along the first direction; of a lost step if it is lost in each
        coordinate that moves.

    Notes
    -----
    ``(f(x + t v) - f(x - t v)) / (2 t)``: two evaluations a direction, and one at `x`, which shows the shape.
    The truncation error is ``t**2 / 6`` times the third derivative along `v`, the round-off error ``eps * |f| / t``.

    A coordinate may be tiny where f is of the magnitude 1. With 'auto', where that error is more than some 1e-5 of a
    derivative and `v` moves a coordinate below 0.1, its magnitude is taken as 1, and then as 1/32, 1/1024 ..., until
    two of the results agree but for rounding: four evaluations more as a rule. f may raise there, or not be finite.
    Where t is below 1e6 eps, six more show what is rounded inside an f that is small since terms cancel. The values of
    the first difference to both sides show noise by themselves; where these hide it, by longer steps and other schemes,
    and with `progress`, one more does, and 15 to 70 where that is in doubt.

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
    in_order(x, v=v, bounds=bounds)
    array, given = arguments.real_array(x), np.array(arguments.plain_numbers(v, "v"), np.float64)
    stack = given.shape[: max(0, given.ndim - array.ndim)]  # (k,), or () for one vector
    if len(stack) > 1 or given.shape != (*stack, *array.shape):
        raise ValueError(f"v must have the shape of x, {array.shape}, or (k, *x.shape), got {given.shape}")
    if not np.isfinite(given).all():
        raise ValueError("v must be finite")
    vectors = np.atleast_2d(given.reshape((*stack, array.size)))
    if bounds is not None:
        ends_of_lines(array, vectors, bounds)
    at: Any = partial(f) if is_cheap(f) else f  # an objective of one number has no loop of several outputs
    options = Options(h, args, workers, progress=progress, scheme=scheme, bounds=bounds)
    problem = Problem(at, x, options, has_lines=True)
    base = problem.base
    rows, flags = along(problem, vectors)
    with np.errstate(all="ignore"):
        relative = rows / (np.abs(vectors).max(initial=0.0) or 1.0)
    problem.warn(flags, relative)
    result = rows.view(base.dtype).reshape((*stack, *base.shape))
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

    Warns
    -----
    RuntimeWarning
        If `f` saw a private copy and did not respond to it at all.

    Notes
    -----
    All coordinates are moved to a random place nearby, by up to a thousandth of their size, and then each one half the
    way back: the outputs that change are its entries. One evaluation for each coordinate, and one more for those below
    1e-6, which move by a thousandth of 1 as well, if f is defined there; two for each colour and a few more, by which
    the pattern is verified as `numerical_jacobian` does. A dependence that shows elsewhere only, as in the branch of an
    ``if`` that is not taken near `x`, is not found. Take the union of the patterns of several points.
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
    problem = Problem(f, x, Options("auto", args, workers, progress=progress, bounds=bounds))
    n, base, plain = problem.point.size, problem.base.reshape(-1), np.asarray(problem.point)
    sizes = scales(plain)
    found = [_entries_along(problem, max(_PROBE, _SPACINGS * resolution(plain)) * sizes, np.arange(n))]
    if (tiny := np.flatnonzero(sizes < _TINY)).size:  # what these change may be lost beside other numbers
        sizes[tiny] = 1.0
        with np.errstate(all="ignore"):  # of an f that is not defined there
            more = where_defined(lambda: _entries_along(problem, _PROBE * sizes, tiny, True))
        found += [] if more is None else [more]
    columns, rows = np.concatenate(found, axis=1)
    pattern = sparse.csr_array((np.ones(len(rows), np.bool_), (rows, columns)), shape=(base.size, n))
    is_empty = base.size * n > len(rows) == 0
    ignored = is_empty and driver.seems_ignored(problem.objective, problem.private, problem.workers, 0)
    driver.warn_of(0, 1e-4, ignored, problem.point)
    found, flags = sparse_jacobian(problem, as_pattern(pattern, pattern.shape))
    problem.warn(flags, found.data)
    return pattern


def _entries_along(problem: Problem, sizes: Floats, chosen: Indices, is_far: bool = False) -> Indices:
    """Return which coordinates, of the chosen ones, change which outputs, where all have moved by parts of their sizes.

    Each one moves half the way back. What is far and not finite tells nothing.
    """
    rng, base = np.random.default_rng(0), problem.base
    far = problem.inside(rng.choice([-1.0, 1.0], sizes.size) * sizes * rng.uniform(0.6, 1.0, sizes.size))
    near = problem.inside(0.5 * far)  # of what the bounds leave, so that the two differ there too
    at_far, found = problem.moved(far) if far.size else base.reshape(-1), [np.empty((2, 0), np.intp)]
    block = max(1, 2**22 // max(1, base.size, far.size))  # 32 MiB of outputs, and of displacements, at a time
    for own in np.split(chosen, range(block, len(chosen), block)):
        moves = np.tile(far, (len(own), 1))
        moves[np.arange(len(own)), own] = near[own]
        values = problem.values(along_rows(moves))
        is_known = np.isfinite(values) & np.isfinite(at_far) if is_far else ~(np.isnan(values) & np.isnan(at_far))
        by, changed = np.nonzero((values != at_far) & is_known)
        found.append(np.array([own[by], changed]))
    return np.concatenate(found, axis=1)


def propagate(
    f: Callable[..., Any],
    x: ArrayLike,
    cov: ArrayLike,
    *more: ArrayLike,
    h: StepSize = "auto",
    scheme: AnyScheme = "central",
    diagonal: bool = False,
) -> tuple[Any, Any]:
    """Return what `f` returns and its covariance, to first order in that of the arguments.

    Parameters
    ----------
    f : callable
        ``f(x)``, or ``f(x, y, ...)`` of arguments that are independent of each other: a number or a vector.
    x : float or array_like
        The argument: a number or a vector of n numbers, which is not changed. f receives float64 arrays; a Python `f`
        receives a Series with its labels.
    cov : float or array_like
        Its covariance: a matrix of shape (n, n); a vector of n variances, without correlation; or one variance for all.
        Labels, as of a DataFrame, must have the order of those of `x`.
    *more : array_like
        Further arguments of `f` and their covariances, in turn: ``propagate(f, x, cov, y, cov_of_y)``.
    h : float, 'auto' or array_like, default 'auto'
        Step, as for `numerical_jacobian`.
    scheme : str or Scheme, default 'central'
        As for `numerical_jacobian`.
    diagonal : bool, default False
        Whether `f` is known to be elementwise, so that two evaluations do.

    Returns
    -------
    value : float or ndarray
        What `f` returns.
    covariance : float or ndarray of float64
        A variance where the value is a number; else a matrix of shape (m, m) for m values; or m variances, where `f` is
        elementwise, as is found, and `cov` no matrix.

    Raises
    ------
    TypeError
        If `f` is not callable, or if an argument, a covariance or what `f` returns is not real.
    ValueError
        If `x` or the value has more than one axis, if the shapes of `x` and `cov` do not fit, or one has no partner; if
        a variance is negative, or a matrix not symmetric, by more than rounding; if it has the labels of `x` in another
        order; if all slopes are zero, and `f` reads the array `x` in place of its argument.

    Warns
    -----
    RuntimeWarning
        If all slopes are zero with respect to an array of integers, or a read-only one, which `f` may read in place of
        its argument; otherwise as `numerical_jacobian`.

    Notes
    -----
    ``C' = J C J.T`` with the Jacobian J of `f` at `x`, by ``2n + 2`` evaluations and one for the value. Where ``f(x)``
    has the shape of x and n is 20 or more, up to ``2 log2(n) + 2`` evaluations show first whether each value depends on
    its own coordinate alone; two more do then. Values that are NaN stay so by themselves if `f` is elementwise.

    References
    ----------
    Joint Committee for Guides in Metrology, *Guide to the expression of uncertainty in measurement*, JCGM 100:2008,
    section 5. The names are those of `jacobi.propagate`.

    Examples
    --------
    >>> from numgrad import propagate
    >>> value, covariance = propagate(lambda x: x**2, [1.0, 2.0], [[3.0, 1.0], [1.0, 4.0]])
    >>> print(value, covariance.round(6).tolist())
    [1. 4.] [[12.0, 8.0], [8.0, 64.0]]
    >>> value, variance = propagate(lambda x, y: x * y, 3.0, 0.01, 4.0, 0.04)
    >>> print(value, round(variance, 6))
    12.0 0.52
    """
    if not callable(f):
        raise TypeError(f"f must be callable, got {describe(f)}")
    if len(more) % 2:
        raise ValueError(f"each argument needs a covariance, got {2 + len(more)} arrays for f")
    given, covs = (x, *more[::2]), (cov, *more[1::2])  # type: tuple[Any, ...], tuple[Any, ...]
    parts = [_vector(part, "x") for part in given]
    for own, its_cov in zip(given, covs, strict=True):
        in_order(own, cov=its_cov, h=h)
    covariances = list(map(_covariance, covs, parts))
    if any(map(is_labelled, given)) and not is_compiled(f):
        f = _of_arrays(f, given)
    value = _vector(f(*(part.copy() for part in parts)), "the value of f")
    found = []
    for k, (part, own, memory) in enumerate(zip(parts, covariances, given, strict=True)):

        def of_part(x: Any, k: int = k) -> Any:
            others = [part.copy() for part in parts]  # f may write to these
            return f(*others[:k], x, *others[k + 1 :])

        function = f if len(parts) == 1 else of_part  # a compiled f stays one
        slopes = _slopes(function, part, value, (h, scheme, diagonal))
        memory = memory.to_numpy() if is_labelled(memory) else memory
        check_reads_argument(f, memory, (), None if slopes.any() else partial(function, part.copy()))
        found.append(_transformed(slopes, own, value.shape))
    if any(each.ndim == 2 for each in found):
        found = [each if each.ndim == 2 else np.diag(each) for each in found]
    return value[()], sum(found[1:], found[0])[()]


def _of_arrays(f: Any, likes: tuple[Any, ...]) -> Callable[..., Any]:
    """Return f of pandas objects as a function of arrays, which get the labels of these."""
    return lambda *arrays: f(*map(relabelled, likes, arrays))


def _vector(given: Any, name: str) -> Floats:
    """Return a float64 copy of a number or a vector."""
    array = private_copy(plain_numbers(given, name))
    if array.ndim > 1:
        raise ValueError(f"{name} must have at most 1 axis, got the shape {array.shape}")
    return array


def _covariance(given: Any, x: Floats) -> Floats:
    """Return a covariance that fits x."""
    array = private_copy(plain_numbers(given, "cov"))
    if array.shape not in {(), x.shape, 2 * x.shape}:
        raise ValueError(f"cov must be a variance, or of shape {x.shape} or {2 * x.shape} as x is, got {array.shape}")
    variances = np.diagonal(array) if array.ndim == 2 else array
    if (lost := variances < -_ROUNDED * np.abs(array).max(initial=0.0)).any():
        raise ValueError(f"cov must have no negative variance, got {variances[lost].min():g}")
    if array.ndim == 2 and array.size:
        with np.errstate(all="ignore"):
            deviations = np.sqrt(np.abs(variances))
            deviations = np.maximum(deviations, _ROUNDED * deviations.max())
            off = np.argwhere(np.abs(array - array.T) > _UNEVEN * np.outer(deviations, deviations)).tolist()
        for i, j in off[:1]:
            values = f"{array[i, j]:g} at [{i}, {j}] and {array[j, i]:g} at [{j}, {i}]"
            raise ValueError(f"cov must be symmetric, got {values}; pass (cov + cov.T) / 2 if both mean the same")
    return array


def _slopes(f: Any, x: Floats, value: Floats, how: tuple[Any, Any, bool]) -> Floats:
    """Return the Jacobian as a matrix, or its diagonal where all else is zero, or NaN beside a NaN."""
    h, scheme, diagonal = how
    if diagonal or (value.shape == x.shape and x.size >= _MANY and _is_elementwise(f, x, value)):
        return numerical_diff(f, x, h, scheme=scheme)
    jacobian: Floats = numerical_jacobian(f, x, h, scheme=scheme)
    if value.shape != x.shape or not x.ndim:
        return jacobian.reshape(value.size, x.size) if value.shape != x.shape else jacobian
    beside = jacobian[~np.eye(x.size, dtype=bool)]
    return jacobian if (np.nan_to_num(beside) != 0.0).any() else np.diagonal(jacobian).copy()


def _is_elementwise(f: Any, x: Floats, value: Floats) -> bool:
    """Tell whether values stay the same bit for bit while other coordinates move.

    For any two coordinates some binary digit of their numbers differs, so one moves without the other and vice versa.
    Lengths are random, so that no two moves cancel.
    """
    steps = _MOVE * scales(x) * np.random.default_rng(0).uniform(0.5, 1.0, x.size)
    for digit in range(x.size.bit_length()):
        for side in (0, 1):
            moves = (np.arange(x.size) >> digit & 1) == side
            moved = np.asarray(f(x + np.where(moves, steps, 0.0)))
            if moved.shape != x.shape or not np.array_equal(moved[~moves], value[~moves], equal_nan=True):
                return False
    return True


def _transformed(slopes: Floats, cov: Floats, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return ``J C J.T`` for a Jacobian or its diagonal, in the shape for values of this shape."""
    with np.errstate(all="ignore"):
        if slopes.ndim < 2:
            return np.asarray(slopes * slopes * cov if cov.ndim < 2 else np.outer(slopes, slopes) * cov)
        product = np.asarray((slopes * cov if cov.ndim < 2 else slopes @ cov) @ slopes.T)
    return product if shape else product.reshape(())
