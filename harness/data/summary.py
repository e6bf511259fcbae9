"""What is odd in a task's examples, in a few words: it ends no run, and nobody has to find out from the scores."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from harness.task.entities import spans
from harness.task.task import Example, Task, is_unlabelled
from harness.task.texts import field_texts

FEW = 5
"""A class with fewer training examples can hardly be learned."""
LISTED = 5
"""The most classes that a summary names."""


def data_summary(task: Task, splits: Mapping[str, Iterable[Example]]) -> str:
    """A line about the examples of a task: their numbers, and what is odd in them.

    Args:
        splits: the examples of each split that is looked at, which are read once.

    >>> mood = Task("mood", suite="", problem_type="single_label_classification", text_fields=("text",),
    ...             metrics=("accuracy",), labels=("bad", "good"))
    >>> data_summary(mood, {"train": [{"text": "Fine.", "label": 1}, {"text": "Fine.", "label": 0}]})
    "mood: train 2: 2 with a text that also has another label, few examples of bad (1), good (1)"
    """
    return f"{task.name}: " + "; ".join(_of_split(task, split, examples) for split, examples in splits.items())


def _of_split(task: Task, split: str, examples: Iterable[Example]) -> str:
    texts, labels = array("q"), array("q")
    classes: Counter[Any] = Counter(dict.fromkeys(_classes(task), 0))
    blank = 0
    for example in examples:
        parts = field_texts(task, example)
        blank += any(not text.strip() for text in parts.values())
        texts.append(_hash(sorted(parts.items())))
        label = example.get(task.label_field)
        if label is None or is_unlabelled(task, example):
            labels.append(0)
            continue
        labels.append(_hash(label))
        classes.update(_counted(task, label))
    odd = [f"{blank:,} with a blank text"] if blank else []
    if number := _contradicting(texts, labels):
        odd.append(f"{number:,} with a text that also has another label")
    if split == task.train_split:
        odd += _rare(task, classes)
    return f"{split} {len(texts):,}" + (f": {', '.join(odd)}" if odd else "")


def _hash(value: Any) -> int:
    return int.from_bytes(hashlib.blake2b(repr(value).encode("utf-8", "replace"), digest_size=8).digest(), signed=True)


def _contradicting(texts: array[int], labels: array[int]) -> int:
    """How many examples have the texts of another one, and another label."""
    import numpy as np

    if not texts:
        return 0
    both = np.stack([np.frombuffer(texts, dtype=np.int64), np.frombuffer(labels, dtype=np.int64)])
    both = both[:, both[1] != 0]
    pairs = np.unique(both, axis=1)
    several, count = np.unique(pairs[0], return_counts=True)
    return int(np.isin(both[0], several[count > 1]).sum())


def _classes(task: Task) -> list[Any]:
    """What training needs examples of: classes, or types of entities."""
    if task.problem.of_words:
        return sorted({label[2:] for label in task.labels if label[2:]})
    return list(task.labels) if task.problem.has_labels and task.label_field == "label" else []


def _counted(task: Task, label: Any) -> list[Any]:
    """The classes that an example counts for; a score counts for itself."""
    if task.problem.of_words:
        return [kind for kind, _, _ in spans([task.labels[tag] for tag in label])]
    if not task.problem.has_labels:
        return [label]
    indices = label if isinstance(label, list) else [label]
    return [task.labels[index] for index in indices if isinstance(index, int) and 0 <= index < len(task.labels)]


def _rare(task: Task, classes: Counter[Any]) -> list[str]:
    met = [name for name, number in classes.items() if number]
    if not task.problem.has_labels:
        return ["all have the same score"] if len(met) == 1 else []
    odd = []
    if len(met) == 1 and len(classes) < 2 and not task.problem.of_words:
        odd.append(f"a single class, {met[0]}")
    elif len(met) == 1 and not task.problem.several:
        odd.append(f"a single class in training, {met[0]}")
    rare = sorted((number, str(name)) for name, number in classes.items() if number < FEW)
    if rare:
        more = f" and {len(rare) - LISTED:,} more" if len(rare) > LISTED else ""
        odd.append("few examples of " + ", ".join(f"{name} ({number})" for number, name in rare[:LISTED]) + more)
    return odd
