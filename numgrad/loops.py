"""The loops that serve both kinds of function: compiled around a compiled one, plain Python around a Python one.

Each factory takes ``evaluate(x, args) -> float`` and returns a loop of the units start <= k < stop, where unit k is the
coordinate ``coordinates[k]``, or k if `coordinates` is empty. `point` is the flat view of `x`: it is perturbed, and
restored unless `evaluate` raises. What a loop is given may be arrays or, in Python, whatever has a length and is
indexed likewise; it allocates nothing.
"""

import math
from collections.abc import Callable
from typing import Any

Loop = Callable[..., int]


def make_stencil(evaluate: Any) -> Loop:
    """Return the loop over the coordinates for a scheme that is data."""

    def stencil(
        x: Any,
        point: Any,
        base: float,
        steps: Any,
        rows: Any,
        offsets: Any,
        weights: Any,
        denominators: Any,
        stored: bool,
        eps: float,
        args: Any,
        coordinates: Any,
        start: int,
        stop: int,
        quotients: Any,
    ) -> int:
        """Write ``sum_m w_m f(x + o_m h e_i) / (d h)`` to ``quotients[k]``.

        The step h is ``steps[i]``, and o, w and d are row ``rows[i]`` of the tables; one step or row stands for all.
        `base` is f(x), for o_m = 0. If `stored`, the divisor is instead ``sum_m w_m (x_m - x_i)`` with the numbers x_m
        that could be stored. Returns 1 if a step was below the spacing `eps` |x_i|, plus 2 if some sum was not zero.
        """
        lost = moved = 0
        for k in range(start, stop):
            i = coordinates[k] if len(coordinates) else k
            value, h, row = float(point[i]), steps[i if len(steps) > 1 else 0], rows[i if len(rows) > 1 else 0]
            if abs(value) > h / eps:
                lost = 1
            total = width = 0.0
            for m in range(len(offsets[row])):
                offset, weight = offsets[row][m], weights[row][m]
                if weight == 0.0:
                    continue
                if offset == 0.0:
                    total += weight * base
                else:
                    point[i] = value + offset * h
                    width += weight * (float(point[i]) - value)
                    total += weight * evaluate(x, args)
            point[i] = value
            if total != 0.0:
                moved = 2
            divisor = width if stored else denominators[row] * h
            quotients[k] = total / divisor if divisor != 0.0 else math.nan
        return lost + moved

    return stencil


def make_complex_step(evaluate: Any) -> Loop:
    """Return the loop of the complex step, around an `evaluate` that gives the imaginary part of f."""

    def complex_step(
        x: Any, point: Any, steps: Any, args: Any, coordinates: Any, start: int, stop: int, quotients: Any
    ) -> int:
        """Write ``Im f(x + i h e_i) / h`` to ``quotients[k]``, for the complex `x` with the step ``steps[i]``.

        Returns 2 if some imaginary part was not zero, else 0.
        """
        moved = 0
        for k in range(start, stop):
            i = coordinates[k] if len(coordinates) else k
            value, h = point[i], steps[i if len(steps) > 1 else 0]
            point[i] = complex(value.real, h)
            change = evaluate(x, args)
            point[i] = value
            if change != 0.0:
                moved = 2
            quotients[k] = change / h
        return moved

    return complex_step
