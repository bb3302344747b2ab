"""The scripts of docs run as they are, and the pages hold what they compute."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from problems import needs_jit

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "docs" / "examples"
# What the output of each must hold, and the library that it needs beside numgrad.
PRINTED = {
    "check_torch_module.py": ("317 weights, each of them checked", "torch"),
    "dask_cluster.py": ("the bits of one process: True", "distributed"),
    "profile_my_function.py": ("compiled f, central4", "numba"),
    "scipy_fit.py": ("rate 1.3185 +- 0.0232", "scipy"),
    "two_layer_net.py": ("gradient check passed: 3760 of 3760 checked", "numpy"),
}
# The page that shows what it prints, where the page cannot run it.
SHOWN = {"check_torch_module.py": "howto/check.md"}


def test_each_example_is_tested():
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(PRINTED)


def run(command, folder):
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = os.environ | ({"PYTHONPATH": path} if (ROOT / "numgrad").is_dir() else {})
    return subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, cwd=folder, env=environment, check=False
    )


@needs_jit
@pytest.mark.parametrize("name", PRINTED)
def test_an_example_runs_as_it_is(name, tmp_path):
    text, library = PRINTED[name]
    pytest.importorskip(library)
    result = run([EXAMPLES / name], tmp_path)
    assert result.returncode == 0, result.stderr
    assert text in result.stdout
    if page := SHOWN.get(name):
        judged = [line for line in result.stdout.splitlines() if line.startswith(("gradient check", "hint"))]
        assert judged
        assert set(judged) <= set((ROOT / "docs" / page).read_text().splitlines())


def test_the_example_of_torch_says_in_one_line_that_torch_is_missing(tmp_path):
    code = "import runpy, sys; sys.modules['torch'] = None; runpy.run_path(sys.argv[1], run_name='__main__')"
    result = run(["-c", code, EXAMPLES / "check_torch_module.py"], tmp_path)
    assert result.returncode == 1
    assert result.stdout + result.stderr == "check_torch_module.py needs torch: python -m pip install torch\n"


def test_the_table_of_scaling_is_that_which_its_script_computes():
    table = "\n".join(runpy.run_path(str(ROOT / "docs" / "scaling.py"))["table"]())
    assert table in (ROOT / "docs" / "SCALING.md").read_text()
