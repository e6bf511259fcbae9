"""Footnotes of cells: why numbers are missing, undefined or not comparable."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from harness.format import failure, percent, plural
from harness.leaderboard.board import Column, Row, Value
from harness.results.manifest import Choice
from harness.results.record import Record
from harness.task.metrics import OF_SCORES

OfSeed = Mapping[int, Record | None]
"""The records of a task in one row, by seed."""

MANY = 0.01
"""The share of texts from which on truncation is worth a footnote."""


def finished(of_seed: OfSeed) -> list[Record]:
    """The records of runs that did not fail."""
    return [record for record in of_seed.values() if record and record.finished]


def budgets(rows: Sequence[Row], sweeps: Sequence[tuple[str, Choice]]) -> dict[str, str]:
    """What tuning and how many seeds each row had, by its name; {} where all had the same."""
    trials: dict[str, set[int]] = {row.name: set() for row in rows}
    for name, choice in sweeps:
        trials[name].add(len(choice.trials))
    tuning = {name: f"{_tuning(own)}, " if sweeps else "" for name, own in trials.items()}
    words = {row.name: f"{tuning[row.name]}{plural(len(row.seeds), 'seed')}" for row in rows}
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


def truncations(column: Column, of_seed: OfSeed) -> list[str]:
    """What part of the texts was too long for the recipe's ``max_length``, where it is more than a hundredth."""
    splits = {"train", *(split for split, _ in column.parts)}
    notes: dict[str, None] = {}
    for record in finished(of_seed):
        for split, number in record.truncated.get(column.task, {}).items():
            total = record.counts.get(column.task, {}).get(split, 0)
            if split in splits and number > MANY * total:
                share, longest = percent(number / max(1, total), 1), record.settings.recipe.get("max_length")
                notes[f"{share} % of the {split} texts are longer than max_length ({longest}) and were truncated"] = (
                    None
                )
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


def below_baseline(score: Value | None, baseline: Value | None, lower_is_better: bool = False) -> list[str]:
    """Whether a score is not better than what one constant answer gets."""
    if score is None or baseline is None:
        return []
    if lower_is_better:
        return [] if score.mean < baseline.mean - 1e-12 else ["not below the error of the majority baseline"]
    return [] if score.mean > baseline.mean + 1e-12 else ["not above the majority baseline"]


def without_scores(column: Column, of_seed: OfSeed) -> list[str]:
    """Whether a metric of scores had only generated answers to read."""
    if not set(column.metrics) & set(OF_SCORES) or not any(record.invalid for record in finished(of_seed)):
        return []
    return ["generated answers have no scores: the answer counts as sure"]
