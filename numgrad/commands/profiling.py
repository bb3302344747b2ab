"""What the gradient of a layer's weights costs by each route: ``python -m numgrad profile``."""

import contextlib
import functools
import json
import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import numerical_diff, numerical_gradient, reference, simpleNet
from ..schemes import SCHEMES
from .output import (
    check_format,
    check_writable,
    format_duration,
    format_size,
    machine,
    plot_profile,
    plot_steps,
    status_line,
    write_picture,
    write_whole,
)

Floats = NDArray[np.float64]

_SAMPLE = 16  # coordinates in the measurement of memory, which slows Python down
_COLUMNS = "{:18}{:>12}{:>14}{:>14}{:>16}{:>12}"


class Layer:
    """A linear softmax layer with random weights and data, its backprop, and the exact gradient of its loss."""

    def __init__(self, features: int, classes: int, batch: int) -> None:
        rng = np.random.default_rng(0)
        self.net = simpleNet((features, classes), rng=rng)
        self.net.W /= np.sqrt(features)
        self.x, self.t = rng.uniform(0, 1, (batch, features)), rng.integers(0, classes, batch)
        self.one_hot = np.eye(classes)[self.t]

    def backprop(self) -> Floats:
        """Return the gradient of the loss without its offset, as a backprop in NumPy does."""
        p = self.x @ self.net.W
        p -= p.max(axis=1, keepdims=True)
        np.exp(p, out=p)
        p /= p.sum(axis=1, keepdims=True)
        p -= self.one_hot
        gradient: Floats = self.x.T @ p / len(self.x)
        return gradient

    def exact(self) -> Floats:
        """Return the gradient of the loss with its offset, which weighs each sample by p_label / (p_label + 1e-7)."""
        p = reference.softmax(self.x @ self.net.W)
        label = p[np.arange(len(p)), self.t][:, None]
        gradient: Floats = self.x.T @ ((p - self.one_hot) * label / (label + 1e-7)) / len(p)
        return gradient


@dataclass(frozen=True)
class Route:
    """A way to the gradient: ``gradient(count)`` gives the first so many partial derivatives of the flat weights."""

    name: str
    gradient: Callable[[int], Floats]
    whole: bool = False  # all weights come at once
    scratch: int = 0  # bytes that compiled code allocates, out of sight of tracemalloc


@dataclass(frozen=True)
class Measurement:
    """What one route cost for one shape: seconds a gradient (the median of `repeats`), peak bytes, largest error."""

    route: str
    shape: tuple[int, int]
    weights: int
    seconds: float
    repeats: int
    coordinates: int  # that were computed; fewer than there are weights make `seconds` a projection
    peak_bytes: int
    largest_error: float
    speed_up: float  # against the NumPy reference

    @property
    def projected(self) -> bool:
        """Tell whether `seconds` was projected from a sample of the coordinates."""
        return self.coordinates < self.weights

    def __str__(self) -> str:
        return _COLUMNS.format(
            self.route,
            "~" * self.projected + format_duration(self.seconds),
            format_duration(self.seconds / self.weights),
            format_size(self.peak_bytes),
            f"{self.largest_error:.1e}",
            f"{self.speed_up:,.3g}x" if self.speed_up < 100 else f"{self.speed_up:,.0f}x",
        )


def routes(layer: Layer, h: float, workers: int, peers: bool = False) -> list[Route]:
    """Return the routes to the gradient of the layer's loss, the NumPy reference first; of `peers`, those installed."""
    from ..softmax_layer import loss

    net, x, t, twin = layer.net, layer.x, layer.t, reference.SimpleNet((1, 1))
    W = twin.W = net.W  # noqa: N806
    compiled_args = (np.ascontiguousarray(x.T), t.astype(np.intp))

    def by(f: Any, **options: Any) -> Callable[[int], Floats]:
        def gradient(count: int) -> Floats:
            chosen = None if count == W.size else np.arange(count)
            return numerical_gradient(f(), W, h, coordinates=chosen, **options).reshape(-1)

        return gradient

    def by_reference(count: int) -> Floats:
        some = W.reshape(-1)[:count]  # a view, so that W itself is perturbed
        return reference.numerical_gradient(lambda _: twin.loss(x, t), some, h)

    return [
        Route("NumPy reference", by_reference),
        Route("Python callable", by(lambda: lambda _: net.loss(x, t))),
        Route(
            "compiled",
            by(lambda: loss, args=compiled_args, workers=workers),
            scratch=2 * layer.one_hot.nbytes * workers,
        ),
        Route("incremental", by(lambda: net.objective(x, t), workers=workers)),
        *(_peer_routes(layer) if peers else ()),
        Route("NumPy backprop", lambda _: layer.backprop().reshape(-1), whole=True),
    ]


def _peer_routes(layer: Layer) -> Iterator[Route]:
    """Yield the routes through other packages, with their own defaults; each sees the weights that are asked for."""
    net, start = layer.net, layer.net.W.reshape(-1).copy()
    numbers = net.W.reshape(-1)

    def loss(some: Floats) -> float:
        numbers[: some.size] = some
        return net.loss(layer.x, layer.t)

    def route(name: str, gradient: Callable[[Floats], Any]) -> Route:
        def first(count: int) -> Floats:
            try:
                return np.asarray(gradient(start[:count].copy()), dtype=np.float64).reshape(-1)
            finally:
                numbers[:] = start

        return Route(name, first)

    with contextlib.suppress(ImportError):
        from scipy.optimize._numdiff import approx_derivative

        yield route("scipy", lambda w: approx_derivative(loss, w, method="3-point"))
    with contextlib.suppress(ImportError):
        import numdifftools

        yield route("numdifftools", lambda w: numdifftools.Gradient(loss)(w))
    with contextlib.suppress(ImportError):
        import jacobi

        yield route("jacobi", lambda w: jacobi.jacobi(loss, w)[0])


def measure(
    route: Route,
    layer: Layer,
    *,
    repeat: int = 5,
    budget: float = 10.0,
    reference_seconds: float | None = None,
    status: Callable[[str], object] = str,
) -> Measurement:
    """Measure one route.

    A gradient that takes longer than `budget` seconds is projected from a sample of its coordinates; repeats end when
    the budget is spent, but one is always made.
    """
    size, exact = layer.net.W.size, layer.exact().reshape(-1)
    status(f"{route.name}: compiling")
    route.gradient(1)
    peak = _peak_bytes(route, size)
    count, seconds = size if route.whole else 1, 0.0
    while count < size:
        seconds = _seconds(route, count)[0]
        if seconds * 20 > budget:
            break
        count = min(size, 4 * count)
    if count < size and seconds / count * size <= budget:
        count = size
    times: list[float] = []
    while len(times) < repeat and (not times or sum(times) + times[-1] <= budget):
        status(f"{route.name}: gradient {len(times) + 1} of {repeat}, {count:,} of {size:,} coordinates")
        seconds, gradient = _seconds(route, count)
        times.append(seconds)
    seconds = statistics.median(times) * size / count
    return Measurement(
        route=route.name,
        shape=layer.net.W.shape,
        weights=size,
        seconds=seconds,
        repeats=len(times),
        coordinates=count,
        peak_bytes=peak,
        largest_error=float(np.abs(gradient - exact[:count]).max()),
        speed_up=(reference_seconds or seconds) / seconds,
    )


def _seconds(route: Route, count: int) -> tuple[float, Floats]:
    began = time.perf_counter()
    gradient = route.gradient(count)
    return max(time.perf_counter() - began, 1e-9), gradient


def _peak_bytes(route: Route, size: int) -> int:
    """Return the peak memory of a whole gradient; only the result grows with the number of coordinates."""
    count = size if route.whole else min(size, _SAMPLE)
    tracemalloc.start()
    try:
        route.gradient(count)
        return tracemalloc.get_traced_memory()[1] + (size - count) * np.dtype(float).itemsize + route.scratch
    finally:
        tracemalloc.stop()


def profile(
    shapes: list[tuple[int, int]],
    batch: int = 100,
    h: float = 1e-4,
    workers: int = 1,
    repeat: int = 5,
    budget: float = 10.0,
    *,
    peers: bool = False,
    json_file: Path | None = None,
    plot_file: Path | None = None,
) -> list[Measurement]:
    """Measure every route for each of `shapes`, print a table as it grows, and write the files.

    Raises
    ------
    OSError
        If a file cannot be written; this is found before anything is measured.
    ImportError
        If `plot_file` is given and matplotlib is not installed; likewise.
    KeyboardInterrupt
        After Ctrl-C, when the files hold what was finished.
    """
    for file in filter(None, (json_file, plot_file)):
        check_writable(file)
    if plot_file is not None:
        check_format(plot_file)
    routes_of = functools.partial(routes, h=h, workers=workers, peers=peers)
    done: list[Measurement] = []
    complete = False
    print(f"{machine()}; batch {batch}, h = {h:g}, {workers} thread{'s' * (workers > 1)}")
    try:
        for shape in shapes:
            _profile_shape(shape, batch, routes_of, done, repeat=repeat, budget=budget)
        complete = True
    finally:
        if json_file is not None:
            settings = {"batch": batch, "h": h, "workers": workers, "repeat": repeat, "budget": budget}
            facts = {"machine": machine(), "complete": complete, "settings": settings}
            rows = [asdict(row) | {"projected": row.projected} for row in done]
            write_whole(json_file, json.dumps(facts | {"measurements": rows}, indent=1).encode() + b"\n")
        if plot_file is not None and done:
            write_picture(plot_file, functools.partial(plot_profile, done), machine())
    return done


def _profile_shape(
    shape: tuple[int, int],
    batch: int,
    routes_of: Callable[[Layer], Iterable[Route]],
    done: list[Measurement],
    **options: Any,
) -> None:
    """Measure the routes for one shape, and append each to `done` and to the printed table."""
    print(f"\n{shape[0]} x {shape[1]}, {shape[0] * shape[1]:,} weights")
    print(_COLUMNS.format("route", "time", "per weight", "peak memory", "largest error", "speed-up"))
    try:
        layer = Layer(*shape, batch)
    except (MemoryError, ValueError):
        raise MemoryError(f"a layer of {shape[0]} x {shape[1]} at batch {batch} does not fit into memory") from None
    first, projected = None, False
    with status_line() as status:
        for route in routes_of(layer):
            row = measure(route, layer, reference_seconds=first, status=status, **options)
            first = first or row.seconds
            done.append(row)
            projected |= row.projected
            status("")
            print(row, flush=True)
    if projected:
        print("~ projected from a sample of the coordinates")


def compare_steps(plot_file: Path | None = None) -> dict[str, list[float]]:
    """Print the relative error of exp' at 1 for steps from 1e-1 to 1e-12 and every scheme, and draw it.

    Raises
    ------
    OSError, ImportError
        As `profile`, for `plot_file`.
    """
    if plot_file is not None:
        check_writable(plot_file)
        check_format(plot_file)
    steps = [10.0**-k for k in range(1, 13)]
    errors = {
        name: [abs(float(numerical_diff(np.exp, 1.0, h, scheme=name)) / np.e - 1) for h in steps]
        for name in (*SCHEMES, "complex")
    }
    print(f"{'h':>8}" + "".join(f"{name:>10}" for name in errors))
    for h, *row in zip(steps, *errors.values(), strict=True):
        print(f"{h:8.0e}" + "".join(f"{error:10.0e}" for error in row))
    if plot_file is not None:
        write_picture(plot_file, functools.partial(plot_steps, steps, errors))
    return errors
