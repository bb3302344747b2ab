"""How the benchmarks run, and the table of what was promised.

Plain `pytest` runs each benchmark once, untimed; ``pytest --benchmark-only`` times them. A promised ratio is measured
by alternating the two sides in one process, so that a slow moment of the machine hits both, and is the median of the
ratios of neighbours.
"""

import statistics
import timeit
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

SECONDS = 0.002  # that a sample lasts at least, so that the clock and its call do not count
BUDGET = 2.0  # seconds for one comparison


@dataclass
class Row:
    """A line of the table; one that asks for nothing is for information."""

    what: str
    measured: float
    unit: str = "x"
    at_least: float | None = None
    at_most: float | None = None

    def __str__(self) -> str:
        asked, verdict = "", ""
        if self.at_least is not None:
            asked, verdict = f">= {self.at_least:g}", "ok" if self.measured >= self.at_least else "MISSED"
        if self.at_most is not None:
            asked, verdict = f"<= {self.at_most:g}", "ok" if self.measured <= self.at_most else "MISSED"
        return f"{self.what:76} {self.measured:9.2f} {self.unit:3} {asked:>8}  {verdict}"


ROWS: list[Row] = []


def pytest_configure(config: pytest.Config) -> None:
    """Time nothing unless it was asked for: --benchmark-disable in addopts would break --benchmark-only."""
    option = config.option
    if not (option.benchmark_only or option.benchmark_enable):
        option.benchmark_disable = True


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the table of promises below the timings."""
    if ROWS:
        terminalreporter.section("promises (medians of ratios of alternating samples in this run)")
        for row in ROWS:
            terminalreporter.write_line(str(row))


@pytest.fixture
def promise(benchmark):
    """Return ``promise(what, slow, fast, ...)``: measure how many times faster `fast` is than `slow`.

    With ``inverse=True`` the row shows time(fast) / time(slow) instead: how many times as long.
    """

    def measure(
        what: str,
        slow: Callable[[], Any],
        fast: Callable[[], Any],
        *,
        inverse: bool = False,
        at_least: float | None = None,
        at_most: float | None = None,
    ) -> None:
        if benchmark.disabled:
            slow(), fast()
            return
        ratio = statistics.median(slow / fast for slow, fast in samples(slow, fast))
        benchmark.extra_info["ratio"] = ratio = 1 / ratio if inverse else ratio
        ROWS.append(Row(what, ratio, at_least=at_least, at_most=at_most))

    return measure


def samples(*sides: Callable[[], Any]) -> list[tuple[float, ...]]:
    """Return seconds a call of each of `sides`, alternating, for as many rounds as the budget allows."""
    numbers = []
    for side in sides:
        side()
        once = max(timeit.timeit(side, number=1), 1e-7)
        numbers.append(max(1, round(SECONDS / once)))
    rounds, began = [], timeit.default_timer()
    while len(rounds) < 5 or (timeit.default_timer() - began < BUDGET and len(rounds) < 201):
        rounds.append(tuple(timeit.timeit(side, number=n) / n for side, n in zip(sides, numbers, strict=True)))
    return rounds


@pytest.fixture
def table(benchmark):
    """Return a function that adds a line to the table, unless nothing is being timed."""

    def add(*args: Any, **kwargs: Any) -> None:
        if not benchmark.disabled:
            ROWS.append(Row(*args, **kwargs))

    return add


@pytest.fixture
def exact(benchmark):
    """Return ``exact(gradient, expected, bound)``: assert that the largest error is within `bound`, and record it."""

    def check(gradient: Any, expected: Any, bound: float) -> None:
        error = float(np.max(np.abs(gradient - expected)))
        benchmark.extra_info["error"] = error
        assert error <= bound

    return check
