"""No byte of x changes, whatever its layout, the driver, what f does and when it is interrupted."""

import re
from contextlib import contextmanager
from time import perf_counter

import numpy as np
from harness import FLOATS, fuzz, interrupted_after, random_shape, seconds, with_layout  # noqa: F401
from numba import njit
from problems import JIT, untraced

from numgrad import check_gradient, descent_path, estimate_gradient, numerical_diff, numerical_gradient, reference
from numgrad.schemes import SCHEMES


def squares(x):
    """Return a sum that NumPy adds up in the same order for every layout."""
    return float(np.sum(np.array(x, np.float64, order="C") ** 2))


@njit
def compiled_squares(x):
    return np.sum(x * x)


class Broken(Exception):
    """What an objective raises at some evaluation."""


def random_driver(rng, x):
    """Return the name of a driver and its call, ``call(f)``, with random options."""
    h = [1e-4, 1e-3, "auto", np.full(x.shape, 1e-3)][rng.integers(4)]
    scheme = str(rng.choice([*SCHEMES, "complex"]))
    which = rng.integers(0, x.size, 3) if x.size else []
    options = {"coordinates": which} if rng.random() < 0.3 else {}
    if rng.random() < 0.3 and scheme != "complex":
        options["bounds"] = (-100.0, 100.0)
    calls = {
        "gradient": lambda f: numerical_gradient(f, x),
        "gradient with options": lambda f: numerical_gradient(f, x, h, scheme=scheme, **options),
        "path": lambda f: descent_path(f, x, 0.1, 2, h=h, scheme=scheme),
        "estimates": lambda f: estimate_gradient(f, x, **({} if x.size < 9 else {"coordinates": which})),
        "check": lambda f: check_gradient(f, 2 * np.asarray(x, float), x),
        "check of samples": lambda f: check_gradient(f, 3 * np.asarray(x, float), x, samples=2, rng=1),
        "check along directions": lambda f: check_gradient(f, 2 * np.asarray(x, float), x, directions=2, rng=1),
        "check of a dict": lambda f: check_gradient(
            lambda p: f(p["x"]), {"x": 2 * np.asarray(x, float)}, {"x": x}, directions=[None, 2][rng.integers(2)]
        ),
    }
    name = str(rng.choice(list(calls)))
    return name, calls[name]


def random_objective(rng, x, broken_at=None):
    """Return an f that reads its argument or x itself, writes to it or not, and may raise at some evaluation."""
    reads_x, writes = rng.random() < 0.2, rng.random() < 0.2
    calls = [0]

    def f(w):
        calls[0] += 1
        if calls[0] == broken_at:
            raise Broken
        value = (x if reads_x else w).astype(complex if np.iscomplexobj(w) else np.float64)
        if writes and w.size and w.flags.writeable:
            w[...] = 0
        return (value**2).sum()

    return f


# What may be said of an f that writes to its argument, reads x by another way, or has a kink; anything else is a
# fault.
REFUSALS = (
    "f writes to its argument|f reads x by another way|keeps the imaginary part|needs an analytic f|must lie within"
)


@contextmanager
def refusals(*others):
    try:
        yield
    except (TypeError, ValueError) as error:
        if not re.search(REFUSALS, str(error)):
            raise
    except others:
        pass


@fuzz(400)
def test_layouts_and_drivers(rng):
    values = np.asarray(rng.standard_normal(random_shape(rng)) * 3).astype(rng.choice(np.array(FLOATS, object)))
    x, memory = with_layout(rng, values)
    if rng.random() < 0.2:
        x.flags.writeable = False
    before = memory.tobytes()
    name, call = random_driver(rng, x)
    broken_at = int(rng.integers(1, 12)) if rng.random() < 0.4 else None
    with refusals(Broken):
        call(random_objective(rng, x, broken_at))
    assert memory.tobytes() == before, name


@fuzz(150)
def test_the_default_gives_the_bits_of_the_reference(rng):
    values = rng.standard_normal(random_shape(rng, 1)) * 10.0 ** rng.integers(-3, 4)
    x, memory = with_layout(rng, values)
    before, expected = memory.tobytes(), reference.numerical_gradient(squares, np.array(x))
    assert numerical_gradient(squares, x).tobytes() == expected.tobytes()
    assert numerical_gradient(squares, x.tolist()).tobytes() == expected.tobytes() or not x.size
    assert memory.tobytes() == before
    if not JIT:
        return
    compiled_expected = reference.numerical_gradient(compiled_squares, np.array(x, order="C"))
    assert numerical_gradient(compiled_squares, x).tobytes() == compiled_expected.tobytes()
    assert memory.tobytes() == before


SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 5e-324, 1e-310, 1.8e308, -1.8e308, 4e11, 1e16, 1.0, -2.5]
FUNCTIONS = [squares, np.max, lambda x: float(np.exp(x).sum()), lambda x: float(np.sqrt(x).sum()), np.prod, np.median]


@fuzz(150)
def test_special_values(rng):
    x = rng.choice(SPECIAL, random_shape(rng, 1, 2)).reshape(-1)
    f = FUNCTIONS[rng.integers(len(FUNCTIONS))]
    if not x.size:
        return
    before = x.tobytes()
    with np.errstate(all="ignore"):
        expected = reference.numerical_gradient(f, x.copy())
        assert np.array_equal(numerical_gradient(f, x), expected, equal_nan=True)
        assert np.array_equal(numerical_diff(np.exp, x), reference.numerical_diff(np.exp, x), equal_nan=True)
        for _ in range(4):
            with refusals():
                random_driver(rng, x)[1](f)
            assert x.tobytes() == before


@untraced
@fuzz(60)
def test_interrupts(rng):
    values = rng.standard_normal((3, 4)).astype(rng.choice(np.array([np.float32, np.float64], object)))
    x, memory = with_layout(rng, values)
    before = memory.tobytes()
    _, call = random_driver(rng, x)
    f = random_objective(rng, x)
    began = perf_counter()
    with refusals():
        call(f)
    took = perf_counter() - began
    for _ in range(10):
        with refusals(KeyboardInterrupt), interrupted_after(float(rng.uniform(1e-6, took))):
            call(f)
        assert memory.tobytes() == before
