"""From a benchmark to its runs: what is trained, what is evaluated with it, and the fingerprint of each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from harness.config.benchmark import BenchmarkFile
from harness.config.schema import BenchmarkSpec, Model, Recipe
from harness.data.datasets import has_own_files
from harness.errors import HarnessError
from harness.results.store import fingerprint
from harness.runner.resources import HOLDOUT, Session
from harness.runner.runs import Run
from harness.task.task import Task, is_unlabelled
from harness.training.device import resolve
from harness.training.loop import plan_of, steps_of, trained_parameters

SCORE_VERSION = 3
"""Part of every fingerprint: raise it when a change of the code changes a score."""

SELECTED = "best checkpoint chosen on the validation data"
HELD_OUT = "best checkpoint chosen on a held-out part of the training data"
"""Marks of all runs, by ``selection``."""

Pair = tuple[str, str]
"""(task, model)."""

Wanted = Callable[[Pair, list[Recipe]], list[tuple[Recipe, tuple[int, ...]]]]
"""Which recipes of a pair's are used, and with which seeds."""


def expand(
    file: BenchmarkFile, session: Session, device: torch.device, chosen: Mapping[Pair, Recipe] | None = None
) -> list[Run]:
    """All runs of a benchmark: trained tasks x models x seeds, a parent before those that start from it.

    Args:
        chosen: the recipes that a sweep chose. Where several are swept and none is chosen, the first trial stands for
            all runs.

    Raises:
        HarnessError: data or checkpoints that are not there or cannot be used; all of them at once.
    """
    spec = session.spec

    def wanted(pair: Pair, recipes: list[Recipe]) -> list[tuple[Recipe, tuple[int, ...]]]:
        if len(recipes) == 1:
            return [(recipes[0], spec.seeds)]
        if chosen is not None and pair in chosen:
            return [(chosen[pair], spec.seeds)]
        return [(recipes[0], (spec.first_seed,))]

    return [replace(run, trial={}) for run in _expand(file, session, device, wanted)]


def trials(file: BenchmarkFile, session: Session, device: torch.device) -> list[Run]:
    """The runs that choose the recipes of a sweep: every recipe of each swept (task, model), with the first seed.

    Runs that those start from are among them; they have no ``trial``.

    Raises:
        HarnessError: as `expand`.
    """
    spec = session.spec
    trained = [name for name in spec.tasks if file.tasks[name].evaluated_by is None]
    if all(len(spec.recipes_for(task, model)) == 1 for task in trained for model in spec.models):
        return []
    runs = _expand(file, session, device, lambda pair, recipes: [(recipe, (spec.first_seed,)) for recipe in recipes])
    needed = set()
    for run in runs:
        part = run if run.trial else None
        while part is not None:
            needed.add(part.identity)
            part = part.parent
    return [replace(run, tests=()) for run in runs if run.identity in needed]


def _expand(file: BenchmarkFile, session: Session, device: torch.device, wanted: Wanted) -> list[Run]:
    spec = session.spec
    runs: dict[tuple[str, str, int, str], Run] = {}
    parents: dict[tuple[str, str, int], Run] = {}
    problems: list[str] = []
    for name in _parents_first(spec, [name for name in spec.tasks if file.tasks[name].evaluated_by is None]):
        for model in spec.models:
            try:
                for run in _runs_of(file, session, device, file.tasks[name], file.models[model], parents, wanted):
                    runs[run.identity] = parents[run.key] = run
            except HarnessError as error:
                problems += [line for line in str(error).splitlines() if line not in problems]
    if problems:
        raise HarnessError("\n".join(problems))
    return list(runs.values())


def _parents_first(spec: BenchmarkSpec, names: list[str]) -> list[str]:
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
    session: Session,
    device: torch.device,
    task: Task,
    model: Model,
    known: Mapping[tuple[str, str, int], Run],
    wanted: Wanted,
) -> list[Run]:
    spec = session.spec
    own = _own_splits(task, session)
    diagnostics, missing = _diagnostics(file, session, task)
    recipes = _recipes(session, device, task, model)
    tests = _tests(file, session, task) if spec.predict else ()
    parent_task = spec.parent(task.name)
    caveats = tuple(_marks(session, task, model))
    shared = {
        "score_version": SCORE_VERSION,
        "model": session.model_identity(model),
        "tasks": {t.name: t.definition() for t in (task, *(t for t, _ in diagnostics))},
        "data": {
            task.name: session.data(task, (str(task.train_split), *own)),
            **{t.name: session.data(t, (split,)) for t, split in diagnostics},
        },
        "selection": spec.selection,
        "allow_partial": spec.allow_partial,
    }
    runs = []
    for recipe, seeds in wanted((task.name, model.name), recipes):
        for seed in seeds:
            parent = known.get((parent_task, model.name, seed)) if parent_task else None
            parts = {**shared, "recipe": recipe.model_dump()}
            runs.append(
                Run(
                    task,
                    model,
                    recipe,
                    seed,
                    own,
                    diagnostics,
                    fingerprint({**parts, "seed": seed, "parent": parent.fingerprint if parent else None}),
                    fingerprint({**parts, "parent": parent.configuration if parent else None}),
                    caveats,
                    missing,
                    tests,
                    parent,
                    _differences(recipe, recipes),
                )
            )
    return runs


def _recipes(session: Session, device: torch.device, task: Task, model: Model) -> list[Recipe]:
    """The recipes of a (task, model) as they will be used here, each once; several where they are swept."""
    found: dict[str, Recipe] = {}
    for recipe in session.spec.recipes_for(task.name, model.name):
        architecture = session.architecture(model, task, recipe)
        resolved = _resolved(recipe, session, architecture, task, device)
        found.setdefault(resolved.model_dump_json(), resolved)
    return list(found.values())


def _differences(recipe: Recipe, recipes: Iterable[Recipe]) -> dict[str, Any]:
    """The settings of a recipe that are not the same in all."""
    dumps = [other.model_dump() for other in recipes]
    return {name: value for name, value in recipe if any(dump[name] != value for dump in dumps)}


def _own_splits(task: Task, session: Session) -> tuple[str, ...]:
    there = session.splits(task)
    own = tuple(split for split in task.validation_splits if split in there)
    if task.train_split not in there or not own:
        lacking = str(task.train_split) if task.train_split not in there else task.validation_splits[0]
        session.examples(task, lacking)  # says which file is missing
        raise HarnessError(f"task '{task.name}': {session.spec.describe_source(task)} has no {lacking} split")
    return own


def _diagnostics(
    file: BenchmarkFile, session: Session, task: Task
) -> tuple[tuple[tuple[Task, str], ...], dict[str, dict[str, str]]]:
    """The labelled diagnostics that this task's model answers, and why others are missing."""
    found: list[tuple[Task, str]] = []
    missing: dict[str, dict[str, str]] = {}
    for diagnostic in file.tasks.values():
        if diagnostic.evaluated_by != task.name:
            continue
        source = session.spec.describe_source(diagnostic)
        for split in diagnostic.validation_splits:
            if split not in session.splits(diagnostic):
                missing[diagnostic.name] = {split: f"its data is not in {source}"}
            elif any(is_unlabelled(diagnostic, example) for example in session.examples(diagnostic, split)[:1]):
                missing[diagnostic.name] = {split: f"{source} has no labels for it"}
            else:
                found.append((diagnostic, split))
    return tuple(found), missing


def _resolved(recipe: Recipe, session: Session, architecture: Any, task: Task, device: torch.device) -> Recipe:
    """The recipe as it will be used here; sizes are looked at only where ``compile: auto`` needs them."""
    parameters, tokens = 0, 0.0
    if recipe.compile == "auto":
        with torch.device("meta"):
            parameters = trained_parameters(architecture.build())["total"]
        features = session.features(architecture, task, str(task.train_split), training=True)
        plan = plan_of(features, recipe, seed=0)
        tokens = float(features.lengths.mean()) * recipe.batch_size * steps_of(plan, recipe)
    return resolve(recipe, device, architecture.model.half_precision, parameters, tokens)


def _marks(session: Session, task: Task, model: Model) -> Iterable[str]:
    """What makes this run's numbers not comparable with published ones, or not reproducible."""
    spec, checkpoint = session.spec, session.checkpoint(model)
    source = "files" if has_own_files(task) else session.source(task)
    if source == "sample":
        yield "sample data"
    if spec.allow_partial:
        yield "partial data"
    if spec.limit is not None:
        yield "limited data"
    yield HELD_OUT if spec.selection == HOLDOUT else SELECTED
    if model.label_threshold == "tuned" and task.has_threshold:
        yield "threshold tuned on a held-out part of the training data"
    if spec.parent(task.name) is not None:
        yield f"intermediate training on {spec.parent(task.name)}"
    if checkpoint is not None and checkpoint.revision is not None and not checkpoint.pinned:
        yield "unpinned checkpoint"
    if source == "hub" and task.hub is not None and task.hub.revision is None:
        yield "unpinned data"
    if checkpoint is not None and task.suite in ("glue", "superglue") and _is_t5_v1_0(checkpoint.folder):
        yield "T5 v1.0 checkpoint: saw GLUE and SuperGLUE in pre-training"


def _is_t5_v1_0(folder: Path) -> bool:
    """Whether a checkpoint is T5 v1.0, whose pre-training mixed in the tasks: its config.json names their prefixes."""
    config = json.loads((folder / "config.json").read_bytes())
    return config.get("model_type") == "t5" and bool(config.get("task_specific_params"))


def _tests(file: BenchmarkFile, session: Session, task: Task) -> tuple[tuple[Task, str], ...]:
    """The test splits that are there: the task's own and its diagnostics'."""
    tasks = [task, *(other for other in file.tasks.values() if other.evaluated_by == task.name)]
    return tuple((t, split) for t in tasks for split in t.test_splits if split in session.splits(t))


def test_fingerprint(run: Run, session: Session) -> str:
    """The identity of a run's predictions on test splits."""
    tests = {f"{task.name} {split}": session.data(task, (split,)) for task, split in run.tests}
    return fingerprint({"run": run.fingerprint, "test": tests})
