"""The predictions of a record by columns: what statistics need of them, read at once.

Reading a million lines takes seconds, so the columns are kept in ``results/.cache/answers/``, by the checksum of the
predictions; those of small records together.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NotRequired

from pydantic import ConfigDict, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from harness.errors import HarnessError
from harness.io import disk_errors, number, open_regular, read_checked, to_json, write_checked
from harness.results.fields import Count, Damaged, Digest
from harness.results.packs import Packs
from harness.results.record import PREDICTIONS, STRICT, Answer, Record

LINES_AT_ONCE = 20_000
WORTH_KEEPING = 2**16
"""Bytes of predictions from which on the columns have a file of their own."""


class _Line(TypedDict):
    """The part of a line of predictions.jsonl that is read here; model scores and texts are skipped."""

    __pydantic_config__ = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False)  # type: ignore[misc]

    task: str
    split: str
    index: Count
    idx: NotRequired[Any]
    cluster: NotRequired[Count]
    label: Answer
    prediction: Answer


_LINES = TypeAdapter(list[_Line])


@dataclass(eq=False)
class Answers:
    """What a run answered to the n examples of a split.

    Attributes:
        index: (n,) positions of the examples in the split.
        labels, predictions: n rows: class indices, scores, texts, lists of them; None where there is no label.
        idx: n official numbers, as the data set has them.
        clusters: n names of clusters; None for an example that is alone.
    """

    index: list[int] = field(default_factory=list)
    labels: list[Any] = field(default_factory=list)
    predictions: list[Any] = field(default_factory=list)
    idx: list[Any] = field(default_factory=list)
    clusters: list[int | None] = field(default_factory=list)

    @property
    def labelled(self) -> bool:
        """Whether every example has a label."""
        return None not in self.labels


class _Columns(TypedDict):
    """The answers to a split in the cache; ``index`` is a number where they are all examples of it."""

    __pydantic_config__ = STRICT  # type: ignore[misc]

    task: str
    split: str
    index: Count | list[Count]
    labels: list[int] | list[Answer]
    predictions: list[int] | list[Answer]
    idx: list[Any] | None
    clusters: list[Count | None] | None


_CACHED = TypeAdapter(list[_Columns])
_ROWS = TypeAdapter(list[tuple[Digest, list[_Columns]]])


def read_answers(record: Record, cached: bool = True) -> dict[tuple[str, str], Answers]:
    """The answers of a record by (task, split), in the order of examples.

    Args:
        cached: take them from the cache, or put them there.

    Raises:
        Damaged: a line that is no prediction.
    """
    if record.folder is None:
        return {}
    path = record.folder / PREDICTIONS
    with disk_errors(path):
        file = _cache_file(record) if cached and path.stat().st_size >= WORTH_KEEPING else None
    answers = _from_cache(file) if file else None
    if answers is None:
        answers = _read(path)
        if file:
            with contextlib.suppress(HarnessError):  # a folder that is only to be read needs no cache
                write_checked(file, _json([_columns(*key, own) for key, own in answers.items()]))
    return answers


class AnswersReader:
    """Reads answers; the columns of small records are kept in packs."""

    def __init__(self) -> None:
        self._packs = Packs("answers", _ROWS)

    def read(self, record: Record) -> dict[tuple[str, str], Answers]:
        """As `read_answers`."""
        folder, digest = record.folder, record.predictions_digest
        if folder is None or digest is None:
            return read_answers(record)
        if answers := _answers(self._packs.get(folder, digest) or []):
            return answers
        if os.path.getsize(folder / PREDICTIONS) >= WORTH_KEEPING:
            return read_answers(record)
        answers = read_answers(record, cached=False)
        self._packs.put(folder, digest, _json([_columns(*key, own) for key, own in answers.items()]))
        return answers

    def close(self) -> None:
        """Write what is new, and give the memory back."""
        self._packs.close()


def _read(path: Path) -> dict[tuple[str, str], Answers]:
    answers: dict[tuple[str, str], Answers] = {}
    for lines in _lines(path):
        for key, rows in _by_split(lines).items():
            own = answers.setdefault(key, Answers())
            own.index += [row["index"] for row in rows]
            own.labels += [row["label"] for row in rows]
            own.predictions += _numbers([row["prediction"] for row in rows], own.labels)
            own.idx += [row.get("idx") for row in rows]
            own.clusters += [row.get("cluster") for row in rows]
    return answers


def _by_split(lines: Sequence[_Line]) -> dict[tuple[str, str], list[_Line]]:
    keys = [(line["task"], line["split"]) for line in lines]
    splits: dict[tuple[str, str], list[_Line]] = {key: [] for key in keys}
    if len(splits) == 1:
        return {key: list(lines) for key in splits}
    for key, line in zip(keys, lines, strict=True):
        splits[key].append(line)
    return splits


def _numbers(predictions: list[Any], labels: Sequence[Any]) -> list[Any]:
    """The predictions; of scores, an undefined or infinite one is a text in strict JSON."""
    return [number(value) for value in predictions] if labels and isinstance(labels[0], float) else predictions


def _cache_file(record: Record) -> Path | None:
    """Where the columns of a record are kept; None where it has no checksum."""
    if record.folder is None or record.predictions_digest is None:
        return None
    return record.folder.resolve().parents[4] / ".cache" / "answers" / f"{record.predictions_digest}.json"


def _from_cache(file: Path) -> dict[tuple[str, str], Answers] | None:
    try:
        return _answers(_CACHED.validate_json(read_checked(file)))
    except (OSError, ValueError):
        return None


def _answers(columns: Sequence[_Columns]) -> dict[tuple[str, str], Answers] | None:
    """The answers that columns hold; None where they do not fit together."""
    answers = {}
    for own in columns:
        index = list(range(own["index"])) if isinstance(own["index"], int) else own["index"]
        labels, predictions = own["labels"], _numbers(own["predictions"], own["labels"])
        idx, clusters = own["idx"] or [None] * len(index), own["clusters"] or [None] * len(index)
        if len({len(index), len(labels), len(predictions), len(idx), len(clusters)}) != 1:
            return None
        answers[own["task"], own["split"]] = Answers(index, labels, predictions, idx, clusters)
    return answers


def _json(columns: Any) -> bytes:
    """Columns without an undefined score are written as they are, which takes a tenth of the time."""
    try:
        return json.dumps(columns, allow_nan=False).encode()
    except ValueError:
        return to_json(columns, indent=None)


def _columns(task: str, split: str, own: Answers) -> dict[str, Any]:
    """Official numbers are kept where they say what belongs together."""
    whole = own.index == list(range(len(own.index)))
    return {
        "task": task,
        "split": split,
        "index": len(own.index) if whole else own.index,
        "labels": own.labels,
        "predictions": own.predictions,
        "idx": own.idx if any(isinstance(idx, dict) for idx in own.idx) else None,
        "clusters": own.clusters if any(cluster is not None for cluster in own.clusters) else None,
    }


def _lines(path: Path) -> Iterator[list[_Line]]:
    with disk_errors(path), open_regular(path) as file:
        position = 0
        while chunk := list(itertools.islice(file, LINES_AT_ONCE)):
            try:
                yield _LINES.validate_json(b"[" + b",".join(chunk) + b"]")
            except ValidationError as error:
                where = error.errors(include_url=False, include_context=False, include_input=False)[0]["loc"]
                line = position + (where[0] if where and isinstance(where[0], int) else 0) + 1
                raise Damaged(f"{path}:{line}: damaged: remove its folder; the next 'run' does it again") from None
            position += len(chunk)
