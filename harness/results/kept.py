"""Kept models: folders of ``save_pretrained`` in ``results/<benchmark>/models/``, named by task, model and seed.

Beside the files of transformers each has notes, ``harness.json``: which run it comes from, and the size and the
checksum of every file, so that a damaged model is never used.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from safetensors import SafetensorError, safe_open

from harness.errors import HarnessError
from harness.io import fingerprint as fingerprint_of
from harness.io import from_json, hash_file, open_regular, read_file, sync, sync_folder, to_json, unreadable
from harness.results.fields import Amount, Count, Damaged, Digest, Score, Stored
from harness.results.fingerprint import RunSettings
from harness.results.index import DIGITS
from harness.results.record import Record

NOTES = "harness.json"
WEIGHTS = "model.safetensors"
LONGEST = 120
"""Characters of task and model in the name of a folder."""

FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.\-]*$", max_length=100)]


class KeptFile(Stored):
    """What a file of the folder is."""

    bytes: Count
    sha256: Digest


class KeptModel(Stored):
    """The notes of a kept model.

    Attributes:
        fingerprint: of the run that trained it.
        configuration: what all seeds of one recipe share.
        step: of the training.
        best: whether it is the run's best checkpoint; with ``keep: all`` there are others.
        selection_score: what chose it.
        threshold: multi-label: the probability from which on a label is predicted.
        settings: all that decided its scores, as the run's record has them.
        files: all others of the folder.
        folder: where it is.
    """

    version: Literal[1] = 1
    fingerprint: Digest
    configuration: Digest
    task: str
    model: str
    step: Count
    best: bool
    selection_score: Score | None = None
    lower_is_better: bool = False
    threshold: Amount | None = None
    settings: RunSettings
    files: dict[FileName, KeptFile] = Field(default_factory=dict)

    folder: Path = Field(default=Path(), exclude=True)

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return self.settings.seed

    def check(self, content: bool = True) -> None:
        """Refuse files that are missing, cut short or altered.

        Args:
            content: whether to read all of them; otherwise their sizes and the header of the weights are looked at.

        Raises:
            Damaged: which file, and what is wrong with it.
        """
        if WEIGHTS not in self.files:
            raise Damaged(f"{self.folder / NOTES}: altered (it names no weights)")
        for name, file in self.files.items():
            path = self.folder / name
            try:
                with open_regular(path) as opened:
                    size = os.fstat(opened.fileno()).st_size
                altered = size == file.bytes and content and hash_file(path) != file.sha256
            except OSError as error:
                raise Damaged(f"{path}: missing, or cannot be read ({error.strerror})") from None
            if size != file.bytes:
                raise Damaged(f"{path}: altered or cut short (it has {size} bytes)")
            if altered:
                raise Damaged(f"{path}: altered (its checksum does not fit)")
        try:
            with safe_open(self.folder / WEIGHTS, framework="numpy"):
                pass
        except (SafetensorError, OSError) as error:
            raise Damaged(f"{self.folder / WEIGHTS}: altered or cut short ({error})") from None

    @property
    def whole(self) -> bool:
        """Whether all files are there; their content is not looked at."""
        with contextlib.suppress(Damaged):
            self.check(content=False)
            return True
        return False

    @property
    def sound(self) -> bool:
        """Whether all files are as they were written; reads them."""
        with contextlib.suppress(Damaged):
            self.check()
            return True
        return False


def kept_name(task: str, model: str, seed: int, fingerprint: str, step: int | None = None) -> str:
    """The name of a kept model's folder; ``step`` for one that is not its run's best."""
    return (
        f"{task}-{model}"[:LONGEST] + f"-seed{seed}-{fingerprint[:DIGITS]}" + ("" if step is None else f"-step{step}")
    )


def write_notes(draft: Path, notes: KeptModel) -> None:
    """Describe the files of a new folder, make them as readable as others are, and make all outlive a power cut."""
    paths = sorted(path for path in draft.iterdir() if path.is_file())
    files = {path.name: KeptFile(bytes=path.stat().st_size, sha256=hash_file(path)) for path in paths}
    described = notes.model_copy(update={"files": files})
    (draft / NOTES).write_bytes(to_json(described.model_dump()))
    mode = (draft / NOTES).stat().st_mode
    for path in (*paths, draft / NOTES):
        path.chmod(mode)  # libraries make files that only their owner can read, whatever the umask
        with open(path, "rb+") as file:
            sync(file)
    sync_folder(draft)


def read_notes(folder: Path) -> KeptModel:
    """The notes of a kept model; its other files are not looked at.

    Raises:
        Damaged: they are none.
        HarnessError: they cannot be read.
    """
    try:
        content = from_json(read_file(folder / NOTES))
        notes = KeptModel.model_validate(content)
    except (ValueError, FileNotFoundError) as error:
        raise Damaged(f"{folder / NOTES}: no notes of a kept model, or damaged") from error
    except OSError as error:
        raise unreadable(folder / NOTES, error) from error
    if fingerprint_of(content["settings"]) != notes.fingerprint:
        raise Damaged(f"{folder / NOTES}: altered (its settings are not those of its run)")
    return notes.model_copy(update={"folder": folder})


def kept_models(models: Path, ending: str = "") -> Iterator[KeptModel]:
    """The kept models of a benchmark with readable notes, whose folders' names end so."""
    with contextlib.suppress(OSError):
        for name in sorted(os.listdir(models)):
            if name.endswith(ending) and not name.startswith(".") and (models / name / NOTES).is_file():
                with contextlib.suppress(Damaged, HarnessError, OSError):
                    yield read_notes(models / name)


def find_kept(results: Path, benchmark: str, fingerprint: str, seed: int, damaged: bool = False) -> KeptModel | None:
    """The best model of a run, wherever in a results folder it was kept, under whatever name.

    Args:
        damaged: whether also one that lacks files; no content is looked at in any case.
    """
    ending = f"-seed{seed}-{fingerprint[:DIGITS]}"
    with contextlib.suppress(OSError):
        others = sorted(name for name in os.listdir(results) if not name.startswith(".") and name != benchmark)
        for name in (benchmark, *others):
            for kept in kept_models(results / name / "models", ending):
                if kept.fingerprint == fingerprint and kept.best and (damaged or kept.whole):
                    return kept
    return None


def kept_of(record: Record) -> KeptModel | None:
    """The best model of a record's run, where it was kept; perhaps damaged."""
    if record.folder is None:
        return None
    benchmark = record.folder.absolute().parents[3]
    return find_kept(benchmark.parent, benchmark.name, record.fingerprint, record.seed, damaged=True)
