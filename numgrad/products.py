"""Products of derivatives and vectors: those of f along lines, and of its Hessian, from slopes or values of f."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import driver, schemes
from .arguments import describe, plain_numbers
from .beside import largest_finite, noise_beside
from .bounds import ends_of_lines
from .driver import Workers
from .gradient import noise_at, numerical_gradient
from .loops import RESPONDED, STEP_LOST, Directions, Floats, Rule
from .magnitudes import MOST_SHARE, SMALL, enough, least_magnitude, lengthen, rounding_near
from .objectives.python import PythonObjective
from .objectives.vectors import floats
from .points import EPS, FEW_DIGITS, SINGLE, are_single, is_narrow, is_single, private_copy, resolution, scales

__all__: list[str] = []  # nothing here is public

# Unit of x: the step of gradients that an objective gives by its own way.
STEP = 1e-4
# Times its rounding that the element of a product is at least to which others are compared: less is no number.
# Fixed by test_a_product_of_which_rounding_hides_a_part in tests/test_magnitudes.py.
_CERTAIN = 8.0
# Part by which the largest element may differ by longer steps. Fixed by
# test_a_product_keeps_elements_that_are_known_beside_much_larger_ones in tests/test_hessian.py.
_SAME = 0.01
# The rule of f at displaced points.
_VALUE = schemes.sum_of_values(1.0)
# Coordinates of which a product shows noise of f: more tell no more. And part of the largest element that it is
# worth a look from: third derivatives make 1e-3 of an f that changes over the length of x.
# Fixed by test_noise_of_any_kind_is_warned_of in tests/test_digits.py.
_SEEN, _DOUBTFUL = 4, 0.01

# The longest t of a line ``x + t v`` along a tiny v: with the offsets of any scheme it stays finite.
_LONGEST = 1e300
# Part of the automatic step of each coordinate from which on a step along a line is as good as can be, though it loses
# more than a thousandth: that of float16 loses 0.5 to 2% itself. Fixed by
# test_automatic_steps_of_directions_are_not_warned_of in tests/test_sparsity.py.
_NEAR_BEST = 0.25
# The same as `MOST_SHARE`, for float64 points and a scheme of order 1, whose steps are so short that the rounding of
# x + t v shows in a derivative: more takes steps too long where f changes over the length of a tiny coordinate.
# Fixed by test_one_sided_differences_along_lines_of_several_magnitudes in tests/test_magnitudes.py.
_ONE_SIDED_SHARE = 2e-6


def is_cheap(f: Any) -> bool:
    """Tell whether the gradient of f takes far less than 2n evaluations: an objective that the package has made."""
    return hasattr(f.__class__, "_as_objective")


def noise_of_slopes(f: Any, x: Any, args: tuple[Any, ...]) -> float:
    """Return by how much the rounding of f puts off its gradient by its step; 0 where no coordinate is small."""
    objective = driver.as_objective(f, args)
    point, _ = objective.place(x, args)
    return EPS * abs(objective.value(point, args)) / STEP if least_magnitude(point.view(np.ndarray)) < SMALL else 0.0


def slopes(f: Any, workers: Workers, x: NDArray[Any], *args: Any) -> Floats:
    """Return the gradient of f by the default step."""
    return numerical_gradient(f, x, STEP, args=args, workers=workers)  # type: ignore[no-any-return]


class Product:
    """The product of a Hessian and a flat vector, by gradients at both ends of a line, or by values of f.

    Attributes
    ----------
    takes_values : bool
        Whether the gradients are differences of f by the steps of the line, and not a function that is given.
    """

    def __init__(self, f: Any, gradient: Any, point: NDArray[Any], v: Floats, how: tuple[Any, Any, Workers]) -> None:
        self.f, self.point, self.v, (self.objective, self.args, self.workers) = f, point, v, how
        self.is_cheap = gradient is None and is_cheap(f)
        self.takes_values = gradient is None and not self.is_cheap
        self.gradient = partial(slopes, f, self.workers) if gradient is None else gradient
        self.sums: list[Floats] = []
        self.asked: list[tuple[Floats, Floats, Floats]] = []
        self.size = np.zeros(v.size)  # of the values of f by which each element is taken

    def by(self, steps: Floats, chosen: NDArray[np.intp] | None = None) -> Floats:
        """Return the product by these steps; of values those of the `chosen` elements, and 0 for the others."""
        gradient = self._slopes_by(steps, chosen) if self.takes_values else self.gradient
        self.sums.clear()
        with np.errstate(all="ignore"):
            self.length = 1.0 / float((np.abs(self.v) / steps).max())
        move = self.length * self.v
        self.ends, self.spacing = _gradients(gradient, self.point, self.args, np.array([move, -move]))
        with np.errstate(all="ignore"):
            found: Floats = (self.ends[0] - self.ends[1]) / (2.0 * self.length)
            if self.takes_values:
                self.asked.append((found.copy(), steps * self.length, self.size))
        return found

    def _slopes_by(self, steps: Floats, chosen: NDArray[np.intp] | None) -> Any:
        """Return the function that gives the gradient of f by these steps, or that of `chosen` coordinates.

        Nothing warns. The sums of f on both sides of the first coordinates are kept.
        """
        own = np.arange(steps.size) if chosen is None else chosen
        h = np.fmax(steps, math.ulp(0.0))[own]  # a step that is lost makes NaN
        where = Directions(np.arange(2 * own.size + 1), np.concatenate([own, own]), np.concatenate([h, -h]))

        def slopes(x: NDArray[Any], *args: Any) -> Floats:
            point, _ = self.objective.place(x, args)
            plain, whole = point.view(np.ndarray).reshape(-1)[own], np.zeros(steps.size)
            (above, below) = values = np.empty((2, own.size))
            driver.differentiate(self.objective, point, args, (_VALUE, where), values.reshape(-1), self.workers)
            self.size = np.zeros(steps.size)
            self.size[own] = np.abs(above)
            with np.errstate(all="ignore"):
                if chosen is None and not is_narrow(point):
                    self.sums.append(above[:_SEEN] + below[:_SEEN])
                width = (plain + h).astype(plain.dtype, copy=False) - (plain - h).astype(plain.dtype, copy=False)
                whole[own] = (above - below) / width
            return whole.reshape(x.shape)

        return slopes

    def is_doubtful(self, found: Floats, steps: Floats) -> bool:
        """Tell whether the values by which a product was taken show noise that is much beside its largest element.

        The slope along v changes the sums by coordinates alike, and third derivatives a little.
        """
        if not self.sums:
            return False
        most = int(np.abs(found).argmax())
        with np.errstate(all="ignore"):
            slope = 2.0 * self.length * (self.v @ (self.ends[0] + self.ends[1])).item()
            changes = [slope, *(self.sums[0] - self.sums[1]).tolist()]
            least = _DOUBTFUL * abs(found.item(most)) * steps.item(most) * self.length
        own = _CERTAIN**2 * EPS * max(map(abs, self.sums[0].tolist()))
        return bool(max(changes) - min(changes) > max(own, least))

    def largest(self, found: Floats) -> tuple[float, float, float]:
        """Return the largest element of a product, the squared step by which it came out so, and the size of f there.

        Of steps by which it is the same, that is the longest.
        """
        most = int(np.abs(found).argmax())
        value = found.item(most)
        same = [(squares, size) for each, squares, size in self.asked if each.item(most) == value]
        asked = [(squares.item(most), size.item(most)) for squares, size in same]
        return abs(value), *max(asked, default=(math.nan, math.nan))  # of NaN nothing is told

    def is_hidden(self, found: Floats, eps: float) -> bool:
        """Tell whether the rounding of f, of this relative spacing, leaves few digits of the largest element.

        Of those of float32 no step leaves more than two.
        """
        largest, square, size = self.largest(found)
        return largest > 0.0 and eps * size > max(FEW_DIGITS, 1.0 / enough(eps, 2, 2)) * largest * square

    def noise(self, value: float, eps: float) -> Any:
        """Return how far rounding puts off f, or each element of its gradient, by what is seen of it next to x too."""
        if self.takes_values:  # a compiled f wants the copy that it makes of a point
            return noise_at(self.objective, (self.objective.place(self.point, self.args)[0], self.args), value, eps)
        values, plain = partial(_gradients, self.gradient, self.point, self.args), self.point.view(np.ndarray)
        here, _ = values(np.zeros((1, plain.size)))
        least = noise_of_slopes(self.f, self.point, self.args) if self.is_cheap else 0.0
        inside = rounding_near(plain, here, eps, lambda moves: values(moves)[0])
        return np.fmax(inside, max(least, eps * float(np.abs(here).max())))

    def rounding(self, found: Floats, noise: Any, eps: float, steps: Floats, most: float | None = None) -> Floats:
        """Return how far rounding may put off each element: the `noise` of f, or that of gradients, and of points.

        What the rounding of a point makes of f is not known, but its share of the whole move is.
        """
        plain, sizes = self.point.view(np.ndarray), np.abs(self.v)
        of_ends = noise / steps if self.takes_values else np.fmax(noise, eps * np.abs(self.ends).max())
        share = resolution(plain) * scales(plain)[sizes > 0.0].sum() / sizes.sum() / self.length
        most = (MOST_SHARE if is_narrow(plain) else 0.0) if most is None else most
        return of_ends / self.length + min(share, most) * np.abs(found)  # type: ignore[no-any-return]

    @np.errstate(all="ignore")
    def lengthen(self, found: Floats, steps: Floats, noise: Any, eps: float) -> None:
        """Take those elements again by longer steps of small coordinates that rounding hides beside the largest."""
        plain, off = self.point.view(np.ndarray), self.rounding(found, noise, eps, steps)
        hidden = self.rounding(np.full(found.shape, np.abs(found).max()), noise, eps, steps, np.inf)
        first, most, times = found.copy(), int(np.abs(found).argmax()), enough(eps, 2, 2 if self.takes_values else 1)
        lost = ~((np.abs(found) - _CERTAIN * off).max() > times * hidden)
        is_known = abs(first[most]) > times * np.broadcast_to(off, found.shape)[most]
        small = scales(plain) < SMALL
        lost &= small[self.v != 0.0].any() | (small & self.takes_values)  # the others have no longer steps

        def again(longer: Floats, missing: NDArray[np.bool_]) -> tuple[Floats, Floats, Any]:
            own = schemes.stored_steps(plain, longer)
            found = self.by(own, np.union1d(np.flatnonzero(missing), most))
            # The largest element, if it is certain, is the same by steps on the length of which f changes.
            if is_known and not abs(found[most] - first[most]) <= _CERTAIN * hidden[most] + _SAME * abs(first[most]):
                found[:] = np.nan
            return found, self.rounding(found, noise, eps, own), own + self.length

        lengthen(found, plain, steps, off, again, lost, math.inf)


def _gradients(gradient: Any, x: NDArray[Any], args: tuple[Any, ...], moves: Floats) -> tuple[Floats, float]:
    """Return the gradients at x and each row of moves, and the spacing of what is returned."""
    spacings = [EPS]

    def checked(returned: Any) -> Floats:
        array = plain_numbers(returned, "what gradient returns")
        if array.shape != x.shape:
            raise ValueError(f"gradient must return an array of the shape of x, {x.shape}, got {describe(array)}")
        spacings.append(resolution(array))
        return private_copy(array).reshape(-1)

    found, rule = np.empty(moves.shape), _VALUE._replace(columns=x.size)
    driver.differentiate(PythonObjective(gradient, checked), x, args, (rule, schemes.along_rows(moves)), found)
    # They may be rounded to float32 before they are returned: of points that differ, such numbers are no accident.
    is_rounded = is_single(found.item(0)) and (found[0] != found[-1]).any() and are_single(found)
    return found, max(*spacings, SINGLE if is_rounded else EPS)


class _Lines(NamedTuple):
    """Derivatives along lines ``x + t v``, a row each.

    Attributes
    ----------
    rows, reach, per_value : ndarray of float64
        The derivatives, how far t goes, and how far a value of f that is off by 1 puts them off.
    flags : int
        What the loop has seen.
    rest : ndarray of float64 or None
        What a difference does not explain of the first of them that moves, where its two values are known.
    """

    rows: Floats
    reach: Floats
    per_value: Floats
    flags: int = RESPONDED
    rest: Floats | None = None


def along(problem: Any, vectors: Floats) -> tuple[Floats, int]:
    """Return the derivatives along vectors, a row each, and flags.

    Where rounding hides what an automatic step relative to a small coordinate changes, it is longer.
    """
    steps, plain = np.abs(problem.plan[1].lengths), np.asarray(problem.point)
    moving = np.where(vectors.any(axis=0), plain.reshape(-1), plain.dtype.type(1.0))
    is_final = not problem.is_automatic or least_magnitude(moving) >= SMALL
    may_warn = problem.is_automatic and problem.eps == EPS and problem.width > 0
    first = _lines(problem, vectors, steps, may_warn and not problem.options.progress)
    if is_final:
        if may_warn:
            _see_noise(problem, vectors, first)
        return first.rows, first.flags
    with np.errstate(all="ignore"):
        # The points are rounded too: what that makes of f is not known, but its share of the whole move is.
        points = resolution(plain) * ((vectors != 0.0) @ scales(plain)) / np.abs(vectors).sum(axis=1)
        noise = np.repeat(problem.noise(), problem.width // problem.base.size) if problem.base.size else np.empty(0)

    def rounding(lines: _Lines, most: float) -> Floats:
        of_points = np.abs(lines.rows.T) * np.minimum(points / lines.reach, most)
        return of_points.T + np.outer(lines.per_value, noise)  # type: ignore[no-any-return]

    def again(longer: Floats, missing: NDArray[np.bool_]) -> tuple[Floats, Floats, Floats]:
        lines = _lines(problem, np.where(missing.any(axis=1, keepdims=True), vectors, 0.0), longer)
        # The last length comes again where another coordinate limits t.
        return lines.rows, rounding(lines, most), lines.reach[:, np.newaxis]

    most = MOST_SHARE if is_narrow(plain) else _ONE_SIDED_SHARE if problem.scheme.order == 1 else 0.0
    with np.errstate(all="ignore"):
        lost = ~(np.abs(first.rows) > enough(problem.eps, problem.scheme.order) * rounding(first, np.inf))
        taken = lengthen(first.rows, moving, steps, rounding(first, most), again, lost, math.inf)
    if may_warn:
        _see_noise(problem, vectors, first, taken)
    return first.rows, first.flags


def _see_noise(problem: Any, vectors: Floats, lines: _Lines, taken: Floats | None = None) -> None:
    """Warn if the noise of f leaves few digits of the derivatives along the first line that moves.

    Longer steps may have been `taken` for them, where that is not 0; nothing is told where these are several.
    """
    k, bounds = int(vectors.any(axis=1).argmax()), problem.options.bounds
    lengths, reach = set() if taken is None else {*taken[k, lines.rows[k] != 0.0].tolist()}, lines.reach.item(k)
    if not math.isfinite(reach) or len(lengths) > 1:
        return
    length = lengths.pop() if lengths else 0.0
    with np.errstate(all="ignore"):
        per_value = lines.per_value.item(k) * (reach / (length or reach))
        # To the side on which the line has room, next to a bound.
        t, v = length or reach, vectors[k]
        if bounds is not None:
            (low,), (high,) = ends_of_lines(problem.point, v[np.newaxis], bounds)
            t = max(min(t, high), max(-t, low), key=abs)
        line = t * v, lines.rows[k] * t, None if length else lines.rest
    size = largest_finite(lines.rows[k])
    driver.warn_of_noise("product", noise_beside(problem.beside, line, (size, per_value)), size)


def _lines(problem: Any, vectors: Floats, steps: Floats, is_split: bool = False) -> _Lines:
    """Return the derivatives along vectors by steps; along zeros they are zero.

    The scheme is applied to the parameter t of each line ``x + t v``, whose bounds are where the line ends. The values
    of the first one are taken one by one, if asked, which tells the `rest` of a difference.
    """
    sizes, count = np.abs(vectors), len(vectors)
    with np.errstate(all="ignore"):
        longest = np.where(sizes > 0.0, np.minimum(steps / sizes, _LONGEST), np.inf).min(axis=1, initial=np.inf)
    lines = _Lines(np.zeros((count, problem.width)), np.full(count, np.inf), np.zeros(count))
    if not (moving := np.isfinite(longest)).any():
        return lines
    v = vectors[moving]
    ends = None if problem.options.bounds is None else ends_of_lines(problem.point, v, problem.options.bounds)
    plan, where = schemes.rule_at(np.zeros(len(v)), longest[moving], problem.scheme, ends)
    found, reach = np.empty((len(v), problem.width)), np.abs(where.lengths)
    with np.errstate(all="ignore"):
        lengths = where.lengths[:, np.newaxis] * v
    flags, rest = _sums(problem, plan, lengths, found, is_split)
    with np.errstate(all="ignore"):
        divisors = plan.data[5][plan.data[4]] * reach
        lines.rows[moving] = found / divisors[:, np.newaxis]
        lines.reach[moving], lines.per_value[moving] = reach, plan.amplification() / reach
    flags = flags if _are_kept(problem, np.abs(lengths)) else flags | STEP_LOST
    return lines._replace(flags=flags, rest=rest)


def _are_kept(problem: Any, moves: Floats) -> bool:
    """Tell whether in each of the moves some coordinate moves as far as it should, or all as far as is best."""
    plain = np.asarray(problem.point)
    x = np.abs(plain.astype(np.float64)).reshape(-1)
    with np.errstate(all="ignore"):
        # Of points that are stored in fewer digits a thousandth goes sooner; of float16, of automatic steps too.
        kept = (~(x * (1e3 * resolution(plain)) > moves) & (moves > 0.0)).any(axis=-1)  # NaN loses nothing
        if problem.is_complex or kept.all():
            return True
        best = x * schemes.steps_of(np.ones(1, plain.dtype), "auto", problem.scheme, problem.eps)
        return bool((kept | ((moves >= _NEAR_BEST * best) | (moves == 0.0)).all(axis=-1)).all())


def _sums(problem: Any, plan: Rule, moves: Floats, found: Floats, is_split: bool) -> tuple[int, Floats | None]:
    """Write the sums of f by a rule along moves; return flags, and what a difference does not explain of the first one.

    For that the two values of a difference to both sides are taken one by one.
    """
    _, _, offsets, weights, index, *_ = plan.data
    flags, rest, first = 0, None, index[0]
    if is_split and offsets[first][weights[first] != 0.0].tolist() == [1.0, -1.0]:
        forth, back = floats(problem.moved(moves[0])), floats(problem.moved(-moves[0]))
        with np.errstate(all="ignore"):
            rest, found[0] = 0.5 * (forth + back) - floats(problem.base), forth - back
        flags = RESPONDED if found[0].any() else 0
        moves, found, index = moves[1:], found[1:], index[1:] if len(index) > 1 else index
    if len(moves):
        rule = plan._replace(data=(math.nan, 0.0, offsets, weights, index, np.ones(len(offsets)), False))
        flags |= problem.differentiate((rule, schemes.along_rows(moves)), found, problem.options.progress)
    return flags, rest
