"""Submission files of the GLUE and SuperGLUE leaderboards: what they are, and how they are written from predictions."""

from __future__ import annotations

import io
import itertools
import json
import math
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path
from typing import Any, Literal

from harness.errors import HarnessError, did_you_mean
from harness.io import write_file
from harness.task.rows import INVALID

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
"""(official idx of an example, prediction as `harness.task.task.Task` defines it)."""


@dataclass(frozen=True)
class Submission:
    """What was written: where, which files, those ``filled`` without a model, and those ``missing`` altogether.

    ``invalid`` counts, by file, the predictions that are no answer; the first label stands for them (a score: 0).
    """

    path: Path
    written: tuple[str, ...]
    filled: tuple[str, ...]
    missing: tuple[str, ...]
    invalid: Mapping[str, int] = field(default_factory=dict)


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
    official = {(file.task, file.split) for file in files}
    if unknown := [" ".join(key) for key in predictions if key not in official]:
        raise HarnessError(f"not part of a {suite} submission: {', '.join(unknown)}")
    pages: dict[str, str] = {}
    filled: list[str] = []
    invalid: dict[str, int] = {}
    for file in files:
        rows = predictions.get((file.task, file.split))
        if rows is None and fill_majority and file.task in fill_majority:
            rows = _filled(file, fill_majority[file.task])
            filled.append(file.name)
        if rows is not None:
            pages[file.name], count = _page(file, rows)
            invalid |= {file.name: count} if count else {}
    if not pages:
        raise HarnessError(f"no test predictions of any {suite} task: run the benchmark with `predict: [test]`")
    write_file(path, _archive(pages))
    missing = tuple(file.name for file in files if file.name not in pages)
    return Submission(path, tuple(pages), tuple(filled), missing, invalid)


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
    # The leaderboards want a line for every row, also where a prediction is no answer.
    instead = "0.000" if file.kind == "score" else file.labels[0] if file.labels else ""
    answers = [instead if value is None else value for value in values]
    if file.suite == "glue":
        lines = [HEADER, *(f"{number}\t{answer}" for number, answer in enumerate(answers))]
    elif file.kind == "answers":
        lines = _passages((idx, answer) for (_, idx, _), answer in zip(numbered, answers, strict=True))
    else:
        lines = [json.dumps({"idx": number, "label": answer}) for number, answer in enumerate(answers)]
    return "".join(f"{line}\n" for line in lines), values.count(None)


def _number(file: SubmissionFile, idx: Any) -> int:
    """The number that a file's rows are known by; MultiRC: of the answer."""
    number = idx
    if file.kind == "answers":
        number = idx.get("answer") if isinstance(idx, Mapping) and {"paragraph", "question"} <= {*idx} else None
    elif isinstance(idx, Mapping):
        number = idx.get("query")
    if isinstance(number, bool) or not re.fullmatch("[0-9]{1,18}", str(number)):
        raise HarnessError(f"{file.name}: a prediction of {file.task} has no official idx: found {idx!r}")
    return int(number)


def _written(file: SubmissionFile, prediction: Any) -> str | int | None:
    """A prediction as the leaderboard reads it; None when it is no answer."""
    if file.kind == "text":
        return prediction if isinstance(prediction, str) and prediction else None
    if prediction is None or isinstance(prediction, str):
        return None
    if file.kind == "score":
        score = float(prediction)
        return None if math.isnan(score) or score == INVALID else f"{min(5.0, max(0.0, score)):.3f}"
    is_class = isinstance(prediction, Integral) and 0 <= int(prediction) < len(file.labels)
    return file.labels[int(prediction)] if is_class else None


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
