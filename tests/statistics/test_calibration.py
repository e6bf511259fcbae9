"""A short version of scripts/calibration.py: two equal models differ in 5 % of the cases, and no more."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import calibration
from calibration import DIFFERENCE, coverage, expected_scores, false_positives, power, simulate, two_models

pytestmark = pytest.mark.filterwarnings("error")

CELLS = (
    ("accuracy", 0.003, 3, 56),
    ("accuracy", 0.03, 5, 277),
    ("matthews_correlation", 0.03, 3, 277),
    ("f1", 0.03, 5, 56),
    ("macro_f1", 0.003, 10, 56),
    ("pearson", 0.003, 5, 277),
)


def test_false_positives_are_5_percent():
    rng = np.random.default_rng(0)
    rates = [false_positives(metric, (spread, spread), seeds, n, 500, rng) for metric, spread, seeds, n in CELLS]
    crossed = [rate["crossed"] for rate in rates]
    assert all(0.02 < rate < 0.08 for rate in crossed), crossed  # 500 repetitions: 5 % with a standard error of 1 %
    assert 0.03 < np.mean(crossed) < 0.07
    assert np.mean([rate["pooled"] for rate in rates if "pooled" in rate]) > 0.12
    assert rates[1]["mcnemar"] > 0.12 and rates[1]["permutation"] > 0.12
    assert rates[4]["welch"] > 0.12


def test_intervals_hold_the_true_difference_in_95_percent():
    rng = np.random.default_rng(1)
    covered = [coverage(*cell, 500, rng) for cell in CELLS]
    assert all(0.92 < share < 0.98 for share in covered), covered
    assert 0.93 < np.mean(covered) < 0.97


def test_more_is_found_than_by_the_multi_bootstrap():
    own, bootstrap = power("accuracy", 0.003, 150, np.random.default_rng(2))
    assert own >= 1.7 * bootstrap and own > 0.3


@pytest.mark.parametrize("metric", calibration.NAMES)
def test_expected_scores_are_those_of_the_simulation(metric):
    models = two_models(metric, (0.003, 0.03), DIFFERENCE)
    expected = [expected_scores(metric, model).mean() for model in models]
    assert expected[0] - expected[1] == pytest.approx(DIFFERENCE, abs=1e-6)
    assert expected_scores(metric, models[0]).std() == pytest.approx(0.003, abs=1e-6)
    for observations, _ in simulate(metric, models, 10, 1000, 20, np.random.default_rng(3)):
        for runs, score in zip(observations, expected, strict=True):
            assert runs.scores.mean() == pytest.approx(score, abs=0.012)
