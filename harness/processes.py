"""Processes that run this program again: what they need, and how many of them there is room for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def with_program(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment in which ``python -m harness...`` finds this program, wherever it is started."""
    path = filter(None, [str(Path(__file__).parents[1]), environment.get("PYTHONPATH")])
    return {**environment, "PYTHONPATH": os.pathsep.join(path)}


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
