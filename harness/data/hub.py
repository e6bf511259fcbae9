"""The Hugging Face Hub: data sets and checkpoints at fixed commits, through its own clients, with clear errors."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.data.files import BadValue, check_field, check_sentence, label_reader
from harness.data.formats import BATCH, with_names
from harness.data.hub_access import Asked, Unclear, ask, is_commit
from harness.errors import HarnessError
from harness.io import digest, file_hash
from harness.task.task import Example, HubSource, Task

WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
NO_FOLDERS = ("*/*",)
SETTINGS = (
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.model",
)
"""The files of a checkpoint, beside its weights, that decide what is computed."""

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


# Data sets -------------------------------------------------------------------------------------------------------


def hub_examples(task: Task, split: str) -> tuple[Callable[[], Iterator[Example]], int]:
    """A split's examples with all columns that the Hub has, and class labels as the task's indices.

    What is returned reads them, from a file that is mapped into memory, as often as it is called; and their number.

    Class labels are matched by the names that the data set gives them; integers without names are class indices.
    The reader is ``datasets.load_dataset``, at the commit of `hub_revision`.

    Raises:
        HarnessError: no access, no network, columns or label names that are not the task's.
    """
    source = _source(task)
    commit, _ = hub_revision(task)
    dataset = hub_data(source, commit, split)
    where = f"{Asked('data set', source.id, commit)}, {source.config or 'default'}/{split}"
    for name in task.text_fields:
        if name not in dataset.features:
            raise HarnessError(f"{where}: there is no column '{name}'. Found: {', '.join(dataset.features)}")
    read = _reader(task, dataset.features, where)
    unlabelled = split in task.test_splits
    if not len(dataset):
        raise HarnessError(f"{where}: there are no examples")

    def examples() -> Iterator[Example]:
        for number, row in enumerate(_rows(dataset)):
            try:
                example = _example(task, {"idx": number, **row}, read, unlabelled)
            except BadValue as error:
                raise HarnessError(f"{where}, row {number}: {error}") from None
            yield example

    return examples, len(dataset)


def _rows(dataset: Any) -> Iterator[dict[str, Any]]:
    for start in range(0, len(dataset), BATCH):
        yield from dataset.select(range(start, min(start + BATCH, len(dataset)))).to_list()


def hub_revision(task: Task) -> tuple[str, bool]:
    """The commit of the task's data set, and whether the task fixes it (else it is the latest, as of now)."""
    source = _source(task)
    return _commit(Asked("data set", source.id, source.revision))


def _source(task: Task) -> HubSource:
    if task.hub is None:
        raise HarnessError(f"task '{task.name}' is not on the Hub: name the folder that its data is in")
    return task.hub


def _commit(asked: Asked) -> tuple[str, bool]:
    if is_commit(asked.revision):
        return str(asked.revision), True
    return _resolved(asked), False


@functools.lru_cache(maxsize=256)
def _resolved(asked: Asked) -> str:
    """The commit that a branch or a tag points to: asked once, so that one process sees one commit."""
    from huggingface_hub import HfApi

    repo_type = "dataset" if asked.noun == "data set" else "model"
    return ask(asked, lambda: HfApi().resolve_revision(asked.id, repo_type=repo_type, revision=asked.revision).resolved)


def hub_data(source: HubSource, commit: str, split: str) -> Any:
    """A split as the Hub has it, by ``datasets``, which fetches all splits of the configuration with it.

    Raises:
        HarnessError: as `hub_examples`.
    """
    asked = Asked("data set", source.id, commit)
    dataset = ask(asked, lambda: _load_with_reason(source, commit, split))
    files = [Path(file["filename"]) for file in dataset.cache_files]
    if not files or not all(commit in file.parts for file in files):
        ask(asked, lambda: _probe(source, commit))
        raise HarnessError(f"{asked} cannot be had: the cache holds another revision only; run again later")
    return dataset


def _load_with_reason(source: HubSource, commit: str, split: str) -> Any:
    """``load_dataset``, which hides most reasons behind a "not found", or falls back on any revision in its cache."""
    import datasets

    try:
        with _without_warnings():
            # In memory, nothing would tell which revision it is.
            return datasets.load_dataset(source.id, source.config, revision=commit, split=split, keep_in_memory=False)
    except (datasets.exceptions.DataFilesNotFoundError, datasets.exceptions.DefunctDatasetError):
        raise
    except (FileNotFoundError, ConnectionError) as error:
        _probe(source, commit)
        raise Unclear(str(error)) from error


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Without the library's "couldn't be found on the Hub" where the network is not asked, or does not answer."""
    from datasets.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)


def _probe(source: HubSource, commit: str) -> None:
    """Ask for the list of files, for the error that the Hub gives."""
    from huggingface_hub import HfApi

    list(HfApi().list_repo_tree(source.id, repo_type="dataset", revision=commit))


def _reader(task: Task, features: Mapping[str, Any], where: str) -> Callable[[Any], Any]:
    """A function from the data set's labels to the task's, by name where the data set names its classes."""
    read = label_reader(task)
    feature = features.get(task.label_field)
    if getattr(feature, "dtype", None) == "float32":
        return lambda label: read(_decimal(label))
    names = getattr(getattr(feature, "feature", feature), "names", None)
    if names is None:
        unnamed = functools.partial(_unnamed, read, len(task.labels))
        is_set = task.problem.independent_labels
        return (lambda label: sorted(set(unnamed(label)))) if is_set else unnamed
    if unknown := [name for name in names if task.labels and name not in task.labels]:
        raise HarnessError(
            f"{where}: its labels are called {', '.join(names)}; task '{task.name}' has {', '.join(task.labels)}, "
            f"and no {', '.join(unknown)}"
        )
    return lambda label: read(with_names(label, names))


def _decimal(score: Any) -> Any:
    """The shortest decimal of a single-precision score: T5's rounding of 0.7 to a fifth must not see 0.69999999."""
    import numpy as np

    return score if score is None else float(str(np.float32(score)))


def _unnamed(read: Callable[[Any], Any], count: int, label: Any) -> Any:
    if isinstance(label, list):
        return [_unnamed(lambda one: read([one])[0], count, one) for one in label]
    try:
        return read(label)
    except BadValue:
        if type(label) is int and 0 <= label < count:
            return label
        raise


def _example(task: Task, row: dict[str, Any], read: Callable[[Any], Any], unlabelled: bool) -> Example:
    for name in task.text_fields:
        check_field(task, name, row[name])
    if task.open_answers and task.label_field != "label":
        return row
    label = row.get(task.label_field)
    missing = unlabelled and label in (None, -1, task.unlabelled)
    example = {**row, task.label_field: task.unlabelled if missing else read(label)}
    if task.problem.of_words and not missing:
        check_sentence(task, example)
    return example


# Checkpoints -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on this machine.

    Attributes:
        folder: where its files are.
        revision: the commit on the Hub; None for a folder of the user's.
        pinned: whether the content was fixed by what the user wrote (False: the latest commit was taken).
        content: what identifies it: the commit, or a hash of the files that decide what is computed.
    """

    folder: Path
    revision: str | None
    pinned: bool
    content: str


def resolve_checkpoint(checkpoint: str, revision: str | None = None, *, weights: bool = True) -> Checkpoint:
    """A checkpoint from a folder, or from the Hub (downloaded where the cache does not have it).

    Args:
        checkpoint: a folder, or the id of a model on the Hub.
        revision: a commit, branch or tag on the Hub (None: the latest commit); None for a folder.
        weights: False leaves the weights out: a tokenizer is all that is wanted.

    Raises:
        HarnessError: no such folder or model, no access, no network, no safetensors weights.
    """
    folder = Path(os.path.expanduser(checkpoint))
    if os.path.isdir(folder):
        if revision is not None:
            raise HarnessError(f"checkpoint {checkpoint} is a folder, and a folder has no revision ('{revision}')")
        names = [path.name for path in folder.iterdir() if path.is_file()]
        _check_files(f"checkpoint {checkpoint}", names, weights)
        deciding = _matching(names, [*SETTINGS, *(WEIGHTS if weights else ())])
        return Checkpoint(folder, None, True, digest({name: file_hash(folder / name) for name in deciding}))
    if checkpoint.startswith(("/", "./", "../", "~")) or checkpoint.count("/") > 1 or "\\" in checkpoint:
        raise HarnessError(f"checkpoint {checkpoint}: there is no such folder")
    asked = Asked("checkpoint", checkpoint, revision)
    commit, pinned = _commit(asked)
    return Checkpoint(_download(asked, commit, weights), commit, pinned, commit)


def _download(asked: Asked, commit: str, weights: bool) -> Path:
    from huggingface_hub import HfApi, snapshot_download

    patterns = wanted_files(weights)
    folder = ask(
        asked,
        lambda: snapshot_download(asked.id, revision=commit, allow_patterns=patterns, ignore_patterns=[*NO_FOLDERS]),
    )
    names = [path.name for path in Path(folder).iterdir()]
    if not _matching(names, WEIGHTS) and weights:
        names = ask(asked, lambda: HfApi().list_repo_files(asked.id, revision=commit))
    _check_files(str(asked), names, weights)
    return Path(folder)


def wanted_files(weights: bool) -> list[str]:
    """The patterns of a checkpoint's files that are fetched."""
    return [*SETTINGS, *(WEIGHTS if weights else ())]


def _check_files(checkpoint: str, names: Sequence[str], weights: bool) -> None:
    if weights and "config.json" not in names:
        raise HarnessError(f"{checkpoint} has no config.json: it is not a checkpoint in the form of transformers")
    if not weights or _matching(names, WEIGHTS[:1]):
        return
    if pickled := _matching(names, PICKLES):
        raise HarnessError(
            f"{checkpoint} has its weights as {', '.join(pickled)} only, a format that can run code and is refused: "
            "look among its discussions on the Hub for a conversion to safetensors, and name its branch (revision: "
            "refs/pr/1), or convert it once (https://huggingface.co/spaces/safetensors/convert, or, where you trust "
            "it, load it with transformers and save it again with save_pretrained)"
        )
    raise HarnessError(f"{checkpoint} has no weights (*.safetensors)")


def _matching(names: Sequence[str], patterns: Sequence[str]) -> list[str]:
    return sorted(name for name in names if any(Path(name).match(p) for p in patterns) and "/" not in name)
