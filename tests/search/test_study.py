"""Suggestions and pruning, on plain data."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from harness.config.sweep import Range, Values
from harness.errors import HarnessError
from harness.search import study
from harness.search.study import ROUND, Tried, is_hopeless, suggest

RATES = Range(1e-5, 1e-1, log=True)
SPACE: dict[str, Values] = {"learning_rate": RATES, "batch_size": (8, 16, 32), "max_length": Range(16, 64)}


def anything(values: Mapping[str, Any]) -> bool:
    return True


def searched(space: Mapping[str, Values], number: int, score: Any, lower: bool = False, seed: int = 1) -> list[Tried]:
    """So many trials of a search, each with its score."""
    tried: list[Tried] = []
    while len(tried) < number:
        seen = [trial.values for trial in tried]
        values = suggest(space, tried, seed, lower, lambda new: new not in seen)  # noqa: B023
        tried += [Tried(v, (score(v),), score(v)) for v in values]
    return tried


def test_the_first_round_is_spread_over_the_ranges():
    values = suggest(SPACE, [], 1, False, anything)
    assert len(values) == ROUND
    decades = sorted(math.floor(math.log10(v["learning_rate"])) for v in values)
    assert decades == [-5, -4, -3, -2]
    assert sorted((v["max_length"] - 16) * ROUND // 49 for v in values) == [0, 1, 2, 3]
    assert {v["batch_size"] for v in values} == {8, 16, 32}
    assert values == suggest(SPACE, [], 1, False, anything) != suggest(SPACE, [], 2, False, anything)


def test_suggestions_keep_to_the_space_and_are_easy_to_type():
    space = {**SPACE, "warmup_ratio": Range(0.0, 0.2), "patience": (None, 2), "weight_decay": Range(0.1001, 0.1002)}
    for trial in searched(space, 20, lambda v: v["warmup_ratio"]):
        assert RATES.low <= trial.values["learning_rate"] <= RATES.high
        assert trial.values["batch_size"] in (8, 16, 32) and trial.values["patience"] in (None, 2)
        assert isinstance(trial.values["max_length"], int) and 16 <= trial.values["max_length"] <= 64
        assert float(f"{trial.values['learning_rate']:.3g}") == trial.values["learning_rate"]
        assert 0.1001 <= trial.values["weight_decay"] <= 0.1002


@pytest.mark.parametrize("lower", [False, True])
def test_a_search_comes_nearer_to_the_best_values(lower):
    def score(values: Mapping[str, Any]) -> float:
        distance = abs(math.log10(values["learning_rate"]) + 3)
        return distance if lower else -distance

    tried = searched({"learning_rate": RATES}, 24, score, lower)
    first, last = ([abs(t.score or 0) for t in part] for part in (tried[:ROUND], tried[-12:]))
    assert sum(last) / 12 < 0.75 * sum(first) / ROUND and min(last) < 0.05


def test_the_same_results_give_the_same_suggestions_in_any_process():
    tried = searched(SPACE, 8, lambda v: v["learning_rate"])
    here = suggest(SPACE, tried, 1, False, anything)
    code = (
        "from harness.config.sweep import Range; from harness.search.study import *\n"
        f"print(suggest({SPACE!r}, {tried!r}, 1, False, lambda values: True))"
    )
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
        assert done.stdout.strip() == repr(here)


def test_failed_and_pruned_trials_are_avoided():
    tried = [Tried({"learning_rate": rate}, (0.5,), 0.5) for rate in (1e-5, 2e-5, 1e-4, 2e-4)]
    tried += [Tried({"learning_rate": rate}) for rate in (3e-2, 5e-2, 8e-2)]  # failed
    tried += [Tried({"learning_rate": 2e-2}, (math.nan, 0.1)), Tried({"learning_rate": 6e-2}, (0.1, 0.1))]  # pruned
    values = [suggest({"learning_rate": RATES}, tried, seed, False, anything) for seed in range(8)]
    rates = [v["learning_rate"] for round_ in values for v in round_]
    assert sum(rate > 1e-2 for rate in rates) < len(rates) / 4


def test_a_small_space_is_used_up_and_no_more():
    space: dict[str, Values] = {"batch_size": (8, 16), "max_length": Range(10, 12)}
    tried = searched(space, 4, lambda v: v["max_length"])
    seen = [trial.values for trial in tried]
    rest = suggest(space, tried, 1, False, lambda new: new not in seen and not seen.append(new))
    assert len(seen) == 6 and len(rest) == 2
    assert suggest(space, tried, 1, False, lambda new: new not in seen) == []


def test_a_trial_is_hopeless_below_the_median_of_four_finished_ones():
    others = [(0.5, 0.6, 0.9), (0.5, 0.7, 0.9), (0.5, 0.8, 0.9), (0.5, 0.9, 0.9)]
    assert is_hopeless((0.1, 0.74), others, False)
    assert not is_hopeless((0.1, 0.76), others, False)
    assert not is_hopeless((0.76, 0.1), others, False)  # its best counts
    assert not is_hopeless((0.1,), others, False)  # too early
    assert not is_hopeless((0.1, 0.1), others[:3], False)  # too few
    assert not is_hopeless((0.1, 0.1, 0.1, 0.1), others, False)  # none got so far
    assert is_hopeless((0.9, 0.76), others, True) and not is_hopeless((0.1, 0.74), others, True)


def test_undefined_scores_decide_nothing():
    others = [(0.5, 0.6)] * ROUND
    assert not is_hopeless((math.nan, math.nan), others, False)
    assert not is_hopeless((0.1, 0.2), [(0.5, math.nan)] * ROUND, False)
    assert is_hopeless((math.nan, 0.2), others, False)


def test_without_optuna_a_message_names_the_extra(monkeypatch):
    monkeypatch.setattr(study.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(HarnessError, match=r'optuna, which is not installed: pip install "enct5-harness\[search\]"'):
        suggest(SPACE, [], 1, False, anything)
