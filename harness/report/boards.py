"""Leaderboards as they are shown: from records, with statistics, the tables of labels, and texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from harness.leaderboard.board import Column, Leaderboard
from harness.leaderboard.build import Runs, board_and_runs, tests_of
from harness.leaderboard.columns import known_suites, known_tasks
from harness.leaderboard.published import Reference
from harness.report.labels import LabelScores, label_tables
from harness.report.leaderboard import markdown
from harness.report.terminal import terminal_table
from harness.results.manifest import Choice
from harness.results.reading import collection_paused
from harness.results.store import Entry, Store
from harness.task.task import Suite, Task


def leaderboard(
    entries: Iterable[Entry] | Mapping[str, Iterable[Entry]],
    tasks: Mapping[str, Task | Column],
    suites: Mapping[str, Suite],
    *,
    benchmark: str = "",
    asked: Iterable[str] = (),
    references: Sequence[Reference] | bool = (),
    choices: Mapping[str, Sequence[Choice]] | None = None,
    warnings: Iterable[str] = (),
    interval: str = "auto",
    statistics: bool = True,
) -> Leaderboard:
    """The leaderboard of a benchmark's records.

    Args:
        entries: ``Store.current()``; or several by the name of their folder, each with rows of its own.
        tasks: tasks by name, or how to show them, in the order of columns. A task that records have and this lacks is
            shown all the same.
        suites: suites by name, in the order of tables.
        benchmark: its name.
        asked: tasks that get a column although no run of theirs is in ``entries``.
        references: published rows to show below; True: all of references.yaml. Never beside sample data.
        choices: ``Store.choices()`` by the name of the folder (a single one: ``""``).
        warnings: about records that could not be read.
        interval: what stands behind a mean: ``std``, ``ci``, or ``auto``: the 95 % interval where all numbers are
            of three seeds or more.
        statistics: read the predictions, for intervals and tie groups; without them nothing is bold.
    """
    folders = entries if isinstance(entries, Mapping) else {"": entries}
    folders = {name: list(of_folder) for name, of_folder in folders.items()}
    board, runs = board_and_runs(
        folders, tasks, suites, benchmark=benchmark, asked=asked, references=references, choices=choices or {}
    )
    return _completed(replace(board, warnings=tuple(warnings)), runs, folders, interval, statistics)


@collection_paused()
def leaderboard_and_runs_of(
    stores: Sequence[Store],
    tasks: Mapping[str, Task],
    suites: Mapping[str, Suite],
    *,
    references: bool = False,
    interval: str | None = None,
    statistics: bool = True,
) -> tuple[Leaderboard, Runs]:
    """The leaderboard of a benchmark's current records in one or several results folders, and the records of its rows.

    Args:
        stores: of the benchmark, one for each folder.
        tasks, suites: as for `leaderboard`; what the benchmark itself says of its tasks and suites comes first.
        references: add published rows also where the benchmark does not ask for them.
        interval: as for `leaderboard`; None: as the benchmark says.
        statistics: as for `leaderboard`.
    """
    tables = [store.table() for store in stores]
    folders = {str(store.results): store.current() for store in stores}
    board, runs = board_and_runs(
        folders,
        known_tasks(tables, tasks),
        known_suites(tables, suites),
        benchmark=stores[0].benchmark,
        asked=[task for table in tables for task in table.tasks],
        references=references or any(table.references for table in tables),
        choices={str(store.results): store.choices() for store in stores},
    )
    board = replace(board, warnings=tuple(warning for store in stores for warning in store.warnings))
    return _completed(board, runs, folders, interval or tables[0].interval, statistics), runs


def leaderboard_of(
    stores: Sequence[Store], tasks: Mapping[str, Task], suites: Mapping[str, Suite], **options: Any
) -> Leaderboard:
    """The leaderboard alone of `leaderboard_and_runs_of`."""
    return leaderboard_and_runs_of(stores, tasks, suites, **options)[0]


def _completed(
    board: Leaderboard, runs: Runs, folders: Mapping[str, Sequence[Entry]], interval: str, statistics: bool
) -> Leaderboard:
    """The leaderboard with statistics and texts; arguments as of `leaderboard`."""
    labels = LabelScores(classes=statistics)
    if statistics and any(row.cost and row.cost.runs for row in board.rows):
        from harness.comparison.significance import with_statistics  # loads scipy, which takes a while

        board = with_statistics(board, runs, interval, labels.keep)
        if board.tests:
            board = replace(board, tests=with_statistics(board.tests, tests_of(runs), board.spread, labels.keep))
    board = replace(board, labels=label_tables(folders, labels))
    return replace(board, markdown=markdown(board), text=terminal_table(board))
