"""Gradients of f by its own steps, whose differences are second derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import driver
from .arguments import describe
from .driver import Workers
from .gradient import numerical_gradient
from .loops import Floats
from .magnitudes import SMALL, least_magnitude
from .points import EPS

__all__: list[str] = []  # nothing here is public

# Unit of x: the step of gradients that an objective gives by its own way.
STEP = 1e-4


def is_cheap(f: Any) -> bool:
    """Tell whether the gradient of f takes far less than 2n evaluations: an objective that the package has made."""
    return hasattr(f.__class__, "_as_objective")


def noise_of_slopes(f: Any, x: Any, args: tuple[Any, ...]) -> float:
    """Return by how much the rounding of f puts off its gradient by its step; 0 where no coordinate is small."""
    objective = driver.as_objective(f, args)
    point, _ = objective.place(x, args)
    return EPS * abs(objective.value(point, args)) / STEP if least_magnitude(point.view(np.ndarray)) < SMALL else 0.0


def check_callable(gradient: Any) -> None:
    """Raise a TypeError if a gradient is given that cannot be called."""
    if gradient is not None and not callable(gradient):
        raise TypeError(f"gradient must be a callable, gradient(x, *args), got {describe(gradient)}")


def slopes(
    f: Any, steps: Floats | None, workers: Workers, chosen: NDArray[np.intp] | None, x: NDArray[Any], *args: Any
) -> Floats:
    """Return the gradient of f by these steps, or by the default; that of `chosen` coordinates, and 0 for others."""
    h: Any = STEP if steps is None else steps.reshape(x.shape)
    found: Floats = numerical_gradient(f, x, h, args=args, workers=workers, coordinates=chosen)
    if chosen is None:
        return found
    whole = np.zeros(x.shape)
    whole.reshape(-1)[chosen] = found
    return whole
