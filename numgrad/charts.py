"""What the commands measured, drawn: errors against steps, times against numbers of weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .canvas import as_axes, legend_beside, merged, style_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .profiling import Measurement

_EPS = 2.0**-52


def plot_steps(
    steps: Sequence[float], errors: Mapping[str, Sequence[float]], *, ax: Axes | None = None, **keywords: Any
) -> Axes:
    """Draw the relative errors of schemes against the step: truncation falls with it, round-off rises."""
    ax = as_axes(ax)
    for k, (name, values) in enumerate(errors.items()):
        style = merged(style_of(k) | {"label": name, "markersize": 4}, keywords)
        ax.plot(steps, [max(value, _EPS / 4) for value in values], **style)
    ax.axhline(_EPS, color="0.6", linewidth=0.8, linestyle=":")
    ax.annotate("eps", (steps[0], _EPS), color="0.4", fontsize=8, va="bottom", ha="right")
    ax.set(
        xlabel="step h",
        ylabel="relative error of exp'(1)",
        title="Which step, which scheme: truncation (right) against round-off (left)",
    )
    return _log_log(ax)


def plot_profile(measurements: Sequence[Measurement], *, ax: Axes | None = None, **keywords: Any) -> Axes:
    """Draw the time of a gradient against the number of weights, one line a route, hollow where it is projected."""
    ax = as_axes(ax)
    for k, route in enumerate(dict.fromkeys(row.route for row in measurements)):
        rows = sorted((row for row in measurements if row.route == route), key=lambda row: row.weights)
        weights, seconds = [row.weights for row in rows], [row.seconds for row in rows]
        ax.plot(weights, seconds, **merged({"label": route, "markerfacecolor": "none"} | style_of(k), keywords))
        measured = [(row.weights, row.seconds) for row in rows if not row.projected]
        ax.plot(*np.reshape(measured, (-1, 2)).T, **(style_of(k) | {"linestyle": "none"}))
    ax.set(
        xlabel="number of weights",
        ylabel="time of one gradient (s)",
        title="Every weight's central difference, by route (hollow: projected)",
    )
    return _log_log(ax)


def _log_log(ax: Axes) -> Axes:
    ax.set(xscale="log", yscale="log")
    ax.grid(visible=True, which="major", color="0.9")
    return legend_beside(ax)
