"""Kinds of hard functions: random members of each, with points and derivatives from mpmath, for estimates and checks.

``KINDS[kind](rng)`` gives an `Entry` of `catalogue`: the function as people write it, and its smooth model in mpmath.
"""

import cmath
import functools
import hashlib
import itertools
import math
import struct

import mpmath as m
import numpy as np
from catalogue import Entry, entries, nan_outside

SMOOTH = [
    ("sin", math.sin, m.sin),
    ("exp", math.exp, m.exp),
    ("tanh", math.tanh, m.tanh),
    ("atan", math.atan, m.atan),
    ("log(1 + t t)", lambda t: math.log(1 + t * t), lambda t: m.log(1 + t * t)),
    ("cubic", lambda t: t**3 - 2 * t, lambda t: t**3 - 2 * t),
    ("1 / (2 + cos)", lambda t: 1 / (2 + math.cos(t)), lambda t: 1 / (2 + m.cos(t))),
]
CATALOGUE = [entry for entry in entries() if entry.x]


def any_of(rng, table):
    return table[rng.integers(len(table))]


def sign(rng):
    return float(rng.choice([-1.0, 1.0]))


def smooth(rng):
    while True:
        entry = any_of(rng, CATALOGUE)
        x = entry.x * rng.uniform(0.8, 1.2)
        if math.isfinite(entry.f(x)):
            return Entry(entry.name, entry.f, entry.exact, x)


def float32(rng, x=None):
    name, g, exact = any_of(rng, SMOOTH)
    how = any_of(rng, ["inside", "returned", "argument", "all"])
    f = {
        "inside": lambda t: float(np.float32(g(t))),
        "returned": lambda t: np.float32(g(t)),
        "argument": lambda t: g(float(np.float32(t))),
        "all": lambda t: np.float32(g(float(np.float32(t)))) * np.float32(1.0),
    }[how]
    return Entry(f"float32 {how}: {name}", f, exact, rng.uniform(-3, 3) if x is None else x)


def small_float32(rng):
    return float32(rng, sign(rng) * 10 ** rng.uniform(-7, 0))


@functools.lru_cache
def _net(seed):
    """A float32 net, its float64 twin, and its weights: sigmoid or tanh, softmax, cross entropy."""
    rng = np.random.default_rng(seed)
    sizes = [(2, 3), (10, 8, 5), (20, 10, 10, 5)][seed % 3]
    std, activation = [0.01, 0.1, 1.0][seed // 3 % 3], [np.tanh, lambda z: 1 / (1 + np.exp(-z))][seed // 9 % 2]
    weights = [rng.normal(0.0, std, shape) for shape in itertools.pairwise(sizes)]
    batch, labels = rng.random((4, sizes[0])), rng.integers(sizes[-1], size=4)

    def loss(flat, dtype):
        z, start = batch.astype(dtype), 0
        for w in weights:
            z = z @ flat[start : start + w.size].reshape(w.shape).astype(dtype)
            start += w.size
            if start < len(flat):
                z = activation(z)
        z = z - np.max(z.real, axis=1, keepdims=True)
        logits = z[np.arange(4), labels]
        return -np.mean(logits - np.log(np.sum(np.exp(z), axis=1)))

    return loss, np.concatenate([w.reshape(-1) for w in weights])


def float32_nets(rng):
    loss, flat = _net(int(rng.integers(36)))
    i = int(rng.integers(len(flat)))

    def moved(t, dtype):
        point = flat.astype(np.result_type(flat, dtype))
        point[i] = t
        return loss(point, dtype)

    exact = float(moved(flat[i] + 1e-100j, np.complex128).imag / 1e-100)
    f = (lambda t: float(moved(t, np.float32))) if rng.integers(2) else (lambda t: moved(t, np.float32))
    return Entry("float32 net", f, None, float(flat[i]), exact)


def stored(rng):
    """Functions that store x in fewer digits: in another precision, to some decimals, on a grid, as whole numbers."""
    (name, g, exact), x, decimals = any_of(rng, SMOOTH), sign(rng) * 10 ** rng.uniform(-1, 0.5), int(rng.integers(2, 9))
    grid, size = 10 ** rng.uniform(-9, -2), 10 ** rng.uniform(2, 6)
    how = any_of(rng, ["float32", "float16", "decimals", "grid", "whole"])
    f = {
        "float32": lambda t: g(float(np.float32(t))),
        "float16": lambda t: g(float(np.float16(t))),
        "decimals": lambda t: g(round(t, decimals)),
        "grid": lambda t: g(grid * math.floor(t / grid)),
        "whole": lambda t: g(int(t) / size),
    }[how]
    if how != "whole":
        return Entry(f"{name} of {how} x", f, exact, x)
    return Entry(f"{name} of whole x", f, lambda t: exact(t / m.mpf(size)), size * x)


def rounded(rng):
    (name, g, exact), digits = any_of(rng, SMOOTH), int(rng.integers(3, 12))
    return Entry(
        f"{name}, {digits} digits", lambda t: round(g(t), digits), exact, sign(rng) * 10 ** rng.uniform(-4, 0.7)
    )


def iterated(rng):
    """Roots by bisection to a tolerance."""
    tolerance = 10 ** rng.uniform(-10, -3)
    name, g, exact, low, high = any_of(
        rng,
        [
            ("u + u**3", lambda u: u + u**3, lambda u: u + u**3, -10.0, 10.0),
            ("sinh", math.sinh, m.sinh, -5.0, 6.0),
            ("2 u + tanh", lambda u: 2 * u + math.tanh(u), lambda u: 2 * u + m.tanh(u), -3.3, 4.0),
        ],
    )

    def root(t):
        a, b = low, high
        while b - a > tolerance:
            u = 0.5 * (a + b)
            a, b = (u, b) if g(u) < t else (a, u)
        return 0.5 * (a + b)

    x = rng.uniform(-3, 3)
    with m.workdps(40):
        u = m.findroot(lambda u: exact(u) - m.mpf(x), root(x))
        derivative = float(1 / m.diff(exact, u))
    return Entry(f"root of {name} to {tolerance:.1e}", root, None, x, derivative)


CANCELLING = [
    ("log(1 + t t)", lambda t: math.log(1 + t * t), lambda t: m.log(1 + t * t)),
    ("1 - cos", lambda t: 1 - math.cos(t), lambda t: 1 - m.cos(t)),
    ("t + log(1 + t t)", lambda t: t + math.log(1 + t * t), lambda t: t + m.log(1 + t * t)),
    ("exp - 1", lambda t: math.exp(t) - 1, lambda t: m.exp(t) - 1),
    ("exp - 1 - t", lambda t: math.exp(t) - 1 - t, lambda t: m.exp(t) - 1 - t),
    ("sqrt(1 + t t) - 1", lambda t: math.sqrt(1 + t * t) - 1, lambda t: m.sqrt(1 + t * t) - 1),
    ("2 t + 1 - cos", lambda t: 2 * t + (1 - math.cos(t)), lambda t: 2 * t + (1 - m.cos(t))),
    ("(1 + t)**3 - 1", lambda t: (1 + t) ** 3 - 1, lambda t: (1 + t) ** 3 - 1),
]


def cancellation(rng):
    return Entry(*any_of(rng, CANCELLING), sign(rng) * 10 ** rng.uniform(-9, -3))


def offset(rng):
    (name, g, exact), c = any_of(rng, SMOOTH), sign(rng) * 10 ** rng.uniform(12, 14)
    x = any_of(rng, [0.0, rng.uniform(-2, 2), rng.uniform(-2, 2)])
    return Entry(f"{c:g} + {name}", lambda t: c + g(t), lambda t: m.mpf(c) + exact(t), x)


def tiny_x(rng):
    table = [
        *SMOOTH,
        ("(t - 3)**2", lambda t: (t - 3) ** 2, lambda t: (t - 3) ** 2),
        ("1e6 + sin", lambda t: 1e6 + math.sin(t), lambda t: 10**6 + m.sin(t)),
        ("cos + t", lambda t: math.cos(t) + t, lambda t: m.cos(t) + t),
        ("log(2 + t)", lambda t: math.log(2 + t), lambda t: m.log(2 + t)),
    ]
    return Entry(*any_of(rng, table), sign(rng) * 10 ** rng.uniform(-18, -9))


def fine_structure(rng):
    a, w = 10 ** rng.uniform(-1, 0.3), rng.uniform(0.5, 2)
    table = [
        ("a t t + cos(w t)", lambda t: a * t * t + math.cos(w * t), lambda t: m.mpf(a) * t * t + m.cos(m.mpf(w) * t)),
        ("t + sin(w t)", lambda t: a * t + math.sin(w * t), lambda t: m.mpf(a) * t + m.sin(m.mpf(w) * t)),
        ("t log t + sin", lambda t: t * math.log(t) + math.sin(w * t), lambda t: t * m.log(t) + m.sin(m.mpf(w) * t)),
        ("t t + tanh bump", lambda t: t * t + math.sin(t) * math.cos(w * t), lambda t: t * t + m.sin(t) * m.cos(w * t)),
    ]
    return Entry(*any_of(rng, table), 10 ** rng.uniform(4, 6))


def minima(rng):
    a, c, near = 10 ** rng.uniform(0, 4), 10 ** rng.uniform(-1, 1), sign(rng) * 10 ** rng.uniform(-12, -2)
    b, r = a * c, m.mpf(a)
    table = [
        ("(a t - b)**2", lambda t: (a * t - b) ** 2, lambda t: (r * t - b) ** 2, c),
        ("cosh(t - c)", lambda t: math.cosh(t - c), lambda t: m.cosh(t - m.mpf(c)), c),
        ("exp - e t", lambda t: math.exp(t) - math.e * t, lambda t: m.exp(t) - m.mpf(math.e) * t, 1.0),
        ("quartic", lambda t: t**4 + 3 * t**2 - 10 * t, lambda t: t**4 + 3 * t**2 - 10 * t, 1.0),
        ("t - log", nan_outside(lambda t: t - math.log(t)), lambda t: t - m.log(t), 1.0),
        ("(t t - 2)**2", lambda t: (t * t - 2) ** 2, lambda t: (t * t - 2) ** 2, math.sqrt(2)),
        ("1 + cos", lambda t: 1 + math.cos(t), lambda t: 1 + m.cos(t), math.pi),
    ]
    name, f, exact, x = any_of(rng, table)
    return Entry(name, f, exact, x * (1 + near))


def ends(rng):
    """The end of a domain, at x or next to it, where f' is 0 or not."""
    a, s = any_of(rng, [0.0, rng.uniform(-3, 3), 10 ** rng.uniform(-3, 3)]), sign(rng)
    table = [
        ("square", lambda u: u * u, lambda u: u * u),
        ("1 - cos", lambda u: 1 - math.cos(u), lambda u: 1 - m.cos(u)),
        ("exp", lambda u: math.exp(u / 100), lambda u: m.exp(u / 100)),
        ("u**2.5", lambda u: u**2.5, lambda u: u ** m.mpf(2.5)),
        ("square + cube", lambda u: 3 * u**2 + u**3, lambda u: 3 * u**2 + u**3),
    ]
    name, g, exact = any_of(rng, table)
    x = any_of(rng, [a, a, a + s * 10 ** rng.uniform(-6, -1)])

    def model(t):
        u = s * (t - m.mpf(a))
        return exact(u) if name != "u**2.5" else m.sign(u) * abs(u) ** m.mpf(2.5)

    return Entry(f"{name} from {a:g}", lambda t: g(s * (t - a)) if s * (t - a) >= 0 else math.nan, model, x)


def raising(rng):
    """Functions that raise at some distance."""
    table = [
        ("t - log", lambda t: t - math.log(t), lambda t: t - m.log(t), 1 + sign(rng) * 10 ** rng.uniform(-9, -1)),
        ("gamma", math.gamma, m.gamma, 1.4616321449683622 + sign(rng) * 10 ** rng.uniform(-9, -1)),
        ("exp(-t) + t", lambda t: math.exp(-t) + t, lambda t: m.exp(-t) + t, sign(rng) * 10 ** rng.uniform(-9, -1)),
        ("asin", math.asin, m.asin, sign(rng) * (1 - 10 ** rng.uniform(-4, -0.3))),
        ("sqrt(t) t", lambda t: math.sqrt(t) * t, lambda t: m.sqrt(t) * t, 10 ** rng.uniform(-6, 3)),
        ("log(t - 1)", lambda t: math.log(t - 1), lambda t: m.log(t - 1), 1 + 10 ** rng.uniform(-5, 1)),
        ("exp(t t)", lambda t: math.exp(t * t), lambda t: m.exp(t * t), rng.uniform(20, 26.5)),
        ("acosh", math.acosh, m.acosh, 1 + 10 ** rng.uniform(-6, 1)),
        (
            "t t + 1e-9 log",
            lambda t: t * t + 1e-9 * math.log(t),
            lambda t: t * t + m.mpf(1e-9) * m.log(t),
            rng.uniform(0.1, 2),
        ),
    ]
    return Entry(*any_of(rng, table))


def overflow(rng):
    table = [
        ("np.exp", np.exp, m.exp, rng.uniform(690, 709.7)),
        ("1e300 np.exp", lambda t: 1e300 * np.exp(t), lambda t: m.mpf(1e300) * m.exp(t), rng.uniform(10, 18.8)),
        ("math.exp", math.exp, m.exp, rng.uniform(690, 709.7)),
        ("cosh", np.cosh, m.cosh, sign(rng) * rng.uniform(690, 710)),
        ("t**9", lambda t: np.float64(t) ** 9, lambda t: t**9, 10 ** rng.uniform(33.5, 34.2)),
        ("exp(t t)", lambda t: np.exp(t * t), lambda t: m.exp(t * t), sign(rng) * rng.uniform(25, 26.5)),
        ("-1e307 cosh", lambda t: -1e307 * np.cosh(t), lambda t: -m.mpf(1e307) * m.cosh(t), rng.uniform(-3, 3)),
    ]
    return Entry(*any_of(rng, table))


def _noise(t):
    digest = hashlib.blake2b(struct.pack("d", t), digest_size=8).digest()
    return int.from_bytes(digest, "little") / 2.0**63 - 1


def noise(rng):
    (name, g, exact), size = any_of(rng, SMOOTH), 10 ** rng.uniform(-12, -3)
    return Entry(f"{name} + {size:.1e} noise", lambda t: g(t) + size * _noise(t), exact, rng.uniform(-3, 3))


def kinks(rng):
    """A kink at x, whose right-hand slope is the truth, or beside it."""
    a, j, s = float(any_of(rng, [0.0, 1.0, 10 ** rng.uniform(-3, 3)])), 10 ** rng.uniform(-6, 0), rng.uniform(-3, 3)
    x = a if rng.integers(2) else a + sign(rng) * 10 ** rng.uniform(-6, 0)
    derivative = s * math.cos(x) + (j if x >= a else 0.0)
    return Entry(
        f"jump {j:.1e} at {a:g}",
        lambda t: s * math.sin(t) + j * max(t - a, 0.0),
        lambda t: m.mpf(s) * m.sin(t) + m.mpf(j) * max(t - m.mpf(a), m.mpf(0)),
        x,
        derivative,
    )


def few_iterations(rng):
    """Iterations to a tolerance whose number is the same next to x; the truth is the slope of what f computes."""
    tolerance, start = 10 ** rng.uniform(-10, -3), complex(0.0)
    g, slope = any_of(
        rng,
        [
            (lambda u: u + u**3, lambda u: 1 + 3 * u * u),
            (cmath.sinh, cmath.cosh),
            (lambda u: 2 * u + cmath.tanh(u), lambda u: 2 + 1 / cmath.cosh(u) ** 2),
            (lambda u: cmath.exp(u) + u, lambda u: cmath.exp(u) + 1),
        ],
    )

    def newton(t):
        u, change = start, 1.0
        while abs(change.real) > tolerance:
            change = (g(u) - t) / slope(u)
            u -= change
        return u

    def damped(t):
        u, change = start, 1.0
        while abs(change.real) > tolerance:
            change = 0.2 * (g(u) - t) / slope(1.0).real
            u -= change
        return u

    def series(t):
        total, term, k = 0.0, complex(1.0), 0
        while abs(term.real) > tolerance:
            total, k = total + term, k + 1
            term *= t / k
        return total

    program, x = any_of(rng, [newton, damped, series]), rng.uniform(-1.5, 1.5)
    derivative = program(x + 1e-100j).imag / 1e-100
    return Entry(f"{program.__name__} to {tolerance:.1e}", lambda t: program(complex(t)).real, None, x, derivative)


KINDS = {
    "smooth": smooth,
    "float32": float32,
    "float32 next to 0": small_float32,
    "float32 nets": float32_nets,
    "stored": stored,
    "rounded": rounded,
    "iterated": iterated,
    "few iterations": few_iterations,
    "cancellation": cancellation,
    "offset": offset,
    "tiny x": tiny_x,
    "fine structure": fine_structure,
    "minima": minima,
    "ends": ends,
    "raising": raising,
    "overflow": overflow,
    "noise": noise,
    "kinks": kinks,
}
