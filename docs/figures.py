"""Draw every figure and write every table of the README and of docs anew: ``python docs/figures.py [NAME ...]``.

A table is written between the lines ``<!-- table: NAME -->`` and ``<!-- end -->`` of the README and of the pages of
docs. The names are descent, profile (figures), peers, scaling and speed (tables). All take four minutes. Run
them on an idle machine, with the extra `bench` installed. BLAS has one thread: on a shared machine, two wait for each
other.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import re
import sys
import tempfile
import timeit
from functools import partial
from pathlib import Path

import numpy as np
import scaling
from numba import njit

from numgrad import TwoLayerNet, function_2, gradient_descent, numerical_gradient, reference, simpleNet, train
from numgrad.__main__ import main as numgrad_command
from numgrad.commands.demo import load_digits
from numgrad.commands.subjects import Layer
from numgrad.display import DURATIONS, with_unit

DOCS = Path(__file__).parent
SHAPES = ["64x10", "784x10", "300x300", "1000x1000", "2000x2000"]
SAMPLE, ROUNDS = 0.001, 101  # seconds that a sample lasts at least; alternating pairs of samples


def descent():
    """Draw the three learning rates as the demo does."""
    with tempfile.TemporaryDirectory() as folder:
        numgrad_command(["demo", "--iterations", "1", "--figures", folder])
        (DOCS / "descent.png").write_bytes((Path(folder) / "descent.png").read_bytes())


def profile():
    """Draw the time of a gradient against the number of weights."""
    numgrad_command(["profile", "--shape", *SHAPES, "--batch", "128", "--peers", "--plot", str(DOCS / "profile.png")])


def fastest(slow, fast):
    """Return the least seconds of a call of both sides, of samples that alternate: a busy machine spoils it least."""
    counts = [max(1, round(SAMPLE / min(timeit.repeat(side, number=1, repeat=3)))) for side in (slow, fast)]
    pairs = [[timeit.timeit(s, number=n) / n for s, n in zip((slow, fast), counts, strict=True)] for _ in range(ROUNDS)]
    return [min(column) for column in zip(*pairs, strict=True)]


def numpy_sum(x):
    """Return a sum of squares."""
    return np.sum(x**2)


def sum_of_squares(x):
    """Return a sum of squares, as numba likes it."""
    total = 0.0
    for value in x:
        total += value * value
    return total


def layer_row(features, classes, batch):
    """Return the seconds of the gradient of a layer: by the reference, projected from one loss, and by numgrad."""
    case = Layer(features, classes, batch)
    twin, objective = reference.SimpleNet((1, 1)), case.net.objective(case.x, case.t)
    twin.W = case.net.W
    loss, ours = fastest(partial(twin.loss, case.x, case.t), partial(numerical_gradient, objective, case.net.W))
    return 2 * twin.W.size * loss, ours


def training_row(iterations=1400):
    """Return the seconds of the training that ends the demo: by the book's loop, projected from one loss, and ours."""
    digits, test_digits = load_digits()
    net, batch = TwoLayerNet(64, 50, 10, rng=0), tuple(part[:100] for part in digits)
    loss = min(timeit.repeat(lambda: net.loss(*batch), number=10, repeat=ROUNDS)) / 10
    ours = timeit.timeit(lambda: train(net, *digits, *test_digits, iterations=iterations, lr=1.0, rng=0), number=1)
    return 2 * net.flat.size * iterations * loss, ours


def speed():
    """Return the lines of the table of speed."""
    two, hundred = np.array([3.0, 4.0]), np.random.default_rng(0).uniform(-1, 1, 100)
    compiled_2, compiled_sum = njit()(function_2), njit()(sum_of_squares)
    net, twin, x, t = simpleNet(rng=0), reference.SimpleNet(), np.array([0.6, 0.9]), np.array([0, 0, 1])
    twin.W = net.W.copy()
    slow, start = reference.numerical_gradient, np.array([-3.0, 4.0])
    rows = {
        "gradient of a sum of squares, n = 100, compiled f": fastest(
            lambda: slow(numpy_sum, hundred), lambda: numerical_gradient(compiled_sum, hundred)
        ),
        "gradient of `function_2`, n = 2, compiled f": fastest(
            lambda: slow(function_2, two), lambda: numerical_gradient(compiled_2, two)
        ),
        "100 iterations of gradient descent, n = 2, compiled f": fastest(
            lambda: reference.gradient_descent(function_2, start.copy(), 0.1, 100),
            lambda: gradient_descent(compiled_2, start.copy(), 0.1, 100),
        ),
        "`lambda w: net.loss(x, t)`, 2 x 3, unchanged": fastest(
            lambda: slow(lambda _: twin.loss(x, t), twin.W),
            lambda: numerical_gradient(lambda _: net.loss(x, t), net.W),
        ),
        "every weight of a 784 x 10 layer, batch 128": layer_row(784, 10, 128),
        "every weight of a 1000 x 1000 layer, batch 128": layer_row(1000, 1000, 128),
        "training a net of 64-50-10 on digits, 1,400 iterations": training_row(),
        "gradient of `function_2`, n = 2, Python f": fastest(
            lambda: slow(function_2, two), lambda: numerical_gradient(function_2, two)
        ),
    }
    lines = ["| against the plain NumPy reference | reference | numgrad | faster |", "|---|---|---|---|"]
    for name, (base, ours) in rows.items():
        ratio = f"{float(f'{base / ours:.2g}'):,g}x"
        projected = ", projected" if "layer" in name or "training" in name else ""
        shown = ratio if base > ours else f"**{ratio}**"
        lines.append(f"| {name} | {with_unit(base, DURATIONS)}{projected} | {with_unit(ours, DURATIONS)} | {shown} |")
    return lines


def peers():
    """Return the lines of the table of peers: the routes of the benchmarks, each beside numgrad's for the same f."""
    sys.path.insert(0, str(DOCS.parent / "benchmarks"))
    import bench_estimates
    import bench_peers

    def row(name, peer, slow, fast):
        base, ours = fastest(slow, fast)
        errors = [float(np.max(np.abs(side() - bench_estimates.EXACT))) for side in (slow, fast)]
        ratios = [float(f"{ratio:.2g}") for ratio in (base / ours, errors[0] / errors[1])]
        faster, larger = (f"{ratio:,g}x" if ratio >= 1 else f"**{ratio:,g}x**" for ratio in ratios)
        return f"| {name} | `{peer}` | {faster} | {larger} |"

    lines = ["| numgrad, n = 100 | peer | faster | the peer's error / numgrad's |", "|---|---|---|---|"]
    for kind, f in (("NumPy f", bench_peers.numpy_f), ("compiled f", bench_peers.compiled_f)):
        peer, name = "scipy.optimize.approx_fprime", f"`numerical_gradient`, forward, {kind}"
        sides = (bench_peers.ROUTES[route](f, bench_estimates.X) for route in (peer, "numgrad, forward"))
        lines.append(row(name, peer, *sides))
    f, (ours, *routes) = bench_peers.compiled_f, bench_estimates.ROUTES.values()
    names = ("scipy.differentiate.jacobian", "numdifftools.Gradient", "jacobi.jacobi")
    for peer, route in zip(names, routes, strict=True):
        lines.append(row("`estimate_gradient`, compiled f", peer, route(f), ours(f)))
    return lines


FIGURES = {"descent": descent, "profile": profile}
TABLES = {"peers": peers, "scaling": scaling.table, "speed": speed}


def write_table(name, lines):
    """Write a table wherever a file has a place for it, and print it."""
    print("\n".join(lines))
    place = re.compile(rf"(<!-- table: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    for path in (DOCS.parent / "README.md", *DOCS.rglob("*.md")):
        text = path.read_text()
        changed = place.sub(lambda found: found[1] + "\n".join(["", *lines, "", ""]) + found[2], text)
        if changed != text:
            path.write_text(changed)


def main(names):
    """Draw and write what was named, or all."""
    for name in names or [*FIGURES, *TABLES]:
        if name in FIGURES:
            FIGURES[name]()
        elif name in TABLES:
            write_table(name, TABLES[name]())
        else:
            sys.exit(f"no figure or table is called {name}: {', '.join([*FIGURES, *TABLES])}")


if __name__ == "__main__":
    main(sys.argv[1:])
