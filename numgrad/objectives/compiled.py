"""Functions compiled with `numba.njit` as objectives, and the loops compiled around them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
from numba import types
from numba.core.errors import NumbaTypeError
from numba.extending import overload
from numpy.typing import ArrayLike, NDArray

from .. import arguments, loops
from ..arguments import ALL_COORDINATES, KNOWN_COMPILED, imaginary_part, real_array, real_number
from ..loops import ARGUMENT_CHANGED, Directions, Floats, Rule, make_complex_step, make_descent
from ..points import EPS, FLOAT64, depends_on, is_unchanged, private_copy
from ..threads import Sweep, Throughput, cost_of
from . import captures, compiling
from .compiling import INLINE, PASTE, Copy, Kernel, borrowed, compiled

__all__: list[str] = []  # nothing here is public

update = compiled(cache=True)(loops.update)


def evaluation(f: Any, as_number: Callable[[Any], float] = real_number, how: dict[str, Any] = PASTE) -> Kernel:
    """Return the compiled ``evaluate(x, args)``: `f` with what it returns made a float."""

    @compiled(**how)
    def evaluate(x: Any, args: Any) -> Any:
        return as_number(f(x, *args))

    return evaluate


@overload(real_number)
def real_form(value: Any) -> Callable[[Any], Any]:
    """Return the compiled `real_number` for a value of the numba type `value`; NumbaTypeError if there is none."""
    message = f"f must return one real number, it returned {value}"
    if value == types.none:
        return _from_none(f"{message}: is a return missing?")
    real = types.Float | types.Integer
    if isinstance(value, real):
        return _from_number
    if isinstance(value, types.Array) and isinstance(value.dtype, real):
        return _from_array(f"{message} with more or less than one element{arguments.JACOBIAN}")
    if isinstance(value, types.Optional) and isinstance(value.type, real):
        return _from_optional
    raise NumbaTypeError(message)


@overload(imaginary_part)
def imaginary_form(value: Any) -> Callable[[Any], Any]:
    """Return the compiled `imaginary_part` for a value of the numba type `value`; NumbaTypeError if there is none."""
    if not isinstance(value, types.Complex):
        raise NumbaTypeError(f"{arguments.NEEDS_COMPLEX} it returned {value}")
    return _from_complex


# Numba wants the parameter of each implementation to look just like that of the overload, annotation included.


def _from_number(value: Any) -> Any:
    return float(value)


def _from_complex(value: Any) -> Any:
    return value.imag - (value.real - value.real)


def _from_none(message: str) -> Callable[[Any], Any]:
    def number(value: Any) -> Any:  # noqa: ARG001
        for _ in range(1):  # numba would prune the return, and with it the type, after a bare raise
            raise TypeError(message)
        return 0.0

    return number


def _from_array(message: str) -> Callable[[Any], Any]:
    def number(value: Any) -> Any:
        if value.size != 1:
            raise TypeError(message)
        return float(value.flat[0])

    return number


def _from_optional(value: Any) -> Any:
    if value is None:
        raise TypeError("f must return one real number, it returned None")
    return value * 1.0  # float(value) does not unwrap an optional


class Kernels:
    """The loops compiled around a function, which are forgotten when the function is recompiled.

    Attributes
    ----------
    threads : bool
        Whether two threads may run them: unless the function starts threads of its own.
    arrays : list of (str, ndarray)
        The arrays that the function captured; numba froze their values when it compiled the function.
    """

    def __init__(self, f: Any, adapt: Callable[[Any, Any], Kernel]) -> None:
        self.given, self.adapt = f, adapt
        self.recompile()
        compiling.when_recompiled(f, self)

    def recompile(self) -> None:
        """Forget the loops, and what was captured."""
        self.f = compiling.called_apart(self.given)
        self.threads, self.loops, self.calls = True, Loops(self), 0
        self.arrays, self.kinds = list[tuple[str, NDArray[Any]]](), dict[Hashable, bool]()
        # By kind: the spacing of what the function returns, for types take 3 us; and where it is not that of float64.
        self.eps, self.few = dict[Hashable, float](), dict[Hashable, tuple[float, float]]()

    def is_due(self) -> bool:
        """Count a call, and tell whether it is the first, the second, the fourth and so on."""
        self.calls += 1
        return not self.calls & (self.calls - 1)

    def meet(self, kind: Hashable, args: tuple[Any, ...] = ()) -> None:
        """Look at what numba will compile for a kind of arguments: the function, and those among `args`.

        What is known of its speed is of other kinds.
        """
        for _, throughput in self.loops.values():
            throughput.known = None, 1
        for function in (self.f, *captures.functions_in(args)):
            found = list(captures.captured(function))
            self.arrays += arguments.memory_among(found)
            if self.threads and captures.starts_threads(found):
                self.threads, self.loops = False, Loops(self)
        self.kinds[kind] = any(map(captures.is_opaque, args))  # last: another thread may rely on it


# A dict, for the look-up of a loop that is known is then C code, and no Python call.
class Loops(dict[Any, tuple[Kernel, Throughput]]):
    """By factory, the loop compiled around a function, and how fast it was.

    `entries` has what runs a loop for a vector without a look at types. So all rules of a factory must have data of the
    same types: an integer where others have a float would be converted without a word.
    """

    def __init__(self, kernels: Kernels) -> None:
        self.kernels, self.entries = kernels, dict[Any, Kernel]()

    def enter(self, make: Any, call: tuple[Any, ...]) -> Kernel:
        """Return what runs the loop of `make` for a vector, and keep it."""
        copy = _EMPTY_COMPLEX if make is make_complex_step else _EMPTY
        kernel = self.entries[make] = compiling.entry_of(self[make][0], copy, *call)
        return kernel

    def __missing__(self, make: Any) -> tuple[Kernel, Throughput]:
        kernel = compiled()(self.kernels.adapt(self.kernels.f, make))
        found = kernel if self.kernels.threads else compiling.one_at_a_time(kernel), Throughput()
        # Where two threads have compiled the same loop, both take the first one, and its speed.
        return self.setdefault(make, found)


def _around(f: Any, make: Any) -> Kernel:
    """Return the loop of `make` around the compiled `f`."""
    number = imaginary_part if make is make_complex_step else real_number
    if captures.is_dispatcher(f) and hasattr(make, "compiled_once"):
        return guard(compiling.shared_loop(make, evaluation(f, number, INLINE)), make)
    return guard(compiled(**PASTE)(make(evaluation(f, number), compiling.inlined)), make)


def guard(loop: Kernel, make: Any) -> Kernel:
    """Return the loop of a rule's `make` such that it also tells whether f wrote to its argument.

    ``kernel(copy, original, (data, args, where), start, stop, out)`` works on a copy of the point, its own if that is
    empty. One tuple, and flat views made here: numba takes 40 to 200 ns for each argument and each tuple of arrays.
    """
    # A descent says itself what the point must be.
    moves, kind = make is make_descent, np.complex128 if make is make_complex_step else np.float64

    # The guard: an f that writes to its argument moves the points of all later units, and nothing else would show it.
    # The loop restores what it moved itself, so a difference that is left at the end is of f.
    # A descent is left out: its point is to move, and `make_descent` compares each iterate.
    def guarded(copy: Any, original: Any, units: Any, start: int, stop: int, out: Any) -> int:
        data, where = borrowed((units[0], units[2]))
        x = copy if copy.size else original.astype(kind)
        point, origin = borrowed(x).reshape(x.size), borrowed(original).reshape(original.size)
        flags: int = loop((x, point, point if moves else origin), data, units[1], where, start, stop, borrowed(out))
        changed = False
        for i in range(0 if moves else point.size):  # without a branch, so that several are compared at a time
            now, before = point[i], origin[i]
            changed |= (now != before) & ((now == now) | (before == before))  # not if both are NaN
        # The size of x is asked for so that numba frees x no earlier: nothing else counts what `point` is a view of.
        return flags | ARGUMENT_CHANGED if changed and x.size else flags

    return guarded


# Elements up to which a kernel makes the copy of the point, which takes 0.2 us less; numba never frees it if f raises.
# Fixed by "compiled, n = 2" in benchmarks/compare_versions.py.
_SMALL = 32

# In place of a copy that the kernel is to make.
_EMPTY, _EMPTY_COMPLEX = np.empty(0), np.empty(0, np.complex128)


def run(kernel: Kernel, *arguments_of_it: Any) -> int:
    """Return the flags of a loop.

    Raises
    ------
    TypeError
        If numba cannot compile it.
    ValueError
        If f has written to its argument.
    """
    flags: int = called(kernel, *arguments_of_it)
    if flags & ARGUMENT_CHANGED:
        arguments.raise_argument_changed()
    return flags


def called(function: Kernel, *arguments_of_it: Any, what: str = "f for this x and args") -> Any:
    """Return what a compiled function returns; TypeError, which says `what` that is, if numba cannot compile it."""
    try:
        return function(*arguments_of_it)
    except Exception as error:
        arguments.raise_compile_error(error, what)
        raise


# How a message goes on, of an f that reaches the memory of x by another way than its first argument.
_PRIVATE = "but a compiled f sees only a private copy of x change; let f read x from its first argument, or"


class CompiledObjective:
    """A function that the user compiled with `numba.njit`: the whole loop is compiled around it.

    It sees private copies of the point, so an `f` that reads the caller's x by another way is refused.
    """

    has_descent = True
    seen: tuple[float, float] | None = None  # of the kind of arguments that were placed last

    def __init__(self, f: Any) -> None:
        # Kept are copies to which numba holds a reference for ever, since f raised.
        self.f, self.kernels, self.kept = f, Kernels(f, _around), list[NDArray[Any]]()
        self.sweep: Callable[..., Any] = functools.partial(CompiledSweep, self)  # a method would take a call more

    def __reduce__(self) -> Any:
        return objective_of, (self.f,)

    @property
    def threads(self) -> bool:
        """Whether several threads may run it; known once it has a place."""
        return self.kernels.threads

    def place(self, x: ArrayLike, args: tuple[Any, ...]) -> tuple[NDArray[Any], bool]:
        """Return `x` as a C-contiguous float64 array, of which each thread makes a copy.

        Raises
        ------
        TypeError
            If `x` is not real, or numba has no type for one of `args`.
        ValueError
            If `f` reads the memory of `x` as a captured variable or by `args`, where it would not see it change.
        """
        plain = x.__class__ is np.ndarray and x.dtype is FLOAT64 and x.flags.carray
        array: NDArray[Any] = x if plain else real_array(x)  # type: ignore[assignment]
        kernels, kind = self.kernels, captures.kind_of_call(array, args) if args else array.ndim
        if kind not in kernels.kinds:
            captures.check_types(args)
            kernels.meet(kind, args)
        if kernels.few:
            self.seen = kernels.few.get(kind)
        if kernels.arrays:
            # What the names mean now is asked again: numba goes on with what they meant when it compiled f.
            arguments.refuse_captured((*kernels.arrays, *captures.captured(self.f)), array)
        if args and array.flags.writeable and array.dtype.kind == "f":
            if (name := arguments.sharing(arguments.arrays_in(args), array)) is not None:
                raise ValueError(f"{name} shares memory with x, {_PRIVATE} pass a copy in args=")
            if kernels.kinds[kind]:
                self._check_opaque(array, args)
        return array if plain else private_copy(array), True

    def _check_opaque(self, array: Floats, args: tuple[Any, ...]) -> None:
        """Raise a ValueError if what nobody can look into leads f to the memory of x."""
        copy = private_copy(array)
        if depends_on(array, lambda: called(self.f, copy, *args)):
            raise ValueError(f"one of args leads f to the memory of x, {_PRIVATE} let the argument hold a copy")

    def value(self, x: Floats, args: tuple[Any, ...]) -> float:
        """Return f(x) as a number; ValueError if f writes to its argument."""
        return real_number(self._call(x, args))

    def returned(self, x: Floats, args: tuple[Any, ...]) -> Any:
        """Return f(x) in the type that f gives it: numba makes a float of a float32."""
        value = self._call(x, args)
        return value if (self.eps_at(x, args) or EPS) == EPS or isinstance(value, np.ndarray) else np.float32(value)

    def _call(self, x: Floats, args: tuple[Any, ...]) -> Any:
        with Copy(self, x, np.float64) as copy:
            f = self.kernels.f
            value = called(f if self.threads else compiling.one_at_a_time(f), copy, *args)
        if not is_unchanged(copy, x):
            arguments.raise_argument_changed()
        return value

    def eps_at(self, x: Floats, args: tuple[Any, ...]) -> float | None:
        """Return the relative spacing of what f returns for such arguments; None before it was called with them.

        None too where the compiler is disabled.
        """
        kernels, kind = self.kernels, captures.kind_of_call(x, args)
        if kind not in kernels.eps and (eps := captures.eps_of(self.kernels.f, x, args)) is not None:
            kernels.eps[kind] = eps
            if eps > EPS:
                kernels.few[kind] = math.nan, eps
        return kernels.eps.get(kind)

    def at_once(self, x: Any, args: Any, rule: Rule, where: Any, out: Floats, size: int | None = None) -> int:
        """Do the units of a sweep that is known to be short, and return its flags, or -1 if it is not.

        A `CompiledSweep` would take 0.6 us more, a quarter of a gradient of two coordinates.
        """
        made, make = self.kernels.loops, rule[0]
        kernel, throughput = made[make]
        (cost, most), count, n = throughput.known, len(out) if size is None else size, x.size
        if count > most or cost != (cost_of(x, args) if args else n):
            return -1
        places, is_vector = where, x.ndim == 1
        # Coordinates, or directions of one of them each, have the types that others have had.
        if where.__class__ is Directions:  # a NamedTuple takes numba 0.5 us more a call than a plain tuple
            starts, members, lengths = places = tuple(where)
            is_usual = starts is members is ALL_COORDINATES and lengths.flags.carray
        else:
            is_usual = where is ALL_COORDINATES or where.flags.carray
        units = (self.value(x, args), *rule[1][1:]) if rule[2] else rule[1], args, places
        if is_usual and is_vector and not args and out.flags.carray:
            kernel = made.entries.get(make) or made.enter(make, (x, units, 0, count, out))
        copy = _EMPTY_COMPLEX if make is make_complex_step else _EMPTY
        if n > _SMALL or not is_vector:
            if self.kept:
                return self._on_copy(kernel, x, units, count, out, make)
            copy = x.copy() if copy is _EMPTY else x.astype(np.complex128)
        try:  # what `run` does, without a call of Python
            flags: int = kernel(copy, x, units, 0, count, out)
        except BaseException as error:
            if copy.size:
                self.kept.append(copy)
            arguments.raise_compile_error(error)
            raise
        if flags & ARGUMENT_CHANGED:
            arguments.raise_argument_changed()
        return flags

    def scratch(self, is_complex: bool) -> tuple[NDArray[Any], ...]:  # noqa: ARG002
        """Return the memory that f fills: none."""
        return ()

    def copy(self, x: Floats, make: Any) -> Copy:
        """Return a copy of the point for the loop of a `make`."""
        is_complex = make is make_complex_step
        return Copy(self, x, np.complex128 if is_complex else np.float64, self.scratch(is_complex))

    def _on_copy(self, kernel: Kernel, x: Floats, units: Any, size: int, out: Floats, make: Any) -> int:
        """Do a short sweep on a copy that is kept since f raised; to make a new one takes a third of the time."""
        with self.copy(x, make) as copy:
            return run(kernel, copy, x, units, 0, size, out)


# Functions whose loops are kept, some 100 kB each; the first one that came is forgotten first.
# Fixed by test_the_loops_of_the_functions_that_came_last_are_kept in tests/test_compiled.py.
_MOST_KNOWN = 256


def objective_of(f: Any) -> CompiledObjective:
    """Return the objective of a compiled function, with the loops that it has compiled if it is known."""
    known: CompiledObjective | None = KNOWN_COMPILED.get(id(f))
    if known is None:
        while len(KNOWN_COMPILED) >= _MOST_KNOWN:
            # With a default: another thread may take the same one out.
            KNOWN_COMPILED.pop(next(iter(KNOWN_COMPILED)), None)
        known = KNOWN_COMPILED.setdefault(id(f), CompiledObjective(f))
    return known


class CompiledSweep(Sweep):
    """Units of work in one compiled loop, on a copy of the point for each thread."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        # A plain tuple in place of Directions: a NamedTuple takes numba 0.5 us more a call.
        self.places = tuple(self.where) if isinstance(self.where, tuple) else self.where
        self.loop, self.throughput = self.objective.kernels.loops[self.rule.make]
        given = (*self.objective.scratch(False), *self.args)
        self.cost = cost_of(self.x, given) if given else self.x.size

    def thread_state(self) -> Copy:
        """Return a copy of the point."""
        return self.objective.copy(self.x, self.rule.make)  # type: ignore[no-any-return]

    def run_range(self, state: Copy, start: int, stop: int) -> int:
        """Do the units start <= k < stop; ValueError if f has written to its argument."""
        units = self.rule.data, (*state.scratch, *self.args), self.places
        with state as copy:
            return run(self.loop, copy, self.x, units, start, stop, self.out)

    def finish(self) -> int:
        """Keep whether f returns numbers of fewer digits than float64, which it tells once it is compiled."""
        self.objective.eps_at(self.x, self.args)
        self.objective.seen = self.objective.kernels.few.get(captures.kind_of_call(self.x, self.args))
        return 0
