"""Prediction takes a shorter way through the decoder than training does: to the same numbers."""

import pytest
import torch
from torch.testing import assert_close

from harness.enct5 import EncT5Config, EncT5ForSequenceClassification

SIZES = {"vocab_size": 50, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "pad_token_id": 0}
SINGLE = {"num_labels": 2, "problem_type": "single_label_classification", "decoder_vocab_size": 1}
MULTI = {"num_labels": 3, "problem_type": "multi_label_classification", "decoder_vocab_size": 3}
TOO_MANY = {**MULTI, "num_labels": 9, "decoder_vocab_size": 9}
IDS = torch.tensor([[5, 7, 9, 1], [8, 1, 0, 0], [0, 0, 4, 1]])
OPTIONS = [
    SINGLE,
    MULTI,
    TOO_MANY,
    {**MULTI, "label_attention": "none"},
    {**MULTI, "prompt_position_bias": False},
    {**MULTI, "num_decoder_layers": 2},
    {**SINGLE, "feed_forward_proj": "gated-gelu"},
]


def make(**options):
    torch.manual_seed(0)
    return EncT5ForSequenceClassification(EncT5Config(**SIZES, **options)).eval()


def predicted(model, *args, **inputs):
    with torch.no_grad():
        return model(*args, **inputs).logits


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("options", OPTIONS)
def test_the_numbers_are_those_of_the_decoder(options, attention):
    model = make(**options, attn_implementation=attention)
    text = model.transformer.shared(IDS)
    for inputs in (
        {"input_ids": IDS},
        {"input_ids": IDS, "attention_mask": IDS != 0},
        {"input_ids": IDS[:1], "attention_mask": torch.ones(1, 4)},
        {"inputs_embeds": text},
    ):
        assert_close(predicted(model, **inputs), model(**inputs).logits.detach(), rtol=1e-5, atol=1e-6)


def test_so_they_are_under_autocast():
    model = make(**MULTI)
    with torch.autocast("cpu", torch.bfloat16):
        assert_close(predicted(model, IDS).float(), model(IDS).logits.detach().float(), rtol=0.03, atol=0.03)


@pytest.mark.parametrize("options", OPTIONS)
def test_with_fixed_weights_the_numbers_are_the_same(options):
    model = make(**options)
    expected = predicted(model, IDS)
    with model.fixed_weights():
        assert torch.equal(predicted(model, IDS), expected) and torch.equal(predicted(model, IDS), expected)


def test_weights_are_fixed_only_where_it_was_said_so():
    model = make(**SINGLE)
    prompts = model.decoder_embeddings.weight
    before = predicted(model, IDS)
    with torch.no_grad(), model.fixed_weights():
        predicted(model, IDS)
        prompts.add_(1)
        assert torch.equal(predicted(model, IDS), before)
    after = predicted(model, IDS)
    assert not torch.allclose(after, before)
    prompts.data.sub_(1)
    assert not torch.allclose(predicted(model, IDS), after)


def test_each_precision_has_its_own():
    model = make(**MULTI)
    with model.fixed_weights():
        exact = predicted(model, IDS)
        with torch.autocast("cpu", torch.bfloat16):
            assert predicted(model, IDS).dtype != exact.dtype or not torch.equal(predicted(model, IDS), exact)
        assert torch.equal(predicted(model, IDS), exact)


def test_hooks_on_the_decoder_see_what_they_always_saw():
    model = make(**MULTI)
    expected, seen = predicted(model, IDS), []
    model.transformer.decoder.block[0].layer[1].register_forward_hook(lambda *call: seen.append(call[2][0].shape))
    assert_close(predicted(model, IDS), expected)
    assert seen == [(3, 3, 16)]


def test_an_adapted_projection_is_called():
    class Adapted(torch.nn.Linear):
        def forward(self, inputs):
            return super().forward(inputs) * 2

    model = make(**SINGLE)
    before = predicted(model, IDS)
    model.transformer.decoder.block[0].layer[1].EncDecAttention.v.__class__ = Adapted
    assert_close(predicted(model, IDS), model(IDS).logits.detach())
    assert not torch.allclose(predicted(model, IDS), before)
