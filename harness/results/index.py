"""Where results folders are, and in one the records of all its benchmarks: names of folders only, no record is read."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.io import usable

RESULTS = "results"
"""The name of a results folder, if nobody gives it another."""
DIGITS = 12
"""Of a fingerprint, in the name of a record's folder."""
_RUN = re.compile(rf"seed\d+(?:-tests)?-([0-9a-f]{{{DIGITS}}})")


def results_beside(file: str | Path | Mapping[str, Any]) -> Path:
    """Where the results of a benchmark file go if nobody says where: beside it. Those of a mapping go here."""
    return Path(RESULTS) if isinstance(file, Mapping) else usable(file).parent / RESULTS


def run_name(seed: int, fingerprint: str, tests: bool = False) -> str:
    """The name of a record's folder; ``tests``: of one that holds the predictions of test splits."""
    return f"seed{seed}-tests-{fingerprint[:DIGITS]}" if tests else f"seed{seed}-{fingerprint[:DIGITS]}"


def record_folders(results: Path) -> dict[str, list[str]]:
    """The folders that are named like records, ``<benchmark>/runs/<task>/<model>/`` and `run_name`.

    Returns:
        By the first digits of the fingerprint; several where equal runs have several names.
    """
    folders: dict[str, list[str]] = {}
    for benchmark in _entries(str(results)):
        if benchmark.name.startswith("."):
            continue
        for task in _entries(os.path.join(benchmark.path, "runs")):
            for model in _entries(task.path):
                for run in _entries(model.path):
                    if match := _RUN.fullmatch(run.name):
                        folders.setdefault(match[1], []).append(run.path)
    return folders


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    """What a folder holds, in the order of names; nothing where it is none, or cannot be read."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        yield from sorted(entries, key=lambda entry: entry.name)
