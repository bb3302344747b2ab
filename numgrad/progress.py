"""Progress: what `progress=` may be, and the bar that it stands for."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .arguments import describe

Progress = bool | Callable[[int, int], object]
Report = Callable[[int], object]


def check_progress(progress: Progress) -> None:
    """Raise unless `progress` is a bool or a callable.

    Raises
    ------
    TypeError
        If it is neither.
    ImportError
        If it is True and tqdm is not installed.
    """
    if not isinstance(progress, bool) and not callable(progress):
        raise TypeError(f"progress must be a bool or a callable, got {describe(progress)}")
    if progress is True:
        _tqdm()


@contextmanager
def reporting(progress: Progress, total: int) -> Iterator[Report | None]:
    """Give what is to be called with the number of coordinates done: a tqdm bar's, the user's own, or None."""
    if progress is True:
        with _tqdm()(total=total, unit="coordinate", unit_scale=True) as bar:
            yield lambda done: bar.update(done - bar.n)
    elif callable(progress):
        yield lambda done: progress(done, total)
    else:
        yield None


def _tqdm() -> Any:
    try:
        from tqdm.auto import tqdm
    except ImportError:
        raise ImportError("progress=True draws with tqdm: python -m pip install 'numgrad[progress]'") from None
    return tqdm
