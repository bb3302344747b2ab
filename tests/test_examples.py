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
    "dask_cluster.py": ("the bits of one process: True", "distributed"),
    "profile_my_function.py": ("compiled f, central4", "numba"),
}


def test_each_example_is_tested():
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(PRINTED)


@needs_jit
@pytest.mark.parametrize("name", PRINTED)
def test_an_example_runs_as_it_is(name, tmp_path):
    text, library = PRINTED[name]
    pytest.importorskip(library)
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = os.environ | ({"PYTHONPATH": path} if (ROOT / "numgrad").is_dir() else {})
    command = [sys.executable, EXAMPLES / name]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert result.returncode == 0, result.stderr
    assert text in result.stdout


def test_the_table_of_scaling_is_that_which_its_script_computes():
    table = "\n".join(runpy.run_path(str(ROOT / "docs" / "scaling.py"))["table"]())
    assert table in (ROOT / "docs" / "SCALING.md").read_text()
