"""Data files as rows: TSV, CSV, JSON lines, parquet and CoNLL, with file and line for everything that is wrong."""

from __future__ import annotations

import codecs
import csv
import itertools
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, did_you_mean, in_one_line, printable, shortened, shown
from harness.io import opened, unreadable
from harness.task.task import SplitFile

Rows = Iterator[tuple[int, Mapping[str, Any]]]
"""Every row by column name, with the number of its line (of a parquet file: its own number)."""

TABLES = (".tsv", ".csv")
FORMATS = (*TABLES, ".jsonl", ".parquet", ".conll")
CONLL_SUFFIXES = (".conll", ".annotated")
TOKENS, TAGS = "tokens", "tags"
"""The columns of a CoNLL file."""
DOCUMENT = "-DOCSTART-"
"""The first column of a CoNLL line (CoNLL-2003) that belongs to no sentence."""

BLOCK = 2**20
"""Bytes of a text file that are looked at together."""
BATCH = 1000
"""Rows of a parquet file that are made together."""


def error_at(path: Path, number: int, problem: str) -> HarnessError:
    """An error with its line or row (see `Rows`), in one line whatever the data holds."""
    return HarnessError(f"{path}:{'row ' if has_no_lines(path) else ''}{number}: {printable(problem)}")


def has_no_lines(path: Path) -> bool:
    return path.suffix == ".parquet"


def read_rows(spec: SplitFile, path: Path, short: list[HarnessError]) -> Rows:
    """Every row of a file by column name (without header: by position). Rows with too few cells go to ``short``.

    Of a table only the columns that ``spec`` uses are kept; all, when it names none.
    """
    if path.suffix in TABLES:
        return _table(spec, path, _csv_rows(path) if path.suffix == ".csv" else _tsv_rows(path), short)
    if path.suffix == ".jsonl":
        return _json_lines(path)
    if has_no_lines(path):
        return _parquet_rows(path)
    if path.suffix in CONLL_SUFFIXES:
        return _conll_rows(path)
    raise HarnessError(f"{path}: unknown kind of file '{path.suffix}': known are {', '.join(FORMATS)}")


def _table(spec: SplitFile, path: Path, rows: Iterator[tuple[int, list[str]]], short: list[HarnessError]) -> Rows:
    line, first = next(rows, (1, []))
    names = first if spec.header else [str(i) for i in range(len(first))]
    width, listed = len(names), ", ".join(shortened(name, 40) for name in names)
    for column in (*map(str, spec.columns.values()), *spec.one_hot):
        if names.count(column) != 1:
            twice = column in names
            problem = f"two columns are called '{column}'." if twice else f"there is no column '{column}'."
            hint = "" if twice else did_you_mean(column, names)
            raise error_at(path, line, f"{problem}{hint} Found: {listed}")
    used = {*map(str, spec.columns.values()), *spec.one_hot} or set(names)
    kept = [(name, i) for i, name in enumerate(names) if name in used]
    for number, cells in rows if spec.header else itertools.chain([(line, first)], rows):
        if len(cells) == width:
            yield number, {name: cells[i] for name, i in kept}
            continue
        what = "an empty line" if cells in ([], [""]) else f"{len(cells)} columns"
        error = error_at(path, number, f"found {what}, expected {width} columns ({listed})")
        if len(cells) > width:
            raise error
        short.append(error)


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
        with opened(path, newline="") as file:
            reader = csv.reader(file, strict=True)
            start = 1
            while True:
                try:
                    cells = next(reader, None)
                except csv.Error as error:
                    raise error_at(path, start, f"not valid CSV: {error}") from None
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


def _conll_rows(path: Path) -> Rows:
    try:
        yield from sentences(_lines(path))
    except BadLine as error:
        raise error_at(path, error.line, str(error)) from None


def sentences(lines: Iterable[str]) -> Iterator[tuple[int, dict[str, list[str]]]]:
    """The sentences of a CoNLL file as ``{"tokens": [...], "tags": [...]}``, each with the number of its first line.

    A line holds a word (its first column) and its tag (the last one), an empty line ends a sentence. Columns are
    separated by tabs or, in a line without one, by spaces. A file of one column has no tags.

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
            if not cells[0] or not cells[-1]:
                raise BadLine(number, f"a line must hold a word and its tag, found {line!r}")
            start = start or number
            rows.append(cells)
        elif rows:
            tags = {TAGS: [cells[-1] for cells in rows]} if width > 1 else {}
            yield start, {TOKENS: [cells[0] for cells in rows], **tags}
            rows, start = [], 0


def _json_lines(path: Path) -> Rows:
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise error_at(path, number, f"not valid JSON: {error.msg} (column {error.colno})") from None
        except (ValueError, RecursionError) as error:
            raise error_at(path, number, f"not valid JSON: {error}") from None
        if not isinstance(record, dict):
            raise error_at(path, number, f"a line must hold a JSON object, found {shown(record)}")
        yield number, record


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
    except (pyarrow.ArrowException, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
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


def _lines(path: Path) -> Iterator[str]:
    """Split on newlines only: some texts hold other line separators. CR LF is a line's end where every line has it."""
    end = "\r\n" if _check_text(path) else "\n"
    with opened(path, newline="\n") as file:
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
    with opened(path) as file:
        while True:
            block: bytes = file.read(BLOCK)
            if not length and not ends and block[:2] in (b"\xff\xfe", b"\xfe\xff"):
                raise error_at(path, 1, "the file is in UTF-16: save it as UTF-8")
            if (zero := block.find(b"\0")) >= 0:
                line = ends + block.count(b"\n", 0, zero) + 1
                raise error_at(path, line, "a NUL byte: the file is damaged, or not a text file")
            try:
                length += len(decoder.decode(block, final=not block))
            except UnicodeDecodeError as error:
                line, byte = ends + error.object.count(b"\n", 0, error.start) + 1, error.object[error.start]
                raise error_at(path, line, f"not UTF-8 (byte 0x{byte:02x}): save the file as UTF-8") from None
            if not block:
                break
            ends += block.count(b"\n")
            returns += block.count(b"\r\n") + (last == b"\r" and block.startswith(b"\n"))
            last = block[-1:]
    if not length:
        raise error_at(path, 1, "the file is empty")
    return bool(ends) and ends == returns
