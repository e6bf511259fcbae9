"""Leaderboards of results folders, made again from their records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.errors import HarnessError, did_you_mean
from harness.report.build import leaderboard
from harness.report.labels import write_label_tables
from harness.report.leaderboard import Leaderboard
from harness.report.tables import write_leaderboard
from harness.results.store import Store, benchmarks_in


def report_folders(
    folders: Sequence[Path],
    benchmark: str | None = None,
    *,
    plugins: Sequence[str | Path] = (),
    references: bool = False,
) -> dict[str, Leaderboard]:
    """Make the leaderboards of results folders again and write them into the first folder that has the benchmark.

    Args:
        folders: results folders; with several, each model has a row for each folder that has it.
        benchmark: only this one (default: every one that is found).
        plugins: folders with task plugins; a task that no plugin defines is shown by what the records say.
        references: add the published rows also where the benchmark does not ask for them.

    Returns:
        A `Leaderboard` by benchmark name.

    Raises:
        HarnessError: a folder that is not there, no such benchmark.
    """
    from harness.task.plugins import load_plugins

    found = {folder: benchmarks_in(folder) for folder in dict.fromkeys(folders)}
    names = sorted({name for there in found.values() for name in there})
    if benchmark is not None and benchmark not in names:
        known = f" There are: {', '.join(names)}." if names else ""
        raise HarnessError(f"no results of benchmark '{benchmark}' here.{did_you_mean(benchmark, names)}{known}")
    if not names:
        raise HarnessError(f"{', '.join(map(str, found))}: no results here; 'run' makes them")
    loaded = load_plugins(plugins)
    boards = {}
    for name in [benchmark] if benchmark else names:
        stores = [Store(folder, name) for folder, there in found.items() if name in there]
        entries = {str(store.results): store.current() for store in stores}
        tables = [store.table() for store in stores]
        boards[name] = leaderboard(
            entries,
            loaded.tasks,
            loaded.suites,
            benchmark=name,
            asked=[task for table in tables for task in table.tasks],
            references=references or any(table.references for table in tables),
            choices={str(store.results): store.choices() for store in stores},
            warnings=[warning for store in stores for warning in store.warnings],
        )
        write_leaderboard(stores[0].folder, boards[name])
        write_label_tables(stores[0].folder, entries)
    return boards
