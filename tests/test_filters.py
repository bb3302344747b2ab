"""Numgrad leaves the warning filters of the process alone: they are global, and calls in threads would lose them."""

import re
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from problems import PROBLEMS, compiled_once

import numgrad
from numgrad import (
    IncrementalObjective,
    assert_gradient,
    check_gradient,
    descent_path,
    estimate_derivative,
    estimate_gradient,
    gradient_ascent,
    gradient_descent,
    numerical_diff,
    numerical_gradient,
    simpleNet,
)

X = np.array([1.0, -2.0, 0.5])
cubic, EXACT = PROBLEMS["cubic"].f, PROBLEMS["cubic"].gradient(X)


def batches(x):
    return np.sum(x**3, axis=1)


def infinite(x):
    return float(np.exp(1e3 * np.sum(x)))


def state_of_filters():
    return id(warnings.filters), list(warnings.filters), id(warnings.showwarning)


CALLS = {
    "numerical_diff": lambda f: numerical_diff(lambda x: x**3, 2.0),
    "numerical_diff complex": lambda f: numerical_diff(lambda x: x**3, X, scheme="complex"),
    "numerical_gradient": lambda f: numerical_gradient(f, X),
    "numerical_gradient central4": lambda f: numerical_gradient(f, X, "auto", scheme="central4"),
    "numerical_gradient complex": lambda f: numerical_gradient(lambda x: np.sum(x**3), X, scheme="complex"),
    "numerical_gradient engine": lambda f: numerical_gradient(f, X, workers=map),
    "numerical_gradient vectorized": lambda f: numerical_gradient(batches, X, vectorized=True, scheme="forward"),
    "numerical_gradient bounds": lambda f: numerical_gradient(f, X, bounds=(X, np.inf)),
    "gradient_descent": lambda f: gradient_descent(f, X.copy(), 0.01, 2),
    "gradient_ascent": lambda f: gradient_ascent(f, X.copy(), 0.01, 2),
    "descent_path": lambda f: descent_path(f, X, 0.01, 2),
    "estimate_derivative": lambda f: estimate_derivative(lambda x: x**3, 2.0),
    "estimate_gradient": lambda f: estimate_gradient(f, X),
    "check_gradient": lambda f: check_gradient(f, EXACT, X),
    "check_gradient wrong": lambda f: check_gradient(f, X**2, X),
    "check_gradient directions": lambda f: check_gradient(f, EXACT, X, directions=2),
    "check_gradient dict": lambda f: check_gradient(lambda p: cubic(p["a"]), {"a": EXACT}, {"a": X.copy()}),
    "assert_gradient": lambda f: assert_gradient(f, EXACT, X),
    "simpleNet": lambda f: simpleNet(rng=0).numerical_gradient([1.0, 2.0], 1),
    "verify": lambda f: simpleNet(rng=0).objective([1.0, 2.0], 1).verify(np.ones((2, 3))),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_filters_are_the_same_after_a_call_and_while_f_runs(name):
    before, during = state_of_filters(), []

    def watching(x):
        during.append(state_of_filters())
        return cubic(x)

    for f in (watching, compiled_once(cubic)):
        CALLS[name](f)
        assert state_of_filters() == before
    assert all(seen == before for seen in during)


@pytest.mark.parametrize("name", ["numerical_gradient", "estimate_gradient", "gradient_descent", "check_gradient"])
def test_the_filters_are_the_same_after_an_exception_or_a_warning(name):
    before = state_of_filters()

    def fails(x):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        CALLS[name](fails)
    assert state_of_filters() == before
    with pytest.raises(RuntimeWarning, match="below the spacing"):  # the suite makes it an error
        numerical_gradient(cubic, np.array([1e15]))
    assert state_of_filters() == before


@pytest.mark.parametrize(
    "call",
    [
        lambda f: check_gradient(f, EXACT, X.copy()),
        lambda f: check_gradient(f, X**2, X.copy(), directions=2),
        lambda f: estimate_gradient(f, X.copy()),
        lambda f: numerical_gradient(f, X.copy(), "auto", scheme="forward"),
        lambda f: gradient_descent(f, X.copy(), 0.01, 2),
    ],
    ids=["check", "directions", "estimate", "gradient", "descent"],
)
def test_calls_in_several_threads_leave_the_filters_and_warnings_still_appear(call):
    before, during = state_of_filters(), []

    def sleeps(x):
        time.sleep(0.0002)
        during.append(state_of_filters())
        return cubic(x)

    def work():
        for _ in range(3):
            call(sleeps)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert state_of_filters() == before
    assert all(seen == before for seen in during)
    with pytest.raises(RuntimeWarning, match="mine"):  # the suite makes them errors
        warnings.warn("mine", RuntimeWarning, stacklevel=1)


def test_no_module_of_the_library_but_its_commands_touches_the_filters():
    folder = Path(numgrad.__file__).parent
    touching = re.compile(
        r"catch_warnings|(simple|reset|)filter(s|warnings)?\(|warnings\.filters|resetwarnings|seterr\("
    )
    for file in sorted(folder.rglob("*.py")):
        if "commands" not in file.relative_to(folder).parts:
            found = [line for line in file.read_text().splitlines() if re.search(touching, line)]
            found = [line for line in found if "warnings" in line or "seterr" in line]
            assert not found, (file.name, found)


def test_the_errors_of_numpy_are_handled_as_before():
    before = np.geterr()
    for f in (infinite, cubic):
        with np.errstate(all="ignore"):
            inside = np.geterr()
            estimate_gradient(f, X)
            check_gradient(f, EXACT, X)
            assert np.geterr() == inside
    assert np.geterr() == before


def test_an_incremental_objective_leaves_the_filters():
    before = state_of_filters()
    objective = simpleNet(rng=0).objective([1.0, 2.0], 1)
    assert isinstance(objective, IncrementalObjective)
    for workers in (1, 2, map):
        numerical_gradient(objective, np.ones((2, 3)), workers=workers)
    assert state_of_filters() == before
