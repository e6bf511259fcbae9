"""labels.md: how well each class and label is predicted, and which classes are taken for which."""

from __future__ import annotations

import contextlib
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.format import escape, markdown_table, percent, plural
from harness.results.answers import Answers, read_answers
from harness.results.fields import Damaged
from harness.results.record import Answer, Record
from harness.results.store import Entry
from harness.task.entities import OUTSIDE, entity_types, spans
from harness.task.problem_types import PROBLEM_TYPES

MOST_CLASSES = 20
"""Confusion matrices have at most so many classes."""
NO_CLASS = "(no class)"
"""The column of predictions that are none."""


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class SplitLabels:
    """How a run answered to the labels of a split.

    Attributes:
        scores: one for each label.
        confusion: how often (reference, prediction) stand together, by class index, -1 for a prediction that is none;
            empty unless each example has one class.
    """

    scores: tuple[LabelScore, ...]
    confusion: Mapping[tuple[int, int], int]


def label_scores(record: Record, classes: bool = True) -> dict[tuple[str, str], SplitLabels]:
    """By (task, split), the labels of multi-label tasks, entity types of token classification, and classes.

    An entity is right when its type, its first and its last word are. Unlabelled splits have no scores.

    Args:
        classes: the classes of tasks with one class for each example, too.

    Raises:
        Damaged: predictions that cannot be read, or that name no label.
    """
    single = _single(record, classes)
    return _scores(record, single, read_answers(record)) if record.labels or single else {}


class LabelScores:
    """The label scores of records: kept when something else reads their answers, or computed when they are asked for.

    Args:
        classes: as of `label_scores`.
    """

    def __init__(self, classes: bool) -> None:
        self._classes = classes
        self._kept: dict[str, dict[tuple[str, str], SplitLabels]] = {}

    def keep(self, record: Record, answers: Mapping[tuple[str, str], Answers]) -> None:
        """Those of a record whose answers are at hand."""
        with contextlib.suppress(Damaged):  # is raised again when they are asked for
            self._kept[str(record.folder)] = _scores(record, _single(record, self._classes), answers)

    def of(self, record: Record) -> dict[tuple[str, str], SplitLabels]:
        """As `label_scores`."""
        kept = self._kept.get(str(record.folder))
        return label_scores(record, self._classes) if kept is None else kept


def _single(record: Record, classes: bool) -> dict[str, Sequence[str]]:
    """The names of the classes of tasks with one for each example."""
    return {task: names for task in record.settings.tasks if (names := _classes(record, task))} if classes else {}


def _scores(
    record: Record, single: Mapping[str, Sequence[str]], of_splits: Mapping[tuple[str, str], Answers]
) -> dict[tuple[str, str], SplitLabels]:
    scores = {}
    for (task, split), answers in of_splits.items():
        if any(label is not None for label in answers.labels):
            if task in record.labels:
                scores[task, split] = _of_labels(record, task, answers)
            elif task in single:
                scores[task, split] = _of_classes(record, single[task], answers)
    return scores


def _classes(record: Record, task: str) -> Sequence[str]:
    """The names of the classes of a task with one for each example; () of another."""
    definition = record.settings.tasks[task]
    problem = PROBLEM_TYPES.get(str(definition.get("problem_type")))
    if problem is None or not problem.weighs_classes or definition.get("open_answers"):
        return ()
    return tuple(map(str, definition.get("labels", ())))


def _of_classes(record: Record, names: Sequence[str], answers: Answers) -> SplitLabels:
    every = range(len(names))
    confusion: dict[tuple[int, int], int] = {}
    support, predicted, hits = ([0] * (len(names) + 1) for _ in range(3))  # the last one: of what is no class
    for (label, prediction), count in _pairs(answers).items():
        if label is None:
            continue
        if label not in every:
            raise Damaged(f"{record.folder}: a label that is none of {', '.join(names)}")
        label, answer = int(label), int(prediction) if prediction in every else -1
        confusion[label, answer] = confusion.get((label, answer), 0) + count
        support[label] += count
        predicted[answer] += count
        hits[label] += count if label == answer else 0
    scores = [LabelScore(name, support[i], predicted[i], hits[i]) for i, name in enumerate(names)]
    return SplitLabels(tuple(scores), confusion)


def _pairs(answers: Answers) -> Counter[tuple[Any, Any]]:
    """How often (label, prediction) stand together; a prediction that cannot be counted is none."""
    try:
        return Counter(zip(answers.labels, answers.predictions, strict=True))
    except TypeError:
        plain = [None if isinstance(prediction, list) else prediction for prediction in answers.predictions]
        return Counter(zip(answers.labels, plain, strict=True))


def _of_labels(record: Record, task: str, answers: Answers) -> SplitLabels:
    names = record.labels[task]
    right, predicted, hits = Counter[str](), Counter[str](), Counter[str]()
    for label, prediction in zip(answers.labels, answers.predictions, strict=True):
        if label is None:
            continue
        try:
            own, said = (_labelled(names, answer) for answer in (label, prediction))
        except ValueError:
            raise Damaged(f"{record.folder}: a prediction that names none of the labels of {task}") from None
        for counter, labelled in zip((right, predicted, hits), (own, said, own & said), strict=True):
            counter.update(name for name, *_ in labelled)
    counted = entity_types(names) if OUTSIDE in names else names
    return SplitLabels(tuple(LabelScore(name, right[name], predicted[name], hits[name]) for name in counted), {})


def _labelled(names: Sequence[str], answer: Answer) -> set[tuple[Any, ...]]:
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


# The page --------------------------------------------------------------------------------------------------------


def label_tables(entries: Mapping[str, Iterable[Entry]], of_records: LabelScores) -> str:
    """The content of labels.md: for each task and split, a row for each label and a column for each model.

    Args:
        entries: ``Store.current()`` of each results folder, by its name.
        of_records: gives those of each record.

    Returns:
        Markdown; empty where no task is scored label by label.
    """
    scores: dict[tuple[str, str], dict[str, list[SplitLabels]]] = {}
    damages = []
    for folder, of_folder in entries.items():
        for _, model, _, record in of_folder:
            name = f"{model} ({folder})" if len(entries) > 1 else model
            for run in filter(None, (record, record.tests)) if record and record.finished else ():
                try:
                    of_run = of_records.of(run)
                except Damaged as damage:
                    damages.append(f"Not counted: {damage}\n")
                    continue
                for key, of_split in of_run.items():
                    scores.setdefault(key, {}).setdefault(name, []).append(of_split)
    return "\n".join([*(_page(*key, of_model) for key, of_model in scores.items()), *damages])


def _page(task: str, split: str, of_model: Mapping[str, Sequence[SplitLabels]]) -> str:
    blocks = [
        f"## {task}",
        f"F1 x 100 of each label on the {split} split, mean over seeds; support: how often the label is right.",
        _label_table(of_model),
        *_confusions(of_model),
    ]
    return "\n\n".join(blocks) + "\n"


def _label_table(of_model: Mapping[str, Sequence[SplitLabels]]) -> str:
    first = next(iter(of_model.values()))[0].scores
    rows = []
    for i, score in enumerate(first):
        means = [statistics.fmean(of_run.scores[i].f1 for of_run in seeds) for seeds in of_model.values()]
        rows.append([score.label, str(score.support), *map(percent, means)])
    return markdown_table(["Label", "Support", *of_model], rows)


def _confusions(of_model: Mapping[str, Sequence[SplitLabels]]) -> Iterable[str]:
    """A matrix for each model, of all its seeds together."""
    names = [score.label for score in next(iter(of_model.values()))[0].scores]
    if len(names) > MOST_CLASSES or not all(of_run.confusion for seeds in of_model.values() for of_run in seeds):
        return
    yield "What was predicted for each reference:"
    for model, seeds in of_model.items():
        counts = Counter[tuple[int, int]]()
        for of_run in seeds:
            counts.update(of_run.confusion)
        columns = [*range(len(names)), *([-1] if any(prediction < 0 for _, prediction in counts) else [])]
        rows = [[name, *(str(counts[i, column]) for column in columns)] for i, name in enumerate(names)]
        headers = [f"{model}, {plural(len(seeds), 'seed')}", *(NO_CLASS if i < 0 else names[i] for i in columns)]
        yield markdown_table([*map(escape, headers)], [[*map(escape, row)] for row in rows], escaped=True)
