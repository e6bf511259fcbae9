"""The mistakes in a settings file, unknown keys among them: all reported at once, each with its line."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from harness.config.yaml import Document, Where, shown
from harness.errors import HarnessError, did_you_mean, printable

S = TypeVar("S", bound=BaseModel)
Report = Callable[[Where, str], None]
"""Takes the place of a mistake, relative to what is being checked, and the message."""


@dataclass
class Problems:
    """The mistakes found so far in one file (``document``, called ``name`` in messages)."""

    name: str
    document: Document
    lines: list[tuple[float, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for line, message in self.document.problems:
            self.lines.append((line, f"{self.name}:{line}: {printable(message)}"))

    def add(self, where: Where, message: str) -> None:
        """Note a mistake at a place in the file."""
        mark = self.document.mark(where)
        self.lines.append((self.document.line(where), f"{self.name}:{mark}: {printable(message)}"))

    def add_option(self, message: str) -> None:
        """Note a mistake that was not made in the file."""
        self.lines.append((math.inf, message))

    def at(self, *where: str | int) -> Report:
        """Where to report mistakes in the part of the file that begins at ``where``."""
        return lambda rest, message: self.add((*where, *rest), message)

    def raise_all(self) -> None:
        """Raise one error with a line per mistake, in the order of the file, when there are any."""
        if self.lines:
            lines = dict.fromkeys(message for _, message in sorted(self.lines, key=lambda problem: problem[0]))
            raise HarnessError("\n".join(lines))


def unknown(noun: str, name: object, choices: Iterable[str], within: str = "") -> str:
    """``unknown task 'x'`` with the nearest of the choices, or all of them where none is near."""
    names = list(choices)
    hint = did_you_mean(str(name), names)
    if not hint and names:
        hint = f" Known: {', '.join(names)}"
    return f"unknown {noun} {shown(name)}{within}.{hint}"


def build(cls: type[S], data: Any, title: str, report: Report, **given: Any) -> S | None:
    """An object of ``cls`` from plain data and ``given`` fields, which the data may not set.

    Every mistake is reported. The object is then built from what is right, so that its other parts can still be
    checked; None when what is right does not suffice.
    """
    if isinstance(data, Mapping):
        for key in given.keys() & data.keys():
            report((key,), f"unknown key {key!r} in {title}")
        data = {**data, **given}
    try:
        return cls.model_validate(data)
    except ValidationError as error:
        mistakes = error.errors(include_url=False)
    reported: set[Where] = set()
    for detail in mistakes:
        depth, field, owner = _field(cls, detail["loc"])
        path = detail["loc"][:depth]
        item = detail["loc"][depth : depth + 1]
        where = (*path, *(i for i in item if isinstance(i, int)))
        if where not in reported:  # a union has a mistake for each of its members
            reported |= {where, path}
            choices = [name for name in owner.model_fields if name not in given]
            report(where, _message(path, field, choices, detail, title))
        data = _without(data, path)
    try:
        return cls.model_validate(data)
    except ValidationError:
        return None


def _field(cls: type[BaseModel], loc: Where) -> tuple[int, FieldInfo | None, type[BaseModel]]:
    """Follow ``loc`` to its last setting: the steps that takes, the setting (None: unknown), what it is part of."""
    owner, setting, by_name = cls, None, False
    for depth, key in enumerate(loc):
        if by_name:
            by_name = False
            continue
        field = owner.model_fields.get(str(key))
        if field is None:
            return depth + 1, None, owner
        setting = field
        inner, by_name = _nested(field.annotation)
        if inner is None:
            return depth + 1, field, owner
        owner = inner
    return len(loc), setting, owner


def _nested(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """The settings that a field holds, if it does, and whether it holds them by name."""
    by_name = get_origin(annotation) is dict
    for part in (annotation, *get_args(annotation)):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part, by_name
    return None, False


def _message(path: Where, field: FieldInfo | None, choices: list[str], detail: ErrorDetails, title: str) -> str:
    dotted = ".".join(map(str, path))
    if detail["type"] == "extra_forbidden":
        return unknown("key", path[-1], choices, f" in {'.'.join(map(str, path[:-1])) or title}")
    if detail["type"] == "range":
        return f"{dotted}: {detail['msg']}"
    if field is None:
        return f"{title} must be a mapping, not {shown(detail['input'])}"
    words = _choices(field.annotation)
    expected = field.description or ", ".join(words[:-1]) + " or " * (len(words) > 1) + "".join(words[-1:])
    if detail["type"] == "missing":
        return f"{title} needs '{dotted}': {expected}"
    value = list(detail["input"]) if isinstance(detail["input"], tuple) else detail["input"]
    hint = did_you_mean(value, words) if isinstance(value, str) else ""
    return f"{dotted} must be {expected or 'a mapping'}, not {shown(value)}{'.' + hint if hint else ''}"


def _choices(annotation: Any) -> list[str]:
    """The words that a field of fixed choices takes."""
    if get_origin(annotation) is Literal:
        return [str(choice) for choice in get_args(annotation)]
    return [choice for part in get_args(annotation) for choice in _choices(part)]


def _without(data: Any, path: Where) -> Any:
    """The data without the value at ``path``."""
    if not path or not isinstance(data, dict) or path[0] not in data:
        return data
    rest = {key: value for key, value in data.items() if key != path[0]}
    return rest if len(path) == 1 else {**rest, path[0]: _without(data[path[0]], path[1:])}
