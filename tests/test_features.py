"""Tokenised data on disk: what is stored is what was made, and damage is noticed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.features import Ragged, cached, pack

rows = st.lists(
    st.lists(
        st.fixed_dictionaries({"input_ids": st.lists(st.integers(0, 9), min_size=1), "labels": st.just([1.5])}),
        max_size=3,
    ),
    min_size=1,
)


@given(st.lists(st.lists(st.integers(-5, 5))))
def test_ragged_gives_back_its_rows(values):
    ragged = Ragged.of(values)
    assert [ragged[i].tolist() for i in range(len(ragged))] == values
    assert ragged.lengths.tolist() == [len(row) for row in values]


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
    return pack([[{"input_ids": [1, 2, 3], "labels": [0.5]}], [{"input_ids": [4], "labels": [1.0]}]])


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


@pytest.mark.parametrize("file", ["groups.npy", "input_ids.values.npy", "labels.offsets.npy", "columns.json"])
def test_a_truncated_cache_is_made_again(tmp_path, file):
    cached(tmp_path, "key", sample)
    path = tmp_path / "features" / "key" / file
    path.write_bytes(path.read_bytes()[:-3])
    again = cached(tmp_path, "key", sample)
    assert again.columns["input_ids"][0].tolist() == [1, 2, 3]
