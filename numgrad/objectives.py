"""Objectives: how one difference ``f(x + h e_i) - f(x - h e_i)`` is evaluated.

Each kind *prepares* a point once, gives each thread a state of its own, and *fills* ranges of coordinates with
difference quotients, which gives the flags below. That is all the drivers in `gradient` know of a kind.
"""

import functools
from collections.abc import Callable, Hashable
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import buffers, loops, ridders
from .arguments import describe
from .incremental import IncrementalObjective
from .inspection import captured_arrays, explain, is_compiled, numba_kind
from .scalars import compiled_evaluation, compiled_imaginary_evaluation, imaginary_part, real_number
from .schemes import ComplexStep, Stencil, Step, as_stencil
from .workers import Pace

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
float64 = np.float64

EVERY: Indices = np.empty(0, np.intp)  # in place of coordinates: all of them, in C order

LOST = 1  # h was below the spacing of some coordinate
MOVED = 2  # some difference was not zero
DIVERGED = 4  # the last iterate of a descent is not finite


class Objective(Protocol):
    """What the drivers ask of a kind of objective."""

    threads: bool  # its ranges may run on several threads
    why_no_threads: str  # what is to be said otherwise: "needs an f ..."

    @property
    def f(self) -> Any:
        """What the user gave."""

    @property
    def pace(self) -> Pace:
        """How fast it was, for the next call."""

    @property
    def estimate_pace(self) -> Pace:
        """The same, of estimates with errors."""

    def hold(self, x: ArrayLike) -> tuple[NDArray[Any], bool]:
        """Return the array that stands for `x`, and whether it is a private copy."""

    def may_be_deaf(self, private: bool) -> bool:
        """Tell whether `f` could ignore its argument unnoticed, where `private` says whether that is a copy."""

    def check(self, x: NDArray[Any], args: tuple[Any, ...]) -> None:
        """Raise a ValueError if `f` reads the caller's `x` in a way in which it would not see it change."""

    def value_at(self, x: NDArray[Any], args: tuple[Any, ...]) -> float:
        """Return f(x)."""

    def estimate(
        self,
        state: Any,
        base: float,
        args: tuple[Any, ...],
        coordinates: Indices,
        start: int,
        stop: int,
        outputs: tuple[NDArray[Any], ...],
    ) -> int:
        """Write estimates with errors of a range of coordinates to `outputs`; `numgrad.ridders` explains them."""

    def parts(self, x: NDArray[Any], step: Step, args: tuple[Any, ...]) -> list[tuple[float, Step]]:
        """Return (factor, step) of what `fill` can do, whose sum is what `step` asks for."""

    def prepare(self, x: NDArray[Any], step: Step, args: tuple[Any, ...]) -> Any:
        """Return what the differences at `x` have in common."""

    def own(self, state: Any) -> Any:
        """Return a state that one thread may use."""

    def fill(
        self, state: Any, step: Step, args: tuple[Any, ...], coordinates: Indices, start: int, stop: int, out: Floats
    ) -> int:
        """Write the quotients of ``coordinates[start:stop]`` (of start <= i < stop if empty) and return their flags."""


def as_objective(f: Any, args: tuple[Any, ...], batch_bytes: int = 0) -> Objective:
    """Recognise the kind of `f`; with `batch_bytes` it takes batches of points of so many bytes.

    Raises
    ------
    TypeError
        If `f` is not callable or `args` is not a tuple.
    """
    if not isinstance(args, tuple):
        raise TypeError(f"args must be a tuple, got {describe(args)}; write args=(a,) for one argument")
    if batch_bytes:
        return VectorizedObjective(f, batch_bytes)
    known = _known.get(id(f))
    if known is not None:
        return known
    if isinstance(f, IncrementalObjective):
        return f
    if is_compiled(f):
        return _remember(CompiledObjective(f))
    if not callable(f):
        raise TypeError(f"f must be callable, got {describe(f)}")
    return PythonObjective(f)


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
        return [(1.0, _with_base(step, lambda: self.value_at(x, args)))]

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


def _with_base(step: Step, evaluate: Callable[[], float]) -> Step:
    """Return `step` with the value of f at x itself, if it counts there."""
    if isinstance(step, Stencil) and step.needs_base:
        return step._replace(base=evaluate())
    return step


class CompiledObjective:
    """A function that the user compiled with `numba.njit`: the whole loop is compiled around it.

    Attributes
    ----------
    captured : list of (str, ndarray)
        The arrays that `f` reads as globals or from its closure. Numba froze their values when it compiled `f`.
    """

    why_no_threads = "compiled without parallel=True: this one starts threads of its own"

    def __init__(self, f: Any) -> None:
        from . import kernels

        self.f, self.pace, self.descent_pace, self.estimate_pace = f, Pace(), Pace(), Pace()
        # Two threads in a parallel region abort the process on numba's workqueue layer.
        self.threads = not getattr(f, "targetoptions", {}).get("parallel", False)
        self.captured: list[tuple[str, NDArray[Any]]] = []
        self.kinds: set[Hashable] = set()
        self.evaluate = compiled_evaluation(f)
        differences = kernels.make_differences(self.evaluate)
        self.gradient, self.descent = kernels.make_gradient(differences), kernels.make_descent(differences)

    @functools.cached_property
    def stencil(self) -> Any:
        """The compiled loop over the coordinates for a scheme that is data."""
        from . import kernels

        return kernels.compiled()(loops.make_stencil(self.evaluate))

    @functools.cached_property
    def estimates(self) -> Any:
        """The compiled loop of estimates with errors."""
        from . import kernels

        return ridders.make_estimates(self.evaluate, kernels.compiled())

    @functools.cached_property
    def complex_step(self) -> Any:
        """The compiled loop of the complex step."""
        from . import kernels

        return kernels.compiled()(loops.make_complex_step(compiled_imaginary_evaluation(self.f)))

    def hold(self, x: ArrayLike) -> tuple[NDArray[Any], bool]:
        return buffers.real_array(x), True

    def may_be_deaf(self, private: bool) -> bool:  # noqa: ARG002
        return True

    def value_at(self, x: NDArray[Any], args: tuple[Any, ...]) -> float:
        try:
            return real_number(self.f(buffers.private_copy(x), *args))
        except Exception as error:
            explain(error)
            raise

    def estimate(
        self,
        x: Floats,
        base: float,
        args: tuple[Any, ...],
        coordinates: Indices,
        start: int,
        stop: int,
        outputs: tuple[NDArray[Any], ...],
    ) -> int:
        units = (np.empty(ridders.WORK), coordinates, start, stop, *outputs)
        try:
            flags: int = self.estimates(x, x.reshape(-1), base, buffers.EPS, args, *units)
        except Exception as error:
            explain(error)
            raise
        return flags

    def parts(self, x: NDArray[Any], step: Step, args: tuple[Any, ...]) -> list[tuple[float, Step]]:
        return [(1.0, _with_base(step, lambda: self.value_at(x, args)))]

    def check(self, x: NDArray[Any], args: tuple[Any, ...]) -> None:
        kind = (x.ndim, *map(numba_kind, args)) if args else x.ndim
        if kind not in self.kinds:  # numba will compile f for it, with what its names mean now
            self.kinds.add(kind)
            self.captured += captured_arrays(self.f)
        if self.captured:
            # What the names mean now is asked again: numba goes on with what they meant when it compiled f.
            for name, array in (*self.captured, *captured_arrays(self.f)):
                if np.shares_memory(array, x):
                    raise ValueError(
                        f"the compiled f reads x as the captured variable {name!r}, whose values numba froze when it "
                        f"compiled f; let f read x from its first argument, and pass other data by args="
                    )
        if args and x.flags.writeable and x.dtype.kind == "f":
            for name, array in buffers.arrays_in(args):
                if np.shares_memory(array, x):
                    raise ValueError(
                        f"{name} shares memory with x, but a compiled f sees only a private copy of x change; "
                        f"let f read x from its first argument, or pass a copy in args="
                    )

    def prepare(self, x: NDArray[Any], step: Step, args: tuple[Any, ...]) -> NDArray[Any]:  # noqa: ARG002
        return x

    def own(self, state: NDArray[Any]) -> Floats:
        return buffers.private_copy(state)

    def fill(
        self, x: Floats, step: Step, args: tuple[Any, ...], coordinates: Indices, start: int, stop: int, out: Floats
    ) -> int:
        flags: int
        try:
            if isinstance(step, Stencil):
                steps, rows, *table, stored, base = step
                units = (args, coordinates, start, stop, out.reshape(-1))
                flags = self.stencil(x, x.reshape(-1), base, steps, rows, *table, stored, buffers.EPS, *units)
            elif isinstance(step, ComplexStep):
                z = x.astype(np.complex128)
                flags = self.complex_step(z, z.reshape(-1), *step, args, coordinates, start, stop, out.reshape(-1))
            else:
                flags = self.gradient(x, step, args, coordinates, start, stop, out)
        except Exception as error:
            explain(error)
            raise
        return flags

    def descend(self, x: Floats, lr: float, h: float, args: tuple[Any, ...], *rest: Any) -> int:
        """Compute a range of iterates with the descent kernel, which explains the arguments."""
        try:
            flags: int = self.descent(x, lr, h, args, *rest)
        except Exception as error:
            explain(error)
            raise
        return flags


# By id, since a lookup by hash costs as much as a small gradient; each objective keeps its f, and so the id, alive.
_known: dict[int, CompiledObjective] = {}
_MOST_KNOWN = 256


def _remember(objective: CompiledObjective) -> CompiledObjective:
    """Keep the loops compiled around a function, for the functions that came last."""
    while len(_known) >= _MOST_KNOWN:
        _known.pop(next(iter(_known)), None)
    return _known.setdefault(id(objective.f), objective)
