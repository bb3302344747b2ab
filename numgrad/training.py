"""train: the book's loop over mini-batches, by numerical gradients or by backpropagation."""

from __future__ import annotations

from collections.abc import Mapping
from operator import isub
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import driver
from .arguments import describe, finite_real, plain_numbers, random_generator, real_array, real_number, whole_number
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
    progress: driver.Progress = False,
    rng: Any = None,
) -> History:
    """Train a net by gradient descent on random mini-batches, in place.

    Parameters
    ----------
    net : TwoLayerNet, MultiLayerNet or alike
        A net with a dict `params` of writable arrays of floats, which are updated in place, with ``loss(x, t)``,
        ``accuracy(x, t)`` and the gradient that is asked for: a dict with the keys of `params` and arrays of their
        shapes. An array of `params` may be replaced by another one, also while the net is trained.
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
        If not one of `epochs` and `iterations` is given, if a number is out of range, if `x` and `t` differ in length
        or are empty, or as the net's methods. If a parameter is no writable array of floats, or if the gradient has
        other keys or shapes: no parameter is changed then by that iteration.

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
    (rows, labels), lr = _checked(net, x, t, gradient), finite_real("lr", lr)
    if (epochs is None) == (iterations is None):
        raise ValueError("train takes either epochs or iterations; pass one of them")
    size = whole_number("batch_size", batch_size, 1)
    epoch = max(1, len(rows) // size)
    total = whole_number("iterations", iterations, 0) if epochs is None else epoch * whole_number("epochs", epochs, 0)
    driver.check_progress(progress)
    choice = np.random.choice if rng is None else random_generator(rng).choice
    losses, scores = np.empty(total), list[tuple[int, float, float]]()
    with driver.reporting(progress, total, "iteration") as report:
        for k in range(total + 1):
            if k % epoch == 0 or k == total:
                seen, new = net.accuracy(rows, labels), net.accuracy(x_test, t_test)
                scores.append((k, _number(seen, "accuracy"), _number(new, "accuracy")))
            if k == total:
                break
            batch = choice(len(rows), size)
            slopes = getattr(net, _GRADIENTS[gradient])(rows[batch], labels[batch])
            _update(net.params, slopes, lr)
            losses[k] = _number(net.loss(rows[batch], labels[batch]), "loss")
            if report:
                report(k + 1, f"loss {losses[k]:.3g}")
    return History(losses, *(np.array(column) for column in zip(*scores, strict=True)))


def _number(value: Any, name: str) -> float:
    """Return what a method of a net returned as a number; TypeError if it is none."""
    try:
        return real_number(value)
    except TypeError as error:
        raise TypeError(str(error).replace("f must", f"net.{name} must", 1)) from None


def _checked(net: Any, x: ArrayLike, t: ArrayLike, gradient: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return samples and labels, after checking that a net can be trained on them."""
    if not isinstance(gradient, str) or gradient not in _GRADIENTS:
        kind = ValueError if isinstance(gradient, str) else TypeError
        raise kind(f"gradient must be 'numerical' or 'backprop', got {describe(gradient)}")
    if not (isinstance(getattr(net, "params", None), Mapping) and hasattr(net, _GRADIENTS[gradient])):
        raise TypeError(f"net must have a dict params and its gradient, as TwoLayerNet has, got {type(net).__name__}")
    if not (hasattr(net, "loss") and hasattr(net, "accuracy")):
        raise TypeError(f"net must have loss(x, t) and accuracy(x, t), got {type(net).__name__}")
    try:
        rows, labels = np.atleast_1d(real_array(x)), np.atleast_1d(t)
    except ValueError as error:
        raise ValueError("x and t must be rectangular arrays, but their rows differ in length") from error
    if labels.dtype.kind == "O":
        raise TypeError(f"t must be an array of labels, one for each row of x, got {describe(t)}")
    if len(rows) != len(labels):
        raise ValueError(f"x and t must have one length, got {len(rows)} and {len(labels)}")
    if not len(rows):
        raise ValueError("x must hold at least one sample, got none")
    _check_trainable(net.params)
    return rows, labels


def _check_trainable(params: Mapping[str, Any]) -> None:
    """Raise a TypeError unless all parameters can be updated in place."""
    for key, array in params.items():
        is_floating = isinstance(array, np.ndarray) and array.dtype.kind == "f"
        if not (is_floating and array.flags.writeable):
            got = "a read-only array" if is_floating else describe(array)
            rule = f"params[{key!r}] must be a writable array of floats, which is trained in place"
            raise TypeError(f"{rule}, got {got}; put np.array(value, dtype=float) in its place")


def _update(params: Mapping[str, Any], slopes: Any, lr: float) -> None:
    """Take lr times the slopes from the parameters, from all or from none."""
    _check_trainable(params)  # again, since net and progress may replace arrays
    names = ", ".join(map(str, params))
    if not isinstance(slopes, Mapping):
        raise TypeError(f"the gradient must be a dict with the keys of params, {names}, got {describe(slopes)}")
    if set(slopes) != set(params):
        raise ValueError(f"the gradient must have the keys of params, {names}, got {', '.join(map(str, slopes))}")
    found = {key: plain_numbers(slopes[key], f"the gradient of {key}") for key in params}
    for key, array in params.items():
        if found[key].shape != array.shape:
            raise ValueError(f"the gradient of {key} must have its shape {array.shape}, got {found[key].shape}")
    with np.errstate(all="ignore"):
        steps = [lr * found[key] for key in params]
        list(map(isub, params.values(), steps))  # one call of C, in which no Ctrl-C can come between
