"""What type checkers say of code that uses numgrad: errors where its author made one, and nowhere else."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from problems import same_without_jit

pytestmark = same_without_jit

ROOT = Path(__file__).parents[1]
SAMPLE = Path(__file__).parent / "typing" / "user_code.py"


def run(*command):
    return subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, cwd=ROOT, check=False)


def lines_with_errors_by_mypy():
    result = run("mypy", "--strict", "--no-pretty", "--no-error-summary", "--cache-dir=.mypy_cache/user", str(SAMPLE))
    found = re.findall(r"user_code\.py:(\d+): error: (.*)", result.stdout)
    assert len(found) == result.stdout.count(" error: "), result.stdout + result.stderr
    return {int(line): message for line, message in found}


def lines_with_errors_by_pyright():
    result = run("pyright", "--outputjson", "--pythonpath", sys.executable, str(SAMPLE))
    found = json.loads(result.stdout)["generalDiagnostics"]
    return {item["range"]["start"]["line"] + 1: item["message"] for item in found if item["severity"] == "error"}


CHECKERS = {"mypy": lines_with_errors_by_mypy, "pyright": lines_with_errors_by_pyright}


@pytest.mark.parametrize("checker", CHECKERS)
def test_a_strict_type_checker_finds_the_errors_of_a_user_and_no_other(checker):
    pytest.importorskip(checker)
    found = CHECKERS[checker]()
    expected = {k for k, line in enumerate(SAMPLE.read_text().splitlines(), 1) if "# error: " in line}
    assert set(found) == expected, {line: found.get(line) for line in set(found) ^ expected}
