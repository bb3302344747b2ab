"""Ranges of a sweep in other processes, through joblib or any engine that maps a function over tasks.

A sweep travels as one pickle, so that an f which reads the point as its own still does where it arrives. On this
machine it travels through a file, once for each worker. A worker elsewhere cannot see that file and keeps what it is
sent: the work begins with one unit for each worker, which takes the sweep along if it came back undone; so does
what comes back later, from a worker that none of these had reached.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arguments import describe, needed
from .loops import Directions, Rule, make_central, make_directions
from .remote import Task, at_work, dumps, forget, is_same, unpacked_exception, work
from .threads import Report

__all__: list[str] = []  # nothing here is public

Engine = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]

# Ranges for each worker, ever shorter ones, so that a slow one does not hold the rest at the end. docs/SCALING.md shows
# what they cost. Fixed by test_the_work_begins_with_a_coordinate_a_worker_and_goes_on_in_several_ranges_for_each.
RANGES = 16
# Workers of an engine that does not say how many it has. If there are more, the sweep reaches these in further turns.
_WORKERS = 16
# Seconds after which the processes of a child leave, so that its end does not wait for them, as multiprocessing has it.
# Fixed by test_a_child_of_its_own_kind_ends_soon in tests/test_processes.py.
_IDLE = 2
_MUST_MAP = "workers must map a function over tasks"

_owner = os.getpid()  # in a fork of it, joblib's pool lacks the thread that serves it
_living: dict[int, int] = {}  # by process, how many workers its last gradient has left in joblib's pool


def distribute(engine: Engine, sweep: Any, report: Report | None = None) -> int:
    """Run a sweep in ranges through `engine`, write its rows where they belong, and return the flags.

    `engine` is map-like: ``engine(function, tasks)`` gives the results, in any order. The first exception, of `f` or of
    the engine, ends the work: what has not begun finds the file gone and does nothing. While the others work, what f is
    where the first range was done is compared with what it is here.
    """
    import tempfile  # with uuid, more than importing numgrad may cost
    import uuid

    has_sides = sweep.one_by_one and sweep.rule.make is make_central and isinstance(sweep.x, np.ndarray)
    if has_sides and sweep.size < workers_of(engine):
        return _distribute_sides(engine, sweep, report)
    # A file, and not a part of each task, which the engine would pickle and send once a range.
    # One for each sweep: a worker that finds the file gone knows that nobody waits for the rest of this sweep.
    key = uuid.uuid4().hex
    file = Path(tempfile.gettempdir(), f"numgrad-{key}")
    try:
        at_work[key] = os.getpid()
        # Made anew and for this user alone: workers unpickle the file, which runs what it holds.
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(payload := dumps(sweep))
        return _Distribution(engine, sweep, report, (key, str(file))).run(payload)
    finally:
        at_work.pop(key, None)
        forget(key)
        file.unlink(missing_ok=True)


def _distribute_sides(engine: Engine, sweep: Any, report: Report | None) -> int:
    """Do a sweep of fewer units than workers: the two sides of each are units here, of whose values its loop is run."""
    h, n, one = sweep.rule.data[0], sweep.size, np.ones((1, 1))
    rule = Rule(make_directions, (np.nan, 0.0, one, one, np.zeros(1, np.intp), one[0], False))
    members = sweep.where if len(sweep.where) else np.arange(n)
    where = Directions(np.arange(2 * n + 1), np.repeat(members, 2), np.tile([h, -h], n))
    sides = type(sweep)(sweep.objective, sweep.x, sweep.args, rule, where, np.full(2 * n, np.nan))
    try:  # a coordinate is done with the second of its sides
        distribute(engine, sides, report and (lambda done: done % 2 or report(done // 2)))
    finally:  # what is finished is kept after an exception too
        values = iter(sides.out.tolist())
        known = type(sweep.objective)(lambda *_: next(values))
        replayed = type(sweep)(known, sweep.x, sweep.args, sweep.rule, sweep.where, sweep.out)
        flags: int = replayed.run_range(replayed.thread_state(), 0, n)
    return flags


class _Distribution:
    """A sweep on its way through an engine."""

    def __init__(self, engine: Engine, sweep: Any, report: Report | None, place: tuple[str, str]) -> None:
        self.engine, self.sweep, self.report, self.place = engine, sweep, report, place
        self.workers = min(workers_of(engine), sweep.size)
        self.ranges = list(pairwise([*_starts(sweep.size, self.workers), sweep.size]))
        self.left = list(range(len(self.ranges)))  # what is to be given out
        self.flags, self.done = 0, 0
        self.fingerprint: list[float] | None = None  # of the first range, until it is compared

    def run(self, payload: bytes) -> int:
        """Do all ranges, in turns, and return their flags."""
        turn = 0
        while self.left:
            many = self.workers * 4 ** max(0, turn - 2)  # after that, there are more workers than the engine says
            first, others, self.left = self.left[:many], self.left[many:], []
            missing = self.collect(first, payload if turn else None)
            if others and not missing:
                missing, others = self.collect(others, None), []
            self.left = missing + others + self.left
            turn += 1
        self.check_fingerprint()
        return self.flags

    def collect(self, which: list[int], payload: bytes | None) -> list[int]:
        """Write what comes back, in whatever order, and return the ranges whose sweep was not to be had."""
        waiting, missing = set(which), []
        tasks = [Task(k, *self.place, payload, *self.ranges[k]) for k in which]
        try:
            results = iter(self.engine(work, tasks))
        except TypeError as error:
            raise TypeError(f"{_MUST_MAP}, as Executor.map does: {error}") from error
        try:
            for result in results:
                if not (isinstance(result, tuple) and len(result) == 3):
                    raise TypeError(f"{_MUST_MAP}, but gave {describe(result)} for one")
                number, packed, raised = result
                if number not in waiting:
                    raise TypeError(f"{_MUST_MAP}, but gave the result of task {number} twice")
                waiting.remove(number)
                if packed is not None:
                    self.write(number, *pickle.loads(packed))  # noqa: S301, made by `work`
                if raised is not None:
                    raise raised if isinstance(raised, BaseException) else unpacked_exception(raised)
                if packed is None:
                    missing.append(number)
        finally:
            if hasattr(results, "close"):  # an executor cancels what has not begun
                results.close()
        if waiting or (missing and payload is not None):
            raise RuntimeError(f"workers gave no result for {len(waiting) + len(missing)} of {len(which)} tasks")
        return missing

    def write(self, number: int, flags: int, rows: NDArray[np.float64], values: list[float] | None) -> None:
        """Write the rows of one range to where they belong, and note what is left of it."""
        if number == 0:
            self.fingerprint = values
        elif number >= self.workers:
            self.check_fingerprint()
        self.flags |= flags
        start, stop = self.ranges[number]
        end = start + len(rows)
        self.sweep.out[start:end] = rows
        if end < stop:
            self.left.append(len(self.ranges))
            self.ranges.append((end, stop))
        self.done += len(rows)
        if self.report is not None:
            self.report(self.done)

    def check_fingerprint(self) -> None:
        """Raise a ValueError, once, if f reads another array than the point where the first range was done."""
        there, self.fingerprint = self.fingerprint, None
        if there is not None and not is_same(self.sweep, there):
            raise ValueError(
                "in another process f reads another array than the x that changes there, or other data: x is a view "
                "of what f reads, or f reads a module or a global, which there is as it was imported, or compiled; "
                "pass the array itself, let f be a closure or read its argument, and pass other data by args"
            )


def _starts(n: int, workers: int) -> list[int]:
    """Return where the ranges of n units start: single ones for each worker, then of linearly falling length."""
    # What is left falls as a square, so lengths fall in a line: the last are short, and the workers end together.
    rest = n - workers
    falling = np.linspace(1.0, 0.0, min(rest, RANGES * workers), endpoint=False)
    return [*range(workers), *np.unique(n - np.ceil(rest * falling**2).astype(np.intp)).tolist()]


def workers_of(engine: Engine) -> int:
    """Return how many workers an engine says that it has."""
    owner: Any = getattr(engine, "__self__", engine)
    # Of `joblib_engine`, an executor of concurrent.futures, a multiprocessing.Pool.
    for name in ("workers", "_max_workers", "_processes"):
        if isinstance(count := getattr(owner, name, None), int):
            return max(1, count)
    with contextlib.suppress(AttributeError):  # Dask's executor of a client
        return max(1, int(sum(owner._client.ncores().values())))
    return _WORKERS


class _Unwanted(Exception):  # noqa: N818, no error reaches anybody
    """No more results are wanted."""


def _pool_and_thread() -> tuple[Any, Any]:
    """Return joblib's pool of this process, and the thread that serves it, or None."""
    pool = getattr(sys.modules.get("joblib.externals.loky.reusable_executor"), "_executor", None)
    return pool, getattr(pool, "_executor_manager_thread", None)


def _raise_what_broke_the_pool(error: RuntimeError) -> None:
    """Raise what interrupted the start of the thread of the pool, if that is why joblib could not end the pool."""
    pool, thread = _pool_and_thread()
    if thread is not None and error.__context__ is not None:
        if thread.ident is None:
            pool._executor_manager_thread = None  # or else joblib would never be able to
        raise error.__context__ from None


def _is_child() -> bool:
    """Tell whether this process is another one's child: a fork shows in the dead thread of an inherited pool too."""
    from multiprocessing import parent_process  # which joblib has imported

    global _owner
    pool, thread = _pool_and_thread()
    if thread is not None and not (thread.is_alive() or pool._flags.shutdown or pool._flags.broken):
        _owner = 0
    return os.getpid() != _owner or parent_process() is not None


def _parallel(joblib: Any, count: int) -> Any:
    """Return what maps, and gives its results as they come if the backend can."""
    try:
        return joblib.Parallel(count, batch_size=1, return_as="generator_unordered")
    except ValueError:
        return joblib.Parallel(count, batch_size=1)


# joblib ends its generator in one of two ways: where it is closed, it aborts the tasks that are left and warns of them;
# at any other exception it only aborts them. Hence the throw: that tasks are left is no news for the caller.
# Fixed by test_an_exception_of_any_signature_keeps_its_type in tests/test_processes.py, where a warning is an error.
def joblib_engine(count: int) -> Engine:
    """Return the engine of so many of joblib's workers: processes, unless ``joblib.parallel_config`` says otherwise.

    It starts no more than there are tasks, and lets those idle that live: to end them takes longer.

    Raises
    ------
    ImportError
        If joblib is not installed.
    """
    joblib = needed("joblib", "workers > 1 with a Python f starts processes with joblib")

    def engine(function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
        jobs, own = [joblib.delayed(function)(task) for task in tasks], contextlib.nullcontext()
        # Other arguments than those of any parent have joblib make a pool of the child's own. Where threads were
        # chosen, as joblib itself does for work within its workers, they stay.
        if _is_child() and type(joblib.parallel.get_active_backend()[0]).__name__ == "LokyBackend":
            own = joblib.parallel_config("loky", idle_worker_timeout=_IDLE + 1e-9 * os.getpid())
        useful = min(count, max(len(jobs), _living.pop(os.getpid(), 0)))
        with own:
            try:
                results = _parallel(joblib, useful)(jobs)
                for result in results:  # noqa: UP028, `yield from` would close it
                    yield result
            except GeneratorExit:
                if hasattr(results, "throw"):  # where it is closed, joblib warns of the tasks that are cancelled
                    with contextlib.suppress(_Unwanted):
                        results.throw(_Unwanted())
                raise
            except RuntimeError as error:
                _raise_what_broke_the_pool(error)
                raise
        _living[os.getpid()] = useful  # after an exception, they are gone

    engine.workers = count  # type: ignore[attr-defined]
    return engine
