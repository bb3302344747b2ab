"""What a derivative costs by each route, and how exact each scheme is at each step."""

from __future__ import annotations

import math
import time
import tracemalloc
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import display, numerical_diff
from ..schemes import SCHEMES
from . import output
from .subjects import Layer, Network, Route, Subject

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..loops import Floats

_TRACED = 16  # coordinates in the measurement of memory: tracing slows Python down, and only the result grows with more
# A sample of coordinates grows fourfold while it fits this often into the budget: 5 repeats of the next one then fit.
_GROWTH, _SAMPLES = 4, 20
_EPS = 2.0**-52  # spacing of the floats at 1, without unit: no relative error of a derivative can be trusted below it
_MARKS = "osD^vPX*"  # they tell lines apart in a picture printed in grey
# Seconds that a sample takes at least, by several calls: it outlasts what interrupts a busy machine.
_SAMPLE = 0.02
_SHORTEST = 1e-9  # seconds: the resolution of the clock, so that no speed-up is infinite


class Settings(NamedTuple):
    """What all measurements of a profile share."""

    batch: int  # samples that the loss is the mean of
    h: float  # step of the differences
    workers: int  # threads
    repeat: int  # gradients a route
    budget: float  # seconds for the gradients of one route


def measure(
    route: Route, layer: Subject, repeat: int = 5, budget: float = 10.0, baseline: float | None = None
) -> output.Measurement:
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
    output.show_status(f"{route.name}: compiling")
    route.gradient(1)
    peak = _peak_bytes(route, size)
    count = size if route.whole else _affordable(route, size, budget)
    times, calls = list[float](), 1
    while len(times) < repeat and (not times or calls * (sum(times) + times[-1]) <= budget):
        output.show_status(f"{route.name}: gradient {len(times) + 1} of {repeat}, {count:,} of {size:,} coordinates")
        seconds, gradient = _timed(route, count, calls)
        if calls * seconds < _SAMPLE and not times and calls == 1:
            calls = math.ceil(_SAMPLE / seconds)
        else:
            times.append(seconds)
    samples = tuple(size / count * seconds for seconds in times)
    seconds, exact = float(np.median(samples)), np.ravel(layer.exact(count))[: len(gradient)]
    numbers = count, peak, float(np.abs(gradient - exact).max()), (baseline or seconds) / seconds
    return output.Measurement(route.name, layer.shape, size, seconds, len(times), *numbers, layer.title, samples)


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
    subjects: Iterable[Any], settings: Settings, peers: bool, json_file: Path | None, plot_file: Path | None
) -> output.Profile:
    """Measure every route for each of `subjects`, print a table as it grows, write the files, and return the profile.

    Parameters
    ----------
    subjects : iterable of tuple of int, or of Function
        Features and classes of each layer, or the three sizes or more of a net; or functions of one's own.
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
    done: list[output.Measurement] = []
    complete, threads = False, f"{settings.workers} thread{'s' * (settings.workers > 1)}"
    print(f"{output.machine()}; batch {settings.batch}, h = {settings.h:g}, {threads}")
    try:
        for subject in subjects:
            _profile_subject(subject, settings, peers, done)
        complete = True
    finally:
        found = output.Profile(output.facts() | {"complete": complete, "settings": settings._asdict()}, done)
        if json_file is not None:
            output.write_whole(json_file, found.to_json())
        if plot_file is not None and done:
            chart = partial(plot_profile, done)
            output.write_whole(plot_file, display.picture(chart, plot_file.suffix[1:], output.machine()))
    return found


def _made(subject: Any, batch: int) -> Subject:
    """Return the layer or the net of a shape, or the function that was given."""
    if not isinstance(subject, tuple):
        return subject  # type: ignore[no-any-return]
    try:
        return Layer(*subject, batch) if len(subject) == 2 else Network(subject, batch)
    except (MemoryError, ValueError):
        name = " x ".join(map(str, subject))
        raise MemoryError(f"a layer of {name} at batch {batch} does not fit into memory") from None


def _profile_subject(subject: Any, settings: Settings, peers: bool, done: list[output.Measurement]) -> None:
    """Measure the routes for one subject, and append each to `done` and to the printed table."""
    layer = _made(subject, settings.batch)
    count = f"{layer.flat.size:,} {'weights' if isinstance(subject, tuple) else 'coordinates'}"
    print(f"\n{layer.title}, {count}\n{output.TABLE_HEAD}")
    baseline, projected = None, False
    for route in layer.routes(settings.h, settings.workers, peers):
        with output.warnings_below(18):
            try:
                row = measure(route, layer, settings.repeat, settings.budget, baseline)
            finally:
                output.show_status("")
            done.append(row)
            print(row, flush=True)
        baseline, projected = baseline or row.seconds, projected or row.projected
    if projected:
        print("~ projected from a sample of the coordinates")


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
        output.write_whole(plot_file, display.picture(partial(plot_steps, steps, errors), plot_file.suffix[1:]))


def plot_steps(steps: list[float], errors: dict[str, list[float]], ax: Axes) -> None:
    """Draw the relative errors of schemes against the step: truncation falls with it, round-off rises."""
    for k, (name, values) in enumerate(errors.items()):
        shown = [max(value, _EPS / 4) for value in values]  # 0 has no place on a logarithmic axis
        ax.plot(steps, shown, label=name, markersize=4, **_style(k))
    ax.axhline(_EPS, color="0.6", linewidth=0.8, linestyle=":")
    ax.annotate("eps", (steps[0], _EPS), color="0.4", fontsize=8, va="bottom", ha="right")
    title = "Which step, which scheme: truncation (right) against round-off (left)"
    _log_log(ax, xlabel="step h", ylabel="relative error of exp'(1)", title=title)


def plot_profile(measurements: Sequence[output.Measurement], ax: Axes) -> None:
    """Draw the time of a derivative against the number of weights, one line a route, hollow where it is projected."""
    names = [f"{row.subject}: {row.route}" if " of " in row.subject else row.route for row in measurements]
    for k, route in enumerate(dict.fromkeys(names)):
        own = (row for name, row in zip(names, measurements, strict=True) if name == route)
        rows = sorted(own, key=lambda row: row.weights)
        filled = [row for row in rows if not row.projected]
        weights, seconds = [row.weights for row in rows], [row.seconds for row in rows]
        ax.plot(weights, seconds, label=route, markerfacecolor="none", **_style(k))
        ax.plot([row.weights for row in filled], [row.seconds for row in filled], linestyle="none", **_style(k))
    title = "The time of a derivative, by route (hollow: projected)"
    _log_log(ax, xlabel="number of weights, or coordinates", ylabel="time (s)", title=title)


def _style(k: int) -> dict[str, Any]:
    """Return the colour and the mark of line k."""
    return {"color": display.COLOURS[k % len(display.COLOURS)], "marker": _MARKS[k % len(_MARKS)]}


def _log_log(ax: Axes, **texts: str) -> None:
    """Make both axes logarithmic, and add the texts, a grid and a legend."""
    ax.set(xscale="log", yscale="log", **texts)
    ax.grid(visible=True, which="major", color="0.9")
    display.legend_beside(ax)
