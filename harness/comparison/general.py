"""All models on tasks in general: Friedman's test and Nemenyi's critical difference, on demand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.errors import HarnessError
from harness.leaderboard.board import Column, Leaderboard
from harness.statistics.comparison import ALPHA
from harness.statistics.suites import Friedman, friedman


@dataclass(frozen=True)
class InGeneral:
    """The ranks of models over tasks, which are taken as a sample of all tasks.

    Attributes:
        names: of the models.
        tasks: titles of those on which all models have a score.
        test: ranks in the order of ``names``.
    """

    names: tuple[str, ...]
    tasks: tuple[str, ...]
    test: Friedman

    def told_from(self, name: str) -> list[str]:
        """The models whose mean rank differs by more than the critical difference, where the test finds any."""
        ranks = dict(zip(self.names, self.test.mean_ranks, strict=True))
        if not self.test.p < ALPHA:
            return []
        return [other for other in self.names if abs(ranks[other] - ranks[name]) > self.test.critical_difference]

    def data(self) -> dict[str, Any]:
        """As plain data."""
        ranks = dict(zip(self.names, self.test.mean_ranks, strict=True))
        return {"tasks": self.tasks, "p": self.test.p, "critical_difference": self.test.critical_difference,
                "mean_ranks": ranks}  # fmt: skip


def in_general(board: Leaderboard, columns: Sequence[Column]) -> InGeneral:
    """The claim about tasks in general; diagnostics, which another task's models answer, are left out.

    Raises:
        HarnessError: fewer than three models, or two tasks on which all have a score.
    """
    scores, titles = [], []
    for column in columns:
        own = [row.cells[column.task].score for row in board.rows]
        sign = -1 if column.lower_is_better else 1
        means = [math.nan if score is None else sign * score.mean for score in own]
        if not column.diagnostic and all(map(math.isfinite, means)):
            scores.append(means)
            titles.append(column.title)
    names = tuple(row.name for row in board.rows)
    if len(names) < 3 or len(titles) < 2:
        raise HarnessError(
            f"--friedman needs three models and two tasks on which all have a score: there are {len(names)} and "
            f"{len(titles)}"
        )
    return InGeneral(names, tuple(titles), friedman(np.array(scores)))
