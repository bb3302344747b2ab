"""numgrad: the numerical gradients of *Deep Learning from Scratch*, with compiled loops under the book's names."""

from . import reference
from .checking import GradientCheck, assert_gradient, check_gradient
from .descent import descent_path, gradient_ascent, gradient_descent
from .estimates import Estimate, estimate_derivative, estimate_gradient
from .functions import cross_entropy_error, function_1, function_2, softmax
from .gradient import numerical_diff, numerical_gradient
from .incremental import IncrementalObjective
from .schemes import Scheme
from .simple_net import SimpleNet, simpleNet

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
