"""Records that were never read, read by all cores at once: each process fills the packs of some models."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.errors import HarnessError
from harness.processes import cores, with_program
from harness.results.answers import AnswersReader
from harness.results.packs import pack_file
from harness.results.reading import RECORDS, Records
from harness.results.readings import ReadingsReader

log = logging.getLogger(__name__)
MANY = 2_000
"""Records; fewer are read before processes have started."""


def read_ahead(folders: Iterable[Path]) -> None:
    """Fill the packs of models that have none, where that takes a while: what is not in them is read later.

    Args:
        folders: of records; those that are not there do not matter.
    """
    models: dict[Path, list[str]] = {}
    for folder in folders:
        models.setdefault(pack_file(RECORDS, os.path.dirname(folder)), []).append(str(folder))
    new = [own for file, own in models.items() if not file.exists()]
    number = min(cores(), len(new))
    if number > 1 and sum(map(len, new)) >= MANY and os.access(next(iter(models)).parents[3], os.W_OK):
        _share_out([new[i::number] for i in range(number)])


def _share_out(shares: Sequence[Sequence[Sequence[str]]]) -> None:
    """Give each process its models; not by multiprocessing, which would run a user's script anew."""
    environment = with_program(os.environ)
    quiet, processes = subprocess.DEVNULL, list[subprocess.Popen[bytes]]()
    try:
        for share in shares:
            with tempfile.TemporaryFile() as file:
                file.write(json.dumps(share).encode())
                file.seek(0)
                process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "harness.results.ahead"],
                    stdin=file,
                    stdout=quiet,
                    stderr=quiet,
                    env=environment,
                )
                processes.append(process)
        for process in processes:
            process.wait()
    except OSError as error:
        log.debug("records are not read by several processes: %s", error)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def main() -> None:
    """Read the records of the models that standard input names."""
    for folders in json.load(sys.stdin):
        records, answers, readings = Records(), AnswersReader(), ReadingsReader()
        for folder in map(Path, folders):
            with contextlib.suppress(HarnessError, OSError):  # is said when it is read again
                record = records.load(folder, lambda message: None)
                answers.read(record)
                readings.read(record)
        for reader in (records, answers, readings):
            reader.close()


if __name__ == "__main__":
    main()
