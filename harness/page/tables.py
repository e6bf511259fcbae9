"""The tables of the page as data, which the templates render."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.format import Footnotes, count, cut, duration, failure, in_unit, score_number
from harness.leaderboard.board import Cell, Leaderboard, Row, Section
from harness.leaderboard.build import Runs
from harness.leaderboard.measures import MEASURES, Measure, means
from harness.leaderboard.signature import seed_words
from harness.page.content import sign_of
from harness.page.qualities import Quality
from harness.page.verdicts import compared
from harness.report.compare_text import signed
from harness.report.efficiency import NOT_MEASURED
from harness.report.words import deviations, metric_words, seeds_done, shown_references
from harness.report.words import means as score_words

NOTE = 300
"""Characters of a note that are shown."""
GAPS = 200
"""Lines of failed and missing runs that are shown."""


@dataclass(frozen=True)
class TableCell:
    """A cell: its text, what stands behind it, the number that sorts it, its marks of notes, and its classes."""

    text: str
    spread: str = ""
    order: float | None = None
    marks: tuple[str, ...] = ()
    tied: bool = False
    hint: str = ""


@dataclass(frozen=True)
class TableColumn:
    """A column: ``suite`` is the title of its section, ``average`` whether it is no task."""

    key: str
    title: str
    words: str
    suite: str
    average: bool


@dataclass(frozen=True)
class ScoreTable:
    """The leaderboard: sections of columns, rows of cells, and rows that are no models; notes by letter."""

    sections: list[tuple[str, str, int]]
    columns: list[TableColumn]
    rows: list[tuple[str, str, tuple[str, ...], list[TableCell]]]
    others: list[tuple[str, tuple[str, ...], list[TableCell]]]

    @property
    def column_choices(self) -> list[tuple[str, str, str]]:
        """(key, title, suite)."""
        return [(column.key, column.title, column.suite) for column in self.columns]

    @property
    def model_choices(self) -> list[tuple[str, str]]:
        """(name, name)."""
        return [(name, name) for name, *_ in self.rows]


def score_table(board: Leaderboard, names: Sequence[str], notes: Footnotes) -> ScoreTable:
    """All suites side by side, and the rows in the order of their names."""
    columns, sections = [], []
    for section in board.sections:
        own = [TableColumn(title, title, "", section.title, True) for title in section.averages]
        own += [TableColumn(c.task, c.title, metric_words(c), section.title, False) for c in section.columns]
        columns += own
        sections.append((section.title, section.title, len(own)))
    rows = []
    by_name = {row.name: row for row in board.rows}
    for row in map(by_name.__getitem__, names):
        cells = [_score_cell(board, row, column.key, notes) for column in columns]
        rows.append((row.name, row.architecture, _letters(notes, row.notes), cells))
    others = []
    for row in (*board.baselines, *_references(board, board.sections)):
        cells = [TableCell(score_words(cell), order=_order(cell)) for cell in (row.cell(c.key) for c in columns)]
        others.append((row.name, _letters(notes, row.notes), cells))
    return ScoreTable(sections, columns, rows, others)


def _references(board: Leaderboard, sections: Sequence[Section]) -> list[Row]:
    shown = {row.name for section in sections for row in shown_references(board, section)}
    return [row for row in board.references if row.name in shown]


def _score_cell(board: Leaderboard, row: Row, key: str, notes: Footnotes) -> TableCell:
    cell = row.cell(key)
    ranking = board.rankings.get(key)
    hints = []
    if ranking and row.name in ranking.ranks:
        low, high = ranking.ranks[row.name]
        hints.append(f"rank {low}" if low == high else f"rank {low} to {high}")
    if cell.interval and board.spread != "ci":
        ends = cell.interval.low, cell.interval.high
        hints.append(f"95 % interval {' to '.join(score_number(v, cell.scored) for v in ends)}")
    return TableCell(
        text=score_words(cell),
        spread=f"{deviations(cell, board.spread)}{seeds_done(cell)}",
        order=_order(cell),
        marks=_letters(notes, cell.notes),
        tied=board.rows.index(row) in board.best(key),
        hint="; ".join(hints),
    )


def _order(cell: Cell) -> float | None:
    return round(cell.score.mean, 5) if cell.score and not math.isnan(cell.score.mean) else None


def _letters(notes: Footnotes, of_cell: Sequence[str]) -> tuple[str, ...]:
    return tuple(notes.mark([cut(note, NOTE)]).strip(" []") for note in of_cell)


def note_lines(notes: Footnotes) -> list[tuple[str, str]]:
    """(letter, note)."""
    return [(letter, note) for note, letter in notes.letters.items()]


# Pairs -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PairCell:
    """Row less column in points, ± half of its interval, and what can be said of the row."""

    text: str
    half: str = ""
    verdict: str = ""


def pair_table(quality: Quality, names: Sequence[str]) -> list[tuple[str, list[PairCell]]]:
    """All pairs of models on an average or a task."""
    return [(a, [_pair_cell(quality, a, b) for b in names]) for a in names]


def _pair_cell(quality: Quality, a: str, b: str) -> PairCell:
    comparison, sign = compared(quality, a, b)
    if comparison is None:
        return PairCell("" if a == b else "—")
    verdict = {1: "better", 0: "tied", -1: "worse"}[sign * sign_of(comparison)]
    error = comparison.lower_is_better
    half = in_unit((comparison.high - comparison.low) / 2, error)
    return PairCell(signed(sign * comparison.estimate, error), half, verdict)


# Costs -----------------------------------------------------------------------------------------------------------


def efficiency_table(
    board: Leaderboard, names: Sequence[str]
) -> tuple[list[Measure], list[tuple[str, list[TableCell], list[TableCell]]]]:
    """The columns, and a row per model: its name, its time per run and in all, and its means."""
    numbers = means(board.efficiency)
    shown = [m for m in MEASURES if any(m.key in of_row for of_row in numbers) and _interesting(m)]
    rows = []
    pairs = zip(board.efficiency, numbers, strict=True)
    for efficiency, of_row in sorted(pairs, key=lambda pair: names.index(pair[0].name)):
        cells = [_measured(measure, of_row.get(measure.key)) for measure in shown]
        cost = next(row.cost for row in board.rows if row.name == efficiency.name)
        seconds = [cost.train_seconds_mean, cost.train_seconds_total] if cost else [None, None]
        rows.append((efficiency.name, [TableCell(duration(s), order=s and round(s, 2)) for s in seconds], cells))
    return shown, rows


def _interesting(measure: Measure) -> bool:
    return measure.general or measure.key in (
        "inference_rate_8",
        "inference_rate_128",
        "latency_p50_seconds",
        "latency_p95_seconds",
    )


def _measured(measure: Measure, value: float | None) -> TableCell:
    return TableCell(NOT_MEASURED) if value is None else TableCell(measure.show(value), order=float(f"{value:.6g}"))


# What is not there -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gap:
    """Runs of a model on a task that failed or have no record, and why."""

    task: str
    model: str
    seeds: str
    status: str
    reason: str


def gaps(board: Leaderboard, runs: Runs) -> tuple[list[Gap], dict[str, int]]:
    """The failed and missing runs, the failed ones first; and how many runs are done, failed and missing."""
    found: dict[tuple[str, str, str, str], list[int]] = {}
    counts = {"done": 0, "failed": 0, "missing": 0}
    for (folder, model), of_task in runs.items():
        name = f"{model} ({folder})" if folder else model
        for task, of_seed in of_task.items():
            for seed, record in of_seed.items():
                status = "missing" if record is None else "done" if record.finished else "failed"
                counts[status] += 1
                if status != "done":
                    reason = "no record yet" if record is None else cut(failure(record.error), NOTE)
                    found.setdefault((status, board.title(task), name, reason), []).append(seed)
    lines = [Gap(t, m, seed_words(sorted(seeds)), status, reason) for (status, t, m, reason), seeds in found.items()]
    return sorted(lines, key=lambda gap: gap.status)[:GAPS], counts


def summary(counts: dict[str, int]) -> list[str]:
    """``102 runs done``, ``3 failed``, ``4 to do``."""
    words = {"done": "runs done", "failed": "failed", "missing": "to do"}
    return [
        f"{count(number) if number > 9999 else number} {words[key]}"
        for key, number in counts.items()
        if number or key == "done"
    ]
