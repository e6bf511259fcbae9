"""Data files as examples: TSV, CSV, JSON lines and parquet, with file and line for everything that is wrong in them."""

from __future__ import annotations

import codecs
import contextlib
import csv
import functools
import hashlib
import itertools
import json
import sys
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from harness import conll
from harness.errors import HarnessError, did_you_mean, printable
from harness.labels import BadValue, check_sentence, label_reader, parts, shown, whole
from harness.task import Example, SplitFile, Task

Place = int | str
"""Where in a file: a line number, or ``row N`` of a file without lines."""
ROW = "row "

FORMATS = (".tsv", ".csv", ".jsonl", ".parquet", ".conll")
CACHED_HASH_SIZE = 16 * 2**20  # a smaller file is hashed in no time, and could change within the clock's tick
BLOCK = 2**20
"""Bytes of a text file that are looked at together."""
BATCH = 1000
"""Rows of a parquet file that are made together."""


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
    for example in build(task, spec, path, _records(spec, path, short)):
        count += 1
        yield example
    if short and count not in rows:
        raise short[0]
    if not count:
        raise _at(path, 1, "there are no examples in the file")
    if rows and count not in rows:
        expected = " or ".join(map(str, rows))
        raise HarnessError(
            f"{path}: found {count} examples, expected {expected} (the official number): "
            "get the file again, or set `allow_partial: true` for a partial copy"
        )


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


def _in_one_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def unreadable(path: Path, error: OSError) -> HarnessError:
    return HarnessError(printable(f"{path}: cannot be read: {error.strerror or _in_one_line(error)}"))


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
            if label == "label" or task.problem_type == "token_classification":
                example[label] = read_label(example[label]) if label in columns else task.unlabelled
                if task.problem_type == "token_classification" and label in columns:
                    check_sentence(task, example)
            example["idx"] = _idx(example["idx"]) if "idx" in columns else count
            if "idx" in columns:
                seen.add(example["idx"], place)
        except BadValue as error:
            raise _at(path, place, str(error)) from None
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
            raise _at(path, place, str(error)) from error
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            problem = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise _at(path, place, f"not a record of task '{task.name}': {problem}") from error
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
    if task.problem_type != "token_classification":
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
            raise _at(path, places[0], str(_twice(self.numbers[at], places[1])))


def _twice(idx: Any, place: Place) -> BadValue:
    return BadValue(f"the idx {shown(idx)} was already in {'line ' * isinstance(place, int)}{place}")


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
    if path.suffix in conll.SUFFIXES:
        return _sentences(path)
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
    table, empty = False, 0
    for number, line in enumerate(_lines(path), start=1):
        table = table or (number == 1 and "\t" in line)
        if table and not line:  # after the last row, empty lines are nothing
            empty += 1
            continue
        while empty:
            yield number - empty, [""]
            empty -= 1
        yield number, line.split("\t")


def _csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    _check_text(path)
    limit = csv.field_size_limit(sys.maxsize)
    try:
        with _opened(path, newline="") as file:
            reader = csv.reader(file, strict=True)
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


def _sentences(path: Path) -> Iterator[tuple[Place, Mapping[str, Any]]]:
    try:
        yield from conll.sentences(_lines(path))
    except conll.BadLine as error:
        raise _at(path, error.line, str(error)) from None


def _json_lines(path: Path) -> Iterator[tuple[Place, Mapping[str, Any]]]:
    for number, line in enumerate(_lines(path), start=1):
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
    return ((f"{ROW}{number}", row) for number, row in enumerate(_parquet_records(path), start=1))


def _parquet_records(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            names = class_names(file.schema_arrow)
            for batch in file.iter_batches(BATCH):
                for row in batch.to_pylist():
                    for column, spelled in names.items():
                        row[column] = with_names(row[column], spelled)
                    yield row
    except OSError as error:
        raise unreadable(path, error) from error
    except (pyarrow.ArrowException, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise HarnessError(printable(f"{path}: not a parquet file: {_in_one_line(error)}")) from error


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


def _lines(path: Path) -> Iterator[str]:
    """Split on newlines only: some texts hold other line separators. CR LF is a line's end where every line has it."""
    end = "\r\n" if _check_text(path) else "\n"
    with _opened(path, newline="\n") as file:
        for line in file:
            yield line.removesuffix(end)


def _check_text(path: Path) -> bool:
    """Go over a text file once; returns whether every line of it ends with CR LF.

    Raises:
        HarnessError: it is not UTF-8, holds a NUL byte, or is empty.
    """
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    ends = returns = length = 0
    last = b""
    with _opened(path) as file:
        while True:
            block: bytes = file.read(BLOCK)
            if not length and not ends and block[:2] in (b"\xff\xfe", b"\xfe\xff"):
                raise _at(path, 1, "the file is in UTF-16: save it as UTF-8")
            if (zero := block.find(b"\0")) >= 0:
                line = ends + block.count(b"\n", 0, zero) + 1
                raise _at(path, line, "a NUL byte: the file is damaged, or not a text file")
            try:
                length += len(decoder.decode(block, final=not block))
            except UnicodeDecodeError as error:
                line, byte = ends + error.object.count(b"\n", 0, error.start) + 1, error.object[error.start]
                raise _at(path, line, f"not UTF-8 (byte 0x{byte:02x}): save the file as UTF-8") from None
            if not block:
                break
            ends += block.count(b"\n")
            returns += block.count(b"\r\n") + (last == b"\r" and block.startswith(b"\n"))
            last = block[-1:]
    if not length:
        raise _at(path, 1, "the file is empty")
    return bool(ends) and ends == returns


@contextlib.contextmanager
def _opened(path: Path, newline: str | None = None) -> Iterator[IO[Any]]:
    """A file of bytes; with ``newline`` (see `open`) one of text, behind its byte-order mark."""
    try:
        text = newline is not None
        file: IO[Any] = open(path, "r" if text else "rb", encoding="utf-8" if text else None, newline=newline)  # noqa: SIM115
    except OSError as error:
        raise unreadable(path, error) from error
    with file:
        if text and file.read(1) != "\ufeff":
            file.seek(0)
        yield file
