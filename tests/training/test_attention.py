"""The attention used in training and evaluation is the fused one's, by other means."""

import pytest
import torch
from torch import nn
from transformers import AutoModel, BertConfig, ModernBertConfig, T5Config
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from harness.training import cpu_kernels as own
from harness.training.cpu_kernels import NAME, SHORT, attention, use_attention

MASKS = {
    "none": lambda: None,
    "padding": lambda: (torch.arange(6) < torch.tensor([6, 4])[:, None])[:, None, None],
    "added": lambda: torch.randn(2, 1, 5, 6),
}


def inputs(read=5, length=6, heads=3, dtype=torch.float32):
    torch.manual_seed(0)
    shapes = ((2, heads, read, 8), (2, heads, length, 8), (2, heads, length, 8))
    return [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]


@pytest.fixture
def layer():
    module = nn.Module()
    module.is_causal = False
    return module


@pytest.mark.parametrize("bias", [None, 1])
@pytest.mark.parametrize("scaling", [None, 1.0])
@pytest.mark.parametrize("kind", MASKS)
def test_states_and_gradients_are_those_of_sdpa(layer, kind, scaling, bias):
    bias = None if bias is None else torch.randn(1, 3, 5, 6, requires_grad=True)
    options = {"scaling": scaling, "position_bias": bias}
    found = []
    for function in (attention, sdpa_attention_forward):
        values = inputs()
        torch.manual_seed(1)
        states = function(layer, *values, MASKS[kind](), **options)[0]
        sources = [*values, *([bias] if bias is not None else [])]
        found.append([states, *torch.autograd.grad(states.square().sum(), sources)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-5, atol=1e-5)  # sums of another order, on any CPU


def test_in_bfloat16_it_is_close(layer):
    values = inputs(dtype=torch.bfloat16)
    exact = sdpa_attention_forward(layer, *(value.float() for value in values), None)[0]
    for bias in (None, torch.zeros(1, 3, 5, 6)):
        with torch.autocast("cpu", torch.bfloat16):
            states = attention(layer, *values, None, position_bias=bias)[0]
        assert states.dtype == torch.bfloat16
        torch.testing.assert_close(states.float(), exact, atol=0.03, rtol=0)


def test_dropout_drops_weights_and_keeps_the_mean(layer):
    query, key, _ = inputs(read=400)
    value = torch.ones(2, 3, 6, 8)
    torch.manual_seed(2)
    states = attention(layer, query, key, value, None, dropout=0.25)[0]
    assert abs(float(states.mean()) - 1) < 0.02 and float(states.std()) > 0.1


def fused(monkeypatch):
    calls = []
    monkeypatch.setattr(own, "sdpa_attention_forward", lambda *_, **__: calls.append(True))
    return calls


@pytest.mark.parametrize(
    "change", [{"causal": True}, {"length": SHORT + 1}, {"heads": 1}, {"softcap": 3.0}], ids=lambda change: str(change)
)
def test_what_it_is_not_made_for_is_left_to_sdpa(layer, monkeypatch, change):
    calls = fused(monkeypatch)
    layer.is_causal = change.get("causal", False)
    query, _, _ = inputs()
    _, key, value = inputs(length=change.get("length", 6), heads=change.get("heads", 3))
    attention(layer, query, key, value, None, softcap=change.get("softcap"))
    assert calls == [True]


def test_long_texts_with_dropout_are_not_left_to_sdpa(layer, monkeypatch):
    calls = fused(monkeypatch)
    assert attention(layer, *inputs(length=SHORT + 1), None, dropout=0.1)[0].shape == (2, 5, 3, 8)
    assert not calls


SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 99}
T5 = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "vocab_size": 99}
IDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "cls_token_id": 1, "sep_token_id": 2}
CONFIGS = {
    "bert": BertConfig(**SMALL),
    "modernbert": ModernBertConfig(**SMALL, **IDS, local_attention=8),
    "t5": T5Config(**T5),
}


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("length", [12, SHORT + 3])
def test_whole_models_give_what_they_gave(kind, length):
    torch.manual_seed(0)
    model = AutoModel.from_config(CONFIGS[kind], attn_implementation="sdpa").eval()
    ids = torch.randint(3, 99, (3, length))
    mask = (torch.arange(length) < torch.tensor([length, length // 2, 2])[:, None]).long()
    more = {"decoder_input_ids": ids[:, :4]} if kind == "t5" else {}
    with torch.no_grad():
        before = model(input_ids=ids, attention_mask=mask, **more).last_hidden_state
        use_attention(model)
        assert model.config._attn_implementation == NAME
        after = model(input_ids=ids, attention_mask=mask, **more).last_hidden_state
    read = slice(None) if kind == "t5" else mask.bool()
    torch.testing.assert_close(after[read], before[read])


def test_a_model_that_was_told_how_to_attend_is_left_alone():
    model = AutoModel.from_config(CONFIGS["bert"], attn_implementation="eager")
    use_attention(model)
    assert model.config._attn_implementation == "eager"
