"""The audit of a results folder: every score again from the predictions, every table again from the records.

Whoever alters a record and makes its checksums fit leaves a contradiction, unless they forge all that follows from it:
scores follow from the predictions and the references, the predictions from the model's scores or texts, those of the
best step stand in the history, the fingerprint follows from the settings, and no two runs give the same outputs.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from harness.errors import HarnessError
from harness.inspection.source import NotAtHand, Source
from harness.io import read_file
from harness.leaderboard.board import Leaderboard
from harness.report.leaderboard import contents
from harness.results.record import Prediction, Record
from harness.results.store import Store
from harness.task.functions import clipped, decide, metric_inputs, parse
from harness.task.metrics import ERRORS, OF_WORDS, compute_metrics
from harness.task.task import Example, Task, is_unlabelled

TOLERANCE = 1e-9
"""By how much a score may differ: sums of floats."""
LOGIT_DIGITS = 1e-6
"""Model scores are kept to seven digits."""
MOST = 5
"""Examples that are named of each kind of difference in a record."""


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        differences: what contradicts something, by where it is.
        unchecked: what could not be checked, and why.
        records, scores, tables: how many were.
    """

    differences: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()
    records: int = 0
    scores: int = 0
    tables: int = 0

    def __add__(self, other: Audit) -> Audit:
        return Audit(
            (*self.differences, *other.differences),
            tuple(dict.fromkeys((*self.unchecked, *other.unchecked))),
            self.records + other.records,
            self.scores + other.scores,
            self.tables + other.tables,
        )

    @property
    def text(self) -> str:
        """All of it, line by line."""
        lines = [*(f"DIFFERS {difference}" for difference in self.differences)]
        lines += [f"not checked: {note}" for note in self.unchecked]
        found = f"{len(self.differences)} differences" if self.differences else "nothing differs"
        return "\n".join([*lines, f"{self.records} records, {self.scores} scores, {self.tables} tables: {found}"])


@dataclass
class _Findings:
    differences: list[str]
    unchecked: dict[str, None]
    scores: int = 0

    def differs(self, where: object, what: str) -> None:
        self.differences.append(f"{where}: {what}")


def audit_records(store: Store, source: Source) -> Audit:
    """The audit of all records of a benchmark, current or not."""
    found = _Findings([], {})
    records = store.records()
    for warning in store.warnings:
        found.differences.append(warning)
    seen: dict[str, Record] = {}
    labels: dict[tuple[str, ...], tuple[str, Record]] = {}
    for record in records:
        if record.settings.fingerprint != record.fingerprint and record.settings.tasks and not record.predicts_tests_of:
            found.differs(record.folder, "its fingerprint is not that of its settings")
        if record.finished:
            try:
                _check_record(record, source, found, seen, labels)
            except HarnessError as error:
                found.differs(record.folder, str(error))
        elif record.pruned:
            _check_history(record, found)
    named = {(task, model, seed) for task, model, seed, record in store.current() if record is None}
    for task, model, seed in sorted(named):
        found.unchecked[f"{task} · {model} · seed {seed}: there is no record"] = None
    return Audit(tuple(found.differences), tuple(found.unchecked), len(records), found.scores)


def _check_record(
    record: Record,
    source: Source,
    found: _Findings,
    seen: dict[str, Record],
    labels: dict[tuple[str, ...], tuple[str, Record]],
) -> None:
    outputs = hashlib.sha256()
    scored = set()
    for (task, split), group in groupby(record.predictions(), key=lambda row: (row["task"], row["split"])):
        rows = list(group)
        for row in rows:
            outputs.update(repr((row["index"], row.get("scores"), row.get("output"), row["prediction"])).encode())
        _check_split(record, task, split, rows, source, found, labels)
        scored.add((task, split))
    for task, of_task in record.scores.items():
        for split in of_task:
            if of_task[split] and (task, split) not in scored:
                found.differs(record.folder, f"{task} {split} has scores, but no predictions")
    if scored:
        other = seen.setdefault(outputs.hexdigest(), record)
        if other is not record and _written(record):
            found.differs(record.folder, f"the model's outputs are, to the last digit, those of {other.folder}")
    _check_history(record, found)


def _written(record: Record) -> bool:
    """Whether outputs have so many digits that no two runs share them: scores, not texts or constants."""
    values = {value for row in record.predictions() for scores in row.get("scores", ()) for value in scores}
    return len(values) > 2


def _check_split(
    record: Record,
    task: str,
    split: str,
    rows: Sequence[Prediction],
    source: Source,
    found: _Findings,
    labels: dict[tuple[str, ...], tuple[str, Record]],
) -> None:
    where = f"{record.folder}: {task} {split}"
    definition = source.tasks.get(task)
    if definition is None:
        reason = "its task is not defined here: name its plugins with --plugins, or its file with --file"
        found.unchecked[f"{task} {split}: {reason}"] = None
        return
    examples: Sequence[Example] | None = None
    try:
        examples = source.examples(record, task, split)
    except NotAtHand as reason:
        found.unchecked[f"{task} {split}: the labels are those of the predictions: {reason}"] = None
    _check_labels(record, task, split, rows, found, labels)
    if examples is not None:
        if [row["index"] for row in rows] != list(range(len(examples))):
            found.differs(where, f"there are predictions of {len(rows)} examples; the data has {len(examples)}")
            return
        _name(found, where, _wrong_references(definition, rows, examples))
        _name(found, where, _wrong_predictions(definition, rows, examples, record))
    if any(row["label"] is None for row in rows):
        return
    _check_scores(record.scores.get(task, {}).get(split, {}), definition, rows, examples, found, where)


def _check_scores(
    recorded: Mapping[str, float],
    task: Task,
    rows: Sequence[Prediction],
    examples: Sequence[Example] | None,
    found: _Findings,
    where: str,
) -> None:
    """The recorded scores of a split are those of its predictions; without the data, those that need no words are."""
    left_out = [] if examples else [name for name in task.metrics if name in OF_WORDS]
    if left_out:
        found.unchecked[f"{task.name}: {', '.join(left_out)}, which needs the words of the data"] = None
    own = examples or [{"idx": row.get("idx"), task.label_field: row["label"]} for row in rows]
    try:
        pairs = [metric_inputs(task, row["prediction"], example) for row, example in zip(rows, own, strict=True)]
        names = [name for name in task.metrics if name not in left_out]
        given = [row["scores"] for row in rows if "scores" in row]
        of_model = given if len(given) == len(rows) else None
        scores = compute_metrics(names, [p for p, _ in pairs], [r for _, r in pairs], of_model)
    except HarnessError as error:
        found.differs(where, f"the scores cannot be computed from the predictions: {error}")
        return
    found.scores += len(scores)
    for metric in dict.fromkeys([*scores, *recorded]):
        if metric not in left_out and not _equal(scores.get(metric), recorded.get(metric)):
            computed, given_score = _shown(scores.get(metric), metric), _shown(recorded.get(metric), metric)
            found.differs(where, f"{metric} is {given_score} in the record and {computed} by the predictions")


def _check_labels(
    record: Record,
    task: str,
    split: str,
    rows: Sequence[Prediction],
    found: _Findings,
    labels: dict[tuple[str, ...], tuple[str, Record]],
) -> None:
    """The labels of one record are those of the others that were evaluated on the same data."""
    identity = record.settings.data.get(task)
    digest = hashlib.sha256(repr([(row["index"], row["label"]) for row in rows]).encode()).hexdigest()
    data = "" if identity is None else f"{identity.source} {identity.content.get(split)} {identity.limit}"
    before, other = labels.setdefault((task, split, data), (digest, record))
    if before != digest:
        found.differs(f"{record.folder}: {task} {split}", f"the labels are not those of {other.folder}")


def _wrong_references(task: Task, rows: Sequence[Prediction], examples: Sequence[Example]) -> Iterator[str]:
    for row, example in zip(rows, examples, strict=True):
        label = None if is_unlabelled(task, example) else example[task.label_field]
        if not _equal(row["label"], label):
            yield f"example {row['index']}: the label is {row['label']!r} in the record and {label!r} in the data"


def _wrong_predictions(
    task: Task, rows: Sequence[Prediction], examples: Sequence[Example], record: Record
) -> Iterator[str]:
    """Predictions that do not follow from what the model gave."""
    clips = record.settings.model.options.get("clip") is True
    for row, example in zip(rows, examples, strict=True):
        if "output" in row:
            answer = parse(task, row["output"], example)
        elif "scores" in row:
            answer = _decided(task, row, example, record.threshold)
        else:
            continue
        answer = clipped(task, answer) if clips else answer
        answer = task.invalid_prediction if answer is None else answer
        if not _equal(row["prediction"], answer, LOGIT_DIGITS):
            given = "output" if "output" in row else "scores"
            said = f"the prediction is {row['prediction']!r}, and {answer!r} by the model's {given}"
            yield f"example {row['index']}: {said}"


def _decided(task: Task, row: Prediction, example: Example, threshold: float | None) -> Any:
    scores = row["scores"]
    if task.has_threshold and threshold is not None:
        scores = [[score - math.log(threshold / (1 - threshold)) for score in line] for line in scores]
    answer = decide(task, scores, example)
    # Two scores that differ in the eighth digit are equal here, and either may have been the larger one.
    line = [score for one in scores for score in one]
    given = row["prediction"]
    if answer != given and isinstance(given, int) and 0 <= given < len(line) and line[given] == max(line):
        return given
    return answer


def _check_history(record: Record, found: _Findings) -> None:
    """The scores at the best step, which the history has of the task's own splits when validation data chose it."""
    history = record.history()
    best = [point for point in history if point["step"] == record.best_step and "selection_score" in point]
    if not best or record.best_step is None:
        return
    point = best[-1]
    if not _equal(point["selection_score"], record.selection_score):
        found.differs(record.folder, f"the selection score is {_shown(record.selection_score)} in the record and "
                                     f"{_shown(point['selection_score'])} in the history")  # fmt: skip
    for split, scores in point.get("scores", {}).items():
        recorded = record.scores.get(record.task, {}).get(split)
        if recorded is None:
            continue
        for metric, value in scores.items():
            if not _equal(recorded.get(metric), value):
                numbers = f"{_shown(recorded.get(metric))} in the record and {_shown(value)} in the history"
                found.differs(record.folder, f"{split} {metric} is {numbers}")


def _name(found: _Findings, where: str, problems: Iterator[str]) -> None:
    """The first problems, and how many others there are."""
    every = list(problems)
    for problem in every[:MOST]:
        found.differs(where, problem)
    if len(every) > MOST:
        found.differs(where, f"and {len(every) - MOST} others like it")


def _equal(a: Any, b: Any, tolerance: float = TOLERANCE) -> bool:
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_equal, a, b))
    if isinstance(a, float) or isinstance(b, float):
        if not isinstance(a, int | float) or not isinstance(b, int | float):
            return False
        return (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance)
    return bool(a == b)


def _shown(score: Any, metric: str = "") -> str:
    """Times 100; an error as it is."""
    return "missing" if score is None else f"{(1 if metric in ERRORS else 100) * score:.4f}"


# Tables ----------------------------------------------------------------------------------------------------------


def audit_tables(store: Store, board: Leaderboard) -> Audit:
    """The audit of a leaderboard's files: those that the records give, byte by byte."""
    wanted = contents(board)
    differences = []
    for name, content in wanted.items():
        path = store.folder / name
        try:
            given = read_file(path)
        except FileNotFoundError:
            given = b""
        except OSError as error:
            differences.append(f"{path}: cannot be read: {error.strerror}")
            continue
        if given == content:
            continue
        if not given or not content:
            differences.append(f"{path}: {'is missing' if content else 'no record gives such a table'}")
            continue
        differences.append(f"{path}: {_first_difference(given, content)}")
    return Audit(tuple(differences), tables=sum(bool(content) for content in wanted.values()))


def _first_difference(given: bytes, content: bytes) -> str:
    lines = [text.decode(errors="replace").splitlines() for text in (given, content)]
    for number, (own, right) in enumerate(zip(*lines, strict=False), 1):
        if own != right:
            at = next(
                (i for i, (a, b) in enumerate(zip(own, right, strict=False)) if a != b), min(len(own), len(right))
            )
            part = slice(max(0, at - 30), at + 40)
            return f"line {number} has '{own[part]}', and by the records '{right[part]}'"
    return f"{len(lines[0])} lines, and {len(lines[1])} by the records"


def options_of(store: Store) -> Mapping[str, Any]:
    """How the tables were made where nobody says: leaderboard.json knows whether intervals or deviations are shown."""
    from harness.io import from_json

    try:
        data = from_json(read_file(store.folder / "leaderboard.json"))
        interval, references = data["statistics"]["interval"], bool(data["references"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {"interval": interval if interval in ("std", "ci") else None, "references": references}
