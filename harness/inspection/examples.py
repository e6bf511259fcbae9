"""Single examples: how wrong an answer is, how sure the model was of it, and how it reads."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from harness.comparison.observed import label_names, text_score
from harness.errors import HarnessError
from harness.format import cut
from harness.inspection.source import NotAtHand, Source
from harness.results.answers import Answers
from harness.results.record import Record
from harness.task.answers import are_texts
from harness.task.problem_types import PROBLEM_TYPES, ProblemType
from harness.task.task import Task

WIDTH = 300
"""Characters of a text that are shown."""


def problem_of(record: Record, task: str, tasks: Mapping[str, Task]) -> ProblemType | None:
    """The problem type of a task, by its record, or else by its plugin."""
    name = record.settings.tasks.get(task, {}).get("problem_type")
    if name is None and task in tasks:
        name = tasks[task].problem_type
    return PROBLEM_TYPES.get(str(name))


def errors_of(answers: Answers) -> np.ndarray:
    """(n,) how wrong each answer is: 0 for a right and 1 for a wrong one; of scores their distance from the right one.

    A text is as wrong as its token F1 is below 1; a list of labels or of tags is right or wrong as a whole.
    """
    labels = answers.labels
    pairs = zip(answers.predictions, labels, strict=True)
    if labels and isinstance(labels[0], float):
        return np.array([_distance(prediction, label) for prediction, label in pairs])
    if are_texts(labels) and not _lists_of_numbers(labels):
        return np.array([1 - text_score(p, (r,) if isinstance(r, str) else tuple(r)) for p, r in pairs])
    return np.array([float(prediction != label) for prediction, label in pairs])


def _lists_of_numbers(labels: Sequence[Any]) -> bool:
    return all(isinstance(label, list) and all(isinstance(item, int) for item in label) for label in labels)


def _distance(prediction: Any, label: float) -> float:
    try:
        distance = abs(float(prediction) - label)
    except (TypeError, ValueError):
        return math.inf
    return math.inf if math.isnan(distance) else distance


def confidence(problem: ProblemType | None, scores: Any, prediction: Any, threshold: float | None) -> float | None:
    """The probability that the model gave to its answer; of several labels that of the least certain one.

    None where a model writes its answers, or answers with a score.
    """
    if problem is None or not scores or not problem.has_labels:
        return None
    logits = np.array(scores, dtype=float)
    if problem.independent_labels:
        shift = math.log(threshold / (1 - threshold)) if threshold else 0.0
        return float(1 / (1 + np.exp(-np.abs(logits[0] - shift).min())))
    rows = logits.reshape(1, -1) if problem.grouped else logits
    rows = rows[~np.isnan(rows).any(axis=-1)]
    if not rows.size or (not problem.of_words and not _is_class(prediction, rows.shape[-1])):
        return None
    exponents = np.exp(rows - rows.max(axis=-1, keepdims=True))
    probabilities = exponents / exponents.sum(axis=-1, keepdims=True)
    return float(probabilities.max(axis=-1).min() if problem.of_words else probabilities[0, prediction])


def _is_class(prediction: Any, classes: int) -> bool:
    return isinstance(prediction, int) and 0 <= prediction < classes


def answer_text(answer: Any, names: Sequence[str], problem: ProblemType | None) -> str:
    """An answer with the names of its classes."""
    if isinstance(answer, list):
        return ", ".join(answer_text(item, names, problem) for item in answer) or "nothing"
    if isinstance(answer, bool) or not isinstance(answer, int):
        return "nothing" if answer in (None, "") else f"{answer:.3g}" if isinstance(answer, float) else str(answer)
    if problem is not None and problem.grouped:
        return f"choice {answer + 1}" if answer >= 0 else "invalid"
    return names[answer] if 0 <= answer < len(names) else "invalid" if answer < 0 else str(answer)


class Reading:
    """Texts of examples for one task and split, or the reason why there are none."""

    def __init__(self, source: Source, record: Record, task: str, split: str):
        self.names = label_names(task, {0: record})
        self.problem = problem_of(record, task, source.tasks)
        self.task = source.tasks.get(task)
        self.reason = ""
        try:
            self.examples = source.examples(record, task, split)
        except NotAtHand as reason:
            self.examples, self.reason = [], str(reason)

    def answer(self, answer: Any) -> str:
        """An answer in words."""
        return cut(answer_text(answer, self.names, self.problem), WIDTH)

    def texts(self, index: int) -> list[str]:
        """``field: text`` of an example; nothing where the data is not at hand."""
        if self.task is None or index >= len(self.examples):
            return []
        example = self.examples[index]
        return [f"{name}: {cut(_one_line(example[name]), WIDTH)}" for name in self.task.text_fields if name in example]


def _one_line(value: Any) -> str:
    return " ".join((" ".join(map(str, value)) if isinstance(value, list) else str(value)).split())


def class_index(name: str, names: Sequence[str], what: str) -> int:
    """The class of this name.

    Raises:
        HarnessError: there is none.
    """
    from harness.errors import did_you_mean

    if name not in names:
        hint = did_you_mean(name, names)
        known = f" Labels: {', '.join(names)}" if names else " This task has no labels."
        raise HarnessError(f"{what} '{name}': there is no such label.{hint}{known}")
    return list(names).index(name)
