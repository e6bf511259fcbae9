"""A user's own data files as tasks: every problem type, every file format, and what is wrong in a description."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness import HarnessError, load_examples
from harness.data.custom import separator_warning, task_from_files
from harness.data.datasets import data_fingerprint, splits_in
from harness.data.files import read_examples
from harness.task import functions
from harness.task.task import Instance

REVIEWS = "text,stars\n" + "".join(f'"Review {i}, quite long",{"good" if i % 3 else "bad"}\n' for i in range(40))


def write(folder: Path, **files: str) -> None:
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_text(content, encoding="utf-8")


def lines(*records: dict) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def test_classification_from_csv(tmp_path):
    write(tmp_path, train_csv=REVIEWS, dev_csv="text,stars\nFine,good\n", test_csv="text\nWho knows\n")
    spec = {
        "problem_type": "single_label_classification",
        "text": "text",
        "label": "stars",
        "train": "train.csv",
        "validation": "dev.csv",
        "test": "test.csv",
    }
    task = task_from_files("reviews", spec, tmp_path)
    assert (task.suite, task.labels, task.metrics) == ("custom", ("bad", "good"), ("accuracy",))
    assert splits_in(task, "anywhere") == {"train", "validation", "test"}
    train = load_examples(task, "anywhere", "train")
    assert len(train) == 40 and train[0] == {"text": "Review 0, quite long", "label": 0, "idx": 0}
    assert load_examples(task, "sample", "validation") == [{"text": "Fine", "label": 1, "idx": 0}]
    assert load_examples(task, "hub", "test") == [{"text": "Who knows", "label": -1, "idx": 0}]
    assert functions.text_to_text(task, train[1]) == ("reviews text: Review 1, quite long", "good")


def test_a_validation_split_is_cut_from_train(tmp_path):
    write(tmp_path, train_csv=REVIEWS)
    spec = {"problem_type": "single_label_classification", "text": ["text"], "label": "stars", "train": "train.csv"}
    task = task_from_files("reviews", spec, tmp_path)
    assert splits_in(task, ".") == {"train", "validation"} and task.test_splits == ()
    train, validation = (load_examples(task, ".", split) for split in ("train", "validation"))
    assert len(train) == 36 and len(validation) == 4
    assert {e["idx"] for e in train} | {e["idx"] for e in validation} == set(range(40))


def test_what_is_cut_from_train_keeps_the_documents_of_a_column_whole(tmp_path):
    rows = "".join(f"{i // 5},Review {i},{'good' if i % 3 else 'bad'}\n" for i in range(40))
    write(tmp_path, train_csv="doc_id,text,stars\n" + rows, test_csv="text\nWho knows\n")
    spec = {"problem_type": "single_label_classification", "text": "text", "label": "stars", "train": "train.csv"}
    task = task_from_files("reviews", {**spec, "test": "test.csv", "cluster": "doc_id"}, tmp_path)
    train, validation = (load_examples(task, ".", split) for split in ("train", "validation"))
    assert len(train) == 35 and len(validation) == 5 and len({e["doc_id"] for e in validation}) == 1
    assert load_examples(task, ".", "test") == [{"text": "Who knows", "label": -1, "idx": 0}]
    with pytest.raises(HarnessError, match=r"there is no column 'doc'.* Did you mean 'doc_id'"):
        task_from_files("reviews", {**spec, "cluster": "doc"}, tmp_path)
    with pytest.raises(HarnessError, match="'cluster' cannot be the column 'stars': it is the label"):
        task_from_files("reviews", {**spec, "cluster": ["doc_id", "stars"]}, tmp_path)


def test_pairs_from_tsv_with_labels_in_a_chosen_order(tmp_path):
    write(tmp_path, train_tsv='a\tb\tlabel\n"A\tB\tyes\nC\tD\tno\n')
    spec = {"problem_type": "single_label_classification", "text": ["a", "b"], "labels": ["yes", "no", "maybe"]}
    task = task_from_files("pairs", {**spec, "train": "train.tsv", "validation": "train.tsv"}, tmp_path)
    assert task.num_labels == 3
    assert load_examples(task, ".", "train")[0] == {"a": '"A', "b": "B", "label": 0, "idx": 0}


def test_regression(tmp_path):
    write(tmp_path, train_jsonl=lines({"text": "A", "score": 1}, {"text": "B", "score": -2.5}))
    spec = {"problem_type": "regression", "text": "text", "label": "score", "train": "train.jsonl"}
    task = task_from_files("scores", {**spec, "validation": "train.jsonl"}, tmp_path)
    assert (task.labels, task.metrics, task.num_labels) == ((), ("pearson", "spearmanr"), 1)
    assert [e["label"] for e in load_examples(task, ".", "train")] == [1.0, -2.5]


def test_the_range_of_a_regression(tmp_path):
    write(tmp_path, train_csv="text,label\nA,0\nB,10\n", dev_csv="text,label\nA,10.5\n")
    spec = {"problem_type": "regression", "text": "text", "train": "train.csv", "range": [0, 10]}
    task = task_from_files("scores", {**spec, "validation": "dev.csv"}, tmp_path)
    assert task.score_range == (0.0, 10.0) and task.answers[-1] == "10.0" and task.unlabelled == -1.0
    with pytest.raises(HarnessError, match=r"dev.csv:2: the score '10.5' is not between 0 and 10"):
        load_examples(task, ".", "validation")
    wide = task_from_files("scores", {**spec, "range": [0, 1e6]}, tmp_path)
    assert wide.answers is None and wide.score_range == (0.0, 1e6)
    assert task_from_files("scores", {**spec, "range": None}, tmp_path).score_range is None


def test_several_labels(tmp_path):
    write(tmp_path, train_tsv="text\tlabel\nA\t10;9\nB\t2\n", dev_jsonl=lines({"text": "C", "label": ["9", 2]}))
    spec = {"problem_type": "multi_label_classification", "text": "text", "separator": ";", "train": "train.tsv"}
    task = task_from_files("tags", {**spec, "validation": "dev.jsonl"}, tmp_path)
    assert (task.labels, task.metrics) == (("2", "9", "10"), ("micro_f1", "macro_f1"))
    assert [e["label"] for e in load_examples(task, ".", "train")] == [[1, 2], [0]]
    assert load_examples(task, ".", "validation")[0]["label"] == [0, 1]


@pytest.mark.parametrize("right", [1, "1", "b"])
def test_multiple_choice(right, tmp_path):
    write(tmp_path, train_jsonl=lines({"q": "Why?", "a": "So.", "b": "Thus.", "label": right}))
    spec = {"problem_type": "multiple_choice", "text": "q", "choices": ["a", "b"], "train": "train.jsonl"}
    task = task_from_files("quiz", {**spec, "validation": "train.jsonl"}, tmp_path)
    example = load_examples(task, ".", "train")[0]
    assert (task.labels, task.metrics, task.num_labels) == (("a", "b"), ("accuracy",), 1)
    assert example == {"q": "Why?", "a": "So.", "b": "Thus.", "label": 1, "idx": 0}
    assert functions.instances(task, example) == [
        Instance({"q": "Why?", "choice": "So."}, 0),
        Instance({"q": "Why?", "choice": "Thus."}, 1),
    ]
    assert functions.text_to_text(task, example) == ("quiz a: So. b: Thus. q: Why?", "b")
    assert functions.instances(task, {**example, "label": -1})[0].label is None
    assert functions.decide(task, [[0.1], [0.7]], example) == 1


def test_choices_counted_from_one(tmp_path):
    write(tmp_path, train_csv="q,a,b,label\nWhy?,So.,Thus.,2\n")
    spec = {"problem_type": "multiple_choice", "text": "q", "choices": ["a", "b"], "labels": [1, 2]}
    task = task_from_files("quiz", {**spec, "train": "train.csv", "validation": "train.csv"}, tmp_path)
    assert load_examples(task, ".", "train")[0]["label"] == 1


def test_parquet(tmp_path):
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table({"text": ["A", "B"], "label": [[0, 2], []]})
    pyarrow.parquet.write_table(table, tmp_path / "train.parquet")
    spec = {"problem_type": "multi_label_classification", "text": "text", "labels": [0, 1, 2], "train": "train.parquet"}
    task = task_from_files("tags", {**spec, "validation": "train.parquet"}, tmp_path)
    assert [e["label"] for e in load_examples(task, ".", "train")] == [[0, 2], []]


def test_booleans_of_yaml_are_label_names(tmp_path):
    write(tmp_path, train_jsonl=lines({"text": "A", "label": True}), dev_csv="text,label\nB,false\n")
    spec = {"problem_type": "single_label_classification", "text": "text", "labels": [False, True]}
    task = task_from_files("facts", {**spec, "train": "train.jsonl", "validation": "dev.csv"}, tmp_path)
    assert [load_examples(task, ".", split)[0]["label"] for split in ("train", "validation")] == [1, 0]


def test_the_fingerprint_knows_the_files_content_only(tmp_path):
    spec = {"problem_type": "single_label_classification", "text": "text", "label": "stars", "train": "train.csv"}
    found = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        write(folder, train_csv=REVIEWS)
        found.append(data_fingerprint(task_from_files("reviews", spec, folder), ".", ["train", "validation"]))
    assert found[0] == found[1] and found[0]["source"] == "files"
    write(tmp_path / "two", train_csv=REVIEWS.replace("Review 7", "Review 77"))
    assert data_fingerprint(task_from_files("reviews", spec, tmp_path / "two"), ".", ["train"]) != found[0]


GOOD = {"problem_type": "single_label_classification", "text": "text", "label": "stars", "train": "train.csv"}
BAD = {
    "unknown key": ({"lable": "x"}, "unknown key 'lable'. Did you mean 'label'?"),
    "no text": ({"text": None}, "'text' is missing"),
    "problem type": ({"problem_type": "regresion"}, "unknown problem_type 'regresion'. Did you mean 'regression'?"),
    "no such file": ({"validation": "dev.csv"}, "'validation': there is no file "),
    "format": ({"train": "train.txt"}, "'train': train.txt must end with one of .tsv, .csv, .json, .jsonl, .parquet"),
    "file name": ({"train": 5}, "'train' must be a file name, found 5"),
    "column": ({"text": "txt"}, "there is no column 'txt'. Did you mean 'text'? Found: text, stars"),
    "label column": ({"label": "star"}, "there is no column 'star'. Did you mean 'stars'? Found: text, stars"),
    "texts of no column": ({"text": []}, "'text' names no column"),
    "an empty text": ({"text": ""}, "'text' names no column"),
    "no words": ({"problem_type": "token_classification", "text": []}, "'text' names no column"),
    "text type": ({"text": [1]}, "'text' must be a name or a list of names, found [1]"),
    "text twice": ({"text": ["text", "text"]}, "'text' names something twice: text, text"),
    "label as text": ({"text": ["text", "stars"]}, "the column 'stars' cannot be a text"),
    "metric": ({"metrics": "acuracy"}, "unknown metric 'acuracy'. Did you mean 'accuracy'?"),
    "choices": ({"choices": ["text"]}, "multiple_choice, and only it, needs 'choices'"),
    "no choices": ({"problem_type": "multiple_choice"}, "multiple_choice, and only it, needs 'choices'"),
    "labels of a regression": ({"problem_type": "regression", "labels": ["a"]}, "a regression has no 'labels'"),
    "range of classes": ({"range": [0, 5]}, "only a regression has a 'range'"),
    "range of one": ({"problem_type": "regression", "range": [0]}, "'range' must be two numbers"),
    "range of words": ({"problem_type": "regression", "range": ["0", "5"]}, "'range' must be two numbers"),
    "range of flags": ({"problem_type": "regression", "range": [False, True]}, "'range' must be two numbers"),
    "range without end": ({"problem_type": "regression", "range": [0, float("inf")]}, "'range' must be two numbers"),
    "range backwards": ({"problem_type": "regression", "range": [5, 0]}, "the lowest score before the highest"),
    "labels": ({"labels": "good"}, "'labels' must be a list of class names, found 'good'"),
    "labels twice": ({"labels": ["good", "good"]}, "labels must be a tuple of different names"),
    "labels of choices": (
        {"problem_type": "multiple_choice", "text": [], "choices": ["text"], "labels": 5},
        "'labels' must be a list of class names, found 5",
    ),
    "separator": ({"separator": ""}, "'separator' must be a character, found ''"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_descriptions(case, tmp_path):
    write(tmp_path, train_csv=REVIEWS, train_txt=REVIEWS)
    change, expected = BAD[case]
    with pytest.raises(HarnessError) as error:
        task_from_files("reviews", {**GOOD, **change}, tmp_path)
    assert str(error.value).startswith("task 'reviews': ") and expected in str(error.value)
    assert "\n" not in str(error.value)


def test_labels_that_the_training_file_does_not_have(tmp_path):
    write(tmp_path, train_csv=REVIEWS, dev_csv="text,stars\nFine,excellent\n")
    task = task_from_files("reviews", {**GOOD, "validation": "dev.csv"}, tmp_path)
    with pytest.raises(HarnessError, match=r"dev.csv:2: unknown label 'excellent'. Known labels: bad, good"):
        load_examples(task, ".", "validation")
    write(tmp_path, train_csv="text,stars\nFine,\n")
    with pytest.raises(HarnessError, match=r"train.csv:2: the label is missing"):
        task_from_files("reviews", GOOD, tmp_path)
    write(tmp_path, train_csv="")
    with pytest.raises(HarnessError, match=r"train.csv:1: the file is empty"):
        task_from_files("reviews", GOOD, tmp_path)


def test_files_with_too_little_in_them(tmp_path):
    write(tmp_path, head_tsv="text\tlabel\n", one_tsv="text\tlabel\na\tb\n")
    spec = {"problem_type": "single_label_classification", "text": "text"}
    with pytest.raises(HarnessError, match=r"head\.tsv: there are no rows in it"):
        task_from_files("own", {**spec, "train": "head.tsv"}, tmp_path)
    with pytest.raises(HarnessError) as error:
        load_examples(task_from_files("own", {**spec, "train": "one.tsv"}, tmp_path), ".", "train")
    assert str(error.value) == f"{tmp_path / 'one.tsv'}: one example is too little to cut a validation split from it"


def test_a_tag_that_would_turn_the_terminal_around_is_shown_by_its_code(tmp_path):
    write(tmp_path, train_conll="Anna\tB-name\nBell\t\u202eI-name\n\n")
    with pytest.raises(HarnessError) as error:
        task_from_files("own", {"problem_type": "token_classification", "train": "train.conll"}, tmp_path)
    assert "\\u202eI-name" in str(error.value) and str(error.value).isprintable()


# Several labels --------------------------------------------------------------------------------------------------

CELLS = [("plot", "acting"), ("acting",), ("plot", "music"), ("music",), (), ("plot",)]
SEVERAL = {"problem_type": "multi_label_classification", "text": "text", "train": "train.csv"}


def topics(tmp_path, cells, header="text,label", name="train.csv", **spec):
    lines = [header, *(f"text {i},{cell}" for i, cell in enumerate(cells))]
    (tmp_path / name).write_text("\n".join(lines) + "\n")
    return task_from_files("topics", {**SEVERAL, **spec}, tmp_path)


def labels_in(task):
    source = task.files["train"]
    examples = read_examples(task, source, Path(source.path))
    return [tuple(task.labels[i] for i in example["label"]) for example in examples]


@pytest.mark.parametrize("separator", [";", "|", ",", "/", " "])
def test_labels_of_a_cell_are_read_by_their_separator(tmp_path, separator):
    cells = [f'"{separator.join(cell)}"' for cell in CELLS]
    task = topics(tmp_path, cells, separator=separator)
    assert labels_in(task) == [tuple(sorted(cell)) for cell in CELLS] and separator_warning(task) is None


def test_labels_of_a_cell_may_be_a_json_list(tmp_path):
    cells = ['"' + json.dumps(cell).replace('"', '""') + '"' for cell in CELLS]
    task = topics(tmp_path, cells)
    assert task.labels == ("acting", "music", "plot")
    assert labels_in(task) == [tuple(sorted(cell)) for cell in CELLS]


@pytest.mark.parametrize(("yes", "no"), [("1", "0"), ("True", "False"), ("1.0", "0.0")])
def test_labels_may_be_columns_of_0_and_1(tmp_path, yes, no):
    columns = ["plot", "acting", "music"]
    cells = [",".join(yes if name in cell else no for name in columns) for cell in CELLS]
    task = topics(tmp_path, cells, header=f"text,{','.join(columns)}", label=columns)
    assert task.labels == ("plot", "acting", "music")
    assert labels_in(task) == [tuple(name for name in columns if name in cell) for cell in CELLS]
    named = topics(tmp_path, cells, header=f"text,{','.join(columns)}", label=columns, labels=["a", "b", "c"])
    assert labels_in(named)[0] == ("a", "b")
    (tmp_path / "test.csv").write_text("text\nunlabelled\n")
    tested = topics(tmp_path, cells, header=f"text,{','.join(columns)}", label=columns, test="test.csv")
    (example,) = read_examples(tested, tested.files["test"], tmp_path / "test.csv")
    assert example["label"] is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": ["plot", "akting"]}, "no column 'akting'"),
        ({"label": ["plot", "acting"], "labels": ["a"]}, "names 2 columns, but there are 1 labels"),
        ({"label": ["plot", "acting"], "problem_type": "single_label_classification"}, "only multi_label"),
    ],
)
def test_mistakes_with_columns_of_labels(tmp_path, changes, message):
    with pytest.raises(HarnessError, match=message):
        topics(tmp_path, ["1,0"], header="text,plot,acting", **changes)


def test_what_is_neither_0_nor_1_in_a_column_of_a_label_is_told(tmp_path):
    task = topics(tmp_path, ["1,0", "1,2"], header="text,plot,acting", label=["plot", "acting"])
    with pytest.raises(HarnessError, match=r"train.csv:3: 'acting' must be 0 or 1, found '2'"):
        labels_in(task)


@pytest.mark.parametrize("separator", [";", "|", "/", " "])
def test_cells_that_look_like_several_labels_are_told(tmp_path, separator):
    task = topics(tmp_path, [separator.join(cell) for cell in CELLS])
    warning = separator_warning(task)
    assert warning is not None and "looks like several labels" in warning and f"separator: {separator!r}" in warning
    listed = topics(tmp_path, [separator.join(cell) for cell in CELLS], labels=["plot", "acting", "music"])
    with pytest.raises(HarnessError, match=r"several labels with .* between them: name it as 'separator'"):
        labels_in(listed)


@pytest.mark.parametrize("names", [("New York", "New Jersey", "Ohio"), ("R&B", "rock / pop", "folk"), ("a", "b")])
def test_labels_of_several_words_are_no_several_labels(tmp_path, names):
    assert separator_warning(topics(tmp_path, names)) is None
