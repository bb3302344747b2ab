"""Gradients at many points in one call: one after the other, in one compiled loop, or in batches."""

import numpy as np
import pytest
from problems import compiled, compiled_once, forget_speeds, needs_jit

from numgrad import function_2, numerical_gradient, reference, threads
from numgrad.objectives import compiled as compiled_module

POINTS = np.random.default_rng(0).normal(size=(7, 3))


def cubic(x):
    return (x[0] ** 3 + x[1]) * x[2]


def cubics(batch):
    return (batch[:, 0] ** 3 + batch[:, 1]) * batch[:, 2]


KINDS = {
    "python": (cubic, {}),
    "compiled": (compiled_once(cubic), {}),
    "threads": (compiled_once(cubic), {"workers": 2}),
    "processes": (cubic, {"workers": 2}),
    "engine": (cubic, {"workers": map}),
    "vectorized": (cubics, {"vectorized": True}),
    "small batches": (cubics, {"vectorized": True, "batch_bytes": 100}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_point_has_the_gradient_that_it_has_alone(kind):
    f, options = KINDS[kind]
    before = POINTS.tobytes()
    # numba rounds a power otherwise than Python does.
    alone = numerical_gradient if kind in {"compiled", "threads"} else reference.numerical_gradient
    expected = np.array([alone(f if alone is numerical_gradient else cubic, point.copy()) for point in POINTS])
    for axis, x in ((0, POINTS), (1, POINTS.T), (-1, np.asfortranarray(POINTS.T)), (0, POINTS.tolist())):
        found = numerical_gradient(f, x, points_axis=axis, **options)
        assert found.shape == np.shape(x)
        assert np.array_equal(found if axis == 0 else found.T, expected)
    assert POINTS.tobytes() == before


@needs_jit
@pytest.mark.parametrize("workers", [1, 2])
def test_compiled_points_can_be_left_at_any_coordinate(workers, monkeypatch):
    ranges = []

    def run_range(sweep, state, first, stop):
        ranges.append((first, stop))
        return whole(sweep, state, first, stop)

    f, whole = compiled_once(cubic), compiled_module.CompiledSweep.run_range
    expected = numerical_gradient(f, POINTS, points_axis=0)
    monkeypatch.setattr(compiled_module.CompiledSweep, "run_range", run_range)
    monkeypatch.setattr(threads, "INTERRUPT_INTERVAL", 1e-9)  # seconds: each range is as short as it can be
    forget_speeds(monkeypatch)
    assert numerical_gradient(f, POINTS, points_axis=0, workers=workers).tobytes() == expected.tobytes()
    assert sorted(ranges) == [(k, k + 1) for k in range(POINTS.size)]


@pytest.mark.parametrize(
    "options",
    [
        {"h": "auto"},
        {"h": [1e-4, 1e-3, 1e-2]},
        {"h": 1e-3},
        {"scheme": "central4"},
        {"scheme": "complex"},
        {"bounds": (-3.0, 3.0)},
    ],
    ids=str,
)
def test_steps_schemes_and_bounds_are_those_of_a_point(options):
    expected = np.array([numerical_gradient(cubic, point, **options) for point in POINTS])
    assert np.array_equal(numerical_gradient(cubic, POINTS, points_axis=0, **options), expected)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("kind", ["python", "compiled", "vectorized"])
def test_steps_and_bounds_broadcast_to_x(kind, axis):
    (f, options), x = KINDS[kind], np.moveaxis(POINTS, 0, axis)
    steps = np.geomspace(1e-4, 1e-1, x.size).reshape(x.shape)
    low, high = x - 1e-5 * np.arange(x.size).reshape(x.shape), x + 1.0
    shapes = [x.shape, (x.shape[0], 1), (1, x.shape[1]), x.shape[1:], (1,)]
    for h in [steps[::-1], *(np.geomspace(1e-4, 1e-1, np.prod(shape)).reshape(shape) for shape in shapes)]:
        own = np.moveaxis(np.broadcast_to(h, x.shape), axis, 0)
        expected = [numerical_gradient(f, p.copy(), own[k], **options) for k, p in enumerate(POINTS)]
        found = numerical_gradient(f, x, h, points_axis=axis, **options)
        assert np.array_equal(np.moveaxis(found, axis, 0), expected)
    ends = [(np.moveaxis(low, axis, 0)[k], np.moveaxis(high, axis, 0)[k]) for k in range(len(POINTS))]
    expected = [numerical_gradient(f, p.copy(), bounds=end, **options) for p, end in zip(POINTS, ends, strict=True)]
    found = numerical_gradient(f, x, bounds=(low, high), points_axis=axis, **options)
    assert np.array_equal(np.moveaxis(found, axis, 0), expected)
    pairs = [(-9.0, None), (None, 9.0), (-8.0, 8.0)]  # for each coordinate of a point
    found = numerical_gradient(f, x, bounds=pairs, points_axis=axis, **options)
    assert np.array_equal(
        np.moveaxis(found, axis, 0), numerical_gradient(f, POINTS, bounds=(-9, 9), points_axis=0, **options)
    )


def test_the_rest_of_many_gradients_has_its_own_steps():
    h = np.geomspace(1e-3, 1e-1, POINTS.size).reshape(POINTS.shape)
    expected = numerical_gradient(cubic, POINTS, h, points_axis=0)
    out = expected.copy()
    out[[1, 4]] = np.nan
    assert np.array_equal(numerical_gradient(cubic, POINTS, h, points_axis=0, out=out, resume=True), expected)


def test_points_may_be_matrices():
    x = np.random.default_rng(1).normal(size=(2, 4, 3))
    shapes = []
    numerical_gradient(lambda W: shapes.append(W.shape) or W[0, 0], x, points_axis=1)
    assert set(shapes) == {(2, 3)}
    for f in (lambda W: np.sum(W**2), compiled(lambda W: np.sum(W**2))):
        assert np.allclose(numerical_gradient(f, x, points_axis=1), 2 * x)


def test_the_book_gives_coordinates_first():
    grid = np.array(np.meshgrid(np.arange(-2, 2.5, 0.25), np.arange(-2, 2.5, 0.25))).reshape(2, -1)
    found = numerical_gradient(function_2, grid, points_axis=1)
    assert np.allclose(found, 2 * grid, atol=1e-9)


def test_arguments_out_and_progress():
    seen, out = [], np.empty(POINTS.shape)
    found = numerical_gradient(
        lambda x, a: a * cubic(x), POINTS, args=(2.0,), points_axis=0, out=out, progress=lambda *at: seen.append(at)
    )
    assert found is out
    assert np.allclose(out, 2.0 * numerical_gradient(cubic, POINTS, points_axis=0))
    assert seen[-1] == (21, 21)  # coordinates of all points


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_no_points_and_no_coordinates_are_fine(shape):
    assert numerical_gradient(cubic, np.empty(shape), points_axis=0).shape == shape


@pytest.mark.parametrize("kind", ["python", "vectorized"])
def test_evaluations_are_two_for_each_coordinate(kind):
    f, options = KINDS[kind]
    rows = []

    def counted(x):
        rows.append(len(x) if kind == "vectorized" else 1)
        return f(x)

    # Of a list no memory can be read by another way, for which a batch would be looked at twice.
    numerical_gradient(counted, POINTS.tolist(), points_axis=0, **options)
    first = rows[:2] if kind == "vectorized" else []  # a point alone, and once for each f in the company of others
    assert first == [1, 3][: len(first)]
    assert sum(rows[len(first) :]) == 2 * POINTS.size


def test_a_compiled_f_runs_in_one_loop(monkeypatch):
    f = compiled_once(cubic)
    numerical_gradient(f, POINTS, points_axis=0)
    monkeypatch.setattr(compiled_module.CompiledObjective, "value", None)  # nobody calls f by itself
    assert numerical_gradient(f, POINTS, points_axis=0).shape == POINTS.shape


def test_an_f_that_writes_to_its_point_is_found():
    def writes(x):
        x[0] = 0.0
        return x[1]

    for f in (writes, compiled(writes)):
        with pytest.raises(ValueError, match="f writes to its argument"):
            numerical_gradient(f, POINTS, points_axis=0)


def test_an_f_that_reads_other_memory_is_warned_of():
    with pytest.warns(RuntimeWarning, match="f may ignore its argument"):
        numerical_gradient(lambda x: POINTS[0, 0], POINTS, points_axis=0)
    points = POINTS.copy()
    with pytest.raises(ValueError, match="captured variable 'points'"):
        numerical_gradient(compiled(lambda x: points[0, 0] * x[0]), points, points_axis=0)


OTHER_WAYS = {
    "auto": {"h": "auto"},
    "central4": {"scheme": "central4"},
    "bounds": {"bounds": (-9.0, 9.0)},
    "steps": {"h": [1e-4, 1e-3, 1e-2]},
}


@pytest.mark.parametrize("options", OTHER_WAYS.values(), ids=OTHER_WAYS)
def test_whatever_the_steps_zeros_are_warned_of_and_other_ways_to_x_refused(options):
    points = POINTS.copy()
    with pytest.warns(RuntimeWarning, match="f may ignore its argument"):
        numerical_gradient(lambda x: points[0, 0], points, points_axis=0, **options)
    with pytest.raises(ValueError, match="captured variable 'points'"):
        numerical_gradient(compiled(lambda x: points[0, 0] * x[0]), points, points_axis=0, **options)
    with pytest.raises(ValueError, match=r"args\[0\] shares memory with x"):
        numerical_gradient(compiled(lambda x, p: p[0, 0] * x[0]), points, points_axis=0, args=(points,), **options)
    for f, more in ((lambda x: cubics(x) * points.sum(), {"vectorized": True}), (lambda x: x[0] * points.sum(), {})):
        more = more or {"scheme": "complex", "h": 1e-20}
        with pytest.raises(ValueError, match="f reads x by another way"):
            numerical_gradient(f, points, points_axis=0, **(options | more if "vectorized" in more else more))
    assert points.tobytes() == POINTS.tobytes()


@pytest.mark.parametrize("options", [{}, *OTHER_WAYS.values()], ids=str)
@pytest.mark.parametrize("axis", [0, 1])
def test_a_broken_off_work_is_gone_on_with(options, axis):
    x = np.ascontiguousarray(np.moveaxis(POINTS, 0, axis))
    whole, out, calls = numerical_gradient(cubic, x, points_axis=axis, **options), np.full(x.shape, 7.0), []

    def late(point):
        calls.append(1)
        if len(calls) == 20:
            raise KeyError("late")
        return cubic(point)

    with pytest.raises(KeyError):
        numerical_gradient(late, x, points_axis=axis, out=out, **options)
    rows = np.moveaxis(out, axis, 0)
    done = np.isfinite(rows).all(axis=1)
    assert done.any()
    assert not done.all()
    assert np.array_equal(rows[done], np.moveaxis(whole, axis, 0)[done])
    calls[:] = range(20)
    assert numerical_gradient(late, x, points_axis=axis, out=out, resume=True, **options) is out
    assert np.array_equal(out, whole)
    before, calls[:] = len(calls), range(20)
    numerical_gradient(late, x, points_axis=axis, **options)
    assert before < len(calls)  # what was finished is not asked again


def test_what_is_wrong_is_said_before_f_is_asked():
    def never(x):
        raise AssertionError

    for more in ({}, {"h": "auto"}):
        for out in (POINTS, np.zeros((3, 7))):
            with pytest.raises(ValueError, match="out must"):
                numerical_gradient(never, POINTS, points_axis=0, out=out, **more)
        with pytest.raises(TypeError, match="progress must be a bool or a callable"):
            numerical_gradient(never, POINTS, points_axis=0, progress=7, **more)
    with pytest.raises(ValueError, match="resume=True goes on with what is in out"):
        numerical_gradient(never, POINTS, points_axis=0, resume=True)


@pytest.mark.parametrize("kind", ["python", "compiled", "vectorized", "small batches"])
@pytest.mark.parametrize("options", [{}, *OTHER_WAYS.values()], ids=str)
def test_progress_counts_coordinates_of_all_points(kind, options):
    (f, own), seen = KINDS[kind], []
    numerical_gradient(f, POINTS, points_axis=0, progress=lambda *at: seen.append(at), **own, **options)
    assert seen[-1] == (21, 21)
    assert seen == sorted(seen)


def test_a_lost_step_is_warned_of():
    x = POINTS.copy()
    x[3, 1] = 1e14
    for f, options in (KINDS["python"], KINDS["compiled"], KINDS["vectorized"]):
        with pytest.warns(RuntimeWarning, match="the step h=0.0001"):
            numerical_gradient(f, x, points_axis=0, **options)


@pytest.mark.parametrize(
    ("x", "options", "error", "said"),
    [
        (POINTS[0], {"points_axis": 0}, ValueError, "points_axis needs an x of two axes"),
        (POINTS, {"points_axis": 2}, ValueError, "points_axis must be less than 2"),
        (POINTS, {"points_axis": -3}, ValueError, "points_axis must be at least -2, got -3"),
        (POINTS, {"points_axis": 0.5}, TypeError, "points_axis must be an integer"),
        (POINTS, {"points_axis": 0, "coordinates": [0]}, ValueError, "coordinates must be None with points_axis"),
        (POINTS, {"points_axis": 0, "h": -1.0}, ValueError, "h must be finite and positive"),
        (
            POINTS.T,
            {"points_axis": 1, "h": np.full(4, 1e-4)},
            ValueError,
            r"not broadcast to x of shape \(3, 7\), nor to",
        ),
        (
            POINTS[:3].T,
            {"points_axis": 1, "h": [1e-4, 1e-3, 1e-2]},
            ValueError,
            "h of shape .* could be one of each point",
        ),
        (
            POINTS[:3].T,
            {"points_axis": 1, "bounds": ([-9, -8, -7], 9)},
            ValueError,
            "a bound of .* could be one of each",
        ),
        (
            POINTS[:2, :2].T,
            {"points_axis": 1, "bounds": [(-9, -8), (8, 9)]},
            ValueError,
            "a bound of .* could be one of",
        ),
        (POINTS, {"points_axis": 0, "out": np.empty(3)}, ValueError, "out must have the shape of the result"),
        (
            POINTS,
            {"points_axis": 0, "vectorized": True, "batch_bytes": 0},
            ValueError,
            "batch_bytes must be at least 1",
        ),
        ("text", {"points_axis": 0}, TypeError, "x must hold real numbers"),
    ],
)
def test_misuse_is_one_clear_line(x, options, error, said):
    with pytest.raises(error, match=said):
        numerical_gradient(cubics if "vectorized" in options else cubic, x, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_left_to_do(kind):
    f, options = KINDS[kind]
    out = numerical_gradient(f, POINTS, points_axis=0, **options)
    before = out.tobytes()
    assert numerical_gradient(f, POINTS, points_axis=0, out=out, resume=True, **options) is out
    assert out.tobytes() == before
    for shape in ((0, 3), (3, 0)):
        assert numerical_gradient(f, np.empty(shape), points_axis=0, **options).shape == shape
