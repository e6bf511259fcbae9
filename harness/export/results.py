"""What exports need of a benchmark: for each model its scores with intervals, and what they were made from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from harness.comparison.significance import with_statistics
from harness.leaderboard.board import Column, Leaderboard, Row, Value
from harness.leaderboard.build import Runs, board_of, tests_of
from harness.leaderboard.notes import finished
from harness.results.record import Record
from harness.results.store import Store
from harness.statistics.comparison import Comparison
from harness.task.plugins import Plugins


@dataclass(frozen=True)
class Score:
    """A metric of a model on a split: the mean over its seeds, with the interval of the leaderboard."""

    column: Column
    split: str
    metric: str
    value: Value
    interval: Comparison | None
    tested: bool
    """Whether the split is a test split, which chose nothing."""

    @property
    def name(self) -> str:
        """The task, with its split where that is not the only one of its kind."""
        parts = self.column.test_parts if self.tested else self.column.parts
        several = len({split for split, _ in parts}) > 1
        word = self.split.removeprefix("validation_")
        return f"{self.column.task}_{word}" if several or self.tested else self.column.task


@dataclass(frozen=True)
class Model:
    """A row of a leaderboard that has finished runs."""

    benchmark: str
    row: Row
    scores: Sequence[Score]
    records: Sequence[Record]

    @property
    def folder_name(self) -> str:
        """The row's name, as a folder may be called."""
        return re.sub(r"[^A-Za-z0-9_.+=-]+", "_", self.row.name).strip("._") or "model"

    @property
    def identifier(self) -> str:
        """The checkpoint's id on the Hub; the model's name where there is none."""
        checkpoint = self.records[0].checkpoint
        on_hub = checkpoint is not None and re.fullmatch(r"[\w.-]+/[\w.-]+", checkpoint) is not None
        return str(checkpoint) if on_hub else self.row.model

    @property
    def finished_at(self) -> datetime:
        """When the last of its runs ended; the epoch where no record says it."""
        times = [record.efficiency.finished_at for record in self.records]
        return max((datetime.fromisoformat(time) for time in times if time), default=datetime.fromtimestamp(0, UTC))

    @property
    def seconds(self) -> float:
        """What its runs took."""
        return sum(record.efficiency.total_seconds or 0.0 for record in self.records)

    def of(self, score: Score) -> Record:
        """The first run behind a score."""
        return next(r for r in self.records if r.task == score.column.answered_by and r.seed in score.value.seeds)

    def examples(self, score: Score) -> int:
        """How many examples a score is of; 0 where its record does not say it."""
        record = self.of(score)
        counts = (record.tests or record).counts if score.tested else record.counts
        return counts.get(score.column.task, {}).get(score.split, 0)


def models_of(stores: Sequence[Store], defined: Plugins) -> Iterator[Model]:
    """The models of a benchmark in one or several results folders."""
    board, runs = board_of(stores, defined.tasks, defined.suites)
    board = with_statistics(board, runs)
    tests = with_statistics(board.tests, tests_of(runs), board.spread) if board.tests else None
    for row in board.rows:
        records = _records(row, runs)
        scores = list(_scores(row, board, tested=False))
        for tested in tests.rows_like(row) if tests else ():
            scores += _scores(tested, tests, tested=True) if tests else ()
        if scores:
            yield Model(board.benchmark, row, scores, records)


def _records(row: Row, runs: Runs) -> list[Record]:
    return [record for of_seed in runs[row.folder, row.model].values() for record in finished(of_seed)]


def _scores(row: Row, board: Leaderboard, tested: bool) -> Iterator[Score]:
    for column in board.columns:
        cell = row.cells[column.task]
        intervals = cell.intervals or [None] * len(cell.parts)
        for (split, metric), value, interval in zip(column.parts, cell.parts, intervals, strict=True):
            if value is not None:
                yield Score(column, split, metric, value, interval, tested)


def hub_source(record: Record, task: str) -> Mapping[str, str]:
    """The Hub's data set of a task, as a run read it: ``id``, ``config``, ``revision``; {} of other data."""
    data = record.settings.data.get(task)
    if data is None or data.source != "hub" or data.id is None:
        return {}
    return {key: value for key in ("id", "config", "revision") if (value := getattr(data, key)) is not None}
