"""train: the book's loop over mini-batches, by numerical gradients or by backpropagation."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from . import driver
from .arguments import finite_real, real_array, whole_number
from .driver import Progress
from .loops import Floats, Indices

__all__ = ["History", "train"]

_GRADIENTS = {"numerical": "numerical_gradient", "backprop": "gradient"}  # the method of the net


class History(NamedTuple):
    """What a training was like: the loss of each mini-batch after its update, and accuracies at the end of epochs.

    Attributes
    ----------
    losses : ndarray
        One for each iteration.
    iterations : ndarray of int
        Iterations done when each accuracy was taken: at the start, after each epoch, and at the end.
    train_accuracies, test_accuracies : ndarray
        Fractions of all training and test samples.

    Examples
    --------
    >>> import numpy as np
    >>> from numgrad import History
    >>> History(np.array([0.7]), np.array([0, 1]), np.array([0.5, 1.0]), np.array([0.5, 0.9])).test_accuracies[-1]
    np.float64(0.9)
    """

    losses: Floats
    iterations: Indices
    train_accuracies: Floats
    test_accuracies: Floats


def train(
    net: Any,
    x: ArrayLike,
    t: ArrayLike,
    x_test: ArrayLike,
    t_test: ArrayLike,
    *,
    epochs: int | None = None,
    iterations: int | None = None,
    batch_size: int = 100,
    lr: float = 0.1,
    gradient: str = "numerical",
    progress: Progress = False,
    rng: Any = None,
) -> History:
    """Train a net by gradient descent on random mini-batches, in place.

    Parameters
    ----------
    net : TwoLayerNet, MultiLayerNet or alike
        A net with a dict `params` of arrays, which are updated in place, with ``loss(x, t)``, ``accuracy(x, t)`` and
        the gradient that is asked for, which returns a dict with the keys of `params`.
    x, t : array_like
        The training samples, of shape (samples, features), and their labels.
    x_test, t_test : array_like
        The samples and labels that are kept for the test.
    epochs, iterations : int, optional
        How long: one of the two. An epoch has as many iterations as there are whole batches in `x`, one at least.
    batch_size : int, default 100
        Samples of a mini-batch, drawn with replacement.
    lr : float, default 0.1
        Learning rate.
    gradient : {'numerical', 'backprop'}, default 'numerical'
        Whether ``net.numerical_gradient(x, t)`` or ``net.gradient(x, t)`` is followed.
    progress : bool or callable, default False
        As for `numerical_gradient`, over iterations.
    rng : numpy.random.Generator or seed, optional
        What chooses the batches. Without it, `numpy.random.choice` does, as in the book.

    Returns
    -------
    History
        Losses and accuracies; `plotting.plot_training` draws them.

    Raises
    ------
    TypeError, ValueError
        If not one of `epochs` and `iterations` is given, if a number is out of range, if `x` and `t` differ in length,
        or as the net's methods.

    References
    ----------
    Saitoh, K., *Deep Learning from Scratch*, O'Reilly, section 4.5.2.

    Examples
    --------
    >>> import numpy as np
    >>> from numgrad import TwoLayerNet, train
    >>> x, t = np.random.default_rng(0).standard_normal((200, 2)), np.arange(200) % 2
    >>> x[t == 1] += 3.0
    >>> history = train(TwoLayerNet(2, 4, 2, rng=0), x, t, x, t, iterations=200, lr=1.0, rng=0)
    >>> bool(history.test_accuracies[-1] > 0.95)
    True
    """
    if not (hasattr(net, "params") and hasattr(net, _GRADIENTS.get(gradient, "params"))):
        raise TypeError(f"net must have a dict params and its gradient, as TwoLayerNet has, got {type(net).__name__}")
    rows, labels, lr = real_array(x), np.asarray(t), finite_real("lr", lr)
    if len(rows) != len(labels):
        raise ValueError(f"x and t must have one length, got {len(rows)} and {len(labels)}")
    if gradient not in _GRADIENTS:
        raise ValueError(f"gradient must be 'numerical' or 'backprop', got {gradient!r}")
    if (epochs is None) == (iterations is None):
        raise ValueError("train takes either epochs or iterations; pass one of them")
    size = whole_number("batch_size", batch_size, 1)
    epoch = max(1, len(rows) // size)
    total = whole_number("iterations", iterations, 0) if epochs is None else epoch * whole_number("epochs", epochs, 0)
    driver.check_progress(progress)
    choice = np.random.choice if rng is None else np.random.default_rng(rng).choice
    losses, scores = np.empty(total), list[tuple[int, float, float]]()
    with driver.reporting(progress, total, "iteration") as report:
        for k in range(total + 1):
            if k % epoch == 0 or k == total:
                scores.append((k, net.accuracy(rows, labels), net.accuracy(x_test, t_test)))
            if k == total:
                break
            batch = choice(len(rows), size)
            slopes = getattr(net, _GRADIENTS[gradient])(rows[batch], labels[batch])
            for key, array in net.params.items():
                array -= lr * slopes[key]
            losses[k] = net.loss(rows[batch], labels[batch])
            if report:
                report(k + 1, f"loss {losses[k]:.3g}")
    at, *accuracies = (np.array(column) for column in zip(*scores, strict=True))
    return History(losses, at, *accuracies)
