r"""A linear softmax layer: its loss, and all central differences of the loss, in closed form, by matrix products.

With logits ``z = x W``, probabilities ``p = softmax(z)``, label ``c`` of sample b and offset ``d = 1e-7``, the loss is
``f(W) = -mean_b log(p_c + d)``. Adding ``+-h`` to ``W[i, j]`` adds ``+-u``, ``u = h x[b, i]``, to the logit ``z_j`` of
each sample and touches nothing else. Write ``y+-`` for the probability of the label after that. The normaliser, in
units of the old one, becomes ``S+- = 1 - p_j + p_j exp(+-u)``, so that ``y+- = p_c / S+-`` for ``j != c`` and
``y+- = p_j exp(+-u) / S+-`` for ``j == c``. With ``s = sinh u`` and ``C = 2 cosh u - 2``,

    S+ S- = (1 - p_j)**2 + p_j**2 + 2 p_j (1 - p_j) cosh u = 1 + p_j (1 - p_j) C,

and, since ``log v - log w = 2 atanh((v - w) / (v + w))``, the change of one sample's logarithm is ``2 atanh r`` with

    r = (y+ - y-) / (y+ + y- + 2 d) = A s / (D + E C).

For ``j != c``, multiply both parts by ``S+ S-``: ``y+ - y-`` becomes ``p_c (S- - S+) = -2 p_c p_j s``, and ``y+ + y-``
becomes ``p_c (S- + S+) = p_c (2 + p_j C)``:

    A = -2 p_c p_j,        D = 2 p_c + 2 d,   E = p_c p_j + 2 d p_j (1 - p_j).

For ``j == c``, ``p_j (exp(u) S- - exp(-u) S+) = 2 p_j (1 - p_j) s``, and
``p_j (exp(u) S- + exp(-u) S+) = p_j (2 + (1 - p_j) C)``:

    A = 2 p_j (1 - p_j),   D = 2 p_j + 2 d,   E = p_j (1 - p_j) (1 + 2 d).

Then ``f(W + h e_ij) - f(W - h e_ij) = -(2 / B) sum_b atanh r_b``, for any h, with nothing that cancels. With
``a = A / D`` and ``e = E / D``, for which ``|a| <= 1`` and ``0 <= e <= (1 + 2 d) / 2``, the change is evaluated in one
of two ways, chosen for each feature i by ``max_b |u|``:

- by a *series*, up to `SERIES`: with ``s = u + u**3 / 6 + ...`` and ``C = s**2 - s**4 / 4 + ...``,

      atanh r = a u + (a / 6 + a1) u**3 + (a / 120 + a1 / 2 + a2) u**5 + ...,
      a1 = a**3 / 3 - a e,   a2 = a (e / 4 + e**2 - a**2 e + a**4 / 5),

  whose coefficients are at most a, a / 6 and a / 120. The sum over the batch is a matrix product for each power of u.
  The last one needs single precision only: it counts for 5e-12. If no u is beyond `SHORT`, two terms suffice, and the
  second one counts for 1.5e-8. What is left out is below 2e-17 and 7e-17 of the sum of magnitudes.
- by the *logarithm*, beyond: its change itself, from logits in place of probabilities, which may underflow. With
  ``q_j`` the logarithm of the sum of the other exponentials, ``m = z_j - q_j`` the log-odds of class j, and the
  logistic function ``g(v) = 1 / (1 + exp(-v))``, the probability of class j becomes ``g(m +- u)``. The one of another
  label becomes ``w g(-m -+ u)``, where ``w = exp(z_c - q_j)`` is its share among the others. Since
  ``g(v) - g(v') = g(v) g(-v') (1 - exp(v' - v))``, the change for ``u > 0`` is, with no difference of probabilities,
  ``log(1 + g(m + u) g(u - m) (1 - exp(-2 u)) / (g(m - u) + d))`` for ``j == c``, and otherwise
  ``-log(1 + w g(m + u) g(u - m) (1 - exp(-2 u)) / (w g(-m - u) + d))``.

Where a logit is NaN or infinite, upwards, before or after the step, the loss is NaN, and so is the difference.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arguments import FLOAT64, real_array, underflowing
from ..loops import RESPONDED, Floats, Indices, central_parts, members_of
from ..threads import Sweep, Throughput
from .compiling import INLINE, compiled
from .incremental import KIND, Incremental, IncrementalObjective, make_quotients

__all__: list[str] = []  # nothing here is public

# Without unit, added to the label's probability: the book's, so that the logarithm of 0 is finite.
# Fixed by test_every_regime_agrees_with_50_digits, whose loss has it too.
OFFSET = 1e-7
# Unit of a logit: the largest step of the series of two terms. The next one is below u**4 / 120, here 7e-17.
# Fixed by test_both_sides_of_the_bounds_agree_with_50_digits.
SHORT = 3e-4
# Unit of a logit: the largest step of the series of three terms. The next one is below u**6 / 1000, here 2e-17.
# Fixed by test_both_sides_of_the_bounds_agree_with_50_digits.
SERIES = 5e-3
# Weights whose differences are made at a time: 1 MiB of single precision, and Ctrl-C within a second.
# Fixed by test_prepare_and_the_result_are_all_that_grows.
TILE = 2**18
# Terms of exact differences of one compiled call, some 50 ns each, between which Ctrl-C is seen. No tuning.
EXACT = 2**20
# Unit of x: the least largest element whose cubes are normal numbers of single precision, and its inverse the greatest.
# Fixed by test_every_regime_agrees_with_50_digits.
LEAST = 1e-10
# Coefficients below which a column is scaled: those that count beside it are normal numbers of single precision.
# Fixed by test_edge_cases_agree_with_50_digits.
SMALL = 1e-25


@compiled(cache=True)
def softmax_cross_entropy(logits: Floats, labels: Indices) -> float:
    """Return the mean over the rows b of ``-log(softmax(logits[b])[labels[b]] + 1e-7)``.

    The shift by the row's maximum and the offset are the book's (sections 3.5 and 4.2). A label that is no
    column makes the result -1, which no loss can be.
    """
    total = 0.0
    batch, classes = logits.shape
    for b in range(batch):
        if not 0 <= labels[b] < classes:
            return -1.0
        shift, normaliser = logits[b].max(), 0.0
        for j in range(classes):
            normaliser += np.exp(logits[b, j] - shift)
        total -= np.log(np.exp(logits[b, labels[b]] - shift) / normaliser + OFFSET)
    return float(total / batch)


@compiled(cache=True)
def loss(W: Floats, x: Floats, labels: Indices) -> float:  # noqa: N803
    """Return the layer's mean loss, the plain way: what numba can compile the differences around.

    `x` has the shape (features, batch), so that the inner loop runs along memory and uses the vector unit.
    """
    logits = np.zeros((W.shape[1], x.shape[1]))
    for i in range(W.shape[0]):
        for j in range(W.shape[1]):
            for b in range(x.shape[1]):
                logits[j, b] += W[i, j] * x[i, b]
    return float(softmax_cross_entropy(logits.T.copy(), labels))


@compiled(cache=True)
def cube(x: Floats, cubes: NDArray[np.float32]) -> np.uint32:
    """Write the cubes of `x` in single precision; return the bits of the largest magnitude, which are in its order.

    NumPy's three passes take twice as long, and its maximum and minimum as long again: a NaN keeps floats, but not
    integers, from the vector unit. The cast keeps them at 32 bits: numba makes 64 of them, which takes three times as
    long.
    """
    bits, largest = cubes.view(np.uint32), np.uint32(0)
    for b in range(x.shape[0]):
        for i in range(x.shape[1]):
            single = np.float32(x[b, i])
            cubes[b, i] = single * single * single
        for i in range(x.shape[1]):
            largest = max(largest, np.uint32(bits[b, i] & np.uint32(0x7FFFFFFF)))  # without the sign
    return largest


@compiled(cache=True)
def shift(logits: Floats, shifted: Floats) -> None:
    """Write the logits less the largest one of the row, in a fifth of NumPy's time for few classes."""
    for b in range(logits.shape[0]):
        top = logits[b, 0]
        for j in range(logits.shape[1]):
            if logits[b, j] > top or math.isnan(logits[b, j]):
                top = logits[b, j]
        for j in range(logits.shape[1]):
            shifted[b, j] = logits[b, j] - top


@compiled(cache=True)
def narrow(table: Floats, factor: float, singles: NDArray[np.float32]) -> float:
    """Write a table times a factor in single precision; return the least of the largest magnitudes of its columns."""
    largest = np.zeros(table.shape[1])
    for b in range(table.shape[0]):
        for j in range(table.shape[1]):
            value = factor * table[b, j]
            singles[b, j], largest[j] = value, max(largest[j], abs(value))
    return float(largest.min())


@compiled(cache=True)
def coefficients(powers: Floats, labels: Indices, a: Floats, cubic: Floats, quintic: Floats) -> None:
    """Write the series' coefficients of ``u``, ``u**3`` and ``u**5``, all of shape (batch, classes).

    `powers` are the exponentials of the logits less the largest one of the row.
    """
    batch, classes = powers.shape
    e = np.empty(classes)
    for b in range(batch):
        c, top, rest = labels[b], powers[b].argmax(), 0.0
        for j in range(classes):  # the normaliser is 1 + rest, and 1 - p_top is rest / (1 + rest) without cancellation
            if j != top:
                rest += powers[b, j]
        normaliser = powers[b, top] + rest  # the power is 1 there, or NaN for an infinite logit
        p_label = powers[b, c] / normaliser
        weight, offset = p_label / (p_label + OFFSET), OFFSET / (p_label + OFFSET)
        for j in range(classes):
            p = powers[b, j] / normaliser
            a[b, j], e[j] = -weight * p, p * (0.5 * weight + offset * (1 - p))
        p_top = powers[b, top] / normaliser
        e[top] = p_top * (0.5 * weight + offset * (rest / normaliser))
        a[b, c] = p_label * (rest / normaliser if c == top else 1 - p_label) / (p_label + OFFSET)
        e[c] = a[b, c] * (0.5 + OFFSET)
        for j in range(classes):
            slope, curvature = a[b, j], e[j]
            square = slope * slope
            first = square / 3 - curvature
            second = curvature / 4 + curvature * curvature - square * curvature + square * square / 5
            cubic[b, j], quintic[b, j] = slope * (1 / 6 + first), slope * (1 / 120 + first / 2 + second)


@compiled(cache=True)
def others(logits: Floats, labels: Indices, shift: Floats, rest: Floats, share: Floats) -> None:
    """Write the largest of the other logits, ``q`` less that, and ``w``, all of shape (batch, classes)."""
    batch, classes = logits.shape
    for b in range(batch):
        top, second, total, below = logits[b].argmax(), -np.inf, 0.0, 0.0
        for j in range(classes):
            if j != top:
                second = max(second, logits[b, j])
        for j in range(classes):
            total += np.exp(logits[b, j] - logits[b, top])
            if j != top and logits[b, j] > -np.inf:
                below += np.exp(logits[b, j] - second)
        for j in range(classes):
            shift[b, j] = second if j == top else logits[b, top]
            power = below if j == top else total - np.exp(logits[b, j] - logits[b, top])
            rest[b, j], label, share[b, j] = -np.inf if power == 0.0 else np.log(power), logits[b, labels[b]], 0.0
            if j != labels[b] and label > -np.inf:  # it is one of the others
                share[b, j] = np.exp(label - shift[b, j] - rest[b, j])


@compiled(**INLINE)
def logistic(v: float) -> float:
    """Return ``1 / (1 + exp(-v))``."""
    power = math.exp(-abs(v))
    return float((1.0 if v > 0.0 else power) / (1.0 + power))


# Said, or numba would take the flags of the caller, which let it reorder sums.
@compiled(fastmath=False, **INLINE)
def half_logarithm(u: float, logit: float, shift: float, rest: float, share: float, is_label: bool) -> float:
    """Return half of ``log(y+ + d) - log(y- + d)`` for a step u of `logit`; `share` is that of the label."""
    size = abs(u)
    if not logit + size < math.inf:
        return math.nan
    # In this order: where the step makes up for the distance of two logits, what is left is exact.
    high, low = (logit - shift) + size - rest, (logit - shift) - size - rest
    change = -math.expm1(-2.0 * size) * logistic(high) * logistic(-low)
    if is_label:
        return math.copysign(0.5 * math.log1p(change / (logistic(low) + OFFSET)), u)
    return math.copysign(0.5 * math.log1p(share * change / (share * logistic(-high) + OFFSET)), -u)


@compiled(**INLINE)
def difference(state: Any, k: int) -> float:
    """Return ``f(W + h e_ij) - f(W - h e_ij)`` for the flat coordinate ``k = i * classes + j``, by the logarithm."""
    h, x, z, shift, rest, share, labels = state
    batch, classes = z.shape
    i, j, total = k // classes, k % classes, 0.0
    for b in range(batch):
        total += half_logarithm(h * x[b, i], z[b, j], shift[b, j], rest[b, j], share[b, j], j == labels[b])
    return float(-2 / batch * total)


def beyond_series(x: Floats, h: float) -> NDArray[np.bool_]:
    """Tell which features of the samples `x` have steps for which the series does not suffice; also if one is NaN."""
    return np.asarray(~(h * np.maximum(x.max(axis=0), -x.min(axis=0)) <= SERIES))


def series(logits: Floats, labels: Indices) -> list[Floats]:
    """Return what `coefficients` writes."""
    powers, *tables = (np.empty(logits.shape) for _ in range(4))
    shift(logits, powers)
    np.exp(powers, out=powers)
    coefficients(powers, labels, *tables)
    return tables


def exact_state(x: Floats, labels: Indices, z: Floats, h: float) -> Any:
    """Return the state of `difference`."""
    far = [np.empty(z.shape) for _ in range(3)]
    others(z, labels, *far)
    return h, x, z, *far, labels


def single(table: Floats, factor: float) -> tuple[NDArray[np.float32], Floats | None]:
    """Return a table times a factor in single precision, and the unit of each column where one is too small for it."""
    singles = np.empty(table.shape, np.float32)
    if narrow(table, factor, singles) > SMALL:
        return singles, None
    scale = np.maximum(np.abs(table * factor).max(axis=0), np.finfo(float).tiny)
    return (table * factor / scale).astype(np.float32), scale


class _Step:
    """The quotients of one step h, times a factor: ``factor, h = term``."""

    def __init__(self, f: SoftmaxObjective, term: tuple[float, float], z: Floats, tables: list[Floats]) -> None:
        # No numbers of NumPy, which would warn where they overflow.
        (self.x, labels, _), (a, cubic, quintic), (self.factor, h) = f._data, tables, map(float, term)
        self.h, self.cubes, weight = h, f._cubes, -self.factor / len(z)
        self.linear, self.is_short = a * weight, h * f._largest <= SHORT
        if not self.is_short:
            self.far = beyond_series(self.x, h)
            self.exact = exact_state(self.x, labels, z, h) if self.far.any() else None
            self.cubic = cubic * (weight / h)
            self.last, self.scale = single(quintic, weight / h * SERIES**5)
        else:
            self.last, self.scale = single(cubic, weight * h * h)

    def write(self, first: int, out: Floats, kernel: Any) -> None:
        """Write the quotients of the features from the `first` on. What overflows is written last."""
        features = slice(first, first + len(out))
        x = self.x[:, features]
        np.dot(x.T, self.linear, out=out)
        with nullcontext() if self.is_short else np.errstate(all="ignore"):
            if self.is_short:
                powers = self.cubes[:, features]
            else:
                u = self.h * x
                cubes = u * u * u
                out += cubes.T @ self.cubic
                u /= SERIES
                powers = (cubes * (u * u / SERIES**3)).astype(np.float32)
            product = np.dot(powers.T, self.last)
            out += product if self.scale is None else product * self.scale
            rest, columns = () if self.is_short else np.flatnonzero(self.far[features]), np.arange(out.shape[1])
            length = max(1, EXACT // (len(self.x) * len(columns)))
            for own in np.split(rest, range(length, len(rest), length)) if len(rest) else ():
                coordinates = np.add.outer((first + own) * len(columns), columns).reshape(-1)
                found = np.empty(len(coordinates))
                kernel(self.exact, (self.h,), (), coordinates, 0, len(found), found)
                out[own] = self.factor * found.reshape(len(own), -1)


class _ProductSweep(Sweep):
    """Tiles of features as units: fixed, whatever the workers, so that bits are equal."""

    is_grouped = value_cancels = True

    @underflowing  # probabilities that are as good as zero
    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        f, (features, classes) = self.objective.f, self.x.shape
        self.chosen, terms = members_of(self.where), central_parts(self.rule, self.where, KIND)
        # Of one length, if that can be: then their memory is that of the result.
        length, is_all = -(-features // -(-features * classes // TILE)), not len(self.chosen)
        self.tiles = np.arange(-(-features // length)) if is_all else np.unique(self.chosen // (classes * length))
        self.size, self.length, shape = len(self.tiles), length, (len(self.tiles), length, classes)
        self.out = self.result.reshape(shape) if is_all and features % length == 0 else np.full(shape, np.nan)
        z = f._logits(self.x)
        tables = series(z, f._data[1])
        self.steps = [_Step(f, term, z, tables) for term in terms]
        # Nobody need cut what is one unit.
        self.cost, self.throughput = (self.x.shape, len(terms)), f._throughput if self.size > 1 else None

    @underflowing
    def run_range(self, _: Any, start: int, stop: int) -> int:
        """Write the quotients of some tiles."""
        flags, kernel = 0, self.objective.kernels.loops[make_quotients][0]
        for k in range(start, stop):
            first = self.length * int(self.tiles[k])
            target = self.out[k, : len(self.x) - first]
            try:
                for number, step in enumerate(self.steps):
                    part = np.empty_like(target) if number else target
                    step.write(first, part, kernel)
                    if number:
                        target += part
            except BaseException:
                target[...] = math.nan  # an exception must not leave a part of a sum in the result
                raise
            flags |= RESPONDED if target[0, 0] or target.any() else 0
        return flags

    def gather(self) -> None:
        """Write to the result what is not a view of it."""
        if self.out.base is None:
            tile = self.out[0].size
            place = np.searchsorted(self.tiles, self.chosen // tile) * tile + self.chosen % tile
            self.result[...] = self.out.reshape(-1)[place if len(place) else slice(len(self.result))]


class SoftmaxObjective(IncrementalObjective):
    """The loss of a layer of weights of `shape` for the samples `x`, of shape (batch, features).

    All differences in C order come from matrix products; those of features beyond the series come one by one, as
    `difference` does any.
    """

    @underflowing
    def __init__(self, x: Floats, labels: Indices, shape: tuple[int, ...]) -> None:
        def logits(W: Floats) -> Floats:  # noqa: N803
            if W.shape != shape:
                raise ValueError(f"W must have the shape of the net's weights, {shape}, got {W.shape}")
            return np.asarray(np.dot(x, W), dtype=FLOAT64)

        def value(W: Any) -> float:  # noqa: N803
            return float(softmax_cross_entropy(logits(real_array(W, "W")), labels))

        @underflowing
        def prepare(W: Floats, h: float) -> Any:  # noqa: N803
            return exact_state(x, labels, logits(W), h)

        # And not by IncrementalObjective, whose looks at the three take a small layer 3 % of a gradient.
        self.value, self.prepare, self.difference, self._throughput = value, prepare, difference, Throughput()
        self._data, self._logits = (x, labels, shape), logits
        self._cubes = np.empty(x.shape, np.float32)
        largest = float(np.uint32(cube(x, self._cubes)).view(np.float32)) ** (1 / 3)
        # Where the cubes are no normal numbers of single precision, the other series scales them.
        self._largest = largest if LEAST < largest < 1.0 / LEAST else np.inf

    def __reduce__(self) -> Any:
        return SoftmaxObjective, self._data

    def _as_objective(self) -> Incremental:
        return Incremental(self, _ProductSweep)
