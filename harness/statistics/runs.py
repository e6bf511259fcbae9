"""The runs of one model: collapsed ones, robust means, the best of k trials; ratios of repeated measurements."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from harness.errors import HarnessError
from harness.statistics.comparison import ALPHA, Interval
from harness.statistics.influence import Observations
from harness.statistics.sums import Array

NO_VARIATION = 0.02
"""The share of the most varied run's variation up to which another run's answers count as constant."""


def collapsed_runs(runs: Sequence[Sequence[Any]]) -> NDArray[np.bool_]:
    """(seeds,) which runs gave nearly one answer to everything, where others did not; all False where all did.

    A run's variation is the share of answers that are not its commonest one; of real numbers, their standard
    deviation. Up to 2 % of the largest among the runs is none: 99 % of equal answers where others are half and half.

    Args:
        runs: (seeds, n) predictions: class indices, numbers, or rows of labels.

    Source: Mosbach, Andriushchenko and Klakow 2021, On the stability of fine-tuning BERT (failed runs).

    >>> collapsed_runs([[1, 0, 1, 0], [1, 1, 1, 1]]).tolist()
    [False, True]
    """
    if all(isinstance(answer, float) for run in runs for answer in run):
        variation = np.std(runs, axis=-1)
    else:
        variation = np.array([1 - Counter(map(repr, run)).most_common(1)[0][1] / len(run) for run in runs])
    constant = variation <= NO_VARIATION * variation.max()
    return constant & ~constant.all()


def interquartile_mean(scores: ArrayLike) -> float:
    """The mean of the middle half of (seeds,) scores; a score at its edge counts by the share that is inside.

    Source: Agarwal et al. 2021, Deep reinforcement learning at the edge of the statistical precipice.

    >>> round(interquartile_mean([0.0, 0.8, 0.9, 1.0]), 3)
    0.85
    """
    ordered = np.sort(np.asarray(scores, dtype=float))
    edges = np.linspace(0, 1, len(ordered) + 1)
    inside = np.clip(np.minimum(edges[1:], 0.75) - np.maximum(edges[:-1], 0.25), 0, None)
    return float((ordered * inside).sum() / inside.sum())


def expected_best(scores: ArrayLike) -> Array:
    """(N,) the expected best score after k = 1..N trials, chosen at random from the N that were done.

    The mean of the maximum over all subsets of k: sum over i of C(i - 1, k - 1) / C(N, k) times the i-th smallest
    score. This is the unbiased estimate; the plug-in formula of Dodge et al. 2019, which draws with replacement, is
    too low.

    Source: Dodge et al. 2019, Show your work; Tang et al. 2020, Showing your work doesn't always work (bias).

    >>> expected_best([0.5, 0.7, 0.9]).round(4).tolist()
    [0.7, 0.8333, 0.9]
    """
    ordered = np.sort(np.asarray(scores, dtype=float))
    n = len(ordered)
    weights = [[math.comb(i, k - 1) / math.comb(n, k) for i in range(n)] for k in range(1, n + 1)]
    return np.array(weights).reshape(n, n) @ ordered


def ratio(a: ArrayLike, b: ArrayLike) -> Interval:
    """The ratio of two measured quantities (throughput, latency), with an interval over their repetitions.

    exp(mean log a - mean log b), a ratio of geometric means; the interval is Welch's of the logarithms. NaN ends where
    one side was measured once.

    Args:
        a, b: (r_a,) and (r_b,) repetitions, positive, in the same unit.

    Source: Welch 1947; Kalibera and Jones 2013, Rigorous benchmarking in reasonable time (intervals of ratios).

    Raises:
        HarnessError: no repetition, or one that is not positive.
    """
    return mean_ratio([(a, b)])


def mean_ratio(pairs: Sequence[tuple[ArrayLike, ArrayLike]]) -> Interval:
    """The geometric mean over T tasks of `ratio`, with an interval over the repetitions within tasks.

    SE² of its logarithm is sum over tasks of (var log a / r_a + var log b / r_b) / T², degrees of freedom by
    Satterthwaite 1946; of one task this is Welch's interval. NaN ends where a side of some task was measured once.

    Args:
        pairs: (r_a,) and (r_b,) repetitions for each task, positive, in the same unit.

    Raises:
        HarnessError: no task, no repetition, or one that is not positive.
    """
    sides = [np.asarray(side, dtype=float) for pair in pairs for side in pair]
    if not sides or any(side.size == 0 or not (np.isfinite(side) & (side > 0)).all() for side in sides):
        raise HarnessError("a ratio needs positive measurements on both sides")
    logs = [np.log(side) for side in sides]
    estimate = float(sum(side.mean() for side in logs[::2]) - sum(side.mean() for side in logs[1::2])) / len(pairs)
    if min(len(side) for side in logs) < 2:
        return Interval(math.exp(estimate), math.nan, math.nan)
    parts = np.array([side.var(ddof=1) / len(side) for side in logs])
    if not parts.any():
        return Interval(math.exp(estimate), math.exp(estimate), math.exp(estimate))
    df = parts.sum() ** 2 / sum(part**2 / (len(side) - 1) for part, side in zip(parts, logs, strict=True))
    half = float(stdtrit(df, 1 - ALPHA / 2) * math.sqrt(parts.sum())) / len(pairs)
    return Interval(math.exp(estimate), math.exp(estimate - half), math.exp(estimate + half))


def disagreements(a: Observations, b: Observations, count: int) -> list[int]:
    """The examples on which two models differ most, by the difference of their values' means over seeds.

    Args:
        a, b: (S_a, n) and (S_b, n) observations without clusters.
    """
    difference = np.abs(a.values.mean(axis=-2) - b.values.mean(axis=-2))
    return np.argsort(-difference.round(9), kind="stable")[:count].tolist()
