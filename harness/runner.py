"""When: expands a benchmark into runs, does those that are not done, and makes the leaderboard."""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from tabulate import tabulate

from harness.benchmark import BenchmarkFile
from harness.display import Display, make_display
from harness.errors import HarnessError
from harness.execution import Execution, Run
from harness.machine import provenance, resolve
from harness.report import Leaderboard, leaderboard, write_leaderboard
from harness.session import HOLDOUT, Session
from harness.settings import BenchmarkSpec, Model, Recipe
from harness.store import Record, Store, fingerprint
from harness.task import Task, is_unlabelled
from harness.training import plan_of, steps_of, trained_parameters

SCORE_VERSION = 1
"""Part of every fingerprint: raise it when a change of the code changes a score."""

def expand(file: BenchmarkFile, spec: BenchmarkSpec, session: Session, device: torch.device) -> list[Run]:
    """All runs of a benchmark: trained tasks x models x seeds, in the order they are done.

    Raises:
        HarnessError: data or checkpoints that are not there or cannot be used; all of them at once.
    """
    runs: list[Run] = []
    problems: list[str] = []
    trained = [file.tasks[name] for name in spec.tasks if file.tasks[name].evaluated_by is None]
    for task in trained:
        for name in spec.models:
            try:
                runs += _runs_of(file, spec, session, device, task, file.models[name])
            except HarnessError as error:
                problems += [line for line in str(error).splitlines() if line not in problems]
    if problems:
        raise HarnessError("\n".join(problems))
    return runs


def _runs_of(
    file: BenchmarkFile, spec: BenchmarkSpec, session: Session, device: torch.device, task: Task, model: Model
) -> list[Run]:
    own = _own_splits(task, session)
    diagnostics, missing = _diagnostics(file, spec, session, task)
    architecture = session.architecture(model, task, spec.recipe_for(task.name, model.name))
    recipe = _resolved(spec.recipe_for(task.name, model.name), session, architecture, task, device)
    parts = {
        "score_version": SCORE_VERSION,
        "model": session.model_identity(model),
        "tasks": {t.name: t.definition() for t in (task, *(t for t, _ in diagnostics))},
        "data": {
            task.name: session.data(task, (str(task.train_split), *own)),
            **{t.name: session.data(t, (split,)) for t, split in diagnostics},
        },
        "recipe": recipe.model_dump(),
        "selection": spec.selection,
        "allow_partial": spec.allow_partial,
    }
    marks = tuple(_marks(spec, session, task, model))
    return [
        Run(task, model, recipe, seed, own, diagnostics, fingerprint({**parts, "seed": seed}), marks, missing)
        for seed in spec.seeds
    ]


def _own_splits(task: Task, session: Session) -> tuple[str, ...]:
    there = session.splits(task)
    own = tuple(split for split in task.validation_splits if split in there)
    if task.train_split not in there or not own:
        lacking = task.train_split if task.train_split not in there else task.validation_splits[0]
        session.examples(task, str(lacking))  # says which file is missing
        raise HarnessError(f"task '{task.name}': its {lacking} split is missing in {session.source(task)}")
    return own


def _diagnostics(
    file: BenchmarkFile, spec: BenchmarkSpec, session: Session, task: Task
) -> tuple[tuple[tuple[Task, str], ...], dict[str, dict[str, str]]]:
    """The labelled diagnostics that this task's model answers, and why others are missing."""
    found: list[tuple[Task, str]] = []
    missing: dict[str, dict[str, str]] = {}
    for diagnostic in file.tasks.values():
        if diagnostic.evaluated_by != task.name:
            continue
        for split in diagnostic.validation_splits:
            if split not in session.splits(diagnostic):
                missing[diagnostic.name] = {split: f"its data is not in {spec.describe_source(diagnostic)}"}
            elif any(is_unlabelled(diagnostic, example) for example in session.examples(diagnostic, split)[:1]):
                missing[diagnostic.name] = {split: f"{spec.describe_source(diagnostic)} holds no labels for it"}
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
    return resolve(recipe, device, architecture.half_precision, parameters, tokens)


def _marks(spec: BenchmarkSpec, session: Session, task: Task, model: Model) -> Iterable[str]:
    if session.source(task) == "sample":
        yield "sample data"
    if spec.allow_partial:
        yield "partial data allowed"
    if spec.limit is not None:
        yield "limited data"
    checkpoint = session.checkpoint(model)
    if checkpoint is not None and model.revision is None and not checkpoint.pinned:
        yield "unpinned checkpoint"
    if task.hub is not None and session.source(task) == "hub" and task.hub.revision is None:
        yield "unpinned data"
    if checkpoint is not None and task.suite in ("glue", "superglue") and _is_t5_v1_0(checkpoint.folder):
        yield "T5 v1.0 checkpoint: saw GLUE and SuperGLUE in pre-training"


def record_of(run: Run, session: Session, accelerator: Accelerator, parts: Mapping[str, Any]) -> dict[str, Any]:
    """The content of record.json for a run that finished, or failed with ``parts['error']``."""
    spec = session.spec
    checkpoint = session.checkpoint(run.model)
    model = {**run.model.model_dump(exclude_none=True), **session.model_identity(run.model)}
    if checkpoint is not None:
        model["revision"] = checkpoint.revision
    return {
        "schema": 1,
        "fingerprint": run.fingerprint,
        "status": "failed" if parts.get("error") else "finished",
        "benchmark": spec.name,
        "task": run.task.name,
        "model": run.model.name,
        "architecture": run.model.architecture,
        "seed": run.seed,
        "scores": {},
        "missing": {},
        "unparsable": {},
        "counts": {},
        "steps": 0,
        "best_step": None,
        "primary": None,
        "parameters": {},
        "error": None,
        **parts,
        "settings": {
            "recipe": run.recipe.model_dump(),
            "model": model,
            "data": {
                run.task.name: session.data(run.task, (str(run.task.train_split), *run.own_splits)),
                **{task.name: session.data(task, (split,)) for task, split in run.diagnostics},
            },
            "limit": spec.limit.model_dump() if spec.limit else None,
            "allow_partial": spec.allow_partial,
            "selection": spec.selection,
            "score_version": SCORE_VERSION,
        },
        "marks": list(run.marks),
        "provenance": provenance(accelerator.device, accelerator.num_processes),
    }


def run_benchmark(
    file: BenchmarkFile, spec: BenchmarkSpec, results: Path, *, progress: bool = False
) -> tuple[Leaderboard, int]:
    """Do every run of the benchmark that has no finished record, and write the leaderboard.

    Returns:
        The leaderboard and the number of runs that failed.
    """
    store = Store(results, spec.name)
    accelerator = make_accelerator()
    session = Session(spec, store.cache)
    display = make_display(progress and accelerator.is_main_process)
    try:
        runs = expand(file, spec, session, accelerator.device)
        todo = [run for run in runs if not _done(store, run)]
        _prepare(todo, session, accelerator, display)
        if accelerator.is_main_process:
            store.point({run.key: run.fingerprint for run in runs}, spec.data_as_json())
        display.plan(len(runs), len(runs) - len(todo))
        failed = 0
        for run in todo:
            record = _do(run, session, store, accelerator, display)
            if record is not None:
                failed += record.status == "failed"
                make_board(file, spec, store)
    finally:
        display.close()
    accelerator.wait_for_everyone()
    return make_board(file, spec, store, write=accelerator.is_main_process), failed


def make_board(file: BenchmarkFile, spec: BenchmarkSpec, store: Store, write: bool = True) -> Leaderboard:
    """The leaderboard of the benchmark's current records, written beside them."""
    board = leaderboard(
        store.current(),
        file.tasks,
        file.suites,
        benchmark=spec.name,
        asked=spec.tasks,
        references=spec.references,
        warnings=store.warnings,
    )
    if write:
        write_leaderboard(store.folder, board)
    return board


def dry_run(file: BenchmarkFile, spec: BenchmarkSpec, results: Path) -> str:
    """The runs of a benchmark as a table: which are done, which would be trained, and which failed before."""
    store = Store(results, spec.name)
    runs = expand(file, spec, Session(spec, store.cache), make_accelerator().device)
    rows = []
    for run in runs:
        record = store.find(run.fingerprint, *run.key)
        state = "to do" if record is None else "done" if record.finished else "failed, to do again"
        diagnostics = " ".join(task.name for task, _ in run.diagnostics)
        rows.append([run.task.name, run.model.name, run.seed, diagnostics, state, run.fingerprint[:12]])
    table = tabulate(rows, ["task", "model", "seed", "also answers", "state", "fingerprint"], tablefmt="simple")
    done = sum(row[4] == "done" for row in rows)
    return f"{spec.name}: {len(rows)} runs, {done} done, {len(rows) - done} to train\n\n{table}"


def make_accelerator() -> Accelerator:
    """The device and the processes of this command.

    Raises:
        HarnessError: several processes were started, but they do not form a group.
    """
    accelerator = Accelerator(mixed_precision="no")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and accelerator.num_processes == 1:
        raise HarnessError(
            "several processes were started, but they do not work together: on CPU, launch with "
            "ACCELERATE_USE_CPU=true accelerate launch --multi_gpu --num_processes N -m harness run ..."
        )
    return accelerator


def _is_t5_v1_0(folder: Path) -> bool:
    """Whether a checkpoint is T5 v1.0, whose pre-training mixed in the tasks: its config.json names their prefixes."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return config.get("model_type") == "t5" and bool(config.get("task_specific_params"))


def _done(store: Store, run: Run) -> bool:
    record = store.find(run.fingerprint, *run.key)
    return record is not None and record.status == "finished"


def _prepare(runs: Sequence[Run], session: Session, accelerator: Accelerator, display: Display) -> None:
    """Read, check and tokenise all data before the first step: mistakes in it show now, not in the third hour."""
    problems: list[str] = []
    with accelerator.main_process_first():
        for run in {(run.task.name, run.model.name): run for run in runs}.values():
            display.message(f"reading {run.task.name} for {run.model.name}")
            architecture = session.architecture(run.model, run.task, run.recipe)
            try:
                session.features(architecture, run.task, str(run.task.train_split), training=True)
                for task, split in [*((run.task, split) for split in run.own_splits), *run.diagnostics]:
                    session.features(architecture, task, split, training=False)
                    session.examples(task, split)
            except HarnessError as error:
                problems += [line for line in str(error).splitlines() if line not in problems]
            if session.spec.selection != HOLDOUT:
                session.forget(run.task)
    if problems:
        raise HarnessError("\n".join(problems))


def _do(
    run: Run, session: Session, store: Store, accelerator: Accelerator, display: Display
) -> Record | None:
    """One run, from start to record; a failure is recorded and does not stop the others."""
    try:
        parts = Execution(run, session, accelerator, display)()
    except Exception as error:
        reason = str(error).strip().splitlines()
        message = f"{type(error).__name__}: {reason[0] if reason else ''}"
        if isinstance(error, HarnessError):
            message = str(error)
        parts = {"record": {"error": {"reason": message, "traceback": traceback.format_exc()}}}
    accelerator.free_memory()
    if not accelerator.is_main_process:
        return None
    content = record_of(run, session, accelerator, parts["record"])
    record = store.write(
        content,
        predictions=parts.get("predictions", ()),
        curve=parts.get("curve", ()),
        efficiency=parts.get("efficiency", {}),
        log=None,
    )
    (display.run_failed if record.status == "failed" else display.run_finished)(record)
    return record
