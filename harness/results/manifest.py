"""What manifest.json holds: the current runs of a benchmark, and what its sweeps tried and chose."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from harness.io import from_json, to_json
from harness.results.fields import Count, Digest, Json, Name, Pairs, Scalar, Seed, Stored, Texts
from harness.results.record import SCHEMA, Record, TaskColumn

MANIFEST = "manifest.json"
MANIFESTS = (MANIFEST, "runs.json")
"""The names that it has; the last one in results folders of schema 1."""

Key = tuple[str, str, int]
"""What is asked for: (task, model, seed)."""


# Sweeps ----------------------------------------------------------------------------------------------------------


class Trial(Stored):
    """One recipe of a sweep: its ``values`` of the settings that differ, and the run that tried it.

    ``record`` is None where there is none yet, or none was looked for.
    """

    values: dict[str, Scalar]
    fingerprint: Digest
    record: Record | None = Field(default=None, exclude=True)

    @property
    def score(self) -> float | None:
        """What a trial is chosen by: the best score of its run on the data of ``selection``; None if there is none.

        NaN where it is undefined.
        """
        return self.record.selection_score if self.record is not None and self.record.finished else None

    @property
    def reached(self) -> float | None:
        """Its score or, where it was pruned, the best one until then."""
        return self.record.selection_score if self.record is not None and not self.record.failed else None


class Choice(Stored):
    """The trials of a (task, model) in order, all with one seed, and the one that was ``chosen``, by fingerprint.

    None is chosen before all were tried, and where all failed. ``selection`` is the benchmark's; ``lower_is_better``
    where the score is an error. ``planned`` is how many trials a search will have made in the end.
    """

    task: Name
    model: Name
    seed: Seed
    selection: str
    trials: Annotated[tuple[Trial, ...], Field(strict=False)]
    chosen: Digest | None = None
    lower_is_better: bool = False
    planned: Count = 0

    @property
    def pair(self) -> tuple[str, str]:
        """(task, model)."""
        return self.task, self.model

    @property
    def winner(self) -> Trial | None:
        """The trial that was chosen."""
        return next((trial for trial in self.trials if trial.fingerprint == self.chosen), None)

    @property
    def settled(self) -> bool:
        """Whether every trial was made; some may have failed."""
        return len(self.trials) >= self.planned and all(trial.record is not None for trial in self.trials)

    def best(self) -> str | None:
        """The trial to choose: of those with the best score the first; an undefined one is worse than every number."""
        sign = -1 if self.lower_is_better else 1
        scores = {trial.fingerprint: trial.score for trial in self.trials if trial.score is not None}
        values = {run: -math.inf if math.isnan(score) else sign * score for run, score in scores.items()}
        return max(values, key=values.__getitem__) if values and self.settled else None


def in_words(values: Mapping[str, Any]) -> str:
    """``learning_rate 0.0003, batch_size 16``."""
    return ", ".join(f"{name} {value_text(value)}" for name, value in values.items())


def value_text(value: Any) -> str:
    """A setting as benchmarks.yaml would have it."""
    return value if isinstance(value, str) else json.dumps(value)


# The file --------------------------------------------------------------------------------------------------------


class ShownTask(TaskColumn):
    """How a benchmark's tables show a task, which ``answered_by`` is trained for; ``test_parts``: of test splits."""

    task: Name
    answered_by: Name
    test_parts: Pairs = ()


class ShownSuite(Stored):
    """A suite as the tables show it: the title of each of its averages, in order, and the tasks behind it."""

    name: str
    title: str
    averages: Annotated[tuple[Annotated[tuple[str, Texts], Field(strict=False)], ...], Field(strict=False)] = ()


class Table(Stored):
    """What a benchmark says of its leaderboard: its tasks, whether it shows published scores, what follows a mean.

    ``columns`` are the tasks that it may show and ``suites`` theirs, in the order of tables.
    """

    tasks: Texts = ()
    references: bool = False
    interval: Literal["auto", "std", "ci"] = "auto"
    columns: Annotated[tuple[ShownTask, ...], Field(strict=False)] = ()
    suites: Annotated[tuple[ShownSuite, ...], Field(strict=False)] = ()


class CurrentRun(Stored):
    """The fingerprint of a run; None before a sweep has chosen. ``tests`` is that of its test predictions."""

    task: Name
    model: Name
    seed: Seed
    fingerprint: Digest | None
    tests: Digest | None = None

    @property
    def key(self) -> Key:
        """(task, model, seed)."""
        return self.task, self.model, self.seed


class Configuration(Stored):
    """The hash of all that the seeds of a (task, model) share."""

    task: Name
    model: Name
    configuration: str


class Manifest(Stored):
    """The content of manifest.json. ``data`` is what the runs read, as the benchmark says it."""

    data: Json
    table: Table = Table()
    runs: Annotated[tuple[CurrentRun, ...], Field(strict=False)]
    configurations: Annotated[tuple[Configuration, ...], Field(strict=False)] = ()
    sweeps: Annotated[tuple[Choice, ...], Field(strict=False)] = ()

    def to_json(self) -> bytes:
        """The content of the file."""
        return to_json({"schema": SCHEMA, **self.model_dump()})

    def shared(self, task: str, model: str) -> tuple[str | None, str | None]:
        """What all seeds of a (task, model) have in common: the configuration, and what a sweep chose."""
        configurations = {(row.task, row.model): row.configuration for row in self.configurations}
        chosen = {choice.pair: choice.chosen for choice in self.sweeps}
        return configurations.get((task, model)), chosen.get((task, model))

    def followed_by(self, new: Manifest, wanted: Callable[[str, str], bool]) -> Manifest:
        """The new entries, and those of this manifest that stay (see `Store.update_manifest`).

        Args:
            new: what a command says now.
            wanted: whether the benchmark still has a (task, model).
        """
        if self.data != new.data:
            return new
        given = {(run.task, run.model) for run in new.runs}
        changed = {pair for pair in given if self.shared(*pair) != new.shared(*pair)}

        def stays(task: str, model: str) -> bool:
            return wanted(task, model) and (task, model) not in changed

        old = {run.key: run for run in self.runs if stays(run.task, run.model)}
        runs = {run.key: run for run in new.runs}
        others = [choice for choice in self.sweeps if stays(*choice.pair) and choice.pair not in given]
        left = [row for row in self.configurations if stays(row.task, row.model) and (row.task, row.model) not in given]
        return new.model_copy(
            update={
                "runs": tuple((runs if old.keys() <= runs.keys() else {**old, **runs}).values()),
                "sweeps": (*others, *new.sweeps),
                "configurations": (*left, *new.configurations),
            }
        )


def parse_manifest(content: bytes) -> Manifest:
    """The manifest with this content, of this schema or an older one (which differs in its name only).

    Raises:
        ValueError: it is none.
    """
    data = from_json(content)
    if not isinstance(data, dict) or data.pop("schema", None) not in (1, SCHEMA):
        raise ValueError("no manifest")
    return Manifest.model_validate(data)
