"""Kinds of problems on which a gradient check once failed: each makes a random f, its right gradient and a point.

``python tests/check_kinds.py [cases] [kind ...]`` prints how many right gradients are refused, how many wrong ones pass
and the evaluations a coordinate of the right ones.
"""

import hashlib
import sys
from functools import partial
from itertools import pairwise

import numpy as np


def smooth(rng, n=20, length=1.0, x0=0.0):
    """Return a smooth function of that length, its gradient, and a point."""
    a, b, c = rng.uniform(0.5, 2.0, (3, n)) * rng.choice([-1, 1], (3, n))
    x = x0 + length * rng.uniform(-2, 2, n)

    def f(x):
        y = (x - x0) / length
        return float(np.sum(a * np.sin(b * y) + 0.2 * c * y**2))

    y = (x - x0) / length
    return f, (a * b * np.cos(b * y) + 0.4 * c * y) / length, x


def noisy(rng, size):
    f, g, x = smooth(rng)
    if rng.integers(2):
        own = np.random.default_rng(rng.integers(2**32))
        return lambda x: f(x) + size * own.standard_normal(), g, x
    return lambda x: f(x) + size * np.sin(1e13 * np.sum(x)), g, x


def rounded(rng, digits):
    f, g, x = smooth(rng)
    return lambda x: round(f(x), digits), g, x


def float32_inside(rng):
    a, b = rng.uniform(0.5, 2.0, (2, 20)) * rng.choice([-1, 1], (2, 20))
    x = rng.uniform(-2, 2, 20)

    def f(x):
        y = x.astype(np.float32)
        return float(np.sum(a.astype(np.float32) * np.sin(b.astype(np.float32) * y), dtype=np.float32))

    return f, a * b * np.cos(b * x), x


def stored(rng, cast):
    """Return a problem that stores its x in fewer digits, and computes on in float64; some x are next to 0."""
    f, g, x = smooth(rng, length=1e4 if cast is np.rint else 1.0)
    if rng.integers(2) and cast is not np.rint:
        y = np.where(rng.integers(4, size=20) == 0, 0.0, x)
        a = rng.uniform(0.5, 2.0, 20)
        f, g, x = lambda x: float(np.sum(a * np.exp(x / 2))), a * np.exp(y / 2) / 2, y
    return lambda x: f(cast(x).astype(np.float64)), g, x


def net_of_stored(rng, dtype=np.float32):
    """Return a net in float64 that stores its weights in less."""
    loss, gradient, params = net(rng, kind=str(rng.choice(list(ACTIVATIONS))), sizes=(12, 10, 5))
    return lambda p: loss({name: w.astype(dtype).astype(np.float64) for name, w in p.items()}), gradient, params


def scaled(rng):
    return smooth(rng, length=10.0 ** rng.uniform(-9, 9))


def far_away(rng):
    """Return a problem whose x is large against the length of f: degrees, Julian dates, Unix times."""
    b, x = rng.uniform(0.5, 2.0, 5), rng.choice([1e3, 1e6, 2.46e6, 1.7e9]) * (1 + 0.01 * rng.uniform(size=5))
    return lambda x: float(np.sum(np.sin(b * (x - 1e3)))), b * np.cos(b * (x - 1e3)), x


def kinks_near(rng):
    f, g, x = smooth(rng)
    p = x + 10.0 ** rng.uniform(-8, -4, 20) * rng.choice([-1, 1], 20)
    return lambda x: f(x) + float(np.sum(np.abs(x - p))), g + np.sign(x - p), x


def kink_at(rng):
    f, g, x = smooth(rng)
    p = x.copy()
    return lambda x: f(x) + float(np.sum(np.abs(x - p))), g + rng.uniform(-1, 1, 20), x


def near_minimum(rng):
    k, x = 10.0 ** rng.uniform(0, 3), 1 + 10.0 ** rng.uniform(-7, -4) * rng.standard_normal(20)
    d = x - 1
    return lambda x: float(np.sum((x - 1) ** 2 + k * (x - 1) ** 3)), 2 * d + 3 * k * d**2, x


def tied(rng):
    f, g, x = smooth(rng)
    return lambda p: f(p["a"]) + f(p["b"]), {"a": 2 * g, "b": 2 * g}, {"a": x, "b": x}


ACTIVATIONS = {
    "relu": (lambda z: np.maximum(z, 0), lambda z, y: z > 0),
    "tanh": (np.tanh, lambda z, y: 1 - y * y),
    "sigmoid": (lambda z: 1 / (1 + np.exp(-z)), lambda z, y: y * (1 - y)),
}


def remembered(f):
    """Return f of a dict of arrays, which computes each value once.

    The right gradient and the wrong ones are checked at the same points.
    """
    values = {}

    def value(params):
        key = hashlib.blake2b(b"".join(array.tobytes() for array in params.values())).digest()
        if key not in values:
            values[key] = f(params)
        return values[key]

    return value


def net(rng, std=None, dtype=np.float64, sizes=(12, 15, 8, 5), batch=30, kind="relu"):
    """Return the loss of a net of several layers as a function of a dict of its weights, and backpropagation."""
    act, slope = ACTIVATIONS[kind]
    images, labels = rng.uniform(0, 1, (batch, sizes[0])).astype(dtype), rng.integers(0, sizes[-1], batch)
    params, layers = {}, len(sizes) - 1
    for k, (m, n) in enumerate(pairwise(sizes), 1):
        params[f"W{k}"] = (rng.standard_normal((m, n)) * (std or np.sqrt(2 / m))).astype(dtype)
        params[f"b{k}"] = np.zeros(n, dtype)

    def forward(p):
        values = [(None, images)]
        for k in range(1, layers + 1):
            z = values[-1][1] @ p[f"W{k}"] + p[f"b{k}"]
            values.append((z, act(z) if k < layers else z))
        z = values[-1][0]
        e = np.exp(z - z.max(1, keepdims=True))
        return values, e / e.sum(1, keepdims=True)

    def loss(p):
        z = forward(p)[0][-1][0]
        z = z - z.max(1, keepdims=True)
        return -np.mean((z - np.log(np.exp(z).sum(1, keepdims=True)))[np.arange(batch), labels])

    values, y = forward(params)
    delta, gradient = y.copy(), {}
    delta[np.arange(batch), labels] -= 1
    delta /= dtype(batch)
    for k in range(layers, 0, -1):
        gradient[f"W{k}"], gradient[f"b{k}"] = values[k - 1][1].T @ delta, delta.sum(0)
        if k > 1:
            delta = (delta @ params[f"W{k}"].T) * slope(*values[k - 1])
    return remembered(loss), {name: gradient[name].astype(dtype) for name in params}, params


def net32(rng, std):
    return net(rng, std, np.float32, kind=str(rng.choice(list(ACTIVATIONS))), sizes=(12, 10, 5))


def deep32(rng, std):
    return net(rng, std, np.float32, kind=str(rng.choice(list(ACTIVATIONS))), sizes=(12, 15, 8, 5))


def ends_near(rng):
    """Return a problem whose domain ends nearer to x than the first step."""
    a, x = rng.uniform(0.5, 2.0, 20), 10.0 ** rng.uniform(-9, -5, 20)
    k, g = [(np.log, lambda x: 1 / x), (np.sqrt, lambda x: 0.5 / np.sqrt(x))][rng.integers(2)]
    return lambda x: float(np.sum(a * k(x))), a * g(x), x


CASTS = {
    "float32": np.float32,
    "float16": np.float16,
    "six decimals": partial(np.round, decimals=6),
    "three decimals": partial(np.round, decimals=3),
    "whole numbers": np.rint,
}
# Every kind: what makes a problem, and how it is checked.
KINDS = {
    "smooth": (smooth, {}),
    "smooth, directions": (smooth, {"directions": 3}),
    **{f"noise {size:g}": (partial(noisy, size=size), {}) for size in (1e-9, 1e-6, 1e-3)},
    **{f"rounded to {digits}": (partial(rounded, digits=digits), {}) for digits in (6, 3)},
    "float32 inside": (float32_inside, {}),
    **{f"x in {name}": (partial(stored, cast=cast), {}) for name, cast in CASTS.items()},
    "x in float32, directions": (partial(stored, cast=np.float32), {"directions": 3}),
    "nets of x in float32": (net_of_stored, {}),
    "nets of x in float32, directions": (net_of_stored, {"directions": 3}),
    "x of any scale": (scaled, {}),
    "x far away": (far_away, {}),
    "kinks near": (kinks_near, {}),
    "kinks at x": (kink_at, {}),
    "near a minimum": (near_minimum, {}),
    "near a minimum, directions": (near_minimum, {"directions": 3}),
    "noise 1e-06, directions": (partial(noisy, size=1e-6), {"directions": 3}),
    "tied": (tied, {}),
    "tied, directions": (tied, {"directions": 3}),
    "ReLU nets": (net, {}),
    "ReLU nets, directions": (net, {"directions": 3}),
    "float32 nets, std 0.1": (partial(net32, std=0.1), {}),
    "float32 nets, std 1": (partial(net32, std=1.0), {}),
    "float32 nets, std 0.01": (partial(net32, std=0.01), {}),
    "deep float32 nets, std 0.1": (partial(deep32, std=0.1), {}),
    "deep float32 nets, std 1": (partial(deep32, std=1.0), {}),
    "ends of domains near": (ends_near, {}),
}


def wrong_ones(rng, gradient):
    """Yield the name of a mistake and a gradient with it, an array or a dict of which one array is spoilt."""
    name = max(gradient, key=lambda key: np.abs(gradient[key]).max()) if isinstance(gradient, dict) else None
    right = gradient if name is None else gradient[name]

    def put(part):
        return part if name is None else {**gradient, name: part}

    everywhere = (lambda c: c * gradient) if name is None else (lambda c: {k: c * v for k, v in gradient.items()})
    yield "sign", everywhere(-1)
    yield "factor", everywhere(2)
    yield "zero", everywhere(0)
    yield "shifted", put(np.roll(right, 1, axis=-1))
    k = np.unravel_index(np.abs(right).argmax(), right.shape)
    one = right.copy()
    one[k] *= 1.5
    yield "one weight", put(one)
    if right.ndim == 2:
        column = right.copy()
        column[:, k[1]] *= right.dtype.type(1.01)
        yield "column 1 %", put(column)


def counted(f):
    """Return f, and a list that grows by one with each call."""
    calls = []
    return lambda x: (calls.append(None), f(x))[1], calls


def measure(kind, cases, check_gradient, seed=12345):
    """Return the refused right gradients, the wrong ones that passed by name, and evaluations a coordinate."""
    make, options = KINDS[kind]
    refused, passed, noisy, evaluations = 0, {}, 0, []
    for case in range(cases):
        rng = np.random.default_rng((seed, case))
        f, gradient, x = make(rng)
        counting, calls = counted(f)
        check = check_gradient(counting, gradient, x, rng=case, **options)
        noisy += not check.ok and "too noisy" in str(check)
        refused += not check.ok
        evaluations.append(len(calls) / max(1, check.checked))
        for mistake, wrong in wrong_ones(rng, gradient):
            if options and mistake in {"one weight", "column 1 %"}:
                continue
            n, m = passed.get(mistake, (0, 0))
            passed[mistake] = n + bool(check_gradient(f, wrong, x, rng=case, **options).ok), m + 1
    return refused, noisy, passed, float(np.mean(evaluations))


def main():
    """Print a table."""
    from numgrad import check_gradient

    cases = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    chosen = [kind for kind in KINDS if not sys.argv[2:] or any(name in kind for name in sys.argv[2:])]
    for kind in chosen:
        refused, noisy, passed, evaluations = measure(kind, cases, check_gradient)
        wrong = ", ".join(f"{name} {n}/{m}" for name, (n, m) in passed.items() if n) or f"0 of {cases * len(passed)}"
        print(  # noqa: T201
            f"{kind:28} refused {refused:3} (noisy {noisy:2}) of {cases}; {evaluations:5.1f} evals; passed: {wrong}",
            flush=True,
        )


if __name__ == "__main__":
    main()
