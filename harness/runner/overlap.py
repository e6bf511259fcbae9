"""Texts that stand both in the training and in the evaluation data, which makes a score look better than it is."""

from __future__ import annotations

import unicodedata
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, TypeVar

from harness.task.task import Example, Task

K = TypeVar("K", bound=Hashable)


def overlap(
    task: Task, training: Iterable[Example], evaluated: Mapping[K, tuple[Task, Iterable[Example]]]
) -> dict[K, int]:
    """How many examples of each evaluated split have the text of a training example.

    Texts are equal when all text fields of the two examples together are, in the order of ``Task.text_fields``, after
    `normalised`. Labels do not count, nor does how often a text stands in the training data.

    Args:
        task: the task that is trained.
        training: its training examples, read once.
        evaluated: by any key, a split's task (the same, or a diagnostic of it) and examples.
    """
    texts = {key: [_text(other, example) for example in examples] for key, (other, examples) in evaluated.items()}
    wanted = {text for of_split in texts.values() for text in of_split}
    found = {text for text in (_text(task, example) for example in training) if text in wanted}
    return {key: sum(text in found for text in of_split) for key, of_split in texts.items()}


def normalised(text: str) -> str:
    """NFKC, lower case, and single spaces."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return " ".join(text.lower().split())


def _text(task: Task, example: Example) -> tuple[str, ...]:
    return tuple(normalised(_joined(example[name])) for name in task.text_fields)


def _joined(value: Any) -> str:
    return " ".join(map(_joined, value)) if isinstance(value, list | tuple) else str(value)
