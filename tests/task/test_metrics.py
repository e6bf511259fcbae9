"""The metrics against the outputs of the reference implementations (tests/golden/metrics), and their properties."""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import harness.task.metrics
from harness.errors import HarnessError
from harness.task.metrics import METRICS, compute_metrics, score_key, task_score
from harness.task.official import as_evaluate_metric, compute
from harness.task.plugins import load_tasks
from harness.task.task import Task

pytestmark = pytest.mark.filterwarnings("error")

GOLDEN = Path(__file__).parents[1] / "golden" / "metrics"
IRREGULAR = {
    "cola": ("matthews_correlation",),
    "axb": ("matthews_correlation",),
    "mrpc": ("f1", "accuracy"),
    "qqp": ("f1", "accuracy"),
    "stsb": ("pearson", "spearmanr"),
    "cb": ("cb_f1", "accuracy"),
    "multirc": ("f1_a", "exact_match"),
    "record": ("f1", "exact_match"),
}
"""The metrics of the golden cases that are not scored by accuracy alone."""


def cases(file: str) -> list:
    found = json.loads((GOLDEN / file).read_text(encoding="utf-8"))["cases"]
    for case in found:
        for key in {"predictions", "prediction_values"} & case.keys():
            case[key] = [math.nan if p == "nan" else p for p in case[key]]
        if "result" in case:
            case["result"] = {key: math.nan if value == "nan" else value for key, value in case["result"].items()}
    return [pytest.param(c, id=f"{c.get('config') or c['task']}-{number}") for number, c in enumerate(found)]


def equal(values: dict[str, float]):
    return pytest.approx(values, abs=1e-12, nan_ok=True)


def hugging_face_result(case: dict):
    # Its GLUE script stores STS-B's scores as float32.
    return pytest.approx(case["result"], abs=1e-6 if case["config"] == "stsb" else 1e-12, nan_ok=True)


def score(case: dict) -> dict[str, float]:
    return compute_metrics(IRREGULAR.get(case["config"], ("accuracy",)), case["predictions"], case["references"])


# Hugging Face's metric scripts decide valid predictions ----------------------------------------------------------


@pytest.mark.parametrize("case", [c for file in ("hf_glue.json", "hf_super_glue.json") for c in cases(file)])
def test_equal_to_hugging_face(case):
    if "error" not in case:
        assert score(case) == hugging_face_result(case)
    elif case["config"] == "stsb":
        assert score(case) == equal({"pearson": math.nan, "spearmanr": math.nan})
    else:
        # One -1 among right answers: T5 makes it the wrong class of its row, which is a positive in these cases.
        hits, rows = sum(case["references"]) - 1, len(case["references"])
        assert score(case) == equal({"accuracy": 1 - 1 / rows, "f1": 2 * hits / (2 * hits + 1)})


def golden_tasks() -> list:
    """Golden cases of the tasks that exist, by the tasks' own names; odd axg cases have a test of their own."""
    renamed = {("hf_super_glue.json", "rte"): "superglue_rte", ("hf_super_glue.json", "wsc.fixed"): "wsc"}
    known = {*load_tasks(), "mnli_matched", "mnli_mismatched"}
    found = []
    for file in ("hf_glue.json", "hf_super_glue.json"):
        for parameters in cases(file):
            case = parameters.values[0]
            name = renamed.get((file, case["config"]), case["config"])
            if name in known and name != "axg" and "error" not in case:
                found.append(pytest.param(name, case, id=parameters.id))
    return found


@pytest.mark.parametrize(("name", "case"), golden_tasks())
def test_compute_by_task_name(name, case):
    assert compute(name, case["predictions"], case["references"]) == hugging_face_result(case)


def test_every_task_names_known_metrics():
    for task in load_tasks().values():
        assert set(task.metrics) <= set(METRICS), task.name


# The T5 package decides invalid answers --------------------------------------------------------------------------

T5_KEYS = {
    "matthews_corrcoef": "matthews_correlation",
    "pearson_corrcoef": "pearson",
    "spearman_corrcoef": "spearmanr",
    "em": "exact_match",
}


def t5_cases(*irregular: str) -> list:
    all_cases = cases("t5.json")
    if irregular:
        return [c for c in all_cases if c.values[0]["task"] in irregular]
    return [c for c in all_cases if c.values[0]["task"] not in ("cb", "multirc", "record")]


def t5_result(case: dict) -> dict[str, float]:
    return {T5_KEYS.get(key, key): value / 100 for key, value in case["result"].items()}


@pytest.mark.parametrize("case", t5_cases())
def test_equal_to_t5(case):
    names = IRREGULAR.get(case["task"], ("accuracy",))
    scores = compute_metrics(names, case["prediction_values"], case["target_values"])
    expected = {name: math.nan for name in names} if "error" in case else t5_result(case)
    assert scores == equal(expected)


@pytest.mark.parametrize("case", t5_cases("cb"))
def test_cb_differs_from_t5_in_the_number_of_classes_only(case):
    """T5 averages over the three classes always; Hugging Face over those present, an invalid one included."""
    predictions, references = case["prediction_values"], case["target_values"]
    present = len({*predictions, *references})
    expected = t5_result(case)
    scores = compute_metrics(IRREGULAR["cb"], predictions, references)
    assert scores == equal({"f1": expected["mean_3class_f1"] * 3 / present, "accuracy": expected["accuracy"]})


@pytest.mark.parametrize("case", t5_cases("multirc"))
def test_multirc_differs_from_t5_in_grouping_only(case):
    """T5 groups answers by question number alone; Hugging Face by paragraph and question."""

    def exact_match_and_f1(paragraph_key):
        rows = [
            {
                "idx": {"paragraph": row.get(paragraph_key, 0), "question": row["idx/question"]},
                "prediction": p["value"],
            }
            for row, p in zip(case["examples"], case["prediction_values"], strict=True)
        ]
        scores = compute_metrics(IRREGULAR["multirc"], rows, [t["value"] for t in case["target_values"]])
        return {"exact_match": scores["exact_match"], "f1": scores["f1_a"]}

    expected = t5_result(case)
    assert exact_match_and_f1("none") == equal(expected)
    if "two paragraphs" in case["note"]:
        expected["exact_match"] = 0.5
    assert exact_match_and_f1("idx/paragraph") == equal(expected)


@pytest.mark.parametrize("case", t5_cases("record"))
def test_record_equal_to_t5_on_one_row_per_query(case):
    """T5's rows hold one copy per answer, of which it scores the first; ours hold one per query."""
    first = {}
    for target, prediction in zip(case["target_values"], case["prediction_values"], strict=True):
        first.setdefault(tuple(target["group"]), (prediction["value"], target["value"]))
    texts, answers = zip(*first.values(), strict=True)
    assert compute_metrics(IRREGULAR["record"], texts, answers) == equal(t5_result(case))
    rows = [{"idx": {"passage": p, "query": q}, "prediction_text": text} for (p, q), (text, _) in first.items()]
    right = [{"idx": {"passage": p, "query": q}, "answers": right} for (p, q), (_, right) in first.items()]
    assert compute_metrics(IRREGULAR["record"], rows, right) == equal(t5_result(case))


# Gender parity, multi-label, text answers ------------------------------------------------------------------------


def test_gender_parity_counts_equal_consecutive_pairs():
    names = ("gender_parity", "accuracy")
    assert compute_metrics(names, [1, 1, 0, 1, -1, -1, 0, 0], [1, 1, 0, 0, 1, 1, 1, 1]) == {
        "gender_parity": 0.5,
        "accuracy": 3 / 8,
    }


def test_gender_parity_of_the_golden_cases():
    axg = [c.values[0] for c in cases("hf_super_glue.json") if c.values[0]["config"] == "axg"]
    odd = [c for c in axg if len(c["predictions"]) % 2]
    assert odd and len(odd) < len(axg)
    for case in axg:
        parity = compute_metrics(["gender_parity"], case["predictions"], case["references"])["gender_parity"]
        pairs = list(zip(case["predictions"][::2], case["predictions"][1::2], strict=False))  # a last one is alone
        assert parity == sum(pair in ((0, 0), (1, 1)) for pair in pairs) / len(pairs)
    assert math.isnan(compute_metrics(["gender_parity"], [1], [1])["gender_parity"])


def test_multi_label_f1():
    predictions, references = [[1, 0, 0], [1, 1, 0], [0, 0, 0]], [[1, 0, 0], [0, 1, 0], [1, 0, 0]]
    # Label 0: 1 hit of 2 and 2; label 1: 1 of 1 and 1; label 2 is nowhere. Together: 2 hits of 3 and 3.
    assert compute_metrics(["macro_f1", "micro_f1"], predictions, references) == equal(
        {"macro_f1": (1 / 2 + 1 + 0) / 3, "micro_f1": 2 / 3}
    )


@given(
    st.integers(1, 4).flatmap(
        lambda labels: st.lists(
            st.tuples(*[st.lists(st.integers(0, 1), min_size=labels, max_size=labels)] * 2),
            min_size=1,
            max_size=8,
        )
    )
)
def test_multi_label_f1_equals_scikit_learn(rows):
    from sklearn.metrics import multilabel_confusion_matrix

    predictions, references = zip(*rows, strict=True)
    scores = compute_metrics(["macro_f1", "micro_f1"], predictions, references)
    widened = [[[*row, 0] for row in side] for side in (references, predictions)]  # one column would be read as classes
    counts = multilabel_confusion_matrix(*widened)[:-1].reshape(-1, 4)

    def f1(_, false_positives, false_negatives, hits):
        return 2 * hits / max(2 * hits + false_positives + false_negatives, 1)

    assert scores == equal({"macro_f1": sum(f1(*c) for c in counts) / len(counts), "micro_f1": f1(*counts.sum(axis=0))})


@pytest.mark.parametrize("invalid", [None, [1, 1], [1, 2, 0], "joy", 7])
def test_an_invalid_multi_label_row_misses_its_labels(invalid):
    predictions, references = [[1, 0, 0], invalid], [[1, 0, 0], [0, 1, 1]]
    assert compute_metrics(["micro_f1"], predictions, references)["micro_f1"] == equal(2 / 4)


def test_text_answers():
    scores = compute_metrics(["f1", "exact_match"], ["The cat!", "a dog", None], ["cat", ["big dog", "cow"], ["the"]])
    assert scores == equal({"f1": (1 + 2 / 3 + 0) / 3, "exact_match": 1 / 3})


def test_f1_m_equals_scikit_learn_question_by_question():
    from sklearn.metrics import f1_score

    rows = random.Random(1)
    answers = [(rows.randrange(9), rows.randrange(2), rows.randrange(2)) for _ in range(60)]
    predictions = [{"idx": {"paragraph": q % 3, "question": q}, "prediction": p} for q, p, _ in answers]
    by_question: dict[int, list[tuple[int, int]]] = {}
    for question, prediction, reference in answers:
        by_question.setdefault(question, []).append((reference, prediction))
    expected = [f1_score(*zip(*pairs, strict=True), average="macro") for pairs in by_question.values()]
    scores = compute_metrics(["f1_m"], predictions, [r for *_, r in answers])
    assert scores == equal({"f1_m": sum(expected) / len(expected)})


def test_record_takes_the_last_prediction_of_a_query_as_its_script_does():
    predictions = [{"idx": {"passage": p, "query": 0}, "prediction_text": text} for p, text in enumerate(["A1", "B1"])]
    references = [{"idx": {"passage": p, "query": 0}, "answers": ["B1"]} for p in range(2)]
    assert compute_metrics(["exact_match"], predictions, references) == {"exact_match": 1.0}


@pytest.mark.parametrize("diverged", [math.nan, math.inf])
def test_correlation_with_a_diverged_prediction_is_undefined(diverged):
    scores = compute_metrics(["pearson", "spearmanr"], [1.0, diverged, 3.0], [1.0, 2.0, 3.0])
    assert scores == equal({"pearson": math.nan, "spearmanr": math.nan})


# Properties ------------------------------------------------------------------------------------------------------

BINARY = ("accuracy", "matthews_correlation", "f1", "macro_f1", "micro_f1")
ANYTHING = st.one_of(
    st.none(),
    st.integers(),
    st.floats(),
    st.text(max_size=3),
    st.lists(st.integers(), max_size=2),
    st.booleans(),
)
LABEL_PAIRS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=30)
SCORES = st.floats(-100, 100).map(lambda x: round(x, 3))
SCORE_PAIRS = st.lists(st.tuples(SCORES, SCORES), min_size=1, max_size=20)


def multirc(predictions):
    return [
        {"idx": {"paragraph": i % 2, "question": i // 3, "answer": i}, "prediction": p}
        for i, p in enumerate(predictions)
    ]


def within_bounds(scores: dict[str, float]) -> bool:
    signed = ("matthews_correlation", "pearson", "spearmanr")
    return all(
        (math.isnan(value) and key in signed[1:]) or (-1 if key in signed else 0) - 1e-9 <= value <= 1 + 1e-9
        for key, value in scores.items()
    )


@given(LABEL_PAIRS, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(rows, order):
    predictions, references = zip(*rows, strict=True)
    shuffled = list(zip(multirc(predictions), rows, strict=True))
    order.shuffle(shuffled)
    expected = compute_metrics(BINARY, predictions, references)
    assert compute_metrics(BINARY, *zip(*(pair for _, pair in shuffled), strict=True)) == equal(expected)
    names = ("f1_a", "exact_match")
    expected = compute_metrics(names, multirc(predictions), references)
    assert compute_metrics(names, [row for row, _ in shuffled], [r for _, (_, r) in shuffled]) == equal(expected)


@given(SCORE_PAIRS, st.randoms(use_true_random=False))
def test_correlations_are_bounded_and_free_of_order(rows, order):
    scores = compute_metrics(("pearson", "spearmanr"), *zip(*rows, strict=True))
    assert within_bounds(scores)
    shuffled = order.sample(rows, len(rows))
    again = compute_metrics(("pearson", "spearmanr"), *zip(*shuffled, strict=True))
    assert again == pytest.approx(scores, abs=1e-6, nan_ok=True)


@given(st.lists(st.tuples(ANYTHING, st.integers(0, 1)), min_size=2, max_size=20))
def test_no_prediction_whatever_raises(rows):
    predictions, references = zip(*rows, strict=True)
    assert within_bounds(compute_metrics((*BINARY, "pearson", "spearmanr"), predictions, references))
    assert within_bounds(compute_metrics(("f1_a", "exact_match"), multirc(predictions), references))
    texts = compute_metrics(("f1", "exact_match"), predictions, [str(r) for r in references])
    assert within_bounds(texts)
    rows_of_labels = [[r, 1 - r] for r in references]
    assert within_bounds(compute_metrics(("micro_f1", "macro_f1"), predictions, rows_of_labels))
    assert within_bounds(compute_metrics(["gender_parity"], predictions * 2, references * 2))


@given(st.lists(st.integers(0, 1), min_size=2, max_size=20).filter(lambda labels: len(set(labels)) == 2))
def test_perfect_predictions_score_one(labels):
    for scores in (
        compute_metrics((*BINARY, "pearson", "spearmanr"), labels, labels),
        compute_metrics(("f1_a", "exact_match"), multirc(labels), labels),
    ):
        assert scores == equal(dict.fromkeys(scores, 1.0))
    texts = [f"answer {label}" for label in labels]
    assert compute_metrics(("f1", "exact_match"), texts, texts) == {"f1": 1.0, "exact_match": 1.0}


@given(LABEL_PAIRS, st.sampled_from([None, -1, 2, 7.5, "1", float("nan")]), st.data())
def test_an_invalid_prediction_is_never_better_than_the_right_one(rows, invalid, data):
    right, references = zip(*((r, r) if data.draw(st.booleans()) else (p, r) for p, r in rows), strict=True)
    row = data.draw(st.integers(0, len(rows) - 1))
    good = [*right[:row], references[row], *right[row + 1 :]]
    bad = [*right[:row], invalid, *right[row + 1 :]]
    names = ("accuracy", "f1", "macro_f1")
    for name in names:
        before, after = (compute_metrics([name], p, references)[name] for p in (good, bad))
        assert after <= before + 1e-12
    assert compute_metrics(["accuracy"], bad, references) == equal(
        {"accuracy": compute_metrics(["accuracy"], good, references)["accuracy"] - 1 / len(rows)}
    )


# Task scores, errors, documentation ------------------------------------------------------------------------------


def test_task_score_is_the_mean_of_the_metrics_and_counts_undefined_as_zero():
    assert task_score({"f1": 0.5, "accuracy": 1.0}, ["cb_f1", "accuracy"]) == 0.75
    assert task_score({"f1_a": 0.5, "f1_m": 0.9, "exact_match": 0.1}, ["f1_a", "exact_match"]) == equal(0.3)
    assert task_score({"pearson": math.nan, "spearmanr": math.nan}, ["pearson", "spearmanr"]) == 0.0
    with pytest.raises(HarnessError, match="no value of accuracy"):
        task_score({"f1": 0.5}, ["f1", "accuracy"])


def test_every_metric_gives_its_value_under_its_key():
    rows = {"f1_a": multirc([1, 0]), "f1_m": multirc([1, 0]), "exact_match": multirc([1, 0])}
    for name in METRICS:
        references: list = [["B-x"], ["O"]] if name == "entity_f1" else [1, 0]
        if name == "surface_f1":
            references = [{"words": ["Ann"], "tags": ["B-x"]}, {"words": ["."], "tags": ["O"]}]
        assert score_key(name) in compute_metrics([name], rows.get(name, [1, 0]), references)


def test_arrays_are_rows_too():
    import numpy as np

    assert compute_metrics(["accuracy"], np.array([1.0, 0.0]), np.array([True, True])) == {"accuracy": 0.5}


@pytest.mark.parametrize(
    ("names", "predictions", "references", "message"),
    [
        (["acuracy"], [1], [1], "unknown metric 'acuracy'. Did you mean 'accuracy'"),
        (["accuracy"], [1, 0], [1], "2 predictions for 1 references"),
        (["accuracy"], [], [], "nothing to score"),
        (["accuracy"], [1, -1], [1, -1], "reference -1 of row 1 is not a class index"),
        (["f1"], [1, 2], [1, 2], "reference 2 of row 1 is not one of the classes 0, 1"),
        (["pearson"], [1.0, 2.0], [1.0, None], "reference None of row 1 is not a finite number"),
        (["micro_f1"], [[1, 0]], [[1, 2]], "is not a list of one 0 or 1 per label"),
        (["f1", "cb_f1"], [1], [1], "metrics f1 and cb_f1 share a key, 'f1'"),
        (["f1_a"], [1], [1], "not of MultiRC's form"),
        (["f1_a"], [{"idx": 3, "prediction": 1}], [1], "not of MultiRC's form"),
        (["exact_match"], [1], [1], "not of MultiRC's form"),
        (["f1"], [{"query": 0}], [{"answers": ["x"]}], "not of ReCoRD's form"),
        (["exact_match"], ["x"], [[]], "has no text answers"),
        (["entity_f1"], [["O"]], [1], "reference 1 of row 0 is not a list of one tag name per word"),
    ],
)
def test_mistakes_are_named(names, predictions, references, message):
    with pytest.raises(HarnessError) as error:
        compute_metrics(names, predictions, references)
    assert message in str(error.value)


def test_unknown_task():
    with pytest.raises(HarnessError, match=r"unknown task 'mrcp'\. Did you mean 'mrpc'"):
        compute("mrcp", [1], [1])
    with pytest.raises(HarnessError, match="unknown task"):
        as_evaluate_metric("../mrpc", "anywhere")


# evaluate --------------------------------------------------------------------------------------------------------

OFFLINE = """
import os, socket, sys
def refuse(*args, **kwargs): raise OSError("no network in this test")
socket.socket.connect = socket.getaddrinfo = refuse
from harness.task.official import as_evaluate_metric
metric = as_evaluate_metric("mrpc", sys.argv[1])
metric.add_batch(predictions=[1, -1], references=[1, 0])
metric.add(prediction=1, reference=1)
print(metric.compute())
stsb = as_evaluate_metric("stsb", sys.argv[1])
print(stsb.compute(predictions=[1.0, 2.5, 4.0], references=[0.5, 2.0, 3.5]))
"""


@pytest.mark.slow
def test_evaluate_metric_writes_in_its_cache_dir_only_and_needs_no_network(tmp_path):
    home, cache, cwd = (tmp_path / name for name in ("home", "cache", "cwd"))
    for folder in (home, cwd):
        folder.mkdir()
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "XDG_", "TRANSFORMERS_"))}
    root = str(Path(harness.task.metrics.__file__).parents[2])
    environment = {**kept, "HOME": str(home), "PYTHONPATH": root, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE, str(cache)], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    mrpc, stsb = (json.loads(line.replace("'", '"')) for line in done.stdout.splitlines())
    assert mrpc == equal({"f1": 2 * 2 / (2 * 2 + 1), "accuracy": 2 / 3})
    assert stsb == equal({"pearson": 1.0, "spearmanr": 1.0})
    assert cache.is_dir()
    assert [*home.rglob("*"), *cwd.rglob("*")] == []


def evaluate_cases() -> list:
    """The first golden case of every task that exists."""
    first = {}
    for parameters in golden_tasks():
        name, case = parameters.values
        first.setdefault(name, case)
    return list(first.items())


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("name", "case"), evaluate_cases())
def test_evaluate_metric_gives_what_compute_gives(name, case, tmp_path):
    metric = as_evaluate_metric(name, tmp_path)
    scores = metric.compute(predictions=case["predictions"], references=case["references"])
    assert scores == hugging_face_result(case)


FORMS = {
    "multirc": (("f1_a", "exact_match"), multirc([1, 0, -1]), [1, 0, 0]),
    "record": (
        ("f1", "exact_match"),
        [{"idx": {"passage": 0, "query": q}, "prediction_text": text} for q, text in enumerate(["Rome", "the Oslo"])],
        [{"idx": {"passage": 0, "query": q}, "answers": ["Oslo", "Bergen"]} for q in range(2)],
    ),
    "topics": (("micro_f1", "macro_f1"), [[1, 0], [0, 1]], [[1, 1], [0, 1]]),
}


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", FORMS)
def test_evaluate_metric_takes_every_form_of_rows(name, tmp_path, monkeypatch):
    metrics, predictions, references = FORMS[name]
    kind = "multi_label_classification" if name == "topics" else "single_label_classification"
    task = Task(name, "own", kind, text_fields=("text",), metrics=metrics, labels=("no", "yes"))
    monkeypatch.setattr("harness.task.official.load_tasks", lambda: {name: task})
    scores = as_evaluate_metric(name, tmp_path).compute(predictions=predictions, references=references)
    assert scores == equal(compute_metrics(metrics, predictions, references))
