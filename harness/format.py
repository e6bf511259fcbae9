"""How numbers, texts and tables look: on pages, on the terminal, and in the lines that a run prints."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from harness.task.metrics import ERRORS

MISSING = "—"

Table = tuple[list[str], list[list[str]]]
"""Headers, and rows of as many cells."""

# Numbers ---------------------------------------------------------------------------------------------------------


def percent(value: float | None, decimals: int = 1) -> str:
    """A fraction times 100; ``nan`` where undefined and a dash where missing."""
    if value is None:
        return MISSING
    return "nan" if math.isnan(value) else f"{round(100 * value, decimals) + 0.0:.{decimals}f}"


def in_unit(value: float | None, error: bool, decimals: int = 1) -> str:
    """A score as `percent`; an error in the unit of the labels, to four digits."""
    if value is None or math.isnan(value) or not error:
        return percent(value, decimals)
    return f"{value:.{decimals}f}" if abs(value) >= 1000 else f"{value:.4g}"


def score_number(value: float | None, metric: str, decimals: int = 1) -> str:
    """The value of a metric as tables show it."""
    return in_unit(value, metric in ERRORS, decimals)


def score_text(scores: Mapping[str, float], decimals: int = 1) -> str:
    """``accuracy 87.5, f1 91.2``."""
    return ", ".join(f"{name} {score_number(value, name, decimals)}" for name, value in scores.items())


def count(number: float | None) -> str:
    """``22.7M``."""
    if number is None:
        return MISSING
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.1f}{unit}"
    return f"{number:.0f}"


def duration(seconds: float | None) -> str:
    """``3.2 s``, ``45 s``, ``12 min``, ``5.2 h``, ``1,234 h``."""
    if seconds is None:
        return MISSING
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    hours = seconds / 3600
    return f"{seconds / 60:.0f} min" if hours < 2 else f"{hours:.1f} h" if hours < 100 else f"{hours:,.0f} h"


def rate(value: float | None) -> str:
    """``1,234``; small ones with a decimal."""
    return MISSING if value is None else f"{value:,.0f}" if round(value, 1) >= 100 else f"{value:.1f}"


def short(value: float) -> str:
    """Three significant digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def flops(value: float) -> str:
    """``22.5 G``."""
    for unit, size in (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6)):
        if value >= size:
            return f"{short(value / size)} {unit}"
    return f"{short(value / 1e3)} k"


def memory(value: float) -> str:
    """``561 MB``, ``3.0 GB``."""
    return f"{value / 2**30:.1f} GB" if value >= 2**30 else f"{value / 2**20:.0f} MB"


def milliseconds(seconds: float) -> str:
    """``0.0123`` seconds as ``12.3``."""
    return short(1000 * seconds)


# Texts -----------------------------------------------------------------------------------------------------------


def plural(number: int, noun: str, ending: str = "s") -> str:
    """``1 run``, ``3 runs``."""
    return f"{number} {noun}{'' if number == 1 else ending}"


def cut(text: str, width: int) -> str:
    """A text of at most ``width`` characters; dots stand for its end."""
    return text if len(text) <= width else f"{text[: width - 1]}…"


def failure(error: str | None) -> str:
    """Why a run failed, in one line."""
    return f"failed: {' '.join((error or 'for an unknown reason').split())}"


def escape(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    text = re.sub(r"([\\`*<>|~&\[\]])", r"\\\1", " ".join(text.split()))
    return re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", text)


def unescape(text: str) -> str:
    """What `escape` was given, but for its spaces."""
    return re.sub(r"\\([\\`*<>|~&\[\]_])", r"\1", text)


class Footnotes:
    """Letters for notes, in the order in which they are first used; equal notes share a letter."""

    def __init__(self) -> None:
        self.letters: dict[str, str] = {}

    def mark(self, notes: Iterable[str]) -> str:
        """`` [a,b]`` for these notes; empty without any."""
        letters = [self.letters.setdefault(note, _letter(len(self.letters))) for note in notes]
        return f" [{','.join(letters)}]" if letters else ""

    def lines(self) -> list[tuple[str, str]]:
        """For each note, the text that begins its line, and the note."""
        return [(f"- [{letter}]", note) for note, letter in self.letters.items()]


def _letter(number: int) -> str:
    """a, b, ... z, aa, ab, ..."""
    rest, last = divmod(number, 26)
    return (_letter(rest - 1) if rest else "") + chr(ord("a") + last)


# Tables ----------------------------------------------------------------------------------------------------------


def markdown_table(headers: Sequence[str], rows: Sequence[Sequence[str]], *, escaped: bool = False) -> str:
    """A Markdown table; the first column is left-aligned. ``escaped``: the cells are Markdown already."""
    from tabulate import tabulate

    if not escaped:
        headers, rows = [*map(escape, headers)], [[*map(escape, row)] for row in rows]
    alignment = _alignment(headers) if rows else None
    return tabulate(rows, headers, tablefmt="pipe", colalign=alignment, disable_numparse=True)


def plain_table(headers: Sequence[str], rows: Sequence[Sequence[str]], left: bool = False) -> str:
    """A table for the terminal, without more space than its cells need; the first column is left-aligned.

    Headers may have several lines. ``left``: all columns are left-aligned.
    """
    from tabulate import tabulate

    # tabulate pads headers, but not rows.
    heads = zip_longest(*(header.split("\n") for header in headers), fillvalue="")
    lines = [*heads, ["-" * width for width in widths(headers, rows)], *rows]
    alignment = ["left"] * len(headers) if left else _alignment(headers)
    return tabulate(lines, tablefmt="plain", colalign=alignment, disable_numparse=True)


def widths(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    """The characters that each column needs."""
    lines = [max(map(len, header.split("\n"))) for header in headers]
    return [max(width, *map(len, cells)) for width, *cells in zip(lines, *rows, strict=True)]


def _alignment(headers: Sequence[str]) -> list[str]:
    return ["left", *["right"] * (len(headers) - 1)]


def to_csv(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """A line of CSV for each row: nothing where a row has no value, ``nan`` where it is undefined."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()
