"""Python callables with several outputs as objectives: one point at a time, in place, or a batch of points at once.

An output is complex or not as f(x) is; rows hold a complex number as two floats, which are differentiated together.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import loops
from ..arguments import NEEDS_COMPLEX, describe
from ..loops import ARGUMENT_CHANGED, RESPONDED, STEP_LOST, Floats, Loop, Rule, make_complex_step
from ..points import FLOAT64, parts_of_steps, still_holds
from .python import MOVERS, PythonObjective, PythonSweep, VectorizedObjective, VectorizedSweep, moved_by

__all__: list[str] = []  # nothing here is public

_COMPLEX128 = np.dtype(np.complex128)
# Floats that a block of values holds: NumPy takes 3 us for the operations of a row, however short it is.
# Fixed by test_dense_compiled in benchmarks/bench_jacobian.py, in the row of the NumPy f.
_BLOCK = 4096
SHAPE_CHANGED = "f must return arrays of one shape and kind, but near x it returned another than at x"


def outputs(value: Any) -> NDArray[Any]:
    """Return what f returned as a plain array of float64 or complex128, of any shape.

    Raises
    ------
    TypeError
        If it holds anything but numbers, or masked elements.
    ValueError
        If it is a ragged list.
    """
    if value.__class__ is np.ndarray and (value.dtype is FLOAT64 or value.dtype is _COMPLEX128):
        return value
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError("f must return an array, it returned lists that differ in length") from None
    except (RuntimeError, TypeError) as error:  # a tensor that requires grad, or one on another device
        raise TypeError(f"f must return an array of numbers, it returned {type(value).__name__}: {error}") from None
    if array.dtype.kind == "O" and all(map(_is_number, array.flat)):  # Fractions, Decimals, numbers of mpmath
        array = array.astype(np.float64)
    if array.dtype.kind not in "fiubc":
        cure = ": is a return missing?" if value is None else "; pass .toarray()" if hasattr(value, "toarray") else ""
        raise TypeError(f"f must return an array of numbers, it returned {describe(value)}{cure}")
    if np.ma.is_masked(value):
        raise TypeError("f returned masked elements, which have no derivatives; let f return .filled(numpy.nan)")
    with np.errstate(all="ignore"):
        return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64, copy=False)


def _is_number(value: Any) -> bool:
    is_numpy = isinstance(value, np.generic) and value.dtype.kind in "fiub"
    return is_numpy or (hasattr(value, "__float__") and not isinstance(value, type) and not hasattr(value, "ndim"))


def imaginary_parts(value: Any) -> NDArray[np.float64]:
    """Return the imaginary parts of what f returned for a complex x, NaN where a real part is not finite.

    TypeError if it is not complex.
    """
    array = outputs(value)
    if array.dtype.kind != "c" and array.size:
        raise TypeError(f"{NEEDS_COMPLEX} it returned {describe(value)}")
    if np.count_nonzero(np.isfinite(array)) == array.size:  # in a third of the time of `errstate`
        return array.imag
    with np.errstate(invalid="ignore"):
        parts: NDArray[np.float64] = array.imag - (array.real - array.real)  # as in `imaginary_part`
    return parts


def floats(values: NDArray[Any]) -> Floats:
    """Return outputs as the floats of a row."""
    return np.ascontiguousarray(values).reshape(-1).view(np.float64)


def like(value: Any, base: NDArray[Any]) -> NDArray[Any]:
    """Return what f returned as an array of the shape and dtype of `base`; ValueError for another shape or kind."""
    array = outputs(value)
    if array.shape != base.shape or array.dtype is not base.dtype:
        if array.shape != base.shape or array.dtype.kind == "c":
            raise ValueError(f"{SHAPE_CHANGED}: {describe(array)}, not {base.dtype} of shape {base.shape}")
        array = array.astype(base.dtype)
    return array


def _interpreted_columns(evaluate: Any, movers: Any) -> Loop:
    """Return the loop of `loops.make_columns` for the interpreter: NumPy makes the rows of a block at once."""
    displace, restore = movers

    def columns(state: Any, data: Any, args: Any, where: Any, start: int, stop: int, out: Any) -> int:
        (x, point, origin), (base, eps, offsets, weights, scheme_index, denominators, is_stored) = state, data
        several, flags = len(scheme_index) > 1, 0
        length = 1 if several else max(1, _BLOCK // max(1, len(offsets[0]) * out.shape[1]))
        values, divisors = np.empty((len(offsets[0]), length, *base.shape), base.dtype), np.empty(length)
        for first in range(start, stop, length):
            row, done = scheme_index[first if several else 0], 0
            terms = [term for term in zip(offsets[row], weights[row], strict=True) if term[1]]
            try:
                for k in range(first, min(first + length, stop)):
                    if k > start:  # what f wrote to it before, the rest would hide
                        flags |= restore(point, origin, where, k, 0.0, eps)
                    width, last = 0.0, 0.0
                    for m, (offset, weight) in enumerate(terms):
                        if offset:
                            width, last = width + weight * displace(point, origin, where, k, offset), offset
                        values[m, done] = like(evaluate(x, args), base) if offset else base
                    flags |= restore(point, origin, where, k, last, eps)
                    divisors[done] = width if is_stored else loops.unit_of(where, k, denominators[row])
                    done += 1
            finally:  # an exception leaves no half of a row
                flags |= _write_sums(values[:, :done], terms, divisors[:done], out[first : first + done])
        return flags

    return columns


def _move_members(point: Any, origin: Any, where: Any, k: int, offset: float) -> float:
    """Do what `loops.move` does, for several members, without the distance."""
    chosen, along = moved_by(where, k)
    point[chosen] = origin[chosen] + offset * along
    return 0.0


def _settle_members(point: Any, origin: Any, where: Any, k: int, offset: float, _: float) -> int:
    """Do what `loops.settle` does, for several members, which lose no step."""
    if not offset:  # nothing has moved
        return 0
    chosen, along = moved_by(where, k)
    home = origin[chosen]
    is_left = still_holds(point[chosen], home + offset * along)
    point[chosen] = home
    return 0 if is_left else ARGUMENT_CHANGED


def _write_sums(values: NDArray[Any], terms: list[Any], divisors: Floats, out: Floats) -> int:
    """Write the sums of the `values` of (offset, weight) terms, divided, to the rows of `out`, and return flags."""
    rows, lost = values.view(np.float64).reshape(len(values), *out.shape), divisors == 0.0
    with np.errstate(all="ignore"):
        total: Any = -0.0  # which changes no bit of a sum
        for (_, weight), row in zip(terms, rows, strict=False):
            total = total + weight * row
        np.divide(total, np.where(lost, np.nan, divisors)[:, np.newaxis], out=out)
    return (RESPONDED if total.any() else 0) | (STEP_LOST if lost.any() else 0)


class VectorObjective(PythonObjective):
    """A Python callable that returns an array, called in place."""

    def value(self, x: Any, args: tuple[Any, ...]) -> NDArray[Any]:
        """Return a copy of f(x); ValueError if f writes to its argument."""
        return outputs(self.returned(x, args)).copy()

    def evaluate(self, x: Any, args: tuple[Any, ...]) -> Any:
        """Return what f returns, for a loop that protects the memory and uses it at once."""
        return self.f(x, *args)

    def sweep(self, x: Any, args: tuple[Any, ...], rule: Rule, where: Any, out: Floats) -> VectorSweep:
        """Return the work of a `rule` whose data begin with f(x)."""
        super().sweep(x, args, rule, where, out)  # which raises what a complex step must
        return VectorSweep(self, x, args, rule, where, out)


class VectorSweep(PythonSweep):
    """Units of work for a Python callable that returns an array: a row of outputs each."""

    def _units(self) -> tuple[Any, Any, Any, Any]:
        if self.rule.interpreted is not None:
            return super()._units()
        evaluate = self.objective.evaluate
        if self.rule.make is make_complex_step:
            evaluate = PythonObjective(self.objective.f, imaginary_parts).evaluate
        movers = (_move_members, _settle_members) if len(self.where.starts) else MOVERS
        return _interpreted_columns(evaluate, movers), *self.fast_units(), self.out

    def value_at(self, offsets: NDArray[Any]) -> float:
        """Return one number that tells the outputs where x has moved by `offsets`."""
        f, is_complex = self.objective.f, self.rule.make is make_complex_step
        one = PythonObjective(lambda x, *args: mixed(f(x, *args), is_complex))
        return PythonSweep(one, self.x, self.args, self.rule, self.where, self.out).value_at(offsets)


def mixed(values: Any, as_complex: bool = False) -> Any:
    """Return the sum of the finite outputs, or of their floats, with weights from 0.5 to 1."""
    row = outputs(values).reshape(-1) if as_complex else floats(outputs(values))
    row = np.where(np.isfinite(row), row, 0.0)
    return (row @ parts_of_steps(row.size)).item()


class BatchObjective(VectorizedObjective):
    """A Python callable that takes a batch of points, of shape ``(k, *x.shape)``, and returns k arrays as one."""

    def value(self, x: Any, args: tuple[Any, ...]) -> NDArray[Any]:
        """Return a copy of f(x), from a batch that has the length of no axis of x."""
        value: NDArray[Any] = self.returned(x, args)
        return value.copy()

    def values(self, batch: Floats, args: tuple[Any, ...]) -> NDArray[Any]:
        """Return f of each point of a batch."""
        values = self.f(batch, *args)
        if outputs(values).shape[:1] != (len(batch),):
            raise ValueError(
                f"a vectorized f must return {len(batch)} arrays, as one, for a batch of shape {batch.shape}, it "
                f"returned {describe(values)}"
            )
        return np.asarray(values)

    def sweep(self, x: Any, args: tuple[Any, ...], rule: Rule, where: Any, out: Floats) -> BatchSweep:
        """Return the work of a `rule` whose data begin with f(x), in batches."""
        self.check(x, args, rule)
        return BatchSweep(self, x, args, rule, where, out)


class BatchSweep(VectorizedSweep):
    """Units of work for a callable that takes batches: a row of outputs each."""

    zero = -0.0  # which changes no bit of a sum
    as_one = staticmethod(mixed)

    def rows_of(self, batch: Floats) -> Floats:
        """Return the floats of the outputs at each point of a batch; ValueError if they are not shaped as f(x)."""
        base, values = self.rule.data[0], outputs(self.objective.values(batch, self.args))
        like(values[0], base)
        return floats(values.astype(base.dtype, copy=False))
