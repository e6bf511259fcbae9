"""Rows of a table whose models read less of the same text than others do."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

from harness.report.notes import OfSeed, finished

K = TypeVar("K", bound=Hashable)


def shorter_inputs(rows: Mapping[K, Mapping[str, OfSeed]]) -> dict[K, list[str]]:
    """By row, a note for each ``max_length`` of it that is below the longest one that another row has for a task.

    Args:
        rows: the records of each row by task and seed; what is not finished has no length.
    """
    lengths = {row: _lengths(of_task) for row, of_task in rows.items()}
    longest: dict[str, int] = {}
    for own in lengths.values():
        for task, length in own.items():
            longest[task] = max(length, longest.get(task, 0))
    notes: dict[K, list[str]] = {}
    for row, own in lengths.items():
        tasks: dict[tuple[int, int], list[str]] = {}
        for task, length in own.items():
            if length < longest[task]:
                tasks.setdefault((length, longest[task]), []).append(task)
        for (length, other), names in tasks.items():
            where = "" if len(names) == len(own) else f"{', '.join(names)}: "
            text = f"{where}inputs are cut at {length} tokens, in another row at {other} (max_length)"
            notes.setdefault(row, []).append(text)
    return notes


def _lengths(of_task: Mapping[str, OfSeed]) -> dict[str, int]:
    """The ``max_length`` of each task that has a finished record with one."""
    lengths = {
        task: [int(record.settings.recipe.get("max_length") or 0) for record in finished(of_seed)]
        for task, of_seed in of_task.items()
    }
    return {task: max(values) for task, values in lengths.items() if any(values)}
