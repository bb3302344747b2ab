"""What a gradient check reports: its result, and which of the usual mistakes explain how a candidate differs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ArrayCheck", "GradientCheck", "Worst", "causes"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

# Relative difference up to which two slopes are the same: a cause explains a candidate up to its own small errors.
# Fixed, as the next, by test_the_usual_mistakes_are_caught_and_named in tests/test_checking.py.
_ALIKE = 1e-3
# Part of the coordinates that a cause must explain: a few may have a second fault.
_MOST = 0.9
# Size of a batch up to which a factor may be one: a larger factor comes of another mistake.
# Fixed by test_hints_of_extreme_factors_are_short in tests/test_checking.py.
_LARGEST_BATCH = 1e7
_ROW = "{:12} {:>8} {:>8} {:>10} {:>20}"  # of the printed table


@dataclass(frozen=True)
class Worst:
    """A coordinate, or a direction, where candidate and numerical gradient differ the most."""

    name: str
    index: tuple[int, ...]
    candidate: float
    numerical: float
    error: float


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
        Whether the candidate passed everywhere it was checked.
    max_relative_error : float
        The largest ``|a - n| / max(|a|, |n|)`` of candidate a and numerical gradient n, but where both are below atol.
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
        Usual causes that fit what failed.

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

    def __repr__(self) -> str:
        return f"GradientCheck(ok={self.ok}, max_relative_error={self.max_relative_error:.1e}, checked={self.checked})"

    def __str__(self) -> str:
        checked = f"{self.checked} of {self.total} checked, rtol {self.rtol:.1e}, atol {self.atol:.1e}"
        lines = [f"gradient check {'passed' if self.ok else 'FAILED'}: {checked}"]
        lines.append(_ROW.format("array", "failed", "checked", "total", "max relative error"))
        for name, part in self.arrays.items():
            error = f"{part.max_relative_error:.2e}"
            lines.append(_ROW.format(name or "x", part.failed, part.checked, part.total, error))
        if (at := self.worst) is not None:
            where = f"worst: {at.name}[{', '.join(map(str, at.index))}]"
            lines.append(f"{where}: candidate {at.candidate:.9g}, numerical {at.numerical:.9g} +- {at.error:.1e}")
        if self.explained:
            lines.append(f"{self.explained} differences are within the error of the numerical gradient, and pass")
        lines += [f"hint: {hint}" for hint in self.hints]
        return "\n".join(lines)


def causes(part: tuple[Any, ...], failed: Flags) -> Iterator[str]:
    """Yield the causes that fit.

    ``shape, chosen, candidate, numerical, error = part``: the flat coordinates `chosen` of an array of a shape, and
    candidate, numerical values and their errors there, of which some `failed`.
    """
    shape, chosen, candidate, numerical, error = part
    if not np.isfinite(candidate[failed]).all():
        yield "the candidate is not finite there"
    if not np.isfinite(numerical[failed]).all():
        yield "f is not finite near x, so the numerical gradient is not either"
    for name, other in _rearranged(shape, candidate) if chosen.size == math.prod(shape) else ():
        if _alike(other, numerical, error).all() and not _alike(candidate, numerical, error).all():
            yield name
    yield from _factor(candidate, numerical, failed)
    yield from _places(shape, chosen, failed)


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
    if factor == 0.0 or math.isinf(factor) or same.mean() < _MOST:
        return
    batch = factor if factor > 1.0 else 1.0 / factor
    is_size = 2.5 < batch < _LARGEST_BATCH and abs(batch - round(batch)) <= _ALIKE * batch
    if abs(factor + 1.0) <= _ALIKE:
        yield "the sign is wrong"
    elif min(abs(factor - 2.0), abs(factor - 0.5)) <= _ALIKE:
        yield f"the candidate is {factor:.6g} times the gradient: is there a square, or a half, that was forgotten?"
    elif is_size and factor > 1.0:
        yield f"the candidate is {batch:.0f} times the gradient: is the mean over a batch of {batch:.0f} missing?"
    elif is_size:
        yield f"the candidate is 1/{batch:.0f} of the gradient: was it divided by the size of the batch twice?"
    else:
        yield f"the candidate is {factor:.6g} times the gradient: is a factor missing?"


def _places(shape: tuple[int, ...], chosen: NDArray[np.intp], failed: Flags) -> Iterator[str]:
    if failed.all() or not failed.any():
        return
    indices = np.unravel_index(chosen[failed], shape)
    if failed.sum() == 1:
        yield f"only one coordinate is wrong: [{', '.join(str(int(index[0])) for index in indices)}]"
    elif len(shape) == 2:
        for axis, name in ((1, "column"), (0, "row")):
            if len(set(indices[axis].tolist())) == 1:
                yield f"only {name} {int(indices[axis][0])} is wrong"
