"""docs/ARCHITECTURE.md names each module once, at its level, and imports go down only."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "numgrad"


def imported(path):
    """Return the modules of the package that a module imports, also inside functions, but for those of its types."""
    tree = ast.parse(path.read_text())
    typing = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)]
    skipped = {id(inner) for node in typing for inner in ast.walk(node)}
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level and id(node) not in skipped:
            base = path.parents[node.level - 1] / (node.module or "").replace(".", "/")
            found |= {base.with_suffix(".py"), *(base / f"{alias.name}.py" for alias in node.names)}
    return {other for other in found if other.is_file() and other != path}


def levels():
    """Return the level of each module: one more than the highest that it imports."""
    graph = {path: imported(path) for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"}
    level = {}
    for path in TopologicalSorter(graph).static_order():  # which raises CycleError for a circle
        level[path] = 1 + max((level[other] for other in graph[path]), default=0)
    return {str(path.relative_to(PACKAGE)): number for path, number in level.items()}


def test_the_table_of_modules_is_that_of_the_package():
    text = (ROOT / "docs" / "ARCHITECTURE.md").read_text()
    table = [(name, int(level)) for level, name in re.findall(r"^\| (\d+) \| `([\w/]+(?:\.py|/))` \|", text, re.M)]
    found = levels()
    commands = [found.pop(name) for name in sorted(found) if name.startswith("commands/")]
    expected = found | {"commands/": max(commands)}
    assert sorted(table) == sorted(expected.items())
