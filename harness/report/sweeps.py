"""What sweeps tried and chose: tables for people, data for programs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from harness.report.format import MISSING, duration, percent
from harness.report.leaderboard import Leaderboard
from harness.results.manifest import Choice, Trial, value_text

WHERE = {"validation": "on the validation data", "holdout": "on the part held out of the training data"}

LONGEST_REASON = 60

Table = tuple[list[str], list[list[str]]]
"""Headers and rows."""


def chosen_words(board: Leaderboard) -> str:
    """How the recipes were chosen."""
    seeds = sorted({choice.seed for _, choice in board.sweeps})
    where = " or ".join(dict.fromkeys(WHERE.get(choice.selection, choice.selection) for _, choice in board.sweeps))
    return (
        f"For each model and task, the recipe with the best score {where} was chosen, with seed "
        f"{' or '.join(map(str, seeds))} alone; of equal ones the first."
    )


def chosen_table(board: Leaderboard) -> Table:
    """The chosen values of each model and task, their score, of how many trials they are the best, and their time."""
    names = _names(board)
    rows = []
    for row, choice in board.sweeps:
        winner = choice.winner
        seconds = [time for time in map(_seconds, choice.trials) if time is not None]
        score = [_score(winner), _trials(choice), duration(sum(seconds) if seconds else None)]
        rows.append([row, _title(choice, board), *_values(winner, names), *score])
    return ["Model", "Task", *names, "Score", "Trials", "Their time"], rows


def trial_table(board: Leaderboard) -> Table:
    """Every trial: its values, its score, what became of it, and the time that it took."""
    names = _names(board)
    rows = []
    for row, choice in board.sweeps:
        for trial in choice.trials:
            state = [row, _title(choice, board), *_values(trial, names), _score(trial), _state(trial, choice)]
            rows.append([*state, duration(_seconds(trial)), _folder(trial)])
    return ["Model", "Task", *names, "Score", "", "Time", "Run"], rows


def sweep_data(board: Leaderboard) -> list[dict[str, Any]]:
    """For leaderboard.json: each sweep with its trials; scores are fractions."""
    return [{"row": row, **choice.model_dump(), "trials": list(_trial_data(choice))} for row, choice in board.sweeps]


def _trial_data(choice: Choice) -> Iterable[dict[str, Any]]:
    for trial in choice.trials:
        status = trial.record.status if trial.record else "missing"
        chosen = trial.fingerprint == choice.chosen
        yield {**trial.model_dump(), "record": _folder(trial), "status": status, "score": trial.score, "chosen": chosen}


def _names(board: Leaderboard) -> list[str]:
    """The settings that differ in some sweep."""
    return list(dict.fromkeys(name for _, choice in board.sweeps for trial in choice.trials for name in trial.values))


def _title(choice: Choice, board: Leaderboard) -> str:
    titles = {column.task: column.title for section in board.sections for column in section.columns}
    return titles.get(choice.task, choice.task)


def _values(trial: Trial | None, names: Iterable[str]) -> list[str]:
    return [value_text(trial.values[name]) if trial and name in trial.values else MISSING for name in names]


def _score(trial: Trial | None) -> str:
    return percent(trial.score if trial else None)


def _seconds(trial: Trial) -> float | None:
    """The time of its training."""
    return trial.record.efficiency.train_seconds if trial.record else None


def _trials(choice: Choice) -> str:
    """``4``, ``4, 1 failed`` or ``1 of 4 so far``."""
    number, made = len(choice.trials), [trial.record for trial in choice.trials if trial.record]
    failed = sum(not record.finished for record in made)
    text = str(number) if len(made) == number else f"{len(made)} of {number} so far"
    return f"{text}, {failed} failed" if failed else text


def _state(trial: Trial, choice: Choice) -> str:
    if trial.record is None:
        return "no record yet"
    if not trial.record.finished:
        reason = " ".join((trial.record.error or "for an unknown reason").split())
        return f"failed: {reason if len(reason) <= LONGEST_REASON else f'{reason[: LONGEST_REASON - 1]}…'}"
    return "chosen" if trial.fingerprint == choice.chosen else ""


def _folder(trial: Trial) -> str:
    """The run's folder in that of the benchmark."""
    return "/".join(trial.record.folder.parts[-4:]) if trial.record and trial.record.folder else ""
