"""Jobs: what ranges of coordinates need where they are done in another process, and whether it can travel."""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import buffers
from .distribution import Engine, UnwantedError, distribute
from .objectives import Objective, as_objective
from .progress import Report
from .python_objectives import PythonObjective
from .schemes import ComplexStep, Stencil
from .workers import Filler

_DEAF = 0.02  # share of the response of f from which one that is missing elsewhere counts


def run_job(
    engine: Engine,
    job: "RangeJob",
    coordinates: NDArray[np.intp],
    outputs: tuple[NDArray[Any], ...],
    report: Report | None,
) -> int:
    """Run a job through an engine, for all coordinates if none are named, and return the flags."""
    chosen = coordinates if coordinates.size else np.arange(outputs[0].size)
    return distribute(engine, job, chosen, outputs, report)


class RangeJob:
    """What a range of coordinates needs where it is done, in another process; it travels as one pickle."""

    def __init__(self, objective: Objective, x: NDArray[Any], args: tuple[Any, ...], step: Any) -> None:
        self.f, self.batch_bytes = objective.f, getattr(objective, "batch_bytes", 0)
        self.x, self.args, self.step = x, args, step

    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in ("f", "batch_bytes", "x", "args", "step")}

    @functools.cached_property
    def objective(self) -> Objective:
        """The objective, recognised anew where the job arrived."""
        return as_objective(self.f, self.args, self.batch_bytes)

    @functools.cached_property
    def state(self) -> Any:
        """What the ranges share."""
        return self.objective.own(self.objective.prepare(self.x, self.step, self.args))

    def run(self, coordinates: NDArray[np.intp], wanted: Callable[[], bool]) -> tuple[int, tuple[NDArray[Any], ...]]:
        """Return the flags and an array for each output."""
        raise NotImplementedError

    @property
    def plain(self) -> bool:
        """Whether a Python f is asked for one point at a time."""
        return isinstance(self.objective, PythonObjective) and not self.batch_bytes

    def witness(self) -> float | None:
        """Return a plain f at a point where all coordinates have moved, or None if it has no value there."""
        if not self.plain or isinstance(self.step, ComplexStep):
            return None
        memory, saved = self.x.view(np.ndarray), buffers.native_copy(self.x)
        try:
            memory[...] = _moved(saved, self.step).astype(self.x.dtype)
            return self.objective.value_at(self.x, self.args)
        except Exception:  # noqa: BLE001, f need not be defined at a point that nobody asked for
            return None
        finally:
            memory[...] = saved

    def confirm(self, there: float | None) -> None:
        """Raise a ValueError if f reads another array than its `x` where the job arrived, by its `witness` there.

        What does not respond there as here is told from the noise of f by evaluating it again.
        """
        if there is None:
            return
        here = self.witness()
        if here is None or math.isnan(here) or math.isclose(here, there, rel_tol=1e-9):
            return
        again = self.witness()
        response, noise = here - self.objective.value_at(self.x, self.args), here - (here if again is None else again)
        if not abs(here - there) <= _DEAF * abs(response) + 10.0 * abs(noise):
            raise ValueError(
                "in another process f reads another array than the x that changes there: x is a view of what f reads, "
                "or f reads a global, or a module; pass the array itself, and let f be a closure or read its argument"
            )

    def in_ranges(self, fill: Filler, coordinates: NDArray[np.intp], wanted: Callable[[], bool]) -> int:
        """Fill all `coordinates`, those of a Python f one by one, and note on an exception where it was raised.

        Raises
        ------
        UnwantedError
            If the result is not `wanted` any more; what was filled until then is of no use.
        """
        length, flags = 1 if self.plain else max(1, len(coordinates)), 0
        for start in range(0, len(coordinates), length):
            if not wanted():
                raise UnwantedError
            try:
                flags |= fill(start, min(start + length, len(coordinates)))
            except Exception as error:
                first, last = coordinates[start], coordinates[min(start + length, len(coordinates)) - 1]
                where = f"coordinate {first}" if self.plain else f"coordinates {first} to {last}"
                error.add_note(f"raised for {where} of x (flat, in C order)")
                raise
        return flags


def _moved(x: NDArray[Any], step: Any) -> NDArray[np.float64]:
    """Return a point near `x` where all coordinates have moved, each by another share; within reach of a stencil."""
    shares = 0.5 + 0.5 * ((0.618 * np.arange(x.size)) % 1.0)
    if isinstance(step, Stencil):
        offsets = step.offsets[step.rows]
        widest = np.take_along_axis(offsets, np.abs(offsets).argmax(1)[:, np.newaxis], 1)[:, 0]
        reach = np.where(step.rows < 0, 0.0, step.steps * widest)  # below 0: left out, for want of room
    else:
        reach = 1e-3 * (1.0 + np.abs(x.reshape(-1).astype(np.float64)))
    moved: NDArray[np.float64] = x.astype(np.float64) + (shares * reach).reshape(x.shape)
    return moved


class QuotientJob(RangeJob):
    """Difference quotients."""

    def run(self, coordinates: NDArray[np.intp], wanted: Callable[[], bool]) -> tuple[int, tuple[NDArray[Any], ...]]:
        """Return the flags and the quotients."""
        out = np.empty(len(coordinates))

        def fill(start: int, stop: int) -> int:
            return self.objective.fill(self.state, self.step, self.args, coordinates, start, stop, out)

        return self.in_ranges(fill, coordinates, wanted), (out,)
