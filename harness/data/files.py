"""Data files as examples, with file and line for everything that is wrong in them."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.data.formats import ROW, Place, error_at, read_rows
from harness.data.labels import BadValue, check_sentence, label_reader, parts, shown, whole
from harness.errors import HarnessError, did_you_mean
from harness.task.task import Example, SplitFile, Task


def read_examples(task: Task, spec: SplitFile, path: Path, rows: Sequence[int] = ()) -> Iterator[Example]:
    """The examples of a data file in order, read as they are asked for: a big file never is in memory as a whole.

    Text is UTF-8 with or without byte-order mark. ``.tsv`` is read without quoting and split on newlines only (a
    file whose every line ends with CR LF loses the CRs); ``.csv`` is quoted as in RFC 4180; ``.jsonl`` holds an
    object a line; in ``.parquet``, integer labels with class names count by their names.

    Args:
        rows: the official numbers of examples, one of which must be met; empty: any number. Official QQP files hold
            some records that a newline breaks in two. Every reader of GLUE skips such short rows, and they are
            skipped here too, but only where exactly an official number of examples remains.

    Raises:
        HarnessError: an unreadable file, row, label or score, a missing column; after the last example, also another
            number of examples, and an idx that stands twice.
    """
    short: list[HarnessError] = []
    count = 0
    build = _expanded if spec.expand else _mapped
    for example in build(task, spec, path, read_rows(spec, path, short)):
        count += 1
        yield example
    if short and count not in rows:
        raise short[0]
    if not count:
        raise error_at(path, 1, "there are no examples in the file")
    if rows and count not in rows:
        expected = " or ".join(map(str, rows))
        raise HarnessError(
            f"{path}: found {count} examples, expected {expected} (the official number): "
            "get the file again, or set `allow_partial: true` for a partial copy"
        )


def column_names(spec: SplitFile, path: Path) -> list[str]:
    """The names of a file's columns (of JSON lines: the keys of the first object)."""
    return next((list(record) for _, record in read_rows(spec, path, [])), [])


def label_names(spec: SplitFile, path: Path, several: bool = False) -> tuple[str, ...]:
    """The class names in a file's ``label`` column, sorted by name (whole numbers: by number).

    Args:
        several: a cell holds several labels (multi-label).

    Raises:
        HarnessError: an unreadable file, a missing label, labels that are no names.
    """
    column = str(spec.columns["label"])
    names: set[str] = set()
    for place, record in read_rows(spec, path, []):
        try:
            value = _pick(record, column)
            if several and isinstance(value, str):
                value = parts(value, spec.separator)
            for label in value if several and isinstance(value, list) else [value]:
                names.add(_name(label))
        except BadValue as error:
            raise error_at(path, place, str(error)) from None
    if not names:
        raise error_at(path, 1, "there are no labels in the file")
    numbers = all(name.isdecimal() for name in names)
    return tuple(sorted(names, key=int if numbers else None))


def _name(label: Any) -> str:
    label = whole(label)
    if label is None or label == "":
        raise BadValue("the label is missing")
    if not isinstance(label, str | int):
        raise BadValue(f"a label must be a name, found {shown(label)}")
    return str(label)


# Examples --------------------------------------------------------------------------------------------------------

Records = Iterable[tuple[Place, Mapping[str, Any]]]


def _mapped(task: Task, spec: SplitFile, path: Path, records: Records) -> Iterator[Example]:
    """Examples of a regular file: each field is one column."""
    read_label = label_reader(task, spec)
    columns = {field: str(column) for field, column in spec.columns.items()}
    texts = [field for field in task.text_fields if field in columns]
    seen = _Seen()
    for count, (place, record) in enumerate(records):
        try:
            example = {field: _pick(record, column) for field, column in columns.items()}
            for field in texts:
                check_field(task, field, example[field])
            label = task.label_field
            if label == "label" or task.problem.of_words:
                example[label] = read_label(example[label]) if label in columns else task.unlabelled
                if task.problem.of_words and label in columns:
                    check_sentence(task, example)
            example["idx"] = _idx(example["idx"]) if "idx" in columns else count
            if "idx" in columns:
                seen.add(example["idx"], place)
        except BadValue as error:
            raise error_at(path, place, str(error)) from None
        yield example
    seen.check(path)


def _expanded(task: Task, spec: SplitFile, path: Path, records: Records) -> Iterator[Example]:
    """Examples of an irregular file: ``spec.expand`` makes them; labels that are spelled become indices here."""
    assert spec.expand is not None
    count = 0
    spelled = (str, bool, int) if spec.labels else (str, bool)
    read_label = label_reader(task, spec)
    seen = _Seen()
    for place, record in records:
        examples: list[Example] = []
        try:
            for expanded in spec.expand(dict(record)):
                example = {"idx": count + len(examples), **expanded}
                for field in task.text_fields:
                    check_field(task, field, example[field])
                if task.label_field == "label":
                    example.setdefault("label", task.unlabelled)
                    if isinstance(example["label"], spelled):
                        example["label"] = read_label(example["label"])
                seen.add(example["idx"], place)
                examples.append(example)
        except (BadValue, HarnessError) as error:
            raise error_at(path, place, str(error)) from error
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            problem = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise error_at(path, place, f"not a record of task '{task.name}': {problem}") from error
        count += len(examples)
        yield from examples
    seen.check(path)


def _pick(record: Mapping[str, Any], column: str) -> Any:
    """A column's value; ``a.b`` reaches into a nested object."""
    if column in record:
        return record[column]
    value: Any = record
    for key in column.split("."):
        if not isinstance(value, Mapping) or key not in value:
            found = ", ".join(map(str, record))
            raise BadValue(f"no '{column}'.{did_you_mean(column, record)} Found: {found}")
        value = value[key]
    return value


def _idx(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if not value.isdecimal() or len(value) > 18:
        raise BadValue(f"the idx must be a whole number, found {shown(value)}")
    return int(value)


def check_field(task: Task, field: str, value: Any) -> None:
    """Raise `BadValue` for what is not a text or, in token classification, not a list of words."""
    if not task.problem.of_words:
        check_text(field, value)
        return
    if not isinstance(value, list) or not value:
        raise BadValue(f"'{field}' must be a list of words, found {shown(value)}")
    for word in value:
        check_text(f"a word of {field}", word)


def check_text(field: str, value: Any) -> None:
    """Raise `BadValue` for what is not a text, or cannot be written as UTF-8."""
    if not isinstance(value, str):
        raise BadValue(f"'{field}' must be a text, found {shown(value)}")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise BadValue(f"'{field}' holds half a character (a lone surrogate)") from None


class _Seen:
    """Every idx so far with its place; whole numbers, which big files have, take 16 bytes each."""

    def __init__(self) -> None:
        self.numbers, self.rows = array("q"), array("q")
        self.rest: dict[Any, Place] = {}
        self.lines = True

    def add(self, idx: Any, place: Place) -> None:
        """Raise `BadValue` where an idx that is no number stands twice."""
        number = type(idx) is int and -(2**63) <= idx < 2**63
        key = idx if number else repr(idx)
        if number:
            self.lines = isinstance(place, int)
            self.numbers.append(idx)
            self.rows.append(place if isinstance(place, int) else int(place.removeprefix(ROW)))
        elif key in self.rest:
            raise _twice(idx, self.rest[key])
        else:
            self.rest[key] = place

    def check(self, path: Path) -> None:
        """Raise for the first number that stands twice."""
        import numpy as np

        numbers = np.frombuffer(self.numbers, dtype=np.int64)
        order = np.argsort(numbers, kind="stable")
        again = np.flatnonzero(numbers[order[1:]] == numbers[order[:-1]])
        if len(again):
            at = int(order[again + 1].min())
            before = int(np.flatnonzero(numbers == numbers[at])[0])
            places = [row if self.lines else f"{ROW}{row}" for row in (self.rows[at], self.rows[before])]
            raise error_at(path, places[0], str(_twice(self.numbers[at], places[1])))


def _twice(idx: Any, place: Place) -> BadValue:
    return BadValue(f"the idx {shown(idx)} was already in {'line ' * isinstance(place, int)}{place}")
