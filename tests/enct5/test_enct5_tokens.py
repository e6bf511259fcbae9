"""EncT5 for token classification: a prompt per word, what the words see, the ablation, saving and loading."""

import json
from typing import Any

import pytest
import torch
from enct5_cases import SIZES
from hypothesis import given, settings
from hypothesis import strategies as st
from test_export import python
from torch.testing import assert_close
from transformers import AutoModelForTokenClassification, T5ForConditionalGeneration, pipeline

from harness.enct5 import EncT5Config, EncT5ForSequenceClassification, EncT5ForTokenClassification
from harness.models.tokenizers import sample_tokenizer

IDS = torch.tensor([[5, 7, 9, 4, 1], [8, 6, 1, 0, 0]])
WORDS = torch.tensor([[0, 1, 3], [0, 1, -1]])
TAGS = torch.tensor([[0, 2, 1], [3, -100, -100]])
NAMES = {0: "O", 1: "B-name", 2: "I-name", 3: "B-place"}


def make(**options: Any) -> EncT5ForTokenClassification:
    torch.manual_seed(0)
    return EncT5ForTokenClassification(EncT5Config(**{**SIZES, "num_labels": 4, **options})).eval()


def logits(model: EncT5ForTokenClassification, ids: torch.Tensor = IDS, words: Any = WORDS) -> torch.Tensor:
    with torch.no_grad():
        return model(ids, word_positions=words).logits


# Words


@pytest.mark.parametrize("options", [{}, {"prompt_position_bias": False}, {"label_attention": "none"}])
def test_the_words_of_a_sentence_differ(options):
    (first, second, third), _ = logits(make(**options))
    for one, other in ((first, second), (first, third), (second, third)):
        assert (one - other).abs().max() > 1e-3


@pytest.mark.parametrize("bias", [True, False])
def test_without_the_words_states_all_words_look_the_same(bias):
    # Position biases weigh states that are all the same, so that they make no difference either.
    found = logits(make(word_states=False, prompt_position_bias=bias, num_decoder_layers=2))
    assert_close(found[0], found[0, :1].expand(3, -1))
    assert (found[0, 0] - found[1, 0]).abs().max() > 1e-3  # the text is still read


@pytest.mark.parametrize(("bias", "matters"), [(True, True), (False, False)])
def test_whether_the_order_of_the_words_matters_to_the_prompts(bias, matters):
    model = make(prompt_position_bias=bias)
    with torch.no_grad():
        weight = model.transformer.decoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight
        weight.copy_(weight * 10)
    order = [2, 0, 1]
    change = (logits(model)[0, order] - logits(model, words=WORDS[:, order])[0]).abs().max()
    assert bool(change > 1e-4) is matters


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_a_word_sees_the_words_after_it_and_before_it(attention):
    model = make(attn_implementation=attention)
    with torch.no_grad():
        one, other = logits(model), logits(model, words=torch.tensor([[0, 1, 2], [0, 1, -1]]))
    assert (one[0, 0] - other[0, 0]).abs().max() > 1e-5  # another third word
    alone = make(attn_implementation=attention, label_attention="none")
    one, other = logits(alone), logits(alone, words=torch.tensor([[0, 1, 2], [0, 1, -1]]))
    assert_close(one[0, :2], other[0, :2])


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("label_attention", ["full", "none"])
@settings(max_examples=10, deadline=None)
@given(more_tokens=st.integers(0, 4), more_words=st.integers(0, 4))
def test_padding_changes_nothing(attention, label_attention, more_tokens, more_words):
    model = make(attn_implementation=attention, label_attention=label_attention)
    ids = torch.nn.functional.pad(IDS[1:, :3], (0, more_tokens))
    words = torch.nn.functional.pad(WORDS[1:, :2], (0, more_words), value=-1)
    assert_close(logits(model, ids, words)[:, :2], logits(model, IDS[1:, :3], WORDS[1:, :2]))
    assert_close(logits(model)[1, :2], logits(model, ids, words)[0, :2])


def test_without_positions_every_token_is_a_word():
    model = make()
    every = torch.tensor([[0, 1, 2, 3, 4], [0, 1, 2, -1, -1]])
    assert_close(logits(model, words=None), logits(model, words=every))
    with torch.no_grad():
        embedded = model(inputs_embeds=model.transformer.shared(IDS), attention_mask=IDS.ne(0)).logits
    assert_close(embedded, logits(model, words=every))


# Loss and gradients


def test_the_loss_counts_the_words_that_have_a_label():
    model = make()
    output = model(IDS, word_positions=WORDS, labels=TAGS)
    rows = torch.cat([output.logits[0], output.logits[1, :1]])
    assert output.logits.shape == (2, 3, 4)
    assert_close(output.loss, torch.nn.functional.cross_entropy(rows, torch.tensor([0, 2, 1, 3])))
    output.loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.classification_head.parameters())
    assert model.transformer.decoder.embed_tokens.weight.grad.abs().sum() > 0


def test_labels_that_are_not_one_per_word_are_refused():
    with pytest.raises(ValueError, match=r"shape \(2, 2\).*need \(2, 3\)"):
        make()(IDS, word_positions=WORDS, labels=TAGS[:, :2])


def test_several_prompts_are_refused():
    with pytest.raises(ValueError, match="one prompt"):
        make(problem_type="multi_label_classification")


def test_it_learns_the_tags_of_its_words():
    model = make().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        loss = model(IDS, word_positions=WORDS, labels=TAGS).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    found = logits(model.eval()).argmax(-1)
    assert found[0].tolist() == [0, 2, 1] and found[1, 0] == 3


# From T5, saving, loading


def test_made_from_a_t5(make_t5):
    folder = make_t5()
    model = EncT5ForTokenClassification.from_pretrained_t5(folder, id2label=NAMES, word_states=False)
    t5 = T5ForConditionalGeneration.from_pretrained(folder)
    assert model.config.num_labels == 4 and model.config.decoder_vocab_size == 1 and not model.config.word_states
    assert torch.equal(model.transformer.shared.weight, t5.shared.weight)
    own, its = model.transformer.decoder.block[0].state_dict(), t5.decoder.block[0].state_dict()
    assert all(torch.equal(own[name], its[name]) for name in own)
    assert model.classification_head.out_proj.weight.shape == (4, SIZES["d_model"])


@pytest.mark.parametrize("options", [{}, {"word_states": False}, {"prompt_position_bias": False}])
def test_saved_and_loaded_to_the_bit(tmp_path, options):
    model = make(**options)
    model.save_pretrained(tmp_path)
    again = AutoModelForTokenClassification.from_pretrained(tmp_path)
    assert type(again) is EncT5ForTokenClassification
    assert again.state_dict().keys() == model.state_dict().keys()
    assert torch.equal(logits(again), logits(model))
    assert again.config.word_states is model.config.word_states


def test_a_checkpoint_of_a_text_classifier_gives_all_but_the_head(tmp_path):
    torch.manual_seed(0)
    EncT5ForSequenceClassification(EncT5Config(**SIZES, num_labels=2)).save_pretrained(tmp_path)
    model = EncT5ForTokenClassification.from_pretrained(tmp_path, num_labels=4, ignore_mismatched_sizes=True)
    assert model.num_labels == 4 and logits(model).shape == (2, 3, 4)


WITHOUT = """
import json, sys, torch
from transformers import AutoModelForTokenClassification
model = AutoModelForTokenClassification.from_pretrained(sys.argv[1], trust_remote_code=True)
with torch.no_grad():
    found = model(torch.tensor(json.loads(sys.argv[2])), word_positions=torch.tensor(json.loads(sys.argv[3]))).logits
print(json.dumps({"module": type(model).__module__.split(".")[0], "harness": "harness" in sys.modules,
                  "logits": found.double().tolist()}))
"""


def test_a_saved_model_loads_without_this_package(tmp_path):
    model = make()
    model.save_pretrained(tmp_path / "model")
    auto_map = json.loads((tmp_path / "model/config.json").read_text())["auto_map"]
    assert auto_map["AutoModelForTokenClassification"] == "modeling_enct5.EncT5ForTokenClassification"
    arguments = tmp_path / "model", json.dumps(IDS.tolist()), json.dumps(WORDS.tolist())
    seen = python(WITHOUT, *arguments, home=tmp_path)
    assert (seen["module"], seen["harness"]) == ("transformers_modules", False)
    assert seen["logits"] == logits(model).double().tolist()


def test_a_pipeline_gives_the_tags_of_words(make_t5, sample_cache, tmp_path):
    tokenizer = sample_tokenizer("t5", sample_cache)
    model = EncT5ForTokenClassification.from_pretrained_t5(make_t5(vocab_size=len(tokenizer)), id2label=NAMES)
    with torch.no_grad():
        model.classification_head.out_proj.bias.copy_(torch.tensor([-9.0, 9.0, -9.0, -9.0]))
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    tag = pipeline("token-classification", str(tmp_path / "model"), aggregation_strategy="first", device="cpu")
    assert {entity["entity_group"] for entity in tag("Anna watched the new bridge")} == {"name"}
