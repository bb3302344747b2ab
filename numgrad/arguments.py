"""Arguments: what a caller may give, what f may return, and how an error names what it got."""

from __future__ import annotations

import functools
import math
import operator
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from numbers import Real
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__: list[str] = []  # nothing here is public

Result = TypeVar("Result")

FLOAT64 = np.dtype(np.float64)
# The compiled objectives that came last, so that their loops are compiled once. `objectives.compiled` fills it.
# By id: any f is looked up here, also one without a hash. Each objective keeps its f alive, and so the id its own.
KNOWN_COMPILED: dict[int, Any] = {}

# In place of coordinates: all of them, in C order. An empty array and not None, which has another type and would have
# numba compile every loop a second time.
ALL_COORDINATES: NDArray[np.intp] = np.empty(0, np.intp)
INDEX = ALL_COORDINATES.dtype  # NumPy has one object for it, which `is` tells in a third of the time of `==`

# Unit of x: the divisor of the default scheme, 2h, must be finite. Fixed by tests/test_gradient.py, misuse.
LARGEST_STEP = sys.float_info.max / 2


def positive_step(h: Any) -> float:
    """Return `h` as a float; TypeError if it is no real number, ValueError unless h > 0 and 2h is finite."""
    if isinstance(h, tuple):
        raise TypeError(f"h must be a step, got {describe(h)}; further arguments of f go to args=: args=(a,)")
    if isinstance(h, str):
        raise TypeError(f"h must be a real number, got str {h!r}; the automatic step is 'auto'")
    if h.__class__ is not float:
        h = finite_real("h", h)
    if not 0.0 < h <= LARGEST_STEP:
        rule = "2h must be finite" if 0.0 < h < math.inf else "h must be finite and positive"
        raise ValueError(f"{rule}, got {h}")
    return float(h)


def finite_real(name: str, value: Any) -> float:
    """Return `value` as a float; TypeError if it is not a real number, ValueError if it is not finite."""
    try:
        # A float is told by its class: isinstance with the abstract class Real takes about a microsecond.
        real = value.__class__ is float or (isinstance(value, Real) and not isinstance(value, bool))
        number = float(value) if real else None
    except OverflowError:
        number = math.inf
    if number is None:
        raise TypeError(f"{name} must be a real number, got {describe(value)}")
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, got {number}")
    return number


def whole_number(name: str, value: Any, least: int) -> int:
    """Return `value` as an int; TypeError if it is not an integer, ValueError if it is below `least`."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {describe(value)}") from None
    if number < least:
        raise ValueError(f"{name} must be at least {least}, got {number}")
    return number


def real_array(x: ArrayLike, name: str = "x") -> NDArray[Any]:
    """Return `x` as an array of real numbers, without a copy where it is one already, and without a mask.

    Raises
    ------
    TypeError
        If `x` holds anything but integers and floating-point numbers, or if elements are masked.
    ValueError
        If it is a ragged list.
    """
    if x.__class__ is np.ndarray and x.dtype is FLOAT64:
        return x
    if isinstance(x, np.ma.MaskedArray) or (isinstance(x, list | tuple) and not set(map(type, x)) <= {float, int}):
        refuse_masks(x, name)
    try:
        array = x if isinstance(x, np.ndarray) else np.asarray(x)
    except ValueError:
        if isinstance(x, Sequence) and any(isinstance(part, np.ndarray) for part in x):
            raise ValueError(f"{name} must be one array, got arrays of several shapes; pass one at a time") from None
        raise ValueError(f"{name} must be a rectangular array, but its rows differ in length") from None
    except (RuntimeError, TypeError) as error:  # a tensor that requires grad, or one on another device
        raise TypeError(f"{name} must be an array of real numbers, got {type(x).__name__}: {error}") from None
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name} must hold real numbers (integers or floats), got dtype {array.dtype}{_remedy(x)}")
    return array.view(np.ndarray) if isinstance(array, np.ma.MaskedArray) else array


def is_masked(value: Any) -> bool:
    """Tell whether elements are masked, in lists too, of which NumPy would make an array of what lies below."""
    if isinstance(value, list | tuple):
        return any(is_masked(part) for part in value if isinstance(part, list | tuple | np.ma.MaskedArray))
    return isinstance(value, np.ma.MaskedArray) and bool(np.ma.is_masked(value))


# What is said of masked elements: f receives plain arrays.
LEFT_OUT = "which would count as what is below the mask; pass its .filled(0.0), or the rest alone, its .compressed()"
NO_DERIVATIVES = "which have no derivatives; let f return .filled(numpy.nan)"


def refuse_masks(value: Any, name: str, rule: str = LEFT_OUT) -> None:
    """Raise a TypeError if elements are masked."""
    if is_masked(value):
        raise TypeError(f"{name} has masked elements, {rule}")


def unmasked(value: Any, name: str, rule: str = LEFT_OUT) -> NDArray[Any]:
    """Return an array of NumPy's own class, over the same memory where it can; TypeError if elements are masked."""
    if value.__class__ is np.ndarray:
        return value
    refuse_masks(value, name, rule)
    return np.asarray(value)


def plain_numbers(value: Any, name: str) -> NDArray[Any]:
    """Return real numbers as an array of NumPy's own class; TypeError as of `real_array`."""
    if value.__class__ is np.ndarray and value.dtype is FLOAT64:  # two calls less, of ten in a loss of the chapter
        return value
    return np.asarray(real_array(value, name))


def widened(values: NDArray[Any]) -> NDArray[Any]:
    """Return float16 as float64, since sums and squares of it soon overflow, and anything else as it is."""
    return values.astype(FLOAT64) if values.dtype.kind == "f" and values.dtype.itemsize < 4 else values


def random_generator(rng: Any) -> np.random.Generator:
    """Return what a generator or a seed stands for; TypeError or ValueError if it is neither."""
    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError) as error:
        raise type(error)(f"rng must be a numpy.random.Generator or a seed, got {describe(rng)}") from None


def _remedy(x: Any) -> str:
    """Return what to do with something that NumPy takes for one object, or for an array of objects."""
    if isinstance(x, Mapping):
        return f": it is a {type(x).__name__}; pass one of its arrays, x[key], at a time"
    if hasattr(x, "toarray"):
        return f": it is a sparse {type(x).__name__}; pass x.toarray()"
    return "" if isinstance(x, np.ndarray) else f": {describe(x)}"


def as_coordinates(coordinates: ArrayLike, size: int) -> NDArray[np.intp]:
    """Return `coordinates` as indices into a flat array of `size` elements.

    Raises
    ------
    TypeError
        If they are not integers, or masked.
    ValueError
        If they are not one-dimensional, or not in ``range(size)``.
    """
    try:
        # A list first: a gradient of one coordinate would show the time of each look.
        chosen = np.asarray(coordinates) if isinstance(coordinates, list) else unmasked(coordinates, "coordinates")
    except ValueError:
        raise ValueError("coordinates must be a one-dimensional array of flat coordinates, got nested lists") from None
    if chosen.ndim != 1:
        raise ValueError(f"coordinates must be a one-dimensional array of flat coordinates, got shape {chosen.shape}")
    if not chosen.size:
        return np.empty(0, np.intp)
    if chosen.dtype.kind not in "iu":
        raise TypeError(f"coordinates must be integers, got dtype {chosen.dtype}")
    # Python's min and max of a short list take a fifth of the time of NumPy's.
    few = chosen.tolist() if chosen.size < 50 else ()
    low, high = (min(few), max(few)) if few else (chosen.min(), chosen.max())
    if not 0 <= low <= high < size:
        raise ValueError(f"coordinates must be in range({size}), got {low} to {high}")
    # numba would compile the loops again for an array with strides, or one that is read-only.
    return chosen if chosen.dtype is INDEX and chosen.flags.carray else chosen.astype(np.intp, order="C")


def result_buffer(
    out: Any, shape: tuple[int, ...], x: ArrayLike, args: tuple[Any, ...], dtype: np.dtype[Any] = FLOAT64, f: Any = None
) -> NDArray[Any]:
    """Return the memory of `out`, to which a result of `shape` can be written, or a new array if it is None.

    It is an array of NumPy's own class and dtype: a matrix keeps two dimensions, a mask what lies below it, and one
    that names its byte order has a format that Python cannot index.

    Raises
    ------
    TypeError
        If `out` is not an array of this `dtype`.
    ValueError
        If its shape is another, if it is not a writable C-contiguous buffer, or if it shares memory with `x`, with one
        of `args`, or with what an objective `f` holds.
    """
    if out is None:
        return np.empty(shape, dtype)
    if not isinstance(out, np.ndarray) or out.dtype != dtype:
        raise TypeError(f"out must be a {dtype} array, got {describe(out)}")
    if out.shape != shape:
        raise ValueError(f"out must have the shape of the result, {shape}, got {out.shape}")
    if not out.flags.carray:
        raise ValueError(f"out must be a writable C-contiguous array; pass out=numpy.empty({shape})")
    read = [("x", np.asarray(x)), *arrays_in(args)] if args else [("x", np.asarray(x))]
    if id(f) not in KNOWN_COMPILED and hasattr(type(f), "_as_objective"):  # to ask the class takes 0.3 us
        read += [(f"what {f} holds", array) for _, array in arrays_in(list(vars(f).values()))]
    if (name := sharing(read, out)) is not None:
        raise ValueError(f"out must not share memory with {name}, which f still reads; pass a new array")
    return out if out.__class__ is np.ndarray and out.dtype is dtype else out.view(dtype, np.ndarray)


def sharing(found: Iterable[tuple[str, NDArray[Any]]], memory: NDArray[Any]) -> str | None:
    """Return the name of the first of some named arrays that shares memory with another one."""
    for name, array in found:
        if np.shares_memory(array, memory):
            return name
    return None


def arrays_in(args: Sequence[Any], name: str = "args") -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the name and memory of each array, record and buffer in `args`, and in tuples, lists and dicts there."""
    for i, value in enumerate(args):
        memory = memory_of(value)
        if memory is not None:
            yield f"{name}[{i}]", memory
        elif isinstance(value, Mapping):
            yield from arrays_in(list(value.values()), f"{name}[{i}]")
        elif isinstance(value, Sequence) and not isinstance(value, str | range):
            yield from arrays_in(value, f"{name}[{i}]")


def memory_of(value: Any) -> NDArray[Any] | None:
    """Return the array that `value` is or is a part of, or an array over its buffer, or None if it has none."""
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, np.generic):  # a record is a view; the base of another scalar is None
        return value.base if isinstance(value.base, np.ndarray) else None
    if value.__class__ is float or value.__class__ is int:  # they have no buffer: to ask takes 0.6 us
        return None
    try:
        return np.asarray(memoryview(value))
    except (TypeError, ValueError):
        return None


def memory_among(found: Iterable[tuple[str, Any]]) -> list[tuple[str, NDArray[Any]]]:
    """Return the arrays among named values, and those that records and buffers among them are a part of."""
    return [(name, memory) for name, value in found if (memory := memory_of(value)) is not None]


def refuse_captured(found: Iterable[tuple[str, Any]], x: NDArray[Any], it: str = "f") -> None:
    """Raise a ValueError if the memory of x is among what a compiled function, called `it`, has captured."""
    if (name := sharing(memory_among(found), x)) is not None:
        raise ValueError(
            f"the compiled {it} reads x as the captured variable {name!r}, whose values numba froze when it "
            f"compiled {it}; let {it} read x from its first argument, and pass other data by args="
        )


JACOBIAN = "; numerical_jacobian(f, x) gives the derivatives of each element, points_axis=0 gradients at several points"


def real_number(value: Any) -> float:
    """Return what `f` returned as a float: a real number, or an array of any shape that holds just one.

    Raises
    ------
    TypeError
        If it is anything else.
    """
    if value.__class__ is float or value.__class__ is np.float64 or value.__class__ is np.float32:
        # In a tenth of the time of what follows.
        return float(value)
    reason = ""
    try:
        array = np.asarray(value)
        # Kind O: a Fraction, a Decimal, or an integer beyond 64 bits.
        # What is masked would pass for the number below its mask.
        if array.size == 1 and array.dtype.kind in "fiuO" and not np.ma.is_masked(value):
            number: Any = array.item()
            if hasattr(number, "__float__") and not isinstance(number, type | complex | np.complexfloating):
                return float(number)
    except (OverflowError, ValueError):  # too large an integer, a ragged list
        pass
    except (RuntimeError, TypeError) as error:  # a tensor that requires grad, or one on another device
        reason = f": {error}"
    if value is None:
        reason = ": is a return missing?"
    elif hasattr(value, "requires_grad"):
        reason = "; let f return loss.item()"
    elif isinstance(value, np.ndarray) and value.dtype.kind in "fiu":
        reason = JACOBIAN
    elif isinstance(value, tuple | list) and len(value) == 2 and np.ndim(value[0]) == 0 != np.ndim(value[1]):
        reason = "; if that is (loss, gradient), pass lambda x: f(x)[0]"
    raise TypeError(f"f must return one real number, it returned {describe(value)}{reason}")


NEEDS_COMPLEX = (
    "scheme='complex' needs an f that returns a complex number for a complex x, and keeps the imaginary part; use "
    "another scheme:"
)


def imaginary_part(value: Any) -> float:
    """Return the imaginary part of what `f` returned for a complex x, NaN where the real part is not finite.

    TypeError if it is not one complex number.
    """
    if not isinstance(value, complex):
        array = np.asarray(value)
        if array.size != 1 or array.dtype.kind != "c":
            raise TypeError(f"{NEEDS_COMPLEX} it returned {describe(value)}")
        value = array.item()
    number = complex(value)  # which does not warn of inf - inf, as NumPy's would
    return number.imag - (number.real - number.real)  # so that the sign of a zero stays


def raise_argument_changed(it: str = "f") -> None:
    """Raise the ValueError of a function, called `it`, that writes to its argument."""
    raise ValueError(
        f"{it} writes to its argument, so that its values are not those of the points that were asked for; let {it} "
        f"work on a copy, x.copy()"
    )


def needed(module: str, what: str) -> Any:
    """Return an optional module, or raise the ImportError that says `what` needs it, and how to install it."""
    try:
        return import_module(module)
    except ImportError:
        raise ImportError(f"{what}: python -m pip install {module.partition('.')[0]}") from None


def is_compiled(f: Any) -> bool:
    """Tell whether `f` was decorated with `numba.njit`, without importing numba.

    `numba.extending.is_jitted` asks the same, but takes more than a microsecond.
    """
    dispatcher = getattr(sys.modules.get("numba.core.dispatcher"), "Dispatcher", None)
    return dispatcher is not None and isinstance(f, dispatcher)


def raise_compile_error(error: BaseException, what: str = "f for this x and args") -> None:
    """Raise a TypeError with the useful line of numba's message if `error` is one of compiling `what`."""
    errors = sys.modules.get("numba.core.errors")
    if errors is not None and isinstance(error, errors.NumbaError | errors.UnsupportedBytecodeError):
        raise TypeError(_useful_line(str(error), what)) from error


def _useful_line(message: str, what: str) -> str:
    """Return, of numba's report, the line that a user can act on."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    for line in lines:
        if "f must return one real number" in line or "scheme='complex'" in line:
            return line.partition(": ")[2]
    telling = [line for line in lines if "Failed in " not in line]
    specific = [line for line in telling if line.startswith(("NumbaTypeError:", "TypingError:", "NumbaValueError:"))]
    general = [line for line in telling if not line.startswith(("During:", "No implementation of"))]
    line = (specific or general or lines)[0]
    return f"numba cannot compile {what}: {line}"


def describe(value: Any) -> str:
    """Return a short description of `value` for an error message: its type, and dtype and shape of an array."""
    if isinstance(value, np.ndarray):
        return f"an array of dtype {value.dtype} and shape {value.shape}"
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001, of an integer of thousands of digits, or of the user's own: it must not hide the error
        return type(value).__name__
    return f"{type(value).__name__} {text}" if len(text) <= 40 and "\n" not in text else type(value).__name__


def underflowing(function: Callable[..., Result]) -> Callable[..., Result]:
    """Return a function that ignores underflow, in no time where NumPy does: it is done again where that raises."""

    @functools.wraps(function)
    def again(*args: Any) -> Result:
        try:
            return function(*args)
        except FloatingPointError:
            with np.errstate(under="ignore"):
                return function(*args)

    return again


def check_callable(gradient: Any) -> None:
    """Raise a TypeError if a gradient is given that cannot be called."""
    if gradient is not None and not callable(gradient):
        raise TypeError(f"gradient must be a callable, gradient(x, *args), got {describe(gradient)}")
