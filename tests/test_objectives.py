"""Recognising the kinds, and the memory of compiled loops."""

import fractions

import numpy as np
import pytest
from numba.core import types
from numba.core.errors import NumbaTypeError
from numba.core.registry import CPUDispatcher
from problems import sum_of_squares

from numgrad import objectives, scalars


def test_the_kinds_are_recognised():
    f = CPUDispatcher(sum_of_squares)
    assert type(objectives.as_objective(f, ())) is objectives.CompiledObjective
    assert objectives.as_objective(f, ()) is objectives.as_objective(f, ())
    for f in (lambda x: 0.0, np.sum, type("Callable", (), {"__call__": lambda self, x: 0.0, "__hash__": None})()):
        assert type(objectives.as_objective(f, ())) is objectives.PythonObjective


def test_the_loops_of_the_functions_that_came_last_are_kept(monkeypatch):
    monkeypatch.setattr(objectives, "_known", {})
    monkeypatch.setattr(objectives, "_MOST_KNOWN", 3)
    functions = [CPUDispatcher(lambda x: 0.0) for _ in range(5)]
    made = [objectives.as_objective(f, ()) for f in functions]
    assert list(objectives._known) == [id(f) for f in functions[2:]]
    assert objectives.as_objective(functions[4], ()) is made[4]
    assert objectives.as_objective(functions[0], ()) is not made[0]


def test_a_compiled_objective_refuses_to_be_evaluated_on_x_by_another_way():
    w, x = np.ones(3), np.ones(3)
    objective = objectives.CompiledObjective(CPUDispatcher(lambda x: w[0]))
    with pytest.raises(ValueError, match="captured variable 'w'"):
        objective.check(w[1:], ())
    with pytest.raises(ValueError, match=r"args\[1\] shares memory with x"):
        objective.check(x, (0, x[:2]))
    objective.check(x, (w, 3))
    objective.check(x.astype(int), (x,))
    private = objective.own(objective.prepare(x, 1e-4, (w, 3)))
    assert private.tobytes() == x.tobytes()
    assert not np.shares_memory(private, x)


def test_a_global_that_became_x_after_the_first_use_is_found():
    scope = {"data": 2.0}
    exec("def f(x): return (data * x).sum()", scope)
    objective = objectives.CompiledObjective(CPUDispatcher(scope["f"]))
    objective.check(np.ones(3), ())
    scope["data"] = np.ones((2, 2))
    with pytest.raises(ValueError, match="captured variable 'data'"):
        objective.check(scope["data"], ())


@pytest.mark.parametrize("value", [2, 2.0, np.int8(2), np.float32(2), np.longdouble(2), np.array([[2]])])
def test_a_single_real_number_is_a_float(value):
    for number in (scalars.real_number(value), scalars.real_number(fractions.Fraction(2))):
        assert number == 2.0
        assert type(number) is float


def test_the_compiled_forms_agree_as_plain_python():
    assert scalars._from_number(2) == scalars._from_optional("m")(2) == scalars._from_array("m")(np.array([2])) == 2.0
    for implementation, value in [
        (scalars._from_none("m"), None),
        (scalars._from_optional("m"), None),
        (scalars._from_array("m"), np.ones(2)),
    ]:
        with pytest.raises(TypeError, match="m"):
            implementation(value)


@pytest.mark.parametrize(
    ("returned", "implementation"),
    [
        (types.none, "_from_none"),
        (types.float32, "_from_number"),
        (types.intp, "_from_number"),
        (types.float64[:, :], "_from_array"),
        (types.Optional(types.float64), "_from_optional"),
    ],
)
def test_a_form_is_chosen_by_the_type_that_f_returns(returned, implementation):
    assert implementation in scalars.compiled_form(returned).__qualname__


@pytest.mark.parametrize(
    "returned", [types.complex128, types.boolean, types.unicode_type, types.complex64[:], types.UniTuple(types.intp, 2)]
)
def test_types_that_hold_no_real_number_have_no_form(returned):
    with pytest.raises(NumbaTypeError, match="f must return one real number"):
        scalars.compiled_form(returned)
