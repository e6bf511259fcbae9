"""GoEmotions: its official files, what the three architectures make of several labels, and EncT5's options for them."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from running import TINY, Bench, evaluations
from sklearn.metrics import precision_recall_fscore_support
from tiny import tiny_model

import harness
from harness import HarnessError, load_examples, load_tasks
from harness.cli import main
from harness.config.architectures import EncT5Settings
from harness.enct5 import EncT5Config, EncT5ForSequenceClassification
from harness.models.enct5 import EncT5
from harness.models.tokenizers import sample_tokenizer
from harness.report.labels import label_scores
from harness.task import functions
from harness.task.metrics import compute_metrics
from harness.task.task import HubSource, Task
from harness.training.evaluation import shifted, tuned_threshold

TASK = load_tasks()["goemotions"]
JOY, LOVE, NEUTRAL = (TASK.labels.index(name) for name in ("joy", "love", "neutral"))
IDS = torch.tensor([[5, 7, 9, 1], [8, 1, 0, 0]])
SIZES = {"vocab_size": 50, "d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 1, "num_heads": 3}


# The data


def official(folder: Path, *lines: str) -> Path:
    (folder / "GoEmotions").mkdir()
    (folder / "GoEmotions/dev.tsv").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder


def read(folder: Path) -> list[dict]:
    return load_examples(TASK, folder, "validation", allow_partial=True)


def test_a_line_of_the_official_files(tmp_path):
    found = read(official(tmp_path, 'He said "yay\t17,18\teda6yn6', "Fine.\t27\teefgh12"))
    assert found == [
        {"idx": 0, "text": 'He said "yay', "labels": [JOY, LOVE], "id": "eda6yn6"},
        {"idx": 1, "text": "Fine.", "labels": [NEUTRAL], "id": "eefgh12"},
    ]


@pytest.mark.parametrize("labels", ["28", "-1", "3,28", "joy", ""])
def test_a_label_that_is_none_is_an_error_with_its_place(tmp_path, labels):
    with pytest.raises(HarnessError, match=r"dev\.tsv:2: "):
        read(official(tmp_path, "Fine.\t27\teefgh12", f"Odd.\t{labels}\teefgh13"))


@pytest.mark.data
def test_the_official_files(data_folder):
    assert TASK.labels == tuple((data_folder / "GoEmotions/labels.txt").read_text().split())
    found = {split: load_examples(TASK, data_folder, split) for split in ("train", "validation", "test")}
    assert {split: len(examples) for split, examples in found.items()} == {
        "train": 43410,
        "validation": 5426,
        "test": 5427,
    }
    counts = [sum(label in example["labels"] for example in found["train"]) for label in range(28)]
    assert counts[NEUTRAL] == max(counts) == 14219  # Table 3 of the paper's repository
    assert min(counts) == counts[TASK.labels.index("grief")] == 77


def test_the_hub_source_is_not_pinned_to_an_invented_revision():
    assert TASK.hub == HubSource("google-research-datasets/go_emotions", "simplified", revision=None)


# Answers


@given(st.sets(st.integers(0, 27)))
def test_what_t5_writes_reads_back(labels):
    example = {"text": "Well.", "labels": sorted(labels)}
    text, target = functions.text_to_text(TASK, example)
    assert text == "goemotions text: Well."
    assert functions.parse(TASK, target, example) == sorted(labels)


@pytest.mark.parametrize("text", ["happy", "joy, happy", "joy love"])
def test_what_is_no_list_of_labels_is_wrong_and_counted(text):
    example = {"text": "Well.", "labels": [JOY]}
    assert functions.parse(TASK, text, example) is None
    pairs = [functions.metric_inputs(TASK, prediction, example) for prediction in (TASK.invalid_prediction, [JOY])]
    scores = compute_metrics(TASK.metrics, [p for p, _ in pairs], [r for _, r in pairs])
    assert scores["micro_f1"] == pytest.approx(2 / 3)


def test_the_threshold_is_a_probability_of_one_half():
    scores = torch.full((1, 28), -1e-6)
    scores[0, LOVE] = 1e-6
    assert functions.decide(TASK, scores.numpy(), {}) == [LOVE]


# Training


def test_all_three_architectures_train_on_the_sample_data(tmp_path, sample_cache):
    bench = Bench(tmp_path, sample_cache)
    bench.write(tasks=["goemotions"], models=["bert", "enct5", "t5"])
    bench.run()
    for model in ("bert", "enct5", "t5"):
        scores = bench.record("goemotions", model).scores["goemotions"]["validation"]
        assert scores.keys() == {"micro_f1", "macro_f1"}
        assert all(0 <= score <= 1 for score in scores.values())


@pytest.mark.data
@pytest.mark.slow
def test_a_part_of_the_real_data_is_learned_better_than_by_the_majority(data_folder, tmp_path):
    small = {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 1, "num_heads": 4, "dropout_rate": 0.0}
    model = {"architecture": "enct5", "config": small, "tokenizer": str(data_folder / "vocab/t5"), "prefix": False}
    recipe = {"learning_rate": 3e-3, "max_steps": 750, "max_length": 40, "precision": "fp32", "eval_every": 750}
    limit = {"train": 12000, "validation": 600}
    entry = {"tasks": "goemotions", "models": "m", "data": str(data_folder), "limit": limit, "recipe": recipe}
    (tmp_path / "b.yaml").write_text(json.dumps({"models": {"m": model}, "benchmarks": {"b": entry}}))
    harness.run(tmp_path / "b.yaml", ["b"], results=tmp_path / "results")
    record = json.loads(next((tmp_path / "results").rglob("record.json")).read_text())
    examples = load_examples(TASK, data_folder, "validation")[: limit["validation"]]
    pairs = [functions.metric_inputs(TASK, [NEUTRAL], example) for example in examples]
    majority = compute_metrics(TASK.metrics, [p for p, _ in pairs], [r for _, r in pairs])
    scores = record["scores"]["goemotions"]["validation"]
    assert all(scores[metric] > majority[metric] for metric in TASK.metrics)


# EncT5's options for several labels


def build(cache: Path, task: Task = TASK, **options) -> tuple[EncT5, EncT5ForSequenceClassification]:
    tokenizer = sample_tokenizer("t5", cache)
    torch.manual_seed(0)
    architecture = EncT5(tiny_model("enct5", **options), None, tokenizer, task, max_length=64)
    return architecture, architecture.build().eval()


def test_one_prompt_per_label(sample_cache):
    _, module = build(sample_cache)
    assert module.config.decoder_vocab_size == len(module.transformer.decoder.embed_tokens.weight) == 28
    assert module(IDS).logits.shape == (2, 28)


def test_prompts_start_from_the_names_of_their_labels(sample_cache):
    architecture, module = build(sample_cache, prompt_init="label_text")
    prompts, words = module.transformer.decoder.embed_tokens.weight, module.transformer.shared.weight
    for label, name in enumerate(TASK.labels):
        pieces = architecture.tokenizer(name, add_special_tokens=False)["input_ids"]
        torch.testing.assert_close(prompts[label], words[pieces].mean(0))
    assert prompts.requires_grad and prompts.data_ptr() != words.data_ptr()
    _, other = build(sample_cache)
    assert torch.equal(other.transformer.shared.weight, words)
    assert not torch.allclose(other.transformer.decoder.embed_tokens.weight, prompts)


def test_a_label_without_a_word_cannot_name_its_prompt(sample_cache):
    with pytest.raises(HarnessError, match=r"label '' of task 'goemotions'.*prompt_init: random"):
        build(sample_cache, task=dataclasses.replace(TASK, labels=("joy", "")), prompt_init="label_text")


@pytest.mark.parametrize("names", [[[5]], [[5], [7], []], [[5], [7], [8], [9]]])
def test_every_prompt_needs_a_name(names):
    model = EncT5ForSequenceClassification(multi(num_labels=3))
    with pytest.raises(ValueError, match=r"3 prompt\(s\) need as many names"):
        model.set_prompts_from_words(names)


def multi(**options) -> EncT5Config:
    return EncT5Config(**SIZES, problem_type="multi_label_classification", **options)


def logits(model: EncT5ForSequenceClassification) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS).logits


@settings(max_examples=25, deadline=None)
@given(
    order=st.permutations(range(5)),
    seed=st.integers(0, 1000),
    options=st.sampled_from([{"prompt_position_bias": False}, {"label_attention": "none"}]),
    attention=st.sampled_from(["eager", "sdpa"]),
)
def test_the_order_of_the_labels_does_not_matter(order, seed, options, attention):
    torch.manual_seed(seed)
    config = multi(num_labels=5, num_decoder_layers=2, attn_implementation=attention, **options)
    model = EncT5ForSequenceClassification(config).eval()
    before, order = logits(model), list(order)
    with torch.no_grad():
        head = model.classification_head
        for parameter in (model.transformer.decoder.embed_tokens.weight, head.weights, head.biases):
            parameter.copy_(parameter[order])
    torch.testing.assert_close(logits(model), before[:, order])


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize(("label_attention", "seen"), [("full", True), ("none", False)])
def test_whether_a_label_sees_the_others(label_attention, seen, attention):
    torch.manual_seed(0)
    config = multi(num_labels=4, num_decoder_layers=2, label_attention=label_attention, attn_implementation=attention)
    model = EncT5ForSequenceClassification(config).eval()
    before = logits(model)
    with torch.no_grad():
        model.transformer.decoder.embed_tokens.weight[1] += 1
    change = (logits(model) - before).abs()
    assert change[:, 1].min() > 1e-4
    assert bool((change[:, [0, 2, 3]] > 1e-4).all()) is seen
    assert seen or not change[:, [0, 2, 3]].any()


def test_label_attention_is_saved(tmp_path):
    EncT5ForSequenceClassification(multi(num_labels=3, label_attention="none")).save_pretrained(tmp_path)
    assert EncT5ForSequenceClassification.from_pretrained(tmp_path).config.label_attention == "none"


def test_another_label_attention_is_an_error():
    with pytest.raises(Exception, match="label_attention"):
        multi(num_labels=3, label_attention="some")
    with pytest.raises(ValueError, match="label_attention"):
        EncT5Settings(name="m", config=TINY["enct5"], tokenizer="sample", label_attention="some")


# The threshold


@given(
    st.lists(st.tuples(st.integers(-4, 4), st.booleans()), min_size=1, max_size=40),
    st.integers(1, 4),
)
def test_the_tuned_threshold_is_the_best_one(cells, width):
    cells += [(0, False)] * (-len(cells) % width)
    scores = np.array([score for score, _ in cells], dtype=np.float32).reshape(-1, 1, width)
    labels = [np.flatnonzero(row).tolist() for row in np.array([right for _, right in cells]).reshape(-1, width)]
    threshold = tuned_threshold(list(scores), labels)
    assert 0 < threshold < 1
    if not any(labels):
        assert threshold == 0.5
        return

    def micro_f1(boundary: float) -> float:
        predicted = [set(np.flatnonzero(row[0] > boundary)) for row in scores]
        hits = sum(len(p & set(own)) for p, own in zip(predicted, labels, strict=True))
        return 2 * hits / max(1, sum(map(len, predicted)) + sum(map(len, labels)))

    found = micro_f1(np.log(threshold / (1 - threshold)))
    assert found == pytest.approx(max(micro_f1(b) for b in np.arange(-4.5, 5)))


@pytest.mark.parametrize("size", [50.0, 2000.0])
def test_a_threshold_between_large_logits_can_be_used(size):
    for scores in ([[size, size - 5, -3.0]], [[-size, -size - 5, -size - 9]]):
        threshold = tuned_threshold([np.array(scores)], [[0]])
        assert 0 < threshold < 1
        assert np.isfinite(shifted(np.array(scores), threshold)).all()


def test_logits_are_moved_so_that_zero_stands_for_the_threshold():
    scores = np.array([[-1.0, 0.0, 2.0]])
    assert shifted(scores, 0.5) is scores
    decided = [functions.decide(TASK, shifted(scores, t), {}) for t in (0.2, 0.4, 0.6, 0.95)]
    assert decided == [[0, 1, 2], [1, 2], [2], []]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory, sample_cache):
    bench = Bench(tmp_path_factory.mktemp("tuned"), sample_cache)
    for model in ("enct5", "bert"):
        bench.models[f"{model}-tuned"] = {**bench.models[model], "threshold": "tuned"}
        bench.models[f"{model}-low"] = {**bench.models[model], "threshold": 0.2}
    models = [name for name in bench.models if not name.startswith("t5")]
    bench.write(
        {"max_steps": 30, "batch_size": 16, "learning_rate": 1e-2},
        tasks=["goemotions"],
        models=models,
        limit={"train": 200, "validation": 60},
    )
    bench.run()
    return bench


@pytest.mark.parametrize("model", ["enct5", "bert"])
def test_a_threshold_is_tuned_on_training_data_that_is_not_trained_on(tuned, model):
    plain, low, best = (tuned.record("goemotions", f"{model}{kind}") for kind in ("", "-low", "-tuned"))
    assert plain.threshold == 0.5 and low.threshold == 0.2 and best.threshold not in (0.2, 0.5)
    assert plain.counts["goemotions"]["train"] == 200 and best.counts["goemotions"]["train"] == 180
    assert len({record.fingerprint for record in (plain, low, best)}) == 3
    last = [evaluations(tuned.record("goemotions", f"{model}{kind}"))[30]["selection_score"] for kind in ("", "-tuned")]
    assert last[1] > last[0]  # after so few steps, no emotion is more likely than not


def test_predictions_follow_from_the_scores_and_the_threshold(tuned):
    for kind in ("", "-low", "-tuned"):
        record = tuned.record("goemotions", f"enct5{kind}")
        boundary = np.log(record.threshold / (1 - record.threshold))
        for row in record.predictions():
            assert row["prediction"] == np.flatnonzero(np.array(row["scores"][0]) > boundary).tolist()


@pytest.mark.parametrize("threshold", [0, 1, -0.5, "best", True])
def test_another_threshold_is_an_error(threshold):
    with pytest.raises(ValueError, match="threshold"):
        tiny_model("enct5", threshold=threshold)


# The report by label


def test_scores_by_label(tuned, capsys):
    record = tuned.record("goemotions", "bert-low")
    scores = label_scores(record)["goemotions", "validation"].scores
    assert [score.label for score in scores] == list(TASK.labels)
    columns = [
        [[int(i in row[key]) for i in range(28)] for row in record.predictions()] for key in ("prediction", "label")
    ]
    precision, recall, f1, support = precision_recall_fscore_support(columns[1], columns[0], zero_division=0)
    for i, score in enumerate(scores):
        assert (score.precision, score.recall, score.f1) == pytest.approx((precision[i], recall[i], f1[i]))
        assert score.support == support[i]
    both = record.scores["goemotions"]["validation"]
    assert both["macro_f1"] == pytest.approx(sum(score.f1 for score in scores) / 28)
    main(["show", str(record.folder)])
    shown = capsys.readouterr().out
    assert "goemotions validation by label, x 100" in shown
    line = next(line for line in shown.splitlines() if line.startswith("  admiration "))
    assert f"F1 {100 * scores[0].f1:5.1f}  support {scores[0].support}" in line
    assert "probability from which on a label is predicted" in shown


def test_the_table_of_labels_beside_the_leaderboard(tuned):
    file = tuned.results / "b" / "labels.md"
    text = file.read_text()
    (header, *_), rows = [[line for line in text.splitlines() if line.startswith(start)] for start in ("| Label", "| ")]
    assert [cell.strip() for cell in header.split("|")[1:-1]][:2] == ["Label", "Support"]
    assert len(rows) == 29 and rows[1].startswith("| admiration")
    file.unlink()
    harness.report(tuned.results)
    assert file.read_text() == text


def test_tasks_without_labels_have_no_such_table(tmp_path, sample_cache):
    bench = Bench(tmp_path, sample_cache)
    bench.write(tasks=["stsb"], recipe={"max_steps": 1})
    bench.run()
    assert not (bench.results / "b" / "labels.md").exists()


def test_a_task_of_open_answers_has_no_threshold_to_tune(tmp_path, sample_cache):
    bench = Bench(tmp_path, sample_cache)
    bench.models["bert"]["threshold"] = "tuned"
    bench.write(tasks=["record"], limit={"train": 20, "validation": 10})
    assert bench.command() == 0
    record = bench.record("record")
    assert record.threshold is None and record.counts["record"]["train"] == 20
