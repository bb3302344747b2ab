"""The package as it is installed: its extras, its commands, and what the texts tell a user to install."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import numgrad
from numgrad import __main__ as main

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TEXTS = [ROOT / "README.md", *sorted((ROOT / "numgrad").rglob("*.py")), *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_version_is_printed(capsys):
    with pytest.raises(SystemExit, match=r"^0$"):
        main.main(["--version"])
    assert capsys.readouterr().out == f"numgrad {numgrad.__version__}\n"


def test_the_command_is_named_as_it_was_started(monkeypatch, capsys):
    for started, shown in (("/usr/bin/numgrad", "numgrad"), ("/lib/numgrad/__main__.py", "python -m numgrad")):
        monkeypatch.setattr(sys, "argv", [started])
        with pytest.raises(SystemExit):
            main.main(["--help"])
        assert capsys.readouterr().out.startswith(f"usage: {shown} [-h]")


def test_the_console_script_is_the_command_line():
    module, _, name = PROJECT["scripts"]["numgrad"].partition(":")
    assert getattr(sys.modules[module], name) is main.main


def test_the_extras_are_these_and_all_holds_what_a_user_may_want():
    extras = PROJECT["optional-dependencies"]
    assert set(extras) == {"all", "bench", "docs", "parallel", "plot", "progress", "test"}
    assert extras["all"] == [f"{PROJECT['name']}[parallel,plot,progress]"]


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_text_tells_to_install_the_other_package_called_numgrad(path):
    told = re.findall(r"pip install (?:-\S+ )*(\S+)", path.read_text())
    assert not [name for name in told if re.match(r"""['"`]*numgrad\b(?!-numba)""", name)]


def test_what_the_commands_of_the_readme_leave_is_ignored():
    def git(*command):
        return subprocess.run(["git", "-C", ROOT, *command], capture_output=True, text=True, check=False)

    if not (ROOT / ".git").exists() or git("status").returncode:
        pytest.skip("this is no clone")
    written = re.findall(r"--(?:plot|json|figures) ([\w./]+)", (ROOT / "README.md").read_text())
    left = {*written, ".venv/x", ".coverage", "build/x", "docs/_build/x", ".pytest_cache/x"}
    assert {name for name in left if git("check-ignore", "-q", name).returncode} == set()
