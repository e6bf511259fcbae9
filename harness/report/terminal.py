"""A leaderboard as plain text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from harness.report.efficiency import machine_words, summary_table
from harness.report.format import MISSING, percent
from harness.report.leaderboard import Leaderboard, Row, Section
from harness.report.sweeps import chosen_table
from harness.report.tables import Footnotes, about, cost_table, lacking_words

WIDTH = 120


def terminal_table(board: Leaderboard) -> str:
    """Compact tables of at most 120 columns: task scores (the mean of a task's metrics) and costs.

    A table that is too wide first loses its standard deviations, then is cut into several.
    """
    notes = Footnotes()
    blocks = [" ".join(about(board))]
    for section in board.sections:
        blocks += [f"{section.title} (task scores x 100)\n{_scores(board, section, notes)}", *lacking_words(section)]
    for headers, rows in (chosen_table(board), cost_table(board)):
        if rows:
            blocks.append(_fit(headers, rows))
    headers, rows = summary_table(board)
    if rows:
        machines = [textwrap.fill(line, WIDTH) for line in machine_words(board)]
        blocks.append("\n".join(["Efficiency (details: efficiency.md)", _fit(headers, rows), *machines]))
    if notes.letters or board.warnings:
        lines = [_cut(line, WIDTH) for line in notes.lines()]
        blocks.append("\n".join([*lines, *(f"warning: {warning}" for warning in board.warnings)]))
    return "\n\n".join(blocks)


def _scores(board: Leaderboard, section: Section, notes: Footnotes) -> str:
    keys = [*section.averages, *(column.task for column in section.columns)]
    titles = [title.removeprefix(f"{section.title} ") for title in section.averages]
    headers = ["Model", *titles, *(column.title for column in section.columns)]
    published = [row for row in board.references if any(row.cells[c.task].done for c in section.columns)]
    rows = [*board.rows, *published]
    # The notes get their letters once, whichever table fits.
    letters = [[notes.mark(row.notes), *(notes.mark(row.cell(key).notes) for key in keys)] for row in rows]
    for spread in (True, False):
        table = [
            [
                _cut(row.name, 28) + caveats[0],
                *(_score(row, k, spread) + m for k, m in zip(keys, caveats[1:], strict=True)),
            ]
            for row, caveats in zip(rows, letters, strict=True)
        ]
        text = _plain(headers, table)
        if _width(text) <= WIDTH:
            return text
    return _fit(headers, table)


def _score(row: Row, key: str, spread: bool) -> str:
    cell = row.cell(key)
    if cell.score is None:
        return "failed" if cell.status == "failed" else MISSING
    if cell.undefined:
        return "nan"
    std = f" ± {percent(cell.score.std)}" if spread and cell.score.std is not None else ""
    done = f" ({cell.score.n}/{len(cell.planned)})" if cell.score.n < len(cell.planned) else ""
    return percent(cell.score.mean) + std + done


def _fit(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """One table, or several below one another that repeat the first column."""
    tables, start = [], 1
    while start < len(headers):
        end = len(headers)
        while end > start + 1 and _width(_part(headers, rows, start, end)) > WIDTH:
            end -= 1
        tables.append(_part(headers, rows, start, end))
        start = end
    return "\n\n".join(tables)


def _part(headers: Sequence[str], rows: Sequence[Sequence[str]], start: int, end: int) -> str:
    return _plain([headers[0], *headers[start:end]], [[row[0], *row[start:end]] for row in rows])


def _plain(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    table = [headers, *rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(headers))]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in table]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def _width(text: str) -> int:
    return max(map(len, text.splitlines()), default=0)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
