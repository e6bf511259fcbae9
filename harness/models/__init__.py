"""How a pretrained checkpoint becomes a predictor for any task: one class per architecture."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from harness.config.schema import Model

if TYPE_CHECKING:
    from harness.models.base import Architecture, Batch


def architecture_class(model: Model | type[Model]) -> type[Architecture]:
    """The class that implements a model's architecture."""
    module, _, name = model.implementation.partition(":")
    return getattr(importlib.import_module(module), name)


def __getattr__(name: str) -> Any:
    """The contract, which needs torch, when it is asked for: tokenizers and files of checkpoints do not."""
    if name in ("Architecture", "Batch"):
        return getattr(importlib.import_module("harness.models.base"), name)
    raise AttributeError(f"module 'harness.models' has no attribute '{name}'")


__all__ = ["Architecture", "Batch", "architecture_class"]
