"""gradient_descent, gradient_ascent, descent_path: bits, memory, callbacks, misuse."""

import os
import signal
import threading
import time
import warnings
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import PROBLEMS, compiled, compiled_once, forget_speeds, interrupt_at, needs_jit

from numgrad import descent_path, gradient_ascent, gradient_descent, numerical_gradient, reference, threads
from numgrad.objectives.compiled import CompiledSweep

COMPILED = {name: compiled_once(problem.f) for name, problem in PROBLEMS.items()}
ROUTES = {"python": lambda name: PROBLEMS[name].f, "compiled": COMPILED.get}


@pytest.fixture(params=ROUTES)
def route(request):
    return ROUTES[request.param]


# The problem that is compiled for arrays of other than one dimension: each number of them is another type to numba.
OF_DIMENSIONS = {0: "waves", 2: "chained"}


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    name=st.sampled_from(sorted(PROBLEMS)),
    seed=st.integers(0, 100),
    lr=st.floats(-0.1, 0.1),
    step_num=st.integers(0, 12),
    shape=st.sampled_from([(), (1,), (4,), (2, 3)]),
)
@pytest.mark.filterwarnings("ignore:all differences")
def test_a_descent_is_the_reference_bit_for_bit(name, seed, lr, step_num, shape):
    start = np.asarray(np.random.default_rng(seed).uniform(-1, 1, shape))
    for f in (PROBLEMS[name].f, COMPILED[OF_DIMENSIONS.get(len(shape), name)]):
        expected = reference.gradient_descent(f, start.copy(), lr, step_num).tobytes()
        x = start.copy()
        assert gradient_descent(f, x, lr, step_num) is x
        assert x.tobytes() == expected
        assert gradient_ascent(f, start.copy(), -lr, step_num).tobytes() == expected
        path = descent_path(f, start, lr, step_num)
        assert path.shape == (step_num + 1, *shape)
        assert path[0].tobytes() == start.tobytes()
        assert path[-1].tobytes() == expected


def test_the_path_holds_every_iterate_and_leaves_init_x_alone(route):
    start = np.array([[0.5, -0.3], [0.2, 0.9]])
    before = start.tobytes()
    path = descent_path(route("cubic"), start, 0.05, 4)
    for k in range(5):
        expected = gradient_descent(route("cubic"), start.copy(), 0.05, k)
        assert path[k].tobytes() == expected.tobytes()
    assert start.tobytes() == before


def test_the_path_of_a_write_through_f_is_right_and_init_x_is_given_back():
    w = np.array([1.0, 2.0])
    path = descent_path(lambda _: float(w @ w), w, lr=0.25, step_num=2)
    assert np.allclose(path, [[1.0, 2.0], [0.5, 1.0], [0.25, 0.5]])
    assert w.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("make", [list, lambda x: np.array(x, dtype=int), lambda x: np.broadcast_to(x, (2,))])
def test_what_cannot_be_written_to_is_copied(route, make):
    start = make([3, 4])
    x = gradient_descent(route("sum of squares"), start, 0.5, 1)
    assert isinstance(x, np.ndarray)
    assert x.dtype == np.float64
    assert np.allclose(x, 0.0, atol=1e-9)
    assert list(start) == [3, 4]


@pytest.mark.parametrize(
    "view",
    [
        lambda a: np.asfortranarray(a),
        lambda a: a[::2, ::-1],
        lambda a: a.astype(np.float32),
        lambda a: a.astype(">f8"),
        lambda a: a.astype(np.longdouble),
    ],
    ids=["Fortran", "strided", "float32", "big-endian", "longdouble"],
)
def test_any_writable_floating_array_is_updated_in_place(view):
    def in_float64(x):
        return PROBLEMS["sum of squares"].f(x.astype(np.float64))

    start = view(np.linspace(-1, 1, 12).reshape(4, 3).copy())
    for f in (in_float64, COMPILED["sum of squares"]):
        x = start.copy(order="K")
        assert gradient_descent(f, x, 0.1, 3) is x
        check_three_updates_of_a_tenth(x, start)


def check_three_updates_of_a_tenth(x, start):
    # Each update multiplies by 1 - 2 lr; rounding is that of the dtype, a few times, and of the differences.
    eps = max(float(np.finfo(x.dtype).eps), 2.0**-52)
    assert np.allclose(x.astype(np.float64), start.astype(np.float64) * 0.8**3, rtol=0, atol=8 * eps + 1e-10)


@pytest.mark.parametrize("n", [3, 300])
def test_updates_one_by_one_have_the_bits_of_the_book(n):
    x = np.random.default_rng(0).standard_normal(n)
    expected = reference.gradient_descent(lambda x: np.sum(np.cos(x)), x.copy(), 0.3, 4)
    found = gradient_descent(lambda x: np.sum(np.cos(x)), x.copy(), 0.3, 4, callback=lambda k, x: None)
    assert found.tobytes() == expected.tobytes()


def test_the_callback_sees_every_iterate(route):
    seen = []
    x = np.array([1.0, -2.0])
    gradient_descent(
        route("sum of squares"), x, 0.25, 3, callback=lambda k, now: seen.append((k, now is x, now.copy()))
    )
    path = descent_path(route("sum of squares"), [1.0, -2.0], 0.25, 3)
    assert [(k, same) for k, same, _ in seen] == [(0, True), (1, True), (2, True)]
    assert np.array([now for *_, now in seen]).tobytes() == path[1:].tobytes()


def test_stop_iteration_in_the_callback_ends_the_descent(route):
    def callback(iteration, x):
        if iteration == 1:
            raise StopIteration

    x = gradient_descent(route("sum of squares"), [1.0], 0.25, 100, callback=callback)
    assert np.allclose(x, 0.25)
    path = descent_path(route("sum of squares"), [1.0], 0.25, 100, callback=callback)
    assert np.allclose(path, [[1.0], [0.5], [0.25]])


def test_the_callback_may_project(route):
    def callback(iteration, x):
        np.maximum(x, 0.4, out=x)

    assert gradient_descent(route("sum of squares"), [1.0, 2.0], 0.25, 9, callback=callback).tolist() == [0.4, 0.4]


def test_stop_iteration_of_f_is_not_swallowed():
    def f(x):
        raise StopIteration

    with pytest.raises(StopIteration):
        gradient_descent(f, [1.0], callback=lambda k, x: None)


def fails_late(x):
    if x[0] < 0.3:
        raise ValueError("mine")
    return x[0] * x[0]


def test_an_exception_leaves_the_last_completed_iterate(route):
    expected = descent_path(route("sum of squares"), [1.0], 0.25, 2)[-1]  # 0.25, where the next gradient fails
    for f in (fails_late, compiled_once(fails_late)):
        x = np.array([1.0])
        with pytest.raises(ValueError, match="mine"):
            gradient_descent(f, x, 0.25, 100)
        assert x.tobytes() == expected.tobytes()
        before = np.array([1.0])
        with pytest.raises(ValueError, match="mine"):
            descent_path(f, before, 0.25, 100)
        assert before.tolist() == [1.0]


def test_ctrl_c_leaves_the_last_completed_iterate():
    x = np.array([1.0, 2.0])
    with pytest.raises(KeyboardInterrupt):
        gradient_descent(interrupt_at(6), x, 0.25, 100)  # 4 evaluations an iteration
    assert x.tobytes() == descent_path(PROBLEMS["sum of squares"].f, [1.0, 2.0], 0.25, 1)[-1].tobytes()


@needs_jit
def test_a_compiled_descent_can_be_left_at_any_coordinate(monkeypatch):
    f, start, ranges = COMPILED["waves"], np.linspace(-1.0, 2.0, 5), []
    expected = descent_path(f, start.copy(), 0.05, 4)

    def run_range(sweep, state, first, stop):
        ranges.append((first, stop))
        return whole(sweep, state, first, stop)

    whole = CompiledSweep.run_range
    monkeypatch.setattr(CompiledSweep, "run_range", run_range)
    monkeypatch.setattr(threads, "INTERRUPT_INTERVAL", 1e-9)  # seconds: each range is as short as it can be
    forget_speeds(monkeypatch)
    assert descent_path(f, start.copy(), 0.05, 4).tobytes() == expected.tobytes()
    assert ranges == [(k, k + 1) for k in range(20)]
    for stop_at in (0, 7, 13):
        del ranges[:]
        seen, x = [], start.copy()

        def progress(done, total, seen=seen, stop_at=stop_at):
            seen.append((done, total))
            if done > stop_at:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            gradient_descent(f, x, 0.05, 4, progress=progress)
        assert seen[-1] == (stop_at + 1, 20)
        assert x.tobytes() == expected[(stop_at + 1) // 5].tobytes()  # the last completed iterate


@needs_jit
def test_ctrl_c_stops_a_compiled_descent():
    f, x = COMPILED["sum of squares"], np.ones(500)
    gradient_descent(f, x.copy(), 1e-3, 1)
    timer = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    began = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        gradient_descent(f, x, 1e-9, 10**9)
    assert time.perf_counter() - began < 1.3
    assert (x < 1.0).all()
    assert np.ptp(x) < 1e-9  # half of an update: all coordinates have made the same number of them


def test_the_path_holds_what_the_callback_made_of_the_iterates(route):
    def project(k, x):
        np.clip(x, 0.5, None, out=x)

    path = descent_path(route("sum of squares"), [3.0, 4.0], 0.4, 3, callback=project)
    last = gradient_descent(route("sum of squares"), [3.0, 4.0], 0.4, 3, callback=project)
    assert path[-1].tobytes() == last.tobytes()
    assert path[-1].tolist() == [0.5, 0.5]


@needs_jit
def test_a_compiled_f_that_captured_a_read_only_or_integer_start_is_found():
    for x in (np.ones(3), np.ones(3, int)):
        x.flags.writeable = False

        def f(w, x=x):
            return (x**2).sum() + w[0]

        for run in (numerical_gradient, gradient_descent, descent_path):
            with pytest.raises(ValueError, match="captured variable 'x'"):
                run(compiled(f), x)


def test_threads_give_the_same_bits():
    start = np.random.default_rng(1).uniform(-1, 1, 20)
    f = COMPILED["waves"]
    one = gradient_descent(f, start.copy(), 0.1, 5)
    assert gradient_descent(f, start.copy(), 0.1, 5, workers=3).tobytes() == one.tobytes()
    assert descent_path(f, start, 0.1, 5, workers=2)[-1].tobytes() == one.tobytes()


def test_a_descent_that_ends_non_finite_warns_and_names_lr():
    def log(x):
        return np.log(x[0])

    for f in (log, compiled(log)):
        for run in (gradient_descent, descent_path):
            with np.errstate(invalid="ignore"), pytest.warns(RuntimeWarning, match="with lr=3 it diverges") as caught:
                assert np.isnan(run(f, [0.1], lr=3.0, step_num=3)[-1])
            assert [w.filename for w in caught] == [__file__]


def test_an_f_that_ignores_a_private_copy_is_reported_once():
    for f in (constant, compiled_once(constant)):
        for run in (gradient_descent, gradient_ascent, descent_path):
            with pytest.warns(RuntimeWarning, match="f may ignore its argument") as caught:
                run(f, [1.0, 2.0], 0.1, 3)
            assert [w.filename for w in caught] == [__file__]


@pytest.mark.parametrize("callback", [None, lambda k, x: None])
def test_progress_counts_the_coordinates_of_all_gradients(route, callback):
    seen = []
    gradient_descent(
        route("sum of squares"), [1.0, 2.0], 0.1, 5, callback=callback, progress=lambda *now: seen.append(now)
    )
    assert seen == sorted(seen)
    assert seen[-1] == (10, 10)


@pytest.mark.parametrize("callback", [None, lambda k, x: None])
def test_a_bar_counts_iterations(route, callback, capsys):
    gradient_descent(route("sum of squares"), [1.0, 2.0], 0.1, 5, callback=callback, progress=True)
    assert "| 5/5 [" in capsys.readouterr().err


def test_no_iterations_are_no_divergence(route):
    for _ in range(2):
        assert np.isnan(gradient_descent(route("sum of squares"), [np.nan], step_num=0)[0])


def test_no_iterations_and_no_coordinates_are_no_news(route):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert gradient_descent(route("cubic"), [1.0, 2.0], step_num=0).tolist() == [1.0, 2.0]
        assert gradient_descent(route("cubic"), np.empty((0, 2))).shape == (0, 2)
        assert descent_path(route("cubic"), np.empty((0, 2)), step_num=3).shape == (4, 0, 2)


def test_args_reach_f():
    def shifted(x, centre):
        return (x[0] - centre) ** 2

    for f in (shifted, compiled(shifted)):
        assert gradient_descent(f, [0.0], 0.5, 1, args=(3.0,)) == pytest.approx([3.0])


def never(x):
    raise AssertionError("evaluated before the arguments were checked")


@pytest.mark.parametrize("run", [gradient_descent, gradient_ascent, descent_path])
@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"lr": np.nan}, ValueError, "lr must be finite, got nan"),
        ({"lr": -np.inf}, ValueError, "lr must be finite"),
        ({"lr": "0.1"}, TypeError, "lr must be a real number, got str '0.1'"),
        ({"step_num": -1}, ValueError, "step_num must be at least 0, got -1"),
        ({"step_num": 10.0}, TypeError, "step_num must be an integer, got float 10.0"),
        ({"step_num": True}, TypeError, "step_num must be an integer"),
        ({"h": 0}, ValueError, "h must be finite and positive"),
        ({"workers": "2"}, TypeError, "workers must be an integer, got str '2'"),
        ({"args": 3}, TypeError, "args must be a tuple"),
        ({"f": "f"}, TypeError, "f must be callable"),
        ({"init_x": np.array([1j])}, TypeError, "init_x must hold real numbers"),
        ({"init_x": np.array([True])}, TypeError, "init_x must hold real numbers"),
        ({"progress": "yes"}, TypeError, "progress must be a bool or a callable"),
        ({"callback": 3}, TypeError, "callback must be callable, got int 3"),
    ],
)
def test_misuse_is_an_error_before_anything_is_evaluated_or_written(run, kwargs, error, message):
    x = np.array([1.0, 2.0])
    call = {"f": never, "init_x": x} | kwargs
    with pytest.raises(error, match=message):
        run(**call)
    assert x.tolist() == [1.0, 2.0]


def constant(x):
    return 3.0


@pytest.mark.parametrize("make", [np.ones, lambda n: np.asfortranarray(np.ones((2, n))), lambda n: np.ones(n).tolist()])
def test_a_compiled_f_that_ignores_its_argument_is_reported_whatever_moves(make):
    for run in (gradient_descent, descent_path):
        with pytest.warns(RuntimeWarning, match="f may ignore its argument"):
            run(compiled_once(constant), make(3), 0.1, 2)


@pytest.mark.parametrize("descend", [gradient_descent, gradient_ascent, descent_path])
def test_steps_of_a_series_have_its_labels_in_their_order(descend):
    pd = pytest.importorskip("pandas")
    x = pd.Series({"a": 1.0, "b": 2.0, "c": 3.0})
    steps = pd.Series({"a": 1e-3, "b": 1e-4, "c": 1e-5})

    def f(s):
        return s["a"] ** 3 + s["b"] ** 3 + s["c"] ** 3

    assert np.array_equal(descend(f, x, 1e-3, 2, h=steps), descend(f, x, 1e-3, 2, h=steps.to_numpy()))
    with pytest.raises(ValueError, match=r"h must have the labels of x in their order; pass h.reindex_like\(x\)"):
        descend(f, x, 1e-3, 2, h=steps[::-1])


@pytest.mark.parametrize("start", [{"a": [1.0, 2.0]}, [[np.array([1.0, 2.0])], [np.ones(1), np.ones(1)]]])
def test_arrays_that_the_callback_puts_into_a_container_are_taken(start):
    def project(k, x):
        if isinstance(x, dict):
            x["a"] = np.minimum(x["a"], 1.5 + k)
        else:
            x[0][0] = np.minimum(x[0][0], 1.5 + k)
            x[1] = [np.full(1, 7.0), x[1][1]]

    def first(x):
        return x["a"] if isinstance(x, dict) else x[0][0]

    plain = np.array([1.0, 2.0])
    gradient_descent(lambda x: np.sum((x - 5.0) ** 2), plain, 0.3, 3, callback=lambda k, x: x.clip(0, 1.5 + k, out=x))
    memory = first(start)
    moved = gradient_descent(lambda p: np.sum((first(p) - 5.0) ** 2), start, 0.3, 3, callback=project)
    assert first(moved).tolist() == plain.tolist()
    if isinstance(start, list):
        assert first(moved) is memory
        assert moved[1][0].tolist() == [7.0]


def test_the_last_array_that_a_callback_puts_in_is_taken_too():
    def stop(k, x):
        x["a"] = [8.0, 9.0]
        raise StopIteration

    W = np.ones(2)
    assert gradient_descent(lambda p: p["a"] @ p["a"], {"a": W}, 0.1, 3, callback=stop)["a"] is W
    assert W.tolist() == [8.0, 9.0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.update(a=np.ones(3)), r"the same shapes, .*'a'.*: \(2,\), .* it left .*'a'.*: \(3,\)"),
        (lambda x: x.pop("a"), "arrays of the same shapes"),
        (lambda x: x.update(t=(np.zeros(1),)), r"write into the array x\['t'\]\[0\], which is in a tuple"),
    ],
)
def test_what_a_callback_cannot_put_into_a_container(change, message):
    x = {"a": np.ones(2), "t": (np.ones(1),)}
    with pytest.raises(ValueError, match=message):
        gradient_descent(lambda p: p["a"] @ p["a"], x, 0.1, 3, callback=lambda k, x: change(x))


def test_a_callback_may_replace_numbers_of_a_pandas_object():
    pd = pytest.importorskip("pandas")

    def every(k, x):
        x[:] = np.clip(x, 0.0, 3.0)

    def column(k, x):
        x["a"] = x["a"].clip(0.0, 3.0)

    series, frame = pd.Series([1.0, 2.0], ["a", "b"]), pd.DataFrame({"a": [1.0, 2.0], "b": [4.0, 3.0]})
    for x, callback in ((series, every), (frame, every), (frame, column)):
        options = {"lr": 0.1, "step_num": 50, "callback": callback}
        moved = gradient_descent(lambda p: ((p - 5.0) ** 2).to_numpy().sum(), x.copy(), **options)
        path = descent_path(lambda p: ((p - 5.0) ** 2).to_numpy().sum(), x.copy(), **options)
        assert moved.to_numpy().tolist() == path[-1].tolist()
        assert np.all(moved["a"] == 3.0)


def test_options_are_checked_for_a_container():
    W = np.array([1.0, 2.0])
    gradient_descent(lambda p: p["a"] @ p["a"], {"a": W}, Fraction(1, 10), 1)
    assert np.allclose(W, [0.8, 1.6])
    for options in ({"lr": "x"}, {"h": "y"}, {"h": -1.0}, {"step_num": 1.5}, {"callback": 3}):
        with pytest.raises((TypeError, ValueError), match=next(iter(options))):
            gradient_descent(lambda p: 0.0, {}, **options)


def test_an_update_that_underflows_is_no_error():
    def f(x):
        return 1e-20 * np.sum(np.square(x["a"] if isinstance(x, dict) else x))

    with np.errstate(all="raise"):
        for x in (np.array([1e-60, 1.0]), {"a": np.array([1e-60, 1.0])}):
            moved = gradient_descent(f, x, 1e-300, 2)
            assert (moved["a"] if isinstance(x, dict) else moved).tolist() == [1e-60, 1.0]
