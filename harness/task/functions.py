"""Calls of a task's functions, or of what its problem type does where a task has none of its own.

A task's own function is guarded: what it raises, or returns wrongly, becomes a message with the task and the line.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from typing import Any

from harness.errors import HarnessError, did_you_mean, in_one_line, printable, shortened
from harness.task.task import Example, Instance, Task, is_unlabelled
from harness.task.texts import Place, field_places, field_texts, input_text, normalised, places_in, words_of


def instances(task: Task, example: Example) -> list[Instance]:
    """The texts that are scored for one example."""
    if task.instances is not None:
        return _own(task, "instances", example)
    label = None if is_unlabelled(task, example) else example[task.label_field]
    return [Instance(field_texts(task, example), label, task.truncate, tuple(words_of(task, example)))]


def text_to_text(task: Task, example: Example) -> tuple[str, str]:
    """``(input, target)`` as T5 reads and writes it; the target of an unlabelled example is ``<unk>``.

    Source: ``t5.data.preprocessors.glue``.
    """
    if task.text_to_text is not None:
        return _own(task, "text_to_text", example)
    label = example.get(task.label_field, task.unlabelled)
    text = input_text(task, Instance(field_texts(task, example)))
    return text, task.problem.target(label, task.labels, words_of(task, example))


def training_texts(task: Task, example: Example) -> list[tuple[str, str]]:
    """The ``(input, target)`` pairs that T5 trains on."""
    if task.training_texts is not None:
        return _own(task, "training_texts", example)
    return [text_to_text(task, example)]


def parse(task: Task, text: str, example: Example) -> Any:
    """The prediction that a generated text stands for; None when it is not an answer."""
    if task.parse is not None:
        return _own(task, "parse", text, example)
    return task.problem.parse(text, task.labels, words_of(task, example))


def decide(task: Task, scores: Any, example: Example) -> Any:
    """The prediction, from scores ``(instances or words of the example, outputs)``."""
    if task.decide is not None:
        return _own(task, "decide", scores, example)
    return task.problem.decide(scores, task.labels)


def clipped(task: Task, prediction: Any) -> Any:
    """A prediction of a regression, or the end of the range of scores that it lies beyond.

    What is none (None, of a written answer, and NaN) and tasks without a range stay as they are.
    """
    if task.score_range is None or prediction is None:
        return prediction
    low, high = task.score_range
    return min(max(prediction, low), high)


def metric_inputs(task: Task, prediction: Any, example: Example) -> tuple[Any, Any]:
    """``(prediction, reference)`` as the metrics take them."""
    if task.metric_inputs is not None:
        return _own(task, "metric_inputs", prediction, example)
    # An audit may have the labels of records alone, without the data.
    words = words_of(task, example) if task.text_fields[0] in example else ()
    return task.problem.metric_inputs(prediction, example[task.label_field], task.labels, words)


def repairs(task: Task, example: Example) -> list[str]:
    """What is wrong in the example's data and how it is read, one note each."""
    return [] if task.repairs is None else _own(task, "repairs", example)


def cluster_of(task: Task, example: Example) -> str:
    """The name of the cluster that the example is in: equal for the examples that belong together (`Task.cluster`)."""
    if callable(task.cluster):
        return str(_own(task, "cluster", example))
    fields = task.cluster_fields
    if lacking := [name for name in fields if name not in example]:
        hint = did_you_mean(lacking[0], example)
        raise HarnessError(
            f"task '{task.name}': its examples have no field '{lacking[0]}', which cluster names.{hint} "
            f"They have: {', '.join(example)}"
        )
    names = [normalised(example[name]) for name in fields]
    if task.cluster and not all(name and example[field] is not None for name, field in zip(names, fields, strict=True)):
        raise HarnessError(
            f"task '{task.name}', idx {example.get('idx')!r}: there is nothing in {' or '.join(fields)}, by which "
            "cluster says what belongs together"
        )
    return "\n".join(names)


# Texts -----------------------------------------------------------------------------------------------------------


def bare_text(task: Task, example: Example, text: str) -> str:
    """A text-to-text input without the words that name the task and its fields.

    Of a task whose ``text_to_text`` is a function of its own, only the task's name is taken off.
    """
    if task.text_to_text is None:
        return input_text(task, Instance(field_texts(task, example)), prefix=False)
    return text.removeprefix(f"{task.t5_prefix} ").removeprefix(f"{task.t5_prefix}: ")


def source_places(task: Task, example: Example, text: str, prefix: bool = True) -> dict[str, Place]:
    """Where the fields of an example stand in a text-to-text input, as `text_to_text` or `bare_text` gave it.

    In a text of the task's own function they are looked for, as examples and as instances have them.
    """
    if task.text_to_text is None and task.training_texts is None:
        return field_places(task, Instance(field_texts(task, example)), prefix)
    own = [field for instance in instances(task, example)[:1] for field in instance.fields.items()]
    return places_in(text, [*field_texts(task, example).items(), *own])


# Guards ----------------------------------------------------------------------------------------------------------


def _own(task: Task, name: str, *arguments: Any) -> Any:
    """Call a task's own function.

    Raises:
        HarnessError: the function's own one, or one that names the task, the function and the line, where it raises
            anything else or returns what a function of this name must not.
    """
    is_right, expected = _RESULTS[name]
    try:
        result = getattr(task, name)(*arguments)
    except HarnessError:
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)[1:]  # the first is this one
        line = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
        problem = f"fails: {type(error).__name__}: {in_one_line(error)}{line}"
        raise HarnessError(printable(f"task '{task.name}': {name} {problem}")) from error
    if not is_right(task, result):
        problem = f"gives {shortened(repr(result))}; expected {expected.format(labels=len(task.labels))}"
        raise HarnessError(printable(f"task '{task.name}': {name} {problem}"))
    return result


def _is_prediction(task: Task, value: Any) -> bool:
    return bool(task.open_answers or value == task.invalid_prediction or task.problem.is_prediction(value, task.labels))


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _is_pair(value: Any) -> bool:
    return _is_list(value) and len(value) == 2 and all(isinstance(text, str) for text in value)


_PREDICTION = "a class index below {labels} (regression: a number; several labels: a list of indices)"
_RESULTS: dict[str, tuple[Callable[[Task, Any], bool], str]] = {
    "instances": (
        lambda task, value: _is_list(value) and all(isinstance(item, Instance) for item in value),
        "a list of Instances",
    ),
    "text_to_text": (lambda task, value: _is_pair(value), "two texts: (input, target)"),
    "training_texts": (
        lambda task, value: _is_list(value) and all(map(_is_pair, value)),
        "a list of (input, target) texts",
    ),
    "parse": (lambda task, value: value is None or _is_prediction(task, value), f"None or {_PREDICTION}"),
    "decide": (_is_prediction, _PREDICTION),
    "metric_inputs": (lambda task, value: _is_list(value) and len(value) == 2, "(prediction, reference)"),
    "repairs": (lambda task, value: _is_list(value), "a list of texts"),
    "cluster": (lambda task, value: isinstance(value, str | int), "a text or a whole number"),
}
"""What a task's own function must return: a check, and the words for it."""
