"""The audit of a results folder: an honest one is clean, and every forgery is named, whatever its checksums say."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running import Bench

import harness
from harness.cli import main
from harness.io import to_json
from harness.results.record import HISTORY, PREDICTIONS

BENCH = {"tasks": ["cola", "stsb"], "models": ["bert", "t5"], "seeds": [1, 2]}


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory, sample_cache: Path) -> Path:
    """The results folder of a small benchmark."""
    bench = Bench(tmp_path_factory.mktemp("honest"), sample_cache)
    bench.write(**BENCH)
    bench.run()
    return bench.results


@pytest.fixture
def results(honest: Path, tmp_path: Path) -> Path:
    """A copy of it, to forge in."""
    shutil.copytree(honest, tmp_path / "results", ignore=shutil.ignore_patterns(".cache"))
    return tmp_path / "results"


def run_folder(results: Path, model: str = "bert", seed: int = 1, task: str = "cola") -> Path:
    [folder] = (results / "b" / "runs" / task / model).glob(f"seed{seed}-*")
    return folder


def forge(folder: Path, name: str, change: Callable[[Any], Any]) -> None:
    """Change a file of a record (of .jsonl all lines), and make the checksums fit."""
    path = folder / name
    if name.endswith("l"):
        rows = change([json.loads(line) for line in path.read_text().splitlines()])
        path.write_bytes(b"".join(to_json(row, indent=None) for row in rows))
    else:
        path.write_bytes(to_json(change(json.loads(path.read_text()))))
    sums = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ("record.json", PREDICTIONS, HISTORY)
    }
    (folder / "checksums.json").write_bytes(to_json(sums))


def test_an_honest_folder_is_clean(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = harness.audit(results)
    assert (found.differences, found.unchecked) == ((), ())
    assert (found.records, found.scores, found.tables) == (8, 12, 9)
    assert main(["audit", str(results)]) == 0
    assert "8 records, 12 scores, 9 tables: nothing differs" in capsys.readouterr().out


def named(results: Path, *words: str) -> None:
    """The audit names something with these words, and the command says so."""
    differences = harness.audit(results).differences
    assert any(all(word in difference for word in words) for difference in differences), differences
    assert main(["audit", str(results)]) == 1


def test_a_forged_score_is_named(results: Path) -> None:
    def better(record: Any) -> Any:
        record["scores"]["cola"]["validation"]["matthews_correlation"] = 0.777
        return record

    forge(run_folder(results), "record.json", better)
    named(results, "bert/seed1", "matthews_correlation is 77.7000 in the record and")
    named(results, "in the history")
    named(results, "leaderboard.md", "by the records")


def test_a_forged_prediction_is_named(results: Path) -> None:
    def right(rows: Any) -> Any:
        wrong = next(row for row in rows if row["prediction"] != row["label"])
        wrong["prediction"] = wrong["label"]
        return rows

    forge(run_folder(results), PREDICTIONS, right)
    named(results, "bert/seed1", "by the model's scores")
    named(results, "by the predictions")


def test_a_forged_text_is_named(results: Path) -> None:
    def flipped(rows: Any) -> Any:
        rows[3]["output"] = "acceptable" if rows[3]["prediction"] == 0 else "unacceptable"
        return rows

    forge(run_folder(results, "t5"), PREDICTIONS, flipped)
    named(results, "t5/seed1", "example 3", "by the model's output")


def test_a_forged_label_is_named(results: Path) -> None:
    def flipped(rows: Any) -> Any:
        rows[5]["label"] = 1 - rows[5]["label"]
        return rows

    forge(run_folder(results), PREDICTIONS, flipped)
    named(results, "example 5: the label is")
    named(results, "the labels are not those of")


def test_labels_are_compared_between_runs_where_the_data_is_not_at_hand(results: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    clean = harness.audit(results, data=tmp_path / "empty")
    assert clean.differences == () and any("the labels are those of the predictions" in n for n in clean.unchecked)

    def flipped(rows: Any) -> Any:
        rows[5]["label"] = 1 - rows[5]["label"]
        return rows

    forge(run_folder(results, seed=2), PREDICTIONS, flipped)
    differences = harness.audit(results, data=tmp_path / "empty").differences
    assert any("the labels are not those of" in difference for difference in differences)


def test_a_run_in_the_place_of_another_is_named(results: Path) -> None:
    first, second = run_folder(results), run_folder(results, seed=2)
    name, fingerprint = second.name, json.loads((second / "record.json").read_text())["fingerprint"]
    shutil.rmtree(second)
    shutil.copytree(first, second)
    named(results, name, "the record of another run, copied or renamed")

    def renamed(record: Any) -> Any:
        return {**record, "fingerprint": fingerprint, "settings": {**record["settings"], "seed": 2, "recipe": {}}}

    forge(second, "record.json", renamed)
    named(results, name, "its fingerprint is not that of its settings")
    named(results, name, "to the last digit, those of")


def test_results_of_another_seed_are_named(results: Path) -> None:
    first, second = run_folder(results), run_folder(results, seed=2)
    scores = json.loads((first / "record.json").read_text())["scores"]
    shutil.copy(first / PREDICTIONS, second / PREDICTIONS)
    forge(second, "record.json", lambda record: {**record, "scores": scores})
    named(results, "to the last digit, those of")


def test_a_forged_history_is_named(results: Path) -> None:
    forge(run_folder(results), HISTORY, lambda rows: [
        {**row, "selection_score": 0.9} if "selection_score" in row else row for row in rows
    ])  # fmt: skip
    named(results, "the selection score is")


def test_missing_predictions_and_files_are_named(results: Path) -> None:
    forge(run_folder(results), PREDICTIONS, lambda rows: rows[:-1])
    named(results, "there are predictions of 29 examples; the data has 30")
    forge(run_folder(results), PREDICTIONS, lambda rows: [])
    named(results, "cola validation has scores, but no predictions")
    (run_folder(results, seed=2) / PREDICTIONS).unlink()
    named(results, "predictions.jsonl is missing")


@pytest.mark.parametrize(
    "name", ["leaderboard.md", "leaderboard.csv", "leaderboard.json", "efficiency.md", "efficiency.csv"]
)
def test_a_forged_table_is_named(results: Path, name: str) -> None:
    path = results / "b" / name
    path.write_text(path.read_text().replace("bert", "best", 1))
    named(results, name, "and by the records")
    path.unlink()
    named(results, name, "is missing")


def test_a_table_that_no_record_gives_is_named(results: Path) -> None:
    (results / "b" / "sweep.md").write_text("# Sweep\n")
    named(results, "sweep.md: no record gives such a table")


def test_the_way_of_showing_the_spread_is_no_difference(results: Path) -> None:
    for interval in ("std", "ci"):
        harness.report(results, interval=interval)
        assert harness.audit(results).differences == ()
