"""f.recompile() is seen by whatever is compiled around f: numba freezes globals, and recompiles at a user's word."""

import pickle

import numpy as np
import pytest
from problems import needs_jit

from numgrad import (
    Gradient,
    IncrementalObjective,
    Scheme,
    check_gradient,
    descent_path,
    directional_derivative,
    estimate_derivative,
    estimate_gradient,
    gradient_descent,
    numerical_diff,
    numerical_gradient,
)
from numgrad.objectives import compiled
from numgrad.objectives.compiled import objective_of

pytestmark = needs_jit

X = np.array([0.5, -1.5, 2.0])


def slopes_of(path):
    """Return the gradient by which the last step of a path with lr = 1 was taken."""
    return path[-2] - path[-1]


# What gives the gradient at X of a linear f, which is the same everywhere. Several share a
# compiled loop, and differ in how they call it.
GRADIENTS = {
    "gradient": lambda f: numerical_gradient(f, X),
    "coordinates": lambda f: numerical_gradient(f, X, coordinates=[0, 1, 2]),
    "threads": lambda f: numerical_gradient(f, X, workers=2),
    "progress": lambda f: numerical_gradient(f, X, progress=lambda *_: None),
    "central4": lambda f: numerical_gradient(f, X, scheme="central4"),
    "forward": lambda f: numerical_gradient(f, X, scheme="forward"),
    "a scheme": lambda f: numerical_gradient(f, X, scheme=Scheme((0, 1, 2), (-3, 4, -1), 2)),
    "automatic steps": lambda f: numerical_gradient(f, X, "auto"),
    "bounds": lambda f: numerical_gradient(f, X, bounds=(X, np.inf)),
    "an engine": lambda f: numerical_gradient(f, X, workers=map),
    "estimate": lambda f: estimate_gradient(f, X).value,
    "descent": lambda f: X - gradient_descent(f, X.copy(), 1.0, 1),
    "callback": lambda f: X - gradient_descent(f, X.copy(), 1.0, 1, callback=lambda *_: None),
    "path": lambda f: slopes_of(descent_path(f, X, 1.0, 2)),
    "columns": lambda f: directional_derivative(f, X, np.eye(3)),
    "points": lambda f: numerical_gradient(f, X[np.newaxis], points_axis=0)[0],
    "prepared": lambda f: Gradient(f)(X),
}


def linear(factor=1.0):
    """Return a compiled linear f of three numbers, and the weights that it has captured; NumPy would take longer."""
    from numba import njit

    weights = factor * np.ones(3)
    return njit()(lambda x: weights[0] * x[0] + weights[1] * x[1] + weights[2] * x[2]), weights


def is_gradient(found, expected):
    return np.allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_whatever_was_compiled_around_f_sees_that_it_was_recompiled():
    f, weights = linear()
    for name, gradient in GRADIENTS.items():
        assert is_gradient(gradient(f), [1.0, 1.0, 1.0]), name
    # What was compiled first is asked before all others once, and after them once.
    for values, names in (([5.0, 6.0, 7.0], list(GRADIENTS)), ([25.0, 3.0, 1.0], list(GRADIENTS)[::-1])):
        frozen, weights[:] = weights.copy(), values
        for name in names:
            assert is_gradient(GRADIENTS[name](f), frozen), name  # as numba does it
        f.recompile()
        assert f(np.ones(3)) == sum(values)
        for name in names:
            assert is_gradient(GRADIENTS[name](f), values), name


def test_an_f_that_was_recompiled_before_its_first_gradient_is_right():
    f, weights = linear()
    f(np.ones(3))
    weights[:] = 2.0
    f.recompile()
    assert is_gradient(numerical_gradient(f, X), [2.0, 2.0, 2.0])
    weights[:] = 4.0
    f.recompile()  # before the second one
    assert is_gradient(numerical_gradient(f, X), [4.0, 4.0, 4.0])


def test_an_f_of_several_signatures_is_recompiled_for_all():
    from numba import njit

    scale = np.array([1.0])
    f = njit()(lambda x, a: scale[0] * x.flat[0] * a)
    cases = [(np.ones(1), 2), (np.ones((1, 1, 1)), 2.0)]
    f(np.ones(1, np.float32), 1)
    for x, a in cases:
        assert is_gradient(numerical_gradient(f, x, args=(a,)), np.full(x.shape, 2.0))
    f(np.ones(1, np.int64), 1j)
    scale[0] = 3.0
    f.recompile()
    for x, a in cases:
        assert is_gradient(numerical_gradient(f, x, args=(a,)), np.full(x.shape, 6.0))


def test_the_derivatives_of_a_number_see_a_recompiled_f():
    from numba import njit

    scale = np.array([1.0])
    f = njit()(lambda x: scale[0] * x)
    for factor in (1.0, 5.0):
        scale[0] = factor
        f.recompile()
        for _ in range(2):
            assert is_gradient(numerical_diff(f, 2.0), factor)
            assert is_gradient(estimate_derivative(f, 2.0).value, factor)
            assert is_gradient(estimate_derivative(f, np.array([2.0, 3.0])).value, [factor, factor])


def test_a_check_sees_a_recompiled_f():
    f, weights = linear()
    for values in ([1.0, 1.0, 1.0], [5.0, 6.0, 7.0]):
        weights[:] = values
        f.recompile()
        for options in ({}, {"directions": 3}):
            assert check_gradient(f, values, X, **options).ok


def test_a_recompiled_difference_is_seen_by_all_objectives_that_share_it():
    from numba import njit

    weights = np.ones(3)
    difference = njit()(lambda state, k: 2 * state[1] * weights[k])
    objectives = [
        IncrementalObjective(lambda x: float(weights @ x), lambda x, h: (x.reshape(-1), h), difference)
        for _ in range(2)
    ]
    for values in ([1.0, 1.0, 1.0], [5.0, 6.0, 7.0]):
        weights[:] = values
        difference.recompile()
        for f in objectives:
            f.verify(X)
            for name in ("gradient", "threads", "central4", "descent", "path", "an engine", "progress"):
                assert is_gradient(GRADIENTS[name](f), values), name


def test_a_new_captured_array_is_found_after_the_recompilation():
    from numba import njit

    data = np.ones(3)
    f = njit()(lambda x: data[0] * x[0] + data[1] * x[1] + data[2] * x[2])
    numerical_gradient(f, X)
    data = X.copy()
    f.recompile()
    assert is_gradient(numerical_gradient(f, X), X)
    with pytest.raises(ValueError, match="captured variable 'data'"):
        numerical_gradient(f, data)


def test_an_f_that_starts_threads_only_after_the_recompilation_is_refused():
    from numba import njit

    parallel, quiet = njit(parallel=True)(lambda x: np.sum(x * x)), njit()(lambda x: np.sum(x * x))
    g = quiet
    f = njit()(lambda x: g(x))
    assert is_gradient(numerical_gradient(f, X, workers=2), 2 * X)
    g = parallel
    f.recompile()
    with pytest.raises(TypeError, match="workers=2 needs an f compiled without parallel=True"):
        numerical_gradient(f, X, workers=2)
    assert is_gradient(numerical_gradient(f, X), 2 * X)


def test_an_f_that_has_travelled_often_can_still_be_recompiled():
    """What is left behind on f each time that it arrives would end in a RecursionError."""
    f, weights = linear()
    for _ in range(1100):
        assert pickle.loads(pickle.dumps(objective_of(f))).f is f
        IncrementalObjective(np.sum, lambda x, h: (x, h), f)
    weights[:] = 2.0
    f.recompile()
    assert is_gradient(numerical_gradient(f, X), [2.0, 2.0, 2.0])


def test_the_loops_of_an_f_that_arrives_again_are_compiled_once(monkeypatch):
    f, _ = linear()
    made = []
    evaluation = compiled.evaluation
    monkeypatch.setattr(compiled, "evaluation", lambda *args: made.append(None) or evaluation(*args))
    for _ in range(3):
        assert is_gradient(numerical_gradient(f, X, workers=map), [1.0, 1.0, 1.0])
    assert len(made) <= 2  # one here, one where it arrived
