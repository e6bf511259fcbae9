"""The recipes that a benchmark's layers give together, as text, and where each value comes from."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from harness.config.architectures import ARCHITECTURES
from harness.config.recipe import TWO_NAMES, Recipe, given_by
from harness.config.schema import BenchmarkEntry, BenchmarkSpec
from harness.config.sweep import Range

WIDTH = 110
SOURCES = ("default", "benchmark", "model", "task recipe", "sweep", "override", "--set")

_FIXED = "\xa0"
"""A space at which no line is broken."""

Given = tuple[str, str]
"""What a text says of a setting: its key with its value, and the source of it."""


def effective_recipes(spec: BenchmarkSpec) -> str:
    """The recipe of each model of a benchmark; below it, what is different for some tasks.

    Models with the same recipes share their lines. The first says what most tasks have. The values that a sweep tries
    stand side by side, and a range as ``0.0001 to 0.001``.

    Returns:
        Lines of about `WIDTH` characters: ``bert-base: epochs 5 (model)``.
    """
    models: dict[tuple[str, ...], list[str]] = {}
    for model in spec.models:
        of_task = {task: _settings(spec, task, model) for task in spec.trained}
        usual = _usual(of_task.values())
        lines = _wrapped("    ", "", _text(entry for entry in usual.values() if entry[1] != "default"))
        for tasks, entries in _deviations(of_task, usual).items():
            lines += _wrapped("    ", f"{', '.join(tasks)}: ", _text(entries))
        models.setdefault(tuple(lines), []).append(model)
    text = ["recipes; what nothing sets is the default:"]
    for of_models, names in models.items():
        text += [f"  {', '.join(names)}", *of_models]
    return "\n".join(text)


def default_settings(architecture: str) -> dict[str, Any]:
    """A recipe's settings, the options of an architecture and the ``selection`` as they are where nothing sets them."""
    known = ARCHITECTURES.get(architecture)
    options = known(name="", architecture=architecture).options() if known else {}
    return {**options, **Recipe().model_dump(), "selection": BenchmarkEntry.model_fields["selection"].default}


def _settings(spec: BenchmarkSpec, task: str, model: str) -> dict[str, Given]:
    """By key, each setting of a task and a model; of two names of a setting the one that decides, under the first."""
    values: dict[str, dict[tuple[str, str], str]] = {}
    for swept in spec.swept(task, model):
        given = given_by(spec.layers(task, model, swept))
        for name, field in Recipe.model_fields.items():
            if name in TWO_NAMES.values():
                continue
            stronger = TWO_NAMES.get(name)
            key = stronger if stronger and given.get(stronger, (None,))[0] is not None else name
            value, source = given.get(key, (field.default, "default"))
            values.setdefault(name, {})[key, _value_text(value)] = source
    searched = spec.space(task, model) if spec.is_searched(task, model) else {}
    between = {name: " to " for name, tried in searched.items() if isinstance(tried, Range)}
    return {
        name: (_alternatives(tried, between.get(name, " | ")), [*tried.values()][-1]) for name, tried in values.items()
    }


def _alternatives(tried: Iterable[tuple[str, str]], between: str) -> str:
    """``learning_rate 0.0001 | 0.001``, ``epochs 3 | max_steps 50``."""
    text = key = ""
    for name, value in tried:
        text += f"{between if text else ''}{value if name == key else f'{name} {value}'}"
        key = name
    return text.replace(" ", _FIXED)


def _value_text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else value if isinstance(value, str) else json.dumps(value)


def _usual(of_tasks: Iterable[Mapping[str, Given]]) -> dict[str, Given]:
    """What most tasks have, of equally many the first."""
    every = list(of_tasks)
    return {name: Counter(settings[name] for settings in every).most_common(1)[0][0] for name in every[0]}


def _deviations(
    of_task: Mapping[str, Mapping[str, Given]], usual: Mapping[str, Given]
) -> dict[tuple[str, ...], list[Given]]:
    """What tasks have that is not usual, by the tasks that have the same."""
    tasks: dict[tuple[Given, ...], list[str]] = {}
    for task, settings in of_task.items():
        own = tuple(entry for name, entry in settings.items() if entry != usual[name])
        if own:
            tasks.setdefault(own, []).append(task)
    return {tuple(names): [*own] for own, names in tasks.items()}


def _text(entries: Iterable[Given]) -> str:
    """``learning_rate 2e-05, epochs 3 (model); max_length 512 (override)``."""
    by_source: dict[str, list[str]] = {}
    for text, source in entries:
        by_source.setdefault(source, []).append(text)
    parts = [f"{', '.join(by_source[source])} ({source})" for source in SOURCES if source in by_source]
    return "; ".join(parts) or "the default"


def _wrapped(indent: str, title: str, text: str) -> list[str]:
    """Lines that keep a key and its value together."""
    lines = textwrap.wrap(
        title + text, WIDTH, initial_indent=indent, subsequent_indent=indent + "  ", break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip
    return [line.replace(_FIXED, " ") for line in lines]
