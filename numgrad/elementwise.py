"""numerical_diff: the derivative of a function of one variable, element by element."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any, NamedTuple, TypedDict, Unpack, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import arguments, driver
from .arguments import is_compiled, plain_numbers, raise_compile_error, real_array, real_number
from .beside import FAR, hidden_by_rounding, noise_of_number
from .bounds import moved_within
from .containers import in_order
from .inside import check_analytic, is_single_inside
from .loops import STEP_LOST, Directions, Floats, Rule, make_central, make_complex_step
from .magnitudes import LONG, SMALL, least_magnitude, lengthen, of_few_digits, rounding_near
from .objectives.vectors import imaginary_parts
from .points import (
    EPS,
    LOSS_EPS,
    SINGLE,
    are_single,
    check_argument_is_all,
    depends_on,
    is_narrow,
    private_copy,
    resolution,
    smallest,
    where_defined,
)
from .ridders import extrapolated
from .schemes import AnyScheme, Bounds, StepSize, as_scheme, limits, rule_at

__all__ = ["numerical_diff"]

# Unit of x: the default step, the book's. An object of its own, so that the default can stand for 'auto' where the
# order is higher, and a 1e-4 that is passed for itself. Fixed by
# test_the_default_step_of_higher_orders_is_automatic in tests/test_schemes.py.
BOOK_STEP = float("1e-4")
# Order from which on one step leaves few digits, and steps, in automatic ones, from which it is extrapolated. Rounding
# grows from one to the next 12 to 90 times, truncation halves: longer steps are better for exp, shorter ones for log.
# And the part of such a derivative from which on what it may be off by is worth a warning: that is less sure than
# rounding. Fixed by test_high_orders_have_digits_or_are_told in tests/test_magnitudes.py.
_HIGH, _RUNGS, _UNSURE = 5, 2.0 ** np.arange(2.0, -1.5, -0.5), 1e-3


class _Options(TypedDict, total=False):
    """The options of `numerical_diff`, for type checkers."""

    args: tuple[Any, ...]
    order: int
    scheme: AnyScheme
    bounds: Bounds | None


@overload
def numerical_diff(f: Callable[..., Any], x: float, h: StepSize = ..., **options: Unpack[_Options]) -> float: ...
@overload
def numerical_diff(
    f: Callable[..., Any], x: ArrayLike, h: StepSize = ..., **options: Unpack[_Options]
) -> NDArray[np.float64]: ...
def numerical_diff(
    f: Callable[..., Any],
    x: ArrayLike,
    h: StepSize = BOOK_STEP,
    *,
    args: tuple[Any, ...] = (),
    order: int = 1,
    scheme: AnyScheme = "central",
    bounds: Bounds | None = None,
) -> Any:
    """Return the derivative of `f` at `x`, of any order, by a finite difference.

    Parameters
    ----------
    f : callable
        ``f(x, *args)``: a float for a float. For an array it works elementwise and returns an array of the same shape.
        It may be compiled with `numba.njit`.
    x : float or array_like
        Where the derivative is taken. Lists become arrays; f receives a float, or a float64 array of x's shape.
    h : float, 'auto' or array_like, default 1e-4
        Step, in the unit of x, as for `numerical_gradient`. For a higher `order` the default stands for 'auto', since
        1e-4 would leave little but round-off of a third derivative; that takes ``eps**(1 / (accuracy + order))`` of
        each magnitude for a scheme of that order of accuracy, with the eps of what `f` returns; `f` is evaluated again
        if that is found to have the digits of float32 or fewer, whatever its type. Automatic steps of elements below
        0.1 grow, as for `numerical_gradient`; seven evaluations more show the rounding of f there. For the first
        derivative at a single number, one evaluation more tells whether f has noise, and 4 to 70 how much where that
        is in doubt, as for `numerical_gradient`. From the fifth order on, seven steps, from four times the automatic
        one to a half of it, are extrapolated to 0. A step that is passed is taken.
    args : tuple, optional
        Further arguments of `f`.
    order : int, default 1
        Which derivative: 2 for the second.
    scheme : str or Scheme, default 'central'
        As for `numerical_gradient`. For a higher `order` the names stand for the shortest symmetric stencils of
        accuracy 2, 4 and 6, and for one-sided ones of accuracy 1; a `Scheme` must be for the derivative `order`.
    bounds : pair of array_like, optional
        As for `numerical_gradient`.

    Returns
    -------
    float or ndarray of float64
        The derivative, in the unit of f per unit of x to the power of `order`, of the shape of x. `x` is not changed.

    Raises
    ------
    TypeError
        If `f` is not callable, if `x` or what `f` returns is not real, if `args` is no tuple or `order` no integer, or
        if `h` is not a real number; if scheme is 'complex' and `f` returns a real number for a complex one.
    ValueError
        If `h` is not finite and positive, or if `f` returns another shape than that of x; if `order` is below 1; if
        `scheme` is unknown, for another derivative, or 'complex' for a higher one; if `x` lies outside the bounds or
        they leave no room; if all of it is zero and `f` reads the array `x` in place of its argument.

    Warns
    -----
    RuntimeWarning
        If `h` loses more than a thousandth of itself where it is added to some element of `x`; if by automatic steps
        the rounding of f leaves no digit, or from the fifth order on fewer than three; if all results are zero for an
        `x` of integers, or one that is read-only, which `f` may read in place of its argument.

    Notes
    -----
    ``(f(x + h) - f(x - h)) / (2 h)``, with a truncation error of ``h**2 / 6 * |f'''|`` and a round-off error of
    about ``eps * |f| / h``. Two evaluations; as many as a scheme has offsets for another one.

    The second derivative is ``(f(x + h) - 2 f(x) + f(x - h)) / h**2``, with the errors ``h**2 / 12 * |f''''|`` and
    ``4 eps * |f| / h**2``, by three evaluations. The weights of higher ones are Fornberg's, in whole numbers. The step
    is then the distance of x and the next point as they are stored.

    References
    ----------
    Saitoh, K., *Deep Learning from Scratch*, O'Reilly, section 4.3.1. Fornberg, B., *Generation of finite difference
    formulas on arbitrarily spaced grids*, Mathematics of Computation 51, 1988. Ridders, C. J. F., *Accurate computation
    of F'(x) and F'(x) F''(x)*, Advances in Engineering Software 4, 1982.

    Examples
    --------
    >>> from numgrad import numerical_diff
    >>> numerical_diff(lambda x: 0.01 * x**2 + 0.1 * x, 5)
    0.1999999999990898
    >>> round(numerical_diff(lambda x: x**3, 2.0, order=2), 5)
    12.0
    """
    if args.__class__ is not tuple or args or not callable(f):
        driver.as_objective(f, args)  # which checks them
    if x.__class__ is not float:
        in_order(x, h=h, bounds=bounds)
    call = (lambda x: f(x, *args)) if args else f
    point, order = private_copy(real_array(x)), arguments.whole_number("order", order, 1)
    if h is BOOK_STEP and order > 1:
        h = "auto"
    plan = rule_at(point, h, scheme, bounds, derivative=order)
    is_scalar, is_same = not isinstance(x, np.ndarray) and not point.ndim, True
    try:
        if plan[0].make is make_central:
            quotient, lost = _central(call, float(point) if is_scalar else point, plan[0].data[0])
        elif plan[0].make is make_complex_step:
            quotient, lost = _complex(call, float(point) if is_scalar else point, plan[1].lengths), False
            _check_complex(f, x, point, args, bounds)
        else:
            asked = _Elementwise(call, point, is_scalar, (scheme, bounds, order))
            quotient, lost, is_same = asked.derivatives(plan, h)
    except Exception as error:
        if is_compiled(f):
            raise_compile_error(error)
        raise
    if isinstance(x, np.ndarray) and x.size:
        is_constant = is_same and not (quotient.item(0) or quotient.any())
        check_reads_argument(f, x, args, (lambda: f(point.copy(), *args)) if is_constant else None)
    if lost:
        driver.warn_of(STEP_LOST, h, False, point)
    return float(quotient) if is_scalar else quotient


def check_reads_argument(f: Any, x: Any, args: tuple[Any, ...], evaluate: Callable[[], Any] | None) -> None:
    """Refuse an f that reads the array `x` itself, as far as that can be seen, where it is given a copy.

    `evaluate` calls f with such a copy. It is given where all derivatives are zero, and None elsewhere. Where x cannot
    be moved to see whether f reads it, warn.
    """
    if f.__class__ is not FunctionType and is_compiled(f):
        driver.as_objective(f, args).place(x, args)  # refuses what f would not see change
    if evaluate is None or not isinstance(x, np.ndarray) or not x.size:
        return
    if x.flags.writeable and x.dtype.kind == "f":
        if depends_on(x, evaluate):
            raise ValueError(
                "f reads x by another way than its argument, which is a copy here; let f read its argument"
            )
    else:
        driver.warn_of(0, None, True, x)


def _central(f: Callable[[Any], Any], x: Any, h: float) -> tuple[Any, bool]:
    """Return the quotients of the default scheme, with the bits of the reference, and whether a step was lost."""
    if isinstance(x, float):
        plus, returned = real_number(f(x + h)), f(x - h)
        quotients: Any = (plus - real_number(returned)) / (2 * h)
        is_lost = abs(x) * LOSS_EPS > h
    else:
        values, returned = _real_values(f(x + h), x), f(x - h)
        with np.errstate(all="ignore"):
            quotients = (values - _real_values(returned, x)) / (2 * h)
            is_lost = bool((np.abs(x) * LOSS_EPS > h).any())
    if returned.__class__ is not float and is_narrow(array := np.asarray(returned)):
        driver.warn_of_digits(float(np.abs(array).max(initial=0.0)), resolution(array), h, quotients)
    return quotients, is_lost


def _complex(f: Callable[[Any], Any], x: Any, lengths: NDArray[np.complex128]) -> Any:
    """Return the quotients of the complex step, for imaginary lengths."""
    if isinstance(x, float):
        return arguments.imaginary_part(f(complex(x, lengths.imag.item()))) / lengths.imag.item()
    lengths = lengths if len(lengths) == 1 and x.ndim else lengths.reshape(x.shape)
    return _of_shape_of(x, imaginary_parts(f(x + lengths))) / lengths.imag


class _Differences(NamedTuple):
    """Derivatives of an elementwise f by one step of each element, and what they are made of: a row for each point.

    Attributes
    ----------
    found : ndarray of float64
        The derivatives, flat.
    moves, values, weights, terms : ndarray of float64
        How far the elements have moved, f there, what it counts for, and both together.
    divisors, lengths : ndarray of float64
        What the sum of weighted values is divided by, and what it is divided by for each further order, the steps.
    """

    found: Floats
    moves: Floats
    values: Floats
    weights: Floats
    terms: Floats
    divisors: Floats
    lengths: Floats


class _Elementwise:
    """An elementwise f at the array `x`, asked for the derivative of an `order` by another scheme than the default.

    Attributes
    ----------
    eps : float
        The relative spacing of what f has returned, of float64 at least.
    """

    def __init__(self, f: Callable[[Any], Any], x: Floats, is_scalar: bool, options: tuple[Any, Any, int]) -> None:
        self.f, self.x, self.is_scalar, self.eps = f, x, is_scalar, EPS
        self.scheme, self.bounds, self.order = options
        self.few = _UNSURE if self.order >= _HIGH else 1.0  # part of a derivative that an error is not to exceed

    def values_at(self, moves: Floats) -> Floats:
        """Return f where the elements of x have moved by each row."""
        values, flat = np.empty(moves.shape), self.x.reshape(-1)
        for row, move in zip(values, moves, strict=True):
            point = flat + move
            returned = self.f(point.item() if self.is_scalar else point.reshape(self.x.shape))
            row[...] = real_number(returned) if self.is_scalar else _real_values(returned, self.x).reshape(-1)
            self.eps = max(self.eps, resolution(np.asarray(returned)))
        return values

    def derivatives(self, plan: tuple[Rule, Directions], h: Any) -> tuple[Any, bool, bool]:
        """Return the derivatives by the plan of steps h, whether a step was lost, and whether f is constant there.

        See `_look_again` for automatic steps.
        """
        is_auto, terms = isinstance(h, str), self._by(plan)
        is_likely = is_auto and self.eps == EPS and are_single(terms.values)
        if is_likely and is_single_inside(self.x, terms.values, self.values_at, self.bounds):
            self.eps = SINGLE
        if is_auto and self.eps > EPS:  # once more, since what is returned has fewer digits
            plan = self._plan(h, self.eps)
            terms = self._by(plan)
        found, has_small = terms.found, is_auto and least_magnitude(self.x) < SMALL
        if has_small or (is_auto and self.order > 1):
            found = self._look_again(terms, has_small)
        if is_auto and self.eps == EPS and self.order == 1 and self.x.size == 1:
            noise = noise_of_number(self.x, terms, found, self.values_at, self.bounds)
            driver.warn_of_noise("derivative", *noise)
        if self.eps > EPS and self.order == 1:
            driver.warn_of_digits(float(np.abs(terms.values).max(initial=0.0)), self.eps, h, found)
        with np.errstate(under="ignore"):
            is_lost = bool((np.abs(self.x).reshape(-1) * plan[0].data[1] > terms.lengths).any())
        is_constant = not found.any() and bool((terms.values == terms.values[:1]).all())
        return found.reshape(self.x.shape)[()], is_lost, is_constant

    def _plan(self, h: Any, eps: float = EPS) -> tuple[Rule, Directions]:
        return rule_at(self.x, h, self.scheme, self.bounds, eps=eps, derivative=self.order)

    def _by(self, plan: tuple[Rule, Directions]) -> _Differences:
        """Return the derivatives by a plan, along a direction for each offset."""
        _, _, offsets, weights, index, denominators, use_stored_distance = plan[0].data
        flat, lengths = self.x.reshape(-1), plan[1].lengths
        offsets, weights = offsets.T[:, index], weights.T[:, index]  # a column an element
        if len(index) > 1:  # next to a bound a scheme has stand-ins, of which elements of their own may take none
            counts = weights.any(axis=1) | (not flat.size)
            offsets, weights = offsets[counts], weights[counts]
        moves = np.empty((len(offsets), flat.size))
        moves[...] = offsets * lengths
        values = self.values_at(moves)
        with np.errstate(all="ignore"):
            terms = weights * values
            if len(index) > 1:
                terms[weights == 0.0] = 0.0  # also of a value that is not finite
            divisors = denominators[index] * lengths
            if use_stored_distance:
                divisors = (weights * ((flat + moves) - flat)).sum(axis=0)
            found = terms.sum(axis=0) / divisors
            for _ in range(self.order - 1):  # one at a time: a power of a small step would be 0
                found /= lengths
        return _Differences(found, moves, values, weights, terms, np.abs(divisors), np.abs(lengths))

    def _look_again(self, terms: _Differences, has_small: bool) -> Floats:
        """Return better derivatives where rounding hides what is known, and warn where it hides all digits.

        `has_small` tells whether some element is small: longer steps may be better there.
        """
        x, first, inside = self.x.reshape(-1), terms.found, None
        if has_small and (self.order > 1 or smallest(terms.lengths) < LONG * self.eps):
            base = self.values_at(np.zeros((1, x.size)))
            ends = None if self.bounds is None else limits(self.x, self.bounds)
            inside = rounding_near(self.x, base, self.eps, self.values_at, ends)
        terms, rounding = self._extrapolated(terms, inside)
        found, asked = terms.found, [(terms, rounding)]

        def again(longer: Floats, missing: NDArray[np.bool_]) -> tuple[Any, Any, Any]:  # noqa: ARG001
            terms, rounding = self._extrapolated(self._by(self._plan(longer.reshape(self.x.shape))), inside)
            asked.append((terms, rounding))
            return terms.found, rounding, terms.lengths

        if has_small and (lost := of_few_digits(found, x, rounding)).any():
            found = found.copy()
            lengthen(found, x, terms.lengths, rounding, again, lost)
        if self.order > 1 or found is not first:
            self._warn_of_hidden(found, asked)
        return found

    def _extrapolated(self, terms: _Differences, inside: Floats | None) -> tuple[_Differences, Floats]:
        """Return derivatives and how far they may be off: by rounding, or of a high order by truncation too.

        These are extrapolated from several steps about those of `terms`.
        """
        own = self._rounding(terms, inside)
        if self.order < _HIGH:
            return terms, own
        scheme, steps = as_scheme(self.scheme, self.order), terms.lengths.reshape(self.x.shape)  # type: Any, Floats

        def by_steps(times: float) -> _Differences | None:  # f need not be defined where nobody asked for it
            return terms if times == 1.0 else where_defined(lambda: self._by(self._plan(times * steps)))

        with np.errstate(all="ignore"):
            asked = filter(None, map(by_steps, _RUNGS))
            rows = [(by.found, 0.5 * self._rounding(by, inside), by.lengths) for by in asked]
        # The powers of truncation differ by two if the scheme is symmetric.
        found, off = extrapolated(np.array(rows), scheme.order, 1 if sum(scheme.offsets) else 2)
        is_known = np.isfinite(off)
        return terms._replace(found=np.where(is_known, found, terms.found)), np.where(is_known, off, own)

    def _rounding(self, terms: _Differences, inside: Floats | None) -> Floats:
        """Return by how much the rounding of f may put derivatives off, that `inside` f included."""
        with np.errstate(all="ignore"):
            found: Floats = self.eps * np.abs(terms.terms).sum(axis=0)
            if inside is not None:
                found = np.fmax(found, inside * np.abs(terms.weights).sum(axis=0))
            found /= terms.divisors
            for _ in range(self.order - 1):
                found /= terms.lengths
        return found

    def _warn_of_hidden(self, found: Floats, asked: list[tuple[_Differences, Floats]]) -> None:
        """Warn of derivatives that are no more than their rounding, as those that were `asked` for tell.

        Of steps that give the same, the longest ones count.
        """
        hidden, length = np.zeros(found.shape), np.fmax(np.abs(self.x.reshape(-1)), 1.0)

        @cache
        def far() -> tuple[Floats, Floats | None]:
            move = moved_within(self.x, FAR * length, self.bounds)
            return move, where_defined(lambda: self.values_at(move[np.newaxis]))

        for terms, rounding in [asked[0], *reversed(asked[1:])]:
            own = hidden_by_rounding(length, terms, rounding, (self.order, self.eps, self.few), far)
            hidden = np.where(terms.found == found, own, hidden)
        for i in np.flatnonzero((hidden > 0.0) & (hidden < math.inf))[:1]:
            digits = round(-math.log10(hidden[i] / max(abs(found[i]), hidden[i])))
            many, are = (f"about {digits} digits", "are") if digits else ("no digit", "is")
            driver.warn(
                f"{many} of the derivative of order {self.order} {are} right near {self.x.item(i):.2g}: it is "
                f"{found[i]:.1g}, and the rounding of f may put it off by {hidden[i]:.1g}; pass longer steps h"
            )


def _check_complex(f: Any, x: Any, point: Floats, args: tuple[Any, ...], bounds: Any) -> None:
    """Raise a ValueError if f reads the array `x` by another way, and warn if f is not analytic."""
    check_argument_is_all(f, x, lambda: f(point.astype(np.complex128), *args))
    is_scalar = not isinstance(x, np.ndarray) and not point.ndim
    check_analytic(f, point, args, None, bounds, (lambda z, *args: f(z.item(), *args)) if is_scalar else None)


def _real_values(returned: Any, x: Floats) -> NDArray[np.float64]:
    """Return a copy of what `f` returned, since it may return the same buffer again."""
    return _of_shape_of(x, private_copy(plain_numbers(returned, "what f returns")))


def _of_shape_of(x: Floats, values: NDArray[np.float64]) -> NDArray[np.float64]:
    if values.shape != x.shape:
        raise ValueError(f"f must be elementwise: x has the shape {x.shape}, f(x) has {values.shape}")
    return values
