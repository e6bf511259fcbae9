"""Results in the forms of lm-eval and Every Eval Ever: the published schemas, and the numbers of the leaderboard."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from answered import Answered, seeds
from hand_made import SUITES, TASKS

from harness.cli import main
from harness.export.write import write_exports
from harness.leaderboard.board import Leaderboard
from harness.report.boards import leaderboard_of
from harness.results.store import Store
from harness.task.plugins import Plugins

SCHEMAS = Path(os.environ.get("HARNESS_DATA", "")) / "every_eval_ever"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Leaderboard]:
    """Two models, three seeds, two tasks, of which one has two splits and a diagnostic."""
    answered = Answered(tmp_path_factory.mktemp("results"))
    runs = [run for name in ("one", "nli") for run in seeds(answered, {"good": 0.85, "poor+model": 0.6}, name=name)]
    current = {(r.task, r.model, r.seed): r.fingerprint for r in runs}
    answered.store.update_manifest(current, {"data": "hub"})
    store = Store(answered.store.results, "mini")
    write_exports([store], Plugins(TASKS, SUITES), ["lm-eval", "eee"])
    return store.folder / "export", leaderboard_of([store], TASKS, SUITES)


def files(folder: Path, form: str) -> dict[str, Any]:
    return {path.parent.name: json.loads(path.read_text()) for path in (folder / form).glob("*/*.json")}


def test_lm_eval_has_the_means_and_standard_errors(made: tuple[Path, Leaderboard]) -> None:
    folder, board = made
    content = files(folder, "lm-eval")
    assert set(content) == {"good", "poor+model"}
    good = content["good"]
    cell = board.rows[0].cells["one"]
    assert cell.score and cell.interval
    shown = good["results"]["one"]
    assert shown["acc,none"] == pytest.approx(cell.score.mean)
    assert shown["acc_stderr,none"] == pytest.approx(cell.interval.se)
    assert {"nli_matched", "nli_mismatched", "probe"} <= set(good["results"])
    assert good["results"]["probe"]["alias"] == "probe" and "mcc,none" in good["results"]["probe"]
    for key in ("configs", "versions", "n-shot", "higher_is_better", "n-samples", "group_subtasks"):
        assert good[key].keys() == good["results"].keys(), key
    assert good["higher_is_better"]["one"] == {"acc": True} and good["config"]["seeds"] == [1, 2, 3]
    assert good["lm_eval_version"] == "0.4.13" and isinstance(good["date"], float)


@pytest.mark.skipif(not SCHEMAS.is_dir(), reason="HARNESS_DATA has no every_eval_ever/")
def test_every_eval_ever_takes_the_records(made: tuple[Path, Leaderboard]) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((SCHEMAS / "eval.schema.json").read_text())
    for content in files(made[0], "eee").values():
        jsonschema.validate(content, schema)


def test_every_eval_ever_has_the_intervals(made: tuple[Path, Leaderboard]) -> None:
    folder, board = made
    good = files(folder, "eee")["good"]
    results = {result["evaluation_name"]: result for result in good["evaluation_results"]}
    cell = board.rows[0].cells["one"]
    assert cell.interval
    details = results["one"]["score_details"]
    interval = details["uncertainty"]["confidence_interval"]
    assert (interval["lower"], interval["upper"]) == pytest.approx((cell.interval.low, cell.interval.high))
    assert interval["confidence_level"] == 0.95 and details["details"].keys() == {"seed 1", "seed 2", "seed 3"}
    assert (
        results["probe"]["metric_config"]["min_score"] == -1 and not results["one"]["metric_config"]["lower_is_better"]
    )
    assert results["one"]["source_data"]["source_type"] in ("hf_dataset", "other")


def test_the_same_files_again(made: tuple[Path, Leaderboard], tmp_path: Path) -> None:
    folder, _ = made
    before = {path.name: path.read_bytes() for path in folder.rglob("*.json")}
    paths = write_exports([Store(folder.parents[1], "mini")], Plugins(TASKS, SUITES), ["lm-eval", "eee"])
    assert {path.name: path.read_bytes() for path in paths} == before
    shutil.copytree(folder.parents[1], tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "mini" / "export")
    assert main(["report", str(tmp_path / "copy"), "--export", "lm-eval,eee"]) == 0
    assert len(list((tmp_path / "copy" / "mini" / "export").rglob("*.json"))) == 4


def test_an_unknown_form_is_refused(made: tuple[Path, Leaderboard], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(made[0].parents[1]), "--export", "lm_eval"]) == 2
    assert "there is no export 'lm_eval'. Did you mean 'lm-eval'" in capsys.readouterr().err
