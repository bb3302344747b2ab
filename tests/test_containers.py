"""Parameters in containers: dicts, lists and tuples of arrays, pandas objects; in place, restored, written through."""

import functools
import pickle
import warnings
from collections import OrderedDict
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest
from problems import compiled, needs_jit

from numgrad import (
    Gradient,
    Hessian,
    Jacobian,
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
    labels,
    numerical_diff,
    numerical_gradient,
    numerical_hessian,
    numerical_jacobian,
    propagate,
    reference,
)
from numgrad.containers import Container, OfOneArray, flat_of, is_container, leaves, rebuilt

X, T = np.array([[0.6, 0.9], [0.1, -0.4], [1.0, 0.2]]), np.array([2, 0, 1])


class Pair(NamedTuple):
    W: Any
    b: Any


class Params(dict):
    """A dict of a class of the user's own."""


def arrays(dtype=np.float64):
    rng = np.random.default_rng(0)
    return rng.normal(size=(2, 3)).astype(dtype), rng.normal(size=3).astype(dtype)


def loss(W, b):
    return float(reference.cross_entropy_error(reference.softmax(X @ W + b), T))


def by_the_book(W, b):
    """Return the gradients of the plain loop, one array at a time."""
    f = lambda _: loss(W, b)  # noqa: E731
    return reference.numerical_gradient(f, W), reference.numerical_gradient(f, b)


KINDS = {
    "dict": (lambda W, b: {"W": W, "b": b}, lambda p: (p["W"], p["b"])),
    "subclass": (lambda W, b: Params(W=W, b=b), lambda p: (p["W"], p["b"])),
    "ordered": (lambda W, b: OrderedDict(W=W, b=b), lambda p: (p["W"], p["b"])),
    "proxy": (lambda W, b: MappingProxyType({"W": W, "b": b}), lambda p: (p["W"], p["b"])),
    "list": (lambda W, b: [W, b], tuple),
    "tuple": (lambda W, b: (W, b), tuple),
    "named tuple": (Pair, tuple),
    "nested": (lambda W, b: {"layers": [{"W": W}, (b,)]}, lambda p: (p["layers"][0]["W"], p["layers"][1][0])),
}


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


# --- gradients -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: {"s": [np.array(1.0), np.array(2.0)], "w": np.ones(2)},
        lambda: {"s": (np.array(1.0),), "t": [[np.array(2.0)], {"w": np.array(3.0)}]},
        lambda: [[np.array(1.0), np.array(2.0)], np.ones((1, 2))],
    ],
)
def test_arrays_without_axes_are_moved_in_place_wherever_they_are(make):
    x = make()
    arrays = [part for _, part in leaves(x)]
    assert all(isinstance(part, np.ndarray) for part in arrays)
    before = flat_of(x)

    def squares(p):
        return float(sum(np.sum(np.square(part)) for _, part in leaves(p)))

    def reads_the_same(_):
        return squares(x)

    for f in (squares, reads_the_same):
        np.testing.assert_allclose(flat_of(numerical_gradient(f, x)), 2 * before, rtol=1e-9)
        assert check_gradient(f, rebuilt(x, iter([2 * part for part in arrays])), x)
    gradient_descent(squares, x, 0.1, 1)
    assert all(one is other for one, (_, other) in zip(arrays, leaves(x), strict=True))
    np.testing.assert_allclose(flat_of(x), 0.8 * before, rtol=1e-9)


def test_a_callback_that_puts_in_another_array_without_axes_leaves_the_own_one():
    x = {"s": [np.array(1.0), np.array(2.0)], "w": np.ones(2)}
    own = x["s"][0]

    def callback(k, x):
        x["s"][0] = np.array(5.0 + k)

    gradient_descent(lambda p: float(p["s"][0] ** 2 + p["s"][1] ** 2 + np.sum(p["w"])), x, 0.1, 2, callback=callback)
    assert x["s"][0] is own
    assert own == 6.0


def test_a_list_of_arrays_without_axes_alone_is_numbers():
    x = [np.array(1.0), np.array(2.0)]
    np.testing.assert_allclose(numerical_gradient(lambda x: np.sum(x**2), x), [2.0, 4.0])
    assert check_gradient(lambda x: np.sum(x**2), lambda x: 2 * x, x)
    # And a candidate may have one array for them.
    assert check_gradient(lambda p: p["s"][0] ** 2 + p["s"][1] ** 2, {"s": np.array([2.0, 4.0])}, {"s": x})


def test_gradients_have_the_structure_of_x_and_the_bits_of_the_book(kind):
    make, parts = kind
    W, b = arrays()
    before = W.tobytes(), b.tobytes()
    x = make(W, b)
    found = numerical_gradient(lambda p: loss(*parts(p)), x)
    assert type(found) is (dict if isinstance(x, MappingProxyType) else type(x))
    for got, expected in zip(parts(found), by_the_book(W, b), strict=True):
        assert got.dtype == np.float64
        assert got.tobytes() == expected.tobytes()
    assert (W.tobytes(), b.tobytes()) == before


def test_an_f_that_ignores_its_argument_sees_each_step(kind):
    make, parts = kind
    W, b = arrays()
    found = numerical_gradient(lambda _: loss(W, b), make(W, b))
    assert all(map(np.array_equal, parts(found), by_the_book(W, b)))


@pytest.mark.parametrize("scheme", ["forward", "central4", "complex"])
@pytest.mark.parametrize("h", ["auto", 1e-4, {"W": 1e-4, "b": 1e-3}], ids=str)
def test_schemes_and_steps_are_those_of_each_array(scheme, h):
    W, b = np.array([[1.0, 2.0]]), np.array([3.0, -1.0])
    found = numerical_gradient(lambda p: np.sum(p["W"] ** 3) * p["b"][1], {"W": W, "b": b}, h, scheme=scheme)
    steps = h if isinstance(h, dict) else {"W": h, "b": h}
    for name, alone in (("W", lambda _: np.sum(_**3) * b[1]), ("b", lambda _: np.sum(W**3) * _[1])):
        x = {"W": W, "b": b}[name]
        assert np.array_equal(found[name], numerical_gradient(alone, x, steps[name], scheme=scheme))


def test_the_evaluations_are_those_of_all_arrays_together():
    calls = []
    W, b = arrays()
    numerical_gradient(lambda p: calls.append(1) or loss(**p), {"W": W, "b": b})
    assert len(calls) == 2 * (W.size + b.size)


def test_coordinates_are_counted_through_the_arrays():
    W, b = arrays()
    whole = np.concatenate([part.ravel() for part in by_the_book(W, b)])
    chosen = [7, 0, 7, 5]
    assert np.array_equal(numerical_gradient(lambda p: loss(**p), {"W": W, "b": b}, coordinates=chosen), whole[chosen])


def test_progress_counts_the_coordinates_of_all_arrays():
    seen = []
    W, b = arrays()
    numerical_gradient(lambda p: loss(**p), {"W": W, "b": b}, progress=lambda *at: seen.append(at))
    assert seen[-1] == (9, 9)
    assert sorted(seen) == seen


def test_other_processes_receive_the_container_as_a_whole():
    W, b = arrays()
    reads_its_own = numerical_gradient(lambda _: loss(W, b), {"W": W, "b": b}, workers=map)
    f = lambda p: loss(*p["layers"])  # noqa: E731
    far = numerical_gradient(f, {"layers": [W, b]}, workers=2)
    for found in (reads_its_own.values(), far["layers"]):
        assert all(map(np.array_equal, found, by_the_book(W, b)))


def test_the_function_of_one_array_travels_with_its_container():
    x = Container({"W": np.ones(2), "b": np.zeros(1)})
    function = pickle.loads(pickle.dumps(OfOneArray(sum_of_all, x, "b", (2.0,))))
    assert function(np.array([3.0])) == 10.0


def sum_of_all(p, factor):
    return factor * (p["W"].sum() + p["b"].sum())


def test_numbers_become_arrays_of_no_axis_and_lists_become_arrays():
    x = {"a": 2.0, "n": 3, "w": [1.0, 2.0]}
    found = numerical_gradient(lambda p: p["a"] ** 2 * p["n"] + p["w"] @ p["w"], x)
    assert {name: (part.shape, part.dtype) for name, part in found.items()} == {
        "a": ((), np.float64), "n": ((), np.float64), "w": ((2,), np.float64)
    }  # fmt: skip
    assert found["a"] == pytest.approx(12.0)
    assert x == {"a": 2.0, "n": 3, "w": [1.0, 2.0]}


def test_an_empty_container_has_an_empty_gradient():
    assert numerical_gradient(lambda p: 1.0, {}) == {}
    assert numerical_gradient(lambda p: 1.0, {"W": np.empty((0, 2))})["W"].shape == (0, 2)


def test_arrays_that_share_memory_move_together():
    W = np.array([1.0, 2.0])
    found = numerical_gradient(lambda p: p["a"] @ p["b"], {"a": W, "b": W})
    assert np.allclose(found["a"], 2 * W)
    assert np.allclose(found["b"], 2 * W)


def test_a_list_of_numbers_or_of_arrays_of_one_shape_is_one_array():
    one = [[1.0, 2.0], (3.0,), [np.ones(2), np.ones(2)], np.ones(3), 1.0, [np.float64(1.0)], []]
    assert [x for x in one if is_container(x)] == []
    several = [{}, [np.ones(1), np.ones(2)], [{"W": np.ones(2)}], (np.ones((2, 2)), 1.0)]
    assert all(map(is_container, several))


def test_f_may_put_other_arrays_into_its_container():
    def f(p):
        p["W"] = p["W"] * 2.0
        return np.sum(p["W"] ** 2) + p.pop("b").sum()

    x = {"W": np.array([1.0, 2.0]), "b": np.ones(1)}
    found = numerical_gradient(f, x)
    assert np.allclose(found["W"], [8.0, 16.0])
    assert list(x) == ["W", "b"]


def test_f_may_take_arrays_out_of_a_container_in_its_container():
    def f(p):
        return np.sum(p["layer"].pop("W") ** 2) + p["list"].pop().sum()

    x = {"layer": {"W": np.array([1.0, 2.0])}, "list": [np.ones(1)]}
    found = numerical_gradient(f, x)
    assert np.allclose(found["layer"]["W"], [2.0, 4.0])
    assert np.allclose(found["list"][0], [1.0])


# --- memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["W", "b"])
def test_an_f_that_writes_to_any_of_its_arrays_is_found(name):
    W, b = arrays()
    before = W.tobytes(), b.tobytes()

    def f(p):
        p[name][...] = 7.0
        return loss(**p)

    for run in (numerical_gradient, gradient_descent):
        with pytest.raises(ValueError, match="f writes to its argument"):
            run(f, {"W": W, "b": b})
        assert (W.tobytes(), b.tobytes()) == before


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_memory_is_restored_after_any_exit(error):
    W, b = arrays(np.float32)
    before = W.tobytes(), b.tobytes()
    for stop in (1, 2, 13, 17):
        count = iter(range(stop, -1, -1))

        def f(p, count=count):
            if not next(count):
                raise error
            return loss(**p)

        with pytest.raises(error):
            numerical_gradient(f, {"W": W, "b": b})
        assert (W.tobytes(), b.tobytes()) == before


def test_a_copy_to_which_nothing_responds_is_warned_of():
    W, b = arrays()
    b.flags.writeable = False
    with pytest.warns(RuntimeWarning, match="f may ignore its argument"):
        numerical_gradient(lambda _: loss(W, b), {"W": W, "b": b})


# --- estimates and Hessians ------------------------------------------------------------------------------------------


def test_estimates_have_the_structure_of_x_and_the_bits_of_each_array(kind):
    make, parts = kind
    W, b = arrays()
    before = W.tobytes(), b.tobytes()
    f = lambda p: loss(*parts(p))  # noqa: E731
    found = estimate_gradient(f, make(W, b))
    alone = estimate_gradient(lambda w: loss(w, b), W), estimate_gradient(lambda v: loss(W, v), b)
    for name in ("value", "error", "step", "converged"):
        for got, one in zip(parts(getattr(found, name)), alone, strict=True):
            assert got.tobytes() == getattr(one, name).tobytes()
    assert found.evaluations == sum(one.evaluations for one in alone)
    assert (W.tobytes(), b.tobytes()) == before
    chosen = estimate_gradient(f, make(W, b), coordinates=[7, 0, 7])
    assert np.array_equal(chosen.value, [alone[1].value[1], alone[0].value[0, 0], alone[1].value[1]])
    assert f"{found!r}".startswith(f"Estimate(of a {type(found.value).__name__}, largest error ")
    assert str(found).splitlines()[7].startswith(labels(make(W, b))[7])
    assert "more; largest error" not in str(found)


def test_estimates_as_plain_numbers_and_of_a_series():
    pandas = pytest.importorskip("pandas")
    found = estimate_gradient(lambda p: p["a"] ** 2 + p["w"][0] @ p["w"][0], {"a": 3.0, "w": [np.array([1.0, 2.0])]})
    assert found.to_dict()["value"] == {"a": found.value["a"].item(), "w": [found.value["w"][0].tolist()]}
    series = estimate_gradient(lambda s: s["a"] ** 2 * s["b"], pandas.Series([1.0, 2.0], ["a", "b"]))
    assert list(series.value.index) == ["a", "b"]
    assert str(series).startswith("a  4.0")


def test_hessians_are_over_all_arrays_in_turn(kind):
    make, parts = kind
    W, b = arrays()
    flat, before = np.concatenate([W.reshape(-1), b]), (W.tobytes(), b.tobytes())
    x, of_flat = make(W, b), lambda v: loss(v[:6].reshape(2, 3), v[6:])
    expected = numerical_hessian(of_flat, flat)
    assert numerical_hessian(lambda p: loss(*parts(p)), x).tobytes() == expected.tobytes()
    assert numerical_hessian(lambda _: loss(W, b), x).tobytes() == expected.tobytes()
    gradient = lambda p: numerical_gradient(lambda q: loss(*parts(q)), p, scheme="central4")  # noqa: E731
    assert np.allclose(numerical_hessian(None, x, gradient=gradient), expected, atol=1e-5)
    ours, plain = estimate_hessian(lambda p: loss(*parts(p)), x), estimate_hessian(of_flat, flat)
    assert ours.value.tobytes() == plain.value.tobytes()
    assert (W.tobytes(), b.tobytes()) == before


@pytest.mark.parametrize("hessian", [numerical_hessian, lambda f, x: estimate_hessian(f, x).value])
def test_an_f_that_locks_its_arrays_changes_no_hessian(hessian):
    W = np.array([1.0, 2.0])

    def locks(p):
        p["W"].flags.writeable = False
        return p["W"][0] ** 2 * p["W"][1]

    assert hessian(locks, {"W": W}) == pytest.approx(np.array([[4.0, 2.0], [2.0, 0.0]]), abs=1e-6)
    assert W.tolist() == [1.0, 2.0]


def test_steps_and_bounds_of_a_hessian_are_those_of_each_array():
    seen, x = [], {"W": np.array([[1.0, 2.0]]), "b": np.array([3.0], np.float32), "n": 2}

    def f(p):
        seen.append(float(p["b"][0]))
        return np.sum(p["W"] ** 2) * p["b"][0] + p["n"] ** 2

    found = numerical_hessian(f, x, {"W": 1e-3, "b": 0.25, "n": 0.5}, bounds={"W": None, "b": (3, 4), "n": (0, 9)})
    assert np.allclose(found, [[6, 0, 2, 0], [0, 6, 4, 0], [2, 4, 0, 0], [0, 0, 0, 2]], atol=1e-6)
    assert (min(seen), max(seen)) == (3.0, 3.75)
    assert estimate_hessian(f, x, bounds=(0, 9), first_step={"W": 0.1, "b": 0.1, "n": 0.1}).converged[0, 0]
    assert (x["b"].dtype, x["b"][0], x["n"]) == (np.float32, 3.0, 2)
    assert numerical_hessian(lambda p: 1.0, {}).shape == (0, 0)


def test_gradients_of_a_container_are_taken_by_key():
    W, b = np.array([[1.0, 2.0], [0.5, -1.0]]), np.array([3.0, 1.5])

    def f(p):
        return float(np.sum(p["layer"][0] ** 3) * p["b"] @ p["b"])

    def gradient(p):  # of the last array first, as backpropagation has it
        w = p["layer"][0]
        return {"b": 2 * np.sum(w**3) * p["b"], "layer": [3 * w**2 * (p["b"] @ p["b"])]}

    x = {"layer": [W], "b": b}
    expected = numerical_hessian(f, x, scheme="central6")
    assert np.allclose(numerical_hessian(f, x, gradient=gradient), expected, atol=1e-4)
    assert np.allclose(Hessian(f, gradient=gradient)(x), expected, atol=1e-4)
    for wrong in (lambda p: {"W": W, "B": b}, lambda p: {"layer": [W.T[:1]], "b": b}, lambda p: np.ones(6)):
        with pytest.raises(ValueError, match=r"^gradient must return [^\n]*$"):
            numerical_hessian(f, x, gradient=wrong)


def test_steps_of_a_hessian_may_be_automatic_by_name():
    x = {"a": np.array([1e-9, 2.0]), "b": np.array(0.5)}

    def f(p):
        return float(np.exp(p["a"]).sum() * p["b"])

    expected = numerical_hessian(f, x)
    assert numerical_hessian(f, x, {"a": "auto", "b": "auto"}).tobytes() == expected.tobytes()
    with pytest.raises(TypeError, match="'auto'"):
        numerical_hessian(f, x, {"a": "Auto", "b": "Auto"})


def test_a_part_to_which_f_does_not_respond_is_warned_of_in_a_hessian():
    other = np.ones(2)
    frozen = other.view()
    frozen.flags.writeable = False

    def captured(p):
        return float(np.sum(other**2) + p["b"][0] ** 2)

    with pytest.warns(RuntimeWarning, match="f may ignore its argument"):
        numerical_hessian(captured, {"w": frozen, "b": np.ones(1)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a linear f responds
        numerical_hessian(lambda p: float(np.sum(p["w"]) + p["b"][0] ** 2), {"w": frozen, "b": np.ones(1)})
        numerical_hessian(lambda p: float(np.sum(p["w"] ** 2)), {"w": frozen, "b": np.ones(1)})


def test_second_derivatives_and_jacobians_keep_the_labels_of_pandas():
    pd = pytest.importorskip("pandas")
    seen = []

    def variance(s):  # with another divisor than that of NumPy
        seen.append(list(s.index))
        return s.var() + s["b"] * s["c"]

    def slopes(s):
        found = 2.0 * (s - s.mean()) / (len(s) - 1)
        return found + pd.Series([0.0, s["c"], s["b"]], s.index)

    values = np.array([1.0, 2.0, 4.0])
    exact = np.eye(3) - 1 / 3 + [[0, 0, 0], [0, 0, 1], [0, 1, 0]]
    for frozen in (False, True):
        memory = values.copy()
        memory.flags.writeable = not frozen
        s, v = pd.Series(memory, index=list("abc"), copy=False), np.array([1.0, 0.5, -2.0])
        first = slopes(s).to_numpy()
        assert np.allclose(numerical_hessian(variance, s), exact, atol=1e-5)
        assert np.allclose(Hessian(variance)(s), exact, atol=1e-5)
        assert np.allclose(numerical_hessian(variance, s, gradient=slopes), exact, atol=1e-8)
        assert np.allclose(hessian_vector_product(variance, s, v), exact @ v, atol=1e-5)
        assert np.allclose(hessian_vector_product(variance, s, v, gradient=slopes), exact @ v, atol=1e-8)
        assert np.allclose(numerical_jacobian(variance, s), first, atol=1e-7)
        assert np.allclose(numerical_jacobian(lambda s: s[["c", "a"]] ** 2, s), [[0, 0, 8], [2, 0, 0]], atol=1e-6)
        assert np.allclose(Jacobian(variance, scheme="central4")(s), first, atol=1e-9)
        assert directional_derivative(variance, s, v) == pytest.approx(first @ v)
        assert s.tolist() == values.tolist()
    assert all(index == list("abc") for index in seen)
    table = pd.DataFrame({"p": [1.0, 2.0], "q": [3.0, 5.0]})
    found = numerical_hessian(lambda t: (t["p"] * t["q"] ** 2).sum(), table)
    assert (found.shape, found[1, 0, 1, 1].round(3), found[1, 1, 1, 1].round(3)) == ((2, 2, 2, 2), 10.0, 4.0)
    with pytest.raises(ValueError, match="labels of x in their order"):
        numerical_hessian(variance, s, gradient=lambda s: slopes(s)[["c", "b", "a"]])
    for call in (numerical_hessian, numerical_jacobian):
        with pytest.raises(TypeError, match=r"^x must hold real numbers [^\n]*object$"):
            call(variance, pd.Series([1.0, 2.0], dtype=object))


def test_a_sparse_hessian_of_arrays_of_which_one_is_a_copy():
    pytest.importorskip("scipy")
    x = {"W": [1.0, 2.0], "b": np.array([3.0]), "empty": []}
    hessian = numerical_hessian(lambda p: p["W"][0] ** 2 * p["W"][1] + p["b"][0] ** 2, x, sparsity=np.ones((3, 3)))
    assert np.allclose(hessian.toarray(), [[4, 2, 0], [2, 0, 0], [0, 0, 2]], atol=1e-6)
    with pytest.warns(RuntimeWarning, match="all differences are exactly zero"):
        numerical_hessian(lambda p: p["b"][0] ** 2, x, sparsity=np.ones((3, 3)))


def test_misuse_of_hessians_of_containers_leaves_the_memory():
    W, b = arrays()
    before = W.tobytes(), b.tobytes()
    f, x = lambda p: loss(**p), {"W": W, "b": b}
    for error, message, call in [
        (ValueError, "h must be one for all arrays, or have the keys", lambda: numerical_hessian(f, x, {"W": 1.0})),
        (ValueError, "bounds must be one for all", lambda: estimate_gradient(f, x, bounds={"b": (0, 1)})),
        (ValueError, "f writes to its argument", lambda: numerical_hessian(lambda p: p["W"].__iadd__(1).sum(), x)),
        (
            ValueError,
            "return the keys of x, \\['W', 'b'\\]",
            lambda: numerical_hessian(f, x, gradient=lambda p: {"W": p["W"]}),
        ),
        (ValueError, "for b an array", lambda: numerical_hessian(f, x, gradient=lambda p: {"W": p["W"], "b": p["W"]})),
        (ValueError, "'auto' for all arrays", lambda: numerical_hessian(f, x, {"W": "auto", "b": 1e-3})),
        (TypeError, "x\\['W'\\] must hold real", lambda: numerical_hessian(f, {"W": W + 1j})),
        (ValueError, "b is given twice", lambda: numerical_hessian(f, {"a": W, "b": W})),
        (ValueError, "share memory", lambda: numerical_hessian(f, {"a": W[:, :2], "b": W[:, 1:]})),
        (TypeError, "keys of x must be strings", lambda: estimate_hessian(f, {1: W})),
        (ZeroDivisionError, "zero", lambda: numerical_hessian(lambda p: 1 // int(p["W"][0, 0] > 1e9), x)),
    ]:
        with pytest.raises(error, match=message):
            call()
        assert (W.tobytes(), b.tobytes()) == before


# --- descents --------------------------------------------------------------------------------------------------------


def test_a_descent_updates_all_arrays_in_place_by_the_gradient_at_one_point(kind):
    make, parts = kind
    (W, b), (W2, b2) = arrays(), arrays()
    x = make(W, b)
    assert gradient_descent(lambda p: loss(*parts(p)), x, 0.1, 3) is x
    for _ in range(3):
        for part, slope in zip((W2, b2), by_the_book(W2, b2), strict=True):
            part -= 0.1 * slope
    assert (W.tobytes(), b.tobytes()) == (W2.tobytes(), b2.tobytes())


def test_copies_move_in_a_new_container_beside_the_arrays_in_place():
    W = np.array([1.0, 2.0])
    x = {"W": W, "b": [3.0]}
    moved = gradient_ascent(lambda p: -np.sum(p["W"] ** 2) - p["b"][0] ** 2, x, 0.25, 2)
    assert moved["W"] is W
    assert x["b"] == [3.0]
    assert np.allclose(moved["b"], [0.75])
    assert np.allclose(W, [0.25, 0.5])


def test_callback_and_progress_see_the_container():
    seen, reports = [], []
    x = {"W": np.ones(2), "b": np.ones(1)}

    def callback(k, p):
        seen.append((k, p is x))
        if k == 1:
            raise StopIteration

    gradient_descent(
        lambda p: np.sum(p["W"] ** 2) + p["b"][0] ** 2,
        x,
        0.25,
        5,
        callback=callback,
        progress=lambda *at: reports.append(at),
    )
    assert seen == [(0, True), (1, True)]
    assert reports[-1] == (6, 15)
    assert np.allclose(x["W"], 0.25)


def test_an_array_that_is_given_twice_moves_once():
    W, alone = np.array([1.0, 2.0]), np.array([1.0, 2.0])
    gradient_descent(lambda p: p["a"] @ p["b"], {"a": W, "b": W}, 0.1, 3)
    gradient_descent(lambda x: x @ x, alone, 0.1, 3)
    assert np.array_equal(W, alone)


def test_after_an_exception_the_last_completed_iterate_is_left():
    (W, b), (W2, b2) = arrays(), arrays()
    count = iter(range(18 * 2 + 5, -1, -1))

    def f(p):
        if not next(count):
            raise ZeroDivisionError
        return loss(**p)

    with pytest.raises(ZeroDivisionError):
        gradient_descent(f, {"W": W, "b": b}, 0.1, 5)
    gradient_descent(lambda p: loss(**p), {"W": W2, "b": b2}, 0.1, 2)
    assert (W.tobytes(), b.tobytes()) == (W2.tobytes(), b2.tobytes())


def test_a_descent_that_leaves_the_numbers_says_so_once():
    with pytest.warns(RuntimeWarning) as caught:
        gradient_descent(lambda p: float(p["W"][0] ** 4), {"W": np.array([10.0])}, 10.0, 12, h="auto")
    assert sum("not finite" in str(warning.message) for warning in caught) == 1


# --- pandas ----------------------------------------------------------------------------------------------------------


def test_a_series_reaches_f_with_its_labels():
    pd = pytest.importorskip("pandas")
    x = pd.Series([2.0, 3.0], index=["u", "v"], name="k")
    for workers in (1, 2):
        found = numerical_gradient(lambda s: s["u"] ** 2 * s.v, x, workers=workers)
        pd.testing.assert_series_equal(found, pd.Series([12.0, 4.0], index=["u", "v"], name="k"))
    moved = gradient_descent(lambda s: s.u**2 + s.v**2, x, 0.25, 1)
    pd.testing.assert_series_equal(moved, x / 2)
    assert x.tolist() == [2.0, 3.0]
    assert labels(x) == ["u", "v"]


def test_a_frame_may_be_changed_by_f_as_is_usual_there():
    pd = pytest.importorskip("pandas")
    x = pd.DataFrame({"a": [1.0, 2.0], "b": [3, 4]}, index=["p", "q"])

    def f(frame):
        frame["c"] = frame.a * frame.b
        frame["a"] = frame.a**2
        return (frame.c * frame.a).sum()

    found = numerical_gradient(f, x, scheme="central4")
    expected = pd.DataFrame({"a": [9.0, 48.0], "b": [1.0, 8.0]}, index=["p", "q"])
    pd.testing.assert_frame_equal(found, expected, atol=1e-9)
    assert list(x) == ["a", "b"]
    assert labels({"t": x}) == ["t[p, a]", "t[p, b]", "t[q, a]", "t[q, b]"]
    assert check_gradient(lambda d: float((d["a"] ** 2).sum()), pd.DataFrame({"a": [2.0, 4.0]}), x[["a"]]).ok


@needs_jit
def test_a_compiled_f_receives_the_numbers_of_a_series():
    pd = pytest.importorskip("pandas")
    f = compiled(lambda x: x[0] ** 2 * x[1])
    pd.testing.assert_series_equal(numerical_gradient(f, pd.Series([2.0, 3.0])), pd.Series([12.0, 4.0]))


# --- labels, and misuse ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_mixed", [False, True])
def test_hessians_jacobians_and_paths_give_f_the_labels(is_mixed):
    pd = pytest.importorskip("pandas")
    series = pd.Series([1.0, 2.0, 4.0], index=list("abc"))
    assert estimate_hessian(lambda s: s.var(), series).value == pytest.approx(np.eye(3) - 1 / 3)  # ddof is 1 in pandas
    slopes = estimate_jacobian(lambda s, k: [k * s["a"] * s["b"], s.mean()], series, args=(3.0,)).value
    assert slopes == pytest.approx(np.array([[6.0, 3.0, 0.0], [1 / 3, 1 / 3, 1 / 3]]))

    frame = pd.DataFrame({"u": [1.0, 2.0], "v": [3, 5] if is_mixed else [3.0, 5.0]}, index=["r", "s"])
    before = frame.copy()
    f = lambda d, k=1.0: k * d.loc["r", "u"] ** 2 * d.loc["s", "v"]  # noqa: E731
    exact = np.zeros((4, 4))
    exact[0, 0], exact[0, 3], exact[3, 0] = 10.0, 2.0, 2.0
    assert estimate_hessian(f, frame, first_step=0.5, bounds=(-9.0, 9.0)).value == pytest.approx(exact, abs=1e-9)
    assert estimate_jacobian(lambda d: [f(d)], frame).value == pytest.approx(np.array([[[10.0, 0.0], [0.0, 1.0]]]))

    seen = []
    path = descent_path(f, frame, 0.01, 2, args=(2.0,), callback=lambda k, d: seen.append(d.loc["r", "u"]))
    assert path == pytest.approx(descent_path(lambda x: 2 * x[0, 0] ** 2 * x[1, 1], frame.to_numpy(float), 0.01, 2))
    assert seen == path[1:, 0, 0].tolist()
    pd.testing.assert_frame_equal(frame, before)
    with pytest.raises(TypeError, match="callback must be callable"):
        descent_path(f, frame, callback=3)


def test_each_axis_of_a_matrix_has_the_order_of_labels():
    pd = pytest.importorskip("pandas")
    x, names = pd.Series([1.0, 2.0, 3.0], list("abc")), list("bca")
    for wrong in (pd.DataFrame(np.eye(3), columns=names), pd.DataFrame(np.ones((1, 3)), ["v"], names)):
        with pytest.raises(ValueError, match="v must have the labels of x in their order; pass it in the order of"):
            directional_derivative(lambda s: s["a"] * s["b"], x, wrong)
        assert len(directional_derivative(lambda s: s["a"] * s["b"], x, wrong[list("abc")])) == len(wrong)
    frame = pd.DataFrame({"u": [1.0, 2.0], "v": [3.0, 5.0]}, index=["r", "s"])
    with pytest.raises(ValueError, match=r"h must have the labels of x in their order; pass h\.reindex_like\(x\)"):
        numerical_hessian(lambda d: d.loc["r", "u"] ** 2, frame, frame[["v", "u"]].set_axis(["t", "w"]))
    ends = (-9.0 + 0.0 * frame.set_axis(["t", "w"]), 9.0)  # other labels need not be the user's own
    numerical_hessian(lambda d: d.loc["r", "u"] ** 2, frame, bounds=ends)


def test_a_copy_of_a_frame_to_which_nothing_responds_is_warned_of():
    pd = pytest.importorskip("pandas")
    mixed = pd.DataFrame({"u": [1.0, 2.0], "v": [3, 5]})
    for ask in (estimate_jacobian, descent_path):
        with pytest.warns(RuntimeWarning, match="all differences are exactly zero"):
            ask((lambda d: [1.0]), mixed)


def test_labels_name_each_coordinate():
    x = {"W": np.ones((1, 2)), "layers": [np.ones(1), 2.0]}
    assert labels(x) == ["W[0, 0]", "W[0, 1]", "layers[0][0]", "layers[1]"]
    assert labels(np.ones(2)) == labels([1.0, 2.0]) == ["x[0]", "x[1]"]


@pytest.mark.parametrize(
    "x",
    [
        {"a": np.ones(2), "a[0]": 1.0},
        {"a[1, 0]": np.float64(2.0), "a": np.ones((2, 2))},
        {"s": [np.ones(2), 3.0], "s[0]": np.ones((1,)), "s[0][0]": 2.0},
    ],
    ids=str,
)
def test_no_two_coordinates_have_one_label(x):
    with pytest.raises(ValueError, match=r"x must have another name for each (coordinate|array), got two by the name"):
        labels(x)


BRACKETS = {
    "of a sampler": {"beta[1]": np.array([1.0, 2.0]), "beta[2]": np.array([3.0])},
    "quotes": {"a']": np.array([1.0]), 'b"]["': np.array([2.0, 3.0])},
    "below": {"s[0]": [{"t[1]": np.array([1.0])}, {"t[1]": np.array([2.0, 4.0])}]},
    "none": {"": np.array([1.0]), "[": np.array([2.0])},
}


@pytest.mark.parametrize("x", BRACKETS.values(), ids=BRACKETS)
def test_a_key_may_have_any_letters(x):
    def f(p):
        return float(sum(np.sum(memory**3) for memory in Container(p).arrays.values()))

    names, flat = list(Container(x).arrays), np.concatenate([*Container(x).arrays.values()])
    assert len(set(labels(x))) == flat.size
    for found in (numerical_gradient(f, x), Gradient(f)(x), estimate_gradient(f, x).value):
        assert found.keys() == x.keys()
        assert np.concatenate([*Container(found).arrays.values()]) == pytest.approx(3.0 * flat**2, rel=1e-6)
    assert numerical_hessian(f, x) == pytest.approx(np.diag(6.0 * flat), abs=1e-5)
    assert check_gradient(f, numerical_gradient(f, x, scheme="central4"), x).ok
    steps, ends = dict.fromkeys(names, 1e-3), dict.fromkeys(names, (0.0, 9.0))
    assert numerical_gradient(f, x, steps, bounds=ends).keys() == x.keys()


def test_names_are_keys_and_places():
    assert labels(BRACKETS["of a sampler"]) == ["beta[1][0]", "beta[1][1]", "beta[2][0]"]
    assert labels(BRACKETS["below"]) == ["s[0][0]['t[1]'][0]", "s[0][1]['t[1]'][0]", "s[0][1]['t[1]'][1]"]


def test_two_arrays_of_one_name_are_refused():
    x = {"a[0]": np.ones(2), "a": [np.ones(3), np.ones(1)]}
    for ask in (labels, lambda x: numerical_gradient(never, x), lambda x: numerical_hessian(never, x)):
        with pytest.raises(ValueError, match=r"^x must have another name for each array, got two by the name a\[0\];"):
            ask(x)


def never(*args):
    raise AssertionError("evaluated before the arguments were checked")


@pytest.mark.parametrize("run", [numerical_gradient, gradient_descent])
@pytest.mark.parametrize(
    ("x", "options", "error", "said"),
    [
        ({"W": "text"}, {}, TypeError, r"x\['W'\] must hold real numbers"),
        ({"W": [[1.0], [1.0, 2.0]]}, {}, ValueError, r"x\['W'\] must be a rectangular array"),
        ({1: np.ones(2)}, {}, TypeError, "the keys of x must be strings"),
        ({"W": np.ones(2)}, {"h": {"V": 1.0}}, ValueError, r"h must be one for all arrays, or have the keys \['W'\]"),
        ({"W": np.ones(2)}, {"h": -1.0}, ValueError, "h must be finite and positive"),
        ({"W": np.lib.stride_tricks.as_strided(np.ones(1), (2,), (0,))}, {}, ValueError, r"x\['W'\] may have elements"),
    ],
)
def test_misuse_is_one_clear_line(run, x, options, error, said):
    with pytest.raises(error, match=said.replace("x", "(x|init_x)", 1)):
        run(never, x, **options)


def test_what_takes_no_container_says_so():
    x = {"W": np.ones(2), "b": np.ones(3)}
    with pytest.raises(TypeError, match="out must be None for x in a dict"):
        numerical_gradient(never, x, out=np.empty(5))
    with pytest.raises(TypeError, match="x in a dict needs a Python f of one point"):
        numerical_gradient(never, x, vectorized=True)
    with pytest.raises(TypeError, match=r"must hold real numbers.*pass one of its arrays"):
        descent_path(never, x)
    with pytest.raises(ValueError, match="b and a share memory"):
        gradient_descent(never, {"a": x["b"], "b": x["b"][1:]})


@needs_jit
def test_a_compiled_f_needs_one_array():
    f = compiled(lambda x: x[0])
    for run in (numerical_gradient, gradient_descent):
        with pytest.raises(TypeError, match="x in a dict needs a Python f of one point"):
            run(f, {"W": np.ones(2)})


def square_of_both(p):
    return float(np.sum(np.exp(p["a"])) * p["b"][0])


@pytest.mark.parametrize("x", [{"a": np.array([1.0, 2.0]), "b": np.array([3.0])}, {"a": [1, 2], "b": [3]}], ids=str)
def test_second_derivatives_of_containers_take_processes(x):
    assert np.array_equal(numerical_hessian(square_of_both, x, workers=2), numerical_hessian(square_of_both, x))
    one, two = (estimate_hessian(square_of_both, x, workers=workers) for workers in (1, 2))
    assert np.array_equal(one.value, two.value)


def test_estimates_of_second_derivatives_warn_of_copies():
    fixed = np.array([1.0, 2.0])
    fixed.flags.writeable = False
    with pytest.warns(RuntimeWarning, match="f may ignore its argument"):
        estimate_hessian(lambda _: float((fixed**2).sum()), {"a": fixed})


def test_a_named_tuple_of_alike_arrays_reaches_f_as_one():
    pair = Pair(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    found = numerical_gradient(lambda p: float(p.W @ p.b), pair)
    assert np.allclose(found.W, pair.b)
    assert np.allclose(found.b, pair.W)


@pytest.mark.parametrize("derivative", [directional_derivative, hessian_vector_product])
def test_directions_and_bounds_have_the_order_of_the_labels(derivative):
    pd = pytest.importorskip("pandas")
    x = pd.Series({"x": 1.0, "y": 2.0, "z": 3.0})
    v = pd.Series({"x": 1.0, "y": -1.0, "z": 2.0})

    def f(s):
        return s["x"] ** 2 * s["y"] + s["z"] ** 2

    assert np.allclose(derivative(f, x, v), derivative(f, x, v.to_numpy()))
    with pytest.raises(ValueError, match=r"v must have the labels of x in their order; pass v.reindex_like\(x\)"):
        derivative(f, x, v[::-1])
    for function in (numerical_gradient, numerical_jacobian, numerical_hessian, check_gradient):
        more = (lambda s: s,) if function is check_gradient else ()
        for bounds in ((v[::-1] - 9.0, 99.0), (-99.0, v[::-1] + 9.0)):
            with pytest.raises(ValueError, match="bounds must have the labels of x in their order"):
                function(f, *more, x, bounds=bounds)


def test_bounds_and_steps_have_the_order_of_the_labels_in_any_form():
    pd = pytest.importorskip("pandas")
    x, other = pd.Series({"a": 1.0, "b": 2.0}), pd.Series({"b": 9.0, "a": 5.0})
    with_arrays = functools.partial(pytest.raises, ValueError, match=r"must have the labels of x in their order")
    pairs = [(0.0 * other, other), [0.0 * other, other], (-9.0, other), [0.0 * other, 9.0]]
    for pair in pairs:
        for function in (numerical_gradient, numerical_jacobian, numerical_hessian, estimate_jacobian):
            with with_arrays():
                function(never, x, bounds=pair)
        for function in (numerical_diff, estimate_derivative):
            with with_arrays():
                function(never, x, bounds=pair)
        for function in (numerical_gradient, numerical_hessian, estimate_gradient, estimate_hessian):
            with with_arrays():
                function(never, {"s": [x]}, bounds={"s[0]": pair})
    for function in (numerical_gradient, numerical_hessian):
        with pytest.raises(ValueError, match=r"^h\['s'\] must have the labels of x in their order; pass h\['s'\]\."):
            function(never, {"s": x, "t": np.ones(2)}, {"s": other, "t": 1e-3})
    for function in (estimate_derivative, estimate_gradient, estimate_jacobian, estimate_hessian):
        with with_arrays():
            function(never, x, first_step=other)
    for ask in (numerical_diff, lambda f, x, h: propagate(f, x, 1.0, h=h)):
        with with_arrays():
            ask(never, x, other)


@needs_jit
def test_a_compiled_f_takes_bounds_and_steps_in_the_order_of_the_labels():
    pd = pytest.importorskip("pandas")
    x, other = pd.Series({"a": 1.0, "b": 2.0}), pd.Series({"b": 9.0, "a": 5.0})
    f = compiled(lambda x: x[0] ** 3 * x[1])
    asked = [
        lambda: Gradient(f, bounds=[0.0, other]).value_and_gradient(x),
        lambda: Gradient(f, other).value_and_gradient(x),
        lambda: estimate_hessian(f, x, bounds=(0.0, other)),
        lambda: estimate_jacobian(compiled(lambda x: x**2), x, first_step=other),
        lambda: gradient_descent(f, x, h=other),
        lambda: descent_path(f, x, h=other),
    ]
    for ask in asked:
        with pytest.raises(ValueError, match="must have the labels of x in their order"):
            ask()
    value, slopes = Gradient(f).value_and_gradient(x)
    pd.testing.assert_series_equal(slopes, Gradient(f)(x), check_exact=True)
    assert (value, list(slopes.index)) == (2.0, ["a", "b"])
    assert isinstance(Gradient(f, coordinates=[1]).value_and_gradient(x)[1], np.ndarray)


def test_gradients_of_a_container_have_the_order_of_its_labels():
    pd = pytest.importorskip("pandas")
    x = {"s": pd.Series({"a": 1.0, "b": 2.0})}

    def slopes(p):
        return {"s": 3.0 * p["s"] ** 2}

    assert numerical_hessian(None, x, gradient=slopes) == pytest.approx(np.diag([6.0, 12.0]), abs=1e-6)
    with pytest.raises(ValueError, match=r"^gradient\['s'\] must have the labels of x in their order"):
        numerical_hessian(None, x, gradient=lambda p: {"s": slopes(p)["s"][::-1]})


NUMBERS = {
    "floats": Pair(2.0, 0.5),
    "integers": Pair(2, 1),
    "of NumPy": Pair(np.float64(2.0), np.array(0.5)),
    "an array too": Pair(2.0, np.array([0.5, 1.0])),
}


@pytest.mark.parametrize("x", NUMBERS.values(), ids=NUMBERS)
def test_a_named_tuple_of_numbers_keeps_its_fields(x):
    def f(p):
        return float(p.W**2 * np.sum(p.b**3))

    def gradient(p):
        return Pair(2.0 * p.W * np.sum(p.b**3), 3.0 * p.W**2 * p.b**2)

    exact = gradient(x)
    value, slopes = Gradient(f, "auto").value_and_gradient(x)
    assert value == f(x)
    for found in (numerical_gradient(f, x), slopes, Gradient(f)(x), estimate_gradient(f, x).value):
        assert isinstance(found, Pair)
        assert np.allclose(found.W, exact.W, rtol=1e-6, atol=0.0)
        assert np.allclose(found.b, exact.b, rtol=1e-6, atol=0.0)
    assert check_gradient(f, gradient, x).ok
    flat = np.concatenate([np.ravel(x.W), np.ravel(x.b)]).astype(np.float64)
    whole = numerical_hessian(lambda v: f(Pair(v[0], v[1:])), flat)
    assert numerical_hessian(f, x).tobytes() == whole.tobytes()
    assert numerical_hessian(f, x, gradient=gradient) == pytest.approx(whole, rel=1e-5, abs=1e-5)
    assert labels(x) == (["W", "b"] if np.ndim(x.b) == 0 else ["W", "b[0]", "b[1]"])
    nested = numerical_gradient(lambda p: f(p["pair"]), {"pair": x})["pair"]
    assert np.allclose(nested.W, exact.W, rtol=1e-6, atol=0.0)
    assert isinstance(gradient_descent(f, x, 0.01, 3), Pair)


def test_second_derivatives_of_arrays_of_two_precisions_that_f_reads_itself_are_warned_of():
    p = {"a": np.array([1.0], np.float32), "b": np.array([2.0])}

    def f(_):
        return float(p["a"][0]) ** 2 + float(p["b"][0]) ** 2

    with pytest.warns(RuntimeWarning, match="f may ignore its argument"):
        numerical_hessian(f, p)
    assert np.allclose(numerical_hessian(lambda q: float(q["a"][0]) ** 2 + q["b"][0] ** 2, p), 2 * np.eye(2), atol=1e-4)
