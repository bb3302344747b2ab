"""The numerical side of a gradient check: derivatives with error bars, by coordinates or along directions."""

from __future__ import annotations  # naming numpy.random in one would import it, and take 15 ms

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import buffers
from .arguments import describe
from .gradient import Workers, numerical_gradient, warn_of
from .incremental import IncrementalObjective
from .objectives import as_objective
from .progress import Progress, Report, reporting
from .python_objectives import PythonObjective
from .scalars import real_number

Floats = NDArray[np.float64]

_KINKS = 8  # failed coordinates of an array that are looked at for a kink
_JUMP = 0.05  # relative difference of the slopes on both sides that is one
_FACTORS = (32.0, 1 / 32, 1024.0, 1 / 1024, 2.0**-20)  # of the step, where the first gave a large error
_FINE = 1e-6  # relative error at which no other step is tried
_ROUND_OFF = 8.0  # roundings of f, each eps |f| / h, that an error bar allows for at least


class Comparison(NamedTuple):
    """Candidate and numerical values of some coordinates of one array, or along some directions."""

    name: str
    shape: tuple[int, ...]
    chosen: NDArray[np.intp]
    candidate: Floats
    numerical: Floats
    error: Floats
    total: int


class Case:
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
        self.f = f
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
        """Compare the slopes along random directions, whose largest component is 1."""
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
                    h = length / 12  # the farthest moves by a quarter of its own step: truncation goes unseen here
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
