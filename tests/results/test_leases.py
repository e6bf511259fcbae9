"""Several processes on one results folder: no run twice, nothing lost, the dead do not hold up the living."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from running import Bench, Updates, content

from harness.errors import HarnessError
from harness.io import this_machine
from harness.results.folder import read_record
from harness.results.leases import Lease, Leases
from harness.results.manifest import Manifest
from harness.results.store import Store
from harness.runner import board, execute, runner
from harness.runner.progress import Lines

FINGERPRINT = "0" * 64


@pytest.fixture
def dead() -> int:
    """The id of a process that ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def foreign(folder: Path, machine: str = "another-machine", process: int = 1) -> Path:
    """The lease of another process."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"lease.{machine}.{process}.0a"
    path.touch()
    return path


# One folder ------------------------------------------------------------------------------------------------------


def test_a_folder_belongs_to_one_until_it_is_given_back(tmp_path):
    folder, leases = tmp_path / "a" / "run", Leases()
    lease = leases.take(folder)
    assert lease is not None and leases.is_taken(folder)
    assert leases.take(folder) is None and Leases().take(folder) is None
    assert len(list(folder.iterdir())) == 1
    lease.release()
    assert not folder.exists() and not leases.is_taken(folder)
    with Leases().take(folder) or pytest.fail() as again:
        (folder / "state").touch()
        assert not again.lost
    assert [path.name for path in folder.iterdir()] == ["state"]


def test_the_claim_of_a_dead_process_is_taken_over(tmp_path, dead):
    path = foreign(tmp_path, this_machine(), dead)
    assert not Leases().is_taken(tmp_path)
    path.touch()
    lease = Leases().take(tmp_path)
    assert lease is not None and not path.exists()
    lease.release()


def test_the_claim_of_a_killed_child_that_nobody_waited_for_is_taken_over(tmp_path):
    child = subprocess.Popen(["sleep", "60"])
    foreign(tmp_path, this_machine(), child.pid)
    assert Leases().take(tmp_path) is None
    child.kill()
    try:
        deadline = time.monotonic() + 30
        while (lease := Leases().take(tmp_path)) is None:
            assert time.monotonic() < deadline
        lease.release()
    finally:
        child.wait()


@pytest.mark.parametrize("machine", ["another-machine", None])
def test_a_claim_without_a_sign_of_life_is_taken_over_after_a_while(tmp_path, machine):
    path = foreign(tmp_path, machine or this_machine(), os.getppid())
    os.utime(path, (0, 0))  # the clock of the other machine decides nothing
    leases = Leases(patience=0.3)
    for _ in range(6):
        assert leases.take(tmp_path) is None
        time.sleep(0.1)
        os.utime(path)
    deadline = time.monotonic() + 30
    while (lease := leases.take(tmp_path)) is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    lease.release()


def test_a_claim_shows_signs_of_life_and_notices_when_it_is_lost(tmp_path):
    lease = Leases(every=0.02).take(tmp_path)
    assert lease is not None
    watcher = Leases(patience=0.5)
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        assert watcher.is_taken(tmp_path)
        time.sleep(0.05)
    assert not lease.lost
    lease.path.unlink()
    deadline = time.monotonic() + 30
    while not lease.lost:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    lease.release()


def test_all_leases_are_given_back_where_a_command_ends(tmp_path):
    """Whatever happens between taking one and using it."""
    with pytest.raises(KeyboardInterrupt), Leases() as leases:
        assert leases.take(tmp_path / "run") is not None
        raise KeyboardInterrupt
    assert not Leases().is_taken(tmp_path / "run") and not (tmp_path / "run").exists()


@pytest.mark.parametrize("call", ["create", "renew"])
def test_a_lease_that_is_interrupted_while_it_is_taken_is_given_back(tmp_path, monkeypatch, call):
    def interrupted(self: Lease, *arguments: float) -> None:
        (create if call == "create" else renew)(self, *arguments)
        raise KeyboardInterrupt

    create, renew = Lease.create, Lease.renew
    with monkeypatch.context() as patch:
        patch.setattr(Lease, call, interrupted)
        with pytest.raises(KeyboardInterrupt):
            Leases().take(tmp_path / "run")
    assert Leases().take(tmp_path / "run") is not None


def test_a_disk_that_refuses_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(HarnessError, match="a file is in the way"):
        Leases().take(tmp_path / "file" / "run")


def test_a_folder_that_goes_while_it_is_looked_at_is_free(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    folder.mkdir()
    looks = []

    def after_removal(look):
        def looked(path):
            if not looks:
                folder.rmdir()
            looks.append(path)
            return look(path)

        return looked

    with monkeypatch.context() as patch:
        for name in ("listdir", "scandir"):
            patch.setattr(os, name, after_removal(getattr(os, name)))
        lease = Leases().take(folder)
    assert lease is not None and list(folder.iterdir()) == [lease.path]
    lease.release()


COUNT = """
import sys
from pathlib import Path
from harness.results.leases import Leases
folder, counter = Path(sys.argv[1]), Path(sys.argv[2])
for _ in range(int(sys.argv[3])):
    with Leases().held(folder):
        number = int(counter.read_text())
        counter.write_text("")
        counter.write_text(str(number + 1))
"""

POINT = """
import sys
from harness.results.store import Store
store = Store(sys.argv[1], "b")
for i in range(int(sys.argv[3])):
    store.update_manifest({(f"task{i}", f"model{sys.argv[2]}", 1): "0" * 64}, "sample")
"""


def together(script: str, *arguments: list[str]) -> None:
    """Run a script in several processes at once."""
    processes = [subprocess.Popen([sys.executable, "-c", script, *given]) for given in arguments]
    assert [process.wait() for process in processes] == [0] * len(processes)


def test_only_one_process_at_a_time_is_in_a_block(tmp_path):
    (tmp_path / "counter").write_text("0")
    together(COUNT, *[[str(tmp_path / "lock"), str(tmp_path / "counter"), "40"]] * 4)
    assert (tmp_path / "counter").read_text() == "160"


def test_the_pointers_of_several_processes_are_merged(tmp_path):
    together(POINT, *[[str(tmp_path), str(process), "15"] for process in range(4)])
    rows = json.loads((tmp_path / "b" / "manifest.json").read_text())["runs"]
    expected = {(f"task{i}", f"model{process}") for i in range(15) for process in range(4)}
    assert {(row["task"], row["model"]) for row in rows} == expected


@pytest.mark.parametrize("step", ["take", "read", "write"])
def test_a_process_that_was_suspended_in_the_lock_overwrites_nothing(tmp_path, monkeypatch, step):
    """While it stands still, another takes the lock over, writes, and gives it back."""
    store, suspended = Store(tmp_path, "b"), []

    def before(function):
        def suspend(*arguments, **options):
            if not suspended:
                suspended.append(True)
                (path,) = (store.folder / ".lock").iterdir()
                path.unlink()  # as whoever takes it over does
                Store(tmp_path, "b").update_manifest({("other", "model", 1): "1" * 64}, "sample")
            return function(*arguments, **options)

        return suspend

    owner, name = {"take": (Store, "_manifest"), "read": (Manifest, "followed_by"), "write": (os, "fsync")}[step]
    store.update_manifest({("task", "model", 1): "0" * 64}, "sample")
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, before(getattr(owner, name)))
        store.update_manifest({("task", "model", 2): "2" * 64}, "sample")
    assert suspended
    assert [run[:3] for run in store.current()] == [("task", "model", 1), ("other", "model", 1), ("task", "model", 2)]
    assert {path.name for path in store.folder.iterdir()} == {"manifest.json"}


def test_a_leaderboard_that_was_made_while_the_lock_was_lost_is_made_again(bench, monkeypatch):
    bench.write(seeds=[1])
    made = []
    write = board.write_leaderboard

    def suspended(folder, made_board):
        made.append(made_board)
        if len(made) == 2:  # the last one of the command
            (path,) = (folder / ".lock").iterdir()
            path.unlink()
        write(folder, made_board)

    monkeypatch.setattr(board, "write_leaderboard", suspended)
    bench.run()
    assert len(made) == 3


def test_who_lost_a_lease_empties_no_folder(tmp_path):
    lease = Leases().take(tmp_path)
    (tmp_path / "state").touch()
    assert lease.is_held()
    lease.path.unlink()
    lease.empty()
    assert (tmp_path / "state").exists() and lease.lost and not lease.replace(tmp_path / "state", b"new")
    assert (tmp_path / "state").read_bytes() == b""
    lease.release()


# Runs ------------------------------------------------------------------------------------------------------------


class Others:
    """Another command that does a run: it has the lease, and later leaves the record."""

    def __init__(self, bench: Bench, done: Path, monkeypatch: pytest.MonkeyPatch):
        self.bench, self.done = bench, done
        record = json.loads((done / "record.json").read_text())
        self.lease = Leases().take(bench.store.checkpoint_directory(record["fingerprint"]))
        seed = record["settings"]["seed"]
        self.place = bench.store.run_folder(record["fingerprint"], record["task"], record["model"], seed)
        monkeypatch.setattr(runner, "POLL_SECONDS", 0.05)

    def finish(self) -> None:
        assert self.lease is not None
        shutil.copytree(self.done, self.place)
        self.lease.release()


@pytest.fixture
def two_runs(tmp_path, sample_cache):
    """Two runs that were done elsewhere, and an empty results folder for the same benchmark."""
    bench = Bench(tmp_path, sample_cache)
    bench.write(models=["bert", "enct5"])
    bench.run()
    bench.results.rename(tmp_path / "elsewhere")
    bench.use_cache(sample_cache)
    return bench, next((tmp_path / "elsewhere").glob("b/runs/*/bert/seed*")), content(tmp_path / "elsewhere/b/runs")


def test_a_run_that_another_command_does_is_waited_for_and_not_done_again(two_runs, monkeypatch, capsys):
    bench, done, expected = two_runs
    others = Others(bench, done, monkeypatch)
    updates = Updates(monkeypatch)
    message = Lines.message

    def hear(display: Lines, text: str) -> None:
        message(display, text)
        if text.startswith("waiting"):
            threading.Timer(0.3, others.finish).start()

    monkeypatch.setattr(Lines, "message", hear)
    assert bench.command() == 0
    assert updates.new() == 4
    shown = capsys.readouterr().out
    assert "waiting for other commands, which do the last run" in shown
    assert "[2/2] cola · bert · seed 1: matthews_correlation" in shown
    assert content(bench.results / "b" / "runs") == expected
    assert shown.split("Train ex/s")[1].count("1 runs") == 0 and bench.record(model="bert").finished


def test_a_run_that_was_done_meanwhile_is_not_done_again(two_runs, monkeypatch):
    bench, done, expected = two_runs
    others = Others(bench, done, monkeypatch)
    finish, called = execute.result_of, []

    def result_of(*arguments):
        if not called:
            called.append(1)
            others.finish()
        return finish(*arguments)

    monkeypatch.setattr(execute, "result_of", result_of)
    updates = Updates(monkeypatch)
    bench.run()
    assert updates.new() == 4 and called
    assert content(bench.results / "b" / "runs") == expected


def test_the_run_of_a_dead_command_is_taken_over(two_runs, monkeypatch, dead):
    bench, done, expected = two_runs
    fingerprint = json.loads((done / "record.json").read_text())["fingerprint"]
    foreign(bench.store.checkpoint_directory(fingerprint), this_machine(), dead)
    updates = Updates(monkeypatch)
    bench.run()
    assert updates.new() == 8
    assert content(bench.results / "b" / "runs") == expected
    assert list((bench.results / ".work").iterdir()) == []


def test_a_run_that_fails_elsewhere_counts_as_failed_and_is_not_tried_at_once(two_runs, monkeypatch):
    bench, done, _ = two_runs
    others = Others(bench, done, monkeypatch)
    record = read_record(done)
    finish = execute.result_of

    def result_of(*arguments):
        bench.store.write(record.model_copy(update={"status": "failed", "error": "lost", "traceback": ""}))
        others.lease.release()
        return finish(*arguments)

    monkeypatch.setattr(execute, "result_of", result_of)
    updates = Updates(monkeypatch)
    assert bench.command() == 1
    assert updates.new() == 4
    assert bench.record(model="bert").error == "lost"


def test_a_child_waits_for_the_model_of_a_parent_that_another_command_trains(bench, monkeypatch):
    bench.write(tasks=["mnli", "rte"], init_from={"rte": "mnli"}, keep="best")
    bench.run()
    expected = content(bench.results / "b" / "runs")
    parent = bench.record("mnli")
    model, done, saved = bench.model_folder(parent), bench.folder / "done", bench.folder / "model"
    shutil.copytree(model, saved)
    shutil.copytree(parent.folder, done)
    shutil.rmtree(bench.store.folder)
    others = Others(bench, done, monkeypatch)
    updates = Updates(monkeypatch)

    def sleep(seconds: float) -> None:
        if others.lease is not None and not others.place.exists():
            shutil.copytree(saved, model)
            others.finish()

    monkeypatch.setattr(runner.time, "sleep", sleep)
    bench.run()
    assert updates.new() == 4
    assert content(bench.results / "b" / "runs") == expected


@pytest.mark.slow
def test_a_parent_that_another_command_trained_without_keeping_its_model_is_trained_again(bench, monkeypatch):
    bench.write(tasks=["mnli", "rte"], init_from={"rte": "mnli"})
    bench.run()
    expected = content(bench.results / "b" / "runs")
    done = bench.folder / "done"
    shutil.copytree(bench.record("mnli").folder, done)
    shutil.rmtree(bench.store.folder)
    others = Others(bench, done, monkeypatch)
    updates = Updates(monkeypatch)
    monkeypatch.setattr(runner.time, "sleep", lambda seconds: others.place.exists() or others.finish())
    bench.run()
    assert updates.new() == 8
    assert content(bench.results / "b" / "runs") == expected


def test_a_command_that_was_taken_for_dead_leaves_the_run_to_the_other(bench, monkeypatch):
    bench.write(checkpoint_every=0)
    bench.run()
    expected, done = content(bench.results / "b" / "runs"), bench.folder / "done"
    shutil.copytree(bench.record().folder, done)
    shutil.rmtree(bench.store.folder)
    monkeypatch.setattr(runner, "POLL_SECONDS", 0.05)
    pause, left = execute.pause, []

    def lose(context, run, training, state, directory):
        if training.step == 2 and not left:
            left.append(directory.lease)
            left[0].path.rename(left[0].path.with_name("lease.another-machine.7.0a"))
            left[0].lost = True
            threading.Timer(0.3, finish).start()
        pause(context, run, training, state, directory)

    def finish():
        target = bench.store.run_folder(fingerprint, "cola", "bert", 1)
        shutil.copytree(done, target)
        left[0].path.with_name("lease.another-machine.7.0a").unlink()

    fingerprint = json.loads((done / "record.json").read_text())["fingerprint"]
    monkeypatch.setattr(execute, "pause", lose)
    updates = Updates(monkeypatch)
    bench.run()
    assert updates.new() == 2
    assert content(bench.results / "b" / "runs") == expected


def test_models_of_parents_stay_while_another_command_is_at_work(bench, monkeypatch):
    bench.write(tasks=["mnli", "rte"], init_from={"rte": "mnli"})
    lease = Leases().take(Store(bench.results, "b").checkpoint_directory(FINGERPRINT))
    bench.run()
    assert lease is not None and bench.model_file(bench.record("mnli")).is_file()
    lease.release()
    bench.run()
    assert not bench.model_file(bench.record("mnli")).exists()
