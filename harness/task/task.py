"""What is predicted: tasks and suites."""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from harness.errors import HarnessError, did_you_mean, printable
from harness.task.metrics import ERRORS, score_key
from harness.task.problem_types import PROBLEM_TYPES, ProblemType

Example = dict[str, Any]
"""One official record: the official field names; class labels as indices, -1 (regression: -1.0) when unlabelled."""

MEAN = "mean"
"""As a selection metric: the mean of all."""
BALANCED = "balanced"
"""As the weights of the loss: every class counts alike, however many examples it has."""
OWN_SUITE = "custom"
"""The suite of a user's own data files where they name none; tables show it by the benchmark's name."""
FUNCTIONS = ("instances", "text_to_text", "training_texts", "parse", "decide", "metric_inputs", "repairs")
"""The fields of a task that are functions."""


@dataclass(frozen=True)
class Instance:
    """One text that a model reads and scores.

    ``fields`` are its parts in reading order. An encoder with segments reads the first as segment A and the rest,
    joined by spaces, as segment B; the text-to-text form names them in alphabetical order. ``truncate`` names the
    field that is truncated when the text is too long (default: the longest part). ``label`` is the class index, the
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
    multi-label cell; ``one_hot`` are the columns of 0 and 1 that stand for the label instead, in class order.

    ``format`` says how the file is read, whatever its name's ending: one of the endings above without the dot, or
    ``json``. ``delimiter`` separates the cells of a table, ``encoding`` is that of the text. In a CoNLL file the tags
    stand in the column at position ``tag_column``. ``scheme`` is how the file marks entities (``iob1``, ``iob2`` or
    ``bioes``); they become IOB2. ``scheme_told_by`` is what told it, where the file was asked.
    """

    path: str
    columns: Mapping[str, str | int] = field(default_factory=dict)
    header: bool = True
    labels: tuple[str, ...] | None = None
    rows: tuple[int, ...] = ()
    expand: Callable[[dict[str, Any]], list[Example]] | None = None
    alternatives: tuple[SplitFile, ...] = ()
    separator: str = ","
    one_hot: tuple[str, ...] = ()
    format: str = ""
    delimiter: str = ""
    encoding: str = "utf-8"
    tag_column: int = -1
    scheme: str = "iob2"
    scheme_told_by: str = ""


@dataclass(frozen=True, eq=False)
class Task:
    """What is predicted: problem type, labels, how an example reads, metrics, where its data is.

    ``problem_type`` is the name of one of `harness.task.problem_types`, which says what labels and predictions are.
    Functions are given only where a task is irregular; `harness.task.functions` calls them, or what replaces those
    that are not given:

    * ``instances(example)`` -> the texts that are scored for one example;
    * ``text_to_text(example)`` -> ``(input, target)`` as T5 reads and writes it;
    * ``training_texts(example)`` -> the ``(input, target)`` pairs T5 trains on (default: the one above);
    * ``parse(text, example)`` -> the prediction that a generated text stands for, None when it is not an answer;
    * ``decide(scores, example)`` -> the prediction, from scores ``(instances of the example, outputs)``;
    * ``metric_inputs(prediction, example)`` -> ``(prediction, reference)`` as the metrics take them;
    * ``repairs(example)`` -> what is wrong in the example's data and how it is read, one note each (default: none).

    ``cluster`` says which examples belong together (questions on one passage): a field of the data, several, or a
    function ``cluster(example)`` -> a text or a whole number that they share. By default they are those with the same
    first text. What is held out of training is whole clusters.

    Predictions are a class index, a score, a list of class indices (multi-label; token classification: one per word)
    or a text (open answers). The labels of token classification are IOB2 tags, its one text field holds the words.

    Raises:
        HarnessError: a name, a problem type, labels, metrics or functions that cannot be used.

    >>> from harness import Task
    >>> from harness.task.functions import decide, text_to_text
    >>> mood = Task("mood", suite="", problem_type="single_label_classification", text_fields=("text",),
    ...             metrics=("accuracy",), labels=("bad", "good"))
    >>> text_to_text(mood, {"text": "Lovely.", "label": 1})
    ('mood text: Lovely.', 'good')
    >>> decide(mood, [[-0.5, 2.0]], {"text": "Lovely."})
    1
    """

    name: str
    suite: str
    problem_type: str
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
    cluster: str | tuple[str, ...] | Callable[[Example], str | int] | None = None
    label_field: str = "label"
    invalid_prediction: Any = None
    """None: what the problem type has for it."""
    open_answers: bool = False
    score_range: tuple[float, float] | None = None
    selection_metric: str = ""
    """Which metric chooses the checkpoint and counts in averages: one of ``metrics``, or ``mean``; "": the first."""
    loss_weights: str | Mapping[str, float] | None = None
    """By how much the loss of an example counts, by its label (1 where none is given), or ``balanced``."""
    instances: Callable[[Example], list[Instance]] | None = field(default=None, repr=False)
    text_to_text: Callable[[Example], tuple[str, str]] | None = field(default=None, repr=False)
    training_texts: Callable[[Example], list[tuple[str, str]]] | None = field(default=None, repr=False)
    parse: Callable[[str, Example], Any] | None = field(default=None, repr=False)
    decide: Callable[[Any, Example], Any] | None = field(default=None, repr=False)
    metric_inputs: Callable[[Any, Example], tuple[Any, Any]] | None = field(default=None, repr=False)
    repairs: Callable[[Example], list[str]] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if problem := _definition_problem(self):
            raise HarnessError(printable(f"task '{self.name}': {problem}"))
        object.__setattr__(self, "title", self.title or self.name)
        object.__setattr__(self, "t5_prefix", self.t5_prefix or self.name)
        if self.invalid_prediction is None:
            object.__setattr__(self, "invalid_prediction", self.problem.invalid)

    @property
    def problem(self) -> ProblemType:
        """The problem type: what labels and predictions are."""
        return PROBLEM_TYPES[self.problem_type]

    @property
    def num_labels(self) -> int:
        """Outputs of the head: one per label; one for regression and for multiple choice (a score per choice)."""
        return self.problem.outputs(self.labels)

    @property
    def answers(self) -> tuple[str, ...] | None:
        """Every text that is a valid answer of T5, or None where answers are open."""
        return None if self.open_answers else self.problem.answers(self.labels, self.score_range)

    @property
    def unlabelled(self) -> Any:
        """What stands in an unlabelled example's ``label``."""
        return self.problem.unlabelled(self.score_range)

    @property
    def scores_text_to_text(self) -> bool:
        """Whether its text-to-text input is a form of its own from which a head can decide, too.

        Not where answers are open (the head scores a candidate, which that text does not name), nor where words get
        labels or the task decides from the scores of its own instances.
        """
        own_form = self.instances is not None or self.text_to_text is not None
        return own_form and not (self.open_answers or self.problem.of_words or self.decide is not None)

    @property
    def has_threshold(self) -> bool:
        """Whether scores of the task's labels become predictions by a threshold."""
        return self.problem.independent_labels and not self.open_answers

    @property
    def selection_metrics(self) -> tuple[str, ...]:
        """The metrics whose mean chooses the checkpoint and counts in averages; mostly one."""
        return self.metrics if self.selection_metric == MEAN else (self.selection_metric or self.metrics[0],)

    @property
    def selection_key(self) -> str:
        """The key of the one that counts in scores; ``mean`` where all do."""
        return MEAN if self.selection_metric == MEAN else score_key(*self.selection_metrics)

    @property
    def lower_is_better(self) -> bool:
        """Whether the score that chooses is an error."""
        return score_key(self.selection_metrics[0]) in ERRORS

    @property
    def score_parts(self) -> tuple[tuple[str, str], ...]:
        """What the task's scores are: (split, key) pairs, in the order of tables."""
        return self._parts(self.validation_splits)

    @property
    def test_parts(self) -> tuple[tuple[str, str], ...]:
        """The same of its test splits, where they have labels."""
        return self._parts(split for split in self.test_splits if split not in self.validation_splits)

    def _parts(self, splits: Iterable[str]) -> tuple[tuple[str, str], ...]:
        return tuple((split, score_key(metric)) for split in splits for metric in self.metrics)

    @property
    def cluster_fields(self) -> tuple[str, ...]:
        """The fields by which examples belong together; none where a function says it."""
        if callable(self.cluster):
            return ()
        return (self.cluster or self.text_fields[0],) if isinstance(self.cluster, str | None) else self.cluster

    @property
    def cluster_definition(self) -> Any:
        """What says which examples belong together, as plain data."""
        return {"function": source_of(self.cluster)} if callable(self.cluster) else list(self.cluster_fields)

    def definition(self) -> dict[str, Any]:
        """Everything that decides this task's scores, as plain data: what a run's fingerprint hashes.

        Clusters decide what is held out: where something is, they belong to the data (`harness.data.datasets`).
        """
        outside = (*FUNCTIONS, "cluster", "hub", "files", "title")
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in outside}
        if self.loss_weights is None:
            del plain["loss_weights"]  # fingerprints are from before there were any
        own = {name: source_of(function) for name in FUNCTIONS if (function := getattr(self, name)) is not None}
        expansions = {split: source_of(f.expand) for split, f in self.files.items() if f.expand}
        return {**plain, "selection_metric": self.selection_key, "functions": own, "expand": expansions}


@dataclass(frozen=True)
class Suite:
    """A named set of tasks with official averages: ``averages`` maps a column title to the task names in it."""

    name: str
    title: str
    averages: Mapping[str, tuple[str, ...]]


def is_unlabelled(task: Task, example: Example) -> bool:
    """Whether the example comes without its label (a test split, most often)."""
    label = example.get(task.label_field)
    return bool(label is None or label == task.unlabelled or (task.open_answers and label in ("", [], ())))


def _definition_problem(task: Task) -> str | None:
    """The first thing that is wrong with a task as it is defined."""
    if not task.name or not all(c.isalnum() or c in "_-" for c in task.name) or not task.name.isascii():
        return "a name is made of letters, digits, '_' and '-'"
    if task.problem_type not in PROBLEM_TYPES:
        return f"unknown problem_type '{task.problem_type}'.{did_you_mean(task.problem_type, PROBLEM_TYPES)}"
    if isinstance(task.labels, str) or len(set(task.labels)) != len(task.labels):
        return "labels must be a tuple of different names, in class order"
    if problem := task.problem.definition_problem(task.labels, task.text_fields):
        return problem
    for name in ("text_fields", "metrics"):
        if isinstance(getattr(task, name), str):
            return f"{name} must be a tuple of names, with a comma after a single one"
    if not task.metrics:
        return "metrics must name at least one metric"
    for metric in task.metrics:
        try:
            score_key(metric)
        except HarnessError as error:
            return str(error)
    if task.selection_metric not in ("", MEAN, *task.metrics):
        return f"selection_metric must be one of its metrics ({', '.join(task.metrics)}) or {MEAN}"
    if task.selection_metric == MEAN and len({score_key(metric) in ERRORS for metric in task.metrics}) > 1:
        return f"selection_metric: {MEAN} takes metrics that are all better when higher, or all when lower"
    if problem := _weights_problem(task):
        return problem
    if not _is_cluster(task.cluster):
        return "cluster must be the name of a field, a tuple of names, or a function"
    functions = {name: getattr(task, name) for name in FUNCTIONS}
    functions |= {f"expand of {split}": file.expand for split, file in task.files.items()}
    for name, function in functions.items():
        if not isinstance(function, types.FunctionType | None):
            return f"{name} must be a function, written with def or lambda: a change of it has to be seen"
    if task.score_range is not None and (task.problem.has_labels or not task.score_range[0] < task.score_range[1]):
        return "score_range is the lowest and the highest score of a regression"
    if task.evaluated_by is not None and task.train_split is not None:
        return "a diagnostic (evaluated_by) has no train_split: set it to None"
    return None


def _weights_problem(task: Task) -> str | None:
    weights = task.loss_weights
    if weights is None:
        return None
    if not task.problem.weighs_classes or task.open_answers:
        return "loss_weights are for single_label_classification"
    if weights == BALANCED:
        return None
    if not isinstance(weights, Mapping) or not weights:
        return f"loss_weights must be {BALANCED}, or a number for some of the labels"
    for label, weight in weights.items():
        if label not in task.labels:
            return f"loss_weights: there is no label {label!r}.{did_you_mean(str(label), task.labels)}"
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight <= 1e6:
            return f"loss_weights: the weight of {label!r} must be a number above 0, not {weight!r}"
    return None


def _is_cluster(value: Any) -> bool:
    names = value if isinstance(value, tuple) and value else (value,)
    return isinstance(value, types.FunctionType | None) or all(isinstance(name, str) and name for name in names)


# The text of functions, by which a change of them changes the fingerprints of their tasks --------------------------


def source_of(function: Callable[..., Any]) -> str:
    """The source of a function and of all that it uses of its own module: functions, classes and values.

    Values are those in the module, in closures and of default arguments. Of objects whose content is unknown, and
    of functions and classes of other modules, only the name counts.

    Args:
        function: a plain one, or a lambda.
    """
    sources: dict[str, str] = {}
    todo: list[tuple[str, Any]] = [(function.__qualname__, function)]
    while todo:
        name, value = todo.pop()
        if name in sources:
            continue
        inner: list[Any] = []
        if isinstance(value, types.FunctionType | type) and value.__module__ == function.__module__:
            sources[name] = inspect.getsource(value)
            functions = [value] if isinstance(value, types.FunctionType) else vars(value).values()
            todo += [used for f in functions if isinstance(f, types.FunctionType) for used in _used(f)]
        else:
            sources[name] = _text(value, inner)
        todo += [(code.__qualname__, code) for code in inner if code.__module__ == function.__module__]
    return "\n".join(f"# {name}\n{sources[name]}" for name in sorted(sources))


def _used(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """Names and values that a function reads from outside."""
    for name in sorted(_names(function.__code__) & function.__globals__.keys()):
        value = function.__globals__[name]
        yield (value.__qualname__ if isinstance(value, types.FunctionType | type) else name), value
    own = function.__qualname__
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        yield f"{own} {name}", cell.cell_contents
    yield f"{own} defaults", (function.__defaults__, function.__kwdefaults__)


def _names(code: types.CodeType) -> set[str]:
    inner = (constant for constant in code.co_consts if isinstance(constant, types.CodeType))
    return set(code.co_names).union(*(_names(c) for c in inner))


def _text(value: Any, code: list[Any]) -> str:
    """A value as text that is the same in every process; functions and classes in it go to ``code``."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_text(key, code)}: {_text(item, code)}' for key, item in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_text(item, code) for item in value)}]"
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(_text(item, code) for item in value))}}}"
    if isinstance(value, re.Pattern):
        return f"{value.pattern!r} {value.flags}"
    if value is None or isinstance(value, str | bytes | int | float | complex):
        return repr(value)
    if isinstance(value, types.FunctionType | type):
        code.append(value)
        return value.__qualname__
    code.append(type(value))
    if dataclasses.is_dataclass(value):
        return f"{type(value).__qualname__}{_text(vars(value), code)}"
    return type(value).__qualname__
