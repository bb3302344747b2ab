"""What is profiled, layers, nets and functions of one's own, and the routes to their derivatives."""

from __future__ import annotations

import contextlib
import importlib
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import (
    estimate_gradient,
    estimate_hessian,
    estimate_jacobian,
    numerical_gradient,
    numerical_hessian,
    numerical_jacobian,
    reference,
    simpleNet,
)
from ..arguments import is_compiled, real_number
from ..networks import MultiLayerNet, TwoLayerNet
from . import output

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..loops import Floats

__all__: list[str] = []  # nothing here is public

# The functions of this package for each derivative; the latter gives what the errors are measured against.
_KINDS: dict[str, Any] = {
    "gradient": (numerical_gradient, estimate_gradient),
    "Jacobian": (numerical_jacobian, estimate_jacobian),
    "Hessian": (numerical_hessian, estimate_hessian),
}
# Evaluations for each pair of coordinates that the Hessian of one route takes, with its estimate and its repeats.
_TIMES = 12


class Route(NamedTuple):
    """A way to the gradient: ``gradient(count)`` gives the first so many partial derivatives of the flat weights."""

    name: str
    gradient: Callable[[int], Floats]
    whole: bool = False  # all weights come at once
    scratch: int = 0  # bytes that compiled code allocates, out of sight of tracemalloc


class Layer:
    """A linear softmax layer with random weights and data, its backprop, and the exact gradient of its loss."""

    def __init__(self, features: int, classes: int, batch: int) -> None:
        rng = np.random.default_rng(0)
        self.net = simpleNet((features, classes), rng=rng)
        self.net.W /= np.sqrt(features)
        self.shape, self.size, self.outputs = (features, classes), self.net.W.size, 1
        self.title = f"{features} x {classes}"
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
        """Return the gradient of the loss with its offset, which weighs each sample by p_label / (p_label + 1e-7)."""
        p = reference.softmax(self.x @ self.net.W)
        label = p[np.arange(len(p)), self.t][:, None]
        return self.x.T @ ((p - self.one_hot) * label / (label + 1e-7)) / len(p)


class Network:
    """A net of the given sizes with random weights and data: sigmoids for one hidden layer, ReLUs for more."""

    def __init__(self, sizes: tuple[int, ...], batch: int) -> None:
        rng = np.random.default_rng(0)
        first, *hidden, last = sizes
        if len(hidden) == 1:
            self.net: MultiLayerNet = TwoLayerNet(first, hidden[0], last, rng=rng)
        else:
            self.net = MultiLayerNet(first, hidden, last, rng=rng)
        self.shape, self.size, self.outputs = sizes, self.net.flat.size, 1
        self.title = "-".join(map(str, sizes))
        self.x, self.t = rng.uniform(0, 1, (batch, first)), rng.integers(0, last, batch)

    def exact(self, _: int = 0) -> Floats:
        """Return the gradient by backpropagation, of all parameters in turn."""
        return _joined(self.net.gradient(self.x, self.t))

    def gradients(self, h: float, workers: int) -> dict[str, tuple[Any, bool]]:
        """Return what gives the first so many partial derivatives, and whether all come at once, by route."""
        net, x, t = self.net, self.x, self.t

        def by_reference(count: int) -> Floats:
            return reference.numerical_gradient(lambda _: net.loss(x, t), net.flat[:count], h)

        def by_callable(count: int) -> Floats:
            found: Floats = numerical_gradient(lambda _: net.loss(x, t), net.flat, h, coordinates=np.arange(count))
            return found

        by_layers = partial(net.numerical_gradient, x, t, h, workers=workers)
        return {
            "NumPy reference": (by_reference, False),
            "Python callable": (by_callable, False),
            "layers": (lambda _: _joined(by_layers()), True),
            "NumPy backprop": (lambda _: self.exact(), True),
        }


def _joined(slopes: dict[str, Any]) -> Floats:
    return np.concatenate([array.reshape(-1) for array in slopes.values()])


class Function:
    """A function of one's own at a point: its gradient, Jacobian or Hessian."""

    def __init__(self, name: str, f: Callable[..., Any], x: NDArray[Any], kind: str) -> None:
        self.f, self.x, self.kind, self.title = f, np.ascontiguousarray(x), kind, f"{kind} of {name}"
        self.plain: Callable[..., Any] = getattr(f, "py_func", f)
        self.shape, self.size, self.flat = x.shape, x.size, self.x.reshape(-1)
        self.outputs = int(np.size(self.value())) if kind == "Jacobian" else 1
        self.numerical, self.estimate = _KINDS[kind]
        self.known: dict[int, Floats] = {}

    def value(self, _: object = None) -> Any:
        """Return f at the point, by Python."""
        return self.plain(self.x)

    def exact(self, count: int) -> Floats:
        """Return the derivative by the first so many coordinates with error bars, which are small."""
        if count not in self.known:
            self.known[count] = self.estimate(self.value, self.flat[:count]).value
        return self.known[count]

    def routes(self, h: float, workers: int) -> Iterator[Route]:
        """Yield the routes of this package."""
        of_pairs = self.kind == "Hessian"
        options: dict[str, Any] = {} if of_pairs else {"h": h}

        def by_reference(count: int) -> Floats:
            return reference.numerical_gradient(self.value, self.flat[:count], h)

        def by_callable(count: int) -> Floats:
            return np.ravel(self.numerical(self.value, self.flat[:count], **options))

        def by_compiled(count: int) -> Floats:
            chosen = {"coordinates": np.arange(count)} if self.kind == "gradient" and count < self.size else {}
            return np.ravel(self.numerical(self.f, self.x, workers=workers, **options, **chosen))

        if self.kind == "gradient":
            yield Route("NumPy reference", by_reference)
        yield Route("Python callable", by_callable, whole=of_pairs)
        if is_compiled(self.f):
            yield Route("compiled", by_compiled, whole=self.kind != "gradient")


def functions(name: str, f: Callable[..., Any], x: NDArray[Any], budget: float) -> Iterator[Function]:
    """Yield the gradient and the Hessian of a scalar f, if the budget in seconds has room for it; else the Jacobian."""
    began, value = time.perf_counter(), getattr(f, "py_func", f)(x)
    seconds = _TIMES * x.size * (x.size + 1) * (time.perf_counter() - began)
    if is_scalar := np.ndim(value) == 0:
        real_number(value)
    yield Function(name, f, x, "gradient" if is_scalar else "Jacobian")
    if is_scalar and seconds <= budget:
        yield Function(name, f, x, "Hessian")
    elif is_scalar:
        print(f"no Hessian of {name}: it would take {output.with_unit(seconds, output.DURATIONS)}, see --budget")


Subject = Layer | Network | Function


def routes(layer: Subject, h: float, workers: int, peers: bool = False) -> list[Route]:
    """Return the routes to the derivative, that which others are compared with first; of `peers`, those installed."""
    if isinstance(layer, Function):
        others = peer_routes(layer.value, layer.flat, layer.kind) if peers else ()
        return [*layer.routes(h, workers), *others]
    if isinstance(layer, Network):
        return [Route(name, *route) for name, route in layer.gradients(h, workers).items()]
    from ..objectives.softmax import loss

    net, x, t, twin = layer.net, layer.x, layer.t, reference.SimpleNet((1, 1))
    W = twin.W = net.W  # noqa: N806
    args = (np.ascontiguousarray(x.T), t.astype(np.intp))
    scratch = 2 * layer.one_hot.nbytes * workers

    def by(objective: Callable[[], Any], count: int, **options: Any) -> Floats:
        chosen = None if count == W.size else np.arange(count)
        # The objective is made anew for each gradient, so that what it prepares is measured too.
        return np.ravel(numerical_gradient(objective(), W, h, coordinates=chosen, **options))

    def by_reference(count: int) -> Floats:
        # A part of W is a view of it, so that W itself is perturbed.
        return reference.numerical_gradient(lambda _: twin.loss(x, t), W.reshape(-1)[:count], h)

    return [
        Route("NumPy reference", by_reference),
        Route("Python callable", partial(by, lambda: lambda _: net.loss(x, t))),
        Route("compiled", partial(by, lambda: loss, args=args, workers=workers), scratch=scratch),
        Route("incremental", partial(by, lambda: net.objective(x, t), workers=workers)),
        *(peer_routes(lambda: net.loss(x, t), W.reshape(-1)) if peers else ()),
        Route("NumPy backprop", lambda _: layer.backprop().reshape(-1), whole=True),
    ]


def peer_routes(value: Callable[[], Any], memory: Floats, kind: str = "gradient") -> Iterator[Route]:
    """Yield the routes through other packages, with their own defaults; each sees the elements that are asked for.

    `value` returns f at the elements of `memory`.
    """
    start = memory.copy()

    def f(some: Floats) -> Any:
        memory[: some.size] = some
        return value() if kind != "Jacobian" else np.ravel(value())

    def derivative(call: Callable[[Any, Floats], Any], package: Any, count: int) -> Floats:
        try:
            return np.asarray(call(package, start[:count].copy()), dtype=np.float64).reshape(-1)
        finally:
            memory[:] = start

    calls: dict[str, Callable[[Any, Floats], Any]] = {
        "numdifftools": lambda package, w: getattr(package, kind.capitalize())(f)(w),
    }
    if kind != "Hessian":
        calls["scipy.optimize"] = lambda package, w: package.approx_fprime(w, f)
        calls["jacobi"] = lambda package, w: package.jacobi(f, w)[0]
    for module, call in calls.items():
        with contextlib.suppress(ImportError):
            package = partial(derivative, call, importlib.import_module(module))
            yield Route(module.partition(".")[0], package, whole=kind == "Hessian")
