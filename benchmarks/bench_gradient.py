"""The gradient of a sum of squares, by every route, against the reference, its own evaluations, and C.

What bounds them: at n = 2 the entry into compiled code and two small arrays; from n = 100 on the additions of f, one
after the other, since a strict sum may not be reordered; in Python the call of f.
"""

import ctypes
import os
import shutil
import subprocess
import tracemalloc

import numpy as np
import pytest
from numba import njit

from numgrad import function_2, numerical_gradient, reference

H = 1e-4


def numpy_sum(x):
    return np.sum(x**2)


@njit()
def compiled_sum(x):
    total = 0.0
    for value in x:
        total += value * value
    return total


compiled_2 = njit()(function_2)

ROUTES = {
    "numgrad, compiled f": lambda x: numerical_gradient(compiled_sum, x),
    "numgrad, NumPy f": lambda x: numerical_gradient(numpy_sum, x),
    "reference, NumPy f": lambda x: reference.numerical_gradient(numpy_sum, x),
    "reference, compiled f": lambda x: reference.numerical_gradient(compiled_sum, x),
}


def point(n):
    return np.random.default_rng(0).uniform(-1, 1, n)


def bound(n):
    """Return the round-off of a sum of n squares below 1.0003, n roundings of n/2 at most, over h."""
    return 2.0**-52 * n * (n / 2 + 1) / H


def cases():
    for n in (2, 100, 1000, 5000):
        for route in ROUTES:
            yield pytest.param(n, route, marks=pytest.mark.benchmark(group=f"gradient, n = {n}"))


@pytest.mark.parametrize(("n", "route"), list(cases()))
def test_gradient(benchmark, exact, n, route):
    x, gradient = point(n), ROUTES[route]
    gradient(x)  # compile
    if n == 5000 and route != "numgrad, compiled f":
        result = benchmark.pedantic(gradient, (x,), rounds=3)
    else:
        result = benchmark(gradient, x)
    exact(result, 2 * x, bound(n))


@pytest.mark.benchmark(group="gradient, n = 2, of function_2")
def test_function_2_through_the_public_call(benchmark, promise, exact, table):
    x = np.array([3.0, 4.0])
    numerical_gradient(compiled_2, x)
    exact(benchmark(numerical_gradient, compiled_2, x), 2 * x, bound(50))
    promise(
        "compiled function_2, gradient, n = 2, against the reference",
        lambda: reference.numerical_gradient(function_2, x),
        lambda: numerical_gradient(compiled_2, x),
        at_least=1.0,
    )
    if not benchmark.disabled:
        table("  the same, a call (aim: 1.5 us)", 1e6 * benchmark.stats.stats.median, "us")


@pytest.mark.benchmark(group="gradient, n = 2, of function_2")
def test_function_2_as_plain_python(benchmark, promise, exact):
    x = np.array([3.0, 4.0])
    exact(benchmark(numerical_gradient, function_2, x), 2 * x, bound(50))
    promise(
        "Python function_2, gradient, n = 2, against the reference (plain NumPy wins)",
        lambda: reference.numerical_gradient(function_2, x),
        lambda: numerical_gradient(function_2, x),
    )


@pytest.mark.benchmark(group="gradient, n = 100, targets")
def test_compiled_against_the_reference(benchmark, promise, exact):
    x = point(100)
    exact(benchmark(numerical_gradient, compiled_sum, x), 2 * x, bound(100))
    promise(
        "compiled sum of squares, gradient, n = 100, against the reference with NumPy f",
        lambda: reference.numerical_gradient(numpy_sum, x),
        lambda: numerical_gradient(compiled_sum, x),
        at_least=20,
    )
    promise(
        "  the same, against the reference with the compiled f",
        lambda: reference.numerical_gradient(compiled_sum, x),
        lambda: numerical_gradient(compiled_sum, x),
    )


@pytest.mark.benchmark(group="gradient, n = 1000, targets")
def test_python_f_against_its_bare_calls(benchmark, promise, exact):
    x = point(1000)

    def bare():
        for _ in range(2 * x.size):
            numpy_sum(x)

    exact(benchmark(numerical_gradient, numpy_sum, x), 2 * x, bound(1000))
    promise(
        "Python f, gradient, n = 1000, against its bare 2n calls: times as long",
        bare,
        lambda: numerical_gradient(numpy_sum, x),
        inverse=True,
        at_most=1.15,
    )


def test_python_f_by_forward_differences(benchmark, promise, exact):
    x = point(1000)

    def bare():
        for _ in range(x.size + 1):
            numpy_sum(x)

    exact(benchmark(numerical_gradient, numpy_sum, x, scheme="forward"), 2 * x, 1.1e-4)
    promise(
        "Python f, forward differences, n = 1000, against its bare n + 1 calls: times as long",
        bare,
        lambda: numerical_gradient(numpy_sum, x, scheme="forward"),
        inverse=True,
        at_most=1.25,
    )


C_LOOP = r"""
static double f(const double *x, long n) {
    double total = 0.0;
    for (long i = 0; i < n; i++) total += x[i] * x[i];
    return total;
}
void gradient(double *x, long n, double h, double *out) {
    for (long i = 0; i < n; i++) {
        double value = x[i];
        x[i] = value + h;
        double plus = f(x, n);
        x[i] = value - h;
        double minus = f(x, n);
        x[i] = value;
        out[i] = (plus - minus) / (2 * h);
    }
}
"""


@pytest.fixture
def c_gradient(tmp_path):
    if not shutil.which("gcc"):
        pytest.skip("there is no gcc to compare with")
    (tmp_path / "loop.c").write_text(C_LOOP)
    flags = ["-O3", "-march=native", "-shared", "-fPIC"]
    subprocess.run(["gcc", *flags, "-o", tmp_path / "loop.so", tmp_path / "loop.c"], check=True)
    function = ctypes.CDLL(str(tmp_path / "loop.so")).gradient
    floats = np.ctypeslib.ndpointer(np.float64)
    function.argtypes, function.restype = [floats, ctypes.c_long, ctypes.c_double, floats], None

    def gradient(x):
        x, out = x.copy(), np.empty_like(x)
        function(x, x.size, H, out)
        return out

    return gradient


@pytest.mark.benchmark(group="gradient, n = 2000, against C")
def test_compiled_against_c(benchmark, promise, exact, c_gradient):
    x = point(2000)
    exact(c_gradient(x), 2 * x, bound(2000))
    exact(benchmark(numerical_gradient, compiled_sum, x), 2 * x, bound(2000))
    promise(
        "compiled loop, n = 2000, against C (gcc -O3 -march=native): times as long",
        lambda: c_gradient(x),
        lambda: numerical_gradient(compiled_sum, x),
        inverse=True,
        at_most=1.1,
    )


@pytest.mark.benchmark(group="gradient, n = 2000, against C")
def test_c(benchmark, exact, c_gradient):
    x = point(2000)
    exact(benchmark(c_gradient, x), 2 * x, bound(2000))


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="takes two cores")
@pytest.mark.benchmark(group="gradient, n = 5000, threads")
def test_two_threads(benchmark, promise, exact):
    x = point(5000)
    result = benchmark.pedantic(numerical_gradient, (compiled_sum, x), {"workers": 2}, rounds=5, warmup_rounds=1)
    exact(result, 2 * x, bound(5000))
    promise(
        "two threads against one, n = 5000 (on two idle cores)",
        lambda: numerical_gradient(compiled_sum, x),
        lambda: numerical_gradient(compiled_sum, x, workers=2),
        at_least=1.8,
    )


@pytest.mark.benchmark(group="gradient, memory")
@pytest.mark.parametrize("workers", [1, 2])
def test_peak_memory(benchmark, table, workers):
    x = np.zeros(100_000)

    @njit()
    def first(x):  # enough work for threads to be started
        total = 0.0
        for i in range(100):
            total += x[i]
        return total

    numerical_gradient(first, x, workers=workers)
    tracemalloc.start()
    gradient = numerical_gradient(first, x, workers=workers)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (gradient[:100] == 1.0).all()
    assert not gradient[100:].any()
    benchmark.extra_info["peak_bytes"] = peak
    benchmark(numerical_gradient, first, x, workers=workers)
    table(
        f"peak memory of a warm call, {workers} thread(s), in sizes of x: the result and a copy a thread",
        peak / x.nbytes,
        at_most=1 + workers + 0.05,
    )
