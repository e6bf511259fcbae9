"""BERT: any encoder that the auto classes load, with their sequence classification head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification

from harness.architectures.base import check_loaded, check_tokenizer
from harness.architectures.scoring import ScoringArchitecture
from harness.task import Instance


class Bert(ScoringArchitecture):
    """Reads an instance as one segment, or as two: its first field, and the others joined by spaces."""

    def build(self) -> nn.Module:
        """`AutoModelForSequenceClassification` with a fresh head for the task."""
        options: dict[str, Any] = {"num_labels": self.task.num_labels}
        if self.folder is None:
            settings = dict(self.model.config or {})
            kind = settings.pop("model_type", "bert")
            settings = {"vocab_size": len(self.tokenizer), "pad_token_id": self.tokenizer.pad_token_id, **settings}
            config = AutoConfig.for_model(kind, **settings, **options)
        else:
            config = AutoConfig.from_pretrained(self.folder, **options)
        if self.model.dropout is not None:
            for name in ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout"):
                if hasattr(config, name):
                    setattr(config, name, self.model.dropout)
        if self.folder is None:
            module = AutoModelForSequenceClassification.from_config(config)
        else:
            module, info = AutoModelForSequenceClassification.from_pretrained(
                self.folder,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
            check_loaded(self.model.name, info)
        check_tokenizer(self.tokenizer, module, self.model)
        return module

    def encode(self, instances: Sequence[Instance]) -> list[dict[str, list[int]]]:
        """``input_ids`` and, where the model has segments, ``token_type_ids``."""
        segments = [_segments(instance) for instance in instances]
        pairs = len(segments[0]) == 2 if segments else False
        encoded = self.tokenizer(
            [first for first, *_ in segments],
            [second for _, second in segments] if pairs else None,
            return_attention_mask=False,
        )
        rows = [dict(zip(encoded, values, strict=True)) for values in zip(*encoded.values(), strict=True)]
        for i, row in enumerate(rows):
            excess = len(row["input_ids"]) - self.max_length
            if excess > 0:
                rows[i] = self._shortened(instances[i], segments[i], excess)
        return rows

    def _shortened(self, instance: Instance, segments: list[str], excess: int) -> dict[str, list[int]]:
        strategy = "longest_first"
        if len(segments) == 2 and instance.truncate is not None:
            position = 0 if instance.truncate == next(iter(instance.fields)) else 1
            room = len(self.tokenizer(segments[position], add_special_tokens=False)["input_ids"])
            if room > excess:
                strategy = ("only_first", "only_second")[position]
        options = {"truncation": strategy, "max_length": self.max_length, "return_attention_mask": False}
        return dict(self.tokenizer(*segments, **options))


def _segments(instance: Instance) -> list[str]:
    first, *others = instance.fields.values()
    return [first, " ".join(others)] if others else [first]
