"""Answers of encoder-decoder models: greedy decoding and ranking, where the likely answers are known beforehand.

The answers form a tree of shared beginnings. A stretch of tokens without a fork is read in one pass, which shows at
every position whether greedy decoding would have written the same; only rows that leave the tree are decoded token
by token.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache, GenerationConfig

PLAIN_SETTINGS = {
    "bos_token_id", "decoder_start_token_id", "eos_token_id", "pad_token_id", "transformers_version", "use_cache",
    "max_length", "max_new_tokens", "num_beams", "early_stopping", "length_penalty", "do_sample", "temperature",
    "top_k", "top_p", "typical_p", "output_attentions", "output_hidden_states", "output_scores",
    "return_dict_in_generate", "epsilon_cutoff", "eta_cutoff", "num_beam_groups", "diversity_penalty",
    "num_return_sequences",
    "_from_model_config",
}  # fmt: skip
"""Settings of a checkpoint's generation that greedy decoding does not depend on, or that it overrides."""

NEUTRAL_SETTINGS = {
    "repetition_penalty": 1, "encoder_repetition_penalty": 1, "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0, "min_length": 0, "min_new_tokens": 0, "remove_invalid_values": False,
    "renormalize_logits": False,
}  # fmt: skip
"""Values with which other settings change nothing."""


@dataclass(frozen=True)
class Answers:
    """Answers with a common beginning.

    ``tokens`` is the rest of what they share; ``branches`` are their continuations, each with another first token,
    in order of first appearance; ``answer`` is the number of the only answer, where there are no branches.
    """

    tokens: tuple[int, ...]
    branches: tuple[Answers, ...]
    answer: int | None

    @classmethod
    def tree(cls, start: int, answers: Sequence[Sequence[int]]) -> Answers:
        """The tree of answers (token ids with their end-of-sequence token), after the decoder's ``start`` token.

        Of two answers with the same tokens, the first stays.
        """
        numbered = {tuple(answer): number for number, answer in reversed(list(enumerate(answers)))}
        return cls._of([((start, *answer), number) for answer, number in sorted(numbered.items(), key=lambda a: a[1])])

    @classmethod
    def _of(cls, answers: list[tuple[tuple[int, ...], int]]) -> Answers:
        if len(answers) == 1:
            [(tokens, number)] = answers
            return cls(tokens, (), number)
        columns = zip(*(tokens for tokens, _ in answers), strict=False)
        shared = next(i for i, column in enumerate(columns) if len(set(column)) > 1)
        order = {tokens[shared]: i for i, (tokens, _) in reversed(list(enumerate(answers)))}
        rests = [(tokens[shared:], number) for tokens, number in answers]
        rests.sort(key=lambda rest: order[rest[0][0]])
        branches = tuple(cls._of(list(group)) for _, group in groupby(rests, key=lambda rest: rest[0][0]))
        return cls(answers[0][0][:shared], branches, None)

    @property
    def read(self) -> tuple[int, ...]:
        """The tokens that the decoder reads: all but an answer's last one, after which nothing comes."""
        return self.tokens if self.branches else self.tokens[:-1]


class Decoder:
    """The decoder on one batch of texts, whose encoder states and their keys and values are computed once.

    Args:
        module: the model.
        input_ids: the texts ``(rows, length)``.
        attention_mask: ``(rows, length)``.
    """

    def __init__(self, module: Any, input_ids: Tensor, attention_mask: Tensor):
        self.module, self.mask = module, attention_mask
        self.states = module.get_encoder()(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        self.cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        new_name = (
            "cache" in inspect.signature(module.forward).parameters
        )  # what later versions of transformers call it
        self._cache_name = "cache" if new_name else "past_key_values"

    def __call__(self, tokens: Tensor) -> Tensor:
        """The next tokens' logits ``(rows, read, vocabulary)`` after reading ``tokens`` ``(rows, read)``."""
        return self.module(
            encoder_outputs=(self.states,),
            attention_mask=self.mask,
            decoder_input_ids=tokens,
            use_cache=True,
            **{self._cache_name: self.cache},
        ).logits

    def read(self, tokens: Sequence[int]) -> Tensor:
        """The same tokens for all rows."""
        return self(torch.tensor([tokens], device=self.mask.device).expand(len(self.mask), -1))

    def forget(self, tokens: int) -> None:
        """Go back by so many tokens."""
        self.cache.crop(-tokens)

    def restart(self) -> None:
        """Go back to the start."""
        self.cache.self_attention_cache = DynamicCache()

    def rows(self, chosen: Tensor) -> Decoder:
        """A decoder for some of the rows (their indices), which continues from the same point."""
        twin = copy.copy(self)
        twin.states, twin.mask = self.states[chosen], self.mask[chosen]
        twin.cache = copy.copy(self.cache)
        for name in ("self_attention_cache", "cross_attention_cache"):
            part = copy.copy(getattr(self.cache, name))
            part.layers = [copy.copy(layer) for layer in part.layers]
            setattr(twin.cache, name, part)
        twin.cache.batch_select_indices(chosen)
        return twin


def is_plain(settings: GenerationConfig) -> bool:
    """Whether greedy decoding with a checkpoint's settings takes the most probable token, whatever came before."""
    return all(
        name in PLAIN_SETTINGS or value is None or (name in NEUTRAL_SETTINGS and value == NEUTRAL_SETTINGS[name])
        for name, value in settings.to_diff_dict().items()
    )


def greedy(
    decoder: Decoder, start: int, ends: Sequence[int], longest: int, answers: Answers | None = None
) -> list[list[int]]:
    """What greedy decoding writes for each row: token ids without start token, with the end-of-sequence token.

    Args:
        decoder: a fresh one.
        start: the decoder's start token.
        ends: the end-of-sequence tokens.
        longest: the most tokens of an answer.
        answers: likely answers, none longer than ``longest``.
    """
    written: dict[int, list[int]] = {}
    everything = torch.arange(len(decoder.mask), device=decoder.mask.device)
    if answers is not None:
        _follow(decoder, everything, answers, (), written)
        left = [row for row in range(len(everything)) if row not in written]
        everything = torch.tensor(left, dtype=torch.long, device=everything.device)
        decoder = decoder.rows(everything)
        decoder.restart()
    if len(everything):
        _write(decoder, everything, start, ends, longest, written)
    return [written[row] for row in range(len(written))]


def _follow(
    decoder: Decoder, rows: Tensor, answers: Answers, before: tuple[int, ...], written: dict[int, list[int]]
) -> None:
    """Add to ``written`` the rows for which greedy decoding, having come here, writes one of the answers."""
    expected = torch.tensor(answers.tokens[1:], device=rows.device)
    tokens = (*before, *answers.tokens)
    if not answers.read:
        written.update((row, list(tokens[1:])) for row in rows.tolist())
        return
    best = decoder.read(answers.read).argmax(-1)
    right = (best[:, : len(expected)] == expected).all(-1)
    if not answers.branches:
        written.update((row, list(tokens[1:])) for row in rows[right].tolist())
    for branch in answers.branches:
        chosen = (right & (best[:, -1] == branch.tokens[0])).nonzero()[:, 0]
        if len(chosen):
            _follow(decoder.rows(chosen), rows[chosen], branch, tokens, written)


def _write(
    decoder: Decoder, rows: Tensor, start: int, ends: Sequence[int], longest: int, written: dict[int, list[int]]
) -> None:
    """Add to ``written`` what greedy decoding writes for the rows, token by token."""
    stop = torch.tensor(list(ends), device=rows.device)
    tokens = torch.full((len(rows), 1), start, device=rows.device)
    going = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
    for step in range(longest):
        following = decoder(tokens[:, -1:])[:, -1].argmax(-1)
        tokens = torch.cat([tokens, following[:, None]], dim=1)
        going &= ~torch.isin(following, stop)
        count = int(going.sum())
        if step + 1 == longest or not count:
            break
        if 2 * count <= len(going):
            _keep(tokens, rows, stop, written)
            chosen = going.nonzero()[:, 0]
            decoder, rows, tokens, going = decoder.rows(chosen), rows[chosen], tokens[chosen], going[chosen]
    _keep(tokens, rows, stop, written)


def _keep(tokens: Tensor, rows: Tensor, stop: Tensor, written: dict[int, list[int]]) -> None:
    """Add rows of ``tokens`` up to the first one that ends an answer (rows that continue are overwritten later)."""
    for row, line, ended in zip(rows.tolist(), tokens[:, 1:].tolist(), torch.isin(tokens[:, 1:], stop), strict=True):
        length = int(ended.int().argmax()) + 1 if bool(ended.any()) else len(line)
        written[row] = line[:length]


def rank(decoder: Decoder, answers: Answers, count: int) -> Tensor:
    """The log-probability of each of ``count`` answers, ``(rows, count)``."""
    scores = torch.full((len(decoder.mask), count), -torch.inf, device=decoder.mask.device)
    _add_scores(decoder, answers, torch.zeros(len(scores), device=scores.device), scores)
    return scores


def _add_scores(decoder: Decoder, answers: Answers, before: Tensor, scores: Tensor) -> None:
    """Fill in the answers' columns of ``scores``, given the log-probability ``(rows,)`` of having come here."""
    if not answers.read:
        scores[:, answers.answer] = before
        return
    likely = decoder.read(answers.read).float().log_softmax(-1)
    expected = torch.tensor(answers.tokens[1:], dtype=torch.long, device=before.device)
    so_far = before + likely[:, torch.arange(len(expected)), expected].sum(-1)
    if not answers.branches:
        scores[:, answers.answer] = so_far
    for branch in answers.branches:
        _add_scores(decoder, branch, so_far + likely[:, -1, branch.tokens[0]], scores)
    decoder.forget(len(answers.read))
