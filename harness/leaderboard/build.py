"""Records in, leaderboard out: columns from tasks, values over seeds, averages, and the reason of every gap."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from harness.io import fingerprint
from harness.leaderboard.board import Cell, Column, Leaderboard, Row, Section, Value, average
from harness.leaderboard.columns import column_of, columns_of, known_suites, known_tasks, sections_of, unknown_column
from harness.leaderboard.costs import cost_of, with_rates
from harness.leaderboard.differences import best_of_words, evaluations_of, made_with
from harness.leaderboard.lengths import shorter_inputs
from harness.leaderboard.measures import efficiency_of
from harness.leaderboard.notes import (
    OfSeed,
    below_baseline,
    budgets,
    constants,
    finished,
    gaps,
    overlaps,
    truncations,
    undefined,
    without_scores,
)
from harness.leaderboard.published import Reference, published, published_rows
from harness.leaderboard.signature import signature
from harness.results.manifest import Choice
from harness.results.reading import collection_paused
from harness.results.record import Caveat, CaveatKind, Record
from harness.results.store import Entry, Store
from harness.task.task import Suite, Task

BASELINE = "majority"
"""The name of the row of one constant answer."""
SAMPLE_DATA = Caveat(kind=CaveatKind.SAMPLE_DATA)
SELECTION = (Caveat(kind=CaveatKind.SELECTED_ON_VALIDATION), Caveat(kind=CaveatKind.SELECTED_ON_HOLDOUT))
RECIPE_CHOSEN = Caveat(kind=CaveatKind.RECIPE_FROM_VALIDATION)
"""Of runs whose recipe was chosen by the data that their scores are measured on. It is not in their records: the run
does not deserve it, the use that is made of it does."""

RunsOfTask = Mapping[str, OfSeed]
"""The records of one row, by task and seed."""
Runs = Mapping[tuple[str, str], RunsOfTask]
"""The records of all rows, by (folder, model)."""


def board_and_runs(
    folders: Mapping[str, Sequence[Entry]],
    tasks: Mapping[str, Task | Column],
    suites: Mapping[str, Suite],
    *,
    benchmark: str,
    asked: Iterable[str],
    references: Sequence[Reference] | bool,
    choices: Mapping[str, Sequence[Choice]],
) -> tuple[Leaderboard, Runs]:
    """A leaderboard as data, without statistics and texts, and the records of its rows.

    Arguments are those of `harness.report.boards.leaderboard`.
    """
    runs = _runs(folders, choices)
    known = {name: column_of(task) for name, task in tasks.items()}
    columns = columns_of(runs.values(), known, set(asked))
    sections = sections_of(columns, suites, set(known), benchmark)
    rows = [_row(folder, model, of_task, columns, sections) for (folder, model), of_task in runs.items()]
    common = _common([row.caveats for row in rows if row.cost and row.cost.runs])
    chosen = {row.evaluations for row in rows if row.cost and row.cost.runs}
    evaluations = chosen.pop() if len(chosen) == 1 else ()
    made = made_with([[r for of_seed in of_task.values() for r in finished(of_seed)] for of_task in runs.values()])
    notes = [(note, *shorter) for note, shorter in zip(made, shorter_inputs(runs.values()), strict=True)]
    rows = [_with_notes(row, common, evaluations, own) for row, own in zip(rows, notes, strict=True)]
    sweeps = tuple(_sweeps(choices, rows, columns))
    budget = budgets(rows, sweeps)
    rows = [replace(row, notes=(*row.notes, budget[row.name])) if budget else row for row in rows]
    took = [efficiency_of(row.name, row.architecture, runs[row.folder, row.model]) for row in rows]
    efficiency = tuple(row for row in took if row)
    shown = published() if references is True else references or ()
    board = Leaderboard(
        benchmark=benchmark,
        sections=tuple(sections),
        rows=tuple(with_rates(rows, efficiency)),
        baselines=tuple(baseline_rows(runs, columns, sections)),
        tests=test_board(runs, known, suites, benchmark, common),
        references=() if SAMPLE_DATA in common else tuple(published_rows(shown, columns, sections)),
        caveats=common,
        evaluations=evaluations,
        sources=_sources(runs.values()),
        sweeps=sweeps,
        efficiency=efficiency,
    )
    return board, runs


@collection_paused()
def board_of(
    stores: Sequence[Store], tasks: Mapping[str, Task], suites: Mapping[str, Suite]
) -> tuple[Leaderboard, Runs]:
    """`board_and_runs` of a benchmark's current records in one or several results folders."""
    tables = [store.table() for store in stores]
    return board_and_runs(
        {str(store.results): store.current() for store in stores},
        known_tasks(tables, tasks),
        known_suites(tables, suites),
        benchmark=stores[0].benchmark,
        asked=[task for table in tables for task in table.tasks],
        references=False,
        choices={str(store.results): store.choices() for store in stores},
    )


def _runs(
    folders: Mapping[str, Iterable[Entry]], choices: Mapping[str, Sequence[Choice]]
) -> dict[tuple[str, str], dict[str, dict[int, Record | None]]]:
    """The records by (folder, model), task and seed; a single folder has no name."""
    runs: dict[tuple[str, str], dict[str, dict[int, Record | None]]] = {}
    for folder, entries in folders.items():
        name = folder if len(folders) > 1 else ""
        tuned = {choice.pair for choice in choices.get(folder, ()) if choice.selection == "validation"}
        for task, model, seed, record in entries:
            if record is not None and (task, model) in tuned:
                record = record.model_copy(update={"caveats": (*record.caveats, RECIPE_CHOSEN)})
            runs.setdefault((name, model), {}).setdefault(task, {})[seed] = record
    return runs


def _sweeps(
    choices: Mapping[str, Sequence[Choice]], rows: Sequence[Row], columns: Sequence[Column]
) -> Iterable[tuple[str, Choice]]:
    """What was chosen, by the names of rows, in the order of rows and columns."""
    for row in rows:
        own = choices.get(row.folder, ()) if row.folder else [choice for every in choices.values() for choice in every]
        of_task = {choice.task: choice for choice in own if choice.model == row.model}
        yield from ((row.name, of_task[column.task]) for column in columns if column.task in of_task)


def _sources(rows: Iterable[RunsOfTask]) -> tuple[str, ...]:
    """Where the data came from: hub, files, sample."""
    records = [r for of_task in rows for of_seed in of_task.values() for r in of_seed.values() if r]
    return tuple(sorted({data.source for record in records for data in record.settings.data.values()}))


# Baselines and test splits ----------------------------------------------------------------------------------------


def baseline_rows(runs: Runs, columns: Sequence[Column], sections: Sequence[Section]) -> list[Row]:
    """What one constant answer scores, by folder; a single row where the folders agree."""
    rows: dict[str, Row] = {}
    for folder in dict.fromkeys(folder for folder, _ in runs):
        of_folder = [of_task for (other, _), of_task in runs.items() if other == folder]
        cells = {column.task: _baseline_cell(column, of_folder) for column in columns}
        if any(cell.done for cell in cells.values()):
            averages = {t: average(cells, tasks) for s in sections for t, tasks in s.averages.items()}
            rows[folder] = Row(BASELINE, cells, averages, folder=folder, architecture="baseline")
    same = len({str(row.cells) for row in rows.values()}) == 1
    return [replace(row, folder="") for row in rows.values()][:1] if same else list(rows.values())


def _baseline_cell(column: Column, rows: Iterable[RunsOfTask]) -> Cell:
    """The same for all models: of the first run that has it."""
    parts: tuple[Value | None, ...] = (None,) * len(column.parts)
    for of_task in rows:
        for record in finished(of_task.get(column.answered_by, {})):
            scores = [record.baseline.get(column.task, {}).get(split, {}).get(m) for split, m in column.parts]
            if parts[0] is None and None not in scores:
                parts = tuple(Value({0: score}) for score in scores if score is not None)
    return Cell((0,), parts, column.score(parts), metrics=column.metrics, scored=column.counted[0][1])


def tests_of(runs: Runs) -> Runs:
    """The records of the test predictions of runs."""
    return {
        row: {
            task: {seed: record.tests if record else None for seed, record in of_seed.items()}
            for task, of_seed in of_task.items()
        }
        for row, of_task in runs.items()
    }


def test_board(
    runs: Runs, known: Mapping[str, Column], suites: Mapping[str, Suite], benchmark: str, common: Sequence[Caveat]
) -> Leaderboard | None:
    """The scores on the test splits that have labels, which chose no checkpoint; None where none was predicted."""
    tests = tests_of(runs)
    records = [r for of_task in tests.values() for of_seed in of_task.values() for r in finished(of_seed)]
    tested = {task for record in records for task, splits in record.scores.items() if splits}
    if not tested:
        return None
    columns = [replace(column, parts=column.test_parts) for column in known.values() if column.task in tested]
    columns += [unknown_column(name, tests.values()) for name in sorted(tested - set(known))]
    sections = [
        Section(section.name, f"{section.title}: test sets", section.columns, {}, {})
        for section in sections_of(columns, suites, set(), benchmark)
    ]
    rows = [_row(folder, model, of_task, columns, sections) for (folder, model), of_task in tests.items()]
    rows = [_with_notes(row, [*common, *SELECTION], row.evaluations) for row in rows]
    return Leaderboard(benchmark, tuple(sections), tuple(rows), tuple(baseline_rows(tests, columns, sections)))


def _common(caveats: Sequence[Sequence[Caveat]]) -> tuple[Caveat, ...]:
    """The caveats that all have, in their order."""
    if not caveats:
        return ()
    return tuple(caveat for caveat in dict.fromkeys(caveats[0]) if all(caveat in others for others in caveats))


def _with_notes(row: Row, common: Sequence[Caveat], evaluations: tuple[int, ...], own: Iterable[str] = ()) -> Row:
    """The row without the caveats that all have, and with what does not hold for all as notes; empty ones are none."""
    caveats = tuple(caveat for caveat in row.caveats if caveat not in common)
    chosen = "" if row.evaluations == evaluations else best_of_words(row.evaluations)
    notes = filter(None, [*(caveat.explained for caveat in caveats), chosen, *own])
    return replace(row, caveats=caveats, notes=tuple(notes))


# Rows ------------------------------------------------------------------------------------------------------------


def _row(folder: str, model: str, runs: RunsOfTask, columns: Sequence[Column], sections: Sequence[Section]) -> Row:
    records = [record for of_seed in runs.values() for record in finished(of_seed)]
    caveats = _common([record.caveats for record in records])
    cells = {column.task: _cell(column, runs.get(column.answered_by, {}), caveats) for column in columns}
    averages = {title: tasks for section in sections for title, tasks in section.averages.items()}
    data = {column.task: _data_key(column, runs.get(column.answered_by, {})) for column in columns}
    return Row(
        model=model,
        folder=folder,
        architecture=next((r.architecture for of_seed in runs.values() for r in of_seed.values() if r), ""),
        seeds=tuple(sorted({seed for of_seed in runs.values() for seed in of_seed})),
        cells=cells,
        averages={title: average(cells, tasks) for title, tasks in averages.items()},
        evaluations=evaluations_of(records),
        caveats=caveats,
        cost=cost_of(records),
        signature=signature(model, records),
        data={**data, **{title: "|".join(data[task] for task in tasks) for title, tasks in averages.items()}},
    )


def _cell(column: Column, of_seed: OfSeed, row_caveats: Sequence[Caveat]) -> Cell:
    parts, baseline = (tuple(_values(column, of_seed, field)) for field in ("scores", "baseline"))
    score = column.score(parts)
    caveats = dict.fromkeys(caveat for record in finished(of_seed) for caveat in record.caveats)
    return Cell(
        planned=tuple(of_seed),
        parts=parts,
        score=score,
        undefined_seeds=column.undefined_seeds(parts),
        last=tuple(_values(column, of_seed, "last_scores")),
        failed=any(record is not None and not record.finished for record in of_seed.values()),
        notes=(
            *gaps(column, of_seed),
            *(undefined(parts) or constants(column, of_seed)),
            *below_baseline(score, column.score(baseline), column.lower_is_better),
            *without_scores(column, of_seed),
            *overlaps(column, of_seed),
            *truncations(column, of_seed),
            *(caveat.explained for caveat in caveats if caveat not in row_caveats),
        ),
        metrics=column.metrics,
        scored=column.counted[0][1],
    )


def _values(column: Column, of_seed: OfSeed, field: str) -> Iterable[Value | None]:
    """The parts of a column, of one of the fields of records that hold scores; None for one that none has."""
    for split, metric in column.parts:
        scores = {
            seed: getattr(record, field).get(column.task, {}).get(split, {}).get(metric)
            for seed, record in of_seed.items()
            if record and record.finished
        }
        seeds = {seed: score for seed, score in scores.items() if score is not None}
        yield Value(seeds) if seeds else None


def _data_key(column: Column, of_seed: OfSeed) -> str:
    """Equal for cells that were trained, chosen and measured on the same data, and bear the same caveats."""
    different: list[dict[str, Any]] = []
    for record in finished(of_seed):
        settings = record.settings
        own = {name: getattr(settings, name) for name in ("limit", "selection", "allow_partial")}
        data = [settings.data.get(name) for name in (column.answered_by, column.task)]
        key = {**own, "data": data, "caveats": [str(caveat) for caveat in record.caveats]}
        if key not in different:
            different.append(key)
    plain = ({**key, "data": [data and data.model_dump() for data in key["data"]]} for key in different)
    return " ".join(sorted({fingerprint(key) for key in plain}))
