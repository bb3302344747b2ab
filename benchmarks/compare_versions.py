"""Compare two versions of the package side by side: ``python benchmarks/compare_versions.py --base REVISION``.

Both versions are copied under names of their own (`numgrad_base`, `numgrad_new`) and run in this one process. Each case
is a call on either side, with a compiled function of its own. The results must agree, to the last bit where the default
scheme differences an f that both sides share. Then samples of the sides alternate, so that a slow moment hits both.

A row shows the case, the median time of a call of the base and of the new version, the ratio new / base with its lower
and upper quartile, the target, and the verdict. Below 1 the new version is faster. The ratio is the median over pairs
of neighbouring samples. The verdict is "ok" where the ratio, as printed, is within the target, "MISSED" where three
quarters of the pairs are beyond it, and "unclear" between the two, where noise may be the cause: repeat such a case,
``--only "2 threads" --seconds 20``. Only "MISSED" is counted. ``--base HEAD`` shows what noise alone does.

Processes are left out: version 0.1 leaves joblib unusable for the rest of its process; see bench_distribution.py.
"""
# ruff: noqa: T201, a script prints

import argparse
import gc
import importlib
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import timeit
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numba import njit

REPOSITORY = Path(__file__).parents[1]
SAMPLE = 0.002  # seconds that a sample lasts at least, so that the clock and its call do not count

Side = Callable[[], Any]
Make = Callable[[ModuleType], Side]


@dataclass(frozen=True)
class Case:
    """A call that both versions can do, and the ratio new / base that it may have at most."""

    name: str
    make: Make  # of a version of the package: the call
    target: float = 1.03  # no slower, but for noise
    exact: bool = False  # the results must agree to the last bit
    pairs: int = 41  # of samples, at least
    own_clock: bool = False  # the call returns the seconds that it took


def call(name: str, f: Any, *arguments: Any, jit: bool = False, **options: Any) -> Make:
    """Return what makes ``package.name(f, ...)``; `f` may be the name of a function of the package."""

    def make(package: ModuleType) -> Side:
        function = getattr(package, f) if isinstance(f, str) else f
        return partial(getattr(package, name), njit()(function) if jit else function, *arguments, **options)

    return make


def descent(f: Any, start: Any, step_num: int, *, jit: bool = False, **options: Any) -> Make:
    """Return what makes a gradient descent from a copy of `start`."""

    def make(package: ModuleType) -> Side:
        descend = call("gradient_descent", f, jit=jit)(package)
        return lambda: descend(start.copy(), 0.1, step_num, **options)

    return make


def small_net(package: ModuleType) -> Side:
    net, x, t = package.simpleNet(rng=0), np.array([0.6, 0.9]), np.array([0, 0, 1])
    return lambda: package.numerical_gradient(lambda w: net.loss(x, t), net.W)


def digits_net(package: ModuleType) -> Side:
    net, x = package.simpleNet((784, 10), rng=0), np.random.default_rng(0).uniform(0, 1, (100, 784))
    return partial(net.numerical_gradient, x, np.arange(100) % 10)


def large_net(package: ModuleType, workers: int) -> Side:
    net, x = package.simpleNet((1000, 1000), rng=0), np.random.default_rng(0).uniform(0, 0.1, (128, 1000))
    return partial(package.numerical_gradient, net.objective(x, np.arange(128)), net.W, workers=workers)


def fresh_import(package: ModuleType) -> Side:
    name, folder = package.__name__, str(Path(package.__file__).parents[1])
    code = f"import numpy, time; began = time.perf_counter(); import {name}; print(time.perf_counter() - began)"
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment = kept | {"PYTHONPATH": folder, "OPENBLAS_NUM_THREADS": "1"}  # else starting threads is the noise
    return lambda: float(subprocess.check_output([sys.executable, "-c", code], env=environment))


def loop(x):
    total = 0.0
    for value in x:
        total += value * value
    return total


def squares(x):
    return np.sum(x**2)


def squares_of_pair(x):
    return x[0] * x[0] + x[1] * x[1]


def cases() -> list[Case]:
    """Return all cases."""
    exact, rng, pair = partial(Case, exact=True), np.random.default_rng(0), squares_of_pair
    grad, check = partial(call, "numerical_gradient"), partial(call, "check_gradient")
    diff, derivative = partial(call, "numerical_diff", lambda x: x**2 + x), partial(call, "estimate_derivative")
    two, start = np.array([3.0, 4.0]), np.array([-3.0, 4.0])
    x = {n: rng.uniform(-1, 1, n) for n in (20, 40, 50, 100, 1000, 5000)}
    table, strided = rng.uniform(-1, 1, (10, 20)), rng.uniform(-1, 1, 200)[::2]
    params, slopes = {"W": table, "b": x[20]}, {"W": 2 * table, "b": 2 * x[20]}
    forward, central4, auto = {"scheme": "forward"}, {"scheme": "central4"}, {"h": "auto"}
    small = {name: {"scheme": name} for name in ("forward", "backward", "central4", "central6", "complex")}
    small |= {"h=auto": auto, "h=array": {"h": np.array([1e-4, 1e-3])}, "bounds": {"bounds": (0.0, 10.0)}}
    # Of squares below 0.01 in a sum of 33, rounding hid digits of an automatic derivative: it takes longer steps now.
    large = np.copysign(np.abs(x[100]) + 0.1, x[100])
    larger = {"forward": forward, "central4": central4, "h=auto": auto, "bounds": {"bounds": (-10.0, 10.0)}}
    elementwise = {"default": {}, "central4": central4, "h=auto": auto, "complex": {"scheme": "complex"}}
    return [
        exact("compiled function_2, n = 2", grad("function_2", two, jit=True), 0.85),
        exact("compiled function_2, 100 descent iterations", descent("function_2", start, 100, jit=True), 0.9),
        exact("Python function_2, n = 2", grad("function_2", two), 0.9),
        exact("compiled, n = 2, coordinates=[0]", grad(pair, two, jit=True, coordinates=[0]), 0.7),
        *(Case(f"compiled, n = 2, {name}", grad(pair, two, jit=True, **o), 0.7) for name, o in small.items()),
        *(exact(f"compiled, n = {n}", grad(loop, x[n], jit=True)) for n in (100, 1000, 5000)),
        exact("compiled, n = 5000, 2 threads", grad(loop, x[5000], jit=True, workers=2)),
        exact("compiled, n = 100, args", grad(lambda x, c: np.sum((x - c) ** 2), x[100], jit=True, args=(x[100] + 1,))),
        exact("compiled, n = 100, out=", grad(loop, x[100], jit=True, out=np.empty(100))),
        exact("compiled, 10 x 20, C order", grad(squares, table, jit=True)),
        exact("compiled, 10 x 20, F order", grad(squares, np.asfortranarray(table), jit=True)),
        exact("Python, n = 100", grad(squares, x[100])),
        exact("Python, n = 1000", grad(squares, x[1000])),
        exact("Python, n = 100, float32", grad(squares, x[100].astype(np.float32))),
        exact("Python, n = 100, not contiguous", grad(squares, strided)),
        exact("Python, n = 100, args", grad(lambda x, c: np.sum((x - c) ** 2), x[100], args=(x[100] + 1,))),
        *(Case(f"Python, n = 100, {name}", grad(squares, large, **o)) for name, o in larger.items()),
        exact("vectorized, n = 100", grad(lambda x: np.sum(x**2, axis=1), x[100], vectorized=True)),
        exact("vectorized, n = 1000", grad(lambda x: np.sum(x**2, axis=1), x[1000], vectorized=True)),
        *(Case(f"numerical_diff, scalar, {name}", diff(5.0, **o), exact=not o) for name, o in elementwise.items()),
        *(Case(f"numerical_diff, array, {name}", diff(x[100], **o), exact=not o) for name, o in elementwise.items()),
        Case("lambda w: net.loss(x, t), 2 x 3", small_net),
        Case("simpleNet, 784 x 10, batch 100", digits_net),
        Case("net.objective, 1000 x 1000, batch 128", partial(large_net, workers=1)),
        Case("net.objective, 1000 x 1000, batch 128, 2 threads", partial(large_net, workers=2), pairs=101),
        exact("descent, compiled, n = 1000, 10 iterations", descent(loop, x[1000], 10, jit=True)),
        exact("descent, Python, n = 2, 10 iterations", descent(pair, start, 10)),
        exact("descent, compiled, callback", descent(pair, start, 100, jit=True, callback=lambda k, x: None)),
        exact("descent_path, compiled", call("descent_path", pair, start, 0.1, 100, jit=True)),
        Case("estimate_derivative, Python", derivative(math.exp, 0.5)),
        Case("estimate_derivative, compiled", derivative(lambda x: math.exp(x), 0.5, jit=True)),
        Case("estimate_gradient, Python, n = 20", call("estimate_gradient", squares, x[20])),
        Case("estimate_gradient, compiled, n = 100", call("estimate_gradient", loop, x[100], jit=True)),
        Case("check_gradient, Python, n = 50", check(squares, lambda x: 2 * x, x[50])),
        Case("check_gradient, compiled, n = 100", check(loop, 2 * x[100], x[100], jit=True)),
        Case("check_gradient, dict of arrays", check(lambda p: squares(p["W"]) + squares(p["b"]), slopes, params)),
        Case("check_gradient, n = 50, directions=5", check(squares, 2 * x[50], x[50], directions=5, rng=0)),
        Case("check_gradient, n = 50, fails", check(squares, -2 * x[50], x[50])),
        exact("first call, which compiles", lambda p: lambda: p.numerical_gradient(njit()(loop), two), pairs=15),
        Case("import, beyond that of numpy", fresh_import, 1.0, pairs=101, own_clock=True),
    ]


def numbers(result: Any) -> np.ndarray:
    """Return what two versions must agree in: a gradient, the value of an estimate, the verdict of a check."""
    if hasattr(result, "max_relative_error"):
        return np.array([result.ok, result.checked, result.total])
    return np.array(getattr(result, "value", result))


def compare(case: Case, packages: list[ModuleType], seconds: float) -> tuple[list[float], list[float]]:
    """Return the median seconds of a call of both sides, and the quartiles of the ratio; results must agree."""
    sides = [case.make(package) for package in packages]
    base, new = (numbers(side()) for side in sides)
    if case.exact:
        assert (base.dtype, base.shape, base.tobytes()) == (new.dtype, new.shape, new.tobytes()), "results differ"
    elif not case.own_clock:
        np.testing.assert_allclose(new, base, rtol=1e-7, atol=1e-9)
    gc.collect()
    number = math.ceil(SAMPLE / min(timeit.timeit(side, number=1) for side in sides for _ in range(3)))
    rows, began = [], time.perf_counter()
    while len(rows) < case.pairs or time.perf_counter() - began < seconds:
        row = [0.0, 0.0]
        for i in (0, 1) if len(rows) % 2 else (1, 0):
            row[i] = sides[i]() if case.own_clock else timeit.timeit(sides[i], number=number) / number
        rows.append(row)
    ratios = statistics.quantiles([new / base for base, new in rows], n=4)
    return [statistics.median(column) for column in zip(*rows, strict=True)], ratios


def verdict_of(case: Case, low: float, ratio: float) -> str:
    """Return the verdict on the ratio new / base and its lower quartile."""
    if round(ratio, 2) <= case.target:
        return "ok"
    return "MISSED" if low > case.target else "unclear"


def load(folder: Path, name: str, path: Path | None, revision: str = "") -> ModuleType:
    """Return the package in `path`, or of a git revision, copied into `folder` and imported under another name."""
    if path is None:
        path, packed = folder / "revision", folder / "revision.zip"
        subprocess.run(["git", "-C", REPOSITORY, "archive", "--output", packed, revision, "numgrad"], check=True)
        shutil.unpack_archive(packed, path)
    shutil.copytree(path / "numgrad", folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return importlib.import_module(name)


def main() -> int:
    """Print the table; return 1 if a target was missed and that counts."""
    parser = argparse.ArgumentParser(description="Compare two versions of the package in one process.")
    parser.add_argument("--base", default="15969bc", help="git revision to compare with (default: version 0.1)")
    parser.add_argument("--base-path", type=Path, help="folder that holds its numgrad folder, instead of a revision")
    parser.add_argument("--path", type=Path, default=REPOSITORY, help="the same of the new version (default: this one)")
    parser.add_argument("--seconds", type=float, default=2.0, help="budget of a case (default: 2)")
    parser.add_argument("--only", default="", help="the cases whose names contain this")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a target is missed")
    options, missed = parser.parse_args(), 0
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        sys.path.insert(0, name)
        base = load(Path(name), "numgrad_base", options.base_path, options.base)
        packages = [base, load(Path(name), "numgrad_new", options.path)]
        print(f"{'case':48} {'base, us':>10} {'new, us':>10}  ratio  quartiles    target")
        for case in (case for case in cases() if options.only in case.name):
            try:
                times, (low, ratio, high) = compare(case, packages, options.seconds)
            except Exception as error:  # noqa: BLE001, the other cases still count
                missed += 1
                print(f"{case.name:48} FAILED: {type(error).__name__}: {' '.join(str(error).split())}", flush=True)
                continue
            verdict = verdict_of(case, low, ratio)
            missed += verdict == "MISSED"
            measured = f"{1e6 * times[0]:10.2f} {1e6 * times[1]:10.2f}  {ratio:5.2f}  {low:.2f} - {high:.2f}"
            print(f"{case.name:48} {measured}  <= {case.target:.2f}  {verdict}", flush=True)
    assert "numgrad" not in sys.modules, "a version imports numgrad by its name, and not relative to itself"
    print(f"{missed} missed")
    return int(options.strict and missed > 0)


if __name__ == "__main__":
    sys.exit(main())
