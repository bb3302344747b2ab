"""The profile of a layer's weights: right gradients by every route, honest projections."""

import numpy as np
import pytest
from problems import needs_jit

from numgrad.commands import output, profiling

NAMES = ["NumPy reference", "Python callable", "compiled", "incremental", "NumPy backprop"]


@pytest.fixture
def layer():
    return profiling.Layer(6, 5, 4)


@needs_jit
def test_every_route_gives_the_gradient_and_its_beginning(layer):
    exact, before = layer.exact().reshape(-1), layer.net.W.tobytes()
    routes = profiling.routes(layer, 1e-4, 2)
    assert [route.name for route in routes] == NAMES
    for route in routes:
        for count in (30, 7):
            gradient = route.gradient(count)
            assert gradient.shape == (30 if route.whole else count,)
            # Truncation h**2/6, round-off of a loss of 2 over h; the backprop lacks the offset 1e-7 / p_label.
            assert np.abs(gradient - exact[: len(gradient)]).max() < (1e-8 if not route.whole else 1e-5)
    assert layer.net.W.tobytes() == before


def test_the_peers_that_are_installed_give_the_gradient_too(layer):
    before, peers = layer.net.W.tobytes(), list(profiling._peer_routes(layer))
    if not peers:
        pytest.skip("no peer is installed: pip install '.[bench]'")
    for route in peers:
        for count in (30, 4):
            assert np.abs(route.gradient(count) - layer.exact().reshape(-1)[:count]).max() < 1e-6
            assert layer.net.W.tobytes() == before


def test_a_route_within_the_budget_is_measured_whole(layer):
    row = profiling.measure(profiling.routes(layer, 1e-4, 1)[0], layer, repeat=3, baseline=1.0)
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
    assert output.with_unit(seconds, output.DURATIONS) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (1500, "1.5 kB"), (2 * 10**6, "2 MB"), (3 * 10**9, "3 GB")])
def test_sizes(count, text):
    assert output.with_unit(count, output.SIZES) == text


def test_the_status_shows_on_a_terminal_only(capsys, monkeypatch):
    output.show_status("working")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(output.sys.stderr, "isatty", lambda: True)
    output.show_status("working")
    assert capsys.readouterr().err == "\r\033[Kworking"
    monkeypatch.setattr(output.sys, "stderr", None)
    output.show_status("working")
    assert capsys.readouterr() == ("", "")
