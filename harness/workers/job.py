"""What a worker is told: which benchmark it works for (`Job`), and which run of it is to be done (`Assignment`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.config.benchmark import BenchmarkFile, narrow, read_benchmarks
from harness.config.schema import BenchmarkSpec
from harness.io import plain
from harness.results.leases import PATIENCE


@dataclass(frozen=True)
class Job:
    """A benchmark as a command asks for it: plain data, from which every process reads the same runs.

    Args:
        file: the path of a benchmarks.yaml, or its content.
        benchmark: a name in it.
        results: the results folder.
        tasks, models, seeds, data: take only these of it; None: all.
        settings: changes to every recipe.
        patience: seconds after which a process without a sign of life counts as dead.
        offline: use no network.
        at_once: how many runs the command does at a time.
    """

    file: str | Mapping[str, Any]
    benchmark: str
    results: str
    tasks: Sequence[str] | None = None
    models: Sequence[str] | None = None
    seeds: Sequence[int] | None = None
    data: str | None = None
    settings: Mapping[str, str] | None = None
    patience: float = PATIENCE
    offline: bool = False
    at_once: int = 1

    def read(self) -> tuple[BenchmarkFile, BenchmarkSpec]:
        """The benchmark file, and the part of the benchmark that is asked for.

        Raises:
            HarnessError: mistakes in the file, or names that are not in it.
        """
        loaded = read_benchmarks(self.file, overrides=self.settings)
        spec = narrow(loaded.benchmark(self.benchmark), self.tasks, self.models, self.seeds, self.data)
        return loaded, spec

    def as_json(self) -> dict[str, Any]:
        """The arguments, as JSON has them."""
        file = plain(self.file) if isinstance(self.file, Mapping) else str(Path(self.file).absolute())
        return {**asdict(self), "file": file, "results": str(Path(self.results).absolute())}


@dataclass(frozen=True)
class Assignment:
    """A run that is to be done.

    Args:
        fingerprint: which one.
        model: the name of its model: the same run may have several.
        sweeping: whether it is one of those that choose the recipe of a sweep.
        status: what is left to do of it, by `harness.runner.queue.Status`.
        has_children: whether other runs start from its model.
        threads: how many compute on a CPU; 0: as many as the run has work for.
    """

    fingerprint: str
    model: str
    sweeping: bool = False
    status: str = "to do"
    has_children: bool = False
    threads: int = 0
