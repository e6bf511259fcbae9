"""The learning curves of records by columns: what is drawn of a history, kept in packs."""

from __future__ import annotations

from pydantic import TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from harness.errors import HarnessError
from harness.io import open_regular, to_json
from harness.results.fields import Count, Damaged, Digest, Score
from harness.results.packs import Packs
from harness.results.record import HISTORY, STRICT, Point, Record

_HISTORY = TypeAdapter(list[Point])


@with_config(STRICT)
class Readings(TypedDict):
    """The n readings of a history: the steps; the score that chooses the checkpoint and the loss there, or None."""

    steps: list[Count]
    scores: list[Score | None]
    losses: list[Score | None]


_ROWS = TypeAdapter(list[tuple[Digest, Readings]])


class ReadingsReader:
    """Reads histories, and keeps what it has read in packs."""

    def __init__(self) -> None:
        self._packs = Packs("curves", _ROWS)

    def read(self, record: Record) -> Readings:
        """The readings of a record; none where its history cannot be read."""
        if record.folder is None or record.history_digest is None:
            return _of_points(_history(record))
        readings = self._packs.get(record.folder, record.history_digest)
        if readings is None:
            readings = _of_points(_history(record))
            if readings["steps"]:
                self._packs.put(record.folder, record.history_digest, to_json(readings, indent=None))
        return readings

    def close(self) -> None:
        """Write what is new, and give the memory back."""
        self._packs.close()


def _of_points(points: list[Point]) -> Readings:
    return {
        "steps": [point["step"] for point in points],
        "scores": [point.get("selection_score") for point in points],
        "losses": [point.get("loss") for point in points],
    }


def _history(record: Record) -> list[Point]:
    """The history, read at once."""
    if record.folder is None:
        return []
    try:
        with open_regular(record.folder / HISTORY) as file:
            return _HISTORY.validate_json(b"[" + b",".join(file) + b"]")
    except (OSError, ValidationError, HarnessError):
        try:
            return record.history()  # of an older schema
        except Damaged:
            return []
