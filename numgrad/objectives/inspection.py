"""What numba compiles into a function: what it captured, whether it starts threads, of what kind its arguments are."""

from __future__ import annotations

import dis
import inspect
from collections.abc import Hashable, Iterable, Iterator, Sequence, Sized
from numbers import Real
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np
from numba import typeof
from numba.core.errors import NumbaError

__all__: list[str] = []  # nothing here is public


def captured(f: Any) -> Iterator[tuple[str, Any]]:
    """Yield the name and value of each array and compiled function that numba compiles into `f`.

    These are globals, attributes of modules, closure variables and defaults, of `f` and of what it calls.
    """
    waiting, seen = [("", f)], set()
    while waiting:
        name, value = waiting.pop()
        # By id: an array has no hash, and functions that call each other must end.
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, np.ndarray) or is_dispatcher(value):
            yield name, value
        if isinstance(value, tuple):
            waiting += [(name, item) for item in value]
        function = getattr(
            getattr(value, "_dispatcher", value), "py_func", value
        )  # of njit, vectorize, register_jitable
        if isinstance(function, FunctionType):
            code, defaults = function.__code__, function.__defaults__ or ()
            waiting += zip(code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount], defaults, strict=True)
            waiting += _names(code, function.__globals__, _nonlocals(function))


def _nonlocals(function: FunctionType) -> dict[str, Any]:
    try:
        return dict(inspect.getclosurevars(function).nonlocals)
    except ValueError:  # a variable that was never assigned
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        return {name: cell.cell_contents for name, cell in cells if cell != type(cell)()}


def _names(code: CodeType, scope: dict[str, Any], nonlocals: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the name and value of each global and closure variable that `code` loads, through modules to attributes."""
    name, value = "", None
    for instruction in dis.get_instructions(code):
        operation, loaded = instruction.opname, instruction.argval
        # They may stand between the load of a module and that of its attribute.
        if operation in {"EXTENDED_ARG", "PUSH_NULL"}:
            continue
        if operation in {"LOAD_ATTR", "LOAD_METHOD"} and isinstance(value, ModuleType):
            name, value = f"{name}.{loaded}", getattr(value, loaded, None)
            yield name, value
            continue
        if isinstance(value, ModuleType):  # it goes on under another name: any attribute may be its own
            yield from _attributes(name, value, code.co_names)
        value = None
        if operation in {"LOAD_GLOBAL", "LOAD_DEREF", "LOAD_FROM_DICT_OR_DEREF"}:
            name, value = loaded, (nonlocals if operation != "LOAD_GLOBAL" else scope).get(loaded)
            yield name, value
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant, scope, nonlocals)


def _attributes(name: str, module: ModuleType, names: Sequence[str], depth: int = 4) -> Iterator[tuple[str, Any]]:
    """Yield those of `names` that a module has, and those of the modules among them."""
    for own in set(names) & vars(module).keys():
        value = getattr(module, own)
        if isinstance(value, ModuleType) and depth:
            yield from _attributes(f"{name}.{own}", value, names, depth - 1)
        yield f"{name}.{own}", value


def functions_in(args: tuple[Any, ...]) -> Iterator[Any]:
    """Yield each compiled function among the arguments, in tuples within them too."""
    for value in args:
        if isinstance(value, tuple):
            yield from functions_in(value)
        elif is_dispatcher(value):
            yield value


def starts_threads(functions: Iterable[tuple[str, Any]]) -> bool:
    """Tell whether one of the `captured` functions was compiled with ``parallel=True``."""
    return any(getattr(value, "targetoptions", {}).get("parallel", False) for _, value in functions)


def kind_of(value: Any) -> Hashable:
    """Return what numba's type of an argument may depend on."""
    if isinstance(value, tuple):
        return tuple(map(kind_of, value))
    return value if is_dispatcher(value) else (type(value), getattr(value, "ndim", None), getattr(value, "dtype", None))


def is_dispatcher(value: Any) -> bool:
    """Tell whether a value is a function that numba compiles."""
    return hasattr(value, "targetoptions") and hasattr(value, "py_func")


def check_types(args: tuple[Any, ...]) -> None:
    """Raise a TypeError that names the first argument for which numba has no type."""
    for i, value in enumerate(args):
        try:
            typeof(value)  # type: ignore[no-untyped-call]
        except (ValueError, NumbaError):
            raise TypeError(
                f"args[{i}] is {type(value).__name__}, which numba cannot pass to a compiled f; pass arrays, "
                f"numbers, tuples or compiled functions"
            ) from None


def cost_of(x: Any, args: tuple[Any, ...]) -> Hashable:
    """Return what the time of an evaluation may depend on: sizes, and the values of numbers."""
    return x.size, *map(_cost, args)


def _cost(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.shape
    if isinstance(value, tuple):
        return tuple(map(_cost, value))
    return value if isinstance(value, Real) else len(value) if isinstance(value, Sized) else None
