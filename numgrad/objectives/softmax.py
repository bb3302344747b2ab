"""The softmax layer as an objective: all its central differences by matrix products, as `layers` derives."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arguments import FLOAT64, real_array
from ..loops import RESPONDED, Floats, Rule, central_parts, make_quotients, members_of
from ..threads import Sweep, Throughput
from .incremental import Incremental, IncrementalObjective, kernels_of
from .layers import SERIES, SHORT, cross_entropy, cube, difference, exact_state, regimes_of, series
from .python import PythonObjective

__all__: list[str] = []  # nothing here is public

# Weights whose differences are made at a time: 1 MiB of single precision, and Ctrl-C within a second.
# Fixed by test_prepare_and_the_result_are_all_that_grows.
TILE = 2**18
# Terms of exact differences of one compiled call, some 50 ns each, between which Ctrl-C is seen. No tuning.
EXACT = 2**20
# Part of a logit's step whose cube counts for less than a rounding. Fixed by test_tiny_steps.
NO_CUBE = 1e-9
# Unit of x: the least largest element whose cubes are normal numbers of single precision, and its inverse the greatest.
# Fixed by test_every_regime_agrees_with_50_digits.
LEAST = 1e-10
# Coefficients below which a column is scaled: those that count beside it are normal numbers of single precision.
# Fixed by test_edge_cases_agree_with_50_digits.
SMALL = 1e-25
KERNELS = kernels_of(difference)


class SoftmaxObjective(IncrementalObjective):
    """The loss of a layer of weights of `shape` for the samples `x`, of shape (batch, features).

    `t` holds integer labels, or soft ones, of shape (batch, classes). All differences in C order come from matrix
    products; those of features beyond the series come one by one, as `difference` does any.
    """

    def __init__(self, x: Floats, t: NDArray[Any], shape: tuple[int, ...]) -> None:
        def logits(W: Floats) -> Floats:  # noqa: N803
            if W.shape != shape:
                raise ValueError(f"W must have the shape of the net's weights, {shape}, got {W.shape}")
            return np.asarray(np.dot(x, W), dtype=FLOAT64)

        def value(W: Any) -> float:  # noqa: N803
            return cross_entropy(logits(real_array(W, "W")), t)

        def prepare(W: Floats, h: float) -> Any:  # noqa: N803
            z = logits(W)
            return exact_state(x, t, z, h, series(z, t))

        # And not by IncrementalObjective, whose looks at the three take a small layer 3 % of a gradient.
        self.value, self.prepare, self.difference, self._throughput = value, prepare, difference, Throughput()
        self._data, self._logits, self._only_reads = (x, t, shape), logits, True
        self._cubes = np.empty(x.shape, np.float32)
        cube(x, self._cubes)
        largest = max(float(self._cubes.max()), -float(self._cubes.min())) ** (1 / 3)
        # Where the cubes are no normal numbers of single precision, the other series scales them.
        self._largest = largest if LEAST < largest < 1.0 / LEAST else np.inf

    def __reduce__(self) -> Any:
        return SoftmaxObjective, self._data

    def _as_objective(self) -> _Softmax:
        return _Softmax(self)


class _Softmax(Incremental):
    """The kind of a `SoftmaxObjective`."""

    def __init__(self, f: SoftmaxObjective) -> None:
        self.f, self.kernels, self.throughput, self.plain = f, KERNELS, f._throughput, PythonObjective(f.value)

    def sweep(self, x: Any, args: tuple[Any, ...], rule: Rule, where: Any, out: Floats) -> Any:
        """Return the work of `rule`, by products where it is a sum of central quotients."""
        if rule.columns > 1 or not central_parts(rule, where):
            return super().sweep(x, args, rule, where, out)
        return _ProductSweep(self, x, args, rule, where, out)


class _ProductSweep(Sweep):
    """Tiles of features as units: fixed, whatever the workers, so that bits are equal."""

    is_grouped = True

    def __init__(self, objective: Any, W: Any, args: tuple[Any, ...], rule: Rule, where: Any, out: Floats) -> None:  # noqa: N803
        super().__init__(objective, W, args, rule._replace(needs_value=False) if rule.needs_value else rule, where, out)
        self.f, (features, classes), chosen = objective.f, W.shape, members_of(where)
        self.length = length = max(1, min(TILE // classes, features))
        self.tiles = np.unique(chosen // (classes * length)) if len(chosen) else np.arange(-(-features // length))
        is_buffer, self.result = len(chosen) > 0 or features % length > 0, out
        shape = len(self.tiles), length, classes
        self.out = np.empty(shape) if is_buffer else out.reshape(shape)
        z, parts = self.f._logits(W), central_parts(rule, where)
        is_short = max(h for _, h in parts) * self.f._largest <= SHORT
        tables = series(z, self.f._data[1], short=is_short)
        self.parts = [(factor, _Step(self.f, h, z, tables)) for factor, h in parts]
        self.size, self.cost = len(self.tiles), (W.shape, len(self.parts))
        self.throughput = objective.throughput if self.size > 1 else None  # nobody need cut what is one unit

    def __reduce__(self) -> Any:
        return _arrived, (self.objective, self.x, self.args, self.rule, self.where, len(self.result))

    def thread_state(self) -> Any:
        """Return nothing: the tables are only read."""

    def run_range(self, _: Any, start: int, stop: int) -> int:
        """Write the quotients of some tiles."""
        flags = 0
        for k in range(start, stop):
            first = self.length * int(self.tiles[k])
            target = self.out[k, : len(self.x) - first]
            for number, (factor, step) in enumerate(self.parts):
                part = np.empty_like(target) if number else target
                step.write(first, part, self.objective.kernels.loops[make_quotients][0])
                if len(self.parts) > 1:
                    part *= factor
                if number:
                    target += part
            flags |= RESPONDED if target[0].any() or target.any() else 0
        return flags

    def finish(self) -> int:
        """Write to the result what is not a view of it."""
        if len(chosen := members_of(self.where)):
            tile = self.length * self.x.shape[1]
            position = np.searchsorted(self.tiles, chosen // tile)
            self.result[...] = self.out.reshape(len(self.tiles), -1)[position, chosen % tile]
        elif self.out.base is None:
            self.result[...] = self.out.reshape(-1)[: len(self.result)]
        return 0


class _Step:
    """The quotients for one step h."""

    def __init__(self, f: SoftmaxObjective, h: float, z: Floats, tables: list[Floats]) -> None:
        (self.x, t, _), self.h, (a, _, cubic, quintic) = f._data, h, tables
        batch, largest = len(z), f._largest
        self.linear, self.is_short, self.cubes = a * (-1.0 / batch), h * largest <= SHORT, None
        if not self.is_short:
            self.regimes = regimes_of(self.x, h)
            self.exact = exact_state(self.x, t, z, h, tables) if self.regimes.any() else None
            self.cubic = cubic * (-1.0 / (h * batch))
            self.last, self.scale = single(quintic * (-(SERIES**5) / (h * batch)))
        elif h * largest > NO_CUBE:
            self.cubes = f._cubes
            self.last, self.scale = single(cubic * (-h * h / batch))

    def write(self, first: int, out: Floats, kernel: Any) -> None:
        """Write the quotients of the features from the `first` on."""
        features = slice(first, first + len(out))
        x = self.x[:, features]
        if self.is_short:
            np.dot(x.T, self.linear, out=out)
            if self.cubes is not None:
                out += self._scaled(self.cubes[:, features])
            return
        own = np.flatnonzero(self.regimes[features] == 0)
        if len(own):
            is_all = len(own) == len(out)
            x, found = (x, out) if is_all else (x[:, own], np.empty((len(own), out.shape[1])))
            u = self.h * x
            powers = u * u * u
            np.dot(x.T, self.linear, out=found)
            found += powers.T @ self.cubic
            u /= SERIES
            powers *= u * u / SERIES**3
            found += self._scaled(powers.astype(np.float32))
            if not is_all:
                out[own] = found
        if self.exact is None:
            return
        rest, classes = np.flatnonzero(self.regimes[features]), out.shape[1]
        coordinates = np.add.outer((first + rest) * classes, np.arange(classes)).reshape(-1)
        found, length = np.empty(len(coordinates)), max(1, EXACT // (len(self.x) * max(1, self.exact[-1].shape[1])))
        for start in range(0, len(found), length):
            part = slice(start, start + length)
            kernel(self.exact, (self.h, 1), (), coordinates[part], 0, len(found[part]), found[part])
        out[rest] = found.reshape(len(rest), classes)

    def _scaled(self, powers: NDArray[np.float32]) -> NDArray[Any]:
        """Return the last term of the series for some features."""
        product: NDArray[Any] = powers.T @ self.last
        return product if self.scale is None else product * self.scale


def single(table: Floats) -> tuple[NDArray[np.float32], Floats | None]:
    """Return a table in single precision, and the unit of each column where one is too small for it."""
    scale = np.abs(table).max(axis=0)
    if scale.min() > SMALL:
        return table.astype(np.float32), None
    scale[scale == 0.0] = 1.0
    return (table / scale).astype(np.float32), scale


def _arrived(objective: Any, x: Any, args: Any, rule: Rule, where: Any, size: int) -> _ProductSweep:
    """Return a sweep where it arrived, with a result of its own."""
    return _ProductSweep(objective, x, args, rule, where, np.empty(size))
