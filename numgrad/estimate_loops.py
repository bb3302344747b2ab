"""The loops of estimates: for one output, for several, and for second derivatives.

Several outputs share their evaluations: each output has its own estimator, which asks for the steps that it wants, and
each step of a coordinate is evaluated once, whoever asks for it.

A second derivative is the first derivative of a curve. Along a line x + t v the mean of f on both sides is, as a
function of s = t**2, the series f + s f2 / 2 + s**2 f4 / 24 + ... of the even derivatives. Its slope at s = 0 is half
the second derivative, and its one-sided quotients ``(mean - f(x)) / s`` are the second differences of f. So the
extrapolation, the noise, and the error bar are those of first derivatives.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arguments import describe
from .looks import Numbers
from .loops import RESPONDED, Decorator, compiled_once, plain
from .objectives.vectors import SHAPE_CHANGED, outputs
from .points import once_more
from .ridders import LEVELS, estimate, linked

__all__: list[str] = []  # nothing here is public

# Numbers in a row of the result: derivative, error, step, round-off, evaluations.
COLUMNS = 5
# Relative difference up to which two squares are one step: far more than the rounding of x makes, less than two levels.
_SAME = 0.01


@compiled_once
def make_estimates(evaluate: Any, decorate: Decorator) -> Any:
    """Return the loop over the coordinates, with the conventions of `numgrad.loops`."""
    from .objectives.compiling import borrowed

    return _loop_of(evaluate, linked(decorate), np.zeros, borrowed)


def _loop_of(evaluate: Any, estimate_one: Any, zeros: Any, borrowed: Any) -> Any:
    """Return the loop over the coordinates, in which a function like `estimate` does one of them.

    `zeros` makes the memory of a tableau, which the interpreter indexes fastest in lists. Compiled code counts no
    references to what is `borrowed`: to count them took 0.4 of the time of a sum of 100 squares.
    """

    def estimates(state: Any, data: Any, args: Any, where: Any, start: int, stop: int, out: Any) -> int:
        """Write the four numbers of `estimate`, and its evaluations, for the coordinate ``where[k]``, or k, to row k.

        ``base, eps, good, atol, limits = data``: f(x), the relative spacing of the stored numbers, the relative and the
        absolute error that are good enough; and rows of the lower and upper limits and of the first steps, or none.
        """
        x, point, origin = state
        point, origin, data, where, out = borrowed((point, origin, data, where, out))
        base, eps, good, atol, limits = data
        memory = zeros(LEVELS), zeros(LEVELS), zeros(2)
        slopes, jumps, known = borrowed(memory)
        goals, work = (good, atol), (slopes, jumps)
        low, high, first, responded = -math.inf, math.inf, 0.0, 0
        for k in range(start, stop):
            i = where[k] if len(where) else k
            if len(limits):
                low, high, first = limits[0][i], limits[1][i], limits[2][i]
            known[0] = known[1] = 0.0
            spot = (x, point, i, float(origin[i]), base, eps, args, low, high, known, evaluate)
            slope, error, step, rough = estimate_one(spot, first, goals, work)
            point[i] = origin[i]  # in all digits of a longdouble
            if slope != 0.0:
                responded = RESPONDED
            if error == 0.0:  # an f that is 0 at all steps is not known better than one of size 1
                error = eps * abs(slope) if slope != 0.0 else eps / step
            out[k, 0], out[k, 1], out[k, 2], out[k, 3], out[k, 4] = slope, error, step, rough, known[0]
        # `slopes`, `jumps` and `known` are borrowed from it: it is asked, so that numba frees it no earlier.
        return responded if len(memory[0]) else 0

    return estimates


def make_guarded_estimates(evaluate: Any, _: Decorator) -> Any:
    """Return the loop of `make_estimates` for a Python f, whose exceptions count as NaN where they are no wonder.

    That is beyond a step that worked, or where f was given a number that it may not accept. Where no derivative is
    found, the exception is raised in the end.
    """
    works, caught = False, None

    def guarded(x: Any, args: Any) -> Any:
        nonlocal works, caught
        try:
            result = evaluate(x, args)
        except Exception as error:
            if not (works or isinstance(error, ArithmeticError | ValueError | TypeError)):
                raise
            once_more(lambda: evaluate(x, args), error)
            caught = error
            return math.nan
        works = True
        return result

    def guarded_estimate(spot: Any, first: float, goals: Any, work: Any) -> Numbers:
        nonlocal works, caught
        works, caught = False, None
        found = estimate(spot, first, goals, work)
        if caught is not None and math.isnan(found[0]):
            raise caught
        return found

    loop = _loop_of(guarded, guarded_estimate, lambda size: [0.0] * size, plain)

    def estimates(*units: Any) -> int:
        with np.errstate(all="ignore"):  # the looks far from x overflow
            return loop(*units)  # type: ignore[no-any-return]

    return estimates


class _Record:
    """The outputs of f by the displaced values of one coordinate, or what f raised there; one output is asked for."""

    def __init__(self, evaluate: Any, state: Any, base: NDArray[Any]) -> None:
        self.evaluate, self.point, self.base = evaluate, state[1], base
        self.seen: dict[float, Any] = {}
        self.coordinate = self.output = 0
        self.wrong: ValueError | None = None

    def one_output(self, x: Any, args: Any) -> float:
        """Return one output of f, which is evaluated if no output was asked for here before."""
        key = float(self.point[self.coordinate])
        if key not in self.seen:
            try:
                self.seen[key] = self._outputs(self.evaluate(x, args))
            except Exception as error:  # noqa: BLE001, each output asks for it in turn
                once_more(lambda: self.evaluate(x, args), error)
                self.seen[key] = error
        found = self.seen[key]
        if isinstance(found, Exception):
            raise found
        return found[self.output]  # type: ignore[no-any-return]

    def _outputs(self, returned: Any) -> list[float]:
        found = outputs(returned)
        if found.shape != self.base.shape or found.dtype.kind == "c":
            self.wrong = ValueError(f"{SHAPE_CHANGED}: {describe(found)}, not real ones of shape {self.base.shape}")
            raise self.wrong
        return found.reshape(-1).tolist()


def make_estimates_of_outputs(evaluate: Any, decorate: Decorator) -> Any:
    """Return the loop over the coordinates for an f with several outputs."""

    def estimates(state: Any, data: Any, args: Any, where: Any, start: int, stop: int, out: Any) -> int:
        """Write the five numbers of each output after one another to row k; the last has all evaluations.

        ``base, ... = data``: f(x), and what the loop of one output takes.
        """
        record, flags, bases = _Record(evaluate, state, data[0]), 0, data[0].reshape(-1).tolist()
        loop = make_guarded_estimates(record.one_output, decorate)
        rows = np.asarray(out).reshape(-1, len(bases), COLUMNS)
        for k in range(start, stop):
            record.coordinate = int(where[k]) if len(where) else k
            place = np.array([record.coordinate])
            record.seen.clear()
            for record.output, base in enumerate(bases):
                own = rows[k, record.output : record.output + 1].data
                flags |= loop(state, (base, *data[1:]), args, place, 0, 1, own)
                if record.wrong is not None:
                    raise record.wrong
            rows[k, :, -1] = 0.0
            rows[k, -1, -1] = len(record.seen)
        return flags

    return estimates


class _Line:
    """The mean of f at both ends of a line through x; item 0 is its squared half length, in units of the members."""

    def __init__(self, evaluate: Any, state: Any) -> None:
        self.evaluate, (self.x, self.point, self.origin) = evaluate, state
        self.members: list[tuple[int, float, float, float]] = []  # coordinate, value, unit, and how far it may go
        self.moves: list[tuple[int, float, float]] = []  # coordinate, value and distance
        self.square, self.sizes = 0.0, list[tuple[float, float]]()  # of f, by squares

    def begin(self, members: list[int], lengths: list[float], rooms: Any) -> None:
        """Take other members, and forget what was seen of f."""
        pairs = zip(members, lengths, strict=True)
        self.members = [(i, float(self.origin[i]), length, float(rooms[i])) for i, length in pairs]
        self.sizes.clear()

    def __setitem__(self, _: int, square: float) -> None:
        """Find distances whose ends are stored exactly: away from 0 by itself, and then on the other side too.

        The square is infinite if one is longer than it may be.
        """
        self.moves, part, squares = [], math.sqrt(max(square, 0.0)), 0.0
        for i, value, unit, room in self.members:
            self.point[i] = abs(value) + part * unit
            distance = float(self.point[i]) - abs(value)
            self.point[i] = self.origin[i]
            self.moves.append((i, value, distance))
            squares += (distance / unit) ** 2 if distance <= room else math.inf
        self.square = squares / len(self.members)

    def __getitem__(self, _: int) -> float:
        return self.square

    def mean(self, x: Any, args: Any) -> float:
        """Return the mean of both values of f."""
        total = 0.0
        for sign in (1.0, -1.0):
            for i, value, distance in self.moves:
                self.point[i] = value + sign * distance
            self.sizes.append((self.square, 0.0))
            try:
                found = self.evaluate(x, args)
            finally:
                for i, *_ in self.moves:
                    self.point[i] = self.origin[i]
            self.sizes[-1] = self.square, abs(found)
            total += 0.5 * found
        return total

    def size_at(self, square: float) -> float:
        """Return the largest magnitude of f at both ends of a line: its round-off remains where the mean is small."""
        near = [size for at, size in self.sizes if abs(at - square) <= _SAME * square]
        return max(near, default=0.0)


def make_second_estimates(evaluate: Any, decorate: Decorator) -> Any:
    """Return the loop over directions, along which it estimates half the second derivatives."""

    def estimates(state: Any, data: Any, args: Any, where: Any, start: int, stop: int, out: Any) -> int:
        """Write the five numbers for the direction k, whose lengths are the units of the steps.

        ``base, eps, good, atol, rooms = data``: as for first derivatives; and how far each coordinate may go. Where no
        step works it writes NaN, for the first derivatives have raised what f raises at x.
        """
        line, flags, (*own, rooms) = _Line(evaluate, state), 0, data
        loop, where_in_line = make_guarded_estimates(line.mean, decorate), [0] * stop
        for k in range(start, stop):
            chosen = slice(where.starts[k], where.starts[k + 1])
            line.begin(where.members[chosen].tolist(), where.lengths[chosen].tolist(), rooms)
            room = min((room / unit) ** 2 for _, _, unit, room in line.members)
            limits = [0.0], [room], [0.0]
            unit = (line.x, line, [0.0]), (*own, limits), args, where_in_line, k, k + 1, out
            try:
                flags |= loop(*unit)
            except Exception as error:  # noqa: BLE001, f may raise what it likes
                once_more(partial(loop, *unit), error)
                out[k, 0], out[k, 1], out[k, 2], out[k, 3] = math.nan, math.inf, math.nan, math.nan
            out[k, 1] = max(out[k, 1], 2.0 * own[1] * line.size_at(out[k, 2]) / (out[k, 2] or 1.0))
            out[k, 4] = len(line.sizes)
        return flags & RESPONDED

    return estimates
