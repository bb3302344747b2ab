"""Pictures: their structure, not their pixels."""

import builtins
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from numgrad import plotting
from numgrad.profiling import Measurement


def measurement(route, weights, seconds, coordinates=None):
    return Measurement(route, (weights, 1), weights, seconds, 5, coordinates or weights, 0, 0.0, 1.0)


ROWS = [
    measurement("slow", 100, 1.0),
    measurement("slow", 10, 0.1),
    measurement("slow", 1000, 100.0, coordinates=3),
    measurement("fast", 100, 0.01),
]


def test_a_profile_is_a_line_a_route_hollow_where_projected():
    ax = plotting.plot_profile(ROWS, Figure().add_subplot(), linewidth=3.0)
    slow, measured, fast, _ = ax.lines
    assert slow.get_xydata().tolist() == [[10, 0.1], [100, 1.0], [1000, 100.0]]
    assert slow.get_markerfacecolor() == "none"
    assert slow.get_linewidth() == 3.0
    assert measured.get_xydata().tolist() == [[10, 0.1], [100, 1.0]]
    assert measured.get_markerfacecolor() == slow.get_color() != fast.get_color()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["slow", "fast"]
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert "s)" in ax.get_ylabel()


def test_the_picture_names_the_machine():
    assert b"<!-- the machine -->" in plotting.picture(lambda ax: ax.plot([1]), "svg", "the machine")


def test_steps_are_a_line_a_scheme():
    ax = plotting.plot_steps([0.1, 0.01], {"central": [1e-2, 1e-4], "complex": [1e-3, 0.0]}, Figure().add_subplot())
    central, exact, _ = ax.lines
    assert central.get_xydata().tolist() == [[0.1, 1e-2], [0.01, 1e-4]]
    assert exact.get_ydata()[1] == 2.0**-54  # an error of 0 has no place on a logarithmic axis
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["central", "complex"]


def test_unknown_formats_are_refused():
    plotting.check_format(Path("picture.png"))
    with pytest.raises(OSError, match="its suffix must be one of"):
        plotting.check_format(Path("picture"))


def test_without_matplotlib_the_error_names_the_extra(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install 'numgrad\[plot\]'"):
        plotting.check_format(Path("picture.png"))
