"""SeparableObjective: a sum of small elements, each of which reads few coordinates."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numba import config
from numpy.typing import ArrayLike, NDArray

from .. import driver, loops
from ..arguments import (
    ALL_COORDINATES,
    arrays_in,
    describe,
    is_compiled,
    needed,
    raise_argument_changed,
    sharing,
    unmasked,
)
from ..loops import ARGUMENT_CHANGED, RESPONDED, STEP_LOST, Floats, Indices, Rule
from ..points import LOSS_EPS
from ..threads import Sweep, Throughput, cost_of
from . import elements
from .captures import check_types
from .compiled import called
from .elements import Form
from .incremental import Unperturbed
from .python import PythonObjective

__all__ = ["SeparableObjective"]

Members: TypeAlias = "NDArray[np.uint32 | np.uintp]"

# Each block of elements has sums of its own, so that the bits do not depend on the thread that does it. A block has
# _LEAST elements at least, so that its own cost does not count. There are _SOME blocks, so that threads can share a few
# thousand costly elements; beyond 65,536 elements each, there are up to _BLOCKS. Beyond _FEWEST blocks, all together
# have no more than _OVERLAP times as many sums as x has elements.
# Fixed by test_blocks_are_few_where_they_overlap and benchmarks/bench_separable.py.
_LEAST, _SOME, _BLOCK, _BLOCKS, _FEWEST, _OVERLAP = 256, 64, 1 << 16, 256, 4, 4

# Elements, at most, that show how large those are which may cancel in the sum, and the noise of all. Fixed by
# test_elements_that_cancel_at_small_coordinates in tests/test_separable.py, test_noise_of_elements_is_warned_of in
# tests/test_digits.py, and test_hessian in benchmarks/bench_separable.py.
_SAMPLE = 128

# In place of data that no element has.
_NONE = np.empty(0)


class SeparableObjective:
    """A sum of elements, ``f(x) = sum_e element(x[index[e]], data[e])``, whose gradient costs a few evaluations of f.

    Parameters
    ----------
    element : function compiled with `numba.njit`
        ``element(z, *args) -> float``, or ``element(z, d, *args)`` with `data`: z is a float64 vector, the coordinates
        ``x[index[e]]``, and d is ``data[e]``. It may run on several threads at once. It must not keep z, which is
        memory of the loop, nor read beyond z by a number among its data: compiled code does not look.
    index : array_like of int, of shape (elements, k), or a sequence of one-dimensional ones
        The flat coordinates, in C order, that each element reads; an element may read one of them twice.
    data : array_like, optional
        What else each element reads: its first axis is that of the elements.

    Attributes
    ----------
    element, data : callable, ndarray or None
        What was given.

    Raises
    ------
    TypeError
        If `element` is not compiled, `index` does not hold integers, elements of it or of `data` are masked, or numba
        has no type for `data`.
    ValueError
        If a coordinate is negative, or `data` has not one row for each element. When used: if the shortest element
        reads more coordinates, or more of its data, than it has.

    Notes
    -----
    A difference of f along one coordinate is the sum of the differences of the elements that read it, so that all
    central differences take two evaluations of each element for each coordinate that it reads, whatever the length of
    x. They equal those of the plain loop but for the round-off of its long sums, of which they are free. A NaN reaches
    only the coordinates of its own element. `numerical_hessian` returns a `scipy.sparse.csr_array`; an element of k
    coordinates takes ``k**2 + k + 1`` evaluations. Bits do not depend on the number of threads.

    References
    ----------
    Griewank, A. and Toint, P. L., *Partitioned variable metric updates for large structured optimization problems*,
    Numerische Mathematik 39, 1982.

    Examples
    --------
    A chain of springs:

    >>> import numpy as np
    >>> from numba import njit
    >>> from numgrad import SeparableObjective, numerical_gradient
    >>> @njit()
    ... def spring(z):
    ...     return 0.5 * (z[1] - z[0] - 1.0) ** 2
    >>> x = np.array([0.0, 1.5, 2.0])
    >>> chain = SeparableObjective(spring, [[0, 1], [1, 2]])
    >>> chain(x), numerical_gradient(chain, x).round(6)
    (0.25, array([-0.5,  1. , -0.5]))
    """

    def __init__(self, element: Callable[..., float], index: Any, data: ArrayLike | None = None) -> None:
        if not (is_compiled(element) or (config.DISABLE_JIT and callable(element))):  # type: ignore[attr-defined]
            raise TypeError(f"element must be compiled: decorate it with numba.njit(); got {describe(element)}")
        self.element, self.data = element, None if data is None else elements.known_to_numba(data)
        self._starts, self._members = _as_lists(index)
        sizes, members = np.diff(self._starts), self._members
        self._longest, self._least_size = int(sizes.max(initial=0)), int(members.max(initial=0)) + bool(len(members))
        self._size = self._longest if (sizes == self._longest).all() else 0
        keys = np.repeat(np.arange(len(sizes)), sizes) * self._least_size + members.astype(np.intp)
        keys.sort()  # of a million elements in a twentieth of the time of numpy.unique
        self._repeats = bool((keys[1:] == keys[:-1]).any())
        # Kept here, since each call makes a _Separable anew: the next one knows how fast the last one was.
        self._throughput, self._parts = Throughput(), Throughput()  # of blocks, and of elements
        self._known: _Layout | None = None
        self._is_checked = False  # whether an element was seen to read no more than it has
        if self.data is not None and (not self.data.ndim or len(self.data) != len(self)):
            raise ValueError(f"data must have one row for each of {len(self)} elements, got {describe(self.data)}")

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __call__(self, x: ArrayLike, *args: Any) -> float:
        """Return the sum of all elements at `x`."""
        own = self._as_objective()
        return own.value(own.place(x, args)[0], args)

    def __repr__(self) -> str:
        return f"SeparableObjective({getattr(self.element, '__name__', self.element)}, {len(self)} elements)"

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_known": None}

    def _hessian(self, x: Floats, steps: Floats, args: tuple[Any, ...], workers: Any, progress: Any) -> Any:
        """Return the Hessian by second differences at `x`, with a step of each coordinate, as a csr_array.

        Raises
        ------
        TypeError
            If `workers` is not a number of threads.
        ImportError
            If scipy is not installed.
        """
        if callable(workers):
            raise TypeError("the Hessian of a SeparableObjective takes a number of threads as workers")
        csr_array = needed("scipy.sparse", "the Hessian is a scipy.sparse.csr_array").csr_array
        indptr, indices, *where = self._layout(x.size).pattern
        data, own = np.empty(len(indices)), self._as_objective()
        sweep = _Curvatures(own, x, args, Rule(loops.make_central, (steps,)), where, data)
        with driver.reporting(progress, len(self)) as report:
            driver.run(sweep, workers, report and (lambda done: report(done * len(self) // sweep.size)))
        return csr_array((data, indices.copy(), indptr.copy()), shape=(x.size, x.size))

    def _some(self) -> tuple[SeparableObjective, Any]:
        """Return the sum of some random elements, and the coordinates of x that it reads, in order."""
        if len(self) <= _SAMPLE:
            return self, slice(None)
        chosen = np.random.default_rng(0).choice(len(self), _SAMPLE, replace=False)
        rows = [self._members[self._starts[e] : self._starts[e + 1]] for e in chosen]
        read, members = np.unique(np.concatenate(rows), return_inverse=True)
        index, data = np.split(members, np.cumsum(list(map(len, rows)))[:-1]), self.data
        some = SeparableObjective(self.element, index, None if data is None else data[chosen])
        some._size, some._repeats = self._size, self._repeats  # nothing is compiled anew
        return some, read

    def _layout(self, size: int) -> _Layout:
        """Return the layout for an x of so many elements, which is kept."""
        if self._known is None or self._known.size != size:
            self._known = _Layout(self._starts, self._members, size)
        return self._known

    def _as_objective(self) -> _Separable:
        return _Separable(self, elements.kernels_of(self.element))


def _as_lists(index: Any) -> tuple[Indices, Members]:
    """Return where the coordinates of each element begin, and the coordinates of all."""
    try:
        rows = unmasked(index, "index")
        if rows.ndim != 2:
            raise ValueError
        lengths = np.full(len(rows), rows.shape[1])
    except ValueError:
        if not isinstance(index, Sequence | np.ndarray) or any(np.ndim(row) != 1 for row in index):
            rule = "index must be an array of shape (elements, k), or a sequence of one-dimensional ones"
            raise TypeError(f"{rule}, got {describe(index)}") from None
        lengths = np.array(list(map(len, index)), np.intp)
        parts = [np.asarray(row) for row in index if len(row)]
        others = [part.dtype for part in parts if part.dtype.kind not in "iu"]  # beside integers, bool would become one
        # Not as NumPy would join them: integers with and without a sign are floats together.
        rows = np.concatenate([ALL_COORDINATES, *parts], dtype=others[0] if others else np.intp, casting="unsafe")
    if rows.dtype.kind not in "iu" and rows.size:
        raise TypeError(f"index must hold integers, got dtype {rows.dtype}")
    if rows.min(initial=0) < 0:
        raise ValueError(f"index must hold coordinates from 0, got {rows.min()}")
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.intp), _unsigned(rows.reshape(-1))


def _unsigned(indices: NDArray[Any]) -> Members:
    """Return indices as short as they can be, and unsigned: numba looks at the sign of each index otherwise.

    Either takes a tenth of the time of a cheap element, or more.
    """
    return indices.astype(np.uint32 if indices.max(initial=0) < 2**32 else np.uintp)


class _Layout:
    """Where the elements of an index add to what belongs to an x of one size."""

    def __init__(self, starts: Indices, members: Members, size: int) -> None:
        self.starts, self.members, self.size = starts, members, size
        self.blocks = _blocks_of(starts, members, size)

    @cached_property
    def pattern(self) -> tuple[Any, ...]:
        """The indptr and the indices of the Hessian, and the place in it of each pair of coordinates of each element.

        These are in the order of elements: the last three are where the pairs of each one begin, places, and blocks.
        """
        counts = np.diff(self.starts)
        squares = np.concatenate([[0], np.cumsum(counts**2)])
        lengths = np.repeat(counts, counts)  # of the row of pairs of each member
        shifts = np.repeat(self.starts[:-1], counts) - (np.cumsum(lengths) - lengths)
        columns = self.members[np.repeat(shifts, lengths) + np.arange(squares[-1])].astype(np.int64)
        keys = np.repeat(self.members, lengths).astype(np.int64) * self.size + columns
        known, places = np.unique(keys, return_inverse=True)
        indptr, indices = np.searchsorted(known, np.arange(self.size + 1) * self.size), known % max(self.size, 1)
        kind, targets = np.int32 if max(self.size, len(known)) < 2**31 else np.int64, _unsigned(places)
        blocks = _blocks_of(squares, targets, len(known))
        return indptr.astype(kind), indices.astype(kind), squares, targets, blocks


def _blocks_of(starts: Indices, targets: Members, size: int) -> tuple[Indices, Members, int]:
    """Return where blocks of elements begin and end, the lowest target of each, and how many each may reach.

    Element e adds to ``targets[starts[e]:starts[e + 1]]``, of so many.
    """
    number = len(starts) - 1
    if not len(targets):
        return np.array([0, number]), np.zeros(1, np.uintp), 1
    count = int(max(1, min(number // _LEAST, _SOME), min(number // _BLOCK, _BLOCKS)))
    while True:
        bounds = np.linspace(0, number, count + 1).astype(np.intp)
        firsts, ends = starts[bounds[:-1]], starts[bounds[1:]]
        filled, (lowest, highest) = firsts < ends, np.zeros((2, count), targets.dtype)
        for found, each in ((lowest, np.minimum), (highest, np.maximum)):
            found[filled] = each.reduceat(targets, firsts[filled])  # the others would end the block before them early
        width = int((highest - lowest).max()) + 1
        if count <= _FEWEST or count * width <= _OVERLAP * size:
            return bounds, lowest, width
        count = max(_FEWEST, count // 2)


class _Separable(Unperturbed):
    """The kind of a `SeparableObjective`: each element is moved by itself."""

    def place(self, x: ArrayLike, args: tuple[Any, ...]) -> tuple[NDArray[Any], bool]:
        """Return `x` as a C-contiguous float64 array, of enough elements, whose memory `args` do not share."""
        point, least = super().place(x, args)[0], self.f._least_size
        check_types(args)
        memory = *arrays_in(args), ("data", _NONE if self.f.data is None else self.f.data)
        if (name := sharing(memory, point)) is not None:
            raise ValueError(f"{name} shares memory with x, but elements see only copies of x change; pass a copy")
        if point.size < least:
            raise ValueError(f"x of {point.size} elements is too short: index goes up to {least - 1}")
        if len(self.f) and not self.f._is_checked:
            elements.check_reach(self.f, point.reshape(-1), args)
            self.f._is_checked = True
        return point, False

    def form(self, make: Any, scheme: tuple[Any, ...] = ()) -> Form:
        """Return what is compiled into the loop of `make`."""
        return Form(make, self.f.data is not None, self.f._size, self.f._repeats, scheme)

    def run(self, form: Form, *arguments_of_it: Any) -> Any:
        """Return what the loop of a form around the element returns; TypeError if numba cannot compile it."""
        return called(self.kernels.loops[form][0], *arguments_of_it, what="element for this index and data")

    def state(self, x: Floats) -> tuple[Any, ...]:
        """Return what a loop reads, and a buffer of its own that it writes to."""
        f = self.f
        return x.reshape(-1), f._starts, f._members, _NONE if f.data is None else f.data, np.empty(2 * f._longest)

    def value(self, x: Floats, args: tuple[Any, ...]) -> float:
        """Return f(x)."""
        return float(self.run(self.form(elements.make_sum), self.state(x), args))

    returned = value

    def sweep(self, x: Any, args: tuple[Any, ...], rule: Rule, where: Any, out: Floats) -> Sweep:
        """Return the work of `rule`: that of the plain function, but for real differences of single coordinates."""
        if rule.make is loops.make_complex_step:
            raise ValueError("a SeparableObjective has no complex step; use another scheme")
        if rule.make is loops.make_central or (rule.make is loops.make_directions and not len(where.starts)):
            return _Changes(self, x, args, rule, where, out)
        return PythonObjective(self.f).sweep(x, args, rule, where, out)


class _SumsOfBlocks(Sweep):
    """Sums of what elements give, a unit for each block of elements, which are added up at the end."""

    value_cancels = True

    def begin(self, form: Form, terms: tuple[Any, ...], blocks: tuple[Indices, Members, int]) -> None:
        """Take the loop, what it knows beside the point, and the blocks."""
        self.form, self.terms, self.blocks, self.parts = form, terms, blocks[:2], self.objective.f._parts
        self.size = len(blocks[1])
        self.out = (np.empty if len(self.objective.f) else np.zeros)((self.size, blocks[2]))

    def thread_state(self) -> Any:
        """Return what a loop reads, and a buffer of its own."""
        return self.objective.state(self.x)

    def run_range(self, state: Any, start: int, stop: int) -> int:
        """Do the blocks start <= k < stop, in parts between which Ctrl-C is seen."""
        return driver.run(_Elements(self, state, start, stop))

    def add_up(self, total: Floats, divisor: float = 1.0) -> None:
        """Write the sums of all blocks to `total`, divided."""
        elements.add_blocks(self.blocks[1], self.out, divisor, total)

    def finish(self) -> int:
        """Add the sums of all blocks."""
        self.add_up(self.result)
        return 0


class _Elements(Sweep):
    """The elements of a range of blocks as units, which one thread does in turn."""

    def __init__(self, blocks: _SumsOfBlocks, state: Any, start: int, stop: int) -> None:
        self.blocks, self.state, self.range = blocks, state, (start, stop)
        self.first, last = (int(blocks.blocks[0][k]) for k in self.range)
        self.size, self.throughput, self.cost = last - self.first, blocks.parts, blocks.cost

    def run_range(self, _: Any, start: int, stop: int) -> int:
        """Do the elements start <= k < stop of the range."""
        own, units = self.blocks, (*self.range, self.first + start, self.first + stop)
        flags: int = own.objective.run(own.form, self.state, own.terms, own.args, own.blocks, units, own.out)
        if flags & ARGUMENT_CHANGED:
            raise_argument_changed()
        return flags


class _Changes(_SumsOfBlocks):
    """The differences of single coordinates."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        x, objective, self.data = self.x, self.objective, self.rule.data
        if self.rule.make is loops.make_central:  # to ask `schemes.rule_at` takes 0.1 of a small gradient
            pair = np.array([[1.0, -1.0]])
            self.chosen, self.lengths = self.where, np.array([self.data[0]])
            self.data = math.nan, LOSS_EPS, pair, pair, np.zeros(1, np.intp), np.array([2.0]), False
        else:
            self.chosen, self.lengths = self.where.members, np.abs(self.where.lengths)
        _, eps, offsets, weights, index, _, _ = self.data
        rows: Any = index if len(index) == 1 else slice(None)
        tables = (tuple(map(tuple, table[rows].tolist())) for table in (offsets, weights))
        # The loop tells of lost steps, in less time than a look at all of x takes, but knows not which are chosen.
        seen = 0.0 if len(self.chosen) else eps
        scheme, terms = (*tables, len(self.lengths) > 1), (self._of_all(self.lengths), self._of_all(index), seen)
        self.begin(objective.form(elements.make_changes, scheme), terms, objective.f._layout(x.size).blocks)
        self.throughput, self.cost = objective.f._throughput, (cost_of(x, self.args), scheme)

    def _of_all(self, numbers: NDArray[Any]) -> NDArray[Any]:
        """Return one number, or the numbers of all coordinates of x for those of the chosen ones."""
        if len(numbers) == 1 or not len(self.chosen):
            return numbers
        spread = np.zeros(self.x.size, numbers.dtype)
        spread[self.chosen] = numbers
        return spread

    def finish(self) -> int:
        """Add the sums of all blocks, and divide them by the step of each coordinate."""
        result, values = self.result, self.x.reshape(-1)
        _, eps, offsets, weights, index, denominators, use_stored_distance = self.data
        divisor = denominators[index] * self.lengths
        with np.errstate(all="ignore"):
            if len(divisor) == 1 and not (use_stored_distance or len(self.chosen)):
                self.add_up(result, divisor[0])  # a pass over the result less, a third of a bare evaluation of f
            else:
                total = np.empty(len(values))
                self.add_up(total)
                total, values = (total[self.chosen], values[self.chosen]) if len(self.chosen) else (total, values)
                if use_stored_distance:
                    terms = zip(weights[index].T, offsets[index].T, strict=True)
                    divisor = sum(weight * ((values + offset * self.lengths) - values) for weight, offset in terms)
                np.divide(total, np.where(divisor == 0.0, math.nan, divisor), out=result)
            flags = RESPONDED if result[0] or result.any() else 0  # all of it takes a tenth of a bare evaluation of f
            is_lost = len(self.chosen) and (np.abs(values) * eps > self.lengths).any()
        return flags | STEP_LOST if is_lost or not divisor.all() else flags


class _Curvatures(_SumsOfBlocks):
    """The second derivatives, at the places of a pattern, which is `where` they are."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        squares, targets, blocks = self.where
        self.begin(self.objective.form(elements.make_curvatures), (self.rule.data[0], squares, targets), blocks)
        self.throughput, self.cost = Throughput(), ("second", cost_of(self.x, self.args))
