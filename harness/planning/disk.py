"""How much disk the runs of a benchmark take."""

from __future__ import annotations

from collections.abc import Sequence

from harness.format import memory
from harness.planning.work import Work


def disk_of(works: Sequence[Work], keep: str) -> str:
    """A line: the weights of checkpoints, the state of a run under way, and the models that are kept.

    Args:
        works: the runs.
        keep: which models stay, as the benchmark says.
    """
    weights = {work.model: 4 * work.parameters for work in works if work.parameters is not None}
    if not weights:
        return "disk: not known, as the sizes of the models are not"
    states = [work.training_bytes or 0 for work in works]
    parts = [f"{memory(sum(weights.values()))} for the weights of the models in fp32"]
    parts.append(f"up to {memory(max(states))} for the state of each run under way")
    if kept := _kept(works, weights, keep):
        parts.append(f"{memory(kept)} for the models that are kept (keep: {keep})")
    return f"disk: {', '.join(parts)}"


def _kept(works: Sequence[Work], weights: dict[str, int], keep: str) -> int:
    runs = {(work.task, work.model, work.seed if keep != "best" else 0) for work in works}
    return 0 if keep == "none" else sum(weights.get(model, 0) for _, model, _ in runs)
