"""What rows of a table differ in besides models and settings: how checkpoints were chosen, and on what machine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.report.format import plural
from harness.results.record import Record


def evaluations_of(records: Iterable[Record]) -> tuple[int, ...]:
    """The numbers of evaluations that chose the checkpoints, each once, in order; older records have none."""
    return tuple(sorted({record.evaluations for record in records if record.evaluations is not None}))


def best_of_words(evaluations: Sequence[int]) -> str:
    """``each checkpoint is the best of 10 evaluations``; empty where nothing is known."""
    if not evaluations:
        return ""
    fewest = "" if len(evaluations) == 1 else f"{evaluations[0]} to "
    return f"each checkpoint is the best of {fewest}{plural(evaluations[-1], 'evaluation')}"
