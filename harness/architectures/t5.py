"""T5 text-to-text: reads an example as text and writes the answer as text (arXiv 1910.10683)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING, AutoModelForSeq2SeqLM

from harness.architectures.base import (
    Architecture,
    Batch,
    check_loaded,
    check_tokenizer,
    chunks,
    class_for,
    kept_config,
    load_pretrained,
    new_config,
    pad,
    tokenize,
)
from harness.architectures.decoding import Answers, Decoder, greedy, is_plain, rank
from harness.errors import HarnessError
from harness.features import Features, Group
from harness.task import Example, Task
from harness.tokenizers import encode

OPEN_ANSWER_TOKENS = 64
"""The longest open answer that is generated; T5 used 62 for SuperGLUE (facts of the published mixtures)."""


class T5(Architecture):
    """Trains on the answer's tokens; answers by greedy decoding, or by ranking all answers (``decoding: rank``)."""

    generates = True
    half_precision = False  # T5's activations overflow fp16

    def build(self) -> nn.Module:
        """`AutoModelForSeq2SeqLM`."""
        if self.model.decoding == "rank" and self.task.answers is None:
            raise HarnessError(
                f"model '{self.model.name}': decoding: rank needs a closed set of answers, which task "
                f"'{self.task.name}' does not have: use decoding: generate"
            )
        dropout = {} if self.model.dropout is None else {"dropout_rate": self.model.dropout}
        if self.folder is None:
            padding, vocabulary = self.tokenizer.pad_token_id, len(self.tokenizer)
            tokens = {"pad_token_id": padding, "decoder_start_token_id": padding, "vocab_size": vocabulary}
            tokens["eos_token_id"] = self.tokenizer.eos_token_id
            config = new_config(self.model, "t5", tokens, **dropout)
            module = AutoModelForSeq2SeqLM.from_config(config)
        else:
            config = kept_config(self.model, self.folder, **dropout)
            class_for(self.model, config, MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING, "text-to-text model")
            module, info = load_pretrained(AutoModelForSeq2SeqLM, self.model, self.folder, config)
            check_loaded(self.model.name, info)
        check_tokenizer(self.tokenizer, module, self.model)
        return module

    def groups(self, examples: Iterable[Example], training: bool) -> Iterator[Group]:
        """Training: a group per (input, target) pair. Otherwise a group per example, without targets."""
        for chunk in chunks(examples):
            if training:
                texts = [(pair, example) for example in chunk for pair in self.task.training_texts(example)]
            else:
                texts = [(self.task.text_to_text(example), example) for example in chunk]
            inputs = [self._input(source) for (source, _), _ in texts]
            give_way = [str(example[self.task.truncate]) if self.task.truncate else None for _, example in texts]
            sources = tokenize(self.tokenizer, inputs, self.max_length, give_way)
            if training:
                targets = encode(self.tokenizer, [target for (_, target), _ in texts])["input_ids"]
                yield from (
                    [{"input_ids": ids, "labels": target}] for ids, target in zip(sources, targets, strict=True)
                )
            else:
                yield from ([{"input_ids": ids}] for ids in sources)

    def _input(self, text: str) -> str:
        return (
            text
            if self.model.prefix
            else text.removeprefix(f"{self.task.t5_prefix} ").removeprefix(f"{self.task.t5_prefix}: ")
        )

    def collate(self, features: Features, groups: Sequence[int]) -> Batch:
        """Padded ``input_ids`` and ``attention_mask`` ``(texts, longest)``; with targets also ``decoder_input_ids``."""
        rows = features.instances(groups)
        ids = [features.columns["input_ids"][row] for row in rows]
        padding = int(self.tokenizer.pad_token_id or 0)
        mask = (torch.arange(max(map(len, ids))) < torch.tensor([len(row) for row in ids])[:, None]).long()
        inputs = {"input_ids": pad(ids, padding), "attention_mask": mask}
        sizes = [1] * len(rows)
        if "labels" not in features.columns:
            return Batch(inputs, None, sizes, len(rows))
        targets = [features.columns["labels"][row].astype("int64") for row in rows]
        labels = pad(targets, -100)
        inputs["decoder_input_ids"] = _shift_right(labels, padding)
        return Batch(inputs, labels, sizes, sum(map(len, targets)))

    def loss(self, module: nn.Module, batch: Batch) -> Tensor:
        """Cross entropy summed over the tokens of the answers, end of sequence included."""
        assert batch.labels is not None
        logits = module(**batch.inputs, use_cache=False).logits.float()
        return F.cross_entropy(
            logits.flatten(0, 1), batch.labels.flatten(), reduction="sum", label_smoothing=self.label_smoothing
        )

    def predict(self, module: nn.Module, batch: Batch) -> list[Any]:
        """The text that the model writes for each example: what ``generate`` would, greedily."""
        settings: Any = module.generation_config
        if self.model.decoding == "rank" and self._answers and self.task.answers:
            scores = rank(Decoder(module, **batch.inputs), self._answers, len(self.task.answers))
            return [self.task.answers[best] for best in scores.argmax(-1).tolist()]
        if is_plain(settings):
            ends = np.atleast_1d(settings.eos_token_id).tolist()
            start = settings.decoder_start_token_id
            tokens = greedy(Decoder(module, **batch.inputs), start, ends, self.longest_answer, self._answers)
        else:
            tokens = module.generate(  # type: ignore[operator]
                **batch.inputs, max_new_tokens=self.longest_answer, do_sample=False, num_beams=1
            )
        return self.tokenizer.batch_decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def for_task(self, task: Task) -> Architecture:
        """Other tasks have other answers."""
        twin = super().for_task(task)
        for name in ("_answer_ids", "_answers"):
            twin.__dict__.pop(name, None)
        return twin

    @cached_property
    def _answer_ids(self) -> list[list[int]]:
        """The tokens of the task's answers, if they are a closed set."""
        return self.tokenizer(list(self.task.answers))["input_ids"] if self.task.answers else []

    @cached_property
    def _answers(self) -> Answers | None:
        return Answers.tree(int(self.tokenizer.pad_token_id or 0), self._answer_ids) if self._answer_ids else None

    @property
    def longest_answer(self) -> int:
        """The most tokens that an answer can have."""
        return max(map(len, self._answer_ids)) if self._answer_ids else OPEN_ANSWER_TOKENS


def _shift_right(labels: Tensor, start: int) -> Tensor:
    """Decoder inputs of teacher forcing: the labels one step later, after the start token (T5: the pad token)."""
    shifted = torch.cat([torch.full_like(labels[:, :1], start), labels[:, :-1]], dim=1)
    return shifted.masked_fill(shifted == -100, start)
