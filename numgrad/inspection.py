"""What numba did with a user's function: whether it compiled it, what it froze in it, why it could not type it."""

import contextlib
import sys
from collections.abc import Hashable, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

_DEEPEST = 4  # modules within modules


def is_compiled(f: Any) -> bool:
    """Tell whether `f` was decorated with `numba.njit`, without importing numba.

    `numba.extending.is_jitted` asks the same, but spends more than a microsecond on it.
    """
    dispatcher = getattr(sys.modules.get("numba.core.dispatcher"), "Dispatcher", None)
    return dispatcher is not None and isinstance(f, dispatcher)


def jit_is_disabled() -> bool:
    """Tell whether NUMBA_DISABLE_JIT=1 makes `numba.njit` return the function that it was given."""
    return bool(getattr(sys.modules.get("numba.core.config"), "DISABLE_JIT", False))


def explain(error: Exception, what: str = "f for this x and args") -> None:
    """Raise a TypeError with the first useful line of numba's message if `error` is one of compiling `what`."""
    errors = sys.modules.get("numba.core.errors")
    if errors is not None and isinstance(error, errors.NumbaError | errors.UnsupportedBytecodeError):
        raise TypeError(_useful_line(str(error), what)) from error


def _useful_line(message: str, what: str) -> str:
    """Pick, from numba's report, the line that a user can act on."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    for line in lines:
        if "f must return one real number" in line or "scheme='complex'" in line:
            return line.partition(": ")[2]
    telling = [line for line in lines if "Failed in " not in line]
    specific = [line for line in telling if line.startswith(("NumbaTypeError:", "TypingError:", "NumbaValueError:"))]
    general = [line for line in telling if not line.startswith(("During:", "No implementation of"))]
    line = (specific or general or lines)[0]
    return f"numba cannot compile {what}: {line}"


def numba_kind(value: Any) -> Hashable:
    """Return what numba's type of an argument may depend on."""
    return type(value), getattr(value, "ndim", None), getattr(value, "dtype", None)


def captured_arrays(f: Any) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the name and value of each array that the compiled `f` or a compiled function it calls captured."""
    waiting, seen = [("", f)], set()
    while waiting:
        name, value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, np.ndarray):
            yield name, value
        elif isinstance(value, tuple):
            waiting += [(name, item) for item in value]
        else:
            function = _function_of(value)
            if function is not None:
                waiting += _captured_names(function)


def _function_of(value: Any) -> FunctionType | None:
    """Return the Python function that numba compiles where `value` is called: of njit, vectorize, register_jitable."""
    function = getattr(getattr(value, "_dispatcher", value), "py_func", value)
    return function if isinstance(function, FunctionType) else None


def _captured_names(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield the name and value of each global, module attribute, closure variable and default that `function` has."""
    names, attributes = _names(function.__code__)
    scope = function.__globals__
    code, defaults = function.__code__, function.__defaults__ or ()
    yield from zip(code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount], defaults, strict=True)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # an empty cell: the variable was never assigned
            yield name, cell.cell_contents
    waiting = [(name, scope[name], 0) for name in names & scope.keys()]
    while waiting:
        name, value, depth = waiting.pop()
        yield name, value
        if isinstance(value, ModuleType) and depth < _DEEPEST:
            waiting += [(f"{name}.{n}", getattr(value, n), depth + 1) for n in attributes & vars(value).keys()]


def _names(code: CodeType) -> tuple[set[str], set[str]]:
    """Return the names of the globals and of the attributes that `code`, or code within it, loads."""
    import dis  # not needed but for compiled functions

    globals_, attributes = set(), set()
    for instruction in dis.get_instructions(code):
        if instruction.opname == "LOAD_GLOBAL":
            globals_.add(instruction.argval)
        elif instruction.opname in {"LOAD_ATTR", "LOAD_METHOD"}:
            attributes.add(instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            inner = _names(constant)
            globals_ |= inner[0]
            attributes |= inner[1]
    return globals_, attributes
