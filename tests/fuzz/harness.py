"""Random cases from fixed seeds: a fixed number of them, and more until ``--fuzz-seconds`` are over."""

import functools
import signal
import warnings
from contextlib import contextmanager
from itertools import count
from time import monotonic

import numpy as np
import pytest

SEED = 2026


def fuzz(cases):
    """Return the decorator of a test of one case, ``test(rng)``, that is run so many times, each with its own seed.

    An exception gets a note with the number of the case: ``numpy.random.default_rng((SEED, number))`` makes it again.
    """

    def decorate(test):
        @functools.wraps(test)
        def run(seconds):
            end = monotonic() + seconds
            for number in count():
                if number >= cases and monotonic() >= end:
                    print(f"{number} cases of {test.__name__}")  # noqa: T201, pytest -rP shows it
                    break
                try:
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")  # of what is asked for at random; other tests look at these
                        test(np.random.default_rng((SEED, number)))
                except BaseException as error:
                    error.add_note(f"case {number} of {test.__name__}")
                    raise

        del run.__wrapped__  # pytest would look for a fixture named rng
        return run

    return decorate


@pytest.fixture
def seconds(request):
    """Return the seconds that a test may take beyond its fixed cases."""
    return request.config.getoption("--fuzz-seconds")


@contextmanager
def interrupted_after(delay):
    """Have Ctrl-C come after `delay` seconds, wherever the interpreter is then."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, delay)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, before)


# --- arrays ----------------------------------------------------------------------------------------------------------

FLOATS = [np.float16, np.float32, np.float64, np.float64, np.float64, np.longdouble, np.dtype(">f8"), np.dtype(">f4")]


def random_shape(rng, least=0, most=3):
    return tuple(rng.integers(0, 5, rng.integers(least, most + 1)).tolist())


def with_layout(rng, values):
    """Return an array with the values and some layout, and the memory that holds it."""
    kind = rng.integers(7)
    if kind == 0 or not values.ndim:
        array = values.copy()
        return array, array
    if kind == 1:
        array = np.asfortranarray(values)
        return array, array
    if kind == 2:  # every other element, some axes backwards
        memory = np.zeros([2 * n + 1 for n in values.shape], values.dtype)
        array = memory[tuple(slice(1, None, 2) for _ in values.shape)]
        array = array[tuple(slice(None, None, rng.choice([1, -1])) for _ in values.shape)]
    elif kind == 3:
        axes = rng.permutation(values.ndim)
        memory = np.zeros(np.array(values.shape)[axes], values.dtype)
        array = memory.transpose(np.argsort(axes))
    elif kind == 4:  # not aligned
        memory = np.zeros(values.nbytes + 1, np.uint8)
        array = memory[1:].view(values.dtype).reshape(values.shape)
    elif kind == 5:
        memory = np.zeros((values.size, 3), values.dtype)
        array = memory[:, 1].reshape(values.shape) if values.ndim == 1 else values.copy()
        memory = memory if values.ndim == 1 else array
    else:
        memory = np.zeros(values.shape, [("pad", "u1"), ("x", values.dtype)])
        array = memory["x"]
    array[...] = values
    return array, memory
