"""The package as a whole: its names, its documentation, what importing it costs."""

import inspect
import pydoc
import re
import subprocess
import sys
from importlib import metadata, resources

import numpy as np
import pytest
from problems import needs_jit

import numgrad

NAMES = [
    "function_1", "numerical_diff", "tangent_line", "function_2", "numerical_gradient", "numerical_jacobian",
    "jacobian_sparsity", "directional_derivative", "numerical_hessian", "hessian_vector_product", "Gradient",
    "Jacobian", "Hessian", "propagate", "labels", "Scheme", "gradient_descent", "gradient_ascent", "descent_path",
    "sigmoid", "relu", "softmax", "cross_entropy_error", "sum_squared_error", "simpleNet", "SimpleNet",
    "TwoLayerNet", "MultiLayerNet", "train", "History", "IncrementalObjective", "LayerObjective",
    "SeparableObjective", "estimate_derivative", "estimate_gradient", "estimate_jacobian", "estimate_hessian",
    "Estimate", "check_gradient", "assert_gradient", "GradientCheck", "plotting", "reference",
]  # fmt: skip
DESCENT = (
    "(f, init_x, lr=0.01, step_num=100, *, h=0.0001, args=(), workers=1, callback=None, progress=False, "
    "scheme='central')"
)
SIGNATURES = {
    "numerical_diff": "(f, x, h=0.0001, *, args=(), order=1, scheme='central', bounds=None)",
    "numerical_gradient": "(f, x, h=0.0001, *, args=(), workers=1, out=None, coordinates=None, progress=False, "
    "scheme='central', bounds=None, vectorized=False, batch_bytes=67108864, points_axis=None, resume=False)",
    "numerical_jacobian": "(f, x, h=0.0001, *, args=(), workers=1, out=None, sparsity=None, progress=False, "
    "scheme='central', bounds=None, vectorized=False, resume=False)",
    "gradient_descent": DESCENT,
    "gradient_ascent": DESCENT,
    "descent_path": DESCENT,
    "estimate_derivative": "(f, x, *, args=(), bounds=None, rtol=None, atol=0.0, first_step=None)",
    "estimate_gradient": "(f, x, *, args=(), workers=1, coordinates=None, progress=False, bounds=None, rtol=None, "
    "atol=0.0, first_step=None)",
    "estimate_jacobian": "(f, x, *, args=(), workers=1, progress=False, bounds=None, rtol=None, atol=0.0, "
    "first_step=None)",
    "estimate_hessian": "(f, x, *, args=(), workers=1, progress=False, bounds=None, rtol=None, atol=0.0, "
    "first_step=None)",
    "check_gradient": (
        "(f, gradient, x, *, args=(), samples=None, directions=None, rtol=1e-05, atol=1e-08, rng=None, progress=False, "
        "workers=1, coordinates=None, bounds=None, h=None, strict=False)"
    ),
    "simpleNet": "(shape=(2, 3), *, rng=None)",
    "softmax": "(x)",
    "cross_entropy_error": "(y, t)",
}
DISTRIBUTION = "numgrad-numba"  # another package is called numgrad on the public index
REFERENCE = {
    "numerical_diff",
    "numerical_gradient",
    "numerical_jacobian",
    "gradient_descent",
    "softmax",
    "cross_entropy_error",
    "SimpleNet",
}


def run_python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_the_public_names_are_these():
    assert numgrad.__all__ == NAMES
    assert set(numgrad.reference.__all__) == REFERENCE
    assert all(hasattr(numgrad, name) for name in NAMES)


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures(name):
    signature = inspect.signature(getattr(numgrad, name))
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    assert str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty)) == SIGNATURES[name]
    if name != "simpleNet":
        assert signature.return_annotation is not inspect.Signature.empty


@pytest.mark.parametrize("name", [name for name in NAMES if name not in {"plotting", "reference"}])
def test_every_name_has_a_docstring_with_an_example(name):
    text = inspect.getdoc(getattr(numgrad, name))
    assert re.search(r"^Examples\n-+$", text, re.MULTILINE)
    assert ">>> " in text


def test_pydoc_reads():
    assert "numerical_gradient" in pydoc.render_doc(numgrad)


def test_the_version_is_that_of_the_installed_package():
    try:
        installed = metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        pytest.skip("numgrad is imported from a folder and is not installed")
    assert installed == numgrad.__version__


def test_the_types_are_published():
    assert resources.files("numgrad").joinpath("py.typed").is_file()


@needs_jit
def test_importing_numgrad_does_not_import_numba_nor_do_python_objectives():
    code = """if True:
        import sys, numgrad
        numgrad.numerical_gradient(numgrad.function_2, [3.0, 4.0])
        numgrad.gradient_descent(numgrad.function_2, [3.0, 4.0])
        numgrad.numerical_diff(numgrad.function_1, 5)
        numgrad.simpleNet().predict([1.0, 2.0])
        print("numba" in sys.modules)
    """
    assert run_python(code) == "False"


@needs_jit
def test_compiled_and_interpreted_processes_do_not_share_state():
    code = """if True:
        import numpy, numgrad
        print(numgrad.simpleNet(rng=0).loss([1.0, 2.0], 1))
    """
    assert float(run_python(code)) == numgrad.simpleNet(rng=0).loss(np.array([1.0, 2.0]), 1)


def test_the_signature_is_short_enough_to_be_read():
    for name in SIGNATURES:
        assert len(str(inspect.signature(getattr(numgrad, name)))) < (700 if name == "check_gradient" else 600)
    assert len(str(inspect.signature(numgrad.numerical_gradient))) < 400


def test_an_incremental_objective_shows_what_a_user_may_call_and_nothing_else():
    kind = numgrad.IncrementalObjective
    objective = numgrad.simpleNet(rng=0).objective([1.0, 2.0], 1)
    assert [name for name in dir(kind) if not name.startswith("_")] == ["verify"]
    assert sorted(name for name in dir(objective) if not name.startswith("_")) == [
        "difference",
        "prepare",
        "value",
        "verify",
    ]
    text = pydoc.plain(pydoc.render_doc(kind))
    methods = re.findall(r"^ \|  (\w+)\(", text, re.MULTILINE)
    assert [name for name in methods if not name.startswith("_") and name != "IncrementalObjective"] == ["verify"]
    for function in (objective.value, objective.prepare, objective.difference):
        assert callable(function)
