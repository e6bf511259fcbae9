"""Hand-made records of a small suite, and what a page shows of them, for the tests of reports."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from harness.io import fingerprint
from harness.leaderboard.board import Leaderboard
from harness.report.boards import leaderboard
from harness.results.record import Caveat, CaveatKind, Record
from harness.results.store import Entry
from harness.task.task import Suite, Task

NAN = math.nan


def task(name: str, title: str, metrics: tuple[str, ...] = ("accuracy",), **options: Any) -> Task:
    options = {"suite": "mini", "problem_type": "single_label_classification", "labels": ("no", "yes"), **options}
    return Task(name=name, title=title, text_fields=("text",), metrics=metrics, **options)


TASKS = {
    t.name: t
    for t in (
        task("one", "One"),
        task("pair", "Pair", ("f1", "accuracy"), selection_metric="mean"),
        task("nli", "NLI", validation_splits=("validation_matched", "validation_mismatched")),
        task(
            "probe",
            "Probe",
            ("matthews_correlation",),
            evaluated_by="nli",
            train_split=None,
            validation_splits=("test",),
        ),
    )
}
SUITES = {"mini": Suite("mini", "Mini", {"Mini avg": ("one", "pair", "nli"), "Mini avg (2)": ("one", "pair")})}

SCORES: dict[str, dict[str, dict[str, dict[str, float]]]] = {
    "one": {"one": {"validation": {"accuracy": 0.8}}},
    "pair": {"pair": {"validation": {"f1": 0.9, "accuracy": 0.7}}},
    "nli": {
        "nli": {"validation_matched": {"accuracy": 0.6}, "validation_mismatched": {"accuracy": 0.5}},
        "probe": {"test": {"matthews_correlation": 0.25}},
    },
}


def record(name: str, model: str = "bert", seed: int = 1, scores: Any = None, **changes: Any) -> Record:
    """A finished record of a trained task; ``plus`` is added to every score, ``settings`` change some of them."""
    plus, changed = changes.pop("plus", 0.0), changes.pop("settings", {})
    times = {"train_seconds": 90.0, "train_examples_per_second": 50.25, "inference_rates": {"1": 99.5, "32": 1234.5}}
    data = {
        "fingerprint": fingerprint({"task": name, "model": model, "seed": seed}),
        "status": "finished",
        "benchmark": "mini",
        "task": name,
        "model": model,
        "scores": add(SCORES[name] if scores is None else scores, plus),
        "missing": {},
        "invalid": {},
        "counts": {name: {"train": 100}},
        "steps": 10,
        "best_step": 5,
        "selection_score": 0.5,
        "parameters": {"total": 22_713_216, "trained": 22_700_000},
        "settings": {**settings(name, seed), **changed},
        "checkpoint": "google-bert/bert-base-uncased",
        "revision": "86b5e0934494bd15",
        "provenance": {"harness": "0.1.0"},
        "efficiency": times,
        **changes,
    }
    return Record.model_validate(data)


def settings(name: str = "cola", seed: int = 1) -> dict[str, Any]:
    """All that decides the scores of a run."""
    return {
        "score_version": 1,
        "model": {"architecture": "bert", "content": "c" * 64},
        "data": {name: {"source": "hub", "revision": "bcdcba79d07bc864"}},
        "selection": "validation",
        "recipe": {"learning_rate": 1e-4},
        "seed": seed,
    }


def caveats(*kinds: CaveatKind) -> tuple[Caveat, ...]:
    return tuple(Caveat(kind=kind) for kind in kinds)


def add(scores: Any, plus: float) -> Any:
    if isinstance(scores, Mapping):
        return {key: add(value, plus) for key, value in scores.items()}
    return scores + plus


def failed(name: str, reason: str, **options: Any) -> Record:
    error = {"error": reason, "traceback": f"Traceback ...\nRuntimeError: {reason}"}
    return record(name, scores={}, status="failed", parameters={}, efficiency={}, **error, **options)


def entries(*records: Record | tuple[str, str, int]) -> list[Entry]:
    return [(*r, None) if isinstance(r, tuple) else (r.task, r.model, r.seed, r) for r in records]


def board(*records: Record | tuple[str, str, int], **options: Any) -> Leaderboard:
    return leaderboard(entries(*records), TASKS, SUITES, benchmark="mini", **options)


def cells(page: str, model: str, section: str = "Mini") -> dict[str, str]:
    """A row of a page's table by header."""
    lines = page.split(f"## {section}\n")[1].split("\n## ")[0].splitlines()
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    (row,) = [row for row in table[2:] if row[0].strip("*").split(" [")[0].rstrip("*") == model]
    return dict(zip(table[0], row, strict=True))
