"""Schemes and steps: which points a derivative is computed from, and how far apart they are, as a `Rule`."""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import arguments
from .arguments import ALL_COORDINATES, LARGEST_STEP, describe, finite_real, plain_numbers, positive_step, whole_number
from .bounds import SPARE_ROOM, ends_of_numbers, storable
from .bounds import Bounds as Bounds
from .bounds import limits as limits
from .loops import Directions, Floats, Indices, Rule, make_central, make_complex_step, make_directions
from .points import EPS, largest, loss_eps, private_copy, resolution, scales, smallest

__all__ = ["Scheme"]

StepSize: TypeAlias = "float | Literal['auto'] | ArrayLike | Mapping[str, Any]"  # a mapping: for each array of x
SchemeName: TypeAlias = Literal["central", "forward", "backward", "central4", "central6", "complex"]
AnyScheme: TypeAlias = "SchemeName | Scheme"

# Order at which the search for the order of a scheme ends. No scheme with a use comes near it.
_HIGHEST_ORDER = 20
# Derivatives whose weights may have digits enough in float64; those of all schemes end below 80.
# Fixed by test_an_order_that_is_too_high_is_named in tests/test_schemes.py.
_HIGHEST_DERIVATIVE = 100
# Relative to x: the automatic complex step. Nothing cancels, so only the truncation error counts, here 1e-40.
# Fixed by test_the_complex_step_has_no_round_off in tests/test_schemes.py.
_COMPLEX_STEP = 1e-20
# Unit of x, and relative to it: the least complex step, where that of 1e-20 is subnormal, and has few digits.
# Fixed by test_automatic_steps_at_the_ends_of_the_numbers in tests/test_schemes.py.
_LEAST_COMPLEX, _NEAR_COMPLEX = 1e-295, 1e-8


@dataclass(frozen=True)
class Scheme:
    """A finite-difference scheme: ``sum_m weights[m] f(x + offsets[m] h) / (denominator h**derivative)``.

    Parameters
    ----------
    offsets : sequence of float
        Where f is evaluated, in steps from x; all different.
    weights : sequence of float
        What each value counts for.
    denominator : float, default 1
        What the sum is divided by, beside the step.
    derivative : int, default 1
        Which derivative it gives: gradients take the first, `numerical_diff` any, Hessians the second.

    Attributes
    ----------
    order : int
        The power of h to which the truncation error is proportional.

    Raises
    ------
    TypeError
        If a number is not real, or `derivative` no integer.
    ValueError
        If there are not as many weights as offsets, or offsets repeat; if the weights do not sum to zero, so that a
        constant would have a slope; if the derivative of ``x**derivative`` does not come out as its factorial, or that
        of a lower power as 0; if `derivative` is below 1.

    Notes
    -----
    The moments ``sum(weights * offsets**p)`` vanish for p below `derivative`, and that at `derivative` is ``denominator
    * derivative!``. The next one that does not vanish, at p, gives the truncation error: its order is ``p -
    derivative``.

    References
    ----------
    Fornberg, B., *Generation of finite difference formulas on arbitrarily spaced grids*, Mathematics of Computation 51,
    1988.

    Examples
    --------
    >>> from numgrad import Scheme, numerical_diff
    >>> one_sided = Scheme((0, 1, 2), (-3, 4, -1), 2)
    >>> one_sided.order
    2
    >>> round(numerical_diff(lambda x: x**2, 3.0, scheme=one_sided), 6)
    6.0
    >>> Scheme((1, 0, -1), (1, -2, 1), derivative=2).order
    2
    """

    offsets: Sequence[float]
    weights: Sequence[float]
    denominator: float = 1.0
    derivative: int = 1
    order: int = field(init=False)

    def __post_init__(self) -> None:
        offsets, weights = _reals("an offset", self.offsets), _reals("a weight", self.weights)
        denominator = finite_real("denominator", self.denominator)
        if len(offsets) != len(weights) or len(set(offsets)) < len(offsets):
            raise ValueError(f"a scheme needs one weight for each offset, all different: got {offsets} and {weights}")
        if _moment(offsets, weights, 0, 2.0 * EPS):  # the rounding of the weights, and no more: f may be large
            raise ValueError(f"the weights of a scheme must sum to zero, these sum to {math.fsum(weights):g}")
        derivative = whole_number("derivative", self.derivative, 1)
        moment = _exact_moment(offsets, weights, derivative) / math.factorial(derivative)
        lower = any(_moment(offsets, weights, p) for p in range(1, derivative))
        if lower or not denominator or not math.isclose(moment, denominator, rel_tol=1e-12):
            rule = "a linear function: sum(offsets * weights)"
            if derivative > 1:
                rule = f"x**{derivative} and all lower powers: sum(offsets**{derivative} * weights) / {derivative}!"
            which = f"{moment:g}, with lower powers that do not vanish" if lower else f"{moment:g}"
            raise ValueError(f"a scheme must reproduce {rule} is {which}, but the denominator {denominator:g}")
        powers = range(derivative + 1, derivative + _HIGHEST_ORDER - 1)
        order = next((p - derivative for p in powers if _moment(offsets, weights, p)), _HIGHEST_ORDER)
        # In this way, since it is frozen.
        vars(self).update(offsets=offsets, weights=weights, denominator=denominator, derivative=derivative, order=order)

    def __hash__(self) -> int:
        return self._hash

    # To make the hash takes 0.2 us, and the reach 0.3 us: an automatic gradient of two coordinates shows both.
    @functools.cached_property
    def _hash(self) -> int:
        return hash((self.offsets, self.weights))

    @functools.cached_property
    def _reach(self) -> float:
        return max(map(abs, self.offsets))


def _reals(name: str, values: Any) -> tuple[float, ...]:
    """Return `values` as a tuple of floats; `name` is that of one."""
    if not isinstance(values, Iterable) or isinstance(values, Mapping):
        raise TypeError(f"{name.split()[-1]}s must be a sequence of real numbers, got {describe(values)}")
    return tuple(finite_real(name, value) for value in values)


def _moment(offsets: Sequence[float], weights: Sequence[float], power: int, tolerance: float = 1e-12) -> float:
    """Return ``sum(weights * offsets**power)`` for offsets and weights of at most 1, or 0 if round-off explains it."""
    far, heavy = (max(map(abs, values), default=0.0) or 1.0 for values in (offsets, weights))
    terms = [w / heavy * (o / far) ** power for o, w in zip(offsets, weights, strict=True)]
    total = math.fsum(terms)
    return total if abs(total) > tolerance * math.fsum(map(abs, terms)) else 0.0


def _exact_moment(offsets: Sequence[float], weights: Sequence[float], power: int) -> float:
    """Return ``sum(weights * offsets**power)``, rounded once: in high powers the terms cancel."""
    total, unit = 0, 1
    for offset, weight in zip(offsets, weights, strict=True):
        (o, o_unit), (w, w_unit) = offset.as_integer_ratio(), weight.as_integer_ratio()
        own = o_unit**power * w_unit
        total, unit = total * own + o**power * w * unit, unit * own
    return total / unit


SCHEMES = {
    "central": Scheme((1, -1), (1, -1), 2),
    "forward": Scheme((1, 0), (1, -1)),
    "backward": Scheme((0, -1), (1, -1)),
    "central4": Scheme((1, -1, 2, -2), (8, -8, -1, 1), 12),
    "central6": Scheme((1, -1, 2, -2, 3, -3), (45, -45, -9, 9, 1, -1), 60),
}
_BY_NAME: dict[str, Scheme | str] = {**SCHEMES, "complex": "complex"}


def rule_at(
    x: NDArray[Any],
    h: StepSize,
    scheme: AnyScheme,
    bounds: Bounds | None = None,
    coordinates: Indices | None = None,
    eps: float = EPS,
    derivative: int = 1,
) -> tuple[Rule, Any]:
    """Return how to difference at the memory `x`, and where: `coordinates` for the default, else `Directions`.

    Only the `coordinates` need room within the bounds; if they are None, all. An automatic step allows for values of f
    of the relative spacing `eps`. Higher derivatives take steps that are distances of points as they are stored; what
    the loop divides by is still the step itself.

    Raises
    ------
    TypeError
        If `scheme` is neither a name nor a `Scheme`, if `h` or a bound is not real.
    ValueError
        If `scheme` is unknown or for another derivative, if a step is not finite and positive, if the bounds are not
        two, if `x` and the steps or bounds do not fit, or `x` lies outside the bounds.
    """
    where = ALL_COORDINATES if coordinates is None else coordinates
    if h.__class__ is not float and h.__class__ is not str and is_one(h):  # by its class: `is_one` takes 0.3 us
        h = positive_step(h)
    # One step without bounds first: its rule is the same at every x, and a gradient of two coordinates would show the
    # time of the checks below. The cache asks a name for less than a scheme.
    if h.__class__ is float and bounds is None and derivative == 1:
        if scheme.__class__ is str and scheme == "central":
            return central_rule(h), where
        rule, everywhere = _plan_for_all(scheme if scheme.__class__ is str else as_scheme(scheme), h, loss_eps(x))
        return rule, everywhere if coordinates is None else everywhere._replace(members=coordinates)
    if x.__class__ is not np.ndarray:
        x = x.view(np.ndarray)  # a matrix has two dimensions whatever happens, a quantity does not add up with numbers
    known = as_scheme(scheme, derivative)
    # Where each coordinate has a step of its own, the divisor is the distance of the points as they are stored.
    stored = derivative == 1 and h.__class__ is not float
    each = steps_of(x, h, known, eps)
    each = each if derivative == 1 else stored_steps(x, each)
    _check_reach(known, each)
    if coordinates is not None and len(each) == x.size:
        each = each[coordinates]
    ends = ends_of_numbers(x) if bounds is None else limits(x, bounds)
    if not isinstance(known, Scheme):
        return linear_rule(known, 1, False, 0.0), Directions(ALL_COORDINATES, where, 1j * each)
    if ends is None:
        return linear_rule(known, 1, stored, loss_eps(x, stored)), Directions(ALL_COORDINATES, where, each)
    rule = linear_rule(known, known.order + derivative + 1, stored, loss_eps(x, stored))
    base, eps, offsets, weights, _, denominators, stored_distance = rule.data
    index, each, shortened = _fit(offsets, each, ends, x, coordinates)
    data = base, eps, offsets, weights, index, denominators, stored_distance or (shortened and derivative == 1)
    return rule._replace(data=data), Directions(ALL_COORDINATES, where, each)


@functools.lru_cache(maxsize=64)
def central_rule(h: float) -> Rule:
    """Return the default scheme with one step for all coordinates, which gives the bits of `numgrad.reference`."""
    return Rule(make_central, (positive_step(h),))


@functools.lru_cache(maxsize=8)
def sum_of_values(*signs: float) -> Rule:
    """Return the rule of ``sum_s s f(x + s d)`` along a direction d; of the sign 1, that of f at displaced points."""
    each = np.array([signs])
    return Rule(make_directions, (math.nan, 0.0, each, each, np.zeros(1, np.intp), np.ones(1), False))


def along_rows(moves: Floats) -> Directions:
    """Return directions that move all coordinates, each by a row of `moves`."""
    return Directions(np.arange(len(moves) + 1) * moves.shape[1], ALL_COORDINATES, moves.reshape(-1))


@functools.lru_cache(maxsize=64)
def _plan_for_all(scheme: AnyScheme, h: float, eps: float) -> tuple[Rule, Directions]:
    """Return the rule of a scheme with one step for all coordinates, and the directions of all of these."""
    known = as_scheme(scheme)
    lengths = np.array([positive_step(h)]) * (1 if isinstance(known, Scheme) else 1j)
    _check_reach(known, np.abs(lengths))
    return linear_rule(known, 1, False, eps), Directions(ALL_COORDINATES, ALL_COORDINATES, lengths)


@functools.lru_cache(maxsize=64)
def linear_rule(scheme: Scheme | str, rows: int, use_stored_distance: bool, eps: float) -> Rule:
    """Return the rule of a scheme, whose tables have its stand-ins near a bound in further rows.

    The stand-ins have the same order and neighbouring whole offsets, the most central first. Shorter rows begin with
    the weight 0. The complex step has one row and loses no step.
    """
    if not isinstance(scheme, Scheme):
        one = np.ones((1, 1))
        return Rule(make_complex_step, (math.nan, 0.0, one, one, np.zeros(1, np.intp), np.ones(1), False))
    derivative, last = scheme.derivative, scheme.order + scheme.derivative - 1
    windows = sorted((range(first, first + last + 1) for first in range(-last, 1)), key=lambda w: abs(w[0] + w[-1]))
    schemes = [scheme, *(scheme_on(window, derivative) for window in windows[: rows - 1])]
    offsets, weights = np.zeros((2, rows, max(len(row.offsets) for row in schemes)))
    for k, row in enumerate(schemes):
        terms = [term for term in zip(row.offsets, row.weights, strict=True) if term[1]]
        offsets[k, -len(terms) :], weights[k, -len(terms) :] = zip(*terms, strict=True)
    tables = offsets, weights, np.zeros(1, np.intp), np.array([row.denominator for row in schemes])
    needs_value = bool(((offsets == 0.0) & (weights != 0.0)).any())
    return Rule(make_directions, (math.nan, eps, *tables, use_stored_distance), needs_value)


def _check_reach(scheme: Scheme | str, steps: NDArray[Any]) -> None:
    """Raise a ValueError if the farthest offset times a step is not finite."""
    reach = scheme._reach if isinstance(scheme, Scheme) else 1.0
    if reach > 2.0 and steps.size and not steps.max() <= sys.float_info.max / reach:  # 2h is finite anyway
        raise ValueError(
            f"h times the farthest offset of the scheme, {reach:g}, must be finite, got h up to {steps.max():g}"
        )


def as_scheme(scheme: Any, derivative: int = 1) -> Scheme | str:
    """Return the scheme of that name for that derivative, `scheme` itself, or "complex".

    Raises
    ------
    TypeError
        If it is neither a name nor a `Scheme`.
    ValueError
        If there is no scheme of that name, or it is for another derivative.
    """
    if isinstance(scheme, Scheme):
        if scheme.derivative != derivative:
            raise ValueError(
                f"scheme must be for the derivative {derivative}, got one for the derivative {scheme.derivative}; "
                f"numerical_diff takes it with order={scheme.derivative}"
            )
        return scheme
    if not isinstance(scheme, str):
        raise TypeError(f"scheme must be a name or a numgrad.Scheme, got {describe(scheme)}")
    if scheme not in _BY_NAME:
        raise ValueError(f"scheme must be one of {', '.join(_BY_NAME)}, or a numgrad.Scheme, got {scheme!r}")
    if derivative == 1:
        return _BY_NAME[scheme]
    if scheme == "complex":
        raise ValueError(
            f"scheme='complex' gives the first derivative only, not number {derivative}; use another scheme, or take "
            f"the first derivative of a derivative"
        )
    reach = (derivative - 1 + SCHEMES[scheme].order) // 2  # the shortest that is of this order
    one_sided = {"forward": range(derivative + 1), "backward": range(-derivative, 1)}
    if derivative <= _HIGHEST_DERIVATIVE:
        with suppress(ValueError):  # its weights do not reproduce x**derivative
            return scheme_on(one_sided.get(scheme, range(-reach, reach + 1)), derivative)
    raise ValueError(
        f"scheme={scheme!r} has no derivative {derivative}, whose weights need more digits; take a lower one"
    )


def is_one(h: Any) -> bool:
    """Tell whether `h` is one step for all coordinates: no array, list, Series or tensor, and not automatic."""
    return not (isinstance(h, str | list | np.ndarray) or getattr(h, "ndim", 0) > 0)


@arguments.underflowing  # a step of a tiny x that is as good as zero is refused, or lengthened
def steps_of(x: NDArray[Any], h: Any, scheme: Scheme | str, eps: float) -> Floats:
    """Return the step of each coordinate of `x`, or the one of all."""
    if isinstance(h, str) and h == "auto":
        if not isinstance(scheme, Scheme):
            scale = scales(x)
            return np.fmax(_COMPLEX_STEP * scale, np.fmin(_NEAR_COMPLEX * scale, _LEAST_COMPLEX))
        # Relative to x, this makes truncation and round-off alike, of x as it is stored or of the values of f.
        return scales(x) * math.pow(max(resolution(x), eps), 1 / (scheme.order + scheme.derivative))
    if is_one(h) or isinstance(h, str):
        return np.array([positive_step(h)])
    steps = private_copy(plain_numbers(h, "h"))
    if not (smallest(steps) > 0.0 and largest(steps) <= LARGEST_STEP):
        raise ValueError("h must be finite and positive in every element, and 2h finite")
    if steps.shape == x.shape:
        return steps.reshape(-1)
    try:
        return np.ascontiguousarray(np.broadcast_to(steps, x.shape)).reshape(-1)
    except ValueError:
        raise ValueError(f"h of shape {steps.shape} does not broadcast to x of shape {x.shape}") from None


def stored_steps(x: NDArray[Any], steps: Floats) -> Floats:
    """Return how far each coordinate of the plain array `x` comes by a step away from 0, as the points are stored.

    Away from 0, for then the point on the other side is stored exactly too. Divided by a power of the step, the
    rounding of a point would count as much as that of f.
    """
    size = np.abs(x.reshape(-1))
    with np.errstate(all="ignore"):
        stored: NDArray[Any] = (size + steps).astype(x.dtype, copy=False)
        stored -= size
        distance: Floats = stored.astype(np.float64, copy=False)
        if math.isfinite(distance.sum()):  # in one pass, without memory for a mask
            return distance
    return np.where(np.isfinite(distance), distance, steps)


def _fit(
    offsets: Floats, steps: Floats, limits: tuple[Floats, Floats], x: NDArray[Any], coordinates: Indices | None
) -> tuple[Indices, Floats, bool]:
    """Return scheme and step of each coordinate that never leave the limits, and whether a step was shortened."""
    chosen: Any = slice(None) if coordinates is None else coordinates
    values = x.reshape(-1).astype(np.promote_types(x.dtype, np.float64))[chosen]  # longdouble keeps its precision
    low, high = (limit[chosen] for limit in limits)
    lowest, highest = storable(low, high, x)
    steps, index = np.array(np.broadcast_to(steps, values.shape)), np.full(len(values), -1, np.intp)
    for shortened in (False, True):
        if shortened:
            with np.errstate(under="ignore"):
                room = np.maximum(highest - values, values - lowest) / np.abs(offsets).max() * (1 - SPARE_ROOM)
            cramped = index < 0
            steps[cramped] = np.minimum(steps, room)[cramped]  # of longdouble too
            steps[steps == 0.0] = np.nan  # no room: no point fits
        for row, own in enumerate(offsets):
            with np.errstate(over="ignore"):
                points = values + own[:, np.newaxis] * steps
            index[(index < 0) & ((lowest <= points) & (points <= highest)).all(axis=0)] = row
            if (index >= 0).all():
                return index, steps, shortened
    k = int((index < 0).argmax())
    place = np.arange(x.size)[chosen][k]
    raise ValueError(f"the bounds {low[k]} to {high[k]} leave coordinate {place} no room for a step")


@functools.cache
def scheme_on(nodes: Sequence[int], derivative: int = 1) -> Scheme:
    """Return the scheme of the highest order on whole offsets: that derivative at 0 of Lagrange's polynomials."""
    from fractions import Fraction  # with decimal, a tenth of what importing numgrad may cost

    weights = {}
    for node in nodes:
        others, powers = [other for other in nodes if other != node], [1]
        for other in others:  # the coefficients of the product of all t - other, the lowest power first
            powers = [low - other * high for low, high in zip([0, *powers], [*powers, 0], strict=True)]
        height = math.prod(node - other for other in others)
        weights[node] = Fraction(math.factorial(derivative) * powers[derivative], height)
    weights = {node: weight for node, weight in weights.items() if weight}
    denominator = math.lcm(*(weight.denominator for weight in weights.values()))
    whole = [float(weight * denominator) for weight in weights.values()]
    return Scheme(tuple(weights), whole, denominator, derivative)
