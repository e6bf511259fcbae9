"""Settings files: YAML 1.2 with the line of every value.

PyYAML follows YAML 1.1; its parser is kept, its rules for plain values are replaced by those of the 1.2 core schema:
``1e-4`` is a number, ``no`` is a text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from harness.errors import HarnessError, shortened
from harness.io import open_regular

Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Where = tuple[str | int, ...]
"""The way to a value: keys and list positions, from the top."""


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
