"""benchmarks.yaml: read, checked as a whole (every mistake at once, with its line), and turned into typed objects."""

from __future__ import annotations

import itertools
import math
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.config import yaml as yaml12
from harness.config.catalogue import Catalogue, read_model, read_tasks
from harness.config.machine import check_machine
from harness.config.mistakes import Problems, Report, build, unknown
from harness.config.recipe import Recipe
from harness.config.schema import (
    SOURCES,
    BenchmarkEntry,
    BenchmarkSpec,
    FileEntry,
    Model,
    Overrides,
    absolute,
)
from harness.config.sweep import MOST_TRIALS, Sweep, size_of
from harness.config.yaml import Where, shown
from harness.data.datasets import has_own_files
from harness.errors import HarnessError, did_you_mean, in_one_line
from harness.io import from_json, to_json
from harness.task.task import Suite, Task

NAME = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")


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
    path: str | Path | Mapping[str, Any], *, overrides: Mapping[str, str] | None = None, check_folders: bool = False
) -> BenchmarkFile:
    """Read and check a benchmarks.yaml.

    Args:
        path: the file, or its content; relative paths in a content start from the present folder.
        overrides: settings that win over the file's, in every recipe: ``{"recipe.learning_rate": "1e-4"}``.
        check_folders: also report folders of data and checkpoints that are not on this machine, and bad rows of the
            user's own tables.

    Raises:
        HarnessError: the mistakes of the file, all of them, a line each: ``benchmarks.yaml:12: unknown key ...``.
    """
    document, path = _document(path)
    problems = Problems(str(path), document)
    base = Path(os.path.abspath(path)).parent
    top = build(FileEntry, document.data, "the file", problems.at())
    final = _final_settings(overrides or {}, problems)
    if top is None:
        top = FileEntry()
    catalogue = read_tasks(top, base, problems)
    _check_names("model", "models", top.models, problems)
    _check_names("benchmark", "benchmarks", top.benchmarks, problems)
    catalogue.models = {name: read_model(name, raw, base, problems) for name, raw in top.models.items()}
    _check_task_recipes(catalogue, problems)
    specs = {name: _benchmark(name, raw, catalogue, problems) for name, raw in top.benchmarks.items()}
    if top.default is not None and top.default not in specs:
        problems.add(("default",), unknown("benchmark", top.default, specs))
    if isinstance(document.data, dict) and document.data.get("benchmarks", {}) == {}:
        problems.add((), "the file needs 'benchmarks': a mapping from name to benchmark")
    file = BenchmarkFile(
        path=Path(path),
        default=top.default or (next(iter(specs)) if len(specs) == 1 else None),
        models={name: model for name, model in catalogue.models.items() if model is not None},
        benchmarks={name: spec.with_settings(final) for name, spec in specs.items() if spec is not None},
        tasks=catalogue.tasks,
        suites=catalogue.suites,
        plugins=tuple(catalogue.folders),
    )
    if check_folders:
        check_machine(file.models.values(), file.benchmarks.values(), file.tasks.values(), problems)
    problems.raise_all()
    return file


def _document(source: str | Path | Mapping[str, Any]) -> tuple[yaml12.Document, str | Path]:
    """What a file says, or a mapping, and what messages call it."""
    if not isinstance(source, Mapping):
        return yaml12.read(source), source
    try:
        return yaml12.Document(from_json(to_json(source)), from_file=False), "benchmarks"
    except (TypeError, ValueError) as error:
        raise HarnessError(f"benchmarks: only what a YAML file could hold: {in_one_line(error)}") from error


def _final_settings(overrides: Mapping[str, str], problems: Problems) -> Recipe:
    values: dict[str, Any] = {}
    for key, text in overrides.items():
        part, _, name = key.partition(".")
        if part == "recipe" and name:
            values[name] = yaml12.parse_scalar(text) if isinstance(text, str) else text
        else:
            problems.add_option(f"--set {key}: only recipe.KEY=VALUE can be set")
    recipe = build(
        Recipe, values, "recipe", lambda where, message: problems.add_option(f"--set recipe.{where[0]}: {message}")
    )
    return recipe or Recipe()


def _check_names(noun: str, part: str, names: Iterable[str], problems: Problems) -> None:
    """Refuse names that cannot be those of folders."""
    seen: dict[str, str] = {}
    for name in names:
        if not NAME.match(name):
            rule = "letters, digits, '.', '_' and '-', a letter or digit first, no '..'"
            problems.add((part, name), f"{shown(name)} cannot be the name of a {noun}, which names a folder: {rule}")
        elif name.lower() in seen:
            other = seen[name.lower()]
            problems.add((part, name), f"{noun} '{name}' and '{other}' differ only in case: on some disks one folder")
        seen.setdefault(name.lower(), name)


def _check_task_recipes(catalogue: Catalogue, problems: Problems) -> None:
    """A model may have recipes for any tasks, whether a benchmark uses them or not."""
    for model in filter(None, catalogue.models.values()):
        report = problems.at("models", model.name, "task_recipes")
        for name in model.task_recipes:
            if name not in catalogue.tasks and not catalogue.broken & {name, None}:
                report((name,), unknown("task", name, catalogue.tasks))
            elif name in catalogue.tasks and (parent := catalogue.tasks[name].evaluated_by):
                report((name,), f"task '{name}' trains nothing, because the model of '{parent}' answers it")


# Benchmarks ------------------------------------------------------------------------------------------------------


def _benchmark(name: str, raw: Any, catalogue: Catalogue, problems: Problems) -> BenchmarkSpec | None:
    report = problems.at("benchmarks", name)
    entry = build(BenchmarkEntry, raw, f"benchmark {shown(name)}", report, name=name)
    if entry is None:
        return None
    for key in ("tasks", "models"):
        if key not in raw:
            report((), f"benchmark {shown(name)} needs '{key}': {BenchmarkEntry.model_fields[key].description}")
    if raw.get("limit") == {}:
        report(("limit",), "limit needs 'train' or 'validation': how many examples to use")
    tasks = _expand(entry.tasks, catalogue, report)
    _check_lists(entry, catalogue, report)
    _check_parts(entry.overrides, tasks, entry.models, catalogue, problems.at("benchmarks", name, "overrides"))
    _check_parents(entry.init_from, tasks, catalogue, problems.at("benchmarks", name, "init_from"))
    _check_ranking(entry.models, tasks, catalogue, report)
    data = _data(entry.data, catalogue, problems.at("benchmarks", name, "data"))
    if not tasks or not entry.models:
        return None
    models = {name: model for name, model in catalogue.models.items() if model is not None}
    update = {
        "tasks": tasks,
        "data": data,
        "model_recipes": {name: model.recipe for name, model in models.items()},
        "task_recipes": {name: model.task_recipes for name, model in models.items()},
        "first_seed": entry.seeds[0],
        "catalogue": catalogue.tasks,
    }
    spec = BenchmarkSpec(**{**dict(entry), **update})
    _check_recipes(spec, catalogue, problems)
    for task in map(catalogue.tasks.__getitem__, tasks):
        if task.hub is None and spec.source(task) == "hub" and not has_own_files(task):
            report(("data",), f"task '{task.name}' is not on the Hub: give its folder in 'data'")
    return spec


def _check_lists(entry: BenchmarkEntry, catalogue: Catalogue, report: Report) -> None:
    for i, model in enumerate(entry.models):
        if model not in catalogue.models:
            report(("models", i), unknown("model", model, catalogue.models))
        elif model in entry.models[:i]:
            report(("models", i), f"model {shown(model)} is listed twice")
    for i, seed in enumerate(entry.seeds):
        if seed in entry.seeds[:i]:
            report(("seeds", i), f"seed {seed} is listed twice")


def _check_parts(
    parts: Overrides | Sweep, tasks: Sequence[str], models: Sequence[str], catalogue: Catalogue, report: Report
) -> None:
    """The names of tasks and of models that have settings of their own."""
    _check_members("task", [(("tasks", name), name) for name in parts.tasks], tasks, catalogue, report)
    _check_members("model", [(("models", name), name) for name in parts.models], models, catalogue, report)


def _check_recipes(spec: BenchmarkSpec, catalogue: Catalogue, problems: Problems) -> None:
    """The sweep, and whether what the layers give together fits."""
    report = problems.at("benchmarks", spec.name, "sweep")
    trained, sweep = spec.trained, spec.sweep
    _check_parts(sweep, trained, spec.models, catalogue, report)
    for where, problem in sweep.problems():
        report(where, problem)
    if not sweep.is_whole:
        return
    for task, model in itertools.product(trained, spec.models):
        count = size_of({key: values for key, (_, values) in sweep.grid(task, model).items()})
        if sweep.trials is None and count > MOST_TRIALS:
            most = f"at most {MOST_TRIALS}, or so many of them as 'trials' says"
            report((), f"sweep: {count:,} combinations of values for '{task}' with '{model}': {most}")
            return
    for problem in _contradictions(spec):
        problems.add(("benchmarks", spec.name), problem)
    for task in trained:
        child = next((name for name in trained if spec.parent(name) == task), None)
        if child is not None and any(len(spec.recipes_for(task, model)) > 1 for model in spec.models):
            report((), f"sweep: '{task}' cannot be swept, because '{child}' starts from its model (init_from)")


def _contradictions(spec: BenchmarkSpec) -> list[str]:
    """For each model, what does not fit together in the first of its recipes where something does not."""
    problems: dict[str, str] = {}
    for task, model in itertools.product(spec.trained, spec.models):
        for recipe in spec.recipes_for(task, model):
            if (recipe.min_steps or 0) > (recipe.max_steps or math.inf):
                text = f"min_steps {recipe.min_steps} is above max_steps {recipe.max_steps}"
                problems.setdefault(model, f"'{task}' with '{model}': {text}")
    return [*problems.values()]


def _expand(names: Sequence[str], catalogue: Catalogue, report: Report) -> tuple[str, ...]:
    """The tasks that names of tasks and suites stand for, each once."""
    chosen: dict[str, None] = {}
    for i, name in enumerate(names):
        if not catalogue.may_be(name):
            report(("tasks", i), unknown("task or suite", name, catalogue.names()))
        chosen.update(dict.fromkeys([name] if name in catalogue.tasks else catalogue.of_suite(name)))
    problem = _only_diagnostics([catalogue.tasks[name] for name in chosen])
    if problem:
        report(("tasks",), problem)
    return tuple(chosen)


def _only_diagnostics(tasks: Sequence[Task]) -> str | None:
    """What to do when there are tasks, but none that is trained."""
    trained = dict.fromkeys(task.evaluated_by or "" for task in tasks)
    if not trained or "" in trained:
        return None
    names = ", ".join(task.name for task in tasks)
    return f"nothing to train: {names} is answered by the model of another task: add {', '.join(trained)}"


def _check_members(
    noun: str, names: Iterable[tuple[Where, str]], members: Collection[str], catalogue: Catalogue, report: Report
) -> None:
    """Names, with their places, that must be of the benchmark's own tasks or models."""
    everything: Collection[str] = catalogue.tasks if noun == "task" else catalogue.models
    for where, name in names:
        if name in members or (noun == "task" and catalogue.broken & {name, None}):
            continue
        if name in everything:
            report(where, f"{noun} '{name}' is not {'trained ' if noun == 'task' else ''}in this benchmark")
        else:
            report(where, unknown(noun, name, members))


def _check_parents(
    init_from: str | Mapping[str, str], tasks: Sequence[str], catalogue: Catalogue, report: Report
) -> None:
    trained = [task for task in tasks if catalogue.tasks[task].evaluated_by is None]
    if isinstance(init_from, str):
        _check_members("task", [((), init_from)], trained, catalogue, report)
        return
    pairs = [((task,), name) for task, parent in init_from.items() for name in (task, parent)]
    _check_members("task", pairs, trained, catalogue, report)
    for task, parent in init_from.items():
        chain = [task]
        while parent in init_from and parent not in chain:
            chain.append(parent)
            parent = init_from[parent]
        if parent == task and task == min(chain):
            report((task,), f"init_from goes in a circle: {' -> '.join([*chain, task])}")


def _check_ranking(models: Sequence[str], tasks: Sequence[str], catalogue: Catalogue, report: Report) -> None:
    open_tasks = [f"'{task}'" for task in tasks if catalogue.tasks[task].answers is None]
    for i, name in enumerate(models):
        model = catalogue.models.get(name)
        if open_tasks and model is not None and model.ranks_answers:
            listed = ", ".join(open_tasks)
            report(("models", i), f"model '{name}' ranks the answers (decoding: rank), but those of {listed} are open")


def _data(data: str | Mapping[str, str], catalogue: Catalogue, report: Report) -> str | dict[str, str]:
    if isinstance(data, str):
        return _source(data, catalogue.base, (), report)
    for name in data:
        if not catalogue.may_be(name):
            report((name,), unknown("task or suite", name, catalogue.names()))
    return {name: _source(source, catalogue.base, (name,), report) for name, source in data.items()}


def _source(name: str, base: Path, where: Where, report: Report) -> str:
    """``hub`` and ``sample`` as they are, a folder as an absolute path."""
    if name in SOURCES:
        return name
    path = absolute(name, base)
    hint = did_you_mean(name, SOURCES)
    if hint and not os.path.exists(path):
        report(where, f"data: there is no folder {name!r}.{hint}")
    return path


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
        update["data"] = data if data in SOURCES else absolute(data, Path.cwd())
        if data not in SOURCES and not os.path.isdir(update["data"]):
            problems.append(f"data: there is no folder {data!r}.{did_you_mean(data, SOURCES)}")
    narrowed = spec.model_copy(update=update)
    problems = problems or _contradictions(narrowed)  # the file has none, but its settings with those of --set may
    if problems:
        raise HarnessError("\n".join(f"benchmark '{spec.name}': {problem}" for problem in problems))
    return narrowed


def _chosen(noun: str, names: Sequence[str], keys: Mapping[str, Sequence[str]], problems: list[str]) -> tuple[str, ...]:
    """The entries that ``names`` choose by one of their keys."""
    names = [names] if isinstance(names, str) else names
    every = list(dict.fromkeys(key for own in keys.values() for key in own))
    problems += [unknown(noun, name, every) for name in names if name not in every]
    if not names:
        problems.append(f"no {noun} is chosen")
    return tuple(entry for entry, own in keys.items() if not set(own).isdisjoint(names))
