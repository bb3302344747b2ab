"""The problems of More, Garbow and Hillstrom (ACM Transactions on Mathematical Software 7, 1981), with exact gradients.

f is a sum of squared residuals, which are analytic, so that the complex step gives their Jacobian J to the last digit,
and the gradient is 2 J' r. ``PROBLEMS`` are names, residuals, and starting points.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

BARD = np.array([14, 18, 22, 25, 29, 32, 35, 39, 37, 58, 73, 96, 134, 210, 439]) / 100
KOWALIK = np.array([1957, 1947, 1735, 1600, 844, 627, 456, 342, 323, 235, 246]) / 1e4
KOWALIK_U = np.array([4, 2, 1, 0.5, 0.25, 0.167, 0.125, 0.1, 0.0833, 0.0714, 0.0625])
MEYER = np.array(
    [34780, 28610, 23650, 19630, 16370, 13720, 11540, 9744, 8261, 7030, 6005, 5147, 4427, 3820, 3307, 2872.0]
)
OSBORNE_1 = np.array([
    844, 908, 932, 936, 925, 908, 881, 850, 818, 784, 751, 718, 685, 658, 628, 603, 580, 558, 538, 522, 506, 490, 478,
    467, 457, 448, 438, 431, 424, 420, 414, 411, 406,
]) / 1e3  # fmt: skip
OSBORNE_2 = np.array([
    1366, 1191, 1112, 1013, 991, 885, 831, 847, 786, 725, 746, 679, 608, 655, 616, 606, 602, 626, 651, 724, 649, 649,
    694, 644, 624, 661, 612, 558, 533, 495, 500, 423, 395, 375, 372, 391, 396, 405, 428, 429, 523, 562, 607, 653, 672,
    708, 633, 668, 645, 632, 591, 559, 597, 625, 739, 710, 729, 720, 636, 581, 428, 292, 162, 98, 54,
]) / 1e3  # fmt: skip


def helical(x):
    # arctan(x2 / x1) / 2 pi, with 1/2 more where x1 is negative
    angle = np.arctan(x[1] / x[0]) / (2 * np.pi) + (0.5 if x[0].real < 0 else 0.0)
    return [10 * (x[2] - 10 * angle), 10 * (np.sqrt(x[0] ** 2 + x[1] ** 2) - 1), x[2]]


def bard(x):
    u = np.arange(1.0, 16.0)
    return BARD - (x[0] + u / ((16 - u) * x[1] + np.minimum(u, 16 - u) * x[2]))


def gaussian(x):
    y = np.array([9, 44, 175, 540, 1295, 2420, 3521, 3989, 3521, 2420, 1295, 540, 175, 44, 9]) / 1e4
    return x[0] * np.exp(-x[1] * ((8 - np.arange(1.0, 16.0)) / 2 - x[2]) ** 2 / 2) - y


def gulf(x):
    t = np.arange(1.0, 100.0) / 100
    y = 25 + (-50 * np.log(t)) ** (2 / 3) - x[1]
    size = y * np.where(y.real < 0, -1, 1)  # the absolute value, analytic
    return np.exp(-(size ** x[2]) / x[0]) - t


def box(x):
    t = np.arange(1.0, 11.0) / 10
    return np.exp(-t * x[0]) - np.exp(-t * x[1]) - x[2] * (np.exp(-t) - np.exp(-10 * t))


def powell_singular(x):
    a, b, c, d = x.reshape(-1, 4).T
    return np.concatenate([a + 10 * b, 5**0.5 * (c - d), (b - 2 * c) ** 2, 10**0.5 * (a - d) ** 2])


def wood(x):
    a, b, c, d = x
    return [10 * (b - a**2), 1 - a, 90**0.5 * (d - c**2), 1 - c, 10**0.5 * (b + d - 2), (b - d) / 10**0.5]


def kowalik_osborne(x):
    u = KOWALIK_U
    return KOWALIK - x[0] * (u**2 + u * x[1]) / (u**2 + u * x[2] + x[3])


def brown_dennis(x):
    t = np.arange(1.0, 21.0) / 5
    return (x[0] + t * x[1] - np.exp(t)) ** 2 + (x[2] + x[3] * np.sin(t) - np.cos(t)) ** 2


def biggs(x):
    t = np.arange(1.0, 14.0) / 10
    y = np.exp(-t) - 5 * np.exp(-10 * t) + 3 * np.exp(-4 * t)
    return x[2] * np.exp(-t * x[0]) - x[3] * np.exp(-t * x[1]) + x[5] * np.exp(-t * x[4]) - y


def osborne_1(x):
    t = 10 * np.arange(33.0)
    return OSBORNE_1 - (x[0] + x[1] * np.exp(-t * x[3]) + x[2] * np.exp(-t * x[4]))


def osborne_2(x):
    t = np.arange(65.0) / 10
    peaks = sum(x[k] * np.exp(-((t - x[k + 7]) ** 2) * x[k + 4]) for k in (1, 2, 3))
    return OSBORNE_2 - (x[0] * np.exp(-t * x[4]) + peaks)


def watson(x):
    t, j = np.arange(1.0, 30.0)[:, None] / 29, np.arange(len(x))
    first = t ** np.maximum(j - 1, 0) * j @ x - (t**j @ x) ** 2 - 1
    return np.concatenate([first, [x[0], x[1] - x[0] ** 2 - 1]])


def rosenbrock(x):
    return np.concatenate([10 * (x[1::2] - x[::2] ** 2), 1 - x[::2]])


def penalty_1(x):
    return np.concatenate([1e-5**0.5 * (x - 1), [np.sum(x**2) - 0.25]])


def penalty_2(x):
    n, a = len(x), 1e-5**0.5
    i = np.arange(1.0, n)
    y = np.exp((i + 1) / 10) + np.exp(i / 10)
    middle = a * (np.exp(x[1:] / 10) + np.exp(x[:-1] / 10) - y)
    last = a * (np.exp(x[1:] / 10) - np.exp(-0.1))
    return np.concatenate([[x[0] - 0.2], middle, last, [np.sum((n - np.arange(n)) * x**2) - 1]])


def variably_dimensioned(x):
    total = np.sum(np.arange(1.0, len(x) + 1) * (x - 1))
    return np.concatenate([x - 1, [total, total**2]])


def trigonometric(x):
    return len(x) - np.sum(np.cos(x)) + np.arange(1.0, len(x) + 1) * (1 - np.cos(x)) - np.sin(x)


def brown_almost_linear(x):
    return np.concatenate([x[:-1] + np.sum(x) - (len(x) + 1), [np.prod(x) - 1]])


def discrete_boundary_value(x):
    h = 1 / (len(x) + 1)
    t, wide = h * np.arange(1.0, len(x) + 1), np.concatenate([[0], x, [0]])
    return 2 * x - wide[:-2] - wide[2:] + h**2 * (x + t + 1) ** 3 / 2


def discrete_integral(x):
    h = 1 / (len(x) + 1)
    t = h * np.arange(1.0, len(x) + 1)
    cubes = (x + t + 1) ** 3
    below, above = np.cumsum(t * cubes), np.cumsum(((1 - t) * cubes)[::-1])[::-1]
    return x + h / 2 * ((1 - t) * below + t * np.concatenate([above[1:], [0]]))


def broyden_tridiagonal(x):
    wide = np.concatenate([[0], x, [0]])
    return (3 - 2 * x) * x - wide[:-2] - 2 * wide[2:] + 1


def broyden_banded(x):
    near = np.tri(len(x), k=1) - np.tri(len(x), k=-6) - np.eye(len(x))
    return x * (2 + 5 * x**2) + 1 - near @ (x * (1 + x))


def linear(x, m=20):
    return np.concatenate([x, np.zeros(m - len(x))]) - 2 / m * np.sum(x) - 1


def linear_of_rank_1(x, m=20):
    return np.arange(1.0, m + 1) * np.sum(np.arange(1.0, len(x) + 1) * x) - 1


def linear_with_zeros(x, m=20):
    inner = np.arange(m) * np.sum(np.arange(2.0, len(x)) * x[1:-1]) - 1
    inner[-1] = -1
    return inner


def chebyquad(x):
    before, now, rows = np.ones_like(x), 2 * x - 1, []
    for i in range(1, len(x) + 1):
        rows.append(np.mean(now) + (1 / (i * i - 1) if i % 2 == 0 else 0))
        before, now = now, 2 * (2 * x - 1) * now - before
    return rows


def along(n):
    return np.arange(1.0, n + 1) / (n + 1)


PROBLEMS = [
    ("Rosenbrock", rosenbrock, [-1.2, 1]),
    (
        "Freudenstein and Roth",
        lambda x: [
            -13 + x[0] + ((5 - x[1]) * x[1] - 2) * x[1],
            -29 + x[0] + ((x[1] + 1) * x[1] - 14) * x[1],
        ],
        [0.5, -2],
    ),
    (
        "Powell badly scaled",
        lambda x: [1e4 * x[0] * x[1] - 1, np.exp(-x[0]) + np.exp(-x[1]) - 1.0001],
        [0, 1],
    ),
    ("Brown badly scaled", lambda x: [x[0] - 1e6, x[1] - 2e-6, x[0] * x[1] - 2], [1, 1]),
    ("Beale", lambda x: [y - x[0] * (1 - x[1] ** k) for k, y in enumerate((1.5, 2.25, 2.625), 1)], [1, 1]),
    (
        "Jennrich and Sampson",
        lambda x: [2 + 2 * i - (np.exp(i * x[0]) + np.exp(i * x[1])) for i in range(1, 11)],
        [0.3, 0.4],
    ),
    ("helical valley", helical, [-1, 0, 0]),
    ("Bard", bard, [1, 1, 1]),
    ("Gaussian", gaussian, [0.4, 1, 0]),
    (
        "Meyer",
        lambda x: x[0] * np.exp(x[1] / (45 + 5 * np.arange(1.0, 17.0) + x[2])) - MEYER,
        [0.02, 4000, 250],
    ),
    ("Gulf", gulf, [5, 2.5, 0.15]),
    ("Box", box, [0, 10, 20]),
    ("Powell singular", powell_singular, [3, -1, 0, 1]),
    ("Wood", wood, [-3, -1, -3, -1]),
    ("Kowalik and Osborne", kowalik_osborne, [0.25, 0.39, 0.415, 0.39]),
    ("Brown and Dennis", brown_dennis, [25, 5, -5, -1]),
    ("Osborne 1", osborne_1, [0.5, 1.5, -1, 0.01, 0.02]),
    ("Biggs", biggs, [1, 2, 1, 1, 1, 1]),
    ("Osborne 2", osborne_2, [1.3, 0.65, 0.65, 0.7, 0.6, 3, 5, 7, 2, 4.5, 5.5]),
    ("Watson 6", watson, [0] * 6),
    ("Watson 9", watson, [0] * 9),
    ("Rosenbrock, extended", rosenbrock, [-1.2, 1] * 10),
    ("Powell singular, extended", powell_singular, [3, -1, 0, 1] * 3),
    ("penalty 1", penalty_1, np.arange(1.0, 11.0)),
    ("penalty 2", penalty_2, [0.5] * 10),
    ("variably dimensioned", variably_dimensioned, 1 - np.arange(1.0, 11.0) / 10),
    ("trigonometric", trigonometric, [0.1] * 10),
    ("Brown almost linear", brown_almost_linear, [0.5] * 10),
    ("discrete boundary value", discrete_boundary_value, along(10) * (along(10) - 1)),
    ("discrete integral equation", discrete_integral, along(10) * (along(10) - 1)),
    ("Broyden tridiagonal", broyden_tridiagonal, [-1] * 10),
    ("Broyden banded", broyden_banded, [-1] * 10),
    ("linear", linear, [1] * 10),
    ("linear of rank 1", linear_of_rank_1, [1] * 10),
    ("linear of rank 1 with zeros", linear_with_zeros, [1] * 10),
    ("Chebyquad", chebyquad, along(8)),
]


class Problem(NamedTuple):
    """A sum of squares, its exact gradient, and a point."""

    name: str
    f: Callable[[np.ndarray], float]
    gradient: Callable[[np.ndarray], np.ndarray]
    x: np.ndarray


def residuals_and_jacobian(residuals, x):
    columns = [np.asarray(residuals(x + 1e-100j * row)) for row in np.eye(len(x))]
    return np.asarray(residuals(x)), np.stack(columns, axis=1).imag / 1e-100


def of(name, residuals, x):
    def f(x):
        return float(np.sum(np.square(residuals(x))))

    def gradient(x):
        r, jacobian = residuals_and_jacobian(residuals, x)
        return 2 * jacobian.T @ r

    return Problem(name, f, gradient, np.array(x, np.float64))


def minimum(residuals, x, steps=200):
    """Return where Levenberg and Marquardt's method ends."""
    x, damping = np.array(x, np.float64), 1e-3
    r, jacobian = residuals_and_jacobian(residuals, x)
    for _ in range(steps):
        scale = np.diag(np.fmax(np.linalg.norm(jacobian, axis=0), 1e-12) * damping**0.5)
        with np.errstate(all="ignore"):
            move = np.linalg.lstsq(np.vstack([jacobian, scale]), np.concatenate([-r, np.zeros(len(x))]), rcond=None)[0]
            value = np.sum(np.square(residuals(x + move)))
        if value < np.sum(r**2):
            x, damping = x + move, damping / 10
            r, jacobian = residuals_and_jacobian(residuals, x)
        elif damping > 1e12:
            break
        else:
            damping *= 10
    return x


def starts():
    return [of(*problem) for problem in PROBLEMS]


def ends():
    return [of(name + ", end", residuals, minimum(residuals, x)) for name, residuals, x in PROBLEMS]


def around(rng, each):
    """Return the problems at points within 10 % of their starts."""
    return [
        of(name, residuals, np.array(x) * rng.uniform(0.9, 1.1, len(x)) + 0.01 * rng.uniform(-1, 1, len(x)))
        for name, residuals, x in PROBLEMS
        for _ in range(each)
    ]
