"""Data files as rows: TSV, CSV, JSON, parquet and CoNLL, with file and line for everything that is wrong."""

from __future__ import annotations

import codecs
import contextlib
import csv
import gzip
import io
import itertools
import json
import re
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from harness.errors import HarnessError, did_you_mean, in_one_line, printable, shortened, shown
from harness.io import opened, unreadable
from harness.task.task import SplitFile

Rows = Iterator[tuple[int, Mapping[str, Any]]]
"""Every row by column name, with the number of its line (of a parquet file: its own number)."""

TABLES = (".tsv", ".csv")
FORMATS = (*TABLES, ".json", ".jsonl", ".parquet", ".conll")
CONLL_SUFFIXES = (".conll", ".annotated")
ZIPPED = ".gz"
TOKENS, TAGS = "tokens", "tags"
"""The columns of a CoNLL file."""
DOCUMENT = "-DOCSTART-"
"""The first column of a CoNLL line (CoNLL-2003) that belongs to no sentence."""

DELIMITERS = (";", "\t", "|", ",")
"""What separates the columns of tables; looked for in this order where a header is one column."""
_SPACE = re.compile(r"[ \t\n\r]*")
MOST_TIMES, ALWAYS_FITS = 100, 64 * 2**20
"""A ``.gz`` file may unpack to so many times its size, and to so many bytes in any case: data are not more regular."""
BLOCK = 2**20
"""Bytes of a text file that are looked at together."""
BATCH = 1000
"""Rows of a parquet file that are made together."""


def error_at(path: Path, number: int, problem: str) -> HarnessError:
    """An error with its line or row (see `Rows`), in one line whatever the data holds."""
    return HarnessError(f"{path}:{'row ' if has_no_lines(path) else ''}{number}: {printable(problem)}")


def has_no_lines(path: Path) -> bool:
    return path.suffix == ".parquet"


def kind_of(spec: SplitFile, path: Path) -> str:
    """How a file is read, as an ending: by its format, or its name's ending before ``.gz``."""
    if spec.format:
        return f".{spec.format}"
    return Path(path.stem).suffix if path.suffix == ZIPPED else path.suffix


def read_rows(spec: SplitFile, path: Path, short: list[HarnessError]) -> Rows:
    """Every row of a file by column name (without header: by position). Rows with too few cells go to ``short``.

    Of a table only the columns that ``spec`` uses are kept; all, when it names none.
    """
    kind = kind_of(spec, path)
    if kind in TABLES:
        return _table(spec, path, _csv_rows(spec, path) if kind == ".csv" else _tsv_rows(spec, path), short)
    if kind == ".jsonl":
        return _json_lines(path, _lines(spec, path))
    if kind == ".json":
        return _json_rows(spec, path)
    if kind == ".parquet":
        return _parquet_rows(path)
    if kind in CONLL_SUFFIXES:
        return _conll_rows(spec, path)
    raise HarnessError(f"{path}: unknown kind of file '{kind}': known are {', '.join(FORMATS)}")


def _table(spec: SplitFile, path: Path, rows: Iterator[tuple[int, list[str]]], short: list[HarnessError]) -> Rows:
    line, first = next(rows, (1, []))
    names = first if spec.header else [str(i) for i in range(len(first))]
    width, listed = len(names), ", ".join(shortened(name, 40) for name in names)
    for column in (*map(str, spec.columns.values()), *spec.one_hot):
        if names.count(column) != 1:
            twice = column in names
            problem = f"two columns are called '{column}'." if twice else f"there is no column '{column}'."
            hint = "" if twice else did_you_mean(column, names)
            raise error_at(path, line, f"{problem}{hint} Found: {listed}{delimiter_hint(names)}")
    used = {*map(str, spec.columns.values()), *spec.one_hot} or set(names)
    kept = [(name, i) for i, name in enumerate(names) if name in used]
    for number, cells in rows if spec.header else itertools.chain([(line, first)], rows):
        if len(cells) == width:
            yield number, {name: cells[i] for name, i in kept}
            continue
        what = "an empty line" if cells in ([], [""]) else f"{len(cells)} columns"
        problem = f"found {what}, expected {width} columns ({listed}){delimiter_hint(names)}"
        error = error_at(path, number, problem)
        if len(cells) > width:
            raise error
        short.append(error)


def delimiter_hint(names: Sequence[str]) -> str:
    """What to say about a header that is one column, in which another delimiter stands."""
    other = next((mark for mark in DELIMITERS if len(names) == 1 and mark in names[0]), None)
    return f". If {other!r} separates the columns of this file, say `delimiter: {json.dumps(other)}`" if other else ""


def _tsv_rows(spec: SplitFile, path: Path) -> Iterator[tuple[int, list[str]]]:
    table, empty, delimiter = False, 0, spec.delimiter or "\t"
    for number, line in enumerate(_lines(spec, path), start=1):
        table = table or (number == 1 and delimiter in line)
        if table and not line:  # after the last row, empty lines are nothing
            empty += 1
            continue
        while empty:
            yield number - empty, [""]
            empty -= 1
        yield number, line.split(delimiter)


def _csv_rows(spec: SplitFile, path: Path) -> Iterator[tuple[int, list[str]]]:
    _check_text(spec, path)
    limit = csv.field_size_limit(sys.maxsize)
    try:
        with _text(spec, path, newline="") as file:
            reader = csv.reader(file, strict=True, delimiter=spec.delimiter or ",")
            start, first = 1, list[str]()
            while True:
                try:
                    cells = next(reader, None)
                except csv.Error as error:
                    raise error_at(path, start, f"not valid CSV: {error}{delimiter_hint(first)}") from None
                first = first or cells or []
                if cells is None:
                    return
                if cells:
                    yield start, cells
                start = reader.line_num + 1
    finally:
        csv.field_size_limit(limit)


class BadLine(ValueError):
    """What is wrong with a line of a CoNLL file, and its number."""

    def __init__(self, line: int, problem: str):
        super().__init__(problem)
        self.line = line


def _conll_rows(spec: SplitFile, path: Path) -> Rows:
    try:
        yield from sentences(_lines(spec, path), spec.tag_column)
    except BadLine as error:
        raise error_at(path, error.line, str(error)) from None


def sentences(lines: Iterable[str], tag_column: int = -1) -> Iterator[tuple[int, dict[str, list[str]]]]:
    """The sentences of a CoNLL file as ``{"tokens": [...], "tags": [...]}``, each with the number of its first line.

    A line holds a word (its first column) and its tag (the last one), an empty line ends a sentence. Columns are
    separated by tabs or, in a line without one, by spaces. A file of one column has no tags.

    Args:
        tag_column: the position of the tags' column: from 0, or from -1 (the last one) backwards.

    Raises:
        BadLine: another number of columns than in the lines before, an empty word or tag.
    """
    width, start = 0, 0
    rows: list[list[str]] = []
    for number, line in enumerate(itertools.chain(lines, [""]), start=1):
        cells = line.split("\t") if "\t" in line else line.split(" ")
        if any(cells) and cells[0] != DOCUMENT:
            width = width or len(cells)
            if len(cells) != width:
                raise BadLine(number, f"found {len(cells)} columns, and {width} in the lines before")
            if not -width <= tag_column < width:
                raise BadLine(number, f"there is no column {tag_column} (from 0), only {width} columns")
            if not cells[0] or not cells[tag_column]:
                raise BadLine(number, f"a line must hold a word and its tag, found {line!r}")
            start = start or number
            rows.append(cells)
        elif rows:
            tags = {TAGS: [cells[tag_column] for cells in rows]} if width > 1 else {}
            yield start, {TOKENS: [cells[0] for cells in rows], **tags}
            rows, start = [], 0


def _json_lines(path: Path, lines: Iterable[str]) -> Rows:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        with _json_errors(path, number):
            record = json.loads(line)
        if not isinstance(record, dict):
            raise error_at(path, number, f"a line must hold a JSON object, found {shown(record)}")
        yield number, record


def _json_rows(spec: SplitFile, path: Path) -> Rows:
    """A JSON array of objects, which is in memory as a whole while it is read, or an object a line."""
    lines = _lines(spec, path)
    before = list(itertools.takewhile(lambda line: not line.strip(), lines))
    lines = _lines(spec, path)
    if not next(itertools.islice(lines, len(before), None), "").lstrip().startswith("["):
        yield from _json_lines(path, _lines(spec, path))
        return
    text = "\n".join(_lines(spec, path))
    number, at, counted = 1, text.index("[") + 1, 0
    decoder, first = json.JSONDecoder(), True
    while True:
        at = _SPACE.match(text, at).end()  # type: ignore[union-attr]
        number, counted = number + text.count("\n", counted, at), at
        if text[at : at + 1] == "]":
            if text[at + 1 :].strip():
                raise error_at(path, number, "not valid JSON: there is more behind the array")
            return
        if not first:
            if text[at : at + 1] != ",":
                raise error_at(path, number, "not valid JSON: a comma or the array's end is missing")
            at = _SPACE.match(text, at + 1).end()  # type: ignore[union-attr]
            number, counted = number + text.count("\n", counted, at), at
        with _json_errors(path, number, at):
            record, at = decoder.raw_decode(text, at)
        if not isinstance(record, dict):
            raise error_at(path, number, f"the array must hold JSON objects, found {shown(record)}")
        first = False
        yield number, record


@contextlib.contextmanager
def _json_errors(path: Path, number: int, at: int = 0) -> Iterator[None]:
    """Say what is wrong with the JSON that begins in a line, at a position of the text that is read."""
    try:
        yield
    except json.JSONDecodeError as error:
        line = number + error.doc.count("\n", at, error.pos)
        raise error_at(path, line, f"not valid JSON: {error.msg} (column {error.colno})") from None
    except (ValueError, RecursionError) as error:
        raise error_at(path, number, f"not valid JSON: {error}") from None


def _parquet_rows(path: Path) -> Rows:
    import pyarrow
    import pyarrow.parquet

    numbers = itertools.count(1)
    try:
        with opened(path) as file, pyarrow.parquet.ParquetFile(file) as table:
            names = class_names(table.schema_arrow)
            for batch in table.iter_batches(BATCH):
                for row in batch.to_pylist():
                    for column, spelled in names.items():
                        row[column] = with_names(row[column], spelled)
                    yield next(numbers), row
    except OSError as error:
        raise unreadable(path, error) from error
    except (
        pyarrow.ArrowException,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise HarnessError(printable(f"{path}: not a parquet file: {in_one_line(error)}")) from error


def class_names(schema: Any) -> dict[str, list[str]]:
    """The class names of an Arrow schema's integer columns, where the Hugging Face libraries left them."""
    info = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    names = {}
    for column, feature in info.get("info", {}).get("features", {}).items():
        inner = feature.get("feature", feature) if isinstance(feature, dict) else {}
        if isinstance(inner, dict) and inner.get("_type") == "ClassLabel" and inner.get("names"):
            names[column] = list(inner["names"])
    return names


def with_names(value: Any, names: Sequence[str]) -> Any:
    """A class index, or a list of them, as class names; -1 (no label) as None."""
    if isinstance(value, list):
        return [with_names(part, names) for part in value]
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else None


def encoding_problem(name: str) -> str | None:
    """What is wrong with the name of an encoding; None: nothing."""
    try:
        decoder = codecs.getincrementaldecoder(name)()
        if isinstance(decoder.decode(b"", final=True), str):
            return None
    except (LookupError, ValueError, TypeError):
        pass
    return f"there is no text encoding {shown(name)}: known are utf-8, latin-1, cp1252, utf-16 and others of Python"


@contextlib.contextmanager
def _bytes(path: Path) -> Iterator[IO[bytes]]:
    """A file's content, unpacked where its name ends with ``.gz``."""
    with opened(path) as file:
        if path.suffix != ZIPPED:
            yield file
            return
        try:
            with gzip.GzipFile(fileobj=file) as unpacked:
                yield unpacked  # type: ignore[misc]
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise HarnessError(printable(f"{path}: not a whole gzip file: {in_one_line(error)}")) from None


@contextlib.contextmanager
def _text(spec: SplitFile, path: Path, newline: str) -> Iterator[IO[str]]:
    """A text file that `_check_text` has gone over, behind its byte-order mark."""
    with _bytes(path) as file:
        yield io.TextIOWrapper(file, encoding=_codec(spec), newline=newline)


def _codec(spec: SplitFile) -> str:
    """The encoding of a file; UTF-8 may begin with a byte-order mark."""
    return "utf-8-sig" if codecs.lookup(spec.encoding).name == "utf-8" else spec.encoding


def _lines(spec: SplitFile, path: Path) -> Iterator[str]:
    """Split on newlines only: some texts hold other line separators. CR LF is a line's end where every line has it."""
    end = "\r\n" if _check_text(spec, path) else "\n"
    with _text(spec, path, newline="\n") as file:
        for line in file:
            yield line.removesuffix(end)


def _check_text(spec: SplitFile, path: Path) -> bool:
    """Go over a text file once; returns whether every line of it ends with CR LF.

    Raises:
        HarnessError: it is not in its encoding, holds a NUL byte, or is empty.
    """
    name = _codec(spec)
    decoder = codecs.getincrementaldecoder(name)()
    ends = returns = length = 0
    last = ""
    with _bytes(path) as file:
        while True:
            block: bytes = file.read(BLOCK)
            if path.suffix == ZIPPED:
                _check_size(path, file.tell())
            if name == "utf-8-sig" and not length and not ends and block[:2] in (b"\xff\xfe", b"\xfe\xff"):
                raise error_at(path, 1, "the file is in UTF-16: say `encoding: utf-16`, or save it as UTF-8")
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeError as error:
                raise _undecodable(path, ends, error, name) from None
            if (zero := text.find("\0")) >= 0:
                line = ends + text.count("\n", 0, zero) + 1
                raise error_at(path, line, "a NUL byte: the file is damaged, or not a text file")
            length += len(text)
            if not block:
                break
            ends += text.count("\n")
            returns += text.count("\r\n") + (last == "\r" and text.startswith("\n"))
            last = text[-1:] or last
    if not length:
        raise error_at(path, 1, "the file is empty")
    return bool(ends) and ends == returns


def _check_size(path: Path, unpacked: int) -> None:
    """Refuse a file that unpacks without end: each ``.gz`` file is gone over by `_check_text` before it is read."""
    most = max(ALWAYS_FITS, MOST_TIMES * path.stat().st_size)
    if unpacked > most:
        problem = f"unpacks to more than {most:,} bytes, which no data of its size do: if they do, unpack it first"
        raise HarnessError(printable(f"{path}: {problem}"))


def _undecodable(path: Path, ends: int, error: UnicodeError, name: str) -> HarnessError:
    if not isinstance(error, UnicodeDecodeError):
        return error_at(path, ends + 1, f"not {name}: {error}")
    line, byte = ends + error.object.count(b"\n", 0, error.start) + 1, error.object[error.start]
    if name == "utf-8-sig":
        advice = "not UTF-8 (byte 0x{:02x}): say its `encoding:`, such as latin-1, or save the file as UTF-8"
        return error_at(path, line, advice.format(byte))
    return error_at(path, line, f"not {name} (byte 0x{byte:02x}): its `encoding:` is another one")
