"""Fixtures of the EncT5 tests."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from enct5_cases import CASES, SIZES, Case, read_case
from transformers import T5ForConditionalGeneration

from harness.enct5 import EncT5Config, EncT5ForSequenceClassification
from harness.enct5 import modeling_enct5 as modeling


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return read_case(request.param)


@pytest.fixture
def all_cases() -> list[Case]:
    return [read_case(name) for name in CASES]


@dataclass
class Reads:
    """What has been read from safetensors: names of opened files, and of tensors."""

    files: set[str] = field(default_factory=set)
    tensors: list[str] = field(default_factory=list)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    """Records what is read from T5 checkpoints."""
    seen, safe_open = Reads(), modeling.safe_open

    @contextmanager
    def recorded(file: str, framework: str) -> Iterator[SimpleNamespace]:
        def get_tensor(name: str) -> torch.Tensor:
            seen.tensors.append(name)
            return handle.get_tensor(name)

        seen.files.add(Path(file).name)
        with safe_open(file, framework=framework) as handle:
            yield SimpleNamespace(keys=handle.keys, get_slice=handle.get_slice, get_tensor=get_tensor)

    monkeypatch.setattr(modeling, "safe_open", recorded)
    return seen


@pytest.fixture
def make_model() -> Callable[..., EncT5ForSequenceClassification]:
    """Makes a small model with random weights, the same for the same settings."""

    def make(**settings: Any) -> EncT5ForSequenceClassification:
        torch.manual_seed(0)
        return EncT5ForSequenceClassification(EncT5Config(**{**SIZES, **settings})).eval()

    return make


@pytest.fixture
def make_t5(tmp_path: Path) -> Callable[..., Path]:
    """Saves a small T5 with random weights and returns its folder."""

    def make(max_shard_size: str = "1GB", model_class: Any = T5ForConditionalGeneration, **settings: Any) -> Path:
        torch.manual_seed(0)
        config = model_class.config_class(**{**SIZES, "decoder_start_token_id": 0, **settings})
        model_class(config).save_pretrained(tmp_path / "t5", max_shard_size=max_shard_size)
        return tmp_path / "t5"

    return make
