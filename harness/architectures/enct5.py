"""EncT5: T5's encoder with one decoder layer that reads learned prompts (arXiv 2110.08426)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from harness.architectures.base import check_tokenizer, tokenize
from harness.architectures.scoring import ScoringArchitecture
from harness.enct5 import EncT5Config, EncT5ForSequenceClassification
from harness.task import Instance, input_text


class EncT5(ScoringArchitecture):
    """Reads an instance as T5 does: one text that names its fields (``prefix: false``: the values alone)."""

    half_precision = False  # T5's activations overflow fp16

    def build(self) -> nn.Module:
        """`EncT5ForSequenceClassification` with the encoder and the first decoder layers of a T5 checkpoint."""
        multi_label = self.task.problem_type == "multi_label_classification"
        kind = "regression" if self.task.num_labels == 1 and not multi_label else self.task.problem_type
        options: dict[str, Any] = {
            "num_labels": self.task.num_labels,
            "problem_type": kind,
            "decoder_vocab_size": self.task.num_labels if multi_label else 1,
            "num_decoder_layers": self.model.num_decoder_layers,
            "prompt_position_bias": self.model.prompt_position_bias,
        }
        if self.model.dropout is not None:
            options["dropout_rate"] = options["classifier_dropout"] = self.model.dropout
        if self.folder is None:
            config = EncT5Config(**{"vocab_size": len(self.tokenizer), **(self.model.config or {}), **options})
            module = EncT5ForSequenceClassification(config)
        else:
            module = EncT5ForSequenceClassification.from_pretrained_t5(self.folder, **options)
        check_tokenizer(self.tokenizer, module, self.model)
        return module

    def encode(self, instances: Sequence[Instance]) -> list[dict[str, list[int]]]:
        """``input_ids`` of each instance's text."""
        texts = [input_text(self.task, instance, self.model.prefix) for instance in instances]
        give_way = [instance.fields[instance.truncate] if instance.truncate else None for instance in instances]
        return [{"input_ids": ids} for ids in tokenize(self.tokenizer, texts, self.max_length, give_way)]

    def text_options(self) -> dict[str, Any]:
        """The prefix decides the text."""
        return {**super().text_options(), "prefix": self.model.prefix}
