"""Trained models as folders that ``from_pretrained``, ``pipeline`` and ``Trainer`` of transformers take."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers.utils import logging

from harness.errors import system_errors
from harness.models.base import Architecture
from harness.models.checkpoints import loading
from harness.models.tokenizers import check_tokenizer
from harness.task.task import Task

ONE_FILE = "1000GB"


def save_pretrained(architecture: Architecture, module: nn.Module, weights: Mapping[str, Tensor], folder: Path) -> None:
    """Write configuration with label names, tokenizer and weights (and EncT5's code) into a new folder.

    Args:
        architecture: of the model, with its task and its tokenizer.
        module: the model; its own weights do not matter.
        weights: its weights by name, as ``module.state_dict()`` has them.
        folder: does not exist.

    Raises:
        OSError: the disk says no.
    """
    saved: Any = module
    folder.mkdir()
    with system_errors(folder):
        saved.save_pretrained(folder, state_dict=dict(weights), max_shard_size=ONE_FILE)
        config = copy.deepcopy(saved.config)  # compiled models watch theirs
        _name_labels(config, architecture.task)
        config.save_pretrained(folder)
        architecture.tokenizer.save_pretrained(folder)


def _name_labels(config: Any, task: Task) -> None:
    labels = task.labels
    if labels and not config.is_encoder_decoder and config.num_labels == len(labels):
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: i for i, label in enumerate(labels)}
    if getattr(config, "problem_type", "") is None and task.problem_type in PROBLEM_TYPES:
        config.problem_type = task.problem_type


PROBLEM_TYPES = ("single_label_classification", "multi_label_classification", "regression")
"""Those that transformers has."""


def from_kept(architecture: Architecture, folder: Path) -> nn.Module:
    """A model that `save_pretrained` wrote, in float32 on the CPU; no code of the folder is run.

    Raises:
        HarnessError: files that do not fit together.
    """
    with loading(architecture.model, folder), quietly():
        module: nn.Module = architecture.model_class.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
    check_tokenizer(architecture.tokenizer, module, architecture.model.name)
    return module


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """A block in which transformers shows no progress, and tells errors only."""
    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()
