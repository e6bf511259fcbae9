"""What a leaderboard would refuse or misread in a submission file, whichever tool wrote it."""

from __future__ import annotations

import itertools
import json
import lzma
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from harness.errors import HarnessError, shortened
from harness.io import disk_errors, open_regular
from harness.submission.write import (
    ARCHIVES,
    FILES,
    HEADER,
    MULTIRC_PASSAGES,
    MULTIRC_QUESTIONS,
    SubmissionFile,
    submission_files,
)

MOST_BYTES = 32 * 2**20
MOST_MEMBERS = 1000
SHOWN = 3
"""Defects of one kind that are reported one by one; the others are counted."""


@dataclass
class Defects:
    """Collects what is wrong in one file; of many defects of one kind only the first few, and a count."""

    name: str
    lines: list[str]
    counts: Counter[str] = field(default_factory=Counter)

    def __call__(self, kind: str, problem: str, line: int | None = None) -> None:
        self.counts[kind] += 1
        if self.counts[kind] <= SHOWN:
            self.lines.append(f"{self.name}:{'' if line is None else f'{line}:'} {problem}")

    def count_the_rest(self) -> None:
        rest = {kind: count - SHOWN for kind, count in self.counts.items() if count > SHOWN}
        self.lines += [f"{self.name}: and {count} more of this kind ({kind})" for kind, count in rest.items()]


# The archive -------------------------------------------------------------------------------------------------------


def check_submission(path: Path) -> list[str]:
    """Everything in a submission file that its leaderboard would refuse or misread; nothing when it is fine.

    Takes any zip file, by whatever tool, for either leaderboard; unpacks nothing to the disk.

    Returns:
        one line per defect, ``FILE:LINE: what is wrong, and what to do``; of many alike the first few and a count.

    Raises:
        HarnessError: there is no such file.
    """
    if path.is_dir():
        raise HarnessError(f"{path}: is a folder: zip its files and check the zip file")
    with disk_errors(path), open_regular(path) as file:
        if path.stat().st_size > MOST_BYTES:
            return [f"{path.name}: {path.stat().st_size} bytes: no submission is that large"]
        try:
            with zipfile.ZipFile(file) as archive:
                return _check_archive(archive, path.name)
        except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError) as error:
            return [f"{path.name}: not a zip file ({error}): a leaderboard takes all predictions in one zip file"]


def _check_archive(archive: zipfile.ZipFile, name: str) -> list[str]:
    members = [member for member in archive.infolist() if not member.filename.endswith("/")]
    size = sum(member.file_size for member in members)
    if len(members) > MOST_MEMBERS or size > MOST_BYTES:
        return [f"{name}: {len(members)} files that unpack to {size} bytes: no submission is that large"]
    suffixes = Counter(PurePosixPath(member.filename).suffix.lower() for member in members)
    glue, superglue = suffixes[".tsv"] + suffixes[".txt"] + suffixes[".csv"], suffixes[".jsonl"] + suffixes[".json"]
    if glue == superglue == 0:
        hint = ": a zip file inside the zip file? Put its files here instead" if ".zip" in suffixes else ""
        return [f"{name}: holds neither GLUE's .tsv files nor SuperGLUE's .jsonl files{hint}"]
    suite = "glue" if glue >= superglue else "superglue"
    defects: list[str] = []
    names: dict[str, list[str]] = {file.name: [] for file in submission_files(suite)}
    for member in members:
        say = Defects(shortened(member.filename), defects)
        if file := _match(suite, member.filename, say):
            names[file.name].append(say.name)
            _check_member(archive, member, file, say)
        say.count_the_rest()
    for file in submission_files(suite):
        if not names[file.name]:
            defects.append(f"{file.name}: missing ({file.rows} predictions of {file.task} {file.split})")
        if len(names[file.name]) > 1:
            defects.append(f"{file.name}: there {len(names[file.name])} times: {', '.join(names[file.name])}")
    return defects


def _match(suite: str, path: str, say: Defects) -> SubmissionFile | None:
    """The file that a member of the archive is, or was meant to be."""
    *folders, name = path.replace("\\", "/").split("/")
    if ".." in folders or "" in folders or re.match(r"[A-Za-z]:", path):
        say("path", "its path leads out of the archive: a file's path must be its name")
    elif suite == "glue" and folders:
        say("folder", "in a folder: GLUE's files lie at the top level (zip -j GLUE.zip *.tsv)")
    if name.lower().endswith(".zip"):
        say("nested", "a zip file inside the zip file: put its files here instead")
        return None
    exact = [file for file in submission_files(suite) if file.name == name]
    meant = exact or _meant_files(suite, name)
    if not meant:
        other = next((file.suite for file in FILES if file.name == name), None)
        where = f"belongs into {ARCHIVES[other]}" if other else f"extra file, not part of {ARCHIVES[suite]}"
        say("extra", f"{where}: leave it out")
    elif not exact:
        names = " and ".join(file.name for file in meant)
        say("name", f"wrong file name: it must be {names}{', two files' if len(meant) > 1 else ''}")
    return meant[0] if len(meant) == 1 else None


def _meant_files(suite: str, name: str) -> list[SubmissionFile]:
    """The files that a wrong name stands for, such as ``predict_results_cola.txt`` or ``MNLI.tsv``."""
    stem, _, suffix = name.lower().rpartition(".")
    if suffix not in ("tsv", "txt", "csv", "json", "jsonl") or stem.startswith("."):
        return []

    def letters(text: str) -> str:
        return re.sub(r"[^a-z0-9]", "", text.lower())

    def names(file: SubmissionFile) -> list[str]:
        own = [file.name.rpartition(".")[0], file.task, file.task + file.split.removeprefix("test")]
        return [letters(known) for known in [*own, *(["diagnostic"] if file.task == "ax" else [])]]

    word = letters(re.sub(r"^((predict|test|eval)(ions?)?|results?|_|-)+", "", stem))
    return [file for file in submission_files(suite) if word in names(file)]


def _check_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, file: SubmissionFile, say: Defects) -> None:
    if member.flag_bits & 1:
        say("encrypted", "encrypted: a leaderboard cannot read it")
        return
    try:
        with archive.open(member) as stream:
            text = stream.read(MOST_BYTES).decode("utf-8")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        say("encoding", f"not UTF-8: byte 0x{error.object[error.start]:02x}", line)
        return
    except (zipfile.BadZipFile, NotImplementedError, zlib.error, lzma.LZMAError, EOFError, OSError) as error:
        say("damaged", f"cannot be unpacked: {shortened(str(error))}")
        return
    if text.startswith("\ufeff"):
        say("byte-order mark", "begins with a byte-order mark: write plain UTF-8", 1)
    lines = text.removeprefix("\ufeff").removesuffix("\n").split("\n")
    if len(lines) > 2 * file.rows + 1000:
        say("rows", f"{len(lines)} lines for {file.rows} predictions: not read any further")
        return
    (_check_tsv if file.suite == "glue" else _check_jsonl)(file, lines, say)


# One file ----------------------------------------------------------------------------------------------------------

Numbers = list[tuple[int, int]]
"""(line, number) in the order of a file."""


def _check_tsv(file: SubmissionFile, lines: list[str], say: Defects) -> None:
    lines = [line.removesuffix("\r") for line in lines]
    start = 2
    if re.match(r"[0-9]+\t", lines[0]):
        say("header", f"no header: the first line must be {HEADER!r}", 1)
        start = 1
    elif lines[0] != HEADER:
        say("header", f"the header must be {HEADER!r}, found {shortened(repr(lines[0]))}", 1)
    numbers: Numbers = []
    for line, row in enumerate(lines[start - 1 :], start):
        index, *rest = row.split("\t")
        if len(rest) != 1:
            problem = f"{len(rest) + 1} columns" if row else "an empty line"
            say("columns", f"{problem} instead of an index and a prediction with one tab between", line)
            continue
        if re.fullmatch(r"[0-9]{1,9}", index):
            numbers.append((line, int(index)))
        else:
            say("index", f"the index must be a whole number, found {shortened(repr(index))}", line)
        _check_value(file, rest[0], say, line)
    if (count := len(lines) - start + 1) != file.rows:
        say("rows", f"{count} rows of predictions instead of {file.rows}")
    _check_numbers("index", numbers, file.rows, say)


def _check_jsonl(file: SubmissionFile, lines: list[str], say: Defects) -> None:
    nested = file.kind == "answers"
    keys, rows = ({"idx", "passage"}, MULTIRC_PASSAGES) if nested else ({"idx", "label"}, file.rows)
    numbers: dict[str, Numbers] = {"idx": [], "question idx": [], "answer idx": []}
    for line, row in enumerate(lines, 1):
        try:
            record = json.loads(row)
            json.dumps(record)  # what goes too deep for the messages below goes too deep here
        except (ValueError, RecursionError) as error:
            say("JSON", f"not JSON: {error}" if row.strip() else "an empty line", line)
            continue
        if not isinstance(record, dict):
            say("JSON", f"not a JSON object: {shortened(row)}", line)
            continue
        if set(record) != keys:
            hint = ": one line per passage, its questions and answers inside" if nested else ""
            say("keys", f"a line holds {' and '.join(sorted(keys))}, found {shortened(', '.join(record))}{hint}", line)
        _note_idx("idx", record, numbers, say, line)
        if nested and "passage" in record:
            for question in _objects(record["passage"], "questions", "the passage", say, line):
                _note_idx("question idx", question, numbers, say, line)
                for answer in _objects(question, "answers", "a question", say, line):
                    _note_idx("answer idx", answer, numbers, say, line)
                    _check_value(file, answer.get("label"), say, line)
        elif "label" in record:
            _check_value(file, record["label"], say, line)
    if len(lines) != rows:
        say("rows", f"{len(lines)} lines instead of {rows}")
    _check_numbers("idx", numbers["idx"], rows, say)
    if nested:
        _check_numbers("question idx", numbers["question idx"], MULTIRC_QUESTIONS, say)
        _check_numbers("answer idx", numbers["answer idx"], file.rows, say)


def _objects(value: Any, key: str, what: str, say: Defects, line: int) -> Iterable[dict[str, Any]]:
    items = value.get(key) if isinstance(value, dict) else None
    if isinstance(items, list) and items and all(isinstance(item, dict) for item in items):
        return items
    say("shape", f'{what} must hold "{key}", a list of objects', line)
    return ()


def _note_idx(word: str, record: Mapping[str, Any], numbers: dict[str, Numbers], say: Defects, line: int) -> None:
    idx = record.get("idx")
    if type(idx) is int and 0 <= idx < 10**9:
        numbers[word].append((line, idx))
    elif "idx" not in record:
        say("idx", f"no {word}", line)
    else:
        hint = f": write {int(idx)}, without quotes" if isinstance(idx, str) and re.fullmatch("[0-9]{1,9}", idx) else ""
        say("idx", f"the {word} must be a JSON integer from 0 on, found {shortened(json.dumps(idx))}{hint}", line)


def _check_numbers(word: str, numbers: Numbers, rows: int, say: Defects) -> None:
    """Whether the numbers are 0, 1, 2 and so on to ``rows - 1``."""
    seen: dict[int, int] = {}
    from_one = bool(numbers) and min(number for _, number in numbers) == 1
    for line, number in numbers:
        if number in seen:
            say(f"{word} twice", f"{word} {number} again, first in line {seen[number]}", line)
        elif number >= rows:
            hint = ": count from 0" if from_one and number == rows else ""
            say(f"{word} range", f"{word} {number} is too large: the last one is {rows - 1}{hint}", line)
        seen.setdefault(number, line)
    if missing := [number for number in range(rows) if number not in seen]:
        some = ", ".join(map(str, missing[:SHOWN])) + (", ..." if len(missing) > SHOWN else "")
        say(f"{word} missing", f"{word} missing: {some} ({len(missing)} of {rows})")
    for (_, before), (line, number) in itertools.pairwise(numbers):
        if number < before:
            problem = f"{word} {number} after {before}: the rows must be in the order of the test file"
            say(f"{word} order", problem, line)


# One prediction ----------------------------------------------------------------------------------------------------


def _check_value(file: SubmissionFile, value: Any, say: Defects, line: int) -> None:
    if file.kind == "score":
        if not re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", value):
            say("score", f"the prediction must be a number, found {shortened(repr(value))}", line)
        elif not 0 <= float(value) <= 5:
            say("score range", f"the score {shortened(value)} is not between 0 and 5: clip it", line)
    elif file.kind == "text":
        if not isinstance(value, str):
            found = shortened(json.dumps(value))
            say("label type", f"the label must be the entity, a JSON string; found {found}", line)
    elif not any(type(value) is type(label) and value == label for label in file.labels):
        quote = str if file.suite == "glue" else json.dumps
        kind, reason, right = next(_meanings(file, value), ("label", "", None))
        if right is None:
            expected = " or ".join(quote(label) for label in file.labels)
            say("label", f"unknown label {shortened(quote(value))}: expected {expected}", line)
        else:
            say(kind, f"label {shortened(quote(value))} {reason}: write {quote(right)}", line)


def _meanings(file: SubmissionFile, value: Any) -> Iterator[tuple[str, str, str | int]]:
    """(kind of mistake, its description, the right label) for each way to read a wrong label."""
    said = str(value).strip().lower()
    for label in file.labels:
        if said == f"{label}.0":
            yield "label type", "is no whole number", label
        if said == str(label).lower() and type(value) is type(label):
            yield "label spelling", "is spelled otherwise", label
        elif said == str(label).lower():
            yield "label type", f"is no JSON {'string' if isinstance(label, str) else 'integer'}", label
    for label, name in zip(file.labels, file.classes, strict=False):
        if said == name.lower():
            yield "label name", "is the name of a class, and the leaderboard reads its number", label
    for number, label in enumerate(file.labels):
        if isinstance(value, bool) and value == number:
            yield "label type", "is no JSON integer", label
        if said in (str(number), f"{number}.0"):
            yield "label number", "is the number of a class, and the leaderboard reads its name", label
