"""The Hub's real clients against a loopback server that plays the Hub: what works, and every way in which it fails.

The clients read their settings when they are imported, so they run in a process of their own.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow
import pytest
from hub_server import HubServer, calling

from harness import HarnessError, load_examples, load_tasks
from harness.data import hub_access
from harness.data.datasets import data_fingerprint, splits_in
from harness.data.hub import Checkpoint, hub_revision, resolve_checkpoint
from harness.data.hub_access import Asked, ask
from harness.task import functions
from harness.task.task import HubSource, Task

ONE, TWO = "1" * 40, "2" * 40
COLA = ("unacceptable", "acceptable")


def table(rows: int, labels: list | None = None, names: tuple[str, ...] | None = COLA, **columns: Any) -> pyarrow.Table:
    """A table as on the Hub: its class names stand in the metadata."""
    content = {"sentence": [f"Sentence {i}." for i in range(rows)], "idx": range(rows), **columns}
    found = pyarrow.table({**content, "label": labels if labels is not None else [i % 2 for i in range(rows)]})
    kinds = {"idx": "int32", **dict.fromkeys(("sentence", *columns), "string")}
    features: dict[str, Any] = {name: {"dtype": kinds[name], "_type": "Value"} for name in content}
    features["label"] = {"names": list(names), "_type": "ClassLabel"} if names else {"dtype": "int64", "_type": "Value"}
    return found.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


@pytest.fixture(scope="module")
def server() -> Iterator[HubServer]:
    with HubServer() as hub:
        yield hub


@pytest.fixture
def hub(server) -> HubServer:
    server.heal()
    return server


@pytest.fixture(scope="module")
def call(server) -> Iterator[Callable]:
    """Call a function in the process in which the server is the Hub."""
    with calling(server) as process:
        yield process


@pytest.fixture
def name() -> str:
    """The name of a repository that no other test uses: the clients cache what they get."""
    return f"org/repository-{uuid.uuid4().hex[:8]}"


def on_hub(repo: str, revision: str | None = ONE, config: str = "cola", task: str = "cola") -> Task:
    return dataclasses.replace(load_tasks()[task], hub=HubSource(repo, config, revision))


def read(repo: str, split: str, *source: Any) -> list[dict]:
    return load_examples(on_hub(repo, *source), "hub", split)


def revision(repo: str, *source: Any) -> tuple[str, bool]:
    return hub_revision(on_hub(repo, *source))


def fingerprint(repo: str, *source: Any) -> dict:
    return data_fingerprint(on_hub(repo, *source), "hub", ["train", "validation"])


def message(call: Callable, function: Callable, *args: Any) -> str:
    with pytest.raises(HarnessError) as error:
        call(function, *args)
    assert "\n" not in str(error.value)
    return str(error.value)


# Data sets -------------------------------------------------------------------------------------------------------


def test_examples_come_from_the_parquet_files_of_the_pinned_commit(hub, call, name):
    hub.add_dataset(name, "cola", ONE, {"train": table(5), "validation": table(3), "test": table(2, [-1, -1])})
    hub.add_dataset(name, "cola", TWO, {"train": table(9)})
    assert call(read, name, "train") == [{"sentence": f"Sentence {i}.", "label": i % 2, "idx": i} for i in range(5)]
    assert len(call(read, name, "validation")) == 3
    assert [example["label"] for example in call(read, name, "test")] == [-1, -1]
    assert len(call(read, name, "train", TWO)) == 9
    assert call(revision, name) == (ONE, True)
    assert any(request.path.startswith("/cdn/") for request in hub.requests)  # by way of the redirect
    assert splits_in(on_hub(name), "hub") == {"train", "validation", "test"}


def test_another_order_of_the_labels_is_matched_by_name(hub, call, name):
    hub.add_dataset(name, "cola", ONE, {"train": table(3, [0, 1, 1], names=COLA[::-1])})
    assert [example["label"] for example in call(read, name, "train")] == [1, 0, 0]


def test_other_label_names_are_refused(hub, call, name):
    hub.add_dataset(name, "cola", ONE, {"train": table(3, names=("acceptable", "wrong"))})
    assert message(call, read, name, "train") == (
        f"data set {name} at revision {ONE}, cola/train: its labels are called acceptable, wrong; "
        "task 'cola' has unacceptable, acceptable, and no wrong"
    )


TAGS = load_tasks()["wnut17"].labels


def tagged(rows: list[list[int]], names: tuple[str, ...] = TAGS) -> pyarrow.Table:
    tokens = [[f"w{i}" for i in range(len(row))] for row in rows]
    table = pyarrow.table({"id": [str(i) for i in range(len(rows))], "tokens": tokens, "ner_tags": rows})
    features = {
        "id": {"dtype": "string", "_type": "Value"},
        "tokens": {"feature": {"dtype": "string", "_type": "Value"}, "_type": "Sequence"},
        "ner_tags": {"feature": {"names": list(names), "_type": "ClassLabel"}, "_type": "Sequence"},
    }
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def read_tags(repo: str, split: str) -> list[dict]:
    return load_examples(on_hub(repo, ONE, None, "wnut17"), "hub", split)


def test_sentences_and_their_tags_in_the_layout_of_the_hubs_conversion(hub, call, name):
    splits = {"train": tagged([[0, 9, 10], [0]]), "validation": tagged([[7]]), "test": tagged([[1, 2]], TAGS)}
    hub.add_converted(name, "wnut_17", ONE, splits)
    train = call(read_tags, name, "train")
    assert train[0] == {"id": "0", "idx": 0, "tokens": ["w0", "w1", "w2"], "ner_tags": [0, 9, 10]}
    assert [len(call(read_tags, name, split)) for split in splits] == [2, 1, 1]


def test_the_tags_of_the_hub_are_matched_by_name_and_checked(hub, call, name):
    order = ("O", *reversed(TAGS[1:]))
    hub.add_converted(name, "wnut_17", ONE, {"train": tagged([[12, 11]], order), "validation": tagged([[0, 1]], order)})
    assert call(read_tags, name, "train")[0]["ner_tags"] == [1, 2]
    assert "row 0: word 2 has tag 'I-product' after 'O'" in message(call, read_tags, name, "validation")


def test_labels_without_names_are_indices(hub, call, name):
    hub.add_dataset(name, "cola", ONE, {"train": table(3, [1, 0, 1], names=None)})
    assert [example["label"] for example in call(read, name, "train")] == [1, 0, 1]
    hub.add_dataset(name, "cola", TWO, {"train": table(3, [1, 0, 2], names=None)})
    assert "cola/train, row 2: unknown label 2. Known labels: unacceptable" in message(call, read, name, "train", TWO)


def read_several(repo: str, commit: str) -> list[Any]:
    several = {"problem_type": "multi_label_classification", "labels": ("anger", "joy", "love")}
    task = dataclasses.replace(load_tasks()["cola"], hub=HubSource(repo, "simple", commit), **several)
    return [example["label"] for example in load_examples(task, "hub", "train")]


def test_lists_of_labels(hub, call, name):
    content = pyarrow.table({"sentence": ["A", "B"], "label": [[0, 1], []]})
    label = {"feature": {"names": ["love", "anger"], "_type": "ClassLabel"}, "_type": "List"}
    features = {"sentence": {"dtype": "string", "_type": "Value"}, "label": label}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    hub.add_dataset(name, "simple", ONE, {"train": content.replace_schema_metadata(metadata)})
    hub.add_dataset(name, "simple", TWO, {"train": content})
    assert call(read_several, name, ONE) == [[0, 2], []]
    assert call(read_several, name, TWO) == [[0, 1], []]  # no names: class indices


def test_irregular_tasks_keep_their_columns(hub, call, name):
    row = {"passage": "P", "query": "Q", "entities": ["E"], "answers": ["E"], "idx": {"passage": 1, "query": 2}}
    hub.add_dataset(name, "record", ONE, {"train": pyarrow.Table.from_pylist([row])})
    assert call(read, name, "train", ONE, "record", "record") == [row]


def test_a_training_example_without_label_is_refused(hub, call, name):
    hub.add_dataset(name, "cola", ONE, {"train": table(2, [0, -1])})
    assert "cola/train, row 1: the label is missing" in message(call, read, name, "train")


def test_scores_are_the_decimals_that_single_precision_stands_for(hub, call, name):
    scores = pyarrow.array([0.7, 3.8, 5.0], pyarrow.float32())
    columns = {"sentence1": ["A"] * 3, "sentence2": ["B"] * 3, "label": scores, "idx": range(3)}
    hub.add_dataset(name, "stsb", ONE, {"train": pyarrow.table(columns)})
    examples = call(read, name, "train", ONE, "stsb", "stsb")
    assert [example["label"] for example in examples] == [0.7, 3.8, 5.0]
    assert functions.text_to_text(load_tasks()["stsb"], examples[0])[1] == "0.8"  # as with the official files


def test_a_split_without_rows(hub, call, name):
    hub.add_dataset(name, "cola", ONE, {"train": table(0)})
    assert f"data set {name} at revision {ONE} cannot be read: " in message(call, read, name, "train")


def test_missing_columns(hub, call, name):
    hub.add_dataset(name, "sst2", ONE, {"train": table(3).rename_columns(["text", "idx", "label"])})
    assert "there is no column 'sentence'. Found: text, idx, label" in message(call, read, name, "train", ONE, "sst2")


def test_an_unpinned_revision_is_resolved_and_told(hub, call, name):
    hub.add_dataset(name, "cola", ONE, {"train": table(5)})
    hub.add_dataset(name, "cola", TWO, {"train": table(9)}, branch="next")
    assert call(revision, name, None) == (ONE, False)
    assert call(revision, name, "next") == (TWO, False)
    assert len(call(read, name, "train", None)) == 5 and len(call(read, name, "train", "next")) == 9
    assert call(fingerprint, name, "next") == call(fingerprint, name, TWO)


def test_the_fingerprint_is_the_commit(hub, call, name):
    assert call(fingerprint, name) == {
        "source": "hub",
        "id": name,
        "config": "cola",
        "revision": ONE,
        "content": {"train": ONE, "validation": ONE},
    }
    assert hub.requests == []  # a pinned commit needs no network


LOGIN = "log in with `hf auth login`"
REFUSALS = {
    "gated": "is gated: ask for access at https://huggingface.co/datasets/{name}, then " + LOGIN,
    "401": "the Hub refuses data set {name} at revision {commit} (401): check the name, or, if it is private or gated, "
    + LOGIN,
    "403": "the Hub forbids data set {name} at revision {commit} (403): ask for access, or " + LOGIN,
    "429": "the Hub limits requests (429) for data set {name} at revision {commit}: wait some minutes",
    "503": "the Hub answers 503 for data set {name} at revision {commit}, again and again: run the same command later",
    "drop": "the transfer of data set {name} at revision {commit} broke off, again and again",
}


@pytest.mark.parametrize("mode", REFUSALS)
def test_a_hub_that_refuses_or_is_busy(mode, hub, call, name):
    hub.add_dataset(name, "cola", ONE, {"train": table(5)})
    hub.fail(mode)
    assert REFUSALS[mode].format(name=name, commit=ONE) in message(call, read, name, "train")
    hub.heal()
    assert len(call(read, name, "train")) == 5


@pytest.mark.parametrize(
    ("mode", "path"),
    [("429", "/cdn/"), ("503", "/cdn/"), ("cut", "/cdn/"), ("short", "/cdn/"), ("429", "/tree/"), ("503", "/tree/")],
)
def test_files_and_listings_that_do_not_come(mode, path, hub, call, name):
    hub.add_dataset(name, "cola", ONE, {"train": table(5)})
    hub.fail(mode, path=path)
    expected = {"429": "limits requests (429)", "503": "answers 503"}.get(
        mode, "broke off, again and again: nothing incomplete"
    )
    assert expected in message(call, read, name, "train")


@pytest.mark.parametrize("mode", ["429", "500", "503", "drop", "cut", "short"])
def test_a_passing_failure_is_survived(mode, hub, call, name):
    hub.add_dataset(name, "cola", ONE, {"train": table(5), "validation": table(3)})
    hub.fail(mode, times=1)
    hub.fail(mode, times=1, path="/cdn/")
    assert len(call(read, name, "train")) == 5 and len(call(read, name, "validation")) == 3
    assert all(failure.times == 0 for failure in hub.failures)


def test_wrong_names(hub, call, name):
    hub.add_dataset(name, "cola", ONE, {"train": table(5)})
    hub.add_dataset(name, "sst2", ONE, {"train": table(5)})
    assert message(call, read, "org/nothing", "train").startswith("the Hub has no data set org/nothing: check the name")
    assert f"{name} has no revision '{TWO}': see https://huggingface.co/datasets/" in message(
        call, read, name, "train", TWO
    )
    assert f"{name} has no revision 'nxt'" in message(call, read, name, "train", "nxt")
    assert "has no configuration 'colaa'. Did you mean 'cola'? It has: cola, sst2" in message(
        call, read, name, "train", ONE, "colaa"
    )
    assert "several configurations, and none is named." in message(call, read, name, "train", ONE, None)
    assert "has no split 'test'. It has: train" in message(call, read, name, "test")
    assert "neither a folder here nor a name on the Hub" in message(call, read, "one/two/three", "train")


def test_a_file_that_is_no_parquet(hub, call, name):
    hub.add_dataset(name, "cola", ONE, {"train": b"PAR1 nonsense" * 100})
    assert f"data set {name} at revision {ONE} cannot be read: Parquet magic bytes" in message(
        call, read, name, "train"
    )


def test_another_revision_in_the_cache_is_never_used(hub, call, name):
    """`datasets` takes the latest revision in its cache when the Hub does not answer."""
    hub.add_dataset(name, "cola", ONE, {"train": table(5)})
    hub.add_dataset(name, "cola", TWO, {"train": table(9)})
    assert len(call(read, name, "train", ONE)) == 5
    hub.fail("503")
    assert f"answers 503 for data set {name} at revision {TWO}" in message(call, read, name, "train", TWO)
    assert len(call(read, name, "train", ONE)) == 5  # what is there is used


SCRIPT = """
import dataclasses, sys
from harness import HarnessError, load_examples, load_tasks
from harness.data import hub_access
from harness.task.task import HubSource
repo, *commits = sys.argv[1:]
for commit in commits:
    task = dataclasses.replace(load_tasks()["cola"], hub=HubSource(repo, "cola", commit))
    try:
        print(len(load_examples(task, "hub", "train")))
    except HarnessError as error:
        print(error)
"""


def test_offline_and_no_network(hub, call, name):
    hub.add_dataset(name, "cola", ONE, {"train": table(5)})
    hub.add_dataset(name, "cola", TWO, {"train": table(9)}, branch="next")
    assert len(call(read, name, "train")) == 5

    def run(*args: str, **variables: str) -> str:
        environment = {**os.environ, **hub.environment(), **variables}
        done = subprocess.run([sys.executable, "-c", SCRIPT, *args], env=environment, text=True, capture_output=True)
        return done.stdout or done.stderr

    offline = run(name, ONE, TWO, "next", HF_HUB_OFFLINE="1").splitlines()
    assert offline[0] == "5"
    assert f"{name} at revision {TWO} is not in the cache, and offline mode" in offline[1]
    assert f"{name} at revision next is not in the cache, and offline mode" in offline[2]
    nowhere = run(name, TWO, HF_ENDPOINT="http://127.0.0.1:9")
    assert f"cannot reach the Hub for data set {name} at revision {TWO}: check the network" in nowhere


class Busy(OSError):
    """An error of the clients, as far as it is looked at."""

    def __init__(self, status: int, **headers: str) -> None:
        super().__init__(f"the server says {status}")
        self.response = SimpleNamespace(status_code=status, headers=headers)


@pytest.mark.parametrize(
    ("headers", "waits"),
    [
        ({}, [2, 4]),
        ({"retry-after": "30"}, [30, 30]),
        ({"ratelimit": '"api";r=0;t=55', "retry-after": "3"}, [55, 55]),
        ({"ratelimit": '"api";r=9;t=55'}, [2, 4]),
        ({"retry-after": "86400"}, [300, 300]),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, [2, 4]),
    ],
)
def test_a_busy_hub_says_how_long_to_wait(headers, waits, monkeypatch):
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)

    def fail() -> None:
        raise Busy(429, **headers)

    with pytest.raises(HarnessError, match=r"limits requests \(429\) for data set a/b"):
        ask(Asked("data set", "a/b"), fail)
    assert slept == waits


def test_a_mistake_in_the_program_is_no_message_about_the_hub():
    with pytest.raises(ZeroDivisionError):
        ask(Asked("data set", "a/b"), lambda: 1 // 0)


def test_tasks_that_are_not_on_the_hub():
    with pytest.raises(HarnessError, match="task 'cola' is not on the Hub: name the folder that its data is in"):
        load_examples(dataclasses.replace(load_tasks()["cola"], hub=None), "hub", "train")


# Checkpoints -----------------------------------------------------------------------------------------------------

FILES = {
    "config.json": b'{"model_type": "bert"}',
    "model.safetensors": bytes(range(256)) * 40,
    "tokenizer.json": b"{}",
    "vocab.txt": b"[PAD]\n[UNK]\n",
    "spiece.model": b"pieces",
    "pytorch_model.bin": b"pickle",
    "tf_model.h5": b"other",
    "README.md": b"# Tiny",
    "onnx/config.json": b"{}",
}
WANTED = {"config.json", "model.safetensors", "tokenizer.json", "vocab.txt", "spiece.model"}


@pytest.fixture
def folder(tmp_path) -> Path:
    for file, content in FILES.items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(content)
    return tmp_path


def resolve(*args: Any, **options: Any) -> Checkpoint:
    return resolve_checkpoint(*args, **options)


def test_a_checkpoint_of_the_hub(hub, call, name, folder):
    hub.add_model(name, folder, ONE)
    found = call(resolve, name, ONE)
    assert (found.revision, found.pinned, found.content) == (ONE, True, ONE)
    assert {file.name: file.read_bytes() for file in found.folder.iterdir()} == {file: FILES[file] for file in WANTED}
    (folder / "config.json").write_bytes(b'{"model_type": "t5"}')
    hub.add_model(name, folder, TWO)
    latest = call(resolve, name)
    assert (latest.revision, latest.pinned, latest.content) == (TWO, False, TWO)
    assert (latest.folder / "config.json").read_bytes() == b'{"model_type": "t5"}'


def test_a_tokenizer_alone(hub, call, name, folder):
    (folder / "model.safetensors").unlink()
    hub.add_model(name, folder, ONE)
    found = call(resolve, name, ONE, weights=False)
    assert {file.name for file in found.folder.iterdir()} == WANTED - {"model.safetensors"}
    assert resolve_checkpoint(str(folder), weights=False).content != ""


def test_weights_that_only_pickle_can_read(hub, call, name, folder):
    (folder / "model.safetensors").unlink()
    hub.add_model(name, folder, ONE)
    for text in (message(call, resolve, name, ONE), message(call, resolve, str(folder))):
        assert "has its weights as pytorch_model.bin only, a format that can run code and is refused" in text
        assert "or convert it once" in text
    (folder / "pytorch_model.bin").unlink()
    assert message(call, resolve, str(folder)) == f"checkpoint {folder} has no weights (*.safetensors)"
    (folder / "config.json").unlink()
    assert f"checkpoint {folder} has no config.json" in message(call, resolve, str(folder))


def test_folders(folder, tmp_path_factory):
    found = resolve_checkpoint(str(folder))
    assert (found.folder, found.revision, found.pinned) == (folder, None, True)
    copy = tmp_path_factory.mktemp("copy")
    for file in WANTED:
        (copy / file).write_bytes(FILES[file])
    assert resolve_checkpoint(str(copy)).content == found.content  # neither the path nor other files count
    for file in WANTED:
        (copy / file).write_bytes(FILES[file] + b" ")
        assert resolve_checkpoint(str(copy)).content != found.content
        (copy / file).write_bytes(FILES[file])
    with pytest.raises(HarnessError, match=r"is a folder, and a folder has no revision \('main'\)"):
        resolve_checkpoint(str(folder), "main")
    with pytest.raises(HarnessError, match="there is no such folder"):
        resolve_checkpoint(str(folder / "nothing"))


def test_a_big_file_is_hashed_again_when_it_changes(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(b"a" * 17_000_000)
    before = resolve_checkpoint(str(folder)).content
    assert resolve_checkpoint(str(folder)).content == before
    weights.write_bytes(b"a" * 16_999_999 + b"b")
    assert resolve_checkpoint(str(folder)).content != before


CHECKPOINT_REFUSALS = {
    "gated": "is gated: ask for access at https://huggingface.co/{name}, then " + LOGIN,
    "401": "the Hub refuses checkpoint {name} at revision {commit} (401)",
    "403": "the Hub forbids checkpoint {name} at revision {commit} (403)",
    "429": "the Hub limits requests (429) for checkpoint {name}",
    "503": "the Hub answers 503 for checkpoint {name}",
    "drop": "the transfer of checkpoint {name} at revision {commit} broke off",
}


@pytest.mark.parametrize("mode", CHECKPOINT_REFUSALS)
def test_checkpoints_that_do_not_come(mode, hub, call, name, folder):
    hub.add_model(name, folder, ONE)
    hub.fail(mode)
    assert CHECKPOINT_REFUSALS[mode].format(name=name, commit=ONE) in message(call, resolve, name, ONE)


def test_names_that_no_checkpoint_has(hub, call, name, folder):
    hub.add_model(name, folder, ONE)
    assert message(call, resolve, "org/tinny").startswith(
        "the Hub has no checkpoint org/tinny, and there is no folder org/tinny here: check the name"
    )
    assert f"checkpoint {name} has no revision '{TWO}'" in message(call, resolve, name, TWO)
    assert "neither a folder here nor a name on the Hub" in message(call, resolve, "tiny model")


@pytest.mark.parametrize("mode", ["cut", "short", "503"])
def test_a_broken_transfer_is_repeated_and_never_used(mode, hub, call, name, folder):
    hub.add_model(name, folder, ONE)
    blob = f"/cdn/{hashlib.sha256(FILES['model.safetensors']).hexdigest()}"
    hub.fail(mode, path=blob)
    assert name in message(call, resolve, name, ONE)
    hub.heal()
    hub.fail(mode, times=2, path=blob)
    found = call(resolve, name, ONE)
    assert (found.folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]


def load_tokenizer(repo: str, commit: str) -> list[int]:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(repo, revision=commit)("hello world")["input_ids"]


def test_transformers_loads_from_the_server(hub, call, name, tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {"[PAD]": 0, "[UNK]": 1, "hello": 2, "world": 3}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    hub.add_model(name, tmp_path, ONE)
    assert call(load_tokenizer, name, ONE) == [2, 3]


def test_a_hub_that_cannot_be_reached_is_waited_for_on_request(monkeypatch):
    from huggingface_hub import constants

    looks, slept = [], []

    def answers(address: str) -> bool:
        looks.append(address)
        return len(looks) > 3

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub_access, "_LOOKED", {})
    monkeypatch.setattr(hub_access, "_answers", answers)
    monkeypatch.setattr(hub_access.time, "sleep", slept.append)
    assert not hub_access.reach() and not hub_access.reach() and len(looks) == 1
    with hub_access.network(wait=True):
        assert hub_access.reach() and len(looks) == 4 and len(slept) == 3
    assert hub_access.reach() and len(looks) == 4
    with hub_access.network(offline=True):
        assert hub_access.is_offline()


def test_a_server_that_says_anything_can_be_reached(hub, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert hub_access._answers(hub.url)
    hub.fail("503")
    assert hub_access._answers(hub.url)
    hub.fail("drop")
    assert hub_access._answers(hub.url)
    assert not hub_access._answers("http://127.0.0.1:9")
    assert not hub_access._answers("http://no-such-host.invalid")
