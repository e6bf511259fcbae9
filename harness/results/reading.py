"""Many records, read fast: one that was read before is read again only where a file of it has changed since.

What is kept of a record was found whole and sound; that its files are the same is told by their times, sizes and
numbers, as version control does it.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from harness.results.fields import Digest
from harness.results.folder import CHECKSUMS, EFFICIENCY, RECORD, completed, load
from harness.results.packs import Packs
from harness.results.record import HISTORY, PREDICTIONS, STRICT, Efficiency, Record

RECORDS = "records"
"""The kind of packs that hold records."""
SETTLED = 2 * 10**9
"""Nanoseconds after which a change that leaves a file's times as they are is past: clocks of disks tick slowly."""


@contextlib.contextmanager
def collection_paused() -> Iterator[None]:
    """A block or function that makes millions of objects to keep: looking for garbage would take a quarter of it."""
    paused = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if paused:
            gc.enable()


class _Packed(TypedDict):
    __pydantic_config__ = STRICT  # type: ignore[misc]

    stamp: list[list[int]]
    digests: tuple[Digest | None, Digest | None]
    efficiency: Efficiency
    record: Record


_ROWS = TypeAdapter(list[tuple[str, _Packed]])


class Records:
    """Reads records, each as `load`, and keeps what it has read in packs."""

    def __init__(self) -> None:
        self._packs = Packs(RECORDS, _ROWS)

    def load(self, folder: Path, on_lost_times: Callable[[str], None]) -> Record:
        """As `load`."""
        stamp, key = _stamp(str(folder)), "/".join(folder.parts[-3::2])
        packed = self._packs.get(folder, key) if stamp else None
        if packed is not None and packed["stamp"] == stamp:
            return completed(packed["record"], folder, packed["efficiency"], packed["digests"])
        lost: list[str] = []
        record = load(folder, on_lost_times=lost.append)
        for message in lost:
            on_lost_times(message)
        if stamp and not lost and time.time_ns() - max(time for times in stamp for time in times[:2]) > SETTLED:
            self._packs.put(folder, key, _packed(record, stamp))
        return record

    def close(self) -> None:
        """Write what is new."""
        self._packs.close()


def _packed(record: Record, stamp: list[list[int]]) -> bytes:
    """JSON of `_Packed`, without what is as it is by default."""
    parts = {
        "stamp": json.dumps(stamp),
        "digests": json.dumps([record.predictions_digest, record.history_digest]),
        "efficiency": record.efficiency.model_dump_json(exclude_defaults=True),
        "record": record.model_dump_json(exclude_defaults=True),
    }
    return ("{" + ",".join(f'"{name}":{part}' for name, part in parts.items()) + "}").encode()


def _stamp(folder: str) -> list[list[int]]:
    """What changes when a file of a record does: times, size and number of each; [] where one cannot be looked at."""
    try:
        files = [
            os.stat(f"{folder}{os.sep}{name}") for name in ("", RECORD, PREDICTIONS, HISTORY, EFFICIENCY, CHECKSUMS)
        ]
    except OSError:
        return []
    return [[status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino] for status in files]
