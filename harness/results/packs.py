"""What was read from a model's records, kept in one file: a thousand small files take as long as what they would save.

The files are ``results/.cache/<kind>/<benchmark>/<model>.jsonl``: a checksum, then a line of a key and a value for each
record. They can be deleted at any time.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import TypeAdapter

from harness.errors import HarnessError
from harness.io import read_checked, write_checked

T = TypeVar("T")


@functools.lru_cache(maxsize=10_000)
def pack_file(kind: str, model: str) -> Path:
    """Where the values of a model's records are kept; ``model`` is ``results/<benchmark>/runs/<task>/<model>``."""
    folder = Path(os.path.abspath(model))
    return folder.parents[3] / ".cache" / kind / folder.parents[2].name / f"{folder.name}.jsonl"


class Packs(Generic[T]):
    """The values of one kind.

    Args:
        kind: the name of their folder.
        rows: reads and checks the lines, [(key, value), ...].
    """

    def __init__(self, kind: str, rows: TypeAdapter[list[tuple[str, T]]]) -> None:
        self._kind, self._rows = kind, rows
        self._packs: dict[Path, dict[str, T]] = {}
        self._new: dict[Path, dict[str, bytes]] = {}

    def get(self, record: Path, key: str) -> T | None:
        """The value of a key; None where it is not kept.

        Args:
            record: the folder of a record of the model.
        """
        file = self._file(record)
        if file not in self._packs:
            self._packs[file] = self._read(file)
        return self._packs[file].get(key)

    def put(self, record: Path, key: str, value: bytes) -> None:
        """Keep a value, given as JSON, from `close` on."""
        self._new.setdefault(self._file(record), {})[key] = value

    def close(self) -> None:
        """Write what is new, and give the memory back."""
        for file, new in self._new.items():
            with contextlib.suppress(HarnessError):  # a folder that is only to be read needs no cache
                lines = {_key(line): line for line in _lines(file)} if self._packs.get(file) else {}
                for key, value in new.items():
                    start = json.dumps(key).encode()
                    lines[start] = b"[" + start + b"," + value.replace(b"\n", b" ") + b"]"
                write_checked(file, b"\n".join(lines.values()), lasting=False)
        self._packs, self._new = {}, {}

    def _file(self, record: Path) -> Path:
        return pack_file(self._kind, os.path.dirname(record))

    def _read(self, file: Path) -> dict[str, T]:
        try:
            return dict(self._rows.validate_json(b"[" + b",".join(_lines(file)) + b"]"))
        except ValueError:
            return {}


def _lines(file: Path) -> list[bytes]:
    try:
        return list(filter(None, read_checked(file).split(b"\n")))
    except (OSError, ValueError):
        return []


def _key(line: bytes) -> bytes:
    """The key of a line, with its quotation marks; no key holds a comma."""
    return line[1 : line.index(b",")]
