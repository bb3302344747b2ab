"""Functions with exact derivatives: each in floats, the same for mpmath, and the points where to take them."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import mpmath


def nan_outside(f: Callable[[float], float]) -> Callable[[float], float]:
    """Return `f` with NaN in place of the errors that `math` raises outside a domain."""

    def g(x: float) -> float:
        try:
            return f(x)
        except (ValueError, ZeroDivisionError, OverflowError):
            return math.nan

    return g


@dataclass(frozen=True)
class Entry:
    """A pair of function and point."""

    name: str
    f: Callable[[float], float]
    exact: Callable[[Any], Any]
    x: float
    known: float | None = None  # the derivative, where mpmath has no model of f

    def derivative(self) -> float:
        """Return the exact derivative, from 100 digits."""
        if self.known is not None:
            return self.known
        with mpmath.workdps(100):
            step = mpmath.mpf(2) ** -60 * (abs(self.x) or mpmath.mpf("1e-9"))
            x = mpmath.mpf(self.x)
            return float((self.exact(x + step) - self.exact(x - step)) / (2 * step))

    def __str__(self) -> str:
        return f"{self.name} at {self.x:g}"


def entries_around(rng: random.Random, each: int) -> list[Entry]:
    """Return the functions of the catalogue at `each` random points within 20 % of those of the catalogue."""
    around = [replace(entry, x=entry.x * rng.uniform(0.8, 1.2)) for entry in entries() if entry.x for _ in range(each)]
    return [entry for entry in around if math.isfinite(entry.f(entry.x))]


def entries() -> list[Entry]:
    """Return the catalogue."""
    m = mpmath
    table = [
        ("exp", math.exp, m.exp, [1, 0, -3, 10, 1e-9, 0.3]),
        ("sin", math.sin, m.sin, [1, 0, 10, 100, 1e-9, 3]),
        ("cos", math.cos, m.cos, [1, 5]),
        ("log", math.log, m.log, [1, 1e-9, 1e9, 1e-3, 3]),
        ("sqrt", math.sqrt, m.sqrt, [1, 2, 1e-9, 1e9]),
        ("1/x", lambda x: 1 / x, lambda x: 1 / x, [1, 1e-9, 1e9, -2]),
        ("x**3", lambda x: x**3, lambda x: x**3, [1, 1e-9, 1e9, -5]),
        ("tanh", math.tanh, m.tanh, [0, 1, 5]),
        ("atan", math.atan, m.atan, [0, 1, 100]),
        ("gauss", lambda x: math.exp(-x * x), lambda x: m.exp(-x * x), [0.5, 3]),
        ("logistic", lambda x: 1 / (1 + math.exp(-x)), lambda x: 1 / (1 + m.exp(-x)), [0, 2, -10]),
        ("log(x - 1)", lambda x: math.log(x - 1), lambda x: m.log(x - 1), [1.0001, 1.5]),
        ("x**1.5", lambda x: x**1.5 if x >= 0 else math.nan, lambda x: x ** m.mpf(1.5), [2, 1e-6]),
        ("sin(x / 1e9)", lambda x: math.sin(x / 1e9), lambda x: m.sin(x / m.mpf(1e9)), [0, 1e9, 1]),
        ("sin(1e9 x)", lambda x: math.sin(1e9 * x), lambda x: m.sin(m.mpf(1e9) * x), [1e-9, 0, 2e-9]),
        ("runge", lambda x: 1 / (1 + 25 * x * x), lambda x: 1 / (1 + 25 * x * x), [0.2, 1]),
        ("erf", math.erf, m.erf, [0.5, 2]),
        ("gamma", math.gamma, m.gamma, [0.5, 3, 10]),
        ("tan", math.tan, m.tan, [1, 1.5]),
        ("asin", math.asin, m.asin, [0.5, 0.999]),
        ("x log x", lambda x: x * math.log(x), lambda x: x * m.log(x), [1, 1e-3]),
        ("cubic", lambda x: (x - 1) * (x - 2) * (x - 3), lambda x: (x - 1) * (x - 2) * (x - 3), [2.5, 1]),
        ("sin x / x", lambda x: math.sin(x) / x, lambda x: m.sin(x) / x, [1, 10]),
        ("softplus", lambda x: math.log1p(math.exp(x)), lambda x: m.log1p(m.exp(x)), [0, 3, -5]),
    ]
    return [Entry(name, nan_outside(f), exact, float(x)) for name, f, exact, points in table for x in points]
