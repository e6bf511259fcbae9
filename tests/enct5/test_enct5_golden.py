"""EncT5 against the reference implementation's own numbers (tests/golden/enct5)."""

from typing import Any

import pytest
import torch
from enct5_cases import Case
from safetensors.torch import load_file
from torch.testing import assert_close

from harness.enct5 import EncT5ForSequenceClassification

TOLERANCE: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5}


def load(case: Case, attention: str = "sdpa") -> EncT5ForSequenceClassification:
    return EncT5ForSequenceClassification.from_pretrained(case.folder, attn_implementation=attention)


def named_as_saved(name: str) -> str:
    return "transformer.decoder.embed_tokens.weight" if name == "decoder_embeddings.weight" else name


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_logits_and_loss_of_the_originals_checkpoint(case, attention):
    model = load(case, attention)
    with torch.no_grad():
        output = model(**case.inputs, labels=case.io["labels"])
    assert output.logits.shape == (len(case.io["labels"]), case.facts["num_labels"])
    assert_close(output.logits, case.logits(), **TOLERANCE)
    assert_close(output.loss, case.io["loss"][0], **TOLERANCE)


def test_far_from_typical_mistakes(case):
    with torch.no_grad():
        logits = load(case)(**case.inputs).logits
    mistakes = [name for name in case.io if name.startswith("wrong.")]
    assert mistakes
    for name in mistakes:
        assert (logits - case.logits(name)).abs().max() >= 0.1, name


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_encoder_and_decoder_states(case, attention):
    with torch.no_grad():
        output = load(case, attention).transformer(**case.inputs)
    assert_close(output.encoder_last_hidden_state, case.io["encoder_last_hidden_state"], **TOLERANCE)
    assert_close(output.last_hidden_state, case.io["decoder_last_hidden_state"], **TOLERANCE)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_gradients(case, attention):
    model = load(case, attention)
    model(**case.inputs, labels=case.io["labels"]).loss.backward()
    gradients: dict[str, Any] = {name: parameter.grad for name, parameter in model.named_parameters()}

    full = [name for name in case.io if name.startswith("grad.")]
    assert len(full) == 4
    for name in full:
        assert_close(gradients[named_as_saved(name.removeprefix("grad."))], case.io[name], **TOLERANCE)

    norms = {name: gradient.norm().item() for name, gradient in gradients.items()}
    assert norms.keys() == case.facts["grad_norms_all"].keys()
    assert norms == pytest.approx(case.facts["grad_norms_all"], rel=1e-5, abs=1e-5)
    for name, norm in case.facts["grad_norms_3"].items():
        assert norms[named_as_saved(name)] == pytest.approx(norm, rel=1e-5, abs=1e-5)


def test_five_steps_of_sgd(case):
    model = load(case)
    optimizer = torch.optim.SGD(model.parameters(), lr=case.facts["sgd"]["lr"])
    losses = []
    for _ in range(5):
        loss = model(**case.inputs, labels=case.io["labels"]).loss
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses == pytest.approx(case.facts["sgd"]["losses_before_each_of_5_steps"], rel=1e-5, abs=1e-5)
    with torch.no_grad():
        assert_close(model(**case.inputs).logits, case.logits("sgd.logits_after_5_steps"), **TOLERANCE)


def test_loading_a_t5_tensor_by_tensor(case, reads):
    model = EncT5ForSequenceClassification.from_pretrained_t5(case.folder / "t5", **case.task)
    t5, enct5, mapping = load_file(case.folder / "t5/model.safetensors"), model.state_dict(), case.facts["t5_to_enct5"]
    for source, target in mapping.items():
        assert torch.equal(enct5[target], t5[source]), target
    assert sorted(enct5.keys() - mapping.values()) == sorted(case.facts["enct5_tensors_not_from_t5"])
    assert sorted(reads.tensors) == sorted(mapping)
    assert sorted(t5.keys() - reads.tensors) == sorted(case.facts["t5_tensors_not_used"])


def test_a_model_made_from_t5_computes_the_same(case):
    model = case.from_t5()
    assert model.config.feed_forward_proj == case.facts["feed_forward_proj"]
    with torch.no_grad():
        assert_close(model(**case.inputs).logits, case.logits(), **TOLERANCE)


def test_parameter_count_and_saved_layout(case, tmp_path):
    model = load(case)
    assert model.num_parameters() == case.facts["n_parameters"]
    model.save_pretrained(tmp_path)
    original, ours = load_file(case.folder / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert ours.keys() == original.keys() == model.state_dict().keys()
    assert all(torch.equal(ours[name], original[name]) for name in original)


def test_initialisation_has_the_originals_spread(case):
    torch.manual_seed(0)
    model = EncT5ForSequenceClassification.from_pretrained_t5(case.folder / "t5", **case.task)
    weight, bias = (p for p in model.classification_head.parameters())
    prompts = model.transformer.decoder.embed_tokens.weight
    seen = case.facts["init_seen"]
    assert prompts.std().item() == pytest.approx(seen["decoder_embeddings_std_after_prepare"], rel=0.5)
    assert weight.std().item() == pytest.approx(seen["head_weight_std_after_prepare"], rel=0.5)
    assert bias.abs().max().item() == seen["head_bias_absmax_after_prepare"] == 0
