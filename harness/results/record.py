"""The record of one run: its folder on disk, written whole or not at all, read only when its checksums fit."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from harness.errors import HarnessError
from harness.io import disk_errors, encode, leftovers, numbers, remove, sync_folder, temporary_name, to_json

SCHEMA = 1
RECORD, PREDICTIONS, HISTORY = "record.json", "predictions.jsonl", "history.jsonl"
EFFICIENCY, LOG, CHECKSUMS = "efficiency.json", "run.log", "checksums.json"


@dataclass(frozen=True)
class Record:
    """The result of one run: ``data`` is record.json, ``efficiency`` is efficiency.json (all that the clock decides).

    Scores are fractions, ``scores[task][split][metric]``; an undefined one is NaN. ``folder`` is None for a record
    that is not on disk; it has no predictions, no history and no log.
    """

    folder: Path | None
    data: dict[str, Any]
    efficiency: dict[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        return cast(str, self.data["fingerprint"])

    @property
    def status(self) -> str:
        """``finished`` or ``failed``."""
        return cast(str, self.data["status"])

    @property
    def finished(self) -> bool:
        return self.status == "finished"

    @property
    def task(self) -> str:
        """The task that was trained; ``scores`` may hold diagnostics beside it."""
        return cast(str, self.data["task"])

    @property
    def model(self) -> str:
        return cast(str, self.data["model"])

    @property
    def architecture(self) -> str:
        return cast(str, self.data.get("architecture", ""))

    @property
    def seed(self) -> int:
        return cast(int, self.data["seed"])

    @property
    def scores(self) -> dict[str, dict[str, dict[str, float]]]:
        return self.data.get("scores") or {}

    @property
    def selection_score(self) -> float | None:
        """The score that chose the checkpoint."""
        return self.data.get("selection_score")

    @property
    def missing(self) -> dict[str, dict[str, str]]:
        """Why a (task, split) has no scores: ``missing[task][split]`` is a reason."""
        return self.data.get("missing") or {}

    @property
    def invalid(self) -> dict[str, dict[str, float]]:
        """Share of generated answers that stand for no prediction, ``invalid[task][split]``; {} without any."""
        return self.data.get("invalid") or {}

    @property
    def overlap(self) -> dict[str, dict[str, int]]:
        """Evaluated examples whose texts are in the training data, too; {} in records from before it was counted."""
        return self.data.get("overlap") or {}

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Examples, ``counts[task][split]``."""
        return self.data.get("counts") or {}

    @property
    def parameters(self) -> dict[str, int]:
        """``total`` and ``trained``."""
        return self.data.get("parameters") or {}

    @property
    def settings(self) -> dict[str, Any]:
        return self.data.get("settings") or {}

    @property
    def provenance(self) -> dict[str, Any]:
        return self.data.get("provenance") or {}

    @property
    def caveats(self) -> tuple[str, ...]:
        """Short words on why the numbers are not comparable with others."""
        return tuple(self.data.get("caveats") or ())

    @property
    def error(self) -> str | None:
        """Why a failed run failed, in one line."""
        return (self.data.get("error") or {}).get("reason")

    def predictions(self) -> Iterator[dict[str, Any]]:
        """The lines of predictions.jsonl, read as they are asked for."""
        for row in self._lines(PREDICTIONS):
            if "scores" in row:
                row["scores"] = numbers(row["scores"])
            if isinstance(row.get("label"), float):
                row["prediction"] = numbers(row.get("prediction"))
            yield row

    def history(self) -> list[dict[str, Any]]:
        """The learning curve: one entry per evaluation, in order of steps."""
        return [numbers(row) for row in self._lines(HISTORY)]

    def log(self) -> str:
        """The log of the run; empty where none was kept."""
        file = self.folder / LOG if self.folder else None
        return file.read_text(encoding="utf-8", errors="replace") if file and file.is_file() else ""

    def _lines(self, name: str) -> Iterator[dict[str, Any]]:
        if self.folder is None:
            return
        with disk_errors(self.folder), open(self.folder / name, encoding="utf-8", newline="\n") as file:
            for line in file:
                yield json.loads(line)


def read_record(folder: str | Path) -> Record:
    """The record in the folder of a run, ``results/<benchmark>/runs/<task>/<model>/seed<seed>-<fingerprint>``.

    Raises:
        HarnessError: no record there, or one that was altered or cut short.
    """
    path = Path(folder).resolve()
    with disk_errors(path):
        if not path.is_dir():
            raise HarnessError(f"{folder}: no such folder; runs are in results/<benchmark>/runs/<task>/<model>/")
        try:
            data = load(path)
        except Damaged as damage:
            raise HarnessError(f"{folder}: {damage}") from None
    return Record(path, data, load_efficiency(path / EFFICIENCY) or {})


class Damaged(Exception):
    """A record that must not be used, and why."""


def write_folder(
    folder: Path,
    record: Mapping[str, Any],
    predictions: Iterable[Mapping[str, Any]],
    history: Iterable[Mapping[str, Any]],
    efficiency: Mapping[str, Any],
    log: str | None,
) -> None:
    """Write all files of a record, and their checksums, into a new folder."""
    folder.mkdir()
    contents: dict[str, Iterable[bytes]] = {
        RECORD: [to_json(record)],
        PREDICTIONS: (to_json(row, indent=None) for row in predictions),
        HISTORY: (to_json(row, indent=None) for row in history),
        EFFICIENCY: [to_json(efficiency)],
    }
    if log is not None:
        contents[LOG] = [encode(log)]
    sums = {name: _write(folder / name, parts) for name, parts in contents.items()}
    _write(folder / CHECKSUMS, [_checksums(sums)])
    sync_folder(folder)


def _write(path: Path, parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    with open(path, "wb") as file:
        for part in parts:
            digest.update(part)
            file.write(part)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _checksums(sums: Mapping[str, str]) -> bytes:
    # efficiency.json and the log are left out: equal runs leave equal checksums.
    return to_json({name: sums[name] for name in (RECORD, PREDICTIONS, HISTORY)})


def put(new: Path, target: Path) -> None:
    """Rename ``new`` to ``target``; what was there before comes back if that fails."""
    if not os.path.lexists(target):
        os.rename(new, target)
    else:
        old = temporary_name(target, "old")
        os.rename(target, old)
        try:
            os.rename(new, target)
        except BaseException:
            os.rename(old, target)
            raise
        remove(old)
    sync_folder(target.parent)


def settle_leftovers(folder: Path) -> None:
    """Tidy up after killed processes: half-written records go, whole ones that had no place yet get it."""
    for path, kind, target in leftovers(folder):
        # "new" was about to replace all but a finished record; "old" had to make room and lost its successor.
        wanted = not is_finished(target) if kind == "new" else not target.exists()
        if wanted and _is_whole(path, target):
            put(path, target)
        remove(path)


def _is_whole(folder: Path, target: Path) -> bool:
    try:
        load(folder, target)
    except Damaged:
        return False
    return True


def is_finished(folder: Path) -> bool:
    """Whether the folder holds the undamaged record of a run that did not fail."""
    try:
        return bool(load(folder)["status"] == "finished")
    except Damaged:
        return False


def load(folder: Path, target: Path | None = None) -> dict[str, Any]:
    """record.json of a folder whose checksums fit and that is in its place (or would be as ``target``)."""
    try:
        content, checksums = (folder / RECORD).read_bytes(), (folder / CHECKSUMS).read_bytes()
        sums = {RECORD: hashlib.sha256(content).hexdigest()}
        for name in (PREDICTIONS, HISTORY):
            with open(folder / name, "rb") as file:
                sums[name] = hashlib.file_digest(file, "sha256").hexdigest()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise Damaged(f"{Path(error.filename).name} is missing") from None
    if checksums != _checksums(sums):
        raise Damaged("altered or cut short (its checksums do not fit)")
    try:
        data = json.loads(content)
        place = (data["task"], data["model"], f"seed{data['seed']}-{data['fingerprint'][:12]}")
        if data["schema"] != SCHEMA or data["status"] not in ("finished", "failed"):
            raise Damaged(f"not a record of schema {SCHEMA}: made by another version of this program")
    except (ValueError, KeyError, TypeError):
        raise Damaged("not a record") from None
    if (target or folder).parts[-3:] != place:
        raise Damaged("the record of another run, copied or renamed")
    for key in data.keys() & {"scores", "selection_score", "invalid"}:
        data[key] = numbers(data[key])
    return cast(dict[str, Any], data)


def load_efficiency(path: Path) -> dict[str, Any] | None:
    """The content of an efficiency.json; None where it is damaged (no score depends on it)."""
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, FileNotFoundError):
        return None
    return content if isinstance(content, dict) else None
