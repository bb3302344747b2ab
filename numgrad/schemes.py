"""Schemes and steps: which points a derivative is computed from, and how far apart they are."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import buffers
from .arguments import describe, finite_real, positive_step

__all__ = ["Scheme"]

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
StepSize = float | Literal["auto"] | ArrayLike
Bounds = tuple[ArrayLike, ArrayLike]

_HIGHEST_ORDER = 20
_COMPLEX_STEP = 1e-20  # in units of x: nothing cancels, so only the truncation error counts


@dataclass(frozen=True)
class Scheme:
    """A finite-difference scheme: ``sum_m weights[m] f(x + offsets[m] h) / (denominator h)``.

    Parameters
    ----------
    offsets : sequence of float
        Where f is evaluated, in steps from x; all different.
    weights : sequence of float
        What each value counts for.
    denominator : float, default 1
        What the sum is divided by, beside the step.

    Attributes
    ----------
    order : int
        The power of h to which the truncation error is proportional.

    Raises
    ------
    TypeError
        If a number is not real.
    ValueError
        If there are not as many weights as offsets, or offsets repeat; if the weights do not sum to zero, so that a
        constant would have a slope; if the derivative of x does not come out as 1.

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
    """

    offsets: Sequence[float]
    weights: Sequence[float]
    denominator: float = 1.0
    order: int = field(init=False)

    def __post_init__(self) -> None:
        offsets = tuple(finite_real("an offset", offset) for offset in self.offsets)
        weights = tuple(finite_real("a weight", weight) for weight in self.weights)
        denominator = finite_real("denominator", self.denominator)
        if len(offsets) != len(weights) or len(set(offsets)) < len(offsets):
            raise ValueError(f"a scheme needs one weight for each offset, all different: got {offsets} and {weights}")
        if _moment(offsets, weights, 0):
            raise ValueError(f"the weights of a scheme must sum to zero, these sum to {math.fsum(weights):g}")
        slope = math.fsum(o * w for o, w in zip(offsets, weights, strict=True))
        if not denominator or not math.isclose(slope, denominator, rel_tol=1e-12):
            raise ValueError(
                f"a scheme must reproduce a linear function: sum(offsets * weights) is {slope:g}, "
                f"but the denominator {denominator:g}"
            )
        order = next((p - 1 for p in range(2, _HIGHEST_ORDER) if _moment(offsets, weights, p)), _HIGHEST_ORDER)
        for name, value in (("offsets", offsets), ("weights", weights), ("denominator", denominator), ("order", order)):
            object.__setattr__(self, name, value)


def _moment(offsets: Sequence[float], weights: Sequence[float], power: int) -> float:
    """Return ``sum(weights * offsets**power)``, or 0 if round-off can explain it."""
    terms = [w * o**power for o, w in zip(offsets, weights, strict=True)]
    total = math.fsum(terms)
    return total if abs(total) > 1e-12 * math.fsum(map(abs, terms)) else 0.0


# The first evaluates and adds in the order of `numgrad.reference`, so that it gives the same bits.
SCHEMES = {
    "central": Scheme((1, -1), (1, -1), 2),
    "forward": Scheme((1, 0), (1, -1)),
    "backward": Scheme((0, -1), (1, -1)),
    "central4": Scheme((1, -1, 2, -2), (8, -8, -1, 1), 12),
    "central6": Scheme((1, -1, 2, -2, 3, -3), (45, -45, -9, 9, 1, -1), 60),
}
CENTRAL = SCHEMES["central"]


class Stencil(NamedTuple):
    """What a loop needs to know of a scheme at one point; `numgrad.loops` explains the fields."""

    steps: Floats
    rows: NDArray[np.intp]
    offsets: Floats
    weights: Floats
    denominators: Floats
    stored: bool
    base: float = math.nan

    @property
    def needs_base(self) -> bool:
        """Tell whether f(x) itself counts."""
        return bool(((self.offsets == 0.0) & (self.weights != 0.0)).any())

    def central_parts(self) -> list[tuple[float, float]]:
        """Return (factor, step) of the central quotients whose sum this is, or nothing if it is no such sum."""
        if self.stored or len(self.rows) > 1:
            return []
        weights = dict(zip(self.offsets[0].tolist(), self.weights[0].tolist(), strict=True))
        if any(weights.get(-offset, 0.0) != -weight for offset, weight in weights.items()):
            return []
        factor, step = 2.0 / float(self.denominators[0]), float(self.steps[0])
        return [(factor * o * w, o * step) for o, w in weights.items() if o > 0.0]


class ComplexStep(NamedTuple):
    """What the loop of the complex step needs to know at one point."""

    steps: Floats


Step = float | Stencil | ComplexStep


def as_stencil(h: float) -> Stencil:
    """Return the default scheme with the step `h` as a stencil."""
    return _uniform_stencil(CENTRAL, np.array([h]), stored=False)


def _uniform_stencil(scheme: Scheme, steps: Floats, stored: bool) -> Stencil:
    offsets, weights = np.array([scheme.offsets]), np.array([scheme.weights])
    return Stencil(steps, np.zeros(1, np.intp), offsets, weights, np.array([scheme.denominator]), stored)


class Differencing:
    """How a gradient is differenced: a scheme, its steps, and the bounds that no evaluation may leave.

    Raises
    ------
    TypeError
        If `scheme` is neither a name nor a `Scheme`, if `h` or a bound is not real.
    ValueError
        If `scheme` is no known name, if a step is not finite and positive, if the bounds are not two.
    """

    def __init__(self, h: StepSize, scheme: str | Scheme, bounds: Bounds | None) -> None:
        self.scheme = None if scheme == "complex" else as_scheme(scheme)
        self.automatic = isinstance(h, str) and h == "auto"
        self.h: Any = h
        if isinstance(h, np.ndarray | list | tuple):
            self.h = _positive_steps(h)
        elif not self.automatic:
            self.h = positive_step(h)
        self.bounds = None if bounds is None else _as_bounds(bounds)

    def at(self, x: NDArray[Any], coordinates: Indices | None = None) -> Step:
        """Return how to difference at `x`: the step alone if it is one for all and the scheme is the default.

        Only the `coordinates` need room within the bounds; if they are None, all.

        Raises
        ------
        ValueError
            If `x` and the steps or bounds do not fit, or `x` lies outside the bounds.
        """
        if self.scheme is CENTRAL and self.h.__class__ is float and self.bounds is None:
            return float(self.h)
        steps = self._steps(x)
        if self.scheme is None:
            if self.bounds is not None:
                _check_within(x, self.bounds)
            return ComplexStep(steps)
        stored = self.automatic or not isinstance(self.h, float)
        if self.bounds is not None:
            return _stencil_within(self.scheme, x, steps, self.bounds, stored, coordinates)
        return _uniform_stencil(self.scheme, steps, stored)

    def _steps(self, x: NDArray[Any]) -> Floats:
        if self.automatic:
            relative = _COMPLEX_STEP if self.scheme is None else relative_step(self.scheme.order, x)
            return relative * scales(x)
        if isinstance(self.h, float):
            return np.array([self.h])
        try:
            return np.ascontiguousarray(np.broadcast_to(self.h, x.shape)).reshape(-1)
        except ValueError:
            raise ValueError(f"h of shape {self.h.shape} does not broadcast to x of shape {x.shape}") from None


def step_at(
    x: NDArray[Any], h: StepSize, scheme: str | Scheme, bounds: Bounds | None, coordinates: Indices | None = None
) -> Step:
    """Return ``Differencing(h, scheme, bounds).at(x, coordinates)``; for the defaults, in a tenth of its time."""
    if h.__class__ is float and scheme == "central" and bounds is None:
        return positive_step(h)
    return Differencing(h, scheme, bounds).at(x, coordinates)


def as_scheme(scheme: Any) -> Scheme:
    """Return the scheme of that name, or `scheme` itself."""
    if isinstance(scheme, Scheme):
        return scheme
    if not isinstance(scheme, str):
        raise TypeError(f"scheme must be a name or a numgrad.Scheme, got {describe(scheme)}")
    if scheme not in SCHEMES:
        raise ValueError(f"scheme must be one of {', '.join(SCHEMES)}, complex, or a numgrad.Scheme, got {scheme!r}")
    return SCHEMES[scheme]


def relative_step(order: int, x: NDArray[Any]) -> float:
    """Return the step, in units of x, that makes truncation and round-off alike: ``eps**(1 / (order + 1))``."""
    eps = buffers.resolution(x) if x.dtype.kind == "f" else buffers.EPS
    return math.pow(eps, 1 / (order + 1))


def scales(x: NDArray[Any]) -> Floats:
    """Return the flat scale of each coordinate: its magnitude, or 1 where it is 0 or not finite."""
    magnitude = np.abs(x.reshape(-1).astype(np.float64))
    magnitude[~((magnitude > 0.0) & (magnitude < np.inf))] = 1.0
    return np.clip(magnitude, 1e-280, 1e280)


def _positive_steps(h: ArrayLike) -> Floats:
    steps = buffers.private_copy(buffers.real_array(h, "h"))
    if not ((steps > 0.0) & (steps < np.inf)).all():
        raise ValueError("h must be finite and positive in every element")
    return steps


def _as_bounds(bounds: Any) -> tuple[Floats, Floats]:
    try:
        if isinstance(bounds, str):
            raise TypeError
        low, high = (buffers.private_copy(buffers.real_array(bound, "a bound")) for bound in bounds)
    except (TypeError, ValueError) as error:
        if "a bound" in str(error):
            raise
        raise ValueError(f"bounds must be a pair (low, high), got {describe(bounds)}") from None
    if np.isnan(low).any() or np.isnan(high).any():
        raise ValueError("bounds must not be NaN; use -inf and inf where there are none")
    return low, high


def _check_within(x: NDArray[Any], bounds: tuple[Floats, Floats]) -> tuple[Floats, Floats, Floats]:
    """Return `x` and its bounds, flat, after checking that it lies within them."""
    values = x.reshape(-1).astype(np.float64)
    try:
        low, high = (np.broadcast_to(bound, x.shape).reshape(-1) for bound in bounds)
    except ValueError:
        raise ValueError(f"bounds do not broadcast to x of shape {x.shape}") from None
    outside = ~((low <= values) & (values <= high))
    if outside.any():
        i = int(outside.argmax())
        raise ValueError(f"x must lie within the bounds: coordinate {i} is {values[i]}, not in {low[i]} to {high[i]}")
    return values, low, high


def _stored_within(low: Floats, high: Floats, x: NDArray[Any]) -> tuple[Floats, Floats]:
    """Return the outermost points within the bounds that `x` can store."""
    if not buffers.is_narrow(x):
        return low, high
    kind = x.dtype.newbyteorder("=").type
    with np.errstate(over="ignore"):
        lowest, highest = low.astype(kind), high.astype(kind)
    lowest = np.where(lowest < low, np.nextafter(lowest, kind(np.inf)), lowest)
    highest = np.where(highest > high, np.nextafter(highest, kind(-np.inf)), highest)
    return lowest.astype(np.float64), highest.astype(np.float64)


def _stencil_within(
    scheme: Scheme,
    x: NDArray[Any],
    steps: Floats,
    bounds: tuple[Floats, Floats],
    stored: bool,
    coordinates: Indices | None,
) -> Stencil:
    """Return a stencil that never leaves the bounds: one-sided and, without room for that, with smaller steps."""
    values, low, high = _check_within(x, bounds)
    lowest, highest = _stored_within(low, high, x)
    steps, rows = np.array(np.broadcast_to(steps, values.shape)), np.full(len(values), -1, np.intp)
    offsets, weights, denominators = _table(scheme)

    def choose() -> None:
        for row in range(len(offsets)):
            exact = [values + offset * steps for offset in offsets[row]]
            points = exact + [point.astype(x.dtype).astype(np.float64) for point in exact if x.dtype.kind == "f"]
            fits = np.all([(lowest <= point) & (point <= highest) for point in points], axis=0)
            rows[(rows < 0) & fits] = row

    choose()
    cramped = rows < 0
    if coordinates is not None:
        cramped &= np.isin(np.arange(len(rows)), coordinates)
    if cramped.any():
        room = np.maximum(highest - values, values - lowest)[cramped] / np.abs(offsets).max()
        steps[cramped] = np.minimum(steps[cramped], room * (1 - 1e-9))
        choose()
        lost = cramped & ((rows < 0) | (steps == 0.0))
        if lost.any():
            i = int(lost.argmax())
            raise ValueError(f"the bounds {low[i]} to {high[i]} leave coordinate {i} no room for a step")
    return Stencil(steps, rows, offsets, weights, denominators, stored or bool(cramped.any()))


@functools.lru_cache(maxsize=64)
def _table(scheme: Scheme) -> tuple[Floats, Floats, Floats]:
    """Return offsets, weights and denominators, a row each, of `scheme` and of its stand-ins of the same order.

    The stand-ins have neighbouring whole offsets, the most central first. Shorter rows are filled up with the weight 0.
    """
    order = scheme.order
    windows = sorted((range(first, first + order + 1) for first in range(-order, 1)), key=lambda w: abs(w[0] + w[-1]))
    rows = [scheme, *map(_scheme_on, windows)]
    width = max(len(row.offsets) for row in rows)
    table = np.zeros((2, len(rows), width))
    for k, row in enumerate(rows):
        table[0, k, : len(row.offsets)], table[1, k, : len(row.weights)] = row.offsets, row.weights
    return table[0].copy(), table[1].copy(), np.array([row.denominator for row in rows])


def _scheme_on(nodes: Sequence[int]) -> Scheme:
    """Return the scheme of the highest order on whole offsets: the slopes at 0 of Lagrange's polynomials."""
    from fractions import Fraction

    weights = []
    for node in nodes:
        others = [other for other in nodes if other != node]
        slope = sum(math.prod(-o for o in others if o != left) for left in others)
        weights.append(Fraction(slope, math.prod(node - other for other in others)))
    denominator = math.lcm(*(weight.denominator for weight in weights))
    return Scheme(nodes, [float(weight * denominator) for weight in weights], denominator)
