"""A user's own data files (csv, tsv, json, jsonl, parquet, conll), described by a few lines of YAML, as a task."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.data.files import LARGEST, BadValue, column_names, label_names, other_separator, tag_scheme
from harness.data.formats import FORMATS, TABLES, TAGS, TOKENS, delimiter_hint, encoding_problem, kind_of, read_rows
from harness.errors import HarnessError, did_you_mean, printable, shown
from harness.task.entities import OUTSIDE, SCHEMES, entity_types, tag_names_problem, tag_order
from harness.task.metrics import METRICS
from harness.task.problem_types import PROBLEM_TYPES, ProblemType
from harness.task.task import OWN_SUITE as SUITE
from harness.task.task import Example, Instance, SplitFile, Task

SPLITS = ("train", "validation", "test")
TEXT_FORMATS = tuple(suffix for suffix in FORMATS if suffix != ".conll")
WORD_FORMATS = tuple(suffix for suffix in FORMATS if suffix not in TABLES)
"""The files that hold lists of words, from which token classification is read."""
AUTO = "auto"
"""The scheme that the training file's tags look like."""
REQUIRED = ("problem_type", "text", "train")
KEYS = (
    *REQUIRED,
    "validation",
    "test",
    "labels",
    "label",
    "choices",
    "metrics",
    "selection_metric",
    "range",
    "loss_weights",
    "cluster",
    "separator",
    "format",
    "delimiter",
    "encoding",
    "column",
    "scheme",
    "suite",
)


def task_from_files(name: str, spec: Mapping[str, Any], base: str | Path) -> Task:
    """A task over a user's own files.

    Args:
        name: the task's name.
        spec: ``problem_type``; ``text``, a column or a list of columns; ``train`` and, if there are, ``validation``
            (else it is cut from train) and ``test``, files relative to ``base``; ``label``, the column of the label
            (default "label"; multi-label: or a column of 0 and 1 for each label); ``labels``, the class names in order
            (default: those in the training file, sorted).
            Token classification reads conll, jsonl and parquet; its columns are lists, called "tokens" and "tags"
            unless ``text`` and ``label`` say otherwise, as in a conll file;
            ``choices``, the columns of the choices (multiple choice; the label is the right one's position from 0,
            or its column); ``metrics``; ``selection_metric``, the one that counts (default:
            the first; "mean": all); ``range``, the lowest and the highest score of a regression;
            ``loss_weights``, "balanced" or a number by label;
            ``cluster``, the column or columns by which examples belong together (default: the first text), which a test
            file may lack; ``separator`` between the labels of one cell (multi-label csv
            and tsv, default ","); how the files are read: ``format``, ``delimiter``, ``encoding``, ``column`` of the
            tags and ``scheme`` (see `SplitFile`; "auto": as the training file's tags look); ``suite``.
            A test file may lack the label column.
        base: the folder of the YAML file.

    Raises:
        HarnessError: an unknown key, a wrong value, a file or a column that is missing.
    """
    try:
        return _task(name, spec, Path(base))
    except BadValue as error:
        raise HarnessError(printable(f"task '{name}': {error}")) from None


def _task(name: str, spec: Mapping[str, Any], base: Path) -> Task:
    problem = _problem_type(spec)
    if problem.of_words:
        spec = {"text": TOKENS, "label": TAGS, **spec}
    text, choices, metrics = _names(spec, "text"), _names(spec, "choices"), _metrics(spec, problem)
    cluster = _names(spec, "cluster")
    separator, one_hot = spec.get("separator", ","), _one_hot(spec, problem)
    label = "label" if one_hot else str(spec.get("label", "label"))
    reading = _reading(spec, problem)
    paths = {split: _path(spec, problem, split, base, reading) for split in SPLITS if spec.get(split) is not None}
    if taken := {label, *one_hot, "label", "idx"}.intersection(text + choices):
        raise BadValue(f"the column '{taken.pop()}' cannot be a text: it is the label, or has a reserved name")
    if taken := {label, *one_hot, "label", "idx"}.intersection(cluster):
        raise BadValue(f"'cluster' cannot be the column '{taken.pop()}': it is the label, or has a reserved name")
    if not isinstance(separator, str) or not separator:
        raise BadValue(f"'separator' must be a character, found {separator!r}")
    fields, others = (*text, *choices), tuple(name for name in cluster if name not in (*text, *choices))
    columns, flags = _all_columns(reading, paths, fields, others, label, one_hot)
    train = replace(reading, path=str(paths["train"]), columns=columns["train"], separator=separator)
    if spec.get("scheme") == AUTO:
        scheme, told_by = tag_scheme(train, paths["train"])
        train = replace(train, scheme=scheme, scheme_told_by=told_by)
    spellings = _spellings(spec, choices) if choices else one_hot or None
    labels = choices or _flag_labels(spec, one_hot) or _labels(spec, problem, train, paths["train"])
    files = {
        split: replace(train, path=str(path), columns=columns[split], labels=spellings, one_hot=flags[split])
        for split, path in paths.items()
    }
    return Task(
        name=name,
        suite=str(spec.get("suite", SUITE)),
        problem_type=problem.name,
        text_fields=(*text, *choices),
        labels=labels,
        metrics=metrics or problem.metrics,
        selection_metric=str(spec.get("selection_metric") or ""),
        score_range=_range(spec, problem),
        loss_weights=_loss_weights(spec),
        files=files,
        test_splits=("test",) if "test" in files else (),
        cluster=cluster or None,
        instances=_choice_instances(text, choices) if choices else None,
    )


def _all_columns(
    reading: SplitFile,
    paths: Mapping[str, Path],
    fields: Sequence[str],
    others: tuple[str, ...],
    label: str,
    one_hot: tuple[str, ...],
) -> tuple[dict[str, dict[str, str]], dict[str, tuple[str, ...]]]:
    """By split, where the columns of a task are in its files, and the one-hot columns that its file has."""
    wanted = others + (one_hot or (label,))
    columns = {split: _columns(reading, path, fields, wanted, split == "test") for split, path in paths.items()}
    flags = {split: tuple(name for name in one_hot if of_split.pop(name, None)) for split, of_split in columns.items()}
    for split, of_split in columns.items():
        if label in of_split:
            of_split["label"] = of_split.pop(label)
        if lacking := [name for name in one_hot if flags[split] and name not in flags[split]]:
            raise BadValue(f"{paths[split]}: there is no column '{lacking[0]}', which 'label' names")
    return columns, flags


def _problem_type(spec: Mapping[str, Any]) -> ProblemType:
    """The problem type of a description whose keys are the right ones."""
    for key in spec:
        if key not in KEYS:
            raise BadValue(f"unknown key '{key}'.{did_you_mean(key, KEYS)} Known: {', '.join(KEYS)}")
    name = str(spec.get("problem_type"))
    problem = PROBLEM_TYPES.get(name)
    for key in REQUIRED:
        if spec.get(key) is None and not (key == "text" and problem is not None and problem.of_words):
            raise BadValue(f"'{key}' is missing")
    if "text" in spec and not spec["text"] and not spec.get("choices"):
        raise BadValue("'text' names no column")
    if problem is None:
        hint = did_you_mean(name, PROBLEM_TYPES)
        raise BadValue(f"unknown problem_type '{name}'.{hint} Known: {', '.join(PROBLEM_TYPES)}")
    if problem.grouped != bool(spec.get("choices")):
        raise BadValue("multiple_choice, and only it, needs 'choices': the columns of the choices")
    if not problem.has_labels and spec.get("labels"):
        raise BadValue("a regression has no 'labels'")
    return problem


def _reading(spec: Mapping[str, Any], problem: ProblemType) -> SplitFile:
    """How the files are read, without their names and columns."""
    given = {
        key: spec[key] for key in ("format", "delimiter", "encoding", "column", "scheme") if spec.get(key) is not None
    }
    formats = [kind[1:] for kind in (WORD_FORMATS if problem.of_words else TEXT_FORMATS)]
    if given.get("format", formats[0]) not in formats:
        raise BadValue(f"'format' must be one of {', '.join(formats)}, found {shown(given['format'])}")
    delimiter, encoding = given.get("delimiter", ""), given.get("encoding", "utf-8")
    if "delimiter" in given and (not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '\r\n"\0'):
        raise BadValue(f"'delimiter' must be one character, found {shown(delimiter)}")
    if problem_of_name := encoding_problem(encoding) if isinstance(encoding, str) else "it must be a name":
        raise BadValue(f"'encoding': {problem_of_name}")
    for key in ("column", "scheme"):
        if key in given and not problem.of_words:
            raise BadValue(f"only token_classification has a '{key}' of tags")
    column, scheme = given.get("column", -1), given.get("scheme", "iob2")
    if type(column) is not int or not -1000 <= column <= 1000 or column == 0:
        raise BadValue(
            f"'column' must be the position of the tags' column, from 1 (the words have 0), found {shown(column)}"
        )
    if scheme not in (*SCHEMES, AUTO):
        raise BadValue(f"'scheme' must be one of {', '.join((*SCHEMES, AUTO))}, found {shown(scheme)}")
    return SplitFile(
        "",
        format=given.get("format", ""),
        delimiter=delimiter,
        encoding=encoding,
        tag_column=column,
        scheme="iob2" if scheme == AUTO else scheme,
    )


def _range(spec: Mapping[str, Any], problem: ProblemType) -> tuple[float, float] | None:
    """The lowest and the highest score."""
    given = spec.get("range")
    if given is None:
        return None
    if problem.has_labels:
        raise BadValue("only a regression has a 'range'")
    numbers = given if isinstance(given, list | tuple) and len(given) == 2 else ()
    if not numbers or any(
        isinstance(n, bool) or not isinstance(n, int | float) or not abs(n) <= LARGEST for n in numbers
    ):
        raise BadValue(f"'range' must be two numbers, the lowest and the highest score, found {given!r}")
    if not numbers[0] < numbers[1]:
        raise BadValue(f"'range' must have the lowest score before the highest, found {given!r}")
    return float(numbers[0]), float(numbers[1])


def _metrics(spec: Mapping[str, Any], problem: ProblemType) -> tuple[str, ...]:
    names = _names(spec, "metrics")
    fitting = [name for name, metric in METRICS.items() if problem.name in metric.problem_types]
    for name in names:
        if name in METRICS and name not in fitting:
            raise BadValue(f"the metric {name} does not fit a {problem.name}, which has {', '.join(fitting)}")
    return names


def _loss_weights(spec: Mapping[str, Any]) -> str | dict[str, Any] | None:
    """As the task takes them, which checks them: labels by their names."""
    given = spec.get("loss_weights")
    if not isinstance(given, Mapping):
        return None if given is None else str(given)
    return {str(label).lower() if isinstance(label, bool) else str(label): weight for label, weight in given.items()}


def _names(spec: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = spec.get(key) or ()
    names = (value,) if isinstance(value, str) else value
    if not isinstance(names, Sequence) or not all(isinstance(item, str) for item in names):
        raise BadValue(f"'{key}' must be a name or a list of names, found {value!r}")
    if len(set(names)) != len(names):
        raise BadValue(f"'{key}' names something twice: {', '.join(names)}")
    return tuple(names)


def _path(spec: Mapping[str, Any], problem: ProblemType, split: str, base: Path, reading: SplitFile) -> Path:
    value = spec[split]
    if not isinstance(value, str | Path):
        raise BadValue(f"'{split}' must be a file name, found {value!r}")
    path = Path(os.path.abspath(os.path.join(base, os.path.expanduser(value))))
    formats = WORD_FORMATS if problem.of_words else TEXT_FORMATS
    if (kind := kind_of(reading, path)) not in formats:
        listed = ", ".join(formats)
        raise BadValue(f"'{split}': {value} must end with one of {listed} (or with .gz behind it), or have a `format:`")
    for key, kinds in (("delimiter", TABLES), ("column", (".conll",))):
        if spec.get(key) is not None and kind not in kinds:
            raise BadValue(f"'{key}' is for {' and '.join(kinds)}, but '{split}' is {kind}: {value}")
    try:
        is_file = path.is_file()
    except (OSError, ValueError) as error:  # a name that no disk can have
        raise BadValue(f"'{split}': {value}: {getattr(error, 'strerror', None) or error}") from None
    if not is_file:
        raise BadValue(f"'{split}': there is no file {path}")
    return path


def _one_hot(spec: Mapping[str, Any], problem: ProblemType) -> tuple[str, ...]:
    """The columns of a multi-label task that has one for each label; () where a single one holds the label."""
    if spec.get("label") is None or isinstance(spec["label"], str):
        return ()
    if not problem.independent_labels:
        raise BadValue("'label' must be the name of a column; only multi_label_classification has one for each label")
    return _names(spec, "label")


def _flag_labels(spec: Mapping[str, Any], one_hot: tuple[str, ...]) -> tuple[str, ...]:
    """The class names of one-hot columns: their own, unless ``labels`` gives others."""
    if not one_hot or spec.get("labels") is None:
        return one_hot
    labels = _listed_labels(spec)
    if len(labels) != len(one_hot):
        raise BadValue(f"'label' names {len(one_hot)} columns, but there are {len(labels)} labels")
    return labels


def separator_warning(task: Task) -> str | None:
    """A line that says that the labels of a multi-label task look like several ones each; None where they do not."""
    file = task.files.get(str(task.train_split))
    if file is None or file.one_hot or not task.problem.independent_labels or not os.path.isabs(file.path):
        return None
    separator = other_separator(task.labels)
    if separator is None:
        return None
    label = next(label for label in task.labels if separator in label)
    return (
        f"task '{task.name}': the label {label!r} looks like several labels; if it is, say what stands between them: "
        f"separator: {separator!r}"
    )


def data_notes(task: Task) -> list[str]:
    """Lines about how a task's own files are read that its author should see."""
    file = task.files.get(str(task.train_split))
    told_by = file.scheme_told_by if file else ""
    found = f"task '{task.name}': the tags are {file.scheme.upper()} ({told_by})" if file and told_by else None
    return [line for line in (separator_warning(task), found) if line]


def row_problems(task: Task) -> list[str]:
    """The first row with too few or too many cells of each of a task's own tables, and how many others are short."""
    problems = []
    for file in task.files.values():
        short: list[HarnessError] = []
        if not os.path.isabs(file.path) or kind_of(file, Path(file.path)) not in TABLES:
            continue
        try:
            for _ in read_rows(file, Path(file.path), short):
                pass
        except HarnessError as error:
            short.insert(0, error)
        if short:
            others = f" (and {len(short) - 1} more rows)" if len(short) > 1 else ""
            problems.append(f"{short[0]}{others}")
    return problems


def _columns(
    reading: SplitFile, path: Path, fields: Sequence[str], others: Sequence[str], may_lack: bool
) -> dict[str, str]:
    """The columns that are read, by themselves; a test file may lack the ``others``: label and cluster."""
    names = column_names(reading, path)
    if not names:
        raise BadValue(f"{path}: there are no rows in it")
    columns = {name: name for name in (*fields, *(name for name in others if name in names or not may_lack))}
    for column in columns.values():
        if column not in names and column.split(".")[0] not in names:
            hint, other = did_you_mean(column, names), delimiter_hint(names)
            raise BadValue(f"{path}: there is no column '{column}'.{hint} Found: {', '.join(names)}{other}")
    return columns


def _labels(spec: Mapping[str, Any], problem: ProblemType, train: SplitFile, path: Path) -> tuple[str, ...]:
    """The class names in order: those of the description, or else those in the training file."""
    if not problem.has_labels:
        return ()
    if spec.get("labels") is not None:
        labels = _listed_labels(spec)
        return labels if train.scheme == "iob2" else _iob2_labels(labels)
    names = label_names(train, path, problem.several)
    if train.scheme != "iob2":
        return _iob2_labels(names)
    if problem.of_words and (wrong := tag_names_problem(tag_order(names))):
        raise BadValue(f"{path}: {wrong}; `scheme: auto` reads IOB1 and BIOES, too")
    return tag_order(names) if problem.of_words else names


def _iob2_labels(tags: Sequence[str]) -> tuple[str, ...]:
    """The IOB2 tags for the types of another scheme's tags, in the order of the types."""
    if wrong := next((tag for tag in tags if tag != OUTSIDE and not tag[2:].strip()), None):
        raise BadValue(f"'{wrong}' is no tag: 'O', or a letter, '-' and a type; `column:` picks another column")
    return (OUTSIDE, *(f"{mark}-{kind}" for kind in sorted(entity_types(tags)) for mark in "BI"))


def _listed_labels(spec: Mapping[str, Any]) -> tuple[str, ...]:
    """The labels of the description as they stand in YAML: a boolean is written in lower case there."""
    labels = spec["labels"]
    if not isinstance(labels, list | tuple) or not labels or not all(isinstance(x, str | int) for x in labels):
        raise BadValue(f"'labels' must be a list of class names, found {labels!r}")
    return tuple(str(label).lower() if isinstance(label, bool) else str(label) for label in labels)


def _spellings(spec: Mapping[str, Any], choices: Sequence[str]) -> tuple[str, ...]:
    """How the files spell the right choice: by its position from 0, unless ``labels`` says otherwise."""
    spellings = _listed_labels(spec) if spec.get("labels") else tuple(map(str, range(len(choices))))
    if len(spellings) != len(choices):
        raise BadValue(f"there are {len(choices)} choices, but {len(spellings)} labels")
    return spellings


def _choice_instances(text: Sequence[str], choices: Sequence[str]) -> Callable[[Example], list[Instance]]:
    def instances(example: Example) -> list[Instance]:
        shown = {field: example[field] for field in text}
        label = example.get("label", -1)
        return [
            Instance({**shown, "choice": example[choice]}, None if label == -1 else int(label == i))
            for i, choice in enumerate(choices)
        ]

    return instances
