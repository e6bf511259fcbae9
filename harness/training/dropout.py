"""Dropout whose random numbers are cheap on CPUs.

PyTorch draws one random number after the other there, on one core (unless the processor is Intel's), which takes a
tenth of the time of a small model's training, and more in compiled models. One random number of 64 bits is enough for
four elements.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

STEPS = 1 << 16
"""Probabilities are multiples of 1 / STEPS."""


def _fill(numbers: Tensor) -> None:
    numbers.random_(-(1 << 63), None)


# As an operator, so that compiled models call it as it is. One that changes its argument, because of two that give
# something for equal arguments one would be left out.
_compiled_fill = torch.library.custom_op("harness::fill_randomly", _fill, mutates_args=("numbers",))


def _numbers(like: Tensor) -> Tensor:
    """Random 16-bit integers in the shape of a tensor, by torch's generator."""
    numbers = torch.empty(-(-like.numel() // 4), dtype=torch.int64)
    (_compiled_fill if torch.compiler.is_compiling() else _fill)(numbers)
    return numbers.view(torch.int16)[: like.numel()].view(like.shape)


def cheap_dropout(input: Tensor, p: float) -> Tensor:
    """Each element is 0 with probability ``p``, rounded to a multiple of 1 / 65536, else divided by ``1 - p``."""
    drop = round(p * STEPS)
    if not 0 < drop < STEPS:
        return nn.functional.dropout(input, p)
    kept = _numbers(input) >= drop - STEPS // 2
    return input * (kept * (STEPS / (STEPS - drop))).to(input.dtype)


class CheapDropout(nn.Dropout):
    """As `nn.Dropout`, from other random numbers of torch's generator."""

    def forward(self, input: Tensor) -> Tensor:
        """`cheap_dropout` in training; in evaluation the input as it is."""
        return cheap_dropout(input, self.p) if self.training else input


def use_cheap_dropout(module: nn.Module) -> None:
    """Let the dropout layers of a model on the CPU be cheap ones."""
    for layer in module.modules():
        if type(layer) is nn.Dropout and not layer.inplace:
            layer.__class__ = CheapDropout
