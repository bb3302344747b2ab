"""The command line: ``python -m numgrad demo`` walks through the chapter and trains on real digits."""

import argparse
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import function_1, function_2, gradient_descent, numerical_diff, numerical_gradient, reference, simpleNet

Digits = tuple[NDArray[np.float64], NDArray[np.intp]]

_LESSONS = [
    (0.1, "arrives at the minimum (0, 0)"),
    (10.0, "too large: every update overshoots, and the point flies away"),
    (1e-10, "too small: after 100 updates the point has hardly moved"),
]


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        show_chapter()
        train_digits(options.iterations, options.batch, options.workers)
    except KeyboardInterrupt:
        print("\ninterrupted")
        return 130
    except BrokenPipeError:  # the reader, such as head, has seen enough; let the exit not try to flush again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m numgrad", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    demo = commands.add_parser("demo", help="walk through the chapter, then train on handwritten digits")
    demo.add_argument("--iterations", type=_positive, default=300, help="updates of the digits' weights (%(default)s)")
    demo.add_argument("--batch", type=_positive, default=100, help="images a gradient (%(default)s)")
    demo.add_argument("--workers", type=_positive, default=_cores(), help="threads (%(default)s, one a core)")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


_positive.__name__ = "positive integer"  # what argparse calls the type in its errors


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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


def train_digits(iterations: int, batch: int, workers: int) -> float:
    """Train a 64 x 10 net on the digits with numerical gradients only, and return its accuracy on the test images."""
    train, test = load_digits()
    print(f"\nTraining 64 x 10 weights on {len(train[0])} handwritten digits, {len(test[0])} kept for the test;")
    print(f"each of {iterations} updates takes all 640 central differences of the loss of {batch} images,")
    print(f"compiled, on {workers} thread{'s' * (workers > 1)}.")
    loss, net = compiled_loss(), simpleNet((64, 10), rng=0)
    began = time.perf_counter()
    for iteration, (x, t) in zip(range(1, iterations + 1), _batches(train, batch), strict=False):
        gradient_descent(loss, net.W, lr=0.5, step_num=1, args=(np.ascontiguousarray(x.T), t), workers=workers)
        if iteration % max(1, iterations // 10) == 0:
            print(
                f"  iteration {iteration:4}   loss {net.loss(*train):.4f}   test accuracy {net.accuracy(*test):.3f}   "
                f"{time.perf_counter() - began:5.1f} s",
                flush=True,
            )
    taken, accuracy = time.perf_counter() - began, net.accuracy(*test)
    projected = iterations * 2 * net.W.size * _seconds_of_reference_loss(net.W, *next(_batches(train, batch)))
    print(f"Test accuracy {accuracy:.3f} after {taken:.1f} s, compilation included.")
    print(f"The plain NumPy reference would take {projected:.0f} s (a projection from 50 evaluations of its loss).")
    return accuracy


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
        chosen = rng.choice(len(digits[0]), min(size, len(digits[0])), replace=False)
        yield digits[0][chosen], digits[1][chosen]


def compiled_loss() -> Callable[..., float]:
    """Return the compiled ``loss(W, pixels, t)`` of a linear softmax layer, for ``args=(pixels, t)``.

    `pixels` has the shape (features, batch): the inner loop then runs along memory and uses the vector unit.
    """
    from numba import njit

    from .softmax_layer import softmax_cross_entropy

    @njit()
    def loss(W: NDArray[np.float64], pixels: NDArray[np.float64], t: NDArray[np.intp]) -> Any:  # noqa: N803
        features, classes = W.shape
        logits = np.zeros((classes, pixels.shape[1]))
        for i in range(features):
            for j in range(classes):
                for b in range(pixels.shape[1]):
                    logits[j, b] += W[i, j] * pixels[i, b]
        return softmax_cross_entropy(logits.T.copy(), t)

    return loss


def _seconds_of_reference_loss(weights: NDArray[np.float64], x: NDArray[np.float64], t: NDArray[np.intp]) -> float:
    net, times = reference.SimpleNet((1, 1)), []
    net.W = weights
    for _ in range(50):
        began = time.perf_counter()
        net.loss(x, t)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


if __name__ == "__main__":
    sys.exit(main())
