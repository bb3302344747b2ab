"""The two sides of a gradient check: f near a point of one or several arrays, and a candidate of the same shape."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import containers, driver
from .arguments import ALL_COORDINATES, FLOAT64, describe, plain_numbers, real_array, real_number
from .bounds import storable
from .driver import Progress, Workers, differentiate
from .loops import Directions, Floats, Indices, Rule, make_directions
from .magnitudes import with_value
from .noise import LOOKS, is_quiet, noise_of, spacings
from .objectives.python import PythonObjective
from .points import EPS, largest, preserving, private_copy, resolution, where_defined
from .schemes import along_rows, rule_at, steps_of, sum_of_values

__all__: list[str] = []  # nothing here is public

# Roundings of f, each eps |f| / h, that the bar of two sweeps allows for: f adds up many terms.
# Fixed by test_right_gradients_pass_and_wrong_ones_fail_at_every_scale_of_x in tests/test_checking.py.
ROUND_OFF = 8.0
# Standard deviations of the rounding of what f returns, in units of eps |f|: less noise than this f cannot have.
# Fixed by test_an_f_that_stays_the_same_has_the_noise_of_its_rounding in tests/test_checking.py.
_ROUNDING = 0.3
# Own steps from a bound, below which a coordinate stays where it is along directions. No tuning: noise reaches 50.
_ROOM = 64.0
# Part of the room along a direction that is used, as a step is asked again that is longer by 2**-14. No tuning.
_SPARE = 0.99
# Part of max(|x|, 1), and multiple of the root mean square of its array, that no step exceeds: f is another there.
# Fixed by "float32 nets, std 0.1" of tests/check_kinds.py.
_FARTHEST, _OF_ARRAY = 0.25, 2.0
# Part of the room between bounds that is a step: two steps of twice its length are within them on one side. No tuning.
_OF_BOUNDS = 0.25
# Numbers of the vectors over all coordinates that are made at a time, 16 bytes each: 16 MB, however many are asked for.
# Fixed by test_the_memory_of_directions_does_not_grow_with_their_number.
_NUMBERS = 10**6
# Offsets and weights of f(x), and of f at a step above x and below.
_ONE_SIDED = np.array([[0.0, 1.0], [0.0, -1.0]]), np.array([[-1.0, 1.0], [1.0, -1.0]])
_BITS = (8, 11, 24)  # of bfloat16, float16 and float32


class Sides:
    """Both sides of a check: f at a point of arrays by name, and a candidate by the same, both after `evaluate`.

    Before it, what is asked for is checked. The name of a single array is ''. Numbers by coordinate are flat arrays of
    all arrays of the point, of which `places` names the slices: the point `flat`, its magnitudes `sizes`, 0 where it
    is not finite, the candidate `whole`, the first, least and largest `steps`, and the bounds `ends`, two infinite
    numbers where there are none. `eps` is the coarsest precision among the point, the candidate and the value of f,
    which has its `own`; `largest` is the largest magnitude of the candidate, `rounding` what an error bar allows f for
    at least; `is_shared` tells that the quotients of all coordinates, each with a step of its own, take a few
    evaluations of f together.
    """

    def __init__(self, f: Callable[..., Any], x: Any, args: tuple[Any, ...], plan: tuple[Any, Any]) -> None:
        self.f, self.args, self.objective = f, args, driver.as_objective(f, args)
        self.workers: Workers = 1
        is_python = isinstance(self.objective, PythonObjective)
        self.is_tree = containers.is_tree(x, is_part=False) or (containers.is_labelled(x) and is_python)
        if self.is_tree and not is_python:
            raise TypeError("a dict of arrays needs a Python f; let it call the compiled one")
        self.whole_x = whole = containers.Container(x)
        self.x, self.views, self.copies, self.places = whole.arrays, whole.views, whole.copies, whole.places
        self.point: Any = whole.like(self.x.values()) if self.is_tree else self.x[""]
        self.of_all = containers.OfFlat(whole, list(self.x.values()), f)
        self.plain = self.objective if driver.is_perturbed(self.objective) else PythonObjective(f)
        self.is_shared = not is_python and hasattr(getattr(self.objective, "f", None), "_hessian")
        self.is_planned = plan[0] is not None or plan[1] is not None
        self.size, self.counts = whole.size, [array.size for array in self.x.values()]
        self.flat = np.asarray(containers.joined(self.x.values()), np.float64)
        self.sizes = np.where(np.isfinite(self.flat), np.abs(self.flat), 0.0)
        self.given = {} if plan[0] is None else self._given(plan[0])
        self.bounds, self.ends = whole.own(plan[1], "bounds"), self._ends(plan[1])

    def evaluate(self, gradient: Any) -> None:
        """Take the candidate, and find the value of f, its precision, and the steps."""
        if callable(gradient):
            point = containers.renewed(self.point) if self.is_tree else self.point
            gradient = self.whole_x.protected(partial(gradient, point, *self.args), "the gradient of f")
        self.notes = _shared(gradient, self.x) if self.is_tree else []
        parts = list(_parts_of(gradient, self.whole_x.given, iter(self.x.values())))
        self.whole = containers.joined(parts)
        objective, memory, args = self.objective_of(None, self.objective)
        returned = objective.returned(memory, args)
        self.value, self.own = real_number(returned), resolution(np.asarray(returned))
        self.eps = max([self.own, *map(resolution, self.x.values()), *map(resolution, parts)])
        self.rounding, self.least_noise = ROUND_OFF * self.eps * abs(self.value), _ROUNDING * self.own * abs(self.value)
        self.largest = float(max(largest(np.abs(self.whole)), 0.0))
        self.steps = self.steps_for(1.0)

    def known(self, name: str) -> tuple[Floats, Floats, Floats] | None:
        """Return gradient, error bars, and what part of these kinks at x make, where the kind of f has its own.

        It is None where somebody asked for steps.
        """
        slopes = None if self.is_planned else getattr(self.objective, "slopes", None)
        return None if slopes is None else slopes(self.point, self.args, name)

    def _ends(self, bounds: Any) -> tuple[Any, Any]:
        """Return the outermost numbers within the bounds that x stores: what lies between stays between."""
        if bounds is None or (ends := self.whole_x.limits(bounds)) is None:
            return -math.inf, math.inf
        for name, place in self.places.items():
            ends[0][place], ends[1][place] = storable(ends[0][place], ends[1][place], self.x[name])
        return ends

    def _given(self, h: Any) -> dict[str, Floats]:
        """Return the steps that were asked for, by the names of the arrays."""
        own = {name: given for name, given in self.whole_x.own(h, "h").items() if given is not None}
        plain = {name: private_copy(plain_numbers(given, "h")) for name, given in own.items()}
        return {name: steps_of(self.x[name], given, "central", EPS) for name, given in plain.items()}

    def steps_for(self, length: float) -> Floats:
        """Return the steps: as for an f that changes over that length or x, or what was asked for."""
        # Powers of 2: where f stores x in fewer digits, x + h and x - h are rounded alike.
        steps = np.exp2(np.rint(np.log2(np.cbrt(self.eps) * np.fmax(self.sizes, length))))
        for name, given in self.given.items():
            least = self.least[self.places[name]]
            steps[self.places[name]] = np.where(given < least / 16.0, least, given)  # not lost in the rounding of x
        return np.asarray(np.fmin(steps, self.widest))

    @cached_property
    def widest(self) -> Floats:
        """The largest step of each coordinate for which bounds leave room, twice as long and on one side alone."""
        widest = _OF_BOUNDS * (self.ends[1] - self.ends[0])
        return np.where(widest > 0.0, widest, math.inf)

    @cached_property
    def least(self) -> Floats:
        """The smallest step of each coordinate: four of the spacings of what x stores; 0 where no step moves it."""
        eps = np.repeat([resolution(array) for array in self.x.values()], self.counts)
        return np.asarray(4.0 * eps * self.sizes)

    @cached_property
    def farthest(self) -> Floats:
        """The largest step of each coordinate: beyond it, f is no longer what it is at x."""
        sizes = [rms(part[np.isfinite(part)]) for part in (self.flat[place] for place in self.places.values())]
        least = min((size for size in sizes if size), default=math.inf)
        scales = np.repeat([size or least for size in sizes], self.counts)
        reach = np.fmin(_FARTHEST * np.fmax(np.abs(self.flat), 1.0), _OF_ARRAY * scales)
        return np.asarray(np.clip(reach, 4.0 * self.steps, self.widest))

    @cached_property
    def room(self) -> Floats:
        """1 for each coordinate that may move along a direction, and 0 next to a bound."""
        if isinstance(self.ends[0], float):  # there are none
            return np.ones(self.size)
        return np.asarray(~(np.fmin(self.flat - self.ends[0], self.ends[1] - self.flat) < _ROOM * self.steps), FLOAT64)

    @cached_property
    def centre(self) -> Floats:
        """The way from x to a point next to it from which all coordinates may move both ways, within the bounds."""
        below, above = self.flat - self.ends[0], self.ends[1] - self.flat
        room = np.fmin(_ROOM * self.steps, 0.5 * (below + above))
        return np.asarray(np.fmax(room - below, 0.0) - np.fmax(room - above, 0.0))

    def reach(self, vectors: Floats, way: Any = 0.0) -> Floats:
        """Return how far x, or a point that way from it, may move both ways along each vector within the bounds."""
        room = np.fmin(self.flat - self.ends[0] + way, self.ends[1] - self.flat - way)
        lengths = np.where(vectors == 0.0, math.inf, _SPARE * room / np.abs(vectors))
        return np.asarray(lengths.min(axis=1, initial=math.inf))

    def objective_of(
        self, name: str | None, objective: driver.Objective
    ) -> tuple[driver.Objective, Any, tuple[Any, ...]]:
        """Return the objective of one array, or of all, its memory, and the arguments of f."""
        if not self.is_tree:
            return objective, objective.place(self.point, self.args)[0], self.args
        if name is not None:
            return PythonObjective(containers.OfOneArray(self.f, self.whole_x, name, self.args)), self.x[name], ()
        return PythonObjective(self.of_all), containers.joined(self.views.values()), self.args

    def quotients(self, name: str, own: Indices, factor: float, progress: Progress = False) -> Floats:
        """Return the quotients of some coordinates of one array, for `factor` times their steps."""
        objective, memory, args = self.objective_of(name, self.objective)
        h: Any = (factor * self.steps[self.places[name]]).reshape(self.x[name].shape)
        if not driver.is_perturbed(objective):
            h = float(np.median(h)) if h.size else 1.0
        out = np.empty(len(own))
        plan = with_value(rule_at(memory, h, "central", self.bounds[name], own), self.value)
        differentiate(objective, memory, args, plan, out, self.workers, progress)
        return out

    def one_sided(self, name: str, own: Indices, steps: Floats) -> Floats:
        """Return quotients of some coordinates of one array, by signed steps; next to a bound, those within it."""
        objective, memory, args = self.objective_of(name, self.plain)
        x, low, high = (np.broadcast_to(end, self.size)[self.places[name]][own] for end in (self.flat, *self.ends))
        most, out = np.finfo(self.x[name].dtype).max, np.empty(len(own))
        is_below = np.where(steps < 0.0, x + steps >= np.fmax(low, -most), x + steps > np.fmin(high, most))
        rule = Rule(make_directions, (self.value, 0.0, *_ONE_SIDED, is_below.astype(np.intp), np.ones(2), True))
        plan = rule, Directions(ALL_COORDINATES, own, np.abs(steps))
        differentiate(objective, memory, args, plan, out, self.workers)
        return out

    def blocks(self, count: int) -> list[Indices]:
        """Return the indices of so many vectors in blocks; the vectors of a block are made at once."""
        length = max(1, _NUMBERS // max(1, self.size))
        return [np.arange(first, min(first + length, count)) for first in range(0, count, length)]

    def values(self, where: Directions, signs: tuple[float, ...] = (1.0,), **how: Any) -> Floats:
        """Return f at displaced points, one a direction over all arrays; or the sum of signs times f."""
        objective, memory, args = self.objective_of(None, self.plain)
        out = np.empty(len(where.starts) - 1)
        work = partial(differentiate, objective, memory, args, (sum_of_values(*signs), where), out, **how)
        preserving(list(self.views.values()), lambda _: work()) if self.is_tree else work()
        return out

    def slopes(self, name: str, own: Indices, steps: Floats) -> tuple[Floats, Floats]:
        """Return slopes and jumps of some coordinates of one array; next to a bound both sides are that within it."""
        both, h, units = np.concatenate([own, own]), np.concatenate([steps, -steps]), np.arange(2 * len(own))
        # Where coordinates share their evaluations, each moves once a sweep.
        sweeps = np.split(units, np.flatnonzero(np.diff(both) <= 0) + 1) if self.is_shared else [units]
        above, below = _where_defined(lambda k: self.one_sided(name, both[k], h[k]), sweeps).reshape(2, -1)
        return 0.5 * above + 0.5 * below, above - below  # their sum may overflow

    def along(self, vectors: Floats, steps: Floats) -> tuple[Floats, Floats]:
        """Return slopes and jumps of f along vectors over all arrays."""
        both = np.concatenate([vectors, -vectors]) * np.concatenate([steps, steps])[:, np.newaxis]
        blocks = self.blocks(len(both))
        above, below = _where_defined(lambda k: self.values(along_rows(both[k])), blocks).reshape(2, -1)
        return (above - below) / (2.0 * steps), (above - 2.0 * self.value + below) / steps

    @cached_property
    def noise(self) -> float:
        """The standard deviation of f near x, measured along two random lines and by a second value at x."""
        if not math.isfinite(self.value) or not self.size:
            return 0.0
        objective, memory, args = self.objective_of(None, self.plain)
        again = float(objective.value(memory, args))
        if random := abs(again - self.value) if math.isfinite(again) else 0.0:
            note = f"f is random: two values at x differ by {random:.1e}; fix its seed, or turn its dropout off"
            self.notes.append(note)
        steps = spacings(self.steps, self.least)
        # Jumps are sought along one line: a search takes some ten evaluations.
        along = [self._noise_along(steps, k, jumps=k == 0) for k in range(2)]
        return max(self.least_noise, random, *along)

    @cached_property
    def noise_of_all(self) -> float:
        """The same where all coordinates move: it has the noise of an f that stores all of x in fewer digits."""
        shortest, jumps = spacings(0.0 * self.least, self.least), not is_quiet(self.noise, self.value)
        return max(self.noise, self._noise_along(shortest, 2, LOOKS, jumps))

    def moved_by_storing(self, least: float) -> float:
        """Return by how much slopes differ if f rounds all of x to fewer bits, as a net that casts its weights, else 0.

        The slopes of f are then those at the rounded x, where f has the value that it has at x. A coordinate that would
        be rounded beyond a bound stays. It is not asked where that is below the `least` difference in question.
        """
        parts, powers = np.frexp(self.flat)
        for bits in _BITS:
            floor = math.ldexp(self.largest, 1 - bits)
            if not least <= floor < math.inf:
                break
            stored = np.ldexp(np.rint(np.ldexp(parts, bits)), powers - bits)
            is_free = (self.ends[0] <= stored) & (stored <= self.ends[1]) & np.isfinite(stored)
            moves = np.where(is_free, stored - self.flat, 0.0)
            if moves.any() and self._values_on(moves, [1.0])[0] == self.value:
                return floor
        return 0.0

    def _noise_along(self, steps: Floats, k: int, growths: int = 0, jumps: bool = True) -> float:
        """Return the noise along the line number k, on which each coordinate moves by its step to one side."""
        signs = np.random.default_rng(0).choice([-1.0, 1.0], (3, self.size))[k]
        line, way = self.untied(signs * steps), self.centre
        line = np.where(line == 0.0, steps, line)  # signs of elements that share memory may cancel
        # A coordinate that bounds nearly fix would end the line at once: it stays where it is.
        line[0.5 * (self.ends[1] - self.ends[0]) < _ROOM * self.steps] = 0.0
        base = self._values_on(way, [1.0])[0] if way.any() else self.value
        farthest = self.reach(line[np.newaxis], way)[0]
        return noise_of(lambda places: self._values_on(line, places, way), base, growths, farthest, jumps)

    def _values_on(self, line: Floats, places: list[float], way: Any = 0.0) -> Floats:
        """Return f at some places on a line through x, or through a point that way from x; NaN where f raises."""
        at = np.array(places)
        blocks = self.blocks(len(at))
        return _where_defined(lambda k: self.values(along_rows(way + np.multiply.outer(at[k], line))), blocks)

    def untied(self, vectors: Floats) -> Floats:
        """Return flat vectors with the components of elements that share memory added up, in each of these."""
        arrays = [np.asarray(array) for array in self.x.values()]
        if not any(np.may_share_memory(a, b) for a, b in combinations(arrays, 2)):
            return vectors
        _, same = np.unique(np.concatenate([_addresses(array) for array in arrays]), return_inverse=True)
        return np.array([np.bincount(same, row)[same] for row in np.atleast_2d(vectors)]).reshape(vectors.shape)


def _where_defined(ask: Callable[[Indices], Floats], blocks: list[Indices]) -> Floats:
    """Return what is asked of blocks of lines, NaN for each line where f raises."""
    found = []
    for own in blocks:
        if (values := where_defined(partial(ask, own))) is None:
            values = _where_defined(ask, np.split(own, len(own))) if len(own) > 1 else [math.nan]
        found.append(values)
    return np.concatenate(found)


def _addresses(array: NDArray[Any]) -> NDArray[np.int64]:
    offsets = (np.arange(n) * s for n, s in zip(array.shape, array.strides, strict=True))
    return np.asarray(sum(np.ix_(*offsets), np.int64(array.ctypes.data)), np.int64).reshape(-1)


def rms(array: NDArray[Any]) -> float:
    """Return the root of the mean square, 0 of no elements."""
    return float(np.sqrt(np.mean(np.square(array, dtype=np.float64)))) if array.size else 0.0


def _parts_of(gradient: Any, x: Any, held: Iterator[NDArray[Any]], path: str = "") -> Iterator[NDArray[Any]]:
    """Yield the parts of the candidate as copies, since f may change them, in the order of the leaves of x."""
    label = f"gradient{path}"
    if not containers.is_tree(x, bool(path)):
        containers.in_order(x, **{label: gradient})
        yield _part(gradient, next(held).shape, label)
        return
    if isinstance(x, Mapping):
        if not isinstance(gradient, Mapping) or set(gradient) != set(x):
            got = sorted(gradient) if isinstance(gradient, Mapping) else describe(gradient)
            raise ValueError(f"{label} must have the keys of x, {sorted(x)}, got {got}")
    elif not isinstance(gradient, list | tuple) and getattr(gradient, "shape", ())[:1] != (len(x),):
        raise ValueError(
            f"x{path} must be one array, got arrays of several shapes; pass one at a time, or with a candidate that "
            f"is a list of {len(x)} parts, got {describe(gradient)}"
        )
    elif len(gradient) != len(x):
        raise ValueError(f"{label} must be a list of {len(x)} parts as x, got {describe(gradient)}")
    for key in x if isinstance(x, Mapping) else range(len(x)):
        yield from _parts_of(gradient[key], x[key], held, f"{path}[{key!r}]")


def _shared(gradient: Any, x: dict[str, NDArray[Any]]) -> list[str]:
    """Return a line on parts of the candidate that share memory where those of x do not: one was overwritten."""
    held = {containers.named(path): part for path, part in containers.leaves(gradient) if isinstance(part, np.ndarray)}
    pairs = [(a, b) for a, b in combinations(held, 2) if np.may_share_memory(held[a], held[b])]
    apart = [pair for pair in pairs if set(pair) <= set(x) and not np.may_share_memory(x[pair[0]], x[pair[1]])]
    return [f"the candidate's {a} and {b} share memory: was one overwritten by the other?" for a, b in apart[:1]]


def _part(part: Any, shape: tuple[int, ...], label: str) -> NDArray[Any]:
    if isinstance(part, tuple) and any(getattr(one, "ndim", 0) for one in part):
        raise TypeError(
            f"{label} must be one array of shape {shape}, got a tuple of {len(part)}, as of a value and a gradient; "
            f"pass the part that is the gradient"
        )
    array = np.array(real_array(part, label), order="C", subok=False)
    if array.shape != shape:
        transposed = " (is it transposed?)" if array.shape == shape[::-1] else ""
        raise ValueError(f"{label} must have the shape of x, {shape}, got {array.shape}{transposed}")
    return array
