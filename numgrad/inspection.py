"""What numba did with a user's function: whether it compiled it, what it froze in it, why it could not type it."""

import contextlib
import sys
from collections.abc import Iterator
from types import CodeType, ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray


def is_compiled(f: Any) -> bool:
    """Tell whether `f` was decorated with `numba.njit`, without importing numba.

    `numba.extending.is_jitted` asks the same, but spends more than a microsecond on it.
    """
    dispatcher = getattr(sys.modules.get("numba.core.dispatcher"), "Dispatcher", None)
    return dispatcher is not None and isinstance(f, dispatcher)


def explain(error: Exception) -> None:
    """Raise a TypeError with the first useful line of numba's message if `error` is one of compiling `f`."""
    from numba.core.errors import NumbaError, UnsupportedBytecodeError

    if isinstance(error, NumbaError | UnsupportedBytecodeError):
        raise TypeError(_useful_line(str(error))) from error


def _useful_line(message: str) -> str:
    """Pick, from numba's report on `f`, the line that a user can act on."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    for line in lines:
        if "f must return one real number" in line:
            return line.partition(": ")[2]
    specific = [line for line in lines if line.startswith(("NumbaTypeError:", "TypingError:", "NumbaValueError:"))]
    general = [line for line in lines if not line.startswith(("Failed in", "During:", "No implementation of"))]
    line = (specific or general or lines)[0]
    return f"numba cannot compile f for this x and args: {line}"


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
        elif is_compiled(value):
            waiting += _captured_names(value.py_func)


def _captured_names(function: Any) -> Iterator[tuple[str, Any]]:
    """Yield the name and value of each global, module attribute and closure variable that `function` may read."""
    names = set(_names(function.__code__))
    scope = function.__globals__
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # an empty cell: the variable was never assigned
            yield name, cell.cell_contents
    for name in names & scope.keys():
        yield name, scope[name]
        if isinstance(scope[name], ModuleType):
            yield from ((f"{name}.{n}", getattr(scope[name], n)) for n in names if n in vars(scope[name]))


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
