"""Recognising the kinds; what numba did with a user's function; the memory of compiled loops.

Dispatchers are built by hand, so that this runs without the compiler too.
"""

import fractions
import gc
import os
import platform
import subprocess
import sys
import threading
import time
import tracemalloc
import types
import warnings
import weakref
from functools import partial
from typing import NamedTuple

import numpy as np
import pytest
from numba import njit, objmode
from numba.core import errors
from numba.core import types as numba_types
from numba.core.registry import CPUDispatcher
from numba.typed import List
from problems import compiled_once, needs_jit, sum_of_squares

from numgrad import (
    Gradient,
    SeparableObjective,
    arguments,
    check_gradient,
    directional_derivative,
    driver,
    estimate_gradient,
    gradient_descent,
    hessian_vector_product,
    numerical_gradient,
    numerical_hessian,
    numerical_jacobian,
)
from numgrad.objectives import compiled as module
from numgrad.objectives.captures import captured
from numgrad.objectives.compiled import CompiledObjective, objective_of
from numgrad.objectives.python import PythonObjective, VectorizedObjective

WEIGHTS = np.ones(3)
PAIR = (np.zeros(2), 5)
SETTINGS = types.ModuleType("settings")
SETTINGS.bias = np.ones(4)


# --- which kind of objective -----------------------------------------------------------------------------------------


def test_only_compiled_functions_are_compiled():
    assert arguments.is_compiled(CPUDispatcher(sum_of_squares))
    for other in (len, sum_of_squares, np.sin, 3, None):
        assert not arguments.is_compiled(other)


def test_the_kinds_are_recognised():
    f = CPUDispatcher(sum_of_squares)
    assert type(driver.as_objective(f, ())) is CompiledObjective
    assert driver.as_objective(f, ()) is driver.as_objective(f, ())
    callable_of_a_class = type("Callable", (), {"__call__": lambda self, x: 0.0, "__hash__": None})()
    for f in (lambda x: 0.0, np.sum, callable_of_a_class):
        assert type(driver.as_objective(f, ())) is PythonObjective
    assert type(driver.as_objective(np.sum, (), 1)) is VectorizedObjective


def test_the_loops_of_the_functions_that_came_last_are_kept(monkeypatch):
    known = {}
    for owner in (arguments, driver, module):
        monkeypatch.setattr(owner, "KNOWN_COMPILED", known)
    monkeypatch.setattr(module, "_MOST_KNOWN", 3)
    functions = [CPUDispatcher(lambda x: 0.0) for _ in range(5)]
    made = [driver.as_objective(f, ()) for f in functions]
    assert list(known) == [id(f) for f in functions[2:]]
    assert driver.as_objective(functions[4], ()) is made[4]
    assert driver.as_objective(functions[0], ()) is not made[0]


# --- what numba compiles into a function -----------------------------------------------------------------------------


def arrays_of(function):
    """Return the names of the arrays that numba compiles into `function`."""
    return sorted(name for name, value in captured(CPUDispatcher(function)) if isinstance(value, np.ndarray))


def functions_of(function):
    """Return the names of the compiled functions that numba compiles into `function`, itself left out."""
    return sorted(name for name, value in captured(CPUDispatcher(function)) if arguments.is_compiled(value) and name)


def test_arrays_are_found_in_modules_of_modules_defaults_and_functions_that_numba_compiles_with_them():
    from numba import vectorize
    from numba.extending import register_jitable

    package = types.ModuleType("package")
    package.settings = SETTINGS
    data = np.ones(2)

    @register_jitable
    def helper():
        return WEIGHTS[0]

    @vectorize
    def elementwise(x):
        return x + PAIR[0][0]

    def f(x, default=data):
        return package.settings.bias[0] + helper() + elementwise(x)

    def reads_the_package(x):
        return PACKAGE.settings.bias[0]  # noqa: F821

    assert arrays_of(f) == ["PAIR", "WEIGHTS", "default", "package.settings.bias"]
    globals()["PACKAGE"] = package
    assert arrays_of(reads_the_package) == ["PACKAGE.settings.bias"]


def test_arrays_are_found_as_globals_attributes_tuples_closures_and_in_inner_functions():
    local, unset = np.ones(5), None
    del unset  # an empty cell: numba would say that it cannot type it

    @CPUDispatcher
    def inner():
        return local[0]

    def f(x):
        return WEIGHTS[0] + PAIR[0][0] + SETTINGS.bias[0] + inner() + unset  # noqa: F821

    assert arrays_of(f) == ["PAIR", "SETTINGS.bias", "WEIGHTS", "local"]
    assert arrays_of(lambda x: [WEIGHTS[i] for i in range(3)]) == ["WEIGHTS"]
    assert arrays_of(lambda x: [[WEIGHTS[i] + local[j] for i in range(3)] for j in range(3)]) == ["WEIGHTS", "local"]
    assert arrays_of(lambda x: np.sum(x)) == []


M = types.ModuleType("M")
M.w, M.inner, M.unread = np.ones(3), SETTINGS, np.ones(2)


def test_arrays_are_found_through_another_name_of_a_module():
    package = M

    def by_a_global(x):
        m = M
        return m.w[0] * x[0]

    def by_a_closure(x):
        m = package
        return m.w[0] * x[0]

    def by_a_module_of_a_module(x):
        m = M.inner
        return m.bias[0] * x[0]

    assert arrays_of(by_a_global) == ["M.w"]
    assert arrays_of(by_a_closure) == ["package.w"]
    assert arrays_of(by_a_module_of_a_module) == ["M.inner.bias"]


def by_two_names(x):
    m = M
    n = m.inner
    return n.bias[0] * x[0]


def by_another_name_of_the_outer_module(x):
    m = M
    return m.inner.bias[0] * x[0]


@pytest.mark.parametrize("f", [by_two_names, by_another_name_of_the_outer_module])
def test_arrays_are_found_in_a_module_within_one_of_another_name(f):
    assert arrays_of(f) == ["M.inner.bias"]


HELPER = CPUDispatcher(lambda x: x[0])
SETTINGS.helper = HELPER


def test_compiled_functions_are_found_wherever_they_are_called():
    local = CPUDispatcher(lambda x: HELPER(x))

    def from_a_closure(x):
        return local(x)

    def from_a_global(x):
        return HELPER(x)

    def from_a_module(x):
        return SETTINGS.helper(x)

    def from_an_alias(x):
        m = SETTINGS
        return m.helper(x)

    def by_default(x, g=local):
        return g(x)

    def within(x):
        return sum([local(x) for _ in range(3)])

    def by_tuple(x):
        return FUNCTIONS[0](x)  # noqa: F821

    globals()["FUNCTIONS"] = (local, 2)
    assert functions_of(from_a_closure) == ["HELPER", "local"]
    assert functions_of(from_a_global) == ["HELPER"]
    assert functions_of(from_a_module) == ["SETTINGS.helper"]
    assert functions_of(from_an_alias) == ["SETTINGS.helper"]
    assert functions_of(by_default) == ["HELPER", "g"]
    assert functions_of(within) == ["HELPER", "local"]
    assert functions_of(by_tuple) == ["FUNCTIONS", "HELPER"]
    assert functions_of(sum_of_squares) == []


def test_functions_that_call_each_other_are_looked_at_once():
    @CPUDispatcher
    def even(n):
        return odd(n - 1) + WEIGHTS[0]

    @CPUDispatcher
    def odd(n):
        return even(n - 1)

    assert sorted(name for name, _ in captured(even)) == ["", "WEIGHTS", "odd"]


def test_functions_that_start_threads_are_told_from_those_that_do_not():
    parallel = CPUDispatcher(lambda x: x[0], targetoptions={"parallel": True})

    def direct(x):
        return parallel(x)

    def through_another(x):
        return once_more(x)

    once_more = CPUDispatcher(direct)
    for f in (parallel, CPUDispatcher(direct), CPUDispatcher(through_another)):
        assert module.captures.starts_threads(captured(f))
    for f in (CPUDispatcher(sum_of_squares), CPUDispatcher(lambda x: HELPER(x))):
        assert not module.captures.starts_threads(captured(f))


def test_no_thread_takes_an_f_for_harmless_while_another_still_looks_at_it(monkeypatch):
    parallel = CPUDispatcher(lambda x: x[0], targetoptions={"parallel": True})
    objective = CompiledObjective(CPUDispatcher(lambda x: parallel(x)))
    looking, seen = threading.Event(), []

    def held_up(f):
        if not looking.is_set():
            looking.set()
            other.join(2.0)  # long enough for the other thread to look, if nothing holds it up
        return captured(f)

    def look():
        looking.wait(60)
        objective.place(np.ones(3), ())
        seen.append(objective.threads)

    monkeypatch.setattr(module.captures, "captured", held_up)
    other = threading.Thread(target=look)
    other.start()
    objective.place(np.ones(3), ())
    other.join()
    assert not objective.threads
    assert seen == [False]


# --- what is refused -------------------------------------------------------------------------------------------------


def test_a_compiled_objective_refuses_to_be_evaluated_on_x_by_another_way():
    w, x = np.ones(3), np.ones(3)
    objective = CompiledObjective(CPUDispatcher(lambda x: w[0]))
    with pytest.raises(ValueError, match="captured variable 'w'"):
        objective.place(w[1:], ())
    with pytest.raises(ValueError, match=r"args\[1\] shares memory with x"):
        objective.place(x, (0, x[:2]))
    with pytest.raises(ValueError, match=r"args\[0\]\[1\] shares memory with x"):
        objective.place(x, ((0, x[:2]),))
    objective.place(x, (w, 3))
    objective.place(x.astype(int), (x,))


@pytest.mark.parametrize("make", [list, lambda x: x.astype(np.float32), lambda x: x.astype(int), lambda x: x[::-1]])
def test_the_place_of_a_compiled_objective_is_flat_float64(make):
    given = make(np.array([1.0, 2.0, 3.0]))
    memory, is_private = CompiledObjective(CPUDispatcher(sum_of_squares)).place(given, ())
    assert is_private
    assert memory.dtype == np.float64
    assert memory.flags.carray
    assert memory.tolist() == list(given)
    assert not np.shares_memory(memory, given)


def test_each_thread_works_on_a_copy_of_the_point():
    x = np.array([1.0, 2.0, 3.0])
    objective = CompiledObjective(CPUDispatcher(sum_of_squares))
    memory, _ = objective.place(x, ())
    from numgrad.schemes import rule_at

    sweep = objective.sweep(memory, (), *rule_at(memory, 1e-4, "central"), np.empty(3))
    states = [sweep.thread_state() for _ in range(2)]
    copies = [state.array for state in states]
    assert all(copy.tobytes() == x.tobytes() and not np.shares_memory(copy, x) for copy in copies)
    assert not np.shares_memory(*copies)


def test_a_global_that_became_x_after_the_first_use_is_found():
    scope = {"data": 2.0}
    exec("def f(x): return (data * x).sum()", scope)
    objective = CompiledObjective(CPUDispatcher(scope["f"]))
    objective.place(np.ones(3), ())
    scope["data"] = np.ones((2, 2))
    with pytest.raises(ValueError, match="captured variable 'data'"):
        objective.place(scope["data"], ())


@needs_jit
def test_methods_that_captured_x_are_found():
    from numba import float64
    from numba.experimental import jitclass
    from numba.extending import overload_attribute, overload_method

    w = np.array([1.0, 2.0])

    @jitclass([("k", float64)])
    class Model:
        def __init__(self, k):
            self.k = k

        def value(self, x):
            return np.sum(x * w)

        @staticmethod
        def of(x):
            return np.sum(x * w)

        @property
        def total(self):
            return np.sum(w)

        def __mul__(self, other):
            return np.sum(w) * other

    @overload_method(numba_types.Array, "times_w")
    def times_w(x):
        return lambda x: np.sum(x * w)

    @overload_attribute(numba_types.Array, "sum_of_w")
    def sum_of_w(x):
        return lambda x: np.sum(w)

    model = Model(1.0)
    for f, args in (
        (lambda x: Model(2.0).value(x), ()),
        (lambda x: Model(1.0).of(x), ()),
        (lambda x, m: m.value(x), (model,)),
        (lambda x, m: m[0].total * x[0], ((model, 1),)),
        (lambda x, m: m * x[0], (model,)),
        (lambda x: x.times_w(), ()),
        (lambda x: x.sum_of_w * x[0], ()),
    ):
        with pytest.raises(ValueError, match="reads x as the captured variable 'w'"):
            numerical_gradient(njit()(f), w, args=args)


# --- numba's errors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            errors.TypingError("Failed in nopython mode\nUnknown attribute 'a'\n\nDuring: typing"),
            "Unknown attribute 'a'",
        ),
        (
            errors.TypingError("Failed in x\nNo implementation of f\n >>> f(a)\nNumbaTypeError: cannot index\nmore"),
            "NumbaTypeError: cannot index",
        ),
        (errors.UnsupportedBytecodeError("no with"), "no with. Raised from None"),
        (errors.TypingError("Failed in nopython mode"), "Failed in nopython mode"),
    ],
)
def test_numbas_errors_become_type_errors_with_their_useful_line(error, said):
    with pytest.raises(TypeError, match=r"^numba cannot compile f for this x and args: ") as caught:
        arguments.raise_compile_error(error)
    assert str(caught.value).endswith(said)
    assert caught.value.__cause__ is error


def test_what_f_returned_is_said_without_numba():
    error = errors.TypingError("Failed\n  NumbaTypeError: f must return one real number, it returned complex128\nmore")
    with pytest.raises(TypeError, match=r"^f must return one real number, it returned complex128$"):
        arguments.raise_compile_error(error)


def test_other_errors_are_left_alone():
    assert arguments.raise_compile_error(ValueError("mine")) is None  # it raises where it has something to explain


# --- what f returns --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [2, 2.0, np.int8(2), np.float32(2), np.longdouble(2), np.array([[2]])])
def test_a_single_real_number_is_a_float(value):
    for number in (arguments.real_number(value), arguments.real_number(fractions.Fraction(2))):
        assert number == 2.0
        assert type(number) is float


def test_the_compiled_forms_agree_as_plain_python():
    assert module._from_number(2) == module._from_optional(2) == module._from_array("m")(np.array([2])) == 2.0
    assert module._from_complex(1 + 2j) == arguments.imaginary_part(1 + 2j) == 2.0
    for implementation, value in [
        (module._from_none("m"), None),
        (module._from_optional, None),
        (module._from_array("m"), np.ones(2)),
    ]:
        with pytest.raises(TypeError, match="m"):
            implementation(value)


@pytest.mark.parametrize(
    ("returned", "implementation"),
    [
        (numba_types.none, "_from_none"),
        (numba_types.float32, "_from_number"),
        (numba_types.intp, "_from_number"),
        (numba_types.float64[:, :], "_from_array"),
        (numba_types.Optional(numba_types.float64), "_from_optional"),
    ],
)
def test_a_form_is_chosen_by_the_type_that_f_returns(returned, implementation):
    assert implementation in module.real_form(returned).__qualname__


@pytest.mark.parametrize(
    "returned",
    [
        numba_types.complex128,
        numba_types.boolean,
        numba_types.unicode_type,
        numba_types.complex64[:],
        numba_types.UniTuple(numba_types.intp, 2),
    ],
)
def test_types_that_hold_no_real_number_have_no_form(returned):
    with pytest.raises(errors.NumbaTypeError, match="f must return one real number"):
        module.real_form(returned)


def test_the_complex_step_has_a_form_for_complex_numbers_alone():
    assert module.imaginary_form(numba_types.complex128) is module._from_complex
    for returned in (numba_types.float64, numba_types.none, numba_types.complex128[:]):
        with pytest.raises(errors.NumbaTypeError, match="scheme='complex' needs an f that returns a complex number"):
            module.imaginary_form(returned)


# --- what an exception leaves ----------------------------------------------------------------------------------------


@njit
def fails(x):
    if x[7] != 1.0:
        raise ValueError("mine")
    return x[0]


@needs_jit
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("scheme", ["central", "forward", "central4"])
def test_an_f_that_raises_leaves_neither_copies_nor_references(workers, scheme):
    x = np.ones(50_000)
    objective = objective_of(fails)
    objective.kept.clear()  # of another case
    references = sys.getrefcount(x)
    for _ in range(10):
        out = np.empty(x.shape)
        own = sys.getrefcount(out)
        with pytest.raises(ValueError, match="mine"):
            numerical_gradient(fails, x, scheme=scheme, workers=workers, out=out)
        for _ in range(10_000):  # the last frames of threads may live on for a moment
            if sys.getrefcount(out) == own and sys.getrefcount(x) == references:
                break
            time.sleep(0.001)
        assert sys.getrefcount(out) == own
    assert sys.getrefcount(x) == references
    assert 1 <= len(objective.kept) <= workers
    assert all(copy.shape == x.shape for copy in objective.kept)


class Data(NamedTuple):
    """What a compiled f may be given."""

    weights: np.ndarray
    others: tuple


@njit
def fails_with_data(x, data):
    if x[1] >= 1.0:
        raise ValueError("mine")
    return x[0] * data.weights[0] + data.others[1][0]


@needs_jit
def test_no_memory_of_the_package_is_kept_after_f_has_raised():
    objective = SeparableObjective(fails_with_data, [[0, 1], [1, 2]])
    x, array = np.ones(20_000), np.ones(5)
    args = (Data(array, (1.0, array)),)
    runs = [
        partial(numerical_gradient, fails_with_data),
        partial(numerical_gradient, fails_with_data, coordinates=np.arange(19_999)),
        partial(directional_derivative, fails_with_data, v=x),
        partial(numerical_hessian, objective),
        partial(numerical_gradient, objective),
    ]
    for run in runs:
        with pytest.raises(ValueError, match="mine"):
            run(x, args=args)
        gc.collect()
        tracemalloc.start()
        for _ in range(10):
            with pytest.raises(ValueError, match="mine"):
                run(x, args=args)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < 2 * x.nbytes
        tracemalloc.stop()


KEPT = []


@njit
def keeps_an_array(x, arrays, array, name):
    arrays.append(array)
    with objmode():
        KEPT.append(array)
    return x[0] * array[0] + len(name)


@needs_jit
def test_what_f_keeps_of_its_arguments_stays_alive():
    arrays = List([np.zeros(2)])
    for k in range(20):
        found = numerical_gradient(keeps_an_array, np.ones(2), args=(arrays, np.full(999, 2.0), "a" * k))
        assert found[0] == pytest.approx(2.0)
    gc.collect()
    others = [np.full(999, 3.0) for _ in range(99)]
    assert len(others) == 99
    assert all((np.asarray(array) == 2.0).all() for array in [*list(arrays)[1:], *KEPT])


@needs_jit
def test_what_a_thread_raises_is_freed_without_the_collector():
    @njit
    def fails(x):
        if x[40_000] != 1.0:
            raise ValueError("mine")
        return x[0]

    x = np.ones(50_000)
    gc.disable()
    try:
        for _ in range(20):
            out = np.empty(x.shape)
            own = sys.getrefcount(out)
            with pytest.raises(ValueError, match="mine"):
                numerical_gradient(fails, x, scheme="forward", workers=2, out=out)
            for _ in range(1000):  # the last frames of threads may live on for a moment
                if sys.getrefcount(out) == own:
                    break
                time.sleep(0.001)
            assert sys.getrefcount(out) == own
    finally:
        gc.enable()


@needs_jit
def test_a_copy_that_is_kept_serves_again_and_gives_the_right_bits():
    @njit
    def fails_beyond(x):
        if x[3] > 1.5:
            raise ValueError("mine")
        return np.sum(x * x)

    x, y = np.ones(100), np.ones(60)
    expected = numerical_gradient(fails_beyond, x), numerical_gradient(fails_beyond, y)
    for _ in range(3):
        with pytest.raises(ValueError, match="mine"):
            numerical_gradient(fails_beyond, 2 * x)
        assert numerical_gradient(fails_beyond, x).tobytes() == expected[0].tobytes()
        assert numerical_gradient(fails_beyond, y).tobytes() == expected[1].tobytes()
    assert len(objective_of(fails_beyond).kept) <= 1


@needs_jit
def test_jacobians_keep_one_copy_of_x_however_often_f_raises():
    @njit
    def fails_beyond(x):
        if x[3] > 1.5:
            raise ValueError("mine")
        return x * x

    x = np.ones(100)
    expected = [numerical_jacobian(fails_beyond, x).tobytes() for _ in range(2)]
    for _ in range(3):
        with pytest.raises(ValueError, match="mine"):
            numerical_jacobian(fails_beyond, 2 * x)
        assert numerical_jacobian(fails_beyond, x).tobytes() == expected[1] == expected[0]
    assert len(objective_of(fails_beyond).vectors[None].kept) <= 1


FREED = """
import numpy as np
from numba import njit
from numgrad import Gradient, numerical_gradient, numerical_jacobian

f = njit(lambda x: np.sum(x * x))
for x in (np.array([3.0]), np.array([3.0, 4.0]), np.arange(32.0)):
    for call in (numerical_gradient, numerical_jacobian, lambda f, x: Gradient(f)(x)):
        for _ in range(4):
            assert np.allclose(call(f, x), 2 * x), x
print("right")
"""


@needs_jit
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone fills what is freed")
def test_no_memory_is_read_after_it_was_freed():
    fills = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0:glibc.malloc.perturb=165"}
    command = [sys.executable, "-c", FREED]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=os.environ | fills)
    assert result.stdout.split() == ["right"], result.stderr


@needs_jit
@pytest.mark.parametrize("first", [np.float32, np.float64])
def test_the_digits_of_f_are_those_of_the_arguments_that_are_given(first):
    """What f returned for other arguments says nothing; a short call, which makes no sweep, tells it too."""

    @njit
    def f(x, work):  # in the precision of its work array
        work[:] = x
        return work[0] * work[0] + work[1] + work[0] * work[1]

    x, exact = np.array([300.0, 4.0]), np.array([604.0, 301.0])
    last = np.float64 if first is np.float32 else np.float32
    for dtype in (first, last, first, last):
        work = (np.zeros(2, dtype),)
        slopes = numerical_gradient(f, x, "auto", args=work)
        assert check_gradient(f, exact * (1 + 1e-4), x, args=work).ok == (dtype is np.float32)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            plain = [numerical_gradient(f, x, args=work) for _ in range(3)]
        if dtype is np.float32:
            assert [str(each.message)[:17] for each in caught] == ["about 1 digits of"] * 3
            np.testing.assert_allclose(slopes, exact, atol=0.5)
        else:
            assert not caught
            np.testing.assert_allclose(slopes, exact, rtol=1e-7)
            np.testing.assert_allclose(plain, [exact] * 3, rtol=1e-7)


def test_coordinates_of_a_call_are_not_kept():
    x = np.arange(1.0, 5.0)
    f = njit(lambda x: np.sum(x**2))
    chosen = np.arange(4)
    held = weakref.ref(chosen)
    for _ in range(3):
        assert np.allclose(numerical_gradient(f, x, coordinates=chosen), 2.0 * x)
    chosen[:] = [3, 3, 0, 1]  # the same array is read anew
    assert np.allclose(numerical_gradient(f, x, coordinates=chosen), [8.0, 8.0, 2.0, 4.0])
    del chosen
    gc.collect()
    assert held() is None


def test_calls_of_a_small_f_in_any_order_are_those_of_a_python_f():
    """What runs a call is remembered by its rule, which other steps, schemes, coordinates and bounds have, too."""

    def plain(x):
        return np.sum(x**3) + x[0] * x[1]

    rng, f = np.random.default_rng(0), njit(plain)
    options = [
        {"scheme": "forward"}, {"scheme": "central4"}, {"scheme": "central4", "h": 1e-3}, {"h": "auto"}, {"h": 1e-3},
        {"h": np.array([1e-3, 1e-4, 1e-5])}, {"bounds": (0.0, 9.0)}, {"coordinates": [2, 0]}, {"out": np.empty(3)},
        {"coordinates": np.array([2, 9, 0, 9, 1, 9])[::2], "scheme": "backward"}, {"scheme": "complex"}, {},
    ]  # fmt: skip
    for k in rng.permutation(np.repeat(np.arange(len(options)), 3)).tolist():
        x = rng.uniform(1.0, 2.0, 3)
        found = numerical_gradient(f, x, **options[k])
        own = options[k] | {"out": None}  # the result of the next call would overwrite this one
        assert np.allclose(found, numerical_gradient(plain, x, **own), rtol=1e-9), options[k]


# --- an f that numba pastes into what calls it -----------------------------------------------------------------------


def cubes_of(x):
    return np.sum(x**3)


def scaled_cubes(x, a):
    return a * np.sum(x**3)


def pair(x):
    return np.array([x[0] * x[1], x[0] - x[1]])


def element(z):
    return z[0] ** 2 * z[1]


def narrow(x):
    return np.float32(np.sum(x**3))


INLINE = {"by a cost model": lambda expr, caller, callee: True, "not by one": lambda *_: False}
AT = np.array([1.0, 2.0])
# What is made of a compiled f, and which f that is.
PASTED = {
    "gradient": (cubes_of, lambda f: numerical_gradient(f, AT)),
    "gradient of float32": (narrow, lambda f: numerical_gradient(f, AT, "auto")),
    "threads": (cubes_of, lambda f: numerical_gradient(f, AT, workers=2)),
    "another process": (cubes_of, lambda f: numerical_gradient(f, AT, workers=map)),
    "points": (cubes_of, lambda f: numerical_gradient(f, np.stack([AT, 2 * AT]), points_axis=0)),
    "complex": (cubes_of, lambda f: numerical_gradient(f, AT, scheme="complex")),
    "arguments": (scaled_cubes, lambda f: numerical_gradient(f, AT, args=(2.0,))),
    "object": (cubes_of, lambda f: Gradient(f)(AT)),
    "estimate": (cubes_of, lambda f: estimate_gradient(f, AT).value),
    "check": (cubes_of, lambda f: str(check_gradient(f, 3 * AT**2, AT))),
    "descent": (cubes_of, lambda f: gradient_descent(f, AT.copy(), 1e-3, 3)),
    "Hessian": (cubes_of, lambda f: numerical_hessian(f, AT)),
    "product": (cubes_of, lambda f: hessian_vector_product(f, AT, AT)),
    "Jacobian": (pair, lambda f: numerical_jacobian(f, AT)),
    "direction": (pair, lambda f: directional_derivative(f, AT, AT)),
    "elements": (element, lambda f: numerical_gradient(SeparableObjective(f, np.array([[0, 1], [1, 0]])), AT)),
}


@needs_jit
@pytest.mark.parametrize(
    ("route", "inline"), [*((name, "always") for name in PASTED), *(("gradient", k) for k in INLINE)]
)
def test_an_f_that_numba_pastes_into_its_callers_is_like_any_other(route, inline):
    f, call = PASTED[route]
    assert np.array_equal(call(njit(inline=INLINE.get(inline, inline))(f)), call(compiled_once(f)))


@needs_jit
def test_a_pasted_f_keeps_the_options_of_its_compiler_and_sees_that_it_was_recompiled():
    weights = np.array([1.0, 2.0])
    f = njit(inline="always", error_model="numpy")(lambda x: weights[0] / x[0] + weights[1] / x[1])
    assert numerical_gradient(f, AT) == pytest.approx([-1.0, -0.5])
    weights[:] = 4.0
    f.recompile()
    assert numerical_gradient(f, AT) == pytest.approx([-4.0, -1.0])
    assert np.isnan(numerical_gradient(f, AT - 1.0, 1.0)[1])  # 4 / 0 is infinite, and no ZeroDivisionError
    with pytest.raises(ValueError, match="captured variable 'weights'"):
        numerical_gradient(f, weights)


@needs_jit
def test_a_pasted_f_that_returns_float32_is_warned_of():
    f = njit(inline="always")(lambda x: np.float32(1e3 + x[0]))
    for _ in range(2):
        with pytest.warns(RuntimeWarning, match="f returns float32"):
            numerical_gradient(f, AT)
