"""Models and texts to measure with: published sizes with random weights, and generated texts of real lengths."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from accelerate import Accelerator
from transformers import PreTrainedTokenizerBase

import harness
from harness.config.architectures import ARCHITECTURES
from harness.config.schema import Recipe
from harness.data.features import Features, pack
from harness.models import Architecture, architecture_class
from harness.models.tokenizers import load_tokenizer, sample_tokenizer
from harness.training.device import resolve
from harness.training.update import Training

TINY_T5 = {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4, "vocab_size": 4000}
SMALL_T5 = {"d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 8, "vocab_size": 32128}
BASE_T5 = {"d_model": 768, "d_kv": 64, "d_ff": 3072, "num_layers": 12, "num_heads": 12, "vocab_size": 32128}
SIZES: Mapping[str, tuple[str, dict[str, Any]]] = {
    "BERT-tiny": (
        "bert",
        {
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 128,
            "vocab_size": 4000,
        },
    ),
    "MiniLM": (
        "bert",
        {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536},
    ),
    "BERT-base": ("bert", {}),
    "T5-tiny": ("t5", TINY_T5),
    "T5-small": ("t5", SMALL_T5),
    "T5-base": ("t5", BASE_T5),
    "EncT5-tiny": ("enct5", TINY_T5),
    "EncT5-small": ("enct5", SMALL_T5),
    "EncT5-base": ("enct5", BASE_T5),
}
"""Architecture and configuration of each model (the defaults of a BERT's are bert-base's)."""

BATCH, MAX_LENGTH = 32, 128

QUANTILES = (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1)
LENGTHS: Mapping[str, tuple[int, ...]] = {
    "CoLA-like": (4, 7, 8, 9, 10, 10, 11, 12, 14, 17, 20, 25, 47),
    "RTE-like": (13, 33, 40, 45, 50, 56, 62, 72, 103, 135, 157, 197, 289),
}
"""`QUANTILES` of the tokens of a training text, special ones included, in bert-base-uncased's vocabulary."""


@dataclass(frozen=True)
class Setting:
    """Where and how models compute.

    Args:
        device: ``cpu`` or ``cuda``.
        precision: as in a recipe; ``auto`` is resolved as the harness does.
        bert_tokenizer: a folder; without one, the sample tokenizer in ``cache``.
        t5_tokenizer: likewise.
        cache: a folder for sample tokenizers.
    """

    device: str = "cpu"
    precision: str = "auto"
    bert_tokenizer: str | None = None
    t5_tokenizer: str | None = None
    cache: str = "."

    def tokenizer(self, kind: str) -> PreTrainedTokenizerBase:
        """The tokenizer of an architecture."""
        family = "bert" if kind == "bert" else "t5"
        folder = self.bert_tokenizer if kind == "bert" else self.t5_tokenizer
        if folder is None:
            return sample_tokenizer(family, Path(self.cache))
        return load_tokenizer(Path(folder), "the tokenizer", family)


def pair(
    size: str,
    task: str,
    setting: Setting,
    compiled: bool = False,
    checkpoint: str | None = None,
    longest: int = 0,
    **options: Any,
) -> tuple[Architecture, Recipe]:
    """A model on a task, and a recipe with precision and compilation as the harness resolves them.

    Args:
        size: a name in `SIZES`.
        task: a name among the built-in tasks.
        setting: device, precision and tokenizers.
        compiled: whether to compile the model for training.
        checkpoint: the folder of trained weights, instead of random ones.
        longest: the most tokens of a text (`MAX_LENGTH`).
        options: of the model's architecture.
    """
    kind, config = SIZES[size]
    tokenizer = setting.tokenizer(kind)
    words = max(len(tokenizer), config.get("vocab_size", 30522))
    random = None if checkpoint else {**config, "vocab_size": words}
    model = ARCHITECTURES[kind](name=size, checkpoint=checkpoint, config=random, **options)
    longest = longest or MAX_LENGTH
    recipe = Recipe(
        learning_rate=2e-5,
        batch_size=BATCH,
        max_length=longest,
        compile=compiled,
        precision=setting.precision,  # type: ignore[arg-type]
    )
    recipe = resolve(recipe, torch.device(setting.device), model.half_precision, 0, 0)
    folder = Path(checkpoint) if checkpoint else None
    return architecture_class(model)(model, folder, tokenizer, _tasks()[task], longest), recipe


@functools.cache
def _tasks() -> Mapping[str, Any]:
    return harness.load_tasks()


def start(architecture: Architecture, recipe: Recipe, features: Features, device: str) -> Training:
    """A training at step 0."""
    transformers.set_seed(1)
    return Training(architecture, architecture.build(), features, recipe, 1, Accelerator(cpu=device == "cpu"))


def text_lengths(distribution: str | int, count: int, longest: int, seed: int = 0) -> np.ndarray:
    """Tokens of ``count`` texts, ``(count,)``: all the same number, or as a name in `LENGTHS` has them.

    The lengths are evenly spread over the distribution, in random order, and at most ``longest``.
    """
    if isinstance(distribution, int):
        return np.full(count, min(distribution, longest))
    shares = (np.arange(count) + 0.5) / count
    lengths = np.interp(shares, QUANTILES, LENGTHS[distribution]).round().astype(int)
    return np.minimum(np.random.default_rng(seed).permutation(lengths), longest)


def generated(architecture: Architecture, lengths: np.ndarray, training: bool, seed: int = 0) -> Features:
    """Texts of random words of the model's vocabulary, with random labels or, of a T5, answers.

    Args:
        architecture: the model and the task.
        lengths: tokens of each text, ``(texts,)``.
        training: whether a T5's texts have answers, too.
        seed: what words and labels depend on.
    """
    random, (kind, config) = np.random.default_rng(seed), SIZES[architecture.model.name]
    words, task = min(config.get("vocab_size", 30522), 30522), architecture.task
    answers = architecture.tokenizer(list(task.answers or ()))["input_ids"] if kind == "t5" else []

    def instance(length: int) -> dict[str, Any]:
        row: dict[str, Any] = {"input_ids": random.integers(min(1000, words // 2), words, length).tolist()}
        if kind == "bert":
            row["token_type_ids"] = [0] * length
        if kind == "t5":
            return row | ({"labels": answers[random.integers(len(answers))]} if training else {})
        several = task.problem_type == "multi_label_classification"
        return row | {"labels": random.integers(2, size=task.num_labels if several else 1).astype(float).tolist()}

    return pack([instance(int(length))] for length in lengths)
