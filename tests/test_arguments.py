"""What a caller may get wrong: one clear line for x, h, args and what f returns; an f that writes to its argument."""

import math
import sys
from multiprocessing.sharedctypes import RawArray

import numpy as np
import pytest
from problems import compiled, compiled_once, needs_jit

from numgrad import (
    Gradient,
    IncrementalObjective,
    assert_gradient,
    check_gradient,
    descent_path,
    directional_derivative,
    estimate_derivative,
    estimate_gradient,
    gradient_ascent,
    gradient_descent,
    hessian_vector_product,
    numerical_diff,
    numerical_gradient,
    numerical_hessian,
    numerical_jacobian,
    propagate,
)

RUNS = {
    "numerical_gradient": numerical_gradient,
    "forward": lambda f, x, **options: numerical_gradient(f, x, scheme="forward", **options),
    "vectorized": lambda f, x, **options: numerical_gradient(f, x, vectorized=True, **options),
    "estimate_gradient": estimate_gradient,
    "gradient_descent": gradient_descent,
    "gradient_ascent": gradient_ascent,
    "descent_path": descent_path,
    "check_gradient": lambda f, x, **options: check_gradient(f, np.ones(2), x, **options),
    "assert_gradient": lambda f, x, **options: assert_gradient(f, np.ones(2), x, **options),
    "directions": lambda f, x, **options: check_gradient(f, np.ones(2), x, directions=2, **options),
}


def never(*args):
    raise AssertionError("evaluated before the arguments were checked")


def line_of(caught):
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 300
    return text


class Tensor:
    """What PyTorch does with a tensor that requires grad, and with one on another device."""

    def __init__(self, error=RuntimeError, requires_grad=True):
        self.error, self.requires_grad = error, requires_grad

    def __array__(self, *args, **kwargs):
        raise self.error("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")

    def __float__(self):
        return 3.0

    def __repr__(self):
        return "tensor(3., grad_fn=<SumBackward0>)"


# --- x ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize(
    ("x", "error", "said"),
    [
        ([[1.0], [2.0, 3.0]], ValueError, "its rows differ in length"),
        (None, TypeError, "NoneType None"),
        (Tensor(), TypeError, "got Tensor: Can't call numpy"),
        (Tensor(TypeError), TypeError, "got Tensor: Can't call numpy"),
        ("text", TypeError, "hold real numbers"),
        ([None, 1.0], TypeError, "hold real numbers"),
        ({1.0, 2.0}, TypeError, "hold real numbers.*set"),
        (object(), TypeError, "hold real numbers.*object"),
        (lambda: 3, TypeError, "hold real numbers"),
    ],
    ids=[
        "ragged",
        "None",
        "tensor",
        "tensor on a device",
        "str",
        "list of None",
        "set",
        "object",
        "function",
    ],
)
def test_an_x_that_is_no_array_of_real_numbers_is_one_clear_line(run, x, error, said):
    with pytest.raises(error, match=rf"x must .*{said}") as caught:
        RUNS[run](never, x)
    line_of(caught)


@pytest.mark.parametrize("run", ["descent_path"])
@pytest.mark.parametrize(
    ("x", "said"),
    [
        ([np.ones(2), np.ones(3)], "arrays of several shapes; pass one at a time"),
        ((np.ones((2, 2)), np.ones(2)), "arrays of several shapes; pass one at a time"),
    ],
    ids=["arrays", "tuple"],
)
def test_arrays_of_several_shapes_are_pointed_to_each(run, x, said):
    with pytest.raises(ValueError, match=rf"x must .*{said}") as caught:
        RUNS[run](never, x)
    line_of(caught)


@pytest.mark.parametrize("run", ["descent_path"])
@pytest.mark.parametrize("make", [dict, lambda d: type("Params", (dict,), {})(d)], ids=["dict", "subclass"])
def test_a_dict_of_arrays_is_pointed_to_its_arrays(run, make):
    for x in ({"W1": np.ones(2), "b1": np.ones(3)}, {}):
        with pytest.raises(
            TypeError, match=r"x must hold real numbers.*pass one of its arrays, x\[key\], at a time"
        ) as caught:
            RUNS[run](never, make(x))
        line_of(caught)


@pytest.mark.parametrize("run", RUNS)
def test_a_sparse_matrix_is_pointed_to_toarray(run):
    sparse = pytest.importorskip("scipy.sparse")
    for kind in (sparse.csr_matrix, sparse.coo_matrix, sparse.csc_array):
        with pytest.raises(TypeError, match=r"x must hold real numbers.*sparse \w+; pass x\.toarray\(\)") as caught:
            RUNS[run](never, kind(np.eye(2)))
        line_of(caught)


def test_a_list_of_arrays_of_one_shape_is_one_array():
    x = [np.array([1.0, 2.0]), np.array([3.0, 4.0])]
    assert np.allclose(numerical_gradient(lambda x: np.sum(x**2), x), [[2.0, 4.0], [6.0, 8.0]])


@pytest.mark.parametrize("run", [numerical_diff, estimate_derivative])
@pytest.mark.parametrize(
    ("x", "error", "said"),
    [
        ({"a": 1.0}, TypeError, "x must hold real numbers"),
        (None, TypeError, "x must hold real numbers"),
        (Tensor(), TypeError, "x must be .* got Tensor"),
        ([np.ones(2), np.ones(3)], ValueError, "x must be one array, got arrays of several shapes"),
    ],
    ids=["dict", "None", "tensor", "arrays"],
)
def test_the_derivative_of_a_number_says_the_same(run, x, error, said):
    with pytest.raises(error, match=said) as caught:
        run(never, x)
    line_of(caught)


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        (None, TypeError, "gradient must hold real numbers"),
        (Tensor(), TypeError, "gradient must be .* got Tensor: Can't call numpy"),
        ([np.ones(2), np.ones(3)], ValueError, "gradient must be one array, got arrays of several shapes"),
        ({"a": np.ones(2)}, TypeError, "gradient must hold real numbers"),
    ],
    ids=["None", "tensor", "arrays", "dict"],
)
def test_a_candidate_that_is_no_array_is_one_clear_line(given, error, said):
    for candidate in (given, lambda x: given):
        with pytest.raises(error, match=said) as caught:
            check_gradient(lambda x: np.sum(x), candidate, np.ones(2))
        line_of(caught)


# --- h and args ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("h", [(3.0,), (), (1e-4, 2), (np.ones(2),), ([1.0],), ("a",), (3, 4)], ids=str)
@pytest.mark.parametrize("scheme", ["central", "forward", "complex"])
def test_a_tuple_for_h_is_an_error_that_names_args(h, scheme):
    for f in (never, compiled(plain_function)):
        with pytest.raises(TypeError, match=r"h must be a step, got tuple.*args=") as caught:
            numerical_gradient(f, np.ones(2), h, scheme=scheme)
        line_of(caught)
    for descend in (gradient_descent, gradient_ascent, descent_path):
        with pytest.raises(TypeError, match=r"h must be a step, got tuple.*args=") as caught:
            descend(never, np.ones(2), h=h, scheme=scheme)
    with pytest.raises(TypeError, match=r"h must be a step, got tuple") as caught:
        numerical_diff(never, 1.0, h, scheme=scheme)
    line_of(caught)


def plain_function(x):
    return x[0]


@needs_jit
@pytest.mark.parametrize(
    ("args", "named"),
    [
        (({"lr": 0.1},), r"args\[0\] is dict"),
        ((1.0, {"lr": 0.1}), r"args\[1\] is dict"),
        ((plain_function,), r"args\[0\] is function"),
        ((np.ones(2), lambda x: x), r"args\[1\] is function"),
        ((object(),), r"args\[0\] is object"),
        (((1.0, {"a": 1}),), r"args\[0\] is tuple"),
    ],
    ids=["dict", "second", "function", "lambda", "object", "in a tuple"],
)
@pytest.mark.parametrize(
    "run", ["numerical_gradient", "forward", "estimate_gradient", "gradient_descent", "check_gradient"]
)
def test_an_arg_that_numba_cannot_pass_is_named(args, named, run):
    f = compiled(lambda x, *args: x[0])
    with pytest.raises(TypeError, match=f"{named}.*which numba cannot pass to a compiled f; pass arrays") as caught:
        RUNS[run](f, np.ones(2), args=args)
    line_of(caught)


# --- what f returns --------------------------------------------------------------------------------------------------


def forgets(x):
    x[0] + x[1]


RETURNED = {
    "tensor": (lambda x: Tensor(), r"tensor\(3.*; let f return loss\.item\(\)"),
    "loss and gradient": (lambda x: (1.0, 2 * x), r"if that is \(loss, gradient\), pass lambda x: f\(x\)\[0\]"),
    "loss and list": (lambda x: [1.0, [1.0, 2.0]], r"it returned list"),
    "forgotten": (forgets, "it returned NoneType None: is a return missing?"),
    "dict": (lambda x: {"loss": 1.0}, "it returned dict"),
    "an array": (lambda x: 2 * x, "it returned an array"),
}


@pytest.mark.parametrize("returned", RETURNED)
@pytest.mark.parametrize("run", [run for run in RUNS if run != "vectorized"])
def test_what_f_returns_wrongly_is_one_clear_line_and_memory_is_what_it_was(returned, run):
    f, said = RETURNED[returned]
    x = np.array([2.0, 3.0])
    with pytest.raises(TypeError, match=f"f must return one real number, .*{said}") as caught:
        RUNS[run](f, x)
    line_of(caught)
    assert x.tolist() == [2.0, 3.0]


@pytest.mark.parametrize("returned", ["tensor", "loss and gradient", "forgotten", "dict"])
def test_what_an_f_of_a_dict_returns_wrongly_is_the_same_line(returned):
    f, said = RETURNED[returned]
    x = {"a": np.array([2.0, 3.0])}
    for options in ({}, {"directions": 2}):
        with pytest.raises(TypeError, match=f"f must return one real number, .*{said}") as caught:
            check_gradient(lambda p: f(p["a"]), {"a": np.ones(2)}, x, **options)
        line_of(caught)


@needs_jit
@pytest.mark.parametrize("run", [run for run in RUNS if run != "vectorized"])
def test_a_forgotten_return_of_a_compiled_f_is_one_clear_line(run):
    with pytest.raises(
        TypeError, match=r"f must return one real number, it returned (none|NoneType None): is a return missing\?"
    ) as caught:
        RUNS[run](compiled_once(forgets), np.ones(2))
    line_of(caught)


def loss_and_gradient(x):
    return x[0], 2 * x


@needs_jit
@pytest.mark.parametrize(
    "run", ["numerical_gradient", "forward", "estimate_gradient", "gradient_descent", "check_gradient"]
)
def test_loss_and_gradient_of_a_compiled_f_are_one_clear_line(run):
    with pytest.raises(TypeError, match="f must return one real number, it returned") as caught:
        RUNS[run](compiled_once(loss_and_gradient), np.ones(2))
    line_of(caught)


# --- an f that writes to its argument --------------------------------------------------------------------------------


def sorts(x):
    x.sort()
    return float(x[0] + 2 * x[1])


def normalises(x):
    x /= x.sum()
    return float(x[0] * x[1])


def last_only(x):
    x[-1] += 1.0  # the coordinate that a loop perturbs, and restores, last
    return float(x[0] * x[-1])


def first_only(x):
    x[0] += 1.0
    return float(x[0] * x[-1])


WRITES = [sorts, normalises, first_only, last_only]
WRITING = {
    "complex": lambda f, x: numerical_gradient(
        lambda z: f(z) if z.dtype.kind == "f" else _writes_complex(z), x, scheme="complex"
    ),
    "bounds": lambda f, x: numerical_gradient(f, x, bounds=(x.copy(), np.inf)),
    "engine": lambda f, x: numerical_gradient(f, x, workers=map),
    "progress": lambda f, x: numerical_gradient(f, x, progress=lambda *_: None),
    "coordinates": lambda f, x: numerical_gradient(f, x, coordinates=[0, 2, 1, 2]),
    "gradient": numerical_gradient,
    "forward": lambda f, x: numerical_gradient(f, x, scheme="forward"),
    "central4": lambda f, x: numerical_gradient(f, x, scheme="central4"),
    "estimate": estimate_gradient,
    "path": descent_path,
    "callback": lambda f, x: gradient_descent(f, x, callback=lambda *_: None),
    "check": lambda f, x: check_gradient(f, np.ones(3), x),
    "candidate": lambda f, x: check_gradient(lambda x: np.sum(x), f, x),
    "directions": lambda f, x: check_gradient(f, np.ones(3), x, directions=2),
    "samples": lambda f, x: check_gradient(f, np.ones(3), x, samples=1),
    "assert": lambda f, x: assert_gradient(f, np.ones(3), x),
}


def _writes_complex(z):
    z[0] = 7.0
    return np.sum(z)


@pytest.mark.parametrize("name", WRITING)
@pytest.mark.parametrize("f", WRITES)
def test_an_f_that_writes_to_its_argument_is_found_everywhere(name, f):
    for make in (np.array, lambda x: np.array(x, np.float32), lambda x: np.repeat(x, 2)[::2]):
        x = make([2.0, 1.0, 3.0])
        before = x.tobytes()
        with pytest.raises(ValueError, match=r"f writes to its argument.*x\.copy\(\)") as caught:
            WRITING[name](f, x)
        line_of(caught)
        assert x.tobytes() == before


@pytest.mark.parametrize("name", [name for name in WRITING if name not in ("complex", "candidate", "assert")])
def test_x_has_its_shape_again_where_f_has_set_it(name):
    def reshapes(x):
        x.shape = (1, -1)
        return float(x[0, 0] * x[0, -1])

    def plain(x):
        return float(x[0] * x[-1])

    for make in (np.array, lambda x: np.array(x, np.float32)):
        x, y = make([2.0, 1.0, 3.0]), make([2.0, 1.0, 3.0])
        found, expected = WRITING[name](reshapes, x), WRITING[name](plain, y)
        assert np.array_equal(getattr(found, "value", found), getattr(expected, "value", expected)) or not expected
        assert (x.shape, x.tolist()) == (y.shape, y.tolist())


@pytest.mark.parametrize("f", WRITES)
@pytest.mark.parametrize("options", [{}, {"directions": 2}, {"samples": 1}], ids=str)
def test_an_f_that_writes_to_one_array_of_a_dict_is_found(f, options):
    x = {"a": np.array([2.0, 1.0, 3.0]), "b": np.array([[1.0]])}
    before = [array.tobytes() for array in x.values()]
    right = {"a": np.ones(3), "b": np.ones((1, 1))}
    cases = [(lambda p: f(p["a"]) + p["b"][0, 0], right), (lambda p: np.sum(p["a"]), lambda p: f(p["a"]) and right)]
    for used, candidate in cases:
        with pytest.raises(ValueError, match=r"f writes to its argument.*x\.copy\(\)"):
            check_gradient(used, candidate, x, **options)
        assert [array.tobytes() for array in x.values()] == before


def test_a_vectorized_f_may_write_to_its_batch_and_x_is_what_it_was():
    def f(batch):
        batch.sort(axis=1)
        return batch[:, 0] + 2 * batch[:, 1]

    x = np.array([2.0, 1.0, 3.0])
    before = x.tobytes()
    for options in ({}, {"scheme": "forward"}, {"scheme": "central4"}, {"batch_bytes": 1}):
        assert np.allclose(numerical_gradient(f, x, vectorized=True, **options), [2.0, 1.0, 0.0])
        assert x.tobytes() == before


@pytest.mark.parametrize("place", [0, -1, (-1, 0), (0, slice(1))], ids=str)
@pytest.mark.parametrize("several", [False, True])
def test_a_vectorized_f_that_writes_to_some_points_is_found(place, several):
    def f(batch):
        batch[place] = 7.0
        return batch**2 if several else np.sum(batch**2, axis=1)

    x = np.array([1.0, 2.0, 3.0])
    before, jacobian = x.tobytes(), numerical_jacobian if several else numerical_gradient
    cases = [{}, {"h": "auto"}, {"scheme": "forward"}]
    cases += [{"sparsity": np.eye(3)}] if several else [{"points_axis": 0}, {"batch_bytes": 1}]
    for options in cases:
        with pytest.raises(ValueError, match="f writes to its argument"):
            jacobian(f, np.ones((4, 3)) if "points_axis" in options else x, vectorized=True, **options)
    assert x.tobytes() == before


def within(batch):
    assert 0.0 <= batch.min() <= batch.max() <= 3.0  # also where others are looked for
    return np.sqrt(batch)


MATRIX = np.random.default_rng(0).normal(size=(3, 3))
NOISE = np.random.default_rng(0)
MIXED = {
    "mean of all": lambda b: b - b.mean(),
    "mean over points": lambda b: b - b.mean(axis=0),
    "softmax of all": lambda b: np.exp(b) / np.exp(b).sum(),
    "roll": lambda b: np.roll(b, 1),
    "sums of points": lambda b: np.cumsum(b, axis=0),
    "sorted points": lambda b: np.sort(b, axis=0),
    "largest of all": lambda b: b / np.abs(b).max(),
}
SEPARATE = {
    "product": lambda b: b @ MATRIX,
    "softmax": lambda b: np.exp(b) / np.exp(b).sum(axis=1, keepdims=True),
    "float32": lambda b: (b @ MATRIX).astype(np.float32),
    "under a constant": lambda b: 1e9 + (b @ MATRIX) ** 3,
    "random": lambda b: b + 1e-3 * NOISE.normal(size=b.shape),
    "complex": lambda b: b @ MATRIX + 1j * b,
    "integers": lambda b: np.round(b).astype(int),
    "undefined beyond x": within,
}


@pytest.mark.filterwarnings("ignore:about . digits of the gradient are right")  # of float32
@pytest.mark.parametrize("name", [*MIXED, *SEPARATE])
def test_points_of_a_batch_do_not_see_each_other(name):
    x, f = np.array([1.2, 0.4, 3.0]), (MIXED | SEPARATE)[name]
    options = {"vectorized": True, "bounds": (0.0, 3.0) if name == "undefined beyond x" else None}
    calls = [lambda: numerical_jacobian(f, x, **options)]
    calls += [lambda: numerical_gradient(lambda b: np.sum(f(b), axis=1).real, x, **options)]
    if name != "undefined beyond x":
        points = np.stack([x, x + 0.1])
        calls += [lambda: numerical_gradient(lambda b: f(b)[:, 0].real, points, points_axis=0, vectorized=True)]
    for call in calls:
        if name in MIXED:
            with pytest.raises(ValueError, match="the value of a point changes with the others"):
                call()
        elif name == "integers":
            with pytest.warns(RuntimeWarning, match="all differences are exactly zero"):
                call()
        else:
            call()


A = np.random.default_rng(0).normal(size=(200, 50))
SOLUTION = np.random.default_rng(1).normal(size=50)
ROUNDING = {
    "least squares at the solution": lambda b: np.sum((b @ A.T - A @ SOLUTION) ** 2, axis=1, keepdims=True),
    "residuals": lambda b: b @ A.T - A @ SOLUTION,
    "zero but for rounding": lambda b: np.sum(b - SOLUTION, axis=1, keepdims=True) + 1e-13 * len(b),
    "float32 inside": lambda b: 1.0 + 1e-2 * b[:, :1] + 5e-6 * len(b),
    "float16": lambda b: (1.0 + 1e-2 * b[:, :1] + 10 * 2.0**-10 * len(b)).astype(np.float16),
    "complex64": lambda b: (b @ A.T - 1j * len(b) * 2.0**-22).astype(np.complex64),
}


@pytest.mark.filterwarnings("ignore:all differences", "ignore:about . digits of the gradient are right")
@pytest.mark.parametrize("f", ROUNDING.values(), ids=ROUNDING)
def test_a_vectorized_f_may_round_otherwise_in_another_batch(f):
    assert np.isfinite(numerical_jacobian(f, SOLUTION.copy(), vectorized=True)).all()
    assert np.isfinite(numerical_gradient(lambda b: np.real(f(b))[:, 0], SOLUTION.copy(), vectorized=True)).all()


def test_a_vectorized_f_is_asked_once_whether_its_points_see_each_other_and_within_bounds():
    seen = []

    def f(batch):
        seen.append(len(batch))
        return np.sum(within(batch), axis=1)

    x = np.array([1.2, 0.4, 3.0])
    for others in (1, 0):
        seen.clear()
        Gradient(f, vectorized=True, bounds=(0.0, 3.0)).value_and_gradient(x)
        assert seen.count(3) == others  # x has one axis, of 3 elements: no other batch has this length


def test_a_vectorized_f_may_return_a_view_of_a_batch_that_it_has_changed():
    def f(batch):
        batch *= 2.0
        return batch[:, 0]

    assert np.allclose(numerical_gradient(f, np.ones(3), scheme="forward", vectorized=True), [2.0, 0.0, 0.0])
    assert np.allclose(numerical_jacobian(lambda b: (f(b), b)[1], np.ones(3), vectorized=True), 2.0 * np.eye(3))


@pytest.mark.parametrize("read_only", [lambda x: x.tolist(), lambda x: x.astype(int)])
def test_an_f_that_writes_to_a_private_copy_is_found_too(read_only):
    x = read_only(np.array([2.0, 1.0, 3.0]))
    with pytest.raises(ValueError, match="f writes to its argument"):
        numerical_gradient(sorts, x)
    assert list(x) == [2, 1, 3]


def writes_first(x):
    x[0] += 1.0
    return x[0] * x[-1]


def writes_last(x):
    x[-1] += 1.0
    return x[0] * x[-1]


@needs_jit
@pytest.mark.parametrize("f", [writes_first, writes_last])
@pytest.mark.parametrize("run", ["gradient", "forward", "coordinates", "estimate", "path"])
def test_a_compiled_f_that_writes_to_one_element_is_found(f, run):
    x = np.array([2.0, 1.0, 3.0])
    with pytest.raises(ValueError, match="f writes to its argument"):
        WRITING[run](compiled_once(f), x)
    assert x.tolist() == [2.0, 1.0, 3.0]


# --- an incremental objective that writes ----------------------------------------------------------------------------


def incremental(value=None, prepare=None, difference=None):
    """Return a sum of squares as an incremental objective, with one of its functions replaced."""
    return IncrementalObjective(
        value or (lambda x: float(np.sum(x**2))),
        prepare or (lambda x, h: (x.reshape(-1), h)),
        compiled(difference or (lambda state, k: 4.0 * state[1] * state[0][k])),
    )


def halves(x, *_):
    x /= 2
    return x.reshape(-1), 1e-4


def halves_and_fails(x, *_):
    x /= 2
    raise KeyError("mine")


def moves_and_returns(state, k):
    state[0][k] += 1.0
    return 1.0


@pytest.mark.parametrize(
    ("objective", "error"),
    [
        (incremental(prepare=halves), ValueError),
        (incremental(prepare=halves_and_fails), KeyError),
        (incremental(difference=moves_and_returns), ValueError),
    ],
    ids=["prepare", "prepare raises", "difference"],
)
@pytest.mark.parametrize(
    "options", [{}, {"scheme": "central4"}, {"workers": 2}, {"coordinates": [1, 0]}, {"workers": map}]
)
def test_an_incremental_objective_that_writes_is_told_and_x_stays(objective, error, options):
    x = np.arange(1.0, 5.0)
    with pytest.raises(error, match=r"writes|mine"):
        numerical_gradient(objective, x, **options)
    with pytest.raises(error, match=r"writes|mine"):
        gradient_descent(objective, x)
    with pytest.raises(error, match=r"writes|mine"):
        check_gradient(objective, 2 * x, x)
    assert x.tolist() == [1.0, 2.0, 3.0, 4.0]


def test_a_value_of_an_incremental_objective_that_writes_is_told_and_x_stays():
    x = np.arange(1.0, 5.0)
    for value, error in ((lambda x: halves(x)[1], ValueError), (halves_and_fails, KeyError)):
        for call in (
            lambda f: check_gradient(f, 2 * x, x),
            lambda f: check_gradient(f, 2 * x, x, directions=2),
            lambda f: f.verify(x),
        ):
            with pytest.raises(error, match=r"writes|mine"):
                call(incremental(value=value))
            assert x.tolist() == [1.0, 2.0, 3.0, 4.0]
    assert numerical_gradient(incremental(), x) == pytest.approx(2 * x)


class Unspeakable:
    def __repr__(self):
        raise RuntimeError("repr")


@pytest.mark.parametrize("value", [10**5000, Unspeakable(), [Unspeakable()]], ids=lambda value: type(value).__name__)
def test_a_value_that_has_no_text_is_named_by_its_type(value):
    with pytest.raises(TypeError, match=f"^f must return one real number, it returned {type(value).__name__}$"):
        numerical_gradient(lambda x: value, np.ones(1))
    with pytest.raises(TypeError, match=r"^lr must be a real number, got Unspeakable$"):
        gradient_descent(lambda x: 0.0, np.ones(1), Unspeakable())


def test_a_string_of_numpy_is_a_string():
    x, auto = np.array([1e-9, 2.0]), np.str_("auto")
    for f in (lambda x: np.cos(x).sum(), lambda x: np.float32(np.sum(x**2))):
        assert np.array_equal(numerical_gradient(f, x, auto), numerical_gradient(f, x, "auto"))
        assert np.array_equal(numerical_gradient(f, [x, x], auto, points_axis=0)[1], numerical_gradient(f, x, "auto"))
        assert np.array_equal(numerical_hessian(f, x, auto), numerical_hessian(f, x, "auto"))
        paths = [gradient_descent(f, x.copy(), 0.1, 3, h=h) for h in (auto, "auto")]
        assert np.array_equal(*paths)


# --- arrays whose dtype names its byte order -------------------------------------------------------------------------
# They come of ctypes, of memory that processes share, and of files; they are equal to NumPy's own and print alike.


def named(array):
    """Return the same memory, by a dtype that names the byte order of this machine."""
    array = np.asarray(array)
    return array.view(array.dtype.newbyteorder("<" if sys.byteorder == "little" else ">"))


def quarter(x):
    """A function of arrays of any form, in containers too, which looks at nothing but the numbers."""
    if isinstance(x, dict | list):
        return sum(quarter(part) for part in (x.values() if isinstance(x, dict) else x))
    return float((np.asarray(x, dtype=np.float64) ** 4).sum() / 4)


V = np.array([1.0, 2.0, 3.0])
NAMED_LAYOUTS = {
    "vector": lambda own: own(V.copy()),
    "one number": lambda own: own(np.array(1.5)),
    "empty": lambda own: own(np.zeros(0)),
    "matrix": lambda own: own(np.ones((2, 3))),
    "Fortran": lambda own: own(np.asfortranarray(np.arange(1.0, 7.0).reshape(2, 3))),
    "strided": lambda own: own(np.arange(1.0, 7.0))[::2],
    "reversed": lambda own: own(V.copy())[::-1],
    "read-only": lambda own: (lambda x: (x.setflags(write=False), x)[1])(own(V.copy())),
    "float32": lambda own: own(V.astype(np.float32)),
    "float16": lambda own: own(V.astype(np.float16)),
    "longdouble": lambda own: own(V.astype(np.longdouble)),
    "integers": lambda own: own(np.array([1, 2, 3])),
    "a leaf": lambda own: {"a": own(V.copy()), "b": [V.copy()]},
}
NAMED_ROUTES = {
    "central": numerical_gradient,
    "central4": lambda f, x: numerical_gradient(f, x, scheme="central4"),
    "forward": lambda f, x: numerical_gradient(f, x, scheme="forward"),
    "automatic": lambda f, x: numerical_gradient(f, x, "auto"),
    "workers": lambda f, x: numerical_gradient(f, x, workers=map),
    "object": lambda f, x: Gradient(f)(x),
    "Hessian": numerical_hessian,
    "estimate": lambda f, x: estimate_gradient(f, x).value,
    "check": lambda f, x: str(check_gradient(f, numerical_gradient(f, x), x)),
}
NAMED_ROUTES_OF_ARRAYS = {
    "descent": lambda f, x: np.asarray(gradient_descent(f, x, 1e-3, 2), x.dtype),
    "path": lambda f, x: descent_path(f, x, 1e-3, 2)[0],
    "Jacobian": lambda f, x: numerical_jacobian(lambda x: np.cos(x), x),
    "directional": lambda f, x: directional_derivative(f, x, np.ones(x.shape)),
    "elementwise": lambda f, x: numerical_diff(np.sin, x),
    "points": lambda f, x: numerical_gradient(f, x, points_axis=0) if x.ndim > 1 else 0.0,
    "covariance": lambda f, x: propagate(f, x, np.full(x.shape, 0.5)) if x.ndim < 2 else 0.0,
}


def flat(found):
    if isinstance(found, dict):
        return [number for part in found.values() for number in flat(part)]
    if isinstance(found, list):
        return [number for part in found for number in flat(part)]
    return np.asarray(found).ravel().tolist()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the digits of float16
@pytest.mark.parametrize("route", NAMED_ROUTES | NAMED_ROUTES_OF_ARRAYS)
@pytest.mark.parametrize("layout", NAMED_LAYOUTS)
def test_a_dtype_that_names_its_byte_order_is_like_any_other(layout, route):
    make, call = NAMED_LAYOUTS[layout], (NAMED_ROUTES | NAMED_ROUTES_OF_ARRAYS)[route]
    x = make(named)
    if isinstance(x, dict) and route in NAMED_ROUTES_OF_ARRAYS:
        pytest.skip("takes one array")
    seen = []

    def f(x):
        seen.append(x)
        return quarter(x)

    expected = call(quarter, make(np.asarray))
    np.testing.assert_array_equal(flat(call(f, x)), flat(expected))
    assert all(isinstance(value, dict) or value.shape == x.shape for value in seen) or route == "points"


GIVEN_BESIDE_X = {  # what may be such an array beside x
    "step": lambda own: numerical_gradient(quarter, V, own(1e-4 * V)),
    "bounds": lambda own: numerical_gradient(quarter, V, bounds=(own(V - 1), own(V + 1))),
    "coordinates": lambda own: numerical_gradient(quarter, V, coordinates=own(np.array([2, 0]))),
    "coordinates4": lambda own: numerical_gradient(quarter, V, coordinates=own(np.array([2, 0])), scheme="central4"),
    "vector": lambda own: hessian_vector_product(quarter, V, own(V)),
    "covariance": lambda own: propagate(quarter, V, own(np.diag(V))),
    "variances": lambda own: propagate(quarter, V, own(V)),
    "outputs": lambda own: numerical_jacobian(lambda x: own(x**2), V),
    "gradient": lambda own: numerical_hessian(quarter, V, gradient=lambda x: own(x**3)),
    "candidate": lambda own: str(check_gradient(quarter, own(V**3), V)),
}


@pytest.mark.parametrize("what", GIVEN_BESIDE_X)
def test_what_is_given_beside_x_may_name_its_byte_order(what):
    assert flat(GIVEN_BESIDE_X[what](named)) == flat(GIVEN_BESIDE_X[what](np.asarray))


RESULTS = {
    "central": lambda out: numerical_gradient(quarter, V, out=out),
    "central4": lambda out: numerical_gradient(quarter, V, scheme="central4", out=out),
    "automatic": lambda out: numerical_gradient(quarter, V, "auto", out=out),
    "workers": lambda out: numerical_gradient(quarter, V, out=out, workers=map),
    "the rest": lambda out: numerical_gradient(quarter, V, out=out, resume=True),
    "points": lambda out: numerical_gradient(quarter, np.outer(V, V), points_axis=1, out=out),
    "Jacobian": lambda out: numerical_jacobian(lambda x: x**2, V, out=out),
    "automatic Jacobian": lambda out: numerical_jacobian(lambda x: x**2, V, "auto", out=out),
    "Hessian": lambda out: numerical_hessian(quarter, V, out=out),
    "the rest of a Hessian": lambda out: numerical_hessian(quarter, V, out=out, resume=True),
    "Hessian of a gradient": lambda out: numerical_hessian(quarter, V, out=out, gradient=lambda x: x**3),
}


@pytest.mark.parametrize("route", RESULTS)
def test_out_may_name_its_byte_order(route):
    expected = RESULTS[route](np.full((3, 3) if route in list(RESULTS)[5:] else 3, np.nan))
    for out in (named(np.full(expected.shape, np.nan)), shared_array(expected.shape)):
        out.fill(np.nan)
        assert RESULTS[route](out) is out
        assert out.tolist() == expected.tolist()


def shared_array(shape):
    """Return an array in memory that processes share, as `multiprocessing` makes it."""
    return np.ctypeslib.as_array(RawArray("d", math.prod(shape))).reshape(shape)


# --- nothing to differentiate ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sparsity", [False, True])
@pytest.mark.parametrize("shape", [(0,), (0, 2), (2, 0)])
@pytest.mark.parametrize("outputs", [0, 1, 3])
@pytest.mark.parametrize(
    "options", [{}, {"h": "auto"}, {"scheme": "central4"}, {"scheme": "forward"}, {"workers": map}, {"bounds": (0, 1)}]
)
def test_the_jacobian_of_a_batch_of_points_without_elements_is_empty(options, outputs, shape, sparsity):
    pattern = {"sparsity": np.zeros((outputs, 0))} if sparsity else {}

    def f(batch):
        return np.ones((len(batch), outputs))

    found = numerical_jacobian(f, np.zeros(shape), vectorized=True, **options, **pattern)
    assert found.shape == ((outputs, 0) if sparsity else (outputs, *shape))
