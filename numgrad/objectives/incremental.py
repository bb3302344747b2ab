"""IncrementalObjective: an objective whose differences cost less than a call of it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import config
from numpy.typing import ArrayLike, NDArray

from ..arguments import describe, is_compiled, raise_compile_error, real_array, real_number, whole_number
from ..loops import Floats, Indices, Rule, make_central, make_directions, make_quotients
from ..points import EPS, is_flat_float64, is_unchanged, private_copy, without_mask, written_through
from ..ridders import make_estimates
from ..threads import Sweep, Throughput
from .compiled import Kernels, objective_of
from .compiling import INLINE, compiled, cost_of
from .python import PythonObjective

__all__ = ["IncrementalObjective"]


class IncrementalObjective:
    """An objective that knows what a change of one coordinate touches, so that a difference costs less than a call.

    Parameters
    ----------
    value : callable
        ``value(x, *args) -> float``: the objective itself, plain Python or compiled.
    prepare : callable
        ``prepare(x, h, *args) -> state``: what all differences at `x` with step `h` share, a tuple of arrays and
        numbers. Called once a gradient, with a float64 array; plain Python or compiled.
    difference : function compiled with `numba.njit`
        ``difference(state, k) -> float``: ``f(x + h e_k) - f(x - h e_k)`` for the flat coordinate k, in C order. It may
        run on several threads at once and must not write to `state`.

    Attributes
    ----------
    value, prepare, difference : callable
        The three functions, as they were given.

    Raises
    ------
    TypeError
        If one of them is not callable, or `difference` is not compiled.

    Notes
    -----
    The functions whose differences are cheap are called coordinate-friendly in optimisation: Peng, Wu, Xu, Yan and
    Yin, *Coordinate friendly structures, algorithms and applications*, 2016.

    Examples
    --------
    A sum of squares: the change of one coordinate by +-h changes one term, by ``4 h x_k`` in all.

    >>> import numpy as np
    >>> from numba import njit
    >>> from numgrad import IncrementalObjective, numerical_gradient
    >>> @njit()
    ... def difference(state, k):
    ...     x, h = state
    ...     return 4.0 * h * x[k]
    >>> objective = IncrementalObjective(lambda x: np.sum(x**2), lambda x, h: (x.ravel(), h), difference)
    >>> objective.verify(np.array([3.0, 4.0]))
    >>> print(numerical_gradient(objective, np.array([3.0, 4.0])))
    [6. 8.]
    """

    def __init__(
        self, value: Callable[..., float], prepare: Callable[..., Any], difference: Callable[[Any, int], float]
    ) -> None:
        for name, function in (("value", value), ("prepare", prepare), ("difference", difference)):
            if not callable(function):
                raise TypeError(f"{name} must be callable, got {describe(function)}")
        if not (is_compiled(difference) or config.DISABLE_JIT):  # type: ignore[attr-defined]
            raise TypeError("difference must be compiled: decorate it with numba.njit()")
        self.value, self.prepare, self.difference = value, prepare, difference
        # Kept here, since each call makes an _Incremental anew: the next one knows how fast the last one was.
        self._throughput = Throughput()
        self._only_reads = False  # whether it is known that no function writes to x, so that nobody need look

    def __call__(self, x: ArrayLike, *args: Any) -> float:
        """Return ``value(x, *args)``."""
        return self.value(x, *args)

    def __repr__(self) -> str:
        return f"IncrementalObjective(difference={getattr(self.difference, '__name__', self.difference)})"

    def __reduce__(self) -> Any:
        return IncrementalObjective, (self.value, self.prepare, self.difference)

    def _as_objective(self) -> _Incremental:
        return _Incremental(self)

    def verify(self, x: ArrayLike, args: tuple[Any, ...] = (), *, samples: int = 32, rng: Any = None) -> None:
        """Compare differences of random coordinates with plain ones of `value`, at the step 1e-4.

        Parameters
        ----------
        x : array_like
            Where to compare. It is not changed.
        args : tuple, optional
            Further arguments of `value` and `prepare`.
        samples : int, default 32
            Number of coordinates, all of them if there are no more.
        rng : numpy.random.Generator or seed, optional
            What chooses them.

        Raises
        ------
        AssertionError
            If some difference is off by more than the round-off of the plain one can explain. It names the worst
            coordinate, both differences and the tolerance: for two values of a sum of n terms, added pairwise,
            ``eps (|f+| + |f-|) (8 + log2 n)``, and for the points, ``eps (|x_k| + h) / h`` times the difference.
        """
        count, h = whole_number("samples", samples, 1), 1e-4
        x = written_through(real_array(x), x)[0]
        chosen = np.random.default_rng(rng).choice(x.size, min(count, x.size), replace=False)
        chosen = np.sort(chosen).astype(np.intp)
        rule, found, plain = Rule(make_central, (h,)), np.empty(len(chosen)), np.empty(len(chosen))
        own = _Incremental(self)
        kind = own.plain
        memory, _ = kind.place(x, args)
        for objective, point, quotients in ((own, x, found), (kind, memory, plain)):
            sweep = objective.sweep(point, args, rule, chosen, quotients)
            sweep.run_range(sweep.thread_state(), 0, len(chosen))
        values = np.abs(kind.value(memory, args)) + np.abs(2 * h * plain)
        tolerance = EPS * 2 * values * (8 + np.log2(max(x.size, 1)))
        tolerance += EPS * (np.abs(np.asarray(x, dtype=np.float64).reshape(-1)[chosen]) + h) / h * np.abs(2 * h * plain)
        _compare(2 * h * found, 2 * h * plain, tolerance, chosen, x.shape)


def _compare(found: Floats, plain: Floats, tolerance: Floats, chosen: Indices, shape: tuple[int, ...]) -> None:
    """Raise an AssertionError that names the coordinate where `found` is off the most, in tolerances."""
    with np.errstate(all="ignore"):
        excess = np.abs(found - plain) / tolerance
    excess[np.isnan(excess)] = np.inf
    excess[(found == plain) | (np.isnan(found) & np.isnan(plain))] = 0.0
    if excess.max(initial=0.0) > 1.0:
        k = int(excess.argmax())
        where = tuple(map(int, np.unravel_index(chosen[k], shape)))
        ignored = "" if plain.any() else "; value seems to ignore its argument: pass the array that it reads, writable"
        raise AssertionError(
            f"the incremental difference is wrong, worst at coordinate {where}: difference {found[k]:.17g}, plain "
            f"{plain[k]:.17g}, tolerance {tolerance[k]:.2g}{ignored}"
        )


class _Incremental:
    """The kind of an `IncrementalObjective`: nothing is perturbed, and its kernel loops over `difference`."""

    has_descent = False

    def __init__(self, f: IncrementalObjective) -> None:
        self.f, self.kernels, self.throughput = f, _kernels(f.difference), f._throughput
        self.plain: Any = objective_of(f.value) if is_compiled(f.value) else PythonObjective(f.value)

    def __reduce__(self) -> Any:
        return _Incremental, (self.f,)

    @property
    def threads(self) -> bool:
        """Whether several threads may run it; known once it has a place."""
        return self.kernels.threads

    def place(self, x: ArrayLike, args: tuple[Any, ...]) -> tuple[NDArray[Any], bool]:  # noqa: ARG002
        """Return `x` as a C-contiguous float64 array; nothing perturbs it."""
        if not self.kernels.kinds:
            self.kernels.meet("difference")
        array = without_mask(real_array(x))
        return (array if is_flat_float64(array) else private_copy(array)), False

    def value(self, x: Any, args: tuple[Any, ...]) -> float:
        """Return f(x) as a number; ValueError if the value function writes to its argument."""
        return self.plain.value(x, args)  # type: ignore[no-any-return]

    def returned(self, x: Any, args: tuple[Any, ...]) -> Any:
        """Return what the value function returned."""
        return self.plain.returned(x, args)

    def sweep(self, x: Any, args: tuple[Any, ...], rule: Rule, where: Any, out: Floats) -> _IncrementalSweep:
        """Return the work of `rule`.

        Raises
        ------
        ValueError
            If it is no sum of central quotients, or has other steps for other coordinates.
        TypeError
            If it looks for the step of each coordinate.
        """
        if rule.make is make_estimates:
            raise TypeError(
                "an incremental objective has no steps of each coordinate, which an estimate with errors looks for; "
                "pass its value function, or compare two steps h of numerical_gradient, as check_gradient does"
            )
        return _IncrementalSweep(self, x, args, rule, where, out)

    def at_once(self, x: Any, args: Any, rule: Rule, where: Any, out: Floats, size: int | None = None) -> int:  # noqa: ARG002
        """Return -1: `prepare` takes so long that a sweep does not count."""
        return -1


@functools.lru_cache(maxsize=256)
def _kernels(difference: Any) -> Kernels:
    """Return the loops around `difference`, which objectives over other data share."""
    return Kernels(difference, _around)


def _around(difference: Any, make: Any) -> Any:
    """Return the loop of `make` around the compiled ``difference(state, k)``."""

    @compiled(**INLINE)
    def evaluate(state: Any, k: int) -> Any:
        return real_number(difference(state, k))

    return make(evaluate, compiled())


def _members(where: Any) -> Indices:
    """Return the coordinates, of directions too."""
    return where[1] if isinstance(where, tuple) else where  # type: ignore[no-any-return]


def _central_parts(rule: Rule, where: Any) -> list[tuple[float, float]]:
    """Return (factor, step) of the central quotients whose sum `rule` is, or nothing if it is no such sum."""
    if rule.make is make_central:
        return [(1.0, rule.data[0])]
    if rule.make is not make_directions or len(where[0]) or len(where[2]) > 1:
        return []
    _, _, offsets, weights, index, denominators, use_stored_distance = rule.data
    if use_stored_distance or len(index) > 1:
        return []
    h = where[2].item()
    table = dict(zip(offsets[index[0]].tolist(), weights[index[0]].tolist(), strict=True))
    if any(table.get(-offset, 0.0) != -weight for offset, weight in table.items()):
        return []
    return [(2.0 * o * w / denominators[index[0]], o * h) for o, w in table.items() if o > 0.0]


class _IncrementalSweep(Sweep):
    """Coordinates in one compiled loop over differences, or in one for each central quotient of a scheme."""

    def __init__(
        self, objective: _Incremental, x: Any, args: tuple[Any, ...], rule: Rule, where: Any, out: Floats
    ) -> None:
        super().__init__(objective, x, args, rule._replace(needs_value=False), where, out)  # f(x) cancels in it
        parts = _central_parts(rule, where)
        if not parts:
            raise ValueError(
                "an incremental objective has central differences of one step h: scheme must be 'central', 'central4', "
                "'central6' or symmetric likewise, h a number, and bounds None"
            )
        self.columns = x.shape[-1] if x.ndim > 1 and not len(_members(where)) else 1
        # A copy: whatever `prepare` keeps of its argument, and `difference` reads, is not the caller's memory.
        self.own = x if objective.f._only_reads else x.copy()
        self.parts = [(factor, h, objective.f.prepare(self.own, h, *args)) for factor, h in parts]
        if self.own is not x and not is_unchanged(self.own, x):
            raise ValueError("prepare writes to its argument; let it work on a copy, x.copy()")
        # The speed is that of this object's data, and not that of `difference`, which objects of other sizes share.
        self.kernel, self.throughput = objective.kernels.loops[make_quotients][0], objective.throughput
        self.cost = cost_of(x, args), len(parts)

    def thread_state(self) -> Any:
        """Return nothing: `difference` only reads."""

    def run_range(self, _: Any, start: int, stop: int) -> int:
        """Write the quotients of the units start <= k < stop."""
        flags, coordinates = 0, _members(self.where)
        total: Any = 0.0
        try:
            for factor, h, state in self.parts:
                flags |= self.kernel(state, (h, self.columns), (), coordinates, start, stop, self.out)
                if len(self.parts) > 1:
                    total = total + factor * self.out[start:stop]
        except Exception as error:
            raise_compile_error(error, "difference(state, k)")
            raise
        if len(self.parts) > 1:
            self.out[start:stop] = total
        if stop == self.size and self.own is not self.x and not is_unchanged(self.own, self.x):
            raise ValueError("difference writes to what prepare keeps of x, which other threads read; let it only read")
        return flags
