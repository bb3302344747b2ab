"""Progress of every public function that takes it: a bar that ends at 100 %, and a callable that hears of all of it."""

import inspect

import numpy as np
import pytest

import numgrad
from numgrad import TwoLayerNet

X = np.linspace(0.1, 1.0, 6)
ROWS, LABELS = np.linspace(0.1, 1.0, 12).reshape(3, 4), np.arange(3)


def f(x):
    return float(np.sum(np.sin(x)))


def of_dict(x):
    return f(x["a"]) + f(x["b"])


def pair():
    return {"a": X.copy(), "b": X.copy()}


def two(x):
    return np.sin(x) * x[::-1]


PATTERN = np.eye(6, dtype=bool)
# Name of the function, and its arguments; several calls of the same take other ways through it.
CALLS = {
    "numerical_gradient": [(f, X), (of_dict, pair())],
    "numerical_jacobian": [(two, X), (np.sin, X, {"sparsity": PATTERN})],
    "jacobian_sparsity": [(np.sin, X)],
    "directional_derivative": [(f, X, np.eye(6))],
    "numerical_hessian": [(f, X), (f, X, {"gradient": np.cos}), (f, X, {"sparsity": PATTERN})],
    "Gradient": [(f,)],
    "Jacobian": [(two,)],
    "Hessian": [(f,)],
    "gradient_descent": [(f, X, 0.1, 20), (of_dict, pair(), 0.1, 20)],
    "gradient_ascent": [(f, X, 0.1, 20)],
    "descent_path": [(f, X, 0.1, 20)],
    "train": [(TwoLayerNet(4, 3, 3), ROWS, LABELS, ROWS, LABELS, {"iterations": 20, "batch_size": 2, "lr": 0.1})],
    "estimate_gradient": [(f, X)],
    "estimate_jacobian": [(two, X)],
    "estimate_hessian": [(f, X)],
    "check_gradient": [(f, np.cos, X), (f, np.cos, X, {"directions": 4})],
}


def run(name, arguments, progress):
    *places, options = arguments if isinstance(arguments[-1], dict) and "a" not in arguments[-1] else (*arguments, {})
    places = [value.copy() if isinstance(value, np.ndarray) else value for value in places]
    result = getattr(numgrad, name)(*places, **options, progress=progress)
    if name in {"Gradient", "Jacobian", "Hessian"}:
        result(X.copy())


def test_no_function_is_forgotten():
    public = {name for name in numgrad.__all__ if callable(getattr(numgrad, name))}
    takes = {name for name in public if "progress" in inspect.signature(getattr(numgrad, name)).parameters}
    assert takes == CALLS.keys()


@pytest.mark.parametrize(("name", "arguments"), [(name, call) for name, calls in CALLS.items() for call in calls])
def test_a_bar_and_a_callable_hear_of_all_of_it(name, arguments, capsys):
    pytest.importorskip("tqdm")
    heard = []
    run(name, arguments, lambda done, total: heard.append((done, total)))
    done, totals = zip(*heard, strict=True)
    assert list(done) == sorted(done)
    assert set(totals) == {done[-1]}
    capsys.readouterr()
    run(name, arguments, True)
    bar = capsys.readouterr().err.split("\r")[-1]
    assert bar.startswith("100%")
    if name in {"gradient_descent", "gradient_ascent", "descent_path", "train"}:
        assert "| 20/20 [" in bar
        assert "iteration/s" in bar
    assert ("loss " in bar) == (name == "train")  # known to no other
