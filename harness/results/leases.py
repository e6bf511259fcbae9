"""Who does what: leases on folders, so that several processes share one results folder, on one machine or many.

A lease is a file in the folder, named after its process, whose time is renewed while the process lives. Whoever wants
the folder puts a lease there first and then looks for others: of two processes, at least one sees the other and gives
way. That needs neither locks nor equal clocks, and so works on shared filesystems.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import HarnessError
from harness.io import disk_errors, lives, remove, sync, sync_folder, this_machine

RENEWED_EVERY = 15.0
"""Seconds between two signs of life of a lease."""
PATIENCE, LEAST_PATIENCE = 12 * RENEWED_EVERY, 3 * RENEWED_EVERY
"""Seconds without one after which its process counts as dead, and the fewest that may be asked for."""


def check_patience(seconds: float) -> None:
    """Refuse a patience in which a living process may give no sign.

    Raises:
        HarnessError: as it says.
    """
    if not LEAST_PATIENCE <= seconds < float("inf"):
        least = f"processes show a sign of life every {RENEWED_EVERY:.0f} seconds"
        raise HarnessError(f"patience {seconds}: give at least {LEAST_PATIENCE:.0f} seconds: {least}")


class TakenOver(HarnessError):
    """Another process took this one for dead and does the run: what this one has is not accepted any more."""


class Lease:
    """A folder that belongs to this process until `release`."""

    def __init__(self, folder: Path):
        self.path = folder / f"lease.{this_machine()}.{os.getpid()}.{secrets.token_hex(4)}"
        self.lost = False
        """Whether another process took this one for dead (it was stopped for minutes, say) and took over."""
        self._released = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def released(self) -> bool:
        """Whether it was given back."""
        return self._released.is_set()

    def release(self) -> None:
        """Give the folder back; it goes when it is empty."""
        self._released.set()
        if self._thread is not None:
            self._thread.join()
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)
            self.path.parent.rmdir()

    def is_held(self) -> bool:
        """Whether no other process has taken over: one that was stopped for minutes looks before it goes on."""
        if not os.path.lexists(self.path):
            self.lost = True
        return not self.lost and not self.released

    def check(self) -> None:
        """Refuse to go on where another process has taken over: to be called right before something is written.

        Raises:
            TakenOver: as it says.
        """
        if not self.is_held():
            raise TakenOver(f"{self.path.parent}: another process took over this run")

    def replace(self, target: Path, content: bytes) -> bool:
        """Replace a file, all at once, and only while this lease is held, which ends with it.

        The file of the lease becomes the new file: whoever takes over has removed it before.

        Returns:
            False where another process took over: nothing has changed, and what was read before may be old.
        """
        try:
            with open(self.path, "r+b") as file:
                file.write(content)
                sync(file)
            os.rename(self.path, target)
        except FileNotFoundError:
            self.lost = True
            return False
        sync_folder(target.parent)
        return True

    def empty(self) -> None:
        """Remove everything in the folder but leases, as far as the disk allows; nothing where it was taken over."""
        with contextlib.suppress(OSError):
            if not self.is_held():
                return
            for path in self.path.parent.iterdir():
                if not path.name.startswith("lease."):
                    remove(path)

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    def create(self) -> None:
        """Write the file of the lease into its folder, which is made if it is not there."""
        for _ in range(100):
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
                return
            except FileNotFoundError:  # another process, done with the folder, just removed it
                continue
            except FileExistsError:  # so, too, between the two looks of mkdir; or a file is in the way
                if os.path.lexists(self.path.parent) and not self.path.parent.is_dir():
                    raise
        folder = self.path.parent
        raise HarnessError(f"{folder}: cannot be claimed: it keeps disappearing; is another program tidying up there?")

    def renew(self, every: float) -> None:
        """Show a sign of life every so many seconds, from a thread of its own."""
        self._thread = threading.Thread(target=self._renew, args=(every,), daemon=True)
        self._thread.start()

    def _renew(self, every: float) -> None:
        while not self._released.wait(every):
            try:
                os.utime(self.path)
            except FileNotFoundError:
                self.lost = True
                return
            except OSError:
                continue  # a disk that is away for a moment


@dataclass
class Leases:
    """What this process knows about leases. As a context, it gives back at its end all that were taken in it.

    Args:
        every: seconds between two signs of life.
        patience: a lease without one for so many seconds, by our own clock, is dead.
    """

    every: float = RENEWED_EVERY
    patience: float = PATIENCE
    _seen: dict[Path, tuple[int, float, float]] = field(default_factory=dict)
    _taken: list[Lease] = field(default_factory=list)

    def __enter__(self) -> Leases:
        return self

    def __exit__(self, *error: object) -> None:
        for lease in self._taken:
            lease.release()

    def take(self, folder: Path) -> Lease | None:
        """Lease a folder (made if it is not there); None when another process has it.

        Raises:
            HarnessError: the disk says no.
        """
        with disk_errors(folder):
            if self._others(folder):
                return None
            lease = Lease(folder)
            self._taken = [*(taken for taken in self._taken if not taken.released), lease]
            try:
                lease.create()
                if not self._others(folder, lease.path):
                    lease.renew(self.every)
                    return lease
            except BaseException:
                lease.release()
                raise
            lease.release()
            return None

    def is_taken(self, folder: Path) -> bool:
        """Whether a living process has a lease on the folder."""
        with disk_errors(folder):
            return self._others(folder)

    @contextlib.contextmanager
    def held(self, folder: Path) -> Iterator[Lease]:
        """A block that only one process at a time is in; waits for its turn."""
        while (lease := self.take(folder)) is None:
            time.sleep(0.02 + secrets.randbelow(80) / 1000)  # two that gave way to each other meet again otherwise
        with lease:
            yield lease

    def _others(self, folder: Path, own: Path | None = None) -> bool:
        """Whether there is another lease of a living process; those of dead ones are removed."""
        living = False
        try:
            names = os.listdir(folder)
        except FileNotFoundError:  # not there yet, or just removed by another process that was done with it
            return False
        for path in (folder / name for name in names if name.startswith("lease.")):
            if path == own:
                continue
            if self.is_dead(path):
                path.unlink(missing_ok=True)
            else:
                living = True
        return living

    def is_dead(self, path: Path) -> bool:
        """Whether the process of a lease has ended, or gave no sign of life for ``patience`` seconds.

        Between two looks at most ``every`` seconds count: where both processes were suspended, the other one may not
        have had the time yet.
        """
        match = _LEASE.fullmatch(path.name)
        if match and lives(match["machine"], int(match["process"])) is False:
            return True
        try:
            stamp = path.stat().st_mtime_ns
        except FileNotFoundError:
            return True
        now = time.monotonic()
        before, silent, looked = self._seen.get(path, (stamp, 0.0, now))
        silent = silent + min(now - looked, self.every) if before == stamp else 0.0
        self._seen[path] = (stamp, silent, now)
        return silent > self.patience


_LEASE = re.compile(r"lease\.(?P<machine>[A-Za-z0-9-]+)\.(?P<process>\d+)\.[0-9a-f]+")


def holders(folder: Path) -> list[tuple[str, float]]:
    """Who has a lease on a folder, and the seconds since the last sign of life; changes nothing there.

    Those of this machine whose process has ended are left out.
    """
    found = []
    for path in sorted(folder.glob("lease.*")):
        match = _LEASE.fullmatch(path.name)
        if match is None or lives(match["machine"], int(match["process"])) is False:
            continue
        here = match["machine"] == this_machine()
        where = "" if here else f" on {match['machine'].rpartition('-')[0]}"
        with contextlib.suppress(FileNotFoundError):
            found.append((f"process {match['process']}{where}", max(0.0, time.time() - path.stat().st_mtime)))
    return found
