"""Workers on this machine: the same bytes as without, whatever happens to them, and efficiency measured alone."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from grids import check_bytes, elsewhere
from running import Bench

import harness
from harness.errors import HarnessError
from harness.results.leases import Leases
from harness.results.store import Store
from harness.workers import local
from harness.workers.load import Load
from harness.workers.local import LocalWorkers
from harness.workers.process import WorkerProcess


def run(bench: Bench, results: Path, jobs: int = 2):
    return harness.run(bench.path, results=results, jobs=jobs, progress=True)["b"]


def kill_now_and_then(monkeypatch: pytest.MonkeyPatch, times: int, chance: random.Random) -> list[str]:
    """From here on, workers are killed at random events; gives the events."""
    show, kills = WorkerProcess.show, list[str]()

    def killing(self, event):
        show(self, event)
        if len(kills) < times and event["event"] in ("progress", "evaluated") and chance.random() < 0.5:
            kills.append(event["event"])
            self.process.kill()

    monkeypatch.setattr(WorkerProcess, "show", killing)
    return kills


def test_two_at_a_time_stopped_then_one_killed_leave_the_same_bytes(
    reference, sample_cache, monkeypatch, capsys, nursery
):
    monkeypatch.setattr(local, "Nursery", lambda: nursery)
    results = elsewhere(reference, sample_cache, "two")
    show = WorkerProcess.show

    def stopping(self, event):
        show(self, event)
        if event["event"] == "evaluated" and event["step"] == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(WorkerProcess, "show", stopping)
        run(reference, results)
    output = capsys.readouterr().out
    assert "stops at step" in output and "2 runs at a time" in output
    states = list((results / ".work").glob("*/state.safetensors"))
    assert states and not list((results / ".work").glob("*/lease.*"))

    kills = kill_now_and_then(monkeypatch, 1, random.Random(1))
    board = run(reference, results)
    check_bytes(reference, results)
    output = capsys.readouterr().out
    assert len(kills) == 1 and output.count("a worker ended (SIGKILL)") == 1
    assert output.count("[6/6]") == 1 and "resumes from step" in output
    # Nothing of the times of runs that shared the machine is shown; one of each was measured afterwards.
    records = [record for *_, record in Store(results, "b").current()]
    assert all(record.efficiency.at_once == 2 for record in records)
    for row in board.efficiency:
        for task in ("mnli", "rte", "cola"):
            assert {"train_examples_per_second", "inference_rate_1", "startup_seconds"} <= row.tasks[task].keys()
    assert all(row.cost.train_seconds_mean > 0 for row in board.rows if row.cost is not None and row.cost.runs)


@pytest.mark.slow
def test_killed_twenty_times_they_leave_the_same_bytes(reference, sample_cache, monkeypatch):
    results = elsewhere(reference, sample_cache, "twenty")
    kills = kill_now_and_then(monkeypatch, 20, random.Random(2))
    monkeypatch.setattr(local, "DEATHS", 1000)
    run(reference, results, jobs=3)
    assert len(kills) == 20
    check_bytes(reference, results)


def load(threads: int, memory: float = 1e9, seconds: float = 60.0) -> Load:
    return Load(threads, memory, seconds)


@pytest.mark.parametrize(
    ("loads", "at_once"),
    [
        ([load(1)] * 9, 8),
        ([load(1)] * 3, 3),
        ([load(8)] * 9, 1),
        ([load(4)] * 9, 2),
        ([load(1, memory=5e9)] * 9, 3),
        ([load(1, memory=5e12)] * 9, 1),
        ([load(1, seconds=1.0)] * 9, 1),
        ([], 1),
    ],
)
def test_auto_weighs_threads_memory_and_time(monkeypatch, loads, at_once):
    monkeypatch.setattr(local, "cores", lambda: 8)
    monkeypatch.setattr(local, "free_memory", lambda: 16e9)

    class OnCPU:
        class accelerator:
            class device:
                type = "cpu"

    assert LocalWorkers(job=None).at_once(OnCPU, loads) == at_once  # type: ignore[arg-type]


def test_a_suspended_process_whose_run_was_taken_over_writes_nothing(bench):
    """It comes back in the middle of its run, with another process on it."""
    bench.write({"max_steps": 400, "eval_every": 400}, checkpoint_every=0)
    command = [sys.executable, "-m", "harness", "run", str(bench.path), "--results", str(bench.results)]
    child = subprocess.Popen([*command, "--jobs", "1"], stdout=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 120
        while not (states := list((bench.results / ".work").glob("*/state.safetensors"))):
            assert time.monotonic() < deadline and child.poll() is None
            time.sleep(0.05)
        os.kill(child.pid, signal.SIGSTOP)
        while any(".new" in path.name for path in states[0].parent.iterdir()):  # in the middle of writing a state
            os.kill(child.pid, signal.SIGCONT)
            time.sleep(0.01)
            os.kill(child.pid, signal.SIGSTOP)
        leases = Leases(every=0.1, patience=0.5)
        while (lease := leases.take(states[0].parent)) is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with lease:
            state = states[0].read_bytes()
            os.kill(child.pid, signal.SIGCONT)
            assert child.stdout is not None
            lines = iter(child.stdout.readline, "")
            assert any("another process took over" in line for line in lines)
            assert states[0].read_bytes() == state
            assert not list((bench.results / "b" / "runs").glob("*/*/*"))
            assert lease.is_held()
    finally:
        child.kill()
        child.wait()


def test_a_record_is_accepted_only_from_the_holder_of_the_lease(bench):
    bench.write()
    bench.run()
    record = bench.record()
    other = Store(bench.folder / "other", "b")
    lease = Leases().take(other.checkpoint_directory(record.fingerprint))
    assert lease is not None
    lease.path.unlink()  # as one does that takes it over
    with pytest.raises(HarnessError, match="took over"):
        other.write(record, predictions=record.predictions(), history=record.history(), lease=lease)
    assert other.records() == []
    lease.release()
