"""The drive: the kind of f, whether it is analytic, who runs its sweep, what is reported, what is worth a warning."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from numbers import Real
from types import FunctionType
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arguments import KNOWN_COMPILED, describe, is_compiled, needed, real_number, whole_number
from .bounds import Bounds, limits
from .loops import RESPONDED, STEP_LOST, Floats, Rule
from .objectives.python import PythonObjective, VectorizedObjective
from .points import EPS, FEW_DIGITS, is_same_nearby, resolution
from .processes import Engine, distribute, joblib_engine
from .threads import MOST_WORKERS, Report, Sweep, Throughput, available_cores

__all__: list[str] = []  # nothing here is public
# Units from which on a bar counts in thousands, which take as many letters.
_LONG = 10**4
# What draws a bar: tqdm.auto draws a widget in a notebook, and text elsewhere.
_TQDM = "tqdm.auto", "progress=True draws with tqdm"

Function: TypeAlias = "Callable[..., Any]"
Workers: TypeAlias = "int | Engine"
Progress: TypeAlias = "bool | Callable[[int, int], object]"


class Objective(Protocol):
    """A kind of objective: how f is evaluated next to a point."""

    has_descent: bool  # whether it has a loop of whole descents
    # A value of f of fewer digits than float64 and its spacing, if one was seen; NaN where the type alone is known.
    seen: tuple[float, float] | None

    @property
    def threads(self) -> bool:
        """Whether its sweeps may run on several threads."""

    def place(self, x: ArrayLike, args: tuple[Any, ...]) -> tuple[NDArray[Any], bool]:
        """Return the memory to perturb, and whether it is private; refuse what f would not see change."""

    def value(self, x: Any, args: tuple[Any, ...]) -> Any:
        """Return f(x) as a number; `returned` gives it in its own type."""

    def returned(self, x: Any, args: tuple[Any, ...]) -> Any:
        """Return what f returned."""

    def sweep(self, x: Any, args: tuple[Any, ...], rule: Rule, where: Any, out: Floats) -> Any:
        """Return the work of `rule`, a `Sweep`; TypeError or ValueError if this kind has no such rule."""

    def at_once(self, x: Any, args: Any, rule: Rule, where: Any, out: Floats, size: int | None = None) -> int:
        """Do a short sweep without making one, and return its flags, or -1: a shortcut that takes 0.6 us less."""


def as_objective(f: Any, args: Any, batch_bytes: int | None = None, bounds: Bounds | None = None) -> Objective:
    """Recognise the kind of `f`; unless `batch_bytes` is None it takes batches of points of so many bytes.

    Raises
    ------
    TypeError
        If `f` is not callable, `args` is not a tuple or `batch_bytes` no integer.
    ValueError
        If `batch_bytes` is below 1.
    """
    # The two kinds that small calls have come first: each look that follows takes time that such a call would show.
    known: Objective | None = KNOWN_COMPILED.get(id(f))
    if known is not None and batch_bytes is None and args.__class__ is tuple:
        return known
    if not isinstance(args, tuple):
        raise TypeError(f"args must be a tuple, got {describe(args)}; write args=(a,) for one argument")
    if batch_bytes is not None:
        batch_bytes = whole_number("batch_bytes", batch_bytes, 1)
        if not callable(f) or hasattr(f.__class__, "_as_objective"):
            raise TypeError(f"vectorized=True needs an f that takes a batch of points, got {describe(f)}")
        ends_at = None if bounds is None else partial(limits, bounds=bounds)
        is_python = f.__class__ is FunctionType or not is_compiled(f)  # to ask takes a hundredth of a small gradient
        return VectorizedObjective(f, batch_bytes, None if is_python else as_objective(f, args).place, ends_at)
    if f.__class__ is FunctionType:
        return PythonObjective(f)
    # Asked of the class: an instance with a `__getattr__` of its own may answer to any name.
    own: Callable[[Any], Objective] | None = getattr(f.__class__, "_as_objective", None)
    if own is not None:
        return own(f)
    if is_compiled(f):
        from .objectives.compiled import objective_of

        return objective_of(f)
    if not callable(f):
        raise TypeError(f"f must be callable, got {describe(f)}")
    return PythonObjective(f)


def is_perturbed(objective: Any) -> bool:
    """Tell whether f is evaluated next to x: not one that gives its differences itself."""
    return objective.has_descent or isinstance(objective, PythonObjective) or hasattr(objective.f, "_hessian")


def is_due(objective: Any) -> bool:
    """Tell whether f is to be looked at for noise: a compiled one at its first call, and after 2, 4, 8 ... of these."""
    return isinstance(objective, PythonObjective) or (objective.has_descent and objective.kernels.is_due())


def as_workers(workers: Workers, objective: Objective) -> Workers:
    """Return `workers` as a number of threads, or as the engine that maps over tasks in other processes.

    Raises
    ------
    TypeError, ValueError
        If it is neither a whole number from 1, -1 for all cores, nor callable, or if `objective` can use no second
        thread.
    ImportError
        If processes are needed and joblib is not installed.
    """
    if workers.__class__ is int and workers == 1:
        return 1
    if callable(workers):
        return workers
    if hasattr(workers, "map"):  # an executor or a client
        own = "client.get_executor().map" if hasattr(workers, "get_executor") else "its .map"
        raise TypeError(f"workers must be a number or map-like, got {type(workers).__name__}; pass {own}")
    count = whole_number("workers", workers, -sys.maxsize)
    if count < 1 and count != -1:
        raise ValueError(f"workers must be at least 1, or -1 for all cores, got {count}")
    count = min(available_cores() if count == -1 else count, MOST_WORKERS)
    if count > 1 and isinstance(objective, PythonObjective):
        return joblib_engine(count)
    if count > 1 and not objective.threads:
        raise TypeError(
            f"workers={count} needs an f compiled without parallel=True, and so what it calls: this one starts threads "
            f"of its own"
        )
    return count


def differentiate(
    objective: Objective,
    x: Any,
    args: tuple[Any, ...],
    plan: tuple[Rule, Any],
    out: Floats,
    workers: Workers = 1,
    progress: Progress = False,
) -> int:
    """Write what a ``rule, where = plan`` makes of f near `x` to the rows of `out`; return flags, and never warn."""
    rule, where = plan
    if progress is False and workers == 1:
        flags = objective.at_once(x, args, rule, where, out)
        if flags >= 0:
            return flags
    if not len(out):
        return 0
    sweep = objective.sweep(x, args, rule, where, out)
    if progress is False:
        return run(sweep, workers)
    with reporting(progress, len(out)) as report:
        # A unit may do several coordinates.
        return run(sweep, workers, report and (lambda done: report(done * len(out) // sweep.size)))


def run(sweep: Sweep, workers: Workers = 1, report: Report | None = None) -> int:
    """Do all units of a sweep on threads, or through an engine, and return the flags."""
    try:
        flags = _run_units(sweep, workers, report)
    finally:
        sweep.gather()
    return flags | sweep.finish()


def _run_units(sweep: Sweep, workers: Workers, report: Report | None) -> int:
    if callable(workers):
        return distribute(workers, sweep, report)
    throughput = sweep.throughput
    # Without a throughput nothing is cut: a Python f sees Ctrl-C itself.
    if report is None and (throughput is None or throughput.is_short(sweep.size, sweep.cost, workers)):
        return sweep.run_range(sweep.thread_state(), 0, sweep.size)
    return (throughput or Throughput()).run(sweep, workers, report)


def check_progress(progress: Progress) -> None:
    """Raise unless `progress` is a bool or a callable.

    Raises
    ------
    TypeError
        If it is neither.
    ImportError
        If it is True and tqdm is not installed.
    """
    if not isinstance(progress, bool) and not callable(progress):
        raise TypeError(f"progress must be a bool or a callable, got {describe(progress)}")
    if progress is True:
        needed(*_TQDM)


@contextmanager
def reporting(
    progress: Progress, total: int, unit: str = "coordinate", size: int = 1
) -> Iterator[Callable[..., object] | None]:
    """Give what is to be called with the number of coordinates done: a tqdm bar's, the user's own, or None.

    A bar counts each `unit`, of so many coordinates, and shows the time left and a note, such as the loss, that may
    be given after the number.
    """
    if progress is True:
        count = total // size
        with needed(*_TQDM).tqdm(total=count, unit=unit, unit_scale=count >= _LONG) as bar:

            def show(done: int, note: str = "") -> None:
                if note:
                    bar.set_postfix_str(note, refresh=False)
                bar.update(done // size - bar.n)  # tqdm wants what was added, and counts itself

            yield show
    elif callable(progress):
        yield lambda done, _="": progress(done, total)
    else:
        yield None


def after(report: Report | None, before: int) -> Progress:
    """Return the progress of a part of the work, of which so many units are done before."""
    return False if report is None else lambda done, _: report(before + done)


def eps_of_values(objective: Objective, x: Any, args: tuple[Any, ...]) -> tuple[float, float]:
    """Return f(x), NaN if it is not asked again, and the relative spacing of what f returns, of float64 at least."""
    known = objective.eps_at(x, args) if hasattr(objective, "eps_at") else None
    if known is not None:  # a compiled f has the type of its result in its signature
        return math.nan, known
    returned = objective.returned(x, args)
    return real_number(returned), max(EPS, resolution(np.asarray(returned)))


def warn_of_digits(value: float, eps: float, h: Any, gradient: Floats) -> None:
    """Warn if one step h leaves fewer than three digits of the largest element of a derivative of such values of f."""
    if eps <= EPS or not isinstance(h, Real):
        return
    sizes = np.abs(np.asarray(gradient)).reshape(-1)
    finite, kind = sizes[np.isfinite(sizes)], "float16" if eps > 1e-5 else "float32"
    error, largest = eps * abs(value) / float(h), float(finite.max(initial=0.0))
    if len(finite) and error > FEW_DIGITS * largest:
        digits = max(0, round(-math.log10(error / largest))) if largest else 0
        warn(
            f"about {digits} digits of the gradient are right: f returns {kind}, whose error eps |f| / h = "
            f"{error:.1g} is to be compared with {largest:.1g}; pass h='auto', or compute f in float64"
        )


def warn_of_few(what: str, rounding: str, sizes: tuple[float, float], cure: str) -> bool:
    """Tell, and warn, if an error leaves few digits of the largest element: both are `sizes`."""
    error, largest = sizes
    if not FEW_DIGITS * largest < error < math.inf:
        return False
    digits = max(0, round(math.log10(largest) - math.log10(error))) if largest else 0
    warn(
        f"about {digits} digits of the {what} are right: {rounding} {error:.1g}, is to be compared with {largest:.1g}; "
        f"{cure}"
    )
    return True


def warn_of_noise(what: str, error: float, largest: float) -> None:
    """Warn if the noise of f next to x leaves few digits of the largest derivative."""
    warn_of_few(what, "the noise of f next to x, over the step,", (error, largest), "pass longer steps h")


def warn_of_seen(objective: Objective, x: Any, args: tuple[Any, ...], h: Any, gradient: Floats) -> None:
    """Warn of few digits where f has returned numbers of fewer digits than float64."""
    if objective.seen is not None:
        value, eps = objective.seen
        warn_of_digits(objective.value(x, args) if value != value else value, eps, h, gradient)


def seems_ignored(
    objective: Objective, is_private: bool, workers: Workers, flags: int, out: Floats | None = None, at: Any = None
) -> bool:
    """Tell whether nothing responded where an f that ignores its argument reads another array than is perturbed.

    That is so for a private copy of x, and in other processes. Without `out` the flags tell all. An f that is even has
    no differences to both sides either, but another value a step beside x: ``x, args, bounds, steps = at``.
    """
    is_copy = is_private or (callable(workers) and isinstance(objective, PythonObjective))
    if flags & RESPONDED or not is_copy or (out is not None and (not out.size or out.any())):
        return False
    if at is None:
        return True
    x, args, bounds, steps = at
    ends = (-math.inf, math.inf) if bounds is None else limits(x, bounds)
    return is_same_nearby(objective.value, (x, args), lambda flat: np.clip(flat + steps, *ends))


def warn_of(flags: int, h: Any, ignored: bool, x: Any, cure: str = "") -> None:
    """Warn of a step that is lost at `x`, and of an argument that seems to be `ignored`, at the caller's line.

    `cure` is what the caller may pass; 'auto' is no cure of automatic steps.
    """
    if ignored:
        warn(
            "all differences are exactly zero: f may ignore its argument, and read another array than the copy of x "
            "that was perturbed; let f read its argument, or pass the array that it reads, writable and floating, as x"
        )
    if flags & STEP_LOST:
        step = f"h={h:g}" if isinstance(h, float) else "h"
        largest = np.abs(np.asarray(x)[np.isfinite(x)]).max(initial=0.0)
        with np.errstate(over="ignore"):  # next to the largest number
            spacing = float(np.spacing(largest))
        loss = "is below the spacing of the floats near some coordinate of x, and is lost in round-off there"
        if isinstance(h, float) and 1e-3 * h <= spacing < h:
            loss = f"loses up to {spacing / h / 2:.2%} of itself where x + h is rounded, near {largest:.2g}"
        cures = [passed for passed in ("" if isinstance(h, str) else "h='auto'", cure) if passed]
        warn(f"the step {step} {loss}; {'pass ' * bool(cures)}{', or '.join([*cures, 'rescale x'])}")


def warn(message: str) -> None:
    """Issue a RuntimeWarning at the line outside this package that called it."""
    # Counted here, since skip_file_prefixes of warnings.warn came with Python 3.12 and 3.11 is served too.
    # sys._getframe gives one frame; inspect.stack reads the source lines of all.
    level, frame = 1, sys._getframe(0)
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == __name__.partition(".")[0]:
        level, frame = level + 1, frame.f_back  # type: ignore[assignment]
    warnings.warn(message, RuntimeWarning, stacklevel=level)
