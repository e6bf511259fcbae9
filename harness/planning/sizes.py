"""How large a model is, and what it computes, by its configuration alone: closed forms, without weights.

A multiplication with its addition counts as two operations. Biases, norms and softmax are left out: below 1 %.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.config.schema import Model
from harness.io import read_file

SAMPLE_WORDS = {"bert": 750, "t5": 2000}
"""About how many words the sample tokenizers have."""
FAMILY_OF_T5 = ("t5", "mt5", "enct5")
USUAL_T5: Mapping[str, Any] = {
    "d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 8, "vocab_size": 32128,
    "feed_forward_proj": "relu",
}  # fmt: skip
USUAL_BERT: Mapping[str, int] = {
    "hidden_size": 768, "num_hidden_layers": 12, "intermediate_size": 3072, "vocab_size": 30522,
    "max_position_embeddings": 512,
}  # fmt: skip
"""What transformers takes for what a configuration leaves out; its own classes would load torch."""
TRAINING_PASSES = 3
"""A training step has the FLOPs of a forward pass and, for the backward pass, of two more."""


@dataclass(frozen=True)
class Stack:
    """Layers of one kind: ``attention`` and ``feed_forward`` are the weights of a layer, ``inner`` the width of its
    attention.
    """

    layers: int
    attention: int
    feed_forward: int
    inner: int


@dataclass(frozen=True)
class Size:
    """A model.

    Attributes:
        parameters: all of them, tied ones once.
        encoder: reads the text.
        decoder: reads the text by way of the encoder, and a few positions of its own (T5: the answer; EncT5: prompts).
        output: weights of the layer from a position of the decoder to the vocabulary.
        keys: whether the decoder projects the text to keys and values.
    """

    parameters: int
    encoder: Stack
    decoder: Stack | None = None
    output: int = 0
    keys: bool = True

    def forward(self, tokens: float, positions: float = 1) -> float:
        """FLOPs of a forward pass for one text of so many tokens, with so many positions of the decoder."""
        stack = self.encoder
        total = stack.layers * (2 * tokens * (stack.attention + stack.feed_forward) + 4 * tokens * tokens * stack.inner)
        if self.decoder is not None:
            stack = self.decoder
            own = 2 * positions * (stack.attention * 3 / 2 + stack.feed_forward)
            across = tokens * stack.attention if self.keys else 0.0  # half of the second attention's weights, twice
            attended = 4 * positions * (positions + tokens) * stack.inner
            total += stack.layers * (own + across + attended)
        return total + 2 * positions * self.output

    def training(self, tokens: float, positions: float = 1) -> float:
        """FLOPs of a training step for one such text."""
        return TRAINING_PASSES * self.forward(tokens, positions)


def size_of(model: Model, folder: Path | None) -> Size | None:
    """The size of a model; None where its configuration is not at hand, or of an unusual kind.

    Args:
        model: the entry of benchmarks.yaml.
        folder: the files of its checkpoint, where they are on this machine.
    """
    own = dict(model.config or {}) if model.checkpoint is None else _configuration(folder)
    if own is None:
        return None
    if model.tokenizer == "sample":
        own.setdefault("vocab_size", SAMPLE_WORDS[model.tokenizer_family])
    own.setdefault("model_type", model.tokenizer_family)
    try:
        return _t5(model, own) if own["model_type"] in FAMILY_OF_T5 else _encoder(own)
    except (TypeError, ValueError, KeyError, ArithmeticError):
        return None


def _configuration(folder: Path | None) -> dict[str, Any] | None:
    try:
        content = json.loads(read_file(folder / "config.json")) if folder else None
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _encoder(own: Mapping[str, Any]) -> Size:
    def number(*names: str) -> int:
        return int(next((own[name] for name in names if own.get(name)), USUAL_BERT[names[0]]))

    width, layers = number("hidden_size", "dim", "d_model"), number("num_hidden_layers", "n_layers", "num_layers")
    wide = number("intermediate_size", "hidden_dim")
    stack = Stack(layers, 4 * width * width, 2 * width * wide, width)
    tables = int(own.get("embedding_size") or width) * (number("vocab_size") + number("max_position_embeddings"))
    parameters = tables + layers * (stack.attention + stack.feed_forward + 9 * width + wide) + width * width
    return Size(parameters, stack)


def _t5(model: Model, own: Mapping[str, Any]) -> Size:
    config = {**USUAL_T5, **own}
    width, inner = int(config["d_model"]), int(config["num_heads"]) * int(config["d_kv"])
    matrices = 3 if str(config["feed_forward_proj"]).startswith("gated") else 2
    layers, words = int(config["num_layers"]), int(config["vocab_size"]) * width
    encoder = Stack(layers, 4 * width * inner, matrices * width * int(config["d_ff"]), inner)
    scores = model.architecture != "t5"
    kept = int(getattr(model, "num_decoder_layers", 1)) if scores else int(config.get("num_decoder_layers") or layers)
    decoder = Stack(kept, encoder.attention, encoder.feed_forward, inner)
    parameters = words + layers * (encoder.attention + encoder.feed_forward + 2 * width)
    parameters += kept * (2 * decoder.attention + decoder.feed_forward + 3 * width)
    return Size(parameters, encoder, decoder, 0 if scores else words, keys=not scores)
