"""Estimate: numbers with an error, and how they are written."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from .containers import flat_of, is_container, labels, plain_of
from .tables import MOST_ROWS, table

__all__ = ["Estimate"]

# Rows of a printed table: it fits on a screen. Fixed by test_arrays_are_written_as_a_table.
_ROWS = 10

Number = TypeVar("Number", float, NDArray[np.float64])


@dataclass(frozen=True, eq=False, repr=False)
class Estimate(Generic[Number]):
    """A derivative or a gradient with its error: ``value, error = estimate`` unpacks it.

    Attributes
    ----------
    value : float or ndarray of float64
        The derivative, in the unit of f per unit of x; NaN where none was found.
    error : float or ndarray of float64
        An estimate of its absolute error, of the same shape; infinite where no derivative was found.
    step : float or ndarray of float64
        The smallest step that counts in the value.
    evaluations : int
        How often f was evaluated in all.
    converged : bool or ndarray of bool
        Whether the error is at most `rtol`, by default 1e-6, of the value, or at most `atol`.

    Examples
    --------
    >>> from numgrad import estimate_derivative
    >>> line = estimate_derivative(lambda x: 3.0 * x, 2.0)
    >>> line
    Estimate(3.00000000000000(2))
    >>> line.value, line.evaluations, line.converged
    (3.0, 6, True)
    """

    value: Number
    error: Number
    step: Number
    evaluations: int
    converged: Any

    def __iter__(self) -> Iterator[Number]:
        return iter((self.value, self.error))

    def __float__(self) -> float:
        return float(self.value)

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as a dict of numbers and lists, as JSON takes them."""
        return {name: plain_of(value) for name, value in vars(self).items()}

    def _repr_html_(self) -> str:
        value, error, converged = map(flat_of, (self.value, self.error, self.converged))
        size = np.abs(value)
        relative = np.divide(error, size, out=np.where(error > 0.0, np.inf, 0.0), where=(size > 0.0) & (error < np.inf))
        places = np.lexsort((-error, -relative, converged))[:MOST_ROWS]
        rows = [
            (name, concise(value[k], error[k]), f"{error[k]:.1e}", "yes" if converged[k] else "no")
            for k, name in zip(places, self._names(places), strict=True)
        ]
        caption = f"{int(np.sum(converged)):,} of {value.size:,} converged, {self.evaluations:,} evaluations"
        return table(("index", "value", "error", "converged"), rows, value.size, caption=caption)

    def __repr__(self) -> str:
        if self._is_number():
            return f"Estimate({self})"
        error, converged = map(flat_of, (self.error, self.converged))
        worst = f"largest error {np.max(error):.1e}" if error.size else "empty"
        shape = f"of a {type(self.value).__name__}" if is_container(self.value) else f"shape {np.shape(self.value)}"
        return f"Estimate({shape}, {worst}, {int(np.sum(converged))} converged)"

    def __str__(self) -> str:
        if self._is_number():
            return concise(float(self.value), float(self.error))
        names = self._names(range(min(_ROWS, flat_of(self.value).size)))
        width = max(map(len, names), default=0)
        columns = values, errors, converged = tuple(map(flat_of, (self.value, self.error, self.converged)))
        lines = [
            f"{name:{width}}  {concise(value, error)}{'' if is_good else '  ?'}"
            for name, value, error, is_good in zip(names, *columns, strict=False)
        ]
        if values.size > len(lines):
            lines.append(f"... and {values.size - len(lines)} more; largest error {np.max(errors):.1e}")
        if not converged.all():
            lines.append(f"{values.size - int(converged.sum())} did not converge (?)")
        return "\n".join(lines)

    def _names(self, places: Iterable[int]) -> list[str]:
        """Return the names of some elements, of all in C order."""
        if is_container(self.value):
            known = labels(self.value)
            return [known[k] for k in places]
        shape = np.shape(self.value)
        return [_named(np.unravel_index(k, shape) if shape else ()) for k in places]

    def _is_number(self) -> bool:
        return not is_container(self.value) and np.ndim(self.value) == 0


def _named(index: tuple[Any, ...]) -> str:
    return f"({', '.join(map(str, index))})"


def concise(value: float, error: float) -> str:
    """Return the value up to the digit that is uncertain, and its error in units of that digit: 1.9999999999(3)."""
    if not (math.isfinite(value) and math.isfinite(error)):
        return f"{value} +- {error}"
    if error <= 0.0:
        return repr(float(value))
    size = math.floor(math.log10(error))
    digit = math.ceil(float(_shifted(error, size)) - 1e-9)
    if digit == 10:
        digit, size = 1, size + 1
    power = size + len(f"{abs(_shifted(value, size)):.0f}") - 1
    if size > 0 or power < -4:
        return f"{_shifted(value, power):.{power - size}f}({digit})e{power:+03d}"
    return f"{value:.{-size}f}({digit})"


def _shifted(value: float, power: int) -> Decimal:
    """Return ``value / 10**power`` where that power is no float, too."""
    return Decimal(value).scaleb(-power)
