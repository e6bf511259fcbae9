"""The jackknife of every metric: its mean is the harness's own score, its values are those of leaving examples out."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

import harness.statistics.influence
from harness.errors import HarnessError
from harness.statistics.influence import influence, mean_of_metrics, mean_of_splits, observe
from harness.statistics.sums import METRICS
from harness.task import metrics
from harness.task.entities import spans

pytestmark = pytest.mark.filterwarnings("error")

N = 400
TAGS = ("O", "B-person", "I-person", "B-place")


def random_rows(name: str, rng: np.random.Generator, n: int = N) -> tuple[np.ndarray, np.ndarray]:
    """Predictions, some of them invalid, and references of a metric; about 70 % of the predictions are right."""
    if name in ("pearson", "spearmanr", "mae", "rmse", "r2"):
        references = rng.integers(0, 11, n) / 2
        return (references + rng.normal(size=n)).round(1), references
    if name.endswith("multi_label"):
        references = rng.integers(0, 2, (n, 5))
        return np.where(rng.random((n, 5)) < 0.7, references, 1 - references), references
    if name == "entity_f1":
        references = rng.integers(0, 4, (n, 6))
        return np.where(rng.random((n, 6)) < 0.8, references, 0), references
    binary = name in ("f1", "f1_a", "exact_match", "f1_m", "gender_parity")
    references = rng.integers(0, 2 if binary else 4, n)
    predictions = np.where(rng.random(n) < 0.7, references, rng.integers(0, 2 if binary else 4, n))
    return np.where(rng.random(n) < 0.03, -1, predictions), references


def own_score(name: str, predictions: np.ndarray, references: np.ndarray) -> float:
    """The value of harness.task.metrics, which wants rows in the forms of the tasks."""
    name = name.removesuffix("_multi_label")
    rows, right = predictions.tolist(), references.tolist()
    if name in ("f1_a", "exact_match", "f1_m"):
        rows = [{"idx": {"paragraph": i // 12, "question": i // 4}, "prediction": p} for i, p in enumerate(rows)]
    if name == "entity_f1":
        rows, right = [[TAGS[t] for t in row] for row in rows], [[TAGS[t] for t in row] for row in right]
    return metrics.METRICS[name](rows, right)[metrics.score_key(name)]


def observed(name: str, predictions: np.ndarray, references: np.ndarray, **more):
    if name == "entity_f1":
        predictions, references = (
            [spans([TAGS[t] for t in row]) for row in rows] for rows in (predictions, references)
        )
    if name in ("exact_match", "f1_m"):
        more["groups"] = [i // 4 for i in range(len(references))]
    return observe(name.removesuffix("_multi_label"), [predictions], references, **more)


WITHOUT = {*metrics.OF_WORDS, *metrics.OF_SCORES}
"""Records lack the words; those of scores stand in `harness.statistics.curves`."""
NAMES = [*(name for name in metrics.METRICS if name not in WITHOUT), "macro_f1_multi_label", "micro_f1_multi_label"]


def test_every_metric_of_the_harness_is_a_sum():
    assert set(metrics.METRICS) - WITHOUT == set(METRICS) - {"mean"}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n", [N, 31])
def test_the_mean_of_the_values_is_the_score(name, n):
    predictions, references = random_rows(name, np.random.default_rng(n), n)
    observations = observed(name, predictions, references)
    score = own_score(name, predictions, references)
    assert observations.scores == pytest.approx([score])
    assert observations.values.mean(axis=-1) == pytest.approx([score])


@pytest.mark.parametrize("name", NAMES)
def test_the_values_are_those_of_leaving_examples_out(name):
    predictions, references = random_rows(name, np.random.default_rng(1))
    clusters = np.arange(N) // 8  # whole questions, which the official function can leave out
    values = observed(name, predictions, references, clusters=clusters.tolist()).values[0]
    without = np.array([own_score(name, predictions[clusters != g], references[clusters != g]) for g in range(N // 8)])
    expected = without.mean() + (N // 8 - 1) * (without.mean() - without)
    assert np.corrcoef(values, expected)[0, 1] > 0.995
    assert values.std() == pytest.approx(expected.std(), rel=0.05)


def test_a_mean_has_the_examples_own_values():
    predictions, references = random_rows("accuracy", np.random.default_rng(2))
    right = (predictions == references).astype(float)
    assert influence("accuracy", predictions, references) == pytest.approx(right, abs=1e-9)
    assert influence("mean", right, np.zeros(N)) == pytest.approx(right, abs=1e-9)


def test_a_function_is_taken_without_each_cluster():
    predictions, references = random_rows("matthews_correlation", np.random.default_rng(3), 60)
    clusters = [f"text {i // 3}" for i in range(60)]

    def function(p, r):
        return metrics.matthews_correlation(p, r)["matthews_correlation"]

    slow = observe(function, [predictions.tolist()], references.tolist(), clusters).values[0]
    fast = influence("matthews_correlation", predictions, references, clusters)
    assert np.corrcoef(slow, fast)[0, 1] > 0.99


def test_clusters_of_unequal_size():
    """The ratio estimator of survey statistics: (s_g - r n_g) / mean n around r (Cochran 1977, 6.3)."""
    rng = np.random.default_rng(4)
    clusters = np.sort(rng.integers(0, 20, 100))
    right = rng.integers(0, 2, 100)
    sums, sizes = np.bincount(clusters, right), np.bincount(clusters)
    assert influence("mean", right, right, clusters.tolist()) == pytest.approx(
        right.mean() + (sums - right.mean() * sizes) / sizes.mean(), abs=1e-6
    )


@pytest.mark.parametrize("name", ["f1", "matthews_correlation", "pearson", "spearmanr"])
def test_a_constant_answer_scores_0_and_depends_on_no_example(name):
    references = random_rows(name, np.random.default_rng(5))[1]
    values = influence(name, np.zeros(N), references)
    assert values == pytest.approx(np.zeros(N), abs=1e-6)


def test_undefined_scores_count_0():
    references = np.linspace(0, 5, 20)
    for name in ("pearson", "spearmanr"):
        assert influence(name, np.where(references > 4, np.nan, references), references).tolist() == [0.0] * 20
        assert influence(name, np.where(references > 4, np.inf, references), references).tolist() == [0.0] * 20


def test_metrics_count_by_their_mean():
    predictions, references = random_rows("f1", np.random.default_rng(6))
    parts = [observe(name, [predictions], references) for name in ("f1", "accuracy")]
    both = mean_of_metrics(parts)
    assert both.scores == pytest.approx((parts[0].scores + parts[1].scores) / 2)
    assert both.values == pytest.approx((parts[0].values + parts[1].values) / 2)


def test_splits_count_by_their_mean_and_are_strata():
    rng = np.random.default_rng(7)
    first, second = (observe("accuracy", rng.integers(0, 3, (2, n)), rng.integers(0, 3, n)) for n in (30, 70))
    both = mean_of_splits([first, second])
    assert both.scores == pytest.approx((first.scores + second.scores) / 2)
    variances = [part.values.var(axis=-1) / part.values.shape[-1] for part in (first, second)]
    assert both.values.var(axis=-1) / 100 == pytest.approx(sum(variances) / 4)


def test_what_does_not_fit_is_refused():
    with pytest.raises(HarnessError, match="Did you mean 'accuracy'"):
        observe("acuracy", [[1]], [1])
    with pytest.raises(HarnessError, match="do not fit"):
        observe("accuracy", [[1, 0, 1]], [1, 0])
    with pytest.raises(HarnessError, match="do not fit"):
        observe("accuracy", [[[1, 0], [0, 1]]], [[1, 0], [0, 1]])
    with pytest.raises(HarnessError, match="question"):
        observe("exact_match", [[1, 0]], [1, 0])
    with pytest.raises(HarnessError, match="cluster names"):
        influence("accuracy", [1, 0], [1, 0], clusters=["a"])
    with pytest.raises(HarnessError, match="different runs or examples"):
        mean_of_metrics([observe("accuracy", [[1, 0]], [1, 0]), observe("accuracy", [[1]], [1])])
    with pytest.raises(HarnessError, match="different runs"):
        mean_of_splits([observe("accuracy", [[1, 0]], [1, 0]), observe("accuracy", [[1], [1]], [1])])


def test_examples_of_the_docstrings():
    assert doctest.testmod(harness.statistics.influence).failed == 0
