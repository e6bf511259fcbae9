"""Data files as examples: TSV, CSV, JSON lines and parquet, with file and line for everything that is wrong in them."""

from __future__ import annotations

import csv
import functools
import hashlib
import io
import itertools
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, did_you_mean
from harness.labels import BadValue, label_reader, parts, shown, whole
from harness.task import Example, SplitFile, Task

Place = int | str
"""Where in a file: a line number, or ``row N`` of a file without lines."""

FORMATS = (".tsv", ".csv", ".jsonl", ".parquet")
CACHED_HASH_SIZE = 16 * 2**20  # a smaller file is hashed in no time, and could change within the clock's tick


def read_examples(task: Task, spec: SplitFile, path: Path, rows: Sequence[int] = ()) -> list[Example]:
    """All examples of a data file, in order.

    Text is UTF-8 with or without byte-order mark. ``.tsv`` is read without quoting and split on newlines only (a
    file whose every line ends with CR LF loses the CRs); ``.csv`` is quoted as in RFC 4180; ``.jsonl`` holds an
    object a line; in ``.parquet``, integer labels with class names count by their names.

    Args:
        rows: the official numbers of examples, one of which must be met; empty: any number. Official QQP files hold
            some records that a newline breaks in two. Every reader of GLUE skips such short rows, and they are
            skipped here too, but only where exactly an official number of examples remains.

    Raises:
        HarnessError: an unreadable file, row, label or score, a missing column, another number of examples.
    """
    short: list[HarnessError] = []
    build = _expanded if spec.expand else _mapped
    examples = build(task, spec, path, _records(spec, path, short))
    if short and len(examples) not in rows:
        raise short[0]
    if not examples:
        raise _at(path, 1, "there are no examples in the file")
    if rows and len(examples) not in rows:
        expected = " or ".join(map(str, rows))
        raise HarnessError(
            f"{path}: found {len(examples)} examples, expected {expected} (the official number): "
            "get the file again, or set `allow_partial: true` for a partial copy"
        )
    return examples


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal digits; that of a big file is remembered until the file changes."""
    try:
        stat = path.stat()
        if stat.st_size < CACHED_HASH_SIZE:
            return hashlib.sha256(path.read_bytes()).hexdigest()
        return _big_file_hash(path.resolve(), stat.st_mtime_ns, stat.st_size)
    except OSError as error:
        raise unreadable(path, error) from error


@functools.lru_cache(maxsize=256)
def _big_file_hash(path: Path, mtime: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def column_names(spec: SplitFile, path: Path) -> list[str]:
    """The names of a file's columns (of JSON lines: the keys of the first object)."""
    return next((list(record) for _, record in _records(spec, path, [])), [])


def label_names(spec: SplitFile, path: Path, several: bool = False) -> tuple[str, ...]:
    """The class names in a file's ``label`` column, sorted by name (whole numbers: by number).

    Args:
        several: a cell holds several labels (multi-label).

    Raises:
        HarnessError: an unreadable file, a missing label, labels that are no names.
    """
    column = str(spec.columns["label"])
    names: set[str] = set()
    for place, record in _records(spec, path, []):
        try:
            value = _pick(record, column)
            if several and isinstance(value, str):
                value = parts(value, spec.separator)
            for label in value if several and isinstance(value, list) else [value]:
                names.add(_name(label))
        except BadValue as error:
            raise _at(path, place, str(error)) from None
    if not names:
        raise _at(path, 1, "there are no labels in the file")
    numbers = all(name.isdecimal() for name in names)
    return tuple(sorted(names, key=int if numbers else None))


def _name(label: Any) -> str:
    label = whole(label)
    if label is None or label == "":
        raise BadValue("the label is missing")
    if not isinstance(label, str | int):
        raise BadValue(f"a label must be a name, found {shown(label)}")
    return str(label)


def _at(path: Path, place: Place, problem: str) -> HarnessError:
    """An error with its place, in one line whatever the data holds."""
    return HarnessError(f"{path}:{place}: " + "".join(c if c.isprintable() else repr(c)[1:-1] for c in problem))


def unreadable(path: Path, error: OSError) -> HarnessError:
    return HarnessError(f"{path}: cannot be read: {error.strerror or error}")


# Examples --------------------------------------------------------------------------------------------------------

Records = Iterable[tuple[Place, Mapping[str, Any]]]


def _mapped(task: Task, spec: SplitFile, path: Path, records: Records) -> list[Example]:
    """Examples of a regular file: each field is one column."""
    examples: list[Example] = []
    read_label = label_reader(task, spec)
    columns = {field: str(column) for field, column in spec.columns.items()}
    texts = [field for field in task.text_fields if field in columns]
    seen: dict[Any, Place] = {}
    for place, record in records:
        try:
            example = {field: _pick(record, column) for field, column in columns.items()}
            for field in texts:
                check_text(field, example[field])
            if task.label_field == "label":
                example["label"] = read_label(example["label"]) if "label" in columns else task.unlabelled
            example["idx"] = _idx(example["idx"]) if "idx" in columns else len(examples)
            if "idx" in columns:
                _check_new(example["idx"], place, seen)
        except BadValue as error:
            raise _at(path, place, str(error)) from None
        examples.append(example)
    return examples


def _expanded(task: Task, spec: SplitFile, path: Path, records: Records) -> list[Example]:
    """Examples of an irregular file: ``spec.expand`` makes them; labels that are spelled become indices here."""
    assert spec.expand is not None
    examples: list[Example] = []
    spelled = (str, bool, int) if spec.labels else (str, bool)
    read_label = label_reader(task, spec)
    seen: dict[Any, Place] = {}
    for place, record in records:
        try:
            for expanded in spec.expand(dict(record)):
                example = {"idx": len(examples), **expanded}
                if task.label_field == "label":
                    example.setdefault("label", task.unlabelled)
                    if isinstance(example["label"], spelled):
                        example["label"] = read_label(example["label"])
                _check_new(example["idx"], place, seen)
                examples.append(example)
        except (BadValue, HarnessError) as error:
            raise _at(path, place, str(error)) from error
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            problem = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise _at(path, place, f"not a record of task '{task.name}': {problem}") from error
    return examples


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
    if not value.isdecimal():
        raise BadValue(f"the idx must be a whole number, found {shown(value)}")
    return int(value)


def check_text(field: str, value: Any) -> None:
    """Raise `BadValue` for what is not a text, or cannot be written as UTF-8."""
    if not isinstance(value, str):
        raise BadValue(f"'{field}' must be a text, found {shown(value)}")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise BadValue(f"'{field}' holds half a character (a lone surrogate)") from None


def _check_new(idx: Any, place: Place, seen: dict[Any, Place]) -> None:
    key = idx if isinstance(idx, int) else repr(idx)
    if key in seen:
        raise BadValue(f"the idx {shown(idx)} was already in {'line ' * isinstance(place, int)}{seen[key]}")
    seen[key] = place


# Records ---------------------------------------------------------------------------------------------------------


def _records(spec: SplitFile, path: Path, short: list[HarnessError]) -> Iterator[tuple[Place, Mapping[str, Any]]]:
    """Every row of a file by column name (without header: by position). Rows with too few cells go to ``short``.

    Of a table only the columns that ``spec`` uses are kept; all, when it names none.
    """
    if path.suffix == ".jsonl":
        return _json_lines(path)
    if path.suffix == ".parquet":
        return _parquet_rows(path)
    if path.suffix == ".csv":
        return _table(spec, path, _csv_rows(path), short)
    if path.suffix == ".tsv":
        return _table(spec, path, _tsv_rows(path), short)
    raise HarnessError(f"{path}: unknown kind of file '{path.suffix}': known are {', '.join(FORMATS)}")


def _table(
    spec: SplitFile, path: Path, rows: Iterator[tuple[int, list[str]]], short: list[HarnessError]
) -> Iterator[tuple[Place, Mapping[str, Any]]]:
    line, first = next(rows, (1, []))
    names = first if spec.header else [str(i) for i in range(len(first))]
    for column in map(str, spec.columns.values()):
        if names.count(column) != 1:
            twice = column in names
            problem = f"two columns are called '{column}'." if twice else f"there is no column '{column}'."
            hint = "" if twice else did_you_mean(column, names)
            raise _at(path, line, f"{problem}{hint} Found: {', '.join(map(_short, names))}")
    used = set(map(str, spec.columns.values())) or set(names)
    kept = [(name, i) for i, name in enumerate(names) if name in used]
    width = len(names)
    for place, cells in rows if spec.header else itertools.chain([(line, first)], rows):
        if len(cells) == width:
            yield place, {name: cells[i] for name, i in kept}
            continue
        what = "an empty line" if cells in ([], [""]) else f"{len(cells)} columns"
        error = _at(path, place, f"found {what}, expected {width} columns ({', '.join(map(_short, names))})")
        if len(cells) > width:
            raise error
        short.append(error)


def _short(name: str) -> str:
    return name if len(name) <= 40 else f"{name[:37]}..."


def _tsv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    lines = _lines(_text(path))
    while "\t" in lines[0] and len(lines) > 1 and not lines[-1]:
        lines.pop()  # empty lines after the last row
    for number, line in enumerate(lines, start=1):
        yield number, line.split("\t")


def _csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    text = _text(path)
    limit = csv.field_size_limit(sys.maxsize)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        start = 1
        while True:
            try:
                cells = next(reader, None)
            except csv.Error as error:
                raise _at(path, start, f"not valid CSV: {error}") from None
            if cells is None:
                return
            if cells:
                yield start, cells
            start = reader.line_num + 1
    finally:
        csv.field_size_limit(limit)


def _json_lines(path: Path) -> Iterator[tuple[Place, Mapping[str, Any]]]:
    for number, line in enumerate(_lines(_text(path)), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise _at(path, number, f"not valid JSON: {error.msg} (column {error.colno})") from None
        except (ValueError, RecursionError) as error:
            raise _at(path, number, f"not valid JSON: {error}") from None
        if not isinstance(record, dict):
            raise _at(path, number, f"a line must hold a JSON object, found {shown(record)}")
        yield number, record


def _parquet_rows(path: Path) -> Iterator[tuple[Place, Mapping[str, Any]]]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except OSError as error:
        raise unreadable(path, error) from error
    except pyarrow.ArrowException as error:
        raise HarnessError(f"{path}: not a parquet file: {str(error).splitlines()[0]}") from error
    names = class_names(table.schema)
    for number, row in enumerate(table.to_pylist(), start=1):
        for column, spelled in names.items():
            row[column] = with_names(row[column], spelled)
        yield f"row {number}", row


def class_names(schema: Any) -> dict[str, list[str]]:
    """The class names of an Arrow schema's integer columns, where the Hugging Face libraries left them."""
    info = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    found = {}
    for column, feature in info.get("info", {}).get("features", {}).items():
        inner = feature.get("feature", feature) if isinstance(feature, dict) else {}
        if isinstance(inner, dict) and inner.get("_type") == "ClassLabel" and inner.get("names"):
            found[column] = list(inner["names"])
    return found


def with_names(value: Any, names: Sequence[str]) -> Any:
    """A class index, or a list of them, as class names; -1 (no label) as None."""
    if isinstance(value, list):
        return [with_names(part, names) for part in value]
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else None


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise _at(path, 1, "the file is in UTF-16: save it as UTF-8")
    if (zero := data.find(b"\0")) >= 0:
        line = data.count(b"\n", 0, zero) + 1
        raise _at(path, line, "a NUL byte: the file is damaged, or not a text file")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = data[error.start]
        raise _at(path, line, f"not UTF-8 (byte 0x{byte:02x}): save the file as UTF-8") from None
    if not text:
        raise _at(path, 1, "the file is empty")
    return text


def _lines(text: str) -> list[str]:
    """Split on newlines only: some texts hold other line separators. CR LF is a line's end where every line has it."""
    lines = text.split("\n")
    ended = len(lines) - 1
    if ended and text.count("\r\n") == ended:
        lines[:ended] = [line[:-1] for line in lines[:ended]]
    if not lines[-1]:
        lines.pop()
    return lines
