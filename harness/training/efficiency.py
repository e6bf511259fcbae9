"""What a model costs: FLOPs, time, memory and energy. Everything here goes to efficiency.json only."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from accelerate.utils import gather_object

from harness.training.device import device_name
from harness.training.evaluation import Split
from harness.training.flops import datasheet_peak, matrix_rate, tokens_per_group
from harness.training.inference import counted, measured
from harness.training.loop import RunState
from harness.training.update import Training
from harness.training.usage import of_all_processes

K = TypeVar("K", bound=Hashable)

SHARE, SHORTEST, LONGEST = 0.02, 0.25, 60.0
"""Measuring a trained model may take this share of what its run took, and between so many seconds."""


def measured_cost(
    training: Training, split: Split, taken: float, counts: dict[K, dict[str, Any]], key: K
) -> dict[str, Any]:
    """What a trained model takes to answer the examples of a split: see `counted` and `measured`.

    The first seed of a model on a task is measured in any case, others where their run gives enough time for it.

    Args:
        training: holds the model.
        split: an evaluated one.
        taken: seconds that the run took.
        counts: what `counted` gave, by ``key``; is added to.
        key: the model, the task and the recipe.
    """
    seconds = min(LONGEST, SHARE * taken)
    if key not in counts:
        counts[key], seconds = counted(training, split.features), max(seconds, SHORTEST)
    if seconds < SHORTEST:
        return counts[key]
    return {**counts[key], **measured(training, split.features, split.examples, seconds)}


def training_speed(training: Training, examples: int, seconds: float, flops: int | None) -> dict[str, Any]:
    """What the updates after the warm-up reached.

    Args:
        training: what was trained.
        examples: how many were read, over all processes, in so many ``seconds``.
        flops: FLOPs per example, where they were counted.
    """
    rate = examples / max(seconds, 1e-9)
    speed: dict[str, Any] = {
        "train_examples_per_second": rate,
        "train_tokens_per_second": rate * float(tokens_per_group(training.features).mean()),
    }
    if flops is None:
        return speed
    device, precision = training.accelerator.device, training.recipe.precision
    reached = rate * flops / training.accelerator.num_processes
    machine, peak = matrix_rate(device, precision), datasheet_peak(device_name(device), precision)
    speed |= {"matrix_flops_per_second": machine, "train_share_of_matrix_rate": reached / machine}
    return speed if peak is None else {**speed, "datasheet_flops_per_second": peak, "mfu": reached / peak}


def efficiency_of(
    training: Training, state: RunState, usage: Mapping[str, Any], cost: Mapping[str, Any]
) -> dict[str, Any]:
    """The content of efficiency.json: all that the clock and the machine decide.

    Args:
        training: a training that is done; all processes call this together.
        state: with its times.
        usage: of this process, from `Usage.read`, before the model was measured.
        cost: of the trained model, from `counted` and `measured`; on the main process.
    """
    used = [dict(usage)]
    if training.accelerator.num_processes > 1:
        used = gather_object(used)
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
        **cost,
        **of_all_processes(used, whole=not state.earlier_seconds),
    }
