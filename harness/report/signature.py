"""The signature of a row: in one short line, all that a number depends on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePath

from harness.io import fingerprint
from harness.results.record import DataIdentity, Record


def signature(model: str, records: Sequence[Record]) -> str:
    """``checkpoint@revision | data | seeds | recipe | version``; empty without finished records."""
    if not records:
        return ""
    seeds = sorted({record.seed for record in records})
    versions = sorted({f"v{record.provenance['harness']}" for record in records if "harness" in record.provenance})
    parts = [_model(model, records), _data(records), _seeds(seeds), _recipe(records), "+".join(versions)]
    return " | ".join(part for part in parts if part)


def _model(name: str, records: Sequence[Record]) -> str:
    return "+".join(dict.fromkeys(_checkpoint(name, record) for record in records))


def _checkpoint(name: str, record: Record) -> str:
    if not record.checkpoint:
        return f"{name}@random weights"
    if record.revision:
        return f"{record.checkpoint}@{record.revision[:7]}"
    # A folder: its content says what it is, its path only where it happens to lie.
    return f"{PurePath(record.checkpoint).name}@{(record.settings.model.content or 'unpinned')[:8]}"


def _data(records: Sequence[Record]) -> str:
    sources: dict[str, dict[str, DataIdentity]] = {}
    for record in records:
        for task, data in record.settings.data.items():
            sources.setdefault(data.source, {})[task] = data
    return "+".join(_source(source, by_task) for source, by_task in sorted(sources.items()))


def _source(source: str, by_task: dict[str, DataIdentity]) -> str:
    if source == "sample":
        return source
    revisions = dict.fromkeys(data.revision[:7] for data in by_task.values() if data.revision)
    plain = {task: data.model_dump(exclude_none=True) for task, data in by_task.items()}
    return f"{source}@{'+'.join(revisions) or fingerprint(plain)[:8]}"


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
    digests = {record.task: fingerprint({"recipe": record.settings.recipe})[:8] for record in records}
    if len(set(digests.values())) == 1:
        return f"recipe {next(iter(digests.values()))}"
    return f"recipes {fingerprint(digests)[:8]}"
