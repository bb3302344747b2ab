"""Ray's pool as an engine, in a process of its own: the bits of one process, exceptions, a worker that dies."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("ray")

SCRIPT = """
import os
import numpy as np
import ray
from ray.util.multiprocessing import Pool
from numgrad import numerical_gradient, numerical_jacobian

x, third = np.linspace(-1.0, 1.0, 12), float(np.linspace(-1.0, 1.0, 12)[3])
f, outputs = lambda x: float(np.sum(np.sin(x) * x)), lambda x: x[0] * x


def raises(y):
    if y[3] != third:
        raise ValueError("not here")
    return float(y.sum())


def dies(y):
    if y[3] != third:
        os._exit(1)
    return float(y.sum())


ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
with Pool(2) as pool:
    assert numerical_gradient(f, x, workers=pool.map).tobytes() == numerical_gradient(f, x).tobytes()
    assert np.array_equal(numerical_jacobian(outputs, x, workers=pool.map), numerical_jacobian(outputs, x))
    try:
        numerical_gradient(raises, x, workers=pool.map)
    except ValueError as error:
        print(error, *error.__notes__)
    out = np.empty(12)
    try:
        numerical_gradient(dies, x, workers=pool.map, out=out)
    except ray.exceptions.RayError as error:
        print(type(error).__name__, np.isnan(out[3]))
"""


def test_ray_maps_over_the_coordinates():
    environment = os.environ | {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
    assert [line for line in done.stdout.splitlines() if "raylet" not in line] == [  # it reports the death there
        "not here raised for coordinate 3 of x (flat, in C order)",
        "ActorDiedError True",
    ], done.stderr[-2000:]
