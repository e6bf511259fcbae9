"""Paths that no file can have or that are something else, several users and threads, and what a call leaves behind."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import threading
from pathlib import Path

import pytest
from running import Bench, content

import harness
from harness.cli import main

# Paths -----------------------------------------------------------------------------------------------------------


def something_else(folder: Path) -> dict[str, str]:
    """Paths that are no results folder, no file, or nothing at all."""
    (folder / "file").touch()
    (folder / "dangling").symlink_to(folder / "nowhere" / "x")
    (folder / "loop").symlink_to(folder / "loop")
    os.mkfifo(folder / "fifo")
    for name, file in (("cache", ".cache"), ("benchmark", "b"), ("runs", "b/runs"), ("work", "b/.work")):
        path = folder / name / file
        path.parent.mkdir(parents=True)
        path.touch()
    names = ("file", "file/x", "dangling", "loop", "loop/x", "fifo", "cache", "benchmark", "runs", "work", "x" * 300)
    paths = {name: str(folder / name) for name in names}
    strange = {"NUL": f"{folder}/a\0b", "surrogate": f"{folder}/\udcff\ud800"}
    return {**paths, **strange, "device": "/dev/null", "proc": "/proc/no/x"}


def calls(path: str, bench: Bench) -> dict[str, list[str]]:
    return {
        "run": ["run", str(bench.path), "--results", path],
        "dry run": ["run", str(bench.path), "--results", path, "--dry-run"],
        "run it": ["run", path],
        "report": ["report", path],
        "report into": ["report", str(bench.results), "--plugins", path],
        "show": ["show", path],
        "submit": ["submit", path, "b", "--model", "bert"],
        "submit to": ["submit", str(bench.results), "b", "--model", "bert", "--output", path],
        "validate": ["validate", path],
        "tasks": ["tasks", path],
        "models": ["models", path],
        "check": ["check-submission", path],
        "status": ["status", path],
        "audit": ["audit", path],
        "errors": ["errors", path],
        "compare": ["compare", path, path],
        "compare in": ["compare", "a", "b", path],
        "export": ["export", path, "--to", "tensorboard", str(bench.folder / "out")],
        "export to": ["export", str(bench.record().folder), "--to", "hub", path],
        "predict": ["predict", path, str(bench.path)],
        "predict of": ["predict", str(bench.record().folder), path],
        "init": ["init", path],
    }


@pytest.fixture
def in_time():
    """No command may wait for what never comes: a pipe that nobody writes into."""

    def late(number, frame):
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def test_no_path_ends_a_command_with_a_traceback_or_a_hang(bench, tmp_path, capsys, in_time):
    bench.write(keep="best")
    bench.run()
    before = content(bench.results)
    (tmp_path / "strange").mkdir()
    for name, path in something_else(tmp_path / "strange").items():
        for call, arguments in calls(path, bench).items():
            code = main(arguments)  # raises what is no message
            if (call, name) != ("check", "file"):
                assert code in (0, 1, 2), (name, call)
            if name in ("NUL", "surrogate", "loop", "loop/x", "x" * 300):
                assert code == 2, (name, call)
    assert content(bench.results) == before
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("path", ["a\0b", "x" * 300])
def test_python_gets_the_same_message(bench, path):
    bench.write()
    functions = {
        "run": lambda: harness.run(bench.path, results=path),
        "report": lambda: harness.report(path),
        "show": lambda: harness.show(path),
        "submit": lambda: harness.submit(path, "b", "bert"),
    }
    for function in functions.values():
        with pytest.raises(harness.HarnessError, match=r"no path|File name too long"):
            function()


# Users, threads, the environment -----------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [0o002, 0o022, 0o077])
def test_files_follow_the_umask(bench, mask):
    """So that another user of a group can go on in the same folder, and nobody else reads what is private."""
    shutil.rmtree(bench.results)
    bench.write(keep="best", predict="test")
    before = os.umask(mask)
    try:
        bench.run()
    finally:
        os.umask(before)
    for path in bench.results.rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode & 0o666 == 0o666 & ~mask, f"{path}: {mode:o}"


def test_threads_of_one_process_share_a_results_folder(bench):
    bench.write(seeds=[1, 2])
    problems: list[BaseException] = []

    def run():
        try:
            bench.run()
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    assert [record.finished for record in bench.store.records()] == [True, True]
    assert not list(bench.results.rglob(".new.*")) and not list(bench.results.rglob("lease.*"))


@pytest.mark.parametrize("offline", [False, True])
def test_a_call_leaves_the_environment_as_it_was(bench, offline, monkeypatch):
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "0")
    monkeypatch.delenv("HF_UPDATE_DOWNLOAD_COUNTS", raising=False)
    bench.write()
    bench.run()  # libraries set variables of their own when they are imported
    before = dict(os.environ)
    bench.run(offline=offline)
    harness.report(bench.results)
    harness.show(bench.record().folder)
    with pytest.raises(harness.HarnessError):
        harness.run(bench.folder / "absent.yaml", offline=offline)
    assert dict(os.environ) == before
