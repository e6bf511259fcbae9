"""Device, precision and compilation as they will really be used."""

import os

import pytest
import torch

from harness.config.schema import Recipe
from harness.errors import HarnessError
from harness.training import device
from harness.training.device import bf16_speedup, provenance, resolve, resolve_compile, resolve_precision

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda"), torch.device("mps")


@pytest.fixture
def hardware(monkeypatch):
    """``hardware(bf16)``: whether this machine multiplies bf16 fast."""

    def pretend(bf16):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16)
        monkeypatch.setattr(device, "bf16_speedup", lambda: 1.8 if bf16 else 0.6)

    return pretend


@pytest.mark.parametrize(
    ("where", "bf16", "bears_fp16", "expected"),
    [
        (CUDA, True, True, "bf16"),
        (CUDA, True, False, "bf16"),
        (CUDA, False, True, "fp16"),
        (CUDA, False, False, "fp32"),  # T5 overflows fp16
        (CPU, True, True, "bf16"),
        (CPU, False, True, "fp32"),
        (MPS, False, True, "fp32"),
    ],
)
def test_auto_is_what_hardware_and_model_bear(where, bf16, bears_fp16, expected, hardware):
    hardware(bf16)
    assert resolve_precision("auto", where, bears_fp16) == expected


def test_the_speed_of_bf16_is_measured_once():
    assert bf16_speedup() > 0 and bf16_speedup() == bf16_speedup()


def test_an_explicit_word_counts(hardware):
    hardware(False)
    assert resolve_precision("fp16", CUDA, False) == "fp16"
    assert resolve_precision("bf16", CPU, True) == "bf16"
    assert resolve_precision("fp32", CUDA, True) == "fp32"
    with pytest.raises(HarnessError, match="fp16 needs a CUDA device, and this is cpu"):
        resolve_precision("fp16", CPU, True)


def test_compiling_has_to_repay_itself():
    assert resolve_compile(True, CPU, 0, 0) is True
    assert resolve_compile(False, CUDA, 10**12, 1e12) is False
    assert resolve_compile("auto", CUDA, 110_000_000, 32 * 128 * 36_000) is False  # 0.1e18
    assert resolve_compile("auto", CUDA, 770_000_000, 128 * 512 * 100_000) is True
    assert resolve_compile("auto", MPS, 10**12, 1e12) is False


def test_a_resolved_recipe_has_no_auto_left(hardware):
    hardware(False)
    recipe = resolve(Recipe(precision="auto", compile="auto", epochs=2.0), CPU, True, 1000, 1000.0)
    assert (recipe.precision, recipe.compile, recipe.epochs) == ("fp32", False, 2.0)


def test_provenance_names_versions_and_hardware():
    found = provenance(CPU, 3)
    assert found["torch"].startswith(torch.__version__.split("+")[0])
    assert found["device"] == "cpu" and found["processes"] == 3 and found["threads"] == torch.get_num_threads()
    assert all(found[name] for name in ("harness", "python", "transformers", "platform"))


@pytest.mark.parametrize(("users", "expected"), [(None, "64"), ("500", "500")])
def test_onednn_keeps_code_for_few_shapes_unless_the_user_says_otherwise(monkeypatch, users, expected):
    """With its own 1,024, training in bf16 took 1,409 MB after 60 updates of ever new shapes, with 64 1,119 MB."""
    name = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
    monkeypatch.setenv(name, users or "")
    if users is None:
        monkeypatch.delenv(name)
    device.make_accelerator()
    assert os.environ[name] == expected
