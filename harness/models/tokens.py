"""Token classification: where the words of a sentence are among its tokens, and the scores of each word's tag."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from harness.data.features import Features
from harness.models.base import pad

UNREAD = -1
"""In place of the position of a word that the model does not read: one that was cut off, or gave no token."""
UNLABELLED = -100


def encode_words(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], words: Sequence[Sequence[str]], max_length: int
) -> list[dict[str, list[int]]]:
    """``input_ids`` of each text, and in ``words`` the position of each word's first sub-word, or `UNREAD`.

    Args:
        texts: each ends with its words, joined by spaces.
        words: the words of each text.
        max_length: the end of a longer text is cut off.
    """
    encoded = tokenizer(
        list(texts),
        truncation=True,
        max_length=max_length,
        return_offsets_mapping=True,
        return_attention_mask=False,
        return_token_type_ids=False,
    )
    return [
        {"input_ids": ids, "words": first_tokens(offsets, word_offsets(text, own))}
        for ids, offsets, text, own in zip(encoded["input_ids"], encoded["offset_mapping"], texts, words, strict=True)
    ]


def word_offsets(text: str, words: Sequence[str]) -> list[tuple[int, int]]:
    """Where each word begins and ends in a text that ends with them, joined by spaces."""
    start = len(text) - len(" ".join(words))
    offsets = []
    for word in words:
        offsets.append((start, start + len(word)))
        start += len(word) + 1
    return offsets


def first_tokens(tokens: Sequence[tuple[int, int]], words: Sequence[tuple[int, int]]) -> list[int]:
    """The position of the first token that has a part of each word, or `UNREAD`.

    Args:
        tokens: where each token begins and ends in the text, in order; special tokens are (0, 0).
        words: likewise, of each word.
    """
    found, position = [], 0
    for start, end in words:
        while position < len(tokens) and tokens[position][1] <= start:
            position += 1
        found.append(position if position < len(tokens) and tokens[position][0] < end else UNREAD)
    return found


def collate_words(features: Features, rows: Sequence[int]) -> tuple[Tensor, Tensor | None, list[int]]:
    """Positions ``(sentences, most words)``, the tags to learn likewise (None: unknown), words per sentence."""
    words = [features.columns["words"][row] for row in rows]
    labels = [features.columns["labels"][row] for row in rows]
    positions = pad(words, UNREAD)
    known = all(map(len, labels))
    tags = pad(labels, UNLABELLED).masked_fill(positions == UNREAD, UNLABELLED) if known else None
    return positions, tags, [len(row) for row in words]


def at_words(states: Tensor, positions: Tensor) -> Tensor:
    """Of all tokens' outputs, ``(sentences, length, outputs)``, those of the words: ``(sentences, words, outputs)``."""
    places = positions.clamp(min=0).unsqueeze(-1).expand(-1, -1, states.shape[-1])
    return states.gather(1, places)


def tag_loss(logits: Tensor, tags: Tensor, label_smoothing: float) -> Tensor:
    """Cross entropy of ``(sentences, words, tags)``, summed over the words that have a tag to learn."""
    return F.cross_entropy(
        logits.flatten(0, 1),
        tags.flatten(),
        ignore_index=UNLABELLED,
        reduction="sum",
        label_smoothing=label_smoothing,
    )


def tag_scores(logits: Tensor, positions: Tensor, sizes: Sequence[int]) -> list[Any]:
    """Scores ``(words, tags)`` of each sentence; NaN for a word that was not read."""
    scores = logits.masked_fill((positions == UNREAD).unsqueeze(-1), torch.nan).cpu().numpy()
    return [row[:size] for row, size in zip(scores, sizes, strict=True)]
