"""check_gradient and assert_gradient: judging somebody else's gradient."""

from __future__ import annotations  # naming numpy.random in one would import it, and take 15 ms

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import buffers, hints
from .arguments import describe, finite_real, whole_number
from .gradient import Workers, numerical_gradient
from .incremental import IncrementalObjective
from .objectives import PythonObjective, as_objective
from .progress import Progress, Report, check_progress, reporting

__all__ = ["GradientCheck", "assert_gradient", "check_gradient"]

Floats = NDArray[np.float64]

_KINKS = 8  # failed coordinates of an array that are looked at for a kink
_JUMP = 0.05  # relative difference of the slopes on both sides that is one
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
    The step is ``eps**(1/3)`` times the magnitude of the coordinate, or a tenth of the median one where that is larger.
    The error bar is the difference between the quotients for h and 2h, which is three truncation errors, or
    ``8 eps |f| / h`` if that is larger: four evaluations a coordinate. A direction has the second part alone.

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
    return _judge(case, pairs, rtol, atol)


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
        self.objective = as_objective(f, args)
        self.f = f
        candidate = gradient(point, *args) if callable(gradient) else gradient
        self.candidate = {name: _of_shape_of(held, name, candidate, self.single) for name in held}
        if not self.single and set(candidate) != set(held):
            raise ValueError(f"gradient must have the keys of x, {sorted(held)}, got {sorted(candidate)}")
        value = f(point, *args)
        self.value = abs(float(value))
        self.size = sum(array.size for array in held.values())
        self.eps = max(map(_eps, (*held.values(), *self.candidate.values(), np.asarray(value))), default=buffers.EPS)
        largest = max((float(np.max(np.abs(a))) for a in self.candidate.values() if a.size), default=0.0)
        self.floor = self.eps * largest if self.eps > buffers.EPS and math.isfinite(largest) else 0.0

    def steps(self, name: str) -> Floats:
        """Return the step of each coordinate of one array."""
        magnitude = np.abs(self.x[name].astype(np.float64))
        finite = magnitude[np.isfinite(magnitude) & (magnitude > 0.0)]
        typical = float(np.median(finite)) if finite.size else 1.0
        return np.asarray(np.cbrt(self.eps) * np.fmax(np.where(np.isfinite(magnitude), magnitude, 1.0), typical / 10))

    def along_coordinates(self, count: int, rng: np.random.Generator, progress: Progress) -> list[Comparison]:
        """Compare `count` coordinates, all or random ones."""
        chosen = np.arange(self.size) if count == self.size else np.sort(rng.choice(self.size, count, replace=False))
        comparisons, first = [], 0
        with reporting(progress, 2 * count) as report:
            done = 0
            for name, array in self.x.items():
                own = chosen[(first <= chosen) & (chosen < first + array.size)] - first
                first += array.size
                near = self._quotients(name, own, 1.0, report, done)
                far = self._quotients(name, own, 2.0, report, done + own.size)
                done += 2 * own.size
                steps = self.steps(name).reshape(-1)[own]
                error = np.fmax(np.abs(near - far), _ROUND_OFF * self.eps * self.value / steps)
                candidate = self.candidate[name].reshape(-1)[own].astype(np.float64)
                comparisons.append(Comparison(name, array.shape, own, candidate, near, error, array.size))
        return comparisons

    def _objective_of_an_array(self) -> tuple[Any, tuple[Any, ...]]:
        f, x, args = self.f, self.x, self.args  # and not self, which may not travel to other processes
        return (f, args) if self.single else ((lambda _: f(x, *args)), ())

    def _quotients(self, name: str, own: NDArray[np.intp], factor: float, report: Report | None, done: int) -> Floats:
        f, args = self._objective_of_an_array()
        h: Any = factor * self.steps(name)
        if isinstance(f, IncrementalObjective):
            h = float(np.median(h)) if h.size else 1.0
        further: Progress = False if report is None else lambda now, _: report(done + now)
        return numerical_gradient(
            f, self.x[name], h, args=args, coordinates=own, progress=further, workers=self.workers
        )

    def kinked(self, name: str, own: NDArray[np.intp], largest: float) -> bool:
        """Tell whether the slopes on both sides differ at one of the flat coordinates `own` of an array.

        `largest` is the largest derivative: a difference that is small against it is but the curvature.
        """
        if name not in self.x or isinstance(self.objective, IncrementalObjective):
            return False
        f, args = self._objective_of_an_array()
        some, h = own[:_KINKS], self.steps(name)
        above, below = (
            numerical_gradient(f, self.x[name], h, args=args, coordinates=some, scheme=scheme)
            for scheme in ("forward", "backward")
        )
        slopes = np.fmax(np.fmax(np.abs(above), np.abs(below)), largest / 10)
        return bool((np.abs(above - below) > _JUMP * slopes).any())

    def along_directions(self, count: int, rng: np.random.Generator, progress: Progress) -> Comparison:
        """Compare the slopes along random directions of length 1."""
        in_place = isinstance(self.objective, PythonObjective)
        point = self.x if in_place else {name: buffers.private_copy(array) for name, array in self.x.items()}
        saved = {name: buffers.private_copy(array) for name, array in point.items()}
        h = min((float(np.median(self.steps(name))) for name in point if point[name].size), default=1.0)

        def value_at(direction: dict[str, Floats], step: float) -> float:
            for name, array in point.items():
                array.view(np.ndarray)[...] = saved[name] + step * direction[name]
            return float(self.f(point[""] if self.single else point, *self.args))

        candidate, numerical = np.empty(count), np.empty(count)
        try:
            with reporting(progress, count) as report:
                for k in range(count):
                    direction = {name: rng.standard_normal(array.shape) for name, array in point.items()}
                    length = math.sqrt(sum(float(np.sum(part**2)) for part in direction.values())) or 1.0
                    direction = {name: part / length for name, part in direction.items()}
                    candidate[k] = sum(float(np.sum(self.candidate[name] * direction[name])) for name in point)
                    numerical[k] = (value_at(direction, h) - value_at(direction, -h)) / (2 * h)
                    if report:
                        report(k + 1)
        finally:
            for name, array in self.x.items() if in_place else ():
                array.view(np.ndarray)[...] = saved[name]
        error = np.full(count, _ROUND_OFF * self.eps * self.value / h)
        return Comparison("direction", (count,), np.arange(count), candidate, numerical, error, count)


def _of_shape_of(held: dict[str, NDArray[Any]], name: str, candidate: Any, single: bool) -> NDArray[Any]:
    if not single and (not isinstance(candidate, Mapping) or name not in candidate):
        got = sorted(candidate) if isinstance(candidate, Mapping) else describe(candidate)
        raise ValueError(f"gradient must have the keys of x, {sorted(held)}, got {got}")
    array = buffers.real_array(candidate if single else candidate[name], "gradient")
    if array.shape != held[name].shape:
        transposed = " (is it transposed?)" if array.shape == held[name].shape[::-1] else ""
        raise ValueError(
            f"gradient{f'[{name!r}]' if name else ''} must have the shape of x, {held[name].shape}, got "
            f"{array.shape}{transposed}"
        )
    return array


def _eps(array: NDArray[Any]) -> float:
    return float(np.finfo(array.dtype).eps) if array.dtype.kind == "f" else buffers.EPS


def _judge(case: _Case, comparisons: list[Comparison], rtol: float, atol: float) -> GradientCheck:
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
        within = beyond & (difference <= part.error)
        failed = beyond & ~within
        explained += int(within.sum())
        largest = float(relative.max(initial=0.0))
        ok = not failed.any()
        arrays[part.name] = ArrayCheck(ok, int(failed.sum()), a.size, part.total, largest)
        if not ok:
            found += hints.causes(part.shape, part.chosen, a, n, part.error, failed)
            if case.kinked(part.name, part.chosen[failed], float(np.max(np.abs(n)))):
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
