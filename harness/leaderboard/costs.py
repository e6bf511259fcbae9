"""What the runs of each row took."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace

from harness.leaderboard.board import Cost, Efficiency, Row
from harness.leaderboard.measures import SIZES, inference_rate, means
from harness.results.record import Record


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
