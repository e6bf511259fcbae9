"""What records answered, by columns: what is read again, and what comes from the cache."""

from __future__ import annotations

from pathlib import Path

import pytest
from answered import Answered, seeds

import harness
from harness.results import answers

SHARES = {"best": 0.95, "middle": 0.9, "worst": 0.6}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A results folder with nine runs."""
    written(tmp_path)
    return tmp_path


def written(results: Path, number: int = 3) -> None:
    answered = Answered(results)
    records = seeds(answered, SHARES, number)
    answered.store.update_manifest({(r.task, r.model, r.seed): r.fingerprint for r in records})


@pytest.fixture
def read(monkeypatch) -> list[Path]:
    """The files of predictions that are read."""
    paths, original = [], answers._read
    monkeypatch.setattr(answers, "_read", lambda path: paths.append(path) or original(path))
    return paths


def made(results: Path) -> dict[str, bytes]:
    """What `report` and `compare` write and say."""
    harness.report(results)
    files = {path.name: path.read_bytes() for path in (results / "mini").iterdir() if path.is_file()}
    return {**files, "compare": harness.compare(results=results).text("md").encode()}


@pytest.mark.parametrize("small", [True, False])
def test_a_second_report_reads_the_predictions_of_new_runs_alone(results, read, monkeypatch, small):
    monkeypatch.setattr(answers, "WORTH_KEEPING", 2**30 if small else 0)
    first = made(results)
    assert len(read) == len(set(read)) == 9
    read.clear()
    assert made(results) == first and not read
    written(results, number=4)
    again = made(results)
    assert again != first
    assert sorted(path.parent.name[:5] for path in read) == ["seed4"] * 3


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", None])
def test_what_is_damaged_in_the_cache_is_read_again(results, read, content):
    first = made(results)
    files = [path for path in (results / ".cache" / "answers").rglob("*") if path.is_file()]
    assert len(files) == len(SHARES)
    for path in files:
        kept = path.read_bytes()
        path.write_bytes(kept.replace(b'"validation"', b'"test"') if content is None else content)
    read.clear()
    assert made(results) == first and len(read) == 9
