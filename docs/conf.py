"""The documentation: ``sphinx-build -W docs docs/_build``. Each page that has code cells is executed."""

import os
from pathlib import Path

from docutils import nodes
from docutils.utils.math import latex2mathml

import numgrad

project = "numgrad"
author = "the authors of numgrad"
copyright = author  # noqa: A001, Sphinx asks for this name
version = release = numgrad.__version__

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
]
exclude_patterns = ["_build", "examples", "jupyter_execute", "README.*.md", "**.ipynb_checkpoints"]

html_theme = "pydata_sphinx_theme"
html_title = f"numgrad {version}"
html_static_path = ["_static"]
html_css_files = ["numgrad.css"]
html_show_sourcelink = False
html_sidebars = {"index": [], "start": [], "chapter": []}  # they are no part of a section
html_theme_options = {
    "navbar_end": ["theme-switcher"],
    "navbar_persistent": ["search-button"],
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
}
html_context = {"default_mode": "auto"}
html_math_renderer = "mathml"

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 120  # seconds a cell
nb_merge_streams = True
os.environ["MATPLOTLIBRC"] = str(Path(__file__).parent / "_static" / "matplotlibrc")

autosummary_generate = True
autodoc_typehints = "none"  # the docstrings say the types
numpydoc_show_class_members = False
templates_path = ["_templates"]

# The public names by topic, in the order of the page. A name that is missing here stands under the last title.
TOPICS = {
    "Derivatives": [
        "numerical_diff", "numerical_gradient", "numerical_jacobian", "numerical_hessian", "directional_derivative",
        "hessian_vector_product", "jacobian_sparsity", "Scheme",
    ],
    "Derivatives as functions": ["Gradient", "Jacobian", "Hessian"],
    "Error bars": [
        "estimate_derivative", "estimate_gradient", "estimate_jacobian", "estimate_hessian", "Estimate",
        "propagate", "labels",
    ],
    "Checks": ["check_gradient", "assert_gradient", "GradientCheck"],
    "Descents": ["gradient_descent", "gradient_ascent", "descent_path"],
    "Networks": ["simpleNet", "SimpleNet", "TwoLayerNet", "MultiLayerNet", "train", "History"],
    "Objectives": ["LayerObjective", "SeparableObjective", "IncrementalObjective"],
    "Functions of the book": [
        "function_1", "function_2", "tangent_line", "sigmoid", "relu", "softmax", "cross_entropy_error",
        "sum_squared_error",
    ],
    "Modules": ["plotting", "reference"],
    "Further names": [],
}  # fmt: skip


def public_names(topic: str) -> list[str]:
    """Return what `numgrad.__all__` has of a topic."""
    if topic == "Further names":
        return sorted(set(numgrad.__all__) - {name for names in TOPICS.values() for name in names})
    return [name for name in TOPICS[topic] if name in numgrad.__all__]


def write_reference(folder: Path) -> None:
    """Write the list of the public names, from which autosummary makes a page for each."""
    lines = ["Reference", "=========", "", "The public names, as ``import numgrad`` gives them."]
    lines += ["", ".. currentmodule:: numgrad"]
    for topic in TOPICS:
        if names := public_names(topic):
            lines += ["", topic, "-" * len(topic), ""]
            lines += [".. autosummary::", "   :toctree: generated", "   :nosignatures:", ""]
            lines += [f"   {name}" for name in names]
    folder.mkdir(exist_ok=True)
    text = "\n".join(lines) + "\n"
    path = folder / "index.rst"
    if not path.exists() or path.read_text() != text:  # what has not changed is not read again
        path.write_text(text)


write_reference(Path(__file__).parent / "reference")


def escape_bars(app, what, name, obj, options, lines) -> None:  # noqa: ARG001, as Sphinx calls it
    """Let ``|x|`` in the text of a docstring be a magnitude, and not the name of a substitution."""
    for k, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            parts = line.split("``")
            lines[k] = "``".join([part if i % 2 else part.replace("|", r"\|") for i, part in enumerate(parts)])


def mathml(self, node: nodes.Element) -> None:
    """Write a formula as MathML, which browsers draw without a script from elsewhere."""
    block = isinstance(node, nodes.math_block)
    formula = latex2mathml.tex2mathml(node.astext(), as_block=block)
    self.body.append(f'<div class="formula">{formula}</div>' if block else formula)
    raise nodes.SkipNode


def setup(app) -> None:
    """Register the writer of formulas, and what docstrings need."""
    app.connect("autodoc-process-docstring", escape_bars, priority=900)  # after numpydoc
    app.add_html_math_renderer("mathml", (mathml, None), (mathml, None))
