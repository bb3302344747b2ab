"""Ranges of a sweep in other processes, through joblib or any engine that maps a function over tasks.

A sweep travels as one pickle, so that an f which reads the point as its own still does where it arrives. On this
machine it travels through a file, once for each worker. A worker elsewhere cannot see that file and keeps what it is
sent: the work begins with one unit for each worker, which takes the sweep along if it came back undone; so does
what comes back later, from a worker that none of these had reached.
"""

from __future__ import annotations

import contextlib
import math
import os
import pickle
from _thread import _local
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .arguments import describe
from .threads import Report

__all__: list[str] = []  # nothing here is public

Engine = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]

# Ranges for each worker, ever shorter ones, so that a slow one does not hold the rest at the end. docs/SCALING.md shows
# what they cost. Fixed by test_the_work_begins_with_a_coordinate_a_worker_and_goes_on_in_several_ranges_for_each.
RANGES = 16
# Workers of an engine that does not say how many it has. If there are more, the sweep reaches these in further turns.
_WORKERS = 16
# Part of the response of f from which a response that is missing elsewhere counts: BLAS may round in another way there.
# Fixed by test_a_view_of_what_f_reads_and_a_global_are_found_and_a_harmless_view_is_not.
_MISSING = 0.02
_MUST_MAP = "workers must map a function over tasks"
# Seconds after which the processes of a forked child leave, so that its end does not wait for them.
# Fixed by test_a_forked_child_has_processes_of_its_own.
_IDLE = 2


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


_owner = os.getpid()  # in a fork of it, joblib's pool lacks the thread that serves it


class _Task(NamedTuple):
    number: int
    key: str
    file: str
    payload: bytes | None
    start: int
    stop: int


# joblib ends its generator in one of two ways: where it is closed, it aborts the tasks that are left and warns of them;
# at any other exception it only aborts them. Hence the throw: that tasks are left is no news for the caller.
# Fixed by test_an_exception_of_any_signature_keeps_its_type in tests/test_processes.py, where a warning is an error.
def joblib_engine(count: int) -> Engine:
    """Return the engine of so many of joblib's workers: processes, unless ``joblib.parallel_config`` says otherwise.

    Raises
    ------
    ImportError
        If joblib is not installed.
    """
    try:
        import joblib
    except ImportError:
        raise ImportError(
            "workers > 1 with a Python f starts processes with joblib: python -m pip install 'numgrad[parallel]'"
        ) from None

    def engine(function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
        jobs, own = [joblib.delayed(function)(task) for task in tasks], contextlib.nullcontext()
        if os.getpid() != _owner:  # other arguments than those of the parent have joblib make a pool of the child's own
            own = joblib.parallel_config("loky", idle_worker_timeout=_IDLE)
        with own:
            try:
                parallel = joblib.Parallel(count, batch_size=1, return_as="generator_unordered")
            except ValueError:  # a backend that gives its results at once
                parallel = joblib.Parallel(count, batch_size=1)
            results = parallel(jobs)
            try:
                for result in results:  # noqa: UP028, `yield from` would close it
                    yield result
            except GeneratorExit:
                if hasattr(results, "throw"):  # where it is closed, joblib warns of the tasks that are cancelled
                    with contextlib.suppress(_Cancelled):
                        results.throw(_Cancelled())
                raise

    engine.workers = count  # type: ignore[attr-defined]
    return engine


def distribute(engine: Engine, sweep: Any, report: Report | None = None) -> int:
    """Run a sweep in ranges through `engine`, write its rows where they belong, and return the flags.

    `engine` is map-like: ``engine(function, tasks)`` gives the results, in any order. The first exception, of `f` or of
    the engine, ends the work: what has not begun finds the file gone and does nothing. While the others work, the
    fingerprint of the sweep where its first range was done is compared with that of this process.
    """
    import tempfile  # with uuid, more than importing numgrad may cost
    import uuid

    # A file, and not a part of each task, which the engine would pickle and send once a range.
    # One for each sweep: a worker that finds the file gone knows that nobody waits for the rest of this sweep.
    key = uuid.uuid4().hex
    file = Path(tempfile.gettempdir(), f"numgrad-{key}")
    try:
        # Made anew and for this user alone: workers unpickle the file, which runs what it holds.
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(payload := _dumps(sweep))
        work = _Distributed(engine, sweep, report, key, str(file))
        left, turn = list(range(len(work.starts))), 0
        while left:
            many = work.workers * 4 ** max(0, turn - 2)  # after that, there are more workers than the engine says
            first, others = left[:many], left[many:]
            missing = work.collect(first, payload if turn else None)
            left = missing + (others if missing or not others else work.collect(others, None))
            turn += 1
        work.check_fingerprint()
    finally:
        file.unlink(missing_ok=True)
    return work.flags


class _Distributed:
    """A sweep on its way through an engine."""

    def __init__(self, engine: Engine, sweep: Any, report: Report | None, key: str, file: str) -> None:
        self.engine, self.sweep, self.report, self.key, self.file = engine, sweep, report, key, file
        self.workers = workers_of(engine)
        self.starts = _starts(sweep.size, self.workers)
        self.stops = [*self.starts[1:], sweep.size]
        self.flags = self.done = 0
        self.fingerprint: float | None = None  # of the first range, until it is compared

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
                if not (isinstance(result, tuple) and len(result) == 2):
                    raise TypeError(f"{_MUST_MAP}, but gave {describe(result)} for one")
                number, packed = result
                if number not in waiting:
                    raise TypeError(f"{_MUST_MAP}, but gave the result of task {number} twice")
                waiting.remove(number)
                if packed is None:
                    missing.append(number)
                else:
                    self.write(number, packed)
        finally:
            if hasattr(results, "close"):  # an executor cancels what has not begun
                results.close()
        if waiting or (missing and payload is not None):
            raise RuntimeError(f"workers gave no result for {len(waiting) + len(missing)} of {len(which)} tasks")
        return missing

    def write(self, number: int, packed: bytes) -> None:
        """Write the rows of one range to where they belong, or raise what f raised."""
        result: Any = pickle.loads(packed)  # noqa: S301, made by `_work`
        if isinstance(result, _Failure):
            raise result.exception()
        flags, rows, fingerprint = result
        if number == 0:
            self.fingerprint = fingerprint
        elif number >= self.workers:
            self.check_fingerprint()
        self.flags |= flags
        self.sweep.out[self.starts[number] : self.stops[number]] = rows
        self.done += len(rows)
        if self.report is not None:
            self.report(self.done)

    def check_fingerprint(self) -> None:
        """Raise a ValueError, once, if f reads another array than the point where the first range was done.

        What does not respond there as here is told from the noise of f by evaluating it again.
        """
        there, self.fingerprint = self.fingerprint, None
        here = None if there is None else self.sweep.fingerprint()
        if there is None or here is None or math.isnan(here) or math.isclose(here, there, rel_tol=1e-9):
            return
        # The noise is what f differs by from itself, at one point of one process.
        again = self.sweep.fingerprint()
        response = here - self.sweep.objective.value(self.sweep.x, self.sweep.args)
        noise = here - (here if again is None else again)
        if not abs(here - there) <= _MISSING * abs(response) + 10.0 * abs(noise):
            raise ValueError(
                "in another process f reads another array than the x that changes there: x is a view of what f reads, "
                "or f reads a global, or a module; pass the array itself, and let f be a closure or read its argument"
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
    # Of `joblib_engine`, an executor of concurrent.futures, a multiprocessing.Pool.
    for name in ("workers", "_max_workers", "_processes"):
        count = getattr(owner, name, None)
        if isinstance(count, int):
            return max(1, count)
    with contextlib.suppress(Exception):  # Dask's executor of a client
        return max(1, int(sum(owner._client.ncores().values())))
    return _WORKERS


def _work(task: _Task) -> tuple[int, bytes | None]:
    """Do one range where it arrives; None says that the sweep is not to be had here."""
    if not _fetch(task):
        return task.number, None
    try:
        flags, rows = _run(task, _cache.sweep)
        return task.number, _dumps((flags, rows, _cache.sweep.fingerprint() if task.number == 0 else None))
    except _Cancelled:
        return task.number, None
    except (Exception, SystemExit) as error:  # noqa: BLE001, it is raised where the derivative was asked for
        with contextlib.suppress(OSError):
            os.unlink(task.file)  # nobody needs to begin another range
        return task.number, _packed_exception(error)


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


def _run(task: _Task, sweep: Any) -> tuple[int, NDArray[np.float64]]:
    """Run the range of a task, unit by unit where f may be slow, and note on an exception where it was raised."""
    state, flags = sweep.thread_state(), 0
    length = 1 if sweep.one_by_one else max(1, task.stop - task.start)
    for start in range(task.start, task.stop, length):
        if not (_cache.is_received or os.path.exists(task.file)):
            raise _Cancelled
        try:
            flags |= sweep.run_range(state, start, start + length)
        except Exception as error:
            more = "" if length == 1 else f" to {start + length - 1}"
            error.add_note(f"raised for {_unit(sweep.where, start)}{more} of x (flat, in C order)")
            raise
    return flags, sweep.out[task.start : task.stop]


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


def _dumps(value: Any) -> bytes:
    """Pickle `value`, lambdas and closures too where cloudpickle is installed, which joblib and Dask bring."""
    pickler: Any = pickle
    with contextlib.suppress(ImportError):
        from joblib.externals import cloudpickle as pickler  # type: ignore[no-redef]
    with contextlib.suppress(ImportError):
        import cloudpickle as pickler  # type: ignore[no-redef]
    try:
        return pickler.dumps(value)  # type: ignore[no-any-return]
    except Exception as error:
        raise TypeError(f"f, x and args must travel to other processes, but cannot be pickled: {error}") from error
