"""Subclasses of ndarray as x, as the result of f and as `out`: right, or refused in one line."""

import re

import numpy as np
import pytest
from problems import needs_jit

from numgrad import (
    Gradient,
    IncrementalObjective,
    LayerObjective,
    SeparableObjective,
    check_gradient,
    descent_path,
    directional_derivative,
    estimate_gradient,
    estimate_hessian,
    estimate_jacobian,
    gradient_descent,
    hessian_vector_product,
    numerical_diff,
    numerical_gradient,
    numerical_hessian,
    numerical_jacobian,
    propagate,
)

# numpy.matrix is pending deprecation, and the suite makes warnings errors.
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")


def masked(dtype=float):
    return np.ma.array([1, 2, 3], dtype, mask=[False, True, False])


def read_only(x):
    x.flags.writeable = False
    return x


class Quantity(np.ndarray):
    """An array with a unit, which does not mix with plain numbers."""

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        if not all(isinstance(value, Quantity) for value in inputs):
            raise TypeError(f"units: {ufunc.__name__}")
        plain = [value.view(np.ndarray) for value in inputs]
        return np.asarray(getattr(ufunc, method)(*plain, **options)).view(Quantity)


class Springs(np.ndarray):
    """An array with a method of its own."""

    def energy(self):
        return float((self.view(np.ndarray).astype(np.float64) ** 3).sum())


def plain_squares(x):
    return float((x.view(np.ndarray) ** 2).sum())


# --- masks -----------------------------------------------------------------------------------------------------------


def test_a_masked_array_that_f_sees_keeps_its_mask():
    for options in ({}, {"scheme": "forward"}, {"h": "auto"}, {"bounds": (0, 9)}, {"coordinates": [0, 1, 2]}):
        x = masked()
        assert numerical_gradient(lambda x: x.sum(), x, **options) == pytest.approx([1.0, 0.0, 1.0])
        assert x.mask.tolist() == [False, True, False]
    assert estimate_gradient(lambda x: x.sum(), masked()).value == pytest.approx([1.0, 0.0, 1.0])


@pytest.mark.parametrize("is_hard", [False, True])
@pytest.mark.parametrize("options", [{}, {"scheme": "forward"}, {"h": "auto"}, {"bounds": (0, 9)}])
def test_an_f_that_masks_elements_of_x_is_refused_and_undone(options, is_hard):
    def writes(x):
        x[0] = np.ma.masked
        return float(np.sum(np.asarray(x)))

    for x in (masked(), np.ma.array([1.0, 2.0, 3.0])):
        x.harden_mask() if is_hard else None
        before = np.ma.getmaskarray(x).tolist()
        with pytest.raises(ValueError, match="f writes to its argument"):
            numerical_gradient(writes, x, **options)
        assert np.ma.getmaskarray(x).tolist() == before
        assert x.hardmask is is_hard


@needs_jit
@pytest.mark.parametrize("x", [masked(int), masked(np.int8), read_only(masked())], ids=["int", "int8", "read-only"])
def test_a_copy_that_would_lose_the_mask_is_refused(x):
    for ask in (numerical_gradient, gradient_descent, descent_path, estimate_gradient):
        with pytest.raises(TypeError, match="a masked array keeps its mask only where"):
            ask(lambda x: x.sum(), x)


@needs_jit
def test_whoever_works_on_copies_refuses_a_mask():
    from numba import njit

    f = njit(lambda x: x.sum())
    incremental = IncrementalObjective(lambda x: x.sum(), lambda x, h: (h,), njit(lambda state, k: 2.0 * state[0]))
    for call in (
        lambda x: numerical_gradient(f, x),
        lambda x: estimate_gradient(f, x),
        lambda x: gradient_descent(f, x),
        lambda x: numerical_gradient(incremental, x),
        lambda x: numerical_gradient(lambda x: x.sum(1), x, vectorized=True),
        lambda x: numerical_gradient(lambda x: x.sum(), x, scheme="complex"),
        lambda x: numerical_diff(lambda x: x**2, x),
    ):
        with pytest.raises(TypeError, match="a masked array keeps its mask only where"):
            call(masked())


def test_a_mask_that_hides_nothing_is_no_mask():
    x = np.ma.array([1, 2, 3], mask=False)
    assert numerical_gradient(lambda x: x.sum(), x) == pytest.approx([1.0, 1.0, 1.0])


@pytest.mark.parametrize(
    "value", [np.ma.masked, np.ma.array(1.0, mask=True), np.ma.array([2.0], mask=[True]), np.ma.array([[1]], mask=True)]
)
def test_a_masked_value_of_f_is_refused(value):
    with pytest.raises(TypeError, match="f must return one real number"):
        numerical_gradient(lambda x: value, [1.0])


def wrapped(kind, array):
    """Return a container with one array to be looked at, and another one."""
    return {"dict": lambda: {"W": array, "b": np.ones(2)}, "list": lambda: [array, np.ones(2)]}[kind]()


def first_of(p):
    return p["W"] if isinstance(p, dict) else p[0]


ASKED = {
    "gradient": numerical_gradient,
    "Hessian": numerical_hessian,
    "estimated gradient": estimate_gradient,
    "estimated Hessian": estimate_hessian,
    "descent": lambda f, x: gradient_descent(f, x, 1e-9, 1),
    "check": lambda f, x: check_gradient(f, numerical_gradient(plain_sums, x), x),
    "check by directions": lambda f, x: check_gradient(f, numerical_gradient(plain_sums, x), x, directions=2),
    "value and gradient": lambda f, x: Gradient(f).value_and_gradient(x),
}


def plain_sums(p):
    return float(np.sum(np.asarray(first_of(p)))) + float(np.sum(p["b"] if isinstance(p, dict) else p[1]))


@pytest.mark.parametrize("kind", ["dict", "list"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, ">f8"])
@pytest.mark.parametrize("hessian", [numerical_hessian, lambda f, x: estimate_hessian(f, x).value])
def test_hessians_keep_the_mask_of_each_array(kind, dtype, hessian):
    x = wrapped(kind, masked(dtype))
    exact = np.zeros((5, 5))
    exact[np.ix_([0, 2], [0, 2])] = 2.0
    assert hessian(lambda p: float(first_of(p).sum() ** 2), x) == pytest.approx(exact, abs=1e-4)
    assert first_of(x).mask.tolist() == [False, True, False]
    assert first_of(x).data.tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("name", ASKED)
def test_a_copy_in_a_container_that_would_lose_the_mask_is_refused(name):
    for lost in (masked(int), read_only(masked())):
        with pytest.raises(TypeError, match="a masked array keeps its mask only where"):
            ASKED[name](lambda p: first_of(p).sum(), {"W": lost, "b": np.ones(2)})


@pytest.mark.parametrize("ask", [*ASKED.values(), numerical_jacobian, estimate_jacobian])
def test_a_list_of_masked_arrays_that_is_one_array_is_refused(ask):
    with pytest.raises(TypeError, match=r"x\b.* must be one array, or a list without masks.*numpy.ma.stack"):
        ask(lambda p: p.sum(), [masked(), masked()])


@pytest.mark.parametrize("name", ASKED)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("is_hard", [False, True])
def test_an_f_that_masks_elements_of_an_array_in_a_container_is_refused_and_undone(name, dtype, is_hard):
    def writes(p):
        first_of(p)[0] = np.ma.masked
        return plain_sums(p)

    for array in (masked(dtype), np.ma.array([1.0, 2.0, 3.0], dtype)):
        array.harden_mask() if is_hard else None
        before = np.ma.getmaskarray(array).tolist(), array.data.tobytes()
        with pytest.raises(ValueError, match="f writes to its argument"):
            ASKED[name](writes, {"W": array, "b": np.ones(2)})
        assert (np.ma.getmaskarray(array).tolist(), array.data.tobytes()) == before
        assert array.hardmask is is_hard


# --- matrices and quantities -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make", [np.matrix, lambda x: np.array(x).view(Quantity), lambda x: np.array(x).view(np.recarray)]
)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"h": "auto"},
        {"h": [1e-4, 1e-3, 1e-5]},
        {"scheme": "forward"},
        {"scheme": "central4", "h": "auto"},
        {"bounds": (0.0, 6.0)},
        {"bounds": (0.0, 3.0), "h": "auto"},
        {"coordinates": [2, 0]},
        {"workers": map},
    ],
)
def test_other_subclasses_are_perturbed_as_plain_arrays(make, options):
    x = make([[1.0, 2.0, 3.0]])
    before = x.tobytes()
    gradient = numerical_gradient(plain_squares, x, **options)
    exact = np.array([[2.0, 4.0, 6.0]])
    assert type(gradient) is np.ndarray
    assert gradient == pytest.approx(exact.ravel()[[2, 0]] if "coordinates" in options else exact, abs=2e-3)
    assert x.tobytes() == before


@pytest.mark.parametrize("make", [np.matrix, lambda x: np.array(x).view(Quantity)])
def test_estimates_checks_and_descents_of_subclasses(make):
    x = make([[1.0, 2.0, 3.0]])
    exact = np.array([[2.0, 4.0, 6.0]])
    assert estimate_gradient(plain_squares, x).value == pytest.approx(exact)
    for options in ({}, {"samples": 2}, {"directions": 2}):
        assert check_gradient(plain_squares, exact, x, **options).ok
        assert not check_gradient(plain_squares, 2 * exact, x, **options).ok
    assert descent_path(plain_squares, x, 0.25, 1)[1] == pytest.approx(exact / 4)
    assert gradient_descent(plain_squares, x, 0.25, 1) is x
    assert x.view(np.ndarray) == pytest.approx(exact / 4)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("kind", ["bare", "dict", "list"])
@pytest.mark.parametrize("bounds", [None, (-9.0, 9.0)])
@pytest.mark.parametrize("hessian", [numerical_hessian, lambda f, x, **o: estimate_hessian(f, x, **o).value])
def test_hessians_give_f_the_class_of_each_array(dtype, kind, bounds, hessian):
    of_first = (lambda p: p) if kind == "bare" else first_of
    own = (lambda x: x) if kind == "bare" else lambda x: wrapped(kind, x)

    def trace(p):  # of the matrix product
        return float(np.trace(np.asarray(of_first(p) * of_first(p))))

    exact = np.zeros((4, 4))
    exact[[0, 1, 2, 3], [0, 2, 1, 3]] = 2.0
    found = hessian(trace, own(np.matrix([[1.0, 2.0], [3.0, 4.0]], dtype)), bounds=bounds)
    assert np.reshape(found[:4, :4] if kind != "bare" else found, (4, 4)) == pytest.approx(exact, abs=0.02)

    def energy(p):
        return of_first(p).energy()

    found = hessian(energy, own(np.array([1.0, 2.0, 3.0], dtype).view(Springs)), bounds=bounds)
    assert found[:3, :3] == pytest.approx(np.diag([6.0, 12.0, 18.0]), abs=0.1)


def test_bounds_of_a_matrix_name_the_coordinate():
    with pytest.raises(ValueError, match=r"coordinate 1 is 2.0, not in 0.0 to 1.5"):
        numerical_gradient(plain_squares, np.matrix([[1.0, 2.0]]), bounds=(0.0, 1.5))


@pytest.mark.parametrize("workers", [1, map])
def test_a_matrix_as_out_receives_each_element(workers):
    out = np.matrix(np.zeros((1, 3)))
    result = numerical_gradient(plain_squares, np.array([[1.0, 2.0, 3.0]]), out=out, workers=workers)
    assert result is out
    assert np.asarray(out) == pytest.approx(np.array([[2.0, 4.0, 6.0]]))


ONES = np.ones(3)
NAMED = {  # what is said to be masked, and who is given it, by its name where it has one
    "h": lambda m: numerical_gradient(np.sum, ONES, m),
    "h of a check": lambda m: check_gradient(np.sum, ONES, ONES, h=m),
    "h of a Jacobian": lambda m: numerical_jacobian(np.sin, ONES, m),
    "a bound, low": lambda m: numerical_gradient(np.sum, ONES, bounds=(m, 9)),
    "a bound, high": lambda m: numerical_gradient(np.sum, ONES, bounds=(-9, m)),
    "cov": lambda m: propagate(np.sum, ONES, m),
    "v": lambda m: directional_derivative(np.sin, ONES, m),
    "v of a product": lambda m: hessian_vector_product(np.sum, ONES, m),
    "first_step": lambda m: estimate_gradient(np.sum, ONES, first_step=m),
    "coordinates": lambda m: numerical_gradient(np.sum, ONES, coordinates=m.astype(int) % 3),
    "sparsity": lambda m: numerical_jacobian(np.sin, ONES, sparsity=np.ma.stack([m, m, m])),
    "sparsity as a list": lambda m: numerical_jacobian(np.sin, ONES, sparsity=[m.astype(int) % 3, [1], [2]]),
    "data[1]": lambda m: LayerObjective(np.ones((3, 2)), lambda z, a, b: z[:, 0], (ONES, m)),
    "data[0]": lambda m: LayerObjective(np.ones((3, 2)), lambda z, a: z[:, 0], ([m, m, m],)),
    "what f returns": lambda m: numerical_gradient(lambda x: np.ma.masked_equal(x.sum(1), 3.0), ONES, vectorized=True),
    "what f returns, elementwise": lambda m: numerical_diff(lambda x: np.ma.array(x, mask=m.mask), ONES),
    "what rows returns": lambda m: LayerObjective(np.ones((3, 2)), lambda z: m[: len(z)])(np.ones((2, 1))),
    "what gradient returns": lambda m: hessian_vector_product(np.sum, ONES, ONES, gradient=lambda x: m),
}


@pytest.mark.parametrize("case", NAMED)
def test_a_mask_that_would_be_lost_is_refused_by_the_name_of_the_argument(case):
    name = re.escape(case.partition(" of ")[0].partition(" as ")[0].partition(",")[0])
    with pytest.raises(TypeError, match=rf"^{name} has masked elements, which [^\n]*; (pass|let f return) [^\n]*$"):
        NAMED[case](masked())


@needs_jit
def test_a_mask_of_elements_is_refused():
    from numba import njit

    square, scaled = njit(lambda z: z[0] ** 2), njit(lambda z, d: d[0] * z[0] ** 2)
    index, mask = np.array([[0], [1], [2]]), [[False], [True], [False]]
    for name, make in {
        "index": lambda: SeparableObjective(square, np.ma.array(index, mask=mask)),
        "index as a list": lambda: SeparableObjective(square, [np.ma.array([0, 1], mask=[0, 1]), [1]]),
        "data": lambda: SeparableObjective(scaled, index, np.ma.array(index + 1.0, mask=mask)),
        "data as a list": lambda: SeparableObjective(scaled, index, list(np.ma.array(index + 1.0, mask=mask))),
    }.items():
        with pytest.raises(TypeError, match=f"^{name.partition(' ')[0]} has masked elements, "):
            make()
    unmasked = SeparableObjective(scaled, np.ma.array(index), np.ma.array(index + 1.0))
    assert unmasked(ONES) == 6.0
