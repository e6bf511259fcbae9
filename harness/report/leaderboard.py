"""A leaderboard as files: leaderboard.md for people, and the files beside it."""

from __future__ import annotations

from pathlib import Path

from harness.format import MISSING, Footnotes, cut, escape, markdown_table
from harness.io import encode, remove, to_json, write_file
from harness.leaderboard.board import Leaderboard, Section
from harness.report import efficiency
from harness.report.efficiency import cost_table
from harness.report.latex import efficiency_tex, leaderboard_tex
from harness.report.long import long_text
from harness.report.numbers import as_data, csv_text
from harness.report.sweeps import chosen_table, chosen_words, sweep_page
from harness.report.verdict import verdict
from harness.report.words import (
    about,
    baseline_words,
    counting_words,
    deviations,
    lacking_words,
    means,
    metric_words,
    seeds_done,
    shown_references,
    statistics_words,
    tasks_as_rows,
)


def contents(board: Leaderboard) -> dict[str, bytes]:
    """The files of a leaderboard by name; empty ones are not there.

    leaderboard.md, .csv, .json and .tex; sweep.md of a sweep; the like of efficiency where a run has finished;
    labels.md where a task is scored label by label.
    """
    return {
        "leaderboard.md": encode(board.markdown),
        "leaderboard.csv": encode(csv_text(board)),
        "leaderboard.json": to_json(as_data(board)),
        "leaderboard.tex": encode(leaderboard_tex(board)),
        "sweep.md": encode(sweep_page(board)) if board.sweeps else b"",
        "efficiency.md": encode(efficiency.page(board)) if board.efficiency else b"",
        "efficiency.csv": encode(efficiency.csv_text(board)) if board.efficiency else b"",
        "efficiency.json": to_json(efficiency.as_data(board)) if board.efficiency else b"",
        "efficiency.tex": encode(efficiency_tex(board)) if board.efficiency else b"",
        "labels.md": encode(board.labels),
    }


def write_leaderboard(folder: Path, board: Leaderboard, long: bool = False) -> list[Path]:
    """Write the files of a leaderboard into a folder, each replaced at once, and remove those that it has no more.

    ``long``: scores.csv, too.

    Raises:
        HarnessError: the disk says no.
    """
    files = {**contents(board), **({"scores.csv": encode(long_text(board))} if long else {})}
    for name, content in files.items():
        if content:
            write_file(folder / name, content)
        else:
            remove(folder / name)
    return [folder / name for name, content in files.items() if content]


def markdown(board: Leaderboard) -> str:
    """The content of leaderboard.md; a function of the records alone."""
    notes = Footnotes()
    blocks = [f"# Leaderboard: {escape(board.benchmark)}", escape(verdict(board)), " ".join(map(escape, about(board)))]
    for shown in filter(None, (board, board.tests)):
        for section in shown.sections:
            blocks += [f"## {escape(section.title)}", _score_table(shown, section, notes)]
            blocks += map(escape, lacking_words(section))
    if board.rows:
        blocks.append("\n".join(f"- {line}" for line in _legend(board)))
    if board.sweeps:
        words = f"{chosen_words(board)} All trials are in [sweep.md](sweep.md)."
        blocks += ["## Chosen recipes", markdown_table(*chosen_table(board)), words]
    headers, rows = cost_table(board)
    if rows:
        words = "Time is that of training. ex/s: examples per second in training, and in inference in batches of 1 and "
        words += (
            "32; geometric means over the tasks that all models have finished, as in [efficiency.md](efficiency.md)."
        )
        if board.generates:
            words += " Invalid: share of generated answers that stand for no prediction and count as wrong."
        signatures = [f"- {escape(row.name)}: `{row.signature}`" for row in board.rows if row.signature]
        blocks += ["## Cost", markdown_table(headers, rows), words, "## Signatures", "\n".join(signatures)]
    if notes.letters:
        blocks += ["## Notes", "\n".join(f"{mark} {escape(cut(note, 300))}" for mark, note in notes.lines())]
    return "\n\n".join(filter(None, blocks)) + "\n"


def _legend(board: Leaderboard) -> list[str]:
    """How to read the tables of scores."""
    words = [f"Scores on the validation sets, times 100; {counting_words(board)}."]
    words += statistics_words(board)
    words += baseline_words(board)
    if board.tests:
        words.append("Scores on test sets stand in tables of their own, and in no average.")
    if board.references:
        words.append("In italics: published dev-set scores, with averages computed here.")
    return words


def _score_table(board: Leaderboard, section: Section, notes: Footnotes) -> str:
    keys = [*section.averages, *(column.task for column in section.columns)]
    headers = ["Model", *section.averages, *(f"{c.title} {metric_words(c)}" for c in section.columns)]
    best = {key: board.best(key) for key in keys}
    rows = []
    for i, row in enumerate(board.rows):
        cells = [f"{escape(row.name)}{notes.mark(row.notes)}"]
        for key in keys:
            cell = row.cell(key)
            score = f"**{means(cell)}**" if i in best[key] else means(cell)
            cells.append(f"{score}{deviations(cell, board.spread)}{seeds_done(cell)}{notes.mark(cell.notes)}")
        rows.append(cells)
    for row in (*board.baselines, *shown_references(board, section)):
        cells = [f"*{escape(row.name)}*{notes.mark(row.notes)}"]
        for cell in map(row.cell, keys):
            cells.append(f"*{means(cell)}*{notes.mark(cell.notes)}" if cell.done else MISSING)
        rows.append(cells)
    headers = [*map(escape, headers)]
    if tasks_as_rows(keys, rows):
        headers, *rows = map(list, zip(["Task", *headers[1:]], *rows, strict=True))
    return markdown_table(headers, rows, escaped=True)
