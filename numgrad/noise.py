"""The noise of f along a line through x, as far as values near x tell it: rounding, stairs, and the teeth of a saw."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .looks import first_half_off
from .loops import Floats
from .points import EPS, resolution, scales, where_defined

__all__: list[str] = []  # nothing here is public

# Looks, each 16 times farther, for the noise of an f that stores x in fewer digits: from the first to the thousandth
# of coordinates that then moves. Fixed by test_no_pair_is_missing_in_few_digits in tests/test_hessian.py, and by
# "x in float32, directions" of tests/check_kinds.py.
LOOKS = 3
# All of these are without unit, and fixed by the kinds of tests/test_check_kinds.py.
# Power of 2, of the first step: the spacing at which the noise of f is measured; it grows by 4 so many times at most.
_SPACING, _GROWTHS = -24, 18
# Part of the third differences, for a noise of 1, that the fifth ones of a smooth f are at most.
_ROUGH = 0.1
# Multiple by which noise may rise from one look to the next, 16 times farther: the stairs of more coordinates make 4 of
# it, a structure of f some 4,000. Fixed by test_what_f_does_far_from_x_is_no_noise in tests/test_checking.py.
_RISE = 32.0
# Part of f up to which a stair is that of its own rounding, 16 eps, and not of x. Fixed by the former, and tests/fuzz.
_OWN = 2.0**-48
# Spacings of a second look, which tells a kink at x from noise, and the part of the third differences across x that
# those beside x are at most where there seems to be one. Fixed by test_a_kink_is_no_noise in tests/test_checking.py.
_LONGER, _STRAIGHT = 16.0, 0.1
# Halvings of the distance in which f begins to change: three parts of what is left stay within the room at bounds.
# Fixed by test_a_kink_is_no_noise.
_HALVINGS = 8
# A place is so many times as far as the one before, on the line through which f is up to a multiple of what it was off
# the line before: of a bend that is 256. Fixed by test_a_penalty_beside_few_digits in tests/test_checking.py.
_FARTHER, _LEAVES = 16.0, 512.0
# Part of what f is off its line that one of 50 jumps makes; and part of the way back from where f is off to where it is
# still on the line, to which the halving narrows a jump: of a kink, however near to there, less than a jump is left.
# Fixed by test_a_kink_just_before_a_look_is_no_jump in tests/test_checking.py.
_JUMPS, _NARROW = 0.02, 1e-3
# Part of f that a jump is at most which is one of few digits: 8 bits, those of bfloat16; a larger one belongs to f.
# Fixed, as the next, by test_a_jump_beside_x_is_no_noise in tests/test_checking.py.
_DIGITS = 2.0**-7
# Multiple of the distance of a first jump at which others are sought, which is that many times as wide each time, and
# part of the jump that a difference tells one by. Fixed by the former, and by test_a_penalty_beside_few_digits.
_WIDER, _WIDEST, _AS_LARGE = 4.0, 16.0, 0.5
# Part of its change that an f without jumps is off the line where it is another: no jump is sought there.
_BENT = 0.1
# Units of the last place of f up to which its noise may be that of rounding alone, so that jumps may lie farther away.
_OWN_UNITS = 64.0
# Part of a step in the values of f that counts as a standard deviation: a uniform error has 0.29.
_OF_QUANTUM = 0.3
# Roundings of float64 from which on the unit of all values is that of fewer digits; the unit of float32 is 2**28. And
# the multiple of what f changes by with a spacing of x that this unit is at least: f may have the unit of x itself.
# Fixed by test_digits_that_f_loses_inside_are_warned_of and the tests next to it in tests/test_hessian.py.
_COARSE, _OF_X = 2.0**16, 64.0


def noise_of(
    ask: Callable[[list[float]], Floats], base: float, growths: int = 0, farthest: float = math.inf, jumps: bool = True
) -> float:
    """Return the standard deviation of f, from a table of differences of 7 values along a line.

    ``ask(ts)`` is f for each t spacings. Values that stay equal over some spacings are stairs, whose height
    counts; then it looks farther away so many times, while that does not look smooth, for more coordinates to climb
    theirs; beside the rounding of f, what is far larger there is what f does so far from x. A kink is no noise: not at
    x, where f is straight on both sides, and not where equal values end and grow with the distance. It looks no farther
    than `farthest`; where that is next to x, no noise is known. Where `jumps`, it looks on for those of an f that is
    smooth next to x: the teeth of few digits plus something smooth.
    """
    values_at = _asked_once(ask, base)
    end, change = _first_change(values_at, base, farthest)
    if change == 0.0:
        return 0.0
    values = _values(values_at, spacing := abs(end) / 3.0)
    noise, _ = _level(values)
    if spacing == 1.0:
        looks = jumps and is_quiet(noise, base)
        end, change = _first_jump(values_at, values, farthest) if looks else (0.0, 0.0)
    if change == 0.0:
        again = farthest >= 3.0 * _LONGER and _is_kinked(values)
        return _without_kink(noise, _level(_values(values_at, _LONGER))[0]) if again else noise
    if spacing > 1.0 and _grows(values_at, base, end, change):
        return 0.0
    spacing = abs(end) / 3.0
    noise = max(noise, _OF_QUANTUM * 0.25 * abs(change))  # which hid a quarter of the change
    for _ in range(growths):
        spacing *= 16.0
        if 3.0 * spacing > farthest:
            break
        further, is_smooth = _level(_values(values_at, spacing))
        if is_smooth or (further > _RISE * noise and abs(change) <= _OWN * abs(base)):
            break
        noise = max(noise, further)
    return noise


def _asked_once(ask: Callable[[list[float]], Floats], base: float) -> Callable[[list[float]], Floats]:
    """Return what asks for f at no place twice, and not at 0, where it is `base`."""
    known = {0.0: base}

    def values_at(places: list[float]) -> Floats:
        if new := [place for place in places if place not in known]:
            known.update(zip(new, ask(new).tolist(), strict=True))
        return np.array([known[place] for place in places])

    return values_at


def is_quiet(noise: float, base: float) -> bool:
    """Tell whether the noise of f may be that of its rounding."""
    return noise <= _OWN_UNITS * EPS * abs(base)


def _first_change(values_at: Callable[[list[float]], Floats], base: float, farthest: float) -> tuple[float, float]:
    """Return the first of the places 3, -3, 12, 48 ..., or else of -12, -48 ..., where f changes, and by how much."""
    above = [3.0 * 4.0**k for k in range(_GROWTHS + 1) if 3.0 * 4.0**k <= farthest]
    below = [-place for place in above]
    for place in above[:1] + below[:1] + above[1:] + below[1:]:
        if (change := float(values_at([place])[0]) - base) != 0.0:
            return place, change
    return 0.0, 0.0


def _first_jump(values_at: Callable[[list[float]], Floats], values: Floats, farthest: float) -> tuple[float, float]:
    """Return a place up to which f has jumped off its line, as few digits do, and by how much, or zeros.

    It has the values at -3 ... 3. A kink leaves the line as well: of a jump, halving the distance takes nothing.
    """
    below, base, above = (float(value) for value in values[::3])
    place, change, least = 3.0, above - base, _FARTHER * EPS * abs(base)
    known = max(abs(below - 2.0 * base + above), least)
    farthest = min(farthest, 3.0 * 4.0**_GROWTHS)
    ends = [end for k in range(1, _GROWTHS) if (end := 3.0 * _FARTHER**k) <= farthest]
    for k, end in enumerate(ends):
        # Two at a time, for both: a sweep of one evaluation takes several times as long as a simple f.
        value = values_at(ends[k : k + 2] if k % 2 == 0 else [end]).item(0)
        slope, change = change / place, value - base
        rest = abs(change - slope * end)
        if not rest <= _LEAVES * known:
            low, high, below, above = place, end, 0.0, rest
            while above - below > _JUMPS * rest and high - low > max(_NARROW * (end - low), EPS * end):
                middle = 0.5 * (low + high)
                off = abs(float(values_at([middle])[0]) - base - slope * middle)
                low, high, below, above = first_half_off((low, high, below, above), middle, off, rest)
            jump = above - below
            if _JUMPS * rest < jump <= _DIGITS * abs(base) and _recurs(values_at, high, jump, farthest):
                return high, jump
        if rest > max(_BENT * abs(change), 32.0 * least):
            break
        place, known = end, max(rest, least)
    return 0.0, 0.0


def _recurs(values_at: Callable[[list[float]], Floats], place: float, jump: float, farthest: float) -> bool:
    """Tell whether f jumps again beyond `place` or below x: the digits of f do again and again, a jump of f is one."""
    spacing = min(_WIDER * place, (farthest - place) / 6.0)
    while 0.0 < 6.0 * spacing <= farthest:
        for first, step in ((place, spacing), (-spacing, -spacing)):
            differences = np.diff(values_at([first + k * step for k in range(6)]), 3)
            if (np.abs(differences) > _AS_LARGE * jump).any():
                return True
        spacing *= _WIDEST
    return False


def _grows(values_at: Callable[[list[float]], Floats], base: float, end: float, change: float) -> bool:
    """Tell whether f, which stays the same up to some place between a quarter of `end` and `end`, has a slope there."""
    if float(values_at([(1.0 + 0.5**_HALVINGS) * end])[0]) - base == change:
        return False
    low, high = 0.25 * end, end
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if float(values_at([middle])[0]) == base else (low, middle)
    changes = np.diff(values_at([high + k * (high - low) for k in range(4)]))
    return bool(np.abs(changes).min() > 0.5 * np.abs(changes).max() and abs(np.sign(changes).sum()) == len(changes))


def _is_kinked(values: Floats) -> bool:
    """Tell whether third differences on either side of x are far smaller than those across x."""
    below, *across, above = np.abs(np.diff(values, 3))
    return bool(max(below, above) < _STRAIGHT * min(across))


def _without_kink(near: float, far: float) -> float:
    """Return the noise of which both have as much, and not what grows with the spacing, as a kink at x does."""
    if not 0.5 * _LONGER * near <= far <= 1.5 * _LONGER * near:
        return near
    return math.sqrt(max(0.0, (_LONGER * near - far) * (_LONGER * near + far) / (_LONGER**2 - 1.0)))


def _values(values_at: Callable[[list[float]], Floats], spacing: float) -> Floats:
    return values_at([j * spacing for j in range(-3, 4)])


def _level(values: Floats) -> tuple[float, bool]:
    """Return the standard deviation of f by third, fourth and fifth differences, and whether f looks smooth."""
    size = float(np.abs(values).max()) or 1.0  # the squares of what f returns may overflow
    tables = [(np.diff(values / size, order), math.comb(2 * order, order)) for order in (3, 4, 5)]
    levels = [size * math.sqrt(float(np.square(table).mean()) / count) for table, count in tables]
    levels = [level if math.isfinite(level) else 0.0 for level in levels]
    return sorted(levels)[1], levels[2] <= _ROUGH * levels[0]


def spacings(steps: Floats, least: Floats) -> Floats:
    """Return powers of 2, which x stores exactly, at which to measure noise, for first and for storable steps."""
    return np.exp2(np.ceil(np.log2(np.fmax(np.ldexp(steps, _SPACING), least))))


def coarse_unit(problem: Any, found: Floats) -> float:
    """Return the unit of which all values of f are multiples, if that is coarse, and else 0.

    They are where f rounds inside, to float32 or to decimals say, whatever it returns. One value more, from where no
    coordinate has few digits, tells that from terms which happen to be exact, and so does what the spacing of x makes
    of f.
    """
    coarse, value, plain = _COARSE * problem.rounding, problem.value, problem.plain
    # The value alone first, of which a float64 has many digits as a rule.
    if not value or max(_binary_unit(value), _decimal_unit(value)) < coarse:
        return 0.0
    part = np.random.default_rng(0).uniform(0.5, 1.0, plain.size)
    near = where_defined(lambda: problem.values([np.arange(plain.size)], part)[0])
    rest = found[np.isfinite(found) & (found != 0.0)]
    is_constant = near == value and not rest.size  # which tells nothing
    if near is None or not math.isfinite(near) or is_constant:
        return 0.0
    decimal = min(map(_decimal_unit, (value, near)))
    with np.errstate(all="ignore"):
        # Differences of decimals are multiples but for their rounding; both values may end in a zero.
        units = [decimal, 0.1 * decimal, 0.01 * decimal]
        own = [np.abs(rest - unit * np.rint(rest / unit)).max(initial=0.0) <= _OWN * abs(value) for unit in units]
        # Multiples by 0 tell nothing.
        are_told = near != value or bool(np.rint(rest / decimal).any())
        decimal = units[own.index(True)] if any(own) and are_told else 0.0
        of_x = abs(near - value) * np.max(resolution(plain) * scales(plain) / np.abs(part * problem.steps))
    unit = max(decimal, min(map(_binary_unit, (value, near, *rest.tolist()))))
    return unit if unit >= coarse and unit > _OF_X * of_x else 0.0


def _binary_unit(value: float) -> float:
    """Return the largest power of 2 of which a number is a multiple; infinity for 0."""
    whole, of = value.as_integer_ratio()
    return (whole & -whole) / of if value else math.inf


def _decimal_unit(value: float) -> float:
    """Return the largest power of 10 of which a number is a multiple as it is written; infinity for 0."""
    from decimal import Decimal  # on first use, since each first derivative would wait for it

    exponent: Any = Decimal(repr(float(value))).normalize().as_tuple().exponent
    return float(10.0**exponent) if value else math.inf
