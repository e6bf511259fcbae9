"""How long `compare` takes on records of realistic size: 3 models x 20 tasks x 5 seeds, as large as GLUE and SuperGLUE.

Makes records with drawn predictions (once, in FOLDER), and then times `python -m harness compare` and `report` as
processes of their own:

    python scripts/compare_speed.py FOLDER [--seeds 5]
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from harness.io import plain
from harness.results.fingerprint import RunSettings
from harness.results.record import Record
from harness.results.store import Store
from harness.task.functions import metric_inputs
from harness.task.metrics import compute_metrics
from harness.task.plugins import load_plugins
from harness.task.task import Task

SIZES = {
    "cola": 1043, "sst2": 872, "mrpc": 408, "stsb": 1500, "qqp": 40430, "mnli": 9815, "qnli": 5463, "rte": 277,
    "wnli": 71, "ax": 1104, "boolq": 3270, "cb": 56, "copa": 100, "multirc": 4848, "record": 10000,
    "superglue_rte": 277, "wic": 638, "wsc": 104, "axb": 1104, "axg": 356,
}  # fmt: skip
MODELS = {"first": 0.84, "second": 0.85, "third": 0.80}
"""The share of right answers of each."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    if not (options.folder / "sizes").is_dir():
        make(options.folder, options.seeds)
    shutil.rmtree(options.folder / ".cache", ignore_errors=True)
    print("The first reads all predictions, the others take their columns from the cache.")
    for command in (["compare", "first", "second"], ["compare", "first", "second"], ["compare"], ["report"]):
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "harness", *command, str(options.folder)], check=True, capture_output=True
        )
        print(f"{' '.join(command)}: {time.perf_counter() - start:.1f} s")


def make(folder: Path, seeds: int) -> None:
    """Write the records."""
    tasks = load_plugins().tasks
    store = Store(folder, "sizes")
    fingerprints = {}
    for task in (task for name, task in tasks.items() if name in SIZES and task.evaluated_by is None):
        answered = [
            task,
            *(other for other in tasks.values() if other.evaluated_by == task.name and other.name in SIZES),
        ]
        for model in MODELS:
            for seed in range(1, seeds + 1):
                record, rows = drawn(answered, model, seed)
                store.write(record, predictions=rows)
                fingerprints[task.name, model, seed] = record.fingerprint
    store.update_manifest(fingerprints, {"data": "hub"}, table={"tasks": list(SIZES)})


def drawn(tasks: list[Task], model: str, seed: int) -> tuple[Record, list[dict[str, Any]]]:
    """A record with drawn predictions, and its predictions."""
    rng = np.random.default_rng([seed, [*MODELS].index(model), SIZES[tasks[0].name]])
    quality = MODELS[model] + 0.01 * rng.normal()
    rows: list[dict[str, Any]] = []
    scores: dict[str, dict[str, dict[str, float]]] = {}
    for task in tasks:
        for split in task.validation_splits:
            own = list(answers(task, split, quality, rng))
            rows += own
            examples = [{"idx": row["idx"], task.label_field: row["label"]} for row in own]
            pairs = [metric_inputs(task, row["prediction"], e) for row, e in zip(own, examples, strict=True)]
            values = compute_metrics(task.metrics, [p for p, _ in pairs], [r for _, r in pairs])
            scores.setdefault(task.name, {})[split] = values
    settings = RunSettings(
        score_version=1,
        model={"architecture": "bert", "content": f"{[*MODELS].index(model):064x}"},
        tasks={task.name: plain(task.definition()) for task in tasks},
        data={task.name: {"source": "hub", "revision": "b" * 40} for task in tasks},
        selection="validation",
        recipe={"learning_rate": 1e-4},
        seed=seed,
    )
    seconds = 60 * float(rng.lognormal(0.0, 0.05))
    efficiency = {"train_seconds": seconds, "train_examples_per_second": 3000 / seconds}
    record = Record(
        fingerprint=settings.fingerprint,
        status="finished",
        task=tasks[0].name,
        model=model,
        settings=settings,
        scores=scores,
        columns={t.name: {"title": t.title, "suite": t.suite, "parts": t.score_parts} for t in tasks},
        parameters={"total": 110_000_000, "trained": 110_000_000},
        efficiency=efficiency,
    )
    return record, rows


def answers(task: Task, split: str, quality: float, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Rows as a run leaves them: right with the probability ``quality``; labels are the same for all."""
    n = SIZES[task.name]
    labels = np.random.default_rng(n).integers(0, max(len(task.labels), 2), n)
    wrong = rng.random(n) > quality
    noise = rng.normal(size=n)
    for i in range(n):
        row: dict[str, Any] = {"task": task.name, "split": split, "index": i, "idx": i}
        label, logits = int(labels[i]), [[round(float(noise[i]), 6), round(float(-noise[i]), 6)]]
        if task.name == "record":
            names = [f"Person {(i + k) % 97} of the Town" for k in range(3)]
            yield {
                **row, "idx": {"passage": i // 2, "query": i}, "label": names[:2],
                "prediction": names[2] if wrong[i] else names[0], "scores": logits * 3,
            }  # fmt: skip
        elif not task.problem.has_labels:
            score = float(np.clip(label * 2.5 + noise[i], 0, 5))
            yield {**row, "label": round(label * 2.5, 3), "prediction": score, "scores": [[score]]}
        else:
            if task.name == "multirc":
                row["idx"] = {"paragraph": i // 58, "question": i // 5, "answer": i}
            prediction = (label + 1) % max(len(task.labels), 2) if wrong[i] else label
            yield {**row, "label": label, "prediction": prediction, "scores": logits}


if __name__ == "__main__":
    main()
