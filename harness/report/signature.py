"""The signature of a row: in one short line, all that a number depends on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import Any

from harness.results.store import Record, fingerprint


def signature(model: str, records: Sequence[Record]) -> str:
    """``checkpoint@revision | data | seeds | recipe | version``; empty without finished records."""
    if not records:
        return ""
    seeds = sorted({record.seed for record in records})
    versions = sorted({f"v{record.provenance['harness']}" for record in records if "harness" in record.provenance})
    parts = [_model(model, records), _data(records), _seeds(seeds), _recipe(records), "+".join(versions)]
    return " | ".join(part for part in parts if part)


def _model(name: str, records: Sequence[Record]) -> str:
    found = dict.fromkeys(_checkpoint(name, record.settings.get("model") or {}) for record in records)
    return "+".join(found)


def _checkpoint(name: str, model: dict[str, Any]) -> str:
    checkpoint, revision, content = model.get("checkpoint"), model.get("revision"), model.get("content")
    if not checkpoint:
        return f"{name}@random weights"
    if revision:
        return f"{checkpoint}@{str(revision)[:7]}"
    # A folder: its content says what it is, its path only where it happens to lie.
    return f"{PurePath(str(checkpoint)).name}@{str(content or 'unpinned')[:8]}"


def _data(records: Sequence[Record]) -> str:
    sources: dict[str, dict[str, Any]] = {}
    for record in records:
        for task, data in (record.settings.get("data") or {}).items():
            if isinstance(data, dict):
                sources.setdefault(str(data.get("source", "data")), {})[task] = data
    return "+".join(_source(source, by_task) for source, by_task in sorted(sources.items()))


def _source(source: str, by_task: dict[str, Any]) -> str:
    if source == "sample":
        return source
    revisions = dict.fromkeys(str(data["revision"])[:7] for data in by_task.values() if data.get("revision"))
    return f"{source}@{'+'.join(revisions) or fingerprint(by_task)[:8]}"


def _seeds(seeds: Sequence[int]) -> str:
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    return "seeds " + ",".join(_ranges(seeds))


def _ranges(numbers: Sequence[int]) -> Iterable[str]:
    start = previous = numbers[0]
    for number in [*numbers[1:], None]:
        if number is not None and number == previous + 1:
            previous = number
            continue
        yield str(start) if start == previous else f"{start}-{previous}"
        if number is not None:
            start = previous = number


def _recipe(records: Sequence[Record]) -> str:
    digests = {record.task: fingerprint({"recipe": record.settings.get("recipe")})[:8] for record in records}
    if len(set(digests.values())) == 1:
        return f"recipe {next(iter(digests.values()))}"
    return f"recipes {fingerprint(digests)[:8]}"
