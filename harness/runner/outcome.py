"""What a run leaves on disk: its best model where that is wanted, its test predictions, and its record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accelerate import Accelerator

from harness.errors import HarnessError
from harness.io import plain
from harness.results.record import Record
from harness.results.tensors import save_tensors
from harness.runner.plan import test_fingerprint
from harness.runner.queue import Work
from harness.runner.resources import Session
from harness.runner.runs import Outcome, Run
from harness.task.metrics import score_parts
from harness.training.device import provenance


def write_outcome(work: Work, run: Run, outcome: Outcome, accelerator: Accelerator) -> Record:
    """Keep what a run leaves; the record comes last, and says that all is there.

    Raises:
        HarnessError: the disk says no.
    """
    if outcome.weights is not None:
        save_tensors(work.weights(run), outcome.weights)
    if outcome.finished and work.session.spec.predict:
        write_tests(work, run, outcome.test_predictions, accelerator)
    return work.store.write(
        record_of(run, work.session, accelerator, {**outcome.record, "efficiency": outcome.efficiency}),
        predictions=outcome.predictions,
        history=outcome.history,
        log="\n".join(outcome.log) + "\n",
    )


def write_tests(work: Work, run: Run, rows: list[dict[str, Any]], accelerator: Accelerator) -> None:
    """Test predictions are a record of their own, which no leaderboard shows."""
    if rows:
        own = {"fingerprint": test_fingerprint(run, work.session), "predicts_tests_of": run.fingerprint}
        work.store.write(record_of(run, work.session, accelerator, own), predictions=rows)


def reason(error: Exception) -> str:
    """An error in one line."""
    if isinstance(error, HarnessError):
        return str(error)
    first = str(error).strip().splitlines()[:1]
    return ": ".join([type(error).__name__, *first])


def record_of(run: Run, session: Session, accelerator: Accelerator, parts: Mapping[str, Any]) -> Record:
    """The record of a run that finished, or failed with ``parts['error']``; ``parts`` are further fields of it."""
    checkpoint = session.checkpoint(run.model)
    fields = {
        "fingerprint": run.fingerprint,
        "status": "failed" if parts.get("error") else "finished",
        "task": run.task.name,
        "model": run.model.name,
        "checkpoint": run.model.checkpoint,
        "revision": checkpoint.revision if checkpoint else None,
        "init_from": run.parent.task.name if run.parent else None,
        "columns": {
            task.name: {"title": task.title, "suite": task.suite, "parts": score_parts(task)}
            for task in (run.task, *(diagnostic for diagnostic, _ in run.diagnostics))
        },
        "provenance": provenance(accelerator.device, accelerator.num_processes),
        **parts,
    }
    return Record.model_validate({**plain(fields), "settings": run.settings, "caveats": run.caveats})
