"""check_gradient and assert_gradient: judging somebody else's gradient."""

from __future__ import annotations  # naming numpy.random in one would import it, and take 15 ms

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import buffers, hints
from .arguments import finite_real, whole_number
from .comparing import Case, Comparison
from .progress import Progress, check_progress

if TYPE_CHECKING:
    from .gradient import Workers

__all__ = ["GradientCheck", "assert_gradient", "check_gradient"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_UNJUDGED = 0.5  # part of the coordinates that may hide in error bars as large as themselves


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
        lines = [
            f"gradient check {'passed' if self.ok else 'FAILED'}: {self.checked} of {self.total} checked, "
            f"rtol {self.rtol:.1e}, atol {self.atol:.1e}",
            f"{'array':12} {'failed':>8} {'checked':>8} {'total':>10} {'max relative error':>20}",
        ]
        for name, part in self.arrays.items():
            lines.append(
                f"{name or 'x':12} {part.failed:8} {part.checked:8} {part.total:10} {part.max_relative_error:20.2e}"
            )
        if self.worst is not None:
            at = self.worst
            where = f"{at.name}[{', '.join(map(str, at.index))}]"
            lines.append(
                f"worst: {where}: candidate {at.candidate:.9g}, numerical {at.numerical:.9g} +- {at.error:.1e}"
            )
        if self.explained:
            lines.append(f"{self.explained} differences are within the error of the numerical gradient, and pass")
        lines += [f"hint: {hint}" for hint in self.hints]
        return "\n".join(lines)


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
        difference is within the numerical gradient's error bar. Where x, the candidate or f is of less than float64
        precision, both are widened, to the square root of its eps and to eps times the largest candidate.
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
        If shapes or keys of `x` and the candidate differ, if both `samples` and `directions` are given, and as
        `numerical_gradient`.

    Notes
    -----
    The step is ``eps**(1/3)`` times the magnitude of the coordinate, or 1 where that is larger. The error bar is three
    times the difference between the quotients for h and 2h, or ``8 eps |f| / h`` if that is larger: four evaluations a
    coordinate, and as many for each other step that is tried where the bar is above 1e-6 of the derivative. A
    direction, along which each coordinate moves by a part of its own step, has the second part alone. If most bars are
    as large as the derivatives, nothing is judged, and the check fails and says so.

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
    check_progress(progress)
    case = Case(f, gradient, x, args, workers)
    rtol, atol = max(rtol, math.sqrt(case.eps) if case.eps > buffers.EPS else 0.0), max(atol, case.floor)
    if directions is not None:
        pairs = [case.along_directions(whole_number("directions", directions, 1), np.random.default_rng(rng), progress)]
    else:
        count = case.size if samples is None else min(whole_number("samples", samples, 1), case.size)
        pairs = case.along_coordinates(count, np.random.default_rng(rng), progress)
    return _judge(case, pairs, rtol, atol, directions is None)


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


def _judge(
    case: Case, comparisons: list[Comparison], rtol: float, atol: float, along_coordinates: bool
) -> GradientCheck:
    arrays: dict[str, ArrayCheck] = {}
    found: list[str] = []
    explained, worst = 0, _Nowhere
    for part in comparisons:
        relative, failed, within, rough = _verdicts(part, rtol, atol)
        if rough:
            found.append("the numerical gradient is too rough to judge: its error bars are as large as itself")
        if failed.any():
            found += hints.causes(part.shape, part.chosen, part.candidate, part.numerical, part.error, failed)
            largest = float(np.max(np.abs(part.numerical)))
            if along_coordinates and case.kinked(part.name, part.chosen[failed], largest):
                found.append("f has a kink at x: its slopes on both sides differ, and the quotients lie between them")
        counts = int(failed.sum()), failed.size, part.total
        arrays[part.name] = ArrayCheck(not failed.any(), *counts, float(relative.max(initial=0.0)))
        explained += int(within.sum())
        if relative.size:
            worst = max(worst, _worst(part, relative, failed), key=lambda entry: entry[0])
    return GradientCheck(
        ok=all(part.ok for part in arrays.values()),
        max_relative_error=max((part.max_relative_error for part in arrays.values()), default=0.0),
        worst=worst[1],
        checked=sum(part.checked for part in arrays.values()),
        total=case.size,
        explained=explained,
        rtol=rtol,
        atol=atol,
        arrays=arrays,
        hints=tuple(dict.fromkeys(found)),
    )


# How bad a place is, by relative error among those that failed if some did and then by difference; and what is there.
_Ranked = tuple[tuple[float, float], Worst | None]
_Nowhere: _Ranked = ((-1.0, -1.0), None)


def _verdicts(part: Comparison, rtol: float, atol: float) -> tuple[Floats, Flags, Flags, bool]:
    """Return relative errors, what failed, what the error bars explain, and whether these are too large to explain."""
    size = np.fmax(np.abs(part.candidate), np.abs(part.numerical))
    difference = np.abs(part.candidate - part.numerical)
    with np.errstate(all="ignore"):
        relative = np.where((size <= atol) | (difference == 0.0), 0.0, difference / size)
    relative[np.isnan(difference)] = math.inf
    beyond = relative > rtol
    within = beyond & (difference <= part.error) & np.isfinite(part.error)
    hidden = within & (part.error > size)
    rough = bool(hidden.sum() > _UNJUDGED * max(1, size.size))
    if rough:
        within &= ~hidden
    return relative, beyond & ~within, within, rough


def _worst(part: Comparison, relative: Floats, failed: Flags) -> _Ranked:
    order, difference = relative + np.where(failed, 1e300, 0.0), np.abs(part.candidate - part.numerical)
    k = int(np.lexsort((difference, order))[-1])
    index = tuple(map(int, np.unravel_index(part.chosen[k], part.shape)))
    place = Worst(part.name, index, float(part.candidate[k]), float(part.numerical[k]), float(part.error[k]))
    return (float(order[k]), float(difference[k])), place
