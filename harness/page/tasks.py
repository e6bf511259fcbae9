"""One fold for each task: recipes, confusions or residuals, and the examples that are worth a look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from harness.comparison.observed import label_names
from harness.format import cut, percent, score_number
from harness.inspection.examples import Reading, answer_text, errors_of, problem_of
from harness.inspection.source import Source
from harness.leaderboard.board import Column, Leaderboard
from harness.leaderboard.build import Runs
from harness.leaderboard.notes import finished
from harness.page.qualities import Quality, ordered
from harness.report.words import score_words
from harness.results.answers import Answers, AnswersReader
from harness.results.fields import Damaged
from harness.results.record import Record

MODELS = 6
"""The best models of a task, whose answers are shown."""
SEEDS = 5
"""Runs of each that are read."""
CLASSES = 12
"""Up to so many classes there is a confusion matrix."""
HARDEST, DISAGREEMENTS = 4, 8
"""Examples that are shown of each task."""
WIDTH = 160
"""Characters of an answer; of a text they are `harness.inspection.examples.WIDTH`."""
ANSWERS_READ = 4_000_000
"""Answers up to which tasks are read; the folds of later ones have recipes only."""


@dataclass(frozen=True)
class Confusion:
    """How often a model answered what, over its runs: rows are references, columns answers."""

    model: str
    names: list[str]
    rows: list[tuple[str, list[tuple[int, float]]]]


@dataclass(frozen=True)
class ShownExample:
    """An example: what the runs of each model answered, and how many of them were wrong."""

    index: int
    split: str
    texts: list[str]
    reference: str
    answers: list[tuple[str, str]]
    kind: str


@dataclass(frozen=True)
class TaskFold:
    """What a task's fold shows."""

    task: str
    title: str
    words: str
    best: str
    facts: list[str]
    shared: dict[str, str]
    settings: list[str]
    recipes: list[tuple[str, list[str]]]
    models: list[str] = field(default_factory=list)
    confusions: list[Confusion] = field(default_factory=list)
    table: tuple[list[str], list[list[str]]] = ([], [])
    caption: str = ""
    examples: list[ShownExample] = field(default_factory=list)
    reason: str = ""


Seen = dict[str, list[tuple[Record, Answers]]]
"""By the names of models, the runs that are looked at and what they answered."""


def folds(
    board: Leaderboard, runs: Runs, shown: Sequence[Quality], source: Source | None, live: bool
) -> list[TaskFold]:
    """A fold for each column.

    Args:
        source: the data, to show the texts of examples; None: without texts.
        live: runs are still being done: predictions are not read.
    """
    by_key = {quality.key: quality for quality in shown}
    budget, made, reader = ANSWERS_READ, [], AnswersReader()
    for column in board.columns:
        records = _records(board, runs, column, by_key[column.task])
        seen: dict[str, Seen] = {}
        if not live and budget > 0:
            seen = _answers(column, records, reader)
            budget -= sum(len(a.index) for of_split in seen.values() for own in of_split.values() for _, a in own)
        made.append(_fold(column, records, seen, source, by_key[column.task]))
    reader.close()
    return made


def _records(board: Leaderboard, runs: Runs, column: Column, quality: Quality) -> dict[str, list[Record]]:
    """The runs of the best models of a task."""
    keys = {row.name: (row.folder, row.model) for row in board.rows}
    records = {name: finished(runs[keys[name]].get(column.answered_by, {})) for name in ordered([*keys], quality)}
    return {name: own for name, own in list(records.items())[:MODELS] if own}


def _answers(column: Column, records: Mapping[str, Sequence[Record]], reader: AnswersReader) -> dict[str, Seen]:
    """By split what was answered, where all runs answered the same examples."""
    by_split: dict[str, Seen] = {}
    for name, own in records.items():
        for record in own[:SEEDS]:
            try:
                answers = reader.read(record)
            except Damaged:
                continue
            for split in dict.fromkeys(split for split, _ in column.parts):
                found = answers.get((column.task, split))
                if found is not None and found.index and found.labelled:
                    of_split = by_split.setdefault(split, {})
                    first = next((a for runs in of_split.values() for _, a in runs), found)
                    if first.index == found.index and first.labels == found.labels:
                        of_split.setdefault(name, []).append((record, found))
    return by_split


def _fold(
    column: Column,
    records: Mapping[str, Sequence[Record]],
    seen: Mapping[str, Seen],
    source: Source | None,
    quality: Quality,
) -> TaskFold:
    shared, settings, recipes = _recipes(records)
    best = next(iter(records), "")
    fold = TaskFold(
        column.task, column.title, score_words(column), _best(best, quality),
        _facts(column, records), shared, settings, recipes, list(records),
    )  # fmt: skip
    if not seen:
        return fold
    split, of_split = next(iter(seen.items()))
    confusions, table, caption = _summary(column, of_split)
    examples, reason = [], ""
    for split, of_split in seen.items():
        found, reason = _examples(column, split, of_split, source)
        examples += found
    return TaskFold(
        **{
            **vars(fold),
            "confusions": confusions,
            "table": table,
            "caption": caption,
            "examples": examples,
            "reason": reason,
        }
    )


def _best(name: str, quality: Quality) -> str:
    """``bert 84.1``."""
    cell = quality.cells.get(name)
    return f"{name} {score_number(cell.score.mean, cell.scored)}" if cell and cell.score else ""


def _facts(column: Column, records: Mapping[str, Sequence[Record]]) -> list[str]:
    counts: dict[str, None] = {}
    for own in records.values():
        for record in own:
            for split, number in {**record.counts.get(column.task, {})}.items():
                counts[f"{number:,} {split.replace('_', ' ')}"] = None
    facts = [f"Examples: {', '.join(counts)}"] if counts else []
    if column.diagnostic:
        facts.append(f"Answered by the models of {column.answered_by}")
    return facts


def _recipes(records: Mapping[str, Sequence[Record]]) -> tuple[dict[str, str], list[str], list[tuple[str, list[str]]]]:
    """What all share, the settings that differ, and their values by model."""
    own = {
        name: {k: _in_words(v) for k, v in runs[0].settings.recipe.items()} for name, runs in records.items() if runs
    }
    keys = sorted({key for recipe in own.values() for key in recipe})
    same = {key for key in keys if len({recipe.get(key) for recipe in own.values()}) == 1}
    shared = {key: next(iter(own.values()))[key] for key in keys if key in same} if own else {}
    differing = [key for key in keys if key not in same]
    shared = {key: value for key, value in shared.items() if value not in ("none", "off")}
    return shared, differing, [(name, [recipe.get(key, "—") for key in differing]) for name, recipe in own.items()]


def _in_words(value: Any) -> str:
    return "none" if value is None else {True: "on", False: "off"}[value] if isinstance(value, bool) else f"{value}"


# Summaries -------------------------------------------------------------------------------------------------------


def _summary(column: Column, seen: Seen) -> tuple[list[Confusion], tuple[list[str], list[list[str]]], str]:
    """Confusions of classes; residuals of scores; a line per model for all else."""
    first = next(iter(seen.values()))[0]
    labels = first[1].labels
    names = label_names(column.task, {0: first[0]})
    if isinstance(labels[0], float):
        return [], _residuals(seen), "Residuals: prediction less reference, over all runs of a model."
    if isinstance(labels[0], int) and len(set(labels)) <= CLASSES:
        return [_confusion(column.task, model, runs) for model, runs in seen.items()], ([], []), ""
    if isinstance(labels[0], list) and names and isinstance((labels[0] or [0])[0], int):
        return [], _by_label(seen, names), "Labels that models miss or wrongly predict most, over all runs."
    rows = []
    for model, runs in seen.items():
        wrong = np.mean([(errors_of(answers) > 0).mean() for _, answers in runs])
        rows.append([model, f"{percent(float(wrong))} %"])
    return [], (["Model", "Answers that are not entirely right"], rows), "Over all runs of a model."


def _residuals(seen: Seen) -> tuple[list[str], list[list[str]]]:
    rows = []
    for model, runs in seen.items():
        pairs = [(p, r) for _, answers in runs for p, r in zip(answers.predictions, answers.labels, strict=True)]
        residuals = np.array([p - r for p, r in pairs if isinstance(p, int | float)], dtype=float)
        residuals = residuals[np.isfinite(residuals)]
        if residuals.size:
            quantiles = np.quantile(residuals, [0.05, 0.25, 0.5, 0.75, 0.95])
            numbers = [residuals.mean(), np.abs(residuals).mean(), *quantiles]
            rows.append([model, *(f"{value:+.2f}" if i != 1 else f"{value:.2f}" for i, value in enumerate(numbers))])
    return ["Model", "Mean", "Mean size", "5 %", "25 %", "Median", "75 %", "95 %"], rows


def _confusion(task: str, model: str, runs: Sequence[tuple[Record, Answers]]) -> Confusion:
    record = runs[0][0]
    names, problem = label_names(task, {0: record}), problem_of(record, task, {})
    pairs: Counter[tuple[Any, Any]] = Counter()
    for _, answers in runs:
        pairs.update(zip(answers.labels, map(_class, answers.predictions), strict=True))
    right = sorted({label for label, _ in pairs})
    said = sorted({*right, *(answer for _, answer in pairs)}, key=lambda c: (c < 0, c))
    rows = []
    for label in right:
        total = sum(pairs[label, answer] for answer in said)
        rows.append((answer_text(label, names, problem), [(n := pairs[label, a], n / total) for a in said]))
    return Confusion(model, [answer_text(answer, names, problem) for answer in said], rows)


def _class(prediction: Any) -> int:
    return int(prediction) if isinstance(prediction, int | float) and prediction == prediction // 1 else -1


def _by_label(seen: Seen, names: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """The labels with the most errors: right, missed, wrongly predicted, by model."""
    counts: dict[str, dict[int, list[int]]] = {}
    for model, runs in seen.items():
        own = counts.setdefault(model, {i: [0, 0, 0] for i in range(len(names))})
        for _, answers in runs:
            for right, said in zip(answers.labels, answers.predictions, strict=True):
                said = said if isinstance(said, list) else []
                for i in {*right, *said}:
                    if i in own:
                        own[i][0 if i in right and i in said else 1 if i in right else 2] += 1
    order = sorted(range(len(names)), key=lambda i: -sum(sum(own[i][1:]) for own in counts.values()))[:CLASSES]
    rows = [[names[i], *("/".join(map(str, own[i])) for own in counts.values())] for i in order]
    return ["Label: right/missed/wrongly predicted", *counts], rows


# Examples --------------------------------------------------------------------------------------------------------


def _examples(column: Column, split: str, seen: Seen, source: Source | None) -> tuple[list[ShownExample], str]:
    """The hardest examples, and those on which models disagree most."""
    errors = {model: np.stack([errors_of(a) for _, a in runs]) for model, runs in seen.items()}
    means = np.stack([np.where(np.isfinite(e), e, 1e9).mean(axis=0) for e in errors.values()])
    record, first = next(iter(seen.values()))[0]
    hardest = [
        i for i in np.argsort(-means.mean(axis=0).round(9), kind="stable")[:HARDEST].tolist() if means[:, i].min() > 0
    ]
    apart = means.max(axis=0) - means.min(axis=0)
    disputed = [i for i in _disputed(means) if apart[i] > 0 and i not in hardest][:DISAGREEMENTS]
    chosen = [*((i, "wrong by all") for i in hardest), *((i, "disputed") for i in disputed)]
    reading = Reading(source, record, column.task, split) if source else None
    names, problem = label_names(column.task, {0: record}), problem_of(record, column.task, {})
    shown = []
    for i, kind in chosen:
        answers = []
        for runs in seen.values():
            said = Counter(cut(answer_text(a.predictions[i], names, problem), WIDTH) for _, a in runs).most_common(3)
            wrong = "wrong" if max(errors_of(_one(a, i))[0] for _, a in runs) > 0 else "right"
            answers.append((", ".join(t if len(said) == 1 else f"{t} ({n})" for t, n in said), wrong))
        texts = reading.texts(first.index[i]) if reading else []
        shown.append(
            ShownExample(
                first.index[i], split, texts, cut(answer_text(first.labels[i], names, problem), WIDTH), answers, kind
            )
        )
    return shown, reading.reason if reading else ""


def _one(answers: Answers, i: int) -> Answers:
    return Answers([answers.index[i]], [answers.labels[i]], [answers.predictions[i]])


def _disputed(means: np.ndarray) -> list[int]:
    """Examples by turns of the pairs of models, each pair's by how much their errors differ."""
    models = len(means)
    pairs = [(a, b) for a in range(models) for b in range(a + 1, models)]
    orders = [
        np.argsort(-np.abs(means[a] - means[b]).round(9), kind="stable")[:DISAGREEMENTS].tolist() for a, b in pairs
    ]
    return list(dict.fromkeys(order[turn] for turn in range(DISAGREEMENTS) for order in orders if turn < len(order)))
