"""Data files as rows: TSV, CSV, JSON lines, parquet and CoNLL, with file and line for everything that is wrong."""

from __future__ import annotations

import codecs
import contextlib
import csv
import itertools
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from harness.data import conll
from harness.data.labels import shown
from harness.errors import HarnessError, did_you_mean, in_one_line, printable
from harness.io import unreadable
from harness.task.task import SplitFile

Place = int | str
"""Where in a file: a line number, or ``row N`` of a file without lines."""
ROW = "row "

FORMATS = (".tsv", ".csv", ".jsonl", ".parquet", ".conll")
BLOCK = 2**20
"""Bytes of a text file that are looked at together."""
BATCH = 1000
"""Rows of a parquet file that are made together."""


def error_at(path: Path, place: Place, problem: str) -> HarnessError:
    """An error with its place, in one line whatever the data holds."""
    return HarnessError(f"{path}:{place}: {printable(problem)}")


def read_rows(spec: SplitFile, path: Path, short: list[HarnessError]) -> Iterator[tuple[Place, Mapping[str, Any]]]:
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
            raise error_at(path, line, f"{problem}{hint} Found: {', '.join(map(_short, names))}")
    used = set(map(str, spec.columns.values())) or set(names)
    kept = [(name, i) for i, name in enumerate(names) if name in used]
    width = len(names)
    for place, cells in rows if spec.header else itertools.chain([(line, first)], rows):
        if len(cells) == width:
            yield place, {name: cells[i] for name, i in kept}
            continue
        what = "an empty line" if cells in ([], [""]) else f"{len(cells)} columns"
        error = error_at(path, place, f"found {what}, expected {width} columns ({', '.join(map(_short, names))})")
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
                    raise error_at(path, start, f"not valid CSV: {error}") from None
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
        raise error_at(path, error.line, str(error)) from None


def _json_lines(path: Path) -> Iterator[tuple[Place, Mapping[str, Any]]]:
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
        raise HarnessError(printable(f"{path}: not a parquet file: {in_one_line(error)}")) from error


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
