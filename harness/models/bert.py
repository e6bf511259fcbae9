"""BERT: any encoder that the auto classes load, with their head for texts or for tokens."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PretrainedConfig,
)

from harness.errors import HarnessError
from harness.models.checkpoints import HEADS, class_for, kept_config, make, new_config
from harness.models.heads import ScoringArchitecture, at_words
from harness.models.tokenizers import check_tokenizer, encode, encode_with_places, encode_words, shortened_row
from harness.task.task import Instance
from harness.task.texts import field_places, segments


class Bert(ScoringArchitecture):
    """Reads an instance as one segment, or as two: its first field, and the others joined by spaces."""

    def build(self) -> nn.Module:
        """`AutoModelForSequenceClassification` or `AutoModelForTokenClassification`, with a fresh head for the task."""
        auto = self.model_class
        module, new = make(auto, self.model, self.folder, self.config, new_head=True)
        if self.folder is not None:
            _renew_head(module, new, auto)
        check_tokenizer(self.tokenizer, module, self.model.name)
        self._check_positions(module)
        return module

    @property
    def model_class(self) -> Any:
        """By what the task's labels belong to: texts or words."""
        return AutoModelForTokenClassification if self.of_words else AutoModelForSequenceClassification

    @property
    def of_words(self) -> bool:
        """Whether every word gets a label of its own."""
        return self.task.problem.of_words

    @cached_property
    def pads_left(self) -> bool:
        """XLNet sums a text up in its last position."""
        return not self.of_words and getattr(self.config, "summary_type", None) == "last"

    def logits(self, module: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
        """Of words: the outputs at each one's first sub-word."""
        if not self.of_words:
            return super().logits(module, inputs)
        text = {name: tensor for name, tensor in inputs.items() if name != "word_positions"}
        return at_words(super().logits(module, text), inputs["word_positions"])

    def _check_positions(self, module: nn.Module) -> None:
        for name, table in module.named_modules():
            if name.endswith("position_embeddings") and isinstance(table, nn.Embedding):
                room = table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)
                if self.max_length > room:
                    raise HarnessError(
                        f"model '{self.model.name}' reads at most {room} tokens, and the recipe's max_length is "
                        f"{self.max_length}: set max_length to {room} or less"
                    )

    @property
    def config(self) -> PretrainedConfig:
        """The model's configuration for this task."""
        if self.folder is None:
            words = {"vocab_size": len(self.tokenizer), "pad_token_id": self.tokenizer.pad_token_id}
            return new_config(self.model, "bert", words, num_labels=self.task.num_labels)
        return kept_config(self.model, self.folder, num_labels=self.task.num_labels)

    @cached_property
    def reads_segments(self) -> bool:
        """Whether the model tells a second segment from the first, whatever its tokenizer gives."""
        config = self.config
        if self.of_words:
            class_for(self.model, config, MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING, "token classifier")
            return False  # a sentence is one segment
        model = class_for(self.model, config, MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, "sequence classifier")
        if "token_type_ids" not in inspect.signature(model.forward).parameters:
            return False
        return getattr(config, "type_vocab_size", 2 * ("token_type_ids" in self.tokenizer.model_input_names)) > 1

    def text_options(self) -> dict[str, Any]:
        """Segments are part of the features."""
        return {**super().text_options(), "segments": self.reads_segments}

    def encode(self, instances: Sequence[Instance]) -> list[dict[str, list[int]]]:
        """``input_ids`` and, where the model has segments, ``token_type_ids``."""
        if self.of_words:
            texts = [" ".join(instance.words) for instance in instances]
            return encode_words(self.tokenizer, texts, [instance.words for instance in instances], self.max_length)
        rows: list[dict[str, list[int]]] = [{}] * len(instances)
        own_segments = [segments(instance) for instance in instances]
        for count in set(map(len, own_segments)):
            chosen = [i for i, own in enumerate(own_segments) if len(own) == count]
            first, second = ([own_segments[i][k] for i in chosen] if k < count else None for k in (0, 1))
            encoded = encode(self.tokenizer, first or [], second, types=self.reads_segments)
            for i, *values in zip(chosen, *encoded.values(), strict=True):
                rows[i] = {**dict(zip(encoded, values, strict=True)), "truncated": []}
            long = [i for i in chosen if len(rows[i]["input_ids"]) > self.max_length]
            first, second = ([own_segments[i][k] for i in long] if k < count else None for k in (0, 1))
            for i, encoding in zip(long, encode_with_places(self.tokenizer, first or [], second), strict=True):
                fields = field_places(self.task, instances[i], prefix=False), instances[i].truncate
                second_segment = len(own_segments[i][0]) + 1
                rows[i] = shortened_row(encoding, fields, self.max_length, second_segment, self.reads_segments)
        return rows


def _renew_head(module: nn.Module, new: set[str], auto: Any) -> None:
    """Put a new head in the place of one that the checkpoint was trained with: its classes may have another order."""
    heads = {name.split(".")[0] for name, _ in module.named_parameters() if name.startswith(HEADS) and name not in new}
    if heads:
        fresh = auto.from_config(module.config, dtype=torch.float32)
        for name in heads:
            setattr(module, name, getattr(fresh, name))
