"""A run, and what it leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.config.schema import Model, Recipe
from harness.results.record import Caveat, RunSettings
from harness.task.task import Task

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Run:
    """One training and what is evaluated with it.

    ``settings`` are all that decides its scores; their hash is the ``fingerprint``.
    ``own_splits`` are the validation splits of ``task`` that are there, ``diagnostics`` the (task, split) pairs that
    its model answers besides, ``missing`` the reasons why others are not, ``tests`` the test splits that it predicts
    on request. ``parent`` is the run whose model this one starts from. ``trial`` is what makes it one of several trials
    of a sweep: its values of the swept settings. ``configuration`` is the fingerprint of all but the seed.
    """

    task: Task
    model: Model
    recipe: Recipe
    seed: int
    own_splits: tuple[str, ...]
    diagnostics: tuple[tuple[Task, str], ...]
    settings: RunSettings
    fingerprint: str
    configuration: str
    caveats: tuple[Caveat, ...]
    missing: Mapping[str, Mapping[str, str]]
    tests: tuple[tuple[Task, str], ...] = ()
    parent: Run | None = None
    trial: Mapping[str, Any] = field(default_factory=dict)

    @property
    def pair(self) -> tuple[str, str]:
        """(task, model)."""
        return self.task.name, self.model.name

    @property
    def identity(self) -> tuple[str, str, int, str]:
        """`key` and fingerprint: no two runs have the same."""
        return *self.key, self.fingerprint

    @property
    def key(self) -> tuple[str, str, int]:
        """What the leaderboard files the run under."""
        return self.task.name, self.model.name, self.seed


@dataclass
class Outcome:
    """What a run leaves: the parts of its record, and the best model's weights where they are wanted."""

    record: dict[str, Any]
    predictions: list[dict[str, Any]] = field(default_factory=list)
    test_predictions: list[dict[str, Any]] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    efficiency: dict[str, Any] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    weights: dict[str, Tensor] | None = None

    @property
    def finished(self) -> bool:
        """Whether the run did not fail."""
        return "error" not in self.record
