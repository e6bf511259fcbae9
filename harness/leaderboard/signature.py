"""The signature of a row: in one short line, all that a number depends on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from harness.io import fingerprint
from harness.results.fingerprint import DataIdentity
from harness.results.record import Record
from harness.statistics import VERSION


def signature(model: str, records: Sequence[Record]) -> str:
    """``checkpoint@revision | data | seeds | recipe | version | statistics``; empty without finished records."""
    if not records:
        return ""
    checkpoints = dict.fromkeys(_checkpoint(model, record) for record in records)
    sources: dict[str, dict[str, DataIdentity]] = {}
    for record in records:
        for task, data in record.settings.data.items():
            sources.setdefault(data.source, {})[task] = data
    data_parts = [_data(source, by_task) for source, by_task in sorted(sources.items())]
    versions = sorted({f"v{record.provenance['harness']}" for record in records if "harness" in record.provenance})
    seeds = seed_words(sorted({record.seed for record in records}))
    parts = ["+".join(checkpoints), "+".join(data_parts), seeds, _recipe(records), "+".join(versions)]
    parts.append(f"statistics {VERSION}")
    return " | ".join(filter(None, parts))


def _checkpoint(model: str, record: Record) -> str:
    if not record.checkpoint:
        return f"{model}@random weights"
    if record.revision:
        return f"{record.checkpoint}@{record.revision[:7]}"
    # A folder is identified by its content; its path differs between machines, and its name often says only `model`.
    return f"{model}@{(record.settings.model.content or 'unpinned')[:8]}"


def _data(source: str, by_task: Mapping[str, DataIdentity]) -> str:
    if source == "sample":
        return source
    revisions = dict.fromkeys(data.revision[:7] for data in by_task.values() if data.revision)
    plain = {task: data.model_dump(exclude_none=True) for task, data in by_task.items()}
    return f"{source}@{'+'.join(revisions) or fingerprint(plain)[:8]}"


def seed_words(seeds: Sequence[int]) -> str:
    """``seed 1``, ``seeds 1-3,7``: seeds that follow one another have the same distance to their position."""
    ranges = []
    for _, group in groupby(enumerate(seeds), key=lambda item: item[1] - item[0]):
        consecutive = [seed for _, seed in group]
        ranges.append("-".join(map(str, dict.fromkeys((consecutive[0], consecutive[-1])))))
    return f"seed{'s' * (len(seeds) > 1)} {','.join(ranges)}"


def _recipe(records: Sequence[Record]) -> str:
    digests = {record.task: fingerprint({"recipe": record.settings.recipe})[:8] for record in records}
    if len(set(digests.values())) == 1:
        return f"recipe {digests[records[0].task]}"
    return f"recipes {fingerprint(digests)[:8]}"
