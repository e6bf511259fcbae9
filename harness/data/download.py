"""What a benchmark needs of the Hub: whether it is on this machine, how large it is, and fetching it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.data.hub import NO_FOLDERS, hub_data, hub_revision, resolve_checkpoint, wanted_files
from harness.data.hub_access import Asked, ask, network
from harness.errors import HarnessError
from harness.io import read_file
from harness.task.task import Task

INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class DataSet:
    """The data of a task."""

    task: Task

    @property
    def asked(self) -> Asked:
        """What it is called on the Hub."""
        assert self.task.hub is not None
        return Asked("data set", self.task.hub.id, self.task.hub.revision)

    @property
    def title(self) -> str:
        """What messages call it."""
        assert self.task.hub is not None
        return f"data set {self.task.hub.id}" + (f", {self.task.hub.config}" if self.task.hub.config else "")

    def fetch(self) -> None:
        """Have it in the cache."""
        assert self.task.hub is not None
        commit, _ = hub_revision(self.task)
        hub_data(self.task.hub, commit, self.task.train_split or self.task.validation_splits[0])

    def size(self) -> int:
        """Bytes of its files on the Hub."""
        import datasets
        from huggingface_hub import HfApi

        source, (commit, _) = self.task.hub, hub_revision(self.task)
        assert source is not None

        def sizes() -> int:
            builder = datasets.load_dataset_builder(source.id, source.config, revision=commit)
            data_files: Any = builder.config.data_files or {}
            paths = [str(url).partition(f"{commit}/")[2] for urls in data_files.values() for url in urls]
            infos = HfApi().get_paths_info(source.id, paths, repo_type="dataset", revision=commit)
            return sum(getattr(info, "size", 0) for info in infos)

        return ask(self.asked, sizes)

    def is_here(self) -> bool:
        """Whether the cache has it."""
        return _without_network(self.fetch)


@dataclass(frozen=True)
class CheckpointFiles:
    """A checkpoint; without its ``weights`` where only its tokenizer is wanted."""

    name: str
    revision: str | None
    weights: bool = True

    @property
    def asked(self) -> Asked:
        """What it is called on the Hub."""
        return Asked("checkpoint", self.name, self.revision)

    @property
    def title(self) -> str:
        """What messages call it."""
        return f"checkpoint {self.name}" if self.weights else f"tokenizer of {self.name}"

    def fetch(self) -> None:
        """Have it in the cache.

        Raises:
            HarnessError: as `resolve_checkpoint`; a part of it is missing.
        """
        folder = resolve_checkpoint(self.name, self.revision, weights=self.weights).folder
        if self.weights and (missing := [name for name in _shards(folder) if not (folder / name).is_file()]):
            raise HarnessError(f"{self.asked}: {', '.join(missing)} is not in the cache")

    def size(self) -> int:
        """Bytes of its files on the Hub that the cache does not have."""
        from huggingface_hub import snapshot_download

        def sizes() -> int:
            patterns = wanted_files(self.weights)
            files: Any = snapshot_download(
                self.name, revision=self.revision, allow_patterns=patterns, ignore_patterns=[*NO_FOLDERS], dry_run=True
            )
            return sum(file.file_size or 0 for file in files if file.will_download)

        return ask(self.asked, sizes)

    def is_here(self) -> bool:
        """Whether the cache has it."""
        return _without_network(self.fetch)


Needed = DataSet | CheckpointFiles


def _shards(folder: Path) -> Iterable[str]:
    """The files that an index of weights names."""
    try:
        return sorted(set(json.loads(read_file(folder / INDEX))["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError, HarnessError):
        return ()


def _without_network(fetch: Callable[[], None]) -> bool:
    try:
        with network(offline=True):
            fetch()
    except HarnessError:
        return False
    return True
