"""Weights of the loss by class: the losses of all architectures against torch, the balanced weights against sklearn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from tiny import TINY
from torch import nn

from harness.config.architectures import ARCHITECTURES
from harness.errors import HarnessError
from harness.models import architecture_class
from harness.models.base import class_weights
from harness.models.tokenizers import sample_tokenizer
from harness.task.task import Task

LABELS = ("no", "maybe", "yes")
EXAMPLES = [{"text": f"text {i}", "label": label} for i, label in enumerate([0, 0, 0, 0, 2, 2, 1, 0])]


def task(weights) -> Task:
    kind = "single_label_classification"
    fields = {"suite": "", "problem_type": kind, "text_fields": ("text",), "metrics": ("accuracy",)}
    return Task("mine", labels=LABELS, loss_weights=weights, **fields)


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizers")
    return {family: sample_tokenizer(family, folder) for family in ("bert", "t5")}


def prepared(name, tokenizers, weights, smoothing=0.0):
    settings = ARCHITECTURES[name](name=name, config=TINY[name], tokenizer="sample")
    tokenizer = tokenizers[settings.tokenizer_family]
    torch.manual_seed(1)
    architecture = architecture_class(settings)(settings, None, tokenizer, task(weights), 32, smoothing)
    features = architecture.features(EXAMPLES, training=True)
    architecture.weigh_classes(features)
    return architecture, features, architecture.build().eval()


def test_balanced_weights_are_those_of_scikit_learn():
    labels = np.array([example["label"] for example in EXAMPLES])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert class_weights(task("balanced"), labels) == pytest.approx(expected)
    assert class_weights(task({"yes": 3}), labels).tolist() == [1.0, 1.0, 3.0]
    assert class_weights(task("balanced"), np.array([0, 0, 2])).tolist() == [0.75, 1.0, 1.5]


@pytest.mark.parametrize("name", ["bert", "enct5"])
def test_the_loss_of_a_head_is_torchs(name, tokenizers):
    architecture, features, module = prepared(name, tokenizers, {"no": 0.5, "yes": 4})
    batch = architecture.collate(features, list(range(len(EXAMPLES))))
    loss = architecture.loss(module, batch) / batch.weight
    logits = architecture.logits(module, batch.inputs)
    expected = nn.CrossEntropyLoss(torch.tensor([0.5, 1.0, 4.0]))(logits, batch.labels[:, 0].long())
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_t5_weighs_each_answer(tokenizers):
    architecture, features, module = prepared("t5", tokenizers, "balanced")
    whole = architecture.collate(features, list(range(len(EXAMPLES))))
    weights = class_weights(task("balanced"), np.array([example["label"] for example in EXAMPLES]))
    assert architecture.class_weights == pytest.approx(weights)
    total, weight = 0.0, 0.0
    for i, example in enumerate(EXAMPLES):
        alone = architecture.collate(features, [i])
        target = alone.labels
        logits = module(**alone.inputs, use_cache=False).logits
        own = float(weights[example["label"]])
        total += own * nn.functional.cross_entropy(logits, target, reduction="sum").item()
        weight += own * len(target)
    assert architecture.loss(module, whole).item() == pytest.approx(total, rel=1e-5)
    assert whole.weight == pytest.approx(weight)


@pytest.mark.parametrize("name", ["bert", "t5"])
def test_equal_weights_change_nothing(name, tokenizers):
    losses = []
    for weights in (None, {"no": 1}):
        architecture, features, module = prepared(name, tokenizers, weights, smoothing=0.1)
        batch = architecture.collate(features, [0, 4, 6])
        losses.append(architecture.loss(module, batch).item() / batch.weight)
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_a_t5_whose_texts_are_no_labels_is_told(tokenizers):
    architecture, _, _ = prepared("t5", tokenizers, None)
    features = architecture.features(EXAMPLES, training=True)
    architecture.task = Task(
        "mine", suite="", problem_type="single_label_classification", text_fields=("text",), metrics=("accuracy",),
        labels=("a", "b", "c"), loss_weights="balanced",
    )  # fmt: skip
    with pytest.raises(HarnessError, match="loss_weights needs answers that are labels; a training text is"):
        architecture.weigh_classes(features)
