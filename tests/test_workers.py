"""Ranges: every unit once, whatever the pace and the number of threads; faults end the work."""

import os
import threading
import time

import pytest

from numgrad import workers as workers_module
from numgrad.workers import PATIENCE, Pace


@pytest.mark.parametrize("total", [0, 1, 7, 1000])
@pytest.mark.parametrize("workers", [1, 2, 5])
def test_every_unit_is_done_exactly_once(total, workers):
    done, lock = [], threading.Lock()

    def fill(start, stop):
        with lock:
            done.extend(range(start, stop))
        return 1 << (start % 3)

    pace = Pace()
    for _ in range(3):
        done.clear()
        pace.run(lambda: fill, total, key=total, workers=workers)
        assert sorted(done) == list(range(total))


def test_flags_are_or_ed():
    for workers in (1, 3):
        assert Pace().run(lambda: lambda start, stop: 4 if start == 0 else 1, 50, "key", workers) == 5


def test_small_work_fits_once_it_is_known_and_a_new_key_forgets():
    pace = Pace()
    assert not pace.fits(10, "key")
    pace.run(lambda: lambda start, stop: 0, 10, "key")
    assert pace.fits(10, "key")
    assert not pace.fits(10, "other key")
    assert not pace.fits(10**12, "key")


def test_work_that_is_known_to_be_small_is_not_worth_a_thread():
    pace = Pace()
    pace.run(lambda: lambda start, stop: time.sleep(0.001 * (stop - start)) or 0, 10, "key", 2)
    assert pace.fits(1, "key", workers=2)
    assert not pace.fits(30, "key", workers=2)
    assert pace.fits(30, "key")


def test_long_work_is_cut_into_ranges_of_about_the_patience():
    lengths = []

    def fill(start, stop):
        lengths.append(stop - start)
        time.sleep((stop - start) * PATIENCE / 10)
        return 0

    Pace().run(lambda: fill, 41, "key")
    assert lengths[0] == 1  # a unit may cost anything: begin with one
    assert max(lengths) <= 10
    assert len(lengths) >= 5


def test_each_thread_has_a_filler_of_its_own():
    made = []

    def make_filler():
        made.append(None)
        return lambda start, stop: time.sleep(0.001 * (stop - start)) or 0

    Pace().run(make_filler, 100, "key", workers=3)
    assert len(made) == 3


def test_a_range_that_was_taken_is_done_though_another_thread_found_none_left(monkeypatch):
    main = threading.get_ident()

    class Slow:
        """A lock after whose release another thread than the main one is held up."""

        def __init__(self):
            self.lock = threading.Lock()

        def __enter__(self):
            self.lock.acquire()

        def __exit__(self, *_):
            self.lock.release()
            if threading.get_ident() != main:
                time.sleep(0.1)

    monkeypatch.setattr(workers_module, "allocate_lock", Slow)
    done = []

    def fill(start, stop):
        done.extend(range(start, stop))
        time.sleep(0.001)
        return 0

    Pace().run(lambda: fill, 40, "key", workers=2)
    assert sorted(done) == list(range(40))


def test_an_unknown_pace_is_explored_here_and_threads_are_started_only_if_it_turns_out_slow():
    ranges, threads = [], set()

    def fill(start, stop):
        ranges.append((start, stop))
        threads.add(threading.get_ident())
        return 4

    assert Pace().run(lambda: fill, 1000, "key", workers=2) == 4
    assert threads == {threading.get_ident()}
    assert ranges[:3] == [(0, 1), (1, 9), (9, 73)]
    assert ranges[-1][1] == 1000


@pytest.mark.parametrize("workers", [1, 2])
def test_the_first_exception_ends_the_work(workers):
    calls = []

    def fill(start, stop):
        calls.append(start)
        if start >= 3:
            raise ValueError("mine")
        time.sleep(0.001)
        return 0

    pace = Pace()
    with pytest.raises(ValueError, match="mine"):
        pace.run(lambda: fill, 10_000, "key", workers)
    assert len(calls) < 100


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinities")
def test_as_many_threads_as_cores_begin_on_a_core_each_and_may_then_run_on_all(monkeypatch):
    moves, lock, cores = {}, threading.Lock(), os.sched_getaffinity(0)

    def move(pid, mask):
        assert pid == 0
        with lock:
            moves.setdefault(threading.get_ident(), []).append(set(mask))

    monkeypatch.setattr(os, "sched_setaffinity", move)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 8})
    Pace().run(lambda: lambda start, stop: time.sleep(0.01) or 0, 10, "key", workers=3)
    assert sorted(map(str, moves.values())) == sorted(str([{core}, {3, 5, 8}]) for core in (3, 5, 8))
    moves.clear()
    Pace().run(lambda: lambda start, stop: 0, 10, "key", workers=2)
    assert not moves
    monkeypatch.undo()
    Pace().run(lambda: lambda start, stop: 0, 10, "key", workers=len(cores))
    assert os.sched_getaffinity(0) == cores
