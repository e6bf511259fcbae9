"""A worker process, from the command's side: start, assign, listen, end."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import IO, Any, Protocol

from harness.processes import with_program
from harness.runner.plan import Run
from harness.runner.progress import Display
from harness.workers.job import FORKS, Assignment, Job

LAUNCHER = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Variables of a launch of several processes, of which a worker is none."""
LAST_WORDS = 2000
"""Characters that are shown of what a worker that ended has printed."""


class Process(Protocol):
    """A process as `subprocess.Popen` gives one."""

    pid: int
    stdin: IO[str] | None
    stdout: IO[str] | None

    def kill(self) -> None:
        """End it at once."""

    def wait(self) -> int:
        """Its exit code, once it has ended; below 0 the signal that ended it."""


def environment(gpu: int | None = None) -> dict[str, str]:
    """That of a worker, which does its runs on a GPU or on the CPU."""
    values = with_program({key: value for key, value in os.environ.items() if key not in LAUNCHER})
    if gpu is not None:
        visible = values.get("CUDA_VISIBLE_DEVICES", "").split(",")
        values["CUDA_VISIBLE_DEVICES"] = visible[gpu] if gpu < len(visible) and visible[gpu] else str(gpu)
    return values


def fresh(output: IO[bytes], gpu: int | None = None) -> Process:
    """A worker that imports the libraries itself. Ctrl-C on the terminal reaches the command, which ends the worker."""
    return subprocess.Popen(
        [sys.executable, "-m", "harness.workers.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=output,
        env=environment(gpu),
        text=True,
        encoding="utf-8",
        start_new_session=True,
    )


class Nursery:
    """A process that has imported the libraries and computed nothing: workers are its forks, and begin at once.

    For runs on the CPU of a Linux: other systems' libraries, and those of GPUs, do not all outlive a fork.
    """

    def __init__(self) -> None:
        self.channel, theirs = socket.socketpair()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "harness.workers.worker", FORKS],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment(),
            start_new_session=True,
        )
        theirs.close()

    def fork(self, output: IO[bytes]) -> Process:
        """A new worker.

        Raises:
            OSError: the nursery has ended.
        """
        (read, stdin), (stdout, written) = os.pipe(), os.pipe()
        try:
            pid = self.ask(0, [read, written, output.fileno()])
        except OSError:
            os.close(stdin)
            os.close(stdout)
            raise
        finally:
            os.close(read)
            os.close(written)
        return Fork(self, pid, os.fdopen(stdin, "w", encoding="utf-8"), os.fdopen(stdout, encoding="utf-8"))

    def ask(self, number: int, files: Sequence[int] = ()) -> int:
        """Ask for a worker with these standard files (0), or for the exit code of one that has ended (its id).

        Raises:
            OSError: the nursery has ended.
        """
        socket.send_fds(self.channel, [str(number).encode()], files)
        if not (answer := self.channel.recv(64)):
            raise BrokenPipeError("the process that starts workers has ended")
        return int(answer)

    def close(self) -> None:
        """End it; workers are left alone."""
        self.channel.close()
        self.process.kill()
        self.process.wait()


@dataclass
class Fork:
    """A worker that is a fork (see `Process`)."""

    nursery: Nursery
    pid: int
    stdin: IO[str] | None
    stdout: IO[str] | None
    code: int | None = None

    def kill(self) -> None:
        """End it at once."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Its exit code, once it has ended; that of a kill where nobody can tell."""
        if self.code is None:
            try:
                self.code = self.nursery.ask(self.pid)
            except OSError:
                self.code = -signal.SIGKILL
        return self.code


class Events:
    """What all workers tell, in the order in which it comes: (process, event); None in place of an event: it ended."""

    def __init__(self) -> None:
        self.queue: queue.Queue[tuple[WorkerProcess, dict[str, Any] | None]] = queue.Queue()

    def next(self, seconds: float) -> tuple[WorkerProcess, dict[str, Any] | None] | None:
        """The next one; None where nothing happens for so many seconds."""
        try:
            return self.queue.get(timeout=seconds)
        except queue.Empty:
            return None

    def listen(self, process: WorkerProcess) -> None:
        """Take in what a worker tells, from a thread of its own."""

        def read() -> None:
            assert process.process.stdout is not None
            for line in process.process.stdout:
                with contextlib.suppress(ValueError):  # half a line, of one that was killed
                    self.queue.put((process, json.loads(line)))
            self.queue.put((process, None))

        threading.Thread(target=read, daemon=True).start()


@dataclass(eq=False)
class WorkerProcess:
    """A worker; ``run`` is what it does, ``step`` how far it is, ``started`` whether it began to train."""

    process: Process
    output: IO[bytes]
    display: Display
    gpu: int | None = None
    run: Run | None = None
    step: int = -1
    started: bool = False

    @classmethod
    def start(
        cls, job: Job, events: Events, display: Display, gpu: int | None = None, nursery: Nursery | None = None
    ) -> WorkerProcess:
        """Start a worker, on a GPU or on the CPU, of a nursery where there is one that lives."""
        output = tempfile.TemporaryFile()  # noqa: SIM115  (it lives as long as the worker)
        process = None
        if nursery is not None:
            with contextlib.suppress(OSError):
                process = nursery.fork(output)
        worker = cls(process or fresh(output, gpu), output, display, gpu)
        events.listen(worker)
        worker._say(job.as_json())
        return worker

    def assign(self, run: Run, assignment: Assignment) -> None:
        """Give it a run."""
        self.run, self.step, self.started = run, -1, False
        self._say(asdict(assignment))

    def show(self, event: dict[str, Any]) -> None:
        """Show an event of a run under way."""
        values = {key: value for key, value in event.items() if key != "event"}
        if event["event"] == "run_started":
            self.started = True
        if "step" in values:
            self.step = max(self.step, values["step"])
        if event["event"] in ("message", "run_started", "progress", "evaluated"):
            getattr(self.display, event["event"])(**values)

    def stop(self) -> None:
        """Let it end: at once where it waits for work, else after it has saved the state of its run."""
        with contextlib.suppress(OSError):
            if self.process.stdin is not None:
                self.process.stdin.close()

    def wait(self) -> str:
        """Wait for its end, and say how it ended."""
        self.stop()
        code = self.process.wait()
        return f"exit code {code}" if code >= 0 else signal.Signals(-code).name

    def last_words(self) -> str:
        """The end of what it printed."""
        self.output.seek(max(0, self.output.seek(0, os.SEEK_END) - LAST_WORDS))
        return self.output.read().decode(errors="replace").strip()

    def _say(self, request: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):  # it has ended, which `Events` tells
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
