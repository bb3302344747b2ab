"""What a gradient check reports: its result, and which of the usual mistakes explain how a candidate differs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from operator import add, itemgetter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .display import table

__all__ = ["ArrayCheck", "Comparison", "GradientCheck", "Tolerances", "Worst", "report"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Tolerances = tuple[float, float]  # rtol and atol

# Relative difference up to which two slopes are the same: a cause explains a candidate up to its own small errors.
# Fixed, as the next, by test_the_usual_mistakes_are_caught_and_named in tests/test_checking.py.
_ALIKE = 1e-3
# Relative difference, of norms, up to which an otherwise unexplained candidate nearly agrees.
# Fixed by test_a_small_number_in_the_logarithm_is_named in tests/test_checking.py.
_CLOSE = 1e-2
# Part of the coordinates that a cause must explain: a few may have a second fault.
_MOST = 0.9
# Part of the coordinates that may hide in error bars as large as themselves: with more, nothing has been checked.
# Fixed by test_what_cannot_be_judged_does_not_pass in tests/test_checking.py.
_UNJUDGED = 0.5
# Size of a batch up to which a factor may be one: a larger factor comes of another mistake.
# Fixed by test_hints_of_extreme_factors_are_short in tests/test_checking.py.
_LARGEST_BATCH = 1e7
# Of a power of two: relative errors that are the same in these are alike, and the larger difference is the worse one.
# Fixed by test_the_worst_has_the_largest_relative_error_of_those_that_failed in tests/test_checking.py.
_PARTS = 256.0
_NOISY, _NOTHING = "too noisy to judge", "nothing was judged"
_ADVICE = "the error bars exceed the derivatives; use float64, a larger step h=, or a fixed seed"
_HEAD = ("array", "failed", "checked", "total", "max relative error")
_ROW = "{:12} {:>8} {:>8} {:>10} {:>20}"  # of the printed table


@dataclass(frozen=True)
class Worst:
    """A coordinate, or a direction, where candidate and numerical gradient differ the most."""

    name: str
    index: tuple[int, ...]
    candidate: float
    numerical: float
    error: float


# How bad a worst place is: whether it failed, the relative error, and the difference where such errors are alike; and
# the place. Those of a gradient of the wrong sign are all 2, but for rounding.
_Place = tuple[tuple[bool, float, float], Worst | None]
_NOWHERE: _Place = (False, -1.0, -1.0), None


@dataclass(frozen=True)
class ArrayCheck:
    """What the check says of one array, or of all directions."""

    ok: bool
    failed: int
    checked: int
    total: int
    max_relative_error: float


@dataclass(frozen=True, repr=False)
class GradientCheck:
    """What `check_gradient` found; printed, it is a table for a bug report.

    Attributes
    ----------
    ok : bool
        Whether the candidate passed everywhere it was checked; also the truth value of the check.
    max_relative_error : float
        The largest ``|a - n| / max(|a|, |n|)`` of candidate a and numerical gradient n, but where atol excuses both;
        NaN where nothing was judged.
    worst : Worst or None
        Name, index, candidate, numerical value and its error bar, where that is, among those that failed if some did.
    checked, total : int
        Coordinates (or directions) that were compared, and coordinates that there are.
    explained : int
        Differences beyond the tolerance, but within the numerical gradient's own error bar; they pass.
    rtol, atol : float
        The tolerances used, which are wider than those asked for in less than float64.
    arrays : dict of str to ArrayCheck
        The same for each array of a dict; the name is '' for a single one.
    hints : tuple of str
        Usual causes that fit what failed, with the name of the array; what could not be judged, and what to do.
    verdict : str
        "passed", "failed", "too noisy to judge", or "nothing was judged": x is empty, no value exceeds atol, or no
        value of a gradient below 1e-8 exceeds its own error bar.
    subgradients : int
        Candidates at a kink of f that lie between its slopes on both sides; they pass.
    unjudged : int
        Values that their error bars exceed, and coordinates that do not move along directions, next to a bound. They
        pass where the larger part of an array is judged, or the array as a whole; `strict` refuses them.
    comparisons : tuple of Comparison
        For each array the numbers that were compared: its name and shape, the flat coordinates `chosen`, `candidate`,
        `numerical` and its `error`, and which `failed`. `plotting.plot_check` draws them.

    Examples
    --------
    >>> from numgrad import check_gradient
    >>> check = check_gradient(lambda x: x[0] * x[1], [3.0, -2.0], [2.0, 3.0])
    >>> check.ok, check.arrays[""].failed, check.worst.index
    (False, 1, (1,))
    >>> check.hints
    ('only one coordinate is wrong: [1]',)
    """

    ok: bool
    max_relative_error: float
    worst: Worst | None
    checked: int
    total: int
    explained: int
    rtol: float
    atol: float
    arrays: dict[str, ArrayCheck] = field(default_factory=dict)
    hints: tuple[str, ...] = ()
    verdict: str = "passed"
    subgradients: int = 0
    unjudged: int = 0
    comparisons: tuple[Comparison, ...] = field(default=(), compare=False)

    def __bool__(self) -> bool:
        return self.ok

    def __repr__(self) -> str:
        return f"GradientCheck(ok={self.ok}, max_relative_error={self.max_relative_error:.1e}, checked={self.checked})"

    def __str__(self) -> str:
        rows = [_ROW.format(name or "x", *_numbers(part)) for name, part in self.arrays.items()]
        return "\n".join([self._caption(), _ROW.format(*_HEAD), *rows, *self._notes()])

    def _caption(self) -> str:
        checked = f"{self.checked} of {self.total} checked, rtol {self.rtol:.1e}, atol {self.atol:.1e}"
        verdict = "passed" if self.ok else "FAILED"
        if self.verdict not in {"passed", "failed"}:
            verdict += f" ({self.verdict})"
        return f"gradient check {verdict}: {checked}"

    def _notes(self) -> list[str]:
        lines = list[str]()
        if (at := self.worst) is not None:
            where = f"worst: {at.name}[{', '.join(map(str, at.index))}]"
            lines.append(f"{where}: candidate {at.candidate:.9g}, numerical {at.numerical:.9g} +- {at.error:.1e}")
        hidden = self.unjudged - sum(part.still for part in self.comparisons)  # a hint tells of the latter
        explained = 0 if self.verdict == _NOISY else self.explained
        notes = {
            "differences are within the error of the numerical gradient, and pass": explained,
            "lie between the slopes on both sides of a kink, and pass as subgradients": self.subgradients,
            "have error bars wider than themselves, and say nothing": hidden,
        }
        lines += [f"{count} {note}" for note, count in notes.items() if count]
        return lines + [f"hint: {hint}" for hint in self.hints]

    def to_dict(self) -> dict[str, Any]:
        """Return all but the comparisons as what JSON can write, but for numbers that are not finite."""
        found = asdict(replace(self, comparisons=()))
        del found["comparisons"]
        return found

    def _repr_html_(self) -> str:
        names = sorted(self.arrays, key=lambda name: _badness(self.arrays[name]), reverse=True)
        rows = [(name or "x", *_numbers(self.arrays[name])) for name in names]
        return table(_HEAD, rows, caption=self._caption(), notes=self._notes())


def _numbers(part: ArrayCheck) -> tuple[Any, ...]:
    """Return the row of an array in a table, without its name."""
    error = "-" if math.isnan(part.max_relative_error) else f"{part.max_relative_error:.2e}"
    return part.failed, part.checked, part.total, error


def _badness(part: ArrayCheck) -> tuple[bool, int, float]:
    return not part.ok, part.failed, -1.0 if math.isnan(part.max_relative_error) else part.max_relative_error


class Comparison(NamedTuple):
    """Candidate and numerical values of some coordinates of one array, or along some directions, and what was found.

    Of directions, `still` is how many coordinates do not move along them, next to a bound.

    `wrong` holds the claimed and the measured slopes along vectors that show the array to be wrong as a whole; `judged`
    says that one of them could be measured. `is_small` tells that atol would excuse all of it: error bars alone do.
    """

    name: str
    shape: tuple[int, ...]
    chosen: NDArray[np.intp]
    candidate: Floats
    numerical: Floats
    error: Floats
    failed: Flags
    kink: Flags
    is_direction: bool = False
    judged: bool = False
    wrong: tuple[tuple[float, float], ...] = ()
    is_small: bool = False
    still: int = 0

    @property
    def size(self) -> Floats:
        """The larger magnitude of both values."""
        return np.maximum(np.abs(self.candidate), np.abs(self.numerical))

    @property
    def difference(self) -> Floats:
        """The distance of both values."""
        return np.abs(self.candidate - self.numerical)

    @property
    def hidden(self) -> Flags:
        """Where error bars hide values: those that do not exceed them, but zeros: f was the same at all steps there."""
        size = self.size
        return (self.error >= size) & (size > 0.0)

    def excuse(self, atol: float, of_small: Floats | float) -> Floats | float:
        """Return up to which size values are excused: atol, or in a small gradient what is given for it.

        But where f was 0 wherever it was asked: what of it would tell a small slope may have been rounded away.
        """
        return np.where((self.numerical == 0.0) & (self.error == 0.0), atol, of_small) if self.is_small else atol

    def errors(self, tolerances: Tolerances) -> Floats:
        """Return the relative errors, which are 0 where both values are at most atol, unless the gradient is small."""
        size = self.size
        # Of what is not finite the quotient is NaN, in place of which fmin gives infinity: also where both are the same
        # infinity, which no quotient can confirm.
        return np.where(size <= self.excuse(tolerances[1], 0.0), 0.0, np.fmin(self.difference / size, math.inf))

    def doubted(self, tolerances: Tolerances) -> Flags:
        """Tell which claims differ; of a small gradient those that small error bars do not explain."""
        beyond = self.errors(tolerances) > tolerances[0]
        return beyond & ~(self.difference <= np.fmin(self.error, tolerances[1])) if self.is_small else beyond


def report(
    total: int, parts: list[Comparison], tolerances: Tolerances, notes: list[str], strict: bool
) -> GradientCheck:
    """Return the result of a check of `total` coordinates, with notes on f or the candidate as a whole.

    `parts` become part of it, with what failed after all.
    """
    arrays, hints, place, sums = dict[str, ArrayCheck](), list[str](), _NOWHERE, [0] * 6
    for part in parts:
        arrays[part.name], own, at, counts = _found(part, tolerances)
        hints += own
        place, sums = max(place, at, key=itemgetter(0)), list(map(add, sums, counts))
    checked, unknown, explained, unjudged, subgradients, large = sums
    verdict = "passed" if all(part.ok for part in arrays.values()) else "failed"
    if verdict == "passed" and unknown > _UNJUDGED * checked:
        verdict = _NOISY
    elif verdict == "passed" and not large:
        verdict = _NOTHING
        hints.append(f"{_NOTHING}: {_why_nothing(total, checked, parts)}")
        arrays = {name: replace(part, max_relative_error=math.nan) for name, part in arrays.items()}
    ok = verdict in {"passed", _NOTHING} and not (strict and (verdict == _NOTHING or unjudged))
    largest = max((part.max_relative_error for part in arrays.values() if part.checked), default=math.nan)
    numbers, texts = (checked, total, explained, *tolerances), tuple(dict.fromkeys(hints + notes))
    return GradientCheck(ok, largest, place[1], *numbers, arrays, texts, verdict, subgradients, unjudged, tuple(parts))


def _why_nothing(total: int, checked: int, parts: list[Comparison]) -> str:
    if not total:
        return "x is empty"
    if not checked:
        return "no coordinate was asked for"
    if sum(part.still for part in parts) == total:
        return "no coordinate moves along the directions"
    is_small = any(part.is_small for part in parts)
    return "no value exceeds " + ("its own error bar" if is_small else "atol; pass a smaller one")


def _found(part: Comparison, tolerances: Tolerances) -> tuple[ArrayCheck, list[str], _Place, tuple[int, ...]]:
    """Judge a comparison, in which it notes what has failed; return its array, hints, worst place, and counts.

    The counts are those checked, unknown, explained, unjudged, that are subgradients, and that are large: beyond atol,
    or of a small gradient beyond their own error bars.
    """
    errors, size = part.errors(tolerances), part.size
    beyond = errors > tolerances[0]
    part.failed[:] = (beyond & part.failed) | np.isinf(errors)
    passed, is_smooth = ~part.failed, ~part.kink
    hidden = part.hidden & is_smooth
    is_large = size > part.excuse(tolerances[1], part.error)
    flags = beyond & passed & is_smooth, hidden, part.kink & passed, is_large, part.failed
    explained, unjudged, subgradients, large, failed = map(int, map(np.count_nonzero, flags))
    hints = list(causes(part)) if failed or part.wrong else []
    # The bars of an array as a whole may hide it: larger values speak for many that are hidden, atol for small ones.
    is_unknown = unjudged > _UNJUDGED * size.size and not part.judged and bool((size > tolerances[1]).any())
    if is_unknown := is_unknown and bool(np.linalg.norm(part.error[hidden]) > np.linalg.norm(size)):
        hints.append(f"{_NOISY}: {_ADVICE}")
    if part.name and not part.is_direction:
        hints = [f"{part.name}: {hint}" for hint in hints]
    counts = size.size, size.size * is_unknown, explained, unjudged + part.still, subgradients, large
    place, largest = _NOWHERE, math.nan
    if errors.size:
        (digits, power), difference = np.frexp(errors), part.difference
        rough = np.ldexp(np.rint(_PARTS * digits) / _PARTS, power)
        k = np.lexsort((difference, rough, part.failed)).item(-1)
        index = tuple(map(int, np.unravel_index(part.chosen[k], part.shape)))
        worst = Worst(part.name, index, part.candidate.item(k), part.numerical.item(k), part.error.item(k))
        rank = part.failed.item(k), rough.item(k), difference.item(k)
        place, largest = (rank, worst), errors.item(errors.argmax())
    array = ArrayCheck(not (failed or part.wrong), failed, size.size, math.prod(part.shape), largest)
    return array, hints, place, counts


def causes(part: Comparison) -> Iterator[str]:
    """Yield the causes that fit what failed."""
    shape, candidate, numerical, error, failed = part.shape, part.candidate, part.numerical, part.error, part.failed
    for claim, slope in part.wrong[:1]:
        yield f"as a whole it is wrong: along a vector it claims the slope {claim:.4g}, f has {slope:.4g}"
    if not failed.any():
        return
    if not np.isfinite(candidate[failed]).all():
        yield "the candidate is not finite there"
    if not np.isfinite(numerical[failed]).all():
        yield "x, or f near it, is not finite, so the numerical gradient is not either"
    is_whole = failed.size == math.prod(shape) and not part.is_direction
    for name, other in _rearranged(shape, candidate) if is_whole else ():
        if _alike(other, numerical, error).all() and not _alike(candidate, numerical, error).all():
            yield name
    if failed.size > 1 and not numerical.any():
        yield "all differences of f are zero: does it read another array than x, or a copy of it?"
    hints = [*_factor(candidate, numerical, failed), *_places(part)]
    yield from hints
    distance = np.linalg.norm(candidate - numerical)
    if not hints and failed.sum() > 1 and 0.0 < distance <= _CLOSE * np.linalg.norm(numerical):
        yield "they nearly agree: does f add a small number that the candidate leaves out, such as log(p + 1e-7)?"
    if (part.kink & failed).any():
        several = "; several kinks may add up along it: check coordinates" if part.is_direction else ""
        yield f"f has a kink at x: its slopes on both sides differ, and the candidate lies outside of them{several}"


def _alike(a: Floats, b: Floats, error: Floats) -> Flags:
    return np.abs(a - b) <= _ALIKE * np.fmax(np.abs(a), np.abs(b)) + error


def _rearranged(shape: tuple[int, ...], candidate: Floats) -> Iterator[tuple[str, Floats]]:
    if len(shape) == 2 and shape[0] == shape[1] > 1:
        yield "the candidate is transposed", candidate.reshape(shape).T.reshape(-1)
    if candidate.size > 2:
        for by in (1, -1):
            yield "the candidate is shifted by one place", np.roll(candidate.reshape(shape), by, axis=-1).reshape(-1)


def _factor(candidate: Floats, numerical: Floats, failed: Flags) -> Iterator[str]:
    usable = failed & (numerical != 0.0) & np.isfinite(candidate) & np.isfinite(numerical)
    if not usable.any() or (failed.sum() == 1 < failed.size):
        return
    ratios = candidate[usable] / numerical[usable]
    factor = float(np.median(ratios))
    same = np.abs(ratios - factor) <= _ALIKE * abs(factor)
    if factor == 0.0 or math.isinf(factor) or abs(factor - 1.0) <= _ALIKE or same.mean() < _MOST:
        return
    batch = factor if factor > 1.0 else 1.0 / factor
    is_size = 2.5 < batch < _LARGEST_BATCH and abs(batch - round(batch)) <= _ALIKE * batch
    if abs(factor + 1.0) <= _ALIKE:
        yield "the sign is wrong"
    elif min(abs(factor - 2.0), abs(factor - 0.5)) <= _ALIKE:
        yield f"the candidate is {factor:.6g} times the gradient: is there a square, or a half, that was forgotten?"
    elif ratios.size == 1:  # which is the same as itself
        return
    elif is_size and factor > 1.0:
        yield f"the candidate is {batch:.0f} times the gradient: is the mean over a batch of {batch:.0f} missing?"
    elif is_size:
        yield f"the candidate is 1/{batch:.0f} of the gradient: was it divided by the size of the batch twice?"
    else:
        yield f"the candidate is {factor:.6g} times the gradient: is a factor missing?"


def _places(part: Comparison) -> Iterator[str]:
    if part.failed.all() or part.is_direction:
        return
    of = "of those checked, " if part.failed.size < math.prod(part.shape) else ""
    indices = [index.tolist() for index in np.unravel_index(part.chosen[part.failed], part.shape)]
    if part.failed.sum() == 1:
        yield f"{of}only one coordinate is wrong: [{', '.join(str(index[0]) for index in indices)}]"
    elif len(part.shape) == 2:
        for axis, name in ((1, "column"), (0, "row")):
            if len(set(indices[axis])) == 1:
                yield f"{of}only {name} {indices[axis][0]} is wrong"
