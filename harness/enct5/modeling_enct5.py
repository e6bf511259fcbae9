"""EncT5: T5's encoder, a few of its decoder layers, learned prompts as the decoder's input, and a head.

Liu et al. 2021, "EncT5: A Framework for Fine-tuning T5 as Non-autoregressive Models",
https://arxiv.org/abs/2110.08426. Names and checkpoint layout are those of hackyon/EncT5.
"""

import contextlib
import copy
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Self, cast

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import nn
from transformers import AutoConfig
from transformers.modeling_outputs import SequenceClassifierOutput, TokenClassifierOutput
from transformers.models.t5.modeling_t5 import T5Attention, T5Block, T5PreTrainedModel, T5Stack
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, ModelOutput, can_return_tuple
from transformers.utils.hub import cached_file

from .configuration_enct5 import EncT5Config

_AUTO_MAP = {
    "AutoConfig": "configuration_enct5.EncT5Config",
    "AutoModel": "modeling_enct5.EncT5Model",
    "AutoModelForSequenceClassification": "modeling_enct5.EncT5ForSequenceClassification",
    "AutoModelForTokenClassification": "modeling_enct5.EncT5ForTokenClassification",
}
_PROMPTS = "decoder.embed_tokens.weight"
# In a T5 checkpoint all three are the one word embedding, and a file need not hold each of them.
_T5_WORD_EMBEDDINGS = ("shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
# Early T5 checkpoints hold this bias, which no version of T5 has used.
_T5_LEFTOVER = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"


class EncT5ClassificationHead(nn.Module):
    """Linear layer on the state of the one prompt, for single-label classification and regression."""

    def __init__(self, config: EncT5Config, num_labels: int):
        super().__init__()
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.out_proj = nn.Linear(config.d_model, num_labels)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Logits `(batch, num_labels)` from prompt states `(batch, 1, d_model)`."""
        return self.out_proj(self.dropout(hidden_states[:, 0]))


class EncT5MultiLabelClassificationHead(nn.Module):
    """An independent binary classifier per label, each on the state of the label's own prompt."""

    def __init__(self, config: EncT5Config, num_labels: int):
        super().__init__()
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.weights = nn.Parameter(torch.empty(num_labels, config.d_model))
        self.biases = nn.Parameter(torch.empty(num_labels))

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Logits `(batch, num_labels)` from prompt states `(batch, num_labels, d_model)`."""
        return (self.dropout(hidden_states) * self.weights).sum(dim=-1) + self.biases


class EncT5TokenClassificationHead(EncT5ClassificationHead):
    """One linear layer for the states of all words."""

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Logits `(batch, words, num_labels)` from word states `(batch, words, d_model)`."""
        return self.out_proj(self.dropout(hidden_states))


class EncT5PreTrainedModel(T5PreTrainedModel):
    """What all EncT5 models share: initialisation, loading, and making one from a T5 checkpoint."""

    config: EncT5Config
    _input_embed_layer = "shared"
    # Prompts see one another through a dense 4-D mask, which flex attention does not take.
    _supports_flex_attn = False
    # Aliases of the word embedding that the original keeps in memory, and some tools save.
    _keys_to_ignore_on_load_unexpected = [r"encoder\.embed_tokens\.weight$"]  # noqa: RUF012

    @property
    def dummy_inputs(self) -> dict[str, torch.Tensor]:
        """A batch for tools that try a model: T5's own has inputs of a decoder."""
        return {"input_ids": super().dummy_inputs["input_ids"]}

    @property
    def _enct5(self) -> "EncT5Model":
        return cast("EncT5Model", self.base_model)

    @property
    def decoder_embeddings(self) -> nn.Embedding:
        """The prompts, `decoder_vocab_size` rows, under the name that the original implementation gives them."""
        return self._enct5.decoder.embed_tokens

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        # The stacks initialise their own layers, so that these belong to a head. The layer, not the head around it:
        # transformers takes a module without parameters of its own for initialised, in models it does not ship.
        if isinstance(module, nn.Linear | EncT5MultiLabelClassificationHead):
            _init_head(module, self.config)

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """As in `PreTrainedModel`; takes checkpoints of the original implementation too."""
        aliases = {r"^decoder_embeddings\.weight$": f"{cls.base_model_prefix}.{_PROMPTS}"}
        kwargs["key_mapping"] = {**aliases, **(kwargs.get("key_mapping") or {})}
        loaded = super().from_pretrained(*args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        # Otherwise save_pretrained writes the prompts back under the alias that they were read from.
        model._weight_conversions = None
        # Loading makes new parameters, all of them trainable.
        model._enct5.fix_prompt_position_bias()
        return loaded

    def save_pretrained(self, *args: Any, **kwargs: Any) -> None:
        """As in `PreTrainedModel`; the saved configuration names the code of every auto class."""
        self.config.auto_map = dict(_AUTO_MAP)
        super().save_pretrained(*args, **kwargs)

    @classmethod
    def from_pretrained_t5(
        cls, checkpoint: str | PathLike[str], revision: str | None = None, **config_overrides: Any
    ) -> Self:
        """Make a model that is ready for fine-tuning from a T5 or mT5 checkpoint.

        Args:
            checkpoint: Hub id, or a folder with `config.json` and safetensors.
            revision: Branch, tag or commit of a Hub checkpoint.
            config_overrides: Fields of `EncT5Config`, e.g. `problem_type`, `num_labels` or `id2label` (names of the
                labels by index), `num_decoder_layers` (1 if left out). The number of prompts follows from the task.

        Returns:
            The model in float32 and in evaluation mode, as after `from_pretrained`; prompts and head are random.

        Raises:
            ValueError: The checkpoint or an override does not make an EncT5.
            OSError: The checkpoint cannot be found, or has no safetensors.
        """
        # A T5 needs no code of its own; without the argument, transformers would ask whether to run some.
        t5_config = AutoConfig.from_pretrained(checkpoint, revision=revision, trust_remote_code=False)
        config = EncT5Config.from_t5(t5_config, **config_overrides)
        # On the meta device nothing is initialised only to be overwritten.
        with torch.device("meta"):
            model = cls(config)
        model.to_empty(device="cpu")
        model.load_weights_from_pretrained_t5(checkpoint, revision=revision)
        model.prepare_for_fine_tuning()
        return model.eval()

    @torch.no_grad()
    def load_weights_from_pretrained_t5(self, model_path: str | PathLike[str], revision: str | None = None) -> None:
        """Copy the encoder and the decoder layers that are kept from a T5 or mT5 checkpoint.

        Only these tensors are read, one at a time. Prompts and head stay as they are.

        Args:
            model_path: Hub id, or a folder with safetensors (one file, or shards with their index).
            revision: Branch, tag or commit of a Hub checkpoint.

        Raises:
            ValueError: Tensors are missing, have other shapes or do not belong to this configuration.
            OSError: The checkpoint cannot be found, or has no safetensors.
        """
        core = self._enct5
        targets = {name: tensor for name, tensor in core.named_parameters() if name != _PROMPTS}
        missing = set(targets)
        for file in _safetensors_files(model_path, revision, targets):
            with safe_open(file, framework="pt") as tensors:
                names = list(tensors.keys())
            for name in names:
                target = _t5_target(name)
                if target in missing:
                    _copy_tensor(file, name, targets[target])
                    missing.discard(target)
                elif target not in targets and core.has_layer_of(target) and target != _T5_LEFTOVER:
                    raise ValueError(f"{file}: {name} has no place in this model. {_WRONG_CHECKPOINT}")
        if missing:
            some = ", ".join(sorted(missing)[:3])
            raise ValueError(f"{model_path} lacks {len(missing)} tensor(s), e.g. {some}. {_WRONG_CHECKPOINT}")
        core.fix_prompt_position_bias()

    def prepare_for_fine_tuning(self) -> None:
        """Draw new random prompts (and a new head, where there is one), to be trained on a task."""
        nn.init.normal_(self._enct5.decoder.embed_tokens.weight, std=self.config.initializer_factor)
        if (head := getattr(self, "classification_head", None)) is not None:
            _init_head(head, self.config)

    @contextlib.contextmanager
    def fixed_weights(self) -> Iterator[None]:
        """A context for predicting many texts, in which the weights stay as they are.

        What depends on them alone, how the prompts see one another and what they ask, is computed once, not for
        every batch.
        """
        self._enct5._question = {}
        try:
            yield
        finally:
            self._enct5._question = None

    @torch.no_grad()
    def set_prompts_from_words(self, names: Sequence[Sequence[int]]) -> None:
        """Let each prompt start as the mean word embedding of its label's name.

        Args:
            names: Token ids of each label's name, without special tokens, in the order of the labels.

        Raises:
            ValueError: Another number of names than prompts, or a name without tokens.
        """
        core = self._enct5
        prompts = core.decoder.embed_tokens.weight
        if len(names) != len(prompts) or not all(names):
            raise ValueError(f"{len(prompts)} prompt(s) need as many names of at least one token: got {len(names)}.")
        for prompt, name in zip(prompts, names, strict=True):
            prompt.copy_(core.shared.weight[list(name)].mean(dim=0))


@dataclass
class EncT5ModelOutput(ModelOutput):
    """What `EncT5Model` returns.

    Args:
        last_hidden_state: The prompts' states `(batch, decoder_vocab_size, d_model)`; of prompts for words
            `(batch, words, d_model)`.
        hidden_states: The text's states `(batch, length, d_model)` before the encoder's first layer and after each.
        attentions: The attention weights `(batch, heads, length, length)` of each encoder layer.
        encoder_last_hidden_state: The text's states, `(batch, length, d_model)`.
        decoder_hidden_states: As `hidden_states`, of the prompts in the decoder.
        decoder_attentions: How the prompts see one another, `(batch, heads, prompts, prompts)` of each decoder layer.
        cross_attentions: How the prompts see the text, `(batch, heads, prompts, length)` of each decoder layer.
    """

    last_hidden_state: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None
    encoder_last_hidden_state: torch.Tensor | None = None
    decoder_hidden_states: tuple[torch.Tensor, ...] | None = None
    decoder_attentions: tuple[torch.Tensor, ...] | None = None
    cross_attentions: tuple[torch.Tensor, ...] | None = None


class EncT5Encoder(T5Stack):
    """T5's encoder, which has no word embedding of its own but reads the `shared` one of the model around it."""

    _model: tuple[T5PreTrainedModel] | None = None

    @classmethod
    def is_custom_code(cls) -> bool:
        """No: its weights are initialised as T5's. transformers passes over some modules of other packages' models."""
        return False

    def take_words_from(self, model: "EncT5Model") -> None:
        """From now on, the words are those of `model`, also where its table is replaced."""
        del self._modules["embed_tokens"]
        # In a tuple the model is no part of the encoder: parameters keep the one name.
        self._model = (model,)

    @property
    def embed_tokens(self) -> nn.Embedding:  # type: ignore[override]
        """The word embedding."""
        return cast(nn.Embedding, self._modules["embed_tokens"] if self._model is None else self._model[0].shared)

    def set_input_embeddings(self, new_embeddings: nn.Module) -> None:
        """Replace the word embedding, which is the model's."""
        assert self._model is not None
        self._model[0].shared = new_embeddings


class EncT5Model(EncT5PreTrainedModel):
    """The encoder, the decoder layers that are kept, and the prompts (`decoder.embed_tokens`), without a head.

    Built from two `T5Stack`s, not from a `T5Model`: that ties the decoder's embedding to the word embedding.
    The one word embedding is `shared`; no parameter has a second name.
    """

    def __init__(self, config: EncT5Config):
        super().__init__(config)
        config.check_prompts()
        self.encoder = EncT5Encoder(_stack_config(config, is_decoder=False))
        self.shared = self.encoder.embed_tokens
        self.encoder.take_words_from(self)
        self.decoder = T5Stack(
            _stack_config(
                config,
                is_decoder=True,
                num_layers=config.num_decoder_layers,
                vocab_size=config.decoder_vocab_size,
            )
        )
        self._question: dict[Any, tuple[torch.Tensor, torch.Tensor]] | None = None
        self.post_init()
        self.fix_prompt_position_bias()

    def fix_prompt_position_bias(self) -> None:
        """With `prompt_position_bias=False`: zero and freeze the decoder's relative position bias, and skip it."""
        if not self.config.prompt_position_bias:
            block: Any = self.decoder.block[0]
            attention = block.layer[0].SelfAttention
            attention.has_relative_attention_bias = False
            attention.relative_attention_bias.weight.requires_grad_(False).zero_()

    def has_layer_of(self, name: str) -> bool:
        """Whether a tensor's name, as T5 names it, belongs to a layer that this model has."""
        layer = re.match(r"(encoder|decoder)\.block\.(\d+)\.", name)
        return layer is not None and int(layer[2]) < len(getattr(self, layer[1]).block)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        word_positions: torch.Tensor | None = None,
    ) -> EncT5ModelOutput:
        """Encode the text and decode all prompts at once.

        Args:
            input_ids: Token ids `(batch, length)`, padded on either side.
            attention_mask: `(batch, length)`, 0 where there is padding. Left out, it is derived from `input_ids`
                and `pad_token_id`.
            inputs_embeds: Word embeddings `(batch, length, d_model)` instead of `input_ids`; without a mask, no
                position counts as padding.
            output_attentions: Also return all attention weights (needs `attn_implementation="eager"`).
            output_hidden_states: Also return the states of all layers.
            word_positions: For a prompt per word: where in the text each word begins, `(batch, words)`, -1 where
                there is no word. Each of these prompts is the one that there is, plus the text's state in that place.

        """
        inputs_embeds, attention_mask = self._embed(input_ids, attention_mask, inputs_embeds)
        extras = {"output_attentions": output_attentions, "output_hidden_states": output_hidden_states}
        extras = {name: value for name, value in extras.items() if value is not None}
        encoded = self.encoder(inputs_embeds=inputs_embeds, attention_mask=attention_mask, return_dict=True, **extras)
        flat = attention_mask is None or attention_mask.dim() == 2
        if word_positions is None and flat and not any(extras.values()) and self._only_predicts():
            states = self._answer(encoded.last_hidden_state, attention_mask)
            return EncT5ModelOutput(last_hidden_state=states, encoder_last_hidden_state=encoded.last_hidden_state)
        prompts = self._prompts(len(inputs_embeds), inputs_embeds.device)
        if word_positions is not None:
            prompts = self._word_prompts(prompts, encoded.last_hidden_state, word_positions)
        decoded = self.decoder(
            inputs_embeds=prompts,
            attention_mask=_prompt_mask(prompts, self.config.label_attention, word_positions),
            encoder_hidden_states=encoded.last_hidden_state,
            encoder_attention_mask=attention_mask,
            use_cache=False,
            return_dict=True,
            **extras,
        )
        return EncT5ModelOutput(
            last_hidden_state=decoded.last_hidden_state,
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
            encoder_last_hidden_state=encoded.last_hidden_state,
            decoder_hidden_states=decoded.hidden_states,
            decoder_attentions=decoded.attentions,
            cross_attentions=decoded.cross_attentions,
        )

    def _embed(
        self, input_ids: torch.Tensor | None, attention_mask: torch.Tensor | None, inputs_embeds: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Word embeddings `(batch, length, d_model)` and the mask of a text given in either form."""
        if input_ids is not None and inputs_embeds is None:
            if attention_mask is None and self.config.pad_token_id is not None:
                attention_mask = input_ids.ne(self.config.pad_token_id)
            return self.shared(input_ids), attention_mask
        if inputs_embeds is not None and input_ids is None:
            return inputs_embeds, attention_mask
        raise ValueError("Give exactly one of input_ids and inputs_embeds.")

    def _prompts(self, batch: int, device: torch.device) -> torch.Tensor:
        """The prompts' embeddings for a batch, `(batch, decoder_vocab_size, d_model)`."""
        ids = torch.arange(self.decoder.embed_tokens.num_embeddings, device=device)
        return self.decoder.embed_tokens(ids).expand(batch, -1, -1)

    def _only_predicts(self) -> bool:
        """Whether `_answer` may take the decoder's place: one layer as T5 has it, nothing to learn or to show."""
        config = self.config
        block: Any = self.decoder.block[0]
        if self.training or torch.is_grad_enabled() or torch.compiler.is_compiling() or len(self.decoder.block) > 1:
            return False
        attention, size = block.layer[1].EncDecAttention, (config.num_heads * config.d_kv, config.d_model)
        prompts, dtype = self.decoder.embed_tokens.num_embeddings, block.layer[1].layer_norm.weight.dtype
        return (
            type(block) is T5Block
            and dtype != torch.float16  # for which T5 clamps
            and all(type(part) is nn.Linear and part.weight.shape == size for part in (attention.k, attention.v))
            and prompts * config.num_heads <= config.d_model
            and not (config.output_attentions or config.output_hidden_states)
            and not any(map(_is_watched, self.decoder.modules()))
        )

    def _answer(self, text: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        """The decoder's states `(batch, decoder_vocab_size, d_model)` for a text `(batch, length, d_model)`.

        Scores are (query Wk) text instead of query (Wk text), and the context is Wv (weights text) instead of
        weights (Wv text): the same sums, without projecting a text that is longer than the prompts.
        """
        block: Any = self.decoder.block[0]
        attention, batch = block.layer[1].EncDecAttention, len(text)
        prompts, query = self._ask(text.device)
        heads, count = query.shape[:2]
        with torch.autocast(text.device.type, enabled=False):  # T5's scores are not scaled, and grow large
            scores = F.linear(text.float(), query.flatten(0, 1)).transpose(1, 2)
            if attention_mask is not None:
                scores = scores.masked_fill(attention_mask[:, None] == 0, torch.finfo(scores.dtype).min)
            weights = scores.softmax(-1)
        seen = (weights.to(text.dtype) @ text).unflatten(1, (heads, count)).transpose(0, 1).flatten(1, 2)
        context = (seen @ _by_head(attention.v, heads).transpose(1, 2)).unflatten(1, (batch, count))
        states = prompts + attention.o(context.permute(1, 2, 0, 3).flatten(2))
        return self.decoder.final_layer_norm(block.layer[2](states))

    def _ask(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """What is the same for all texts: the prompts `(1, prompts, d_model)` that have seen one another, and their
        query to a text, multiplied by the keys' projection, `(heads, prompts, d_model)` in float32.
        """
        key = device, torch.is_autocast_enabled(device.type) and torch.get_autocast_dtype(device.type)
        if self._question is not None and key in self._question:
            return self._question[key]
        block: Any = self.decoder.block[0]
        own, cross = block.layer[0], block.layer[1]
        prompts = self._prompts(1, device)
        if prompts.shape[1] == 1:  # a prompt alone sees itself, with weight 1
            prompts = prompts + own.SelfAttention.o(own.SelfAttention.v(own.layer_norm(prompts)))
        else:
            prompts = own(prompts, attention_mask=_prompt_mask(prompts, self.config.label_attention))[0]
        attention: T5Attention = cross.EncDecAttention
        query = attention.q(cross.layer_norm(prompts))[0].unflatten(-1, (attention.n_heads, -1)).transpose(0, 1)
        with torch.autocast(device.type, enabled=False):
            query = query.float() @ _by_head(attention.k, attention.n_heads).float()
        if self._question is not None:
            self._question[key] = prompts, query
        return prompts, query

    def _word_prompts(self, prompts: torch.Tensor, states: torch.Tensor, word_positions: torch.Tensor) -> torch.Tensor:
        """The one prompt for each word, with the word's state, `(batch, words, d_model)`."""
        if not self.config.word_states:
            return prompts.expand(-1, word_positions.shape[1], -1)
        places = word_positions.clamp(min=0).unsqueeze(-1).expand(-1, -1, states.shape[-1])
        return prompts + states.gather(1, places)


class EncT5ForSequenceClassification(EncT5PreTrainedModel):
    """EncT5 with a head for single-label or multi-label classification or regression."""

    def __init__(self, config: EncT5Config):
        super().__init__(config)
        self.num_labels = cast(int, config.num_labels)
        self.problem_type = config.problem_type or (
            "regression" if self.num_labels == 1 else "single_label_classification"
        )
        self.transformer = EncT5Model(config)
        self.classification_head: EncT5ClassificationHead | EncT5MultiLabelClassificationHead
        if self.problem_type == "multi_label_classification":
            self.classification_head = EncT5MultiLabelClassificationHead(config, self.num_labels)
        else:
            self.classification_head = EncT5ClassificationHead(config, self.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> SequenceClassifierOutput:
        """Score texts.

        Args:
            input_ids: As in `EncT5Model`, and so are `attention_mask` and `inputs_embeds`.
            labels: Class indices `(batch,)` for single-label classification; 0/1 of any number type
                `(batch, num_labels)` for multi-label; values `(batch,)` or `(batch, num_labels)` for regression.
            output_attentions: Also return the encoder's attention weights (needs eager attention).
            output_hidden_states: Also return the states of all encoder layers.

        Returns:
            `logits` `(batch, num_labels)`, for regression the values themselves; with labels also `loss`, the mean
            cross-entropy, binary cross-entropy or squared error in float32.

        Raises:
            ValueError: Labels whose type or shape does not fit the task.
        """
        outputs = self.transformer(
            input_ids=input_ids,
            attention_mask=attention_mask,
            inputs_embeds=inputs_embeds,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
        )
        logits = self.classification_head(outputs.last_hidden_state)
        return SequenceClassifierOutput(
            loss=None if labels is None else _loss(self.problem_type, logits, labels),
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )


class EncT5ForTokenClassification(EncT5PreTrainedModel):
    """EncT5 with a head that gives every word a tag.

    There is one learned prompt, the question for the tag. It is asked once for every word, in a decoder position of
    its own, together with the encoder's state of the word's first sub-word: a prompt alone would be the same in all
    positions, and so would the answers. Words see one another in either direction. This is how EncT5's prompts carry
    over to structured prediction; it is not in the original implementation.
    """

    def __init__(self, config: EncT5Config):
        super().__init__(config)
        if config.num_prompts != 1:
            raise ValueError(f"Token classification has one prompt: problem_type={config.problem_type!r} has several.")
        self.num_labels = cast(int, config.num_labels)
        self.transformer = EncT5Model(config)
        self.classification_head = EncT5TokenClassificationHead(config, self.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        word_positions: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> TokenClassifierOutput:
        """Score the tags of words.

        Args:
            input_ids: As in `EncT5Model`, and so are `attention_mask` and `inputs_embeds`.
            word_positions: The position in the text of each word's first sub-word, `(batch, words)`, -1 where there
                is no word (padding). Left out, every token that is not padding is a word.
            labels: Tag indices `(batch, words)`, -100 where there is none to learn.
            output_attentions: Also return the encoder's attention weights (needs eager attention).
            output_hidden_states: Also return the states of all encoder layers.

        Returns:
            `logits` `(batch, words, num_labels)`; with labels also `loss`, the mean cross-entropy in float32 over
            the words that have one.

        Raises:
            ValueError: Labels that are not one for each word.
        """
        if word_positions is None:
            word_positions = self._every_token(input_ids, attention_mask, inputs_embeds)
        outputs = self.transformer(
            input_ids=input_ids,
            attention_mask=attention_mask,
            inputs_embeds=inputs_embeds,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            word_positions=word_positions,
            return_dict=True,
        )
        logits = self.classification_head(outputs.last_hidden_state)
        return TokenClassifierOutput(
            loss=None if labels is None else _tag_loss(logits, labels),
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def _every_token(
        self, input_ids: torch.Tensor | None, attention_mask: torch.Tensor | None, inputs_embeds: torch.Tensor | None
    ) -> torch.Tensor:
        """Positions `(batch, length)` of all tokens, -1 for padding."""
        text, mask = self.transformer._embed(input_ids, attention_mask, inputs_embeds)
        positions = torch.arange(text.shape[1], device=text.device).expand(len(text), -1)
        return positions if mask is None else positions.masked_fill(mask == 0, -1)


def _init_head(head: nn.Module, config: EncT5Config) -> None:
    for parameter in head.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=config.initializer_factor * config.d_model**-0.5)
        else:
            nn.init.zeros_(parameter)


def _loss(problem_type: str, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean loss of logits `(batch, num_labels)`, in float32 also under autocast."""
    logits, labels = logits.float(), labels.to(logits.device)
    if problem_type == "single_label_classification":
        if labels.is_floating_point():
            raise ValueError(
                "Labels of single-label classification are class indices, and these are floating-point numbers. "
                "Set problem_type to 'multi_label_classification' or 'regression' before making the model."
            )
        return F.cross_entropy(logits, labels.reshape(-1).long())
    if labels.numel() != logits.numel() or len(labels) != len(logits):
        raise ValueError(f"Labels have shape {tuple(labels.shape)}, and {problem_type} needs {tuple(logits.shape)}.")
    labels = labels.reshape(logits.shape).to(logits.dtype)
    if problem_type == "regression":
        return F.mse_loss(logits, labels)
    return F.binary_cross_entropy_with_logits(logits, labels)


def _tag_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean loss of logits `(batch, words, num_labels)` over the words whose label is not -100."""
    if labels.shape != logits.shape[:2]:
        raise ValueError(f"Labels have shape {tuple(labels.shape)}, and these words need {tuple(logits.shape[:2])}.")
    return F.cross_entropy(logits.float().flatten(0, 1), labels.to(logits.device).flatten().long())


def _stack_config(config: EncT5Config, **changes: Any) -> EncT5Config:
    stack_config = copy.deepcopy(config)
    stack_config.use_cache = False
    for name, value in changes.items():
        setattr(stack_config, name, value)
    return stack_config


def _by_head(projection: nn.Linear, heads: int) -> torch.Tensor:
    """The weight of a projection, `(heads, d_kv, d_model)`."""
    return projection.weight.unflatten(0, (heads, -1))


def _is_watched(module: nn.Module) -> bool:
    """Whether others act where the module is called: by hooks, or in its place."""
    return bool(module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module))


def _prompt_mask(
    prompts: torch.Tensor, label_attention: str, word_positions: torch.Tensor | None = None
) -> torch.Tensor | None:
    """Additive mask with which all prompts see one another, or each only itself; one prompt needs none.

    Where a position of `word_positions` has no word, its prompt is seen by itself alone.
    """
    length = prompts.shape[1]
    if length == 1:
        return None
    # T5Stack leaves a 4-D mask as it is, and makes a mask of fewer dimensions causal.
    mask = prompts.new_zeros(1, 1, length, length)
    itself = torch.eye(length, dtype=torch.bool, device=prompts.device)
    if label_attention == "none":
        mask = mask.masked_fill(~itself, torch.finfo(mask.dtype).min)
    elif word_positions is not None:
        hidden = (word_positions < 0)[:, None, None, :] & ~itself
        mask = mask.masked_fill(hidden, torch.finfo(mask.dtype).min)
    return mask


_WRONG_CHECKPOINT = (
    "EncT5 takes the weights of a T5 or mT5 (encoder and decoder) with the same layer sizes, feed-forward type and at "
    "least as many layers; EncT5Config.from_dict(t5_config.to_dict()) copies its settings."
)


def _t5_target(name: str) -> str:
    """Name inside EncT5Model of a T5 checkpoint's tensor."""
    name = name.removeprefix("transformer.")
    return "shared.weight" if name in _T5_WORD_EMBEDDINGS else name


def _copy_tensor(file: str, name: str, parameter: nn.Parameter) -> None:
    # Opened anew each time, so that the pages of tensors already copied do not stay in memory.
    with safe_open(file, framework="pt") as tensors:
        shape = tuple(tensors.get_slice(name).get_shape())
        if shape != tuple(parameter.shape):
            raise ValueError(
                f"{file}: {name} has shape {shape}, and this model needs {tuple(parameter.shape)}. {_WRONG_CHECKPOINT}"
            )
        parameter.copy_(tensors.get_tensor(name))


def _safetensors_files(checkpoint: str | PathLike[str], revision: str | None, targets: dict[str, Any]) -> list[str]:
    """Paths of a checkpoint's safetensors files that hold tensors of `targets`; downloads no others."""

    def find(filename: str) -> str | None:
        return cached_file(checkpoint, filename, revision=revision, _raise_exceptions_for_missing_entries=False)

    if (single := find(SAFE_WEIGHTS_NAME)) is not None:
        return [single]
    if (index := find(SAFE_WEIGHTS_INDEX_NAME)) is None:
        raise OSError(
            f"{checkpoint} has no {SAFE_WEIGHTS_NAME} or {SAFE_WEIGHTS_INDEX_NAME}. Pickled weights (.bin) are not "
            "read; convert them once: transformers.AutoModelForSeq2SeqLM.from_pretrained"
            f"({str(checkpoint)!r}).save_pretrained('FOLDER'), and give FOLDER instead."
        )
    weight_map = json.loads(Path(index).read_text(encoding="utf-8"))["weight_map"]
    shards = sorted({shard for name, shard in weight_map.items() if _t5_target(name) in targets})
    if odd := [shard for shard in shards if Path(shard).name != shard or not shard.endswith(".safetensors")]:
        raise ValueError(f"{index} names a file outside the checkpoint, or of another type: {odd[0]}")
    return [str(cached_file(checkpoint, shard, revision=revision)) for shard in shards]
