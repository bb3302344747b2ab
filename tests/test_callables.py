"""Derivatives as functions of x: what other libraries call. The numbers are those of the public functions."""

import copy
import itertools
import pickle

import numpy as np
import pytest
from problems import compiled, compiled_once, needs_jit

from numgrad import (
    Gradient,
    Hessian,
    IncrementalObjective,
    Jacobian,
    Scheme,
    hessian_vector_product,
    numerical_gradient,
    numerical_hessian,
    numerical_jacobian,
    reference,
)
from numgrad.arguments import KNOWN_COMPILED


def rosenbrock(x, a=100.0):
    return np.sum(a * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def rosenbrock_gradient(x, a=100.0):
    slopes = np.zeros_like(x)
    slopes[1:] = 2 * a * (x[1:] - x[:-1] ** 2)
    slopes[:-1] -= 4 * a * x[:-1] * (x[1:] - x[:-1] ** 2) + 2 * (1 - x[:-1])
    return slopes


class Counted:
    """A function that counts its evaluations."""

    def __init__(self, f):
        self.f, self.calls = f, 0

    def __call__(self, *args):
        self.calls += 1
        return self.f(*args)


POINTS = {
    "2": np.array([3.0, 4.0]),
    "32": np.linspace(-1.0, 1.0, 32),
    "33": np.linspace(-1.0, 1.0, 33),
    "float32": np.array([3.0, 4.0], np.float32),
    "integers": np.array([3, 4]),
    "list": [3.0, 4.0],
    "strided": np.linspace(-1.0, 1.0, 8)[::2],
    "other byte order": np.array([3.0, 4.0]).astype(np.dtype(np.float64).newbyteorder()),
    "read-only": np.frombuffer(np.array([3.0, 4.0]).tobytes()),
    "view": np.linspace(-1.0, 1.0, 8)[2:6],
    "NaN": np.array([np.nan, 1.0]),
}


# --- Gradient --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("f", [rosenbrock, compiled(lambda x: x[0] ** 3 + x[1] * x[0])], ids=["python", "compiled"])
@pytest.mark.parametrize("point", POINTS)
def test_the_bits_are_those_of_the_public_function(f, point):
    gradient, x = Gradient(f), POINTS[point]
    before = np.asarray(x).tobytes()
    expected = numerical_gradient(f, x).tobytes()
    for _ in range(4):  # a compiled f is bound in the third call
        assert gradient(x).tobytes() == expected
    assert np.asarray(x).tobytes() == before


@pytest.mark.parametrize("size", [0, 1, 7])
def test_sizes_may_change_from_call_to_call(size):
    gradient = Gradient(compiled(lambda x: np.sum(x**2)))
    for n in (2, 2, 2, 2, size, size, size, 2, 2):
        assert np.allclose(gradient(np.full(n, 3.0)), 6.0)


def test_the_bits_are_those_of_the_book():
    x = np.array([-1.2, 1.0, 0.3])
    assert Gradient(rosenbrock)(x).tobytes() == reference.numerical_gradient(rosenbrock, x).tobytes()


@pytest.mark.parametrize(
    "options",
    [
        {"h": "auto"},
        {"h": [1e-4, 1e-3]},
        {"scheme": "central4"},
        {"scheme": Scheme((0, 1), (-1, 1))},
        {"coordinates": [1]},
        {"bounds": (0.0, 4.0)},
        {"workers": 2},
        {"workers": map},
        {"vectorized": True},
    ],
    ids=str,
)
def test_options_are_those_of_the_public_function(options):
    x = np.array([3.0, 4.0])
    f = (lambda batch: np.sum(batch**3, axis=1)) if "vectorized" in options else (lambda x: np.sum(x**3))
    expected = numerical_gradient(f, x, **options)
    gradient = Gradient(f, **options)
    assert gradient(x).tobytes() == expected.tobytes()
    value, slopes = gradient.value_and_gradient(x)
    assert value == 91.0
    assert slopes.tobytes() == expected.tobytes()


def test_arguments_follow_x():
    x = np.array([3.0, 4.0])
    for f in (lambda x, a, b: a * x[0] + b * x[1], compiled(lambda x, a, b: a * x[0] + b * x[1])):
        assert np.allclose(Gradient(f)(x, 2.0, 5.0), [2.0, 5.0])
        assert Gradient(f).value_and_gradient(x, 2.0, 5.0)[0] == 26.0


@pytest.mark.parametrize(
    ("options", "evaluations"),
    [
        ({}, 2 * 3 + 1),
        ({"scheme": "forward"}, 3 + 1),
        ({"scheme": "backward", "h": "auto"}, 3 + 1),
        ({"scheme": "central4", "h": "auto"}, 4 * 3 + 1),
        ({"scheme": "forward", "coordinates": [2]}, 1 + 1),
    ],
    ids=str,
)
def test_value_and_gradient_evaluate_no_more_than_the_scheme_needs(options, evaluations):
    f, x = Counted(rosenbrock), np.array([-1.2, 1.0, 0.3])
    value, slopes = Gradient(f, **options).value_and_gradient(x)
    assert f.calls == evaluations
    assert value == rosenbrock(x)
    assert slopes.tobytes() == numerical_gradient(rosenbrock, x, **options).tobytes()


def test_the_value_of_an_incremental_objective_is_its_own():
    difference = compiled(lambda state, k: 4.0 * state[1] * state[0][k])
    squares = IncrementalObjective(lambda x: float(np.sum(x**2)), lambda x, h: (x, h), difference)
    value, slopes = Gradient(squares).value_and_gradient(np.array([3.0, 4.0]))
    assert value == 25.0
    assert np.allclose(slopes, [6.0, 8.0])


def test_containers_come_back_as_they_are():
    x = {"W": np.array([1.0, 2.0]), "b": 3.0}
    gradient = Gradient(lambda p: np.sum(p["W"] ** 2) * p["b"])
    assert np.allclose(gradient(x)["W"], [6.0, 12.0])
    value, slopes = gradient.value_and_gradient(x)
    assert value == 15.0
    assert slopes["b"] == pytest.approx(5.0)


@needs_jit
def test_a_recompiled_f_is_noticed():
    factors = {"a": 2.0}
    f = compiled(eval("lambda x: a * x[0]", factors))
    gradient, x = Gradient(f), np.array([1.0])
    for _ in range(4):
        assert np.allclose(gradient(x), 2.0)
    factors["a"] = 5.0
    f.recompile()
    for _ in range(4):
        assert np.allclose(gradient(x), 5.0)


@needs_jit
def test_an_f_that_was_forgotten_and_recompiled_is_noticed():
    factors = {"a": 2.0}
    f = compiled(eval("lambda x: a * x[0]", factors))
    gradient, x = Gradient(f), np.array([1.0])
    for _ in range(4):
        gradient(x)
    del KNOWN_COMPILED[id(f)]  # as where many others came since
    assert np.allclose(numerical_gradient(f, x), 2.0)
    factors["a"] = 5.0
    f.recompile()
    assert np.allclose(gradient(x), 5.0)


def test_an_f_that_writes_to_its_argument_is_found():
    x = np.array([3.0, 4.0])

    def python(x):
        x[1] = 0.0
        return x[0]

    for f in (python, compiled(python)):
        gradient = Gradient(f)
        for _ in range(4):
            with pytest.raises(ValueError, match="f writes to its argument"):
                gradient(x)
            assert x.tolist() == [3.0, 4.0]


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_memory_is_restored_after_any_exit(error):
    x = np.array([3.0, 4.0])

    def f(x):
        if x[1] < 4.0:
            raise error
        return x[0]

    with pytest.raises(error):
        Gradient(f)(x)
    assert x.tolist() == [3.0, 4.0]


def test_a_captured_x_is_refused_by_a_compiled_f():
    x = np.array([3.0, 4.0])
    f = compiled(lambda y: x[0] * y[1])
    gradient = Gradient(f)
    for _ in range(3):
        with pytest.raises(ValueError, match="reads x as the captured variable 'x'"):
            gradient(x)
    for _ in range(4):
        assert np.allclose(gradient(x.copy()), [0.0, 3.0])


def test_warnings_are_those_of_the_public_function():
    constant = compiled(lambda x: 1.0)
    for f, x, said in ((constant, [1.0], "f may ignore its argument"), (np.sum, [1e14], "is lost in round-off")):
        gradient, point = Gradient(f), np.array(x)
        for _ in range(4):
            with pytest.warns(RuntimeWarning, match=said) as caught:
                gradient(point)
            assert caught[0].filename == __file__


def test_it_pickles_with_its_options():
    gradient = pickle.loads(pickle.dumps(Gradient(rosenbrock, "auto", scheme="central6")))
    assert repr(gradient) == "Gradient(rosenbrock, h='auto', scheme='central6')"
    x = np.array([-1.2, 1.0])
    assert np.array_equal(gradient(x), numerical_gradient(rosenbrock, x, "auto", scheme="central6"))


def test_it_prints_what_it_is_made_of():
    assert repr(Gradient(rosenbrock)) == "Gradient(rosenbrock)"
    assert repr(Gradient(rosenbrock, workers=map)) == "Gradient(rosenbrock, workers=<class 'map'>)"


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"h": -1.0}, ValueError, "h must be finite and positive"),
        ({"h": None}, TypeError, "h must be a real number"),
        ({"h": (1.0,)}, TypeError, "further arguments of f go to args="),
        ({"scheme": "cubic"}, ValueError, "scheme must be one of"),
        ({"workers": 0}, ValueError, "workers must be at least 1"),
        ({"progress": 1}, TypeError, "progress must be"),
        ({"vectorized": True, "batch_bytes": 0}, ValueError, "batch_bytes must be at least 1"),
        ({"step": 1.0}, TypeError, "unexpected keyword argument 'step'"),
    ],
    ids=str,
)
def test_options_are_checked_when_it_is_made(options, error, said):
    with pytest.raises(error, match=said):
        Gradient(rosenbrock, **options)


def test_f_is_checked_when_it_is_made():
    with pytest.raises(TypeError, match="f must be callable, got int 3"):
        Gradient(3)


# --- Jacobian and Hessian --------------------------------------------------------------------------------------------


def broyden(x, c=1.0):
    """Return Broyden's tridiagonal residual."""
    y = (3 - 2 * x) * x + c
    y[1:] -= x[:-1]
    y[:-1] -= 2 * x[1:]
    return y


def broyden_jacobian(x):
    n = len(x)
    return np.diag(3 - 4 * x) - np.eye(n, k=-1) - 2 * np.eye(n, k=1)


@pytest.mark.parametrize(
    "options", [{}, {"scheme": "forward", "h": "auto"}, {"scheme": "central4"}, {"workers": 2}], ids=str
)
@pytest.mark.parametrize("f", [broyden, compiled_once(broyden)], ids=["python", "compiled"])
def test_a_jacobian_has_the_bits_of_the_public_function(f, options):
    x = np.linspace(-1.0, 1.0, 5)
    jacobian = Jacobian(f, **options)
    expected = numerical_jacobian(f, x, args=(2.0,), **options)
    assert np.array_equal(jacobian(x, 2.0), expected)
    value, found = jacobian.value_and_jacobian(x, 2.0)
    assert np.array_equal(value, broyden(x, 2.0))
    assert np.array_equal(found, expected)
    again = pickle.loads(pickle.dumps(Jacobian(broyden, **options)))
    assert np.array_equal(again(x, 2.0), expected)


def test_value_and_jacobian_evaluate_f_once_at_x():
    f = Counted(broyden)
    Jacobian(f).value_and_jacobian(np.ones(3))
    assert f.calls == 2 * 3 + 1


@needs_jit
def test_the_types_of_a_compiled_jacobian_are_asked_for_once(monkeypatch):
    from numgrad.objectives import compiled_vectors

    asked, entry_of = [], compiled_vectors.entry_of
    monkeypatch.setattr(compiled_vectors, "entry_of", lambda *given: asked.append(given) or entry_of(*given))
    jacobian = Jacobian(compiled(lambda x: np.sin(x) * x[0]))
    for _ in range(5):
        jacobian.value_and_jacobian(np.ones(3))
    assert len(asked) == 1
    assert jacobian(np.ones(3)).tobytes() == jacobian.value_and_jacobian(np.ones(3))[1].tobytes()
    for _ in range(5):
        jacobian.value_and_jacobian(np.ones(4))
    assert len(asked) == 2


@pytest.mark.parametrize(("fills", "size"), [(True, 3), ((2,), 2)])
def test_a_compiled_f_may_fill_its_outputs(fills, size):
    def fill(x, out, a):
        for i in range(len(out)):
            out[i] = a * x[i] * x[-1]

    f = compiled(fill)
    x = np.array([1.0, 2.0, 3.0])
    expected = 2.0 * (np.eye(3) * 3.0 + np.outer(x, [0, 0, 1]))
    value, jacobian = Jacobian(f, fills=fills).value_and_jacobian(x, 2.0)
    assert np.allclose(value, 6.0 * x[:size])
    assert np.allclose(jacobian, expected[:size])
    with pytest.raises(TypeError, match="fills=True needs a compiled f"):
        Jacobian(broyden, fills=fills)


@pytest.mark.parametrize("options", [{}, {"h": "auto"}, {"scheme": "forward"}, {"bounds": (-9.0, 9.0)}], ids=str)
def test_a_gradient_takes_arguments_by_name_as_jacobians_and_hessians_do(options):
    def weighed(x, a, b=2.0):
        return a * np.sum(x**2) ** b

    def by_name_alone(x, *, a, b):
        return weighed(x, a, b)

    def of_a_container(x, a, b=2.0):
        return weighed(x["x"], a, b)

    x = np.array([1.0, -2.0, 0.5])
    expected = Gradient(weighed, **options)(x, 3.0, 1.5)
    for f in (weighed, by_name_alone, compiled_once(weigh)):
        gradient = Gradient(f, **options)
        for found in (gradient(x, a=3.0, b=1.5), gradient.value_and_gradient(x, a=3.0, b=1.5)[1]):
            assert found == pytest.approx(expected, rel=1e-9)
        assert gradient.value_and_gradient(x, b=1.5, a=3.0)[0] == pytest.approx(weighed(x, 3.0, 1.5))
    assert np.array_equal(Gradient(weighed, **options)(x, 3.0, b=1.5), expected)
    assert np.array_equal(Gradient(of_a_container, **options)({"x": x}, a=3.0, b=1.5)["x"], expected)
    assert np.array_equal(
        Gradient(of_a_container, **options).value_and_gradient({"x": x}, 3.0, b=1.5)[1]["x"], expected
    )
    with pytest.raises(TypeError, match="unexpected keyword argument 'c'"):
        Gradient(weighed, **options)(x, 3.0, c=1.0)


def weigh(x, a, b=2.0):
    return a * np.sum(x**2) ** b


@needs_jit
@pytest.mark.parametrize("fills", [True, (2,), (2, 2), (7,)], ids=str)
@pytest.mark.parametrize("options", [{}, {"h": "auto"}, {"workers": 2}, {"scheme": "complex"}], ids=str)
def test_a_shape_that_is_too_small_is_found(fills, options):
    x, f = np.array([1.0, 2.0, 3.0]), compiled_once(fill_eight)
    for whole in (x, x.astype(np.float32), x.tolist()):
        with pytest.raises(ValueError, match="f fills more than outputs of shape"):
            Jacobian(f, fills=fills, **options)(whole, 2.0)
    found = Jacobian(f, fills=(8,), **options).value_and_jacobian(x, 2.0)[1]
    assert found == pytest.approx(2.0 * np.outer(np.arange(1.0, 9.0), [1.0, 0.0, 1.0]), abs=1e-8)


def fill_eight(x, out, a):
    flat = out.reshape(-1)
    for i in range(8):
        flat[i] = a * (i + 1) * (x[0] + x[-1])


def test_derivatives_by_parameters_leave_the_data_alone():
    t = np.linspace(0.0, 1.0, 4)
    for model in (lambda t, a, b: a * np.exp(b * t), compiled(lambda t, a, b: a * np.exp(b * t))):
        found = Jacobian(model, scheme="central4").by_parameters(t, 2.0, 0.5)
        assert np.allclose(found, np.stack([np.exp(0.5 * t), 2.0 * t * np.exp(0.5 * t)], axis=1), atol=1e-10)


@pytest.mark.parametrize(
    "options", [{}, {"h": 1e-3}, {"scheme": "central4"}, {"h": 1e-3, "bounds": (-2.0, 2.0)}], ids=str
)
@pytest.mark.parametrize("f", [rosenbrock, compiled_once(rosenbrock)], ids=["python", "compiled"])
def test_a_hessian_has_the_bits_of_the_public_function(f, options):
    x = np.array([-1.2, 1.0, 0.5])
    expected = numerical_hessian(f, x, args=(10.0,), **options)
    assert np.array_equal(Hessian(f, **options)(x, 10.0), expected)
    assert (
        np.array_equal(pickle.loads(pickle.dumps(Hessian(rosenbrock, **options)))(x, 10.0), expected)
        or f is not rosenbrock
    )
    if options.keys() & {"scheme", "bounds"}:
        with pytest.raises(ValueError, match=r"product takes neither bounds nor scheme; .* use hessian\(x\) @ v"):
            Hessian(f, **options).product(x, x, 10.0)
        return
    product = Hessian(f, **options).product(x, x, 10.0)
    assert np.array_equal(product, hessian_vector_product(f, x, x, options.get("h", "auto"), args=(10.0,)))


def test_patterns_and_gradients_are_handed_on():
    sparse = pytest.importorskip("scipy.sparse")
    x = np.linspace(-1.0, 1.0, 8)
    pattern = np.abs(np.subtract.outer(range(8), range(8))) <= 1
    f = Counted(broyden)
    value, jacobian = Jacobian(f, sparsity=pattern).value_and_jacobian(x)
    assert sparse.issparse(jacobian)
    assert (
        f.calls <= 2 * 3 + 2
    )  # three colours, f(x), and one along a random line, which shows that the pattern is true
    assert np.allclose(jacobian.toarray(), broyden_jacobian(x), atol=1e-6)
    assert np.array_equal(value, broyden(x))
    hessian = Hessian(rosenbrock, sparsity=pattern, gradient=rosenbrock_gradient)
    dense = numerical_hessian(rosenbrock, x)
    assert np.allclose(hessian(x).toarray(), dense, atol=1e-2)
    assert np.allclose(hessian.product(x, x), dense @ x, atol=1e-2)


def test_they_print_what_they_are_made_of():
    assert repr(Jacobian(broyden, "auto")) == "Jacobian(broyden, h='auto')"
    assert repr(Hessian(rosenbrock, scheme="central6")) == "Hessian(rosenbrock, scheme='central6')"


@pytest.mark.parametrize("kind", [Jacobian, Hessian])
@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"h": -1.0}, ValueError, "h must be finite and positive"),
        ({"scheme": "cubic"}, ValueError, "scheme must be one of"),
        ({"workers": 0}, ValueError, "workers must be at least 1"),
        ({"progress": 1}, TypeError, "progress must be"),
        ({"sparsity": "abc"}, TypeError, "sparsity must be a boolean array, .* got str 'abc'$"),
        ({"sparsity": [[0.5]]}, TypeError, "sparsity as a list has the columns of each row, as integers"),
    ],
    ids=str,
)
def test_their_options_are_checked_when_they_are_made(kind, options, error, said):
    with pytest.raises(error, match=said):
        kind(rosenbrock, **options)


def test_a_gradient_and_what_is_filled_are_checked_when_they_are_given():
    for make in (Hessian, lambda f, gradient: numerical_hessian(f, np.ones(2), gradient=gradient)):
        with pytest.raises(TypeError, match=r"^gradient must be a callable, gradient\(x, \*args\), got int 3$"):
            make(rosenbrock, gradient=3)
    with pytest.raises(TypeError, match=r"^gradient must be a callable"):
        hessian_vector_product(rosenbrock, np.ones(2), np.ones(2), gradient="2-point")
    with pytest.raises(TypeError, match=r"^gradient must return an array of numbers, .* is a return missing\?$"):
        Hessian(rosenbrock, gradient=lambda x: None)(np.ones(2))
    fill = compiled(lambda x, out: None)
    if hasattr(fill, "py_func"):
        for fills, error in (((-2,), ValueError), ((1.5,), TypeError), (3, TypeError), ("ab", TypeError)):
            with pytest.raises(error, match=r"^(a length in )?fills must be "):
                Jacobian(fill, fills=fills)


# --- the libraries that call them ------------------------------------------------------------------------------------

START = np.array([-1.2, 1.0, 0.5, -0.3])


@pytest.mark.parametrize("method", ["BFGS", "L-BFGS-B", "CG", "TNC", "SLSQP"])
def test_scipy_minimizes_with_arguments(method):
    optimize = pytest.importorskip("scipy.optimize")
    f = compiled_once(rosenbrock)
    found = optimize.minimize(f, START, args=(10.0,), jac=Gradient(f), method=method)
    assert np.allclose(found.x, 1.0, atol=1e-3)
    assert np.allclose(rosenbrock_gradient(found.x, 10.0), 0.0, atol=0.05)


def test_scipy_takes_value_and_gradient_at_once():
    optimize = pytest.importorskip("scipy.optimize")
    f = Counted(lambda x, a: rosenbrock(x - 3.0, a))  # so that no coordinate becomes small
    found = optimize.minimize(
        Gradient(f, scheme="forward", h="auto").value_and_gradient, START + 3.0, (10.0,), jac=True
    )
    assert np.allclose(found.x, 4.0, atol=1e-3)
    assert f.calls == found.nfev * (1 + len(START))


@pytest.mark.parametrize("method", ["Newton-CG", "trust-ncg", "trust-exact", "dogleg"])
def test_scipy_takes_hessians(method):
    optimize = pytest.importorskip("scipy.optimize")
    start = np.array([0.9, 1.1, 0.95])  # where the Hessian is positive
    found = optimize.minimize(
        rosenbrock, start, (10.0,), jac=Gradient(rosenbrock), hess=Hessian(rosenbrock), method=method
    )
    assert np.allclose(found.x, 1.0, atol=1e-4)


def test_scipy_takes_products_of_hessians():
    optimize = pytest.importorskip("scipy.optimize")
    found = optimize.minimize(
        rosenbrock, START, (10.0,), jac=Gradient(rosenbrock), hessp=Hessian(rosenbrock).product, method="trust-krylov"
    )
    assert np.allclose(found.x, 1.0, atol=1e-4)


@pytest.mark.parametrize("method", ["hybr", "lm"])
def test_scipy_finds_roots(method):
    optimize = pytest.importorskip("scipy.optimize")
    found = optimize.root(broyden, -np.ones(6), args=(1.0,), jac=Jacobian(broyden), method=method)
    assert found.success
    assert np.allclose(broyden(found.x), 0.0, atol=1e-8)
    evaluations = Counted(broyden)
    both = optimize.root(Jacobian(evaluations).value_and_jacobian, -np.ones(6), jac=True, method=method)
    assert np.allclose(both.x, found.x)


def test_scipy_solves_sparse_least_squares():
    optimize = pytest.importorskip("scipy.optimize")
    pattern = np.abs(np.subtract.outer(range(40), range(40))) <= 1
    found = optimize.least_squares(
        compiled_once(broyden), -np.ones(40), args=(1.0,), jac=Jacobian(broyden, sparsity=pattern)
    )
    assert np.allclose(found.fun, 0.0, atol=1e-8)
    assert np.allclose(found.jac.toarray(), broyden_jacobian(found.x), atol=1e-6)


@pytest.mark.parametrize("method", ["trf", "dogbox", "lm"])
def test_scipy_solves_least_squares(method):
    optimize = pytest.importorskip("scipy.optimize")
    found = optimize.least_squares(broyden, -np.ones(6), args=(1.0,), jac=Jacobian(broyden), method=method)
    assert np.allclose(found.fun, 0.0, atol=1e-8)
    assert np.allclose(found.jac, broyden_jacobian(found.x), atol=1e-6)


def test_scipy_fits_curves():
    optimize = pytest.importorskip("scipy.optimize")
    t = np.linspace(0.0, 2.0, 20)
    model = lambda t, a, b: a * np.exp(b * t)  # noqa: E731
    y = model(t, 2.0, -1.3) + 0.01 * np.sin(37.0 * t)
    found, covariance = optimize.curve_fit(model, t, y, p0=[1.0, -1.0], jac=Jacobian(model).by_parameters)
    own, own_covariance = optimize.curve_fit(model, t, y, p0=[1.0, -1.0])
    assert np.allclose(found, own, rtol=1e-6)
    assert np.allclose(covariance, own_covariance, rtol=1e-4)


def test_statsmodels_fits_by_score_and_hessian():
    pytest.importorskip("statsmodels")
    from statsmodels.base.model import GenericLikelihoodModel

    class Poisson(GenericLikelihoodModel):
        def loglike(self, params):
            mean = self.exog @ params
            return float(np.sum(self.endog * mean - np.exp(mean)))

    rng = np.random.default_rng(0)
    exog = np.stack([np.ones(200), rng.normal(size=200)], axis=1)
    model = Poisson(rng.poisson(np.exp(exog @ [0.5, 0.3])), exog)
    model.score, model.hessian = Gradient(model.loglike), Hessian(model.loglike)
    fit = model.fit(start_params=np.zeros(2), method="newton", disp=False)
    mean = np.exp(exog @ fit.params)
    assert np.allclose(exog.T @ (model.endog - mean), 0.0, atol=1e-3)
    exact = np.sqrt(np.diag(np.linalg.inv(exog.T @ (mean[:, None] * exog))))
    assert np.allclose(fit.bse, exact, rtol=1e-5)


def test_they_are_called_as_numdifftools_calls_its_own():
    numdifftools = pytest.importorskip("numdifftools")
    x = np.array([-1.2, 1.0, 0.5])
    assert np.allclose(Jacobian(broyden)(x), numdifftools.Jacobian(broyden)(x), atol=1e-6)
    assert np.allclose(Hessian(rosenbrock)(x), numdifftools.Hessian(rosenbrock)(x), rtol=1e-5, atol=1e-3)


def test_it_is_called_as_numdifftools_calls_its_own():
    numdifftools = pytest.importorskip("numdifftools")
    for x in itertools.islice(np.random.default_rng(0).normal(size=(9, 4)), 3):
        expected = rosenbrock_gradient(x)
        bound = 1e-7 * np.abs(expected).max()
        assert np.allclose(Gradient(rosenbrock, scheme="central6", h=1e-3)(x), expected, atol=bound)
        assert np.allclose(numdifftools.Gradient(rosenbrock)(x), expected, atol=bound)


# --- arguments by name, and what is said before f is asked ------------------------------------------------------------


def scaled(x, a, b=2.0):
    return a * x[0] ** b + x[1] ** 3


def by_name_only(x, *, a, b=2.0):
    return scaled(x, a, b)


@pytest.mark.parametrize("f", [scaled, by_name_only, compiled(scaled)], ids=["Python", "by name", "compiled"])
def test_arguments_may_be_given_by_name(f):
    x, pair = np.array([1.5, 0.5]), lambda x, *args, **named: np.array([f(x, *args, **named), x[0]])
    if f is not by_name_only and hasattr(f, "py_func"):
        pair = compiled(lambda x, a, b=2.0: np.array([a * x[0] ** b + x[1] ** 3, x[0]]))
    expected = np.array([[3 * 3.0 * 1.5**2, 0.75], [1.0, 0.0]])
    jacobian = Jacobian(pair, "auto")
    assert jacobian(x, a=3.0, b=3.0) == pytest.approx(expected, rel=1e-8)
    assert jacobian.value_and_jacobian(x, b=3.0, a=3.0)[0] == pytest.approx([3 * 1.5**3 + 0.125, 1.5])
    gradient = Gradient(f)
    assert gradient(x, a=3.0, b=3.0) == pytest.approx(expected[0], rel=1e-6)
    assert gradient(x, b=3.0, a=3.0).tobytes() == gradient.value_and_gradient(x, a=3.0, b=3.0)[1].tobytes()
    hessian = Hessian(f)
    assert hessian(x, a=3.0) == pytest.approx(np.diag([6.0, 3.0]), abs=1e-5)
    assert hessian.product(x, [0.0, 1.0], a=3.0) == pytest.approx([0.0, 3.0], abs=1e-5)
    if f is not by_name_only:
        assert hessian(x, 3.0, b=3.0).tobytes() == hessian(x, 3.0, 3.0).tobytes()
        with pytest.raises(TypeError, match="unexpected keyword argument 'c'"):
            hessian(x, 3.0, c=1.0)


def test_names_reach_a_gradient_too():
    hessian = Hessian(lambda x, a: 1 / 0, gradient=lambda x, a: a * x**2)
    x = np.array([1.0, 2.0])
    assert hessian(x, a=2.0) == pytest.approx(np.diag(4.0 * x), abs=1e-8)
    assert hessian.product(x, [1.0, 0.0], a=2.0) == pytest.approx([4.0, 0.0], abs=1e-8)


def test_least_squares_hands_on_names():
    optimize = pytest.importorskip("scipy.optimize")
    residuals = lambda p, t=1.0: p * t - 1.0  # noqa: E731
    found = optimize.least_squares(residuals, [1.0], kwargs={"t": 2.0}, jac=Jacobian(residuals))
    assert found.x == pytest.approx([0.5])


def test_parameters_are_of_an_f_of_one_point():
    with pytest.raises(ValueError, match="by_parameters needs an f of one point"):
        Jacobian(lambda t, a, b: a * np.exp(-b * t), vectorized=True).by_parameters(np.ones(2), 2.0, 1.0)


@needs_jit
@pytest.mark.parametrize("fills", [True, (2,), ()], ids=str)
def test_parameters_are_of_an_f_that_returns(fills):
    with pytest.raises(ValueError, match=r"by_parameters needs an f of one point; [^\n]* or fills$"):
        Jacobian(compiled(fill_product), fills=fills).by_parameters(np.ones(2), 2.0)


def fill_product(x, out):
    out[()] = x[0] * x[1]


@needs_jit
def test_one_number_may_be_filled():
    x, f = np.array([2.0, 5.0]), compiled(fill_product)
    assert Jacobian(f, fills=())(x) == pytest.approx([5.0, 2.0])
    value, slopes = Jacobian(f, "auto", fills=()).value_and_jacobian(x)
    assert (value.shape, value[()]) == ((), 10.0)
    assert slopes == pytest.approx([5.0, 2.0])


class Tagged(Gradient):
    """A subclass with an `__init__` of its own."""

    def __init__(self, f, tag, **options):
        super().__init__(f, **options)
        self.tag, self.me = tag, self


class Passing(Hessian):
    def __init__(self, *args, **named):
        super().__init__(*args, **named)


class Marked(Jacobian):
    """A subclass without one."""


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_subclasses_are_made_and_copied_with_what_they_hold(again):
    x = np.array([1.0, 2.0])
    first, second, third = Tagged(rosenbrock, ["t"], scheme="central4"), Passing(rosenbrock, 1e-3), Marked(np.cumsum)
    third.tag = 3
    copies = again(first), again(second), again(third)
    assert copies[0].tag == ["t"]
    assert copies[2].tag == 3
    for made, own, public in zip(
        copies, (first, second, third), (numerical_gradient, numerical_hessian, numerical_jacobian), strict=True
    ):
        assert type(made) is type(own)
        assert repr(made) == repr(own)
        assert made.options == own.options
        expected = public(own.f, x, **own.options) if public is not numerical_jacobian else public(own.f, x)
        assert made(x).tobytes() == own(x).tobytes() == expected.tobytes()
    if again is not copy.copy:
        assert copies[0].me is copies[0]


@pytest.mark.parametrize("make", ["pandas.Series", "torch.tensor", "numpy.array", "builtins.list"])
@pytest.mark.parametrize("kind", [Gradient, Jacobian, Hessian])
def test_steps_of_coordinates_may_be_of_any_library(kind, make):
    library, _, name = make.partition(".")
    steps = getattr(pytest.importorskip(library), name)([2**-10, 2**-9])
    x = np.array([1.0, 2.0])
    assert kind(rosenbrock, steps)(x).tobytes() == kind(rosenbrock, np.array([2**-10, 2**-9]))(x).tobytes()


def test_batches_of_what_is_no_array_have_a_value_too():
    pd = pytest.importorskip("pandas")
    seen, x = [], pd.Series({"a": 3.0, "b": 4.0})
    gradient = Gradient(lambda batch: seen.append(batch) or (batch**2).sum(axis=1), vectorized=True)
    value, slopes = gradient.value_and_gradient(x)
    assert value == 25.0
    pd.testing.assert_series_equal(slopes, gradient(x), check_exact=True)
    assert all(type(batch) is np.ndarray and batch.ndim == 2 for batch in seen)
    for call in (gradient, gradient.value_and_gradient):
        with pytest.raises(TypeError, match="x in a dict needs a Python f of one point"):
            call({"a": np.ones(2)})


@pytest.mark.parametrize("options", [{"h": np.ones(3)}, {"bounds": (5, 6)}, {"coordinates": [5]}], ids=str)
def test_a_value_is_asked_for_after_the_options_are_checked(options):
    def never(x):
        raise AssertionError("f was evaluated")

    with pytest.raises(ValueError, match=r"h of shape|within the bounds|coordinates must be"):
        Gradient(never, **options).value_and_gradient(np.array([1.0, 2.0]))
