"""Diagnostics whose data was added after the training, answered by kept models (`harness.runner.diagnostics`)."""

from __future__ import annotations

import itertools
from typing import Any

from harness.io import plain
from harness.results.record import Record
from harness.runner.answers import Evaluated
from harness.runner.diagnostics import base_model
from harness.runner.keeping import keep_again, load_model
from harness.runner.plan import Run
from harness.runner.prepare import prepare
from harness.runner.recording import column_of, split_results
from harness.runner.resources import Context
from harness.training.device import deterministic_algorithms
from harness.training.evaluation import prediction_rows
from harness.training.loop import RunState, measure
from harness.training.threads import own_threads


@own_threads()
def answer_diagnostics(context: Context, run: Run, base: Run) -> None:
    """Let the kept model of a run's base answer the diagnostics that it lacks, and write the record of the whole run.

    Raises:
        HarnessError: the model is damaged (and removed), the data or the disk.
    """
    record = context.store.find(base.fingerprint, *base.label)
    assert record is not None
    state = RunState()
    state.best.threshold = record.threshold if record.threshold is not None else state.best.threshold
    new = [diagnostic for diagnostic in run.diagnostics if diagnostic not in base.diagnostics]
    with deterministic_algorithms(run.recipe.deterministic):
        training = prepare(context, run, initial=None)
        training.load_weights(load_model(context, base))
        answered: Evaluated = []
        for task, name in new:
            split = context.resources.evaluated(training.architecture, task, name)
            answered.append((split, measure(training, state, split, state.best.threshold)))
    fields = split_results(context, run, training.architecture, answered)
    context.accelerator.free_memory()
    if context.main:
        if kept := base_model(context, base):
            keep_again(context, run, kept)
        _write(context, run, record, answered, fields)
    context.accelerator.wait_for_everyone()


def _write(context: Context, run: Run, base: Record, answered: Evaluated, fields: dict[str, Any]) -> None:
    """The base's record, with what was answered since."""
    columns = {split.task.name: column_of(split.task, split.task.score_parts) for split, _ in answered}
    data = base.model_dump()
    for name, value in {**fields, "columns": columns}.items():
        data[name] = {**data[name], **value}
    if base.best_step == base.steps:
        data["last_scores"] = {**data["last_scores"], **fields["scores"]}
    data |= {"fingerprint": run.fingerprint, "missing": run.missing, "model": run.model.name}
    own = {"settings": run.settings, "caveats": base.caveats, "efficiency": base.efficiency}
    whole = Record.model_validate({**plain(data), **own})
    rows = (row for split, evaluation in answered for row in prediction_rows(split, evaluation))
    names = ", ".join(split.task.name for split, _ in answered)
    log = f"{base.log()}{names}: answered later, by the kept model\n"
    predictions = itertools.chain(base.predictions(), rows)
    context.store.write(whole, predictions=predictions, history=base.history(), log=log)
