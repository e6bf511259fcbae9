"""Which trials a search makes: suggested round by round from the records of those before, and when one ends early.

A search has no state of its own: the same file and the same records give the same trials, whichever process asks.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from harness.config.recipe import Recipe
from harness.io import number
from harness.results.record import Point, Record
from harness.runner.diagnostics import settled
from harness.runner.plan import Pair, Run, resolved_recipes, trials
from harness.runner.processes import shared, together
from harness.runner.resources import Context
from harness.search.study import ROUND, Suggested, Tried, is_hopeless, suggest


def trials_of(context: Context) -> list[Run]:
    """The runs that choose the recipes of a sweep: of a search those of all rounds that can be known by now.

    Raises:
        HarnessError: as `harness.runner.plan.expand`, or Optuna is not installed.
    """
    runs = _known_trials(context) if context.suggested else []
    while new := _next_rounds(context, runs):
        context.suggested.update(new)
        runs = _known_trials(context)
    return runs or _known_trials(context)


def _known_trials(context: Context) -> list[Run]:
    """The trials of grids, and those that searches have suggested so far, each with those of the rounds before."""
    accelerator = context.accelerator
    runs = together(
        accelerator, lambda: trials(context.file, context.resources, accelerator.device, recipes_of(context))
    )
    return _with_rivals(context, settled(context, runs, retrain=False, models=False))


def recipes_of(context: Context) -> dict[Pair, tuple[Recipe, ...]]:
    """The recipes that searches have suggested so far."""
    return {pair: suggested.recipes for pair, suggested in context.suggested.items()}


def _with_rivals(context: Context, runs: Iterable[Run]) -> list[Run]:
    """Each trial of a search with those of the rounds before."""
    own: dict[Pair, list[str]] = {pair: [] for pair in context.suggested}
    result = []
    for run in runs:
        if run.trial and run.pair in own:
            before = own[run.pair]
            rivals = tuple(before[: len(before) // ROUND * ROUND]) if context.spec.sweep.prune else ()
            before.append(run.fingerprint)
            run = replace(run, rivals=rivals)
        result.append(run)
    return result


def _next_rounds(context: Context, runs: Iterable[Run]) -> dict[Pair, Suggested]:
    """Of each search whose rounds so far are made, what is suggested with the next one; the same in all processes."""
    new = together(context.accelerator, lambda: dict(_rounds(context, runs)) if context.main else {})
    return shared(context.accelerator, new)


def _rounds(context: Context, runs: Iterable[Run]) -> Iterator[tuple[Pair, Suggested]]:
    spec = context.spec
    made: dict[Pair, list[Run]] = {}
    for run in runs:
        if run.rivals is not None:
            made.setdefault(run.pair, []).append(run)
    for pair in itertools.product(spec.trained, spec.models):
        before = context.suggested.get(pair, Suggested())
        if before.complete or not spec.is_searched(*pair):
            continue
        tried = _tried(context, made.get(pair, []), before)
        if tried or not before.recipes:
            yield pair, _with_round(context, pair, before, tried)


def _tried(context: Context, runs: Sequence[Run], suggested: Suggested) -> list[Tried]:
    """What the trials gave; none where one of them has no record yet, or all failed: there is nothing to learn from."""
    records = [record_of_trial(context, run) for run in runs]
    made = [record for record in records if record is not None]
    if len(made) < len(suggested.recipes) or all(record.failed for record in made):
        return []
    return [_tried_of(record, values) for record, values in zip(made, suggested.values, strict=True)]


def _tried_of(record: Record, values: Mapping[str, Any]) -> Tried:
    """A trial as the search sees it."""
    if record.failed:
        return Tried(values)
    score = record.selection_score if record.finished else None
    return Tried(values, curve_of(record.history()), None if score is None or math.isnan(score) else score)


def _with_round(context: Context, pair: Pair, before: Suggested, tried: Sequence[Tried]) -> Suggested:
    """The suggestions with those of the next round."""
    spec, resources, device = context.spec, context.resources, context.accelerator.device
    task, model = context.file.tasks[pair[0]], context.file.models[pair[1]]
    space, most = spec.space(*pair), spec.sweep.trials or 0
    recipes: dict[str, Recipe] = {}

    def accepts(values: Mapping[str, Any]) -> bool:
        recipe = spec.recipe_for(*pair, spec.sweep.at(*pair, values))
        [resolved] = resolved_recipes(resources, device, task, model, [recipe])
        key = resolved.model_dump_json()
        if key in seen or key in recipes:
            return False
        recipes[key] = recipe
        return True

    seen = {r.model_dump_json() for r in resolved_recipes(resources, device, task, model, before.recipes)}
    values = suggest(space, tried, spec.first_seed, task.lower_is_better, accepts)
    every = (*before.recipes, *recipes.values())[:most]
    complete = len(every) == most or len(values) < ROUND
    return Suggested((*before.values, *values)[:most], every, complete)


def record_of_trial(context: Context, run: Run) -> Record | None:
    """The run's record, finished or failed; a pruned one only where this run would have been pruned, too."""
    record = context.store.find(run.fingerprint, *run.label)
    if record is None or not record.pruned:
        return record
    return record if _is_hopeless(context, run, curve_of(record.history())) else None


def should_end(context: Context, run: Run, history: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a trial of a search is pruned after its last evaluation; the same in all processes."""
    if not run.rivals:
        return False
    return shared(context.accelerator, context.main and _is_hopeless(context, run, curve_of(history)))


def _is_hopeless(context: Context, run: Run, curve: Sequence[float]) -> bool:
    others = [_curve_of_trial(context, run, fingerprint) for fingerprint in run.rivals or ()]
    return is_hopeless(curve, filter(None, others), run.task.lower_is_better)


def _curve_of_trial(context: Context, run: Run, fingerprint: str) -> tuple[float, ...]:
    """The learning curve of another trial; () of one that did not finish."""
    if fingerprint not in context.curves:
        record = context.store.find(fingerprint, *run.label)
        if record is None:
            return ()
        context.curves[fingerprint] = curve_of(record.history()) if record.finished else ()
    return context.curves[fingerprint]


def curve_of(history: Iterable[Mapping[str, Any] | Point]) -> tuple[float, ...]:
    """The selection score of each evaluation after the first update."""
    return tuple(number(row["selection_score"]) for row in history if "selection_score" in row and row["step"] > 0)
