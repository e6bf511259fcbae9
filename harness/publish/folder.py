"""A folder that is ready to be uploaded: a kept model's files, and its card."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.io import encode, replacing, sync_folder
from harness.leaderboard.board import Value
from harness.publish.card import Score, card_text
from harness.report.boards import leaderboard_of
from harness.results.kept import KeptModel
from harness.results.record import Record
from harness.results.store import Store
from harness.task.task import Suite, Task

CARD = "README.md"


def write_hub_folder(
    kept: KeptModel, record: Record, target: Path, tasks: Mapping[str, Task], suites: Mapping[str, Suite]
) -> Path:
    """Copy a kept model's files into a new folder, and write its card.

    Args:
        kept: its notes.
        record: of the run that trained it.
        target: does not exist, or is empty.
        tasks, suites: those that are known, for the table that has the intervals.

    Raises:
        Damaged: a file that was altered.
        HarnessError: the folder has something in it; the disk refuses.
    """
    kept.check()
    if os.path.lexists(target) and (not target.is_dir() or any(target.iterdir())):
        raise HarnessError(f"{target}: is there already: name a new folder")
    card = card_text(record, scores_of(record, tasks, suites))
    with replacing(Path(os.path.realpath(target))) as draft:
        draft.mkdir()
        for name in kept.files:
            shutil.copyfile(kept.folder / name, draft / name)
        (draft / CARD).write_bytes(encode(card))
        sync_folder(draft)
    return target


def scores_of(record: Record, tasks: Mapping[str, Task], suites: Mapping[str, Suite]) -> list[Score]:
    """The scores of a run's own task, beside those of the other seeds in its benchmark's leaderboard."""
    assert record.folder is not None
    benchmark = record.folder.absolute().parents[3]
    board = leaderboard_of([Store(benchmark.parent, benchmark.name)], tasks, suites)
    others: dict[tuple[str, str], tuple[Value | None, Any]] = {}
    for row in board.rows:
        column = next((column for column in board.columns if column.task == record.task), None)
        if row.model == record.model and column is not None:
            cell = row.cells[record.task]
            intervals = cell.intervals or [None] * len(cell.parts)
            others = dict(zip(column.parts, zip(cell.parts, intervals, strict=True), strict=True))
    scores = []
    for split, of_split in record.scores[record.task].items():
        for metric, value in of_split.items():
            seen, interval = others.get((split, metric), (None, None))
            if seen is None or seen.seeds.get(record.seed) != value:  # the benchmark has another recipe now
                scores.append(Score(split, metric, value, value, 1))
                continue
            low, high = (interval.low, interval.high) if interval is not None else (None, None)
            scores.append(Score(split, metric, value, seen.mean, seen.n, low, high))
    return scores
