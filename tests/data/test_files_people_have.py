"""Files as people have them: CoNLL in other schemes, JSON arrays, other delimiters and encodings, .gz, odd examples."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from harness import HarnessError, load_examples
from harness.cli import main
from harness.data.custom import task_from_files
from harness.data.datasets import data_fingerprint
from harness.task.entities import spans
from harness.task.task import Task

IOB2 = [["B-PER", "B-PER", "I-PER", "O", "B-LOC", "B-ORG"], ["O", "B-ORG"]]
IOB1 = [["I-PER", "B-PER", "I-PER", "O", "I-LOC", "I-ORG"], ["O", "I-ORG"]]
BIOES = [["S-PER", "B-PER", "E-PER", "O", "S-LOC", "S-ORG"], ["O", "S-ORG"]]
BILOU = [["U-PER", "B-PER", "L-PER", "O", "U-LOC", "U-ORG"], ["O", "U-ORG"]]


def conll(sentences: list[list[str]], before: str = "") -> str:
    return "".join("".join(f"w{i}{before} {tag}\n" for i, tag in enumerate(tags)) + "\n" for tags in sentences)


def entities(folder: Path, content: str, name: str = "train.conll", **keys: Any) -> Task:
    (folder / name).write_text(content, encoding="utf-8")
    return task_from_files("own", {"problem_type": "token_classification", "train": name, **keys}, folder)


def tags_in(task: Task) -> list[list[str]]:
    train = load_examples(task, ".", "train", allow_partial=True)
    held = load_examples(task, ".", "validation", allow_partial=True)
    return [[task.labels[tag] for tag in e[task.label_field]] for e in sorted(train + held, key=lambda e: e["idx"])]


@pytest.mark.parametrize(
    ("scheme", "sentences"),
    [("iob1", IOB1), ("iob2", IOB2), ("bioes", BIOES), ("bioes", BILOU)],
    ids=["1", "2", "S", "U"],
)
@pytest.mark.parametrize("auto", [False, True])
def test_every_scheme_marks_the_same_entities(tmp_path, scheme, sentences, auto):
    task = entities(tmp_path, conll(sentences), scheme="auto" if auto else scheme)
    assert tags_in(task) == IOB2
    assert task.files["train"].scheme == scheme
    assert set(task.labels) == {"O", *(f"{mark}-{kind}" for kind in ("PER", "LOC", "ORG") for mark in "BI")} or (
        scheme == "iob2"
    )


@pytest.mark.parametrize("sentences", [IOB1, BIOES])
def test_without_a_scheme_the_message_names_the_key(tmp_path, sentences):
    with pytest.raises(HarnessError, match="scheme: auto"):
        tags_in(entities(tmp_path, conll(sentences)))


def test_tags_that_break_a_scheme_are_named_with_their_line(tmp_path):
    with pytest.raises(HarnessError, match=r"train.conll:1: .*'O' after 'B-A', which is not BIOES"):
        tags_in(entities(tmp_path, "a B-A\nb O\n\nc S-A\n", scheme="bioes"))


def test_auto_says_what_it_found(tmp_path, capsys):
    (tmp_path / "train.conll").write_text(conll(IOB1))
    (tmp_path / "b.yaml").write_text(
        "tasks: {own: {problem_type: token_classification, train: train.conll, scheme: auto}}\n"
        "models: {m: {architecture: bert, config: {model_type: bert}, tokenizer: sample}}\n"
        "benchmarks: {b: {tasks: own, models: m, recipe: {max_steps: 1}}}\n"
    )
    assert main(["validate", str(tmp_path / "b.yaml")]) == 0
    assert "task 'own': the tags are IOB1 (word 1 has tag 'I-PER' after 'O'" in capsys.readouterr().out


def test_other_columns_and_names_without_an_ending(tmp_path):
    content = conll(IOB1, before=" NN I-NP")
    task = entities(tmp_path, content, "train", format="conll", scheme="auto")
    assert tags_in(task) == IOB2
    for column in (2, -2):
        chunks = entities(tmp_path, content, "train.txt", format="conll", scheme="iob1", column=column)
        assert chunks.labels == ("O", "B-NP", "I-NP")
        assert spans(tags_in(chunks)[0]) == [("NP", 0, 6)]
    with pytest.raises(HarnessError, match=r"'NN' is no tag: .* `column:` picks another column"):
        entities(tmp_path, content, "train.txt", format="conll", scheme="iob1", column=1)
    with pytest.raises(HarnessError, match="there is no column 7"):
        entities(tmp_path, content, "train.txt", format="conll", column=7)


ROWS = [{"text": f"café {i}, good", "label": ["bad", "good"][i % 2]} for i in range(40)]


def table(delimiter: str) -> str:
    return f"text{delimiter}label\n" + "".join(f'"{row["text"]}"{delimiter}{row["label"]}\n' for row in ROWS)


FILES: dict[str, tuple[str, bytes, dict[str, str]]] = {
    "array": ("a.json", json.dumps(ROWS, indent=1).encode(), {}),
    "lines": ("a.json", b"\n" + "\n".join(map(json.dumps, ROWS)).encode(), {}),
    "semicolons": ("a.csv", table(";").encode(), {"delimiter": ";"}),
    "bars": ("a.txt", table("|").encode(), {"delimiter": "|", "format": "csv"}),
    "tabs in csv": ("a.csv", table("\t").encode(), {"delimiter": "\t"}),
    "latin 1": ("a.csv", table(",").encode("latin-1"), {"encoding": "latin-1"}),
    "utf-16": ("a.csv", table(",").replace("\n", "\r\n").encode("utf-16"), {"encoding": "utf-16"}),
    "byte-order mark": ("a.csv", table(",").encode("utf-8-sig"), {"encoding": "UTF8"}),
    "gz": ("a.csv.gz", gzip.compress(table(",").encode()), {}),
    "gz of an array": ("data.gz", gzip.compress(json.dumps(ROWS).encode()), {"format": "json"}),
}
CLASSES = {"problem_type": "single_label_classification", "text": "text"}


@pytest.mark.parametrize("kind", FILES)
def test_files_that_people_have(tmp_path, kind):
    name, content, keys = FILES[kind]
    (tmp_path / name).write_bytes(content)
    task = task_from_files("own", {**CLASSES, "train": name, **keys}, tmp_path)
    examples = [e for split in ("train", "validation") for e in load_examples(task, ".", split)]
    found = {e["text"]: task.labels[e["label"]] for e in examples}
    assert found == {row["text"]: row["label"] for row in ROWS}
    assert data_fingerprint(task, ".", ["train"])["content"]


WRONG: dict[str, tuple[str, bytes, dict[str, Any], str]] = {
    "semicolons": ("a.csv", table(";").encode(), {}, 'delimiter: ";"'),
    "tabs": ("a.csv", table("\t").encode(), {}, r"delimiter: \"\\t\""),
    "latin 1": ("a.csv", table(",").encode("latin-1"), {}, "a.csv:2: .*encoding:"),
    "utf-16": ("a.csv", table(",").encode("utf-16"), {}, "encoding: utf-16"),
    "no encoding": ("a.csv", b"x", {"encoding": "martian"}, "no text encoding"),
    "no text encoding": ("a.csv", b"x", {"encoding": "base64"}, "no text encoding"),
    "another encoding": ("a.csv", b"text,label\n\xe9,b\n", {"encoding": "ascii"}, "a.csv:2: not ascii"),
    "no format": ("a.txt", b"x", {}, "`format:`"),
    "unknown format": ("a.txt", b"x", {"format": "xlsx"}, "'format' must be one of"),
    "long delimiter": ("a.csv", b"x", {"delimiter": "ab"}, "one character"),
    "delimiter of JSON": ("a.json", b"[]", {"delimiter": ";"}, "'delimiter' is for"),
    "scheme of texts": ("a.csv", b"x", {"scheme": "auto"}, "only token_classification"),
    "half an array": ("a.json", b'[{"text": "x", "label": "a"},\n', {}, "a.json:"),
    "more behind": ("a.json", b'[{"text": "x", "label": "a"}]\n]', {}, "more behind"),
    "numbers": ("a.json", b"[1]", {}, "must hold JSON objects"),
    "cut gz": ("a.csv.gz", gzip.compress(table(",").encode())[:-30], {}, "not a whole gzip file"),
    "no gz": ("a.csv.gz", table(",").encode(), {}, "not a whole gzip file"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_wrong_with_a_file_names_the_key(tmp_path, kind):
    name, content, keys, message = WRONG[kind]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(HarnessError, match=message):
        list(load_examples(task_from_files("own", {**CLASSES, "train": name, **keys}, tmp_path), ".", "train"))


def test_a_packed_file_that_unpacks_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr("harness.data.formats.ALWAYS_FITS", 10_000)
    for name, content in (
        ("a.csv.gz", table(",") + '"x",good\n' * 100_000),
        ("a.jsonl.gz", '{"text": "x"}\n' * 100_000),
    ):
        (tmp_path / name).write_bytes(gzip.compress(content.encode()))
        size = (tmp_path / name).stat().st_size
        with pytest.raises(HarnessError, match=f"{name}: unpacks to more than {max(10_000, 100 * size):,} bytes"):
            task_from_files("own", {**CLASSES, "train": name}, tmp_path)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["9" * 5000], "a label must be a name of at most 1000 characters, found '9999"),
        (["x" * 1001], "at most 1000 characters"),
        ([10**1000], "found a longer number"),
        (["\ud800"], "'label' holds half a character"),
        (
            [f"row {i}" for i in range(20_001)],
            "a.jsonl:20001: more than 20,000 labels: is 'label' the column of the labels?",
        ),
    ],
)
def test_labels_that_are_none(tmp_path, labels, message):
    rows = (json.dumps({"text": f"{i}", "label": label}) + "\n" for i, label in enumerate([*labels, "good"]))
    (tmp_path / "a.jsonl").write_text("".join(rows))
    with pytest.raises(HarnessError, match=message):
        task_from_files("own", {**CLASSES, "train": "a.jsonl"}, tmp_path)


def test_labels_may_be_long_numbers(tmp_path):
    rows = (json.dumps({"text": f"{i}", "label": label}) + "\n" for i, label in enumerate([10**30, 2, "3" * 999]))
    (tmp_path / "a.jsonl").write_text("".join(rows))
    task = task_from_files("own", {**CLASSES, "train": "a.jsonl"}, tmp_path)
    assert task.labels == ("2", "1" + "0" * 30, "3" * 999)


ODD = "text\tlabel\n" + "Fine.\tgood\n" * 30 + "Fine.\tbad\n" + " \tgood\n" + "long " * 300 + "\tgood\n"
YAML = """
tasks: {odd: {problem_type: single_label_classification, text: text, train: odd.tsv, validation: odd.tsv}}
models: {m: {architecture: bert, config: {model_type: bert, hidden_size: 8, num_hidden_layers: 1,
  num_attention_heads: 1, intermediate_size: 8}, tokenizer: sample}}
benchmarks: {b: {tasks: odd, models: m, recipe: {max_steps: 1, max_length: 64}}}
"""
SAID = (
    "odd: train 33: 1 with a blank text, 31 with a text that also has another label, few examples of bad (1)",
    "of the training texts are longer than max_length (64)",
)


@pytest.mark.parametrize("command", ["run", "validate"])
def test_what_is_odd_in_data_is_said_and_ends_nothing(tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    Path("odd.tsv").write_text(ODD)
    Path("b.yaml").write_text(YAML)
    assert main([command, "b.yaml", *(["--data"] if command == "validate" else [])]) == 0
    out = " ".join(capsys.readouterr().out.split())
    for said in SAID:
        assert said in out
    assert Path("results").exists() == (command == "run")
