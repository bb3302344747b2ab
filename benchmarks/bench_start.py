"""What is paid once: the import, and the first call with a function, which compiles the loop around it."""

import os
import statistics
import subprocess
import sys

import numpy as np
import pytest
from numba import njit

from numgrad import gradient_descent, numerical_gradient

IMPORT = """
import numpy, time
began = time.perf_counter()
import numgrad
print(time.perf_counter() - began)
"""


def run(code, **environment):
    """Run `code` in a new process, with bytecode cached as pip leaves it for an installed package."""
    settings = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | environment
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=settings).stdout


@pytest.mark.benchmark(group="start of a process")
@pytest.mark.parametrize("code", ["pass", "import numpy", "import numpy, numgrad", "import numpy, numba"])
def test_start(benchmark, code):
    assert run(code) == ""
    benchmark.pedantic(run, (code,), rounds=5)


@pytest.mark.benchmark(group="start of a process")
def test_import(benchmark, table, tmp_path):
    cached = {"PYTHONPYCACHEPREFIX": str(tmp_path / "kept")}
    fresh = {"PYTHONPYCACHEPREFIX": str(tmp_path / "none"), "PYTHONDONTWRITEBYTECODE": "1"}
    assert float(run(IMPORT, **cached)) > 0
    benchmark.pedantic(run, (IMPORT,), cached, rounds=5)
    for what, environment, most in (("", cached, 30), (", its source compiled anew", fresh, None)):
        rounds = 1 if benchmark.disabled else 9 if most else 3
        seconds = statistics.median(float(run(IMPORT, **environment)) for _ in range(rounds))
        table(f"import numgrad, beyond import numpy{what}", 1e3 * seconds, "ms", at_most=most)


def new_function():
    def sum_of_squares(x):
        total = 0.0
        for value in x:
            total += value * value
        return total

    return (njit()(sum_of_squares),), {}


@pytest.mark.benchmark(group="first call with a function, which compiles it and the loop")
@pytest.mark.parametrize("driver", [numerical_gradient, gradient_descent])
def test_first_call(benchmark, driver):
    x = np.array([1.0, 2.0])
    numerical_gradient(*new_function()[0], x)  # the rest of numba's start is not the function's
    result = benchmark.pedantic(lambda f: driver(f, x.copy()), setup=new_function, rounds=3)
    assert result.shape == (2,)
    assert (np.abs(result - (2 * x if driver is numerical_gradient else x * 0.98**100)) < 1e-6).all()
