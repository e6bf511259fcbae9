"""Checkpoints with mistakes: one message before any training that names the model and the file, and no record."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from running import Bench, tiny
from safetensors.torch import load_file, save_file
from tiny import TINY
from transformers import BertConfig, BertForMaskedLM, T5Config, T5ForConditionalGeneration

from harness import HarnessError
from harness.models.tokenizers import sample_tokenizer

ARCHITECTURES = ("bert", "enct5", "t5")
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def sound(tmp_path_factory, sample_cache) -> Path:
    """A sound checkpoint of BERT and one of T5, with their tokenizers."""
    folder = tmp_path_factory.mktemp("sound")
    wordpiece, pieces = sample_tokenizer("bert", sample_cache), sample_tokenizer("t5", sample_cache)
    torch.manual_seed(1)
    BertForMaskedLM(BertConfig(vocab_size=len(wordpiece), **TINY["bert"])).save_pretrained(folder / "bert")
    config = T5Config(vocab_size=len(pieces), decoder_start_token_id=0, **TINY["t5"])
    T5ForConditionalGeneration(config).save_pretrained(folder / "t5")
    wordpiece.save_pretrained(folder / "bert")
    pieces.save_pretrained(folder / "t5")
    return folder


@pytest.fixture
def bench(tmp_path, sample_cache) -> Bench:
    return Bench(tmp_path, sample_cache)


def message(bench: Bench, sound: Path, architecture: str, damage=lambda folder: None, of: str = "", **options) -> str:
    """What a run says of a damaged copy of a checkpoint; nothing may be left of the run."""
    folder = bench.folder / "model"
    shutil.copytree(sound / (of or ("bert" if architecture == "bert" else "t5")), folder)
    damage(folder)
    bench.models = {"m": {"architecture": architecture, "checkpoint": "./model", **options}}
    bench.write({"max_steps": 1}, models=["m"])
    with pytest.raises(HarnessError) as error:
        bench.run()
    assert not list(bench.results.glob("b/runs/*")) and "\n" not in str(error.value)
    return str(error.value).replace(str(folder), "FOLDER")


def change_weights(change):
    """A damage of the tensors."""

    def damage(folder: Path) -> None:
        weights = load_file(folder / WEIGHTS)
        change(weights)
        save_file(weights, folder / WEIGHTS, {"format": "pt"})

    return damage


def an_encoder_matrix(weights) -> str:
    return next(name for name in sorted(weights) if "encoder" in name and weights[name].ndim == 2)


def change_bytes(change, name: str = WEIGHTS):
    """A damage of a file's bytes."""
    return lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes()))


def change_config(**settings):
    return change_bytes(lambda content: json.dumps({**json.loads(content), **settings}).encode(), "config.json")


def sharded(index):
    """The weights as one shard, and an index: of tensors in the shard ``index``, or with ``index`` as its content."""

    def damage(folder: Path) -> None:
        names = list(load_file(folder / WEIGHTS))
        (folder / WEIGHTS).rename(folder / "model-00001-of-00001.safetensors")
        content = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(names, index)}
        text = index if isinstance(index, bytes) else json.dumps(content).encode()
        (folder / "model.safetensors.index.json").write_bytes(text)

    return damage


def without(*names: str):
    def damage(folder: Path) -> None:
        for name in names:
            (folder / name).unlink(missing_ok=True)

    return damage


def as_bin(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")


def as_adapter(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "adapter_model.safetensors")


INDEX = "FOLDER/model.safetensors.index.json"
DAMAGED = "FOLDER/model.safetensors is cut short or damaged, or no safetensors file"
FILES = {
    "only .bin": (as_bin, "has its weights as pytorch_model.bin only, a format that can run code and is refused: look"),
    "no weights": (without(WEIGHTS), "checkpoint FOLDER has no weights (*.safetensors)"),
    "other weights": (
        as_adapter,
        "FOLDER has neither model.safetensors nor model.safetensors.index.json: its weights have other names",
    ),
    "cut in the header": (change_bytes(lambda content: content[:500]), DAMAGED),
    "cut at the end": (change_bytes(lambda content: content[:-1]), DAMAGED),
    "empty": (change_bytes(lambda content: b""), DAMAGED),
    "longer": (change_bytes(lambda content: content + b"\0"), DAMAGED),
    "an endless header": (change_bytes(lambda content: (2**60).to_bytes(8, "little") + content[8:]), DAMAGED),
    "a page of HTML": (change_bytes(lambda content: b"<!DOCTYPE html><html>404</html>"), DAMAGED),
    "Git LFS": (
        change_bytes(lambda content: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
        "FOLDER/model.safetensors is only a pointer of Git LFS: fetch the file itself with `git lfs pull`",
    ),
    "a shard is missing": (
        sharded("model-00002-of-00002.safetensors"),
        "FOLDER/model-00002-of-00002.safetensors is missing, and the index names it: get the checkpoint again",
    ),
    "a broken index": (sharded(b"{"), f"{INDEX} is not valid JSON: get the checkpoint again"),
    "an index without map": (sharded(b"{}"), f"{INDEX} is no index of weights: get the checkpoint again"),
    "an index that is a list": (sharded(b"[]"), f"{INDEX} is no index of weights"),
    "no config": (without("config.json"), "checkpoint FOLDER has no config.json"),
    "config is no JSON": (change_bytes(lambda content: content[:30], "config.json"), "FOLDER/config.json is not valid"),
    "config in UTF-16": (change_bytes(lambda c: c.decode().encode("utf-16") + b"\xff", "config.json"), "is not valid"),
    "config is a list": (change_bytes(lambda content: b"[]", "config.json"), "FOLDER/config.json is no configuration"),
    "no tokenizer": (
        without("tokenizer.json", "tokenizer_config.json"),
        "there is no vocabulary in FOLDER: it needs tokenizer.json (or vocab.txt, spiece.model, ...)",
    ),
    "a cut tokenizer": (
        change_bytes(lambda content: content[:100], "tokenizer.json"),
        "no tokenizer that can be loaded in FOLDER",
    ),
    "a tokenizer with a number out of range": (
        change_bytes(lambda content: content.replace(b'"vocab": {', b'"vocab": {"x": 1e400, '), "tokenizer.json"),
        "no tokenizer that can be loaded in FOLDER",
    ),
    "tokenizer of nothing": (change_bytes(lambda c: b'{"a": 1}', "tokenizer.json"), "no tokenizer that can be loaded"),
    "code of its own": (
        change_config(model_type="own", auto_map={"AutoConfig": "code.Config"}),
        "needs code of its own, and no remote code is run: choose a checkpoint that transformers knows",
    ),
    "an unknown type": (change_config(model_type="unheard-of"), "unheard-of"),
}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("case", FILES)
def test_files(case, architecture, bench, sound):
    damage, expected = FILES[case]
    found = message(bench, sound, architecture, damage)
    assert expected in found and ("model 'm': " in found or "checkpoint FOLDER" in found)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("kind", ["missing", "shape"])
def test_tensors(kind, architecture, bench, sound):
    name = ""

    def change(weights):
        nonlocal name
        name = an_encoder_matrix(weights)
        tensor = weights.pop(name)
        if kind == "shape":
            weights[name] = tensor[:, :5].contiguous()

    found = message(bench, sound, architecture, change_weights(change))
    assert found.startswith("model 'm': ") and name in found
    assert ("lacks 1 " in found) or ("shape" in found and kind == "shape")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_sizes_that_are_not_those_of_the_weights(architecture, bench, sound):
    more = message(bench, sound, architecture, change_config(num_hidden_layers=3, num_layers=3))
    assert "model 'm': " in more and "lacks " in more
    shutil.rmtree(bench.folder / "model")
    for size in ("many", -4, 0):
        found = message(bench, sound, architecture, change_config(hidden_size=size, d_model=size))
        assert "model 'm': " in found and "FOLDER" in found
        shutil.rmtree(bench.folder / "model")


@pytest.mark.parametrize(
    ("architecture", "of", "expected"),
    [
        ("t5", "bert", "transformers has no text-to-text model of type 'bert'"),
        ("enct5", "bert", "EncT5 is made from a T5 or mT5 checkpoint, and this one is 'bert'"),
    ],
)
def test_another_architecture(architecture, of, expected, bench, sound):
    assert expected in message(bench, sound, architecture, of=of)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_config_that_names_another_architecture_than_the_weights(architecture, bench, sound):
    found = message(bench, sound, architecture, change_config(model_type="gpt2"))
    assert "model 'm': " in found
    assert ("lacks" if architecture == "bert" else "gpt2") in found


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_tokenizer_of_another_checkpoint(architecture, bench, sound):
    def fewer(folder: Path) -> None:
        weights = load_file(folder / WEIGHTS)
        for name, tensor in weights.items():
            if tensor.shape[:1] == (rows,):
                weights[name] = tensor[:100].contiguous()
        save_file(weights, folder / WEIGHTS, {"format": "pt"})
        change_config(vocab_size=100)(folder)

    config = json.loads((sound / ("bert" if architecture == "bert" else "t5") / "config.json").read_text())
    rows = config["vocab_size"]
    found = message(bench, sound, architecture, fewer)
    assert "word embedding has 100 rows: tokenizer and checkpoint do not belong together" in found


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_index_cannot_lead_out_of_the_folder(architecture, bench, sound):
    for shard in ("../sound/model.safetensors", "/etc/passwd", "sub/model.safetensors", "..", 5, "a\\b.safetensors"):
        found = message(bench, sound, architecture, sharded(shard))
        assert f"{INDEX} names {shard!r}: shards are .safetensors files in the folder itself" in found
        shutil.rmtree(bench.folder / "model")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_the_damages_begin_with_is_sound(architecture, bench, sound):
    """Also as shards, without the ``.bin`` beside it being read."""
    folder = bench.folder / "model"
    shutil.copytree(sound / ("bert" if architecture == "bert" else "t5"), folder)
    sharded("model-00001-of-00001.safetensors")(folder)
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    bench.models = {"m": {"architecture": architecture, "checkpoint": "./model"}}
    bench.write({"max_steps": 1}, models=["m"])
    bench.run()
    assert bench.record(model="m").finished


def test_all_models_mistakes_come_at_once_and_sound_ones_wait(bench, sound):
    for name in ("one", "two"):
        shutil.copytree(sound / "bert", bench.folder / name)
    (bench.folder / "one" / WEIGHTS).write_bytes(b"")
    (bench.folder / "two" / "config.json").unlink()
    bench.models = {"fine": tiny("bert")}
    bench.models |= {name: {"architecture": "bert", "checkpoint": f"./{name}"} for name in ("one", "two")}
    bench.write(models=["fine", "one", "two"], tasks=["cola", "rte"])
    with pytest.raises(HarnessError) as error:
        bench.run()
    first, second = str(error.value).splitlines()  # not once more for the second task
    assert first.startswith("model 'one': ") and str(bench.folder / "two") in second
    assert not (bench.results / "b" / "runs").exists()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", [WEIGHTS, "config.json"])
def test_no_permission(name, bench, sound):
    found = message(bench, sound, "bert", lambda folder: (folder / name).chmod(0))
    assert f"FOLDER/{name}: cannot be read: Permission denied" in found
