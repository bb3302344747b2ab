"""Functions compiled with `numba.njit` that return an array, or fill one, as objectives."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.core.errors import NumbaTypeError
from numba.extending import overload
from numpy.typing import NDArray

from .. import loops
from ..arguments import ALL_COORDINATES, NEEDS_COMPLEX, imaginary_part
from ..loops import RESPONDED, Floats, Loop, Rule, make_central, make_complex_step
from ..points import LOSS_EPS
from .compiled import CompiledObjective, CompiledSweep, Kernels, guard
from .compiling import INLINE, PASTE, Kernel, compiled, entry_of, inlined
from .vectors import SHAPE_CHANGED, floats, imaginary_parts, like, mixed, outputs

__all__: list[str] = []  # nothing here is public

# Floats behind the memory that f fills at x, where it shows that the shape is too small: compiled code does not look
# where it writes, and the loops have nothing behind it. Fixed by test_a_shape_that_is_too_small_is_found in
# tests/test_callables.py.
_BEYOND = 4096
_NUMBERS = types.Float | types.Integer | types.Boolean | types.Complex


def flat(value: Any, base: NDArray[Any]) -> Any:
    """Return what f returned as numbers in a row; ValueError if it is not shaped as `base`."""
    return floats(like(value, base))


@overload(flat)
def flat_form(value: Any, base: Any) -> Callable[..., Any]:  # noqa: ARG001
    """Return the compiled `flat` for a value of this numba type; NumbaTypeError if it holds no numbers."""
    if not isinstance(getattr(value, "dtype", value), _NUMBERS):
        raise NumbaTypeError(f"f must return an array of numbers, it returned {value}")
    if isinstance(value, types.Array):
        is_flat = value.ndim == 1

        def flat_array(value: Any, base: Any) -> Any:
            if value.shape != base.shape:
                raise ValueError(SHAPE_CHANGED)
            return value if is_flat else value.ravel()

        return flat_array
    if isinstance(value, types.UniTuple | types.List | types.ListType):

        def items(value: Any, base: Any) -> Any:
            if len(value) != base.size:
                raise ValueError(SHAPE_CHANGED)
            return value

        return items

    def number(value: Any, base: Any) -> Any:  # noqa: ARG001
        return (value,)

    return number


def float_of(values: Any, j: int, base: NDArray[Any]) -> float:  # noqa: ARG001
    """Return float j of such numbers, of which a complex one has two where f(x) is complex, else its imaginary part."""
    return float(values[j])


@overload(float_of)
def float_form(values: Any, j: Any, base: Any) -> Callable[..., Any]:  # noqa: ARG001
    """Return the compiled `float_of` for values of this numba type."""
    are_pairs, are_complex = isinstance(base.dtype, types.Complex), isinstance(values.dtype, types.Complex)

    def number(values: Any, j: Any, base: Any) -> Any:  # noqa: ARG001
        if are_pairs:
            value = complex(values[j >> 1])
            return value.imag if j & 1 else value.real
        return imaginary_part(values[j]) if are_complex else values[j]

    return number


@compiled(**INLINE)
def _add(out: Any, k: int, weight: float, value: Any, base: NDArray[Any], count: int, divisor: float) -> int:
    """Do what `loops.make_columns` wants of the third mover."""
    row, values, responded = out[k], flat(value, base), False
    for j in range(len(row)):
        # To add -0.0 changes no bit. NumPy's floats would warn of infinities without the compiler.
        total = weight * float_of(values, j, base) + (float(row[j]) if count else -0.0)
        responded |= total != 0.0
        row[j] = total if divisor == 0.0 else total / divisor
    return RESPONDED if responded and divisor != 0.0 else 0


@overload(imaginary_parts)
def imaginary_form(value: Any) -> Callable[[Any], Any]:
    """Return what leaves the imaginary parts of a numba type `value` to `float_form`; NumbaTypeError if it is real."""
    if not isinstance(getattr(value, "dtype", value), types.Complex):
        raise NumbaTypeError(f"{NEEDS_COMPLEX} it returned {value}")

    def complex_values(value: Any) -> Any:
        return value

    return complex_values


# A loop of its own: `make_columns` with `add` takes a tenth more of 2n evaluations of 0.3 us with 50 outputs each.
# Fixed by test_dense_compiled in benchmarks/bench_jacobian.py.
def _make_central(evaluate: Kernel) -> Loop:
    """Return the loop of the default scheme for an f that returns a flat array: row k is the k-th column."""

    def central(state: Any, data: Any, args: Any, where: Any, start: int, stop: int, out: Any) -> int:
        """Write ``(f(x + h e_i) - f(x - h e_i)) / (2 h)``, as `loops.make_central`."""
        x, point, _ = state
        h, flags = data[0], 0
        for k in range(start, stop):
            i = where[k] if len(where) else k
            value = point[i]
            if abs(value) > h / LOSS_EPS:
                flags |= loops.STEP_LOST
            point[i] = value + h
            row = out[k]
            values = flat(evaluate(x, args), row)
            for j in range(len(row)):
                row[j] = values[j]
            point[i] = value - h
            values, responded = flat(evaluate(x, args), row), False
            for j in range(len(row)):
                difference = float(row[j]) - float(values[j])  # NumPy's would warn of infinities without the compiler
                responded |= difference != 0.0
                row[j] = difference / (2 * h)
            flags |= RESPONDED if responded else 0
            if point[i] != value - h and value == value:
                flags |= loops.ARGUMENT_CHANGED
            point[i] = value
        return flags

    return central


def _around(f: Any, make: Any, fills: bool) -> Kernel:
    """Return the loop of columns around the compiled `f`; an f that fills its outputs finds their memory in `args`."""
    is_complex = make is make_complex_step

    @compiled(**PASTE)
    def evaluate(x: Any, args: Any) -> Any:
        returned = f(x, *args)
        found = args[0] if fills else returned
        return imaginary_parts(found) if is_complex else found

    movers = loops.move, loops.settle, _add
    loop = _make_central(evaluate) if make is make_central else loops.make_columns(evaluate, inlined, movers)
    return guard(compiled(**PASTE)(loop), make)


class CompiledVector(CompiledObjective):
    """A compiled function that returns an array, or that fills one: ``f(x, out, *args)``, with `out` of shape `fills`.

    The loop adds what f gives to the rows of the result: it allocates nothing, and f that fills its outputs gets the
    same memory for each evaluation of a thread.
    """

    def __init__(self, scalar: CompiledObjective, fills: tuple[int, ...] | None = None) -> None:
        super().__init__(scalar.f)
        self.scalar, self.fills = scalar, fills
        does_fill = fills is not None
        self.kernels = Kernels(self.f, lambda f, make: _around(f, make, does_fill))
        self.sweep = functools.partial(CompiledVectorSweep, self)
        self.latest: tuple[Any, ...] = (None,) * 5  # what the last Jacobian by the default scheme was made with

    def __reduce__(self) -> Any:
        return compiled_vector, (self.scalar, self.fills)

    def scratch(self, is_complex: bool) -> tuple[NDArray[Any], ...]:
        """Return the memory that f fills, as NaN, which stays where f writes nothing; or nothing."""
        return () if self.fills is None else (np.full(self.fills, np.nan, np.complex128 if is_complex else np.float64),)

    def value(self, x: Floats, args: tuple[Any, ...]) -> Any:
        """Return a copy of f(x) as an array; ValueError if f writes to its argument."""
        return outputs(self.returned(x, args)).copy()

    def returned(self, x: Floats, args: tuple[Any, ...]) -> Any:
        """Return what f returned or filled; ValueError if it has written beyond that."""
        if self.fills is None:
            return self._call(x, args)
        size = math.prod(self.fills)
        room = np.full(size + _BEYOND, np.nan)
        filled = room[:size].reshape(self.fills)
        self._call(x, (filled, *args))
        if not np.isnan(room[size:]).all():
            raise ValueError(f"f fills more than outputs of shape {self.fills}; pass the shape of all, fills=(m,)")
        return filled

    def at_once(self, x: Any, args: Any, rule: Rule, where: Any, out: Floats, size: int | None = None) -> int:
        """Do the units of a sweep that is known to be short, and return its flags, or -1 if it is not."""
        scratch, known_loops = self.scratch(rule.make is make_complex_step), self.kernels.loops
        try:
            flags = super().at_once(x, (*scratch, *args), rule, where, out, size)
        except BaseException:
            out.fill(np.nan)
            raise
        is_usual = rule.make is make_central and where is ALL_COORDINATES and x.ndim == 1 and not (args or scratch)
        if is_usual and flags == RESPONDED and out.flags.carray:
            (kernel, throughput), (h, shape, known, *_) = known_loops[make_central], self.latest
            if known is not known_loops or h != rule.data[0] or shape != out.shape:  # to ask for the types takes 100 us
                entry = entry_of(kernel, x, x, (rule.data, (), ALL_COORDINATES), 0, x.size, out)
                self.latest = rule.data[0], out.shape, known_loops, throughput, entry
        return flags

    def again(self, x: Floats, h: float) -> Floats | None:
        """Return the Jacobian at `x`, C-contiguous, or None where it is not to be made as the last one at once was.

        f is evaluated nowhere but at the points of the differences: the last Jacobian has told the shape. Its step has
        been checked.
        """
        (known, shape, known_loops, throughput, entry), size = self.latest, len(x)
        if known != h or known_loops is not self.kernels.loops or shape[0] != size or self.kernels.arrays:
            return None
        if not throughput.is_short(size, size, 1):
            return None
        copy, rows, units = x.copy(), np.empty(shape), ((h,), (), ALL_COORDINATES)
        try:
            if self.kept:
                flags = self._on_copy(entry, x, units, size, rows, make_central)
            else:  # three calls of Python less: 0.5 us of 3.4 at n = 2
                flags = entry(copy, x, units, 0, size, rows)
        except Exception:  # noqa: BLE001, of another shape, or of f: it is met once more by the usual way
            if not self.kept:
                self.kept.append(copy)
            return None
        return rows.T if flags == RESPONDED else None


class CompiledVectorSweep(CompiledSweep):
    """Units of work in one compiled loop of columns."""

    as_one = staticmethod(mixed)

    def run_range(self, state: Any, start: int, stop: int) -> int:
        """Do the units start <= k < stop; ValueError if f has written to its argument."""
        try:
            return super().run_range(state, start, stop)
        except BaseException:
            self.out[start:stop] = np.nan  # nobody knows which rows were finished
            raise


def compiled_vector(scalar: CompiledObjective, fills: tuple[int, ...] | None) -> CompiledVector:
    """Return the objective of the outputs of a compiled function, with the loops that it has compiled."""
    known: dict[Any, CompiledVector] = scalar.__dict__.setdefault("vectors", {})
    return known.get(fills) or known.setdefault(fills, CompiledVector(scalar, fills))
