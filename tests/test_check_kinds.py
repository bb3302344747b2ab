"""The kinds on which a gradient check once failed: right gradients pass, wrong ones fail, the cost stays small."""

import numpy as np
import pytest
from check_kinds import KINDS, counted, measure, net, smooth, wrong_ones
from problems import same_without_jit

from numgrad import check_gradient

pytestmark = same_without_jit

CASES = 5
# Nets of many layers take seconds a case; `python tests/check_kinds.py 200 deep` asks for more.
FEWER = {"deep float32 nets, std 0.1": 3, "deep float32 nets, std 1": 3}
# Evaluations a coordinate, on average: 4 on a smooth f, at most 15 on a noisy one.
SMOOTH = {
    "smooth": 4.3,
    "smooth, directions": 2.5,
    "tied": 4.3,
    "tied, directions": 2.5,
    "ReLU nets": 4.3,
    "x in float32": 4.3,
    "nets of x in float32": 5,
}
# What cannot be told: no larger than atol, between the slopes of a kink, one weight in noise of a thousandth.
UNTOLD = {
    "x of any scale",
    "x in float16",
    "x in six decimals",
    "x in three decimals",
    "x in whole numbers",
    "x far away",
    "kinks near",
    "kinks at x",
    "noise 0.001",
    "rounded to 3",
    "rounded to 6",
}
MOST = {"x far away": 40, "x in float16": 20, "x in float32, directions": 30, "nets of x in float32, directions": 30}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "float32 nets, std 0.01"])
def test_right_gradients_of_every_kind_pass_and_wrong_ones_fail(kind):
    refused, _, passed, evaluations = measure(kind, FEWER.get(kind, CASES), check_gradient)
    assert refused == 0
    assert evaluations < SMOOTH.get(kind, MOST.get(kind, 15))
    told = {name: n for name, (n, _) in passed.items() if name != "one weight" or kind not in UNTOLD}
    assert sum(told.values()) == 0, told
    assert passed.get("one weight", (0, 1))[0] <= 1


def test_one_of_a_thousand_that_is_off_by_a_thousandth_is_found():
    f, g, x = smooth(np.random.default_rng(0), n=1000)
    counting, calls = counted(f)
    assert check_gradient(counting, g, x)
    assert len(calls) == 4 * 1000 + 1
    k = int(np.abs(g).argmax())
    g[k] *= 1.001
    check = check_gradient(f, g, x)
    assert not check
    assert check.arrays[""].failed == 1
    assert check.worst.index == (k,)


def test_the_kink_next_to_x_is_seen():
    x = np.array([1 + 2.4e-6])
    assert check_gradient(lambda x: max(x[0] - 1, 0.0), [1.0], x).subgradients == 0
    assert not check_gradient(lambda x: max(x[0] - 1, 0.0), [0.5], x)
    at = check_gradient(lambda x: max(x[0] - 1, 0.0), [0.3], np.ones(1))
    assert at
    assert at.subgradients == 1
    assert "pass as subgradients" in str(at)
    assert not check_gradient(lambda x: max(x[0] - 1, 0.0), [1.1], np.ones(1))


def test_a_net_of_real_size_costs_four_evaluations_a_coordinate():
    f, g, params = net(np.random.default_rng(1), sizes=(30, 40, 10), batch=60)
    counting, calls = counted(f)
    check = check_gradient(counting, g, params)
    assert check
    assert len(calls) < 4.3 * check.checked
    for mistake, wrong in wrong_ones(np.random.default_rng(2), g):
        assert not check_gradient(f, wrong, params), mistake
