"""Runs of a benchmark: done once, recorded always, and the same whenever they are the same."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from running import RECIPE, UNMOVED, WRECK, caveats, content, evaluations, losses, tiny
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForMaskedLM

import harness
from harness.cli import main
from harness.config.benchmark import read_benchmarks
from harness.errors import HarnessError
from harness.models.tokenizers import sample_tokenizer
from harness.results.leases import Leases
from harness.results.store import Store
from harness.runner.plan import HELD_OUT, SELECTED, expand
from harness.runner.resources import Resources
from harness.training.update import Training

STEPS = RECIPE["max_steps"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, sample_cache):
    """A tiny pretrained BERT with its tokenizer."""
    folder = tmp_path_factory.mktemp("checkpoint")
    tokenizer = sample_tokenizer("bert", sample_cache)
    tokenizer.save_pretrained(folder)
    config = AutoConfig.for_model(vocab_size=len(tokenizer), **tiny("bert")["config"])
    AutoModelForMaskedLM.from_config(config).save_pretrained(folder)
    return folder


# The same again --------------------------------------------------------------------------------------------------


def test_the_same_command_again_trains_nothing_and_prints_the_same_table(bench, monkeypatch, capsys):
    bench.write(models=["bert", "t5"])
    assert bench.command() == 0
    first = capsys.readouterr().out
    before = content(bench.results / "b")

    def update(training):
        raise AssertionError("trained again")

    monkeypatch.setattr(Training, "update", update)
    assert bench.command() == 0
    again = capsys.readouterr().out
    table = first[first.index("CoLA: no model") :]
    assert again.endswith(table)
    assert "2 runs, 2 of them done" in again
    assert content(bench.results / "b") == before
    assert bench.run().text in table


def test_the_same_run_leaves_the_same_bytes_in_two_results_folders(bench, sample_cache):
    bench.write(models=["bert", "enct5", "t5"], tasks=["stsb"])
    bench.run()
    first = content(bench.results / "b" / "runs")
    bench.results = bench.folder / "elsewhere"
    bench.use_cache(sample_cache)
    bench.run()
    assert content(bench.results / "b" / "runs") == first
    assert {name.split("/")[-1] for name in first} == {
        "record.json", "predictions.jsonl", "history.jsonl", "checksums.json"
    }  # fmt: skip
    assert len(first) == 3 * 4


def test_only_what_is_missing_runs(bench, updates):
    bench.write()
    bench.run()
    assert updates.new() == STEPS
    kept = content(bench.results / "b" / "runs")
    bench.run(seeds=[1, 2])
    assert updates.new() == STEPS
    bench.write(models=["bert", "t5"], seeds=[1, 2])
    bench.run()
    assert updates.new() == 2 * STEPS
    bench.write(models=["bert", "t5"], seeds=[1, 2], tasks=["cola", "sst2"])
    board = bench.run()
    assert updates.new() == 4 * STEPS
    assert kept.items() <= content(bench.results / "b" / "runs").items()
    assert [row.model for row in board.rows] == ["bert", "t5"]
    assert all(row.cell("sst2").status == row.cell("cola").status == "done" for row in board.rows)
    assert board.rows[0].cell("cola").score.n == 2


def test_a_changed_recipe_is_a_new_run_and_the_old_one_is_kept(bench, updates):
    bench.write()
    bench.run()
    first = bench.record()
    bench.run(settings={"recipe.weight_decay": "0.1"})
    second = bench.record()
    assert second.fingerprint != first.fingerprint
    assert second.settings.recipe["weight_decay"] == 0.1
    assert {r.fingerprint for r in bench.store.records()} == {first.fingerprint, second.fingerprint}
    assert updates.new() == 2 * STEPS
    bench.run()
    assert updates.new() == 0
    assert bench.record().fingerprint == first.fingerprint


def test_a_mean_is_over_seeds_of_one_recipe(bench, updates):
    bench.write(seeds=[1, 2])
    bench.run()
    kept = bench.record(seed=2).fingerprint
    assert bench.command("--seeds", "1", "--set", "recipe.learning_rate=1e-2") == 0
    assert [entry[2] for entry in bench.store.current()] == [1]
    updates.new()
    bench.run()  # the old recipe again: its records are there
    assert updates.new() == 0 and bench.record(seed=2).fingerprint == kept


def test_all_rows_say_on_which_data_the_checkpoint_was_chosen(bench):
    bench.write()
    assert SELECTED in bench.run().caveats
    bench.write(selection="holdout")
    assert HELD_OUT in bench.run().caveats and "best checkpoint chosen on a held-out part" in bench.run().text


def test_report_leaves_the_tables_of_a_run_as_they_are(bench):
    """Also of a task that the benchmark file alone defines, and a diagnostic without its model."""
    sentence = "Anna\tB-name\nBell\tI-name\nsold\tO\n{}\tO\nhats\tO\nin\tO\nRome\t{}\n\n"
    rows = (sentence.format(number, tag) for number in range(20) for tag in ("O", "B-name"))
    (bench.folder / "names.conll").write_text("".join(rows))
    bench.write(tasks=["names", "cola", "ax"])
    document = json.loads(bench.path.read_text())
    document["tasks"] = {"names": {"problem_type": "token_classification", "train": "names.conll"}}
    bench.path.write_text(json.dumps(document))
    bench.run()
    before = {path.name: path.read_bytes() for path in bench.store.folder.glob("leaderboard.*")}
    assert b"entity F1" in before["leaderboard.md"] and b"AX" in before["leaderboard.md"]
    assert main(["report", str(bench.results)]) == 0
    assert {path.name: path.read_bytes() for path in bench.store.folder.glob("leaderboard.*")} == before


def test_names_are_labels_of_one_run(bench, updates):
    """A second name of a model, also in one command, and a renamed one."""
    bench.models["twin"] = bench.models["bert"]
    bench.write(models=["twin", "bert"])
    board = bench.run()
    assert updates.new() == STEPS
    assert [(row.model, row.cell("cola").status) for row in board.rows] == [("twin", "done"), ("bert", "done")]
    assert bench.record(model="twin").scores == bench.record(model="bert").scores
    bench.models["renamed"] = bench.models.pop("twin")
    del bench.models["bert"]
    bench.write(models=["renamed"])
    board = bench.run()
    assert updates.new() == 0 and [row.model for row in board.rows] == ["renamed"]
    assert "renamed" in board.markdown and "twin" not in board.markdown
    assert bench.record(model="renamed").model == "renamed"


def test_two_benchmarks_of_a_results_folder_share_their_runs(bench, updates, capsys):
    bench.write(tasks=["wnut17"], predict=["test"], keep="none")
    document = json.loads(bench.path.read_text())
    document["benchmarks"]["c"] = {**document["benchmarks"]["b"], "seeds": [1, 2]}
    bench.path.write_text(json.dumps({**document, "default": "b"}))

    def run_c():
        return harness.run(bench.path, "c", results=bench.results)["c"]

    bench.run()
    assert updates.new() == STEPS
    board = run_c()
    assert updates.new() == STEPS  # of seed 2
    assert board.rows[0].cells["wnut17"].done == 2
    both = Store(bench.results, "c")
    first, second = (record for *_, record in both.current())
    assert first.folder == bench.record("wnut17").folder and first.tests.folder.is_relative_to(bench.results / "b")
    assert second.folder.is_relative_to(bench.results / "c")
    assert main(["report", str(bench.results), "--benchmark", "c"]) == 0 and board.text in capsys.readouterr().out
    shutil.rmtree(bench.results / "b")  # what lay there is simply to be done again
    assert (
        main(["report", str(bench.results), "--benchmark", "c"]) == 0
        and "seed 1: no record yet" in capsys.readouterr().out
    )
    assert run_c().rows[0].cells["wnut17"].done == 2 and updates.new() == STEPS
    assert Store(bench.results, "c").current()[0][3].folder.is_relative_to(bench.results / "c")


def test_a_damaged_or_failed_record_of_another_benchmark_is_not_used(bench, updates):
    bench.write()
    document = json.loads(bench.path.read_text())
    document["benchmarks"]["c"] = document["benchmarks"]["b"]
    bench.path.write_text(json.dumps({**document, "default": "b"}))
    bench.run()
    file = bench.record().folder / "record.json"
    file.write_bytes(file.read_bytes().replace(b'"finished"', b'"failed"  '))
    updates.new()
    harness.run(bench.path, "c", results=bench.results)
    assert updates.new() == STEPS


def test_a_run_that_another_benchmark_does_is_waited_for(bench, monkeypatch):
    """Leases are those of the results folder: the same run is not trained twice at once."""
    bench.write()
    document = json.loads(bench.path.read_text())
    document["benchmarks"]["c"] = document["benchmarks"]["b"]
    bench.path.write_text(json.dumps({**document, "default": "b"}))
    bench.run()
    fingerprint = bench.record().fingerprint
    moved = bench.folder / "moved"
    shutil.move(bench.record().folder, moved)
    target = Path(bench.store.run_folder(fingerprint, "cola", "bert", 1))
    lease = Leases().take(bench.store.checkpoint_directory(fingerprint))

    def finish(seconds):
        shutil.move(moved, target)
        lease.release()

    monkeypatch.setattr("harness.runner.runner.time.sleep", finish)

    def update(training):
        raise AssertionError("trained again")

    monkeypatch.setattr(Training, "update", update)
    board = harness.run(bench.path, "c", results=bench.results)["c"]
    assert board.rows[0].cells["cola"].status == "done"


def test_own_tasks_keep_their_place_and_heading_in_later_reports(bench):
    """Columns in the order of the file, also of several suites and of tasks without a record yet."""
    (bench.folder / "mine.tsv").write_text(
        "text\tlabel\n" + "".join(f"film {i}\t{'good' if i % 3 else 'bad'}\n" for i in range(40))
    )
    own = {"problem_type": "single_label_classification", "text": "text", "train": "mine.tsv"}
    several = {**own, "metrics": ["macro_f1", "accuracy"]}
    bench.write(tasks=["zebra", "cola", "apple", "mango", "ax"])
    document = json.loads(bench.path.read_text())
    tasks = {"zebra": several, "apple": {**own, "suite": "fruit"}, "mango": {**several, "selection_metric": "mean"}}
    bench.path.write_text(json.dumps({**document, "tasks": tasks}))
    board = bench.run(tasks=["zebra", "cola"])
    assert [section.title for section in board.sections] == ["GLUE", "b", "fruit"]
    assert [column.title for column in board.sections[1].columns] == ["zebra", "mango"]
    record = bench.record("zebra")
    assert list(record.scores["zebra"]["validation"]) == ["macro_f1", "accuracy"]
    assert record.selection_score == record.scores["zebra"]["validation"]["macro_f1"]
    assert "selection score (macro F1)" in harness.show(record.folder)

    def files():
        return {path.name: path.read_bytes() for path in bench.store.folder.glob("*.*") if path.is_file()}

    before = files()
    assert main(["report", str(bench.results)]) == 0
    assert files() == before
    bench.run()
    record = bench.record("mango")
    scores = record.scores["mango"]["validation"]
    assert record.selection_score == pytest.approx((scores["macro_f1"] + scores["accuracy"]) / 2)
    before = files()
    assert main(["report", str(bench.results)]) == 0
    assert files() == before


# Fingerprints ----------------------------------------------------------------------------------------------------


def fingerprints(path, cache):
    """The fingerprint of the one run of each benchmark in a file."""
    file = read_benchmarks(path)
    found = {}
    for name, spec in file.benchmarks.items():
        (run,) = expand(file, Resources(spec, cache), torch.device("cpu"))
        found[name] = run.fingerprint
    return found


SPELLINGS = """
benchmarks:
  plain:
    tasks: [cola]
    models: [one]
    data: sample
    recipe: {learning_rate: 0.001, batch_size: 8, max_steps: 4, max_length: 64, precision: fp32, weight_decay: 0}
  spelled:
    recipe: {precision: "fp32", max_length: 64, max_steps: 4, batch_size: 8, learning_rate: 1e-3}
    data: "sample"
    seeds: 1
    models: one
    tasks: cola
  layered:
    tasks: cola
    models: [two]
    data: {glue: sample}
    selection: validation
    recipe: {learning_rate: 5, batch_size: 8, max_length: 64, precision: fp32, schedule: linear}
    overrides: {tasks: {cola: {learning_rate: 1.0e-3}}, models: {two: {max_steps: 4}}}
    limit: null
models:
  one: {architecture: bert, checkpoint: ./model}
  two: {dropout: null, checkpoint: ./copies/of it, architecture: bert}
"""


def test_spelling_order_names_and_paths_change_no_fingerprint(tmp_path, checkpoint):
    found = []
    for folder in (tmp_path / "one", tmp_path / "other"):
        shutil.copytree(checkpoint, folder / "model")
        shutil.copytree(checkpoint, folder / "copies" / "of it")
        path = folder / f"{folder.name}.yaml"
        path.write_text(SPELLINGS)
        found += fingerprints(path, folder / "cache").values()
    assert len(found) == 6 and len(set(found)) == 1, found


DIFFERENT = """
benchmarks:
  plain: {tasks: cola, models: plain, data: sample, recipe: {precision: fp32}}
  seed: {tasks: cola, models: plain, data: sample, recipe: {precision: fp32}, seeds: 2}
  task: {tasks: sst2, models: plain, data: sample, recipe: {precision: fp32}}
  epochs: {tasks: cola, models: plain, data: sample, recipe: {precision: fp32, epochs: 4}}
  precision: {tasks: cola, models: plain, data: sample, recipe: {precision: bf16}}
  limit: {tasks: cola, models: plain, data: sample, recipe: {precision: fp32}, limit: {train: 99}}
  shorter: {tasks: cola, models: plain, data: sample, recipe: {precision: fp32}, limit: {validation: 99}}
  holdout: {tasks: cola, models: plain, data: sample, recipe: {precision: fp32}, selection: holdout}
  partial: {tasks: cola, models: plain, data: sample, recipe: {precision: fp32}, allow_partial: true}
  dropout: {tasks: cola, models: dropout, data: sample, recipe: {precision: fp32}}
  random: {tasks: cola, models: random, data: sample, recipe: {precision: fp32}}
  wider: {tasks: cola, models: wider, data: sample, recipe: {precision: fp32}}
  trained: {tasks: cola, models: trained, data: sample, recipe: {precision: fp32}}
  tokenizer: {tasks: cola, models: tokenizer, data: sample, recipe: {precision: fp32}}
models:
  plain: {architecture: bert, checkpoint: ./model}
  dropout: {architecture: bert, checkpoint: ./model, dropout: 0}
  random: {architecture: bert, config: {hidden_size: 32}, tokenizer: ./model}
  wider: {architecture: bert, config: {hidden_size: 64}, tokenizer: ./model}
  trained: {architecture: bert, checkpoint: ./trained}
  tokenizer: {architecture: bert, checkpoint: ./model, tokenizer: ./tokenizer}
"""


def test_whatever_decides_a_score_changes_the_fingerprint(tmp_path, checkpoint):
    for name in ("model", "trained", "tokenizer"):
        shutil.copytree(checkpoint, tmp_path / name)
    weights = load_file(tmp_path / "trained" / "model.safetensors")
    next(iter(weights.values()))[:1] += 1
    save_file(weights, tmp_path / "trained" / "model.safetensors", {"format": "pt"})
    words = json.loads((tmp_path / "tokenizer" / "tokenizer.json").read_text())
    words["normalizer"]["lowercase"] = False
    (tmp_path / "tokenizer" / "tokenizer.json").write_text(json.dumps(words))
    (tmp_path / "b.yaml").write_text(DIFFERENT)
    found = fingerprints(tmp_path / "b.yaml", tmp_path / "cache")
    assert len(found) == DIFFERENT.count("tasks:")
    assert len(set(found.values())) == len(found), found


def test_a_changed_definition_of_a_task_changes_the_fingerprint(tmp_path, checkpoint, monkeypatch):
    path = tmp_path / "b.yaml"
    shutil.copytree(checkpoint, tmp_path / "model")
    path.write_text(DIFFERENT)
    file = read_benchmarks(path)
    spec = file.benchmark("plain")
    cola = file.tasks["cola"]
    changed = [cola, replace(cola, metrics=("accuracy",)), replace(cola, instances=lambda example: [])]
    found = set()
    for task in changed:
        file.tasks["cola"] = task
        found.update(run.fingerprint for run in expand(file, Resources(spec, tmp_path), torch.device("cpu")))
    monkeypatch.setattr("harness.runner.plan.SCORE_VERSION", 0)
    found.update(run.fingerprint for run in expand(file, Resources(spec, tmp_path), torch.device("cpu")))
    assert len(found) == len(changed) + 1


# Failures --------------------------------------------------------------------------------------------------------


def test_a_run_that_fails_is_recorded_and_tried_again_and_stops_no_other(bench, updates, capsys):
    bench.models["wild"] = tiny("bert", dropout=0.2)
    wild = {"learning_rate": 1e30, "warmup_ratio": 0.0, "max_grad_norm": 0.0}
    bench.write(models=["wild", "bert"], overrides={"models": {"wild": wild}})
    assert bench.command() == 1
    shown = capsys.readouterr().out
    record = bench.record(model="wild")
    assert record.status == "failed"
    assert record.error.startswith("the training loss is nan at step 4: try a lower learning_rate")
    assert "FAILED: the training loss is nan" in shown
    assert next(line for line in shown.splitlines() if line.startswith("wild")).split()[1].startswith("failed")
    assert bench.record(model="bert").finished
    assert updates.new() == 2 * STEPS
    assert bench.command() == 1  # tried again, the other one not
    assert updates.new() == STEPS
    bench.write(models=["wild", "bert"])
    assert bench.command() == 0
    assert bench.record(model="wild").finished


def test_a_checkpoint_that_lacks_weights_is_told_before_anything_is_trained(bench, checkpoint):
    shutil.copytree(checkpoint, bench.folder / "broken")
    weights = load_file(bench.folder / "broken" / "model.safetensors")
    lost = [name for name in weights if "layer.1" in name]
    save_file({n: w for n, w in weights.items() if n not in lost}, bench.folder / "broken" / "model.safetensors")
    bench.models["broken"] = {"architecture": "bert", "checkpoint": "./broken"}
    bench.write(models=["broken", "bert"])
    with pytest.raises(HarnessError, match=rf"model 'broken': its checkpoint lacks {len(lost)} weights .*layer\.1"):
        bench.run()
    assert not list(bench.store.records())


def test_an_error_of_the_program_is_recorded_with_its_traceback(bench, monkeypatch):
    def update(training):
        raise RuntimeError("out of memory\nmore words")

    monkeypatch.setattr(Training, "update", update)
    bench.write()
    bench.run()
    record = bench.record()
    assert record.error == "RuntimeError: out of memory"
    assert "Traceback" in record.traceback
    assert "raise RuntimeError" in record.traceback


# The course of a run ---------------------------------------------------------------------------------------------


def test_it_is_evaluated_before_training_at_the_asked_steps_and_after_the_last(bench):
    bench.write({"max_steps": 10, "eval_every": 4})
    bench.run()
    record = bench.record()
    assert list(evaluations(record)) == [0, 4, 8, 10]
    assert list(losses(record)) == [4, 8, 10]
    assert [row["learning_rate"] for row in record.history() if "loss" in row] == sorted(
        (row["learning_rate"] for row in record.history() if "loss" in row), reverse=True
    )
    assert record.steps == 10
    assert record.evaluations == 3  # that before training chooses nothing
    bench.write({"max_steps": None, "epochs": 2, "eval_every": "epoch"})
    bench.run()
    assert list(evaluations(bench.record())) == [0, 6, 12]
    assert [row["epoch"] for row in evaluations(bench.record()).values()] == [0, 1, 2]


def test_the_record_holds_the_best_evaluation_and_the_log_tells_the_run(bench):
    bench.write({"max_steps": 12, "eval_every": 2, "learning_rate": 5e-3}, tasks=["sst2"])
    bench.run()
    record = bench.record("sst2")
    history = evaluations(record)
    best = max(list(history)[1:], key=lambda step: (history[step]["selection_score"], -step))
    assert record.best_step == best
    assert record.selection_score == history[best]["selection_score"]
    assert record.scores["sst2"] == history[best]["scores"]
    rows = list(record.predictions())
    right = sum(row["prediction"] == row["label"] for row in rows)
    assert record.scores["sst2"]["validation"]["accuracy"] == right / len(rows)
    log = record.log()
    assert f"best at step {best}" in log and "step 12: loss" in log and "sst2 · bert · seed 1" in log


def test_patience_stops_when_nothing_gets_better(bench):
    bench.write({"max_steps": 40, "eval_every": 3, "patience": 2, **UNMOVED})
    bench.run()
    record = bench.record()
    assert list(evaluations(record)) == [0, 3, 6, 9]
    assert (record.steps, record.best_step, record.evaluations) == (9, 3, 3)
    assert "stopped early: no better score in 2 evaluations" in record.log()


def test_patience_ends_no_training_before_the_floor_of_steps(bench):
    bench.write({**UNMOVED, "max_steps": 12, "min_steps": 7, "eval_every": 1, "patience": 1})
    bench.run()
    assert bench.record().steps == 7


def test_the_record_has_the_batch_size_that_follows_from_the_tokens(bench, capsys):
    bench.write({"batch_tokens": 200})
    bench.run()
    record = bench.record()
    assert "batch_size" not in record.settings.recipe and 1 < record.batch_size < 48
    assert record.updates_per_epoch == math.ceil(record.counts["cola"]["train"] / record.batch_size)
    assert main(["show", str(record.folder)]) == 0
    lines = {tuple(line.rsplit(maxsplit=1)) for line in capsys.readouterr().out.splitlines() if line.startswith("  ")}
    assert ("  examples per update", str(record.batch_size)) in {(name.rstrip(), value) for name, value in lines}
    assert bench.command("--set", "recipe.batch_size=8") == 0
    assert bench.record().batch_size == 8 == bench.record().settings.recipe["batch_size"]


def test_diagnostics_are_answered_by_the_best_model_not_by_the_last(bench):
    """T5 writes no answer for a long time: all scores are 0, and the first one stays the best, wrecked later or not."""
    answers = {}
    for name, recipe in {"wrecked": WRECK, "untouched": WRECK | UNMOVED}.items():
        bench.write(recipe, tasks=["mnli", "ax"], models=["t5"], keep="best")
        bench.run()
        record = bench.record("mnli", "t5")
        assert record.best_step == 1
        answers[name] = [row["output"] for row in record.predictions() if row["task"] == "ax"]
        answers[f"{name} weights"] = bench.weights(record)
    assert answers["wrecked"] == answers["untouched"]
    for name, tensor in answers["wrecked weights"].items():
        assert (tensor - answers["untouched weights"][name]).abs().max() < 1e-9


@pytest.mark.parametrize("wanted", [True, False])
def test_deterministic_operations_are_a_setting_of_the_run_alone(bench, monkeypatch, wanted):
    seen = []
    update = Training.update

    def watched(training):
        seen.append(torch.are_deterministic_algorithms_enabled())
        update(training)

    monkeypatch.setattr(Training, "update", watched)
    bench.write({"deterministic": wanted}, models=["bert", "enct5", "t5"])
    bench.run()
    assert seen == [wanted] * 3 * STEPS
    assert not torch.are_deterministic_algorithms_enabled()
    assert bench.record(model="t5").finished and bench.record().settings.recipe["deterministic"] is wanted


def test_deterministic_operations_end_with_a_failed_run(bench, monkeypatch):
    def fail(training):
        raise RuntimeError("no deterministic form")

    monkeypatch.setattr(Training, "update", fail)
    bench.write({"deterministic": True})
    assert bench.command() == 1
    assert not torch.are_deterministic_algorithms_enabled()


# Intermediate training -------------------------------------------------------------------------------------------


def test_an_odd_number_of_pairs_leaves_the_last_one_out(bench):
    bench.write(tasks=["superglue_rte", "axg"], limit={"train": 48, "validation": 25})
    assert bench.command() == 0
    assert 0 <= bench.record("superglue_rte").scores["axg"]["test"]["gender_parity"] <= 1


def test_a_run_starts_from_its_parents_model(bench):
    bench.write(UNMOVED, tasks=["rte", "qnli", "mnli"], init_from={"rte": "qnli", "qnli": "mnli"}, keep="best",
                overrides={"tasks": {"mnli": {"learning_rate": 1e-2}}})  # fmt: skip
    board = bench.run()
    mnli, qnli, rte = (bench.record(task) for task in ("mnli", "qnli", "rte"))
    assert (mnli.settings.parent, qnli.settings.parent, rte.settings.parent) == (
        None,
        mnli.fingerprint,
        qnli.fingerprint,
    )
    first, second, third = map(bench.weights, (mnli, qnli, rte))
    for name in first:
        if name.startswith("classifier"):
            assert first[name].shape != second[name].shape  # other labels: a new head
        else:
            assert (first[name] - second[name]).abs().max() < 1e-9
        assert (second[name] - third[name]).abs().max() < 1e-9  # the same labels: with the head
    common = ("sample data", "limited data", str(SELECTED))
    assert caveats(rte) == (*common, "intermediate training on qnli")
    assert "intermediate training on mnli" in caveats(qnli) and caveats(mnli) == common
    assert "intermediate training on qnli" in board.markdown
    assert "intermediate training on qnli" in board.text


def test_a_head_for_as_many_but_other_labels_is_new(bench):
    recipes = {"sst2": {"max_steps": 24, "eval_every": 4, "learning_rate": 5e-3}, "mrpc": UNMOVED}
    bench.write(tasks=["mrpc", "sst2"], init_from="sst2", keep="best", models=["enct5"], overrides={"tasks": recipes})
    bench.run()
    assert bench.record("sst2", "enct5").best_step > 0
    parent, child = (bench.weights(bench.record(task, "enct5")) for task in ("sst2", "mrpc"))
    moved = {name for name in parent if (parent[name] - child[name]).abs().max() > 1e-6}
    assert moved and all(name.startswith("classification_head") for name in moved)


def test_a_parent_is_part_of_the_fingerprint_and_comes_along_when_only_the_child_is_asked_for(bench, updates):
    bench.write(tasks=["rte", "mnli"])
    bench.run(tasks=["rte"])
    alone = bench.record("rte").fingerprint
    assert updates.new() == STEPS
    bench.write(tasks=["rte", "mnli"], init_from={"rte": "mnli"})
    bench.run(tasks=["rte"])
    assert updates.new() == 2 * STEPS
    child = bench.record("rte")
    assert child.fingerprint != alone
    assert child.settings.parent == bench.record("mnli").fingerprint


def test_a_parent_whose_model_is_gone_is_trained_again_for_a_new_child_only(bench, updates, capsys):
    bench.write(tasks=["mnli", "rte"], init_from={"rte": "mnli"})
    bench.run()
    assert updates.new() == 2 * STEPS
    parent, child = bench.record("mnli"), bench.record("rte")
    before = content(parent.folder)
    assert not bench.model_file(parent).exists()  # keep: none
    bench.run()
    assert updates.new() == 0
    bench.write(tasks=["mnli", "rte"], init_from={"rte": "mnli"}, overrides={"tasks": {"rte": {"weight_decay": 0.5}}})
    assert bench.command("--dry-run") == 0
    states = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("mnli", "rte"))]
    assert ["model needed" in line for line in states] == [True, False]
    bench.run()
    assert updates.new() == 2 * STEPS
    assert content(parent.folder) == before
    assert bench.record("rte").fingerprint != child.fingerprint
    assert not list((bench.store.folder / "models").glob("*"))


def test_a_run_whose_parent_failed_says_so(bench):
    wild = {"learning_rate": 1e30, "warmup_ratio": 0.0, "max_grad_norm": 0.0}
    bench.write(tasks=["mnli", "rte"], init_from={"rte": "mnli"}, overrides={"tasks": {"mnli": wild}})
    bench.run()
    assert bench.record("mnli").status == bench.record("rte").status == "failed"
    assert "mnli" in bench.record("rte").error
    assert "FileNotFoundError" not in bench.record("rte").error


# Test predictions ------------------------------------------------------------------------------------------------


def test_test_splits_are_predicted_with_the_run(bench):
    bench.write(tasks=["mnli", "ax"], predict=["test"], limit={"train": 48, "validation": 30})
    bench.run()
    record = bench.record("mnli")
    rows = list(bench.tests_of(record).predictions())
    splits = [(row["task"], row["split"]) for row in rows]
    assert list(dict.fromkeys(splits)) == [("mnli", "test_matched"), ("mnli", "test_mismatched"), ("ax", "test")]
    assert splits.count(("mnli", "test_matched")) == 200  # no limit cuts what is submitted
    assert all(row["label"] is None for row in rows if row["task"] == "mnli")
    assert "test_matched" not in record.scores["mnli"]


def test_a_task_without_a_test_split_is_told(bench, capsys):
    (bench.folder / "mine.tsv").write_text("text\tlabel\n" + "a fine film\tgood\na bad one\tbad\n" * 20)
    bench.write(tasks=["mine"], predict=["test"])
    document = json.loads(bench.path.read_text())
    spec = {"problem_type": "single_label_classification", "text": "text", "train": "mine.tsv"}
    bench.path.write_text(json.dumps({**document, "tasks": {"mine": spec}}))
    assert bench.command() == 0
    assert "mine: there is no test split to predict" in capsys.readouterr().out


def test_asked_for_later_a_kept_model_predicts_without_training(bench, updates):
    bench.write(tasks=["mnli", "rte"], init_from={"rte": "mnli"}, keep="best")
    bench.run()
    updates.new()
    before = content(bench.record("rte").folder)
    bench.write(tasks=["mnli", "rte"], init_from={"rte": "mnli"}, keep="best", predict=["test"])
    bench.run()
    assert updates.new() == 0
    assert content(bench.record("rte").folder) == before
    later = {task: content(bench.tests_of(bench.record(task)).folder) for task in ("mnli", "rte")}
    shutil.rmtree(bench.results / "b")
    bench.run()
    at_once = {task: content(bench.tests_of(bench.record(task)).folder) for task in ("mnli", "rte")}
    assert later == at_once


def test_asked_for_later_labels_are_predicted_by_the_threshold_of_the_run(bench, updates):
    bench.models["low"] = {**bench.models["bert"], "threshold": 0.2}
    bench.models["tuned"] = {**bench.models["bert"], "threshold": "tuned"}
    recipe = {"max_steps": 20, "eval_every": 6, "learning_rate": 1e-2}
    bench.write(recipe, tasks=["goemotions"], models=["low", "tuned"], keep="best")
    bench.run()
    bench.write(recipe, tasks=["goemotions"], models=["low", "tuned"], keep="best", predict=["test"])
    updates.new()
    bench.run()
    assert updates.new() == 0
    for model in ("low", "tuned"):
        record = bench.record("goemotions", model)
        threshold = record.threshold
        rows = list(bench.tests_of(record).predictions())
        assert rows and threshold != 0.5
        for row in rows:
            margins = [1 / (1 + math.exp(-score)) - threshold for score in row["scores"][0]]
            for label, margin in enumerate(margins):  # stored scores are rounded
                assert abs(margin) < 1e-6 or (label in row["prediction"]) == (margin > 0)


def test_asked_for_later_without_a_kept_model_only_retraining_helps(bench, updates, capsys):
    bench.write(seeds=[1, 2])
    bench.run()
    updates.new()
    record = bench.record()
    bench.write(seeds=[1, 2], predict="test")
    capsys.readouterr()
    assert bench.command() == 0
    assert "2 finished runs lack test predictions" in (shown := capsys.readouterr().out) and "--retrain" in shown
    assert updates.new() == 0 and bench.tests_of(record) is None
    assert bench.command("--dry-run") == 0
    assert capsys.readouterr().out.count("retraining needed") == 2
    assert bench.command("--retrain") == 0
    assert updates.new() == 2 * STEPS
    assert len(list(bench.tests_of(record).predictions())) == 200
    assert bench.record().folder == record.folder
    capsys.readouterr()
    assert bench.command() == 0
    assert "lack test predictions" not in capsys.readouterr().out


def test_retraining_for_test_predictions_trains_a_parent_again_whose_model_is_gone(bench, updates):
    bench.write(tasks=["mnli", "rte"], init_from={"rte": "mnli"}, predict="test")
    bench.run()
    updates.new()
    tests = bench.tests_of(bench.record("rte")).folder
    before = content(tests)
    shutil.rmtree(tests)
    assert bench.command("--retrain") == 0
    assert updates.new() == 2 * STEPS
    assert content(tests) == before


def test_python_can_ask_for_retraining(bench):
    bench.write()
    bench.run()
    bench.write(predict="test")
    bench.run(retrain=True)
    assert bench.tests_of(bench.record())


def test_a_test_split_with_labels_is_scored_beside_the_averages(bench, updates):
    """Own tasks and WNUT-17's kind: with the run, later from a kept model, and in the tables of ``report``."""
    rows = [("good", f"a fine film {i}") for i in range(12)] + [("bad", f"a poor film {i}") for i in range(8)]
    for name in ("train", "dev", "test"):
        (bench.folder / f"{name}.tsv").write_text("text\tlabel\n" + "".join(f"{t}\t{lab}\n" for lab, t in rows))
    files = {"train": "train.tsv", "validation": "dev.tsv", "test": "test.tsv"}
    own = {"problem_type": "single_label_classification", "text": "text", "labels": ["bad", "good"], **files}
    tasks = {"mine": {**own, "metrics": ["accuracy", "f1"]}}
    settings = {"tasks": ["mine", "cola"], "keep": "best", "limit": None}

    def write(**more):
        bench.write(**{**settings, **more})
        bench.path.write_text(json.dumps({**json.loads(bench.path.read_text()), "tasks": tasks}))

    write()
    assert bench.run().tests is None
    updates.new()
    write(predict=["test"])
    board = bench.run()
    assert updates.new() == 0
    record = bench.record("mine")
    tests = bench.tests_of(record)
    assert set(record.scores["mine"]) == {"validation"} and set(tests.scores) == {"mine"}  # CoLA's test has no labels
    predictions = list(tests.predictions())
    right = sum(row["label"] == row["prediction"] for row in predictions) / len(predictions)
    assert tests.scores["mine"]["test"]["accuracy"] == pytest.approx(right)
    assert tests.baseline["mine"]["test"] == {"accuracy": 0.6, "f1": 0.75}
    assert [column.parts for column in board.tests.columns] == [(("test", "accuracy"), ("test", "f1"))]
    assert board.tests.rows[0].cells["mine"].parts[0].mean == pytest.approx(right)
    assert [column.parts[0][0] for column in board.columns] == ["validation", "validation"]
    for text in (board.markdown, board.text):
        assert text.count(": test sets") == 1
    assert "mine test accuracy" in (bench.store.folder / "leaderboard.csv").read_text().splitlines()[0]
    later = content(tests.folder)
    shutil.rmtree(bench.results / "b")
    bench.run()
    assert content(bench.tests_of(bench.record("mine")).folder) == later
    write()
    assert bench.run().tests is None  # the present settings do not ask for it


def test_records_hold_a_baseline_and_say_when_a_model_gives_one_answer(bench):
    bench.write(UNMOVED, tasks=["sst2", "stsb", "wnut17", "goemotions", "mnli", "ax"], models=["bert"])
    board = bench.run()
    for task in ("sst2", "stsb", "wnut17", "goemotions", "mnli"):
        record = bench.record(task)
        assert {s: set(m) for s, m in record.baseline[task].items()} == {
            s: set(m) for s, m in record.scores[task].items()
        }
    baseline = board.baselines[0]
    sst2 = bench.record("sst2")
    counts = [row["label"] for row in sst2.predictions()]
    assert baseline.cells["sst2"].score.mean in (counts.count(0) / len(counts), counts.count(1) / len(counts))
    assert baseline.cells["wnut17"].score.mean == 0 and baseline.cells["ax"].score.mean == 0
    assert math.isnan(baseline.cells["stsb"].parts[0].mean)
    for task in ("sst2", "mnli"):
        record = bench.record(task)
        for split in record.scores[task]:
            answers = {row["prediction"] for row in record.predictions() if row["split"] == split}
            assert (split in record.constant.get(task, {})) == (len(answers) == 1)


@pytest.mark.parametrize(
    "task",
    [
        "sst2",
        "goemotions",
        "wnut17",
        "stsb",
        "record",
        *(pytest.param(t, marks=pytest.mark.slow) for t in ("copa", "wsc")),
    ],
)
def test_predictions_have_names_and_probabilities(bench, task):
    models = ["bert", "t5"]
    bench.write(tasks=[task], models=models)
    bench.run()
    tasks = harness.load_tasks()
    for model in models:
        labels = tasks[task].labels
        for row in bench.record(task, model).predictions():
            for key in ("label", "prediction"):
                value = row[key]
                if task in ("stsb", "record"):
                    assert row.get(f"{key}_name") is None
                elif isinstance(value, list):
                    assert row[f"{key}_name"] == [labels[i] for i in value]
                else:
                    assert row[f"{key}_name"] == (labels[value] if value >= 0 else None)
            assert ("output" in row) == (model == "t5") and ("scores" in row) == (model == "bert")
            assert ("probabilities" in row) == (model == "bert" and task != "stsb")
            if "probabilities" not in row:
                continue
            given = row["probabilities"]
            assert [len(of_row) for of_row in given] == [len(of_row) for of_row in row["scores"]]
            if task in ("goemotions", "record"):
                logistic = [[1 / (1 + math.exp(-score)) for score in of_row] for of_row in row["scores"]]
                assert np.allclose(given, logistic, rtol=1e-3)
            elif task == "copa":
                assert sum(p for (p,) in given) == pytest.approx(1, abs=1e-3)
            else:
                assert np.allclose(np.sum(given, axis=1), 1, atol=1e-3)
                assert [int(np.argmax(p)) for p in given] == [int(np.argmax(s)) for s in row["scores"]]
