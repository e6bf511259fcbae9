"""A leaderboard as plain text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from harness.report.costs import cost_table
from harness.report.efficiency import machine_words, summary_table
from harness.report.format import MISSING, Footnotes, cut, plain_table, score_number, widths
from harness.report.leaderboard import Cell, Column, Leaderboard, Section
from harness.report.sweeps import chosen_table
from harness.report.words import about, deviation, lacking_words, score_words, shown_references

WIDTH = 120
HEADING = 12
"""Characters of a line in which a heading says what the numbers are."""


def terminal_table(board: Leaderboard) -> str:
    """Compact tables of at most 120 columns: task scores (one number each, which the heading names) and costs.

    A table that is too wide first loses its standard deviations or intervals, then is cut into several.
    """
    notes = Footnotes()
    blocks = [" ".join(about(board))]
    for shown in filter(None, (board, board.tests)):
        for section in shown.sections:
            table = _scores(shown, section, notes)
            blocks += [f"{section.title} (task scores x 100)\n{table}", *lacking_words(section)]
    for headers, rows in (chosen_table(board), cost_table(board)):
        if rows:
            blocks.append(_fit(headers, rows))
    headers, rows = summary_table(board)
    if rows:
        machines = [textwrap.fill(line, WIDTH) for line in machine_words(board)]
        blocks.append("\n".join(["Efficiency (details: efficiency.md)", _fit(headers, rows), *machines]))
    if notes.letters or board.warnings:
        lines = [cut(f"{mark} {note}", WIDTH) for mark, note in notes.lines()]
        blocks.append("\n".join([*lines, *(f"warning: {warning}" for warning in board.warnings)]))
    return "\n\n".join(blocks)


def _scores(board: Leaderboard, section: Section, notes: Footnotes) -> str:
    keys = [*section.averages, *(column.task for column in section.columns)]
    titles = [title.removeprefix(f"{section.title} ") for title in section.averages]
    headers = ["Model", *titles, *map(_heading, section.columns)]
    rows = [*board.rows, *board.baselines, *shown_references(board, section)]
    # The notes get their letters once, whichever table fits.
    letters = [[notes.mark(note) for note in (row.notes, *(row.cell(key).notes for key in keys))] for row in rows]
    for spread in (True, False):
        cells = [
            [cut(row.name, 28), *(_score(row.cell(key), board.spread if spread else "") for key in keys)]
            for row in rows
        ]
        table = [[*map("".join, zip(*pair, strict=True))] for pair in zip(cells, letters, strict=True)]
        if sum(widths(headers, table)) + 2 * len(keys) <= WIDTH:
            break
    return _fit(headers, table)


def _heading(column: Column) -> str:
    """The task, and below it what its number is."""
    return "\n".join([column.title, *textwrap.wrap(score_words(column), HEADING)])


def _score(cell: Cell, spread: str) -> str:
    """With the standard deviation or the interval behind it, as ``spread`` says; nothing for ``""``."""
    if cell.score is None:
        return "failed" if cell.status == "failed" else MISSING
    if cell.undefined:
        return "nan"
    behind = deviation(cell, spread) if spread else ""
    done = f" ({cell.score.n}/{len(cell.planned)})" if cell.score.n < len(cell.planned) else ""
    return score_number(cell.score.mean, cell.scored) + behind + done


def _fit(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """One table, or several below one another that repeat the first column."""
    first, *others = widths(headers, rows)
    groups: list[list[int]] = []
    left = 0
    for column, width in enumerate(others, 1):
        if not groups or left < width + 2:
            groups.append([])
            left = WIDTH - first
        groups[-1].append(column)
        left -= width + 2

    def part(columns: Sequence[int]) -> str:
        lines = [[line[0], *(line[column] for column in columns)] for line in (headers, *rows)]
        return plain_table(lines[0], lines[1:])

    return "\n\n".join(map(part, groups))
