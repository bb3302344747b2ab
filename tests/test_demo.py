"""The demo: the chapter's digits, and the digits."""

import re

import numpy as np
import pytest
from problems import JIT

from numgrad.commands import demo


def test_the_demo_walks_through_the_chapter(capsys):
    demo.show_chapter()
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
    ):
        assert expected in printed


@pytest.mark.skipif(not JIT, reason="takes compiled loops")
def test_the_other_routes_are_projected_beside_the_training(capsys):
    demo.train_digits(iterations=2, batch=2, workers=1)
    printed = capsys.readouterr().out
    assert re.search(r"iteration +2 +loss \d\.\d{4} +test accuracy 0\.\d{3}", printed)
    assert re.search(r"\d s by the loop compiled around the whole loss \(a projection from 5 gradients\)", printed)
    assert re.search(r"\d s by the plain NumPy reference \(a projection from 50 evaluations of its loss\)", printed)


@pytest.mark.skipif(not JIT, reason="takes compiled differences")
def test_the_digits_are_learnt_with_numerical_gradients_only(capsys):
    losses, weights = demo.train_digits(iterations=180, batch=50, workers=2)
    assert weights.shape == (64, 10)
    assert len(losses) == 180
    assert np.mean(losses[-20:]) < np.mean(losses[:20]) / 2
    assert "Test accuracy 0.9" in capsys.readouterr().out


def test_the_chapter_ends_with_a_net_of_two_layers(capsys):
    history = demo.train_two_layers(20)
    printed = capsys.readouterr().out
    assert "a net of 64-50-10, 3,760 parameters" in printed
    assert printed.count("   test accuracy 0.") == 10
    assert f"Test accuracy {history.test_accuracies[-1]:.3f} after" in printed
    assert "by the book's loop over the weights (a projection from 50 evaluations of the loss)" in printed
    assert history.losses.shape == (20,)


def test_the_digits_are_the_published_ones():
    (x, t), (x_test, t_test) = demo.load_digits()
    assert x.shape == (1437, 64)
    assert x_test.shape == (360, 64)
    assert x.min() == 0.0
    assert x.max() == 1.0
    # The counts of the digits 0 to 9 that the data's description states.
    counts = np.bincount(np.concatenate([t, t_test]))
    assert counts.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
