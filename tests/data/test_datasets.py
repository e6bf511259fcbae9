"""Reading a task's examples from folders: the real data sets, partial copies, limits, fingerprints."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import HarnessError, load_examples, load_tasks
from harness.data.datasets import Examples, data_fingerprint, held_out, splits_in
from harness.task import functions
from harness.task.task import SplitFile, Task

GLUE = ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "ax", "qnli", "rte", "wnli")

OFFICIAL = {
    "cola": {"train": {0: 2528, 1: 6023}, "validation": {0: 322, 1: 721}, "test": {-1: 1063}},
    "sst2": {"train": {0: 29780, 1: 37569}, "validation": {0: 428, 1: 444}, "test": {-1: 1821}},
    "mrpc": {"train": {0: 1194, 1: 2474}, "validation": {0: 129, 1: 279}, "test": {-1: 1725}},
    "rte": {"train": {0: 1249, 1: 1241}, "validation": {0: 146, 1: 131}, "test": {-1: 3000}},
    "wnli": {"train": {0: 323, 1: 312}, "validation": {0: 40, 1: 31}, "test": {-1: 146}},
    "ax": {"test": {0: 460, 1: 386, 2: 258}},
    "cb": {"train": {0: 115, 1: 119, 2: 16}, "validation": {0: 23, 1: 28, 2: 5}, "test": {-1: 250}},
    "copa": {"train": {0: 195, 1: 205}, "validation": {0: 55, 1: 45}, "test": {-1: 500}},
    "multirc": {"train": {0: 15218, 1: 12025}, "validation": {0: 2773, 1: 2075}, "test": {-1: 9693}},
    "superglue_rte": {"train": {0: 1249, 1: 1241}, "validation": {0: 146, 1: 131}, "test": {-1: 3000}},
    "wic": {"train": {0: 2714, 1: 2714}, "validation": {0: 319, 1: 319}, "test": {-1: 1400}},
    "wsc": {"train": {0: 295, 1: 259}, "validation": {0: 66, 1: 38}, "test": {-1: 146}},
    "axb": {"test": {0: 460, 1: 644}},
}
"""How often each class is in the official splits: counted in the files, and as published."""


@pytest.mark.data
@pytest.mark.parametrize("name", OFFICIAL)
def test_official_counts_and_label_distributions(name, data_folder):
    expected = OFFICIAL[name]
    assert splits_in(name, data_folder) == set(expected)
    for split, counts in expected.items():
        examples = load_examples(name, data_folder, split)
        assert Counter(example["label"] for example in examples) == counts


@pytest.mark.data
def test_scores_of_stsb_are_numbers_in_range(data_folder):
    for split, rows in {"train": 5749, "validation": 1500}.items():
        scores = [example["label"] for example in load_examples("stsb", data_folder, split)]
        assert len(scores) == rows and min(scores) == 0 and max(scores) == 5
    assert {example["label"] for example in load_examples("stsb", data_folder, "test")} == {-1.0}


@pytest.mark.data
@pytest.mark.parametrize("name", ["cola", "sst2", "mrpc", "stsb", "rte", "wnli"])
@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_first_and_last_rows_are_those_of_the_file(name, split, data_folder):
    task = load_tasks()[name]
    spec = task.files[split]
    lines = (data_folder / "GLUE" / spec.path).read_bytes().decode("utf-8-sig").rstrip("\n").split("\n")[spec.header :]
    examples = load_examples(task, data_folder / "GLUE", split)
    assert len(examples) == len(lines)
    for i in (0, -1):
        cells = lines[i].split("\t")
        texts = [examples[i][field] for field in task.text_fields]
        assert len(cells) > len(texts) and all(text in cells for text in texts)
        assert examples[i]["idx"] == range(len(lines))[i]
        assert set(examples[i]) == {*task.text_fields, "label", "idx"}


def golden_rows(data_folder: Path, name: str) -> list[dict]:
    file = data_folder.parent / "golden" / "t5_text" / f"{name}.jsonl"
    if not file.is_file():
        pytest.skip(f"needs the golden file {file}")
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def split_of(task: Task, file: str) -> str:
    return next(split for split, spec in task.files.items() if spec.path == file.replace(".official_rows", ""))


def without_counts(task: Task) -> Task:
    """The task, for files of any length."""
    files = {split: dataclasses.replace(spec, rows=()) for split, spec in task.files.items()}
    return dataclasses.replace(task, files=files)


def same_record(task: Task, example: dict, features: dict) -> None:
    label = features["label"]
    expected = task.labels.index(label) if isinstance(label, str) else label
    if task.problem_type == "regression":  # the reference keeps single precision
        expected = float(str(np.float32(label)))
    assert {field: example[field] for field in task.text_fields} == {f: features[f] for f in task.text_fields}
    assert example["label"] == expected and type(example["label"]) is type(expected)


@pytest.mark.data
@pytest.mark.parametrize("name", GLUE)
def test_official_rows_become_the_records_and_texts_of_t5(name, data_folder, tmp_path):
    """Every golden row: its raw cells, written as an official file, give the reference's features and texts."""
    task = without_counts(load_tasks()[name])
    rows = golden_rows(data_folder, name)
    for file in {row["file"] for row in rows}:
        chosen = [row for row in rows if row["file"] == file]
        split = split_of(task, file)
        spec = task.files[split]
        table = [list(chosen[0]["raw"])] * spec.header + [list(row["raw"].values()) for row in chosen]
        (tmp_path / spec.path).parent.mkdir(exist_ok=True)
        (tmp_path / spec.path).write_bytes("\n".join("\t".join(cells) for cells in table).encode())
        examples = load_examples(task, tmp_path, split)
        assert len(examples) == len(chosen)
        for example, row in zip(examples, chosen, strict=True):
            same_record(task, example, row["tfds_features"])
            assert functions.text_to_text(task, example) == (row["inputs"], row["targets"])


@pytest.mark.data
@pytest.mark.parametrize("name", ["cola", "sst2", "mrpc", "stsb", "mnli", "rte", "wnli"])
def test_golden_rows_stand_where_the_reference_found_them(name, data_folder):
    task = load_tasks()[name]
    folder = data_folder / ("GLUE-part" if name == "mnli" else "GLUE")
    checked = 0
    for row in golden_rows(data_folder, name):
        if (folder / row["file"]).exists():
            example = load_examples(task, folder, split_of(task, row["file"]), allow_partial=True)[row["row_index"]]
            same_record(task, example, row["tfds_features"])
            assert functions.text_to_text(task, example) == (row["inputs"], row["targets"])
            if name != "mrpc":  # whose official idx counts the rows of a file that is not part of GLUE
                assert example["idx"] == row["tfds_features"]["idx"]
            checked += 1
    assert checked >= 5


@pytest.mark.data
def test_a_folder_above_holds_the_suites(data_folder):
    for name, folder in (("rte", "GLUE"), ("superglue_rte", "SuperGLUE")):
        assert load_examples(name, data_folder, "train") == load_examples(name, data_folder / folder, "train")


@pytest.mark.data
def test_partial_copies(data_folder):
    part = data_folder / "GLUE-part"
    with pytest.raises(HarnessError, match=r"found 9999 examples, expected 392702 .*allow_partial: true"):
        load_examples("mnli", part, "train")
    assert splits_in("mnli", part) == {"train", "validation_matched"}
    assert splits_in("mnli", part, allow_partial=True) == {
        "train",
        "validation_matched",
    }  # one is there: nothing is cut
    assert len(load_examples("mnli", part, "train", allow_partial=True)) == 9999
    with pytest.raises(
        HarnessError, match=r"dev_mismatched.tsv: missing .*There: MNLI/train.tsv, MNLI/dev_matched.tsv"
    ):
        load_examples("mnli", part, "validation_mismatched", allow_partial=True)
    record = data_folder / "SuperGLUE-part"
    assert splits_in("record", record) == {"train"}
    assert splits_in("record", record, allow_partial=True) == {"train", "validation"}
    assert len(load_examples("record", record, "validation", allow_partial=True)) == 6


# Small copies ----------------------------------------------------------------------------------------------------


def write_wnli(folder: Path, split: str, rows: int, offset: int = 0) -> Path:
    """WNLI in its official form, but with other rows."""
    path = folder / "WNLI" / f"{ {'train': 'train', 'validation': 'dev', 'test': 'test'}[split] }.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["index\tsentence1\tsentence2\tlabel"]
    lines += [f"{i}\tFirst {i}.\tSecond {i}.\t{i % 2}" for i in range(offset, offset + rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_missing_validation_split_is_cut_from_train(tmp_path):
    write_wnli(tmp_path, "train", 200)
    every = [f"First {i}." for i in range(200)]
    with pytest.raises(HarnessError, match=r"WNLI/dev.tsv: missing .*with `allow_partial: true` .* cut from train"):
        load_examples("wnli", tmp_path, "validation")
    train = load_examples("wnli", tmp_path, "train", allow_partial=True)
    validation = load_examples("wnli", tmp_path, "validation", allow_partial=True)
    assert len(train) == 180 and len(validation) == 20
    assert sorted(train + validation, key=lambda example: example["idx"]) == [
        {"sentence1": text, "sentence2": text.replace("First", "Second"), "label": i % 2, "idx": i}
        for i, text in enumerate(every)
    ]
    assert [example["idx"] for example in validation] == sorted(example["idx"] for example in validation)
    assert [example["idx"] for example in validation][:5] == [7, 29, 31, 33, 59]  # the same rows on every machine


def test_nothing_is_cut_when_the_validation_file_is_there(tmp_path):
    write_wnli(tmp_path, "train", 200)
    write_wnli(tmp_path, "validation", 30, offset=500)
    assert len(load_examples("wnli", tmp_path, "train", allow_partial=True)) == 200
    assert len(load_examples("wnli", tmp_path, "validation", allow_partial=True)) == 30


def test_one_training_example_cannot_be_cut(tmp_path):
    write_wnli(tmp_path, "train", 1)
    with pytest.raises(HarnessError, match="one example is too little"):
        load_examples("wnli", tmp_path, "validation", allow_partial=True)


@given(
    names=st.lists(st.integers(0, 9), min_size=2, max_size=80).filter(lambda names: len(set(names)) > 1),
    share=st.sampled_from([0.05, 0.1, 0.4]),
    most=st.integers(1, 20),
)
@settings(deadline=None)
def test_what_is_held_out_is_whole_clusters(names, share, most):
    task = dataclasses.replace(load_tasks()["multirc"], cluster="passage")
    rows = [{"passage": f"Passage  {name}", "idx": i} for i, name in enumerate(names)]
    held = held_out(task, Examples(lambda: iter(rows)), share, most, "here")
    inside = {names[i] for i in held}
    assert held == [i for i, name in enumerate(names) if name in inside]
    assert 0 < len(held) < len(names)
    size, smallest = min(most, max(1, int(len(names) * share))), min(Counter(names).values())
    assert len(held) <= size or (len(held) == smallest > size)  # where no cluster is small enough, the smallest is it
    left = [count for name, count in Counter(names).items() if name not in inside]
    assert len(held) > size or len(held) + min(left) > size  # nothing more fits


def test_examples_that_are_all_of_one_cluster_cannot_be_parted():
    rows = [{"question": "Q", "sentence": str(i), "idx": i} for i in range(5)]
    with pytest.raises(HarnessError, match=r"^here: all 5 examples belong together: one cluster is too little"):
        held_out(load_tasks()["qnli"], Examples(lambda: iter(rows)), 0.1, 10, "here")


def test_a_cut_keeps_clusters_whole_and_they_are_part_of_its_content(tmp_path):
    path = write_wnli(tmp_path, "train", 40)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], *(f"{i}\tFirst {i // 4}.\tSecond {i}.\t{i % 2}" for i in range(40))]) + "\n")
    wnli = load_tasks()["wnli"]
    for task, texts in ((wnli, 1), (dataclasses.replace(wnli, cluster=("sentence1", "sentence2")), 3)):
        train, cut = (load_examples(task, tmp_path, name, allow_partial=True) for name in ("train", "validation"))
        assert len(train) + len(cut) == 40 and len(cut) == 4
        assert len({example["sentence1"] for example in cut}) == texts
        assert not {functions.cluster_of(task, e) for e in cut} & {functions.cluster_of(task, e) for e in train}
    content = [
        data_fingerprint(task, tmp_path, ["train"], allow_partial=True)["content"]
        for task in (
            wnli,
            dataclasses.replace(wnli, cluster="sentence1"),
            dataclasses.replace(wnli, cluster="sentence2"),
        )
    ]
    assert content[0] == content[1] != content[2]


@given(rows=st.integers(2, 60), limit=st.integers(1, 80))
@settings(deadline=None, max_examples=20)
def test_limits_keep_the_official_order(rows, limit, tmp_path_factory):
    folder, task = tmp_path_factory.mktemp("limits"), load_tasks()["wnli"]
    write_wnli(folder, "train", rows)
    write_wnli(folder, "validation", rows)
    options = {"allow_partial": True, "limit": limit}
    train = [example["idx"] for example in load_examples(task, folder, "train", **options)]
    assert train == sorted(set(train)) and len(train) == min(rows, limit)
    assert train == [example["idx"] for example in load_examples(task, folder, "train", **options)]
    validation = [example["idx"] for example in load_examples(task, folder, "validation", **options)]
    assert validation == list(range(min(rows, limit)))


def test_a_limited_training_set_is_a_sample(tmp_path):
    write_wnli(tmp_path, "train", 635)
    few = [example["idx"] for example in load_examples("wnli", tmp_path, "train", limit=50)]
    more = [example["idx"] for example in load_examples("wnli", tmp_path, "train", limit=100)]
    assert set(few) < set(more) and max(few) > 500 and few != list(range(50))
    with pytest.raises(HarnessError, match="limit must be at least 1, found 0"):
        load_examples("wnli", tmp_path, "train", limit=0)


def test_official_counts_are_demanded(tmp_path):
    path = write_wnli(tmp_path, "validation", 70)
    with pytest.raises(HarnessError, match=r"dev.tsv: found 70 examples, expected 71 \(the official number\)"):
        load_examples("wnli", tmp_path, "validation")
    assert len(load_examples("wnli", tmp_path, "validation", allow_partial=True)) == 70
    path.write_text(path.read_text() + "70\tOne more.\tMore.\t1\n")
    assert len(load_examples("wnli", tmp_path, "validation")) == 71


def test_records_that_a_newline_breaks_are_left_out_where_the_official_number_remains(tmp_path):
    """As in the official QQP files: every reader of GLUE skips the halves."""
    path = write_wnli(tmp_path, "validation", 71)
    path.write_text(path.read_text() + '71\tBroken "\n"\trest\t1\n')
    examples = load_examples("wnli", tmp_path, "validation")
    assert len(examples) == 71 and examples[-1]["sentence1"] == "First 70."
    with pytest.raises(HarnessError, match=r"dev.tsv:73: found 2 columns, expected 4"):
        load_examples("wnli", tmp_path, "validation", allow_partial=True)
    write_wnli(tmp_path, "validation", 70)
    path.write_text(path.read_text() + '71\tBroken "\n"\trest\t1\n')
    with pytest.raises(HarnessError, match=r"dev.tsv:72: found 2 columns, expected 4"):
        load_examples("wnli", tmp_path, "validation")


def test_alternatives_are_tried_first(tmp_path):
    folder = tmp_path / "diagnostic"
    folder.mkdir()
    (folder / "diagnostic.tsv").write_text("index\tsentence1\tsentence2\n0\tA.\tB.\n")
    plain = load_examples("ax", tmp_path, "test", allow_partial=True)
    assert plain == [{"premise": "A.", "hypothesis": "B.", "label": -1, "idx": 0}]
    (folder / "diagnostic-full.tsv").write_bytes(b"Logic\tPremise\tHypothesis\tLabel\r\n\tA.\tB.\tneutral\r\n")
    full = load_examples("ax", tmp_path, "test", allow_partial=True)
    assert full == [{"premise": "A.", "hypothesis": "B.", "label": 1, "idx": 0}]


# Sources ---------------------------------------------------------------------------------------------------------


def test_folders_without_the_data(tmp_path):
    (tmp_path / "file").write_text("x")
    cases = {
        tmp_path / "nowhere": "nowhere: there is no such folder",
        tmp_path / "file": "is a file: name the folder it lies in",
        tmp_path: "no data of task 'wnli' is there: expected WNLI/train.tsv, WNLI/dev.tsv, WNLI/test.tsv, "
        "in this folder or in a folder 'glue' in it",
    }
    for source, message in cases.items():
        with pytest.raises(HarnessError) as error:
            load_examples("wnli", source, "train")
        assert message in str(error.value) and "\n" not in str(error.value)
    assert splits_in("wnli", tmp_path) == set()


def test_a_missing_file_names_those_that_are_there(tmp_path):
    write_wnli(tmp_path, "validation", 71)
    with pytest.raises(HarnessError) as error:
        load_examples("wnli", tmp_path, "train")
    path = tmp_path / "WNLI" / "train.tsv"
    assert str(error.value) == f"{path}: missing (the train split of task 'wnli'). There: WNLI/dev.tsv"


def test_unknown_names(tmp_path):
    with pytest.raises(HarnessError, match=r"no task 'wnlli'. Did you mean 'wnli'"):
        load_examples("wnlli", tmp_path, "train")
    with pytest.raises(
        HarnessError, match=r"task 'mnli' has no split 'validation'.* Its splits: train, validation_matched"
    ):
        load_examples("mnli", tmp_path, "validation")
    task = Task("mine", "mine", "regression", ("text",), ("pearson",))
    with pytest.raises(HarnessError, match="task 'mine' has no official files"):
        load_examples(task, tmp_path, "train")
    with pytest.raises(HarnessError, match="task 'mine' is not on the Hub"):
        load_examples(task, "hub", "train")


def test_sample_data_comes_from_its_generator():
    examples = load_examples("mnli", "sample", "validation_matched")
    assert len(examples) >= 200 and {"premise", "hypothesis", "label", "idx"} <= set(examples[0])
    assert splits_in("mnli", "sample") >= {"train", "validation_matched", "validation_mismatched"}
    assert len(load_examples("mnli", "sample", "train", limit=7)) == 7


def test_reading_data_needs_no_heavy_library():
    code = (
        "import sys, harness, harness.data.custom, harness.data.hub\n"
        "heavy = {'torch', 'transformers', 'datasets', 'pandas', 'scipy', 'sklearn', 'pyarrow', 'huggingface_hub'}\n"
        "sys.exit(f'{heavy & set(sys.modules)}' if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0, done.stderr


# Fingerprints ----------------------------------------------------------------------------------------------------


def fingerprint(folder: Path, splits=("train", "validation"), task: str | Task = "wnli", **options) -> str:
    return json.dumps(data_fingerprint(task, folder, splits, **options), sort_keys=True)


def test_a_fingerprint_knows_content_and_not_the_path(tmp_path):
    for folder in (tmp_path / "a", tmp_path / "b" / "glue"):
        write_wnli(folder, "train", 635)
        write_wnli(folder, "validation", 71)
    one = fingerprint(tmp_path / "a")
    assert one == fingerprint(tmp_path / "b") == fingerprint(tmp_path / "b" / "glue")
    assert one == fingerprint(tmp_path / "a", allow_partial=True)  # nothing is partial here
    assert one != fingerprint(tmp_path / "a", ["train"])
    assert one != fingerprint(tmp_path / "a", limit=5)
    write_wnli(tmp_path / "b" / "glue", "test", 146)
    assert one == fingerprint(tmp_path / "b")  # a file that is not used


@given(at=st.integers(0, 10**6), byte=st.integers(0, 255))
@settings(deadline=None, max_examples=30)
def test_any_changed_byte_changes_the_fingerprint(at, byte, tmp_path_factory):
    folder, task = tmp_path_factory.mktemp("bytes"), load_tasks()["wnli"]
    path = write_wnli(folder, "train", 40)
    write_wnli(folder, "validation", 40)
    before, data = fingerprint(folder, task=task), bytearray(path.read_bytes())
    at %= len(data)
    changed = data[at] != byte
    data[at] = byte
    path.write_bytes(bytes(data))
    assert (fingerprint(folder, task=task) != before) == changed


def test_the_way_of_reading_is_part_of_the_fingerprint(tmp_path):
    write_wnli(tmp_path, "train", 40)
    task = load_tasks()["wnli"]
    swapped = dataclasses.replace(task.files["train"], labels=("1", "0"))
    other = dataclasses.replace(task, files={**task.files, "train": swapped})
    assert fingerprint(tmp_path, ["train"]) != fingerprint(tmp_path, ["train"], other)


def test_a_cut_is_part_of_the_fingerprint(tmp_path):
    write_wnli(tmp_path, "train", 200)
    cut = data_fingerprint("wnli", tmp_path, ["train", "validation"], allow_partial=True)["content"]
    assert cut["train"] != cut["validation"]
    write_wnli(tmp_path, "validation", 20)
    whole = data_fingerprint("wnli", tmp_path, ["train", "validation"], allow_partial=True)["content"]
    assert cut["train"] != whole["train"] and cut["validation"] != whole["validation"]


def test_fingerprints_of_sample_data_and_of_missing_files(tmp_path):
    found = data_fingerprint("wnli", "sample", ["train", "validation"])
    assert found["source"] == "sample" and set(found["content"]) == {"train", "validation"}
    assert found == json.loads(json.dumps(found)) == data_fingerprint("wnli", "sample", ["train", "validation"])
    write_wnli(tmp_path, "train", 40)
    with pytest.raises(HarnessError, match=r"WNLI/dev.tsv: missing"):
        data_fingerprint("wnli", tmp_path, ["validation"])


def test_a_plugin_file_may_name_other_rows(tmp_path):
    """`rows` are alternatives: several versions of a file are official."""
    files = {"train": SplitFile("t.tsv", {"text": "text", "label": "label"}, rows=(2, 3))}
    task = Task("mine", "mine", "single_label_classification", ("text",), ("accuracy",), ("no", "yes"), files=files)
    for rows in (2, 3):
        (tmp_path / "t.tsv").write_text("text\tlabel\n" + "a\tyes\n" * rows)
        assert len(load_examples(task, tmp_path, "train")) == rows
    (tmp_path / "t.tsv").write_text("text\tlabel\n" + "a\tyes\n" * 4)
    with pytest.raises(HarnessError, match="found 4 examples, expected 2 or 3"):
        load_examples(task, tmp_path, "train")
