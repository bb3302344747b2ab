"""What the tests share: objectives with exact gradients, the error bound of a central difference, faults."""

import functools
import os
import signal
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from numgrad.arguments import KNOWN_COMPILED
from numgrad.objectives.compiled import CompiledObjective
from numgrad.threads import Throughput

# Ctrl-C must reach the tests that press it, even where the suite runs in the background and inherits a deaf ear.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

JIT = os.environ.get("NUMBA_DISABLE_JIT", "0") in {"", "0"}
# What an interrupt at a random moment ends may be a tracer such as coverage's, which keeps its lock then, for ever.
untraced = pytest.mark.skipif(sys.gettrace() is not None, reason="an interrupt may end the tracer instead")
needs_jit = pytest.mark.skipif(not JIT, reason="numba compiles nothing under NUMBA_DISABLE_JIT=1")
# Of what takes seconds and runs no function of numba, so that with the compiler and without it it is the same.
same_without_jit = pytest.mark.skipif(not JIT, reason="runs no function of numba: the same with the compiler")


def compiled(f: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `f` as a user would; with NUMBA_DISABLE_JIT=1, have a twin of it take that route as plain Python."""
    from numba import njit

    if JIT:
        return njit()(f)
    twin = types.FunctionType(f.__code__, f.__globals__, f.__name__, f.__defaults__, f.__closure__)
    KNOWN_COMPILED[id(twin)] = CompiledObjective(twin)
    return twin


@functools.cache
def compiled_once(f: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function of a module, once for all tests: each takes its loops seconds to compile."""
    return compiled(f)


def forget_speeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have loops forget how fast they are, as those of a function do that was compiled anew."""
    known = property(lambda throughput: (None, 1), lambda throughput, value: None)
    monkeypatch.setattr(Throughput, "known", known, raising=False)


@dataclass(frozen=True)
class Problem:
    """A function of an array, its exact gradient, and a bound of its third derivatives near the points in use."""

    f: Callable[[Any], Any]
    gradient: Callable[[Any], Any]
    third: float


def sum_of_squares(x):
    total = 0.0
    for value in x.flat:
        total += value * value
    return total


def cubic(x):
    total = 0.0
    for value in x.flat:
        total += value**3 - 2.0 * value
    return total


def waves(x):
    total = 0.0
    for value in x.flat:
        total += np.sin(value) * np.exp(-0.5 * value)
    return total


def chained(x):
    total, before = 0.0, 1.0
    for value in x.flat:
        total += before * value * value
        before = value
    return total


def chained_gradient(x):
    flat = x.reshape(-1)
    gradient = 2.0 * np.concatenate([[1.0], flat[:-1]])[: flat.size] * flat
    gradient[:-1] += flat[1:] ** 2
    return gradient.reshape(x.shape)


PROBLEMS = {
    "sum of squares": Problem(sum_of_squares, lambda x: 2.0 * x, 0.0),
    "cubic": Problem(cubic, lambda x: 3.0 * x**2 - 2.0, 6.0),
    "waves": Problem(waves, lambda x: np.exp(-0.5 * x) * (np.cos(x) - 0.5 * np.sin(x)), 40.0),
    "chained": Problem(chained, chained_gradient, 0.0),
}


def error_bound(problem: Problem, x: np.ndarray, h: float, eps: float = 2.0**-52) -> float:
    """Bound the error of a central difference: truncation, and the round-off of f and of the points x +- h.

    A sum of n terms carries up to n rounding errors, each relative to the sum of the magnitudes; the problems' terms
    are bounded by their value at |x| + h. The factor 4 covers the handful of operations within a term.
    """
    magnitude = float(sum(abs(problem.f(np.array([v]))) for v in (np.abs(x) + h).reshape(-1))) + 1.0
    truncation = problem.third * h**2 / 6
    round_off = 4 * max(x.size, 1) * eps * magnitude / h
    slope = float(np.max(np.abs(problem.gradient(x)), initial=0.0))
    points = eps * (float(np.max(np.abs(x), initial=0.0)) + h) / h * slope
    return truncation + round_off + points


def interrupt_at(count: int) -> Callable[[Any], float]:
    """Return an f that sends this process a real Ctrl-C at its `count`-th call."""
    calls = 0

    def f(x):
        nonlocal calls
        calls += 1
        if calls == count:
            os.kill(os.getpid(), signal.SIGINT)
        return float(np.sum(x * x))

    return f
