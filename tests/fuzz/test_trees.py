"""Arrays nested at will have the bits that they have in one flat array, and stay as they are."""

import numpy as np
from harness import fuzz, random_shape, seconds  # noqa: F401
from problems import same_without_jit

from numgrad import check_gradient, estimate_gradient, gradient_descent, labels, numerical_gradient, numerical_hessian
from numgrad.containers import leaves

pytestmark = same_without_jit


def random_tree(rng, depth=0):
    """Return nested dicts, lists and tuples of arrays of float64, in which no list looks like one array."""
    kind = rng.integers(3) if depth < 3 else 3
    if kind == 3 or (depth and rng.random() < 0.4):
        return rng.standard_normal(random_shape(rng, 1, 2)) * 10.0 ** rng.integers(-2, 3)
    parts = [random_tree(rng, depth + 1) for _ in range(rng.integers(1, 4))]
    if kind == 0:
        return {f"k{i}": part for i, part in enumerate(parts)}
    parts.append({"last": rng.standard_normal(2)})  # arrays of one shape in a list would be one array
    return parts if kind == 1 else tuple(parts)


def flat_of(tree):
    return np.concatenate([np.empty(0), *(np.asarray(part).reshape(-1) for _, part in leaves(tree))])


@fuzz(100)
def test_containers_are_their_flat_arrays(rng):
    x = random_tree(rng)
    flat = flat_of(x)
    weights = rng.uniform(0.5, 2.0, flat.size)

    def of_flat(v):
        return float(weights @ np.sin(v) + np.prod(np.cos(v[:3])))

    def f(tree):
        return of_flat(flat_of(tree))

    scheme, h = str(rng.choice(["central", "forward", "central4"])), [1e-4, "auto"][rng.integers(2)]
    found = numerical_gradient(f, x, h, scheme=scheme)
    assert flat_of(found).tobytes() == numerical_gradient(of_flat, flat.copy(), h, scheme=scheme).tobytes()
    assert [path for path, _ in leaves(found)] == [path for path, _ in leaves(x)]
    estimate = estimate_gradient(f, x)
    alone = estimate_gradient(of_flat, flat.copy())
    assert flat_of(estimate.value).tobytes() == alone.value.tobytes()
    assert len(str(estimate).splitlines()) == len(str(alone).splitlines())
    assert len(labels(x)) == len(set(labels(x))) == flat.size
    if flat.size <= 12:
        assert numerical_hessian(f, x).tobytes() == numerical_hessian(of_flat, flat.copy()).tobytes()
    gradient = numerical_gradient(f, x, scheme="central4")
    assert check_gradient(f, gradient, x, rtol=1e-4, atol=1e-6)
    assert flat_of(x).tobytes() == flat.tobytes()
    moved = gradient_descent(f, x, 1e-3, 2)
    assert moved is x
    assert flat_of(x).tobytes() == gradient_descent(of_flat, flat, 1e-3, 2).tobytes()
