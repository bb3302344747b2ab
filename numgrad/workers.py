"""Ranges: how a long piece of work is cut, and which threads do the parts.

A *filler* ``fill(start, stop)`` does the units start <= i < stop of some work and returns flags; the flags of
all ranges are or-ed. What a unit or a flag means, this module does not know, and it knows no other module.
"""

from collections.abc import Callable, Hashable
from threading import Lock
from time import perf_counter

Filler = Callable[[int, int], int]

# Seconds of compiled work between two looks at the keyboard: Ctrl-C feels prompt, twenty calls a second cost nothing.
PATIENCE = 0.05


class Pace:
    """How many units of one kind of compiled work fit into `PATIENCE`, remembered from call to call."""

    def __init__(self) -> None:
        self.memory: tuple[Hashable, int] = (None, 1)

    def fits(self, total: int, key: Hashable) -> bool:
        """Tell whether `total` units are known to fit, so that small work is done at once and not measured.

        `key` stands for all that the cost of a unit depends on.
        """
        known, size = self.memory
        return total <= size and known == key

    def run(self, make_filler: Callable[[], Filler], total: int, key: Hashable, workers: int = 1) -> int:
        """Fill ``range(total)`` on `workers` threads, each with a filler of its own, and return the flags.

        The first exception ends the work and is raised; Ctrl-C ends it after the ranges that are under way.
        """
        known, size = self.memory
        # Several ranges a thread, so that one that is held up does not hold up the rest.
        limit = -(-total // (4 * workers)) if workers > 1 else total
        ranges = _Ranges(total, size if known == key else 1, limit)
        try:
            if workers == 1:
                return ranges.work(make_filler())
            return _on_threads(ranges, make_filler, workers)
        finally:
            self.memory = key, ranges.size


class _Ranges:
    """``range(total)`` in ranges of about `PATIENCE` seconds, at most `limit` long, for any number of threads."""

    def __init__(self, total: int, size: int, limit: int) -> None:
        self.total, self.size, self.limit = total, size, limit
        self.start, self.lock = 0, Lock()

    def work(self, fill: Filler) -> int:
        """Take ranges and fill them until none is left; return the or of their flags."""
        flags = 0
        try:
            while True:
                with self.lock:
                    start = self.start
                    stop = self.start = min(start + min(self.size, self.limit), self.total)
                if start >= stop:
                    return flags
                began = perf_counter()
                flags |= fill(start, stop)
                elapsed = max(perf_counter() - began, 1e-9)
                self.size = max(1, int((stop - start) * PATIENCE / elapsed))
        finally:
            self.end()

    def end(self) -> None:
        """Hand out no more ranges."""
        with self.lock:
            self.start = self.total


def _on_threads(ranges: _Ranges, make_filler: Callable[[], Filler], workers: int) -> int:
    from concurrent.futures import ThreadPoolExecutor, wait  # a third of what importing numgrad would cost

    flags = 0
    with ThreadPoolExecutor(workers) as pool:
        try:
            futures = [pool.submit(ranges.work, make_filler()) for _ in range(workers)]
            wait(futures)
        finally:
            ranges.end()
    for future in futures:
        flags |= future.result()
    return flags
