"""Jacobians of the systems of the field, against exact ones: MINPACK's fourteen, and those of SciPy's tests."""

import mpmath
import numpy as np
import pytest
import scipy.sparse
from problems import compiled

from numgrad import directional_derivative, jacobian_sparsity, numerical_jacobian

EPS = 2.0**-52


def helical(x, m):
    turn = m.atan(x[1] / x[0]) / (2 * m.pi) + (0.5 if x[0].real < 0 else 0.0)
    return [10 * (x[2] - 10 * turn), 10 * (m.sqrt(x[0] ** 2 + x[1] ** 2) - 1), x[2]]


def watson(x, m):
    n, values = len(x), []
    for i in range(1, 30):
        t = m.one * i / 29
        slope = sum(j * x[j] * t ** (j - 1) for j in range(1, n))
        values.append(slope - sum(x[j] * t**j for j in range(n)) ** 2 - 1)
    return [*values, x[0], x[1] - x[0] ** 2 - 1]


def chebyquad(x, m):
    n, values = len(x), []
    before, now = [m.one for _ in x], [2 * v - 1 for v in x]
    for i in range(1, n + 1):
        values.append(sum(now) / n + (m.one / (i * i - 1) if i % 2 == 0 else 0))
        before, now = now, [2 * (2 * v - 1) * a - b for v, a, b in zip(x, now, before, strict=True)]
    return values


def product(x):
    result = x[0]
    for v in x[1:]:
        result = result * v
    return result


def brown(x, m):
    return [v + sum(x) - (len(x) + 1) for v in x[:-1]] + [product(x) - 1]


def boundary(x, m):
    h, padded = m.one / (len(x) + 1), [0, *x, 0]
    return [
        2 * padded[i] - padded[i - 1] - padded[i + 1] + h * h / 2 * (padded[i] + i * h + 1) ** 3
        for i in range(1, len(x) + 1)
    ]


def integral(x, m):
    n, h = len(x), m.one / (len(x) + 1)
    cubes = [(x[j] + (j + 1) * h + 1) ** 3 for j in range(n)]
    return [
        x[i]
        + h / 2 * ((1 - (i + 1) * h) * sum((j + 1) * h * cubes[j] for j in range(i + 1)))
        + h / 2 * ((i + 1) * h * sum((1 - (j + 1) * h) * cubes[j] for j in range(i + 1, n)))
        for i in range(n)
    ]


def trigonometric(x, m):
    total = sum(m.cos(v) for v in x)
    return [len(x) - total + (i + 1) * (1 - m.cos(v)) - m.sin(v) for i, v in enumerate(x)]


def variable(x, m):
    total = sum((j + 1) * (v - 1) for j, v in enumerate(x))
    return [v - 1 + (i + 1) * total * (1 + 2 * total * total) for i, v in enumerate(x)]


def tridiagonal(x, m):
    padded = [0, *x, 0]
    return [(3 - 2 * padded[i]) * padded[i] - padded[i - 1] - 2 * padded[i + 1] + 1 for i in range(1, len(x) + 1)]


def banded(x, m):
    n = len(x)
    return [
        x[i] * (2 + 5 * x[i] ** 2) + 1 - sum(x[j] * (1 + x[j]) for j in range(max(0, i - 5), min(n, i + 2)) if j != i)
        for i in range(n)
    ]


# More, Garbow and Hillstrom, Testing unconstrained optimization software, ACM TOMS 7, 1981: their starting points.
SYSTEMS = {
    "Rosenbrock": (lambda x, m: [1 - x[0], 10 * (x[1] - x[0] ** 2)], [-1.2, 1.0]),
    "Powell singular": (
        lambda x, m: [
            x[0] + 10 * x[1], m.sqrt(m.one * 5) * (x[2] - x[3]), (x[1] - 2 * x[2]) ** 2,
            m.sqrt(m.one * 10) * (x[0] - x[3]) ** 2,
        ],
        [3.0, -1.0, 0.0, 1.0],
    ),
    "Powell badly scaled": (
        lambda x, m: [10000 * x[0] * x[1] - 1, m.exp(-x[0]) + m.exp(-x[1]) - m.one * 10001 / 10000], [0.0, 1.0]
    ),
    "Wood": (
        lambda x, m: [
            -200 * x[0] * (x[1] - x[0] ** 2) - (1 - x[0]),
            200 * (x[1] - x[0] ** 2) + m.one * 202 / 10 * (x[1] - 1) + m.one * 198 / 10 * (x[3] - 1),
            -180 * x[2] * (x[3] - x[2] ** 2) - (1 - x[2]),
            180 * (x[3] - x[2] ** 2) + m.one * 202 / 10 * (x[3] - 1) + m.one * 198 / 10 * (x[1] - 1),
        ],
        [-3.0, -1.0, -3.0, -1.0],
    ),
    "helical valley": (helical, [-1.0, 0.25, 0.5]),
    "Watson": (watson, [0.125, -0.25, 0.5, 0.25, -0.125, 0.375]),
    "Chebyquad": (chebyquad, [(j + 1) / 8 for j in range(7)]),
    "Brown almost-linear": (brown, [0.5] * 6),
    "discrete boundary value": (boundary, [(j + 1) / 9 * ((j + 1) / 9 - 1) for j in range(8)]),
    "discrete integral equation": (integral, [(j + 1) / 9 * ((j + 1) / 9 - 1) for j in range(8)]),
    "trigonometric": (trigonometric, [1 / 8] * 8),
    "variably dimensioned": (variable, [1 - (j + 1) / 8 for j in range(8)]),
    "Broyden tridiagonal": (tridiagonal, [-1.0] * 9),
    "Broyden banded": (banded, [-1.0] * 9),
}  # fmt: skip


class Exact:
    """What a system takes from mpmath; and, as `Floats`, from NumPy."""

    one, pi = mpmath.mpf(1), mpmath.pi
    exp, sqrt, sin, cos, atan = mpmath.exp, mpmath.sqrt, mpmath.sin, mpmath.cos, mpmath.atan


class Floats:
    one, pi = 1.0, np.pi
    exp, sqrt, sin, cos, atan = np.exp, np.sqrt, np.sin, np.cos, np.arctan


def derivatives(f, x):
    """Return the Jacobian and all third derivatives by one coordinate, from differences of 60 digits."""
    with mpmath.workdps(60):
        d, point = mpmath.mpf(10) ** -12, [mpmath.mpf(v) for v in x]

        def at(j, times):
            return f([v + (times * d if i == j else 0) for i, v in enumerate(point)], Exact)

        first, third = [], []
        for j in range(len(x)):
            values = {times: at(j, times) for times in (-2, -1, 1, 2)}
            a, b, c, e = (values[times] for times in (-2, -1, 1, 2))
            first.append([float((8 * (q - p) - (r - o)) / (12 * d)) for o, p, q, r in zip(a, b, c, e, strict=True)])
            third.append([float((r - o - 2 * (q - p)) / (2 * d**3)) for o, p, q, r in zip(a, b, c, e, strict=True)])
    return np.array(first).T, np.array(third).T


@pytest.mark.parametrize("name", SYSTEMS)
def test_minpacks_systems(name):
    system, start = SYSTEMS[name]
    x = np.array(start)
    expected, third = derivatives(system, x)

    def f(x):
        return np.array(system(list(x), Floats))

    steps = np.cbrt(EPS) * np.where(x == 0.0, 1.0, np.abs(x))
    # Sums of up to n large terms round to some spacings of these.
    size = np.abs(f(x)).max() + (np.abs(expected) @ np.abs(x)).max() + 1.0
    for h, own in [(1e-4, np.full(x.size, 1e-4)), ("auto", steps)]:
        bound = 1.01 * own**2 / 6 * np.abs(third) + 64 * EPS * size / own + 64 * EPS * np.abs(expected)
        assert (np.abs(numerical_jacobian(f, x.copy(), h) - expected) <= bound).all()
    by_complex_step = numerical_jacobian(f, x.copy(), "auto", scheme="complex")
    assert np.abs(by_complex_step - expected).max() <= 1e3 * EPS * (np.abs(expected).max() + size)
    pattern = jacobian_sparsity(f, x.copy())
    assert not (np.abs(expected) > 1e-12)[~pattern.toarray()].any()
    sparse = numerical_jacobian(f, x.copy(), sparsity=pattern)
    dense = numerical_jacobian(f, x.copy())
    assert np.abs(sparse.toarray() - dense).max() <= 64 * EPS * size / 1e-4
    v = np.cos(np.arange(x.size))
    slopes = directional_derivative(f, x.copy(), v)
    assert np.abs(slopes - expected @ v).max() <= 1e-6 * (np.abs(third).max() * 1e-2 + size)


# The functions and points of scipy/optimize/tests/test__numdiff.py, with exact derivatives.


def vector_vector(x):
    return np.array([x[0] * np.sin(x[1]), x[1] * np.cos(x[0]), x[0] ** 3 * x[1] ** -0.5])


def vector_vector_jacobian(x):
    return np.array(
        [
            [np.sin(x[1]), x[0] * np.cos(x[1])],
            [-x[1] * np.sin(x[0]), np.cos(x[0])],
            [3 * x[0] ** 2 * x[1] ** -0.5, -0.5 * x[0] ** 3 * x[1] ** -1.5],
        ]
    )


@pytest.mark.parametrize(
    ("scheme", "rtol"), [("forward", 1e-5), ("central", 1e-6), ("central4", 1e-5), ("complex", 1e-12)]
)
def test_scipys_vector_function(scheme, rtol):
    x = np.array([-100.0, 0.2])
    expected = vector_vector_jacobian(x)
    assert np.allclose(numerical_jacobian(vector_vector, x, "auto", scheme=scheme), expected, rtol=rtol)
    if scheme != "complex":
        near = numerical_jacobian(vector_vector, x, "auto", scheme=scheme, bounds=([-100.0, 0.2], [100.0, 1.0]))
        assert np.allclose(near, expected, rtol=10 * rtol)


def test_scipys_function_of_one_coordinate_and_with_arguments():
    found = numerical_jacobian(lambda x: np.array([x[0] ** 2, np.tan(x[0]), np.exp(x[0])]), [0.5])
    assert np.allclose(found, [[1.0], [np.cos(0.5) ** -2], [np.exp(0.5)]], rtol=1e-7)

    def parametrised(x, c0, c1):
        return np.array([np.exp(c0 * x[0]), np.exp(c1 * x[1])])

    for f in (parametrised, compiled(parametrised)):
        found = numerical_jacobian(f, np.array([1.0, 1.0]), args=(2.0, -1.0))
        assert np.allclose(found, [[2 * np.exp(2), 0], [0, -np.exp(-1)]], rtol=1e-7)


def cubes_and_squares(x):
    e = x[1:] ** 3 - x[:-1] ** 2
    return np.hstack((0.0, 3 * e)) + np.hstack((2 * e, 0.0))


def test_scipys_sparse_function_next_to_its_bounds():
    n = 50
    low, high = -0.1 * (1 + np.arange(n)), 0.1 * (1 + np.arange(n))
    x = np.where(np.arange(n) % 2 == 0, (1 - 1e-7) * low, (1 - 1e-7) * high)
    expected = np.diag(9 * x**2 - 4 * x) + np.diag(-6 * x[:-1], -1) + np.diag(6 * x[1:] ** 2, 1)
    expected[0, 0], expected[-1, -1] = -4 * x[0], 9 * x[-1] ** 2
    pattern = scipy.sparse.csr_array(expected != 0)
    for scheme, rtol in [("forward", 1e-4), ("central", 1e-6), ("central4", 1e-7)]:
        for bounds in (None, (low, high)):
            found = numerical_jacobian(
                cubes_and_squares, x, "auto", sparsity=pattern, scheme=scheme, bounds=bounds
            ).toarray()
            assert np.allclose(found, expected, rtol=rtol, atol=rtol)
