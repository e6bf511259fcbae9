"""Runs on a cluster: what Ray and SLURM have in common.

The command sends out tasks, each of which does one run (`harness.workers.worker.do_one`). It shows the runs by what
they write into the results folder, which all machines share, and sends again what ended without a record.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Protocol

import torch

import harness
from harness.config.schema import BenchmarkSpec
from harness.errors import HarnessError
from harness.results.live import UnderWay, under_way
from harness.results.manifest import in_words
from harness.results.record import Record
from harness.runner.board import LiveBoard
from harness.runner.execute import record_stamp
from harness.runner.keeping import drop_worse_seeds
from harness.runner.plan import Run
from harness.runner.progress import Display
from harness.runner.resources import Context
from harness.runner.runner import POLL_SECONDS, Detached
from harness.runner.status import Statuses, done_since, record_of
from harness.training.device import Machine, has_fast_bf16
from harness.workers.job import Assignment, Job
from harness.workers.load import Load, loads_of

SETBACKS = 5
"""A run that ends so many tasks, one after another and without getting further, has failed."""


@dataclass(frozen=True)
class Request:
    """A run that is to be sent out: the arguments of `do_one`, and what it asks for."""

    run: Run
    job: str
    assignment: str
    load: Load


@dataclass(frozen=True)
class Ending:
    """The end of a task: what `do_one` gave, or else how it ended."""

    run: Run
    result: str = ""
    problem: str = ""

    def check(self) -> None:
        """Refuse to go on where no task can do the run.

        Raises:
            HarnessError: what it says.
        """
        if self.result and "error" in (said := json.loads(self.result)):
            raise HarnessError(str(said["error"]))


class Cluster(Protocol):
    """Where tasks run.

    Args:
        at_once: how many are done at a time, known once it is open.
        in_flight: how many are sent out before the first has ended.
    """

    at_once: int
    in_flight: int

    def slots(self, gpus: float) -> int:
        """How many runs it has room for at a time, each with so many GPUs, or else with one core."""

    def open(self, context: Context, loads: Mapping[Run, Load], gpus: float) -> None:
        """Connect, for runs that take so much each; once for each time that runs are to be done."""

    def submit(self, requests: Sequence[Request]) -> None:
        """Send out tasks."""

    def leave(self, waves: Sequence[Sequence[Request]]) -> str:
        """Send out tasks, those of each wave after those before, and forget them; gives a line that names them."""

    def ended(self, seconds: float) -> list[Ending]:
        """The tasks that ended since the last time; waits so many seconds for one."""

    def close(self) -> None:
        """End all tasks under way, which save their states, and disconnect."""


@dataclass
class OnCluster:
    """An engine (`harness.runner.runner.Engine`) whose runs are tasks of a cluster.

    Args:
        job: the benchmark.
        cluster: where its tasks run.
        gpus_per_run: None: 1 where this machine has GPUs, else 0.
        here: whether the cluster is this machine.
        detach: do not wait for the tasks.
    """

    job: Job
    cluster: Cluster
    gpus_per_run: float | None = None
    here: bool = False
    detach: bool = False

    @property
    def gpus(self) -> float:
        """The GPUs of a run."""
        return float(torch.cuda.is_available()) if self.gpus_per_run is None else self.gpus_per_run

    @property
    def machine(self) -> Machine:
        """That of the tasks. Where they have GPUs and this one has none, those are taken to multiply bf16 fast."""
        if not self.gpus:
            return Machine.of(torch.device("cpu"))
        return Machine("cuda", has_fast_bf16(torch.device("cuda")) if torch.cuda.is_available() else True)

    def expect(self, context: Context, number: int) -> None:
        """Nothing is to be prepared."""

    def slots(self) -> int:
        """How many runs the cluster does at a time, of those that take one core or their GPUs."""
        return self.cluster.slots(self.gpus)

    def __call__(self, context: Context, statuses: Statuses, todo: Sequence[Run], board: LiveBoard) -> set[Run]:
        if context.accelerator.num_processes > 1:
            raise HarnessError("--on: start it as one process, not by accelerate launch: the cluster has the others")
        if not todo:
            return set()
        loads = loads_of(context, todo)
        if self.gpus:
            loads = {run: replace(load, threads=0) for run, load in loads.items()}
        self.cluster.open(context, loads, self.gpus)
        requests = {run: self._request(context, statuses, run, set(todo), loads[run]) for run in todo}
        if self.detach:
            context.display.message(self.cluster.leave(waves(requests)))
            raise Detached
        return Sending(self.cluster, context, statuses, board, requests, longest_first(loads)).run()

    def _request(self, context: Context, statuses: Statuses, run: Run, todo: Collection[Run], load: Load) -> Request:
        """The part of the benchmark that a worker has to look at to find the run, and the run."""
        own = replace(
            self.job,
            tasks=related(context.spec, run.task.name),
            models=[run.model.name],
            seeds=[run.seed],
            at_once=max(2, self.cluster.at_once),
            machine=asdict(self.machine),
        )
        has_children = any(other.parent == run for other in todo) if run.is_parent else False
        assignment = Assignment(
            run.fingerprint, run.model.name, context.sweeping, statuses[run].value, has_children, load.threads
        )
        return Request(run, json.dumps(own.as_json()), json.dumps(asdict(assignment)), load)

    def close(self) -> None:
        """End all tasks."""
        self.cluster.close()


def related(spec: BenchmarkSpec, name: str) -> list[str]:
    """The tasks of a benchmark that matter to a task's runs: itself, those it starts from, those that start from it."""

    def line(task: str) -> list[str]:
        parent = spec.parent(task)
        return [task] if parent is None else [task, *line(parent)]

    return [task for task in spec.tasks if name in line(task) or task in line(name)]


def longest_first(loads: Mapping[Run, Load]) -> list[Run]:
    """The runs in order of what they and the runs that start from them take one after another, the longest first."""
    seconds = {run: load.seconds for run, load in loads.items()}
    for run in reversed(list(loads)):  # children stand behind their parents
        if run.parent in seconds:
            seconds[run.parent] = max(seconds[run.parent], loads[run.parent].seconds + seconds[run])
    return sorted(loads, key=lambda run: -seconds[run])


def waves(requests: Mapping[Run, Request]) -> list[list[Request]]:
    """The requests in groups: runs that start from none of the others, then those that start from these, and so on."""
    depth: dict[Run, int] = {}
    for run in requests:
        depth[run] = depth[run.parent] + 1 if run.parent in depth else 0
    return [[requests[run] for run in requests if depth[run] == d] for d in range(max(depth.values()) + 1)]


@dataclass
class Watch:
    """Shows runs that others do, by what they write into their checkpoint directories."""

    display: Display
    lanes: dict[Run, Display] = field(default_factory=dict)
    steps: dict[Run, tuple[int, object]] = field(default_factory=dict)
    """By run: the step and the scores that are shown."""

    def look(self, begun: Mapping[str, UnderWay], runs: Iterable[Run]) -> None:
        """Show what is new of some runs."""
        for run in runs:
            now = begun.get(run.fingerprint)
            if now is None or not now.holder:
                continue
            if run not in self.lanes:
                self.lane(run, now.about.steps)
            step, scores = self.steps.get(run, (-1, {}))
            if now.step > step and now.loss is not None:
                self.lanes[run].progress(now.step, now.loss, 0.0)
            if now.scores != scores and now.scores:
                self.lanes[run].evaluated(now.step, next(iter(now.scores.values())), 0.0)
            self.steps[run] = (max(step, now.step), now.scores)

    def lane(self, run: Run, steps: int) -> Display:
        """The line of a run, begun."""
        if run not in self.lanes:
            self.lanes[run] = self.display.lane()
            self.lanes[run].run_started(*run.label, steps, in_words(run.trial))
        return self.lanes[run]

    def stopped(self, run: Run) -> None:
        """What did a run has ended before it."""
        if run in self.lanes:
            self.lanes.pop(run).run_stopped()

    def done(self, run: Run, record: Record) -> None:
        """A run has a record."""
        lane = self.lane(run, record.steps or 0)
        (lane.run_finished if record.finished else lane.run_failed)(record)
        del self.lanes[run]


@dataclass
class Sending:
    """Sends out runs until none is left.

    Args:
        left: the runs that are not done, those first that are sent first.
        out: those that are sent, with what their record was before.
        setbacks: by run, the tasks that ended in it since it last got further, and how far it was.
    """

    cluster: Cluster
    context: Context
    statuses: Statuses
    board: LiveBoard
    requests: Mapping[Run, Request]
    left: list[Run]
    out: dict[Run, tuple[int, int] | None] = field(default_factory=dict)
    setbacks: dict[Run, tuple[int, int]] = field(default_factory=dict)
    failed: set[Run] = field(default_factory=set)
    waits: bool = False

    def run(self) -> set[Run]:
        """Do the runs; gives those that failed."""
        watch = Watch(self.context.display)
        while self.left:
            self._send()
            begun = under_way(self.context.store.work)
            watch.look(begun, self.out)
            for ending in self.cluster.ended(POLL_SECONDS):
                ending.check()
                self._ended(watch, ending)
        return self.failed

    def _send(self) -> None:
        waiting, ready = set(self.left), list[Run]()
        for run in self.left:
            if len(self.out) + len(ready) >= self.cluster.in_flight:
                break
            if run in self.out or run.parent in waiting:
                continue
            # A process that is gone with its machine counts as living for a while. Whoever looks must look for so long.
            if self.context.leases.is_taken(self.context.store.checkpoint_directory(run.fingerprint)):
                if not self.waits:
                    self.context.display.message("waiting for other commands, or machines that are gone, in some runs")
                self.waits = True
                continue
            ready.append(run)
        self.out |= {run: record_stamp(self.context, run) for run in ready}
        if ready:
            self.cluster.submit([self.requests[run] for run in ready])

    def _ended(self, watch: Watch, ending: Ending) -> None:
        run, before = ending.run, self.out.pop(ending.run)
        has_children = any(other.parent == run for other in self.left) if run.is_parent else False
        record = done_since(self.context, run, self.statuses[run], has_children)
        if record is None and record_stamp(self.context, run) != before:
            record = record_of(self.context, run)
        if record is None:
            watch.stopped(run)
            self._setback(watch, ending)
            return
        watch.done(run, record)
        if not record.finished:
            self.failed.add(run)
        self.left.remove(run)
        if self.context.spec.keep == "best" and not run.is_parent:
            drop_worse_seeds(self.context, [run])
        self.board.update()

    def _setback(self, watch: Watch, ending: Ending) -> None:
        """A task that ended without a record: killed, out of time, or another process has the run."""
        if not ending.problem:
            return
        run = ending.run
        name, (step, _) = " · ".join(map(str, run.label)), watch.steps.get(run, (-1, None))
        number, furthest = self.setbacks.get(run, (0, -2))
        number = 1 if step > furthest else number + 1
        self.setbacks[run] = (number, max(furthest, step))
        if number >= SETBACKS:
            raise HarnessError(f"{name}: {number} tasks in a row ended in it without getting further: {ending.problem}")
        self.context.display.message(f"a task ended in {name} without a record; it is sent again: {ending.problem}")


@contextlib.contextmanager
def own_path() -> Iterator[None]:
    """A block in which new processes find this program, wherever it was started."""
    before, root = os.environ.get("PYTHONPATH"), str(Path(harness.__file__).parents[1])
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [root, before]))
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
