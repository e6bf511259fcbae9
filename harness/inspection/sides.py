"""What is compared: rows of a benchmark by their names, all of them, or two runs by their folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from harness.comparison.compare import Comparer, Comparisons, ModelComparison, compare_all
from harness.errors import HarnessError, did_you_mean
from harness.inspection.disagreement import disagree
from harness.inspection.source import Source, source_of
from harness.leaderboard.board import Row
from harness.leaderboard.build import board_and_runs, board_of
from harness.results.folder import read_record
from harness.results.reading import collection_paused
from harness.results.store import Store
from harness.task.plugins import Plugins

Stores = Mapping[str, Sequence[Store]]
"""By benchmark."""


@collection_paused()
def compare_all_rows(stores: Stores, defined: Plugins, tasks: Sequence[str], friedman: bool = False) -> Comparisons:
    """All pairs of models of the only benchmark; ``friedman``: with a claim about tasks in general.

    Raises:
        HarnessError: several benchmarks, or a single model.
    """
    if len(stores) > 1:
        raise HarnessError(f"there are benchmarks {', '.join(stores)}: choose with --benchmark")
    [own] = stores.values()
    return compare_all(Comparer(*board_of(own, defined.tasks, defined.suites), tasks), friedman)


def compare_named(
    a: str, b: str, stores: Stores, defined: Plugins, tasks: Sequence[str], show: int, data: str | Path | None
) -> ModelComparison:
    """Two models, by the names of rows.

    Raises:
        HarnessError: a model that no benchmark has, or two that several have.
    """
    boards = {name: board_of(own, defined.tasks, defined.suites) for name, own in stores.items()}
    having = {
        name: {row.name for row in board.rows} | {row.model for row in board.rows}
        for name, (board, _) in boards.items()
    }
    chosen = [name for name, models in having.items() if {a, b} <= models]
    if not chosen:
        every = dict.fromkeys(row.name for board, _ in boards.values() for row in board.rows)
        lacking = [name for name in (a, b) if not any(name in models for models in having.values())]
        if not lacking:
            raise HarnessError(f"no benchmark here has both '{a}' and '{b}'")
        raise HarnessError(
            f"no model '{lacking[0]}' in these results.{did_you_mean(lacking[0], every)} There are: {', '.join(every)}"
        )
    if len(chosen) > 1:
        raise HarnessError(f"benchmarks {', '.join(chosen)} have both models: choose with --benchmark")
    comparer = Comparer(*boards[chosen[0]], tasks)
    of_folder = {str(store.results): source_of(store, defined.tasks, data) for store in stores[chosen[0]]}
    first, second = comparer.row(a), comparer.row(b)
    sources = {row.name: of_folder.get(row.folder) or next(iter(of_folder.values())) for row in (first, second)}
    return _compared(comparer, first, second, show, sources)


def compare_runs(
    a: str | Path, b: str | Path, defined: Plugins, tasks: Sequence[str], show: int, data: str | Path | None
) -> ModelComparison:
    """Two runs, by their folders.

    Raises:
        HarnessError: no record there, a damaged one, one of a failed run, or twice the same.
    """
    records = [read_record(path) for path in (a, b)]
    for record in records:
        if not record.finished:
            raise HarnessError(
                f"{record.folder}: this run {'was pruned' if record.pruned else 'failed'}: there is nothing to compare"
            )
    names = [f"{record.model} seed {record.seed}" for record in records]
    if records[0].folder == records[1].folder:
        raise HarnessError(f"{a} and {b} are the same run")
    if names[0] == names[1]:
        names = [f"{name} {record.fingerprint[:12]}" for name, record in zip(names, records, strict=True)]
    entries = [(r.task, name, r.seed, r) for r, name in zip(records, names, strict=True)]
    board, runs = board_and_runs(
        {"": entries},
        defined.tasks,
        defined.suites,
        benchmark=records[0].benchmark,
        asked=(),
        references=False,
        choices={},
    )
    comparer = Comparer(board, runs, tasks)
    folders = [Path(path).resolve() for path in (a, b)]
    stores = [Store(folder.parents[4], folder.parents[3].name) for folder in folders]
    sources = {name: source_of(store, defined.tasks, data) for name, store in zip(names, stores, strict=True)}
    return _compared(comparer, comparer.row(names[0]), comparer.row(names[1]), show, sources)


def _compared(comparer: Comparer, first: Row, second: Row, show: int, sources: Mapping[str, Source]) -> ModelComparison:
    if first.name == second.name:
        raise HarnessError(f"'{first.name}' is compared with itself: name two models")
    comparison = comparer.compare(first, second)
    if show < 1:
        return comparison
    found, reasons = disagree(comparer, first, second, show, sources)
    return replace(comparison, disagreements=tuple(found), notes=(*comparison.notes, *reasons))
