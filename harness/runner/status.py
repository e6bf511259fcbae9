"""Which runs are done, and what is left to do of the others."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from harness.results.record import Record
from harness.runner.diagnostics import base_model, base_of
from harness.runner.keeping import has_sound_model, kept_model
from harness.runner.plan import Run, test_fingerprint
from harness.runner.processes import shared
from harness.runner.resources import Context
from harness.runner.search import record_of_trial


class Status(Enum):
    """What is left to do of a run, as it is shown."""

    DONE = "done"
    TO_DO = "to do"
    FAILED = "failed"
    MODEL_NEEDED = "model needed"
    """Finished, but a run to be trained starts from its model, which was not kept."""
    EVALUATION_NEEDED = "evaluation needed"
    """Finished, but for diagnostics whose data is new: its kept model answers them."""
    TESTS_NEEDED = "tests needed"
    RETRAINING_NEEDED = "retraining needed"
    """Finished, but without test predictions, and its model was not kept."""
    PRUNED = "pruned"
    GIVEN_UP = "failed, not tried again"
    """Of a search, whose later trials were suggested by what the others gave."""


Statuses = dict[Run, Status]
"""The runs of a command in their order, with the status of each."""

TO_TRAIN = (Status.TO_DO, Status.FAILED, Status.MODEL_NEEDED)
"""The runs with one of these are trained without being asked for."""


def statuses_of(context: Context, runs: Iterable[Run]) -> Statuses:
    """The status of each run, the same in all processes."""
    context.store.look_around()
    records = {run: record_of(context, run) for run in runs}
    searches = {run.pair for run, record in records.items() if run.rivals is not None and record and not record.failed}
    statuses = {
        run: _status(record, of_search=run.rivals is not None and run.pair in searches)
        for run, record in records.items()
    }
    for run in having(statuses, Status.TO_DO, Status.FAILED):
        if (base := base_of(context, run)) and base_model(context, base):
            statuses[run] = Status.EVALUATION_NEEDED
    if context.spec.predict:
        for run in having(statuses, Status.DONE):
            if not has_tests(context, run):
                kept = kept_model(context, run) is not None
                statuses[run] = Status.TESTS_NEEDED if kept else Status.RETRAINING_NEEDED
    _need_models(context, statuses, having(statuses, Status.TO_DO, Status.FAILED))
    values = shared(context.accelerator, list(statuses.values()))
    return dict(zip(statuses, values, strict=True))


def _status(record: Record | None, of_search: bool) -> Status:
    if record is None:
        return Status.TO_DO
    if record.failed:
        return Status.GIVEN_UP if of_search else Status.FAILED
    return Status.PRUNED if record.pruned else Status.DONE


def _need_models(context: Context, statuses: Statuses, children: Iterable[Run]) -> None:
    """Mark the finished runs that these start from and whose models are gone, and those that they start from."""
    for run in children:
        parent = run.parent
        if parent and statuses[parent] not in TO_TRAIN and not has_sound_model(context, parent):
            statuses[parent] = Status.MODEL_NEEDED
            _need_models(context, statuses, [parent])


def having(statuses: Statuses, *wanted: Status) -> list[Run]:
    """The runs with one of these statuses."""
    return [run for run, status in statuses.items() if status in wanted]


def runs_to_train(context: Context, statuses: Statuses, retrain: bool) -> list[Run]:
    """The runs that are trained now, those last that failed before: they may fail again, and stop all others."""
    again = [Status.RETRAINING_NEEDED] if retrain else []
    _need_models(context, statuses, having(statuses, *again))
    runs = having(statuses, *TO_TRAIN, *again)
    last: set[Run] = set()
    for run in runs:
        if statuses[run] is Status.FAILED or run.parent in last:
            last.add(run)
    return sorted(runs, key=lambda run: run in last)


def record_of(context: Context, run: Run) -> Record | None:
    """The run's record, finished or failed; pruned where it is the trial of a search that prunes it."""
    return record_of_trial(context, run)


def has_tests(context: Context, run: Run) -> bool:
    """Whether its test predictions are made (or there is no test data)."""
    if not run.tests:
        return True
    record = context.store.find(test_fingerprint(run, context.resources), *run.label)
    return record is not None and record.finished


def done_since(context: Context, run: Run, before: Status, has_children: bool) -> Record | None:
    """The record of a run that was done since it had a status, if that is all that is wanted of it.

    Args:
        before: what was left to do of it.
        has_children: whether its model is wanted, for the runs that start from it.
    """
    context.store.look_around()
    record = record_of(context, run)
    if record is None or not record.finished:
        return None if before is Status.FAILED else record
    lacks_tests = before is Status.RETRAINING_NEEDED and not has_tests(context, run)
    lacks_model = has_children and not has_sound_model(context, run)
    return None if lacks_tests or lacks_model else record
