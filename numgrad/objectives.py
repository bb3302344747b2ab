"""Objectives: how one difference ``f(x + h e_i) - f(x - h e_i)`` is evaluated.

Each kind *prepares* a point once, gives each thread a state of its own, and *fills* ranges of coordinates with
difference quotients, which gives the flags of `python_objectives`. That is all that the drivers know of a kind.
"""

import functools
from collections.abc import Hashable
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import buffers, loops, ridders
from .arguments import describe
from .incremental import IncrementalObjective
from .inspection import captured_arrays, explain, is_compiled, numba_kind
from .python_objectives import PythonObjective, VectorizedObjective, with_base
from .scalars import compiled_evaluation, imaginary_part, real_number
from .schemes import ComplexStep, Stencil, Step
from .workers import Pace

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


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

        return kernels.compiled()(loops.make_complex_step(compiled_evaluation(self.f, imaginary_part)))

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
        return [(1.0, with_base(step, lambda: self.value_at(x, args)))]

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
