"""Ranges of a sweep: every unit once, whatever the throughput and the number of threads; faults end the work.

The clock is the tests' own: it moves when a unit is done, so that no test depends on the machine.
"""

import threading

import numpy as np
import pytest

from numgrad import threads as module
from numgrad.threads import INTERRUPT_INTERVAL, Throughput

MAIN = threading.get_ident()


class Clock:
    """A clock that moves by what each thread has worked, in place of `perf_counter`."""

    def __init__(self):
        self.times = threading.local()

    def __call__(self):
        return getattr(self.times, "now", 0.0)

    def work(self, seconds):
        self.times.now = self() + seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "perf_counter", clock)
    return clock


class Units:
    """A sweep of so many units that notes what is done, each taking `seconds` of the clock."""

    def __init__(self, size, cost="cost", *, clock=None, seconds=0.0, flags=lambda start: 0, fails=lambda start: False):
        self.size, self.cost, self.throughput = size, cost, Throughput()
        self.out = self.result = np.full(size, np.nan)
        self.clock, self.seconds, self.flags, self.fails = clock, seconds, flags, fails
        self.ranges, self.states, self.threads, self.lock = [], [], set(), threading.Lock()

    def thread_state(self):
        self.states.append([])
        return self.states[-1]

    def run_range(self, state, start, stop):
        with self.lock:
            self.ranges.append((start, stop))
            self.threads.add(threading.get_ident())
        state.append((threading.get_ident(), start, stop))
        if self.fails(start):
            raise ValueError("mine")
        self.out[start:stop] = np.arange(start, stop)
        if self.clock is not None:
            self.clock.work((stop - start) * self.seconds)
        return self.flags(start)

    @property
    def done(self):
        return sorted(k for start, stop in self.ranges for k in range(start, stop))


@pytest.mark.parametrize("size", [0, 1, 7, 1000])
@pytest.mark.parametrize("workers", [1, 2, 5, 100])
@pytest.mark.parametrize("seconds", [0.0, INTERRUPT_INTERVAL / 1e4, INTERRUPT_INTERVAL / 3, INTERRUPT_INTERVAL * 2])
def test_every_unit_is_done_exactly_once(size, workers, seconds, clock):
    throughput = Throughput()
    for _ in range(3):
        sweep = Units(size, clock=clock, seconds=seconds)
        throughput.run(sweep, workers)
        assert sweep.done == list(range(size))
        assert np.array_equal(sweep.out, np.arange(size))


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("seconds", [0.0, INTERRUPT_INTERVAL])
def test_flags_are_or_ed(workers, seconds, clock):
    sweep = Units(50, clock=clock, seconds=seconds, flags=lambda start: 4 if start == 0 else 1)
    assert Throughput().run(sweep, workers) == 5


def test_small_work_is_short_once_it_is_known_and_another_cost_forgets(clock):
    throughput = Throughput()
    assert not throughput.is_short(10, "cost")
    throughput.run(Units(10, clock=clock, seconds=INTERRUPT_INTERVAL / 1000))
    assert throughput.is_short(1000, "cost")
    assert not throughput.is_short(1001, "cost")
    assert not throughput.is_short(10, "other cost")
    throughput.run(Units(10, "other cost", clock=clock, seconds=INTERRUPT_INTERVAL))
    assert throughput.is_short(1, "other cost")
    assert not throughput.is_short(2, "other cost")
    assert not throughput.is_short(10, "cost")


def test_work_that_is_known_to_be_small_is_not_worth_a_thread(clock):
    throughput = Throughput()
    throughput.run(Units(1000, clock=clock, seconds=INTERRUPT_INTERVAL / 1000))
    assert throughput.is_short(1000, "cost")
    assert throughput.is_short(40, "cost", workers=2)
    assert not throughput.is_short(41, "cost", workers=2)
    for size, states in ((40, 1), (41, 2)):
        sweep = Units(size, clock=clock, seconds=INTERRUPT_INTERVAL / 1000)
        throughput.run(sweep, 2)
        assert len(sweep.states) == states


def test_long_work_is_cut_into_ranges_of_the_interval(clock):
    sweep = Units(41, clock=clock, seconds=INTERRUPT_INTERVAL / 10.5)
    Throughput().run(sweep)
    assert [stop - start for start, stop in sweep.ranges] == [
        1,
        10,
        10,
        10,
        10,
    ]  # a unit may cost anything: begin with 1
    sweep = Units(5, clock=clock, seconds=10 * INTERRUPT_INTERVAL)
    Throughput().run(sweep)
    assert len(sweep.ranges) == 5  # no unit is cut


def test_the_length_of_the_ranges_follows_units_that_become_slower(clock):
    sweep = Units(4000, clock=clock, seconds=INTERRUPT_INTERVAL / 1000.5)
    do = sweep.run_range

    def slower(state, start, stop):
        sweep.seconds = INTERRUPT_INTERVAL / (1000.5 if start < 1500 else 100.5)
        return do(state, start, stop)

    sweep.run_range = slower
    Throughput().run(sweep)
    lengths = [stop - start for start, stop in sweep.ranges]
    assert max(lengths) == 1000
    assert lengths[-2] == 100


def test_an_unknown_cost_is_calibrated_here_and_threads_are_started_only_if_it_turns_out_slow(clock):
    sweep = Units(1000, clock=clock, flags=lambda start: 4)
    assert Throughput().run(sweep, 2) == 4
    assert sweep.threads == {MAIN}
    assert sweep.ranges == [(0, 1), (1, 9), (9, 73), (73, 585), (585, 1000)]
    assert len(sweep.states) == 1


def test_each_thread_has_a_state_of_its_own_and_ranges_are_short(clock):
    throughput = Throughput()
    throughput.run(Units(1, clock=clock, seconds=INTERRUPT_INTERVAL / 10))
    sweep = Units(96, clock=clock, seconds=INTERRUPT_INTERVAL / 10)
    throughput.run(sweep, 3)
    assert len(sweep.states) == 3
    assert all(len({thread for thread, _, _ in state}) <= 1 for state in sweep.states)
    assert max(stop - start for start, stop in sweep.ranges) == 2  # at least 16 for each thread


def test_there_are_never_more_threads_than_units_nor_than_help(clock, monkeypatch):
    monkeypatch.setattr(module, "MOST_WORKERS", 4)
    for size, states in ((3, 2), (100, 4)):  # one unit is for calibration
        sweep = Units(size, clock=clock, seconds=INTERRUPT_INTERVAL)
        Throughput().run(sweep, 1000)
        assert len(sweep.states) == states
        assert len(sweep.threads) <= states


def test_threads_work_at_the_same_time(clock):
    both = threading.Barrier(2, timeout=60)  # passed only if two threads wait for each other
    sweep = Units(3, clock=clock, seconds=INTERRUPT_INTERVAL, fails=lambda start: start > 0 and both.wait() < 0)
    Throughput().run(sweep, 2)
    assert sweep.done == [0, 1, 2]
    assert len(sweep.threads) == 2


def test_a_range_that_was_taken_is_done_though_another_thread_found_none_left(monkeypatch, clock):
    others_left = threading.Event()

    class Slow:
        """A lock after whose release another thread than the main one is held up until that has found nothing left."""

        def __init__(self):
            self.lock = threading.Lock()

        def __enter__(self):
            self.lock.acquire()

        def __exit__(self, *_):
            self.lock.release()
            if threading.get_ident() != MAIN:
                others_left.wait(1.0)

    monkeypatch.setattr(module, "allocate_lock", Slow)
    sweep = Units(40, clock=clock, seconds=INTERRUPT_INTERVAL)
    do = sweep.run_range

    def noted(state, start, stop):
        flags = do(state, start, stop)
        if len(sweep.ranges) == 39:
            others_left.set()
        return flags

    sweep.run_range = noted
    Throughput().run(sweep, 2)
    assert sweep.done == list(range(40))


# --- reports ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("seconds", [0.0, INTERRUPT_INTERVAL / 4])
def test_reports_come_from_this_thread_in_order_and_end_with_all(workers, seconds, clock):
    seen = []
    sweep = Units(50, clock=clock, seconds=seconds)
    Throughput().run(sweep, workers, lambda done: seen.append((threading.get_ident(), done)))
    assert {thread for thread, _ in seen} == {MAIN}
    counts = [done for _, done in seen]
    assert counts == sorted(counts)
    assert counts[-1] == 50


@pytest.mark.parametrize("workers", [1, 2])
def test_an_exception_of_the_report_ends_the_work(workers, clock):
    sweep = Units(10_000, clock=clock, seconds=INTERRUPT_INTERVAL)

    def report(done):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        Throughput().run(sweep, workers, report)
    assert len(sweep.ranges) == 1


# --- faults ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("first", [0, 1, 3])
def test_the_first_exception_ends_the_work(workers, first, clock):
    sweep = Units(10_000, clock=clock, seconds=INTERRUPT_INTERVAL, fails=lambda start: start >= first)
    with pytest.raises(ValueError, match="mine"):
        Throughput().run(sweep, workers)
    assert len(sweep.ranges) <= first + workers


@pytest.mark.parametrize("where", ["this thread", "another"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), ValueError("mine")], ids=repr)
def test_any_exception_is_raised_here_after_all_threads_have_ended(where, error, clock):
    turn, running = threading.Event(), []

    def fails(start):
        if start == 0:
            return False
        running.append(None)
        if (threading.get_ident() == MAIN) == (where == "this thread"):
            turn.set()
            running.pop()
            raise error
        assert turn.wait(60)  # the thread that is to fail has come
        running.pop()
        return False

    sweep = Units(10_000, clock=clock, seconds=INTERRUPT_INTERVAL, fails=fails)
    with pytest.raises(type(error)) as caught:
        Throughput().run(sweep, 2)
    assert caught.value is error
    assert not running
    assert len(sweep.ranges) < 10_000


def test_after_an_exception_the_throughput_still_works(clock):
    throughput = Throughput()
    for workers in (1, 2):
        with pytest.raises(ValueError, match="mine"):
            throughput.run(Units(100, clock=clock, seconds=INTERRUPT_INTERVAL, fails=lambda start: start > 3), workers)
        sweep = Units(100, clock=clock, seconds=INTERRUPT_INTERVAL)
        throughput.run(sweep, workers)
        assert sweep.done == list(range(100))


@pytest.mark.parametrize("workers", [1, 3])
def test_what_was_done_before_an_exception_is_kept(workers, clock):
    sweep = Units(1000, clock=clock, seconds=INTERRUPT_INTERVAL / 10, fails=lambda start: start >= 500)
    with pytest.raises(ValueError, match="mine"):
        Throughput().run(sweep, workers)
    done = [k for start, stop in sweep.ranges for k in range(start, stop) if start < 500]
    assert np.flatnonzero(~np.isnan(sweep.out)).tolist() == sorted(done)
    assert len(done) >= 500


@pytest.mark.parametrize("is_given", [True, False])
def test_what_a_caller_gave_is_written_by_the_thread_that_called(is_given, clock):
    sharing, turn = set(), threading.Event()

    def look(start):
        if threading.get_ident() != MAIN:
            sharing.add(np.may_share_memory(sweep.out, memory))
            turn.set()
        assert start == 0 or turn.wait(60)  # the other thread has come
        return 0

    sweep = Units(100, clock=clock, seconds=INTERRUPT_INTERVAL, flags=look)
    memory = sweep.result
    if is_given:
        sweep.out = sweep.result = memory[:]
    Throughput().run(sweep, 2)
    assert sharing == {not is_given}
    assert memory.tolist() == list(range(100))
