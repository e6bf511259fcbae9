"""Tiny models for the tests."""

from harness.config.architectures import ARCHITECTURES
from harness.config.schema import Model

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
    return ARCHITECTURES[architecture](**settings)
