r"""All weights of a layer from few evaluations of what follows it.

With ``f(W) = mean_b rows(x @ W)_b``, a step h of ``W[i, j]`` moves the pre-activation ``z[b, j]`` by ``u = h x[b, i]``,
and the rows do not see each other. With the response of one sample to one pre-activation,
``D_bj(u) = rows(z + u e_j)_b - rows(z - u e_j)_b``,

    f(W + h e_ij) - f(W - h e_ij) = (1 / B) sum_b D_bj(h x[b, i]).

D is an odd function of u. Moving column j in every row at once gives D for all samples, and its values at few steps
give it at all: in units of the longest step of a sample, ``u_b = h max_i |x[b, i]|``, let ``t = h x[b, i] / u_b``. Then
``D = a_bj t + c_bj t**3 + d_bj t**5``, and the sum over the batch is a matrix product for each power. It is the central
difference for the finite step h, and not a derivative.

How many powers a sample and column need, a pair, is found step by step, at t = 1 and near 1/2, 3/4 and 1/4. The odd
part D and the even part ``E(t) = rows(z + t u e_j) + rows(z - t u e_j) - 2 rows(z)`` at the steps so far predict both
at the next one. If both come out, the pair is done. A kink of D may hide from the odd part, or from the even one, but
not from both: where neither shows more than the tolerance, the fit is off by 2, 4 and 31 times as much at most after 2,
3 and 4 steps. A pair that no fit describes is evaluated at ``h x[b, i]`` for each input that is not zero. A bump that
lies between two of the steps is not seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arguments import ALL_COORDINATES, underflowing
from ..loops import Floats, Indices
from ..points import EPS, resolution

__all__: list[str] = []  # nothing here is public

# Steps of a pair, in units of its longest one, in the order in which they are tried. They are no simple parts of one
# another, as 1/2, 3/4 and 1/4 are, by which stairs would fit a line by chance: twice as many at twice the step.
# Fixed by test_no_kink_hides_between_the_steps and test_stairs_are_evaluated_at_their_own_steps in tests/test_rows.py.
NODES = np.array([1.0, 0.5012, 0.7506, 0.2509])
# Roundings of a difference of two values, eps each, that pass for noise. Fixed by test_it_is_the_plain_loop.
ROUNDINGS = 8.0
# Relative to the largest difference of a column: what a fit of two powers may be off by at the third step, for a fit of
# three to be made of all three, as a part of h**4 and at most; a tenth of it at the fourth step. So many evaluations
# suffice for smooth rows. The largest difference counts up to OWN times that of the pair itself: where rows grow as
# exponentials do, it may be 1e100 times as large, and what small inputs do would be lost in it. Fixed by
# test_it_is_the_plain_loop, whose largest step asks for 1e-9, test_evaluations, and
# test_steep_samples_hide_no_small_inputs.
SMOOTH, LEAST_SMOOTH, OWN = 2e-2, 2e-10, 1e3
# Relative to the same: beyond it a third power would not help, and the pair takes its own steps.
# Fixed by test_no_kink_hides_between_the_steps.
ROUGH = 1e-6
# Unit of a pre-activation: the first step of slopes with error bars, a tenth of which is next where it was no fit; the
# longest, for noisy rows. Fixed by test_slopes_have_honest_bars in tests/test_rows.py.
STEP, LONGEST = 1e-3, 0.1
# Unit of a pre-activation: the steps of looks at noise, no multiples of a digit. The first is so short that curves and
# fine structure vanish; the others are for rows that were the same so far. Fixed by the same test and by
# test_stairs_of_rows_are_their_noise_and_zero_is_no_gradient_of_them.
NOISE_STEPS = 0.5437e-8, 0.5437e-6, 0.5437e-4, 0.5437e-2, 0.5437e-1
# Parts of a step in which a stair is one jump still. From far, two flat ends of a slope look like stairs, and a kink
# with a flat side does where it lies between the last two places: the last part is a quarter, by which others follow.
# Fixed by test_a_kink_is_no_noise_of_rows and the test after it.
_NEARER = 1.0, 2.0**-3, 2.0**-6, 2.0**-9, 2.0**-11
# Pairs that are looked at for noise; with noise, that suffice; and that are looked at for stairs, if there are fewer:
# the short step meets the finer ones. Fixed by test_a_check_takes_a_few_evaluations_a_column.
_LOOKS, _ENOUGH, _FEW = 80, 60, 32
# Places of a look in units of its step: five on either side of z. No tuning.
_PLACES = np.array([-4.7, -3.7, -2.7, -1.7, -0.7, 0.3, 1.3, 2.3, 3.3, 4.3])
# What makes of five values a fourth difference of 1 for a noise of 1, and the part of pairs of which the smaller one of
# two is no more then. No tuning; not the half, since stairs of floats are as high as values are large.
_FOURTH, _MOST = np.array([1.0, -4.0, 6.0, -4.0, 1.0]) / math.sqrt(70.0), 0.9
# Standard deviation of the rounding of what rows return, in units of its spacing. No tuning: that of a uniform error.
_ROUNDING = 0.3
# How far a slope may be off, in units of what its fit of 2, 3 or 4 steps may be: a kink that no step has seen. The
# worst of 200,000 places of a kink are 8, 16 and 23. Fixed by test_slopes_have_honest_bars.
UNSEEN = 12.0, 20.0, 32.0
# Relative difference of the even part to one in proportion to the step, up to which a sample is at a kink: of a curve
# it is 1. Fixed by test_every_slope_between_those_of_kinks_is_a_subgradient in tests/test_rows.py.
_PROPORTIONAL = 0.15
# Roundings of a sum over samples, eps each, by which a gradient may be off. No tuning.
SUM_ROUNDINGS = 8.0
# Own steps that are made at a time: 16 arrays of 512 KiB.
OWN_STEPS = 2**16
# Relative difference of a row's values in two companies that is no rounding: 5e5 roundings of float64.
# Fixed by test_rows_that_see_each_other_are_named in tests/test_rows.py.
COMPANY = 1e-10


def _fit_of(m: int) -> tuple[Floats, Floats, Floats]:
    """Return what makes of values at m nodes coefficients, and the odd and the even part at the next node."""
    odd, even = (NODES[: m + 1, np.newaxis] ** (2 * np.arange(m) + first) for first in (1, 2))
    inverse = np.linalg.inv(odd[:m])
    return inverse, odd[m] @ inverse, even[m] @ np.linalg.inv(even[:m])


FITS = [_fit_of(m) for m in range(1, len(NODES))]


class Block:
    """A block of samples next to which `rows` is evaluated: by ``near(b, j, u)``, `length` samples at a time.

    A pre-activation that is infinite or NaN stays what it is: no step of a weight moves it, but for a weight of an
    infinite input that changes its sign, or comes from 0 or to it. Such a one takes the plain loop's two evaluations,
    by `near_of(W)`, which returns `near` for other weights last. What rows add up, and round, is `unit` at least.
    """

    def __init__(self, W: Floats, near_of: Callable[[Floats], Any], unit: float = 0.0) -> None:  # noqa: N803
        self.W, self.near_of = W, near_of
        inputs, z, self.length, self.near = near_of(W)
        self.z, self.moves, finite, samples = z, np.isfinite(z), np.isfinite(inputs), np.arange(len(z))
        self.inputs = inputs if finite.all() else np.where(finite, inputs, 0.0)
        self.infinite = ALL_COORDINATES if finite.all() else np.flatnonzero(np.isinf(inputs).any(axis=0))
        self.size = np.abs(self.inputs).max(axis=1)
        self.rowmax = np.abs(z).max(axis=1, where=self.moves, initial=0.0)
        self.unit = np.where(self.size > 0.0, self.size, 1.0)[:, np.newaxis]
        self.eps, self.powers = EPS, dict[int, Floats]()
        self.base = self.values(samples, 0 * samples, np.zeros(len(samples)))
        self.largest = np.abs(self.base[np.isfinite(self.base)]).max(initial=unit)

    def values(self, b: Indices, j: Indices, u: Floats) -> Floats:
        """Return rows at ``z[b]`` moved by u in column j, from calls of so many samples."""
        found = np.empty(len(b))
        for first in range(0, len(b), self.length):
            part = slice(first, first + self.length)
            values = self.near(b[part], j[part], u[part])
            found[part], self.eps = values, max(self.eps, resolution(values))
        return found

    def both(self, b: Indices, j: Indices, u: Floats) -> tuple[Floats, Floats]:
        """Return the difference and the second difference of rows for the steps u."""
        values = self.values(np.concatenate((b, b)), np.concatenate((j, j)), np.concatenate((u, -u)))
        up, down = values[: len(b)], values[len(b) :]
        return up - down, up + down - 2.0 * self.base[b]

    def power(self, k: int) -> Floats:
        """Return ``t**k``, of shape (samples, inputs), for the inputs in units of the largest of the sample."""
        if k not in self.powers:
            t = self.inputs / self.unit
            self.powers[k] = t if k == 1 else self.power(k - 2) * t * t
        return self.powers[k]

    def differences(self, columns: Indices, h: float) -> Floats:
        """Return ``sum_b D_bj(h x[b, i])`` for all inputs i and some columns j."""
        b, j = self.pairs(columns)
        fit = self._fit(b, j, h * self.size[b], min(SMOOTH * h * h * h * h, LEAST_SMOOTH))
        coefficients = fit.coefficients.reshape(len(FITS), len(columns), -1).transpose(0, 2, 1)
        total: Floats = self.inputs.T @ (coefficients[0] / self.unit)
        for m in range(1, len(coefficients)):
            if coefficients[m].any():
                total += self.power(2 * m + 1).T @ coefficients[m]
        pairs = max(1, OWN_STEPS // self.inputs.shape[1])
        for first in range(0, len(fit.rest), pairs):
            own = fit.rest[first : first + pairs]
            p, i = np.nonzero(self.inputs[b[own]])
            at = own[p]
            np.add.at(total, (i, at // len(self.z)), self.both(b[at], j[at], h * self.inputs[b[at], i])[0])
        # A sample that is infinite or NaN at z is so, too, for a weight of an input of 0, which does not move it.
        for at in fit.rest[~np.isfinite(self.base[b[fit.rest]])]:
            total[self.inputs[b[at]] == 0.0, at // len(self.z)] = math.nan
        for k in self.infinite:
            for column in np.flatnonzero(np.abs(self.W[k, columns]) <= h):
                place = int(k), int(columns[column])
                total[k, column] = self._moved(place, h) - self._moved(place, -h)
        return total

    def _moved(self, place: tuple[int, int], h: float) -> float:
        """Return the sum of rows for other weights, of which one has moved."""
        W, everyone = self.W.copy(), np.arange(len(self.z))  # noqa: N806
        W[place] += h
        values = self.near_of(W)[-1](everyone, 0 * everyone, 0.0 * everyone)
        return float(np.sum(values, dtype=np.float64))

    def sums(self, columns: Indices) -> Floats:
        """Return sums over samples of slopes with respect to W, error bars and kinks, and the root of one of squares.

        The bars of fits come of noise and of kinks that no step has seen, by chance in each sample: their squares add
        up. Of the error of a fit, which may have one sign in all samples, the bar itself adds up.
        """
        slopes, bars, kinks, by_chance = self.slopes(columns)
        sizes, common = np.abs(self.inputs).T, bars - np.abs(kinks) - by_chance + by_chance / UNSEEN[0]
        widths = self._widths(columns, kinks)
        bars = widths + sizes @ (common + SUM_ROUNDINGS * EPS * np.abs(slopes))
        units = self.size.max() or 1.0, by_chance.max() or 1.0  # squares may overflow
        squares = (sizes / units[0]) ** 2 @ (by_chance / units[1]) ** 2
        return np.array([self.inputs.T @ slopes, bars, widths, units[0] * units[1] * np.sqrt(squares)])

    def _widths(self, columns: Indices, kinks: Floats) -> Floats:
        """Return half of the width of the slopes with respect to W that kinks allow, from half of their jumps.

        Samples of one pre-activation share a kink. All are on one side of it, for f on either side of W, or take one
        part of the jump, as backprop does by its derivative at 0. Others take a side each, as rounding may have it.
        """
        found: Floats = np.abs(self.inputs).T @ np.abs(kinks)
        for k in np.flatnonzero(np.count_nonzero(kinks, axis=0) > 1):
            b = np.flatnonzero(kinks[:, k])
            b = b[self.z[b, columns[k]].argsort()]
            starts = np.flatnonzero(np.diff(self.z[b, columns[k]], prepend=-math.inf))
            moves = self.inputs[b]
            sums = (np.add.reduceat(part * kinks[b, k, np.newaxis], starts) for part in (moves, np.abs(moves)))
            found[:, k] = np.maximum(*map(np.abs, sums)).sum(axis=0)
        return found

    def slopes(self, columns: Indices) -> tuple[Floats, ...]:
        """Return the slopes of rows in some columns, of shape (samples, columns), their error bars, and parts of these.

        The parts are half of the jump of the slope at a kink, with its sign, and the bar of a fit.

        A pair that no fit describes is asked again with a tenth of the step. The bar of the best of these covers the
        slopes on both sides: the even part is their difference.
        """
        b, j = self.pairs(columns)
        best, rest = np.zeros((4, len(b))), np.arange(len(b))
        (slopes, bars), best[1], best[0, ~np.isfinite(self.base[b])] = best[:2], math.inf, math.nan
        first = min(LONGEST, STEP * math.sqrt(max(1.0, self.noise / (EPS * self.largest or math.inf))))
        for u in first * 10.0 ** -np.arange(7):
            fit = self._fit(b[rest], j[rest], np.full(len(rest), u), LEAST_SMOOTH, ROUNDINGS * self.noise)
            found, bar = fit.coefficients[0] / (2.0 * u), fit.bounds / (2.0 * u)
            odd, even, left, part = fit.odd[:2, fit.rest], fit.even[:2, fit.rest], fit.rest, NODES[1]
            kink, by_chance = np.zeros(len(rest)), bar.copy()
            found[left], by_chance[left] = 0.5 * odd[1] / (part * u), 0.0
            # The difference of the slopes on both sides, with the curvature and without it, and what powers beyond add.
            signed = (even[1] - part**2 * even[0]) / (1.0 - part)
            curved, straight = np.abs(even[1]), np.abs(signed)
            jump = np.maximum(curved, straight)
            jump += (curved - straight) ** 2 / np.fmax(jump, np.finfo(float).tiny)
            bar[left] = (0.5 * jump + 2.0 * np.abs(odd[1] - part * odd[0]) + fit.noise[left]) / (part * u)
            # The even part of a kink at the sample is proportional to the step.
            is_kink = np.abs(even[1] - part * even[0]) <= _PROPORTIONAL * curved
            kink[left] = np.where(is_kink, 0.5 * signed / (part * u), 0.0)
            # The smaller step counts where it differs, as none with a fit came before, or is rougher beyond noise.
            apart = np.abs(found - slopes[rest])
            differs = apart > bar + bars[rest]
            bar[left] += np.where(differs, apart + bars[rest], 0.0)[left]
            better = differs | (bar < bars[rest])
            better[left] |= bar[left] - 4.0 * fit.noise[left] / (part * u) > bars[rest[left]]
            best[:, rest[better]] = np.array((found, bar, kink, by_chance))[:, better]
            rest = rest[fit.rest]
            if not len(rest):
                break
        return tuple(total.reshape(len(columns), -1).T for total in best)

    @cached_property
    def noise(self) -> float:
        """Return the noise of rows beyond rounding, from differences at random pairs.

        Rows that were rounded, or computed in single precision, would look smooth to a few steps by chance. Noise does
        not vanish with the step, as structure does, and it is on both sides of a kink. Stairs are flat for a short one.
        """
        rng, (samples, columns) = np.random.default_rng(0), self.z.shape
        b, j = rng.integers(samples, size=_LOOKS), rng.integers(columns, size=_LOOKS)
        sides = self._look(b, j, np.zeros(_LOOKS), NOISE_STEPS[0]).reshape(2, 5, -1)
        is_noisy = (sides != sides[:, :1]).any(axis=1).all(axis=0) & np.isfinite(sides).all(axis=(0, 1))
        levels = np.abs(np.einsum("k,ikn->in", _FOURTH, sides)).min(axis=0)
        few = slice(_LOOKS if is_noisy.sum() >= _ENOUGH else _FEW)
        found, rest = levels[few][is_noisy[few]], np.flatnonzero(~is_noisy[few])
        for step in NOISE_STEPS if len(found) < _ENOUGH else ():
            heights = self._stairs(b[rest], j[rest], step)
            found, rest = np.concatenate((found, _ROUNDING * heights[heights > 0.0])), rest[heights == 0.0]
        measured = float(np.quantile(found, _MOST)) if len(found) else 0.0
        return max(measured, float(_ROUNDING * self.eps * self.largest))

    def _stairs(self, b: Indices, j: Indices, step: float) -> Floats:
        """Return the heights of stairs next to pairs, 0 of those that stay the same, and else -1.

        What changes is looked at from ever nearer.
        """
        at, u, heights = np.arange(len(b)), np.zeros(len(b)), np.zeros(len(b))
        for part in _NEARER:
            looks = self._look(b[at], j[at], u[at], part * step)
            changes = looks[1:] != looks[:-1]
            u[at] += part * step * (_PLACES[changes.argmax(axis=0)] + 0.5)
            moves = changes.any(axis=0)
            at, looks, changes = at[moves], looks[:, moves], changes[:, moves]
            heights[at] = -1.0
        height = np.abs(looks[-1] - looks[0])
        heights[at] = np.where((changes.sum(axis=0) == 1) & np.isfinite(height), height, -1.0)
        return heights

    def _look(self, b: Indices, j: Indices, u: Floats, step: float) -> Floats:
        """Return rows at ten places around u, of shape (places, pairs)."""
        count = len(_PLACES)
        places = np.repeat(step * _PLACES, len(b)) + np.tile(u, count)
        return self.values(np.tile(b, count), np.tile(j, count), places).reshape(count, len(b))

    def pairs(self, columns: Indices) -> tuple[Indices, Indices]:
        """Return sample and column of each pair, column by column."""
        samples = len(self.z)
        return np.concatenate([np.arange(samples)] * len(columns)), np.repeat(columns, samples)

    def _fit(self, b: Indices, j: Indices, u: Floats, smooth: float, floor: float = 0.0) -> Fit:
        """Return the fits of pairs for the longest steps u."""
        own, coefficients = list[Indices](), np.zeros((len(FITS), len(b)))
        odd, even = np.zeros((2, len(NODES), len(b)))
        (odd[0], even[0]), (odd[1], even[1]) = self.both(b, j, u), self.both(b, j, NODES[1] * u)
        size, largest = np.where(np.isfinite(odd[0]), np.abs(odd[0]), 0.0), np.zeros(self.z.shape[1])
        np.maximum.at(largest, j, size)
        slope = np.divide(size, 2.0 * u, out=np.zeros(len(b)), where=u > 0.0)
        eps = EPS if floor else self.eps  # where noise was measured, it is that of the precision too
        noise = np.maximum(ROUNDINGS * eps * (self.largest + self.rowmax[b] * slope), floor)
        close = _misfit(1, odd, even) <= noise
        coefficients[0] = np.where(close, odd[0], 0.0)
        goes_on = self._goes_on(b, j, odd, coefficients[0]) & ~close
        rest, bounds = np.flatnonzero(goes_on), UNSEEN[0] * noise
        for m in (2, 3):
            if not len(rest):
                break
            odd[m, rest], even[m, rest] = self.both(b[rest], j[rest], NODES[m] * u[rest])
            error = _misfit(m, odd[:, rest], even[:, rest])
            scale = np.minimum(largest[j[rest]], OWN * np.maximum(size[rest], np.abs(even[0, rest])))
            bounds[rest] = UNSEEN[m - 1] * np.maximum(noise[rest], error)
            flat = error <= noise[rest]
            done = flat | (error <= (smooth if m == 2 else 0.1 * smooth) * scale)
            coefficients[:, rest[done]] = FITS[2][0] @ odd[:3, rest[done]]
            if m == 2:  # where noise alone is left, a power less magnifies it less
                coefficients[:, rest[flat]] = 0.0
                coefficients[:2, rest[flat]] = FITS[1][0] @ odd[:2, rest[flat]]
            goes_on = ~done & (error <= ROUGH * scale)
            own.append(rest[~done & ~goes_on])
            rest = rest[goes_on]
        return Fit(coefficients, bounds, noise, np.concatenate([*own, rest]), odd, even)

    def _goes_on(self, b: Indices, j: Indices, odd: Floats, found: Floats) -> NDArray[np.bool_]:
        """Tell which pairs have differences, and write to `found` of the others that it is 0, or NaN.

        Where rows are not finite at z, they may be for all that next to it.
        """
        moves, finite = self.moves[b, j], np.isfinite(self.base)[b]
        known = finite | (moves & np.isfinite(odd[:2]).any(axis=0))
        found[~moves], found[~known] = 0.0, math.nan
        return moves & known  # type: ignore[no-any-return]


class Slopes(NamedTuple):
    """Slopes, their error bars, and what part of a bar is half of the difference of the slopes on both sides."""

    slopes: Floats
    bars: Floats
    kinks: Floats


class Fit(NamedTuple):
    """Coefficients of pairs, how far slopes times 2u may be off, noise, pairs without a fit, and what was measured."""

    coefficients: Floats
    bounds: Floats
    noise: Floats
    rest: Indices
    odd: Floats
    even: Floats


def _misfit(m: int, odd: Floats, even: Floats) -> Floats:
    """Return how far the odd and the even part at node m are from what those before predict, but for chance.

    No part is known to less than the rounding of the even one, which is that of values far from those at z.
    """
    _, next_odd, next_even = FITS[m - 1]
    misfit = np.maximum(np.abs(odd[m] - next_odd @ odd[:m]), np.abs(even[m] - next_even @ even[:m]))
    return np.maximum(misfit, EPS * np.abs(even[0]))  # type: ignore[no-any-return]


@underflowing
def check_independent(values: Any, product: Callable[[], Floats], data: list[NDArray[Any]]) -> None:
    """Raise a ValueError if rows are random, or if the value of a sample depends on the others of a call.

    Half of the samples at a time are evaluated in another order, and together with many neighbours of one of them.
    What gives `values` of z and data may write them to one buffer each time.
    """
    rng, z = np.random.default_rng(0), product()
    first, again = [values(z.copy(), [array.copy() for array in data]).copy() for _ in range(2)]
    if first.tobytes() != again.tobytes():
        raise ValueError("rows is random: two calls with the same z differ; is it dropout? make it deterministic")
    order, near = rng.permutation(len(z)), max(4, len(z))
    for half in filter(len, (order[: len(z) // 2], order[len(z) // 2 :])):
        company = np.concatenate([np.repeat(half[0], near), half])
        points = z[company]
        points[:near] += 0.1 * (1.0 + np.abs(z[half[0]])) * rng.standard_normal((near, z.shape[1]))
        try:
            with np.errstate(all="ignore"):
                found = values(points, [array[company] for array in data])
        except (IndexError, ValueError) as error:
            raise ValueError(
                f"rows must take any number of samples, but not {len(company)} in place of {len(z)}: pass what "
                f"belongs to the samples, such as labels, as data=(t,) ({type(error).__name__}: {error})"
            ) from error
        eps, sizes = resolution(found), [np.abs(part[np.isfinite(part)]).max(initial=0.0) for part in (first, z)]
        # Values may be small differences of terms as large as z.
        tolerance = max(COMPANY, 100.0 * eps) * sizes[0] + 64 * eps * sizes[1]
        if (np.abs(found[near:] - first[half]) > tolerance).any():
            raise ValueError(
                "the rows are not independent: the value of a sample depends on the others of the call; is it "
                "batch normalisation, or a sum or mean over the batch? pass a plain function, lambda W: ..."
            )
