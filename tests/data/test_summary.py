"""What the summary of a task's data says of classes and scores that training can learn nothing from."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.cli import main
from harness.data.summary import data_summary
from harness.task.task import Task

MOOD = Task("mood", suite="", problem_type="single_label_classification", text_fields=("text",),
            metrics=("accuracy",), labels=("bad", "good"))  # fmt: skip
TAGS = Task("tags", suite="", problem_type="multi_label_classification", text_fields=("text",),
            metrics=("micro_f1",), labels=("a", "b"))  # fmt: skip
SCORE = Task("score", suite="", problem_type="regression", text_fields=("text",), metrics=("pearson",))


def examples(labels: list) -> list[dict]:
    return [{"text": f"text {i}", "label": label} for i, label in enumerate(labels)]


@pytest.mark.parametrize(
    ("task", "labels", "said"),
    [
        (MOOD, [1] * 9, "mood: train 9: a single class in training, good, few examples of bad (0)"),
        (MOOD, [0, 1] * 5, "mood: train 10"),
        (MOOD, [0, *[1] * 9], "mood: train 10: few examples of bad (1)"),
        (TAGS, [[0]] * 9, "tags: train 9: few examples of b (0)"),
        (SCORE, [0.5] * 9, "score: train 9: all have the same score"),
        (SCORE, [0.5, 0.25] * 5, "score: train 10"),
    ],
)
def test_what_training_cannot_learn_from_is_said(task, labels, said):
    assert data_summary(task, {"train": examples(labels)}) == said


def test_other_splits_may_have_a_single_class():
    assert data_summary(MOOD, {"validation": examples([1] * 9)}) == "mood: validation 9"


def test_a_file_with_a_single_class(tmp_path, monkeypatch, capsys):
    """The other label is known from the file of the benchmark, or not at all."""
    monkeypatch.chdir(tmp_path)
    Path("one.csv").write_text("text,label\n" + "".join(f"text {i},good\n" for i in range(9)))
    for labels, said in (("", "a single class"), ("labels: [bad, good], ", "a single class in training, good")):
        Path("b.yaml").write_text(
            f"tasks: {{one: {{problem_type: single_label_classification, text: text, {labels}train: one.csv, "
            "validation: one.csv}}\nmodels: {m: {architecture: bert, config: {hidden_size: 8, num_hidden_layers: 1, "
            "num_attention_heads: 1, intermediate_size: 8}, tokenizer: sample}}\n"
            "benchmarks: {b: {tasks: one, models: m}}\n"
        )
        code = main(["validate", "b.yaml", "--data"])
        shown = capsys.readouterr()
        assert said in " ".join((shown.out + shown.err).split()), (code, shown)
