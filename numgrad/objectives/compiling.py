"""numba: the one compile policy, and how its loops are called."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any, cast
from weakref import WeakSet

import numpy as np
from numba import config, jit, njit, typeof, types
from numba.core.caching import FunctionCache
from numba.core.cgutils import ir  # type: ignore[attr-defined]  # of llvmlite
from numba.core.compiler_lock import global_compiler_lock
from numba.extending import intrinsic
from numpy.typing import NDArray

__all__: list[str] = []  # nothing here is public


Kernel = Callable[..., Any]

# Options of `compiled`. By this one LLVM copies the function into its callers whatever its size, for where handing over
# its arguments and counting references to them would take longer than what it does.
INLINE: dict[str, Any] = {"forceinline": True}
# numba does so before it compiles, which takes a fifth less time than to compile two functions.
PASTE: dict[str, Any] = {"inline": "always"}

# What the package is made of, in 3 ms.
_SOURCES = sorted(Path(__file__).parents[1].rglob("*.py"))
_DIGEST = hashlib.sha256(b"".join(map(Path.read_bytes, _SOURCES))).digest()


class _Cache(FunctionCache):
    """numba's cache of a function, that does without a file which cannot be read or written: cut short, or another's.

    It begins anew when any source of the package has changed. numba looks at the file of the function, and not at those
    of what it calls; and at what it captured, but compiled functions are never the same in another process.
    """

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)  # type: ignore[no-untyped-call]
        self._cache_file._source_stamp = _DIGEST

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        return sig, codegen.magic_tuple()

    def load_overload(self, *key: Any) -> Any:
        with suppress(Exception):
            return super().load_overload(*key)  # type: ignore[no-untyped-call]
        with suppress(OSError):
            self.flush()  # type: ignore[no-untyped-call]
        return None

    def save_overload(self, *key: Any) -> None:
        with suppress(OSError):  # of a full disk
            super().save_overload(*key)  # type: ignore[no-untyped-call]


def compiled(*, cache: bool = False, **options: Any) -> Callable[[Kernel], Kernel]:
    """Return the decorator with the one compile policy: release the GIL, divide as NumPy does, stay strict."""

    def decorate(kernel: Kernel) -> Kernel:
        dispatcher: Any = njit(nogil=True, error_model="numpy", **options)(kernel)
        if cache and hasattr(dispatcher, "_cache"):
            with suppress(RuntimeError):  # numba found no folder in which it may keep a cache
                dispatcher._cache = _Cache(kernel)
        return cast("Kernel", dispatcher)

    return decorate


# Kept are the functions that came last. The loops of all f share some twenty, which are asked for again with each f; a
# function that captures one f is asked for once.
@functools.lru_cache(maxsize=64)
def inlined(function: Kernel) -> Kernel:
    """Return `function` compiled such that LLVM copies it into its callers."""
    return compiled(**INLINE)(function)


def called_apart(f: Any) -> Any:
    """Return the compiled f such that it takes ``*args``: one that numba pastes into its callers does not."""
    options = getattr(f, "targetoptions", {})
    if options.get("inline", "never") == "never":
        return f
    return jit(locals=f.locals, **(options | {"inline": "never"}))(f.py_func)


# Two threads inside parallel regions abort the process on numba's workqueue layer, whoever started the threads.
_PARALLEL_LOCK = Lock()


def one_at_a_time(kernel: Kernel) -> Kernel:
    """Return `kernel` such that no two threads run it, or another of these, at the same time."""

    def locked(*args: Any) -> Any:
        with _PARALLEL_LOCK:
            return kernel(*args)

    return locked


# Without it, the child of a fork during which another thread compiles would wait for ever for numba's lock.
if hasattr(os, "register_at_fork"):
    take, release = global_compiler_lock.acquire, global_compiler_lock.release
    os.register_at_fork(before=take, after_in_parent=release, after_in_child=release)


def entry_of(kernel: Kernel, *arguments: Any) -> Kernel:
    """Return what a kernel calls for arguments of these types: it looks at no types itself, and takes half the time.

    Nothing else may be passed to it. The kernel must be kept, too.
    """
    found = getattr(kernel, "overloads", {}).get(tuple(map(typeof, arguments)))
    return getattr(found, "entry_point", kernel)


_TUPLE: Any = types.BaseTuple  # of which mypy does not know that it has items


def _without_counts(typingctx: Any, value: Any) -> Any:  # noqa: ARG001
    """Give arrays, or tuples of them, without the counts of references to them, which numba loses whenever f raises.

    Only what the package itself keeps alive: f may give one of its arguments to Python, which goes on with it.
    """

    def stripped(context: Any, builder: Any, kind: Any, known: Any) -> Any:
        if isinstance(kind, _TUPLE):
            parts = [stripped(context, builder, own, builder.extract_value(known, i)) for i, own in enumerate(kind)]
            return context.make_tuple(builder, kind, parts)
        if not isinstance(kind, types.Array):
            return known
        found = context.make_array(kind)(context, builder, known)
        found.meminfo, found.parent = found.meminfo.type(None), found.parent.type(None)
        return found._getvalue()

    return value(value), lambda context, builder, _, args: stripped(context, builder, value, args[0])


# The interpreter cannot call an intrinsic: without the compiler there are no counts to hide.
borrowed: Any = (lambda value: value) if config.DISABLE_JIT else intrinsic(_without_counts)  # type: ignore[attr-defined]


class Copy:
    """The copy of the point that a thread hands to f, in `array`, and the `scratch` memory that f fills.

    If f raises, numba keeps a reference to it for ever: it `is_kept` then, and the next of its `owner` takes it over.
    """

    is_kept = False  # until __init__ has come so far

    def __init__(self, owner: Any, x: NDArray[Any], kind: Any, scratch: tuple[NDArray[Any], ...] = ()) -> None:
        self.owner, self.is_kept, self.scratch = owner, bool(owner.kept), scratch
        self.array: NDArray[Any] = owner.kept.pop() if owner.kept else np.empty(x.shape, kind)
        if self.array.shape != x.shape or self.array.dtype != kind:
            self.array.resize(0, refcheck=False)
            self.array, self.is_kept = np.empty(x.shape, kind), False
        self.array[...] = x

    def __enter__(self) -> NDArray[Any]:
        return self.array

    def __exit__(self, kind: object, *_: object) -> None:
        self.is_kept = self.is_kept or kind is not None

    def __del__(self) -> None:
        if self.is_kept:
            self.owner.kept.append(self.array)


def when_recompiled(f: Any, dependant: Any) -> None:
    """Have ``f.recompile()`` recompile a dependant too, while there is one.

    numba tells nobody, and to look at each call takes 0.4 us.
    """
    recompile = getattr(f, "recompile", None)
    if recompile is not None and not hasattr(f, "_numgrad_dependants"):

        def recompile_all() -> None:
            recompile()
            for each in list(f._numgrad_dependants):
                each.recompile()

        f._numgrad_dependants, f.recompile = WeakSet(), recompile_all
    if recompile is not None:
        f._numgrad_dependants.add(dependant)


def shared_loop(make: Any, evaluate: Any) -> Any:
    """Return the loop of `make` that calls the compiled ``evaluate(x, args)``, but is compiled once for all f.

    It calls f by its address, and knows no type of it or of its arguments. To compile the loop of estimates takes 6 s,
    and is done once a machine, as numba keeps it on the disk. A call by an address takes some ns more, since LLVM
    cannot copy f into the loop: short loops are compiled around f.
    """
    loop = _loop_of(make)

    @compiled(**PASTE)
    def run(state: Any, data: Any, args: Any, where: Any, start: int, stop: int, out: Any) -> Any:
        x, point, origin = state
        return _run(loop, evaluate, (x, args), (point, origin, data, where, start, stop, out))  # type: ignore[call-arg]

    return run


@functools.cache
def _loop_of(make: Any) -> Any:
    """Return the loop for any f, with addresses in place of x and args: of both, and of a function of this address."""
    return compiled(cache=True)(make(_call, inlined))


def _function(context: Any) -> Any:
    """Return the type of such a function. It has numba's own convention, by which exceptions arrive."""
    return context.call_conv.get_function_type(types.float64, (types.intp,))


def _called_at(context: Any, builder: Any, address: Any, result: Any, kinds: Any, values: Any) -> Any:
    """Call the function at an address, and return what it returns or raise what it raises."""
    convention = context.call_conv
    pointer = builder.inttoptr(address, convention.get_function_type(result, kinds).as_pointer())
    status, value = convention.call_function(builder, pointer, result, kinds, values)
    with builder.if_then(status.is_error, likely=False):
        convention.return_status_propagate(builder, status)
    return value


@intrinsic
def _call(_: Any, given: Any, function: Any) -> Any:
    """Call the function at an address."""

    def codegen(context: Any, builder: Any, _: Any, values: Any) -> Any:
        return _called_at(context, builder, values[1], types.float64, (types.intp,), values[:1])

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
        # By its address too: numba would link the loop to the code of each f, and LLVM compile it again, for 1.4 s.
        found = loop.dispatcher.overloads[of_loop.args]
        there = found.library.get_pointer_to_function(found.fndesc.llvm_func_name)
        units = [moved, data, args, *units]
        return _called_at(
            context, builder, ir.Constant(address, there), of_loop.return_type, found.fndesc.argtypes, units
        )

    return of_loop.return_type(loop, evaluate, given, rest), codegen
