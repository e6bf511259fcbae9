"""A user's own data files (csv, tsv, jsonl, parquet, conll), described by a few lines of YAML, as a task."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.data import conll
from harness.data.files import column_names, label_names
from harness.data.formats import FORMATS
from harness.errors import HarnessError, did_you_mean, printable
from harness.task.entities import tag_order
from harness.task.metrics import METRICS as KNOWN_METRICS
from harness.task.problem_types import PROBLEM_TYPES, ProblemType
from harness.task.task import Example, Instance, SplitFile, Task

SUITE = "custom"
SPLITS = ("train", "validation", "test")
TABLES = tuple(suffix for suffix in FORMATS if suffix != ".conll")
SENTENCES = tuple(suffix for suffix in FORMATS if suffix not in (".csv", ".tsv"))
"""The files that token classification can be read from: they hold lists of words."""
REQUIRED = ("problem_type", "text", "train")
KEYS = (*REQUIRED, "validation", "test", "labels", "label", "choices", "metrics", "separator", "suite")


def task_from_files(name: str, spec: Mapping[str, Any], base: str | Path) -> Task:
    """A task over a user's own files.

    Args:
        name: the task's name.
        spec: ``problem_type``; ``text``, a column or a list of columns; ``train`` and, if there are, ``validation``
            (else it is cut from train) and ``test``, files relative to ``base``; ``label``, the column of the label
            (default "label"); ``labels``, the class names in order (default: those in the training file, sorted).
            Token classification reads conll, jsonl and parquet; its columns are lists, called "tokens" and "tags"
            unless ``text`` and ``label`` say otherwise, as in a conll file;
            ``choices``, the columns of the choices (multiple choice; the label is the right one's position from 0,
            or its column); ``metrics``; ``separator`` between the labels of one cell (multi-label csv and tsv,
            default ","); ``suite``. A test file may lack the label column.
        base: the folder of the YAML file.

    Raises:
        HarnessError: an unknown key, a wrong value, a file or a column that is missing.
    """
    problem = _checked(name, spec)
    if problem.of_words:
        spec = {"text": conll.TOKENS, "label": conll.TAGS, **spec}
    text, choices = _names(name, spec, "text"), _names(name, spec, "choices")
    label = str(spec.get("label", "label"))
    paths = {split: _path(name, spec, problem, split, Path(base)) for split in SPLITS if spec.get(split) is not None}
    fields = {field: field for field in (*text, *choices)}
    if taken := {label, "label", "idx"} & set(fields):
        raise _error(name, f"the column '{taken.pop()}' cannot be a text: it is the label, or has a reserved name")
    separator = spec.get("separator", ",")
    if not isinstance(separator, str) or not separator:
        raise _error(name, f"'separator' must be a character, found {separator!r}")
    columns = {split: _columns(name, split, path, fields, label) for split, path in paths.items()}
    train = SplitFile(str(paths["train"]), columns["train"], separator=separator)
    labels = tuple(choices) or _labels(name, spec, problem, train, paths["train"])
    spelled = _spelled(name, spec, choices)
    files = {
        split: SplitFile(str(path), columns[split], labels=spelled, separator=separator)
        for split, path in paths.items()
    }
    return Task(
        name=name,
        suite=str(spec.get("suite", SUITE)),
        problem_type=problem.name,
        text_fields=(*text, *choices),
        labels=labels,
        metrics=_metrics(name, spec) or problem.metrics,
        files=files,
        test_splits=("test",) if "test" in files else (),
        instances=_choice_instances(text, choices) if choices else None,
    )


def _checked(name: str, spec: Mapping[str, Any]) -> ProblemType:
    for key in spec:
        if key not in KEYS:
            raise _error(name, f"unknown key '{key}'.{did_you_mean(key, KEYS)} Known: {', '.join(KEYS)}")
    named = spec.get("problem_type")
    problem = PROBLEM_TYPES.get(str(named))
    for key in REQUIRED:
        if spec.get(key) is None and not (key == "text" and problem is not None and problem.of_words):
            raise _error(name, f"'{key}' is missing")
    if problem is None:
        known = ", ".join(PROBLEM_TYPES)
        raise _error(name, f"unknown problem_type '{named}'.{did_you_mean(str(named), PROBLEM_TYPES)} Known: {known}")
    if problem.grouped != bool(spec.get("choices")):
        raise _error(name, "multiple_choice, and only it, needs 'choices': the columns of the choices")
    if not problem.has_labels and spec.get("labels"):
        raise _error(name, "a regression has no 'labels'")
    return problem


def _names(name: str, spec: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = spec.get(key) or ()
    names = (value,) if isinstance(value, str) else value
    if not isinstance(names, Sequence) or not all(isinstance(item, str) for item in names):
        raise _error(name, f"'{key}' must be a name or a list of names, found {value!r}")
    if len(set(names)) != len(names):
        raise _error(name, f"'{key}' names something twice: {', '.join(names)}")
    return tuple(names)


def _metrics(name: str, spec: Mapping[str, Any]) -> tuple[str, ...]:
    chosen = _names(name, spec, "metrics")
    for metric in chosen:
        if metric not in KNOWN_METRICS:
            hint = did_you_mean(metric, KNOWN_METRICS)
            raise _error(name, f"unknown metric '{metric}'.{hint} Known: {', '.join(KNOWN_METRICS)}")
    return chosen


def _path(name: str, spec: Mapping[str, Any], problem: ProblemType, split: str, base: Path) -> Path:
    value = spec[split]
    if not isinstance(value, str | Path):
        raise _error(name, f"'{split}' must be a file name, found {value!r}")
    path = Path(os.path.abspath(os.path.join(base, os.path.expanduser(value))))
    formats = SENTENCES if problem.of_words else TABLES
    if path.suffix not in formats:
        raise _error(name, f"'{split}': {value} must end with one of {', '.join(formats)}")
    try:
        there = path.is_file()
    except (OSError, ValueError) as error:  # a name that no disk can have
        raise _error(name, f"'{split}': {value}: {getattr(error, 'strerror', None) or error}") from None
    if not there:
        raise _error(name, f"'{split}': there is no file {path}")
    return path


def _labels(name: str, spec: Mapping[str, Any], problem: ProblemType, train: SplitFile, path: Path) -> tuple[str, ...]:
    if not problem.has_labels:
        return ()
    labels = spec.get("labels")
    if labels is None:
        names = label_names(train, path, problem.several)
        return tag_order(names) if problem.of_words else names
    if not isinstance(labels, list | tuple) or not labels or not all(isinstance(x, str | int) for x in labels):
        raise _error(name, f"'labels' must be a list of class names, found {labels!r}")
    return tuple(_spelling(label) for label in labels)


def _spelling(label: Any) -> str:
    """A label as it stands in YAML: a boolean is written in lower case there."""
    return str(label).lower() if isinstance(label, bool) else str(label)


def _spelled(name: str, spec: Mapping[str, Any], choices: Sequence[str]) -> tuple[str, ...] | None:
    """How the files spell the right choice: by its position from 0, unless ``labels`` says otherwise."""
    if not choices:
        return None
    spelled = tuple(_spelling(label) for label in spec.get("labels") or range(len(choices)))
    if len(spelled) != len(choices):
        raise _error(name, f"there are {len(choices)} choices, but {len(spelled)} labels")
    return spelled


def _columns(name: str, split: str, path: Path, fields: Mapping[str, str], label: str) -> dict[str, str]:
    """Field to column; the label's column may be missing in a test file."""
    found = column_names(SplitFile(str(path)), path)
    if not found:
        raise _error(name, f"{path}: there are no rows in it")
    columns = dict(fields) if split == "test" and label not in found else {**fields, "label": label}
    for column in columns.values():
        if column not in found and column.split(".")[0] not in found:
            hint = did_you_mean(column, found)
            raise _error(name, f"{path}: there is no column '{column}'.{hint} Found: {', '.join(found)}")
    return columns


def _choice_instances(text: Sequence[str], choices: Sequence[str]) -> Callable[[Example], list[Instance]]:
    def instances(example: Example) -> list[Instance]:
        shown = {field: example[field] for field in text}
        label = example.get("label", -1)
        return [
            Instance({**shown, "choice": example[choice]}, None if label == -1 else int(label == i))
            for i, choice in enumerate(choices)
        ]

    return instances


def _error(name: str, problem: str) -> HarnessError:
    return HarnessError(printable(f"task '{name}': {problem}"))
