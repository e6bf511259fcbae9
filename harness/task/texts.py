"""An example as one text, and where its fields stand in it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

from harness.errors import HarnessError, did_you_mean
from harness.task.task import Example, Instance, Task

Place = tuple[int, int]
"""From where to where a field goes, in characters of a text."""


def input_text(task: Task, instance: Instance, prefix: bool = True) -> str:
    """The instance as one text: T5's ``name field: value ...`` form, or, without ``prefix``, the values alone."""
    if not prefix:
        return " ".join(instance.fields.values())
    return " ".join([task.t5_prefix, *(f"{key}: {instance.fields[key]}" for key in sorted(instance.fields))])


def segments(instance: Instance) -> list[str]:
    """The instance as an encoder with segments reads it: its first field, and the others joined by spaces."""
    first, *others = instance.fields.values()
    return [first, " ".join(others)] if others else [first]


def field_places(task: Task, instance: Instance, prefix: bool = True) -> dict[str, Place]:
    """Where each field's value stands in the `input_text` of the same arguments.

    >>> from harness import load_tasks
    >>> rte, instance = load_tasks()["rte"], Instance({"sentence1": "It rains.", "sentence2": "It is wet."})
    >>> {name: input_text(rte, instance)[start:end] for name, (start, end) in field_places(rte, instance).items()}
    {'sentence1': 'It rains.', 'sentence2': 'It is wet.'}
    """
    places, position = {}, len(task.t5_prefix) + 1 if prefix else 0
    for name in sorted(instance.fields) if prefix else instance.fields:
        start = position + (len(name) + 2 if prefix else 0)
        position = start + len(instance.fields[name])
        places[name] = (start, position)
        position += 1
    return places


def places_in(text: str, fields: Iterable[tuple[str, str]]) -> dict[str, Place]:
    """Where fields stand in a text that was written by other rules.

    A value counts where its name stands before it, as in T5's form, or else at its only place. Of several values of one
    name the first counts that is there; what is not there, or only inside of a longer field, has no place.

    Args:
        text: the text.
        fields: names and values.
    """
    places: dict[str, Place] = {}
    for name, value in sorted(fields, key=lambda field: -len(field[1])):
        start = text.find(f"{name}: {value}")
        start = start + len(name) + 2 if start >= 0 else text.find(value) if text.count(value) == 1 else -1
        free = all(start + len(value) <= first or last <= start for first, last in places.values())
        if value and start >= 0 and free and name not in places:
            places[name] = (start, start + len(value))
    return places


def field_texts(task: Task, example: Example) -> dict[str, str]:
    """The text fields; words are joined by spaces."""
    if lacking := [name for name in task.text_fields if name not in example]:
        hint = did_you_mean(lacking[0], example)
        raise HarnessError(
            f"task '{task.name}': its examples have no field '{lacking[0]}', which text_fields names.{hint} "
            f"They have: {', '.join(example)}"
        )
    fields = {name: example[name] for name in task.text_fields}
    return {name: " ".join(value) if isinstance(value, list) else str(value) for name, value in fields.items()}


def words_of(task: Task, example: Example) -> Sequence[str]:
    """The words of an example of which each gets a label."""
    return example[task.text_fields[0]] if task.problem.of_words else ()


def normalised(value: Any) -> str:
    """A text (words: joined by spaces) in NFKC, lower case and with single spaces: equal for what reads the same."""
    text = _joined(value)
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return " ".join(text.lower().split())


def _joined(value: Any) -> str:
    return " ".join(map(_joined, value)) if isinstance(value, list | tuple) else str(value)
