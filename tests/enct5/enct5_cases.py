"""The golden cases of EncT5, and the sizes of models small enough to build in milliseconds."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from harness.enct5 import EncT5ForSequenceClassification

GOLDEN = Path(__file__).parents[1] / "golden" / "enct5"
SIZES: dict[str, Any] = {"vocab_size": 50, "d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 2, "num_heads": 3}


@dataclass(frozen=True)
class Case:
    """One golden case: the reference's checkpoints, inputs and outputs."""

    folder: Path
    facts: dict[str, Any]
    io: dict[str, torch.Tensor]

    @property
    def inputs(self) -> dict[str, torch.Tensor]:
        return {name: self.io[name] for name in ("input_ids", "attention_mask")}

    @property
    def task(self) -> dict[str, Any]:
        return {name: self.facts[name] for name in ("problem_type", "num_labels", "num_decoder_layers")}

    def logits(self, name: str = "logits") -> torch.Tensor:
        """Reference logits without the reference's extra axis, `(batch, num_labels)`."""
        return self.io[name].reshape(-1, self.facts["num_labels"])

    def from_t5(self) -> EncT5ForSequenceClassification:
        """The case's model made from its T5, then given the reference's prompts and head."""
        model = EncT5ForSequenceClassification.from_pretrained_t5(self.folder / "t5", **self.task)
        saved = load_file(self.folder / "model.safetensors")
        missing, unexpected = model.load_state_dict(
            {name: saved[name] for name in self.facts["enct5_tensors_not_from_t5"]}, strict=False
        )
        assert not unexpected
        assert "transformer.decoder.embed_tokens.weight" not in missing
        return model


def read_case(name: str) -> Case:
    folder = GOLDEN / name
    facts = json.loads((folder / "case.json").read_text(encoding="utf-8"))
    return Case(folder, facts, load_file(folder / "io.safetensors"))


CASES = sorted(folder.name for folder in GOLDEN.iterdir())
