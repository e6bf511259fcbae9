"""EncT5: T5's encoder with one decoder layer that reads learned prompts (arXiv 2110.08426)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from torch import Tensor, nn

from harness.config.architectures import EncT5Settings
from harness.data.features import Group
from harness.enct5 import EncT5ForSequenceClassification, EncT5ForTokenClassification
from harness.errors import HarnessError
from harness.models.base import Batch, chunks
from harness.models.checkpoints import building, loading, new_config
from harness.models.heads import ScoringArchitecture, cross_entropy
from harness.models.tokenizers import check_tokenizer, encode_words, tokenize, tokenize_sources
from harness.models.truncation import Fields
from harness.task.functions import text_to_text
from harness.task.task import Example, Instance, is_unlabelled
from harness.task.texts import field_places, input_text


class EncT5(ScoringArchitecture):
    """Reads an instance as one text that names its fields (``prefix: false``: the values alone).

    With ``text: t5``, where a task has forms of its own, an example is one text, which T5 reads, too. A choice among
    several is then made as one among classes: with an output for each.
    """

    model: EncT5Settings

    def __init__(self, model: EncT5Settings, *arguments: Any, **options: Any):
        super().__init__(model, *arguments, **options)
        # By the task that is trained: its diagnostics are read as it was.
        self.reads_sources = model.text == "t5" and self.task.scores_text_to_text

    @property
    def chooses_at_once(self) -> bool:
        """Whether the head has an output for each choice, and not one output for a text of each."""
        return self.reads_sources and self.task.problem.grouped

    @property
    def model_class(self) -> Any:
        """By what the task's labels belong to: texts or words."""
        return EncT5ForTokenClassification if self.task.problem.of_words else EncT5ForSequenceClassification

    def build(self) -> nn.Module:
        """The EncT5 of the task's kind, with the encoder and the first decoder layers of a T5 checkpoint."""
        of_words, model_class = self.task.problem.of_words, self.model_class
        multi_label = self.task.problem.independent_labels
        outputs = len(self.task.labels) if self.chooses_at_once else self.task.num_labels
        one_output = outputs == 1 and not multi_label  # a choice, too, has one output
        problem_type = "single_label_classification" if self.chooses_at_once else self.task.problem_type
        options: dict[str, Any] = {
            "num_labels": outputs,
            "problem_type": None if of_words else "regression" if one_output else problem_type,
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
        """The prefix and the form are part of the features."""
        return {**super().text_options(), "prefix": self.model.prefix, "sources": self.reads_sources}

    def groups(self, examples: Iterable[Example], training: bool) -> Iterator[Group]:
        """With ``text: t5``, where it applies, one text per example."""
        if not self.reads_sources:
            yield from super().groups(examples, training)
            return
        for chunk in chunks(examples):
            sources = [(text_to_text(self.task, example)[0], example) for example in chunk]
            rows = tokenize_sources(self.tokenizer, self.task, sources, self.max_length, self.model.prefix)
            for row, example in zip(rows, chunk, strict=True):
                label = None if is_unlabelled(self.task, example) else example[self.task.label_field]
                yield [{**row, "labels": self.targets(label, training)}]

    def loss(self, module: nn.Module, batch: Batch) -> Tensor:
        """The problem type's, or a cross entropy over the choices of one text."""
        if not self.chooses_at_once:
            return super().loss(module, batch)
        assert batch.labels is not None
        return cross_entropy(self.logits(module, batch.inputs), batch.labels, batch.sizes, self.label_smoothing)

    def predict(self, module: nn.Module, batch: Batch) -> list[Any]:
        """The head's outputs; those of the choices of one text stand as one row each, as a task decides."""
        scores = super().predict(module, batch)
        return [row.T for row in scores] if self.chooses_at_once else scores

    def encode(self, instances: Sequence[Instance]) -> list[dict[str, list[int]]]:
        """``input_ids`` of each instance's text."""
        texts = [input_text(self.task, instance, self.model.prefix) for instance in instances]
        if self.task.problem.of_words:
            return encode_words(self.tokenizer, texts, [instance.words for instance in instances], self.max_length)

        def fields(i: int) -> Fields:
            return field_places(self.task, instances[i], self.model.prefix), instances[i].truncate

        return tokenize(self.tokenizer, texts, self.max_length, fields)
