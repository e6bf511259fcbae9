"""The problem types: what a label is, and how scores and written answers become predictions.

All that differs between problem types stands here. A task asks its own one (`Task.problem`) for an attribute or a
method; no module compares names of problem types.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from typing import Any, ClassVar

from harness.task.entities import OUTSIDE, entity_types, read_entities, tag_names_problem, write_entities

UNKNOWN = "<unk>"
"""What T5's form has for the target of an unlabelled example."""

MOST_ANSWERS = 1000
"""The scores of a regression that are listed as T5's answers; of a wider range they are too many."""

Labels = Sequence[str]


class ProblemType(ABC):
    """What the tasks of one problem type have in common; ``labels`` are a task's label names in class order.

    Attributes:
        name: how tasks name it.
        loss: the loss of a scoring model, by its name in `harness.models.heads`.
        metrics: those of a task over a user's own files that names none.
        invalid: the prediction that stands for an answer which is none.
        has_labels: whether labels are classes; a regression's are numbers.
        several: whether labels and predictions are lists of class indices.
        of_words: whether every word of a sentence gets a label.
        grouped: whether an example's instances are choices, of which one is right.
        independent_labels: whether each label is decided for itself, by a threshold.
        weighs_classes: whether an example has one class, by which its loss can be weighed.
    """

    name: ClassVar[str]
    loss: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]]
    invalid: ClassVar[Any] = -1
    has_labels: ClassVar[bool] = True
    several: ClassVar[bool] = False
    of_words: ClassVar[bool] = False
    grouped: ClassVar[bool] = False
    independent_labels: ClassVar[bool] = False
    weighs_classes: ClassVar[bool] = False

    def definition_problem(self, labels: Labels, text_fields: Sequence[str]) -> str | None:
        """What is wrong with the labels or the text fields of a task; None: nothing."""
        if bool(labels) != self.has_labels:
            return "a regression has no labels; every other problem type has at least one"
        return None

    def outputs(self, labels: Labels) -> int:
        """The outputs of a head, per instance or word."""
        return len(labels)

    def unlabelled(self, score_range: tuple[float, float] | None) -> Any:
        """What stands for the label of an unlabelled example."""
        return None if self.several else -1

    def answers(self, labels: Labels, score_range: tuple[float, float] | None) -> tuple[str, ...] | None:
        """Every text that is a valid answer; None where they are too many to list."""
        return None if self.several else tuple(labels)

    def target(self, label: Any, labels: Labels, words: Sequence[str]) -> str:
        """The label as T5 writes it; ``words`` are the text of a task whose words get labels."""
        return UNKNOWN if label is None or label == -1 else self._written(label, labels, words)

    @abstractmethod
    def _written(self, label: Any, labels: Labels, words: Sequence[str]) -> str: ...

    @abstractmethod
    def parse(self, text: str, labels: Labels, words: Sequence[str]) -> Any:
        """The prediction that a written answer stands for; None: it is no answer."""

    @abstractmethod
    def decide(self, scores: Sequence[Sequence[float]], labels: Labels) -> Any:
        """The prediction for scores ``(instances or words of an example, outputs)``."""

    @abstractmethod
    def constant_answer(self, given: Iterable[Any], labels: Labels) -> Any:
        """The one answer to everything that fits the ``given`` labels of examples best, as the baseline gives it."""

    def probabilities(self, scores: Sequence[Sequence[float]]) -> list[list[float]] | None:
        """What scores ``(instances or words of an example, outputs)`` stand for, in the same shape."""
        return [_softmax(row) for row in scores]

    def repeated(self, answer: Any, words: int) -> Any:
        """A constant answer as the prediction for an example of so many words."""
        return answer

    def metric_inputs(self, prediction: Any, label: Any, labels: Labels, words: Sequence[str]) -> tuple[Any, Any]:
        """Prediction and label as the metrics take them; ``words`` are those that get labels, where they are known."""
        return prediction, label

    def loss_targets(self, label: Any, outputs: int) -> list[float]:
        """An instance's label as the loss takes it."""
        return [float(label)]

    def is_prediction(self, value: Any, labels: Labels) -> bool:
        """Whether a value can be a prediction."""
        if not self.several:
            return self._is_class(value, labels)
        is_list = isinstance(value, Sequence) and not isinstance(value, str | bytes)
        return is_list and all(self._is_class(label, labels) for label in value)

    def _is_class(self, value: Any, labels: Labels) -> bool:
        return isinstance(value, Integral) and 0 <= int(value) < len(labels)


class SingleLabel(ProblemType):
    """One class of several. Predictions are class indices."""

    name = "single_label_classification"
    loss = "cross_entropy"
    metrics = ("accuracy",)
    weighs_classes = True

    def _written(self, label: Any, labels: Labels, words: Sequence[str]) -> str:
        return labels[label]

    def parse(self, text: str, labels: Labels, words: Sequence[str]) -> int | None:
        return labels.index(text) if text in labels else None

    def decide(self, scores: Sequence[Sequence[float]], labels: Labels) -> int:
        """The class with the highest score; of equal ones the first."""
        return _best(scores[0])

    def constant_answer(self, given: Iterable[Any], labels: Labels) -> int:
        """The most frequent class."""
        return most_frequent(given)


class MultipleChoice(SingleLabel):
    """The right one of an example's choices, each an instance with one score. Predictions are positions from 0."""

    name = "multiple_choice"
    loss = "choice_cross_entropy"
    grouped = True
    weighs_classes = False

    def outputs(self, labels: Labels) -> int:
        return 1

    def decide(self, scores: Sequence[Sequence[float]], labels: Labels) -> int:
        return _best([row[0] for row in scores])

    def probabilities(self, scores: Sequence[Sequence[float]]) -> list[list[float]]:
        """Over an example's choices."""
        return [[probability] for probability in _softmax([row[0] for row in scores])]

    def _is_class(self, value: Any, labels: Labels) -> bool:
        return isinstance(value, Integral) and int(value) >= 0  # how many choices there are differs between examples


class MultiLabel(ProblemType):
    """Any number of labels, each right or wrong for itself. Predictions are lists of class indices."""

    name = "multi_label_classification"
    loss = "binary_cross_entropy"
    metrics = ("micro_f1", "macro_f1")
    invalid = ()  # no label at all
    several = True
    independent_labels = True

    def _written(self, label: Any, labels: Labels, words: Sequence[str]) -> str:
        return ", ".join(labels[i] for i in label)

    def parse(self, text: str, labels: Labels, words: Sequence[str]) -> list[int] | None:
        """The labels that the text names, with commas between them."""
        names = [part.strip() for part in text.split(",") if part.strip()]
        return sorted({labels.index(name) for name in names}) if set(names) <= set(labels) else None

    def decide(self, scores: Sequence[Sequence[float]], labels: Labels) -> list[int]:
        """The labels with a logit above 0, which is a probability above 0.5."""
        return [i for i, score in enumerate(scores[0]) if score > 0]

    def probabilities(self, scores: Sequence[Sequence[float]]) -> list[list[float]]:
        """Of each label by itself."""
        return [[_softmax((0.0, score))[1] for score in row] for row in scores]

    def constant_answer(self, given: Iterable[Any], labels: Labels) -> list[int]:
        """The set of labels with the best micro-F1: so many of the most frequent ones."""
        counts: Counter[int] = Counter()
        examples = 0
        for of_example in given:
            counts.update(of_example)
            examples += 1
        total, hits = counts.total(), 0
        best, f1 = 0, 0.0
        ordered = sorted(counts, key=lambda label: (-counts[label], label))
        for size, label in enumerate(ordered, start=1):
            hits += counts[label]
            if 2 * hits / (size * examples + total) > f1:
                best, f1 = size, 2 * hits / (size * examples + total)
        return sorted(ordered[:best])

    def metric_inputs(self, prediction: Any, label: Any, labels: Labels, words: Sequence[str]) -> tuple[Any, Any]:
        return [int(i in prediction) for i in range(len(labels))], [int(i in label) for i in range(len(labels))]

    def loss_targets(self, label: Any, outputs: int) -> list[float]:
        return [float(i in label) for i in range(outputs)]


class TokenClassification(ProblemType):
    """An IOB2 tag for each word of a sentence. Predictions are lists of class indices, one per word."""

    name = "token_classification"
    loss = "tag_cross_entropy"
    metrics = ("entity_f1",)
    invalid = ()  # no entity at all
    several = True
    of_words = True

    def definition_problem(self, labels: Labels, text_fields: Sequence[str]) -> str | None:
        """Labels must be IOB2 tags, and the one text field holds the words."""
        if problem := super().definition_problem(labels, text_fields) or tag_names_problem(labels):
            return problem
        return None if len(text_fields) == 1 else "token classification needs one text field, which holds the words"

    def _written(self, label: Any, labels: Labels, words: Sequence[str]) -> str:
        return write_entities(words, [labels[i] for i in label])

    def parse(self, text: str, labels: Labels, words: Sequence[str]) -> list[int] | None:
        """The tags of the entities that the text lists."""
        tags = read_entities(text, words, entity_types(labels))
        if tags is None:
            return None
        # A type without I-, whose entities are always one word, has only its B-.
        return [labels.index(tag if tag in labels else f"B-{tag[2:]}") for tag in tags]

    def decide(self, scores: Sequence[Sequence[float]], labels: Labels) -> list[int]:
        """Each word's tag with the highest score; a word that the model did not read (NaN) is in no entity."""
        return [labels.index(OUTSIDE) if math.isnan(row[0]) else _best(row) for row in scores]

    def constant_answer(self, given: Iterable[Any], labels: Labels) -> int:
        """No entity: every word is outside."""
        return labels.index(OUTSIDE)

    def repeated(self, answer: Any, words: int) -> list[int]:
        return [answer] * words

    def metric_inputs(self, prediction: Any, label: Any, labels: Labels, words: Sequence[str]) -> tuple[Any, Any]:
        tags = [labels[i] for i in label]
        return [labels[i] for i in prediction], {"words": list(words), "tags": tags} if words else tags

    def loss_targets(self, label: Any, outputs: int) -> list[float]:
        return [float(tag) for tag in label]


class Regression(ProblemType):
    """A number. Predictions are numbers."""

    name = "regression"
    loss = "mean_squared_error"
    metrics = ("pearson", "spearmanr")
    invalid = -1.0
    has_labels = False

    def outputs(self, labels: Labels) -> int:
        return 1

    def unlabelled(self, score_range: tuple[float, float] | None) -> float | None:
        """-1.0, unless that is a score."""
        return -1.0 if score_range is not None and score_range[0] > -1 else None

    def answers(self, labels: Labels, score_range: tuple[float, float] | None) -> tuple[str, ...] | None:
        """The scores in steps of a fifth."""
        if score_range is None:
            return None
        low, high = (round(bound * 5) for bound in score_range)
        if high - low >= MOST_ANSWERS:
            return None
        return tuple(f"{step / 5:.1f}" for step in range(low, high + 1))

    def target(self, label: Any, labels: Labels, words: Sequence[str]) -> str:
        """The score to the nearest fifth, half to even (``t5.data.preprocessors.stsb``)."""
        return UNKNOWN if label is None else self._written(label, labels, words)

    def _written(self, label: Any, labels: Labels, words: Sequence[str]) -> str:
        return f"{round(label * 5) / 5:.1f}"

    def parse(self, text: str, labels: Labels, words: Sequence[str]) -> float | None:
        try:
            value = float(text)
        except ValueError:
            return None
        return value if math.isfinite(value) else None

    def decide(self, scores: Sequence[Sequence[float]], labels: Labels) -> float:
        return float(scores[0][0])

    def probabilities(self, scores: Sequence[Sequence[float]]) -> None:
        """None: a score is no logit."""
        return

    def constant_answer(self, given: Iterable[Any], labels: Labels) -> float:
        """The mean."""
        total, examples = 0.0, 0
        for score in given:
            total, examples = total + score, examples + 1
        return total / examples

    def is_prediction(self, value: Any, labels: Labels) -> bool:
        return isinstance(value, Real)


PROBLEM_TYPES: dict[str, ProblemType] = {
    problem.name: problem
    for problem in (SingleLabel(), MultiLabel(), Regression(), MultipleChoice(), TokenClassification())
}
"""The problem types by name: the three of Hugging Face's sequence classification, and two more."""


def most_frequent(values: Iterable[Any]) -> Any:
    """The value that stands there most often; of equal ones the smallest."""
    counts = Counter(values)
    return min(counts, key=lambda value: (-counts[value], value))


def _softmax(scores: Sequence[float]) -> list[float]:
    """NaN where the scores are."""
    top = max(scores)
    powers = [math.exp(score - top) for score in scores]
    return [power / sum(powers) for power in powers]


def _best(scores: Sequence[float]) -> int:
    return max(range(len(scores)), key=scores.__getitem__)
