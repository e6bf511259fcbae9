"""What the runs of a benchmark compute, as data, kept beside its records: `status` tells by it how long is left."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from harness.errors import HarnessError
from harness.io import from_json, read_file, to_json, write_file
from harness.results.fields import Amount, Count, Name, Seed, Stored
from harness.results.manifest import Key

PLAN = "plan.json"


class Work(Stored):
    """What one run computes at the most; early stopping may end it before.

    Attributes:
        steps: updates.
        examples: trained examples, counted again in each epoch.
        evaluated: answers over all evaluations.
        flops: FLOPs of training with one example; None where the size of the model is not known.
        parameters: all that the model has; None likewise.
        optimizer: it decides how much memory training takes.
        stops_early: whether ``patience`` may end it before.
        after: the run whose model it starts from.
        guessed: whether no data was at hand, so that every text counts as the longest there can be.
    """

    task: Name
    model: Name
    seed: Seed
    steps: Count
    examples: Count
    evaluated: Count
    flops: Amount | None = None
    parameters: Count | None = None
    optimizer: str = "adamw"
    stops_early: bool = False
    after: Annotated[tuple[str, str, int], Field(strict=False)] | None = None
    guessed: bool = False

    @property
    def key(self) -> Key:
        """(task, model, seed)."""
        return self.task, self.model, self.seed

    @property
    def amount(self) -> float:
        """The work in trained examples: an answer is a third of one, a forward pass without the backward one."""
        return self.examples + self.evaluated / 3

    @property
    def total_flops(self) -> float | None:
        """All that the run computes; None where the size of the model is not known."""
        return None if self.flops is None else self.amount * self.flops

    @property
    def training_bytes(self) -> int | None:
        """Weights, gradients and the optimizer's state in fp32; what the activations take comes on top."""
        if self.parameters is None:
            return None
        return self.parameters * (16 if self.optimizer == "adamw" else 8)


class Plan(Stored):
    """The content of plan.json."""

    runs: Annotated[tuple[Work, ...], Field(strict=False)]


def write_plan(folder: Path, works: Iterable[Work]) -> None:
    """Keep what runs of a benchmark compute, in its folder, beside what others do; a disk that refuses ends nothing."""
    runs = {work.key: work for work in [*read_plan(folder), *works]}
    with contextlib.suppress(HarnessError, OSError):
        write_file(folder / PLAN, to_json(Plan(runs=tuple(runs.values())).model_dump()))


def read_plan(folder: Path) -> Sequence[Work]:
    """What `write_plan` kept; nothing where it is not there, or damaged."""
    try:
        return Plan.model_validate(from_json(read_file(folder / PLAN))).runs
    except (HarnessError, OSError, ValueError, ValidationError):
        return ()
