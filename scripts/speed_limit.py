"""How near a model comes to what the machine can do: shares of its rate of matrix products, and EncT5 of its encoder.

Model and yardstick are measured in turns in one process, so that what else the machine does hardly matters.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from speed_models import BATCH, MAX_LENGTH, Setting, generated, pair, start, text_lengths
from tabulate import tabulate

from harness.training.device import synchronize
from harness.training.evaluation import predicting
from harness.training.flops import measured_matrix_rate
from harness.training.inference import Inference
from harness.training.update import Training

PROMPTS = {1: "cola", 28: "goemotions"}
"""A task of so many prompts."""
SHAPES = ((1, 32, 16), (1, 32, 64), (1, 1, 16), (28, 32, 16))
"""Prompts, texts in a batch and tokens of a text, with which EncT5 is compared to its encoder."""


@dataclass(frozen=True)
class Share:
    """A rate as a share of the most that it could be.

    Args:
        what: what is measured.
        size: the model.
        texts: of what shape.
        precision: of matrix products.
        share: median of the turns; ``least`` and ``most`` are their range.
        rate: median of the rate.
        limit: median of the yardstick's rate.
        unit: of both.
    """

    what: str
    size: str
    texts: str
    precision: str
    share: float
    least: float
    most: float
    rate: float
    limit: float
    unit: str


def mfu(examples_per_second: float, flops_per_example: float, matrix_flops_per_second: float) -> float:
    """Model FLOPs utilisation: the share of the rate of matrix products that goes into the model's own products."""
    return examples_per_second * flops_per_example / matrix_flops_per_second


def rate_of(work: Callable[[], int], device: torch.device, seconds: float) -> float:
    """Examples per second of what does a piece of ``work`` and says how many examples it had, over some ``seconds``."""
    synchronize(device)
    examples, started = 0, time.perf_counter()
    while True:
        examples += work()
        synchronize(device)
        if (taken := time.perf_counter() - started) >= seconds:
            return examples / taken


def shares_of_matrix_rate(size: str, setting: Setting, compiled: bool, turns: int, seconds: float) -> list[Share]:
    """Training and inference on texts of 128 tokens in batches of 32, as shares of the rate of matrix products."""
    architecture, recipe = pair(size, "cola", setting, compiled)
    lengths = text_lengths(MAX_LENGTH, 4 * BATCH, MAX_LENGTH)
    training = start(architecture, recipe, generated(architecture, lengths, training=True), setting.device)
    inference = Inference(training, generated(architecture, lengths, training=False))
    counts = inference.flops()
    trained = turns_of_share(training, _updates(training), counts["train_flops_per_example"], turns, seconds)
    with predicting(training):

        def answer() -> int:
            inference.answer(range(BATCH))
            return BATCH

        answered = turns_of_share(training, answer, counts["flops_per_example"], turns, seconds)
    label = "training, compiled" if compiled else "training"
    texts = f"{BATCH} x {MAX_LENGTH}"
    return [
        _share(what, size, texts, recipe.precision, rates, "FLOP/s")
        for what, rates in ((label, trained), ("inference", answered))
    ]


def _updates(training: Training) -> Callable[[], int]:
    def update() -> int:
        before = training.examples
        training.update()
        return training.examples - before

    return update


def turns_of_share(
    training: Training, work: Callable[[], int], flops: int, turns: int, seconds: float
) -> list[tuple[float, float]]:
    """In every turn, the FLOP/s that the model reaches, and those of a product of large matrices."""
    device = training.accelerator.device
    work()
    rates = []
    for _ in range(turns):
        reached = rate_of(work, device, seconds) * flops
        rates.append((reached, measured_matrix_rate(device, training.recipe.precision)))
    return rates


def share_of_encoder(
    size: str, setting: Setting, prompts: int, batch: int, length: int, turns: int, seconds: float
) -> Share:
    """EncT5's inference, as a share of the rate at which its encoder alone reads the same texts."""
    architecture, recipe = pair(size, PROMPTS[prompts], setting)
    features = generated(architecture, text_lengths(length, max(batch, 2), MAX_LENGTH), training=True)
    training = start(architecture, recipe, features, setting.device)
    device = training.accelerator.device
    inputs = architecture.collate(features, range(batch)).to(device).inputs
    with predicting(training) as module:
        core: Any = module.transformer

        def whole() -> int:
            module(**inputs)
            return batch

        def encoder() -> int:
            core.encoder(inputs_embeds=core.shared(inputs["input_ids"]), attention_mask=inputs["attention_mask"])
            return batch

        whole(), encoder()
        rates = [(rate_of(whole, device, seconds), rate_of(encoder, device, seconds)) for _ in range(turns)]
    what = "EncT5 of its encoder" if prompts == 1 else f"EncT5 of its encoder, {prompts} prompts"
    return _share(what, size, f"{batch} x {length}", recipe.precision, rates, "examples/s")


def _share(what: str, size: str, texts: str, precision: str, rates: Sequence[tuple[float, float]], unit: str) -> Share:
    shares = [rate / limit for rate, limit in rates]
    rate, limit = (statistics.median(side) for side in zip(*rates, strict=True))
    return Share(what, size, texts, precision, statistics.median(shares), min(shares), max(shares), rate, limit, unit)


def against_the_limit(
    sizes: Sequence[str], setting: Setting, turns: int, seconds: float, compiled: Sequence[bool] = (False,)
) -> list[Share]:
    """All shares of these models: training and inference of each, and each EncT5 against its encoder."""
    rows = [
        row
        for size in sizes
        for compiling in compiled
        for row in shares_of_matrix_rate(size, setting, compiling, turns, seconds)
        if row.what != "inference" or not compiling
    ]
    for size in sizes:
        if size.startswith("EncT5"):
            rows += [share_of_encoder(size, setting, *shape, turns, seconds) for shape in SHAPES]
    return rows


def limit_table(rows: Sequence[Share]) -> str:
    """The shares in markdown."""
    lines = []
    for row in rows:
        scale, unit = (1e9, "GFLOP/s") if row.unit == "FLOP/s" else (1.0, row.unit)
        rates = f"{row.rate / scale:,.0f} of {row.limit / scale:,.0f} {unit}"
        spread = f"{100 * row.least:.0f}-{100 * row.most:.0f}"
        lines.append([row.what, row.size, row.texts, row.precision, f"{100 * row.share:.0f} %", spread, rates])
    heads = ["share of the limit", "model", "texts x tokens", "precision", "share", "range", "rates"]
    return tabulate(lines, heads, "github", disable_numparse=True)


def as_json(rows: Sequence[Share]) -> list[dict[str, Any]]:
    """The shares as plain data."""
    return [asdict(row) for row in rows]
