"""Runs under way: what `status`, `report`, `show` and the dry run say of them, and what they leave on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from running import Bench, content

import harness
from harness.cli import main
from harness.results.live import About, LiveFiles, under_way
from harness.training.update import Training

STEPS = {"max_steps": 60, "eval_every": 40}
SETTINGS = {"recipe": STEPS, "seeds": [1, 2], "checkpoint_every": 0}


@pytest.fixture
def bench(tmp_path, sample_cache):
    return Bench(tmp_path, sample_cache)


def at_step(monkeypatch, step, action):
    """Do something before an update, once."""
    update, done = Training.update, []

    def watched(training):
        if training.step == step and not done:
            done.append(True)
            action()
        update(training)

    monkeypatch.setattr(Training, "update", watched)


def only_folder(bench: Bench) -> Path:
    [folder] = [path.parent for path in bench.results.glob(".work/*/run.json")]
    return folder


def test_others_see_a_run_while_it_is_under_way(bench, monkeypatch, capsys):
    seen = {}

    def look():
        capsys.readouterr()
        commands = {
            "status": ["status", str(bench.results)],
            "report": ["report", str(bench.results)],
            "dry": ["run", str(bench.path), "--results", str(bench.results), "--dry-run"],
            "show": ["show", str(only_folder(bench))],
        }
        for name, command in commands.items():
            assert main(command) == 0
            seen[name] = capsys.readouterr().out

    bench.write(**SETTINGS)
    at_step(monkeypatch, 45, look)
    bench.run()
    assert "b: 2 runs: 0 done, 1 running, 1 waiting" in seen["status"]
    assert "cola · bert · seed 1" in seen["status"] and "40 of 60" in seen["status"]
    assert "by" in seen["status"] and "process " in seen["status"] and "matthews_correlation" in seen["status"]
    assert "waiting: cola · bert · seed 2" in seen["status"]
    assert "running: cola · bert · seed 1, step 40 of 60" in seen["report"]
    assert "running, step 40 of 60" in seen["dry"] and "to do" in seen["dry"]
    assert "40 of 60" in seen["show"] and "training examples" in seen["show"] and "step 20: loss" in seen["show"]
    assert main(["status", str(bench.results)]) == 0
    assert capsys.readouterr().out == "b: 2 runs: 2 done\n"
    assert not list(bench.results.glob(".work/*/*"))  # the record has all of it
    assert bench.record().log().count("step 40:") == 2  # the loss and the scores


def test_a_stopped_run_is_said_to_be_and_its_later_rows_are_dropped_when_it_resumes(bench, monkeypatch, capsys):
    def interrupt():
        raise KeyboardInterrupt

    bench.write(**SETTINGS | {"seeds": [1], "checkpoint_every": 1e6})  # the state is never saved
    with monkeypatch.context() as patch:
        at_step(patch, 45, interrupt)
        with pytest.raises(KeyboardInterrupt):
            bench.run()
    folder = only_folder(bench)
    assert [json.loads(line)["step"] for line in (folder / "history.jsonl").read_text().splitlines()][-1] == 40
    assert main(["status", str(bench.results)]) == 0
    out = capsys.readouterr().out
    assert "0 done, 1 stopped" in out and "stopped: cola · bert · seed 1, step 40 of 60" in out

    steps = []

    def rows():
        text = (folder / "history.jsonl").read_text()
        steps.append([json.loads(line)["step"] for line in text.splitlines()])

    at_step(monkeypatch, 25, rows)
    bench.run()
    assert steps == [[0, 20]]


def test_what_a_run_shows_changes_nothing_of_its_record(bench, monkeypatch):
    bench.write(**SETTINGS | {"seeds": [1]})
    bench.run()
    expected = content(bench.store.folder / "runs")
    monkeypatch.setattr(LiveFiles, "update", lambda *_: None)
    other = bench.results.with_name("other")
    harness.run(bench.path, results=other)
    assert content(other / "b" / "runs") == expected


def test_a_failed_run_keeps_its_log(bench, monkeypatch):
    def fail():
        raise RuntimeError("a broken card")

    bench.write(**SETTINGS | {"seeds": [1]})
    at_step(monkeypatch, 45, fail)
    bench.run()
    record = bench.record()
    assert record.error == "RuntimeError: a broken card" and "step 40: loss" in record.log()


def test_a_disk_that_refuses_ends_the_showing_and_not_the_run(bench, monkeypatch):
    def refuse():
        folder = only_folder(bench)
        (folder / "run.log").unlink()
        (folder / "run.log").mkdir()

    bench.write(**SETTINGS | {"seeds": [1]})
    at_step(monkeypatch, 25, refuse)
    bench.run()
    assert bench.record().finished


@pytest.mark.parametrize(
    "name, damage",
    [
        ("run.json", b"{"),
        ("run.json", b'{"benchmark": "../b", "task": "t", "model": "m", "seed": 1, "steps": 9, "first_step": 0}'),
        ("run.json", b"[]"),
        ("history.jsonl", b'{"step": "many", "loss": 1}\n'),
        ("history.jsonl", b"[1]\n"),
        ("history.jsonl", b"\xff"),
        ("history.jsonl", b'{"loss": {}, "step": 1}\n'),
    ],
)
def test_what_is_damaged_is_left_out(tmp_path, name, damage):
    folder = tmp_path / "work" / ("a" * 64)
    folder.mkdir(parents=True)
    about = About(benchmark="b", task="t", model="m", seed=1, steps=9, first_step=0)
    LiveFiles(folder, about).update([{"step": 3, "loss": 0.5}], ["begun"])
    assert under_way(tmp_path / "work")["a" * 64].step == 3
    (folder / name).write_bytes(damage)
    assert under_way(tmp_path / "work") == {}


def test_a_row_that_is_just_being_written_is_not_read(tmp_path):
    folder = tmp_path / "work" / ("a" * 64)
    folder.mkdir(parents=True)
    about = About(benchmark="b", task="t", model="m", seed=1, steps=9, first_step=0)
    LiveFiles(folder, about).update([{"step": 3, "loss": 0.5}], [])
    with open(folder / "history.jsonl", "ab") as file:
        file.write(b'{"step": 4, "lo')
    assert under_way(tmp_path / "work")["a" * 64].step == 3
