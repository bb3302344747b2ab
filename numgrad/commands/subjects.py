"""What is profiled, layers, nets and functions of one's own, and the routes to their derivatives."""

from __future__ import annotations

import contextlib
import importlib
import time
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import numgrad

from .. import reference
from ..arguments import describe, is_compiled, raise_argument_changed, real_array, real_number
from ..containers import flat_of
from ..display import DURATIONS, with_unit
from ..functions import slopes_of
from ..points import is_unchanged, native_copy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..loops import Floats

__all__: list[str] = []  # nothing here is public

# The functions of this package for each derivative; the latter gives what the errors are measured against.
_KINDS: dict[str, Any] = {
    "gradient": (numgrad.numerical_gradient, numgrad.estimate_gradient),
    "Jacobian": (numgrad.numerical_jacobian, numgrad.estimate_jacobian),
    "Hessian": (numgrad.numerical_hessian, numgrad.estimate_hessian),
}
# Evaluations for each pair of coordinates that the Hessian of one route takes, with its estimate and its repeats.
_TIMES = 12


class Route(NamedTuple):
    """A way to the gradient: ``gradient(count)`` gives the first so many partial derivatives of the flat weights."""

    name: str
    gradient: Callable[[int], Floats]
    whole: bool = False  # all weights come at once
    scratch: int = 0  # bytes that compiled code allocates, out of sight of tracemalloc


def _in_place(
    name: str, derivative: Callable[..., Any], f: Callable[..., Any], flat: Floats, *steps: float, whole: bool = False
) -> Route:
    """Return the route by a function of this package that perturbs the memory that `f` reads."""
    return Route(name, lambda count: np.ravel(derivative(f, flat[:count], *steps)), whole)


class Layer:
    """A linear softmax layer with random weights and data, its backprop, and the exact gradient of its loss."""

    def __init__(self, features: int, classes: int, batch: int) -> None:
        rng = np.random.default_rng(0)
        self.net = numgrad.simpleNet((features, classes), rng=rng)
        self.net.W /= np.sqrt(features)
        self.shape, self.flat, self.title = (features, classes), self.net.W.reshape(-1), f"{features} x {classes}"
        self.x, self.t = rng.uniform(0, 1, (batch, features)), rng.integers(0, classes, batch)
        self.one_hot = np.eye(classes)[self.t]

    def backprop(self) -> Floats:
        """Return the gradient of the loss without its offset, as a backprop in NumPy does."""
        p = self.x @ self.net.W
        p -= p.max(axis=1, keepdims=True)
        np.exp(p, out=p)
        p /= p.sum(axis=1, keepdims=True)
        p -= self.one_hot
        return self.x.T @ p / len(self.x)

    def exact(self, _: int = 0) -> Floats:
        """Return the gradient of the loss with its offset."""
        return self.x.T @ slopes_of(self.x @ self.net.W, self.t)

    def routes(self, h: float, workers: int, peers: bool) -> Iterator[Route]:
        """Yield the routes of this package, of peers, and of backpropagation."""
        from ..objectives.softmax import loss

        net, x, t, twin = self.net, self.x, self.t, reference.SimpleNet((1, 1))
        twin.W = net.W
        args = np.ascontiguousarray(x.T), t.astype(np.intp)

        def value(_: object = None) -> float:
            return net.loss(x, t)

        def by(objective: Callable[[], Any], count: int, **options: Any) -> Floats:
            chosen = None if count == net.W.size else np.arange(count)
            # The objective is made anew for each gradient, so that what it prepares is measured too.
            found = numgrad.numerical_gradient(objective(), net.W, h, coordinates=chosen, workers=workers, **options)
            return np.ravel(found)

        yield _in_place("NumPy reference", reference.numerical_gradient, lambda _: twin.loss(x, t), self.flat, h)
        yield _in_place("Python callable", numgrad.numerical_gradient, value, self.flat, h)
        yield Route("compiled", partial(by, lambda: loss, args=args), scratch=2 * self.one_hot.nbytes * workers)
        yield Route("incremental", partial(by, lambda: net.objective(x, t)))
        yield from peer_routes(value, self.flat) if peers else ()
        yield Route("NumPy backprop", lambda _: self.backprop().reshape(-1), whole=True)


class Network:
    """A net of the given sizes with random weights and data: sigmoids for one hidden layer, ReLUs for more."""

    def __init__(self, sizes: tuple[int, ...], batch: int) -> None:
        rng = np.random.default_rng(0)
        first, *hidden, last = sizes
        kind: Any = ("sigmoid", 0.01) if len(hidden) == 1 else ("relu", "relu")  # the first is TwoLayerNet
        self.net = numgrad.MultiLayerNet(first, hidden, last, *kind, rng=rng)
        self.shape, self.flat, self.title = sizes, self.net.flat, "-".join(map(str, sizes))
        self.x, self.t = rng.uniform(0, 1, (batch, first)), rng.integers(0, last, batch)

    def exact(self, _: int = 0) -> Floats:
        """Return the gradient by backpropagation, of all parameters in turn."""
        return flat_of(self.net.gradient(self.x, self.t))

    def routes(self, h: float, workers: int, peers: bool) -> Iterator[Route]:  # noqa: ARG002, they would take hours
        """Yield the routes of this package, and of backpropagation."""
        net, x, t = self.net, self.x, self.t
        yield _in_place("NumPy reference", reference.numerical_gradient, lambda _: net.loss(x, t), self.flat, h)
        yield _in_place("Python callable", numgrad.numerical_gradient, lambda _: net.loss(x, t), self.flat, h)
        yield Route("layers", lambda _: flat_of(net.numerical_gradient(x, t, h, workers=workers)), whole=True)
        yield Route("NumPy backprop", self.exact, whole=True)


class Function:
    """A function of one's own at a point: its gradient, Jacobian or Hessian."""

    def __init__(self, name: str, f: Callable[..., Any], x: NDArray[Any], kind: str) -> None:
        self.f, self.x, self.kind, self.title = f, np.array(x, order="C"), kind, f"{kind} of {name}"
        self.plain: Callable[..., Any] = getattr(f, "py_func", f)
        self.shape, self.flat = x.shape, self.x.reshape(-1)
        self.numerical, estimate = _KINDS[kind]
        # The derivative by the first so many coordinates with error bars, which are small.
        self.exact: Callable[[int], Floats] = cache(lambda count: self._finite(estimate(self.value, self.flat[:count])))

    def _finite(self, estimate: Any) -> Floats:
        if self.kind != "Hessian" and not np.isfinite(estimate.value).all():  # that of a good gradient may be infinite
            raise ValueError(f"the {self.title} is not finite there, so that no error can be measured; move --at")
        return estimate.value  # type: ignore[no-any-return]

    def value(self, _: object = None) -> Any:
        """Return f at the point, by Python."""
        return self.plain(self.x)

    def routes(self, h: float, workers: int, peers: bool) -> Iterator[Route]:
        """Yield the routes of this package, and of peers."""
        is_gradient, of_pairs, size = self.kind == "gradient", self.kind == "Hessian", self.flat.size
        steps = [] if of_pairs else [h]

        def by_compiled(count: int) -> Floats:
            chosen = {"coordinates": np.arange(count)} if is_gradient and count < size else {}
            return np.ravel(self.numerical(self.f, self.x, *steps, workers=workers, **chosen))

        if is_gradient:
            yield _in_place("NumPy reference", reference.numerical_gradient, self.value, self.flat, *steps)
        yield _in_place("Python callable", self.numerical, self.value, self.flat, *steps, whole=of_pairs)
        if is_compiled(self.f):
            yield Route("compiled", by_compiled, whole=not is_gradient)
        yield from peer_routes(self.value, self.flat, self.kind) if peers else ()


def functions(name: str, f: Callable[..., Any], x: NDArray[Any], budget: float) -> Iterator[Function]:
    """Yield the gradient and the Hessian of a scalar f, if the budget in seconds has room for it; else the Jacobian.

    Raises
    ------
    TypeError, ValueError
        If `f` writes to its argument, or returns anything but finite real numbers.
    """
    saved, began = native_copy(x), time.perf_counter()
    value = getattr(f, "py_func", f)(x)
    seconds = _TIMES * x.size * (x.size + 1) * (time.perf_counter() - began)
    if x.shape != saved.shape or not is_unchanged(x, saved):
        raise_argument_changed()
    is_scalar = not isinstance(value, list | tuple) and np.ndim(value) == 0
    numbers = np.asarray(real_number(value)) if is_scalar else real_array(value, "what f returns")
    if not (numbers.size and np.isfinite(numbers).all()):
        raise ValueError(f"f must return finite numbers at the point, it returned {describe(value)}")
    yield Function(name, f, x, "gradient" if is_scalar else "Jacobian")
    if is_scalar and seconds <= budget:
        yield Function(name, f, x, "Hessian")
    elif is_scalar:
        print(f"no Hessian of {name}: it would take {with_unit(seconds, DURATIONS)}, see --budget")


Subject = Layer | Network | Function


def of_shapes(shapes: Iterable[tuple[int, ...]], batch: int) -> Iterator[Subject]:
    """Yield the layer of each pair of sizes, and the net of more; MemoryError if one is too large."""
    for shape in shapes:
        try:
            subject: Subject = Layer(*shape, batch) if len(shape) == 2 else Network(shape, batch)
        except (MemoryError, ValueError):
            name = " x ".join(map(str, shape))
            raise MemoryError(f"a layer of {name} at batch {batch} does not fit into memory") from None
        yield subject


def peer_routes(value: Callable[[], Any], memory: Floats, kind: str = "gradient") -> Iterator[Route]:
    """Yield the routes through other packages, with their own defaults; each sees the elements that are asked for.

    `value` returns f at the elements of `memory`.
    """
    start = memory.copy()

    def f(some: Floats) -> Any:
        memory[: some.size] = some
        return value() if kind != "Jacobian" else np.ravel(value())

    def derivative(call: Callable[[Any, Floats], Any], function: Any, count: int) -> Floats:
        try:
            return np.asarray(call(function, start[:count].copy()), dtype=np.float64).reshape(-1)
        finally:
            memory[:] = start

    calls: list[tuple[str, str, Callable[[Any, Floats], Any]]] = [
        ("numdifftools", kind.capitalize(), lambda derivative_of, w: derivative_of(f)(w)),
        ("scipy.optimize", "approx_fprime", lambda approx_fprime, w: approx_fprime(w, f)),
        ("jacobi", "jacobi", lambda jacobi, w: jacobi(f, w)[0]),
    ]
    for module, name, call in calls[:1] if kind == "Hessian" else calls:  # the others have no Hessian
        with contextlib.suppress(ImportError, AttributeError):  # a folder of that name has no such function
            function = getattr(importlib.import_module(module), name)
            yield Route(module.partition(".")[0], partial(derivative, call, function), whole=kind == "Hessian")
