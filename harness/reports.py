"""The two halves of `harness.report`: leaderboards made from records, and the files that are written beside these."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.leaderboard.board import Leaderboard
    from harness.leaderboard.build import Runs
    from harness.results.store import Store
    from harness.task.plugins import Plugins


@dataclass(frozen=True)
class Files:
    """What is written beside the tables and the page; arguments as of `harness.report`, ``formats`` as ``plots``."""

    long: bool = False
    formats: Sequence[str] = ()
    texts: bool = False
    export: Sequence[str] = ()


@dataclass(frozen=True)
class Report:
    """The leaderboard of a benchmark, made from its records in one or several results folders.

    Args:
        stores: of these folders; the files go into the first.
        runs: the records of the rows.
        defined: the tasks and suites that are known.
    """

    board: Leaderboard
    runs: Runs
    stores: Sequence[Store]
    defined: Plugins

    @property
    def folder(self) -> Path:
        """Where the files go."""
        return self.stores[0].folder

    def write(self, files: Files) -> None:
        """Write the tables, the page, and what else is wanted.

        Raises:
            HarnessError: the disk says no.
        """
        from harness.export.write import write_exports
        from harness.inspection.source import source_of
        from harness.page.content import content_of
        from harness.page.pictures import write_pictures
        from harness.page.write import write_page
        from harness.report.leaderboard import write_leaderboard
        from harness.results.reading import collection_paused

        with collection_paused():
            write_leaderboard(self.folder, self.board, files.long)
            shown = content_of(self.board, self.runs)
            write_page(self.folder, shown, source_of(self.stores[0], self.defined.tasks) if files.texts else None)
            write_pictures(self.folder / "plots", shown, files.formats)
            write_exports(self.stores, self.defined, files.export)


def reports_of(
    results: str | Path | Sequence[str | Path], benchmark: str | None, plugins: Sequence[str | Path], **options: Any
) -> Iterator[Report]:
    """The reports of a results folder's benchmarks, one after the other; arguments as of `harness.report`.

    Args:
        options: ``references`` and ``interval``.

    Raises:
        HarnessError: a folder that does not exist, no results, no such benchmark.
    """
    from harness.report.boards import leaderboard_and_runs_of
    from harness.results.store import stores_in
    from harness.task.plugins import load_plugins

    stores = stores_in(results, benchmark)
    defined = load_plugins(plugins)
    for own in stores.values():
        board, runs = leaderboard_and_runs_of(own, defined.tasks, defined.suites, **options)
        yield Report(board, runs, own, defined)
