"""How results are shown: numbers with error or unit, tables in a notebook, what every picture needs, files.

Pictures need Axes, and the user's keywords and settings. matplotlib is imported when one is drawn. The HTML of tables
has no colours of its own, so that it is read in the light and in the dark.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .arguments import describe, needed, real_array, real_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

__all__: list[str] = []  # nothing here is public

Pair = tuple[float, float]
Style = dict[str, Any]

# Okabe and Ito's palette, which the colour-blind can tell apart, for the many lines in the pictures of the commands.
COLOURS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7", "#999999")

_DPI = 100  # pixels an inch, whatever the user's settings: a file then has the same size on every machine

DURATIONS = (("h", 3600.0), ("min", 60.0), ("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9))  # in seconds
SIZES = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("B", 1.0))  # in bytes

MOST_ROWS = 20  # of a table: it fits on a screen. Fixed by test_tables_are_short_and_begin_with_the_worst


def table(
    head: Sequence[str], rows: Sequence[Sequence[Any]], count: int = 0, *, caption: str = "", notes: Iterable[str] = ()
) -> str:
    """Return a table in HTML: the first rows of `count`, with a caption, and notes below; every text is escaped."""
    from html import escape  # a tenth of what importing numgrad takes

    def line(tag: str, cells: Sequence[Any]) -> str:
        name, *others = (escape(str(cell)) for cell in cells)
        rest = "".join(f'<{tag} style="text-align: right; padding-left: 1em">{cell}</{tag}>' for cell in others)
        return f'<tr><th style="text-align: left">{name}</th>{rest}</tr>'

    shown = rows[:MOST_ROWS]
    more = max(count, len(rows)) - len(shown)
    below = [*([f"... and {more:,} more"] if more else []), *notes]
    body = "".join(line("td", row) for row in shown)
    paragraphs = "<br>".join(escape(note) for note in below)
    framed = f"<table><thead>{line('th', head)}</thead><tbody>{body}</tbody></table>"
    return f"<div><p>{escape(caption)}</p>{framed}<p>{paragraphs}</p></div>"


def concise(value: float, error: float) -> str:
    """Return the value up to the digit that is uncertain, and its error in units of that digit: 1.9999999999(3)."""
    if not (math.isfinite(value) and math.isfinite(error)):
        return f"{value} +- {error}"
    if error <= 0.0:
        return repr(float(value))
    size = math.floor(math.log10(error))
    digit = math.ceil(float(_shifted(error, size)) - 1e-9)
    if digit == 10:
        digit, size = 1, size + 1
    power = size + len(f"{abs(_shifted(value, size)):.0f}") - 1
    if size > 0 or power < -4:
        return f"{_shifted(value, power):.{power - size}f}({digit})e{power:+03d}"
    return f"{value:.{-size}f}({digit})"


def _shifted(value: float, power: int) -> Decimal:
    """Return ``value / 10**power`` where that power is no float, too."""
    return Decimal(value).scaleb(-power)


def with_unit(amount: float, units: Sequence[tuple[str, float]]) -> str:
    """Return an amount with three digits and the largest of `units` that it reaches, or the smallest."""
    unit, size = next((pair for pair in units if amount >= pair[1]), units[-1])
    return f"{amount / size:.3g} {unit}"


def as_axes(ax: Any, **options: Any) -> Axes:
    """Return `ax`, or the Axes of a new figure that a notebook shows."""
    if ax is None:
        ax = matplotlib_part("pyplot").figure(layout="constrained").add_subplot(**options)
    if not isinstance(ax, matplotlib_part("axes").Axes):
        raise TypeError(f"ax must be a matplotlib Axes, got {describe(ax)}")
    return ax  # type: ignore[no-any-return]


def check_kind(name: str, value: Any, attribute: str, maker: str) -> None:
    """Raise a TypeError unless `value` has what the results of `maker` have."""
    if not hasattr(value, attribute):
        raise TypeError(f"{name} must be what {maker} returns, got {describe(value)}")


def drawn(value: Any, name: str) -> NDArray[np.float64]:
    """Return real numbers as a float64 array, with NaN for what is masked: a gap in the picture."""
    filled = np.ma.filled(value.astype(np.float64), np.nan) if isinstance(value, np.ma.MaskedArray) else value
    return np.asarray(real_array(filled, name), dtype=np.float64)


def scalar(f: Any) -> Callable[[Any], float]:
    """Return f as a function that gives floats, or names what it gives in their place."""
    if not callable(f):
        raise TypeError(f"f must be callable, got {describe(f)}")
    return lambda x: real_number(f(x))


def merged(defaults: Style, keywords: Style, artist: Literal["Line2D", "Collection"] = "Line2D") -> Style:
    """Return the defaults with the user's keywords over them, whatever alias (c, lw, ls) these use."""
    kind = matplotlib_part("lines").Line2D if artist == "Line2D" else matplotlib_part("collections").Collection
    return {**defaults, **matplotlib_part("cbook").normalize_kwargs(keywords, kind)}


def legend_beside(ax: Axes) -> Axes:
    """Add a legend beside the data, and return the Axes."""
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize="small")
    return ax


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
    known = matplotlib_part("backend_bases").FigureCanvasBase.get_supported_filetypes()
    if file.suffix[1:] not in known:
        raise OSError(f"cannot draw {file}: its suffix must be one of {', '.join(sorted(known))}")


def check_writable(*files: Path | None, read: str | None = None) -> None:
    """Raise an OSError unless each file can be written, and is no other one, nor the one that is `read`.

    None stands for a file that nobody asked for.
    """
    known = [] if read is None else [Path(read).resolve()]
    for file in filter(None, files):
        if file.exists() and not file.is_file():
            raise OSError(f"{file} is not a file")
        if file.resolve() in known:
            raise OSError(f"{file} is named twice: what is written must not replace what is read, or written too")
        known.append(file.resolve())
        try:
            _part(file).touch()
            _part(file).unlink()
        except OSError as error:
            raise OSError(f"cannot write {file}: {error.strerror}") from None


def write_whole(file: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    part = _part(file)
    try:
        part.write_bytes(content)
        part.replace(file.resolve())
    finally:
        part.unlink(missing_ok=True)


def _part(file: Path) -> Path:
    """Return the name of the unfinished file, which nobody else has.

    It is in the same folder, so that the finished one can replace the file at once.
    """
    return Path(f"{file.resolve()}.{os.getpid()}.part")


def write_picture(file: Path, draw: Callable[..., Any], note: str = "", **options: Any) -> None:
    """Write a picture to a file, of the format that its suffix names; the options are those of `picture`."""
    write_whole(file, picture(draw, file.suffix[1:], note, **options))


def picture(
    draw: Callable[..., Any], file_format: str, note: str = "", *, size: Pair = (8.0, 5.0), panels: int = 1, **axes: Any
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
    # A figure that no window and no backend knows of.
    figure, memory = matplotlib_part("figure").Figure(size, _DPI, layout="constrained"), io.BytesIO()
    draw(ax=figure.subplots(1, panels, subplot_kw=axes))
    if note:
        figure.get_layout_engine().set(rect=(0.0, 0.03, 1.0, 0.97))  # the note has a line of its own
        figure.text(0.995, 0.005, note, fontsize=6, ha="right", va="bottom", color="0.4")
    figure.savefig(memory, format=file_format)
    return memory.getvalue()


def matplotlib_part(module: str = "") -> Any:
    """Return matplotlib, or a module of it, or raise an ImportError that says how to install it."""
    return needed(f"matplotlib.{module}".rstrip("."), "pictures are drawn by matplotlib")
