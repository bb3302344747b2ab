"""Pictures of the chapter, of checks and of patterns, by matplotlib, which is imported when one is drawn.

Each function draws on ``ax``, or on a new figure that shows inline in a notebook, and returns the Axes. Colours and
sizes are those of the user's style. Further keyword arguments go to the matplotlib artist that carries the data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .arguments import describe, finite_real, positive_step, whole_number
from .display import Pair, Style, as_axes, check_kind, drawn, legend_beside, matplotlib_part, merged, scalar
from .elementwise import numerical_diff
from .gradient import numerical_gradient
from .points import EPS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

    from .loops import Floats, Indices
    from .reports import Comparison, GradientCheck

    Function = Callable[..., Any]
    Iterates = ArrayLike | Mapping[float, ArrayLike]

__all__ = [
    "plot_check",
    "plot_descent",
    "plot_gradient_field",
    "plot_loss",
    "plot_sparsity",
    "plot_surface",
    "plot_tangent",
    "plot_training",
    "plot_weights",
    "tangent_line",
]

_VISIBLE = 0.01  # of the width of the picture: a shorter step is a few pixels, and its secant looks like the tangent
# Of the width of the picture, over which f is seen to change, whatever its unit: the step of slopes. Its truncation is
# near 1e-9 of a slope. Fixed by test_slopes_follow_the_unit_of_the_picture in tests/test_plotting.py.
_STEP = 1e-4
_CONTOUR_DENSITY = 61  # points in each direction: the contours of a bowl look smooth, for 3,721 evaluations of f
# The scheme, where its secant starts (in steps from the point), its colour in the user's cycle, and its line.
_SECANTS: Any = (("forward", 0.0, "C3", "--"), ("central", -1.0, "C2", "-."))
_CELLS = 200  # of a heat map, in each direction: each is two pixels or more of a figure of the usual size
_MARKED = 500  # crosses on a heat map: more hide it
_CYCLE = 10  # colours that a cycle has by default, the names of which are C0 to C9


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
    f: Function, at: float | Sequence[float], *, xlim: Pair, h: Any = "auto", ax: Axes | None = None, **keywords: Any
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
    h : float or 'auto', default 'auto'
        Step of the differences; 'auto' takes 1e-4 of the width of the picture. If it can be seen, the secants of the
        forward and of the central difference are drawn too, beside the tangent of the automatic step: the central one
        is nearly parallel to it.
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
    f, (low, high) = scalar(f), _limits("xlim", xlim)
    unseen, ax = _STEP * (high - low), as_axes(ax)
    h = unseen if isinstance(h, str) and h == "auto" else positive_step(h)
    visible = h >= _VISIBLE * (high - low)
    grid = np.linspace(low, high, 401)
    ax.plot(grid, [f(float(x)) for x in grid], **merged({"color": "C0", "label": "f"}, keywords))
    for k, point in enumerate(drawn(at, "at").reshape(-1).tolist()):
        value, colour = f(point), ("C1", "C4")[k % 2]
        slope = numerical_diff(f, point, unseen if visible else h)
        ax.axline((point, value), slope=slope, color=colour, label=f"tangent at {point:g}: slope {slope:.6g}")
        ax.plot([point], [value], "o", color=colour)
        for scheme, start, colour, dashes in _SECANTS if visible else ():
            xs, slope = (point + start * h, point + h), numerical_diff(f, point, h, scheme=scheme)
            ys = [f(x) for x in xs]
            ax.axline((xs[0], ys[0]), slope=slope, color=colour, linestyle=dashes)
            label = f"{scheme} difference, h = {h:g}: slope {slope:.6g}"
            ax.plot(xs, ys, "s", color=colour, label=label)
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
    points = _table(lambda x: x, xlim, ylim, density)[2].reshape(-1, 2)
    slopes = -numerical_gradient(f, points, _STEP * np.ptp(points, axis=0), points_axis=0)
    style = merged({"color": _ink(ax), "angles": "xy"}, keywords, "Collection")
    ax.quiver(*points.T, *slopes.T, **style)
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
    xs, ys, values = _table(scalar(f), xlim, ylim, density)
    style = {"cmap": matplotlib_part().rcParams["image.cmap"], "rcount": density, "ccount": density} | keywords
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
    values = drawn(losses, "losses")
    if values.ndim != 1:
        raise ValueError(f"losses must be one-dimensional, got the shape {values.shape}")
    ax, mark = as_axes(ax), "." if len(values) == 1 else None  # of one value there is no line
    ax.plot(np.arange(1, len(values) + 1), values, **merged({"marker": mark}, keywords))
    ax.set(xlabel="iteration", ylabel="loss (nats)", title="The loss falls as the weights learn")
    if values.size and np.fmin.reduce(values) >= 0.0:
        ax.set_ylim(bottom=0.0)
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
    check_kind("history", history, "train_accuracies", "train")
    ax, mark = as_axes(ax), "." if len(history.iterations) == 1 else None
    for name, accuracies, style in (("train", history.train_accuracies, "-"), ("test", history.test_accuracies, "--")):
        defaults = {"linestyle": style, "marker": mark, "label": f"{name}, at the end {accuracies[-1]:.3f}"}
        ax.plot(history.iterations, accuracies, **merged(defaults, keywords))
    title = "What the net has learnt, and what it can tell"
    ax.set(xlabel="iteration", ylabel="accuracy", ylim=(0.0, 1.0), title=title)
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
    weights = drawn(W, "W")
    if weights.ndim != 2 or not weights.size or np.shape(shape) != (2,) or weights.shape[0] != np.prod(shape):
        rule = "W must have the shape (features, classes), with rows * columns features for the shape (rows, columns)"
        raise ValueError(f"{rule}: got {weights.shape} and {shape}")
    (rows, columns), classes = (whole_number("shape", length, 1) for length in shape), weights.shape[1]
    across, down = min(classes, 5), -(-classes // 5)
    mosaic = np.full((down * (rows + 1) - 1, across * (columns + 1) - 1), np.nan)
    ax = as_axes(ax)
    inside: Style = {"xytext": (1, -1), "textcoords": "offset points", "va": "top", "fontsize": "small"}
    for k in range(classes):
        top, left = k // across * (rows + 1), k % across * (columns + 1)
        mosaic[top : top + rows, left : left + columns] = weights[:, k].reshape(shape)
        ax.annotate(str(k), (left, top), color="black", **inside)
    largest = float(np.abs(weights[np.isfinite(weights)]).max(initial=0.0)) or 1.0
    limits = {} if "norm" in keywords else {"vmin": -largest, "vmax": largest}
    style: Style = {"cmap": "RdBu"} | limits | keywords
    image = ax.imshow(mosaic, **style)
    ax.figure.colorbar(image, ax=ax, label="weight", shrink=0.7)
    ax.set(xticks=[], yticks=[], title="Weights of each class: for (blue) and against it (red)")
    return ax


def plot_check(check: GradientCheck, name: str | None = None, *, ax: Axes | None = None, **keywords: Any) -> Axes:
    """Draw where a gradient is wrong: the relative errors of an array as a heat map, with a cross where one is wrong.

    Parameters
    ----------
    check : GradientCheck
        What `check_gradient` found, coordinate by coordinate.
    name : str, optional
        The array of a dict, such as ``"W1"``. Default: the one that holds the worst coordinate.
    ax : matplotlib Axes, optional
        Where to draw.
    **keywords
        For ``Axes.imshow``.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If `check` has no array of that name, or was made along directions, which have no place in an array.

    Notes
    -----
    The rows are those of the first axis; further axes are joined, and a vector is one row. An array of more than 200
    rows or columns is drawn as the largest error in each cell of a grid. Places that were not checked stay empty. The
    line in the colour bar is the tolerance rtol. Where more than 500 are wrong, there are no crosses.

    Examples
    --------
    >>> import numpy as np
    >>> from numgrad import check_gradient
    >>> from numgrad.plotting import plot_check
    >>> W = np.arange(1.0, 7.0).reshape(2, 3)
    >>> check = check_gradient(lambda W: np.sum(W**3), lambda W: 3 * W**2 + (W == 5), W)
    >>> plot_check(check).get_title()
    'x: 1 of 6 wrong'
    """
    check_kind("check", check, "comparisons", "check_gradient")
    part, ax = _part_of(check, name), as_axes(ax)
    with np.errstate(all="ignore"):  # of what is not finite
        errors = part.errors((check.rtol, check.atol))
    shape = (part.shape[0] if len(part.shape) > 1 else 1, math.prod(part.shape[1:] or part.shape))
    finite = errors[np.isfinite(errors) & (errors > 0.0)]
    low = max(EPS, min(finite.min(initial=1.0), check.rtol / 10))
    high = max(finite.max(initial=0.0), check.rtol, 10 * low)
    rows, columns = np.divmod(part.chosen, shape[1])
    norm = {} if {"norm", "vmin", "vmax"} & keywords.keys() else {"norm": matplotlib_part("colors").LogNorm(low, high)}
    image = _heat_map(ax, shape, (rows, columns, np.clip(errors, low, high)), norm | keywords)
    bar = ax.figure.colorbar(image, ax=ax, label="relative error (line: rtol)")
    bar.ax.axhline(check.rtol, color=_ink(ax))
    wrong = np.flatnonzero(part.failed)
    if len(wrong) <= _MARKED:
        ax.plot(columns[wrong], rows[wrong], "x", color="red")  # seen on all the colours of the usual maps
    ax.set_title(f"{part.name or 'x'}: {len(wrong):,} of {len(errors):,} wrong")
    return ax


def plot_sparsity(pattern: Any, *, ax: Axes | None = None, **keywords: Any) -> Axes:
    """Draw the entries of a sparse Jacobian in the colours of their columns: those of one colour move together.

    Parameters
    ----------
    pattern : array_like of bool, scipy sparse array or list of index arrays
        What `jacobian_sparsity` returns, or any `sparsity` that `numerical_jacobian` takes.
    ax : matplotlib Axes, optional
        Where to draw.
    **keywords
        For ``Axes.imshow``.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    TypeError
        If `pattern` is no pattern.
    ValueError
        If `pattern` has no entries.
    ImportError
        If scipy or matplotlib is not installed.

    Notes
    -----
    A pattern of more than 200 rows or columns is drawn in cells, each in the colour of one of its entries.

    Examples
    --------
    >>> import numpy as np
    >>> from numgrad.plotting import plot_sparsity
    >>> plot_sparsity(np.eye(4) + np.eye(4, k=1)).get_title()
    '7 entries in 2 colours'
    """
    from .sparsity import coloured

    given = coloured(pattern)
    if not given.columns.size:
        raise ValueError("pattern must have an entry, got none")
    ax, rows = as_axes(ax), np.repeat(np.arange(given.shape[0]), np.diff(given.starts))
    style: Style = {"vmin": -0.5, "vmax": given.count - 0.5}
    if given.count <= _CYCLE:
        style["cmap"] = matplotlib_part("colors").ListedColormap([f"C{k}" for k in range(given.count)])
    _heat_map(ax, given.shape, (rows, given.columns, given.colours[given.columns]), style | keywords)
    ax.set(title=f"{len(rows):,} entries in {given.count} colours", xlabel="column (coordinate)", ylabel="row (output)")
    return ax


def _part_of(check: GradientCheck, name: str | None) -> Comparison:
    """Return the comparison of the array of that name, or of the one with the worst coordinate."""
    parts = {part.name: part for part in check.comparisons if not part.is_direction and len(part.chosen)}
    if not parts:
        raise ValueError("check must hold coordinates to draw; one along directions, or of an empty x, has none")
    if name is None:
        name = check.worst.name if check.worst else next(iter(parts))
    if name not in parts:
        raise ValueError(f"name must be one of {', '.join(map(repr, parts))}, got {name!r}")
    return parts[name]


def _heat_map(ax: Axes, shape: tuple[int, int], entries: tuple[Indices, Indices, Any], style: Style) -> Any:
    """Draw the largest value in each cell of a grid over a matrix, which is the matrix itself where that is small."""
    size, (rows, columns, values) = np.minimum(shape, _CELLS), entries
    table = np.full(size, -np.inf)
    np.maximum.at(table, (rows * size[0] // shape[0], columns * size[1] // shape[1]), values)
    extent = (-0.5, shape[1] - 0.5, shape[0] - 0.5, -0.5)
    defaults: Style = {"extent": extent, "interpolation": "nearest", "aspect": "auto"}
    image = ax.imshow(np.ma.masked_equal(table, -np.inf), **(defaults | style))
    ax.set(xlabel="column", ylabel="row") if shape[0] > 1 else ax.set(xlabel="index", yticks=[])
    for axis in (ax.xaxis, ax.yaxis)[: shape[0]]:
        axis.set_major_locator(matplotlib_part("ticker").MaxNLocator("auto", integer=True, min_n_ticks=1))
    return image


def _ink(ax: Axes) -> Any:
    """Return the colour in which the user's style writes, and which its background does not hide."""
    return ax.xaxis.label.get_color()


def _panels(ax: Any, count: int) -> NDArray[Any]:
    """Return so many Axes: those given, or those of a new figure that a notebook shows."""
    if not count:
        raise ValueError("path must hold at least one path")
    if ax is None:
        size = np.multiply(matplotlib_part().rcParams["figure.figsize"], (0.6 * count, 1.0))  # of the user's style
        _, ax = matplotlib_part("pyplot").subplots(1, count, figsize=size, layout="constrained")
    panels = np.asarray(ax, dtype=object).reshape(-1)
    if panels.size != count:
        raise ValueError(f"ax must hold {count} Axes, one for each path")
    return panels


def _plot_path(f: Function, path: ArrayLike, xlim: Any, ylim: Any, ax: Any, keywords: Style) -> tuple[Axes, str]:
    """Draw one path over contours; return the Axes, and in words how far the path got."""
    points = drawn(path, "path")
    if points.ndim != 2 or points.shape[1] != 2 or not len(points):
        raise ValueError(f"path must have the shape (iterates, 2), got {points.shape}")
    ax = as_axes(ax)
    reach = 1.25 * float(np.nan_to_num(np.abs(points[0]), posinf=0.0).max()) or 1.0
    xlim, ylim = (_limits(name, limits or (-reach, reach)) for name, limits in (("xlim", xlim), ("ylim", ylim)))
    _contours(f, xlim, ylim, ax)
    low, high = np.array([xlim, ylim]).T
    inside = np.all((points >= low) & (points <= high), axis=1)
    if not inside[0]:
        raise ValueError(f"the first iterate, {points[0].tolist()}, must lie within xlim and ylim")
    count = len(points) if inside.all() else int(np.argmin(inside))  # iterates before the first one outside
    last = points[count - 1]
    (line,) = ax.plot(*points[:count].T, **merged({"color": "C3", "marker": "."}, keywords))
    size = line.get_markersize()
    ax.plot(*points[0], "o", color=_ink(ax), markersize=1.5 * size, label="start")
    if count == len(points):
        ax.plot(*last, "*", color=_ink(ax), markersize=2.5 * size, label="end")
        outcome = f"{count - 1} iterations"
    else:
        border = _border(last, points[count], low, high)
        ax.annotate("", border, last, arrowprops={"arrowstyle": "->", "color": line.get_color()})
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
    table = _table(scalar(f), xlim, ylim, _CONTOUR_DENSITY)
    ax.contour(*table, levels=8, alpha=0.7)
    ax.set(xlabel="x[0]", ylabel="x[1]", xlim=xlim, ylim=ylim, aspect="equal")
