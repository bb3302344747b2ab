"""An f that reads x by another way than its first argument, where that is a copy: found, and never answered wrongly."""

import functools
import types as python_types
from array import array
from contextlib import suppress

import numba
import numpy as np
import pytest
from numba import cfunc, njit, stencil, types
from numba.extending import overload
from problems import needs_jit

from numgrad import (
    check_gradient,
    estimate_gradient,
    gradient_descent,
    numerical_diff,
    numerical_gradient,
    numerical_jacobian,
)
from numgrad.points import depends_on


def point():
    return np.array([1.0, 3.0])


# --- the one mechanism -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble, ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_memory_that_is_read_is_told_from_memory_that_is_not(dtype, order):
    memory = np.ones((2, 3), dtype, order=order)
    before = memory.tobytes()
    assert depends_on(memory, lambda: memory.sum())
    assert depends_on(memory, lambda: float(memory[1, 2]) * 1e-9)
    assert not depends_on(memory, lambda: 3.0)
    assert not depends_on(memory, lambda: np.nan)
    assert memory.tobytes() == before


def test_what_raises_says_as_much_as_what_returns_and_noise_says_nothing():
    memory, noise = np.ones(3), iter(range(100))
    assert depends_on(memory, lambda: 1 / (memory[0] == 1.0))
    assert not depends_on(memory, lambda: next(noise))
    with pytest.raises(ZeroDivisionError):  # at rest, it is the caller's to know
        depends_on(memory, lambda: 1 / 0)


@pytest.mark.parametrize("how", [{"vectorized": True}, {"scheme": "complex"}])
@pytest.mark.parametrize("call", range(1, 8))
def test_what_f_raises_now_and_then_accuses_nobody(how, call):
    calls = iter(range(1, 100))

    def f(x):
        if next(calls) == call:
            raise OSError("the licence server is down")
        return (x**2).sum(axis=-1)

    x = np.array([1.0, 2.0])
    with suppress(OSError):  # as it was raised, or asked again where f was only looked into
        assert numerical_gradient(f, x, **how) == pytest.approx([2.0, 4.0])
    assert x.tolist() == [1.0, 2.0]


class TimeLimit(Exception):
    """What the handler of a signal raises: once, whatever runs then."""


LOOKS = {
    "vectorized": lambda f, x: numerical_gradient(f, x, vectorized=True),
    "complex": lambda f, x: numerical_gradient(f, x, scheme="complex"),
    "some": lambda f, x: numerical_gradient(f, x, scheme="complex", coordinates=[1]),
    "complex Jacobian": lambda f, x: numerical_jacobian(f, x, scheme="complex"),
    "copy": lambda f, x: numerical_gradient(lambda x: 0.0 * f(x), read_only(x)),
    "numbers": lambda f, x: numerical_diff(f, x, scheme="complex"),
}


def read_only(x):
    view = x.view()
    view.flags.writeable = False
    return view


@pytest.mark.filterwarnings("ignore:all differences are exactly zero")
@pytest.mark.parametrize("error", [TimeLimit, ValueError, StopIteration])
@pytest.mark.parametrize("look", LOOKS)
def test_what_is_raised_once_reaches_the_caller_from_wherever_f_is_asked(look, error):
    def run(call):
        calls = 0

        def f(x):
            nonlocal calls
            calls += 1
            if calls == call:
                raise error
            return x**2 if look in ("numbers", "complex Jacobian") else (x**2).sum(axis=-1)

        x = np.array([1.0, 2.0])
        try:
            LOOKS[look](f, x)
        finally:
            assert x.tolist() == [1.0, 2.0]
        return calls

    for call in range(1, run(0) + 1):
        with pytest.raises(error):
            run(call)


def test_what_is_raised_where_memory_is_displaced_may_change():
    memory, errors = np.ones(3), iter(range(100))

    def evaluate():
        if memory[0] != 1.0:
            raise (ValueError, ZeroDivisionError)[next(errors) % 2]
        return 0.0

    assert depends_on(memory, evaluate)  # it reads it: whatever it raises
    assert not depends_on(np.ones(3), lambda: 0.0)


def test_an_interrupt_leaves_no_byte_changed():
    memory = np.ones(3)

    def evaluate():
        if memory[0] != 1.0:
            raise KeyboardInterrupt
        return 0.0

    with pytest.raises(KeyboardInterrupt):
        depends_on(memory, evaluate)
    assert memory.tolist() == [1.0, 1.0, 1.0]


# --- batches and the complex step ------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [1.0, 1e-2, 1e-9])
@pytest.mark.parametrize("how", [{"vectorized": True}, {"scheme": "complex"}, {"vectorized": True, "h": "auto"}])
def test_an_f_that_reads_x_beside_its_argument_is_refused(how, share):
    x = point()

    def f(z):
        return (z**2).sum(-1) + share * (x**2).sum()

    before = x.tobytes()
    for _ in range(2):  # and not only the first time
        with pytest.raises(ValueError, match="by another way than its first argument"):
            numerical_gradient(f, x, **how)
    assert x.tobytes() == before
    other = x.copy()
    assert numerical_gradient(f, other, **how) == pytest.approx(2 * other, rel=1e-6)


def test_x_in_args_of_a_batch_is_found():
    x = point()
    with pytest.raises(ValueError, match="by another way"):
        numerical_gradient(lambda batch, p: (batch * p).sum(1), x, args=(x,), vectorized=True)


def test_a_descent_by_the_complex_step_is_refused_before_x_moves():
    x = point()
    with pytest.raises(ValueError, match="by another way"):
        gradient_descent(lambda z: (z**2).sum() + (x**2).sum(), x, scheme="complex")
    assert x.tolist() == [1.0, 3.0]


def test_callables_without_hash_or_weak_references_are_asked_at_each_call():
    class Unhashable:
        __hash__ = None
        calls = 0

        def __call__(self, batch):
            self.calls += 1
            return (batch**2).sum(1)

    f, x = Unhashable(), point()
    for calls in (5, 10):
        assert numerical_gradient(f, x, vectorized=True) == pytest.approx(2 * x)
        assert f.calls == calls


# --- wrong axes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1,), (2,), (4,), (2896,), (1, 2), (2, 1), (3, 3), (1, 2, 3)])
@pytest.mark.parametrize("which", [None, [0], [0, 0], [0, 0, 0, 0]])
def test_a_batch_that_is_summed_along_another_axis_is_refused(shape, which):
    x = np.ones(shape)
    if which is None and x.size > 100:
        which = [0, 1]
    for axis in range(x.ndim):  # all axes but one of x, with that of the batch
        axes = tuple(other for other in range(x.ndim + 1) if other != axis + 1)
        with pytest.raises(TypeError, match="a vectorized f must return"):
            numerical_gradient(lambda batch, axes=axes: (batch**2).sum(axes), x, coordinates=which, vectorized=True)
    right = numerical_gradient(
        lambda batch: (batch**2).sum(tuple(range(1, x.ndim + 1))), x, coordinates=which, vectorized=True
    )
    assert right == pytest.approx(np.full(right.shape, 2.0))


def test_the_wrong_axis_is_seen_where_block_and_x_have_the_same_length():
    with pytest.raises(TypeError, match="a vectorized f must return 1 real numbers"):
        numerical_gradient(lambda batch: (batch**2).sum(0), np.ones(2896), vectorized=True)


# --- compiled --------------------------------------------------------------------------------------------------------


@njit
def element(x, p):
    return p[1] * x[0]


@njit
def entry(x, p):
    return p["a"][1] * x[0]


@njit
def member(x, p):
    return p.a[1] * x[0]


@njit
def nested(x, p):
    return p[0].a[1] * x[0]


@functools.cache
def boxes_and_records():
    """Return a class of numba and a struct of it, which are compiled once."""
    from numba.experimental import jitclass, structref

    @jitclass([("a", types.float64[::1])])
    class Box:
        def __init__(self, a):
            self.a = a

    @structref.register
    class RecordType(types.StructRef):
        pass

    class Record(structref.StructRefProxy):
        def __new__(cls, a):
            return structref.StructRefProxy.__new__(cls, a)

    structref.define_proxy(Record, RecordType, ["a"])
    return Box, Record


def boxes(x):
    """Yield what leads to the memory of x, a compiled f that goes there, and the same with other memory."""
    Box, Record = boxes_and_records()

    def table(a):
        made = numba.typed.Dict.empty(types.unicode_type, types.float64[::1])
        made["a"] = a
        return made

    yield Box(x), member, Box(x.copy())
    yield (Box(x),), nested, (Box(x.copy()),)
    yield Record(x), member, Record(x.copy())
    yield table(x), entry, table(x.copy())
    yield memoryview(x), element, memoryview(x.copy())


@needs_jit
@pytest.mark.parametrize("which", range(5))
def test_an_argument_that_leads_to_x_is_refused_at_each_call_and_another_is_not(which):
    x = point()
    own, f, other = list(boxes(x))[which]
    for _ in range(2):
        assert numerical_gradient(f, x, args=(other,)).tolist() == pytest.approx([3.0, 0.0])
        for ask in (numerical_gradient, estimate_gradient):
            with pytest.raises(ValueError, match=r"args.*a compiled f sees only a private copy"):
                ask(f, x, args=(own,))
    with pytest.raises(ValueError, match="a compiled f sees only a private copy"):
        check_gradient(f, [3.0, 1.0], x, args=(own,))
    assert x.tolist() == [1.0, 3.0]


@needs_jit
def test_records_and_buffers_are_memory_too():
    records = np.zeros(1, [("b", "f8"), ("a", "f8", (2,))])
    records["a"] = point()
    x = records["a"][0]
    with pytest.raises(ValueError, match=r"args\[0\] shares memory with x"):
        numerical_gradient(member, x, args=(records[0],))
    assert numerical_gradient(member, x, args=(records.copy()[0],)).tolist() == pytest.approx([3.0, 0.0])
    buffer = array("d", [1.0, 3.0])
    with pytest.raises(ValueError, match=r"args\[0\] shares memory with x"):
        numerical_gradient(element, np.frombuffer(buffer), args=(buffer,))


FROZEN = point()
RECORDS = np.zeros(1, [("b", "f8"), ("a", "f8", (2,))])
RECORD = RECORDS[0]
CALLBACK = cfunc("float64(float64)")(lambda value: value * FROZEN[1])


@stencil
def neighbours(x):
    return x[0] * FROZEN[1]


def product(value):
    """Stand for what numba overloads."""


@overload(product)
def overloaded_product(value):
    def implementation(value):
        return value * FROZEN[1]

    return implementation


@njit
def inner(value):
    return value * FROZEN[1]


@needs_jit
@pytest.mark.parametrize(
    "f",
    [
        lambda x: CALLBACK(x[0]),
        lambda x: neighbours(x).sum(),
        lambda x: product(x[0]),
        lambda x: inner(x[0]),
    ],
    ids=["cfunc", "stencil", "overload", "function"],
)
def test_x_that_numba_froze_in_what_f_calls_is_found(f):
    with pytest.raises(ValueError, match="captured variable 'FROZEN'"):
        numerical_gradient(njit(f), FROZEN)
    assert numerical_gradient(njit(f), np.array([1.0, 3.0])) is not None


@needs_jit
def test_x_that_numba_froze_in_an_argument_or_a_record_is_found():
    with pytest.raises(ValueError, match="captured variable 'FROZEN'"):
        numerical_gradient(njit(lambda x, g: g(x[0])), FROZEN, args=(inner,))
    with pytest.raises(ValueError, match="captured variable 'RECORDS'"):
        numerical_gradient(njit(lambda x: RECORDS[0].a[1] * x[0]), RECORDS["a"][0])


@needs_jit
@pytest.mark.parametrize("args", [(), (FROZEN,)])
def test_a_compiled_f_of_batches_is_refused_likewise(args):
    f = njit((lambda batch, p: (batch * p).sum(1)) if args else (lambda batch: (batch * FROZEN).sum(1)))
    with pytest.raises(ValueError, match=r"a compiled f sees only a private copy|captured variable 'FROZEN'"):
        numerical_gradient(f, FROZEN, args=args, vectorized=True)


@needs_jit
def test_an_attribute_of_an_argument_is_not_that_of_a_module():
    module = python_types.ModuleType("module")
    module.T, module.twice = FROZEN, njit(lambda value: 2.0 * value)
    f = njit(lambda x, p: module.twice(x[0]) + p.T[0, 0])
    assert numerical_gradient(f, FROZEN, args=(np.ones((2, 2)),)).tolist() == pytest.approx([2.0, 0.0])


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (np.float64, {"vectorized": True}),
        (np.float32, {"vectorized": True}),
        (np.float32, {"scheme": "complex"}),
        (np.float16, {"scheme": "complex"}),
        (np.float64, {"scheme": "complex"}),
    ],
)
def test_what_is_looked_at_beside_the_largest_number_does_not_overflow_for_the_caller(kind, options):
    x, scale = np.array([np.finfo(kind).max, 1.0], kind), 1.0 / float(np.finfo(kind).max)

    def f(x):
        with np.errstate(all="ignore"):
            return np.sum(x * scale, axis=-1)

    with np.errstate(all="raise"):
        assert numerical_gradient(f, x, "auto", **options)[0] == pytest.approx(scale, rel=1e-3)
