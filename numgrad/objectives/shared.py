"""Loops that are compiled once for all f: they call it by its address, and know no type of it or of its arguments.

To compile the loop of estimates takes 6 s, and is done once a machine, as numba keeps it on the disk. A call by an
address takes some ns more, since LLVM cannot copy f into the loop: short loops are compiled around f.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from numba import types
from numba.core.cgutils import ir  # type: ignore[attr-defined]  # of llvmlite
from numba.extending import intrinsic

__all__: list[str] = []  # nothing here is public


def around(make: Any, evaluate: Any, compiled: Callable[..., Callable[[Any], Any]]) -> Any:
    """Return the loop of `make` that calls the compiled ``evaluate(x, args)``; `compiled` is the compile policy."""
    loop = _loop_of(make, compiled)

    @compiled(inline="always")
    def run(state: Any, data: Any, args: Any, where: Any, start: int, stop: int, out: Any) -> Any:
        x, point, origin = state
        return _run(loop, evaluate, (x, args), (point, origin, data, where, start, stop, out))  # type: ignore[call-arg]

    return run


@functools.cache
def _loop_of(make: Any, compiled: Callable[..., Callable[[Any], Any]]) -> Any:
    """Return the loop for any f, with addresses in place of x and args: of both, and of a function of this address."""
    return compiled(cache=True)(make(_call, compiled(forceinline=True)))


def _function(context: Any) -> Any:
    """Return the type of such a function. It has numba's own convention, by which exceptions arrive."""
    return context.call_conv.get_function_type(types.float64, (types.intp,))


@intrinsic
def _call(_: Any, given: Any, function: Any) -> Any:
    """Call the function at an address."""

    def codegen(context: Any, builder: Any, _: Any, values: Any) -> Any:
        pointer, convention = builder.inttoptr(values[1], _function(context).as_pointer()), context.call_conv
        status, value = convention.call_function(builder, pointer, types.float64, (types.intp,), values[:1])
        with builder.if_then(status.is_error, likely=False):
            convention.return_status_propagate(builder, status)
        return value

    return types.float64(given, function), codegen


# It runs the loop itself: what the addresses lead to ends with the function in which they are made.
@intrinsic
def _run(typing: Any, loop: Any, evaluate: Any, given: Any, rest: Any) -> Any:
    """Run the loop, with the address of ``given = x, args`` and that of a function which evaluates f there."""
    of_f = evaluate.get_call_type(typing, tuple(given), {})
    state = types.Tuple((types.intp, *rest[:2]))  # type: ignore[no-untyped-call]
    of_loop = loop.get_call_type(typing, (state, rest[2], types.intp, *rest[3:]), {})

    def codegen(context: Any, builder: Any, _: Any, values: Any) -> Any:
        address, convention = context.get_value_type(types.intp), context.call_conv
        held = builder.alloca(values[2].type)
        builder.store(values[2], held)
        function: Any = ir.Function(builder.module, _function(context), builder.module.get_unique_name("evaluate_at"))
        function.linkage, inner = "internal", ir.IRBuilder(function.append_basic_block())
        known = inner.load(inner.inttoptr(convention.get_arguments(function)[0], held.type))
        value = context.get_function(evaluate, of_f)(inner, [inner.extract_value(known, i) for i in range(2)])
        convention.return_value(inner, context.cast(inner, value, of_f.return_type, types.float64))
        x, args = (builder.ptrtoint(pointer, address) for pointer in (held, function))
        point, origin, data, *units = (builder.extract_value(values[3], i) for i in range(len(rest)))
        moved = context.make_tuple(builder, state, (x, point, origin))
        return context.get_function(loop, of_loop)(builder, [moved, data, args, *units])

    return of_loop.return_type(loop, evaluate, given, rest), codegen
