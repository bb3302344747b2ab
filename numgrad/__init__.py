"""numgrad: the numerical gradients of *Deep Learning from Scratch*, with compiled loops under the book's names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import reference
from .checking import GradientCheck, assert_gradient, check_gradient
from .descent import descent_path, gradient_ascent, gradient_descent
from .estimates import Estimate, estimate_derivative, estimate_gradient
from .gradient import numerical_diff, numerical_gradient
from .nets import SimpleNet, cross_entropy_error, function_1, function_2, simpleNet, softmax
from .schemes import Scheme

if TYPE_CHECKING:
    from .objectives.incremental import IncrementalObjective

__version__ = "0.1.0"

# In the order in which the chapter introduces them.
__all__ = [
    "function_1",
    "numerical_diff",
    "function_2",
    "numerical_gradient",
    "Scheme",
    "gradient_descent",
    "gradient_ascent",
    "descent_path",
    "softmax",
    "cross_entropy_error",
    "IncrementalObjective",
    "estimate_derivative",
    "estimate_gradient",
    "Estimate",
    "check_gradient",
    "assert_gradient",
    "GradientCheck",
    "simpleNet",
    "SimpleNet",
    "reference",
]


def __getattr__(name: str) -> Any:
    """Import what needs numba when it is asked for, so that importing numgrad does not wait for it."""
    if name == "IncrementalObjective":
        from .objectives.incremental import IncrementalObjective

        return IncrementalObjective
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
