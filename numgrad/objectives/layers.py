r"""The compiled functions of a linear softmax layer: its loss, and the central difference of the loss for one weight.

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
of four regimes, chosen for each feature i by ``max_b |u|``:

- 0 and 1, *series*, up to `SERIES`: ``C = s**2 - s**4 / 4 + ...``, so that
  ``atanh r = s (a + s**2 (a**3 / 3 - a e) + s**4 a (e / 4 + e**2 - a**2 e + a**4 / 5) + ...)``. What is left out is
  below ``s**6`` of the sum of magnitudes. Regime 0, up to `SHORT`, leaves out the term in ``s**4`` too.
- 2, *rational*, up to `RATIONAL`: ``r = a s / (1 + e C)`` and `atanh`, with ``C = 2 s**2 / (1 + sqrt(1 + s**2))``.
- 3, *logarithmic*, beyond, and for ``|r| >= 1/2``: the change of the logarithm itself, from logits in place of
  probabilities, which may underflow. With ``q_j`` the logarithm of the sum of the other exponentials, ``m = z_j - q_j``
  the log-odds of class j, and the logistic function ``g(v) = 1 / (1 + exp(-v))``, the probability of class j becomes
  ``g(m +- u)``. The one of another label becomes ``w g(-m -+ u)``, where ``w = exp(z_c - q_j)`` is its share among the
  others. Since ``g(v) - g(v') = g(v) g(-v') (1 - exp(v' - v))``, the change for ``u > 0`` is, with no difference of
  probabilities, ``log(1 + g(m + u) g(u - m) (1 - exp(-2 u)) / (g(m - u) + d))`` for ``j == c``, and otherwise
  ``-log(1 + w g(m + u) g(u - m) (1 - exp(-2 u)) / (w g(-m - u) + d))``.

A soft label is a mean over labels c with the weights ``t_c``: ``f(W) = -mean_b sum_c t_c log(p_c + d)``. The series are
linear in their coefficients, so these are averaged; beyond the series, the logarithmic regime serves each c.

Where a logit is NaN or infinite, upwards, before or after the step, the loss is NaN, and so is the difference.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arguments import FLOAT64, real_array
from .compiling import INLINE, REORDER, compiled
from .incremental import IncrementalObjective

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..loops import Floats, Indices

__all__: list[str] = []  # nothing here is public

# float64s in a cache line of 64 bytes: vector loads and the transposition go by whole lines.
# Fixed by test_every_row_begins_with_a_cache_line.
LINE = 8
# Without unit, added to the label's probability: the book's, so that the logarithm of 0 is finite.
# Fixed by test_every_regime_agrees_with_50_digits, whose loss has it too.
OFFSET = 1e-7
# Unit of a logit: the largest step of the series that ends with s**2. The next term is below s**4, here 1e-16.
# Fixed by test_both_sides_of_the_bounds_agree_with_50_digits.
SHORT = 1e-4
# Unit of a logit: the largest step of the series that ends with s**4. The next term is below s**6, here 2e-17.
# Fixed by test_both_sides_of_the_bounds_agree_with_50_digits.
SERIES = 1.6e-3
# Unit of a logit: the largest step whose s**2 is known to be finite: 1e260 here, and too large for a float from 356 on.
# Fixed by test_both_sides_of_the_bounds_agree_with_50_digits.
RATIONAL = 300.0
# In place of soft labels, and of tables that only the regimes 2 and 3 read.
NONE = np.empty((0, 0))


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
        shift = logits[b, 0]
        for j in range(1, classes):
            shift = max(shift, logits[b, j])
        normaliser = 0.0
        for j in range(classes):
            normaliser += np.exp(logits[b, j] - shift)
        total -= np.log(np.exp(logits[b, labels[b]] - shift) / normaliser + OFFSET)
    return float(total / batch)


@compiled(cache=True)
def soft_cross_entropy(logits: Floats, soft: Floats) -> float:
    """Return the mean over the rows b of ``-sum_c soft[b, c] log(softmax(logits[b])[c] + 1e-7)``."""
    total = 0.0
    for b in range(len(logits)):
        exponentials = np.exp(logits[b] - logits[b].max())
        total -= np.sum(soft[b] * np.log(exponentials / exponentials.sum() + OFFSET))
    return float(total / len(logits))


@compiled(cache=True)
def loss(W: Floats, x: Floats, labels: Indices) -> float:  # noqa: N803
    """Return the layer's mean loss, the plain way: what numba can compile the differences around.

    `x` has the shape (features, batch), so that the inner loop runs along memory and uses the vector unit.
    """
    features, classes = W.shape
    logits = np.zeros((classes, x.shape[1]))
    for i in range(features):
        for j in range(classes):
            for b in range(x.shape[1]):
                logits[j, b] += W[i, j] * x[i, b]
    return float(softmax_cross_entropy(logits.T.copy(), labels))


@compiled(cache=True)
def steps(x: Floats, largest: Floats, h: float, s: Floats, regimes: Indices) -> None:
    """Write ``sinh(h x[b, i])`` to ``s[i, b]`` (``h x[b, i]`` for the logarithmic regime) and the regime of feature i.

    ``largest[i]`` is the largest magnitude of feature i. Features are transposed by cache lines.
    """
    batch, features = x.shape
    for tile in range(0, features, LINE):
        end = min(tile + LINE, features)
        for b in range(batch):
            for i in range(tile, end):
                s[i, b] = h * x[b, i]
        for i in range(tile, end):
            u = h * largest[i]
            regimes[i] = 0 if u <= SHORT else 1 if u <= SERIES else 2 if u <= RATIONAL else 3
            if regimes[i] <= 1:
                for b in range(batch):
                    square = s[i, b] * s[i, b]
                    s[i, b] *= 1 + square * (1 / 6 + square * (1 / 120))
            elif regimes[i] == 2:
                for b in range(batch):
                    s[i, b] = math.sinh(s[i, b])


@compiled(cache=True)
def coefficients(logits: Floats, labels: Indices, a: Floats, a1: Floats, a2: Floats, e: Floats) -> None:
    """Write a, e, and the series' coefficients of ``s**2`` and ``s**4``, all of shape (classes, batch)."""
    batch, classes = logits.shape
    for b in range(batch):
        top = logits[b].argmax()
        rest = 0.0  # the normaliser is 1 + rest, and 1 - p_top is rest / (1 + rest) without cancellation
        for j in range(classes):
            a[j, b] = np.exp(logits[b, j] - logits[b, top])
            if j != top:
                rest += a[j, b]
        c, normaliser = labels[b], a[top, b] + rest  # a is 1 there, or NaN for an infinite logit
        p_label = a[c, b] / normaliser
        for j in range(classes):
            p = a[j, b] / normaliser
            others = rest / normaliser if j == top else 1 - p
            if j == c:
                slope = p * others / (p + OFFSET)
                curvature = slope * (0.5 + OFFSET)
            else:
                slope = -p_label * p / (p_label + OFFSET)
                curvature = (p_label * p / 2 + OFFSET * p * others) / (p_label + OFFSET)
            square = slope * slope
            a[j, b], e[j, b] = slope, curvature
            a1[j, b] = slope * (square / 3 - curvature)
            a2[j, b] = slope * (curvature / 4 + curvature * curvature - square * curvature + square * square / 5)


@compiled(cache=True)
def others(logits: Floats, z: Floats, shift: Floats, rest: Floats) -> None:
    """Write the logits, the largest of the other logits, and ``q`` less that, all of shape (classes, batch)."""
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
            z[j, b], shift[j, b] = logits[b, j], second if j == top else logits[b, top]
            power = below if j == top else total - np.exp(logits[b, j] - logits[b, top])
            rest[j, b] = -np.inf if power == 0.0 else np.log(power)


@compiled(**INLINE)
def logistic(v: float) -> float:
    """Return ``1 / (1 + exp(-v))``."""
    power = math.exp(-abs(v))
    return float((1.0 if v > 0.0 else power) / (1.0 + power))


# Said, or numba would take the flags of the caller, which let it reorder sums.
@compiled(fastmath=False, **INLINE)
def half_logarithm(u: float, logit: float, label: float, shift: float, rest: float, is_label: bool) -> float:
    """Return half of ``log(y+ + d) - log(y- + d)`` for a step u of `logit`; `label` is the logit of the label."""
    size = abs(u)
    if not logit + size < math.inf:
        return math.nan
    # In this order: where the step makes up for the distance of two logits, what is left is exact.
    high, low = (logit - shift) + size - rest, (logit - shift) - size - rest
    change = -math.expm1(-2.0 * size) * logistic(high) * logistic(-low)
    if is_label:
        return math.copysign(0.5 * math.log1p(change / (logistic(low) + OFFSET)), u)
    share = math.exp(label - shift - rest) if label > -math.inf else 0.0
    return math.copysign(0.5 * math.log1p(share * change / (share * logistic(-high) + OFFSET)), -u)


@compiled(**REORDER, **INLINE)
def difference(state: Any, k: int) -> float:
    """Return ``f(W + h e_ij) - f(W - h e_ij)`` for the flat coordinate ``k = i * classes + j``.

    The only function whose sums may be reordered, so that they vectorise: no user's function runs in it.
    """
    s, regimes, a, a1, a2, e, z, shift, rest, labels, soft = state
    batch, (classes, width) = labels.size, a.shape
    i = np.uintp(k) // np.uintp(classes)
    j = np.uintp(k) - i * np.uintp(classes)
    total = 0.0
    # Three loops, two of them empty, and no branch: else numba counts references, at thrice the cost. Each begins at 0:
    # else numba allows for indices that count from the end, and does not vectorise.
    short, series = width if regimes[i] == 0 else 0, width if regimes[i] == 1 else 0
    for b in range(short):
        total += s[i, b] * (a[j, b] + s[i, b] * s[i, b] * a1[j, b])
    for b in range(series):
        square = s[i, b] * s[i, b]
        total += s[i, b] * (a[j, b] + square * (a1[j, b] + square * a2[j, b]))
    weighted = soft.shape[1]
    largest = 0.5 if regimes[i] == 2 and not weighted else 0.0  # near 1 atanh would magnify the rounding of r
    for b in range(batch if regimes[i] >= 2 else 0):
        square = s[i, b] * s[i, b]
        r = a[j, b] * s[i, b] / (1 + 2 * e[j, b] * square / (1 + math.sqrt(1 + square)))
        if abs(r) < largest:
            total += math.atanh(r)
        else:
            u = math.asinh(s[i, b]) if regimes[i] == 2 else s[i, b]
            for c in range(max(weighted, 1)):
                label, weight = (c, soft[b, c]) if weighted else (labels[b], 1.0)
                total += weight * half_logarithm(u, z[j, b], z[label, b], shift[j, b], rest[j, b], j == label)
    return float(-2 / batch * total)


def aligned_zeros(rows: int, columns: int) -> Floats:
    """Return zeros of at least so many columns, each row of which fills whole cache lines.

    Where a row does not begin with a cache line, half of the vector loads of AVX-512 touch two of them.
    """
    width = -(-columns // LINE) * LINE
    memory = np.zeros(rows * width + LINE)
    start = -(memory.ctypes.data // memory.itemsize) % LINE
    return memory[start : start + rows * width].reshape(rows, width)


def cross_entropy(logits: Floats, t: NDArray[Any]) -> float:
    """Return the mean loss of the rows of `logits` with integer labels, or with soft ones, of the shape of `logits`."""
    return float((soft_cross_entropy if t.ndim == 2 else softmax_cross_entropy)(logits, t))


def mean_coefficients(logits: Floats, soft: Floats, tables: list[Floats]) -> None:
    """Add to the `tables` of `coefficients` the mean over soft labels."""
    for c in np.flatnonzero(soft.any(axis=0)):
        parts = [np.empty(logits.shape[::-1]) for _ in tables]
        coefficients(logits, np.full(len(logits), c), *parts)
        for table, part in zip(tables, parts, strict=True):
            table[:, : len(logits)] += soft[:, c] * part


def _tables(z: Floats, labels: Indices, soft: Floats, is_far: bool) -> list[Floats]:
    """Return what differences read of the logits `z`: four tables of the series, three of the far regime or none."""
    batch, classes = z.shape
    series = [aligned_zeros(classes, batch) for _ in range(4)]  # a, a1, a2, e
    if not soft.size:  # and not by identity, which pickling loses
        coefficients(z, labels, *series)
    else:
        mean_coefficients(z, soft, series)
    if not is_far:
        return [*series, NONE, NONE, NONE]
    far = [np.empty((classes, batch)) for _ in range(3)]
    others(z, *far)
    return [*series, *far]


def softmax_objective(x: Floats, t: NDArray[Any], shape: tuple[int, ...]) -> IncrementalObjective:
    """Return the loss of a layer of weights of `shape` for the samples `x`, of shape (batch, features).

    `t` holds integer labels, or soft ones, of shape (batch, classes).
    """
    batch, features = x.shape
    largest = np.maximum(x.max(axis=0), -x.min(axis=0))
    labels, soft = (np.zeros(batch, np.intp), t) if t.ndim == 2 else (t, NONE)

    def logits(W: Floats) -> Floats:  # noqa: N803
        if W.shape != shape:
            raise ValueError(f"W must have the shape of the net's weights, {shape}, got {W.shape}")
        return np.asarray(np.dot(x, W), dtype=FLOAT64)

    def value(W: Any) -> float:  # noqa: N803
        return cross_entropy(logits(real_array(W, "W")), t)

    known_steps: dict[float, tuple[Floats, Indices, bool]] = {}  # a descent has one h, and the steps do not depend on W

    def prepare(W: Floats, h: float) -> Any:  # noqa: N803
        if (known := known_steps.get(h)) is None:
            s, regimes = aligned_zeros(features, batch), np.empty(features, np.intp)
            steps(x, largest, h, s, regimes)
            known_steps.clear()
            known_steps[h] = known = s, regimes, bool(regimes.max() >= 2)
        return *known[:2], *_tables(logits(W), labels, soft, known[2]), labels, soft

    objective = IncrementalObjective(value, prepare, difference)
    objective._only_reads = True
    return objective
