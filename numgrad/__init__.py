"""numgrad: the numerical gradients of *Deep Learning from Scratch*, with compiled loops under the book's names."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # each name as itself, by which a type checker knows that it is public
    from . import plotting as plotting
    from . import reference as reference
    from .checking import GradientCheck as GradientCheck
    from .checking import assert_gradient as assert_gradient
    from .checking import check_gradient as check_gradient
    from .descent import descent_path as descent_path
    from .descent import gradient_ascent as gradient_ascent
    from .descent import gradient_descent as gradient_descent
    from .estimates import Estimate as Estimate
    from .estimates import estimate_derivative as estimate_derivative
    from .estimates import estimate_gradient as estimate_gradient
    from .gradient import numerical_diff as numerical_diff
    from .gradient import numerical_gradient as numerical_gradient
    from .nets import SimpleNet as SimpleNet
    from .nets import cross_entropy_error as cross_entropy_error
    from .nets import function_1 as function_1
    from .nets import function_2 as function_2
    from .nets import simpleNet as simpleNet
    from .nets import softmax as softmax
    from .objectives.incremental import IncrementalObjective as IncrementalObjective
    from .schemes import Scheme as Scheme

__version__ = "0.1.0"

# The module of each public name, in the order in which the chapter introduces them; a module stands for itself.
# Each is imported when it is asked for, so that importing numgrad waits for none, and for numba last.
_MODULES = {
    "function_1": "nets",
    "numerical_diff": "gradient",
    "function_2": "nets",
    "numerical_gradient": "gradient",
    "Scheme": "schemes",
    "gradient_descent": "descent",
    "gradient_ascent": "descent",
    "descent_path": "descent",
    "softmax": "nets",
    "cross_entropy_error": "nets",
    "IncrementalObjective": "objectives.incremental",
    "estimate_derivative": "estimates",
    "estimate_gradient": "estimates",
    "Estimate": "estimates",
    "check_gradient": "checking",
    "assert_gradient": "checking",
    "GradientCheck": "checking",
    "simpleNet": "nets",
    "SimpleNet": "nets",
    "plotting": "plotting",
    "reference": "reference",
}
__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    """Import the module of a public name when the name is asked for first."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_MODULES[name]}")
    globals()[name] = module if name == _MODULES[name] else getattr(module, name)
    return globals()[name]


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted([*__all__, "__version__"])
