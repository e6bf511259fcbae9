"""How well each single label, or each type of entity, is predicted: counted in the predictions of records."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.io import remove, write_file
from harness.report.format import percent
from harness.results.record import Answer, Damaged, Record
from harness.results.store import Entry
from harness.task.entities import OUTSIDE, entity_types, spans

FILE = "labels.md"
LEGEND = "F1 x 100 of each label on the {split} split, mean over seeds; support: how often the label is right.\n"


@dataclass(frozen=True)
class LabelScore:
    """What the predictions say about one label; precision and F1 are 0 where it is never predicted."""

    label: str
    support: int
    predicted: int
    hits: int

    @property
    def precision(self) -> float:
        return self.hits / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        return self.hits / self.support if self.support else 0.0

    @property
    def f1(self) -> float:
        return 2 * self.hits / (self.predicted + self.support) if self.hits else 0.0


def label_scores(record: Record) -> dict[tuple[str, str], list[LabelScore]]:
    """By (task, split), a score for each label of multi-label tasks and each entity type of token classification.

    An entity is right when its type, its first and its last word are. Unlabelled splits have no scores.
    """
    names = record.labels
    if not names:
        return {}
    counts: dict[tuple[str, str], tuple[Counter[str], Counter[str], Counter[str]]] = {}
    for row in record.predictions():
        task = row["task"]
        if task not in names or row["label"] is None:
            continue
        try:
            right, predicted = (_things(names[task], answer) for answer in (row["label"], row["prediction"]))
        except ValueError:
            raise Damaged(f"{record.folder}: a prediction that names none of the labels of {task}") from None
        found = counts.setdefault((task, row["split"]), (Counter(), Counter(), Counter()))
        for counter, things in zip(found, (right, predicted, right & predicted), strict=True):
            counter.update(label for label, *_ in things)
    return {
        key: [LabelScore(label, right[label], predicted[label], hits[label]) for label in _labels(names[key[0]])]
        for key, (right, predicted, hits) in counts.items()
    }


def _things(names: Sequence[str], answer: Answer) -> set[tuple[Any, ...]]:
    """The labels of an example, or its entities, each beginning with its label.

    Raises:
        ValueError: the answer is no list of indices of the labels.
    """
    indices = [i for i in answer if isinstance(i, int) and 0 <= i < len(names)] if isinstance(answer, list) else []
    if indices != answer:
        raise ValueError(answer)
    if OUTSIDE in names:
        return set(spans([names[i] for i in indices]))
    return {(names[i],) for i in indices}


def _labels(names: Sequence[str]) -> Sequence[str]:
    return entity_types(names) if OUTSIDE in names else names


def label_rows(record: Record) -> Iterable[tuple[str, str, list[tuple[str, str]]]]:
    """For each task and split with labels of its own, rows of text: the label, and its scores."""
    for (task, split), scores in label_scores(record).items():
        yield (
            task,
            split,
            [
                (
                    score.label,
                    f"precision {percent(score.precision, 1):>5}  recall {percent(score.recall, 1):>5}  "
                    f"F1 {percent(score.f1, 1):>5}  support {score.support}",
                )
                for score in scores
            ],
        )


def write_label_tables(folder: Path, entries: Mapping[str, Iterable[Entry]]) -> None:
    """Write labels.md beside a leaderboard, or remove it, where no task's labels are scored one by one.

    Args:
        folder: of the benchmark.
        entries: ``Store.current()`` of each results folder, by its name.

    Raises:
        HarnessError: the disk says no.
    """
    text = label_tables(entries)
    if text:
        write_file(folder / FILE, text.encode())
    else:
        remove(folder / FILE)


def label_tables(entries: Mapping[str, Iterable[Entry]]) -> str:
    """A Markdown table for each such task and split: a row for each label, a column for each model."""
    cells: dict[tuple[str, str], dict[str, list[list[LabelScore]]]] = {}
    damages = []
    for folder, found in entries.items():
        for _, model, _, record in found:
            name = f"{model} ({folder})" if len(entries) > 1 else model
            try:
                of_split = label_scores(record) if record and record.finished else {}
            except Damaged as damage:
                damages.append(f"Not counted: {damage}\n")
                continue
            for key, scores in of_split.items():
                cells.setdefault(key, {}).setdefault(name, []).append(scores)
    blocks = [
        f"## {task}\n\n{LEGEND.format(split=split)}\n{_table(of_model)}" for (task, split), of_model in cells.items()
    ]
    return "\n".join([*blocks, *damages])


def _table(of_model: Mapping[str, Sequence[Sequence[LabelScore]]]) -> str:
    from tabulate import tabulate

    first = next(iter(of_model.values()))[0]
    rows = [
        [score.label, score.support, *(_mean_f1(seeds, i) for seeds in of_model.values())]
        for i, score in enumerate(first)
    ]
    aligned = ("left", "right", *["right"] * len(of_model))
    headers = ["Label", "Support", *of_model]
    return tabulate(rows, headers, tablefmt="pipe", colalign=aligned, disable_numparse=True) + "\n"


def _mean_f1(seeds: Sequence[Sequence[LabelScore]], label: int) -> str:
    return percent(statistics.fmean(scores[label].f1 for scores in seeds), 1)
