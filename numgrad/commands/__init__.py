"""The commands of ``python -m numgrad``, and what they write. ``numgrad.__main__`` reads their options."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator

__all__: list[str] = []  # nothing here is public


def show_status(text: str) -> None:
    """Show a line on a terminal, in place of the line before; elsewhere show nothing."""
    if sys.stderr is not None and sys.stderr.isatty():  # a program without a console has none
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


@contextlib.contextmanager
def warnings_below(indent: int) -> Iterator[None]:
    """Print what a block warns of below what it prints, once each, without the line, which is one of this package."""
    # The filters belong to the whole process: a program may change them in its only thread, a library may not.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for message in dict.fromkeys(str(warning.message) for warning in caught):
        print(f"{'':{indent}}warning: {message}")
