"""check_gradient on smooth problems: right gradients pass at starts and at minima, and wrong ones fail."""

import math

import more_garbow_hillstrom
import numpy as np
import pytest
from catalogue import entries

from numgrad import check_gradient

PROBLEMS = [
    *more_garbow_hillstrom.starts(),
    *more_garbow_hillstrom.ends(),
    *more_garbow_hillstrom.around(np.random.default_rng(0), 3),
]


def refused(problems, **options):
    checks = {
        problem.name: check_gradient(problem.f, problem.gradient(problem.x), problem.x, rng=0, **options)
        for problem in problems
    }
    return [f"{name}: {check}" for name, check in checks.items() if not check]


@pytest.mark.parametrize("options", [{}, {"directions": 1}, {"directions": 3}], ids=str)
def test_no_right_gradient_of_180_problems_is_refused(options):
    assert len(PROBLEMS) == 180
    assert refused(PROBLEMS, **options) == []


def test_no_right_derivative_of_the_catalogue_is_refused():
    problems = []
    for entry in entries():
        exact = entry.derivative()
        if math.isfinite(exact):
            f, x = (lambda x, f=entry.f: f(float(x[0]))), [entry.x]
            problems.append(more_garbow_hillstrom.Problem(str(entry), f, lambda x, exact=exact: [exact], x))
    assert len(problems) > 70
    assert refused(problems) == []


@pytest.mark.parametrize("options", [{}, {"directions": 3}], ids=str)
def test_wrong_gradients_of_the_problems_fail(options):
    """Off by a factor, by a sign and, in the largest coordinate, by a tenth."""
    passed = []
    for problem in more_garbow_hillstrom.starts():
        right = problem.gradient(problem.x)
        one = right.copy()
        one[np.abs(one).argmax()] *= 1.1
        for wrong in (1.01 * right, -right, one):
            check = check_gradient(problem.f, wrong, problem.x, rng=0, **options)
            if check:
                passed.append(f"{problem.name}: {check}")
    assert passed == []
