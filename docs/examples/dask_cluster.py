"""The gradient of a slow function, on a Dask cluster: ``python dask_cluster.py [ADDRESS OF A SCHEDULER]``.

Without an address it starts two workers on this machine. It needs ``python -m pip install distributed``.
"""

import sys

import numpy as np

from numgrad import numerical_gradient


def simulate(x):
    """Return the distance that a ball flies against the wind; stands for whatever takes seconds."""
    speed, angle, wind = x
    vx, vy, distance, height, step = speed * np.cos(angle), speed * np.sin(angle), 0.0, 0.0, 1e-3
    while height >= 0.0:
        vx, vy = vx - 0.1 * (vx + wind) * step, vy - (9.81 + 0.1 * vy) * step
        distance, height = distance + vx * step, height + vy * step
    return distance - height / vy * vx  # where the ball meets the ground


def main():
    """Compute the gradient on the cluster and in this process, and compare."""
    from distributed import Client, LocalCluster

    x = np.array([20.0, 0.7, 2.0])
    if len(sys.argv) > 1:
        cluster, client = None, Client(sys.argv[1])
    else:
        cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
        client = Client(cluster)
    try:
        gradient = numerical_gradient(simulate, x, h=1e-2, workers=client.get_executor().map)
    finally:
        client.close()
        if cluster is not None:
            cluster.close()
    print("metres per metre a second, per radian, per metre a second of wind:", gradient.round(3))
    print("the bits of one process:", np.array_equal(gradient, numerical_gradient(simulate, x, h=1e-2)))


if __name__ == "__main__":  # the workers import this file
    main()
