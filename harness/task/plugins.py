"""The loader of the plugin files, packages and entry points that define tasks and suites."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
import traceback
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, did_you_mean, printable
from harness.io import opened
from harness.task.task import Suite, Task


@dataclass(frozen=True)
class Plugins:
    """All tasks and suites that plugin files define, by name."""

    tasks: dict[str, Task]
    suites: dict[str, Suite]


def load_tasks(folders: Iterable[str | Path] = ()) -> dict[str, Task]:
    """All tasks by name: the built-in ones, those of installed packages, and those of plugin ``folders``."""
    return load_plugins(folders).tasks


def load_plugins(folders: Iterable[str | Path] = (), problems: list[str] | None = None) -> Plugins:
    """Tasks and suites of the built-in folder, of entry points ``harness.tasks``, and of ``folders``, in this order.

    A plugin is a Python file; every module-level `Task` or `Suite` (also inside a list, tuple or dict) counts.

    Args:
        folders: the user's folders of plugins.
        problems: takes what is wrong with plugins, of which the others are loaded; None: that is an error.

    Raises:
        HarnessError: a folder that does not exist, a file that does not load (with its line), a name defined twice.
    """
    mistakes: list[str] = []
    loaded = _loaded(folders, mistakes)
    if problems is None and mistakes:
        raise HarnessError("\n".join(mistakes))
    if problems is not None:
        problems += mistakes
    return loaded


def _loaded(folders: Iterable[str | Path], mistakes: list[str]) -> Plugins:
    tasks: dict[str, Task] = {}
    suites: dict[str, Suite] = {}
    origin: dict[str, str] = {}
    for where, namespace in _modules(folders, mistakes):
        for value in _plugin_objects(namespace):
            key = f"{type(value).__name__.lower()} '{value.name}'"
            earlier = tasks.get(value.name) if isinstance(value, Task) else suites.get(value.name)
            if earlier is value:
                continue
            if earlier is not None:
                mistakes.append(f"{where}: {key} is already defined in {origin[key]}: give it another name")
                continue
            origin[key] = where
            if isinstance(value, Task):
                tasks[value.name] = value
            else:
                suites[value.name] = value
    for task in list(tasks.values()):
        if problem := _diagnostic_problem(task, tasks):
            key = f"task '{task.name}'"
            mistakes.append(f"{origin[key]}: {key} {problem}")
            del tasks[task.name]
    return Plugins(tasks, suites)


def _diagnostic_problem(task: Task, tasks: Mapping[str, Task]) -> str | None:
    """Why the models of ``evaluated_by`` cannot answer a task; None where they can, or the task has its own."""
    if task.evaluated_by is None:
        return None
    if task.evaluated_by not in tasks:
        hint = did_you_mean(task.evaluated_by, tasks)
        return f"is evaluated by '{task.evaluated_by}', which is not a task.{hint}"
    other = tasks[task.evaluated_by]
    if task.labels == other.labels:
        return None
    return (
        f"has the labels {', '.join(task.labels)}, and '{other.name}', whose models answer it, has "
        f"{', '.join(other.labels)}: name the same ones in the same order"
    )


def builtin_tasks() -> dict[str, Task]:
    """The built-in tasks alone, by name."""
    objects = [value for file in builtin_files() for value in _plugin_objects(_load_file(file))]
    return {task.name: task for task in objects if isinstance(task, Task)}


def builtin_files() -> list[Path]:
    """The built-in plugin files."""
    return sorted(builtin_folder().glob("*.py"))


def builtin_folder() -> Path:
    """The folder of the built-in plugins: inside an installed wheel, or beside the package in a checkout."""
    here = Path(__file__).resolve().parents[1]
    installed = here / "_tasks"
    return installed if installed.is_dir() else here.parent / "tasks"


def _modules(folders: Iterable[str | Path], mistakes: list[str]) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """Where a plugin is and what it defines; what is wrong with one that does not load goes to ``mistakes``."""
    for file in builtin_files():
        yield str(file), _load_file(file)
    for entry in importlib.metadata.entry_points(group="harness.tasks"):
        try:
            loaded = entry.load()
        except Exception as error:
            mistakes.append(f"entry point {entry.name} ({entry.value}) does not load: {error}")
            continue
        yield f"entry point {entry.value}", vars(loaded) if isinstance(loaded, types.ModuleType) else {"": loaded}
    for folder in map(Path, folders):
        if not folder.is_dir():
            mistakes.append(f"{folder}: no such folder of task plugins")
        for file in sorted(folder.glob("*.py")):
            try:
                with opened(file):  # a pipe would be waited for
                    namespace = _load_file(file)
            except HarnessError as error:
                mistakes.append(str(error))
            else:
                yield str(file), namespace


def _load_file(file: Path) -> Mapping[str, Any]:
    """Run a plugin file as a module of its own name, so that no folder called ``tasks`` can shadow another."""
    name = f"harness_plugin_{file.stem}_{abs(hash(str(file.resolve()))):x}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(file)]
        line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else 1
        if isinstance(error, HarnessError):
            raise HarnessError(f"{file}:{line}: {error}") from error
        problem = printable(f"{type(error).__name__}: {error}")
        raise HarnessError(f"{file}:{line}: the plugin does not load: {problem}") from error
    return vars(module)


def _plugin_objects(namespace: Mapping[str, Any]) -> Iterable[Task | Suite]:
    for value in namespace.values():
        members: Sequence[Any] = [value]
        if isinstance(value, (list, tuple)):
            members = value
        elif isinstance(value, dict):
            members = list(value.values())
        yield from (member for member in members if isinstance(member, (Task, Suite)))
