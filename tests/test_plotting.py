"""Pictures: their structure, not their pixels."""

import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.lines import AxLine
from matplotlib.quiver import Quiver
from scipy.sparse import csr_array

from numgrad import History, check_gradient, descent_path, display, function_1, function_2, plotting
from numgrad.commands import profiling
from numgrad.commands.profiling import Measurement

mpl.use("agg")


def measurement(route, weights, seconds, coordinates=None):
    return Measurement(route, (weights, 1), weights, seconds, 5, coordinates or weights, 0, 0.0, 1.0)


def axes(**options):
    return Figure().add_subplot(**options)


ROWS = [
    measurement("slow", 100, 1.0),
    measurement("slow", 10, 0.1),
    measurement("slow", 1000, 100.0, coordinates=3),
    measurement("fast", 100, 0.01),
]


def test_a_profile_is_a_line_a_route_hollow_where_projected():
    ax = axes()
    profiling.plot_profile(ROWS, ax)
    slow, measured, fast, _ = ax.lines
    assert slow.get_xydata().tolist() == [[10, 0.1], [100, 1.0], [1000, 100.0]]
    assert slow.get_markerfacecolor() == "none"
    assert measured.get_xydata().tolist() == [[10, 0.1], [100, 1.0]]
    assert measured.get_markerfacecolor() == slow.get_color() != fast.get_color()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["slow", "fast"]
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert "s)" in ax.get_ylabel()


def test_the_picture_names_the_machine():
    assert b"<!-- the machine -->" in display.picture(lambda ax: ax.plot([1]), "svg", "the machine")


def test_steps_are_a_line_a_scheme():
    ax = axes()
    profiling.plot_steps([0.1, 0.01], {"central": [1e-2, 1e-4], "complex": [1e-3, 0.0]}, ax)
    central, exact, _ = ax.lines
    assert central.get_xydata().tolist() == [[0.1, 1e-2], [0.01, 1e-4]]
    assert exact.get_ydata()[1] == 2.0**-54  # an error of 0 has no place on a logarithmic axis
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["central", "complex"]


def test_tangents_touch_the_function_with_the_numerical_slope():
    ax = plotting.plot_tangent(function_1, [5, 10], xlim=(0, 20), ax=axes(), linewidth=3.0)
    curve, first, mark, second, _ = ax.lines
    assert curve.get_linewidth() == 3.0
    assert curve.get_xydata()[0].tolist() == [0.0, 0.0]
    assert curve.get_xydata()[-1].tolist() == [20.0, function_1(20.0)]
    assert first.get_slope() == pytest.approx(0.2)
    assert second.get_slope() == pytest.approx(0.3)
    assert mark.get_xydata().tolist() == [[5.0, function_1(5.0)]]
    assert ax.get_xlim() == (0.0, 20.0)
    assert "tangent at 5: slope 0.2" in [text.get_text() for text in ax.get_legend().get_texts()]


def test_a_visible_step_draws_the_secants_and_shows_that_the_central_one_is_better():
    ax = plotting.plot_tangent(np.exp, 0.5, xlim=(-1, 2), h=0.8, ax=axes())
    tangent, forward, central = (line.get_slope() for line in ax.lines if isinstance(line, AxLine))
    assert tangent == pytest.approx(np.exp(0.5))
    assert forward == pytest.approx((np.exp(1.3) - np.exp(0.5)) / 0.8)
    assert central == pytest.approx((np.exp(1.3) - np.exp(-0.3)) / 1.6)
    assert abs(central - tangent) < abs(forward - tangent) / 3


def test_the_field_is_the_negative_gradient():
    ax = plotting.plot_gradient_field(function_2, (-2, 2), (-1, 1), density=5, ax=axes(), color="red")
    (arrows,) = (child for child in ax.collections if isinstance(child, Quiver))
    assert arrows.N == 25
    assert np.allclose(arrows.U.reshape(5, 5)[0], [4, 2, 0, -2, -4], atol=1e-9)
    assert np.allclose(arrows.V.reshape(5, 5)[:, 0], [2, 1, 0, -1, -2], atol=1e-9)
    assert (ax.get_xlim(), ax.get_ylim()) == ((-2.0, 2.0), (-1.0, 1.0))


@pytest.mark.parametrize("unit", [1e-200, 1e-19, 1e-9, 1.0, 1e6, 1e13, 1e200])
def test_slopes_follow_the_unit_of_the_picture(unit):
    box = (-2.0 * unit, 2.0 * unit)
    with np.errstate(all="raise", under="ignore"):
        field = plotting.plot_gradient_field(lambda x: np.exp(-np.sum((x / unit) ** 2)), box, box, ax=axes(), density=5)
        ax = plotting.plot_tangent(lambda x: np.exp(x / unit), 0.5 * unit, xlim=box, ax=axes())
    (arrows,) = (child for child in field.collections if isinstance(child, Quiver))
    x, y = np.meshgrid(*[np.linspace(-2.0, 2.0, 5)] * 2)
    # Truncation is (4e-4)**2 / 6 of a third derivative of at most 10; round-off 1e-16 / 4e-4.
    assert np.allclose(arrows.U.reshape(5, 5) * unit, 2 * x * np.exp(-x * x - y * y), rtol=0.0, atol=1e-6)
    assert np.allclose(arrows.V.reshape(5, 5) * unit, 2 * y * np.exp(-x * x - y * y), rtol=0.0, atol=1e-6)
    (tangent,) = (line for line in ax.lines if isinstance(line, AxLine))
    assert tangent.get_slope() * unit == pytest.approx(np.exp(0.5), rel=1e-7)


def test_a_descent_is_drawn_from_start_to_end():
    path = descent_path(function_2, [-3.0, 4.0], 0.1, 20)
    ax = plotting.plot_descent(function_2, path, ax=axes(), linestyle="--")
    line, start, end = ax.lines
    assert line.get_xydata().tobytes() == path.tobytes()
    assert line.get_linestyle() == "--"
    assert start.get_xydata().tolist() == [[-3.0, 4.0]]
    assert end.get_xydata().tolist() == [path[-1].tolist()]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["start", "end"]


@pytest.mark.filterwarnings("ignore:the step")
def test_divergence_is_shown_as_such_and_the_axes_do_not_explode():
    paths = {lr: descent_path(function_2, [-3.0, 4.0], lr, 100) for lr in (0.1, 10.0, 1e-10)}
    figure = Figure()
    panels = plotting.plot_descent(function_2, paths, ax=figure.subplots(1, 3))
    assert [panel.get_title() for panel in panels] == [
        "lr = 0.1: 100 iterations",
        "lr = 10.0: leaves at 1, |x| up to 2.6e+13",
        "lr = 1e-10: 100 iterations",
    ]
    assert all(panel.get_xlim() == (-5.0, 5.0) == panel.get_ylim() for panel in panels)
    (arrow,) = (text for text in panels[1].texts if text.get_text() == "")
    # From (-3, 4) towards (57, -76): it leaves at the lower edge.
    assert arrow.xy == pytest.approx((-3 + 60 * 9 / 80, -5.0), rel=1e-6)
    plotting.plot_descent(function_2, [[1.0, 1.0], [np.inf, np.nan]], ax=axes())


def test_the_surface_has_three_dimensions():
    ax = plotting.plot_surface(function_2, (-3, 3), (-2, 2), density=7, ax=axes(projection="3d"))
    assert ax.get_zlim()[1] >= 13.0
    assert len(ax.collections) == 1
    with pytest.raises(ValueError, match="ax must have three dimensions"):
        plotting.plot_surface(function_2, (-3, 3), (-2, 2), ax=axes())


def test_losses_and_weights():
    ax = plotting.plot_loss([3.0, 2.0, 1.5], ax=axes())
    assert ax.lines[0].get_xydata().tolist() == [[1, 3.0], [2, 2.0], [3, 1.5]]
    assert ax.get_ylim()[0] == 0.0
    W = np.arange(12.0 * 7).reshape(12, 7)
    ax = plotting.plot_weights(W, (3, 4), ax=axes())
    mosaic = ax.images[0].get_array()
    assert mosaic.shape == (2 * 4 - 1, 5 * 5 - 1)
    assert mosaic[4:7, 5:9].tolist() == W[:, 6].reshape(3, 4).tolist()
    assert [text.get_text() for text in ax.texts] == list("0123456")
    assert ax.images[0].get_clim() == (-83.0, 83.0)


def test_the_aliases_of_matplotlib_work_and_nothing_is_hidden():
    ax = plotting.plot_loss([-1.0, -2.0, -3.0], ax=axes(), c="red", lw=3)
    assert ax.lines[0].get_color() == "red"
    assert ax.lines[0].get_linewidth() == 3
    low, high = ax.get_ylim()
    assert low <= -3.0 < -1.0 <= high
    plotting.plot_weights(np.ones((4, 2)), (2, 2), ax=axes(), norm=mpl.colors.Normalize(0, 1))
    assert plotting.plot_descent(function_2, [[1.0, 1.0], [np.nan, 0.0]], ax=axes()).get_title().endswith("up to nan")


def test_forms_of_numbers_are_drawn_alike():
    ax = plotting.plot_tangent(lambda x: np.array([[x * x]]), [[0.2], [0.7]], xlim=(0, 1), ax=axes())
    assert np.array_equal(ax.lines[0].get_ydata(), ax.lines[0].get_xdata() ** 2)
    assert len(ax.lines) == 5
    losses = plotting.plot_loss(np.ma.masked_greater([1, 3, 2], 2), ax=axes()).lines[0].get_ydata()
    assert np.array_equal(losses, [1.0, np.nan, 2.0], equal_nan=True)  # a gap
    plotting.plot_loss([np.nan, np.nan], ax=axes())
    plotting.plot_loss([], ax=axes())


def test_without_ax_a_figure_is_made_that_pyplot_shows(monkeypatch):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    before = len(pyplot.get_fignums())
    plotting.plot_loss([1.0])
    plotting.plot_descent(function_2, {0.1: [[1.0, 1.0]], 0.2: [[1.0, 1.0]]})
    assert len(pyplot.get_fignums()) == before + 2
    pyplot.close("all")


@pytest.mark.parametrize(
    ("draw", "error", "message"),
    [
        (lambda: plotting.plot_loss([[1.0]]), ValueError, r"losses must be one-dimensional, got the shape \(1, 1\)"),
        *[
            (lambda draw=draw, given=given: draw(given), TypeError, f"must be what {maker} returns, got")
            for draw, maker in ((plotting.plot_check, "check_gradient"), (plotting.plot_training, "train"))
            for given in (5, None, (1, 2, 3, 4), {"train_accuracies": [1.0]}, np.ones(3), "check")
        ],
        (lambda: plotting.plot_loss("falling"), TypeError, "losses must hold real numbers"),
        (lambda: plotting.plot_loss([1.0, None]), TypeError, "losses must hold real numbers"),
        (lambda: plotting.plot_loss([1.0, 2.0j]), TypeError, "losses must hold real numbers"),
        (
            lambda: plotting.plot_loss(History([1.0], [0, 1], [0.5, 1.0], [0.5, 0.9])),
            ValueError,
            "losses must be a rec",
        ),
        (lambda: plotting.plot_weights(np.ones((4, 2)), (2.0, 2.0)), TypeError, "shape must be an integer, got float"),
        (lambda: plotting.plot_weights(np.ones((4, 2)), (-2, -2)), ValueError, "shape must be at least 1, got -2"),
        (lambda: plotting.plot_tangent(3, 1, xlim=(0, 1), ax=axes()), TypeError, "f must be callable, got int 3"),
        (lambda: plotting.plot_gradient_field(3, (0, 1), (0, 1), ax=axes()), TypeError, "f must be callable, got int"),
        (lambda: plotting.plot_weights([["a"]], (1, 1)), TypeError, "W must hold real numbers"),
        (lambda: plotting.plot_weights([[1.0], [1.0, 2.0]], (2, 1)), ValueError, "W must be a rectangular array"),
        (lambda: plotting.plot_descent(function_2, "path"), TypeError, "path must hold real numbers"),
        (
            lambda: plotting.plot_descent(function_2, [[1.0], [1.0, 2.0]]),
            ValueError,
            "path must be a rectangular array",
        ),
        (lambda: plotting.plot_descent(function_2, 3.0), ValueError, r"path must have the shape \(iterates, 2\), got"),
        (lambda: plotting.plot_tangent(abs, "a", xlim=(0, 1), ax=axes()), TypeError, "at must hold real numbers"),
        (lambda: plotting.plot_tangent(str, 1, xlim=(0, 1), ax=axes()), TypeError, "f must return one real number"),
        (lambda: plotting.plot_gradient_field(np.sin, (0, 1), (0, 1), ax=axes()), TypeError, "f must return one real"),
        (
            lambda: plotting.plot_surface(lambda x: None, (0, 1), (0, 1), ax=axes(projection="3d")),
            TypeError,
            "f must return one real number, it returned NoneType None: is a return missing?",
        ),
        (lambda: plotting.plot_descent(function_2, {}), ValueError, "path must hold at least one path"),
        (lambda: plotting.plot_descent(function_2, {1: [[0, 0]]}, ax=[]), ValueError, "ax must hold 1 Axes"),
        (lambda: plotting.plot_weights(np.ones((4, 2)), 4), ValueError, "W must have the shape"),
        (lambda: plotting.plot_loss([1.0], ax=3), TypeError, "ax must be a matplotlib Axes, got int 3"),
        (lambda: plotting.plot_weights(np.ones((6, 2)), (2, 2)), ValueError, "W must have the shape"),
        (
            lambda: plotting.plot_tangent(abs, 1, xlim=(1, 0), ax=axes()),
            ValueError,
            "xlim must ascend, got 1.0",
        ),
        (lambda: plotting.plot_tangent(abs, 1, xlim=3, ax=axes()), TypeError, "xlim must be a pair of numbers"),
        (lambda: plotting.plot_surface(function_2, (0, 1), (0, "a")), TypeError, "ylim must be a real number"),
        (lambda: plotting.plot_gradient_field(function_2, (0, 1), (0, 1), density=1), ValueError, "density must be at"),
        (lambda: plotting.plot_descent(function_2, [1.0]), ValueError, r"path must have the shape \(iterates, 2\)"),
        (
            lambda: plotting.plot_descent(function_2, [[3.0, 3.0]], xlim=(0, 1), ax=axes()),
            ValueError,
            "the first iterate, .* must lie within xlim and ylim",
        ),
        *(
            (
                lambda start=start: plotting.plot_descent(function_2, [start, [0.0, 0.0]]),
                ValueError,
                "the first iterate, ",
            )
            for start in ([np.nan, 1.0], [np.inf, 1.0], [-np.inf, np.nan])
        ),
    ],
)
def test_misuse(draw, error, message):
    with pytest.raises(error, match=message):
        draw()
    pytest.importorskip("matplotlib.pyplot").close("all")


@pytest.mark.parametrize("missing", [np.nan, np.inf, -np.inf, np.ma.masked])
def test_weights_that_are_missing_are_gaps_beside_the_colours_of_the_rest(missing):
    W = np.ma.array(np.linspace(-3.0, 2.0, 12).reshape(6, 2))
    W[2, 1] = missing
    ax = plotting.plot_weights(W, (2, 3), ax=axes())
    assert ax.images[0].get_clim() == (-3.0, 3.0)
    assert plotting.plot_weights(np.full((2, 1), np.nan), (1, 2), ax=axes()).images[0].get_clim() == (-1.0, 1.0)


def test_unknown_formats_are_refused():
    display.check_format(Path("picture.png"))
    with pytest.raises(OSError, match="its suffix must be one of"):
        display.check_format(Path("picture"))


def test_without_matplotlib_the_error_names_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.backend_bases", None)
    with pytest.raises(ImportError, match=r"pip install matplotlib$"):
        display.check_format(Path("picture.png"))


def wrong_in_one_row(W):
    slopes = np.cos(W)
    slopes[2] *= 2.0
    return slopes


def test_a_check_is_drawn_where_it_is_wrong():
    x = {"W": np.ones((4, 3)), "b": np.ones(5), "K": np.ones((2, 3, 2))}
    slopes = {"W": wrong_in_one_row(x["W"]), "b": np.cos(x["b"]), "K": np.cos(x["K"])}
    check = check_gradient(lambda x: float(sum(np.sin(array).sum() for array in x.values())), slopes, x)
    ax = plotting.plot_check(check, ax=axes(), cmap="gray")
    errors = ax.images[0].get_array()
    assert errors.shape == (4, 3)
    assert np.allclose(errors[2], 0.5, rtol=1e-6)
    assert errors[[0, 1, 3]].max() < 1e-5
    assert ax.lines[0].get_xydata().tolist() == [[0, 2], [1, 2], [2, 2]]
    assert (ax.get_title(), ax.images[0].get_cmap().name) == ("W: 3 of 12 wrong", "gray")
    assert plotting.plot_check(check, "b", ax=axes()).images[0].get_array().shape == (1, 5)
    assert plotting.plot_check(check, "K", ax=axes()).images[0].get_array().shape == (2, 6)
    with pytest.raises(ValueError, match="name must be one of 'W', 'b', 'K', got 'c'"):
        plotting.plot_check(check, "c")


def test_one_wrong_place_of_a_large_matrix_is_seen_and_what_was_not_checked_is_empty():
    x = np.ones((401, 3))
    slopes = np.cos(x)
    slopes[400, 2] = np.inf
    chosen = np.r_[0:3, 1198:1203]
    check = check_gradient(lambda x: float(np.sin(x).sum()), slopes, x, coordinates=chosen)
    ax = plotting.plot_check(check, ax=axes())
    table = ax.images[0].get_array()
    assert table.shape == (200, 3)
    assert table.count() == 6  # the last rows share a cell
    assert ax.lines[0].get_xydata().tolist() == [[2, 400]]
    ax = plotting.plot_check(check_gradient(lambda x: float(np.sin(x).sum()), 2 * np.cos(x), x), ax=axes())
    assert ax.get_title() == "x: 1,203 of 1,203 wrong"
    assert not ax.lines
    with pytest.raises(ValueError, match="along directions"):
        plotting.plot_check(check_gradient(lambda x: float(np.sin(x).sum()), np.cos(x), x, directions=2))


@pytest.mark.parametrize("kind", [np.asarray, csr_array, lambda table: [np.flatnonzero(row) for row in table]])
def test_a_pattern_has_the_colours_of_its_columns(kind):
    table = np.eye(6) + np.eye(6, k=1) + np.eye(6, k=-1) != 0
    ax = plotting.plot_sparsity(kind(table), ax=axes())
    cells = ax.images[0].get_array()
    assert (~cells.mask == table).all()
    colours = [set(column.compressed()) for column in cells.T]
    assert all(len(own) == 1 for own in colours)
    assert len(set.union(*colours)) == 3
    assert all(colours[k] != colours[m] for k in range(6) for m in range(k + 1, min(k + 3, 6)))
    assert ax.get_title() == "16 entries in 3 colours"


def test_patterns_that_are_none_are_refused():
    with pytest.raises(ValueError, match="pattern must have an entry, got none"):
        plotting.plot_sparsity(np.zeros((2, 2), bool))
    with pytest.raises(TypeError, match="sparsity must be a boolean array"):
        plotting.plot_sparsity(3)
    ax = plotting.plot_sparsity(np.ones((12, 12), bool), ax=axes())  # more colours than a cycle has
    assert ax.images[0].get_cmap().name == mpl.rcParams["image.cmap"]


def test_the_style_of_the_user_is_followed_and_left_alone():
    with mpl.rc_context({"axes.prop_cycle": mpl.cycler(color=["#123456", "#654321"]), "lines.linewidth": 7.0}):
        before = dict(mpl.rcParams)
        ax = plotting.plot_loss([2.0, 1.0], ax=axes())
        assert (ax.lines[0].get_color(), ax.lines[0].get_linewidth()) == ("#123456", 7.0)
        ax = plotting.plot_training(History([1.0], [0, 1], [0.5, 1.0], [0.5, 0.9]), ax=axes())
        assert [line.get_color() for line in ax.lines] == ["#123456", "#654321"]
        plotting.plot_descent(function_2, [[1.0, 1.0], [0.0, 0.0]], ax=axes())
        assert dict(mpl.rcParams) == before


def test_the_module_is_an_attribute_of_the_package():
    code = "import numgrad, sys; print('matplotlib' in sys.modules, callable(numgrad.plotting.plot_descent))"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.split() == ["False", "True"]


def test_one_value_is_seen_and_one_column_has_a_whole_number():
    loss = plotting.plot_loss([0.7], ax=axes())
    training = plotting.plot_training(History(np.zeros(0), np.zeros(1, int), np.ones(1), np.ones(1)), ax=axes())
    assert [line.get_marker() for line in (*loss.lines, *training.lines)] == ["."] * 3
    assert plotting.plot_loss([0.7, 0.5], ax=axes()).lines[0].get_marker() == mpl.rcParams["lines.marker"]
    for shape in ((4, 1), (1, 4), (1, 1)):
        check = check_gradient(lambda w: float(np.sum(w**2)), lambda w: 2 * w, np.ones(shape))
        ax = plotting.plot_check(check, ax=axes())
        for axis in (ax.xaxis, ax.yaxis):
            assert all(tick == round(tick) for tick in axis.get_majorticklocs())
