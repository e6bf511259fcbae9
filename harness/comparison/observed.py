"""Records in, observations out: the runs of a model on a task, as the statistics take them.

All comes from the records: predictions, labels and the names of classes. A score that the observations do not give
again (a metric or `metric_inputs` of the user's own) has no statistics, and the reason is said.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.errors import HarnessError
from harness.io import digest
from harness.leaderboard.board import Column
from harness.results.answers import Answers, AnswersReader
from harness.results.fields import Damaged
from harness.results.record import Record
from harness.statistics.curves import AREAS, observe_area
from harness.statistics.influence import Observations, mean_of_metrics, mean_of_splits, observe
from harness.statistics.runs import collapsed_runs
from harness.statistics.sums import METRICS
from harness.task.answers import are_texts, text_exact_match, text_f1
from harness.task.entities import OUTSIDE, spans
from harness.task.usual_metrics import class_scores

Also = Callable[[Record, Mapping[tuple[str, str], Answers]], None]
TOLERANCE = 1e-6
"""By how much a score may differ from that of the record: records round nothing, sums of floats differ in order."""
OF_NUMBERS = ("pearson", "spearmanr", "mae", "rmse", "r2")
"""The metrics of regressions."""
WRONG = -1
"""The class that no answer has right."""


@dataclass(frozen=True, eq=False)
class Observed:
    """The runs of one model on one column.

    Attributes:
        seeds: of the runs, in order.
        parts: for each part of the column, the runs by its metric; None for a metric that does not count and that the
            statistics do not have, because records lack what it needs.
        score: the runs by what counts in averages (`Column.counted`).
        examples: equal for models that answered the same examples with the same labels.
        collapsed: the seeds whose runs gave nearly one answer to everything, while others did not.
    """

    seeds: tuple[int, ...]
    parts: tuple[Observations | None, ...]
    score: Observations
    examples: str
    collapsed: tuple[int, ...]


class Unobserved(HarnessError):
    """Why the runs of a model on a column have no statistics."""


class Reader:
    """Reads what records answered, each once; what was read last stays, for the diagnostics of the same runs.

    Args:
        also: is given each record with its answers.
    """

    def __init__(self, also: Also | None = None) -> None:
        self._kept: dict[str, dict[tuple[str, str], Answers]] = {}
        self._answers, self._also = AnswersReader(), also

    def read(self, record: Record) -> dict[tuple[str, str], Answers]:
        """As `read_answers`."""
        key = str(record.folder)
        if key not in self._kept:
            self._kept[key] = self._answers.read(record)
            if self._also:
                self._also(record, self._kept[key])
        return self._kept[key]

    def scores(self, record: Record, task: str, split: str) -> Sequence[Any] | None:
        """The scores behind the answers to a split, in their order; None of generated ones."""
        rows = [row for row in record.predictions() if (row["task"], row["split"]) == (task, split)]
        return [row["scores"] for row in rows] if rows and "scores" in rows[0] else None

    def forget(self) -> None:
        """Give the memory back."""
        self._kept.clear()
        self._answers.close()


def observed(column: Column, records: Mapping[int, Record], reader: Reader) -> Observed:
    """The runs of one model, by seed, on a column.

    Raises:
        Unobserved: predictions that are not there, or damaged, or that do not give the scores of the records.
    """
    if not records:
        raise Unobserved("no finished run")
    splits = list(dict.fromkeys(split for split, _ in column.parts))
    runs: dict[str, list[Answers]] = {split: [] for split in splits}
    for record in records.values():
        try:
            answers = reader.read(record)
        except Damaged as damage:
            raise Unobserved(str(damage)) from None
        for split in splits:
            if (column.task, split) not in answers:
                raise Unobserved(f"a record has no predictions of {column.task} {split}")
            runs[split].append(answers[column.task, split])
    for split, of_split in runs.items():
        if any(run.index != of_split[0].index or run.labels != of_split[0].labels for run in of_split):
            raise Unobserved(f"the seeds of {column.task} {split} are of different examples")
        if not of_split[0].labelled:
            raise Unobserved(f"{column.task} {split} has no labels")
    parts = {
        (split, metric): _part(column.task, split, metric, runs[split], records, reader)
        for split, metric in column.parts
        if (split, metric) in column.counted or _metric_name(column.task, metric, records) in {*METRICS, *AREAS}
    }
    counted = [(part[0], parts[part]) for part in column.counted]
    by_split = [[o for s, o in counted if s == split] for split in splits]
    of_splits = [own[0] if len(own) == 1 else mean_of_metrics(own) for own in by_split]
    return Observed(
        seeds=tuple(records),
        parts=tuple(map(parts.get, column.parts)),
        score=of_splits[0] if len(of_splits) == 1 else mean_of_splits(of_splits),
        examples=digest([[split, of_split[0].index, of_split[0].labels] for split, of_split in runs.items()]),
        collapsed=_collapsed(records, runs),
    )


def _collapsed(records: Mapping[int, Record], runs: Mapping[str, Sequence[Answers]]) -> tuple[int, ...]:
    if len(records) < 2:
        return ()
    predictions = [[p for run in of_seed for p in run.predictions] for of_seed in zip(*runs.values(), strict=True)]
    scores = bool(predictions[0]) and isinstance(predictions[0][0], float)
    if not predictions[0] or (scores and any(not math.isfinite(_number(p)) for run in predictions for p in run)):
        return ()
    which = collapsed_runs(predictions)
    return tuple(seed for seed, collapsed in zip(records, which, strict=True) if collapsed)


def _part(
    task: str, split: str, metric: str, runs: Sequence[Answers], records: Mapping[int, Record], reader: Reader
) -> Observations:
    """One metric of one split, checked against the scores of the records."""
    try:
        if metric in AREAS:
            found = _area(metric, task, runs, records, [reader.scores(r, task, split) for r in records.values()])
        else:
            found = _observations(_metric_name(task, metric, records), task, runs, records)
    except (HarnessError, TypeError, ValueError, IndexError, OverflowError) as error:
        raise Unobserved(f"{task} {metric} cannot be taken apart into examples: {error}") from None
    recorded = [record.scores.get(task, {}).get(split, {}).get(metric) for record in records.values()]
    for score, value in zip(recorded, found.scores.tolist(), strict=True):
        if score is None or abs((0.0 if math.isnan(score) else score) - value) > TOLERANCE:
            raise Unobserved(f"the predictions of {task} do not give the recorded {metric} again")
    return found


def _metric_name(task: str, key: str, records: Mapping[int, Record]) -> str:
    """The metric behind a key of scores; `cb_f1` has the key ``f1``."""
    metrics = next(iter(records.values())).settings.tasks.get(task, {}).get("metrics", ())
    return "cb_f1" if key == "f1" and "cb_f1" in metrics else key


def _observations(metric: str, task: str, runs: Sequence[Answers], records: Mapping[int, Record]) -> Observations:
    first = runs[0]
    clusters = cluster_names(first, paired="gender_parity" in _metrics(task, records))
    if metric not in METRICS:
        raise HarnessError(f"the statistics do not have the metric {metric}")
    labels = first.labels
    if are_texts(labels) and metric in ("f1", "exact_match"):
        score = text_score if metric == "f1" else text_match
        values = [[score(p, _texts(r)) for p, r in zip(run.predictions, labels, strict=True)] for run in runs]
        return observe("mean", np.array(values), np.zeros(len(labels)), clusters)
    names = label_names(task, records)
    if labels and isinstance(labels[0], list):
        if OUTSIDE in names:
            predicted = [_entities(run.predictions, names) for run in runs]
            return observe(metric, predicted, _entities(labels, names), clusters)
        rows = np.stack([_indicators(run.predictions, len(names)) for run in runs])
        return observe(metric, rows, _indicators(labels, len(names)), clusters)
    if metric in OF_NUMBERS:
        scores = np.array([[_number(p) for p in run.predictions] for run in runs])
        return observe(metric, scores, np.array(labels, dtype=float), clusters)
    groups = [_question(idx) for idx in first.idx] if metric in ("f1_a", "f1_m", "exact_match") else None
    if groups is not None and clusters is None:
        clusters = groups
    references = np.array(labels)
    if references.dtype.kind != "i":
        raise HarnessError("its labels are no class indices")
    classes = max(len(names), int(references.max()) + 1)
    predictions = np.stack([_classes(run.predictions) for run in runs])
    return observe(metric, predictions, references, clusters, groups, classes)


def _area(
    metric: str, task: str, runs: Sequence[Answers], records: Mapping[int, Record], scores: Sequence[Any]
) -> Observations:
    """A metric of the scores behind the answers."""
    labels, width = runs[0].labels, len(label_names(task, records))
    sides = [[run.predictions, labels] for run in runs]
    if isinstance(labels[0], list):
        sides = [[_indicators(side, width).tolist() for side in of_run] for of_run in sides]
    columns = [class_scores(answers, right, given) for (answers, right), given in zip(sides, scores, strict=True)]
    if metric == "auroc":
        columns = [[(right, score) for right, score in of_run if not right.all()] for of_run in columns]
    return observe_area(metric, columns, cluster_names(runs[0]))


def _metrics(task: str, records: Mapping[int, Record]) -> set[str]:
    return {metric for record in records.values() for of in record.scores.get(task, {}).values() for metric in of}


def label_names(task: str, records: Mapping[int, Record]) -> Sequence[str]:
    """The names of a task's classes as records have them; () where they do not."""
    record = next(iter(records.values()))
    return record.labels.get(task) or tuple(record.settings.tasks.get(task, {}).get("labels", ()))


# Rows ------------------------------------------------------------------------------------------------------------


def cluster_names(answers: Answers, paired: bool = False) -> list[Any] | None:
    """The clusters of the examples; None where each is alone.

    Where a record names none, official numbers tell passages and paragraphs, and ``paired`` rows follow one another.
    """
    if paired:
        return [position // 2 for position in range(len(answers.index))]
    if any(cluster is not None for cluster in answers.clusters):
        return [f"{i} alone" if c is None else c for i, c in zip(answers.index, answers.clusters, strict=True)]
    if not isinstance(answers.idx[0], dict):
        return None
    passages = [idx.get("passage", idx.get("paragraph")) if isinstance(idx, dict) else None for idx in answers.idx]
    return None if None in passages else passages


def _question(idx: Any) -> tuple[Any, Any]:
    if not isinstance(idx, dict) or not {"paragraph", "question"} <= idx.keys():
        raise HarnessError("its predictions do not name their questions")
    return idx["paragraph"], idx["question"]


def _classes(predictions: Sequence[Any]) -> np.ndarray:
    """(n,) class indices, as the metrics read predictions; what is none is the wrong class."""
    if set(map(type, predictions)) == {int}:
        return np.clip(np.array(predictions), WRONG, None)
    rows = [value if isinstance(value, int | float) else WRONG for value in predictions]
    return np.array([int(value) if value == value // 1 and 0 <= value < 2**31 else WRONG for value in rows])


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float(WRONG)


def _indicators(rows: Sequence[Any], width: int) -> np.ndarray:
    """(n, width) of 0 and 1 from lists of class indices."""
    matrix = np.zeros((len(rows), width), dtype=np.int64)
    for i, row in enumerate(rows):
        if isinstance(row, list):
            matrix[i, row] = 1
    return matrix


def _entities(rows: Sequence[Any], names: Sequence[str]) -> list[list[Any]]:
    return [spans([names[i] for i in row]) if isinstance(row, list) else [] for row in rows]


def _texts(label: Any) -> tuple[str, ...]:
    return (label,) if isinstance(label, str) else tuple(label)


@functools.lru_cache(maxsize=200_000)
def text_score(prediction: Any, answers: tuple[str, ...]) -> float:
    """The token F1 of one text answer."""
    return text_f1([prediction], [list(answers)])["f1"]


@functools.lru_cache(maxsize=200_000)
def text_match(prediction: Any, answers: tuple[str, ...]) -> float:
    """Whether one text answer is right."""
    return text_exact_match([prediction], [list(answers)])["exact_match"]
