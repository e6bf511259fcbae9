"""What goes into the records of a run: its own, and that of its test predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.data.features import Features
from harness.io import plain
from harness.models import Architecture
from harness.results.record import Record
from harness.runner.answers import Evaluated
from harness.runner.plan import Run, test_fingerprint
from harness.runner.resources import Context
from harness.task.baseline import only_answer
from harness.task.task import Task
from harness.training.device import provenance
from harness.training.evaluation import Split, prediction_rows


def record_of_run(context: Context, run: Run, **fields: Any) -> Record:
    """The record of a run that finished, failed where ``fields`` have an ``error``, or has a ``status`` of theirs."""
    checkpoint = context.resources.checkpoint(run.model)
    common = {
        "fingerprint": run.fingerprint,
        "status": "failed" if fields.get("error") else "finished",
        "task": run.task.name,
        "model": run.model.name,
        "checkpoint": run.model.checkpoint,
        "revision": checkpoint.revision if checkpoint else None,
        "init_from": run.parent.task.name if run.parent else None,
        "columns": {task.name: column_of(task, task.score_parts) for task, _ in run.evaluated},
        "provenance": provenance(context.accelerator.device, context.accelerator.num_processes),
        **fields,
    }
    return Record.model_validate({**plain(common), "settings": run.settings, "caveats": run.caveats})


def column_of(task: Task, parts: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """How a table shows a task that no plugin defines any more."""
    return {"title": task.title, "suite": task.suite, "parts": parts, "selection": task.selection_key}


def _scored_by_label(task: Task) -> bool:
    return task.problem.several and not task.open_answers


def split_results(
    context: Context, run: Run, architecture: Architecture, evaluated: Evaluated, trained: Features | None = None
) -> dict[str, Any]:
    """The fields of a record that have a value for each task and split; of what was ``trained`` on, the counts."""
    tasks = {split.task.name: split.task for split, _ in evaluated}
    labels = {name: task.labels for name, task in tasks.items() if _scored_by_label(task)}
    fields: dict[str, Any] = {"labels": labels}
    if trained is not None:
        fields["counts"] = {run.task.name: {"train": len(trained)}}
        fields["truncated"] = {run.task.name: {"train": trained.truncated}}

    def enter(name: str, split: Split, value: Any) -> None:
        fields.setdefault(name, {}).setdefault(split.task.name, {})[split.name] = value

    overlaps = context.resources.overlap(run.task, [(split.task, split.name) for split, _ in evaluated])
    for split, evaluation in evaluated:
        enter("overlap", split, overlaps[split.task.name, split.name])
        enter("scores", split, evaluation.scores)
        enter("baseline", split, context.resources.baseline(run.task, split.task, split.name))
        enter("counts", split, len(evaluation.predictions))
        enter("truncated", split, split.features.truncated)
        if answer := only_answer(split.task, evaluation.predictions):
            enter("constant", split, answer)
        if repaired := context.resources.repairs(split.task, split.name):
            enter("repaired", split, repaired)
        if evaluation.unread:
            enter("unread_words", split, evaluation.unread)
        if architecture.generates:
            enter("invalid", split, evaluation.invalid / len(evaluation.predictions))
    return fields


def write_tests(context: Context, run: Run, tests: Evaluated) -> None:
    """Test predictions are a record of their own; it has the scores of the splits with labels."""
    if tests:
        own = test_fingerprint(run, context.resources)
        new = [(split, made) for split, made in tests if made.scores and (split.task, split.name) not in run.evaluated]
        architecture = context.resources.architecture(run.model, run.task, run.recipe)
        columns = {split.task.name: column_of(split.task, split.task.test_parts) for split, _ in new}
        fields = split_results(context, run, architecture, new) if new else {}
        record = record_of_run(
            context, run, fingerprint=own, predicts_tests_of=run.fingerprint, columns=columns, **fields
        )
        rows = (row for split, evaluation in tests for row in prediction_rows(split, evaluation))
        context.store.write(record, predictions=rows)
