"""What is left to do of a benchmark, and the queue of it that several processes share."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from harness.errors import HarnessError
from harness.io import remove
from harness.results.leases import Lease, Leases
from harness.results.record import Damaged, Record
from harness.results.store import Store
from harness.results.tensors import is_sound, is_whole, load_tensors
from harness.runner.plan import test_fingerprint
from harness.runner.resources import Session
from harness.runner.runs import Run

Identity = tuple[str, str, int, str]
"""(task, model, seed, fingerprint)."""

TO_TRAIN = ("to do", "failed", "model needed")
"""The states of runs that are trained without being asked for."""


@dataclass
class Work:
    """What a command has to do: the runs, and for each why it is not done yet."""

    runs: list[Run]
    store: Store
    session: Session
    states: dict[Identity, str] = field(default_factory=dict)
    """By identity: ``done``, ``to do``, ``failed``, ``model needed``, ``tests needed`` or ``retraining needed``."""

    def __post_init__(self) -> None:
        for run in self.runs:
            record = self.record(run)
            self.states[run.identity] = "to do" if record is None else "done" if record.finished else "failed"
        if self.session.spec.predict:
            for run in self.of("done"):
                if not self.has_tests(run):
                    self.states[run.identity] = "tests needed" if is_whole(self.weights(run)) else "retraining needed"
        self._need_models(self.of("to do", "failed"))

    def _need_models(self, children: list[Run]) -> None:
        """Mark the finished runs that these start from and whose models are gone, and those that they start from."""
        for run in children:
            parent = run.parent
            if parent and self.states[parent.identity] not in TO_TRAIN and not is_sound(self.weights(parent)):
                self.states[parent.identity] = "model needed"
                self._need_models([parent])

    def is_done(self, run: Run) -> bool:
        """Whether nothing is left to do for it."""
        return self.states[run.identity] == "done"

    def of(self, *states: str) -> list[Run]:
        """The runs in one of these states."""
        return [run for run in self.runs if self.states[run.identity] in states]

    def to_train(self, retrain: bool) -> list[Run]:
        """The runs that are trained now, those last that failed before: they may fail again, and stop all others."""
        again = ["retraining needed"] if retrain else []
        self._need_models(self.of(*again))
        runs = self.of(*TO_TRAIN, *again)
        failed: set[Identity] = set()
        for run in runs:
            behind = run.parent is not None and run.parent.identity in failed
            if behind or self.states[run.identity] == "failed":
                failed.add(run.identity)
        return sorted(runs, key=lambda run: run.identity in failed)

    def record(self, run: Run) -> Record | None:
        """The run's record, finished or failed."""
        return self.store.find(run.fingerprint, *run.key)

    def weights(self, run: Run) -> Path:
        """Where the run's best model is kept."""
        return self.store.models / f"{run.fingerprint}.safetensors"

    def load_weights(self, run: Run) -> dict[str, Tensor]:
        """The run's best model.

        Raises:
            HarnessError: it is not there or damaged.
        """
        try:
            return load_tensors(self.weights(run))
        except FileNotFoundError:
            name = f"{run.task.name} with {run.model.name}, seed {run.seed}"
            raise HarnessError(f"there is no model of {name}: its run failed, or the model was removed") from None
        except Damaged as damage:
            remove(self.weights(run))  # only loading tells a changed byte: what asks before looks at the header
            raise HarnessError(f"{damage}: removed; the next 'run' trains it again") from None

    def keeps(self, run: Run) -> bool:
        """Whether the run's best model is wanted later: by ``keep``, to predict the tests with a sweep's best trial,
        or by a run that starts from it.
        """
        spec = self.session.spec
        return (
            spec.keep != "none"
            or bool(spec.predict and run.trial)
            or any(
                other.parent is not None and other.parent.identity == run.identity and not self.is_done(other)
                for other in self.runs
            )
        )

    def has_tests(self, run: Run) -> bool:
        """Whether its test predictions are there (or there is no test data)."""
        if not run.tests:
            return True
        record = self.store.find(test_fingerprint(run, self.session), *run.key)
        return record is not None and record.finished


@dataclass
class Queue:
    """The runs that are left to train. Other processes may work on the same ones: a run is whose lease it has."""

    work: Work
    left: list[Run]
    leases: Leases
    tell: Callable[[Run, Record], None]
    """Called with the record of a run that another process has done meanwhile."""
    lease: Lease | None = None

    def next(self) -> Run | None:
        """The next run that no other process has; its lease is ``lease``. None: the others have all that is left."""
        for run in list(self.left):
            if run.parent is not None and any(other.identity == run.parent.identity for other in self.left):
                continue
            self.lease = self.leases.take(self.work.store.scratch(run.fingerprint))
            if self.lease is None:
                continue
            if not self._is_settled(run):
                return run
            self.lease.release()
            self.left.remove(run)
        return None

    def _is_settled(self, run: Run) -> bool:
        """Whether another process has done it since this one looked."""
        work, record = self.work, self.work.record(run)
        before = work.states[run.identity]
        if record is None or (before == "failed" and not record.finished):
            return False
        if record.finished and not self._is_complete(run, before):
            return False
        self.tell(run, record)
        return True

    def _is_complete(self, run: Run, before: str) -> bool:
        if before == "retraining needed" and not self.work.has_tests(run):
            return False
        wanted = any(other.parent is not None and other.parent.identity == run.identity for other in self.left)
        return not wanted or is_sound(self.work.weights(run))


def tidy(work: Work, leases: Leases) -> None:
    """Remove training states that nobody goes on with: of runs that are done, and those untouched for a month."""
    finished = {run.fingerprint for run in work.of("done")} - {run.fingerprint for run in work.of(*TO_TRAIN)}
    for folder in work.store.workplaces():
        with contextlib.suppress(FileNotFoundError):  # another command was faster
            if folder.name in finished or time.time() - folder.stat().st_mtime > 30 * 24 * 3600:
                lease = leases.take(folder)
                if lease is not None:
                    with lease:
                        lease.empty()
