"""The loops that evaluate f, as data and factories: Rule, Directions, and what turns values of f into derivatives.

A factory takes ``evaluate(x, args) -> float``, and a decorator that compiles what the loop calls, or leaves it. It
returns ``loop(state, data, args, where, start, stop, out) -> flags``, which writes row k of `out` for start <= k <
stop. The same source runs compiled around a compiled function and as plain Python around another; it allocates nothing.
``state = x, point, origin``: what f receives, its elements in C order, which are perturbed and restored unless f
raises, and what these were. A complex step makes them complex. What is indexed may be arrays or, in Python, memoryviews
and lists, which are faster there.

Arithmetic is strict IEEE in the order written, so that the default scheme gives the bits of `numgrad.reference`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__: list[str] = []  # nothing here is public

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Loop = Callable[..., int]
Decorator = Callable[[Any], Any]

# Flags that a loop returns, or-ed; numba bakes them into the loops.
STEP_LOST = 1  # a step lost more than a thousandth of itself where it was added to some coordinate
RESPONDED = 2  # some difference was not zero
NOT_FINITE = 4  # the last iterate of a descent is not finite
ARGUMENT_CHANGED = 8  # f wrote to its argument

# The eps at which a float64 step is lost: a thousandth of it goes where x + h is rounded. See `points.loss_eps`.
_LOSS_EPS = 1e3 * float(np.finfo(np.float64).eps)


class Rule(NamedTuple):
    """How values of f at displaced points become one result, whatever the kind of objective.

    Attributes
    ----------
    make : callable
        The factory of the loop.
    data : tuple
        What the loop knows beside the point. Where the loop needs f(x), this is its first element, NaN until an
        objective fills it in. A plain tuple: a NamedTuple takes numba 0.5 us more a call.
    needs_value : bool
        Whether f(x) itself counts.
    columns : int
        Numbers that a unit of work gives.
    interpreted : callable, optional
        The factory of the loop around a Python f, where it is another one: Python can catch what f raises.
    """

    make: Callable[[Any, Decorator], Loop]
    data: tuple[Any, ...]
    needs_value: bool = False
    columns: int = 1
    interpreted: Callable[[Any, Decorator], Loop] | None = None

    def amplification(self, rows: Any = None) -> Any:
        """Return by how much a linear rule is off before a step divides it, where values of f are off by 1.

        That is so for the given `rows` of its tables, or for those that it uses.
        """
        _, _, _, weights, used, denominators, _ = self.data
        return (np.abs(weights).sum(axis=1) / np.abs(denominators))[used if rows is None else rows]


class Directions(NamedTuple):
    """Which coordinates move together: direction k moves ``members[starts[k]:starts[k + 1]]`` by `lengths`.

    With an empty `starts` direction k moves the coordinate ``members[k]`` alone, or the coordinate k if `members` is
    empty too. With an empty `members` alone it moves the first coordinates, each by one of its lengths. One length may
    stand for all. It is a compressed matrix of seeds, a column a direction.
    """

    starts: Indices
    members: Indices
    lengths: NDArray[Any]


def plain(function: Any) -> Any:
    """Return `function`: the decorator of what is not compiled."""
    return function


def compiled_once(make: Any) -> Any:
    """Mark a factory whose loop is so long that it is compiled once for all f: see `compiling.shared_loop`."""
    make.compiled_once = True
    return make


def make_central(evaluate: Any, decorate: Decorator = plain) -> Loop:  # noqa: ARG001
    """Return the loop of the default scheme over the coordinates ``where[k]``, or k if `where` is empty."""

    def central(state: Any, data: Any, args: Any, where: Any, start: int, stop: int, out: Any) -> int:
        """Write ``(f(x + h e_i) - f(x - h e_i)) / 2h`` for ``h, = data``."""
        x, point, _ = state
        h = data[0]
        coarse, lost, responded, changed = h / _LOSS_EPS, 0, 0, 0
        for k in range(start, stop):
            i = where[k] if len(where) else k
            value = point[i]
            if abs(value) > coarse:
                lost = STEP_LOST
            point[i] = value + h
            plus = evaluate(x, args)
            point[i] = value - h
            difference = plus - evaluate(x, args)
            if point[i] != value - h and value == value:  # to restore it would hide what f wrote there
                changed = ARGUMENT_CHANGED
            point[i] = value
            if difference != 0.0:
                responded = RESPONDED
            out[k] = difference / (2 * h)
        return lost | responded | changed

    return central


# A loop of its own: `make_central` with PythonObjective.evaluate takes two Python calls more for each value of f.
# Fixed by test_python_f_against_its_bare_calls in benchmarks/bench_gradient.py.
# Its end reads the last coordinate back, for the restoration hides what f wrote there: an f that writes to this one
# alone is found by nothing else. What f wrote to another one is left, since what is restored is what was there, and
# `is_unchanged` finds that; memory of few digits or of any layout has its numbers elsewhere, and is not looked at so.
def interpreted_central(state: Any, data: Any, args: Any, where: Any, start: int, stop: int, out: Any) -> int:
    """Do what the loop of `make_central` does, in the interpreter: f is called at once, its floats taken as they are.

    ``f, as_number, h, eps, is_narrow = data``: the relative spacing at which a step is lost; in memory of fewer digits
    the distance of the points as they are stored is what to divide by.
    """
    (x, point, origin), (f, as_number, h, eps, is_narrow) = state, data
    known = point if point.__class__ is memoryview else origin
    width, coarse, lost, responded, float64 = 2 * h, h / eps, 0, 0, np.float64
    call = (lambda x: f(x, *args)) if args else f
    for k, i in enumerate(where[start:stop] if len(where) else range(start, stop), start):
        value = known[i]
        if value > coarse or value < -coarse:
            lost = STEP_LOST
        point[i] = value + h
        if is_narrow:
            width = float(point[i])
        plus = call(x)
        if plus.__class__ is not float:
            plus = float(plus) if plus.__class__ is float64 else as_number(plus)
        point[i] = value - h
        if is_narrow:
            width = width - float(point[i]) or -math.nan  # the bits of 0 / 0
            if width != width and value == value:
                lost = STEP_LOST
        minus = call(x)
        if minus.__class__ is not float:
            minus = float(minus) if minus.__class__ is float64 else as_number(minus)
        left = point[i]
        point[i] = value
        difference = plus - minus
        if difference != 0.0:
            responded = RESPONDED
        out[k] = difference / width
    if start >= stop:
        return 0
    point[i] = value - h  # once more, to see whether f left what was stored: to restore it hides what f wrote there
    stored, point[i] = point[i], value
    return lost | responded | (0 if left == stored or left != left else ARGUMENT_CHANGED)


# A loop of its own too: `make_directions` in Python takes 3 us more for each value of f of a gradient by 'forward', and
# a Hessian by it 1.3 times the bare calls of a NumPy f of 6 us. Fixed by test_python_f_by_forward_differences in
# benchmarks/bench_gradient.py, and by test_hessian_of_a_numpy_f in benchmarks/bench_hessian.py.
def interpreted_directions(state: Any, data: Any, args: Any, where: Any, start: int, stop: int, out: Any) -> int:
    """Do what the loop of `make_directions` does over directions of one or two members, in the interpreter.

    ``f, as_number, base, eps, rows, scheme_index, denominators, use_stored_distance = data``: `rows` has the offset and
    weight of each term that counts.
    """
    (x, point, origin), (f, as_number, base, eps, rows, index, denominators, is_stored) = state, data
    (starts, members, lengths), flags, responded, float64 = where, 0, False, np.float64
    call, known = (lambda x: f(x, *args)) if args else f, point if point.__class__ is memoryview else origin
    firsts = starts[start:stop] if starts else range(start, stop)
    lasts = (end - 1 for end in starts[start + 1 : stop + 1]) if starts else firsts
    used = index[start:stop] if len(index) > 1 else repeat(index[0])
    along_i, along_j, each = lengths[0], lengths[0], len(lengths) > 1
    for k, first, last, row in zip(range(start, stop), firsts, lasts, used):  # noqa: B905
        i, j = (members[first], members[last]) if members else (first, last)  # one alone moves to the same place twice
        along_i, along_j = (lengths[first], lengths[last]) if each else (along_i, along_j)
        total, width, at_i, at_j = 0.0, 0.0, known[i], known[j]
        for offset, weight in rows[row]:
            value = base
            if offset != 0.0:
                point[i], point[j] = to_i, to_j = at_i + offset * along_i, at_j + offset * along_j
                if is_stored:
                    width += weight * (float(point[i]) - float(at_i))
                value = call(x)
                if value.__class__ is not float:
                    value = float(value) if value.__class__ is float64 else as_number(value)
            total += weight * value
        if point[i] != to_i or point[j] != to_j:  # f wrote there, or memory of few digits stores another number
            left, point[i], point[j] = (point[i], point[j]), to_i, to_j
            pairs = zip(left, (point[i], point[j]), strict=True)
            flags |= ARGUMENT_CHANGED if any(a != b and a == a for a, b in pairs) else 0
        point[i], point[j] = at_i, at_j
        divisor = width if is_stored else denominators[row] * (1.0 if starts else abs(along_i))
        if divisor == 0.0 or abs(at_i) * eps > abs(along_i):
            flags |= STEP_LOST
        responded = total != 0.0 or responded
        out[k] = total / divisor if divisor != 0.0 else math.nan
    return flags | RESPONDED if responded else flags


def move(point: Any, origin: Any, where: Any, k: int, offset: float) -> float:
    """Put the members of direction k at `offset` times their lengths; return how far one came, as it is stored."""
    starts, members, lengths = where
    first, last = (starts[k], starts[k + 1]) if len(starts) else (k, k + 1)
    shift, i = (first if len(starts) else 0), 0
    for p in range(first, last):
        i = members[p] if len(members) else p - shift
        point[i] = origin[i] + offset * lengths[p if len(lengths) > 1 else 0]
    return float(point[i].real) - float(origin[i].real)


def settle(point: Any, origin: Any, where: Any, k: int, offset: float, eps: float) -> int:
    """Restore the members of direction k, and return flags: of lost steps, and of members that f moved."""
    starts, members, lengths = where
    first, last = (starts[k], starts[k + 1]) if len(starts) else (k, k + 1)
    shift, changed, lost = (first if len(starts) else 0), False, False
    for p in range(first, last):
        i, length = members[p] if len(members) else p - shift, lengths[p if len(lengths) > 1 else 0]
        value, left = origin[i], point[i]
        point[i] = value + offset * length
        changed |= (left != point[i]) & (left == left)
        point[i] = value
        lost |= abs(value) * eps > abs(length)
    return (ARGUMENT_CHANGED if changed else 0) | (STEP_LOST if lost else 0)


def unit_of(where: Any, k: int, denominator: float) -> float:
    """Return what the sum of a scheme along direction k is divided by: times the length of a single coordinate."""
    starts, _, lengths = where
    return denominator if len(starts) else denominator * abs(lengths[k if len(lengths) > 1 else 0])


def make_directions(evaluate: Any, decorate: Decorator = plain, movers: Any = (move, settle)) -> Loop:
    """Return the loop of any linear scheme over any `Directions`, whose members the `movers` displace and restore.

    ``base, eps, offsets, weights, scheme_index, denominators, use_stored_distance = data``: f(x), for o_m = 0; the
    relative spacing at which a step is lost; o, w and d, a row a scheme; the row of each direction, or of all. h_k is
    the length of a single coordinate, and 1 for several. For a single one ``d h_k`` may be ``sum_m w_m (x_m - x)``
    with the numbers x_m as they are stored.
    """
    displace, restore, unit = map(decorate, (*movers, unit_of))

    def directions(state: Any, data: Any, args: Any, where: Any, start: int, stop: int, out: Any) -> int:
        """Write ``sum_m w_m f(x + o_m d_k) / (d h_k)`` for the direction d_k."""
        x, point, origin = state
        base, eps, offsets, weights, scheme_index, denominators, use_stored_distance = data
        flags = 0
        for k in range(start, stop):
            row = scheme_index[k if len(scheme_index) > 1 else 0]
            total, width, offset = 0.0, 0.0, 0.0
            for m in range(len(offsets[row])):
                weight = weights[row][m]
                if weight != 0.0 and offsets[row][m] == 0.0:
                    total += weight * base
                elif weight != 0.0:
                    offset = offsets[row][m]
                    width += weight * displace(point, origin, where, k, offset)
                    total += weight * evaluate(x, args)
            flags |= restore(point, origin, where, k, offset, eps)
            if total != 0.0:
                flags |= RESPONDED
            divisor = width if use_stored_distance else unit(where, k, denominators[row])
            if divisor == 0.0:
                flags |= STEP_LOST
            out[k] = total / divisor if divisor != 0.0 else math.nan
        return flags

    return directions


def make_complex_step(evaluate: Any, decorate: Decorator = plain) -> Loop:
    """Return the loop of the complex step: `make_directions` for imaginary lengths and an `evaluate` that gives Im f.

    The factory has a name of its own, by which an objective knows that the point is to be complex.
    """
    return make_directions(evaluate, decorate)


def make_columns(evaluate: Any, decorate: Decorator, movers: Any) -> Loop:
    """Return the loop of `make_directions` for an f with several outputs: row k of `out` is a column of the Jacobian.

    The third mover is ``add(out, k, weight, value, base, count, divisor)``. It adds ``weight * value`` to the row or,
    for the count 0, begins it, so that signed zeros come out as in a plain loop. With the last term of a row comes its
    divisor, NaN where the points coincide, and 0.0 with those before; `add` then divides, in the same pass, and returns
    flags. `base`, the first of `data`, is f(x) in its shape: each value must have it.
    """
    displace, restore, unit = map(decorate, (*movers[:2], unit_of))
    add = movers[2]

    def columns(state: Any, data: Any, args: Any, where: Any, start: int, stop: int, out: Any) -> int:
        """Write ``sum_m w_m f(x + o_m d_k) / (d h_k)`` for the direction d_k."""
        x, point, origin = state
        base, eps, offsets, weights, scheme_index, denominators, use_stored_distance = data
        flags = 0
        for k in range(start, stop):
            if k > start:  # what f wrote to it before, the rest would hide
                flags |= restore(point, origin, where, k, 0.0, eps)
            row, width, offset, count = scheme_index[k if len(scheme_index) > 1 else 0], 0.0, 0.0, 0
            last = len(weights[row]) - 1  # it counts: see `schemes.linear_rule`
            for m in range(last + 1):
                weight, is_moved, divisor = weights[row][m], offsets[row][m] != 0.0, 0.0
                if weight != 0.0 and is_moved:
                    offset = offsets[row][m]
                    width += weight * displace(point, origin, where, k, offset)
                if m == last:
                    divisor = width if use_stored_distance else unit(where, k, denominators[row])
                    divisor, flags = (divisor, flags) if divisor != 0.0 else (math.nan, flags | STEP_LOST)
                if weight != 0.0 and is_moved:
                    flags |= add(out, k, weight, evaluate(x, args), base, count, divisor)
                elif weight != 0.0:
                    flags |= add(out, k, weight, base, base, count, divisor)
                count += weight != 0.0
            flags |= restore(point, origin, where, k, offset, eps)
        return flags

    return columns


def members_of(where: Any) -> Indices:
    """Return the coordinates, of directions too."""
    return where[1] if isinstance(where, tuple) else where  # type: ignore[no-any-return]


def central_parts(rule: Rule, where: Any, kind: str) -> list[tuple[float, float]]:
    """Return (factor, step) of the central quotients whose sum `rule` is, for a `kind` of f that has no other rule.

    Raises
    ------
    TypeError
        If the rule looks for the step of each coordinate.
    ValueError
        If it is no such sum, or has other steps for other coordinates.
    """
    if rule.columns > 1:
        raise TypeError(
            f"{kind} has no steps of each coordinate, which an estimate with errors looks for; compare two steps h of "
            f"numerical_gradient, as check_gradient does, or pass lambda x: objective(x)"
        )
    if rule.make is make_central:
        return [(1.0, rule.data[0])]
    if rule.make is make_directions and not len(where[0]) and len(where[2]) == 1:
        _, _, offsets, weights, index, denominators, use_stored_distance = rule.data
        table = dict(zip(offsets[index[0]].tolist(), weights[index[0]].tolist(), strict=True))
        is_odd = all(table.get(-offset, 0.0) == -weight for offset, weight in table.items())
        if is_odd and len(index) == 1 and not use_stored_distance:
            return [(2.0 * o * w / denominators[index[0]], o * where[2].item()) for o, w in table.items() if o > 0.0]
    raise ValueError(
        f"{kind} has central differences of one step h: scheme must be 'central', 'central4', 'central6' or symmetric "
        f"likewise, h a number, and bounds None"
    )


def make_descent(evaluate: Any, decorate: Decorator = plain) -> Loop:
    """Return the loop of gradient descent by the default scheme: its units are the coordinates of all iterations."""
    central: Loop = decorate(make_central(evaluate))

    def descent(state: Any, data: Any, args: Any, where: Any, start: int, stop: int, out: Any) -> int:
        """Do some coordinates of the iterates of ``x <- x - lr * gradient(x)``, for ``h, lr, slopes = data``.

        Iterate k is ``out[k]``, counted around: as many rows as iterates keep the path, one row keeps the last. Unit
        ``k * n + i`` writes ``slopes[i]`` at iterate k, and the last i moves the point, which is that iterate. `where`
        is empty. If f raises, `out` holds all iterates that were completed.
        """
        _, point, _ = state
        (h, lr, slopes), n, flags = data, len(point), 0
        here, first = start // n % len(out), start % n
        while start < stop:
            last = min(n, first + stop - start)
            flags |= central(state, (h,), args, where, first, last, slopes)
            # The point must still be the iterate that was written to `out`: only f can have changed it meanwhile.
            for i in range(n):
                if point[i] != out[here, i] and not (math.isnan(point[i]) and math.isnan(out[here, i])):
                    return flags | ARGUMENT_CHANGED
            start += last - first
            if last == n:
                old, here, first = here, here + 1 if here + 1 < len(out) else 0, 0
                for i in range(n):
                    point[i] = out[here, i] = out[old, i] - lr * slopes[i]
        for i in range(n):
            if not math.isfinite(point[i]):
                flags |= NOT_FINITE
        return flags

    return descent


def update(lr: float, slopes: Floats, x: Floats) -> None:
    """Do ``x -= lr * slopes`` over flat buffers in one pass, without the temporary that NumPy needs."""
    for i in range(x.size):
        x[i] -= lr * slopes[i]
