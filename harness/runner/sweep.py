"""Choosing the recipes of a sweep by the records of its trials."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tabulate import tabulate

from harness.config.schema import Recipe
from harness.io import remove
from harness.results.manifest import Choice, Trial, in_words
from harness.results.store import Key
from harness.runner.plan import Pair
from harness.runner.queue import Identity, Work
from harness.runner.runs import Run


def choose(trials: Work) -> list[Choice]:
    """What the trials choose, each (task, model) by the records that are there now.

    The best score on the data that ``selection`` names decides, of equal ones the first in the order of the sweep. A
    trial that failed is not chosen; nothing is before every trial was made.
    """
    groups: dict[Pair, list[Run]] = {}
    for run in trials.runs:
        if run.trial:
            groups.setdefault(run.pair, []).append(run)
    return [_choice(runs, trials) for runs in groups.values()]


def _choice(runs: list[Run], trials: Work) -> Choice:
    task, model, seed = runs[0].key
    made = tuple(Trial(values=dict(run.trial), fingerprint=run.fingerprint, record=trials.record(run)) for run in runs)
    selection = trials.session.spec.selection
    choice = Choice(task=task, model=model, seed=seed, selection=selection, trials=made)
    return choice.model_copy(update={"chosen": choice.best()})


def recipes(trials: Work, choices: Iterable[Choice]) -> dict[Pair, Recipe]:
    """The recipes that were chosen."""
    chosen = {(choice.pair, choice.chosen) for choice in choices}
    return {run.pair: run.recipe for run in trials.runs if (run.pair, run.fingerprint) in chosen}


def manifest_entries(runs: Iterable[Run], choices: Iterable[Choice]) -> dict[Key, str | None]:
    """The fingerprints of the benchmark's runs; None while a sweep has not chosen theirs."""
    waiting = {choice.pair for choice in choices if not choice.settled}
    return {run.key: None if run.pair in waiting else run.fingerprint for run in runs}


def drop_losers(trials: Work, choices: Iterable[Choice], work: Work) -> None:
    """Remove the models of trials that were not chosen, where not all models are kept."""
    keep = trials.session.spec.keep
    wanted = {run.fingerprint for run in work.runs}
    if keep == "best":
        wanted |= {choice.chosen for choice in choices if choice.chosen is not None}
    for run in trials.runs:
        if run.trial and keep != "all" and run.fingerprint not in wanted:
            remove(trials.weights(run))


def verdict(choice: Choice) -> str:
    """A line that tells what was chosen."""
    title, winner, number = f"{choice.task} · {choice.model}", choice.winner, len(choice.trials)
    if winner is None or winner.score is None:
        return f"{title}: none of {number} trials finished: there is no recipe to go on with"
    data = "held-out training data" if choice.selection == "holdout" else "the validation data"
    score = f"{100 * winner.score:.1f} on {data}"
    equal = sum(trial.score == winner.score for trial in choice.trials)
    if equal > 1:
        return f"{title}: {in_words(winner.values)} is the first of {equal} equally good trials of {number} ({score})"
    return f"{title}: {in_words(winner.values)} is the best of {number} trials ({score})"


def run_table(trials: Work, choices: Sequence[Choice], work: Work) -> str:
    """All runs of a benchmark, the trials of its sweep first, with what is left to do of each."""
    spec = work.session.spec
    winners = {(choice.pair, choice.chosen) for choice in choices}
    unknown = {choice.pair for choice in choices if choice.chosen is None}
    tried = {run.identity for run in trials.runs}
    left = {key: state for key, state in trials.states.items() if state != "done"}
    states = {**trials.states, **work.states, **left}
    rows = [_row(run, states, (run.pair, run.fingerprint) in winners) for run in trials.runs]
    later = [run for run in work.runs if run.identity not in tried and run.pair not in unknown]
    rows += [_row(run, states) for run in later]
    rows += [
        [*pair, seed, "", "", "", "waits for the sweep", ""]
        for pair in sorted(unknown)
        for seed in spec.seeds
        if seed != spec.first_seed
    ]
    done = sum(states[run.identity] == "done" for run in (*trials.runs, *later))
    headers = ["task", "model", "seed", "also answers", "starts from", "trial", "state", "fingerprint"]
    if not trials.runs:
        headers, rows = [h for h in headers if h != "trial"], [[*row[:5], *row[6:]] for row in rows]
    return f"{spec.name}: {len(rows)} runs, {done} done\n\n{tabulate(rows, headers, tablefmt='simple')}"


def _row(run: Run, states: Mapping[Identity, str], chosen: bool = False) -> list[Any]:
    diagnostics = " ".join(task.name for task, _ in run.diagnostics)
    parent = run.parent.task.name if run.parent else ""
    state = states[run.identity] + (", chosen" if chosen else "")
    return [*run.key, diagnostics, parent, in_words(run.trial), state, run.fingerprint[:12]]
