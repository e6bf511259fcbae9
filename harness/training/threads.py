"""How many threads of a CPU compute a run's matrix products."""

from __future__ import annotations

import contextlib
import os
import statistics
from collections.abc import Iterator

import psutil
import torch
from torch import nn

from harness.training.batching import TrainingPlan

WORK = 50e6
"""FLOPs of a matrix product that are worth a thread of its own: below, threads wait longer for one another."""

VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables by which a user or a launcher chooses."""


@contextlib.contextmanager
def own_threads() -> Iterator[None]:
    """A block that may change the number of PyTorch's threads; afterwards it is what it was."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def set_threads(module: nn.Module, plan: TrainingPlan, processes: int, device: torch.device) -> None:
    """Let as many threads compute on a CPU as a run has work for, unless the user has chosen their number.

    The number is a function of the run's settings and the machine, so a resumed run has the same. What was chosen by
    an environment variable or `torch.set_num_threads` stays.
    """
    if device.type == "cpu" and not is_chosen():
        torch.set_num_threads(min(torch.get_num_threads(), threads_for(module, plan, processes)))


def is_chosen() -> bool:
    """Whether the number of threads is someone's choice, and not PyTorch's, which is the number of cores."""
    allowed = psutil.Process().cpu_affinity() if hasattr(psutil.Process, "cpu_affinity") else None
    logical = len(allowed) if allowed else psutil.cpu_count()
    usual = {logical, min(logical or 1, psutil.cpu_count(logical=False) or 1)}
    return any(map(os.environ.get, VARIABLES)) or torch.get_num_threads() not in usual


def threads_for(module: nn.Module, plan: TrainingPlan, processes: int = 1) -> int:
    """The threads that a training has work for, at least 1: `WORK` for each in a matrix product of middle size.

    Args:
        module: the model.
        plan: the batches; a product has the tokens of a micro-batch of mean length.
        processes: how many share an update.
    """
    tokens = float((plan.lengths * plan.sizes).mean()) * plan.batch_size / (plan.accumulation * processes)
    layers = [part for part in module.modules() if not isinstance(part, nn.Embedding)]
    matrices = [weight.numel() for part in layers for weight in part.parameters(recurse=False) if weight.ndim == 2]
    middle = statistics.median(matrices) if matrices else 0
    return max(1, int(2 * middle * min(tokens, plan.micro_batch_tokens) / WORK))
