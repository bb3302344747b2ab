"""The demo: a walk through the chapter in the terminal, then real digits trained by numerical gradients alone."""

from __future__ import annotations

import functools
import statistics
import time
import timeit
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

import numgrad

from .. import plotting, reference
from ..display import check_writable, write_picture
from ..functions import function_1, function_2
from ..loops import Floats, Indices
from . import warnings_below

__all__: list[str] = []  # nothing here is public

Digits = tuple[Floats, Indices]
Paths = dict[float, Floats]  # of descents, by the learning rate

_LESSONS = {
    0.1: "arrives at the minimum (0, 0)",
    10.0: "too large: every update overshoots, and the point flies away",
    1e-10: "too small: after 100 updates the point has hardly moved",
}  # by learning rate
_PICTURES = "tangents", "secants", "gradient_field", "surface", "descent", "loss", "weights", "training"


def show_chapter() -> Paths:
    """Print the examples of the chapter, and return the path of each descent by its learning rate.

    The pictures show the same paths.
    """
    print("The derivative of f(x) = 0.01 x**2 + 0.1 x, which is 0.02 x + 0.1")
    for at in (5, 10):
        print(f"  numerical_diff(function_1, {at:2}) = {numgrad.numerical_diff(function_1, at)}")
    print("\nThe partial derivatives of f(x0, x1) = x0**2 + x1**2 at (3, 4), which are 6 and 8")
    print(f"  with respect to x0: {numgrad.numerical_diff(lambda x0: x0 * x0 + 4.0**2.0, 3.0)}")
    print(f"  with respect to x1: {numgrad.numerical_diff(lambda x1: 3.0**2.0 + x1 * x1, 4.0)}")
    print("\nIts gradient, which is (2 x0, 2 x1)")
    for point in ([3.0, 4.0], [0.0, 2.0], [3.0, 0.0]):
        print(f"  numerical_gradient(function_2, {point}) = {numgrad.numerical_gradient(function_2, np.array(point))}")
    print("\n100 iterations of gradient descent from (-3, 4)")
    paths: Paths = {}
    for lr, lesson in _LESSONS.items():
        with warnings_below(14):
            paths[lr] = numgrad.descent_path(function_2, np.array([-3.0, 4.0]), lr=lr, step_num=100)
            print(f"  lr = {lr:<6g} {paths[lr][-1]}\n{'':14}{lesson}")
    print("\nA net of 2 x 3 weights, for the sample (0.6, 0.9) of class 2")
    net, x, t = numgrad.simpleNet(), np.array([0.6, 0.9]), np.array([0, 0, 1])
    net.W[...] = [[0.47355232, 0.9977393, 0.84668094], [0.85557411, 0.03563661, 0.69422093]]
    print(f"  predict(x) = {net.predict(x)}\n  loss(x, t) = {net.loss(x, t)}\n  the gradient of the loss:")
    print("  " + str(numgrad.numerical_gradient(lambda _: net.loss(x, t), net.W)).replace("\n", "\n  "))
    return paths


def train_digits(iterations: int, batch: int, workers: int) -> tuple[list[float], Floats]:
    """Train a 64 x 10 net on the digits with numerical gradients only; return the loss of each batch and the weights.

    Parameters
    ----------
    iterations : int
        Updates of the weights.
    batch : int
        Images a gradient; at most all.
    workers : int
        Threads.
    """
    train, test = load_digits()
    batch = min(batch, len(train[0]))
    net = numgrad.simpleNet((64, 10), rng=0)
    print(f"\nTraining 64 x 10 weights on {len(train[0])} handwritten digits, {len(test[0])} kept for the test;")
    print(f"each of {iterations} updates takes all 640 central differences of the loss of {batch} images,")
    print("evaluated incrementally: net.objective knows what a change of one weight touches.")
    losses: list[float] = []
    began = time.perf_counter()
    for iteration, (x, t) in zip(range(1, iterations + 1), _batches(train, batch), strict=False):
        objective = net.objective(x, t)
        numgrad.gradient_descent(objective, net.W, lr=0.5, step_num=1, workers=workers)
        losses.append(objective(net.W))
        if iteration % max(1, iterations // 10) == 0:
            scores = f"loss {net.loss(*train):.4f}   test accuracy {net.accuracy(*test):.3f}"
            print(f"  iteration {iteration:4}   {scores}   {_since(began)}", flush=True)
    print(f"Test accuracy {net.accuracy(*test):.3f} after {_since(began).strip()}, the start of numba included.")
    print("The same gradients would take")
    _show_other_routes(net.W, next(_batches(train, batch)), iterations, workers)
    return losses, net.W


def _show_other_routes(weights: Floats, digits: Digits, iterations: int, workers: int) -> None:
    """Print what the gradients of the training would take, projected from a few measurements."""
    from ..objectives.softmax import loss

    x, t = digits
    compiled = functools.partial(numgrad.numerical_gradient, loss, weights, args=(x.T.copy(), t), workers=workers)
    compiled()  # compiles
    net = reference.SimpleNet((1, 1))
    net.W = weights
    seconds = iterations * _seconds(compiled, 5)
    print(f"  {seconds:6.2f} s by the loop compiled around the whole loss (a projection from 5 gradients)")
    seconds = iterations * 2 * weights.size * _seconds(lambda: net.loss(x, t), 50)
    print(f"  {seconds:6.2f} s by the plain NumPy reference (a projection from 50 evaluations of its loss)")


def train_two_layers(iterations: int) -> numgrad.History:
    """Train the book's net of two layers on the digits with numerical gradients only, and return its history.

    The number of iterations is fixed beforehand: to end where the test accuracy is best would choose it on the test.
    """
    train_set, test_set = load_digits()
    net = numgrad.TwoLayerNet(64, 50, 10, rng=0)
    print(f"\nThe end of the chapter: a net of 64-50-10, {net.flat.size:,} parameters, trained on the same digits;")
    print(f"each of {iterations} updates takes all central differences of the loss of 100 images, layer by layer.")
    began = time.perf_counter()

    def show(done: int, total: int) -> None:
        if done % max(1, total // 10) == 0:
            print(f"  iteration {done:4}   test accuracy {net.accuracy(*test_set):.3f}   {_since(began)}", flush=True)

    history = numgrad.train(net, *train_set, *test_set, iterations=iterations, lr=1.0, progress=show, rng=0)
    print(f"Test accuracy {history.test_accuracies[-1]:.3f} after {_since(began).strip()}")
    x, t = next(_batches(train_set, 100))
    seconds = iterations * 2 * net.flat.size * _seconds(lambda: net.loss(x, t), 50)
    print(f"  {seconds:6.0f} s by the book's loop over the weights (a projection from 50 evaluations of the loss)")
    return history


def _since(began: float) -> str:
    return f"{time.perf_counter() - began:5.2f} s"


def check_figures(directory: Path) -> None:
    """Make the directory of the pictures; OSError if one of them could not be written there."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"cannot make a directory of the pictures: {error.strerror}: {str(directory)!r}") from None
    check_writable(*(directory / f"{name}.png" for name in _PICTURES))


def draw(directory: Path, paths: Paths, losses: list[float], weights: Floats, history: numgrad.History) -> None:
    """Write the pictures of the chapter, of its descents and of the training to `directory`, which exists.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    OSError
        If a file cannot be written.
    """
    on, box = functools.partial, (-5.0, 5.0)
    square, wide = {"size": (6.0, 5.5)}, {"size": (10.5, 3.2), "panels": len(paths)}  # inches
    drawn: tuple[tuple[Callable[..., object], dict[str, Any]], ...] = (
        (on(plotting.plot_tangent, function_1, [5, 10], xlim=(0, 20)), {}),
        (on(plotting.plot_tangent, np.exp, 0.5, xlim=(-1, 2), h=0.8), {}),
        (on(plotting.plot_gradient_field, function_2, (-2, 2), (-2, 2)), square),
        (on(plotting.plot_surface, function_2, (-3, 3), (-3, 3)), square | {"projection": "3d"}),
        (on(plotting.plot_descent, function_2, paths, xlim=box, ylim=box), wide),
        (on(plotting.plot_loss, losses), {}),
        (on(plotting.plot_weights, weights, (8, 8)), {}),
        (on(plotting.plot_training, history), {}),
    )
    for name, (draw_on, options) in zip(_PICTURES, drawn, strict=True):
        write_picture(directory / f"{name}.png", draw_on, **options)
    print(f"\n{len(drawn)} pictures in {directory}: {', '.join(_PICTURES)}")


def load_digits() -> tuple[Digits, Digits]:
    """Return 1,437 training and 360 test digits, shuffled by a fixed seed: pixels from 0 to 1, and labels."""
    with resources.files("numgrad").joinpath("data", "digits.npz").open("rb") as file, np.load(file) as data:
        images, labels = data["images"] / 16.0, data["labels"].astype(np.intp)
    train, test = np.split(np.random.default_rng(0).permutation(len(images)), [1437])
    return (images[train], labels[train]), (images[test], labels[test])


def _batches(digits: Digits, size: int) -> Iterator[Digits]:
    """Yield random batches without end."""
    rng = np.random.default_rng(0)
    while True:
        chosen = rng.choice(len(digits[0]), size, replace=False)
        yield digits[0][chosen], digits[1][chosen]


def _seconds(work: Callable[[], object], repeats: int) -> float:
    """Return the median time of one call."""
    return statistics.median(timeit.repeat(work, number=1, repeat=repeats))
