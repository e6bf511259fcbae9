"""Every file that is read back, mutated or replaced by what is no file, ends in a message or is made again.

Never a traceback, never a run that failed for it, never a hang, and nothing of the user's is lost. Some hundred inputs;
4,500 more of them with ``-m slow``, which with `test_fuzz.py` makes 10,000.
"""

from __future__ import annotations

import functools
import json

import pytest
from hostile_world import SUBJECTS, Subject, World, make_world, train
from hypothesis import strategies as st
from mutations import EDITS, THINGS, amounts, change_node, fuzz, in_time, mutated, replaced

from harness.data import sample
from harness.results import answers, reading


@pytest.fixture(scope="module")
def world(tmp_path_factory, sample_cache):
    folder = tmp_path_factory.mktemp("hostile")
    make_world(folder / "world", sample_cache)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(sample, "sample_texts", functools.cache(sample.sample_texts))  # of tokenizers made again
        monkeypatch.setattr(answers, "WORTH_KEEPING", 0)  # small ones, too
        monkeypatch.setattr(reading, "SETTLED", 0)  # new ones, too
        train(folder / "world", sample_cache, monkeypatch)
        yield World(folder / "world", folder / "sound")


IN_TEST_FEATURES = ("tokenizer cache", "features columns", "features array", "features")
"""What ``tests/data/test_features.py`` alters and replaces without whole commands; here when there is time."""


def check(world: World, subject: Subject, words) -> str:
    """A command on the changed folder, and what it prints."""
    with in_time(words):
        code, out = world.read(words)
    assert code in (0, 1, 2), (code, out)
    assert "Traceback" not in out and "FAILED" not in out, out
    if words[0] != "predict":  # which prints the user's own rows
        assert all(line.isprintable() for line in out.replace("\t", " ").split("\n")), out
    assert code != 2 or out.strip()
    assert not world.lost(subject, words)
    return out


@pytest.mark.slow
def test_what_the_mutations_begin_with_is_sound(world):
    commands = {tuple(words): subject for subject in SUBJECTS.values() for words in subject.reads}
    for words, subject in commands.items():
        world.restore()
        out = check(world, subject, words)
        assert "damaged" not in out and "altered" not in out, (words, out)


def without_file(world: World, name: str, thing: str, words) -> None:
    """Read a subject in whose place a thing is that is no file."""
    subject = SUBJECTS[name]
    world.restore()
    replaced(world.folder / world.path(subject), thing)
    check(world, subject, words)


@pytest.mark.parametrize("name", [name for name in SUBJECTS if name not in IN_TEST_FEATURES])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(world, name):
    without_file(world, name, "pipe", SUBJECTS[name].reads[0])


@pytest.mark.slow
@pytest.mark.parametrize("thing", THINGS)
@pytest.mark.parametrize("name", SUBJECTS)
def test_what_is_no_file_is_told(world, name, thing):
    for words in SUBJECTS[name].reads:
        without_file(world, name, thing, words)


CACHES = ["answers", "curves pack", "kept tokenizer.json"]
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("tokenizer cache", "features array")]


@pytest.mark.parametrize("name", [*CACHES, *SLOW])
def test_an_altered_cache_changes_no_number(world, name):
    """One digit or letter is another one, and all else as it was."""
    subject = SUBJECTS[name]
    world.restore()
    for words in subject.reads:
        check(world, subject, words)
    table = world.folder / "results/first/leaderboard.json"
    expected = table.read_bytes()
    scores = {path: path.read_bytes() for path in world.folder.glob("results/*/runs/*/*/*/predictions.jsonl")}
    world.restore()
    path = world.folder / world.path(subject)
    content = path.read_bytes()
    at = content.rindex(b"1") if name == "answers" else content.index(b'"th') if path.suffix == ".json" else 200
    path.write_bytes(content[: at + 1] + bytes([content[at + 1] ^ 1]) + content[at + 2 :])
    for words in subject.reads:
        check(world, subject, words)
    assert {path: path.read_bytes() for path in scores} == scores
    if name == "answers":  # of others, a run is done again, and takes another time
        assert table.read_bytes() == expected


def test_a_kept_tokenizer_with_words_that_the_model_lacks_is_named(world):
    subject = SUBJECTS["kept tokenizer_config.json"]
    world.restore()
    path = world.folder / world.path(subject)
    subject.seal(path, json.dumps({**json.loads(path.read_bytes()), "pad_token": "[OTHER]"}).encode())
    assert "do not belong together" in check(world, subject, subject.reads[0])


def mutate(world: World, name: str, number: int, how: str, edits) -> None:
    """Read a file after some edits; ``how`` they are made, and whether its checksums then fit."""
    subject = SUBJECTS[name]
    world.restore()
    path = world.folder / world.path(subject)
    if path.is_dir():
        return
    content = world.content(subject)
    try:
        document = json.loads(content) if how == "nodes" else None
    except ValueError:
        document = None
    if isinstance(document, dict):
        for _, at, size, what in edits:
            if isinstance(document, dict | list):
                document = change_node(document, "key" if size % 5 == 0 else "value", at, what)
        content = json.dumps(document).encode()
    else:
        content = mutated(content, edits, documents=path.suffix == ".jsonl")
    (path.write_bytes if how == "altered" else lambda new: subject.seal(path, new))(content)
    written = path.read_bytes()
    check(world, subject, subject.reads[number % len(subject.reads)])
    assert not subject.users or path.read_bytes() == written


NUMBERS, WAYS = st.integers(0, 2**16), st.sampled_from(["nodes", "bytes", "altered"])


@amounts(25, 600)
def test_mutations(number, world):
    def check_one(name: str, which: int, how: str, edits) -> None:
        mutate(world, name, which, how, edits)

    fuzz(number, check_one, st.sampled_from(sorted(SUBJECTS)), NUMBERS, WAYS, EDITS)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SUBJECTS if not name.startswith("data ")])  # see test_fuzz.py
def test_many_mutations(world, name):
    def check_one(which: int, how: str, edits) -> None:
        mutate(world, name, which, how, edits)

    fuzz(120, check_one, NUMBERS, WAYS, EDITS)
