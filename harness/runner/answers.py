"""What a trained model answers: the evaluations of its best and its last checkpoint, and predictions of the tests."""

from __future__ import annotations

from harness.runner.plan import Run
from harness.runner.resources import Context
from harness.training.evaluation import Evaluation, Split
from harness.training.loop import RunState, measure
from harness.training.update import Training

Evaluated = list[tuple[Split, Evaluation]]
Scores = dict[str, dict[str, dict[str, float]]]
"""``scores[task][split][metric]``."""


def last_scores(context: Context, run: Run, training: Training, state: RunState) -> Scores:
    """The scores of the last checkpoint, which is what the model is now; {} where it is the best one, too."""
    if state.best.step == training.step:
        return {}
    scores: Scores = {}
    for task, name in run.evaluated:
        made = state.history[-1]["scores"].get(name) if task is run.task else None
        if made is None:
            split = context.resources.evaluated(training.architecture, task, name)
            made = measure(training, state, split, state.threshold).scores
        scores.setdefault(task.name, {})[name] = made
    return scores


def final_evaluations(context: Context, run: Run, training: Training, state: RunState) -> Evaluated:
    """All that the record holds predictions of, from the best checkpoint, which is what the model is now."""
    evaluated: Evaluated = []
    for task, name in run.evaluated:
        split = context.resources.evaluated(training.architecture, task, name)
        made = state.best.evaluations.get(name) if task is run.task else None
        evaluated.append((split, made or measure(training, state, split, state.best.threshold)))
    return evaluated


def predict_tests(context: Context, run: Run, training: Training, state: RunState) -> Evaluated:
    """The answers to the test splits that exist: the task's own and its diagnostics'."""
    splits = (context.resources.evaluated(training.architecture, task, name) for task, name in run.tests)
    return [(split, measure(training, state, split, state.best.threshold)) for split in splits]
