"""Settings files: YAML 1.2 with the line of every value, and the mistakes in one, reported all at once.

PyYAML follows YAML 1.1; its parser is kept, its rules for plain values are replaced by those of the 1.2 core schema:
``1e-4`` is a number, ``no`` is a text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from harness.errors import HarnessError, did_you_mean, printable, shortened
from harness.io import open_regular

Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Where = tuple[str | int, ...]
"""The way to a value: keys and list positions, from the top."""

S = TypeVar("S", bound=BaseModel)
Report = Callable[[Where, str], None]
"""Takes the place of a mistake, relative to what is being checked, and the message."""

MAX_BYTES = 1_000_000
MAX_VALUES = 20_000
MAX_DEPTH = 50
TOO_DEEP = f"nested more than {MAX_DEPTH} levels deep"
MAX_NUMBER = 100

STR = "tag:yaml.org,2002:str"
MERGE = "tag:yaml.org,2002:merge"
COLLECTIONS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")


def _integer(text: str) -> int:
    base = {"0o": 8, "0x": 16}.get(text[:2])
    return int(text[2:], base) if base else int(text)


def _float(text: str) -> float:
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


# https://yaml.org/spec/1.2.2/#103-core-schema
PLAIN: dict[str, tuple[re.Pattern[str], Callable[[str], Any]]] = {
    "tag:yaml.org,2002:null": (re.compile(r"(?:~|null|Null|NULL|)\Z"), lambda text: None),
    "tag:yaml.org,2002:bool": (
        re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"),
        lambda text: text.lower() == "true",
    ),
    "tag:yaml.org,2002:int": (
        re.compile(rf"(?=.{{1,{MAX_NUMBER}}}\Z)(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z"),
        _integer,
    ),
    "tag:yaml.org,2002:float": (
        re.compile(
            rf"(?=.{{1,{MAX_NUMBER}}}\Z)"
            r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
        ),
        _float,
    ),
}


class _Loader(Base):
    yaml_implicit_resolvers = {  # noqa: RUF012 (PyYAML reads it from the class)
        None: [*((tag, pattern) for tag, (pattern, _) in PLAIN.items()), (MERGE, re.compile(r"<<\Z"))]
    }


@dataclass
class Document:
    """Plain data (mapping keys are texts, as written), the line of every value, and the mistakes in between.

    ``problems`` are ``(line, message)``: duplicate keys, unknown tags and the like, with which the rest still reads.
    """

    data: Any = None
    lines: dict[Where, int] = field(default_factory=lambda: {(): 1})
    problems: list[tuple[int, str]] = field(default_factory=list)

    from_file: bool = True
    """Else the mistakes are named by their keys: a mapping has no lines."""

    def mark(self, where: Where) -> str:
        """What messages call a place: its line."""
        return str(self.line(where)) if self.from_file else ".".join(map(str, where)) or "top"

    def line(self, where: Where) -> int:
        """The line of a value, or of the nearest one around it."""
        while where not in self.lines:
            where = where[:-1]
        return self.lines[where]


def shown(value: Any) -> str:
    """A value as messages show it: printable, and not too long."""
    text = "nothing" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    return shortened(text)


def parse_scalar(text: str) -> Any:
    """What ``text`` means as a plain YAML 1.2 value: null, a boolean, a number or itself."""
    text = text.strip()
    for pattern, convert in PLAIN.values():
        if pattern.match(text):
            return convert(text)
    return text


def read(path: str | Path) -> Document:
    """Read a file that holds one YAML document.

    Raises:
        HarnessError: no readable file, not UTF-8, not YAML, several documents, or one that expands without measure.
    """
    text = _text(path)
    try:
        _check_shape(path, text)
        root = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise HarnessError(f"{path}:{_syntax_problem(text, error)}") from error
    builder = _Builder(path)
    if root is not None:
        builder.document.lines[()] = _line(root)
        builder.document.data = builder.value(root, ())
    return builder.document


def _text(path: str | Path) -> str:
    try:
        with open_regular(Path(path)) as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise HarnessError(f"{path}: cannot be read: {reason}") from error
    if len(content) > MAX_BYTES:
        raise HarnessError(f"{path}: larger than {MAX_BYTES:,} bytes: not a file of benchmarks")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise HarnessError(f"{path}:{line}: not UTF-8: save the file as UTF-8 text") from error
    strange = re.search(r"[^\t\n\r\x20-\x7E\x85\xA0-\uFEFE\uFF00-\uFFFD\U00010000-\U0010FFFF]", text)
    if strange:
        line = text.count("\n", 0, strange.start()) + 1
        raise HarnessError(f"{path}:{line}: a control character ({strange.group()!a}), which YAML does not allow")
    return text


def _syntax_problem(text: str, error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line = mark.line + 1 if mark else 1
    parts = [getattr(error, "context", None), getattr(error, "problem", None)]
    problem = ", ".join(filter(None, parts)) or str(error)
    if "nesting depth" in problem:  # later versions of libyaml notice it first
        return f"{line}: {TOO_DEEP}"
    before = (text.splitlines()[line - 1 : line] or [""])[0][: mark.column + 1 if mark else 0]
    tabs = " (indent with spaces, not with tabs)" if "\t" in before else ""
    return f"{line}: not valid YAML: {problem}{tabs}"


def _check_shape(path: str | Path, text: str) -> None:
    """Refuse several documents, and size and nesting that would exhaust the (recursive) composer."""
    depth = documents = 0
    for number, event in enumerate(yaml.parse(text, Loader=_Loader)):
        documents += isinstance(event, yaml.DocumentStartEvent)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        line = _line(event)
        if documents > 1:
            raise HarnessError(f"{path}:{line}: '---' starts another document: one file holds one")
        if depth > MAX_DEPTH:
            raise HarnessError(f"{path}:{line}: {TOO_DEEP}")
        if number > 2 * MAX_VALUES:
            raise HarnessError(f"{path}:{line}: more than {MAX_VALUES:,} values: not a file of benchmarks")


def _line(part: Any) -> int:
    """The line, from 1, where a node or event begins."""
    return int(part.start_mark.line) + 1


class _Builder:
    """Plain data from composed nodes. Aliases are expanded, so every way to a value has a line; the size is bounded."""

    def __init__(self, path: str | Path):
        self.path = path
        self.document = Document()
        self.values = 0

    def value(self, node: Node, where: Where) -> Any:
        self._count(node, len(where))
        if isinstance(node, ScalarNode):
            return self._scalar(node)
        if node.tag not in COLLECTIONS:
            self._problem(node, f"unknown tag {shown(node.tag)}: only plain YAML values are read")
        if isinstance(node, SequenceNode):
            return [self._at(item, item, (*where, i)) for i, item in enumerate(node.value)]
        assert isinstance(node, MappingNode)
        return {key: self._at(key_node, value, (*where, key)) for key, key_node, value in self._pairs(node, len(where))}

    def _at(self, mark: Node, node: Node, where: Where) -> Any:
        self.document.lines[where] = _line(mark)
        return self.value(node, where)

    def _pairs(self, node: MappingNode, depth: int) -> Iterator[tuple[str, ScalarNode, Node]]:
        """The entries of a mapping: its own, then those it merges with ``<<`` and has not itself."""
        seen: dict[str, Node] = {}
        merged: list[Node] = []
        for key_node, value in node.value:
            key = "<<" if key_node.tag == MERGE else key_node.value
            if not isinstance(key_node, ScalarNode):
                self._problem(key_node, "a key must be a plain name")
            elif key in seen:
                first = _line(seen[key])
                self._problem(key_node, f"duplicate key {shown(key)}, first on line {first}")
            else:
                seen[key] = key_node
                if key_node.tag != MERGE:
                    yield key, key_node, value
                else:
                    merged = value.value if isinstance(value, SequenceNode) else [value]
        for source in merged:
            if not isinstance(source, MappingNode):
                self._problem(source, "'<<' merges a mapping or a list of mappings")
                continue
            self._count(source, depth)
            for key, key_node, value in self._pairs(source, depth + 1):
                if key not in seen:
                    seen[key] = key_node
                    yield key, key_node, value

    def _scalar(self, node: ScalarNode) -> Any:
        if node.tag in (STR, MERGE):
            return node.value
        if node.tag not in PLAIN:
            self._problem(node, f"unknown tag {shown(node.tag)}: only plain YAML values are read")
            return node.value
        pattern, convert = PLAIN[node.tag]
        if not pattern.match(node.value):
            self._problem(node, f"{shown(node.value)} is not a value of type {node.tag.rpartition(':')[2]}")
            return node.value
        return convert(node.value)

    def _count(self, node: Node, depth: int) -> None:
        self.values += 1
        line = _line(node)
        if self.values > MAX_VALUES:
            raise HarnessError(f"{self.path}:{line}: aliases expand the file to more than {MAX_VALUES:,} values")
        if depth > MAX_DEPTH:
            raise HarnessError(f"{self.path}:{line}: {TOO_DEEP}: does an alias hold itself?")

    def _problem(self, node: Node, message: str) -> None:
        problem = (_line(node), message)
        if problem not in self.document.problems:
            self.document.problems.append(problem)


# Mistakes --------------------------------------------------------------------------------------------------------


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
