"""What the runs of one command share: their context, and data, tokenizers, checkpoints and features, each read once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from harness.config.benchmark import BenchmarkFile
from harness.config.schema import BenchmarkSpec, Model, Recipe
from harness.data.datasets import Examples, data_fingerprint, held_out, open_examples, splits_in
from harness.data.features import FEATURES_VERSION, Features, Group, cached
from harness.data.hub import Checkpoint, resolve_checkpoint
from harness.errors import HarnessError
from harness.io import fingerprint
from harness.models import architecture_class
from harness.models.files import check_files
from harness.results.leases import Leases
from harness.results.store import Store
from harness.search.study import Suggested
from harness.task.baseline import constant_answer, constant_predictions
from harness.task.functions import repairs
from harness.task.task import Example, Task, is_unlabelled
from harness.task.texts import normalised

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator
    from transformers import PreTrainedTokenizerBase

    from harness.models import Architecture
    from harness.runner.progress import Display
    from harness.runner.signals import Interrupts
    from harness.training.device import Machine
    from harness.training.evaluation import Split

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)

HOLDOUT = "holdout"
"""The name of the part of the training data that chooses the checkpoint with ``selection: holdout``."""
HOLDOUT_SHARE, HOLDOUT_MOST = 0.1, 2000


@dataclass(frozen=True)
class Context:
    """What a command works with. Commands on the same results folder share the runs by ``leases``."""

    file: BenchmarkFile
    resources: Resources
    store: Store
    accelerator: Accelerator
    display: Display
    interrupts: Interrupts
    leases: Leases
    at_once: int = 1
    """How many runs the command does at a time."""
    sweeping: bool = False
    """Whether the runs that are done now are those that choose the recipes of a sweep."""
    suggested: dict[tuple[str, str], Suggested] = field(default_factory=dict)
    """What searches have suggested so far, by (task, model)."""
    curves: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """Learning curves of trials, by fingerprint."""

    @property
    def spec(self) -> BenchmarkSpec:
        """The benchmark."""
        return self.resources.spec

    @property
    def main(self) -> bool:
        """Whether this is the process that writes."""
        return self.accelerator.is_main_process


@dataclass
class Resources:
    """Everything that is read from outside, kept for the time of one command.

    Args:
        spec: the benchmark (data sources, limits, selection).
        cache: folder for tokenised features and sample tokenizers.
        machine: what decides what ``auto`` means; None: the machine of this process.
    """

    spec: BenchmarkSpec
    cache: Path
    machine: Machine | None = None
    costs: dict[tuple[str, str, Recipe], dict[str, Any]] = field(default_factory=dict)
    """What `harness.training.inference.counted` gave for a task, a model and a recipe."""
    _kept: dict[tuple[Any, ...], Any] = field(default_factory=dict)

    def once(self, key: tuple[Any, ...], make: Callable[[], T]) -> T:
        """What ``make`` gave the first time."""
        if key not in self._kept:
            self._kept[key] = make()
        return cast(T, self._kept[key])

    # Data

    def source(self, task: Task) -> str | Path:
        """Where the task's data comes from, by the benchmark's ``data:``."""
        return self.spec.source(task)

    def splits(self, task: Task) -> set[str]:
        """The splits that are there; with ``allow_partial`` a validation split can be cut from train."""
        return splits_in(task, self.source(task), allow_partial=self.spec.allow_partial)

    def examples(self, task: Task, split: str) -> list[Example]:
        """A split's examples in memory, where they stay: for splits that are evaluated."""
        return self.once(("examples", task.name, split), lambda: list(self.open(task, split)))

    def labelled(self, task: Task, split: str) -> bool:
        """Whether the examples of a split that is there have labels."""
        return not any(is_unlabelled(task, example) for example in self.examples(task, split)[:1])

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
        def opened() -> Examples:
            source, limit = self.source(task), self.limit(task, split)
            return open_examples(task, source, split, allow_partial=self.spec.allow_partial, limit=limit)

        return self.once(("opened", task.name, split), opened)

    def _held_out(self, task: Task, split: str) -> Examples:
        assert task.train_split is not None
        examples = self._open(task, task.train_split)
        positions = self.once(
            ("held out", task.name),
            lambda: held_out(task, examples, HOLDOUT_SHARE, HOLDOUT_MOST, f"the training data of task '{task.name}'"),
        )
        return examples.at(positions, others=split != HOLDOUT)

    def repairs(self, task: Task, split: str) -> int:
        """How many examples of a split had data that does not fit and was put right (see `Task.repairs`)."""
        return sum(bool(repairs(task, example)) for example in self.examples(task, split))

    def overlap(self, task: Task, evaluated: Sequence[tuple[Task, str]]) -> dict[tuple[str, str], int]:
        """How many examples of each (task, split) have a text of the task's training data; counted once."""

        def counted() -> dict[tuple[str, str], int]:
            splits = {(other.name, split): (other, self.examples(other, split)) for other, split in evaluated}
            return overlap(task, self._open(task, str(task.train_split)), splits)

        return self.once(("overlap", task.name, *((other.name, split) for other, split in evaluated)), counted)

    def baseline(self, trained: Task, task: Task, split: str) -> dict[str, float]:
        """What one constant answer scores on a split of a task; the labels that are trained on choose it."""

        from harness.training.evaluation import score

        def scored() -> dict[str, float]:
            training = self._open(trained, str(trained.train_split))
            answer = self.once(("constant", trained.name), lambda: constant_answer(trained, training))
            examples = self.examples(task, split)
            return score(task, examples, constant_predictions(task, answer, examples))

        return self.once(("baseline", trained.name, task.name, split), scored)

    def limit(self, task: Task, split: str) -> int | None:
        """The benchmark's ``limit`` for a split, if any."""
        tested = split in task.test_splits and split not in task.validation_splits
        if self.spec.limit is None or tested:
            return None
        return self.spec.limit.train if split == task.train_split else self.spec.limit.validation

    def data(self, task: Task, splits: Sequence[str], model: Model | None = None) -> dict[str, Any]:
        """The content fingerprint of the task's data, as it is trained on for a ``model`` if one is given."""

        def identity() -> dict[str, Any]:
            content = data_fingerprint(task, self.source(task), splits, allow_partial=self.spec.allow_partial)
            limits = {split: self.limit(task, split) for split in splits}
            return {**content, "limit": limits} if any(limits.values()) else content

        identity_of_files = self.once(("data", task.name, *splits), identity)
        if model is None or not self.holds_out(task, model):
            return identity_of_files
        return {**identity_of_files, "held_out": fingerprint({"cluster": task.cluster_definition})}

    # Models

    def checkpoint(self, model: Model) -> Checkpoint | None:
        """The model's checkpoint on this machine, or None for random weights."""
        checkpoint = self.once(("checkpoint", model.name), lambda: _checkpoint(model))
        if isinstance(checkpoint, HarnessError):
            raise checkpoint  # the same for every task, without asking the Hub again
        return checkpoint

    def tokenizer(self, model: Model) -> PreTrainedTokenizerBase:
        """The model's tokenizer."""
        return self._tokenizer(model)[0]

    def _tokenizer(self, model: Model) -> tuple[PreTrainedTokenizerBase, str]:
        """The tokenizer, and its fingerprint before its first use, which changes its state."""

        from harness.models.tokenizers import tokenizer_fingerprint

        def loaded() -> tuple[PreTrainedTokenizerBase, str]:
            tokenizer = self._load_tokenizer(model)
            return tokenizer, tokenizer_fingerprint(tokenizer)

        return self.once(("tokenizer", model.name), loaded)

    def _load_tokenizer(self, model: Model) -> PreTrainedTokenizerBase:
        from harness.models.files import model_type_of
        from harness.models.tokenizers import load_tokenizer, sample_tokenizer

        name = f"model '{model.name}'"
        if model.tokenizer == "sample":
            return sample_tokenizer(model.tokenizer_family, self.cache)
        checkpoint = self.checkpoint(model)
        model_type = model_type_of(model, checkpoint.folder if checkpoint else None)
        if model.tokenizer is not None:
            folder = Path(model.tokenizer)
            if not folder.is_dir():
                folder = resolve_checkpoint(model.tokenizer, None, weights=False).folder
            return load_tokenizer(folder, name, model_type)
        if checkpoint is None:
            raise HarnessError(f"{name} starts from random weights: name its tokenizer (tokenizer: ...)")
        return load_tokenizer(checkpoint.folder, name, model_type)

    def model_identity(self, model: Model, task: Task) -> dict[str, Any]:
        """What the model of a task is by content: never by name or path."""
        checkpoint = self.checkpoint(model)
        return {
            "architecture": model.architecture,
            "options": model.options(task),
            "content": checkpoint.content if checkpoint else None,
            "config": model.config,
            "tokenizer": self._tokenizer(model)[1],
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

    def settled(self, runs: Iterable[T]) -> list[T]:
        """Runs, with the settings that they have here."""
        return list(runs)

    def resolved(self, recipe: Recipe, model: Model, task: Task, device: torch.device) -> Recipe:
        """The recipe as it will be used here; sizes are looked at only where ``compile: auto`` needs them."""
        import torch

        from harness.training.device import resolve
        from harness.training.optimizer import trained_parameters
        from harness.training.update import plan_of, steps_of

        architecture, parameters, tokens, machine = self.architecture(model, task, recipe), 0, 0.0, self.machine
        if recipe.compile == "auto":
            parameters = trained_parameters(architecture.build_for_sizes())["total"]
            features = self.features(architecture, task, str(task.train_split), training=True)
            plan = plan_of(features, recipe, seed=0)
            tokens = float(features.lengths.mean()) * plan.batch_size * steps_of(plan, recipe)
        if machine is None:
            return resolve(recipe, device, model.half_precision, parameters, tokens)
        device = torch.device(machine.device)
        return resolve(recipe, device, model.half_precision, parameters, tokens, machine.fast_bf16)

    def features(self, architecture: Architecture, task: Task, split: str, training: bool) -> Features:
        """The split as this architecture reads it: tokenised once for all seeds and models that read it so."""
        train = str(task.train_split)
        held_out_of = architecture.model if split in (HOLDOUT, train) else None
        key = {
            "version": FEATURES_VERSION,
            "data": self.data(task, [train if split == HOLDOUT else split], held_out_of),
            "split": split,
            "selection": self._selection(task, split, architecture.model),
            "task": task.definition(),
            "tokenizer": self._tokenizer(architecture.model)[1],
            "max_length": architecture.max_length,
            "options": architecture.text_options(),
            "training": training,
        }
        digest = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()

        def groups() -> Iterator[Group]:
            examples = self.open(task, split, architecture.model) if training else self.examples(task, split)
            return architecture.for_task(task).groups(examples, training)

        return self.once(("features", digest), lambda: cached(self.cache, digest, groups))

    def evaluated(self, architecture: Architecture, task: Task, split: str) -> Split:
        """A split to evaluate an architecture on."""
        from harness.training.evaluation import Split

        return Split(task, split, self.examples(task, split), self.features(architecture, task, split, training=False))

    def _selection(self, task: Task, split: str, model: Model) -> str | None:
        """What the examples of a split depend on besides the data."""
        if split not in (task.train_split, HOLDOUT):
            return None
        return HOLDOUT if self.holds_out(task, model) else self.spec.selection


def _checkpoint(model: Model) -> Checkpoint | HarnessError | None:
    """A model's checkpoint, or what is wrong with it."""
    if model.checkpoint is None:
        return None
    try:
        checkpoint = resolve_checkpoint(model.checkpoint, model.revision)
        check_files(f"model '{model.name}'", checkpoint.folder)
    except HarnessError as error:
        return error
    return checkpoint


# Overlap ---------------------------------------------------------------------------------------------------------


def overlap(
    task: Task, training: Iterable[Example], evaluated: Mapping[K, tuple[Task, Iterable[Example]]]
) -> dict[K, int]:
    """How many examples of each evaluated split have the text of a training example.

    Texts are equal when all text fields of the two examples together are, in the order of ``Task.text_fields``, after
    `normalised`. Labels do not count, nor does how often a text stands in the training data.

    Args:
        task: the task that is trained.
        training: its training examples, read once.
        evaluated: by any key, a split's task (the same, or a diagnostic of it) and examples.
    """
    texts = {key: [_text(other, example) for example in examples] for key, (other, examples) in evaluated.items()}
    evaluated_texts = {text for of_split in texts.values() for text in of_split}
    shared = {text for text in (_text(task, example) for example in training) if text in evaluated_texts}
    return {key: sum(text in shared for text in of_split) for key, of_split in texts.items()}


def _text(task: Task, example: Example) -> tuple[str, ...]:
    return tuple(normalised(example[name]) for name in task.text_fields)
