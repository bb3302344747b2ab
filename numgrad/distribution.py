"""Ranges in other processes: what is shipped, to whatever engine maps a function over tasks, and how it ends.

A *job* ``run(coordinates) -> (flags, arrays)`` holds all that its ranges need: the objective, the point, the step. It
travels as one pickle, so that an f which reads the point as its own still does where it arrives. On this machine it
travels through a file, once for each worker. A worker elsewhere cannot see that file and keeps what it is sent: the
work begins with one coordinate for each worker, which takes the job along if it came back undone; so does what comes
back later, from a worker that none of these had reached.
"""

import contextlib
import os
import pickle
import sys
from _thread import RLock, _local
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from .arguments import describe

Engine = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]

_RANGES = 16  # for each worker, ever shorter ones, so that a slow one does not hold the rest at the end
_WORKERS = 16  # of an engine that does not say how many it has
_PATIENCE, _STUCK = 0.1, 3.0  # seconds: between looks at a pool, and until a locked queue counts as lost


class UnwantedError(Exception):
    """What a job raises to end early: a range that was left is no result, and is done again if it is wanted yet."""


class Job(Protocol):
    """Work on coordinates that are independent of each other."""

    def run(self, coordinates: NDArray[np.intp], wanted: Callable[[], bool]) -> tuple[int, tuple[NDArray[Any], ...]]:
        """Return flags and an array for each output, or raise `UnwantedError` once these are not `wanted` any more."""

    def witness(self) -> Any:
        """Return what `confirm` needs to know from elsewhere."""

    def confirm(self, there: Any) -> None:
        """Raise an exception unless the job does there what it does here."""


class _Kept(_local):
    """The last job of a thread: each has its own, since it perturbs the point in place."""

    key = ""
    job: Any = None
    sent = False  # to this process, which cannot see the file


_kept = _Kept()
_sent: tuple[str, bytes] = "", b""  # key and pickle of the job that this process was sent last
_owner = os.getpid()  # the process whose loky is used


class _Task(NamedTuple):
    number: int
    key: str
    file: str
    payload: bytes | None
    coordinates: NDArray[np.intp]


def distribute(
    engine: Engine,
    job: Job,
    coordinates: NDArray[np.intp],
    outputs: tuple[NDArray[Any], ...],
    report: Callable[[int], object] | None = None,
) -> int:
    """Run `job` in ranges of `coordinates` through `engine`, write its arrays to the flat `outputs`, return the flags.

    `engine` is map-like: ``engine(function, tasks)`` gives the results, in any order. The first exception, of `f` or of
    the engine, ends the work: what has not begun finds the file gone and does nothing. While the others work, the job
    confirms what it witnessed where its first range was done.
    """
    import tempfile  # with uuid, more than importing numgrad may cost
    import uuid

    key = uuid.uuid4().hex
    file = Path(tempfile.gettempdir(), f"numgrad-{key}")
    try:
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(payload := _dumps(job))
        work = _Distributed(engine, job, coordinates, outputs, report, key, str(file))
        left, turn = list(range(len(work.ranges))), 0
        while left:
            many = work.workers * 4 ** max(0, turn - 2)  # after that, there are more workers than the engine says
            first, others = left[:many], left[many:]
            missing = work.collect(first, payload if turn else None)
            left = missing + (others if missing or not others else work.collect(others, None))
            turn += 1
        work.confirm()
    finally:
        file.unlink(missing_ok=True)
    return work.flags


class _Distributed:
    """A job on its way through an engine."""

    def __init__(
        self,
        engine: Engine,
        job: Job,
        coordinates: NDArray[np.intp],
        outputs: tuple[NDArray[Any], ...],
        report: Callable[[int], object] | None,
        key: str,
        file: str,
    ) -> None:
        self.engine, self.job, self.outputs, self.report, self.key, self.file = engine, job, outputs, report, key, file
        self.workers = _workers_of(engine)
        self.starts = _starts(len(coordinates), self.workers)
        self.ranges = np.split(coordinates, self.starts[1:])
        self.flags = self.done = 0
        self.unconfirmed: list[Any] = []

    def collect(self, which: list[int], packed: bytes | None) -> list[int]:
        """Write what comes back, in whatever order, and return the ranges whose job was not to be had."""
        waiting, missing = set(which), []
        results = _mapped(self.engine, [_Task(k, self.key, self.file, packed, self.ranges[k]) for k in which])
        try:
            for number, result in results:
                if number not in waiting:
                    raise TypeError(
                        f"workers must map a function over tasks, but gave the result of task {number} twice"
                    )
                waiting.remove(number)
                if result is None:
                    missing.append(number)
                else:
                    self.write(number, *_unpacked(result))
        finally:
            if hasattr(results, "close"):
                results.close()  # an executor cancels what has not begun
        if waiting or (missing and packed is not None):
            raise RuntimeError(f"workers gave no result for {len(waiting) + len(missing)} of {len(which)} tasks")
        return missing

    def write(self, number: int, flags: int, arrays: tuple[NDArray[Any], ...], witness: Any) -> None:
        """Write the arrays of one range to where they belong."""
        if number == 0:
            self.unconfirmed.append(witness)
        elif number >= self.workers:
            self.confirm()
        self.flags |= flags
        start = self.starts[number]
        for output, array in zip(self.outputs, arrays, strict=True):
            output[start : start + len(array)] = array
        self.done += len(self.ranges[number])
        if self.report is not None:
            self.report(self.done)

    def confirm(self) -> None:
        """Confirm the witness of the first range, once."""
        while self.unconfirmed:
            self.job.confirm(self.unconfirmed.pop())


def _starts(n: int, workers: int) -> list[int]:
    """Return where the ranges of n coordinates start: single ones for each worker, then of linearly falling length."""
    rest = n - workers
    if rest <= 0:
        return list(range(n))
    falling = np.linspace(1.0, 0.0, min(rest, _RANGES * workers), endpoint=False)
    return [*range(workers), *np.unique(n - np.ceil(rest * falling**2).astype(np.intp)).tolist()]


def processes(count: int) -> Engine:
    """Return the engine of so many processes of this machine, which joblib's loky keeps for the next call.

    Raises
    ------
    ImportError
        If joblib is not installed.
    """
    try:
        from joblib.externals.loky import get_reusable_executor, reusable_executor
    except ImportError:
        raise ImportError(
            "workers > 1 with a Python f starts processes with joblib: python -m pip install 'numgrad[parallel]'"
        ) from None
    from concurrent.futures import as_completed

    threads = str(max(1, (os.cpu_count() or 1) // count))
    limits = {f"{library}_NUM_THREADS": threads for library in ("OMP", "OPENBLAS", "MKL")}

    def engine(function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
        global _owner
        if _owner != os.getpid():  # a fork, which has inherited loky's executor without the thread that serves it
            reusable_executor._executor, reusable_executor._executor_lock = None, RLock()
            _owner = os.getpid()
        executor = get_reusable_executor(max_workers=count, env=limits)
        futures = [executor.submit(function, task) for task in tasks]
        try:
            for future in as_completed(futures):
                yield future.result()
        except KeyboardInterrupt:
            # As if they had died: the executor's own shutdown(kill_workers=True) stumbles over work that is under way.
            for process in list(executor._processes.values()):
                process.terminate()
            executor.shutdown(wait=True)
            raise
        finally:
            for future in futures:
                future.cancel()

    engine.workers = count  # type: ignore[attr-defined]
    return engine


def _workers_of(engine: Engine) -> int:
    """Return how many workers an engine says that it has."""
    owner: Any = getattr(engine, "__self__", engine)
    for name in ("workers", "_max_workers", "_processes"):
        count = getattr(owner, name, None)
        if isinstance(count, int):
            return max(1, count)
    with contextlib.suppress(Exception):  # Dask's executor of a client
        return max(1, int(sum(owner._client.ncores().values())))
    return _WORKERS


def _mapped(engine: Engine, tasks: list[_Task]) -> Iterator[Any]:
    """Yield (number of the range, packed result) from an engine, after checking that it maps."""
    pools = sys.modules.get("multiprocessing.pool")
    pool: Any = getattr(engine, "__self__", None)
    if pools and isinstance(pool, pools.Pool) and type(pool).map is pools.Pool.map:
        yield from _watched(pool, tasks)
        return
    try:
        results = iter(engine(_work, tasks))
    except TypeError as error:
        raise TypeError(f"workers must map a function over tasks, as Executor.map does: {error}") from error
    try:
        for result in results:
            if not (isinstance(result, tuple) and len(result) == 2):
                raise TypeError(f"workers must map a function over tasks, but gave {describe(result)} for one")
            yield result
    finally:
        if hasattr(results, "close"):
            results.close()


def _watched(pool: Any, tasks: list[_Task]) -> Iterator[Any]:
    """Map through a `multiprocessing.Pool`, which by itself waits for ever for a worker that was killed.

    One that was killed as it waited for a task has left the queue locked, for the others too.
    """
    from multiprocessing import TimeoutError as NotYetError

    results = pool.imap_unordered(_work, tasks)
    workers, queue, stuck = {worker for worker in pool._pool if worker.exitcode is None}, pool._inqueue, 0
    while True:
        try:
            result = results.next(_PATIENCE)
        except StopIteration:
            return
        except NotYetError:
            codes = [worker.exitcode for worker in workers if worker.exitcode]
            if codes:
                raise RuntimeError(f"a worker of the pool died with the exit code {codes[0]}") from None
            stuck = stuck + 1 if _is_locked(queue) else 0
            if stuck * _PATIENCE > _STUCK:
                raise RuntimeError("a worker of the pool died and left its queue locked; make a new pool") from None
        else:
            yield result
        workers.update(pool._pool)


def _is_locked(queue: Any) -> bool:
    """Tell whether something lies in the queue of a pool of processes that nobody can take."""
    lock = getattr(queue, "_rlock", None)
    if lock is None or not queue._reader.poll():
        return False
    free: bool = lock.acquire(False)
    if free:
        lock.release()
    return not free


def _work(task: _Task) -> tuple[int, bytes | None]:
    """Do one range where it arrives; None says that the job is not to be had here."""
    found = _keep(task)
    job, sent = _kept.job, _kept.sent

    def wanted() -> bool:  # a worker elsewhere cannot see that the file is gone
        return sent or os.path.exists(task.file)

    if not (found and wanted()):
        return task.number, None
    try:
        flags, arrays = job.run(task.coordinates, wanted)
        return task.number, _dumps((flags, arrays, job.witness() if task.number == 0 else None))
    except UnwantedError:
        return task.number, None
    except (Exception, SystemExit) as error:  # noqa: BLE001, it is raised where the gradient was asked for
        return task.number, _packed_exception(error)


def _keep(task: _Task) -> bool:
    """Keep the job of a task, and return whether it was to be had."""
    global _sent
    if task.payload is not None:
        _sent = task.key, task.payload
    key, payload = _sent
    if _kept.key != task.key:
        if key != task.key:
            try:
                payload = Path(task.file).read_bytes()
            except OSError:
                return False
        _kept.job = pickle.loads(payload)  # noqa: S301, made by `distribute`
        _kept.key, _kept.sent = task.key, False
    _kept.sent = _kept.sent or key == task.key
    return True


class _Raised(NamedTuple):
    """An exception on its way, as what `BaseException` itself needs: some __init__ take other arguments."""

    kind: type[BaseException]
    args: tuple[Any, ...]
    state: dict[str, Any]

    def exception(self) -> BaseException:
        error = self.kind.__new__(self.kind, *self.args)
        error.args = self.args
        error.__dict__.update(self.state)
        return error


class _Pickled(NamedTuple):
    """An exception on its way that can be pickled, and its notes, which are lost with that."""

    error: BaseException
    notes: list[str]

    def exception(self) -> BaseException:
        self.error.__notes__ = self.notes
        return self.error


def _packed_exception(error: BaseException) -> bytes:
    """Pickle an exception: itself, or what made it, or what it says; the first that arrives as the same."""
    notes = getattr(error, "__notes__", [])
    for value in (_Pickled(error, notes), _Raised(type(error), error.args, error.__dict__)):
        with contextlib.suppress(Exception):
            packed = _dumps(value)
            arrived = pickle.loads(packed).exception()  # noqa: S301
            if type(arrived) is type(error) and str(arrived) == str(error):
                return packed
    message = f"f raised {type(error).__name__}, which cannot be pickled: {error}"
    return _dumps(_Raised(RuntimeError, (message,), {"__notes__": notes}))


def _unpacked(result: bytes) -> tuple[int, tuple[NDArray[Any], ...], Any]:
    value: Any = pickle.loads(result)  # noqa: S301, made by `_work`
    if isinstance(value, _Raised | _Pickled):
        raise value.exception()
    return value  # type: ignore[no-any-return]


def _dumps(value: Any) -> bytes:
    """Pickle `value`, lambdas and closures too where cloudpickle is installed, which joblib and Dask bring."""
    pickler: Any = pickle
    with contextlib.suppress(ImportError):
        from joblib.externals import cloudpickle as pickler  # type: ignore[no-redef]
    with contextlib.suppress(ImportError):
        import cloudpickle as pickler  # type: ignore[no-redef]
    try:
        packed: bytes = pickler.dumps(value)
    except Exception as error:
        raise TypeError(f"f, x and args must travel to other processes, but cannot be pickled: {error}") from error
    return packed
