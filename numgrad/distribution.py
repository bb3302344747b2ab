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
from _thread import _local
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from .arguments import describe

Engine = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]

_RANGES = 16  # for each worker, ever shorter ones, so that a slow one does not hold the rest at the end
_WORKERS = 16  # of an engine that does not say how many it has


class UnwantedError(Exception):
    """What a job raises to end early: a range that was left is no result, and is done again if it is wanted yet."""


class Job(Protocol):
    """Work on coordinates that are independent of each other."""

    def run(self, coordinates: NDArray[np.intp], wanted: Callable[[], bool]) -> tuple[int, tuple[NDArray[Any], ...]]:
        """Return flags and an array for each output, or raise `UnwantedError` once these are not `wanted` any more."""


class _Kept(_local):
    """The last job of a thread: each has its own, since it perturbs the point in place."""

    key = ""
    job: Any = None
    sent = False  # to this process, which cannot see the file


_kept = _Kept()
_sent: tuple[str, bytes] = "", b""  # key and pickle of the job that this process was sent last


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
    the engine, ends the work: what has not begun finds the file gone and does nothing.
    """
    import tempfile  # with uuid, more than importing numgrad may cost
    import uuid

    workers = _workers_of(engine)
    starts = _starts(len(coordinates), workers)
    ranges = np.split(coordinates, starts[1:])
    payload, key = _dumps(job), uuid.uuid4().hex
    flags = done = 0

    def collect(which: list[int], packed: bytes | None, file: str) -> list[int]:
        """Write what comes back, in whatever order, and return the ranges whose job was not to be had."""
        nonlocal flags, done
        waiting, missing = set(which), []
        results = _mapped(engine, [_Task(k, key, file, packed, ranges[k]) for k in which])
        try:
            for number, result in results:
                waiting.remove(number)
                if result is None:
                    missing.append(number)
                    continue
                found, arrays = _unpacked(result)
                flags |= found
                for output, array in zip(outputs, arrays, strict=True):
                    output[starts[number] : starts[number] + len(array)] = array
                done += len(ranges[number])
                if report is not None:
                    report(done)
        finally:
            if hasattr(results, "close"):
                results.close()  # an executor cancels what has not begun
        if waiting or (missing and packed is not None):
            raise RuntimeError(f"workers gave no result for {len(waiting) + len(missing)} of {len(which)} tasks")
        return missing

    with tempfile.TemporaryDirectory(prefix="numgrad-") as folder:
        file = Path(folder, "job")
        file.write_bytes(payload)
        packed, left = None, list(range(len(ranges)))
        while left:
            missing = collect(left[:workers], packed, str(file))
            others = left[workers:]
            left = missing + (others if missing or not others else collect(others, None, str(file)))
            packed = payload
    return flags


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
        from joblib.externals.loky import get_reusable_executor
    except ImportError:
        raise ImportError(
            "workers > 1 with a Python f starts processes with joblib: python -m pip install 'numgrad[parallel]'"
        ) from None

    threads = str(max(1, (os.cpu_count() or 1) // count))
    limits = {f"{library}_NUM_THREADS": threads for library in ("OMP", "OPENBLAS", "MKL")}

    def engine(function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
        executor = get_reusable_executor(max_workers=count, env=limits)
        futures = [executor.submit(function, task) for task in tasks]
        try:
            for future in futures:
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
    if pools and isinstance(getattr(engine, "__self__", None), pools.Pool):
        yield from _watched(engine.__self__, tasks)  # type: ignore[attr-defined]
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
    """Map through a `multiprocessing.Pool`, which by itself waits for ever for a worker that was killed."""
    from multiprocessing import TimeoutError as NotYetError

    results = pool.imap_unordered(_work, tasks)
    workers = {worker for worker in pool._pool if worker.exitcode is None}
    while True:
        try:
            yield results.next(0.1)
        except StopIteration:
            return
        except NotYetError:
            workers.update(pool._pool)
            codes = [worker.exitcode for worker in workers if worker.exitcode]
            if codes:
                raise RuntimeError(f"a worker of the pool died with the exit code {codes[0]}") from None


def _work(task: _Task) -> tuple[int, bytes | None]:
    """Do one range where it arrives; None says that the job is not to be had here."""
    found = _keep(task)
    job, sent = _kept.job, _kept.sent

    def wanted() -> bool:  # a worker elsewhere cannot see that the file is gone
        return sent or os.path.exists(task.file)

    if not (found and wanted()):
        return task.number, None
    try:
        return task.number, _dumps(job.run(task.coordinates, wanted))
    except UnwantedError:
        return task.number, None
    except (Exception, SystemExit) as error:  # noqa: BLE001, it is raised where the gradient was asked for
        return task.number, _packed_exception(error)


def _keep(task: _Task) -> bool:
    """Keep the job of a task, and return whether it was to be had."""
    global _sent
    if task.payload is not None and not os.path.exists(task.file):
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


def _packed_exception(error: BaseException) -> bytes:
    try:
        packed = _dumps(_Raised(type(error), error.args, error.__dict__))
        pickle.loads(packed)  # noqa: S301
    except Exception:  # noqa: BLE001
        notes = {"__notes__": getattr(error, "__notes__", [])}
        message = f"f raised {type(error).__name__}, which cannot be pickled: {error}"
        packed = _dumps(_Raised(RuntimeError, (message,), notes))
    return packed


def _unpacked(result: bytes) -> tuple[int, tuple[NDArray[Any], ...]]:
    value: Any = pickle.loads(result)  # noqa: S301, made by `_work`
    if isinstance(value, _Raised):
        error = value.kind.__new__(value.kind, *value.args)
        error.args = value.args
        error.__dict__.update(value.state)
        raise error
    return value  # type: ignore[no-any-return]


def travelled(job: Any) -> Any:
    """Return the job as it arrives in another process."""
    return pickle.loads(_dumps(job))  # noqa: S301


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
