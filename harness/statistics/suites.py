"""Many comparisons: several tasks, several models; corrections, averages, tie groups and ranks."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from harness.errors import HarnessError
from harness.statistics.comparison import (
    ALPHA,
    Comparison,
    Interval,
    Verdict,
    compare,
    detectable_difference,
    student_p,
)
from harness.statistics.influence import Observations
from harness.statistics.sums import Array


@dataclass(frozen=True)
class SuiteComparison:
    """Two models on the tasks that both have.

    Attributes:
        tasks: by task, with p corrected over the tasks.
        average: of the tasks as they are (`suite_average`).
        improvement: the probability that a run of the first model beats one of the second (`improvement`).
    """

    tasks: dict[str, Comparison]
    average: Comparison
    improvement: Interval


@dataclass(frozen=True)
class Ranking:
    """What can be said of the order of models in a column.

    Attributes:
        best: the model with the best score.
        tied: the best and those next to it that cannot be told from it, best first: it ends before the first that can.
        ranks: by model, from the best to the worst rank that it may have.
    """

    best: str
    tied: tuple[str, ...]
    ranks: dict[str, tuple[int, int]]


@dataclass(frozen=True)
class Friedman:
    """A claim about tasks in general, of which these are a sample (see `friedman`).

    Attributes:
        p: of the hypothesis that all models rank alike.
        mean_ranks: (models,), 1 the best.
        critical_difference: of two mean ranks, by Nemenyi's test at 5 %.
    """

    p: float
    mean_ranks: tuple[float, ...]
    critical_difference: float


def compare_suites(a: Mapping[str, Observations], b: Mapping[str, Observations]) -> SuiteComparison:
    """Two models on the tasks that both have, by task name; (S, n) observations of the same examples for each.

    Raises:
        HarnessError: no task in common; see `compare`.
    """
    shared = [task for task in a if task in b]
    if not shared:
        raise HarnessError("the two models have no task in common")
    comparisons = [compare(a[task], b[task]) for task in shared]
    return SuiteComparison(
        tasks=dict(zip(shared, holm(comparisons), strict=True)),
        average=suite_average(comparisons),
        improvement=improvement([a[task].gains for task in shared], [b[task].gains for task in shared]),
    )


def compare_all(models: Mapping[str, Mapping[str, Observations]]) -> dict[tuple[str, str], SuiteComparison]:
    """`compare_suites` of all pairs of models, by their names in the order given."""
    return {(a, b): compare_suites(models[a], models[b]) for a, b in combinations(models, 2)}


def holm(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons with p adjusted so that the chance of any false finding among them is at most 5 %.

    With p sorted, p_(i) becomes max over j <= i of min(1, (m - j + 1) p_(j)).

    Source: Holm 1979, A simple sequentially rejective multiple test procedure.
    """
    p = np.array([comparison.p for comparison in comparisons])
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return [replace(c, p_adjusted=float(value)) for c, value in zip(comparisons, adjusted, strict=True)]


def suite_average(comparisons: Sequence[Comparison]) -> Comparison:
    """The difference of two models' averages over tasks, which are fixed: a claim about these tasks.

    The estimate is the mean of the tasks' differences, SE = sqrt(sum of SE_t²) / T, degrees of freedom by
    Satterthwaite 1946. Tasks are independent: no example is in two of them.

    Raises:
        HarnessError: no task, or errors beside scores.
    """
    if not comparisons:
        raise HarnessError("an average needs a task")
    if len({c.lower_is_better for c in comparisons}) > 1:
        raise HarnessError("errors and scores have no average")
    variances = np.array([c.se**2 for c in comparisons])
    estimate = float(np.mean([c.estimate for c in comparisons]))
    se = math.sqrt(variances.sum()) / len(comparisons)
    parts = float(sum(v**2 / c.df for v, c in zip(variances, comparisons, strict=True)))
    df = float(variances.sum() ** 2 / parts) if parts else math.inf
    half = float(stdtrit(df, 1 - ALPHA / 2)) * se
    p = student_p(estimate, se, df)
    seeds = min(c.n_seeds[0] for c in comparisons), min(c.n_seeds[1] for c in comparisons)
    of = "checkpoints" if max(seeds) == 1 else "models"
    return Comparison(
        estimate,
        se,
        df,
        estimate - half,
        estimate + half,
        p,
        p,
        sum(c.n_examples for c in comparisons),
        seeds,
        detectable_difference(se, df),
        f"Student's t of these two {of}, tasks fixed",
        comparisons[0].lower_is_better,
    )


def rank(comparisons: Mapping[tuple[str, str], Comparison]) -> Ranking:
    """The tie group of the best model, and the ranks that each may have.

    All pairs are one family for Holm, since which model is best is seen from the same data. A model's best rank is 1 +
    the number of models found better, its worst the number of models less those found worse; all ranks hold at once
    with 95 %. The tie group goes down the means, and ends before the first model that is found worse than the best: one
    below that, which is too noisy to be found worse, has not shown that it keeps up. Its ranks say what is not known.

    Args:
        comparisons: of every pair of models, once.

    Source: Al Mohamad, Goeman and van Zwet 2022, Simultaneous confidence intervals for ranks.

    Raises:
        HarnessError: a pair that is missing.
    """
    names = list(dict.fromkeys(name for pair in comparisons for name in pair))
    if len(comparisons) != math.comb(len(names), 2):
        raise HarnessError(f"{len(names)} models need a comparison of every pair: {len(comparisons)} were given")
    ahead = dict.fromkeys(names, 0.0)  # the sum of a model's differences from the others, which orders as its score
    better: dict[str, set[str]] = {name: set() for name in names}  # whom each model was found better than
    for (a, b), comparison in zip(comparisons, holm(list(comparisons.values())), strict=True):
        ahead[a] += comparison.gain
        ahead[b] -= comparison.gain
        if comparison.verdict is Verdict.BETTER:
            better[a].add(b)
        elif comparison.verdict is Verdict.WORSE:
            better[b].add(a)
    order = sorted(names, key=lambda name: -ahead[name])
    beaten_by = {name: sum(name in others for others in better.values()) for name in names}
    ranks = {name: (1 + beaten_by[name], len(names) - len(better[name])) for name in names}
    tied = itertools.takewhile(lambda name: name not in better[order[0]], order)
    return Ranking(order[0], tuple(tied), ranks)


def improvement(a: Sequence[ArrayLike], b: Sequence[ArrayLike], draws: int = 2000, seed: int = 0) -> Interval:
    """The probability that a run of the first model beats one of the second, over tasks.

    The mean over tasks of the share of pairs (a_i, b_j) with a_i > b_j, ties half. The interval is that of a bootstrap
    of the runs within tasks; NaN where all tasks have a single run of both models.

    Args:
        a, b: for each task the scores of the runs (`Observations.gains`), (S_a,) and (S_b,).

    Source: Agarwal et al. 2021, Deep reinforcement learning at the edge of the statistical precipice.
    """
    runs = [(np.asarray(own), np.asarray(other)) for own, other in zip(a, b, strict=True)]
    estimate, drawn, several = 0.0, np.zeros(draws), False
    times = _times_drawn(tuple((len(own), len(other)) for own, other in runs), draws, seed)
    for (own, other), (rows, columns) in zip(runs, times, strict=True):
        wins = (np.sign(own[:, None] - other) + 1) / 2
        estimate += float(wins.mean()) / len(a)
        drawn += ((rows @ wins) * columns).sum(axis=1) / wins.size / len(a)
        several |= wins.size > 1
    low, high = np.quantile(drawn, [ALPHA / 2, 1 - ALPHA / 2]) if several else (math.nan, math.nan)
    return Interval(estimate, float(low), float(high))


@functools.lru_cache(maxsize=4)
def _times_drawn(sizes: Sequence[tuple[int, int]], draws: int, seed: int) -> list[tuple[Array, Array]]:
    """For each task, how often a bootstrap draws each run of two models, (draws, S_a) and (draws, S_b).

    Kept, because all pairs of models are drawn alike.
    """
    rng = np.random.default_rng(seed)

    def times(count: int) -> Array:
        chosen = rng.integers(0, count, (draws, count)) + count * np.arange(draws)[:, None]
        return np.bincount(chosen.ravel(), minlength=draws * count).reshape(draws, count).astype(float)

    return [(times(own), times(other)) for own, other in sizes]


def friedman(scores: Array) -> Friedman:
    """Friedman's test and Nemenyi's critical difference: do models rank differently on tasks in general?

    Here tasks are a sample of all tasks, unlike in `suite_average`. The critical difference of two mean ranks is
    q sqrt(M (M + 1) / (6 T)), with q the quantile of the studentised range of M groups / sqrt(2).

    Args:
        scores: (tasks, models), three or more models; higher is better (of errors their opposites).

    Source: Demšar 2006, Statistical comparisons of classifiers over multiple data sets.

    Raises:
        HarnessError: fewer than three models or two tasks.
    """
    tasks, models = scores.shape
    if models < 3 or tasks < 2:
        raise HarnessError(f"Friedman's test needs two tasks and three models: there are {tasks} and {models}")
    from scipy import stats  # takes a second to load

    ranks = stats.rankdata(-scores, axis=1).mean(axis=0)
    quantile = stats.studentized_range.ppf(1 - ALPHA, models, np.inf) / math.sqrt(2)
    difference = float(quantile) * math.sqrt(models * (models + 1) / (6 * tasks))
    return Friedman(float(stats.friedmanchisquare(*scores.T).pvalue), tuple(map(float, ranks)), difference)
