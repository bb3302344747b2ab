"""Train the book's net of two layers on digits by numerical gradients: ``python two_layer_net.py [ITERATIONS]``.

It ends with a check of the net's backprop, of all weights.
"""

import sys
import time

from numgrad import TwoLayerNet, check_gradient, train
from numgrad.commands.demo import load_digits


def main():
    """Train, and print the accuracy after each epoch of 14 iterations."""
    iterations = int(sys.argv[1]) if len(sys.argv) > 1 else 280
    (x, t), (x_test, t_test) = load_digits()
    net = TwoLayerNet(64, 50, 10, rng=0)
    began = time.perf_counter()
    history = train(net, x, t, x_test, t_test, iterations=iterations, lr=1.0, gradient="numerical", rng=0)
    seconds = time.perf_counter() - began
    for done, accuracy in zip(history.iterations, history.test_accuracies, strict=True):
        print(f"iteration {done:4}   test accuracy {accuracy:.3f}")
    print(f"{seconds:.1f} s; each iteration took all {net.flat.size:,} central differences of the loss of 100 images")
    print(check_gradient(net.objective(x[:100], t[:100]), net.gradient(x[:100], t[:100]), net.params))


if __name__ == "__main__":
    main()
