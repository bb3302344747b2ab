"""Ranges: how a long piece of work is cut, and which threads do the parts.

A *filler* ``fill(start, stop)`` does the units start <= i < stop of some work and returns flags; the flags of
all ranges are or-ed. What a unit or a flag means, this module does not know, and it knows no other module.
"""

from __future__ import annotations

from _thread import allocate_lock, start_new_thread
from collections.abc import Callable, Hashable
from time import perf_counter, sleep

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

    def run(
        self,
        make_filler: Callable[[], Filler],
        total: int,
        key: Hashable,
        workers: int = 1,
        report: Callable[[int], object] | None = None,
    ) -> int:
        """Fill ``range(total)`` on `workers` threads, each with a filler of its own, and return the flags.

        The first exception ends the work and is raised; Ctrl-C ends it after the ranges that are under way.
        `report` is called from this thread, now and then and at the end, with the number of units done.
        """
        known, size = self.memory
        workers = min(workers, max(1, total))
        # Many ranges a thread, so that at the end none waits long for another that was held up.
        limit = -(-total // (16 * workers)) if workers > 1 else total
        ranges = _Ranges(total, size if known == key else 1, limit)
        try:
            if workers == 1:
                return ranges.work(make_filler(), report)
            return _on_threads(ranges, make_filler, workers, report)
        finally:
            self.memory = key, ranges.size


class _Ranges:
    """``range(total)`` in ranges of about `PATIENCE` seconds, at most `limit` long, for any number of threads."""

    def __init__(self, total: int, size: int, limit: int) -> None:
        self.total, self.size, self.limit = total, size, limit
        self.start, self.done, self.ended, self.lock = 0, 0, False, allocate_lock()

    def work(self, fill: Filler, report: Callable[[int], object] | None = None) -> int:
        """Take ranges and fill them until none is left; return the or of their flags."""
        flags = 0
        try:
            while True:
                with self.lock:
                    start = self.start
                    stop = self.start = min(start + min(self.size, self.limit), self.total)
                if start >= stop or self.ended:
                    return flags
                began = perf_counter()
                flags |= fill(start, stop)
                elapsed = max(perf_counter() - began, 1e-9)
                self.size = max(1, int((stop - start) * PATIENCE / elapsed))
                with self.lock:
                    self.done += stop - start
                if report:
                    report(self.done)
        finally:
            self.ended = True  # no range is left, or one has failed


def _on_threads(
    ranges: _Ranges, make_filler: Callable[[], Filler], workers: int, report: Callable[[int], object] | None
) -> int:
    # A raw thread and a SimpleQueue are all C: Ctrl-C in the main thread cannot leave one of their locks taken, as it
    # does, once in some hundred times, with those of an executor and its futures, and waits for them for ever.
    from queue import SimpleQueue  # with threading, a tenth of what importing numgrad would cost

    results: SimpleQueue[int | BaseException] = SimpleQueue()
    fillers, flags, started = [make_filler() for _ in range(workers)], 0, 0
    finished: list[None] = []

    def work(fill: Filler) -> None:
        result: int | BaseException
        try:
            result = ranges.work(fill)
        except BaseException as error:  # noqa: BLE001, raised again below
            result = error
        finished.append(None)
        results.put(result)

    try:
        for fill in fillers:
            start_new_thread(work, (fill,))
            started += 1
        for _ in range(workers):
            while results.empty() and report:
                report(ranges.done)
                sleep(PATIENCE)
            result = results.get()
            if isinstance(result, BaseException):
                raise result
            flags |= result
        if report:
            report(ranges.done)
    finally:
        ranges.ended = True
        while len(finished) < started:  # nobody must write to the result when it is given back
            sleep(0.001)
    return flags
