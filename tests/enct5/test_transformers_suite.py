"""transformers' own tests of every model, on EncT5, where the sources of the installed version are at hand.

pip download transformers==VERSION --no-binary :all: --no-deps
tar xzf transformers-VERSION.tar.gz
TRANSFORMERS_SOURCE=$PWD/transformers-VERSION python -m pytest -m slow tests/enct5/test_transformers_suite.py
"""

import importlib
import os
import sys
import unittest
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import pytest
import torch
import transformers
from enct5_cases import SIZES

from harness.enct5 import EncT5Config, EncT5ForSequenceClassification, EncT5ForTokenClassification, EncT5Model

pytestmark = pytest.mark.slow

SOURCE = Path(os.environ.get("TRANSFORMERS_SOURCE") or "transformers-source")
"""The unpacked source distribution, or a checkout at the tag."""
STAND_INS: dict[str, dict[str, Any]] = {
    "exporters.test_export": {"ExportTesterMixin": type("ExportTesterMixin", (), {})},
    "generation.test_utils": {"GenerationTesterMixin": type("GenerationTesterMixin", (), {})},
    "utils.test_configuration_utils": {"config_common_kwargs": {}},
}
"""Modules of which the source distribution lacks the folders: tests of exports and of generation."""


def missing() -> str | None:
    """Why the tests cannot run here; None where they can."""
    if not (SOURCE / "tests/test_modeling_common.py").is_file():
        return f"TRANSFORMERS_SOURCE names no sources of transformers {transformers.__version__}"
    version = (SOURCE / "src/transformers/__init__.py").read_text(encoding="utf-8")
    if f'__version__ = "{transformers.__version__}"' not in version:
        return f"TRANSFORMERS_SOURCE holds another version than the installed {transformers.__version__}"
    if importlib.util.find_spec("parameterized") is None:
        return "transformers' tests need the package parameterized"
    return None


if reason := missing():
    pytest.skip(reason, allow_module_level=True)


def their(module: str) -> ModuleType:
    """A module of transformers' tests, as part of a package of its own."""
    package = ModuleType("transformers_tests")
    package.__path__ = [str(SOURCE / "tests")]
    sys.modules.setdefault(package.__name__, package)
    for name, content in STAND_INS.items():
        stand_in = ModuleType(f"{package.__name__}.{name}")
        vars(stand_in).update(content)
        sys.modules.setdefault(f"{package.__name__}.{name.split('.')[0]}", ModuleType("folder"))
        sys.modules.setdefault(stand_in.__name__, stand_in)
    with mock.patch("transformers.utils.direct_transformers_import"):  # needs the folder of a checkout
        return importlib.import_module(f"{package.__name__}.{module}")


class Tester:
    """Sizes, a configuration and a batch, in the form that transformers' tests ask for."""

    batch_size, seq_length, is_training, num_hidden_states_types = 5, 7, True, 1
    hidden_size, num_hidden_layers, num_attention_heads = SIZES["d_model"], SIZES["num_layers"], SIZES["num_heads"]

    def prepare_config_and_inputs_for_common(self) -> tuple[EncT5Config, dict[str, torch.Tensor]]:
        ids = torch.randint(2, SIZES["vocab_size"], (self.batch_size, self.seq_length))
        return EncT5Config(**SIZES), {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


common = their("test_modeling_common")
MODELS = {
    "MODEL_MAPPING_NAMES": EncT5Model,
    "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES": EncT5ForSequenceClassification,
    "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES": EncT5ForTokenClassification,
}
for mapping, model_class in MODELS.items():  # which labels a model takes, their tests know by its name
    setattr(common, mapping, {**getattr(common, mapping), "enct5": model_class.__name__})


class TestEncT5(common.ModelTesterMixin, unittest.TestCase):  # type: ignore[misc]
    all_model_classes = tuple(MODELS.values())

    def setUp(self) -> None:
        self.model_tester = Tester()

    def test_attention_outputs(self) -> None:
        for model_class in MODELS.values():
            self.all_model_classes = (model_class,)
            self.model_tester.num_hidden_states_types = (
                2 if model_class is EncT5Model else 1
            )  # the prompts' states, too
            super().test_attention_outputs()

    def test_problem_types(self) -> None:
        self.skipTest("gives a configuration another task and not its prompts: test_enct5_model.py has every task")

    def test_configuration(self) -> None:
        their("test_configuration_common").ConfigTester(self, config_class=EncT5Config).run_common_tests()
