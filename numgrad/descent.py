"""gradient_descent, gradient_ascent and descent_path: how a point moves along its gradient."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import isub
from typing import Any, ParamSpec, TypedDict, TypeVar, Unpack, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import containers, driver
from .arguments import describe, finite_real, real_array, whole_number
from .containers import Container, in_order, is_container, is_labelled, of_labelled, relabelled
from .driver import Progress, Workers
from .gradient import by_automatic_steps, takes_containers
from .inside import check_analytic
from .loops import NOT_FINITE, RESPONDED, Directions, Floats, Rule, make_central, make_complex_step, make_descent
from .points import EPS, is_flat_float64, lengths_of, native_copy, written_through
from .schemes import AnyScheme, StepSize, rule_at
from .threads import Report

__all__ = ["descent_path", "gradient_ascent", "gradient_descent"]

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

# Elements of x from which on the update is compiled: one pass over x in place of NumPy's two. With fewer elements, what
# that saves never repays the import of numba. The gain is measured by test_update in benchmarks/bench_descent.py.
_COMPILED_UPDATE = 10_000


class _Options(TypedDict, total=False):
    """The further parameters of `gradient_descent`, for a type checker."""

    h: StepSize
    args: tuple[Any, ...]
    workers: Workers
    callback: Callable[[int, NDArray[Any]], object] | None
    progress: Progress
    scheme: AnyScheme


@overload
def gradient_descent(
    f: Callable[..., Any], init_x: ArrayLike, lr: float = ..., step_num: int = ..., **options: Unpack[_Options]
) -> NDArray[Any]: ...
@overload
def gradient_descent(
    f: Callable[..., Any], init_x: Any, lr: float = ..., step_num: int = ..., **options: Unpack[_Options]
) -> Any: ...
def gradient_descent(
    f: Callable[..., Any],
    init_x: Any,
    lr: float = 0.01,
    step_num: int = 100,
    *,
    h: StepSize = 1e-4,
    args: tuple[Any, ...] = (),
    workers: Workers = 1,
    callback: Callable[[int, NDArray[Any]], object] | None = None,
    progress: Progress = False,
    scheme: AnyScheme = "central",
) -> Any:
    """Minimise `f` by gradient descent with numerical gradients.

    Parameters
    ----------
    f : callable
        ``f(x, *args) -> float``, as for `numerical_gradient`. If it is compiled with `numba.njit`, the whole descent
        is one compiled loop, unless there is a `callback`, several `workers`, or an `init_x` that is not C-contiguous
        float64.
    init_x : array_like
        Where to start. A writable floating array is updated in place (that is what trains ``net.W``); anything else
        (list, integers, read-only) is worked on as a float64 copy. Or arrays in a container, as for
        `numerical_gradient`: ``gradient_descent(f, net.params)`` updates each of them by the gradient at one point.
    lr : float, default 0.01
        Learning rate: the factor of the gradient in each update, in (unit of x)**2 per unit of f.
    step_num : int, default 100
        Number of iterations.
    h : float, 'auto' or array_like, default 1e-4
        Step of the differences, in the unit of x, as for `numerical_gradient`; 'auto' follows x.
    args : tuple, optional
        Further arguments of `f`.
    workers : int or map-like callable, default 1
        What evaluates each gradient, as for `numerical_gradient`.
    callback : callable, optional
        ``callback(iteration, x)`` after each update, with iteration counted from 0 and x the array that is updated
        (it may be changed, to project it, and must be copied to be kept). What it puts into a container in place of an
        array, as ``x["W"] = np.clip(x["W"], 0, 1)``, is written to that array. Raising `StopIteration` ends the
        descent.
    progress : bool or callable, default False
        True shows a tqdm bar of the iterations, with the time left; a callable receives ``(done, total)``, in
        coordinates of all gradients.
    scheme : str or Scheme, default 'central'
        As for `numerical_gradient`. Only the default, with one step, is one compiled loop.

    Returns
    -------
    ndarray
        `init_x` itself if it was updated in place, else the copy: the last iterate, of the shape of `init_x`. A
        container is itself if all its arrays were, else a new one of the arrays and copies that were updated.

    Raises
    ------
    TypeError, ValueError
        As `numerical_gradient`, and for an `lr` that is not a finite number, a `step_num` that is not a whole number
        from 0, a `callback` that is not callable. Nothing is evaluated or written then.
    Exception
        Whatever `f` or `callback` raises, as it was raised; `init_x` holds the last completed iterate then, as it does
        after Ctrl-C.

    Warns
    -----
    RuntimeWarning
        As `numerical_gradient`, once for the whole descent; and if it ends at a point that is not finite.

    Notes
    -----
    ``x <- x - lr * gradient(x)``; ``2 n step_num`` evaluations for n coordinates.

    References
    ----------
    Saitoh, K., *Deep Learning from Scratch*, O'Reilly, section 4.4.1.

    Examples
    --------
    >>> import numpy as np
    >>> from numgrad import function_2, gradient_descent
    >>> print(gradient_descent(function_2, np.array([-3.0, 4.0]), lr=0.1, step_num=100))
    [-6.11110793e-10  8.14814391e-10]
    """
    if init_x.__class__ is not np.ndarray and is_container(init_x) and takes_containers(f, args, init_x):
        whole, others = Container(init_x, "init_x"), (callback, progress, scheme)
        lr, step_num = finite_real("lr", lr), whole_number("step_num", step_num, 0)
        if not whole.arrays:  # the options are checked all the same
            _Descent(f, (), lr, step_num, 1e-4 if isinstance(h, Mapping) else h, (), workers, *others)
        return _move_all(f, args, whole, (lr, step_num, h, (), workers, *others))
    descent = _Descent(f, init_x, lr, step_num, h, args, workers, callback, progress, scheme)
    descent.move(descent.x[np.newaxis])
    return descent.x


def _with_parameters_of(
    model: Callable[Parameters, object],
) -> Callable[[Callable[..., Result]], Callable[Parameters, Result]]:
    """Return the decorator of a function that has the parameters of `model`, which spells them out.

    It sets `__wrapped__` alone, which inspect.signature and help() follow.
    """
    return functools.wraps(model, assigned=(), updated=())


@_with_parameters_of(gradient_descent)
def gradient_ascent(f: Any, init_x: Any, lr: Any = 0.01, *rest: Any, **options: Any) -> Any:
    """Maximise `f` by gradient ascent: `gradient_descent` with ``x <- x + lr * gradient(x)``.

    Parameters, returned value, errors and warnings are those of `gradient_descent`.

    Examples
    --------
    >>> from numgrad import gradient_ascent
    >>> print(gradient_ascent(lambda x: -(x[0] - 1) ** 2, [3.0], lr=0.5, step_num=1).round(6))
    [1.]
    """
    return gradient_descent(f, init_x, -finite_real("lr", lr), *rest, **options)


@_with_parameters_of(gradient_descent)
def descent_path(f: Any, init_x: Any, lr: Any = 0.01, step_num: Any = 100, **options: Any) -> Floats:
    """Return every iterate of a gradient descent, the first and the last included.

    Parameters, errors and warnings are those of `gradient_descent`, but `init_x` is one array, or a Series or
    DataFrame, which reaches `f` and `callback` with its labels. A Python `f` is evaluated in place, on `init_x`; after
    any exit `init_x` is bit for bit what it was.

    Returns
    -------
    ndarray of float64
        Of shape ``(step_num + 1, *shape of init_x)``; shorter if `callback` ended the descent.

    Examples
    --------
    >>> import numpy as np
    >>> from numgrad import descent_path, function_2
    >>> print(descent_path(function_2, np.array([-3.0, 4.0]), lr=0.25, step_num=2).round(6))
    [[-3.    4.  ]
     [-1.5   2.  ]
     [-0.75  1.  ]]
    """
    if is_labelled(init_x) and takes_containers(f, options.get("args", ()), init_x):
        in_order(init_x, h=options.get("h"))
        f, init_x, options["callback"] = _of_labelled(f, init_x, options.get("callback"))
    descent = _Descent(f, init_x, lr, step_num, **options)
    memory = descent.memory[...]  # a view, which stays writable whatever f does to x
    saved = native_copy(memory)
    path = np.empty((descent.step_num + 1, *memory.shape))
    path[0] = memory
    try:
        descent.move(path)
    finally:
        memory[...] = saved  # an assignment cannot be interrupted: see PythonSweep.run_range
    return path[: descent.done + 1]


def _of_labelled(f: Any, x: Any, callback: Any) -> tuple[Any, NDArray[Any], Any]:
    """Return f, x and callback of a pandas object as those of one array, which f and callback receive with labels."""
    f, array = of_labelled(f, x, "init_x")

    def with_labels(k: int, part: NDArray[Any]) -> None:
        _call_back(callback, k, relabelled(x, part), {"": part})

    return f, array, with_labels if callable(callback) else callback  # what is no callable is refused


@dataclass
class _Descent:
    """A descent: checked arguments, what moves, and the sweep of its iterations, which are done in order.

    `x` moves: the caller's own array or a private copy. `point` is where the objective has its place. `slopes` is the
    last gradient, flat, and `flags` are those of all gradients.
    """

    f: Callable[..., Any]
    init_x: ArrayLike
    lr: float
    step_num: int
    h: StepSize = 1e-4
    args: tuple[Any, ...] = ()
    workers: Workers = 1
    callback: Callable[[int, NDArray[Any]], object] | None = None
    progress: Progress = False
    scheme: AnyScheme = "central"
    # No fields: the iterations that are done, the flags so far, and the relative spacing of what f returns.
    done, flags, eps = 0, 0, EPS

    def __post_init__(self) -> None:
        if self.progress is not False:
            driver.check_progress(self.progress)
        if self.callback is not None and not callable(self.callback):
            raise TypeError(f"callback must be callable, got {describe(self.callback)}")
        self.lr, self.step_num = finite_real("lr", self.lr), whole_number("step_num", self.step_num, 0)
        if self.init_x.__class__ is not np.ndarray:  # asked here, for a descent of two coordinates would show the call
            in_order(self.init_x, h=self.h)
        self.objective = driver.as_objective(self.f, self.args)
        array = real_array(self.init_x, "init_x")
        # It refuses what f would not see change, of a copy too, and f may ignore what is private.
        self.x, (self.point, self.private) = array, self.objective.place(array, self.args)
        if self.point is not self.init_x:
            self.x, is_copy = written_through(array, self.init_x, "init_x")
            self.point, is_private = self.objective.place(self.x, self.args)
            self.private = is_copy or is_private
        self.workers = driver.as_workers(self.workers, self.objective)
        self.plan = rule_at(self.point, self.h, self.scheme)
        # What a subclass does beyond assigning is not wanted.
        self.memory = self.x if self.x.__class__ is np.ndarray else self.x.view(np.ndarray)
        self.slopes = np.empty(self.x.size)

    def move(self, iterates: NDArray[Any]) -> None:
        """Move `x`, write iterate k to ``iterates[k]``, counted around, and warn of what the flags of the descent tell.

        Where `x` is a buffer that a kernel can use, and nobody looks in between, it is one compiled loop; then `x`
        itself moves only if it is a row of `iterates`.
        """
        if not self.step_num:
            return
        rule, where = self.plan
        is_usual = self.callback is None and self.workers == 1 and rule.make is make_central
        if is_usual and self.objective.has_descent and self.point is self.x and self.x.size:
            self.done = self.step_num
            rows = iterates if iterates.ndim == 2 else iterates.reshape(len(iterates), self.x.size)
            self.flags = self._in_one_loop(rule.data[0], where, rows)
        else:
            with self._reporting() as report:
                self._run(iterates, report)
        if self.flags != RESPONDED:
            self.warn_of(iterates[: self.done + 1])

    def _in_one_loop(self, h: float, where: Any, rows: Floats) -> int:
        """Do all iterations in the compiled loop of a descent, which Ctrl-C may leave at any coordinate."""
        # A plain tuple: `at_once` only unpacks it, and a Rule takes time to make.
        size, flags = self.step_num * self.x.size, -1
        rule: Any = make_descent, (h, self.lr, self.slopes), False, 1, None
        if self.progress is False:
            flags = self.objective.at_once(self.x, self.args, rule, where, rows, size)
        if flags < 0:
            sweep = self.objective.sweep(self.x, self.args, Rule(*rule), where, rows)
            sweep.size = size
            with self._reporting() as report:
                flags = driver.run(sweep, 1, report)
        if self.objective.seen is not None:  # without the call, which an iteration of two coordinates would show
            driver.warn_of_seen(self.objective, self.x, self.args, h, self.slopes)
        return flags

    def _reporting(self) -> Any:
        """Return what reports the progress: a bar counts iterations, a callable the coordinates of all gradients."""
        return driver.reporting(self.progress, self.step_num * self.x.size, "iteration", max(1, self.x.size))

    def _run(self, iterates: NDArray[Any], report: Report | None) -> None:
        """Do the iterations one by one, or fewer if the callback ends the descent."""
        shaped = self.slopes.reshape(self.x.shape)
        for k in range(self.step_num):
            self.differentiate(k, False if report is None else driver.after(report, k * shaped.size))
            _update(self.memory, self.lr, shaped)
            try:
                if self.callback is not None:
                    self.callback(k, self.x)
            except StopIteration:
                break
            finally:
                self.done = k + 1
                if len(iterates) > 1:
                    iterates[k + 1] = self.memory
        self.flags |= 0 if np.isfinite(self.memory).all() else NOT_FINITE

    def differentiate(self, k: int, progress: Progress) -> None:
        """Write the gradient at `x` for iteration k to `slopes`, and look at the first one."""
        if k == 0 and isinstance(self.h, str) and self.x.size:
            self.eps = driver.eps_of_values(self.objective, self.point, self.args)[1]
        if self.point is not self.x:
            self.point = self.objective.place(self.x, self.args)[0]
        if isinstance(self.plan[1], Directions):  # it may follow x
            self.plan = rule_at(self.point, self.h, self.scheme)
        x, args, plan, workers = self.point, self.args, self.plan, self.workers
        if isinstance(self.h, str):  # quiet, for a descent asks no more than it needs
            how, known, options = (workers, progress, True), (math.nan, self.eps), (self.scheme, None, None)
            flags = by_automatic_steps(self.objective, (x, args), plan, options, how, self.slopes, known)
        else:
            flags = driver.differentiate(self.objective, x, args, plan, self.slopes, workers, progress)
        if k == 0:  # it shows whether f is analytic for a complex step, and has enough digits
            if plan[0].make is make_complex_step:
                check_analytic(self.f, x, args)
            else:
                driver.warn_of_seen(self.objective, x, args, self.h, self.slopes)
        self.flags |= flags | RESPONDED if not flags & RESPONDED and self.slopes.any() else flags

    def warn_of(self, iterates: NDArray[Any]) -> None:
        at, lr = (self.x, self.args, None, lengths_of(self.plan)), abs(self.lr)
        known = self.objective, self.private, self.workers, self.flags, None, at
        ignored = self.x.size > 0 and driver.seems_ignored(*known)
        driver.warn_of(self.flags, self.h, ignored, iterates, f"a smaller lr than {lr:g} if the iterates grow")
        if self.flags & NOT_FINITE:
            cause = f"with lr={lr:g} it diverges, or leaves the domain of f"
            driver.warn(f"the descent ended at a point that is not finite: {cause}; try a smaller lr")


def _move_all(f: Any, args: Any, whole: Container, options: tuple[Any, ...]) -> Any:
    """Move all arrays of a container, in each iteration by the gradient at one point, and return the container."""
    lr, step_num, h, _, _, callback, progress, _ = options

    def part_of(function: Any, memory: NDArray[Any], name: str, _: int) -> _Descent:
        part = _Descent(function, memory, lr, step_num, whole.own(h, "h")[name], *options[3:])
        part.private = name in whole.copies
        return part

    parts = dict(zip(whole.arrays, whole.each(f, args, part_of), strict=True))
    moving, size = whole.apart(), whole.size
    with driver.reporting(progress, step_num * size, "iteration", max(1, size)) as report:
        for k in range(step_num):

            def differentiate(_: Any, __: Any, name: str, first: int, k: int = k) -> None:
                parts[name].differentiate(k, driver.after(report, k * size + first))

            whole.each(f, args, differentiate)
            with np.errstate(all="ignore"):
                changes = [lr * parts[name].slopes.reshape(memory.shape) for name, memory in moving.items()]
                list(map(isub, moving.values(), changes))  # one call of C, in which no Ctrl-C can come between
            try:
                if callback is not None:
                    # Where there are copies it is a new one: what is of pandas may part with its memory.
                    _call_back(callback, k, whole.container(), whole.arrays)
            except StopIteration:
                break
    for part in parts.values() if step_num else ():
        part.flags |= 0 if np.isfinite(part.memory).all() else NOT_FINITE
        part.warn_of(part.memory)
    return whole.container()


def _call_back(callback: Any, k: int, x: Any, memory: dict[str, NDArray[Any]]) -> None:
    """Call a callback, and write what it has put into the container `x` to the arrays that move, which are put back."""
    held = containers.by_name(x)
    try:
        callback(k, x)
    finally:
        found = containers.by_name(x)
        before, after = ({label: np.shape(part) for label, part in parts.values()} for parts in (held, found))
        if after != before:
            raise ValueError(f"callback must leave x arrays of the same shapes, {before}, it left {after}")
        for name, (label, part) in found.items():
            in_order(held[name][1], **{f"{label} of callback": part})
            values = real_array(part.to_numpy() if is_labelled(part) else part, f"{label} of callback")
            memory[name].view(np.ndarray)[...] = values
        if containers.is_tree(x):
            _put_back(x, held)


def _put_back(x: Any, held: dict[str, tuple[str, Any]], path: tuple[Any, ...] = ()) -> None:
    """Put the arrays `held` by their names back into a tree; ValueError if they must go into a tuple."""
    keys = x if isinstance(x, Mapping) else range(len(x))
    for key, (below, part) in zip(keys, containers.items(x, path), strict=True):
        label, own = held.get(containers.named(below), ("", part))
        if containers.is_tree(part):
            _put_back(part, held, below)
        elif part is not own and isinstance(x, tuple):
            raise ValueError(f"callback must write into the array {label}, which is in a tuple")
        elif part is not own:
            x[key] = own


def _update(x: NDArray[Any], lr: float, slopes: Floats) -> None:
    """Do ``x -= lr * slopes`` in place."""
    if x.size >= _COMPILED_UPDATE and is_flat_float64(x):
        # Imported here: a Python f of fewer elements needs no numba, whose import takes longer than many descents.
        from .objectives.compiled import update

        update(lr, slopes.reshape(x.size), x.reshape(x.size))
    else:
        with np.errstate(all="ignore"):  # the warning at the end names lr
            x -= lr * slopes
