"""Several tasks and several models: Holm, averages, tie groups, ranks, and how long it all takes."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from harness.errors import HarnessError
from harness.statistics.comparison import Comparison, Verdict, compare
from harness.statistics.influence import observe
from harness.statistics.suites import (
    compare_all,
    compare_suites,
    friedman,
    holm,
    improvement,
    rank,
    suite_average,
)

pytestmark = pytest.mark.filterwarnings("error")


def comparison(estimate: float, p: float, se: float = 0.01, df: float = 10.0) -> Comparison:
    return Comparison(estimate, se, df, estimate - 0.02, estimate + 0.02, p, p, 100, (5, 5), 0.03, "made by hand")


def runs_of(quality: float, seed: int, n: int = 300, seeds: int = 5):
    references = np.random.default_rng(0).integers(0, 3, n)
    rng = np.random.default_rng(seed)
    answers = np.where(rng.random((seeds, n)) < quality, references, rng.integers(0, 3, (seeds, n)))
    return observe("accuracy", answers, references)


def test_holm_is_that_of_statsmodels():
    rng = np.random.default_rng(1)
    for m in (1, 2, 7, 20):
        p = rng.random(m) ** 3
        adjusted = holm([comparison(0.1, value) for value in p])
        assert [c.p_adjusted for c in adjusted] == pytest.approx(multipletests(p, method="holm")[1])
        assert [c.p for c in adjusted] == p.tolist()
    assert holm([]) == []


def test_a_verdict_is_that_of_the_adjusted_p():
    one, two = holm([comparison(0.1, 0.03), comparison(-0.1, 0.03)])
    assert comparison(0.1, 0.03).verdict is Verdict.BETTER and comparison(-0.1, 0.03).verdict is Verdict.WORSE
    assert one.verdict is two.verdict is Verdict.TIED


def test_the_average_of_fixed_tasks():
    tasks = [comparison(0.02, 0.1, se=0.03, df=8), comparison(0.04, 0.1, se=0.04, df=20)]
    average = suite_average(tasks)
    assert (average.estimate, average.se) == pytest.approx((0.03, 0.025))
    assert average.df == pytest.approx(0.0025**2 / (0.0009**2 / 8 + 0.0016**2 / 20))
    assert average.p == pytest.approx(2 * stats.t.sf(0.03 / 0.025, average.df))
    assert average.n_examples == 200 and average.n_seeds == (5, 5)
    one = suite_average(tasks[:1])
    assert (one.estimate, one.se, one.df) == pytest.approx((0.02, 0.03, 8))
    single_runs = suite_average([replace(task, n_seeds=(1, 1)) for task in tasks])
    assert "these two checkpoints" in single_runs.method
    with pytest.raises(HarnessError, match="needs a task"):
        suite_average([])


def test_two_models_on_a_suite():
    good = {f"task{t}": runs_of(0.8, t) for t in range(4)} | {"only mine": runs_of(0.8, 9)}
    poor = {f"task{t}": runs_of(0.5, 100 + t) for t in range(4)}
    suite = compare_suites(good, poor)
    assert list(suite.tasks) == ["task0", "task1", "task2", "task3"]
    assert all(task.verdict is Verdict.BETTER and task.p_adjusted >= task.p for task in suite.tasks.values())
    assert suite.average.verdict is Verdict.BETTER
    assert suite.average.estimate == pytest.approx(np.mean([task.estimate for task in suite.tasks.values()]))
    assert (suite.improvement.estimate, suite.improvement.low) == (1, 1)
    with pytest.raises(HarnessError, match="no task in common"):
        compare_suites(good, {"other": good["task0"]})


def test_tie_groups_and_ranks():
    models = {"best": runs_of(0.9, 1), "second": runs_of(0.9, 2), "third": runs_of(0.6, 3), "last": runs_of(0.2, 4)}
    pairs = {(a, b): compare(models[a], models[b]) for a, b in combinations(models, 2)}
    ranking = rank(pairs)
    assert set(ranking.tied) == {"best", "second"} and ranking.tied[0] == ranking.best
    assert ranking.best == max(models, key=lambda name: models[name].scores.mean())
    assert ranking.ranks == {"best": (1, 2), "second": (1, 2), "third": (3, 3), "last": (4, 4)}
    turned = rank({(b, a): compare(models[b], models[a]) for a, b in combinations(models, 2)})
    assert (turned.best, turned.ranks) == (ranking.best, ranking.ranks)


def test_a_lower_mean_is_never_in_the_group_where_a_higher_one_is_not():
    models = {"best": runs_of(0.9, 1), "sure": runs_of(0.6, 3)}
    pairs = {(a, b): compare(models[a], models[b]) for a, b in combinations(models, 2)}
    noisy = {("best", "noisy"): comparison(0.4, 0.4), ("sure", "noisy"): comparison(0.1, 0.8)}
    ranking = rank(pairs | noisy)
    assert ranking.tied == ("best",)
    assert ranking.ranks == {"best": (1, 2), "sure": (2, 3), "noisy": (1, 3)}  # what is not known is in the ranks


def test_of_errors_the_lowest_leads():
    rng = np.random.default_rng(5)
    targets = rng.normal(size=200)
    models = {name: observe("mae", targets + s * rng.normal(size=(3, 200)), targets) for name, s in SPREADS.items()}
    pairs = {(a, b): compare(models[a], models[b]) for a, b in combinations(models, 2)}
    assert pairs["far", "near"].verdict is Verdict.WORSE and pairs["far", "near"].gain < 0
    assert rank(pairs).tied == ("near",) and rank(pairs).ranks["far"] == (3, 3)
    assert compare_suites({"t": models["near"]}, {"t": models["far"]}).improvement.estimate == 1
    with pytest.raises(HarnessError, match="errors and scores have no average"):
        suite_average([pairs["far", "near"], comparison(0.1, 0.5)])


SPREADS = {"far": 2.0, "near": 0.5, "middle": 1.0}


def test_equal_models_are_one_group():
    models = {name: runs_of(0.7, 10 + i) for i, name in enumerate("abc")}
    ranking = rank({(a, b): compare(models[a], models[b]) for a, b in combinations(models, 2)})
    assert set(ranking.tied) == set("abc") and set(ranking.ranks.values()) == {(1, 3)}
    with pytest.raises(HarnessError, match="every pair"):
        rank({("a", "b"): comparison(0.1, 0.5), ("b", "c"): comparison(0.1, 0.5)})


def test_the_probability_of_improvement():
    interval = improvement([[0.5, 0.7], [0.9]], [[0.6, 0.7], [0.8]])
    assert interval.estimate == pytest.approx((1.5 / 4 + 1) / 2)
    assert interval.low <= interval.estimate <= interval.high
    wins = stats.mannwhitneyu([0.1, 0.5, 0.4], [0.3, 0.5, 0.2, 0.0]).statistic / 12
    assert improvement([[0.1, 0.5, 0.4]], [[0.3, 0.5, 0.2, 0.0]]).estimate == pytest.approx(wins)
    assert np.isnan(improvement([[0.5]], [[0.6]]).low)


def test_friedman_is_scipys_and_nemenyi_is_demsars():
    scores = np.random.default_rng(5).random((14, 4)) + np.array([0.5, 0.2, 0.1, 0])
    claim = friedman(scores)
    assert claim.p == pytest.approx(stats.friedmanchisquare(*scores.T).pvalue)
    assert sum(claim.mean_ranks) == pytest.approx(10) and claim.mean_ranks[0] < claim.mean_ranks[3]
    assert claim.critical_difference == pytest.approx(2.569 * np.sqrt(4 * 5 / (6 * 14)), abs=1e-3)  # his table 5
    with pytest.raises(HarnessError, match="three models"):
        friedman(scores[:, :2])


def test_three_models_on_twenty_tasks_take_little_time():
    rng = np.random.default_rng(6)

    def observed(task: int):
        n = (277, 1043, 1500, 5463)[task % 4]
        if task % 5 == 0:
            targets = np.random.default_rng(task).normal(size=n)
            return observe("spearmanr", targets + rng.normal(size=(5, n)), targets)
        references = np.random.default_rng(task).integers(0, 3, n)
        answers = np.where(rng.random((5, n)) < 0.8, references, rng.integers(0, 3, (5, n)))
        return observe(("accuracy", "macro_f1", "matthews_correlation", "micro_f1")[task % 4], answers, references)

    models = {name: {f"task{t}": observed(t) for t in range(20)} for name in "abc"}
    start = time.process_time()
    suites = compare_all(models)
    ranking = rank({pair: suite.average for pair, suite in suites.items()})
    assert time.process_time() - start < 4
    assert list(suites) == [("a", "b"), ("a", "c"), ("b", "c")] and len(ranking.ranks) == 3


def test_no_torch_and_no_other_room_is_imported():
    code = (
        "import sys, harness\n"
        "before = set(sys.modules)\n"
        "import harness.statistics.suites, harness.statistics.runs\n"
        "new = {name.split('.')[1] for name in set(sys.modules) - before if name.startswith('harness.')}\n"
        "assert new == {'statistics'}, new\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
