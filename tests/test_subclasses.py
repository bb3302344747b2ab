"""Subclasses of ndarray as x, as the result of f and as `out`: right, or refused in one line."""

import re

import numpy as np
import pytest
from problems import compiled, needs_jit

from numgrad import (
    Gradient,
    Hessian,
    IncrementalObjective,
    Jacobian,
    LayerObjective,
    SeparableObjective,
    check_gradient,
    descent_path,
    directional_derivative,
    estimate_derivative,
    estimate_gradient,
    estimate_hessian,
    estimate_jacobian,
    gradient_ascent,
    gradient_descent,
    hessian_vector_product,
    jacobian_sparsity,
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

# What each public function that takes x makes of it, with f; of x in a container too where `TAKES_CONTAINERS` has it.
TAKES_CONTAINERS = {
    "gradient": numerical_gradient,
    "Hessian": numerical_hessian,
    "estimated gradient": estimate_gradient,
    "estimated Hessian": estimate_hessian,
    "descent": lambda f, x: gradient_descent(f, x, 1e-9, 1),
    "ascent": lambda f, x: gradient_ascent(f, x, 1e-9, 1),
    "check": lambda f, x: check_gradient(f, lambda x: x, x),
    "check by directions": lambda f, x: check_gradient(f, lambda x: x, x, directions=2),
    "gradient object": lambda f, x: Gradient(f)(x),
    "value and gradient": lambda f, x: Gradient(f).value_and_gradient(x),
    "Hessian object": lambda f, x: Hessian(f)(x),
}
TAKES_ARRAYS = TAKES_CONTAINERS | {
    "gradient, forward": lambda f, x: numerical_gradient(f, x, scheme="forward"),
    "gradient, bounds": lambda f, x: numerical_gradient(f, x, "auto", bounds=(-9, 9)),
    "gradient, complex": lambda f, x: numerical_gradient(f, x, scheme="complex"),
    "gradient, vectorized": lambda f, x: numerical_gradient(lambda x: x.sum(1), x, vectorized=True),
    "gradient, other processes": lambda f, x: numerical_gradient(f, x, workers=map),
    "gradient, points": lambda f, x: numerical_gradient(f, x[np.newaxis], points_axis=0),
    "gradient, resumed": lambda f, x: numerical_gradient(f, x, out=np.full(3, np.nan), resume=True),
    "derivative": lambda f, x: numerical_diff(np.square, x),
    "estimated derivative": lambda f, x: estimate_derivative(np.square, x),
    "Jacobian": numerical_jacobian,
    "Jacobian object": lambda f, x: Jacobian(f)(x),
    "sparsity": jacobian_sparsity,
    "estimated Jacobian": estimate_jacobian,
    "along v": lambda f, x: directional_derivative(f, x, np.ones(3)),
    "H v": lambda f, x: hessian_vector_product(f, x, np.ones(3)),
    "Hessian of a gradient": lambda f, x: numerical_hessian(f, x, gradient=np.copy),
    "H v of a gradient": lambda f, x: hessian_vector_product(f, x, np.ones(3), gradient=np.copy),
    "path": lambda f, x: descent_path(f, x, 1e-9, 1),
    "propagated": lambda f, x: propagate(f, x, np.ones(3)),
    "incremental": lambda f, x: numerical_gradient(incremental_sum(), x),
    "layer": lambda f, x: numerical_gradient(LayerObjective(np.ones((2, 1)), lambda z: z.sum(1)), x[np.newaxis]),
}
REFUSED = r"^\w*x\w*(\[.*\])? has masked elements, which would count as [^\n]*; pass its \.filled\(0\.0\), or [^\n]*$"


def incremental_sum():
    from numba import njit

    return IncrementalObjective(lambda x: x.sum(), lambda x, h: (h,), njit(lambda state, k: 2.0 * state[0]))


def never(x):
    raise AssertionError("f was called")


@pytest.mark.parametrize("name", TAKES_ARRAYS)
def test_an_x_with_masked_elements_is_refused(name):
    for x in (masked(), masked(int), read_only(masked(np.float32)), [*np.ma.array([masked()])]):
        if isinstance(x, list) and name in {"gradient, points", "layer"}:  # x[np.newaxis]
            continue
        before = np.ma.getmaskarray(x).tolist()
        said = REFUSED.replace("x", "W") if name == "layer" else REFUSED
        with pytest.raises(TypeError, match=said):
            TAKES_ARRAYS[name](never, x)
        assert np.ma.getmaskarray(x).tolist() == before


@pytest.mark.parametrize("name", TAKES_CONTAINERS)
def test_an_array_with_masked_elements_in_a_container_is_refused_by_its_name(name):
    for x in ({"W": masked(), "b": np.ones(2)}, [masked(int), np.ones(2)], {"a": [np.ones(2), read_only(masked())]}):
        with pytest.raises(TypeError, match=REFUSED) as raised:
            TAKES_CONTAINERS[name](never, x)
        assert "[" in str(raised.value).partition(" has ")[0]


@needs_jit
@pytest.mark.parametrize("name", ["gradient", "descent", "estimated gradient", "path"])
def test_a_compiled_f_refuses_masked_elements_too(name):
    from numba import njit

    with pytest.raises(TypeError, match=REFUSED):
        TAKES_ARRAYS[name](njit(lambda x: x.sum()), masked())


def test_a_mask_that_hides_nothing_is_no_mask():
    x = np.ma.array([1.0, 2.0, 3.0], mask=False)
    seen = []

    def squares(z):
        seen.append(type(z))
        return float((x.data**2).sum())  # reads x and not its argument

    assert numerical_gradient(squares, x) == pytest.approx([2.0, 4.0, 6.0])
    assert set(seen) == {np.ndarray}
    assert numerical_hessian(lambda p: float((p["W"] ** 3).sum()), {"W": x}) == pytest.approx(
        np.diag(6.0 * x.data), abs=1e-4
    )
    assert np.shares_memory(gradient_descent(squares, x, 0.25, 1), x)
    assert x.tolist() == pytest.approx([0.5, 1.0, 1.5])
    assert numerical_gradient(lambda x: x.sum(), np.ma.array([1, 2, 3])) == pytest.approx([1.0, 1.0, 1.0])


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
@pytest.mark.filterwarnings("ignore:about 2 digits of the Hessian are right")  # of float32, in which f computes
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


def cubes(x):
    return float((x**3).sum())


# What writes a result of the shape (3, 3) for x of so many numbers, to `out`.
SQUARE = {
    "points": lambda **own: numerical_gradient(cubes, np.outer(ONES, [1.0, 2.0, 3.0]), points_axis=0, **own),
    "Jacobian": lambda **own: numerical_jacobian(lambda x: x**2, np.array([1.0, 2.0, 3.0]), **own),
    "automatic Jacobian": lambda **own: numerical_jacobian(lambda x: x**2, np.array([1.0, 2.0, 3.0]), "auto", **own),
    "compiled Jacobian": lambda **own: numerical_jacobian(compiled(squares), np.array([1.0, 2.0, 3.0]), "auto", **own),
    "Hessian": lambda **own: numerical_hessian(cubes, np.array([1.0, 2.0, 3.0]), **own),
}
SOME = np.arange(9).reshape(3, 3) % 4 == 1
OUTS = {
    "matrix": np.matrix,
    "masked array": np.ma.array,
    "masked array with masked elements": lambda memory: np.ma.array(memory, mask=SOME),
    "masked array with a hard mask": lambda memory: np.ma.array(memory, mask=SOME, hard_mask=True),
    "record array": lambda memory: memory.view(np.recarray),
    "array with a unit": lambda memory: memory.view(Quantity),
}


def squares(x):
    return x**2


# What lies below a mask is written too, and the mask stays: it is the caller's.
@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("kind", OUTS)
@pytest.mark.parametrize("route", SQUARE)
def test_all_memory_of_out_is_written_whatever_its_class(route, kind, resume):
    expected, out = SQUARE[route](out=np.full((3, 3), np.nan)), OUTS[kind](np.full((3, 3), np.nan))
    mask = np.ma.getmaskarray(out).copy()
    assert SQUARE[route](out=out, resume=resume) is out
    assert np.asarray(out).tolist() == expected.tolist()
    assert (np.ma.getmaskarray(out) == mask).all()


@pytest.mark.parametrize("kind", OUTS)
def test_the_hessian_of_a_gradient_fills_any_out_too(kind):
    x, out = np.array([1.0, 2.0, 3.0]), OUTS[kind](np.full((3, 3), np.nan))
    assert numerical_hessian(None, x, gradient=lambda x: 3 * x**2, out=out) is out
    assert np.asarray(out) == pytest.approx(np.diag([6.0, 12.0, 18.0]))


@pytest.mark.parametrize("route", SQUARE)
def test_only_the_rest_of_a_matrix_is_evaluated(route):
    whole = SQUARE[route](out=np.full((3, 3), np.nan))
    out = np.matrix(whole)
    out[:, 1] = np.nan
    SQUARE[route](out=out, resume=True)
    assert np.asarray(out).tolist() == whole.tolist()


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
