"""The contract of an architecture: how a pretrained checkpoint becomes a predictor for any task."""

from __future__ import annotations

import contextlib
import copy
import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from harness.config.schema import Model
from harness.data.features import Features, Group, pack
from harness.task.task import Example, Task

CHUNK = 1000


@dataclass
class Batch:
    """What one forward pass reads.

    ``inputs`` are the model's keyword arguments; ``labels`` what the loss compares with (None when predicting);
    ``sizes`` ``(groups,)`` the instances of each group, or the words of each sentence; ``weight`` the number of terms
    in the loss, by which the sum is divided once the whole update is known. Where classes have weights, ``weights`` are
    those of the terms, and ``weight`` is their sum.
    """

    inputs: dict[str, Tensor]
    labels: Tensor | None
    sizes: list[int]
    weight: float
    weights: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device; does not wait for the copies."""

        def copied(tensor: Tensor) -> Tensor:
            return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)

        inputs = {name: copied(tensor) for name, tensor in self.inputs.items()}
        labels, weights = (None if tensor is None else copied(tensor) for tensor in (self.labels, self.weights))
        return Batch(inputs, labels, self.sizes, self.weight, weights)


class Architecture(ABC):
    """One (model, task) pair.

    Args:
        model: the entry of benchmarks.yaml, with its options.
        folder: the checkpoint's files, or None to start from random weights.
        tokenizer: the tokenizer that belongs to it.
        task: what is predicted.
        max_length: the longest input in tokens.
        label_smoothing: as in `torch.nn.functional.cross_entropy`; a regression has none.

    >>> import tempfile, torch
    >>> from harness import load_examples, load_tasks
    >>> from harness.config.architectures import BertSettings
    >>> from harness.models import architecture_class
    >>> from harness.models.tokenizers import sample_tokenizer
    >>> model = BertSettings(name="tiny", config={"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4})
    >>> tokenizer = sample_tokenizer("bert", Path(tempfile.mkdtemp()))
    >>> bert = architecture_class(model)(model, None, tokenizer, load_tasks()["cola"], max_length=64)
    >>> features = bert.features(load_examples("cola", "sample", "validation")[:3], training=False)
    >>> with torch.no_grad():
    ...     scores = bert.predict(bert.build().eval(), bert.collate(features, groups=[0, 1, 2]))
    >>> [row.shape for row in scores]
    [(1, 2), (1, 2), (1, 2)]
    """

    def __init__(
        self,
        model: Model,
        folder: Path | None,
        tokenizer: PreTrainedTokenizerBase,
        task: Task,
        max_length: int,
        label_smoothing: float = 0.0,
    ):
        self.model, self.folder, self.tokenizer, self.task = model, folder, tokenizer, task
        self.max_length, self.label_smoothing = max_length, label_smoothing
        self.class_weights: np.ndarray | None = None
        """By how much the loss of an example counts, by its class (`weigh_classes`); None: all alike."""

    @abstractmethod
    def build(self) -> nn.Module:
        """The model with its weights in float32: the checkpoint's, and new ones from torch's current random state.

        It is a `transformers.PreTrainedModel`: training chooses its attention and looks at its word embedding.
        """

    def build_for_sizes(self) -> nn.Module:
        """The model to look at its sizes; its weights take no memory where they are not read from a checkpoint."""
        with torch.device("meta") if self.folder is None else contextlib.nullcontext():
            return self.build()

    @property
    def model_class(self) -> Any:
        """What reads `build`'s model back from a folder of ``save_pretrained``: an auto class, or its own."""
        return type(self.build_for_sizes())

    @abstractmethod
    def groups(self, examples: Iterable[Example], training: bool) -> Iterator[Group]:
        """Tokenised instances, one group per example (training may drop examples or split them)."""

    def features(self, examples: Iterable[Example], training: bool) -> Features:
        """The groups, in memory."""
        return pack(self.groups(examples, training))

    @abstractmethod
    def collate(self, features: Features, groups: Sequence[int], multiple: int = 1) -> Batch:
        """Whole groups, padded to the longest of them, or to the next ``multiple`` of so many tokens."""

    @abstractmethod
    def classes(self, features: Features) -> np.ndarray:
        """The class of each training example, where the task has one for each."""

    def weigh_classes(self, features: Features) -> None:
        """Take over the task's weights of the loss; balanced ones follow from these training features."""
        self.class_weights = None
        if self.task.loss_weights is not None:
            self.class_weights = class_weights(self.task, self.classes(features))

    @abstractmethod
    def loss(self, module: nn.Module, batch: Batch) -> Tensor:
        """The sum of the loss over the batch (a scalar, ``batch.weight`` terms)."""

    @abstractmethod
    def predict(self, module: nn.Module, batch: Batch) -> list[Any]:
        """Per group: scores ``(instances, outputs)`` as float32 arrays, or the text that was generated."""

    @property
    def generates(self) -> bool:
        """Whether `predict` gives texts."""
        return self.model.generates

    def for_task(self, task: Task) -> Architecture:
        """The same model for a diagnostic of its task."""
        twin = copy.copy(self)
        twin.task = task
        return twin

    def text_options(self) -> dict[str, Any]:
        """What `features` depends on besides task, data, tokenizer and ``max_length``."""
        return {"class": type(self).__name__}


def class_weights(task: Task, classes: np.ndarray) -> np.ndarray:
    """``(labels,)`` weights of the classes of a task that has some.

    Balanced: examples / (classes that occur x examples of the class), as scikit-learn's ``compute_class_weight``.

    Args:
        classes: ``(examples,)`` class indices of the training data.
    """
    if isinstance(task.loss_weights, Mapping):
        return np.array([task.loss_weights.get(label, 1.0) for label in task.labels], dtype=np.float32)
    counts = np.bincount(classes, minlength=len(task.labels))
    balanced = len(classes) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    return np.where(counts > 0, balanced, 1.0).astype(np.float32)


def pad(rows: Sequence[np.ndarray], value: int, left: bool = False, multiple: int = 1) -> Tensor:
    """Integer rows as one tensor ``(rows, longest)``, padded on the right or the left to a multiple of a width."""
    width = -(-max(len(row) for row in rows) // multiple) * multiple
    padded = np.full((len(rows), width), value, dtype=np.int64)
    for i, row in enumerate(rows):
        padded[i, width - len(row) if left else 0 :][: len(row)] = row
    return torch.from_numpy(padded)


def chunks(examples: Iterable[Example]) -> Iterator[list[Example]]:
    """Examples in lists that are large enough to be tokenised with little effort each."""
    rest = iter(examples)
    while chunk := list(itertools.islice(rest, CHUNK)):
        yield chunk


def split_groups(rows: np.ndarray, sizes: Sequence[int]) -> Iterator[np.ndarray]:
    """Cut ``(instances, ...)`` back into the groups they belong to."""
    return iter(np.split(rows, np.cumsum(sizes)[:-1]))
