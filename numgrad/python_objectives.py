"""Python callables as objectives: one point at a time, in place, or a batch of points at once."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import buffers, loops, ridders
from .arguments import describe
from .incremental import IncrementalObjective
from .scalars import imaginary_part, real_number
from .schemes import ComplexStep, Stencil, Step, as_stencil
from .workers import Pace

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
float64 = np.float64

EVERY: Indices = np.empty(0, np.intp)  # in place of coordinates: all of them, in C order

LOST = 1  # h was below the spacing of some coordinate
MOVED = 2  # some difference was not zero
DIVERGED = 4  # the last iterate of a descent is not finite


class PythonObjective:
    """A Python callable: called twice a coordinate, in place, on the caller's own array."""

    threads = False
    why_no_threads = (
        "compiled with numba.njit: threads cannot share the interpreter, and a Python f may read the very array that "
        "is perturbed"
    )

    def __init__(self, f: Callable[..., Any]) -> None:
        self.f = f

    @property
    def pace(self) -> Pace:
        return Pace()

    @property
    def estimate_pace(self) -> Pace:
        return Pace()

    def hold(self, x: ArrayLike) -> tuple[NDArray[Any], bool]:
        return buffers.written_through(x)

    def may_be_deaf(self, private: bool) -> bool:
        return private

    def check(self, x: NDArray[Any], args: tuple[Any, ...]) -> None:
        pass

    def value_at(self, x: NDArray[Any], args: tuple[Any, ...]) -> float:
        return real_number(self.f(x, *args))

    def estimate(
        self,
        x: NDArray[Any],
        base: float,
        args: tuple[Any, ...],
        coordinates: Indices,
        start: int,
        stop: int,
        outputs: tuple[NDArray[Any], ...],
    ) -> int:
        saved, memory = buffers.native_copy(x), x.view(np.ndarray)
        loop = ridders.make_estimates(self.value_at)
        work, views = [0.0] * ridders.WORK, (output.data for output in outputs)
        try:
            with np.errstate(all="ignore"):  # f is asked far from x, where it may overflow or leave its domain
                flags: int = loop(
                    x, buffers.cells(x), base, buffers.resolution(x), args, work, coordinates, start, stop, *views
                )
        finally:
            memory[...] = saved
        return flags

    def parts(self, x: NDArray[Any], step: Step, args: tuple[Any, ...]) -> list[tuple[float, Step]]:
        return [(1.0, with_base(step, lambda: self.value_at(x, args)))]

    def prepare(self, x: NDArray[Any], step: Step, args: tuple[Any, ...]) -> NDArray[Any]:  # noqa: ARG002
        return x

    def own(self, state: NDArray[Any]) -> NDArray[Any]:
        return state

    def fill(
        self,
        x: NDArray[Any],
        step: Step,
        args: tuple[Any, ...],
        coordinates: Indices,
        start: int,
        stop: int,
        out: Floats,
    ) -> int:
        if isinstance(step, Stencil):
            return self._fill_by_stencil(x, step, args, coordinates, start, stop, out)
        if isinstance(step, ComplexStep):
            z = x.astype(np.complex128, order="C", subok=False)
            loop = loops.make_complex_step(lambda z, args: imaginary_part(self.f(z, *args)))
            return loop(z, z.reshape(-1), step.steps.data, args, coordinates, start, stop, out.reshape(-1))
        f: Any = (lambda x: self.f(x, *args)) if args else self.f
        h = step
        chosen = coordinates[start:stop] if coordinates.size else slice(start, stop)
        indices = range(start, stop) if isinstance(chosen, slice) else chosen.tolist()
        saved, narrow = buffers.native_copy(x), buffers.is_narrow(x)
        point, values, quotients = buffers.cells(x), buffers.numbers(saved), buffers.cells(out)
        memory = x.view(np.ndarray)  # a subclass may do more than assign
        width, coarse = 1.0 if narrow else 2 * h, h / buffers.resolution(x)
        lost = moved = 0
        try:
            for k, i in enumerate(indices, start):
                value = values[i]
                if value > coarse or value < -coarse:
                    lost = LOST
                point[i] = value + h
                plus = f(x)
                if plus.__class__ is not float:
                    plus = float(plus) if plus.__class__ is float64 else real_number(plus)
                point[i] = value - h
                minus = f(x)
                if minus.__class__ is not float:
                    minus = float(minus) if minus.__class__ is float64 else real_number(minus)
                point[i] = value
                difference = plus - minus
                if difference != 0.0:
                    moved = MOVED
                quotients[k] = difference / width
        finally:
            # An assignment, not a call: CPython raises a pending Ctrl-C at calls and jumps, so none can come between.
            memory[...] = saved
        if narrow:
            part, near = out.reshape(-1)[start:stop], saved.reshape(-1)[chosen]
            lost |= LOST * buffers.divide_by_stored_width(part, near, h)
        return lost | moved

    def _fill_by_stencil(
        self,
        x: NDArray[Any],
        stencil: Stencil,
        args: tuple[Any, ...],
        coordinates: Indices,
        start: int,
        stop: int,
        out: Floats,
    ) -> int:
        saved, memory = buffers.native_copy(x), x.view(np.ndarray)
        try:
            return loops.make_stencil(self.value_at)(
                x,
                buffers.cells(x),
                stencil.base,
                stencil.steps.data,
                stencil.rows.data,
                stencil.offsets.tolist(),
                stencil.weights.tolist(),
                stencil.denominators.data,
                stencil.stored or buffers.is_narrow(x),
                buffers.resolution(x),
                args,
                coordinates,
                start,
                stop,
                buffers.cells(out),
            )
        finally:
            memory[...] = saved


class VectorizedObjective(PythonObjective):
    """A Python callable that takes a batch of points, of shape ``(k, *x.shape)``, and returns k values."""

    def __init__(self, f: Callable[..., Any], batch_bytes: int) -> None:
        if not callable(f) or isinstance(f, IncrementalObjective):
            raise TypeError(f"vectorized=True needs an f that takes a batch of points, got {describe(f)}")
        super().__init__(f)
        self.batch_bytes = batch_bytes

    def hold(self, x: ArrayLike) -> tuple[NDArray[Any], bool]:
        return buffers.private_copy(buffers.real_array(x)), True

    def value_at(self, x: NDArray[Any], args: tuple[Any, ...]) -> float:
        return float(self._values(x[np.newaxis].copy(), args)[0])

    def parts(self, x: NDArray[Any], step: Step, args: tuple[Any, ...]) -> list[tuple[float, Step]]:
        if isinstance(step, ComplexStep):
            raise ValueError("vectorized=True has no complex step; use another scheme, or vectorized=False")
        return super().parts(x, step, args)

    def estimate(self, *_: Any) -> int:
        raise TypeError("an estimate with errors looks for the step of each coordinate; pass an f of one point")

    def fill(
        self,
        x: NDArray[Any],
        step: Step,
        args: tuple[Any, ...],
        coordinates: Indices,
        start: int,
        stop: int,
        out: Floats,
    ) -> int:
        stencil = as_stencil(step) if isinstance(step, float) else step
        assert isinstance(stencil, Stencil)  # noqa: S101, `parts` has refused the complex step
        block = max(1, self.batch_bytes // max(1, x.nbytes * stencil.offsets.shape[1]))
        flags, flat = 0, out.reshape(-1)
        for first in range(start, stop, block):
            part = slice(first, min(first + block, stop))
            chosen = coordinates[part] if coordinates.size else np.arange(part.start, part.stop)
            flags |= self._fill_block(x, stencil, args, chosen, flat[part])
        return flags

    def _fill_block(
        self, x: NDArray[Any], stencil: Stencil, args: tuple[Any, ...], chosen: Indices, out: Floats
    ) -> int:
        """Write the quotients of the coordinates `chosen`, from one batch of all their points."""
        count, values = len(chosen), x.reshape(-1)[chosen]
        # Numbers where one stands for all coordinates, which is faster, else arrays of one for each.
        steps = _one_or_each(stencil.steps, chosen)
        if len(stencil.rows) == 1:
            row = int(stencil.rows[0])
            offsets, weights = stencil.offsets[row].tolist(), stencil.weights[row].tolist()
            denominator: Any = float(stencil.denominators[row])
            moving = [m for m, offset in enumerate(offsets) if offset]
        else:
            rows = stencil.rows[chosen]
            offsets, weights = list(stencil.offsets[rows].T), list(stencil.weights[rows].T)
            denominator = stencil.denominators[rows]
            moving = [m for m, offset in enumerate(offsets) if offset.any()]
        batch, each = np.empty((len(moving), count, x.size)), np.arange(count)
        batch[...] = x.reshape(-1)
        points = [values + offsets[m] * steps for m in moving]
        for k, point in enumerate(points):
            batch[k, each, chosen] = point
        found = self._values(batch.reshape(-1, *x.shape), args).reshape(len(moving), count)
        total, width = np.zeros(count), np.zeros(count)
        with np.errstate(all="ignore"):
            for m, (offset, weight) in enumerate(zip(offsets, weights, strict=True)):  # in the order of the loops
                if m in moving:
                    k = moving.index(m)
                    term = weight * found[k]
                    total += (
                        term if isinstance(weight, float) else np.where((weight != 0.0) & (offset != 0.0), term, 0.0)
                    )
                    width += weight * (points[k] - values) if stencil.stored else 0.0
                if not isinstance(offset, float) or not offset:
                    total += np.where(np.equal(offset, 0.0) & np.not_equal(weight, 0.0), weight * stencil.base, 0.0)
            np.divide(total, width if stencil.stored else denominator * steps, out=out)
            lost = LOST if (np.abs(values) > steps / buffers.EPS).any() else 0
        return lost | (MOVED if total.any() else 0)

    def _values(self, batch: Floats, args: tuple[Any, ...]) -> Floats:
        values = np.asarray(self.f(batch, *args))
        if values.shape != (len(batch),) or values.dtype.kind not in "fiu":
            raise TypeError(
                f"a vectorized f must return {len(batch)} real numbers for a batch of shape {batch.shape}, it returned "
                f"{describe(values)}"
            )
        return values.astype(np.float64)


def _one_or_each(numbers: Floats, chosen: Indices) -> Any:
    return numbers[chosen] if len(numbers) > 1 else float(numbers[0])


def with_base(step: Step, evaluate: Callable[[], float]) -> Step:
    """Return `step` with the value of f at x itself, if it counts there."""
    if isinstance(step, Stencil) and step.needs_base:
        return step._replace(base=evaluate())
    return step
