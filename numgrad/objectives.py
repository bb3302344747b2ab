"""Objectives: how one difference ``f(x + h e_i) - f(x - h e_i)`` is evaluated.

Each kind *prepares* a point, which gives a state that one thread may use, and *fills* ranges of flat coordinates with
difference quotients, which gives the flags below. That is all the drivers in `gradient` know of a kind.
"""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import buffers
from .arguments import describe
from .inspection import captured_arrays, explain, is_compiled
from .scalars import compiled_evaluation, real_number
from .workers import Pace

Floats = NDArray[np.float64]
float64 = np.float64

LOST = 1  # h was below the spacing of some coordinate
MOVED = 2  # some difference was not zero
DIVERGED = 4  # the last iterate of a descent is not finite


class Objective(Protocol):
    """What the drivers ask of a kind of objective."""

    compiled: bool  # f runs without the interpreter, on a private copy of x: its ranges may run on threads
    pace: Pace

    def hold(self, x: ArrayLike) -> tuple[NDArray[Any], bool]:
        """Return the array that stands for `x`, and whether `f` sees a private copy instead of the caller's."""

    def prepare(self, x: NDArray[Any], args: tuple[Any, ...]) -> Any:
        """Return what `fill` needs to evaluate differences at `x`, for one thread."""

    def fill(self, state: Any, h: float, args: tuple[Any, ...], start: int, stop: int, out: Floats) -> int:
        """Write the quotients of the coordinates start <= i < stop to `out`, and return their flags."""


def as_objective(f: Any, args: tuple[Any, ...]) -> Objective:
    """Recognise the kind of `f`.

    Raises
    ------
    TypeError
        If `f` is not callable or `args` is not a tuple.
    """
    if args.__class__ is not tuple:
        raise TypeError(f"args must be a tuple, got {describe(args)}; write args=(a,) for one argument")
    known = _known.get(id(f))
    if known is not None:
        return known
    if is_compiled(f):
        return _remember(CompiledObjective(f))
    if not callable(f):
        raise TypeError(f"f must be callable, got {describe(f)}")
    return PythonObjective(f)


class PythonObjective:
    """A Python callable: called twice a coordinate, in place, on the caller's own array."""

    compiled = False
    pace = Pace()

    def __init__(self, f: Callable[..., Any]) -> None:
        self.f = f

    def hold(self, x: ArrayLike) -> tuple[NDArray[Any], bool]:
        return buffers.written_through(x)

    def prepare(self, x: NDArray[Any], args: tuple[Any, ...]) -> NDArray[Any]:  # noqa: ARG002
        return x

    def fill(self, x: NDArray[Any], h: float, args: tuple[Any, ...], start: int, stop: int, out: Floats) -> int:
        f: Any = (lambda x: self.f(x, *args)) if args else self.f
        saved, narrow = buffers.native_copy(x), buffers.is_narrow(x)
        point, values, quotients = buffers.cells(x), buffers.numbers(saved), buffers.cells(out)
        memory = x.view(np.ndarray)  # a subclass may do more than assign
        width, coarse = 1.0 if narrow else 2 * h, h / buffers.resolution(x)
        lost = moved = 0
        try:
            for i in range(start, stop):
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
                quotients[i] = difference / width
        finally:
            # An assignment, not a call: CPython raises a pending Ctrl-C at calls and jumps, so none can come between.
            memory[...] = saved
        if narrow:
            part = slice(start, stop)
            buffers.divide_by_stored_width(out.reshape(-1)[part], saved.reshape(-1)[part], h)
        return lost | moved


class CompiledObjective:
    """A function that the user compiled with `numba.njit`: the whole loop is compiled around it.

    Attributes
    ----------
    captured : list of (str, ndarray)
        The arrays that `f` reads as globals or from its closure. Numba froze their values when it compiled `f`.
    """

    compiled = True

    def __init__(self, f: Any) -> None:
        from . import kernels

        self.f, self.pace, self.descent_pace = f, Pace(), Pace()
        self.captured = list(captured_arrays(f))
        differences = kernels.make_differences(compiled_evaluation(f))
        self.gradient, self.descent = kernels.make_gradient(differences), kernels.make_descent(differences)

    def hold(self, x: ArrayLike) -> tuple[NDArray[Any], bool]:
        return buffers.real_array(x), True

    def prepare(self, x: NDArray[Any], args: tuple[Any, ...]) -> Floats:
        """Return the copy of `x` that is perturbed.

        Raises
        ------
        ValueError
            If `f` reads the memory of `x` by another way than its first argument, and would not see the copy.
        """
        for name, array in self.captured:
            if np.shares_memory(array, x):
                raise ValueError(
                    f"the compiled f reads x as the captured variable {name!r}, whose values numba froze when it "
                    f"compiled f; let f read x from its first argument, and pass other data by args="
                )
        if args:
            for i, array in enumerate(args):
                if isinstance(array, np.ndarray) and np.shares_memory(array, x):
                    raise ValueError(
                        f"args[{i}] shares memory with x, but a compiled f sees only a private copy of x change; "
                        f"let f read x from its first argument, or pass a copy in args="
                    )
        return buffers.private_copy(x)

    def fill(self, x: Floats, h: float, args: tuple[Any, ...], start: int, stop: int, out: Floats) -> int:
        try:
            flags: int = self.gradient(x, h, args, start, stop, out)
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
