"""What EncT5 and BERT share: a head scores every instance, and the loss compares scores with labels."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.data.features import Features, Group
from harness.errors import HarnessError
from harness.models.base import Architecture, Batch, chunks, pad, split_groups
from harness.models.tokenizers import UNREAD
from harness.task.functions import instances
from harness.task.task import Example, Instance

UNLABELLED = -100
"""In place of the tag of a word that has none, or is not read."""


class ScoringArchitecture(Architecture):
    """Encodes instances, scores them by a head with ``task.num_labels`` outputs.

    The losses are Hugging Face's: cross entropy (single label), mean squared error (regression), binary cross
    entropy (multi-label); multiple choice is a cross entropy over the choices of a group, token classification one
    over the tags of every word that is read. ``label_smoothing`` smooths every target but a regression's. A task's
    ``loss_weights`` weigh each example's cross entropy by its class, and the mean is over the sum of the weights.
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
            groups = [instances(self.task, example) for example in chunk]
            if not training and not all(groups):
                raise HarnessError(f"task '{self.task.name}': an example without any instance cannot be predicted")
            encoded = iter(self.encode([instance for group in groups for instance in group]))
            for group in groups:
                yield [{**next(encoded), "labels": self.targets(instance.label, training)} for instance in group]

    def targets(self, label: Any, training: bool) -> list[float]:
        """A label as the loss takes it; nothing for an unknown one (None), which training refuses."""
        if label is None:
            if training:
                raise HarnessError(f"task '{self.task.name}': a training example has no label")
            return []
        return self.task.problem.loss_targets(label, self.task.num_labels)

    def collate(self, features: Features, groups: Sequence[int], multiple: int = 1) -> Batch:
        """Padded ``input_ids``, ``attention_mask`` (and ``token_type_ids``), each ``(instances, longest)``."""
        rows, left = features.instances(groups), self.pads_left
        ids = features.columns["input_ids"]
        tokens = [ids[row] for row in rows]
        inputs = {
            "input_ids": pad(tokens, self.tokenizer.pad_token_id or 0, left, multiple),
            "attention_mask": pad([np.ones(len(row), dtype=np.int64) for row in tokens], 0, left, multiple),
        }
        if "token_type_ids" in features.columns:
            types = features.columns["token_type_ids"]
            inputs["token_type_ids"] = pad([types[row] for row in rows], 0, left, multiple)
        if self.task.problem.of_words:
            inputs["word_positions"], tags, words = collate_words(features, rows)
            return Batch(inputs, tags, words, 0 if tags is None else max(1, int((tags != UNLABELLED).sum())))
        labels = [features.columns["labels"][row] for row in rows]
        labelled = all(len(label) for label in labels)
        sizes = [int(features.sizes[group]) for group in groups]
        weight = len(sizes) if self.task.problem.grouped else len(rows)
        targets = torch.from_numpy(np.stack(labels)) if labelled else None
        if self.class_weights is None or targets is None:
            return Batch(inputs, targets, sizes, weight)
        weights = torch.from_numpy(self.class_weights)[targets[:, 0].long()]
        return Batch(inputs, targets, sizes, float(weights.sum()), weights)

    def classes(self, features: Features) -> np.ndarray:
        """They are the labels."""
        return features.columns["labels"].values.astype(np.int64)

    def loss(self, module: nn.Module, batch: Batch) -> Tensor:
        """Source of the losses: `transformers` ``ForSequenceClassification``, with the mean taken over the update."""
        logits, labels = self.logits(module, batch.inputs), batch.labels
        assert labels is not None
        if batch.weights is not None:
            losses = F.cross_entropy(
                logits, labels[:, 0].long(), reduction="none", label_smoothing=self.label_smoothing
            )
            return (losses * batch.weights).sum()
        return LOSSES[self.task.problem.loss](logits, labels, batch.sizes, self.label_smoothing)

    def logits(self, module: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
        """The head's outputs in float32, ``(instances, outputs)`` or, of words, ``(sentences, words, outputs)``."""
        return module(**inputs).logits.float()

    def predict(self, module: nn.Module, batch: Batch) -> list[Any]:
        """The head's outputs (logits; the score itself for regression) per group."""
        logits = self.logits(module, batch.inputs)
        if self.task.problem.of_words:
            return tag_scores(logits, batch.inputs["word_positions"], batch.sizes)
        return list(split_groups(logits.cpu().numpy(), batch.sizes))


# Losses: each is summed over a batch ------------------------------------------------------------------------------


def cross_entropy(logits: Tensor, labels: Tensor, sizes: Sequence[int], label_smoothing: float) -> Tensor:
    """``logits`` ``(instances, classes)``, ``labels`` ``(instances, 1)`` class indices."""
    return F.cross_entropy(logits, labels[:, 0].long(), reduction="sum", label_smoothing=label_smoothing)


def mean_squared_error(logits: Tensor, labels: Tensor, sizes: Sequence[int], label_smoothing: float) -> Tensor:
    """Both ``(instances, 1)``; nothing is smoothed."""
    return F.mse_loss(logits[:, 0], labels[:, 0], reduction="sum")


def binary_cross_entropy(logits: Tensor, labels: Tensor, sizes: Sequence[int], label_smoothing: float) -> Tensor:
    """Both ``(instances, labels)``, ``labels`` 0 or 1; the mean over an instance's labels."""
    smooth = labels * (1 - label_smoothing) + label_smoothing / 2
    return F.binary_cross_entropy_with_logits(logits, smooth, reduction="sum") / labels.shape[1]


def choice_cross_entropy(logits: Tensor, labels: Tensor, sizes: Sequence[int], label_smoothing: float) -> Tensor:
    """Over the choices of each group; both ``(choices, 1)``, ``labels`` 1 for the right one and 0 for the others."""
    logits, right = logits[:, 0], labels[:, 0]
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


def tag_cross_entropy(logits: Tensor, tags: Tensor, sizes: Sequence[int], label_smoothing: float) -> Tensor:
    """Over the words that have a tag to learn; ``logits`` ``(sentences, words, outputs)``."""
    return F.cross_entropy(
        logits.flatten(0, 1),
        tags.flatten(),
        ignore_index=UNLABELLED,
        reduction="sum",
        label_smoothing=label_smoothing,
    )


LOSSES: dict[str, Callable[[Tensor, Tensor, Sequence[int], float], Tensor]] = {
    loss.__name__: loss
    for loss in (cross_entropy, mean_squared_error, binary_cross_entropy, choice_cross_entropy, tag_cross_entropy)
}
"""The losses by the names that problem types use (`ProblemType.loss`): logits, labels, sizes, label smoothing."""


# Words -----------------------------------------------------------------------------------------------------------


def collate_words(features: Features, rows: Sequence[int]) -> tuple[Tensor, Tensor | None, list[int]]:
    """Positions ``(sentences, most words)``, the tags to learn likewise (None: unknown), words per sentence."""
    words = [features.columns["words"][row] for row in rows]
    labels = [features.columns["labels"][row] for row in rows]
    positions = pad(words, UNREAD)
    labelled = all(map(len, labels))
    tags = pad(labels, UNLABELLED).masked_fill(positions == UNREAD, UNLABELLED) if labelled else None
    return positions, tags, [len(row) for row in words]


def at_words(states: Tensor, positions: Tensor) -> Tensor:
    """Of all tokens' outputs, ``(sentences, length, outputs)``, those of the words: ``(sentences, words, outputs)``."""
    indices = positions.clamp(min=0).unsqueeze(-1).expand(-1, -1, states.shape[-1])
    return states.gather(1, indices)


def tag_scores(logits: Tensor, positions: Tensor, sizes: Sequence[int]) -> list[Any]:
    """Scores ``(words, tags)`` of each sentence; NaN for a word that was not read."""
    scores = logits.masked_fill((positions == UNREAD).unsqueeze(-1), torch.nan).cpu().numpy()
    return [row[:size] for row, size in zip(scores, sizes, strict=True)]
