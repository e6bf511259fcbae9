"""Runs under way: each writes its log and its learning curve into its checkpoint directory, where others read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from harness.io import encode, from_json, read_file, to_json, write_file
from harness.results.fields import Name, Seed, Stored
from harness.results.fingerprint import RunSettings
from harness.results.leases import holders
from harness.results.record import HISTORY, LOG, ROWS

ABOUT = "run.json"
Steps = Annotated[int, Field(ge=0, lt=2**63)]


class About(Stored):
    """Which run it is, how many steps it has, and the step at which the process that does it began.

    ``settings`` are those of its fingerprint; None in what older versions wrote.
    """

    benchmark: Name
    task: Name
    model: Name
    seed: Seed
    steps: Steps
    first_step: Steps
    settings: RunSettings | None = None

    @property
    def title(self) -> str:
        """``rte · bert-base · seed 1``."""
        return f"{self.task} · {self.model} · seed {self.seed}"


class LiveFiles:
    """What a run shows of itself while it is under way. A disk that refuses ends the showing, never the run.

    Args:
        folder: its checkpoint directory.
        about: which run it is.
    """

    def __init__(self, folder: Path, about: About) -> None:
        self.folder, self.about = folder, about
        self._written = {HISTORY: -1, LOG: -1}

    def update(self, history: Sequence[Mapping[str, Any]], log: Sequence[str]) -> None:
        """Write what is new; the first time all of it, in place of what an earlier process left."""
        contents = {HISTORY: [to_json(row, indent=None) for row in history[max(0, self._written[HISTORY]) :]]}
        contents[LOG] = [encode(line + "\n") for line in log[max(0, self._written[LOG]) :]]
        try:
            if self._written[LOG] < 0:
                write_file(self.folder / ABOUT, to_json(self.about.model_dump()), lasting=False)
            for name, new in contents.items():
                if self._written[name] < 0:
                    # In place of whatever was there: a pipe would be waited for.
                    write_file(self.folder / name, b"".join(new), lasting=False)
                elif new:
                    with open(self.folder / name, "ab") as file:
                        file.write(b"".join(new))
        except Exception:  # the record will have all of it
            return
        self._written = {HISTORY: len(history), LOG: len(log)}


@dataclass(frozen=True)
class UnderWay:
    """A run that has begun and is not done.

    Args:
        about: which run.
        step, loss: of the last row of its learning curve that has a loss; None where there is none yet.
        scores: those of the last evaluation, by split.
        seconds: from the start of the process that does it to that row.
        holder: who does it; "" where nobody does: it was stopped, and the next ``run`` resumes it.
        silent: seconds without a sign of life of the holder.
    """

    about: About
    step: int
    loss: float | None
    scores: Mapping[str, Mapping[str, float]]
    seconds: float
    holder: str
    silent: float

    @property
    def seconds_left(self) -> float | None:
        """At the pace so far; None where there is none yet."""
        done = self.step - self.about.first_step
        return self.seconds / done * (self.about.steps - self.step) if done > 0 and self.holder else None


def under_way(work: Path) -> dict[str, UnderWay]:
    """The runs that have begun and are not done, by fingerprint; what is damaged there is left out.

    Args:
        work: the folder of the checkpoint directories.
    """
    runs = {}
    for folder in sorted(path.parent for path in work.glob(f"*/{ABOUT}")):
        try:
            runs[folder.name] = _read(folder)
        except (OSError, ValueError, ValidationError, KeyError, TypeError, AttributeError):
            continue
    return runs


def _read(folder: Path) -> UnderWay:
    about = About.model_validate(from_json(read_file(folder / ABOUT)))
    *lines, _ = read_file(folder / HISTORY).decode().split("\n")  # what follows the last line break is being written
    rows = [ROWS[HISTORY].validate_python(from_json(line)) for line in lines]
    losses: list[dict[str, Any]] = [row for row in rows if "loss" in row]
    scores = [row["scores"] for row in rows if "scores" in row]
    last: dict[str, Any] = losses[-1] if losses else {"step": about.first_step, "loss": None}
    # By the clock of the file system alone: those of the machines may differ.
    seconds = (folder / HISTORY).stat().st_mtime - (folder / ABOUT).stat().st_mtime
    holder, silent = next(iter(holders(folder)), ("", 0.0))
    loss = None if last["loss"] is None else float(last["loss"])
    return UnderWay(about, int(last["step"]), loss, scores[-1] if scores else {}, max(0.0, seconds), holder, silent)


def live_log(folder: Path) -> list[str]:
    """The lines that a run wrote so far; none where there is no log that can be read."""
    try:
        return read_file(folder / LOG).decode().splitlines()
    except (OSError, ValueError):
        return []
