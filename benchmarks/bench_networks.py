"""Nets: all central differences of all weights, against the plain loop, and against backpropagation as a floor.

What bounds them: `4 x columns` evaluations of what follows a layer, in NumPy: the exponentials of a softmax for each,
and some fifteen calls a group of columns. The plain loop is compared at 500 of its coordinates, and projected from 100
of them. BLAS runs on one thread, for both sides: with two, half of these small products wait for the second.
"""

import timeit
import tracemalloc

import numpy as np
import pytest

from numgrad import (
    LayerObjective,
    MultiLayerNet,
    TwoLayerNet,
    check_gradient,
    numerical_gradient,
    relu,
    sigmoid,
    softmax,
)
from numgrad.commands.subjects import Layer

SAMPLE, TIMED = 500, 100
NETS = {
    "784-50-10": (lambda: TwoLayerNet(784, 50, 10, rng=0), sigmoid, 3000, 1800),
    "784-256-128-10, ReLU": (lambda: MultiLayerNet(784, [256, 128], 10, rng=0), relu, 5000, 1500),
}


@pytest.fixture(autouse=True)
def one_blas_thread():
    limits = pytest.importorskip("threadpoolctl").threadpool_limits
    with limits(1):
        yield


def digits(batch=100):
    rng = np.random.default_rng(0)
    return rng.uniform(0, 1, (batch, 784)), rng.integers(0, 10, batch)


def plain_loop(net, x, t, coordinates):
    return numerical_gradient(lambda _: net.loss(x, t), net.flat, coordinates=coordinates)


def layers_of(net, x, t, act, count):
    """Return the layers of a net as objectives of one's own rows, and their weights; `count` adds up the samples."""
    depth, found = len(net.params) // 2, []
    for k in range(1, depth + 1):

        def rows(z, t, k=k):
            count[0] += len(z)
            for i in range(k + 1, depth + 1):
                z = act(z) @ net.params[f"W{i}"] + net.params[f"b{i}"]
            return -np.log(softmax(z)[np.arange(len(z)), t] + 1e-7)

        weights = np.vstack([net.params[f"W{k}"], net.params[f"b{k}"]])
        found.append((LayerObjective(x, rows, (t,), bias=True), weights))
        x = act(x @ weights[:-1] + weights[-1])
    return found


def joined(slopes):
    return np.concatenate([array.ravel() for array in slopes.values()])


def ratio(slow, fast, repeats):
    """Return the median time of both, in turn, and their ratio."""
    fast()
    times = [(timeit.timeit(slow, number=1), timeit.timeit(fast, number=3) / 3) for _ in range(repeats)]
    return np.median([a / b for a, b in times])


@pytest.mark.parametrize("case", NETS)
def test_all_weights_against_the_plain_loop(benchmark, table, case):
    make, act, least, least_of_rows = NETS[case]
    net, (x, t), count = make(), digits(), [0]
    chosen = np.random.default_rng(1).choice(net.flat.size, SAMPLE, replace=False)
    found, expected = joined(net.numerical_gradient(x, t)), plain_loop(net, x, t, chosen)
    assert np.abs(found[chosen] - expected).max() <= 64 * 2.0**-52 * 10 / 1e-4
    layers = layers_of(net, x, t, act, count)

    def by_rows():
        return [numerical_gradient(f, weights) for f, weights in layers]

    rows = np.concatenate([part.ravel() for part in by_rows()])
    assert np.abs(np.sort(rows) - np.sort(found)).max() <= 64 * 2.0**-52 * 10 / 1e-4
    count[0] = 0
    by_rows()
    passes, columns = count[0] / len(x), sum(weights.shape[1] for _, weights in layers)
    assert passes <= 6 * columns
    benchmark.pedantic(lambda: net.numerical_gradient(x, t), rounds=3, warmup_rounds=1)
    if benchmark.disabled:
        return
    plain, scale = (lambda: plain_loop(net, x, t, chosen[:TIMED])), net.flat.size / TIMED
    table(f"{case}, {net.flat.size:,} weights, against the plain loop (projected)",
          scale * ratio(plain, lambda: net.numerical_gradient(x, t), 5), at_least=least)  # fmt: skip
    table(f"{case}, through NumPy rows of one's own", scale * ratio(plain, by_rows, 5), at_least=least_of_rows)
    table(f"{case}, forward passes a column, h = 1e-4", passes / columns, unit="", at_most=6)
    floor = ratio(lambda: net.numerical_gradient(x, t), lambda: net.gradient(x, t), 5)
    table(f"{case}, against the net's backpropagation: times as long", floor)
    against_torch(table, case, net, x, t, act)


def against_torch(table, case, net, x, t, act):
    """Add torch's backpropagation as a floor, if it is installed."""
    try:
        import torch
    except ImportError:
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    params = {key: torch.tensor(array, requires_grad=True) for key, array in net.params.items()}
    inputs, labels = torch.tensor(x), torch.tensor(t)
    activation = torch.sigmoid if act is sigmoid else torch.relu

    def backprop():
        z = inputs
        for k in range(1, len(params) // 2 + 1):
            z = (z if k == 1 else activation(z)) @ params[f"W{k}"] + params[f"b{k}"]
        loss = torch.nn.functional.cross_entropy(z, labels)
        return torch.autograd.grad(loss, list(params.values()))

    # Without the offset 1e-7 of the book's logarithm, which counts for 1e-7 / p.
    exact = np.concatenate([part.numpy().ravel() for part in backprop()])
    assert np.abs(joined(net.gradient(x, t)) - exact).max() <= 1e-2
    table(
        f"{case}, against torch's backpropagation: times as long",
        ratio(lambda: net.numerical_gradient(x, t), backprop, 5),
    )
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("shape", "most"), [((784, 10, 100), 2), ((1000, 1000, 128), 1.5), ((4096, 1000, 128), 1.5)], ids=str
)
def test_the_softmax_layer_against_a_backpropagation(benchmark, promise, exact, shape, most):
    case = Layer(*shape)
    gradient = benchmark.pedantic(lambda: case.net.numerical_gradient(case.x, case.t), rounds=5, warmup_rounds=1)
    exact(gradient, case.exact(), 1e-8)
    promise(
        f"simpleNet {shape[0]} x {shape[1]}, batch {shape[2]}, against a NumPy backprop: times as long",
        case.backprop,
        lambda: case.net.numerical_gradient(case.x, case.t),
        inverse=True,
        at_most=most,
    )


@pytest.mark.parametrize("activation", ["sigmoid", "relu"])
def test_check_of_all_weights(benchmark, promise, activation):
    net, (x, t) = MultiLayerNet(784, [50], 10, activation, 0.01, rng=0), digits()
    exact, f = net.gradient(x, t), net.objective(x, t)
    check = benchmark.pedantic(lambda: check_gradient(f, exact, net.params), rounds=3)
    assert check.ok
    assert check.checked == net.flat.size
    promise(
        f"check_gradient of {net.flat.size:,} weights of 784-50-10, {activation}, against one numerical gradient",
        lambda: net.numerical_gradient(x, t),
        lambda: check_gradient(f, exact, net.params),
        inverse=True,
        at_most=12,
    )


@pytest.mark.parametrize(("batch", "inputs", "columns"), [(20_000, 100, 20), (200, 5000, 40)])
def test_peak_memory(benchmark, table, batch, inputs, columns):
    rng = np.random.default_rng(0)
    x, weights = rng.uniform(0, 1, (batch, inputs)), rng.standard_normal((inputs, columns)) / inputs
    f = LayerObjective(x, lambda z: np.tanh(z).sum(axis=1))
    tracemalloc.start()
    gradient = numerical_gradient(f, weights, 1e-2)
    peak = tracemalloc.get_traced_memory()[1] - gradient.nbytes
    tracemalloc.stop()
    assert peak <= 64 * 2**20
    benchmark.pedantic(lambda: None, rounds=1)
    table(
        f"{inputs} x {columns}, batch {batch}: memory beyond inputs, W and gradient",
        peak / 2**20,
        unit="MiB",
        at_most=64,
    )
