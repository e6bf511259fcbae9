"""From models to scores: every example answered once and in order, and scores that follow from the answers."""

import json

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from running import RECIPE, Bench, Updates, evaluations
from tiny import tiny_model
from torch.utils._python_dispatch import TorchDispatchMode

import harness
from harness.config.schema import Recipe
from harness.data.datasets import load_examples
from harness.models.bert import Bert
from harness.models.t5 import T5
from harness.models.tokenizers import sample_tokenizer
from harness.task import functions
from harness.task.official import compute
from harness.task.plugins import load_tasks
from harness.training.batching import evaluation_batches
from harness.training.evaluation import (
    Evaluation,
    Split,
    batch_tokens,
    evaluate,
    model_outputs,
    plain,
    prediction_rows,
    score,
)
from harness.training.update import Training

TASKS = load_tasks()
STEPS = RECIPE["max_steps"]


def training_of(architecture, task, cache):
    """A model with random weights, and the architecture that reads the task with it."""
    kind, family = (T5, "t5") if architecture == "t5" else (Bert, "bert")
    pair = kind(tiny_model(architecture), None, sample_tokenizer(family, cache), TASKS[task], 64)
    set_seed(1)
    features = pair.features(load_examples(task, "sample", "train")[:8], training=True)
    return Training(pair, pair.build(), features, Recipe(precision="fp32"), 1, Accelerator(cpu=True))


# Scores ----------------------------------------------------------------------------------------------------------

NAMES = ["cola", "stsb", "mrpc", "copa", "multirc", "record"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, sample_cache):
    """A benchmark of many kinds of tasks, done."""
    bench = Bench(tmp_path_factory.mktemp("finished"), sample_cache)
    bench.write(tasks=NAMES)
    bench.run()
    return bench


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_the_official_metrics_of_the_recorded_predictions(name, finished):
    record, task = finished.record(name), TASKS[name]
    examples = load_examples(name, "sample", "validation", limit=30)
    rows = list(record.predictions())
    assert [row["index"] for row in rows] == list(range(30))
    assert [row["idx"] for row in rows] == [example["idx"] for example in examples]
    assert [row["label"] for row in rows] == [example[task.label_field] for example in examples]
    assert {(row["task"], row["split"]) for row in rows} == {(name, "validation")}
    predictions = [row["prediction"] for row in rows]
    pairs = [functions.metric_inputs(task, p, example) for p, example in zip(predictions, examples, strict=True)]
    expected = compute(name, [prediction for prediction, _ in pairs], [reference for _, reference in pairs])
    assert record.scores == {name: {"validation": pytest.approx(expected, nan_ok=True)}}
    for row, example in zip(rows, examples, strict=True):
        decided = functions.decide(task, row["scores"], example)
        assert row["prediction"] == (pytest.approx(decided) if name == "stsb" else decided)
        assert np.shape(row["scores"]) == (len(functions.instances(task, example)), task.num_labels)
    assert record.counts == {name: {"train": 48, "validation": 30}}
    assert record.invalid == {}


def test_a_run_whose_scores_are_all_undefined_ends_with_its_last_checkpoint(bench):
    """A constant prediction has no correlation: NaN in the record, also for the choice of the checkpoint."""
    bench.write({"eval_every": 2}, tasks=["stsb"], models=["t5"])
    bench.run()
    record = bench.record("stsb", "t5")
    assert {row["prediction"] for row in record.predictions()} == {-1.0}  # it does not write numbers yet
    scores = record.scores["stsb"]["validation"]
    assert np.isnan(scores["pearson"]) and np.isnan(scores["spearmanr"])
    assert np.isnan(record.selection_score) and record.best_step == record.steps == STEPS
    assert record.evaluations == 2
    json.loads((record.folder / "record.json").read_text(), parse_constant=pytest.fail)  # JSON proper has no NaN


# MNLI and the diagnostics ----------------------------------------------------------------------------------------


def test_mnli_has_two_scores_and_its_model_answers_ax_without_more_training(bench, monkeypatch):
    updates = Updates(monkeypatch)
    bench.write(tasks=["mnli"])
    bench.run()
    assert updates.new() == STEPS
    record = bench.record("mnli")
    assert set(record.scores) == {"mnli", "ax"}
    assert set(record.scores["mnli"]) == {"validation_matched", "validation_mismatched"}
    rows = list(record.predictions())
    for split, count in {"validation_matched": 30, "validation_mismatched": 30}.items():
        own = [row for row in rows if row["split"] == split]
        assert len(own) == count
        expected = sum(row["prediction"] == row["label"] for row in own) / count
        assert record.scores["mnli"][split] == {"accuracy": expected}
    texts = [load_examples("mnli", "sample", split)[0]["premise"] for split in record.scores["mnli"]]
    assert texts[0] != texts[1]
    ax = [row for row in rows if row["task"] == "ax"]
    assert [row["label"] for row in ax] == [e["label"] for e in load_examples("ax", "sample", "test")[: len(ax)]]
    assert record.scores["ax"]["test"] == compute("ax", [r["prediction"] for r in ax], [r["label"] for r in ax])
    assert record.selection_score == evaluations(record)[record.best_step]["scores"]["validation_matched"]["accuracy"]
    board = json.loads((bench.results / "b" / "leaderboard.json").read_text())
    assert "validation_mismatched" in json.dumps(board) and "validation_matched" in json.dumps(board)


def test_both_superglue_diagnostics_are_answered_by_the_rte_model(bench):
    bench.write(tasks=["superglue_rte"], models=["bert", "t5"])
    board = bench.run()
    for model in ("bert", "t5"):
        record = bench.record("superglue_rte", model)
        assert set(record.scores) == {"superglue_rte", "axb", "axg"}
        assert set(record.scores["axg"]["test"]) == {"gender_parity", "accuracy"}
    assert set(bench.record("superglue_rte", "t5").invalid) == {"superglue_rte", "axb", "axg"}
    assert all(row.cell(name).done for row in board.rows for name in ("axb", "axg"))


def test_a_diagnostic_without_data_or_without_its_model_is_missing_with_the_reason(bench):
    empty = bench.folder / "empty"
    empty.mkdir()
    bench.write(tasks=["mnli", "cola"], data={"glue": "sample", "ax": str(empty)})
    board = bench.run()
    assert bench.record("mnli").missing == {"ax": {"test": f"its data is not in {empty}"}}
    cell = board.rows[0].cell("ax")
    assert cell.status == "missing" and any(str(empty) in note for note in cell.notes)
    bench.write(tasks=["cola", "ax"])
    board = bench.run()
    cell = board.rows[0].cell("ax")
    assert cell.status == "missing" and any("mnli" in note for note in cell.notes), cell.notes


# Answers that are none -------------------------------------------------------------------------------------------


def test_answers_that_cannot_be_read_are_wrong_and_counted(sample_cache, monkeypatch):
    examples = load_examples("cola", "sample", "validation")[:10]
    training = training_of("t5", "cola", sample_cache)
    features = training.architecture.features(examples, training=False)
    said = ["acceptable", "unacceptable", "acceptable.", "", "Acceptable", " acceptable", "1", "acceptable"]
    said += ["acceptable acceptable", "unacceptable"]
    texts = {tuple(features.columns["input_ids"][i].tolist()): text for i, text in enumerate(said)}

    def predict(self, module, batch):
        rows = zip(batch.inputs["input_ids"], batch.inputs["attention_mask"], strict=True)
        return [texts[tuple(ids[mask.bool()].tolist())] for ids, mask in rows]

    monkeypatch.setattr(T5, "predict", predict)
    found = evaluate(training, TASKS["cola"], examples, features)
    assert found.outputs == said
    assert found.predictions == [1, 0, -1, -1, -1, -1, -1, 1, -1, 0]
    assert found.invalid == 6
    assert found.scores == compute("cola", found.predictions, [example["label"] for example in examples])
    right = [i for i, example in enumerate(examples) if found.predictions[i] == example["label"]]
    assert set(right) <= {0, 1, 7, 9}


def test_the_share_of_unparsable_answers_is_reported(bench):
    bench.write(models=["t5", "bert"], tasks=["mnli"])
    board = bench.run()
    record = bench.record("mnli", "t5")
    for (task, split), share in {
        (task, split): share for task, shares in record.invalid.items() for split, share in shares.items()
    }.items():
        rows = [row for row in record.predictions() if (row["task"], row["split"]) == (task, split)]
        assert share == sum(row["prediction"] == -1 for row in rows) / len(rows)
        assert all((row["output"] in TASKS[task].labels) == (row["prediction"] != -1) for row in rows)
    assert record.invalid["mnli"]["validation_matched"] == 1.0  # four steps teach it no word
    assert bench.record("mnli", "bert").invalid == {}
    assert board.rows[0].cost.invalid and board.rows[1].cost.invalid is None
    assert "100.0 %" in board.text


# Regression ------------------------------------------------------------------------------------------------------


def test_predictions_stay_in_the_range_of_the_scores_where_a_model_clips(bench, monkeypatch):
    bench.models["clipped"] = {**bench.models["bert"], "clip": True}
    bench.write(tasks=["stsb", "cola"], models=["bert", "clipped"])
    predict = Bert.predict

    def far_apart(self, module, batch):
        scores = predict(self, module, batch)
        return [(row - np.mean(scores)) * 1e6 for row in scores] if self.task.name == "stsb" else scores

    monkeypatch.setattr(Bert, "predict", far_apart)
    bench.run()
    assert bench.record("cola", "bert").fingerprint == bench.record("cola", "clipped").fingerprint
    own, clipped = bench.record("stsb", "bert"), bench.record("stsb", "clipped")
    assert own.fingerprint != clipped.fingerprint
    rows = list(clipped.predictions())
    scores = [row["scores"][0][0] for row in rows]
    assert min(scores) < 0 and max(scores) > 5
    assert [row["prediction"] for row in rows] == pytest.approx([min(max(score, 0.0), 5.0) for score in scores])
    assert [row["prediction"] for row in own.predictions()] == pytest.approx(scores)
    expected = compute("stsb", [row["prediction"] for row in rows], [row["label"] for row in rows])
    assert clipped.scores["stsb"]["validation"] == pytest.approx(expected, nan_ok=True)
    assert harness.audit(bench.results).differences == ()


def test_what_is_no_number_is_not_clipped_into_one(sample_cache, monkeypatch):
    examples = load_examples("stsb", "sample", "validation")[:4]
    training = training_of("t5", "stsb", sample_cache)
    features = training.architecture.features(examples, training=False)
    monkeypatch.setattr(T5, "predict", lambda self, module, batch: ["7.0"] * len(batch.sizes))
    assert evaluate(training, TASKS["stsb"], examples, features).predictions == [7.0] * 4
    training.architecture.model = training.architecture.model.model_copy(update={"clip": True})
    assert evaluate(training, TASKS["stsb"], examples, features).predictions == [5.0] * 4
    monkeypatch.setattr(T5, "predict", lambda self, module, batch: ["much"] * len(batch.sizes))
    found = evaluate(training, TASKS["stsb"], examples, features)
    assert found.predictions == [-1.0] * 4 and found.invalid == 4
    assert np.isnan(functions.clipped(TASKS["stsb"], float("nan"))) and functions.clipped(TASKS["cola"], 1) == 1


# Outputs ---------------------------------------------------------------------------------------------------------


def test_batches_of_any_size_give_the_same_outputs_in_order(sample_cache):
    examples = load_examples("copa", "sample", "validation")[:17]
    training = training_of("bert", "copa", sample_cache)
    features = training.architecture.features(examples, training=False)
    assert len({int(length) for length in features.lengths}) > 3
    whole = model_outputs(training, features)
    module = training.module.eval()
    for i, output in enumerate(whole):
        assert output.shape == (2, 1)
        with torch.inference_mode():
            (alone,) = training.architecture.predict(module, training.architecture.collate(features, [i]))
        np.testing.assert_allclose(output, alone, atol=1e-5)


def test_training_and_evaluation_do_not_disturb_each_other(sample_cache):
    """Dropout is off in evaluation and on again in training, and evaluating changes no weight."""
    examples = load_examples("cola", "sample", "validation")[:9]
    plans = {"evaluated": True, "not": False}
    weights = {}
    for name, evaluated in plans.items():
        training = training_of("bert", "cola", sample_cache)
        features = training.architecture.features(examples, training=False)
        for _ in range(3):
            training.update()
            if evaluated:
                first, second = (evaluate(training, TASKS["cola"], examples, features) for _ in range(2))
                np.testing.assert_array_equal(first.outputs, second.outputs)
        weights[name] = training.weights()
    for key, tensor in weights["evaluated"].items():
        assert (tensor == weights["not"][key]).all()


def test_unlabelled_examples_have_predictions_but_no_scores(sample_cache):
    examples = load_examples("cola", "sample", "test")[:5]
    training = training_of("bert", "cola", sample_cache)
    found = evaluate(training, TASKS["cola"], examples, training.architecture.features(examples, training=False))
    assert isinstance(found, Evaluation) and len(found.predictions) == 5 and found.scores == {}
    assert score(TASKS["cola"], [{**examples[0], "label": 1}], [1]) != {}


def test_examples_that_belong_together_have_the_index_of_the_first():
    task = load_tasks()["boolq"]
    examples = [{"passage": text, "question": "q", "label": 1, "idx": i} for i, text in enumerate("abcbca")]
    evaluation = Evaluation([1] * 6, [np.zeros((1, 2))] * 6, 0, {})
    rows = list(prediction_rows(Split(task, "validation", [*examples, {**examples[0], "passage": "x"}], None),
                                Evaluation([1] * 7, [np.zeros((1, 2))] * 7, 0, {})))  # fmt: skip
    assert [row.get("cluster") for row in rows] == [0, 1, 2, 1, 2, 0, None]
    assert len(list(prediction_rows(Split(task, "validation", examples, None), evaluation))) == 6


def test_outputs_are_written_to_seven_digits():
    assert plain(TASKS["cola"], "a text") == {"output": "a text"}
    written = plain(TASKS["goemotions"], np.array([[1 / 3, -2e-9], [1234567.891, 0]]))
    assert written == {
        "scores": [[0.3333333, -2e-9], [1234568.0, 0.0]],
        "probabilities": [[0.5826, 0.5], [1.0, 0.5]],
    }
    assert plain(TASKS["stsb"], np.array([[1 / 3]])) == {"scores": [[0.3333333]]}


class Conversions(TorchDispatchMode):
    """Counts the conversions of tensors of one shape to another precision."""

    def __init__(self, shape):
        super().__init__()
        self.shape, self.count = shape, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._to_copy.default and args[0].shape == self.shape
        return func(*args, **(kwargs or {}))


def test_an_evaluation_converts_every_weight_once(sample_cache):
    task = TASKS["cola"]
    tokenizer = sample_tokenizer("bert", sample_cache)
    architecture = Bert(tiny_model("bert"), None, tokenizer, task, max_length=64)
    features = architecture.features(load_examples("cola", "sample", "train")[:24], training=True)
    recipe = Recipe(learning_rate=1e-3, precision="bf16", compile=False, max_steps=1)
    training = Training(architecture, architecture.build(), features, recipe, 1, Accelerator(cpu=True))
    training.set_micro_batch_tokens(64)
    weight = training.module.bert.encoder.layer[0].intermediate.dense.weight
    with Conversions(weight.shape) as conversions:
        model_outputs(training, features)
    assert len(evaluation_batches(features.lengths, features.sizes, batch_tokens(training))) > 5
    assert conversions.count == 2  # one for each layer
