"""Runs as tasks of Ray: each in a process of its own (``max_calls=1``), on any machine of the cluster.

A task that is lost with its process or its machine is made again by Ray, three times; a run that fails is recorded, and
its task ends well.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.errors import HarnessError
from harness.processes import cores
from harness.runner.plan import Run
from harness.runner.resources import Context
from harness.workers.cluster import Ending, Request, own_path
from harness.workers.job import OnRay
from harness.workers.load import Load
from harness.workers.worker import do_one

RETRIES = 3
"""How often Ray makes a task again whose process or machine is lost."""
STORE_BYTES = 100_000_000
"""Ray's shared memory, of which the tasks use nothing: where Ray is started for the command."""
REACH_SECONDS = 10.0
"""So long a cluster has to answer."""
FAREWELL = 60.0
"""Seconds that the tasks have to save their states when the command ends before them."""


def do_task(job: str, assignment: str, gpu_share: float) -> str:
    """`do_one` as a task of Ray, with its part of a GPU's memory."""
    if 0 < gpu_share < 1:
        import torch

        torch.cuda.set_per_process_memory_fraction(gpu_share)
    return do_one(job, assignment)


def load_ray() -> Any:
    """The library, which sends no usage statistics.

    Raises:
        HarnessError: it is not installed.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        import ray
    except ImportError:
        raise HarnessError("--on ray needs Ray: pip install 'enct5-harness[ray]'") from None
    return ray


@dataclass
class RayTasks:
    """A cluster (`harness.workers.cluster.Cluster`).

    Args:
        where: which one.
        jobs: at most so many runs at a time.
    """

    where: OnRay
    jobs: int | None = None
    at_once: int = 1
    in_flight: int = 2
    gpus: float = 0.0
    started: bool = False
    """Whether `open` connected: a program that did so before keeps its connection."""
    tasks: dict[Any, Run] = field(default_factory=dict)
    """By the reference of a task's result."""

    def __post_init__(self) -> None:
        load_ray()
        gpus = self.where.gpus_per_run or 0
        if gpus < 0 or (gpus > 1 and gpus != int(gpus)):
            raise HarnessError(f"--gpus-per-run {gpus:g}: give 0, a part of a GPU such as 0.5, or a whole number")

    def open(self, context: Context, loads: Mapping[Run, Load], gpus: float) -> None:
        """Connect, and look how many runs the cluster does at a time."""
        ray, self.gpus = self._connected(), gpus
        if not gpus and ray.cluster_resources().get("GPU", 0):
            context.display.message("this Ray cluster has GPUs, which --gpus-per-run 1 would use")
        slots = self.slots(gpus, min(max(1, load.threads) for load in loads.values()))
        self.at_once = min(slots, self.jobs or slots)
        self.in_flight = self.at_once if self.jobs else 2 * slots
        machines = sum(node["Alive"] for node in ray.nodes())
        where = "this machine" if self.where.address is None else f"{machines} machines"
        context.display.message(f"Ray on {where}: up to {self.at_once} runs at a time")

    def slots(self, gpus: float, cpus: int = 1) -> int:
        """How many runs it has room for at a time."""
        resources = self._connected().cluster_resources()
        if gpus and resources.get("GPU", 0) < gpus:
            raise HarnessError(f"--gpus-per-run {gpus:g}: this Ray cluster has {resources.get('GPU', 0):g} GPUs")
        return max(1, int(resources.get("GPU" if gpus else "CPU", 0) / (gpus or cpus)))

    def _connected(self) -> Any:
        ray = load_ray()
        if not ray.is_initialized():
            with own_signals(), own_path(), refused(self.where.address):
                self._connect(ray)
            self.started = True
        return ray

    def _connect(self, ray: Any) -> None:
        check_address(self.where.address)
        how: dict[str, Any] = {"address": self.where.address}
        if self.where.address is None:
            how = {"address": "local", "num_cpus": cores(), "object_store_memory": STORE_BYTES}
            how["include_dashboard"] = False
        ray.init(**how, log_to_driver=False, logging_level=logging.ERROR)

    def submit(self, requests: Sequence[Request]) -> None:
        """Send out tasks, in this order."""
        ray = load_ray()
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        most = max(node.get("CPU", 0) for node in nodes)
        remote = ray.remote(max_calls=1, max_retries=RETRIES, num_gpus=self.gpus)(do_task)
        for request in requests:
            cpus = min(max(1, request.load.threads), most)
            task = remote.options(num_cpus=cpus, name=" · ".join(map(str, request.run.label)))
            self.tasks[task.remote(request.job, request.assignment, self.gpus)] = request.run

    def leave(self, waves: Sequence[Sequence[Request]]) -> str:
        """Ray ends the tasks of a program that ends.

        Raises:
            HarnessError: always.
        """
        raise HarnessError("--detach: Ray's tasks end with the command; give the command to 'ray job submit' instead")

    def ended(self, seconds: float) -> list[Ending]:
        """The tasks that ended."""
        ray = load_ray()
        ready, _ = ray.wait(list(self.tasks), num_returns=1, timeout=seconds)
        if ready:
            ready, _ = ray.wait(list(self.tasks), num_returns=len(self.tasks), timeout=0)
        return [self._ending(ray, task) for task in ready]

    def _ending(self, ray: Any, task: Any) -> Ending:
        run = self.tasks.pop(task)
        try:
            return Ending(run, result=ray.get(task))
        except ray.exceptions.RayError as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            return Ending(run, problem=f"{type(error).__name__}: {lines[-1] if lines else ''}")

    def close(self) -> None:
        """Stop all tasks as by Ctrl-C, and wait until they have saved their states."""
        ray = load_ray()
        if not ray.is_initialized():
            return
        for task in self.tasks:
            ray.cancel(task, force=False)
        if self.tasks:
            ray.wait(list(self.tasks), num_returns=len(self.tasks), timeout=FAREWELL)
            self.tasks.clear()
        if self.started:
            self.started = False
            with own_signals():
                ray.shutdown()


def check_address(address: str | None) -> None:
    """Refuse a host and port where nothing answers: Ray would try for minutes.

    Raises:
        HarnessError: as it says.
    """
    host, sign, port = (address or "").removeprefix("ray://").rpartition(":")
    if not sign or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise HarnessError(f"--address {address}: nothing answers there: {error}") from None


@contextlib.contextmanager
def own_signals() -> Iterator[None]:
    """A block after which SIGTERM means what it did before: Ray takes it."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def refused(address: str | None) -> Iterator[None]:
    """A block in which Ray's own words for a cluster that cannot be reached become one message."""
    import ray

    try:
        yield
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        where = "Ray did not start" if address is None else f"--address {address}: Ray cannot connect"
        raise HarnessError(f"{where}: {str(error).strip().splitlines()[0]}") from None
