"""Which trained models stay on disk: `keep:`, and what starts from them or predicts with them later."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.io import remove, replacing
from harness.results.fields import Damaged
from harness.results.index import DIGITS
from harness.results.kept import KeptModel, find_kept, kept_models, kept_name, write_notes
from harness.runner.plan import Run
from harness.runner.resources import Context

if TYPE_CHECKING:
    from torch import Tensor, nn

    from harness.models import Architecture


@dataclass(frozen=True)
class Trained:
    """A trained model, at the ``step`` that its ``weights`` are of."""

    architecture: Architecture
    module: nn.Module
    weights: dict[str, Tensor]
    step: int
    selection_score: float | None = None
    threshold: float | None = None


def keeps_model(context: Context, run: Run) -> bool:
    """Whether the run's best model is wanted later: by ``keep``, to predict the tests with a sweep's best trial, or by
    a run that starts from it.
    """
    return context.spec.keep != "none" or bool(context.spec.predict and run.trial) or run.is_parent


def keep_model(context: Context, run: Run, model: Trained, best: bool = True) -> None:
    """Write a model's folder; one that was there before is replaced.

    Raises:
        HarnessError: the disk says no.
    """
    from harness.models.kept import save_pretrained

    notes = KeptModel(
        fingerprint=run.fingerprint,
        configuration=run.configuration,
        task=run.task.name,
        model=run.model.name,
        step=model.step,
        best=best,
        selection_score=model.selection_score,
        lower_is_better=run.task.lower_is_better,
        threshold=model.threshold,
        settings=run.settings,
    )
    name = kept_name(*run.label, run.fingerprint, None if best else model.step)
    with replacing(context.store.models / name) as draft:
        save_pretrained(model.architecture, model.module, model.weights, draft)
        write_notes(draft, notes)


def keep_again(context: Context, run: Run, kept: KeptModel) -> None:
    """Keep a model as that of another run, which has the same weights, in place of the one that it was kept for.

    Raises:
        HarnessError: the disk says no.
    """
    changed = {"fingerprint": run.fingerprint, "configuration": run.configuration, "settings": run.settings}
    with replacing(context.store.models / kept_name(*run.label, run.fingerprint)) as draft:
        draft.mkdir()
        for name in kept.files:
            shutil.copyfile(kept.folder / name, draft / name)
        write_notes(draft, kept.model_copy(update={**changed, "model": run.model.name}))
    if kept.folder.parent == context.store.models:
        remove(kept.folder)


def kept_model(context: Context, run: Run) -> KeptModel | None:
    """The run's best model, where it is kept, and whole."""
    return find_kept(context.store.results, context.store.benchmark, run.fingerprint, run.seed)


def has_sound_model(context: Context, run: Run) -> bool:
    """Whether the run's best model is kept, and as it was written; reads all of it."""
    kept = kept_model(context, run)
    return kept is not None and kept.sound


def load_model(context: Context, run: Run) -> dict[str, Tensor]:
    """The weights of the run's best model.

    Raises:
        HarnessError: there is none, or it is damaged.
    """
    from harness.models.kept import from_kept

    kept = kept_model(context, run)
    if kept is None:
        name = f"{run.task.name} with {run.model.name}, seed {run.seed}"
        raise HarnessError(f"there is no model of {name}: its run failed, or the model was removed")
    try:
        kept.check()
    except Damaged as damage:
        remove(kept.folder)  # only reading all tells a changed byte: what asks before looks at the header
        raise HarnessError(f"{damage}: removed; the next 'run' trains it again") from None
    architecture = context.resources.architecture(run.model, run.task, run.recipe)
    return from_kept(architecture, kept.folder).state_dict()


def drop_models(context: Context, runs: Iterable[Run]) -> None:
    """Remove the best models of runs from the benchmark, whatever names they have there."""
    for run in runs:
        for kept in kept_models(context.store.models, f"-seed{run.seed}-{run.fingerprint[:DIGITS]}"):
            if kept.fingerprint == run.fingerprint:
                remove(kept.folder)


def drop_worse_seeds(context: Context, runs: Iterable[Run]) -> None:
    """``keep: best``: of the seeds of a run's recipe only the best one's model stays, of equal ones the first."""
    wanted = {run.configuration for run in runs}
    groups: dict[str, list[KeptModel]] = {}
    for kept in kept_models(context.store.models):
        if kept.best and kept.configuration in wanted:
            groups.setdefault(kept.configuration, []).append(kept)
    for models in groups.values():
        for kept in sorted(models, key=_badness)[1:]:
            remove(kept.folder)


def _badness(kept: KeptModel) -> tuple[float, int]:
    score = kept.selection_score
    if score is None or math.isnan(score):
        return math.inf, kept.seed
    return (score if kept.lower_is_better else -score), kept.seed
