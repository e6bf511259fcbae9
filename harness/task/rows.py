"""Rows as metrics read them: classes, numbers and multi-label rows; what is no answer becomes a wrong one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.errors import HarnessError

INVALID = -1
"""The class index, and as a float the score, that stands for an answer which is none (as in the T5 package)."""


def as_class(value: Any) -> int:
    """A prediction as a class index, or INVALID."""
    if isinstance(value, str):
        return INVALID
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return INVALID
    return int(number) if number.is_integer() and 0 <= number < 2**31 else INVALID


def as_labels(references: Sequence[Any], classes: Sequence[int] | None = None) -> list[int]:
    labels = [as_class(r) for r in references]
    for row, label in enumerate(labels):
        if label == INVALID or (classes is not None and label not in classes):
            wanted = "a class index" if classes is None else f"one of the classes {', '.join(map(str, classes))}"
            raise HarnessError(
                f"reference {references[row]!r} of row {row} is not {wanted}: "
                "this data has no labels to score against, or the metric does not fit the task"
            )
    return labels


def as_binary(predictions: Sequence[Any], references: Sequence[Any]) -> tuple[list[int], list[int]]:
    labels = as_labels(references, classes=(0, 1))
    classes = [as_class(p) for p in predictions]
    return [p if p in (0, 1) else 1 - r for p, r in zip(classes, labels, strict=True)], labels


def by_label(predictions: Sequence[Any], references: Sequence[Any]) -> list[tuple[Sequence[int], Sequence[int]]]:
    """Multi-label rows as (predictions, references) of each label; an invalid row predicts no label."""
    width = len(references[0])
    for row, reference in enumerate(references):
        if width == 0 or not is_indicator(reference, width):
            raise HarnessError(f"reference {reference!r} of row {row} is not a list of one 0 or 1 per label ({width})")
    rows = [p if is_indicator(p, width) else [0] * width for p in predictions]
    return list(zip(zip(*rows, strict=True), zip(*references, strict=True), strict=True))


def is_indicator(row: Any, width: int) -> bool:
    return isinstance(row, (list, tuple)) and len(row) == width and all(as_class(cell) in (0, 1) for cell in row)


def as_number(value: Any, invalid: float = float(INVALID)) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return invalid
