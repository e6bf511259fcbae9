"""Batches: every example exactly once, nearly random, with little padding, the same for any number of processes."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import load_tasks
from harness.config.architectures import BertSettings
from harness.data.datasets import open_examples
from harness.data.features import Features
from harness.models.bert import Bert
from harness.training.batching import TrainingPlan, cheapest_passes, deal, evaluation_batches

lengths_strategy = st.lists(st.integers(1, 300), min_size=1, max_size=200)


def plan(lengths, sizes=None, batch_size=8, seed=3, tokens=16384, accumulation=1, pass_tokens=36.0):
    sizes = np.ones(len(lengths), dtype=int) if sizes is None else np.array(sizes)
    return TrainingPlan(np.array(lengths), sizes, batch_size, seed, tokens, accumulation, pass_tokens)


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


def together_again(epochs: Sequence[Sequence[np.ndarray]]) -> float:
    """The share of the pairs in the batches of the first epoch that are a pair in the second one, too."""
    batch_of = {int(group): number for number, batch in enumerate(epochs[1]) for group in batch}
    again = pairs = 0
    for batch in epochs[0]:
        _, counts = np.unique([batch_of[int(group)] for group in batch], return_counts=True)
        again += int((counts * (counts - 1)).sum())
        pairs += len(batch) * (len(batch) - 1)
    return again / pairs


def against_random(lengths: np.ndarray, labels: np.ndarray, batch_size: int = 32) -> tuple[float, float]:
    """How often pairs meet again in the next epoch, and the variance of mean labels; both beside random batches."""

    seeds = max(30, 6000 * batch_size // len(lengths))  # enough for the variance to be known

    def batches(seed: int, epoch: int) -> list[np.ndarray]:
        return plan(lengths, batch_size=batch_size, seed=seed).epoch(epoch)

    def at_random(seed: int, epoch: int) -> list[np.ndarray]:
        order = np.random.default_rng([7, seed, epoch]).permutation(len(lengths))
        return np.split(order, range(batch_size, len(order), batch_size))

    def figures(epoch_of: Callable[[int, int], list[np.ndarray]]) -> tuple[float, float]:
        again = [together_again([epoch_of(seed, 0), epoch_of(seed, 1)]) for seed in range(seeds // 3)]
        means = [
            [labels[batch].mean() for batch in epoch_of(seed, 2) if len(batch) == batch_size] for seed in range(seeds)
        ]
        return float(np.mean(again)), float(np.mean([np.var(of_seed) for of_seed in means]))

    (again, spread), (usual_again, usual_spread) = figures(batches), figures(at_random)
    return again / usual_again, spread / usual_spread


@pytest.mark.parametrize("size", [250, 635, 3000])
def test_batches_are_nearly_random_also_in_small_sets_whose_labels_follow_length(size):
    generator = np.random.default_rng(0)
    lengths = np.clip(generator.lognormal(3.5, 0.5, size).astype(int), 8, 256)
    labels = lengths + generator.normal(0, 4 * lengths.std(), size)  # as in STS-B, length explains a twentieth
    again, spread = against_random(lengths, labels)
    assert again <= 3 and 0.8 <= spread <= 1.2


@pytest.mark.data
@pytest.mark.parametrize("name", ["cb", "wnli", "rte", "stsb", "wic", "mrpc"])
def test_batches_of_real_tasks_are_nearly_random(data_folder, name):
    features, labels = real_features(data_folder, name)
    again, spread = against_random(features.lengths, labels)
    assert again <= 3 and 0.8 <= spread <= 1.2


def padding(p: TrainingPlan, epochs: int = 1) -> tuple[float, float]:
    """The share of padding in what is computed, and the passes of an update."""
    read = padded = passes = 0
    for batch in (batch for epoch in range(epochs) for batch in p.epoch(epoch)):
        for micro in p.share(batch, 0, 1):
            read += int((p.lengths[micro] * p.sizes[micro]).sum())
            padded += int(p.lengths[micro].max() * p.sizes[micro].sum())
            passes += 1
    return 1 - read / padded, passes / (epochs * p.updates_per_epoch)


def test_batches_come_in_random_order_and_waste_little():
    generator = np.random.default_rng(0)
    lengths = np.clip(generator.lognormal(2.5, 0.6, 5000).astype(int), 3, 128)
    p = plan(lengths, batch_size=32)
    share, passes = padding(p)
    assert share < 0.1 and passes < 4
    means = [lengths[batch].mean() for batch in p.epoch(0)]
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.3


def test_the_cheaper_a_pass_the_less_padding():
    lengths = np.clip(np.random.default_rng(1).lognormal(4, 0.6, 635).astype(int), 8, 256)
    found = [padding(plan(lengths, batch_size=32, pass_tokens=cost)) for cost in (0, 36, 1e3, 1e9)]
    shares, passes = zip(*found, strict=True)
    assert list(shares) == sorted(shares) and list(passes) == sorted(passes, reverse=True)
    assert shares[0] < 0.04 and passes[-1] == 1


def test_passes_are_the_cheapest_and_have_more_than_one_row():
    """Against all ways to cut a batch."""
    generator = np.random.default_rng(2)
    for _ in range(20):
        lengths, sizes = np.sort(generator.integers(4, 60, 8)), np.ones(8, dtype=int)
        order = np.arange(8)

        def cost(runs: Sequence[np.ndarray], lengths: np.ndarray = lengths) -> float:
            return sum(int(lengths[run].max()) * len(run) + 20 for run in runs)

        ways = (np.split(order, [i + 1 for i in range(7) if cuts >> i & 1]) for cuts in range(1 << 7))
        allowed = [way for way in ways if all(len(run) > 1 and lengths[run].max() * len(run) <= 200 for run in way)]
        found = cheapest_passes(order, lengths, sizes, 200, 20)
        assert cost(found) == min(map(cost, allowed))


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


def real_features(data_folder: Path, name: str) -> tuple[Features, np.ndarray]:
    """What BERT reads of the training data of a task, and its labels."""
    task = load_tasks()[name]
    path = Path(task.files[task.train_split].path)
    suite = next((suite for suite in ("GLUE", "GLUE-part", "SuperGLUE", "SuperGLUE-part")
                  if (data_folder / suite / path).is_file()), None)  # fmt: skip
    if suite is None:
        pytest.skip(f"HARNESS_DATA has no {path}")
    examples = list(open_examples(task, data_folder / suite, task.train_split, allow_partial=True, limit=20_000))
    tokenizer = transformers.BertTokenizer(str(data_folder / "vocab/bert-base-uncased/vocab.txt"))
    config = {"model_type": "bert", "hidden_size": 8, "num_attention_heads": 1}
    architecture = Bert(BertSettings(name="bert", config=config), None, tokenizer, task, 256)
    labels = [example[task.label_field] for example in examples]
    return architecture.features(examples, training=True), np.array(labels, dtype=object)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_padding_is_under_a_tenth_on_real_texts(data_folder, name):
    features, _ = real_features(data_folder, name)
    p = plan(features.lengths, features.sizes, batch_size=32)
    needed = (p.lengths * p.sizes).sum() / p.updates_per_epoch / p.micro_batch_tokens  # more do not fit into memory
    share, passes = padding(p)
    assert share < 0.1 and passes < 8 + 2 * needed


@pytest.mark.parametrize(
    ("changes", "fits"),
    [({}, True), ({"tokens": 8 * 20 - 1}, False), ({"accumulation": 2}, False), ({"sizes": [1, 1, 2, 1]}, False)],
)
def test_one_pass_for_every_update_where_the_longest_texts_fit(changes, fits):
    assert plan([5, 20, 7, 9], **changes).fits_one_pass is fits
