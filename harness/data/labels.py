"""Labels and scores as data spell them: matched by name, never by order."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness.errors import did_you_mean, shortened
from harness.task.entities import iob2_problem
from harness.task.task import Example, SplitFile, Task

LARGEST = 1e18
"""The largest score: its square, in the loss, has to be a number in single precision, too."""


class BadValue(ValueError):
    """What is wrong with one value; who reads the file adds where."""


def label_reader(task: Task, spec: SplitFile | None = None) -> Callable[[Any], Any]:
    """A function from a label as data spell it to the class index, the score, the sorted indices (multi-label), or
    the indices of a sentence's tags (token classification).

    Labels are matched by name: ``spec.labels`` (the file's spellings, in class order), or the task's label names.
    The function raises `BadValue`.
    """
    spellings = (spec.labels if spec else None) or task.labels
    indices = {name: i for i, name in enumerate(spellings)}
    for i, name in enumerate(task.labels):
        indices.setdefault(name, i)
    if not task.problem.has_labels:
        return functools.partial(_score, task.score_range)
    if task.problem.independent_labels:
        separator = spec.separator if spec else ","
        return functools.partial(_label_set, indices, spellings, separator)
    if task.problem.of_words:
        return functools.partial(_tags, indices, spellings)
    return functools.partial(_label, indices, spellings)


def _score(score_range: tuple[float, float] | None, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise BadValue(f"the score must be a number, found {shown(value)}")
    try:
        score = float(value)
    except (ValueError, OverflowError):
        raise BadValue(f"the score must be a number, found {shown(value)}") from None
    if not math.isfinite(score):
        raise BadValue(f"the score must be a finite number, found {shown(value)}")
    if abs(score) > LARGEST:
        raise BadValue(f"the score {shown(value)} is too large: single precision cannot hold its square")
    if score_range and not score_range[0] <= score <= score_range[1]:
        raise BadValue(f"the score {shown(value)} is not between {score_range[0]:g} and {score_range[1]:g}")
    return score


def _label(indices: Mapping[str, int], spellings: Sequence[str], value: Any) -> int:
    index = indices.get(value) if isinstance(value, str) else _index_of(indices, value)
    if index is None:
        known = ", ".join(spellings[:20]) + (", ..." if len(spellings) > 20 else "")
        hint = did_you_mean(str(value), spellings)
        what = "the label is missing" if value is None or value == "" else f"unknown label {shown(value)}"
        raise BadValue(f"{what}.{hint} Known labels: {known}")
    return index


def _index_of(indices: Mapping[str, int], value: Any) -> int | None:
    if isinstance(value, bool):
        return indices.get(str(value), indices.get(str(value).lower()))
    return None if value is None else indices.get(str(whole(value)))


def whole(value: Any) -> Any:
    """A table turns whole numbers into floats in a column that also has gaps."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _label_set(indices: Mapping[str, int], spellings: Sequence[str], separator: str, value: Any) -> list[int]:
    if isinstance(value, str):
        value = parts(value, separator)
    if not isinstance(value, list):
        raise BadValue(f"the labels must be a list, found {shown(value)}")
    return sorted({_label(indices, spellings, part) for part in value})


def _tags(indices: Mapping[str, int], spellings: Sequence[str], value: Any) -> list[int]:
    if not isinstance(value, list):
        raise BadValue(f"the tags must be a list, found {shown(value)}")
    found = []
    for number, tag in enumerate(value, start=1):
        try:
            found.append(_label(indices, spellings, tag))
        except BadValue as error:
            raise BadValue(f"word {number}: {error}") from None
    return found


def check_sentence(task: Task, example: Example) -> None:
    """Raise `BadValue` where the tags of a sentence are not one for each word, or no IOB2."""
    words, tags = example[task.text_fields[0]], example[task.label_field]
    if len(words) != len(tags):
        raise BadValue(f"there are {len(tags)} tags for {len(words)} words")
    if problem := iob2_problem([task.labels[i] for i in tags]):
        raise BadValue(problem)


def parts(cell: str, separator: str) -> list[str]:
    """The labels in one cell of a table."""
    return [part.strip() for part in cell.split(separator) if part.strip()]


def shown(value: Any) -> str:
    """A value for a one-line message."""
    text = repr(value)
    return shortened(text)
