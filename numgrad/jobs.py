"""Jobs: what ranges of coordinates need where they are done in another process, and whether it can travel."""

import functools
import math
from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import buffers
from .distribution import Engine, UnwantedError, distribute, travelled
from .objectives import Objective, as_objective
from .progress import Report
from .python_objectives import PythonObjective
from .workers import Filler


def run_job(
    engine: Engine,
    job: "RangeJob",
    coordinates: NDArray[np.intp],
    outputs: tuple[NDArray[Any], ...],
    report: Report | None,
) -> int:
    """Run a job through an engine, for all coordinates if none are named, and return the flags."""
    check_travel(job)
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

    def in_ranges(self, fill: Filler, coordinates: NDArray[np.intp], wanted: Callable[[], bool]) -> int:
        """Fill all `coordinates`, those of a Python f one by one, and note on an exception where it was raised.

        Raises
        ------
        UnwantedError
            If the result is not `wanted` any more; what was filled until then is of no use.
        """
        plain = isinstance(self.objective, PythonObjective) and not self.batch_bytes
        length, flags = 1 if plain else max(1, len(coordinates)), 0
        for start in range(0, len(coordinates), length):
            if not wanted():
                raise UnwantedError
            try:
                flags |= fill(start, min(start + length, len(coordinates)))
            except Exception as error:
                last = coordinates[min(start + length, len(coordinates)) - 1]
                where = f"coordinate {coordinates[start]}" if plain else f"coordinates {coordinates[start]} to {last}"
                error.add_note(f"raised for {where} of x (flat, in C order)")
                raise
        return flags


def check_travel(job: RangeJob) -> None:
    """Raise a ValueError if a Python f would see another array than its own `x` change where the job arrives.

    That can be if `x` is a view, or if f travels by its name; then, and only then, f is evaluated twice to find out.
    """
    f, x = job.f, job.x
    by_name = isinstance(f, FunctionType) and "<" not in f.__qualname__ and f.__module__ != "__main__"
    if not isinstance(job.objective, PythonObjective) or job.batch_bytes or not (by_name or x.base is not None):
        return
    arrived = travelled(job)
    saved, memory = buffers.native_copy(x), x.view(np.ndarray)
    try:
        memory[...] = moved = (saved.astype(np.float64) * 1.001 + 0.001).astype(x.dtype)
        here = job.objective.value_at(x, job.args)
    finally:
        memory[...] = saved
    arrived.x.view(np.ndarray)[...] = moved
    there = arrived.objective.value_at(arrived.x, arrived.args)
    if not (math.isclose(here, there, rel_tol=1e-6) or (math.isnan(here) and math.isnan(there))):
        raise ValueError(
            "in another process f would read another array than the x that changes there: x is a view of what f reads, "
            "or f reads a global; pass that array itself as x, and let f be a closure or read its argument"
        )


class QuotientJob(RangeJob):
    """Difference quotients."""

    def run(self, coordinates: NDArray[np.intp], wanted: Callable[[], bool]) -> tuple[int, tuple[NDArray[Any], ...]]:
        """Return the flags and the quotients."""
        out = np.empty(len(coordinates))

        def fill(start: int, stop: int) -> int:
            return self.objective.fill(self.state, self.step, self.args, coordinates, start, stop, out)

        return self.in_ranges(fill, coordinates, wanted), (out,)
