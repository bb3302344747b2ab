"""IncrementalObjective: an objective whose differences cost less than a call of it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import config
from numpy.typing import ArrayLike, NDArray

from ..arguments import (
    describe,
    is_compiled,
    raise_compile_error,
    random_generator,
    real_array,
    real_number,
    refuse_captured,
    whole_number,
)
from ..loops import RESPONDED, Decorator, Floats, Indices, Loop, Rule, central_parts, make_central, members_of, plain
from ..points import EPS, is_flat_float64, is_unchanged, private_copy, resolution, where_defined, written_through
from ..threads import Sweep, Throughput, cost_of
from .captures import captured, check_types, kind_of
from .compiled import Kernels, objective_of
from .compiling import INLINE, PASTE, borrowed, compiled
from .python import PythonObjective

__all__ = ["IncrementalObjective"]

# The power of 10 of the first step of `verify`, in units of x: the package's default h.
# Fixed by test_verify_finds_what_one_step_hides in tests/test_incremental.py.
FIRST_EXPONENT = -4
# Tolerances, without unit, in a plain difference that shows a factor 2 or a wrong sign: by a half of it at least.
# Fixed by test_verify_finds_what_one_step_hides in tests/test_incremental.py.
RESOLVED = 4.0
# Parts of a step at which an error is asked again, and part of it that it is at least if it is none of rounding.
# Fixed by test_verify_allows_for_terms_that_cancel in tests/test_incremental.py.
NEAR, SAME = (63 / 64, 65 / 64, 31 / 32, 33 / 32), 0.75
KIND = "an incremental objective"


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
        # Kept here, since each call makes an Incremental anew: the next one knows how fast the last one was.
        self._throughput = Throughput()

    def __call__(self, x: ArrayLike, *args: Any) -> float:
        """Return ``value(x, *args)``."""
        return self.value(x, *args)

    def __repr__(self) -> str:
        return f"IncrementalObjective(difference={getattr(self.difference, '__name__', self.difference)})"

    def _as_objective(self) -> Incremental:
        return Incremental(self, _IncrementalSweep)

    def verify(self, x: ArrayLike, args: tuple[Any, ...] = (), *, samples: int = 32, rng: Any = None) -> None:
        """Compare differences of random coordinates with plain ones of `value`, at two steps or more.

        The first step is 1e-4, and each further one ten times the last, up to 1 or to the largest ``|x_k|``. A
        coordinate is left out once its plain difference was four tolerances or more at two steps.

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
            coordinate, the step, both differences and the tolerance: for two values of a sum of n terms, added
            pairwise, ``eps (|f+| + |f-|) (8 + log2 n)``, and for the points, ``eps (|x_k| + h) / h`` times
            ``|f+ - f| + |f- - f|``. Also if round-off hides at every step that `value` changes.

        Notes
        -----
        Beyond the first step, which may leave the domain, nothing is compared where `value` is not finite or a function
        raises. An error beyond the tolerance that is another one at steps next to it is the rounding of terms that
        cancel in `value`, and accuses nothing; where it is more than a quarter of the difference, it shows nothing.
        """
        count = whole_number("samples", samples, 1)
        x = written_through(real_array(x), x)[0]
        chosen = random_generator(rng).choice(x.size, min(count, x.size), replace=False)
        comparison = _Comparison(self, x, args, np.sort(chosen).astype(np.intp))
        times = np.zeros(len(chosen), np.intp)
        for exponent in range(FIRST_EXPONENT, comparison.last_exponent + 1):
            if (rest := np.flatnonzero(times < 2)).size:
                times[rest] += comparison.resolves(10.0**exponent, rest, later=exponent > FIRST_EXPONENT)
        comparison.check_visible()


class _Comparison:
    """Incremental and plain differences of the `chosen` coordinates, at one step after another."""

    def __init__(self, f: IncrementalObjective, x: NDArray[Any], args: tuple[Any, ...], chosen: Indices) -> None:
        self.own, self.args, self.chosen, self.shape = f._as_objective(), args, chosen, x.shape
        self.memory, self.point = self.own.plain.place(x, args)[0], self.own.place(x, args)[0]
        if is_compiled(f.value):  # it reads its argument only, and other threads may read x
            self.memory = self.memory.copy()
        returned = self.own.plain.returned(self.memory, args)
        self.value = real_number(returned)
        self.sizes = np.abs(self.point.reshape(-1)[chosen])
        # Twice a step is finite, and so are sizes.
        self.last_exponent = int(np.log10(self.sizes.max(initial=1.0, where=self.sizes < 1e300)))
        self.eps = max(EPS, resolution(self.memory), resolution(np.asarray(returned)))
        self.visible, self.equal = False, True  # does `value` change beyond round-off, do the differences agree exactly

    def resolves(self, h: float, rest: Indices, *, later: bool) -> NDArray[np.bool_]:
        """Return which of the coordinates ``chosen[rest]`` are resolved by h; AssertionError if one is wrong."""
        chosen, sizes = self.chosen[rest], self.sizes[rest]
        try:
            with np.errstate(all="ignore" if later else None):
                found, up, down = self._differences(h, chosen, later)
        except Exception:
            if not later:
                raise
            return np.zeros(len(rest), np.bool_)
        with np.errstate(all="ignore"):
            plain = up - down
            change = np.abs(up - self.value) + np.abs(down - self.value)
            tolerance = self.eps * (np.abs(up) + np.abs(down)) * (8 + np.log2(self.point.size))
            tolerance += self.eps * (sizes + h) / h * change
            excess = np.abs(found - plain) / tolerance
        excess[np.isnan(excess)] = np.inf
        # An eighth of a step is lost to rounding, and with it the plain difference.
        lost = (8 * self.eps * sizes >= h) | (later & ~np.isfinite(plain))
        excess[lost | (found == plain) | (np.isnan(found) & np.isnan(plain))] = 0.0
        self.equal &= not excess.any()
        if len(wrong := np.flatnonzero(excess > 1.0)):
            rounded = wrong[self._are_rounded(h, chosen[wrong], (found - plain)[wrong])]
            excess[rounded], lost[rounded] = 0.0, (np.abs(plain) <= RESOLVED * np.abs(found - plain))[rounded]
        self.visible |= bool((~lost & (change > RESOLVED * tolerance)).any())
        if excess.max(initial=0.0) > 1.0:
            self._raise_wrong(h, chosen, (found, plain, tolerance), int(excess.argmax()))
        return np.asarray(~lost & (np.abs(plain) > RESOLVED * tolerance))

    def _differences(self, h: float, chosen: Indices, may_fail: bool) -> tuple[Floats, Floats, Floats]:
        """Return incremental differences, and f at h and -h along each coordinate, NaN where it raises and may."""
        found = np.full(len(chosen), np.nan)
        sweep = self.own.sweep(self.point, self.args, Rule(make_central, (h,)), chosen, found)
        sweep.run_range(None, 0, sweep.size)
        sweep.gather()
        values, memory = np.full((2, len(chosen)), np.nan), self.memory
        for n, k in enumerate(chosen):
            before = memory.flat[k]
            try:
                for row, step in zip(values, (h, -h), strict=True):
                    memory.flat[k] = before + step
                    row[n] = self.own.plain.value(memory, self.args)
            except Exception:
                if not may_fail:
                    raise
            finally:
                memory.flat[k] = before
        return 2 * h * found, *values

    def _are_rounded(self, h: float, chosen: Indices, errors: Floats) -> NDArray[np.bool_]:
        """Tell which errors are rounding, as of terms that cancel in f: those at steps next to h are others."""
        with np.errstate(all="ignore"):
            near = where_defined(lambda: [self._differences(part * h, chosen, True) for part in NEAR])
            if near is None:
                return np.zeros(len(chosen), np.bool_)
            parts = np.array([found - (up - down) for found, up, down in near]) / errors
        return np.asarray((parts < SAME).any(axis=0) | (parts > 1.0 / SAME).any(axis=0))

    def _raise_wrong(self, h: float, chosen: Indices, numbers: tuple[Floats, Floats, Floats], k: int) -> None:
        """Raise the AssertionError of the coordinate ``chosen[k]``."""
        found, plain, tolerance = numbers
        where = tuple(map(int, np.unravel_index(chosen[k], self.shape)))
        ignored = "" if plain.any() else "; value seems to ignore its argument: pass the array that it reads, writable"
        raise AssertionError(
            f"the incremental difference is wrong, worst at coordinate {where}: difference {found[k]:.17g}, plain "
            f"{plain[k]:.17g}, tolerance {tolerance[k]:.2g}, step {h:g}{ignored}"
        )

    def check_visible(self) -> None:
        """Raise an AssertionError if round-off may have hidden every difference that is not zero."""
        if not (self.visible or self.equal):
            raise AssertionError(
                f"nothing is verified: up to the step {10.0**self.last_exponent:g} value changes by no more than its "
                f"round-off; take an offset off value, or another x"
            )


class Unperturbed:
    """A kind of objective whose kernels only read x, so that nothing is perturbed."""

    has_descent = False
    seen: tuple[float, float] | None = None

    def __init__(self, f: Any, kernels: Kernels) -> None:
        self.f, self.kernels = f, kernels

    def __reduce__(self) -> Any:
        return self.f._as_objective, ()

    @property
    def threads(self) -> bool:
        """Whether several threads may run it; known once it has a place."""
        return self.kernels.threads

    def place(self, x: ArrayLike, args: tuple[Any, ...]) -> tuple[NDArray[Any], bool]:
        """Return `x` as a C-contiguous float64 array."""
        if (kind := tuple(map(kind_of, args))) not in self.kernels.kinds:
            self.kernels.meet(kind, args)
        array = np.asarray(real_array(x))
        if self.kernels.arrays:
            f = self.kernels.f
            refuse_captured((*self.kernels.arrays, *captured(f)), array, getattr(f, "__name__", "function"))
        return (array if is_flat_float64(array) else private_copy(array)), False

    def at_once(self, x: Any, args: Any, rule: Rule, where: Any, out: Floats, size: int | None = None) -> int:  # noqa: ARG002
        """Return -1: what is shared by all differences takes so long that a sweep does not count."""
        return -1


class Incremental(Unperturbed):
    """The kind of an `IncrementalObjective`: its kernel loops over `difference`, as `make_sweep` has it do."""

    def __init__(self, f: IncrementalObjective, make_sweep: Callable[..., Sweep]) -> None:
        super().__init__(f, kernels_of(f.difference))
        self.make_sweep = make_sweep

    @functools.cached_property
    def plain(self) -> Any:
        """The kind of the value function, which most work does without."""
        return objective_of(self.f.value) if is_compiled(self.f.value) else PythonObjective(self.f.value)

    def value(self, x: Any, args: tuple[Any, ...]) -> float:
        """Return f(x) as a number; ValueError if the value function writes to its argument."""
        return self.plain.value(x, args)  # type: ignore[no-any-return]

    def returned(self, x: Any, args: tuple[Any, ...]) -> Any:
        """Return what the value function returned."""
        return self.plain.returned(x, args)

    def sweep(self, x: Any, args: tuple[Any, ...], rule: Rule, where: Any, out: Floats) -> Sweep:
        """Return the work of `rule`, a sum of central quotients; an error of `central_parts` if it is none."""
        return self.make_sweep(self, x, args, rule, where, out)


def make_quotients(difference: Any, decorate: Decorator = plain) -> Loop:  # noqa: ARG001
    """Return the loop over the coordinates for an incremental objective's ``difference(state, k) -> float``."""

    def quotients(state: Any, data: Any, args: Any, where: Any, start: int, stop: int, out: Any) -> int:  # noqa: ARG001
        """Write ``difference(state, i) / 2h`` for ``h, = data``."""
        responded, h = 0, data[0]
        for k in range(start, stop):
            change = difference(state, where[k] if len(where) else k)
            if change != 0.0:
                responded = RESPONDED
            out[k] = change / (2 * h)
        return responded

    return quotients


@functools.lru_cache(maxsize=256)
def kernels_of(difference: Any) -> Kernels:
    """Return the loops around `difference`, which objectives over other data share."""
    return Kernels(difference, _around)


def _around(difference: Any, make: Any) -> Any:
    """Return the loop of `make` around the compiled ``difference(state, k)``."""

    @compiled(**INLINE)
    def evaluate(state: Any, k: int) -> Any:
        return real_number(difference(state, k))

    loop = compiled(**PASTE)(make(evaluate, compiled()))

    def run(state: Any, data: Any, args: Any, where: Any, start: int, stop: int, out: Any) -> Any:
        return loop(state, data, args, borrowed(where), start, stop, borrowed(out))

    return run


class _IncrementalSweep(Sweep):
    """Coordinates in one compiled loop over differences, or in one for each central quotient of a scheme."""

    value_cancels = True

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        x, f, terms = self.x, self.objective.f, central_parts(self.rule, self.where, KIND)
        self.coordinates = members_of(self.where)
        # A copy: whatever `prepare` keeps of its argument, and `difference` reads, is not the caller's memory.
        self.own = x.copy()
        self.terms = [(factor, h, f.prepare(self.own, h, *self.args)) for factor, h in terms]
        if not is_unchanged(self.own, x):
            raise ValueError("prepare writes to its argument; let it work on a copy, x.copy()")
        # The speed is that of this object's data, and not that of `difference`, which objects of other sizes share.
        self.kernel, self.throughput = self.objective.kernels.loops[make_quotients][0], f._throughput
        self.cost = cost_of(x, self.args), len(terms)

    def run_range(self, _: Any, start: int, stop: int) -> int:
        """Write the quotients of the units start <= k < stop."""
        flags, several = 0, len(self.terms) > 1
        total: Any = 0.0
        out = np.empty(stop) if several else self.out  # an exception must not leave a part of a sum in the result
        try:
            for factor, h, state in self.terms:
                flags |= self.kernel(state, (h,), (), self.coordinates, start, stop, out)
                total = total + factor * out[start:stop] if several else total
        except Exception as error:
            check_types((state,), "what prepare returned", "difference")
            raise_compile_error(error, "difference(state, k)")
            raise
        if several:
            self.out[start:stop] = total
        if stop == self.size and not is_unchanged(self.own, self.x):
            raise ValueError("difference writes to what prepare keeps of x, which other threads read; let it only read")
        return flags
