"""A word embedding of which only the rows are trained that the training data use.

A row whose word never occurs has no gradient, so AdamW without weight decay leaves it as it is. Leaving it out changes
no number, but spares what every step otherwise does with it: a gradient of zeros, its share of the norm, and the
optimizer's pass over weight, gradient and two moments.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHUNK = 10_000_000
WORTHWHILE = 0.9
"""The largest share of used rows where it is done."""


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
        self.places: Tensor
        self.register_buffer("used", used, persistent=False)
        places = torch.full((self.num_embeddings,), -1, dtype=torch.long)
        places[used] = torch.arange(len(used))
        self.register_buffer("places", places, persistent=False)
        self._padding_row = None if self.padding_idx is None else int(places[self.padding_idx])

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
            return F.embedding(self.places[ids], self.rows, self._padding_row)
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


def train_used_rows(module: nn.Module, ids: np.ndarray, also: Iterable[int]) -> None:
    """Put a `UsedRowsEmbedding` into the place of a model's word embedding, where that spares much.

    A word embedding that is also the output layer is left as it is: there, every row has a gradient.

    Args:
        module: the model.
        ids: all ids of the training data, in one row; may be memory-mapped.
        also: ids that occur besides, such as padding.
    """
    owner, name = _word_embedding(module)
    if owner is None:
        return
    embedding = getattr(owner, name)
    seen = np.zeros(embedding.num_embeddings, dtype=bool)
    seen[list(also)] = True
    for start in range(0, len(ids), CHUNK):
        seen[ids[start : start + CHUNK]] = True
    if seen.sum() <= WORTHWHILE * len(seen):
        setattr(owner, name, UsedRowsEmbedding(embedding, torch.from_numpy(np.flatnonzero(seen))))


def _word_embedding(module: nn.Module) -> tuple[nn.Module | None, str]:
    """The module that holds the word embedding, and its name there; None when there is no plain one of one use."""
    found = module.get_input_embeddings()  # type: ignore[operator]
    owners = [
        (owner, name)
        for owner in module.modules()
        for name, child in owner._modules.items()
        if child is found and type(child) is nn.Embedding
    ]
    uses = [parameter for _, parameter in module.named_parameters(remove_duplicate=False) if parameter is found.weight]
    if len(owners) != 1 or len(uses) != 1 or not found.weight.requires_grad or found.sparse or found.max_norm:
        return None, ""
    return owners[0]
