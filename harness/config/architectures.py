"""The architectures: for each the options of its models, and which class of `harness.models` implements it.

They stand here, not beside those classes, because a benchmarks.yaml is read and checked without importing torch. To
add an architecture, write its class in a file of harness/models and its settings here, and list them in
`ARCHITECTURES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, create_model

from harness.config.recipe import Count, Flag, Share
from harness.config.schema import Model
from harness.task.task import Task


class ScoringSettings(Model):
    """Options of the architectures that score labels by a head.

    Attributes:
        threshold: multi-label: the probability from which on a label is predicted, or ``tuned`` for the one with the
            best micro-F1 on a part of the training data that is held out of training.
    """

    counts: ClassVar[Mapping[str, Callable[[Task], bool]]] = {
        **Model.counts,
        "threshold": lambda task: task.has_threshold,
    }

    threshold: Literal["tuned"] | Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.5, description="a number between 0 and 1, or tuned"
    )


class EncT5Settings(ScoringSettings):
    """EncT5: T5's encoder and a decoder layer that reads learned prompts.

    Attributes:
        prefix: whether texts name the task and its fields, as T5 reads them.
        text: how an example of a task with forms of its own reads: as a text of the fields of each instance, or as the
            one text that T5 reads.
        num_decoder_layers: decoder layers that are kept.
        classifier_dropout: dropout before the head; None: that of ``dropout``, or else of the checkpoint (new: 0).
        prompt_position_bias: whether the prompts know their order.
        prompt_init: what the prompts of a multi-label task start from: chance, or the mean word embedding of the
            label's name; other tasks have one prompt, which starts from chance.
        label_attention: whether the prompts of a multi-label task see one another.
        word_states: token classification: whether the prompts know their words; false is for ablation.
    """

    implementation: ClassVar[str] = "harness.models.enct5:EncT5"
    tokenizer_family: ClassVar[str] = "t5"
    half_precision: ClassVar[bool] = False
    counts: ClassVar[Mapping[str, Callable[[Task], bool]]] = {
        **ScoringSettings.counts,
        "text": lambda task: task.scores_text_to_text,
        "prompt_init": lambda task: task.problem.independent_labels,
        "label_attention": lambda task: task.problem.independent_labels or task.problem.of_words,
        "word_states": lambda task: task.problem.of_words,
    }

    architecture: Literal["enct5"] = "enct5"
    prefix: Flag = True
    text: Literal["fields", "t5"] = "fields"
    num_decoder_layers: Count = 1
    classifier_dropout: Share | None = Field(default=None, description="a number from 0 to 1")
    prompt_position_bias: Flag = True
    prompt_init: Literal["random", "label_text"] = "random"
    label_attention: Literal["full", "none"] = "full"
    word_states: Flag = True


class T5Settings(Model):
    """T5, text-to-text.

    Attributes:
        prefix: whether texts name the task and its fields.
        decoding: write the answer, or score every answer in one pass.
    """

    implementation: ClassVar[str] = "harness.models.t5:T5"
    tokenizer_family: ClassVar[str] = "t5"
    half_precision: ClassVar[bool] = False
    generates: ClassVar[bool] = True

    architecture: Literal["t5"] = "t5"
    prefix: Flag = True
    decoding: Literal["generate", "rank"] = "generate"

    @property
    def ranks_answers(self) -> bool:
        """With ``decoding: rank``."""
        return self.decoding == "rank"


class BertSettings(ScoringSettings):
    """BERT, or any encoder that the auto classes of transformers load."""

    implementation: ClassVar[str] = "harness.models.bert:Bert"
    tokenizer_family: ClassVar[str] = "bert"

    architecture: Literal["bert"] = "bert"


ARCHITECTURES: dict[str, type[Model]] = {"enct5": EncT5Settings, "t5": T5Settings, "bert": BertSettings}


def settings_class(entry: Any) -> type[Model]:
    """The settings that an entry under ``models`` can have.

    An entry without a right ``architecture``, of which no model is made, can have those of all: they are checked, too.
    """
    name = entry.get("architecture") if isinstance(entry, Mapping) else None
    if isinstance(name, str) and name in ARCHITECTURES:
        return ARCHITECTURES[name]
    names: Any = Literal[tuple(ARCHITECTURES)]
    fields: dict[str, Any] = {
        name: (field.annotation, field)
        for settings in ARCHITECTURES.values()
        for name, field in settings.model_fields.items()
    }
    return create_model("AnyModel", __base__=Model, **{**fields, "architecture": (names, ...)})


def having(option: str) -> list[str]:
    """The architectures that have an option."""
    return [name for name, settings in ARCHITECTURES.items() if option in settings.model_fields]
