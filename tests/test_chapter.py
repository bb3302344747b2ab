"""What the chapter prints, digit for digit, through every route."""

import numpy as np
import pytest
from problems import compiled, compiled_once

import numgrad
from numgrad import reference

DESCENTS = [
    (0.1, "[-6.11110793e-10  8.14814391e-10]"),
    (10.0, "[-2.58983747e+13 -1.29524862e+12]"),
    (1e-10, "[-2.99999994  3.99999992]"),
]
GRADIENTS = [([3.0, 4.0], "[6. 8.]"), ([0.0, 2.0], "[0. 4.]"), ([3.0, 0.0], "[6. 0.]")]
WEIGHTS = np.array([[0.47355232, 0.9977393, 0.84668094], [0.85557411, 0.03563661, 0.69422093]])
SAMPLE, LABEL = np.array([0.6, 0.9]), np.array([0, 0, 1])


@pytest.mark.parametrize("route", [lambda f: f, compiled], ids=["python", "compiled"])
@pytest.mark.parametrize("module", [numgrad, reference], ids=["numgrad", "reference"])
def test_derivatives(module, route):
    def partial_0(x0):
        return x0 * x0 + 4.0**2.0

    def partial_1(x1):
        return 3.0**2.0 + x1 * x1

    assert repr(float(module.numerical_diff(route(numgrad.function_1), 5))) == "0.1999999999990898"
    assert repr(float(module.numerical_diff(route(numgrad.function_1), 10))) == "0.2999999999986347"
    assert repr(float(module.numerical_diff(route(partial_0), 3.0))) == "6.00000000000378"
    assert repr(float(module.numerical_diff(route(partial_1), 4.0))) == "7.999999999999119"


@pytest.mark.parametrize(("point", "printed"), GRADIENTS)
def test_gradients(point, printed):
    f = compiled_once(numgrad.function_2)
    assert str(numgrad.numerical_gradient(numgrad.function_2, np.array(point))) == printed
    assert str(numgrad.numerical_gradient(f, np.array(point))) == printed
    assert str(numgrad.numerical_gradient(numgrad.function_2, point)) == printed
    assert str(reference.numerical_gradient(numgrad.function_2, np.array(point))) == printed


@pytest.mark.filterwarnings("ignore:the step h=0.0001 is below")
@pytest.mark.parametrize(("lr", "printed"), DESCENTS)
def test_descents(lr, printed):
    f, start = compiled_once(numgrad.function_2), [-3.0, 4.0]
    results = [
        reference.gradient_descent(numgrad.function_2, np.array(start), lr=lr, step_num=100),
        numgrad.gradient_descent(numgrad.function_2, np.array(start), lr=lr, step_num=100),
        numgrad.gradient_descent(f, np.array(start), lr=lr, step_num=100),
        numgrad.gradient_descent(f, start, lr=lr, step_num=100, callback=lambda k, x: None),
        numgrad.gradient_descent(f, start, lr=lr, step_num=100, workers=2),
        numgrad.descent_path(numgrad.function_2, start, lr=lr, step_num=100)[-1],
        numgrad.descent_path(f, start, lr=lr, step_num=100)[-1],
    ]
    assert [str(x) for x in results] == [printed] * len(results)
    assert {x.tobytes() for x in results} == {results[0].tobytes()}


def test_a_diverging_descent_warns_once_that_its_step_is_lost():
    for f in (numgrad.function_2, compiled_once(numgrad.function_2)):
        with pytest.warns(RuntimeWarning, match="h=0.0001 is below the spacing") as caught:
            numgrad.gradient_descent(f, [-3.0, 4.0], lr=10.0, step_num=100)
        assert len(caught) == 1
        assert caught[0].filename == __file__


def test_net():
    net = numgrad.simpleNet()
    net.W = WEIGHTS.copy()
    assert str(net.predict(SAMPLE)) == "[1.05414809 0.63071653 1.1328074 ]"
    assert repr(net.loss(SAMPLE, LABEL)) == "0.9280682857864075"
    gradient = numgrad.numerical_gradient(lambda w: net.loss(SAMPLE, LABEL), net.W)
    assert str(gradient) == "[[ 0.21924757  0.14356243 -0.36281   ]\n [ 0.32887136  0.21534364 -0.544215  ]]"
    assert net.W.tobytes() == WEIGHTS.tobytes()


def test_softmax_and_cross_entropy():
    assert str(numgrad.softmax([0.3, 2.9, 4.0])) == "[0.01821127 0.24519181 0.73659691]"
    assert np.isfinite(numgrad.softmax([1010, 1000, 990])).all()
    y = [0.1, 0.05, 0.6, 0.0, 0.05, 0.1, 0.0, 0.1, 0.0, 0.0]
    assert repr(numgrad.cross_entropy_error(y, [0, 0, 1, 0, 0, 0, 0, 0, 0, 0])) == "0.510825457099338"
    assert repr(numgrad.cross_entropy_error(y, 2)) == "0.510825457099338"


class TwoLayerNet:
    """The net of the chapter's last section, held in a dict of arrays."""

    def __init__(self, rng):
        self.params = {
            "W1": 0.1 * rng.standard_normal((4, 5)),
            "b1": np.zeros(5),
            "W2": 0.1 * rng.standard_normal((5, 3)),
            "b2": np.zeros(3),
        }

    def loss(self, x, t):
        p = self.params
        hidden = 1 / (1 + np.exp(-(x @ p["W1"] + p["b1"])))
        return numgrad.cross_entropy_error(numgrad.softmax(hidden @ p["W2"] + p["b2"]), t)

    def gradients(self, x, t, numerical_gradient):
        return {name: numerical_gradient(lambda _: self.loss(x, t), self.params[name]) for name in self.params}


def test_training_a_net_held_in_a_dict_works_unchanged():
    rng = np.random.default_rng(1)
    x, t = rng.standard_normal((12, 4)), np.arange(12) % 3
    net, twin = TwoLayerNet(np.random.default_rng(2)), TwoLayerNet(np.random.default_rng(2))
    first = net.loss(x, t)
    for _ in range(5):
        gradients = net.gradients(x, t, numgrad.numerical_gradient)
        expected = twin.gradients(x, t, reference.numerical_gradient)
        for name in net.params:
            assert gradients[name].tobytes() == expected[name].tobytes()
            net.params[name] -= 0.5 * gradients[name]
            twin.params[name] -= 0.5 * expected[name]
    assert net.loss(x, t) < first
