"""Footnotes of cells: why numbers are missing, undefined or not comparable."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from harness.report.format import failure, plural
from harness.report.leaderboard import Column, Row, Value
from harness.results.manifest import Choice
from harness.results.record import Record

OfSeed = Mapping[int, Record | None]
"""The records of a task in one row, by seed."""


def finished(of_seed: OfSeed) -> list[Record]:
    """The records of runs that did not fail."""
    return [record for record in of_seed.values() if record and record.finished]


def budgets(rows: Sequence[Row], sweeps: Sequence[tuple[str, Choice]]) -> dict[str, str]:
    """What tuning and how many seeds each row had, by its name; {} where all had the same."""
    trials: dict[str, set[int]] = {row.name: set() for row in rows}
    for name, choice in sweeps:
        trials[name].add(len(choice.trials))
    words = {row.name: f"{_tuning(trials[row.name])}, {plural(len(row.seeds), 'seed')}" for row in rows}
    return words if len(set(words.values())) > 1 else {}


def _tuning(trials: set[int]) -> str:
    if not trials:
        return "one recipe, without tuning"
    number = f"{min(trials)} to {max(trials)} trials" if len(trials) > 1 else plural(max(trials), "trial")
    return f"the best recipe of {number} for each task"


def gaps(column: Column, of_seed: OfSeed) -> list[str]:
    """Why numbers are missing; a reason that does not hold for all seeds names its seeds."""
    if not of_seed:
        if column.diagnostic:
            return [f"{column.title} is answered by the {column.answered_by} model, which is not in this benchmark"]
        return ["no record yet"]
    seeds: dict[str, list[int]] = {}
    for seed, record in of_seed.items():
        for reason in _gaps_of(column, record):
            seeds.setdefault(reason, []).append(seed)
    return [
        reason if len(which) == len(of_seed) else f"seed{'s' * (len(which) > 1)} {', '.join(map(str, which))}: {reason}"
        for reason, which in seeds.items()
    ]


def _gaps_of(column: Column, record: Record | None) -> list[str]:
    if record is None:
        return ["no record yet"]
    if not record.finished:
        return [failure(record.error)]
    scores, missing = record.scores.get(column.task, {}), record.missing.get(column.task, {})
    lacking = dict.fromkeys(split for split, metric in column.parts if metric not in scores.get(split, {}))
    several = len({split for split, _ in column.parts}) > 1
    reasons = {split: missing.get(split, "the record has no score for it") for split in lacking}
    return [f"{split}: {reason}" if several else reason for split, reason in reasons.items()]


def undefined(parts: Iterable[Value | None]) -> list[str]:
    undefined = [value for value in parts if value and value.undefined]
    if not undefined:
        return []
    if all(len(value.undefined) == value.n for value in undefined):
        return ["nan: undefined, because all predictions are the same; counts 0 in an average"]
    seeds = sorted({seed for value in undefined for seed in value.undefined})
    return [f"undefined with seed {', '.join(map(str, seeds))}, where it counts 0"]


def overlaps(column: Column, of_seed: OfSeed) -> list[str]:
    """What part of the evaluated texts the model was trained on."""
    splits = {split for split, _ in column.parts}
    notes: dict[str, None] = {}
    for record in finished(of_seed):
        for split, number in record.overlap.get(column.task, {}).items():
            if number and split in splits:
                total = record.counts.get(column.task, {}).get(split, number)
                notes[f"{number} of {total} {split} texts are in the training data, too"] = None
    return list(notes)
