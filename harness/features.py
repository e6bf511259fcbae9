"""Tokenised data: ragged integer columns grouped by example, memory-mapped from a cache that is keyed by content."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.disk import disk_errors, remove, temporary_name, to_json
from harness.errors import HarnessError
from harness.files import file_hash

CONTENT = "columns.json"
"""The names of the columns, and the checksums of all files."""

FEATURES_VERSION = 1
"""Raise when the code turns the same text into other features."""


@dataclass(frozen=True)
class Ragged:
    """Rows of different length in one flat array: row ``i`` is ``values[offsets[i]:offsets[i + 1]]``."""

    values: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, rows: Iterable[Sequence[float]], dtype: Any = np.int32) -> Ragged:
        """Pack rows of numbers."""
        rows = list(rows)
        offsets = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum([len(row) for row in rows], out=offsets[1:])
        values = np.fromiter((value for row in rows for value in row), dtype=dtype, count=int(offsets[-1]))
        return cls(values, offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> np.ndarray:
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    @property
    def lengths(self) -> np.ndarray:
        """Length of every row, ``(rows,)``."""
        return np.diff(self.offsets)


@dataclass(frozen=True)
class Features:
    """The instances of a split, ready to be collated.

    ``columns`` holds a row per instance (``input_ids``; ``token_type_ids`` and ``labels`` where there are any).
    ``groups`` ``(examples + 1,)`` are offsets: the instances of example ``i`` are ``groups[i]`` to ``groups[i + 1]``.
    """

    columns: Mapping[str, Ragged]
    groups: np.ndarray

    def __len__(self) -> int:
        """The number of groups (examples)."""
        return len(self.groups) - 1

    def instances(self, groups: Iterable[int]) -> list[int]:
        """The instance rows of the given groups, in order."""
        return [row for group in groups for row in range(self.groups[group], self.groups[group + 1])]

    @property
    def sizes(self) -> np.ndarray:
        """Instances per group, ``(groups,)``."""
        return np.diff(self.groups)

    @property
    def lengths(self) -> np.ndarray:
        """The longest input of each group in tokens, ``(groups,)``; every group has at least one instance."""
        return np.maximum.reduceat(self.columns["input_ids"].lengths, self.groups[:-1])


def pack(rows: Iterable[Sequence[Mapping[str, Sequence[float]]]]) -> Features:
    """Features from one list of instances (column name -> row) per example; examples without instances are dropped."""
    kept = [instances for instances in rows if instances]
    if not kept:
        raise HarnessError("there is nothing to read: the split holds no example that this model can use")
    flat = [instance for instances in kept for instance in instances]
    dtypes = {"labels": np.float32}
    columns = {name: Ragged.of((row[name] for row in flat), dtypes.get(name, np.int32)) for name in flat[0]}
    groups = np.zeros(len(kept) + 1, dtype=np.int64)
    np.cumsum([len(instances) for instances in kept], out=groups[1:])
    return Features(columns, groups)


def cached(folder: Path, key: str, make: Callable[[], Features]) -> Features:
    """The features stored under ``key`` (a content hash), made and stored first when they are not there.

    The arrays come memory-mapped. A stored copy that does not fit its checksums is made again; big files are checked
    once per process.

    Raises:
        HarnessError: the disk says no.
    """
    place = folder / "features" / key
    with disk_errors(place.parent):
        if not place.is_dir():
            _save(make(), place)
        try:
            return _load(place)
        except (OSError, ValueError, KeyError, TypeError, HarnessError):
            _remove(place)
            _save(make(), place)
            return _load(place)


def _save(features: Features, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    draft = temporary_name(place, "new")
    remove(draft)
    draft.mkdir()
    try:
        _write(draft / "groups.npy", features.groups)
        for name, column in features.columns.items():
            _write(draft / f"{name}.values.npy", column.values)
            _write(draft / f"{name}.offsets.npy", column.offsets)
        sums = {path.name: file_hash(path) for path in sorted(draft.iterdir())}
        content = {"columns": sorted(features.columns), "sums": sums}
        (draft / CONTENT).write_bytes(to_json({**content, "sum": _digest(content)}))
        try:
            os.rename(draft, place)
        except OSError:
            if not place.is_dir():  # another process was faster: its copy holds the same
                raise
    finally:
        remove(draft)


def _write(path: Path, array: np.ndarray) -> None:
    """As `numpy.save`, which does not tell a full disk from other troubles."""
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.write(np.ascontiguousarray(array).data)


def _load(place: Path) -> Features:
    def array(name: str) -> np.ndarray:
        return np.load(place / f"{name}.npy", mmap_mode="r", allow_pickle=False)

    content = json.loads((place / CONTENT).read_bytes())
    if content.pop("sum") != _digest(content):
        raise ValueError(f"{place} is damaged")
    if any(file_hash(place / name) != expected for name, expected in content["sums"].items()):
        raise ValueError(f"{place} is damaged")
    columns = {name: Ragged(array(f"{name}.values"), array(f"{name}.offsets")) for name in content["columns"]}
    return Features(columns, array("groups"))


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(to_json(content)).hexdigest()


def _remove(place: Path) -> None:
    """Remove a damaged copy, all at once: another process may just do the same."""
    damaged = temporary_name(place, "old")
    remove(damaged)
    with contextlib.suppress(FileNotFoundError):
        os.rename(place, damaged)
    remove(damaged)
