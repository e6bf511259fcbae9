"""The optimizer, its schedule, and the parameters that it trains."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from harness.config.schema import Recipe


def schedule_factor(recipe: Recipe, step: int, steps: int) -> float:
    """What the peak learning rate is multiplied by: a linear warm-up, then constant or down to 0 in a straight line."""
    warmup = math.ceil(recipe.warmup_ratio * steps)
    if step < warmup:
        return step / warmup
    return 1.0 if recipe.schedule == "constant" else max(0.0, (steps - step) / max(1, steps - warmup))


def make_optimizer(module: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW (fused) or Adafactor (arXiv 1804.04235, as T5 used it: relative parameter scale, fixed rate).

    Weight decay is for matrices only: not for biases and the weights of layer norms.
    """
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)
    from transformers.optimization import Adafactor

    return Adafactor(groups, lr=recipe.learning_rate, scale_parameter=True, relative_step=False, warmup_init=False)


def trained_parameters(module: nn.Module) -> dict[str, int]:
    """Numbers of parameters, shared ones counted once: ``{"total": ..., "trained": ..., "active": ...}``.

    Active are those that inference computes with: all but the tables of which an example only looks up rows (word,
    position and segment embeddings, EncT5's prompts). A table that is the output layer, too (T5's words), counts.
    """
    parameters: Sequence[nn.Parameter] = list(module.parameters())
    parts = [part for part in module.modules() if not isinstance(part, nn.Embedding)]
    active = {id(p): p.numel() for part in parts for p in part.parameters(recurse=False)}
    return {
        "total": sum(p.numel() for p in parameters),
        "trained": sum(p.numel() for p in parameters if p.requires_grad),
        "active": sum(active.values()),
    }
