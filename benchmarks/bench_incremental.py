"""The softmax layer's incremental objective, against the plain loops and against a backprop, which is the floor.

What bounds it: the backprop's two BLAS products, and one more in single precision; for small matrices, some twenty
calls of NumPy, and a pass over the data for their cubes.
"""

import functools
import os
import tracemalloc

import numpy as np
import pytest

from numgrad import numerical_gradient, reference
from numgrad.commands.subjects import Layer

SHAPES = [(784, 10, 100), (1000, 1000, 128), (4096, 1000, 128)]


@functools.cache  # as its gradient: the largest one takes half a second to make
def layer(*shape):
    return Layer(*shape)


@functools.cache
def exact_of(case):
    return case.exact()


@pytest.fixture(scope="module", params=SHAPES, ids=str)
def case(request):
    return layer(*request.param)


@pytest.mark.parametrize("route", ["backprop", "net.numerical_gradient", "net.objective", "net.objective, 2 threads"])
def test_layer(benchmark, exact, case, route):
    net, shape = case.net, case.net.W.shape
    benchmark.group = f"layer {shape[0]} x {shape[1]}, batch {len(case.x)}"
    objective = net.objective(case.x, case.t)
    run = {
        "backprop": case.backprop,
        "net.numerical_gradient": lambda: net.numerical_gradient(case.x, case.t),
        "net.objective": lambda: numerical_gradient(objective, net.W),
        "net.objective, 2 threads": lambda: numerical_gradient(objective, net.W, workers=2),
    }[route]
    run()
    result = benchmark.pedantic(run, rounds=5)
    # Truncation h**2/6; the backprop lacks the offset, and is off by 1e-7 / p_label, with p_label above 1e-5.
    exact(result, exact_of(case), 1e-8 if route != "backprop" else 1e-2)


@pytest.mark.benchmark(group="layer 784 x 10, batch 100, against the reference")
def test_small_layer_against_the_reference(benchmark, promise, exact):
    case = layer(*SHAPES[0])
    net, twin = case.net, reference.SimpleNet((1, 1))
    twin.W = net.W
    gradient = benchmark(net.numerical_gradient, case.x, case.t)
    exact(gradient, exact_of(case), 1e-8)

    def hundredth_of_the_reference():
        rows = twin.W[:, :1].copy()
        some = rows[:78]  # 78 of the 7,840 coordinates, in place in an array of their own
        reference.numerical_gradient(lambda _: twin.loss(case.x, case.t), some)

    ratio_row = "784 x 10, batch 100: net.numerical_gradient against a hundredth of the reference's coordinates"
    promise(
        ratio_row,
        hundredth_of_the_reference,
        lambda: net.numerical_gradient(case.x, case.t),
        at_least=1500 / 100 * 7840 / 7800,
    )
    promise(
        "784 x 10, batch 100: net.numerical_gradient against a NumPy backprop: times as long",
        case.backprop,
        lambda: net.numerical_gradient(case.x, case.t),
        inverse=True,
        at_most=10,
    )
    objective = net.objective(case.x, case.t)
    promise(
        "  the same with net.objective made once, as in a descent",
        case.backprop,
        lambda: numerical_gradient(objective, net.W),
        inverse=True,
    )
    promise(
        "  h = 1e-3, where the series has one term more, against h = 1e-4: times as long",
        lambda: numerical_gradient(objective, net.W),
        lambda: numerical_gradient(objective, net.W, 1e-3),
        inverse=True,
    )


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="takes two cores")
@pytest.mark.parametrize(("shape", "most"), [(SHAPES[1], 5), (SHAPES[2], 4)], ids=str)
def test_large_layer_against_backprop(benchmark, promise, exact, shape, most):
    case = layer(*shape)
    net = case.net
    benchmark.group = f"layer {shape[0]} x {shape[1]}, batch {shape[2]}"
    gradient = benchmark.pedantic(lambda: net.numerical_gradient(case.x, case.t, workers=2), rounds=5, warmup_rounds=1)
    exact(gradient, exact_of(case), 1e-8)
    promise(
        f"{shape[0]} x {shape[1]}, batch {shape[2]}, 2 threads, against a NumPy backprop: times as long",
        case.backprop,
        lambda: net.numerical_gradient(case.x, case.t, workers=2),
        inverse=True,
        at_most=most,
    )


@pytest.mark.benchmark(group="layer 2000 x 2000, batch 64")
def test_cost_against_n(benchmark, table):
    """Fit the exponent of the time against the number of weights, from 1e4 to 4e6 at a batch of 64."""
    cases = [layer(n, n, 64) for n in ((100, 300, 1000, 2000) if not benchmark.disabled else (30, 60))]
    times = []
    for case in cases:
        objective = case.net.objective(case.x, case.t)
        numerical_gradient(objective, case.net.W)
        seconds = []
        for _ in range(5):
            tic = benchmark._timer()
            gradient = numerical_gradient(objective, case.net.W)
            seconds.append(benchmark._timer() - tic)
        times.append(sorted(seconds)[2])
        assert np.abs(gradient - exact_of(case)).max() <= 1e-8
    exponent = np.polyfit(np.log([case.net.W.size for case in cases]), np.log(times), 1)[0]
    benchmark.pedantic(numerical_gradient, (objective, case.net.W), rounds=3)
    table("exponent of the cost against n, 1e4 to 4e6 weights at batch 64", exponent, unit="", at_most=1.1)


@pytest.mark.benchmark(group="layer 4096 x 1000, batch 128")
def test_peak_memory_of_a_large_layer(benchmark, table):
    case = layer(*SHAPES[2])
    net = case.net
    net.numerical_gradient(case.x, case.t)
    tracemalloc.start()
    gradient = net.numerical_gradient(case.x, case.t)
    peak = tracemalloc.get_traced_memory()[1] - gradient.nbytes
    tracemalloc.stop()
    assert np.abs(gradient - exact_of(case)).max() <= 1e-8
    benchmark.extra_info["peak_bytes"] = peak
    benchmark.pedantic(net.numerical_gradient, (case.x, case.t), rounds=3)
    table(
        "4096 x 1000, batch 128: peak memory beyond W, gradient and batch, in sizes of W",
        peak / net.W.nbytes,
        at_most=1,
    )
