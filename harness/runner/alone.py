"""Efficiency measured alone: what a run takes while nothing else of its command uses the machine.

Where runs share a machine, their clocks tell nothing about a model. After all of them, one run of each task, model and
recipe is measured by itself: some updates from step 0, then answers. Neither depends on the values of the weights, but
for the length of generated answers: for those the weights of a training are kept until then.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from torch import Tensor

from harness.errors import HarnessError
from harness.io import remove
from harness.results.fields import Damaged
from harness.results.folder import replace_efficiency
from harness.results.record import Efficiency, Record
from harness.results.tensors import load_tensors, save_tensors
from harness.runner.keeping import load_model
from harness.runner.plan import Run
from harness.runner.prepare import prepare
from harness.runner.resources import HOLDOUT, Context
from harness.runner.status import record_of
from harness.training.device import deterministic_algorithms, synchronize
from harness.training.efficiency import LONGEST, SHARE, SHORTEST, measured_cost, training_speed
from harness.training.loop import RunState, update_time, within_memory
from harness.training.threads import own_threads
from harness.training.update import NotFinite, OutOfMemory, Training
from harness.training.usage import of_all_processes

NOT_HERE = (
    "the efficiency of {} models is not measured: on one of the machines that did the runs, the same command with "
    "--jobs 1 and without --on measures it"
)
LEAST_UPDATES = 6
"""Updates that are measured whatever they take, the first one, which is startup, included."""


def cost_of(context: Context, run: Run, training: Training, taken: float) -> dict[str, Any]:
    """What the trained model takes, on the split that chooses the checkpoint; the run took so many seconds."""
    name = HOLDOUT if context.spec.selection == HOLDOUT else run.own_splits[0]
    split = context.resources.evaluated(training.architecture, run.task, name)
    return measured_cost(training, split, taken, context.resources.costs, (*run.pair, run.recipe))


def shared_efficiency(context: Context, state: RunState, used: Mapping[str, Any]) -> dict[str, Any]:
    """What a run that shared the machine can say: its times, which are no measure of the model, and its memory."""
    return {
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "at_once": context.at_once,
        "total_seconds": state.seconds,
        "train_seconds": state.train_seconds,
        "evaluate_seconds": state.evaluate_seconds,
        **of_all_processes([dict(used)], whole=False),
    }


def weights_file(context: Context, run: Run) -> Path:
    """Where the weights wait with which the answers of a generating model are measured, of any seed."""
    return context.store.work / f"answers-{run.configuration}.safetensors"


def leave_weights(context: Context, run: Run, training: Training) -> None:
    """Keep the weights of a generating model until its answers are measured, but for a sweep's trials."""
    path = weights_file(context, run)
    if training.architecture.generates and not run.trial and not path.exists():
        save_tensors(path, training.weights())


def measure_alone(context: Context, runs: Iterable[Run], here: bool = True) -> None:
    """Measure one run of each task, model and recipe of which all finished ones shared the machine.

    Args:
        here: whether this is the kind of machine that they were done on; nothing is measured elsewhere.
    """
    if context.accelerator.num_processes > 1:
        return
    left = unmeasured(context, runs)
    if left and not here:
        context.display.message(NOT_HERE.format(len(left)))
        return
    if left:
        context.display.message(f"measuring the efficiency of {len(left)} models, one after another")
    for run, record in left:
        lease = context.leases.take(context.store.checkpoint_directory(run.fingerprint))
        if lease is None:
            continue
        with lease:
            try:
                replace_efficiency(record, measured_alone(context, run, record))
            except (HarnessError, OutOfMemory, NotFinite) as error:
                context.display.message(f"{run.task.name} · {run.model.name}: efficiency not measured: {error}")
            remove(weights_file(context, run))
        context.accelerator.free_memory()


def unmeasured(context: Context, runs: Iterable[Run]) -> list[tuple[Run, Record]]:
    """One finished run of each configuration that has been trained beside others, and was not measured since."""
    groups: dict[tuple[str, str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((*run.pair, run.configuration), []).append(run)
    chosen = []
    for group in groups.values():
        records = [(run, record) for run in group if (record := record_of(context, run)) and record.finished]
        if records and all(r.efficiency.shared and r.efficiency.startup_seconds is None for _, r in records):
            chosen.append(records[0])
    return chosen


@own_threads()
def measured_alone(context: Context, run: Run, record: Record) -> Efficiency:
    """The efficiency of a finished run with what is measured now."""
    taken, state = record.efficiency.total_seconds or 0.0, RunState()
    with deterministic_algorithms(run.recipe.deterministic):
        training = prepare(context, run, _initial(context, run))
        update_for(training, state, min(LONGEST, max(SHORTEST, SHARE * taken)) / 2)
        weights = _weights(context, run) if training.architecture.generates else None
        if weights is not None:
            training.load_weights(weights)
        typical = weights is not None or not training.architecture.generates
        cost = cost_of(context, run, training, taken) if typical else {}
    examples, seconds = training.examples - state.startup_examples, state.train_seconds - state.startup_seconds
    speed = training_speed(training, examples, seconds, cost.get("train_flops_per_example")) if examples else {}
    startup = {"startup_seconds": state.startup_seconds, "compile_seconds": state.compile_seconds}
    return Efficiency.model_validate({**record.efficiency.measured(), **startup, **speed, **cost})


def update_for(training: Training, state: RunState, seconds: float) -> None:
    """Make updates for about so many seconds, at least `LEAST_UPDATES`, and no more than the training has."""
    end = time.perf_counter() + seconds
    while training.step < training.steps and (training.step < LEAST_UPDATES or time.perf_counter() < end):
        with update_time(training, state):
            within_memory(training, state, training.update)
            synchronize(training.accelerator.device)


def _initial(context: Context, run: Run) -> dict[str, Tensor] | None:
    """The weights of the parent's model where they are still there; a fresh model takes as long."""
    try:
        return load_model(context, run.parent) if run.parent else None
    except HarnessError:
        return None


def _weights(context: Context, run: Run) -> dict[str, Tensor] | None:
    """Those that `leave_weights` left; None where they are gone."""
    try:
        return load_tensors(weights_file(context, run))
    except (FileNotFoundError, Damaged):
        return None
