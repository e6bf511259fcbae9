"""WNUT-17 and token classification: files, words among tokens, what the three architectures make of it, own data."""

import dataclasses
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from running import Bench
from tiny import tiny_model
from transformers import BertForTokenClassification

import harness
from harness import HarnessError, load_examples, load_tasks
from harness.config.benchmark import read_benchmarks
from harness.data.custom import task_from_files
from harness.data.formats import sentences
from harness.data.sample import sample_examples
from harness.enct5 import EncT5ForTokenClassification
from harness.models import Architecture, architecture_class
from harness.models.enct5 import EncT5
from harness.models.tokenizers import UNREAD, first_tokens, load_tokenizer, sample_tokenizer, word_offsets
from harness.report.labels import label_scores
from harness.report.show import show_run
from harness.task import functions
from harness.task.entities import iob2_problem, spans
from harness.task.metrics import compute_metrics
from harness.task.official import as_evaluate_metric
from harness.task.task import HubSource, Task

TASK = load_tasks()["wnut17"]
WORDS = ["Anna", "met", "the", "Brook", "Brothers", "."]
TAGS = [9, 0, 0, 5, 6, 0]
EXAMPLE = {"tokens": WORDS, "ner_tags": TAGS}


def names(tags: list[int]) -> list[str]:
    return [TASK.labels[i] for i in tags]


# The task


def test_the_labels_are_tags():
    assert TASK.labels[:3] == ("O", "B-corporation", "I-corporation") and TASK.num_labels == 13
    assert names(TAGS) == ["B-person", "O", "O", "B-group", "I-group", "O"]
    assert TASK.answers is None and TASK.unlabelled is None and TASK.invalid_prediction == ()


def test_what_t5_reads_and_writes():
    text, target = functions.text_to_text(TASK, EXAMPLE)
    assert text == "wnut17 tokens: Anna met the Brook Brothers ."
    assert target == "person: Anna $$ group: Brook Brothers"
    assert functions.parse(TASK, target, EXAMPLE) == TAGS
    assert functions.text_to_text(TASK, {**EXAMPLE, "ner_tags": [0] * 6})[1] == "none"
    assert functions.text_to_text(TASK, {**EXAMPLE, "ner_tags": None}) == (text, "<unk>")
    assert functions.parse(TASK, "nothing at all", EXAMPLE) is None


def test_scores_become_tags_and_a_word_that_was_not_read_is_outside():
    scores = np.eye(13)[TAGS]
    scores[0] = np.nan
    assert functions.decide(TASK, scores, EXAMPLE) == [0, *TAGS[1:]]


def test_an_answer_that_is_none_is_scored_as_no_entity():
    pairs = [functions.metric_inputs(TASK, prediction, EXAMPLE) for prediction in (TASK.invalid_prediction, TAGS)]
    scores = compute_metrics(TASK.metrics, [p for p, _ in pairs], [r for _, r in pairs])
    f1, both = pytest.approx(2 / 3), {"entity_precision": 1.0, "entity_recall": 0.5}
    assert scores == {"entity_f1": f1, **both, "surface_f1": 1.0}  # the names are found in the second sentence


def test_as_a_metric_of_evaluate(tmp_path):
    metric = as_evaluate_metric("wnut17", tmp_path)
    found = metric.compute(
        predictions=[["B-person", "O"]], references=[{"words": ["Ann", "Acme"], "tags": ["B-person", "B-group"]}]
    )
    assert found["surface_f1"] == pytest.approx(2 / 3)
    assert found["entity_f1"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"labels": ("O", "person")}, "'person' is no IOB2 tag"),
        ({"labels": ("B-person", "I-person")}, "IOB2 tags need 'O'"),
        ({"text_fields": ("tokens", "more")}, "needs one text field"),
    ],
)
def test_what_is_no_token_classification(change, problem):
    with pytest.raises(HarnessError, match=problem):
        dataclasses.replace(TASK, **change)


def test_the_hub_source():
    assert TASK.hub == HubSource("leondz/wnut_17", None, "1ac0b6d18c8a1a1d1606b24bef78b8af2f92d2d9")


# Files


def official(folder: Path, text: str) -> Path:
    (folder / "WNUT-17").mkdir()
    (folder / "WNUT-17/emerging.dev.conll").write_text(text, encoding="utf-8", newline="\n")
    return folder


def read(folder: Path) -> list[dict]:
    return load_examples(TASK, folder, "validation", allow_partial=True)


@pytest.mark.parametrize("end", ["", "\n", "\n\n", "\n\t\n"])
def test_sentences_of_a_conll_file(tmp_path, end):
    text = '-DOCSTART-\tO\n\nAnna\tB-person\nmet\tO\n\t\n\n\u00a0\tO\n"\tO' + end
    assert read(official(tmp_path, text)) == [
        {"idx": 0, "tokens": ["Anna", "met"], "ner_tags": [9, 0]},
        {"idx": 1, "tokens": ["\u00a0", '"'], "ner_tags": [0, 0]},
    ]


def test_columns_separated_by_spaces_and_files_without_tags():
    assert list(sentences(["EU NNP I-NP B-org", "rejects VBZ I-VP O"])) == [
        (1, {"tokens": ["EU", "rejects"], "tags": ["B-org", "O"]})
    ]
    assert list(sentences(["EU", "rejects", "", "it"])) == [(1, {"tokens": ["EU", "rejects"]}), (4, {"tokens": ["it"]})]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("Anna\tB-person\nmet\tX-verb\n", r"dev\.conll:1: word 2: unknown label 'X-verb'\. .*Known labels: O, "),
        ("a\tO\n\nAnna\tO\nBrook\tI-person\n", r"dev\.conll:3: word 2 has tag 'I-person' after 'O'"),
        ("Anna\tB-person\nmet\n", r"dev\.conll:2: found 1 columns, and 2 in the lines before"),
        ("Anna\t\n", r"dev\.conll:1: a line must hold a word and its tag"),
        ("\tO\n", r"dev\.conll:1: a line must hold a word and its tag"),
        ("Anna\nmet\n", r"dev\.conll:1: no 'tags'"),
        ("\n\n", r"dev\.conll:1: there are no examples"),
        ("", r"dev\.conll:1: the file is empty"),
    ],
)
def test_what_is_wrong_in_a_conll_file(tmp_path, text, problem):
    with pytest.raises(HarnessError, match=problem):
        read(official(tmp_path, text))


def test_another_number_of_sentences_than_the_official_one(tmp_path):
    with pytest.raises(HarnessError, match="found 1 examples, expected 1009"):
        load_examples(TASK, official(tmp_path, "Anna\tB-person\n"), "validation")


def test_the_official_files(data_folder):
    found = {split: load_examples(TASK, data_folder, split) for split in ("train", "validation", "test")}
    assert {split: len(rows) for split, rows in found.items()} == {"train": 3394, "validation": 1009, "test": 1287}
    words = {split: sum(len(row["tokens"]) for row in rows) for split, rows in found.items()}
    assert words == {"train": 62730, "validation": 15733, "test": 23394}
    counts = {
        split: Counter(kind for row in rows for kind, _, _ in spans(names(row["ner_tags"])))
        for split, rows in found.items()
    }
    # Table 2 of the paper's shared task: entities by type.
    assert counts["train"] == {
        "person": 660, "location": 548, "corporation": 221, "product": 142, "creative-work": 140, "group": 264,
    }  # fmt: skip
    assert counts["validation"] == {
        "person": 470, "location": 74, "corporation": 34, "product": 114, "creative-work": 105, "group": 39,
    }  # fmt: skip
    assert counts["test"] == {
        "person": 429, "location": 150, "corporation": 66, "product": 127, "creative-work": 142, "group": 165,
    }  # fmt: skip
    first, last = found["train"][0], found["validation"][-1]
    assert first["tokens"][:3] == ["@paulwalk", "It", "'s"] and first["tokens"][14:17] == [
        "Empire",
        "State",
        "Building",
    ]
    assert names(first["ner_tags"][14:19]) == ["B-location", "I-location", "I-location", "O", "B-location"]
    assert last["tokens"][-2:] == ["Channel", "!"]
    assert names(last["ner_tags"][-3:]) == ["B-corporation", "I-corporation", "O"]
    assert all(iob2_problem(names(row["ner_tags"])) is None for rows in found.values() for row in rows)


def test_what_t5_writes_about_the_official_data_reads_back(data_folder):
    for split, ambiguous in (("train", 2), ("validation", 0), ("test", 0)):
        rows = load_examples(TASK, data_folder, split)
        wrong = sum(functions.parse(TASK, functions.text_to_text(TASK, row)[1], row) != row["ner_tags"] for row in rows)
        assert wrong == ambiguous  # an entity's words stand in the sentence before, too


# Words among tokens


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ([(0, 0), (0, 2), (2, 4), (5, 7), (8, 9), (0, 0)], [1, 3, 4]),
        ([(0, 4), (4, 5), (5, 7)], [0, 2, UNREAD]),  # a space for itself; the last word was cut off
        ([(0, 7), (7, 9)], [0, 0, 1]),  # a token over two words
        ([(0, 0), (5, 6), (5, 6), (6, 7)], [UNREAD, 1, UNREAD]),  # a byte-level token is a part of a character
    ],
)
def test_the_first_token_of_each_word(tokens, expected):
    words = word_offsets("read: abcd ef g", ["abcd", "ef", "g"])
    assert words == [(6, 10), (11, 13), (14, 15)]
    assert first_tokens([(a + 6, b + 6) if b else (0, 0) for a, b in tokens], words) == expected


def architecture(name: str, cache: Path, task: Task = TASK, max_length: int = 64, **options) -> Architecture:
    tokenizer = sample_tokenizer("bert" if name == "bert" else "t5", cache)
    torch.manual_seed(0)
    model = tiny_model(name, **options)
    return architecture_class(model)(model, None, tokenizer, task, max_length)


@pytest.mark.parametrize("name", ["bert", "enct5"])
@settings(max_examples=30, deadline=None)
@given(words=st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=6), min_size=1, max_size=8))
def test_every_word_gets_a_tag_whatever_it_is(name, sample_cache, words):
    model = architecture(name, sample_cache, max_length=24)
    example = {"tokens": words, "ner_tags": [0] * len(words)}
    features = model.features([example], training=False)
    positions = features.columns["words"][0].tolist()
    read = [position for position in positions if position != UNREAD]
    assert len(positions) == len(words) and read == sorted(read)
    assert all(0 <= position < len(features.columns["input_ids"][0]) <= 24 for position in read)
    module = model.build().eval()
    with torch.no_grad():
        (scores,) = model.predict(module, model.collate(features, [0]))
    assert scores.shape == (len(words), 13)
    assert [bool(row) for row in np.isnan(scores).all(-1)] == [position == UNREAD for position in positions]
    assert len(functions.decide(TASK, scores, example)) == len(words)


@pytest.mark.parametrize(("name", "prefix"), [("bert", True), ("enct5", True), ("enct5", False)])
def test_a_words_position_is_that_of_its_first_sub_word(name, prefix, sample_cache):
    options = {} if name == "bert" else {"prefix": prefix}
    model = architecture(name, sample_cache, **options)
    features = model.features([EXAMPLE], training=True)
    ids, positions = features.columns["input_ids"][0], features.columns["words"][0]
    pieces = model.tokenizer.convert_ids_to_tokens(ids[positions].tolist())
    for piece, word in zip(pieces, WORDS, strict=True):
        start = piece.removeprefix("▁").lower()
        assert start and word.lower().startswith(start), (pieces, WORDS)
    assert features.columns["labels"][0].tolist() == TAGS


def test_words_of_the_official_data_in_the_t5_vocabulary(data_folder):
    tokenizer = load_tokenizer(data_folder / "vocab/t5", "t5", "t5")
    model = EncT5(tiny_model("enct5"), None, tokenizer, TASK, 512)
    examples = load_examples(TASK, data_folder, "train")
    features = model.features(examples, training=True)
    unread = [
        example["tokens"][i]
        for row, example in enumerate(examples)
        for i in np.flatnonzero(features.columns["words"][row] == UNREAD)
    ]
    assert len(unread) <= 20, unread


# Batches and losses


@pytest.mark.parametrize("name", ["bert", "enct5"])
def test_neither_neighbours_nor_words_that_are_not_read_change_the_loss(name, sample_cache):
    model = architecture(name, sample_cache, max_length=12, dropout=0.0)
    module = model.build().eval()
    long = {"tokens": WORDS * 4, "ner_tags": TAGS * 4}
    features = model.features([EXAMPLE, long, {"tokens": WORDS[:2], "ner_tags": TAGS[:2]}], training=True)
    together = model.collate(features, [0, 1, 2])
    alone = [model.collate(features, [i]) for i in range(3)]
    assert together.sizes == [6, 24, 2] and together.weight == sum(batch.weight for batch in alone) < 32
    with torch.no_grad():
        loss, losses = model.loss(module, together), [model.loss(module, batch) for batch in alone]
        torch.testing.assert_close(loss, sum(losses))
        for found, batch in zip(model.predict(module, together), alone, strict=True):
            np.testing.assert_allclose(found, model.predict(module, batch)[0], atol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_that_of_each_word(smoothing, sample_cache):
    model = architecture("enct5", sample_cache)
    model.label_smoothing = smoothing
    module = model.build().eval()
    batch = model.collate(model.features([EXAMPLE], training=True), [0])
    with torch.no_grad():
        logs = module(**batch.inputs).logits[0].double().log_softmax(-1)
        loss = float(model.loss(module, batch))
    right = logs[range(6), TAGS]
    assert loss == pytest.approx(float(-((1 - smoothing) * right + smoothing * logs.mean(1)).sum()), rel=1e-5)


def test_the_models_that_are_built(sample_cache):
    bert, enct5 = (architecture(name, sample_cache).build() for name in ("bert", "enct5"))
    assert isinstance(bert, BertForTokenClassification) and bert.num_labels == 13
    assert isinstance(enct5, EncT5ForTokenClassification) and enct5.config.word_states
    assert not architecture("enct5", sample_cache, word_states=False).build().config.word_states


def test_an_unlabelled_sentence_can_be_predicted_but_not_trained_on(sample_cache):
    model = architecture("enct5", sample_cache)
    examples = [{"tokens": WORDS, "ner_tags": None}]
    assert model.collate(model.features(examples, training=False), [0]).labels is None
    with pytest.raises(HarnessError, match="a training example has no label"):
        model.features(examples, training=True)


# Training


@pytest.fixture(scope="module")
def trained(tmp_path_factory, sample_cache):
    bench = Bench(tmp_path_factory.mktemp("wnut17"), sample_cache)
    bench.models["enct5-no-words"] = {**bench.models["enct5"], "word_states": False}
    recipe = {"max_steps": 120, "batch_size": 32, "learning_rate": 7e-3, "max_length": 40, "eval_every": 120}
    bench.write(recipe, tasks=["wnut17"], models=["bert", "enct5", "enct5-no-words", "t5"], limit={"validation": 60})
    bench.run()
    return bench


def test_sample_sentences():
    train, test = sample_examples(TASK, "train"), sample_examples(TASK, "test")
    kinds = Counter(kind for row in train for kind, _, _ in spans(names(row["ner_tags"])))
    assert kinds.keys() == {name[2:] for name in TASK.labels[1:]} and min(kinds.values()) > 50
    assert all(len(row["tokens"]) == len(row["ner_tags"]) for row in train)
    assert all(row["ner_tags"] is None for row in test)
    assert not {" ".join(row["tokens"]) for row in train} & {" ".join(row["tokens"]) for row in test}
    assert train == sample_examples(TASK, "train")


@pytest.mark.parametrize("model", ["bert", "enct5", "enct5-no-words", "t5"])
def test_all_three_architectures_train_on_the_sample_data(trained, model):
    record = trained.record("wnut17", model)
    assert record.scores["wnut17"]["validation"].keys() == {
        "entity_f1", "entity_precision", "entity_recall", "surface_f1",
    }  # fmt: skip
    rows = list(record.predictions())
    examples = sample_examples(TASK, "validation")[:60]
    assert [row["label"] for row in rows] == [example["ner_tags"] for example in examples]
    for row, example in zip(rows, examples, strict=True):
        assert len(row["prediction"]) == len(example["tokens"]) or (row["prediction"] == [] and "output" in row)
        assert len(row.get("scores", example["tokens"])) == len(example["tokens"])


def test_surface_forms_stand_beside_the_f1_that_counts(trained):
    [board] = harness.report(trained.results).values()
    [column] = board.columns
    assert [metric for _, metric in column.parts] == ["entity_f1", "surface_f1"]
    assert "entity F1/surface F1" in board.markdown and "entity F1 of WNUT-17" in board.markdown
    row = next(row for row in board.rows if row.model == "bert")
    entity, surface = (part.mean for part in row.cells["wnut17"].parts)
    assert row.cells["wnut17"].score.mean == entity == trained.record("wnut17", "bert").selection_score != surface
    assert [interval is None for interval in row.cells["wnut17"].intervals] == [False, True]
    assert board.rankings["wnut17"].ranks
    [shown] = harness.report(trained.results, interval="ci").values()
    assert " ± " in shown.markdown and "/—" in shown.markdown
    harness.report(trained.results)


def test_the_audit_takes_the_words_from_the_data(trained, tmp_path):
    found = harness.audit(trained.results)
    assert not found.differences and not any("surface_f1" in note for note in found.unchecked)
    without = harness.audit(trained.results, data=tmp_path)
    assert not without.differences
    assert "wnut17: surface_f1, which needs the words of the data" in without.unchecked
    assert without.scores == found.scores - 4  # of each model


def test_scoring_models_learn_the_sample_data_and_need_the_words_states_for_it(trained):
    f1 = {name: trained.record("wnut17", name).selection_score for name in ("bert", "enct5", "enct5-no-words")}
    assert f1["bert"] > 0.6 and f1["enct5"] > 0.3
    assert f1["enct5-no-words"] < 0.1


def test_words_that_were_cut_off_are_counted(trained, tmp_path, sample_cache):
    assert trained.record("wnut17", "t5").unread_words == {}
    bench = Bench(tmp_path, sample_cache)
    bench.write({"max_length": 12}, tasks=["wnut17"], models=["enct5"])
    bench.run()
    record = bench.record("wnut17", "enct5")
    unread = record.unread_words["wnut17"]["validation"]
    rows = record.predictions()
    cut = [
        (row["prediction"][i], score) for row in rows for i, score in enumerate(row["scores"]) if score[0] != score[0]
    ]
    assert len(cut) == unread > 0
    assert all(prediction == 0 for prediction, _ in cut)
    assert f"words that were not read  {unread}" in show_run(record)


def test_scores_by_type_of_entity(trained):
    record = trained.record("wnut17", "bert")
    scores = label_scores(record)["wnut17", "validation"].scores
    assert [score.label for score in scores] == [
        "corporation",
        "creative-work",
        "group",
        "location",
        "person",
        "product",
    ]
    hits, predicted, right = (sum(getattr(s, name) for s in scores) for name in ("hits", "predicted", "support"))
    assert 2 * hits / (predicted + right) == pytest.approx(record.selection_score)
    table = (trained.results / "b" / "labels.md").read_text()
    assert table.startswith("## wnut17") and "| creative-work |" in table and "enct5-no-words" in table


def test_what_t5_writes_that_is_no_answer_is_counted(trained):
    record = trained.record("wnut17", "t5")
    rows = list(record.predictions())
    no_answer = [
        functions.parse(TASK, row["output"], {"tokens": e["tokens"]}) is None
        for row, e in zip(rows, sample_examples(TASK, "validation")[:60], strict=True)
    ]
    assert record.invalid["wnut17"]["validation"] == pytest.approx(sum(no_answer) / len(rows))


# Own data


def own(folder: Path, **change) -> Task:
    conll = "".join(f"w{i}\tO\nAnna\tB-name\nBrook\tI-name\n\n" for i in range(12))
    (folder / "train.conll").write_text(conll)
    rows = [{"words": ["Ben"], "tags": ["B-name"]}, {"words": ["a", "b"], "tags": ["O", "B-place"]}]
    (folder / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "test.conll").write_text("Anna\nsings\n")
    return task_from_files("mine", {"problem_type": "token_classification", "train": "train.conll", **change}, folder)


def test_own_conll_files(tmp_path):
    task = own(tmp_path, test="test.conll")
    assert (task.labels, task.metrics, task.text_fields) == (("O", "B-name", "I-name"), ("entity_f1",), ("tokens",))
    train, validation = (load_examples(task, ".", split) for split in ("train", "validation"))
    assert (len(train), len(validation)) == (11, 1)
    assert train[0] == {"tokens": ["w0", "Anna", "Brook"], "label": [0, 1, 2], "idx": 0}
    assert load_examples(task, ".", "test") == [{"tokens": ["Anna", "sings"], "label": None, "idx": 0}]


def test_own_json_lines(tmp_path):
    own(tmp_path)
    task = own(tmp_path, train="dev.jsonl", validation="dev.jsonl", text="words")
    assert task.labels == ("O", "B-name", "B-place")
    assert load_examples(task, ".", "train")[1] == {"words": ["a", "b"], "label": [0, 2], "idx": 1}
    assert functions.parse(task, "place: a b", {"words": ["a", "b"]}) == [2, 2]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"words": ["a"], "tags": ["O", "O"]}, "there are 2 tags for 1 words"),
        ({"words": "a b", "tags": ["O", "O"]}, "'words' must be a list of words, found 'a b'"),
        ({"words": [], "tags": []}, "'words' must be a list of words"),
        ({"words": ["a", 5], "tags": ["O", "O"]}, "'a word of words' must be a text, found 5"),
        ({"words": ["a"], "tags": "O"}, "the tags must be a list, found 'O'"),
        ({"words": ["a"], "tags": ["B-town"]}, "word 1: unknown label 'B-town'"),
    ],
)
def test_what_is_wrong_in_json_lines(tmp_path, row, problem):
    own(tmp_path)
    (tmp_path / "bad.jsonl").write_text(json.dumps(row) + "\n")
    task = own(tmp_path, train="dev.jsonl", validation="bad.jsonl", text="words")
    with pytest.raises(HarnessError, match=rf"bad\.jsonl:1: {problem}"):
        load_examples(task, ".", "validation")


def test_tables_hold_no_lists_of_words(tmp_path):
    (tmp_path / "train.csv").write_text("tokens,tags\nAnna,B-name\n")
    with pytest.raises(HarnessError, match=r"train.csv must end with one of \.json, \.jsonl, \.parquet, \.conll"):
        own(tmp_path, train="train.csv")
    with pytest.raises(HarnessError, match=r"train.conll must end with one of \.tsv, \.csv, \.json, \.jsonl, "):
        own(tmp_path, problem_type="single_label_classification", text="tokens")


def test_a_benchmark_of_own_conll_files(tmp_path, sample_cache):
    own(tmp_path)
    bench = Bench(tmp_path, sample_cache)
    bench.write(tasks=["mine"], models=["bert", "enct5", "t5"], data=None, limit=None)
    content = json.loads(bench.path.read_text())
    content["tasks"] = {"mine": {"problem_type": "token_classification", "train": "train.conll"}}
    bench.path.write_text(json.dumps(content))
    assert read_benchmarks(bench.path).tasks["mine"].num_labels == 3
    bench.run()
    for model in ("bert", "enct5", "t5"):
        assert 0 <= bench.record("mine", model).selection_score <= 1
