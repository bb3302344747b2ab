"""numerical_diff and numerical_gradient."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypedDict, Unpack, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import arguments, driver
from .analytic import check_analytic
from .arguments import ALL_COORDINATES, describe, is_compiled, raise_compile_error, real_array, real_number
from .containers import Container, is_container, is_labelled, read_only, relabelled
from .driver import Progress, Workers, differentiate
from .loops import RESPONDED, STEP_LOST, Directions, Floats, Rule, make_central, make_complex_step, make_directions
from .many import as_points, in_batches, rule_at_points
from .objectives.python import PythonObjective, VectorizedObjective
from .points import EPS, LOSS_EPS, is_narrow, private_copy
from .schemes import AnyScheme, Bounds, StepSize, rule_at

__all__ = ["numerical_diff", "numerical_gradient"]


# Unit of x: the default step, the book's. An object of its own, so that the default can stand for 'auto' where the
# order is higher, and a 1e-4 that is passed for itself. Fixed by
# test_the_default_step_of_higher_orders_is_automatic in tests/test_schemes.py.
BOOK_STEP = float("1e-4")


@overload
def numerical_diff(
    f: Callable[..., Any],
    x: float,
    h: StepSize = BOOK_STEP,
    *,
    args: tuple[Any, ...] = (),
    order: int = 1,
    scheme: AnyScheme = "central",
    bounds: Bounds | None = None,
) -> float: ...
@overload
def numerical_diff(
    f: Callable[..., Any],
    x: ArrayLike,
    h: StepSize = BOOK_STEP,
    *,
    args: tuple[Any, ...] = (),
    order: int = 1,
    scheme: AnyScheme = "central",
    bounds: Bounds | None = None,
) -> NDArray[np.float64]: ...
def numerical_diff(
    f: Callable[..., Any],
    x: ArrayLike,
    h: StepSize = BOOK_STEP,
    *,
    args: tuple[Any, ...] = (),
    order: int = 1,
    scheme: AnyScheme = "central",
    bounds: Bounds | None = None,
) -> Any:
    """Return the derivative of `f` at `x`, of any order, by a finite difference.

    Parameters
    ----------
    f : callable
        ``f(x, *args)``: a float for a float. For an array it works elementwise and returns an array of the same shape.
        It may be compiled with `numba.njit`.
    x : float or array_like
        Where the derivative is taken. Lists become arrays; f receives a float, or a float64 array of x's shape.
    h : float, 'auto' or array_like, default 1e-4
        Step, in the unit of x, as for `numerical_gradient`. For a higher `order` the default stands for 'auto', since
        1e-4 would leave little but round-off of a third derivative; that takes ``eps**(1 / (accuracy + order))`` of
        each magnitude for a scheme of that order of accuracy. A step that is passed is taken.
    args : tuple, optional
        Further arguments of `f`.
    order : int, default 1
        Which derivative: 2 for the second.
    scheme : str or Scheme, default 'central'
        As for `numerical_gradient`. For a higher `order` the names stand for the shortest symmetric stencils of
        accuracy 2, 4 and 6, and for one-sided ones of accuracy 1; a `Scheme` must be for the derivative `order`.
    bounds : pair of array_like, optional
        As for `numerical_gradient`.

    Returns
    -------
    float or ndarray of float64
        The derivative, in the unit of f per unit of x to the power of `order`, of the shape of x. `x` is not changed.

    Raises
    ------
    TypeError
        If `f` is not callable, if `x` or what `f` returns is not real, if `args` is no tuple or `order` no integer, or
        if `h` is not a real number; if scheme is 'complex' and `f` returns a real number for a complex one.
    ValueError
        If `h` is not finite and positive, or if `f` returns another shape than that of x; if `order` is below 1; if
        `scheme` is unknown, for another derivative, or 'complex' for a higher one; if `x` lies outside the bounds or
        they leave no room.

    Warns
    -----
    RuntimeWarning
        If `h` loses more than a thousandth of itself where it is added to some element of `x`.

    Notes
    -----
    ``(f(x + h) - f(x - h)) / (2 h)``, with a truncation error of ``h**2 / 6 * |f'''|`` and a round-off error of
    about ``eps * |f| / h``. Two evaluations; as many as a scheme has offsets for another one.

    The second derivative is ``(f(x + h) - 2 f(x) + f(x - h)) / h**2``, with the errors ``h**2 / 12 * |f''''|`` and
    ``4 eps * |f| / h**2``, by three evaluations. The weights of higher ones are Fornberg's, in whole numbers. The step
    is then the distance of x and the next point as they are stored.

    References
    ----------
    Saitoh, K., *Deep Learning from Scratch*, O'Reilly, section 4.3.1. Fornberg, B., *Generation of finite difference
    formulas on arbitrarily spaced grids*, Mathematics of Computation 51, 1988.

    Examples
    --------
    >>> from numgrad import numerical_diff
    >>> numerical_diff(lambda x: 0.01 * x**2 + 0.1 * x, 5)
    0.1999999999990898
    >>> round(numerical_diff(lambda x: x**3, 2.0, order=2), 5)
    12.0
    """
    if not callable(f):
        raise TypeError(f"f must be callable, got {describe(f)}")
    if args.__class__ is not tuple or args:
        driver.as_objective(f, args)  # which checks them
    call = (lambda x: f(x, *args)) if args else f
    point, order = private_copy(real_array(x)), arguments.whole_number("order", order, 1)
    if h is BOOK_STEP and order > 1:
        h = "auto"
    rule, where = rule_at(point, h, scheme, bounds, derivative=order)
    is_scalar = not isinstance(x, np.ndarray) and not point.ndim
    try:
        if rule.make is make_complex_step:
            quotient, lost = _complex(call, float(point) if is_scalar else point, np.abs(where.lengths)), False
            check_analytic(f, point, args, None, bounds, (lambda z, *args: f(z.item(), *args)) if is_scalar else None)
        elif rule.make is make_central:
            quotient, lost = _central(call, float(point) if is_scalar else point, rule.data[0])
        else:
            quotient = _linear(call, point, (rule, where, order), is_scalar)
            lost = bool((np.abs(point).ravel() * rule.data[1] > np.abs(where.lengths)).any())
    except Exception as error:
        if is_compiled(f):
            raise_compile_error(error)
        raise
    if lost:
        driver.warn_of(STEP_LOST, h, False, point)
    return float(quotient) if is_scalar else quotient


def _central(f: Callable[[Any], Any], x: Any, h: float) -> tuple[Any, bool]:
    """Return the quotients of the default scheme, with the bits of the reference, and whether a step was lost."""
    if isinstance(x, float):
        return (real_number(f(x + h)) - real_number(f(x - h))) / (2 * h), abs(x) * LOSS_EPS > h
    plus, minus = _real_values(f(x + h), x), _real_values(f(x - h), x)
    with np.errstate(all="ignore"):
        return (plus - minus) / (2 * h), bool((np.abs(x) * LOSS_EPS > h).any())


def _complex(f: Callable[[Any], Any], x: Any, steps: Floats) -> Any:
    """Return the quotients of the complex step."""
    if isinstance(x, float):
        return arguments.imaginary_part(f(complex(x, steps.item()))) / steps.item()
    steps = steps if len(steps) == 1 and x.ndim else steps.reshape(x.shape)
    return _imaginary_values(f(x + 1j * steps), x) / steps


def _linear(f: Callable[[Any], Any], x: Floats, plan: tuple[Rule, Directions, int], is_scalar: bool) -> Any:
    """Return the quotients of another scheme: a direction for each offset, along which all elements move together."""
    rule, where, order = plan
    _, _, offsets, weights, index, denominators, use_stored_distance = rule.data
    n, flat, offsets, weights = x.size, x.ravel(), offsets.T[:, index], weights.T[:, index]  # a column an element
    counts = weights.any(axis=1) | (n == 0)
    offsets, weights = offsets[counts], weights[counts]
    if is_scalar:
        objective = PythonObjective(lambda point: f(point.item()))
    else:
        objective = PythonObjective(lambda point: f(point.copy()), lambda values: _real_values(values, x).ravel())
    moved, values, one = offsets * where.lengths, np.empty((len(offsets), n)), np.ones((1, 1))
    members, lengths = (np.broadcast_to(each, values.shape).ravel() for each in (np.arange(n), moved))
    directions = Directions(n * np.arange(len(values) + 1), members, lengths)
    # The loop gives f at each offset, with the weight 1; an element has a step and a weight of its own.
    data = math.nan, 0.0, one, one, np.zeros(1, np.intp), np.ones(1), False
    differentiate(objective, x, (), (Rule(make_directions, data, columns=n), directions), values)
    with np.errstate(all="ignore"):
        terms = weights * values if len(index) == 1 else np.where(weights == 0.0, 0.0, weights * values)
        divisors = denominators[index] * where.lengths
        if use_stored_distance:
            divisors = (weights * ((flat + moved) - flat)).sum(axis=0)
        quotients = terms.sum(axis=0) / divisors
        for _ in range(order - 1):  # one at a time: a power of a small step would be 0
            quotients = quotients / where.lengths
        return quotients.reshape(x.shape)[()]


def _real_values(returned: Any, x: Floats) -> NDArray[np.float64]:
    """Return a copy of what `f` returned, since it may return the same buffer again."""
    return _of_shape_of(x, private_copy(real_array(returned, "what f returns")))


def _imaginary_values(returned: Any, x: Floats) -> NDArray[np.float64]:
    values = np.asarray(returned)
    if values.dtype.kind != "c":
        arguments.imaginary_part(returned)  # says what is wrong with it
    return _of_shape_of(x, values.imag.astype(np.float64))


def _of_shape_of(x: Floats, values: NDArray[np.float64]) -> NDArray[np.float64]:
    if values.shape != x.shape:
        raise ValueError(f"f must be elementwise: x has the shape {x.shape}, f(x) has {values.shape}")
    return values


class _Options(TypedDict, total=False):
    """The further parameters of `numerical_gradient`, for a type checker."""

    args: tuple[Any, ...]
    workers: Workers
    out: NDArray[np.float64] | None
    coordinates: ArrayLike | None
    progress: Progress
    scheme: AnyScheme
    bounds: Bounds | None
    vectorized: bool
    batch_bytes: int
    points_axis: int | None


@overload
def numerical_gradient(
    f: Callable[..., Any], x: ArrayLike, h: StepSize = ..., **options: Unpack[_Options]
) -> NDArray[np.float64]: ...
@overload
def numerical_gradient(f: Callable[..., Any], x: Any, h: StepSize = ..., **options: Unpack[_Options]) -> Any: ...
def numerical_gradient(
    f: Callable[..., Any],
    x: Any,
    h: StepSize = 1e-4,
    *,
    args: tuple[Any, ...] = (),
    workers: Workers = 1,
    out: NDArray[np.float64] | None = None,
    coordinates: ArrayLike | None = None,
    progress: Progress = False,
    scheme: AnyScheme = "central",
    bounds: Bounds | None = None,
    vectorized: bool = False,
    batch_bytes: int = 2**26,
    points_axis: int | None = None,
) -> Any:
    """Return the gradient of `f` at `x` by finite differences, one coordinate at a time.

    Parameters
    ----------
    f : callable
        ``f(x, *args) -> float``, where x is an array of the shape of `x`. A Python callable is called in place, on
        the array `x` itself, so it may also ignore its argument and read that array (the book's
        ``lambda w: net.loss(x, t)``). A function compiled with `numba.njit` is compiled together with the whole
        loop and sees a private float64 copy; other data must come through `args`. An `IncrementalObjective` is asked
        for its differences.
    x : array_like, or dict, list or tuple of arrays, or pandas object
        Where the gradient is taken: real, of any shape and layout. A writable floating array is perturbed in
        place if `f` is a Python callable, and is bit for bit what it was after any exit, by an exception or
        Ctrl-C too. Anything else (list, scalar, integers, read-only) is worked on as a float64 copy.

        A Python `f` also takes arrays in a container, such as the book's ``net.params``: a dict with strings as keys, a
        list or tuple of arrays, nested at will. Each array counts as above. f receives a new container of the same kind
        over the same arrays, with arrays of no axis in place of numbers. A list of numbers, or of arrays of one shape
        that is in no container itself, is one array. A Series or DataFrame of pandas reaches f with its labels.
    h : float, 'auto' or array_like, default 1e-4
        Step, in the unit of x; an array or a list gives each coordinate its own, and broadcasts to the shape of `x`. A
        tuple is refused: further arguments of `f` go to `args`. 'auto' takes ``eps**(1 / (order + 1))`` of each
        coordinate's magnitude (of 1 where that is 0), with the eps of the coarser precision of `x` and of what `f`
        returns, by one evaluation more: right for an f that changes over lengths like `x` itself. With an array or
        'auto' the divisor is the distance of the points as they are stored. For arrays in a container, one for all of
        them, or a dict with one for each: ``{"W": 1e-4, "layers[0]": 1e-3}``; so are `bounds`.
    args : tuple, optional
        Further arguments of `f`.
    workers : int or map-like callable, default 1
        An int is the number of threads at most for a compiled or incremental `f` (less than 2 ms of work is done by
        one), and of joblib's workers for a Python `f`: processes, in which lambdas and closures work, unless
        ``joblib.parallel_config`` says otherwise. -1 stands for all cores. Or ``workers(function, iterable)`` that maps
        in order, such as the `map` of an executor of `concurrent.futures`, of Dask's ``client.get_executor()`` or of
        mpi4py's `MPIPoolExecutor`; a `multiprocessing.Pool` waits for ever for a worker that was killed. The objective,
        `x` and `args` travel in one pickle, so that an f which reads `x` as its own still does. If `f` reads another
        array there (`x` is but a view of it, or a module holds it), that is found by two more evaluations there and one
        here. The result is the same to the last bit, if f gives the same bits where BLAS takes another number of
        threads.
    out : ndarray of float64, optional
        Where to write the result: C-contiguous, of the shape of the result. After an exception its content is
        undefined. None for a container.
    coordinates : array_like of int, optional
        Flat coordinates in C order, from 0 to ``x.size - 1``, in any order and repeated at will: only these partial
        derivatives are computed, for sampling a large matrix. Those of a container are counted through its arrays.
    progress : bool or callable, default False
        True shows a tqdm bar; a callable receives ``(done, total)`` in coordinates, in the calling thread, about
        twenty times a second and at the end.
    scheme : str or Scheme, default 'central'
        'central' (order 2, 2n evaluations), 'forward', 'backward' (order 1, n + 1), 'central4' (order 4, 4n),
        'central6' (order 6, 6n), 'complex' (the complex step: n evaluations, and no round-off however small `h`, for an
        f that takes a complex128 array; three more show that it is analytic, and two once that it reads no other
        array), or a `Scheme` of your own. An `IncrementalObjective` takes the central ones.
    bounds : pair of array_like, optional
        ``(low, high)``, each of which broadcasts to the shape of `x`, `scipy.optimize.Bounds`, or a pair for each
        coordinate of a vector, None where there is no bound: f is evaluated at no point outside. Near a bound the
        scheme turns one-sided and keeps its order; where there is no room even for that, the step becomes smaller.
        Where the bounds meet there is no derivative; leave such coordinates out by `coordinates`.
    vectorized : bool, default False
        If true, `f` receives a batch of points, of shape ``(k, *x.shape)``, and returns k values. It sees copies of
        `x`, never `x` itself. One batch more, of another length, shows whether it sums along the right axes, and two
        more, once, whether it reads `x` by another way.
    batch_bytes : int, default 64 MiB
        Memory of the points of a batch at most, if that is not less than one coordinate takes.
    points_axis : int, optional
        The axis of `x` along which many points lie: the gradient of `f` at each of them is the result, of the shape of
        `x`. f receives each point as an array without this axis, a copy; for a compiled f there is one compiled loop,
        whose `workers` share the points, and a `vectorized` one receives batches over points and coordinates.

    Returns
    -------
    ndarray of float64
        The gradient, in the unit of f per unit of x, of the shape of `x`; with `coordinates`, the one-dimensional
        array of those partial derivatives. It is `out` if that was given. For a container, the gradients in one of the
        same kind, each with respect to the memory of its array: arrays that share memory move together.

    Raises
    ------
    TypeError
        If `f` is not callable, returns anything but one real number, or cannot be compiled for this `x`; if `x` is
        not real, or has masked elements where a copy of it is perturbed; if another argument is of the wrong type; if
        `f` cannot travel to other processes, or starts threads of its own and `workers` asks for several; if the scheme
        is 'complex' and `f` returns a real number.
    ValueError
        If `f` writes to its argument, and leaves it so, or reads `x` by another way where it is given a copy, or is not
        analytic though the scheme is 'complex'; if `h` is not finite and positive or `workers` is neither -1 nor at
        least 1; if `scheme` is unknown, or not one that an incremental `f` has; if `x` lies outside the bounds or they
        leave no room; if `out` has another shape or shares memory with `x` or `args`; if `coordinates` is not
        one-dimensional or out of range; if a compiled `f` has captured `x`; if elements of `x` share memory; if `f`
        reads another array than `x` in another process.
    ImportError
        If `progress` is True and tqdm is not installed, or processes are needed and joblib is not.
    Exception
        Whatever `f` raises, as it was raised; from another process with a note that names the coordinate. What an
        engine raises when a worker dies.

    Warns
    -----
    RuntimeWarning
        If `h` loses more than a thousandth of itself where it is added to some coordinate; if `f` saw a private copy
        and did not respond to it at all; if `x` and what `f` returns are of less than float64 precision, and with one
        step `h` fewer than three digits of the gradient are right.

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
    >>> print(numerical_gradient(function_2, np.array([[3.0, 4.0], [0.5, -1.0]]), points_axis=0).round(6))
    [[ 6.  8.]
     [ 1. -2.]]
    """
    if points_axis is not None or (x.__class__ is not np.ndarray and is_container(x)):
        options: dict[str, Any] = {"h": h, "args": args, "workers": workers, "out": out, "coordinates": coordinates}
        options |= {"progress": progress, "scheme": scheme, "bounds": bounds, "vectorized": vectorized}
        if points_axis is not None:
            return _at_points(f, x, points_axis, options | {"batch_bytes": batch_bytes})
        return _of_container(f, x, options)
    objective = driver.as_objective(f, args, arguments.whole_number("batch_bytes", batch_bytes, 1) if vectorized else 0)
    if progress is not False:
        driver.check_progress(progress)
    point, private = objective.place(x, args)
    if workers.__class__ is not int or workers != 1:
        workers = driver.as_workers(workers, objective)
    chosen = None if coordinates is None else arguments.as_coordinates(coordinates, point.size)
    plan = rule_at(point, h, scheme, bounds, chosen)
    if h.__class__ is str and plan[0].make is make_directions and point.size:
        eps = driver.eps_of_values(objective, point, args)[1]
        plan = plan if eps == EPS else rule_at(point, h, scheme, bounds, chosen, eps)
    shape = point.shape if chosen is None else chosen.shape
    gradient = np.empty(shape) if out is None else arguments.result_buffer(out, shape, x, args)
    # A matrix that was given as `out` would stay one, of two dimensions.
    flat = gradient if gradient.ndim == 1 else gradient.view(np.ndarray).reshape(-1)
    flags = differentiate(objective, point, args, plan, flat, workers, progress)
    if plan[0].make is make_complex_step and flat.size:
        check_analytic(f, point, args, chosen, bounds)
    if h.__class__ is float and not private and is_narrow(point) and plan[0].make is not make_complex_step:
        driver.warn_of_few_digits(objective, point, args, h, flat)
    if flags != RESPONDED:
        ignored = chosen is None and driver.seems_ignored(objective, private, workers, flags, gradient)
        driver.warn_of(flags, h, ignored, point)
    return gradient


def takes_containers(f: Any, args: tuple[Any, ...], x: Any, vectorized: bool = False) -> bool:
    """Tell whether `f` receives the container `x`, or the plain array of a pandas object; TypeError if neither."""
    is_python = not vectorized and isinstance(driver.as_objective(f, args), PythonObjective)
    if not (is_python or is_labelled(x)):
        raise TypeError(
            f"x in a {type(x).__name__} needs a Python f of one point, got {describe(f)}; let it call this one"
        )
    return is_python


def _of_container(f: Any, x: Any, options: dict[str, Any]) -> Any:
    """Return the gradients with respect to all arrays of `x` in its structure, or at flat coordinates of all arrays."""
    args, coordinates, progress = (options.pop(name) for name in ("args", "coordinates", "progress"))
    if not takes_containers(f, args, x, options["vectorized"]):
        found = numerical_gradient(f, x.to_numpy(), args=args, coordinates=coordinates, progress=progress, **options)
        return found if coordinates is not None else relabelled(x, found)
    if options.pop("out") is not None:
        raise TypeError(f"out must be None for x in a {type(x).__name__}: its gradients are new arrays")
    driver.check_progress(progress)
    whole, found = Container(x), list[NDArray[np.float64]]()
    steps, limits_of = whole.own(options.pop("h"), "h"), whole.own(options.pop("bounds"), "bounds")
    size = sum(memory.size for memory in whole.arrays.values())
    chosen = np.arange(size) if coordinates is None else arguments.as_coordinates(coordinates, size)
    result = np.empty(len(chosen))

    def write(function: Any, memory: NDArray[Any], name: str, first: int) -> None:
        places = np.flatnonzero((first <= chosen) & (chosen < first + memory.size))
        own: dict[str, Any] = {} if coordinates is None else {"coordinates": chosen[places] - first}
        own |= {"bounds": limits_of[name], "progress": driver.after(report, sum(part.size for part in found))}
        # A copy is handed on as one, so that an f which does not respond to it is warned of.
        given = read_only(memory) if name in whole.copies else memory
        found.append(numerical_gradient(function, given, steps[name], **own, **options))
        result[places] = found[-1].reshape(-1)

    with driver.reporting(progress, len(chosen)) as report:
        whole.each(f, args, write)
    return whole.like(found) if coordinates is None else result


def _at_points(f: Any, x: Any, axis: int, options: dict[str, Any]) -> NDArray[np.float64]:
    """Return a gradient for each point along an axis of `x`: by one sweep over points, or one call a point."""
    h, args, workers, out, coordinates, progress, scheme, bounds, vectorized, batch_bytes = options.values()
    if coordinates is not None:
        raise ValueError("coordinates must be None with points_axis: all derivatives are taken at each point")
    points, axis = as_points(x, axis)
    gradient, size = np.empty(points.shape), points[:1].size
    objective = driver.as_objective(f, args, arguments.whole_number("batch_bytes", batch_bytes, 1) if vectorized else 0)
    has_loop = objective.has_descent or isinstance(objective, PythonObjective)
    if not has_loop or isinstance(h, str | np.ndarray | list) or scheme != "central" or bounds is not None:
        own = options | {"out": None, "progress": False}
        for k, point in enumerate(points):
            gradient[k] = numerical_gradient(f, point, **own)
    elif gradient.size:
        driver.check_progress(progress)
        objective.place(x, args)  # refuses what f would not see change
        place, rows, rule = objective.place(points, args)[0], gradient.reshape(-1, size), rule_at_points(h, size)
        workers = driver.as_workers(workers, objective)
        if isinstance(objective, VectorizedObjective):
            flags = in_batches(objective, points, args, rule.data[0], rows)
        else:
            flags = differentiate(objective, place, args, (rule, ALL_COORDINATES), rows, workers, progress)
        if flags != RESPONDED:
            driver.warn_of(flags, h, driver.seems_ignored(objective, True, workers, flags, gradient), points)
    found = np.moveaxis(gradient, 0, axis)
    if out is None:
        return found
    arguments.result_buffer(out, found.shape, x, args)[...] = found
    return out  # type: ignore[no-any-return]
