"""check_gradient and assert_gradient: judging somebody else's gradient."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import driver
from .arguments import describe, finite_real, real_array, real_number, whole_number
from .driver import Progress, Workers, after, differentiate
from .estimates import plan_estimates
from .loops import Directions, Floats, Indices, Rule, make_directions
from .objectives.python import PythonObjective
from .points import EPS, written_through
from .reports import ArrayCheck, GradientCheck, Worst, causes
from .schemes import rule_at

__all__ = ["GradientCheck", "assert_gradient", "check_gradient"]

# Part of the coordinates that may hide in error bars as large as themselves: with more, nothing has been checked.
# Fixed by test_what_cannot_be_judged_does_not_pass in tests/test_checking.py.
_UNJUDGED = 0.5
# Roundings of f, each eps |f| / h, that an error bar allows for at least: f adds up many terms.
# Fixed by test_right_gradients_pass_and_wrong_ones_fail_at_every_scale_of_x in tests/test_checking.py.
_ROUND_OFF = 8.0
# Numbers of the directions that are made at a time, 16 bytes each: 16 MB, however many directions are asked for.
_NUMBERS = 10**6
# Coordinates of an array: where more than 16 fail, 4 are asked again at first, since an estimate takes some 14
# evaluations. Fixed by "check_gradient, n = 50, fails" in benchmarks/compare_versions.py.
_MANY, _FEW = 16, 4
# Relative difference of the slopes on both sides from which on it is the jump of a kink.
# Fixed by test_a_kink_is_named in tests/test_checking.py.
_JUMP = 0.05


def check_gradient(
    f: Callable[..., Any],
    gradient: Any,
    x: Any,
    *,
    args: tuple[Any, ...] = (),
    samples: int | None = None,
    directions: int | None = None,
    rtol: float = 1e-5,
    atol: float = 1e-8,
    rng: Any = None,
    progress: Progress = False,
    workers: Workers = 1,
) -> GradientCheck:
    """Compare a gradient with central differences, and say how wrong it is, where, and what may be the cause.

    Parameters
    ----------
    f : callable
        ``f(x, *args) -> float``: any objective that `numerical_gradient` takes.
    gradient : array_like, dict of array_like, or callable
        The candidate, of the shape of `x` (with the keys of `x`), or ``gradient(x, *args)``, which returns it.
    x : array_like or dict of str to array_like
        Where to check. Of a dict, such as the book's ``params``, each array is perturbed in place in turn, as by
        `numerical_gradient`; f receives the dict, or ignores it and reads the same arrays.
    args : tuple, optional
        Further arguments of `f`.
    samples : int, optional
        Check that many random coordinates. Default: all of them.
    directions : int, optional
        Check that many random directions instead, by two evaluations each, whatever the size of `x`. An error in few
        coordinates moves a direction little, so take several.
    rtol, atol : float, default 1e-5 and 1e-8
        A coordinate passes if ``|a - n| <= rtol max(|a|, |n|)``, if both are at most atol in magnitude, or if the
        difference is within the numerical gradient's error bar; it fails where either is infinite or NaN. Where x, the
        candidate or f is of less than float64 precision, both are widened, to the square root of its eps and to eps
        times the largest candidate.
    rng : numpy.random.Generator or seed, optional
        What chooses samples or directions.
    workers : int or map-like callable, default 1
        What evaluates the coordinates, as for `numerical_gradient`.
    progress : bool or callable, default False
        As for `numerical_gradient`, over the coordinates of the two gradients that are compared for the error bar.

    Returns
    -------
    GradientCheck
        True in ``ok`` if all passed; ``print`` it.

    Raises
    ------
    TypeError, ValueError
        If shapes or keys of `x` and the candidate differ, if elements of the candidate are masked, if both `samples`
        and `directions` are given, and as `numerical_gradient`.

    Notes
    -----
    The step is ``eps**(1/3)`` times the magnitude of the coordinate, or 1 where that is larger. The error bar is three
    times the difference between the quotients for h and 2h, or ``8 eps |f| / h`` if that is larger: four evaluations a
    coordinate. Where the candidate would fail, `estimate_gradient` is asked for that coordinate, and its value and
    error decide. A direction, along which each coordinate moves by a part of its own step, has the second part of the
    error bar alone. If most bars are as large as the derivatives, nothing is judged, and the check fails and says so.
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
    rtol, atol = finite_real("rtol", rtol), finite_real("atol", atol)
    if rtol < 0.0 or atol < 0.0:
        raise ValueError(f"rtol and atol must not be negative, got {rtol} and {atol}")
    if samples is not None and directions is not None:
        raise ValueError("samples and directions are two ways to check; pass one of them")
    driver.check_progress(progress)
    # A check compares whatever f and the candidate hold: what overflows fails, and raises nothing on its way there.
    with np.errstate(all="ignore"):
        sides = _Sides(f, gradient, x, args)
        if sides.eps > EPS:
            rtol, atol = max(rtol, math.sqrt(sides.eps)), max(atol, sides.floor)
        rng, n = np.random.default_rng(rng), sides.size
        if directions is not None:
            parts = [_along_directions(sides, whole_number("directions", directions, 1), rng, progress)]
        else:
            count = n if samples is None else min(whole_number("samples", samples, 1), n)
            chosen = np.arange(n) if count == n else np.sort(rng.choice(n, count, replace=False))
            workers = driver.as_workers(workers, sides.objective)
            parts = _along_coordinates(sides, chosen, (rtol, atol), workers, progress)
        return _judge(n, parts, (rtol, atol))


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


class _Sides:
    """Both sides of a check, after checking that they fit: f at a point of arrays by name, and a candidate by the same.

    The name of a single array is ''. `eps` is the coarsest precision among the point, the candidate and the value of f;
    `floor` is the round-off of the largest candidate in it, `rounding` what an error bar allows f for at least.
    """

    def __init__(self, f: Callable[..., Any], gradient: Any, x: Any, args: tuple[Any, ...]) -> None:
        self.f, self.args, self.objective, self.is_dict = f, args, driver.as_objective(f, args), isinstance(x, Mapping)
        given: dict[str, Any] = dict(x) if self.is_dict else {"": x}
        if not all(isinstance(name, str) for name in given):
            raise TypeError(f"the keys of x must be strings, got {list(given)}")
        if self.is_dict and not isinstance(self.objective, PythonObjective):
            raise TypeError("a dict of arrays needs a Python f; let it call the compiled one")
        labels = {name: f"x[{name!r}]" if name else "x" for name in given}
        held = {k: written_through(real_array(v, labels[k]), v, labels[k]) for k, v in given.items()}
        self.x = {name: memory for name, (memory, _) in held.items()}
        self.copies = {name for name, (_, is_copy) in held.items() if is_copy}
        self.point: Any = self.x if self.is_dict else self.x[""]
        if callable(gradient):
            gradient = PythonObjective(gradient).returned(self.point, args)
        self.candidate = _candidate(gradient, self.x, self.is_dict)
        returned = self.objective.returned(self.memory(self.objective), args)
        value, self.size = real_number(returned), sum(array.size for array in self.x.values())
        self.eps = max(map(_eps, (*self.x.values(), *self.candidate.values(), np.asarray(returned))))
        self.rounding = _ROUND_OFF * self.eps * abs(value)
        largest = max((float(np.max(np.abs(a))) for a in self.candidate.values() if a.size), default=0.0)
        self.floor = self.eps * largest if math.isfinite(largest) else 0.0

    def steps(self, name: str) -> Floats:
        """Return the step of each coordinate of one array: as for an f that changes over lengths of 1 or x."""
        magnitude = np.abs(np.asarray(self.x[name], np.float64))  # of the plain array: a subclass may do more
        return np.asarray(np.cbrt(self.eps) * np.fmax(np.where(np.isfinite(magnitude), magnitude, 1.0), 1.0))

    def memory(self, objective: driver.Objective) -> Any:
        """Return the memory that `objective` perturbs: its place, or the arrays of a dict."""
        return self.x if self.is_dict else objective.place(self.point, self.args)[0]

    def objective_of(self, name: str) -> tuple[driver.Objective, Any, tuple[Any, ...]]:
        """Return the objective of one array, its memory, and the arguments of f."""
        if not self.is_dict:
            return self.objective, self.memory(self.objective), self.args
        f, args, x = self.f, self.args, self.x  # and not self, which may not travel to other processes
        return PythonObjective(lambda _: f(x, *args)), x[name], ()

    def quotients(
        self, name: str, own: Indices, factor: float, scheme: Any, workers: Workers = 1, progress: Progress = False
    ) -> Floats:
        """Return the quotients of some coordinates of one array, for `factor` times their steps."""
        objective, memory, args = self.objective_of(name)
        h: Any = factor * self.steps(name)
        if not _has_steps(objective):
            h = float(np.median(h)) if h.size else 1.0
        out = np.empty(len(own))
        differentiate(objective, memory, args, rule_at(memory, h, scheme, None, own), out, workers, progress)
        return out


_Tolerances = tuple[float, float]  # rtol and atol


def _candidate(gradient: Any, x: dict[str, NDArray[Any]], is_dict: bool) -> dict[str, NDArray[Any]]:
    """Return the candidate as copies of its arrays, since f may change them."""
    if is_dict and (not isinstance(gradient, Mapping) or set(gradient) != set(x)):
        got = sorted(gradient) if isinstance(gradient, Mapping) else describe(gradient)
        raise ValueError(f"gradient must have the keys of x, {sorted(x)}, got {got}")
    candidate = {}
    for name in x:
        part, label = (gradient[name], f"gradient[{name!r}]") if is_dict else (gradient, "gradient")
        if _is_masked(part):
            raise TypeError(f"{label} has masked elements, which nothing can be compared with; pass its .filled(0.0)")
        array = candidate[name] = np.array(real_array(part, label), order="C", subok=False)
        if array.shape != (shape := x[name].shape):
            transposed = " (is it transposed?)" if array.shape == shape[::-1] else ""
            raise ValueError(f"{label} must have the shape of x, {shape}, got {array.shape}{transposed}")
    return candidate


def _is_masked(value: Any) -> bool:
    """Tell whether elements are masked, in lists too, of which NumPy would make an array of what lies below."""
    if isinstance(value, list | tuple):
        return any(map(_is_masked, value))
    return isinstance(value, np.ma.MaskedArray) and bool(np.ma.is_masked(value))


def _eps(array: NDArray[Any]) -> float:
    return float(np.finfo(array.dtype).eps) if array.dtype.kind == "f" else EPS


def _has_steps(objective: driver.Objective) -> bool:
    """Tell whether each coordinate may have a step of its own: not if it is incremental."""
    return objective.has_descent or isinstance(objective, PythonObjective)


class _Comparison(NamedTuple):
    """Candidate and numerical values of some coordinates of one array, or along some directions."""

    name: str
    shape: tuple[int, ...]
    chosen: Indices
    candidate: Floats
    numerical: Floats
    error: Floats
    has_kink: bool = False


def _along_coordinates(
    sides: _Sides, chosen: Indices, tolerances: _Tolerances, workers: Workers, progress: Progress
) -> list[_Comparison]:
    """Compare the chosen coordinates of all arrays, counted through, by two sweeps, and more where they would fail."""
    parts: list[_Comparison] = []
    first = 0
    with driver.reporting(progress, 2 * len(chosen)) as report:
        for name, array in sides.x.items():
            own = chosen[(first <= chosen) & (chosen < first + array.size)] - first
            first, done = first + array.size, 2 * sum(len(part.chosen) for part in parts)
            near = sides.quotients(name, own, 1.0, "central", workers, after(report, done))
            far = sides.quotients(name, own, 2.0, "central", workers, after(report, done + len(own)))
            error = np.fmax(3.0 * np.abs(near - far), sides.rounding / sides.steps(name).reshape(-1)[own])
            error[~(np.isfinite(near) & np.isfinite(far))] = math.inf
            candidate = sides.candidate[name].reshape(-1)[own].astype(np.float64)
            part = _Comparison(name, array.shape, own, candidate, near, error)
            parts.append(_decided(sides, part, tolerances, workers))
            ignored = name in sides.copies and len(own) == array.size > 0 and not near.any()
            driver.warn_of(0, math.nan, ignored, array)
    return parts


def _decided(sides: _Sides, part: _Comparison, tolerances: _Tolerances, workers: Workers) -> _Comparison:
    """Have an estimate decide where the candidate would fail, and look whether f has a kink where it fails indeed.

    At a kink the slopes on both sides differ, by twice the error of the estimate. A difference that is small against
    the largest derivative is but the curvature.
    """
    objective, memory, args = sides.objective_of(part.name)
    failed = np.flatnonzero(_verdicts(part, tolerances)[1])
    if not len(failed) or not _has_steps(objective):
        return part
    # Where many fail, few are asked first: unless an estimate saves one of these, the others are wrong as well.
    few = failed if len(failed) <= _MANY else failed[:: len(failed) // _FEW][:_FEW]
    for again in (few, np.setdiff1d(failed, few)):
        rows, plan = plan_estimates(sides.eps, part.chosen[again], len(again))
        differentiate(objective, memory, args, plan, rows, workers)
        usable = np.isfinite(rows[:, 1])
        part.numerical[again[usable]], part.error[again[usable]] = rows[usable, :2].T
        if len(failed := np.flatnonzero(_verdicts(part, tolerances)[1])) and set(few) <= set(failed):
            break
    looked = np.intersect1d(few, failed)[:_FEW]
    above, below = (sides.quotients(part.name, part.chosen[looked], 1.0, side) for side in ("forward", "backward"))
    jump, largest = np.abs(above - below), float(np.max(np.abs(part.numerical)))
    slopes = np.fmax(np.fmax(np.abs(above), np.abs(below)), largest / 10)
    kinks = (jump > _JUMP * slopes) & (np.abs(0.5 * jump - part.error[looked]) <= 0.25 * jump)
    return part._replace(has_kink=bool(kinks.any()))


def _along_directions(sides: _Sides, count: int, rng: np.random.Generator, progress: Progress) -> _Comparison:
    """Compare the slopes along random directions, whose largest component is 1."""
    objective = sides.objective if _has_steps(sides.objective) else PythonObjective(sides.f)
    memory, n, pair = sides.memory(objective), sides.size, np.array([[1.0, -1.0]])
    whole = np.concatenate([array.reshape(-1) for array in sides.candidate.values()])
    steps = np.concatenate([sides.steps(name).reshape(-1) for name in sides.x])
    rule = Rule(make_directions, (math.nan, 0.0, pair, pair, np.zeros(1, np.intp), np.ones(1), False))
    candidate, numerical, error = np.empty((3, count))
    with driver.reporting(progress, count) as report:
        for first in range(0, count, block := max(1, _NUMBERS // max(1, n))):
            # Each coordinate moves by a part of its own step; the farthest by a twelfth: truncation goes unseen here.
            own = slice(first, min(first + block, count))
            directions = rng.standard_normal((own.stop - first, n)) * steps
            lengths = np.abs(directions).max(axis=1, initial=0.0)
            lengths[lengths == 0.0] = 1.0
            directions, h = directions / lengths[:, np.newaxis], lengths / 12
            members = np.tile(np.arange(n), len(h))
            where = Directions(n * np.arange(len(h) + 1), members, (h[:, np.newaxis] * directions).reshape(-1))
            differentiate(objective, memory, sides.args, (rule, where), numerical[own], 1, after(report, first))
            numerical[own] /= 2 * h
            candidate[own] = directions @ whole
            error[own] = sides.rounding / h + _ROUND_OFF * sides.eps * np.abs(numerical[own])
    return _Comparison("direction", (count,), np.arange(count), candidate, numerical, error)


def _judge(total: int, parts: list[_Comparison], tolerances: _Tolerances) -> GradientCheck:
    arrays, found, explained = dict[str, ArrayCheck](), list[str](), 0
    worst: _Ranked = (-1.0, -1.0), None
    for part in parts:
        relative, failed, within, rough = _verdicts(part, tolerances)
        if rough:
            found.append("the numerical gradient is too rough to judge: its error bars are as large as itself")
        if failed.any():
            found += causes(part[1:6], failed)
        if part.has_kink:
            found.append("f has a kink at x: its slopes on both sides differ, and the quotients lie between them")
        counts = int(failed.sum()), failed.size, math.prod(part.shape)
        arrays[part.name] = ArrayCheck(not failed.any(), *counts, float(relative.max(initial=0.0)))
        explained += int(within.sum())
        if relative.size:
            worst = max(worst, _worst(part, relative, failed), key=lambda ranked: ranked[0])
    return GradientCheck(
        ok=all(part.ok for part in arrays.values()),
        max_relative_error=max((part.max_relative_error for part in arrays.values()), default=0.0),
        worst=worst[1],
        checked=sum(part.checked for part in arrays.values()),
        total=total,
        explained=explained,
        rtol=tolerances[0],
        atol=tolerances[1],
        arrays=arrays,
        hints=tuple(dict.fromkeys(found)),
    )


# How bad a place is, by relative error among those that failed if some did and then by difference; and what is there.
_Ranked = tuple[tuple[float, float], Worst | None]


def _verdicts(part: _Comparison, tolerances: _Tolerances) -> tuple[Floats, NDArray[np.bool_], NDArray[np.bool_], bool]:
    """Return relative errors, what failed, what the error bars explain, and whether these are too large to explain."""
    rtol, atol = tolerances
    size = np.maximum(np.abs(part.candidate), np.abs(part.numerical))
    difference = np.abs(part.candidate - part.numerical)
    relative = np.where((size <= atol) | (difference == 0.0), 0.0, difference / size)
    relative[~np.isfinite(size)] = math.inf  # also where both are the same infinity, which no quotient can confirm
    beyond = relative > rtol
    within = beyond & (difference <= part.error) & np.isfinite(part.error)
    hidden = within & (part.error > size)
    rough = bool(hidden.sum() > _UNJUDGED * max(1, size.size))
    if rough:
        within &= ~hidden
    return relative, beyond & ~within, within, rough


def _worst(part: _Comparison, relative: Floats, failed: NDArray[np.bool_]) -> _Ranked:
    order, difference = relative + np.where(failed, 1e300, 0.0), np.abs(part.candidate - part.numerical)
    k = int(np.lexsort((difference, order))[-1])
    index = tuple(map(int, np.unravel_index(part.chosen[k], part.shape)))
    place = Worst(part.name, index, float(part.candidate[k]), float(part.numerical[k]), float(part.error[k]))
    return (float(order[k]), float(difference[k])), place
