"""What the harness remembers: one folder per run, written whole or not at all, and which runs are the current ones.

``results/<benchmark>/runs/<task>/<model>/seed<seed>-<fingerprint>/`` holds a record, ``seed<seed>-tests-<fingerprint>``
one of test predictions. ``results/<benchmark>/manifest.json`` names the records that the present settings ask for. A
run is known by its fingerprint: names are labels, and its record counts in whichever benchmark of the folder it lies.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, did_you_mean
from harness.io import disk_errors, leftovers, plain, read_file, remove, replacing, usable
from harness.results.ahead import read_ahead
from harness.results.fields import NAME, Damaged
from harness.results.folder import is_finished, load, settle_leftovers, write_folder
from harness.results.index import DIGITS, RESULTS, record_folders, results_beside, run_name
from harness.results.leases import Lease, Leases
from harness.results.manifest import (
    MANIFEST,
    MANIFESTS,
    Choice,
    Configuration,
    CurrentRun,
    Key,
    Manifest,
    Table,
    parse_manifest,
)
from harness.results.reading import Records
from harness.results.record import Record

LOCK = ".lock"
"""In a benchmark's folder, so that what is made in it can be renamed to what it replaces."""

Load = Callable[..., Record]
Entry = tuple[str, str, int, Record | None]
"""A (task, model, seed) and its record; None where there is none yet."""


class Store:
    """The records of one benchmark in a results folder.

    Reading writes nothing but a cache. A record whose files do not fit its checksums is not there: see ``warnings``.

    Raises:
        HarnessError: a name that is no folder name, a results path that is a file; from every method also what the
            disk says (full, no permission).
    """

    def __init__(self, results: str | Path, benchmark: str):
        self.results = usable(results)
        self.benchmark = check_name("benchmark", benchmark)
        self.folder = self.results / benchmark
        self.warnings: list[str] = []
        self._folders: dict[str, list[str]] | None = None
        for folder in (self.results, self.folder):
            if folder.exists() and not folder.is_dir():
                raise HarnessError(f"{folder} is a file: results need a folder; name another one with --results")

    @property
    def cache(self) -> Path:
        """Where tokenised features and the like are kept, shared by the benchmarks of a results folder."""
        return self.results / ".cache"

    @property
    def models(self) -> Path:
        """Where the models are that stay."""
        return self.folder / "models"

    @property
    def work(self) -> Path:
        """Where runs that are under way have their checkpoint directories, whatever their benchmark."""
        return self.results / ".work"

    @contextlib.contextmanager
    def locked(self) -> Iterator[Lease]:
        """A block in which no other process changes what all runs share; waits for its turn.

        A process that is suspended in it for minutes loses its turn: see `Lease.is_held` and `Lease.replace`.
        """
        with Leases() as leases, leases.held(self.folder / LOCK) as lease:
            yield lease

    def checkpoint_directories(self) -> list[Path]:
        """The checkpoint directories of all runs of the results folder."""
        with disk_errors(self.results):
            return [path for path in self.work.glob("*") if _FINGERPRINT.fullmatch(path.name)]

    def checkpoint_directory(self, fingerprint: str) -> Path:
        """Where a run keeps its state while it is under way, whatever its benchmark; made if it is not there."""
        folder = self.work / _check_fingerprint(fingerprint)
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def run_folder(self, fingerprint: str, task: str, model: str, seed: int, tests: bool = False) -> Path:
        """Where the record of this run is, or will be; ``tests``: that of its predictions of test splits."""
        if not isinstance(seed, int):
            raise HarnessError(f"seed {seed!r}: a seed is an integer")
        name = run_name(seed, _check_fingerprint(fingerprint), tests)
        return self.folder / "runs" / check_name("task", task) / check_name("model", model) / name

    def find(self, fingerprint: str, task: str, model: str, seed: int, load: Load = load) -> Record | None:
        """The record of exactly this run, however it ended; None where there is none that can be trusted.

        A finished record of the same fingerprint in another benchmark, or under another name of the model, is that of
        this run; it bears the name ``model``. ``load`` reads a record.
        """
        folder = self.run_folder(fingerprint, task, model, seed)
        record = self._read(folder, load)
        if record is None and not folder.exists():
            tests = self.run_folder(fingerprint, task, model, seed, tests=True)
            record = self._read(tests, load)
            folder = folder if record is None else tests
        if record is not None and record.fingerprint != fingerprint:
            self._warn(f"{record.folder}: the record of another fingerprint: not used")
            record = None
        if record is not None and record.finished:
            return record
        return self._of_other_name(fingerprint, folder, (task, model, seed)) or record

    def look_around(self) -> None:
        """See the records that other commands have made in other benchmarks since this one looked."""
        self._folders = None

    def _of_other_name(self, fingerprint: str, own: Path, key: Key) -> Record | None:
        """The finished record of a run in another folder than its ``own`` one, by the name that its model has here."""
        task, model, seed = key
        if self._folders is None:
            self._folders = record_folders(self.results)
        for folder in map(Path, self._folders.get(fingerprint[:DIGITS], ())):
            with contextlib.suppress(Damaged, OSError):
                if folder == own:
                    continue
                record = load(folder)
                if record.finished and (record.fingerprint, record.task, record.seed) == (fingerprint, task, seed):
                    return record.model_copy(update={"model": model})
        return None

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
        lease: Lease | None = None,
    ) -> Record:
        """Keep a run's result: the whole folder appears at once or, on any failure, nothing changes.

        A failed, pruned or damaged record of the same run is replaced. A finished one is never touched: it is returned,
        and the new one forgotten.

        Args:
            lease: on the run; the record is accepted from its holder alone.

        Raises:
            TakenOver: another process holds the run now.
        """
        record = record.model_copy(update={"benchmark": self.benchmark})
        key = (record.fingerprint, record.task, record.model, record.seed)
        target = self.run_folder(*key, tests=record.predicts_tests_of is not None)
        with disk_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            settle_leftovers(target.parent)
        try:
            if not is_finished(target):
                with replacing(target) as draft:
                    write_folder(draft, record, predictions, history, log)
                    if lease is not None:
                        lease.check()
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
        with disk_errors(self.results):
            folders = [self.cache / "features", self.cache / "tokenizers"]
            if self.folder.is_dir():
                with self.locked():
                    for folder in sorted((self.folder / "runs").glob("*/*")):
                        settle_leftovers(folder)
                folders += [self.folder, self.models, *self.checkpoint_directories()]
            launches = self.work.glob("launch-*")
            left = [launch for launch in launches if not any(map(Leases().is_taken, launch.iterdir()))]
            for path in [*left, *(path for folder in folders for path, _, _ in leftovers(folder))]:
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
        tests: Mapping[Key, str] | None = None,
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
            tests: the fingerprints of the test predictions that are asked for.
        """
        for key, value in fingerprints.items():
            self.run_folder("0" * 64 if value is None else value, *key)  # refuses what cannot be a run's
        pairs = (configurations or {}).items()
        given = Manifest(
            data=plain(data),
            table=Table.model_validate(dict(table or {})),
            runs=tuple(
                CurrentRun(task=t, model=m, seed=s, fingerprint=f, tests=(tests or {}).get((t, m, s)))
                for (t, m, s), f in fingerprints.items()
            ),
            configurations=tuple(Configuration(task=t, model=m, configuration=c) for (t, m), c in pairs),
            sweeps=tuple(choices),
        )

        def wanted(task: str, model: str) -> bool:
            return (tasks is None or task in tasks) and (models is None or model in models)

        written = False
        while not written:
            with self.locked() as lease, disk_errors(self.folder):
                before = self._manifest()
                new = before.followed_by(given, wanted).to_json()
                changed = new != before.to_json() or not (self.folder / MANIFEST).exists()
                written = not changed or lease.replace(self.folder / MANIFEST, new)

    def asked_for(self) -> list[tuple[str | None, Key, Record | None]]:
        """(fingerprint, key, record or None) of everything the present settings ask for, in their order."""
        return [(run.fingerprint, run.key, self._current(run)) for run in self._manifest().runs]

    def current(self) -> list[Entry]:
        """(task, model, seed, record or None) of everything the present settings ask for, in their order.

        A record bears that of its test predictions.
        """
        runs = self._manifest().runs
        read_ahead(self.run_folder(run.fingerprint, *run.key) for run in runs if run.fingerprint)
        records = Records()
        entries = [(*run.key, self._current(run, records.load)) for run in runs]
        records.close()
        return entries

    def _current(self, run: CurrentRun, load: Load = load) -> Record | None:
        record = self.find(run.fingerprint, *run.key, load) if run.fingerprint else None
        if record is not None and record.pruned:
            return None  # a result for a search alone
        if record is None or run.tests is None:
            return record
        return record.model_copy(update={"tests": self.find(run.tests, *run.key, load)})

    def table(self) -> Table:
        """What the benchmark says of its leaderboard."""
        return self._manifest().table

    def data(self) -> Any:
        """What the runs read, as the benchmark says it."""
        return self._manifest().data

    def choices(self) -> list[Choice]:
        """What the sweeps of the present settings tried and chose, with the records of the trials."""
        choices = []
        for choice in self._manifest().sweeps:
            key = (*choice.pair, choice.seed)
            trials = [
                trial.model_copy(update={"record": self.find(trial.fingerprint, *key)}) for trial in choice.trials
            ]
            choices.append(choice.model_copy(update={"trials": tuple(trials)}))
        return choices

    def _manifest(self) -> Manifest:
        with disk_errors(self.folder):
            path = next((self.folder / name for name in MANIFESTS if (self.folder / name).exists()), None)
            if path is None:
                return Manifest(data=None, runs=())
            content = read_file(path)
        try:
            return parse_manifest(content)
        except ValueError:
            self._warn(f"{path}: damaged: not used; the next 'run' makes it anew")
            return Manifest(data=None, runs=())

    def _read(self, folder: Path, load: Load = load) -> Record | None:
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


def benchmarks_in(results: str | Path) -> list[str]:
    """The names of the benchmarks that a results folder holds.

    Raises:
        HarnessError: it is not there, is a file, or cannot be read.
    """
    folder = usable(results)
    if not folder.exists():
        raise HarnessError(
            f"{folder}: no such file or folder: name the results folder, or the benchmark file that it lies beside"
        )
    with disk_errors(folder):
        names = [path.name for path in folder.iterdir() if any((path / manifest).is_file() for manifest in MANIFESTS)]
    return sorted(name for name in names if _NAME.fullmatch(name))


def results_folder(named: str | Path) -> Path:
    """The results folder that is meant: a benchmark file, or the folder of one, stands for the results beside it."""
    path = usable(named)
    if path.suffix in (".yaml", ".yml") and path.is_file():
        return results_beside(path)
    inner = path / RESULTS
    with disk_errors(path):
        return inner if inner.is_dir() and not benchmarks_in(path) and benchmarks_in(inner) else path


def stores_in(results: str | Path | Sequence[str | Path], benchmark: str | None) -> dict[str, list[Store]]:
    """The benchmarks of results folders by their names, or the one that is asked for: a store for each folder.

    Args:
        results: also `results_folder`.

    Raises:
        HarnessError: a folder that does not exist, no results, no such benchmark.
    """
    folders = [results_folder(folder) for folder in ([results] if isinstance(results, str | Path) else results)]
    stores: dict[str, list[Store]] = {}
    for folder in dict.fromkeys(folders):
        for name in benchmarks_in(folder):
            stores.setdefault(name, []).append(Store(folder, name))
    if benchmark is not None and benchmark not in stores:
        others = f" There are: {', '.join(sorted(stores))}." if stores else ""
        raise HarnessError(f"no results of benchmark '{benchmark}' here.{did_you_mean(benchmark, stores)}{others}")
    if not stores:
        raise HarnessError(f"{', '.join(map(str, folders))}: no results here; 'run' makes them")
    return {name: stores[name] for name in (sorted(stores) if benchmark is None else [benchmark])}


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


_NAME = re.compile(NAME[1:-1])
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


def _check_fingerprint(value: str) -> str:
    if isinstance(value, str) and _FINGERPRINT.fullmatch(value):
        return value
    raise HarnessError(f"{value!r} is no fingerprint: one has 64 hexadecimal digits")
