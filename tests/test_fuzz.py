"""Mutated benchmark, data and record files work, or end with a `HarnessError`; nothing else, nothing half-written.

6,000 of them in all with ``-m slow``, some hundreds otherwise; `test_hostile.py` has what else is read back.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hand_made import record
from hypothesis import strategies as st
from mutations import EDITS, amounts, change_node, command, fuzz, is_message, mutated, places_in
from official import official_file, own_file

from harness import HarnessError, load_examples, load_tasks
from harness.config.benchmark import read_benchmarks
from harness.data.custom import task_from_files
from harness.data.datasets import data_fingerprint, splits_in
from harness.data.summary import data_summary
from harness.io import to_json
from harness.prediction.rows import rows_of
from harness.results.store import Store
from harness.task import functions
from harness.task.task import Task, is_unlabelled

TASKS = load_tasks()
ROWS = 8


# Benchmark files -------------------------------------------------------------------------------------------------

TINY = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
OWN = {"problem_type": "single_label_classification", "text": "text", "train": "train.csv", "metrics": ["accuracy"]}
FILE: dict[str, Any] = {
    "default": "b",
    "plugins": ["plugins"],
    "tasks": {"mine": {**OWN, "validation": "train.csv", "labels": ["bad", "good"]}},
    "models": {
        "bert": {"architecture": "bert", "config": TINY, "tokenizer": "sample", "dropout": 0.1},
        "t5": {"architecture": "t5", "config": {"d_model": 32, "num_layers": 1}, "tokenizer": "sample",
               "decoding": "rank", "recipe": {"learning_rate": 1e-3}},
        "kept": {"architecture": "enct5", "checkpoint": "org/kept", "revision": "main", "num_decoder_layers": 1},
    },
    "benchmarks": {
        "b": {"tasks": ["cola", "mine", "rte"], "models": ["bert", "t5"], "data": {"rte": "sample", "cola": "sample"},
              "seeds": [1, 2], "recipe": {"epochs": 1, "batch_size": 8, "precision": "fp32", "max_length": 32},
              "overrides": {"tasks": {"rte": {"max_steps": 3}}, "models": {"bert": {"eval_every": 2}}},
              "limit": {"train": 20, "validation": 10}, "init_from": {"rte": "cola"}, "predict": ["test"]},
        "c": {"tasks": "superglue", "models": "kept", "data": "sample", "selection": "holdout"},
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "train.csv").write_text("text,label\n" + "A,good\nB,bad\n" * 5)
    (folder / "plugins").mkdir()
    return folder


def as_lines(document: dict[str, Any]) -> bytes:
    """A document with a value or a key a line, for mutations of lines."""
    return json.dumps(document, indent=1).encode()


BLOCKS = (Path(__file__).parent.parent / "benchmarks.yaml").read_bytes()


@amounts(70, 1000)
def test_benchmark_files(number, place, monkeypatch):
    monkeypatch.chdir(place)

    def check(kind: str, edits: list[tuple[str, int, int, int]]) -> None:
        if kind == "nodes":
            document: Any = json.loads(json.dumps(FILE))
            for _, at, size, what in edits:
                if isinstance(document, dict | list):
                    document = change_node(document, "key" if size % 5 == 0 else "value", at, what)
            content = as_lines(document)
        else:
            content = mutated(BLOCKS if kind == "shipped" else as_lines(FILE), edits, documents=False)
        (place / "b.yaml").write_bytes(content)
        valid, _ = command("validate", "b.yaml", "--offline")
        assert valid in (0, 2)
        if valid == 0 and kind != "shipped":  # a dry run of all built-in tasks takes seconds
            assert command("run", "b.yaml", "--dry-run", "--offline")[0] in (0, 2)
        if valid == 2:
            with pytest.raises(HarnessError) as error:
                read_benchmarks("b.yaml", check_folders=True)
            assert is_message(error.value)
        assert {path.name for path in place.iterdir()} <= {"b.yaml", "train.csv", "plugins", "results"}
        assert {path.name for path in place.glob("results/*")} <= {".cache"}

    fuzz(number, check, st.sampled_from(["nodes", "shipped", "bytes"]), EDITS)


# Data files ------------------------------------------------------------------------------------------------------

OFFICIAL = [
    (task.name, split) for task in TASKS.values() if task.suite in ("glue", "superglue") for split in task.files
]


def read_all(task: Task, source: Any) -> None:
    """All that happens to examples before tokenisation; what cannot be read is a `HarnessError`."""
    there = splits_in(task, source, allow_partial=True)
    for split in sorted(there):
        try:
            examples = load_examples(task, source, split, allow_partial=True)
            data_fingerprint(task, source, [split], allow_partial=True)
            for example in examples:
                is_unlabelled(task, example)
                instances = functions.instances(task, example)
                assert all(isinstance(field, str) for i in instances for field in i.fields.values())
                assert all(isinstance(text, str) for text in functions.text_to_text(task, example))
                if split == task.train_split:
                    pairs = functions.training_texts(task, example)
                    assert all(isinstance(text, str) for pair in pairs for text in pair)
                functions.repairs(task, example)
            assert examples
        except HarnessError as error:
            assert is_message(error)


@amounts(140, 1500)
def test_official_files(number, tmp_path):
    contents: dict[tuple[str, str], bytes] = {}

    def check(which: tuple[str, str], edits: list[tuple[str, int, int, int]]) -> None:
        task, split = TASKS[which[0]], which[1]
        if which not in contents:
            contents[which] = official_file(task, split, ROWS)
        path = tmp_path / task.files[split].path
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(mutated(contents[which], edits, documents=path.suffix == ".jsonl"))
        read_all(task, tmp_path)
        path.unlink()

    fuzz(number, check, st.sampled_from(OFFICIAL), EDITS)


@pytest.mark.parametrize(("name", "split"), OFFICIAL)
def test_what_the_mutations_begin_with_is_sound(name, split, tmp_path):
    task = TASKS[name]
    path = tmp_path / task.files[split].path
    path.parent.mkdir()
    path.write_bytes(official_file(task, split, ROWS))
    examples = load_examples(task, tmp_path, split, allow_partial=True)
    expected = load_examples(task, "sample", split)[:ROWS]
    fields = [*task.text_fields, task.label_field]
    if "label" not in task.files[split].columns and task.label_field == "label":
        expected = [{**example, "label": task.unlabelled} for example in expected]
    found, wanted = ([[e[f] for f in fields] for e in part] for part in (examples, expected))
    if split == task.train_split:  # a validation split is cut from it
        assert 0 < len(found) < ROWS and all(example in wanted for example in found)
    else:
        assert found == wanted


TEXTS = ["The boat left.", 'Anna saw, and "heard", it.', "x", "Ein Fluß", "it\u2028is"]
OWN_TASKS: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "classes": (
        {"problem_type": "single_label_classification", "text": "text"},
        [{"text": text, "label": ["good", "bad"][i % 2]} for i, text in enumerate(TEXTS)],
    ),
    "scores": (
        {"problem_type": "regression", "text": ["text", "other"]},
        [{"text": text, "other": text[::-1], "label": i / 2} for i, text in enumerate(TEXTS)],
    ),
    "tags": (
        {"problem_type": "multi_label_classification", "text": "text", "separator": ";"},
        [{"text": text, "label": ["a;b", "b", "a", "c"][i % 4]} for i, text in enumerate(TEXTS)],
    ),
    "quiz": (
        {"problem_type": "multiple_choice", "text": "text", "choices": ["one", "two"]},
        [{"text": text, "one": "yes", "two": "no", "label": i % 2} for i, text in enumerate(TEXTS)],
    ),
    "words": (
        {"problem_type": "token_classification", "scheme": "auto"},
        [{"tokens": text.split(), "tags": ["B-name", "I-name", "O", "O", "O"][: len(text.split())]} for text in TEXTS],
    ),
}  # fmt: skip
SUFFIXES = [".tsv", ".csv", ".jsonl", ".json", ".parquet", ".csv.gz", ".jsonl.gz"]
FORMATS = [(name, ".conll" if name == "words" and suffix == ".csv" else suffix)
           for name in sorted(OWN_TASKS) for suffix in SUFFIXES]  # fmt: skip


@amounts(70, 2000)
def test_files_of_a_users_own(number, tmp_path):
    def check(which: tuple[str, str], how: str, edits: list[tuple[str, int, int, int]]) -> None:
        (spec, records), suffix = OWN_TASKS[which[0]], which[1]
        if how == "rows":
            records = json.loads(json.dumps(records))
            for _, at, size, what in edits:
                records = change_node(records, "key" if size % 5 == 0 else "value", at, what)
            content = None
            with contextlib.suppress(Exception):  # not every table can be written
                content = own_file(suffix, records)
            if content is None:
                return
        elif how == "packed bytes" and suffix.endswith(".gz"):
            content = mutated(own_file(suffix, records), edits, documents=False)
        else:
            plain, packed = suffix.removesuffix(".gz"), suffix.endswith(".gz")
            content = mutated(own_file(plain, records), edits, documents=plain == ".jsonl")
            content = gzip.compress(content) if packed else content
        file = tmp_path / f"train{suffix}"
        file.write_bytes(content)
        try:
            task = task_from_files("own", {**spec, "train": file.name}, tmp_path)
            data_summary(task, {"train": load_examples(task, ".", "train")})
        except HarnessError as error:
            assert is_message(error)
        else:
            read_all(task, ".")
        try:
            list(rows_of(file))
        except HarnessError as error:
            assert is_message(error)
        assert file.read_bytes() == content

    fuzz(number, check, st.sampled_from(FORMATS), st.sampled_from(["bytes", "packed bytes", "rows"]), EDITS)


# Records ---------------------------------------------------------------------------------------------------------

GOLDEN = Path(__file__).parent / "golden" / "results_schema1"


def forged(path: Path, content: bytes) -> None:
    """Change a file of a record together with its checksum."""
    path.write_bytes(content)
    sums = {
        name: hashlib.sha256((path.parent / name).read_bytes()).hexdigest()
        for name in ("record.json", "predictions.jsonl", "curve.jsonl", "history.jsonl")
        if (path.parent / name).exists()
    }
    (path.parent / "checksums.json").write_bytes(to_json(sums))


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """A results folder with a record of schema 1 and one of the present schema, whose labels are scored singly."""
    folder = tmp_path_factory.mktemp("records") / "results"
    shutil.copytree(GOLDEN, folder)
    row = {"task": "mnli", "split": "validation_matched", "index": 0, "idx": 0, "label": [0], "prediction": [0, 1]}
    point = {"step": 5, "epoch": 1.0, "scores": {"validation_matched": {"accuracy": 0.5}}, "selection_score": 0.5}
    store = Store(folder, "sample")
    written = store.write(record("nli", task="mnli", labels={"mnli": ["a", "b"]}, scores={}), predictions=[row],
                          history=[point], log="A line.\n")  # fmt: skip
    store.update_manifest({("mnli", "bert", 1): written.fingerprint}, SAMPLE_DATA)
    return folder


SAMPLE_DATA = {"allow_partial": False, "data": "sample", "limit": None}
FILES = ["record.json", "efficiency.json", "predictions.jsonl", "history.jsonl", "curve.jsonl"]


@amounts(40, 1000)
def test_forged_records(number, results):
    paths = [path for path in sorted(results.rglob("*")) if path.name in FILES and "runs" in path.parts]
    manifests = [results / "sample" / name for name in ("manifest.json", "runs.json")]

    def check(which: int, how: str, edits: list[tuple[str, int, int, int]]) -> None:
        path = (paths + manifests)[which % (len(paths) + len(manifests))]
        before = path.read_bytes()
        sums = path.parent / "checksums.json"
        kept = sums.read_bytes() if sums.exists() else b""
        if how == "nodes" and path.suffix == ".json":
            document = json.loads(before)
            for _, at, size, what in edits:
                if isinstance(document, dict | list):
                    document = change_node(document, "key" if size % 5 == 0 else "value", at, what)
            content = json.dumps(document).encode()
        else:
            content = mutated(before, edits, documents=path.suffix == ".jsonl")
        try:
            forged(path, content) if path in paths else path.write_bytes(content)
            assert command("report", results)[0] in (0, 2)
            assert command("show", path.parent)[0] in (0, 2)
            Store(results, "sample").choices()
        finally:
            path.write_bytes(before)
            if kept:
                sums.write_bytes(kept)

    fuzz(number, check, st.integers(0, 100), st.sampled_from(["nodes", "bytes"]), EDITS)


@pytest.mark.parametrize("name", ["manifest.json", pytest.param("record.json", marks=pytest.mark.slow)])
def test_half_a_character_in_any_text_ends_no_report(name, results):
    """JSON can hold a lone surrogate, which no UTF-8 file can."""
    path = min((results / "sample").rglob(name))
    sums = path.parent / "checksums.json"
    before = {file: file.read_bytes() for file in (path, sums) if file.exists()}
    try:
        for number in itertools.count():
            document = json.loads(before[path])
            if not half_a_character(document, number):
                break
            (forged if sums in before else Path.write_bytes)(path, json.dumps(document).encode())
            assert command("report", results)[0] in (0, 2)
        assert number > 5
    finally:
        for file, content in before.items():
            file.write_bytes(content)


def half_a_character(document: Any, number: int) -> bool:
    """Put one into the text of this number in a document; whether there is such a text."""
    places = [(node, key) for node, key in places_in(document) if isinstance(node[key], str)]
    if number >= len(places):
        return False
    node, key = places[number]
    node[key] += "\ud800"
    return True
