"""What the runs of one command share: data, tokenizers, checkpoints and features, each read once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from harness.config.schema import BenchmarkSpec, Model, Recipe
from harness.data.datasets import Examples, data_fingerprint, open_examples, permutation, splits_in
from harness.data.features import FEATURES_VERSION, Features, Group, cached
from harness.data.hub import Checkpoint, resolve_checkpoint
from harness.errors import HarnessError
from harness.models import Architecture, architecture_class
from harness.models.checkpoints import check_files
from harness.models.tokenizers import load_tokenizer, sample_tokenizer, tokenizer_fingerprint
from harness.runner.overlap import overlap
from harness.task.functions import repairs
from harness.task.task import Example, Task

HOLDOUT = "holdout"
"""The name of the part of the training data that chooses the checkpoint with ``selection: holdout``."""
HOLDOUT_SHARE, HOLDOUT_MOST = 0.1, 2000


@dataclass
class Session:
    """Everything that is read from outside, kept for the time of one command.

    Args:
        spec: the benchmark (data sources, limits, selection).
        cache: folder for tokenised features and sample tokenizers.
    """

    spec: BenchmarkSpec
    cache: Path
    _opened: dict[tuple[str, str], Examples] = field(default_factory=dict)
    _examples: dict[tuple[str, str], list[Example]] = field(default_factory=dict)
    _tokenizers: dict[str, PreTrainedTokenizerBase] = field(default_factory=dict)
    _tokenizer_hashes: dict[str, str] = field(default_factory=dict)
    _checkpoints: dict[str, Checkpoint | HarnessError | None] = field(default_factory=dict)
    _overlaps: dict[tuple[str, str, str], int] = field(default_factory=dict)
    _fingerprints: dict[tuple[str, tuple[str, ...]], dict[str, Any]] = field(default_factory=dict)

    costs: dict[tuple[str, str, Recipe], dict[str, Any]] = field(default_factory=dict)
    """What `harness.training.efficiency.measured` found for a task, a model and a recipe."""

    # Data

    def source(self, task: Task) -> str | Path:
        """Where the task's data comes from, by the benchmark's ``data:``."""
        return self.spec.source(task)

    def splits(self, task: Task) -> set[str]:
        """The splits that are there; with ``allow_partial`` a validation split can be cut from train."""
        return splits_in(task, self.source(task), allow_partial=self.spec.allow_partial)

    def examples(self, task: Task, split: str) -> list[Example]:
        """A split's examples in memory, where they stay: for splits that are evaluated."""
        key = (task.name, split)
        if key not in self._examples:
            self._examples[key] = list(self.open(task, split))
        return self._examples[key]

    def open(self, task: Task, split: str, model: Model | None = None) -> Examples:
        """A split's examples, to be read one by one (``holdout``, and a train split without it where `holds_out`)."""
        if split == HOLDOUT or (split == task.train_split and self.holds_out(task, model)):
            return self._held_out(task, split)
        return self._open(task, split)

    def holds_out(self, task: Task, model: Model | None) -> bool:
        """Whether a part of the training data is not trained on: it chooses the checkpoint, or tunes a threshold."""
        tuned = model is not None and model.label_threshold == "tuned" and task.has_threshold
        return tuned or self.spec.selection == HOLDOUT

    def _open(self, task: Task, split: str) -> Examples:
        key = (task.name, split)
        if key not in self._opened:
            self._opened[key] = open_examples(
                task, self.source(task), split, allow_partial=self.spec.allow_partial, limit=self.limit(task, split)
            )
        return self._opened[key]

    def _held_out(self, task: Task, split: str) -> Examples:
        assert task.train_split is not None
        examples = self._open(task, task.train_split)
        held = min(HOLDOUT_MOST, max(1, int(examples.count * HOLDOUT_SHARE)))
        return examples.at(permutation(examples.count)[:held], others=split != HOLDOUT)

    def repairs(self, task: Task, split: str) -> int:
        """How many examples of a split had data that does not fit and was put right (see `Task.repairs`)."""
        return sum(bool(repairs(task, example)) for example in self.examples(task, split))

    def overlap(self, task: Task, evaluated: Sequence[tuple[Task, str]]) -> dict[tuple[str, str], int]:
        """How many examples of each (task, split) have a text of the task's training data; counted once."""
        new = {(task.name, other.name, split): (other, split) for other, split in evaluated}
        new = {key: value for key, value in new.items() if key not in self._overlaps}
        if new:
            splits = {key: (other, self.examples(other, split)) for key, (other, split) in new.items()}
            self._overlaps |= overlap(task, self._open(task, str(task.train_split)), splits)
        return {(other.name, split): self._overlaps[task.name, other.name, split] for other, split in evaluated}

    def limit(self, task: Task, split: str) -> int | None:
        """The benchmark's ``limit`` for a split, if any."""
        tested = split in task.test_splits and split not in task.validation_splits
        if self.spec.limit is None or tested:
            return None
        return self.spec.limit.train if split == task.train_split else self.spec.limit.validation

    def data(self, task: Task, splits: Sequence[str]) -> dict[str, Any]:
        """The content fingerprint of the task's data."""
        key = (task.name, tuple(splits))
        if key not in self._fingerprints:
            found = data_fingerprint(task, self.source(task), splits, allow_partial=self.spec.allow_partial)
            limits = {split: self.limit(task, split) for split in splits}
            self._fingerprints[key] = {**found, "limit": limits} if any(limits.values()) else found
        return self._fingerprints[key]

    # Models

    def checkpoint(self, model: Model) -> Checkpoint | None:
        """The model's checkpoint on this machine, or None for random weights."""
        if model.name not in self._checkpoints:
            try:
                self._checkpoints[model.name] = _checkpoint(model)
            except HarnessError as error:
                self._checkpoints[model.name] = error
        found = self._checkpoints[model.name]
        if isinstance(found, HarnessError):
            raise found  # the same for every task, without asking the Hub again
        return found

    def tokenizer(self, model: Model) -> PreTrainedTokenizerBase:
        """The model's tokenizer."""
        if model.name not in self._tokenizers:
            self._tokenizers[model.name] = self._load_tokenizer(model)
            self._tokenizer_hashes[model.name] = tokenizer_fingerprint(self._tokenizers[model.name])
        return self._tokenizers[model.name]

    def _load_tokenizer(self, model: Model) -> PreTrainedTokenizerBase:
        name = f"model '{model.name}'"
        if model.tokenizer == "sample":
            return sample_tokenizer(model.tokenizer_family, self.cache)
        if model.tokenizer is not None:
            folder = Path(model.tokenizer)
            if not folder.is_dir():
                folder = resolve_checkpoint(model.tokenizer, None, weights=False).folder
            return load_tokenizer(folder, name)
        checkpoint = self.checkpoint(model)
        if checkpoint is None:
            raise HarnessError(f"{name} starts from random weights: name its tokenizer (tokenizer: ...)")
        return load_tokenizer(checkpoint.folder, name)

    def model_identity(self, model: Model) -> dict[str, Any]:
        """What the model is by content: never by name or path."""
        checkpoint = self.checkpoint(model)
        self.tokenizer(model)
        return {
            **model.options(),
            "architecture": model.architecture,
            "content": checkpoint.content if checkpoint else None,
            "config": model.config,
            "tokenizer": self._tokenizer_hashes[model.name],
        }

    def architecture(self, model: Model, task: Task, recipe: Recipe) -> Architecture:
        """The (model, task) pair of a run."""
        checkpoint = self.checkpoint(model)
        return architecture_class(model)(
            model,
            checkpoint.folder if checkpoint else None,
            self.tokenizer(model),
            task,
            recipe.max_length,
            recipe.label_smoothing,
        )

    def features(self, architecture: Architecture, task: Task, split: str, training: bool) -> Features:
        """The split as this architecture reads it: tokenised once for all seeds and models that read it so."""
        key = {
            "version": FEATURES_VERSION,
            "data": self.data(task, [split if split != HOLDOUT else str(task.train_split)]),
            "split": split,
            "selection": self._selection(task, split, architecture.model),
            "task": task.definition(),
            "tokenizer": self._tokenizer_hashes[architecture.model.name],
            "max_length": architecture.max_length,
            "options": architecture.text_options(),
            "training": training,
        }
        digest = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()

        def groups() -> Iterator[Group]:
            examples = self.open(task, split, architecture.model) if training else self.examples(task, split)
            return architecture.for_task(task).groups(examples, training)

        return cached(self.cache, digest, groups)

    def _selection(self, task: Task, split: str, model: Model) -> str | None:
        """What the examples of a split depend on besides the data."""
        if split not in (task.train_split, HOLDOUT):
            return None
        return HOLDOUT if self.holds_out(task, model) else self.spec.selection


def _checkpoint(model: Model) -> Checkpoint | None:
    if model.checkpoint is None:
        return None
    checkpoint = resolve_checkpoint(model.checkpoint, model.revision)
    check_files(f"model '{model.name}'", checkpoint.folder)
    return checkpoint
