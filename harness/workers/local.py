"""Workers on this machine: processes that each do one run after another, handed out and shown by the command.

A worker is warm: it imports the libraries once, and does many runs. It holds the lease of its run, so that one that is
killed loses nothing but the steps since the last state: another worker takes its run up.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from harness.errors import HarnessError
from harness.processes import cores
from harness.runner.board import LiveBoard
from harness.runner.keeping import drop_worse_seeds
from harness.runner.plan import Run
from harness.runner.resources import Context
from harness.runner.runner import POLL_SECONDS, Engine, InThisProcess, show_done
from harness.runner.status import Status, Statuses, record_of
from harness.training.device import Machine
from harness.workers.cluster import OnCluster, longest_first
from harness.workers.job import Assignment, Job, OnRay, OnSlurm
from harness.workers.load import Load, free_memory, loads_of
from harness.workers.process import Events, Nursery, WorkerProcess

WORTH_SECONDS = 30.0
"""``auto`` starts workers where the runs would take so long without: a worker needs several seconds to start."""
MANY = 12
"""Runs from which on ``auto`` is likely to start workers: what it looks at is known when the data is read."""
DEATHS = 5
"""A run that ends so many workers, one after another and without getting further, has failed."""


@dataclass
class LocalWorkers:
    """An engine (`harness.runner.runner.Engine`): the runs of a command, some at a time.

    Args:
        job: the benchmark.
        jobs: how many runs at a time; None: as many as the machine has room for (``auto``).
        runs_per_gpu: on GPUs, how many at a time on each.
    """

    job: Job
    jobs: int | None = None
    runs_per_gpu: int = 1
    machine: Machine | None = None
    here: bool = True
    processes: list[WorkerProcess] = field(default_factory=list)
    events: Events = field(default_factory=Events)
    nursery: Nursery | None = None

    def expect(self, context: Context, number: int) -> None:
        """Let the libraries be imported for the workers while the command reads the data."""
        accelerator, jobs = context.accelerator, self.jobs or (cores() if number >= MANY else 1)
        forks = sys.platform == "linux" and accelerator.device.type == "cpu" and accelerator.num_processes == 1
        if forks and min(jobs, number) > 1 and self.nursery is None:
            self.nursery = Nursery()

    def __call__(self, context: Context, statuses: Statuses, todo: Sequence[Run], board: LiveBoard) -> set[Run]:
        if context.accelerator.num_processes > 1:
            if self.jobs is not None and self.jobs > 1:
                raise HarnessError("--jobs: a launch of several processes does one run at a time; leave it out")
            return InThisProcess()(context, statuses, todo, board)
        if len(todo) < 2:
            return InThisProcess()(context, statuses, todo, board)
        loads = self._loads(context, todo)
        at_once = self.at_once(context, list(loads.values()))
        if at_once == 1:
            self._end_nursery()  # nothing runs beside what is measured
            return InThisProcess()(context, statuses, todo, board)
        if at_once != self.job.at_once:  # a search comes here again for each of its rounds
            context.display.message(f"up to {at_once} runs at a time, each in a process of its own")
        self.job = replace(self.job, at_once=at_once, machine=asdict(Machine.of(context.accelerator.device)))
        if self.jobs is not None and context.accelerator.device.type == "cpu":
            most = max(1, cores() // at_once)
            loads = {run: replace(load, threads=min(load.threads, most)) for run, load in loads.items()}
        # The longest first, so that none is left alone at the end; those that failed before may fail again.
        order = sorted(longest_first(loads), key=lambda run: statuses[run] is Status.FAILED)
        return Dispatch(self, context, statuses, order, board, loads, at_once).run()

    def at_once(self, context: Context, loads: Sequence[Load]) -> int:
        """How many of some runs are done at a time."""
        if not loads:
            return 1
        if context.accelerator.device.type == "cuda":
            import torch

            return min(len(loads), self.jobs or torch.cuda.device_count() * self.runs_per_gpu)
        if context.accelerator.device.type != "cpu":
            return 1
        if self.jobs is not None:
            return min(self.jobs, len(loads))
        if sum(load.seconds for load in loads) < WORTH_SECONDS:
            return 1
        room = int(free_memory() // max(load.memory for load in loads))
        fits = cores() // min(load.threads for load in loads)
        return max(1, min(len(loads), fits, room))

    @staticmethod
    def _loads(context: Context, todo: Sequence[Run]) -> dict[Run, Load]:
        if context.accelerator.device.type != "cpu":
            return {run: Load(0, 0.0, 0.0) for run in todo}
        return loads_of(context, todo)

    def close(self) -> None:
        """End all workers: one that does a run saves its state."""
        for process in self.processes:
            process.stop()
        while self.processes:
            told = self.events.next(POLL_SECONDS)
            if told is not None and told[1] is None and told[0] in self.processes:
                self.processes.remove(told[0])
                told[0].wait()
            elif told is not None and told[1] is not None and told[1]["event"] == "message":
                told[0].show(told[1])
        self._end_nursery()

    def _end_nursery(self) -> None:
        if self.nursery is not None:
            self.nursery.close()
            self.nursery = None


def workers_for(job: Job, jobs: int | None, runs_per_gpu: int = 1, on: OnRay | OnSlurm | None = None) -> Engine:
    """The engine for so many runs at a time (None: ``auto``), on this machine or ``on`` a cluster.

    Raises:
        HarnessError: the benchmark is in no file; the extra of the cluster is not installed.
    """
    if jobs == 1 and on is None:
        return InThisProcess()
    if not job.file:
        raise HarnessError("jobs: workers read the benchmark from a file, and this one is none: leave out jobs")
    if isinstance(on, OnRay):
        from harness.workers.ray_tasks import RayTasks

        return OnCluster(job, RayTasks(on, jobs), on.gpus_per_run, here=on.address is None)
    if on is not None:
        from harness.workers.slurm import SlurmJobs

        return OnCluster(
            job, SlurmJobs(on, Path(job.results), jobs), on.gpus_per_run, on.executor != "slurm", on.detach
        )
    return LocalWorkers(job, jobs, runs_per_gpu)


@dataclass
class Dispatch:
    """Hands out runs to workers until none is left."""

    engine: LocalWorkers
    context: Context
    statuses: Statuses
    left: list[Run]
    board: LiveBoard
    loads: dict[Run, Load]
    at_once: int
    failed: set[Run] = field(default_factory=set)
    elsewhere: dict[Run, float] = field(default_factory=dict)
    """Runs that other commands do, and when to look at them again."""
    deaths: dict[Run, tuple[int, int]] = field(default_factory=dict)
    """By run: the workers that ended in it since it last got further, and how far it was."""

    def run(self) -> set[Run]:
        """Do the runs; gives those that failed."""
        try:
            while self.left:
                self._hand_out()
                event = self.engine.events.next(POLL_SECONDS)
                if event is not None:
                    self._handle(*event)
        except BaseException:
            self.engine.close()
            raise
        return self.failed

    def _hand_out(self) -> None:
        busy = {process.run for process in self.engine.processes if process.run is not None}
        for run in self.left:
            if len(busy) >= self.at_once:
                return
            if run in busy or run.parent in self.left or self.elsewhere.get(run, 0.0) > time.monotonic():
                continue
            # One run is done in any case, others where cores are left for their threads.
            if busy and sum(self.loads[other].threads for other in busy | {run}) > max(cores(), self.at_once):
                continue
            self._assign(self._idle(), run)
            busy.add(run)

    def _idle(self) -> WorkerProcess:
        """A worker that waits for work, or a new one."""
        engine = self.engine
        for process in engine.processes:
            if process.run is None:
                return process
        process = WorkerProcess.start(
            engine.job, engine.events, self.context.display.lane(), self._gpu(), engine.nursery
        )
        engine.processes.append(process)
        return process

    def _gpu(self) -> int | None:
        """The GPU with the fewest workers; None where runs are done on the CPU."""
        if self.context.accelerator.device.type != "cuda":
            return None
        import torch

        used = [process.gpu for process in self.engine.processes]
        return min(range(torch.cuda.device_count()), key=used.count)

    def _assign(self, process: WorkerProcess, run: Run) -> None:
        has_children = any(other.parent == run for other in self.left)
        threads, status = self.loads[run].threads, self.statuses[run].value
        sweeping = self.context.sweeping
        process.assign(run, Assignment(run.fingerprint, run.model.name, sweeping, status, has_children, threads))

    def _handle(self, process: WorkerProcess, event: dict[str, object] | None) -> None:
        if event is None:
            self._ended(process)
        elif event["event"] == "error":
            raise HarnessError(str(event["text"]))
        elif event["event"] == "done":
            run, process.run = process.run, None
            if run is not None:
                self._done(process, run, bool(event["recorded"]))
        else:
            process.show(event)

    def _done(self, process: WorkerProcess, run: Run, recorded: bool) -> None:
        record = None
        if recorded:
            self.context.store.look_around()
            record = record_of(self.context, run)
        if record is None:
            if not self.elsewhere:
                self.context.display.message("waiting for other commands, which do some of the runs")
            self.elsewhere[run] = time.monotonic() + POLL_SECONDS
            return
        if process.started:
            (process.display.run_failed if record.failed else process.display.run_finished)(record)
            if record.failed:
                self.failed.add(run)
        else:  # another command has done it
            show_done(replace(self.context, display=process.display), run, record, self.failed)
        self.left.remove(run)
        if self.context.spec.keep == "best" and not run.is_parent:
            drop_worse_seeds(self.context, [run])
        self.board.update()

    def _ended(self, process: WorkerProcess) -> None:
        """A worker that was killed, or failed outside of a run."""
        if process not in self.engine.processes:
            return
        self.engine.processes.remove(process)
        how, run = process.wait(), process.run
        name = " · ".join(map(str, run.label)) if run is not None else "no run"
        self.context.display.message(f"a worker ended ({how}) in {name}; another one takes over")
        process.display.run_stopped()
        if run is None:
            return
        number, furthest = self.deaths.get(run, (0, -1))
        number = 1 if process.step > furthest else number + 1
        self.deaths[run] = (number, max(furthest, process.step))
        if number >= DEATHS:
            raise HarnessError(
                f"{name}: {number} workers in a row ended in it without getting further ({how}). Where memory ran out, "
                f"use fewer --jobs. Their last words:\n{process.last_words()}"
            )
