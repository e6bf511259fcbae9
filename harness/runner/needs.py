"""What a benchmark needs of the Hub, and whether all of it is at hand where the network is not."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator
from pathlib import Path

from harness.config.benchmark import BenchmarkFile
from harness.config.schema import BenchmarkSpec
from harness.data.datasets import has_own_files
from harness.data.download import CheckpointFiles, DataSet, Needed
from harness.data.hub_access import is_offline, network, no_network, not_cached, reach
from harness.errors import HarnessError
from harness.runner.plan import parents_first
from harness.runner.planned import planned


def needs_of(file: BenchmarkFile, spec: BenchmarkSpec, trained: Collection[str] | None = None) -> list[Needed]:
    """What a benchmark reads from the Hub: checkpoints, tokenizers, and the data of its tasks and their diagnostics.

    Args:
        trained: only the data of these tasks.
    """
    needs: dict[tuple[str, ...], Needed] = {}
    for model in map(file.models.__getitem__, spec.models):
        if model.checkpoint is not None and not _is_folder(model.checkpoint):
            needs["model", model.checkpoint, str(model.revision)] = CheckpointFiles(model.checkpoint, model.revision)
        if model.tokenizer not in (None, "sample") and not _is_folder(str(model.tokenizer)):
            needs["tokenizer", str(model.tokenizer)] = CheckpointFiles(str(model.tokenizer), None, weights=False)
    names = parents_first(spec, spec.trained)
    wanted = {name for name in names if trained is None or name in trained}
    for task in file.tasks.values():
        on_hub = task.hub is not None and spec.source(task) == "hub" and not has_own_files(task)
        if on_hub and wanted & {task.name, task.evaluated_by}:
            needs["data", str(task.hub)] = DataSet(task)
    return list(needs.values())


def _is_folder(name: str) -> bool:
    return name.startswith(("/", "./", "../", "~")) or os.path.isdir(name)


@contextlib.contextmanager
def network_for(file: BenchmarkFile, spec: BenchmarkSpec, results: Path) -> Iterator[None]:
    """A block for a benchmark's runs. Where there is no network, the Hub's cache has all that they need.

    Raises:
        HarnessError: it has not; all that is missing, before anything starts.
    """
    forbidden = is_offline()
    alone = bool(needs_of(file, spec)) and (forbidden or not reach())
    with network(offline=alone):
        if alone:
            left = {work.task for work in planned(file, spec, results).left}
            missing = [needed.asked for needed in needs_of(file, spec, left) if not needed.is_here()]
            if missing:
                say = not_cached if forbidden else no_network
                command = f"python -m harness download {file.path} {spec.name}"
                hint = f"({command} fetches all that is missing, where there is a network)"
                raise HarnessError("\n".join([*dict.fromkeys(map(say, missing)), hint]))
        yield
