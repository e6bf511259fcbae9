"""Test predictions out of records, as submission files need them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.data.datasets import load_examples, open_examples
from harness.errors import HarnessError, did_you_mean
from harness.results.record import Record
from harness.results.store import Store
from harness.submission.write import Row, SubmissionFile
from harness.task.plugins import load_tasks
from harness.task.task import Task

Predictions = dict[tuple[str, str], list[Row]]


def test_predictions(store: Store, model: str, *, seed: int | None = None, best: bool = False) -> Predictions:
    """The test predictions of a model's current runs: (task, split) to rows of (idx, prediction).

    Raises:
        HarnessError: no such model, no test predictions, several seeds without a choice.
    """
    records = {(task, s): record for task, m, s, record in store.current() if m == model and record is not None}
    models = sorted({m for _, m, _, _ in store.current()})
    if not models:
        raise HarnessError(f"{store.folder}: no results of benchmark '{store.benchmark}' here; 'run' makes them")
    if model not in models:
        hint = f"{did_you_mean(model, models)} There are: {', '.join(models)}"
        raise HarnessError(f"no model '{model}' in benchmark '{store.benchmark}'.{hint}")
    latest = {record.predicts_tests_of: record for record in sorted(store.records(), key=_written)}
    found: Predictions = {}
    for run in _choose(records, seed, best):
        for row in latest[run.fingerprint].predictions() if run.fingerprint in latest else ():
            idx = row["idx"] if row.get("idx") is not None else row["index"]
            found.setdefault((row["task"], row["split"]), []).append((idx, row["prediction"]))
    if not found:
        raise HarnessError(
            f"benchmark '{store.benchmark}' has no test predictions of '{model}': run it with 'predict: [test]'"
        )
    return found


def _written(record: Record) -> int:
    """When: after a change of the test data, a run has test predictions of the old and of the new."""
    return record.folder.stat().st_mtime_ns if record.folder else 0


def _choose(records: Mapping[tuple[str, int], Record], seed: int | None, best: bool) -> list[Record]:
    seeds = sorted({s for _, s in records})
    if best:
        tasks = {task for task, _ in records}
        return [max((r for (t, _), r in records.items() if t == task), key=_primary) for task in sorted(tasks)]
    if seed is None and len(seeds) > 1:
        raise HarnessError(f"there are seeds {', '.join(map(str, seeds))}: choose with --seed N, or --best")
    if seed is not None and seed not in seeds:
        raise HarnessError(f"there is no seed {seed}: there are {', '.join(map(str, seeds))}")
    return [record for (_, s), record in records.items() if seed is None or s == seed]


def _primary(record: Record) -> float:
    return float("-inf") if record.selection_score is None else record.selection_score


def majorities(
    files: Iterable[SubmissionFile],
    predictions: Predictions,
    store: Store,
    plugins: Sequence[str | Path] = (),
    data: str | Path | None = None,
) -> dict[str, Any]:
    """For each task without predictions, what fills its rows: the most frequent answer.

    It is counted in the training examples of ``data``, or, without it, in the labels of the benchmark's records (no
    labels: the first class). A score is the middle of its range. MultiRC and ReCoRD, whose rows are not just
    numbered, are filled only with ``data``.
    """
    tasks = load_tasks(plugins)
    fill: dict[str, Any] = {}
    for file in files:
        if (file.task, file.split) in predictions:
            continue
        task = tasks[file.task]
        if not task.problem.has_labels:
            fill[file.task] = sum(task.score_range or (0.0, 0.0)) / 2
        elif file.kind == "label":
            fill[file.task] = _majority(task, store, data)
        elif data is not None:
            answer = _majority(task, store, data) if file.kind == "answers" else None
            rows = load_examples(task, data, file.split)
            fill[file.task] = [(row["idx"], answer if answer is not None else row["entities"][0]) for row in rows]
    return fill


def _majority(task: Task, store: Store, data: str | Path | None) -> int:
    if data is not None and task.train_split is not None:
        labels = Counter(example["label"] for example in open_examples(task, data, task.train_split))
    else:
        rows = (row for *_, record in store.current() if record for row in record.predictions())
        labels = Counter(row["label"] for row in rows if row["task"] == task.name and row["label"] is not None)
    return int(labels.most_common(1)[0][0]) if labels else 0
