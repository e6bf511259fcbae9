"""Tokenised data on disk: what is stored is what was made, and damage is noticed."""

import functools
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import THINGS, in_time, replaced
from transformers import PreTrainedTokenizerFast

from harness.data import sample as sample_data
from harness.data.features import cached, pack
from harness.errors import HarnessError
from harness.models.tokenizers import encode, sample_tokenizer

rows = st.lists(
    st.lists(
        st.fixed_dictionaries({"input_ids": st.lists(st.integers(0, 9), min_size=1), "labels": st.just([1.5])}),
        max_size=3,
    ),
    min_size=1,
)


@given(rows)
@settings(deadline=None)
def test_pack_keeps_groups_and_drops_examples_without_instances(examples):
    kept = [group for group in examples if group]
    if not kept:
        with pytest.raises(HarnessError, match="nothing to read"):
            pack(examples)
        return
    features = pack(examples)
    assert features.sizes.tolist() == [len(group) for group in kept]
    assert features.lengths.tolist() == [max(len(row["input_ids"]) for row in group) for group in kept]
    flat = [row for group in kept for row in group]
    assert [features.columns["input_ids"][i].tolist() for i in features.instances(range(len(kept)))] == [
        row["input_ids"] for row in flat
    ]


def sample():
    return [[{"input_ids": [1, 2, 3], "labels": [0.5]}], [{"input_ids": [4], "labels": [1.0]}]]


def test_cache_makes_once_and_maps_into_memory(tmp_path):
    calls = []

    def make():
        calls.append(1)
        return sample()

    first = cached(tmp_path, "key", make)
    second = cached(tmp_path, "key", make)
    assert len(calls) == 1
    assert isinstance(second.columns["input_ids"].values, np.memmap)
    assert second.columns["labels"][1].tolist() == first.columns["labels"][1].tolist() == [1.0]


@pytest.mark.parametrize("damage", ["cut", "flipped", *THINGS])
@pytest.mark.parametrize("file", ["", "groups.npy", "input_ids.values.npy", "labels.offsets.npy", "columns.json"])
def test_a_damaged_cache_is_made_again_and_told(tmp_path, capsys, file, damage):
    cached(tmp_path, "key", sample)
    path = tmp_path / "features" / "key" / file
    if damage in THINGS:
        replaced(path, damage)
    elif file:
        content = path.read_bytes()
        path.write_bytes(content[:-3] if damage == "cut" else content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])
    with in_time():
        again = cached(tmp_path, "key", sample)
    assert again.columns["input_ids"][0].tolist() == [1, 2, 3]
    sound = not file and damage in ("cut", "flipped", "nothing")
    assert ("damaged, and made again" in capsys.readouterr().err) != sound


sample_texts = functools.cache(sample_data.sample_texts)


@pytest.mark.parametrize(
    "damage", ["cut", "flipped", *(pytest.param(d, marks=pytest.mark.slow) for d in ("emptied", "another", *THINGS))]
)
def test_a_damaged_sample_tokenizer_is_made_again_and_told(tmp_path, capsys, monkeypatch, damage):
    monkeypatch.setattr(sample_data, "sample_texts", sample_texts)
    texts = ["The farmer sees the boats."]
    expected = encode(sample_tokenizer("bert", tmp_path), texts)
    [path] = (tmp_path / "tokenizers").iterdir()
    content = path.read_bytes()
    if damage in THINGS:
        replaced(path, damage)
    else:
        flipped = content.replace(b'"farmer"', b'"fbrmer"')
        assert flipped != content
        path.write_bytes({"cut": content[:5000], "flipped": flipped, "emptied": b""}.get(damage, b"{}"))
    with in_time():
        assert encode(sample_tokenizer("bert", tmp_path), texts) == expected
    assert ("damaged, and made again" in capsys.readouterr().err) == (damage not in ("nothing", "nowhere"))
    assert path.read_bytes() == content


@given(rows)
@settings(deadline=None)
def test_what_is_written_bit_by_bit_is_what_fits_in_memory(examples):
    if not any(examples):
        return
    whole = pack(examples)
    with tempfile.TemporaryDirectory() as folder, mock.patch("harness.data.features.BUFFER", 3):
        written = cached(Path(folder), "key", lambda: examples)
        assert written.groups.tolist() == whole.groups.tolist()
        for name, column in whole.columns.items():
            assert written.columns[name].values.dtype == column.values.dtype
            assert written.columns[name].values.tolist() == column.values.tolist()
            assert written.columns[name].offsets.tolist() == column.offsets.tolist()


def test_rows_of_no_numbers_are_kept(tmp_path):
    features = cached(tmp_path, "key", lambda: [[{"input_ids": [1], "labels": []}], [{"input_ids": [2], "labels": []}]])
    assert [features.columns["labels"][i].tolist() for i in range(2)] == [[], []]


def test_an_error_on_the_way_leaves_nothing(tmp_path):
    def groups():
        yield [{"input_ids": [1], "labels": [0.0]}]
        raise HarnessError("train.tsv:3: wrong")

    with pytest.raises(HarnessError, match="wrong"):
        cached(tmp_path, "key", groups)
    assert list((tmp_path / "features").iterdir()) == []


@pytest.mark.parametrize("family", ["bert", "t5"])
def test_tokens_are_those_that_the_tokenizer_gives_when_called(sample_cache, family):
    tokenizer = sample_tokenizer(family, sample_cache)
    texts = ["The farmer sees the boats.", "", "[SEP] </s> <pad> [CLS]", "Ünïcode \u2028 and 中文", "x" * 500]
    tokenizer(texts, truncation=True, max_length=4, padding=True)  # leaves its settings behind
    expected = tokenizer(texts, return_attention_mask=False, return_token_type_ids=False)
    assert encode(tokenizer, texts) == dict(expected)
    pairs = tokenizer(texts, texts[::-1], return_attention_mask=False, return_token_type_ids=True)
    assert encode(tokenizer, texts, texts[::-1], types=True) == dict(pairs)


def test_a_tokenizer_with_ways_of_its_own_is_called(sample_cache):
    class Own(PreTrainedTokenizerFast):
        def _encode_plus(self, text, *args, **options):
            return super()._encode_plus([f"old {one}" for one in text], *args, **options)

    plain = sample_tokenizer("bert", sample_cache)
    own = Own(tokenizer_object=plain.backend_tokenizer)
    assert encode(own, ["boats"])["input_ids"] == encode(plain, ["old boats"])["input_ids"]
