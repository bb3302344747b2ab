"""What f is where a `threads.Sweep` has arrived: values of f, which show that f reads there what it reads here.

Values are compared bit for bit. Where they differ, three things are told apart: rounding, by the spacing of floats;
noise of f, by evaluating it again here; another array or other data, which is what is left.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__: list[str] = []  # nothing here is public

# Part of 1 + |x| by which the point moves where no scheme says what is near. Fixed by
# test_a_view_of_what_f_reads_and_a_global_are_found_and_a_harmless_view_is_not in tests/test_processes.py.
_SHARE = 1e-3
# Part of the move by which it is tried again where f has no value.
# Fixed by test_no_point_without_a_value_hides_another_array in tests/test_processes.py.
_LESS = 1 / 64
# Spacings of the largest value by which f may differ: a long sum of BLAS does by some 50 with other threads.
# Fixed by test_what_another_environment_rounds_is_no_other_array in tests/test_processes.py.
_ROUNDED = 128
# Times the noise that f has shown by which it may differ: one in some hundred normal samples is beyond that of another.
# Fixed by test_a_random_f_is_not_taken_for_one_that_reads_another_array in tests/test_processes.py.
_NOISY = 100


def values(sweep: Any) -> Iterator[float]:
    """Give f at points next to x, NaN where it has no value, until it has one, and then f(x)."""
    at_x = np.zeros(1)
    if sweep.throughput is not None and not sweep.objective.has_descent:  # an incremental f: its value is never used
        yield _value(sweep, at_x) + _differences(sweep)
    else:
        for offsets in _moves(sweep):
            yield (value := _value(sweep, offsets))
            if math.isfinite(value):
                break
    yield _value(sweep, at_x)


def is_same(sweep: Any, there: list[float]) -> bool:
    """Tell whether the `values` of another process are those of f here, but for rounding and the noise of f."""
    here = list[float]()
    for other, value in zip(there, values(sweep), strict=False):
        if value == other and math.isfinite(value) and not any(map(math.isfinite, here)):
            return True  # the usual case, by the first value next to x
        here.append(value)
    if _agree(here, there, 0.0):
        return True
    again = [value for _, value in zip(here, values(sweep), strict=False)]
    if np.array_equal(here, again, equal_nan=True):
        return False
    with np.errstate(all="ignore"):
        noise = np.abs(np.subtract(here, again)) if len(here) == len(again) else np.array([math.nan])
    return bool(np.isnan(noise).any()) or _agree(here, there, float(noise.max()))


def _agree(here: list[float], there: list[float], noise: float) -> bool:
    """Tell whether values agree; those next to x differ by no more than f(x) does, which rounds alike."""
    a, b = np.array(here), np.array(there[: len(here)])
    known = np.isfinite(a)
    if not np.array_equal(known, np.isfinite(b)):
        return False
    with np.errstate(all="ignore"):
        both = np.concatenate([a[known], b[known]])
        eps = float(np.finfo(np.float64 if (both.astype(np.float32) != both).any() else np.float32).eps)
        scale, gaps = float(np.abs(both).max(initial=0.0)), np.where(known, a - b, 0.0)
    at_x = float(gaps[-1])
    # At x itself even an f that magnifies what is rounded elsewhere keeps half of its digits.
    return abs(at_x) <= math.sqrt(eps) * scale + _NOISY * noise and bool(
        np.abs(gaps - at_x)[known].max(initial=0.0) <= _ROUNDED * eps * scale + _NOISY * (noise + abs(at_x))
    )


def _value(sweep: Any, offsets: NDArray[Any]) -> float:
    """Return f where x has moved by `offsets`, or NaN if it raises: nobody asked for it there."""
    with np.errstate(all="ignore"):
        try:
            return float(sweep.value_at(offsets))
        except Exception:
            # What f raises comes again. What comes once is of a signal handler, as a time limit is, and goes on.
            try:
                sweep.value_at(offsets)
            except Exception:  # noqa: BLE001
                return math.nan
            raise


def _moves(sweep: Any) -> Iterator[NDArray[Any]]:
    """Give displacements of x, flat: of all coordinates of the sweep, within reach of its scheme, and of one unit.

    All move one way, the other way, or less far; one unit moves to where the sweep evaluates f itself.
    """
    parts = sweep.x.values() if isinstance(sweep.x, Mapping) else [sweep.x]
    x = np.concatenate([np.asarray(part, np.float64).reshape(-1) for part in parts])
    members, far, other, one = _reach(sweep, x)
    # From half the reach to all of it, spread by the golden ratio: where all move alike, a change of f may cancel.
    shares = 0.5 + 0.5 * ((0.618 * np.arange(len(members))) % 1.0)
    for chosen, lengths in (
        (members, shares * far),
        (members, shares * other),
        (members, _LESS * shares * far),
        (one, far[: len(one)]),
    ):
        if lengths.any():
            offsets = np.zeros(x.size, lengths.dtype)
            offsets[chosen] = lengths
            yield offsets


def _reach(sweep: Any, x: NDArray[np.float64]) -> tuple[NDArray[np.intp], Any, Any, NDArray[np.intp]]:
    """Return the coordinates of a sweep, how far each moves either way, and the coordinates of its first unit."""
    where, everywhere = sweep.where, np.arange(x.size)
    if not isinstance(where, tuple) or sweep.rule.interpreted is not None:
        given = np.unique(where[1]) if isinstance(where, tuple) else where
        members = given if len(given) else everywhere
        far = _SHARE * (1.0 + np.abs(x[members]))
        return members, far, -far, members[:1]
    starts, members, lengths = where
    table = sweep.rule.data[2][sweep.rule.data[4]]
    first = np.zeros(1, np.intp)  # of the members of the first direction, where each appears for the first time
    if len(starts):
        members = members if len(members) else everywhere[: starts[-1]]
        appears = np.sort(np.unique(members, return_index=True)[1])
        which = np.searchsorted(starts, appears, "right") - 1
        first, members = np.flatnonzero(which == 0), members[appears]
        table = table[which] if len(table) > 1 else table
        lengths = lengths[appears] if len(lengths) > 1 else lengths
    members = members if len(members) else everywhere
    high, low = table.max(1, initial=0.0), table.min(1, initial=0.0)
    far = np.where(high >= -low, high, low)
    far, other = (np.broadcast_to(lengths * side, members.shape) for side in (far, high + low - far))
    return members, far, other, members[first]


def _differences(sweep: Any) -> float:
    """Return the sum of the differences of f that some units of an incremental sweep make, by quotients."""
    h = sweep.where[2][0] if isinstance(sweep.where, tuple) else sweep.rule.data[0]
    out, sweep.out = sweep.out, np.zeros(sweep.out.shape)
    try:
        for k in {0, sweep.size // 2, sweep.size - 1}:
            sweep.run_range(sweep.thread_state(), k, k + 1)
        return float(h * sweep.out.sum())
    finally:
        sweep.out = out
