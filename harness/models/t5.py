"""T5 text-to-text: reads an example as text and writes the answer as text (arXiv 1910.10683)."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING, AutoModelForSeq2SeqLM, PretrainedConfig

from harness.config.architectures import T5Settings
from harness.data.features import Features, Group
from harness.errors import HarnessError
from harness.models.base import Architecture, Batch, chunks, pad
from harness.models.checkpoints import class_for, kept_config, make, new_config
from harness.models.t5_decoding import Answers, Decoder, greedy, is_plain, rank
from harness.models.tokenizers import check_tokenizer, encode, tokenize_sources
from harness.task.functions import text_to_text, training_texts
from harness.task.task import Example, Task

OPEN_ANSWER_TOKENS = 64
"""The longest open answer that is generated; T5 used 62 for SuperGLUE (facts of the published mixtures)."""


class T5(Architecture):
    """Trains on the answer's tokens; answers by greedy decoding, or by ranking all answers (``decoding: rank``)."""

    model: T5Settings

    def build(self) -> nn.Module:
        """`AutoModelForSeq2SeqLM`."""
        if self.model.ranks_answers and self.task.answers is None:
            raise HarnessError(
                f"model '{self.model.name}': decoding: rank needs a closed set of answers, which task "
                f"'{self.task.name}' does not have: use decoding: generate"
            )
        module, _ = make(self.model_class, self.model, self.folder, self.config)
        check_tokenizer(self.tokenizer, module, self.model.name)
        compute_output_at_answers(module)
        return module

    @property
    def model_class(self) -> Any:
        """The same for every task."""
        return AutoModelForSeq2SeqLM

    @cached_property
    def config(self) -> PretrainedConfig:
        """The model's configuration."""
        if self.folder is None:
            padding, end = self.tokenizer.pad_token_id, self.tokenizer.eos_token_id
            tokens = {"pad_token_id": padding, "decoder_start_token_id": padding, "eos_token_id": end}
            return new_config(self.model, "t5", {"vocab_size": len(self.tokenizer), **tokens})
        config = kept_config(self.model, self.folder)
        class_for(self.model, config, MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING, "text-to-text model")
        return config

    def groups(self, examples: Iterable[Example], training: bool) -> Iterator[Group]:
        """Training: a group per (input, target) pair. Otherwise a group per example, without targets."""
        for chunk in chunks(examples):
            if training:
                texts = [(pair, example) for example in chunk for pair in training_texts(self.task, example)]
            else:
                texts = [(text_to_text(self.task, example), example) for example in chunk]
            sources = [(source, example) for (source, _), example in texts]
            rows = tokenize_sources(self.tokenizer, self.task, sources, self.max_length, self.model.prefix)
            if training:
                targets = encode(self.tokenizer, [target for (_, target), _ in texts])["input_ids"]
                yield from ([{**row, "labels": target}] for row, target in zip(rows, targets, strict=True))
            else:
                yield from ([row] for row in rows)

    def text_options(self) -> dict[str, Any]:
        """The prefix is part of the features."""
        return {**super().text_options(), "prefix": self.model.prefix}

    def collate(self, features: Features, groups: Sequence[int], multiple: int = 1) -> Batch:
        """Padded ``input_ids`` and ``attention_mask`` ``(texts, longest)``.

        With targets also ``decoder_input_ids`` likewise, and the places of their tokens, if all padded targets stood
        one after another; the labels are these tokens.
        """
        rows = features.instances(groups)
        ids = [features.columns["input_ids"][row] for row in rows]
        padding = int(self.tokenizer.pad_token_id or 0)
        padded = pad(ids, padding, multiple=multiple)
        mask = (torch.arange(padded.shape[1]) < torch.tensor([len(row) for row in ids])[:, None]).long()
        inputs = {"input_ids": padded, "attention_mask": mask}
        sizes = [1] * len(rows)
        if "labels" not in features.columns:
            return Batch(inputs, None, sizes, len(rows))
        targets = [features.columns["labels"][row].astype("int64") for row in rows]
        inputs["decoder_input_ids"] = _shift_right(pad(targets, padding), self._start)
        longest = inputs["decoder_input_ids"].shape[1]
        inputs["answer_positions"] = torch.cat([row * longest + torch.arange(len(t)) for row, t in enumerate(targets)])
        labels = torch.from_numpy(np.concatenate(targets))
        if self.class_weights is None:
            return Batch(inputs, labels, sizes, len(labels))
        of_examples = self.class_weights[[self._class_of(target) for target in targets]]
        weights = torch.from_numpy(of_examples.repeat([len(target) for target in targets]))
        return Batch(inputs, labels, sizes, float(weights.sum()), weights)

    def classes(self, features: Features) -> np.ndarray:
        """They are known by the answers' tokens."""
        targets = features.columns["labels"]
        return np.array([self._class_of(targets[row].astype("int64")) for row in range(len(targets))])

    def _class_of(self, target: np.ndarray) -> int:
        answer = tuple(target.tolist())
        if answer not in self._class_of_answer:
            raise HarnessError(
                f"task '{self.task.name}': loss_weights needs answers that are labels; a training text is "
                f"{self.tokenizer.decode(target)!r}"
            )
        return self._class_of_answer[answer]

    @cached_property
    def _class_of_answer(self) -> dict[tuple[int, ...], int]:
        return {tuple(tokens): i for i, tokens in enumerate(self._answer_ids)}

    def loss(self, module: nn.Module, batch: Batch) -> Tensor:
        """Cross entropy summed over the tokens of the answers, end of sequence included.

        A task's ``loss_weights`` weigh each token by the class of its answer.
        """
        assert batch.labels is not None
        logits = module(**batch.inputs, use_cache=False).logits.float()
        if batch.weights is not None:
            losses = F.cross_entropy(logits, batch.labels, reduction="none", label_smoothing=self.label_smoothing)
            return (losses * batch.weights).sum()
        return F.cross_entropy(logits, batch.labels, reduction="sum", label_smoothing=self.label_smoothing)

    def predict(self, module: nn.Module, batch: Batch) -> list[Any]:
        """The text that the model writes for each example: what ``generate`` would, greedily."""
        settings: Any = module.generation_config
        if self.model.ranks_answers and self._answers and self.task.answers:
            scores = rank(Decoder(module, **batch.inputs), self._answers, len(self.task.answers))
            return [self.task.answers[best] for best in scores.argmax(-1).tolist()]
        if is_plain(settings):
            ends = np.atleast_1d(settings.eos_token_id).tolist()
            tokens = greedy(Decoder(module, **batch.inputs), self._start, ends, self.longest_answer, self._answers)
        else:
            tokens = module.generate(  # type: ignore[operator]
                **batch.inputs, max_new_tokens=self.longest_answer, do_sample=False, num_beams=1
            )
        return self.tokenizer.batch_decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def for_task(self, task: Task) -> Architecture:
        """Other tasks have other answers."""
        twin = super().for_task(task)
        for name in ("_answer_ids", "_answers", "_class_of_answer"):
            twin.__dict__.pop(name, None)
        return twin

    @property
    def _start(self) -> int:
        """What the decoder reads first."""
        start = self.config.decoder_start_token_id
        return int((self.tokenizer.pad_token_id or 0) if start is None else start)

    @cached_property
    def _answer_ids(self) -> list[list[int]]:
        """The tokens of the task's answers, if they are a closed set."""
        return self.tokenizer(list(self.task.answers))["input_ids"] if self.task.answers else []

    @cached_property
    def _answers(self) -> Answers | None:
        return Answers.tree(self._start, self._answer_ids) if self._answer_ids else None

    @property
    def longest_answer(self) -> int:
        """The most tokens that an answer can have."""
        return max(map(len, self._answer_ids)) if self._answer_ids else OPEN_ANSWER_TOKENS


def compute_output_at_answers(module: nn.Module) -> None:
    """Let a model take ``answer_positions``, where alone its output layer, as wide as the vocabulary, then computes.

    They count in the decoder's states ``(texts, longest)``, one row after another, and the logits are ``(positions,
    vocabulary)``. Answers differ in length, so that most of a batch's positions may have no token to learn.
    """
    whole, positions = module.forward, None

    # An argument, not an attribute that is set before: compiled models take any length of arguments only.
    @functools.wraps(whole)
    def forward(*args: Any, answer_positions: Tensor | None = None, **inputs: Any) -> Any:
        nonlocal positions
        positions = answer_positions
        return whole(*args, **inputs)

    def choose(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return inputs if positions is None else (inputs[0].flatten(0, 1).index_select(0, positions),)

    module.forward = forward
    module.get_output_embeddings().register_forward_pre_hook(choose)  # type: ignore[operator]


def _shift_right(tokens: Tensor, start: int) -> Tensor:
    """Decoder inputs of teacher forcing: the tokens one step later, after the start token (T5: padding)."""
    return torch.cat([torch.full_like(tokens[:, :1], start), tokens[:, :-1]], dim=1)
