"""Jacobians have the bits of the plain loop, Hessians of quadratic forms are their matrices, and x stays as it is."""

import numpy as np
from harness import FLOATS, fuzz, random_shape, seconds, with_layout  # noqa: F401

from numgrad import estimate_jacobian, numerical_hessian, numerical_jacobian, reference

EPS = 2.0**-52


@fuzz(150)
def test_jacobians_have_the_bits_of_the_plain_loop(rng):
    x, memory = with_layout(rng, rng.standard_normal(random_shape(rng, 1, 2)) * 10.0 ** rng.integers(-3, 4))
    n, shape = x.size, random_shape(rng, 0, 2)
    pattern = rng.random((int(np.prod(shape)), n)) < 0.4
    weights = rng.standard_normal(pattern.shape) * pattern * (1j if rng.random() < 0.3 else 1.0)
    before = memory.tobytes()

    def f(point):
        return (weights * np.sin(np.array(point, order="C").reshape(-1))).sum(axis=1).reshape(shape)

    expected = np.zeros((*shape, *x.shape), weights.dtype)
    for part, unit in ((np.real, 1.0), (np.imag, 1j)):
        if unit == 1.0 or np.iscomplexobj(weights):
            expected += unit * reference.numerical_jacobian(lambda p, part=part: part(f(p)), np.array(x, order="C"))
    workers = [1, 1, map][rng.integers(3)]
    assert np.array_equal(numerical_jacobian(f, x, workers=workers), expected)
    if not np.iscomplexobj(weights):
        sparse = numerical_jacobian(f, x, sparsity=pattern)
        # Columns that move together round the terms of others differently.
        assert np.allclose(sparse.toarray(), expected.reshape(pattern.shape), rtol=0, atol=20 * n * EPS / 1e-4)
        estimate = estimate_jacobian(f, x)
        assert (np.abs(estimate.value - expected) <= estimate.error + n * (1e-8 + 20 * EPS / 1e-4)).all()
    assert memory.tobytes() == before


@fuzz(150)
def test_hessians_of_quadratic_forms_are_symmetric_and_exact(rng):
    shape = random_shape(rng, 1, 2)
    x, memory = with_layout(rng, (rng.standard_normal(shape) * 3).astype(rng.choice(np.array(FLOATS[1:6], object))))
    n, before = x.size, memory.tobytes()
    form = rng.standard_normal((n, n)) * (rng.random((n, n)) < 0.5)
    form += form.T

    def f(point):
        flat = np.array(point, np.float64, order="C").reshape(-1)
        return 0.5 * flat @ form @ flat

    h = [1e-2, "auto", 10.0 ** rng.uniform(-3, 0, shape)][rng.integers(3)]
    found = numerical_hessian(f, x, h).reshape(n, n)
    assert found.tobytes() == found.T.copy().tobytes()
    plain = np.abs(np.array(x, np.float64)).reshape(-1)
    size = (plain + 1.0) @ np.abs(form) @ (plain + 1.0)
    least = 1e-4 * np.where(plain > 0, plain, 1.0) if isinstance(h, str) else np.broadcast_to(h, shape).reshape(-1)
    # Roundings of f, over the product of the steps, which are distances of points as they are stored.
    bar = 20 * (n + 1) * EPS * size / np.outer(least, least)
    narrow = x.dtype.itemsize < 8 and not isinstance(h, str)  # steps of the user's own may be lost there
    assert narrow or (np.abs(found - form) <= bar + 1e-12).all()
    pattern = np.abs(form) > 0
    sparse = numerical_hessian(f, x, h, sparsity=pattern).toarray()
    assert narrow or (np.abs(sparse - form) <= bar + 1e-12).all()
    by_gradient = numerical_hessian(
        f, x, gradient=lambda p: (form @ np.array(p, np.float64, order="C").reshape(-1)).reshape(shape)
    )
    assert narrow or np.allclose(by_gradient.reshape(n, n), form, rtol=1e-6, atol=1e-6 * np.abs(form).max(initial=0))
    assert memory.tobytes() == before
