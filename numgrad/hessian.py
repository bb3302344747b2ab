"""Second derivatives, from values of f or from gradients: the Hessian, and its product with a vector without it."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import arguments, driver, schemes
from .arguments import check_callable, describe, plain_numbers, real_array
from .containers import Joined, both_with_labels, is_container, is_labelled
from .curvature import SecondDifferences, own_hessian, steps_at, warn_of
from .digits import see_digits, see_noise, see_noise_of_outputs, see_noise_of_product, warn_of_halves, warn_of_rounding
from .driver import Progress, Workers
from .gradient import takes_containers
from .magnitudes import SMALL, least_magnitude
from .objectives.python import PythonObjective
from .points import EPS, private_copy
from .problem import Options, Problem
from .products import Product, is_cheap, noise_of_slopes, slopes
from .schemes import AnyScheme, Bounds, StepSize
from .sparsity import symmetric_matrix, symmetric_pattern
from .verification import check_pairs

__all__ = ["hessian_vector_product", "numerical_hessian"]


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
        the rounding of `f`, or its noise next to `x`, leaves fewer than about three digits of the largest element, or
        may hide all where all are zero; of 'auto' with a `gradient`, if half of what it says differently on both sides
        of the diagonal does, or with a `sparsity` too its noise.

    Notes
    -----
    With the steps a and b along two coordinates, their mixed derivative is ``(f(x + a + b) - f(x + a) - f(x + b) +
    2 f(x) - f(x - a) - f(x - b) + f(x - a - b)) / (2 a b)``: what is left of the second difference along both, once
    those along each are subtracted. So ``n**2 + n + 1`` evaluations do for n coordinates, half of what four corners for
    each pair would take. The truncation error is h**2 times some fourth derivatives, the round-off error about ``4 eps
    |f| / h**2``, and next to a bound 12 in place of 4, 53 for 'central4', or 192 for 'central6'. For a smooth f of
    which that is too much, 'central6' takes three times as many evaluations, and much longer steps. A pattern with p
    pairs takes ``2 (n + p) + 3`` evaluations, a `gradient` ``2n + 1`` of itself. Where less than four elements are
    as small as rounding, two more along a random line show whether f has noise, if steps are automatic. Where that or a
    pattern is in doubt, or x is narrower than float64 and its digits would be too few, 15 to 70 evaluations more along
    two lines show the rounding of f.

    A coordinate x_i may be tiny where f is of the magnitude 1, and 'auto' would see round-off only. Where ``|x_i| <
    0.1`` and the second difference along it is below some 8000 times the rounding ``4 eps |f|``, it is taken again as
    if x_i were 1, and then 1/32, 1/1024 ..., until two of the results agree but for rounding, as far as f is finite
    and does not raise. A step that has grown is made shorter by 16 as long as that tells another curvature. That takes
    six evaluations as a rule, and two more for each pair of the coordinate. If there are such coordinates, six
    evaluations along a line show the rounding inside an f that is small since terms cancel, which then counts in place
    of ``eps |f|``. Of zeros alone one evaluation more tells whether rounding may have hidden curvature; two to four
    more, where f is the same, whether it changes by steps, as with zeros by a `gradient`, or farther away. Of multiples
    of a coarse unit alone, one more tells an f that rounds inside, to float32 or decimals say, from exact terms.
    With a `gradient`, and for an objective that gives its own, the columns of such coordinates are taken again where
    rounding is more than some 1e-5 of an entry, as if these were of the magnitude 1, and then 1/32, 1/1024 ..., until
    two of the results agree but for rounding: four evaluations more a column, as a rule, and six in all for the
    rounding inside the gradient where a step is below 1e6 eps.

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
    if x.__class__ is not np.ndarray and is_container(x):
        is_received = takes_containers(gradient or f, args, x)
        if not is_labelled(x):
            return _of_container(f, x, h, gradient, options | {"sparsity": sparsity, "out": out, "resume": resume})
        f, gradient, x = both_with_labels(f, gradient, x, is_received, h=h, bounds=bounds)
    if gradient is None and sparsity is None and hasattr(f.__class__, "_hessian"):
        return own_hessian(f, x, h, (args, out, scheme, bounds), workers, progress)
    takes_values = gradient is None and not is_cheap(f)
    driver.check_progress(progress)
    if resume and (out is None or not takes_values):
        raise ValueError("resume=True goes on with what is in out, from values of f; pass out, and no gradient")
    pattern = _check(f if gradient is None else gradient, real_array(x), h, options, 1 + takes_values, sparsity, out)
    hessian = None
    if sparsity is None:
        hessian = arguments.result_buffer(out, 2 * real_array(x).shape, x, args)
        hessian[...] = hessian if resume else math.nan
    if not takes_values:
        noise = noise_of_slopes(f, x, args) if gradient is None and isinstance(h, str) else 0.0
        if gradient is None:
            gradient, options["workers"] = partial(slopes, f, workers), 1
        found = _jacobian(gradient, x, h, pattern, noise, options)
        if hessian is None:
            return found
        hessian[...] = found.reshape(hessian.shape)
        return hessian if out is None else out
    problem = SecondDifferences(f, x, h, args, schemes.as_scheme(scheme, 2), bounds)
    found = _from_values(problem, pattern, hessian, (driver.as_workers(workers, problem.objective), progress), resume)
    return found if out is None else out


def hessian_vector_product(
    f: Callable[..., Any],
    x: ArrayLike,
    v: ArrayLike,
    h: StepSize = "auto",
    *,
    args: tuple[Any, ...] = (),
    workers: Workers = 1,
    gradient: Callable[..., Any] | None = None,
) -> NDArray[np.float64]:
    """Return the product of the Hessian of `f` at `x` and the vector `v`, without the Hessian.

    Parameters
    ----------
    f : callable
        As for `numerical_gradient`. It is not called if `gradient` is given.
    x : array_like
        Where the Hessian is taken, as for `numerical_gradient`, but no container; of a Series or DataFrame a Python
        function gets the labels too.
    v : array_like
        The vector, of the shape of `x` and of any length; zeros give zeros.
    h : float, 'auto' or array_like, default 'auto'
        How far a coordinate moves at most along `v`, in the unit of x, and how far for a gradient from values of `f`.
        'auto' takes ``eps**(1/3)`` of each magnitude with a `gradient`, ``2 eps**(1/4)`` without, and more of those
        below 0.1 where rounding hides what that changes.
    args : tuple, optional
        Further arguments of `f` and of `gradient`.
    workers : int or map-like callable, default 1
        For the gradients from values of `f`, as for `numerical_gradient`.
    gradient : callable, optional
        ``gradient(x, *args)``: the gradient of `f`, of the shape of `x`. It is called in place, as a Python `f` is.

    Returns
    -------
    ndarray of float64
        ``H v``, of the shape of `x`, in the unit of f per unit of x, if that is the unit of `v`.

    Raises
    ------
    TypeError
        As for `numerical_gradient`; if `v` or what `gradient` returns is not real.
    ValueError
        As for `numerical_gradient`; if `v` is not finite, or has another shape than `x`, or what `gradient` returns.

    Warns
    -----
    RuntimeWarning
        If `f` saw a private copy of `x` and does not respond to it; if the rounding of `f`, or by automatic steps its
        noise next to `x`, leaves fewer than about three digits of the largest element. Two values of a `gradient` do
        not show its noise.

    Notes
    -----
    ``(gradient(x + t v) - gradient(x - t v)) / (2 t)``, with the largest t by which no coordinate moves farther than
    its step: two evaluations of `gradient`, or of `numerical_gradient`, which are 4n of f for n coordinates. The
    truncation error is ``t**2 / 6`` times the third derivative of the gradient along `v`.

    With 'auto', elements whose rounding is more than some 1e-5 of the largest element with a `gradient`, or 1e-4
    without, are taken again by the steps of coordinates below 0.1 as if these were 1, and then 1/32, 1/1024 ..., until
    two results agree but for rounding: four gradients more as a rule, or four evaluations for each such element. If
    there are such coordinates, seven gradients, or six evaluations of f, show the rounding of them next to x. A
    gradient that rounds to float32 is taken again by the steps for that; where values of f do not fit each other, 15 to
    70 more show its noise.

    References
    ----------
    Pearlmutter, B., *Fast exact multiplication by the Hessian*, Neural Computation 6, 1994, of which this is the
    difference.

    Examples
    --------
    >>> import numpy as np
    >>> from numgrad import hessian_vector_product
    >>> x, v = np.array([3.0, 4.0]), np.array([1.0, -1.0])
    >>> print(hessian_vector_product(lambda x: x[0] ** 2 * x[1], x, v).round(5))
    [2. 6.]
    """
    check_callable(gradient)
    if x.__class__ is not np.ndarray and is_labelled(x):
        f, gradient, x = both_with_labels(f, gradient, x, takes_containers(gradient or f, args, x), h=h, v=v)
    objective, workers = _asked(f, gradient, (x, args), workers)
    point, private = PythonObjective(f).place(x, args)
    plain, direction, eps, value = point.view(np.ndarray), private_copy(plain_numbers(v, "v")), EPS, math.nan
    if direction.shape != plain.shape or not np.isfinite(direction).all():
        raise ValueError(f"v must be finite and of the shape of x, {plain.shape}, got {describe(direction)}")
    if not direction.any():
        return direction
    power = math.frexp(float(np.abs(direction).max()))[1]  # so that no quotient below overflows
    product = Product(f, gradient, point, np.ldexp(direction, -power).reshape(-1), (objective, args, workers))
    is_auto, central = isinstance(h, str), schemes.as_scheme("central", 2 if product.takes_values else 1)
    if product.takes_values and is_auto:
        value, eps = driver.eps_of_values(objective, objective.place(point, args)[0], args)
    for _ in range(2):
        steps = steps_at(plain, h, central, eps)
        found = product.by(steps)
        if not is_auto or product.spacing <= eps:
            break
        eps = product.spacing  # once more, since what is returned has fewer digits
    is_doubtful, was_zero = is_auto and product.is_doubtful(found, steps), not found.any()
    if is_auto and least_magnitude(plain) < SMALL:
        product.lengthen(found, steps, product.noise(value, eps), eps)
    if is_doubtful or (is_auto and product.takes_values and was_zero) or product.is_hidden(found, eps):
        see_noise_of_product(SecondDifferences(f, point, h, args, central, None), product, found, is_doubtful)
    warn_of(objective, (point, args), (h, steps), private and not found.any())
    with np.errstate(all="ignore"):
        return np.ldexp(found, power).reshape(plain.shape)


def _asked(f: Any, gradient: Any, at: tuple[Any, Any], workers: Workers) -> tuple[driver.Objective, Workers]:
    """Return what tells whether a product responds to a copy of x, and its workers; refuse what would not see that."""
    called = driver.as_objective(f if gradient is None else gradient, at[1])
    called.place(*at)
    # Where there is no f, the bytes of a gradient tell it.
    by_bytes = PythonObjective(gradient, lambda found: np.asarray(found).tobytes())
    return by_bytes if f is None else driver.as_objective(f, at[1]), driver.as_workers(workers, called)


def _check(f: Any, x: NDArray[Any], h: Any, options: dict[str, Any], derivative: int, sparsity: Any, out: Any) -> Any:
    """Raise what is to be raised of the steps, the scheme, the bounds and the workers, and return the pattern."""
    schemes.steps_of(x.view(np.ndarray), h, schemes.as_scheme(options["scheme"], derivative), EPS)
    if options["bounds"] is not None:
        schemes.limits(x, options["bounds"])
    driver.as_workers(options["workers"], driver.as_objective(f, options["args"]))
    if out is not None and sparsity is not None:
        raise ValueError("out must be None with a sparsity: the result is a scipy.sparse.csr_array")
    return None if sparsity is None else symmetric_pattern(sparsity, x.size)


def _of_container(f: Any, x: Any, h: Any, gradient: Any, options: dict[str, Any]) -> Any:
    """Return the Hessian over all arrays of a container in turn, as that of a flat array."""
    joined = Joined(x)
    options["bounds"] = joined.limits(options["bounds"])
    options["gradient"] = None if gradient is None else joined.of(gradient, True)
    of_flat = joined.of(f)

    def hessian() -> Any:
        found = numerical_hessian(of_flat, joined.flat, joined.numbers(h, "h"), **options)
        if gradient is None:
            is_ignored = joined.has_unread_copies(of_flat, found, options["args"], options["bounds"])
            driver.warn_of(0, 1.0, is_ignored, joined.flat)
        return found

    return joined.run(hessian)


def _from_values(
    problem: SecondDifferences, pattern: Any, hessian: Any, how: tuple[Workers, Progress], resume: bool
) -> Any:
    """Return the Hessian from values of f: a csr_array where a pattern has entries, or `hessian`, which is written to.

    That is NaN for what is not finished; to resume, only what is NaN there is evaluated. ValueError if f couples other
    coordinates than the pattern.
    """
    n = problem.point.size
    matrix: Any = None if pattern is not None else hessian.reshape(n, n)
    pairs = every = _pairs(pattern, n)
    if resume:
        missing = np.isnan(matrix[pairs]) | np.isnan(matrix.T[pairs])
        pairs = pairs[0][missing], pairs[1][missing]
        if not (missing.any() or np.isnan(matrix.diagonal()).any()):
            return hessian
    found = np.full(n + len(pairs[0]), math.nan)
    try:
        problem.along(pairs, *how, found)
    except BaseException:  # nobody has looked whether the steps of small coordinates are long enough
        small = problem.small
        found[np.concatenate([small, small[pairs[0]] | small[pairs[1]]])] = math.nan
        raise
    finally:
        diagonal, mixed, differences = problem.derivatives(found, pairs)
        if pattern is None:
            matrix.flat[:: n + 1] = diagonal
            matrix[pairs] = matrix.T[pairs] = mixed
    see_digits(problem, found)
    if resume:
        differences = problem.undone(diagonal, mixed := matrix[every], every)
    largest = max(float(np.abs(each).max(initial=0.0)) for each in (diagonal, mixed))
    if pattern is None:
        see_noise(problem, differences, largest)
    elif n:
        check_pairs(problem, *differences)
    warn_of_rounding(problem, largest)
    return hessian if pattern is None else symmetric_matrix(diagonal, mixed, pairs)


def _pairs(pattern: Any, n: int) -> tuple[Any, Any]:
    """Return the pairs of different coordinates that a pattern has, or all."""
    order = np.arange(n)
    rows, columns = (order[:, np.newaxis] < order if pattern is None else pattern).nonzero()
    above = rows < columns
    return rows[above].astype(np.intp), columns[above].astype(np.intp)


def _jacobian(gradient: Any, x: Any, h: Any, pattern: Any, noise: float, options: dict[str, Any]) -> Any:
    """Return the Jacobian of a gradient, made symmetric, as a matrix or a csr_array."""
    n, shape = math.prod(np.shape(x)), np.shape(x)
    try:
        problem = Problem(gradient, x, Options(h, sparsity=pattern, **options))
    except (TypeError, ValueError) as error:
        if not str(error).startswith("f must return"):
            raise
        raise type(error)(f"gradient{str(error)[1:]}") from error
    if problem.base.shape != shape:
        raise ValueError(f"gradient must return an array of the shape of x, {shape}, it returned {problem.base.shape}")
    if problem.base.dtype.kind == "c":
        raise TypeError("gradient must return real numbers, it returned complex ones")
    noise = max(noise, problem.eps * float(np.abs(problem.base).max(initial=0.0)))
    found: Any = problem.jacobian(noise).reshape(n, n)
    with np.errstate(all="ignore"):
        half = 0.5 * found
        # Of a full matrix the halves tell noise, but not of zeros.
        is_full = pattern is None and found.any(axis=0).all()
        if isinstance(h, str) and not warn_of_halves(half - half.T, found) and not is_full:
            see_noise_of_outputs(problem, found, "Hessian")
        return (half + half.T).tocsr() if pattern is not None else half + half.T
