"""Is one model better than another on a task? The difference, its interval, its p, and what could have been seen.

A score varies with the seed and with the examples that happen to be in the data. Both are crossed: every seed is scored
on the same examples, and so is the other model. `crossed_variance` adds the two sources and takes off once what both
count. `multi_bootstrap` answers the same question by resampling and is kept as a check. One run for each model answers
a smaller question, about these two checkpoints: `mcnemar` and `permutation_test`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr, stdtr, stdtrit

from harness.errors import HarnessError
from harness.statistics.influence import Moments, Observations, moments
from harness.statistics.sums import Array

ALPHA = 0.05
"""The level of tests; intervals are 1 - ALPHA."""
POWER = 0.8
"""The chance with which a detectable difference is found."""
CHUNK = 2**22
"""How many numbers a block of resamples may have (32 MB)."""


class Verdict(StrEnum):
    """What can be said of the first model against the second."""

    BETTER = "better"
    WORSE = "worse"
    TIED = "cannot be told apart"


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval; NaN ends where there is none."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """The first model's score less the second's, in fractions of 1 (correlations: -2..2).

    Attributes:
        estimate, se, df: the difference, its standard error, and the degrees of freedom of Student's t (NaN for
            resampling).
        low, high: the 95 % interval, which no correction widens.
        p: of the hypothesis that there is no difference, two-sided.
        p_adjusted: after Holm's correction in the family that the caller chose (`holm`); p before.
        n_examples: examples, or clusters of examples; of a suite their sum over tasks.
        n_seeds: runs of the first and the second model.
        detectable: the smallest true difference that would be found with a chance of 80 %, without correction; None
            where neither runs nor examples differ.
        method: the test, in words.
        lower_is_better: whether the score is an error, of which less is better.
    """

    estimate: float
    se: float
    df: float
    low: float
    high: float
    p: float
    p_adjusted: float
    n_examples: int
    n_seeds: tuple[int, int]
    detectable: float | None
    method: str
    lower_is_better: bool = False

    @property
    def gain(self) -> float:
        """By how much the first model is better: the difference, or of an error its opposite."""
        return -self.estimate if self.lower_is_better else self.estimate

    @property
    def verdict(self) -> Verdict:
        """By the adjusted p at a level of 5 %."""
        if not self.p_adjusted < ALPHA:
            return Verdict.TIED
        return Verdict.BETTER if self.gain > 0 else Verdict.WORSE


@dataclass(frozen=True, eq=False)
class CrossedVariance:
    """The parts of the variance of a difference of two models' scores, each (...).

    Attributes:
        examples: variance over examples of the difference of seed means, / n.
        seeds: for each model, variance over seeds of the score, / S.
        residual: for each model, mean square of what neither seed nor example explains, / (n S). It is in both of
            the above, so it is taken off once.
        n, counts: examples, and seeds of each model.

    Where one model has a single run, both models' parts come from the other's runs and are added up to one.
    """

    examples: Array
    seeds: tuple[Array, ...]
    residual: tuple[Array, ...]
    n: int
    counts: tuple[int, ...]

    @functools.cached_property
    def total(self) -> Array:
        """examples + seeds - residual, no less than seeds.

        Where the seeds vary less than the residual alone explains, half of what they lack is taken off: taking off
        nothing (a floor at the larger part) finds too little with three seeds, taking off all too much.
        """
        seeds = sum(self.seeds)
        net = seeds - sum(self.residual)
        return np.maximum(self.examples + np.where(net < 0, net / 2, net), seeds)

    @property
    def df(self) -> Array:
        """Degrees of freedom by Satterthwaite 1946, total² / sum of part² / df of the part; inf without variance.

        Of a model's seeds, part² is seeds² - residual², no less than 0: the square of a noisy part is too large, and
        seeds that show no variance of their own cost no degrees of freedom.
        """
        parts = self.examples**2 / (self.n - 1)
        for seeds, residual, count in zip(self.seeds, self.residual, self.counts, strict=True):
            parts = parts + np.maximum(seeds**2 - residual**2, 0) / (count - 1)
        return np.divide(self.total**2, parts, out=np.full_like(parts, math.inf), where=parts > 0)


# The crossed variance --------------------------------------------------------------------------------------------


def crossed_variance(a: Array, b: Array) -> CrossedVariance:
    """The variance of the difference of two models' mean scores over seeds and examples, which are crossed.

        V = var_i(d_i) / n + var_s(a_s) / S_a + var_s(b_s) / S_b - MS_a / (n S_a) - MS_b / (n S_b)

    with d_i the difference on example i of the means over seeds, a_s the score of seed s, and MS the mean square of
    a_si - a_s - a_i + a (two-way analysis of variance). Seeds of different models are not pairs; examples are. Where
    one model has a single run, its variance over seeds and MS are taken to be the other's.

    Args:
        a, b: (..., S_a, n) and (..., S_b, n) values of examples (`Observations.values`).

    Source: Owen 2007, The pigeonhole bootstrap, and Cameron, Gelbach and Miller 2011 (two-way clustered variance);
    Searle, Casella and McCulloch 1992, Variance Components, 4.

    Raises:
        HarnessError: different examples, fewer than two of them, or a single run of each model.
    """
    return _crossed_variance(moments(a), moments(b))


def _crossed_variance(a: Moments, b: Moments) -> CrossedVariance:
    n, counts = a.n, (a.seeds, b.seeds)
    if b.n != n or n < 2:
        raise HarnessError(f"models are compared on the same two or more examples, not on {n} and {b.n}")
    if max(counts) < 2:
        raise HarnessError("a variance over seeds needs two runs of a model")
    examples = (a.example_means - b.example_means).var(axis=-1, ddof=1) / n
    squares = [(model.variance, model.residual) for model in (a, b)]
    if 1 in counts:
        (scores, residual), count = squares[counts.index(max(counts))], max(counts)
        share = 1 / counts[0] + 1 / counts[1]
        return CrossedVariance(examples, (scores * share,), (residual * share / n,), n, (count,))
    seeds = tuple(scores / count for (scores, _), count in zip(squares, counts, strict=True))
    rest = tuple(residual / (n * count) for (_, residual), count in zip(squares, counts, strict=True))
    return CrossedVariance(examples, seeds, rest, n, counts)


def compare(a: Observations, b: Observations) -> Comparison:
    """The comparison of two models' runs (S_a, n) and (S_b, n) on the same examples of a task.

    Several runs: `crossed_variance` and Student's t. A single run of each model: the p of `mcnemar` where every
    example is right or wrong, of `permutation_test` otherwise; the interval is that of the examples' values.

    Raises:
        HarnessError: see `crossed_variance`.
    """
    values_a, values_b = a.values, b.values
    seeds = (values_a.shape[-2], values_b.shape[-2])
    if max(seeds) > 1:
        variance = _crossed_variance(a.moments, b.moments)
        estimate = float(a.moments.mean - b.moments.mean)
        borrowed = ", the single run's variance taken to be the other model's" if 1 in seeds else ""
        method = f"Student's t, variance over seeds and examples crossed{borrowed}"
        parts = estimate, math.sqrt(variance.total), float(variance.df), values_a.shape[-1], seeds, method
        return _by_student(*parts, lower_is_better=a.lower_is_better)
    return replace(_compare_checkpoints(a, b, values_a[0], values_b[0]), lower_is_better=a.lower_is_better)


def _compare_checkpoints(a: Observations, b: Observations, values_a: Array, values_b: Array) -> Comparison:
    n = len(values_a)
    if len(values_b) != n or n < 2:
        raise HarnessError(f"checkpoints are compared on the same two or more examples, not on {n} and {len(values_b)}")
    binary = all((np.minimum(abs(values), abs(values - 1)) < 1e-6).all() for values in (values_a, values_b))
    test = "exact McNemar test" if binary else "paired permutation test"
    p = float(mcnemar(values_a > 0.5, values_b > 0.5)) if binary else permutation_test(a, b)
    difference = values_a - values_b
    se = float(difference.std(ddof=1)) / math.sqrt(n)
    method = f"{test} of these two checkpoints"
    return _by_student(float(difference.mean()), se, n - 1, n, (1, 1), method, p)


def _by_student(
    estimate: float,
    se: float,
    df: float,
    n: int,
    seeds: tuple[int, int],
    method: str,
    p: float | None = None,
    lower_is_better: bool = False,
) -> Comparison:
    half = float(stdtrit(df, 1 - ALPHA / 2)) * se
    if p is None:
        p = student_p(estimate, se, df)
    ends, detectable = (estimate - half, estimate + half), detectable_difference(se, df)
    return Comparison(estimate, se, df, *ends, p, p, n, seeds, detectable, method, lower_is_better)


def student_p(estimate: float, se: float, df: float) -> float:
    """The two-sided p of Student's t = estimate / se; without variance 1 for no difference and 0 for any."""
    if se == 0:
        return float(abs(estimate) < 1e-12)
    return float(2 * stdtr(df, -abs(estimate) / se))


def estimate(runs: Observations) -> Comparison:
    """One model's score with its interval, as the comparison with a score of 0; (S, n) runs.

    Several runs: `crossed_variance`, without a second model. A single run: the variance over examples alone.

    Raises:
        HarnessError: fewer than two examples.
    """
    values = runs.values
    seeds, n = values.shape[-2:]
    score = float(values.mean())
    if seeds > 1:
        variance = _crossed_variance(runs.moments, moments(np.zeros((2, n))))
        method = "variance over seeds and examples crossed"
        return _by_student(score, math.sqrt(variance.total), float(variance.df), n, (seeds, seeds), method)
    if n < 2:
        raise HarnessError(f"an interval needs two examples, not {n}")
    se = float(values.std(ddof=1)) / math.sqrt(n)
    return _by_student(score, se, n - 1, n, (1, 1), "variance over examples of this checkpoint")


# What could have been seen ---------------------------------------------------------------------------------------


def detectable_difference(se: float, df: float) -> float | None:
    """The true difference that a test at 5 % finds with a chance of 80 %: (t(0.975) + t(0.8)) se.

    None without a variance, as between two models that give one answer to everything: what is not there says nothing.

    Source: Bloom 1995, Minimum detectable effects; Card et al. 2020, With little power comes great responsibility.
    """
    return float(stdtrit(df, 1 - ALPHA / 2) + stdtrit(df, POWER)) * se if se else None


def seeds_needed(a: Observations, b: Observations, difference: float, most: int = 1000) -> int | None:
    """How many runs of each model a true difference needs to be found with a chance of 80 %.

    More seeds shrink the variance of the seeds and the residual (as 1 / S), not that of the examples: the smallest S
    is given for which `detectable_difference` is no more than ``difference``.

    Returns:
        None where ``most`` do not suffice: it takes more examples.

    Raises:
        HarnessError: a single run of a model; see `crossed_variance`.
    """
    variance = _crossed_variance(a.moments, b.moments)
    if len(variance.seeds) < 2:
        raise HarnessError("how many seeds it takes is seen from two runs of each model, at least")
    examples = max(float(variance.examples) - float(sum(variance.residual)), 0.0)
    of_one_seed = sum(float(part) * count for part, count in zip(variance.seeds, variance.counts, strict=True))
    for seeds in range(2, most + 1):
        of_seeds = of_one_seed / seeds
        total = examples + of_seeds
        parts = examples**2 / (variance.n - 1) + of_seeds**2 / (2 * (seeds - 1))
        if (detectable_difference(math.sqrt(total), total**2 / parts if parts else math.inf) or 0.0) <= difference:
            return seeds
    return None


# One run of each model -------------------------------------------------------------------------------------------


def mcnemar(right_a: ArrayLike, right_b: ArrayLike) -> Array:
    """The exact two-sided p of McNemar's test of two checkpoints, (...).

    Of the m examples that only one of the two has right, the first has k: p = P(|X - m/2| >= |k - m/2|), X ~
    Binomial(m, 1/2).

    Args:
        right_a, right_b: (..., n) of 0 and 1: whether each example is right.

    Source: McNemar 1947; Dietterich 1998, Approximate statistical tests.

    >>> float(mcnemar([1, 1, 1, 1, 0, 1], [0, 0, 0, 0, 1, 1]))
    0.375
    """
    a, b = np.asarray(right_a, dtype=bool), np.asarray(right_b, dtype=bool)
    only_a, only_b = (a & ~b).sum(axis=-1), (b & ~a).sum(axis=-1)
    return np.minimum(1.0, 2 * bdtr(np.minimum(only_a, only_b), only_a + only_b, 0.5))


def permutation_test(a: Observations, b: Observations, draws: int = 5000, seed: int = 0) -> float:
    """The two-sided p of the official metric's difference between two checkpoints, (1, n) each.

    Under the hypothesis either checkpoint could have given either answer: each example's (cluster's) two answers are
    swapped at random, and p = (1 + draws with at least this difference) / (draws + 1). Ranks (Spearman) are those
    among all answers of a checkpoint.

    Source: Noreen 1989 (approximate randomisation); Yeh 2000; Phipson and Smyth 2010 for the 1.
    """
    columns_a, columns_b = _same_width(a, b)
    differ = (columns_a != columns_b).any(axis=-1)
    change = (columns_b - columns_a)[differ]
    totals = columns_a.sum(axis=0), columns_b.sum(axis=0)
    observed = abs(a.value(totals[0]) - b.value(totals[1]))
    rng, extreme = np.random.default_rng(seed), 0
    for count in _chunks(draws, len(change)):
        swapped = rng.integers(0, 2, (count, len(change)), dtype=np.uint8).astype(float) @ change
        extreme += int((abs(a.value(totals[0] + swapped) - b.value(totals[1] - swapped)) >= observed - 1e-12).sum())
    return (1 + extreme) / (draws + 1)


def _same_width(a: Observations, b: Observations) -> tuple[Array, Array]:
    if a.columns.shape[-2:] != b.columns.shape[-2:]:
        raise HarnessError(
            f"the checkpoints have {a.columns.shape[-2:]} and {b.columns.shape[-2:]} examples and columns: give "
            "both the same examples and number of classes"
        )
    return a.columns[0], b.columns[0]


def _chunks(draws: int, width: int) -> Iterator[int]:
    size = max(CHUNK // max(width, 1), 1)
    for start in range(0, draws, size):
        yield min(size, draws - start)


# The check by resampling -----------------------------------------------------------------------------------------


def multi_bootstrap(a: Observations, b: Observations, draws: int = 1000, seed: int = 0) -> Comparison:
    """The comparison by the multi-bootstrap: seeds of each model, and examples, are resampled; examples are paired.

    The metric is taken again on every resample; of ranks (Spearman) by the examples' values. The interval is that of
    percentiles, p = 2 min(share of differences <= 0, share >= 0). It counts the residual of seeds and examples about
    three times, so it is wider than `crossed_variance` and finds less.

    Args:
        a, b: (S_a, n) and (S_b, n) observations of the same examples.

    Source: Sellam et al. 2022, The MultiBERTs, 3.
    """
    rng = np.random.default_rng(seed)
    n, seeds = a.columns.shape[-2], (a.columns.shape[-3], b.columns.shape[-3])
    differences = []
    for count in _chunks(draws, n * max(seeds)):
        weights = rng.multinomial(n, np.full(n, 1 / n), size=count).astype(float)
        differences.append(_resampled(a, weights, rng) - _resampled(b, weights, rng))
    drawn = np.concatenate(differences)
    estimate, se = float(a.scores.mean() - b.scores.mean()), float(drawn.std(ddof=1))
    low, high = np.quantile(drawn, [ALPHA / 2, 1 - ALPHA / 2])
    p = min(1.0, 2 * (1 + min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))) / (draws + 1))
    detectable = detectable_difference(se, math.inf)
    method = f"multi-bootstrap, {draws} draws"
    ends, lower = (float(low), float(high)), a.lower_is_better
    return Comparison(estimate, se, math.nan, *ends, p, p, n, seeds, detectable, method, lower)


def _resampled(runs: Observations, weights: Array, rng: np.random.Generator) -> Array:
    """(draws,) mean scores of resampled seeds on examples of the given weights, (draws, n)."""
    seeds = runs.columns.shape[-3]
    if runs.slopes is runs.columns:
        scores = runs.value(np.matmul(weights, runs.columns))  # (seeds, draws)
    else:
        scores = runs.values @ weights.T / weights.shape[-1]
    chosen: NDArray[np.int64] = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=weights.shape[0])
    return (chosen * scores.T).sum(axis=-1) / seeds
