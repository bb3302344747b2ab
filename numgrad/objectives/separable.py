"""SeparableObjective: a sum of small elements, each of which reads few coordinates."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numba import config
from numpy.typing import ArrayLike, NDArray

from .. import driver
from ..arguments import (
    ALL_COORDINATES,
    describe,
    is_compiled,
    raise_argument_changed,
    raise_compile_error,
    real_array,
)
from ..loops import ARGUMENT_CHANGED, RESPONDED, STEP_LOST, Floats, Indices, Rule, make_central, make_directions
from ..points import LOSS_EPS, is_flat_float64, private_copy, without_mask
from ..threads import Sweep, Throughput
from .compiling import cost_of
from .elements import Form, kernels_of, make_changes, make_curvatures, make_sum
from .python import PythonObjective

__all__ = ["SeparableObjective"]

Members: TypeAlias = "NDArray[np.uintp]"

# Elements of a block at least, a millisecond's work of cheap ones, and blocks at most, between which Ctrl-C is seen.
# Each block has its sums for itself, so that the bits do not depend on who does it; all blocks together have no more
# than four times as many sums as x has elements, beyond four blocks. Fixed by test_blocks_are_few_where_they_overlap.
_BLOCK, _BLOCKS, _FEWEST, _OVERLAP = 1 << 16, 256, 4, 4


# In place of data that no element has.
_NONE = np.empty(0)


class SeparableObjective:
    """A sum of elements, ``f(x) = sum_e element(x[index[e]], data[e])``, whose gradient costs a few evaluations of f.

    Parameters
    ----------
    element : function compiled with `numba.njit`
        ``element(z, *args) -> float``, or ``element(z, d, *args)`` with `data`: z is a float64 vector, the coordinates
        ``x[index[e]]``, and d is ``data[e]``. It may run on several threads at once.
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
        If `element` is not compiled, or `index` does not hold integers.
    ValueError
        If a coordinate is negative, or `data` has not one row for each element.

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
        self.element, self.data = element, None if data is None else np.asarray(data)
        self._set(*_as_lists(index))
        if self.data is not None and (not self.data.ndim or len(self.data) != len(self)):
            raise ValueError(f"data must have one row for each of {len(self)} elements, got {describe(self.data)}")

    def _set(self, starts: Indices, members: Members) -> None:
        """Keep the index, and learn what its elements have in common."""
        self._starts, self._members = starts, members
        sizes = np.diff(starts)
        self._longest, self._least_size = int(sizes.max(initial=0)), int(members.max(initial=0)) + bool(len(members))
        self._size = self._longest if (sizes == self._longest).all() else 0
        owners = np.repeat(np.arange(len(sizes)), sizes)
        order = np.lexsort((members, owners))
        self._repeats = bool(((np.diff(members[order]) == 0) & (np.diff(owners[order]) == 0)).any())
        # Kept here, since each call makes a _Separable anew: the next one knows how fast the last one was.
        self._throughput = Throughput()
        self._pattern: tuple[Any, ...] | None = None  # of the Hessian

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __call__(self, x: ArrayLike, *args: Any) -> float:
        """Return the sum of all elements at `x`."""
        return _Separable(self).value(private_copy(self._checked(x)), args)

    def __repr__(self) -> str:
        return f"SeparableObjective({getattr(self.element, '__name__', self.element)}, {len(self)} elements)"

    def __reduce__(self) -> Any:
        return _rebuilt, (self.element, self._starts, self._members, self.data)

    def _checked(self, x: ArrayLike) -> NDArray[Any]:
        array = without_mask(real_array(x))
        if array.size < self._least_size:
            raise ValueError(f"x of {array.size} elements is too short: index goes up to {self._least_size - 1}")
        return array

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
        try:
            from scipy.sparse import csr_array
        except ImportError:
            raise ImportError("the Hessian is a scipy.sparse.csr_array: python -m pip install scipy") from None
        counts = np.diff(self._starts)
        firsts = np.concatenate([[0], np.cumsum(counts * (counts + 1) // 2)])
        found, (indptr, indices, places, mirrored) = np.zeros(firsts[-1]), self._pattern_for(x.size)
        sweep = _Curvatures(_Separable(self), x, args, Rule(make_central, (steps,)), firsts[:-1], found)
        with driver.reporting(progress, sweep.size) as report:
            driver.run(sweep, workers, report)
        data = np.bincount(places, found, minlength=len(indices))
        data += np.bincount(mirrored, np.where(places == mirrored, 0.0, found), minlength=len(indices))
        return csr_array((data, indices.copy(), indptr.copy()), shape=(x.size, x.size))

    def _pattern_for(self, size: int) -> tuple[Indices, ...]:
        """Return the pattern of the Hessian, and the place in it of each pair of an element and of its image."""
        if self._pattern is None or len(self._pattern[0]) != size + 1:
            counts = np.diff(self._starts)
            upper = {k: np.triu_indices(k) for k in np.unique(counts)}
            # Elements of one size at a time, in the order of the pairs of all.
            firsts = np.concatenate([[0], np.cumsum(counts * (counts + 1) // 2)])
            pairs = np.empty((2, firsts[-1]), np.int64)
            for k, (rows, columns) in upper.items():
                own = np.flatnonzero(counts == k)
                targets = firsts[own][:, np.newaxis] + np.arange(len(rows))
                for side, offsets in enumerate((rows, columns)):
                    pairs[side, targets] = self._members[self._starts[own][:, np.newaxis] + offsets]
            keys = np.concatenate([pairs[0] * size + pairs[1], pairs[1] * size + pairs[0]])
            known, places = np.unique(keys, return_inverse=True)
            indptr = np.searchsorted(known, np.arange(size + 1) * size)
            self._pattern = indptr, known % size, *places.reshape(2, -1)
        return self._pattern

    def _blocks(self, size: int) -> tuple[Indices, Members, int]:
        """Return where blocks of elements begin and end, the lowest coordinate of each, and how many each may reach."""
        if not len(self._members):
            return np.array([0, len(self)]), np.zeros(1, np.uintp), 1
        count = int(min(max(len(self) // _BLOCK, 1), _BLOCKS))
        while True:
            bounds = np.linspace(0, len(self), count + 1).astype(np.intp)
            firsts = self._starts[bounds[:-1]]
            empty = self._starts[bounds[1:]] == firsts
            places = np.minimum(firsts, len(self._members) - 1)
            lowest, highest = (each.reduceat(self._members, places) for each in (np.minimum, np.maximum))
            lowest[empty], highest[empty] = 0, 0
            width = int((highest - lowest).max()) + 1
            if count <= _FEWEST or count * width <= _OVERLAP * size:
                return bounds, lowest, width
            count = max(_FEWEST, count // 2)

    def _as_objective(self) -> _Separable:
        return _Separable(self)


def _as_lists(index: Any) -> tuple[Indices, Members]:
    """Return where the coordinates of each element begin, and the coordinates of all."""
    try:
        rows = np.asarray(index)
        if rows.ndim != 2:
            raise ValueError
        lengths = np.full(len(rows), rows.shape[1])
    except ValueError:
        if not isinstance(index, Sequence | np.ndarray) or any(np.ndim(row) != 1 for row in index):
            rule = "index must be an array of shape (elements, k), or a sequence of one-dimensional ones"
            raise TypeError(f"{rule}, got {describe(index)}") from None
        lengths = np.array(list(map(len, index)), np.intp)
        rows = np.concatenate([ALL_COORDINATES, *map(np.asarray, index)])
    if rows.dtype.kind not in "iu" and rows.size:
        raise TypeError(f"index must hold integers, got dtype {rows.dtype}")
    if rows.min(initial=0) < 0:
        raise ValueError(f"index must hold coordinates from 0, got {rows.min()}")
    # Unsigned: numba looks at the sign of each index otherwise, which takes a fifth of the time of a cheap element.
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.intp), rows.reshape(-1).astype(np.uintp)


def _rebuilt(element: Any, starts: Indices, members: Members, data: Any) -> SeparableObjective:
    """Return an objective where it arrived, without a list of its rows."""
    objective = SeparableObjective(element, np.empty((0, 1), np.intp))
    objective.data = data
    objective._set(starts, members)
    return objective


class _Separable:
    """The kind of a `SeparableObjective`: each element is moved by itself."""

    has_descent = False

    def __init__(self, f: SeparableObjective) -> None:
        self.f, self.kernels = f, kernels_of(f.element)

    def __reduce__(self) -> Any:
        return _Separable, (self.f,)

    @property
    def threads(self) -> bool:
        """Whether several threads may run it; known once it has a place."""
        return self.kernels.threads

    def place(self, x: ArrayLike, args: tuple[Any, ...]) -> tuple[NDArray[Any], bool]:  # noqa: ARG002
        """Return `x` as a C-contiguous float64 array; nothing perturbs it."""
        if not self.kernels.kinds:
            self.kernels.meet("element")
        array = self.f._checked(x)
        return (array if is_flat_float64(array) else private_copy(array)), False

    def run(self, make: Any, *arguments_of_it: Any) -> Any:
        """Return what the loop of `make` around the element returns; TypeError if numba cannot compile it."""
        f = self.f
        form = Form(make, f.data is not None, f._size, f._repeats)
        try:
            return self.kernels.loops[form][0](*arguments_of_it)
        except Exception as error:
            raise_compile_error(error, "element for this index and data")
            raise

    def state(self, x: Floats) -> tuple[Any, ...]:
        """Return what a loop reads, and a buffer of its own that it writes to."""
        f = self.f
        return x.reshape(-1), f._starts, f._members, _NONE if f.data is None else f.data, np.empty(2 * f._longest)

    def value(self, x: Floats, args: tuple[Any, ...]) -> float:
        """Return f(x)."""
        return float(self.run(make_sum, self.state(x), args))

    returned = value

    def sweep(self, x: Any, args: tuple[Any, ...], rule: Rule, where: Any, out: Floats) -> Sweep:
        """Return the work of `rule`: that of the plain function, but for real differences of single coordinates."""
        if rule.make is make_central or (rule.make is make_directions and not len(where.starts)):
            return _Changes(self, x, args, rule, where, out)
        return PythonObjective(self.f).sweep(x, args, rule, where, out)

    def at_once(self, x: Any, args: Any, rule: Rule, where: Any, out: Floats, size: int | None = None) -> int:  # noqa: ARG002
        """Return -1: the changes of all elements are to be added, which a sweep does."""
        return -1


class _Changes(Sweep):
    """How the elements change, a unit for each block of elements and each scheme, and their sums at the end."""

    def __init__(
        self, objective: _Separable, x: Any, args: tuple[Any, ...], rule: Rule, where: Any, out: Floats
    ) -> None:
        super().__init__(objective, x, args, rule._replace(needs_value=False), where, out)
        chosen, lengths = where, np.array([rule.data[0]])
        if rule.make is not make_central:
            chosen, lengths = where.members, np.abs(where.lengths)
        self.chosen, self.lengths, self.result = chosen, lengths, out
        self.spread = lengths
        if len(lengths) > 1 and len(chosen):
            self.spread = np.zeros(x.size)
            self.spread[chosen] = lengths
        bounds, lowest, width = objective.f._blocks(x.size)
        self.blocks = bounds, lowest
        self.out = np.empty((len(self._schemes()) * len(lowest), width))
        self.size, self.throughput, self.cost = len(self.out), objective.f._throughput, (cost_of(x, args), rule.columns)

    def __reduce__(self) -> Any:
        make, (*known, _) = Sweep.__reduce__(self)
        return make, (*known, self.result.shape)

    def _schemes(self) -> list[tuple[Any, Any]]:
        """Return the offsets and weights of each scheme that some coordinate has."""
        if self.rule.make is make_central:
            return [((1.0, -1.0), (1.0, -1.0))]
        _, _, offsets, weights, rows, _, _ = self.rule.data
        return [(tuple(offsets[row].tolist()), tuple(weights[row].tolist())) for row in np.unique(rows)]

    def thread_state(self) -> Any:
        """Return what a loop reads, and a buffer of its own."""
        return self.objective.state(self.x)

    def run_range(self, state: Any, start: int, stop: int) -> int:
        """Do the units start <= k < stop: all blocks by the first scheme, then by the next one."""
        count, flags = len(self.blocks[1]), 0
        for row, (offsets, weights) in enumerate(self._schemes()):
            first, last = max(start - row * count, 0), min(stop - row * count, count)
            if first < last:
                terms, rows = (offsets, weights, self.spread), self.out[row * count : (row + 1) * count]
                flags |= self.objective.run(make_changes, state, terms, self.args, self.blocks, first, last, rows)
        if flags & ARGUMENT_CHANGED:
            raise_argument_changed()
        return flags

    def finish(self) -> int:
        """Add the sums of all blocks, and divide them by the step of each coordinate."""
        chosen, n, lowest = self.chosen, self.x.size, self.blocks[1].tolist()
        schemes, width = len(self.out) // len(lowest), self.out.shape[1]
        is_all = schemes == 1 and not len(chosen)
        totals = [self.result] if is_all else [np.empty(n) for _ in range(schemes)]
        for row, total in enumerate(totals):
            total[:] = 0.0
            for low, sums in zip(lowest, self.out[row * len(lowest) :], strict=False):
                total[low : low + width] += sums[: n - low]
        values = self.x.reshape(-1)[chosen] if len(chosen) else self.x.reshape(-1)
        if self.rule.make is make_central:
            eps, divisor = LOSS_EPS, 2.0 * self.lengths
        else:
            _, eps, offsets, weights, rows, denominators, use_stored_distance = self.rule.data
            divisor = denominators[rows] * self.lengths
            if use_stored_distance:
                terms = zip(weights[rows].T, offsets[rows].T, strict=True)
                divisor = sum(weight * ((values + offset * self.lengths) - values) for weight, offset in terms)
        if not is_all:
            index = np.searchsorted(np.unique(rows), rows) if schemes > 1 else 0
            own = chosen if len(chosen) else np.arange(n)
            self.result[:] = np.choose(index, [total[own] for total in totals])
        flags = RESPONDED if self.result.any() else 0
        with np.errstate(all="ignore"):
            np.divide(self.result, divisor, out=self.result)
        if not divisor.all():
            self.result[np.broadcast_to(divisor == 0.0, values.shape)] = math.nan
            flags |= STEP_LOST
        limit = (self.lengths / eps).min() if eps else math.inf
        return flags | (STEP_LOST if max(values.max(), -values.min()) > limit else 0)


class _Curvatures(Sweep):
    """The second derivatives of all elements, a unit for each element; `where` says where its own begin."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.size, self.throughput = len(self.where), Throughput()

    def thread_state(self) -> Any:
        """Return what a loop reads, and a buffer of its own."""
        return self.objective.state(self.x)

    def run_range(self, state: Any, start: int, stop: int) -> int:
        """Do the elements start <= e < stop."""
        units = self.rule.data[0], self.args, self.where, start, stop, self.out
        flags: int = self.objective.run(make_curvatures, state, *units)
        if flags:
            raise_argument_changed()
        return flags
