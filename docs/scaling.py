"""How many coordinates a second a cluster gives: computed from measured overheads, printed as the table of SCALING.md.

Run it as ``python docs/scaling.py``; ``--measure`` measures the overhead of loky and of Dask on this machine first.
"""

import argparse
import statistics
import time

import numpy as np

from numgrad import numerical_gradient

# Measured on 2 cores of an AMD EPYC by ``pytest --benchmark-only benchmarks/bench_distribution.py``: seconds a task of
# some three coordinates, of which there are 32 a worker.
TASK = {"loky": 3.1 * 81e-6, "Dask": 3.1 * 742e-6}
SHIP = 1e9  # bytes a second that one network link carries, to ship the job
JOB = 100e6  # bytes of a job: the objective's data and x
RANGES = 32  # tasks a worker, as in `numgrad.distribution`


def quick(x):
    """Return a sum of squares, which costs nothing beside a task."""
    return float(np.sum(x * x))


def measured_task(workers, n=192, ranges=64):
    """Return the seconds that one task costs an engine."""
    x, seconds = np.ones(n), []
    for _ in range(7):
        began = time.perf_counter()
        numerical_gradient(quick, x, workers=workers)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds) / ranges


def gradient_seconds(n, objective, cores, task, local):
    """Return the seconds of a gradient of n coordinates.

    The cores share 2n evaluations; the scheduler hands out all tasks one after the other; the job is shipped with each
    task, from one link (a local engine reads it from a file); and the last range of a core ends a range late at worst.
    """
    tasks = min(n, RANGES * cores)
    evaluating = 2 * objective * np.ceil(n / tasks) * np.ceil(tasks / cores)
    scheduling = tasks * task
    shipping = 0.0 if local else tasks * JOB / SHIP
    return (
        max(evaluating, scheduling, shipping) + 2 * objective * np.ceil(n / tasks) / 2,
        evaluating,
        scheduling,
        shipping,
    )


def duration(seconds):
    """Return seconds in words."""
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{1e3 * seconds:.3g} ms"


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", action="store_true", help="measure the overhead of a task here first")
    if parser.parse_args().measure:
        TASK["loky"] = measured_task(2)
        from distributed import Client, LocalCluster

        with (
            LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
            Client(cluster) as client,
        ):
            TASK["Dask"] = measured_task(client.get_executor().map)
    print("task: " + ", ".join(f"{name} {1e3 * seconds:.2g} ms" for name, seconds in TASK.items()))
    print("| cores | objective | coordinates a second | gradient of 10,000 | busy | limited by |")
    print("|---|---|---|---|---|---|")
    n = 10_000
    for cores in (2, 100, 10_000):
        local = cores <= 2
        for objective, name in ((1e-3, "1 ms"), (1.0, "1 s"), (3600.0, "1 h")):
            task = TASK["loky" if local else "Dask"]
            total, *parts = gradient_seconds(n, objective, cores, task, local)
            limit = ("the objective", "the scheduler's tasks a second", "shipping the job")[int(np.argmax(parts))]
            busy = 2 * n * objective / (cores * total)
            rate = f"{n / total:,.3g}"
            print(f"| {cores:,} | {name} | {rate} | {duration(total)} | {100 * busy:.0f} % | {limit} |")


if __name__ == "__main__":
    main()
