"""Ridders' extrapolation of central differences to the step 0, with an estimate of the error.

Ridders, C. J. F., *Accurate computation of F'(x) and F'(x) F''(x)*, Advances in Engineering Software 4, 1982; Press et
al., *Numerical Recipes*, section 5.7. To it are added: a floor of round-off, a look at the jump between the one-sided
slopes (at a kink the central differences agree with each other and are wrong), a look next to x (from afar a periodic f
is flat), one-sided differences where f is not finite on one side, and a search for the first step.

As in `numgrad.loops`, this serves both kinds of function: what a factory makes is passed through `decorate`, which may
compile it.
"""

import math
from collections.abc import Callable
from typing import Any

Decorator = Callable[[Any], Any]

LEVELS = 10  # of a tableau, each of half the step before
WORK = 2 * LEVELS  # numbers that a tableau keeps

_FIRST = 0.1875  # first step, in scales of the coordinate: no power of 2, where periods of round numbers look alike
_ATTEMPTS = 6  # first steps that are tried
_GOOD = 4.5e5  # relative error, in eps, at which no other is tried
_FAIR = 1e-3  # relative error from which others must agree and be better
_NEAR = 1e-6  # in scales of the coordinate: where to look whether f is what it seemed from afar
_CENTRAL, _ABOVE, _BELOW = 0, 1, -1


def make_quotient(evaluate: Any, decorate: Decorator) -> Any:
    """Return the difference quotient of one step."""
    isfinite = math.isfinite

    @decorate
    def quotient(
        x: Any, point: Any, i: int, value: float, base: float, h: float, side: int, eps: float, args: Any
    ) -> tuple[float, float, float, int]:
        """Return the slope for the step h, the jump between the slopes on both sides, the round-off, and a side.

        `side` is 0 for a central quotient, else the sign of a one-sided one; `base` is f(x). What is returned last is
        the sign of the side on which f is not finite, or 0.
        """
        plus = minus = base
        above = below = value
        if side >= 0:
            point[i] = value + h
            above, plus = float(point[i]), evaluate(x, args)
        if side <= 0:
            point[i] = value - h
            below, minus = float(point[i]), evaluate(x, args)
        point[i] = value
        if not (isfinite(plus) and isfinite(minus)):
            return math.nan, 0.0, 0.0, _BELOW if isfinite(plus) else _ABOVE
        if above == below:
            return math.nan, 0.0, 0.0, 0
        jump = 0.0
        if side == 0 and isfinite(base) and below < value < above:
            jump = (plus - base) / (above - value) - (base - minus) / (value - below)
        return (plus - minus) / (above - below), jump, eps * max(abs(plus), abs(minus)) / h, 0

    return quotient


def make_tableau(quotient: Any, decorate: Decorator) -> Any:
    """Return the extrapolation to the step 0 from one first step."""

    @decorate
    def tableau(
        x: Any, point: Any, i: int, value: float, base: float, first: float, side: int, eps: float, args: Any, work: Any
    ) -> tuple[float, float, float, float, int, int]:
        """Extrapolate the quotients of the steps ``first / 2**j``, and end where that gets worse.

        The errors of central quotients have even powers of the step, those of one-sided ones all, and those of the
        jump, whose limit is 0 but at a kink, odd ones. Returns the slope, its error, the last step that it used, the
        round-off there, the number of quotients, and the side on which f was not finite. The error is the largest of
        the distances to the neighbours in the tableau, the round-off of f and of what f computes from x first (which is
        taken for eps x), and half the jump.
        """
        slope, error, step, noise, bad, last = math.nan, math.inf, first, 0.0, 0, math.nan
        power, count = 2.0 if side != 0 else 4.0, 0
        for j in range(LEVELS):
            h = first / 2.0**j
            current, jump, round_off, bad = quotient(x, point, i, value, base, h, side, eps, args)
            count += 1
            if current != current:
                break
            factor, jump_factor, before = power, 2.0, error
            for q in range(j):
                further = current + (current - work[q]) / (factor - 1.0)
                further_jump = jump + (jump - work[LEVELS + q]) / (jump_factor - 1.0)
                found = max(abs(further - current), abs(further - work[q]), round_off)
                work[q], work[LEVELS + q], current, jump = current, jump, further, further_jump
                kink = 0.5 * abs(jump)
                if kink > 4.0 * round_off:
                    found = max(found, kink)
                if found <= error:
                    slope, error, step, noise = current, found, h, round_off
                factor, jump_factor = factor * power, jump_factor * 4.0
            work[j], work[LEVELS + j] = current, jump
            if error <= 2.0 * noise or (before < math.inf and abs(current - last) >= 2.0 * error):
                if step == h and abs(current - last) <= 0.5 * noise:  # the same slope, with half the round-off
                    slope, step = last, 2.0 * h
                break
            last = current
        if error < math.inf:
            error = max(error, eps * abs(value * slope) / step)
        return slope, error, step, noise, count, bad

    return tableau


def make_next_first(decorate: Decorator) -> Any:
    """Return the choice of the next first step."""

    @decorate
    def next_first(
        first: float, scale: float, went: int, slope: float, error: float, off: float, noise: float, eps: float
    ) -> tuple[float, int]:
        """Return the first step to try next and the direction, which is 0 if there is nothing more to try.

        `error` is the least so far, `off` that of the last tableau. Where round-off rules, a larger step, so that it
        would be 450 eps of the slope, else a smaller one; but not back.
        """
        if error <= _GOOD * eps * abs(slope):
            return first, 0
        if off > 64.0 * noise:
            return first / 64.0, 0 if went > 0 else -1
        if went < 0 or slope == 0.0 or first > 1e8 * scale:
            return first, 0
        return first * min(max(off / (450.0 * eps * abs(slope)), 64.0), 1e6), 1

    return next_first


def make_better(decorate: Decorator) -> Any:
    """Return the choice between two tableaux."""

    @decorate
    def better(slope: float, error: float, fair: bool, found: float, off: float, went: int) -> bool:
        """Tell whether to take the slope `found` with the error `off` instead of what was found before.

        What was `fair` already gives way to what agrees with it, or is better by far: else noise would seem smooth by
        chance. Larger steps (`went` > 0) must agree, for from far enough any bounded f is flat. What is fair at last,
        from nearer, need not have the smaller error: that of a slope near 0 was small for nothing.
        """
        agrees = abs(found - slope) <= 10.0 * error
        if went < 0 and not fair and not agrees and off <= _FAIR * abs(found):
            return True
        return off < error and (agrees or (went <= 0 and (not fair or off < 0.01 * error)))

    return better


def make_look_near(quotient: Any, decorate: Decorator) -> Any:
    """Return the look whether f has near x the slope that it has from afar."""

    @decorate
    def look_near(
        x: Any,
        point: Any,
        i: int,
        value: float,
        base: float,
        first: float,
        side: int,
        eps: float,
        args: Any,
        found: float,
        off: float,
        round_off: float,
        bend: float,
    ) -> tuple[bool, float, int]:
        """Tell whether the slope near x is not `found`, whose steps met equal values by chance; also the noise of f.

        Returns last the evaluations. One will do; only where it differs, two quotients nearer yet tell whether f has
        another slope there, or is but rough. The noise is how far that one value is from where the slope and the second
        derivative, `bend` over the first step, put it.
        """
        h = _NEAR * first
        near, _, rough, _ = quotient(x, point, i, value, base, h, _ABOVE if side == 0 else side, eps, args)
        apart = abs(near - found) > 100.0 * (off + rough) + 1e-6 * round_off / eps
        noise = abs(near - found - 0.5 * _NEAR * bend) * h if side == 0 else 0.0
        noise = noise if noise > 0.0 else 0.0  # NaN is none
        if side != 0 or not apart:
            return apart, noise, 1
        near = quotient(x, point, i, value, base, 0.01 * h, side, eps, args)[0]
        nearer, jump, rough, _ = quotient(x, point, i, value, base, 0.006 * h, side, eps, args)
        apart = abs(nearer - found) > 100.0 * (off + rough) + abs(jump) + 10.0 * abs(near - nearer)
        flat = near == nearer == jump == 0.0  # between steps in the last digits of f or of x
        return apart and not flat, noise, 5

    return look_near


def make_estimate(
    quotient: Any, tableau: Any, next_first: Any, better: Any, look_near: Any, decorate: Decorator
) -> Any:
    """Return the estimate for one coordinate."""

    @decorate
    def estimate(
        x: Any, point: Any, i: int, base: float, eps: float, args: Any, work: Any
    ) -> tuple[float, float, float, float, int]:
        """Return the derivative, its error, the step, the round-off there and the number of evaluations."""
        value = float(point[i])
        scale = abs(value) if value != 0.0 else 1.0
        first, side, went, evaluations = _FIRST * scale, 0, 0, 0
        slope, error, step, noise = math.nan, math.inf, 0.0, math.inf
        for _ in range(0 if math.isinf(base) else _ATTEMPTS):
            found, off, h, round_off, count, bad = tableau(x, point, i, value, base, first, side, eps, args, work)
            evaluations += count if side != 0 else 2 * count
            fair = error <= _FAIR * abs(slope)
            if better(slope, error, fair, found, off, went):
                bend = work[LEVELS] * 2.0 ** (count - 1)  # the last jump of the tableau, for its first step
                apart, rough, looks = look_near(
                    x, point, i, value, base, first, side, eps, args, found, off, round_off, bend
                )
                evaluations += looks
                if not apart:
                    off = max(off, rough / h)
                    slope, error, step, noise = found, off, h, round_off
                elif not fair:
                    first *= _NEAR
                    continue
                else:
                    break
            elif fair:  # it gets worse: noise, which smaller steps magnify
                break
            if bad != 0 and off == math.inf:  # is f finite on that side at all?
                bad = quotient(x, point, i, value, base, 1e-9 * scale, bad, eps, args)[3]
                evaluations += 1
                if went > 0 or side != 0:
                    break
                first, side, went = (first, -bad, 0) if bad != 0 else (first / 64.0, 0, -1)
                continue
            first, went = next_first(first, scale, went, slope, error, off, round_off, eps)
            if went == 0:
                break
        return slope, error, step, noise, evaluations

    return estimate


def make_estimates(evaluate: Any, decorate: Decorator = lambda function: function) -> Any:
    """Return the loop over the coordinates, with the conventions of `numgrad.loops`."""
    quotient = make_quotient(evaluate, decorate)
    choices = make_next_first(decorate), make_better(decorate), make_look_near(quotient, decorate)
    estimate = make_estimate(quotient, make_tableau(quotient, decorate), *choices, decorate)

    @decorate
    def estimates(
        x: Any,
        point: Any,
        base: float,
        eps: float,
        args: Any,
        work: Any,
        coordinates: Any,
        start: int,
        stop: int,
        slopes: Any,
        errors: Any,
        steps: Any,
        noises: Any,
        counts: Any,
    ) -> int:
        """Write what `estimate` says of each coordinate, and return 2 if some slope was not zero, else 0."""
        moved = 0
        for k in range(start, stop):
            i = coordinates[k] if len(coordinates) else k
            slopes[k], errors[k], steps[k], noises[k], counts[k] = estimate(x, point, i, base, eps, args, work)
            if slopes[k] != 0.0:
                moved = 2
        return moved

    return estimates
