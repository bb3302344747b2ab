"""Points: which memory is perturbed, how it is read and written, its safe return, and how large its coordinates are.

A gradient perturbs either the caller's own array (*written through*, so that an `f` which ignores its argument and
reads that array sees every step) or a *private* float64 copy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, MutableSequence, Sequence
from itertools import repeat
from operator import setitem
from typing import Any
from weakref import WeakKeyDictionary, ref

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__: list[str] = []  # nothing here is public

# Compared by `is` first, which takes less time than `==`. Native float64 arrays nearly always have this very object.
FLOAT64 = np.dtype(np.float64)
EPS = float(np.finfo(np.float64).eps)
SINGLE = float(np.finfo(np.float32).eps)
# Relative error of a derivative from which on it is worth a warning, by which "about 3 digits" are enough: they are
# what float32 has to give at best. Fixed by test_few_digits_of_f_are_warned_of_once in tests/test_gradient.py, and by
# test_no_three_digits_are_warned_of in tests/test_digits.py.
FEW_DIGITS = 10.0**-2.5
# Elements up to which bytes are compared, in a fifth of the time; and those compared at a time, so that no temporary
# grows with x. Fixed by test_warm_calls_allocate_the_result_and_one_copy_of_x in tests/test_gradient.py.
_FEW, _BLOCK = 512, 8192
# Binary digits of float32, and those that a count or a simple fraction has at most.
# Fixed by test_steps_of_f_are_not_taken_for_float32 in tests/test_gradient.py.
_SINGLE, _SIMPLE = 24, 16
# Values that are looked at one by one, in a time that is nothing beside that of a call.
# Fixed by test_what_f_returns_is_looked_at_as_an_array in tests/test_magnitudes.py.
_FIRST = 16
# Unit of the last of those digits: by how much a change of f may be off, since the steps are not quite those to the
# points as they are stored. One of float64 is so by chance once in 500 times. Fixed by the former.
_OFF = 1e-3
# Formats of memory that Python indexes. A dtype that names its byte order, as ctypes and files have it, is equal to
# that of NumPy, but its format is "<d", which Python refuses. No tuning.
_INDEXED = "dflqi"
# Part of 1 + |x| by which memory is displaced to see whether f reads it: far beyond round-off, and still near x.
# Fixed by the tests of tests/test_other_memory.py.
SHARE = 1e-3
# The eps at which a float64 step is lost: a thousandth of it goes where x + h is rounded.
# Fixed by test_a_step_that_loses_a_thousandth_is_warned_of in tests/test_gradient.py.
LOSS_EPS = 1e3 * EPS
# Unit of x: the smallest scale, whose steps are subnormal, but of many digits.
# Fixed by test_automatic_steps_at_the_ends_of_the_numbers in tests/test_schemes.py.
_SMALLEST = 1e-307
# Multiples of it, modulo 1, lie apart from each other, however many there are. No tuning.
GOLDEN = (5.0**0.5 - 1.0) / 2.0

# glibc gives memory back to the system beyond twice the largest block that was ever freed, and each page of it that is
# asked for again takes 0.1 to 4 us. After one block of 16 MB, which nobody writes to, it keeps up to 32 MB, as after a
# large array: batches of 300 coordinates take a third of the time, sparse Jacobians of 100,000 a half.
# Fixed by test_vectorized in benchmarks/bench_distribution.py.
np.empty(2**21)

# What each f has shown, so that it need not be asked again: the memory that it was last seen not to read by another way
# than its argument; of a vectorized one, that a point of a batch has the same value in other company; of one that takes
# the complex step, that it is analytic.
_shown: WeakKeyDictionary[Callable[..., Any], dict[str, Any]] = WeakKeyDictionary()

# Part of the largest value of the batch by which that value may differ, or so many spacings of what f returns: a
# product of matrices rounds otherwise in a batch of another size, where float32 is inside by 2e-5.
# Fixed by test_a_vectorized_f_may_round_otherwise_in_another_batch in tests/test_arguments.py.
_COMPANY, _SPACINGS = 3e-5, 100.0


def private_copy(x: NDArray[Any]) -> NDArray[np.float64]:
    """Return a new C-contiguous float64 array with the shape and values of `x`."""
    if x.__class__ is np.ndarray and x.dtype is FLOAT64:
        return x.copy()  # half the time of the general way
    return np.asarray(x).astype(FLOAT64, order="C")  # `np.array` would keep a dtype that names its byte order


def batch_of(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a batch of copies of one point, which has the length of no axis of the point."""
    return np.repeat(x[np.newaxis], next(k for k in range(1, x.ndim + 2) if k not in x.shape), axis=0)


def written_through(array: NDArray[Any], given: ArrayLike, name: str = "x") -> tuple[NDArray[Any], bool]:
    """Return the memory to perturb and whether it is a private copy, for the real `array` made of what was `given`.

    A writable floating array of any layout is returned as it is; integers, lists, scalars and read-only arrays as a
    float64 copy.

    Raises
    ------
    ValueError
        If two elements of a writable array share memory, so that one cannot be perturbed alone.
    """
    if not isinstance(given, np.ndarray) or array.dtype.kind != "f" or not array.flags.writeable:
        return private_copy(array), True
    if not array.flags.forc and _overlaps_itself(array):
        raise ValueError(f"{name} may have elements that share memory (strides {array.strides}); pass a copy of it")
    return array, False


def _overlaps_itself(x: NDArray[Any]) -> bool:
    reach = x.itemsize
    # From the smallest stride on, each axis must step beyond all bytes that the axes before it reach.
    for stride, length in sorted((abs(s), n) for s, n in zip(x.strides, x.shape, strict=True) if n > 1):
        if stride < reach:
            return True
        reach = stride * (length - 1) + reach
    return False


def is_flat_float64(x: NDArray[Any]) -> bool:
    """Tell whether `x` is a C-contiguous, aligned float64 buffer in native byte order, as kernels want it."""
    return (x.dtype is FLOAT64 or x.dtype == FLOAT64) and x.flags.carray


def is_plain(x: Any) -> bool:
    """Tell whether `x` is a flat array of float64, and of no subclass."""
    return x.__class__ is np.ndarray and x.dtype is FLOAT64 and x.ndim == 1


def cells(x: NDArray[Any]) -> MutableSequence[float]:
    """Return the elements of `x` in C order, readable and writable by one integer, over the same memory.

    A memoryview is the fastest such view, but it needs contiguous, aligned memory and a native float format.
    """
    if (x.dtype is FLOAT64 or (x.dtype.isnative and x.dtype.char in "fd")) and x.flags.carray:
        view: Any = x.data if x.ndim == 1 else x.ravel().data
        return view if view.format in _INDEXED else cells(x.view(x.dtype.char))
    return x.flat  # type: ignore[return-value]


def fast(value: NDArray[Any]) -> Any:
    """Return what the interpreter indexes fastest in place of an array."""
    return view if value.ndim == 1 and (view := value.data).format in _INDEXED else value.tolist()


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """Return a view that nobody can write to."""
    view = array.view()
    view.flags.writeable = False
    return view


def native_copy(x: NDArray[Any]) -> NDArray[Any]:
    """Return a C-contiguous copy of a plain array in the same precision and native byte order, to restore it from."""
    if x.dtype is FLOAT64:
        return x.copy()
    return np.array(x, dtype=x.dtype.newbyteorder("="), order="C", subok=False)


def numbers(saved: NDArray[Any]) -> Sequence[float]:
    """Return the elements of a native copy, so that ``element + h`` is rounded to float64 and not to less."""
    if saved.dtype is FLOAT64:
        return saved.data if saved.ndim == 1 else saved.ravel().data
    # A memoryview gives float32 as Python floats. float16 has no such view: its scalars would round to float16.
    return cells(saved.astype(FLOAT64) if saved.dtype.itemsize < 4 else saved)


def is_unchanged(memory: NDArray[Any], saved: NDArray[Any]) -> bool:
    """Tell whether `memory` holds what its native copy `saved` holds."""
    if memory.size <= _FEW and memory.tobytes() == saved.tobytes():
        return True
    # Memory in another byte order differs from its native copy in bytes. NaNs are rare, and to look for them is slow.
    flat: Any = memory.reshape(-1) if memory.flags.c_contiguous else memory.flat
    blocks = [slice(start, start + _BLOCK) for start in range(0, memory.size, _BLOCK)]
    pairs = ((flat[block], saved.reshape(-1)[block]) for block in blocks)
    return all(np.array_equal(now, then) or np.array_equal(now, then, equal_nan=True) for now, then in pairs)


def still_holds(memory: NDArray[Any], values: NDArray[Any]) -> bool:
    """Tell whether memory, of fewer digits maybe, holds what it stores of `values`."""
    if memory.size <= _FEW and memory.tobytes() == values.tobytes():  # in a half of the time
        return True
    return is_unchanged(memory, values.astype(memory.dtype, copy=False))


def preserving(memory: Sequence[NDArray[Any]], work: Callable[[list[NDArray[Any]]], Any]) -> Any:
    """Return what `work` returns, given copies of the memory, which is restored after any exit."""
    plain = [array.view(np.ndarray) for array in memory]
    saved, held = list(map(native_copy, plain)), list(map(held_in_place, plain))
    # Made before the try: in `finally`, a Ctrl-C could be raised at the call that makes it.
    restore: Any = map(setitem, plain, repeat(...), saved)  # type: ignore[arg-type]
    try:
        result = work(saved)
    finally:
        list(restore)  # one call of C, in which no Ctrl-C can come between
        for given, view in zip(memory, plain, strict=True):
            if given.shape != view.shape:  # f may have set it, which changes no value of it
                given.shape = view.shape
    del held
    return result


def watched(memory: Sequence[NDArray[Any]], evaluate: Callable[[], Any]) -> tuple[Any, bool]:
    """Return what `evaluate` returns, and whether it left the memory as it was; it is restored after any exit."""
    plain = [array.view(np.ndarray) for array in memory]
    found: tuple[Any, bool] = preserving(memory, lambda saved: (evaluate(), all(map(is_unchanged, plain, saved))))
    return found


def held_in_place(memory: NDArray[Any]) -> Any:
    """Return what keeps memory where it is: NumPy refuses to resize an array while a weak reference to it lives."""
    owner = memory.base
    return ref(owner) if owner.__class__ is np.ndarray else None


def displaced(x: Any) -> Any:
    """Return numbers far beyond the round-off of `x`, and still near it."""
    return x + SHARE * (1.0 + np.abs(x))


def depends_on(memory: NDArray[Any], evaluate: Callable[[], Any], move: Callable[[Any], Any] = displaced) -> bool:
    """Tell whether `evaluate()` gives other bits where all numbers of `memory` are others; it is restored.

    Two evaluations, and one or two more where they differ, for an f that differs from itself says nothing, nor does one
    that fails now and then. What f raises at rest is raised; what it raises elsewhere, if it does so but once: it need
    not be defined at a point that nobody asked for, which one evaluation more tells each time.
    """
    plain = memory.view(np.ndarray)

    def moved(saved: list[NDArray[Any]]) -> Any:
        with np.errstate(all="ignore"):  # next to the largest number
            plain[...] = move(saved[0].reshape(-1)).reshape(plain.shape)
        return where_defined(at_rest)

    def at_rest() -> bytes:
        return np.asarray(evaluate()).tobytes()

    before, found = at_rest(), preserving([plain], moved)
    return bool(found != before == at_rest() and found == preserving([plain], moved))


def lengths_of(plan: Any) -> Any:
    """Return how far a plan moves coordinates to both sides: a length for each, or one for all; 0 for one side."""
    (_, data, *_), where = plan
    if not isinstance(where, tuple):  # the default scheme
        return data[0]
    lengths: Any = where[2]
    is_even = np.iscomplexobj(lengths) or not data[2][data[4]].sum(axis=1).any()
    return np.abs(lengths) if is_even else 0.0


def parts_of_steps(count: int, both_ways: bool = False) -> NDArray[np.float64]:
    """Return so many numbers from 0.5 to 1 that lie apart from each other; every other one is negative, if asked."""
    places = GOLDEN * np.arange(count)
    parts: NDArray[np.float64] = 0.5 + 0.5 * (places - np.floor(places))
    if both_ways:
        parts[1::2] *= -1.0
    return parts


def is_same_nearby(value: Callable[..., Any], at: tuple[NDArray[Any], Any], move: Callable[[Any], Any]) -> bool:
    """Tell whether f is the same where x has moved, as one that ignores it is, and one that is even at x is not.

    ``x, args = at``, and `move` returns a flat point that has moved. Where f is not defined, it is not the same.
    """
    copy, args = at[0].copy(), at[1]
    return bool(where_defined(lambda: not depends_on(copy, lambda: value(copy, args), move)))


def check_argument_is_all(
    f: Callable[..., Any],
    memory: Any,
    evaluate: Callable[[], Any],
    otherwise: str = (
        "f reads x by another way than its first argument, which is a copy here and alone is perturbed; let f read its "
        "argument only, or use a real scheme and vectorized=False"
    ),
) -> None:
    """Raise a ValueError if what `f` returns for a copy of `memory`, by `evaluate`, depends on `memory` itself.

    Asked of arrays of floats, and once for each f and memory in turn, as far as f can be remembered.
    """
    if not isinstance(memory, np.ndarray) or memory.dtype.kind != "f" or not memory.size:
        return
    shown = shown_by(f)
    if "independent_of" in shown and shown["independent_of"]() is memory:
        return
    if memory.flags.writeable and depends_on(memory, evaluate):
        raise ValueError(otherwise)
    shown["independent_of"] = ref(memory)


def shown_by(f: Any) -> dict[str, Any]:
    """Return what `f` has shown, to read and to write; what is written is lost if f cannot be remembered."""
    try:
        return _shown.get(f) or _shown.setdefault(f, {})  # `setdefault` takes twice as long
    except TypeError:  # no hash, or no weak references
        return {}


def check_separate(f: Any, x: NDArray[Any], alone: Any, values: Callable[[NDArray[Any]], Any], ends_at: Any) -> None:
    """Raise a ValueError if the value of a point in a batch changes with the others there; asked once for each f.

    `alone` is its value among copies of itself, `values` gives those of a batch, `ends_at(x)` the ends, flat, between
    which f is to be evaluated; it may be None.
    """
    shown = shown_by(f)
    if "separate" in shown:
        return
    with np.errstate(all="ignore"):
        move = SHARE * (1.0 + np.abs(x))
        others = np.stack([x + move, x, x + 0.3 * move])
        if ends_at is not None:
            low, high = (end.reshape(x.shape) for end in ends_at(x))
            others = np.clip(np.where(others > high, 2.0 * x - others, others), low, high)
        among = where_defined(lambda: np.array(values(others)))
        if among is None or not x.size:  # f need not be defined there
            return
        # Of all three: at x, where terms may cancel, rounding may be all there is.
        largest = np.abs(among, where=np.isfinite(among), out=np.zeros(among.shape)).max(initial=0.0)
        tolerance = max(_COMPANY, _SPACINGS * resolution(among)) * largest
        is_same = np.isclose(among[1], alone, 0.0, tolerance, equal_nan=True)
    if not is_same.all() and np.array_equal(values(batch_of(x))[0], alone, equal_nan=True):  # else f is random
        raise ValueError(
            "a vectorized f must take the points of a batch one by one, but the value of a point changes with the "
            "others; let f add up along the axes of a point only, such as axis=-1"
        )
    shown["separate"] = True


def resolution(x: NDArray[Any]) -> float:
    """Return the relative spacing (machine epsilon) of the numbers that `x` can store, float64 for integers."""
    return EPS if x.dtype is FLOAT64 or x.dtype.kind not in "fc" else float(np.finfo(x.dtype).eps)


def is_single(number: float) -> bool:
    """Tell whether a number has no more binary digits than float32."""
    return (math.frexp(number)[0] * 2.0**_SINGLE).is_integer()


def seems_single(plan: Any, value: float, out: NDArray[np.float64]) -> bool:
    """Tell whether the first change of f that is not 0 has few digits, as the derivatives `out` by a plan tell it.

    So has the change of an f that is rounded to float32, unless it has digits enough. `value` is f(x), or NaN.
    """
    if not len(out) or not (value or out.any()):
        return False
    (_, _, _, _, index, denominators, _), (_, _, lengths), k = plan[0].data, plan[1], 0
    if not abs(change := out.item(0)) > 0.0:  # no NaN, if there is another one
        k = int((np.abs(out) > 0.0).argmax())
        change = out.item(k)
    row, length = index.item(k if len(index) > 1 else 0), lengths.item(k if len(lengths) > 1 else 0)
    digits: float = math.frexp(change * length * denominators.item(row))[0] * 2.0**_SIMPLE
    return (digits + _OFF) % 1.0 < 2.0 * _OFF  # False for NaN


def may_be_single(values: NDArray[np.float64]) -> bool:
    """Tell whether values have no more digits than float32: of float64 one does so once in 2**29 times."""
    # A few first, since to look at all takes as long as an f of few operations.
    if not (values.size and all(map(is_single, values.flat[:_FIRST]))):
        return False
    wholes = np.frexp(values)[0] * 2.0**_SINGLE
    return bool((wholes == np.rint(wholes)).all() and np.isfinite(values).all())


def are_single(values: NDArray[np.float64]) -> bool:
    """Tell whether finite values have the digits of float32, and not all fewer, as counts and simple fractions have."""
    return may_be_single(values) and bool(((np.frexp(values)[0] * 2.0**_SIMPLE) % 1.0).any())


def is_narrow(x: NDArray[Any]) -> bool:
    """Tell whether `x` stores fewer digits than float64, so that ``x + h`` is rounded when it is stored."""
    return x.dtype.kind == "f" and x.dtype.itemsize < FLOAT64.itemsize


def loss_eps(x: NDArray[Any], use_stored_distance: bool = False) -> float:
    """Return the eps at which a step is lost: where ``eps * |x| > h``, its rounding in x + h makes a result wrong.

    Where the distance of the points as they are stored is the divisor, only a step that vanishes does.
    """
    if x.dtype is FLOAT64 and not use_stored_distance:
        return LOSS_EPS
    return resolution(x) if use_stored_distance or is_narrow(x) else LOSS_EPS


def smallest(values: NDArray[Any]) -> float:
    """Return the smallest number of an array, NaN if there is one, and inf of none."""
    return values.item(values.argmin()) if values.size else np.inf  # of few numbers in a fourth of the time of `min`


def largest(values: NDArray[Any]) -> float:
    """Return the largest number of an array, NaN if there is one, and -inf of none."""
    return values.item(values.argmax()) if values.size else -np.inf


def scales(x: NDArray[Any]) -> NDArray[np.float64]:
    """Return the flat scale of each coordinate: its magnitude, or 1 where it is 0 or not finite."""
    magnitude: NDArray[np.float64] = np.abs(x if is_plain(x) else x.reshape(-1).astype(FLOAT64, copy=False))
    if smallest(magnitude) >= _SMALLEST and largest(magnitude) < np.inf:
        return magnitude
    magnitude[~((magnitude > 0.0) & (magnitude < np.inf))] = 1.0
    return np.maximum(magnitude, _SMALLEST)


def refusal(message: str) -> ValueError:
    """Return the error of an f as a whole, wherever that was seen: no sign that f is not defined at some point."""
    error: Any = ValueError(message)
    error.is_refusal = True
    return error  # type: ignore[no-any-return]


def where_defined(evaluate: Callable[[], Any]) -> Any:
    """Return what `evaluate` does, or None if that raises, and does so again: f is not defined there.

    What is raised but once, as by the handler of a signal, is raised on.
    """
    try:
        return evaluate()
    except Exception as error:
        if hasattr(error, "is_refusal"):
            raise
        first = error
    once_more(evaluate, first)
    return None


def once_more(evaluate: Callable[[], Any], first: Exception) -> None:
    """Raise on what an evaluation has raised, unless the next one raises too: the handler of a signal did."""
    try:
        evaluate()
    except Exception:  # noqa: BLE001, f is not defined there
        return
    raise first
