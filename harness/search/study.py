"""A search as Optuna sees it: made anew from what was tried, each time that something is asked of it.

Nothing is kept but the records of trials. Recipes are suggested in rounds: those of a round follow from the results of
the rounds before it, so that they are the same whatever is done at the same time, in whichever order it ends.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.config.recipe import Recipe
from harness.config.sweep import Range, Values
from harness.errors import HarnessError

ROUND = 4
"""Recipes that are suggested together. Those of the first round are spread over the ranges; none of them is pruned."""
LEAST_EVALUATIONS = 2
"""No trial is pruned before so many evaluations: the first one is still in the warm-up."""
ASKS, DRAWS = 20, 300
"""How often another suggestion is asked for, and then drawn at random, where one was tried before."""
DIGITS = 3
"""Suggested numbers have so many, where the range is wide enough: people read them, and type them again."""


@dataclass(frozen=True)
class Tried:
    """A trial that was made.

    Args:
        values: what was tried, by recipe key.
        curve: the selection score of each evaluation; NaN where it is undefined.
        score: the best one of a trial that finished; None: it was pruned, failed, or its score is undefined.
    """

    values: Mapping[str, Any]
    curve: tuple[float, ...] = ()
    score: float | None = None


@dataclass(frozen=True)
class Suggested:
    """What a search has suggested so far, in order.

    Args:
        values: what is tried, by recipe key.
        recipes: the whole recipe of each.
        complete: whether no others follow.
    """

    values: tuple[Mapping[str, Any], ...] = ()
    recipes: tuple[Recipe, ...] = ()
    complete: bool = False


def check_installed() -> None:
    """Refuse a search where Optuna is not installed.

    Raises:
        HarnessError: what to install.
    """
    if importlib.util.find_spec("optuna") is None:
        raise HarnessError('sweep: trials are suggested by optuna, which is not installed: '
                           'pip install "enct5-harness[search]"')  # fmt: skip


def suggest(
    space: Mapping[str, Values],
    tried: Sequence[Tried],
    seed: int,
    lower_is_better: bool,
    accepts: Callable[[Mapping[str, Any]], bool],
) -> list[dict[str, Any]]:
    """The values of the next round, by the tree-structured Parzen estimator (Bergstra et al. 2011).

    The first round is a Latin hypercube: each quarter of a range has one of its values.

    Args:
        space: the values or the range of each key.
        tried: all trials of the rounds before.
        seed: the same one gives the same suggestions.
        lower_is_better: whether the score is an error.
        accepts: whether values are new; is asked once for each suggestion that is given.

    Returns:
        `ROUND` suggestions; fewer where nothing new is found.
    """
    optuna = _optuna()
    [own] = np.random.SeedSequence([seed, len(tried)]).generate_state(1)
    sampler = optuna.samplers.TPESampler(seed=int(own), n_startup_trials=ROUND)
    study = optuna.create_study(sampler=sampler, direction="minimize" if lower_is_better else "maximize")
    distributions = {key: _distribution(optuna, values) for key, values in space.items()}
    study.add_trials([_as_trial(optuna, trial, distributions) for trial in tried])
    drawn = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=int(own)))
    first = [] if tried else _spread(space, int(own))
    suggestions = [values for values in first if accepts(values)]
    attempts = [study] * (ASKS if tried else 0) + [drawn] * DRAWS
    while len(suggestions) < ROUND:
        asked = (attempt.ask(distributions).params for attempt in attempts)
        new = ({key: _rounded(values[key], space[key]) for key in space} for values in asked)
        found = next((values for values in new if accepts(values)), None)
        if found is None:
            break
        suggestions.append(found)
    return suggestions


def _spread(space: Mapping[str, Values], seed: int) -> list[dict[str, Any]]:
    """As many values as a round has, evenly spread over each key's, in random combinations."""
    from scipy.stats.qmc import LatinHypercube  # takes a second

    shares = LatinHypercube(len(space), rng=np.random.default_rng(seed)).random(ROUND)
    return [{key: _at(float(share), space[key]) for key, share in zip(space, row, strict=True)} for row in shares]


def _at(share: float, values: Values) -> Any:
    """The value at a share, from 0 to below 1, of what a key may have."""
    if not isinstance(values, Range):
        return values[int(share * len(values))]
    low, high = (values.low - 0.5, values.high + 0.5) if values.whole else (values.low, values.high)
    value = low * (high / low) ** share if values.log else low + (high - low) * share
    return min(max(round(value), values.low), values.high) if values.whole else _rounded(value, values)


def is_hopeless(curve: Sequence[float], others: Iterable[Sequence[float]], lower_is_better: bool) -> bool:
    """Whether a trial is worth no more updates: its best score so far is worse than the median of others by now.

    Args:
        curve: the selection score of each of its evaluations.
        others: the same of the finished trials of earlier rounds.
        lower_is_better: whether the score is an error.
    """
    finished = [other for other in others if len(other) >= len(curve)]
    if len(curve) < LEAST_EVALUATIONS or len(finished) < ROUND:
        return False
    optuna = _optuna()
    pruner = optuna.pruners.MedianPruner(n_startup_trials=ROUND, n_min_trials=ROUND)
    study = optuna.create_study(direction="minimize" if lower_is_better else "maximize")
    study.add_trials([optuna.trial.create_trial(value=0.0, intermediate_values=_points(other)) for other in finished])
    trial = optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING, intermediate_values=_points(curve))
    return bool(pruner.prune(study, trial))


def _optuna() -> Any:
    check_installed()
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _points(curve: Sequence[float]) -> dict[int, float]:
    """A learning curve by the number of the evaluation, without undefined scores."""
    return {number: score for number, score in enumerate(curve, 1) if not math.isnan(score)}


def _distribution(optuna: Any, values: Values) -> Any:
    if not isinstance(values, Range):
        return optuna.distributions.CategoricalDistribution(values)
    if values.whole:
        return optuna.distributions.IntDistribution(int(values.low), int(values.high), log=values.log)
    return optuna.distributions.FloatDistribution(values.low, values.high, log=values.log)


def _as_trial(optuna: Any, trial: Tried, distributions: Mapping[str, Any]) -> Any:
    """A trial for Optuna. One that failed counts as pruned before its first evaluation, which is the worst result."""
    state = optuna.trial.TrialState.PRUNED if trial.score is None else optuna.trial.TrialState.COMPLETE
    return optuna.trial.create_trial(
        state=state,
        value=trial.score,
        params=dict(trial.values),
        distributions=dict(distributions),
        intermediate_values=_points(trial.curve),
    )


def _rounded(value: Any, values: Values) -> Any:
    """A number with few digits, but never beyond its range."""
    if not isinstance(values, Range) or values.whole or values.high - values.low < 0.1 * values.high:
        return value
    return min(max(float(f"{value:.{DIGITS}g}"), values.low), values.high)
