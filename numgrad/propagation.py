"""propagate: the covariance of what a function returns, from that of its arguments."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import driver
from .arguments import describe, plain_numbers
from .elementwise import numerical_diff
from .jacobian import numerical_jacobian
from .loops import Floats
from .points import depends_on, private_copy, scales
from .schemes import AnyScheme, StepSize

__all__ = ["propagate"]

# Coordinates from which on f is asked whether it is elementwise: two evaluations a binary digit of n are fewer than 2n.
# Fixed by test_an_elementwise_f_of_many_numbers_takes_few_evaluations in tests/test_propagate.py.
_MANY = 20
# Relative to x: by how much coordinates move for that question, as for a derivative.
_MOVE = 1e-5


def propagate(
    f: Callable[..., Any],
    x: ArrayLike,
    cov: ArrayLike,
    *more: ArrayLike,
    h: StepSize = "auto",
    scheme: AnyScheme = "central",
    diagonal: bool = False,
) -> tuple[Any, Any]:
    """Return what `f` returns and its covariance, to first order in that of the arguments.

    Parameters
    ----------
    f : callable
        ``f(x)``, or ``f(x, y, ...)`` of arguments that are independent of each other: a number or a vector.
    x : float or array_like
        The argument: a number or a vector of n numbers, which is not changed. f receives float64 arrays.
    cov : float or array_like
        Its covariance: a matrix of shape (n, n); a vector of n variances, without correlation; or one variance for all.
    *more : array_like
        Further arguments of `f` and their covariances, in turn: ``propagate(f, x, cov, y, cov_of_y)``.
    h : float, 'auto' or array_like, default 'auto'
        Step, as for `numerical_jacobian`.
    scheme : str or Scheme, default 'central'
        As for `numerical_jacobian`.
    diagonal : bool, default False
        Whether `f` is known to be elementwise, so that two evaluations do.

    Returns
    -------
    value : float or ndarray
        What `f` returns.
    covariance : float or ndarray of float64
        A variance where the value is a number; else a matrix of shape (m, m) for m values; or m variances, where `f` is
        elementwise, as is found, and `cov` no matrix.

    Raises
    ------
    TypeError
        If `f` is not callable, or if an argument, a covariance or what `f` returns is not real.
    ValueError
        If `x` or the value has more than one axis, if the shapes of `x` and `cov` do not fit, or one has no partner; if
        all slopes are zero, and `f` reads the array `x` in place of its argument.

    Warns
    -----
    RuntimeWarning
        If all slopes are zero with respect to an array of integers, or a read-only one, which `f` may read in place of
        its argument; otherwise as `numerical_jacobian`.

    Notes
    -----
    ``C' = J C J.T`` with the Jacobian J of `f` at `x`, by ``2n + 1`` evaluations and one for the value. Where ``f(x)``
    has the shape of x and n is 20 or more, up to ``2 log2(n) + 2`` evaluations show first whether each value depends on
    its own coordinate alone; two more do then. Values that are NaN stay so by themselves if `f` is elementwise.

    References
    ----------
    Joint Committee for Guides in Metrology, *Guide to the expression of uncertainty in measurement*, JCGM 100:2008,
    section 5. The names are those of `jacobi.propagate`.

    Examples
    --------
    >>> from numgrad import propagate
    >>> value, covariance = propagate(lambda x: x**2, [1.0, 2.0], [[3.0, 1.0], [1.0, 4.0]])
    >>> print(value, covariance.round(6).tolist())
    [1. 4.] [[12.0, 8.0], [8.0, 64.0]]
    >>> value, variance = propagate(lambda x, y: x * y, 3.0, 0.01, 4.0, 0.04)
    >>> print(value, round(variance, 6))
    12.0 0.52
    """
    if not callable(f):
        raise TypeError(f"f must be callable, got {describe(f)}")
    if len(more) % 2:
        raise ValueError(f"each argument needs a covariance, got {2 + len(more)} arrays for f")
    given = [x, cov, *more]
    parts = [_vector(part, "x") for part in given[::2]]
    covariances = [_covariance(cov, part) for part, cov in zip(parts, given[1::2], strict=True)]
    value = _vector(f(*(part.copy() for part in parts)), "the value of f")
    found = []
    for k, (part, own) in enumerate(zip(parts, covariances, strict=True)):

        def of_part(x: Any, k: int = k) -> Any:
            others = [part.copy() for part in parts]  # f may write to these
            return f(*others[:k], x, *others[k + 1 :])

        function = f if len(parts) == 1 else of_part  # a compiled f stays one
        slopes = _slopes(function, part, value, (h, scheme, diagonal))
        if part.size and not slopes.any():
            _check_reads_argument(given[2 * k], partial(function, part.copy()))
        found.append(_transformed(slopes, own, value.shape))
    if any(each.ndim == 2 for each in found):
        found = [each if each.ndim == 2 else np.diag(each) for each in found]
    return value[()], sum(found[1:], found[0])[()]


def _check_reads_argument(x: Any, evaluate: Callable[[], Any]) -> None:
    """Refuse an f of which all slopes are zero since it reads `x` itself, and warn where that cannot be seen."""
    if not isinstance(x, np.ndarray):
        return
    if not x.flags.writeable or x.dtype.kind != "f":
        driver.warn_of(0, None, True, x)
    elif depends_on(x, evaluate):
        raise ValueError("f reads x by another way than its argument, which is a copy here; let f read its argument")


def _vector(given: Any, name: str) -> Floats:
    """Return a float64 copy of a number or a vector."""
    array = private_copy(plain_numbers(given, name))
    if array.ndim > 1:
        raise ValueError(f"{name} must have at most 1 axis, got the shape {array.shape}")
    return array


def _covariance(given: Any, x: Floats) -> Floats:
    """Return a covariance that fits x."""
    array = private_copy(plain_numbers(given, "cov"))
    if array.shape not in {(), x.shape, 2 * x.shape}:
        raise ValueError(f"cov must be a variance, or of shape {x.shape} or {2 * x.shape} as x is, got {array.shape}")
    return array


def _slopes(f: Any, x: Floats, value: Floats, how: tuple[Any, Any, bool]) -> Floats:
    """Return the Jacobian as a matrix, or its diagonal where all else is zero, or NaN beside a NaN."""
    h, scheme, diagonal = how
    if diagonal or (value.shape == x.shape and x.size >= _MANY and _is_elementwise(f, x, value)):
        slopes: Floats = numerical_diff(f, x, h, scheme=scheme)
        return slopes
    jacobian: Floats = numerical_jacobian(f, x, h, scheme=scheme)
    if value.shape != x.shape or not x.ndim:
        return jacobian.reshape(value.size, x.size) if value.shape != x.shape else jacobian
    beside = jacobian[~np.eye(x.size, dtype=bool)]
    return jacobian if (np.nan_to_num(beside) != 0.0).any() else np.diagonal(jacobian).copy()


def _is_elementwise(f: Any, x: Floats, value: Floats) -> bool:
    """Tell whether values stay the same bit for bit while other coordinates move.

    For any two coordinates some binary digit of their numbers differs, so one moves without the other and vice versa.
    Lengths are random, so that no two moves cancel.
    """
    steps = _MOVE * scales(x) * np.random.default_rng(0).uniform(0.5, 1.0, x.size)
    for digit in range(x.size.bit_length()):
        for side in (0, 1):
            moves = (np.arange(x.size) >> digit & 1) == side
            moved = np.asarray(f(x + np.where(moves, steps, 0.0)))
            if moved.shape != x.shape or not np.array_equal(moved[~moves], value[~moves], equal_nan=True):
                return False
    return True


def _transformed(slopes: Floats, cov: Floats, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return ``J C J.T`` for a Jacobian or its diagonal, in the shape for values of this shape."""
    with np.errstate(all="ignore"):
        if slopes.ndim < 2:
            return np.asarray(slopes * slopes * cov if cov.ndim < 2 else np.outer(slopes, slopes) * cov)
        product = np.asarray((slopes * cov if cov.ndim < 2 else slopes @ cov) @ slopes.T)
    return product if shape else product.reshape(())
