"""Runs in experiment trackers: event files of TensorBoard read back, and the others in their offline modes."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from answered import Answered, seeds
from running import Bench

from harness.cli import main
from harness.errors import HarnessError
from harness.export.trackers import Tracked, check_trackers, values_of
from harness.results.record import Record

pytest.importorskip("tensorboard")


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """The scalars of a run's event files."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def texts(folder: Path) -> list[str]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return events.Tags()["tensors"]


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> tuple[Bench, Record]:
    bench = Bench(tmp_path_factory.mktemp("tracked"), tmp_path_factory.mktemp("cache"))
    bench.write(track="tensorboard", recipe={"max_steps": 4, "evaluations": 2})
    bench.run()
    return bench, bench.record()


def test_a_run_under_way_is_tracked(done: tuple[Bench, Record]) -> None:
    bench, record = done
    folder = bench.results / "b" / "track" / "tensorboard" / "cola" / "bert" / "seed1"
    tracked = scalars(folder)
    losses = [(p["step"], p["loss"]) for p in record.history() if "loss" in p]
    assert tracked["loss"] == [(step, pytest.approx(loss)) for step, loss in losses]
    scores = [(p["step"], p["scores"]["validation"]["matthews_correlation"]) for p in record.history() if "scores" in p]
    assert tracked["validation/matthews_correlation"] == [(step, pytest.approx(score)) for step, score in scores]
    assert any("settings" in text for text in texts(folder))


def test_finished_records_are_tracked_too(done: tuple[Bench, Record], tmp_path: Path, capsys) -> None:
    bench, record = done
    assert main(["export", str(bench.results), "--to", "tensorboard", str(tmp_path / "tb")]) == 0
    assert "b: 1 run to tensorboard" in capsys.readouterr().out
    tracked = scalars(tmp_path / "tb" / "b" / "tensorboard" / "cola" / "bert" / "seed1")
    assert [step for step, _ in tracked["loss"]] == [p["step"] for p in record.history() if "loss" in p]
    [(step, value)] = tracked["best cola validation/matthews_correlation"]
    assert step == record.best_step and value == pytest.approx(
        record.scores["cola"]["validation"]["matthews_correlation"]
    )


def test_what_is_missing_is_one_message(monkeypatch: pytest.MonkeyPatch, done, capsys) -> None:
    found = importlib.util.find_spec
    gone = ("wandb", "mlflow")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name in gone else found(name, *a))
    with pytest.raises(HarnessError, match=r"wandb and mlflow are not installed: .*enct5-harness\[wandb,mlflow\]"):
        check_trackers(["tensorboard", "wandb", "mlflow"])
    bench, _ = done
    bench.write(track=["wandb"], recipe={"max_steps": 4, "evaluations": 2})
    assert bench.command() == 2  # before anything is trained
    assert "wandb is not installed" in capsys.readouterr().err
    with pytest.raises(HarnessError, match=r"there is no tracker 'wandv'\. Did you mean 'wandb'"):
        check_trackers(["wandv"])


def test_a_tracker_that_fails_does_not_end_the_run() -> None:
    said: list[str] = []

    class Broken:
        def log(self, values, step):
            raise OSError("the server is away")

    tracked = Tracked(said.append, {"wandb": Broken()})
    tracked.log({"step": 1, "loss": 0.5})
    tracked.log({"step": 2, "loss": 0.4})
    tracked.finish()
    assert said == ["wandb tracks no more: OSError: the server is away"]


def test_rows_become_flat_numbers() -> None:
    row = {"step": 3, "epoch": 0.5, "scores": {"validation": {"accuracy": 0.5}}, "selection_score": 0.5}
    assert values_of(row) == {"epoch": 0.5, "selection_score": 0.5, "validation/accuracy": 0.5}
    assert values_of({"step": 1, "loss": None}) == {}


# The others, which take a while to import and to start --------------------------------------------------------------


@pytest.fixture
def results(tmp_path: Path) -> Path:
    answered = Answered(tmp_path / "results")
    runs = seeds(answered, {"a": 0.85}, number=2)
    answered.store.update_manifest({(r.task, r.model, r.seed): r.fingerprint for r in runs}, {"data": "hub"})
    return tmp_path / "results"


@pytest.mark.slow
def test_mlflow(results: Path, tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    assert main(["export", str(results), "--to", "mlflow", str(tmp_path / "out")]) == 0
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'out' / 'mini' / 'mlflow' / 'mlflow.db'}")
    [experiment] = [found for found in client.search_experiments() if found.name == "mini"]
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"one/a/seed1", "one/a/seed2"}
    assert runs["one/a/seed1"].data.metrics["best one validation/accuracy"] == pytest.approx(0.85, abs=0.1)
    assert runs["one/a/seed1"].data.params["model"] == "a"


@pytest.mark.slow
def test_wandb(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert main(["export", str(results), "--to", "wandb", str(tmp_path / "out")]) == 0
    assert len(list((tmp_path / "out").rglob("*.wandb"))) == 2


@pytest.mark.slow
def test_trackio(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("trackio")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    assert main(["export", str(results), "--to", "trackio", str(tmp_path / "out")]) == 0
