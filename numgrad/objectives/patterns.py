"""Kernels of sparse Jacobians: groups of columns that share no row, and products with the entries."""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiling import compiled

__all__: list[str] = []  # nothing here is public

# Colours that one pass over the columns gives: the bits of a number that stays an integer without a sign.
_BITS = 62


@compiled(cache=True)
def colour(starts: Any, rows: Any, order: Any, taken: Any, colours: Any) -> int:
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


@compiled(cache=True)
def fill(pattern: Any, table: Any, divisors: Any, v: Any, base: Any, limits: Any, entries: Any) -> bool:
    """Write the entries of J by rows; tell whether some output changes along `v` by other than J v.

    `table` has the outputs by group, and those at ``x + v`` last. The `limits` are a share of the magnitude of J v, and
    of `base`. Without `divisors` all are 1. One pass, for the outputs of a large J are far apart in memory.
    """
    (starts, columns, groups), (share, faint) = pattern, limits
    last, stop, deviates = len(table) - 1, starts[0], False
    for i in range(len(starts) - 1):
        expected, size, first, stop = 0.0 * base[i], 0.0, stop, starts[i + 1]
        for p in range(first, stop):
            j = np.uintp(columns[p])  # without a sign nothing asks whether it counts from the end
            entry = table[np.uintp(groups[j]), i]
            if len(divisors):
                entry = entry / divisors[j]
            entries[p] = entry
            term = entry * v[j]
            expected += term
            size += abs(term)
        deviates |= abs(table[last, i] - base[i] - expected) > share * size + faint * abs(base[i])
    return deviates
