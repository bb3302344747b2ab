"""Loops over the small elements of a sum, compiled around an element: their sum, their changes, their curvatures."""

from __future__ import annotations

import functools
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
from numba import config, typeof, types
from numba.core.cgutils import alloca_once
from numba.core.errors import NumbaError
from numba.extending import intrinsic
from numpy.typing import ArrayLike, NDArray

from ..arguments import real_number, unmasked
from ..loops import ARGUMENT_CHANGED, STEP_LOST, plain
from .compiled import Kernels
from .compiling import PASTE, borrowed, compiled

__all__: list[str] = []  # nothing here is public

# Elements whose values are added before they are added to the rest: the round-off of a million ones is that of a
# thousand. Fixed by test_the_sum_of_many_elements_keeps_its_digits in tests/test_separable.py.
_PART = 1024
# Coordinates of an element up to which its memory is on the stack: 1 KiB of it. Fixed by
# test_an_element_has_memory_of_its_own_whatever_its_size in tests/test_separable.py.
_ON_STACK = 64


class Form(NamedTuple):
    """What is compiled into a loop beside the element: the loop itself, and what all elements have in common."""

    make: Any
    has_data: bool
    size: int  # coordinates of each element, 0 if they have various numbers
    repeats: bool  # whether some element reads a coordinate twice
    # Of changes, offsets and weights, a row a scheme, and whether each coordinate has a step of its own. As arguments
    # they would take a third of the time of a cheap element.
    scheme: tuple[Any, ...] = ()


def _around(element: Any, form: Form) -> Any:
    """Return the loop of a form around a compiled element."""
    has_data = form.has_data

    @compiled(**PASTE)
    def evaluate(z: Any, data: Any, e: int, args: Any) -> Any:
        return real_number(element(z, data[e], *args) if has_data else element(z, *args))

    return form.make(evaluate, form)


@functools.lru_cache(maxsize=256)
def kernels_of(element: Any) -> Kernels:
    """Return the loops around `element`, which objectives over other data share."""
    return Kernels(element, _around)


def check_reach(f: Any, x: Any, args: tuple[Any, ...]) -> None:
    """Raise a ValueError if the shortest element of a sum reads beyond its arrays, which compiled code does unseen."""
    e = np.diff(f._starts).argmin()
    z, rows = x[f._members[f._starts[e] : f._starts[e + 1]]], () if f.data is None else f.data[e : e + 1]
    try:
        with np.errstate(all="ignore"):
            getattr(f.element, "py_func", f.element)(z, *rows, *args)
    except Exception as error:
        if isinstance(error, IndexError) and "out of" in str(error):  # others are of types: numba tells of these
            rule = f"an element of {len(z)} coordinates reads beyond what index, data or args give it"
            raise ValueError(f"{rule}: {error}") from error


def _make_read(size: int) -> Any:
    """Return what reads the coordinates of an element into a buffer, of a `size` that is compiled in if it is not 0."""

    # It takes the arrays one by one: with a slice of `members` an element takes three times as long.
    def read(x: Any, starts: Any, members: Any, buffer: Any, e: int) -> Any:
        """Return where the coordinates of an element begin, how many they are, and their sum."""
        first, length, total = starts[e], starts[e + 1] - starts[e], 0.0
        if size:
            first, length = e * size, size  # loops over the coordinates are unrolled then
        for r in range(length):
            buffer[r] = x[members[first + r]]
            total += buffer[r]
        return first, length, total

    return compiled(**PASTE)(read)


def _make_scratch(size: int) -> Any:
    """Return what gives the memory of an element of a `size` in place of the buffer of its thread.

    It is on the stack of the loop. LLVM sees that no other array shares it, and keeps what is in it in registers: a
    gradient takes three quarters of the time. Fixed by benchmarks/bench_separable.py.
    """
    if not 0 < size <= _ON_STACK or config.DISABLE_JIT:  # type: ignore[attr-defined]
        return compiled(**PASTE)(plain)

    def on_stack(typingctx: Any, buffer: Any) -> Any:  # noqa: ARG001
        def codegen(context: Any, builder: Any, _: Any, __: Any) -> Any:
            found, kind = context.make_array(buffer)(context, builder), context.get_value_type(buffer.dtype)
            width, item = (context.get_constant(types.intp, number) for number in (2 * size, 8))
            memory = alloca_once(builder, kind, size=2 * size)  # type: ignore[no-untyped-call]
            context.populate_array(found, data=memory, shape=[width], strides=[item], itemsize=item, meminfo=None)
            return found._getvalue()

        return buffer(buffer), codegen

    return intrinsic(on_stack)


def _make_move(repeats: bool) -> Any:
    """Return what moves a coordinate wherever an element reads it, and tells whether p is the first place."""

    def move(z: Any, length: int, members: Any, first: int, p: int, value: float) -> bool:
        is_first = True
        if repeats:
            for r in range(length):
                if members[first + r] == members[first + p]:
                    z[r], is_first = value, is_first and r >= p
        z[p] = value
        return is_first

    return compiled(**PASTE)(move)


def make_sum(evaluate: Any, form: Form) -> Any:
    """Return the loop that adds all elements, a part after another."""
    read, scratch = _make_read(form.size), _make_scratch(form.size)

    def add_up(state: Any, args: Any) -> float:
        x, starts, members, data, buffer = borrowed(state)
        buffer, total, part = scratch(buffer), 0.0, 0.0
        for e in range(len(starts) - 1):
            _, length, _ = read(x, starts, members, buffer, e)
            part += evaluate(buffer[:length], data, e, args)
            if e % _PART == _PART - 1:
                total, part = total + part, 0.0
        return total + part

    return add_up


def _make_blocks(add: Any, form: Form) -> Any:
    """Return the loop over blocks of elements: what `add` makes of an element goes to the sums of its block."""
    read, scratch, add = _make_read(form.size), _make_scratch(form.size), compiled(**PASTE)(add)

    def blocks(state: Any, terms: Any, args: Any, blocks: Any, units: Any, out: Any) -> int:
        """Add the elements ``first <= e < last``, of the blocks ``start <= b < stop``, to sums that begin as zeros.

        ``start, stop, first, last = units``. The first sum of block b is of the target ``lowest[b]``. Several calls, in
        turn, may do the parts of a block.
        """
        (x, starts, members, data, buffer), terms = borrowed((state, terms))
        (bounds, lowest), rows, buffer, flags = borrowed(blocks), borrowed(out), scratch(buffer), 0
        start, stop, first, last = units
        for b in range(start, stop):
            sums = rows[b]
            if first <= bounds[b] <= last:
                sums[:] = 0.0
            for e in range(max(bounds[b], first), min(bounds[b + 1], last)):
                begin, length, before = read(x, starts, members, buffer, e)
                place, after = (members, e, begin, length, lowest[b]), 0.0
                flags |= add(buffer, place, terms, data, args, sums)
                for r in range(length):
                    after += buffer[r]
                if after != before and before == before:
                    flags |= ARGUMENT_CHANGED  # the element has written to its coordinates
        return flags

    return blocks


@compiled(cache=True)
def add_blocks(lowest: Any, rows: Any, divisor: float, total: Any) -> None:
    """Write the sums of all blocks, divided: what two blocks share is the sum of quotients."""
    reach, width = 0, rows.shape[1]  # up to `reach` the total is written
    for b in range(len(rows)):
        low = np.intp(lowest[b])
        total[reach : max(reach, low)] = 0.0
        for i in range(low, min(low + width, len(total))):
            quotient = rows[b, i - low] / divisor
            total[i] = total[i] + quotient if i < reach else quotient
        reach = min(max(reach, low + width), len(total))
    total[reach:] = 0.0


def make_changes(evaluate: Any, form: Form) -> Any:
    """Return the loop that adds ``sum_m w_m element(z + o_m h_i e_i)`` for each coordinate i of each element.

    ``lengths, index, eps = terms``: the step of all coordinates of x or of each, if there are several, their schemes,
    and the relative spacing at which a step is lost.
    """
    move, (offsets, weights, has_own_steps) = _make_move(form.repeats), form.scheme

    def add_changes(buffer: Any, place: Any, terms: Any, data: Any, args: Any, sums: Any) -> int:
        (members, e, first, length, low), (lengths, index, eps) = place, terms
        z, h, row, is_lost = buffer[:length], lengths[0], 0, False
        for p in range(length):
            i, value, total = members[first + p], z[p], 0.0
            if has_own_steps:
                h = lengths[i]
            if len(offsets) > 1:
                row = index[i]
            for m in range(len(offsets[0])):
                if weights[row][m] != 0.0 and move(z, length, members, first, p, value + offsets[row][m] * h):
                    total += weights[row][m] * evaluate(z, data, e, args)
            move(z, length, members, first, p, value)
            is_lost |= abs(value) * eps > h
            sums[i - low] += total
        return STEP_LOST if is_lost else 0

    return _make_blocks(add_changes, form)


def _make_second(evaluate: Any, move: Any) -> Any:
    """Return what adds the values of an element on both sides, along one coordinate or along two."""

    def second(z: Any, place: Any, pair: Any, data: Any, args: Any) -> float:
        """Return ``f(z + d) + f(z - d)`` for d that moves one coordinate, or two if p is not q."""
        (members, e, first, length, _), (p, q, h, k), total = place, pair, 0.0
        one, other = z[p], z[q]
        for sign in (1.0, -1.0):
            move(z, length, members, first, q, other + sign * k)
            move(z, length, members, first, p, one + sign * h)
            total += evaluate(z, data, e, args)
        move(z, length, members, first, q, other)
        move(z, length, members, first, p, one)
        return total

    return compiled(**PASTE)(second)


def make_curvatures(evaluate: Any, form: Form) -> Any:
    """Return the loop that adds ``(g(a + b) - g(a) - g(b)) / 2 h_a h_b``, ``g(d) = f(z + d) - 2 f(z) + f(z - d)``.

    ``lengths, squares, targets = terms``: from ``squares[e]`` on, `targets` has the place of each pair of coordinates
    of an element in the matrix.
    """
    size, move = form.size, _make_move(form.repeats)
    both_sides = _make_second(evaluate, move)

    def add_curvatures(buffer: Any, place: Any, terms: Any, data: Any, args: Any, sums: Any) -> int:
        (members, e, first, length, low), (lengths, squares, targets) = place, terms
        z, square = buffer[:length], e * size * size if size else squares[e]
        twice = 2.0 * evaluate(z, data, e, args)
        for p in range(length):
            h = lengths[members[first + p]]
            buffer[length + p] = both_sides(z, place, (p, p, h, h), data, args) - twice
        for p in range(length):
            if move(z, length, members, first, p, z[p]):
                h, alone, row = lengths[members[first + p]], buffer[length + p], square + p * length
                sums[targets[row + p] - low] += alone / (h * h)
                for q in range(p + 1, length):
                    k = lengths[members[first + q]]
                    if move(z, length, members, first, q, z[q]):
                        both = both_sides(z, place, (p, q, h, k), data, args) - twice
                        mixed = (both - alone - buffer[length + q]) / (2.0 * h * k)
                        sums[targets[row + q] - low] += mixed
                        sums[targets[square + q * length + p] - low] += mixed
        return 0

    return _make_blocks(add_curvatures, form)


def known_to_numba(data: ArrayLike) -> NDArray[Any]:
    """Return an array in native byte order; TypeError if numba has no type for it, ValueError if it is ragged."""
    try:
        array = unmasked(data, "data")
    except ValueError as error:
        raise ValueError(f"data must be one array: {error}") from None
    if array.dtype.kind in "biufc":
        array = array.astype(np.float32 if array.dtype == np.float16 else array.dtype.newbyteorder("="), copy=False)
    with suppress(ValueError, NumbaError):
        if not array.dtype.hasobject and typeof(array):  # type: ignore[no-untyped-call]
            return array
    raise TypeError(f"data must hold numbers, or records of them, of a dtype that numba has, got {array.dtype}")
