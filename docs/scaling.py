"""How long a gradient takes on a cluster: computed from measured overheads, printed as the table of SCALING.md.

Run it as ``python docs/scaling.py``; ``--measure`` measures the overhead of loky and of Dask on this machine first.
"""

import argparse
import statistics
import time

import numpy as np

from numgrad import numerical_gradient
from numgrad.processes import RANGES

TASK = {"loky": 1.0e-3, "Dask": 3.0e-3}  # seconds a task, measured on 2 cores of an AMD EPYC with ``--measure``
SHIP = 1e9  # bytes a second that one network link carries, to ship the job
JOB = 100e6  # bytes of a job: the objective's data and x
TASKS = 1 + RANGES  # of a worker: a first coordinate, and ranges of falling length


def quick(x):
    """Return a sum of squares, which takes no time beside a task."""
    return float(np.sum(x * x))


def measured_task(workers, n=200):
    """Return the seconds that one task costs an engine."""
    x, seconds = np.ones(n), []
    for _ in range(7):
        began = time.perf_counter()
        numerical_gradient(quick, x, workers=workers)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds) / (2 * TASKS)


def gradient_seconds(n, objective, cores, task, local):
    """Return the seconds of a gradient of n coordinates, and of what it waits for.

    Before the work, the job is shipped to each core through one link (a local engine reads it from a file). Then the
    cores share 2n evaluations, while the scheduler hands out the tasks one after the other. The cores end within one
    coordinate of each other.
    """
    shipping = 0.0 if local else cores * JOB / SHIP
    scheduling = task * min(n, TASKS * cores)
    evaluating = 2 * objective * np.ceil(n / cores)
    return shipping + max(evaluating, scheduling), evaluating, scheduling, shipping


def duration(seconds):
    """Return seconds in words."""
    for unit, size in (("days", 86400.0), ("hours", 3600.0), ("min", 60.0), ("s", 1.0)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{1e3 * seconds:.3g} ms"


def table(n=10_000):
    """Return the lines of the table of SCALING.md."""
    lines = [
        f"| cores | an evaluation takes | a gradient of {n:,} takes | the cores are busy | limited by |",
        "|---|---|---|---|---|",
    ]
    for cores in (2, 100, 10_000):
        local = cores <= 2
        for objective, name in ((1e-3, "1 ms"), (1.0, "1 s"), (3600.0, "1 hour")):
            task = TASK["loky" if local else "Dask"]
            total, *parts = gradient_seconds(n, objective, cores, task, local)
            limit = ("the objective", "the scheduler's tasks a second", "shipping the job")[int(np.argmax(parts))]
            busy = 100 * 2 * n * objective / (cores * total)
            shown = "below 1 %" if busy < 0.5 else f"{busy:.0f} %"
            lines.append(f"| {cores:,} | {name} | {duration(total)} | {shown} | {limit} |")
    return lines


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
    print("a task: " + ", ".join(f"{name} {1e3 * seconds:.2g} ms" for name, seconds in TASK.items()))
    print("\n".join(table()))
    for objective, name in ((1e-3, "1 ms"), (1e-2, "10 ms"), (1.0, "1 s")):
        kept = np.sqrt(2 * objective * 10_000 / (TASKS * TASK["Dask"]))
        print(f"an objective of {name}: the scheduler keeps up with {kept:.0f} cores")


if __name__ == "__main__":
    main()
