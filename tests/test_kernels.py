"""The kernels as plain Python, by `py_func`: what they write, and what they leave alone."""

import itertools

import numpy as np
import pytest

from numgrad import kernels, reference, softmax_layer
from numgrad.python_objectives import EVERY


def plain(kernel):
    return getattr(kernel, "py_func", kernel)


def evaluate(x, args):
    return float(np.sum(x * x)) + sum(args)


@pytest.fixture
def differences():
    return plain(kernels.make_differences(evaluate))


def test_differences_writes_its_range_and_nothing_else(differences):
    x, quotients = np.array([1.0, 2.0, 3.0, 4.0]), np.full(4, np.nan)
    before = x.tobytes()
    assert differences(x, x, 1e-4, (), EVERY, 1, 3, quotients) == 2
    assert np.isnan(quotients[[0, 3]]).all()
    expected = reference.numerical_gradient(lambda x: evaluate(x, ()), x.copy())
    assert quotients[1:3].tobytes() == expected[1:3].tobytes()
    assert x.tobytes() == before


@pytest.mark.parametrize(
    ("x", "f", "flags"),
    [
        ([1.0], lambda x, args: 3.0, 0),
        ([1e13], lambda x, args: 3.0, 1),
        ([1.0], lambda x, args: x[0], 2),
        ([1.0, -1e13], lambda x, args: x[0], 3),
        ([1.0], lambda x, args: np.nan, 2),
    ],
)
def test_flags(x, f, flags):
    x = np.array(x)
    assert plain(kernels.make_differences(f))(x, x, 1e-4, (), EVERY, 0, x.size, np.empty(x.size)) == flags


def test_gradient_keeps_the_shape(differences):
    x, out = np.arange(6.0).reshape(2, 3), np.full((2, 3), np.nan)
    plain(kernels.make_gradient(differences))(x, 1e-4, (), EVERY, 0, 6, out)
    assert out.tobytes() == reference.numerical_gradient(lambda x: evaluate(x, ()), x.copy()).tobytes()


@pytest.mark.parametrize("rows", [1, 2, 6])
@pytest.mark.parametrize("cuts", [[0, 5], [0, 1, 2, 5], [0, 3, 3, 5]])
def test_descent_goes_round_its_rows_and_can_be_cut_anywhere(differences, rows, cuts):
    start = np.array([1.0, -2.0, 0.5])
    expected = [reference.gradient_descent(lambda x: evaluate(x, ()), start.copy(), 0.1, k) for k in range(6)]
    descent = plain(kernels.make_descent(differences))
    x, slopes, iterates = start.copy(), np.empty(3), np.full((rows, 3), np.nan)
    iterates[0] = start
    for begin, end in itertools.pairwise(cuts):
        assert descent(x, 0.1, 1e-4, (), begin, end, slopes, iterates) in (0, 2)
    for k in range(6 - rows, 6):
        assert iterates[k % rows].tobytes() == expected[k].tobytes()
    assert x.tobytes() == expected[5].tobytes()


def test_descent_tells_that_it_diverged():
    descent = plain(kernels.make_descent(plain(kernels.make_differences(lambda x, args: x[0] * np.inf))))
    x = np.array([1.0])
    with np.errstate(invalid="ignore"):
        assert descent(x, 0.1, 1e-4, (), 0, 1, np.empty(1), x.copy()[None]) & 4


def test_update_has_the_bits_of_numpy():
    rng = np.random.default_rng(0)
    x, slope = rng.standard_normal(17), rng.standard_normal(17)
    expected = x - 0.3 * slope
    for kernel in (kernels.update, plain(kernels.update)):
        y = x.copy()
        kernel(0.3, slope, y)
        assert y.tobytes() == expected.tobytes()


@pytest.mark.parametrize("batch", [1, 8])
def test_softmax_cross_entropy_is_the_loss_of_the_reference(batch):
    rng = np.random.default_rng(1)
    logits, labels = 5 * rng.standard_normal((batch, 6)), rng.integers(0, 6, batch)
    expected = reference.cross_entropy_error(reference.softmax(logits), labels)
    for kernel in (softmax_layer.softmax_cross_entropy, plain(softmax_layer.softmax_cross_entropy)):
        assert kernel(logits, labels) == pytest.approx(expected, rel=20 * 2.0**-52)


@pytest.mark.parametrize("label", [-1, 3])
def test_softmax_cross_entropy_tells_of_a_label_that_is_no_column(label):
    assert plain(softmax_layer.softmax_cross_entropy)(np.zeros((1, 3)), np.array([label])) == -1.0


def test_without_a_folder_for_its_cache_a_kernel_is_compiled_all_the_same(monkeypatch):
    def njit(*, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return lambda kernel: (kernel, options)

    monkeypatch.setattr(kernels, "njit", njit)
    kernel, options = kernels.compiled(cache=True)(len)
    assert kernel is len
    assert options == {"nogil": True, "error_model": "numpy"}
