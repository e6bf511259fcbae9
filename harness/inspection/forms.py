"""One example as each family reads it, and the answer that it learns: the table of ``tasks --show``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.data.datasets import open_examples
from harness.errors import HarnessError
from harness.format import escape
from harness.inspection.examples import answer_text
from harness.task.functions import instances, text_to_text, training_texts
from harness.task.task import Example, Task, is_unlabelled
from harness.task.texts import input_text, segments, words_of

HEADERS = ("Family", "Reads", "Answer")
UNKNOWN = "unknown"


def shown_task(task: Task, source: str | Path) -> str:
    """The first example of a task as a Markdown table: a line for each text that a family reads of it.

    Args:
        source: ``sample``, ``hub`` or a folder of official files.

    Raises:
        HarnessError: data that is not there.
    """
    split = task.train_split or task.validation_splits[0]
    example = next(iter(open_examples(task, source, split, allow_partial=True)), None)
    if example is None:
        raise HarnessError(f"task '{task.name}': there is no example in {source}")
    lines = [HEADERS, ("---",) * len(HEADERS), *(tuple(map(escape, row)) for row in rows_of(task, example))]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def rows_of(task: Task, example: Example) -> Iterator[tuple[str, str, str]]:
    """(family, what it reads, its right answer) for models without options.

    Several texts of one example have a number behind the family. EncT5 has a line more where its option ``text: t5``
    makes a difference.
    """
    read = instances(task, example)
    answers = [_of_head(task, example, instance.label) for instance in read]
    numbers = [f" {number}" if len(read) > 1 else "" for number in range(1, len(read) + 1)]
    for number, instance, answer in zip(numbers, read, answers, strict=True):
        yield f"BERT{number}", " [SEP] ".join(segments(instance)), answer
    texts = [input_text(task, instance) for instance in read]
    for number, text, answer in zip(numbers, texts, answers, strict=True):
        yield f"EncT5{number}", text, answer
    source, target = text_to_text(task, example)
    if is_unlabelled(task, example):
        target, written = UNKNOWN, [UNKNOWN]
    else:
        written = [answer for _, answer in training_texts(task, example)] or [
            "none: T5 does not learn from this example"
        ]
    if task.scores_text_to_text and source not in texts:
        yield "EncT5, text: t5", source, target if task.problem.grouped else answers[0]
    yield "T5", source, " or ".join(written)


def _of_head(task: Task, example: Example, label: Any) -> str:
    """The label of one instance, in words."""
    if label is None:
        return UNKNOWN
    if task.problem.grouped:
        return "right" if label else "wrong"
    if task.problem.of_words:
        pairs = zip(words_of(task, example), label, strict=True)
        return " ".join(f"{word}/{task.labels[tag]}" for word, tag in pairs)
    return answer_text(label, task.labels, task.problem)
