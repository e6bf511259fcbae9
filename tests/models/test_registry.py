"""A fourth architecture: one class of settings, one class that implements it, one entry of the registry."""

import subprocess
import sys
from typing import ClassVar, Literal

import numpy as np
import pytest
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

import harness
from harness.config.architectures import ARCHITECTURES, ScoringSettings
from harness.config.benchmark import read_benchmarks
from harness.config.schema import Count
from harness.errors import HarnessError
from harness.models.heads import ScoringArchitecture


class BagSettings(ScoringSettings):
    implementation: ClassVar[str] = f"{__name__}:Bag"

    architecture: Literal["bag"] = "bag"
    width: Count = 8


class BagOfTokens(PreTrainedModel):
    """The mean of the tokens' embeddings, and a head."""

    config_class = PretrainedConfig

    def __init__(self, config: PretrainedConfig, words: int, width: int):
        super().__init__(config)
        self.words, self.classifier = nn.Embedding(words, width), nn.Linear(width, config.num_labels)

    def get_input_embeddings(self) -> nn.Module:
        return self.words

    def forward(self, input_ids, attention_mask):
        states = self.words(input_ids) * attention_mask.unsqueeze(-1)
        return SequenceClassifierOutput(logits=self.classifier(states.sum(1) / attention_mask.sum(1, keepdim=True)))


class Bag(ScoringArchitecture):
    model: BagSettings

    def build(self):
        config = PretrainedConfig(num_labels=self.task.num_labels)
        return BagOfTokens(config, len(self.tokenizer), self.model.width)

    def encode(self, instances):
        texts = [" ".join(instance.fields.values()) for instance in instances]
        encoded = self.tokenizer(texts, truncation=True, max_length=self.max_length)
        return [{"input_ids": ids} for ids in encoded["input_ids"]]


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setitem(ARCHITECTURES, "bag", BagSettings)


def entry(**options):
    return {"architecture": "bag", "config": {}, "tokenizer": "sample", **options}


def test_it_is_trained_and_shown(registered, bench):
    bench.models = {"bag": entry(width=16), "wide": entry(width=32)}
    bench.write(models=["bag", "wide"], tasks=["cola", "copa"])
    board = harness.run(bench.path, results=bench.results)["b"]
    assert [row.model for row in board.rows] == ["bag", "wide"] and board.rows[0].architecture == "bag"
    record = bench.record("copa", "wide")
    assert record.finished
    assert np.isfinite(record.scores["copa"]["validation"]["accuracy"])
    assert "bag" in (bench.results / "b" / "leaderboard.md").read_text()


def test_its_options_are_checked_with_the_others(registered, bench):
    bench.models = {"one": entry(width=0), "two": entry(prefix=False), "three": entry(widht=1)}
    bench.models["four"] = {**entry(width=3), "architecture": "bert"}
    bench.models["five"] = {**entry(), "architecture": "bga"}
    bench.write(models=["one"])
    with pytest.raises(HarnessError) as error:
        read_benchmarks(bench.path)
    for message in (
        "width must be a whole number from 1 to 10^9, not 0",
        "prefix is an option of enct5 and t5; this model is bag",
        "unknown key 'widht' in model 'three'. Did you mean 'width'?",
        "width is an option of bag; this model is bert",
        "architecture must be enct5, t5, bert or bag, not 'bga'. Did you mean 'bag'?",
    ):
        assert message in str(error.value)


def test_a_file_is_read_without_torch(bench):
    bench.write(models=["bert", "t5", "enct5"])
    code = "import sys; from harness.config.benchmark import read_benchmarks; read_benchmarks(sys.argv[1]);"
    code += "assert not {'torch', 'transformers'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code, str(bench.path)], check=True)
