"""Dry runs and plans: without torch, without a network, and right about what is done."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hand_made import record as hand_made
from running import RECIPE, Bench

from harness.cli import main
from harness.planning.machine import this_device
from harness.planning.work import Work, read_plan
from harness.report.status import BenchmarkStatus, status_text

ROOT = Path(__file__).parents[2]
GUARD = """
import sys
def guard(event, arguments):
    if event.startswith("socket.") and event not in ("socket.__new__", "socket.gethostname"):
        print("NETWORK", event, file=sys.stderr, flush=True)
        raise RuntimeError("a socket was opened")
sys.addaudithook(guard)
from harness.cli import main
code = main(sys.argv[1:])
print("TORCH" if "torch" in sys.modules else "LIGHT", file=sys.stderr)
sys.exit(code)
"""


def apart(folder, *arguments, **variables):
    """A command in a process of its own that ends when a socket is used, and says whether it loaded torch."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    own = {"PYTHONPATH": str(ROOT), "HF_HOME": str(folder / "home"), **variables}
    command = [sys.executable, "-c", GUARD, *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, env={**kept, **own}, capture_output=True, text=True)
    assert done.returncode == 0 and "NETWORK" not in done.stderr, done.stdout + done.stderr
    assert "LIGHT" in done.stderr, "torch was loaded"
    return done.stdout


@pytest.fixture(scope="module")
def done(tmp_path_factory, sample_cache):
    """A benchmark of which one seed is done, on the precision that this machine takes."""
    bench = Bench(tmp_path_factory.mktemp("done"), sample_cache)
    write(bench)
    bench.run(seeds=[1])
    return bench


def write(bench, **changes):
    recipe = {**RECIPE, "precision": "auto"}
    return bench.write(tasks=["cola", "rte"], models=["bert", "t5"], seeds=[1, 2], recipe=recipe, **changes)


def states(text):
    return [" ".join(line.split()[3:5]) for line in text.splitlines() if line.startswith(("cola", "rte"))]


def test_a_dry_run_of_what_is_partly_done_needs_no_torch(done):
    text = apart(done.folder, "run", done.path, "--dry-run")
    assert text.startswith("b: 8 runs, 4 done")
    assert [state.split()[0] for state in states(text)] == ["done", "to", "done", "to"] * 2
    assert done.record("cola", "t5").fingerprint[:12] in text
    assert "to do: 4 runs, 16 steps, " in text and "FLOPs; about " in text
    assert f"on this device ({this_device()}), by runs of the same task and model" in text


def test_a_plan_needs_neither(done):
    text = apart(done.folder, "plan", done.path, "--devices", "1,4", "--price", "2", "--rate", "bert=1G")
    assert text.startswith("b: 8 runs, 4 done")
    lines = text.splitlines()
    assert [line.split()[0] for line in lines[2:7]] == ["model", "-----", "bert", "t5", "all"]
    assert "on 1 device" in lines[2] and "on 4 devices" in lines[2] and "cost" in lines[2]
    assert "the stated rate and runs of the same task and model" in text and "disk: " in text


def test_data_and_checkpoints_of_the_hub_are_not_asked_for(tmp_path):
    models = {
        "pinned": {"architecture": "bert", "checkpoint": "org/name", "revision": "a" * 40},
        "branch": {"architecture": "t5", "checkpoint": "org/other", "recipe": {"batch_tokens": 4096}},
    }
    entry = {"tasks": ["glue"], "models": ["pinned", "branch"], "data": "hub", "seeds": [1, 2]}
    (tmp_path / "b.yaml").write_text(json.dumps({"models": models, "benchmarks": {"b": entry}}))
    text = apart(tmp_path, "run", "b.yaml", "--dry-run", HF_ENDPOINT="http://127.0.0.1:9")
    assert text.startswith("b: 36 runs, 0 done") and states(text)[0] == "to do"
    assert "to do: 36 runs, " in text and "no estimate of time" in text and "no data here of cola" in text
    assert "harness plan takes one: --rate" in text
    text = apart(tmp_path, "plan", "b.yaml", "--rate", "1T", HF_ENDPOINT="http://127.0.0.1:9")
    assert "branch  " in text and "?" in text


def test_what_was_done_under_another_name_or_in_another_benchmark_is_found(done, tmp_path, capsys):
    entry = json.loads(done.path.read_text())
    entry["models"]["renamed"] = entry["models"]["bert"]
    entry["benchmarks"]["other"] = {**entry["benchmarks"]["b"], "models": ["renamed"], "seeds": [1]}
    (tmp_path / "other.yaml").write_text(json.dumps(entry))
    assert main(["run", str(tmp_path / "other.yaml"), "other", "--results", str(done.results), "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith("other: 2 runs, 2 done")


@pytest.mark.parametrize(
    "change",
    ["recipe.learning_rate=0.5", "recipe.precision=bf16", "recipe.max_steps=9", "recipe.compile=true"],
)
def test_with_other_settings_it_is_to_be_done(done, change, capsys):
    precision = done.record("cola").settings.recipe["precision"]
    assert main(["run", str(done.path), "--results", str(done.results), "--set", change, "--dry-run"]) == 0
    same = change == f"recipe.precision={precision}"
    assert capsys.readouterr().out.startswith(f"b: 8 runs, {4 if same else 0} done")


def test_another_tokenizer_and_another_machine_are_told_apart(done, capsys, monkeypatch):
    """Where all records are of another device, torch says what this one would do: the same, here."""
    monkeypatch.setattr("harness.runner.planned.this_device", lambda: "Some GPU")
    assert main(["run", str(done.path), "--results", str(done.results), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("b: 8 runs, 4 done") and "no run that is done here on this device (Some GPU)" in out
    monkeypatch.setattr("harness.runner.planned._resolved_precision", lambda run, engine: "fp16")
    assert main(["run", str(done.path), "--results", str(done.results), "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith("b: 8 runs, 0 done")
    monkeypatch.setattr("harness.runner.planned.PlannedResources.tokenizer_identity", lambda self, model: "other")
    assert main(["run", str(done.path), "--results", str(done.results), "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith("b: 8 runs, 0 done")


def test_a_run_keeps_what_its_runs_compute(done):
    works = read_plan(done.store.folder)
    assert {work.key for work in works} == {(t, m, 1) for t in ("cola", "rte") for m in ("bert", "t5")}
    record = done.record("cola", "bert")
    [work] = [work for work in works if work.key == ("cola", "bert", 1)]
    assert work.steps == record.steps and work.examples == record.steps * record.batch_size
    assert work.parameters == pytest.approx(record.parameters["total"], rel=0.1)
    assert work.flops == pytest.approx(record.efficiency.train_flops_per_example, rel=0.3)


def test_status_estimates_what_waits_by_what_it_computes():
    """Each run that is done makes it better: at first another task tells, then the same one."""
    times = {"total_seconds": 10.0, "train_seconds": 10.0}
    cola = hand_made("one", "bert", efficiency=times, batch_size=10, steps=10, counts={})
    works = [
        Work(task=task, model="bert", seed=seed, steps=100, examples=1000, evaluated=0, flops=flops)
        for task, flops in (("one", 1e9), ("rte", 3e9))
        for seed in (1, 2)
    ]
    status = BenchmarkStatus("b", done=[cola], waiting=["rte · bert · seed 1", "rte · bert · seed 2"], plan=works)
    assert status.seconds_left == pytest.approx(2 * 10.0 * (1000 * 3e9) / (100 * 1e9))
    assert "; about 10 min of work left" in status_text([status])
    status.done.append(cola.model_copy(update={"task": "rte", "steps": 100}))
    status.waiting.pop(0)
    assert status.seconds_left == pytest.approx(10.0)
    assert BenchmarkStatus("b", waiting=["rte · bert · seed 1"], plan=works).seconds_left is None
    unplanned = BenchmarkStatus("b", done=[cola], waiting=["rte · bert · seed 1"])
    assert unplanned.seconds_left == pytest.approx(10.0)
