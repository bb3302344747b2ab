"""A Python objective of 10 ms on two processes, through each engine; and batches of a NumPy objective.

What bounds them: the objective. Beyond it an engine costs the pickle of the job, once a worker, and a task for each of
the some 34 ranges, of which the table gives the time a coordinate, for an objective that costs nothing.
"""

import functools
import multiprocessing
import os
import time
import warnings
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

from numgrad import numerical_gradient

N = 200
X = np.random.default_rng(0).uniform(-1, 1, N)
two_cores = pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="takes two cores")


def slow(x):
    """Take 10 ms of a core, as a simulation does."""
    end = time.perf_counter() + 0.01
    while time.perf_counter() < end:
        pass
    return float(np.sum(x * x))


def quick(x):
    return float(np.sum(x * x))


@pytest.fixture(scope="module", params=["loky", "ProcessPoolExecutor, spawn", "multiprocessing.Pool, fork", "Dask"])
def engine(request):
    if request.param == "loky":
        pytest.importorskip("joblib", reason="joblib is not installed: pip install '.[bench]'")
        yield request.param, 2
    elif request.param.startswith("Process"):
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as executor:
            yield request.param, executor.map
    elif request.param.startswith("multi"):
        with multiprocessing.get_context("fork").Pool(2) as pool:
            yield request.param, pool.map
    else:
        distributed = pytest.importorskip("distributed", reason="distributed is not installed: pip install '.[bench]'")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "silence_logs": 50}
            with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
                yield request.param, client.get_executor().map


@two_cores
@pytest.mark.filterwarnings("ignore")
@pytest.mark.benchmark(group="processes, n = 200")
def test_two_processes(benchmark, table, exact, engine):
    name, workers = engine
    f = quick if benchmark.disabled else slow
    numerical_gradient(quick, X, workers=workers)  # the processes have started, and imported numgrad
    asked = {"loky": 1.85, "Dask": 1.7}.get(name)  # the others are for information
    result = benchmark.pedantic(numerical_gradient, (f, X), {"workers": workers}, rounds=3 if asked else 1)
    exact(result, 2 * X, 2.0**-52 * 200 * 100 / 1e-4)
    if benchmark.disabled:
        return
    speed = seconds_alone() / benchmark.stats.stats.median
    table(f"an objective of 10 ms, n = {N}, two processes against one: {name}", speed, at_least=asked)
    overhead = sorted(clock(lambda: numerical_gradient(quick, X, workers=workers)) for _ in range(9))[4]
    plain = sorted(clock(lambda: numerical_gradient(quick, X)) for _ in range(9))[4]
    benchmark.extra_info["overhead_us"] = 1e6 * (overhead - plain) / N
    table(f"  overhead a coordinate: {name}", 1e6 * (overhead - plain) / N, "us")


@functools.cache
def seconds_alone():
    """Return the seconds of one process, which are the same beside each engine: the objective looks at the clock."""
    return clock(lambda: numerical_gradient(slow, X))


def clock(work):
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


@pytest.mark.benchmark(group="batches, n = 100")
def test_vectorized(benchmark, promise, exact):
    x = X[:100]

    def rows(batch):
        return np.sum(batch**2, axis=1)

    exact(benchmark(numerical_gradient, rows, x, vectorized=True), 2 * x, 2.0**-52 * 100 * 50 / 1e-4)
    promise(
        "vectorized sum of squares, n = 100, against the plain loop",
        lambda: numerical_gradient(lambda x: np.sum(x**2), x),
        lambda: numerical_gradient(rows, x, vectorized=True),
        at_least=10,
    )
    more = X[:300]
    batch = np.tile(more, (2 * more.size, 1))
    promise(
        "  n = 300, against f of a batch that is ready: times as long",
        lambda: rows(batch),
        lambda: numerical_gradient(rows, more, vectorized=True),
        inverse=True,
    )
