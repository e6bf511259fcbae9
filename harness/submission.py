"""Submission files of the GLUE and SuperGLUE leaderboards: written from predictions, and checked whoever wrote them."""

from __future__ import annotations

import io
import itertools
import json
import math
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from harness.disk import disk_errors, write_file
from harness.errors import HarnessError, did_you_mean

ARCHIVES = {"glue": "GLUE.zip", "superglue": "SuperGLUE.zip"}
MULTIRC_PASSAGES, MULTIRC_QUESTIONS = 166, 1820
HEADER = "index\tprediction"


@dataclass(frozen=True)
class SubmissionFile:
    """One file of a submission.

    ``rows`` are its predictions (MultiRC: answers). ``labels`` are the spellings of the classes, in class order: text
    or integers as the leaderboard reads them. ``classes`` are the names of the classes where those differ.
    """

    suite: str
    name: str
    task: str
    split: str
    rows: int
    labels: tuple[str | int, ...] = ()
    classes: tuple[str, ...] = ()
    kind: Literal["label", "score", "text", "answers"] = "label"


# fmt: off
MNLI = ("entailment", "neutral", "contradiction")
ENTAILMENT = ("entailment", "not_entailment")
DIGITS = ("0", "1")
LOWER = ("false", "true")

FILES = (
    SubmissionFile("glue", "CoLA.tsv", "cola", "test", 1063, DIGITS, ("unacceptable", "acceptable")),
    SubmissionFile("glue", "SST-2.tsv", "sst2", "test", 1821, DIGITS, ("negative", "positive")),
    SubmissionFile("glue", "MRPC.tsv", "mrpc", "test", 1725, DIGITS, ("not_equivalent", "equivalent")),
    SubmissionFile("glue", "STS-B.tsv", "stsb", "test", 1379, kind="score"),
    SubmissionFile("glue", "QQP.tsv", "qqp", "test", 390965, DIGITS, ("not_duplicate", "duplicate")),
    SubmissionFile("glue", "MNLI-m.tsv", "mnli", "test_matched", 9796, MNLI),
    SubmissionFile("glue", "MNLI-mm.tsv", "mnli", "test_mismatched", 9847, MNLI),
    SubmissionFile("glue", "QNLI.tsv", "qnli", "test", 5463, ENTAILMENT),
    SubmissionFile("glue", "RTE.tsv", "rte", "test", 3000, ENTAILMENT),
    SubmissionFile("glue", "WNLI.tsv", "wnli", "test", 146, DIGITS, ("not_entailment", "entailment")),
    SubmissionFile("glue", "AX.tsv", "ax", "test", 1104, MNLI),
    SubmissionFile("superglue", "BoolQ.jsonl", "boolq", "test", 3245, LOWER),
    SubmissionFile("superglue", "CB.jsonl", "cb", "test", 250, ("entailment", "contradiction", "neutral")),
    SubmissionFile("superglue", "COPA.jsonl", "copa", "test", 500, (0, 1), ("choice1", "choice2")),
    SubmissionFile("superglue", "MultiRC.jsonl", "multirc", "test", 9693, (0, 1), ("False", "True"), "answers"),
    SubmissionFile("superglue", "ReCoRD.jsonl", "record", "test", 10000, kind="text"),
    SubmissionFile("superglue", "RTE.jsonl", "superglue_rte", "test", 3000, ENTAILMENT),
    SubmissionFile("superglue", "WiC.jsonl", "wic", "test", 1400, LOWER),
    SubmissionFile("superglue", "WSC.jsonl", "wsc", "test", 146, ("False", "True")),
    SubmissionFile("superglue", "AX-b.jsonl", "axb", "test", 1104, ENTAILMENT),
    SubmissionFile("superglue", "AX-g.jsonl", "axg", "test", 356, ENTAILMENT),
)
"""Sources: jiant v1 and v2 (the writers of the benchmarks' authors), keras-hub, bert_on_stilts."""
# fmt: on


def submission_files(suite: str) -> tuple[SubmissionFile, ...]:
    """The files that a suite's leaderboard wants, in order.

    Raises:
        HarnessError: a suite without a leaderboard.
    """
    if suite not in ARCHIVES:
        raise HarnessError(f"suite '{suite}' has no leaderboard to submit to.{did_you_mean(suite, ARCHIVES)}")
    return tuple(file for file in FILES if file.suite == suite)


# Writing -----------------------------------------------------------------------------------------------------------

Row = tuple[Any, Any]
"""(official idx of an example, prediction as `harness.task.Task` defines it)."""


@dataclass(frozen=True)
class Submission:
    """What was written: where, which files, those ``filled`` without a model, and those ``missing`` altogether.

    ``unparsable`` counts, by file, the predictions that are no answer; the first label stands for them (a score: 0).
    """

    path: Path
    written: tuple[str, ...]
    filled: tuple[str, ...]
    missing: tuple[str, ...]
    unparsable: Mapping[str, int] = field(default_factory=dict)


def write_submission(
    suite: str,
    predictions: Mapping[tuple[str, str], Sequence[Row]],
    path: Path,
    fill_majority: Mapping[str, Any] | None = None,
) -> Submission:
    """Write a leaderboard's zip file from test predictions; the same predictions give the same bytes.

    A file without predictions is left out and named in the result, unless ``fill_majority`` has its task.

    Args:
        suite: "glue" or "superglue".
        predictions: by (task, split), one row per official test example, in any order.
        path: the zip file, or an existing folder that gets `ARCHIVES`' name.
        fill_majority: by task, the one prediction for all rows of a task without predictions (the majority class of
            its training data); for MultiRC, whose rows are not just numbered, the rows themselves.

    Raises:
        HarnessError: an unknown suite or file, not exactly the official test rows, no predictions at all.
    """
    files = submission_files(suite)
    path = path / ARCHIVES[suite] if path.is_dir() else path
    known = {(file.task, file.split) for file in files}
    if unknown := [" ".join(key) for key in predictions if key not in known]:
        raise HarnessError(f"not part of a {suite} submission: {', '.join(unknown)}")
    fill = {f: _filled(f, fill_majority[f.task]) for f in files if fill_majority and f.task in fill_majority}
    given = {file: predictions[file.task, file.split] for file in files if (file.task, file.split) in predictions}
    filled = tuple(file.name for file in fill if file not in given)
    rows = {file: given.get(file, fill.get(file)) for file in files if file in given or file in fill}
    if not rows:
        raise HarnessError(f"no test predictions of any {suite} task: run the benchmark with `predict: [test]`")
    pages, unparsable = {}, {}
    for file, some in rows.items():
        pages[file.name], invalid = _page(file, some or ())
        if invalid:
            unparsable[file.name] = invalid
    write_file(path, _archive(pages))
    missing = tuple(file.name for file in files if file not in rows)
    return Submission(path, tuple(pages), filled, missing, unparsable)


def _filled(file: SubmissionFile, prediction: Any) -> Sequence[Row]:
    if isinstance(prediction, Sequence) and not isinstance(prediction, str):
        return prediction
    if file.kind == "answers":
        raise HarnessError(f"{file.name}: filling it needs the numbers of its questions and answers: give its rows")
    return [(index, prediction) for index in range(file.rows)]


def _page(file: SubmissionFile, rows: Sequence[Row]) -> tuple[str, int]:
    """A file's text, and how many of its predictions are no answer."""
    numbered = sorted(((_number(file, idx), idx, prediction) for idx, prediction in rows), key=lambda row: row[0])
    numbers = [number for number, _, _ in numbered]
    if numbers != list(range(file.rows)):
        missing = sorted({*range(file.rows)} - {*numbers})
        what = f"idx {missing[0]} is missing" if missing else "some idx are there twice or too large"
        raise HarnessError(
            f"{file.name}: {len(rows)} predictions of {file.task} {file.split} are not its {file.rows} official test "
            f"rows ({what}): predict the whole test split, without a limit and from the official files"
        )
    values = [_written(file, prediction) for _, _, prediction in numbered]
    invalid = sum(value is None for value in values)
    instead: str | int = {"score": "0.000", "text": ""}.get(file.kind) or (file.labels[0] if file.labels else "")
    answers = [instead if value is None else value for value in values]
    if file.suite == "glue":
        lines = [HEADER, *(f"{number}\t{answer}" for number, answer in zip(numbers, answers, strict=True))]
    elif file.kind == "answers":
        lines = _passages((idx, answer) for (_, idx, _), answer in zip(numbered, answers, strict=True))
    else:
        pairs = zip(numbers, answers, strict=True)
        lines = [json.dumps({"idx": number, "label": answer}) for number, answer in pairs]
    return "".join(f"{line}\n" for line in lines), invalid


def _number(file: SubmissionFile, idx: Any) -> int:
    """The number that a file's rows are known by; MultiRC: of the answer."""
    if isinstance(idx, Mapping):
        idx = idx.get({"answers": "answer", "text": "query"}.get(file.kind, "idx"))
    if isinstance(idx, bool) or not (isinstance(idx, Integral) or (isinstance(idx, str) and idx.isdecimal())):
        raise HarnessError(f"{file.name}: a prediction of {file.task} has no official idx: found {idx!r}")
    return int(idx)


def _written(file: SubmissionFile, prediction: Any) -> str | int | None:
    """A prediction as the leaderboard reads it; None when it is no answer."""
    if file.kind == "text":
        return prediction if isinstance(prediction, str) and prediction else None
    if prediction is None or isinstance(prediction, str):
        return None
    if file.kind == "score":
        score = float(prediction)
        return None if math.isnan(score) else f"{min(5.0, max(0.0, score)):.3f}"
    known = isinstance(prediction, Integral) and 0 <= int(prediction) < len(file.labels)
    return file.labels[int(prediction)] if known else None


def _passages(rows: Iterable[tuple[Mapping[str, int], str | int]]) -> list[str]:
    """MultiRC's lines, one per passage, from ({"paragraph", "question", "answer"}, label) in order of the answers."""
    lines = []
    for passage, group in itertools.groupby(rows, key=lambda row: row[0]["paragraph"]):
        questions = [
            {"idx": question, "answers": [{"idx": idx["answer"], "label": label} for idx, label in answers]}
            for question, answers in itertools.groupby(group, key=lambda row: row[0]["question"])
        ]
        lines.append(json.dumps({"idx": passage, "passage": {"questions": questions}}))
    return lines


def _archive(pages: Mapping[str, str]) -> bytes:
    """A flat zip file whose bytes depend on the pages alone."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in pages.items():
            member = zipfile.ZipInfo(name)  # its date is 1980-01-01, whatever the clock says
            member.compress_type, member.create_system, member.external_attr = zipfile.ZIP_DEFLATED, 3, 0o644 << 16
            archive.writestr(member, text)
    return content.getvalue()


# Checking: the archive ---------------------------------------------------------------------------------------------

MOST_BYTES = 64 * 2**20
MOST_MEMBERS = 1000
SHOWN = 3
"""Defects of one kind that are told line by line; the others are counted."""


def check_submission(path: Path) -> list[str]:
    """Everything in a submission file that its leaderboard would refuse or misread; nothing when it is fine.

    Takes any zip file, by whatever tool, for either leaderboard, and unpacks nothing to the disk.

    Returns:
        one line per defect, ``FILE:LINE: what is wrong, and what to do``; of many alike the first few and a count.

    Raises:
        HarnessError: there is no such file.
    """
    if path.is_dir():
        raise HarnessError(f"{path}: is a folder: zip its files and check the zip file")
    with disk_errors(path):
        if path.stat().st_size > MOST_BYTES:
            return [f"{path.name}: {path.stat().st_size} bytes: no submission is that large"]
        try:
            with zipfile.ZipFile(path) as archive:
                return _check_archive(archive, path.name)
        except (zipfile.BadZipFile, NotImplementedError) as error:
            hint = "" if path.suffix == ".zip" else ": a leaderboard takes one zip file of all predictions"
            return [f"{path.name}: not a zip file that can be read ({error}){hint}"]


def _check_archive(archive: zipfile.ZipFile, name: str) -> list[str]:
    members = [member for member in archive.infolist() if not member.is_dir()]
    if len(members) > MOST_MEMBERS or sum(member.file_size for member in members) > MOST_BYTES:
        return [f"{name}: {len(members)} files that unpack to too many bytes: no submission is that large"]
    suite = _suite(members)
    if suite is None:
        return [f"{name}: holds neither GLUE's .tsv files nor SuperGLUE's .jsonl files"]
    defects: list[str] = []
    found: dict[str, list[str]] = {}
    for member in members:
        shown = _shown(member.filename)
        say = _Defects(shown, defects)
        file = _match(suite, member.filename, say)
        text = _read(archive, member, say)
        if file is not None:
            found.setdefault(file.name, []).append(shown)
            if text is not None:
                (_check_tsv if suite == "glue" else _check_jsonl)(file, text, say)
        say.count_the_rest()
    for file in submission_files(suite):
        names = found.get(file.name, [])
        if not names:
            defects.append(f"{file.name}: missing ({file.rows} predictions of {file.task} {file.split})")
        if len(names) > 1:
            defects.append(f"{file.name}: there {len(names)} times: {', '.join(names)}")
    return defects


def _suite(members: Sequence[zipfile.ZipInfo]) -> str | None:
    suffixes = [PurePosixPath(member.filename).suffix.lower() for member in members]
    glue = sum(suffix in (".tsv", ".txt", ".csv") for suffix in suffixes)
    superglue = sum(suffix in (".jsonl", ".json") for suffix in suffixes)
    return None if glue == superglue == 0 else "glue" if glue >= superglue else "superglue"


def _match(suite: str, path: str, say: _Defects) -> SubmissionFile | None:
    """The file that a member of the archive is, or was meant to be."""
    name = PurePosixPath(path.replace("\\", "/")).name
    if ".." in path.replace("\\", "/").split("/") or re.match(r"[/\\]|[A-Za-z]:", path):
        say("path", "leads out of the archive: a file's path must be its name")
    elif suite == "glue" and name != path:
        say("folder", "in a folder: GLUE's files lie at the top level (zip -j GLUE.zip *.tsv)")
    files = submission_files(suite)
    exact = [file for file in files if file.name == name]
    meant = exact or _meant_files(suite, name)
    if not meant:
        other = next((file.suite for file in FILES if file.name == name), None)
        where = f"belongs to {ARCHIVES[other]}" if other else f"extra file: not part of a {ARCHIVES[suite]}"
        say("extra", f"{where}: leave it out")
    elif not exact:
        names = " and ".join(file.name for file in meant)
        say("name", f"wrong file name: it must be {names}" + (" (two files)" if len(meant) > 1 else ""))
    return meant[0] if len(meant) == 1 else None


def _meant_files(suite: str, name: str) -> list[SubmissionFile]:
    """The files that a wrong name stands for, such as ``predict_results_cola.txt`` or ``MNLI.tsv``."""
    stem, _, suffix = name.lower().rpartition(".")
    if suffix not in ("tsv", "txt", "csv", "json", "jsonl"):
        return []
    word = re.sub(r"[^a-z0-9]", "", re.sub(r"^(predictions?|predict|test|eval|results?|_|-)+", "", stem))
    meant = []
    for file in submission_files(suite):
        names = {file.name.rpartition(".")[0], file.task, f"{file.task}{file.split.removeprefix('test')}"}
        if file.task == "ax":
            names.add("diagnostic")
        if word in {re.sub(r"[^a-z0-9]", "", known.lower()) for known in names}:
            meant.append(file)
    return meant


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo, say: _Defects) -> str | None:
    """A member's text, or None when there is none to be had."""
    if member.filename.lower().endswith(".zip"):
        say("nested", "a zip file inside the zip file: put its files here instead")
        return None
    if member.flag_bits & 1:
        say("encrypted", "encrypted: a leaderboard cannot read it")
        return None
    try:
        with archive.open(member) as stream:
            content = stream.read(MOST_BYTES)
    except (zipfile.BadZipFile, NotImplementedError, zlib.error, EOFError, OSError) as error:
        say("damaged", f"cannot be unpacked: {error}")
        return None
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        say("encoding", f"not UTF-8: byte 0x{content[error.start]:02x}", content.count(b"\n", 0, error.start) + 1)
        return None
    if text.startswith("\ufeff"):
        say("bom", "begins with a byte-order mark: write plain UTF-8", 1)
    return text.removeprefix("\ufeff")


class _Defects:
    """Says what is wrong in one file; of many defects of one kind only the first few."""

    def __init__(self, name: str, lines: list[str]):
        self.name, self.lines = name, lines
        self.counts: dict[str, int] = {}

    def __call__(self, kind: str, problem: str, line: int | None = None) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if self.counts[kind] <= SHOWN:
            self.lines.append(f"{self.name}:{'' if line is None else f'{line}:'} {problem}")

    def count_the_rest(self) -> None:
        for kind, count in self.counts.items():
            if count > SHOWN:
                self.lines.append(f"{self.name}: and {count - SHOWN} more of this kind ({kind})")


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    text = text if text.isprintable() else ascii(text)
    return text if len(text) <= 60 else f"{text[:57]}..."


# Checking: one file ------------------------------------------------------------------------------------------------

Numbers = list[tuple[int, int]]
"""(line, number) in the order of a file."""


def _check_tsv(file: SubmissionFile, text: str, say: _Defects) -> None:
    lines = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
    start = 2
    if re.match(r"\d+\t", lines[0]):
        say("header", f"no header: the first line must be {HEADER!r}", 1)
        start = 1
    elif lines[0] != HEADER:
        say("header", f"the header must be {HEADER!r}, found {_shown(lines[0])!r}", 1)
    numbers: Numbers = []
    for line, row in enumerate(lines[start - 1 :], start):
        cells = row.split("\t")
        if len(cells) != 2:
            problem = f"{len(cells)} columns" if row else "an empty line"
            say("columns", f"{problem} instead of an index and a prediction with one tab between", line)
            continue
        if re.fullmatch(r"[0-9]{1,9}", cells[0]):
            numbers.append((line, int(cells[0])))
        else:
            say("index", f"the index must be a whole number, found {_shown(cells[0])!r}", line)
        _check_value(file, cells[1], say, line)
    if (count := len(lines) - start + 1) != file.rows:
        say("rows", f"{count} rows after the header instead of {file.rows}")
    _check_numbers("index", numbers, file.rows, say)


def _check_jsonl(file: SubmissionFile, text: str, say: _Defects) -> None:
    lines = text.removesuffix("\n").split("\n")
    numbers: Numbers = []
    answers: dict[str, Numbers] = {"question idx": [], "answer idx": []}
    keys = {"idx", "passage"} if file.kind == "answers" else {"idx", "label"}
    for line, row in enumerate(lines, 1):
        record = _parsed(row, say, line)
        if record is None:
            continue
        if set(record) != keys:
            hint = ": one line per passage, its questions and answers inside" if file.kind == "answers" else ""
            expected, found = " and ".join(sorted(keys)), _shown(", ".join(record))
            say("keys", f"a line holds {expected}, found {found}{hint}", line)
        _note_idx("idx", record, numbers, say, line)
        if file.kind == "answers":
            _check_passage(file, record, answers, say, line)
        elif "label" in record:
            _check_value(file, record["label"], say, line)
    expected_rows = MULTIRC_PASSAGES if file.kind == "answers" else file.rows
    if len(lines) != expected_rows:
        say("rows", f"{len(lines)} lines instead of {expected_rows}")
    _check_numbers("idx", numbers, expected_rows, say)
    if file.kind == "answers":
        _check_numbers("question idx", answers["question idx"], MULTIRC_QUESTIONS, say)
        _check_numbers("answer idx", answers["answer idx"], file.rows, say)


def _parsed(row: str, say: _Defects, line: int) -> dict[str, Any] | None:
    try:
        record = json.loads(row)
    except (ValueError, RecursionError) as error:
        say("json", "an empty line" if not row.strip() else f"not JSON: {error}", line)
        return None
    if not isinstance(record, dict):
        say("json", f"not a JSON object: {_shown(row)}", line)
        return None
    return record


def _check_passage(
    file: SubmissionFile, record: Mapping[str, Any], numbers: dict[str, Numbers], say: _Defects, line: int
) -> None:
    passage = record.get("passage")
    for question in _objects(passage, "questions", "the passage", say, line):
        _note_idx("question idx", question, numbers["question idx"], say, line)
        for answer in _objects(question, "answers", "a question", say, line):
            _note_idx("answer idx", answer, numbers["answer idx"], say, line)
            _check_value(file, answer.get("label"), say, line)


def _objects(value: Any, key: str, what: str, say: _Defects, line: int) -> list[dict[str, Any]]:
    items = value.get(key) if isinstance(value, dict) else None
    if not isinstance(items, list) or not items or not all(isinstance(item, dict) for item in items):
        say("shape", f'{what} must be an object with a list of objects, "{key}"', line)
        return []
    return items


def _note_idx(word: str, record: Mapping[str, Any], numbers: Numbers, say: _Defects, line: int) -> None:
    idx = record.get("idx")
    if type(idx) is int and idx >= 0:
        numbers.append((line, idx))
    elif "idx" in record:
        hint = f": write {int(idx)}, without quotes" if isinstance(idx, str) and idx.isdecimal() else ""
        say("type", f"the {word} must be a JSON integer from 0 on, found {_shown(json.dumps(idx))}{hint}", line)
    elif word != "idx":  # of the line itself, the keys have been looked at
        say("type", f"no {word}", line)


def _check_numbers(word: str, numbers: Numbers, rows: int, say: _Defects) -> None:
    """Whether the numbers are 0, 1, 2 and so on to ``rows - 1``."""
    seen: dict[int, int] = {}
    for line, number in numbers:
        if number in seen:
            say("duplicate", f"{word} {number} again, first in line {seen[number]}", line)
        elif number >= rows:
            hint = ": count from 0" if number == rows and all(number > 0 for _, number in numbers) else ""
            say("range", f"{word} {number} is too large: the last one is {rows - 1}{hint}", line)
        seen.setdefault(number, line)
    missing = [number for number in range(rows) if number not in seen]
    if missing:
        some = ", ".join(map(str, missing[:SHOWN])) + (", ..." if len(missing) > SHOWN else "")
        say("missing", f"{word} missing: {some} ({len(missing)} of {rows})")
    for (_, before), (line, number) in itertools.pairwise(numbers):
        if number < before:
            say("order", f"{word} {number} after {before}: the rows must be in the order of the test file", line)


# Checking: one prediction ------------------------------------------------------------------------------------------


def _check_value(file: SubmissionFile, value: Any, say: _Defects, line: int) -> None:
    check: Callable[[SubmissionFile, Any], tuple[str, str] | None] = {
        "score": _wrong_score,
        "text": _wrong_text,
    }.get(file.kind, _wrong_label)
    if problem := check(file, value):
        say(problem[0], problem[1], line)


def _wrong_score(file: SubmissionFile, value: str) -> tuple[str, str] | None:
    if not re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", value):
        return "score", f"the prediction must be a number, found {_shown(value)!r}"
    if not 0 <= float(value) <= 5:
        return "score range", f"the score {_shown(value)} is not between 0 and 5: clip it"
    return None


def _wrong_text(file: SubmissionFile, value: Any) -> tuple[str, str] | None:
    if isinstance(value, str):
        return None
    return "label type", f"the label must be the entity as a JSON string, found {_shown(json.dumps(value))}"


def _wrong_label(file: SubmissionFile, value: Any) -> tuple[str, str] | None:
    if any(type(value) is type(label) and value == label for label in file.labels):
        return None
    quote = str if file.suite == "glue" else json.dumps
    found, right = _shown(quote(value)), _meant_label(file, value)
    if right is None:
        return "label", f"unknown label {found}: expected {' or '.join(quote(label) for label in file.labels)}"
    said = str(value).strip().lower()
    if type(value) is not type(right) and said == str(right).lower():
        kind, reason = "label type", "has the wrong JSON type"
    elif said == str(right).lower():
        kind, reason = "label spelling", "is spelled otherwise"
    elif file.classes and said in [name.lower() for name in file.classes]:
        kind, reason = "label name", "is the name of a label, and the leaderboard reads its number"
    else:
        kind, reason = "label number", "is the number of a label, and the leaderboard reads its name"
    return kind, f"label {found} {reason}: write {quote(right)}"


def _meant_label(file: SubmissionFile, value: Any) -> str | int | None:
    """The label that a wrong one stands for: other case or type, a class's name, or its number."""
    said = str(value).strip().lower()
    for spellings in (file.labels, file.classes, range(len(file.labels))):
        for label, spelling in zip(file.labels, spellings, strict=False):
            if said in (str(spelling).lower(), f"{spelling}.0"):
                return label
    return {"true": file.labels[-1], "false": file.labels[0]}.get(said) if set(file.labels) == {0, 1} else None
