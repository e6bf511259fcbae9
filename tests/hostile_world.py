"""A folder with one of every file that is read back, and who reads it: for the tests of hostile and broken files."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mutations import command
from official import own_file
from safetensors.torch import load_file, save_file
from tiny import TINY
from transformers import BertConfig, BertForMaskedLM

from harness.io import digest, to_json
from harness.models.tokenizers import sample_tokenizer
from harness.results.tensors import PLAIN, load_tensors, save_tensors
from harness.submission.write import HEADER
from harness.training.update import Training

ROWS = [{"text": f"The boat {i} left{' late' * (i % 3)}.", "label": ["bad", "good"][i % 2]} for i in range(24)]
WORDS = [{"tokens": ["Anna", "saw", f"it{i}"], "tags": ["B-name", "O", "O"]} for i in range(12)]
FORMATS = ("csv", "tsv", "jsonl", "json", "parquet", "csv.gz", "jsonl.gz")
CLASSES = {"problem_type": "single_label_classification", "text": "text", "metrics": ["accuracy"]}


@dataclass(frozen=True)
class Subject:
    """A file that is read back.

    Attributes:
        where: a pattern of its path, in the folder.
        reads: commands that read it; ``RUN``, ``MODEL`` stand for the folders of the first run and of its model, and a
            first word ``forget`` means that the record of this run is removed before.
        seal: writes an altered content with whatever checksums it has.
        users: whether it is the user's own: nothing may change it.
    """

    where: str
    reads: Sequence[Sequence[str]]
    seal: Callable[[Path, bytes], Any] = Path.write_bytes
    users: bool = False


VALIDATE = [["validate", "b.yaml", "--data", "--offline"]]
RUN = [["run", "b.yaml", "first", "--jobs", "1", "--offline"]]
AGAIN = [["forget", *RUN[0]]]
DRY = ["run", "b.yaml", "first", "--dry-run", "--offline"]
SECOND = [["run", "b.yaml", "second", "--jobs", "1", "--offline"]]
READ = [["report", "results"], ["show", "RUN"], ["status", "results"], ["audit", "results", "--file", "b.yaml"]]
LOOK = [
    ["errors", "RUN", "--file", "b.yaml"],
    ["compare", "m", "tiny", "results"],
    ["export", "results", "--to", "tensorboard", "out"],
]
USE = [["predict", "RUN", "rows.csv", "--file", "b.yaml"], ["predict", "MODEL", "rows.csv", "--file", "b.yaml"], *RUN]
PRIVATE = "results/.work/*/"


def seal_record(path: Path, content: bytes) -> None:
    """A file of a record, and its checksum."""
    path.write_bytes(content)
    names = ("record.json", "predictions.jsonl", "history.jsonl")
    sums = {name: hashlib.sha256((path.parent / name).read_bytes()).hexdigest() for name in names}
    (path.parent / "checksums.json").write_bytes(to_json(sums))


def seal_kept(path: Path, content: bytes) -> None:
    """A file of a kept model, and its size and checksum in the notes."""
    path.write_bytes(content)
    notes = json.loads((path.parent / "harness.json").read_bytes())
    notes["files"][path.name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (path.parent / "harness.json").write_bytes(to_json(notes))


def seal_first_line(path: Path, content: bytes) -> None:
    """A content behind a line with its checksum."""
    content = content.partition(b"\n")[2]
    path.write_bytes(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)


def seal_columns(path: Path, content: bytes) -> None:
    """The content of tokenised features, with the sum that it has of itself, where it still is an object."""
    try:
        data = json.loads(content)
        data.pop("sum", None)
        content = json.dumps({**data, "sum": digest(data)}).encode()
    except (ValueError, AttributeError, TypeError, RecursionError):
        pass
    path.write_bytes(content)


def seal_state(path: Path, content: bytes) -> None:
    """A training state whose plain part is the content; its tensors stay."""
    tensors = load_tensors(path)
    save_tensors(path, {**tensors, PLAIN: torch.from_numpy(np.frombuffer(content or b" ", dtype=np.uint8).copy())})


RECORD, MODEL, CHECKPOINT = "results/first/runs/*/*/*/", "results/first/models/*/", "checkpoint/"
SUBJECTS: dict[str, Subject] = {
    "yaml": Subject("b.yaml", [["validate", "b.yaml"], ["models", "b.yaml"], ["tasks", "b.yaml"]], users=True),
    "plugin": Subject("plugins/own.py", [["tasks", "b.yaml"]], users=True),
    **{f"data {kind}": Subject(f"data/train.{kind}", VALIDATE, users=True) for kind in (*FORMATS, "conll")},
    "rows": Subject("rows.csv", USE[:1], users=True),
    **{
        name: Subject(f"{RECORD}{name}", [*READ, *LOOK, *RUN], seal_record)
        for name in ("record.json", "predictions.jsonl", "history.jsonl")
    },
    **{name: Subject(f"{RECORD}{name}", [*READ, *RUN]) for name in ("efficiency.json", "checksums.json", "run.log")},
    "manifest": Subject("results/first/manifest.json", [*READ, *RUN]),
    "leaderboard.json": Subject("results/first/leaderboard.json", [READ[3], READ[0]]),
    **{
        f"live {name}": Subject(PRIVATE + name, [READ[2], READ[0], *SECOND])
        for name in ("run.json", "history.jsonl", "run.log")
    },
    "state": Subject(f"{PRIVATE}state.safetensors", SECOND, seal_state),
    "memory": Subject(f"{PRIVATE}micro_batch_tokens", SECOND),
    "answers": Subject("results/.cache/answers/*.json", [READ[0]], seal_first_line),
    **{
        f"{kind} pack": Subject(f"results/.cache/{kind}/*/*.jsonl", [READ[0]], seal_first_line)
        for kind in ("curves", "records")
    },
    "tokenizer cache": Subject("results/.cache/tokenizers/sample-bert-*.json", SECOND, seal_first_line),
    "features columns": Subject("results/.cache/features/*/columns.json", AGAIN, seal_columns),
    "features array": Subject("results/.cache/features/*/input_ids.values.npy", AGAIN),
    "features": Subject("results/.cache/features/*", AGAIN),
    "kept notes": Subject(f"{MODEL}harness.json", USE),
    **{
        f"kept {name}": Subject(f"{MODEL}{name}", USE, seal_kept)
        for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    },
    **{
        f"checkpoint {name}": Subject(f"{CHECKPOINT}{name}", [DRY, *AGAIN], users=True)
        for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors.index.json",
                     "model-00001-of-00001.safetensors")
    },
    "zip": Subject("GLUE.zip", [["check-submission", "GLUE.zip"]], users=True),
    "zip 2": Subject("SuperGLUE.zip", [["check-submission", "SuperGLUE.zip"]], users=True),
}  # fmt: skip


class World:
    """The ``folder``, as a test changes it, and a ``sound`` copy; names are those that it has there."""

    def __init__(self, folder: Path, sound: Path):
        self.folder, self.sound = folder, sound
        shutil.copytree(folder, sound)

    def path(self, subject: Subject) -> Path:
        """Where a file is; the first of several."""
        return min(self.sound.glob(subject.where)).relative_to(self.sound)

    def content(self, subject: Subject) -> bytes:
        """Its sound content; of a training state the plain part."""
        path = self.sound / self.path(subject)
        return load_tensors(path)[PLAIN].numpy().tobytes() if subject.seal is seal_state else path.read_bytes()

    def restore(self) -> None:
        """Make all as it was, and go there."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.sound, self.folder)
        os.chdir(self.folder)

    def read(self, words: Sequence[str]) -> tuple[int, str]:
        """Exit code and output of a command."""
        names = {"RUN": min(self.sound.glob(RECORD)), "MODEL": min(self.sound.glob(MODEL))}
        if words[0] == "forget":
            shutil.rmtree(self.folder / names["RUN"].relative_to(self.sound))
        return command(*(str(names[w].relative_to(self.sound)) if w in names else w for w in words if w != "forget"))

    def lost(self, subject: Subject, words: Sequence[str]) -> list[str]:
        """What a command changed that it may not: what is the user's own, other records, other kept models."""
        altered = self.path(subject)
        own = {altered} if not subject.users else set()
        folders = {altered.parent} if "runs" in altered.parts or "models" in altered.parts else set()
        lost = []
        for path in (p.relative_to(self.sound) for p in self.sound.rglob("*") if p.is_file()):
            kept = path.parts[0] != "results" or {"runs", "models"} & set(path.parts)
            if not kept or path in own or path == altered or path.parent in folders:
                continue
            if words[0] == "forget" and path.match(f"{RECORD}*"):
                continue
            if (
                not (self.folder / path).is_file()
                or (self.folder / path).read_bytes() != (self.sound / path).read_bytes()
            ):
                lost.append(str(path))
        return lost


def make_world(folder: Path, cache: Path) -> None:
    """Write all files, by the commands that write them."""
    (folder / "data").mkdir(parents=True)
    (folder / "plugins").mkdir()
    (folder / "plugins" / "own.py").write_text("NOTHING = None\n")
    for kind in FORMATS:
        (folder / "data" / f"train.{kind}").write_bytes(own_file(f".{kind}", ROWS))
    (folder / "data" / "train.conll").write_bytes(own_file(".conll", WORDS))
    (folder / "rows.csv").write_text("text\nThe boat left.\nIt is late.\n")
    many = [{**row, "text": f"{row['text']} {i}"} for i in range(4) for row in ROWS]
    (folder / "data" / "many.csv").write_bytes(own_file(".csv", many))
    _checkpoint(folder / "checkpoint", cache)
    _submissions(folder)
    tasks: dict[str, Any] = {
        f"of-{kind.replace('.', '-')}": {**CLASSES, "train": f"data/train.{kind}", "validation": f"data/train.{kind}"}
        for kind in FORMATS
    }
    tasks["of-words"] = {"problem_type": "token_classification", "train": "data/train.conll"}
    tasks["of-words"]["validation"] = "data/train.conll"
    tasks["first"] = {**CLASSES, "train": "data/train.csv", "validation": "data/many.csv"}
    models = {
        "m": {"architecture": "bert", "checkpoint": "./checkpoint"},
        "tiny": {"architecture": "bert", "config": TINY["bert"], "tokenizer": "sample"},
    }
    recipe = {"max_steps": 3, "batch_size": 4, "max_length": 32, "precision": "fp32", "evaluations": 1}
    common = {"recipe": recipe, "checkpoint_every": 0}
    benchmarks = {
        "first": {"tasks": ["first"], "models": ["m", "tiny"], "keep": "best", **common},
        "second": {"tasks": ["of-csv"], "models": ["tiny"], **common},
        "all": {"tasks": [*tasks], "models": ["tiny"], **common},
    }
    file = {"default": "all", "plugins": ["plugins"], "tasks": tasks, "models": models, "benchmarks": benchmarks}
    (folder / "b.yaml").write_text(json.dumps(file, indent=1))


def train(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Do the first benchmark, and stop the second one in the middle."""
    monkeypatch.chdir(folder)
    shutil.copytree(cache / "tokenizers", "results/.cache/tokenizers")
    for words in (*RUN, READ[0]):
        code, out = command(*words)
        assert code == 0, out
    update = Training.update

    def stopped(training: Training) -> None:
        if training.step == 2:
            raise KeyboardInterrupt
        update(training)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "update", stopped)
        code, out = command(*SECOND[0])
        assert code == 130, out
    (min(folder.glob(f"{PRIVATE}run.json")).parent / "micro_batch_tokens").write_text("64")


def _checkpoint(folder: Path, cache: Path) -> None:
    """A tiny BERT in one shard, with its tokenizer."""
    tokenizer = sample_tokenizer("bert", cache)
    torch.manual_seed(1)
    BertForMaskedLM(BertConfig(vocab_size=len(tokenizer), **TINY["bert"])).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    shard = "model-00001-of-00001.safetensors"
    save_file(weights, folder / shard, {"format": "pt"})
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(weights, shard)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _submissions(folder: Path) -> None:
    wnli = HEADER + "\n" + "".join(f"{i}\t{i % 2}\n" for i in range(146))
    methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2)
    with zipfile.ZipFile(folder / "GLUE.zip", "w") as archive:
        for name, method in zip(("WNLI.tsv", "RTE.tsv", "STS-B.tsv", "AX.tsv"), methods, strict=True):
            archive.writestr(zipfile.ZipInfo(name), wnli, method)
    copa = "".join(json.dumps({"idx": i, "label": i % 2}) + "\n" for i in range(500))
    with zipfile.ZipFile(folder / "SuperGLUE.zip", "w") as archive:
        archive.writestr(zipfile.ZipInfo("COPA.jsonl"), copa, zipfile.ZIP_LZMA)
        archive.writestr(zipfile.ZipInfo("BoolQ.jsonl"), copa, zipfile.ZIP_DEFLATED)
