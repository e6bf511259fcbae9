"""What a benchmark's runs compute (`harness.planning`), from their data and models as far as these are here."""

from __future__ import annotations

from itertools import islice

from harness.data.datasets import has_own_files
from harness.errors import HarnessError
from harness.planning.amounts import READ, Lengths, lengths_of, work_of
from harness.planning.sizes import Size, size_of
from harness.planning.work import Work
from harness.runner.plan import Run
from harness.runner.resources import HOLDOUT_MOST, HOLDOUT_SHARE, Resources
from harness.task.task import Example, Task


def work_of_run(resources: Resources, run: Run) -> Work:
    """What a run computes."""
    examples = count_of(resources, run.task, str(run.task.train_split))
    held_out = 0
    if resources.holds_out(run.task, run.model):
        held_out = min(HOLDOUT_MOST, max(1, int(HOLDOUT_SHARE * examples)))
    answered = sum(count_of(resources, task, split) for task, split in run.evaluated)
    own = sum(count_of(resources, run.task, split) for split in run.own_splits)
    by_holdout = resources.spec.selection == "holdout"
    return work_of(
        run.label,
        run.recipe,
        max(1, examples - held_out),
        answered if by_holdout else answered - own,
        held_out if by_holdout else own,
        _lengths(resources, run),
        _size(resources, run),
        run.parent.label if run.parent else None,
    )


def _size(resources: Resources, run: Run) -> Size | None:
    checkpoint = resources.checkpoint(run.model)
    return resources.once(
        ("size", run.model.name), lambda: size_of(run.model, checkpoint.folder if checkpoint else None)
    )


def _lengths(resources: Resources, run: Run) -> Lengths:
    key = ("lengths", *run.pair, run.recipe.max_length)
    return resources.once(key, lambda: lengths_of(run.task, run.model, run.recipe, _first(resources, run.task)))


def _first(resources: Resources, task: Task) -> list[Example]:
    """The first training examples; none where the data is not on this machine."""

    def read() -> list[Example]:
        try:
            return list(islice(resources.open(task, str(task.train_split)), READ))
        except HarnessError:
            return []

    return resources.once(("first", task.name), read)


def count_of(resources: Resources, task: Task, split: str) -> int:
    """The examples of a split: the official number where there is one, else they are counted; 0 where nothing tells."""
    rows = task.files[split].rows if split in task.files else ()
    official = rows and not has_own_files(task) and not resources.spec.allow_partial
    if official and resources.source(task) != "sample":
        limit = resources.limit(task, split)
        return max(rows) if limit is None else min(limit, max(rows))

    def counted() -> int:
        try:
            return resources.open(task, split).count
        except HarnessError:
            return 0

    return resources.once(("count", task.name, split), counted)
