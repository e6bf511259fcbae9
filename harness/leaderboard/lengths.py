"""Rows of a table whose models read less of the same text than others do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from harness.leaderboard.notes import OfSeed, finished


def shorter_inputs(rows: Iterable[Mapping[str, OfSeed]]) -> list[list[str]]:
    """For each row, a note for each ``max_length`` of it that is below the longest one that another row has for a task.

    Args:
        rows: the records of each row by task and seed; what is not finished has no length.
    """
    lengths = [_lengths(of_task) for of_task in rows]
    longest: dict[str, int] = {}
    for own in lengths:
        for task, length in own.items():
            longest[task] = max(length, longest.get(task, 0))
    return [_notes(own, longest) for own in lengths]


def _lengths(of_task: Mapping[str, OfSeed]) -> dict[str, int]:
    """The ``max_length`` of each task that has a finished record with one."""
    lengths = {
        task: [int(record.settings.recipe.get("max_length") or 0) for record in finished(of_seed)]
        for task, of_seed in of_task.items()
    }
    return {task: max(values) for task, values in lengths.items() if any(values)}


def _notes(own: Mapping[str, int], longest: Mapping[str, int]) -> list[str]:
    """A note for each pair of lengths; it names the tasks where it does not hold for all of the row."""
    tasks: dict[tuple[int, int], list[str]] = {}
    for task, length in own.items():
        if length < longest[task]:
            tasks.setdefault((length, longest[task]), []).append(task)
    return [
        f"{'' if len(names) == len(own) else ', '.join(names) + ': '}inputs are cut at {length} tokens, "
        f"in another row at {other} (max_length)"
        for (length, other), names in tasks.items()
    ]
