"""The energy that a stretch of work takes, where the machine tells."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Iterator
from typing import Any

import torch

JOULES_PER_KWH = 3.6e6


class Energy:
    """Measures from its creation on.

    With codecarbon (``pip install enct5-harness[energy]``) processor, memory and GPU count, measured or, where the
    machine does not tell, estimated; else the GPU, by NVML's counter; else nothing.

    Args:
        device: what the work is done on.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.tracker = tracker()
        self.before = None if self.tracker else gpu_joules(device)
        if self.tracker is not None:
            self.tracker.start_task()

    def stop(self) -> dict[str, Any]:
        """``energy_joules`` and ``energy_source``; empty where nothing tells, and after the first call."""
        tracker, before = self.tracker, self.before
        self.tracker = self.before = None
        if tracker is not None:
            data = tracker.stop_task()
            joules = 0.0 if data is None else data.energy_consumed * JOULES_PER_KWH
            return {"energy_joules": joules, "energy_source": "codecarbon"} if joules else {}
        after = gpu_joules(self.device)
        if before is None or after is None:
            return {}
        return {"energy_joules": after - before, "energy_source": "GPU (NVML)"}


@functools.cache
def tracker() -> Any:
    """Codecarbon's tracker, started once per process because that takes seconds; None without codecarbon."""
    try:
        from codecarbon import OfflineEmissionsTracker
    except ImportError:
        return None
    logging.getLogger("codecarbon").setLevel(logging.CRITICAL)
    # The country decides emissions, which are not read, and giving one keeps it from asking the network.
    return OfflineEmissionsTracker(
        country_iso_code="USA", save_to_file=False, log_level="critical", allow_multiple_runs=True
    )


def gpu_joules(device: torch.device) -> float | None:
    """What the GPU has consumed since its driver was loaded; None where NVML is not there or does not tell."""
    if device.type != "cuda":
        return None
    try:
        import pynvml
    except ImportError:
        return None
    with _nvml(pynvml):
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1000
    return None


@contextlib.contextmanager
def _nvml(pynvml: Any) -> Iterator[None]:
    """A block that ends where NVML says no: an old GPU, a driver without it."""
    with contextlib.suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        try:
            yield
        finally:
            pynvml.nvmlShutdown()
