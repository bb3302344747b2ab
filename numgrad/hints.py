"""Hints: which of the usual mistakes explains how a gradient differs from the numerical one."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_ALIKE = 1e-3  # relative difference of what is taken for the same
_MOST = 0.9  # of the coordinates that a cause must explain


def causes(
    shape: tuple[int, ...], chosen: NDArray[np.intp], candidate: Floats, numerical: Floats, error: Floats, failed: Flags
) -> Iterator[str]:
    """Yield the causes that fit.

    `candidate`, `numerical` and its `error` are those of the flat coordinates `chosen` of an array of `shape`, of which
    some `failed`.
    """
    if not np.isfinite(candidate[failed]).all():
        yield "the candidate is not finite there"
    if not np.isfinite(numerical[failed]).all():
        yield "f is not finite near x, so the numerical gradient is not either"
    whole = chosen.size == math.prod(shape)
    for name, other in _rearranged(shape, candidate) if whole else ():
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
    if factor == 0.0 or same.mean() < _MOST:
        return
    if abs(factor + 1.0) <= _ALIKE:
        yield "the sign is wrong"
    elif abs(factor - 2.0) <= _ALIKE or abs(factor - 0.5) <= _ALIKE:
        yield f"the candidate is {factor:.6g} times the gradient: is there a square, or a half, that was forgotten?"
    elif factor > 2.0 and abs(factor - round(factor)) <= _ALIKE * factor:
        batch = round(factor)
        yield f"the candidate is {batch} times the gradient: is the mean over a batch of {batch} missing?"
    elif 0.0 < factor < 0.5 and abs(1 / factor - round(1 / factor)) <= _ALIKE / factor:
        yield f"the candidate is 1/{round(1 / factor)} of the gradient: was it divided by the size of the batch twice?"
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
