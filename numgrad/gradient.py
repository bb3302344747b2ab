"""numerical_diff and numerical_gradient: what is valid, which memory is perturbed, what is worth a warning."""

import warnings
from collections.abc import Callable, Hashable, Sized
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import buffers
from .arguments import describe, whole_number
from .distribution import Engine, processes
from .inspection import explain, is_compiled
from .jobs import QuotientJob, run_job
from .objectives import Objective, as_objective
from .progress import Progress, Report, check_progress, reporting
from .python_objectives import EVERY, LOST, MOVED, PythonObjective
from .scalars import imaginary_part, real_number
from .schemes import Bounds, ComplexStep, Scheme, Stencil, Step, StepSize, step_at
from .workers import Filler

Workers = int | Engine

__all__ = ["numerical_diff", "numerical_gradient"]


def numerical_diff(
    f: Callable[[Any], Any],
    x: ArrayLike,
    h: StepSize = 1e-4,
    *,
    scheme: str | Scheme = "central",
    bounds: Bounds | None = None,
) -> Any:
    """Return the derivative of `f` at `x` by a finite difference.

    Parameters
    ----------
    f : callable
        ``f(x)``: a float for a float. For an array it works elementwise and returns an array of the same shape.
        It may be compiled with `numba.njit`.
    x : float or array_like
        Where the derivative is taken. Lists become arrays; f receives a float, or a float64 array of x's shape.
    h : float, 'auto' or array_like, default 1e-4
        Step, in the unit of x, as for `numerical_gradient`.
    scheme : str or Scheme, default 'central'
        As for `numerical_gradient`.
    bounds : pair of array_like, optional
        As for `numerical_gradient`.

    Returns
    -------
    float or ndarray of float64
        The derivative, in the unit of f per unit of x, of the shape of x. `x` is not changed.

    Raises
    ------
    TypeError
        If `f` is not callable, if `x` or what `f` returns is not real, or if `h` is not a real number; if scheme is
        'complex' and `f` returns a real number for a complex one.
    ValueError
        If `h` is not finite and positive, or if `f` returns another shape than that of x; if `scheme` is unknown; if
        `x` lies outside the bounds or they leave no room.

    Warns
    -----
    RuntimeWarning
        If `h` is below the spacing of the floats near some element of `x`.

    Notes
    -----
    ``(f(x + h) - f(x - h)) / (2 h)``, with a truncation error of ``h**2 / 6 * |f'''|`` and a round-off error of
    about ``eps * |f| / h``. Two evaluations; as many as a scheme has offsets for another one.

    References
    ----------
    Saitoh, K., *Deep Learning from Scratch*, O'Reilly, section 4.3.1.

    Examples
    --------
    >>> from numgrad import numerical_diff
    >>> numerical_diff(lambda x: 0.01 * x**2 + 0.1 * x, 5)
    0.1999999999990898
    """
    if not callable(f):
        raise TypeError(f"f must be callable, got {describe(f)}")
    array = buffers.private_copy(buffers.real_array(x))
    step = step_at(array, h, scheme, bounds)
    steps: Any = step if isinstance(step, float) else _shaped(step.steps, array)
    if np.any(np.abs(array) * buffers.EPS > steps) and not isinstance(step, ComplexStep):
        warn_of(LOST, step, deaf=False, stacklevel=3)
    scalar = not isinstance(x, np.ndarray) and not array.ndim

    def evaluate(point: Any) -> Any:
        value = f(point.item() if scalar and isinstance(point, np.ndarray | np.generic) else point)
        if isinstance(step, ComplexStep):
            return imaginary_part(value) if scalar else _elementwise_imaginary(value, array)
        return real_number(value) if scalar else _elementwise(value, array)

    try:
        if isinstance(step, Stencil):
            quotient = _sum_of(step, evaluate, array, steps)
        elif isinstance(step, ComplexStep):
            quotient = evaluate(array + 1j * steps) / steps
        else:
            point: Any = float(array) if scalar else array
            plus, minus = evaluate(point + steps), evaluate(point - steps)
            with np.errstate(all="ignore"):
                return (plus - minus) / (2 * steps)
    except Exception as error:
        if is_compiled(f):
            explain(error)
        raise
    return float(quotient) if scalar else quotient


def _sum_of(
    stencil: Stencil, evaluate: Callable[[Any], Any], x: NDArray[np.float64], steps: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the difference quotients of a stencil, elementwise."""
    offsets, weights = (table[stencil.rows].T for table in (stencil.offsets, stencil.weights))
    total, width = np.zeros(x.shape), np.zeros(x.shape)
    for offset, weight in zip(offsets, weights, strict=True):
        if weight.any():
            factor = _shaped(weight, x)
            point = x + _shaped(offset, x) * steps
            value = evaluate(point)
            with np.errstate(all="ignore"):
                total += np.where(factor != 0.0, factor * value, 0.0)  # 0 * inf would be NaN
                width += factor * (point - x)
    divisor = width if stencil.stored else _shaped(stencil.denominators[stencil.rows], x) * steps
    with np.errstate(all="ignore"):
        quotients: NDArray[np.float64] = total / divisor
    return quotients


def _shaped(flat: NDArray[Any], x: NDArray[Any]) -> NDArray[Any]:
    """Return `flat`, which holds one element or one for each of `x`, in the shape of `x`."""
    return np.broadcast_to(flat, x.size).reshape(x.shape)


def _elementwise(returned: Any, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a copy of what `f` returned, since it may return the same buffer again."""
    return _of_shape(x, buffers.private_copy(buffers.real_array(returned, "what f returns")))


def _elementwise_imaginary(returned: Any, x: NDArray[np.float64]) -> NDArray[np.float64]:
    values = np.asarray(returned)
    if values.dtype.kind != "c":
        imaginary_part(returned)  # says what is wrong with it
    return _of_shape(x, values.imag.astype(np.float64))


def _of_shape(x: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    if values.shape != x.shape:
        raise ValueError(f"f must be elementwise: x has the shape {x.shape}, f(x) has {values.shape}")
    return values


def numerical_gradient(
    f: Callable[..., Any],
    x: ArrayLike,
    h: StepSize = 1e-4,
    *,
    args: tuple[Any, ...] = (),
    workers: Workers = 1,
    out: NDArray[np.float64] | None = None,
    coordinates: ArrayLike | None = None,
    progress: Progress = False,
    scheme: str | Scheme = "central",
    bounds: Bounds | None = None,
    vectorized: bool = False,
    batch_bytes: int = 2**26,
) -> NDArray[np.float64]:
    """Return the gradient of `f` at `x` by finite differences, one coordinate at a time.

    Parameters
    ----------
    f : callable
        ``f(x, *args) -> float``, where x is an array of the shape of `x`. A Python callable is called in place, on
        the array `x` itself, so it may also ignore its argument and read that array (the book's
        ``lambda w: net.loss(x, t)``). A function compiled with `numba.njit` is compiled together with the whole
        loop and sees a private float64 copy; other data must come through `args`. An `IncrementalObjective` is asked
        for its differences.
    x : array_like
        Where the gradient is taken: real, of any shape and layout. A writable floating array is perturbed in
        place if `f` is a Python callable, and is bit for bit what it was after any exit, by an exception or
        Ctrl-C too. Anything else (list, scalar, integers, read-only) is worked on as a float64 copy.
    h : float, 'auto' or array_like, default 1e-4
        Step, in the unit of x; an array gives each coordinate its own, and broadcasts to the shape of `x`. 'auto' takes
        ``eps**(1 / (order + 1))`` of each coordinate's magnitude (of 1 where that is 0), with the eps of the precision
        of `x`: right for an f that changes over lengths like `x` itself. With an array or 'auto' the divisor is the
        distance of the points as they are stored.
    args : tuple, optional
        Further arguments of `f`.
    workers : int or map-like callable, default 1
        Number of threads at most for a compiled or incremental `f` (less than 2 ms of work is done by one), and of
        processes for a Python `f` (joblib's loky; lambdas and closures work). Or ``workers(function, iterable)`` that
        maps in order, such as the `map` of a `multiprocessing.Pool`, of an executor of `concurrent.futures`, of
        Dask's ``client.get_executor()`` or of mpi4py's `MPIPoolExecutor`. The objective, `x` and `args` travel in
        one pickle, so that an f which reads `x` as its own still does. If it reads another array there (`x` is but a
        view of it, or a module holds it), that is found by one evaluation more at either end. The result is the same
        to the last bit, if f gives the same bits where BLAS takes another number of threads.
    out : ndarray of float64, optional
        Where to write the result: C-contiguous, of the shape of the result. After an exception its content is
        undefined.
    coordinates : array_like of int, optional
        Flat coordinates in C order, from 0 to ``x.size - 1``, in any order and repeated at will: only these partial
        derivatives are computed, for sampling a large matrix.
    progress : bool or callable, default False
        True shows a tqdm bar; a callable receives ``(done, total)`` in coordinates, in the calling thread, about
        twenty times a second and at the end.
    scheme : str or Scheme, default 'central'
        'central' (order 2, 2n evaluations), 'forward', 'backward' (order 1, n + 1), 'central4' (order 4, 4n),
        'central6' (order 6, 6n), 'complex' (the complex step: n evaluations, and no round-off however small `h`, for an
        f that takes a complex128 array), or a `Scheme` of your own. An `IncrementalObjective` takes the central ones.
    bounds : pair of array_like, optional
        ``(low, high)``, each of which broadcasts to the shape of `x`: f is evaluated at no point outside. Near a bound
        the scheme turns one-sided and keeps its order; where there is no room even for that, the step becomes smaller.
        Where the bounds meet there is no derivative; leave such coordinates out by `coordinates`.
    vectorized : bool, default False
        If true, `f` receives a batch of points, of shape ``(k, *x.shape)``, and returns k values. It sees copies of
        `x`, never `x` itself.
    batch_bytes : int, default 64 MiB
        Memory of the points of a batch at most, if that is not less than one coordinate takes.

    Returns
    -------
    ndarray of float64
        The gradient, in the unit of f per unit of x, of the shape of `x`; with `coordinates`, the one-dimensional
        array of those partial derivatives. It is `out` if that was given.

    Raises
    ------
    TypeError
        If `f` is not callable, returns anything but one real number, or cannot be compiled for this `x`; if `x` is
        not real; if another argument is of the wrong type; if `f` cannot travel to other processes; if the scheme
        is 'complex' and `f` returns a real number.
    ValueError
        If `h` is not finite and positive or `workers` is below 1; if `scheme` is unknown, or not one that an
        incremental `f` has; if `x` lies outside the bounds or they leave no room; if `out` has another shape or
        shares memory with `x` or `args`; if `coordinates` is not one-dimensional or out of range; if a compiled `f`
        has captured `x`; if elements of `x` share memory; if `f` reads another array than `x` in another process.
    ImportError
        If `progress` is True and tqdm is not installed, or processes are needed and joblib is not.
    Exception
        Whatever `f` raises, as it was raised; from another process with a note that names the coordinate. What an
        engine raises when a worker dies.

    Warns
    -----
    RuntimeWarning
        If `h` is below the spacing of the floats near some coordinate, or if `f` saw a private copy and did not
        respond to it at all.

    Notes
    -----
    ``(f(x + h e_i) - f(x - h e_i)) / (2 h)``, with a truncation error of ``h**2 / 6`` times the third derivative
    and a round-off error of about ``eps * |f| / h``. Exactly 2n evaluations for n coordinates, in C order.
    The complex step is ``Im f(x + i h e_i) / h``, with the same truncation error; take a tiny `h`, or 'auto'.
    Compiled work is cut into ranges of about 50 ms, between which Ctrl-C is seen.

    Arrays narrower than float64 that are perturbed in place cannot store ``x + h`` exactly; there the divisor is
    the distance of the two points that were stored, and NaN results where they coincide. The error to expect
    is ``eps * |f| / h`` with the eps of the precision in which `f` computes: with float32 and the default step
    about 1e-3 times the size of f.

    References
    ----------
    Saitoh, K., *Deep Learning from Scratch*, O'Reilly, section 4.4; for the complex step, Squire, W. and Trapp, G.,
    *Using complex variables to estimate derivatives of real functions*, SIAM Review 40, 1998.

    Examples
    --------
    >>> import numpy as np
    >>> from numgrad import function_2, numerical_gradient
    >>> print(numerical_gradient(function_2, np.array([3.0, 4.0])))
    [6. 8.]
    >>> print(numerical_gradient(function_2, np.array([3.0, 4.0]), "auto", scheme="complex"))
    [6. 8.]
    """
    objective = as_objective(f, args, whole_number("batch_bytes", batch_bytes, 1) if vectorized else 0)
    engine = as_workers(workers, objective)
    if progress is not False:
        check_progress(progress)
    point, private = objective.hold(x)
    objective.check(point, args)
    chosen = EVERY if coordinates is None else as_coordinates(coordinates, point.size)
    step = step_at(point, h, scheme, bounds, None if coordinates is None else chosen)
    gradient = buffers.result_buffer(out, point.shape if coordinates is None else chosen.shape, x, args)
    if progress is False:
        flags = fill_gradient(objective, point, step, args, engine, gradient, chosen)
    else:
        with reporting(progress, gradient.size) as report:
            flags = fill_gradient(objective, point, step, args, engine, gradient, chosen, report)
    if flags != MOVED:
        deaf = coordinates is None and gradient.size > 0 and objective.may_be_deaf(private or callable(engine))
        warn_of(flags, step, deaf, stacklevel=3)
    return gradient


def fill_gradient(
    objective: Objective,
    x: NDArray[Any],
    step: Step,
    args: tuple[Any, ...],
    workers: int | Engine,
    out: NDArray[np.float64],
    coordinates: NDArray[np.intp] = EVERY,
    report: Report | None = None,
) -> int:
    """Write the gradient at `x` to `out` in as many ranges as it takes, and return the or of their flags."""
    if not out.size:
        return 0
    if step.__class__ is float:
        return _fill(objective, x, step, args, workers, out, coordinates, report)
    parts = objective.parts(x, step, args)
    if len(parts) == 1:
        return _fill(objective, x, parts[0][1], args, workers, out, coordinates, report)
    flags, scratch = 0, np.empty_like(out)
    out[...] = 0.0
    for k, (factor, part) in enumerate(parts):
        further = report and _share(report, k, len(parts), out.size)
        flags |= _fill(objective, x, part, args, workers, scratch, coordinates, further)
        out += factor * scratch
    return flags


def _share(report: Report, k: int, parts: int, total: int) -> Report:
    return lambda done: report((k * total + done) // parts)


def _fill(
    objective: Objective,
    x: NDArray[Any],
    step: Step,
    args: tuple[Any, ...],
    workers: int | Engine,
    out: NDArray[np.float64],
    coordinates: NDArray[np.intp],
    report: Report | None,
) -> int:
    n = out.size
    if callable(workers):
        return run_job(workers, QuotientJob(objective, x, args, step), coordinates, (out.reshape(-1),), report)
    state = objective.prepare(x, step, args)
    if report is None and not objective.threads:
        return objective.fill(objective.own(state), step, args, coordinates, 0, n, out)
    pace, key = objective.pace, cost_key(x, args)
    if step.__class__ is not float:
        key = (key, step.__class__)
    if report is None and pace.fits(n, key, workers):
        return objective.fill(objective.own(state), step, args, coordinates, 0, n, out)

    def make_filler() -> Filler:
        own = objective.own(state)
        return lambda start, stop: objective.fill(own, step, args, coordinates, start, stop, out)

    return pace.run(make_filler, n, key, workers, report)


def cost_key(x: NDArray[Any], args: tuple[Any, ...]) -> Hashable:
    """Return what the cost of one evaluation may depend on: sizes, and the values of numbers."""
    return (x.size, *map(_cost_key, args)) if args else x.size


def _cost_key(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.shape
    if isinstance(value, tuple):
        return tuple(map(_cost_key, value))
    return value if isinstance(value, Real) else len(value) if isinstance(value, Sized) else None


def as_coordinates(coordinates: ArrayLike, size: int) -> NDArray[np.intp]:
    """Return `coordinates` as indices into a flat array of `size` elements."""
    try:
        chosen = np.asarray(coordinates)
    except ValueError:
        raise ValueError("coordinates must be a one-dimensional array of flat coordinates, got nested lists") from None
    if chosen.ndim != 1:
        raise ValueError(f"coordinates must be a one-dimensional array of flat coordinates, got shape {chosen.shape}")
    if chosen.size and chosen.dtype.kind not in "iu":
        raise TypeError(f"coordinates must be integers, got dtype {chosen.dtype}")
    if chosen.size and not 0 <= chosen.min() <= chosen.max() < size:
        raise ValueError(f"coordinates must be in range({size}), got {chosen.min()} to {chosen.max()}")
    return chosen.astype(np.intp)


def as_workers(workers: Workers, objective: Objective) -> int | Engine:
    """Return `workers` as a number of threads, or as the engine that maps over tasks in other processes.

    Raises
    ------
    TypeError, ValueError
        If it is neither a whole number from 1 nor callable, or if `objective` can use no second thread.
    ImportError
        If processes are needed and joblib is not installed.
    """
    if workers.__class__ is int and workers == 1:
        return 1
    if callable(workers):
        return workers
    count = whole_number("workers", workers, 1)
    if count > 1 and isinstance(objective, PythonObjective):
        return processes(count)
    if count > 1 and not objective.threads:
        raise TypeError(f"workers={count} needs an f {objective.why_no_threads}")
    return count


def warn_of(flags: int, step: Step, deaf: bool, stacklevel: int) -> None:
    """Warn of what the flags of a gradient tell.

    `deaf` says whether an `f` that ignores its argument would go unnoticed; `stacklevel` counts from here to the user's
    line.
    """
    if deaf and not flags & MOVED:
        warnings.warn(
            "all differences are exactly zero: f may ignore its argument, and read another array than the copy of x "
            "that was perturbed; pass the array that f reads, writable and floating, as x",
            RuntimeWarning,
            stacklevel,
        )
    if flags & LOST:
        size = f"h={step:g}" if isinstance(step, float) else "h"
        warnings.warn(
            f"the step {size} is below the spacing eps * |x| of the floats near some coordinate of x, and "
            f"is lost in round-off there; rescale x or pass a larger h",
            RuntimeWarning,
            stacklevel,
        )
