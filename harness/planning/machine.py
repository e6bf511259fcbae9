"""The device of this machine by the name that records give it, without loading torch."""

from __future__ import annotations

import os
import re
from pathlib import Path

from harness.results.record import Record

GPUS = Path("/proc/driver/nvidia/gpus")


def this_device() -> str:
    """The name of this machine's first NVIDIA GPU that may be used, or the processor's."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0") not in ("", "-1"):
        for file in sorted(GPUS.glob("*/information")):
            if model := re.search(r"^Model:\s*(.+?)\s*$", _text(file), re.MULTILINE):
                return model[1]
    model = re.search(r"^model name\s*:\s*(.+?)\s*$", _text(Path("/proc/cpuinfo")), re.MULTILINE)
    return model[1] if model else "cpu"


def device_of(record: Record) -> str:
    """The name of the device that made a record, as `this_device` gives it."""
    device = str(record.provenance.get("device", "cpu"))
    return str(record.provenance.get("processor") or device) if device == "cpu" else device


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
