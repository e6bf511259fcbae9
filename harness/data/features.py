"""Tokenised data: ragged integer columns grouped by example, memory-mapped from a cache that is keyed by content."""

from __future__ import annotations

import contextlib
import os
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np

from harness.errors import HarnessError
from harness.io import digest, disk_errors, file_hash, from_json, read_file, remove, temporary_name, to_json
from harness.output import complain

CONTENT = "columns.json"
"""The names of the columns, and the checksums of all files."""

FEATURES_VERSION = 2
"""Raise when the code turns the same text into other features."""

BUFFER = 2**18
"""Numbers of a column that are kept in memory before they are written."""

Group = Sequence[Mapping[str, Sequence[float]]]
"""The instances of one example: column name -> row."""


@dataclass(frozen=True)
class Ragged:
    """Rows of different length in one flat array: row ``i`` is ``values[offsets[i]:offsets[i + 1]]``."""

    values: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> np.ndarray:
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    @property
    def lengths(self) -> np.ndarray:
        """Length of every row, ``(rows,)``."""
        return np.diff(np.asarray(self.offsets))


@dataclass(frozen=True)
class Features:
    """The instances of a split, ready to be collated.

    ``columns`` holds a row per instance: ``input_ids``; ``token_type_ids`` and ``labels`` where there are any;
    ``truncated``, which is empty, or holds the number of tokens that were too many.
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

    @cached_property
    def sizes(self) -> np.ndarray:
        """Instances per group, ``(groups,)``."""
        return np.diff(np.asarray(self.groups))

    @cached_property
    def truncated(self) -> int:
        """The groups with an input that lost tokens because it was too long."""
        if "truncated" not in self.columns:
            return 0
        lost = self.columns["truncated"].lengths > 0
        return int(np.logical_or.reduceat(lost, self.groups[:-1]).sum())

    @cached_property
    def lengths(self) -> np.ndarray:
        """The longest input of each group in tokens, ``(groups,)``; every group has at least one instance."""
        return np.maximum.reduceat(self.columns["input_ids"].lengths, self.groups[:-1])


def pack(groups: Iterable[Group]) -> Features:
    """Features in memory; examples without instances are dropped."""
    arrays = _gather(groups, lambda name, typecode: _Growing(typecode))
    return _features(_columns(arrays), lambda name: arrays[name].array())


def _features(columns: Iterable[str], array: Callable[[str], np.ndarray]) -> Features:
    """Features of arrays (see `_gather`)."""
    ragged = {column: Ragged(array(f"{column}.values"), array(f"{column}.offsets")) for column in columns}
    return Features(ragged, array("groups"))


def _columns(arrays: Iterable[str]) -> list[str]:
    return [name.removesuffix(".values") for name in arrays if name.endswith(".values")]


class _Growing:
    """A one-dimensional array that grows, in memory or, with a path, in an ``.npy`` file.

    A list array in a memory-mapped Arrow file was measured against it: Arrow splits a column into one piece per
    written batch, so that reading a row took 1.2 times as long and a million rows half as much memory again.

    Args:
        typecode: the type of its numbers, as `array.array` names it.
        path: a new file.
    """

    def __init__(self, typecode: str, path: Path | None = None):
        self.buffer: array[Any] = array(typecode)
        self.written = 0
        self.file: IO[bytes] | None = open(path, "wb") if path else None  # noqa: SIM115
        self._write_header()

    def array(self) -> np.ndarray:
        """What an array in memory holds."""
        return np.frombuffer(self.buffer, dtype=self.buffer.typecode)

    def flush(self) -> None:
        """Write what is in memory to the file, if there is one."""
        if self.file is not None:
            self.file.write(self.buffer)
            self.written += len(self.buffer)
            del self.buffer[:]

    def close(self) -> None:
        """Write the rest, and the final size."""
        self.flush()
        self._write_header()
        if self.file is not None:
            self.file.close()

    def _write_header(self) -> None:
        """NumPy leaves room in a header for a larger first dimension, so that it can be written again in place."""
        if self.file is not None:
            self.file.seek(0)
            descr = np.dtype(self.buffer.typecode).str
            header = {"descr": descr, "fortran_order": False, "shape": (self.written,)}
            np.lib.format.write_array_header_1_0(self.file, header)


def _gather(groups: Iterable[Group], new: Callable[[str, str], _Growing]) -> dict[str, _Growing]:
    """Arrays ``groups`` and, for each column, ``<name>.values`` and ``<name>.offsets``, filled group by group.

    Args:
        new: gives the empty array of a name and a typecode.
    """
    arrays: dict[str, _Growing] = {}
    columns: dict[str, tuple[_Growing, _Growing]] = {}
    ends: dict[str, int] = {"groups": 0}
    for instances in filter(None, groups):
        if not arrays:
            arrays["groups"] = new("groups", "q")
            arrays["groups"].buffer.append(0)
            for name in instances[0]:
                values = arrays[f"{name}.values"] = new(f"{name}.values", "f" if name == "labels" else "i")
                offsets = arrays[f"{name}.offsets"] = new(f"{name}.offsets", "q")
                offsets.buffer.append(0)
                columns[name], ends[name] = (values, offsets), 0
        for instance in instances:
            for name, (values, offsets) in columns.items():
                row = instance[name]
                values.buffer.extend(row)
                ends[name] += len(row)
                offsets.buffer.append(ends[name])
        ends["groups"] += len(instances)
        arrays["groups"].buffer.append(ends["groups"])
        for grown in arrays.values():
            if len(grown.buffer) > BUFFER:
                grown.flush()
    if not arrays:
        raise HarnessError("there is nothing to read: the split holds no example that this model can use")
    return arrays


def cached(folder: Path, key: str, make: Callable[[], Iterable[Group]]) -> Features:
    """The features stored under ``key`` (a content hash), made and stored first when they are not there.

    They are written as ``make`` gives them, so that never all of them are in memory, and come memory-mapped. A stored
    copy that does not fit its checksums is made again, with a line that says so; big files are checked once a process.

    Raises:
        HarnessError: a file that the disk does not take or give.
    """
    target = folder / "features" / key
    with disk_errors(target.parent):
        if os.path.lexists(target):
            try:
                return _load(target)
            except (OSError, ValueError, LookupError, TypeError, AttributeError, HarnessError):
                complain(f"{target}: damaged, and made again")
                _remove(target)
        _save(make(), target)
        return _load(target)


def _save(groups: Iterable[Group], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = temporary_name(target, "new")
    remove(draft)
    draft.mkdir()
    try:
        with contextlib.ExitStack() as files:

            def new(name: str, typecode: str) -> _Growing:
                grown = _Growing(typecode, draft / f"{name}.npy")
                files.callback(grown.close)
                return grown

            arrays = _gather(groups, new)
        content = {"columns": _columns(arrays), "sums": {path.name: file_hash(path) for path in draft.iterdir()}}
        (draft / CONTENT).write_bytes(to_json({**content, "sum": digest(content)}))
        try:
            os.rename(draft, target)
        except OSError:
            if not target.is_dir():  # another process was faster: its copy holds the same
                raise
    finally:
        remove(draft)


def _load(folder: Path) -> Features:
    content = from_json(read_file(folder / CONTENT))
    damaged = content.pop("sum") != digest(content)
    if damaged or any(file_hash(folder / name) != expected for name, expected in content["sums"].items()):
        raise ValueError(f"{folder} is damaged")
    return _features(
        content["columns"], lambda name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
    )


def _remove(folder: Path) -> None:
    """Remove a damaged copy, all at once: another process may just do the same."""
    damaged = temporary_name(folder, "old")
    remove(damaged)
    with contextlib.suppress(FileNotFoundError):
        os.rename(folder, damaged)
    remove(damaged)
