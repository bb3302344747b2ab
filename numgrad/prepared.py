"""The default scheme at small points, with all that can be known before a call bound to a function.

What the function cannot do, it leaves to `numerical_gradient`, which gives the same bits: it returns None.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from .arguments import ALL_COORDINATES, KNOWN_COMPILED, raise_argument_changed, raise_compile_error
from .loops import ARGUMENT_CHANGED, RESPONDED, Floats, interpreted_central, make_central
from .objectives.python import PythonObjective, run_in_place
from .points import FLOAT64, LOSS_EPS

__all__: list[str] = []  # nothing here is public

# The gradient at x for further arguments of f, or None where it is for others.
Prepared: TypeAlias = "Callable[[Any, tuple[Any, ...]], Floats | None]"
# What is called with flags, gradient and x where flags tell of more than a response.
Warn: TypeAlias = "Callable[[int, Floats, Any], object]"

# Elements of x up to which checks take a share of the time that counts. Up to as many a kernel copies x itself.
# Fixed by benchmarks/bench_callables.py.
_SMALL = 32
# In place of a copy of x, which the kernel makes.
_NO_COPY = np.empty(0)


def prepare(objective: Any, h: Any, warn: Warn) -> Prepared:
    """Return the function of a step, which leaves all to others for other kinds of objective and other steps."""
    if h.__class__ is not float:
        return leave
    if objective.__class__ is PythonObjective:
        return _in_place(objective, h, warn)
    return _compiled(objective, h, warn) if hasattr(objective, "kernels") else leave


def leave(x: Any, args: tuple[Any, ...]) -> None:
    """Leave all to others."""


def _in_place(objective: PythonObjective, h: float, warn: Warn) -> Prepared:
    """Return the function for a Python f: it does what `PythonObjective.at_once` does for a plain vector."""
    data = objective.f, objective.as_number, h, LOSS_EPS, False

    def gradient_at(x: Any, args: tuple[Any, ...]) -> Floats | None:
        if x.__class__ is not np.ndarray or x.dtype is not FLOAT64 or x.ndim != 1 or not x.flags.carray:
            return None
        size = len(x)
        if not 0 < size <= _SMALL:
            return None
        memory, saved, gradient = x[...], x.copy(), np.empty(size)
        units = data, args, (), 0, size, gradient.data
        flags = run_in_place(memory, saved, interpreted_central, (x, memory.data, saved.data), units)
        if flags != RESPONDED:
            warn(flags, gradient, x)
        return gradient

    return gradient_at


def _compiled(objective: Any, h: float, warn: Warn) -> Prepared:
    """Return the function for a compiled f: it calls the kernel, if that is known and no other memory is to be checked.

    The loops of an f that was recompiled are others. Work that is not known to be short is cut into ranges elsewhere.
    """
    kernels, key, units = objective.kernels, id(objective.f), ((h,), (), ALL_COORDINATES)
    bound: Any = None, None, None, -1, None
    array, empty, known_objectives = np.ndarray, np.empty, KNOWN_COMPILED  # names that are found faster

    def gradient_at(x: Any, args: tuple[Any, ...]) -> Floats | None:
        nonlocal bound
        if args or x.__class__ is not array or x.dtype is not FLOAT64 or x.ndim != 1 or not x.flags.carray:
            return None
        loops, throughput, known, size, run = bound
        if kernels.loops is not loops or throughput.known is not known or kernels.arrays:
            bound = _bound(kernels, units)
            return None
        if len(x) != size or known_objectives.get(key) is not objective:
            return None
        gradient = empty(size)
        try:
            flags = run(_NO_COPY, x, units, 0, size, gradient)
        except Exception as error:
            raise_compile_error(error)
            raise
        if flags != RESPONDED:
            if flags & ARGUMENT_CHANGED:
                raise_argument_changed()
            warn(flags, gradient, x)
        return gradient

    return gradient_at


def _bound(kernels: Any, units: Any) -> tuple[Any, ...]:
    """Return the loops, the speed of that for vectors, the size for which it is known to be short, and what runs it."""
    from .objectives.compiling import entry_of  # which imports numba

    loops = kernels.loops
    if 1 not in kernels.kinds or make_central not in loops:
        return None, None, None, -1, None
    kernel, throughput = loops[make_central]
    known = cost, most = throughput.known
    is_short = cost.__class__ is int and 0 < cost <= min(most, _SMALL)
    run = entry_of(kernel, _NO_COPY, _NO_COPY, units, 0, 0, _NO_COPY)
    return loops, throughput, known, cost if is_short else -1, run
