"""What second derivatives are made of: second differences of f by coordinates and pairs, or gradients of f."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import driver
from .arguments import ALL_COORDINATES
from .beside import Beside, beside_point, shown_rounding
from .bounds import SPARE_ROOM, Bounds, limits, storable
from .digits import see_noise_of_terms, warn_of_rounding
from .driver import Progress, Workers, differentiate
from .gradient import noise_at, values_near
from .loops import STEP_LOST, Directions, Floats, Indices
from .magnitudes import SMALL, enough, lengthen, with_value
from .points import EPS, largest, parts_of_steps, private_copy, resolution, scales, smallest, where_defined
from .schemes import Scheme, as_scheme, linear_rule, steps_of, stored_steps, sum_of_values

__all__: list[str] = []  # nothing here is public

# By which a longer step is made shorter, to see whether f bends within it.
# Fixed by test_a_hessian_next_to_a_bound_where_f_is_a_root in tests/test_magnitudes.py.
_SHORTER = 16.0
# Times its rounding that an element is at least to which others of its row are compared.
# Fixed by test_elements_that_cancel_at_small_coordinates in tests/test_separable.py.
_CERTAIN = 16.0
# Relative to the step of a second derivative in one variable: that of a Hessian from values. The 8 values of a mixed
# derivative have 1.6 times the round-off of f, where four would have 0.5; twice the step makes up for it.
# Fixed by test_hessian_error in benchmarks/bench_hessian.py.
_LONGER = 2.0

_NO_PAIRS = ALL_COORDINATES, ALL_COORDINATES


def steps_at(x: NDArray[Any], h: Any, scheme: Any, eps: float) -> Floats:
    """Return the step of each coordinate of the plain array `x`, as the points are stored."""
    steps = steps_of(x, h, scheme, eps)
    if isinstance(h, str) and scheme.derivative == 2:
        steps *= _LONGER
    return stored_steps(x, steps)


def within(x: NDArray[Any], steps: Floats, scheme: Scheme, ends: tuple[Floats, Floats]) -> tuple[Floats, NDArray[Any]]:
    """Return steps towards the side with room for one-sided differences, and where the scheme itself has room."""
    values, reach = x.reshape(-1).astype(np.promote_types(x.dtype, np.float64)), scheme.order + 1
    low, high = storable(*ends, x)
    room = np.maximum(high - values, values - low).astype(np.float64)
    # A power of two is what x can move by exactly, and so by a multiple that does not pass the bound.
    with np.errstate(all="ignore"):
        short = np.exp2(np.floor(np.log2(room * (1 - SPARE_ROOM) / reach)))
    tight = room < reach * steps
    if (lost := tight & ~(short > np.abs(values) * resolution(x))).any():
        i = int(lost.argmax())
        raise ValueError(f"the bounds {ends[0][i]} to {ends[1][i]} leave coordinate {i} no room for a step")
    steps = np.where(tight, short, steps)
    steps = np.where(high - values < reach * steps, -steps, steps)
    return steps, has_room(x, steps, scheme, ends)


def has_room(x: NDArray[Any], steps: Floats, scheme: Scheme, ends: tuple[Floats, Floats]) -> NDArray[np.bool_]:
    """Tell for which coordinates of the plain array `x` all points of a scheme are within bounds."""
    points = x.reshape(-1) + np.multiply.outer(scheme.offsets, steps)
    low, high = storable(*ends, x)
    return np.asarray(((low <= points) & (points <= high)).all(axis=0))


def warn_of(
    objective: driver.Objective, at: tuple[Any, tuple[Any, ...]], step: tuple[Any, Floats], ignored: bool
) -> None:
    """Warn of lost steps, and of an f that does not respond to a private copy: all second differences may be 0."""
    (x, args), (h, steps) = at, step
    plain = x.view(np.ndarray)
    if ignored:
        moved = plain + steps.reshape(x.shape)
        ignored = objective.value(moved, args) == objective.value(private_copy(plain), args)
    # Automatic steps are lost beside infinity alone; to look at each coordinate takes twice as long.
    is_safe = isinstance(h, str) and math.isfinite(largest(np.abs(plain)))
    is_lost = not is_safe and (np.abs(plain.reshape(-1)) * resolution(plain) > np.abs(steps)).any()
    driver.warn_of(STEP_LOST if is_lost else 0, h, ignored, x)


class SecondDifferences:
    """An f at a point: its kind, the memory that is perturbed, and the steps and the rule of second differences."""

    def __init__(self, f: Any, x: Any, h: Any, args: tuple[Any, ...], scheme: Any, bounds: Bounds | None) -> None:
        self.objective, self.args, self.h, self.scheme = driver.as_objective(f, args), args, h, scheme
        self.point, self.private = self.objective.place(x, args)
        self.plain = plain = self.point.view(np.ndarray)
        self.value, self.eps = driver.eps_of_values(self.objective, self.point, args) if plain.size else (math.nan, EPS)
        self.rule = linear_rule(scheme, 1 if bounds is None else scheme.order + 3, False, 0.0)
        self.bounds, self.ends = bounds, None if bounds is None else limits(plain, bounds)
        self._take(steps_at(plain, h, scheme, self.eps))
        if self.value != self.value and plain.size:
            self.value = self.objective.value(self.point, args)
        self.rounding = self.eps * abs(self.value)  # how far a value of f may be off
        self.rule, _ = with_value((self.rule, None), self.value)

    @cached_property
    def beside(self) -> Beside:
        """The f beside the point."""
        at = self.point, self.args
        values = partial(values_near, self.objective, at)
        return beside_point(self.objective, at, self.value, values, self.bounds)

    def _take(self, steps: Floats) -> None:
        """Take these steps as far as bounds leave room for them."""
        self.steps, self.inside = steps, np.ones(steps.size, np.bool_)
        if self.ends is not None:
            self.steps, self.inside = within(self.plain, steps, self.scheme, self.ends)

    def differences(self, where: Directions, out: Floats | None = None, **how: Any) -> tuple[Floats, int]:
        """Return the second differences along directions, and flags; one-sided where a member lacks room for both."""
        rule = self.rule
        if self.ends is not None:
            members = where.members if len(where.members) else slice(None)
            inside = np.logical_and.reduceat(self.inside[members], where.starts[:-1])
            # The last row of the table reaches to one side alone: that to which the steps point.
            *data, _, denominators, stored = rule.data
            rule = rule._replace(data=(*data, np.where(inside, 0, len(denominators) - 1), denominators, stored))
        found = np.empty(len(where.starts) - 1) if out is None else out
        return found, differentiate(self.objective, self.point, self.args, (rule, where), found, **how)

    def along(self, pairs: tuple[Indices, Indices], workers: Workers, progress: Progress, found: Floats) -> None:
        """Write the second differences along each coordinate, and then along each of the pairs, to `found`."""
        n, first = self.point.size, self.steps
        _, flags = self._differences(np.arange(n), pairs, found, workers=workers, progress=progress)
        if self.small.any():
            self.rounding = noise_at(self.objective, (self.point, self.args), self.value, self.eps, self.ends)
            if (longer := self._lengthen(found)).any():
                again = np.flatnonzero(longer[pairs[0]] | longer[pairs[1]])
                chosen = pairs[0][again], pairs[1][again]
                found[n + again] = self._differences(ALL_COORDINATES, chosen, workers=workers)[0]
        ignored = driver.seems_ignored(self.objective, self.private, workers, flags, found)
        warn_of(self.objective, (self.point, self.args), (self.h, first), ignored)

    def derivatives(self, found: Floats, pairs: tuple[Indices, Indices]) -> tuple[Floats, Floats, Any]:
        """Return the second derivatives by each coordinate, the mixed ones of the pairs, and what these are made of.

        That is the second differences by each coordinate, twice the mixed ones, and the pairs. The mixed ones are by
        polarisation: what is left of that along both.
        """
        n, steps, (i, j) = self.point.size, self.steps, pairs
        with np.errstate(all="ignore"):
            alone, mixed = found[:n], found[n:] - found[i] - found[j]
            return alone / steps / steps, mixed / (2.0 * steps[i]) / steps[j], (alone, mixed, pairs)

    def undone(self, diagonal: Floats, elements: Floats, pairs: tuple[Any, Any]) -> tuple[Floats, Floats, Any]:
        """Return what these second derivatives are made of."""
        with np.errstate(all="ignore"):
            i, j = (self.steps[each] for each in pairs)
            return diagonal * self.steps * self.steps, elements * (2.0 * i) * j, pairs

    def _differences(
        self, alone: Indices, pairs: tuple[Indices, Indices] = _NO_PAIRS, out: Floats | None = None, **how: Any
    ) -> tuple[Floats, int]:
        """Return the second differences along coordinates alone, and then along pairs of them, and flags."""
        members = np.empty(len(alone) + 2 * len(pairs[0]), np.intp)
        members[: len(alone)], members[len(alone) :: 2], members[len(alone) + 1 :: 2] = alone, *pairs
        starts = np.concatenate([np.arange(len(alone)), np.arange(len(alone), len(members) + 1, 2)])
        return self.differences(Directions(starts, members, self.steps[members]), out, **how)

    @property
    def both_ways(self) -> bool:
        """Whether the scheme has room for the steps of all coordinates, and as much on the other side."""
        if self.ends is None:
            return True
        return bool((self.inside & has_room(self.plain, -self.steps, self.scheme, self.ends)).all())

    @property
    def noise(self) -> Any:
        """How far rounding may put off the second difference along each coordinate, by the weights of its row."""
        return self.rounding * self.rule.amplification(np.where(self.inside, 0, -1))

    @property
    def errors(self) -> Floats:
        """How far rounding may put off the second derivative by each coordinate."""
        return self.noise / self.steps / self.steps  # type: ignore[no-any-return]

    @property
    def small(self) -> NDArray[np.bool_]:
        """The coordinates of which an automatic step may become longer."""
        return np.asarray((scales(self.plain) < SMALL) & isinstance(self.h, str))

    def _lengthen(self, found: Floats) -> NDArray[Any]:
        """Take longer steps where a small coordinate hardly changes f, write those differences, and tell where."""
        plain, own = self.plain, (self.steps, self.inside)
        tried: list[tuple[Floats, Floats, Floats, NDArray[Any]]] = []

        def again(longer: Floats, missing: NDArray[np.bool_]) -> tuple[Floats, Floats, Any]:
            found = np.full(plain.size, math.nan)
            self._take(stored_steps(plain, longer))
            found[missing] = self._differences(np.flatnonzero(missing))[0]
            tried.append((found / self.steps / self.steps, found, self.steps, self.inside))
            # Where bounds limit both, the steps of two rungs are the same but for the rounding of points.
            return tried[-1][0], self.errors, np.round(np.log2(np.abs(self.steps)))

        with np.errstate(all="ignore"):
            alone, rounding = found[: plain.size] / own[0] / own[0], self.errors
            lost = self.small & (np.abs(found[: plain.size]) < enough(self.eps, 2, 2) * self.noise)
        lengthen(alone, plain, np.abs(own[0]), rounding, again, lost)
        self.steps, self.inside = own[0].copy(), own[1].copy()
        for derivatives, differences, steps, inside in reversed(tried):  # of equal ones, the longest steps
            taken = alone == derivatives
            found[: plain.size][taken] = differences[taken]
            self.steps[taken], self.inside[taken] = steps[taken], inside[taken]
        is_longer: NDArray[np.bool_] = self.steps != own[0]
        for i in np.flatnonzero(is_longer).tolist():
            self._shorten(i, abs(own[0][i]), found)
        return is_longer

    def _shorten(self, i: int, first: float, found: Floats) -> None:
        """Take shorter steps for coordinate i while these tell another curvature than rounding makes of it."""
        alone = np.array([i])
        flat = self.plain.reshape(-1)[alone]
        while abs(known := self.steps[i]) > first * _SHORTER:
            self.steps[i] = math.copysign(stored_steps(flat, np.abs([known / _SHORTER]))[0], known)
            seen = where_defined(lambda: self._differences(alone)[0][0])
            with np.errstate(all="ignore"):
                change = math.nan if seen is None else seen / self.steps[i] / self.steps[i] - found[i] / known / known
                if not abs(change) > self.errors[i]:
                    self.steps[i] = known
                    return
            found[i] = seen

    def relative_steps(self) -> Floats:
        """Return the steps, relative to the magnitudes of x; a longer automatic one is that of a larger magnitude."""
        relative: Floats = np.abs(self.steps) / scales(self.plain)
        if (small := self.small).any():
            most = steps_at(np.ones(1, self.plain.dtype), self.h, self.scheme, self.eps)[0]
            relative[small] = np.minimum(relative[small], most)
        return relative

    def unexplained(self, alone: Floats, mixed: Floats, pairs: tuple[Indices, Indices]) -> float:
        """Return what second differences do not explain of that along a random line; see `beyond`."""
        i, j = pairs
        return self.beyond(lambda parts: parts**2 @ alone + (parts[i] * parts[j]) @ mixed)

    def beyond(self, expected: Callable[[Floats], Any]) -> float:
        """Return how far that along a random line is from what is expected; NaN where f is not defined.

        All coordinates move by half of their steps or more, so that an f which rounds them shows that.
        """
        n = self.plain.size
        parts = parts_of_steps(n, self.both_ways)
        with np.errstate(all="ignore"):  # of the smallest numbers
            line = Directions(np.array([0, n]), ALL_COORDINATES, parts * self.steps)
        along = where_defined(lambda: self.differences(line)[0].item())
        with np.errstate(all="ignore"):
            return math.nan if along is None else float(abs(along - expected(parts)))

    def shown_rounding(self, terms: int = 1) -> float:
        """Return how far a value of f may be off, as its noise shows, and 0 where f is not defined.

        That, or the part of one of its terms, counts from now on.
        """
        shown = shown_rounding(self.beside, self.steps)
        self.rounding = max(self.rounding, shown / math.sqrt(terms))
        return shown

    def values(self, moved: list[Indices], part: Any = 1.0) -> Floats:
        """Return f where some coordinates have moved by a part of their steps, or all by one of each."""
        members, found = np.concatenate(moved), np.empty(len(moved))
        where = Directions(np.cumsum([0, *map(len, moved)]), members, part * self.steps[members])
        differentiate(self.objective, self.point, self.args, (sum_of_values(1.0), where), found)
        return found


def own_hessian(f: Any, x: Any, h: Any, options: tuple[Any, ...], workers: Workers, progress: Progress) -> Any:
    """Return the Hessian that an objective gives itself."""
    (args, out, scheme, bounds), central = options, as_scheme("central", 2)
    if out is not None or bounds is not None or as_scheme(scheme, 2) != central:
        raise ValueError(f"the Hessian of {f} is a csr_array by central differences: no out, scheme or bounds")
    driver.check_progress(progress)
    problem = SecondDifferences(f, x, h, args, central, None)
    objective, plain, steps = problem.objective, problem.plain, problem.steps
    workers, (some, read) = driver.as_workers(workers, objective), f._some()
    found = f._hessian(plain, steps, args, workers, progress)
    # Steps follow the magnitudes of x, and are known.
    least = steps_at(np.array([SMALL]), h, central, EPS)[0] if isinstance(h, str) else 0.0
    if smallest(steps) < least:
        noise = noise_at(objective, (plain, args), problem.value, EPS)
        noise = 4.0 * max(noise, EPS * _size_of_terms(some, plain.reshape(-1)[read], args))
        _lengthen_own(found, (plain, steps), lambda longer: f._hessian(plain, longer, args, workers, False), noise)
        problem.steps = np.maximum(steps, least)  # noise is to be seen by steps that may be as long
    warn_of(objective, (plain, args), (h, steps), ignored=False)
    largest = max(float(found.data.max(initial=0.0)), -float(found.data.min(initial=0.0)))
    of_some, looked_at = found, problem
    if some is not f and isinstance(h, str):  # noise is looked for where steps are automatic
        looked_at = SecondDifferences(some, plain.reshape(-1)[read], h, args, central, None)
        looked_at.steps = problem.steps[read]
        of_some = some._hessian(looked_at.plain, looked_at.steps, args, 1, False)
    if see_noise_of_terms(looked_at, of_some, largest, max(1, len(some))):
        problem.rounding = looked_at.rounding
        warn_of_rounding(problem, largest)
    return found


def _size_of_terms(f: Any, x: Floats, args: tuple[Any, ...]) -> float:
    """Return the mean magnitude of the elements of a sum at the flat `x`."""
    found = [0.0]
    for e in range(len(f)):
        z = x[f._members[f._starts[e] : f._starts[e + 1]]]
        found.append(f.element(z, *(() if f.data is None else (f.data[e],)), *args))
    return float(np.mean(np.abs(found)))


def _lengthen_own(found: Any, at_x: tuple[Floats, Floats], hessian: Callable[[Floats], Any], noise: float) -> None:
    """Take again the second derivatives by small coordinates at x, by steps, where the noise of a term hides them."""
    plain, steps = at_x
    with np.errstate(all="ignore"):
        at = np.repeat(np.arange(plain.size), np.diff(found.indptr)), found.indices
        own, rounding = noise / steps / steps, noise / steps[at[0]] / steps[at[1]]
        # An entry that rounding may have made tells nothing of its row, as one by a much smaller coordinate.
        certain = abs(found)
        certain.data[~(certain.data > _CERTAIN * rounding)] = 0.0
        largest = certain.max(axis=0).toarray().reshape(-1)
    # Where the square of a step is 0, so is all that it divides.
    rows = (scales(plain) < SMALL) & ((largest <= enough(EPS, 2, 2) * own) | ~np.isfinite(own))
    lost = rows[at[0]] | rows[at[1]]

    def again(longer: Floats, missing: NDArray[np.bool_]) -> tuple[Floats, Floats, Floats]:  # noqa: ARG001
        own = stored_steps(plain, np.where(rows, longer, steps))
        return hessian(own).data, noise / own[at[0]] / own[at[1]], own[at[0]] + own[at[1]]

    lengthen(found.data, plain, steps, rounding, again, lost)
