"""The profile of a layer's weights: right gradients by every route, honest projections."""

import sys
import types

import numpy as np
import pytest
from numba import njit
from problems import needs_jit

from numgrad import commands, display
from numgrad.commands import profiling, subjects

NAMES = ["NumPy reference", "Python callable", "compiled", "incremental", "NumPy backprop"]


@pytest.fixture
def layer():
    return subjects.Layer(6, 5, 4)


@needs_jit
def test_every_route_gives_the_gradient_and_its_beginning(layer):
    exact, before = layer.exact().reshape(-1), layer.net.W.tobytes()
    routes = list(layer.routes(1e-4, 2, False))
    assert [route.name for route in routes] == NAMES
    for route in routes:
        for count in (30, 7):
            gradient = route.gradient(count)
            assert gradient.shape == (30 if route.whole else count,)
            # Truncation h**2/6, round-off of a loss of 2 over h; the backprop lacks the offset 1e-7 / p_label.
            assert np.abs(gradient - exact[: len(gradient)]).max() < (1e-8 if not route.whole else 1e-5)
    assert layer.net.W.tobytes() == before


def test_the_peers_that_are_installed_give_the_gradient_too(layer):
    before, peers = (
        layer.net.W.tobytes(),
        list(subjects.peer_routes(lambda: layer.net.loss(layer.x, layer.t), layer.net.W.reshape(-1))),
    )
    if not peers:
        pytest.skip("no peer is installed: pip install '.[bench]'")
    for route in peers:
        for count in (30, 4):
            assert np.abs(route.gradient(count) - layer.exact().reshape(-1)[:count]).max() < 1e-6
            assert layer.net.W.tobytes() == before


def test_a_route_within_the_budget_is_measured_whole(layer):
    row = profiling.measure(next(layer.routes(1e-4, 1, False)), layer, repeat=3, baseline=1.0)
    assert (row.route, row.shape, row.weights) == ("NumPy reference", (6, 5), 30)
    assert (row.coordinates, row.repeats, row.projected) == (30, 3, False)
    assert 0 < row.largest_error < 1e-8
    assert row.speed_up == 1.0 / row.seconds
    assert "~" not in str(row)


def test_a_route_over_the_budget_is_projected_and_says_so(layer, monkeypatch):
    asked, clock = [], [0.0]

    def a_second_each(count):
        asked.append(count)
        clock[0] += float(count)
        return layer.exact().reshape(-1)[:count] + 0.5

    monkeypatch.setattr(profiling.time, "perf_counter", lambda: clock[0])
    row = profiling.measure(profiling.Route("slow", a_second_each), layer, repeat=5, budget=20.0)
    assert (row.coordinates, row.repeats, row.projected) == (4, 5, True)
    assert row.seconds == 30.0
    assert row.largest_error == 0.5
    assert "~30 s" in str(row)
    assert "1 s" in str(row)
    assert max(asked) == 16  # for the memory

    row = profiling.measure(profiling.Route("slow", a_second_each), layer, repeat=5, budget=40.0)
    assert (row.coordinates, row.repeats, row.seconds) == (30, 1, 30.0)


def test_the_memory_of_a_whole_gradient_is_counted(layer):
    kept = []

    def holds_a_megabyte(count):
        kept.append(np.ones(2**17).sum())
        return np.zeros(count)

    peak = profiling._peak_bytes(profiling.Route("large", holds_a_megabyte, scratch=1000), 10**6)
    assert 0 <= peak - (2**20 + 8 * 10**6 + 1000) < 10_000


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(7200, "2 h"), (90, "1.5 min"), (2.5, "2.5 s"), (1e-3, "1 ms"), (2e-6, "2 us"), (5e-9, "5 ns")],
)
def test_durations(seconds, text):
    assert display.with_unit(seconds, display.DURATIONS) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (1500, "1.5 kB"), (2 * 10**6, "2 MB"), (3 * 10**9, "3 GB")])
def test_sizes(count, text):
    assert display.with_unit(count, display.SIZES) == text


def test_the_status_shows_on_a_terminal_only(capsys, monkeypatch):
    commands.show_status("working")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(commands.sys.stderr, "isatty", lambda: True)
    commands.show_status("working")
    assert capsys.readouterr().err == "\r\033[Kworking"
    monkeypatch.setattr(commands.sys, "stderr", None)
    commands.show_status("working")
    assert capsys.readouterr() == ("", "")


def quartic(x):
    return float(np.sum(x**4) + x.flat[0] * x.flat[1])


def products(x):
    return np.sin(x) * x[::-1]


@needs_jit
@pytest.mark.parametrize(("f", "kinds"), [(quartic, ["gradient", "Hessian"]), (products, ["Jacobian"])])
@pytest.mark.parametrize("kind", ["Python", "compiled"])
def test_the_derivatives_of_a_function_of_ones_own(f, kinds, kind):
    f = njit()(products if f is products else lambda x: np.sum(x**4) + x[0] * x[1]) if kind == "compiled" else f
    x = np.array([0.5, -1.0, 2.0, 1.5, 0.7])
    before, found = x.tobytes(), list(subjects.functions("m:f", f, x, 10.0))
    assert [subject.title for subject in found] == [f"{name} of m:f" for name in kinds]
    for subject in found:
        exact = {
            "gradient": lambda x: 4 * x**3 + np.array([x[1], x[0], 0, 0, 0]),
            "Hessian": lambda x: np.diag(12 * x**2) + CROSS,
            "Jacobian": lambda x: np.diag(np.cos(x) * x[::-1]) + (np.diag(np.sin(x)) @ np.eye(5)[::-1]),
        }[subject.kind](x)
        assert np.allclose(subject.exact(5), exact, rtol=1e-7, atol=1e-7)
        routes = list(subject.routes(1e-4, 1, True))
        assert ("compiled" in [route.name for route in routes]) == (kind == "compiled")
        for route in routes:
            assert np.allclose(route.gradient(5), exact.reshape(-1), rtol=1e-4, atol=1e-4), route.name
            if not route.whole and subject.kind == "Jacobian":
                assert np.allclose(route.gradient(2), exact[:, :2].reshape(-1), atol=1e-4), route.name
        row = profiling.measure(routes[0], subject, repeat=3)
        assert row.largest_error < 1e-4
        assert len(row.samples) == 3
        assert row.quartiles[0] <= row.quartiles[1] == row.seconds <= row.quartiles[2]
    assert x.tobytes() == before


CROSS = np.zeros((5, 5))
CROSS[0, 1] = CROSS[1, 0] = 1.0


def test_a_hessian_that_takes_too_long_is_left_out(capsys):
    assert [subject.kind for subject in subjects.functions("m:f", quartic, np.ones(9), 1e-9)] == ["gradient"]
    assert "no Hessian of m:f: it would take " in capsys.readouterr().out


def row_of(samples, route="compiled"):
    return profiling.Measurement(
        route, (3,), 3, float(np.median(samples)), 5, 3, 0, 0.0, 1.0, "gradient of m:f", samples
    )


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ((1.0, 1.01, 1.02, 1.03, 1.04), (1.3, 1.31, 1.32, 1.33, 1.34), "SLOWER"),
        ((1.3, 1.31, 1.32, 1.33, 1.34), (1.0, 1.01, 1.02, 1.03, 1.04), "faster"),
        ((1.0, 1.01, 1.02, 1.03, 1.04), (1.04, 1.05, 1.06, 1.07, 1.08), "same"),  # a machine drifts
        ((1.0, 1.1, 1.2, 1.6, 2.0), (1.3, 1.7, 1.8, 1.9, 2.5), "same"),  # within the spread
        ((1.0, 1.0, 1.0), (9.0,), "too few samples"),
        ((1.0, 1.0), (9.0, 9.0, 9.0), "too few samples"),
    ],
)
def test_what_is_slower_beyond_the_spread_is_found(old, new, word):
    assert profiling.verdict(row_of(old), row_of(new)) == word


def test_a_profile_is_a_table_with_the_slowest_first():
    rows = [row_of((1.0, 2.0, 3.0), f"<b>{k}") for k in range(25)] + [row_of((7.0,) * 3, "slow")]
    html = profiling.Profile(profiling.facts(), rows)._repr_html_()
    assert "<b>" not in html
    assert html.index("slow") < html.index("&lt;b&gt;0")
    assert html.count("<tr>") == 21
    assert "... and 6 more" in html


def test_the_picture_of_a_function_has_a_line_for_each_derivative():
    ax = pytest.importorskip("matplotlib.figure").Figure().add_subplot()
    profiling.plot_profile([row_of((1.0,)), row_of((2.0,))._replace(subject="Hessian of m:f")], ax)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["gradient of m:f: compiled", "Hessian of m:f: compiled"]


def test_what_is_no_package_has_no_version_and_no_route(monkeypatch, layer):
    folder = types.ModuleType("a folder of that name")
    for name in ("numdifftools", "scipy.optimize", "jacobi", "threadpoolctl"):
        monkeypatch.setitem(sys.modules, name, folder)
    assert list(subjects.peer_routes(lambda: 0.0, layer.flat)) == []

    def version(name, known=profiling.metadata.version):
        if name == "jacobi":
            raise profiling.metadata.PackageNotFoundError(name)
        return known(name)

    monkeypatch.setattr(profiling.metadata, "version", version)
    facts = profiling.facts()
    assert facts["blas_threads"] is None
    assert "jacobi" not in facts["versions"]
    assert facts["versions"]["numpy"] == np.__version__
