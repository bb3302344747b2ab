"""How results are written: numbers with their error, and tables in a notebook.

The HTML has no colours of its own, so that it is read in the light and in the dark.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

__all__: list[str] = []  # nothing here is public

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
    return (
        f"<div><p>{escape(caption)}</p><table><thead>{line('th', head)}</thead><tbody>{body}</tbody></table>"
        f"<p>{paragraphs}</p></div>"
    )


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
