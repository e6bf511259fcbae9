"""A trained model at work: what an answer takes, how long one waits for it, how many come in a second."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from harness.data.features import Features
from harness.models import Architecture
from harness.task.task import Example
from harness.training.device import synchronize
from harness.training.evaluation import predicting
from harness.training.flops import TRAINING_PASSES, count_flops, tokens_per_group, typical
from harness.training.update import OutOfMemory, Training, memory_errors

SIZES = (1, 8, 32, 128)
"""Examples in a batch, the same for all models, whatever they are trained with."""
LATENCIES = 50
"""Single answers from which on there is a p95, and of which there are at most four times as many."""
LEAST = 5
"""Single answers that are measured whatever they take."""
WARM_UP = 3
BATCHES = 10
"""Batches of a size that are measured, at most."""
TEXTS = 1000
"""Examples that are tokenised, at most."""


class Inference:
    """A trained model at work on the examples of an evaluation split, in the precision of its training.

    Args:
        training: holds the model.
        features: what it reads.
    """

    def __init__(self, training: Training, features: Features):
        self.training, self.features = training, features
        self.architecture: Architecture = training.architecture
        self.module = training.accelerator.unwrap_model(training.module).eval()

    @torch.no_grad()
    def answer(self, groups: Sequence[int]) -> None:
        """From features to answers in the memory of the processor, in one pass.

        Raises:
            OutOfMemory: it does not fit.
        """
        batch = self.architecture.collate(self.features, list(groups))
        with memory_errors(batch), self.training.autocast():
            self.architecture.predict(self.module, batch.to(self.training.accelerator.device))
        synchronize(self.training.accelerator.device)

    def seconds(self, groups: Sequence[int]) -> float:
        """How long an answer takes."""
        started = time.perf_counter()
        self.answer(groups)
        return time.perf_counter() - started

    def flops(self) -> dict[str, int]:
        """FLOPs for one example of mean length: an answer (all that is generated), and a training step."""

        @torch.no_grad()
        def loss() -> None:
            training = self.training
            batch = self.architecture.collate(training.features, [typical(training.features)])
            with training.autocast():
                self.architecture.loss(self.module, batch.to(training.accelerator.device))

        return {
            "flops_per_example": count_flops(lambda: self.answer([typical(self.features)])),
            "train_flops_per_example": TRAINING_PASSES * count_flops(loss),
        }

    def latencies(self, seconds: float) -> list[float]:
        """The seconds from one example to its answer, over examples of all lengths; takes about so many ``seconds``.

        Fewer than `LATENCIES` only where there is no time for more.
        """
        example = [typical(self.features)]
        once = min(self.seconds(example) for _ in range(WARM_UP))
        number = int(min(4 * LATENCIES, max(LEAST, seconds / max(once, 1e-9))))
        order = np.argsort(self.features.lengths, kind="stable")
        chosen = order[np.linspace(0, len(order) - 1, number).round().astype(int)]
        return [self.seconds([group]) for group in chosen.tolist()]

    def rates(self, single: float, seconds: float) -> dict[str, float | None]:
        """Examples per second by the examples in a batch; takes about so many ``seconds``.

        Args:
            single: seconds for an example in a batch of its own, from `latencies`.
            seconds: a size for which no time is left has no rate.
        """
        rates: dict[str, float | None] = {"1": 1 / max(single, 1e-9)}
        end, shortest = time.perf_counter() + seconds, single
        for size in SIZES[1:]:
            left = end - time.perf_counter()
            share = left * size / sum(other for other in SIZES if other >= size)
            # A batch takes as long as a smaller one, at least.
            taken = self._seconds_of_batch(size, share) if left > shortest else None
            rates[str(size)] = None if taken is None else size / max(taken, 1e-9)
            shortest = taken or shortest
        return rates

    def _seconds_of_batch(self, size: int, seconds: float) -> float | None:
        """The mean time of a batch; None where one does not fit in memory."""
        batches, tokens = self.batches(size)
        if self.training.accelerator.device.type == "cpu" and max(tokens) > self.training.plan.micro_batch_tokens:
            return None  # where memory ends, a system may kill the process
        mean = int(np.abs(np.asarray(tokens) - np.mean(tokens)).argmin())
        try:
            first = self.seconds(batches[mean])
            number = min(BATCHES, len(batches), int(seconds / max(first, 1e-9)) - 1)
            middles = (np.arange(max(number, 0)) + 0.5) / max(number, 1) * len(batches)
            times = [self.seconds(batches[i]) for i in middles.astype(int)]
        except OutOfMemory:
            return None
        return float(np.mean(times)) if times else first

    def batches(self, size: int) -> tuple[list[list[int]], list[int]]:
        """Batches of ``size`` random examples, of similar length as in an evaluation, and the padded tokens of each.

        A split with fewer examples has them several times.
        """
        number = len(self.features)
        order = np.random.default_rng(0).permutation(number)
        order = np.resize(order, max(1, number // size) * size)
        order = order[np.argsort(self.features.lengths[order], kind="stable")]
        batches = order.reshape(-1, size)
        tokens = self.features.lengths[batches].max(axis=1) * self.features.sizes[batches].sum(axis=1)
        return batches.tolist(), tokens.tolist()

    def tokenisation(self, examples: Sequence[Example], seconds: float) -> float:
        """Examples per second that become features; takes about so many ``seconds``."""
        order = np.random.default_rng(0).permutation(len(examples))

        def taken(number: int) -> float:
            chosen = [examples[i] for i in np.resize(order, number).tolist()]
            started = time.perf_counter()
            for _ in self.architecture.groups(chosen, training=False):
                pass
            return time.perf_counter() - started

        once = min(taken(LEAST) for _ in range(WARM_UP)) / LEAST
        number = int(min(TEXTS, max(LEAST, seconds / max(once, 1e-9))))
        return number / max(taken(number), 1e-9)


def measured(training: Training, features: Features, examples: Sequence[Example], seconds: float) -> dict[str, Any]:
    """Latency and rates of a trained model: what the clock decides; takes about so many ``seconds``.

    Only one process needs to call this: it starts no exchange with others.

    Args:
        training: holds the model.
        features: of an evaluation split.
        examples: the same, as they come from the data.
        seconds: half of them for single answers.
    """
    inference, started = Inference(training, features), time.perf_counter()
    tokenisation = inference.tokenisation(examples, seconds / 10)
    with predicting(training):
        times = inference.latencies(seconds / 2)
        left = seconds - (time.perf_counter() - started)
        rates = inference.rates(float(np.mean(times)), max(left, 0.4 * seconds))
    p50, p95 = np.percentile(times, [50, 95]).tolist()
    return {
        "latency_p50_seconds": p50,
        "latency_p95_seconds": p95 if len(times) >= LATENCIES else None,
        "latency_examples": len(times),
        "inference_rates": rates,
        "tokenisation_examples_per_second": tokenisation,
    }


def counted(training: Training, features: Features) -> dict[str, Any]:
    """FLOPs and lengths: what no clock decides; the same for all seeds."""
    return {**Inference(training, features).flops(), "tokens_per_example": float(tokens_per_group(features).mean())}
