"""Sizes and FLOPs by configurations alone, beside the models themselves."""

import pytest
import torch
from tiny import TINY, tiny_model
from transformers import AutoModel, BertConfig, T5Config, T5ForConditionalGeneration

from harness.config.architectures import ARCHITECTURES
from harness.planning.sizes import size_of
from harness.training.flops import count_flops

LONGER = {"t5": {"feed_forward_proj": "gated-gelu", "num_decoder_layers": 3}}


def test_flops_of_an_encoder_are_those_that_are_counted():
    config = BertConfig(**{**TINY["bert"], "hidden_size": 64, "intermediate_size": 256}, attn_implementation="eager")
    model = AutoModel.from_config(config, attn_implementation="eager").eval()
    size = size_of(tiny_model("bert", config={**TINY["bert"], "hidden_size": 64, "intermediate_size": 256}), None)
    ids = torch.ones(1, 100, dtype=torch.long)
    with torch.no_grad():
        counted = count_flops(lambda: model(input_ids=ids))
    assert size.forward(100) == pytest.approx(counted, rel=0.02)


@pytest.mark.parametrize("changes", [{}, LONGER["t5"]])
def test_flops_and_parameters_of_t5_are_those_that_are_counted(changes):
    own = {**TINY["t5"], "vocab_size": 500, **changes}
    model = T5ForConditionalGeneration._from_config(T5Config(**own), attn_implementation="eager").eval()
    size = size_of(tiny_model("t5", config=own, tokenizer="x"), None)
    ids, answer = torch.ones(1, 90, dtype=torch.long), torch.ones(1, 7, dtype=torch.long)
    with torch.no_grad():
        counted = count_flops(lambda: model(input_ids=ids, decoder_input_ids=answer))
    assert size.forward(90, 7) == pytest.approx(counted, rel=0.03)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert size.parameters == pytest.approx(parameters, rel=0.02)


@pytest.mark.parametrize(
    ("name", "parameters"), [("t5", 222.9e6), ("enct5", 119e6), ("bert", 109.5e6)], ids=["t5", "enct5", "bert"]
)
def test_sizes_of_models_that_everybody_knows(name, parameters):
    config = {"d_model": 768, "d_kv": 64, "d_ff": 3072, "num_layers": 12, "num_heads": 12}
    model = ARCHITECTURES[name](name=name, config={} if name == "bert" else config, tokenizer="x")
    assert size_of(model, None).parameters == pytest.approx(parameters, rel=0.02)


def test_a_checkpoint_is_looked_at_where_it_is(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "t5", "d_model": 16, "d_ff": 32, "vocab_size": 100}')
    model = ARCHITECTURES["t5"](name="m", checkpoint="org/name")
    assert size_of(model, tmp_path).parameters < 1e6
    for content in ("", "[]", "{}", '{"model_type": 3}', '{"model_type": "t5", "d_model": "wide"}'):
        (tmp_path / "config.json").write_text(content)
        size_of(model, tmp_path)
    assert size_of(model, tmp_path / "absent") is None and size_of(model, None) is None
