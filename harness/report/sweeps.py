"""sweep.md: every trial of a sweep, and what was chosen."""

from __future__ import annotations

from collections.abc import Iterable

from harness.format import MISSING, Table, cut, duration, escape, failure, in_unit, markdown_table, plural
from harness.leaderboard.board import Leaderboard
from harness.report.words import scored_title
from harness.results.manifest import Choice, Trial, value_text

SELECTIONS = {"validation": "on the validation data", "holdout": "on the part held out of the training data"}


def sweep_page(board: Leaderboard) -> str:
    """The content of sweep.md: every trial of every sweep."""
    blocks = [f"# Sweep: {escape(board.benchmark)}", chosen_words(board), markdown_table(*trial_table(board))]
    headers, rows = best_table(board)
    if rows:
        words = (
            "The best score to be expected after so many trials, drawn at random from those that were made (times 100, "
            "on the data that chose): compare models at equal numbers of trials. A pruned trial counts with the best "
            "score that it had reached."
        )
        blocks += ["## Expected best score", words, markdown_table(headers, rows)]
    return "\n\n".join(blocks) + "\n"


def chosen_words(board: Leaderboard) -> str:
    """How the recipes were chosen."""
    seeds = sorted({choice.seed for _, choice in board.sweeps})
    selections = dict.fromkeys(choice.selection for _, choice in board.sweeps)
    where = " or ".join(SELECTIONS.get(selection, selection) for selection in selections)
    return (
        f"For each model and task, the recipe with the best score {where} was chosen, with seed "
        f"{' or '.join(map(str, seeds))} alone; of equal ones the first."
    )


def chosen_table(board: Leaderboard) -> Table:
    """The chosen values of each model and task, their score, of how many trials they are the best, and their time."""
    settings = _swept(board)
    rows = []
    for row, choice in board.sweeps:
        times = [time for time in map(_train_seconds, choice.trials) if time is not None]
        score = in_unit(choice.winner.score if choice.winner else None, choice.lower_is_better)
        values = _values(choice.winner, settings)
        time = duration(sum(times) if times else None)
        rows.append([row, scored_title(board, choice.task), *values, score, _trials(choice), time])
    return ["Model", "Task", *settings, "Score", "Trials", "Their time"], rows


def best_table(board: Leaderboard) -> Table:
    """The expected best score after 1, 2, 4, ... trials, and after all; no rows where none has a score."""
    from harness.statistics.runs import expected_best  # loads scipy, which takes a while

    scores = [[trial.reached for trial in choice.trials if trial.reached is not None] for _, choice in board.sweeps]
    most = max(map(len, scores), default=0)
    numbers = sorted({*(2**i for i in range(most.bit_length())), *filter(None, map(len, scores))})
    rows = []
    for (row, choice), own in zip(board.sweeps, scores, strict=True):
        if own:
            error, sign = choice.lower_is_better, -1 if choice.lower_is_better else 1
            best = (sign * expected_best([sign * score for score in own])).tolist()
            cells = [in_unit(best[number - 1], error) if number <= len(own) else MISSING for number in numbers]
            rows.append([row, board.title(choice.task), *cells])
    return ["Model", "Task", *(plural(number, "trial") for number in numbers)], rows


def trial_table(board: Leaderboard) -> Table:
    """Every trial: its values, its score, how it ended or that it was chosen, the time that it took, and its folder."""
    settings = _swept(board)
    rows = []
    for row, choice in board.sweeps:
        for trial in choice.trials:
            outcome = [
                in_unit(trial.score, choice.lower_is_better),
                _status(trial, choice),
                duration(_train_seconds(trial)),
            ]
            folder = folder_of(trial, board.benchmark)
            rows.append([row, scored_title(board, choice.task), *_values(trial, settings), *outcome, folder])
    return ["Model", "Task", *settings, "Score", "", "Time", "Run"], rows


def _swept(board: Leaderboard) -> list[str]:
    """The settings that differ in some sweep."""
    return list(dict.fromkeys(name for _, choice in board.sweeps for trial in choice.trials for name in trial.values))


def _values(trial: Trial | None, settings: Iterable[str]) -> list[str]:
    return [value_text(trial.values[name]) if trial and name in trial.values else MISSING for name in settings]


def _train_seconds(trial: Trial) -> float | None:
    return trial.record.efficiency.train_seconds if trial.record else None


def _trials(choice: Choice) -> str:
    """``4``, ``4, 2 pruned, 1 failed`` or ``1 of 4 so far``."""
    number = max(len(choice.trials), choice.planned)
    made = [trial.record for trial in choice.trials if trial.record]
    pruned, failed = sum(record.pruned for record in made), sum(record.failed for record in made)
    text = str(number) if len(made) == number else f"{len(made)} of {number} so far"
    others = [f"{count} {what}" for count, what in ((pruned, "pruned"), (failed, "failed")) if count]
    return ", ".join([text, *others])


def _status(trial: Trial, choice: Choice) -> str:
    if trial.record is None:
        return "no record yet"
    if trial.record.pruned:
        best = in_unit(trial.reached, choice.lower_is_better)
        return f"pruned at step {trial.record.steps:,}, best until then {best}"
    if trial.record.failed:
        return cut(failure(trial.record.error), 68)
    return "chosen" if trial.fingerprint == choice.chosen else ""


def folder_of(trial: Trial, benchmark: str) -> str:
    """The run's folder, as seen from that of the benchmark."""
    if trial.record is None or trial.record.folder is None:
        return ""
    own, *parts = trial.record.folder.parts[-5:]
    return "/".join(parts if own == benchmark else ("..", own, *parts))
