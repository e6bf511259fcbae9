"""Checkpoints: the models that are made from their files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import CONFIG_MAPPING, AutoConfig, PretrainedConfig

from harness.config.schema import Model
from harness.errors import HarnessError, did_you_mean, in_one_line

if TYPE_CHECKING:
    from torch import nn

MOST_LAYERS = 1000
"""Of a new model: it would be built for hours."""
HEADS = ("classifier", "classification_head", "score", "logits_proj")
"""What the auto classes and EncT5 call the part of a model that belongs to the labels of one task."""
REFUSALS = (
    OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, RuntimeError, ArithmeticError, ImportError,
    AssertionError, SafetensorError, StrictDataclassError,
)  # fmt: skip
"""What the libraries raise for files of a checkpoint that are damaged or do not fit together."""


def make(
    auto: Any, model: Model, folder: Path | None, config: PretrainedConfig, new_head: bool = False
) -> tuple[nn.Module, set[str]]:
    """A model in float32 by one of the auto classes, and the names of the weights that its checkpoint did not have.

    Args:
        folder: the checkpoint's files, or None to start from random weights.
        new_head: whether the checkpoint may lack all that is not of the pretrained part: a head is new in every
            fine-tuning. Poolers may be lacking in any case: models pretrained without a sentence task have none.

    Raises:
        HarnessError: a configuration that no model can have; files that are damaged or do not fit together; a
            checkpoint that lacks weights, or has them in other shapes.
    """
    import torch

    if folder is None:
        with building(model):
            return auto.from_config(config), set()
    with loading(model, folder):
        module, info = auto.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # they are named below
            output_loading_info=True,
        )
    new = {*info["missing_keys"], *(entry[0] for entry in info["mismatched_keys"])}
    pretrained = f"{module.base_model_prefix}." if new_head else ""
    if lost := sorted(name for name in new if name.startswith(pretrained) and ".pooler." not in name):
        raise HarnessError(
            f"model '{model.name}': its checkpoint lacks {len(lost)} weights of the pretrained model, or has them in "
            f"other shapes ({lost[0]}, ...): it is damaged, or of another architecture: get it again, or name another "
            "one"
        )
    return module, new


def new_config(model: Model, model_type: str, usual: Mapping[str, Any], **fixed: Any) -> PretrainedConfig:
    """The configuration of a model with random weights.

    Args:
        model: its ``config`` says what the configuration holds.
        model_type: the type of model, where that does not say it.
        usual: settings that it can change.
        fixed: settings that it cannot.

    Raises:
        HarnessError: an unknown type of model, settings that it does not have or does not take.
    """
    name, own = f"model '{model.name}'", dict(model.config or {})
    model_type = own.pop("model_type", model_type)
    if model_type not in CONFIG_MAPPING:
        raise HarnessError(f"{name}: there is no model_type '{model_type}'.{did_you_mean(model_type, CONFIG_MAPPING)}")
    defaults = AutoConfig.for_model(model_type)
    for key, value in own.items():
        if key.endswith("layers") and isinstance(value, int) and value > MOST_LAYERS:
            raise HarnessError(f"{name}: {key} is at most {MOST_LAYERS:,}, not {value:,}")
        if key not in usual and not hasattr(defaults, key):
            hint = did_you_mean(key, defaults.to_dict())
            raise HarnessError(f"{name}: a config of model_type '{model_type}' has no '{key}'.{hint}")
    with building(model):
        return _with_dropout(AutoConfig.for_model(model_type, **{**usual, **own, **fixed}), model)


def kept_config(model: Model, folder: Path, **changes: Any) -> PretrainedConfig:
    """The configuration of a checkpoint, with changes.

    Raises:
        HarnessError: one that transformers cannot read, or does not know.
    """
    with loading(model, folder / "config.json"):
        return _with_dropout(AutoConfig.from_pretrained(folder, trust_remote_code=False, **changes), model)


@contextlib.contextmanager
def building(model: Model) -> Iterator[None]:
    """Turn what the libraries say of a configuration, when a model with random weights is built, into a message."""
    try:
        yield
    except REFUSALS as error:
        raise HarnessError(f"model '{model.name}': its config is refused: {in_one_line(error)}") from error


def _with_dropout(config: PretrainedConfig, model: Model) -> PretrainedConfig:
    """The model's rate for every dropout that a configuration has, whatever it calls them; None: as they are.

    One that is an option of its own has the rate of that, where it is given.
    """
    for name, value in vars(config).items():
        own = getattr(model, name, None)
        rate = model.dropout if own is None else own
        if rate is not None and "dropout" in name and isinstance(value, float | int) and not isinstance(value, bool):
            setattr(config, name, rate)
    return config


@contextlib.contextmanager
def loading(model: Model, path: Path) -> Iterator[None]:
    """Turn what the libraries say of a checkpoint's files into a message that names the model and the ``path``."""
    with refused(f"model '{model.name}': {path}"):
        yield


@contextlib.contextmanager
def refused(what: str) -> Iterator[None]:
    """Turn what the libraries say of ``what`` is loaded into a message."""
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
        raise HarnessError(f"{what}: {problem}") from error


def class_for(model: Model, config: PretrainedConfig, classes: Mapping[type, Any], what: str) -> Any:
    """The class among those of ``transformers`` that a configuration belongs to.

    Raises:
        HarnessError: there is none.
    """
    if type(config) not in classes:
        raise HarnessError(f"model '{model.name}': transformers has no {what} of type '{config.model_type}'")
    return classes[type(config)]
