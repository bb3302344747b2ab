"""What numba did with a user's function. Dispatchers are built by hand, so that this runs without the compiler too."""

import types

import numpy as np
import pytest
from numba.core import errors
from numba.core.registry import CPUDispatcher

from numgrad import inspection

WEIGHTS = np.ones(3)
PAIR = (np.zeros(2), 5)
SETTINGS = types.ModuleType("settings")
SETTINGS.bias = np.ones(4)


def names(function):
    return sorted(name for name, _ in inspection.captured_arrays(CPUDispatcher(function)))


def test_only_compiled_functions_are_compiled():
    assert inspection.is_compiled(CPUDispatcher(names))
    for other in (len, names, np.sin, 3, None):
        assert not inspection.is_compiled(other)


def test_arrays_are_found_in_modules_of_modules_defaults_and_functions_that_numba_compiles_with_them():
    from numba import vectorize
    from numba.extending import register_jitable

    package = types.ModuleType("package")
    package.settings = SETTINGS
    data = np.ones(2)

    @register_jitable
    def helper():
        return WEIGHTS[0]

    @vectorize
    def elementwise(x):
        return x + PAIR[0][0]

    def f(x, default=data):
        return package.settings.bias[0] + helper() + elementwise(x)

    def reads_the_package(x):
        return PACKAGE.settings.bias[0]  # noqa: F821

    assert names(f) == ["PAIR", "WEIGHTS", "default"]
    globals()["PACKAGE"] = package
    assert names(reads_the_package) == ["PACKAGE.settings.bias"]


def test_arrays_are_found_as_globals_attributes_tuples_closures_and_in_inner_functions():
    local, unset = np.ones(5), None
    del unset  # an empty cell: numba would say that it cannot type it

    @CPUDispatcher
    def inner():
        return local[0]

    def f(x):
        return WEIGHTS[0] + PAIR[0][0] + SETTINGS.bias[0] + inner() + unset  # noqa: F821

    assert names(f) == ["PAIR", "SETTINGS.bias", "WEIGHTS", "local"]
    assert names(lambda x: [WEIGHTS[i] for i in range(3)]) == ["WEIGHTS"]
    assert names(lambda x: np.sum(x)) == []


def test_functions_that_call_each_other_are_looked_at_once():
    @CPUDispatcher
    def even(n):
        return odd(n - 1) + WEIGHTS[0]

    @CPUDispatcher
    def odd(n):
        return even(n - 1)

    assert [name for name, _ in inspection.captured_arrays(even)] == ["WEIGHTS"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            errors.TypingError("Failed in nopython mode\nUnknown attribute 'a'\n\nDuring: typing"),
            "Unknown attribute 'a'",
        ),
        (
            errors.TypingError("Failed in x\nNo implementation of f\n >>> f(a)\nNumbaTypeError: cannot index\nmore"),
            "NumbaTypeError: cannot index",
        ),
        (errors.UnsupportedBytecodeError("no with"), "no with. Raised from None"),
        (errors.TypingError("Failed in nopython mode"), "Failed in nopython mode"),
    ],
)
def test_numbas_errors_become_type_errors_with_their_useful_line(error, said):
    with pytest.raises(TypeError, match=r"^numba cannot compile f for this x and args: ") as caught:
        inspection.explain(error)
    assert str(caught.value).endswith(said)
    assert caught.value.__cause__ is error


def test_what_f_returned_is_said_without_numba():
    error = errors.TypingError("Failed\n  NumbaTypeError: f must return one real number, it returned complex128\nmore")
    with pytest.raises(TypeError, match=r"^f must return one real number, it returned complex128$"):
        inspection.explain(error)


def test_other_errors_are_left_alone():
    assert inspection.explain(ValueError("mine")) is None  # it raises where it has something to explain
