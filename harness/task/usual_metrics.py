"""The usual metrics of classifiers and regressions, as scikit-learn defines them; an invalid prediction is a wrong one.

Those of scores rank the examples: they read how sure a model is. Of answers without scores, as generated ones are, the
predicted class has the score 1 and every other one 0, which is what a constant answer and a text are worth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import HarnessError
from harness.task.rows import INVALID, as_class, as_labels, as_number, by_label

TIES = 9
"""Logits that differ in later decimals are equal: the difference is that of a sum of floats."""
LARGEST = 1e9
"""An error beyond this is this."""

Scores = Sequence[Sequence[Sequence[float]]]
"""Of each example the scores ``(instances, outputs)`` that its prediction came from."""


# Labels ----------------------------------------------------------------------------------------------------------


def balanced_accuracy(predictions: Sequence[Any], references: Sequence[int]) -> dict[str, float]:
    """The mean over the classes of the references of the share of their rows that are right.

    >>> balanced_accuracy([0, 0, 0, 1], [0, 0, 0, 0])
    {'balanced_accuracy': 0.75}
    """
    classes, labels = np.array([as_class(p) for p in predictions]), np.array(as_labels(references))
    recalls = [float((classes[labels == c] == c).mean()) for c in np.unique(labels)]
    return {"balanced_accuracy": sum(recalls) / len(recalls)}


# Scores of labels ------------------------------------------------------------------------------------------------


def auroc(predictions: Sequence[Any], references: Sequence[Any], scores: Scores | None = None) -> dict[str, float]:
    """The area under the ROC curve: how often a right example has a higher score than a wrong one, ties half.

    Two classes: of the second. More classes, and labels of multi-label rows: the unweighted mean over those that some
    examples have and some have not, each against the rest; NaN without any.

    >>> auroc([0, 1, 0], [0, 1, 1], [[[2.0, 0.0]], [[0.0, 1.0]], [[1.0, 0.5]]])
    {'auroc': 1.0}
    """
    from sklearn.metrics import roc_auc_score

    columns = [(right, score) for right, score in class_scores(predictions, references, scores) if not right.all()]
    return {"auroc": _mean_over(roc_auc_score, columns)}


def average_precision(
    predictions: Sequence[Any], references: Sequence[Any], scores: Scores | None = None
) -> dict[str, float]:
    """The area under the curve of precision over recall, as the sum of precisions weighted by the steps of recall.

    Two classes: of the second. More classes, and labels of multi-label rows: the unweighted mean over those that some
    example has; NaN without any.

    >>> average_precision([0, 1, 0], [0, 1, 1], [[[2.0, 0.0]], [[0.0, 1.0]], [[1.0, 0.5]]])
    {'average_precision': 1.0}
    """
    from sklearn.metrics import average_precision_score

    return {"average_precision": _mean_over(average_precision_score, class_scores(predictions, references, scores))}


Column = tuple[NDArray[np.bool_], NDArray[np.float64]]
"""(n,) whether each example has a class, and its score for it."""


def class_scores(predictions: Sequence[Any], references: Sequence[Any], scores: Scores | None) -> list[Column]:
    """Whether the examples have a class, and their scores, for each class or label that some example has.

    Of two classes the second alone. A score is that by which the class is more probable than all others together, in
    logits: in the order of probabilities, without their rounding to 1.

    Raises:
        HarnessError: scores that are not one per class of each example.
    """
    if isinstance(references[0], list | tuple):
        pairs = by_label(predictions, references)
        right = np.array([r for _, r in pairs], dtype=bool)
        given = np.array([p for p, _ in pairs], dtype=float) if scores is None else _rows_of(scores, len(pairs))
    else:
        labels = np.array(as_labels(references))
        classes = np.array([as_class(p) for p in predictions])
        width = max(2, int(max(labels.max(), classes.max())) + 1) if scores is None else len(scores[0][0])
        if width == 2:
            hard = np.where((classes == 0) | (classes == 1), classes, 1 - labels).astype(float)
            margin = hard if scores is None else np.diff(_rows_of(scores, 2), axis=0)[0].round(TIES)
            right, given = labels[None] == 1, margin[None]
        else:
            right = labels == np.arange(width)[:, None]
            given = (classes == np.arange(width)[:, None]).astype(float)
            given = given if scores is None else _margins(_rows_of(scores, width))
    given = np.nan_to_num(given, nan=-1e300, posinf=1e300, neginf=-1e300)
    return [(r, s) for r, s in zip(right, given, strict=True) if r.any()]


def _rows_of(scores: Scores, width: int) -> NDArray[np.float64]:
    """``(width, n)``."""
    if any(len(of_example) != 1 or len(of_example[0]) != width for of_example in scores):
        raise HarnessError(f"a metric of scores needs one score for each of {width} classes of every example")
    return np.array([of_example[0] for of_example in scores], dtype=float).T


def _margins(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """``(classes, n)`` logits of each class against all others together."""
    others = [np.delete(logits, c, axis=0) for c in range(len(logits))]
    margins = [own - np.logaddexp.reduce(rest) for own, rest in zip(logits, others, strict=True)]
    return np.stack(margins).round(TIES)


def _mean_over(function: Callable[..., Any], columns: Sequence[Column]) -> float:
    return sum(float(function(right, score)) for right, score in columns) / len(columns) if columns else math.nan


# Numbers ---------------------------------------------------------------------------------------------------------


def mae(predictions: Sequence[Any], references: Sequence[float]) -> dict[str, float]:
    """The mean absolute error, in the unit of the labels: lower is better.

    A prediction that is no finite number counts as -1.0, as in `harness.task.metrics.pearson`.

    >>> mae([1.0, 2.0], [2.0, 4.0])
    {'mae': 1.5}
    """
    return {"mae": min(LARGEST, float(np.abs(_errors(predictions, references)).mean()))}


def rmse(predictions: Sequence[Any], references: Sequence[float]) -> dict[str, float]:
    """The root of the mean squared error, in the unit of the labels: lower is better. Invalid ones as in `mae`.

    >>> rmse([1.0, 2.0], [4.0, 6.0]) == {"rmse": 12.5**0.5}
    True
    """
    return {"rmse": min(LARGEST, math.sqrt(float((_errors(predictions, references) ** 2).mean())))}


def r2(predictions: Sequence[Any], references: Sequence[float]) -> dict[str, float]:
    """The share of the labels' variance that is explained: 1 - squared errors / squared distances from their mean.

    At most 1, and below 0 where the mean of the labels would be better. NaN for equal labels, invalid ones as in `mae`.

    >>> r2([1.0, 2.0], [1.0, 3.0])
    {'r2': 0.5}
    """
    squares = float((_errors(predictions, references) ** 2).sum())
    targets = np.array([as_number(r) for r in references])
    around = float(((targets - targets.mean()) ** 2).sum())
    return {"r2": max(-LARGEST, 1 - squares / around) if around else math.nan}


def _errors(predictions: Sequence[Any], references: Sequence[Any]) -> NDArray[np.float64]:
    targets = np.array([as_number(r, math.nan) for r in references])
    for row in np.flatnonzero(~np.isfinite(targets)).tolist():
        raise HarnessError(f"reference {references[row]!r} of row {row} is not a finite number")
    given = np.array([as_number(p) for p in predictions])
    return np.clip(np.where(np.isfinite(given), given, float(INVALID)) - targets, -LARGEST, LARGEST)
