"""What the statistics say of a leaderboard: intervals, tie groups, collapsed runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

from harness.comparison.observed import Also, Observed, Reader, Unobserved, observed
from harness.errors import HarnessError
from harness.format import score_number
from harness.leaderboard.board import Cell, Leaderboard, Row
from harness.leaderboard.notes import OfSeed, finished
from harness.statistics.comparison import Comparison, compare, estimate
from harness.statistics.runs import interquartile_mean
from harness.statistics.suites import holm, rank, suite_average

SEVERAL = 3
"""From so many seeds on the 95 % interval is shown, before the standard deviation."""

RowKey = tuple[str, str]
"""(folder, model)."""
ObservedRows = dict[str, dict[str, Observed]]
"""By the names of rows, and by task."""


def with_statistics(
    board: Leaderboard, runs: Mapping[RowKey, Mapping[str, OfSeed]], spread: str = "auto", also: Also | None = None
) -> Leaderboard:
    """The leaderboard with intervals, tie groups and marks of collapsed runs.

    Args:
        runs: the records of the rows, by task and seed.
        spread: ``std`` or ``ci``, what stands behind a mean; ``auto``: the interval where every number is of
            three seeds or more.
        also: is given each record that is read, with its answers.
    """
    rows, seen = [], ObservedRows()
    reader = Reader(also)
    for row in board.rows:
        seen[row.name], notes = _observed_row(board, row, runs[row.folder, row.model], reader)
        rows.append(_with_intervals(board, row, seen[row.name], notes))
    if spread == "auto":
        cells = [cell for row in rows for cell in row.cells.values() if cell.done]
        several = all(cell.done >= SEVERAL for cell in cells) and any(cell.interval for cell in cells)
        spread = "ci" if several else "std"
    board = replace(board, rows=tuple(rows), spread=spread)
    pairs = _pairs(board, seen)
    corrected = {key: dict(zip(own, holm([*own.values()]), strict=True)) for key, own in pairs.items()}
    return replace(board, rankings={key: rank(own) for key, own in pairs.items()}, pairs=corrected)


def _observed_row(
    board: Leaderboard, row: Row, runs: Mapping[str, OfSeed], reader: Reader
) -> tuple[dict[str, Observed], dict[str, str]]:
    """What can be observed of a row, by task, and why the rest of its numbers have no statistics."""
    seen: dict[str, Observed] = {}
    notes: dict[str, str] = {}
    for column in sorted(board.columns, key=lambda column: column.answered_by):
        score = row.cells[column.task].score
        if score is None:
            continue
        records = {r.seed: r for r in finished(runs.get(column.answered_by, {})) if r.seed in score.seeds}
        try:
            seen[column.task] = observed(column, records, reader)
        except Unobserved as reason:
            if any(record.folder for record in records.values()):
                notes[column.task] = f"no statistics: {reason}"
    reader.forget()
    return seen, notes


def _with_intervals(board: Leaderboard, row: Row, seen: Mapping[str, Observed], notes: Mapping[str, str]) -> Row:
    cells = {task: _cell(cell, seen.get(task), notes.get(task)) for task, cell in row.cells.items()}
    averages = dict(row.averages)
    for section in board.sections:
        for title, tasks in section.averages.items():
            intervals = [cells[task].interval for task in tasks]
            if averages[title].score is not None and None not in intervals:
                interval = suite_average([i for i in intervals if i])
                averages[title] = replace(averages[title], interval=interval, intervals=(interval,))
    return replace(row, cells=cells, averages=averages)


def _cell(cell: Cell, seen: Observed | None, note: str | None) -> Cell:
    if seen is None:
        return replace(cell, notes=(*cell.notes, note)) if note else cell
    try:
        intervals = tuple(None if part is None else estimate(part) for part in seen.parts)
        cell = replace(cell, intervals=intervals, interval=estimate(seen.score))
    except HarnessError as error:
        return replace(cell, notes=(*cell.notes, f"no interval: {error}"))
    return replace(cell, collapsed=seen.collapsed, notes=(*cell.notes, *collapsed_words(cell, seen)))


def collapsed_words(cell: Cell, seen: Observed) -> list[str]:
    """Which runs collapsed, and the interquartile mean of all."""
    if not seen.collapsed or cell.score is None:
        return []
    many = len(seen.collapsed) > 1
    parts = [(part, metric) for part, metric in zip(cell.parts, cell.metrics, strict=True) if part]
    means = [
        score_number(interquartile_mean([0.0 if v != v else v for v in part.seeds.values()]), metric)
        for part, metric in parts
    ]
    return [
        f"{len(seen.collapsed)} of {len(seen.seeds)} runs collapsed to nearly one answer "
        f"(seed{'s' * many} {', '.join(map(str, seen.collapsed))}); "
        f"interquartile mean of all {'/'.join(means)}"
    ]


# Tie groups ------------------------------------------------------------------------------------------------------


def _pairs(board: Leaderboard, seen: ObservedRows) -> dict[str, dict[tuple[str, str], Comparison]]:
    """The comparison of every pair of rows, in the tasks and averages where all can be compared."""
    pairs: dict[str, dict[tuple[str, str], Comparison]] = {}
    for column in board.columns:
        rows = [row.name for row in board.comparable(column.task)]
        if found := _compared(column.task, rows, seen):
            pairs[column.task] = found
    for section in board.sections:
        for title, tasks in section.averages.items():
            names = list(combinations([row.name for row in board.comparable(title)], 2))
            if names and all(pair in pairs.get(task, {}) for task in tasks for pair in names):
                pairs[title] = {pair: suite_average([pairs[task][pair] for task in tasks]) for pair in names}
    return pairs


def _compared(task: str, rows: Sequence[str], seen: ObservedRows) -> dict[tuple[str, str], Comparison]:
    """The comparison of every pair of rows; {} where one cannot be observed, or other examples were answered."""
    if any(task not in seen[name] for name in rows) or len({seen[name][task].examples for name in rows}) != 1:
        return {}
    try:
        return {(a, b): compare(seen[a][task].score, seen[b][task].score) for a, b in combinations(rows, 2)}
    except HarnessError:  # too few examples
        return {}
