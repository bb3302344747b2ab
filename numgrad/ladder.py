"""The ladder: slopes of f along lines through x, for steps that differ by 4, and how far each can be trusted.

A line is a coordinate or a direction; what is judged is the slope that a candidate claims along it. A noisy f needs
large steps, and an f with kinks, or with a structure finer than x, needs small ones. Which of them count, neighbouring
steps tell: for a smooth f the slopes hardly differ, and the jumps between its one-sided slopes are as 1 to 4, while the
jump of a kink stays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .loops import Floats, Indices
from .points import EPS

__all__: list[str] = []  # nothing here is public

Flags = NDArray[np.bool_]

# All of these are without unit, and fixed by the kinds of tests/test_check_kinds.py.
# Rungs below and above the first step: down to 1e-9 of it, where fine structure is met, and up to 1e5 of it.
_LOWEST, _HIGHEST = -15, 9
# Rungs below the first at which a jump that stays is that of a kink at x, however small the step.
_LOW_ENOUGH = -4
# Standard deviations of f that a bar allows for in a slope, which has 0.7 of them: no false alarm in 1e11 slopes.
DEVIATIONS = 5.0
# What a bar makes of the differences of two rungs: truncation is a 15th of them, the error of a kink up to a half.
_APART, _BEND = 5.0, 3.0
# The relative error at which a slope is known well enough, and part of the typical slope below which none need be; the
# relative error above which longer steps are taken against noise. Next to 0.1 it takes one evaluation more a
# coordinate, and of the claims with an element that is 10 to 20 % off a third as many pass. Parts of a bar from which
# on that is to be within the tolerance, for a claim is farther off than noise explains, two standard deviations of a
# slope, or truncation, a 75th. Fixed by test_an_element_that_is_off_by_little_fails_in_noise, and by
# test_a_factor_near_1_is_found_where_f_changes_over_short_lengths.
_WELL, _SMALL, _VAGUE, _UNLIKELY, _EXPLAINED = 0.1, 0.1, 0.02, 0.25, 0.05
# Bars by which a higher rung must deny a claim, and multiple of the best known one near x that the bar of a rung yet
# nearer may be: test_a_slope_next_to_x_counts_beside_one_from_afar.
_BARS = 4.0
# Part of a slope, and of its distance from the claim, up to which the slopes by other steps are the same; and part of
# both that an error bar is to be below, for these steps to be worth while. Fixed by "kinks near" and "x of any scale".
_ALIKE, _CLEAR = 0.25, 1e-3
# Multiples of the first step: what the largest step is at least, to leave a stair of few digits, and how small the long
# steps become, each by the factor between; and the part of the distance from the claim that a slope by them must leave.
# Fixed by test_a_penalty_beside_few_digits and test_a_bent_penalty_beside_few_digits in tests/test_checking.py.
_FAR, _NEAR, _NEARER, _EXPLAINS = 4.0**5, 16.0, 8.0, 0.5
# Bars beyond which a claim fails: within them, the kinks of a noisy f make one of some 500 right claims differ.
_SURE = 2.0
# Part of a difference that a smaller step must confirm: what kinks make is smaller there.
_STAYS = 0.7
# Relative difference up to which two jumps are the same, and part of the slopes from which on a jump is a kink's.
_SAME, _JUMP = 0.3, 0.05
# Part of a kink's half jump that noise must stay below.
_QUIET = 0.1
# Part of a step by which a longer one tells stairs, and part of a smooth change up to which f stays the same there.
# Fixed by "x in float32" and "x in float16".
_FURTHER, _FLAT = 2.0**-14, 0.25
# Where |x| is below its first step: part of |x| over which a slope is taken; part of it that this is off at the first
# step where f is another, which no tolerance shows; and what noise, which half of the part tells, and the rounding by a
# short step leave of that. Fixed by test_a_form_of_the_length_of_a_small_x, test_a_minimum_at_a_small_x, and the tests
# next to them, in tests/test_checking.py.
_OF_X, _OTHER, _LEFT = 1 / 64, 1e-6, 0.1
# Part of its first step below which a coordinate is asked though most of its array is larger: some weights of a net are
# near 0 by chance. And coordinates of an array that are asked at most.
# Fixed by test_a_check_of_weights_near_0_takes_few_evaluations there.
_TINY, _MANY = 2.0**-12, 16


def shorten_steps(sides: Any) -> None:
    """Take the steps of |x| where that is below the first ones, at which f is another: a few coordinates tell.

    They are asked where |x| is far below its step, or where half of a float64 array is below it.
    """
    size = sides.sizes
    if not np.count_nonzero(small := (size > 0.0) & (size < sides.steps) & (sides.ends[0] < sides.ends[1])):
        return
    short = sides.steps_for(0.0)
    small &= short < sides.steps
    for name, place in sides.places.items():
        own = np.flatnonzero(small[place])
        if 2 * len(own) < place.stop - place.start or sides.eps > EPS:
            own = own[size[place][own] < _TINY * sides.steps[place][own]]
        if not len(own):
            continue
        few = slice(None, None, 1 + len(own) // _MANY)
        asked = own[few]
        lengths = np.concatenate([h[place][asked] for h in (0.5 * _OF_X * size, _OF_X * size, sides.steps)])
        found = sides.slopes(name, np.tile(asked, 3), lengths)
        (nearer, near, far), (half, jump, _) = (each.reshape(3, -1) for each in found)
        whole, off = np.abs(near) + np.abs(jump), np.abs(near - far)  # next to a minimum the slope is none
        least = _LEFT * np.fmin(whole, off)
        changes = (sides.rounding / short[place][asked] < least) & ~(off <= _OTHER * whole)
        smooth = changes & (np.fmax(np.abs(nearer - near), np.abs(2.0 * half - jump)) <= least)
        others = changes if 2 * smooth.sum() > changes.sum() else smooth  # which noise is now and then
        if others.any():  # what f computes from terms that cancel has more noise than its value tells
            others &= np.abs(sides.slopes(name, asked, short[place][asked])[0] - near) <= least
        is_other = np.full(len(own), 2 * others.sum() > len(others))
        is_other[few] = others
        sides.steps[place][own[is_other]] = short[place][own[is_other]]


class Lines(NamedTuple):
    """What is judged, line by line: claims, first, least and largest steps, round-off of x; and the typical slope.

    ``ask(which, steps)`` returns slopes and jumps of some lines, and ``noise()`` the standard deviation of f.
    """

    candidate: Floats
    step: Floats
    nearest: Floats
    farthest: Floats
    rounding: Floats
    typical: float
    ask: Callable[[Indices, Floats], tuple[Floats, Floats]]
    noise: Callable[[], float]


class Judged(NamedTuple):
    """What was found, line by line: slope, error bar, whether the claim fails, whether a kink is at x, the rung."""

    slope: Floats
    error: Floats
    failed: Flags
    kink: Flags
    rung: Indices


def are_denied(lines: Lines, known: tuple[Floats, Floats], rounding: float) -> Flags:
    """Tell which claims are wrong beyond doubt, beside the known slopes and their bars: then no ladder is needed.

    The slopes must be the same by steps so small that the rounding of f and of x just leaves them digits: no noise, no
    kink and no fine structure explains by what a claim is off. Few digits beside something smooth do, whose slope long
    steps show: from the largest down to those by which slopes are the same, none may come half way to its claim. If one
    does, no claim is denied.
    """
    (slope, error), claim = known, lines.candidate
    away = np.abs(claim - slope)
    size = np.fmin(np.abs(slope), away)
    # Where points are rounded by a part of the step, slopes are off by that part.
    of_points, of_values = lines.nearest * np.abs(slope) / size, rounding / size
    nearest = np.fmax(np.fmax(of_points, of_values) / _VAGUE, 4.0**_LOWEST * lines.step)
    denied, is_far = np.zeros(len(size), np.bool_), _FAR * lines.step <= lines.farthest
    sure = np.flatnonzero((error < _CLEAR * size) & (nearest < 0.25 * lines.step) & is_far)

    def is_alike(which: Indices, slopes: Floats, jumps: Floats) -> Flags:
        # Where the rounding of x is more than the step, a kink is that of another x.
        jumps = np.abs(jumps) * np.fmax(1.0, lines.rounding[which] / nearest[which])
        return np.fmax(np.abs(slopes - slope[which]), jumps) <= _ALIKE * size[which]

    one, steps = sure[:1], lines.farthest[sure]  # one line first, which tells of noise and kinks
    if not (len(sure) and is_alike(one, *lines.ask(one, nearest[one])).all()):
        return denied
    found = lines.ask(np.tile(sure, 2), np.concatenate([nearest[sure], steps]))
    (near, far), (jumps, _) = (each.reshape(2, -1) for each in found)
    while (np.abs(far - claim[sure]) > _EXPLAINS * away[sure]).all():
        steps = steps / _NEARER
        if (np.abs(far - slope[sure]) <= _ALIKE * size[sure]).all() or (steps < _NEAR * lines.step[sure]).all():
            denied[sure] = is_alike(sure, near, jumps)
            break
        far = lines.ask(sure, steps)[0]
    return denied


class Ladder:
    """Slopes and jumps of lines by rungs, a row each."""

    def __init__(self, lines: Lines) -> None:
        self.lines, self.ask = lines, lines.ask
        self.index, self.each = np.arange(_HIGHEST - _LOWEST + 1)[:, np.newaxis], np.arange(len(lines.step))
        self.steps = lines.step * 4.0 ** (self.index + _LOWEST)
        self.noise = DEVIATIONS * lines.noise() / self.steps
        self.slopes, self.jumps = np.full((2, *self.steps.shape), np.nan)
        self.asked = np.zeros(self.steps.shape, np.bool_)
        self.allowed = (self.steps <= lines.farthest) & (self.steps >= lines.nearest)
        # 1 where f has stairs, 2 where their height is known, -1 where it has none.
        self.stairs = np.zeros(len(self.each), np.intp)

    def first(self) -> Indices:
        """Return the row of each line where noise leaves a tenth of its slope, or the last but one."""
        least = np.fmax(np.abs(self.lines.candidate), _SMALL * self.lines.typical)
        top = np.where(self.allowed, self.index, 0).max(axis=0) - 1
        quiet = (self.noise <= _WELL * least) & (self.index >= -_LOWEST)
        return np.asarray(np.where(quiet.any(axis=0), np.minimum(quiet.argmax(axis=0), top), top), np.intp)

    def fill(self, *pairs: tuple[Indices, Flags | bool]) -> bool:
        """Ask for one row of each of the lines that are flagged, of all pairs at once, and tell whether any was new."""
        wanted = np.zeros(self.asked.shape, np.bool_)
        for rows, which in pairs:
            wanted |= which & (self.index == rows)
        wanted &= ~self.asked
        if is_new := bool(wanted.any()):
            self.asked |= wanted
            self.slopes[wanted], self.jumps[wanted] = self.ask(wanted.nonzero()[1], self.steps[wanted])
        return is_new

    def look_for_stairs(self, failed: Flags) -> bool:
        """Look whether f has stairs, as where it stores x in fewer digits, and tell whether that changed anything.

        On stairs a step hardly longer changes nothing. Their height, which the lowest rung shows that is not flat, is
        noise to the other rungs. Where f is flat at all rungs, the next larger one is asked for.
        """
        if not ((self.stairs == 1) | (failed & (self.stairs == 0))).any():  # those without a slope are among these
            return False
        index, lines = self.index, self.each
        heights = np.where(self.asked, self.steps * (np.abs(self.slopes) + 0.5 * np.abs(self.jumps)), 0.0)
        moved, low = heights > 0.0, self.asked.argmax(axis=0)
        first, is_flat = moved.argmax(axis=0), ~moved.any(axis=0)
        above = np.minimum(index[-1] - self.asked[::-1].argmax(axis=0) + 1, index[-1])
        is_new = self.fill((above, failed & is_flat & self.allowed[above, lines]))
        which = np.flatnonzero(failed & ~is_flat & (self.stairs == 0))
        if len(which):
            self.stairs[which] = np.where(self._stays(first[which], which), 1, -1)
        last = np.where(self.asked & (index < first), index, -1).max(axis=0)  # of the flat ones
        below = np.where(last < 0, low - 1, (last + first) // 2)
        more = (last < first - 1) & (below >= 0) & self.allowed[below, lines]
        is_new |= self.fill((below, more & (self.stairs == 1)))
        done = ~more & (self.stairs == 1)
        height = np.where(moved, heights, np.inf).min(axis=0)
        self.noise[:, done] = np.fmax(self.noise, height / self.steps)[:, done]
        self.stairs[done] = 2
        return is_new or bool(done.any())

    def _stays(self, rows: Indices, which: Indices) -> Flags:
        """Tell whether a step hardly longer than those of `rows` changes nothing on both sides."""
        steps = self.steps[rows, which]
        half, bend = self.slopes[rows, which] * steps, 0.5 * self.jumps[rows, which] * steps
        slopes, jumps = self.ask(which, (1.0 + _FURTHER) * steps)
        further, further_bend = (1.0 + _FURTHER) * steps * slopes, (1.0 + _FURTHER) * 0.5 * steps * jumps
        change = np.abs(further - half) + np.abs(further_bend - bend)  # of the side that changes more
        return np.asarray(change <= _FLAT * _FURTHER * (np.abs(half) + np.abs(bend)))

    def bars(self) -> Floats:
        """Return the error bars of all rungs, which are infinite without the next larger step."""
        apart = _APART * np.abs(self.slopes[:-1] - self.slopes[1:])
        bend = _BEND * np.abs(self.jumps[:-1] - 0.25 * self.jumps[1:])
        bars = np.full(self.steps.shape, np.inf)
        # Near a minimum the round-off of what f computes from x comes first: that of x, times the second derivative.
        rounded = self.lines.rounding * np.abs(self.jumps[:-1] / self.steps[:-1])
        bars[:-1] = np.maximum.reduce([self.noise[:-1], rounded, apart, bend])
        bars[~np.isfinite(bars)] = np.inf
        return bars

    def best(self) -> tuple[Floats, Floats, Indices, Floats]:
        """Return slope, bar and row of the least bar, and all bars."""
        bars = self.bars()
        rows = bars.argmin(axis=0)
        rows = np.where(np.isinf(bars[rows, self.each]), self.asked.argmax(axis=0), rows)
        return self.slopes[rows, self.each], bars[rows, self.each], rows, bars

    def judge(self, rtol: float, start: int | None = None) -> Judged:
        """Walk until each claim is known to be right or wrong, or noise or the largest step ends it."""
        rows = self.first() if start is None else np.full(len(self.each), start - _LOWEST, np.intp)
        self.fill((rows, True), (rows + 1, True))
        for _ in range(len(self.index)):
            slope, error, rows, _ = best = self.best()
            failed, gap = self._fails(slope, error, rtol)
            if self.look_for_stairs(failed):
                continue
            low = self.asked.argmax(axis=0)
            down = self._down(failed, gap, rtol, best[:2], low)
            above = ~self.asked & self.allowed & (self.index > rows)
            noisy = (error <= 1.01 * self.noise[rows, self.each]) | (self.stairs == 2)
            noisy &= self._is_vague(slope, error, gap, rtol) & above.any(axis=0) & ~down
            if not self.fill((low - 1, down), (above.argmax(axis=0), noisy)):
                return self._verdict(rtol, best)
        return self._verdict(rtol, self.best())

    def _fails(self, slope: Floats, error: Floats, rtol: float) -> tuple[Flags, Floats]:
        gap = np.abs(self.lines.candidate - slope)
        size = np.fmax(np.abs(self.lines.candidate), np.abs(slope))
        return ~(gap <= np.fmax(error, rtol * size)) & np.isfinite(error), gap

    def _is_vague(self, slope: Floats, error: Floats, gap: Floats, rtol: float) -> Flags:
        size = np.fmax(np.fmax(np.abs(self.lines.candidate), np.abs(slope)), _SMALL * self.lines.typical)
        return np.asarray(error > np.where(gap > _UNLIKELY * error, rtol, _VAGUE) * size)

    def _down(self, failed: Flags, gap: Floats, rtol: float, best: tuple[Floats, Floats], low: Indices) -> Flags:
        """Tell which lines need the next smaller step."""
        lines, claim, (found, error) = self.each, self.lines.candidate, best
        slope, below = self.slopes[low, lines], np.maximum(low - 1, 0)
        part = np.where(gap > _EXPLAINED * error, rtol, _WELL)
        rough = (error > part * np.fmax(np.abs(claim), np.abs(found))) | ~np.isfinite(slope)
        jump, change = self.jumps[low, lines], self.jumps[low, lines] - self.jumps[low + 1, lines]
        is_kink = (low <= _LOW_ENOUGH - _LOWEST) & (np.abs(change) <= _SAME * np.abs(jump))
        rough &= ~failed & ~is_kink & (self.noise[below, lines] < 0.5 * error)
        wrong = failed & (self.noise[below, lines] < gap)
        return np.asarray((rough | wrong) & self.allowed[below, lines] & (low > 0))

    def _verdict(self, rtol: float, best: tuple[Floats, Floats, Indices, Floats]) -> Judged:
        """Return what is found: only what another step denies as well has failed."""
        slope, error, rows, bars = best
        failed, gap = self._fails(slope, error, rtol)
        lines, index = self.each, self.index
        apart, size = np.abs(self.lines.candidate - self.slopes), np.fmax(np.abs(self.lines.candidate), np.abs(slope))
        near = (index < rows) & (self.noise < 0.5 * gap)
        agrees = near & (apart <= np.fmax(self.noise, rtol * size))
        # Where f is another from afar, what is known of it nearer to x counts: the nearest of what is known about best.
        relative = np.fmin(np.where(near, bars / np.abs(self.slopes), np.inf), np.inf)  # which is no NaN
        known = near & np.isfinite(self.slopes) & (relative <= _BARS * relative.min(axis=0))
        rows = np.where(failed & agrees.any(axis=0), known.argmax(axis=0), rows)
        slope, error = self.slopes[rows, lines], bars[rows, lines]
        failed, gap = self._fails(slope, error, rtol)
        near = (index < rows) & (self.noise < gap)
        denies = (near & (apart > np.fmax(self.noise, _STAYS * gap))) | ((index > rows) & (apart > _BARS * bars))
        doubtful = failed & (~denies.any(axis=0) | (gap <= _SURE * error)) & (gap < np.inf)
        error = np.where(doubtful, np.fmax(error, gap), error)
        slope, error, failed, kink = self._kinks(slope, error, failed & ~doubtful, rtol)
        return Judged(slope, error, failed, kink, rows + _LOWEST)

    def _kinks(self, slope: Floats, error: Floats, failed: Flags, rtol: float) -> tuple[Floats, Floats, Flags, Flags]:
        """Judge the lines whose jump stays as the step shrinks: between the one-sided slopes any claim passes."""
        jumps, lines = np.abs(self.jumps), self.each
        apart = np.abs(self.jumps[1:] - self.jumps[:-1])
        largest = np.fmax.reduce(jumps, axis=0, initial=0.0)
        low = (np.isfinite(jumps) & (self.noise < 0.5 * _QUIET * largest)).argmax(axis=0)
        low = np.minimum(low, len(self.index) - 2)
        middle, half = self.slopes[low, lines], 0.5 * jumps[low, lines]
        kink = (apart[low, lines] <= 2.0 * _SAME * half) & (2.0 * half > _JUMP * (np.abs(middle) + half))
        kink &= self.noise[low, lines] < _QUIET * half
        # Noisier steps are nearer to x: where even these see another slope, the jump is made of kinks beside x.
        nearer = self.index < low
        other = np.abs(self.slopes - middle) > self.noise + rtol * np.abs(middle)
        other |= np.abs(self.jumps - self.jumps[low, lines]) > 2.0 * (self.noise + _SAME * half)
        kink &= ~(nearer & other).any(axis=0)
        spare = self.noise[low, lines] + apart[low, lines] + rtol * (np.abs(middle) + half)
        outside = np.abs(self.lines.candidate - middle) > half + spare
        failed = np.where(kink, outside, failed)
        return np.where(kink, middle, slope), np.where(kink, half, error), failed, kink


def measure(part: Any, least: Floats, steps: Floats, noise: Callable[[], float]) -> None:
    """Write to a comparison, where its bars hide values, those by the measured noise of f, but not below the `least`.

    Bars are at first those of an f of as few digits as its argument or the candidate: it may have more.
    """
    if (hidden := part.hidden).any():
        part.error[hidden] = np.fmin(part.error, np.fmax(least, DEVIATIONS * noise() / steps))[hidden]


def settle(
    part: Any, at: Indices, lines: Callable[[Indices], Lines], limits: tuple[float, float], start: int | None = None
) -> int:
    """Write to a comparison what is found of some claims, and return the middle one of the rungs that tell it.

    The limits are the rounding of f, and rtol. Without a rung to start from, far longer and smaller steps come first;
    where they deny all claims, no rung tells it, and 0 is returned.
    """
    if start is None:
        part.failed[at] = are_denied(lines(at), (part.numerical[at], part.error[at]), limits[0])
        at = at[~part.failed[at]]
    if not len(at):
        return 0
    found = Ladder(lines(at)).judge(limits[1], start)
    part.numerical[at], part.error[at], part.failed[at], part.kink[at] = found[:4]
    return int(np.median(found.rung))
