"""numerical_diff: the derivative of a function of one variable, element by element."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any, NamedTuple, TypedDict, Unpack, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import arguments, driver
from .arguments import is_compiled, plain_numbers, raise_compile_error, real_array, real_number
from .containers import in_order
from .loops import STEP_LOST, Directions, Floats, Rule, make_central, make_complex_step
from .magnitudes import LONG, SMALL, least_magnitude, lengthen, of_few_digits, rounding_near
from .objectives.vectors import imaginary_parts
from .points import EPS, LOSS_EPS, check_argument_is_all, depends_on, is_narrow, private_copy, resolution, smallest
from .schemes import AnyScheme, Bounds, StepSize, limits, rule_at

__all__ = ["numerical_diff"]


# Unit of x: the default step, the book's. An object of its own, so that the default can stand for 'auto' where the
# order is higher, and a 1e-4 that is passed for itself. Fixed by
# test_the_default_step_of_higher_orders_is_automatic in tests/test_schemes.py.
BOOK_STEP = float("1e-4")
# Part of the slope of f, over the length x or 1, from which on a higher derivative that is no more than its rounding is
# worth a warning, and roundings of f that its change is to be: no constant has one.
# Fixed by test_of_an_order_without_a_digit_is_warned in tests/test_magnitudes.py.
_HIDDEN, _SEEN = 1 / 32, 8.0


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
        if that is found to have fewer digits than float64. Automatic steps of elements below 0.1 grow, as for
        `numerical_gradient`; seven evaluations more show the rounding of f there. A step that is passed is taken.
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
        the rounding of f leaves no digit; if all results are zero for an `x` of integers, or one that is read-only,
        which `f` may read in place of its argument.

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
    formulas on arbitrarily spaced grids*, Mathematics of Computation 51, 1988.

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
            quotient, lost, is_same = _by_scheme(call, point, (*plan, order), (h, scheme, bounds, is_scalar))
    except Exception as error:
        if is_compiled(f):
            raise_compile_error(error)
        raise
    if isinstance(x, np.ndarray) and x.size:
        _check_ways(f, x, point, args, is_same and not (quotient.item(0) or quotient.any()))
    if lost:
        driver.warn_of(STEP_LOST, h, False, point)
    return float(quotient) if is_scalar else quotient


def _check_ways(f: Any, x: NDArray[Any], point: Floats, args: tuple[Any, ...], is_constant: bool) -> None:
    """Raise a ValueError if f reads the array `x` by another way than its argument, as far as that can be seen."""
    if f.__class__ is not FunctionType and is_compiled(f):
        driver.as_objective(f, args).place(x, args)  # refuses what f would not see change
    if is_constant:
        check_reads_argument(x, lambda: f(point.copy(), *args))


def check_reads_argument(x: Any, evaluate: Callable[[], Any]) -> None:
    """Refuse an f that gives zeros since it reads `x` itself, not the copy that `evaluate` hands to it.

    Where x is such that this does not show, warn.
    """
    if not isinstance(x, np.ndarray) or not x.size:
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


class _Terms(NamedTuple):
    """What a derivative of each element is made of: a row for each point.

    Attributes
    ----------
    moves, values, weighted : ndarray of float64
        How far the elements have moved, f there, and that times its weight.
    weights, divisors, lengths : ndarray of float64
        The weights, what the sum of terms is divided by, once, and the steps, by which it is for each further order.
    eps : float
        The relative spacing of what f returned, of float64 at least.
    """

    moves: Floats
    values: Floats
    weighted: Floats
    weights: Floats
    divisors: Floats
    lengths: Floats
    eps: float

    def rounding(self, order: int, inside: Floats | None = None) -> Floats:
        """Return by how much the rounding of f may put derivatives off, that `inside` f included."""
        with np.errstate(all="ignore"):
            least: Any = 0.0 if inside is None else inside * np.abs(self.weights).sum(axis=0)
            size = np.fmax(self.eps * np.abs(self.weighted).sum(axis=0), least)
            found: Floats = size / np.abs(self.divisors)
            for _ in range(order - 1):
                found = found / self.lengths
        return found


def _values_at(f: Callable[[Any], Any], x: Floats, moved: Floats, is_scalar: bool) -> tuple[Floats, float]:
    """Return f where the elements of x have moved by each row, and the spacing of what it returned."""
    values, eps, flat = np.empty(moved.shape), EPS, x.ravel()
    for row, move in zip(values, moved, strict=True):
        point = flat + move
        returned = f(point.item() if is_scalar else point.reshape(x.shape))
        row[...] = real_number(returned) if is_scalar else _real_values(returned, x).ravel()
        eps = max(eps, resolution(np.asarray(returned)))
    return values, eps


def _linear(
    f: Callable[[Any], Any], x: Floats, plan: tuple[Rule, Directions, int], is_scalar: bool
) -> tuple[Floats, _Terms]:
    """Return the quotients of another scheme, along a direction for each offset, and their terms."""
    rule, where, order = plan
    _, _, offsets, weights, index, denominators, use_stored_distance = rule.data
    n, flat, offsets, weights = x.size, x.ravel(), offsets.T[:, index], weights.T[:, index]  # a column an element
    if len(index) > 1:  # next to a bound a scheme has stand-ins, of which elements of their own may take none
        counts = weights.any(axis=1) | (n == 0)
        offsets, weights = offsets[counts], weights[counts]
    moved = np.empty((len(offsets), n))
    moved[...] = offsets * where.lengths
    values, eps = _values_at(f, x, moved, is_scalar)  # an element has a step and a weight of its own
    with np.errstate(all="ignore"):
        terms = weights * values if len(index) == 1 else np.where(weights == 0.0, 0.0, weights * values)
        if use_stored_distance:
            divisors = (weights * ((flat + moved) - flat)).sum(axis=0)
        else:
            divisors = denominators[index] * where.lengths
        quotients = terms.sum(axis=0) / divisors
        for _ in range(order - 1):  # one at a time: a power of a small step would be 0
            quotients = quotients / where.lengths
        return quotients, _Terms(moved, values, terms, weights, divisors, np.abs(where.lengths), eps)


def _by_scheme(f: Any, x: Floats, plan: tuple[Rule, Directions, int], how: Any) -> tuple[Any, bool, bool]:
    """Return the derivatives of another scheme, whether a step was lost, and whether all values of f are the same.

    See `_look_again` for automatic steps.
    """
    order, (h, scheme, bounds, is_scalar) = plan[2], how
    found, terms = _linear(f, x, plan, is_scalar)
    if isinstance(h, str) and terms.eps > EPS:  # once more, since what is returned has fewer digits
        plan = *rule_at(x, h, scheme, bounds, eps=terms.eps, derivative=order), order
        found, terms = _linear(f, x, plan, is_scalar)
    rule, where, _ = plan
    if isinstance(h, str) and (order > 1 or least_magnitude(x) < SMALL):
        _look_again(f, x, plan, how, (found, terms))
    if terms.eps > EPS and order == 1:
        driver.warn_of_digits(float(np.abs(terms.values).max(initial=0.0)), terms.eps, h, found)
    lost = (np.abs(x).ravel() * rule.data[1] > np.abs(where.lengths)).any()
    return found.reshape(x.shape)[()], bool(lost), bool((terms.values == terms.values[:1]).all())


def _look_again(f: Any, x: Floats, plan: Any, how: Any, known: tuple[Floats, _Terms]) -> None:
    """Write better derivatives where rounding hides what is known, and warn where it hides all digits."""
    (rule, _, order), (_, scheme, bounds, is_scalar), (found, terms) = plan, how, known
    first, lost, inside, is_any = found.copy(), np.zeros(x.size, np.bool_), None, least_magnitude(x) < SMALL
    asked = list[tuple[Floats, Floats]]()  # derivatives by longer steps, and what hides them
    if is_any and (order > 1 or smallest(terms.lengths) < LONG * terms.eps):
        base, _ = _values_at(f, x, np.zeros((1, x.size)), is_scalar)
        ends = None if bounds is None else limits(x, bounds)
        inside = rounding_near(x, base, terms.eps, lambda moves: _values_at(f, x, moves, is_scalar)[0], ends)
    rounding = terms.rounding(order, inside)
    if is_any:

        def again(longer: Floats, missing: NDArray[np.bool_]) -> tuple[Any, Any, Any]:  # noqa: ARG001
            rule, where = rule_at(x, longer.reshape(x.shape), scheme, bounds, derivative=order)
            quotients, terms = _linear(f, x, (rule, where, order), is_scalar)
            rounding = terms.rounding(order, inside)
            asked.append((quotients, _hides(x.ravel(), rule, terms, (quotients, rounding), order)))
            return quotients, rounding, terms.lengths

        lost = of_few_digits(found, x.ravel(), rounding)
        lengthen(found, x.ravel(), terms.lengths, rounding, again, lost)
    if order > 1 or lost.any():
        asked.append((first, _hides(x.ravel(), rule, terms, (first, rounding), order)))
        _warn_of_hidden(x.ravel(), found, asked, order)


def _hides(x: Floats, rule: Rule, terms: _Terms, known: tuple[Floats, Floats], order: int) -> Floats:
    """Return the rounding of derivatives that are no more than it, and 0 for the others."""
    found, rounding = known
    with np.errstate(all="ignore"):
        if not (is_small := rounding > np.abs(found)).any():  # as a rule
            return np.zeros(found.shape)
        # Of an f that varies over the length x, or 1, the derivative is then no more than its rounding.
        length, heaviest = np.fmax(np.abs(x), 1.0), np.abs(terms.weights).sum(axis=0).max(initial=0.0)
        is_faint = (terms.lengths / length) ** order * np.abs(rule.data[5]).max() < terms.eps * heaviest
        # How steep f is between the outermost of the points.
        slopes = np.ptp(terms.values, axis=0) / np.ptp(terms.moves, axis=0)
        is_seen = slopes * terms.lengths > _SEEN * terms.eps * np.abs(terms.values).max(axis=0)
        is_curved = is_seen & (rounding > _HIDDEN * slopes / length ** (order - 1))
        return np.where((is_faint | is_curved) & is_small, rounding, 0.0)


def _warn_of_hidden(x: Floats, found: Floats, known: list[tuple[Floats, Floats]], order: int) -> None:
    """Warn of derivatives that rounding hides, from all that were known: of the same ones those before count."""
    rounding = np.zeros(found.shape)
    for quotients, hides in reversed(known):
        rounding = np.where(quotients == found, hides, rounding)
    if (hidden := rounding > 0.0).any():
        driver.warn(
            f"no digit of the derivative of order {order} is right near {x[hidden][0]:.2g}: the rounding of f makes "
            f"{rounding[hidden][0]:.1g} of it, and it is {found[hidden][0]:.1g}; pass longer steps h"
        )


def _check_complex(f: Any, x: Any, point: Floats, args: tuple[Any, ...], bounds: Any) -> None:
    """Raise a ValueError if f reads the array `x` by another way, and warn if f is not analytic."""
    check_argument_is_all(f, x, lambda: f(point.astype(np.complex128), *args))
    is_scalar = not isinstance(x, np.ndarray) and not point.ndim
    driver.check_analytic(f, point, args, None, bounds, (lambda z, *args: f(z.item(), *args)) if is_scalar else None)


def _real_values(returned: Any, x: Floats) -> NDArray[np.float64]:
    """Return a copy of what `f` returned, since it may return the same buffer again."""
    return _of_shape_of(x, private_copy(plain_numbers(returned, "what f returns")))


def _of_shape_of(x: Floats, values: NDArray[np.float64]) -> NDArray[np.float64]:
    if values.shape != x.shape:
        raise ValueError(f"f must be elementwise: x has the shape {x.shape}, f(x) has {values.shape}")
    return values
