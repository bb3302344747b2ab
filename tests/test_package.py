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
README, TRANSLATIONS = ROOT / "README.md", sorted((ROOT / "docs").glob("README.*.md"))
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
    assert extras["all"] == [f"{PROJECT['name']}[parallel,plot,progress]", "scipy>=1.13"]


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


def code_of(path):
    """Return what a reader can run: code without comments, which are translated, calls in tables, and commands."""
    text = path.read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    calls = [re.findall(r"`(\w+\([^`]*\))`", line) for line in text.splitlines() if line.startswith("|")]
    commands = re.findall(r"^ {4}(python .*)", text, re.MULTILINE)
    return [re.sub(r"  # (?!doctest).*", "", block) for block in blocks], [row for row in calls if row], commands


@pytest.mark.parametrize("path", TRANSLATIONS, ids=lambda path: path.name)
def test_a_translated_readme_has_the_code_of_the_english_one(path):
    assert code_of(path) == code_of(README)


def test_there_are_translations_and_the_readme_is_short_and_names_them():
    assert [path.name for path in TRANSLATIONS] == ["README.ja.md", "README.ko.md"]
    text = README.read_text()
    assert all(f"(docs/{path.name})" in text for path in TRANSLATIONS)
    assert len(text.splitlines()) <= 200
    assert len(text.split()) <= 1500


def test_links_of_the_readmes_lead_to_files():
    for path in (README, *TRANSLATIONS):
        targets = re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text())
        assert [target for target in targets if not (path.parent / target).exists()] == []
