"""What a worker is told: which benchmark it works for (`Job`), and which run of it is to be done (`Assignment`).

And what a command is told of the cluster that does its runs (`OnRay`, `OnSlurm`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.config.benchmark import BenchmarkFile, narrow, read_benchmarks
from harness.config.schema import BenchmarkSpec
from harness.io import plain
from harness.results.leases import PATIENCE

FORKS = "--forks"
"""The option of a worker's process with which it forks workers."""


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
        machine: a `harness.training.device.Machine` as a mapping: what decides what ``auto`` means in recipes, the same
            in all processes that read the job; None: each decides it.
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
    machine: Mapping[str, Any] | None = None

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
        status: what is left to do of it, by `harness.runner.status.Status`.
        has_children: whether other runs start from its model.
        threads: how many compute on a CPU; 0: as many as the run has work for.
    """

    fingerprint: str
    model: str
    sweeping: bool = False
    status: str = "to do"
    has_children: bool = False
    threads: int = 0


@dataclass(frozen=True)
class OnRay:
    """Runs as tasks of Ray (extra ``ray``).

    Args:
        address: of a running cluster, or ``auto`` for that of this machine; None: Ray is started for this command, on
            this machine alone.
        gpus_per_run: 0, whole GPUs or a part of one; None: 1 where this machine has GPUs, else 0.
    """

    address: str | None = None
    gpus_per_run: float | None = None


@dataclass(frozen=True)
class OnSlurm:
    """Runs as array jobs of SLURM (extra ``slurm``, which is submitit).

    Args:
        partition: where jobs go; None: the cluster's default.
        time: the longest that a job takes, as SLURM writes it: minutes, ``H:MM:SS`` or ``D-HH:MM:SS``. A run that takes
            longer is queued again, and resumes.
        setup: shell lines that a job runs first, such as ``module load cuda``.
        options: other options of ``sbatch``, as ``{"account": "nlp", "mem": "16G"}``.
        gpus_per_run: whole GPUs for each run; None: 1 where this machine has GPUs, else 0.
        executor: ``slurm``, or to try it without one: ``local``, processes on this machine, or ``debug``, this process.
        detach: return when the jobs are submitted.
    """

    partition: str | None = None
    time: str = "240"
    setup: Sequence[str] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    gpus_per_run: int | None = None
    executor: str = "slurm"
    detach: bool = False
