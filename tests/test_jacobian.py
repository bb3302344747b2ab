"""numerical_jacobian: shapes, exact values, bits, memory, faults."""

import itertools
import os
import pickle
import signal
import tracemalloc
from decimal import Decimal
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from problems import compiled, compiled_once, needs_jit
from scipy.optimize import Bounds

from numgrad import Jacobian, Scheme, directional_derivative, numerical_gradient, numerical_jacobian, reference
from numgrad.problem import Options, Problem

SCHEMES = ["central", "forward", "backward", "central4", "central6", "complex"]
REAL = SCHEMES[:-1]
X = np.array([1.3, -2.0, 0.7])


def outputs(x):
    """An f of three coordinates with outputs of shape (3, 2): products, a sine, signed zeros, a constant."""
    return np.array([[x[0] * x[1] ** 2, np.sin(x[2])], [x[0] - x[1], -0.0 * x[1]], [3.0 + 0.0 * x[0], np.exp(x[0])]])


def exact(x):
    j = np.zeros((3, 2, 3))
    j[0, 0, :2] = x[1] ** 2, 2 * x[0] * x[1]
    j[0, 1, 2], j[1, 0, 0], j[1, 0, 1], j[2, 1, 0] = np.cos(x[2]), 1.0, -1.0, np.exp(x[0])
    return j


def in_batches(x):
    return np.stack([outputs(point) for point in x])


def compiled_outputs():
    return compiled_once(outputs)


def squares(x):
    return x * x


def same_bits(a, b):
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("is_compiled", [False, True], ids=["Python", "compiled"])
@pytest.mark.parametrize("workers", [1, 2])
def test_the_default_has_the_bits_of_the_plain_loop(is_compiled, workers):
    f = compiled_outputs() if is_compiled else outputs
    assert same_bits(numerical_jacobian(f, X.copy(), workers=workers), reference.numerical_jacobian(outputs, X.copy()))


@pytest.mark.parametrize("bounds", [None, (-2.0, 1.3), Bounds([0, -3, 0.7], [2, -2, 3])], ids=["free", "ends", "SciPy"])
@pytest.mark.parametrize("h", [1e-4, "auto", np.array([1e-4, 2e-4, 1e-5])], ids=["one", "auto", "each"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_is_exact_to_its_order_and_alike_for_every_kind(scheme, h, bounds):
    found = numerical_jacobian(outputs, X.copy(), h, scheme=scheme, bounds=bounds)
    order = {"forward": 1, "backward": 1, "central4": 4, "central6": 6}.get(scheme, 2)
    is_auto = isinstance(h, str)
    step = 2 * 2.2e-16 ** (1 / (order + 1)) if is_auto else np.max(h)
    # All derivatives of the outputs are below 8 near X; a stand-in near bounds of order p has an error of h**p.
    assert np.abs(found - exact(X)).max() <= 8 * step**order + 1e2 * 2.2e-16 * 8 / (step if is_auto else 1e-5)
    assert same_bits(numerical_jacobian(compiled_outputs(), X, h, scheme=scheme, bounds=bounds), found)
    if scheme != "complex":
        batches = numerical_jacobian(in_batches, X, h, scheme=scheme, bounds=bounds, vectorized=True)
        assert same_bits(batches, found)


@pytest.mark.parametrize("shape", [(), (1,), (2, 3), (2, 1, 2)])
@pytest.mark.parametrize("f", [np.sum, lambda x: x * x, lambda x: np.array([[x.sum()]]), lambda x: x.reshape(-1)[:1]])
def test_the_shape_is_that_of_f_and_then_that_of_x(f, shape):
    x = np.arange(1.0, 1.0 + np.prod(shape, dtype=int)).reshape(shape)
    found = numerical_jacobian(f, x)
    assert found.shape == np.shape(f(x)) + shape
    assert same_bits(found, reference.numerical_jacobian(f, x))


def test_an_f_with_one_output_has_its_gradient():
    def f(x):
        return x[0] * x[1] + np.sin(x[2])

    for kind in (f, compiled(f)):
        assert same_bits(numerical_jacobian(kind, X), numerical_gradient(kind, X))


def test_there_are_two_evaluations_a_coordinate_and_one_for_the_shape():
    calls = []

    def f(x):
        calls.append(x.copy())
        return x * x

    for scheme, count in [("central", 7), ("forward", 4), ("backward", 4), ("central4", 13), ("central6", 19)]:
        calls.clear()
        numerical_jacobian(f, X.copy(), scheme=scheme)
        assert len(calls) == count
    assert not np.isnan(calls).any()


def complex_outputs(x):
    return np.array([np.exp(1j * x[0]) * x[1], x[2] + 0j])


def test_complex_outputs_are_differentiated_part_by_part():
    found = numerical_jacobian(complex_outputs, X)
    parts = [reference.numerical_jacobian(lambda x, p=p: p(complex_outputs(x)), X.copy()) for p in (np.real, np.imag)]
    assert found.dtype == np.complex128
    assert same_bits(found.real.copy(), parts[0])
    assert same_bits(found.imag.copy(), parts[1])
    assert same_bits(numerical_jacobian(compiled(complex_outputs), X), found)
    out = np.empty((2, 3), np.complex128)
    assert numerical_jacobian(complex_outputs, X, out=out) is out
    assert same_bits(out, np.ascontiguousarray(found))
    with pytest.raises(TypeError, match="scheme='complex' needs an f that is real for a real x"):
        numerical_jacobian(complex_outputs, X, scheme="complex")
    with pytest.raises(TypeError, match="out must be a complex128 array, got an array of dtype float64"):
        numerical_jacobian(complex_outputs, X, out=np.empty((2, 3)))


def test_a_real_value_among_complex_ones_counts_as_complex():
    found = numerical_jacobian(lambda x: x + 0j if x[0] == X[0] else x, X.copy())
    assert np.abs(found - np.eye(3)).max() < 1e-10


@pytest.mark.parametrize("number", [Fraction, Decimal, mpmath.mpf])
def test_outputs_may_be_numbers_of_any_class(number):
    def f(x):
        return [number(float(x[0])) ** 2, number(float(x[1])) * 3]

    assert numerical_jacobian(f, X[:2].copy()) == pytest.approx(np.diag([2.6, 3.0]), abs=1e-9)
    mixed = numerical_jacobian(lambda x: np.array([f(x)[0], x[1], np.int64(3)], dtype=object), X[:2].copy())
    assert mixed == pytest.approx(np.array([[2.6, 0.0], [0.0, 1.0], [0.0, 0.0]]), abs=1e-9)


@pytest.mark.parametrize(
    "make",
    [
        lambda x: [x[0], 2.0 * x[1]],
        lambda x: (x[0], 2.0 * x[1]),
        lambda x: np.array([x[0], 2.0 * x[1]], np.float32),
        lambda x: np.array([x[0], 2.0 * x[1]])[::-1][::-1],
        lambda x: np.array([x[0], 2.0 * x[1]], np.longdouble),
    ],
    ids=["list", "tuple", "float32", "strided", "longdouble"],
)
def test_what_f_returns_may_be_a_list_or_of_any_float(make):
    found = numerical_jacobian(make, np.array([1.0, 2.0]), 1e-2)
    assert found.dtype == np.float64
    assert np.abs(found - [[1.0, 0.0], [0.0, 2.0]]).max() < 1e-4


@needs_jit
@pytest.mark.parametrize("make", [lambda x: (x[0], 2.0 * x[1]), lambda x: [x[0], 2.0 * x[1]]], ids=["tuple", "list"])
def test_what_a_compiled_f_returns_may_be_a_tuple_or_a_list(make):
    found = numerical_jacobian(compiled(make), np.array([1.0, 2.0]))
    assert np.abs(found - [[1.0, 0.0], [0.0, 2.0]]).max() < 1e-11


def of_two_layouts(x, is_column):
    if is_column:
        return np.array([[x[0], 0.0], [2.0 * x[1], 0.0]])[:, 0]
    return np.array([x[0], 2.0 * x[1]])[::-1][::-1]


@needs_jit
def test_what_a_compiled_f_returns_may_be_of_any_layout():
    f = compiled(of_two_layouts)
    for is_column in (False, True):
        found = numerical_jacobian(f, np.array([1.0, 2.0]), args=(is_column,))
        assert np.abs(found - [[1.0, 0.0], [0.0, 2.0]]).max() < 1e-11


def test_a_layout_of_two_dimensions_keeps_its_order():
    def f(x):
        return np.array([[x[0], x[1], x[2]], [x[1], x[2], 5.0 * x[0]]]).T

    for kind in (f, compiled(f)):
        assert same_bits(numerical_jacobian(kind, X.copy()), reference.numerical_jacobian(f, X.copy()))


def test_integers_and_bools_are_numbers():
    assert same_bits(numerical_jacobian(lambda x: (100 * x).astype(int), np.ones(2), 1.0), 100.0 * np.eye(2))
    assert same_bits(numerical_jacobian(lambda x: x > 0.5, np.array([0.5]), 1.0), np.array([[0.5]]))
    assert same_bits(numerical_jacobian(compiled(lambda x: x > 0.5), np.array([0.5]), 1.0), np.array([[0.5]]))


def test_the_same_buffer_may_come_back_each_time():
    buffer = np.empty(3)

    def f(x):
        buffer[:] = x * x
        return buffer

    assert same_bits(numerical_jacobian(f, X.copy()), reference.numerical_jacobian(lambda x: x * x, X.copy()))


def test_f_may_return_its_argument_itself():
    assert np.abs(numerical_jacobian(lambda x: x, X.copy()) - np.eye(3)).max() < 1e-11
    assert np.abs(numerical_jacobian(compiled(lambda x: x), X.copy()) - np.eye(3)).max() < 1e-11


def test_nan_comes_where_it_belongs_and_nothing_is_said(recwarn):
    def f(x):
        return np.array([x[0], np.nan if x[1] > -2.0 else x[1], np.inf, x[2]])

    expected = np.isnan(reference.numerical_jacobian(lambda x: np.nan_to_num(f(x), nan=np.nan, posinf=1.0), X.copy()))
    expected[2] = True
    for kind in (f, compiled(f)):
        found = numerical_jacobian(kind, X.copy())
        assert np.array_equal(np.isnan(found), expected)
        assert abs(found[3, 2] - 1.0) < 1e-11
    assert not recwarn.list


@pytest.mark.parametrize(
    ("f", "error", "said"),
    [
        (lambda x: None, TypeError, "f must return an array of numbers, it returned NoneType None: is a return"),
        (lambda x: "abc", TypeError, "f must return an array of numbers, it returned str 'abc'"),
        (lambda x: [[1.0], [2.0, 3.0]], ValueError, "it returned lists that differ in length"),
        (lambda x: [None, x[0]], TypeError, "f must return an array of numbers, it returned"),
        (lambda x: x[:2] if x[0] > 1.3 else x, ValueError, r"shape \(2,\), not float64 of shape \(3,\)"),
        (lambda x: x.reshape(1, 3) if x[0] > 1.3 else x.reshape(3, 1), ValueError, r"shape \(1, 3\), not float64 of"),
        (lambda x: x * 1j if x[0] > 1.3 else x, ValueError, "dtype complex128 and shape"),
        (lambda x: np.ma.masked_less(x, 0.0), TypeError, "f returned masked elements"),
        (3.0, TypeError, "f must be callable"),
    ],
)
def test_what_f_must_not_return_is_named_in_one_line(f, error, said):
    x = X.copy()
    with pytest.raises(error, match=said) as caught:
        numerical_jacobian(f, x)
    assert "\n" not in str(caught.value)
    assert x.tobytes() == X.tobytes()


@needs_jit
def test_what_a_compiled_f_must_not_return_is_named_in_one_line():
    for f, error, said in [
        (lambda x: "abc", TypeError, "f must return an array of numbers, it returned"),
        (lambda x: x[:2] if x[0] > 1.3 else x, ValueError, "near x it returned another than at x"),
    ]:
        with pytest.raises(error, match=said) as caught:
            numerical_jacobian(compiled(f), X)
        assert "\n" not in str(caught.value)


def test_a_tensor_that_requires_grad_is_named():
    class Tensor:
        def __array__(self, dtype=None, copy=None):
            raise RuntimeError("Can't call numpy() on Tensor that requires grad.")

    with pytest.raises(TypeError, match="it returned Tensor: Can't call numpy"):
        numerical_jacobian(lambda x: Tensor(), X)


def test_the_gradient_of_several_outputs_says_what_to_call():
    said = r"f must return one real number, it returned .*; numerical_jacobian\(f, x\) gives the derivatives"
    for f in (outputs, compiled_outputs()):
        with pytest.raises(TypeError, match=said):
            numerical_gradient(f, X)


def test_kinds_with_one_number_and_functions_that_cannot_fill_are_refused():
    from numgrad import simpleNet

    net = simpleNet(rng=0)
    with pytest.raises(TypeError, match=r"f must return an array, .* has one number; numerical_gradient takes it"):
        numerical_jacobian(net.objective([1.0, 2.0], 1), net.W)
    with pytest.raises(TypeError, match="fills=True needs a compiled f"):
        Problem(outputs, X, Options(fills=True)).jacobian()


def test_empty_points_and_outputs_have_empty_jacobians():
    def ones(x, shape):
        return np.ones(shape)

    for f in (ones, compiled(ones)):
        assert numerical_jacobian(f, np.empty(0), args=((2, 3),)).shape == (2, 3, 0)
        assert numerical_jacobian(f, X, args=((0, 3),)).shape == (0, 3, 3)


def fill_products(x, out, a):
    for i in range(x.size):
        out[i] = a * x[i] * x[i - 1]


def fill_a_matrix(x, out):
    for i in range(2):
        for j in range(3):
            out[i, j] = x[j] ** (i + 1)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_compiled_f_may_fill_its_outputs(workers):
    f = compiled_once(fill_products)
    for _ in range(2):  # the second call knows the time of the first
        found = Problem(f, X, Options(args=(2.0,), fills=True, workers=workers)).jacobian()
        expected = reference.numerical_jacobian(lambda x: 2.0 * x * np.roll(x, 1), X.copy())
        assert same_bits(found, expected)
    found = Problem(f, X, Options("auto", args=(2.0,), fills=True, scheme="complex")).jacobian()
    assert np.array_equal(found, [[1.4, 0.0, 2.6], [-4.0, 2.6, 0.0], [0.0, 1.4, -4.0]])
    found = Problem(compiled_once(fill_a_matrix), X, Options(fills=(2, 3), workers=workers)).jacobian()
    assert np.abs(found - [np.eye(3), np.diag(2 * X)]).max() < 1e-10


def test_what_f_does_not_fill_is_nan():
    def fill_some(x, out):
        out[0] = x[0]

    for scheme in SCHEMES:
        found = Problem(compiled_once(fill_some), X, Options("auto", fills=True, scheme=scheme)).jacobian()
        assert np.isnan(found[1:]).all()
        assert found[0] == pytest.approx([1.0, 0.0, 0.0])


def writes(x, limit, i):
    if x[0] > limit:
        x[i] += 1.0
    return x * x


class Fault(Exception):
    pass


@pytest.mark.parametrize("at", [1, 2, 4, 7])
def test_an_exception_leaves_the_memory_as_it_was(at):
    calls = 0

    def f(x):
        nonlocal calls
        calls += 1
        if calls == at:
            raise Fault
        return x * x

    x = X.copy()
    with pytest.raises(Fault):
        numerical_jacobian(f, x)
    assert x.tobytes() == X.tobytes()


@pytest.mark.parametrize("bounds", [None, (-2.0, 1.3)])
@pytest.mark.parametrize("scheme", REAL)
@pytest.mark.parametrize("width", [1, 7, 3000])
def test_after_an_exception_each_column_is_finished_or_nan(scheme, bounds, width):
    """At every evaluation, the second of a column too; and with outputs of which one block holds a few, or none."""

    def f(x, ends):
        left[0] -= 1
        if left[0] == 0 and ends:
            raise Fault
        return np.resize(np.concatenate([x * x, x[:1] * x]), width)

    left = [0]
    whole = numerical_jacobian(f, X, args=(False,), scheme=scheme, bounds=bounds)
    finished = []
    for at in range(1, -left[0] + 1):
        left, out = [at], np.full((width, 3), 7.0)
        with pytest.raises(Fault):
            numerical_jacobian(f, X, args=(True,), scheme=scheme, bounds=bounds, out=out)
        done = ~np.isnan(out).any(axis=0)
        assert np.isnan(out[:, ~done]).all()
        assert out[:, done].tobytes() == whole[:, done].tobytes()
        finished.append(done.sum())
    assert finished == sorted(finished)
    assert set(finished) >= {1, 2}


def test_ctrl_c_leaves_the_memory_as_it_was():
    calls = 0

    def f(x):
        nonlocal calls
        calls += 1
        if calls == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return x * x

    x = X.copy()
    with pytest.raises(KeyboardInterrupt):
        numerical_jacobian(f, x)
    assert x.tobytes() == X.tobytes()


def test_a_compiled_f_may_raise_and_is_asked_again():
    def f(x):
        if x[0] > 1.3:
            raise ValueError("too far")
        return x * x

    kind = compiled(f)
    for _ in range(3):
        with pytest.raises(ValueError, match="too far"):
            numerical_jacobian(kind, X)
    assert np.abs(numerical_jacobian(kind, X - 1.0) - np.diag(2 * (X - 1.0))).max() < 1e-10


@pytest.mark.parametrize(("limit", "i"), [(-np.inf, 0), (-np.inf, 1), (-np.inf, 2), (1.3, 1), (1.3, 2)])
def test_an_f_that_writes_to_its_argument_is_found(limit, i):
    for f in (writes, compiled_once(writes)):  # at x too, or next to x only
        x = X.copy()
        with pytest.raises(ValueError, match="f writes to its argument"):
            numerical_jacobian(f, x, args=(limit, i))
        assert x.tobytes() == X.tobytes()


def test_f_may_read_x_by_another_name():
    x = X.copy()
    assert same_bits(numerical_jacobian(lambda _: x * x, x), reference.numerical_jacobian(lambda x: x * x, X.copy()))
    assert same_bits(
        numerical_jacobian(lambda _: x * x, x, workers=2), reference.numerical_jacobian(lambda x: x * x, X.copy())
    )
    with pytest.raises(ValueError, match="reads x by another way"):
        numerical_jacobian(lambda z: z * x, x, scheme="complex")
    with pytest.raises(ValueError, match="reads x by another way"):
        numerical_jacobian(lambda z: z * x, x, vectorized=True)
    with pytest.warns(RuntimeWarning, match="all differences are exactly zero"):
        numerical_jacobian(lambda _: x * x, x.tolist())


def fixed(x):
    x = np.array(x, np.float64)
    x.flags.writeable = False
    return x


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "make", [list, tuple, lambda x: np.array(x, int), fixed], ids=["list", "tuple", "int", "fixed"]
)
@pytest.mark.parametrize("options", [{}, {"h": "auto"}, {"scheme": "central4"}, {"bounds": (-1.0, 1.0)}], ids=str)
def test_an_f_that_is_even_at_a_copy_is_not_accused(make, options):
    even, x = compiled_once(squares), make([0, 0, 0])
    for f in (squares, even):
        assert not numerical_jacobian(f, x, **options).any()
        assert not numerical_jacobian(f, x, sparsity=np.eye(3), **options).toarray().any()
        assert not np.any(directional_derivative(f, x, [1.0, 0.0, -2.0], **options))
    y = np.array([3.0, 4.0])
    with pytest.warns(RuntimeWarning, match="all differences are exactly zero"):
        numerical_jacobian(lambda _: y * y, make([0, 0, 0]), **options)


@pytest.mark.parametrize("call", [2, 4])
def test_an_f_that_writes_to_its_argument_beside_x_is_found_along_directions(call):
    calls, x = itertools.count(), np.array([1.0, 2.0, 3.0])

    def f(x):
        value = x * x
        if next(calls) == call:  # after f(x), the second side of the first and of the last direction
            x[1] = 5.0
        return value

    with pytest.raises(ValueError, match="f writes to its argument"):
        directional_derivative(f, x, np.eye(2, 3))
    assert x.tolist() == [1.0, 2.0, 3.0]


@needs_jit
def test_a_compiled_f_that_captured_x_is_refused():
    x = X.copy()
    with pytest.raises(ValueError, match="captured variable 'x'"):
        numerical_jacobian(compiled(lambda z: z * x), x)
    with pytest.raises(ValueError, match=r"args\[0\] shares memory with x"):
        numerical_jacobian(compiled(lambda z, a: z * a), x, args=(x,))
    f = compiled(lambda z: z * x)
    for _ in range(3):  # the third one could be made as the second was
        assert np.allclose(numerical_jacobian(f, x + 1.0), np.diag(x))
    with pytest.raises(ValueError, match="captured variable 'x'"):
        numerical_jacobian(f, x)


@pytest.mark.parametrize("kind", [np.complex64, np.float32])
def test_automatic_steps_fit_the_digits_of_complex64_too(kind):
    found = numerical_jacobian(lambda x: np.exp(x).astype(kind), X.copy(), "auto")
    assert np.abs(found - np.diag(np.exp(X))).max() < 1e-3 * np.exp(X).max()


def test_a_copy_of_a_view_elsewhere_is_found():
    whole = np.arange(6.0)
    with pytest.raises(ValueError, match="in another process f reads another array"):
        numerical_jacobian(lambda _: whole * whole, whole[::2], workers=2)


@pytest.mark.parametrize(
    "x",
    [
        np.array([1.5, 2.0], np.float32),
        np.array([1.5, 2.0], ">f8"),
        np.array([1.5, 0.0, 2.0, 0.0])[::2],
        np.asfortranarray([[1.5, 2.0], [3.0, 4.0]]),
        np.ma.array([1.5, 2.0, 3.0], mask=[0, 0, 0]),
        np.array([1, 2]),
        [1.5, 2.0],
        1.5,
    ],
    ids=["float32", "big endian", "strided", "Fortran", "masked", "integers", "list", "scalar"],
)
def test_points_of_any_layout(x):
    before = np.asarray(x).tobytes()
    found = numerical_jacobian(lambda z: np.asarray(z, float) ** 2, x, 2.0**-6)
    flat = np.asarray(x, float)
    assert np.abs(found.reshape(flat.size, flat.size) - np.diag(2 * flat.reshape(-1))).max() < 1e-12
    assert np.asarray(x).tobytes() == before
    found = numerical_jacobian(compiled_once(squares), x, 2.0**-6)
    assert np.abs(found.reshape(flat.size, flat.size) - np.diag(2 * flat.reshape(-1))).max() < 1e-12


def test_out_is_written_and_checked():
    out = np.empty((3, 2, 3))
    assert numerical_jacobian(outputs, X.copy(), out=out) is out
    assert same_bits(out, reference.numerical_jacobian(outputs, X.copy()))
    for wrong, error, said in [
        (np.empty((3, 3)), ValueError, r"out must have the shape of the result, \(3, 2, 3\)"),
        (np.empty((3, 2, 3), np.float32), TypeError, "out must be a float64 array"),
        (np.empty((3, 2, 3), order="F"), ValueError, "C-contiguous"),
    ]:
        with pytest.raises(error, match=said):
            numerical_jacobian(outputs, X.copy(), out=wrong)
    x = np.arange(9.0)
    with pytest.raises(ValueError, match="out must not share memory with x"):
        numerical_jacobian(lambda z: z[:1], x, out=x.reshape(1, 9))


def test_arguments_are_passed_on_and_checked():
    for f in (lambda x, a, b: a * x + b, compiled(lambda x, a, b: a * x + b)):
        assert np.abs(numerical_jacobian(f, X, args=(2.0, X.copy())) - 2.0 * np.eye(3)).max() < 1e-10
        with pytest.raises(TypeError, match="args must be a tuple"):
            numerical_jacobian(f, X, args=2.0)
        with pytest.raises(TypeError, match="further arguments of f go to args"):
            numerical_jacobian(f, X, (2.0, 3.0))
    for key, value, error in [("scheme", "five", ValueError), ("workers", 0, ValueError), ("progress", 3, TypeError)]:
        with pytest.raises(error):
            numerical_jacobian(outputs, X, **{key: value})


@pytest.mark.parametrize("kind", [lambda: outputs, compiled_outputs], ids=["Python", "compiled"])
def test_progress_counts_the_coordinates(kind):
    seen = []
    numerical_jacobian(kind(), X, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (3, 3)


def test_processes_and_engines_give_the_bits_of_one():
    x = np.linspace(-1.0, 1.0, 40)

    def f(x):
        return np.outer(np.sin(x[:5]), x[5:10]) * x.sum()

    alone = numerical_jacobian(f, x)
    assert same_bits(numerical_jacobian(f, x, workers=2), alone)
    assert same_bits(numerical_jacobian(f, x, workers=map), alone)
    kind = compiled_outputs()
    assert same_bits(numerical_jacobian(kind, x, workers=map), numerical_jacobian(kind, x, workers=2))
    batches = numerical_jacobian(lambda x: np.stack([f(p) for p in x]), x, vectorized=True, workers=map)
    assert same_bits(batches, alone)


@pytest.mark.parametrize("h", [1e-4, "auto"])
@pytest.mark.parametrize("scheme", ["central", "forward", "central6"])
def test_batches_have_the_bits_of_single_points_for_outputs_of_any_shape_and_kind(scheme, h):
    x = np.array([[0.5, -1.0, 2.0], [0.0, 3.0, -0.25]])
    near = np.where(x > 0.0, x, x - 1.0), x + 1.0  # some coordinates at a bound, some not

    def f(x):
        return np.array([[np.sum(x) + 2j * x[0, 1], -0.0 * x[0, 0]], [np.prod(np.cos(x)), x[1, 2] ** 3]])

    for part, bounds in ((np.asarray, None), (np.asarray, near), (np.real, None), (np.real, near)):
        batches = numerical_jacobian(
            lambda batch, part=part: np.stack([part(f(p)) for p in batch]),
            x, h, scheme=scheme, bounds=bounds, vectorized=True,
        )  # fmt: skip
        assert same_bits(
            batches, numerical_jacobian(lambda x, part=part: part(f(x)), x, h, scheme=scheme, bounds=bounds)
        )


def test_a_batch_must_have_a_value_for_each_point():
    with pytest.raises(ValueError, match="a vectorized f must return 1 arrays"):
        numerical_jacobian(lambda x: x.sum(0), X, vectorized=True)
    with pytest.raises(ValueError, match="vectorized=True has no complex step"):
        numerical_jacobian(lambda x: x, X, vectorized=True, scheme="complex")


def test_a_step_that_is_lost_and_few_digits_are_warned_of():
    with pytest.warns(RuntimeWarning, match="the step h=0.0001"):
        numerical_jacobian(lambda x: x * x, np.array([1e13, 1.0]))
    with pytest.warns(RuntimeWarning, match="digits of the gradient are right: f returns float32"):
        numerical_jacobian(lambda x: x * x, np.array([300.0, 1.0], np.float32))


def test_a_scheme_of_ones_own_and_one_that_is_not_analytic():
    own = Scheme((0, 1, 2), (-3, 4, -1), 2)
    assert np.abs(numerical_jacobian(outputs, X, scheme=own) - exact(X)).max() < 1e-6
    for f in (lambda x: np.abs(x) + 0j, compiled(lambda x: np.abs(x) + 0j * x)):
        with pytest.raises((ValueError, TypeError), match="scheme='complex'"):
            numerical_jacobian(f, X, scheme="complex")


@needs_jit
def test_the_loop_allocates_the_outputs_and_a_copy_of_x():
    n = 1000
    x, f, out = np.ones(n), compiled_once(fill_products), np.empty((n, n))
    options = Options(args=(2.0,), fills=True, out=out)
    Problem(f, x, options).jacobian()
    tracemalloc.start()
    Problem(f, x, options).jacobian()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * n * n + 10 * 8 * n


def test_recompiled_functions_are_differentiated_anew():
    factor = 2.0

    def f(x):
        return factor * x

    kind = compiled(f)
    assert abs(numerical_jacobian(kind, X)[0, 0] - 2.0) < 1e-10
    factor = 3.0
    if hasattr(kind, "recompile"):
        numerical_gradient(compiled(lambda x: x.sum()), X)
        kind.recompile()
    assert abs(numerical_jacobian(kind, X)[0, 0] - 3.0) < 1e-10


def test_objectives_travel():
    from numgrad.driver import as_objective
    from numgrad.objectives.vectors import VectorObjective

    assert pickle.loads(pickle.dumps(VectorObjective(np.sin))).f is np.sin
    assert as_objective(np.sin, ()).f is np.sin


def with_a_switch(x):
    """Return what the first coordinate chooses: an array of another length, one of zeros, nothing, or the usual one."""
    if x[0] > 8.0:
        raise ValueError("beyond 8")
    if x[0] > 6.0:
        return np.zeros(3)
    if x[0] > 4.0:
        x[1] = 1.0
    return np.sin(x) if x[0] < 2.0 else np.concatenate((np.sin(x), x))


@pytest.mark.parametrize("take", [numerical_jacobian, lambda f, x: Jacobian(f)(x)], ids=["function", "callable"])
def test_what_the_last_jacobian_has_left_is_no_other_answer(take):
    f, first = compiled_once(with_a_switch), np.array([0.5, 0.7, 0.9])
    for _ in range(3):  # the first call compiles, the second one is short, the third one is made as that was
        assert same_bits(take(f, first), reference.numerical_jacobian(with_a_switch, first))
    for x in (np.array([0.1, 0.2, 0.3]), np.array([3.0, 0.2, 0.3]), np.array([0.5, 0.7, 0.9, 1.1]), first[::-1]):
        for _ in range(2):
            assert same_bits(take(f, x), reference.numerical_jacobian(with_a_switch, x.copy()))
            assert same_bits(take(f, first), reference.numerical_jacobian(with_a_switch, first))
    with pytest.raises(ValueError, match="f writes to its argument"):
        take(f, np.array([5.0, 0.7, 0.9]))
    with pytest.raises(ValueError, match="beyond 8"):
        take(f, np.array([9.0, 0.7, 0.9]))
    with pytest.warns(RuntimeWarning, match="exactly zero"):
        assert not take(f, np.array([7.0, 0.7, 0.9])).any()
    with pytest.warns(RuntimeWarning, match="is lost in round-off"):
        take(f, np.array([0.5, 1e14, 0.9]))
    for h in (-1e-4, np.nan, np.inf, 0.0):
        with pytest.raises(ValueError, match="h must be finite and positive"):
            numerical_jacobian(f, first, h)
    with pytest.raises(TypeError, match="scheme must be a name"):
        numerical_jacobian(f, first, scheme=np.array(["central"]))
    assert same_bits(take(f, first), reference.numerical_jacobian(with_a_switch, first))


def test_numbers_at_the_ends_of_the_range_underflow_nowhere():
    with np.errstate(all="raise"):
        found = numerical_jacobian(lambda x: x, np.array([1e308, 1e-308, 0.0]), "auto")
        np.testing.assert_allclose(found, np.eye(3), rtol=1e-9)
        numerical_jacobian(lambda x: x * x, np.array([1e150, 1e-150, 0.0]), "auto")
