"""Examples of a task from any source: the Hub, the built-in sample data, official files, a user's own files."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import cached_property
from itertools import chain, compress, repeat
from pathlib import Path
from typing import Any

from harness.data.files import read_examples
from harness.errors import HarnessError, did_you_mean
from harness.io import file_hash
from harness.task.plugins import load_tasks
from harness.task.task import Example, SplitFile, Task

HUB, SAMPLE = "hub", "sample"
CUT_SHARE, CUT_MOST = 0.1, 1000


class Examples:
    """The examples of a split: every iteration reads them anew, so that never all of them are in memory.

    They have no length, because `list` would ask for it, and read everything to count it.

    Args:
        read: gives an iterator over them.
        count: their number, where it is known without reading.
    """

    def __init__(self, read: Callable[[], Iterator[Example]], count: int | None = None):
        self._read, self._known = read, count

    def __iter__(self) -> Iterator[Example]:
        return self._read()

    @cached_property
    def count(self) -> int:
        """How many there are; they may have to be read for it."""
        return sum(1 for _ in self) if self._known is None else self._known

    def first(self, number: int) -> Examples:
        """The first ones; the others are read, too, and checked."""
        return Examples(lambda: compress(self, chain(repeat(True, number), repeat(False))))

    def at(self, positions: Sequence[int], others: bool = False) -> Examples:
        """Those at some positions (or all ``others``), in their old order."""
        import numpy as np

        chosen = np.full(self.count, others)
        chosen[positions] = not others
        return Examples(lambda: compress(self, chosen.tobytes()), int(chosen.sum()))


def load_examples(
    task: Task | str, source: str | Path, split: str, *, allow_partial: bool = False, limit: int | None = None
) -> list[Example]:
    """The official examples of a split, in order, with the official field names.

    Class labels are indices, matched by name; ``idx`` is the official one, or else the row's number from 0.
    Unlabelled examples have ``task.unlabelled`` as label.

    Args:
        task: a `Task`, or the name of a built-in one.
        source: "hub"; "sample" (built-in generated data); or the folder of the official files: the one that holds
            ``CoLA/`` and so on, or one above it that holds ``GLUE/``. A task made from a user's own data files
            reads those, whatever the source.
        split: one of the task's splits.
        allow_partial: take files with other than the official number of rows. When no validation file is there,
            a tenth of the training examples (at most 1000) is kept out of "train" to be the validation split; with a
            user's own data files this is always so.
        limit: only so many examples: of the training split a fixed random sample, of others the first ones.

    Raises:
        HarnessError: an unknown task or split, files that are missing or wrong, a Hub that does not answer.
    """
    return list(open_examples(task, source, split, allow_partial=allow_partial, limit=limit))


def open_examples(
    task: Task | str, source: str | Path, split: str, *, allow_partial: bool = False, limit: int | None = None
) -> Examples:
    """As `load_examples`, but read as they are asked for; what is wrong in a file shows when it is reached."""
    task = _task(task)
    _check_split(task, split)
    if _is(source, SAMPLE, task):
        from harness.data.sample import sample_examples

        generated = sample_examples(task, split)
        examples = Examples(lambda: iter(generated), len(generated))
    elif _is(source, HUB, task):
        from harness.data.hub import hub_examples

        examples = Examples(*hub_examples(task, split))
    else:
        examples = _from_files(task, _folder(task, source), split, allow_partial)
    return _limited(examples, limit, sample=split == task.train_split)


def splits_in(task: Task | str, source: str | Path, *, allow_partial: bool = False) -> set[str]:
    """The splits that a source holds, by looking for their files only (the Hub and the sample data: all).

    A folder without any of the task's files gives the empty set; no folder at all is a `HarnessError`. With
    ``allow_partial``, a validation split that `load_examples` would cut from train counts.
    """
    task = _task(task)
    if _is(source, SAMPLE, task) or _is(source, HUB, task):
        return set(_splits(task))
    folder = _folder(task, source)
    cut = _cut_split(task, folder, allow_partial)
    return _present(task, folder) | ({cut} if cut else set())


def data_fingerprint(
    task: Task | str,
    source: str | Path,
    splits: Iterable[str],
    *,
    allow_partial: bool = False,
    limit: int | None = None,
) -> dict[str, Any]:
    """What the splits' data is, as plain JSON data that changes when and only when the content changes.

    Files: a hash per split of the bytes and of how they are read, never of the path. Hub: the data set's commit.
    Sample data: a hash of the examples.
    """
    task = _task(task)
    for split in (splits := list(splits)):
        _check_split(task, split)
    limited = {} if limit is None else {"limit": limit}
    if _is(source, SAMPLE, task):
        from harness.data.sample import sample_examples

        content = {split: _digest(sample_examples(task, split)) for split in splits}
        return {"source": SAMPLE, "content": content, **limited}
    if _is(source, HUB, task):
        from harness.data.hub import hub_revision

        revision, _ = hub_revision(task)
        assert task.hub is not None
        named = {"id": task.hub.id, "config": task.hub.config, "revision": revision}
        return {"source": HUB, **named, "content": dict.fromkeys(splits, revision), **limited}
    folder = _folder(task, source)
    return {"source": "files", "content": _file_content(task, folder, splits, allow_partial), **limited}


def _task(task: Task | str) -> Task:
    if isinstance(task, Task):
        return task
    known = load_tasks()
    if task not in known:
        raise HarnessError(f"there is no task '{task}'.{did_you_mean(task, known)} Tasks: {', '.join(known)}")
    return known[task]


def _splits(task: Task) -> list[str]:
    named = [task.train_split, *task.validation_splits, *task.test_splits, *task.files]
    return list(dict.fromkeys(split for split in named if split is not None))


def _check_split(task: Task, split: str) -> None:
    known = _splits(task)
    if split not in known:
        hint = did_you_mean(split, known)
        raise HarnessError(f"task '{task.name}' has no split '{split}'.{hint} Its splits: {', '.join(known)}")


def _is(source: str | Path, kind: str, task: Task) -> bool:
    return source == kind and not has_own_files(task)


def has_own_files(task: Task) -> bool:
    """Whether the task was made from a user's own data files, so that no source has to be named for it."""
    return any(Path(file.path).is_absolute() for file in task.files.values())


def _limited(examples: Examples, limit: int | None, sample: bool) -> Examples:
    if limit is None:
        return examples
    if limit < 1:
        raise HarnessError(f"limit must be at least 1, found {limit}")
    return examples.at(permutation(examples.count)[:limit]) if sample else examples.first(limit)


def permutation(count: int) -> Any:
    """The numbers up to ``count`` in an order that is always the same."""
    import numpy as np

    return np.random.default_rng(0).permutation(count)


# Files -----------------------------------------------------------------------------------------------------------


def _from_files(task: Task, folder: Path, split: str, allow_partial: bool) -> Examples:
    cut = _cut_split(task, folder, allow_partial)
    if cut is None or split not in (cut, task.train_split):
        return _read(task, folder, split, allow_partial)
    assert task.train_split is not None
    examples = _read(task, folder, task.train_split, allow_partial)
    if examples.count < 2:
        found = _find(folder, task.files[task.train_split])
        path = found[1] if found else folder
        raise HarnessError(f"{path}: one example is too little to cut a validation split from it")
    cut_out = min(CUT_MOST, max(1, int(examples.count * CUT_SHARE)))
    return examples.at(permutation(examples.count)[-cut_out:], others=split != cut)


def _read(task: Task, folder: Path, split: str, allow_partial: bool) -> Examples:
    found = _find(folder, task.files[split]) if split in task.files else None
    if found is None:
        raise _missing(task, folder, split)
    spec, path = found
    return Examples(lambda: read_examples(task, spec, path, () if allow_partial else spec.rows))


def _cut_split(task: Task, folder: Path, allow_partial: bool) -> str | None:
    """The validation split that has to be cut from train, because none has a file."""
    present = _present(task, folder)
    if task.train_split not in present or not task.validation_splits or present & set(task.validation_splits):
        return None
    return task.validation_splits[0] if allow_partial or has_own_files(task) else None


def _present(task: Task, folder: Path) -> set[str]:
    return {split for split, spec in task.files.items() if _find(folder, spec)}


def _find(folder: Path, spec: SplitFile) -> tuple[SplitFile, Path] | None:
    """The first of a split's files that is there: an alternative, or the file itself."""
    for candidate in (*spec.alternatives, spec):
        path = folder / candidate.path
        if path.exists():
            return candidate, path
    return None


def _folder(task: Task, source: str | Path) -> Path:
    """The folder that the task's file paths start from: the source, or the suite's folder in it."""
    source = Path(os.path.expanduser(source))
    if has_own_files(task):
        return source
    if not os.path.isdir(source):  # which also takes names that no disk can have
        what = "is a file: name the folder it lies in" if os.path.isfile(source) else "there is no such folder"
        raise HarnessError(f"{source}: {what} (the data of task '{task.name}')")
    try:
        inner = sorted(path for path in source.iterdir() if path.name.lower() == task.suite.lower() and path.is_dir())
    except OSError as error:
        raise HarnessError(f"{source}: cannot be read: {error.strerror}") from error
    return next((folder for folder in (source, *inner) if _present(task, folder)), source)


def _missing(task: Task, folder: Path, split: str) -> HarnessError:
    if not task.files:
        return HarnessError(f"task '{task.name}' has no official files: use another source than {folder}")
    present = _present(task, folder)
    if not present:
        expected = ", ".join(spec.path for spec in task.files.values())
        inside = f" or in a folder '{task.suite}' in it" if task.suite else ""
        return HarnessError(
            f"{folder}: no data of task '{task.name}' is there: expected {expected}, in this folder{inside}"
        )
    path = folder / task.files[split].path if split in task.files else folder
    there = ", ".join(task.files[name].path for name in task.files if name in present)
    cut = split in task.validation_splits and not present & set(task.validation_splits)
    hint = "; with `allow_partial: true` the validation split is cut from train" if cut else ""
    return HarnessError(f"{path}: missing (the {split} split of task '{task.name}'). There: {there}{hint}")


def _file_content(task: Task, folder: Path, splits: Sequence[str], allow_partial: bool) -> dict[str, str]:
    cut = _cut_split(task, folder, allow_partial)
    content = {}
    for split in splits:
        shared = cut is not None and split in (cut, task.train_split)
        name = str(task.train_split) if shared else split
        found = _find(folder, task.files[name]) if name in task.files else None
        if found is None:
            raise _missing(task, folder, split)
        content[split] = _content(*found)
        if shared:
            content[split] = _digest([content[split], "cut" if split == cut else "rest"])
    return content


def _content(spec: SplitFile, path: Path) -> str:
    reading = {
        key: value for key, value in asdict(spec).items() if key not in ("path", "rows", "expand", "alternatives")
    }
    return _digest([file_hash(path), path.suffix, reading])


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
