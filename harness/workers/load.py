"""What a run asks of a machine: threads, memory, time. Estimates from its model and its batches, before it is built."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import psutil
import torch

from harness.runner.plan import Run
from harness.runner.resources import Context
from harness.training.optimizer import trained_parameters
from harness.training.threads import is_chosen, threads_for
from harness.training.update import plan_of, steps_of

PROCESS_BYTES = 0.8e9
"""What a worker takes without a run: Python and its libraries."""
PARAMETER_BYTES = 24
"""What a parameter takes in training: weight, gradient, two moments, and the best weights; activations beside them."""
UPDATE_SECONDS, FLOPS_PER_SECOND = 0.01, 2e10
"""What an update takes at least, and what a core computes."""


@dataclass(frozen=True)
class Load:
    """What a run asks for."""

    threads: int
    memory: float
    """Bytes, of its process."""
    seconds: float


def load_of(context: Context, run: Run) -> Load:
    """What a run on the CPU asks for."""
    resources = context.resources
    architecture = resources.architecture(run.model, run.task, run.recipe)
    module = architecture.build_for_sizes()
    features = resources.features(architecture, run.task, str(run.task.train_split), training=True)
    plan = plan_of(features, run.recipe, seed=0)
    parameters = trained_parameters(module)
    tokens = float(features.lengths.mean()) * plan.batch_size
    flops = 6.0 * parameters["active"] * tokens
    threads = torch.get_num_threads() if is_chosen() else min(torch.get_num_threads(), threads_for(module, plan))
    return Load(
        threads,
        PROCESS_BYTES + PARAMETER_BYTES * parameters["total"],
        steps_of(plan, run.recipe) * (UPDATE_SECONDS + flops / FLOPS_PER_SECOND / threads),
    )


def loads_of(context: Context, runs: Iterable[Run]) -> dict[Run, Load]:
    """What each of some runs asks for, looked at once for all seeds."""
    by_recipe: dict[object, Load] = {}
    loads: dict[Run, Load] = {}
    for run in runs:
        key = (*run.pair, run.recipe)
        if key not in by_recipe:
            by_recipe[key] = load_of(context, run)
        loads[run] = by_recipe[key]
    return loads


def free_memory() -> float:
    """Bytes that new processes may take."""
    return float(psutil.virtual_memory().available)
