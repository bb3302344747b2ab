"""Ranges of a sweep in other processes, through joblib or any engine that maps a function over tasks.

A sweep travels as one pickle, so that an f which reads the point as its own still does where it arrives. On this
machine it travels through a file, once for each worker. A worker elsewhere cannot see that file and keeps what it is
sent: the work begins with one unit for each worker, which takes the sweep along if it came back undone; so does
what comes back later, from a worker that none of these had reached.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import pickle
from _thread import _local
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import fingerprint
from .arguments import describe
from .loops import RESPONDED, STEP_LOST, Directions, Rule, make_central, make_directions
from .points import is_narrow, loss_eps
from .pool import Engine
from .threads import Report

__all__: list[str] = []  # nothing here is public

# Ranges for each worker, ever shorter ones, so that a slow one does not hold the rest at the end. docs/SCALING.md shows
# what they cost. Fixed by test_the_work_begins_with_a_coordinate_a_worker_and_goes_on_in_several_ranges_for_each.
RANGES = 16
# Seconds after which a worker gives back the rows that it has, and the rest of its range is given out anew: what took
# hours is here then, whatever becomes of the worker. Fixed by test_slow_units_come_back_one_by_one.
_KEEP_AFTER = 10.0
# Workers of an engine that does not say how many it has. If there are more, the sweep reaches these in further turns.
_WORKERS = 16
_MUST_MAP = "workers must map a function over tasks"


class _Cancelled(Exception):  # noqa: N818, no error reaches anybody
    """The result of a range is not wanted any more."""


# The base is threading.local, from its C module, so that importing numgrad does not import threading.
class _JobCache(_local):
    """The last sweep of a thread, which perturbs a point of its own."""

    key = ""
    sweep: Any = None
    is_received = False  # it was sent to this process, which cannot see the file


_cache = _JobCache()
_received: tuple[str, bytes] = "", b""  # key and pickle of the sweep that this process was sent last


_at_work: dict[str, int] = {}  # keys of the sweeps that this process distributes, with its id: a fork inherits them


class _Task(NamedTuple):
    number: int
    key: str
    file: str
    payload: bytes | None
    start: int
    stop: int


def distribute(engine: Engine, sweep: Any, report: Report | None = None) -> int:
    """Run a sweep in ranges through `engine`, write its rows where they belong, and return the flags.

    `engine` is map-like: ``engine(function, tasks)`` gives the results, in any order. The first exception, of `f` or of
    the engine, ends the work: what has not begun finds the file gone and does nothing. While the others work, what f is
    where the first range was done is compared with what it is here.
    """
    import tempfile  # with uuid, more than importing numgrad may cost
    import uuid

    if sweep.one_by_one and sweep.rule.make is make_central and sweep.size < workers_of(engine):
        sides = _sides_of(sweep)
        if sides is not None:
            flags = distribute(engine, sides, report and (lambda done: report(done // 2)))
            return flags & ~RESPONDED | _join(sweep, sides.out)
    # A file, and not a part of each task, which the engine would pickle and send once a range.
    # One for each sweep: a worker that finds the file gone knows that nobody waits for the rest of this sweep.
    key = uuid.uuid4().hex
    file = Path(tempfile.gettempdir(), f"numgrad-{key}")
    try:
        _at_work[key] = os.getpid()
        # Made anew and for this user alone: workers unpickle the file, which runs what it holds.
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(payload := _dumps(sweep))
        work = _Distributed(engine, sweep, report, key, str(file))
        left, turn = list(range(len(work.starts))), 0
        while left:
            many = work.workers * 4 ** max(0, turn - 2)  # after that, there are more workers than the engine says
            first, others = left[:many], left[many:]
            missing = work.collect(first, payload if turn else None)
            left = missing + (others if missing or not others else work.collect(others, None)) + work.unfinished()
            turn += 1
        work.check_fingerprint()
    finally:
        _at_work.pop(key, None)
        file.unlink(missing_ok=True)
    return work.flags


def _sides_of(sweep: Any) -> Any:
    """Return the sweep whose units are the values on the two sides of each coordinate; None for several arrays."""
    if not isinstance(sweep.x, np.ndarray):
        return None
    h, n, one = sweep.rule.data[0], sweep.size, np.ones((1, 1))
    rule = Rule(make_directions, (np.nan, 0.0, one, one, np.zeros(1, np.intp), one[0], False))
    members = np.repeat(sweep.where if len(sweep.where) else np.arange(n), 2)
    where = Directions(np.arange(2 * n + 1), members, np.tile([h, -h], n))
    return type(sweep)(sweep.objective, sweep.x, sweep.args, rule, where, np.empty(2 * n))


def _join(sweep: Any, values: NDArray[np.float64]) -> int:
    """Write the quotients of the values on both sides to where they belong, and return their flags."""
    x = sweep.x.view(np.ndarray)
    h, here = sweep.rule.data[0], x.reshape(-1)[sweep.where if len(sweep.where) else slice(None)].astype(np.float64)
    lost, width = np.abs(here) > h / loss_eps(x), np.full(here.shape, 2 * h)
    if is_narrow(x):  # the distance of the points as they are stored
        width = np.subtract(*((here + step).astype(x.dtype).astype(np.float64) for step in (h, -h)))
        lost |= width == 0.0
        width[width == 0.0] = -np.nan  # the bits of 0 / 0
    differences = values[::2] - values[1::2]
    sweep.out[:] = differences / width
    return (STEP_LOST if lost.any() else 0) | (RESPONDED if differences.any() else 0)


class _Distributed:
    """A sweep on its way through an engine."""

    def __init__(self, engine: Engine, sweep: Any, report: Report | None, key: str, file: str) -> None:
        self.engine, self.sweep, self.report, self.key, self.file = engine, sweep, report, key, file
        self.workers = min(workers_of(engine), sweep.size)
        self.starts = _starts(sweep.size, self.workers)
        self.stops = [*self.starts[1:], sweep.size]
        self.flags, self.done, self.given_out = 0, 0, len(self.starts)
        self.fingerprint: list[float] | None = None  # of the first range, until it is compared

    def collect(self, which: list[int], payload: bytes | None) -> list[int]:
        """Write what comes back, in whatever order, and return the ranges whose sweep was not to be had."""
        waiting, missing = set(which), []
        tasks = [_Task(k, self.key, self.file, payload, self.starts[k], self.stops[k]) for k in which]
        try:
            results = iter(self.engine(_work, tasks))
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
                    self.write(number, *pickle.loads(packed))  # noqa: S301, made by `_work`
                if raised is not None:
                    raise raised if isinstance(raised, BaseException) else pickle.loads(raised).exception()  # noqa: S301
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
        start, stop = self.starts[number], self.stops[number]
        self.stops[number] = start + len(rows)
        self.sweep.out[start : start + len(rows)] = rows
        if start + len(rows) < stop:
            self.starts.append(start + len(rows))
            self.stops.append(stop)
        self.done += len(rows)
        if self.report is not None:
            self.report(self.done)

    def unfinished(self) -> list[int]:
        """Return the ranges that were noted as left since this was asked last."""
        first, self.given_out = self.given_out, len(self.starts)
        return list(range(first, self.given_out))

    def check_fingerprint(self) -> None:
        """Raise a ValueError, once, if f reads another array than the point where the first range was done."""
        there, self.fingerprint = self.fingerprint, None
        if there is not None and not fingerprint.is_same(self.sweep, there):
            raise ValueError(
                "in another process f reads another array than the x that changes there, or other data: x is a view "
                "of what f reads, or f reads a module or a global, which there is as it was imported, or compiled; "
                "pass the array itself, let f be a closure or read its argument, and pass other data by args"
            )


def _starts(n: int, workers: int) -> list[int]:
    """Return where the ranges of n units start: single ones for each worker, then of linearly falling length."""
    rest = n - workers
    if rest <= 0:
        return list(range(n))
    # What is left falls as a square, so lengths fall in a line: the last are short, and the workers end together.
    falling = np.linspace(1.0, 0.0, min(rest, RANGES * workers), endpoint=False)
    return [*range(workers), *np.unique(n - np.ceil(rest * falling**2).astype(np.intp)).tolist()]


def workers_of(engine: Engine) -> int:
    """Return how many workers an engine says that it has."""
    owner: Any = getattr(engine, "__self__", engine)
    # Of `pool.joblib_engine`, an executor of concurrent.futures, a multiprocessing.Pool.
    for name in ("workers", "_max_workers", "_processes"):
        count = getattr(owner, name, None)
        if isinstance(count, int):
            return max(1, count)
    with contextlib.suppress(AttributeError):  # Dask's executor of a client
        return max(1, int(sum(owner._client.ncores().values())))
    return _WORKERS


def _work(task: _Task) -> tuple[int, bytes | None, bytes | BaseException | None]:
    """Do one range where it arrives; return its rows and what was raised, or neither if the sweep is not to be had."""
    if not _fetch(task):
        return task.number, None, None
    packed, raised = None, None
    try:
        # Before the range, so that the random numbers of f are those of the parent's own fingerprint.
        values = None if task.number else list(fingerprint.values(_cache.sweep))
        flags, rows, raised = _run(task, _cache.sweep)
        packed = _dumps((flags, rows, values))
    except _Cancelled:
        return task.number, None, None
    except (Exception, SystemExit) as error:  # noqa: BLE001, it is raised where the derivative was asked for
        raised = error
    if raised is None:
        return task.number, packed, None
    with contextlib.suppress(OSError):
        os.unlink(task.file)  # nobody needs to begin another range
    is_here = _at_work.get(task.key) == os.getpid()  # nothing is pickled: it keeps its type, whatever that is
    return task.number, packed, raised if is_here else _packed_exception(raised)


def _fetch(task: _Task) -> bool:
    """Put the sweep of a task into the cache, and return whether it was to be had."""
    global _received
    if task.payload is not None:
        _received = task.key, task.payload
    key, payload = _received
    if _cache.key != task.key:
        if key != task.key:
            try:
                payload = Path(task.file).read_bytes()
            except OSError:
                return False
        # Unpickled once for each thread, since each perturbs a point of its own.
        _cache.sweep = pickle.loads(payload)  # noqa: S301, made by `distribute`
        _cache.key, _cache.is_received = task.key, False
    _cache.is_received |= key == task.key
    return True


def _run(task: _Task, sweep: Any) -> tuple[int, NDArray[np.float64], BaseException | None]:
    """Run the range of a task, unit by unit where f may be slow, until it takes long; return rows and what f raised."""
    state, flags, raised, began = sweep.thread_state(), 0, None, perf_counter()
    length = 1 if sweep.one_by_one else max(1, task.stop - task.start)
    start = task.start
    while start < task.stop and (start == task.start or perf_counter() - began < _KEEP_AFTER):
        if not (_cache.is_received or os.path.exists(task.file)):
            raise _Cancelled
        try:
            flags |= sweep.run_range(state, start, start + length)
        except (Exception, SystemExit) as error:  # noqa: BLE001, raised where the derivative was asked for
            more = "" if length == 1 else f" to {start + length - 1}"
            if not sweep.is_grouped:
                error.add_note(f"raised for {_unit(sweep.where, start)}{more} of x (flat, in C order)")
            raised = error
            break
        start += length
    return flags, sweep.out[task.start : start], raised


def _unit(where: Any, k: int) -> str:
    """Return what to call unit k: the coordinate that it moves, or a direction."""
    starts, members = where[:2] if isinstance(where, tuple) else ((), where)
    return f"direction {k}" if len(starts) else f"coordinate {members[k] if len(members) else k}"


class _Failure(NamedTuple):
    """An exception on its way: itself, or its class where its __init__ takes other arguments than it keeps."""

    made: BaseException | type[BaseException]
    args: tuple[Any, ...]
    state: dict[str, Any]

    def exception(self) -> BaseException:
        error = self.made
        if isinstance(error, type):
            error = error.__new__(error, *self.args)
            error.args = self.args
        error.__dict__.update(self.state)  # with its notes, which a pickled exception loses
        return error


def _packed_exception(error: BaseException) -> bytes:
    """Pickle an exception: itself, or what makes it, or what it says; the first that arrives as the same."""
    for made, args in ((error, ()), (type(error), error.args)):
        with contextlib.suppress(Exception):
            packed = _dumps(_Failure(made, args, error.__dict__))
            arrived = pickle.loads(packed).exception()  # noqa: S301
            if type(arrived) is type(error) and str(arrived) == str(error):
                return packed
    message = f"f raised {type(error).__name__}, which cannot be pickled: {error}"
    return _dumps(_Failure(RuntimeError, (message,), {"__notes__": getattr(error, "__notes__", [])}))


@functools.cache  # once: where a signal interrupts an import, its exception may be lost, or taken for a missing module
def _pickler() -> Any:
    """Return what pickles lambdas and closures too where it is installed: joblib and Dask bring it."""
    for name in ("cloudpickle", "joblib.externals.cloudpickle"):
        with contextlib.suppress(ImportError):
            return importlib.import_module(name)
    return pickle


def _dumps(value: Any) -> bytes:
    """Pickle `value`, by cloudpickle if possible."""
    message = "f, x and args must travel to other processes, but cannot be pickled"
    try:
        return _pickler().dumps(value)  # type: ignore[no-any-return]
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise TypeError(f"{message}: {error}") from error
    except Exception as error:  # of an object, or of a signal handler, which may come at any moment
        error.add_note(message)
        raise
