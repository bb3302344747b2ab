"""A range of a sweep where it has arrived: how it is done there, what f is there, and how both come back.

What f is shows in its values, which are compared bit for bit with those here. Where they differ, three things are told
apart: rounding, by the spacing of floats; an f that is random, by evaluating it again here; another array or other
data, which is what is left.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import math
import os
import pickle
from _thread import _local
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

__all__: list[str] = []  # nothing here is public

# Seconds after which a worker gives back the rows that it has, and the rest of its range is given out anew: what took
# hours is here then, whatever becomes of the worker. Fixed by test_slow_units_come_back_one_by_one.
_KEEP_AFTER = 10.0
# Part of 1 + |x| by which the point moves where no scheme says what is near. Fixed by
# test_a_view_of_what_f_reads_and_a_global_are_found_and_a_harmless_view_is_not in tests/test_processes.py.
_SHARE = 1e-3
# Spacings of the largest value by which f may differ: a long sum of BLAS does by some 50 with other threads.
# Fixed by test_what_another_environment_rounds_is_no_other_array in tests/test_processes.py.
_ROUNDED = 128
# Times the difference at x by which it may differ next to it: one in some hundred normal samples is beyond another one.
# Fixed by test_what_another_environment_rounds_is_no_other_array in tests/test_processes.py.
_CHAOTIC = 100

# By id: buffers whose views arrive as views of one buffer, while a pickle of NumPy parts them.
buffers: WeakValueDictionary[int, NDArray[Any]] = WeakValueDictionary()
at_work: dict[str, int] = {}  # keys of the sweeps that this process distributes, with its id: a fork inherits them


class Task(NamedTuple):
    """A range of a sweep, where its pickle is, and the pickle itself for a worker that cannot see that file."""

    number: int
    key: str
    file: str
    payload: bytes | None
    start: int
    stop: int


# The base is threading.local, from its C module, so that importing numgrad does not import threading.
class _JobCache(_local):
    """The last job of a thread. Where f takes derivatives itself, by an engine in this thread, it becomes another."""

    # Key, the sweep where it arrived, which perturbs a point of its own, and whether it was sent to this process, which
    # cannot see the file.
    job: tuple[str, Any, bool] = "", None, False


_cache = _JobCache()
_received: tuple[str, bytes] = "", b""  # key and pickle of the sweep that this process was sent last


def work(task: Task) -> tuple[int, bytes | None, bytes | BaseException | None]:
    """Do one range where it arrives; return its rows and what was raised, or neither if the sweep is not to be had."""
    packed, raised = None, None
    try:
        if (job := _fetch(task)) is None:  # f may be evaluated, and raise, where it arrives
            return task.number, None, None
        # Before the range, so that the random numbers of f are those of the parent's own fingerprint.
        values = None if task.number else fingerprint(job[0])
        if (done := _run(task, *job)) is None:
            return task.number, None, None
        flags, rows, raised = done
        packed = dumps((flags, rows, values))
    except (Exception, SystemExit) as error:  # noqa: BLE001, it is raised where the derivative was asked for
        raised = error
    if raised is None:
        return task.number, packed, None
    with contextlib.suppress(OSError):
        os.unlink(task.file)  # nobody needs to begin another range
    is_here = at_work.get(task.key) == os.getpid()  # nothing is pickled: it keeps its type, whatever that is
    return task.number, packed, raised if is_here else _packed_exception(raised)


def _fetch(task: Task) -> tuple[Any, bool] | None:
    """Return the sweep of a task, which stays in the cache, and whether it was sent; None if it was not to be had."""
    global _received
    key, payload = _received
    if task.payload is not None:  # not read again: another thread may receive another sweep meanwhile
        key, payload = _received = task.key, task.payload
    known, sweep, is_received = _cache.job
    if known != task.key:
        if key != task.key:
            try:
                payload = Path(task.file).read_bytes()
            except OSError:
                if os.access(task.file, os.R_OK):  # of a signal handler: a time limit is a TimeoutError, and an OSError
                    raise
                return None
        # Unpickled once for each thread, since each perturbs a point of its own.
        sweep, is_received = pickle.loads(payload), False  # noqa: S301, made by `processes.distribute`
    _cache.job = task.key, sweep, is_received or key == task.key
    return sweep, _cache.job[2]


def forget(key: str) -> None:
    """Let go of the job of this thread that has a key: f and its data are not needed any more."""
    if _cache.job[0] == key:
        _cache.job = _JobCache.job


def _run(task: Task, sweep: Any, is_received: bool) -> tuple[int, NDArray[np.float64], BaseException | None] | None:
    """Run the range of a task, unit by unit where f may be slow, until it takes long; return rows and what f raised.

    Return None if the result is not wanted any more.
    """
    state, flags, raised, began = sweep.thread_state(), 0, None, perf_counter()
    length = 1 if sweep.one_by_one else max(1, task.stop - task.start)
    start = task.start
    while start < task.stop and (start == task.start or perf_counter() - began < _KEEP_AFTER):
        if not (is_received or os.access(task.file, os.F_OK)):  # `exists` hides what a signal handler raises
            return None
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
    first, stop = starts[k : k + 2] if len(starts) else (k, k + 1)
    i = members[first] if len(members) else 0 if len(starts) else k
    return f"coordinate {i}" if stop - first == 1 else f"direction {k}"


def _packed_exception(error: BaseException) -> bytes:
    """Pickle an exception: itself, or what makes it, or what it says; the first that arrives as the same."""
    for made, args in ((error, ()), (type(error), error.args)):
        with contextlib.suppress(Exception):
            packed = dumps((made, args, error.__dict__))
            arrived = unpacked_exception(packed)
            if type(arrived) is type(error) and str(arrived) == str(error):
                return packed
    message = f"f raised {type(error).__name__}, which cannot be pickled: {error}"
    return dumps((RuntimeError, (message,), {"__notes__": getattr(error, "__notes__", [])}))


def unpacked_exception(packed: bytes) -> BaseException:
    """Return an exception that was sent as itself, or as its class, if its __init__ takes other arguments."""
    error, args, state = pickle.loads(packed)  # noqa: S301, made by `_packed_exception`
    if isinstance(error, type):
        error = error.__new__(error, *args)
        error.args = args
    error.__dict__.update(state)  # with its notes, which a pickled exception may lose
    return error  # type: ignore[no-any-return]


@functools.cache  # once: where a signal interrupts an import, its exception may be lost, or taken for a missing module
def _pickler() -> Any:
    """Return what pickles lambdas and closures too where it is installed: joblib and Dask bring it."""
    base: Any = pickle.Pickler
    for name in ("cloudpickle", "joblib.externals.cloudpickle"):
        with contextlib.suppress(ImportError):
            base = importlib.import_module(name).Pickler
            break

    class Pickler(base):  # type: ignore[misc]  # known when it runs
        def reducer_override(self, value: Any) -> Any:
            if value.__class__ is np.ndarray and buffers.get(id(value.base)) is value.base is not None:
                place = value.__array_interface__["data"][0] - value.base.__array_interface__["data"][0]
                return np.ndarray, (value.shape, value.dtype, value.base, place, value.strides)
            return super().reducer_override(value) if hasattr(base, "reducer_override") else NotImplemented

    return Pickler


def dumps(value: Any) -> bytes:
    """Pickle `value`, by cloudpickle if possible; views of one of the `buffers` stay views of one."""
    message = "f, x and args must travel to other processes, but cannot be pickled"
    stream = io.BytesIO()
    try:
        _pickler()(stream, pickle.HIGHEST_PROTOCOL).dump(value)
        return stream.getvalue()
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise TypeError(f"{message}: {error}") from error
    except Exception as error:  # of an object, or of a signal handler, which may come at any moment
        error.add_note(message)
        raise


def fingerprint(sweep: Any, there: Sequence[float] = ()) -> list[float]:
    """Return f at a point next to x, NaN where it has no value, or then at a second one, and f(x) at last.

    Where the last number next to x is the one `there`, f(x) is left out. No generator: it would replace a StopIteration
    of f, as of an iterator that has ended, by an error of its own.
    """
    at_x, found = np.zeros(1), list[float]()
    for offsets in (at_x,) if sweep.value_cancels else _moves(sweep):
        # What counts where a value cancels are differences, which f next to x says nothing of.
        found.append(_value(sweep, offsets) + (_differences(sweep) if sweep.value_cancels else 0.0))
        if math.isfinite(found[-1]):
            break
    return found if _is_last_alike(found, there) else [*found, _value(sweep, at_x)]


def _is_last_alike(here: list[float], there: Sequence[float]) -> bool:
    """Tell whether the last number here is the only finite one, and the same there."""
    return list(map(math.isfinite, here)) == [False] * (len(here) - 1) + [True] and here[-1:] == there[: len(here)][-1:]


def is_same(sweep: Any, there: list[float]) -> bool:
    """Tell whether the fingerprint of another process is that of f here, but for rounding; or whether f is random."""
    here = fingerprint(sweep, there)[: len(there)]
    if _is_last_alike(here, there):
        return True  # the usual case, by the first value next to x
    return _agree(here, there) or not np.array_equal(here, fingerprint(sweep), equal_nan=True)


def _agree(here: list[float], there: list[float]) -> bool:
    """Tell whether values agree; those next to x differ by no more than f(x) does, which rounds alike."""
    a, b = np.array(here), np.array(there[: len(here)])
    known = np.isfinite(a)
    if not np.array_equal(known, np.isfinite(b)):
        return False
    both = np.concatenate([a[known], b[known]])
    with np.errstate(all="ignore"):
        eps = float(np.finfo(np.float64 if (both.astype(np.float32) != both).any() else np.float32).eps)
        scale, gaps = float(np.abs(both).max(initial=0.0)), np.where(known, a - b, 0.0)
    at_x = float(gaps[-1])
    # At x itself even an f that magnifies what is rounded elsewhere keeps half of its digits.
    return abs(at_x) <= math.sqrt(eps) * scale and bool(
        np.abs(gaps - at_x)[known].max(initial=0.0) <= _ROUNDED * eps * scale + _CHAOTIC * abs(at_x)
    )


def _value(sweep: Any, offsets: NDArray[Any]) -> float:
    """Return f where x has moved by `offsets`, or NaN if it raises: nobody asked for it there."""
    with np.errstate(all="ignore"):
        try:
            return float(sweep.value_at(offsets))
        except Exception:
            # What f raises comes again. What comes once is of a signal handler, as a time limit is, and goes on.
            try:
                sweep.value_at(offsets)
            except Exception:  # noqa: BLE001
                return math.nan
            raise


def _moves(sweep: Any) -> Iterator[NDArray[Any]]:
    """Give displacements of x, flat: of all coordinates of the sweep, and of its first unit, which it makes itself."""
    x = np.asarray(sweep.x, np.float64).reshape(-1)
    directions, members, far = _reach(sweep, x)
    # From half the reach to all of it: where all move alike, a change of f may cancel.
    shares = np.random.default_rng(0).uniform(0.5, 1.0, len(members))
    for lengths in (shares * far, np.where(directions == 0, far, 0.0)):
        if lengths.any():
            offsets = np.zeros(x.size, lengths.dtype)
            offsets[members[::-1]] = lengths[::-1]  # a member of several directions by the first of these
            yield offsets


def _reach(sweep: Any, x: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.intp], Any]:
    """Return which unit of a sweep moves a coordinate, which one, and how far it may, for each that is moved."""
    where = sweep.where
    starts, members, lengths = where if isinstance(where, tuple) else ((), where, ())
    counts = np.diff(starts) if len(starts) else np.ones(len(members) or x.size, np.intp)
    directions = np.repeat(np.arange(len(counts)), counts)
    every = np.arange(len(directions)) - (np.repeat(starts[:-1], counts) if len(starts) else 0)
    members = members if len(members) else every
    if sweep.rule.interpreted is None and isinstance(where, tuple):
        table = sweep.rule.data[2][sweep.rule.data[4]]
        farthest = table[np.arange(len(table)), np.abs(table).argmax(axis=1)]
        return directions, members, lengths * (farthest[directions] if len(farthest) > 1 else farthest)
    far = _SHARE * (1.0 + np.abs(x[members]))
    if sweep.rule.interpreted is not None and len(limits := sweep.rule.data[-1]):  # of estimates: ends, or what is left
        rooms = np.fmin(x - limits[0], limits[1] - x) if limits.ndim == 2 else limits
        far = np.fmin(far, rooms[members])
    return directions, members, far


def _differences(sweep: Any) -> float:
    """Return the sum of the differences of f that some units of a sweep make, whose rows are written once more."""
    h = sweep.where[2][0] if isinstance(sweep.where, tuple) else sweep.rule.data[0]
    for k in (chosen := sorted({0, sweep.size // 2, sweep.size - 1})):
        sweep.run_range(sweep.thread_state(), k, k + 1)
    return float(h * sweep.out[chosen].sum())
