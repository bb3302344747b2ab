"""What the gradient of a layer's weights costs by each route, and how exact each scheme is at each step."""

from __future__ import annotations

import contextlib
import importlib
import json
import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import numerical_diff, numerical_gradient, pictures, reference, simpleNet
from ..networks import MultiLayerNet, TwoLayerNet
from ..schemes import SCHEMES
from . import output

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..loops import Floats

__all__: list[str] = []  # nothing here is public

_TRACED = 16  # coordinates in the measurement of memory: tracing slows Python down, and only the result grows with more
# A sample of coordinates grows fourfold while it fits this often into the budget: 5 repeats of the next one then fit.
_GROWTH, _SAMPLES = 4, 20
_EPS = 2.0**-52  # spacing of the floats at 1, without unit: no relative error of a derivative can be trusted below it
_MARKS = "osD^vPX*"  # they tell lines apart in a picture printed in grey
_SHORTEST = 1e-9  # seconds: the resolution of the clock, so that no speed-up is infinite


class Layer:
    """A linear softmax layer with random weights and data, its backprop, and the exact gradient of its loss."""

    def __init__(self, features: int, classes: int, batch: int) -> None:
        rng = np.random.default_rng(0)
        self.net = simpleNet((features, classes), rng=rng)
        self.net.W /= np.sqrt(features)
        self.shape, self.size = (features, classes), self.net.W.size
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

    def exact(self) -> Floats:
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
        self.shape, self.size = sizes, self.net.flat.size
        self.x, self.t = rng.uniform(0, 1, (batch, first)), rng.integers(0, last, batch)

    def exact(self) -> Floats:
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


class Settings(NamedTuple):
    """What all measurements of a profile share."""

    batch: int  # samples that the loss is the mean of
    h: float  # step of the differences
    workers: int  # threads
    repeat: int  # gradients a route
    budget: float  # seconds for the gradients of one route


class Route(NamedTuple):
    """A way to the gradient: ``gradient(count)`` gives the first so many partial derivatives of the flat weights."""

    name: str
    gradient: Callable[[int], Floats]
    whole: bool = False  # all weights come at once
    scratch: int = 0  # bytes that compiled code allocates, out of sight of tracemalloc


def routes(layer: Layer | Network, h: float, workers: int, peers: bool = False) -> list[Route]:
    """Return the routes to the gradient of the layer's loss, the NumPy reference first; of `peers`, those installed."""
    if isinstance(layer, Network):
        return [Route(name, *route) for name, route in layer.gradients(h, workers).items()]
    from ..objectives.layers import loss

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
        *(_peer_routes(layer) if peers else ()),
        Route("NumPy backprop", lambda _: layer.backprop().reshape(-1), whole=True),
    ]


def _peer_routes(layer: Layer) -> Iterator[Route]:
    """Yield the routes through other packages, with their own defaults; each sees the weights that are asked for."""
    weights = layer.net.W.reshape(-1)  # a view
    start = weights.copy()

    def loss(some: Floats) -> float:
        weights[: some.size] = some
        return layer.net.loss(layer.x, layer.t)

    def gradient(call: Callable[[Any, Floats], Any], package: Any, count: int) -> Floats:
        try:
            return np.asarray(call(package, start[:count].copy()), dtype=np.float64).reshape(-1)
        finally:
            weights[:] = start

    calls: dict[str, Callable[[Any, Floats], Any]] = {
        "scipy.optimize._numdiff": lambda package, w: package.approx_derivative(loss, w, method="3-point"),
        "numdifftools": lambda package, w: package.Gradient(loss)(w),
        "jacobi": lambda package, w: package.jacobi(loss, w)[0],
    }
    for module, call in calls.items():
        with contextlib.suppress(ImportError):
            yield Route(module.partition(".")[0], partial(gradient, call, importlib.import_module(module)))


def measure(
    route: Route, layer: Layer | Network, repeat: int = 5, budget: float = 10.0, baseline: float | None = None
) -> output.Measurement:
    """Measure one route.

    A gradient that takes longer than `budget` seconds is projected from a sample of its coordinates. Repeats end when
    the budget is spent, but one is always made.

    Parameters
    ----------
    route : Route
        The way to the gradient.
    layer : Layer or Network
        Whose weights the gradient belongs to.
    repeat : int, default 5
        Most gradients to compute; the median of their times counts.
    budget : float, default 10.0
        Seconds for these gradients.
    baseline : float, optional
        Seconds of the gradient that the speed-up is relative to. Default: those of this route.

    Returns
    -------
    Measurement
    """
    size, exact = layer.size, layer.exact().reshape(-1)
    output.show_status(f"{route.name}: compiling")
    route.gradient(1)
    peak = _peak_bytes(route, size)
    count = size if route.whole else _affordable(route, size, budget)
    times: list[float] = []
    while len(times) < repeat and (not times or sum(times) + times[-1] <= budget):
        output.show_status(f"{route.name}: gradient {len(times) + 1} of {repeat}, {count:,} of {size:,} coordinates")
        seconds, gradient = _timed(route, count)
        times.append(seconds)
    seconds = statistics.median(times) * size / count
    error, speed_up = float(np.abs(gradient - exact[:count]).max()), (baseline or seconds) / seconds
    return output.Measurement(route.name, layer.shape, size, seconds, len(times), count, peak, error, speed_up)


def _affordable(route: Route, size: int, budget: float) -> int:
    """Return the number of coordinates to compute: all where a gradient fits into the budget, else a sample."""
    count = 1
    while count < size:
        seconds, _ = _timed(route, count)
        if seconds * _SAMPLES > budget:
            return size if seconds / count * size <= budget else count
        count *= _GROWTH
    return size


def _timed(route: Route, count: int) -> tuple[float, Floats]:
    """Return the seconds that so many partial derivatives take, and these."""
    began = time.perf_counter()
    gradient = route.gradient(count)
    return max(time.perf_counter() - began, _SHORTEST), gradient


def _peak_bytes(route: Route, size: int) -> int:
    """Return the peak memory of a whole gradient; only the result grows with the number of coordinates."""
    count = size if route.whole else min(size, _TRACED)
    tracemalloc.start()
    try:
        route.gradient(count)
        return tracemalloc.get_traced_memory()[1] + (size - count) * np.dtype(float).itemsize + route.scratch
    finally:
        tracemalloc.stop()


def profile(
    shapes: list[tuple[int, ...]], settings: Settings, peers: bool, json_file: Path | None, plot_file: Path | None
) -> None:
    """Measure every route for each of `shapes`, print a table as it grows, and write the files.

    Parameters
    ----------
    shapes : list of tuple of int
        Features and classes of each layer, or the three sizes or more of a net.
    settings : Settings
        What all measurements share.
    peers : bool
        Measure the other packages that are installed too.
    json_file, plot_file : Path or None
        Where the measurements are written, and where they are drawn.

    Raises
    ------
    OSError
        If a file cannot be written; this is found before anything is measured.
    ImportError
        If `plot_file` is given and matplotlib is not installed; likewise.
    KeyboardInterrupt
        After Ctrl-C, when the files hold what was finished.
    """
    output.check_writable(json_file, plot_file)
    pictures.check_format(plot_file)
    done: list[output.Measurement] = []
    complete, threads = False, f"{settings.workers} thread{'s' * (settings.workers > 1)}"
    print(f"{output.machine()}; batch {settings.batch}, h = {settings.h:g}, {threads}")
    try:
        for shape in shapes:
            _profile_shape(shape, settings, peers, done)
        complete = True
    finally:
        if json_file is not None:
            facts = {"machine": output.machine(), "complete": complete, "settings": settings._asdict()}
            rows = [row._asdict() | {"projected": row.projected} for row in done]
            output.write_whole(json_file, json.dumps(facts | {"measurements": rows}, indent=1).encode() + b"\n")
        if plot_file is not None and done:
            chart = partial(plot_profile, done)
            output.write_whole(plot_file, pictures.picture(chart, plot_file.suffix[1:], output.machine()))


def _profile_shape(shape: tuple[int, ...], settings: Settings, peers: bool, done: list[output.Measurement]) -> None:
    """Measure the routes for one shape, and append each to `done` and to the printed table."""
    is_layer = len(shape) == 2
    name = f"{shape[0]} x {shape[1]}" if is_layer else "-".join(map(str, shape))
    weights = sum(n * m + (0 if is_layer else m) for n, m in pairwise(shape))
    print(f"\n{name}, {weights:,} weights\n{output.TABLE_HEAD}")
    try:
        layer = Layer(shape[0], shape[1], settings.batch) if is_layer else Network(shape, settings.batch)
    except (MemoryError, ValueError):
        raise MemoryError(f"a layer of {name} at batch {settings.batch} does not fit into memory") from None
    baseline, projected = None, False
    for route in routes(layer, settings.h, settings.workers, peers):
        with output.warnings_below(18):
            try:
                row = measure(route, layer, settings.repeat, settings.budget, baseline)
            finally:
                output.show_status("")
            done.append(row)
            print(row, flush=True)
        baseline, projected = baseline or row.seconds, projected or row.projected
    if projected:
        print("~ projected from a sample of the coordinates")


def compare_steps(plot_file: Path | None) -> None:
    """Print the relative error of exp' at 1 for steps from 1e-1 to 1e-12 and every scheme, and draw it.

    Parameters
    ----------
    plot_file : Path or None
        Where the errors are drawn.

    Raises
    ------
    OSError, ImportError
        As `profile`, for `plot_file`.
    """
    output.check_writable(plot_file)
    pictures.check_format(plot_file)
    steps = [10.0**-k for k in range(1, 13)]
    names: list[Any] = [*SCHEMES, "complex"]
    errors = {name: [abs(numerical_diff(np.exp, 1.0, h, scheme=name) / np.e - 1) for h in steps] for name in names}
    print(f"{'h':>8}" + "".join(f"{name:>10}" for name in errors))
    for h, *row in zip(steps, *errors.values(), strict=True):
        print(f"{h:8.0e}" + "".join(f"{error:10.0e}" for error in row))
    if plot_file is not None:
        output.write_whole(plot_file, pictures.picture(partial(plot_steps, steps, errors), plot_file.suffix[1:]))


def plot_steps(steps: list[float], errors: dict[str, list[float]], ax: Axes) -> None:
    """Draw the relative errors of schemes against the step: truncation falls with it, round-off rises."""
    for k, (name, values) in enumerate(errors.items()):
        shown = [max(value, _EPS / 4) for value in values]  # 0 has no place on a logarithmic axis
        ax.plot(steps, shown, label=name, markersize=4, **_style(k))
    ax.axhline(_EPS, color="0.6", linewidth=0.8, linestyle=":")
    ax.annotate("eps", (steps[0], _EPS), color="0.4", fontsize=8, va="bottom", ha="right")
    title = "Which step, which scheme: truncation (right) against round-off (left)"
    _log_log(ax, xlabel="step h", ylabel="relative error of exp'(1)", title=title)


def plot_profile(measurements: Sequence[output.Measurement], ax: Axes) -> None:
    """Draw the time of a gradient against the number of weights, one line a route, hollow where it is projected."""
    for k, route in enumerate(dict.fromkeys(row.route for row in measurements)):
        rows = sorted((row for row in measurements if row.route == route), key=lambda row: row.weights)
        filled = [row for row in rows if not row.projected]
        weights, seconds = [row.weights for row in rows], [row.seconds for row in rows]
        ax.plot(weights, seconds, label=route, markerfacecolor="none", **_style(k))
        ax.plot([row.weights for row in filled], [row.seconds for row in filled], linestyle="none", **_style(k))
    title = "Every weight's central difference, by route (hollow: projected)"
    _log_log(ax, xlabel="number of weights", ylabel="time of one gradient (s)", title=title)


def _style(k: int) -> dict[str, Any]:
    """Return the colour and the mark of line k."""
    return {"color": pictures.COLOURS[k % len(pictures.COLOURS)], "marker": _MARKS[k % len(_MARKS)]}


def _log_log(ax: Axes, **texts: str) -> None:
    """Make both axes logarithmic, and add the texts, a grid and a legend."""
    ax.set(xscale="log", yscale="log", **texts)
    ax.grid(visible=True, which="major", color="0.9")
    pictures.legend_beside(ax)
