"""Compiled functions that start threads of their own: two at once would abort the interpreter on some layers of numba.

What may abort runs in a process of its own, on numba's workqueue layer, which does so.
"""

import os
import subprocess
import sys
import types

import numpy as np
import pytest
from problems import needs_jit

from numgrad import (
    SeparableObjective,
    check_gradient,
    descent_path,
    estimate_gradient,
    gradient_descent,
    numerical_gradient,
)

pytestmark = [
    needs_jit,
    pytest.mark.filterwarnings("ignore:First-class function type feature is experimental"),  # of functions in args
]

# Each gives an f(x) that is sum(x**3), with the args that it needs, and starts threads.
DEFINITIONS = """
import numpy as np
from types import ModuleType
from numba import float64, njit, prange, types
from numba.experimental import jitclass
from numba.extending import overload_method
from numgrad import IncrementalObjective, numerical_gradient

def loop(x):
    total = 0.0
    for i in prange(x.size):
        total += x[i] ** 3
    return total

parallel = njit(parallel=True)(loop)
module = ModuleType("module")
module.inner = ModuleType("inner")
module.parallel = module.inner.parallel = parallel
FUNCTIONS = (1.0, parallel)

def by_a_closure():
    g = parallel
    return njit()(lambda x: g(x)), ()

def by_a_closure_in_two_steps():
    g = parallel
    h = njit()(lambda x: g(x))
    return njit()(lambda x: h(x)), ()

def by_another_name_of_a_module():
    @njit()
    def f(x):
        m = module
        return m.parallel(x)
    return f, ()

def by_an_argument():
    return njit()(lambda x, g: g(x)), (parallel,)

def by_a_function_in_an_argument():
    return njit()(lambda x, g: g(x)), (njit()(lambda x: parallel(x)),)

def by_a_tuple_in_an_argument():
    return njit()(lambda x, g: g[0](x)), ((parallel,),)

def by_default():
    @njit()
    def f(x, g=parallel):
        return g(x)
    return f, ()

def by_an_inner_function():
    @njit()
    def f(x):
        def inner(y):
            return parallel(y)
        return inner(x)
    return f, ()

@jitclass([("k", float64)])
class Model:
    def __init__(self, k):
        self.k = k
    def value(self, x):
        return parallel(x)

def by_a_method():
    return njit()(lambda x: Model(1.0).value(x)), ()

@overload_method(types.Array, "in_parallel")
def in_parallel(x):
    return lambda x: parallel(x)

KINDS = {
    "itself": lambda: (parallel, ()),
    "a global": lambda: (njit()(lambda x: parallel(x)), ()),
    "a closure": by_a_closure,
    "a closure in two steps": by_a_closure_in_two_steps,
    "a module": lambda: (njit()(lambda x: module.parallel(x)), ()),
    "another name of a module": by_another_name_of_a_module,
    "a module in a module": lambda: (njit()(lambda x: module.inner.parallel(x)), ()),
    "a tuple": lambda: (njit()(lambda x: FUNCTIONS[1](x)), ()),
    "an argument": by_an_argument,
    "a function in an argument": by_a_function_in_an_argument,
    "a tuple in an argument": by_a_tuple_in_an_argument,
    "a default": by_default,
    "an inner function": by_an_inner_function,
    "a method": by_a_method,
    "an overloaded method": lambda: (njit()(lambda x: x.in_parallel()), ()),
}

def cubes(state):
    total = 0.0
    for i in prange(64):
        total += 6 * state[0][0] ** 2 * state[1] / 64
    return total

parallel_cubes = njit(parallel=True)(cubes)
module.cubes = parallel_cubes

@njit()
def calls_cubes(state, k):
    x, h = state
    return parallel_cubes((x[k:k + 1], h)) + 2 * h ** 3

@njit()
def calls_cubes_of_a_module(state, k):
    x, h = state
    return module.cubes((x[k:k + 1], h)) + 2 * h ** 3

@njit(parallel=True)
def difference(state, k):
    x, h = state
    total = 0.0
    for i in prange(64):
        total += 6 * x[k] ** 2 * h / 64
    return total + 2 * h ** 3

def incremental(difference):
    return IncrementalObjective(lambda x: float(np.sum(x**3)), lambda x, h: (x.reshape(-1), h), difference)

INCREMENTAL = {f.__name__: incremental(f) for f in (difference, calls_cubes, calls_cubes_of_a_module)}
"""

SCOPE: dict = {}
if __name__ != "__mp_main__" and os.environ.get("NUMBA_DISABLE_JIT", "0") in {"", "0"}:
    exec(DEFINITIONS, SCOPE)
KINDS = [
    "itself", "a global", "a closure", "a closure in two steps", "a module", "another name of a module",
    "a module in a module", "a tuple", "an argument", "a function in an argument", "a tuple in an argument",
    "a default", "an inner function", "a method", "an overloaded method",
]  # fmt: skip
DIFFERENCES = ["difference", "calls_cubes", "calls_cubes_of_a_module"]
X = np.linspace(-1.0, 2.0, 40)


def test_the_kinds_are_these():
    assert list(SCOPE["KINDS"]) == KINDS
    assert list(SCOPE["INCREMENTAL"]) == DIFFERENCES


@pytest.mark.parametrize("kind", KINDS)
def test_an_f_that_starts_threads_by_whatever_it_calls_is_not_run_on_several(kind):
    f, args = SCOPE["KINDS"][kind]()
    runs = [
        lambda workers: numerical_gradient(f, X, args=args, workers=workers),
        lambda workers: estimate_gradient(f, X, args=args, workers=workers).value,
        lambda workers: check_gradient(f, 3 * X**2, X, args=args, workers=workers).ok,
        lambda workers: gradient_descent(f, X.copy(), 0.01, 2, args=args, workers=workers),
        lambda workers: descent_path(f, X, 0.01, 2, args=args, workers=workers),
        lambda workers: numerical_gradient(f, X, args=args, workers=workers, scheme="central4"),
    ]
    for run in runs:
        for workers in (2, np.int64(3)):
            with pytest.raises(TypeError, match=rf"workers={workers} needs an f compiled without parallel=True"):
                run(workers)


@pytest.mark.parametrize("kind", ["itself", "a module", "an argument"])
def test_an_f_that_starts_threads_is_run_on_one_and_refused_once_more_after_that(kind):
    f, args = SCOPE["KINDS"][kind]()
    assert np.allclose(numerical_gradient(f, X, args=args), 3 * X**2, atol=1e-7)
    with pytest.raises(TypeError, match="workers=2 needs an f compiled without parallel=True"):
        numerical_gradient(f, X, args=args, workers=2)


@pytest.mark.parametrize("difference", DIFFERENCES)
def test_a_difference_that_starts_threads_is_not_run_on_several(difference):
    f = SCOPE["INCREMENTAL"][difference]
    for run in (numerical_gradient, gradient_descent, descent_path):
        with pytest.raises(TypeError, match="workers=2 needs an f compiled without parallel=True"):
            run(f, X.copy(), workers=2)
    f.verify(X)
    assert np.allclose(numerical_gradient(f, X), 3 * X**2, atol=1e-7)


def test_an_f_that_calls_one_without_threads_may_be_run_on_several():
    from numba import njit

    g = njit()(lambda x: np.sum(x**3))
    harmless = types.ModuleType("harmless")
    harmless.parallel = 3.0
    for f in (njit()(lambda x: g(x)), njit()(lambda x: g(x) + harmless.parallel)):  # of an argument: see below
        assert np.allclose(numerical_gradient(f, X, workers=2), 3 * X**2, atol=1e-7)


def test_an_argument_that_starts_threads_counts_after_one_that_does_not():
    from numba import njit

    f, quiet, parallel = njit()(lambda x, g: g(x)), njit()(lambda x: np.sum(x**3)), SCOPE["parallel"]
    assert np.allclose(numerical_gradient(f, X, args=(quiet,), workers=2), 3 * X**2, atol=1e-7)
    with pytest.raises(TypeError, match="workers=2 needs an f compiled without parallel=True"):
        numerical_gradient(f, X, args=(parallel,), workers=2)
    assert np.allclose(numerical_gradient(f, X, args=(quiet,)), 3 * X**2, atol=1e-7)


def test_an_argument_of_elements_that_starts_threads_counts_too():
    from numba import njit

    f = SeparableObjective(njit()(lambda z, g: g(z)), np.arange(X.size).reshape(-1, 1))
    quiet, parallel = njit()(lambda z: z[0] ** 3), SCOPE["parallel"]
    assert np.allclose(numerical_gradient(f, X, args=(quiet,), workers=2), 3 * X**2, atol=1e-7)
    with pytest.raises(TypeError, match="workers=2 needs an f compiled without parallel=True"):
        numerical_gradient(f, X, args=(parallel,), workers=2)


def assert_right_on_workqueue(code):
    """Run the code after the definitions, in a process of its own; it must end by printing 'right'.

    Each case prints its name before it begins, so that one which aborts is told.
    """
    environment = os.environ | {"NUMBA_THREADING_LAYER": "workqueue", "NUMBA_NUM_THREADS": "2"}
    script = DEFINITIONS + "\n" + code
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=300, env=environment
    )
    assert result.returncode == 0, result.stdout + result.stderr[-2000:]
    assert result.stdout.strip().endswith("right"), result.stdout + result.stderr


AT_ONCE = """
import functools
import threading
from concurrent.futures import ThreadPoolExecutor
from numgrad import check_gradient, descent_path, estimate_derivative, gradient_descent

x = np.linspace(-1.0, 2.0, 40)
make = functools.cache(lambda kind: KINDS[kind]())  # by whoever asks for one, compiled once
f, args = make("a closure")
failed = []

def repeatedly(run):
    try:
        for _ in range(20):
            assert run()
    except BaseException as error:
        failed.append(repr(error))

def at_once(*runs):
    threads = [threading.Thread(target=repeatedly, args=(run,)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, failed

def at_once_when_compiled(*runs):  # else one would be done before the other is compiled
    assert all(run() for run in runs)
    at_once(*runs)

def gradient(f, args=()):
    return lambda: np.allclose(numerical_gradient(f, x, args=args), 3 * x**2, atol=1e-3)

def with_an_engine(f, args=()):
    expected = numerical_gradient(f, x, args=args)
    with ThreadPoolExecutor(4) as executor:
        for _ in range(2):
            assert numerical_gradient(f, x, args=args, workers=executor.map).tobytes() == expected.tobytes()
"""

ENGINES = {kind: f"with_an_engine(*make({kind!r}))" for kind in KINDS if kind == "a closure" or "arg" in kind}
ENGINES |= {"calls_cubes": "with_an_engine(INCREMENTAL['calls_cubes'])"}
ENGINES |= {"difference": "with_an_engine(INCREMENTAL['difference'])"}

USERS = {kind: f"g, args = make({kind!r}); at_once(gradient(g, args), gradient(g, args))" for kind in KINDS}
USERS = {kind: USERS[kind] for kind in ("itself", "a closure", "an argument", "a tuple in an argument")}
USERS |= {
    "two functions": "at_once_when_compiled(gradient(f), gradient(parallel))",
    "two objectives": "at_once_when_compiled(*map(gradient, (INCREMENTAL['calls_cubes'], INCREMENTAL['difference'])))",
    "descents": "at_once(*2 * [lambda: np.isfinite(gradient_descent(f, x.copy(), 0.01, 3)).all()])",
    "paths": "at_once(*2 * [lambda: len(descent_path(f, x, 0.01, 3)) == 4])",
    "checks": "at_once(*2 * [lambda: check_gradient(f, 3 * x**2, x).ok])",
    "directions": "at_once(*2 * [lambda: check_gradient(f, 3 * x**2, x, directions=3).ok])",
    # The loops are those of `estimate_gradient`, around an f that calls this one: to compile them again takes longest.
    "estimates": """
g = njit()(lambda x: parallel(np.full(8, x)))
at_once(*2 * [lambda: np.isclose(estimate_derivative(g, 2.0).value, 96.0)])
""",
    "verifications": """
quiet = njit()(lambda s, k: 6 * s[0][k] ** 2 * s[1] + 2 * s[1] ** 3)
g = IncrementalObjective(f, lambda x, h: (x.reshape(-1), h), quiet)
at_once(*2 * [lambda: g.verify(x) is None])
""",
}


def test_neither_threads_of_the_user_nor_an_engine_of_threads_abort():
    # In one process, for each would compile the same functions; the user's first, to compile them in two threads.
    named = [f"print({name!r}, flush=True)\n{code}" for name, code in (*USERS.items(), *ENGINES.items())]
    assert_right_on_workqueue("\n".join([AT_ONCE, *named, "print('right')"]))
