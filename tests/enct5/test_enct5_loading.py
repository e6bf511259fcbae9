"""Making EncT5 from T5 checkpoints, and saving and loading it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from enct5_cases import SIZES
from safetensors.torch import load_file, save_file
from torch.testing import assert_close
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    MT5ForConditionalGeneration,
    T5Config,
    T5EncoderModel,
    UMT5ForConditionalGeneration,
)

from harness.enct5 import EncT5Config, EncT5ForSequenceClassification, EncT5Model

MULTI = {"problem_type": "multi_label_classification", "num_labels": 3}
SINGLE = {"problem_type": "single_label_classification", "num_labels": 3}

PROMPTS = "transformer.decoder.embed_tokens.weight"
IDS = torch.tensor([[5, 7, 9, 1], [8, 1, 0, 0]])


def rewrite(file: Path, change) -> None:
    """Replace the tensors of a safetensors file by `change(tensors)`."""
    save_file({name: tensor.clone() for name, tensor in change(load_file(file)).items()}, file, {"format": "pt"})


def equal_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# Making one from T5


def test_the_originals_four_lines_and_the_one_call_agree(make_t5):
    t5 = make_t5(num_decoder_layers=2)
    config = EncT5Config.from_dict(T5Config.from_pretrained(t5).to_dict())
    config.num_decoder_layers = 1
    config.problem_type = "single_label_classification"
    config.num_labels = 3
    config.decoder_vocab_size = 1
    four = EncT5ForSequenceClassification(config)
    four.load_weights_from_pretrained_t5(t5)
    torch.manual_seed(1)
    four.prepare_for_fine_tuning()

    torch.manual_seed(1)
    one = EncT5ForSequenceClassification.from_pretrained_t5(
        t5, problem_type="single_label_classification", num_labels=3
    )
    assert equal_weights(four, one)
    assert four.config.model_type == one.config.model_type == "enct5"
    assert four.training and not one.training
    assert len(one.transformer.decoder.block) == 1


def test_the_task_sets_labels_and_prompts(make_t5):
    names = {0: "joy", 1: "anger", 2: "fear"}
    model = EncT5ForSequenceClassification.from_pretrained_t5(
        make_t5(num_labels=7),
        problem_type="multi_label_classification",
        id2label=names,
        label2id={name: index for index, name in names.items()},
    )
    assert model.config.id2label == names
    assert model.config.decoder_vocab_size == 3
    assert model(IDS).logits.shape == (2, 3)


def test_labels_of_the_t5_checkpoint_are_not_taken_over(make_t5):
    model = EncT5ForSequenceClassification.from_pretrained_t5(make_t5(id2label={0: "x", 1: "y", 2: "z"}))
    assert model.config.id2label == EncT5Config().id2label
    assert model(IDS).logits.shape == (2, 2)


def test_prompts_and_head_follow_the_seed(make_t5):
    t5 = make_t5()

    def make(seed: int) -> EncT5ForSequenceClassification:
        torch.manual_seed(seed)
        return EncT5ForSequenceClassification.from_pretrained_t5(t5)

    assert equal_weights(make(1), make(1))
    assert not torch.equal(make(1).state_dict()[PROMPTS], make(2).state_dict()[PROMPTS])


def test_preparing_leaves_what_came_from_t5(case):
    model = case.from_t5()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.prepare_for_fine_tuning()
    after = model.state_dict()
    changed = sorted(name for name in before if not torch.equal(before[name], after[name]))
    assert changed == sorted(case.facts["enct5_tensors_not_from_t5"])


def test_preparing_works_after_from_pretrained(case):
    model = EncT5ForSequenceClassification.from_pretrained(case.folder)
    before = model.state_dict()[PROMPTS].clone()
    model.prepare_for_fine_tuning()
    assert not torch.equal(before, model.state_dict()[PROMPTS])
    assert all(parameter.abs().max() < 1 for parameter in model.classification_head.parameters())


def test_of_shards_only_those_with_kept_layers_are_opened(make_t5, reads):
    t5 = make_t5(max_shard_size="8KB", num_decoder_layers=6)
    weight_map = json.loads((t5 / "model.safetensors.index.json").read_text())["weight_map"]
    model = EncT5ForSequenceClassification.from_pretrained_t5(t5)
    kept = {shard for name, shard in weight_map.items() if name in model.transformer.state_dict()}
    assert reads.files == kept < set(weight_map.values())
    assert torch.equal(model.transformer.shared.weight, load_file(t5 / weight_map["shared.weight"])["shared.weight"])


def test_an_mt5(make_t5):
    t5 = make_t5(model_class=MT5ForConditionalGeneration)
    model = EncT5ForSequenceClassification.from_pretrained_t5(t5, num_labels=3)
    assert model.config.feed_forward_proj == "gated-gelu"
    assert model.config.dense_act_fn == "gelu_new"
    assert torch.equal(model.transformer.shared.weight, load_file(t5 / "model.safetensors")["shared.weight"])


def test_a_byt5_and_a_ul2_like_configuration(make_t5):
    model = EncT5ForSequenceClassification.from_pretrained_t5(
        make_t5(num_layers=3, num_decoder_layers=1, feed_forward_proj="gated-silu")
    )
    assert (len(model.transformer.encoder.block), len(model.transformer.decoder.block)) == (3, 1)
    assert model.config.dense_act_fn == "silu"


def test_half_precision_weights_become_float32(make_t5):
    t5 = make_t5()
    rewrite(t5 / "model.safetensors", lambda tensors: {k: v.bfloat16() for k, v in tensors.items()})
    model = EncT5ForSequenceClassification.from_pretrained_t5(t5)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert torch.equal(model.transformer.shared.weight, load_file(t5 / "model.safetensors")["shared.weight"].float())


@pytest.mark.parametrize("alias", ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"])
def test_a_word_embedding_saved_under_another_of_its_names(make_t5, alias):
    t5 = make_t5()
    expected = load_file(t5 / "model.safetensors")["shared.weight"]
    rewrite(t5 / "model.safetensors", lambda t: {alias if k == "shared.weight" else k: v for k, v in t.items()})
    model = EncT5ForSequenceClassification.from_pretrained_t5(t5)
    assert torch.equal(model.transformer.shared.weight, expected)


def test_a_word_embedding_saved_under_all_its_names_is_read_once(make_t5, reads):
    t5 = make_t5()
    names = ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"]
    rewrite(t5 / "model.safetensors", lambda tensors: tensors | {name: tensors["shared.weight"] for name in names})
    EncT5ForSequenceClassification.from_pretrained_t5(t5)
    assert len({"shared.weight", *names}.intersection(reads.tensors)) == 1


def test_the_unused_bias_of_early_checkpoints_is_passed_over(make_t5):
    t5 = make_t5()
    expected = EncT5ForSequenceClassification.from_pretrained_t5(t5).transformer.state_dict()
    leftover = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
    rewrite(t5 / "model.safetensors", lambda tensors: {**tensors, leftover: torch.ones(32, 3)})
    found = EncT5ForSequenceClassification.from_pretrained_t5(t5).transformer.state_dict()
    assert found.keys() == expected.keys()
    own = "decoder.embed_tokens.weight"  # the prompts, drawn anew
    assert all(torch.equal(found[name], expected[name]) for name in found if name != own)


# Refusing what cannot work


def test_pickled_weights_are_refused_with_a_way_out(make_t5):
    t5 = make_t5()
    torch.save(load_file(t5 / "model.safetensors"), t5 / "pytorch_model.bin")
    (t5 / "model.safetensors").unlink()
    with pytest.raises(OSError, match=r"no model\.safetensors.*\.bin.*save_pretrained"):
        EncT5ForSequenceClassification.from_pretrained_t5(t5)


def test_an_umt5_is_refused(make_t5):
    t5 = make_t5(model_class=UMT5ForConditionalGeneration)
    with pytest.raises(ValueError, match="umt5"):
        EncT5ForSequenceClassification.from_pretrained_t5(t5)


def test_tensors_of_another_architecture_are_refused(make_t5, make_model):
    t5 = make_t5(model_class=UMT5ForConditionalGeneration, feed_forward_proj="relu")
    with pytest.raises(ValueError, match=r"block\.1.*relative_attention_bias.*no place in this model"):
        make_model().load_weights_from_pretrained_t5(t5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_decoder_layers": 3}, "lacks .* tensor"),
        ({"num_layers": 3}, "lacks .* tensor"),
        ({"feed_forward_proj": "gated-gelu"}, "no place in this model"),
        ({"vocab_size": 60}, r"shape \(50, 16\).*needs \(60, 16\)"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(make_t5, make_model, settings, message):
    with pytest.raises(ValueError, match=message):
        make_model(**settings).load_weights_from_pretrained_t5(make_t5())


def test_an_encoder_alone_is_refused(make_t5):
    with pytest.raises(ValueError, match="encoder and decoder"):
        EncT5ForSequenceClassification.from_pretrained_t5(make_t5(model_class=T5EncoderModel))


def test_a_misspelt_setting_is_refused(make_t5):
    with pytest.raises(ValueError, match="num_label"):
        EncT5ForSequenceClassification.from_pretrained_t5(make_t5(), num_label=3)
    with pytest.raises(ValueError, match="dtype"):  # the weights are float32 in any case
        EncT5ForSequenceClassification.from_pretrained_t5(make_t5(), num_labels=3, dtype="bfloat16")


def test_an_index_cannot_lead_outside_the_checkpoint(make_t5):
    t5 = make_t5(max_shard_size="8KB")
    index = t5 / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"]["shared.weight"] = "../elsewhere.safetensors"
    index.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="outside the checkpoint"):
        EncT5ForSequenceClassification.from_pretrained_t5(t5)


# Saving and loading

FRESH_PROCESS = """
import sys, torch
from safetensors.torch import load_file, save_file
from torch.testing import assert_close
from transformers import AutoModelForSequenceClassification
import harness.enct5
for folder in sys.argv[1:]:
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    with torch.no_grad():
        logits = model(load_file(folder + "/ids")["ids"]).logits
    save_file({"logits": logits, **model.state_dict()}, folder + "/seen")
"""


@pytest.mark.slow
def test_a_round_trip_is_exact_in_a_fresh_process(all_cases, tmp_path):
    models = {tmp_path / case.folder.name: case.from_t5() for case in all_cases}
    for (folder, model), case in zip(models.items(), all_cases, strict=True):
        model.save_pretrained(folder)
        save_file({"ids": case.io["input_ids"]}, folder / "ids")
    subprocess.run([sys.executable, "-c", FRESH_PROCESS, *models], check=True, cwd=Path(__file__).parents[2])
    for (folder, model), case in zip(models.items(), all_cases, strict=True):
        seen, saved = load_file(folder / "seen"), model.state_dict()
        with torch.no_grad():
            # The last digits depend on where in memory the same weights lie.
            assert_close(seen.pop("logits"), model(case.io["input_ids"]).logits, rtol=1e-5, atol=1e-5)
        assert seen.keys() == saved.keys()
        assert all(torch.equal(seen[name], saved[name]) for name in saved)


def test_it_is_no_encoder_decoder_to_other_tools(case, make_t5, tmp_path):
    """The original's configurations say that it is one, and the logits are the same."""
    assert json.loads((case.folder / "config.json").read_text())["is_encoder_decoder"]
    loaded = EncT5ForSequenceClassification.from_pretrained(case.folder)
    loaded.save_pretrained(tmp_path / "again")
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "again")
    configs = [
        EncT5Config(is_encoder_decoder=True),
        EncT5Config.from_dict(T5Config(**SIZES).to_dict()),
        EncT5ForSequenceClassification.from_pretrained_t5(make_t5()).config,
        AutoConfig.from_pretrained(case.folder),
        again.config,
    ]
    assert [config.is_encoder_decoder for config in configs] == [False] * len(configs)
    assert not (tmp_path / "again/generation_config.json").exists() and not again.can_generate()
    for model in (loaded, again):
        with torch.no_grad():
            assert_close(model(**case.inputs).logits, case.logits(), rtol=1e-5, atol=1e-5)
            assert model(**model.dummy_inputs).logits.isfinite().all()


def test_a_saved_configuration_comes_back(make_model, tmp_path):
    model = make_model(
        problem_type="multi_label_classification", num_labels=4, prompt_position_bias=False, classifier_dropout=0.2
    )
    model.save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    assert type(config) is EncT5Config
    assert config.to_dict() | {"_name_or_path": ""} == model.config.to_dict() | {"_name_or_path": ""}


def test_prompts_under_the_originals_alias(case, tmp_path):
    model = case.from_t5()
    model.save_pretrained(tmp_path)
    rewrite(
        tmp_path / "model.safetensors",
        lambda t: {"decoder_embeddings.weight" if k == PROMPTS else k: v for k, v in t.items()},
    )
    loaded, info = EncT5ForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    assert equal_weights(loaded, model)
    loaded.save_pretrained(tmp_path / "again")
    assert load_file(tmp_path / "again/model.safetensors").keys() == model.state_dict().keys()


def test_a_checkpoint_with_all_the_originals_names(case, tmp_path):
    model = case.from_t5()
    model.save_pretrained(tmp_path)
    rewrite(
        tmp_path / "model.safetensors",
        lambda tensors: {
            **tensors,
            "decoder_embeddings.weight": tensors[PROMPTS],
            "transformer.encoder.embed_tokens.weight": tensors["transformer.shared.weight"],
        },
    )
    loaded, info = EncT5ForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    assert equal_weights(loaded, model)


def test_a_trained_model_takes_other_labels(make_model, tmp_path):
    trained = make_model(num_labels=40, d_model=64)
    trained.save_pretrained(tmp_path)
    names = {index: f"name {index}" for index in range(50)}
    model = EncT5ForSequenceClassification.from_pretrained(
        tmp_path,
        id2label=names,
        label2id={name: index for index, name in names.items()},
        ignore_mismatched_sizes=True,
    )
    weight, bias = model.classification_head.parameters()
    assert weight.shape == (50, 64)
    assert weight.std().item() == pytest.approx(64**-0.5, rel=0.1)
    assert not bias.any()
    assert equal_weights(model.transformer, trained.transformer)


@pytest.mark.parametrize(
    ("old", "changes", "prompts"),
    [
        (MULTI, {"num_labels": 5}, 5),
        (MULTI, {"num_labels": 5, "decoder_vocab_size": 5}, 5),
        (MULTI, {"num_labels": 1, "problem_type": "regression"}, 1),
        (SINGLE, {"num_labels": 5, "problem_type": "multi_label_classification"}, 5),
        (SINGLE, {"problem_type": "multi_label_classification"}, 3),
        (MULTI, {"id2label": {0: "a", 1: "b"}}, 2),
    ],
)
def test_another_task_brings_its_number_of_prompts(make_model, tmp_path, old, changes, prompts):
    trained = make_model(**old)
    trained.save_pretrained(tmp_path)
    for made in (AutoConfig.from_pretrained(tmp_path, **changes), EncT5Config.from_pretrained(tmp_path, **changes)):
        assert made.decoder_vocab_size == made.num_prompts == prompts
    new = AutoModelForSequenceClassification.from_pretrained(tmp_path, ignore_mismatched_sizes=True, **changes)
    assert new.decoder_embeddings.num_embeddings == prompts
    assert new.num_labels == changes.get("num_labels", len(changes.get("id2label", [0, 1, 2])))
    assert torch.equal(new.transformer.shared.weight, trained.transformer.shared.weight)
    with pytest.raises(ValueError, match="contradicts the task"):
        AutoConfig.from_pretrained(tmp_path, **{**changes, "decoder_vocab_size": 9})


def test_auto_classes(case):
    with torch.no_grad():
        model = AutoModelForSequenceClassification.from_pretrained(case.folder)
        assert type(model) is EncT5ForSequenceClassification
        core = AutoModel.from_pretrained(case.folder)
        assert type(core) is EncT5Model
        assert torch.equal(core(**case.inputs)[0], model.transformer(**case.inputs)[0])
