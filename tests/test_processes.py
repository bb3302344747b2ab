"""Gradients in other processes, through the engines themselves: bits, faults, what is shipped, how it ends."""

import gc
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest
from problems import compiled, compiled_once, needs_jit, same_without_jit, untraced

from numgrad import (
    check_gradient,
    estimate_gradient,
    estimate_hessian,
    gradient_descent,
    numerical_gradient,
    numerical_jacobian,
    processes,
    remote,
    simpleNet,
)
from numgrad.driver import as_objective, as_workers
from numgrad.loops import Rule, make_central

RNG = np.random.default_rng(0)
SAMPLES, LABELS = RNG.standard_normal((5, 6)), np.array([0, 1, 2, 1, 0])

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # the fork is what is tested


class Lazy:
    """An engine that maps here, one task after the other, when it is asked for a result."""

    workers = 2

    def __call__(self, function, tasks):
        return map(function, tasks)


@pytest.fixture(scope="module", params=["loky", "fork", "spawn", "pool", "threads", "here"])
def engine(request):
    if request.param == "loky":
        yield 2
    elif request.param in {"fork", "spawn"}:
        context = multiprocessing.get_context(request.param)
        with ProcessPoolExecutor(2, mp_context=context) as executor:
            yield executor.map
    elif request.param == "pool":
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            yield pool.map
    elif request.param == "threads":
        with ThreadPoolExecutor(3) as executor:
            yield executor.map
    else:
        yield Lazy()


def reads_its_own_weights():
    net = simpleNet((6, 3), rng=0)
    return net, lambda _: net.loss(SAMPLES, LABELS)


def test_write_through_survives_the_trip_bit_for_bit(engine):
    net, f = reads_its_own_weights()
    before = net.W.tobytes()
    for options in ({}, {"scheme": "central4", "h": "auto"}, {"scheme": "forward"}, {"coordinates": [17, 3, 3]}):
        there = numerical_gradient(f, net.W, workers=engine, **options)
        assert there.tobytes() == numerical_gradient(f, net.W, **options).tobytes()
    assert net.W.tobytes() == before


@pytest.mark.parametrize("layout", ["C", "F"])
def test_layouts_and_dtypes_survive_the_trip(layout):
    x = np.asarray(RNG.standard_normal((3, 4)), order=layout)
    for array in (x, x.astype(np.float32), x[::2], x.astype(">f8")):

        def f(_, array=array):
            return float(np.sum(np.array(array, dtype=float, order="C") ** 3))  # adds in one order for any strides

        assert numerical_gradient(f, array, workers=Lazy()).tobytes() == numerical_gradient(f, array).tobytes()


def test_estimates_checks_and_descents_take_engines(engine):
    def f(x):
        return float(np.sum(x**3))

    x = np.array([1.0, 2.0, -1.5])
    here, there = estimate_gradient(f, x), estimate_gradient(f, x, workers=engine)
    assert there.value.tobytes() == here.value.tobytes()
    assert there.error.tobytes() == here.error.tobytes()
    assert there.evaluations == here.evaluations
    assert check_gradient(f, 3 * x**2, x, workers=engine).ok
    params = {"a": x, "b": np.array([[2.0]])}
    assert check_gradient(lambda p: f(p["a"]) + p["b"][0, 0], {"a": 3 * x**2, "b": [[1.0]]}, params, workers=engine).ok
    moved = gradient_descent(f, x.copy(), 0.01, 2, workers=engine)
    assert moved.tobytes() == gradient_descent(f, x.copy(), 0.01, 2).tobytes()


@needs_jit
def test_compiled_and_incremental_objectives_take_engines_and_ints_stay_threads():
    def f(x, a):
        return np.sum(a * x**2)

    x, a = RNG.standard_normal(40), RNG.standard_normal(40)
    net, _ = reads_its_own_weights()
    objective = net.objective(SAMPLES, LABELS)
    twin = compiled(f)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        there = numerical_gradient(twin, x, args=(a,), workers=executor.map)
        incremental = numerical_gradient(objective, net.W, workers=executor.map)
    assert there.tobytes() == numerical_gradient(twin, x, args=(a,)).tobytes()
    assert incremental.tobytes() == numerical_gradient(objective, net.W).tobytes()


class Heavy:
    """Data that leave a mark where they are unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __setstate__(self, state):
        self.__dict__.update(state)
        open(os.path.join(self.folder, f"{os.getpid()}-{time.perf_counter_ns()}"), "w").close()


def test_each_worker_gets_the_data_once_a_gradient(tmp_path):
    heavy = Heavy(str(tmp_path))
    x = np.arange(60.0)
    for gradients in (1, 2):
        numerical_gradient(lambda x: float(np.sum(x * x)) + (heavy is None), x, workers=2)
        marks = [path.name.split("-")[0] for path in tmp_path.iterdir()]
        assert 1 <= len(marks) <= 2 * gradients
        assert all(marks.count(pid) <= gradients for pid in marks)


def test_the_work_begins_with_a_coordinate_a_worker_and_goes_on_in_several_ranges_for_each():
    seen = []

    def engine(function, tasks):
        tasks = list(tasks)
        seen.extend(task.stop - task.start for task in tasks)
        return map(function, tasks)

    engine.workers = 2
    numerical_gradient(lambda x: float(np.sum(x)), np.ones(200), workers=engine)
    assert seen[:2] == seen[-2:] == [1, 1]
    assert len(seen) == 33
    assert sum(seen) == 200
    assert max(seen) == seen[2] == 12  # an eighth of what a worker does
    for n in (0, 1, 2, 3, 34, 35):
        x = np.arange(float(n))
        assert numerical_gradient(one, x, workers=engine).tobytes() == numerical_gradient(one, x).tobytes()


class Machines:
    """Two processes that see no file of this one, as if they ran on other machines, and what they were given."""

    workers = 2

    def __init__(self, executors, first):
        self.executors, self.first, self.given = executors, first, []

    def __call__(self, function, tasks):
        """Map, `first` to the first machine and the others in turns."""
        futures = []
        for task in tasks:
            machine = 0 if len(self.given) < self.first else len(self.given) % 2
            self.given.append((machine, task.payload is not None))
            futures.append(self.executors[machine].submit(function, task._replace(file="/nosuch/job")))
        return [future.result() for future in futures]


def test_workers_that_cannot_see_the_file_are_sent_the_job_once_each(tmp_path):
    heavy, x = Heavy(str(tmp_path)), np.arange(60.0)

    def f(x):
        return float(np.sum(x * x)) + (heavy is None)

    expected, spawn = numerical_gradient(f, x).tobytes(), multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as one, ProcessPoolExecutor(1, mp_context=spawn) as other:
        for first, sent in ((0, [0, 1]), (4, [0, 0, 0, 1])):  # in turns; or both sent to the first, the other missed
            engine = Machines((one, other), first)
            assert numerical_gradient(f, x, workers=engine).tobytes() == expected
            assert [machine for machine, packed in engine.given if packed] == sent
            assert len(list(tmp_path.iterdir())) == 2  # unpickled once on each
            for mark in tmp_path.iterdir():
                mark.unlink()


def test_the_threads_of_a_worker_share_what_it_was_sent():
    packed = []

    def engine(function, tasks):
        packed.extend(task.payload is not None for task in tasks)
        with ThreadPoolExecutor(1) as another:  # a thread that has kept no job
            return list(another.map(function, [task._replace(file="/nosuch/job") for task in tasks]))

    engine.workers = 2
    net, f = reads_its_own_weights()
    assert numerical_gradient(f, net.W, workers=engine).tobytes() == numerical_gradient(f, net.W).tobytes()
    assert packed[:4] == [False, False, True, True]
    assert not any(packed[4:])


def test_a_job_that_vanishes_in_the_middle_of_a_range_is_sent_again_and_leaves_no_gap(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder, x = str(tmp_path), np.arange(100.0)

    def f(x):
        if x[50] > 50.0:  # in the middle of the range from 49 to 51
            for file in Path(folder).glob("numgrad-*"):
                file.unlink()
        return float(np.sum(x * x))

    engine = Lazy()
    engine.workers = 1
    found = numerical_gradient(f, x, workers=engine)
    assert found.tobytes() == numerical_gradient(lambda x: float(np.sum(x * x)), x).tobytes()


def test_progress_moves_in_coordinates(engine):
    seen = []
    numerical_gradient(
        lambda x: float(np.sum(x * x)), np.ones(100), workers=engine, progress=lambda *at: seen.append(at)
    )
    assert seen[-1] == (100, 100)
    assert len(seen) > 10
    assert seen == sorted(seen)


# --- faults ----------------------------------------------------------------------------------------------------------


def test_an_exception_reaches_the_caller_with_its_type_message_and_coordinate(engine):
    def fails(x):
        if x[17] > 17.0:
            raise KeyError("mine")
        return float(x[0])

    x = np.arange(40.0)
    before = x.tobytes()
    with pytest.raises(KeyError, match="mine") as caught:
        numerical_gradient(fails, x, workers=engine)
    assert caught.value.__notes__ == ["raised for coordinate 17 of x (flat, in C order)"]
    assert x.tobytes() == before


class TwoArguments(Exception):
    """One that `pickle` cannot make again, for its __init__ takes other arguments than it keeps."""

    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


def test_an_exception_of_any_signature_keeps_its_type(engine):
    def fails(x):
        raise TwoArguments("one", "two")

    with pytest.raises(TwoArguments, match="one and two") as caught:
        numerical_gradient(fails, np.ones(3), workers=engine)
    assert caught.value.__notes__[0].startswith("raised for coordinate ")


def test_an_exception_that_cannot_be_pickled_is_told_in_words():
    def fails(x):
        raise ValueError("mine", threading.Lock())

    with pytest.raises(RuntimeError, match=r"f raised ValueError, which cannot be pickled: \('mine'") as caught:
        numerical_gradient(fails, np.ones(3), workers=2)
    assert caught.value.__notes__[0].startswith("raised for coordinate ")


def test_an_exit_reaches_the_caller_and_hangs_no_pool():
    with multiprocessing.get_context("fork").Pool(2) as pool, pytest.raises(SystemExit):
        numerical_gradient(lambda x: sys.exit(3), np.ones(6), workers=pool.map)


def test_results_in_any_order_are_put_where_they_belong():
    def backwards(function, tasks):
        return [function(task) for task in reversed(tasks)]

    x = np.arange(50.0)
    found = numerical_gradient(lambda x: float(np.sum(x**2)), x, workers=backwards)
    assert found.tobytes() == numerical_gradient(lambda x: float(np.sum(x**2)), x).tobytes()


@pytest.mark.parametrize(
    ("engine", "error", "message"),
    [
        (lambda function, tasks: [], RuntimeError, "workers gave no result for 4 of 4 tasks"),
        (lambda function, tasks: [(task.number, None, None) for task in tasks], RuntimeError, "workers gave no result"),
        (lambda function, tasks: [function(tasks[0])] * 2, TypeError, "gave the result of task 0 twice"),
        (lambda function, tasks: tasks[:1], TypeError, "workers must map a function over tasks, but gave"),
        (lambda function, tasks: 3, TypeError, "workers must map a function over tasks, as Executor.map does"),
        (lambda function: [], TypeError, "workers must map a function over tasks, as Executor.map does"),
    ],
)
def test_what_does_not_map_is_refused(engine, error, message):
    with pytest.raises(error, match=message):
        numerical_gradient(lambda x: float(x[0]), np.ones(2), workers=engine)


def test_slow_units_come_back_one_by_one(monkeypatch):
    monkeypatch.setattr(remote, "_KEEP_AFTER", 0.0)
    x, seen = np.arange(60.0), []

    def f(x):
        return float(np.sum(x**2))

    found = numerical_gradient(f, x, workers=Lazy(), progress=lambda done, total: seen.append(done))
    assert found.tobytes() == numerical_gradient(f, x).tobytes()
    assert seen == list(range(1, 61))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ">f8"])
@pytest.mark.parametrize("options", [{}, {"coordinates": [2, 0, 2]}, {"h": 0.01}])
@pytest.mark.filterwarnings("ignore:the step:RuntimeWarning")  # it is lost in float16
def test_where_coordinates_are_few_their_sides_are_two_tasks(dtype, options):
    x, seen, sizes = np.array([0.5, -0.0, 3.0], dtype), [], []

    def f(x):
        return float(np.sum(np.sin(x.astype(float)) / np.copysign(1.0, x)))

    def engine(function, tasks):
        sizes.append(len(tasks))
        return map(function, tasks)

    found = numerical_gradient(f, x, workers=engine, progress=lambda done, total: seen.append((done, total)), **options)
    assert found.tobytes() == numerical_gradient(f, x, **options).tobytes()
    assert sizes == [6]
    assert seen[-1] == (3, 3)


def test_where_coordinates_are_few_those_are_kept_whose_sides_are_done():
    class Many(Lazy):
        workers = 8

    def f(x):
        if x[2] != 3.0:
            raise ZeroDivisionError("mine")
        return float(np.sum(x**2))

    out, x = np.empty(3), np.array([1.0, 2.0, 3.0])
    with pytest.raises(ZeroDivisionError) as caught:
        numerical_gradient(f, x, workers=Many(), out=out)
    assert caught.value.__notes__ == ["raised for coordinate 2 of x (flat, in C order)"]
    assert np.allclose(out, [2.0, 4.0, np.nan], equal_nan=True)
    assert x.tolist() == [1.0, 2.0, 3.0]


def test_where_coordinates_are_few_warnings_are_those_of_one_process():
    with pytest.warns(RuntimeWarning) as caught:
        numerical_gradient(lambda x: float(x[0]), np.array([1e15]), workers=map)
    assert {str(warning.message)[:15] for warning in caught} == {"the step h=0.00", "all differences"}
    with pytest.warns(RuntimeWarning, match="all differences are exactly zero"):
        numerical_gradient(lambda x: 1.0, np.array([1.0]), workers=map)


def test_what_was_done_before_an_exception_is_kept():
    def f(x):
        if x[33] != 33.0:
            raise ValueError("mine")
        return float(np.sum(x**2))

    x = np.arange(60.0)
    objective, out = as_objective(f, ()), np.full(60, np.nan)
    sweep = objective.sweep(x, (), Rule(make_central, (1e-4,)), np.empty(0, np.intp), out)
    with pytest.raises(ValueError, match="mine"):
        processes.distribute(Lazy(), sweep)
    # Ranges go in order here, and the one of coordinate 33 has brought what came before it.
    assert np.isnan(out).tolist() == [k >= 33 for k in range(60)]


def test_after_an_exception_the_rest_is_not_evaluated(tmp_path):
    def f(x):
        open(tmp_path / f"{os.getpid()}-{time.perf_counter_ns()}", "w").close()
        time.sleep(0.005)
        if x[0] > 0:
            raise ValueError("mine")
        return 0.0

    with pytest.raises(ValueError, match="mine"):
        numerical_gradient(f, np.zeros(2000), workers=2)
    time.sleep(0.2)
    evaluated = len(list(tmp_path.iterdir()))
    time.sleep(0.2)
    assert len(list(tmp_path.iterdir())) == evaluated < 400


def test_a_worker_that_dies_is_an_error_of_the_engine_and_no_hang():
    def dies(x):
        if x[3] > 0:
            os._exit(3)
        return 0.0

    from joblib.externals.loky.process_executor import TerminatedWorkerError

    with pytest.raises(TerminatedWorkerError):
        numerical_gradient(dies, np.zeros(10), workers=2)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as executor, pytest.raises(BrokenProcessPool):
        numerical_gradient(dies, np.zeros(10), workers=executor.map)
    assert numerical_gradient(lambda x: float(x[0]), np.zeros(4), workers=2).tolist() == [1.0, 0.0, 0.0, 0.0]


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="looks for orphans in /proc")
def test_ctrl_c_stops_promptly_and_leaves_no_worker():
    x = np.zeros(10_000)
    numerical_gradient(lambda x: float(x[0]), x[:4].copy(), workers=2)  # the processes are there
    threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    began = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        numerical_gradient(lambda x: time.sleep(0.02) or 0.0, x, workers=2)
    assert time.perf_counter() - began < 3.0
    assert not loky_workers()


def loky_workers():
    """Return the living processes of loky that this one started."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file, open(f"/proc/{pid}/stat") as stat:
                ours = int(stat.read().rpartition(")")[2].split()[1]) == os.getpid()
                if ours and b"popen_loky" in file.read():
                    found.append(int(pid))
        except OSError:
            continue
    return found


def test_an_early_exception_does_not_wait_for_the_slow_coordinates():
    def f(x):
        if x[1] != 1.0:
            raise ValueError("mine")
        time.sleep(3.0 if x[0] != 1.0 else 0.0)
        return 0.0

    numerical_gradient(lambda x: float(x[0]), np.ones(4), workers=2)  # the processes are there
    began = time.perf_counter()
    with pytest.raises(ValueError, match="mine"):
        numerical_gradient(f, np.ones(2), workers=2)
    assert time.perf_counter() - began < 2.5


def in_a_fork(queue):
    queue.put(numerical_gradient(lambda x: float(np.sum(x**2)), np.arange(4.0), workers=2).tolist())


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
def test_a_forked_child_has_processes_of_its_own():
    numerical_gradient(lambda x: float(x[0]), np.ones(4), workers=2)
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=in_a_fork, args=(queue,))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert np.allclose(queue.get(), [0.0, 2.0, 4.0, 6.0])


def in_a_child(queue):
    from numgrad import processes

    processes._owner = os.getpid()  # as where the child is the first to import numgrad
    in_a_fork(queue)


def by_threads(queue):
    import joblib

    processes = set()
    with joblib.parallel_config("threading"):
        numerical_gradient(lambda x: processes.add(os.getpid()) or float(np.sum(x**2)), np.arange(4.0), workers=2)
    queue.put(processes == {os.getpid()})


def test_a_child_keeps_to_the_threads_that_were_chosen():
    context = multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    child = context.Process(target=by_threads, args=(queue,))
    child.start()
    try:
        assert queue.get()
    finally:
        child.kill()


# joblib's own processes would wait for work for 300 s, and the child for them.
@pytest.mark.parametrize("method", sorted(multiprocessing.get_all_start_methods()))
def test_a_child_of_its_own_kind_ends_soon(method):
    context = multiprocessing.get_context(method)
    queue = context.SimpleQueue()
    child = context.Process(target=in_a_child, args=(queue,))
    child.start()
    try:
        found = queue.get()
        child.join(30)  # it takes 3 s
        assert child.exitcode == 0
        assert np.allclose(found, [0.0, 2.0, 4.0, 6.0])
    finally:
        child.kill()


GLOBAL = np.arange(1.0, 7.0)


def reads_a_global(_):
    return float(np.sum(GLOBAL**2))


def test_a_view_of_what_f_reads_and_a_global_are_found_and_a_harmless_view_is_not():
    base = np.arange(1.0, 7.0).reshape(2, 3)
    before = base.tobytes()
    for f, x in (
        (lambda _: float(np.sum(base**2)), base.reshape(-1)),
        (lambda w: float(np.sum(base**2) + 0.1 * np.sum(w**2)), base.reshape(-1)),
        (reads_a_global, GLOBAL),
    ):
        for options in ({}, {"coordinates": [0, 1]}):
            with pytest.raises(ValueError, match="in another process f reads another array"):
                numerical_gradient(f, x, workers=Lazy(), **options)
        with pytest.raises(ValueError, match="in another process f reads another array"):
            estimate_gradient(f, x, workers=Lazy())
    assert base.tobytes() == before
    view = base.reshape(-1)
    there = numerical_gradient(lambda w: float(np.sum(w**2)), view, workers=Lazy())
    assert there.tobytes() == numerical_gradient(lambda w: float(np.sum(w**2)), view).tobytes()


def test_a_module_that_holds_x_is_found(tmp_path, monkeypatch):
    (tmp_path / "holds_x.py").write_text(
        "import numpy as np\nW = np.arange(1.0, 5.0)\ndef loss(): return float(W @ W)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import holds_x

    before = holds_x.W.tobytes()
    for f in (lambda w: holds_x.loss() + 0.1 * float(np.sum(w**2)), lambda w: holds_x.loss()):
        for options in ({}, {"scheme": "central4"}, {"coordinates": [3]}):
            with pytest.raises(ValueError, match="in another process f reads another array"):
                numerical_gradient(f, holds_x.W, workers=Lazy(), **options)
    assert holds_x.W.tobytes() == before
    there = numerical_gradient(lambda w: holds_x.loss() + float(np.sum(w**2)), np.ones(4), workers=Lazy())
    assert np.allclose(there, 2.0)  # a module that holds something else is no harm


SEEN = []


def up_to_an_edge(x):
    """Stand for an f that travels by its name, so that what it saw in the engine `Lazy` is known here."""
    SEEN.append(float(x[0]))
    return -np.sqrt(1 - x[0]) + x[1] ** 2 if x[0] <= 0.9995 else 1 / 0


@pytest.mark.parametrize(
    ("low", "high", "coordinates"),
    [(-np.inf, 0.9995, None), (0.9995, 0.9995, [1])],
    ids=["at a bound", "fixed by its bounds"],
)
def test_no_evaluation_elsewhere_leaves_the_bounds(low, high, coordinates):
    x, options = np.array([0.9995, 2.0]), {"bounds": ([low, -np.inf], [high, np.inf]), "coordinates": coordinates}
    SEEN.clear()
    expected = numerical_gradient(up_to_an_edge, x, **options)
    plain = len(SEEN)
    SEEN.clear()
    assert numerical_gradient(up_to_an_edge, x, workers=Lazy(), **options).tobytes() == expected.tobytes()
    assert len(SEEN) == plain + 3  # beside x there and here, and x there
    assert low <= min(SEEN) <= max(SEEN) <= high


@pytest.mark.parametrize("estimate", [estimate_gradient, estimate_hessian])
@pytest.mark.parametrize("low", [-np.inf, 0.9994])
def test_no_evaluation_of_an_estimate_elsewhere_leaves_the_bounds(estimate, low):
    SEEN.clear()
    estimate(up_to_an_edge, [0.9994, 2.0], bounds=([low, -np.inf], [0.9995, np.inf]), workers=Lazy())
    assert low <= min(SEEN) <= max(SEEN) <= 0.9995


def test_f_need_not_be_defined_beside_the_coordinates():
    x = np.array([0.9993, 2.0])  # without bounds, the witness is beyond the edge
    expected = numerical_gradient(up_to_an_edge, x).tobytes()
    assert numerical_gradient(up_to_an_edge, x, workers=Lazy()).tobytes() == expected


def test_a_random_f_is_not_taken_for_one_that_reads_another_array():
    rng = np.random.default_rng(0)

    def f(x):
        return float(np.sum(x**2)) + 1e-3 * rng.standard_normal()

    gradient = numerical_gradient(f, np.arange(1.0, 6.0), 0.1, workers=Lazy())
    assert np.allclose(gradient, 2 * np.arange(1.0, 6.0), atol=0.1)


def test_the_file_of_the_job_is_gone_after_any_end(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def f(x):
        return float(np.sum(x))

    def interrupted(function, tasks):
        assert len(list(tmp_path.iterdir())) == 1
        yield function(next(iter(tasks)))
        raise KeyboardInterrupt

    numerical_gradient(f, np.ones(3), workers=Lazy())
    assert not list(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt):
        numerical_gradient(f, np.ones(40), workers=interrupted)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("stage", ["open", "decode", "exit"])
def test_exceptions_arrive_with_their_attributes(stage):
    def f(x):
        if stage == "open":
            Path("/no/such/file").read_bytes()
        elif stage == "decode":
            b"\xff".decode()
        sys.exit(3)

    with pytest.raises((FileNotFoundError, UnicodeDecodeError, SystemExit)) as caught:
        numerical_gradient(f, np.ones(3), workers=Lazy())
    told = {"open": "/no/such/file", "decode": b"\xff", "exit": 3}[stage]
    assert getattr(caught.value, {"open": "filename", "decode": "object", "exit": "code"}[stage]) == told
    assert stage == "exit" or caught.value.__notes__ == ["raised for coordinate 0 of x (flat, in C order)"]


def test_what_cannot_travel_is_a_type_error():
    lock = threading.Lock()
    with pytest.raises(TypeError, match="must travel to other processes, but cannot be pickled"):
        numerical_gradient(lambda x: float(x[0]) + (lock is None), np.ones(2), workers=2)


def test_without_joblib_the_error_names_joblib(monkeypatch):
    monkeypatch.setitem(sys.modules, "joblib", None)
    with pytest.raises(ImportError, match=r"pip install joblib$"):
        numerical_gradient(lambda x: x[0], np.ones(2), workers=2)


def test_how_many_workers_an_engine_has():
    with ThreadPoolExecutor(3) as executor:
        assert processes.workers_of(executor.map) == 3
    assert processes.workers_of(Lazy()) == 2
    assert processes.workers_of(map) == processes._WORKERS


# --- joblib as its users use it ------------------------------------------------------------------------------------


def square(x):
    return x * x


def joblib_works(*counts):
    joblib = pytest.importorskip("joblib")
    for workers in (*counts, 2):
        jobs = (joblib.delayed(square)(i) for i in range(5))
        assert joblib.Parallel(n_jobs=workers)(jobs) == [0, 1, 4, 9, 16]
    big = np.ones(300_000)  # goes through the folder of memory maps that joblib keeps
    return joblib.Parallel(n_jobs=2)(joblib.delayed(np.sum)(big) for _ in range(2)) == [3e5, 3e5]


def sums(x):
    return float(np.sum(x**2))


@same_without_jit
def test_joblib_works_after_a_gradient_and_before():
    for _ in range(2):
        assert np.allclose(numerical_gradient(sums, np.arange(3.0), workers=2), [0.0, 2.0, 4.0])
        assert joblib_works(3)  # a pool of another size than ours, too
    assert np.allclose(estimate_gradient(sums, np.arange(3.0), workers=2).value, [0.0, 2.0, 4.0])
    assert joblib_works()


@same_without_jit
def test_joblib_works_after_an_exception_of_f_of_progress_and_after_a_worker_died():
    def fails(x):
        raise ValueError("mine")

    def report(done, total):
        raise KeyError("mine")

    with pytest.raises(ValueError, match="mine"):
        numerical_gradient(fails, np.ones(20), workers=2)
    assert joblib_works()
    with pytest.raises(KeyError, match="mine"):
        numerical_gradient(sums, np.ones(20), workers=2, progress=report)
    assert joblib_works()
    with pytest.raises(BaseException, match=r"terminated|killed|exit"):
        numerical_gradient(lambda x: os._exit(3), np.ones(4), workers=2)
    assert joblib_works()


@same_without_jit
def test_joblib_works_after_ctrl_c():
    x = np.zeros(10_000)
    numerical_gradient(sums, np.ones(4), workers=2)  # the processes are there
    timer = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        numerical_gradient(lambda x: time.sleep(0.02) or 0.0, x, workers=2)
    timer.join()
    assert joblib_works()


@same_without_jit
@pytest.mark.parametrize("backend", ["threading", "sequential", "loky", "multiprocessing"])
def test_a_backend_that_the_user_chose_is_honoured(backend):
    joblib = pytest.importorskip("joblib")
    pids = []  # known here if f runs in this process

    def f(x):
        pids.append(os.getpid())
        return float(np.sum(x**2))

    x = np.arange(3.0)
    with joblib.parallel_config(backend=backend):
        assert np.allclose(numerical_gradient(f, x, workers=2), 2 * x)
        assert joblib_works()
    assert np.allclose(numerical_gradient(f, x, workers=2), 2 * x)
    assert x.tolist() == [0.0, 1.0, 2.0]


@same_without_jit
@pytest.mark.parametrize(("workers", "n_jobs"), [(2, 1), (2, 4), (3, -1)])  # fewer, more, all
def test_the_number_of_jobs_that_the_user_configured_does_no_harm(workers, n_jobs):
    joblib = pytest.importorskip("joblib")
    x = np.arange(5.0)
    with joblib.parallel_config(n_jobs=n_jobs):
        assert numerical_gradient(sums, x, workers=workers).tobytes() == numerical_gradient(sums, x).tobytes()
    assert joblib_works()


def test_a_gradient_within_a_job_of_joblib_works():
    joblib = pytest.importorskip("joblib")
    x = np.arange(3.0)
    for backend in ("loky", "threading"):
        with joblib.parallel_config(backend=backend):
            jobs = [joblib.delayed(numerical_gradient)(sums, x, workers=2) for _ in range(3)]
            for gradient in joblib.Parallel(n_jobs=2)(jobs):
                assert np.allclose(gradient, 2 * x)


@pytest.mark.parametrize("derivative", [numerical_gradient, numerical_jacobian])
def test_a_derivative_within_a_derivative_may_have_the_same_engine(derivative):
    def f(x):
        own = numerical_gradient(lambda y: float(np.sum(y**3)), np.array([5.0, 6.0]), workers=map)
        return x[0] ** 2 + 10 * x[1] + 0 * own[0]

    x = np.array([1.0, 2.0, 3.0])
    with ThreadPoolExecutor(2) as pool:
        found = [derivative(f, x, workers=engine) for engine in (map, pool.map)]
    np.testing.assert_array_equal(found, [derivative(f, x)] * 2)


ARRIVED = []


class Arriving:
    """What notes that it has arrived somewhere, as a copy."""

    def __reduce__(self):
        return arrived, ()


def arrived():
    copy = Arriving()
    ARRIVED.append(weakref.ref(copy))
    return copy


def test_an_engine_of_this_thread_keeps_nothing_of_f():
    data = Arriving()
    numerical_gradient(lambda x: float(x @ x) + 0.0 * isinstance(data, str), np.ones(3), workers=map)
    gc.collect()
    assert ARRIVED
    assert [ref() for ref in ARRIVED] == [None] * len(ARRIVED)


def test_minus_one_means_all_cores():
    x = np.arange(5.0)
    for f in (sums, compiled_once(sums)):
        assert numerical_gradient(f, x, workers=-1).tobytes() == numerical_gradient(f, x).tobytes()
    for workers in (-2, 0):
        with pytest.raises(ValueError, match="workers must be at least 1"):
            numerical_gradient(sums, x, workers=workers)


class ExecutorLike:
    def map(self, function, *tasks):
        raise AssertionError("used")


class ClientLike(ExecutorLike):
    def get_executor(self):
        raise AssertionError("used")


class CallableExecutor(ExecutorLike):
    """A pool that is callable too, as `map`-like engines are."""

    workers = 2

    def __call__(self, function, tasks):
        return map(function, tasks)


@pytest.mark.parametrize("run", [numerical_gradient, estimate_gradient, gradient_descent])
def test_an_executor_in_place_of_its_map_is_an_error_that_says_so(run):
    with ThreadPoolExecutor(1) as executor:
        for given in (executor, ExecutorLike()):
            for f in (sums, compiled_once(sums)):
                with pytest.raises(TypeError, match=rf"got {type(given).__name__}; pass its \.map") as caught:
                    run(f, np.ones(2), workers=given)
                assert "\n" not in str(caught.value)
    with pytest.raises(TypeError, match=r"got ClientLike; pass client\.get_executor\(\)\.map"):
        run(sums, np.ones(2), workers=ClientLike())
    run(sums, np.ones(2), workers=CallableExecutor())


# --- the f of another process ----------------------------------------------------------------------------------------


class Values:
    """What `remote.fingerprint` asks of a sweep: `f` of a point that has moved by `offsets`."""

    value_cancels, where, rule = False, np.empty(0, np.intp), Rule(make_central, (1e-4,))

    def __init__(self, f):
        self.f, self.x = f, np.arange(1.0, 6.0)

    def value_at(self, offsets):
        return self.f(self.x + offsets)


def fixed(f):
    """Return f with its values kept: one environment rounds the same point in the same way."""
    kept = {}
    return lambda x: kept.setdefault(x.tobytes(), f(x))


@pytest.mark.parametrize(("dtype", "rounding"), [(np.float64, 1e-14), (np.float64, 1e-9), (np.float32, 2e-7)])
def test_what_another_environment_rounds_is_no_other_array(dtype, rounding):
    taken_for_another = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)

        def f(x, rng=rng):
            return float(dtype(np.sum(x**2) * (1 + rounding * rng.standard_normal())))

        here, there = Values(fixed(f)), Values(fixed(f))
        taken_for_another += not remote.is_same(here, list(remote.fingerprint(there)))
    assert taken_for_another <= (4 if rounding == 1e-9 else 0)  # by far more than a BLAS rounds


@pytest.mark.parametrize("share", [1.0, 1e-2, 1e-5, 1e-9])
def test_no_share_of_f_is_too_small_to_be_found(share):
    base = np.arange(1.0, 7.0).reshape(2, 3)

    def f(w):
        return float(np.sum(np.sin(w)) + share * np.sum(base**2))

    with pytest.raises(ValueError, match="in another process f reads another array"):
        numerical_gradient(f, base.reshape(-1), workers=Lazy())


@pytest.mark.parametrize("fails", [lambda: float("nan"), lambda: 1 / 0, lambda: float("inf")])
@pytest.mark.parametrize(
    "options", [{}, {"scheme": "forward"}, {"scheme": "central4", "h": "auto"}, {"coordinates": [2, 1]}], ids=str
)
def test_no_point_without_a_value_hides_another_array(fails, options):
    base = np.arange(1.0, 5.0).reshape(2, 2)
    for only_up in (False, True):  # has f no value where several coordinates have moved, or where they have moved up

        def f(w, reads=True, only_up=only_up):
            moves = w - np.arange(1.0, 5.0)
            if np.count_nonzero(moves) > 1 and (moves.max() > 0 or not only_up):
                return fails()
            return float(np.sum(w**2) + 1e-2 * np.sum(base**2 if reads else 1.0))

        with pytest.raises(ValueError, match="in another process f reads another array"):
            numerical_gradient(f, base.reshape(-1), workers=Lazy(), **options)
        harmless = numerical_gradient(f, base.reshape(-1), args=(False,), workers=Lazy(), **options)
        assert harmless.tobytes() == numerical_gradient(f, base.reshape(-1), args=(False,), **options).tobytes()


@pytest.mark.parametrize("options", [{}, {"vectorized": True}, {"scheme": "complex"}, {"scheme": "forward"}], ids=str)
def test_data_of_a_module_that_have_changed_are_found(options, tmp_path, monkeypatch):
    (tmp_path / "holds_a_factor.py").write_text("factor = [2.0]\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delitem(sys.modules, "holds_a_factor", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    import holds_a_factor

    def f(x):
        return holds_a_factor.factor[0] * np.sum(x**2, axis=-1)

    x = np.array([1.0, 2.0, -3.0])
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as executor:
        assert np.allclose(numerical_gradient(f, x, workers=executor.map, **options), 4 * x, atol=1e-3)
        holds_a_factor.factor[0] = 10.0
        with pytest.raises(ValueError, match="or other data"):
            numerical_gradient(f, x, workers=executor.map, **options)


COMPILED = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
import numpy as np
from numba import njit
from numgrad import IncrementalObjective, numerical_gradient

factor = 2.0

@njit
def f(x):
    return factor * x[0] * x[4]

@njit
def difference(state, k):
    return factor * 4.0 * state[1] * state[0][k]

if __name__ == "__main__":
    x = np.arange(1.0, 6.0)
    objective = IncrementalObjective(lambda x: float(np.sum(x**2)), lambda x, h: (x.copy(), h), difference)
    for which in (f, objective):
        numerical_gradient(which, x)
    factor = 5.0
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        for which, scheme in ((f, "central"), (objective, "central4")):
            try:
                numerical_gradient(which, x, scheme=scheme, workers=executor.map)
            except ValueError as error:
                assert "or other data" in str(error)
                print("found")
"""


@needs_jit
def test_a_global_that_was_bound_anew_after_compilation_is_found(tmp_path):
    (tmp_path / "script.py").write_text(COMPILED)
    result = subprocess.run(
        [sys.executable, str(tmp_path / "script.py")], capture_output=True, text=True, check=False, timeout=120
    )
    assert result.stdout.split() == ["found"] * 2, result.stderr


# --- signals ---------------------------------------------------------------------------------------------------------


class Limit(Exception):
    """A time limit that no other process could be told of."""

    def __init__(self, seconds, lock):
        super().__init__(seconds, lock)


def sleeps(x):
    time.sleep(0.001)
    return float(np.sum(x**2))


@untraced
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no such timer here")
@pytest.mark.parametrize(
    "raised", [TimeoutError("mine"), Limit(1, threading.Lock()), KeyboardInterrupt()], ids=["known", "own", "Ctrl-C"]
)
def test_what_a_signal_handler_raises_comes_through_as_it_is(raised, engine):
    def handler(*_):
        raise raised

    x, rng = np.arange(3000.0), np.random.default_rng(0)
    is_here = isinstance(engine, Lazy)
    before = signal.signal(signal.SIGALRM, handler)
    try:
        for _ in range(4 if is_here else 1):
            with pytest.raises(type(raised)) as caught:  # noqa: PT012, the timer belongs to it
                if not is_here:  # pools have locks that a signal at a random moment leaves taken: once results arrive
                    numerical_gradient(
                        sleeps, x, workers=engine, progress=lambda *_: signal.raise_signal(signal.SIGALRM)
                    )
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-4, 0.1))
                numerical_gradient(sleeps, x, workers=engine)
            assert caught.value is raised
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_handler_that_raises_while_f_is_pickled_is_not_taken_for_what_cannot_be_pickled():
    class Slow:
        def __reduce__(self):
            raise Limit(1, None)

    slow = Slow()
    with pytest.raises(Limit) as caught:
        numerical_gradient(lambda x: float(x[0]) + (slow is None), np.ones(2), workers=Lazy())
    assert caught.value.__notes__ == ["f, x and args must travel to other processes, but cannot be pickled"]


def test_a_handler_that_raises_where_f_is_compared_is_not_taken_for_f():
    calls = []

    def f(x):
        calls.append(None)
        if len(calls) == 1:
            raise Limit(1, None)
        return 1.0

    with pytest.raises(Limit):
        list(remote.fingerprint(Values(f)))


@untraced
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no such timer here")
def test_nobody_writes_to_the_result_after_any_number_of_interrupts():
    """With threads of numgrad's own: executors and joblib have locks that a storm of interrupts leaves taken."""

    def f(x):
        total = 0.0
        for _ in range(20000):
            total += x[0]
        return total + np.sum(x)

    f = compiled(f)
    x, rng = np.ones(2000), np.random.default_rng(0)
    expected = numerical_gradient(f, x, workers=2)
    for gap in [3e-4, 2e-3, 5e-3] * 3:
        out = np.full(x.size, np.nan)
        interrupt_until_it_ends(lambda out=out: numerical_gradient(f, x, out=out, workers=2), rng, gap)
        left = out.copy()
        time.sleep(0.06)  # what was under way ends
        assert out.tobytes() == left.tobytes()
        assert (x == 1.0).all()
    assert numerical_gradient(f, x, workers=2).tobytes() == expected.tobytes()


def interrupt_until_it_ends(call, rng, gap):
    """Call, and raise KeyboardInterrupt again and again until it has come out of the call."""
    has_ended = False

    def handler(*_):
        if not has_ended:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-3, 0.05), gap)
        call()
        has_ended = True
    except KeyboardInterrupt:
        has_ended = True
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@same_without_jit
def test_joblib_works_after_an_interrupt_of_its_start(monkeypatch):
    loky = pytest.importorskip("joblib.externals.loky")
    loky.get_reusable_executor().shutdown(wait=True, kill_workers=True)

    def start(_):
        raise Limit(1, None)

    with monkeypatch.context() as patch:
        patch.setattr("joblib.externals.loky.process_executor._ExecutorManagerThread.start", start)
        with pytest.raises(Limit):
            numerical_gradient(sums, np.ones(4), workers=2)
    assert joblib_works()
    assert np.allclose(numerical_gradient(sums, np.ones(4), workers=2), 2.0)


# --- how many processes ----------------------------------------------------------------------------------------------


@same_without_jit
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="counts processes in /proc")
def test_no_more_processes_are_started_than_there_is_work_or_than_help(monkeypatch):
    loky = pytest.importorskip("joblib.externals.loky")
    loky.get_reusable_executor().shutdown(wait=True, kill_workers=True)
    monkeypatch.setattr("numgrad.processes._living", {})
    for n, workers, most in ((3, 2, 2), (2, 24, 4), (1, 24, 4)):
        x = np.arange(1.0, n + 1)
        assert numerical_gradient(sums, x, workers=workers).tobytes() == numerical_gradient(sums, x).tobytes()
        assert len(loky_workers()) <= most
    monkeypatch.setattr("numgrad.driver.MOST_WORKERS", 3)
    assert processes.workers_of(as_workers(10**9, as_objective(sums, ()))) == 3
    assert as_workers(10**9, as_objective(simpleNet().objective([1.0, 2.0], 1), ())) == 3


FORKS = """
import os
import joblib
import numpy as np

def square(i):
    return i * i

def f(x):
    return float(np.sum(x**2))

assert joblib.Parallel(2)(joblib.delayed(square)(i) for i in range(4)) == [0, 1, 4, 9]
for _ in range(2):
    child = os.fork()
    if child:
        status = os.waitpid(child, 0)[1]
        assert joblib.Parallel(2)(joblib.delayed(square)(i) for i in range(4)) == [0, 1, 4, 9]
        print("parent", status, flush=True)
        os._exit(0)
    from numgrad import numerical_gradient  # for the first time, after the fork
    for workers in (2, 3, 2):
        assert np.allclose(numerical_gradient(f, np.arange(3.0), workers=workers), [0.0, 2.0, 4.0])
os._exit(0)
"""


@same_without_jit
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_of_a_fork_has_processes_of_its_own_even_if_the_pool_was_not_ours(tmp_path):
    pytest.importorskip("joblib")
    (tmp_path / "script.py").write_text(FORKS)
    with open(tmp_path / "told", "w+") as told:  # no pipe, which the processes of joblib would hold open
        subprocess.run([sys.executable, tmp_path / "script.py"], stdout=told, stderr=told, check=True, timeout=100)
        told.seek(0)
        assert told.read().count("parent 0") == 2


# --- clusters --------------------------------------------------------------------------------------------------------


@same_without_jit
@pytest.mark.filterwarnings("ignore")  # Dask's own
def test_a_dask_cluster_gives_the_gradient_even_if_a_worker_is_killed_meanwhile():
    distributed = pytest.importorskip("distributed")
    net, f = reads_its_own_weights()
    expected = numerical_gradient(f, net.W).tobytes()

    def slow(w):
        time.sleep(0.02)
        return f(w)

    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        engine = client.get_executor().map
        assert processes.workers_of(engine) == 2
        assert numerical_gradient(f, net.W, workers=engine).tobytes() == expected

        def elsewhere(function, tasks):
            return engine(function, [task._replace(file="/nosuch/job") for task in tasks])

        elsewhere.workers = 2
        killed = []
        for workers, victim in zip((engine, elsewhere), list(cluster.workers.values()), strict=True):
            timer = threading.Timer(0.2, lambda pid: killed.append(os.kill(pid, signal.SIGKILL)), [victim.pid])
            timer.start()
            assert numerical_gradient(slow, net.W, workers=workers).tobytes() == expected
        assert killed == [None, None]


MPI = """
import numpy as np
from mpi4py.futures import MPIPoolExecutor
from numgrad import numerical_gradient

if __name__ == "__main__":
    x = np.arange(20.0)
    with MPIPoolExecutor() as executor:
        gradient = numerical_gradient(lambda _: float(np.sum(x**2)), x, workers=executor.map)
    assert gradient.tobytes() == numerical_gradient(lambda _: float(np.sum(x**2)), x).tobytes()
    print("the same")
"""


def test_mpi_gives_the_gradient(tmp_path):
    loads = subprocess.run([sys.executable, "-c", "from mpi4py import MPI"], capture_output=True, check=False)
    if loads.returncode or not shutil.which("mpiexec"):
        pytest.skip("no mpi4py with an MPI that it can load is installed (Debian: mpich)")
    (tmp_path / "script.py").write_text(MPI)
    command = ["mpiexec", "-n", "3", sys.executable, "-m", "mpi4py.futures", str(tmp_path / "script.py")]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert "the same" in result.stdout, result.stderr


# --- batches ---------------------------------------------------------------------------------------------------------


def rows(x):
    return np.sum(x**3, axis=tuple(range(1, x.ndim)))


def one(x):
    return np.sum(x**3)


@pytest.mark.parametrize("scheme", ["central", "forward", "backward", "central4", "central6"])
@pytest.mark.parametrize("h", [1e-4, "auto"])
@pytest.mark.parametrize("shape", [(7,), (2, 3), ()], ids=str)
def test_a_vectorized_f_gives_the_bits_of_the_plain_one(scheme, h, shape):
    x = np.asarray(RNG.standard_normal(shape))
    expected = numerical_gradient(one, x, h, scheme=scheme)
    for limit in (1, 200, 2**26):
        found = numerical_gradient(rows, x, h, scheme=scheme, vectorized=True, batch_bytes=limit)
        assert found.tobytes() == expected.tobytes()
    bounds = (np.where(x > 0, x, x - 1), x + 1.0)  # some coordinates at a bound, some not
    at_the_bound = numerical_gradient(rows, x, h, scheme=scheme, bounds=bounds, vectorized=True)
    assert at_the_bound.tobytes() == numerical_gradient(one, x, h, scheme=scheme, bounds=bounds).tobytes()


def test_batches_are_bounded_in_memory_and_hold_points_of_the_shape_of_x():
    shapes = []

    def f(batch):
        shapes.append(batch.shape)
        return rows(batch)

    x = np.ones((10, 5))
    numerical_gradient(f, x, vectorized=True, batch_bytes=8 * 50 * 2 * 7)  # seven coordinates, two points each
    assert {shape[1:] for shape in shapes} == {(10, 5)}
    assert max(shape[0] for shape in shapes) == 14
    # Of the others, one shows whether points see each other, and those of one point whether f reads its batch.
    assert [shape[0] for shape in shapes if shape[0] > 1] == [3, *7 * [14], 2]
    shapes.clear()
    numerical_gradient(f, x, vectorized=True)
    assert [shape[0] for shape in shapes if shape[0] > 1] == [100]


def test_vectorized_works_with_args_coordinates_progress_processes_and_out():
    def f(batch, power):
        return np.sum(batch**power, axis=1)

    x, seen, out = np.arange(1.0, 31.0), [], np.empty(30)
    expected = numerical_gradient(lambda x: np.sum(x**2), x)
    options = {"args": (2,), "vectorized": True}
    assert numerical_gradient(f, x, out=out, progress=lambda *at: seen.append(at), **options) is out
    assert np.array_equal(out, expected)
    assert seen[-1] == (30, 30)
    assert np.array_equal(numerical_gradient(f, x, coordinates=[4, 2], **options), expected[[4, 2]])
    assert np.array_equal(numerical_gradient(f, x, workers=2, **options), expected)


@pytest.mark.parametrize(
    ("f", "options", "error", "message"),
    [
        (one, {}, TypeError, r"a vectorized f must return 1 real numbers for a batch of shape \(1, 3\), it returned"),
        (lambda x: rows(x).astype(str), {}, TypeError, "a vectorized f must return"),
        (rows, {"batch_bytes": 0}, ValueError, "batch_bytes must be at least 1"),
        (rows, {"scheme": "complex"}, ValueError, "vectorized=True has no complex step"),
        (simpleNet().objective([1.0, 2.0], 1), {}, TypeError, "vectorized=True needs an f that takes a batch"),
        (3, {}, TypeError, "vectorized=True needs an f that takes a batch of points, got int 3"),
    ],
)
def test_vectorized_misused(f, options, error, message):
    with pytest.raises(error, match=message):
        numerical_gradient(f, np.ones(3), vectorized=True, **options)


def test_a_vectorized_f_may_work_in_place():
    def f(batch):
        batch *= 2
        return np.sum(batch**2, axis=1)

    x = np.array([1.0, 2.0, 3.0])
    for scheme in ("central", "forward"):
        assert np.allclose(numerical_gradient(f, x, vectorized=True, scheme=scheme), 8 * x, rtol=1e-3)
    assert x.tolist() == [1.0, 2.0, 3.0]


def test_a_vectorized_f_that_ignores_its_batch_warns():
    with pytest.warns(RuntimeWarning, match="f may ignore its argument"):
        numerical_gradient(lambda batch: np.ones(len(batch)), np.ones(3), vectorized=True)


def test_a_vectorized_f_sees_nothing_but_batches_in_other_processes_too():
    def f(batch):
        if batch.ndim != 2:
            raise AssertionError("no batch")
        return np.sum(batch**2, axis=1)

    assert np.allclose(numerical_gradient(f, np.ones(3), vectorized=True, workers=map), 2.0)
    assert np.allclose(numerical_gradient(f, np.ones(1), vectorized=True, workers=Lazy()), 2.0)


def test_a_time_limit_while_the_job_is_read_is_raised(monkeypatch):
    def read(_):
        raise TimeoutError("mine")

    monkeypatch.setattr("numgrad.remote.Path.read_bytes", read)
    with pytest.raises(TimeoutError, match="mine"):
        numerical_gradient(sums, np.arange(60.0), workers=map)


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="no such signal here")
def test_a_time_limit_while_the_file_of_the_job_is_looked_for_is_raised(monkeypatch):
    def handler(*_):
        raise TimeoutError("mine")

    def interrupted(function):
        def call(path, *args, **options):
            if "numgrad-" in str(path):
                signal.raise_signal(signal.SIGALRM)
            return function(path, *args, **options)

        return call

    for name in ("stat", "access"):
        monkeypatch.setattr(os, name, interrupted(getattr(os, name)))
    before = signal.signal(signal.SIGALRM, handler)
    try:
        with pytest.raises(TimeoutError, match=r"^mine$"):
            numerical_gradient(lambda x: float(np.sum(x**2)), np.arange(40.0), workers=map)
    finally:
        signal.signal(signal.SIGALRM, before)


def test_progress_tells_of_each_coordinate_once_where_its_sides_are_done_apart():
    class Engine:
        workers = 8

        def __call__(self, function, tasks):
            return map(function, tasks)

    seen = []
    numerical_gradient(sums, np.arange(3.0), workers=Engine(), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
