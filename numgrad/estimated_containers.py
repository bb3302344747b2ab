"""Estimates with respect to all arrays of a container, by those of each array."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import driver
from .arguments import as_coordinates
from .containers import Container, read_only
from .gradient import takes_containers

__all__: list[str] = []  # nothing here is public


def estimates_of_container(estimate: Callable[..., Any], f: Any, x: Any, options: dict[str, Any]) -> Any:
    """Return value, error, step, evaluations and converged in the structure of `x`, or at flat coordinates."""
    is_python, whole = takes_containers(f, options["args"], x), Container(x)
    args, coordinates, progress = (options.pop(name) for name in ("args", "coordinates", "progress"))
    driver.check_progress(progress)
    bounds, steps = (whole.own(options.pop(name), name) for name in ("bounds", "first_step"))
    size = sum(memory.size for memory in whole.arrays.values())
    chosen = np.arange(size) if coordinates is None else as_coordinates(coordinates, size)
    found, places = list[Any](), [np.empty(0, np.intp)]

    def write(function: Any, memory: NDArray[Any], name: str, first: int) -> None:
        own: dict[str, Any] = {"bounds": bounds[name], "first_step": steps[name]}
        own["progress"] = driver.after(report, sum(map(len, places)))
        places.append(np.flatnonzero((first <= chosen) & (chosen < first + memory.size)))
        if coordinates is not None:
            own["coordinates"] = chosen[places[-1]] - first
        given = read_only(memory) if name in whole.copies else memory
        if not is_python:  # a compiled f, of the numbers of a pandas object
            function, own = f, own | {"args": args}
        found.append(estimate(function, given, **own, **options))

    with driver.reporting(progress, len(chosen)) as report:
        whole.each(f, args, write)
    columns = [[getattr(part, name) for part in found] for name in ("value", "error", "step", "converged")]
    if coordinates is None:
        parts = [whole.like(column) for column in columns]
    else:
        order = np.argsort(np.concatenate(places))
        parts = [np.concatenate(column)[order] for column in columns]
    value, error, step, converged = parts
    return value, error, step, sum(part.evaluations for part in found), converged
