"""The demo: a walk through the chapter in the terminal, then real digits trained by numerical gradients alone."""

import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import (
    descent_path,
    function_1,
    function_2,
    gradient_descent,
    numerical_diff,
    numerical_gradient,
    reference,
    simpleNet,
)
from .output import write_picture

Digits = tuple[NDArray[np.float64], NDArray[np.intp]]

_LESSONS = [
    (0.1, "arrives at the minimum (0, 0)"),
    (10.0, "too large: every update overshoots, and the point flies away"),
    (1e-10, "too small: after 100 updates the point has hardly moved"),
]


def show_chapter() -> None:
    """Print the examples of the chapter, computed."""
    print("The derivative of f(x) = 0.01 x**2 + 0.1 x, which is 0.02 x + 0.1")
    for at in (5, 10):
        print(f"  numerical_diff(function_1, {at:2}) = {numerical_diff(function_1, at)}")
    print("\nThe partial derivatives of f(x0, x1) = x0**2 + x1**2 at (3, 4), which are 6 and 8")
    print(f"  with respect to x0: {numerical_diff(lambda x0: x0 * x0 + 4.0**2.0, 3.0)}")
    print(f"  with respect to x1: {numerical_diff(lambda x1: 3.0**2.0 + x1 * x1, 4.0)}")
    print("\nIts gradient, which is (2 x0, 2 x1)")
    for point in ([3.0, 4.0], [0.0, 2.0], [3.0, 0.0]):
        print(f"  numerical_gradient(function_2, {point}) = {numerical_gradient(function_2, np.array(point))}")
    print("\n100 iterations of gradient descent from (-3, 4)")
    for lr, lesson in _LESSONS:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            x = gradient_descent(function_2, np.array([-3.0, 4.0]), lr=lr, step_num=100)
        print(f"  lr = {lr:<6g} {x}\n{'':14}{lesson}")
        for warning in caught:
            print(f"{'':14}warning: {warning.message}")
    print("\nA net of 2 x 3 weights, for the sample (0.6, 0.9) of class 2")
    net = simpleNet()
    net.W[...] = [[0.47355232, 0.9977393, 0.84668094], [0.85557411, 0.03563661, 0.69422093]]
    x, t = np.array([0.6, 0.9]), np.array([0, 0, 1])
    print(f"  predict(x) = {net.predict(x)}\n  loss(x, t) = {net.loss(x, t)}\n  the gradient of the loss:")
    print("  " + str(numerical_gradient(lambda _: net.loss(x, t), net.W)).replace("\n", "\n  "))


class Training(NamedTuple):
    """What training on the digits gave: the accuracy on the test images, the loss of each batch, and the weights."""

    accuracy: float
    losses: list[float]
    weights: NDArray[np.float64]


def train_digits(iterations: int, batch: int, workers: int) -> Training:
    """Train a 64 x 10 net on the digits with numerical gradients only."""
    train, test = load_digits()
    batch = min(batch, len(train[0]))
    net = simpleNet((64, 10), rng=0)
    print(f"\nTraining 64 x 10 weights on {len(train[0])} handwritten digits, {len(test[0])} kept for the test;")
    print(f"each of {iterations} updates takes all 640 central differences of the loss of {batch} images,")
    print("evaluated incrementally: net.objective knows what a change of one weight touches.")
    losses: list[float] = []
    began = time.perf_counter()
    for iteration, (x, t) in zip(range(1, iterations + 1), _batches(train, batch), strict=False):
        objective = net.objective(x, t)
        gradient_descent(objective, net.W, lr=0.5, step_num=1, workers=workers)
        losses.append(objective(net.W))
        if iteration % max(1, iterations // 10) == 0:
            print(
                f"  iteration {iteration:4}   loss {net.loss(*train):.4f}   test accuracy {net.accuracy(*test):.3f}   "
                f"{time.perf_counter() - began:5.2f} s",
                flush=True,
            )
    taken, accuracy = time.perf_counter() - began, net.accuracy(*test)
    print(
        f"Test accuracy {accuracy:.3f} after {taken:.2f} s, the start of numba included. The same gradients would take"
    )
    x, t = next(_batches(train, batch))
    compiled = iterations * _seconds_of_a_compiled_gradient(net.W, x, t, workers)
    plain = iterations * 2 * net.W.size * _seconds_of_a_reference_loss(net.W, x, t)
    print(f"  {compiled:6.2f} s by the loop compiled around the whole loss (a projection from 5 gradients)")
    print(f"  {plain:6.2f} s by the plain NumPy reference (a projection from 50 evaluations of its loss)")
    return Training(accuracy, losses, net.W)


def draw(directory: Path, training: Training) -> None:
    """Write the pictures of the chapter and of the training to `directory`.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    OSError
        If a file cannot be written.
    """
    from .. import plotting

    box, start, rates = (-5.0, 5.0), np.array([-3.0, 4.0]), (0.1, 10.0, 1e-10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the chapter has shown them
        paths = {lr: descent_path(function_2, start, lr, 100) for lr in rates}
    square: dict[str, Any] = {"size": (6.0, 5.5)}
    pictures: dict[str, tuple[Callable[[Any], object], dict[str, Any]]] = {
        "tangents": (lambda ax: plotting.plot_tangent(function_1, [5, 10], xlim=(0, 20), ax=ax), {}),
        "secants": (lambda ax: plotting.plot_tangent(np.exp, 0.5, xlim=(-1, 2), h=0.8, ax=ax), {}),
        "gradient_field": (lambda ax: plotting.plot_gradient_field(function_2, (-2, 2), (-2, 2), ax=ax), square),
        "surface": (
            lambda ax: plotting.plot_surface(function_2, (-3, 3), (-3, 3), ax=ax),
            square | {"projection": "3d"},
        ),
        "descent": (
            lambda ax: plotting.plot_descent(function_2, paths, xlim=box, ylim=box, ax=ax),
            {"size": (10.5, 3.2), "panels": len(paths)},
        ),
        "loss": (lambda ax: plotting.plot_loss(training.losses, ax=ax), {}),
        "weights": (lambda ax: plotting.plot_weights(training.weights, (8, 8), ax=ax), {}),
    }
    directory.mkdir(parents=True, exist_ok=True)
    for name, (draw_on, options) in pictures.items():
        write_picture(directory / f"{name}.png", draw_on, **options)
    print(f"\n{len(pictures)} pictures in {directory}: {', '.join(pictures)}")


def load_digits() -> tuple[Digits, Digits]:
    """Return 1,437 training and 360 test digits, shuffled by a fixed seed: pixels from 0 to 1, and labels."""
    with resources.files("numgrad").joinpath("data", "digits.npz").open("rb") as file, np.load(file) as data:
        images, labels = data["images"] / 16.0, data["labels"].astype(np.intp)
    order = np.random.default_rng(0).permutation(len(images))
    train, test = np.split(order, [1437])
    return (images[train], labels[train]), (images[test], labels[test])


def _batches(digits: Digits, size: int) -> Iterator[Digits]:
    """Yield random batches without end."""
    rng = np.random.default_rng(0)
    while True:
        chosen = rng.choice(len(digits[0]), size, replace=False)
        yield digits[0][chosen], digits[1][chosen]


def _seconds_of_a_compiled_gradient(
    weights: NDArray[np.float64], x: NDArray[np.float64], t: NDArray[np.intp], workers: int
) -> float:
    from ..softmax_layer import loss

    args = (np.ascontiguousarray(x.T), t)
    numerical_gradient(loss, weights, args=args, workers=workers)  # compiles
    return _seconds(lambda: numerical_gradient(loss, weights, args=args, workers=workers), 5)


def _seconds_of_a_reference_loss(weights: NDArray[np.float64], x: NDArray[np.float64], t: NDArray[np.intp]) -> float:
    net = reference.SimpleNet((1, 1))
    net.W = weights
    return _seconds(lambda: net.loss(x, t), 50)


def _seconds(work: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)
