"""scores.csv: a line for each score of each run, as pandas and other tools take it."""

from __future__ import annotations

from harness.format import to_csv
from harness.leaderboard.board import SCORE_COLUMNS, Leaderboard


def long_text(board: Leaderboard) -> str:
    """The content of scores.csv."""
    return to_csv(board.scores(), SCORE_COLUMNS)
