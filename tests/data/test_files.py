"""Reading data files: whatever was written is read back, and whatever is wrong is named with file and line."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from harness import HarnessError
from harness.data.datasets import load_examples
from harness.task.task import SplitFile, Task

LABELS = ("no", "yes")


def pair_task(file: str = "train.tsv", **options) -> Task:
    """A task over pairs of texts, with one data file."""
    spec = {"columns": {"first": "a", "second": "b", "label": "label"}, **options}
    return Task(
        "pairs", "mine", "single_label_classification", ("first", "second"), ("accuracy",), LABELS,
        files={"train": SplitFile(file, **spec)},
    )  # fmt: skip


def score_task(**options) -> Task:
    files = {"train": SplitFile("train.tsv", {"text": "a", "label": "score"}, **options)}
    return Task("scores", "mine", "regression", ("text",), ("pearson",), files=files, score_range=(0.0, 5.0))


def tag_task(file: str, **options) -> Task:
    files = {"train": SplitFile(file, {"text": "a", "label": "tags"}, **options)}
    return Task("tags", "mine", "multi_label_classification", ("text",), ("micro_f1",), ("x", "y", "z"), files=files)


def read(folder: Path, content: bytes, task: Task | None = None) -> list[dict]:
    task = task or pair_task()
    (folder / task.files["train"].path).write_bytes(content)
    return load_examples(task, folder, "train")


def message(folder: Path, content: bytes, task: Task | None = None) -> str:
    """The error's message, from the file's name on."""
    with pytest.raises(HarnessError) as error:
        read(folder, content, task)
    text = str(error.value)
    assert text.startswith(f"{folder}/") and "\n" not in text
    return text.removeprefix(f"{folder}/")


# What is written is read back ------------------------------------------------------------------------------------

characters = st.characters(exclude_characters="\t\n\0", exclude_categories=["Cs"])
cells = st.text(characters, max_size=12)
pairs = st.lists(st.tuples(cells, cells, st.sampled_from(LABELS)), min_size=1, max_size=6)


@given(rows=pairs, header=st.booleans(), bom=st.booleans(), final=st.booleans(), crlf=st.booleans())
@example(rows=[("a\r", "\x85 \u2028", "yes")], header=True, bom=False, final=False, crlf=False)
@example(rows=[('"quoted', 'it"s', "no"), ("", " ", "yes")], header=False, bom=True, final=True, crlf=True)
@settings(deadline=None, max_examples=150)
def test_tsv_is_read_back_as_written(rows, header, bom, final, crlf, tmp_path_factory):
    columns = {"first": "a", "second": "b", "label": "label"} if header else {"first": 0, "second": 1, "label": 2}
    lines = ["\t".join(row) for row in ([("a", "b", "label"), *rows] if header else rows)]
    assume(bom or not lines[0].startswith("\ufeff"))  # else the text would begin with a byte-order mark
    end = "\r\n" if crlf else "\n"
    text = ("\ufeff" if bom else "") + end.join(lines) + (end if final else "")
    task = pair_task(columns=columns, header=header)
    read_back = read(tmp_path_factory.mktemp("tsv"), text.encode(), task)
    assert read_back == [
        {"first": first, "second": second, "label": LABELS.index(label), "idx": i}
        for i, (first, second, label) in enumerate(rows)
    ]


any_text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)


@given(rows=st.lists(st.tuples(any_text, any_text, st.sampled_from(LABELS)), min_size=1, max_size=6))
@settings(deadline=None, max_examples=100)
def test_csv_is_read_back_as_written(rows, tmp_path_factory):
    text = io.StringIO(newline="")
    csv.writer(text).writerows([("a", "b", "label"), *rows])
    read_back = read(tmp_path_factory.mktemp("csv"), text.getvalue().encode(), pair_task("train.csv"))
    assert [(e["first"], e["second"], LABELS[e["label"]]) for e in read_back] == rows


@given(rows=st.lists(st.tuples(any_text, any_text, st.sampled_from(LABELS)), min_size=1, max_size=6))
@settings(deadline=None, max_examples=100)
def test_json_lines_are_read_back_as_written(rows, tmp_path_factory):
    text = "".join(json.dumps(dict(zip(("a", "b", "label"), row, strict=True))) + "\n" for row in rows)
    read_back = read(tmp_path_factory.mktemp("jsonl"), text.encode(), pair_task("train.jsonl"))
    assert [(e["first"], e["second"], LABELS[e["label"]]) for e in read_back] == rows


def write_parquet(folder: Path, columns: dict, names: dict[str, list[str]] | None = None) -> None:
    """A parquet file; ``names`` are class names as the Hugging Face libraries note them."""
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table(columns)
    if names:
        features = {column: {"names": spelled, "_type": "ClassLabel"} for column, spelled in names.items()}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pyarrow.parquet.write_table(table, folder / "train.parquet")


def test_parquet(tmp_path):
    task = pair_task("train.parquet")
    write_parquet(tmp_path, {"a": ["A", "B"], "b": ["C\n", "D"], "label": ["yes", "no"]})
    expected = [
        {"first": "A", "second": "C\n", "label": 1, "idx": 0},
        {"first": "B", "second": "D", "label": 0, "idx": 1},
    ]
    assert load_examples(task, tmp_path, "train") == expected
    write_parquet(tmp_path, {"a": ["A", "B"], "b": ["C\n", "D"], "label": [0, 1]}, {"label": ["yes", "no"]})
    assert load_examples(task, tmp_path, "train") == expected  # by name, though the order is another
    write_parquet(tmp_path, {"a": ["A"], "b": ["C"], "label": [1]}, {"label": ["yes", "maybe"]})
    with pytest.raises(HarnessError, match=r"train.parquet:row 1: unknown label 'maybe'.* Known labels: no, yes"):
        load_examples(task, tmp_path, "train")
    (tmp_path / "train.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(HarnessError, match=r"train.parquet: not a parquet file: "):
        load_examples(task, tmp_path, "train")


def test_ten_megabytes_in_one_line(tmp_path):
    long = "word " * 2_000_000
    assert read(tmp_path, f"a\tb\tlabel\n{long}\tx\tyes\n".encode())[0]["first"] == long
    assert read(tmp_path, f'a,b,label\n"{long}",x,yes\n'.encode(), pair_task("train.csv"))[0]["first"] == long
    assert csv.field_size_limit() == 131072  # as it was


# Labels, scores, ids ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["true", "1", "1.0", '"true"', '"yes"'])
def test_labels_of_json_are_matched_by_their_spelling(value, tmp_path):
    labels = {"true": ("false", "true"), '"true"': ("false", "true"), '"yes"': None}.get(value, ("0", "1"))
    task = pair_task("train.jsonl", labels=labels)
    line = f'{{"a": "A", "b": "B", "label": {value}}}\n'
    assert read(tmp_path, line.encode(), task)[0]["label"] == 1


def test_booleans_match_capital_spellings_too(tmp_path):
    task = pair_task("train.jsonl", labels=("True", "False"))
    assert [
        e["label"] for e in read(tmp_path, b'{"a":"","b":"","label":false}\n{"a":"","b":"","label":true}', task)
    ] == [1, 0]


def test_label_names_stay_valid_beside_the_spellings_of_a_file(tmp_path):
    content = b"a\tb\tlabel\nA\tB\t1\nA\tB\tyes\nA\tB\tno\n"
    assert [e["label"] for e in read(tmp_path, content, pair_task(labels=("0", "1")))] == [1, 1, 0]


def test_scores(tmp_path):
    read_back = read(tmp_path, b"a\tscore\nA\t5.000\nB\t0\nC\t 2.5\n", score_task())
    assert [e["label"] for e in read_back] == [5.0, 0.0, 2.5]


def test_several_labels(tmp_path):
    table = b"a\ttags\nA\tz, x\nB\t\nC\ty\n"
    assert [e["label"] for e in read(tmp_path, table, tag_task("train.tsv"))] == [[0, 2], [], [1]]
    table = b"a\ttags\nA\tz|x\n"
    assert read(tmp_path, table, tag_task("train.tsv", separator="|"))[0]["label"] == [0, 2]
    lines = b'{"a": "A", "tags": ["z", "x", "z"]}\n'
    assert read(tmp_path, lines, tag_task("train.jsonl"))[0]["label"] == [0, 2]


def test_a_split_without_label_column_is_unlabelled(tmp_path):
    task = pair_task(columns={"first": "a", "second": "b"})
    assert read(tmp_path, b"a\tb\tlabel\nA\tB\tyes\n", task) == [{"first": "A", "second": "B", "label": -1, "idx": 0}]


def test_ids_from_the_file(tmp_path):
    columns = {"first": "a", "second": "b", "label": "label", "idx": "idx"}
    content = b"idx\ta\tb\tlabel\n7\tA\tB\tyes\n3\tA\tB\tno\n"
    assert [e["idx"] for e in read(tmp_path, content, pair_task(columns=columns))] == [7, 3]
    lines = b'{"idx": "7", "a": "", "b": "", "label": "no"}\n{"idx": {"p": 1}, "a": "", "b": "", "label": "no"}'
    assert [e["idx"] for e in read(tmp_path, lines, pair_task("train.jsonl", columns=columns))] == [7, {"p": 1}]
    content = content.replace(b"\n3", b"\n7")
    assert message(tmp_path, content, pair_task(columns=columns)) == "train.tsv:3: the idx 7 was already in line 2"
    content = content.replace(b"\n7", b"\nx")
    assert message(tmp_path, content, pair_task(columns=columns)) == (
        "train.tsv:2: the idx must be a whole number, found 'x'"
    )


def test_nested_fields(tmp_path):
    task = pair_task("train.jsonl", columns={"first": "deep.er.a", "second": "b.c", "label": "label"})
    line = b'{"deep": {"er": {"a": "A"}}, "b.c": "B", "label": "yes"}'
    assert read(tmp_path, line, task) == [{"first": "A", "second": "B", "label": 1, "idx": 0}]


def split_questions(record: dict) -> list[dict]:
    return [{"first": record["text"], "second": question, **answer} for question, answer in record["questions"]]


def test_expanded_records(tmp_path):
    task = pair_task("train.jsonl", expand=split_questions, rows=(3,))
    lines = b'{"text": "T", "questions": [["Q", {"label": "yes"}], ["R", {"label": 0}]]}\n'
    lines += b'{"text": "U", "questions": [["S", {"idx": 9}]]}\n'
    assert read(tmp_path, lines, task) == [
        {"first": "T", "second": "Q", "label": 1, "idx": 0},
        {"first": "T", "second": "R", "label": 0, "idx": 1},
        {"first": "U", "second": "S", "label": -1, "idx": 9},
    ]
    broken = lines.replace(b'"text": "U"', b'"words": "U"')
    assert message(tmp_path, broken, task) == "train.jsonl:2: not a record of task 'pairs': no 'text'"
    broken = lines.replace(b'"yes"', b'"yess"')
    assert message(tmp_path, broken, task).startswith("train.jsonl:1: unknown label 'yess'. Did you mean 'yes'?")
    assert message(tmp_path, lines.replace(b', ["R", {"label": 0}]', b""), task).startswith(
        "train.jsonl: found 2 examples, expected 3"
    )


# What is wrong is named ------------------------------------------------------------------------------------------

HEAD = b"a\tb\tlabel\n"
GOOD = b"A\tB\tyes\n"

BAD_TABLES = {
    "empty file": (b"", "train.tsv:1: the file is empty"),
    "byte-order mark only": (b"\xef\xbb\xbf", "train.tsv:1: the file is empty"),
    "header only": (HEAD, "train.tsv:1: there are no examples in the file"),
    "short row": (HEAD + GOOD + b"A\tB\n", "train.tsv:3: found 2 columns, expected 3 columns (a, b, label)"),
    "long row": (HEAD + b"A\tB\tC\tyes\n", "train.tsv:2: found 4 columns, expected 3 columns (a, b, label)"),
    "empty line": (HEAD + b"\n" + GOOD, "train.tsv:2: found an empty line, expected 3 columns (a, b, label)"),
    "unknown label": (
        HEAD + GOOD + b"A\tB\tyess\n",
        "train.tsv:3: unknown label 'yess'. Did you mean 'yes'? Known labels: no, yes",
    ),
    "missing label": (HEAD + b"A\tB\t\n", "train.tsv:2: the label is missing. Known labels: no, yes"),
    "latin 1": (HEAD + GOOD + b"caf\xe9\tB\tyes\n", "train.tsv:3: not UTF-8 (byte 0xe9): "
                "say its `encoding:`, such as latin-1, or save the file as UTF-8"),
    "utf-16": ("a\tb\tlabel\n".encode("utf-16"), "train.tsv:1: the file is in UTF-16: "
               "say `encoding: utf-16`, or save it as UTF-8"),
    "NUL byte": (
        HEAD + GOOD * 2 + b"A\0\tB\tyes\n",
        "train.tsv:4: a NUL byte: the file is damaged, or not a text file",
    ),
    "missing column": (
        b"a\tb\tlabels\nA\tB\tyes\n",
        "train.tsv:1: there is no column 'label'. Did you mean 'labels'? Found: a, b, labels",
    ),
    "no header": (GOOD, "train.tsv:1: there is no column 'a'. Found: A, B, yes"),
    "column twice": (b"a\ta\tb\tlabel\n", "train.tsv:1: two columns are called 'a'. Found: a, a, b, label"),
    "commas instead of tabs": (
        b"a,b,label\nA,B,yes\n",
        "train.tsv:1: there is no column 'a'. Found: a,b,label. "
        "If ',' separates the columns of this file, say `delimiter: \",\"`",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_TABLES)
def test_bad_tables(case, tmp_path):
    content, expected = BAD_TABLES[case]
    assert message(tmp_path, content) == expected


def test_a_table_without_header_needs_its_columns(tmp_path):
    task = pair_task(columns={"first": 0, "second": 1, "label": 3}, header=False)
    assert message(tmp_path, GOOD, task) == "train.tsv:1: there is no column '3'. Found: 0, 1, 2"


def test_empty_lines_at_the_end_are_no_rows(tmp_path):
    assert len(read(tmp_path, HEAD + GOOD + b"\n\n")) == 1


BAD_SCORES = {
    "abc": "the score must be a number, found 'abc'",
    "": "the score must be a number, found ''",
    "nan": "the score must be a finite number, found 'nan'",
    "-inf": "the score must be a finite number, found '-inf'",
    "5.001": "the score '5.001' is not between 0 and 5",
    "-1": "the score '-1' is not between 0 and 5",
}


@pytest.mark.parametrize("cell", BAD_SCORES)
def test_bad_scores(cell, tmp_path):
    content = f"a\tscore\nA\t1\nB\t{cell}\n".encode()
    assert message(tmp_path, content, score_task()) == f"train.tsv:3: {BAD_SCORES[cell]}"


BAD_JSON = {
    b'{"a": "A", "b": "B", "label": "yes"': "not valid JSON: Expecting ',' delimiter (column 36)",
    b"[1, 2]": "a line must hold a JSON object, found [1, 2]",
    b'{"a": "A", "label": "yes"}': "no 'b'. Found: a, label",
    b'{"a": "A", "b": "B", "lable": "yes"}': "no 'label'. Did you mean 'lable'? Found: a, b, lable",
    b'{"a": 5, "b": "B", "label": "yes"}': "'first' must be a text, found 5",
    b'{"a": null, "b": "B", "label": "yes"}': "'first' must be a text, found None",
    b'{"a": "\\ud800", "b": "B", "label": "yes"}': "'first' holds half a character (a lone surrogate)",
    b'{"a": "A", "b": "B", "label": null}': "the label is missing. Known labels: no, yes",
    b'{"a": "A", "b": "B", "label": 2}': "unknown label 2. Known labels: no, yes",
    b'{"a": "A", "b": "B", "label": NaN}': "unknown label nan. Known labels: no, yes",
    b'{"a": "A", "b": "B", "label": ["yes"]}': "unknown label ['yes']. Did you mean 'yes'? Known labels: no, yes",
    b'{"a": ' + b"[" * 100_000: "not valid JSON: ",
    b"9" * 5000: "not valid JSON: ",
}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes among its files")
@pytest.mark.parametrize("name", ["train.tsv", "train.csv", "train.jsonl", "train.parquet"])
def test_a_pipe_is_refused_and_never_waited_for(name, tmp_path):
    os.mkfifo(tmp_path / name)
    with pytest.raises(HarnessError, match=rf"{name}: cannot be read: it is no regular file"):
        load_examples(pair_task(name), tmp_path, "train")


@pytest.mark.parametrize("line", BAD_JSON, ids=lambda line: line[:50].decode())
def test_bad_json_lines(line, tmp_path):
    content = b'{"a": "A", "b": "B", "label": "no"}\n' + line + b"\n"
    found = message(tmp_path, content, pair_task("train.jsonl"))
    assert found.startswith(f"train.jsonl:2: {BAD_JSON[line]}")


def test_bad_csv(tmp_path):
    task = pair_task("train.csv")
    lines = b'a,b,label\n"two\nlines",B,yes\n'
    assert message(tmp_path, lines + b"A,B\n", task) == "train.csv:4: found 2 columns, expected 3 columns (a, b, label)"
    assert message(tmp_path, lines + b'"A,B,yes\n', task) == "train.csv:4: not valid CSV: unexpected end of data"
    assert message(tmp_path, lines + b'"A"x,B,yes\n', task).startswith("train.csv:4: not valid CSV: ")
    assert csv.field_size_limit() == 131072


def test_bad_lists_of_labels(tmp_path):
    assert message(tmp_path, b"a\ttags\nA\tx,w\n", tag_task("train.tsv")) == (
        "train.tsv:2: unknown label 'w'. Known labels: x, y, z"
    )
    assert message(tmp_path, b'{"a": "A", "tags": 3}\n', tag_task("train.jsonl")) == (
        "train.jsonl:1: the labels must be a list, found 3"
    )


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "train.tsv").mkdir()
    with pytest.raises(HarnessError, match=r"train.tsv: cannot be read: Is a directory"):
        load_examples(pair_task(), tmp_path, "train")
    (tmp_path / "train.txt").write_text("x")
    with pytest.raises(
        HarnessError, match=r"train.txt: unknown kind of file '.txt': known are .tsv, .csv, .json, .jsonl"
    ):
        load_examples(pair_task("train.txt"), tmp_path, "train")


FILES = {
    "train.tsv": HEAD + GOOD * 3,
    "train.csv": b'a,b,label\n"A ""x""\n",B,yes\nA,B,no\n',
    "train.jsonl": b'{"a": "A", "b": "B", "label": "no"}\n' * 3,
}


@given(
    file=st.sampled_from(sorted(FILES)),
    edits=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 3), st.binary(max_size=4)), min_size=1, max_size=5),
)
@settings(deadline=None, max_examples=250)
def test_damaged_files_work_or_are_named(file, edits, tmp_path_factory):
    """Whatever happens to a file's bytes: examples of the right form, or a `HarnessError` of one line."""
    data = FILES[file]
    for at, removed, added in edits:
        at %= len(data) + 1
        data = data[:at] + added + data[at + removed :]
    try:
        examples = read(tmp_path_factory.mktemp("fuzz"), data, pair_task(file))
    except HarnessError as error:
        assert file in str(error) and str(error).isprintable()
    else:
        assert examples and all(set(e) == {"first", "second", "label", "idx"} for e in examples)
        assert all(isinstance(e["first"], str) and e["label"] in (0, 1) for e in examples)
