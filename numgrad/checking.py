"""check_gradient and assert_gradient: judging somebody else's gradient."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from . import driver
from .arguments import as_coordinates, finite_real, random_generator, whole_number
from .driver import Progress, Workers, after
from .ladder import DEVIATIONS, Flags, Ladder, Lines, measure, settle, shorten_steps
from .loops import Floats, Indices
from .points import EPS, largest
from .reports import Comparison, GradientCheck, Tolerances, report
from .schemes import Bounds, along_rows
from .sides import ROUND_OFF, Sides, rms
from .threads import Report

__all__ = ["GradientCheck", "assert_gradient", "check_gradient"]

# Coordinates of an array: where more than 16 fail, 4 are asked again at first, since each may take 30 evaluations.
# Fixed by "check_gradient, n = 50, fails" in benchmarks/compare_versions.py.
_MANY, _FEW = 16, 4
# Coordinates of an array that climb the ladder at a time: 25 rungs take 16 numbers each, some 10 MB. More where all of
# them share their evaluations of f. Fixed by test_a_check_of_a_sum_of_elements_takes_no_evaluations_a_coordinate.
_BLOCK, _SHARED = 2**12, 2**15
# The rung from which on a few coordinates tell that f is another at the first steps: x is in units far too large.
# Fixed by test_small_units in tests/test_checking.py.
_NEARER = -8
# Smallest steps of x, four spacings each, of the largest component of a vector: the others must be stored as well.
# Fixed by "float32 nets, std 0.1" of tests/check_kinds.py, and by test_directions_of_float16.
_STORED = 64.0
# Unit: f per unit of x. The default of atol, which excuses small values beside larger ones, but not a small gradient.
# Fixed by test_a_small_gradient_is_judged_by_its_error_bars.
_ATOL = 1e-8


def check_gradient(
    f: Callable[..., Any],
    gradient: Any,
    x: Any,
    *,
    args: tuple[Any, ...] = (),
    samples: int | None = None,
    directions: int | None = None,
    rtol: float = 1e-5,
    atol: float = _ATOL,
    rng: Any = None,
    progress: Progress = False,
    workers: Workers = 1,
    coordinates: ArrayLike | None = None,
    bounds: Bounds | None = None,
    h: ArrayLike | None = None,
    strict: bool = False,
) -> GradientCheck:
    """Compare a gradient with central differences, and say how wrong it is, where, and what may be the cause.

    Parameters
    ----------
    f : callable
        ``f(x, *args) -> float``: any objective that `numerical_gradient` takes.
    gradient : array_like, dict or list of array_like, or callable
        The candidate, of the shape of `x` (with the keys of `x`), or ``gradient(x, *args)``, which returns it.
    x : array_like, or dicts, lists and tuples of arrays
        Where to check. Of a dict, such as the book's ``params``, each array is perturbed in place in turn, as by
        `numerical_gradient`; f receives the dict, or ignores it and reads the same arrays. A list of arrays is nested
        likewise, a list of numbers is one array.
    args : tuple, optional
        Further arguments of `f`.
    samples : int, optional
        Check that many random coordinates. Default: all of them.
    directions : int, optional
        Check that many random directions instead, by two evaluations each, whatever the size of `x`. An error in few
        coordinates moves a direction little, so take several.
    rtol, atol : float, default 1e-5 and 1e-8
        A coordinate passes if ``|a - n| <= rtol max(|a|, |n|)``, if both are at most atol in magnitude, or if the
        difference is within the numerical gradient's error bar; it fails where either is infinite or NaN. An atol of at
        most 1e-8 does not count where no value of the candidate exceeds it: a small gradient is judged by its error
        bars alone. Where x, the candidate or f is of less than float64 precision, both are widened, to the square root
        of its eps and to eps times the largest candidate.
    rng : numpy.random.Generator or seed, optional
        What chooses samples or directions.
    progress : bool or callable, default False
        As for `numerical_gradient`, over the coordinates of the two gradients that are compared for the error bar.
    workers : int or map-like callable, default 1
        What evaluates the coordinates, as for `numerical_gradient`.
    coordinates : array_like of int, optional
        Check these flat coordinates; those of a nested `x` are counted through its arrays.
    bounds : pair of array_like, optional
        As for `numerical_gradient`; of a nested `x`, the bounds of each of its arrays, or a dict by their names.
    h : float or array_like, optional
        The first step, or for a nested `x` a dict of them by the names of its arrays. Default: the power of 2 next to
        ``eps**(1/3)`` times the magnitude of the coordinate, or 1 where that is larger. Where a magnitude is below
        2**-12 of its step, or below its step as half of an array of float64 is, six or eight evaluations, of up to 16
        such coordinates of an array, tell whether f is another at a step from x; the magnitude alone then counts.
    strict : bool, default False
        Whether a check fails, too, where some value could not be judged, since its error bar is wider, or where nothing
        could be. A difference within a smaller bar passes all the same.

    Returns
    -------
    GradientCheck
        True if all passed, as its ``ok``; ``print`` it.

    Raises
    ------
    TypeError, ValueError
        If shapes or keys of `x` and the candidate differ, if elements of the candidate are masked, if two of `samples`,
        `directions` and `coordinates` are given, and as `numerical_gradient`.

    Notes
    -----
    The error bar is three times the difference between the quotients for h and 2h, or ``8 eps |f| / h`` if that is
    larger: four evaluations a coordinate. Where that hides values, and f may have more digits than x or the candidate,
    the measured noise of f takes its place. A candidate that would fail does so where a step as small as rounding
    allows has the same slope, and the largest one does not have what is claimed. Else the noise of f is measured once,
    and a ladder of steps, each 4 times the one below, is climbed: down while f has kinks, or a structure finer than the
    step, up while noise hides the slope. A failure counts if a second step denies the candidate too. At a kink a
    candidate between the slopes on both sides passes, as a subgradient; of a layer or net, what one slope at the kink
    of several samples gives does, too. Where noise leaves bars wider than rtol, values of f along the candidate, and
    along what is left of the difference, judge the array as a whole. Where f stores x in fewer digits, as a net that
    casts its weights to float32, it has stairs: their height is noise, and slopes may differ by the spacing of what is
    stored. If most bars are as large as the derivatives, the check is too noisy to judge, fails, and says so. Next to a
    bound coordinates do not move along directions, and are not judged. If nothing exceeds atol, or in a gradient below
    1e-8 its own error bar, nothing was judged: the check passes, as for an empty `x` or an f that is constant, and says
    so; `strict` refuses it. What a check cannot tell: an error below its bar, and a slope between those of a kink.
    Along directions each coordinate moves by its own step: beside coordinates of the magnitude 1, an error by those of
    1e-8 shows by coordinates alone.

    Of the right gradients of 180 smooth problems (More, Garbow and Hillstrom's at their starts and minima) none is
    refused, by coordinates or by directions; of 360 nets in float32 with weights of 0.1 and 1 none; of 1,000 problems
    with noise, few digits or kinks none. There ``python tests/check_kinds.py`` prints what passes of the wrong ones.

    Meanwhile f and the candidate run under ``numpy.errstate(all="ignore")``, whatever `numpy.seterr` was told.

    Examples
    --------
    >>> import numpy as np
    >>> from numgrad import check_gradient
    >>> check = check_gradient(lambda x: np.sum(x**3), lambda x: 2 * x**2, np.array([1.0, 2.0, -1.5]))
    >>> print(check)  # doctest: +ELLIPSIS
    gradient check FAILED: 3 of 3 checked, rtol 1.0e-05, atol 1.0e-08
    array          failed  checked      total   max relative error
    x                   3        3          3             3.33e-01
    worst: [1]: candidate 8, numerical 12 +- ...
    hint: the candidate is 0.666667 times the gradient: is a factor missing?
    """
    tolerances = finite_real("rtol", rtol), finite_real("atol", atol)
    if min(tolerances) < 0.0:
        raise ValueError(f"rtol and atol must not be negative, got {rtol} and {atol}")
    if (samples is not None) + (directions is not None) + (coordinates is not None) > 1:
        raise ValueError("samples, directions and coordinates are two ways to check; pass one of them")
    driver.check_progress(progress)
    # A check compares whatever f and the candidate hold: what overflows fails, and raises nothing on its way there.
    with np.errstate(all="ignore"):
        sides = Sides(f, x, args, (h, bounds))
        sides.objective_of(None, sides.objective)  # a compiled f knows from then on whether it starts threads
        sides.workers = driver.as_workers(workers, sides.objective)
        n, lines = sides.size, None if directions is None else whole_number("directions", directions, 1)
        chosen = np.arange(n) if coordinates is None else np.unique(as_coordinates(coordinates, n))
        if rng is not None or samples is not None or lines is not None:  # to make one takes as long as 3 evaluations
            rng = random_generator(rng)
        if samples is not None and (count := whole_number("samples", samples, 1)) < n:
            chosen = np.sort(rng.choice(n, count, replace=False))
        sides.evaluate(gradient)
        shorten_steps(sides)
        if sides.eps > EPS:
            floor = sides.eps * sides.largest if sides.largest < math.inf else 0.0
            tolerances = max(rtol, math.sqrt(sides.eps)), max(atol, floor)
        if lines is None:
            parts = _along_coordinates(sides, chosen, tolerances, progress)
        else:
            parts = [_along_directions(sides, lines, rng, tolerances, progress)]
        return report(n, parts, tolerances, sides.notes, strict)


def assert_gradient(f: Callable[..., Any], gradient: Any, x: Any, **options: Any) -> None:
    """Raise an AssertionError with the table of `check_gradient` unless the candidate passes; for test suites.

    Parameters and other errors are those of `check_gradient`.

    Examples
    --------
    >>> import numpy as np
    >>> from numgrad import assert_gradient
    >>> assert_gradient(lambda x: np.sum(x**3), lambda x: 3 * x**2, np.array([1.0, 2.0, -1.5]))
    """
    check = check_gradient(f, gradient, x, **options)
    if not check.ok:
        raise AssertionError(str(check))


def _along_coordinates(sides: Sides, chosen: Indices, tolerances: Tolerances, progress: Progress) -> list[Comparison]:
    """Compare coordinates, array by array."""
    parts, done = [], 0
    with driver.reporting(progress, 2 * len(chosen)) as report:
        for name, place in sides.places.items():
            own = chosen[(place.start <= chosen) & (chosen < place.stop)] - place.start
            if (known := sides.known(name)) is not None:
                parts.append(_by_bars(sides, name, own, known, tolerances))
                if report:
                    report(done + 2 * len(own))
            else:
                reports = after(report, done), after(report, done + len(own))
                parts.append(_by_sweeps(sides, name, own, tolerances, reports))
            done += 2 * len(own)
    return parts


def _compared(sides: Sides, name: str, own: Indices, found: tuple[Floats, Floats], atol: float) -> Comparison:
    """Return some claims for one array beside numerical values and their errors, none of which has failed so far."""
    claims, (failed, kink) = sides.whole[sides.places[name]][own].astype(np.float64), np.zeros((2, len(own)), np.bool_)
    is_small = sides.largest <= atol <= _ATOL
    return Comparison(name, sides.x[name].shape, own, claims, *found, failed, kink, is_small=is_small)


def _by_bars(
    sides: Sides, name: str, own: Indices, known: tuple[Floats, Floats, Floats], tolerances: Tolerances
) -> Comparison:
    """Compare coordinates of one array with a gradient whose error bars are known."""
    numerical, error, kinks = (values.reshape(-1)[own] for values in known)
    part = _compared(sides, name, own, (numerical, error), tolerances[1])
    beyond = part.errors(tolerances) > tolerances[0]
    # A candidate in the middle, as by a slope of 1/2 at a ReLU's zero, is at a kink too: its wide bar is no noise.
    kink = (beyond | (error > tolerances[0] * part.size)) & (kinks > 0.5 * error)
    # A subgradient at the end of the interval is one: backprop takes the slope on one side of each ReLU.
    spare = np.where(kink, tolerances[0] * (np.abs(numerical) + error), 0.0)
    return part._replace(failed=beyond & ~(part.difference <= error + spare), kink=kink)


def _by_sweeps(
    sides: Sides, name: str, own: Indices, tolerances: Tolerances, reports: tuple[Progress, Progress]
) -> Comparison:
    """Compare coordinates of one array by sweeps at the steps h and 2h, and by the ladder where these may err."""
    near, far = [sides.quotients(name, own, *how) for how in zip((1.0, 2.0), reports, strict=True)]
    short = (sides.widest < sides.least)[sides.places[name]][own]
    if (lost := short & np.isnan(near)).any():
        raise ValueError(f"the bounds leave coordinate {own[lost.argmax()]} no room for a step of what x stores")
    steps = sides.steps[sides.places[name]][own]
    error = np.fmax(3.0 * np.abs(near - far), sides.rounding / steps)
    error[~(np.isfinite(near) & np.isfinite(far))] = math.inf
    part = _compared(sides, name, own, (near, error), tolerances[1])
    # Where f ends between h and 2h, smaller steps tell.
    doubted = part.doubted(tolerances) | (np.isinf(error) & np.isfinite(near))
    if (alone := doubted & short).any():  # neither smaller steps nor longer ones
        error[alone] = np.fmax(error, DEVIATIONS * sides.noise / steps)[alone]
        part.failed[alone], doubted = (part.difference > error)[alone], doubted & ~short
    same = (part.size == 0.0) & (far == 0.0)
    if same.any():
        doubted |= same & _is_hidden(sides.noise, steps, part, tolerances)
    if sides.own < sides.eps:
        measure(part, 3.0 * np.abs(near - far), steps, lambda: sides.noise)
    if doubted.any():
        part = _joined(sides, _decided(sides, part, np.flatnonzero(doubted), tolerances), tolerances)
    ignored = name in sides.copies and len(own) == sides.x[name].size > 0 and not part.numerical.any()
    ignored = ignored and not sides.one_sided(name, own, steps).any()  # f may be even there
    driver.warn_of(0, math.nan, ignored, sides.x[name])
    return part


def _is_hidden(noise: float, steps: Floats, part: Comparison, tolerances: Tolerances) -> Flags:
    """Tell where equal values may hide a slope in the stairs of f, for which the ladder takes longer steps."""
    return np.asarray(np.fmax(DEVIATIONS * noise / steps, part.error) > tolerances[1])


def _decided(sides: Sides, part: Comparison, doubted: Indices, tolerances: Tolerances) -> Comparison:
    """Decide on the claims that would fail, a few coordinates first.

    Unless one of these passes, the others are wrong as well. The ladder begins for the others where it ended for the
    few. Where that is far below the first steps, and half of the claims are in doubt, f is another at these steps: then
    what agrees with the slopes there is asked as well.
    """
    few = doubted if len(doubted) <= _MANY else doubted[:: len(doubted) // _FEW][:_FEW]
    lines = partial(_lines, sides, part)
    start = settle(part, few, lines, (sides.rounding, tolerances[0]))
    if part.failed[few].all():
        part.failed[doubted] = ~(part.difference <= part.error)[doubted]
    else:
        is_another = start <= _NEARER and 2 * len(doubted) >= len(part.chosen)
        others = np.setdiff1d(np.arange(len(part.chosen)) if is_another else doubted, few)
        length = _SHARED if sides.is_shared else _BLOCK
        for again in np.split(others, range(length, len(others), length)) if len(others) else ():
            settle(part, again, lines, (sides.rounding, tolerances[0]), start)
    least = float(np.fmin.reduce(part.difference[part.failed], initial=math.inf))
    if least < math.inf and (floor := sides.moved_by_storing(least)):
        near = part.difference <= floor
        part.error[near & part.failed], part.failed[near] = floor, False
    return part


def _lines(sides: Sides, part: Comparison, at: Indices) -> Lines:
    """Return some coordinates of an array as lines."""
    own, place = part.chosen[at], sides.places[part.name]
    steps, least, farthest = (numbers[place][own] for numbers in (sides.steps, sides.least, sides.farthest))
    how = (lambda which, h: sides.slopes(part.name, own[which], h)), lambda: sides.noise
    return Lines(part.candidate[at], steps, least, farthest, 0.25 * least, rms(sides.whole[place]), *how)


def _joined(sides: Sides, part: Comparison, tolerances: Tolerances) -> Comparison:
    """Judge an array as a whole where noise hides its coordinates: by fresh values along the candidate and others.

    These are what is left of the difference, weighted by the error bars, all of it and in the worst column and row.
    """
    if part.failed.any() or part.kink.any() or not (part.error > tolerances[0] * part.size).any():
        return part
    if not np.isfinite(part.error).all() or np.isfinite(sides.ends).any():
        return part
    rest = (part.candidate - part.numerical) / np.fmax(part.error, 1e-300) ** 2
    groups = [part.candidate, rest]
    if len(part.shape) == 2:
        score = (rest * part.error) ** 2
        indices = np.unravel_index(part.chosen, part.shape)
        groups += [np.where(at == np.bincount(at, score).argmax(), part.candidate, 0.0) for at in indices]
    vectors = np.zeros((len(groups), sides.size))
    vectors[:, sides.places[part.name].start + part.chosen] = groups
    vectors = vectors[np.isfinite(vectors).all(axis=1) & vectors.any(axis=1)]
    vectors /= np.abs(vectors).max(axis=1, initial=0.0)[:, np.newaxis]
    steps = 1.0 / np.abs(vectors / sides.steps).max(axis=1, initial=0.0)
    vectors[np.abs(vectors) * steps[:, np.newaxis] < sides.least] = 0.0  # what is lost in the rounding of x
    lines = _lines_along(sides, vectors, steps)
    found, claims = Ladder(lines).judge(tolerances[0]), lines.candidate
    judged = bool((found.error < 0.5 * np.fmax(np.abs(claims), np.abs(found.slope))).any())
    wrong = tuple(zip(claims[found.failed].tolist(), found.slope[found.failed].tolist(), strict=True))
    return part._replace(judged=judged, wrong=wrong)


def _lines_along(sides: Sides, vectors: Floats, steps: Floats) -> Lines:
    """Return vectors over all arrays as lines."""
    claims, moved = (vectors @ sides.whole).astype(np.float64), sides.untied(vectors)
    farthest = 1.0 / np.fmax(np.abs(moved / sides.farthest).max(axis=1, initial=0.0), 1e-300)
    # Of float16 that is a quarter of x, and more than the second rung.
    nearest = np.fmin(_STORED * np.where(moved != 0.0, sides.least, 0.0).max(axis=1, initial=0.0), 4.0 * steps)
    rounding = 0.25 * np.abs(moved) @ sides.least / np.fmax(np.square(moved).sum(axis=1), 1e-300)
    farthest = np.fmin(np.fmax(farthest, 4.0 * steps), sides.reach(moved))
    how = (lambda which, h: sides.along(moved[which], h)), lambda: sides.noise_of_all
    return Lines(claims, steps, nearest, farthest, rounding, rms(claims), *how)


def _along_directions(
    sides: Sides, count: int, rng: np.random.Generator, tolerances: Tolerances, progress: Progress
) -> Comparison:
    """Compare the slopes along random directions, so few at a time that memory does not grow with their number."""
    with driver.reporting(progress, count) as report:
        parts = [_compared_along(sides, chosen, rng, tolerances, report) for chosen in sides.blocks(count)]
    whole = parts[0]
    if len(parts) > 1:
        columns: Any = map(np.concatenate, zip(*(part[2:8] for part in parts), strict=True))
        columns = dict(zip(Comparison._fields[2:8], columns, strict=True))
        whole = whole._replace(shape=(count,), is_small=all(part.is_small for part in parts), **columns)
    if still := int(np.count_nonzero(sides.room == 0.0)):
        sides.notes.append(f"{still} coordinates next to a bound do not move along directions; check coordinates")
        whole = whole._replace(still=still)
    return whole


def _compared_along(
    sides: Sides, chosen: Indices, rng: np.random.Generator, tolerances: Tolerances, report: Report | None
) -> Comparison:
    """Compare the slopes along the directions of these numbers, whose largest component is 1."""
    # Each coordinate moves by a part of its own step; the farthest by a twelfth: truncation goes unseen here.
    vectors = rng.standard_normal((len(chosen), sides.size)) * sides.steps * sides.room
    lengths = np.abs(vectors).max(axis=1, initial=0.0)
    lengths[lengths == 0.0] = 1.0
    vectors, h = vectors / lengths[:, np.newaxis], lengths / 12
    claims = (vectors @ sides.whole).astype(np.float64)
    moves = along_rows(sides.untied(vectors) * h[:, np.newaxis])
    numerical = sides.values(moves, (1.0, -1.0), progress=after(report, int(chosen[0]))) / (2.0 * h)
    error = sides.rounding / h + ROUND_OFF * sides.eps * np.abs(numerical)
    failed, kink = np.zeros((2, len(chosen)), np.bool_)
    values = claims, numerical, error, failed, kink
    is_small = largest(np.abs(claims)) <= tolerances[1] <= _ATOL
    part = Comparison("direction", chosen.shape, chosen, *values, is_direction=True, is_small=is_small)
    is_doubted, wide = part.doubted(tolerances), part.error >= part.size
    if np.count_nonzero(wide):
        is_doubted |= wide & _is_hidden(sides.noise_of_all, h, part, tolerances)
    if len(doubted := is_doubted.nonzero()[0]):
        settle(part, doubted, lambda at: _lines_along(sides, vectors[at], h[at]), (sides.rounding, tolerances[0]))
        _pass_kinks(sides, part, vectors, tolerances[0])
    return part


def _pass_kinks(sides: Sides, part: Comparison, vectors: Floats, rtol: float) -> None:
    """Pass claims along vectors that slopes between those of kinks explain, where the kind of f knows these.

    That is so if each element of the candidate lies between such slopes.
    """
    at = np.flatnonzero(part.failed)
    known = [sides.known(name) for name in sides.places] if len(at) else []
    if not known or any(values is None for values in known):
        return
    slopes, bars, kinks = (np.concatenate([np.ravel(values[k]) for values in known if values]) for k in range(3))
    if not (np.abs(sides.whole - slopes) <= bars + rtol * (np.abs(slopes) + bars)).all():
        return
    numerical, error, kink = vectors[at] @ slopes, np.abs(vectors[at]) @ bars, np.abs(vectors[at]) @ kinks
    between = np.abs(part.candidate[at] - numerical) <= error + rtol * (np.abs(numerical) + error)
    passed = between & (kink > 0.5 * error)
    at, values = at[passed], (numerical[passed], error[passed])
    (part.numerical[at], part.error[at]), part.failed[at], part.kink[at] = values, False, True
