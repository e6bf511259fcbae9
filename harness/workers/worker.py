"""A worker: `Worker.do` does one run, given its fingerprint; every way of running beside the command calls it.

`do_one` does one in a process that another program started, as Ray and SLURM do; arguments and result are JSON.

``python -m harness.workers.worker`` is a process that does so again and again, for `harness.workers.local`: a line of
JSON on its standard input says what to do, lines on its standard output tell what happens. Where its input ends,
because the command has ended, a run under way is stopped as by SIGTERM: its state is saved. With ``--forks`` it
imports the libraries, and forks such processes.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.data.hub_access import network
from harness.errors import HarnessError
from harness.results.leases import Leases
from harness.results.store import Store
from harness.runner.diagnostics import settled
from harness.runner.execute import do_run
from harness.runner.plan import Run, expand
from harness.runner.progress import Display
from harness.runner.resources import Context, Resources
from harness.runner.search import recipes_of, trials_of
from harness.runner.signals import Interrupts
from harness.runner.status import Status, done_since
from harness.runner.sweep import choose, chosen_recipes
from harness.training.device import Machine, make_accelerator
from harness.workers.job import FORKS, Assignment, Job

Tell = Callable[[Mapping[str, Any]], None]
LATE = 60.0
"""Seconds that another machine may need to see the records of trials, from which a sweep's later runs follow."""


class Telling(Display):
    """The display of a worker: what happens is told to the command, which shows it."""

    def __init__(self, tell: Tell):
        self.tell = tell

    def message(self, text: str) -> None:
        self.tell({"event": "message", "text": text})

    def run_started(self, task: str, model: str, seed: int, steps: int, trial: str = "") -> None:
        self.tell({"event": "run_started", "task": task, "model": model, "seed": seed, "steps": steps, "trial": trial})

    def progress(self, step: int, loss: float, examples_per_second: float) -> None:
        self.tell({"event": "progress", "step": step, "loss": loss, "examples_per_second": examples_per_second})

    def evaluated(self, step: int, scores: Mapping[str, float], selection_score: float) -> None:
        self.tell({"event": "evaluated", "step": step, "scores": dict(scores), "selection_score": selection_score})


@dataclass
class Worker:
    """Does runs of one benchmark; what they share is read once."""

    context: Context
    _runs: dict[tuple[bool, str, str], Run] = field(default_factory=dict)

    @classmethod
    def of(cls, job: Job, display: Display, interrupts: Interrupts, leases: Leases) -> Worker:
        """A worker for a job.

        Raises:
            HarnessError: mistakes in its file.
        """
        loaded, spec = job.read()
        store = Store(Path(job.results), spec.name)
        resources = Resources(spec, store.cache)
        accelerator = make_accelerator()
        machine = Machine(**job.machine) if job.machine else None
        if machine is not None and machine.device != accelerator.device.type:
            raise HarnessError(
                f"the runs are for a machine with {machine.device}, and {platform.node()} has "
                f"{accelerator.device.type}: see --gpus-per-run"
            )
        resources.machine = machine
        return cls(Context(loaded, resources, store, accelerator, display, interrupts, leases, job.at_once))

    def do(self, given: Assignment) -> bool:
        """Do a run, resume it and record it, unless its record is there.

        Returns:
            Whether there is a record now; False where another process does the run.

        Raises:
            HarnessError: there is no such run; the disk.
            KeyboardInterrupt, Terminated: it was stopped; its state is saved.
        """
        import torch

        run, context = self.find(given), self.context
        lease = context.leases.take(context.store.checkpoint_directory(run.fingerprint))
        if lease is None:
            return False
        with lease:
            if done_since(context, run, Status(given.status), given.has_children) is not None:
                return True
            if given.threads:
                torch.set_num_threads(given.threads)
            return do_run(context, run, lease) is not None

    def find(self, given: Assignment) -> Run:
        """The run with a fingerprint.

        Raises:
            HarnessError: there is none: the file or the data are others than when the command began.
        """
        key, started = (given.sweeping, given.fingerprint, given.model), time.monotonic()
        while key not in self._runs:
            runs = self._expand(given.sweeping)
            self._runs |= {(given.sweeping, run.fingerprint, run.model.name): run for run in runs}
            if key in self._runs:
                break
            if not self.context.spec.sweep.model_fields_set or time.monotonic() - started > LATE:
                raise HarnessError(
                    f"there is no run {given.fingerprint[:12]} any more: the file or its data changed; start again"
                )
            time.sleep(1.0)
            self.context.store.look_around()
        return self._runs[key]

    def _expand(self, sweeping: bool) -> list[Run]:
        """The trials of a sweep, or the runs with what the trials chose."""
        context, device = self.context, self.context.accelerator.device
        tried = trials_of(context)
        if sweeping:
            return tried
        chosen = chosen_recipes(tried, choose(context, tried))
        runs = expand(context.file, context.resources, device, chosen, recipes_of(context))
        return [*runs, *settled(context, runs, retrain=False)]


@contextlib.contextmanager
def working(job: Job, display: Display, signals: Sequence[int] = ()) -> Iterator[Worker]:
    """A worker for a job, in this process; ``signals`` stop a run like SIGTERM."""
    from harness.runner.runner import prepare_libraries

    with network(job.offline), Interrupts(signals) as interrupts, Leases(patience=job.patience) as leases:
        prepare_libraries()
        yield Worker.of(job, display, interrupts, leases)


def do_one(job: str, assignment: str, signals: Sequence[int] = ()) -> str:
    """Do one run in this process, and nothing else.

    Args:
        job, assignment: a `Job` and an `Assignment`, as JSON.
        signals: they stop the run like SIGTERM: its state is saved.

    Returns:
        JSON: ``{"recorded": ...}``, whether there is a record now, or ``{"error": ...}``, why the run cannot be done.

    Raises:
        KeyboardInterrupt, Terminated: it was stopped; its state is saved.
    """
    given = Job(**json.loads(job))
    if given.machine and given.machine["device"] == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # a GPU that the cluster does not give to this run
    try:
        with working(given, Display(), signals) as worker:
            return json.dumps({"recorded": worker.do(Assignment(**json.loads(assignment)))})
    except HarnessError as error:
        return json.dumps({"error": str(error)})


# A process of its own --------------------------------------------------------------------------------------------


class Requests:
    """The lines on standard input. At their end, whatever this process does is stopped."""

    def __init__(self) -> None:
        self.lines: queue.Queue[Any] = queue.Queue()
        self.busy = False
        self.file = os.fdopen(os.dup(0), "rb")  # at exit, Python closes standard input, where this thread waits
        threading.Thread(target=self._read, daemon=True).start()

    def next(self) -> Any:
        """The next one; None at the end."""
        self.busy = False
        line = self.lines.get()
        self.busy = True
        return line

    def _read(self) -> None:
        for line in self.file:
            self.lines.put(json.loads(line))
        self.lines.put(None)
        if self.busy:
            os.kill(os.getpid(), signal.SIGTERM)


def private_output() -> Tell:
    """A function that writes to standard output, where nothing else does from here on."""
    channel = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)

    def tell(event: Mapping[str, Any]) -> None:
        with contextlib.suppress(OSError):  # the command has ended
            channel.write(json.dumps(event) + "\n")

    return tell


def serve() -> int:
    """Do what the command on the other side of standard input and output asks for; returns the exit code."""
    tell, requests = private_output(), Requests()
    first = requests.next()
    if first is None:
        return 0
    job = Job(**first)
    try:
        with working(job, Telling(tell)) as worker:
            tell({"event": "ready"})
            while (request := requests.next()) is not None:
                tell({"event": "done", "recorded": worker.do(Assignment(**request))})
    except HarnessError as error:
        tell({"event": "error", "text": str(error)})
        return 2
    return 0


def fork_workers() -> int:
    """Fork workers for a command on the other side of a socket, standard input (`harness.workers.process.Nursery`).

    It computes nothing before: there are no threads, which a fork would lose.

    Returns:
        The exit code, that of `serve` in each of the forks.
    """
    from harness.runner.runner import prepare_libraries

    channel = socket.socket(fileno=os.dup(0))
    prepare_libraries()
    while True:
        request, files, *_ = socket.recv_fds(channel, 64, 3)
        if not request:
            return 0
        if process := int(request):
            answer = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        elif not (answer := os.fork()):
            channel.close()
            for number, file in enumerate(files):
                os.dup2(file, number)
                os.close(file)
            return serve()
        for file in files:
            os.close(file)
        channel.sendall(str(answer).encode())


if __name__ == "__main__":
    sys.exit(fork_workers() if FORKS in sys.argv[1:] else serve())
