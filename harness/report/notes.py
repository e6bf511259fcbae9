"""Footnotes of cells: why numbers are missing, undefined or not comparable."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from harness.report.format import failure
from harness.report.leaderboard import Column, Value, mean_value
from harness.results.record import Record

OfSeed = Mapping[int, Record | None]
"""The records of a task in one row, by seed."""


def finished(of_seed: OfSeed) -> list[Record]:
    """The records of runs that did not fail."""
    return [record for record in of_seed.values() if record and record.finished]


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
    return [_with_seeds(reason, which, of_seed) for reason, which in seeds.items()]


def _with_seeds(note: str, which: list[int], every: Collection[int]) -> str:
    return note if len(which) == len(every) else f"seed{'s' * (len(which) > 1)} {', '.join(map(str, which))}: {note}"


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


def constants(column: Column, of_seed: OfSeed) -> list[str]:
    """Whether a model gives one answer to everything, with which seeds."""
    splits = {split for split, _ in column.parts}
    seeds: dict[str, list[int]] = {}
    done = {seed: record for seed, record in of_seed.items() if record and record.finished}
    for seed, record in done.items():
        answers = {split: a for split, a in record.constant.get(column.task, {}).items() if split in splits}
        if len(answers) == len(splits):
            seeds.setdefault(
                f"gives one answer to everything: {', '.join(dict.fromkeys(answers.values()))}", []
            ).append(seed)
    return [_with_seeds(note, which, done) for note, which in seeds.items()]


def below_baseline(score: Value | None, baseline: Iterable[Value | None]) -> list[str]:
    """Whether a score is not above what one constant answer gets."""
    parts = list(baseline)
    if score is None or not all(parts):
        return []
    constant = mean_value(parts)
    return ["not above the majority baseline"] if constant and score.mean <= constant.mean + 1e-12 else []
