"""Sweeps: work in independent units, how it is cut into ranges, and which threads run them."""

from __future__ import annotations

import os
from _thread import allocate_lock, start_new_thread
from collections.abc import Callable, Hashable, Sized
from functools import partial
from itertools import repeat
from numbers import Real
from time import perf_counter, sleep
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__: list[str] = []  # nothing here is public

Report = Callable[..., object]  # of the number of units done, and of the loss where it is known

# Seconds of compiled work between two looks at the keyboard: Ctrl-C feels prompt, and twenty calls a second cost
# nothing. Fixed by test_ctrl_c_stops_a_compiled_gradient_within_a_second in tests/test_gradient.py.
INTERRUPT_INTERVAL = 0.05

# A second thread may wait some 2 ms for a core. Work of less than a 25th of the interval is not worth one.
# Fixed by test_work_that_is_known_to_be_small_is_not_worth_a_thread in tests/test_threads.py.
_THREADS_FROM = 25

# Threads, or processes, at most: each has a copy of x, and more than four a core would only wait for one another.
# The rule is tested by test_there_are_never_more_threads_than_units_nor_than_help in tests/test_threads.py.
MOST_WORKERS = max(16, 4 * (os.cpu_count() or 1))


def available_cores() -> int:
    """Return the number of cores that this process may use: taskset or a batch system may leave it fewer."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cost_of(x: Any, args: tuple[Any, ...]) -> Hashable:
    """Return what the time of an evaluation may depend on: sizes, and the values of numbers."""
    return x.size, *map(_cost, args)


def _cost(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.shape
    if isinstance(value, tuple):
        return tuple(map(_cost, value))
    return value if isinstance(value, Real) else len(value) if isinstance(value, Sized) else None


class Sweep:
    """The work of a rule: units 0 <= k < size, independent of each other; unit k writes row k of `out`."""

    throughput: Throughput | None = None  # None where it may not be cut, as a Python f calls for Ctrl-C itself
    cost: Hashable = "any"  # all that the time of a unit depends on; None stands for a cost that nothing is known of
    is_grouped = False  # whether a unit is several coordinates, which share their work
    one_by_one = False  # whether in another process each unit is run by itself, since f may take long
    as_one: Callable[[Any], float] = float  # what makes one number of f(x), by which two ends compare it
    value_cancels = False  # whether f(x) cancels in what it computes, so that nobody asks for it

    def __init__(
        self, objective: Any, x: Any, args: tuple[Any, ...], rule: Any, where: Any, out: NDArray[np.float64]
    ) -> None:
        # Not for an empty sweep: nothing is evaluated for an x without elements.
        if rule.needs_value and len(out) and not self.value_cancels:
            rule = rule._replace(data=(objective.value(x, args), *rule.data[1:]), needs_value=False)
        self.objective, self.x, self.args, self.rule, self.where = objective, x, args, rule, where
        self.out = self.result = out  # a kind may write rows of another form, of which `finish` makes the result
        self.size = len(out)

    def __reduce__(self) -> Any:
        return _arrived, (type(self), self.objective, self.x, self.args, self.rule, self.where, self.result.shape)

    def thread_state(self) -> Any:
        """Return what one thread may write to; nothing where it only reads."""

    def run_range(self, state: Any, start: int, stop: int) -> int:
        """Do the units start <= k < stop and return their flags, or-ed."""
        raise NotImplementedError

    def gather(self) -> None:
        """Write what is done to the result, where `out` is no view of it."""

    def finish(self) -> int:
        """Do what is left when all units are done, and return its flags."""
        return 0

    def value_at(self, offsets: NDArray[Any]) -> float:
        """Return f where x has moved by `offsets`, flat in C order, or by one number."""
        moved = self.x + np.broadcast_to(offsets.real, self.x.size).reshape(self.x.shape)
        return self.as_one(self.objective.value(moved, self.args))


def _arrived(kind: Callable[..., Sweep], objective: Any, x: Any, args: Any, rule: Any, where: Any, shape: Any) -> Sweep:
    """Return a sweep where it arrived, with a result of its own."""
    objective.place(x, args)  # which also learns what f is
    return kind(objective, x, args, rule, where, np.empty(shape))


class Throughput:
    """How many units of one kind of work fit into `INTERRUPT_INTERVAL`, remembered from call to call."""

    def __init__(self) -> None:
        self.known: tuple[Hashable, int] = (None, 1)

    def is_short(self, units: int, cost: Hashable, workers: int = 1) -> bool:
        """Tell whether so many units are known to be done before one interval, or before a thread could help."""
        known, size = self.known
        return (units if workers == 1 else units * _THREADS_FROM) <= size and known == cost

    def run(self, sweep: Sweep, workers: int = 1, report: Report | None = None) -> int:
        """Do all units of `sweep` on `workers` threads, each with a state of its own, and return the flags.

        The first exception ends the work and is raised; Ctrl-C ends it after the ranges that are under way. `report`
        is called from this thread, now and then and at the end, with the number of units done.
        """
        known, size = self.known
        ranges, state = _Ranges(sweep, size), sweep.thread_state()
        try:
            if known != sweep.cost:
                ranges.calibrate(state)
                if report:
                    report(ranges.done)
            left = sweep.size - ranges.start
            workers = min(workers, left, MOST_WORKERS)
            if workers <= 1 or left * _THREADS_FROM <= ranges.length:
                ranges.work(state, report)
            else:
                # Many ranges a thread, so that at the end none waits long for another that was held up.
                # Fixed by test_each_thread_has_a_state_of_its_own_and_ranges_are_short in tests/test_threads.py.
                ranges.limit = -(-left // (16 * workers))
                _on_threads(ranges, [state, *(sweep.thread_state() for _ in range(1, workers))], report)
            return ranges.flags
        finally:
            self.known = sweep.cost, ranges.length


class _Ranges:
    """A sweep in ranges of about `INTERRUPT_INTERVAL`, at most `limit` units long, for any number of threads."""

    def __init__(self, sweep: Sweep, length: int) -> None:
        self.sweep, self.length, self.limit = sweep, length, sweep.size
        self.start, self.done, self.flags, self.ended, self.lock = 0, 0, 0, False, allocate_lock()

    def calibrate(self, state: Any) -> None:
        """Do ranges of 1, 8, 64 ... units until one takes a thousandth of the interval, and the time is known."""
        # From one unit, since that may take minutes, to a range beside which the clock and a few calls do not count.
        # By 8, so that few ranges are that short, and the last one takes less than a hundredth of the interval, unless
        # its units are slower. Fixed by test_small_work_is_short_once_it_is_known_and_another_cost_forgets.
        length, elapsed = 1, 0.0
        while elapsed < INTERRUPT_INTERVAL / 1000 and self.start < self.sweep.size:
            start, self.start = self.start, min(self.start + length, self.sweep.size)
            elapsed, length = self._do(state, start, self.start), 8 * length

    def work(self, state: Any, report: Report | None = None) -> None:
        """Take ranges and do them until none is left."""
        try:
            while True:
                with self.lock:  # a range that was taken is done, whoever has found none left meanwhile
                    start = self.start
                    if start >= self.sweep.size or self.ended:
                        return
                    stop = self.start = min(start + min(self.length, self.limit), self.sweep.size)
                self._do(state, start, stop)
                if report:
                    report(self.done)
        finally:
            self.ended = True  # no range is left, or one has failed

    def _do(self, state: Any, start: int, stop: int) -> float:
        """Do one range, learn from it, and return its seconds."""
        began = perf_counter()
        flags = self.sweep.run_range(state, start, stop)
        # The clock may not have moved: the length is what is divided by it.
        elapsed = max(perf_counter() - began, 1e-9)
        self.length = max(1, int((stop - start) * INTERRUPT_INTERVAL / elapsed))
        with self.lock:
            self.done += stop - start
            self.flags |= flags
        return elapsed


def _on_threads(ranges: _Ranges, states: list[Any], report: Report | None) -> None:
    # A raw thread and a SimpleQueue are all C: Ctrl-C in the main thread cannot leave one of their locks taken, as it
    # does, once in some hundred times, with those of an executor and its futures, and waits for them for ever.
    from queue import SimpleQueue  # with threading, a tenth of what importing numgrad would cost

    started, finished, errors = list[int](), list[None](), SimpleQueue[BaseException | None]()
    # A second Ctrl-C may end the wait for the threads, which hence write to memory that nobody else has: what owns its
    # memory was made for this call, while what a caller gives comes as a view.
    sweep, out = ranges.sweep, ranges.sweep.out
    if sweep.result.base is not None and np.may_share_memory(out, sweep.result):
        sweep.out = out.copy()  # with what is done, wherever it stands
    work = partial(_work_in_thread, ranges, finished, errors)
    try:
        # C again: no thread that was started goes uncounted.
        started.extend(map(start_new_thread, repeat(work), zip(states[1:])))
        ranges.work(states[0], report)
        for _ in started:
            error = errors.get()
            try:
                if error is not None:
                    raise error
            finally:
                del error  # its traceback holds this frame, and what that holds, until the collector of cycles comes
        if report:
            report(ranges.done)
    finally:
        ranges.ended = True
        while len(finished) < len(started):  # they read x, which may change after the return
            sleep(0.001)
        if sweep.out is not out:
            out[...], sweep.out = sweep.out, out


def _work_in_thread(ranges: _Ranges, finished: list[None], errors: Any, state: Any) -> None:
    """Do ranges in a thread of their own, and tell how it ended."""
    raised = None
    try:
        ranges.work(state)
    except BaseException as error:  # noqa: BLE001, raised again by `_on_threads`
        raised = error
    finished.append(None)
    errors.put(raised)
    del raised  # as there
