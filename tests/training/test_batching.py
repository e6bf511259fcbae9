"""Batches: every example exactly once, similar lengths together, the same for any number of processes."""

from pathlib import Path

import numpy as np
import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import load_tasks
from harness.config.architectures import BertSettings
from harness.data.datasets import open_examples
from harness.models.bert import Bert
from harness.training.batching import TrainingPlan, deal, evaluation_batches

lengths_strategy = st.lists(st.integers(1, 300), min_size=1, max_size=200)


def plan(lengths, sizes=None, batch_size=8, seed=3, tokens=16384, accumulation=1):
    sizes = np.ones(len(lengths), dtype=int) if sizes is None else np.array(sizes)
    return TrainingPlan(np.array(lengths), sizes, batch_size, seed, tokens, accumulation)


@given(
    lengths_strategy, st.integers(1, 40), st.integers(0, 5), st.integers(1, 5), st.integers(1, 4), st.integers(50, 2000)
)
@settings(deadline=None, max_examples=100)
def test_every_example_once_per_epoch_for_any_number_of_processes(lengths, batch, epoch, processes, accumulate, tokens):
    p = plan(lengths, batch_size=batch, tokens=tokens, accumulation=accumulate)
    updates = p.epoch(epoch)
    assert len(updates) == p.updates_per_epoch
    assert max(map(len, updates)) <= batch
    seen = []
    for update in updates:
        shares = [p.share(update, process, processes) for process in range(processes)]
        dealt = [group for share in shares for micro in share for group in micro.tolist()]
        assert sorted(dealt) == sorted(update.tolist())
        seen += dealt
    assert sorted(seen) == list(range(len(lengths)))


@given(lengths_strategy, st.integers(1, 4), st.integers(20, 3000))
@settings(deadline=None, max_examples=100)
def test_evaluation_reads_every_example_once_within_the_budget(lengths, processes, tokens):
    sizes = np.array([1 + length % 3 for length in lengths])
    batches = evaluation_batches(np.array(lengths), sizes, tokens)
    dealt = [group for process in range(processes) for batch in deal(batches, process, processes) for group in batch]
    assert sorted(dealt) == list(range(len(lengths)))
    for batch in batches:
        padded = max(lengths[group] for group in batch) * sum(sizes[group] for group in batch)
        assert padded <= tokens or len(batch) == 1


def test_the_order_depends_on_seed_and_epoch_only():
    lengths = list(range(1, 101))
    same = [batch.tolist() for batch in plan(lengths).epoch(2)]
    assert [batch.tolist() for batch in plan(lengths).epoch(2)] == same
    assert [batch.tolist() for batch in plan(lengths).epoch(3)] != same
    assert [batch.tolist() for batch in plan(lengths, seed=4).epoch(2)] != same


def test_batches_have_similar_lengths_and_waste_little():
    generator = np.random.default_rng(0)
    lengths = np.clip(generator.lognormal(2.5, 0.6, 5000).astype(int), 3, 128)
    p = plan(lengths, batch_size=32)
    batches = p.epoch(0)
    padded = sum(int(lengths[batch].max()) * len(batch) for batch in batches)
    assert padded / lengths.sum() < 1.06
    passes = [micro for batch in batches for micro in p.share(batch, 0, 1)]
    assert sum(int(lengths[micro].max()) * len(micro) for micro in passes) / lengths.sum() < 1.03
    assert len(passes) < 1.1 * len(batches)
    means = [lengths[batch].mean() for batch in batches]
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.3  # short and long batches come in random order


@pytest.mark.parametrize("size", [250, 554, 635])
def test_a_few_long_texts_do_not_stretch_a_small_data_set(size):
    """As many as CB, WSC and WNLI have; of these, the longest batch would be half padding."""
    lengths = np.clip(np.random.default_rng(1).lognormal(4, 0.6, size).astype(int), 8, 256)
    p = plan(lengths, batch_size=32)
    passes = [micro for batch in p.epoch(0) for micro in p.share(batch, 0, 1)]
    assert sum(int(lengths[micro].max()) * len(micro) for micro in passes) / lengths.sum() < 1.04


def test_micro_batches_keep_groups_whole_and_respect_the_token_budget():
    sizes = [2, 3, 1, 4, 2, 2]
    p = plan([10, 20, 30, 10, 10, 10], sizes, batch_size=6, tokens=60)
    share = p.share(p.epoch(0)[0], 0, 1)
    assert sorted(group for micro in share for group in micro) == list(range(6))
    for micro in share:
        tokens = max(p.lengths[group] for group in micro) * sum(sizes[group] for group in micro)
        assert tokens <= 60 or len(micro) == 1


TRAINED = (
    *("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "rte", "wnli"),
    *("boolq", "cb", "copa", "multirc", "record", "superglue_rte", "wic", "wsc"),
)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_padding_is_under_three_percent_on_real_texts(data_folder, name):
    task = load_tasks()[name]
    path = Path(task.files[task.train_split].path)
    suite = next((suite for suite in ("GLUE", "GLUE-part", "SuperGLUE", "SuperGLUE-part")
                  if (data_folder / suite / path).is_file()), None)  # fmt: skip
    if suite is None:
        pytest.skip(f"HARNESS_DATA has no {path}")
    examples = open_examples(task, data_folder / suite, task.train_split, allow_partial=True, limit=20_000)
    tokenizer = transformers.BertTokenizer(str(data_folder / "vocab/bert-base-uncased/vocab.txt"))
    config = {"model_type": "bert", "hidden_size": 8, "num_attention_heads": 1}
    features = Bert(BertSettings(name="bert", config=config), None, tokenizer, task, 256).features(
        examples, training=True
    )
    tokens = features.columns["input_ids"].lengths
    p = plan(features.lengths, features.sizes, batch_size=32)
    read = padded = 0
    for epoch in range(3):
        for micro in (micro for batch in p.epoch(epoch) for micro in p.share(batch, 0, 1)):
            rows = features.instances(micro.tolist())
            read += int(tokens[rows].sum())
            padded += len(rows) * int(tokens[rows].max())
    assert 1 - read / padded < 0.03
