"""Runs as array jobs of SLURM, through submitit.

A job does one run. Before its time is over, and when it is preempted, SLURM sends it a signal: it saves the state of
its run, and submitit queues it again. submitit's files (the pickled arguments, which are two texts, and logs) are in
``results/.slurm``, which only its owner reads and writes.
"""

from __future__ import annotations

import contextlib
import math
import re
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from torch.cuda import device_count

from harness.errors import HarnessError
from harness.io import disk_errors
from harness.processes import cores
from harness.runner.plan import Run
from harness.runner.resources import Context
from harness.runner.signals import Terminated
from harness.workers.cluster import Ending, Request, own_path
from harness.workers.job import OnSlurm
from harness.workers.load import Load
from harness.workers.worker import do_one

EXECUTORS = ("slurm", "local", "debug")
TIME_OUTS = 1000
"""How often a job is queued again because its time was over: as often as its run needs."""
ARRAY = 1000
"""Runs in an array job; SLURM's own default for the most is 1,001."""
PARALLEL = 256
"""Runs that SLURM does at a time where it has room and nothing else is said."""
SIGNAL_SECONDS = 90
"""So long before the end of its time a job is told."""
SINFO_SECONDS = 30.0
"""So long SLURM has to tell how large it is."""
FAREWELL = 10.0
"""Seconds that processes on this machine have to save their states when the command ends before them."""
PREEMPTED_SECONDS = 300.0
"""So long a preempted job may wait until SLURM queues it again; clusters that cancel such jobs never do."""
LAST_WORDS = 400
"""Characters that are shown of what a job that ended has printed."""


class RunJob:
    """What a job does. submitit pickles it with its arguments, and calls `checkpoint` before it queues it again."""

    def __call__(self, job: str, assignment: str) -> str:
        """`do_one`. submitit's handler of the signal waits until the state is saved."""
        number = announcement()
        try:
            return do_one(job, assignment, [number])
        except Terminated as end:
            if end.code == 128 + number:
                signal.raise_signal(number)
            raise

    def checkpoint(self, job: str, assignment: str) -> Any:
        """What is done when the job begins again: the same, which resumes."""
        return load_submitit().helpers.DelayedSubmission(self, job, assignment)


def announcement() -> int:
    """The signal by which submitit has jobs told that their time is over."""
    return int(getattr(signal, f"SIG{load_submitit().JobEnvironment.USR_SIG}"))


def load_submitit() -> Any:
    """The library.

    Raises:
        HarnessError: it is not installed.
    """
    try:
        import submitit
    except ImportError:
        raise HarnessError("--on slurm needs submitit: pip install 'enct5-harness[slurm]'") from None
    return submitit


def minutes(text: str) -> int:
    """A time as SLURM writes it, in whole minutes, rounded up.

    Raises:
        HarnessError: it is none.
    """
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text, re.ASCII)
    if match is None:
        raise HarnessError(f"--slurm-time {text}: write minutes, H:MM:SS or D-HH:MM:SS")
    days, *parts = match.groups()
    numbers = [int(part) for part in parts if part is not None]
    if days is not None:  # D-HH[:MM[:SS]]
        units: tuple[float, ...] = (60, 1, 1 / 60)
    else:  # MM, MM:SS, HH:MM:SS
        units = (60, 1, 1 / 60) if len(numbers) == 3 else (1, 1 / 60)
    whole = 24 * 60 * int(days or 0) + sum(n * unit for n, unit in zip(numbers, units, strict=False))
    if not whole:
        raise HarnessError(f"--slurm-time {text}: is no time")
    return math.ceil(round(whole, 6))


def sinfo(partition: str | None) -> list[str]:
    """The nodes of a partition, a line for those of each kind: their number, cores and generic resources.

    Raises:
        HarnessError: it cannot be asked.
    """
    chosen = ["--partition", partition] if partition else []
    try:
        said = subprocess.run(
            ["sinfo", "--noheader", "--exact", "--format", "%D %c %G", *chosen],
            capture_output=True,
            text=True,
            timeout=SINFO_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = str(error)
    else:
        if said.returncode == 0:
            return said.stdout.splitlines()
        problem = said.stderr.strip().splitlines()[0] if said.stderr.strip() else f"exit code {said.returncode}"
    raise HarnessError(f"--on slurm: sinfo does not tell the size of the cluster: {problem}; give --jobs")


def places_in(line: str, gpus: float) -> int:
    """The runs that the nodes of a line of sinfo (nodes, cores of each, generic resources) have room for.

    >>> places_in("2 64 gpu:a100:4(S:0-1)", 1), places_in("2 64 gpu:a100:4(S:0-1)", 0), places_in("3 16 (null)", 2)
    (8, 128, 0)
    """
    nodes, cpus, resources = line.split(maxsplit=2)
    found = re.findall(r"gpu(?::[^:,()]+)?:(\d+)", resources)
    return int(nodes) * int(sum(map(int, found)) // gpus if gpus else int(cpus.rstrip("+")))


@dataclass
class SlurmJobs:
    """A cluster (`harness.workers.cluster.Cluster`).

    Args:
        where: how jobs are submitted.
        results: the results folder.
        most: at most so many runs at a time.
    """

    where: OnSlurm
    results: Path
    most: int | None = None
    at_once: int = 1
    in_flight: int = 1
    gpus: int = 0
    jobs: dict[Run, Any] = field(default_factory=dict)
    preempted: dict[Run, float] = field(default_factory=dict)
    """Since when."""

    def __post_init__(self) -> None:
        load_submitit()
        minutes(self.where.time)
        if self.where.executor not in EXECUTORS:
            raise HarnessError(f"--slurm-executor {self.where.executor}: it is one of {', '.join(EXECUTORS)}")
        gpus = self.where.gpus_per_run or 0
        if gpus < 0 or gpus != int(gpus):
            raise HarnessError(f"--gpus-per-run {gpus:g}: SLURM gives whole GPUs")
        if self.where.detach and self.where.executor == "debug":
            raise HarnessError("--detach: jobs of the executor debug are done by the command itself")

    @property
    def folder(self) -> Path:
        """Where submitit keeps its files."""
        return self.results.absolute() / ".slurm"

    def slots(self, gpus: float) -> int:
        """How many runs it has room for at a time, on all nodes of the partition, whatever else is in its queue."""
        if self.where.executor != "slurm":
            return max(1, int(device_count() / gpus)) if gpus else cores()
        places = sum(places_in(line, gpus) for line in sinfo(self.where.partition))
        if not places:
            raise HarnessError(f"--gpus-per-run {gpus:g}: no node of the partition has so many")
        return min(PARALLEL, places)

    def open(self, context: Context, loads: Mapping[Run, Load], gpus: float) -> None:
        """Make the folder, and see how many jobs are submitted at a time: all of them where SLURM has a queue."""
        self.gpus = int(gpus)
        with disk_errors(self.folder):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.folder.chmod(0o700)
            for result in self.folder.glob("*_0_result.pkl"):  # of jobs that no command waited for
                self._remove(result.name.removesuffix("_0_result.pkl"))
        self._executor(1)  # SLURM is there, and takes these options
        if self.where.executor == "slurm":
            self.at_once = min(len(loads), self.most or PARALLEL)
            self.in_flight = len(loads)
        else:
            self.at_once = self.in_flight = 1 if self.where.executor == "debug" else self.most or cores()
        context.display.message(f"SLURM ({self.where.executor}): up to {self.at_once} runs at a time")

    def _executor(self, threads: int, **options: Any) -> Any:
        """Submits jobs that compute with so many threads.

        Raises:
            HarnessError: there is no SLURM here, or an option that it has not.
        """
        where = self.where
        cpus = None if self.gpus else max(1, threads)
        try:
            made = load_submitit().AutoExecutor(
                self.folder, where.executor, slurm_max_num_timeout=TIME_OUTS, local_max_num_timeout=TIME_OUTS
            )
            made.update_parameters(
                name="harness",
                timeout_min=minutes(where.time),
                gpus_per_node=self.gpus or None,
                cpus_per_task=cpus,
                slurm_srun_args=[f"--cpus-per-task={cpus}"] if cpus else None,  # srun does not take over the job's
                slurm_partition=where.partition,
                slurm_setup=list(where.setup) or None,
                slurm_signal_delay_s=SIGNAL_SECONDS,
                slurm_array_parallelism=self.most or PARALLEL,
                slurm_additional_parameters={**where.options, **options} or None,
                local_setup=list(where.setup) or None,
            )
        except (RuntimeError, NameError, ValueError) as error:
            first = str(error).splitlines()[0]
            raise HarnessError(f"--on slurm: {first} (--slurm-executor local tries it on this machine)") from None
        return made

    def submit(self, requests: Sequence[Request]) -> None:
        """Submit an array job for each number of threads."""
        self._submit(requests)

    def _submit(self, requests: Sequence[Request], **options: Any) -> list[str]:
        """The same; gives the jobs' numbers."""
        threads, numbers = (lambda request: request.load.threads), list[str]()
        for number, same in groupby(sorted(requests, key=threads, reverse=True), threads):
            group, executor = list(same), self._executor(number, **options)
            for start in range(0, len(group), ARRAY):
                part = group[start : start + ARRAY]
                with own_path():
                    jobs = executor.map_array(RunJob(), [r.job for r in part], [r.assignment for r in part])
                self.jobs |= dict(zip((request.run for request in part), jobs, strict=True))
                numbers += dict.fromkeys(str(job.job_id).split("_")[0] for job in jobs)
        return numbers

    def leave(self, waves: Sequence[Sequence[Request]]) -> str:
        """Submit all, each wave to start when the one before has ended; without SLURM, what there is room for."""
        if self.where.executor == "slurm":
            numbers, total = list[str](), 0
            for wave in waves:
                after = {"dependency": f"afterany:{':'.join(numbers)}"} if numbers else {}
                numbers, total = self._submit(wave, **after), total + len(wave)
        else:
            total = min(len(waves[0]), self.in_flight)
            self._submit(waves[0][:total])
        left = sum(map(len, waves)) - total
        names = ", ".join(dict.fromkeys(str(job.job_id).split("_")[0] for job in self.jobs.values()))
        self.jobs.clear()
        more = f"; {left} more wait for the same command to be given again" if left else ""
        return (
            f"submitted {total} runs, jobs {names}{more}\n"
            f"python -m harness status {self.results} --watch shows them; python -m harness report {self.results}, or "
            "the same command again, makes the tables"
        )

    def ended(self, seconds: float) -> list[Ending]:
        """The jobs that ended."""
        deadline = time.monotonic() + seconds
        while True:
            done = [run for run, job in self.jobs.items() if job.done() or self._is_cancelled(run, job)]
            if done or time.monotonic() >= deadline:
                return [self._ending(run, self.jobs.pop(run)) for run in done]
            time.sleep(min(0.2, seconds))

    def _is_cancelled(self, run: Run, job: Any) -> bool:
        """Whether a job was preempted, and is not queued again."""
        if job.state != "PREEMPTED":
            self.preempted.pop(run, None)
            return False
        return time.monotonic() - self.preempted.setdefault(run, time.monotonic()) > PREEMPTED_SECONDS

    def _ending(self, run: Run, job: Any) -> Ending:
        if self.preempted.pop(run, None) is not None and not job.done():
            return Ending(run, problem=f"job {job.job_id} was preempted, and is not queued again")
        try:
            ending = Ending(run, result=job.result())
        except Exception as error:
            words = (job.stderr() or "").strip()[-LAST_WORDS:].splitlines()[-1:] or str(error).splitlines()[:1]
            return Ending(run, problem=f"job {job.job_id} ({job.state}): {' '.join(words)}")
        self._remove(job.job_id)
        return ending

    def _remove(self, job: str) -> None:
        """Remove the files of a job that ended well."""
        for path in self.folder.glob(f"{job}_*"):
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Cancel all jobs; those under way save their states."""
        for job in self.jobs.values():
            job.cancel(check=False)
        deadline = time.monotonic() + FAREWELL
        while self.where.executor == "local" and time.monotonic() < deadline:
            if all(job.done() for job in self.jobs.values()):
                break
            time.sleep(0.1)
        self.jobs.clear()
        for pattern in (".submission_file_*.sh", "*_submission.sh"):  # SLURM has them
            for path in self.folder.glob(pattern):
                path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # it is empty where all went well
            self.folder.rmdir()
