"""Gradient, Jacobian and Hessian: derivatives as functions of x, for the libraries that call one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from inspect import signature
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from . import arguments, driver
from .arguments import ALL_COORDINATES, check_callable, raise_argument_changed, raise_compile_error
from .bounds import Bounds
from .containers import Container, in_order, is_container, relabelled, renewed
from .driver import Progress, Workers, differentiate
from .gradient import by_automatic_steps, numerical_gradient, takes_containers
from .hessian import hessian_vector_product, numerical_hessian
from .inside import check_analytic
from .jacobian import jacobian_of, numerical_jacobian, usual_jacobian
from .loops import ARGUMENT_CHANGED, RESPONDED, Floats, interpreted_central, make_central, make_complex_step
from .magnitudes import with_value
from .objectives.python import PythonObjective, run_in_place
from .points import FLOAT64, LOSS_EPS, lengths_of
from .problem import Options, Problem
from .schemes import AnyScheme, StepSize, is_one, rule_at
from .sparsity import entries_of

__all__ = ["Gradient", "Hessian", "Jacobian"]


# The gradient at x for further arguments of f, or None where it is for others.
Prepared: TypeAlias = "Callable[[Any, tuple[Any, ...]], Floats | None]"
# What is called with flags, gradient, and x with args, where flags tell of more than a response.
Warn: TypeAlias = "Callable[[int, Floats, Any], object]"

# Elements of x up to which checks take a share of the time that counts. Up to as many a kernel copies x itself.
# Fixed by benchmarks/bench_callables.py.
_SMALL = 32
# In place of a copy of x, which the kernel makes.
_NO_COPY = np.empty(0)


def _in_place(objective: PythonObjective, h: Any, warn: Warn) -> Prepared:
    """Return the function for a Python f: it does what `PythonObjective.at_once` does for a plain vector."""
    data = objective.f, objective.as_number, h, LOSS_EPS, False

    def gradient_at(x: Any, args: tuple[Any, ...]) -> Floats | None:
        if x.__class__ is not np.ndarray or x.dtype is not FLOAT64 or x.ndim != 1 or not x.flags.carray:
            return None
        if not 0 < (size := len(x)) <= _SMALL:
            return None
        memory, saved, gradient, objective.seen = x[...], x.copy(), np.empty(size), None
        units = data, args, (), 0, size, gradient.data
        flags = run_in_place(memory, saved, interpreted_central, (x, memory.data, saved.data), units)
        if flags != RESPONDED:
            warn(flags, gradient, (x, args))
        if objective.seen is not None:
            driver.warn_of_seen(objective, x, args, h, gradient)
        return gradient

    return gradient_at


def _compiled(objective: Any, h: Any, warn: Warn) -> Prepared:
    """Return the function for a compiled f: it calls the kernel, if that is known and no other memory is to be checked.

    The loops of an f that was recompiled are others. Work that is not known to be short is cut into ranges elsewhere.
    """
    kernels, units = objective.kernels, ((h,), (), ALL_COORDINATES)
    bound: Any = None, None, None, -1, None
    array, empty = np.ndarray, np.empty  # names that are found faster

    def gradient_at(x: Any, args: tuple[Any, ...]) -> Floats | None:
        nonlocal bound
        if args or x.__class__ is not array or x.dtype is not FLOAT64 or x.ndim != 1 or not x.flags.carray:
            return None
        loops, throughput, known, size, run = bound
        if kernels.loops is not loops or throughput.known is not known or kernels.arrays:
            bound = _bound(kernels, units)
            return None
        if len(x) != size:
            return None
        gradient = empty(size)
        try:
            flags = run(_NO_COPY, x, units, 0, size, gradient)
        except Exception as error:
            raise_compile_error(error)
            raise
        if flags != RESPONDED:
            if flags & ARGUMENT_CHANGED:
                raise_argument_changed()
            warn(flags, gradient, (x, args))
        return gradient

    return gradient_at


def _bound(kernels: Any, units: Any) -> tuple[Any, ...]:
    """Return the loops, the speed of that for vectors, the size for which it is known to be short, and what runs it."""
    from .objectives.compiling import entry_of  # which imports numba

    loops = kernels.loops
    if 1 not in kernels.kinds or make_central not in loops or 1 in kernels.few:
        return None, None, None, -1, None
    kernel, throughput = loops[make_central]
    known = cost, most = throughput.known
    is_short = cost.__class__ is int and 0 < cost <= min(most, _SMALL)
    run = entry_of(kernel, _NO_COPY, _NO_COPY, units, 0, 0, _NO_COPY)
    return loops, throughput, known, cost if is_short else -1, run


def _by_name(f: Any, args: tuple[Any, ...], named: dict[str, Any], first: int = 1) -> tuple[Any, tuple[Any, ...]]:
    """Return f and what follows the `first` arguments, of which some may be given by name.

    What f takes by name alone is bound to it.
    """
    if not named:
        return f, args
    given = signature(f).bind(*first * (None,), *args, **named)
    given.apply_defaults()
    return partial(f, **given.kwargs) if given.kwargs else f, given.args[first:]


def _made(kind: type, base: Any, f: Any, given: dict[str, Any]) -> Any:
    """Return an object of a subclass of `base`, which may have an `__init__` of its own: that is not called."""
    made: Any = object.__new__(kind)
    base.__init__(made, f, **given)
    return made


class _Derivative:
    """A function that returns a derivative of `f`: its options, checked once, by which it pickles and prints.

    `public` is the function that it calls.
    """

    def _take(self, base: type, public: Callable[..., Any], given: dict[str, Any]) -> None:
        """Keep what the `__init__` of `base` was given, and check it, as far as it does not depend on the point."""
        self.base, self.f = base, given.pop("f")
        self.options = options = {name: value for name, value in given.items() if name != "self"}
        self.batch_bytes = options.get("batch_bytes", 1) if options.get("vectorized", False) else None
        self.objective = driver.as_objective(self.f, (), self.batch_bytes)
        driver.as_workers(options["workers"], self.objective)
        check_callable(options.get("gradient"))
        if options.get("sparsity") is not None:
            entries_of(options["sparsity"])
        # What the point decides, as the shape of h, is checked at each call.
        h = options["h"]
        step = h if isinstance(h, str) or (is_one(h) and not isinstance(h, Mapping)) else 1e-4
        public(lambda _: 0.0, np.empty(0), step, scheme=options["scheme"], progress=options["progress"])
        defaults = signature(base).parameters
        self.given = {name: value for name, value in options.items() if value is not defaults[name].default}

    def __reduce__(self) -> Any:
        # A subclass may hold more; what is compiled or bound is made again.
        held = {name: value for name, value in vars(self).items() if name not in {"objective", "_prepared"}}
        return _made, (type(self), self.base, self.f, self.given), held

    def __repr__(self) -> str:
        name = getattr(self.f, "__name__", None) or repr(self.f)
        options = [f"{option}={value!r}" for option, value in self.given.items()]
        return f"{type(self).__name__}({', '.join([name, *options])})"


class Gradient(_Derivative):
    """The gradient of `f` as a function ``gradient(x, *args, **named)``, for optimizers and whatever else calls one.

    Parameters
    ----------
    f : callable
        ``f(x, *args) -> float``, as for `numerical_gradient`.
    h, workers, coordinates, progress, scheme, bounds, vectorized, batch_bytes
        As for `numerical_gradient`; checked now, as far as they do not depend on `x`.

    Raises
    ------
    TypeError, ValueError
        As `numerical_gradient`: for an option when the object is made, for `x` when it is called.

    Notes
    -----
    The numbers are those of ``numerical_gradient(f, x, args=args)``, bit for bit. For a vector of at most 32 float64
    numbers and the default scheme, what can be known before a call is bound to the object, which then takes about
    0.4 of the time of that function for a compiled `f`, and as long as the loop of the book for a Python `f`.

    Pass this object, and not ``functools.partial(numerical_gradient, f)``, to a library that calls it with further
    arguments: the second argument of `numerical_gradient` is the step.

    Examples
    --------
    >>> import numpy as np
    >>> from numgrad import Gradient
    >>> gradient = Gradient(lambda x, a: a * np.sum(x**2), scheme="central4")
    >>> print(gradient(np.array([3.0, 4.0]), 0.5).round(9))
    [3. 4.]
    >>> value, slopes = gradient.value_and_gradient(np.array([3.0, 4.0]), 0.5)
    >>> value, slopes.round(9).tolist()
    (12.5, [3.0, 4.0])
    """

    def __init__(
        self,
        f: Callable[..., Any],
        h: StepSize = 1e-4,
        *,
        workers: Workers = 1,
        coordinates: ArrayLike | None = None,
        progress: Progress = False,
        scheme: AnyScheme = "central",
        bounds: Bounds | None = None,
        vectorized: bool = False,
        batch_bytes: int = 2**26,
    ) -> None:
        self._take(Gradient, numerical_gradient, locals())
        # What changes nothing of a call at one point; batch_bytes counts for a vectorized f alone.
        is_usual = h.__class__ is float and not self.given.keys() - {"h", "batch_bytes"}
        self._prepared: Prepared | None = None
        if is_usual and self.objective.__class__ is PythonObjective:
            self._prepared = _in_place(self.objective, h, self._warn)
        elif is_usual and hasattr(self.objective, "kernels"):
            self._prepared = _compiled(self.objective, h, self._warn)

    def __call__(self, x: Any, *args: Any, **named: Any) -> Any:
        """Return the gradient at `x`, as `numerical_gradient` does; arguments by name reach f too."""
        if not named and (prepared := self._prepared) is not None and (found := prepared(x, args)) is not None:
            return found
        f, args = _by_name(self.f, args, named)
        return numerical_gradient(f, x, args=args, **self.options)

    def _warn(self, flags: int, gradient: Floats, at: tuple[Any, tuple[Any, ...]]) -> None:
        """Warn as the public function does; a compiled f has seen a private copy of x."""
        known = self.objective, self.objective.has_descent, 1, flags, gradient
        ignored = driver.seems_ignored(*known, (*at, None, self.options["h"]))
        driver.warn_of(flags, self.options["h"], ignored, at[0])

    def value_and_gradient(self, x: Any, *args: Any, **named: Any) -> tuple[float, Any]:
        """Return f(x) and the gradient at `x`, as `scipy.optimize.minimize` takes them with ``jac=True``.

        f(x) is one evaluation, and none where the scheme or an automatic step needs it anyway. For arrays in a
        container, schemes that need f(x) evaluate it again for each array.
        """
        if x.__class__ is not np.ndarray and is_container(x):
            return self._of_container(x, args, named)
        f, args = _by_name(self.f, args, named)
        h, scheme, bounds, chosen = (self.options[name] for name in ("h", "scheme", "bounds", "coordinates"))
        objective = driver.as_objective(f, args, self.batch_bytes, bounds)
        point, private = objective.place(x, args)
        # Made before f is asked, for this refuses what is wrong.
        chosen = None if chosen is None else arguments.as_coordinates(chosen, point.size)
        plan = rule_at(point, h, scheme, bounds, chosen)
        value, eps = driver.eps_of_values(objective, point, args)
        if value != value:  # a compiled f has told the type of its values before
            value = objective.value(point, args)
        plan = with_value(plan, value)
        gradient = np.empty(point.shape if chosen is None else chosen.shape)
        flat, workers = gradient.reshape(-1), driver.as_workers(self.options["workers"], objective)
        at, how = (point, args), (workers, self.options["progress"])
        if isinstance(h, str):  # no evaluation more than the scheme needs: no look at noise
            flags = by_automatic_steps(objective, at, plan, (scheme, bounds, chosen), (*how, True), flat, (value, eps))
        else:
            flags = differentiate(objective, *at, plan, flat, *how)
        if plan[0].make is make_complex_step:
            check_analytic(f, point, args, chosen, bounds)
        elif driver.is_perturbed(objective):  # other objectives have differences of their own
            driver.warn_of_digits(value, eps, h, flat)
        if flags != RESPONDED:
            known = objective, private, workers, flags, gradient, (point, args, bounds, lengths_of(plan))
            driver.warn_of(flags, h, chosen is None and driver.seems_ignored(*known), point)
        return value, gradient

    def _of_container(self, x: Any, args: tuple[Any, ...], named: dict[str, Any]) -> tuple[float, Any]:
        """Return f(x) and the gradients of a container, or of a pandas object."""
        (f, more), options = _by_name(self.f, args, named), self.options
        if takes_containers(f, more, x, options["vectorized"]):
            whole = Container(x)
            value = arguments.real_number(whole.protected(lambda: f(renewed(whole.container()), *more)))
            return value, numerical_gradient(f, x, args=more, **options)
        in_order(x, h=options["h"], bounds=options["bounds"])
        value, gradient = self.value_and_gradient(x.to_numpy(), *args, **named)
        return value, gradient if options["coordinates"] is not None else relabelled(x, gradient)


class Jacobian(_Derivative):
    """The Jacobian of `f` as a function ``jacobian(x, *args, **named)``, for solvers and whatever else calls one.

    Parameters
    ----------
    f : callable
        ``f(x, *args)``: an array of any shape, as for `numerical_jacobian`.
    h, workers, sparsity, progress, scheme, bounds, vectorized
        As for `numerical_jacobian`; checked now, as far as they do not depend on `x`.
    fills : bool or tuple of int, default False
        If true, a compiled `f` fills its outputs: ``f(x, out, *args)``, with `out` of this shape, or of that of x for
        True.

    Raises
    ------
    TypeError, ValueError
        As `numerical_jacobian`: for an option when the object is made, for `x` when it is called.

    Examples
    --------
    >>> import numpy as np
    >>> from numgrad import Jacobian
    >>> jacobian = Jacobian(lambda x, a: np.array([a * x[0] * x[1], x[0] - x[1]]))
    >>> print(jacobian(np.array([3.0, 4.0]), 2.0).round(6))
    [[ 8.  6.]
     [ 1. -1.]]
    >>> line = Jacobian(lambda t, a, b: a + b * t)
    >>> print(line.by_parameters(np.array([0.0, 2.0]), 5.0, 3.0).round(6))
    [[1. 0.]
     [1. 2.]]
    """

    def __init__(
        self,
        f: Callable[..., Any],
        h: StepSize = 1e-4,
        *,
        workers: Workers = 1,
        sparsity: Any = None,
        progress: Progress = False,
        scheme: AnyScheme = "central",
        bounds: Bounds | None = None,
        vectorized: bool = False,
        fills: bool | tuple[int, ...] = False,
    ) -> None:
        self._take(Jacobian, numerical_jacobian, locals())
        if fills is not False and not self.objective.has_descent:
            raise TypeError(f"fills=True needs a compiled f, got {arguments.describe(f)}; let f return an array")
        if not isinstance(fills, bool | tuple):
            raise TypeError(f"fills must be a bool or a shape, a tuple of integers, got {arguments.describe(fills)}")
        if isinstance(fills, tuple):
            self.options["fills"] = tuple(arguments.whole_number("a length in fills", length, 0) for length in fills)

    def __call__(self, x: Any, *args: Any, **named: Any) -> Any:
        """Return the Jacobian at `x`, as `numerical_jacobian` does; arguments by name reach f too."""
        if not (args or named) and not self.given.keys() - {"h"}:
            return usual_jacobian(self.f, x, self.options["h"])
        return jacobian_of(self._problem(x, args, named))

    def value_and_jacobian(self, x: Any, *args: Any, **named: Any) -> tuple[Any, Any]:
        """Return f(x), as an array of floats, and the Jacobian at `x`; f is evaluated once at `x` for both."""
        problem = self._problem(x, args, named)
        return problem.base, jacobian_of(problem)

    def _problem(self, x: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Problem:
        first = 1 if self.options["fills"] is False else 2  # x, and what f fills
        f, args = _by_name(self.f, args, named, first)
        return Problem(f, x, Options(args=args, **self.options))

    def by_parameters(self, x: Any, *parameters: float) -> Any:
        """Return the derivatives of ``f(x, *parameters)`` by the parameters, as `scipy.optimize.curve_fit` takes them.

        x, what is measured against, stays as it is; the result has a column for each parameter.
        """
        if self.options["vectorized"] or self.options["fills"] is not False:
            raise ValueError("by_parameters needs an f of one point; make a Jacobian without vectorized=True or fills")
        f, at = self.f, np.array(parameters, np.float64)
        return jacobian_of(Problem(lambda p: f(x, *p), at, Options(**self.options)))


class Hessian(_Derivative):
    """The Hessian of `f` as a function ``hessian(x, *args, **named)``, for optimizers and whatever else calls one.

    Parameters
    ----------
    f : callable
        ``f(x, *args) -> float``, as for `numerical_hessian`.
    h, workers, sparsity, gradient, progress, scheme, bounds
        As for `numerical_hessian`; checked now, as far as they do not depend on `x`.

    Raises
    ------
    TypeError, ValueError
        As `numerical_hessian`: for an option when the object is made, for `x` when it is called.

    Examples
    --------
    >>> import numpy as np
    >>> from numgrad import Hessian
    >>> hessian = Hessian(lambda x, a: a * x[0] ** 2 * x[1])
    >>> x = np.array([3.0, 4.0])
    >>> print(hessian(x, 2.0).round(4))
    [[16. 12.]
     [12.  0.]]
    >>> print(hessian.product(x, np.array([1.0, -1.0]), 2.0).round(4))
    [ 4. 12.]
    """

    def __init__(
        self,
        f: Callable[..., Any],
        h: StepSize = "auto",
        *,
        workers: Workers = 1,
        sparsity: Any = None,
        gradient: Callable[..., Any] | None = None,
        progress: Progress = False,
        scheme: AnyScheme = "central",
        bounds: Bounds | None = None,
    ) -> None:
        self._take(Hessian, numerical_hessian, locals())

    def __call__(self, x: Any, *args: Any, **named: Any) -> Any:
        """Return the Hessian at `x`, as `numerical_hessian` does; arguments by name reach f and its gradient too."""
        f, args, gradient = self._named(args, named)
        return numerical_hessian(f, x, args=args, **(self.options | {"gradient": gradient}))

    def _named(self, args: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, tuple[Any, ...], Any]:
        """Return f, what follows x, and the gradient; where that is given, it says which arguments there are."""
        f, gradient = self.f, self.options["gradient"]
        if gradient is None:
            return *_by_name(f, args, named), None
        gradient, args = _by_name(gradient, args, named)
        return None if named else f, args, gradient

    def product(self, x: Any, v: Any, *args: Any, **named: Any) -> Any:
        """Return the Hessian at `x` times `v`, as `hessian_vector_product` does and SciPy takes by ``hessp=``.

        A ValueError for a Hessian with bounds or another scheme, which it would not keep to.
        """
        if self.given.keys() & {"bounds", "scheme"}:
            cure = "make another Hessian without them, or use hessian(x) @ v"
            raise ValueError(f"product takes neither bounds nor scheme; {cure}")
        f, args, gradient = self._named(args, named)
        options = {name: self.options[name] for name in ("h", "workers")}
        return hessian_vector_product(f, x, v, args=args, gradient=gradient, **options)
