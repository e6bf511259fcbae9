"""The columns of a leaderboard and their sections: from tasks, or from what a benchmark or a record says of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from harness.leaderboard.board import Column, Section
from harness.leaderboard.notes import OfSeed
from harness.results.manifest import ShownSuite, ShownTask, Table
from harness.task.task import OWN_SUITE, Suite, Task


def column_of(task: Task | Column) -> Column:
    """How tables show a task."""
    if isinstance(task, Column):
        return task
    return Column(
        task.name,
        task.title,
        task.suite,
        task.score_parts,
        task.evaluated_by or task.name,
        task.selection_key,
        task.test_parts,
    )


def columns_of(rows: Iterable[Mapping[str, OfSeed]], known: Mapping[str, Column], asked: set[str]) -> list[Column]:
    """The tasks that were trained or asked for, and their diagnostics, which come last.

    Args:
        rows: the records of each row by task and seed.
        known: how to show tasks, in the order of columns.
        asked: the names of those that are shown without records, too.
    """
    trained = {task for of_task in rows for task in of_task}
    columns = [
        column
        for column in known.values()
        if column.task in trained | asked or (column.diagnostic and column.answered_by in trained)
    ]
    columns.sort(key=lambda column: column.diagnostic)
    return columns + [unknown_column(name, rows) for name in sorted(trained - set(known))]


def unknown_column(name: str, rows: Iterable[Mapping[str, OfSeed]]) -> Column:
    """An unknown task: as its records describe it, or else all their scores but those of tests."""
    records = [record for of_task in rows for record in of_task.get(name, {}).values() if record]
    for record in records:
        if column := record.columns.get(name):
            return Column(name, column.title, column.suite, column.parts, name, column.selection)
    parts = {
        (split, metric): None
        for record in records
        for split, scores in record.scores.get(name, {}).items()
        for metric in scores
        if not split.startswith("test")
    }
    return Column(name, name, "", tuple(sorted(parts)) or (("validation", "score"),), name)


def sections_of(
    columns: Sequence[Column], suites: Mapping[str, Suite], defined: set[str], benchmark: str
) -> list[Section]:
    """The columns by suite; an average has a column where all of its tasks are ``defined`` and shown, and no errors.

    A user's own data files that name no suite stand under the name of the benchmark.
    """
    shown = {column.task for column in columns if not column.lower_is_better} & defined
    used = {column.suite for column in columns}
    titles = {"": "Other tasks", OWN_SUITE: benchmark or OWN_SUITE}
    sections = []
    for name in [*(name for name in suites if name in used), *sorted(used - set(suites))]:
        suite = suites.get(name) or Suite(name, titles.get(name, name), {})
        lacking = {title: tuple(t for t in tasks if t not in shown) for title, tasks in suite.averages.items()}
        whole = {title: tuple(tasks) for title, tasks in suite.averages.items() if not lacking[title]}
        own = tuple(column for column in columns if column.suite == name)
        sections.append(Section(name, suite.title, own, whole, {t: lacking[t] for t in lacking if t not in whole}))
    return sections


# What a benchmark says of its tables -----------------------------------------------------------------------------


def described(tasks: Iterable[Task], suites: Iterable[Suite]) -> dict[str, list[dict[str, object]]]:
    """The tasks and suites of a benchmark's tables, as the manifest keeps them."""
    tasks = list(tasks)
    used = {task.suite for task in tasks}
    return {
        "columns": [ShownTask(**vars(column_of(task))).model_dump() for task in tasks],
        "suites": [
            ShownSuite(**{**vars(suite), "averages": tuple(suite.averages.items())}).model_dump()
            for suite in suites
            if suite.name in used
        ],
    }


def known_tasks(tables: Iterable[Table], tasks: Mapping[str, Task]) -> dict[str, Task | Column]:
    """How to show tasks, by name: as benchmarks say it (of several the first), and others as they are defined."""
    known: dict[str, Task | Column] = {}
    for shown in (shown for table in tables for shown in table.columns):
        known.setdefault(shown.task, Column(**shown.model_dump()))
    return {**known, **{name: task for name, task in tasks.items() if name not in known}}


def known_suites(tables: Iterable[Table], suites: Mapping[str, Suite]) -> dict[str, Suite]:
    """Likewise the suites, by name."""
    known: dict[str, Suite] = {}
    for shown in (shown for table in tables for shown in table.suites):
        known.setdefault(shown.name, Suite(shown.name, shown.title, dict(shown.averages)))
    return {**known, **{name: suite for name, suite in suites.items() if name not in known}}
