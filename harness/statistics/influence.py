"""What each example contributes to a metric: the values on which intervals and tests of any metric rest.

Most metrics are functions of sums over examples (`sums`), and the infinitesimal jackknife gives every example's
influence at once; any other metric is taken again without each example.

Source: Jaeckel 1972, The infinitesimal jackknife; Efron 1982, The Jackknife, the Bootstrap and Other Resampling Plans.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.errors import HarnessError, did_you_mean
from harness.statistics.sums import (
    METRICS,
    MULTI_LABEL_METRICS,
    Array,
    cluster_index,
    cluster_sums,
    rank_slopes,
    set_columns,
)

Function = Callable[[Sequence[Any], Sequence[Any]], float]
"""A metric as a function of n predictions and n references."""

STEP = 0.01
"""How much of one example's weight is moved for the numerical derivative; small against 1, large against rounding."""


@dataclass(frozen=True, eq=False)
class Moments:
    """What comparisons need of (..., S, n) values of one model, whoever it is compared with.

    Attributes:
        n, seeds: examples, runs.
        mean: of all values.
        example_means: (..., n) means over seeds.
        variance: (...) variance over seeds of the score; 0 of a single run.
        residual: (...) mean square of what neither seed nor example explains; 0 of a single run.
    """

    n: int
    seeds: int
    mean: float
    example_means: Array
    variance: Array
    residual: Array


def moments(values: Array) -> Moments:
    """Those of (..., S, n) values, of two or more examples."""
    seeds, n = values.shape[-2:]
    example_means, scores = values.mean(axis=-2), values.mean(axis=-1)
    all_squares = ((values - example_means[..., None, :]) ** 2).sum(axis=(-1, -2))
    of_seeds = seeds * scores.var(axis=-1)
    freedom = max(seeds - 1, 1)
    residual = (all_squares - n * of_seeds) / (freedom * max(n - 1, 1))
    return Moments(n, seeds, float(values.mean()), example_means, of_seeds / freedom, residual)


@dataclass(frozen=True, eq=False)
class Observations:
    """The runs of one model on one task: the summed columns of every example, or cluster of examples.

    Attributes:
        columns: (..., seeds, n, k) columns, summed over each cluster.
        slopes: (..., seeds, n, k) derivatives of the totals by an example's weight; the columns, except for ranks.
        value, lower_is_better: as of `SummedMetric`.
    """

    columns: Array
    slopes: Array
    value: Callable[[Array], Array]
    lower_is_better: bool = False

    @cached_property
    def scores(self) -> Array:
        """(..., seeds) values of the metric."""
        return self.value(self.columns.sum(axis=-2))

    @property
    def gains(self) -> Array:
        """The scores, or of an error what is less than none: higher is better."""
        return -self.scores if self.lower_is_better else self.scores

    @cached_property
    def values(self) -> Array:
        """(..., seeds, n) values, one per example, whose mean is the score (see `jackknife`)."""
        return jackknife(self.columns, self.value, self.slopes)

    @cached_property
    def moments(self) -> Moments:
        """What comparisons need of the values."""
        return moments(self.values)


def influence(
    metric: str | Function,
    predictions: ArrayLike | Sequence[Any],
    references: ArrayLike | Sequence[Any],
    clusters: Sequence[Hashable] | None = None,
    groups: Sequence[Hashable] | None = None,
) -> Array:
    """(n,) values of one run, one per example or cluster, whose mean is the metric.

    Their variance / n is the metric's sampling variance, as for a mean. Arguments and errors as of `observe`, but
    with the predictions of one run.

    >>> influence("accuracy", predictions=[1, 0, 1, 1], references=[1, 0, 0, 1]).round(6).tolist()
    [1.0, 1.0, 0.0, 1.0]
    """
    return observe(metric, [predictions], references, clusters, groups).values[0]


def observe(
    metric: str | Function,
    predictions: ArrayLike | Sequence[Any],
    references: ArrayLike | Sequence[Any],
    clusters: Sequence[Hashable] | None = None,
    groups: Sequence[Hashable] | None = None,
    classes: int = 0,
) -> Observations:
    """The predictions of a model's runs on a task, ready for a comparison by one metric.

    Args:
        metric: a name of `METRICS`, or any function of n predictions and n references, which is called once without
            each example (slow).
        predictions: (seeds, n) class indices with -1 for an invalid one, or scores of a regression; (seeds, n,
            labels) of 0 and 1 for multi-label metrics; a set of entities per row for ``entity_f1``; for ``mean`` the
            score of every example. Further axes may stand before the seeds.
        references: n rows of the same form.
        clusters: (n,) names; rows of the same name belong together and count as one observation.
        groups: (n,) names of the questions, for ``exact_match`` and ``f1_m`` alone.
        classes: how many there are, for metrics of classes; by default as many as the data shows.

    Raises:
        HarnessError: an unknown metric, shapes that do not fit, a metric of questions without groups.
    """
    if callable(metric):
        return _leave_one_out(metric, predictions, references, clusters)  # type: ignore[arg-type]
    if metric not in METRICS:
        raise HarnessError(f"unknown metric '{metric}'.{did_you_mean(metric, METRICS)} Known: {', '.join(METRICS)}")
    if metric == "entity_f1":
        summed, columns = METRICS[metric], set_columns(predictions, references)  # type: ignore[arg-type]
    else:
        answers, right = np.asarray(predictions), np.asarray(references)
        summed = MULTI_LABEL_METRICS.get(metric, METRICS[metric]) if right.ndim == 2 else METRICS[metric]
        names = _group_index(metric, groups, len(right)) if summed.grouped else None
        axes = 2 if summed is MULTI_LABEL_METRICS.get(metric) else 1
        if right.size == 0 or right.ndim != axes or answers.ndim <= axes or answers.shape[-axes:] != right.shape:
            raise HarnessError(f"{metric}: predictions {answers.shape} do not fit references {right.shape}")
        columns = summed.columns(answers, right, names, classes)
        clusters = names.tolist() if names is not None and clusters is None else clusters
    slopes = rank_slopes(columns) if summed.ranked else columns
    if clusters is None:
        return Observations(columns, slopes, summed.value, summed.lower_is_better)
    if len(clusters) != columns.shape[-2]:
        raise HarnessError(f"{len(clusters)} cluster names for {columns.shape[-2]} examples: each needs one")
    sums = cluster_sums(columns, clusters)
    slopes = cluster_sums(slopes, clusters) if summed.ranked else sums
    return Observations(sums, slopes, summed.value, summed.lower_is_better)


def _group_index(metric: str, groups: Sequence[Hashable] | None, rows: int) -> NDArray[np.intp]:
    if metric == "gender_parity":
        return np.arange(rows) // 2
    if groups is None or len(groups) != rows:
        raise HarnessError(f"{metric} needs the name of each row's question ({rows} rows)")
    return cluster_index(groups)


def _leave_one_out(
    function: Function,
    predictions: Sequence[Sequence[Any]],
    references: Sequence[Any],
    clusters: Sequence[Hashable] | None,
) -> Observations:
    """The jackknife of any metric: theta + (G - 1) (mean of theta without a cluster - theta without g), G clusters."""
    index = np.arange(len(references)) if clusters is None else cluster_index(clusters)
    kept = [np.flatnonzero(index != g).tolist() for g in range(int(index.max()) + 1)]
    if len(kept) < 2:
        raise HarnessError("a jackknife needs two examples or clusters")

    def values(run: Sequence[Any]) -> Array:
        without = np.array([function([run[i] for i in rows], [references[i] for i in rows]) for rows in kept])
        return function(run, references) + (len(kept) - 1) * (without.mean() - without)

    return observe("mean", [values(run) for run in predictions], np.zeros(len(kept)))


def mean_of_metrics(parts: Sequence[Observations]) -> Observations:
    """Several metrics of the same examples, which count by their mean, as GLUE and SuperGLUE count them.

    Raises:
        HarnessError: metrics of different runs or examples.
    """
    if len({part.columns.shape[:-1] for part in parts}) != 1:
        raise HarnessError("metrics to average are of different runs or examples: give them the same clusters")
    return _joined(parts, lambda i, columns: columns)


def mean_of_splits(parts: Sequence[Observations]) -> Observations:
    """The same runs on several splits (MNLI matched and mismatched), which count by the mean of their scores.

    Each split's examples have columns of their own, which are 0 for those of the other splits.

    Raises:
        HarnessError: splits of different runs.
    """
    if len({part.columns.shape[:-2] for part in parts}) != 1:
        raise HarnessError("splits to average are of different runs")
    sizes = [part.columns.shape[-2] for part in parts]

    def padded(i: int, columns: Array) -> Array:
        around = (sum(sizes[:i]), sum(sizes[i + 1 :]))
        return np.pad(columns, [(0, 0)] * (columns.ndim - 2) + [around, (0, 0)])

    return _joined(parts, padded)


def _joined(parts: Sequence[Observations], arranged: Callable[[int, Array], Array]) -> Observations:
    """The columns of all parts side by side, each arranged by its number, and the mean of their values."""
    ends = np.cumsum([part.columns.shape[-1] for part in parts])[:-1].tolist()

    def value(totals: Array) -> Array:
        pieces = np.split(totals, ends, axis=-1)
        return np.mean([part.value(piece) for part, piece in zip(parts, pieces, strict=True)], axis=0)

    columns = np.concatenate([arranged(i, part.columns) for i, part in enumerate(parts)], axis=-1)
    lower = parts[0].lower_is_better
    if all(part.slopes is part.columns for part in parts):
        return Observations(columns, columns, value, lower)
    slopes = np.concatenate([arranged(i, part.slopes) for i, part in enumerate(parts)], axis=-1)
    return Observations(columns, slopes, value, lower)


def jackknife(columns: Array, value: Callable[[Array], Array], slopes: Array | None = None) -> Array:
    """Values whose mean is a metric and whose variance / n is its sampling variance (infinitesimal jackknife).

    value_i = theta + d theta / d epsilon, where the weights are mixed with a point at example i,
    w = (1 - epsilon) / n + epsilon [at i]. A mean's values are the examples' own.

    Args:
        columns: (..., n, k), summed to the totals T (..., k).
        value: from totals to the metric theta, whatever the scale of the totals.
        slopes: (..., n, k), n times the derivative of T by a weight; the columns where they do not depend on weights.

    Returns:
        (..., n). The derivative is a central difference, exact to about 1e-4 of the rarest example's influence.
    """
    slopes = columns if slopes is None else slopes
    n = columns.shape[-2]
    totals = columns.sum(axis=-2, keepdims=True)
    step = STEP / n
    towards = n * slopes - slopes.sum(axis=-2, keepdims=True)
    change = (value(totals + step * towards) - value(totals - step * towards)) / (2 * step)
    return value(totals) + change - change.mean(axis=-1, keepdims=True)
