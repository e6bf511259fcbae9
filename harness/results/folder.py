"""The folder of a record: written whole or not at all, read only when its checksums fit and what it holds is sound."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.errors import HarnessError
from harness.io import (
    disk_errors,
    encode,
    from_json,
    hash_file,
    leftovers,
    plain,
    put,
    read_file,
    remove,
    sync,
    sync_folder,
    to_json,
    usable,
    write_file,
)
from harness.results.fields import Damaged
from harness.results.index import run_name
from harness.results.record import (
    HISTORY,
    LOG,
    OLD_HISTORY,
    PREDICTIONS,
    ROWS,
    SCHEMA,
    CaveatKind,
    Efficiency,
    Record,
    in_order,
    problem,
    renamed,
)

RECORD, EFFICIENCY, CHECKSUMS = "record.json", "efficiency.json", "checksums.json"
OTHER_MEASURES = {
    "inference_examples_per_second",
    "inference_batch_size",
    "batch_examples_per_second",
    "peak_process_bytes",
}
"""What older versions measured in ways that differed between models, or depended on the order of runs."""


def read_record(folder: str | Path) -> Record:
    """The record in the folder of a run, ``results/<benchmark>/runs/<task>/<model>/seed<seed>-<fingerprint>``.

    Raises:
        HarnessError: no record there, or one that was altered or cut short.
    """
    path = usable(folder).resolve()
    with disk_errors(path):
        if not path.is_dir():
            raise HarnessError(f"{folder}: no such folder; runs are in results/<benchmark>/runs/<task>/<model>/")
        try:
            return load(path)
        except Damaged as damage:
            raise HarnessError(f"{folder}: {damage}") from None


NO_FILE = (errno.EISDIR, errno.ELOOP, errno.EINVAL, errno.ENXIO, errno.EFBIG)
"""What the disk says of a thing that is no regular file, or too large for one of ours."""


def load(
    folder: Path, target: Path | None = None, on_lost_times: Callable[[str], None] = lambda message: None
) -> Record:
    """The record in a folder whose checksums fit and that is in its place (or would be as ``target``).

    Args:
        on_lost_times: is given a message where efficiency.json is damaged; no score depends on it.

    Raises:
        Damaged: there is none that can be trusted.
    """
    inside = f"{folder}{os.sep}"  # of thousands of records, making paths is a part of the time
    history = OLD_HISTORY if os.path.exists(inside + OLD_HISTORY) else HISTORY
    try:
        content, checksums = read_file(inside + RECORD), read_file(inside + CHECKSUMS)
        sums = {RECORD: hashlib.sha256(content).hexdigest()}
        sums |= {name: hash_file(inside + name) for name in (PREDICTIONS, history)}
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise Damaged(f"{Path(error.filename).name} is missing") from None
        if error.errno in NO_FILE:
            raise Damaged(f"{Path(error.filename).name}: {error.strerror}") from None
        raise
    if checksums != _as_json(sums):
        raise Damaged("altered or cut short (its checksums do not fit)")
    try:
        efficiency = parse_efficiency(read_file(inside + EFFICIENCY))
    except (ValueError, OSError):
        on_lost_times(f"{folder / EFFICIENCY}: damaged: the times of this run are not shown")
        efficiency = Efficiency()
    record = parse_record(content, folder, efficiency, (sums[PREDICTIONS], sums[history]))
    place = target or folder
    tests = {False, record.predicts_tests_of is not None}
    names = {run_name(record.seed, record.fingerprint, of_tests) for of_tests in tests}
    if place.parts[-3:-1] != (record.task, record.model) or place.name not in names:
        raise Damaged("the record of another run, copied or renamed")
    return record


def _as_json(sums: Mapping[str, str]) -> bytes:
    """As `to_json`, in a tenth of its time: it is asked for of every record."""
    lines = ",\n".join(f'  "{name}": "{value}"' for name, value in sorted(sums.items()))
    return f"{{\n{lines}\n}}\n".encode()


def write_folder(
    folder: Path,
    record: Record,
    predictions: Iterable[Mapping[str, Any]],
    history: Iterable[Mapping[str, Any]],
    log: str | None,
) -> None:
    """Write all files of a record, and their checksums, into a new folder."""
    folder.mkdir()
    contents: dict[str, Iterable[bytes]] = {
        RECORD: [to_json({"schema": SCHEMA, **record.model_dump()})],
        PREDICTIONS: (to_json(row, indent=None) for row in checked_rows(PREDICTIONS, predictions)),
        HISTORY: (to_json(row, indent=None) for row in checked_rows(HISTORY, history)),
        EFFICIENCY: [to_json(record.efficiency.measured())],
    }
    if log is not None:
        contents[LOG] = [encode(log)]
    sums = {name: _write(folder / name, parts) for name, parts in contents.items()}
    # efficiency.json and the log are left out: equal runs leave equal checksums.
    _write(folder / CHECKSUMS, [to_json({name: sums[name] for name in (RECORD, PREDICTIONS, HISTORY)})])
    sync_folder(folder)


def checked_rows(name: str, rows: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Rows for the file of this ``name``, as they can be read again.

    Raises:
        HarnessError: a row that could not.
    """
    for row in rows:
        try:
            yield ROWS[name].validate_python(plain(row))
        except ValidationError as error:
            raise HarnessError(f"{name}: a row that no record can hold ({problem(error)})") from None


def replace_efficiency(record: Record, efficiency: Efficiency) -> None:
    """Replace the efficiency.json of a record, which no checksum covers."""
    if record.folder is not None:
        write_file(record.folder / EFFICIENCY, to_json(efficiency.measured()))


def _write(path: Path, parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    with open(path, "wb") as file:
        for part in parts:
            digest.update(part)
            file.write(part)
        sync(file)
    return digest.hexdigest()


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
        return load(folder).finished
    except Damaged:
        return False


# What record.json and efficiency.json hold ------------------------------------------------------------------------


Digests = tuple[str | None, str | None]
"""The checksums of predictions and history; None where they have not been read."""
_SCHEMA_LINE = f'\n  "schema": {SCHEMA},'.encode()


def parse_record(content: bytes, folder: Path, efficiency: Efficiency, digests: Digests = (None, None)) -> Record:
    """The record with this content of record.json, of this schema or an older one.

    Raises:
        Damaged: it is no record, or one of a newer version of this program.
    """
    if _SCHEMA_LINE in content and b"NaN" not in content and b"Infinity" not in content:
        with contextlib.suppress(ValidationError):  # what is wrong is said below
            fields = content.replace(_SCHEMA_LINE, b"", 1)  # as we write it, it is checked as it is parsed
            return completed(Record.model_validate_json(fields), folder, efficiency, digests)
    try:
        data = from_json(content)
        schema = data.pop("schema")
        if schema not in (1, SCHEMA):
            raise Damaged(f"not a record of schema {SCHEMA}: made by another version of this program")
        if schema == 1:
            data = upgraded(data)
        return completed(Record.model_validate(data), folder, efficiency, digests)
    except ValidationError as error:
        raise Damaged(f"not a record ({problem(error)})") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Damaged("not a record") from None


def completed(record: Record, folder: Path, efficiency: Efficiency, digests: Digests) -> Record:
    """A record that was just parsed, with what record.json does not hold, and the metrics of each task in its order.

    The file has them in that of their names. Nobody else has the record yet: a copy would take twice the memory.
    """
    for task, of_task in record.scores.items():
        order = [metric for _, metric in record.columns[task].parts] if task in record.columns else []
        for split, of_split in of_task.items():
            of_task[split] = in_order(of_split, order)
    predictions, history = digests
    record.__dict__.update(folder=folder, efficiency=efficiency, predictions_digest=predictions, history_digest=history)
    return record


def parse_efficiency(content: bytes) -> Efficiency:
    """The content of an efficiency.json, of this schema or an older one.

    Raises:
        ValueError: it is none.
    """
    data = from_json(content)
    if isinstance(data, dict):
        if "warmup_seconds" in data:
            data["startup_seconds"] = data.pop("warmup_seconds")
        if data.keys() & OTHER_MEASURES:
            data.pop("latency_p95_seconds", None)  # of a few answers
        data = {name: value for name, value in data.items() if name not in OTHER_MEASURES}
    return Efficiency.model_validate(data)


def upgraded(data: dict[str, Any]) -> dict[str, Any]:
    """The content of a record.json of schema 1, as schema 2 has it.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: it is none.
    """
    data = renamed(data)
    settings, error = data.pop("settings"), data.pop("error") or {}
    seed, parent = data.pop("seed"), data.pop("parent")
    model = settings.pop("model")
    identity = {key: model[key] for key in ("architecture", "content", "config", "tokenizer") if key in model}
    named = {*identity, "name", "checkpoint", "revision", "recipe"}
    options = {key: value for key, value in model.items() if key not in named}
    data.pop("architecture")
    return {
        **data,
        "settings": {
            "model": {**identity, "options": options},
            "seed": seed,
            "parent": parent,
            **{key: value for key, value in settings.items() if key != "init_from"},
        },
        "checkpoint": model.get("checkpoint"),
        "revision": model.get("revision"),
        "init_from": settings.get("init_from"),
        "caveats": [_old_caveat(text) for text in data["caveats"]],
        "error": error.get("reason"),
        "traceback": error.get("traceback"),
    }


def _old_caveat(text: str) -> dict[str, str]:
    for kind in CaveatKind:
        before, _, _ = kind.text.partition("{}")
        if text == kind.text or (before != kind.text and text.startswith(before)):
            return {"kind": kind, "detail": text.removeprefix(before)}
    raise ValueError(f"unknown caveat {text}")
