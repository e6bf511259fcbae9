"""A diagnostic's data that is added after the training: the kept model answers it, and nothing is trained again."""

from __future__ import annotations

import json

import pytest
from official import official_file
from running import Bench, Updates

from harness import load_tasks
from harness.cli import main

RTE = "superglue_rte"
NEW = ("axb", "axg")


@pytest.fixture
def bench(tmp_path, sample_cache) -> Bench:
    (tmp_path / "official").mkdir()
    return Bench(tmp_path, sample_cache)


def write(bench: Bench, **settings) -> None:
    folder = str(bench.folder / "official")
    data = {RTE: "sample", "axb": folder, "axg": folder}
    bench.write(**{"tasks": [RTE], "data": data, "allow_partial": True, "keep": "all-seeds", **settings})


def add(bench: Bench, name: str) -> None:
    task = load_tasks()[name]
    path = bench.folder / "official" / task.files["test"].path
    path.parent.mkdir()
    path.write_bytes(official_file(task, "test", 20))


def content(record) -> dict:
    """All of a record that no clock and no log decides."""
    kept = json.loads((record.folder / "record.json").read_text())
    del kept["provenance"]
    return {**kept, "predictions": list(record.predictions()), "history": record.history()}


def test_a_kept_model_answers_what_is_new_as_if_it_had_been_there(bench, updates, tmp_path, sample_cache):
    write(bench, models=["bert", "t5"])
    bench.run()
    before = {model: bench.record(RTE, model) for model in ("bert", "t5")}
    assert before["bert"].missing["axb"] and updates.new()
    add(bench, "axb")
    bench.run()
    add(bench, "axg")
    bench.run()
    assert updates.new() == 0
    (tmp_path / "other").mkdir()
    other = Bench(tmp_path / "other", sample_cache)
    other.folder = bench.folder
    write(other, models=["bert", "t5"])
    other.run()
    assert updates.new()
    for model, old in before.items():
        record, trained = bench.record(RTE, model), other.record(RTE, model)
        assert set(record.scores) == {RTE, *NEW} and record.scores[RTE] == old.scores[RTE]
        assert record.fingerprint == trained.fingerprint != old.fingerprint
        assert record.efficiency == old.efficiency
        assert content(record) == content(trained)
        assert bench.has_model(record) and not bench.has_model(old)
        assert "axb: answered later" in record.log()


def test_without_a_kept_model_it_is_said_and_nothing_is_trained(bench, updates, capsys):
    write(bench, keep="none")
    bench.run()
    before = bench.record(RTE)
    assert updates.new()
    add(bench, "axb")
    assert bench.command() == 0 and updates.new() == 0
    words = "axb: its data is new, and the models of 1 finished run of superglue_rte, which answer it, were not kept"
    assert words in " ".join(capsys.readouterr().out.split())
    assert bench.record(RTE).fingerprint == before.fingerprint
    assert bench.command("--dry-run") == 0
    assert "1 run, 1 done" in (shown := capsys.readouterr().out) and "--retrain trains them again" in shown
    assert bench.command("--retrain") == 0 and updates.new()
    assert set(bench.record(RTE).scores) == {RTE, "axb"}


@pytest.mark.parametrize("keep", [pytest.param("all-seeds", marks=pytest.mark.slow), "none"])
def test_what_starts_from_the_task_is_not_trained_again_either(bench, updates, keep):
    folder = str(bench.folder / "official")
    data = {RTE: "sample", "wnli": "sample", "axb": folder, "axg": folder}
    write(bench, tasks=[RTE, "wnli"], init_from={"wnli": RTE}, data=data, keep=keep)
    bench.run()
    before = bench.record("wnli")
    assert updates.new()
    for name in NEW:
        add(bench, name)
        bench.run()
        bench.run()
        assert updates.new() == 0
        assert bench.record("wnli").fingerprint == before.fingerprint
        assert (name in bench.record(RTE).scores) is (keep != "none")


def test_a_damaged_model_is_trained_again_at_the_next_time(bench, updates, capsys):
    write(bench)
    bench.run()
    updates.new()
    file = bench.model_file(bench.record(RTE))
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    add(bench, "axb")
    assert bench.command() == 1 and updates.new() == 0
    assert "no answers to the new diagnostics" in capsys.readouterr().out


def test_a_dry_run_says_what_is_to_be_done(bench, updates, capsys):
    write(bench)
    bench.run()
    add(bench, "axb")
    assert main(["run", str(bench.path), "--results", str(bench.results), "--dry-run"]) == 0
    assert "evaluation needed" in capsys.readouterr().out


def test_test_predictions_follow_the_kept_model(bench, updates):
    write(bench, predict=["test"])
    bench.run()
    updates.new()
    add(bench, "axb")
    bench.run()
    assert updates.new() == 0 and isinstance(updates, Updates)
    assert bench.tests_of(bench.record(RTE)) is not None
