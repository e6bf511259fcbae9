"""Published scores as rows of a leaderboard."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Annotated

from pydantic import Field, TypeAdapter

from harness.leaderboard.board import Cell, Column, Row, Section, Value, average
from harness.results.fields import Stored


class Reference(Stored):
    """A published row: scores times 100, ``scores[task][split][metric]``.

    ``note`` holds for all of it, ``notes`` for a task each.
    """

    model: str
    source: str
    scores: dict[str, dict[str, dict[str, Annotated[float, Field(gt=0, le=100)]]]]
    note: str = ""
    notes: dict[str, str] = Field(default_factory=dict)


@functools.cache
def published() -> tuple[Reference, ...]:
    """The rows of references.yaml."""
    import yaml

    text = resources.files("harness.leaderboard").joinpath("references.yaml").read_text(encoding="utf-8")
    return tuple(TypeAdapter(list[Reference]).validate_python(yaml.safe_load(text)))


def published_rows(
    references: Iterable[Reference], columns: Sequence[Column], sections: Sequence[Section]
) -> Iterable[Row]:
    for reference in references:
        cells = {column.task: _published_cell(column, reference) for column in columns}
        if any(cell.done for cell in cells.values()):
            averages = {t: average(cells, tasks) for s in sections for t, tasks in s.averages.items()}
            notes = tuple(filter(None, [f"published: {reference.source}", reference.note]))
            yield Row(reference.model, cells, averages, notes, source=reference.source)


def _published_cell(column: Column, reference: Reference) -> Cell:
    splits = reference.scores.get(column.task, {})
    scores = [splits.get(split, {}).get(metric) for split, metric in column.parts]
    parts = tuple(None if score is None else Value({0: score / 100}) for score in scores)
    note = reference.notes.get(column.task)
    return Cell((0,), parts, column.score(parts), notes=(note,) if note and any(parts) else ())
