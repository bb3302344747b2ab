"""How the benchmarks run, and the table of targets.

Plain `pytest` runs each benchmark once, untimed; ``pytest --benchmark-only`` times them, and collects nothing else. The
ratio of a target is measured by alternating the two sides in one process, so that a slow moment of the machine hits
both, and is the median of the ratios of neighbours. A missed target fails the run with ``--strict-targets`` only.
"""

import statistics
import textwrap
import timeit
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.logger import PytestBenchmarkWarning

SECONDS = 0.002  # that a sample lasts at least, so that the clock and its call do not count
# Seconds for one comparison, and samples of each side at most. The quartiles of the ratios are 2 % apart on an idle
# machine, so the median of 100 of them is known to 0.2 %, and to 2 % where others make them 20 %.
BUDGET, MOST_SAMPLES = 0.4, 101
# Samples at least; three where these take longer than five budgets, as of a side of a second.
FEWEST, FEWEST_SLOW = 5, 3
ROUND_SECONDS = 0.15  # of the rounds of one row of timings, where pytest-benchmark's own default is 1.0
COLUMNS = ["min", "median", "iqr", "rounds"]
WIDTH = 66  # characters of the first column of the table of targets; the table has 98


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
            asked, verdict = f">= {self.at_least:.3g}", "ok" if self.measured >= self.at_least else "MISSED"
        if self.at_most is not None:
            asked, verdict = f"<= {self.at_most:.3g}", "ok" if self.measured <= self.at_most else "MISSED"
        *above, last = textwrap.wrap(self.what, WIDTH, initial_indent=self.indent, subsequent_indent=self.indent + "  ")
        shown = f"{self.measured:9.2f}" if self.measured >= 0.01 else f"{self.measured:9.0e}"
        return "\n".join([*above, f"{last:{WIDTH}} {shown} {self.unit:2} {asked:>8}  {verdict}".rstrip()])

    @property
    def indent(self) -> str:
        """Return the blanks that set a row of information below the target that it belongs to."""
        return " " * (len(self.what) - len(self.what.lstrip()))

    @property
    def missed(self) -> bool:
        """Tell whether a target was set and not reached."""
        return str(self).endswith("MISSED")


ROWS: list[Row] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that makes missed targets count."""
    parser.addoption("--strict-targets", action="store_true", help="fail if a benchmark misses its target")


def pytest_configure(config: pytest.Config) -> None:
    """Time nothing unless it was asked for: --benchmark-disable in addopts would break --benchmark-only.

    With --benchmark-only, the tests are not even collected, unless they were named.
    """
    option = config.option
    if not (option.benchmark_only or option.benchmark_enable):
        option.benchmark_disable = True
    if option.benchmark_only and config.args_source is not pytest.Config.ArgsSource.ARGS:
        config.args = [str(Path(__file__).parent)]
    # What pytest-benchmark says, as of a folder without timings to compare with, is no reason to stop.
    warnings.filterwarnings("default", category=PytestBenchmarkWarning)
    config.addinivalue_line("filterwarnings", "default::pytest_benchmark.logger.PytestBenchmarkWarning")
    option.benchmark_columns = option.benchmark_columns or COLUMNS
    if str(option.benchmark_max_time) == "1.0":  # the default
        option.benchmark_max_time = str(ROUND_SECONDS)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the table of targets, below the timings of pytest-benchmark, and count those that were missed."""
    if not ROWS:
        return
    terminalreporter.section("targets (medians of ratios of alternating samples in this run)")
    for row in ROWS:
        terminalreporter.write_line(str(row))
    asked = sum(row.at_least is not None or row.at_most is not None for row in ROWS)
    note = "" if config.option.strict_targets else "; --strict-targets fails where one is"
    terminalreporter.write_line(f"{missed_targets()} of {asked} targets missed{note}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail if a target was missed and that counts."""
    if session.config.option.strict_targets and missed_targets() and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def missed_targets() -> int:
    """Return how many targets were missed."""
    return sum(row.missed for row in ROWS)


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
    rounds, began, elapsed = [], timeit.default_timer(), 0.0
    while len(rounds) < (FEWEST_SLOW if elapsed > 5 * BUDGET else FEWEST) or (
        elapsed < BUDGET and len(rounds) < MOST_SAMPLES
    ):
        rounds.append(tuple(timeit.timeit(side, number=n) / n for side, n in zip(sides, numbers, strict=True)))
        elapsed = timeit.default_timer() - began
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
