"""The import rules of the house: who may import whom, no circles, no torch for those who only read."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "harness").rglob("*.py"))
}
BASE = {"errors", "io", "output", "processes"}
SHOWN = BASE | {"format", "results", "statistics", "task", "leaderboard", "comparison"}
MAY_IMPORT = {
    "errors": set(),
    "io": {"errors"},
    "output": set(),
    "processes": set(),
    "enct5": set(),
    "task": BASE,
    "data": BASE | {"task"},
    "config": BASE | {"task", "data"},
    "models": BASE | {"task", "data", "config", "enct5"},
    "training": BASE | {"task", "data", "config", "models"},
    "search": BASE | {"config"},
    "results": BASE,
    "statistics": BASE | {"results"},
    "format": {"task"},
    "leaderboard": BASE | {"format", "results", "statistics", "task"},
    "comparison": BASE | {"format", "results", "statistics", "task", "leaderboard"},
    "planning": BASE | {"format", "task", "config", "results"},
    "report": SHOWN | {"planning"},
    "submission": BASE | {"results", "task", "data"},
    "export": SHOWN | {"report"},
    "inspection": SHOWN | {"data", "report"},
    "page": SHOWN | {"report", "inspection"},
    "publish": SHOWN | {"report"},
    "prediction": BASE | {"task", "data", "config", "models", "training", "results"},
    "runner": BASE | SHOWN | {"data", "config", "models", "search", "training", "planning", "report", "page", "export"},
    "workers": BASE | {"data", "config", "training", "results", "runner"},
}
"""By room, the rooms whose modules it may import; ``api``, ``commands``, ``cli`` and the package may import any."""
READERS = (
    "cli", "commands", "report", "statistics", "submission", "inspection", "page", "export", "planning",
    "config.benchmark",
)  # fmt: skip
"""What reads files and records only."""


def imports(name: str) -> set[str]:
    """The modules of ours that a module names in its import statements, lazy ones included."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            modules |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return {module for module in modules if module in MODULES and module not in (name, "harness")}


def room(name: str) -> str:
    return name.split(".")[1]


@pytest.mark.parametrize("name", [name for name in MODULES if name != "harness" and room(name) in MAY_IMPORT])
def test_a_room_imports_only_the_rooms_below_it(name):
    rooms = {room(module) for module in imports(name)} - {room(name)}
    assert rooms <= MAY_IMPORT[room(name)], f"{name} imports {sorted(rooms - MAY_IMPORT[room(name)])}"


def test_there_are_no_circles():
    levels: dict[str, int] = {}

    def level(name: str, path: tuple[str, ...] = ()) -> int:
        assert name not in path, f"a circle: {' -> '.join([*path[path.index(name) :], name])}"
        if name not in levels:
            # A package's own __init__ gathers names of its modules for others.
            others = {module for module in imports(name) if not name.startswith(f"{module}.")}
            levels[name] = 1 + max((level(module, (*path, name)) for module in others), default=0)
        return levels[name]

    for name in MODULES:
        if name != "harness" and "__" not in name:
            level(name)


def test_reading_needs_no_torch():
    loads = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
    if "torch" in sys.modules:
        sys.exit(f"{name} imports torch")
"""
    names = [name for name in MODULES if name.removeprefix("harness.").startswith(READERS)]
    done = subprocess.run([sys.executable, "-c", loads, *names], cwd=ROOT, capture_output=True, text=True)
    assert len(names) > len(READERS) and done.returncode == 0, done.stderr


def test_files_and_functions_fit_on_a_screen():
    """At most 400 lines a file, EncT5 alone excepted, and 50 a function without its docstring."""
    large = []
    for path in MODULES.values():
        text = path.read_text(encoding="utf-8")
        if len(text.splitlines()) > 400 and path.name != "modeling_enct5.py":
            large.append(f"{path.name}: {len(text.splitlines())} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                first = node.body[0]
                documented = ast.get_docstring(node) is not None
                lines = (node.end_lineno or 0) - node.lineno + 1
                lines -= (first.end_lineno or 0) - first.lineno + 1 if documented else 0
                if lines > 50:
                    large.append(f"{path.name}: {node.name} has {lines} lines")
    assert not large
