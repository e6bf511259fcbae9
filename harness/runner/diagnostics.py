"""Diagnostics whose data was added after the training: no run is trained again for what its kept model can answer.

The diagnostics that a run's model answers are a part of its fingerprint. So a finished run has another one when data
of a diagnostic is added; its *base* is the run without it, which has the record.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

from harness.format import plural
from harness.results.kept import KeptModel, find_kept
from harness.runner.plan import Run
from harness.runner.resources import Context

NOT_KEPT = "its data is new, and the model that answers it was not kept"
"""Why a run lacks a diagnostic."""


def without_diagnostics(run: Run) -> Iterator[Run]:
    """The run as it would be without one or several of its diagnostics, fewest first."""
    for count in range(1, len(run.diagnostics) + 1):
        for left_out in itertools.combinations(run.diagnostics, count):
            names = {task.name for task, _ in left_out}
            settings = run.settings.model_copy(
                update={
                    part: {name: value for name, value in getattr(run.settings, part).items() if name not in names}
                    for part in ("tasks", "data")
                }
            )
            kept = tuple(diagnostic for diagnostic in run.diagnostics if diagnostic not in left_out)
            missing = {**run.missing, **{task.name: {split: NOT_KEPT} for task, split in left_out}}
            yield replace(run, settings=settings, diagnostics=kept, missing=missing)


def base_of(context: Context, run: Run) -> Run | None:
    """The run without the diagnostics that its finished record lacks; None where it has a record, or no such one."""
    if not run.diagnostics or _is_finished(context, run):
        return None
    return next((smaller for smaller in without_diagnostics(run) if _is_finished(context, smaller)), None)


def base_model(context: Context, base: Run) -> KeptModel | None:
    """The kept model of a base."""
    return find_kept(context.store.results, context.store.benchmark, base.fingerprint, base.seed)


def _is_finished(context: Context, run: Run) -> bool:
    record = context.store.find(run.fingerprint, *run.label)
    return record is not None and record.finished


def settled(context: Context, runs: Iterable[Run], retrain: bool, models: bool = True) -> list[Run]:
    """The runs with the diagnostics that they can have without another training.

    Args:
        runs: a parent before those that start from it.
        retrain: what has no kept model is trained again, with all its diagnostics.
        models: whether kept models may answer what is new; otherwise, for trials that only choose a recipe, it is left
            out.
    """
    changed: dict[Run, Run] = {}
    for run in runs:
        own = _with_parent(context, run, changed.get(run.parent, run.parent)) if run.parent else run
        base = base_of(context, own)
        if base is not None and not (models and base_model(context, base)) and not (models and retrain):
            own = base
        changed[run] = own
    return list(changed.values())


def _with_parent(context: Context, run: Run, parent: Run) -> Run:
    """The run as it starts from this parent; where it has a record that started from it before, as it did then."""
    own = _started_from(run, parent, parent)
    if not _is_finished(context, own):
        for smaller in without_diagnostics(parent):
            if _is_finished(context, before := _started_from(run, parent, smaller)):
                return before
    return own


def _started_from(run: Run, parent: Run, identity: Run) -> Run:
    return replace(run, parent=parent, settings=run.settings.model_copy(update={"parent": identity.fingerprint}))


def left_out(runs: Iterable[Run]) -> list[str]:
    """A line for each diagnostic that finished runs lack because their models were not kept."""
    lacking = Counter(
        (diagnostic, run.task.name)
        for run in runs
        for diagnostic, splits in run.missing.items()
        if NOT_KEPT in splits.values()
    )
    return [
        f"{diagnostic}: its data is new, and the models of {plural(count, 'finished run')} of {task}, which answer it, "
        "were not kept: they stay without it; --retrain trains them again"
        for (diagnostic, task), count in lacking.items()
    ]
