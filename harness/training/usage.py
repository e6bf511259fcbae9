"""The memory and the energy that a run takes."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

JOULES_PER_KWH = 3.6e6

# Memory ----------------------------------------------------------------------------------------------------------


class Usage:
    """The memory and the energy that a process takes from here on.

    Args:
        device: what it works on.
    """

    def __init__(self, device: torch.device):
        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        self.before = _memory_from_here()
        self.energy = Energy(device)

    def __enter__(self) -> Usage:
        return self

    def __exit__(self, *_: object) -> None:
        self.energy.stop()

    def read(self) -> dict[str, Any]:
        """The peaks in bytes, where the system tells them, and the energy; ends the measuring.

        ``peak_memory_bytes`` is the most memory that the process has had since the beginning, less what it had then
        and without the pages of files, which the system may drop at any time; ``peak_device_bytes`` is the most that
        PyTorch has allocated on the GPU.
        """
        peaks: dict[str, Any] = {}
        now = _memory() if self.before is not None else None
        if self.before is not None and now is not None:
            peaks["peak_memory_bytes"] = max(0, now["VmHWM"] - now["RssFile"] - self.before["RssAnon"])
        if self.device.type == "cuda":
            peaks["peak_device_bytes"] = torch.cuda.max_memory_allocated(self.device)
        return peaks | self.energy.stop()


def of_all_processes(usages: Sequence[dict[str, Any]], whole: bool) -> dict[str, Any]:
    """The usage of all processes: the largest peaks; of the ``whole`` run (not resumed) also the energy of all."""
    names = [name for name in usages[0] if name.endswith("_bytes") and all(name in usage for usage in usages)]
    peaks: dict[str, Any] = {name: max(usage[name] for usage in usages) for name in names}
    sources = {usage.get("energy_source") for usage in usages}
    if whole and len(sources) == 1 and None not in sources:
        energies = [usage["energy_joules"] for usage in usages]
        # Codecarbon sees the whole machine, NVML one GPU.
        joules = max(energies) if "codecarbon" in sources else sum(energies)
        return {**peaks, "energy_joules": joules, "energy_source": usages[0]["energy_source"]}
    return peaks


def _memory_from_here() -> dict[str, int] | None:
    """The memory of this process, whose peak the system looks for anew (proc(5)); None where it cannot.

    What earlier runs have freed goes back to the system first: a run that took it up again would seem to need less.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # malloc_trim(3) is glibc's
        ctypes.CDLL(None).malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return _memory()


def _memory() -> dict[str, int] | None:
    """``VmHWM`` (the peak), ``RssAnon`` and ``RssFile`` in bytes; None where the system does not tell them all."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    lines = re.findall(r"^(VmHWM|RssAnon|RssFile):\s*(\d+) kB", status, flags=re.MULTILINE)
    return {name: int(kilobytes) * 1024 for name, kilobytes in lines} if len(lines) == 3 else None


# Energy ----------------------------------------------------------------------------------------------------------


class Energy:
    """Measures from its creation on.

    With codecarbon (``pip install enct5-harness[energy]``) processor, memory and GPU count, measured or, where the
    machine does not measure them, estimated; else the GPU, by NVML's counter; else nothing.

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
        """``energy_joules`` and ``energy_source``; empty where nothing is measured, and after the first call."""
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
    """What the GPU has consumed since its driver was loaded; None without NVML or its counter."""
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
    """A block that ends where NVML refuses: an old GPU, a driver without it."""
    with contextlib.suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        try:
            yield
        finally:
            pynvml.nvmlShutdown()
