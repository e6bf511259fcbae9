"""What models are compared by on the page: averages and tasks on one side, costs on the other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import TYPE_CHECKING

from harness.leaderboard.board import Cell, Leaderboard, average
from harness.leaderboard.measures import means
from harness.report.words import metric_words

if TYPE_CHECKING:  # loads scipy, which takes a while
    from harness.statistics.comparison import Comparison

Pairs = Mapping[tuple[str, str], "Comparison"]


@dataclass(frozen=True)
class Quality:
    """A task or an average: the cells of all rows and the comparisons of their pairs, by the names of rows.

    ``suite`` is the title of its section; ``key`` is what the leaderboard calls it. An ``error`` is in its own unit,
    and less of it is better.
    """

    key: str
    title: str
    suite: str
    average: bool
    cells: Mapping[str, Cell]
    pairs: Pairs = field(default_factory=dict)
    error: bool = False

    @property
    def measured(self) -> bool:
        """Whether some row has a number."""
        return any(cell.score is not None and not cell.undefined for cell in self.cells.values())


def qualities(board: Leaderboard) -> list[Quality]:
    """Section by section the averages, then the tasks; without any average one of the tasks that all rows have."""
    shown: list[Quality] = []
    errors = {column.task for column in board.columns if column.lower_is_better}
    for section in board.sections:
        names = {title: title for title in section.averages}
        tasks = {column.task: f"{column.title} {metric_words(column)}" for column in section.columns}
        for key, title in {**names, **tasks}.items():
            cells = {row.name: row.cell(key) for row in board.rows}
            own = Quality(key, title, section.title, key in names, cells, board.pairs.get(key, {}), key in errors)
            shown.append(own)
    own_tasks = [c.task for c in board.columns if not c.diagnostic and not c.lower_is_better and _whole(board, c.task)]
    if len(own_tasks) > 1 and not any(section.averages for section in board.sections):
        shown.insert(0, _average_of(board, own_tasks))
    return shown


def _whole(board: Leaderboard, task: str) -> bool:
    return all(row.cells[task].status == "done" for row in board.rows)


def _average_of(board: Leaderboard, tasks: Sequence[str]) -> Quality:
    title = f"Average of {len(tasks)} tasks"
    cells = {row.name: average(row.cells, tasks) for row in board.rows}
    pairs: Pairs = {}
    if all(task in board.pairs for task in tasks):
        from harness.statistics.suites import holm, suite_average

        for row in board.rows:
            intervals = [interval for task in tasks if (interval := row.cells[task].interval)]
            if len(intervals) == len(tasks):
                cells[row.name] = replace(cells[row.name], interval=suite_average(intervals))
        names = list(combinations([row.name for row in board.rows], 2))
        if all(pair in board.pairs[task] for task in tasks for pair in names):
            averages = [suite_average([board.pairs[task][pair] for task in tasks]) for pair in names]
            pairs = dict(zip(names, holm(averages), strict=True))
    return Quality(title, title, "", True, cells, pairs)


def headlines(shown: Sequence[Quality]) -> list[Quality]:
    """What answers the question: one average of each suite, or else the tasks, four at most."""
    measured = [quality for quality in shown if quality.measured]
    of_suite: dict[str, Quality] = {}
    for quality in sorted((q for q in measured if q.average), key=lambda q: not q.pairs):
        of_suite.setdefault(quality.suite, quality)
    chosen = list(of_suite.values()) or [quality for quality in measured if quality.pairs] or measured
    return [quality for quality in measured if quality in chosen][:4]


def ordered(rows: Sequence[str], quality: Quality | None) -> list[str]:
    """The names of rows, the best first; those without a number last."""

    def score(name: str) -> float:
        cell = quality.cells[name] if quality else None
        if quality is None or cell is None or cell.score is None or cell.undefined:
            return -math.inf
        return -cell.score.mean if quality.error else cell.score.mean

    return sorted(rows, key=score, reverse=True)


# Costs -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CostMeasure:
    """A cost of models: its words, its unit, the factor from the unit of records, and whether more is better.

    ``ratio`` are the words for a ratio: ``{} × the latency``.
    """

    key: str
    title: str
    unit: str
    factor: float
    more: bool
    ratio: str


COSTS = (
    CostMeasure("latency_p50_seconds", "Latency of one answer, p50", "ms", 1e3, False,
                "{} × the latency"),
    CostMeasure("inference_rate_32", "Inference in batches of 32", "examples/s", 1.0, True,
                "{} × the examples per second"),
    CostMeasure("flops_per_example", "FLOPs of one answer", "GFLOPs", 1e-9, False,
                "{} × the FLOPs"),
    CostMeasure("parameters_total", "Parameters", "millions", 1e-6, False, "{} × the parameters"),
    CostMeasure("train_seconds", "Training time of one run", "s", 1.0, False, "{} × the training time"),
    CostMeasure("train_examples_per_second", "Training throughput", "examples/s", 1.0, True,
                "{} × the training throughput"),
    CostMeasure("peak_memory_bytes", "Memory of a run", "MB", 2**-20, False, "{} × the memory"),
    CostMeasure("peak_device_bytes", "GPU memory of a run", "MB", 2**-20, False, "{} × the GPU memory"),
    CostMeasure("energy_joules", "Energy of one run", "Wh", 1 / 3600, False, "{} × the energy"),
)  # fmt: skip


def costs(board: Leaderboard) -> dict[CostMeasure, dict[str, float]]:
    """By measure and row, in its unit: the means of efficiency.md; only what two rows have, or the only row."""
    numbers = dict(zip((row.name for row in board.efficiency), means(board.efficiency), strict=True))
    values: dict[CostMeasure, dict[str, float]] = {}
    for measure in COSTS:
        own = {name: of_row[measure.key] for name, of_row in numbers.items() if measure.key in of_row}
        if measure.key == "train_seconds":
            times = {row.name: row.cost.train_seconds_mean for row in board.rows if row.cost}
            own = {name: seconds for name, seconds in times.items() if seconds}
        if len(own) >= min(2, len(board.rows)) and own:
            values[measure] = {name: measure.factor * value for name, value in own.items()}
    return values
