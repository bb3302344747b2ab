"""Ridders' extrapolation of central differences to the step 0, with an estimate of the error.

To Ridders' tableau are added: a floor of round-off, a look at the jump between the one-sided slopes (at a kink the
central differences agree with each other and are wrong), a look next to x (from afar a periodic f is flat), one-sided
differences where f is not finite on one side, and a search for the first step.

As in `numgrad.loops`, the source serves both kinds of function: what a factory makes is passed through `decorate`,
which may compile it. Everything that concerns one coordinate travels as ``spot = x, point, i, value, base, eps, args``:
what f receives and its perturbed elements, the coordinate, its value, f(x), the relative spacing, the arguments of f.

References
----------
Ridders, C. J. F., *Accurate computation of F'(x) and F'(x) F''(x)*, Advances in Engineering Software 4, 1982; Press et
al., *Numerical Recipes*, section 5.7.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

__all__: list[str] = []  # nothing here is public

Decorator = Callable[[Any], Any]
Spot = tuple[Any, ...]
Work = tuple[Any, Any]  # the slopes and the jumps of a tableau
Numbers = tuple[float, ...]  # as many as the docstring names

# Each constant below was chosen for the functions of tests/catalogue.py, and is fixed by tests/test_estimates.py.

# Steps of a tableau at most, each half the one before, so that the last is 1/512 of the first.
LEVELS = 10
# Numbers in a row of the result: derivative, error, step, round-off, evaluations.
COLUMNS = 5

RESPONDED = 2  # the flag of `numgrad.loops`, which this module does not import

# Unit: scales of the coordinate. The first step: no power of 2, where functions of a round period take equal values.
_FIRST = 0.1875
# First steps that are tried at most, since each may take 20 evaluations.
_ATTEMPTS = 6
# Unit: eps. The relative error at which no other first step is tried: 1e-10 in float64.
_GOOD = 4.5e5
# Relative error, without unit, from which on other results must agree with this one and be better.
_FAIR = 1e-3
# Unit: first steps. How near to x f is asked whether its slope is what it seemed from afar.
_NEAR = 1e-6
_ABOVE, _BELOW = 1, -1  # sides of x; 0 is both


def make_quotient(evaluate: Any, decorate: Decorator) -> Any:
    """Return the difference quotient of one step."""

    @decorate
    def quotient(spot: Spot, h: float, side: int) -> Numbers:
        """Return the slope for the step h, the jump between the slopes on both sides, the round-off, and a side.

        `side` is 0 for a central quotient, else the sign of a one-sided one. What is returned last is the sign of the
        side on which f is not finite, or 0.
        """
        x, point, i, value, base, eps, args = spot
        plus = minus = base
        above = below = value
        if side >= 0:
            point[i] = value + h
            above, plus = float(point[i]), evaluate(x, args)
        if side <= 0:
            point[i] = value - h
            below, minus = float(point[i]), evaluate(x, args)
        point[i] = value
        if not (math.isfinite(plus) and math.isfinite(minus)):
            return math.nan, 0.0, 0.0, _BELOW if math.isfinite(plus) else _ABOVE
        # The step is lost in the rounding of x + h: there is no distance to divide by.
        if above == below:
            return math.nan, 0.0, 0.0, 0
        jump = 0.0
        if side == 0 and math.isfinite(base) and below < value < above:
            jump = (plus - base) / (above - value) - (base - minus) / (value - below)
        return (plus - minus) / (above - below), jump, eps * max(abs(plus), abs(minus)) / h, 0

    return quotient


def refine(work: Work, j: int, current: float, jump: float, round_off: float, power: float) -> Numbers:
    """Extrapolate the quotient of level j, and return its best slope, that one's error, and the last slope.

    ``work = slopes, jumps`` holds the last extrapolations of level j - 1 and receives those of level j. The error
    is the largest of the distances to the neighbours in the tableau, the round-off, and half the jump.
    """
    slopes, jumps = work
    slope, error, factor, jump_factor = math.nan, math.inf, power, 2.0
    for q in range(j):
        further = current + (current - slopes[q]) / (factor - 1.0)
        further_jump = jump + (jump - jumps[q]) / (jump_factor - 1.0)
        new_error = max(abs(further - current), abs(further - slopes[q]), round_off)
        slopes[q], jumps[q], current, jump = current, jump, further, further_jump
        kink = 0.5 * abs(jump)
        if kink > 4.0 * round_off:
            new_error = max(new_error, kink)
        if new_error <= error:
            slope, error = current, new_error
        factor, jump_factor = factor * power, jump_factor * 4.0
    slopes[j], jumps[j] = current, jump
    return slope, error, current


def make_tableau(quotient: Any, decorate: Decorator) -> Any:
    """Return the extrapolation to the step 0 from one first step.

    The errors of central quotients have even powers of the step, those of one-sided ones all, and those of the jump,
    whose limit is 0 but at a kink, odd ones. It returns the slope, its error, the last step that it used, the
    round-off there, the number of quotients, and the side on which f was not finite. The error also covers the
    round-off of what f computes from x first, which is taken for eps x.
    """
    advance = decorate(refine)

    @decorate
    def tableau(spot: Spot, first: float, side: int, work: Work) -> Numbers:
        """Extrapolate the quotients of the steps ``first / 2**j``, and end where that gets worse."""
        slope, error, step, round_off, side_lost, last = math.nan, math.inf, first, 0.0, 0, math.nan
        for j in range(LEVELS):
            h = first / 2.0**j
            current, jump, rough, side_lost = quotient(spot, h, side)
            if current != current:
                break
            before = error
            better, new_error, current = advance(work, j, current, jump, rough, 2.0 if side != 0 else 4.0)
            if new_error <= error and better == better:  # not NaN, as of the first level
                slope, error, step, round_off = better, new_error, h, rough
            if error <= 2.0 * round_off or (before < math.inf and abs(current - last) >= 2.0 * error):
                if step == h and abs(current - last) <= 0.5 * round_off:  # the same slope, with half the round-off
                    slope, step = last, 2.0 * h
                break
            last = current
        if error < math.inf:
            error = max(error, spot[5] * abs(spot[3] * slope) / step)
        return slope, error, step, round_off, j + 1, side_lost

    return tableau


def next_first(steps: Numbers, direction: int, best: Numbers, new: Numbers, eps: float) -> tuple[float, int]:
    """Return the first step to try next and the direction, which is 0 if there is nothing more to try.

    ``steps = first, scale``; ``best = slope, error`` so far, ``new = error, round_off`` of the last tableau. Where
    round-off rules, a larger step, so that it would be 450 eps of the slope, else a smaller one; but not back.
    """
    (first, scale), (slope, error), (new_error, round_off) = steps, best, new
    if error <= _GOOD * eps * abs(slope):
        return first, 0
    if new_error > 64.0 * round_off:
        return first / 64.0, 0 if direction > 0 else -1
    if direction < 0 or slope == 0.0 or first > 1e8 * scale:
        return first, 0
    return first * min(max(new_error / (450.0 * eps * abs(slope)), 64.0), 1e6), 1


def is_better(slope: float, error: float, new_slope: float, new_error: float, direction: int) -> bool:
    """Tell whether to take `new_slope` with `new_error` instead of what was found before.

    What was acceptable already gives way to what agrees with it, or is better by far: else noise would seem smooth
    by chance. Larger steps (`direction` > 0) must agree, for from far enough any bounded f is flat. What is
    acceptable at last, from nearer, need not have the smaller error: that of a slope near 0 was small for nothing.
    """
    acceptable = error <= _FAIR * abs(slope)
    agrees = abs(new_slope - slope) <= 10.0 * error
    if direction < 0 and not acceptable and not agrees and new_error <= _FAIR * abs(new_slope):
        return True
    return new_error < error and (agrees or (direction <= 0 and (not acceptable or new_error < 0.01 * error)))


def make_look_near(quotient: Any, decorate: Decorator) -> Any:
    """Return the look whether f has near x the slope that it has from afar."""

    @decorate
    def look_near(spot: Spot, first: float, side: int, found: Numbers) -> tuple[bool, float, int]:
        """Tell whether the slope near x is another, whose steps met equal values by chance; also the noise of f.

        ``found = slope, error, round_off, curvature`` of the tableau, the last over the first step. Returns last the
        evaluations. One will do; only where it differs, two quotients nearer yet tell whether f has another slope
        there, or is but rough. The noise is how far that one value is from where the slope and the curvature put it.
        """
        slope, error, round_off, curvature = found
        h, eps = _NEAR * first, spot[5]
        near, _, rough, _ = quotient(spot, h, _ABOVE if side == 0 else side)
        disagrees = abs(near - slope) > 100.0 * (error + rough) + 1e-6 * round_off / eps
        noise = abs(near - slope - 0.5 * _NEAR * curvature) * h if side == 0 else 0.0
        noise = noise if noise > 0.0 else 0.0  # NaN is none
        if side != 0 or not disagrees:
            return disagrees, noise, 1
        near = quotient(spot, 0.01 * h, side)[0]
        nearer, jump, rough, _ = quotient(spot, 0.006 * h, side)
        disagrees = abs(nearer - slope) > 100.0 * (error + rough) + abs(jump) + 10.0 * abs(near - nearer)
        flat = near == nearer == jump == 0.0  # between steps in the last digits of f or of x
        return disagrees and not flat, noise, 5

    return look_near


# Longer than other functions, for it holds `estimate`.
def make_estimate(quotient: Any, decorate: Decorator) -> Any:
    """Return the estimate for one coordinate: tableaux from several first steps, and the best of them."""
    tableau, look_near = make_tableau(quotient, decorate), make_look_near(quotient, decorate)
    choose_first, improves = decorate(next_first), decorate(is_better)

    # Longer than other functions: a state machine whose branches share all that they know, eight variables.
    # A function of a branch would take and return nearly all of these.
    @decorate
    def estimate(spot: Spot, work: Work) -> Numbers:
        """Return the derivative, its error, the step, the round-off there and the number of evaluations."""
        value, base, eps = spot[3], spot[4], spot[5]
        scale = abs(value) if value != 0.0 else 1.0
        first, side, direction, evaluations = _FIRST * scale, 0, 0, 0
        slope, error, step, noise = math.nan, math.inf, 0.0, math.inf
        for _ in range(0 if math.isinf(base) else _ATTEMPTS):
            new_slope, new_error, h, round_off, count, side_lost = tableau(spot, first, side, work)
            evaluations += count if side != 0 else 2 * count
            acceptable = error <= _FAIR * abs(slope)
            if improves(slope, error, new_slope, new_error, direction):
                curvature = work[1][0] * 2.0 ** (count - 1)  # the last jump of the tableau, for its first step
                disagrees, rough, looks = look_near(spot, first, side, (new_slope, new_error, round_off, curvature))
                evaluations += looks
                if not disagrees:
                    new_error = max(new_error, rough / h)
                    slope, error, step, noise = new_slope, new_error, h, round_off
                elif not acceptable:
                    first *= _NEAR
                    continue
                else:
                    break
            elif acceptable:  # it gets worse: noise, which smaller steps magnify
                break
            if side_lost != 0 and new_error == math.inf:  # is f finite on that side at all?
                side_lost = quotient(spot, 1e-9 * scale, side_lost)[3]
                evaluations += 1
                if direction > 0 or side != 0:
                    break
                first, side, direction = (first, -side_lost, 0) if side_lost != 0 else (first / 64.0, 0, -1)
                continue
            first, direction = choose_first((first, scale), direction, (slope, error), (new_error, round_off), eps)
            if direction == 0:
                break
        return slope, error, step, noise, evaluations

    return estimate


def make_estimates(evaluate: Any, decorate: Decorator) -> Any:
    """Return the loop over the coordinates, with the conventions of `numgrad.loops`."""
    estimate = make_estimate(make_quotient(evaluate, decorate), decorate)

    def estimates(state: Any, data: Any, args: Any, where: Any, start: int, stop: int, out: Any) -> int:
        """Write the five numbers of `estimate` for the coordinate ``where[k]``, or k, to row k of `out`.

        ``base, eps = data``: f(x) and the relative spacing of the stored numbers.
        """
        x, point, origin = state
        base, eps = data
        work, responded = ([0.0] * LEVELS, [0.0] * LEVELS), 0
        for k in range(start, stop):
            i = where[k] if len(where) else k
            spot = (x, point, i, float(origin[i]), base, eps, args)
            out[k, 0], out[k, 1], out[k, 2], out[k, 3], out[k, 4] = estimate(spot, work)
            if out[k, 0] != 0.0:
                responded = RESPONDED
        return responded

    return estimates
