"""The book's net: ``numerical_gradient(lambda w: net.loss(x, t), net.W)``.

What bounds it: at 2 x 3 the checks of x and t, one small BLAS call, and the entry into the compiled loss; from a few
hundred weights on, the product x @ W, which both nets leave to BLAS.
"""

import numpy as np
import pytest

from numgrad import numerical_gradient, reference, simpleNet

CASES = {"2 x 3, one sample": ((2, 3), None), "64 x 10, batch 100": ((64, 10), 100)}


def nets(shape, batch):
    rng = np.random.default_rng(0)
    net, twin = simpleNet(shape, rng=rng), reference.SimpleNet()
    twin.W = net.W.copy()
    x = rng.uniform(0, 1, shape[0] if batch is None else (batch, shape[0]))
    t = np.eye(shape[1], dtype=int)[rng.integers(0, shape[1], () if batch is None else batch)]
    x_rows, t_rows, p = np.atleast_2d(x), np.atleast_2d(t), np.atleast_2d(reference.softmax(net.predict(x)))
    p_label = p[t_rows == 1][:, None]
    # The offset 1e-7 in the logarithm makes each sample count for p_label / (p_label + 1e-7) of itself.
    exact = x_rows.T @ ((p - t_rows) * p_label / (p_label + 1e-7)) / len(x_rows)
    return net, twin, x, t, exact


def numgrad_gradient(net, x, t):
    return numerical_gradient(lambda w: net.loss(x, t), net.W)


def reference_gradient(net, x, t):
    return reference.numerical_gradient(lambda w: net.loss(x, t), net.W)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("route", [numgrad_gradient, reference_gradient])
def test_net(benchmark, promise, exact, case, route):
    benchmark.group = f"net, {case}"
    net, twin, x, t, expected = nets(*CASES[case])
    ours = route is numgrad_gradient
    used = net if ours else twin
    route(used, x, t)  # compile
    result = benchmark(route, used, x, t) if used.W.size < 100 else benchmark.pedantic(route, (used, x, t), rounds=5)
    exact(result, expected, 1e-8)  # truncation h**2/6 |x|**3, and round-off of a loss below 20, over h
    if ours:
        promise(
            f"net.loss idiom, {case}, against the reference net",
            lambda: reference_gradient(twin, x, t),
            lambda: numgrad_gradient(net, x, t),
            at_least=3 if net.W.size == 6 else None,
        )
