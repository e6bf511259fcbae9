"""The page about EncT5: its snippets run in the order in which they stand, and its picture is the script's."""

import importlib.util
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import torch
from enct5_cases import SIZES
from transformers import T5Config, T5ForConditionalGeneration, T5Tokenizer

from harness.config.benchmark import read_benchmarks
from harness.enct5 import EncT5Config

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "harness/enct5/README.md"
FIGURE = ROOT / "harness/enct5/architecture.svg"
WORDS = ["a", "an", "fine", "great", "poor", "awful", "film", "plot", "joy", "love", "anger"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture
def t5_base(tmp_path, monkeypatch):
    """The working folder has a small T5 where the snippets look for t5-base."""
    monkeypatch.chdir(tmp_path)
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((f"▁{word}", -1.0) for word in WORDS)]
    tokenizer = T5Tokenizer(vocab=vocabulary)
    tokenizer.save_pretrained("google-t5/t5-base")
    torch.manual_seed(0)
    config = T5Config(**SIZES | {"vocab_size": len(tokenizer), "decoder_start_token_id": 0})
    T5ForConditionalGeneration(config).save_pretrained("google-t5/t5-base")


def test_the_snippets_run(t5_base, capsys):
    names: dict = {}
    for block in blocks("python"):
        if "from peft" in block and importlib.util.find_spec("peft") is None:
            continue
        exec(compile(block, str(PAGE), "exec"), names)
    printed = capsys.readouterr().out
    assert "1 prompt(s)" in printed and "torch.Size([4, 3])" in printed and "torch.Size([2, 3, 3])" in printed
    assert float(re.findall(r"loss ([\d.]+)", printed)[0]) < 0.5
    assert [answer["label"] for answer in names["classify"](names["texts"])] == ["positive"] * 2 + ["negative"] * 2
    assert names["probabilities"].shape == (4, 3)


@pytest.mark.parametrize(("number", "name", "task"), [(0, "emotions", "goemotions"), (1, "entities", "wnut17")])
def test_the_benchmarks_are_valid(tmp_path, number, name, task):
    (tmp_path / "b.yaml").write_text(blocks("yaml")[number])
    spec = read_benchmarks(tmp_path / "b.yaml").benchmark(name)
    assert spec.tasks == (task,)


def test_every_setting_and_file_that_the_page_names_is_there():
    fields = EncT5Config().to_dict()
    assert {"prompt_position_bias", "label_attention", "decoder_vocab_size", "num_decoder_layers"} <= fields.keys()
    text = PAGE.read_text(encoding="utf-8")
    for name in re.findall(r"\]\(([\w./-]+)\)", text):
        assert (PAGE.parent / name).is_file(), name
    for name in re.findall(r"`(scripts/[\w./]+)`", text):
        assert (ROOT / name).is_file(), name


def test_the_picture_is_what_the_script_draws(tmp_path):
    script = ROOT / "scripts/architecture_figure.py"
    subprocess.run([sys.executable, str(script), str(tmp_path / "again.svg")], check=True, capture_output=True)
    assert (tmp_path / "again.svg").read_text() == FIGURE.read_text(), f"run {script.name} again"


def test_nothing_is_drawn_outside_the_picture():
    root = ElementTree.parse(FIGURE).getroot()
    width, height = (float(root.attrib[side]) for side in ("width", "height"))
    assert root.attrib["viewBox"] == f"0 0 {width:g} {height:g}"
    shapes = [element for element in root if element.tag.endswith("rect")]
    assert len(shapes) > 10
    for shape in shapes:
        x, y = float(shape.get("x", 0)), float(shape.get("y", 0))
        assert 0 <= x <= x + float(shape.attrib["width"]) <= width
        assert 0 <= y <= y + float(shape.attrib["height"]) <= height
    for line in (element for element in root if element.tag.endswith("}text")):
        half = len(line.text or "") * float(line.attrib["font-size"]) * 0.6 / 2  # wider than any sans-serif on average
        start = float(line.attrib["x"]) - (half if line.attrib["text-anchor"] == "middle" else 0)
        assert 0 <= start <= start + 2 * half <= width, line.text
