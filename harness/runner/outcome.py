"""What a run leaves: its predictions, its record, its times, its best model where that is wanted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from accelerate.utils import gather_object
from torch import Tensor

from harness.errors import HarnessError
from harness.results.record import Record
from harness.results.tensors import save_tensors
from harness.runner.plan import SCORE_VERSION, Run, test_fingerprint
from harness.runner.queue import model_file
from harness.runner.resources import HOLDOUT, Context
from harness.task.metrics import score_parts
from harness.task.task import SEVERAL, Task
from harness.training.device import provenance
from harness.training.efficiency import COUNTED, Usage, measured, of_all_processes, training_speed
from harness.training.evaluation import Evaluation, Split, has_threshold, prediction_rows
from harness.training.loop import RunState
from harness.training.trainer import Training

Evaluated = list[tuple[Split, Evaluation]]


@dataclass
class Result:
    """What a run leaves: the parts of its record, and the best model's weights where they are wanted."""

    record: dict[str, Any]
    predictions: list[dict[str, Any]] = field(default_factory=list)
    test_predictions: list[dict[str, Any]] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    efficiency: dict[str, Any] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    weights: dict[str, Tensor] | None = None

    @property
    def finished(self) -> bool:
        """Whether the run did not fail."""
        return "error" not in self.record


def keeps_model(context: Context, run: Run) -> bool:
    """Whether the run's best model is wanted later: by ``keep``, to predict the tests with a sweep's best trial, or by
    a run that starts from it.
    """
    return context.spec.keep != "none" or bool(context.spec.predict and run.trial) or run.is_parent


def result_of(
    context: Context,
    run: Run,
    training: Training,
    state: RunState,
    evaluated: Evaluated,
    tests: list[dict[str, Any]],
    usage: Usage,
) -> Result:
    """What the record is made of."""
    efficiency = efficiency_of(context, run, training, state, usage)
    state.note(f"best at step {state.best.step}; {efficiency['total_seconds']:.1f} s")
    return Result(
        record_parts(context, run, training, state, evaluated),
        [row for split, evaluation in evaluated for row in prediction_rows(split, evaluation)],
        tests,
        state.history,
        efficiency,
        state.log,
        state.best.weights if keeps_model(context, run) else None,
    )


def record_parts(
    context: Context, run: Run, training: Training, state: RunState, evaluated: Evaluated
) -> dict[str, Any]:
    """What record.json holds of a run that finished, beside what was settled before it began."""
    tasks = {run.task.name: run.task, **{task.name: task for task, _ in run.diagnostics}}
    generates = training.architecture.generates
    parts: dict[str, Any] = {
        "scores": {},
        "invalid": {},
        "counts": {run.task.name: {"train": len(training.features)}},
        "missing": {task: dict(reasons) for task, reasons in run.missing.items()},
        "repaired": {},
        "overlap": {},
        "steps": training.step,
        "best_step": state.best.step,
        "selection_score": state.best.selection_score,
        "parameters": training.parameters,
        "micro_batch_tokens": training.plan.micro_batch_tokens,
        "unread_words": {},
        "labels": {name: list(task.labels) for name, task in tasks.items() if _scored_by_label(task)},
        "threshold": state.best.threshold if has_threshold(run.task) and not generates else None,
    }

    def enter(part: str, split: Split, value: Any) -> None:
        parts[part].setdefault(split.task.name, {})[split.name] = value

    overlaps = context.resources.overlap(run.task, run.evaluated)
    for split, evaluation in evaluated:
        enter("overlap", split, overlaps[split.task.name, split.name])
        enter("scores", split, evaluation.scores)
        enter("counts", split, len(evaluation.predictions))
        if repaired := context.resources.repairs(split.task, split.name):
            enter("repaired", split, repaired)
        if evaluation.unread:
            enter("unread_words", split, evaluation.unread)
        if generates:
            enter("invalid", split, evaluation.invalid / len(evaluation.predictions))
    return parts


def _scored_by_label(task: Task) -> bool:
    return task.problem_type in SEVERAL and not task.open_answers


def efficiency_of(context: Context, run: Run, training: Training, state: RunState, usage: Usage) -> dict[str, Any]:
    """The content of efficiency.json: all that the clock and the machine decide."""
    used = [usage.read()]
    if context.accelerator.num_processes > 1:
        used = gather_object(used)
    cost = cost_of(context, run, training, state) if context.main else {}
    examples, seconds = training.examples - state.startup_examples, state.train_seconds - state.startup_seconds
    if not examples:
        examples, seconds = training.examples, state.train_seconds
    return {
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "total_seconds": state.seconds,
        "train_seconds": state.train_seconds,
        "startup_seconds": state.startup_seconds,
        "compile_seconds": state.compile_seconds,
        "evaluate_seconds": state.evaluate_seconds,
        **training_speed(training, examples, seconds, cost.get("train_flops_per_example")),
        "inference_examples_per_second": state.evaluated_examples / max(state.evaluate_seconds, 1e-9),
        **cost,
        **of_all_processes(used, whole=not state.earlier_seconds),
    }


def cost_of(context: Context, run: Run, training: Training, state: RunState) -> dict[str, Any]:
    """What the trained model takes: measured once per task, model and recipe; of other seeds FLOPs only."""
    costs, key = context.resources.costs, (*run.pair, run.recipe)
    if key in costs:
        return {name: costs[key][name] for name in COUNTED}
    split = HOLDOUT if context.spec.selection == HOLDOUT else run.own_splits[0]
    features = context.resources.features(training.architecture, run.task, split, training=False)
    costs[key] = measured(training, features, state.seconds)
    return costs[key]


# On disk ---------------------------------------------------------------------------------------------------------


def write_result(context: Context, run: Run, result: Result) -> Record:
    """Write the result of a run; the record comes last, so that with it all is written.

    Raises:
        HarnessError: the disk says no.
    """
    if result.weights is not None:
        save_tensors(model_file(context, run), result.weights)
    if result.finished and context.spec.predict:
        write_tests(context, run, result.test_predictions)
    return context.store.write(
        record_content(context, run, result.record),
        predictions=result.predictions,
        history=result.history,
        efficiency=result.efficiency,
        log="\n".join(result.log) + "\n",
    )


def write_tests(context: Context, run: Run, rows: list[dict[str, Any]]) -> None:
    """Test predictions are a record of their own, which no leaderboard shows."""
    if rows:
        content = record_content(context, run, {"predicts_tests_of": run.fingerprint})
        content["fingerprint"] = test_fingerprint(run, context.resources)
        context.store.write(content, predictions=rows)


def reason(error: Exception) -> str:
    """An error in one line."""
    if isinstance(error, HarnessError):
        return str(error)
    first = str(error).strip().splitlines()[:1]
    return ": ".join([type(error).__name__, *first])


def record_content(context: Context, run: Run, parts: Mapping[str, Any]) -> dict[str, Any]:
    """The content of record.json for a run that finished, or failed with ``parts['error']``."""
    spec, session, accelerator = context.spec, context.resources, context.accelerator
    checkpoint = session.checkpoint(run.model)
    model = {**run.model.model_dump(exclude_none=True), **session.model_identity(run.model)}
    if checkpoint is not None:
        model["revision"] = checkpoint.revision
    return {
        "fingerprint": run.fingerprint,
        "status": "failed" if parts.get("error") else "finished",
        "task": run.task.name,
        "model": run.model.name,
        "architecture": run.model.architecture,
        "seed": run.seed,
        "parent": run.parent.fingerprint if run.parent else None,
        "scores": {},
        "missing": {},
        "invalid": {},
        "counts": {},
        "steps": 0,
        "best_step": None,
        "selection_score": None,
        "parameters": {},
        "error": None,
        "columns": {
            task.name: {"title": task.title, "suite": task.suite, "parts": score_parts(task)}
            for task in (run.task, *(diagnostic for diagnostic, _ in run.diagnostics))
        },
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
            "init_from": run.parent.task.name if run.parent else None,
            "score_version": SCORE_VERSION,
        },
        "caveats": list(run.caveats),
        "provenance": provenance(accelerator.device, accelerator.num_processes),
    }
