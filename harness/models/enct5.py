"""EncT5: T5's encoder with one decoder layer that reads learned prompts (arXiv 2110.08426)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from harness.config.architectures import EncT5Settings
from harness.enct5 import EncT5ForSequenceClassification, EncT5ForTokenClassification
from harness.errors import HarnessError
from harness.models.checkpoints import building, loading, new_config
from harness.models.heads import ScoringArchitecture
from harness.models.tokenizers import check_tokenizer, encode_words, tokenize
from harness.models.truncation import Fields
from harness.task.task import Instance
from harness.task.texts import field_places, input_text


class EncT5(ScoringArchitecture):
    """Reads an instance as T5 does: one text that names its fields (``prefix: false``: the values alone)."""

    model: EncT5Settings

    def build(self) -> nn.Module:
        """The EncT5 of the task's kind, with the encoder and the first decoder layers of a T5 checkpoint."""
        of_words = self.task.problem.of_words
        model_class = EncT5ForTokenClassification if of_words else EncT5ForSequenceClassification
        multi_label = self.task.problem.independent_labels
        one_output = self.task.num_labels == 1 and not multi_label  # a choice, too, has one output
        options: dict[str, Any] = {
            "num_labels": self.task.num_labels,
            "problem_type": None if of_words else "regression" if one_output else self.task.problem_type,
            "word_states": self.model.word_states,
            "decoder_vocab_size": self.task.num_labels if multi_label else 1,
            "num_decoder_layers": self.model.num_decoder_layers,
            "prompt_position_bias": self.model.prompt_position_bias,
            "label_attention": self.model.label_attention,
        }
        if self.model.dropout is not None:
            options["dropout_rate"] = options["classifier_dropout"] = self.model.dropout
        if self.model.classifier_dropout is not None:
            options["classifier_dropout"] = self.model.classifier_dropout
        if self.folder is None:
            config: Any = new_config(self.model, "enct5", {"vocab_size": len(self.tokenizer)}, **options)
            with building(self.model):
                module = model_class(config)
        else:
            with loading(self.model, self.folder):
                module = model_class.from_pretrained_t5(self.folder, **options)
        check_tokenizer(self.tokenizer, module, self.model.name)
        if multi_label and self.model.prompt_init == "label_text":
            module.set_prompts_from_words(self.label_names())
        return module

    def label_names(self) -> list[list[int]]:
        """The token ids of each label's name, underscores read as spaces."""
        names = [label.replace("_", " ") for label in self.task.labels]
        tokens = self.tokenizer(names, add_special_tokens=False)["input_ids"]
        if not all(tokens):
            label = self.task.labels[tokens.index([])]
            raise HarnessError(
                f"model '{self.model.name}': prompt_init: label_text needs names with words in them, which label "
                f"'{label}' of task '{self.task.name}' is not: use prompt_init: random"
            )
        return tokens

    def text_options(self) -> dict[str, Any]:
        """The prefix is part of the features."""
        return {**super().text_options(), "prefix": self.model.prefix}

    def encode(self, instances: Sequence[Instance]) -> list[dict[str, list[int]]]:
        """``input_ids`` of each instance's text."""
        texts = [input_text(self.task, instance, self.model.prefix) for instance in instances]
        if self.task.problem.of_words:
            return encode_words(self.tokenizer, texts, [instance.words for instance in instances], self.max_length)

        def fields(i: int) -> Fields:
            return field_places(self.task, instances[i], self.model.prefix), instances[i].truncate

        return tokenize(self.tokenizer, texts, self.max_length, fields)
