"""Fixtures: tiny models, the real data when it is there, golden files."""

import os
from pathlib import Path

import pytest

from harness.settings import Model

TINY = {
    "bert": {
        "model_type": "bert",
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
    },
    "enct5": {"d_model": 32, "num_layers": 2, "num_heads": 4, "d_kv": 8, "d_ff": 64},
    "t5": {"d_model": 32, "num_layers": 2, "num_heads": 4, "d_kv": 8, "d_ff": 64},
}


def tiny_model(architecture: str, **options) -> Model:
    """A model with random weights and the sample tokenizer."""
    settings = {"name": f"{architecture}-tiny", "config": TINY[architecture], "tokenizer": "sample", **options}
    return Model(architecture=architecture, **settings)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The real data sets; tests that need them are skipped where there are none."""
    folder = os.environ.get("HARNESS_DATA")
    if not folder:
        pytest.skip("needs the real data sets: set HARNESS_DATA to their folder")
    return Path(folder)


@pytest.fixture(scope="session")
def sample_cache(tmp_path_factory) -> Path:
    """Where the tokenizers trained on the sample text are kept for the whole test session."""
    return tmp_path_factory.mktemp("cache")
