"""What a sweep tried and chose, as manifest.json keeps it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.results.record import Record


@dataclass(frozen=True)
class Trial:
    """One recipe of a sweep: its ``values`` of the settings that differ, and the run that tried it.

    ``record`` is None where there is none yet, or none was looked for.
    """

    values: Mapping[str, Any]
    fingerprint: str
    record: Record | None = field(default=None, compare=False)

    @property
    def score(self) -> float | None:
        """What a trial is chosen by: the best score of its run on the data of ``selection``; None if there is none."""
        selection_score = self.record.selection_score if self.record is not None and self.record.finished else None
        return None if selection_score is None or math.isnan(selection_score) else selection_score


@dataclass(frozen=True)
class Choice:
    """The trials of a (task, model) in order, all with one seed, and the one that was ``chosen``, by fingerprint.

    None is chosen before all were tried, and where all failed. ``selection`` is the benchmark's.
    """

    task: str
    model: str
    seed: int
    selection: str
    trials: tuple[Trial, ...]
    chosen: str | None = None

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
        return all(trial.record is not None for trial in self.trials)

    def best(self) -> str | None:
        """The trial to choose: of those with the best score the first."""
        scored = [trial for trial in self.trials if trial.score is not None]
        if not scored or not self.settled:
            return None
        return max(scored, key=lambda trial: trial.score or 0.0).fingerprint

    def as_data(self) -> dict[str, Any]:
        """Plain data, without records."""
        trials = [{"values": dict(trial.values), "fingerprint": trial.fingerprint} for trial in self.trials]
        named = {name: getattr(self, name) for name in ("task", "model", "seed", "selection", "chosen")}
        return {**named, "trials": trials}

    @classmethod
    def of_data(cls, data: Mapping[str, Any]) -> Choice:
        """What `as_data` gave.

        Raises:
            KeyError, TypeError, ValueError: something else.
        """
        trials = tuple(Trial(dict(trial["values"]), trial["fingerprint"]) for trial in data["trials"])
        named = {name: data[name] for name in ("task", "model", "seed", "selection", "chosen")}
        return cls(**named, trials=trials)


def in_words(values: Mapping[str, Any]) -> str:
    """``learning_rate 0.0003, batch_size 16``."""
    return ", ".join(f"{name} {value_text(value)}" for name, value in values.items())


def value_text(value: Any) -> str:
    """A setting as benchmarks.yaml would have it."""
    return value if isinstance(value, str) else json.dumps(value)
