"""What is predicted: tasks and suites."""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, cast

from harness.errors import HarnessError, did_you_mean, printable
from harness.task.entities import OUTSIDE, entity_types, read_entities, tag_names_problem, write_entities
from harness.task.functions import guarded
from harness.task.metrics import score_key
from harness.task.sources import source_of

Example = dict[str, Any]
"""One official record: the official field names; class labels as indices, -1 (regression: -1.0) when unlabelled."""

ProblemType = Literal[
    "single_label_classification",
    "multi_label_classification",
    "regression",
    "multiple_choice",
    "token_classification",
]
PROBLEM_TYPES: tuple[str, ...] = ProblemType.__args__  # type: ignore[attr-defined]
SEVERAL = ("multi_label_classification", "token_classification")
"""The problem types whose labels and predictions are lists of class indices."""


@dataclass(frozen=True)
class Instance:
    """One text that a model reads and scores.

    ``fields`` are its parts in reading order. An encoder with segments reads the first as segment A and the rest,
    joined by spaces, as segment B; the text-to-text form names them in alphabetical order. ``truncate`` names the
    field that gives way when the text is too long (default: the longest part). ``label`` is the class index, the
    score, the list of class indices (multi-label; token classification: one per word), or 1 for the right and 0 for a
    wrong choice; None when unlabelled. ``words`` are those of token classification, each of which gets a tag.
    """

    fields: dict[str, str]
    label: Any = None
    truncate: str | None = None
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class HubSource:
    """A data set of the Hugging Face Hub at a fixed commit."""

    id: str
    config: str | None = None
    revision: str | None = None


@dataclass(frozen=True)
class SplitFile:
    """Where the official distribution keeps one split, and how a line of it becomes an example.

    ``path`` is relative to the data folder, with ``/``; ``.tsv`` files are read without quoting and split on
    newlines only, ``.csv`` files are quoted, ``.jsonl`` files hold one object a line, ``.parquet`` files a table,
    ``.conll`` (and ``.annotated``) files a word and its tag a line, as the columns ``tokens`` and ``tags``.
    ``columns`` maps our field names to the file's: header names, or positions for a file without ``header``; a
    field that is left out (an unlabelled split's ``label``) is filled with -1. ``labels`` are the file's spellings
    of the classes, in class order (default: the task's label names). ``rows`` are the official counts of examples
    (several, where versions of the file differ). ``alternatives`` are other files that hold the same split, tried
    first. ``expand`` turns one irregular record into its examples. ``separator`` stands between the labels of a
    multi-label cell.
    """

    path: str
    columns: Mapping[str, str | int] = field(default_factory=dict)
    header: bool = True
    labels: tuple[str, ...] | None = None
    rows: tuple[int, ...] = ()
    expand: Callable[[dict[str, Any]], list[Example]] | None = None
    alternatives: tuple[SplitFile, ...] = ()
    separator: str = ","


@dataclass(frozen=True, eq=False)
class Task:
    """What is predicted: problem type, labels, how an example reads, metrics, where its data is.

    Functions are given only where a task is irregular; each has a default that follows from the other fields:

    * ``instances(example)`` -> the texts that are scored for one example;
    * ``text_to_text(example)`` -> ``(input, target)`` as T5 reads and writes it;
    * ``training_texts(example)`` -> the ``(input, target)`` pairs T5 trains on (default: the one above);
    * ``parse(text, example)`` -> the prediction that a generated text stands for, None when it is not an answer;
    * ``decide(scores, example)`` -> the prediction, from scores ``(instances of the example, outputs)``;
    * ``metric_inputs(prediction, example)`` -> ``(prediction, reference)`` as the metrics take them;
    * ``repairs(example)`` -> what is wrong in the example's data and how it is read, one note each (default: none).

    Predictions are a class index, a score, a list of class indices (multi-label; token classification: one per word)
    or a text (open answers). The labels of token classification are IOB2 tags, its one text field holds the words.
    """

    name: str
    suite: str
    problem_type: ProblemType
    text_fields: tuple[str, ...]
    metrics: tuple[str, ...]
    labels: tuple[str, ...] = ()
    title: str = ""
    hub: HubSource | None = None
    files: Mapping[str, SplitFile] = field(default_factory=dict)
    train_split: str | None = "train"
    validation_splits: tuple[str, ...] = ("validation",)
    test_splits: tuple[str, ...] = ("test",)
    evaluated_by: str | None = None
    t5_prefix: str = ""
    truncate: str | None = None
    label_field: str = "label"
    invalid_prediction: Any = -1
    open_answers: bool = False
    score_range: tuple[float, float] | None = None
    instances: Callable[[Example], list[Instance]] = field(default=cast(Any, None), repr=False)
    text_to_text: Callable[[Example], tuple[str, str]] = field(default=cast(Any, None), repr=False)
    training_texts: Callable[[Example], list[tuple[str, str]]] = field(default=cast(Any, None), repr=False)
    parse: Callable[[str, Example], Any] = field(default=cast(Any, None), repr=False)
    decide: Callable[[Any, Example], Any] = field(default=cast(Any, None), repr=False)
    metric_inputs: Callable[[Any, Example], tuple[Any, Any]] = field(default=cast(Any, None), repr=False)
    repairs: Callable[[Example], list[str]] = field(default=cast(Any, None), repr=False)

    def __post_init__(self) -> None:
        for hook, default in _DEFAULTS.items():
            function = getattr(self, hook)
            # What this has from a task that it is a changed copy of belongs to that one.
            inherited = None if getattr(function, "__func__", None) is default else function
            object.__setattr__(self, hook, getattr(inherited, "guarded", inherited))
        _check(self)
        if not self.title:
            object.__setattr__(self, "title", self.name)
        if not self.t5_prefix:
            object.__setattr__(self, "t5_prefix", self.name)
        if self.problem_type in SEVERAL and self.invalid_prediction == -1:
            object.__setattr__(self, "invalid_prediction", ())  # no label, no entity at all
        for hook, default in _DEFAULTS.items():
            own = getattr(self, hook)
            function = types.MethodType(default, self) if own is None else guarded(self, hook, own)
            object.__setattr__(self, hook, function)

    @property
    def num_labels(self) -> int:
        """Outputs of the head: one per label; one for regression and for multiple choice (a score per choice)."""
        return 1 if self.problem_type in ("regression", "multiple_choice") else len(self.labels)

    @property
    def grouped(self) -> bool:
        """Whether an example's instances are decided together by a softmax over them."""
        return self.problem_type == "multiple_choice"

    @property
    def answers(self) -> tuple[str, ...] | None:
        """Every text that is a valid answer of T5, or None where answers are open."""
        if self.open_answers or self.problem_type in SEVERAL:
            return None
        if self.problem_type != "regression":
            return self.labels
        if self.score_range is None:
            return None
        low, high = (round(bound * 5) for bound in self.score_range)
        return tuple(f"{step / 5:.1f}" for step in range(low, high + 1))

    @property
    def unlabelled(self) -> Any:
        """What stands in an unlabelled example's ``label``."""
        if self.problem_type == "regression":
            return -1.0 if self.score_range is not None and self.score_range[0] > -1 else None
        return None if self.problem_type in SEVERAL else -1

    def definition(self) -> dict[str, Any]:
        """Everything that decides this task's scores, as plain data: what a run's fingerprint hashes."""
        plain = {
            f.name: getattr(self, f.name) for f in fields(self) if f.name not in (*_DEFAULTS, "hub", "files", "title")
        }
        hooks = {}
        for hook in _DEFAULTS:
            function = getattr(self, hook)
            if not isinstance(function, types.MethodType):
                hooks[hook] = source_of(function.guarded)
        expansions = {split: source_of(f.expand) for split, f in self.files.items() if f.expand}
        return {**plain, "functions": hooks, "expand": expansions}


@dataclass(frozen=True)
class Suite:
    """A named set of tasks with official averages: ``averages`` maps a column title to the task names in it."""

    name: str
    title: str
    averages: Mapping[str, tuple[str, ...]]


def bare_text(task: Task, example: Example, text: str) -> str:
    """A text-to-text input without the words that name the task and its fields.

    Of a task whose ``text_to_text`` is a function of its own, only the task's name is taken off.
    """
    if isinstance(task.text_to_text, types.MethodType):
        return input_text(task, Instance(_texts(task, example)), prefix=False)
    return text.removeprefix(f"{task.t5_prefix} ").removeprefix(f"{task.t5_prefix}: ")


def input_text(task: Task, instance: Instance, prefix: bool = True) -> str:
    """The instance as one text: T5's ``name field: value ...`` form, or, without ``prefix``, the values alone."""
    if not prefix:
        return " ".join(instance.fields.values())
    return " ".join([task.t5_prefix, *(f"{key}: {instance.fields[key]}" for key in sorted(instance.fields))])


def is_unlabelled(task: Task, example: Example) -> bool:
    """Whether the example comes without its label (a test split, most often)."""
    label = example.get(task.label_field)
    return bool(label is None or label == task.unlabelled or (task.open_answers and label in ("", [], ())))


# The defaults of a task's functions ------------------------------------------------------------------------------


def _instances(task: Task, example: Example) -> list[Instance]:
    label = None if is_unlabelled(task, example) else example[task.label_field]
    words = tuple(example[task.text_fields[0]]) if task.problem_type == "token_classification" else ()
    return [Instance(_texts(task, example), label, task.truncate, words)]


def _texts(task: Task, example: Example) -> dict[str, str]:
    """The text fields; words are joined by spaces."""
    if lacking := [name for name in task.text_fields if name not in example]:
        hint = did_you_mean(lacking[0], example)
        raise HarnessError(
            f"task '{task.name}': its examples have no field '{lacking[0]}', which text_fields names.{hint} "
            f"They have: {', '.join(example)}"
        )
    fields = {name: example[name] for name in task.text_fields}
    return {name: " ".join(value) if isinstance(value, list) else str(value) for name, value in fields.items()}


def _text_to_text(task: Task, example: Example) -> tuple[str, str]:
    """Source: ``t5.data.preprocessors.glue``; sorted keys, ``<unk>`` for an unlabelled example."""
    text = input_text(task, Instance(_texts(task, example)))
    if task.problem_type == "token_classification" and not is_unlabelled(task, example):
        tags = [task.labels[i] for i in example[task.label_field]]
        return text, write_entities(example[task.text_fields[0]], tags)
    return text, _target(task, example.get(task.label_field, task.unlabelled))


def _target(task: Task, label: Any) -> str:
    if task.problem_type == "regression":
        # T5 rounds half to even, to the nearest fifth (t5.data.preprocessors.stsb).
        return "<unk>" if label is None else f"{round(label * 5) / 5:.1f}"
    if label is None or label == -1:
        return "<unk>"
    if task.problem_type == "multi_label_classification":
        return ", ".join(task.labels[i] for i in label)
    return task.labels[label]


def _training_texts(task: Task, example: Example) -> list[tuple[str, str]]:
    return [task.text_to_text(example)]


def _parse(task: Task, text: str, example: Example) -> Any:
    if task.problem_type == "regression":
        try:
            value = float(text)
        except ValueError:
            return None
        return value if math.isfinite(value) else None
    if task.problem_type == "multi_label_classification":
        names = [part.strip() for part in text.split(",") if part.strip()]
        known = [task.labels.index(name) for name in names if name in task.labels]
        return sorted(set(known)) if len(known) == len(names) else None
    if task.problem_type == "token_classification":
        tags = read_entities(text, example[task.text_fields[0]], entity_types(task.labels))
        return None if tags is None else [_tag_index(task, tag) for tag in tags]
    return task.labels.index(text) if text in task.labels else None


def _tag_index(task: Task, tag: str) -> int:
    """The index of a tag; a type without ``I-``, whose entities are always one word, is told by its ``B-``."""
    return task.labels.index(tag if tag in task.labels else f"B-{tag[2:]}")


def _decide(task: Task, scores: Any, example: Example) -> Any:
    if task.problem_type == "regression":
        return float(scores[0][0])
    if task.problem_type == "multi_label_classification":
        return [i for i, score in enumerate(scores[0]) if score > 0]  # a logit above 0 is a probability above 0.5
    if task.problem_type == "token_classification":  # NaN: the model did not read the word
        unread = task.labels.index(OUTSIDE)
        return [unread if math.isnan(row[0]) else max(range(len(row)), key=row.__getitem__) for row in scores]
    ranked = [row[0] for row in scores] if task.grouped else list(scores[0])
    return max(range(len(ranked)), key=ranked.__getitem__)


def _metric_inputs(task: Task, prediction: Any, example: Example) -> tuple[Any, Any]:
    label = example[task.label_field]
    if task.problem_type == "multi_label_classification":
        return [int(i in prediction) for i in range(task.num_labels)], [int(i in label) for i in range(task.num_labels)]
    if task.problem_type == "token_classification":
        return [task.labels[i] for i in prediction], [task.labels[i] for i in label]
    return prediction, label


def _repairs(task: Task, example: Example) -> list[str]:
    return []


_DEFAULTS: dict[str, Callable[..., Any]] = {
    "instances": _instances,
    "text_to_text": _text_to_text,
    "training_texts": _training_texts,
    "parse": _parse,
    "decide": _decide,
    "metric_inputs": _metric_inputs,
    "repairs": _repairs,
}


def _check(task: Task) -> None:
    def fail(problem: str) -> None:
        raise HarnessError(printable(f"task '{task.name}': {problem}"))

    if not task.name or not all(c.isalnum() or c in "_-" for c in task.name) or not task.name.isascii():
        fail("a name is made of letters, digits, '_' and '-'")
    if task.problem_type not in PROBLEM_TYPES:
        fail(f"unknown problem_type '{task.problem_type}'.{did_you_mean(task.problem_type, PROBLEM_TYPES)}")
    if isinstance(task.labels, str) or len(set(task.labels)) != len(task.labels):
        fail("labels must be a tuple of different names, in class order")
    if (task.problem_type == "regression") == bool(task.labels):
        fail("a regression has no labels; every other problem type has at least one")
    if task.problem_type == "token_classification":
        if problem := tag_names_problem(task.labels):
            fail(problem)
        if len(task.text_fields) != 1:
            fail("token classification needs one text field, which holds the words")
    for name, value in (("text_fields", task.text_fields), ("metrics", task.metrics)):
        if isinstance(value, str):
            fail(f"{name} must be a tuple of names, with a comma after a single one")
    if not task.metrics:
        fail("metrics must name at least one metric")
    for metric in task.metrics:
        try:
            score_key(metric)
        except HarnessError as error:
            fail(str(error))
    for name, function in [(name, getattr(task, name)) for name in _DEFAULTS] + [
        (f"expand of {split}", file.expand) for split, file in task.files.items()
    ]:
        if not isinstance(function, types.FunctionType | None):
            fail(f"{name} must be a function, written with def or lambda: a change of it has to be seen")
    if task.evaluated_by is not None and task.train_split is not None:
        fail("a diagnostic (evaluated_by) has no train_split: set it to None")
