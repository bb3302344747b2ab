"""Long work: what is finished is kept in `out`, and resume=True evaluates only the rest."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest
from problems import compiled, compiled_once, same_without_jit

from numgrad import numerical_gradient, numerical_hessian, numerical_jacobian

X = np.linspace(0.5, 2.0, 30)


class Failing:
    """A sum of cubes that raises at its nth evaluation, and counts them."""

    def __init__(self, at=0, error=RuntimeError):
        self.at, self.count, self.error = at, 0, error

    def __call__(self, x):
        self.count += 1
        if self.count == self.at:
            raise self.error("broken off")
        return float(np.sum(x**3))


class Dying:
    """A sum of cubes whose process dies at a late coordinate, until a file is there."""

    def __init__(self, path):
        self.path = str(path)

    def __call__(self, x):
        if x[25] != X[25] and not os.path.exists(self.path):
            os._exit(1)
        return float(np.sum(x**3))


def expected(**options):
    return numerical_gradient(Failing(), X, **options)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("options", [{}, {"scheme": "central4"}, {"h": "auto"}, {"workers": map}])
def test_finished_coordinates_are_kept_and_the_rest_is_resumed(options, error):
    x, out, whole = X.copy(), np.full(30, 7.0), Failing()
    numerical_gradient(whole, x, **options)
    if error is KeyboardInterrupt and "workers" in options:
        pytest.skip("an engine ends at the interrupt of its caller, not of a task")
    with pytest.raises(error):  # an engine works on a copy of f, whose evaluations are not counted here
        numerical_gradient(Failing(whole.count // 2 if whole.count > 30 else 31, error), x, out=out, **options)
    finished = ~np.isnan(out)
    assert 5 < finished.sum() < 25
    assert out[finished].tobytes() == expected(**options)[finished].tobytes()
    rest = Failing()
    assert numerical_gradient(rest, x, out=out, resume=True, **options) is out
    assert out.tobytes() == expected(**options).tobytes()
    assert rest.count <= whole.count * 3 // 4 or whole.count <= 3
    assert x.tobytes() == X.tobytes()


def test_a_resumed_gradient_may_be_broken_off_again():
    out, rounds = np.full(30, np.nan), 0
    while np.isnan(out).any():
        rounds += 1
        try:
            numerical_gradient(Failing(15), X, out=out, resume=True)
        except RuntimeError:
            assert np.isnan(out).sum() == 30 - 7 * rounds
    assert out.tobytes() == expected().tobytes()


def test_it_resumes_coordinates_in_their_order():
    chosen, out = [3, 29, 3, 0], np.array([1.0, np.nan, 2.0, np.nan])
    f = Failing()
    numerical_gradient(f, X, coordinates=chosen, out=out, resume=True)
    assert f.count == 4
    assert out.tolist() == [1.0, expected()[29], 2.0, expected()[0]]


def test_nothing_left_is_no_work():
    out, seen = np.arange(30.0), []
    numerical_gradient(Failing(1), X, out=out, resume=True, progress=lambda *now: seen.append(now))
    assert out.tolist() == list(range(30))


def test_a_memmap_is_filled_and_resumed(tmp_path):
    out = np.lib.format.open_memmap(tmp_path / "gradient.npy", "w+", np.float64, (30,))
    with pytest.raises(RuntimeError):
        numerical_gradient(Failing(21), X, out=out)
    del out
    again = np.lib.format.open_memmap(tmp_path / "gradient.npy", "r+")
    assert np.isnan(again).tolist() == [False] * 10 + [True] * 20
    seen = []
    numerical_gradient(Failing(), X, out=again, resume=True, progress=lambda *now: seen.append(now))
    assert np.load(tmp_path / "gradient.npy").tobytes() == expected().tobytes()
    assert seen[-1] == (20, 20)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("engine", ["loky", "executor"])
def test_a_worker_that_dies_leaves_what_came_back(engine, tmp_path):
    out, f, path = np.empty(30), Dying(tmp_path / "mended"), tmp_path / "mended"
    if engine == "loky":
        from joblib.externals.loky.process_executor import TerminatedWorkerError

        with pytest.raises(TerminatedWorkerError):
            numerical_gradient(f, X, out=out, workers=2)
    else:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(2, mp_context=context) as executor, pytest.raises(BrokenProcessPool):
            numerical_gradient(f, X, out=out, workers=executor.map)
    finished = ~np.isnan(out)
    assert not finished[25]
    assert out[finished].tobytes() == expected()[finished].tobytes()
    path.touch()
    numerical_gradient(f, X, out=out, resume=True, workers=2)
    assert out.tobytes() == expected().tobytes()


def test_a_compiled_f_resumes_too():
    @compiled
    def cubes(x):
        return np.sum(x**3)

    out = numerical_gradient(cubes, X)
    whole = out.copy()
    out[7:20] = np.nan
    assert numerical_gradient(cubes, X, out=out, resume=True, workers=2).tobytes() == whole.tobytes()


def test_a_matrix_is_resumed_in_its_shape():
    out = np.full((5, 6), np.nan)
    numerical_gradient(Failing(), X.reshape(5, 6), out=out, resume=True)
    assert out.reshape(-1).tobytes() == expected().tobytes()


@pytest.mark.parametrize(
    ("x", "options", "error", "message"),
    [
        (X, {}, ValueError, "resume=True goes on with what is in out"),
        (X, {"out": np.empty(29)}, ValueError, "out must have the shape of the result"),
        (X, {"out": [0.0] * 30}, TypeError, "out must be a float64 array"),
        (X, {"out": np.empty(2), "coordinates": [1]}, ValueError, "out must have the shape of the result"),
        ({"a": X}, {"out": np.empty(30)}, TypeError, "x must hold real numbers"),
        (X, {"out": np.full(30, np.nan), "progress": 3}, TypeError, "progress must be a bool or a callable"),
    ],
)
def test_misuse(x, options, error, message):
    with pytest.raises(error, match=message):
        numerical_gradient(Failing(1), x, resume=True, **options)


@pytest.mark.parametrize("options", [{}, {"sparsity": np.eye(30)}], ids=["dense", "sparse"])
def test_a_jacobian_of_which_nothing_is_known_is_not_resumed(options):
    with pytest.raises(ValueError, match="resume=True goes on with what is in out"):
        numerical_jacobian(lambda x: x**2, X, resume=True, **options)


@same_without_jit
@pytest.mark.filterwarnings("ignore")  # Dask's own
def test_a_scheduler_that_stops_half_way_leaves_what_came_back():
    distributed = pytest.importorskip("distributed")
    options, out, f = {"threads_per_worker": 1, "dashboard_address": None, "silence_logs": 60}, np.empty(30), Failing()
    cluster = distributed.LocalCluster(n_workers=2, **options)
    client = distributed.Client(cluster)

    def stop(done, total):
        if done >= 10:
            cluster.close()

    with pytest.raises(Exception, match=r"closed|cancel|Client"):
        numerical_gradient(f, X, out=out, workers=client.get_executor().map, progress=stop)
    finished = ~np.isnan(out)
    assert 10 <= finished.sum() < 30
    assert out[finished].tobytes() == expected()[finished].tobytes()
    numerical_gradient(f, X, out=out, workers=map, resume=True)
    assert out.tobytes() == expected().tobytes()


def outputs(f):
    return lambda x: np.array([f(x), x[0] * x[-1]])


@pytest.mark.parametrize("options", [{}, {"scheme": "forward"}, {"h": "auto"}, {"bounds": (0.5, 2.0)}])
def test_a_jacobian_is_kept_by_columns_and_resumed(options):
    expected, out = numerical_jacobian(outputs(Failing()), X, **options), np.full((2, 30), 7.0)
    with pytest.raises(RuntimeError):
        numerical_jacobian(outputs(Failing(20)), X, out=out, **options)
    finished = ~np.isnan(out).any(axis=0)
    assert 5 < finished.sum() < 25
    assert np.isnan(out[:, ~finished]).all()
    assert out[:, finished].tobytes() == expected[:, finished].tobytes()
    rest = Failing()
    assert numerical_jacobian(outputs(rest), X, out=out, resume=True, **options) is out
    assert np.ascontiguousarray(expected).tobytes() == out.tobytes()
    assert rest.count <= 2 * (30 - finished.sum()) + 3


@pytest.mark.parametrize("at", range(1, 16))
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize(
    "options",
    [*({"scheme": s} for s in ("central", "forward", "backward", "central4", "complex")), {"bounds": (0.5, 2.0)}],
)
def test_no_column_of_a_jacobian_is_half_done(options, error, at):
    x = X[:3].copy()

    def f(x, fail=Failing(at, error)):  # noqa: B008
        fail(x.real)
        return x**2

    whole, out = numerical_jacobian(lambda x: x**2, x, **options), np.full((3, 3), 7.0)
    try:
        numerical_jacobian(f, x, out=out, **options)
    except error:
        finished = ~np.isnan(out).all(axis=0)
        assert out[:, finished].tobytes() == whole[:, finished].tobytes()
    assert numerical_jacobian(lambda x: x**2, x, out=out, resume=True, **options).tobytes() == whole.tobytes(order="C")


def squares_on_one_side(x):
    if x[2] != X[2]:
        raise ValueError("not here")
    return x**2


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("options", [{}, {"scheme": "backward"}, {"vectorized": True}])
def test_no_column_is_half_done_where_several_are_evaluated_at_a_time(jit, options):
    x, out = X[:3].copy(), np.full((3, 3), 7.0)

    def batches(x):
        if len(x) > 4:
            raise ValueError("not here")
        return x**2

    f = compiled_once(squares_on_one_side) if jit else squares_on_one_side
    f = batches if options.get("vectorized") else f
    with pytest.raises(ValueError, match="not here"):
        numerical_jacobian(f, x, out=out, **options)
    whole = numerical_jacobian(lambda x: x**2, x, **options)
    finished = ~np.isnan(out).all(axis=0)
    assert out[:, finished].tobytes() == whole[:, finished].tobytes()


def test_a_complex_jacobian_is_resumed():
    def f(x):
        return np.exp(1j * x)

    expected = numerical_jacobian(f, X)
    out = np.ascontiguousarray(expected)
    out[:, 3:9] = np.nan
    numerical_jacobian(f, X, out=out, resume=True)
    assert out.tobytes() == np.ascontiguousarray(expected).tobytes()


@pytest.mark.parametrize("workers", [1, map])
def test_a_hessian_is_kept_and_resumed(workers):
    x, out, whole = X[:8].copy(), np.full((8, 8), 7.0), Failing()
    expected = numerical_hessian(whole, x)
    with pytest.raises(RuntimeError):
        numerical_hessian(Failing(whole.count * 2 // 3), x, out=out, workers=workers)
    finished = ~np.isnan(out)
    assert 8 < finished.sum() < 64
    assert (finished == finished.T).all()
    assert out[finished].tobytes() == expected[finished].tobytes()
    rest = Failing()
    assert numerical_hessian(rest, x, out=out, resume=True) is out
    assert out.tobytes() == expected.tobytes()
    assert rest.count < whole.count * 3 // 4
    done = Failing()
    numerical_hessian(done, x, out=out, resume=True)
    assert done.count <= 1


def test_what_fails_at_x_leaves_nothing_finished():
    for derivative, shape in ((numerical_jacobian, (2, 30)), (numerical_hessian, (30, 30))):
        out = np.full(shape, np.nan)
        with pytest.raises(RuntimeError):
            derivative(outputs(Failing(1)) if derivative is numerical_jacobian else Failing(1), X, out=out)
        assert np.isnan(out).all()
    out = np.zeros(30)  # of an earlier result
    with pytest.raises(RuntimeError):
        numerical_gradient(Failing(1), X, "auto", out=out)
    assert np.isnan(out).all()


def test_misuse_of_matrices():
    with pytest.raises(ValueError, match="resume=True goes on with what is in out"):
        numerical_jacobian(outputs(Failing()), X, resume=True)
    with pytest.raises(ValueError, match="resume=True goes on with what is in out"):
        numerical_hessian(Failing(), X, resume=True)
    with pytest.raises(ValueError, match="pass out, and no gradient"):
        numerical_hessian(Failing(), X, gradient=lambda x: 3 * x**2, out=np.empty((30, 30)), resume=True)
