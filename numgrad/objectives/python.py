"""Python callables as objectives: one point at a time, in place, or a batch of points at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any
from weakref import ref

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import arguments, loops, points
from ..arguments import ALL_COORDINATES, describe, imaginary_part, raise_argument_changed, real_array, real_number
from ..loops import Directions, Floats, Indices, Loop, Rule, make_central, make_complex_step, make_directions
from ..points import FLOAT64, LOSS_EPS, cells, fast, is_unchanged, native_copy, numbers, private_copy, still_holds
from ..threads import Sweep

__all__: list[str] = []  # nothing here is public

# Elements below which memory is compared here at once, in a third of the time of a call of `is_unchanged`.
# Fixed by "Python function_2, n = 2" in benchmarks/compare_versions.py.
_FEW = 100
# Copies of one point in a batch, of which f must make the same but for rounding, where it writes to its batch: by how
# much, relative to it. Fixed by test_a_vectorized_f_that_writes_to_some_points_is_found in tests/test_arguments.py.
_ALIKE, _SAME = 5, 1e-6


class PythonObjective:
    """A Python callable: called in place, on the caller's own array.

    The `as_number` that is given turns what it returns into what the loops add.
    """

    has_descent = False
    seen: tuple[float, float] | None = None  # a value of fewer digits than float64 that f has returned, and its spacing
    threads = False  # the interpreter runs one at a time, and f may read the very array that is perturbed

    def __init__(self, f: Callable[..., Any], as_number: Callable[[Any], Any] = real_number) -> None:
        self.f, self._as_number = f, as_number

    def as_number(self, value: Any) -> Any:
        """Return what the loops add for a value of f that is no plain float."""
        number = self._as_number(value)
        # Asked of the type first: to make an array of a value may compute it again.
        if self.seen is None and getattr(getattr(value, "dtype", None), "itemsize", 8) < 8:
            array = np.asarray(value)
            if points.is_narrow(array) and np.all(number == number):
                self.seen = number, points.resolution(array)
        return number

    def place(self, x: ArrayLike, args: tuple[Any, ...]) -> tuple[NDArray[Any], bool]:  # noqa: ARG002
        """Return the memory to perturb, and whether it is a private copy of `x`."""
        if x.__class__ is np.ndarray and x.dtype is FLOAT64 and x.flags.carray:
            return x, False
        return points.written_through(real_array(x), x)

    def evaluate(self, x: Any, args: tuple[Any, ...]) -> Any:
        """Return f(x) as a number, for a loop that protects the memory."""
        value = self.f(x, *args)
        # Where the class tells all, in a half of the time of `as_number`.
        is_plain = value.__class__ is float or value.__class__ is np.float64
        return float(value) if is_plain and self._as_number is real_number else self.as_number(value)

    def value(self, x: Any, args: tuple[Any, ...]) -> Any:
        """Return f(x) as a number; ValueError if f writes to its argument."""
        return self.as_number(self.returned(x, args))

    def returned(self, x: Any, args: tuple[Any, ...]) -> Any:
        """Return what f returned; ValueError if f writes to its argument."""
        found, unchanged = points.watched([x], lambda: self.f(x, *args))
        if not unchanged:
            raise_argument_changed()
        return found

    def sweep(self, x: Any, args: tuple[Any, ...], rule: Rule, where: Any, out: Floats) -> PythonSweep:
        """Return the work of `rule` at the memory `x`."""
        if rule.make is make_complex_step and x.size:
            point = x.view(np.ndarray).astype(np.complex128)
            points.check_argument_is_all(self.f, x, lambda: self.f(point.copy(), *args))
        return PythonSweep(self, x, args, rule, where, out)

    def at_once(self, x: Any, args: Any, rule: Rule, where: Any, out: Floats, size: int | None = None) -> int:  # noqa: ARG002
        """Do the whole sweep here and now, since a Python f sees Ctrl-C itself, and return its flags."""
        if not len(out):
            return 0
        is_plain = x.__class__ is np.ndarray and x.dtype is FLOAT64 and x.flags.carray
        if rule.make is make_central and is_plain and self.__class__ is PythonObjective:
            memory, saved = x[...], x.copy()
            # A vector has them without a call.
            flat = (memory.data, saved.data) if x.ndim == 1 else (cells(memory), numbers(saved))
            units = (self.f, self.as_number, rule.data[0], LOSS_EPS, False), args, where, 0, len(out), out.data
            return run_in_place(memory, saved, loops.interpreted_central, (x, *flat), units)
        sweep = self.sweep(x, args, rule, where, out)
        return sweep.run_range(sweep.thread_state(), 0, sweep.size)


def run_in_place(memory: NDArray[Any], saved: NDArray[Any], loop: Loop, state: Any, units: Any) -> int:
    """Return the flags of a loop that moves `memory`, a view of what the caller gave, which is restored after any exit.

    Raises
    ------
    ValueError
        If f has written to the memory.
    """
    owner, x, shape = memory.base, state[0], memory.shape
    held = ref(owner) if owner.__class__ is np.ndarray else None  # see `points.held_in_place`
    try:
        flags = loop(state, *units)
        unchanged = (memory.size < _FEW and memory.tobytes() == saved.tobytes()) or is_unchanged(memory, saved)
    finally:
        # An assignment, not a call: CPython raises a pending Ctrl-C at calls and jumps, so none can come between.
        memory[...] = saved
        if x.shape != shape:  # f may have set it, which changes no value of it
            x.shape = shape
    del held
    if not unchanged or flags & loops.ARGUMENT_CHANGED:
        raise_argument_changed()
    return flags


class PythonSweep(Sweep):
    """Units of work for a Python callable, all on the same memory, which is restored after each range."""

    one_by_one = True

    def thread_state(self) -> Any:
        """Return the memory that is perturbed: the caller's own, but for a complex step."""
        is_complex = self.rule.make is make_complex_step
        return self.x.view(np.ndarray).astype(np.complex128, order="C") if is_complex else self.x

    def run_range(self, state: Any, start: int, stop: int) -> int:
        """Do the units start <= k < stop in place; ValueError if f has written to the memory."""
        # A view, which stays writable and of this shape, whatever f does to x; a subclass may do more than assign.
        memory = state[...] if state.__class__ is np.ndarray else state.view(np.ndarray)
        saved = native_copy(memory)
        loop, data, where, out = self._units()
        point, origin = cells(memory), numbers(saved)  # type: Any, Any
        if where.__class__ is Directions:  # that NumPy moves
            point, origin = memory.reshape(-1) if memory.flags.c_contiguous else memory.flat, saved.reshape(-1)
        return run_in_place(memory, saved, loop, (state, point, origin), (data, self.args, where, start, stop, out))

    def _units(self) -> tuple[Loop, Any, Any, Any]:
        """Return the loop, its data, where, and the rows of the result, as what is indexed fast."""
        (make, data), objective, where, out = self.rule[:2], self.objective, self.where, self.out
        if make is make_central:
            data = objective.f, objective.as_number, data[0], points.loss_eps(self.x), points.is_narrow(self.x)
            return loops.interpreted_central, data, where, out.data
        if make is not make_directions and make is not make_complex_step:
            return (self.rule.interpreted or make)(objective.evaluate, loops.plain), data, where, out.data
        if make is make_complex_step:
            objective = PythonObjective(objective.f, imaginary_part)
        data, where = self.fast_units()
        if len(self.where.starts) and not (make is make_directions and _are_pairs(self.where)):
            return interpreted_members, (objective.evaluate, *_with_terms(data)), where, out
        if make is make_directions:
            known = objective.f, objective.as_number, *_with_terms(data)
            return loops.interpreted_directions, known, tuple(map(fast, self.where)), out.data
        return make_directions(objective.evaluate, loops.plain, MOVERS), data, where, out.data

    def fast_units(self) -> tuple[Any, Any]:
        """Return the data of a scheme, and where, as what is indexed fast."""
        base, eps, *tables, is_stored = self.rule.data
        if len(self.where.starts):
            return (base, eps, *map(fast, tables), is_stored), self.where._replace(starts=self.where.starts.tolist())
        is_stored = is_stored or (self.rule.make is make_directions and points.is_narrow(self.x))
        return (base, eps, *map(fast, tables), is_stored), tuple(map(fast, self.where))

    def value_at(self, offsets: NDArray[Any]) -> float:
        """Return f where x has moved by `offsets`; of a complex step, Re f and what Im f is to the longest offset."""
        if self.rule.make is make_complex_step:
            point = self.x.view(np.ndarray).astype(np.complex128)
            point += np.broadcast_to(offsets, point.size).reshape(point.shape)
            value = complex(np.asarray(self.objective.f(point, *self.args)).item())
            return float(value.real + value.imag / (np.abs(offsets).max() or 1.0))
        memory = self.x.view(np.ndarray)

        def moved(saved: list[NDArray[Any]]) -> Any:
            memory[...] = (saved[0].reshape(-1) + offsets).reshape(memory.shape)
            return self.objective.evaluate(self.x, self.args)

        return points.preserving([self.x], moved)  # type: ignore[no-any-return]


def _move(point: Any, origin: Any, where: Any, k: int, offset: float) -> float:
    """Do what `numgrad.loops.move` does, for a single coordinate, in two thirds of its time."""
    _, members, lengths = where
    i = members[k] if members else k
    value = origin[i]
    point[i] = value + offset * (lengths[k] if len(lengths) > 1 else lengths[0])
    return float(point[i].real) - float(value.real)


def _settle(point: Any, origin: Any, where: Any, k: int, offset: float, eps: float) -> int:
    """Do what `numgrad.loops.settle` does, for a single coordinate."""
    _, members, lengths = where
    i, length = members[k] if members else k, lengths[k] if len(lengths) > 1 else lengths[0]
    value, left = origin[i], point[i]
    point[i] = value + offset * length
    flags = 0 if left == point[i] or left != left else loops.ARGUMENT_CHANGED
    point[i] = value
    return flags | loops.STEP_LOST if eps and abs(value) * eps > abs(length) else flags


def moved_by(where: Directions, k: int) -> tuple[Any, Any]:
    """Return which coordinates direction k moves, and by which lengths."""
    starts, members, lengths = where
    own = slice(starts[k], starts[k + 1])
    chosen = members[own] if len(members) else slice(own.stop - own.start)
    return chosen, lengths[0] if len(lengths) == 1 else lengths[own]


# A loop of its own: `make_directions` in Python takes 1 us more for each value of f of a check along directions, and
# sees what f wrote there at the last one alone.
# Fixed by "check_gradient, n = 50, directions=5" in benchmarks/compare_versions.py.
def interpreted_members(state: Any, data: Any, args: Any, where: Any, start: int, stop: int, out: Any) -> int:
    """Do what the loop of `make_directions` does over directions of any members: NumPy moves them at once.

    ``evaluate, base, eps, rows, scheme_index, denominators, use_stored_distance = data``, as for
    `loops.interpreted_directions`. No distance is stored and no step is lost, what f returns may be an array, and no
    flag tells whether it responded.
    """
    (x, point, origin), (evaluate, base, _, rows, index, denominators, _), flags = state, data, 0
    for k in range(start, stop):
        (chosen, along), row = moved_by(where, k), index[k if len(index) > 1 else 0]
        home, total = origin[chosen], 0.0
        for offset, weight in rows[row]:
            value = base
            if offset:
                point[chosen] = moved = home + offset * along
                value = evaluate(x, args)
                flags |= 0 if still_holds(point[chosen], moved) else loops.ARGUMENT_CHANGED  # the next move hides it
            total += weight * value
        point[chosen] = home
        out[k] = total / denominators[row]
    return flags


def _are_pairs(where: Directions) -> bool:
    """Tell whether each direction has one or two members that are named, with lengths of their own."""
    return len(where.members) == len(where.lengths) and set(np.diff(where.starts).tolist()) <= {1, 2}


def _with_terms(data: Any) -> tuple[Any, ...]:
    """Return the data of a scheme with the offset and weight of each term that counts in place of its tables."""
    base, eps, offsets, weights, scheme_index, denominators, use_stored_distance = data
    rows = [[term for term in zip(*table, strict=True) if term[1]] for table in zip(offsets, weights, strict=True)]
    return base, eps, rows, scheme_index, denominators, use_stored_distance


MOVERS = _move, _settle


class VectorizedObjective(PythonObjective):
    """A Python callable that takes a batch of points, of shape ``(k, *x.shape)``, and returns k values."""

    # `refuse` raises where f would not see x change; `ends_at(x)` gives the ends beyond which f has no points.
    def __init__(self, f: Callable[..., Any], batch_bytes: int, refuse: Any = None, ends_at: Any = None) -> None:
        super().__init__(f)
        self.batch_bytes, self.refuse, self.ends_at = batch_bytes, refuse, ends_at

    def place(self, x: ArrayLike, args: tuple[Any, ...]) -> tuple[NDArray[Any], bool]:
        """Return a private copy of `x`, of which batches are made."""
        self.given: Any = real_array(x)
        if self.refuse is not None:
            self.refuse(x, args)
        return private_copy(self.given), True

    def returned(self, x: Any, args: tuple[Any, ...]) -> Any:
        """Return f(x) in the type that f gives it; ValueError if f writes to some points of a batch and not to others.

        It may work in place on a batch, which is a copy, but the same point has one value then, in any company.
        """
        batch = points.batch_of(x)
        saved, found = batch.copy(), np.array(self.values(batch, args))
        alike = found if is_unchanged(batch, saved) else self.values(np.repeat(x[np.newaxis], _ALIKE, axis=0), args)
        if alike is not found and not np.allclose(alike, alike[:1], rtol=_SAME, atol=0.0, equal_nan=True):
            raise_argument_changed()
        points.check_separate(self.f, x, found[0], lambda batch: self.values(batch, args), self.ends_at)
        return found[0]

    def values(self, batch: Floats, args: tuple[Any, ...]) -> NDArray[Any]:
        """Return f of each point of a batch."""
        values = arguments.unmasked(self.f(batch, *args), "what f returns", arguments.NO_DERIVATIVES)
        if values.shape != (len(batch),) or values.dtype.kind not in "fiu":
            raise TypeError(
                f"a vectorized f must return {len(batch)} real numbers for a batch of shape {batch.shape}, it returned "
                f"{describe(values)}"
            )
        if points.is_narrow(values) and values[0] == values[0]:
            self.seen = float(values[0]), points.resolution(values)
        return values

    def sweep(self, x: Any, args: tuple[Any, ...], rule: Rule, where: Any, out: Floats) -> VectorizedSweep:
        """Return the work of `rule`, in batches."""
        self.check(x, args, rule)
        if x.size and not rule.needs_value and (args or "separate" not in points.shown_by(self.f)):
            # An f that sums along the wrong axis gives itself away by a batch that has the length of no axis of x.
            self.value(x, args)
        return VectorizedSweep(self, x, args, rule, where, out)

    def check(self, x: Floats, args: tuple[Any, ...], rule: Rule) -> None:
        """Raise a ValueError for a complex step, and if f reads the x that was given by another way than its batch."""
        if rule.make is make_complex_step:
            raise ValueError("vectorized=True has no complex step; use another scheme, or vectorized=False")
        given, self.given = self.given, None  # asked once for each place, and it need not travel
        points.check_argument_is_all(self.f, given, lambda: self.f(points.batch_of(x), *args))


_CENTRAL = np.array([[1.0, -1.0]]), np.array([[1.0, -1.0]]), np.zeros(1, np.intp), np.array([2.0])


class VectorizedSweep(PythonSweep):
    """Units of work for a callable that takes batches: the directions of a range in as few as memory allows."""

    objective: VectorizedObjective
    one_by_one = False
    value_at = Sweep.value_at
    zero: Any = 0.0  # with which a sum begins, as in the loop for an f of one point

    def rows_of(self, batch: Floats) -> Floats:
        """Return f of each point of a batch as floats."""
        return self.objective.values(batch, self.args).astype(np.float64, copy=False)

    def run_range(self, state: Any, start: int, stop: int) -> int:
        """Do the units start <= k < stop on copies of the point, those of one scheme after another."""
        data, where = self.rule.data, self.where
        if self.rule.make is make_central:
            where = Directions(ALL_COORDINATES, where, np.array(data))
            data = math.nan, points.loss_eps(state), *_CENTRAL, False
        at_x, eps, offsets, weights, index, denominators, use_stored_distance = data
        base = at_x if at_x.__class__ is float else at_x.reshape(-1).view(np.float64)
        units, flags = np.arange(start, stop), 0
        for row in np.unique(index) if len(index) > 1 else index:
            own = units[index[units] == row] if len(index) > 1 else units
            terms = [(o, w) for o, w in zip(offsets[row].tolist(), weights[row].tolist(), strict=True) if w]
            length = max(1, self.objective.batch_bytes // max(1, state.nbytes * len(terms)))
            scheme = base, eps, terms, None if use_stored_distance else denominators[row]
            for first in range(0, len(own), length):
                flags |= self._run_batch(state, scheme, where, own[first : first + length])
        return flags

    def _run_batch(self, x: Floats, scheme: Any, where: Directions, units: Indices) -> int:
        """Write the quotients of the units, from one batch of all their points."""
        base, eps, terms, denominator = scheme
        rows, members, steps = _moves(where, units)
        values = x.reshape(-1).take(members)
        moved = values + np.array([[offset] for offset, _ in terms if offset]) * steps
        batch = np.empty((len(moved), len(units), x.size))
        batch[...] = x.reshape(-1)
        batch[:, rows, members] = moved
        # No -1 for the points: x may have no elements.
        found = self.rows_of(batch.reshape(len(moved) * len(units), *x.shape)).reshape(len(moved), len(units), -1)
        results, places, total = iter(found), iter(moved), self.zero
        width: Any = 0.0 if denominator is None else denominator * (1.0 if len(where.starts) else steps)
        with np.errstate(all="ignore"):
            for offset, weight in terms:  # in the order of the loops
                total = total + weight * (next(results) if offset else base)
                if offset and denominator is None:
                    width = width + weight * (next(places) - values)
            if denominator is None:
                width[width == 0.0] = math.nan  # no difference of points that coincide
            quotients = total / (width if width.__class__ is not np.ndarray else width.reshape(-1, 1))
        self.out[units] = quotients if self.out.ndim > 1 else quotients[:, 0]
        # In a third of the time of `any`.
        lost, responded = np.count_nonzero(abs(values) * eps > abs(steps)), np.count_nonzero(total)
        return (loops.STEP_LOST if lost else 0) | (loops.RESPONDED if responded else 0)


def _moves(where: Directions, units: Indices) -> tuple[Indices, Indices, Any]:
    """Return, for each coordinate that moves, which of the units moves it, which coordinate, and by which length."""
    (starts, members, lengths), rows, at, moved = where, np.arange(len(units)), units, units
    if len(starts):
        counts = starts[units + 1] - starts[units]
        rows, at = np.repeat(rows, counts), np.concatenate([np.arange(starts[k], starts[k + 1]) for k in units])
        moved = at - np.repeat(starts[units], counts)
    return rows, members[at] if len(members) else moved, lengths[at] if len(lengths) != 1 else lengths.item()
