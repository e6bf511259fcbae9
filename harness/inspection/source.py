"""The examples behind records, read again from where their benchmark read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.data.datasets import data_fingerprint, has_own_files, open_examples
from harness.data.hub_access import network
from harness.errors import HarnessError
from harness.results.record import Record
from harness.results.store import Store
from harness.task.task import Example, Task


class NotAtHand(HarnessError):
    """Why the examples of a split cannot be read here."""


class Source:
    """The data of a benchmark.

    Args:
        tasks: those that plugins or a benchmark file define, by name.
        asked: what the benchmark reads: its ``data`` (hub, sample, a folder, or these by task and suite) and
            ``allow_partial``, as the manifest has them.
        data: where the data is here, if elsewhere.
    """

    def __init__(self, tasks: Mapping[str, Task], asked: Any, data: str | Path | None = None):
        self.tasks, self.data = tasks, data
        self.asked: Mapping[str, Any] = asked if isinstance(asked, Mapping) else {}
        self._kept: dict[str, list[Example] | str] = {}

    def examples(self, record: Record, task: str, split: str) -> Sequence[Example]:
        """The examples that a record's predictions of a split are about.

        Raises:
            NotAtHand: a task that is not defined here, data that is not there, or not the same any more.
        """
        identity = record.settings.data.get(task)
        key = f"{task} {split} {identity.model_dump_json() if identity else ''}"
        if key not in self._kept:
            try:
                with network(offline=True):
                    self._kept[key] = self._read(record, task, split)
            except HarnessError as reason:
                self._kept[key] = str(reason)
        kept = self._kept[key]
        if isinstance(kept, str):
            raise NotAtHand(kept)
        return kept

    def _read(self, record: Record, name: str, split: str) -> list[Example]:
        if name not in self.tasks:
            raise NotAtHand(
                f"task '{name}' is not defined here: name its plugins with --plugins, or its file with --file"
            )
        task, identity = self.tasks[name], record.settings.data.get(name)
        source, partial = self._source(task), bool(self.asked.get("allow_partial", record.settings.allow_partial))
        if identity is None:
            raise NotAtHand("the record does not say what its data is")
        content = data_fingerprint(task, source, [split], allow_partial=partial)["content"][split]
        if content != identity.content.get(split):
            raise NotAtHand(f"the data of '{name}' {split} in {source} is not what the run read")
        limit = (identity.limit or {}).get(split)
        return list(open_examples(task, source, split, allow_partial=partial, limit=limit))

    def _source(self, task: Task) -> str | Path:
        if has_own_files(task):
            return "hub"  # it reads its own files, whatever the source
        asked = self.asked.get("data", "hub") if self.data is None else str(self.data)
        if isinstance(asked, Mapping):
            named = (task.name, task.suite, task.evaluated_by)
            asked = next((asked[name] for name in named if name in asked), "hub")
        return asked if asked in ("hub", "sample") else Path(str(asked))


def source_of(store: Store, tasks: Mapping[str, Task], data: str | Path | None = None) -> Source:
    """The data of a store's benchmark."""
    return Source(tasks, store.data(), data)
