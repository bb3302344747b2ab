"""numgrad: the numerical gradients of *Deep Learning from Scratch*, with compiled loops under the book's names."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import plotting, reference
    from .callables import Gradient, Hessian, Jacobian
    from .checking import GradientCheck, assert_gradient, check_gradient
    from .containers import labels
    from .descent import descent_path, gradient_ascent, gradient_descent
    from .elementwise import numerical_diff
    from .estimated_matrices import estimate_hessian, estimate_jacobian
    from .estimates import Estimate, estimate_derivative, estimate_gradient
    from .functions import cross_entropy_error, function_1, function_2, relu, sigmoid, softmax, sum_squared_error
    from .gradient import numerical_gradient
    from .hessian import hessian_vector_product, numerical_hessian
    from .jacobian import directional_derivative, jacobian_sparsity, numerical_jacobian, propagate
    from .nets import MultiLayerNet, SimpleNet, TwoLayerNet, simpleNet
    from .objectives.incremental import IncrementalObjective
    from .objectives.rows import LayerObjective
    from .objectives.separable import SeparableObjective
    from .plotting import tangent_line
    from .schemes import Scheme
    from .training import History, train

__version__ = "0.2.0"

# In the order in which the chapter introduces them.
__all__ = [
    "function_1",
    "numerical_diff",
    "tangent_line",
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
    "labels",
    "Scheme",
    "gradient_descent",
    "gradient_ascent",
    "descent_path",
    "sigmoid",
    "relu",
    "softmax",
    "cross_entropy_error",
    "sum_squared_error",
    "simpleNet",
    "SimpleNet",
    "TwoLayerNet",
    "MultiLayerNet",
    "train",
    "History",
    "IncrementalObjective",
    "LayerObjective",
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

# The names of each module, which is imported when the name is asked for, so that importing numgrad waits for none.
_MODULES = {
    "functions": "function_1 function_2 sigmoid relu softmax cross_entropy_error sum_squared_error",
    "elementwise": "numerical_diff",
    "plotting": "tangent_line plotting",
    "gradient": "numerical_gradient",
    "jacobian": "numerical_jacobian jacobian_sparsity directional_derivative propagate",
    "hessian": "numerical_hessian hessian_vector_product",
    "callables": "Gradient Jacobian Hessian",
    "containers": "labels",
    "schemes": "Scheme",
    "descent": "gradient_descent gradient_ascent descent_path",
    "nets": "simpleNet SimpleNet TwoLayerNet MultiLayerNet",
    "training": "train History",
    "objectives.incremental": "IncrementalObjective",
    "objectives.rows": "LayerObjective",
    "objectives.separable": "SeparableObjective",
    "estimates": "estimate_derivative estimate_gradient Estimate",
    "estimated_matrices": "estimate_jacobian estimate_hessian",
    "checking": "check_gradient assert_gradient GradientCheck",
    "reference": "reference",
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names.split()}


if not TYPE_CHECKING:  # to a type checker it would stand for any misspelt name

    def __getattr__(name: str) -> Any:
        """Import the module of a public name when the name is asked for first."""
        if name not in _MODULE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = import_module(f"{__name__}.{_MODULE_OF[name]}")
        globals()[name] = module if name == _MODULE_OF[name] else getattr(module, name)
        return globals()[name]


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
