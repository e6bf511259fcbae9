"""EncT5's behaviour: tasks, masks, prompts, outputs, and the ways a model is trained and run."""

import copy
import pickle
from typing import Any

import pytest
import torch
from enct5_cases import SIZES
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch.nn.parallel import DistributedDataParallel
from torch.testing import assert_close

from harness.enct5 import EncT5Config, EncT5ForSequenceClassification

IDS = torch.tensor([[5, 7, 9, 1], [8, 1, 0, 0]])
MASK = IDS.ne(0).long()
MULTI: dict[str, Any] = {"problem_type": "multi_label_classification", "num_labels": 3}
SINGLE: dict[str, Any] = {"problem_type": "single_label_classification", "num_labels": 3}
REGRESSION: dict[str, Any] = {"problem_type": "regression", "num_labels": 1}
TASKS = [
    pytest.param(SINGLE, torch.tensor([2, 0]), id="single-label"),
    pytest.param(MULTI, torch.tensor([[1, 0, 1], [0, 0, 1]]), id="multi-label"),
    pytest.param(REGRESSION, torch.tensor([0.5, 3.0]), id="regression"),
]


def logits_of(model, *args, **kwargs):
    with torch.no_grad():
        return model(*args, **kwargs).logits


def gradients(model, labels, **inputs):
    model.zero_grad()
    model(**{"input_ids": IDS, **inputs}, labels=labels).loss.backward()
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.requires_grad}


# Prompts and parameters


def test_prompts_are_never_tied_to_words(make_model):
    model = make_model(**MULTI, tie_word_embeddings=True)
    core = model.transformer
    words = core.shared.weight.clone()
    model.tie_weights()
    model.prepare_for_fine_tuning()
    assert not model.config.tie_word_embeddings
    assert core.decoder.embed_tokens.weight.shape == (3, SIZES["d_model"])
    assert core.decoder.embed_tokens.weight.data_ptr() != core.shared.weight.data_ptr()
    assert torch.equal(core.shared.weight, words)


def test_every_parameter_has_one_name_and_there_is_one_word_table(make_model):
    model = make_model(**SINGLE)
    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    assert len(names) == len(set(model.parameters())) == len(model.state_dict())
    tables = [name for name, p in model.named_parameters() if p.shape[0] == SIZES["vocab_size"]]
    assert tables == ["transformer.shared.weight"]


def test_the_word_table_is_the_input_embedding(make_model):
    model = make_model(**SINGLE)
    assert model.get_input_embeddings() is model.transformer.shared
    model.resize_token_embeddings(60)
    assert model.config.vocab_size == 60
    assert model.config.get_text_config(decoder=True) is model.config
    assert logits_of(model, torch.tensor([[59, 1]])).shape == (1, 3)


def test_the_encoder_takes_ids_by_the_models_one_word_table(make_model, tmp_path):
    model = make_model(**SINGLE)
    encoder, core = model.get_encoder(), model.transformer
    assert encoder is core.get_encoder() is core.encoder
    with torch.no_grad():
        states = core(IDS, MASK).encoder_last_hidden_state
        assert torch.equal(encoder(input_ids=IDS, attention_mask=MASK).last_hidden_state, states)
        assert torch.equal(encoder(inputs_embeds=core.shared(IDS), attention_mask=MASK).last_hidden_state, states)
    assert encoder.get_input_embeddings() is core.shared
    assert not any("embed_tokens" in name for name, _ in encoder.named_parameters())
    model.save_pretrained(tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    assert [name for name, tensor in saved.items() if len(tensor) == SIZES["vocab_size"]] == [
        "transformer.shared.weight"
    ]


def test_the_encoder_follows_where_the_word_table_goes(make_model, tmp_path):
    model = make_model(**SINGLE)
    model.save_pretrained(tmp_path)
    loaded = EncT5ForSequenceClassification.from_pretrained(tmp_path)
    copied, pickled = copy.deepcopy(model), pickle.loads(pickle.dumps(model))
    for other in (loaded, copied, pickled):
        with torch.no_grad():
            other.transformer.shared.weight.mul_(2)
            doubled = other.get_encoder()(input_ids=IDS, attention_mask=MASK).last_hidden_state
            assert_close(doubled, other.transformer(IDS, MASK).encoder_last_hidden_state)
        assert other.get_encoder().get_input_embeddings() is other.transformer.shared is not model.transformer.shared
    model.resize_token_embeddings(60)
    assert model.get_encoder()(input_ids=torch.tensor([[59, 1]])).last_hidden_state.shape == (1, 2, SIZES["d_model"])
    model.get_encoder().set_input_embeddings(copied.transformer.shared)
    assert model.get_input_embeddings() is copied.transformer.shared


@pytest.mark.parametrize("task", [SINGLE, MULTI])
def test_random_weights_have_t5s_spread(make_model, task):
    model = make_model(**{**task, "num_labels": 40}, d_model=64, vocab_size=500)
    weight, bias = model.classification_head.parameters()
    attention = model.transformer.encoder.block[0].layer[0].SelfAttention
    assert weight.std().item() == pytest.approx(64**-0.5, rel=0.1)
    assert not bias.any()
    assert attention.k.weight.std().item() == pytest.approx(64**-0.5, rel=0.1)
    assert model.transformer.shared.weight.std().item() == pytest.approx(1, rel=0.1)


# The task


@pytest.mark.parametrize(("task", "labels"), TASKS)
def test_logits_and_loss_of_every_task(make_model, task, labels):
    output = make_model(**task)(IDS, MASK, labels=labels)
    assert output.logits.shape == (2, task["num_labels"])
    assert output.loss.shape == ()
    assert logits_of(make_model(**task), IDS[:1], MASK[:1]).shape == (1, task["num_labels"])


@pytest.mark.parametrize("labels", [torch.tensor([0.5, 3.0]), torch.tensor([[0.5], [3.0]]), torch.tensor([1, 3])])
def test_regression_compares_value_by_value(make_model, labels):
    output = make_model(**REGRESSION)(IDS, labels=labels)
    assert_close(output.loss, ((output.logits[:, 0] - labels.flatten()) ** 2).mean())


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.bool, torch.float64])
def test_multi_label_targets_of_any_number_type(make_model, dtype):
    labels = torch.tensor([[1, 0, 1], [0, 0, 1]])
    model = make_model(**MULTI)
    assert torch.equal(model(IDS, labels=labels.to(dtype)).loss, model(IDS, labels=labels.float()).loss)


def test_labels_that_do_not_fit_are_refused(make_model):
    with pytest.raises(ValueError, match="class indices"):
        make_model(**SINGLE)(IDS, labels=torch.tensor([0.0, 1.0]))
    with pytest.raises(ValueError, match=r"shape \(2,\).*needs \(2, 3\)"):
        make_model(**MULTI)(IDS, labels=torch.tensor([0, 1]))


@pytest.mark.parametrize(("num_labels", "labels"), [(1, torch.tensor([0.5, 1.0])), (3, torch.tensor([0, 2]))])
def test_without_a_problem_type_the_number_of_labels_decides(make_model, num_labels, labels):
    kind = "regression" if num_labels == 1 else "single_label_classification"
    implicit, explicit = make_model(num_labels=num_labels), make_model(num_labels=num_labels, problem_type=kind)
    assert torch.equal(implicit(IDS, labels=labels).loss, explicit(IDS, labels=labels).loss)


@pytest.mark.parametrize(
    "settings",
    [
        {**SINGLE, "decoder_vocab_size": 3},
        {**REGRESSION, "decoder_vocab_size": 2},
        {**MULTI, "decoder_vocab_size": 1},
        {"num_labels": 3, "decoder_vocab_size": 3},
    ],
)
def test_a_number_of_prompts_that_contradicts_the_task_is_an_error(settings):
    with pytest.raises(ValueError, match="contradicts the task"):
        EncT5Config(**settings)
    config = EncT5Config(**SIZES)
    for name, value in settings.items():
        setattr(config, name, value)
    with pytest.raises(ValueError, match="contradicts the task"):
        EncT5ForSequenceClassification(config)


@pytest.mark.parametrize("kind", ["multilabel", "multi-label", "classification", "token_classification"])
def test_a_misspelt_problem_type_is_an_error(kind):
    with pytest.raises(ValueError, match="EncT5 knows 'single_label_classification', 'multi_label_classification'"):
        EncT5Config(num_labels=3, problem_type=kind)


def test_prompts_have_the_originals_name_too(make_model):
    model = make_model(**MULTI)
    assert model.decoder_embeddings is model.transformer.decoder_embeddings is model.transformer.decoder.embed_tokens
    assert model.decoder_embeddings.weight.shape == (3, SIZES["d_model"])


def test_the_task_sets_the_number_of_prompts():
    assert EncT5Config().decoder_vocab_size == 1
    assert EncT5Config(**SINGLE).decoder_vocab_size == 1
    assert EncT5Config(**MULTI).decoder_vocab_size == 3


def test_no_decoder_layer_is_an_error():
    with pytest.raises(ValueError, match="at least 1 decoder layer"):
        EncT5Config(num_decoder_layers=0)


# Masks


def test_padding_is_not_seen_without_a_mask(case):
    model = EncT5ForSequenceClassification.from_pretrained(case.folder)
    assert_close(logits_of(model, case.io["input_ids"]), case.logits(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize(("task", "labels"), TASKS)
def test_more_padding_changes_nothing(make_model, task, labels, attention):
    model = make_model(**task, attn_implementation=attention)
    padded = torch.nn.functional.pad(IDS, (0, 5))
    assert_close(logits_of(model, padded), logits_of(model, IDS))
    assert_close(logits_of(model, IDS[1:, :2]), logits_of(model, IDS)[1:])


def test_the_mask_that_is_given_counts(make_model):
    model = make_model(**SINGLE)
    everything = logits_of(model, IDS, torch.ones_like(IDS))
    assert (everything - logits_of(model, IDS)).abs().max() > 1e-3
    assert torch.equal(everything, logits_of(make_model(**SINGLE, pad_token_id=None), IDS))


def test_a_text_of_nothing_but_padding_gives_numbers(make_model):
    assert logits_of(make_model(**SINGLE), torch.tensor([[5, 1], [0, 0]])).isfinite().all()


def test_word_embeddings_in_place_of_ids(make_model):
    model = make_model(**SINGLE)
    words = model.get_input_embeddings()(IDS)
    assert torch.equal(logits_of(model, inputs_embeds=words, attention_mask=MASK), logits_of(model, IDS, MASK))
    for wrong in ({}, {"input_ids": IDS, "inputs_embeds": words}):
        with pytest.raises(ValueError, match="exactly one"):
            model(**wrong)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_the_first_prompt_sees_the_last(make_model, attention):
    model = make_model(**MULTI, attn_implementation=attention)
    before = logits_of(model, IDS)
    with torch.no_grad():
        model.transformer.decoder.embed_tokens.weight[-1] += 1
    assert ((logits_of(model, IDS) - before)[:, 0].abs() > 1e-4).all()


def test_one_prompt_gets_no_mask(make_model):
    seen = []
    model = make_model(**SINGLE)
    attention = model.transformer.decoder.block[0].layer[0].SelfAttention
    attention.register_forward_pre_hook(lambda *call: seen.append(call[2]["mask"]), with_kwargs=True)
    logits_of(model, IDS)
    assert seen == [None]


# The prompts' position bias


@settings(max_examples=25, deadline=None)
@given(order=st.permutations(range(4)), seed=st.integers(0, 1000), attention=st.sampled_from(["eager", "sdpa"]))
def test_without_position_bias_label_order_does_not_matter(order, seed, attention):
    torch.manual_seed(seed)
    options = {**MULTI, "num_labels": 4, "num_decoder_layers": 2, "prompt_position_bias": False}
    config = EncT5Config(**SIZES, **options, **{"attn_implementation": attention})
    model = EncT5ForSequenceClassification(config).eval()
    before = logits_of(model, IDS)
    with torch.no_grad():
        head = model.classification_head
        for parameter in (model.transformer.decoder.embed_tokens.weight, head.weights, head.biases):
            parameter.copy_(parameter[list(order)])
    assert_close(logits_of(model, IDS), before[:, list(order)])


def test_a_bias_that_is_loaded_later_is_not_used(make_model):
    biased, unbiased = make_model(**MULTI), make_model(**MULTI, prompt_position_bias=False)
    before = logits_of(unbiased, IDS)
    unbiased.load_state_dict(biased.state_dict())
    assert torch.equal(logits_of(unbiased, IDS), before)
    assert not torch.equal(logits_of(biased, IDS), before)


def test_with_position_bias_label_order_matters(make_model):
    model = make_model(**MULTI)
    before = logits_of(model, IDS)
    with torch.no_grad():
        head = model.classification_head
        for parameter in (model.transformer.decoder.embed_tokens.weight, head.weights, head.biases):
            parameter.copy_(parameter.flip(0))
    assert (logits_of(model, IDS) - before.flip(1)).abs().max() > 1e-4


def test_the_bias_is_zeroed_and_frozen_however_the_model_is_made(case, tmp_path):
    task = {**case.task, "prompt_position_bias": False}
    made = EncT5ForSequenceClassification.from_pretrained_t5(case.folder / "t5", **task)
    made.save_pretrained(tmp_path)
    loaded = EncT5ForSequenceClassification.from_pretrained(tmp_path)
    switched_off = EncT5ForSequenceClassification.from_pretrained(case.folder, prompt_position_bias=False)
    for model in (made, loaded, switched_off, EncT5ForSequenceClassification(made.config)):
        name = "block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        bias = model.transformer.decoder.get_parameter(name)
        assert not bias.requires_grad
        assert not bias.any()
        assert model.transformer.encoder.get_parameter(name).any()
        assert sum(not parameter.requires_grad for parameter in model.parameters()) == 1


# Outputs


def test_nothing_but_logits_and_loss_is_returned(make_model):
    model = make_model(**MULTI)
    assert list(model(IDS)) == ["logits"]
    assert list(model(IDS, labels=torch.ones(2, 3))) == ["loss", "logits"]
    (logits,) = model(IDS, return_dict=False)
    assert torch.equal(logits, model(IDS).logits)


def test_the_decoder_keeps_no_cache(make_model):
    outputs = []
    model = make_model(**MULTI, use_cache=True)
    model.transformer.decoder.register_forward_hook(lambda *call: outputs.append(call[2]))
    logits_of(model, IDS)
    assert list(outputs[0]) == ["last_hidden_state"]


def test_states_and_attention_on_request(make_model):
    model = make_model(**MULTI, attn_implementation="eager")
    output = model(IDS, output_hidden_states=True, output_attentions=True)
    assert [tuple(state.shape) for state in output.hidden_states] == [(2, 4, 16)] * 3
    assert [tuple(weights.shape) for weights in output.attentions] == [(2, 3, 4, 4)] * 2
    core = model.transformer(IDS, output_attentions=True, output_hidden_states=True)
    assert [tuple(weights.shape) for weights in core.attentions] == [(2, 3, 4, 4)] * 2
    assert [tuple(weights.shape) for weights in core.decoder_attentions] == [(2, 3, 3, 3)]
    assert [tuple(weights.shape) for weights in core.cross_attentions] == [(2, 3, 3, 4)]
    assert all(map(torch.equal, core.hidden_states, output.hidden_states)) and len(core.decoder_hidden_states) == 2


def test_flex_attention_is_refused(make_model):
    with pytest.raises(ValueError, match="flex"):
        make_model(**MULTI, attn_implementation="flex_attention")


# Training


@pytest.mark.parametrize(("task", "labels"), TASKS)
@pytest.mark.parametrize("position_bias", [True, False])
def test_every_trainable_parameter_gets_a_gradient(make_model, task, labels, position_bias):
    found = gradients(make_model(**task, prompt_position_bias=position_bias), labels)
    assert [name for name, gradient in found.items() if gradient is None] == []


@pytest.fixture
def process_group(tmp_path):
    torch.distributed.init_process_group("gloo", f"file://{tmp_path}/store", world_size=1, rank=0)
    yield
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize(("task", "labels"), TASKS)
def test_distributed_data_parallel_finds_no_unused_parameter(make_model, task, labels, process_group):
    model = make_model(**task, prompt_position_bias=False)
    expected = gradients(model, labels)
    parallel = DistributedDataParallel(model)
    for _ in range(2):  # an unused parameter is reported by the step after
        model.zero_grad()
        parallel(IDS, labels=labels).loss.backward()
    assert all(torch.equal(p.grad, expected[name]) for name, p in model.named_parameters() if p.requires_grad)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize(("task", "labels"), TASKS)
def test_bfloat16_autocast(make_model, task, labels, attention):
    model = make_model(**task, attn_implementation=attention)
    exact = model(IDS, labels=labels)
    with torch.autocast("cpu", torch.bfloat16):
        output = model(IDS, labels=labels)
    output.loss.backward()
    assert output.loss.dtype == torch.float32
    assert_close(output.logits.float(), exact.logits, rtol=0.05, atol=0.05)
    assert all(p.grad.isfinite().all() and p.grad.dtype == torch.float32 for p in model.parameters())


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_bfloat16_weights(make_model, attention):
    model = make_model(**MULTI, attn_implementation=attention)
    exact = logits_of(model, IDS)
    output = model.bfloat16()(IDS, labels=torch.ones(2, 3, dtype=torch.long))
    assert output.loss.dtype == torch.float32
    assert_close(output.logits.float(), exact, rtol=0.1, atol=0.1)


@pytest.mark.parametrize(("task", "labels"), TASKS[:2])
def test_compiled_as_one_graph(make_model, task, labels):
    model = make_model(**task)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    expected = gradients(model, labels, attention_mask=MASK)
    model.zero_grad()
    output = compiled(input_ids=IDS, attention_mask=MASK, labels=labels)
    assert_close(output.logits, model(IDS).logits)
    output.loss.backward()
    for name, parameter in model.named_parameters():
        assert_close(parameter.grad, expected[name])


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable`:FutureWarning")
def test_gradient_checkpointing_changes_no_gradient(make_model):
    labels = torch.tensor([[1, 0, 1], [0, 0, 1]])
    model = make_model(**MULTI, dropout_rate=0.0).train()
    expected = gradients(model, labels)
    model.gradient_checkpointing_enable()
    for name, gradient in gradients(model, labels).items():
        assert_close(gradient, expected[name])


def test_dropout_is_set_by_the_configuration(make_model):
    def differs(**rates) -> bool:
        model = make_model(**MULTI, **rates).train()
        return not torch.equal(logits_of(model, IDS), logits_of(model, IDS))

    assert not differs(dropout_rate=0.0, classifier_dropout=0.0)
    assert differs(dropout_rate=0.5, classifier_dropout=0.0)
    assert differs(dropout_rate=0.0, classifier_dropout=0.5)
    assert not make_model(**MULTI, dropout_rate=0.5).training
