"""LayerObjective: the mean loss of a batch as a function of the weights of a layer, whatever follows the layer."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arguments import (
    ALL_COORDINATES,
    describe,
    is_compiled,
    plain_numbers,
    raise_compile_error,
    random_generator,
    refuse_captured,
    underflowing,
    unmasked,
    whole_number,
    widened,
)
from ..loops import RESPONDED, Floats, Indices, Rule, central_parts, make_central, members_of
from ..points import check_argument_is_all, is_flat_float64, private_copy
from ..threads import Sweep, Throughput
from .responses import Block, Slopes, check_independent

__all__ = ["LayerObjective"]

# Numbers of a block of samples, 4 MiB, and samples of it, so that thirty arrays of pairs with the columns of a group
# take 16 MiB. Fixed by test_memory_is_bounded.
BLOCK, MOST = 2**19, 2**11
# Numbers of all blocks, with the powers of their inputs, that are kept between groups of columns: 16 MiB; beyond, they
# are made again for each group. Fixed by test_memory_is_bounded.
KEPT = 2**21
# Columns of a group at most, for each of which some fifty calls of NumPy are made; of two groups, threads do one each.
# Fixed by bench_networks.py.
GROUP, GROUPS = 32, 2


class LayerObjective:
    """The mean loss of a batch as a function of the weights of one layer, whatever follows the layer.

    ``f(W) = mean(rows(x @ W, *data))``. All its central differences take about four evaluations of `rows` for the batch
    and each column of W, where the plain loop takes two for each weight.

    Parameters
    ----------
    x : array_like, shape (batch, inputs)
        What the layer receives. A C-contiguous float64 array is kept as it is, and read at each call.
    rows : callable
        ``rows(z, *data) -> (batch,)``: the loss of each sample, from its row of pre-activations z, of shape
        (batch, columns). NumPy or compiled with `numba.njit`. No row may depend on another one. It is called with any
        number of samples, in any order, on copies to which it may write; with `workers` on several threads at once.
    data : tuple of array_like, optional
        What else belongs to the samples, such as labels: arrays whose first axis is the batch.
    bias : bool, default False
        Whether W has one row more, the last one, which is added to each row of ``x @ W``.
    batch_bytes : int, default 256 KiB
        Memory of the pre-activations of one call of `rows` at most, if that is not less than one sample takes.

    Raises
    ------
    TypeError
        If `rows` is not callable, `x` is not real, `data` is no tuple, or elements of `x`, of `data`, or of what `rows`
        returns are masked.
    ValueError
        If `x` is no matrix or empty, or if an array of `data` has another length than the batch. When used: if `rows`
        returns another shape, is random, or mixes the samples; if W has another shape.

    Notes
    -----
    The differences are those of the finite step h: to the round-off of the plain loop, and for large steps to a
    100,000th of their truncation error. `numgrad.objectives.responses` derives them. Samples with a kink within reach
    are evaluated at their own steps. One kink does not go unseen. Two or more may, if all lie between two places at
    which a pre-activation is evaluated: 0, half and the whole of its longest step, on both sides (a quarter and three
    quarters too where these do not tell). A bump that is narrower than half of the step is an example; `verify`
    compares with plain differences. A weight of at most h in magnitude takes two evaluations where its input is
    infinite in some sample. Batch normalisation in training and dropout mix samples or are random; the first
    gradient of an objective finds that and refuses them.

    Examples
    --------
    >>> import numpy as np
    >>> from numgrad import LayerObjective, numerical_gradient
    >>> x, y = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1.0, -1.0])
    >>> objective = LayerObjective(x, lambda z, y: (np.tanh(z[:, 0]) - y) ** 2, (y,))
    >>> objective.verify(np.array([[0.1], [0.2]]))
    >>> print(numerical_gradient(objective, np.array([[0.1], [0.2]])).round(6))
    [[1.517208]
     [1.740933]]
    """

    def __init__(
        self,
        x: ArrayLike,
        rows: Callable[..., Any],
        data: tuple[Any, ...] = (),
        *,
        bias: bool = False,
        batch_bytes: int = 2**18,
    ) -> None:
        if not callable(rows):
            raise TypeError(f"rows must be callable, got {describe(rows)}")
        if not isinstance(data, tuple):
            raise TypeError(f"data must be a tuple of arrays, got {describe(data)}; write data=(t,) for one")
        x = plain_numbers(x, "x")
        if x.ndim != 2 or not x.size:
            raise ValueError(f"x must have the shape (batch, inputs) and not be empty, got {x.shape}")
        self.x = x if is_flat_float64(x) else private_copy(x)
        self.rows, self.bias, self.batch_bytes = rows, bool(bias), whole_number("batch_bytes", batch_bytes, 1)
        self.data = tuple(unmasked(array, f"data[{k}]") for k, array in enumerate(data))
        for k, array in enumerate(self.data):
            if array.shape[:1] != (len(x),):
                raise ValueError(f"data[{k}] must have the length of the batch, {len(x)}, got the shape {array.shape}")
        self._asks, self._is_known = True, False  # whether `rows` is to show that its rows are independent, and has
        self._throughput = Throughput()

    def __call__(self, W: ArrayLike) -> float:  # noqa: N803
        """Return ``mean(rows(x @ W, *data))``."""
        return self._as_objective().value(W, ())

    def __repr__(self) -> str:
        return f"LayerObjective(x of shape {self.x.shape}, {getattr(self.rows, '__name__', self.rows)})"

    def _as_objective(self) -> _Layer:
        return _Layer(self)

    def verify(self, W: ArrayLike, *, samples: int = 32, rng: Any = None) -> None:  # noqa: N803
        """Test that rows are independent, and compare differences of random weights with plain ones, at three steps.

        Parameters
        ----------
        W : array_like
            Where to compare. It is not changed.
        samples : int, default 32
            Number of weights, all of them if there are no more.
        rng : numpy.random.Generator or seed, optional
            What chooses them.

        Raises
        ------
        ValueError
            If `rows` is random or mixes the samples.
        AssertionError
            If some difference is off by more than the round-off of the plain one: the step, and the worst weight.
        """
        own = self._as_objective()
        point = own.place(W, ())[0].copy()
        own.check(point)
        count = min(whole_number("samples", samples, 1), point.size)
        chosen = np.sort(random_generator(rng).choice(point.size, count, replace=False)).astype(np.intp)
        everywhere, whole = np.arange(point.size), np.empty(point.size)
        for h in (1e-4, 1e-3, 1e-2):
            sweep = own.sweep(point, (), Rule(make_central, (h,)), ALL_COORDINATES, whole)
            sweep.run_range(None, 0, sweep.size)
            sweep.gather()
            up, down = [np.array([sweep.value_at(u * (everywhere == k)) for k in chosen]) for u in (h, -h)]
            found = whole[chosen]
            with np.errstate(invalid="ignore"):  # of infinite values
                plain = (up - down) / (2.0 * h)
                error = np.abs(found - plain) - sweep.tolerance(h, whole, np.maximum(np.abs(up), np.abs(down)))
            wrong = (error > 0.0) | (np.isnan(found) != np.isnan(plain))
            if wrong.any():
                k = int(np.where(wrong, np.nan_to_num(error, nan=np.inf), -1.0).argmax())
                where = tuple(map(int, np.unravel_index(chosen[k], point.shape)))
                raise AssertionError(
                    f"the difference of weight {where} is wrong for the step {h:g}: {found[k]:.17g}, plain "
                    f"{plain[k]:.17g}"
                )

    def _inputs(self, block: slice) -> Floats:
        """Return what the weights of a block of samples multiply: x, and 1 for the bias."""
        x: Floats = self.x[block]
        return np.concatenate([x, np.ones((len(x), 1))], axis=1) if self.bias else x

    def _near(self, block: slice, W: Floats) -> tuple[Floats, Floats, int, Callable[..., Any]]:  # noqa: N803
        """Return inputs of a block, z, samples of one call, and what gives rows for ``z[b]`` moved by u in column j."""
        inputs, data = self._inputs(block), [array[block] for array in self.data]
        z = inputs @ W
        width, moved = self._mover(z)

        def near(b: Indices, j: Indices, u: Floats) -> Floats:
            return self._values(moved(b, j, u), [array[b] for array in data])

        return inputs, z, max(1, self.batch_bytes // (width * z.itemsize)), near

    def _mover(self, z: Floats) -> tuple[int, Callable[..., Floats]]:
        """Return how many numbers of a sample `rows` takes, and what gives them for ``z[b]`` moved by u in column j."""

        def moved(b: Indices, j: Indices, u: Floats) -> Floats:
            points = z.take(b, axis=0)
            points.reshape(-1)[np.arange(0, points.size, z.shape[1]) + j] += u
            return points

        return z.shape[1], moved

    def _block(self, W: Floats, block: slice) -> Block:  # noqa: N803
        # The unit of nets is 1, as their rows add 1e-7 to a probability.
        return Block(W, partial(self._near, block), 0.0 if self._asks else 1.0)

    def _values(self, z: Floats, data: list[NDArray[Any]]) -> NDArray[Any]:
        """Return what `rows` returns, after checking that it is a real number a sample."""
        try:
            returned = self.rows(z, *data)
        except Exception as error:
            if is_compiled(self.rows):
                raise_compile_error(error, "rows for this z and data")
            raise
        rule = "rows must return one number a sample"
        try:
            values = unmasked(returned, "what rows returns")
        except ValueError:
            raise ValueError(f"{rule}, got {describe(returned)}, ragged") from None
        if values.shape != z.shape[:1]:
            got = f"of shape {z.shape[:1]}, got the shape {values.shape}"
            raise ValueError(f"{rule}, {'it returned None: is a return missing?' if returned is None else got}")
        if values.dtype.kind not in "fiu":
            raise TypeError(f"rows must return real numbers, got dtype {values.dtype}")
        return values


class _Layer:
    """The kind of a `LayerObjective`: nothing is perturbed but copies of pre-activations."""

    has_descent = False
    seen: tuple[float, float] | None = None

    def __init__(self, f: LayerObjective) -> None:
        self.f = f
        self.given: Any = None

    @property
    def threads(self) -> bool:
        """Whether several threads may run it: not if `rows` starts threads of its own."""
        if "numba" not in sys.modules:
            return True
        from .captures import calls_threads

        return not calls_threads(self.f.rows)

    def place(self, W: ArrayLike, args: tuple[Any, ...]) -> tuple[NDArray[Any], bool]:  # noqa: N803
        """Return W as a C-contiguous float64 matrix; nothing perturbs it."""
        if args:
            raise TypeError("a LayerObjective takes no args; give it what belongs to the samples as data=(t,)")
        array = plain_numbers(W, "W")
        inputs = self.f.x.shape[1] + self.f.bias
        if array.ndim != 2 or len(array) != inputs or not array.size:
            rule = f"W must have the shape ({inputs}, columns), a row for each input"
            several = "; take the points one by one, without points_axis" if array.ndim > 2 else ""
            raise ValueError(f"{rule}{' and one for the bias' if self.f.bias else ''}, got {array.shape}{several}")
        self.given = W
        return (array if is_flat_float64(array) else private_copy(array)), False

    def check(self, W: Floats) -> None:  # noqa: N803
        """Raise a ValueError if `rows` is not a function of independent samples, or of W by others than these.

        The former is asked once, the latter once for each W in turn that was given, of which W itself may be a copy.
        """
        f, given, self.given = self.f, self.given, None  # it need not travel
        if not f._asks:
            return
        block, weights = slice(0, max(2, BLOCK // max(W.shape))), W.copy()
        data = [array[block] for array in f.data]

        @underflowing
        def evaluate() -> Any:
            if is_compiled(f.rows):
                from .captures import captured

                refuse_captured(captured(f.rows), given, "rows")
            return f._values(f._inputs(block) @ weights, [array.copy() for array in data])

        rule = "rows, x or data read W by another way than x @ W, which alone moves; pass lambda W: objective(W)"
        check_argument_is_all(f, given, evaluate, rule)
        if not f._is_known:
            check_independent(f._values, lambda: f._inputs(block) @ W, data)
            f._is_known = True

    def value(self, W: Any, args: tuple[Any, ...]) -> float:  # noqa: N803
        """Return f(W)."""
        return float(self.returned(W, args))

    @underflowing
    def returned(self, W: Any, args: tuple[Any, ...]) -> Any:  # noqa: N803
        """Return f(W) in the precision of `rows`, block by block."""
        f, point, sums = self.f, self.place(W, args)[0], list[Any]()
        for block in self.blocks(point):
            _, z, _, near = f._near(block, point)
            rows = near(everyone := np.arange(len(z)), 0 * everyone, 0.0 * everyone)
            sums.append(np.sum(widened(rows)))
        mean = sum(sums[1:], sums[0]) / len(f.x)
        return np.float16(mean) if rows.dtype == np.float16 else mean

    def blocks(self, W: Floats) -> list[slice]:  # noqa: N803
        """Return fixed blocks of samples, whatever the workers, so that bits are equal."""
        length = max(1, min(BLOCK // max(W.shape), MOST))
        return [slice(first, first + length) for first in range(0, len(self.f.x), length)]

    def sweep(self, W: Any, args: tuple[Any, ...], rule: Rule, where: Any, out: Floats) -> _LayerSweep:  # noqa: N803
        """Return the work of `rule`, a sum of central quotients; an error of `central_parts` if it is none."""
        return _LayerSweep(self, W, args, rule, where, out)

    @underflowing
    def slopes(self, x: Any, args: tuple[Any, ...], name: str = "") -> Slopes:  # noqa: ARG002
        """Return the gradient, not a difference, and its error bars: sums of those of samples and columns."""
        W, f = self.place(x, args)[0], self.f  # noqa: N806
        self.check(W)
        total = np.zeros((4, *W.shape))
        for block in self.blocks(W):
            near = f._block(W, block)
            for columns in np.split(np.arange(W.shape[1]), range(GROUP, W.shape[1], GROUP)):
                *found, root = near.sums(columns)
                total[:3, :, columns] += found
                total[3][:, columns] = np.hypot(total[3][:, columns], root)
        slopes, bars, kinks, root = total
        return Slopes(*(values / len(f.x) for values in (slopes, bars + root, kinks)))

    def at_once(self, x: Any, args: Any, rule: Rule, where: Any, out: Floats, size: int | None = None) -> int:  # noqa: ARG002
        """Return -1: there is no shortcut."""
        return -1


def _moved_by_rounding(near: Block, h: float) -> Floats:
    """Return what 64 roundings of z change rows by, at z and a step beyond: a sum over samples, column by column."""
    samples, columns = near.z.shape
    b, j = near.pairs(np.arange(columns))
    places, rounding = (0.0 * near.size[b], h * near.size[b]), 64 * near.eps * near.rowmax[b]
    changes = np.abs([near.values(b, j, u + rounding) - near.values(b, j, u) for u in places])
    largest = changes.max(axis=0, where=np.isfinite(changes), initial=0.0)
    return np.asarray(largest.reshape(columns, samples).sum(axis=1))


class _LayerSweep(Sweep):
    """Groups of columns as units.

    `out` has the shape (groups, inputs, columns of a group): a view of the result, if all groups have one width.
    """

    is_grouped = value_cancels = True

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        f, (inputs, columns) = self.objective.f, self.x.shape
        self.chosen, self.terms = members_of(self.where), central_parts(self.rule, self.where, "a layer objective")
        self.objective.check(self.x)
        # Of nearly one width: a prime number of columns, each a group, would take three times as long.
        # Fixed by test_groups_are_few_whatever_the_number_of_columns in tests/test_rows.py.
        self.width = width = -(-columns // max(GROUPS, -(-columns // GROUP)))
        is_all, count = not len(self.chosen), -(-columns // width)
        self.groups = np.arange(count) if is_all else np.unique(self.chosen % columns // width)
        if is_all and columns % width == 0:
            self.out = self.result.reshape(inputs, count, width).transpose(1, 0, 2)
        else:
            self.out = np.full((len(self.groups), inputs, width), np.nan)
        self.size, self.throughput = len(self.groups), f._throughput
        self.cost = self.x.shape, f.x.shape, len(self.terms)
        x, blocks = self.x, self.objective.blocks(self.x)
        keeps = len(f.x) * (columns + 4 * inputs) <= KEPT
        self.blocks, self.block = range(len(blocks)), lru_cache(None if keeps else 0)(lambda k: f._block(x, blocks[k]))

    @underflowing
    def run_range(self, _: Any, start: int, stop: int) -> int:
        """Write the quotients of groups of columns."""
        flags = 0
        for k in range(start, stop):
            first = self.width * int(self.groups[k])
            columns = np.arange(first, min(first + self.width, self.x.shape[1]))
            total: Any = 0.0
            for block in self.blocks:  # no `map`: a StopIteration of rows would end it, and leave the rest out
                near = self.block(block)
                for factor, h in self.terms:
                    total = total + factor / (2.0 * h * len(self.objective.f.x)) * near.differences(columns, h)
            self.out[k, :, : len(columns)] = total
            flags |= RESPONDED if total.any() else 0
        return flags

    @underflowing
    def tolerance(self, h: float, slopes: Floats, values: Floats) -> Floats:
        """Return by how much plain differences of such values may be others: round-off, and 1e-9 of the largest."""
        blocks, f = [self.block(k) for k in self.blocks], self.objective.f
        eps, rows = np.max([(b.eps, b.largest) for b in blocks], axis=0)
        largest = np.abs(slopes).max(where=np.isfinite(slopes), initial=0.0)
        values = np.where(np.isfinite(values), np.maximum(rows, values), rows)
        moved = np.max(sum([_moved_by_rounding(b, h) for b in blocks])) / len(f.x)
        return np.asarray((64 * eps * values + moved) / h + 1e-9 * largest)

    def gather(self) -> None:
        """Write to the result what is not a view of it."""
        if self.out.base is None:
            row, column = divmod(self.chosen if len(self.chosen) else np.arange(self.x.size), self.x.shape[1])
            group, place = divmod(column, self.width)
            self.result[...] = self.out[np.searchsorted(self.groups, group), row, place]
