"""Kept models: folders that transformers takes, by task, model and seed; which stay, and what uses them later."""

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from running import Bench, Updates, tiny
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    pipeline,
)

import harness
from harness.cli import main
from harness.data.datasets import open_examples
from harness.results.kept import NOTES

TASKS = ["cola", "goemotions", "wnut17"]


@pytest.fixture(scope="module")
def kept(tmp_path_factory, sample_cache) -> Bench:
    """One model of each architecture on a task of each problem type, kept."""
    bench = Bench(tmp_path_factory.mktemp("kept"), sample_cache)
    bench.write(tasks=TASKS, models=["bert", "enct5", "t5"], keep="best", limit={"train": 16, "validation": 12})
    bench.run()
    return bench


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("model", ["bert", "enct5", "t5"])
def test_the_folder_is_one_of_transformers(kept, task, model):
    record = kept.record(task, model)
    folder = kept.model_folder(record)
    assert folder.name.startswith(f"{task}-{model}-seed1-")
    names = {path.name for path in folder.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", NOTES} <= names
    assert ({"modeling_enct5.py", "configuration_enct5.py"} <= names) is (model == "enct5")
    assert AutoTokenizer.from_pretrained(folder)("a fine film")["input_ids"]
    auto = AutoModelForTokenClassification if task == "wnut17" else AutoModelForSequenceClassification
    loaded = (AutoModelForSeq2SeqLM if model == "t5" else auto).from_pretrained(folder)
    labels = harness.load_tasks()[task].labels
    if model != "t5" and loaded.config.num_labels == len(labels):
        assert list(loaded.config.id2label.values()) == list(labels)
        assert loaded.config.label2id == {label: i for i, label in enumerate(labels)}


@pytest.mark.parametrize("model", ["bert", "enct5"])
def test_a_pipeline_answers_as_the_record_says(kept, model):
    record = kept.record("cola", model)
    task = harness.load_tasks()["cola"]
    examples = list(open_examples(task, "sample", "validation", limit=12))
    classify = pipeline("text-classification", str(kept.model_folder(record)), device="cpu", top_k=None)
    prefix = "cola sentence: " if model == "enct5" else ""
    for row, example in zip(record.predictions(), examples, strict=True):
        [scores] = classify([prefix + example["sentence"]])
        answers = {answer["label"]: answer["score"] for answer in scores}
        assert max(answers, key=answers.get) == row["prediction_name"]
        assert [answers[label] for label in task.labels] == pytest.approx(row["probabilities"][0], abs=1e-3)


def test_a_pipeline_gives_tags_and_several_labels(kept):
    tags = pipeline("token-classification", str(kept.model_folder(kept.record("wnut17"))), device="cpu")
    assert {tag["entity"] for tag in tags("a film by Mary Shelley")} <= set(harness.load_tasks()["wnut17"].labels)
    several = pipeline("text-classification", str(kept.model_folder(kept.record("goemotions"))), top_k=None)
    scores = [answer["score"] for answer in several(["a fine film"])[0]]
    assert len(scores) == 28 and sum(scores) > 1.5  # each label's own probability


@pytest.mark.parametrize("model", ["bert", "enct5"])
def test_trainer_goes_on_with_it(kept, model, tmp_path):
    folder = kept.model_folder(kept.record("cola", model))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    data = Dataset.from_dict({**tokenizer(["a fine film", "film fine the"] * 4), "labels": [1, 0] * 4})
    options = TrainingArguments(tmp_path, max_steps=1, report_to=[], use_cpu=True, disable_tqdm=True)
    loaded = AutoModelForSequenceClassification.from_pretrained(folder)
    trainer = Trainer(loaded, options, train_dataset=data, data_collator=DataCollatorWithPadding(tokenizer))
    assert np.isfinite(trainer.train().training_loss)


def test_enct5_loads_elsewhere_with_its_code(kept, tmp_path):
    folder = kept.model_folder(kept.record("goemotions", "enct5"))
    code = (
        "import sys; from transformers import AutoModelForSequenceClassification as Auto;"
        f"model = Auto.from_pretrained({str(folder)!r}, trust_remote_code=True);"
        "print(type(model).__name__, model.config.id2label[0], 'harness' in sys.modules)"
    )
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    first = harness.load_tasks()["goemotions"].labels[0]
    assert done.stdout.split() == ["EncT5ForSequenceClassification", first, "False"], done.stderr


def test_show_names_the_folder(kept, capsys):
    record = kept.record("wnut17", "t5")
    assert main(["show", str(record.folder)]) == 0
    assert str(kept.model_folder(record)) in capsys.readouterr().out


# Which stay


@pytest.mark.parametrize("keep", ["best", "all-seeds"])
def test_the_best_seed_stays_or_every_one(bench, keep):
    bench.write(seeds=[1, 2, 3], keep=keep, predict=["test"])
    bench.run(seeds=[3])
    bench.run()
    records = [bench.record(seed=seed) for seed in (1, 2, 3)]
    best = max(records, key=lambda record: (record.selection_score, -record.seed))
    wanted = [best] if keep == "best" else records
    names = {path.name for path in bench.store.models.iterdir()}
    assert names == {bench.model_folder(record).name for record in wanted}
    assert all(bench.tests_of(record) for record in records)


def test_of_an_error_the_lowest_is_best(bench):
    (bench.folder / "mine.tsv").write_text("text\tscore\n" + "".join(f"film {i}\t{i % 5}.5\n" for i in range(60)))
    bench.write({"learning_rate": 0.01}, tasks=["mine"], seeds=[1, 2, 3], keep="best")
    spec = {"problem_type": "regression", "text": "text", "label": "score", "train": "mine.tsv", "metrics": ["mae"]}
    bench.path.write_text(json.dumps({**json.loads(bench.path.read_text()), "tasks": {"mine": spec}}))
    bench.run()
    best = min((bench.record("mine", seed=seed) for seed in (1, 2, 3)), key=lambda r: (r.selection_score, r.seed))
    assert [path.name for path in bench.store.models.iterdir()] == [bench.model_folder(best).name]


def test_other_names_find_the_same_model(bench, monkeypatch):
    bench.write(keep="best")
    bench.run()
    bench.models = {"renamed": tiny("bert")}
    bench.write(models=["renamed"], keep="best", predict=["test"])
    updates = Updates(monkeypatch)
    bench.run()
    assert updates.new() == 0 and bench.tests_of(bench.record(model="renamed")) is not None


# What is read back is checked


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_an_altered_file_is_never_used(bench, name, capsys):
    bench.write(keep="best")
    bench.run()
    path = bench.model_folder(bench.record()) / name
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    bench.write(keep="best", predict=["test"])
    assert bench.command() == 1
    assert "altered (its checksum does not fit): removed" in capsys.readouterr().out
    assert bench.tests_of(bench.record()) is None and not path.exists()


@pytest.mark.parametrize("names", [["../config.json"], ["/etc/passwd"], [".hidden"], ["a/b"]])
def test_notes_name_no_files_elsewhere(bench, names):
    bench.write(keep="best")
    bench.run()
    folder = bench.model_folder(bench.record())
    notes = json.loads((folder / NOTES).read_text())
    notes["files"] |= {name: notes["files"]["config.json"] for name in names}
    (folder / NOTES).write_text(json.dumps(notes))
    assert not bench.has_model(bench.record())


def test_the_code_of_a_kept_folder_is_never_run(bench):
    bench.write(models=["enct5"], keep="best")
    bench.run()
    folder = bench.model_folder(bench.record(model="enct5"))
    marker = bench.folder / "ran"
    code = f"open({str(marker)!r}, 'w')\n"
    notes = json.loads((folder / NOTES).read_text())
    for path in folder.glob("*.py"):
        path.write_text(code)
        del notes["files"][path.name]
    (folder / NOTES).write_text(json.dumps(notes))
    bench.write(models=["enct5"], keep="best", predict=["test"])
    bench.run()
    assert bench.tests_of(bench.record(model="enct5")) is not None and not marker.exists()


def test_tied_weights_come_back_bit_by_bit(kept):
    loaded = AutoModelForSeq2SeqLM.from_pretrained(kept.model_folder(kept.record("cola", "t5")), dtype=torch.float32)
    assert loaded.get_input_embeddings().weight is loaded.encoder.embed_tokens.weight


def test_everyone_may_read_what_the_umask_allows(bench):
    shutil.rmtree(bench.results)
    bench.write(models=["enct5"], keep="best")
    before = os.umask(0o027)
    try:
        bench.run()
    finally:
        os.umask(before)
    paths: list[Path] = list(bench.model_folder(bench.record(model="enct5")).iterdir())
    assert len(paths) > 5 and {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o640}
