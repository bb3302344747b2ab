"""numgrad: the numerical gradients of *Deep Learning from Scratch*, with compiled loops under the book's names."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import plotting, reference
    from .callables import Gradient, Hessian, Jacobian
    from .checking import GradientCheck, assert_gradient, check_gradient
    from .descent import descent_path, gradient_ascent, gradient_descent
    from .estimated_matrices import estimate_hessian, estimate_jacobian
    from .estimates import Estimate, estimate_derivative, estimate_gradient
    from .gradient import numerical_diff, numerical_gradient
    from .hessian import hessian_vector_product, numerical_hessian
    from .jacobian import directional_derivative, numerical_jacobian
    from .nets import SimpleNet, cross_entropy_error, function_1, function_2, simpleNet, softmax
    from .objectives.incremental import IncrementalObjective
    from .objectives.separable import SeparableObjective
    from .propagation import propagate
    from .schemes import Scheme
    from .sparsity import jacobian_sparsity

__version__ = "0.2.0"

# In the order in which the chapter introduces them.
__all__ = [
    "function_1",
    "numerical_diff",
    "function_2",
    "numerical_gradient",
    "numerical_jacobian",
    "jacobian_sparsity",
    "directional_derivative",
    "numerical_hessian",
    "hessian_vector_product",
    "Gradient",
    "Jacobian",
    "Hessian",
    "propagate",
    "Scheme",
    "gradient_descent",
    "gradient_ascent",
    "descent_path",
    "softmax",
    "cross_entropy_error",
    "simpleNet",
    "SimpleNet",
    "IncrementalObjective",
    "SeparableObjective",
    "estimate_derivative",
    "estimate_gradient",
    "estimate_jacobian",
    "estimate_hessian",
    "Estimate",
    "check_gradient",
    "assert_gradient",
    "GradientCheck",
    "plotting",
    "reference",
]

# The module of each of them, which is imported when the name is asked for, so that importing numgrad waits for none.
_MODULES = {
    "function_1": "nets",
    "numerical_diff": "gradient",
    "function_2": "nets",
    "numerical_gradient": "gradient",
    "numerical_jacobian": "jacobian",
    "jacobian_sparsity": "sparsity",
    "directional_derivative": "jacobian",
    "numerical_hessian": "hessian",
    "hessian_vector_product": "hessian",
    "Gradient": "callables",
    "Jacobian": "callables",
    "Hessian": "callables",
    "propagate": "propagation",
    "Scheme": "schemes",
    "gradient_descent": "descent",
    "gradient_ascent": "descent",
    "descent_path": "descent",
    "softmax": "nets",
    "cross_entropy_error": "nets",
    "simpleNet": "nets",
    "SimpleNet": "nets",
    "IncrementalObjective": "objectives.incremental",
    "SeparableObjective": "objectives.separable",
    "estimate_derivative": "estimates",
    "estimate_gradient": "estimates",
    "estimate_jacobian": "estimated_matrices",
    "estimate_hessian": "estimated_matrices",
    "Estimate": "estimates",
    "check_gradient": "checking",
    "assert_gradient": "checking",
    "GradientCheck": "checking",
    "plotting": "plotting",
    "reference": "reference",
}


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
