"""hessian_vector_product: a Hessian times a vector, without the Hessian."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import driver
from .arguments import describe, plain_numbers
from .containers import is_labelled
from .curvature import LONGER, warn_of
from .driver import Workers, differentiate
from .gradient import both_with_labels
from .loops import Floats
from .magnitudes import SMALL, enough, least_magnitude, lengthen, magnitudes
from .objectives.python import PythonObjective
from .points import EPS, is_narrow, private_copy, resolution, scales
from .schemes import StepSize, along_rows, as_scheme, steps_of, stored_steps, sum_of_values
from .slopes import STEP, check_callable, is_cheap, slopes

__all__ = ["hessian_vector_product"]


def hessian_vector_product(
    f: Callable[..., Any],
    x: ArrayLike,
    v: ArrayLike,
    h: StepSize = "auto",
    *,
    args: tuple[Any, ...] = (),
    workers: Workers = 1,
    gradient: Callable[..., Any] | None = None,
) -> NDArray[np.float64]:
    """Return the product of the Hessian of `f` at `x` and the vector `v`, without the Hessian.

    Parameters
    ----------
    f : callable
        As for `numerical_gradient`. It is not called if `gradient` is given.
    x : array_like
        Where the Hessian is taken, as for `numerical_gradient`, but no container; of a Series or DataFrame a Python
        function gets the labels too.
    v : array_like
        The vector, of the shape of `x` and of any length; zeros give zeros.
    h : float, 'auto' or array_like, default 'auto'
        How far a coordinate moves at most along `v`, in the unit of x, and how far for a gradient from values of `f`.
        'auto' takes ``eps**(1/3)`` of each magnitude with a `gradient`, ``2 eps**(1/4)`` without, and more of those
        below 0.1 where rounding hides what that changes.
    args : tuple, optional
        Further arguments of `f` and of `gradient`.
    workers : int or map-like callable, default 1
        For the gradients from values of `f`, as for `numerical_gradient`.
    gradient : callable, optional
        ``gradient(x, *args)``: the gradient of `f`, of the shape of `x`. It is called in place, as a Python `f` is.

    Returns
    -------
    ndarray of float64
        ``H v``, of the shape of `x`, in the unit of f per unit of x, if that is the unit of `v`.

    Raises
    ------
    TypeError
        As for `numerical_gradient`; if `v` or what `gradient` returns is not real.
    ValueError
        As for `numerical_gradient`; if `v` is not finite, or has another shape than `x`, or what `gradient` returns.

    Warns
    -----
    RuntimeWarning
        If `f` saw a private copy of `x` and does not respond to it.

    Notes
    -----
    ``(gradient(x + t v) - gradient(x - t v)) / (2 t)``, with the largest t by which no coordinate moves farther than
    its step: two evaluations of `gradient`, or of `numerical_gradient`, which are 4n of f for n coordinates. The
    truncation error is ``t**2 / 6`` times the third derivative of the gradient along `v`.

    With 'auto', elements whose rounding is more than some 1e-5 of the largest element with a `gradient`, or 1e-4
    without, are taken again by the steps of coordinates below 0.1 as if these were 1, and then 1/32, 1/1024 ..., until
    two results agree but for rounding: four gradients more as a rule, or four evaluations for each such element.

    References
    ----------
    Pearlmutter, B., *Fast exact multiplication by the Hessian*, Neural Computation 6, 1994, of which this is the
    difference.

    Examples
    --------
    >>> import numpy as np
    >>> from numgrad import hessian_vector_product
    >>> x, v = np.array([3.0, 4.0]), np.array([1.0, -1.0])
    >>> print(hessian_vector_product(lambda x: x[0] ** 2 * x[1], x, v).round(5))
    [2. 6.]
    """
    check_callable(gradient)
    if x.__class__ is not np.ndarray and is_labelled(x):
        f, gradient, x = both_with_labels(f, gradient, x, args)
    objective = driver.as_objective(f, args)
    point, private = PythonObjective(f).place(x, args)
    plain, direction, eps, value = point.view(np.ndarray), private_copy(plain_numbers(v, "v")), EPS, math.nan
    if direction.shape != plain.shape or not np.isfinite(direction).all():
        raise ValueError(f"v must be finite and of the shape of x, {plain.shape}, got {describe(direction)}")
    if not direction.any():
        return direction
    power = math.frexp(float(np.abs(direction).max()))[1]  # so that no quotient below overflows
    product = _Product(f, gradient, point, np.ldexp(direction, -power).reshape(-1), (args, workers))
    is_auto, derivative = isinstance(h, str), 2 if product.takes_values else 1
    if derivative == 2:
        objective.place(point, args)  # refuses what f would not see change
        value, eps = driver.eps_of_values(objective, point, args) if is_auto else (value, EPS)
    known, factor = as_scheme("central", derivative), LONGER if is_auto and derivative == 2 else 1.0
    for _ in range(2):
        steps = stored_steps(plain, np.broadcast_to(factor * steps_of(plain, h, known, eps), plain.size))
        found = product.by(steps)
        if not is_auto or product.spacing <= eps:
            break
        eps = product.spacing  # once more, since what is returned has fewer digits
    if is_auto and least_magnitude(plain) < SMALL:
        if gradient is None and value != value:
            value = objective.value(point, args)
        product.lengthen(found, steps, 0.0 if gradient is not None else eps * abs(value), eps)
    warn_of(objective, (point, args), (h, steps), private and not found.any())
    with np.errstate(all="ignore"):
        return np.ldexp(found, power).reshape(plain.shape)


class _Product:
    """The product of a Hessian and a flat vector, by gradients at both ends of a line, or by values of f.

    Attributes
    ----------
    takes_values : bool
        Whether the gradients are differences of f by the steps of the line, and not a function that is given.
    """

    def __init__(self, f: Any, gradient: Any, point: NDArray[Any], v: Floats, how: tuple[Any, Workers]) -> None:
        self.f, self.point, self.v, (self.args, self.workers) = f, point, v, how
        self.takes_values = gradient is None and not is_cheap(f)
        self.gradient = partial(slopes, f, None, self.workers, None) if gradient is None else gradient
        self.spacing, self.length = EPS, 0.0
        self.ends: Floats = np.empty((2, 0))

    def by(self, steps: Floats, chosen: NDArray[np.intp] | None = None) -> Floats:
        """Return the product by these steps; of values those of the `chosen` elements, and 0 for the others."""
        with np.errstate(all="ignore"):
            self.length = 1.0 / float(np.max(np.abs(self.v) / steps))
        gradient = partial(slopes, self.f, steps, self.workers, chosen) if self.takes_values else self.gradient
        self.ends, self.spacing = _ends(gradient, self.point, self.length * self.v, self.args)
        with np.errstate(all="ignore"):
            found: Floats = (self.ends[0] - self.ends[1]) / (2.0 * self.length)
        return found

    def rounding(self, noise: float, eps: float, steps: Floats) -> Floats:
        """Return how far rounding may put off each element: the `noise` of f, or that of gradients."""
        with np.errstate(all="ignore"):
            if self.takes_values:
                return noise / steps / self.length
            return np.full(len(steps), max(noise / STEP, eps * np.abs(self.ends).max()) / self.length)

    def lengthen(self, found: Floats, steps: Floats, noise: float, eps: float) -> None:
        """Take those elements again by longer steps of small coordinates that rounding hides beside the largest."""
        plain, off = self.point.view(np.ndarray), self.rounding(noise, eps, steps)
        with np.errstate(all="ignore"):
            hidden = off
            if is_narrow(plain):  # where a point is stored in few digits, a part of the move goes
                move = self.length * np.abs(self.v).sum()
                hidden = off + np.abs(found) * (resolution(plain) * scales(plain)[self.v != 0.0].sum() / move)
            lost = (np.abs(found) - off).max() <= enough(eps, 2, 2 if self.takes_values else 1) * hidden
        small = scales(plain) < SMALL
        lost &= small[self.v != 0.0].any() | (small & self.takes_values)  # the others have no longer steps

        def measure(least: float, missing: NDArray[np.bool_]) -> tuple[Floats, Floats]:
            longer = stored_steps(plain, steps * (magnitudes(plain, least) / scales(plain)))
            with suppress(Exception):  # where f raises, it is not defined
                again = self.by(longer, np.flatnonzero(missing))
                return again, self.rounding(noise, eps, longer)
            return np.full(len(found), math.nan), off

        if lost.any():
            lengthen(found, off, lost, measure, least_magnitude(plain), resolution(plain))


def _ends(gradient: Any, x: NDArray[Any], move: Floats, args: tuple[Any, ...]) -> tuple[Floats, float]:
    """Return the gradients at ``x + move`` and at ``x - move``, and the spacing of what is returned."""
    spacings = [EPS]

    def checked(returned: Any) -> Floats:
        array = plain_numbers(returned, "what gradient returns")
        if array.shape != x.shape:
            raise ValueError(f"gradient must return an array of the shape of x, {x.shape}, got {describe(array)}")
        if array.dtype.kind == "f":
            spacings.append(resolution(array))
        return private_copy(array).reshape(-1)

    ends, rule = np.empty((2, x.size)), sum_of_values(1.0)._replace(columns=x.size)
    differentiate(PythonObjective(gradient, checked), x, args, (rule, along_rows(np.stack([move, -move]))), ends)
    return ends, max(spacings)
