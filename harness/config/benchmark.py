"""benchmarks.yaml: read, checked as a whole (every mistake at once, with its line), and turned into typed objects."""

from __future__ import annotations

import itertools
import math
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.config import yaml as yaml12
from harness.config.architectures import having, settings_class
from harness.config.problems import Problems, Report, build, unknown
from harness.config.schema import (
    SOURCES,
    BenchmarkEntry,
    BenchmarkSpec,
    FileEntry,
    Grid,
    Limit,
    Model,
    Overrides,
    Recipe,
)
from harness.config.yaml import Where, shown
from harness.data.datasets import has_own_files
from harness.errors import HarnessError, did_you_mean
from harness.task.plugins import load_plugins
from harness.task.task import Suite, Task

__all__ = ["BenchmarkFile", "BenchmarkSpec", "Limit", "Model", "Overrides", "Recipe", "narrow", "read_benchmarks"]

NAME = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
MOST_TRIALS = 256
HUB_ID = re.compile(r"(?!.*(?:\.\.|--))(?:[\w.-]+/)?\w[\w.-]{0,95}\Z", re.ASCII)


@dataclass(frozen=True)
class BenchmarkFile:
    """A benchmarks.yaml: its benchmarks and models by name, and all tasks and suites that it knows."""

    path: Path
    default: str | None
    models: dict[str, Model]
    benchmarks: dict[str, BenchmarkSpec]
    tasks: dict[str, Task]
    suites: dict[str, Suite]
    plugins: tuple[Path, ...]

    def benchmark(self, name: str | None = None) -> BenchmarkSpec:
        """The benchmark of this name; without one, the default.

        Raises:
            HarnessError: there is no such benchmark, or no default.
        """
        name = self.default if name is None else name
        if name is None:
            raise HarnessError(f"{self.path}: there is no 'default:': name a benchmark: {', '.join(self.benchmarks)}")
        if name not in self.benchmarks:
            raise HarnessError(f"{self.path}: {unknown('benchmark', name, self.benchmarks)}")
        return self.benchmarks[name]


def read_benchmarks(
    path: str | Path, *, overrides: Mapping[str, str] | None = None, check_folders: bool = False
) -> BenchmarkFile:
    """Read and check a benchmarks.yaml.

    Args:
        overrides: settings that win over the file's, in every recipe: ``{"recipe.learning_rate": "1e-4"}``.
        check_folders: also report folders of data and checkpoints that do not exist on this machine.

    Raises:
        HarnessError: the mistakes of the file, all of them, a line each: ``benchmarks.yaml:12: unknown key ...``.
    """
    document = yaml12.read(path)
    problems = Problems(str(path), document)
    base = Path(os.path.abspath(path)).parent
    top = build(FileEntry, document.data, "the file", problems.at())
    final = _final_settings(overrides or {}, problems)
    if top is None:
        top = FileEntry()
    known = _known_tasks(top, base, problems)
    _check_names("model", "models", top.models, problems)
    _check_names("benchmark", "benchmarks", top.benchmarks, problems)
    known.models = {name: _model(name, raw, base, problems) for name, raw in top.models.items()}
    specs = {name: _benchmark(name, raw, known, problems) for name, raw in top.benchmarks.items()}
    if top.default is not None and top.default not in specs:
        problems.add(("default",), unknown("benchmark", top.default, specs))
    if isinstance(document.data, dict) and document.data.get("benchmarks", {}) == {}:
        problems.add((), "the file needs 'benchmarks': a mapping from name to benchmark")
    found = BenchmarkFile(
        path=Path(path),
        default=top.default or (next(iter(specs)) if len(specs) == 1 else None),
        models={name: model for name, model in known.models.items() if model is not None},
        benchmarks={name: spec.with_settings(final) for name, spec in specs.items() if spec is not None},
        tasks=known.tasks,
        suites=known.suites,
        plugins=tuple(known.folders),
    )
    if check_folders:
        _check_folders(found, problems)
    problems.raise_all()
    return found


def _final_settings(overrides: Mapping[str, str], problems: Problems) -> Recipe:
    values: dict[str, Any] = {}
    for key, text in overrides.items():
        part, _, name = key.partition(".")
        if part == "recipe" and name:
            values[name] = yaml12.parse_scalar(text) if isinstance(text, str) else text
        else:
            problems.add_option(f"--set {key}: only recipe.KEY=VALUE can be set")
    recipe = build(
        Recipe, values, "recipe", lambda place, message: problems.add_option(f"--set recipe.{place[0]}: {message}")
    )
    return recipe or Recipe()


# Tasks -----------------------------------------------------------------------------------------------------------


@dataclass
class _Known:
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


def _known_tasks(top: FileEntry, base: Path, problems: Problems) -> _Known:
    """Built-in tasks, those of the file's plugin folders, and those that the file itself describes."""
    known = _Known(base)
    for i, name in enumerate(top.plugins):
        folder = _path(name, base)
        if not os.path.isdir(folder):
            problems.add(("plugins", i), f"plugins: no such folder: {folder!r}")
            known.broken.add(None)
        elif Path(folder) not in known.folders:
            known.folders.append(Path(folder))
    broken: list[str] = []
    plugins = load_plugins(known.folders, broken)
    for problem in broken:
        problems.add(("plugins",), f"plugins: {problem}")
        known.broken.add(None)
    known.tasks, known.suites = dict(plugins.tasks), dict(plugins.suites)
    lower: dict[str, str] = {}
    for name in known.tasks:
        if lower.setdefault(name.lower(), name) != name:
            problems.add(("plugins",), f"tasks '{lower[name.lower()]}' and '{name}' differ only in case")
    lower |= {name.lower(): name for name in known.names()}
    for name, raw in top.tasks.items():
        if name.lower() in lower:
            taken = lower[name.lower()]
            problems.add(("tasks", name), f"there is already a task or suite '{taken}': give this one another name")
        else:
            lower[name.lower()] = name
            _own_task(name, raw, base, known, problems)
    return known


def _own_task(name: str, raw: Any, base: Path, known: _Known, problems: Problems) -> None:
    from harness.data.custom import task_from_files

    known.broken.add(name)
    if not isinstance(raw, dict):
        problems.add(("tasks", name), f"task {shown(name)} must be a mapping, not {shown(raw)}")
        return
    try:
        known.tasks[name] = task_from_files(name, raw, base)
    except HarnessError as error:
        for line in str(error).splitlines():
            problems.add(("tasks", name), line)
        return
    known.broken.discard(name)


def _check_names(kind: str, part: str, names: Iterable[str], problems: Problems) -> None:
    """Refuse names that cannot be those of folders."""
    seen: dict[str, str] = {}
    for name in names:
        if not NAME.match(name):
            rule = "letters, digits, '.', '_' and '-', a letter or digit first, no '..'"
            problems.add((part, name), f"{shown(name)} cannot be the name of a {kind}, which names a folder: {rule}")
        elif name.lower() in seen:
            other = seen[name.lower()]
            problems.add((part, name), f"{kind} '{name}' and '{other}' differ only in case: on some disks one folder")
        seen.setdefault(name.lower(), name)


# Models ----------------------------------------------------------------------------------------------------------


def _model(name: str, raw: Any, base: Path, problems: Problems) -> Model | None:
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
    places = {key: _checkpoint(key, getattr(model, key), base, report) for key in ("checkpoint", "tokenizer")}
    if model.revision is not None and (model.checkpoint is None or os.path.isabs(places["checkpoint"] or "")):
        report(("revision",), "only a checkpoint of the Hub has a revision")
    return model.model_copy(update=places)


def _checkpoint(key: str, name: str | None, base: Path, report: Report) -> str | None:
    """A Hub id as it is, a folder as an absolute path."""
    if name is None or (key == "tokenizer" and name == "sample"):
        return name
    path = _path(name, base)
    if name.startswith(("./", "../", "~")) or name in (".", "..") or os.path.isabs(name) or os.path.exists(path):
        return path
    if not HUB_ID.match(name):
        report((key,), f"{key} is neither a folder nor a Hub id: {shown(name)}")
    return name


def _path(name: str, base: Path) -> str:
    """The absolute path of what a file in ``base`` calls ``name``."""
    return os.path.normpath(os.path.join(base, os.path.expanduser(name)))


# Benchmarks ------------------------------------------------------------------------------------------------------


def _benchmark(name: str, raw: Any, known: _Known, problems: Problems) -> BenchmarkSpec | None:
    report = problems.at("benchmarks", name)
    entry = build(BenchmarkEntry, raw, f"benchmark {shown(name)}", report, name=name)
    if entry is None:
        return None
    for key in ("tasks", "models"):
        if key not in raw:
            report((), f"benchmark {shown(name)} needs '{key}': {BenchmarkEntry.model_fields[key].description}")
    if raw.get("limit") == {}:
        report(("limit",), "limit needs 'train' or 'validation': how many examples to use")
    tasks = _expand(entry.tasks, known, report)
    _check_lists(entry, known, report)
    _check_overrides(entry.overrides, tasks, entry.models, known, problems.at("benchmarks", name, "overrides"))
    _check_parents(entry.init_from, tasks, known, problems.at("benchmarks", name, "init_from"))
    _check_ranking(entry.models, tasks, known, report)
    data = _data(entry.data, known, problems.at("benchmarks", name, "data"))
    if not tasks or not entry.models:
        return None
    recipes = {name: model.recipe for name, model in known.models.items() if model is not None}
    update = {"tasks": tasks, "data": data, "model_recipes": recipes, "catalogue": known.tasks}
    spec = BenchmarkSpec(**{**dict(entry), **update, "first_seed": entry.seeds[0]})
    _check_sweep(spec, known, problems.at("benchmarks", name, "sweep"))
    for task in map(known.tasks.__getitem__, tasks):
        if task.hub is None and spec.source(task) == "hub" and not has_own_files(task):
            report(("data",), f"task '{task.name}' is not on the Hub: give its folder in 'data'")
    return spec


def _check_lists(entry: BenchmarkEntry, known: _Known, report: Report) -> None:
    for i, model in enumerate(entry.models):
        if model not in known.models:
            report(("models", i), unknown("model", model, known.models))
        elif model in entry.models[:i]:
            report(("models", i), f"model {shown(model)} is listed twice")
    for i, seed in enumerate(entry.seeds):
        if seed in entry.seeds[:i]:
            report(("seeds", i), f"seed {seed} is listed twice")


def _check_overrides(
    overrides: Overrides, tasks: Sequence[str], models: Sequence[str], known: _Known, report: Report
) -> None:
    _check_members("task", [(("tasks", name), name) for name in overrides.tasks], tasks, known, report)
    _check_members("model", [(("models", name), name) for name in overrides.models], models, known, report)


def _check_sweep(spec: BenchmarkSpec, known: _Known, report: Report) -> None:
    trained = [task for task in spec.tasks if known.tasks[task].evaluated_by is None]
    sweep = spec.sweep
    _check_members("task", [(("tasks", name), name) for name in sweep.tasks], trained, known, report)
    _check_members("model", [(("models", name), name) for name in sweep.models], spec.models, known, report)
    grids: list[tuple[Where, Grid]] = [((), sweep)]
    grids += [(("tasks", name), grid) for name, grid in sweep.tasks.items()]
    grids += [(("models", name), grid) for name, grid in sweep.models.items()]
    for place, grid in grids:
        for key, values in grid.swept().items():
            for value in dict.fromkeys(value for i, value in enumerate(values) if value in values[:i]):
                report((*place, key), f"{'.'.join(map(str, ('sweep', *place, key)))}: {shown(value)} is listed twice")
    for task, model in itertools.product(trained, spec.models):
        count = math.prod(len(values) for _, values in sweep.grid(task, model).values())
        if count > MOST_TRIALS:
            report((), f"sweep: {count:,} combinations of values for '{task}' with '{model}': at most {MOST_TRIALS}")
            return
    for task in trained:
        child = next((name for name in trained if spec.parent(name) == task), None)
        if child is not None and any(len(spec.recipes_for(task, model)) > 1 for model in spec.models):
            report((), f"sweep: '{task}' cannot be swept, because '{child}' starts from its model (init_from)")


def _expand(names: Sequence[str], known: _Known, report: Report) -> tuple[str, ...]:
    """The tasks that names of tasks and suites stand for, each once."""
    found: dict[str, None] = {}
    for i, name in enumerate(names):
        if not known.may_be(name):
            report(("tasks", i), unknown("task or suite", name, known.names()))
        found.update(dict.fromkeys([name] if name in known.tasks else known.of_suite(name)))
    problem = _only_diagnostics([known.tasks[name] for name in found])
    if problem:
        report(("tasks",), problem)
    return tuple(found)


def _only_diagnostics(tasks: Sequence[Task]) -> str | None:
    """What to do when there are tasks, but none that is trained."""
    trained = dict.fromkeys(task.evaluated_by or "" for task in tasks)
    if not trained or "" in trained:
        return None
    names = ", ".join(task.name for task in tasks)
    return f"nothing to train: {names} is answered by the model of another task: add {', '.join(trained)}"


def _check_members(
    kind: str, names: Iterable[tuple[Where, str]], members: Collection[str], known: _Known, report: Report
) -> None:
    """Names, with their places, that must be of the benchmark's own tasks or models."""
    everything: Collection[str] = known.tasks if kind == "task" else known.models
    for place, name in names:
        if name in members or (kind == "task" and known.broken & {name, None}):
            continue
        if name in everything:
            report(place, f"{kind} '{name}' is not {'trained ' if kind == 'task' else ''}in this benchmark")
        else:
            report(place, unknown(kind, name, members))


def _check_parents(init_from: str | Mapping[str, str], tasks: Sequence[str], known: _Known, report: Report) -> None:
    trained = [task for task in tasks if known.tasks[task].evaluated_by is None]
    if isinstance(init_from, str):
        _check_members("task", [((), init_from)], trained, known, report)
        return
    pairs = [((task,), name) for task, parent in init_from.items() for name in (task, parent)]
    _check_members("task", pairs, trained, known, report)
    for task, parent in init_from.items():
        chain = [task]
        while parent in init_from and parent not in chain:
            chain.append(parent)
            parent = init_from[parent]
        if parent == task and task == min(chain):
            report((task,), f"init_from goes in a circle: {' -> '.join([*chain, task])}")


def _check_ranking(models: Sequence[str], tasks: Sequence[str], known: _Known, report: Report) -> None:
    open_tasks = [f"'{task}'" for task in tasks if known.tasks[task].answers is None]
    for i, name in enumerate(models):
        model = known.models.get(name)
        if open_tasks and model is not None and model.ranks_answers:
            listed = ", ".join(open_tasks)
            report(("models", i), f"model '{name}' ranks the answers (decoding: rank), but those of {listed} are open")


def _data(data: str | Mapping[str, str], known: _Known, report: Report) -> str | dict[str, str]:
    if isinstance(data, str):
        return _source(data, known.base, (), report)
    for name in data:
        if not known.may_be(name):
            report((name,), unknown("task or suite", name, known.names()))
    return {name: _source(source, known.base, (name,), report) for name, source in data.items()}


def _source(name: str, base: Path, place: Where, report: Report) -> str:
    """``hub`` and ``sample`` as they are, a folder as an absolute path."""
    if name in SOURCES:
        return name
    path = _path(name, base)
    hint = did_you_mean(name, SOURCES)
    if hint and not os.path.exists(path):
        report(place, f"data: there is no folder {name!r}.{hint}")
    return path


def _check_folders(file: BenchmarkFile, problems: Problems) -> None:
    for model in file.models.values():
        for key in ("checkpoint", "tokenizer"):
            _check_folder(getattr(model, key), key, problems.at("models", model.name, key))
    for spec in file.benchmarks.values():
        sources = {"": spec.data} if isinstance(spec.data, str) else spec.data
        for name, source in sources.items():
            _check_folder(source, "data", problems.at("benchmarks", spec.name, "data", name))


def _check_folder(path: str | None, key: str, report: Report) -> None:
    if path is not None and os.path.isabs(path) and not os.path.isdir(path):
        report((), f"{key}: no such folder: {path!r}")


# Narrowing -------------------------------------------------------------------------------------------------------


def narrow(
    spec: BenchmarkSpec,
    tasks: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    data: str | None = None,
) -> BenchmarkSpec:
    """A part of a benchmark: some of its tasks (or suites) and models, in its own order; other seeds, other data.

    Args:
        data: ``hub``, ``sample`` or a folder, seen from the current folder.

    Raises:
        HarnessError: what is not in the benchmark, with a suggestion; all such mistakes at once.
    """
    problems: list[str] = []
    update: dict[str, Any] = {}
    if tasks is not None:
        keys = {task: (task, spec.catalogue[task].suite) for task in spec.tasks}
        update["tasks"] = _chosen("task or suite", tasks, keys, problems)
        diagnostics = _only_diagnostics([spec.catalogue[task] for task in update["tasks"]])
        problems += [diagnostics] if diagnostics else []
    if models is not None:
        update["models"] = _chosen("model", models, {model: (model,) for model in spec.models}, problems)
    if seeds is not None:
        update["seeds"] = tuple(dict.fromkeys(seeds))
        if not seeds or not all(isinstance(seed, int) and 0 <= seed < 2**32 for seed in seeds):
            problems.append(f"seeds must be whole numbers from 0 to 4294967295, not {shown(list(seeds))}")
    if data is not None:
        update["data"] = data if data in SOURCES else _path(data, Path.cwd())
        if data not in SOURCES and not os.path.isdir(update["data"]):
            problems.append(f"data: there is no folder {data!r}.{did_you_mean(data, SOURCES)}")
    if problems:
        raise HarnessError("\n".join(f"benchmark '{spec.name}': {problem}" for problem in problems))
    return spec.model_copy(update=update)


def _chosen(kind: str, names: Sequence[str], keys: Mapping[str, Sequence[str]], problems: list[str]) -> tuple[str, ...]:
    """The entries that ``names`` choose by one of their keys."""
    names = [names] if isinstance(names, str) else names
    every = list(dict.fromkeys(key for own in keys.values() for key in own))
    problems += [unknown(kind, name, every) for name in names if name not in every]
    if not names:
        problems.append(f"no {kind} is chosen")
    return tuple(entry for entry, own in keys.items() if not set(own).isdisjoint(names))
