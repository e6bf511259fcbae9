"""Fair budgets: the expected best score after k trials, and what tuning and how many seeds each row had."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hand_made import board, cells, record

from harness.report.sweeps import sweep_page
from harness.results.manifest import Choice, Trial


def choice(model: str, scores: Sequence[float | None], task: str = "one") -> Choice:
    """A sweep with a trial for each score; None: one that failed."""
    trials = []
    for number, score in enumerate(scores):
        changes = {"selection_score": score} if score is not None else {"status": "failed", "error": "oom"}
        made = record(task, model, fingerprint=f"{number:064x}", **changes)
        trials.append(Trial(values={"learning_rate": 10.0**-number}, fingerprint=made.fingerprint, record=made))
    new = Choice(task=task, model=model, seed=1, selection="validation", trials=tuple(trials))
    return new.model_copy(update={"chosen": new.best()})


def test_the_expected_best_score_grows_with_the_number_of_trials() -> None:
    choices = {"": [choice("a", [0.5, 0.7, 0.9, None]), choice("b", [0.8])]}
    page = sweep_page(board(record("one", "a"), record("one", "b"), choices=choices))
    row = cells(page, "a", "Expected best score")
    # Of one trial the mean; of two the mean of the larger of each pair: (0.7 + 0.9 + 0.9) / 3.
    assert (row["1 trial"], row["2 trials"], row["3 trials"]) == ("70.0", "83.3", "90.0")
    other = cells(page, "b", "Expected best score")
    assert (other["1 trial"], other["2 trials"], other["3 trials"]) == ("80.0", "—", "—")


def test_a_sweep_without_a_score_has_no_expected_best() -> None:
    page = sweep_page(board(record("one", "a"), choices={"": [choice("a", [None, None])]}))
    assert "Expected best" not in page and "failed" in page


@pytest.mark.parametrize("same", [True, False])
def test_tuning_and_seeds_stand_in_the_footnotes_where_they_differ(same: bool) -> None:
    runs = [record("one", "a"), record("one", "b"), *([] if same else [record("one", "b", 2)])]
    choices = {"": [choice("a", [0.5, 0.7]), *([choice("b", [0.8, 0.9])] if same else [])]}
    page = board(*runs, choices=choices).markdown
    assert ("the best recipe of 2 trials for each task, 1 seed" in page) is not same
    assert ("one recipe, without tuning, 2 seeds" in page) is not same


def test_numbers_of_seeds_alone_are_said_without_tuning() -> None:
    page = board(record("one", "a"), record("one", "b"), record("one", "b", 2)).markdown
    assert "1 seed" in page and "2 seeds" in page and "tuning" not in page
