"""Data files as examples, with file and line for everything that is wrong in them."""

from __future__ import annotations

import contextlib
import functools
import json
import math
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.data.formats import Rows, error_at, has_no_lines, read_rows
from harness.errors import HarnessError, did_you_mean, shown
from harness.task.entities import as_iob2, iob2_problem, scheme_of
from harness.task.task import Example, SplitFile, Task

LARGEST = 1e18
"""The largest score: its square, in the loss, has to be a number in single precision, too."""

MOST_LABELS, LONGEST_LABEL = 20_000, 1000
"""Of a task whose labels are taken from its training file: more or longer ones are texts or numbers of rows."""

ONE_HOT = {"0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}
"""What stands in a one-hot column, in any case."""
SEPARATORS = (";", "|", ",", "/", "\t", " ")
"""What may stand between the labels of a cell."""


class BadValue(ValueError):
    """What is wrong with one value; the reader of the file adds the place."""


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
    for row, record in read_rows(spec, path, []):
        try:
            value = pick(record, column)
            if several and isinstance(value, str):
                value = parts(value, spec.separator)
            for label in value if several and isinstance(value, list) else [value]:
                names.add(_name(label))
            if len(names) > MOST_LABELS:
                raise BadValue(f"more than {MOST_LABELS:,} labels: is '{column}' the column of the labels?")
        except BadValue as error:
            raise error_at(path, row, str(error)) from None
    if not names:
        raise error_at(path, 1, "there are no labels in the file")
    numbers = all(name.isdecimal() for name in names)
    return tuple(sorted(names, key=int if numbers else None))


def tag_scheme(spec: SplitFile, path: Path) -> tuple[str, str]:
    """The scheme of a file's tags, and what tells it (see `scheme_of`)."""
    column = str(spec.columns["label"])
    rows = (record.get(column) for _, record in read_rows(spec, path, []))
    return scheme_of([tag for tag in tags if isinstance(tag, str)] for tags in rows if isinstance(tags, list))


def _name(label: Any) -> str:
    label = whole(label)
    if label is None or label == "":
        raise BadValue("the label is missing")
    if not isinstance(label, str | int):
        raise BadValue(f"a label must be a name, found {shown(label)}")
    if isinstance(label, int) and abs(label) >= 10**LONGEST_LABEL:  # Python writes no number of 5,000 digits
        raise BadValue(f"a label must be a name of at most {LONGEST_LABEL} characters, found a longer number")
    check_text("label", name := str(label))
    if len(name) > LONGEST_LABEL:
        raise BadValue(f"a label must be a name of at most {LONGEST_LABEL} characters, found {shown(name)}")
    return name


# Examples --------------------------------------------------------------------------------------------------------


def _mapped(task: Task, spec: SplitFile, path: Path, records: Rows) -> Iterator[Example]:
    """Examples of a regular file: each field is one column."""
    read_label = label_reader(task, spec)
    columns = {field: str(column) for field, column in spec.columns.items()}
    texts = [field for field in task.text_fields if field in columns]
    seen = _Seen(path)
    for count, (row, record) in enumerate(records):
        try:
            example = {field: pick(record, column) for field, column in columns.items()}
            for field in texts:
                check_field(task, field, example[field])
            label = task.label_field
            if spec.one_hot:
                example[label] = read_label([name for name in spec.one_hot if _is_set(record, name)])
            elif label == "label" or task.problem.of_words:
                if task.problem.of_words and label in columns:
                    example[label] = _in_iob2(example[label], spec.scheme)
                example[label] = read_label(example[label]) if label in columns else task.unlabelled
                if task.problem.of_words and label in columns:
                    check_sentence(task, example)
            example["idx"] = _idx(example["idx"]) if "idx" in columns else count
            if "idx" in columns:
                seen.add(example["idx"], row)
        except BadValue as error:
            raise error_at(path, row, str(error)) from None
        yield example
    seen.check()


def _expanded(task: Task, spec: SplitFile, path: Path, records: Rows) -> Iterator[Example]:
    """Examples of an irregular file: ``spec.expand`` makes them; labels that are spelled become indices here."""
    assert spec.expand is not None
    count = 0
    spelled = (str, bool, int) if spec.labels else (str, bool)
    read_label = label_reader(task, spec)
    seen = _Seen(path)
    for row, record in records:
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
                seen.add(example["idx"], row)
                examples.append(example)
        except (BadValue, HarnessError) as error:
            raise error_at(path, row, str(error)) from error
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            problem = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise error_at(path, row, f"not a record of task '{task.name}': {problem}") from error
        count += len(examples)
        yield from examples
    seen.check()


def pick(record: Mapping[str, Any], column: str) -> Any:
    """A column's value; ``a.b`` reaches into a nested object."""
    if column in record:
        return record[column]
    value: Any = record
    for key in column.split("."):
        if not isinstance(value, Mapping) or key not in value:
            raise BadValue(f"no '{column}'.{did_you_mean(column, record)} Found: {', '.join(map(str, record))}")
        value = value[key]
    return value


def _in_iob2(tags: Any, scheme: str) -> Any:
    """Tags of another scheme as IOB2; what is no list of texts is left to the reader of labels."""
    if scheme == "iob2" or not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        return tags
    try:
        return as_iob2(tags, scheme)
    except ValueError as error:
        raise BadValue(f"{error}: say another `scheme:`, or `auto`") from None


def _is_set(record: Mapping[str, Any], column: str) -> bool:
    """Whether a one-hot column says that its label is right."""
    value = pick(record, column)
    text = str(whole(value)).strip().lower()
    if text not in ONE_HOT:
        raise BadValue(f"'{column}' must be 0 or 1, found {shown(value)}")
    return ONE_HOT[text]


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
    """Every idx of a file so far with its row; whole numbers, which big files have, take 16 bytes each."""

    def __init__(self, path: Path):
        self.path = path
        self.numbers, self.rows = array("q"), array("q")
        self.other_rows: dict[str, int] = {}

    def add(self, idx: Any, row: int) -> None:
        """Raise `BadValue` where an idx that is no number stands twice."""
        if type(idx) is int and -(2**63) <= idx < 2**63:
            self.numbers.append(idx)
            self.rows.append(row)
        elif repr(idx) in self.other_rows:
            raise BadValue(self._twice(idx, self.other_rows[repr(idx)]))
        else:
            self.other_rows[repr(idx)] = row

    def check(self) -> None:
        """Raise for the first number that stands twice."""
        import numpy as np

        numbers = np.frombuffer(self.numbers, dtype=np.int64)
        order = np.argsort(numbers, kind="stable")
        again = order[1:][numbers[order[1:]] == numbers[order[:-1]]]
        if len(again):
            number = numbers[again.min()]
            first = int(np.flatnonzero(numbers == number)[0])
            raise error_at(self.path, self.rows[again.min()], self._twice(int(number), self.rows[first]))

    def _twice(self, idx: Any, row: int) -> str:
        return f"the idx {shown(idx)} was already in {'row' if has_no_lines(self.path) else 'line'} {row}"


# Labels and scores as data spell them: matched by name, never by order -------------------------------------------


def label_reader(task: Task, spec: SplitFile | None = None) -> Callable[[Any], Any]:
    """A function from a label as data spell it to the class index, the score, the sorted indices (multi-label), or
    the indices of a sentence's tags (token classification).

    Labels are matched by name: ``spec.labels`` (the file's spellings, in class order), or the task's label names.
    The function raises `BadValue`.
    """
    spellings = (spec.labels if spec else None) or task.labels
    indices = {name: i for i, name in enumerate(spellings)}
    for i, name in enumerate(task.labels):
        indices.setdefault(name, i)
    if not task.problem.has_labels:
        return functools.partial(_score, task.score_range)
    if task.problem.independent_labels:
        return functools.partial(_label_set, indices, spellings, spec.separator if spec else ",")
    return functools.partial(_tags if task.problem.of_words else _label, indices, spellings)


def _score(score_range: tuple[float, float] | None, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise BadValue(f"the score must be a number, found {shown(value)}")
    try:
        score = float(value)
    except (ValueError, OverflowError):
        raise BadValue(f"the score must be a number, found {shown(value)}") from None
    if not math.isfinite(score):
        raise BadValue(f"the score must be a finite number, found {shown(value)}")
    if abs(score) > LARGEST:
        raise BadValue(f"the score {shown(value)} is too large: single precision cannot hold its square")
    if score_range and not score_range[0] <= score <= score_range[1]:
        raise BadValue(f"the score {shown(value)} is not between {score_range[0]:g} and {score_range[1]:g}")
    return score


def _label(indices: Mapping[str, int], spellings: Sequence[str], value: Any) -> int:
    if isinstance(value, bool):
        index = indices.get(str(value), indices.get(str(value).lower()))
    else:
        index = None if value is None else indices.get(str(whole(value)))
    if index is None:
        listed = ", ".join(spellings[:20]) + (", ..." if len(spellings) > 20 else "")
        hint = did_you_mean(str(value), spellings)
        what = "the label is missing" if value is None or value == "" else f"unknown label {shown(value)}"
        raise BadValue(f"{what}.{hint} Known labels: {listed}")
    return index


def whole(value: Any) -> Any:
    """A table turns whole numbers into floats in a column that also has gaps."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _label_set(indices: Mapping[str, int], spellings: Sequence[str], separator: str, value: Any) -> list[int]:
    if isinstance(value, str):
        value = parts(value, separator)
    if not isinstance(value, list):
        raise BadValue(f"the labels must be a list, found {shown(value)}")
    for part in value:
        for other in SEPARATORS if isinstance(part, str) and part not in indices else ():
            if len(names := parts(part, other)) > 1 and indices.keys() >= set(names):
                raise BadValue(f"{shown(part)} is several labels with {other!r} between them: name it as 'separator'")
    return sorted({_label(indices, spellings, part) for part in value})


def _tags(indices: Mapping[str, int], spellings: Sequence[str], value: Any) -> list[int]:
    if not isinstance(value, list):
        raise BadValue(f"the tags must be a list, found {shown(value)}")
    tags = []
    for number, tag in enumerate(value, start=1):
        try:
            tags.append(_label(indices, spellings, tag))
        except BadValue as error:
            raise BadValue(f"word {number}: {error}") from None
    return tags


def check_sentence(task: Task, example: Example) -> None:
    """Raise `BadValue` where the tags of a sentence are not one for each word, or no IOB2."""
    words, tags = example[task.text_fields[0]], example[task.label_field]
    if len(words) != len(tags):
        raise BadValue(f"there are {len(tags)} tags for {len(words)} words")
    if problem := iob2_problem([task.labels[i] for i in tags]):
        raise BadValue(f"{problem}; `scheme: auto` reads IOB1 and BIOES, too")


def parts(cell: str, separator: str) -> list[Any]:
    """The labels in one cell of a table: a JSON list, or names with separators between them."""
    if cell.lstrip().startswith("["):
        with contextlib.suppress(ValueError, RecursionError):
            if isinstance(labels := json.loads(cell), list):
                return labels
    return [part.strip() for part in cell.split(separator) if part.strip()]


def other_separator(names: Sequence[str]) -> str | None:
    """The separator by which label names look like several labels each; None where they do not.

    A semicolon or a bar in a name does; others do where all that stands between them stands in several names, and
    there are fewer of these parts than names.
    """
    for separator in SEPARATORS:
        pieces = [set(parts(name, separator)) for name in names if not name.startswith("[")]
        joined = [own for own in pieces if len(own) > 1]
        used = Counter(part for own in pieces for part in own)
        repeated = len(used) < len(pieces) and all(used[part] > 1 for own in joined for part in own)
        if joined and (repeated or separator in ";|"):
            return separator
    return None
