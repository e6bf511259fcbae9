"""Rows in and the same rows out, with what a model says of them; csv, tsv, jsonl, parquet and conll, as streams."""

from __future__ import annotations

import contextlib
import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from harness.data.formats import CONLL_SUFFIXES, FORMATS, TAGS, TOKENS, error_at, read_rows
from harness.errors import HarnessError
from harness.io import replacing, sync
from harness.task.task import SplitFile

Row = dict[str, Any]
Place = Callable[[int, str], HarnessError]
"""Makes an error of the number of a row and what is wrong with it."""

PARQUET_ROWS = 10_000
"""Rows of a parquet file that are written together."""


def rows_of(path: Path) -> Iterator[tuple[int, Row]]:
    """Every row of a file with all its columns, and its line or number.

    Raises:
        HarnessError: another kind of file, one that cannot be read, a row with too few cells.
    """
    short: list[HarnessError] = []
    for number, row in read_rows(SplitFile(str(path)), path, short):
        if short:
            raise short[0]
        yield number, dict(row)
    if short:
        raise short[0]


def place_in(path: Path) -> Place:
    """Errors that name the file and the line."""
    return lambda number, problem: error_at(path, number, problem)


def check_output(path: Path) -> None:
    """Refuse a name whose ending is no format.

    Raises:
        HarnessError: which endings there are.
    """
    if path.suffix not in (*FORMATS, *CONLL_SUFFIXES):
        raise HarnessError(f"{path}: the ending says how it is written: one of {', '.join(FORMATS)}")


def write_rows(rows: Iterable[Row], path: Path) -> int:
    """Write rows as the file's ending says, as they come; the file appears when all are written.

    Returns:
        How many.
    """
    check_output(path)
    with replacing(path) as draft:
        if path.suffix == ".parquet":
            return _write_parquet(rows, draft)
        with open(draft, "w", encoding="utf-8", newline="") as file:
            number = write_text(rows, file, path.suffix)
            sync(file)
    return number


def write_text(rows: Iterable[Row], file: IO[str], suffix: str) -> int:
    """Write rows in a text format; a parquet file's as JSON lines.

    Returns:
        How many.
    """
    write: Callable[[IO[str], Row], None] = _write_json
    if suffix in CONLL_SUFFIXES:
        write = _write_sentence
    elif suffix in (".csv", ".tsv"):
        write = _table_writer(suffix)
    number = 0
    for row in rows:
        write(file, row)
        number += 1
    return number


def show_rows(rows: Iterable[Row], suffix: str) -> int:
    """Print rows as they come."""
    return write_text(rows, sys.stdout, suffix)


def _write_json(file: IO[str], row: Row) -> None:
    file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")


def _write_sentence(file: IO[str], row: Row) -> None:
    words, answers = row.get(TOKENS), row.get("prediction")
    if not isinstance(words, list) or not isinstance(answers, list):
        raise HarnessError(f"a .conll file holds words in '{TOKENS}', each with a tag: write another format")
    columns = [words, *([row[TAGS]] if row.get(TAGS) else []), answers]
    file.write("".join("\t".join(map(str, cells)) + "\n" for cells in zip(*columns, strict=True)) + "\n")


def _table_writer(suffix: str) -> Callable[[IO[str], Row], None]:
    names: list[str] = []

    def write(file: IO[str], row: Row) -> None:
        if not names:
            names.extend(row)
            _write_cells(file, names, suffix)
        _write_cells(file, [_cell(row.get(name)) for name in names], suffix)

    return write


def _write_cells(file: IO[str], cells: Iterable[str], suffix: str) -> None:
    if suffix == ".csv":
        csv.writer(file, lineterminator="\n").writerow(cells)
    else:  # quotes are ordinary characters, as in what is read
        file.write("\t".join(cell.replace("\t", " ").replace("\n", " ") for cell in cells) + "\n")


def _cell(value: Any) -> str:
    """A value in a table: lists and mappings as JSON."""
    if isinstance(value, list | Mapping):
        return json.dumps(value, ensure_ascii=False, default=str)
    return "" if value is None else str(value)


def _write_parquet(rows: Iterable[Row], draft: Path) -> int:
    import pyarrow
    import pyarrow.parquet

    number, writer = 0, None
    with contextlib.ExitStack() as stack:
        for chunk in _chunks(rows, PARQUET_ROWS):
            table = pyarrow.Table.from_pylist(chunk, schema=writer.schema if writer else None)
            if writer is None:
                writer = stack.enter_context(pyarrow.parquet.ParquetWriter(draft, table.schema))
            writer.write_table(table)
            number += len(chunk)
    if writer is None:
        raise HarnessError("there are no rows to write")
    return number


def _chunks(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    chunk: list[Row] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
