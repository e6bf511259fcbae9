"""Texts that are trained on and evaluated: found whatever their spelling, recorded, told, and marked in the table."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from running import LIMIT, UNMOVED, Bench

from harness import load_examples, load_tasks
from harness.results.folder import RECORD, parse_record
from harness.runner.resources import Resources, overlap
from harness.task.texts import normalised

TASKS = load_tasks()
NOTE = "2 of 3 validation texts are in the training data, too"


@pytest.fixture
def bench(tmp_path, sample_cache):
    """Two of three validation texts are in the training data, in another spelling."""
    bench = Bench(tmp_path, sample_cache)
    rows = [f"The boat number {i}.,{'good' if i % 2 else 'bad'}" for i in range(12)]
    (tmp_path / "train.csv").write_text("\n".join(["text,label", *rows, "The Café  is nice.,good"]))
    dev = ["text,label", "the BOAT number 3.,bad", "Ｔhe cafe\u0301 is nice.,bad", "The boat number 99.,good"]
    (tmp_path / "dev.csv").write_text("\n".join(dev))
    return bench


def write(bench, **settings):
    task = {"problem_type": "single_label_classification", "text": "text", "train": "train.csv"}
    content = json.loads(bench.write(UNMOVED, tasks=["mine"], **settings).read_text())
    content["tasks"] = {"mine": {**task, "validation": "dev.csv"}}
    bench.path.write_text(json.dumps(content))


def test_it_is_counted_told_recorded_and_marked(bench, capsys):
    write(bench, models=["bert", "enct5"], limit=None)
    assert bench.command() == 0
    assert capsys.readouterr().out.count(f"mine: {NOTE}") == 1
    assert bench.record("mine").overlap == bench.record("mine", "enct5").overlap == {"mine": {"validation": 2}}
    table = (bench.results / "b" / "leaderboard.md").read_text()
    letter = table.partition(f"] {NOTE}")[0][-1]
    rows = [line for line in table.splitlines() if line.startswith("| ") and f"{letter}]" in line]
    assert NOTE in table and len(rows) == 2  # of both models


def test_only_the_examples_that_are_used_count(bench):
    write(bench, limit={"validation": 1})
    bench.run()
    assert bench.record("mine").overlap == {"mine": {"validation": 1}}


def test_it_is_no_part_of_the_fingerprint_and_older_records_have_none(bench, capsys):
    bench.write()
    bench.run()
    record = bench.record()
    assert record.overlap == {"cola": {"validation": 0}}
    assert "overlap" not in record.settings.model_dump_json()
    assert NOTE not in (bench.results / "b" / "leaderboard.md").read_text()
    data = json.loads((record.folder / RECORD).read_text())
    del data["overlap"]
    assert parse_record(json.dumps(data).encode(), record.folder, record.efficiency).overlap == {}


def test_diagnostics_are_compared_with_what_their_model_was_trained_on(bench):
    bench.write(UNMOVED, tasks=["mnli", "ax"], limit=LIMIT)
    bench.run()
    found = bench.record("mnli").overlap
    assert found.keys() == {"mnli", "ax"} and found["ax"].keys() == {"test"}


def test_all_fields_together_decide():
    task = TASKS["mrpc"]
    train = [{"sentence1": "A b", "sentence2": "C d", "label": 1}, {"sentence1": "E", "sentence2": "F", "label": 0}]
    dev = [
        {"sentence1": a, "sentence2": b, "label": 0}
        for a, b in [("a B", "c  D"), ("A b", "F"), ("E F", ""), ("C d", "A b")]
    ]
    assert overlap(task, train, {"dev": (task, dev), "none": (task, [])}) == {"dev": 1, "none": 0}


@given(st.text(max_size=30))
def test_spelling_does_not_matter(text):
    assert normalised(f"  {text}\n") == normalised(normalised(text)) or not normalised(text).isascii()
    if text.lower().upper().lower() == text.lower():
        assert normalised(unicodedata.normalize("NFD", text)) == normalised(unicodedata.normalize("NFC", text))


@given(st.lists(st.sampled_from("abcdef"), max_size=12), st.lists(st.sampled_from("abcxyz"), max_size=12))
def test_counts_are_those_of_a_plain_comparison(training, evaluated):
    task = TASKS["cola"]
    train, dev = ([{"sentence": text, "label": 1} for text in texts] for texts in (training, evaluated))
    assert overlap(task, iter(train), {0: (task, dev)}) == {0: sum(text in training for text in evaluated)}


@pytest.mark.parametrize(
    ("name", "split", "count"), [("cola", "validation", 16), ("stsb", "validation", 6), ("rte", "validation", 0)]
)
def test_the_official_data(name, split, count, data_folder):
    task = TASKS[name]
    train, dev = (load_examples(task, data_folder, part) for part in ("train", split))
    assert overlap(task, train, {split: (task, dev)}) == {split: count}


def test_only_the_training_split_is_trained_on(bench, monkeypatch):
    """Whatever is evaluated or predicted besides, no other split's examples are made into training features."""
    trained, features = set(), Resources.features

    def noted(session, architecture, task, split, training):
        trained.update([(task.name, split)] if training else [])
        return features(session, architecture, task, split, training)

    monkeypatch.setattr(Resources, "features", noted)
    bench.write(UNMOVED, tasks=["mnli", "ax", "copa"], models=["bert", "t5"], limit=LIMIT, predict=["test"])
    bench.run()
    assert trained == {("mnli", "train"), ("copa", "train")}
