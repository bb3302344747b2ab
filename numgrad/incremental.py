"""IncrementalObjective: the third kind of objective, whose differences cost less than a call of it."""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import buffers
from .arguments import describe, whole_number
from .inspection import explain, is_compiled, jit_is_disabled
from .scalars import compiled_difference, real_number
from .schemes import Stencil, Step
from .workers import Pace

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


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

    threads = True
    why_no_threads = ""

    def __init__(
        self, value: Callable[..., float], prepare: Callable[..., Any], difference: Callable[[Any, int], float]
    ) -> None:
        for name, function in (("value", value), ("prepare", prepare), ("difference", difference)):
            if not callable(function):
                raise TypeError(f"{name} must be callable, got {describe(function)}")
        if not (is_compiled(difference) or jit_is_disabled()):
            raise TypeError("difference must be compiled: decorate it with numba.njit()")
        self.value, self.state, self.difference = value, prepare, difference
        self.pace = self.estimate_pace = Pace()

    def __call__(self, x: ArrayLike, *args: Any) -> float:
        """Return ``value(x, *args)``."""
        return self.value(x, *args)

    def __repr__(self) -> str:
        return f"IncrementalObjective(difference={getattr(self.difference, '__name__', self.difference)})"

    def __reduce__(self) -> Any:
        return IncrementalObjective, (self.value, self.state, self.difference)

    # What follows is the protocol of `objectives.Objective`, but for `verify`.

    @property
    def f(self) -> Any:
        """Return itself, as what the user gave."""
        return self

    def hold(self, x: ArrayLike) -> tuple[NDArray[Any], bool]:
        """Return `x` as an array; nothing perturbs it."""
        return buffers.real_array(x), False

    def may_be_deaf(self, private: bool) -> bool:  # noqa: ARG002
        """Return False: differences that are zero say nothing of arguments that are ignored."""
        return False

    def check(self, x: NDArray[Any], args: tuple[Any, ...]) -> None:
        """Do nothing: what `difference` captured is its own."""

    def value_at(self, x: NDArray[Any], args: tuple[Any, ...]) -> float:
        """Return f(x)."""
        return real_number(self.value(x, *args))

    def estimate(self, *_: Any) -> int:
        """Raise: its differences have one step for all coordinates."""
        raise TypeError(
            "an incremental objective has no steps of each coordinate, which an estimate with errors looks for; pass "
            "its value function, or compare two steps h of numerical_gradient, as check_gradient does"
        )

    def parts(self, x: NDArray[Any], step: Step, args: tuple[Any, ...]) -> list[tuple[float, Step]]:  # noqa: ARG002
        """Return the central quotients of which a scheme is the sum.

        Raises
        ------
        ValueError
            If it is no such sum, or has other steps for other coordinates.
        """
        parts = step.central_parts() if isinstance(step, Stencil) else []
        if not parts:
            raise ValueError(
                "an incremental objective has central differences of one step h: scheme must be 'central', 'central4', "
                "'central6' or symmetric likewise, h a number, and bounds None"
            )
        return list(parts)

    def prepare(self, x: NDArray[Any], h: Any, args: tuple[Any, ...]) -> Any:
        """Return the state for `x` as a C-contiguous float64 array."""
        x = x.view(np.ndarray)
        if not buffers.is_flat_float64(x):
            x = buffers.private_copy(x)
        return self.state(x, h, *args)

    def own(self, state: Any) -> Any:
        """Return the same state for every thread, which only reads it."""
        return state

    def fill(
        self,
        state: Any,
        h: Any,
        args: tuple[Any, ...],  # noqa: ARG002
        coordinates: Indices,
        start: int,
        stop: int,
        out: Floats,
    ) -> int:
        """Write the quotients of a range of coordinates to `out`."""
        try:
            columns = out.shape[-1] if out.ndim > 1 else 1
            flags: int = _quotients(self.difference)(state, h, coordinates, columns, start, stop, out)
        except Exception as error:
            explain(error, "difference(state, k)")
            raise
        return flags

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
        point, h = buffers.private_copy(buffers.real_array(x)), 1e-4
        count = min(whole_number("samples", samples, 1), point.size)
        chosen = np.sort(np.random.default_rng(rng).choice(point.size, count, replace=False)).astype(np.intp)
        quotients, flat, worst = np.empty(count), point.reshape(-1), (1.0, "")
        self.fill(self.prepare(point, h, args), h, args, chosen, 0, count, quotients)
        for k, found in zip(chosen.tolist(), (quotients * (2 * h)).tolist(), strict=True):
            value = flat[k]
            flat[k] = value + h
            plus = real_number(self.value(point, *args))
            flat[k] = value - h
            minus = real_number(self.value(point, *args))
            flat[k] = value
            plain = plus - minus
            tolerance = buffers.EPS * (abs(plus) + abs(minus)) * (8 + np.log2(point.size))
            tolerance += buffers.EPS * (abs(value) + h) / h * abs(plain)
            if found == plain or (math.isnan(found) and math.isnan(plain)):
                continue
            excess = abs(found - plain) / tolerance if tolerance else math.inf
            excess = math.inf if math.isnan(excess) else excess
            if excess > worst[0]:
                where = tuple(map(int, np.unravel_index(k, point.shape)))
                worst = (excess, f"{where}: difference {found:.17g}, plain {plain:.17g}, tolerance {tolerance:.2g}")
        if worst[1]:
            raise AssertionError(f"the incremental difference is wrong, worst at coordinate {worst[1]}")


@functools.lru_cache(maxsize=256)
def _quotients(difference: Any) -> Any:
    from . import kernels

    return kernels.make_quotients(compiled_difference(difference))
