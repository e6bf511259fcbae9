"""What rows of a table differ in besides models and settings: how checkpoints were chosen, and on what machine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.format import plural
from harness.results.record import Record


def evaluations_of(records: Iterable[Record]) -> tuple[int, ...]:
    """The numbers of evaluations that chose the checkpoints, each once, in order; older records have none."""
    return tuple(sorted({record.evaluations for record in records if record.evaluations is not None}))


def best_of_words(evaluations: Sequence[int]) -> str:
    """``each checkpoint is the best of 10 evaluations``; empty where nothing is known."""
    if not evaluations:
        return ""
    fewest = "" if len(evaluations) == 1 else f"{evaluations[0]} to "
    return f"each checkpoint is the best of {fewest}{plural(evaluations[-1], 'evaluation')}"


MADE_WITH = ("device", "processor", "processes", "threads", "harness", "torch", "transformers", "tokenizers")
"""What of a record's provenance changes its numbers, if only in the last digits.

With dropout, other processes and devices also draw other random numbers.
"""


def made_with(rows: Sequence[Sequence[Record]]) -> list[str]:
    """For the records of each row, where and with what they were made; only what differs in the table.

    Returns:
        A note for each row, such as ``made with 2 processes, torch 2.13.0``; empty where nothing differs.
    """
    tables = [{key: _values(records, key) for key in MADE_WITH} for records in rows]
    differing = [key for key in MADE_WITH if len(set().union(*(table[key] for table in tables))) > 1]
    notes = []
    for table in tables:
        words = [_made_with_words(key, table[key]) for key in differing if table[key]]
        notes.append(f"made with {', '.join(words)}" if words else "")
    return notes


def _values(records: Iterable[Record], key: str) -> list[str]:
    return sorted({str(record.provenance[key]) for record in records if key in record.provenance})


def _made_with_words(key: str, values: Sequence[str]) -> str:
    text = " or ".join(values)
    if key in ("device", "processor"):
        return text
    if key in ("processes", "threads"):
        return f"{text} {key if values != ['1'] else key.removesuffix('es' if key == 'processes' else 's')}"
    return f"{key} {text}"
