"""The leaderboard of a benchmark that is being run: made from its records, beside them."""

from __future__ import annotations

import time
from dataclasses import dataclass

from harness.leaderboard.board import Leaderboard
from harness.page.content import content_of
from harness.page.write import write_page
from harness.report.boards import leaderboard_and_runs_of, leaderboard_of
from harness.report.leaderboard import write_leaderboard
from harness.runner.resources import Context

BOARD_EVERY, BOARD_SHARE = 5.0, 0.02
"""The leaderboard is made anew after so many seconds, and takes at most this share of the time."""


@dataclass
class LiveBoard:
    """The leaderboard's files while runs are done: they never take more than a small part of the command's time.

    Making them reads all records, so that making them after each run would take the longer the more there are.
    """

    context: Context
    due: float = 0.0
    behind: bool = False
    """Whether a run was done since they were made."""

    def update(self) -> None:
        """Make them, if it is time to."""
        self.behind = True
        if time.monotonic() >= self.due:
            self.finish()

    def finish(self) -> None:
        """Make them, if a run was done since."""
        if self.behind and self.context.main:
            started = time.monotonic()
            make_board(self.context, statistics=False)
            now = time.monotonic()
            self.behind, self.due = False, now + max(BOARD_EVERY, (now - started) / BOARD_SHARE)


def make_board(context: Context, statistics: bool = True) -> Leaderboard:
    """The leaderboard of the benchmark's current records; the main process writes it and the page beside them.

    Args:
        statistics: intervals and tie groups, which take longer the more runs there are: at the end of a command.
    """
    file, store = context.file, context.store
    while context.main:
        with store.locked() as lease:  # no earlier leaderboard replaces a later one
            board, runs = leaderboard_and_runs_of([store], file.tasks, file.suites, statistics=statistics)
            write_leaderboard(store.folder, board)
            write_page(store.folder, content_of(board, runs, live=not statistics))
            if lease.is_held():
                return board
    return leaderboard_of([store], file.tasks, file.suites, statistics=statistics)
