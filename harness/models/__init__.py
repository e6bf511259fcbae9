"""How a pretrained checkpoint becomes a predictor for any task: one class per architecture."""

import importlib

from harness.config.schema import Model
from harness.models.base import Architecture, Batch


def architecture_class(model: Model | type[Model]) -> type[Architecture]:
    """The class that implements a model's architecture."""
    module, _, name = model.implementation.partition(":")
    return getattr(importlib.import_module(module), name)


__all__ = ["Architecture", "Batch", "architecture_class"]
