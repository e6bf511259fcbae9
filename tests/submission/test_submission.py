"""Submissions: what is written is what the leaderboards read, and every defect of a file is found and named."""

import io
import json
import os
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.datasets import load_examples
from harness.errors import HarnessError
from harness.submission.check import check_submission
from harness.submission.write import FILES, submission_files, write_submission
from harness.task.plugins import load_tasks

GOLDEN = json.loads((Path(__file__).parents[1] / "golden/submissions/submissions.json").read_text(encoding="utf-8"))
REAL = os.environ.get("HARNESS_DATA")
needs_data = pytest.mark.skipif(not REAL, reason="HARNESS_DATA does not name the folder of the real data")


def multirc_rows(prediction):
    """Rows numbered as the official test file numbers them: 166 passages, 1820 questions, 9693 answers."""
    rows = []
    for answer in range(9693):
        question = answer * 1820 // 9693
        idx = {"paragraph": question * 166 // 1820, "question": question, "answer": answer}
        rows.append((idx, prediction(answer)))
    return rows


def predictions(suite):
    """Valid predictions of every class for all files of a suite."""
    rows = {}
    for file in submission_files(suite):
        if file.kind == "answers":
            rows[file.task, file.split] = multirc_rows(lambda answer: answer % 2)
        elif file.kind == "text":
            rows[file.task, file.split] = [({"passage": i // 2, "query": i}, f"Zoë {i}") for i in range(file.rows)]
        elif file.kind == "score":
            rows[file.task, file.split] = [(i, i % 8 - 0.9) for i in range(file.rows)]
        else:
            rows[file.task, file.split] = [(i, i % len(file.labels)) for i in range(file.rows)]
    return rows


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """A complete submission of each suite, as {file name: content}."""
    folder = tmp_path_factory.mktemp("archives")
    pages = {}
    for suite in ("glue", "superglue"):
        path = write_submission(suite, predictions(suite), folder).path
        with zipfile.ZipFile(path) as archive:
            pages[suite] = {name: archive.read(name) for name in archive.namelist()}
    return folder, pages


def zipped(path, pages):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in pages.items():
            archive.writestr(name, content)
    return path


# Writing -----------------------------------------------------------------------------------------------------------


def golden_files(suite):
    key = "rows" if suite == "glue" else "lines"
    return {row["file"]: (row["labels"], row[key]) for row in GOLDEN[suite]["tasks"]}


@pytest.mark.parametrize("suite", ["glue", "superglue"])
def test_files_are_those_of_the_leaderboard(archives, suite):
    _, pages = archives
    expected = golden_files(suite)
    assert list(pages[suite]) == list(expected)
    for file in submission_files(suite):
        labels, rows = expected[file.name]
        lines = pages[suite][file.name].decode().removesuffix("\n").split("\n")
        assert len(lines) == rows + (suite == "glue")
        if isinstance(labels, list):
            assert list(file.labels) == labels and list(map(type, file.labels)) == list(map(type, labels))


def test_glue_lines(archives):
    pages = archives[1]["glue"]
    for row in GOLDEN["glue"]["tasks"]:
        if row["task"] != "stsb":
            assert pages[row["file"]].decode().split("\n")[:3] == row["example_lines"]
    assert pages["STS-B.tsv"].decode().split("\n")[:9] == [
        "index\tprediction", "0\t0.000", "1\t0.100", "2\t1.100", "3\t2.100", "4\t3.100", "5\t4.100", "6\t5.000",
        "7\t5.000",
    ]  # fmt: skip
    assert pages["AX.tsv"].endswith(b"\n1102\tneutral\n1103\tcontradiction\n")


def test_superglue_lines(archives):
    pages = {name: content.decode().split("\n") for name, content in archives[1]["superglue"].items()}
    assert pages["BoolQ.jsonl"][:2] == ['{"idx": 0, "label": "false"}', '{"idx": 1, "label": "true"}']
    assert pages["WSC.jsonl"][:2] == ['{"idx": 0, "label": "False"}', '{"idx": 1, "label": "True"}']
    assert pages["COPA.jsonl"][:2] == ['{"idx": 0, "label": 0}', '{"idx": 1, "label": 1}']
    assert json.loads(pages["ReCoRD.jsonl"][3]) == {"idx": 3, "label": "Zoë 3"}
    first = json.loads(pages["MultiRC.jsonl"][0])
    assert first["idx"] == 0 and list(first) == ["idx", "passage"]
    assert first["passage"]["questions"][0] == {
        "idx": 0, "answers": [{"idx": 0, "label": 0}, {"idx": 1, "label": 1}, {"idx": 2, "label": 0},
                              {"idx": 3, "label": 1}, {"idx": 4, "label": 0}, {"idx": 5, "label": 1}],
    }  # fmt: skip


@pytest.mark.parametrize("suite", ["glue", "superglue"])
def test_what_is_written_passes_the_check_and_is_the_same_each_time(archives, tmp_path, suite):
    folder, pages = archives
    name = {"glue": "GLUE.zip", "superglue": "SuperGLUE.zip"}[suite]
    assert check_submission(folder / name) == []
    rows = predictions(suite)
    shuffled = {key: rows[key][::-1] for key in reversed(rows)}
    result = write_submission(suite, shuffled, tmp_path / "again.zip")
    assert result.path.read_bytes() == (folder / name).read_bytes()
    assert result.written == tuple(pages[suite]) and not (result.missing or result.filled or result.invalid)
    assert [path.name for path in tmp_path.iterdir()] == ["again.zip"]


def test_missing_tasks_are_named_and_filled_on_demand_only(tmp_path):
    rows = {key: some for key, some in predictions("superglue").items() if key[0] in ("cb", "wsc")}
    result = write_submission("superglue", rows, tmp_path / "a.zip")
    assert result.written == ("CB.jsonl", "WSC.jsonl") and len(result.missing) == 8
    assert check_submission(result.path) == [
        f"{name}: missing ({file.rows} predictions of {file.task} test)"
        for name in result.missing
        for file in FILES
        if file.name == name
    ]
    majority = {file.task: 1 for file in submission_files("superglue")}
    majority |= {"record": "somebody", "multirc": multirc_rows(lambda answer: 0)}
    result = write_submission("superglue", rows, tmp_path / "b.zip", fill_majority=majority)
    assert len(result.filled) == 8 and "CB.jsonl" not in result.filled and result.missing == ()
    assert check_submission(result.path) == []
    with zipfile.ZipFile(result.path) as archive:
        assert set(archive.read("BoolQ.jsonl").decode().split('"')[5::6]) == {"true"}
        assert json.loads(archive.read("CB.jsonl").splitlines()[2])["label"] == "neutral"
    del majority["copa"]
    assert write_submission("superglue", rows, tmp_path / "b.zip", majority).missing == ("COPA.jsonl",)


def test_answers_that_are_none_are_counted(tmp_path):
    rows = predictions("glue")
    rows = {key: rows[key] for key in (("rte", "test"), ("stsb", "test"), ("wnli", "test"))}
    rows["rte", "test"][5:8] = [(5, None), (6, -1), (7, 2)]
    rows["stsb", "test"][1] = (1, float("nan"))
    rows["stsb", "test"][2] = (2, -1.0)  # what stands for a text that is no number
    result = write_submission("glue", rows, tmp_path / "a.zip")
    assert result.invalid == {"RTE.tsv": 3, "STS-B.tsv": 2}
    with zipfile.ZipFile(result.path) as archive:
        assert archive.read("RTE.tsv").decode().split("\n")[6:9] == [f"{i}\tentailment" for i in (5, 6, 7)]
        assert archive.read("STS-B.tsv").decode().split("\n")[2] == "1\t0.000"


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ({("wnli", "test"): [(i, 0) for i in range(100)]}, "WNLI.tsv: 100 predictions .* 146 .*idx 100 is missing"),
        ({("wnli", "test"): [(i, 0) for i in range(147)]}, "WNLI.tsv: 147 .*twice or too large"),
        ({("wnli", "test"): [(0, 0), *((i, 0) for i in range(146))]}, "WNLI.tsv: 147 .*twice"),
        ({("wnli", "test"): [(None, 0)] * 146}, "WNLI.tsv: .*no official idx: found None"),
        ({("wnli", "test"): [({"query": None}, 0)] * 146}, "WNLI.tsv: .*no official idx: found {'query': None}"),
        ({("wnli", "validation"): [(0, 0)]}, "not part of a glue submission: wnli validation"),
        ({}, "no test predictions of any glue task"),
    ],
)
def test_predictions_that_cannot_be_submitted_are_refused(tmp_path, rows, problem):
    with pytest.raises(HarnessError, match=problem):
        write_submission("glue", rows, tmp_path / "a.zip")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_suite_is_refused(tmp_path):
    with pytest.raises(HarnessError, match=r"Did you mean 'glue'"):
        write_submission("gleu", {}, tmp_path / "a.zip")


def test_multirc_needs_the_numbers_of_its_questions(tmp_path):
    with pytest.raises(HarnessError, match=r"MultiRC.jsonl: .*no official idx: found 0"):
        write_submission("superglue", {("multirc", "test"): [(i, 0) for i in range(9693)]}, tmp_path / "a.zip")
    with pytest.raises(HarnessError, match=r"MultiRC.jsonl: filling"):
        write_submission("superglue", {}, tmp_path / "a.zip", fill_majority={"multirc": 0})


@needs_data
@pytest.mark.data
@pytest.mark.parametrize("suite", ["glue", "superglue"])
def test_the_real_test_files_make_a_submission_that_passes(tmp_path, suite):
    tasks, rows = load_tasks(), {}
    for file in submission_files(suite):
        folder = Path(REAL) / ("SuperGLUE-part" if file.task == "boolq" else "")
        if file.task not in ("qqp", "mnli", "qnli", "record", "axg"):  # their test files are not here
            examples = load_examples(tasks[file.task], folder, file.split)
            rows[file.task, file.split] = [(example["idx"], len(str(example)) % 2) for example in examples]
    result = write_submission(suite, rows, tmp_path)
    assert all(" missing (" in defect for defect in check_submission(result.path))
    assert len(result.written) == (7 if suite == "glue" else 8)
    if suite == "superglue":
        with zipfile.ZipFile(result.path) as archive:
            lines = [json.loads(line) for line in archive.read("MultiRC.jsonl").splitlines()]
        questions = [question for line in lines for question in line["passage"]["questions"]]
        answers = [answer for question in questions for answer in question["answers"]]
        assert (len(lines), len(questions), len(answers)) == (166, 1820, 9693)


# Checking ----------------------------------------------------------------------------------------------------------


def edit(name, line, new):
    """A defect: one line of a file replaced (new text), removed (None), or changed by a function."""

    def make(pages):
        lines = pages[name].decode().split("\n")
        changed = new(lines[line - 1]) if callable(new) else new
        lines[line - 1 : line] = [] if changed is None else [changed]
        pages[name] = "\n".join(lines).encode()

    return make


def rename(name, other):
    def make(pages):
        pages[other] = pages.pop(name)

    return make


def replace(name, old, new):
    def make(pages):
        assert old in pages[name]
        pages[name] = pages[name].replace(old, new)

    return make


def swap(name, line):
    def make(pages):
        lines = pages[name].split(b"\n")
        lines[line - 1], lines[line] = lines[line], lines[line - 1]
        pages[name] = b"\n".join(lines)

    return make


def add(name, content):
    return lambda pages: pages.update({name: content})


def names_instead_of_numbers(pages):
    text = pages.pop("CoLA.tsv").replace(b"\t0\n", b"\tunacceptable\n").replace(b"\t1\n", b"\tacceptable\n")
    pages["predict_results_cola.txt"] = text


def in_a_folder(pages):
    for name in list(pages):
        rename(name, f"submission/{name}")(pages)


def flat_multirc(pages):
    pages["MultiRC.jsonl"] = b"".join(b'{"idx": %d, "label": 0}\n' % i for i in range(9693))


SMALL = ("CoLA.tsv", "STS-B.tsv", "MNLI-m.tsv", "RTE.tsv", "WNLI.tsv")
"""Defects are put into a part of the files, to be quick; the others are then said to be missing."""

DEFECTS = {
    "missing file": ("glue", lambda pages: pages.pop("RTE.tsv"), ["RTE.tsv: missing (3000 predictions of rte test)"]),
    "extra file": ("glue", add("HANS.tsv", b"x"), ["HANS.tsv: extra file, not part of GLUE.zip: leave it out"]),
    "file of the other leaderboard": (
        "glue", add("BoolQ.jsonl", b""), ["BoolQ.jsonl: belongs into SuperGLUE.zip: leave it out"],
    ),
    "wrong header": (
        "glue", edit("RTE.tsv", 1, "id\tlabel"),
        ["RTE.tsv:1: the header must be 'index\\tprediction', found 'id\\tlabel'"],
    ),
    "no header": (
        "glue", edit("WNLI.tsv", 1, None), ["WNLI.tsv:1: no header: the first line must be 'index\\tprediction'"],
    ),
    "a row too few": (
        "glue", edit("WNLI.tsv", 147, None),
        ["WNLI.tsv: 145 rows of predictions instead of 146", "WNLI.tsv: index missing: 145 (1 of 146)"],
    ),
    "a row too many": (
        "glue", edit("WNLI.tsv", 147, "145\t1\n146\t0"),
        ["WNLI.tsv: 147 rows of predictions instead of 146",
         "WNLI.tsv:148: index 146 is too large: the last one is 145"],
    ),
    "rows in another order": (
        "glue", swap("WNLI.tsv", 10),
        ["WNLI.tsv:11: index 8 after 9: the rows must be in the order of the test file"],
    ),
    "duplicate index": (
        "glue", edit("WNLI.tsv", 5, "2\t1"),
        ["WNLI.tsv:5: index 2 again, first in line 4", "WNLI.tsv: index missing: 3 (1 of 146)"],
    ),
    "index that is no number": (
        "glue", edit("WNLI.tsv", 2, "a\t1"),
        ["WNLI.tsv:2: the index must be a whole number, found 'a'", "WNLI.tsv: index missing: 0 (1 of 146)"],
    ),
    "index from one": (
        "glue", add("WNLI.tsv", b"index\tprediction\n" + b"".join(b"%d\t1\n" % i for i in range(1, 147))),
        ["WNLI.tsv:147: index 146 is too large: the last one is 145: count from 0",
         "WNLI.tsv: index missing: 0 (1 of 146)"],
    ),
    "commas": ("glue", edit("RTE.tsv", 3, "1,entailment"), [
        "RTE.tsv:3: 1 columns instead of an index and a prediction with one tab between",
        "RTE.tsv: index missing: 1 (1 of 3000)",
    ]),
    "empty line": ("glue", edit("RTE.tsv", 3001, lambda row: f"{row}\n"), [
        "RTE.tsv:3002: an empty line instead of an index and a prediction with one tab between",
        "RTE.tsv: 3001 rows of predictions instead of 3000",
    ]),
    "unknown label": (
        "glue", edit("RTE.tsv", 2, "0\tmaybe"),
        ["RTE.tsv:2: unknown label maybe: expected entailment or not_entailment"],
    ),
    "label in capitals": (
        "glue", edit("RTE.tsv", 2, "0\tEntailment"),
        ["RTE.tsv:2: label Entailment is spelled otherwise: write entailment"],
    ),
    "label number where a name is read": (
        "glue", edit("MNLI-m.tsv", 4, "2\t2"),
        ["MNLI-m.tsv:4: label 2 is the number of a class, and the leaderboard reads its name: write contradiction"],
    ),
    "label as a float": ("glue", edit("CoLA.tsv", 3, "1\t1.0"), ["CoLA.tsv:3: label 1.0 is no whole number: write 1"]),
    "score out of range": (
        "glue", edit("STS-B.tsv", 2, "0\t5.001"), ["STS-B.tsv:2: the score 5.001 is not between 0 and 5: clip it"],
    ),
    "score that is no number": (
        "glue", edit("STS-B.tsv", 2, "0\tnan"), ["STS-B.tsv:2: the prediction must be a number, found 'nan'"],
    ),
    "run_glue's file": (
        "glue", names_instead_of_numbers,
        ["predict_results_cola.txt: wrong file name: it must be CoLA.tsv",
         "predict_results_cola.txt:2: label unacceptable is the name of a class, and the leaderboard reads its number: "
         "write 0",
         "predict_results_cola.txt:3: label acceptable is the name of a class, and the leaderboard reads its number: "
         "write 1",
         "predict_results_cola.txt:4: label unacceptable is the name of a class, and the leaderboard reads its number: "
         "write 0",
         "predict_results_cola.txt: and 1060 more of this kind (label name)"],
    ),
    "one file for both of MNLI's": (
        "glue", rename("MNLI-m.tsv", "MNLI.tsv"),
        ["MNLI.tsv: wrong file name: it must be MNLI-m.tsv and MNLI-mm.tsv, two files",
         "MNLI-m.tsv: missing (9796 predictions of mnli test_matched)"],
    ),
    "nested folder": (
        "glue", in_a_folder,
        [f"submission/{name}: in a folder: GLUE's files lie at the top level" for name in SMALL],
    ),
    "the same file twice": (
        "glue", lambda pages: pages.update({"old/WNLI.tsv": pages["WNLI.tsv"]}),
        ["old/WNLI.tsv: in a folder: GLUE's files lie at the top level (zip -j GLUE.zip *.tsv)",
         "WNLI.tsv: there 2 times: WNLI.tsv, old/WNLI.tsv"],
    ),
    "zip file inside": (
        "glue", add("more.zip", b"PK"), ["more.zip: a zip file inside the zip file: put its files here instead"],
    ),
    "path out of the archive": (
        "glue", rename("RTE.tsv", "../RTE.tsv"),
        ["../RTE.tsv: its path leads out of the archive: a file's path must be its name"],
    ),
    "rubbish of macOS": (
        "glue", add("__MACOSX/._RTE.tsv", b"\0\5"),
        ["__MACOSX/._RTE.tsv: in a folder: GLUE's files lie at the top level (zip -j GLUE.zip *.tsv)",
         "__MACOSX/._RTE.tsv: extra file, not part of GLUE.zip: leave it out"],
    ),
    "not UTF-8": ("glue", replace("RTE.tsv", b"4\tent", b"4\t\xffent"), ["RTE.tsv:6: not UTF-8: byte 0xff"]),
    "byte-order mark": (
        "glue", lambda pages: pages.update({"RTE.tsv": b"\xef\xbb\xbf" + pages["RTE.tsv"]}),
        ["RTE.tsv:1: begins with a byte-order mark: write plain UTF-8"],
    ),
    "far too many lines": (
        "glue", add("WNLI.tsv", b"0\t1\n" * 5000),
        ["WNLI.tsv: 5000 lines for 146 predictions: not read any further"],
    ),
    "idx as text": (
        "superglue", replace("AX-b.jsonl", b'{"idx": 0,', b'{"idx": "0",'),
        ['AX-b.jsonl:1: the idx must be a JSON integer from 0 on, found "0": write 0, without quotes',
         "AX-b.jsonl: idx missing: 0 (1 of 1104)"],
    ),
    "idx as a float": (
        "superglue", edit("CB.jsonl", 2, '{"idx": 1.0, "label": "neutral"}'),
        ["CB.jsonl:2: the idx must be a JSON integer from 0 on, found 1.0", "CB.jsonl: idx missing: 1 (1 of 250)"],
    ),
    "boolean label": (
        "superglue", edit("BoolQ.jsonl", 2, '{"idx": 1, "label": true}'),
        ['BoolQ.jsonl:2: label true is no JSON string: write "true"'],
    ),
    "capital where lower case is read": (
        "superglue", edit("WiC.jsonl", 1, '{"idx": 0, "label": "False"}'),
        ['WiC.jsonl:1: label "False" is spelled otherwise: write "false"'],
    ),
    "lower case where a capital is read": (
        "superglue", edit("WSC.jsonl", 1, '{"idx": 0, "label": "false"}'),
        ['WSC.jsonl:1: label "false" is spelled otherwise: write "False"'],
    ),
    "class number": (
        "superglue", edit("RTE.jsonl", 1, '{"idx": 0, "label": 1}'),
        ['RTE.jsonl:1: label 1 is the number of a class, and the leaderboard reads its name: write "not_entailment"'],
    ),
    "COPA as text": (
        "superglue", edit("COPA.jsonl", 2, '{"idx": 1, "label": "1"}'),
        ['COPA.jsonl:2: label "1" is no JSON integer: write 1'],
    ),
    "COPA's choice by name": (
        "superglue", edit("COPA.jsonl", 2, '{"idx": 1, "label": "choice2"}'),
        ['COPA.jsonl:2: label "choice2" is the name of a class, and the leaderboard reads its number: write 1'],
    ),
    "COPA as a boolean": (
        "superglue", edit("COPA.jsonl", 2, '{"idx": 1, "label": true}'),
        ["COPA.jsonl:2: label true is no JSON integer: write 1"],
    ),
    "ReCoRD's label is no text": (
        "superglue", edit("ReCoRD.jsonl", 3, '{"idx": 2, "label": 7}'),
        ["ReCoRD.jsonl:3: the label must be the entity, a JSON string; found 7"],
    ),
    "not JSON": ("superglue", edit("CB.jsonl", 4, "{'idx': 3}"), [
        "CB.jsonl:4: not JSON: ", "CB.jsonl: idx missing: 3 (1 of 250)",
    ]),
    "too deep": ("superglue", edit("CB.jsonl", 4, "[" * 200_000), [
        "CB.jsonl:4: not JSON: ", "CB.jsonl: idx missing: 3 (1 of 250)",
    ]),
    "not an object": ("superglue", edit("CB.jsonl", 4, "3"), [
        "CB.jsonl:4: not a JSON object: 3", "CB.jsonl: idx missing: 3 (1 of 250)",
    ]),
    "another key": (
        "superglue", edit("CB.jsonl", 1, '{"idx": 0, "label": "neutral", "score": 1}'),
        ["CB.jsonl:1: a line holds idx and label, found idx, label, score"],
    ),
    "a line too few": (
        "superglue", edit("AX-g.jsonl", 356, None),
        ["AX-g.jsonl: 355 lines instead of 356", "AX-g.jsonl: idx missing: 355 (1 of 356)"],
    ),
    "MultiRC flat": (
        "superglue", flat_multirc,
        ["MultiRC.jsonl:1: a line holds idx and passage, found idx, label: one line per passage, its questions and "
         "answers inside",
         "MultiRC.jsonl:2: ", "MultiRC.jsonl:3: ",
         "MultiRC.jsonl: 9693 lines instead of 166",
         "MultiRC.jsonl:167: idx 166 is too large: the last one is 165", "MultiRC.jsonl:168: ", "MultiRC.jsonl:169: ",
         "MultiRC.jsonl: question idx missing: 0, 1, 2, ... (1820 of 1820)",
         "MultiRC.jsonl: answer idx missing: 0, 1, 2, ... (9693 of 9693)",
         "MultiRC.jsonl: and 9690 more of this kind (keys)",
         "MultiRC.jsonl: and 9524 more of this kind (idx range)"],
    ),
    "MultiRC's answer missing": (
        "superglue", replace("MultiRC.jsonl", b'{"idx": 4, "label": 0}, ', b""),
        ["MultiRC.jsonl: answer idx missing: 4 (1 of 9693)"],
    ),
    "MultiRC's answer as text": (
        "superglue", replace("MultiRC.jsonl", b'{"idx": 4, "label": 0}', b'{"idx": 4, "label": "False"}'),
        ['MultiRC.jsonl:1: label "False" is the name of a class, and the leaderboard reads its number: write 0'],
    ),
    "MultiRC's answers are no list": (
        "superglue",
        edit("MultiRC.jsonl", 166, '{"idx": 165, "passage": {"questions": [{"idx": 1819, "answers": 1}]}}'),
        ['MultiRC.jsonl:166: a question must hold "answers", a list of objects',
         "MultiRC.jsonl: question idx missing: 1810, 1811, 1812, ... (9 of 1820)",
         "MultiRC.jsonl: answer idx missing: 9640"],
    ),
    "wrong file name": (
        "superglue", rename("AX-b.jsonl", "axb.jsonl"), ["axb.jsonl: wrong file name: it must be AX-b.jsonl"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("defect", DEFECTS)
def test_every_defect_is_found_and_named(archives, tmp_path, defect):
    suite, make, expected = DEFECTS[defect]
    every = archives[1][suite]
    part = SMALL if suite == "glue" else [name for name in every if any(name in line for line in expected)]
    absent = [f"{name}: missing (" for name in every if name not in part]
    pages = {name: every[name] for name in part}
    make(pages)
    found = check_submission(zipped(tmp_path / "a.zip", pages))
    others = [line for line in found if not any(line.startswith(start) for start in absent)]
    assert len(found) - len(others) == len(absent)
    assert len(others) == len(expected), others
    for line, start in zip(others, expected, strict=True):
        assert line.startswith(start), (line, start)


def test_a_folder_is_allowed_for_superglue_and_carriage_returns_are(archives, tmp_path):
    pages = {f"mine/{name}": content for name, content in archives[1]["superglue"].items()}
    assert check_submission(zipped(tmp_path / "a.zip", pages)) == []
    pages = {name: archives[1]["glue"][name].replace(b"\n", b"\r\n") for name in SMALL}
    assert all(" missing (" in line for line in check_submission(zipped(tmp_path / "b.zip", pages)))


def test_names_of_other_tools_are_recognised(tmp_path):
    names = {
        "predict_results_mnli.txt": "MNLI-m.tsv and MNLI-mm.tsv, two files",
        "predict_results_mnli-mm.txt": "MNLI-mm.tsv",
        "sst2.tsv": "SST-2.tsv", "test_results_STSB.tsv": "STS-B.tsv", "predictions-mnli-matched.csv": "MNLI-m.tsv",
        "diagnostic.tsv": "AX.tsv", "qqp.tsv": "QQP.tsv",
    }  # fmt: skip
    found = check_submission(zipped(tmp_path / "a.zip", dict.fromkeys(names, b"")))
    for name, right in names.items():
        assert f"{name}: wrong file name: it must be {right}" in found


def test_what_is_no_zip_file_is_said(tmp_path):
    (tmp_path / "CoLA.tsv").write_text("index\tprediction\n")
    assert check_submission(tmp_path / "CoLA.tsv") == [
        "CoLA.tsv: not a zip file (File is not a zip file): a leaderboard takes all predictions in one zip file"
    ]
    with pytest.raises(HarnessError, match="no such file"):
        check_submission(tmp_path / "absent.zip")
    with pytest.raises(HarnessError, match="is a folder"):
        check_submission(tmp_path)
    inner = zipped(tmp_path / "a.zip", {"CoLA.tsv": b""}).read_bytes()
    assert check_submission(zipped(tmp_path / "b.zip", {"GLUE.zip": inner})) == [
        "b.zip: holds neither GLUE's .tsv files nor SuperGLUE's .jsonl files: a zip file inside the zip file? "
        "Put its files here instead"
    ]


def test_encrypted_and_damaged_members_are_said(archives, tmp_path):
    path = zipped(tmp_path / "a.zip", {"WNLI.tsv": archives[1]["glue"]["WNLI.tsv"]})
    content = path.read_bytes()
    central = content.index(b"PK\1\2")
    path.write_bytes(content[: central + 8] + b"\1" + content[central + 9 :])  # the flag that says: encrypted
    assert check_submission(path)[0] == "WNLI.tsv: encrypted: a leaderboard cannot read it"
    path.write_bytes(content[:60] + b"\0\0\0\0" + content[64:])
    assert check_submission(path)[0].startswith("WNLI.tsv: cannot be unpacked: ")


def test_a_zip_bomb_is_not_unpacked(tmp_path):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("RTE.tsv", "w") as stream:
        for _ in range(40):
            stream.write(bytes(2**20))
    assert path.stat().st_size < 2**20
    assert check_submission(path) == ["bomb.zip: 1 files that unpack to 41943040 bytes: no submission is that large"]
    many = zipped(tmp_path / "many.zip", {f"{i}.tsv": b"" for i in range(1001)})
    assert check_submission(many)[0].startswith("many.zip: 1001 files")


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_file_breaks_the_check(tmp_path_factory, data):
    """Whatever bytes a file has, the check ends with its list; what it shows is fit for a terminal."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in data.draw(
            st.lists(st.sampled_from(["WNLI.tsv", "x/CB.jsonl", "MultiRC.jsonl", "\x1b.txt"]), unique=True)
        ):
            archive.writestr(name, data.draw(st.one_of(st.binary(max_size=200), JSON_LINES)))
    raw = bytearray(content.getvalue())
    if raw and data.draw(st.booleans()):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("fuzz") / "a.zip"
    path.write_bytes(bytes(raw))
    assert all(line.isprintable() for line in check_submission(path))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["idx", "label", "passage", "questions", "answers"]), inner, max_size=4)
    ),
    max_leaves=12,
)
JSON_LINES = st.lists(JSON, max_size=4).map(lambda values: "\n".join(map(json.dumps, values)).encode())
