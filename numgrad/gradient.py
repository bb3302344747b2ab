"""numerical_gradient: the gradient of a function of an array."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypedDict, Unpack, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import arguments, driver
from .arguments import ALL_COORDINATES, describe
from .beside import beside_point, noise_of_slopes
from .containers import Container, in_order, is_container, is_labelled, joined, relabelled
from .driver import Function, Progress, Workers, differentiate
from .inside import check_analytic, is_single_inside
from .loops import RESPONDED, Floats, make_directions
from .magnitudes import SMALL, lengthen, of_few_digits, rounding_by, rounding_near, with_value
from .many import as_points, in_batches, rule_at_points
from .objectives.python import PythonObjective, VectorizedObjective
from .points import EPS, SINGLE, batch_of, check_argument_is_all, lengths_of, read_only, scales, seems_single, smallest
from .schemes import AnyScheme, Bounds, StepSize, along_rows, central_rule, is_one, limits, rule_at, sum_of_values

__all__ = ["numerical_gradient"]


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
    resume: bool


@overload
def numerical_gradient(
    f: Callable[..., Any], x: ArrayLike, h: StepSize = ..., **options: Unpack[_Options]
) -> NDArray[np.float64]: ...
@overload
def numerical_gradient(f: Callable[..., Any], x: Any, h: StepSize = ..., **options: Unpack[_Options]) -> Any: ...
def numerical_gradient(
    f: Function,
    x: Any,
    h: StepSize = 1e-4,
    *,
    args: tuple[Any, ...] = (),
    workers: Workers = 1,
    out: Floats | None = None,
    coordinates: ArrayLike | None = None,
    progress: Progress = False,
    scheme: AnyScheme = "central",
    bounds: Bounds | None = None,
    vectorized: bool = False,
    batch_bytes: int = 2**26,
    points_axis: int | None = None,
    resume: bool = False,
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
        returns, by one evaluation more: right for an f that changes over lengths like `x` itself. Where rounding leaves
        fewer than four digits of the derivative by a coordinate below 0.1, it takes longer steps, up to that of the
        magnitude 1, until two results agree: four evaluations more as a rule; f may raise there. Where a step is below
        1e6 eps, six evaluations along a line show what is rounded inside an f that is small since terms cancel.
        Where what a Python f returns has the digits of float32, and so have its changes, one evaluation tells whether
        it computes in float32 inside; all derivatives are then taken again, by steps for that. One evaluation more, of
        a compiled f at its calls number 1, 2, 4, 8 and so on, tells whether f has noise, as solvers and decimals leave
        it, or zeros that steps of f make: where that is in doubt, 4 to 70 tell how much, and a warning, if fewer than
        three digits are right. So does a constant beside which f is lost in rounding.
        With an array or 'auto' the divisor is the distance of the points as they are stored. For arrays in a container,
        one for all of them, or a dict with one for each: ``{"W": 1e-4, "layers[0]": 1e-3}``; so are `bounds`.
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
        Where to write the result: C-contiguous, of the shape of the result. It is filled with NaN first, so that after
        an exception it holds the derivatives that were finished, and NaN for the others. Of a masked array all is
        written, and the mask stays. None for a container.
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
        coordinate of a vector; None stands for no bound: f is evaluated at no point outside. Near a bound the
        scheme turns one-sided and keeps its order; where there is no room even for that, the step becomes smaller.
        Where the bounds meet there is no derivative; leave such coordinates out by `coordinates`.
    vectorized : bool, default False
        If true, `f` receives a batch of points, of shape ``(k, *x.shape)``, and returns k values. It sees copies of
        `x`, never `x` itself. Once, a batch more of another length shows whether it sums along the right axes, and
        three more whether the points of a batch see each other and whether it reads `x` by another way; with `args`,
        the first of these is evaluated each time.
    batch_bytes : int, default 64 MiB
        Memory of the points of a batch at most, if that is not less than one coordinate takes. With 1 MiB, which stays
        in a cache, a cheap `f` of thousands of coordinates takes a third of the time, in more calls.
    points_axis : int, optional
        The axis of `x` along which many points lie: the gradient of `f` at each of them is the result, of the shape of
        `x`. `h` and `bounds` broadcast to `x`, or to one point if they do not to `x`; what means two unlike things is
        refused. f receives each point as an array without this axis, a copy; for a compiled f there is one compiled
        loop, whose `workers` share the points, and a `vectorized` one receives batches over points and coordinates.

    resume : bool, default False
        If true, only those partial derivatives are evaluated that are NaN in `out`, and written there as they come.

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
        not real, or has masked elements; if another argument is of the wrong type; if `f` cannot travel to other
        processes, or starts threads of its own and `workers` asks for several; if the scheme is 'complex' and `f`
        returns a real number.
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
        and did not respond to it at all; if what `f` returns is of less than float64 precision, and with one
        step `h` fewer than three digits of the gradient are right.

    Notes
    -----
    ``(f(x + h e_i) - f(x - h e_i)) / (2 h)``, with a truncation error of ``h**2 / 6`` times the third derivative
    and a round-off error of about ``eps * |f| / h``. Exactly 2n evaluations for n coordinates, in C order, and
    one more where a compiled f returns float32.
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
    if points_axis is not None or resume or (x.__class__ is not np.ndarray and is_container(x)):
        options: dict[str, Any] = {"h": h, "args": args, "workers": workers, "out": out, "coordinates": coordinates}
        options |= {"progress": progress, "scheme": scheme, "bounds": bounds, "vectorized": vectorized}
        return _of_several(f, x, points_axis, resume, options | {"batch_bytes": batch_bytes})
    objective = driver.as_objective(f, args, batch_bytes if vectorized else None, bounds)
    if progress is not False:
        driver.check_progress(progress)
    point, private = objective.place(x, args)
    workers = workers if workers.__class__ is int and workers == 1 else driver.as_workers(workers, objective)
    chosen = None if coordinates is None else arguments.as_coordinates(coordinates, point.size)
    # The default without the call, which takes a twentieth of a gradient of two coordinates.
    is_default = h.__class__ is float and scheme.__class__ is str and scheme == "central" and bounds is None
    where, like = (ALL_COORDINATES, point) if chosen is None else (chosen, chosen)
    plan = (central_rule(h), where) if is_default else rule_at(point, h, scheme, bounds, chosen)  # type: ignore[arg-type]
    if out is None and like.ndim == 1:
        gradient = flat = np.empty(len(like))
    else:
        gradient, flat = _memory(out, like.shape, x, args, f)
    if not is_default and isinstance(h, str):
        flags = by_automatic_steps(objective, (point, args), plan, (scheme, bounds, chosen), (workers, progress), flat)
    else:
        flags = differentiate(objective, point, args, plan, flat, workers, progress)
    if scheme == "complex":
        check_analytic(f, point, args, chosen, bounds)
    elif objective.seen is not None and (flags & RESPONDED or not private):  # zeros of a copy: see below
        driver.warn_of_seen(objective, point, args, h, flat)
    if flags != RESPONDED:
        known = objective, private, workers, flags, gradient, (point, args, bounds, lengths_of(plan))
        driver.warn_of(flags, h, chosen is None and driver.seems_ignored(*known), point)
    return gradient


def _memory(out: Floats | None, shape: tuple[int, ...], x: Any, args: Any, f: Any) -> tuple[Floats, Floats]:
    """Return where a gradient is written, in its shape and flat: what owns its memory was made here."""
    if out is None:  # the flat one is its owner, of which threads make no copy: see `threads._on_threads`
        flat = np.empty(math.prod(shape))
        return flat.reshape(shape), flat
    memory = arguments.result_buffer(out, shape, x, args, f=f)
    memory.fill(math.nan)  # what an exception leaves unfinished
    return out, memory.reshape(-1)


def by_automatic_steps(
    objective: Any, at: tuple[Any, Any], plan: Any, options: Any, how: Any, out: Floats, known: Any = ()
) -> int:
    """Do the `plan` of automatic steps, with longer ones where rounding hides derivatives by small coordinates.

    The `options` are scheme, bounds and coordinates; `how` is workers, progress, and True where nobody is to be warned
    of the noise of f. Known may be f(x), or NaN, and the spacing of what f returns.
    """
    (point, args), (scheme, bounds, chosen), (workers, progress, *is_quiet) = at, options, how
    if plan[0].make is not make_directions or not point.size:
        return differentiate(objective, point, args, plan, out, workers, progress)
    value, eps = known or driver.eps_of_values(objective, point, args)
    plan = plan if eps == EPS else rule_at(point, "auto", scheme, bounds, chosen, eps)
    # The smallest one first, which takes less time than to ask each chosen coordinate. An empty array is at hand: to
    # make one takes 0.15 us, of 11 at two coordinates.
    small, taken, plain, plan = ALL_COORDINATES, None, np.asarray(point), with_value(plan, value)
    if smallest(np.abs(plain)) < SMALL and driver.is_perturbed(objective):
        small = np.flatnonzero((scales(plain) < SMALL)[... if chosen is None else chosen])
    try:
        flags = differentiate(objective, point, args, plan, out, workers, progress)
        if rounds := eps == EPS and seems_single(plan, value, out) and driver.is_perturbed(objective):
            rounds = is_single_inside(plain, np.array([value]), partial(values_near, objective, at), bounds, chosen)
        if len(small) and not rounds:
            taken = _lengthen(objective, at, plan, chosen, (scheme, bounds, workers), out, (value, eps))
    except BaseException:  # nobody has looked whether they are good enough
        out[... if eps == EPS and seems_single(plan, value, out) else small] = math.nan
        raise
    if rounds:
        out.fill(math.nan)
        return by_automatic_steps(objective, at, plan, options, how, out, (value, SINGLE))
    if not is_quiet and eps == EPS and driver.is_due(objective):
        near = beside_point(objective, at, value, partial(values_near, objective, at), bounds)
        driver.warn_of_noise("gradient", *noise_of_slopes(near, out, plan, chosen, taken))
    return flags


def _lengthen(
    objective: Any, at: tuple[Any, Any], plan: Any, chosen: Any, how: Any, out: Floats, known: tuple[float, float]
) -> Floats:
    """Write what longer steps tell of derivatives that rounding hides, all or the chosen ones; see `lengthen`."""
    (point, args), (scheme, bounds, workers), (value, eps) = at, how, known
    places = np.arange(point.size) if chosen is None else chosen
    plain, ends, steps = np.asarray(point), None if bounds is None else limits(point, bounds), np.abs(plan[1].lengths)
    noise = noise_at(objective, at, value, eps, ends, float(steps.min()))

    def again(longer: Floats, missing: NDArray[np.bool_]) -> tuple[Floats, Floats, Floats]:
        found, each, rows = np.full((3, len(out)), math.nan), np.ones(point.size), np.empty(missing.sum())
        each[places] = longer
        plan = with_value(rule_at(point, each.reshape(plain.shape), scheme, bounds, places[missing], eps), value)
        differentiate(objective, point, args, plan, rows, 1 if callable(workers) else workers)
        found[:, missing] = rows, rounding_by(plan, noise), np.abs(plan[1].lengths)
        return found[0], found[1], found[2]

    flat, rounding = plain.reshape(-1)[places], rounding_by(plan, noise)
    return lengthen(out, flat, steps, rounding, again, of_few_digits(out, flat, rounding))


def noise_at(objective: Any, at: Any, value: float, eps: float, ends: Any = None, shortest: float = 0.0) -> float:
    """Return how far rounding puts off the value of f at the point: its spacing, or more that is seen next to it.

    That of one term of a sum of elements, which are moved alone. See `rounding_near`.
    """
    terms = max(1, len(objective.f)) if hasattr(objective.f, "_hessian") else 1
    plain, base = np.asarray(at[0]), np.array([objective.value(*at) if value != value else value])
    inside = rounding_near(plain, base, eps, lambda moves: values_near(objective, at, moves), ends, shortest).item()
    return float(max(eps * abs(base.item()) / terms, inside / math.sqrt(terms)))


def values_near(objective: Any, at: tuple[Any, Any], moves: Floats) -> Floats:
    """Return f where the point has moved by each row."""
    rule, found = sum_of_values(1.0), np.empty(len(moves))
    if len(moves) == 1 and not hasattr(objective.f, "_hessian"):  # the usual kinds: a third of the time
        return np.array([objective.sweep(*at, rule, ALL_COORDINATES, found).value_at(moves[0])])
    differentiate(objective, *at, (rule, along_rows(moves)), found)
    return found


def _of_several(f: Any, x: Any, points_axis: int | None, resume: bool, options: dict[str, Any]) -> Any:
    """Return gradients at several points, the rest of a gradient, or those of the arrays of a container."""
    if resume and options["out"] is None:
        raise ValueError("resume=True goes on with what is in out; pass the array of the gradient that was broken off")
    driver.check_progress(options["progress"])
    if points_axis is not None:
        return _at_points(f, x, points_axis, resume, options)
    if resume:
        return _resumed(f, x, options)
    found, gather = of_each_array(numerical_gradient, f, x, options, ("h", "bounds"))
    return gather(found)


def _resumed(f: Any, x: Any, options: dict[str, Any]) -> NDArray[np.float64]:
    """Write what is NaN in `out`, as it comes, and return that."""
    out, coordinates, progress = (options.pop(name) for name in ("out", "coordinates", "progress"))
    array = arguments.real_array(x)
    chosen = np.arange(array.size) if coordinates is None else arguments.as_coordinates(coordinates, array.size)
    shape = array.shape if coordinates is None else chosen.shape
    flat = arguments.result_buffer(out, shape, x, options["args"], f=f).reshape(-1)
    left = np.flatnonzero(np.isnan(flat))
    found = np.full(len(left), math.nan)

    def keep(done: int = 0, _: int = 0) -> None:
        flat[left] = found
        if report is not None:
            report(done)

    with driver.reporting(progress, len(left)) as report:
        try:
            numerical_gradient(f, x, out=found, coordinates=chosen[left], progress=keep, **options)
        finally:
            flat[left] = found
    return out  # type: ignore[no-any-return]


def takes_containers(f: Any, args: tuple[Any, ...], x: Any, vectorized: bool = False) -> bool:
    """Tell whether `f` receives the container `x`, or the plain array of a pandas object; TypeError if neither."""
    is_python = not vectorized and isinstance(driver.as_objective(f, args), PythonObjective)
    if not (is_python or is_labelled(x)):
        raise TypeError(
            f"x in a {type(x).__name__} needs a Python f of one point, got {describe(f)}; let it call this one"
        )
    return is_python


def of_each_array(
    differentiate: Callable[..., Any], f: Any, x: Any, options: dict[str, Any], by_array: tuple[str, ...]
) -> tuple[list[Any], Callable[[list[Any]], Any]]:
    """Return what `differentiate` returns of each array of `x`, and what makes one result of an array for each of them.

    That has the structure of `x`, or is flat where there are coordinates. The options `by_array` may be dicts. For an f
    that takes no container, the one array is the numbers of a pandas object.
    """
    if not takes_containers(f, options["args"], x, options.get("vectorized", False)):
        in_order(x, **{name: options[name] for name in by_array})
        is_flat, found = options["coordinates"] is not None, [differentiate(f, x.to_numpy(), **options)]
        return found, lambda parts: parts[0] if is_flat else relabelled(x, parts[0])
    out, args, coordinates, progress = (options.pop(name, None) for name in ("out", "args", "coordinates", "progress"))
    if out is not None:
        raise TypeError(f"out must be None for x in a {type(x).__name__}: its gradients are new arrays")
    driver.check_progress(progress)
    whole, found = Container(x), []
    own_options = {name: whole.own(options.pop(name), name) for name in by_array}
    chosen = np.arange(whole.size) if coordinates is None else arguments.as_coordinates(coordinates, whole.size)
    places = [np.empty(0, np.intp)]

    def work(function: Any, memory: NDArray[Any], name: str, first: int) -> None:
        own: dict[str, Any] = {key: values[name] for key, values in own_options.items()}
        progress = driver.after(report, sum(map(len, places)))
        places.append(np.flatnonzero((first <= chosen) & (chosen < first + memory.size)))
        if coordinates is not None:
            own["coordinates"] = chosen[places[-1]] - first
        # A copy is handed on as one, so that an f which does not respond to it is warned of.
        given = read_only(memory) if name in whole.copies else memory
        found.append(differentiate(function, given, progress=progress, **own, **options))

    with driver.reporting(progress, len(chosen)) as report:
        whole.each(f, args, work)
    order = np.argsort(np.concatenate(places))
    return found, lambda parts: whole.like(parts) if coordinates is None else joined(parts)[order]


def _at_points(f: Any, x: Any, axis: Any, resume: bool, options: dict[str, Any]) -> NDArray[np.float64]:
    """Return a gradient for each point along an axis of `x`; to resume, of those of which `out` has a NaN."""
    args, progress, out = options["args"], options.pop("progress"), options.pop("out")
    if options["coordinates"] is not None:
        raise ValueError("coordinates must be None with points_axis: all derivatives are taken at each point")
    points, axis, own = as_points(x, axis, options["h"], options["bounds"])
    result: NDArray[np.float64] = arguments.result_buffer(out, np.shape(x), x, args, f=f)
    rows = np.moveaxis(result, axis, 0)
    left = np.flatnonzero(np.isnan(rows).any(axis=tuple(range(1, rows.ndim))) | (not resume))
    found = np.full((len(left), *points.shape[1:]), math.nan)
    try:
        _write_at_points(f, x, points[left], found, options, progress, map(own, left))
    finally:
        rows[left] = found
    return result if out is None else out


def _write_at_points(
    f: Any, x: Any, points: Floats, found: Floats, options: dict[str, Any], progress: Progress, own: Iterator[Any]
) -> None:
    """Write the gradients at points of `x`, of which they are copies: by one sweep over points, or one call a point.

    `own` gives the options of each.
    """
    h, args, workers, scheme, bounds = (options[name] for name in ("h", "args", "workers", "scheme", "bounds"))
    objective: Any = driver.as_objective(f, args, options["batch_bytes"] if options["vectorized"] else None)
    objective.place(x, args)  # refuses what f would not see change
    workers = driver.as_workers(workers, objective)
    is_batch, is_python = isinstance(objective, VectorizedObjective), isinstance(objective, PythonObjective)
    if not points.size:
        return
    if is_python and (is_batch or scheme == "complex"):
        point = batch_of(points[0]) if is_batch else points[0].astype(np.complex128)
        check_argument_is_all(f, x, lambda: f(point.copy(), *args))
    flags, at = 0, (points[0], args, None, h)
    with driver.reporting(progress, points.size) as report:
        if not (is_one(h) and scheme == "central" and bounds is None and (objective.has_descent or is_python)):
            for k, point in enumerate(points):
                each = {**options, "progress": driver.after(report, k * point.size)} | next(own)
                found[k] = numerical_gradient(f, point, **each)
            at = point, args, each["bounds"], lengths_of(rule_at(point, each["h"], each["scheme"], each["bounds"]))
            flags = 0 if is_python else RESPONDED  # others have warned at each point
        elif is_batch:
            flags = in_batches(objective, points, args, arguments.positive_step(h), found, report)
        else:
            place, plan = objective.place(points, args)[0], (rule_at_points(h), ALL_COORDINATES)
            flags = differentiate(objective, place, args, plan, found.reshape(-1), workers, driver.after(report, 0))
    driver.warn_of_seen(objective, points[0], args, h, found)
    driver.warn_of(flags, h, driver.seems_ignored(objective, True, workers, flags, found, at), points)
