"""check_gradient and assert_gradient: judging somebody else's gradient."""

from __future__ import annotations  # naming numpy.random in one would import it, and take 15 ms

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import buffers, hints
from .arguments import describe, finite_real, whole_number
from .gradient import Workers, numerical_gradient, warn_of
from .incremental import IncrementalObjective
from .objectives import PythonObjective, as_objective
from .progress import Progress, Report, check_progress, reporting
from .scalars import real_number

__all__ = ["GradientCheck", "assert_gradient", "check_gradient"]

Floats = NDArray[np.float64]

_KINKS = 8  # failed coordinates of an array that are looked at for a kink
_JUMP = 0.05  # relative difference of the slopes on both sides that is one
_FACTORS = (32.0, 1 / 32, 1024.0, 1 / 1024, 2.0**-20)  # of the step, where the first gave a large error
_FINE = 1e-6  # relative error at which no other step is tried
_UNJUDGED = 0.5  # part of the coordinates that may hide in error bars as large as themselves
_ROUND_OFF = 8.0  # roundings of f, each eps |f| / h, that an error bar allows for at least


@dataclass(frozen=True)
class Worst:
    """A coordinate, or a direction, where candidate and numerical gradient differ the most."""

    name: str
    index: tuple[int, ...]
    candidate: float
    numerical: float
    error: float


@dataclass(frozen=True)
class ArrayCheck:
    """What the check says of one array, or of all directions."""

    ok: bool
    failed: int
    checked: int
    total: int
    max_relative_error: float


@dataclass(frozen=True, repr=False)
class GradientCheck:
    """What `check_gradient` found; printed, it is a table for a bug report.

    Attributes
    ----------
    ok : bool
        Whether the candidate passed everywhere it was checked.
    max_relative_error : float
        The largest ``|a - n| / max(|a|, |n|)`` of candidate a and numerical gradient n, but where both are below atol.
    worst : Worst or None
        Name, index, candidate, numerical value and its error bar, where that is, among those that failed if some did.
    checked, total : int
        Coordinates (or directions) that were compared, and coordinates that there are.
    explained : int
        Differences beyond the tolerance, but within the numerical gradient's own error bar; they pass.
    rtol, atol : float
        The tolerances used, which are wider than those asked for in less than float64.
    arrays : dict of str to ArrayCheck
        The same for each array of a dict; the name is '' for a single one.
    hints : tuple of str
        Usual causes that fit what failed.

    Examples
    --------
    >>> from numgrad import check_gradient
    >>> check = check_gradient(lambda x: x[0] * x[1], [3.0, -2.0], [2.0, 3.0])
    >>> check.ok, check.arrays[""].failed, check.worst.index
    (False, 1, (1,))
    >>> check.hints
    ('only one coordinate is wrong: [1]',)
    """

    ok: bool
    max_relative_error: float
    worst: Worst | None
    checked: int
    total: int
    explained: int
    rtol: float
    atol: float
    arrays: dict[str, ArrayCheck] = field(default_factory=dict)
    hints: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"GradientCheck(ok={self.ok}, max_relative_error={self.max_relative_error:.1e}, checked={self.checked})"

    def __str__(self) -> str:
        lines = [
            f"gradient check {'passed' if self.ok else 'FAILED'}: {self.checked} of {self.total} checked, "
            f"rtol {self.rtol:.1e}, atol {self.atol:.1e}",
            f"{'array':12} {'failed':>8} {'checked':>8} {'total':>10} {'max relative error':>20}",
        ]
        for name, part in self.arrays.items():
            lines.append(
                f"{name or 'x':12} {part.failed:8} {part.checked:8} {part.total:10} {part.max_relative_error:20.2e}"
            )
        if self.worst is not None:
            at = self.worst
            where = f"{at.name}[{', '.join(map(str, at.index))}]"
            lines.append(
                f"worst: {where}: candidate {at.candidate:.9g}, numerical {at.numerical:.9g} +- {at.error:.1e}"
            )
        if self.explained:
            lines.append(f"{self.explained} differences are within the error of the numerical gradient, and pass")
        lines += [f"hint: {hint}" for hint in self.hints]
        return "\n".join(lines)


def check_gradient(
    f: Callable[..., Any],
    gradient: Any,
    x: Any,
    *,
    args: tuple[Any, ...] = (),
    samples: int | None = None,
    directions: int | None = None,
    rtol: float = 1e-5,
    atol: float = 1e-8,
    rng: Any = None,
    progress: Progress = False,
    workers: Workers = 1,
) -> GradientCheck:
    """Compare a gradient with central differences, and say how wrong it is, where, and what may be the cause.

    Parameters
    ----------
    f : callable
        ``f(x, *args) -> float``: any objective that `numerical_gradient` takes.
    gradient : array_like, dict of array_like, or callable
        The candidate, of the shape of `x` (with the keys of `x`), or ``gradient(x, *args)``, which returns it.
    x : array_like or dict of str to array_like
        Where to check. Of a dict, such as the book's ``params``, each array is perturbed in place in turn, as by
        `numerical_gradient`; f receives the dict, or ignores it and reads the same arrays.
    args : tuple, optional
        Further arguments of `f`.
    samples : int, optional
        Check that many random coordinates. Default: all of them.
    directions : int, optional
        Check that many random directions instead, by two evaluations each, whatever the size of `x`. An error in few
        coordinates moves a direction little, so take several.
    rtol, atol : float, default 1e-5 and 1e-8
        A coordinate passes if ``|a - n| <= rtol max(|a|, |n|)``, if both are at most atol in magnitude, or if the
        difference is within the numerical gradient's error bar. Where x, the candidate or f is of less than float64
        precision, both are widened, to the square root of its eps and to eps times the largest candidate.
    rng : numpy.random.Generator or seed, optional
        What chooses samples or directions.
    workers : int or map-like callable, default 1
        What evaluates the coordinates, as for `numerical_gradient`.
    progress : bool or callable, default False
        As for `numerical_gradient`, over the coordinates of the two gradients that are compared for the error bar.

    Returns
    -------
    GradientCheck
        True in ``ok`` if all passed; ``print`` it.

    Raises
    ------
    TypeError, ValueError
        If shapes or keys of `x` and the candidate differ, if both `samples` and `directions` are given, and as
        `numerical_gradient`.

    Notes
    -----
    The step is ``eps**(1/3)`` times the magnitude of the coordinate, or 1 where that is larger. The error bar is three
    times the difference between the quotients for h and 2h, or ``8 eps |f| / h`` if that is larger: four evaluations a
    coordinate, and as many for each other step that is tried where the bar is above 1e-6 of the derivative. A
    direction, along which each coordinate moves by a part of its own step, has the second part alone. If most bars are
    as large as the derivatives, nothing is judged, and the check fails and says so.

    Examples
    --------
    >>> import numpy as np
    >>> from numgrad import check_gradient
    >>> check = check_gradient(lambda x: np.sum(x**3), lambda x: 2 * x**2, np.array([1.0, 2.0, -1.5]))
    >>> print(check)  # doctest: +ELLIPSIS
    gradient check FAILED: 3 of 3 checked, rtol 1.0e-05, atol 1.0e-08
    array          failed  checked      total   max relative error
    x                   3        3          3             3.33e-01
    worst: [1]: candidate 8, numerical 12 +- ...
    hint: the candidate is 0.666667 times the gradient: is a factor missing?
    """
    rtol, atol = finite_real("rtol", rtol), finite_real("atol", atol)
    if rtol < 0.0 or atol < 0.0:
        raise ValueError(f"rtol and atol must not be negative, got {rtol} and {atol}")
    if samples is not None and directions is not None:
        raise ValueError("samples and directions are two ways to check; pass one of them")
    check_progress(progress)
    case = _Case(f, gradient, x, args, workers)
    rtol, atol = max(rtol, math.sqrt(case.eps) if case.eps > buffers.EPS else 0.0), max(atol, case.floor)
    if directions is not None:
        pairs = [case.along_directions(whole_number("directions", directions, 1), np.random.default_rng(rng), progress)]
    else:
        count = case.size if samples is None else min(whole_number("samples", samples, 1), case.size)
        pairs = case.along_coordinates(count, np.random.default_rng(rng), progress)
    return _judge(case, pairs, rtol, atol, directions is None)


def assert_gradient(f: Callable[..., Any], gradient: Any, x: Any, **options: Any) -> None:
    """Raise an AssertionError with the table of `check_gradient` unless the candidate passes; for test suites.

    Parameters and other errors are those of `check_gradient`.

    Examples
    --------
    >>> import numpy as np
    >>> from numgrad import assert_gradient
    >>> assert_gradient(lambda x: np.sum(x**3), lambda x: 3 * x**2, np.array([1.0, 2.0, -1.5]))
    """
    check = check_gradient(f, gradient, x, **options)
    if not check.ok:
        raise AssertionError(str(check))


class Comparison(NamedTuple):
    """Candidate and numerical values of some coordinates of one array, or along some directions."""

    name: str
    shape: tuple[int, ...]
    chosen: NDArray[np.intp]
    candidate: Floats
    numerical: Floats
    error: Floats
    total: int


class _Case:
    """The point and the candidate, as arrays by name; `eps` is the coarsest precision among them and f's value."""

    def __init__(
        self, f: Callable[..., Any], gradient: Any, x: Any, args: tuple[Any, ...], workers: Workers = 1
    ) -> None:
        self.args, self.workers, self.single = args, workers, not isinstance(x, Mapping)
        held = {
            name: buffers.written_through(array, f"x[{name!r}]" if name else "x")[0]
            for name, array in ({"": x} if self.single else dict(x)).items()
        }
        self.x: dict[str, NDArray[Any]] = held
        point = held[""] if self.single else held
        if not all(isinstance(name, str) for name in held):
            raise TypeError(f"the keys of x must be strings, got {list(held)}")
        self.objective = as_objective(f, args)
        if not self.single and not isinstance(self.objective, PythonObjective):
            raise TypeError("a dict of arrays needs a Python f; let it call the compiled one")
        self.f, self.point = f, point
        self.copies = {name for name, array in held.items() if array is not (x if self.single else x[name])}
        candidate = gradient(point, *args) if callable(gradient) else gradient
        self.candidate = {name: _of_shape_of(held, name, candidate, self.single) for name in held}
        if not self.single and set(candidate) != set(held):
            raise ValueError(f"gradient must have the keys of x, {sorted(held)}, got {sorted(candidate)}")
        self.value = self.value_at(point)
        self.size = sum(array.size for array in held.values())
        self.eps = max(map(_eps, (*held.values(), *self.candidate.values(), self.returned)), default=buffers.EPS)
        largest = max((float(np.max(np.abs(a))) for a in self.candidate.values() if a.size), default=0.0)
        self.floor = self.eps * largest if self.eps > buffers.EPS and math.isfinite(largest) else 0.0

    def value_at(self, point: Any) -> float:
        """Return f of the whole point, and keep what it returned in the type that it had."""
        returned = self.f(point, *self.args)
        self.returned = np.asarray(returned)
        return real_number(returned)

    def steps(self, name: str) -> Floats:
        """Return the first step of each coordinate of one array: as for an f that changes over lengths of 1 or x."""
        magnitude = np.abs(self.x[name].astype(np.float64))
        return np.asarray(np.cbrt(self.eps) * np.fmax(np.where(np.isfinite(magnitude), magnitude, 1.0), 1.0))

    def along_coordinates(self, count: int, rng: np.random.Generator, progress: Progress) -> list[Comparison]:
        """Compare `count` coordinates, all or random ones."""
        chosen = np.arange(self.size) if count == self.size else np.sort(rng.choice(self.size, count, replace=False))
        comparisons, first = [], 0
        with reporting(progress, 2 * count) as report:
            done = 0
            for name, array in self.x.items():
                own = chosen[(first <= chosen) & (chosen < first + array.size)] - first
                first += array.size
                numerical, error = self._numerical(name, own, report, done)
                done += 2 * own.size
                candidate = self.candidate[name].reshape(-1)[own].astype(np.float64)
                comparisons.append(Comparison(name, array.shape, own, candidate, numerical, error, array.size))
                if name in self.copies and own.size == array.size and not numerical.any():
                    warn_of(0, math.nan, deaf=array.size > 0, stacklevel=4)
        return comparisons

    def _numerical(self, name: str, own: NDArray[np.intp], report: Report | None, done: int) -> tuple[Floats, Floats]:
        """Return the numerical derivatives and their errors; where these are large, at the best of several steps."""
        best, least = self._with_error(name, own, 1.0, report, done)
        first = least.copy()
        incremental = isinstance(self.objective, IncrementalObjective)
        for factor in () if incremental else _FACTORS:
            poor = ~(least <= _FINE * np.abs(best))
            if not poor.any():
                break
            found, error = self._with_error(name, own[poor], factor)
            with np.errstate(all="ignore"):
                # Round-off falls no faster than 1 / h, truncation than h**2, whatever two quotients make believe.
                error = np.fmax(error, np.where(np.isfinite(first), first, 0.0)[poor] * 2 * min(1 / factor, factor**2))
                better = (error < least[poor]) & ~(np.abs(found - best[poor]) > least[poor])
            places = np.flatnonzero(poor)[better]
            best[places], least[places] = found[better], error[better]
        return best, least

    def _with_error(
        self, name: str, own: NDArray[np.intp], factor: float, report: Report | None = None, done: int = 0
    ) -> tuple[Floats, Floats]:
        """Return the quotients for the steps times `factor`, and their errors from twice these steps and round-off."""
        near = self._quotients(name, own, factor, report, done)
        far = self._quotients(name, own, 2.0 * factor, report, done + own.size)
        steps = factor * self.steps(name).reshape(-1)[own]
        with np.errstate(all="ignore"):
            error = np.fmax(3.0 * np.abs(near - far), _ROUND_OFF * self.eps * abs(self.value) / steps)
        error[~(np.isfinite(near) & np.isfinite(far))] = math.inf
        return near, error

    def _objective_of_an_array(self) -> tuple[Any, tuple[Any, ...]]:
        f, x, args = self.f, self.x, self.args  # and not self, which may not travel to other processes
        return (f, args) if self.single else ((lambda _: f(x, *args)), ())

    def _quotients(self, name: str, own: NDArray[np.intp], factor: float, report: Report | None, done: int) -> Floats:
        f, args = self._objective_of_an_array()
        h: Any = factor * self.steps(name)
        if isinstance(f, IncrementalObjective):
            h = float(np.median(h)) if h.size else 1.0
        further: Progress = False if report is None else lambda now, _: report(done + now)
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore", RuntimeWarning)  # of lost steps, which show in the error, and of f far off
            options: dict[str, Any] = {"progress": further, "workers": self.workers}
            return numerical_gradient(f, self.x[name], h, args=args, coordinates=own, **options)

    def kinked(self, name: str, own: NDArray[np.intp], largest: float) -> bool:
        """Tell whether the slopes on both sides differ at one of the flat coordinates `own` of an array.

        `largest` is the largest derivative: a difference that is small against it is but the curvature.
        """
        if isinstance(self.objective, IncrementalObjective):
            return False
        f, args = self._objective_of_an_array()
        jumps, h = [], self.steps(name)
        for factor in (1.0, 0.1):  # a curvature's jump shrinks with the step
            above, below = (
                numerical_gradient(f, self.x[name], factor * h, args=args, coordinates=own[:_KINKS], scheme=scheme)
                for scheme in ("forward", "backward")
            )
            jumps.append(np.abs(above - below))
        slopes = np.fmax(np.fmax(np.abs(above), np.abs(below)), largest / 10)
        return bool(((jumps[1] > _JUMP * slopes) & (jumps[1] > jumps[0] / 2)).any())

    def along_directions(self, count: int, rng: np.random.Generator, progress: Progress) -> Comparison:
        """Compare the slopes along random directions of length 1."""
        in_place = isinstance(self.objective, PythonObjective)
        point = self.x if in_place else {name: buffers.private_copy(array) for name, array in self.x.items()}
        saved = {name: buffers.native_copy(array) for name, array in point.items()}
        scales = {name: self.steps(name) for name in point}  # so that each coordinate moves by a part of its own size
        candidate, numerical, error = np.empty(count), np.empty(count), np.empty(count)

        def slope(direction: dict[str, Floats], step: float) -> tuple[float, float]:
            values = []
            for h in (step, -step):
                for name, array in point.items():
                    array.view(np.ndarray)[...] = saved[name] + h * direction[name]
                values.append(self.value_at(point[""] if self.single else point))
            round_off = _ROUND_OFF * self.eps * max(map(abs, values)) / step
            return (values[0] - values[1]) / (2 * step), round_off

        try:
            with reporting(progress, count) as report:
                for k in range(count):
                    direction = {name: rng.standard_normal(array.shape) * scales[name] for name, array in point.items()}
                    length = max(float(np.max(np.abs(part), initial=0.0)) for part in direction.values()) or 1.0
                    direction = {name: part / length for name, part in direction.items()}
                    h = (
                        length / 12
                    )  # the farthest coordinate moves by a quarter of its own step: truncation goes unseen
                    candidate[k] = sum(float(np.sum(self.candidate[name] * direction[name])) for name in point)
                    numerical[k], error[k] = slope(direction, h)
                    if report:
                        report(k + 1)
        finally:
            for name, array in self.x.items() if in_place else ():
                array.view(np.ndarray)[...] = saved[name]
        return Comparison("direction", (count,), np.arange(count), candidate, numerical, error, count)


def _of_shape_of(held: dict[str, NDArray[Any]], name: str, candidate: Any, single: bool) -> NDArray[Any]:
    if not single and (not isinstance(candidate, Mapping) or name not in candidate):
        got = sorted(candidate) if isinstance(candidate, Mapping) else describe(candidate)
        raise ValueError(f"gradient must have the keys of x, {sorted(held)}, got {got}")
    array = buffers.real_array(candidate if single else candidate[name], "gradient").copy()  # f may change it
    if array.shape != held[name].shape:
        transposed = " (is it transposed?)" if array.shape == held[name].shape[::-1] else ""
        raise ValueError(
            f"gradient{f'[{name!r}]' if name else ''} must have the shape of x, {held[name].shape}, got "
            f"{array.shape}{transposed}"
        )
    return array


def _eps(array: NDArray[Any]) -> float:
    return float(np.finfo(array.dtype).eps) if array.dtype.kind == "f" else buffers.EPS


def _judge(
    case: _Case, comparisons: list[Comparison], rtol: float, atol: float, along_coordinates: bool
) -> GradientCheck:
    arrays: dict[str, ArrayCheck] = {}
    found: list[str] = []
    explained, worst, badness = 0, None, (-1.0, -1.0)
    for part in comparisons:
        a, n = part.candidate, part.numerical
        size = np.fmax(np.abs(a), np.abs(n))
        difference = np.abs(a - n)
        with np.errstate(all="ignore"):
            relative = np.where((size <= atol) | (difference == 0.0), 0.0, difference / size)
        relative[np.isnan(difference)] = math.inf
        beyond = relative > rtol
        within = beyond & (difference <= part.error) & np.isfinite(part.error)
        hidden = within & (part.error > size)
        if hidden.sum() > _UNJUDGED * max(1, a.size):
            within &= ~hidden
            found.append("the numerical gradient is too rough to judge: its error bars are as large as itself")
        failed = beyond & ~within
        explained += int(within.sum())
        largest = float(relative.max(initial=0.0))
        ok = not failed.any()
        arrays[part.name] = ArrayCheck(ok, int(failed.sum()), a.size, part.total, largest)
        if not ok:
            found += hints.causes(part.shape, part.chosen, a, n, part.error, failed)
            if along_coordinates and case.kinked(part.name, part.chosen[failed], float(np.max(np.abs(n)))):
                found.append("f has a kink at x: its slopes on both sides differ, and the quotients lie between them")
        if relative.size:
            order = relative + np.where(failed, 1e300, 0.0)
            k = int(np.lexsort((difference, order))[-1])
            index = tuple(map(int, np.unravel_index(part.chosen[k], part.shape)))
            if (float(order[k]), float(difference[k])) > badness:
                badness = float(order[k]), float(difference[k])
                worst = Worst(part.name, index, float(a[k]), float(n[k]), float(part.error[k]))
    return GradientCheck(
        ok=all(part.ok for part in arrays.values()),
        max_relative_error=max((part.max_relative_error for part in arrays.values()), default=0.0),
        worst=worst,
        checked=sum(part.checked for part in arrays.values()),
        total=case.size,
        explained=explained,
        rtol=rtol,
        atol=atol,
        arrays=arrays,
        hints=tuple(dict.fromkeys(found)),
    )
