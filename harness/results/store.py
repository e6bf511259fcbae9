"""What the harness remembers: one folder per run, written whole or not at all, and which runs are the current ones.

``results/<benchmark>/runs/<task>/<model>/seed<seed>-<fingerprint>/`` holds a record, and
``results/<benchmark>/manifest.json`` names the records that the present settings ask for.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.io import (
    disk_errors,
    encode,
    hash_file,
    leftovers,
    put,
    read_file,
    remove,
    replacing,
    sync,
    sync_folder,
    to_json,
    write_file,
)
from harness.results.choices import Choice
from harness.results.leases import Leases
from harness.results.record import (
    CHECKSUMS,
    EFFICIENCY,
    HISTORY,
    LOG,
    OLD_HISTORY,
    PREDICTIONS,
    RECORD,
    SCHEMA,
    Damaged,
    Efficiency,
    Record,
    checked_rows,
    fingerprint,
    parse_efficiency,
    parse_record,
)

__all__ = ["Entry", "Key", "Record", "Store", "benchmarks_in", "check_name", "fingerprint", "read_record"]

MANIFEST = "manifest.json"
MANIFESTS = (MANIFEST, "runs.json")
"""The names that it has; the last one in results folders of schema 1."""

Key = tuple[str, str, int]
"""What is asked for: (task, model, seed)."""

Entry = tuple[str, str, int, Record | None]
"""A (task, model, seed) and its record; None where there is none yet."""


@dataclass(frozen=True)
class Manifest:
    """The content of manifest.json: what the runs read, the current fingerprint of each, and what sweeps chose.

    A fingerprint is None before a sweep has chosen. ``configurations`` is what all seeds of a (task, model) share.
    ``table`` is what the benchmark says of its leaderboard: ``tasks`` that are shown, whether ``references`` are.
    """

    data: Any = None
    runs: dict[Key, str | None] = field(default_factory=dict)
    choices: tuple[Choice, ...] = ()
    configurations: dict[tuple[str, str], str] = field(default_factory=dict)
    table: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """The content of the file."""
        rows = [{"task": t, "model": m, "seed": s, "fingerprint": f} for (t, m, s), f in self.runs.items()]
        pairs = [{"task": t, "model": m, "configuration": c} for (t, m), c in self.configurations.items()]
        sweeps = {"sweeps": [choice.as_data() for choice in self.choices]} if self.choices else {}
        content = {"data": self.data, "table": self.table, "runs": rows, "configurations": pairs}
        return to_json({"schema": SCHEMA, **content, **sweeps})

    def settings(self) -> dict[tuple[str, str], Any]:
        """Of each (task, model), what all its seeds have in common."""
        chosen = {choice.pair: choice.chosen for choice in self.choices}
        pairs = dict.fromkeys([*self.configurations, *chosen])
        return {pair: (self.configurations.get(pair), chosen.get(pair)) for pair in pairs}


class Store:
    """The records of one benchmark in a results folder.

    Reading never writes. A record whose files do not fit their checksums is treated as not there, and ``warnings``
    says so.

    Raises:
        HarnessError: a name that is no folder name, a results path that is a file; from every method also what the
            disk says (full, no permission).
    """

    def __init__(self, results: str | Path, benchmark: str):
        self.results = Path(results)
        self.benchmark = check_name("benchmark", benchmark)
        self.folder = self.results / benchmark
        self.warnings: list[str] = []
        for place in (self.results, self.folder):
            if place.exists() and not place.is_dir():
                raise HarnessError(f"{place} is a file: results need a folder; name another one with --results")

    @property
    def cache(self) -> Path:
        """Where tokenised features and the like are kept, shared by the benchmarks of a results folder."""
        return self.results / ".cache"

    @property
    def models(self) -> Path:
        """Where the models are that stay."""
        return self.folder / "models"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """A block in which no other process changes what all runs share; waits for its turn."""
        with Leases() as leases, leases.held(self.folder / ".work" / "lock"):
            yield

    def workplaces(self) -> list[Path]:
        """The working folders of runs that are there."""
        with disk_errors(self.folder):
            return [path for path in (self.folder / ".work").glob("*") if _FINGERPRINT.fullmatch(path.name)]

    def scratch(self, fingerprint: str) -> Path:
        """The private working folder of a run that is under way; made if it is not there."""
        folder = self.folder / ".work" / _check_fingerprint(fingerprint)
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def run_folder(self, fingerprint: str, task: str, model: str, seed: int) -> Path:
        """Where the record of this run is, or will be."""
        if not isinstance(seed, int):
            raise HarnessError(f"seed {seed!r}: a seed is an integer")
        name = f"seed{seed}-{_check_fingerprint(fingerprint)[:12]}"
        return self.folder / "runs" / check_name("task", task) / check_name("model", model) / name

    def find(self, fingerprint: str, task: str, model: str, seed: int) -> Record | None:
        """The finished or failed record of exactly this run; None where there is none that can be trusted."""
        record = self._read(self.run_folder(fingerprint, task, model, seed))
        if record is not None and record.fingerprint != fingerprint:
            self._warn(f"{record.folder}: the record of another fingerprint: not used")
            return None
        return record

    def records(self) -> list[Record]:
        """All records that can be trusted, current or not, by task, model, seed and fingerprint."""
        with disk_errors(self.folder):
            folders = list((self.folder / "runs").glob("*/*/seed*-*"))
        found = [record for record in map(self._read, sorted(folders)) if record is not None]
        return sorted(found, key=lambda r: (r.task, r.model, r.seed, r.fingerprint))

    def write(
        self,
        record: Record,
        *,
        predictions: Iterable[Mapping[str, Any]] = (),
        history: Iterable[Mapping[str, Any]] = (),
        log: str | None = None,
    ) -> Record:
        """Keep a run's result: the whole folder appears at once or, on any failure, nothing changes.

        A failed or damaged record of the same run is replaced. A finished one is never touched: it is returned, and
        the new one forgotten.
        """
        record = record.model_copy(update={"benchmark": self.benchmark})
        target = self.run_folder(record.fingerprint, record.task, record.model, record.seed)
        with disk_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            settle_leftovers(target.parent)
        try:
            if not is_finished(target):
                with replacing(target) as draft:
                    write_folder(draft, record, predictions, history, log)
        except HarnessError:
            # Another process may have finished the same run meanwhile: its record stands.
            if not is_finished(target):
                raise
        written = self._read(target)
        if written is None:
            raise HarnessError(f"{target}: was written, but cannot be read back: check the disk")
        return written

    def clean(self) -> None:
        """Tidy up after killed processes: half-written things go, a record that was already whole gets its place."""
        if not self.folder.is_dir():
            return
        with self.locked(), disk_errors(self.folder):
            for folder in sorted((self.folder / "runs").glob("*/*")):
                settle_leftovers(folder)
            for folder in (self.folder, self.models, *self.workplaces(), self.cache / "features"):
                for path, _, _ in leftovers(folder):
                    remove(path)

    def update_manifest(
        self,
        fingerprints: Mapping[Key, str | None],
        data: Any = None,
        choices: Iterable[Choice] = (),
        configurations: Mapping[tuple[str, str], str] | None = None,
        table: Mapping[str, Any] | None = None,
        tasks: Collection[str] | None = None,
        models: Collection[str] | None = None,
    ) -> None:
        """Say which fingerprint is the current one of each (task, model, seed).

        Other entries stay, so that a part of a benchmark can be run, with three exceptions. All are forgotten when
        ``data`` is another than before, because their numbers stand on other data; those of other tasks and models
        than the benchmark has now are; and those of a (task, model) whose configuration has changed, or for which a
        sweep now chose another recipe: a mean is over seeds of one recipe. The order is the order given; a selection
        that leaves entries out does not move them.

        Args:
            fingerprints: None for a run that is known only when a sweep has chosen.
            data: what the benchmark reads, as a JSON value.
            choices: what sweeps chose for the (task, model) pairs in ``fingerprints``.
            configurations: for these pairs, the identity of all that their seeds share.
            table: what `table` gives later.
            tasks, models: all that the benchmark has; None: any.
        """
        for key, value in fingerprints.items():
            self._check(key, value)
        data = json.loads(to_json(data))
        with self.locked():
            known = self._manifest()
            given = Manifest(data, dict(fingerprints), tuple(choices), dict(configurations or {}), dict(table or {}))
            new = _merged(known, given, tasks, models)
            same = new.to_json() == known.to_json()
            if not same or not (self.folder / MANIFEST).exists():
                write_file(self.folder / MANIFEST, new.to_json())

    def current(self) -> list[Entry]:
        """(task, model, seed, record or None) of everything the present settings ask for, in their order."""
        runs = self._manifest().runs
        return [(t, m, s, self.find(known, t, m, s) if known else None) for (t, m, s), known in runs.items()]

    def table(self) -> dict[str, Any]:
        """What the benchmark says of its leaderboard: the ``tasks`` that it shows, whether it has ``references``."""
        return self._manifest().table

    def choices(self) -> list[Choice]:
        """What the sweeps of the present settings tried and chose, with the records of the trials."""
        found = []
        for choice in self._manifest().choices:
            key = (*choice.pair, choice.seed)
            trials = [replace(trial, record=self.find(trial.fingerprint, *key)) for trial in choice.trials]
            found.append(replace(choice, trials=tuple(trials)))
        return found

    def _manifest(self) -> Manifest:
        path = next((self.folder / name for name in MANIFESTS if (self.folder / name).exists()), None)
        if path is None:
            return Manifest()
        with disk_errors(path):
            content = path.read_bytes()
        try:
            manifest = json.loads(content)
            if manifest["schema"] not in (1, SCHEMA):
                raise ValueError("schema")
            runs = {(row["task"], row["model"], row["seed"]): row["fingerprint"] for row in manifest["runs"]}
            choices = tuple(map(Choice.of_data, manifest.get("sweeps", ())))
            rows = manifest.get("configurations", ())
            configurations = {(row["task"], row["model"]): row["configuration"] for row in rows}
            for key, fingerprint in runs.items():
                self._check(key, fingerprint)
            for choice in choices:
                for trial in choice.trials:
                    self._check((*choice.pair, choice.seed), trial.fingerprint)
            return Manifest(manifest["data"], runs, choices, configurations, dict(manifest.get("table", {})))
        except (ValueError, KeyError, TypeError, HarnessError):
            self._warn(f"{path}: damaged: not used; the next 'run' makes it anew")
            return Manifest()

    def _check(self, key: Key, fingerprint: str | None) -> None:
        """Refuse what cannot be a run's."""
        self.run_folder("0" * 64 if fingerprint is None else fingerprint, *key)

    def _read(self, folder: Path) -> Record | None:
        with disk_errors(folder):
            if not folder.is_dir():
                return None
            try:
                return load(folder, on_lost_times=self._warn)
            except Damaged as damage:
                self._warn(f"{folder}: {damage}: not used; the next 'run' does it again")
                return None

    def _warn(self, message: str) -> None:
        if message not in self.warnings:
            self.warnings.append(message)


def _merged(known: Manifest, new: Manifest, tasks: Collection[str] | None, models: Collection[str] | None) -> Manifest:
    """The new entries, and those before them that stay (see `Store.point`)."""
    if known.data != new.data:
        return new
    before, after = known.settings(), new.settings()
    given = {(task, model) for task, model, _ in new.runs}
    changed = {pair for pair in given if before.get(pair) != after.get(pair)}

    def stays(task: str, model: str) -> bool:
        wanted = (tasks is None or task in tasks) and (models is None or model in models)
        return wanted and (task, model) not in changed

    old = {key: fingerprint for key, fingerprint in known.runs.items() if stays(*key[:2])}
    runs = new.runs if old.keys() <= new.runs.keys() else {**old, **new.runs}
    others = [choice for choice in known.choices if stays(*choice.pair) and choice.pair not in given]
    left = {pair: value for pair, value in known.configurations.items() if stays(*pair) and pair not in given}
    return Manifest(new.data, runs, (*others, *new.choices), {**left, **new.configurations}, new.table)


def benchmarks_in(results: str | Path) -> list[str]:
    """The names of the benchmarks that a results folder holds.

    Raises:
        HarnessError: it is not there, is a file, or cannot be read.
    """
    folder = Path(results)
    with disk_errors(folder):
        names = [path.name for path in folder.iterdir() if any((path / manifest).is_file() for manifest in MANIFESTS)]
    return sorted(name for name in names if _NAME.fullmatch(name))


def check_name(kind: str, name: str) -> str:
    """The name itself, if it can safely be the name of a folder.

    Raises:
        HarnessError: anything but letters, digits and ``. _ - + =`` after a first letter, digit or ``_``.
    """
    if isinstance(name, str) and _NAME.fullmatch(name):
        return name
    raise HarnessError(
        f"{kind} {name!r}: a name is made of letters, digits and . _ - + =, starts with a letter, a digit or _, "
        "and has at most 100 characters"
    )


_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+=-]{0,99}")


_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


def _check_fingerprint(value: str) -> str:
    if isinstance(value, str) and _FINGERPRINT.fullmatch(value):
        return value
    raise HarnessError(f"{value!r} is no fingerprint: one has 64 hexadecimal digits")


# The folder of a record ------------------------------------------------------------------------------------------


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
    history = OLD_HISTORY if (folder / OLD_HISTORY).exists() else HISTORY
    try:
        content, checksums = read_file(folder / RECORD), read_file(folder / CHECKSUMS)
        sums = {RECORD: hashlib.sha256(content).hexdigest()}
        sums |= {name: hash_file(folder / name) for name in (PREDICTIONS, history)}
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise Damaged(f"{Path(error.filename).name} is missing") from None
        if error.errno in NO_FILE:
            raise Damaged(f"{Path(error.filename).name}: {error.strerror}") from None
        raise
    if checksums != to_json(sums):
        raise Damaged("altered or cut short (its checksums do not fit)")
    try:
        efficiency = parse_efficiency(read_file(folder / EFFICIENCY))
    except (ValueError, OSError):
        on_lost_times(f"{folder / EFFICIENCY}: damaged: the times of this run are not shown")
        efficiency = Efficiency()
    record = parse_record(content, folder, efficiency)
    if (target or folder).parts[-3:] != (record.task, record.model, f"seed{record.seed}-{record.fingerprint[:12]}"):
        raise Damaged("the record of another run, copied or renamed")
    return record


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
