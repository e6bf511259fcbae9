"""Leaderboards with statistics: intervals, tie groups, collapsed runs, from the predictions of records on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from answered import Answered, N, board, seeds
from hand_made import NAN, caveats, cells, failed, record

from harness.io import to_json
from harness.report.numbers import as_data, csv_text
from harness.results.record import CaveatKind

SEEN, UNPINNED = CaveatKind.SEEN_IN_PRETRAINING, CaveatKind.UNPINNED_CHECKPOINT


@pytest.fixture
def answered(tmp_path: Path) -> Answered:
    return Answered(tmp_path)


# Tie groups ------------------------------------------------------------------------------------------------------


def test_the_best_and_all_that_cannot_be_told_from_it_are_bold(answered: Answered) -> None:
    found = board(*seeds(answered, {"a": 0.85, "b": 0.84, "c": 0.6}))
    shown = [cells(found.markdown, model)["One acc"] for model in "abc"]
    assert [text.startswith("**") for text in shown] == [True, True, False]
    assert set(found.rankings["one"].tied) == {"a", "b"}
    assert found.rankings["one"].ranks == {"a": (1, 2), "b": (1, 2), "c": (3, 3)}
    bold = "Bold: the best of a column and those next to it that cannot be told from it, unless these are all"
    assert bold in found.markdown
    assert (
        found.markdown.splitlines()[2] == found.text.splitlines()[0] == "One: a and b lead, and cannot be told apart."
    )
    assert "Student's t, variance over seeds and examples crossed, 3 seeds; Holm over all pairs" in found.markdown


def test_nothing_is_bold_where_all_are_equal(answered: Answered) -> None:
    found = board(*seeds(answered, {"a": 0.80, "b": 0.80, "c": 0.81}))
    assert "**" not in found.markdown and len(found.rankings["one"].tied) == 3


def test_one_seed_is_a_claim_about_checkpoints(answered: Answered) -> None:
    found = board(*seeds(answered, {"a": 0.85, "b": 0.6}, number=1))
    assert cells(found.markdown, "a")["One acc"].startswith("**")
    assert "one seed: a claim about these checkpoints, not about models" in found.markdown
    assert "±" not in found.markdown


def test_averages_have_tie_groups_and_intervals(answered: Answered) -> None:
    runs = [run for name in ("one", "pair", "nli") for run in seeds(answered, {"a": 0.85, "b": 0.7}, name=name)]
    found = board(*runs)
    assert cells(found.markdown, "a")["Mini avg"].startswith("**")
    average = found.rows[0].averages["Mini avg"].interval
    parts = [found.rows[0].cells[task].interval for task in ("one", "pair", "nli")]
    assert average and all(parts)
    assert average.se == pytest.approx(sum(part.se**2 for part in parts if part) ** 0.5 / 3)
    assert cells(found.markdown, "a")["NLI acc m/mm"].count("/") == 2  # two means, two intervals
    assert "Probe MCC" in cells(found.markdown, "a") and found.rows[0].cells["probe"].interval is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"caveats": caveats(SEEN)},
        {"settings": {"limit": {"train": 10}}},
        {"settings": {"data": {"one": {"source": "hub", "revision": "another"}}}},
        {"settings": {"selection": "holdout"}},
        {"scores": {"one": {"validation": {"accuracy": NAN}}}, "caveats": caveats(UNPINNED)},
    ],
)
def test_nothing_is_best_among_what_cannot_be_compared(answered: Answered, changes: Any) -> None:
    first, second = answered("one", "a", 1, 0.9), answered("one", "b", 1, 0.5)
    assert "**" in board(first, second).markdown
    assert "**" not in board(first, answered("one", "c", 1, 0.5, **changes)).markdown


@pytest.mark.parametrize("other", [("one", "b", 1), failed("one", "oom", model="b")])
def test_nothing_is_best_beside_nothing(answered: Answered, other: Any) -> None:
    assert "**" not in board(answered("one", "a", 1, 0.9), other).markdown


def test_nothing_is_best_while_seeds_are_missing(answered: Answered) -> None:
    runs: list[Any] = [answered("one", m, s, share) for m, share in (("a", 0.9), ("b", 0.6)) for s in (1, 2)]
    assert "**" not in board(*runs[:3], ("one", "b", 2)).markdown
    assert cells(board(*runs).markdown, "a")["One acc"].startswith("**")


def test_models_of_other_examples_are_not_compared(answered: Answered) -> None:
    runs = seeds(answered, {"a": 0.9})
    other = answered("one", "b", 1, 0.5)
    assert other.folder is not None
    lines = [{**row, "label": 1 - row["label"], "prediction": 1 - row["prediction"]} for row in other.predictions()]
    changed = record("one", "c", 1, scores=other.scores)
    assert "**" not in board(runs[0], answered.store.write(changed, predictions=lines)).markdown


def test_scores_that_predictions_do_not_give_have_no_statistics(answered: Answered) -> None:
    found = board(
        answered("one", "a", 1, 0.9), answered("one", "b", 1, 0.5, scores={"one": {"validation": {"accuracy": 0.99}}})
    )
    assert "**" not in found.markdown
    assert (
        "no statistics: one accuracy cannot" in found.markdown or "do not give the recorded accuracy" in found.markdown
    )


def test_without_statistics_the_page_is_made_at_once(answered: Answered) -> None:
    runs = seeds(answered, {"a": 0.85, "b": 0.6})
    found = board(*runs, statistics=False)
    assert "**" not in found.markdown and "Bold" not in found.markdown and found.spread == "std"


def test_examples_that_belong_together_are_one_observation(answered: Answered) -> None:
    alone = answered("one", "a", 1, 0.7)
    pairs = [{**row, "cluster": row["index"] // 2 * 2} for row in alone.predictions()]
    twice = [{**row, "label": pairs[i // 2]["label"], "prediction": pairs[i // 2]["prediction"], "cluster": i // 2 * 2}
             for i, row in enumerate(pairs)]  # fmt: skip
    share = sum(row["label"] == row["prediction"] for row in twice) / N
    scores = {"one": {"validation": {"accuracy": share}}}
    doubled = answered.store.write(record("one", "b", 1, scores=scores), predictions=twice)
    interval = board(doubled).rows[0].cells["one"].interval
    assert interval and interval.n_examples == N // 2
    assert interval.se == pytest.approx((share * (1 - share) / (N / 2 - 1)) ** 0.5, rel=0.01)


# Intervals -------------------------------------------------------------------------------------------------------


def test_the_interval_is_shown_from_three_seeds_on_and_on_demand(answered: Answered) -> None:
    runs = seeds(answered, {"a": 0.85, "b": 0.6})
    found = board(*runs)
    interval, value = found.rows[0].cells["one"].interval, found.rows[0].cells["one"].score
    assert interval and value and value.std
    half = 100 * (interval.high - interval.low) / 2
    assert interval.low < value.mean < interval.high
    assert cells(found.markdown, "a")["One acc"] == f"**{100 * value.mean:.1f}** ± {half:.1f}"
    assert "Mean ± half of its 95 % interval" in found.markdown and f"± {half:.1f}" in found.text
    spread = board(*runs, interval="std")
    assert cells(spread.markdown, "a")["One acc"] == f"**{100 * value.mean:.1f}** ± {100 * value.std:.1f}"
    assert "Mean ± sample standard deviation over seeds" in spread.markdown
    two = [run for run in runs if run.seed < 3]
    assert board(*two).spread == "std" and board(*two, interval="ci").spread == "ci"


def test_numbers_for_programs_have_intervals_and_ranks(answered: Answered) -> None:
    found = board(*seeds(answered, {"a": 0.85, "b": 0.6}))
    data = json.loads(to_json(as_data(found)))
    score = data["rows"][0]["tasks"]["one"]["score"]
    assert score["interval"][0] < score["mean"] < score["interval"][1] and score["ranks"] == [1, 1]
    assert data["statistics"] == {"interval": "ci", "tie_groups": {"one": ["a"]}, "version": 2}
    header, first, *_ = csv_text(found).splitlines()
    line = dict(zip(header.split(","), first.split(","), strict=True))
    assert float(line["one accuracy low"]) < float(line["one accuracy"]) < float(line["one accuracy high"])
    assert line["one ranks"] == "1-1"


# Collapsed runs --------------------------------------------------------------------------------------------------


def test_collapsed_runs_are_marked_and_counted(answered: Answered) -> None:
    runs = [answered("one", "a", seed, 0.9) for seed in (1, 2, 3)]
    runs.append(answered("one", "a", 4, [1] * N))
    found = board(*runs)
    assert "1 of 4 runs collapsed to nearly one answer (seed 4); interquartile mean of all 8" in found.markdown
    assert as_data(found)["rows"][0]["tasks"]["one"]["collapsed_seeds"] == (4,)
    assert found.rows[0].cells["one"].done == 4  # the mean has them all
