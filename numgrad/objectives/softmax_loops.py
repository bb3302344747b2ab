"""The loops of a softmax layer: its loss, the coefficients of its series, and its exact differences.

`numgrad.objectives.softmax` derives the formulas.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..loops import Floats, Indices
from .compiling import INLINE, compiled

__all__: list[str] = []  # nothing here is public

# Without unit, added to the label's probability: the book's, so that the logarithm of 0 is finite.
# Fixed by test_every_regime_agrees_with_50_digits, whose loss has it too.
OFFSET = 1e-7


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
    integers, from the vector unit.
    """
    bits, largest = cubes.view(np.uint32), np.uint32(0)
    for b in range(x.shape[0]):
        for i in range(x.shape[1]):
            single = np.float32(x[b, i])
            cubes[b, i] = single * single * single
        for i in range(x.shape[1]):
            largest = max(largest, bits[b, i] & np.uint32(0x7FFFFFFF))  # without the sign
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
def coefficients(powers: Floats, labels: Indices, a: Floats, e: Floats, cubic: Floats, quintic: Floats) -> None:
    """Write a, e and the series' coefficients of ``u**3`` and ``u**5``, all of shape (batch, classes).

    `powers` are the exponentials of the logits less the largest one of the row. Where nobody needs them, `e` and
    `quintic` have one row, which all samples share.
    """
    batch, classes = powers.shape
    for b in range(batch):
        c, top, rest = labels[b], powers[b].argmax(), 0.0
        for j in range(classes):  # the normaliser is 1 + rest, and 1 - p_top is rest / (1 + rest) without cancellation
            if j != top:
                rest += powers[b, j]
        normaliser = powers[b, top] + rest  # the power is 1 there, or NaN for an infinite logit
        p_label = powers[b, c] / normaliser
        weight, offset, row = p_label / (p_label + OFFSET), OFFSET / (p_label + OFFSET), b if len(e) > 1 else 0
        for j in range(classes):
            p = powers[b, j] / normaliser
            a[b, j], e[row, j] = -weight * p, p * (0.5 * weight + offset * (1 - p))
        p_top = powers[b, top] / normaliser
        e[row, top] = p_top * (0.5 * weight + offset * (rest / normaliser))
        a[b, c] = p_label * (rest / normaliser if c == top else 1 - p_label) / (p_label + OFFSET)
        e[row, c] = a[b, c] * (0.5 + OFFSET)
        for j in range(classes):
            slope, curvature = a[b, j], e[row, j]
            square = slope * slope
            first = square / 3 - curvature
            second = curvature / 4 + curvature * curvature - square * curvature + square * square / 5
            cubic[b, j], quintic[row, j] = slope * (1 / 6 + first), slope * (1 / 120 + first / 2 + second)


@compiled(cache=True)
def others(logits: Floats, z: Floats, shift: Floats, rest: Floats) -> None:
    """Write the logits, the largest of the other logits, and ``q`` less that, all of shape (batch, classes)."""
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
            z[b, j], shift[b, j] = logits[b, j], second if j == top else logits[b, top]
            power = below if j == top else total - np.exp(logits[b, j] - logits[b, top])
            rest[b, j] = -np.inf if power == 0.0 else np.log(power)


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


@compiled(**INLINE)
def difference(state: Any, k: int) -> float:
    """Return ``f(W + h e_ij) - f(W - h e_ij)`` for the flat coordinate ``k = i * classes + j``, by regime 1 or 2."""
    h, x, regimes, a, e, z, shift, rest, labels, soft = state
    batch, classes = z.shape
    i, j, total, weighted = k // classes, k % classes, 0.0, soft.shape[1]
    largest = 0.5 if regimes[i] <= 1 and not weighted else 0.0  # near 1 atanh would magnify the rounding of r
    for b in range(batch):
        u = h * x[b, i]
        s = math.sinh(u) if largest else 0.0
        r = a[b, j] * s / (1 + 2 * e[b, j] * s * s / (1 + math.sqrt(1 + s * s)))
        if abs(r) < largest:
            total += math.atanh(r)
        else:
            for c in range(max(weighted, 1)):
                label, weight = (c, soft[b, c]) if weighted else (labels[b], 1.0)
                total += weight * half_logarithm(u, z[b, j], z[b, label], shift[b, j], rest[b, j], j == label)
    return float(-2 / batch * total)
