"""From a task, a model and a recipe to what a run computes: steps, examples, tokens and FLOPs."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from harness.config.schema import Model, Recipe
from harness.planning.sizes import Size
from harness.planning.work import Work
from harness.results.manifest import Key
from harness.task.functions import instances, training_texts
from harness.task.task import Example, Task
from harness.task.texts import input_text

READ = 300
"""The training examples whose lengths stand for all."""
PIECES = re.compile(r"\w{1,6}|[^\w\s]")
"""About a token each: tokenizers with vocabularies of 30,000 pieces keep common words whole, and cut long ones."""


@dataclass(frozen=True)
class Lengths:
    """What a model reads of an example: ``instances`` texts of so many ``tokens`` each, the longest as ``max_length``
    allows; ``positions`` of the decoder for each. ``guessed``: no data was at hand.
    """

    instances: float
    tokens: float
    positions: float = 1.0
    guessed: bool = False


def lengths_of(task: Task, model: Model, recipe: Recipe, examples: Iterable[Example]) -> Lengths:
    """The mean lengths of the first `READ` examples; without any, every text counts as the longest."""
    texts: list[tuple[int, int]] = []
    number = 0
    for example in islice(examples, READ):
        number += 1
        texts += _texts(task, model, example)
    if not texts:
        return Lengths(1.0, float(recipe.max_length), 2.0 if model.generates else 1.0, guessed=True)
    tokens = sum(min(tokens, recipe.max_length) for tokens, _ in texts) / len(texts)
    return Lengths(len(texts) / number, tokens, sum(positions for _, positions in texts) / len(texts))


def tokens_in(text: str) -> int:
    """About how many tokens a text has, without a tokenizer."""
    return len(PIECES.findall(text))


def _texts(task: Task, model: Model, example: Example) -> list[tuple[int, int]]:
    """(tokens, positions of the decoder) of each text."""
    if model.generates:
        return [(tokens_in(text) + 1, tokens_in(answer) + 1) for text, answer in training_texts(task, example)]
    texts = []
    for instance in instances(task, example):
        prefix = bool(getattr(model, "prefix", False))
        text = input_text(task, instance) if prefix else " ".join(instance.fields.values())
        labels = len(instance.words) if task.problem.of_words else len(task.labels)
        positions = labels if task.problem.of_words or task.problem.independent_labels else 1
        texts.append((tokens_in(text) + 1 + len(instance.fields), max(1, positions)))
    return texts


def work_of(
    key: Key,
    recipe: Recipe,
    examples: int,
    evaluated: int,
    selected_on: int,
    lengths: Lengths,
    size: Size | None,
    after: Key | None = None,
) -> Work:
    """What a run computes.

    Args:
        key: (task, model, seed).
        recipe: its hyper-parameters.
        examples: of the training data.
        evaluated: those that are answered once, by the best checkpoint.
        selected_on: those that are answered at each evaluation.
        lengths: of its texts.
        size: of its model.
        after: the run whose model it starts from.
    """
    batch = recipe.batch_size
    if recipe.batch_tokens is not None:
        batch = max(1, int(recipe.batch_tokens / (lengths.tokens * lengths.instances)))
    updates = max(1, -(-examples // batch))
    steps = recipe.max_steps or max(recipe.min_steps or 1, math.ceil(recipe.epochs * updates))
    epochs, rest = divmod(steps, updates)
    task, model, seed = key
    return Work(
        task=task,
        model=model,
        seed=seed,
        steps=steps,
        examples=epochs * examples + min(examples, rest * batch),
        evaluated=evaluated + selected_on * (1 + _evaluations(recipe, steps, updates)),
        flops=None if size is None else lengths.instances * size.training(lengths.tokens, lengths.positions),
        parameters=None if size is None else size.parameters,
        optimizer=recipe.optimizer,
        stops_early=recipe.patience is not None,
        after=after,
        guessed=lengths.guessed,
    )


def _evaluations(recipe: Recipe, steps: int, updates: int) -> int:
    if recipe.eval_every is None:
        return min(recipe.evaluations, steps)
    every = updates if recipe.eval_every == "epoch" else recipe.eval_every
    return -(-steps // every)
