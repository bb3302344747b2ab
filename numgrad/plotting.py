"""The chapter's pictures. matplotlib is imported when one is drawn: ``python -m pip install matplotlib``.

Each function draws on ``ax``, or on a new figure that shows inline in a notebook, and returns the Axes. Further keyword
arguments go to the matplotlib artist that carries the data.
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .arguments import describe, finite_real, positive_step, whole_number
from .elementwise import numerical_diff
from .gradient import numerical_gradient

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

    from .loops import Floats

    Function = Callable[..., Any]
    Iterates = ArrayLike | Mapping[float, ArrayLike]
    Pair = tuple[float, float]
    Style = dict[str, Any]

__all__ = [
    "plot_descent",
    "plot_gradient_field",
    "plot_loss",
    "plot_surface",
    "plot_tangent",
    "plot_training",
    "plot_weights",
    "tangent_line",
]

# Okabe and Ito's palette, which the colour-blind can tell apart.
COLOURS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7", "#999999")

_DPI = 100  # pixels an inch, whatever the user's settings: a file then has the same size on every machine
_VISIBLE = 0.01  # of the width of the picture: a shorter step is a few pixels, and its secant looks like the tangent
_CONTOUR_DENSITY = 61  # points in each direction: the contours of a bowl look smooth, for 3,721 evaluations of f
# The scheme, where its secant starts (in steps from the point), its colour and its line.
_SECANTS: Any = (("forward", 0.0, COLOURS[5], "--"), ("central", -1.0, COLOURS[3], "-."))


def tangent_line(f: Callable[[float], float], x: float) -> Callable[[Any], Any]:
    """Return the tangent of `f` at `x`, as a function: ``t -> f(x) + numerical_diff(f, x) * (t - x)``.

    Examples
    --------
    >>> from numgrad import function_1, tangent_line
    >>> round(tangent_line(function_1, 5)(0.0), 9)
    -0.25
    """
    slope, value = numerical_diff(f, x), f(x)
    return lambda t: value + slope * (t - x)


def plot_tangent(
    f: Function, at: float | Sequence[float], *, xlim: Pair, h: float = 1e-4, ax: Axes | None = None, **keywords: Any
) -> Axes:
    """Draw a function of one variable and its tangents.

    Parameters
    ----------
    f : callable
        ``f(x) -> float``.
    at : float or sequence of float
        Where the tangents touch; their slopes come from `numerical_diff`.
    xlim : pair of float
        The range of x.
    h : float, default 1e-4
        Step of the differences. If it can be seen, the secants of the forward and of the central difference are drawn
        too, beside the tangent of a step of 1e-4: the central one is nearly parallel to it.
    ax : matplotlib Axes, optional
        Where to draw.
    **keywords
        For the line of `f`.

    Returns
    -------
    matplotlib Axes

    Examples
    --------
    >>> from numgrad import function_1
    >>> from numgrad.plotting import plot_tangent
    >>> plot_tangent(function_1, [5, 10], xlim=(0, 20)).get_ylabel()
    'f(x)'
    """
    low, high = _limits("xlim", xlim)
    h, ax = positive_step(h), as_axes(ax)
    visible = h >= _VISIBLE * (high - low)
    grid = np.linspace(low, high, 401)
    ax.plot(grid, [f(float(x)) for x in grid], **merged({"color": COLOURS[0], "label": "f"}, keywords))
    for k, point in enumerate(np.atleast_1d(np.asarray(at, dtype=float)).tolist()):
        value, colour = f(point), COLOURS[4 - k % 2]
        slope = numerical_diff(f, point, 1e-4 if visible else h)
        ax.axline((point, value), slope=slope, color=colour, label=f"tangent at {point:g}: slope {slope:.6g}")
        ax.plot([point], [value], "o", color=colour)
        for scheme, start, colour, dashes in _SECANTS if visible else ():
            xs, slope = (point + start * h, point + h), numerical_diff(f, point, h, scheme=scheme)
            ys = [f(x) for x in xs]
            ax.axline((xs[0], ys[0]), slope=slope, color=colour, linestyle=dashes)
            label = f"{scheme} difference, h = {h:g}: slope {slope:.6g}"
            ax.plot(xs, ys, "s", color=colour, markersize=4, label=label)
    title = "The central difference is nearly parallel to the tangent" if visible else "A function and its tangents"
    ax.set(xlim=(low, high), xlabel="x", ylabel="f(x)", title=title)
    return legend_beside(ax)


def plot_gradient_field(
    f: Function, xlim: Pair, ylim: Pair, *, density: int = 17, ax: Axes | None = None, **keywords: Any
) -> Axes:
    """Draw the negative gradient of a function of two variables as arrows over its contours.

    Parameters
    ----------
    f : callable
        ``f(x) -> float`` for an array of two elements.
    xlim, ylim : pair of float
        The ranges of x[0] and x[1].
    density : int, default 17
        Arrows in each direction.
    ax : matplotlib Axes, optional
        Where to draw.
    **keywords
        For ``Axes.quiver``.

    Returns
    -------
    matplotlib Axes

    Examples
    --------
    >>> from numgrad import function_2
    >>> from numgrad.plotting import plot_gradient_field
    >>> plot_gradient_field(function_2, (-2, 2), (-2, 2)).get_xlabel()
    'x[0]'
    """
    density, ax = whole_number("density", density, 2), as_axes(ax)
    _contours(f, xlim, ylim, ax)
    xs, ys, points = _table(lambda x: x, xlim, ylim, density)
    slopes = -numerical_gradient(f, points.reshape(-1, 2), points_axis=0).reshape(points.shape)
    style = merged({"color": COLOURS[4], "angles": "xy", "width": 0.004}, keywords, "Collection")
    ax.quiver(xs, ys, slopes[..., 0], slopes[..., 1], **style)
    ax.set(title="The negative gradient points downhill")
    return ax


def plot_descent(
    f: Function, path: Iterates, *, xlim: Pair | None = None, ylim: Pair | None = None, ax: Any = None, **keywords: Any
) -> Any:
    """Draw the iterates of a descent over the contours of the function.

    Parameters
    ----------
    f : callable
        ``f(x) -> float`` for an array of two elements.
    path : array_like of shape (iterates, 2), or dict of float to such
        What `descent_path` returned. A dict gives each path its learning rate; they are drawn side by side.
    xlim, ylim : pair of float, optional
        The ranges of x[0] and x[1]. Default: around the first iterate and the origin. What leaves them is not drawn,
        and the picture says how far it went.
    ax : matplotlib Axes, or a sequence of them for a dict, optional
        Where to draw.
    **keywords
        For the line of the path.

    Returns
    -------
    matplotlib Axes, or an array of them for a dict

    Examples
    --------
    >>> from numgrad import descent_path, function_2
    >>> from numgrad.plotting import plot_descent
    >>> plot_descent(function_2, descent_path(function_2, [-3.0, 4.0], lr=0.1)).get_title()
    'Gradient descent, 100 iterations'
    """
    if not isinstance(path, Mapping):
        ax, outcome = _plot_path(f, path, xlim, ylim, ax, keywords)
        ax.set_title(f"Gradient descent, {outcome}")
        return ax
    panels = _panels(ax, len(path))
    for (lr, one), panel in zip(path.items(), panels, strict=True):
        _, outcome = _plot_path(f, one, xlim, ylim, panel, keywords)
        panel.set_title(f"lr = {lr}: {outcome}", fontsize="medium")
    return panels


def plot_surface(
    f: Function, xlim: Pair, ylim: Pair, *, density: int = 41, ax: Axes | None = None, **keywords: Any
) -> Axes:
    """Draw a function of two variables as a surface.

    Parameters
    ----------
    f : callable
        ``f(x) -> float`` for an array of two elements.
    xlim, ylim : pair of float
        The ranges of x[0] and x[1].
    density : int, default 41
        Points in each direction.
    ax : matplotlib Axes with three dimensions, optional
        Where to draw.
    **keywords
        For ``Axes3D.plot_surface``.

    Returns
    -------
    matplotlib Axes

    Examples
    --------
    >>> from numgrad import function_2
    >>> from numgrad.plotting import plot_surface
    >>> plot_surface(function_2, (-3, 3), (-3, 3)).get_zlabel()
    'f(x)'
    """
    density = whole_number("density", density, 2)
    solid: Any = as_axes(ax, projection="3d")
    if not hasattr(solid, "plot_surface"):
        raise ValueError("ax must have three dimensions: figure.add_subplot(projection='3d')")
    xs, ys, values = _table(lambda x: float(f(x)), xlim, ylim, density)
    style = {"cmap": "cividis", "linewidth": 0.2, "edgecolor": "0.3", "rcount": density, "ccount": density} | keywords
    solid.plot_surface(*np.meshgrid(xs, ys), values, **style)
    solid.set(xlabel="x[0]", ylabel="x[1]", zlabel="f(x)", title="The bowl that the descent goes down")
    return solid  # type: ignore[no-any-return]


def plot_loss(losses: ArrayLike, *, ax: Axes | None = None, **keywords: Any) -> Axes:
    """Draw a learning curve.

    Parameters
    ----------
    losses : array_like
        The loss after each iteration, in nats.
    ax : matplotlib Axes, optional
        Where to draw.
    **keywords
        For the line.

    Returns
    -------
    matplotlib Axes

    Examples
    --------
    >>> from numgrad.plotting import plot_loss
    >>> plot_loss([2.3, 1.2, 0.8]).get_ylabel()
    'loss (nats)'
    """
    values = np.asarray(losses, dtype=float)
    if values.ndim != 1:
        raise ValueError(f"losses must be one-dimensional, got the shape {values.shape}")
    ax = as_axes(ax)
    ax.plot(np.arange(1, len(values) + 1), values, **merged({"color": COLOURS[4]}, keywords))
    ax.set(xlabel="iteration", ylabel="loss (nats)", title="The loss falls as the weights learn")
    if values.size and np.nanmin(values) >= 0.0:
        ax.set_ylim(bottom=0.0)
    ax.grid(visible=True, color="0.9")
    return ax


def plot_training(history: Any, *, ax: Axes | None = None, **keywords: Any) -> Axes:
    """Draw the accuracies of a training on the training and on the test samples.

    Parameters
    ----------
    history : History
        What `train` returns.
    ax : matplotlib Axes, optional
        Where to draw.
    **keywords
        For both lines.

    Returns
    -------
    matplotlib Axes

    Examples
    --------
    >>> from numgrad import History
    >>> from numgrad.plotting import plot_training
    >>> plot_training(History([0.7], [0, 1], [0.5, 1.0], [0.5, 0.9])).get_ylabel()
    'accuracy'
    """
    ax = as_axes(ax)
    lines = (("train", history.train_accuracies, "-", COLOURS[4]), ("test", history.test_accuracies, "--", COLOURS[5]))
    for name, accuracies, style, colour in lines:
        defaults = {"color": colour, "linestyle": style, "label": f"{name}, at the end {accuracies[-1]:.3f}"}
        ax.plot(history.iterations, accuracies, **merged(defaults, keywords))
    ax.set(
        xlabel="iteration", ylabel="accuracy", ylim=(0.0, 1.0), title="What the net has learnt, and what it can tell"
    )
    ax.grid(visible=True, color="0.9")
    return legend_beside(ax)


def plot_weights(W: ArrayLike, shape: tuple[int, int], *, ax: Axes | None = None, **keywords: Any) -> Axes:  # noqa: N803
    """Draw the weights of a layer as images, one a class.

    Parameters
    ----------
    W : array_like of shape (features, classes)
        The weights.
    shape : pair of int
        Rows and columns of an image; their product is the number of features.
    ax : matplotlib Axes, optional
        Where to draw.
    **keywords
        For ``Axes.imshow``.

    Returns
    -------
    matplotlib Axes

    Examples
    --------
    >>> from numgrad import simpleNet
    >>> from numgrad.plotting import plot_weights
    >>> plot_weights(simpleNet((64, 10)).W, (8, 8)).get_title()
    'Weights of each class: for (blue) and against it (red)'
    """
    weights = np.asarray(W, dtype=float)
    if weights.ndim != 2 or not weights.size or np.shape(shape) != (2,) or weights.shape[0] != np.prod(shape):
        rule = "W must have the shape (features, classes), with rows * columns features for the shape (rows, columns)"
        raise ValueError(f"{rule}: got {weights.shape} and {shape}")
    (rows, columns), classes = shape, weights.shape[1]
    across = min(classes, 5)
    down = -(-classes // across)
    mosaic = np.full((down * (rows + 1) - 1, across * (columns + 1) - 1), np.nan)
    ax = as_axes(ax)
    for k in range(classes):
        top, left = k // across * (rows + 1), k % across * (columns + 1)
        mosaic[top : top + rows, left : left + columns] = weights[:, k].reshape(shape)
        ax.annotate(str(k), (left, top), xytext=(1, -1), textcoords="offset points", va="top", fontsize=9)
    largest = float(np.max(np.abs(weights))) or 1.0
    limits = {} if "norm" in keywords else {"vmin": -largest, "vmax": largest}
    style: Style = {"cmap": "RdBu"} | limits | keywords
    image = ax.imshow(mosaic, **style)
    ax.figure.colorbar(image, ax=ax, label="weight", shrink=0.7)
    ax.set(xticks=[], yticks=[], title="Weights of each class: for (blue) and against it (red)")
    return ax


def as_axes(ax: Any, **options: Any) -> Axes:
    """Return `ax`, or the Axes of a new figure that a notebook shows."""
    if ax is None:
        ax = _matplotlib("pyplot").figure(layout="constrained").add_subplot(**options)
    if not isinstance(ax, _matplotlib("axes").Axes):
        raise TypeError(f"ax must be a matplotlib Axes, got {describe(ax)}")
    return ax  # type: ignore[no-any-return]


def merged(defaults: Style, keywords: Style, artist: Literal["Line2D", "Collection"] = "Line2D") -> Style:
    """Return the defaults with the user's keywords over them, whatever alias (c, lw, ls) these use."""
    kind = _matplotlib("lines").Line2D if artist == "Line2D" else _matplotlib("collections").Collection
    return {**defaults, **_matplotlib("cbook").normalize_kwargs(keywords, kind)}


def legend_beside(ax: Axes) -> Axes:
    """Add a legend beside the data, and return the Axes."""
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize="small")
    return ax


def check_format(file: Path | None) -> None:
    """Raise unless matplotlib can write such a picture; None stands for a picture that nobody asked for.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    OSError
        If matplotlib does not know the suffix.
    """
    if file is None:
        return
    known = _matplotlib("backend_bases").FigureCanvasBase.get_supported_filetypes()
    if file.suffix[1:] not in known:
        raise OSError(f"cannot draw {file}: its suffix must be one of {', '.join(sorted(known))}")


def picture(
    draw: Function, file_format: str, note: str = "", *, size: Pair = (8.0, 5.0), panels: int = 1, **axes: Any
) -> bytes:
    """Return a picture as the bytes of a file. No window opens.

    Parameters
    ----------
    draw : callable
        ``draw(ax=ax)`` draws on a new Axes, or on an array of them if there are several panels.
    file_format : str
        A suffix, such as ``"png"``.
    note : str, default ""
        A line in small letters in the lower right corner.
    size : pair of float, default (8.0, 5.0)
        Width and height in inches.
    panels : int, default 1
        Number of Axes, side by side.
    **axes
        For each Axes, such as ``projection="3d"``.
    """
    # A figure that no window and no backend knows of.
    figure, memory = _matplotlib("figure").Figure(size, _DPI, layout="constrained"), io.BytesIO()
    draw(ax=figure.subplots(1, panels, subplot_kw=axes))
    figure.text(0.995, 0.005, note, fontsize=6, ha="right", va="bottom", color="0.4")
    figure.savefig(memory, format=file_format)
    return memory.getvalue()


def _matplotlib(module: str) -> Any:
    """Return a module of matplotlib, or raise an ImportError that says how to install it."""
    try:
        return importlib.import_module(f"matplotlib.{module}")
    except ImportError:
        raise ImportError("pictures are drawn by matplotlib: python -m pip install matplotlib") from None


def _panels(ax: Any, count: int) -> NDArray[Any]:
    """Return so many Axes: those given, or those of a new figure that a notebook shows."""
    if not count:
        raise ValueError("path must hold at least one path")
    if ax is None:
        _, ax = _matplotlib("pyplot").subplots(1, count, figsize=(4.0 * count, 4.5), layout="constrained")  # inches
    panels = np.asarray(ax, dtype=object).reshape(-1)
    if panels.size != count:
        raise ValueError(f"ax must hold {count} Axes, one for each path")
    return panels


def _plot_path(f: Function, path: ArrayLike, xlim: Any, ylim: Any, ax: Any, keywords: Style) -> tuple[Axes, str]:
    """Draw one path over contours; return the Axes, and in words how far the path got."""
    points = np.asarray(path, dtype=float)
    if points.ndim != 2 or points.shape[1] != 2 or not len(points):
        raise ValueError(f"path must have the shape (iterates, 2), got {points.shape}")
    ax = as_axes(ax)
    reach = 1.25 * float(np.max(np.abs(points[0]))) or 1.0
    xlim, ylim = (_limits(name, limits or (-reach, reach)) for name, limits in (("xlim", xlim), ("ylim", ylim)))
    _contours(f, xlim, ylim, ax)
    low, high = np.array([xlim, ylim]).T
    inside = np.all((points >= low) & (points <= high), axis=1)
    if not inside[0]:
        raise ValueError(f"the first iterate, {points[0].tolist()}, must lie within xlim and ylim")
    count = len(points) if inside.all() else int(np.argmin(inside))  # iterates before the first one outside
    last = points[count - 1]
    ax.plot(*points[:count].T, **merged({"color": COLOURS[5], "marker": ".", "linewidth": 1.0}, keywords))
    ax.plot(*points[0], "o", color=COLOURS[0], markersize=8, label="start")
    if count == len(points):
        ax.plot(*last, "*", color=COLOURS[0], markersize=14, label="end")
        outcome = f"{count - 1} iterations"
    else:
        border = _border(last, points[count], low, high)
        ax.annotate("", border, last, arrowprops={"arrowstyle": "->", "color": COLOURS[5]})
        outcome = f"leaves at {count}, |x| up to {np.max(np.abs(points)):.1e}"
    return legend_beside(ax), outcome


def _limits(name: str, limits: Any) -> Pair:
    """Return the limits as two floats in ascending order, or raise an error with their name."""
    try:
        low, high = limits
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a pair of numbers (low, high), got {describe(limits)}") from None
    low, high = finite_real(name, low), finite_real(name, high)
    if not low < high:
        raise ValueError(f"{name} must ascend, got {low} and {high}")
    return low, high


def _table(function: Function, xlim: Any, ylim: Any, density: int) -> tuple[Floats, Floats, Floats]:
    """Return so many x[0] and x[1], evenly spaced, and a function at each point of their grid, a row for each x[1]."""
    xs, ys = np.linspace(*_limits("xlim", xlim), density), np.linspace(*_limits("ylim", ylim), density)
    return xs, ys, np.array([[function(np.array([x, y])) for x in xs] for y in ys])


def _border(inside: Floats, outside: Floats, low: Floats, high: Floats) -> Floats:
    """Return where the line from a point inside the limits to one outside crosses them."""
    step = np.nan_to_num(outside - inside, nan=1.0, posinf=1e300, neginf=-1e300)
    with np.errstate(all="ignore"):
        reached = np.where(step > 0.0, high - inside, low - inside) / step  # part of the step, for each coordinate
    return np.asarray(inside + np.nanmin(np.where(step == 0.0, np.nan, reached)) * step)


def _contours(f: Function, xlim: Any, ylim: Any, ax: Axes) -> None:
    """Draw the contours of a function of two variables."""
    table = _table(lambda x: float(f(x)), xlim, ylim, _CONTOUR_DENSITY)
    ax.contour(*table, levels=8, cmap="cividis", linewidths=0.8, alpha=0.7)
    ax.set(xlabel="x[0]", ylabel="x[1]", xlim=xlim, ylim=ylim, aspect="equal")
