"""What EncT5 and BERT share: a head scores every instance, and the loss compares scores with labels."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.data.features import Features, Group
from harness.errors import HarnessError
from harness.models.base import Architecture, Batch, chunks, pad, split_groups
from harness.models.tokens import UNLABELLED, collate_words, tag_loss, tag_scores
from harness.task.task import Example, Instance


class ScoringArchitecture(Architecture):
    """Encodes instances, scores them by a head with ``task.num_labels`` outputs.

    The losses are Hugging Face's: cross entropy (single label), mean squared error (regression), binary cross
    entropy (multi-label); multiple choice is a cross entropy over the choices of a group, token classification one
    over the tags of every word that is read. ``label_smoothing`` smooths every target but a regression's.
    """

    @property
    def pads_left(self) -> bool:
        """Whether the head reads the last position of a text, so that padding has to come before it."""
        return False

    @abstractmethod
    def encode(self, instances: Sequence[Instance]) -> list[dict[str, list[int]]]:
        """Token ids (and what else the model reads) of each instance."""

    def groups(self, examples: Iterable[Example], training: bool) -> Iterator[Group]:
        """One group per example with all its instances."""
        for chunk in chunks(examples):
            groups = [self.task.instances(example) for example in chunk]
            if not training and not all(groups):
                raise HarnessError(f"task '{self.task.name}': an example without any instance cannot be predicted")
            encoded = iter(self.encode([instance for instances in groups for instance in instances]))
            for instances in groups:
                yield [{**next(encoded), "labels": self._label(instance, training)} for instance in instances]

    def _label(self, instance: Instance, training: bool) -> list[float]:
        if instance.label is None:
            if training:
                raise HarnessError(f"task '{self.task.name}': a training example has no label")
            return []
        if self.task.problem_type == "token_classification":
            return [float(tag) for tag in instance.label]
        if self.task.problem_type == "multi_label_classification":
            return [float(i in instance.label) for i in range(self.task.num_labels)]
        return [float(instance.label)]

    def collate(self, features: Features, groups: Sequence[int]) -> Batch:
        """Padded ``input_ids``, ``attention_mask`` (and ``token_type_ids``), each ``(instances, longest)``."""
        rows = features.instances(groups)
        ids = features.columns["input_ids"]
        tokens = [ids[row] for row in rows]
        inputs = {
            "input_ids": pad(tokens, self.tokenizer.pad_token_id or 0, self.pads_left),
            "attention_mask": pad([np.ones(len(row), dtype=np.int64) for row in tokens], 0, self.pads_left),
        }
        if "token_type_ids" in features.columns:
            types = features.columns["token_type_ids"]
            inputs["token_type_ids"] = pad([types[row] for row in rows], 0, self.pads_left)
        if self.task.problem_type == "token_classification":
            inputs["word_positions"], tags, words = collate_words(features, rows)
            return Batch(inputs, tags, words, 0 if tags is None else max(1, int((tags != UNLABELLED).sum())))
        labels = [features.columns["labels"][row] for row in rows]
        known = all(len(label) for label in labels)
        sizes = [int(features.sizes[group]) for group in groups]
        weight = len(sizes) if self.task.grouped else len(rows)
        return Batch(inputs, torch.from_numpy(np.stack(labels)) if known else None, sizes, weight)

    def loss(self, module: nn.Module, batch: Batch) -> Tensor:
        """Source of the losses: `transformers` ``ForSequenceClassification``, with the mean taken over the update."""
        logits, labels = self.logits(module, batch.inputs), batch.labels
        assert labels is not None
        kind, smoothing = self.task.problem_type, self.label_smoothing
        if kind == "token_classification":
            return tag_loss(logits, labels, smoothing)
        if kind == "regression":
            return F.mse_loss(logits[:, 0], labels[:, 0], reduction="sum")
        if kind == "multi_label_classification":
            smooth = labels * (1 - smoothing) + smoothing / 2
            return F.binary_cross_entropy_with_logits(logits, smooth, reduction="sum") / labels.shape[1]
        if kind == "multiple_choice":
            return choice_loss(logits[:, 0], labels[:, 0], batch.sizes, smoothing)
        return F.cross_entropy(logits, labels[:, 0].long(), reduction="sum", label_smoothing=smoothing)

    def logits(self, module: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
        """The head's outputs in float32, ``(instances, outputs)`` or, of words, ``(sentences, words, outputs)``."""
        return module(**inputs).logits.float()

    def predict(self, module: nn.Module, batch: Batch) -> list[Any]:
        """The head's outputs (logits; the score itself for regression) per group."""
        logits = self.logits(module, batch.inputs)
        if self.task.problem_type == "token_classification":
            return tag_scores(logits, batch.inputs["word_positions"], batch.sizes)
        return list(split_groups(logits.cpu().numpy(), batch.sizes))


def choice_loss(logits: Tensor, right: Tensor, sizes: Sequence[int], label_smoothing: float) -> Tensor:
    """Cross entropy over the choices of each group, summed; ``logits`` and ``right`` (0, 1) are ``(choices,)``."""
    scores = torch.nn.utils.rnn.pad_sequence(
        list(logits.split(list(sizes))), batch_first=True, padding_value=torch.finfo(logits.dtype).min
    )
    target = torch.nn.utils.rnn.pad_sequence(list(right.split(list(sizes))), batch_first=True).argmax(-1)
    loss = F.cross_entropy(scores, target, reduction="sum")
    if not label_smoothing:
        return loss
    # Not by cross_entropy, which would smooth over the padding of smaller groups, too.
    even = sum(-group.log_softmax(0).mean() for group in logits.split(list(sizes)))
    return (1 - label_smoothing) * loss + label_smoothing * even
