"""gradient_descent, gradient_ascent and descent_path: how a point moves along its gradient."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import buffers
from .arguments import describe, finite_real, whole_number
from .gradient import Workers, as_workers, cost_key, fill_gradient, warn_of
from .objectives import CompiledObjective, as_objective
from .progress import Progress, Report, check_progress, reporting
from .python_objectives import DIVERGED, MOVED
from .schemes import Scheme, StepSize, step_at

__all__ = ["descent_path", "gradient_ascent", "gradient_descent"]

Floats = NDArray[np.float64]
Callback = Callable[[int, NDArray[Any]], object]

# Below this many elements, NumPy's two passes over x cost less than numba's import ever gives back.
_COMPILED_UPDATE = 10_000


def gradient_descent(
    f: Callable[..., Any],
    init_x: ArrayLike,
    lr: float = 0.01,
    step_num: int = 100,
    *,
    h: StepSize = 1e-4,
    args: tuple[Any, ...] = (),
    workers: Workers = 1,
    callback: Callback | None = None,
    progress: Progress = False,
    scheme: str | Scheme = "central",
) -> NDArray[Any]:
    """Minimise `f` by gradient descent with numerical gradients.

    Parameters
    ----------
    f : callable
        ``f(x, *args) -> float``, as for `numerical_gradient`. If it is compiled with `numba.njit`, the whole descent
        is one compiled loop, unless there is a `callback`, several `workers`, or an `init_x` that is not C-contiguous
        float64.
    init_x : array_like
        Where to start. A writable floating array is updated in place (that is what trains ``net.W``); anything else
        (list, integers, read-only) is worked on as a float64 copy.
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
        (it may be changed, to project it, and must be copied to be kept). Raising `StopIteration` ends the descent.
    progress : bool or callable, default False
        True shows a tqdm bar; a callable receives ``(done, total)`` in coordinates of all gradients.
    scheme : str or Scheme, default 'central'
        As for `numerical_gradient`. Only the default, with one step, is one compiled loop.

    Returns
    -------
    ndarray
        `init_x` itself if it was updated in place, else the copy: the last iterate, of the shape of `init_x`.

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
    return _descend(f, init_x, finite_real("lr", lr), step_num, h, args, workers, callback, progress, scheme)


def gradient_ascent(
    f: Callable[..., Any],
    init_x: ArrayLike,
    lr: float = 0.01,
    step_num: int = 100,
    *,
    h: StepSize = 1e-4,
    args: tuple[Any, ...] = (),
    workers: Workers = 1,
    callback: Callback | None = None,
    progress: Progress = False,
    scheme: str | Scheme = "central",
) -> NDArray[Any]:
    """Maximise `f` by gradient ascent: `gradient_descent` with ``x <- x + lr * gradient(x)``.

    Parameters, returned value, errors and warnings are those of `gradient_descent`.

    Examples
    --------
    >>> from numgrad import gradient_ascent
    >>> print(gradient_ascent(lambda x: -(x[0] - 1) ** 2, [3.0], lr=0.5, step_num=1).round(6))
    [1.]
    """
    return _descend(f, init_x, -finite_real("lr", lr), step_num, h, args, workers, callback, progress, scheme)


def descent_path(
    f: Callable[..., Any],
    init_x: ArrayLike,
    lr: float = 0.01,
    step_num: int = 100,
    *,
    h: StepSize = 1e-4,
    args: tuple[Any, ...] = (),
    workers: Workers = 1,
    callback: Callback | None = None,
    progress: Progress = False,
    scheme: str | Scheme = "central",
) -> Floats:
    """Return every iterate of a gradient descent, the first and the last included.

    Parameters, errors and warnings are those of `gradient_descent`. A Python `f` is evaluated in place, on `init_x`;
    after any exit `init_x` is bit for bit what it was.

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
    descent = _Descent(f, init_x, finite_real("lr", lr), step_num, h, args, workers, callback, progress, scheme)
    memory, saved = descent.memory, buffers.native_copy(descent.x)
    path = np.empty((descent.step_num + 1, *memory.shape))
    path[0] = memory
    try:
        flags = descent.run(path)
    finally:
        memory[...] = saved  # an assignment cannot be interrupted: see PythonObjective.fill
    descent.warn_of(flags, stacklevel=3)
    return path[: descent.done + 1]


def _descend(
    f: Callable[..., Any],
    init_x: ArrayLike,
    lr: float,
    step_num: int,
    h: StepSize,
    args: tuple[Any, ...],
    workers: Workers,
    callback: Callback | None,
    progress: Progress,
    scheme: str | Scheme,
) -> NDArray[Any]:
    descent = _Descent(f, init_x, lr, step_num, h, args, workers, callback, progress, scheme)
    flags = descent.run(descent.x[np.newaxis])
    descent.warn_of(flags, stacklevel=4)
    return descent.x


class _Descent:
    """A descent whose arguments are valid: `x` is the array that moves, the caller's own or a private copy."""

    def __init__(
        self,
        f: Callable[..., Any],
        init_x: ArrayLike,
        lr: float,
        step_num: int,
        h: StepSize,
        args: tuple[Any, ...],
        workers: Workers,
        callback: Callback | None,
        progress: Progress,
        scheme: str | Scheme,
    ) -> None:
        if progress is not False:
            check_progress(progress)
        if callback is not None and not callable(callback):
            raise TypeError(f"callback must be callable, got {describe(callback)}")
        self.callback, self.progress, self.done = callback, progress, 0
        self.lr, self.args = lr, args
        self.step_num = whole_number("step_num", step_num, 0)
        self.objective = as_objective(f, args)
        self.workers = as_workers(workers, self.objective)
        self.x, self.private = buffers.written_through(init_x, "init_x")
        if isinstance(init_x, np.ndarray):
            self.objective.check(init_x, args)
        self.h, self.scheme = h, scheme
        self.step = step_at(self.x, h, scheme, None)
        self.memory = self.x.view(np.ndarray)  # what a subclass does beyond assigning is not wanted

    def run(self, iterates: NDArray[Any]) -> int:
        """Move `x`, write iterate k to ``iterates[k]``, counted around, and return the flags of the descent.

        Where `x` is a buffer that a kernel can use, and nobody looks in between, it is one compiled loop; then `x`
        itself moves only if it is a row of `iterates`.
        """
        if not self.step_num:
            return 0
        if self.progress is False:
            return self._move(iterates, None)
        with reporting(self.progress, self.step_num * self.x.size) as report:
            return self._move(iterates, report)

    def _move(self, iterates: NDArray[Any], report: Report | None) -> int:
        one_loop = self.callback is None and self.workers == 1 and buffers.is_flat_float64(self.x)
        if one_loop and isinstance(self.objective, CompiledObjective) and isinstance(self.step, float):
            return self._run_compiled(self.objective, self.step, iterates, report)
        return self._run(iterates, report)

    def _run(self, iterates: NDArray[Any], report: Report | None) -> int:
        x, slopes, flags = self.x, np.empty(self.x.shape), 0
        for k in range(self.step_num):
            further = None if report is None else _after(report, k * x.size)
            if self.step.__class__ is not float:  # it may depend on x
                self.step = step_at(x, self.h, self.scheme, None)
            flags |= fill_gradient(self.objective, x, self.step, self.args, self.workers, slopes, report=further)
            _update(self.memory, self.lr, slopes)
            ended = self.callback is not None and _ends(self.callback, k, x)
            if len(iterates) > 1:
                iterates[k + 1] = self.memory
            self.done = k + 1
            if ended:
                break
        return flags if np.isfinite(self.memory).all() else flags | DIVERGED

    def _run_compiled(self, objective: CompiledObjective, h: float, iterates: Floats, report: Report | None) -> int:
        point, slopes = objective.own(objective.prepare(self.x, h, self.args)), np.empty(self.x.shape)
        pace, total, n = objective.descent_pace, self.step_num, slopes.size
        self.done = total
        key = cost_key(self.x, self.args)

        def fill(start: int, stop: int) -> int:
            return objective.descend(point, self.lr, h, self.args, start, stop, slopes, iterates)

        if report is None and pace.fits(total, key):
            return fill(0, total)
        return pace.run(lambda: fill, total, key, report=report and (lambda done: report(done * n)))

    def warn_of(self, flags: int, stacklevel: int) -> None:
        """Warn of what the flags tell; `stacklevel` counts from here to the user's line."""
        if flags == MOVED:
            return
        evaluated = self.step_num > 0 and self.x.size > 0
        deaf = evaluated and self.objective.may_be_deaf(self.private or callable(self.workers))
        warn_of(flags, self.step, deaf, stacklevel + 1)
        if flags & DIVERGED:
            warnings.warn(
                f"the descent ended at a point that is not finite: with lr={abs(self.lr):g} it diverges, try a "
                f"smaller lr",
                RuntimeWarning,
                stacklevel,
            )


def _ends(callback: Callback, k: int, x: NDArray[Any]) -> bool:
    try:
        callback(k, x)
    except StopIteration:
        return True
    return False


def _after(report: Report, before: int) -> Report:
    return lambda done: report(before + done)


def _update(x: NDArray[Any], lr: float, slopes: Floats) -> None:
    """Do ``x -= lr * slopes`` in place."""
    if x.size >= _COMPILED_UPDATE and buffers.is_flat_float64(x):
        from .kernels import update

        update(lr, slopes.reshape(x.size), x.reshape(x.size))
    else:
        with np.errstate(over="ignore", invalid="ignore"):  # the warning at the end names lr
            x -= lr * slopes
