"""The contract of an architecture: how a pretrained checkpoint becomes a predictor for any task."""

from __future__ import annotations

import contextlib
import copy
import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import CONFIG_MAPPING, AutoConfig, PretrainedConfig, PreTrainedTokenizerBase

from harness.config.schema import Model
from harness.data.features import Features, Group, pack
from harness.errors import HarnessError, did_you_mean, in_one_line
from harness.models.tokenizers import encode
from harness.task.task import Example, Task

HEADS = ("classifier", "classification_head", "score", "logits_proj")
"""What the auto classes and EncT5 call the part of a model that belongs to the labels of one task."""
REFUSALS = (
    OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, RuntimeError, ArithmeticError, ImportError,
    SafetensorError, StrictDataclassError,
)  # fmt: skip
"""What the libraries raise for files of a checkpoint that are damaged or do not fit together."""


CHUNK = 1000


@dataclass
class Batch:
    """What one forward pass reads.

    ``inputs`` are the model's keyword arguments; ``labels`` what the loss compares with (None when predicting);
    ``sizes`` ``(groups,)`` the instances of each group, or the words of each sentence; ``weight`` the number of terms
    in the loss, by which the sum is divided once the whole update is known.
    """

    inputs: dict[str, Tensor]
    labels: Tensor | None
    sizes: list[int]
    weight: float

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device; does not wait for the copies."""

        def copied(tensor: Tensor) -> Tensor:
            return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)

        inputs = {name: copied(tensor) for name, tensor in self.inputs.items()}
        return Batch(inputs, None if self.labels is None else copied(self.labels), self.sizes, self.weight)


class Architecture(ABC):
    """One (model, task) pair.

    Args:
        model: the entry of benchmarks.yaml, with its options.
        folder: the checkpoint's files, or None to start from random weights.
        tokenizer: the tokenizer that belongs to it.
        task: what is predicted.
        max_length: the longest input in tokens.
        label_smoothing: as in `torch.nn.functional.cross_entropy`; a regression has none.
    """

    generates: ClassVar[bool] = False
    half_precision: ClassVar[bool] = True
    """Whether ``precision: auto`` may choose fp16 where there is no bf16."""

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

    @abstractmethod
    def build(self) -> nn.Module:
        """The model with its weights in float32: the checkpoint's, and new ones from torch's current random state."""

    @abstractmethod
    def groups(self, examples: Iterable[Example], training: bool) -> Iterator[Group]:
        """Tokenised instances, one group per example (training may drop examples or split them)."""

    def features(self, examples: Iterable[Example], training: bool) -> Features:
        """The groups, in memory."""
        return pack(self.groups(examples, training))

    @abstractmethod
    def collate(self, features: Features, groups: Sequence[int]) -> Batch:
        """Whole groups, padded to the longest of them."""

    @abstractmethod
    def loss(self, module: nn.Module, batch: Batch) -> Tensor:
        """The sum of the loss over the batch (a scalar, ``batch.weight`` terms)."""

    @abstractmethod
    def predict(self, module: nn.Module, batch: Batch) -> list[Any]:
        """Per group: scores ``(instances, outputs)`` as float32 arrays, or the text that was generated."""

    def for_task(self, task: Task) -> Architecture:
        """The same model for a diagnostic of its task."""
        twin = copy.copy(self)
        twin.task = task
        return twin

    def text_options(self) -> dict[str, Any]:
        """What `features` depends on besides task, data, tokenizer and ``max_length``."""
        return {"class": type(self).__name__, "prefix": self.model.prefix}


def pad(rows: Sequence[np.ndarray], value: int, left: bool = False) -> Tensor:
    """Integer rows as one tensor ``(rows, longest)``, padded on the right or the left."""
    width = max(len(row) for row in rows)
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


def tokenize(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], max_length: int, give_way: Sequence[str | None]
) -> list[list[int]]:
    """Token ids of texts with their special tokens, at most ``max_length`` each.

    ``give_way[i]`` is the part of ``texts[i]`` that loses its end when the text is too long; None, or a part that
    is too short to make room, cuts the end of the text.
    """
    encoded = encode(tokenizer, texts)["input_ids"]
    for i, ids in enumerate(encoded):
        if len(ids) > max_length:
            encoded[i] = _shortened(tokenizer, texts[i], len(ids) - max_length, give_way[i], max_length)
    return encoded


def _shortened(
    tokenizer: PreTrainedTokenizerBase, text: str, excess: int, part: str | None, max_length: int
) -> list[int]:
    start = text.rfind(part) if part else -1
    if start >= 0:
        assert part is not None
        encoding = tokenizer(text, return_offsets_mapping=True)
        inside = [
            i for i, (a, b) in enumerate(encoding["offset_mapping"]) if a >= start and start < b <= start + len(part)
        ]
        if len(inside) >= excess:
            drop = set(inside[-excess:])
            return [token for i, token in enumerate(encoding["input_ids"]) if i not in drop]
    return tokenizer(text, truncation=True, max_length=max_length)["input_ids"]


def check_loaded(model: str, info: Mapping[str, Any], pretrained: str = "") -> None:
    """Refuse a checkpoint that lacks weights of the pretrained part, or has them in other shapes.

    Args:
        model: the model's name, for the message.
        info: the ``loading_info`` of ``from_pretrained``.
        pretrained: what the names in the pretrained part begin with; all others are new in every fine-tuning, and so
            are poolers, which models pretrained without a sentence task do not have.
    """
    lost = sorted(name for name in not_loaded(info) if name.startswith(pretrained) and ".pooler." not in name)
    if lost:
        raise HarnessError(
            f"model '{model}': its checkpoint lacks {len(lost)} weights of the pretrained model, or has them in other "
            f"shapes ({lost[0]}, ...): it is damaged, or of another architecture: get it again, or name another one"
        )


def not_loaded(info: Mapping[str, Any]) -> set[str]:
    """The weights that a checkpoint did not have, or in another shape."""
    return {*info["missing_keys"], *(entry[0] for entry in info["mismatched_keys"])}


def new_config(model: Model, kind: str, usual: Mapping[str, Any], **fixed: Any) -> PretrainedConfig:
    """The configuration of a model with random weights.

    Args:
        model: its ``config`` says what the configuration holds.
        kind: the type of model, where that does not say it.
        usual: settings that it can change.
        fixed: settings that it cannot.

    Raises:
        HarnessError: an unknown type of model, settings that it does not have or does not take.
    """
    name, own = f"model '{model.name}'", dict(model.config or {})
    kind = own.pop("model_type", kind)
    if kind not in CONFIG_MAPPING:
        raise HarnessError(f"{name}: there is no model_type '{kind}'.{did_you_mean(kind, CONFIG_MAPPING)}")
    known = AutoConfig.for_model(kind)
    for key in own:
        if key not in usual and not hasattr(known, key):
            hint = did_you_mean(key, known.to_dict())
            raise HarnessError(f"{name}: a config of model_type '{kind}' has no '{key}'.{hint}")
    try:
        return _with_dropout(AutoConfig.for_model(kind, **{**usual, **own, **fixed}), model.dropout)
    except (ValueError, TypeError, StrictDataclassError) as error:
        raise HarnessError(f"{name}: its config is refused: {in_one_line(error)}") from error


def kept_config(model: Model, folder: Path, **changes: Any) -> PretrainedConfig:
    """The configuration of a checkpoint, with changes.

    Raises:
        HarnessError: one that transformers cannot read, or does not know.
    """
    with loading(model, folder / "config.json"):
        return _with_dropout(AutoConfig.from_pretrained(folder, trust_remote_code=False, **changes), model.dropout)


@contextlib.contextmanager
def building(model: Model) -> Iterator[None]:
    """Turn what the libraries say of a configuration, when a model with random weights is built, into a message."""
    try:
        yield
    except REFUSALS as error:
        raise HarnessError(f"model '{model.name}': its config is refused: {in_one_line(error)}") from error


def _with_dropout(config: PretrainedConfig, dropout: float | None) -> PretrainedConfig:
    """The same rate for every dropout that a configuration has, whatever it calls them; None: as they are."""
    for name, value in vars(config).items():
        if dropout is not None and "dropout" in name and isinstance(value, float | int) and not isinstance(value, bool):
            setattr(config, name, dropout)
    return config


@contextlib.contextmanager
def loading(model: Model, place: Path) -> Iterator[None]:
    """Turn what the libraries say of a checkpoint's files into a message that names the model and the ``place``."""
    try:
        yield
    except REFUSALS as error:
        problem = in_one_line(error)
        if "trust_remote_code" in problem:
            problem = "needs code of its own, and no remote code is run: choose a checkpoint that transformers knows"
        elif isinstance(error, ImportError):
            problem = f"needs a library that is not installed ({problem})"
        elif not isinstance(error, OSError | ValueError | StrictDataclassError):
            problem = f"cannot be loaded: damaged, or of another architecture? ({type(error).__name__}: {problem})"
        raise HarnessError(f"model '{model.name}': {place}: {problem}") from error


def load_pretrained(
    auto: Any, model: Model, folder: Path, config: PretrainedConfig
) -> tuple[nn.Module, Mapping[str, Any]]:
    """A checkpoint's model in float32, by one of the auto classes, and its ``loading_info`` (see `check_loaded`).

    Raises:
        HarnessError: its files are damaged or do not fit together.
    """
    with loading(model, folder):
        return auto.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # `check_loaded` says which
            output_loading_info=True,
        )


def class_for(model: Model, config: PretrainedConfig, classes: Mapping[type, Any], what: str) -> Any:
    """The class among those of ``transformers`` that a configuration belongs to.

    Raises:
        HarnessError: there is none.
    """
    if type(config) not in classes:
        raise HarnessError(f"model '{model.name}': transformers has no {what} of type '{config.model_type}'")
    return classes[type(config)]


def check_tokenizer(tokenizer: PreTrainedTokenizerBase, module: nn.Module, model: Model) -> None:
    """Refuse a tokenizer whose ids the model's embedding does not hold."""
    rows = module.get_input_embeddings().num_embeddings  # type: ignore[operator]
    if len(tokenizer) > rows and max(tokenizer.get_vocab().values()) >= rows:
        raise HarnessError(
            f"model '{model.name}': its tokenizer has ids up to {max(tokenizer.get_vocab().values())}, but its word "
            f"embedding has {rows} rows: tokenizer and checkpoint do not belong together"
        )
