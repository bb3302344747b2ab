"""What a derivative costs by each route, also beside what it did before, and how exact each scheme is at each step."""

from __future__ import annotations

import contextlib
import json
import math
import platform
import time
import tracemalloc
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import partial
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import __version__, display, numerical_diff
from ..display import DURATIONS, SIZES, Style, with_unit
from ..points import EPS
from ..schemes import SCHEMES
from ..threads import available_cores
from . import show_status, warnings_below
from .subjects import Function, Route, Subject

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..loops import Floats

__all__: list[str] = []  # nothing here is public

_TRACED = 16  # coordinates in the measurement of memory: tracing slows Python down, and only the result grows with more
# A sample of coordinates grows fourfold while it fits this often into the budget: 5 repeats of the next one then fit.
_GROWTH, _SAMPLES = 4, 20
# Of lines; the marks tell them apart in a picture printed in grey.
_CYCLE: dict[str, Any] = {"color": display.COLOURS, "marker": list("osD^vPX*")}
# Seconds that a sample takes at least, by several calls: it outlasts what interrupts a busy machine.
_SAMPLE = 0.02
_SHORTEST = 1e-9  # seconds: the resolution of the clock, so that no speed-up is infinite

_HEAD = ("route", "time", "quartiles", "per weight", "peak memory", "largest error", "speed-up")
_COLUMNS = "{:18}{:>10}{:>21}{:>12}{:>13}{:>15}{:>12}"  # widths in characters
_CHANGES = "{:44}{:>12}{:>12}{:>9}  {}"  # the same, of what is compared
# Samples from which on there is a spread.
_FEWEST = 3
# Part of the time by which a shared machine drifts between two runs; 13 % were measured. Fixed by
# test_what_is_slower_beyond_the_spread_is_found in tests/test_profiling.py.
_DRIFT = 0.15


class Settings(NamedTuple):
    """What all measurements of a profile share."""

    batch: int  # samples that the loss is the mean of
    h: float  # step of the differences
    workers: int  # threads
    repeat: int  # gradients a route
    budget: float  # seconds for the gradients of one route


class Measurement(NamedTuple):
    """What one route cost for one shape: seconds a gradient (the median of `repeats`), peak bytes, largest error."""

    route: str
    shape: tuple[int, ...]
    weights: int
    seconds: float
    repeats: int
    coordinates: int  # that were computed; fewer than there are weights make `seconds` a projection
    peak_bytes: int
    largest_error: float
    speed_up: float  # against the first route
    subject: str = ""  # what was differentiated
    samples: tuple[float, ...] = ()  # seconds of each repeat, projected likewise

    @property
    def quartiles(self) -> tuple[float, ...]:
        """Return the lower quartile of the samples, their median and the upper quartile, in seconds."""
        return tuple(np.quantile(self.samples or [self.seconds], [0.25, 0.5, 0.75]).tolist())

    @property
    def projected(self) -> bool:
        """Tell whether `seconds` was projected from a sample of the coordinates."""
        return self.coordinates < self.weights

    def __str__(self) -> str:
        return _COLUMNS.format(*self.cells())

    def cells(self) -> tuple[str, ...]:
        """Return the cells of its row in a table."""
        lower, _, upper = (with_unit(seconds, DURATIONS) for seconds in self.quartiles)
        return (
            self.route,
            "~" * self.projected + with_unit(self.seconds, DURATIONS),
            f"{lower} - {upper}" if len(self.samples) > 1 else "-",
            with_unit(self.seconds / self.weights, DURATIONS),
            with_unit(self.peak_bytes, SIZES),
            f"{self.largest_error:.1e}",
            f"{self.speed_up:,.3g}x" if self.speed_up < 100 else f"{self.speed_up:,.0f}x",
        )


class Profile(NamedTuple):
    """What a profile has measured, and on which machine, when, and with what."""

    facts: dict[str, Any]
    rows: list[Measurement]

    def to_json(self) -> bytes:
        """Return it as the text of a file."""
        rows = [row._asdict() | {"quartiles": row.quartiles, "projected": row.projected} for row in self.rows]
        return json.dumps(self.facts | {"measurements": rows}, indent=1).encode() + b"\n"

    def _repr_html_(self) -> str:
        rows = sorted(self.rows, key=lambda row: -row.seconds)
        cells = [(row.subject, *row.cells()) for row in rows]
        return display.table(("of", *_HEAD), cells, caption=f"{self.facts['machine']}, {self.facts['date']}")


def measure(
    route: Route, layer: Subject, repeat: int = 5, budget: float = 10.0, baseline: float | None = None
) -> Measurement:
    """Measure one route.

    A gradient that takes longer than `budget` seconds is projected from a sample of its coordinates. Repeats end when
    the budget is spent, but one is always made.

    Parameters
    ----------
    route : Route
        The way to the gradient.
    layer : Layer, Network or Function
        What it is the gradient of, or the Jacobian or Hessian.
    repeat : int, default 5
        Most gradients to compute; the median of their times counts.
    budget : float, default 10.0
        Seconds for these gradients.
    baseline : float, optional
        Seconds of the gradient that the speed-up is relative to. Default: those of this route.

    Returns
    -------
    Measurement
    """
    size = layer.flat.size
    show_status(f"{route.name}: compiling")
    route.gradient(1)
    peak = _peak_bytes(route, size)
    count = size if route.whole else _affordable(route, size, budget)
    times, calls = list[float](), 1
    while len(times) < repeat and (not times or calls * (sum(times) + times[-1]) <= budget):
        show_status(f"{route.name}: gradient {len(times) + 1} of {repeat}, {count:,} of {size:,} coordinates")
        seconds, gradient = _timed(route, count, calls)
        if calls * seconds < _SAMPLE and not times and calls == 1:
            calls = math.ceil(_SAMPLE / seconds)
        else:
            times.append(seconds)
    samples = tuple(size / count * seconds for seconds in times)
    seconds, exact = float(np.median(samples)), np.ravel(layer.exact(count))[: len(gradient)]
    numbers = count, peak, float(np.abs(gradient - exact).max()), (baseline or seconds) / seconds
    return Measurement(route.name, layer.shape, size, seconds, len(times), *numbers, layer.title, samples)


def _affordable(route: Route, size: int, budget: float) -> int:
    """Return the number of coordinates to compute: all where a gradient fits into the budget, else a sample."""
    count = 1
    while count < size:
        seconds, _ = _timed(route, count)
        if seconds * _SAMPLES > budget:
            return size if seconds / count * size <= budget else count
        count *= _GROWTH
    return size


def _timed(route: Route, count: int, calls: int = 1) -> tuple[float, Floats]:
    """Return the seconds that so many partial derivatives take, the mean of calls one after another, and these."""
    began = time.perf_counter()
    for _ in range(calls):
        gradient = route.gradient(count)
    return max((time.perf_counter() - began) / calls, _SHORTEST), gradient


def _peak_bytes(route: Route, size: int) -> int:
    """Return the peak memory of a whole gradient; only the result grows with the number of coordinates."""
    count = size if route.whole else min(size, _TRACED)
    tracemalloc.start()
    try:
        result = route.gradient(count).nbytes * (size - count) // count
        return tracemalloc.get_traced_memory()[1] + result + route.scratch
    finally:
        tracemalloc.stop()


def profile(
    subjects: Iterable[Subject], settings: Settings, peers: bool, json_file: Path | None, plot_file: Path | None
) -> Profile:
    """Measure every route for each of `subjects`, print a table as it grows, write the files, and return the profile.

    Parameters
    ----------
    subjects : iterable of Layer, Network or Function
        What is differentiated.
    settings : Settings
        What all measurements share.
    peers : bool
        Measure the other packages that are installed too.
    json_file, plot_file : Path or None
        Where the measurements are written, and where they are drawn.

    Raises
    ------
    OSError
        If a file cannot be written.
    KeyboardInterrupt
        After Ctrl-C, when the files hold what was finished.
    """
    done: list[Measurement] = []
    complete, threads = False, f"{settings.workers} thread{'s' * (settings.workers > 1)}"
    print(f"{machine()}; batch {settings.batch}, h = {settings.h:g}, {threads}")
    try:
        for subject in subjects:
            _profile_subject(subject, settings, peers, done)
        complete = True
    finally:
        found = Profile(facts() | {"complete": complete, "settings": settings._asdict()}, done)
        if json_file is not None:
            display.write_whole(json_file, found.to_json())
        if plot_file is not None and done:
            display.write_picture(plot_file, partial(plot_profile, done), machine())
    return found


def _profile_subject(subject: Subject, settings: Settings, peers: bool, done: list[Measurement]) -> None:
    """Measure the routes for one subject, and append each to `done` and to the printed table."""
    unit, first = "coordinates" if isinstance(subject, Function) else "weights", len(done)
    print(f"\n{subject.title}, {subject.flat.size:,} {unit}\n{_COLUMNS.format(*_HEAD)}")
    for route in subject.routes(settings.h, settings.workers, peers):
        with warnings_below(18):
            baseline = done[first].seconds if len(done) > first else None
            try:
                done.append(measure(route, subject, settings.repeat, settings.budget, baseline))
            finally:
                show_status("")
            print(done[-1], flush=True)
    if any(row.projected for row in done[first:]):
        print("~ projected from a sample of the coordinates")


def facts() -> dict[str, Any]:
    """Return the machine, the date, the versions, and the threads of the BLAS, None where threadpoolctl is missing."""
    threads, versions = None, {"numgrad": __version__, "python": platform.python_version()}
    with contextlib.suppress(ImportError, AttributeError):  # a folder of that name has none
        pools = import_module("threadpoolctl").threadpool_info()
        threads = max((pool["num_threads"] for pool in pools if pool["user_api"] == "blas"), default=None)
    for name in ("numpy", "numba", "scipy", "numdifftools", "jacobi"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    date = datetime.now().astimezone().isoformat(timespec="seconds")
    return {"machine": machine(), "date": date, "versions": versions, "blas_threads": threads}


def read_profile(file: Path | str) -> Profile:
    """Return the profile that `--json` has written.

    Raises
    ------
    OSError
        If the file cannot be read, or holds none.
    """
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        found = json.loads(Path(file).read_text())
        rows = [Measurement(*(row[name] for name in Measurement._fields)) for row in found.pop("measurements")]
        rows = [row._replace(samples=tuple(row.samples), shape=tuple(row.shape)) for row in rows]
        names = found["machine"], found["date"], *(name for row in rows for name in (row.route, row.subject))
        times = [time for row in rows for time in (row.seconds, *row.samples)]
        are_times = all(isinstance(time, int | float) and 0.0 < float(time) < math.inf for time in times)
        if are_times and all(isinstance(name, str) for name in names) and isinstance(found["settings"], dict):
            return Profile(found, rows)
    raise OSError(f"cannot read a profile from {file}: it must be what numgrad profile --json writes")


def check_settings(old: Profile, settings: dict[str, Any]) -> None:
    """Raise an OSError if the older profile was measured with other settings."""
    for name in ("batch", "h", "workers"):
        if (was := old.facts["settings"].get(name)) != settings[name]:
            raise OSError(f"cannot compare profiles of different settings: --{name} was {was!r}, is {settings[name]!r}")


def verdict(old: Measurement, new: Measurement) -> str:
    """Return whether a row is slower: its quartiles lie farther above the older ones than these are apart."""
    if min(len(old.samples), len(new.samples)) < _FEWEST:
        return "too few samples"
    (low, median, high), (new_low, _, new_high) = old.quartiles, new.quartiles
    drift = _DRIFT * median
    if new_low - high > max(high - low, drift):
        return "SLOWER"
    return "faster" if low - new_high > max(new_high - new_low, drift) else "same"


def compare(old: Profile, new: Profile) -> int:
    """Print how the rows that both profiles have differ, and return how many are slower beyond the spread.

    Raises
    ------
    OSError
        If they have no row in common.
    """
    before = {(row.subject, row.route): row for row in old.rows}
    pairs = [(before[key], row) for row in new.rows if (key := (row.subject, row.route)) in before]
    if not pairs:
        raise OSError("cannot compare profiles that have no row in common")
    print(f"\nagainst {old.facts['date']}" + ", another machine" * (old.facts["machine"] != new.facts["machine"]))
    print(_CHANGES.format("route", "before", "now", "ratio", ""))
    verdicts = [verdict(*pair) for pair in pairs]
    for (was, row), text in zip(pairs, verdicts, strict=True):
        times = (with_unit(one.seconds, DURATIONS) for one in (was, row))
        print(_CHANGES.format(f"{row.subject}, {row.route}", *times, f"{row.seconds / was.seconds:.2f}x", text))
    return verdicts.count("SLOWER")


def machine() -> str:
    """Return the processor, the number of cores that may be used, and the versions that matter."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    packages = f"numpy {np.__version__}, numba {metadata.version('numba')}, numgrad {__version__}"
    return f"{name}, {available_cores()} cores, Python {platform.python_version()}, {packages}"


def compare_steps(plot_file: Path | None) -> None:
    """Print the relative error of exp' at 1 for steps from 1e-1 to 1e-12 and every scheme, and draw it.

    Parameters
    ----------
    plot_file : Path or None
        Where the errors are drawn.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    steps = [10.0**-k for k in range(1, 13)]
    names: list[Any] = [*SCHEMES, "complex"]
    errors = {name: [abs(numerical_diff(np.exp, 1.0, h, scheme=name) / np.e - 1) for h in steps] for name in names}
    print(f"{'h':>8}" + "".join(f"{name:>10}" for name in errors))
    for h, *row in zip(steps, *errors.values(), strict=True):
        print(f"{h:8.0e}" + "".join(f"{error:10.0e}" for error in row))
    if plot_file is not None:
        display.write_picture(plot_file, partial(plot_steps, steps, errors))


def plot_steps(steps: list[float], errors: dict[str, list[float]], ax: Axes) -> None:
    """Draw the relative errors of schemes against the step: truncation falls with it, round-off rises."""
    ax.set_prop_cycle(**_CYCLE)
    for name, values in errors.items():
        ax.plot(steps, np.maximum(values, EPS / 4), label=name, markersize=4)  # 0 has no place on a logarithmic axis
    ax.axhline(EPS, color="0.6", linewidth=0.8, linestyle=":")
    ax.annotate("eps", (steps[0], EPS), color="0.4", fontsize=8, va="bottom", ha="right")
    title = "Which step, which scheme: truncation (right) against round-off (left)"
    _log_log(ax, xlabel="step h", ylabel="relative error of exp'(1)", title=title)


def plot_profile(measurements: Sequence[Measurement], ax: Axes) -> None:
    """Draw the time of a derivative against the number of weights, one line a route, hollow where it is projected."""
    ax.set_prop_cycle(**_CYCLE)
    lines: dict[str, list[Measurement]] = {}
    for row in sorted(measurements, key=lambda row: row.weights):
        name = f"{row.subject}: {row.route}" if " of " in row.subject else row.route
        lines.setdefault(name, []).append(row)
    for name, rows in lines.items():
        (line,) = ax.plot(*_points(rows), label=name, markerfacecolor="none")
        solid: Style = {"color": line.get_color(), "marker": line.get_marker(), "linestyle": "none"}
        ax.plot(*_points(row for row in rows if not row.projected), **solid)
    title = "The time of a derivative, by route (hollow: projected)"
    _log_log(ax, xlabel="number of weights, or coordinates", ylabel="time (s)", title=title)


def _points(rows: Iterable[Measurement]) -> Floats:
    """Return the weights and the seconds of rows."""
    return np.array([(row.weights, row.seconds) for row in rows]).reshape(-1, 2).T


def _log_log(ax: Axes, **texts: str) -> None:
    """Make both axes logarithmic, and add the texts, a grid and a legend."""
    ax.set(xscale="log", yscale="log", **texts)
    ax.grid(visible=True, which="major", color="0.9")
    display.legend_beside(ax)
