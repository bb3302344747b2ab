"""Ranges in other processes: what is shipped, to whatever engine maps a function over tasks, and how it ends.

A *job* ``run(coordinates) -> (flags, arrays)`` holds all that its ranges need: the objective, the point, the step. It
travels as one pickle, so that an f which reads the point as its own still does where it arrives. On this machine it
travels through a file, once for each worker; a worker that cannot see the file is sent it with each of its ranges.
"""

import contextlib
import os
import pickle
from _thread import _local
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Engine = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]

_RANGES = 32  # for each worker, so that a slow one does not hold the rest
_WORKERS = 16  # of an engine that does not say how many it has
_kept = _local()  # a job for each thread that works, since it perturbs the point in place


class Job(Protocol):
    """Work on coordinates that are independent of each other."""

    def run(self, coordinates: NDArray[np.intp], wanted: Callable[[], bool]) -> tuple[int, tuple[NDArray[Any], ...]]:
        """Return flags, and an array for each output; it may end early once the result is not `wanted` any more."""


class _Task(NamedTuple):
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

    `engine` is map-like: ``engine(function, tasks)`` gives the results in order. The first exception, of `f` or of the
    engine, ends the work: what has not begun finds the file gone and does nothing.
    """
    import tempfile  # with uuid, more than importing numgrad may cost
    import uuid

    count = min(len(coordinates), _RANGES * _workers_of(engine))
    ranges = np.array_split(coordinates, count)
    starts = np.cumsum([0, *map(len, ranges)]).tolist()
    payload, key = _dumps(job), uuid.uuid4().hex
    flags = done = 0

    def collect(which: list[int], packed: bytes | None, file: str) -> list[int]:
        nonlocal flags, done
        missing = []
        results = iter(engine(_work, [_Task(key, file, packed, ranges[k]) for k in which]))
        try:
            for k in which:
                result = next(results)
                if result is None:
                    missing.append(k)
                    continue
                found, arrays = _unpacked(result)
                flags |= found
                for output, array in zip(outputs, arrays, strict=True):
                    output[starts[k] : starts[k + 1]] = array
                done += len(ranges[k])
                if report is not None:
                    report(done)
            next(results, None)  # lets a generator come to its end
        finally:
            if hasattr(results, "close"):
                results.close()  # an executor cancels what has not begun
        return missing

    with tempfile.TemporaryDirectory(prefix="numgrad-") as folder:
        file = Path(folder, "job")
        file.write_bytes(payload)
        elsewhere = collect(list(range(count)), None, str(file))
        if elsewhere:
            collect(elsewhere, payload, str(file))
    return flags


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


def _work(task: _Task) -> bytes | None:
    """Do one range where it arrives; None says that the job is not to be had here."""
    job = getattr(_kept, "job", None) if getattr(_kept, "key", None) == task.key else None
    if task.payload is None and not os.path.exists(task.file):
        return None
    if job is None:
        payload = Path(task.file).read_bytes() if task.payload is None else task.payload
        job = pickle.loads(payload)  # noqa: S301, made by `distribute`
        _kept.key, _kept.job = task.key, job
    try:
        return _dumps(job.run(task.coordinates, lambda: task.payload is not None or os.path.exists(task.file)))
    except Exception as error:  # noqa: BLE001, it is raised where the gradient was asked for
        try:
            packed = _dumps(error)
            pickle.loads(packed)  # noqa: S301
        except Exception:  # noqa: BLE001
            packed = _dumps(RuntimeError(f"f raised {type(error).__name__}, which cannot be pickled: {error}"))
        return packed


def _unpacked(result: bytes) -> tuple[int, tuple[NDArray[Any], ...]]:
    value: Any = pickle.loads(result)  # noqa: S301, made by `_work`
    if isinstance(value, Exception):
        raise value
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
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise TypeError(f"f, x and args must travel to other processes, but cannot be pickled: {error}") from error
    return packed
