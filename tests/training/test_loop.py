"""The training loop: reproducible, resumable, and the same update however it is cut."""

import functools
import math
from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from tiny import tiny_model

from harness.config.schema import Recipe
from harness.data.datasets import load_examples
from harness.errors import HarnessError
from harness.models import architecture_class
from harness.models.tokenizers import sample_tokenizer
from harness.task.plugins import load_tasks
from harness.training.evaluation import evaluate
from harness.training.loop import evaluation_steps
from harness.training.optimizer import schedule_factor
from harness.training.update import Training

TASKS = load_tasks()
RECIPE = Recipe(learning_rate=2e-3, batch_size=16, max_steps=12, max_length=64, precision="fp32")


def make(architecture, task, cache, recipe=RECIPE, seed=1, examples=None, **options):
    """A training on sample data, from the start."""
    model = tiny_model(architecture, **options)
    tokenizer = sample_tokenizer("bert" if architecture == "bert" else "t5", cache)
    made = architecture_class(model)
    pair = made(model, None, tokenizer, TASKS[task], recipe.max_length, recipe.label_smoothing)
    features = pair.features(examples or load_examples(task, "sample", "train")[:200], training=True)
    set_seed(seed)
    training = Training(pair, pair.build(), features, recipe, seed, Accelerator(cpu=True))
    return training


def weights_after(training, steps):
    while training.step < steps:
        training.update()
    return training.weights()


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("architecture", ["bert", "enct5", "t5"])
def test_same_seed_same_bits_and_another_seed_other_ones(architecture, sample_cache):
    first = weights_after(make(architecture, "cola", sample_cache), 4)
    assert same(first, weights_after(make(architecture, "cola", sample_cache), 4))
    assert not same(first, weights_after(make(architecture, "cola", sample_cache, seed=2), 4))


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor"])
@pytest.mark.parametrize("architecture", ["bert", "t5"])
def test_going_on_from_a_saved_state_gives_the_same_bits(architecture, optimizer, sample_cache):
    recipe = RECIPE.model_copy(update={"optimizer": optimizer})
    straight = make(architecture, "mrpc", sample_cache, recipe)
    expected = weights_after(straight, 8)
    first = make(architecture, "mrpc", sample_cache, recipe)
    weights_after(first, 5)
    state = first.state_dict()
    second = make(architecture, "mrpc", sample_cache, recipe, seed=1)
    weights_after(second, 1)  # whatever it did before does not matter
    second.load_state_dict(state)
    assert same(expected, weights_after(second, 8))
    assert second.mean_loss() == straight.mean_loss()


@pytest.mark.parametrize("architecture", ["bert", "enct5", "t5"])
def test_accumulation_changes_no_update(architecture, sample_cache):
    options = {"dropout": 0.0}
    whole = weights_after(make(architecture, "sst2", sample_cache, **options), 2)
    recipe = RECIPE.model_copy(update={"gradient_accumulation": 4})
    cut = weights_after(make(architecture, "sst2", sample_cache, recipe, **options), 2)
    for name in whole:
        torch.testing.assert_close(whole[name], cut[name], atol=2e-4, rtol=1e-3)


def test_loss_is_the_mean_over_the_update(sample_cache):
    training = make("bert", "mnli", sample_cache, dropout=0.0)
    batch = training.plan.epoch(0)[0]
    collated = training.architecture.collate(training.features, batch.tolist())
    training.module.eval()
    with torch.no_grad():
        logits = training.module(**collated.inputs).logits
    expected = torch.nn.functional.cross_entropy(logits, collated.labels[:, 0].long())
    training.update()
    assert training.mean_loss() == pytest.approx(float(expected), rel=1e-5)


def test_it_learns(sample_cache):
    recipe = RECIPE.model_copy(update={"max_steps": 80, "batch_size": 32, "learning_rate": 5e-3})
    training = make("bert", "sst2", sample_cache, recipe, examples=load_examples("sst2", "sample", "train"))
    examples = load_examples("sst2", "sample", "validation")
    features = training.architecture.features(examples, training=False)
    weights_after(training, 80)
    assert evaluate(training, TASKS["sst2"], examples, features).scores["accuracy"] > 0.75


def test_a_loss_that_is_not_finite_is_an_error(sample_cache):
    training = make(
        "bert", "cola", sample_cache, RECIPE.model_copy(update={"learning_rate": 1e30, "warmup_ratio": 0.0})
    )
    with pytest.raises(HarnessError, match="training loss is"):
        for _ in range(12):
            training.update()
        training.mean_loss()


def test_schedules_rise_and_fall():
    linear = Recipe(warmup_ratio=0.1)
    assert [schedule_factor(linear, step, 100) for step in (0, 5, 10, 55, 100)] == [0, 0.5, 1, 0.5, 0]
    constant = Recipe(warmup_ratio=0.0, schedule="constant")
    assert [schedule_factor(constant, step, 100) for step in (0, 50, 99)] == [1, 1, 1]


def test_evaluation_comes_at_the_asked_steps_and_after_the_last(sample_cache):
    plan = make("bert", "cola", sample_cache).plan
    assert plan.updates_per_epoch == math.ceil(200 / 16)
    assert list(evaluation_steps(Recipe(eval_every=5), plan, 12)) == [5, 10, 12]
    assert list(evaluation_steps(Recipe(eval_every="epoch"), plan, 30)) == [13, 26, 30]
    assert list(evaluation_steps(Recipe(eval_every=6), plan, 12)) == [6, 12]
    assert list(evaluation_steps(Recipe(), plan, 100)) == list(range(10, 101, 10))
    assert list(evaluation_steps(Recipe(evaluations=4), plan, 10)) == [3, 5, 8, 10]
    assert list(evaluation_steps(Recipe(evaluations=1), plan, 10)) == [10]
    assert list(evaluation_steps(Recipe(), plan, 3)) == [1, 2, 3]
    assert list(evaluation_steps(Recipe(evaluations=2, eval_every=5), plan, 12)) == [5, 10, 12]


@pytest.mark.parametrize(("architecture", "task"), [("bert", "cola"), ("enct5", "copa"), ("t5", "multirc")])
def test_an_update_holds_the_examples_of_so_many_tokens(architecture, task, sample_cache):
    recipe = RECIPE.model_copy(update={"batch_tokens": 600})
    training = make(architecture, task, sample_cache, recipe)
    rows = training.features.columns["input_ids"].lengths
    mean = sum(rows) / len(training.features)
    assert training.plan.batch_size == int(600 / mean) not in (RECIPE.batch_size, 1)
    batches = [training.features.instances(batch) for batch in training.plan.epoch(0)]
    whole = [sum(rows[batch]) for batch in batches if len(batch) == max(map(len, batches))]
    assert 600 - mean < sum(whole) / len(whole) * (1 + 0.1) and sum(whole) / len(whole) < 600 * 1.1
    training.update()
    assert training.examples in (training.plan.batch_size, len(training.features) % training.plan.batch_size)
    tiny = make(architecture, task, sample_cache, RECIPE.model_copy(update={"batch_tokens": 1}))
    assert tiny.plan.batch_size == 1


def test_small_data_is_read_again_until_the_floor_of_steps(sample_cache):
    def steps(**changes):
        return make("bert", "cola", sample_cache, Recipe(batch_size=16, max_length=64, **changes)).steps

    assert steps(epochs=2) == 26
    assert [steps(epochs=2, min_steps=floor) for floor in (25, 26, 27, 100)] == [26, 26, 27, 100]
    assert steps(epochs=2, min_steps=5, max_steps=7) == 7


@pytest.mark.parametrize("architecture", ["bert", "enct5", "t5"])
def test_gradient_checkpointing_changes_no_number(architecture, sample_cache):
    plain = make(architecture, "cola", sample_cache)
    expected = weights_after(plain, 3)
    recipe = RECIPE.model_copy(update={"gradient_checkpointing": True})
    spared = make(architecture, "cola", sample_cache, recipe)
    assert any(getattr(module, "gradient_checkpointing", False) for module in spared.module.modules())
    found = weights_after(spared, 3)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("architecture", "task"), [("bert", "cola"), ("enct5", "goemotions"), ("t5", "goemotions")])
def test_compiled_training_takes_the_same_steps_and_is_compiled_once(architecture, task, sample_cache, monkeypatch):
    """Traced as for Inductor, and then run by PyTorch's own operators: whatever the lengths of texts and answers."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    plain = make(architecture, task, sample_cache, dropout=0.0)
    plain.plan = replace(plain.plan, pass_tokens=20)  # several passes of other numbers of texts for each update
    expected = weights_after(plain, 8)
    torch._dynamo.reset()
    with torch._dynamo.config.patch(error_on_recompile=True):
        compiled = make(architecture, task, sample_cache, RECIPE.model_copy(update={"compile": True}), dropout=0.0)
        assert compiled.forward is not compiled.module
        compiled.plan = replace(compiled.plan, pass_tokens=20)
        found = weights_after(compiled, 8)
    assert len({int(length) for length in compiled.features.lengths}) > 4
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-5, rtol=1e-4)
