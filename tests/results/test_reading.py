"""Records that are read again: what comes from packs, what is read anew, and many that are read by all cores."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import time
from pathlib import Path

import pytest
from answered import Answered

import harness
from harness.io import write_checked
from harness.results import ahead, reading, readings
from harness.results.folder import replace_efficiency
from harness.results.record import HISTORY, PREDICTIONS, Efficiency, Record
from harness.results.store import Store

SHARES = {"best": 0.95, "middle": 0.9, "worst": 0.6}


def curve(seed: int) -> list[dict[str, float]]:
    """A history."""
    return [{"step": step, "loss": seed / step, "selection_score": step / 4} for step in (1, 2, 3)]


@pytest.fixture(autouse=True)
def settled(monkeypatch) -> None:
    """Records are packed however new they are."""
    monkeypatch.setattr(reading, "SETTLED", 0)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A results folder with nine runs."""
    written(tmp_path / "results")
    return tmp_path / "results"


def written(results: Path, number: int = 3) -> None:
    answered = Answered(results)
    records = [
        answered("one", model, seed, share, history=curve(seed))
        for model, share in SHARES.items()
        for seed in range(1, number + 1)
    ]
    answered.store.update_manifest({(r.task, r.model, r.seed): r.fingerprint for r in records})


@pytest.fixture
def read(monkeypatch) -> list[str]:
    """The records and histories that are read, by model and seed."""
    names: list[str] = []
    load, history = reading.load, readings._history

    def loaded(folder: Path, **options):
        names.append(f"{folder.parent.name} {folder.name[:5]}")
        return load(folder, **options)

    def drawn(record: Record):
        names.append(f"{record.model} seed{record.seed} curve")
        return history(record)

    monkeypatch.setattr(reading, "load", loaded)
    monkeypatch.setattr(readings, "_history", drawn)
    return names


def made(results: Path) -> dict[str, bytes]:
    """The files of a report."""
    harness.report(results)
    return {path.name: path.read_bytes() for path in (results / "mini").iterdir() if path.is_file()}


def current(results: Path) -> list[Record | None]:
    return [record for *_, record in Store(results, "mini").current()]


def test_a_second_report_reads_new_runs_alone(results, read):
    first = made(results)
    assert len(read) == len(set(read)) == 18
    read.clear()
    assert made(results) == first and not read
    written(results, number=4)
    assert made(results) != first
    assert sorted(read) == sorted(f"{model} seed4{what}" for model in SHARES for what in ("", " curve"))


def test_records_from_packs_are_those_of_the_files(results):
    expected = current(results)
    (pack,) = (results / ".cache" / "records" / "mini").glob("best.jsonl")
    assert len(pack.read_bytes().splitlines()) == 4
    packed = current(results)
    assert packed == expected
    for one, other in zip(packed, expected, strict=True):
        assert one is not None and other is not None
        assert (one.folder, one.predictions_digest) == (other.folder, other.predictions_digest)
        assert one.efficiency == other.efficiency and one.history_digest == other.history_digest
        assert list(one.predictions()) == list(other.predictions()) and one.history() == other.history()
        assert json.dumps(one.scores) == json.dumps(other.scores)


def test_undefined_scores_and_the_order_of_metrics_survive(results, read):
    store = Store(results, "mini")
    record = store.asked_for()[0][-1]
    assert record is not None and record.folder is not None
    scores = {"one": {"validation": {"b": math.nan, "a": 0.5}}}
    column = {"one": {"title": "one", "suite": "one", "parts": [["validation", "b"], ["validation", "a"]]}}
    changed = Record.model_validate({**dict(record), "scores": scores, "columns": column, "folder": None})
    shutil.rmtree(record.folder)
    store.write(changed)
    for _ in range(2):
        one = current(results)[0]
        assert one is not None and list(one.scores["one"]["validation"]) == ["b", "a"]
        assert math.isnan(one.scores["one"]["validation"]["b"])
    assert len(read) == 9


@pytest.mark.parametrize("name", ["record.json", PREDICTIONS, HISTORY, "checksums.json"])
def test_a_change_that_leaves_size_and_time_is_seen(results, name):
    current(results)
    record = current(results)[0]
    assert record is not None and record.folder is not None
    path = record.folder / name
    status, content = path.stat(), path.read_bytes()
    with open(path, "r+b") as file:
        file.write(content[:-2] + bytes([content[-2] ^ 1]) + content[-1:])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    store = Store(results, "mini")
    assert store.current()[0][-1] is None
    assert any(str(record.folder) in warning for warning in store.warnings)


@pytest.mark.parametrize("name", ["record.json", PREDICTIONS, HISTORY, "efficiency.json"])
def test_a_file_that_is_gone_is_missed(results, name):
    current(results)
    record = current(results)[0]
    assert record is not None and record.folder is not None
    (record.folder / name).unlink()
    store = Store(results, "mini")
    again = store.current()[0][-1]
    assert again is None if name != "efficiency.json" else again is not None and again.efficiency == Efficiency()
    assert any(str(record.folder) in warning for warning in store.warnings)


def test_efficiency_measured_later_is_shown(results):
    current(results)
    record = current(results)[0]
    assert record is not None
    replace_efficiency(record, Efficiency(total_seconds=7.0))
    for _ in range(2):
        again = current(results)[0]
        assert again is not None and again.efficiency.total_seconds == 7.0


def test_a_record_that_was_just_written_is_read_again(results, read, monkeypatch):
    monkeypatch.setattr(reading, "SETTLED", 3600 * 10**9)
    current(results)
    assert not (results / ".cache" / "records").exists()
    current(results)
    assert len(read) == 18


def test_a_folder_that_was_moved_has_records_that_are_there(results):
    current(results)
    moved = results.rename(results.with_name("moved"))
    for record in current(moved):
        assert record is not None and record.folder is not None and record.folder.is_relative_to(moved)
        assert record.folder.is_dir()


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"sealed", None])
def test_packs_that_are_damaged_or_of_another_version_are_made_again(results, read, content):
    first = made(results)
    files = [path for kind in ("records", "curves") for path in (results / ".cache" / kind).rglob("*.jsonl")]
    assert len(files) == 2 * len(SHARES)
    for path in files:
        kept = path.read_bytes()
        path.write_bytes(kept.replace(b'"', b"'") if content is None else content)
        if content == b"sealed":
            write_checked(path, b'["one/seed1", {"other": 1}]\n{"no": "row"}')
    read.clear()
    assert made(results) == first and len(read) == 18
    read.clear()
    assert made(results) == first and not read


def test_a_folder_that_is_only_to_be_read_is_read(results, monkeypatch):
    first = made(results)
    shutil.rmtree(results / ".cache")
    (results / ".cache").write_bytes(b"in the way")
    assert made(results) == first


# Many ------------------------------------------------------------------------------------------------------------


def test_many_records_are_read_by_several_processes(results, read, monkeypatch):
    first = made(results)
    packs = {path: path.read_bytes() for path in (results / ".cache").rglob("*.jsonl")}
    shutil.rmtree(results / ".cache")
    read.clear()
    monkeypatch.setattr(ahead, "MANY", 9)
    monkeypatch.setattr(ahead, "cores", lambda: 2)
    time.sleep(2.1)  # the processes pack what has settled
    assert made(results) == first
    assert not read, "all came from the packs of the processes"
    assert {path: path.read_bytes() for path in (results / ".cache").rglob("*.jsonl")} == packs


@pytest.mark.parametrize("executable", [shutil.which("false"), "/no/such/program"])
def test_processes_that_do_not_start_are_done_without(results, monkeypatch, executable):
    first = made(results)
    shutil.rmtree(results / ".cache")
    monkeypatch.setattr(ahead, "MANY", 9)
    monkeypatch.setattr(ahead, "cores", lambda: 2)
    monkeypatch.setattr(sys, "executable", executable)
    assert made(results) == first


@pytest.mark.parametrize(("many", "cores"), [(10, 2), (9, 1)])
def test_few_records_and_a_single_core_start_no_process(results, monkeypatch, many, cores):
    monkeypatch.setattr(ahead, "MANY", many)
    monkeypatch.setattr(ahead, "cores", lambda: cores)
    monkeypatch.setattr(ahead, "_share_out", lambda shares: pytest.fail("not asked for"))
    assert len(current(results)) == 9
