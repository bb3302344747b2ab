"""The command line."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from problems import JIT

from numgrad import __main__ as main

SMALL = ["demo", "--iterations", "2", "--batch", "2", "--workers", "1"]


def test_the_demo_walks_through_the_chapter_and_trains(capsys):
    assert main.main(SMALL) == 0
    printed = capsys.readouterr().out
    for expected in (
        "0.1999999999990898",
        "0.2999999999986347",
        "6.00000000000378",
        "7.999999999999119",
        "numerical_gradient(function_2, [3.0, 4.0]) = [6. 8.]",
        "[-6.11110793e-10  8.14814391e-10]",
        "[-2.58983747e+13 -1.29524862e+12]",
        "warning: the step h=0.0001 is below the spacing",
        "[-2.99999994  3.99999992]",
        "loss(x, t) = 0.9280682857864075",
        "a projection from 50 evaluations",
    ):
        assert expected in printed
    assert re.search(r"iteration +2 +loss \d\.\d{4} +test accuracy 0\.\d{3}", printed)


@pytest.mark.skipif(not JIT, reason="takes compiled gradients")
def test_the_digits_are_learnt_with_numerical_gradients_only(capsys):
    assert main.train_digits(iterations=180, batch=50, workers=2) >= 0.90
    assert "Test accuracy 0.9" in capsys.readouterr().out


def test_the_digits_are_the_published_ones():
    (x, t), (x_test, t_test) = main.load_digits()
    assert x.shape == (1437, 64)
    assert x_test.shape == (360, 64)
    assert x.min() == 0.0
    assert x.max() == 1.0
    # The counts of the digits 0 to 9 that the data's description states.
    counts = np.bincount(np.concatenate([t, t_test]))
    assert counts.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: command"),
        (["nosuch"], "invalid choice: 'nosuch'"),
        (["demo", "--iterations", "0"], "must be at least 1, got 0"),
        (["demo", "--batch", "ten"], "invalid positive integer value: 'ten'"),
        (["demo", "--nosuch"], "unrecognized arguments: --nosuch"),
    ],
)
def test_bad_command_lines_exit_with_2_and_a_clear_error(arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        main.main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_ctrl_c_ends_the_demo_with_130(monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(main, "train_digits", interrupted)
    assert main.main(SMALL) == 130
    assert capsys.readouterr().out.endswith("interrupted\n")


def test_it_runs_as_a_module():
    environment = os.environ | {"PYTHONWARNINGS": "error"}
    result = subprocess.run(
        [sys.executable, "-m", "numgrad", "--help"], capture_output=True, text=True, env=environment, check=False
    )
    assert result.returncode == 0
    assert "demo" in result.stdout
