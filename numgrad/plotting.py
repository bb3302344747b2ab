"""Pictures. matplotlib is imported when one is drawn: ``python -m pip install 'numgrad[plot]'``."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .profiling import Measurement

# Okabe and Ito's palette, which the colour-blind can tell apart, and marks that tell the lines apart in grey.
_COLOURS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7")
_MARKS = "osD^vPX"
_EPS = 2.0**-52


def _new_figure(width: float = 8.0, height: float = 5.0) -> Figure:
    """Return a figure that no window and no backend knows of."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("pictures are drawn by matplotlib: python -m pip install 'numgrad[plot]'") from None
    return Figure(figsize=(width, height), layout="constrained", dpi=100)


def check_format(file: Path) -> None:
    """Raise unless matplotlib can write such a file.

    Raises
    ------
    ImportError
        If it is not installed.
    OSError
        If it does not know the suffix.
    """
    known = _new_figure().canvas.get_supported_filetypes()
    if file.suffix[1:] not in known:
        raise OSError(f"cannot draw {file}: its suffix must be one of {', '.join(sorted(known))}")


def picture(draw: Callable[[Axes], object], file_format: str, note: str = "") -> bytes:
    """Return what `draw` draws on a new Axes as a file of that format, with a small note at the bottom."""
    figure, memory = _new_figure(), io.BytesIO()
    draw(figure.add_subplot())
    figure.text(0.995, 0.005, note, fontsize=6, ha="right", va="bottom", color="0.4")
    figure.savefig(memory, format=file_format)
    return memory.getvalue()


def plot_steps(steps: Sequence[float], errors: Mapping[str, Sequence[float]], ax: Axes, **keywords: Any) -> Axes:
    """Draw the relative errors of schemes against the step: truncation falls with it, round-off rises."""
    for k, (name, values) in enumerate(errors.items()):
        style: dict[str, Any] = {
            "color": _COLOURS[k % len(_COLOURS)],
            "marker": _MARKS[k % len(_MARKS)],
            "markersize": 4,
        } | keywords
        ax.plot(steps, [max(value, _EPS / 4) for value in values], label=name, **style)
    ax.axhline(_EPS, color="0.6", linewidth=0.8, linestyle=":")
    ax.annotate("eps", (steps[0], _EPS), color="0.4", fontsize=8, va="bottom", ha="right")
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="step h",
        ylabel="relative error of exp'(1)",
        title="Which step, which scheme: truncation (right) against round-off (left)",
    )
    ax.grid(visible=True, which="major", color="0.9")
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    return ax


def plot_profile(measurements: Sequence[Measurement], ax: Axes, **keywords: Any) -> Axes:
    """Draw the time of a gradient against the number of weights, one line a route, hollow where it is projected."""
    for k, route in enumerate(dict.fromkeys(row.route for row in measurements)):
        rows = sorted((row for row in measurements if row.route == route), key=lambda row: row.weights)
        colour = _COLOURS[k % len(_COLOURS)]
        style = {"color": colour, "marker": _MARKS[k % len(_MARKS)], "markerfacecolor": "none"} | keywords
        weights, seconds = [row.weights for row in rows], [row.seconds for row in rows]
        ax.plot(weights, seconds, label=route, **style)
        measured = [row for row in rows if not row.projected]
        style |= {"markerfacecolor": colour, "linestyle": "none"}
        ax.plot([row.weights for row in measured], [row.seconds for row in measured], **style)
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="number of weights",
        ylabel="time of one gradient (s)",
        title="Every weight's central difference, by route (hollow: projected)",
    )
    ax.grid(visible=True, which="major", color="0.9")
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    return ax
