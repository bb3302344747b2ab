"""What pictures are drawn on and with: Axes, styles, files. matplotlib is imported when it is asked for."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .arguments import describe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

# Okabe and Ito's palette, which the colour-blind can tell apart, and marks that tell the lines apart in grey.
COLOURS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7", "#999999")
_MARKS = "osD^vPX*"


def as_axes(ax: Any, **options: Any) -> Axes:
    """Return `ax`, or the Axes of a new figure that a notebook shows."""
    require_matplotlib()
    from matplotlib.axes import Axes

    if ax is None:
        from matplotlib import pyplot as plt

        new: Axes = plt.figure(layout="constrained").add_subplot(**options)
        return new
    if not isinstance(ax, Axes):
        raise TypeError(f"ax must be a matplotlib Axes, got {describe(ax)}")
    return ax


def new_panels(count: int) -> NDArray[Any]:
    """Return so many Axes beside each other, on a new figure that a notebook shows."""
    require_matplotlib()
    from matplotlib import pyplot as plt

    figure = plt.figure(figsize=(4.0 * count, 4.5), layout="constrained")
    return np.atleast_1d(np.asarray(figure.subplots(1, count), dtype=object))


def new_figure(width: float = 8.0, height: float = 5.0) -> Figure:
    """Return a figure that no window and no backend knows of."""
    require_matplotlib()
    from matplotlib.figure import Figure

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
    known = new_figure().canvas.get_supported_filetypes()
    if file.suffix[1:] not in known:
        raise OSError(f"cannot draw {file}: its suffix must be one of {', '.join(sorted(known))}")


def picture(
    draw: Callable[[Any], object],
    file_format: str,
    note: str = "",
    *,
    size: tuple[float, float] = (8.0, 5.0),
    panels: int = 0,
    **axes: Any,
) -> bytes:
    """Return what `draw` draws on a new Axes, or on so many `panels`, as a file of that format with a small note."""
    figure, memory = new_figure(*size), io.BytesIO()
    draw(figure.subplots(1, panels, **axes) if panels else figure.add_subplot(**axes))
    figure.text(0.995, 0.005, note, fontsize=6, ha="right", va="bottom", color="0.4")
    figure.savefig(memory, format=file_format)
    return memory.getvalue()


def merged(defaults: dict[str, Any], keywords: dict[str, Any], artist: str = "Line2D") -> dict[str, Any]:
    """Return the defaults with the user's keywords over them, whatever alias (c, lw, ls) these use."""
    require_matplotlib()
    import matplotlib.cbook
    import matplotlib.collections
    import matplotlib.lines

    kind = matplotlib.lines.Line2D if artist == "Line2D" else matplotlib.collections.Collection
    return defaults | matplotlib.cbook.normalize_kwargs(keywords, kind)


def style_of(k: int) -> dict[str, Any]:
    """Return the colour and the mark of line k."""
    return {"color": COLOURS[k % len(COLOURS)], "marker": _MARKS[k % len(_MARKS)]}


def legend_beside(ax: Axes) -> Axes:
    """Add a legend beside the data."""
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize="small")
    return ax


def require_matplotlib() -> None:
    """Raise an ImportError that names the extra if matplotlib is not installed."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise ImportError("pictures are drawn by matplotlib: python -m pip install 'numgrad[plot]'") from None
