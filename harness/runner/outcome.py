"""What a run leaves on disk: its best model where that is wanted, its test predictions, and its record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accelerate import Accelerator

from harness.errors import HarnessError
from harness.results.record import Record
from harness.results.tensors import save_tensors
from harness.runner.plan import SCORE_VERSION, test_fingerprint
from harness.runner.queue import Work
from harness.runner.resources import Session
from harness.runner.runs import Outcome, Run
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
        record_of(run, work.session, accelerator, outcome.record),
        predictions=outcome.predictions,
        history=outcome.history,
        efficiency=outcome.efficiency,
        log="\n".join(outcome.log) + "\n",
    )


def write_tests(work: Work, run: Run, rows: list[dict[str, Any]], accelerator: Accelerator) -> None:
    """Test predictions are a record of their own, which no leaderboard shows."""
    if rows:
        content = record_of(run, work.session, accelerator, {"predicts_tests_of": run.fingerprint})
        content["fingerprint"] = test_fingerprint(run, work.session)
        work.store.write(content, predictions=rows)


def reason(error: Exception) -> str:
    """An error in one line."""
    if isinstance(error, HarnessError):
        return str(error)
    first = str(error).strip().splitlines()[:1]
    return ": ".join([type(error).__name__, *first])


def record_of(run: Run, session: Session, accelerator: Accelerator, parts: Mapping[str, Any]) -> dict[str, Any]:
    """The content of record.json for a run that finished, or failed with ``parts['error']``."""
    spec, checkpoint = session.spec, session.checkpoint(run.model)
    model = {**run.model.model_dump(exclude_none=True), **session.model_identity(run.model)}
    if checkpoint is not None:
        model["revision"] = checkpoint.revision
    return {
        "fingerprint": run.fingerprint,
        "status": "failed" if parts.get("error") else "finished",
        "task": run.task.name,
        "model": run.model.name,
        "architecture": run.model.architecture,
        "seed": run.seed,
        "parent": run.parent.fingerprint if run.parent else None,
        "scores": {},
        "missing": {},
        "invalid": {},
        "counts": {},
        "steps": 0,
        "best_step": None,
        "selection_score": None,
        "parameters": {},
        "error": None,
        "columns": {
            task.name: {"title": task.title, "suite": task.suite, "parts": task.score_parts}
            for task in (run.task, *(diagnostic for diagnostic, _ in run.diagnostics))
        },
        **parts,
        "settings": {
            "recipe": run.recipe.model_dump(),
            "model": model,
            "data": {
                run.task.name: session.data(run.task, (str(run.task.train_split), *run.own_splits)),
                **{task.name: session.data(task, (split,)) for task, split in run.diagnostics},
            },
            "limit": spec.limit.model_dump() if spec.limit else None,
            "allow_partial": spec.allow_partial,
            "selection": spec.selection,
            "init_from": run.parent.task.name if run.parent else None,
            "score_version": SCORE_VERSION,
        },
        "caveats": list(run.caveats),
        "provenance": provenance(accelerator.device, accelerator.num_processes),
    }
