"""scores.csv: a line for each score of each run, as pandas and other tools take it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from harness.report.format import to_csv
from harness.report.leaderboard import Leaderboard

COLUMNS = ("model", "task", "split", "seed", "metric", "value")


def long_text(board: Leaderboard) -> str:
    """The content of scores.csv: fractions, of validation and of test splits; the baseline has no seed."""
    return to_csv(_lines(board), COLUMNS)


def _lines(board: Leaderboard) -> Iterable[dict[str, Any]]:
    for shown in filter(None, (board, board.tests)):
        for row in (*shown.rows, *shown.baselines):
            for column in shown.columns:
                for (split, metric), value in zip(column.parts, row.cells[column.task].parts, strict=True):
                    for seed, score in value.seeds.items() if value else ():
                        number = None if row in shown.baselines else seed
                        yield dict(zip(COLUMNS, (row.name, column.task, split, number, metric, score), strict=True))
