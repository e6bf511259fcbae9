"""Floating-point operations: what a model needs, what the machine reaches, what its datasheet promises."""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from harness.data.features import Features
from harness.training.device import DTYPES, synchronize

TRAINING_PASSES = 3
"""A training step has the FLOPs of a forward pass and, for the backward pass, of two more."""
MATRIX_SIZE = {"cuda": 4096}
REPETITIONS = 5

# What a model needs ----------------------------------------------------------------------------------------------


def count_flops(call: Callable[[], Any]) -> int:
    """The FLOPs of the matrix products in a call, a multiplication with its addition being two."""
    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    with FlopCounterMode(display=False, custom_mapping={attention: _attention_flops}) as counter:
        call()
    return int(counter.get_total_flops())


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """The shapes of fused attention on a CPU, which PyTorch's counter does not know."""
    return sdpa_flop_count(query, key, value)


def tokens_per_group(features: Features) -> np.ndarray:
    """Input tokens of each group, ``(groups,)``."""
    return np.add.reduceat(features.columns["input_ids"].lengths, features.groups[:-1])


def typical(features: Features) -> int:
    """The first group whose number of tokens is nearest to the mean."""
    tokens = tokens_per_group(features)
    return int(np.abs(tokens - tokens.mean()).argmin())


# What the machine reaches ----------------------------------------------------------------------------------------


def matrix_rate(device: torch.device, precision: str) -> float:
    """`measured_matrix_rate`, measured once in a process for each device, precision and number of threads."""
    return _kept_matrix_rate(device, precision, torch.get_num_threads())


@functools.cache
def _kept_matrix_rate(device: torch.device, precision: str, threads: int) -> float:
    return measured_matrix_rate(device, precision)


def measured_matrix_rate(device: torch.device, precision: str) -> float:
    """Floating-point operations per second in a product of two large square matrices, the best of a few.

    Args:
        device: where.
        precision: as in a recipe; for ``tf32``, PyTorch has to be set to it.
    """
    dtype = DTYPES[precision]
    size = MATRIX_SIZE.get(device.type, 1024)
    random = torch.Generator().manual_seed(0)
    left, right = (torch.rand(size, size, generator=random).to(device, dtype) for _ in range(2))
    best = float("inf")
    for _ in range(REPETITIONS):
        synchronize(device)
        started = time.perf_counter()
        torch.mm(left, right)
        synchronize(device)
        best = min(best, time.perf_counter() - started)
    return 2.0 * size**3 / best


# What its datasheet promises -------------------------------------------------------------------------------------

# Dense peaks in TFLOP/s, by the device's whole name, so that laptops' cards and slices of a card are not taken for it.
# Sources: NVIDIA's datasheets of H100 (2023), H200 (2024), A100 (2021), L4 and L40S (2023), T4 (2019), V100 (2020) and
# B200 (HGX, 2024), whose values "with sparsity" are twice these; the architecture whitepapers of the GeForce cards
# (GA102 2.1, Ada 1.1, RTX Blackwell 1.1), of which these are the rates with sums in fp32.
PEAKS: dict[str, dict[str, float]] = {
    r"H100 80GB HBM3|H100 SXM5?( \d+GB)?|H200": {"bf16": 989.4, "fp16": 989.4, "tf32": 494.7, "fp32": 66.9},
    r"H100 PCIe": {"bf16": 756.0, "fp16": 756.0, "tf32": 378.0, "fp32": 51.0},
    r"H100 NVL|H200 NVL": {"bf16": 835.5, "fp16": 835.5, "tf32": 417.5, "fp32": 60.0},
    r"A100-(SXM4|PCIE|PCIe)-\d+GB|A100 80GB PCIe": {"bf16": 312.0, "fp16": 312.0, "tf32": 156.0, "fp32": 19.5},
    r"L4": {"bf16": 121.0, "fp16": 121.0, "tf32": 60.0, "fp32": 30.3},
    r"L40S": {"bf16": 362.05, "fp16": 362.05, "tf32": 183.0, "fp32": 91.6},
    r"T4": {"fp16": 65.0, "fp32": 8.1},
    r"V100-SXM2-\d+GB": {"fp16": 125.0, "fp32": 15.7},
    r"V100-PCIE-\d+GB": {"fp16": 112.0, "fp32": 14.0},
    r"B200": {"bf16": 2250.0, "fp16": 2250.0, "tf32": 1100.0, "fp32": 75.0},
    r"GeForce RTX 3090": {"bf16": 71.0, "fp16": 71.0, "tf32": 35.6, "fp32": 35.6},
    r"GeForce RTX 4090": {"bf16": 165.2, "fp16": 165.2, "tf32": 82.6, "fp32": 82.6},
    r"GeForce RTX 5090": {"bf16": 209.5, "fp16": 209.5, "tf32": 104.8, "fp32": 104.8},
}


def datasheet_peak(device: str, precision: str) -> float | None:
    """The FLOP/s that a GPU's datasheet promises for matrix products without sparsity; None where it is not known.

    Args:
        device: its name, as `torch.cuda.get_device_name` gives it.
        precision: as in a recipe.

    >>> datasheet_peak("NVIDIA A100-SXM4-80GB", "bf16")
    312000000000000.0
    >>> datasheet_peak("NVIDIA A100-SXM4-80GB MIG 1g.10gb", "bf16")
    """
    name = re.sub(r"^(NVIDIA|Tesla) ", "", device)
    peaks = next((peaks for names, peaks in PEAKS.items() if re.fullmatch(names, name)), {})
    return 1e12 * peaks[precision] if precision in peaks else None
