"""Faster forms of attention, dropout and word embeddings for models of transformers; `use_fast_kernels` applies them.

* **Attention** never waits for the device and, on CPUs, is made of plain matrix products. For short texts these are
  faster than PyTorch's fused attention, whose tiles are too large for them. With dropout, that has no fused form on
  CPUs: it computes in float32 and draws one random number after another.
* **Dropout**: PyTorch draws one random number after the other on CPUs, on one core (unless the processor is Intel's),
  which takes a tenth of the time of a small model's training, and more in compiled models. One random number of 64
  bits is enough for four elements.
* **Word embeddings**: a row whose word never occurs in the training data has no gradient, so AdamW without weight
  decay leaves it as it is. Leaving it out changes no number, but spares what every step otherwise does with it: a
  gradient of zeros, its share of the norm, and the optimizer's pass over weight, gradient and two moments.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from harness.config.schema import Recipe

NAME = "harness"
"""The name of `attention` in transformers."""
SHORT = 128
"""The longest text for which plain products are used without dropout, in tokens."""
DROPOUT_STEPS = 1 << 16
"""Dropout probabilities are multiples of 1 / DROPOUT_STEPS."""
IDS_AT_ONCE = 10_000_000
LARGEST_SHARE = 0.9
"""The largest share of used rows for which an embedding is replaced."""


def use_fast_kernels(
    module: nn.Module, recipe: Recipe, device: torch.device, word_ids: np.ndarray, padding: int
) -> None:
    """Replace the slow parts of a model, before its optimizer is made.

    Args:
        module: a model of transformers.
        recipe: what it is trained with.
        device: what it is trained on.
        word_ids: all word ids of the training data, in one row; may be memory-mapped.
        padding: the id of padding.
    """
    if recipe.optimizer == "adamw" and not recipe.weight_decay:
        train_used_rows(module, word_ids, padding)
    use_attention(module)
    if device.type == "cpu":
        use_cheap_dropout(module)


# Attention -------------------------------------------------------------------------------------------------------


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


# Dropout ---------------------------------------------------------------------------------------------------------


def _fill(numbers: Tensor) -> None:
    numbers.random_(-(1 << 63), None)


# As an operator, so that compiled models call it as it is. One that changes its argument, because of two that give
# something for equal arguments one would be left out.
_compiled_fill = torch.library.custom_op("harness::fill_randomly", _fill, mutates_args=("numbers",))


def _random_numbers(like: Tensor) -> Tensor:
    """Random 16-bit integers in the shape of a tensor, by torch's generator."""
    numbers = torch.empty(-(-like.numel() // 4), dtype=torch.int64)
    (_compiled_fill if torch.compiler.is_compiling() else _fill)(numbers)
    return numbers.view(torch.int16)[: like.numel()].view(like.shape)


def cheap_dropout(input: Tensor, p: float) -> Tensor:
    """Each element is 0 with probability ``p``, rounded to a multiple of 1 / 65536, else divided by ``1 - p``."""
    drop = round(p * DROPOUT_STEPS)
    if not 0 < drop < DROPOUT_STEPS:
        return F.dropout(input, p)
    kept = _random_numbers(input) >= drop - DROPOUT_STEPS // 2
    return input * (kept * (DROPOUT_STEPS / (DROPOUT_STEPS - drop))).to(input.dtype)


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


# Word embeddings -------------------------------------------------------------------------------------------------


class UsedRowsEmbedding(nn.Module):
    """Stands for an `nn.Embedding` in training: reads and trains the used rows, and reads all rows in evaluation.

    Its state is that of the embedding: ``weight`` ``(words, size)``.

    Args:
        embedding: what it stands for.
        used: ids of the rows to train, ``(rows,)``, ascending.
    """

    def __init__(self, embedding: nn.Embedding, used: Tensor):
        super().__init__()
        table = embedding.weight
        self.num_embeddings, self.embedding_dim = table.shape
        self.padding_idx = embedding.padding_idx
        # Not a buffer: several processes would send it to one another before every step.
        self.table = nn.Parameter(table.detach(), requires_grad=False)
        self.rows = nn.Parameter(table.detach()[used].clone())
        self.used: Tensor
        self.positions: Tensor
        self.register_buffer("used", used, persistent=False)
        positions = torch.full((self.num_embeddings,), -1, dtype=torch.long)
        positions[used] = torch.arange(len(used))
        self.register_buffer("positions", positions, persistent=False)
        self._padding_row = None if self.padding_idx is None else int(positions[self.padding_idx])

    @property
    def weight(self) -> Tensor:
        """All rows, ``(words, size)``, as they are now."""
        with torch.no_grad():
            self.table[self.used] = self.rows
        return self.table

    def train(self, mode: bool = True) -> UsedRowsEmbedding:
        """As in `nn.Module`."""
        if self.training and not mode:
            _ = self.weight
        return super().train(mode)

    def forward(self, ids: Tensor) -> Tensor:
        """Vectors ``(..., size)`` of words ``(...)``."""
        if self.training:
            return F.embedding(self.positions[ids], self.rows, self._padding_row)
        return F.embedding(ids, self.table, self.padding_idx)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        weight = self.weight
        destination[f"{prefix}weight"] = weight if keep_vars else weight.detach()

    def _load_from_state_dict(self, state: Any, prefix: str, metadata: Any, strict: bool, *lists: list[str]) -> None:
        missing, _, errors = lists
        weight = state.get(f"{prefix}weight")
        if weight is None:
            missing.append(f"{prefix}weight")
        elif weight.shape != self.table.shape:
            errors.append(f"{prefix}weight has shape {tuple(weight.shape)}, not {tuple(self.table.shape)}")
        else:
            with torch.no_grad():
                self.table.copy_(weight)
                self.rows.copy_(self.table[self.used])


def train_used_rows(module: nn.Module, word_ids: np.ndarray, padding: int) -> None:
    """Replace a model's word embedding by a `UsedRowsEmbedding`, where that spares much.

    A word embedding that is also the output layer is left as it is: there, every row has a gradient.
    """
    owner, name = _word_embedding(module)
    if owner is None:
        return
    embedding = getattr(owner, name)
    used = np.zeros(embedding.num_embeddings, dtype=bool)
    used[padding] = True
    for start in range(0, len(word_ids), IDS_AT_ONCE):
        used[word_ids[start : start + IDS_AT_ONCE]] = True
    if used.sum() <= LARGEST_SHARE * len(used):
        setattr(owner, name, UsedRowsEmbedding(embedding, torch.from_numpy(np.flatnonzero(used))))


def _word_embedding(module: nn.Module) -> tuple[nn.Module | None, str]:
    """The module that holds the word embedding, and its name there; None when there is no plain one of one use."""
    embedding: Any = module.get_input_embeddings()  # type: ignore[operator]
    owners = [
        (owner, name)
        for owner in module.modules()
        for name, child in owner._modules.items()
        if child is embedding and type(child) is nn.Embedding
    ]
    weight = embedding.weight
    uses = [parameter for _, parameter in module.named_parameters(remove_duplicate=False) if parameter is weight]
    if len(owners) != 1 or len(uses) != 1 or not weight.requires_grad or embedding.sparse or embedding.max_norm:
        return None, ""
    return owners[0]
