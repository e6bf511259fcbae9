"""Hand-made records with predictions, on disk, for the tests of statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hand_made import SUITES, TASKS, entries, record

from harness.leaderboard.board import Leaderboard
from harness.report.boards import leaderboard
from harness.results.record import Record
from harness.results.store import Store
from harness.task.metrics import compute_metrics

N = 400
LABELS = np.random.default_rng(0).integers(0, 2, N)


def rows(task: str, split: str, predictions: Sequence[Any], labels: Sequence[Any]) -> list[dict[str, Any]]:
    """Lines of predictions.jsonl."""
    return [
        {"task": task, "split": split, "index": i, "idx": i, "label": label, "prediction": p, "scores": [[0.0, 0.0]]}
        for i, (p, label) in enumerate(zip(predictions, labels, strict=True))
    ]


class Answered:
    """Writes records with predictions into a store, with the scores that these have."""

    def __init__(self, folder: Path):
        self.store = Store(folder, "mini")

    def __call__(self, name: str, model: str, seed: int, right: float | Sequence[int], **changes: Any) -> Record:
        """A run with this share of right answers (drawn anew for each), or with these predictions."""
        rng = np.random.default_rng([seed, *map(ord, name + model)])
        predictions = right if not isinstance(right, float) else np.where(rng.random(N) < right, LABELS, 1 - LABELS)
        own, scores = [], dict[str, Any]()
        tasks = [TASKS[name], *(task for task in TASKS.values() if task.evaluated_by == name)]
        for task in tasks:
            for split in task.validation_splits:
                found = rows(task.name, split, np.asarray(predictions).tolist(), LABELS.tolist())
                values = compute_metrics(task.metrics, [r["prediction"] for r in found], LABELS.tolist())
                own += found
                scores.setdefault(task.name, {})[split] = values
        history = changes.pop("history", ())
        made = record(name, model, seed, scores=changes.pop("scores", scores), **changes)
        return self.store.write(made, predictions=own, history=history)


def board(*records: Any, **options: Any) -> Leaderboard:
    return leaderboard(entries(*records), TASKS, SUITES, benchmark="mini", **options)


def seeds(
    answered: Answered, shares: Mapping[str, float], number: int = 3, name: str = "one", **changes: Any
) -> list[Record]:
    return [
        answered(name, model, seed, share, **changes)
        for model, share in shares.items()
        for seed in range(1, number + 1)
    ]
