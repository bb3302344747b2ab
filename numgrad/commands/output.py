"""What the commands write: files, pictures, charts of measurements, numbers with units, the name of the machine."""

from __future__ import annotations

import contextlib
import io
import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__
from ..plotting import COLOURS, as_axes, legend_beside, merged, require_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .profiling import Measurement

_EPS = 2.0**-52  # spacing of the floats at 1, without unit: no relative error of a derivative can be trusted below it
_MARKS = "osD^vPX*"  # they tell lines apart in a picture printed in grey
_DPI = 100  # pixels an inch, whatever the user's settings: a picture then has the same size on every machine

_DURATIONS = (("h", 3600.0), ("min", 60.0), ("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9))  # in seconds
_SIZES = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))  # in bytes


def check_writable(*files: Path | None) -> None:
    """Raise an OSError unless each file can be written; None stands for a file that nobody asked for."""
    for file in filter(None, files):
        if file.exists() and not file.is_file():
            raise OSError(f"{file} is not a file")
        part = _part(file)
        try:
            part.touch()
            part.unlink()
        except OSError as error:
            raise OSError(f"cannot write {file}: {error.strerror}") from None


def check_format(file: Path | None) -> None:
    """Raise unless matplotlib can write such a picture; None stands for a picture that nobody asked for.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    OSError
        If matplotlib does not know the suffix.
    """
    if file is None:
        return
    known = _new_figure().canvas.get_supported_filetypes()
    if file.suffix[1:] not in known:
        raise OSError(f"cannot draw {file}: its suffix must be one of {', '.join(sorted(known))}")


def write_whole(file: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    part = _part(file)
    try:
        part.write_bytes(content)
        part.replace(file.resolve())
    finally:
        part.unlink(missing_ok=True)


def write_picture(file: Path, draw: Callable[..., object], note: str = "", **options: Any) -> None:
    """Write a `picture` whole or not at all, in the format that the suffix names."""
    write_whole(file, picture(draw, file.suffix[1:], note, **options))


def picture(
    draw: Callable[..., object],
    file_format: str,
    note: str = "",
    *,
    size: tuple[float, float] = (8.0, 5.0),
    panels: int = 1,
    **axes: Any,
) -> bytes:
    """Return a picture as the bytes of a file. No window opens.

    Parameters
    ----------
    draw : callable
        ``draw(ax=ax)`` draws on a new Axes, or on an array of them if there are several panels.
    file_format : str
        A suffix, such as ``"png"``.
    note : str, default ""
        A line in small letters in the lower right corner.
    size : pair of float, default (8.0, 5.0)
        Width and height in inches.
    panels : int, default 1
        Number of Axes, side by side.
    **axes
        For each Axes, such as ``projection="3d"``.
    """
    figure, memory = _new_figure(figsize=size), io.BytesIO()
    draw(ax=figure.subplots(1, panels, subplot_kw=axes))
    figure.text(0.995, 0.005, note, fontsize=6, ha="right", va="bottom", color="0.4")
    figure.savefig(memory, format=file_format)
    return memory.getvalue()


def plot_steps(
    steps: Sequence[float], errors: Mapping[str, Sequence[float]], *, ax: Axes | None = None, **keywords: Any
) -> Axes:
    """Draw the relative errors of schemes against the step: truncation falls with it, round-off rises."""
    ax = as_axes(ax)
    for k, (name, values) in enumerate(errors.items()):
        style = merged(_style(k) | {"label": name, "markersize": 4}, keywords)
        ax.plot(steps, [max(value, _EPS / 4) for value in values], **style)  # 0 has no place on a logarithmic axis
    ax.axhline(_EPS, color="0.6", linewidth=0.8, linestyle=":")
    ax.annotate("eps", (steps[0], _EPS), color="0.4", fontsize=8, va="bottom", ha="right")
    title = "Which step, which scheme: truncation (right) against round-off (left)"
    return _log_log(ax, xlabel="step h", ylabel="relative error of exp'(1)", title=title)


def plot_profile(measurements: Sequence[Measurement], *, ax: Axes | None = None, **keywords: Any) -> Axes:
    """Draw the time of a gradient against the number of weights, one line a route, hollow where it is projected."""
    ax = as_axes(ax)
    for k, route in enumerate(dict.fromkeys(row.route for row in measurements)):
        rows = sorted((row for row in measurements if row.route == route), key=lambda row: row.weights)
        for style, shown in (
            (merged({"label": route, "markerfacecolor": "none"} | _style(k), keywords), rows),
            (_style(k) | {"linestyle": "none"}, [row for row in rows if not row.projected]),
        ):
            ax.plot([row.weights for row in shown], [row.seconds for row in shown], **style)
    title = "Every weight's central difference, by route (hollow: projected)"
    return _log_log(ax, xlabel="number of weights", ylabel="time of one gradient (s)", title=title)


def machine() -> str:
    """Return the processor, the number of cores that may be used, and the versions that matter."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    return (
        f"{name}, {available_cores()} cores, Python {platform.python_version()}, numpy {np.__version__}, "
        f"numba {metadata.version('numba')}, numgrad {__version__}"
    )


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def format_duration(seconds: float) -> str:
    """Return a duration with three digits and its unit."""
    unit, size = next((pair for pair in _DURATIONS if seconds >= pair[1]), _DURATIONS[-1])
    return f"{seconds / size:.3g} {unit}"


def format_size(count: int) -> str:
    """Return a number of bytes with three digits and its unit."""
    return next((f"{count / size:.3g} {unit}" for unit, size in _SIZES if count >= size), f"{count} B")


@contextlib.contextmanager
def status_line() -> Iterator[Callable[[str], object]]:
    """Give a function that shows a line on a terminal, in place of the line before; elsewhere it shows nothing."""

    def show(text: str) -> None:
        if sys.stderr.isatty():
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        show("")


def _part(file: Path) -> Path:
    """Return the name of the unfinished file, in the same folder so that the finished one can replace it at once."""
    file = file.resolve()
    return file.with_name(f"{file.name}.part")


def _new_figure(**options: Any) -> Figure:
    """Return a figure that no window and no backend knows of."""
    require_matplotlib()
    from matplotlib.figure import Figure

    return Figure(layout="constrained", dpi=_DPI, **options)


def _style(k: int) -> dict[str, Any]:
    """Return the colour and the mark of line k."""
    return {"color": COLOURS[k % len(COLOURS)], "marker": _MARKS[k % len(_MARKS)]}


def _log_log(ax: Axes, **texts: str) -> Axes:
    """Make both axes logarithmic, and add the texts, a grid and a legend."""
    ax.set(xscale="log", yscale="log", **texts)
    ax.grid(visible=True, which="major", color="0.9")
    return legend_beside(ax)
