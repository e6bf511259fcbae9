"""Leaderboards, and pages in Markdown, as plain text for a terminal."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence

from harness.format import MISSING, Footnotes, cut, plain_table, score_number, unescape, widths
from harness.leaderboard.board import Cell, Column, Leaderboard, Section
from harness.report.efficiency import cost_table, machine_words, summary_table
from harness.report.sweeps import chosen_table
from harness.report.verdict import verdict
from harness.report.words import about, deviation, lacking_words, score_words, shown_references, tasks_as_rows

WIDTH = 120
HEADING = 12
"""Characters of a line in which a heading says what the numbers are."""
CELL = re.compile(r"(?<!\\)\|")
"""What divides the cells of a table in Markdown."""
NAME = 28
"""The most characters of a model's name."""


def terminal_table(board: Leaderboard, width: int = WIDTH) -> str:
    """Compact tables of at most so many columns: task scores (one number each, which the heading names) and costs.

    A table that is too wide first loses its standard deviations or intervals, then is cut into several. Of more tasks
    than models the tasks are the rows.
    """
    notes = Footnotes()
    blocks = [_filled([verdict(board)], width), _filled([" ".join(about(board))], width)]
    for shown in filter(None, (board, board.tests)):
        for section in shown.sections:
            table = _scores(shown, section, notes, width)
            blocks += [f"{section.title} (task scores x 100)\n{table}", _filled(lacking_words(section), width)]
    for headers, rows in (chosen_table(board), cost_table(board)):
        if rows:
            blocks.append(_fit(headers, rows, width))
    headers, rows = summary_table(board)
    if rows:
        machines = _filled(machine_words(board), width)
        title = "Efficiency (details: efficiency.md)"
        blocks.append("\n".join(filter(None, [title, _fit(headers, rows, width), machines])))
    lines = [cut(f"{mark} {note}", WIDTH) for mark, note in notes.lines()]
    blocks.append(_filled([*lines, *(f"warning: {warning}" for warning in board.warnings)], width))
    return "\n\n".join(filter(None, blocks))


def terminal_page(page: str, width: int = WIDTH) -> str:
    """A page in Markdown as plain text, no line of which is longer; tables that are too wide are cut into several."""
    return "\n\n".join(_block(block.splitlines(), width) for block in re.split(r"\n{2,}", page.strip())) + "\n"


def _block(lines: Sequence[str], width: int) -> str:
    if not lines[0].startswith("|"):
        return _filled((unescape(re.sub("^#+ ", "", line)) for line in lines), width)
    headers, _, *rows = [[unescape(cell.strip()) for cell in CELL.split(line.strip()[1:-1])] for line in lines]
    return _fit(headers, rows, width)


def _filled(lines: Iterable[str], width: int) -> str:
    return "\n".join(
        textwrap.fill(line, width, break_on_hyphens=False, subsequent_indent=" " * (len(line) - len(line.lstrip(" -"))))
        for line in lines
        if line
    )


def _scores(board: Leaderboard, section: Section, notes: Footnotes, width: int) -> str:
    keys = [*section.averages, *(column.task for column in section.columns)]
    titles = [title.removeprefix(f"{section.title} ") for title in section.averages]
    rows = [*board.rows, *board.baselines, *shown_references(board, section)]
    turned = tasks_as_rows(keys, rows)
    headings = [f"{c.title} {score_words(c)}" for c in section.columns] if turned else map(_heading, section.columns)
    headers = ["Task" if turned else "Model", *titles, *headings]
    # The notes get their letters once, whichever table fits.
    letters = [[notes.mark(note) for note in (row.notes, *(row.cell(key).notes for key in keys))] for row in rows]
    for spread in (True, False):
        cells = [
            [cut(row.name, NAME), *(_score(row.cell(key), board.spread if spread else "") for key in keys)]
            for row in rows
        ]
        table = [[*map("".join, zip(*pair, strict=True))] for pair in zip(cells, letters, strict=True)]
        shown, *lines = _turned(headers, table) if turned else [headers, *table]
        if sum(widths(shown, lines)) + 2 * (len(shown) - 1) <= width:
            break
    return _fit(shown, lines, width)


def _turned(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """A table the other way round, headers included; the names of models take several lines."""
    lines = [list(line) for line in zip(headers, *rows, strict=True)]
    return [[lines[0][0], *("\n".join(textwrap.wrap(name, HEADING + 2)) for name in lines[0][1:])], *lines[1:]]


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


def _fit(headers: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> str:
    """One table, or several below one another that repeat the first column; a cell that is too wide is cut."""
    lines = [[cut(line[0], width // 2) if i else line[0], *line[1:]] for i, line in enumerate((headers, *rows))]
    first = widths(lines[0], lines[1:])[0]
    lines[1:] = [[line[0], *(cut(cell, width - first - 2) for cell in line[1:])] for line in lines[1:]]
    groups: list[list[int]] = []
    left = 0
    for column, needed in enumerate(widths(lines[0], lines[1:])[1:], 1):
        if not groups or left < needed + 2:
            groups.append([])
            left = width - first
        groups[-1].append(column)
        left -= needed + 2

    def part(columns: Sequence[int]) -> str:
        own = [[line[0], *(line[column] for column in columns)] for line in lines]
        return plain_table(own[0], own[1:])

    return "\n\n".join(map(part, groups))
