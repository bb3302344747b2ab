"""Loops over the small elements of a sum, compiled around an element: their sum, their changes, their curvatures."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

from ..arguments import real_number
from ..loops import ARGUMENT_CHANGED
from .compiled import Kernels
from .compiling import PASTE, borrowed, compiled

__all__: list[str] = []  # nothing here is public

# Elements whose values are added before they are added to the rest: the round-off of a million ones is that of a
# thousand. Fixed by test_the_sum_of_many_elements_keeps_its_digits in tests/test_separable.py.
_PART = 1024


class Form(NamedTuple):
    """What is compiled into a loop beside the element: the loop itself, and what all elements have in common."""

    make: Any
    has_data: bool
    size: int  # coordinates of each element, 0 if they have various numbers
    repeats: bool  # whether some element reads a coordinate twice


def _around(element: Any, form: Form) -> Any:
    """Return the loop of a form around a compiled element."""

    @compiled(**PASTE)
    def with_data(z: Any, data: Any, e: int, args: Any) -> Any:
        return real_number(element(z, data[e], *args))

    @compiled(**PASTE)
    def alone(z: Any, data: Any, e: int, args: Any) -> Any:  # noqa: ARG001
        return real_number(element(z, *args))

    return form.make(with_data if form.has_data else alone, compiled(**PASTE), form)


@functools.lru_cache(maxsize=256)
def kernels_of(element: Any) -> Kernels:
    """Return the loops around `element`, which objectives over other data share."""
    return Kernels(element, _around)


def _uncounted(state: Any) -> Any:
    """Return the arrays of a state without counts of references, which numba loses if an element raises."""
    x, starts, members, data, buffer = state
    return borrowed(x), borrowed(starts), borrowed(members), borrowed(data), borrowed(buffer)


def _readers(decorate: Any, form: Form) -> tuple[Any, Any, Any, Any]:
    """Return what tells the size of an element, and reads its coordinates into a buffer, moves one, and looks at it."""
    size, repeats = form.size, form.repeats

    # A number that is compiled in, where there is one: loops over the coordinates are unrolled then.
    def length_of(starts: Any, e: int) -> Any:
        return size if size else starts[e + 1] - starts[e]

    length_of = decorate(length_of)

    # It takes the arrays one by one: with a slice of `members` an element takes three times as long.
    def read(x: Any, starts: Any, members: Any, buffer: Any, e: int) -> Any:
        first, length, total = e * size if size else starts[e], length_of(starts, e), 0.0
        for r in range(length):
            buffer[r] = x[members[first + r]]
            total += buffer[r]
        return first, buffer[:length], total

    def move(z: Any, length: int, members: Any, first: int, p: int, value: float) -> bool:
        """Move a coordinate wherever an element reads it, and tell whether p is the first place."""
        is_first = True
        if repeats:
            for r in range(length):
                if members[first + r] == members[first + p]:
                    z[r], is_first = value, is_first and r >= p
        z[p] = value
        return is_first

    def written(z: Any, length: int, before: float) -> int:
        """Tell whether an element has written to its coordinates, whose sum was `before`, as a flag."""
        left = 0.0
        for r in range(length):
            left += z[r]
        return ARGUMENT_CHANGED if left != before and before == before else 0

    return length_of, decorate(read), decorate(move), decorate(written)


def make_sum(evaluate: Any, decorate: Any, form: Form) -> Any:
    """Return the loop that adds all elements, a part after another."""
    uncounted, (_, read, _, _) = decorate(_uncounted), _readers(decorate, form)

    def add_up(state: Any, args: Any) -> float:
        x, starts, members, data, buffer = uncounted(state)
        total, part = 0.0, 0.0
        for e in range(len(starts) - 1):
            _, z, _ = read(x, starts, members, buffer, e)
            part += evaluate(z, data, e, args)
            if e % _PART == _PART - 1:
                total, part = total + part, 0.0
        return total + part

    return add_up


def make_changes(evaluate: Any, decorate: Any, form: Form) -> Any:
    """Return the loop over blocks of elements that adds up how the elements of a block change."""
    uncounted, (length_of, read, move, written) = decorate(_uncounted), _readers(decorate, form)

    def element_changes(z: Any, length: int, place: Any, terms: Any, data: Any, args: Any, sums: Any) -> int:
        """Add ``sum_m w_m element(z + o_m h_i e_i)`` to ``sums[i - low]``; tell whether the element wrote to z."""
        (members, e, first, low, before), (offsets, weights, lengths) = place, terms
        h = lengths[0]
        for p in range(length):
            if len(lengths) > 1:
                h = lengths[members[first + p]]
            value, total = z[p], 0.0
            for m in range(len(offsets)):
                if weights[m] != 0.0 and move(z, length, members, first, p, value + offsets[m] * h):
                    total += weights[m] * evaluate(z, data, e, args)
            move(z, length, members, first, p, value)
            sums[members[first + p] - low] += total
        return int(written(z, length, before))

    add_changes = decorate(element_changes)

    def changes(state: Any, terms: Any, args: Any, blocks: Any, start: int, stop: int, out: Any) -> int:
        """Add the change of each element along each coordinate i to ``out[block, i - lowest]``."""
        x, starts, members, data, buffer = uncounted(state)
        (bounds, lowest), flags = blocks, 0
        for b in range(start, stop):
            sums, low = borrowed(out)[b], lowest[b]
            sums[:] = 0.0
            for e in range(bounds[b], bounds[b + 1]):
                first, z, total = read(x, starts, members, buffer, e)
                place = members, e, first, low, total
                flags |= add_changes(z, length_of(starts, e), place, terms, data, args, sums)
        return flags

    return changes


def _make_second(evaluate: Any, decorate: Any, move: Any) -> Any:
    """Return what adds the values of an element on both sides, along one coordinate or along two."""

    def second(z: Any, length: int, place: Any, moves: Any, data: Any, args: Any) -> float:
        """Return ``f(z + d) + f(z - d)`` for d that moves one coordinate, or two if p is not q."""
        (members, e, first, p, q), (h, k), total = place, moves, 0.0
        one, other = z[p], z[q]
        for sign in (1.0, -1.0):
            move(z, length, members, first, q, other + sign * k)
            move(z, length, members, first, p, one + sign * h)
            total += evaluate(z, data, e, args)
        move(z, length, members, first, q, other)
        move(z, length, members, first, p, one)
        return total

    return decorate(second)


def make_curvatures(evaluate: Any, decorate: Any, form: Form) -> Any:
    """Return the loop over elements that writes the second derivatives of each, the upper triangle by rows."""
    uncounted, (length_of, read, move, written) = decorate(_uncounted), _readers(decorate, form)

    both_sides = _make_second(evaluate, decorate, move)

    def curvatures(state: Any, lengths: Any, args: Any, where: Any, start: int, stop: int, out: Any) -> int:
        """Write ``(g(a + b) - g(a) - g(b)) / 2 h_a h_b`` for ``g(d) = f(z + d) - 2 f(z) + f(z - d)``."""
        x, starts, members, data, buffer = uncounted(state)
        flags = 0
        for e in range(start, stop):
            first, z, total = read(x, starts, members, buffer, e)
            length, twice, n = length_of(starts, e), 2.0 * evaluate(z, data, e, args), where[e]
            for p in range(length):
                h = lengths[members[first + p]]
                both = both_sides(z, length, (members, e, first, p, p), (h, h), data, args) - twice
                buffer[length + p] = both
            for p in range(length):
                is_new = move(z, length, members, first, p, z[p])
                h, alone = lengths[members[first + p]], buffer[length + p]
                if is_new:
                    out[n] = alone / (h * h)
                for q in range(p + 1, length):
                    n, k = n + 1, lengths[members[first + q]]
                    if is_new and move(z, length, members, first, q, z[q]):
                        both = both_sides(z, length, (members, e, first, p, q), (h, k), data, args) - twice
                        out[n] = (both - alone - buffer[length + q]) / (2.0 * h * k)
                n += 1
            flags |= written(z, length, total)
        return flags

    return curvatures
