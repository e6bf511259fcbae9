"""What EncT5 and BERT share: a head scores every instance, and the loss compares scores with labels."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.architectures.base import Architecture, Batch, pad, split_groups
from harness.errors import HarnessError
from harness.features import Features, pack
from harness.task import Example, Instance

CHUNK = 1000


class ScoringArchitecture(Architecture):
    """Encodes instances, scores them by a head with ``task.num_labels`` outputs.

    The losses are Hugging Face's: cross entropy (single label), mean squared error (regression), binary cross
    entropy (multi-label); multiple choice is a cross entropy over the choices of a group.
    """

    @abstractmethod
    def encode(self, instances: Sequence[Instance]) -> list[dict[str, list[int]]]:
        """Token ids (and what else the model reads) of each instance."""

    def features(self, examples: Sequence[Example], training: bool) -> Features:
        """One group per example with all its instances."""
        groups: list[list[dict[str, Sequence[float]]]] = []
        for start in range(0, len(examples), CHUNK):
            chunk = [self.task.instances(example) for example in examples[start : start + CHUNK]]
            encoded = iter(self.encode([instance for instances in chunk for instance in instances]))
            groups += [
                [{**next(encoded), "labels": self._label(instance, training)} for instance in instances]
                for instances in chunk
            ]
        if not training and not all(groups):
            raise HarnessError(f"task '{self.task.name}': an example without any instance cannot be predicted")
        return pack(groups)

    def _label(self, instance: Instance, training: bool) -> list[float]:
        if instance.label is None:
            if training:
                raise HarnessError(f"task '{self.task.name}': a training example has no label")
            return []
        if self.task.problem_type == "multi_label_classification":
            return [float(i in instance.label) for i in range(self.task.num_labels)]
        return [float(instance.label)]

    def collate(self, features: Features, groups: Sequence[int]) -> Batch:
        """Padded ``input_ids``, ``attention_mask`` (and ``token_type_ids``), each ``(instances, longest)``."""
        rows = features.instances(groups)
        ids = features.columns["input_ids"]
        tokens = [ids[row] for row in rows]
        inputs = {
            "input_ids": pad(tokens, self.tokenizer.pad_token_id or 0),
            "attention_mask": pad([np.ones(len(row), dtype=np.int64) for row in tokens], 0),
        }
        if "token_type_ids" in features.columns:
            types = features.columns["token_type_ids"]
            inputs["token_type_ids"] = pad([types[row] for row in rows], 0)
        labels = [features.columns["labels"][row] for row in rows]
        known = all(len(label) for label in labels)
        sizes = [int(features.sizes[group]) for group in groups]
        weight = len(sizes) if self.task.grouped else len(rows)
        return Batch(inputs, torch.from_numpy(np.stack(labels)) if known else None, sizes, weight)

    def loss(self, module: nn.Module, batch: Batch) -> Tensor:
        """Source of the losses: `transformers` ``ForSequenceClassification``, with the mean taken over the update."""
        logits, labels = module(**batch.inputs).logits.float(), batch.labels
        assert labels is not None
        kind = self.task.problem_type
        if kind == "regression":
            return F.mse_loss(logits[:, 0], labels[:, 0], reduction="sum")
        if kind == "multi_label_classification":
            return F.binary_cross_entropy_with_logits(logits, labels, reduction="sum") / labels.shape[1]
        if kind == "multiple_choice":
            scores = torch.nn.utils.rnn.pad_sequence(
                list(logits[:, 0].split(batch.sizes)), batch_first=True, padding_value=torch.finfo(logits.dtype).min
            )
            right = torch.nn.utils.rnn.pad_sequence(list(labels[:, 0].split(batch.sizes)), batch_first=True)
            return F.cross_entropy(scores, right.argmax(-1), reduction="sum")
        return F.cross_entropy(logits, labels[:, 0].long(), reduction="sum", label_smoothing=self.label_smoothing)

    def predict(self, module: nn.Module, batch: Batch) -> list[Any]:
        """The head's outputs (logits; the score itself for regression) per group."""
        scores = module(**batch.inputs).logits.float().cpu().numpy()
        return list(split_groups(scores, batch.sizes))
