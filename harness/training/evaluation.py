"""From a trained model to predictions and scores, and the threshold of multi-label predictions."""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import nn

from harness.data.features import Features
from harness.models import Architecture
from harness.task.baseline import label_names
from harness.task.functions import clipped, cluster_of, decide, metric_inputs, parse
from harness.task.metrics import OF_SCORES, compute_metrics
from harness.task.task import Example, Task, is_unlabelled
from harness.training.batching import deal, evaluation_batches
from harness.training.update import Training, memory_errors

PASSES = 2
"""An evaluation batch has at most the tokens of a micro-batch of training, divided by this."""
SCORE_DIGITS = 7
"""Records keep so many significant digits of a model's scores."""
CPU_TOKENS = 2048
"""And at most so many on a CPU, whose caches hold the states of no more."""


class Answering(Protocol):
    """What answers take of a training, or of a model that was trained before."""

    @property
    def architecture(self) -> Architecture: ...
    @property
    def accelerator(self) -> Accelerator: ...
    @property
    def module(self) -> nn.Module: ...
    @property
    def micro_batch_tokens(self) -> int: ...

    def autocast(self) -> contextlib.AbstractContextManager[None]:
        """The context in which the model computes."""


@dataclass(frozen=True)
class Split:
    """A part of a task's data that a model is evaluated on: the examples, and what the model reads of them."""

    task: Task
    name: str
    examples: Sequence[Example]
    features: Features


@dataclass(frozen=True)
class Evaluation:
    """The answers of a model on one split: per example a prediction and what it came from (scores or a text)."""

    predictions: list[Any]
    outputs: list[Any]
    invalid: int
    scores: dict[str, float]
    """Metric name to fraction; empty for an unlabelled split."""
    unread: int = 0
    """Token classification: the words that a scoring model did not read, which are predicted to be outside."""

    def state_dict(self) -> dict[str, Any]:
        """Plain data and at most one array."""
        if all(isinstance(output, str) for output in self.outputs):
            return dict(vars(self))
        rows = {"rows": np.concatenate(self.outputs), "sizes": [len(output) for output in self.outputs]}
        return {**vars(self), "outputs": rows}

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> Evaluation:
        """What `state_dict` gave."""
        outputs = state["outputs"]
        if isinstance(outputs, Mapping):
            outputs = np.split(np.asarray(outputs["rows"]), np.cumsum(outputs["sizes"])[:-1])
        return cls(**{**state, "outputs": outputs})


def evaluate(
    training: Training, task: Task, examples: Sequence[Example], features: Features, threshold: float = 0.5
) -> Evaluation:
    """Predict every example once, over all processes, and score the predictions.

    Args:
        threshold: the probability from which on a label is predicted (multi-label scores).
    """
    outputs = model_outputs(training, features)
    predictions = decided(task, training.architecture, outputs, examples, threshold)
    invalid = sum(prediction is None for prediction in predictions)
    predictions = [task.invalid_prediction if prediction is None else prediction for prediction in predictions]
    words = task.problem.of_words and not training.architecture.generates
    unread = sum(int(np.isnan(output[:, 0]).sum()) for output in outputs) if words else 0
    return Evaluation(predictions, outputs, invalid, score(task, examples, predictions, outputs), unread)


def decided(
    task: Task, architecture: Architecture, outputs: Sequence[Any], examples: Sequence[Example], threshold: float = 0.5
) -> list[Any]:
    """What a model's outputs (scores or texts) mean, example by example; None for a text that stands for no answer."""
    read = parse if architecture.generates else decide
    shift = task.has_threshold and not architecture.generates
    answers = [shifted(output, threshold) for output in outputs] if shift else outputs
    predictions = [read(task, answer, example) for answer, example in zip(answers, examples, strict=True)]
    return [clipped(task, prediction) for prediction in predictions] if architecture.model.clip else predictions


def score(
    task: Task, examples: Sequence[Example], predictions: Sequence[Any], outputs: Sequence[Any] = ()
) -> dict[str, float]:
    """The task's metrics; nothing when the examples are unlabelled.

    Args:
        outputs: what the predictions came from: scores, which some metrics read as records keep them, or texts.
    """
    if any(is_unlabelled(task, example) for example in examples):
        return {}
    pairs = [metric_inputs(task, p, example) for p, example in zip(predictions, examples, strict=True)]
    wanted = set(OF_SCORES) & set(task.metrics) and outputs and not isinstance(outputs[0], str)
    scores = [_rounded(np.asarray(output).tolist(), SCORE_DIGITS) for output in outputs] if wanted else None
    return compute_metrics(task.metrics, [p for p, _ in pairs], [r for _, r in pairs], scores)


@contextlib.contextmanager
def predicting(training: Answering) -> Iterator[nn.Module]:
    """The model in evaluation mode and the recipe's precision; within, its weights have to stay as they are."""
    module: Any = training.accelerator.unwrap_model(training.module).eval()
    fixed = getattr(module, "fixed_weights", contextlib.nullcontext)  # EncT5 computes what depends on them alone once
    # By no_grad, because inference_mode switches off autocast's cache: every batch would convert all weights anew.
    with torch.no_grad(), training.autocast(), fixed():
        yield module


def model_outputs(training: Answering, features: Features) -> list[Any]:
    """The model's output for each group, in order.

    Batches are composed for all processes together and dealt whole, so the number of processes changes no number.
    """
    architecture, accelerator = training.architecture, training.accelerator
    batches = evaluation_batches(features.lengths, features.sizes, batch_tokens(training))
    mine: list[tuple[int, Any]] = []
    with predicting(training) as module:  # around all batches: weights are converted once
        for groups in deal(batches, accelerator.process_index, accelerator.num_processes):
            batch = architecture.collate(features, groups.tolist())
            with memory_errors(batch, PASSES):
                outputs = architecture.predict(module, batch.to(accelerator.device))
            mine += zip(groups.tolist(), outputs, strict=True)
    answers = dict(gather_object(mine) if accelerator.num_processes > 1 else mine)
    return [answers[group] for group in range(len(features))]


def batch_tokens(training: Answering) -> int:
    """The most padded tokens of an evaluation batch."""
    tokens = max(1, training.micro_batch_tokens // PASSES)
    return min(tokens, CPU_TOKENS) if training.accelerator.device.type == "cpu" else tokens


def prediction_rows(split: Split, evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    """One line of predictions.jsonl per example; those that belong together have the index of the first of them."""
    task = split.task
    clusters = [cluster_of(task, example) for example in split.examples]
    sizes, first = Counter(clusters), {name: i for i, name in reversed([*enumerate(clusters)])}
    for i, example in enumerate(split.examples):
        label = None if is_unlabelled(task, example) else example[task.label_field]
        row = {"task": task.name, "split": split.name, "index": i, "idx": example.get("idx"), "label": label}
        together = {"cluster": first[clusters[i]]} if sizes[clusters[i]] > 1 else {}
        prediction = evaluation.predictions[i]
        names = {"label_name": label_names(task, label), "prediction_name": label_names(task, prediction)}
        named = names if task.problem.has_labels else {}
        yield {**row, **together, "prediction": prediction, **named, **plain(task, evaluation.outputs[i])}


def plain(task: Task, output: Any) -> dict[str, Any]:
    """An output as JSON: a generated ``output``, or ``scores`` to 7 significant digits and ``probabilities`` to 4."""
    if isinstance(output, str):
        return {"output": output}
    scores = np.asarray(output).tolist()
    probabilities = task.problem.probabilities(scores)
    given = {} if probabilities is None else {"probabilities": _rounded(probabilities, 4)}
    return {"scores": _rounded(scores, SCORE_DIGITS), **given}


def _rounded(rows: Sequence[Sequence[float]], digits: int) -> list[list[float]]:
    return [[rounded(value, digits) for value in row] for row in rows]


def rounded(value: float, digits: int) -> float:
    """A number to so many significant digits."""
    return float(f"{value:.{digits}g}")


def tuned_threshold(scores: Sequence[np.ndarray], labels: Sequence[Sequence[int]]) -> float:
    """The threshold, one for all labels, with the best micro-F1 on these examples; 0.5 where no label is right.

    It lies half-way, in logits, between the last score above it and the first below; of equally good ones the
    highest is taken.

    Args:
        scores: logits ``(1, labels)`` of each example.
        labels: the indices of each example's labels.
    """
    logits = np.concatenate(scores).astype(np.float64)
    right = np.zeros(logits.shape, dtype=bool)
    for row, own in enumerate(labels):
        right[row, list(own)] = True
    if not right.any():
        return 0.5
    order = np.argsort(-logits, axis=None, kind="stable")
    ordered, hits = logits.ravel()[order], np.cumsum(right.ravel()[order])
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + right.sum())
    f1[:-1][ordered[:-1] == ordered[1:]] = -1.0  # no threshold parts equal scores
    last = int(np.argmax(f1))
    below = ordered[last + 1] if last + 1 < len(ordered) else ordered[last] - 2.0
    # A probability beyond these is 0 or 1 in floating point, from which no logit comes back.
    return 1 / (1 + math.exp(-min(max((ordered[last] + below) / 2, -30.0), 30.0)))


def shifted(scores: np.ndarray, threshold: float) -> np.ndarray:
    """Logits moved so that 0 stands for the threshold, as it otherwise does for a probability of one half."""
    return scores if threshold == 0.5 else scores - math.log(threshold / (1 - threshold))
