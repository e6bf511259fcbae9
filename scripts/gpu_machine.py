"""What the parts of `gpu_check` share: the machine and its sizes, models and texts, rates, and what a profile says."""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.state import AcceleratorState
from speed_models import Setting, generated, pair, start, text_lengths
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from harness.training.device import synchronize
from harness.training.update import Training, plan_of

Rows = Iterator[tuple[str, Any, bool | None]]
"""What was looked at, the figure, and whether it is right; None for a figure that nothing is checked with."""

TINY_T5 = {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4}
TINY_BERT = {
    "model_type": "bert",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
MODELS = {
    "enct5": {"architecture": "enct5", "config": TINY_T5, "tokenizer": "sample", "dropout": 0},
    "t5": {"architecture": "t5", "config": TINY_T5, "tokenizer": "sample", "dropout": 0},
    "bert": {"architecture": "bert", "config": TINY_BERT, "tokenizer": "sample", "dropout": 0},
}
DISTRIBUTIONS = (128, "CoLA-like", "RTE-like")
"""Lengths of texts, as `text_lengths` takes them."""
LONGEST = 320
"""Tokens of the longest text."""
WARM_UP, ROUNDS = 6, 3


@dataclass(frozen=True)
class Machine:
    """Where and with which sizes.

    Args:
        setting: device, precision and tokenizers.
        sizes: names in `speed_models.SIZES`: an EncT5, a T5 and a BERT.
        updates: in a round of measuring.
        texts: that are generated for a training.
        folder: for benchmarks and their results.
    """

    setting: Setting
    sizes: tuple[str, str, str]
    updates: int
    texts: int
    folder: Path

    @property
    def device(self) -> torch.device:
        return torch.device(self.setting.device)

    @property
    def is_cuda(self) -> bool:
        return self.setting.device == "cuda"


def machine_of(options: argparse.Namespace) -> Machine:
    """What the options ask for; small models on a CPU."""
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("there is no CUDA device here: --device cpu runs the same code with small models")
    folder = Path(tempfile.mkdtemp(prefix="gpu_check"))
    setting = Setting(options.device, "auto", options.bert_tokenizer, options.t5_tokenizer, str(folder))
    if options.device == "cuda":
        return Machine(setting, ("EncT5-base", "T5-base", "BERT-base"), updates=20, texts=1024, folder=folder)
    return Machine(setting, ("EncT5-tiny", "T5-tiny", "BERT-tiny"), updates=2, texts=64, folder=folder)


def forget() -> None:
    """Free what a measurement left, and the precision that a Trainer set for the whole process.

    No training may go on after it.
    """
    gc.collect()
    torch.compiler.reset()
    AcceleratorState._reset_state(reset_partial_state=True)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def benchmark(machine: Machine, name: str, **settings: Any) -> Path:
    """A benchmark file ``check`` of the three tiny models on sample data."""
    usual = {"models": list(MODELS), "data": "sample", "seeds": [1]}
    steps = 40 if machine.is_cuda else 4
    usual_recipe = {"learning_rate": 3e-3, "max_steps": steps, "eval_every": steps // 2, "max_length": 128}
    recipe = {**usual_recipe, **settings.pop("recipe", {})}
    if not machine.is_cuda:
        usual["limit"] = {"train": 48, "validation": 24}
    path = machine.folder / f"{name}.yaml"
    content = {"models": MODELS, "benchmarks": {"check": {**usual, "recipe": recipe, **settings}}}
    path.write_text(json.dumps(content))
    return path


def training_of(
    machine: Machine, size: str, lengths: Any, compiled: bool = False, texts: int = 0, **options: Any
) -> Training:
    """A training of a new model with random weights on generated texts.

    Args:
        machine: where.
        size: a name in `speed_models.SIZES`.
        lengths: as `text_lengths` takes them.
        compiled: whether to compile the model.
        texts: how many; by default, ``machine.texts``.
        options: of the model.
    """
    architecture, recipe = pair(size, "rte", machine.setting, compiled, longest=LONGEST, **options)
    drawn = text_lengths(lengths, texts or machine.texts, LONGEST)
    features = generated(architecture, drawn, training=True)
    return start(architecture, recipe, features, machine.setting.device)


def training_of_any_text(machine: Machine, size: str, compiled: bool) -> Training:
    """A training that `read_on` gives other texts: a model is made, and compiled, once for all lengths.

    It begins with so many texts that they hold every word: the words of its texts are all that a training knows.
    """
    return training_of(machine, size, LONGEST, compiled, texts=4 * machine.texts)


def read_on(machine: Machine, training: Training, lengths: Any) -> None:
    """Let a training that knows every word go on with new texts."""
    texts = text_lengths(lengths, machine.texts, LONGEST)
    training.features = generated(training.architecture, texts, training=True)
    training.plan = replace(plan_of(training.features, training.recipe, 1), pass_tokens=training.plan.pass_tokens)
    training._batches = (-1, [])


def with_batch(machine: Machine, training: Training, count: int, length: int) -> Any:
    """A batch of texts of equal length, on the device, as a model reads them to predict."""
    features = generated(training.architecture, text_lengths(length, count, LONGEST), training=False)
    return training.architecture.collate(features, range(count)).to(machine.device)


def rate(machine: Machine, call: Callable[[], Any], examples: int, rounds: int = ROUNDS) -> float:
    """Examples per second of ``machine.updates`` calls, the median of a few rounds, after a warm-up."""
    for _ in range(min(WARM_UP, machine.updates)):
        call()
    rates = []
    for _ in range(rounds):
        synchronize(machine.device)
        started = time.perf_counter()
        for _ in range(machine.updates):
            call()
        synchronize(machine.device)
        rates.append(machine.updates * examples / (time.perf_counter() - started))
    return float(np.median(rates))


def profiled(machine: Machine, call: Callable[[], Any], count: int) -> Any:
    """The profiler's averages over some calls."""
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if machine.is_cuda else [])]
    with profile(activities=activities) as profiler:
        for _ in range(count):
            call()
        synchronize(machine.device)
    return profiler.key_averages()


def busy_seconds(machine: Machine, events: Any) -> dict[str, float]:
    """Seconds by kernel and copy that the device worked; of a CPU, by operation.

    A profile counts a kernel twice, as itself and as the time of the operation that started it: operations are events
    of the CPU, and left out.
    """
    if not machine.is_cuda:
        return {event.key: event.self_cpu_time_total / 1e6 for event in events}
    return {
        event.key: event.self_device_time_total / 1e6
        for event in events
        if event.device_type == DeviceType.CUDA and not getattr(event, "is_user_annotation", False)
    }
