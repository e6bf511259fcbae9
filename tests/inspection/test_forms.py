"""tasks --show: one example as each family reads it."""

from pathlib import Path

import pytest

import harness
from harness.cli import main
from harness.data.datasets import load_examples
from harness.inspection.forms import rows_of
from harness.task import Task
from harness.task.plugins import load_tasks

TASKS = load_tasks()
PAGE = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text(encoding="utf-8")
ORDINARY = "rte"
DIFFERENT = ("wic", "wsc", "copa", "multirc", "record")
"""The tasks whose text differs between EncT5 and T5."""


def first_rows(task: Task) -> dict[str, tuple[str, str]]:
    [example, *_] = load_examples(task, "sample", task.train_split or task.validation_splits[0])
    return {family: (text, answer) for family, text, answer in rows_of(task, example)}


@pytest.mark.parametrize("name", TASKS)
def test_the_page_has_every_task_whose_text_differs(name):
    rows = first_rows(TASKS[name])
    differs = rows.get("EncT5", ("",))[0] != rows["T5"][0]
    assert differs == (name in DIFFERENT)
    assert (f"`{name}`:" in PAGE) == (differs or name == ORDINARY)
    if differs or name == ORDINARY:
        assert f"`{name}`:\n\n{harness.show_task(name)}\n" in PAGE


def test_answers_are_those_that_a_family_learns():
    assert [answer for _, answer in first_rows(TASKS["copa"]).values()] == ["wrong", "right"] * 2 + ["choice2"] * 2
    assert {family: answer for family, (_, answer) in first_rows(TASKS["wsc"]).items()} == {
        "BERT": "True",
        "EncT5": "True",
        "T5": "the teacher",
    }
    false = next(example for example in load_examples("wsc", "sample", "train") if example["label"] == 0)
    assert [row[2] for row in rows_of(TASKS["wsc"], false)] == [
        "False",
        "False",
        "none: T5 does not learn from this example",
    ]
    unlabelled = load_examples("multirc", "sample", "test")[0]
    assert {answer for _, _, answer in rows_of(TASKS["multirc"], unlabelled)} == {"unknown"}
    tagged = next(e for e in load_examples("wnut17", "sample", "train") if any(e["ner_tags"]))
    assert "/B-" in next(iter(rows_of(TASKS["wnut17"], tagged)))[2]


@pytest.mark.data
def test_it_reads_official_files(data_folder, capsys):
    assert main(["tasks", "--show", "copa", "--data", str(data_folder)]) == 0
    assert "My body cast a shadow over the grass." in capsys.readouterr().out


def test_a_task_of_a_file_and_one_that_is_none(tmp_path, capsys):
    (tmp_path / "own.tsv").write_text("text\tlabel\nGood | bad\tyes\nBad\tno\n")
    (tmp_path / "b.yaml").write_text(
        "tasks: {mine: {problem_type: single_label_classification, text: text, train: own.tsv}}\n"
        "models: {m: {architecture: bert, checkpoint: x}}\nbenchmarks: {b: {tasks: mine, models: m}}\n"
    )
    assert main(["tasks", str(tmp_path / "b.yaml"), "--show", "mine"]) == 0
    assert "| BERT | Good \\| bad | yes |" in capsys.readouterr().out
    assert main(["tasks", "--show", "wick"]) == 2
    assert "there is no task 'wick'. Did you mean 'wic'?" in capsys.readouterr().err
