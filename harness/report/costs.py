"""The table of costs: what the runs of each row took."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace

from harness.report.format import Table, count, duration, percent, plural, rate
from harness.report.leaderboard import Cost, Efficiency, Leaderboard, Row
from harness.report.measures import SIZES, inference_rate, means
from harness.results.record import Record

SHOWN_SIZES = ("1", "32")


def cost_of(records: Sequence[Record]) -> Cost:
    """What finished runs took; see `with_rates` for how fast they were."""

    def largest(parameters: str) -> int | None:
        return max((r.parameters[parameters] for r in records if parameters in r.parameters), default=None)

    shares: dict[str, list[float]] = {}
    for record in records:
        for task, of_split in record.invalid.items():
            shares.setdefault(task, []).extend(of_split.values())
    seconds = [taken for record in records if (taken := _train_seconds(record, records)) is not None]
    return Cost(
        runs=len(records),
        trained=largest("trained"),
        total=largest("total"),
        train_seconds_mean=statistics.fmean(seconds) if seconds else None,
        train_seconds_total=sum(seconds) if seconds else None,
        invalid={task: statistics.fmean(of_task) for task, of_task in shares.items() if of_task} or None,
    )


def _train_seconds(record: Record, others: Sequence[Record]) -> float | None:
    """How long the training of a run takes alone.

    Of one that shared the machine, this follows from what was measured afterwards, of any seed of the task: its startup
    and its rate.
    """
    if not record.efficiency.shared:
        return record.efficiency.train_seconds
    measured = [r for r in others if r.task == record.task and r.efficiency.train_examples_per_second]
    if not measured:
        return None
    efficiency, examples = measured[0].efficiency, record.steps * (record.batch_size or 0)
    return (efficiency.startup_seconds or 0.0) + examples / (efficiency.train_examples_per_second or 1.0)


def with_rates(rows: Sequence[Row], efficiency: Sequence[Efficiency]) -> list[Row]:
    """The rows with the rates that the page on efficiency shows: one number, from one place."""
    numbers = dict(zip((row.name for row in efficiency), means(efficiency), strict=True))

    def with_own(row: Row) -> Row:
        own = numbers.get(row.name, {})
        rates = {size: own[inference_rate(size)] for size in SIZES if inference_rate(size) in own}
        train_rate = own.get("train_examples_per_second")
        return replace(row, cost=row.cost and replace(row.cost, train_rate=train_rate, inference_rates=rates))

    return [with_own(row) for row in rows]


def cost_table(board: Leaderboard) -> Table:
    """What the runs of each row took; the share of invalid predictions only where some model generates."""
    headers = ["Model", "Params (trained)", "Time per run", "All runs", "Train ex/s"]
    headers += [f"Infer ex/s @{size}" for size in SHOWN_SIZES]
    rows = []
    for row in board.rows:
        cost = row.cost
        if cost is None or not cost.runs:
            continue
        total = f"{duration(cost.train_seconds_total)} ({plural(cost.runs, 'run')})"
        parameters = f"{count(cost.total)} ({count(cost.trained)})"
        rates = [cost.train_rate, *map(cost.inference_rates.get, SHOWN_SIZES)]
        cells = [row.name, parameters, duration(cost.train_seconds_mean), total]
        cells += ["n/a" if value is None else rate(value) for value in rates]
        rows.append([*cells, _invalid(cost, board)] if board.generates else cells)
    return ([*headers, "Invalid"] if board.generates else headers), rows


def _invalid(cost: Cost, board: Leaderboard) -> str:
    """The mean share of invalid predictions over tasks, and the task with the largest."""
    if cost.invalid is None:
        return "n/a"
    worst, share = max(cost.invalid.items(), key=lambda item: item[1])
    mean = f"{percent(cost.invalid_mean)} %"
    return f"{mean} (worst: {board.title(worst)} {percent(share)} %)" if share else mean
