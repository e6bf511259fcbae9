"""From a benchmark to its runs: what is trained, what is evaluated with it, and the fingerprint of each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.config.benchmark import BenchmarkFile
from harness.config.schema import BenchmarkSpec, Model, Recipe
from harness.data.datasets import has_own_files
from harness.errors import HarnessError
from harness.io import fingerprint, plain
from harness.results.fingerprint import RunSettings
from harness.results.manifest import Key
from harness.results.record import Caveat, CaveatKind
from harness.runner.resources import HOLDOUT, Resources
from harness.task.task import Task

if TYPE_CHECKING:
    import torch

SCORE_VERSION = 5
"""Part of every fingerprint: raise it when a change of the code changes a score."""

SELECTED = Caveat(kind=CaveatKind.SELECTED_ON_VALIDATION)
HELD_OUT = Caveat(kind=CaveatKind.SELECTED_ON_HOLDOUT)
"""Caveats of all runs, by ``selection``."""

Pair = tuple[str, str]
"""(task, model)."""


@dataclass(frozen=True, eq=False)
class Run:
    """One training and what is evaluated with it; equal to another with the same label and fingerprint.

    Args:
        recipe: hyper-parameters with ``precision`` and ``compile`` as they are used here.
        settings: all that decides the scores.
        own_splits: the validation splits of ``task`` that exist.
        diagnostics: the (task, split) pairs that its model answers besides.
        caveats: what makes its numbers not comparable.
        missing: by task and split, why other diagnostics are not among them.
        tests: the (task, split) pairs that it predicts on request.
        parent: the run whose model this one starts from.
        is_parent: whether another run starts from its model.
        trial: the values of the swept settings that make it one of several trials of a sweep.
        rivals: of a trial of a search, the fingerprints of those whose learning curves it is compared with.
    """

    task: Task
    model: Model
    recipe: Recipe
    settings: RunSettings
    own_splits: tuple[str, ...]
    diagnostics: tuple[tuple[Task, str], ...]
    caveats: tuple[Caveat, ...]
    missing: Mapping[str, Mapping[str, str]]
    tests: tuple[tuple[Task, str], ...]
    parent: Run | None
    trial: Mapping[str, Any]
    is_parent: bool = False
    rivals: tuple[str, ...] | None = None

    @cached_property
    def fingerprint(self) -> str:
        """The identity: a hash of all that decides the scores."""
        return self.settings.fingerprint

    @cached_property
    def configuration(self) -> str:
        """The same of all but the seed: all seeds of one recipe share it."""
        parent = self.parent.configuration if self.parent else None
        return fingerprint({**self.settings.model_dump(exclude={"seed"}), "parent": parent})

    @property
    def seed(self) -> int:
        return self.settings.seed

    @property
    def label(self) -> Key:
        """(task, model, seed)."""
        return self.task.name, self.model.name, self.seed

    @property
    def pair(self) -> Pair:
        """(task, model)."""
        return self.label[:2]

    @property
    def evaluated(self) -> tuple[tuple[Task, str], ...]:
        """The (task, split) pairs that the record has scores of."""
        return (*((self.task, split) for split in self.own_splits), *self.diagnostics)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and (self.label, self.fingerprint) == (other.label, other.fingerprint)

    def __hash__(self) -> int:
        return hash((self.label, self.fingerprint))


Wanted = Callable[[Pair, list[Recipe]], list[tuple[Recipe, tuple[int, ...]]]]
"""Which recipes of a pair's are used, and with which seeds."""


Suggestions = Mapping[Pair, Sequence[Recipe]]
"""The recipes of searches, which the file does not list."""


def expand(
    file: BenchmarkFile,
    resources: Resources,
    device: torch.device,
    chosen: Mapping[Pair, Recipe] | None = None,
    suggested: Suggestions | None = None,
) -> list[Run]:
    """All runs of a benchmark: trained tasks x models x seeds, a parent before those that start from it.

    Args:
        chosen: the recipes that a sweep chose. Where several are swept and none is chosen, the first trial stands for
            all runs.
        suggested: the recipes that searches try.

    Raises:
        HarnessError: data or checkpoints that are not there or cannot be used; all of them at once.
    """
    spec = resources.spec

    def wanted(pair: Pair, recipes: list[Recipe]) -> list[tuple[Recipe, tuple[int, ...]]]:
        if len(recipes) == 1:
            return [(recipes[0], spec.seeds)]
        if chosen is not None and pair in chosen:
            return [(chosen[pair], spec.seeds)]
        return [(recipes[0], (spec.first_seed,))]

    return [replace(run, trial={}) for run in _expand(file, resources, device, wanted, suggested or {})]


def trials(
    file: BenchmarkFile, resources: Resources, device: torch.device, suggested: Suggestions | None = None
) -> list[Run]:
    """The runs that choose the recipes of a sweep: every recipe of each swept (task, model), with the first seed.

    Runs that those start from are among them; they have no ``trial``.

    Args:
        suggested: the recipes that searches try.

    Raises:
        HarnessError: as `expand`.
    """
    spec = resources.spec
    if all(len(spec.recipes_for(task, model)) == 1 for task in spec.trained for model in spec.models):
        return []

    def wanted(pair: Pair, recipes: list[Recipe]) -> list[tuple[Recipe, tuple[int, ...]]]:
        return [(recipe, (spec.first_seed,)) for recipe in recipes]

    runs = _expand(file, resources, device, wanted, suggested or {})
    needed: set[Run] = set()
    for run in runs:
        part = run if run.trial else None
        while part is not None:
            needed.add(part)
            part = part.parent
    return [replace(run, tests=()) for run in runs if run in needed]


def _expand(
    file: BenchmarkFile, resources: Resources, device: torch.device, wanted: Wanted, suggested: Suggestions
) -> list[Run]:
    spec = resources.spec
    runs: list[Run] = []
    parents: dict[Key, Run] = {}
    problems: list[str] = []
    for name in parents_first(spec, spec.trained):
        for model in spec.models:
            try:
                own = suggested.get((name, model))
                new = _runs_of(file, resources, device, file.tasks[name], file.models[model], parents, wanted, own)
                runs += new
                parents |= {run.label: run for run in new}
            except HarnessError as error:
                problems += [line for line in str(error).splitlines() if line not in problems]
    if problems:
        raise HarnessError("\n".join(problems))
    started_from = {run.parent for run in runs}
    return resources.settled(replace(run, is_parent=run in started_from) for run in dict.fromkeys(runs))


def parents_first(spec: BenchmarkSpec, names: Iterable[str]) -> list[str]:
    """These tasks and those that they start from, each after the one that it starts from."""
    ordered: list[str] = []

    def add(name: str) -> None:
        parent = spec.parent(name)
        if parent is not None and parent not in ordered:
            add(parent)
        if name not in ordered:
            ordered.append(name)

    for name in names:
        add(name)
    return ordered


def _runs_of(
    file: BenchmarkFile,
    resources: Resources,
    device: torch.device,
    task: Task,
    model: Model,
    parents: Mapping[Key, Run],
    wanted: Wanted,
    suggested: Sequence[Recipe] | None,
) -> list[Run]:
    spec = resources.spec
    own = _own_splits(task, resources)
    diagnostics, missing = _diagnostics(file, resources, task)
    listed = spec.recipes_for(task.name, model.name)
    recipes = _distinct(resolved_recipes(resources, device, task, model, listed if suggested is None else suggested))
    varied = _varied(recipes if suggested is None else listed)
    tests = _tests(file, resources, task) if spec.predict else ()
    parent_task = spec.parent(task.name)
    caveats = tuple(_caveats(resources, task, model))
    shared: dict[str, Any] = {
        "score_version": SCORE_VERSION,
        "model": resources.model_identity(model, task),
        "tasks": {t.name: plain(t.definition()) for t in (task, *(t for t, _ in diagnostics))},
        "data": {
            task.name: resources.data(task, (str(task.train_split), *own), model),
            **{t.name: resources.data(t, (split,)) for t, split in diagnostics},
        },
        "limit": spec.limit.model_dump() if spec.limit else None,
        "selection": spec.selection,
        "allow_partial": spec.allow_partial,
    }
    runs = []
    for recipe, seeds in wanted((task.name, model.name), recipes):
        for seed in seeds:
            parent = parents.get((parent_task, model.name, seed)) if parent_task else None
            settings = RunSettings(
                **shared, recipe=recipe.deciding(), seed=seed, parent=parent.fingerprint if parent else None
            )
            differences = {name: value for name, value in recipe if name in varied}
            runs.append(
                Run(task, model, recipe, settings, own, diagnostics, caveats, missing, tests, parent, differences)
            )
    return runs


def resolved_recipes(
    resources: Resources, device: torch.device, task: Task, model: Model, recipes: Iterable[Recipe]
) -> list[Recipe]:
    """The recipes of a (task, model) as they will be used here."""
    return [resources.resolved(recipe, model, task, device) for recipe in recipes]


def _distinct(recipes: Iterable[Recipe]) -> list[Recipe]:
    """Each once."""
    distinct: dict[str, Recipe] = {}
    for recipe in recipes:
        distinct.setdefault(recipe.model_dump_json(), recipe)
    return list(distinct.values())


def _varied(recipes: Iterable[Recipe]) -> set[str]:
    """The settings that are not the same in all recipes."""
    dumps = [recipe.model_dump() for recipe in recipes]
    return {name for dump in dumps for name, value in dump.items() if value != dumps[0][name]}


def _own_splits(task: Task, resources: Resources) -> tuple[str, ...]:
    splits = resources.splits(task)
    own = tuple(split for split in task.validation_splits if split in splits)
    if task.train_split not in splits or not own:
        lacking = str(task.train_split) if task.train_split not in splits else task.validation_splits[0]
        resources.examples(task, lacking)  # its error names the file that is missing
        raise HarnessError(f"task '{task.name}': {resources.spec.describe_source(task)} has no {lacking} split")
    return own


def _diagnostics(
    file: BenchmarkFile, resources: Resources, task: Task
) -> tuple[tuple[tuple[Task, str], ...], dict[str, dict[str, str]]]:
    """The labelled diagnostics that this task's model answers, and why others are missing."""
    labelled: list[tuple[Task, str]] = []
    missing: dict[str, dict[str, str]] = {}
    for diagnostic in file.tasks.values():
        if diagnostic.evaluated_by != task.name:
            continue
        source = resources.spec.describe_source(diagnostic)
        for split in diagnostic.validation_splits:
            if split not in resources.splits(diagnostic):
                missing[diagnostic.name] = {split: f"its data is not in {source}"}
            elif not resources.labelled(diagnostic, split):
                missing[diagnostic.name] = {split: f"{source} has no labels for it"}
            else:
                labelled.append((diagnostic, split))
    return tuple(labelled), missing


def _caveats(resources: Resources, task: Task, model: Model) -> Iterable[Caveat]:
    """What makes this run's numbers not comparable with published ones, or not reproducible."""
    spec, checkpoint = resources.spec, resources.checkpoint(model)
    source = "files" if has_own_files(task) else resources.source(task)
    if source == "sample":
        yield Caveat(kind=CaveatKind.SAMPLE_DATA)
    if spec.allow_partial:
        yield Caveat(kind=CaveatKind.PARTIAL_DATA)
    if spec.limit is not None:
        yield Caveat(kind=CaveatKind.LIMITED_DATA)
    yield HELD_OUT if spec.selection == HOLDOUT else SELECTED
    if model.label_threshold == "tuned" and task.has_threshold:
        yield Caveat(kind=CaveatKind.TUNED_THRESHOLD)
    if (parent := spec.parent(task.name)) is not None:
        yield Caveat(kind=CaveatKind.INTERMEDIATE_TRAINING, detail=parent)
    if checkpoint is not None and checkpoint.revision is not None and not checkpoint.pinned:
        yield Caveat(kind=CaveatKind.UNPINNED_CHECKPOINT)
    if source == "hub" and task.hub is not None and task.hub.revision is None:
        yield Caveat(kind=CaveatKind.UNPINNED_DATA)
    if checkpoint is not None and task.suite in ("glue", "superglue") and _is_t5_v1_0(checkpoint.folder):
        yield Caveat(kind=CaveatKind.SEEN_IN_PRETRAINING)


def _is_t5_v1_0(folder: Path) -> bool:
    """Whether a checkpoint is T5 v1.0, whose pre-training mixed in the tasks: its config.json names their prefixes."""
    file = folder / "config.json"
    config = json.loads(file.read_bytes()) if file.is_file() else {}
    return config.get("model_type") == "t5" and bool(config.get("task_specific_params"))


def _tests(file: BenchmarkFile, resources: Resources, task: Task) -> tuple[tuple[Task, str], ...]:
    """The test splits that exist: the task's own and its diagnostics'."""
    tasks = [task, *(other for other in file.tasks.values() if other.evaluated_by == task.name)]
    return tuple((t, split) for t in tasks for split in t.test_splits if split in resources.splits(t))


def test_fingerprint(run: Run, resources: Resources) -> str:
    """The identity of a run's predictions on test splits."""
    tests = {f"{task.name} {split}": resources.data(task, (split,)) for task, split in run.tests}
    return fingerprint({"run": run.fingerprint, "test": tests})
