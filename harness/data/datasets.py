"""Examples of a task from any source: the Hub, the built-in sample data, official files, a user's own files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import cached_property
from itertools import chain, compress, repeat
from pathlib import Path
from typing import Any

from harness.data.files import read_examples
from harness.errors import HarnessError, did_you_mean
from harness.io import digest, file_hash, unreadable
from harness.task.functions import cluster_of
from harness.task.plugins import load_tasks
from harness.task.task import Example, SplitFile, Task

HUB, SAMPLE, FILES = "hub", "sample", "files"
CUT_SHARE, CUT_MOST = 0.1, 1000
"""The share of the training examples, and the largest number of them, that become a missing validation split."""


_AS_USUAL = SplitFile("")


class Examples:
    """The examples of a split: every iteration reads them anew, so that never all of them are in memory.

    They have no length, because `list` would ask for it, and read everything to count it.

    Args:
        read: gives an iterator over them.
        count: their number, where it is known without reading.
    """

    def __init__(self, read: Callable[[], Iterator[Example]], count: int | None = None):
        self._read, self._count = read, count

    def __iter__(self) -> Iterator[Example]:
        return self._read()

    @cached_property
    def count(self) -> int:
        """How many there are; they may have to be read for it."""
        return sum(1 for _ in self) if self._count is None else self._count

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
    source_type = _source_type(task, source)
    if source_type == SAMPLE:
        from harness.data.sample import sample_examples

        generated = sample_examples(task, split)
        examples = Examples(lambda: iter(generated), len(generated))
    elif source_type == HUB:
        from harness.data.hub import hub_examples

        examples = Examples(*hub_examples(task, split))
    else:
        examples = _Files(task, source, allow_partial).examples(split)
    if limit is None:
        return examples
    if limit < 1:
        raise HarnessError(f"limit must be at least 1, found {limit}")
    is_train = split == task.train_split
    return examples.at(permutation(examples.count)[:limit]) if is_train else examples.first(limit)


def splits_in(task: Task | str, source: str | Path, *, allow_partial: bool = False) -> set[str]:
    """The splits that a source holds, by looking for their files only (the Hub and the sample data: all).

    A folder without any of the task's files gives the empty set; no folder at all is a `HarnessError`. With
    ``allow_partial``, a validation split that `load_examples` would cut from train counts.
    """
    task = _task(task)
    if _source_type(task, source) != FILES:
        return set(_splits(task))
    files = _Files(task, source, allow_partial)
    return {*files.located, *filter(None, [files.cut])}


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
    source_type = _source_type(task, source)
    named: dict[str, Any] = {}
    if source_type == SAMPLE:
        from harness.data.sample import sample_examples

        content = {split: digest(sample_examples(task, split)) for split in splits}
    elif source_type == HUB:
        from harness.data.hub import hub_revision

        revision, _ = hub_revision(task)
        assert task.hub is not None
        named = {"id": task.hub.id, "config": task.hub.config, "revision": revision}
        content = dict.fromkeys(splits, revision)
    else:
        files = _Files(task, source, allow_partial)
        content = {split: files.content(split) for split in splits}
    return {"source": source_type, **named, "content": content, **({} if limit is None else {"limit": limit})}


def _task(task: Task | str) -> Task:
    if isinstance(task, Task):
        return task
    tasks = load_tasks()
    if task not in tasks:
        raise HarnessError(f"there is no task '{task}'.{did_you_mean(task, tasks)} Tasks: {', '.join(tasks)}")
    return tasks[task]


def _splits(task: Task) -> list[str]:
    splits = [task.train_split, *task.validation_splits, *task.test_splits, *task.files]
    return list(dict.fromkeys(split for split in splits if split is not None))


def _check_split(task: Task, split: str) -> None:
    splits = _splits(task)
    if split not in splits:
        hint = did_you_mean(split, splits)
        raise HarnessError(f"task '{task.name}' has no split '{split}'.{hint} Its splits: {', '.join(splits)}")


def _source_type(task: Task, source: str | Path) -> str:
    return str(source) if source in (HUB, SAMPLE) and not has_own_files(task) else FILES


def has_own_files(task: Task) -> bool:
    """Whether the task was made from a user's own data files, so that no source has to be named for it."""
    return any(Path(file.path).is_absolute() for file in task.files.values())


def permutation(count: int) -> Any:
    """The numbers up to ``count`` in an order that is always the same."""
    import numpy as np

    return np.random.default_rng(0).permutation(count)


def held_out(task: Task, examples: Examples, share: float, most: int, where: object) -> list[int]:
    """The positions of the training examples that are held out: whole clusters, drawn at random, always the same.

    Every drawn cluster that still fits is taken; where none does, the smallest is. What is told by an example of a
    cluster (its passage, its question) then is not known of another from training.

    Args:
        share: of the examples, at least one of them.
        most: the largest number of examples.
        where: what messages call the training data.

    Raises:
        HarnessError: all examples are in one cluster, so that nothing would be left to train on.
    """
    import numpy as np

    numbers: dict[bytes, int] = {}
    names = (hashlib.blake2b(cluster_of(task, example).encode(), digest_size=16).digest() for example in examples)
    clusters = np.fromiter((numbers.setdefault(name, len(numbers)) for name in names), dtype=np.int64)
    if len(numbers) < 2:
        what = (
            "one example is" if len(clusters) < 2 else f"all {len(clusters)} examples belong together: one cluster is"
        )
        raise HarnessError(f"{where}: {what} too little to cut a validation split from it")
    left = min(most, max(1, int(len(clusters) * share)))
    sizes, order = np.bincount(clusters), permutation(len(numbers))[::-1]
    taken = np.zeros(len(numbers), dtype=bool)
    for cluster in order:
        if sizes[cluster] <= left:
            taken[cluster] = True
            left -= sizes[cluster]
    if not taken.any():
        taken[order[np.argmin(sizes[order])]] = True
    return np.flatnonzero(taken[clusters]).tolist()


# Files -----------------------------------------------------------------------------------------------------------


class _Files:
    """The files of a task in a folder.

    Attributes:
        folder: where the task's file paths start from.
        located: by split, how its file is read, and the file.
        cut: the validation split that is cut from train, because none has a file.
    """

    def __init__(self, task: Task, source: str | Path, allow_partial: bool):
        self.task, self.allow_partial = task, allow_partial
        self.folder, self.located = _locate(task, source)
        may_cut = task.train_split in self.located and (allow_partial or has_own_files(task))
        lacks_validation = self.located.keys().isdisjoint(task.validation_splits)
        self.cut = next(iter(task.validation_splits), None) if may_cut and lacks_validation else None

    def examples(self, split: str) -> Examples:
        """The examples of a split."""
        spec, path = self._file(split)
        examples = Examples(lambda: read_examples(self.task, spec, path, () if self.allow_partial else spec.rows))
        if not self._is_part_of_train(split):
            return examples
        return examples.at(held_out(self.task, examples, CUT_SHARE, CUT_MOST, path), others=split != self.cut)

    def content(self, split: str) -> str:
        """A hash of a split's bytes and of how they are read."""
        spec, path = self._file(split)
        reading = asdict(spec)
        for key in ("path", "rows", "expand", "alternatives", "scheme_told_by"):
            del reading[key]
        for key in ("format", "delimiter", "encoding", "tag_column", "scheme"):
            if reading[key] == getattr(_AS_USUAL, key):
                del reading[key]  # what reads as it always did has the fingerprint that it always had
        content = digest([file_hash(path), path.suffix, reading])
        if not self._is_part_of_train(split):
            return content
        return digest([content, "cut" if split == self.cut else "rest", self.task.cluster_definition])

    def _is_part_of_train(self, split: str) -> bool:
        return self.cut is not None and split in (self.cut, self.task.train_split)

    def _file(self, split: str) -> tuple[SplitFile, Path]:
        task, source_split = self.task, self.task.train_split if self._is_part_of_train(split) else split
        if source_split in self.located:
            return self.located[source_split]
        if not task.files:
            raise HarnessError(f"task '{task.name}' has no official files: use another source than {self.folder}")
        if not self.located:
            expected = ", ".join(spec.path for spec in task.files.values())
            inside = f" or in a folder '{task.suite}' in it" if task.suite else ""
            problem = f"no data of task '{task.name}' is there: expected {expected}, in this folder{inside}"
            raise HarnessError(f"{self.folder}: {problem}")
        path = self.folder / task.files[split].path if split in task.files else self.folder
        others = ", ".join(spec.path for name, spec in task.files.items() if name in self.located)
        can_cut = split in task.validation_splits and self.located.keys().isdisjoint(task.validation_splits)
        hint = "; with `allow_partial: true` the validation split is cut from train" if can_cut else ""
        raise HarnessError(f"{path}: missing (the {split} split of task '{task.name}'). There: {others}{hint}")


def _locate(task: Task, source: str | Path) -> tuple[Path, dict[str, tuple[SplitFile, Path]]]:
    """The folder that the task's file paths start from (the source, or the suite's folder in it), and its files."""
    source = Path(os.path.expanduser(source))
    folders = [source]
    if not has_own_files(task):
        if not os.path.isdir(source):  # which also takes names that no disk can have
            what = "is a file: name the folder it lies in" if os.path.isfile(source) else "there is no such folder"
            raise HarnessError(f"{source}: {what} (the data of task '{task.name}')")
        try:
            suite = task.suite.lower()
            folders += sorted(path for path in source.iterdir() if path.name.lower() == suite and path.is_dir())
        except OSError as error:
            raise unreadable(source, error) from error
    for folder in folders:
        located: dict[str, tuple[SplitFile, Path]] = {}
        for split, spec in task.files.items():
            for candidate in (spec, *reversed(spec.alternatives)):  # the first alternative that is there counts
                if (folder / candidate.path).exists():
                    located[split] = candidate, folder / candidate.path
        if located:
            return folder, located
    return source, {}
