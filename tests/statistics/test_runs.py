"""The runs of one model: collapsed ones, robust means, the best of k trials; ratios of measurements; disagreements."""

from __future__ import annotations

import doctest
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

import harness.statistics.runs
from harness.errors import HarnessError
from harness.statistics.influence import observe
from harness.statistics.runs import collapsed_runs, disagreements, expected_best, interquartile_mean, ratio

pytestmark = pytest.mark.filterwarnings("error")


def test_collapsed_runs_are_constant_where_others_are_not():
    rng = np.random.default_rng(0)
    good = rng.integers(0, 2, 200).tolist()
    nearly = [1] * 199 + [0]
    assert collapsed_runs([good, nearly, good]).tolist() == [False, True, False]
    assert collapsed_runs([nearly, nearly]).tolist() == [False, False]
    rare = [1] * 3 + [0] * 197  # a task of which one class is rare: few other answers are no collapse
    assert collapsed_runs([rare, nearly, [0] * 200]).tolist() == [False, False, True]
    assert collapsed_runs([good]).tolist() == [False]
    scores = rng.normal(size=200)
    assert collapsed_runs([scores.tolist(), (2.5 + 0.001 * scores).tolist()]).tolist() == [False, True]
    rows = rng.integers(0, 2, (200, 3)).tolist()
    assert collapsed_runs([rows, [[0, 0, 0]] * 200]).tolist() == [False, True]


def test_the_interquartile_mean():
    scores = np.random.default_rng(1).random(40)
    assert interquartile_mean(scores) == pytest.approx(stats.trim_mean(scores, 0.25))
    assert interquartile_mean([0.0, 0.6, 0.7]) == pytest.approx((0 + 4 * 0.6 + 0.7) / 6)
    assert interquartile_mean([0.3]) == pytest.approx(0.3)


def test_the_expected_best_is_the_mean_over_all_subsets():
    scores = np.random.default_rng(2).random(7)
    expected = [np.mean([max(subset) for subset in combinations(scores, k)]) for k in range(1, 8)]
    assert expected_best(scores) == pytest.approx(expected)


def test_a_ratio_has_welchs_interval_of_logarithms():
    rng = np.random.default_rng(3)
    a, b = np.exp(rng.normal(5.0, 0.1, 6)), np.exp(rng.normal(4.5, 0.2, 9))
    interval = ratio(a, b)
    expected = stats.ttest_ind(np.log(a), np.log(b), equal_var=False).confidence_interval()
    assert interval.estimate == pytest.approx(stats.gmean(a) / stats.gmean(b))
    assert (interval.low, interval.high) == pytest.approx((np.exp(expected.low), np.exp(expected.high)))
    turned = ratio(b, a)
    assert (turned.low, turned.high) == pytest.approx((1 / interval.high, 1 / interval.low))


def test_a_ratio_without_repetitions_or_without_spread():
    assert np.isnan(ratio([2.0], [1.0, 1.1]).low)
    assert ratio([2.0, 2.0], [1.0, 1.0]).high == pytest.approx(2)
    for bad in ([], [0.0, 1.0], [np.inf]):
        with pytest.raises(HarnessError, match="positive"):
            ratio(bad, [1.0])


def test_disagreements_come_largest_first():
    references = np.array([1, 1, 1, 1])
    a = observe("accuracy", [[1, 1, 0, 1], [1, 1, 0, 0]], references)
    b = observe("accuracy", [[1, 0, 1, 1], [1, 0, 1, 1]], references)
    assert disagreements(a, b, 3) == [1, 2, 3]


def test_examples_of_the_docstrings():
    assert doctest.testmod(harness.statistics.runs).failed == 0
