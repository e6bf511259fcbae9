"""Areas under curves as means of values: the area itself, and what leaving examples out does to it."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from harness.statistics.comparison import compare
from harness.statistics.curves import AREAS, auroc_values, observe_area

N = 400


@pytest.fixture(params=["auroc", "average_precision"])
def metric(request):
    return request.param


OF_SKLEARN = {"auroc": roc_auc_score, "average_precision": average_precision_score}


def draw(rng: np.random.Generator, n: int = N, gap: float = 1.0):
    right = rng.random(n) < 0.3
    return right, (rng.normal(size=n) + gap * right).round(1)  # with ties


def test_the_mean_of_the_values_is_the_area(metric):
    right, scores = draw(np.random.default_rng(1))
    assert AREAS[metric](right, scores).mean() == pytest.approx(OF_SKLEARN[metric](right, scores), abs=1e-12)


def test_the_values_are_those_of_leaving_one_out(metric):
    right, scores = draw(np.random.default_rng(2))
    whole, function = OF_SKLEARN[metric](right, scores), OF_SKLEARN[metric]
    without = np.array([function(np.delete(right, i), np.delete(scores, i)) for i in range(N)])
    left_out = whole + (N - 1) * (without.mean() - without)
    values = AREAS[metric](right, scores)
    assert values.var(ddof=1) == pytest.approx(left_out.var(ddof=1), rel=0.05)
    assert np.corrcoef(values, left_out)[0, 1] > 0.999


def test_the_variance_is_that_of_new_examples():
    rng = np.random.default_rng(3)
    areas = [roc_auc_score(*draw(rng, 200)) for _ in range(600)]
    expected = np.mean([auroc_values(*draw(rng, 200)).var(ddof=1) / 200 for _ in range(100)])
    assert np.var(areas) == pytest.approx(expected, rel=0.2)


def test_models_are_compared_by_an_area(metric):
    rng = np.random.default_rng(4)
    right = rng.random(N) < 0.5

    def runs(gap):
        return [[(right, rng.normal(size=N) + gap * right)] for _ in range(3)]

    good, same, bad = observe_area(metric, runs(2.0)), observe_area(metric, runs(2.0)), observe_area(metric, runs(0.5))
    assert compare(good, bad).verdict == "better" and compare(good, same).verdict == "cannot be told apart"
    clustered = observe_area(metric, runs(2.0), clusters=[i // 2 for i in range(N)])
    assert clustered.columns.shape[-2] == N // 2
    assert observe_area(metric, [[], []]).scores.tolist() == [0.0, 0.0]
