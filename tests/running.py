"""Help for the tests that run benchmarks: tiny models on sample data, and what their runs leave."""

from __future__ import annotations

import gc
import json
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from tiny import TINY
from torch import Tensor

import harness
from harness.cli import main
from harness.leaderboard.board import Leaderboard
from harness.models.tokenizers import sample_tokenizer
from harness.results.kept import WEIGHTS, find_kept, kept_name
from harness.results.record import Record
from harness.results.store import Store
from harness.training.update import Training

RECIPE = {
    "max_steps": 4,
    "evaluations": 1,
    "batch_size": 8,
    "max_length": 64,
    "precision": "fp32",
    "learning_rate": 1e-3,
}
LIMIT = {"train": 48, "validation": 30}
WRECK = {"max_steps": 2, "eval_every": 1, "learning_rate": 0.05, "warmup_ratio": 0.5}
"""A recipe's change with which the first update leaves the weights where they are, and the second wrecks them."""
UNMOVED = {"learning_rate": 1e-12}
"""A recipe's change with which training leaves the weights where they are."""


def tiny(architecture: str, **options: Any) -> dict[str, Any]:
    """An entry under ``models:``."""
    return {"architecture": architecture, "config": TINY[architecture], "tokenizer": "sample", **options}


class Bench:
    """A benchmark ``b`` of tiny models (bert, enct5, t5) on sample data, and its results folder.

    Args:
        folder: an empty folder.
        cache: where the sample tokenizers are kept between tests.
    """

    def __init__(self, folder: Path, cache: Path):
        self.folder, self.results = folder, folder / "results"
        self.path = folder / "benchmarks.yaml"
        self.models: dict[str, Any] = {name: tiny(name) for name in TINY}
        for family in ("bert", "t5"):
            sample_tokenizer(family, cache)
        self.use_cache(cache)
        gc.freeze()  # each run ends with a collection, which need not look at the imported modules again

    def use_cache(self, cache: Path) -> None:
        """Take over the tokenizers that are made already."""
        shutil.copytree(cache / "tokenizers", self.results / ".cache" / "tokenizers")

    def write(self, recipe: dict[str, Any] | None = None, **settings: Any) -> Path:
        """Write the benchmark file; ``recipe`` and other ``settings`` of the benchmark change what stands above."""
        usual = {"tasks": ["cola"], "models": ["bert"], "data": "sample", "limit": LIMIT}
        entry = {**usual, "recipe": RECIPE | (recipe or {}), **settings}
        entry = {key: value for key, value in entry.items() if value is not None}
        self.path.write_text(json.dumps({"models": self.models, "benchmarks": {"b": entry}}))
        return self.path

    def run(self, **options: Any) -> Leaderboard:
        """`harness.run` on the file."""
        return harness.run(self.path, results=self.results, **options)["b"]

    def command(self, *options: str) -> int:
        """The exit code of ``python -m harness run`` on the file."""
        return main(["run", str(self.path), "--results", str(self.results), *options])

    @property
    def store(self) -> Store:
        return Store(self.results, "b")

    def record(self, task: str = "cola", model: str = "bert", seed: int = 1) -> Record:
        """The current record of a run."""
        found = {(t, m, s): record for t, m, s, record in self.store.current()}[task, model, seed]
        assert found is not None, f"no record of {task}, {model}, seed {seed}"
        return found

    def tests_of(self, record: Record) -> Record | None:
        """The record of a run's test predictions."""
        found = [r for r in self.store.records() if r.predicts_tests_of == record.fingerprint]
        assert len(found) <= 1
        return found[0] if found else None

    def model_folder(self, record: Record) -> Path:
        """Where the best model of a run is kept."""
        return self.store.models / kept_name(record.task, record.model, record.seed, record.fingerprint)

    def model_file(self, record: Record) -> Path:
        """Where its weights are."""
        return self.model_folder(record) / WEIGHTS

    def has_model(self, record: Record) -> bool:
        """Whether it is there, and sound."""
        kept = find_kept(self.results, "b", record.fingerprint, record.seed)
        return kept is not None and kept.sound

    def weights(self, record: Record) -> dict[str, Tensor]:
        """The best model of a run that was kept."""
        return load_file(self.model_file(record))


class Updates:
    """Counts the optimizer steps of all trainings from now on."""

    def __init__(self, monkeypatch: Any):
        self.count = 0
        update = Training.update

        def counted(training: Training) -> None:
            self.count += 1
            update(training)

        monkeypatch.setattr(Training, "update", counted)

    def new(self) -> int:
        """The steps since the last call."""
        count, self.count = self.count, 0
        return count


def content(folder: Path) -> dict[str, bytes]:
    """The files below a folder, but for those that depend on the clock."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in files
        if path.name not in ("efficiency.json", "run.log") and ".cache/records" not in path.as_posix()
    }


def caveats(record: Record) -> tuple[str, ...]:
    """The caveats of a record, as tables show them."""
    return tuple(map(str, record.caveats))


def evaluations(record: Record) -> dict[int, dict[str, Any]]:
    """The learning curve's evaluations by step."""
    return {row["step"]: row for row in record.history() if "scores" in row}


def losses(record: Record) -> dict[int, float]:
    """The learning curve's training losses by step."""
    return {row["step"]: row["loss"] for row in record.history() if "loss" in row}
