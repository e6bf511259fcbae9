"""The examples on which two models disagree most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from harness.comparison.compare import Comparer, Disagreement
from harness.comparison.observed import Observed
from harness.inspection.examples import Reading, errors_of
from harness.inspection.source import Source
from harness.leaderboard.board import Column, Row
from harness.results.answers import Answers
from harness.statistics.influence import observe
from harness.statistics.runs import disagreements


def disagree(
    comparer: Comparer, first: Row, second: Row, count: int, sources: Mapping[str, Source]
) -> tuple[list[Disagreement], list[str]]:
    """The ``count`` examples of each task on which the mean errors of two rows differ most, and why texts are missing.

    Args:
        sources: the data, by the rows' names.
    """
    found: list[Disagreement] = []
    notes: dict[str, None] = {}
    for column in comparer.columns:
        seen = [comparer.seen(row, column) for row in (first, second)]
        if not all(isinstance(one, Observed) for one in seen):
            continue
        for split in dict.fromkeys(split for split, _ in column.parts):
            of_split, reason = _of_split(comparer, column, split, first, second, count, sources)
            found += of_split
            if reason:
                notes[f"{column.title}: no texts: {reason}"] = None
    return found, list(notes)


def _of_split(
    comparer: Comparer, column: Column, split: str, first: Row, second: Row, count: int, sources: Mapping[str, Source]
) -> tuple[list[Disagreement], str]:
    records = [comparer.records(row, column) for row in (first, second)]
    answers = [[comparer.reader.read(r)[column.task, split] for r in of_row.values()] for of_row in records]
    if answers[0][0].index != answers[1][0].index:
        return [], ""
    errors = [np.stack([errors_of(run) for run in runs]) for runs in answers]
    errors = [np.where(np.isfinite(error), error, 1e9) for error in errors]
    zeros = np.zeros(errors[0].shape[-1])
    positions = disagreements(observe("mean", errors[0], zeros), observe("mean", errors[1], zeros), count)
    distance = abs(errors[0].mean(axis=0) - errors[1].mean(axis=0))
    reading = Reading(sources[first.name], next(iter(records[0].values())), column.task, split)
    shown = [
        Disagreement(
            task=column.task,
            split=split,
            index=answers[0][0].index[i],
            texts=tuple(reading.texts(answers[0][0].index[i])),
            reference=reading.answer(answers[0][0].labels[i]),
            a=_said(answers[0], i, reading),
            b=_said(answers[1], i, reading),
        )
        for i in positions
        if distance[i] > 0
    ]
    return shown, reading.reason if shown else ""


def _said(runs: Sequence[Answers], position: int, reading: Reading) -> dict[str, int]:
    return dict(Counter(reading.answer(run.predictions[position]) for run in runs).most_common())
