"""EncT5 for others: saved with its code, loaded without this package, in pipelines, from every kind of T5."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.testing import assert_close
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    MT5ForConditionalGeneration,
    PreTrainedTokenizerFast,
    T5ForConditionalGeneration,
    pipeline,
)

import harness
from harness.enct5 import EncT5Config, EncT5ForSequenceClassification, EncT5Model
from harness.models.tokenizers import sample_tokenizer

IDS = torch.tensor([[5, 7, 9, 1], [8, 1, 0, 0]])
CODE = {"configuration_enct5.py", "modeling_enct5.py"}
NAMES = {0: "negative", 1: "positive"}
ROOT = Path(harness.__file__).parents[1]


def python(script: str, *arguments: Any, home: Path, package: bool = False) -> dict[str, Any]:
    """What a fresh process prints as JSON; ``package``: whether it can import `harness`."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment |= {"HF_HOME": str(home / "hf"), "HF_HUB_OFFLINE": "1"}
    environment |= {"PYTHONPATH": str(ROOT)} if package else {}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


# Without this package

WITHOUT = """
import json, sys, torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification
for folder in sys.argv[1:]:
    model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True)
    core = AutoModel.from_pretrained(folder, trust_remote_code=True)
    ids = load_file(folder + "/ids")["ids"]
    with torch.no_grad():
        seen = {"logits": model(ids).logits, "states": core(ids).last_hidden_state}
    save_file({**seen, **model.state_dict()}, folder + "/seen")
    model.save_pretrained(folder + "/again")
    again = AutoModelForSequenceClassification.from_pretrained(folder + "/again", trust_remote_code=True)
    with torch.no_grad():
        assert torch.equal(again(ids).logits, seen["logits"])
config = AutoConfig.from_pretrained(sys.argv[1], trust_remote_code=True)
modules = [type(thing).__module__.split(".")[0] for thing in (model, core, config)]
print(json.dumps({"modules": modules, "harness": "harness" in sys.modules}))
"""


def test_a_saved_model_loads_without_this_package(all_cases, tmp_path):
    models = {tmp_path / case.folder.name: case.from_t5() for case in all_cases}
    for (folder, model), case in zip(models.items(), all_cases, strict=True):
        model.save_pretrained(folder)
        save_file({"ids": case.io["input_ids"]}, folder / "ids")
    seen = python(WITHOUT, *models, home=tmp_path)
    assert seen == {"modules": ["transformers_modules"] * 3, "harness": False}
    for (folder, model), case in zip(models.items(), all_cases, strict=True):
        there, here = load_file(folder / "seen"), model.state_dict()
        with torch.no_grad():
            expected = model.transformer(case.io["input_ids"]).last_hidden_state
            assert_close(there.pop("logits"), model(case.io["input_ids"]).logits, rtol=1e-5, atol=1e-5)
            assert_close(there.pop("states"), expected, rtol=1e-5, atol=1e-5)
        assert there.keys() == here.keys() and all(torch.equal(there[name], here[name]) for name in here)


@pytest.mark.parametrize("auto", [AutoConfig, AutoModel, AutoModelForSequenceClassification])
def test_the_saved_folder_names_its_code(make_model, tmp_path, auto):
    model = make_model()
    (model.transformer if auto is AutoModel else model).save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.glob("*.py")} == CODE
    module, name = json.loads((tmp_path / "config.json").read_text())["auto_map"][auto.__name__].split(".")
    assert f"{module}.py" in CODE
    assert f"class {name}(" in (tmp_path / f"{module}.py").read_text()


# With this package


@pytest.mark.parametrize("trust", [None, False, True])
def test_this_package_wins_over_the_code_of_a_checkpoint(make_model, tmp_path, trust):
    make_model().save_pretrained(tmp_path)
    for file in CODE:
        (tmp_path / file).write_text("raise RuntimeError('the code of the checkpoint ran')\n")
    options = {} if trust is None else {"trust_remote_code": trust}
    assert type(AutoConfig.from_pretrained(tmp_path, **options)) is EncT5Config
    assert type(AutoModel.from_pretrained(tmp_path, **options)) is EncT5Model
    assert type(AutoModelForSequenceClassification.from_pretrained(tmp_path, **options)) is (
        EncT5ForSequenceClassification
    )


# Pipelines


@pytest.fixture
def tokenizer(sample_cache) -> PreTrainedTokenizerFast:
    return sample_tokenizer("t5", sample_cache)


def test_a_pipeline_gives_label_names(make_t5, tokenizer, tmp_path):
    model = EncT5ForSequenceClassification.from_pretrained_t5(make_t5(vocab_size=len(tokenizer)), id2label=NAMES)
    for folder in (tmp_path / "negative", tmp_path / "positive"):
        with torch.no_grad():
            model.classification_head.out_proj.bias.copy_(torch.tensor([9.0, -9.0]) * (1 - 2 * (folder.name[0] == "p")))
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        classify = pipeline("text-classification", str(folder), device="cpu")
        answers = classify(["a fine film", "a poor and rather long film"], padding=True)
        assert [answer["label"] for answer in answers] == [folder.name] * 2
        assert all(0.5 < answer["score"] <= 1 for answer in answers)


def test_a_pipeline_gives_independent_probabilities_of_several_labels(make_t5, tokenizer, tmp_path):
    model = EncT5ForSequenceClassification.from_pretrained_t5(
        make_t5(vocab_size=len(tokenizer)),
        problem_type="multi_label_classification",
        id2label={0: "joy", 1: "anger", 2: "fear"},
    )
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    classify = pipeline("text-classification", str(tmp_path / "model"), top_k=None, device="cpu")
    (scores,) = classify(["a fine film"])
    with torch.no_grad():
        expected = model(tokenizer("a fine film", return_tensors="pt")["input_ids"]).logits[0].sigmoid()
    seen = {score["label"]: score["score"] for score in scores}
    assert [seen[name] for name in ("joy", "anger", "fear")] == pytest.approx(expected.tolist(), abs=1e-6)


# PEFT


@pytest.mark.parametrize("task", ["single_label_classification", "multi_label_classification"])
def test_lora_trains_prompts_and_head_where_they_are_named(make_model, tmp_path, task):
    """Otherwise they stay as they were drawn: PEFT knows neither as new."""
    peft = pytest.importorskip("peft")
    settings = {"problem_type": task, "num_labels": 3}
    targets = torch.tensor([[1, 0, 1], [0, 0, 1]]) if task.startswith("multi") else torch.tensor([2, 0])
    new = ("decoder.embed_tokens", "classification_head")
    lora = peft.LoraConfig(task_type="SEQ_CLS", target_modules=["q", "v"], modules_to_save=list(new))
    model = peft.get_peft_model(make_model(**settings), lora)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.SGD([parameter for parameter in model.parameters() if parameter.requires_grad], lr=0.1)
    for _ in range(2):  # LoRA's own second factors begin at zero
        model(input_ids=IDS, labels=targets).loss.backward()
        optimizer.step()
    changed = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert all("lora" in name or "modules_to_save" in name for name in changed)
    trained = {part for part in new if any(f"{part}.modules_to_save" in name for name in changed)}
    assert trained == set(new) and any("lora_B" in name for name in changed)

    model.save_pretrained(tmp_path)
    loaded = peft.PeftModel.from_pretrained(make_model(**settings), tmp_path).eval()
    with torch.no_grad():
        expected = model.eval()(input_ids=IDS).logits
        assert (expected - make_model(**settings)(IDS).logits).abs().max() > 1e-3
        assert_close(loaded(input_ids=IDS).logits, expected)
        assert_close(loaded.merge_and_unload()(IDS).logits, expected)


# Label names


def test_names_of_the_labels_are_enough(make_t5):
    config = EncT5ForSequenceClassification.from_pretrained_t5(make_t5(num_labels=7), id2label=NAMES).config
    assert config.id2label == NAMES
    assert config.label2id == {"negative": 0, "positive": 1}
    assert config.num_labels == 2


def test_another_number_of_labels_than_names_is_an_error(make_t5):
    with pytest.raises(ValueError, match="num_labels=3 contradicts id2label"):
        EncT5ForSequenceClassification.from_pretrained_t5(make_t5(), id2label=NAMES, num_labels=3)


# Every kind of T5

FAMILIES: dict[str, dict[str, Any]] = {
    "T5 v1.0": {},
    "T5 v1.1 and Flan-T5": {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    "ByT5": {"num_layers": 3, "num_decoder_layers": 2, "feed_forward_proj": "gated-gelu", "vocab_size": 384},
    "UL2": {"feed_forward_proj": "gated-silu", "tie_word_embeddings": False, "num_decoder_layers": 4},
    "mT5": {"model_class": MT5ForConditionalGeneration, "feed_forward_proj": "gated-gelu"},
}


@pytest.mark.parametrize("max_shard_size", ["1GB", "8KB"])
@pytest.mark.parametrize("family", FAMILIES)
def test_encoder_and_first_decoder_layer_are_the_t5s_own(make_t5, family, max_shard_size):
    settings = FAMILIES[family]
    folder = make_t5(max_shard_size=max_shard_size, **settings)
    assert (folder / "model.safetensors.index.json").exists() == (max_shard_size == "8KB")
    t5 = settings.get("model_class", T5ForConditionalGeneration).from_pretrained(folder).eval()
    model = EncT5ForSequenceClassification.from_pretrained_t5(folder, num_labels=3)
    mask = IDS.ne(0)
    t5.decoder.block = t5.decoder.block[:1]
    with torch.no_grad():
        seen = model.transformer(IDS)
        encoded = t5.get_encoder()(IDS, attention_mask=mask).last_hidden_state
        prompts = model.transformer.decoder.embed_tokens.weight.expand(2, 1, -1)
        decoded = t5.decoder(
            inputs_embeds=prompts, encoder_hidden_states=encoded, encoder_attention_mask=mask, use_cache=False
        )
    assert_close(seen.encoder_last_hidden_state, encoded)
    assert_close(seen.last_hidden_state, decoded.last_hidden_state)


PEAK = """
import json, sys
from harness.enct5 import EncT5ForSequenceClassification

def peak():
    with open("/proc/self/status") as status:
        lines = dict(line.split(":", 1) for line in status)
    return int(lines["VmHWM"].split()[0]) * 1024

EncT5ForSequenceClassification.from_pretrained_t5(sys.argv[1])  # the first call's own imports and buffers
before = peak()
model = EncT5ForSequenceClassification.from_pretrained_t5(sys.argv[2])
kept = sum(parameter.nbytes for parameter in model.parameters())
print(json.dumps({"used": peak() - before, "kept": kept}))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to measure the peak of memory")
@pytest.mark.parametrize("max_shard_size", ["1GB", "40MB"])
def test_loading_needs_little_more_memory_than_what_is_kept(make_t5, tmp_path, max_shard_size):
    (tmp_path / "small").mkdir()
    make_t5().rename(tmp_path / "small/t5")
    sizes = {"vocab_size": 8000, "d_model": 512, "d_kv": 64, "num_heads": 8, "d_ff": 1024}
    folder = make_t5(max_shard_size=max_shard_size, num_layers=4, num_decoder_layers=12, **sizes)
    seen = python(PEAK, tmp_path / "small/t5", folder, home=tmp_path, package=True)
    assert sum(file.stat().st_size for file in folder.glob("*.safetensors")) > 3 * seen["kept"]
    largest = 8000 * 512 * 4  # one tensor is in memory twice while it is copied
    print(seen)
    assert seen["kept"] < seen["used"] < 1.15 * seen["kept"] + largest
