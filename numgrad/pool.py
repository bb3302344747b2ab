"""The engine that maps over tasks in joblib's pool: how many processes it has, how it ends, and in a fork."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

__all__: list[str] = []  # nothing here is public

Engine = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]

# Seconds after which the processes of a forked child leave, so that its end does not wait for them.
# Fixed by test_a_forked_child_has_processes_of_its_own in tests/test_processes.py.
_IDLE = 2

_owner = os.getpid()  # in a fork of it, joblib's pool lacks the thread that serves it
_living: dict[int, int] = {}  # by process, how many workers its last gradient has left in joblib's pool


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


def _is_inherited() -> bool:
    """Tell whether this process is a fork, which shows in the dead thread of an inherited pool too."""
    global _owner
    pool, thread = _pool_and_thread()
    if thread is not None and not (thread.is_alive() or pool._flags.shutdown or pool._flags.broken):
        _owner = 0
    return os.getpid() != _owner


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
    try:
        import joblib
    except ImportError:
        raise ImportError(
            "workers > 1 with a Python f starts processes with joblib: python -m pip install joblib"
        ) from None

    def engine(function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
        jobs, own = [joblib.delayed(function)(task) for task in tasks], contextlib.nullcontext()
        if _is_inherited():  # other arguments than those of any parent have joblib make a pool of the child's own
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
