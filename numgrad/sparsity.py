"""Sparse Jacobians: columns that share no row move together, and a pattern that is too small is found."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arguments import describe, needed, refuse_masks
from .loops import STEP_LOST, Directions, Floats, Indices, Rule, make_complex_step
from .points import GOLDEN, is_narrow, scales
from .verification import FAINT, check, suspicious

__all__: list[str] = []  # nothing here is public

# Patterns that are kept with their colours, for solvers that ask again and again: an n = 100,000 is coloured in the
# time of some 20 evaluations. Fixed by test_the_colours_of_a_pattern_are_found_once in tests/test_sparsity.py.
_MOST_KNOWN = 4
_known: tuple[Pattern, ...] = ()
# Colours that one pass over the columns gives: the bits of a number that stays an integer without a sign.
_BITS = 62
# Columns, more than any pattern has: a list does not tell how many it has.
_WIDEST = 2**62


@cache  # and on first use, since the import of numba takes half a second
def _kernels() -> tuple[Any, Any]:
    """Return `_colour` and `_fill`, compiled."""
    from .objectives.compiling import compiled

    return compiled(cache=True)(_colour), compiled(cache=True)(_fill)


def _colour(starts: Any, rows: Any, order: Any, taken: Any, colours: Any) -> int:
    """Write a colour to each column, such that no two of a row share one, and return how many there are.

    Greedy: each column of `order` takes the first colour that no row of its has. `starts` and `rows` are the pattern by
    columns, `colours` is -1, and `taken` has memory for a number a row: the colours that it has, as bits. What finds no
    colour among those of a pass waits for the next one.
    """
    first, left, count = 0, len(order), 0
    while left > 0:
        taken[:] = 0
        left = 0
        for k in range(len(order)):
            j = order[k]
            if colours[j] >= 0:
                continue
            seen = 0
            for p in range(starts[j], starts[j + 1]):
                seen |= taken[rows[p]]
            own = 0
            while own < _BITS and (seen >> own) & 1:
                own += 1
            if own == _BITS:
                left += 1
                continue
            colours[j] = first + own
            count = max(count, first + own + 1)
            for p in range(starts[j], starts[j + 1]):
                taken[rows[p]] |= 1 << own
        first += _BITS
    return count


def _fill(pattern: Any, table: Any, divisors: Any, v: Any, base: Any, limits: Any, entries: Any) -> bool:
    """Write the entries of J by rows; tell whether some output changes along `v` by other than J v.

    `table` has the outputs by group, and those at ``x + v`` last. The `limits` are a share of the magnitude of J v, and
    of `base`. Without `divisors` all are 1. One pass, for the outputs of a large J are far apart in memory.
    """
    (starts, columns, groups), (share, faint) = pattern, limits
    # Of indices without a sign nobody asks whether to count from the end.
    last, stop, deviates = len(table) - 1, np.uintp(0), False
    for row in range(len(starts) - 1):
        i, first, stop = np.uintp(row), stop, np.uintp(starts[row + 1])
        expected, size = 0.0 * base[i], 0.0
        for p in range(first, stop):
            j = np.uintp(columns[p])
            entry = table[np.uintp(groups[j]), i]
            if len(divisors):
                entry = entry / divisors[j]
            entries[p] = entry
            term = entry * v[j]
            expected += term
            size += abs(term)
        deviates |= abs(table[last, i] - base[i] - expected) > share * size + faint * abs(base[i])
    return deviates


class Pattern:
    """The entries of a Jacobian by rows, and the colours of its columns: those of one colour share no row.

    Attributes
    ----------
    starts, columns : ndarray of int
        The entries of row i are in the `columns` between ``starts[i]`` and ``starts[i + 1]``, sorted.
    colours : ndarray of int
        The colour of each column; there are `count`.
    members, bounds : ndarray of int
        The columns by colour; those of colour c are between ``bounds[c]`` and ``bounds[c + 1]``.
    direction : ndarray of float64
        A random direction, from which the pattern is verified. Of two columns of one colour it must not have the same
        length, or a missing entry by the one would show as an entry by the other: they lie apart.
    """

    def __init__(self, given: Any) -> None:
        self.shape, self.given = given.shape, (given.indptr.copy(), given.indices.copy())
        entries = ones_of(given)
        by_columns = entries.tocsc()
        self.starts, self.columns = entries.indptr, entries.indices
        # The degree of a column, counted once for each row: the columns that share it.
        degrees = by_columns.T @ np.diff(self.starts).astype(np.int64)
        self.colours = np.full(self.shape[1], -1, np.intp)
        order, taken = np.argsort(-degrees, kind="stable"), np.zeros(self.shape[0], np.int64)
        self.count = _kernels()[0](by_columns.indptr, by_columns.indices, order, taken, self.colours)
        self.bounds, self.members = _by_group(self.colours)

    @cached_property
    def direction(self) -> Floats:
        """Lengths between 0.25 and 1 to random sides, by the golden ratio apart from each other in a colour."""
        rng, own = np.random.default_rng(0), np.repeat(np.arange(self.count), np.diff(self.bounds))
        places = rng.random(self.count)[own] + GOLDEN * (np.arange(len(own)) - self.bounds[own])
        direction = np.empty(len(own))
        direction[self.members] = (0.25 + 0.75 * (places % 1.0)) * rng.choice([-1.0, 1.0], len(own))
        return direction


def _by_group(groups: Indices) -> tuple[Indices, Indices]:
    """Return where among the members each group starts, with the end of the last one, and the columns by group."""
    short = groups.astype(np.min_scalar_type(groups.max(initial=0)))  # NumPy sorts 16 bits in a fourth of the time
    return np.append(0, np.cumsum(np.bincount(groups))).astype(np.intp), np.argsort(short, kind="stable")


def scipy_sparse() -> Any:
    return needed("scipy.sparse", "a sparsity needs scipy")


def as_pattern(sparsity: Any, shape: tuple[int, int]) -> Pattern:
    """Return the pattern of a boolean array, a sparse array or the columns of each row, with its colours.

    Raises
    ------
    TypeError
        If it is none of these.
    ValueError
        If its shape is another one, or a column is out of range.
    """
    global _known
    given = entries_of(sparsity, shape[1])
    if given.shape != shape:
        raise ValueError(f"sparsity must have the shape (f(x).size, x.size), {shape}, got {given.shape}")
    entries = given.indptr, given.indices
    found = [known for known in _known if known.shape == shape and all(map(np.array_equal, known.given, entries))]
    pattern = found[0] if found else Pattern(given)
    _known = (pattern, *(known for known in _known if known is not pattern))[:_MOST_KNOWN]
    return pattern


def coloured(sparsity: Any) -> Pattern:
    """Return a pattern with its colours; that of a list is as wide as its columns ask for."""
    return Pattern(entries_of(sparsity))


def ones_of(given: Any) -> Any:
    """Return a csr_array of ones where another one has entries, each once; what the entries are is not read."""
    data = np.ones(len(given.indices), np.int8), given.indices, given.indptr
    entries = scipy_sparse().csr_array(data, shape=given.shape, copy=True)
    entries.sum_duplicates()
    entries.data[:] = 1
    return entries


def entries_of(sparsity: Any, columns: int = _WIDEST) -> Any:
    """Return the entries as a csr_array; what a sparse array stores is an entry, whatever its value.

    The number of `columns` is that of a list, which does not tell it; without it, as many as it asks for.
    """
    sparse = scipy_sparse()
    if sparse.issparse(sparsity):
        if sparsity.ndim != 2:
            raise ValueError(
                f"sparsity must have two dimensions, got a {type(sparsity).__name__} of shape {sparsity.shape}"
            )
        return sparsity.tocsr()
    refuse_masks(sparsity, "sparsity")
    is_list = isinstance(sparsity, Sequence) and not isinstance(sparsity, str)
    try:
        rows = list(map(np.asarray, sparsity)) if is_list else []
        array = np.asarray(sparsity) if not is_list or _are_boolean(rows) else None
    except ValueError:
        rule = "sparsity as a list of bool must have rows of one length"
        raise ValueError(f"{rule}, and any other list the columns of each row") from None
    if array is None:
        return _of_columns(rows, columns)
    if array.dtype.kind not in "biuf" or array.ndim != 2:
        raise TypeError(
            f"sparsity must be a boolean array, a scipy sparse array or a list of columns a row, "
            f"got {describe(sparsity)}"
        )
    return sparse.csr_array(array != 0)


def _are_boolean(rows: list[NDArray[Any]]) -> bool:
    """Tell whether rows are of bool, or of zeros and ones; three of these are no columns, for two would be the same."""
    are_numbers = all(row.size > 2 and np.isin(row, (0, 1)).all() for row in rows)
    return bool(rows) and (are_numbers or all(row.dtype == np.bool_ for row in rows))


def _of_columns(rows: list[NDArray[Any]], n: int) -> Any:
    """Return the entries that the columns of each row stand for, of n columns, or as many as they ask for."""
    rows = [row.reshape(-1) if row.size else np.empty(0, np.intp) for row in rows]
    for kind in {row.dtype for row in rows}:
        if kind.kind not in "iu":
            raise TypeError(f"sparsity as a list has the columns of each row, as integers, got dtype {kind}")
    # One by one, for integers with and without a sign together are floats; too large ones come out negative.
    columns = np.concatenate([np.empty(0, np.intp), *rows], dtype=np.intp, casting="same_kind")
    if columns.size and not 0 <= columns.min() <= columns.max() < n:
        least, most = (end(end(row.tolist()) for row in rows if row.size) for end in (min, max))
        raise ValueError(f"columns of sparsity must be in range({n}), got {least} to {most}")
    starts = np.append(0, np.cumsum([row.size for row in rows])).astype(np.intp)
    shape = len(rows), n if n != _WIDEST else 1 + columns.max(initial=0)
    return scipy_sparse().csr_array((np.ones(columns.size, np.int8), columns, starts), shape=shape)


def symmetric_pattern(sparsity: Any, n: int) -> Any:
    """Return the entries of a Hessian as a csr_array: those given, those across the diagonal, and the diagonal."""
    entries = entries_of(sparsity, n)
    if entries.shape != (n, n):
        raise ValueError(f"sparsity must have the shape (x.size, x.size), {(n, n)}, got {entries.shape}")
    entries = ones_of(entries)
    return (entries + entries.T + scipy_sparse().eye_array(n, dtype=np.int8)).tocsr()


def symmetric_matrix(diagonal: Floats, above: Floats, pairs: tuple[Indices, Indices]) -> Any:
    """Return a csr_array of the diagonal, and of what is above it at these pairs, and across it."""
    (i, j), alone = pairs, np.arange(len(diagonal))
    at = np.concatenate([alone, i, j]), np.concatenate([alone, j, i])
    return scipy_sparse().csr_array((np.concatenate([diagonal, above, above]), at), shape=2 * diagonal.shape)


def _plan_of_groups(problem: Any, pattern: Pattern) -> tuple[tuple[Rule, Directions], Indices, Floats]:
    """Return how the columns of a group move, each by its own step and to its own side; each one's group; divisors.

    Without divisors the loop divides; else each column has one of its own.
    """
    (rule, where), groups = problem.plan, pattern.colours
    base, eps, offsets, weights, index, denominators, use_stored_distance = rule.data
    steps, starts, members, rows = where.lengths, pattern.bounds, pattern.members, index
    if len(index) > 1:  # next to a bound a scheme has stand-ins: the columns of a group have the same one
        keys, groups = np.unique(pattern.colours * len(offsets) + index, return_inverse=True)
        (starts, members), rows = _by_group(groups), keys % len(offsets)
    divisors, scale = denominators[index] * np.abs(steps), np.ones(len(offsets))
    if (use_stored_distance or is_narrow(problem.point)) and rule.make is not make_complex_step:
        divisors = _stored(problem, offsets[index].T, weights[index].T, steps)
    if len(divisors) == 1:
        scale, divisors = scale * divisors, np.empty(0)
    rule = rule._replace(data=(base, eps, offsets, weights, rows, scale, False))
    return (rule, Directions(starts, members, steps if len(steps) == 1 else steps[members])), groups, divisors


def sparse_jacobian(problem: Any, pattern: Pattern) -> tuple[Any, int]:
    """Return the Jacobian of a problem as a csr_array, and flags.

    ValueError if f depends on what the pattern has no entry for.

    One evaluation along a random direction v verifies it: what f changes by should be J v.
    """
    plan, groups, divisors = _plan_of_groups(problem, pattern)
    steps, base = np.abs(problem.plan[1].lengths), problem.base.reshape(-1)
    if problem.plan[0].make is make_complex_step:
        steps = np.cbrt(problem.eps) * scales(np.asarray(problem.point))
    with np.errstate(under="ignore"):
        v, entries = problem.inside(steps * pattern.direction), np.empty(len(pattern.columns), base.dtype)
    table = np.empty((len(plan[1].starts), problem.width))
    flags = problem.differentiate(plan, table[:-1], problem.options.progress)
    table.view(base.dtype)[-1] = forth = problem.moved(v)
    problem.verified = v, forth
    with np.errstate(all="ignore"):
        limits = suspicious(problem, v), FAINT * problem.eps
        index = pattern.starts, pattern.columns, groups
        if not problem.objective.has_descent:  # the loops of Python say nothing of the members of a group
            is_lost = np.abs(np.asarray(problem.point, np.float64)).reshape(-1) * plan[0].data[1] > steps
            flags |= STEP_LOST if is_lost.any() else 0
        deviates = _kernels()[1](index, table.view(base.dtype), divisors, v, base, limits, entries)
    found = scipy_sparse().csr_array((entries, pattern.columns.copy(), pattern.starts.copy()), shape=pattern.shape)
    if deviates and v.size:
        check(problem, found, v, forth)
    return found, flags


def _stored(problem: Any, offsets: Floats, weights: Floats, steps: Floats) -> Floats:
    """Return the divisors of all columns by the points as they are stored; NaN where these coincide."""
    memory = np.asarray(problem.point).reshape(-1)
    x = memory.astype(np.promote_types(memory.dtype, np.float64))
    with np.errstate(all="ignore"):
        moved = (x + offsets * steps).astype(memory.dtype).astype(x.dtype) - x
        divisors = (weights * moved).sum(axis=0).astype(np.float64)
    return np.where(divisors == 0.0, np.nan, divisors)
