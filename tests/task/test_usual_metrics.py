"""The usual metrics of classifiers and regressions against scikit-learn, and what there is no answer for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as sklearn
from sklearn.preprocessing import label_binarize

from harness.errors import HarnessError
from harness.task.metrics import ERRORS, METRICS, compute_metrics
from harness.task.task import Task

pytestmark = pytest.mark.filterwarnings("error")
RNG = np.random.default_rng(4)
N = 300


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def as_scores(logits):
    return [[row] for row in logits.tolist()]


@pytest.mark.parametrize("classes", [2, 4])
def test_one_class_of_several_equals_scikit_learn(classes):
    labels = RNG.integers(0, classes, N)
    logits = RNG.normal(size=(N, classes)).round(1) + 1.5 * np.eye(classes)[labels]  # with ties
    predictions, given = logits.argmax(axis=1), as_scores(logits)
    found = compute_metrics(["balanced_accuracy", "auroc", "average_precision"], predictions, labels, given)
    probabilities = softmax(logits).round(12)
    one_hot = label_binarize(labels, classes=range(classes))
    if classes == 2:
        expected = sklearn.roc_auc_score(labels, probabilities[:, 1])
        precision = sklearn.average_precision_score(labels, probabilities[:, 1])
    else:
        expected = sklearn.roc_auc_score(labels, probabilities, multi_class="ovr", average="macro", labels=range(4))
        precision = sklearn.average_precision_score(one_hot, probabilities, average="macro")
    assert found == {
        "balanced_accuracy": pytest.approx(sklearn.balanced_accuracy_score(labels, predictions), abs=1e-12),
        "auroc": pytest.approx(expected, abs=1e-12),
        "average_precision": pytest.approx(precision, abs=1e-12),
    }


def test_several_labels_equal_scikit_learn():
    labels = (RNG.random((N, 5)) < [0.5, 0.1, 0.3, 0.02, 0.8]).astype(int)
    logits = RNG.normal(size=(N, 5)) + labels
    predictions = (logits > 0).astype(int).tolist()
    found = compute_metrics(["auroc", "average_precision"], predictions, labels.tolist(), as_scores(logits))
    assert found["auroc"] == pytest.approx(sklearn.roc_auc_score(labels, logits, average="macro"), abs=1e-12)
    expected = sklearn.average_precision_score(labels, logits, average="macro")
    assert found["average_precision"] == pytest.approx(expected, abs=1e-12)


def test_labels_that_nobody_has_do_not_count():
    labels, logits = np.array([[1, 0, 1], [0, 0, 1]]), np.array([[2.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
    found = compute_metrics(["auroc", "average_precision"], labels.tolist(), labels.tolist(), as_scores(logits))
    assert found == {"auroc": 1.0, "average_precision": 1.0}
    only = compute_metrics(["auroc"], [1, 1], [1, 1], as_scores(np.eye(2)))
    assert math.isnan(only["auroc"])


def test_answers_without_scores_are_sure():
    assert compute_metrics(["auroc", "average_precision"], [1, 1, 1, 1], [1, 0, 0, 0]) == {
        "auroc": 0.5,
        "average_precision": 0.25,
    }
    labels, answers = [0, 1, 2, 2, 1, 0], [0, 1, 1, 2, -1, 0]
    balanced = compute_metrics(["balanced_accuracy", "auroc"], answers, labels)
    assert balanced["balanced_accuracy"] == pytest.approx(2 / 3)
    assert 0.5 < balanced["auroc"] < 1


def test_numbers_equal_scikit_learn():
    labels = RNG.normal(3, 2, N)
    predictions = labels + RNG.normal(size=N)
    found = compute_metrics(["mae", "rmse", "r2"], predictions, labels)
    assert found == {
        "mae": pytest.approx(sklearn.mean_absolute_error(labels, predictions), abs=1e-12),
        "rmse": pytest.approx(sklearn.root_mean_squared_error(labels, predictions), abs=1e-12),
        "r2": pytest.approx(sklearn.r2_score(labels, predictions), abs=1e-12),
    }


def test_what_is_no_number_counts_as_minus_one():
    assert compute_metrics(["mae"], [None, math.nan, "x", 2.0], [1.0, 1.0, 1.0, 1.0]) == {"mae": 1.75}
    assert math.isnan(compute_metrics(["r2"], [1.0, 2.0], [3.0, 3.0])["r2"])
    assert compute_metrics(["rmse"], [1e300], [0.0]) == {"rmse": 1e9}
    with pytest.raises(HarnessError, match="reference None of row 0 is not a finite number"):
        compute_metrics(["mae"], [1.0], [None])


def test_scores_of_another_width_are_refused():
    with pytest.raises(HarnessError, match="one score for each of 2 classes"):
        compute_metrics(["auroc"], [0, 1], [0, 1], [[[1.0, 2.0]], [[1.0]]])


# Tasks -----------------------------------------------------------------------------------------------------------


def task(**changes) -> Task:
    usual = {"problem_type": "single_label_classification", "labels": ("a", "b"), "metrics": ("accuracy",)}
    return Task("mine", suite="", text_fields=("text",), **(usual | changes))


def test_a_task_knows_whether_less_is_better():
    assert {name for name, metric in METRICS.items() if metric.lower_is_better} == ERRORS == {"mae", "rmse"}
    number = {"problem_type": "regression", "labels": ()}
    assert task(metrics=("mae", "pearson"), **number).lower_is_better
    assert not task(metrics=("pearson", "mae"), **number).lower_is_better
    assert task(metrics=("mae", "rmse"), selection_metric="mean", **number).lower_is_better
    with pytest.raises(HarnessError, match="all better when higher, or all when lower"):
        task(metrics=("pearson", "mae"), selection_metric="mean", **number)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss_weights": "even"}, "loss_weights must be balanced, or a number for some of the labels"),
        ({"loss_weights": {"c": 2}}, "there is no label 'c'"),
        ({"loss_weights": {"a": 0}}, "the weight of 'a' must be a number above 0"),
        ({"loss_weights": "balanced", "problem_type": "multi_label_classification", "metrics": ("micro_f1",)},
         "loss_weights are for single_label_classification"),
    ],
)  # fmt: skip
def test_weights_of_the_loss_are_checked(changes, message):
    with pytest.raises(HarnessError, match=message):
        task(**changes)


def test_weights_of_the_loss_make_another_run():
    assert "loss_weights" not in task().definition()
    assert task(loss_weights="balanced").definition()["loss_weights"] == "balanced"
