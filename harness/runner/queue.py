"""The queue of runs that several processes share."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from harness.results.leases import Lease
from harness.results.record import Record
from harness.runner.plan import Run
from harness.runner.resources import Context
from harness.runner.status import TO_TRAIN, Status, Statuses, done_since, having

ABANDONED = 30 * 24 * 3600
"""Seconds after which a training state that was not touched is removed."""


@dataclass
class RunQueue:
    """The runs that are left to train. Several commands may work on the same ones: a lease decides who does which.

    Args:
        statuses: of all runs of the command.
        left: those to train, in order.
        on_done: called with the record of a run that another command has done meanwhile.
    """

    context: Context
    statuses: Statuses
    left: list[Run]
    on_done: Callable[[Run, Record], None]
    lease: Lease | None = None
    """On the run that `next` gave."""

    def next(self) -> Run | None:
        """The next run that no other command does, leased; None: the others do all that is left."""
        for run in list(self.left):
            if run.parent in self.left:
                continue
            self.lease = self.context.leases.take(self.context.store.checkpoint_directory(run.fingerprint))
            if self.lease is None:
                continue
            if not self._was_done(run):
                return run
            self.lease.release()
            self.left.remove(run)
        return None

    def _was_done(self, run: Run) -> bool:
        """Whether another command, or this one under another name, has done the run since this one looked."""
        has_children = any(other.parent == run for other in self.left)
        record = done_since(self.context, run, self.statuses[run], has_children)
        if record is None:
            return False
        self.on_done(run, record)
        return True


def tidy(context: Context, statuses: Statuses) -> None:
    """Remove training states that no command resumes: of runs that are done, and those untouched for a month."""
    done = {run.fingerprint for run in having(statuses, Status.DONE, Status.PRUNED)}
    done -= {run.fingerprint for run in having(statuses, *TO_TRAIN)}
    for folder in context.store.checkpoint_directories():
        with contextlib.suppress(FileNotFoundError):  # another command was faster
            if folder.name in done or time.time() - folder.stat().st_mtime > ABANDONED:
                lease = context.leases.take(folder)
                if lease is not None:
                    with lease:
                        lease.empty()
