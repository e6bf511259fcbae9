"""Choosing the recipes of a sweep by the records of its trials."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tabulate import tabulate

from harness.config.schema import BenchmarkSpec, Recipe
from harness.format import in_unit, plural
from harness.leaderboard.columns import column_of
from harness.report.words import score_words
from harness.results.live import UnderWay
from harness.results.manifest import Choice, Key, Trial, in_words
from harness.runner.keeping import drop_models
from harness.runner.plan import Pair, Run
from harness.runner.resources import Context
from harness.runner.status import TO_TRAIN, Status, Statuses, record_of
from harness.task.task import Task


def choose(context: Context, trials: Iterable[Run]) -> list[Choice]:
    """What the trials choose, each (task, model) by its present records.

    The best score on the data that ``selection`` names decides, of equal ones the first in the order of the sweep. A
    trial that failed or was pruned is not chosen; nothing is before every trial was made.
    """
    groups: dict[Pair, list[Run]] = {}
    for run in trials:
        if run.trial:
            groups.setdefault(run.pair, []).append(run)
    return [_choice(context, runs) for runs in groups.values()]


def _choice(context: Context, runs: list[Run]) -> Choice:
    task, model, seed = runs[0].label
    made = tuple(
        Trial(values=dict(run.trial), fingerprint=run.fingerprint, record=record_of(context, run)) for run in runs
    )
    lower = runs[0].task.lower_is_better
    suggested = context.suggested.get((task, model))
    ended = suggested is None or suggested.complete or all(trial.record and trial.record.failed for trial in made)
    choice = Choice(
        task=task,
        model=model,
        seed=seed,
        selection=context.spec.selection,
        trials=made,
        lower_is_better=lower,
        planned=len(made) if ended else context.spec.sweep.trials or 0,
    )
    return choice.model_copy(update={"chosen": choice.best()})


def chosen_recipes(trials: Iterable[Run], choices: Iterable[Choice]) -> dict[Pair, Recipe]:
    """The recipe that was chosen for each (task, model)."""
    chosen = {(choice.pair, choice.chosen) for choice in choices}
    return {run.pair: run.recipe for run in trials if (run.pair, run.fingerprint) in chosen}


def manifest_entries(runs: Iterable[Run], choices: Iterable[Choice]) -> dict[Key, str | None]:
    """The fingerprints of the benchmark's runs; None while a sweep has not chosen theirs."""
    waiting = {choice.pair for choice in choices if not choice.settled}
    return {run.label: None if run.pair in waiting else run.fingerprint for run in runs}


def drop_losers(context: Context, trials: Iterable[Run], choices: Iterable[Choice], runs: Iterable[Run]) -> None:
    """Remove the models of trials that were not chosen, where not all models are kept."""
    keep = context.spec.keep
    wanted = {run.fingerprint for run in runs}
    if keep in ("best", "all-seeds"):
        wanted |= {choice.chosen for choice in choices if choice.chosen is not None}
    if keep != "all":
        drop_models(context, (run for run in trials if run.trial and run.fingerprint not in wanted))


def verdict(choice: Choice, task: Task) -> str:
    """A line that says what was chosen, by which score."""
    title, winner, number = f"{choice.task} · {choice.model}", choice.winner, len(choice.trials)
    if winner is None or winner.score is None:
        return f"{title}: none of {number} trials finished: there is no recipe to use for the other seeds"
    data = "held-out training data" if choice.selection == "holdout" else "the validation data"
    score = f"{score_words(column_of(task))} {in_unit(winner.score, choice.lower_is_better)} on {data}"
    equal = sum(str(trial.score) == str(winner.score) for trial in choice.trials)
    if equal > 1:
        return f"{title}: {in_words(winner.values)} is the first of {equal} equally good trials of {number} ({score})"
    return f"{title}: {in_words(winner.values)} is the best of {number} trials ({score})"


def run_table(
    spec: BenchmarkSpec,
    trials: Statuses,
    choices: Sequence[Choice],
    runs: Statuses,
    begun: Mapping[str, UnderWay],
) -> str:
    """All runs of a benchmark, the trials of its sweep first, with what is left to do of each.

    Args:
        begun: the runs that are under way, by fingerprint.
    """
    winners = {(choice.pair, choice.chosen) for choice in choices}
    undecided = {choice.pair for choice in choices if choice.chosen is None}
    unfinished = {run: status for run, status in trials.items() if status is not Status.DONE}
    unknown = [(choice, left) for choice in choices if (left := choice.planned - len(choice.trials)) > 0]
    statuses = {**trials, **runs, **unfinished}
    later = [run for run in runs if run not in trials and run.pair not in undecided]
    rows = [_row(run, statuses[run], begun, (run.pair, run.fingerprint) in winners) for run in trials]
    rows += [
        [*choice.pair, choice.seed, "", "", plural(number, "trial"), "suggested by the results of the others", ""]
        for choice, number in unknown
    ]
    rows += [_row(run, statuses[run], begun) for run in later]
    rows += [
        [*pair, seed, "", "", "", "waits for the sweep", ""]
        for pair in sorted(undecided)
        for seed in spec.seeds
        if seed != spec.first_seed
    ]
    done = sum(statuses[run] in (Status.DONE, Status.PRUNED) for run in (*trials, *later))
    number = len(rows) + sum(number - 1 for _, number in unknown)
    headers = ["task", "model", "seed", "also answers", "starts from", "trial", "state", "fingerprint"]
    if not trials:
        headers, rows = [h for h in headers if h != "trial"], [[*row[:5], *row[6:]] for row in rows]
    return f"{spec.name}: {plural(number, 'run')}, {done} done\n\n{tabulate(rows, headers, tablefmt='simple')}"


def _row(run: Run, status: Status, begun: Mapping[str, UnderWay], chosen: bool = False) -> list[Any]:
    diagnostics = " ".join(task.name for task, _ in run.diagnostics)
    parent = run.parent.task.name if run.parent else ""
    state = status.value + (", chosen" if chosen else "")
    if status in TO_TRAIN and (started := begun.get(run.fingerprint)):
        state = f"{'running' if started.holder else 'stopped'}, step {started.step:,} of {started.about.steps:,}"
    # One that has left nothing yet is not to be found by its fingerprint, which the device may have a part in.
    fingerprint = "" if state == Status.TO_DO.value else run.fingerprint[:12]
    return [*run.label, diagnostics, parent, in_words(run.trial), state, fingerprint]
