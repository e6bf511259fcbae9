"""Two models on one task: equal to scipy and statsmodels where they have the special case, and to plain loops."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.power import TTestPower

import harness.statistics.comparison
from harness.errors import HarnessError
from harness.statistics.comparison import (
    Verdict,
    compare,
    crossed_variance,
    detectable_difference,
    mcnemar,
    multi_bootstrap,
    permutation_test,
    seeds_needed,
)
from harness.statistics.influence import Observations, mean_of_metrics, observe
from harness.task import metrics

pytestmark = pytest.mark.filterwarnings("error")


def of_values(values: np.ndarray) -> Observations:
    return observe("mean", values, np.zeros(values.shape[-1]))


def labels(n: int, seeds: int, right: float, random_state: int) -> tuple[np.ndarray, np.ndarray]:
    """(seeds, n) predictions of two classes, so many of them right, and (n,) references, which are always the same."""
    references = np.random.default_rng(0).integers(0, 2, n)
    rng = np.random.default_rng(random_state)
    return np.where(rng.random((seeds, n)) < right, references, 1 - references), references


# The crossed variance --------------------------------------------------------------------------------------------


def test_seeds_alone_are_welchs_test():
    """Every example of a seed has the seed's score."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.7, 0.02, 5), rng.normal(0.65, 0.05, 8)
    comparison = compare(*(of_values(np.repeat(side[:, None], 40, axis=1)) for side in (a, b)))
    expected = stats.ttest_ind(a, b, equal_var=False)
    interval = expected.confidence_interval()
    assert comparison.p == pytest.approx(expected.pvalue)
    assert comparison.df == pytest.approx(expected.df)
    assert (comparison.low, comparison.high) == pytest.approx((interval.low, interval.high))


def test_examples_alone_are_the_paired_t_test():
    """Every seed gives the same answers."""
    rng = np.random.default_rng(1)
    a, b = rng.normal(0.7, 0.2, 60), rng.normal(0.65, 0.2, 60)
    comparison = compare(*(of_values(np.repeat(side[None], 3, axis=0)) for side in (a, b)))
    expected = stats.ttest_rel(a, b)
    assert (comparison.p, comparison.df) == pytest.approx((expected.pvalue, expected.df))
    assert comparison.se == pytest.approx((a - b).std(ddof=1) / math.sqrt(60))


def test_the_parts_are_those_of_the_analysis_of_variance():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(4, 30)), rng.normal(size=(6, 30))
    variance = crossed_variance(a, b)
    assert variance.examples == pytest.approx((a.mean(0) - b.mean(0)).var(ddof=1) / 30)
    for values, seeds, residual in zip((a, b), variance.seeds, variance.residual, strict=True):
        rest = values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()
        assert seeds == pytest.approx(values.mean(1).var(ddof=1) / len(values))
        assert residual == pytest.approx((rest**2).sum() / (29 * (len(values) - 1)) / (30 * len(values)))


def test_the_variance_is_that_of_the_difference():
    """Over many data sets and runs its mean is the variance that the differences really have."""
    rng = np.random.default_rng(3)
    r, n = 3000, 40
    shared = rng.normal(size=(r, 1, n))
    a, b = (
        shared + 0.5 * rng.normal(size=(r, 1, n)) + 0.1 * rng.normal(size=(r, s, 1)) + rng.normal(size=(r, s, n))
        for s in (5, 10)
    )
    variance = crossed_variance(a, b)
    real = (a.mean(axis=(1, 2)) - b.mean(axis=(1, 2))).var()
    assert variance.total.mean() == pytest.approx(real, rel=0.1)
    unfloored = variance.examples + sum(variance.seeds) - sum(variance.residual)
    assert unfloored.mean() == pytest.approx(real, rel=0.07)
    assert (variance.total >= np.maximum(unfloored, sum(variance.seeds)) - 1e-12).all()


def test_many_repetitions_at_once_are_the_same_as_one_by_one():
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=(7, 3, 20)), rng.normal(size=(7, 4, 20))
    together = crossed_variance(a, b)
    for r in range(7):
        alone = crossed_variance(a[r], b[r])
        assert (together.total[r], together.df[r]) == pytest.approx((float(alone.total), float(alone.df)))


def test_a_single_run_has_the_other_models_variance():
    rng = np.random.default_rng(5)
    several, single = rng.normal(size=(5, 30)), rng.normal(size=(1, 30))
    variance, own = crossed_variance(several, single), crossed_variance(several, several)
    assert variance.seeds == pytest.approx((6 * own.seeds[0],)) and variance.counts == (5,)
    assert variance.residual == pytest.approx((6 * own.residual[0],))
    assert crossed_variance(single, several).df == pytest.approx(variance.df)
    comparison = compare(of_values(several), of_values(single))
    assert comparison.n_seeds == (5, 1) and "single run" in comparison.method


def test_equal_and_opposite_models():
    predictions, references = labels(50, 3, 0.8, 6)
    runs = observe("accuracy", predictions, references)
    same = compare(runs, runs)
    assert (same.estimate, same.verdict) == (0, Verdict.TIED)
    always, never = (observe("accuracy", [answer] * 3, references) for answer in (references, 1 - references))
    best = compare(always, never)
    assert best.estimate == pytest.approx(1)
    assert best.p == pytest.approx(0, abs=1e-9) and best.verdict is Verdict.BETTER
    assert compare(never, always).verdict is Verdict.WORSE
    equal = compare(always, always)
    assert (equal.p, equal.low, equal.high) == pytest.approx((1, 0, 0), abs=1e-9)
    assert equal.detectable is None
    assert str(equal.verdict) == "cannot be told apart"


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(HarnessError, match="same two or more examples"):
        compare(of_values(np.zeros((2, 5))), of_values(np.zeros((2, 6))))
    with pytest.raises(HarnessError, match="same two or more examples"):
        compare(of_values(np.zeros((1, 5))), of_values(np.zeros((1, 6))))
    with pytest.raises(HarnessError, match="two runs"):
        crossed_variance(np.zeros((1, 5)), np.zeros((1, 5)))


# What could have been seen ---------------------------------------------------------------------------------------


def test_the_detectable_difference_has_a_power_of_80_percent():
    for n in (20, 277):
        effect = TTestPower().solve_power(nobs=n, alpha=0.05, power=0.8)
        assert detectable_difference(1 / math.sqrt(n), n - 1) == pytest.approx(effect, rel=0.01)


def test_more_seeds_find_smaller_differences_until_the_examples_are_too_few():
    rng = np.random.default_rng(7)
    runs = [of_values(rng.normal(size=(1, 200)) * 0.1 + rng.normal(size=(5, 200))) for _ in range(2)]
    needed = [seeds_needed(*runs, difference) for difference in (0.5, 0.2, 0.1)]
    assert needed == sorted(needed) and needed[0] < needed[2]
    assert seeds_needed(*runs, 1e-6) is None
    with pytest.raises(HarnessError, match="two runs of each"):
        seeds_needed(runs[0], of_values(rng.normal(size=(1, 200))), 0.1)
    comparison = compare(*runs)
    assert seeds_needed(*runs, comparison.detectable * 1.3) <= 5 <= seeds_needed(*runs, comparison.detectable * 0.8)


# One run of each model -------------------------------------------------------------------------------------------


def test_mcnemar_is_scipys_and_statsmodels():
    rng = np.random.default_rng(8)
    a, b = rng.random((2, 20, 60)) < np.array([0.8, 0.6])[:, None, None]
    for right_a, right_b, p in zip(a, b, mcnemar(a, b), strict=True):
        only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
        assert p == pytest.approx(stats.binomtest(only_a, only_a + only_b).pvalue)
        table = [[int((right_a & right_b).sum()), only_a], [only_b, int((~right_a & ~right_b).sum())]]
        assert p == pytest.approx(statsmodels_mcnemar(table, exact=True).pvalue)
    assert mcnemar([1, 0], [1, 0]) == 1


def test_single_runs_are_checkpoints():
    (a, references), (b, _) = labels(200, 1, 0.8, 9), labels(200, 1, 0.6, 10)
    comparison = compare(observe("accuracy", a, references), observe("accuracy", b, references))
    assert comparison.method == "exact McNemar test of these two checkpoints"
    assert comparison.p == mcnemar(a[0] == references, b[0] == references)
    of_f1 = compare(observe("f1", a, references), observe("f1", b, references))
    assert of_f1.method == "paired permutation test of these two checkpoints"
    assert of_f1.verdict is Verdict.BETTER
    in_pairs = [i // 2 for i in range(200)]
    clustered = compare(*(observe("accuracy", side, references, clusters=in_pairs) for side in (a, b)))
    assert "permutation" in clustered.method and clustered.n_examples == 100


@pytest.mark.parametrize("name", ["f1", "matthews_correlation", "macro_f1"])
def test_the_permutation_test_takes_the_official_metric_again(name):
    """The same test by scipy, which calls the harness's own metric, on few examples and all 256 swaps."""
    (a, references), (b, _) = labels(8, 1, 0.9, 11), labels(8, 1, 0.4, 12)

    def difference(x, y):
        scores = (metrics.METRICS[name](list(side), list(references))[name] for side in (x, y))
        return abs(next(scores) - next(scores))

    expected = stats.permutation_test(
        (a[0], b[0]), difference, permutation_type="samples", n_resamples=np.inf, alternative="greater"
    ).pvalue
    observations = [observe(name, side, references, classes=2) for side in (a, b)]
    assert permutation_test(*observations, draws=20_000) == pytest.approx(expected, abs=0.012)


def test_permutation_of_an_average_of_metrics_and_of_ranks():
    rng = np.random.default_rng(13)
    targets = rng.normal(size=100)
    good, bad = (targets + noise * rng.normal(size=(1, 100)) for noise in (0.3, 1.0))
    sides = [
        mean_of_metrics([observe(name, side, targets) for name in ("pearson", "spearmanr")]) for side in (good, bad)
    ]
    assert permutation_test(*sides) < 0.01
    assert permutation_test(sides[0], sides[0]) == 1
    other = observe("macro_f1", np.array([[1, 2]]), np.array([1, 2]))
    with pytest.raises(HarnessError, match="number of classes"):
        permutation_test(observe("macro_f1", np.array([[1, 1]]), np.array([1, 1])), other)


# The multi-bootstrap ---------------------------------------------------------------------------------------------


def test_of_single_runs_it_is_scipys_paired_bootstrap():
    (a, references), (b, _) = labels(150, 1, 0.8, 14), labels(150, 1, 0.6, 15)
    comparison = multi_bootstrap(*(observe("f1", side, references) for side in (a, b)), draws=4000)

    def difference(x, y, right, axis=-1):
        scores = [2 * (s * right).sum(axis) / (s.sum(axis) + right.sum(axis)) for s in (x, y)]
        return scores[0] - scores[1]

    expected = stats.bootstrap(
        (a[0], b[0], references), difference, paired=True, n_resamples=4000, method="percentile", rng=0
    )
    assert comparison.se == pytest.approx(expected.standard_error, rel=0.05)
    interval = expected.confidence_interval
    assert (comparison.low, comparison.high) == pytest.approx((interval.low, interval.high), abs=0.01)


def test_it_resamples_seeds_and_examples():
    """Against a plain loop."""
    (a, references), (b, _) = labels(60, 4, 0.8, 16), labels(60, 3, 0.6, 17)
    comparison = multi_bootstrap(*(observe("f1", side, references) for side in (a, b)), draws=4000)
    rng, drawn = np.random.default_rng(18), []

    def f1(predicted, right):
        return 2 * (predicted * right).sum() / (predicted.sum() + right.sum())

    for _ in range(2000):
        rows = rng.integers(0, 60, 60)
        first, second = (
            np.mean([f1(side[s][rows], references[rows]) for s in rng.integers(0, len(side), len(side))])
            for side in (a, b)
        )
        drawn.append(first - second)
    assert comparison.se == pytest.approx(np.std(drawn), rel=0.06)
    assert comparison.estimate == pytest.approx(np.mean(drawn), abs=0.01)
    assert comparison.verdict is Verdict.BETTER


def test_it_is_wider_than_the_crossed_variance():
    (a, references), (b, _) = labels(100, 5, 0.7, 19), labels(100, 5, 0.65, 20)
    for name in ("accuracy", "matthews_correlation", "spearmanr"):
        runs = [observe(name, side, references) for side in (a, b)]
        assert multi_bootstrap(*runs).se > 1.2 * compare(*runs).se


def test_examples_of_the_docstrings():
    assert doctest.testmod(harness.statistics.comparison).failed == 0
