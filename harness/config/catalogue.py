"""The tasks, suites and models that the benchmarks of a file can name."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.config.architectures import having, settings_class
from harness.config.mistakes import Problems, Report, build
from harness.config.schema import FileEntry, Model, absolute
from harness.config.yaml import shown
from harness.data.custom import task_from_files
from harness.errors import HarnessError
from harness.task.plugins import load_plugins
from harness.task.task import Suite, Task

HUB_ID = re.compile(r"(?!.*(?:\.\.|--))(?:[\w.-]+/)?\w[\w.-]{0,95}\Z", re.ASCII)


@dataclass
class Catalogue:
    """What the entries of the file can name.

    ``broken`` are the tasks (None: any) that are there but could not be loaded. A model is None when its entry is
    wrong.
    """

    base: Path
    models: dict[str, Model | None] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)
    suites: dict[str, Suite] = field(default_factory=dict)
    folders: list[Path] = field(default_factory=list)
    broken: set[str | None] = field(default_factory=set)

    def of_suite(self, suite: str) -> list[str]:
        """The names of a suite's tasks."""
        return [task.name for task in self.tasks.values() if task.suite == suite]

    def names(self) -> list[str]:
        """All that stands for tasks: suites and tasks."""
        return list(dict.fromkeys([*(task.suite for task in self.tasks.values() if task.suite), *self.tasks]))

    def may_be(self, name: str) -> bool:
        """Whether the name is, or could be, that of a task or suite."""
        return name in self.tasks or bool(self.of_suite(name)) or bool(self.broken & {name, None})


def read_tasks(top: FileEntry, base: Path, problems: Problems) -> Catalogue:
    """Built-in tasks, those of the file's plugin folders, and those that the file itself describes.

    Args:
        top: the file.
        base: its folder.
        problems: takes all mistakes.
    """
    catalogue = Catalogue(base)
    for i, name in enumerate(top.plugins):
        folder = absolute(name, base)
        if not os.path.isdir(folder):
            problems.add(("plugins", i), f"plugins: no such folder: {folder!r}")
            catalogue.broken.add(None)
        elif Path(folder) not in catalogue.folders:
            catalogue.folders.append(Path(folder))
    broken: list[str] = []
    plugins = load_plugins(catalogue.folders, broken)
    for problem in broken:
        problems.add(("plugins",), f"plugins: {problem}")
        catalogue.broken.add(None)
    catalogue.tasks, catalogue.suites = dict(plugins.tasks), dict(plugins.suites)
    lower: dict[str, str] = {}
    for name in catalogue.tasks:
        if lower.setdefault(name.lower(), name) != name:
            problems.add(("plugins",), f"tasks '{lower[name.lower()]}' and '{name}' differ only in case")
    lower |= {name.lower(): name for name in catalogue.names()}
    for name, raw in top.tasks.items():
        if name.lower() in lower:
            taken = lower[name.lower()]
            problems.add(("tasks", name), f"there is already a task or suite '{taken}': give this one another name")
        else:
            lower[name.lower()] = name
            _own_task(name, raw, base, catalogue, problems)
    return catalogue


def _own_task(name: str, raw: Any, base: Path, catalogue: Catalogue, problems: Problems) -> None:
    catalogue.broken.add(name)
    if not isinstance(raw, dict):
        problems.add(("tasks", name), f"task {shown(name)} must be a mapping, not {shown(raw)}")
        return
    try:
        catalogue.tasks[name] = task_from_files(name, raw, base)
    except HarnessError as error:
        for line in str(error).splitlines():
            problems.add(("tasks", name), line)
        return
    catalogue.broken.discard(name)


def read_model(name: str, raw: Any, base: Path, problems: Problems) -> Model | None:
    """The model of an entry under ``models``; None where it has mistakes that leave no model.

    Args:
        base: the folder of the file.
        problems: takes all mistakes.
    """
    report = problems.at("models", name)
    settings = settings_class(raw)
    foreign = {key: having(key) for key in raw if key not in settings.model_fields} if isinstance(raw, dict) else {}
    for option, names in foreign.items():
        if names:
            report((option,), f"{option} is an option of {' and '.join(names)}; this model is {raw['architecture']}")
            raw = {key: value for key, value in raw.items() if key != option}
    model = build(settings, raw, f"model {shown(name)}", report, name=name)
    if model is None:
        return None
    given = {key for key, value in raw.items() if value is not None}
    if {"checkpoint", "config"} <= given:
        report(("config",), "a model has a checkpoint or a config (to start from random weights), not both")
    if not {"checkpoint", "config"} & given:
        report((), f"model {shown(name)} needs 'checkpoint', or 'config' to start from random weights")
    if "config" in given and not {"tokenizer", "checkpoint"} & given:
        report(("config",), "a model with a config needs 'tokenizer': a Hub id, a folder or sample")
    paths = {key: _checkpoint(key, getattr(model, key), base, report) for key in ("checkpoint", "tokenizer")}
    if model.revision is not None and (model.checkpoint is None or os.path.isabs(paths["checkpoint"] or "")):
        report(("revision",), "only a checkpoint of the Hub has a revision")
    return model.model_copy(update=paths)


def _checkpoint(key: str, name: str | None, base: Path, report: Report) -> str | None:
    """A Hub id as it is, a folder as an absolute path."""
    if name is None or (key == "tokenizer" and name == "sample"):
        return name
    path = absolute(name, base)
    if name.startswith(("./", "../", "~")) or name in (".", "..") or os.path.isabs(name) or os.path.exists(path):
        return path
    if not HUB_ID.match(name):
        report((key,), f"{key} is neither a folder nor a Hub id: {shown(name)}")
    return name
