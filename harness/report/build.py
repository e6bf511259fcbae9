"""Records in, leaderboard out: columns from tasks, values over seeds, averages, costs, and the reason of every gap."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from harness.io import fingerprint
from harness.report.efficiency import efficiency_of
from harness.report.leaderboard import (
    Cell,
    Column,
    Cost,
    Efficiency,
    Leaderboard,
    Row,
    Section,
    Value,
)
from harness.report.references import REFERENCES, Reference
from harness.report.signature import signature
from harness.results.manifest import Choice
from harness.results.record import Caveat, CaveatKind, Record
from harness.results.store import Entry
from harness.task.task import Suite, Task

SAMPLE_DATA = Caveat(kind=CaveatKind.SAMPLE_DATA)
RECIPE_CHOSEN = Caveat(kind=CaveatKind.RECIPE_FROM_VALIDATION)
"""Of runs whose recipe was chosen by the data that their scores are measured on. It is not in their records: the run
does not deserve it, the use that is made of it does."""


def leaderboard(
    entries: Iterable[Entry] | Mapping[str, Iterable[Entry]],
    tasks: Mapping[str, Task],
    suites: Mapping[str, Suite],
    *,
    benchmark: str = "",
    asked: Iterable[str] = (),
    references: Sequence[Reference] | bool = (),
    choices: Mapping[str, Sequence[Choice]] | None = None,
    warnings: Iterable[str] = (),
) -> Leaderboard:
    """The leaderboard of a benchmark's records.

    Args:
        entries: ``Store.current()``; or several by the name of their folder, each with rows of its own.
        tasks: tasks by name, in the order of columns. A task that records have and this lacks is shown all the same.
        suites: suites by name, in the order of tables.
        benchmark: its name.
        asked: tasks that get a column although no run of theirs is in ``entries``.
        references: published rows to show below; True: all that are known. Never beside sample data.
        choices: ``Store.choices()`` by the name of the folder (a single one: ``""``).
        warnings: what reading the records had to say.
    """
    folders = {name: list(found) for name, found in entries.items()} if isinstance(entries, Mapping) else None
    folders = folders or {"": list(entries)}
    choices = choices or {}
    runs: dict[tuple[str, str], dict[str, dict[int, Record | None]]] = {}
    for folder, found in folders.items():
        label = folder if len(folders) > 1 else ""
        tuned = {choice.pair for choice in choices.get(folder, ()) if choice.selection == "validation"}
        for task, model, seed, record in found:
            if record is not None and (task, model) in tuned:
                record = record.model_copy(update={"caveats": (*record.caveats, RECIPE_CHOSEN)})
            runs.setdefault((label, model), {}).setdefault(task, {})[seed] = record
    columns = _columns(runs.values(), tasks, set(asked))
    sections = _sections(columns, suites, set(tasks))
    rows = [_row(folder, model, of_task, columns, sections) for (folder, model), of_task in runs.items()]
    common = _common([row.caveats for row in rows if row.cost and row.cost.runs])
    rows = [_without_caveats(row, common) for row in rows]
    published = REFERENCES if references is True else references or ()
    return Leaderboard(
        benchmark=benchmark,
        sections=tuple(sections),
        rows=tuple(rows),
        references=() if SAMPLE_DATA in common else tuple(_published(published, columns, sections)),
        caveats=common,
        sources=_sources(runs.values()),
        warnings=tuple(warnings),
        sweeps=tuple(_sweeps(choices, rows, columns)),
        efficiency=tuple(_efficiency(rows, runs)),
    )


def _efficiency(rows: Sequence[Row], runs: Mapping[tuple[str, str], RunsOfTask]) -> Iterable[Efficiency]:
    """What the runs of the rows took, for those that have finished any."""
    for row in rows:
        of_task = {task: of_seed.values() for task, of_seed in runs[row.folder, row.model].items()}
        if found := efficiency_of(row.name, row.architecture, of_task):
            yield found


def _sweeps(
    choices: Mapping[str, Sequence[Choice]], rows: Sequence[Row], columns: Sequence[Column]
) -> Iterable[tuple[str, Choice]]:
    """What was chosen, by the names of rows, in the order of rows and columns."""
    for row in rows:
        found = choices.get(row.folder, ()) if row.folder else [choice for own in choices.values() for choice in own]
        of_task = {choice.task: choice for choice in found if choice.model == row.model}
        yield from ((row.name, of_task[column.task]) for column in columns if column.task in of_task)


# Columns ---------------------------------------------------------------------------------------------------------

RunsOfTask = Mapping[str, Mapping[int, Record | None]]
"""Records of one row by task and seed."""


def _columns(rows: Iterable[RunsOfTask], tasks: Mapping[str, Task], asked: set[str]) -> list[Column]:
    trained = {task for of_task in rows for task in of_task}
    columns = [
        Column(task.name, task.title, task.suite, task.score_parts, task.evaluated_by or task.name)
        for task in tasks.values()
        if task.name in trained | asked or task.evaluated_by in trained
    ]
    columns.sort(key=lambda column: column.diagnostic)
    return columns + [_unknown_column(name, rows) for name in sorted(trained - set(tasks))]


def _unknown_column(name: str, rows: Iterable[RunsOfTask]) -> Column:
    """A task that no plugin defines: as its records describe it, or else all their scores but those of tests."""
    records = [record for of_task in rows for record in of_task.get(name, {}).values() if record]
    for record in records:
        if column := record.columns.get(name):
            return Column(name, column.title, column.suite, column.parts, name)
    parts = {
        (split, metric): None
        for record in records
        for split, scores in record.scores.get(name, {}).items()
        for metric in scores
        if not split.startswith("test")
    }
    return Column(name, name, "", tuple(sorted(parts)) or (("validation", "score"),), name)


def _sections(columns: Sequence[Column], suites: Mapping[str, Suite], known: set[str]) -> list[Section]:
    there = {column.task for column in columns} & known
    names = [name for name in suites if any(c.suite == name for c in columns)]
    names += sorted({c.suite for c in columns} - set(suites))
    sections = []
    for name in names:
        averages = suites[name].averages if name in suites else {}
        whole = {title: tuple(parts) for title, parts in averages.items() if set(parts) <= there}
        lacking = {t: tuple(n for n in parts if n not in there) for t, parts in averages.items() if t not in whole}
        title = suites[name].title if name in suites else name or "Other tasks"
        sections.append(Section(name, title, tuple(c for c in columns if c.suite == name), whole, lacking))
    return sections


# Rows ------------------------------------------------------------------------------------------------------------


def _row(folder: str, model: str, runs: RunsOfTask, columns: Sequence[Column], sections: Sequence[Section]) -> Row:
    finished = [record for of_seed in runs.values() for record in of_seed.values() if record and record.finished]
    caveats = _common([record.caveats for record in finished])
    cells = {column.task: _cell(column, runs.get(column.answered_by, {}), caveats) for column in columns}
    averages = {title: (tasks, _average(cells, tasks)) for s in sections for title, tasks in s.averages.items()}
    data = {column.task: _data_key(column, runs.get(column.answered_by, {})) for column in columns}
    return Row(
        model=model,
        folder=folder,
        architecture=next((r.architecture for of_seed in runs.values() for r in of_seed.values() if r), ""),
        seeds=tuple(sorted({seed for of_seed in runs.values() for seed in of_seed})),
        cells=cells,
        averages={title: cell for title, (_, cell) in averages.items()},
        caveats=caveats,
        notes=tuple(caveat.explained for caveat in caveats),
        cost=_cost(finished),
        signature=signature(model, finished),
        data={**data, **{title: "|".join(data[task] for task in tasks) for title, (tasks, _) in averages.items()}},
    )


def _cell(column: Column, of_seed: Mapping[int, Record | None], row_caveats: Sequence[Caveat]) -> Cell:
    found = {part: _value(column.task, part, of_seed) for part in column.parts}
    parts = tuple(found.values())
    complete = [seed for seed in of_seed if all(value and seed in value.seeds for value in parts)]
    score = Value({seed: _mean([v.seeds[seed] for v in parts if v]) for seed in complete}) if complete else None
    return Cell(
        planned=tuple(of_seed),
        parts=parts,
        score=score,
        failed=any(record is not None and not record.finished for record in of_seed.values()),
        notes=(
            *_reasons(column, of_seed),
            *_undefined(parts),
            *_overlaps(column, of_seed),
            *_own_caveats(of_seed, row_caveats),
        ),
    )


def _value(task: str, part: tuple[str, str], of_seed: Mapping[int, Record | None]) -> Value | None:
    split, metric = part
    seeds = {}
    for seed, record in of_seed.items():
        score = record.scores.get(task, {}).get(split, {}).get(metric) if record and record.finished else None
        if score is not None:
            seeds[seed] = float(score)
    return Value(seeds) if seeds else None


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(0.0 if math.isnan(value) else value for value in values)


def _reasons(column: Column, of_seed: Mapping[int, Record | None]) -> list[str]:
    """Why numbers are missing; a reason that does not hold for all seeds names its seeds."""
    if not of_seed:
        if column.diagnostic:
            return [f"{column.title} is answered by the {column.answered_by} model, which is not in this benchmark"]
        return ["no record yet"]
    seeds: dict[str, list[int]] = {}
    for seed, record in of_seed.items():
        for reason in _reasons_of(column, record):
            seeds.setdefault(reason, []).append(seed)
    return [
        reason if len(which) == len(of_seed) else f"seed{'s' * (len(which) > 1)} {', '.join(map(str, which))}: {reason}"
        for reason, which in seeds.items()
    ]


def _reasons_of(column: Column, record: Record | None) -> list[str]:
    if record is None:
        return ["no record yet"]
    if not record.finished:
        return [f"failed: {' '.join((record.error or 'for an unknown reason').split())}"]
    scores, missing = record.scores.get(column.task, {}), record.missing.get(column.task, {})
    lacking = dict.fromkeys(split for split, metric in column.parts if metric not in scores.get(split, {}))
    several = len({split for split, _ in column.parts}) > 1
    reasons = {split: missing.get(split, "the record has no score for it") for split in lacking}
    return [f"{split}: {reason}" if several else reason for split, reason in reasons.items()]


def _undefined(parts: Iterable[Value | None]) -> list[str]:
    undefined = [value for value in parts if value and value.undefined]
    if not undefined:
        return []
    if all(len(value.undefined) == value.n for value in undefined):
        return ["nan: undefined, because all predictions are the same; counts 0 in an average"]
    seeds = sorted({seed for value in undefined for seed in value.undefined})
    return [f"undefined with seed {', '.join(map(str, seeds))}, where it counts 0"]


def _overlaps(column: Column, of_seed: Mapping[int, Record | None]) -> list[str]:
    """What part of the evaluated texts the model was trained on."""
    notes: dict[str, None] = {}
    for record in of_seed.values():
        if record is None or not record.finished:
            continue
        for split, number in record.overlap.get(column.task, {}).items():
            if number and split in {split for split, _ in column.parts}:
                total = record.counts.get(column.task, {}).get(split, number)
                notes[f"{number} of {total} {split} texts are in the training data, too"] = None
    return list(notes)


def _own_caveats(of_seed: Mapping[int, Record | None], row_caveats: Sequence[Caveat]) -> list[str]:
    caveats = dict.fromkeys(
        caveat for record in of_seed.values() if record and record.finished for caveat in record.caveats
    )
    return [caveat.explained for caveat in caveats if caveat not in row_caveats]


def _average(cells: Mapping[str, Cell], tasks: Sequence[str]) -> Cell:
    """The mean over tasks for each seed that has them all; no number where none has."""
    scores = [cells[task].score for task in tasks]
    planned = tuple(sorted({seed for task in tasks for seed in cells[task].planned}))
    complete = [seed for seed in planned if all(score and seed in score.seeds for score in scores)]
    value = Value({seed: _mean([s.seeds[seed] for s in scores if s]) for seed in complete}) if complete else None
    undefined = any(part and set(part.undefined) & set(complete) for task in tasks for part in cells[task].parts)
    notes = ("an undefined correlation in it counts 0",) if undefined else ()
    return Cell(planned=planned, parts=(value,), score=value, notes=notes)


def _cost(records: Sequence[Record]) -> Cost:
    def values(key: str) -> list[float]:
        numbers = (getattr(record.efficiency, key) for record in records)
        return [float(number) for number in numbers if number is not None]

    def mean(key: str) -> float | None:
        return statistics.fmean(values(key)) if values(key) else None

    shares: dict[str, list[float]] = {}
    for record in records:
        for task, of_split in record.invalid.items():
            shares.setdefault(task, []).extend(of_split.values())
    seconds = values("train_seconds")
    return Cost(
        runs=len(records),
        trained=max(
            (record.parameters["trained"] for record in records if "trained" in record.parameters), default=None
        ),
        total=max((record.parameters["total"] for record in records if "total" in record.parameters), default=None),
        train_seconds_mean=mean("train_seconds"),
        train_seconds_total=sum(seconds) if seconds else None,
        train_rate=mean("train_examples_per_second"),
        inference_rate=mean("inference_examples_per_second"),
        invalid={task: statistics.fmean(found) for task, found in shares.items() if found} or None,
    )


def _data_key(column: Column, of_seed: Mapping[int, Record | None]) -> str:
    """Equal for cells that were trained, chosen and measured on the same data, and bear the same caveats."""
    keys = {
        fingerprint(
            {
                "data": [data.get(name) for name in (column.answered_by, column.task)],
                **{key: settings[key] for key in ("limit", "selection", "allow_partial")},
                "caveats": [str(caveat) for caveat in record.caveats],
            }
        )
        for record in of_seed.values()
        if record and record.finished
        for settings in [record.settings.model_dump(include={"data", "limit", "selection", "allow_partial"})]
        for data in [settings["data"]]
    }
    return " ".join(sorted(keys))


def _common(caveats: Sequence[Sequence[Caveat]]) -> tuple[Caveat, ...]:
    """The caveats that all have, in their order."""
    if not caveats:
        return ()
    return tuple(caveat for caveat in dict.fromkeys(caveats[0]) if all(caveat in others for others in caveats))


def _without_caveats(row: Row, common: Sequence[Caveat]) -> Row:
    caveats = tuple(caveat for caveat in row.caveats if caveat not in common)
    return replace(row, caveats=caveats, notes=tuple(caveat.explained for caveat in caveats))


def _sources(rows: Iterable[RunsOfTask]) -> tuple[str, ...]:
    """Where the data came from: hub, files, sample."""
    records = [r for of_task in rows for of_seed in of_task.values() for r in of_seed.values() if r]
    return tuple(sorted({data.source for record in records for data in record.settings.data.values()}))


# Published rows --------------------------------------------------------------------------------------------------


def _published(
    references: Iterable[Reference], columns: Sequence[Column], sections: Sequence[Section]
) -> Iterable[Row]:
    for reference in references:
        cells = {column.task: _published_cell(column, reference) for column in columns}
        if any(cell.done for cell in cells.values()):
            averages = {t: _average(cells, tasks) for s in sections for t, tasks in s.averages.items()}
            notes = tuple(filter(None, [f"published: {reference.source}", reference.note]))
            yield Row(reference.model, cells, averages, notes, source=reference.source)


def _published_cell(column: Column, reference: Reference) -> Cell:
    scores = reference.scores.get(column.task, {})
    found = [scores.get(split, {}).get(metric) for split, metric in column.parts]
    parts = tuple(None if score is None else Value({0: score / 100}) for score in found)
    score = Value({0: _mean([value.seeds[0] for value in parts if value])}) if all(parts) else None
    note = reference.notes.get(column.task)
    return Cell((0,), parts, score, notes=(note,) if note and any(parts) else ())
