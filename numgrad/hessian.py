"""numerical_hessian: second derivatives, from values of f or from gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import arguments, driver
from .arguments import real_array
from .containers import Joined, is_container, is_labelled
from .curvature import SecondDifferences, check_callable, is_cheap, noise_of_slopes, slopes, steps_at, warn_of
from .driver import Progress, Workers
from .gradient import both_with_labels, takes_containers
from .loops import Floats
from .points import EPS, SMALL, enough, least_magnitude, lengthen, magnitudes, scales
from .problem import Options, Problem
from .schemes import AnyScheme, Bounds, StepSize, as_scheme, stored_steps
from .sparsity import entries_of

__all__ = ["numerical_hessian"]

# Part of 1 + |x| by which an array is moved, to which f has not responded by any second difference.
_PROBE = 1e-3


def numerical_hessian(
    f: Callable[..., Any],
    x: ArrayLike,
    h: StepSize = "auto",
    *,
    args: tuple[Any, ...] = (),
    workers: Workers = 1,
    sparsity: Any = None,
    gradient: Callable[..., Any] | None = None,
    out: NDArray[np.float64] | None = None,
    progress: Progress = False,
    scheme: AnyScheme = "central",
    bounds: Bounds | None = None,
    resume: bool = False,
) -> Any:
    """Return the Hessian of `f` at `x`, the matrix of its second derivatives, by finite differences.

    Parameters
    ----------
    f : callable
        ``f(x, *args) -> float``, of any kind that `numerical_gradient` takes: a Python f is called in place, on the
        memory of `x`, and a compiled one together with the whole loop. It is not called if `gradient` is given. Of an
        `IncrementalObjective` the gradient is taken, by `numerical_gradient`.
    x : array_like
        Where the Hessian is taken, as for `numerical_gradient`: a writable floating array is perturbed in place by a
        Python `f`, and is bit for bit what it was after any exit. Or arrays in a container, as for
        `numerical_gradient`: the Hessian is then that over all of them in turn, whose names `labels` returns. That of a
        Series or DataFrame is an array of the shape below.
    h : float, 'auto' or array_like, default 'auto'
        Step, in the unit of x, as for `numerical_gradient`. 'auto' takes ``2 eps**(1 / (order + 2))`` of each
        coordinate's magnitude (of 1 where that is 0), with the eps of the coarser precision of `x` and of what `f`
        returns, or ``eps**(1 / (order + 1))`` with a `gradient`. A coordinate whose step hardly changes f moves by a
        longer one, up to that of the magnitude 1. Steps for values are rounded to distances of points as they are
        stored. For arrays in a container it is 'auto' for all of them or for none.
    args : tuple, optional
        Further arguments of `f` and of `gradient`.
    workers : int or map-like callable, default 1
        Threads or processes, as for `numerical_gradient`; the result is the same to the last bit.
    sparsity : array_like of bool, scipy sparse array or list of index arrays, optional
        Which second derivatives are not zero, of shape ``(x.size, x.size)``, as for `numerical_jacobian`; an entry
        stands for the one across the diagonal too, and the diagonal is always among them. Only these pairs are
        evaluated, or with a `gradient` one direction for each colour.
    gradient : callable, optional
        ``gradient(x, *args)``: the gradient of `f`, of the shape of `x`; for arrays in a container the same container
        of arrays, by key and not by the order of the keys. The Hessian is then its Jacobian, by `numerical_jacobian`,
        made symmetric.
    out : ndarray of float64, optional
        Where to write the result: C-contiguous, of the shape of the result. After an exception it holds the second
        derivatives that were finished, and NaN for the others; with a `gradient` NaN alone.
    progress : bool or callable, default False
        As for `numerical_gradient`, in ``n (n + 1) / 2`` directions.
    scheme : str or Scheme, default 'central'
        'central' (order 2), 'central4', 'central6', 'forward' or 'backward' (order 1) for the second derivatives along
        directions, or a `Scheme` of the derivative 2.
    bounds : pair of array_like, optional
        As for `numerical_gradient`: f is evaluated at no point outside. Near a bound the differences turn one-sided and
        keep their order; where there is no room even for these, the step becomes smaller.

    resume : bool, default False
        If true, only those pairs are evaluated that are NaN in `out`, beside each coordinate alone; not with a
        `gradient`.

    Returns
    -------
    ndarray of float64 or scipy.sparse.csr_array
        The Hessian, in the unit of f per square of the unit of x, of shape ``(*x.shape, *x.shape)``, symmetric bit for
        bit. It is `out` if that was given. With a `sparsity` it is a csr_array of shape ``(x.size, x.size)``.

    Raises
    ------
    TypeError
        As for `numerical_gradient`; if `gradient` returns anything but real numbers.
    ValueError
        As for `numerical_gradient`; if `scheme` is for another derivative; if `gradient` returns another shape than
        that of `x`; if `sparsity` has another shape, or misses an entry by which f changes along a random direction,
        which two evaluations show; if `out` is given with a `sparsity`.
    ImportError
        If a `sparsity` is given and scipy is not installed.

    Warns
    -----
    RuntimeWarning
        If a step is lost where it is added to some coordinate; if `f` saw a private copy and does not respond to it; if
        the rounding of `f` is more than a thousandth of the largest element, so that it has less than three digits.

    Notes
    -----
    With the steps a and b along two coordinates, their mixed derivative is ``(f(x + a + b) - f(x + a) - f(x + b) +
    2 f(x) - f(x - a) - f(x - b) + f(x - a - b)) / (2 a b)``: what is left of the second difference along both, once
    those along each are subtracted. So ``n**2 + n + 1`` evaluations do for n coordinates, half of what four corners for
    each pair would take. The truncation error is h**2 times some fourth derivatives, the round-off error about ``4 eps
    |f| / h**2``. For a smooth f of which that is too much, 'central6' takes three times as many evaluations, and much
    longer steps. A pattern with p pairs takes ``2 (n + p) + 3`` evaluations, a `gradient` ``2n + 1`` of itself.

    A coordinate x_i may be tiny where f is of the magnitude 1, and 'auto' would see round-off only. Where ``|x_i| <
    0.1`` and the second difference along it is below some 4000 times the rounding ``4 eps |f|``, its step grows until
    it is not, or is that of the magnitude 1, or f is not finite, raises, or bends by more than rounding explains. That
    takes up to three evaluations for each of a few steps, and two more for each pair of the coordinate. With a
    `gradient`, and for an objective that gives its own, the columns of such coordinates are taken again where rounding
    is more than some 1e-5 of them, as if these were of the magnitude 1, and then 1/32, 1/1024 ..., until two of the
    results agree but for rounding: four evaluations more a column as a rule.

    References
    ----------
    Abramowitz, M. and Stegun, I., *Handbook of Mathematical Functions*, formula 25.3.27. Fornberg, B., *Generation of
    finite difference formulas on arbitrarily spaced grids*, Mathematics of Computation 51, 1988.

    Examples
    --------
    >>> import numpy as np
    >>> from numgrad import numerical_hessian
    >>> print(numerical_hessian(lambda x: x[0] ** 2 * x[1], np.array([3.0, 4.0])).round(4))
    [[8. 6.]
     [6. 0.]]
    """
    options = {"args": args, "workers": workers, "progress": progress, "scheme": scheme, "bounds": bounds}
    check_callable(gradient)
    if x.__class__ is not np.ndarray and is_labelled(x):
        f, gradient, x = both_with_labels(f, gradient, x, args)
    elif x.__class__ is not np.ndarray and is_container(x) and takes_containers(gradient or f, args, x):
        return _of_container(f, x, h, gradient, options | {"sparsity": sparsity, "out": out, "resume": resume})
    if gradient is None and sparsity is None and hasattr(f.__class__, "_hessian"):
        return _own_hessian(f, x, h, (args, out, scheme, bounds), workers, progress)
    noise = 0.0
    if gradient is None and is_cheap(f):
        noise = noise_of_slopes(f, x, args) if isinstance(h, str) else 0.0
        gradient, options["workers"] = partial(slopes, f, None, workers, None), 1
    driver.check_progress(progress)
    if resume and (out is None or gradient is not None):
        raise ValueError("resume=True goes on with what is in out, from values of f; pass out, and no gradient")
    hessian = _memory(x, args, out, sparsity is not None, resume)
    if gradient is not None:
        found = _jacobian(gradient, x, h, sparsity, noise, options)
        if hessian is None:
            return found
        hessian[...] = found.reshape(hessian.shape)
        return hessian
    problem = SecondDifferences(f, x, h, args, as_scheme(scheme, 2), bounds)
    workers, n = driver.as_workers(workers, problem.objective), problem.point.size
    if hessian is None:
        return _of_pairs(problem, sparsity, workers, progress)
    _write(hessian.reshape(n, n), problem, (workers, progress), resume)
    return hessian


def _memory(x: Any, args: Any, out: Any, is_sparse: bool, resume: bool) -> NDArray[Any] | None:
    """Return where a Hessian is written, NaN unless it is to `resume`; None for a sparse one."""
    if out is not None and is_sparse:
        raise ValueError("out must be None with a sparsity: the result is a scipy.sparse.csr_array")
    if is_sparse:
        return None
    hessian = arguments.result_buffer(out, 2 * real_array(x).shape, x, args)
    hessian[...] = hessian if resume else math.nan
    return hessian


def _of_container(f: Any, x: Any, h: Any, gradient: Any, options: dict[str, Any]) -> Any:
    """Return the Hessian over all arrays of a container in turn, as that of a flat array."""
    joined = Joined(x)
    options["bounds"] = joined.limits(options["bounds"])
    options["gradient"] = None if gradient is None else joined.of(gradient, True)
    of_flat = joined.of(f)

    def hessian() -> Any:
        found = numerical_hessian(of_flat, joined.flat, joined.numbers(h, "h"), **options)
        if gradient is None:
            _warn_of_copies(joined, of_flat, found, options["args"])
        return found

    return joined.run(hessian)


def _warn_of_copies(joined: Joined, f: Any, hessian: Any, args: tuple[Any, ...]) -> None:
    """Warn if f does not respond to an array that is a copy, so that all its second derivatives are zero."""
    for name in joined.copies:
        place, moved = joined.places[name], joined.flat.copy()
        moved[place] += _PROBE * (1.0 + np.abs(moved[place]))
        if moved[place].size and not abs(hessian[place]).max() and f(moved, *args) == f(joined.flat, *args):
            driver.warn_of(0, 1.0, True, moved)


def _of_pairs(problem: SecondDifferences, sparsity: Any, workers: Workers, progress: Progress) -> Any:
    """Return the Hessian from values of f where a pattern has entries, as a csr_array; ValueError if f has others."""
    from scipy.sparse import csr_array, triu

    n = problem.point.size
    above = triu(_pattern(sparsity, n), 1, "coo")
    pairs = i, j = above.row.astype(np.intp), above.col.astype(np.intp)
    found = np.empty(n + len(i))
    problem.along(pairs, workers, progress, found)
    diagonal, mixed = problem.derivatives(found, pairs)
    problem.warn_of_rounding(diagonal, mixed)
    problem.check(found, pairs)
    at = np.concatenate([np.arange(n), i, j]), np.concatenate([np.arange(n), j, i])
    return csr_array((np.concatenate([diagonal, mixed, mixed]), at), shape=(n, n))


def _write(matrix: Floats, problem: SecondDifferences, how: tuple[Workers, Progress], resume: bool) -> None:
    """Write the Hessian from values of f, and NaN for what is not finished; to resume, where it is NaN."""
    n, pairs = len(matrix), np.triu_indices(len(matrix), 1)
    if resume:
        missing = np.isnan(matrix[pairs]) | np.isnan(matrix.T[pairs])
        pairs = pairs[0][missing], pairs[1][missing]
        if not (missing.any() or np.isnan(matrix.diagonal()).any()):
            return
    found = np.full(n + len(pairs[0]), math.nan)
    try:
        problem.along(pairs, *how, found)
    finally:
        diagonal, mixed = problem.derivatives(found, pairs)
        matrix[np.diag_indices(n)] = diagonal
        matrix[pairs] = matrix.T[pairs] = mixed
    problem.warn_of_rounding(diagonal, mixed)


def _own_hessian(f: Any, x: Any, h: Any, options: tuple[Any, ...], workers: Workers, progress: Progress) -> Any:
    """Return the Hessian that an objective gives itself."""
    (args, out, scheme, bounds), central = options, as_scheme("central", 2)
    if out is not None or bounds is not None or as_scheme(scheme, 2) != central:
        raise ValueError(f"the Hessian of {f} is a csr_array by central differences: no out, scheme or bounds")
    objective = driver.as_objective(f, args)
    plain, _ = objective.place(x, args)
    driver.check_progress(progress)
    workers, steps = driver.as_workers(workers, objective), steps_at(plain, h, central, EPS)
    found = f._hessian(plain, steps, args, workers, progress)
    if isinstance(h, str) and least_magnitude(plain) < SMALL:
        noise = 4.0 * EPS * abs(objective.value(plain, args)) / len(f)
        _lengthen_own(found, (plain, steps), lambda longer: f._hessian(plain, longer, args, workers, False), noise)
    warn_of(objective, (plain, args), (h, steps), ignored=False)
    return found


def _lengthen_own(found: Any, at_x: tuple[Floats, Floats], hessian: Callable[[Floats], Any], noise: float) -> None:
    """Take again the second derivatives by small coordinates at x, by steps, where the noise of a term hides them."""
    plain, steps = at_x
    with np.errstate(all="ignore"):
        at = np.repeat(np.arange(plain.size), np.diff(found.indptr)), found.indices
        largest, own = abs(found).max(axis=0).toarray().reshape(-1), noise / steps / steps
        rounding = noise / steps[at[0]] / steps[at[1]]
    # Where the square of a step is 0, so is all that it divides.
    rows = (scales(plain) < SMALL) & ((largest <= enough(EPS, 2, 2) * own) | ~np.isfinite(own))
    lost = rows[at[0]] | rows[at[1]]

    def measure(least: float, missing: NDArray[np.bool_]) -> tuple[Floats, Floats]:  # noqa: ARG001
        longer = np.where(rows, steps * (magnitudes(plain, least) / scales(plain)), steps)
        longer = stored_steps(plain, longer)
        return hessian(longer).data, noise / longer[at[0]] / longer[at[1]]

    if lost.any():
        lengthen(found.data, rounding, lost, measure, least_magnitude(plain), EPS)


def _pattern(sparsity: Any, n: int) -> Any:
    """Return a pattern, its transpose and the diagonal as one csr_array."""
    from scipy.sparse import eye_array

    entries = entries_of(sparsity, (n, n))
    if entries.shape != (n, n):
        raise ValueError(f"sparsity must have the shape (x.size, x.size), {(n, n)}, got {entries.shape}")
    entries = entries.astype(np.int8)
    entries.data[:] = 1
    return (entries + entries.T + eye_array(n, dtype=np.int8)).tocsr()


def _jacobian(gradient: Any, x: Any, h: Any, sparsity: Any, noise: float, options: dict[str, Any]) -> Any:
    """Return the Jacobian of a gradient, made symmetric, as a matrix or a csr_array."""
    n, shape = math.prod(np.shape(x)), np.shape(x)
    pattern = None if sparsity is None else _pattern(sparsity, n)
    try:
        problem = Problem(gradient, x, Options(h, sparsity=pattern, **options))
    except TypeError as error:
        raise TypeError(str(error).replace("f must return", "gradient must return", 1)) from error
    if problem.base.shape != shape:
        raise ValueError(f"gradient must return an array of the shape of x, {shape}, it returned {problem.base.shape}")
    if problem.base.dtype.kind == "c":
        raise TypeError("gradient must return real numbers, it returned complex ones")
    found: Any = problem.jacobian()
    found = found if sparsity is not None else found.reshape(n, n)
    problem.lengthen_columns(found, noise)
    with np.errstate(all="ignore"):
        half = 0.5 * found
        return (half + half.T).tocsr() if sparsity is not None else half + half.T
