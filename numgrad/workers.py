"""Ranges: how a long piece of work is cut, and which threads do the parts.

A *filler* ``fill(start, stop)`` does the units start <= i < stop of some work and returns flags; the flags of
all ranges are or-ed. What a unit or a flag means, this module does not know, and it knows no other module.
"""

from __future__ import annotations

import os
from _thread import allocate_lock, start_new_thread
from collections.abc import Callable, Hashable
from contextlib import suppress
from itertools import repeat
from time import perf_counter, sleep

Filler = Callable[[int, int], int]

# Seconds of compiled work between two looks at the keyboard: Ctrl-C feels prompt, twenty calls a second cost nothing.
PATIENCE = 0.05

# Work of less than a 25th of that, 2 ms, is not worth a second thread: it may wait that long for a core.
_THREADS_FROM = 25


# Each has a copy of x; more would only wait for one another.
_MOST_THREADS = max(16, 4 * (os.cpu_count() or 1))


class Pace:
    """How many units of one kind of compiled work fit into `PATIENCE`, remembered from call to call."""

    def __init__(self) -> None:
        self.memory: tuple[Hashable, int] = (None, 1)

    def fits(self, total: int, key: Hashable, workers: int = 1) -> bool:
        """Tell whether `total` units are known to fit, so that small work is done at once, here, and not measured.

        `key` stands for all that the cost of a unit depends on.
        """
        known, size = self.memory
        return (total if workers == 1 else total * _THREADS_FROM) <= size and known == key

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
        ranges, fill, flags = _Ranges(total, size), make_filler(), 0
        try:
            if known != key:
                flags = ranges.explore(fill)
                if report:
                    report(ranges.done)
            left = total - ranges.start
            workers = min(workers, left, _MOST_THREADS)
            if workers <= 1 or left * _THREADS_FROM <= ranges.size:
                return flags | ranges.work(fill, report)
            # Many ranges a thread, so that at the end none waits long for another that was held up.
            ranges.limit = -(-left // (16 * workers))
            fillers = [fill, *(make_filler() for _ in range(1, workers))]
            return flags | _on_threads(ranges, fillers, report)
        finally:
            self.memory = key, ranges.size


class _Ranges:
    """``range(total)`` in ranges of about `PATIENCE` seconds, at most `limit` long, for any number of threads."""

    def __init__(self, total: int, size: int) -> None:
        self.total, self.size, self.limit = total, size, total
        self.start, self.done, self.ended, self.lock = 0, 0, False, allocate_lock()

    def explore(self, fill: Filler) -> int:
        """Do ranges of 1, 8, 64 ... units until one takes a thousandth of `PATIENCE`, and the pace is known."""
        flags, length, elapsed = 0, 1, 0.0
        while elapsed < PATIENCE / 1000 and self.start < self.total:
            start, self.start = self.start, min(self.start + length, self.total)
            more, elapsed = self._do(fill, start, self.start)
            flags, length = flags | more, 8 * length
        return flags

    def work(self, fill: Filler, report: Callable[[int], object] | None = None) -> int:
        """Take ranges and fill them until none is left; return the or of their flags."""
        flags = 0
        try:
            while True:
                with self.lock:  # a range that was taken is done, whoever has found none left meanwhile
                    start = self.start
                    if start >= self.total or self.ended:
                        return flags
                    stop = self.start = min(start + min(self.size, self.limit), self.total)
                flags |= self._do(fill, start, stop)[0]
                if report:
                    report(self.done)
        finally:
            self.ended = True  # no range is left, or one has failed

    def _do(self, fill: Filler, start: int, stop: int) -> tuple[int, float]:
        """Fill one range, learn from it, and return its flags and seconds."""
        began = perf_counter()
        flags = fill(start, stop)
        elapsed = max(perf_counter() - began, 1e-9)
        self.size = max(1, int((stop - start) * PATIENCE / elapsed))
        with self.lock:
            self.done += stop - start
        return flags, elapsed


def _on_threads(ranges: _Ranges, fillers: list[Filler], report: Callable[[int], object] | None) -> int:
    # A raw thread and a SimpleQueue are all C: Ctrl-C in the main thread cannot leave one of their locks taken, as it
    # does, once in some hundred times, with those of an executor and its futures, and waits for them for ever.
    from queue import SimpleQueue  # with threading, a tenth of what importing numgrad would cost

    results: SimpleQueue[int | BaseException] = SimpleQueue()
    workers, started = len(fillers), list[int]()
    finished: list[None] = []

    def work(rank: int) -> None:
        result: int | BaseException
        try:
            _settle(rank, workers)
            result = ranges.work(fillers[rank])
        except BaseException as error:  # noqa: BLE001, raised again below
            result = error
        finished.append(None)
        results.put(result)

    try:
        started.extend(map(start_new_thread, repeat(work), zip(range(1, workers))))  # C again: none goes uncounted
        _settle(0, workers)
        flags = ranges.work(fillers[0], report)
        for _ in started:
            result = results.get()
            if isinstance(result, BaseException):
                raise result
            flags |= result
        if report:
            report(ranges.done)
    finally:
        ranges.ended = True
        while len(finished) < len(started):  # nobody must write to the result when it is given back
            sleep(0.001)
    return flags


def _settle(rank: int, workers: int) -> None:
    """Move this thread to a core of its own if there are as many workers as cores; it stays free to move on.

    A scheduler that packs threads, as virtual machines have, or one that takes an idle BLAS thread, which spins, for a
    busy one, would leave two of them on one core for tens of milliseconds.
    """
    if hasattr(os, "sched_setaffinity"):
        cores = os.sched_getaffinity(0)
        if 1 < len(cores) <= workers:
            with suppress(OSError):  # a sandbox may forbid it
                own = {sorted(cores)[rank % len(cores)]}
                list(map(os.sched_setaffinity, (0, 0), (own, cores)))  # one call of C: Ctrl-C cannot come between
