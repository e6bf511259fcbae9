"""How models of transformers attend here: never waiting for the device, and by plain matrix products on CPUs.

For short texts these are faster than PyTorch's fused attention, whose tiles are too large for them. With dropout, that
has no fused form on CPUs: it computes in float32 and draws one random number after another.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from harness.training.dropout import cheap_dropout

NAME = "harness"
"""What transformers calls it."""
SHORT = 128
"""The longest text for which it is used without dropout."""


def use_attention(module: nn.Module) -> None:
    """Let a model of transformers that would use ``sdpa`` use `attention`."""
    model: Any = module
    if model.config._attn_implementation == "sdpa" and model._can_set_attn_implementation():
        AttentionInterface.register(NAME, attention)
        AttentionMaskInterface.register(NAME, mask)
        model.set_attn_implementation(NAME)


def mask(*args: Any, **kwargs: Any) -> Tensor | None:
    """The mask of ``sdpa``; does not look whether there is any padding, for which it would wait for the device."""
    if kwargs.get("attention_mask") is not None:
        kwargs["allow_is_bidirectional_skip"] = False
    return sdpa_mask(*args, **kwargs)


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    position_bias: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """An attention function of transformers' interface: `plain_attention` where that is faster, else ``sdpa``.

    Args:
        query: ``(batch, heads, read, size)``; ``key`` and ``value`` ``(batch, heads, length, size)``.
        attention_mask: True where a position may be seen, or what is added to the scores; broadcasts to them.
        position_bias: what is added to the scores, ``(1 or batch, heads, read, length)``.

    Returns:
        States ``(batch, read, heads, size)`` and the weights that they are means by (None from ``sdpa``).
    """
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    if (
        query.device.type == "cpu"
        and (dropout or key.shape[2] <= SHORT)
        and query.shape[1] == key.shape[1]
        and (attention_mask is not None or not causal or query.shape[2] == 1)
        and kwargs.get("softcap") is None
    ):
        return plain_attention(query, key, value, attention_mask, dropout, scaling, position_bias)
    return sdpa_attention_forward(
        module, query, key, value, attention_mask, dropout, scaling, is_causal, position_bias=position_bias, **kwargs
    )


def plain_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float,
    scaling: float | None,
    position_bias: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """As `attention`, for as many heads of keys as of queries.

    Products are in the precision of ``query``, as in transformers' ``eager``; with a position bias, as T5 has it, the
    scores are computed in float32, because they are not scaled there and grow large.
    """
    with torch.autocast(query.device.type, enabled=False):
        if position_bias is not None:
            query, key = query.float(), key.float()
        scores = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
        if position_bias is not None:
            scores = scores + position_bias
        if attention_mask is not None and attention_mask.dtype == torch.bool:
            scores = scores.masked_fill(~attention_mask, torch.finfo(scores.dtype).min)
        elif attention_mask is not None:
            scores = scores + attention_mask
        weights = cheap_dropout(scores.softmax(-1), dropout).to(value.dtype)
        return (weights @ value).transpose(1, 2).contiguous(), weights
