"""The baseline of a task: one answer to everything, chosen by the labels of the training data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from harness.task.problem_types import most_frequent
from harness.task.task import Example, Task, is_unlabelled
from harness.task.texts import words_of


def constant_answer(task: Task, examples: Iterable[Example]) -> Any:
    """The answer that the baseline gives to everything.

    The most frequent class or position (of equal ones the first); the set of labels with the best micro-F1; no
    entity; the mean score; of open answers, the most frequent text.

    Args:
        task: the task that is trained.
        examples: its training examples, read once.
    """
    labels = (example[task.label_field] for example in examples if not is_unlabelled(task, example))
    first = next(iter(labels), None)
    if first is None:
        return task.invalid_prediction
    every = (label for part in ([first], labels) for label in part)
    if task.open_answers and not isinstance(first, int):
        return most_frequent(text for label in every for text in ([label] if isinstance(label, str) else label))
    return task.problem.constant_answer(every, task.labels)


def constant_predictions(task: Task, answer: Any, examples: Iterable[Example]) -> list[Any]:
    """The baseline's prediction for each example of a split."""
    if not task.problem.of_words:
        return [answer for _ in examples]
    return [task.problem.repeated(answer, len(words_of(task, example))) for example in examples]


def only_answer(task: Task, predictions: Sequence[Any]) -> str | None:
    """The one answer of a model that gives the same to every example, in words; None where there are several."""
    if len(predictions) < 2:
        return None
    if task.problem.of_words:
        tags = {tag for prediction in predictions for tag in prediction}
        return "no entity" if tags <= {task.problem.constant_answer((), task.labels)} else None
    if any(prediction != predictions[0] for prediction in predictions):
        return None
    return answer_words(task, predictions[0])


def label_names(task: Task, answer: Any) -> str | list[str] | None:
    """A label or prediction by the names of its classes; None for a number, a text, and what is no answer."""
    if not task.problem.has_labels or (task.open_answers and not isinstance(answer, int)):
        return None
    if task.problem.several:
        return None if answer is None else [task.labels[i] for i in answer]
    return task.labels[answer] if isinstance(answer, int) and 0 <= answer < len(task.labels) else None


def answer_words(task: Task, prediction: Any) -> str:
    """A prediction by the names of its labels."""
    if prediction == task.invalid_prediction and not task.problem.several:
        return "no valid answer"
    if isinstance(prediction, Sequence) and not isinstance(prediction, str):
        return ", ".join(task.labels[i] for i in prediction) or "no label"
    if task.problem.has_labels and isinstance(prediction, int) and 0 <= prediction < len(task.labels):
        return task.labels[prediction]
    return f"{prediction:g}" if isinstance(prediction, float) else str(prediction)
