"""Configuration of EncT5: T5's own settings, the decoder layers that are kept and the learned prompts."""

from dataclasses import fields
from typing import Any, Literal, cast

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig, T5Config

# What a T5 checkpoint says about itself, its task or its generation, and EncT5 must not inherit.
_NOT_FROM_T5 = frozenset(
    ["architectures", "dtype", "id2label", "label2id", "problem_type", "task_specific_params", "transformers_version"]
)

_PROBLEM_TYPES = (None, "single_label_classification", "multi_label_classification", "regression")


@strict
class EncT5Config(T5Config):
    """Settings of an EncT5 model (Liu et al. 2021, https://arxiv.org/abs/2110.08426).

    Everything T5 has keeps T5's name and default; names, defaults and the file format are those of the original
    implementation (hackyon/EncT5). The task is told by `problem_type` (`single_label_classification`,
    `multi_label_classification` or `regression`) and `num_labels` (or `id2label` and `label2id`).

    Args:
        num_decoder_layers: Decoder layers that are kept, at least 1.
        decoder_vocab_size: Number of learned prompts, the decoder's inputs: one, or for multi-label one per label.
            Left out it follows from the task; a number that contradicts the task is an error.
        prompt_position_bias: Whether the prompts see T5's relative position bias. It is one-directional, so the
            order of the labels matters in multi-label (as in the original). False: the bias is zeroed and frozen,
            and logits do not depend on the order of the labels.
        label_attention: "full": the prompts of multi-label, and the words of token classification, see one another;
            "none": each sees only the text.
        word_states: Token classification: whether a word's prompt is joined by the encoder's state of the word.
            False removes these states, and all words look the same: for ablation.
        dropout_rate: Dropout in encoder and decoder.
        classifier_dropout: Dropout before the classification head.
    """

    model_type = "enct5"

    is_encoder_decoder: bool = False
    num_decoder_layers: int | None = 1
    decoder_vocab_size: int | None = None
    prompt_position_bias: bool = True
    label_attention: Literal["full", "none"] = "full"
    word_states: bool = True

    def __post_init__(self, **kwargs: Any) -> None:
        # `EncT5Config.from_dict(t5_config.to_dict())` brings "t5" along.
        kwargs.pop("model_type", None)
        super().__post_init__(**kwargs)
        # T5Config forces this to True; tying would make the prompts an alias of the word embedding.
        self.tie_word_embeddings = False
        # Also where a saved configuration says True, as the original's do: it tells others to feed decoder inputs, and
        # to look for outputs by an encoder-decoder's names.
        self.is_encoder_decoder = False
        # This is about T5's language-model head.
        self.__dict__.pop("scale_decoder_outputs", None)
        if self.decoder_vocab_size is None:
            self.decoder_vocab_size = self.num_prompts
        self.check_prompts()

    @property
    def num_prompts(self) -> int:
        """Number of prompts that the task needs."""
        return cast(int, self.num_labels) if self.problem_type == "multi_label_classification" else 1

    def check_prompts(self) -> None:
        """Check that prompts and kept layers fit the task.

        Runs when a configuration or a model is made; attributes may be set freely in between.

        Raises:
            ValueError: An unknown `problem_type`, a `decoder_vocab_size` that contradicts the task, or no decoder
                layer.
        """
        if self.problem_type not in _PROBLEM_TYPES:
            known = ", ".join(map(repr, _PROBLEM_TYPES[1:]))
            raise ValueError(f"problem_type={self.problem_type!r}: EncT5 knows {known}, and None.")
        if self.decoder_vocab_size != self.num_prompts:
            raise ValueError(
                f"decoder_vocab_size={self.decoder_vocab_size} contradicts the task: "
                f"problem_type={self.problem_type!r} with num_labels={self.num_labels} needs {self.num_prompts} "
                "prompt(s), one per label only for 'multi_label_classification'. "
                "Set decoder_vocab_size, problem_type or num_labels accordingly."
            )
        if not self.num_decoder_layers or self.num_decoder_layers < 1:
            raise ValueError(f"num_decoder_layers={self.num_decoder_layers}: EncT5 needs at least 1 decoder layer.")

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """As in `PreTrainedConfig`; where an argument changes the task, the number of prompts follows."""
        if not kwargs.keys() & {"problem_type", "num_labels", "id2label", "decoder_vocab_size"}:
            return super().from_dict(config_dict, **kwargs)
        prompts = kwargs.pop("decoder_vocab_size", None)
        saved = {name: value for name, value in config_dict.items() if name != "decoder_vocab_size"}
        made = super().from_dict(saved, **kwargs)
        config = made[0] if isinstance(made, tuple) else made
        config.decoder_vocab_size = config.num_prompts if prompts is None else prompts
        config.check_prompts()
        return made

    def get_text_config(self, decoder: bool | None = None, encoder: bool | None = None) -> "EncT5Config":
        """This configuration itself: the default would take `decoder_vocab_size` for the size of the vocabulary."""
        return self

    @classmethod
    def from_t5(cls, t5_config: PreTrainedConfig, **overrides: Any) -> "EncT5Config":
        """Configuration of an EncT5 that is cut from a T5.

        Args:
            t5_config: Configuration of a T5 (v1.0, v1.1, Flan-T5, ByT5, UL2) or an mT5.
            overrides: Fields of EncT5Config, and `num_labels`; one decoder layer is kept where nothing else is said.
                `label2id` follows from `id2label`.

        Raises:
            ValueError: Another architecture, or an override that is no setting of EncT5.
        """
        if t5_config.model_type not in ("t5", "mt5"):
            raise ValueError(f"EncT5 is made from a T5 or mT5 checkpoint, and this one is {t5_config.model_type!r}.")
        known = {field.name for field in fields(cls)} - {"dtype"} | {"num_labels", "attn_implementation"}
        if unknown := sorted(set(overrides) - known):
            raise ValueError(f"Unknown EncT5 setting(s): {', '.join(unknown)}. Known: {', '.join(sorted(known))}.")
        settings = {name: value for name, value in t5_config.to_dict().items() if name not in _NOT_FROM_T5}
        return cls(**{**settings, "num_decoder_layers": 1, **_with_label_names(overrides)})


def _with_label_names(overrides: dict[str, Any]) -> dict[str, Any]:
    """The overrides with `label2id`, where only `id2label` is given."""
    names = overrides.get("id2label")
    if names is None:
        return overrides
    if overrides.get("num_labels", len(names)) != len(names):
        raise ValueError(f"num_labels={overrides['num_labels']} contradicts id2label, which has {len(names)} names.")
    return {"label2id": {name: int(index) for index, name in names.items()}, **overrides}
