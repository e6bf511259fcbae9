"""Dropout whose random numbers are cheap on CPUs.

PyTorch draws one random number after the other there, on one core (unless the processor is Intel's), which takes a
tenth of the time of a small model's training. One random number of 64 bits is enough for four elements.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

STEPS = 1 << 16
"""Probabilities are multiples of 1 / STEPS."""


class CheapDropout(nn.Dropout):
    """As `nn.Dropout`, from other random numbers of torch's generator; ``p`` is rounded to a multiple of 1 / 65536."""

    def forward(self, input: Tensor) -> Tensor:
        """Each element is 0 with probability ``p``, else divided by ``1 - p``; in evaluation as it is."""
        drop = round(self.p * STEPS)
        if not self.training or not 0 < drop < STEPS:
            return super().forward(input)
        numbers = torch.empty(-(-input.numel() // 4), dtype=torch.int64).random_(-(1 << 63), None)
        kept = numbers.view(torch.int16)[: input.numel()].view(input.shape) >= drop - STEPS // 2
        return input * (kept * (STEPS / (STEPS - drop))).to(input.dtype)


def use_cheap_dropout(module: nn.Module) -> None:
    """Let the dropout layers of a model on the CPU be cheap ones."""
    for layer in module.modules():
        if type(layer) is nn.Dropout and not layer.inplace:
            layer.__class__ = CheapDropout
