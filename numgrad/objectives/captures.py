"""What numba compiles into a function: what that captured, of what kind its arguments are, and what it returns."""

from __future__ import annotations

import dis
from collections.abc import Hashable, Iterable, Iterator, Sequence
from numbers import Number
from types import CodeType, FunctionType, ModuleType, NoneType
from typing import Any

import numpy as np
from numba import typeof, types
from numba.core.compiler_lock import global_compiler_lock
from numba.core.errors import NumbaError
from numba.core.registry import cpu_target
from numba.stencils.stencil import StencilFunc

__all__: list[str] = []  # nothing here is public

# Arguments that hold no memory, or memory that `arguments.arrays_in` finds.
_TRANSPARENT = np.ndarray, np.generic, Number, str, bytes, bytearray, memoryview, NoneType, range


def captured(f: Any) -> Iterator[tuple[str, Any]]:
    """Yield the name and value of each array, record and compiled function that numba compiles into `f`.

    These are globals, attributes of modules, closure variables and defaults, of `f` and of what it calls.
    """
    with global_compiler_lock:  # another thread may compile
        cpu_target.typing_context.refresh()  # what `numba.extending.overload` was told since
    waiting, seen = [("", f)], set()
    while waiting:
        name, value = waiting.pop()
        # By id: an array has no hash, and functions that call each other must end.
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, np.ndarray | np.void) or is_dispatcher(value):
            yield name, value
        if isinstance(value, tuple):
            waiting += [(name, item) for item in value]
        for function in _sources(value):
            code, defaults = function.__code__, function.__defaults__ or ()
            waiting += zip(code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount], defaults, strict=True)
            waiting += _names(code, function.__globals__, _nonlocals(function))


def _sources(value: Any) -> Iterator[FunctionType]:
    """Yield the Python functions that numba compiles for a value that is called."""
    function = getattr(getattr(value, "_dispatcher", value), "py_func", value)  # of njit, vectorize, register_jitable
    if isinstance(value, StencilFunc):
        function = value.kernel_ir.func_id.func
    found = [function, getattr(value, "_pyfunc", None)]  # the latter of a cfunc
    if isinstance(value, FunctionType):
        known = cpu_target.typing_context._lookup_global(value)
        found += [getattr(template, "_overload_func", None) for template in getattr(known, "templates", ())]
    kind: Any = getattr(getattr(value, "_numba_type_", value), "class_type", None)
    if kind is not None:  # that of a jitclass, or of an object of one
        properties = [part for own in kind.jit_props.values() for part in own.values()]
        methods = [*kind.jit_methods.values(), *kind.jit_static_methods.values(), *properties]
        found += [method.py_func for method in methods]
    yield from (each for each in found if isinstance(each, FunctionType))


def _overloads(name: str) -> Iterator[tuple[str, Any]]:
    """Yield what was registered as a method or attribute of that name, of whatever type, but by numba itself."""
    with global_compiler_lock:  # another thread may register
        templates = [each for known in list(cpu_target.typing_context._attributes.values()) for each in known]
    functions = (getattr(each, "_overload_func", None) for each in templates if getattr(each, "_attr", None) == name)
    yield from ((name, each) for each in functions if each and not (each.__module__ or "").startswith("numba."))


def _nonlocals(function: FunctionType) -> dict[str, Any]:
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    return {name: cell.cell_contents for name, cell in cells if cell != type(cell)()}  # unless it was never assigned


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
        if operation in {"LOAD_ATTR", "LOAD_METHOD"}:
            yield from _overloads(loaded)
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
    """Yield each compiled function, and object of a jitclass, among the arguments, in tuples within them too."""
    for value in args:
        if isinstance(value, tuple):
            yield from functions_in(value)
        elif is_dispatcher(value) or hasattr(value, "_numba_type_"):
            yield value


def starts_threads(functions: Iterable[tuple[str, Any]]) -> bool:
    """Tell whether one of the `captured` functions was compiled with ``parallel=True``."""
    return any(getattr(value, "targetoptions", {}).get("parallel", False) for _, value in functions)


def calls_threads(function: Any) -> bool:
    """Tell whether a function, or a compiled one that it names itself, was compiled with ``parallel=True``."""
    named = [("", function)]
    for own in _sources(getattr(function, "__func__", function)):
        named += _names(own.__code__, own.__globals__, _nonlocals(own))
    return any(starts_threads(captured(value)) for _, value in named if is_dispatcher(value))


def is_opaque(value: Any) -> bool:
    """Tell whether an argument may lead to memory that nobody can find: a jitclass, a typed.Dict, a structref."""
    if isinstance(value, tuple | list):
        return any(map(is_opaque, value))
    return not (isinstance(value, _TRANSPARENT) or is_dispatcher(value))


def kind_of(value: Any) -> Hashable:
    """Return what numba's type of an argument may depend on."""
    if value.__class__ is np.ndarray:  # in half the time
        return np.ndarray, value.ndim, value.dtype
    if isinstance(value, tuple | list):  # all items of a list are of one type
        return type(value), *map(kind_of, value if isinstance(value, tuple) else value[:1])
    return value if is_dispatcher(value) else (type(value), getattr(value, "ndim", None), getattr(value, "dtype", None))


def kind_of_call(x: np.ndarray, args: tuple[Any, ...]) -> Hashable:
    """Return what numba's types of a point and further arguments depend on: of a point alone that is its `ndim`."""
    return (x.ndim, *map(kind_of, args)) if args else x.ndim


def eps_of(f: Any, x: np.ndarray, args: tuple[Any, ...]) -> float | None:
    """Return the relative spacing of what f returns for such arguments; None where numba has not compiled it for them.

    An f with signatures of its own has those alone. Of points it is called with each.
    """
    known, of_args = getattr(f, "overloads", {}), tuple(map(typeof, args))
    axes = [(types.Array(types.float64, n, "C"), *of_args) for n in (x.ndim, x.ndim - 1) if n >= 0]
    signatures = [known[kinds].signature for kinds in axes if kinds in known][:1]
    if not signatures and not getattr(f, "_can_compile", True):
        signatures = [
            each for each in f.nopython_signatures if getattr(each.args[0], "dtype", each.args[0]) == types.float64
        ]
    found = [getattr(each.return_type, "dtype", each.return_type) for each in signatures]
    single = all(kind == types.float32 for kind in found)
    return float(np.finfo(np.float32 if single else np.float64).eps) if found else None


def is_dispatcher(value: Any) -> bool:
    """Tell whether a value is a function that numba compiles."""
    return hasattr(value, "targetoptions") and hasattr(value, "py_func")


def check_types(args: tuple[Any, ...], name: str = "", function: str = "a compiled f") -> None:
    """Raise a TypeError that names the first argument for which numba has no type."""
    for i, value in enumerate(args):
        try:
            typeof(value)  # type: ignore[no-untyped-call]
        except (ValueError, NumbaError):
            raise TypeError(
                f"{name or f'args[{i}]'} is {type(value).__name__}, which numba cannot pass to {function}; pass "
                f"arrays, numbers, tuples or compiled functions"
            ) from None
