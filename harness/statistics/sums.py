"""The harness's metrics as functions of sums over examples.

F1 is a function of three counts, Matthews correlation of the margins of the confusion matrix, Pearson correlation of
five moments. As sums they can be taken again under any weights of the examples, thousands of times at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SummedMetric:
    """A metric that is a function of sums over examples.

    Attributes:
        columns: from predictions (..., n), references (n,), groups (n,) and the number of classes to the summed columns
            (..., n, k).
        value: from totals (..., k) to the metric (...), whatever the scale of the totals; 0 where it is undefined.
        grouped: whether it is a mean over groups of rows (questions, pairs), which then are its smallest clusters.
        ranked: whether the columns are of ranks, which shift when the weight of another example changes.
        lower_is_better: whether it is an error.
    """

    columns: Callable[[NDArray[Any], NDArray[Any], NDArray[np.intp] | None, int], Array]
    value: Callable[[Array], Array]
    grouped: bool = False
    ranked: bool = False
    lower_is_better: bool = False


def cluster_sums(columns: Array, clusters: Sequence[Hashable]) -> Array:
    """(..., n, k) columns of n examples, with their clusters' names, as (..., G, k) sums, in order of appearance."""
    index = cluster_index(clusters)
    order = np.argsort(index, kind="stable")
    starts = np.flatnonzero(np.diff(index[order], prepend=-1))
    return np.add.reduceat(columns[..., order, :], starts, axis=-2)


def cluster_index(clusters: Sequence[Hashable]) -> NDArray[np.intp]:
    """(n,) numbers 0..G-1 of the clusters' names, in order of appearance."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in clusters], dtype=np.intp)


def _columns(*columns: NDArray[Any]) -> Array:
    """(..., n, k) of k columns (..., n); each lies in one piece, so that sums over examples are fast."""
    return np.moveaxis(np.stack(columns).astype(float), 0, -1)


def _ratio(over: Array, under: Array) -> Array:
    return np.divide(over, under, out=np.zeros_like(over), where=under > 0)


def _mean_value(totals: Array) -> Array:
    return _ratio(totals[..., 0], totals[..., 1])


def _mean_columns(scores: NDArray[Any], references: NDArray[Any], *_: object) -> Array:
    return _columns(scores, np.ones(scores.shape))


def _accuracy_columns(classes: NDArray[Any], labels: NDArray[Any], *_: object) -> Array:
    return _mean_columns(classes == labels, labels)


def _f1_columns(classes: NDArray[Any], labels: NDArray[Any], *_: object) -> Array:
    """2 hits, and predicted + right, of class 1; what is neither 0 nor 1 is the wrong class."""
    answers = _as_binary(classes, labels)
    return _columns(2 * answers * labels, answers + labels)


def _as_binary(classes: NDArray[Any], labels: NDArray[Any]) -> NDArray[Any]:
    return np.where((classes == 0) | (classes == 1), classes, 1 - labels)


def set_columns(predictions: Sequence[Sequence[Collection[Any]]], references: Sequence[Collection[Any]]) -> Array:
    """(seeds, n, 2) columns of F1 of sets: 2 hits, and predicted + right, for rows that are sets of entities."""
    right = [set(row) for row in references]
    rows = [
        [(2 * len(r & set(p)), len(set(p)) + len(r)) for p, r in zip(run, right, strict=True)] for run in predictions
    ]
    return np.array(rows, dtype=float)


def _pooled_f1_columns(rows: NDArray[Any], references: NDArray[Any], *_: object) -> Array:
    """Of all labels of multi-label rows (..., n, labels)."""
    return _f1_columns(rows, references).sum(axis=-2)


def _label_f1_columns(rows: NDArray[Any], references: NDArray[Any], *_: object) -> Array:
    """Those of F1 for each label, and a mark with which every label counts, even one that is nowhere."""
    columns = _f1_columns(rows, references)
    return np.concatenate([columns[..., 0], columns[..., 1], np.ones(columns.shape[:-1])], axis=-1)


def _class_f1_columns(classes: NDArray[Any], labels: NDArray[Any], groups: object, count: int) -> Array:
    """For each class 2 hits, and predicted + right, which is also the mark that the class is there."""
    predicted, right = _one_hot(classes, labels, count)
    return np.concatenate([2 * predicted * right, predicted + right, predicted + right], axis=-1)


def _one_hot(classes: NDArray[Any], labels: NDArray[Any], count: int) -> tuple[Array, Array]:
    """(..., n, classes + 1) rows of predictions and references; invalid predictions are the first class."""
    count = int(max(classes.max() + 1, labels.max() + 1, count))
    predicted, right = (_columns(*(side == c for c in range(-1, count))) for side in (classes, labels))
    return predicted, np.broadcast_to(right, predicted.shape)


def _macro_f1_value(totals: Array) -> Array:
    """The mean of the ratios of the classes that are there."""
    hits, both, counted = np.split(totals, 3, axis=-1)
    return _ratio(_ratio(hits, both).sum(axis=-1), (counted > 0).sum(axis=-1).astype(float))


def _matthews_columns(classes: NDArray[Any], labels: NDArray[Any], groups: object, count: int) -> Array:
    """1, right, and one-hot rows of the predicted and the right class."""
    predicted, right = _one_hot(classes, labels, count)
    head = _columns(np.ones(classes.shape), classes == labels)
    return np.concatenate([head, predicted, right], axis=-1)


def _matthews_value(totals: Array) -> Array:
    """R_K of Gorodkin 2004, from the margins of the confusion matrix."""
    predicted, right = np.split(totals[..., 2:] / totals[..., :1], 2, axis=-1)
    covariance = totals[..., 1] / totals[..., 0] - (predicted * right).sum(axis=-1)
    return _correlation(covariance, 1 - (predicted**2).sum(axis=-1), 1 - (right**2).sum(axis=-1))


def _recall_columns(classes: NDArray[Any], labels: NDArray[Any], groups: object, count: int) -> Array:
    """For each class hits, how often it is right, and the same as the mark that it is there."""
    predicted, right = _one_hot(classes, labels, count)
    return np.concatenate([predicted * right, right, right], axis=-1)


def _errors(scores: NDArray[Any], targets: NDArray[Any]) -> Array:
    """Predictions less references; what is no finite number counts as -1."""
    given = scores.astype(float)
    return np.where(np.isfinite(given), given, -1.0) - targets


def _absolute_columns(scores: NDArray[Any], targets: NDArray[Any], *_: object) -> Array:
    return _mean_columns(np.abs(_errors(scores, targets)), targets)


def _squared_columns(scores: NDArray[Any], targets: NDArray[Any], *_: object) -> Array:
    return _mean_columns(_errors(scores, targets) ** 2, targets)


def _root_value(totals: Array) -> Array:
    return np.sqrt(_mean_value(totals))


def _explained_columns(scores: NDArray[Any], targets: NDArray[Any], *_: object) -> Array:
    """1, squared errors in units of the references' variance, y and y², standardised."""
    y = _standardised(targets)
    spread = float(targets.astype(float).std()) or 1.0
    squares = (_errors(scores, targets) / spread) ** 2
    y = np.broadcast_to(y, squares.shape)
    return _columns(np.ones(squares.shape), squares, y, y * y)


def _explained_value(totals: Array) -> Array:
    squares, y, yy = np.moveaxis(totals[..., 1:] / totals[..., :1], -1, 0)
    variance = yy - y * y
    defined = variance > 1e-12
    return np.where(defined, 1 - squares / np.where(defined, variance, 1.0), 0.0)


def _pearson_columns(scores: NDArray[Any], targets: NDArray[Any], *_: object) -> Array:
    """1, x, y, x², y², xy, of sides with mean 0 and variance 1, which keeps the digits."""
    x, y = np.broadcast_arrays(_standardised(scores), _standardised(targets))
    return _columns(np.ones(x.shape), x, y, x * x, y * y, x * y)


def _standardised(side: NDArray[Any]) -> Array:
    side = side.astype(float)
    with np.errstate(invalid="ignore"):  # an infinite score: NaN, which counts as a constant side
        centred = side - side.mean(axis=-1, keepdims=True)
        spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True))
    size = np.abs(side).max(axis=-1, keepdims=True)
    usable = np.isfinite(spread) & (spread > 1e-13 * size)
    return np.divide(centred, spread, out=np.zeros_like(centred), where=np.broadcast_to(usable, centred.shape))


def _pearson_value(totals: Array) -> Array:
    x, y, xx, yy, xy = np.moveaxis(totals[..., 1:] / totals[..., :1], -1, 0)
    return _correlation(xy - x * y, xx - x * x, yy - y * y)


def _correlation(covariance: Array, variance: Array, other: Array) -> Array:
    defined = (variance > 1e-12) & (other > 1e-12)
    return np.where(defined, covariance / np.sqrt(np.where(defined, variance * other, 1.0)), 0.0)


def _ranks(values: Array, method: str = "average") -> Array:
    """The ranks along the last axis, from 1."""
    from scipy import stats  # takes a second to load

    return stats.rankdata(values, method=method, axis=-1)


def _spearman_columns(scores: NDArray[Any], targets: NDArray[Any], *_: object) -> Array:
    bad = ~np.isfinite(scores.astype(float)).all(axis=-1, keepdims=True)
    ranks = _ranks(np.where(bad, 0.0, scores))
    return _pearson_columns(ranks, _ranks(targets))


def rank_slopes(columns: Array) -> Array:
    """Columns of ranks with what an example's weight does to the ranks of the others.

    A rank is a sum over examples, u_j = sum_i w_i a(i, j) with a = 1 where i ranks below j, 1/2 where they tie. So
    the derivative of sum_j w_j u_j v_j by w_i is u_i v_i + sum_j a(i, j) v_j + sum_j u_j a'(i, j).
    """
    one, x, y, xx, yy, xy = np.moveaxis(columns, -1, 0)
    scale_x, scale_y = _rank_step(x), _rank_step(y)
    slopes = [
        one,
        x + scale_x * _above(x, one),
        y + scale_y * _above(y, one),
        xx + 2 * scale_x * _above(x, x),
        yy + 2 * scale_y * _above(y, y),
        xy + scale_x * _above(x, y) + scale_y * _above(y, x),
    ]
    return _columns(*slopes)


def _rank_step(ranks: Array) -> Array:
    """(..., 1): by how much standardised ranks of n examples grow with one rank; 0 for a constant side."""
    n = ranks.shape[-1]
    spread = np.sqrt((_ranks(ranks) ** 2).mean(axis=-1, keepdims=True) - ((n + 1) / 2) ** 2)
    return np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0)


def _above(ranks: Array, weights: Array) -> Array:
    """(..., n): for each example the sum of the weights of those that rank above it, and half of those that tie."""
    order = np.argsort(ranks, axis=-1, kind="stable")
    sums = np.cumsum(np.take_along_axis(weights, order, axis=-1), axis=-1)
    sums = np.concatenate([np.zeros((*sums.shape[:-1], 1)), sums], axis=-1)
    first = (_ranks(ranks, "min") - 1).astype(np.intp)
    last = _ranks(ranks, "max").astype(np.intp)
    below, upto = np.take_along_axis(sums, first, axis=-1), np.take_along_axis(sums, last, axis=-1)
    return sums[..., -1:] - (below + upto) / 2


def _exact_match_columns(
    answers: NDArray[Any], labels: NDArray[Any], groups: NDArray[np.intp] | None, *_: object
) -> Array:
    assert groups is not None
    wrong = _group_sums((_as_binary(answers, labels) != labels)[..., None], groups)[..., 0]
    return _at_first_rows(wrong == 0, groups)


def _question_f1_columns(
    answers: NDArray[Any], labels: NDArray[Any], groups: NDArray[np.intp] | None, *_: object
) -> Array:
    """The macro F1 of each question's answers, over the classes that it has."""
    assert groups is not None
    answers = _as_binary(answers, labels)
    columns = [_f1_columns(answers, labels), _f1_columns(1 - answers, 1 - labels)]
    hits, both = np.moveaxis(np.stack([_group_sums(c, groups) for c in columns]), -1, 0)
    return _at_first_rows(_ratio(hits, both).sum(axis=0) / (both > 0).sum(axis=0), groups)


def _parity_columns(classes: NDArray[Any], labels: NDArray[Any], groups: NDArray[np.intp] | None, *_: object) -> Array:
    """Pairs of consecutive rows with the same answer, 0 or 1; a last row without its partner does not count."""
    first, second = classes[..., 0:-1:2], classes[..., 1::2]
    columns = np.zeros((*classes.shape, 2))
    columns[..., 0:-1:2, 0] = (first == second) & ((first == 0) | (first == 1))
    columns[..., 0:-1:2, 1] = 1
    return columns


def _group_sums(columns: NDArray[Any], groups: NDArray[np.intp]) -> Array:
    return cluster_sums(columns.astype(float), groups.tolist())


def _at_first_rows(scores: NDArray[Any], groups: NDArray[np.intp]) -> Array:
    """(..., G) scores of groups as columns (..., n, 2) of a mean, which stand in each group's first row."""
    columns = np.zeros((*scores.shape[:-1], len(groups), 2))
    columns[..., np.unique(groups, return_index=True)[1], :] = _mean_columns(scores, scores)
    return columns


METRICS: dict[str, SummedMetric] = {
    "mean": SummedMetric(_mean_columns, _mean_value),
    "accuracy": SummedMetric(_accuracy_columns, _mean_value),
    "micro_f1": SummedMetric(_accuracy_columns, _mean_value),
    "f1": SummedMetric(_f1_columns, _mean_value),
    "f1_a": SummedMetric(_f1_columns, _mean_value),
    "entity_f1": SummedMetric(_f1_columns, _mean_value),
    "macro_f1": SummedMetric(_class_f1_columns, _macro_f1_value),
    "cb_f1": SummedMetric(_class_f1_columns, _macro_f1_value),
    "balanced_accuracy": SummedMetric(_recall_columns, _macro_f1_value),
    "matthews_correlation": SummedMetric(_matthews_columns, _matthews_value),
    "pearson": SummedMetric(_pearson_columns, _pearson_value),
    "spearmanr": SummedMetric(_spearman_columns, _pearson_value, ranked=True),
    "mae": SummedMetric(_absolute_columns, _mean_value, lower_is_better=True),
    "rmse": SummedMetric(_squared_columns, _root_value, lower_is_better=True),
    "r2": SummedMetric(_explained_columns, _explained_value),
    "exact_match": SummedMetric(_exact_match_columns, _mean_value, grouped=True),
    "f1_m": SummedMetric(_question_f1_columns, _mean_value, grouped=True),
    "gender_parity": SummedMetric(_parity_columns, _mean_value, grouped=True),
}
"""The harness's metrics as sums, by their names; ``mean`` is for those that score every example by itself."""

MULTI_LABEL_METRICS: dict[str, SummedMetric] = {
    "micro_f1": SummedMetric(_pooled_f1_columns, _mean_value),
    "macro_f1": SummedMetric(_label_f1_columns, _macro_f1_value),
}
"""Those of rows of one 0 or 1 per label."""
