"""Architectures: every model on every kind of task, losses against a calculation by hand, and what truncation keeps."""

import dataclasses
import io
import json
import math
import re

import numpy as np
import pytest
import sentencepiece
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.utils import set_seed
from safetensors.torch import load_file, save_file
from tiny import TINY, tiny_model
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    CLIPConfig,
    T5Config,
)
from transformers import T5ForConditionalGeneration as T5Model

from harness.config.architectures import ARCHITECTURES
from harness.config.schema import Recipe
from harness.data.datasets import load_examples
from harness.errors import HarnessError
from harness.inspection.forms import rows_of
from harness.models import architecture_class
from harness.models.tokenizers import load_tokenizer, sample_tokenizer
from harness.task import functions
from harness.task.plugins import load_tasks
from harness.task.task import Instance, Task
from harness.task.texts import input_text
from harness.training.evaluation import evaluate
from harness.training.update import Training

TOPICS = Task(
    name="topics",
    suite="own",
    problem_type="multi_label_classification",
    labels=("sports", "politics", "science"),
    text_fields=("text",),
    metrics=("micro_f1",),
)
QUIZ = Task(
    name="quiz",
    suite="own",
    problem_type="multiple_choice",
    labels=("a", "b", "c", "d"),
    text_fields=("question",),
    metrics=("accuracy",),
    instances=lambda example: [
        Instance({"question": example["question"], "option": option}, int(i == example["label"]))
        for i, option in enumerate(example["options"])
    ],
)
"""Groups of different sizes."""
QUESTIONS = [
    {"question": "Who sold the hat?", "options": ["Anna", "the baker", "nobody"], "label": 2},
    {"question": "Where?", "options": ["at the market", "on the hill by the lake"], "label": 0},
    {"question": "When did Ben buy the boat?", "options": ["in the spring", "never", "at night", "now"], "label": 1},
]
TASKS = {**load_tasks(), "topics": TOPICS, "quiz": QUIZ}
RECIPE = Recipe(learning_rate=1e-3, batch_size=8, max_steps=3, max_length=64, precision="fp32")


@pytest.fixture
def make(sample_cache):
    """``make(architecture, task, **options of the model)`` -> the architecture, with random weights."""

    def pair(architecture, task, max_length=64, label_smoothing=0.0, folder=None, vocabulary=None, **options):
        tokenizer = sample_tokenizer(vocabulary or ("bert" if architecture == "bert" else "t5"), sample_cache)
        if folder is None:
            model = tiny_model(architecture, **options)
        else:
            model = ARCHITECTURES[architecture](name="kept", checkpoint=str(folder), **options)
        return architecture_class(model)(model, folder, tokenizer, TASKS[task], max_length, label_smoothing)

    return pair


def start(architecture, examples, recipe=RECIPE):
    set_seed(1)
    features = architecture.features(examples, training=True)
    return Training(architecture, architecture.build(), features, recipe, 1, Accelerator(cpu=True))


def sample(task, split, count):
    return load_examples(TASKS[task], "sample", split)[:count]


# Every model on every kind of task -------------------------------------------------------------------------------


def valid(task, prediction, example):
    """Whether a prediction is one that the task can have."""
    if task.open_answers and task.name == "record":
        return prediction in example["entities"]
    if task.problem_type == "regression":
        return isinstance(prediction, float)
    if task.problem_type == "multi_label_classification":
        return set(prediction) <= set(range(len(task.labels)))
    return prediction in range(len(task.labels))


IDLE = re.compile(r"decoder\.block\.\d\.layer\.0\.SelfAttention\.(q|k|relative_attention_bias)\.")
"""What EncT5's single prompt has no use for: it can attend to nothing but itself."""
SHIFT = re.compile(r"(classifier|classification_head.*)\.bias$")
"""What is added to all scores of a group does not change their softmax."""
KINDS = ["cola", "stsb", "topics", "copa", "record", "wsc"]
OTHERS = [pytest.param(name, marks=pytest.mark.slow) for name in ("mrpc", "multirc", "wic")]


@pytest.mark.parametrize("name", [*KINDS, *OTHERS])
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_it_trains_and_answers_every_example_once_in_order(kind, name, make):
    task = TASKS[name]
    examples = sample(name, task.validation_splits[0], 13)
    architecture = make(kind, name)
    training = start(architecture, sample(name, "train", 24))
    before = training.weights()
    for _ in range(2):
        training.update()
    assert math.isfinite(training.mean_loss())
    still = {key for key, tensor in training.weights().items() if torch.equal(tensor, before[key])}
    assert [key for key in still if not IDLE.search(key) and not (task.problem.grouped and SHIFT.search(key))] == []

    features = architecture.features(examples, training=False)
    found = evaluate(training, task, examples, features)
    assert len(found.predictions) == len(found.outputs) == len(features) == 13
    assert found.scores and all(math.isfinite(value) or task.name == "stsb" for value in found.scores.values())
    module = training.module.eval()
    for i in (0, 5, 12):
        with torch.inference_mode():
            (alone,) = architecture.predict(module, architecture.collate(features, [i]))
        if kind == "t5":
            assert found.outputs[i] == alone
        else:
            np.testing.assert_allclose(found.outputs[i], alone, atol=1e-5)
    for output, prediction, example in zip(found.outputs, found.predictions, examples, strict=True):
        if kind != "t5":
            assert output.dtype == np.float32
            assert output.shape == (len(functions.instances(task, example)), task.num_labels)
            assert valid(task, prediction, example)
    if kind == "t5" and name not in ("record", "wsc"):
        invalid = sum(functions.parse(task, text, e) is None for text, e in zip(found.outputs, examples, strict=True))
        assert found.invalid == invalid


def test_a_choice_is_the_one_with_the_highest_score(make):
    architecture = make("bert", "quiz")
    training = start(architecture, QUESTIONS)
    found = evaluate(training, QUIZ, QUESTIONS, architecture.features(QUESTIONS, training=False))
    assert [len(scores) for scores in found.outputs] == [3, 2, 4]
    assert found.predictions == [int(scores.argmax()) for scores in found.outputs]


# Losses ----------------------------------------------------------------------------------------------------------


def by_hand(task, architecture, logits, batch, smoothing):
    """The sum of the losses, with nothing but logarithms."""
    logits, labels = logits.double(), batch.labels.double()
    if task.problem_type == "regression":
        return sum((float(score) - float(label)) ** 2 for score, label in zip(logits[:, 0], labels[:, 0], strict=True))
    if task.problem_type == "multi_label_classification":
        yes, no = logits.sigmoid().log(), (1 - logits.sigmoid()).log()
        targets = torch.where(labels == 1, 1 - smoothing / 2, smoothing / 2)
        return float(-(targets * yes + (1 - targets) * no).mean(1).sum())
    if task.problem_type == "multiple_choice":
        total, row = 0.0, 0
        for size in batch.sizes:
            scores, answers = logits[row : row + size, 0].tolist(), labels[row : row + size, 0].tolist()
            partition = math.log(sum(map(math.exp, scores)))
            total += partition - (1 - smoothing) * scores[answers.index(1)] - smoothing * sum(scores) / size
            row += size
        return total
    logs = logits.exp().div(logits.exp().sum(1, keepdim=True)).log()
    right = logs[range(len(logs)), labels[:, 0].long()]
    return float(-((1 - smoothing) * right + smoothing * logs.mean(1)).sum())


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("name", ["mnli", "stsb", "topics", "copa", "quiz", "record", "multirc"])
@pytest.mark.parametrize("kind", ["bert", "enct5"])
def test_losses_equal_a_calculation_by_hand(kind, name, smoothing, make):
    architecture = make(kind, name, label_smoothing=smoothing)
    examples = QUESTIONS if name == "quiz" else sample(name, "train", 5)
    module = architecture.build().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(2)  # far from scores that are all alike
        batch = architecture.collate(architecture.features(examples, training=True), range(len(examples)))
        logits = module(**batch.inputs).logits
        loss = float(architecture.loss(module, batch))
    assert loss == pytest.approx(by_hand(TASKS[name], architecture, logits, batch, smoothing), rel=1e-5)
    groups = TASKS[name].problem_type == "multiple_choice"
    assert batch.weight == (len(examples) if groups else len(logits))
    assert sum(batch.sizes) == len(logits)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_t5_learns_the_tokens_of_the_answer_and_its_end(smoothing, make):
    architecture = make("t5", "cola", label_smoothing=smoothing)
    examples = sample("cola", "train", 6)
    module = architecture.build().eval()
    features = architecture.features(examples, training=True)
    batch = architecture.collate(features, range(6))
    expected, tokens = 0.0, 0
    for example in examples:  # one by one, without padding
        texts = functions.text_to_text(TASKS["cola"], example)
        source, target = (architecture.tokenizer(text)["input_ids"] for text in texts)
        start = [module.config.decoder_start_token_id, *target[:-1]]
        with torch.no_grad():
            logits = module(input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([start])).logits[0]
        logs = logits.double().log_softmax(-1)
        right = logs[range(len(target)), target]
        expected -= float(((1 - smoothing) * right + smoothing * logs.mean(1)).sum())
        tokens += len(target)
        assert target[-1] == architecture.tokenizer.eos_token_id
    with torch.no_grad():
        assert float(architecture.loss(module, batch)) == pytest.approx(expected, rel=1e-5)
    assert batch.weight == tokens


def test_wsc_trains_t5_on_true_examples_and_record_on_every_answer(make):
    examples = sample("wsc", "train", 20)
    assert len(make("t5", "wsc").features(examples, training=True)) == sum(e["label"] == 1 for e in examples)
    assert len(make("t5", "wsc").features(examples, training=False)) == 20
    examples = sample("record", "train", 20)
    answers = sum(len(e["answers"]) for e in examples)
    assert answers > 20
    assert len(make("t5", "record").features(examples, training=True)) == answers
    assert len(make("t5", "record").features(examples, training=False)) == 20
    bert = make("bert", "record").features(examples, training=True)
    assert bert.sizes.tolist() == [len(e["entities"]) for e in examples]
    assert bert.columns["labels"].values.sum() == answers


def test_no_label_in_training_is_an_error(make):
    with pytest.raises(HarnessError, match="task 'cola': a training example has no label"):
        make("bert", "cola").features(sample("cola", "test", 3), training=True)


# Truncation ------------------------------------------------------------------------------------------------------


def holds(tokens, part):
    """Whether the tokens of ``part`` stand in ``tokens`` without a gap."""
    return any(tokens[i : i + len(part)] == part for i in range(len(tokens) - len(part) + 1))


def whole_parts(kind, name, example):
    """The texts that truncation must leave whole."""
    if name == "boolq":
        return [example["question"]]
    if name == "multirc":
        return [example["question"], example["answer"]]
    if kind == "t5":
        return [example["query"], "entities: " + ", ".join(example["entities"])]
    return [example["query"].replace("@placeholder", entity) for entity in sorted(set(example["entities"]))]


@pytest.mark.parametrize("name", ["boolq", "multirc", "record"])
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_truncation_takes_from_the_end_of_the_passage_and_keeps_the_query_whole(kind, name, make):
    for example in sample(name, "validation", 10):
        full = make(kind, name, max_length=1000).features([example], training=False).columns["input_ids"]
        for less in (1, 6):
            shortest = min(len(full[row]) for row in range(len(full))) - less
            short = make(kind, name, max_length=shortest).features([example], training=False).columns["input_ids"]
            assert len(short) == len(full)
            for row in range(len(full)):
                long, kept = full[row].tolist(), short[row].tolist()
                assert len(kept) == shortest
                same = next(i for i, token in enumerate(kept) if token != long[i])
                assert long[same + len(long) - len(kept) :] == kept[same:]  # one gap, and nothing else
            tokenizer = make(kind, name).tokenizer
            parts = whole_parts(kind, name, example)
            for number, part in enumerate(parts):
                tokens = tokenizer(part, add_special_tokens=False)["input_ids"]
                rows = range(len(full)) if name != "record" or kind == "t5" else [number]
                assert all(holds(short[row].tolist(), tokens) for row in rows), part


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_a_query_that_is_too_long_itself_is_cut(kind, make):
    example = {"question": "why " * 50, "passage": "because", "label": 1}
    features = make(kind, "boolq", max_length=20).features([example], training=False)
    assert features.lengths.tolist() == [20]


def test_without_a_passage_the_longer_segment_gives_way(make):
    example = {"sentence1": "the red boat", "sentence2": "the big old boat " * 20, "label": 1}
    features = make("bert", "mrpc", max_length=24).features([example], training=False)
    types = features.columns["token_type_ids"][0].tolist()
    assert types.count(0) == len(["[CLS]", "the", "red", "boat", "[SEP]"]) and types.count(1) == 19


# Options ---------------------------------------------------------------------------------------------------------


def test_a_prefix_names_task_and_fields_and_can_be_left_out(make):
    example = sample("mrpc", "validation", 1)[0]
    texts = f"{example['sentence1']} {example['sentence2']}"
    named = f"mrpc sentence1: {example['sentence1']} sentence2: {example['sentence2']}"
    for kind, prefix, expected in [
        ("enct5", True, named),
        ("enct5", False, texts),
        ("t5", True, named),
        ("t5", False, texts),
    ]:
        architecture = make(kind, "mrpc", prefix=prefix)
        for training in (True, False):
            ids = architecture.features([example], training).columns["input_ids"][0].tolist()
            assert ids == architecture.tokenizer(expected)["input_ids"]
    assert make("t5", "mrpc").text_options() != make("t5", "mrpc", prefix=False).text_options()
    assert make("enct5", "mrpc").text_options() != make("enct5", "mrpc", prefix=False).text_options()


def test_a_model_that_reads_the_last_position_is_padded_before_the_text(make):
    config = {"model_type": "xlnet", "d_model": 32, "n_layer": 1, "n_head": 2, "d_inner": 32}
    architecture = make("bert", "cola", config=config)
    module = architecture.build().eval()
    features = architecture.features(sample("cola", "validation", 8), training=False)
    assert len({int(length) for length in features.lengths}) > 2
    with torch.no_grad():
        together = architecture.predict(module, architecture.collate(features, range(8)))
        alone = [architecture.predict(module, architecture.collate(features, [i]))[0] for i in range(8)]
    np.testing.assert_allclose(np.stack(together), np.stack(alone), atol=1e-5)


@pytest.mark.parametrize(
    ("config", "model_type"),
    [('{"model_type": "t5"}', "mt5"), ('{"model_type": "enct5"}', "t5"), (None, "t5"), (None, "mt5")],
)
def test_a_sentencepiece_model_is_enough_for_a_tokenizer(tmp_path, config, model_type):
    """As in the repositories of T5 v1.1 and mT5, which have no tokenizer.json; or alone, with the type of a model."""
    texts = [example["sentence"] for example in sample("cola", "train", 400)]
    content = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=content, vocab_size=120, pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
        model_type="unigram", minloglevel=2,
    )  # fmt: skip
    (tmp_path / "spiece.model").write_bytes(content.getvalue())
    if config:
        (tmp_path / "config.json").write_text(config)
    tokenizer = load_tokenizer(tmp_path, "m", model_type)
    pieces = sentencepiece.SentencePieceProcessor(model_proto=content.getvalue())
    for text in texts[:50]:
        assert tokenizer(text)["input_ids"] == [*pieces.encode(text), 1]


WORDPIECES = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "film", "##s", "paris", "."]
CASED = [*WORDPIECES, "Paris"]


@pytest.mark.parametrize("model_type", ["bert", "distilbert", "electra", "mobilebert", "convbert", "squeezebert"])
@pytest.mark.parametrize(
    ("words", "file", "settings", "lowers"),
    [
        (WORDPIECES, None, {}, True),
        (CASED, None, {}, False),
        (CASED, "bert_config.json", {"vocab_size": 12}, False),
        (CASED, "config.json", {"model_type": "bert"}, False),
        (CASED, "bert_config.json", {"do_lower_case": True}, True),
        (WORDPIECES, "tokenizer_config.json", {"do_lower_case": False}, False),
        (CASED, "tokenizer_config.json", {"do_lower_case": False, "tokenizer_class": "BertTokenizer"}, False),
    ],
)
def test_a_list_of_wordpieces_is_enough_for_a_tokenizer(tmp_path, model_type, words, file, settings, lowers):
    """As in Google's original BERT; a vocabulary without capital letters is of text in lower case."""
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    if file:
        (tmp_path / file).write_text(json.dumps(settings))
    tokenizer = load_tokenizer(tmp_path, "m", model_type)
    capital = "paris" if lowers else ("Paris" if "Paris" in words else "[UNK]")
    tokens = tokenizer.convert_ids_to_tokens(tokenizer("the films. Paris")["input_ids"])
    assert tokens == ["[CLS]", "the", "film", "##s", ".", capital, "[SEP]"]
    assert [tokenizer.vocab[word] for word in words] == list(range(len(words)))


def test_of_a_byte_level_vocabulary_the_type_chooses_the_class(tmp_path):
    letters = "".join(chr(code) for code in range(33, 127)) + "Ġ"
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *letters, "at", "cat"]
    (tmp_path / "vocab.json").write_text(json.dumps({piece: number for number, piece in enumerate(pieces)}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\na t\nc at\n")
    tokenizer = load_tokenizer(tmp_path, "m", "roberta")
    assert tokenizer.convert_ids_to_tokens(tokenizer("cat")["input_ids"]) == ["<s>", "cat", "</s>"]


@pytest.mark.data
def test_googles_original_bert_vocabulary(data_folder):
    tokenizer = load_tokenizer(data_folder / "vocab/bert-base-uncased", "m", "bert")
    assert tokenizer("Hello World café!")["input_ids"] == [101, 7592, 2088, 7668, 999, 102]


def test_what_is_no_vocabulary_is_refused_with_the_type(tmp_path):
    with pytest.raises(HarnessError, match=r"model 'm': no tokenizer that can be loaded in .* of type 'bort'"):
        (tmp_path / "vocab.txt").write_text("\n".join(WORDPIECES))
        load_tokenizer(tmp_path, "model 'm'", "bort")


def test_of_a_form_of_its_own_t5_leaves_out_the_name_of_the_task(make):
    example = sample("wsc", "validation", 1)[0]
    whole, _ = functions.text_to_text(TASKS["wsc"], example)
    architecture = make("t5", "wsc", prefix=False)
    ids = architecture.features([example], training=False).columns["input_ids"][0].tolist()
    assert whole.startswith("wsc: ") and ids == architecture.tokenizer(whole[len("wsc: ") :])["input_ids"]


# Forms of tasks --show -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in load_tasks() if name != "wnut17"])
def test_models_read_what_tasks_show_says(name, make):
    task = TASKS[name]
    example = sample(name, task.train_split or task.validation_splits[0], 1)[0]
    shown: dict[str, list[str]] = {}
    for family, text, _ in rows_of(task, example):
        shown.setdefault(family if family.startswith("EncT5,") else family.split()[0], []).append(text)
    models = {"BERT": make("bert", name, 512), "EncT5": make("enct5", name, 512), "T5": make("t5", name, 512)}
    models["EncT5, text: t5"] = make("enct5", name, 512, text="t5")
    shown.setdefault("EncT5, text: t5", shown["EncT5"])
    for family, architecture in models.items():
        features = architecture.features([example], training=False)
        expected = [architecture.tokenizer(*text.split(" [SEP] "))["input_ids"] for text in shown[family]]
        assert [row.tolist() for row in features.columns["input_ids"]] == expected, family


@pytest.mark.parametrize("name", ["copa", "multirc", "wic", "wsc", "record"])
def test_enct5_reads_and_answers_what_t5_reads(name, make):
    task, examples = TASKS[name], sample(name, "train", 12)
    architecture = make("enct5", name, text="t5", label_smoothing=0.1)
    applies = name in ("copa", "multirc", "wic")
    assert (architecture.text_options() != make("enct5", name).text_options()) == applies
    own = architecture.features(examples, training=False)
    if applies:
        theirs = make("t5", name).features(examples, training=False)
        for ours, row in zip(own.columns["input_ids"], theirs.columns["input_ids"], strict=True):
            assert ours.tolist() == row.tolist()
        module = architecture.build().eval()
        batch = architecture.collate(architecture.features(examples, training=True), range(12))
        assert batch.labels.tolist() == [[example["label"]] for example in examples] and batch.weight == 12
        with torch.no_grad():
            logits = module(**batch.inputs).logits.double()
            loss = float(architecture.loss(module, batch))
        right = logits.log_softmax(-1)[range(12), batch.labels[:, 0].long()]
        expected = -(0.9 * right + 0.1 * logits.log_softmax(-1).mean(1)).sum()
        assert logits.shape == (12, 2) and loss == pytest.approx(float(expected), rel=1e-5)
    training = start(architecture, examples)
    training.update()
    found = evaluate(training, task, examples, own)
    outputs = (
        [(2, 1) if name == "copa" else (1, 2)]
        if applies
        else [(len(functions.instances(task, e)), task.num_labels) for e in examples]
    )
    assert [scores.shape for scores in found.outputs] == outputs * (12 if applies else 1)
    if name != "record":
        assert found.predictions == [int(scores.argmax()) for scores in found.outputs]


def test_a_diagnostic_is_read_as_the_task_whose_model_answers_it(make):
    example = sample("axb", "test", 1)[0]
    architecture = make("enct5", "superglue_rte", text="t5").for_task(TASKS["axb"])
    (instance,) = functions.instances(TASKS["axb"], example)
    ids = architecture.features([example], training=False).columns["input_ids"][0].tolist()
    assert ids == architecture.tokenizer(input_text(TASKS["axb"], instance))["input_ids"]


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_dropout_is_the_models_or_as_asked_for(kind, make):
    def spread(**options):
        set_seed(1)
        architecture = make(kind, "cola", **options)
        module = architecture.build().train()
        batch = architecture.collate(architecture.features(sample("cola", "train", 4), training=True), range(4))
        with torch.no_grad():
            losses = [float(architecture.loss(module, batch)) for _ in range(2)]
        return abs(losses[0] - losses[1])

    assert spread(dropout=0.0) == 0
    assert spread() > 0 and spread(dropout=0.5) > 0
    if kind == "enct5":
        assert spread(dropout=0.0, classifier_dropout=0.5) > 0


@pytest.mark.parametrize("task", ["cola", "goemotions", "wnut17"])
@pytest.mark.parametrize(
    ("options", "head", "elsewhere"),
    [
        ({}, 0.0, 0.1),
        ({"dropout": 0.3}, 0.3, 0.3),
        ({"classifier_dropout": 0.2}, 0.2, 0.1),
        ({"dropout": 0.3, "classifier_dropout": 0.0}, 0.0, 0.3),
    ],
)
def test_the_head_of_enct5_has_a_dropout_of_its_own(make, task, options, head, elsewhere):
    module = make("enct5", task, **options).build()
    rates = {name: part.p for name, part in module.named_modules() if isinstance(part, torch.nn.Dropout)}
    assert {rate for name, rate in rates.items() if "head" in name} == {head}
    assert {rate for name, rate in rates.items() if "head" not in name} == {elsewhere}


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("bert", {"model_type": "distilbert", "dim": 32, "n_layers": 1, "n_heads": 2, "hidden_dim": 32}),
        ("bert", {"model_type": "albert", "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 32,
                  "embedding_size": 16, "num_hidden_layers": 1, "classifier_dropout_prob": 0.3}),
        ("t5", {"model_type": "bart", "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "dropout": 0.3,
                "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 32,
                "decoder_ffn_dim": 32, "forced_eos_token_id": None}),
    ],
)  # fmt: skip
def test_every_dropout_of_a_model_is_the_one_that_was_asked_for(kind, config, make):
    architecture = make(kind, "cola", config=config, dropout=0.0)
    module = architecture.build().train()
    batch = architecture.collate(architecture.features(sample("cola", "train", 4), training=True), range(4))
    assert float(architecture.loss(module, batch).detach()) == float(architecture.loss(module, batch).detach())


def test_texts_with_one_and_with_two_fields_in_any_order(make):
    def instances(example):
        return [Instance({"text": "a hat", **({"context": "by the lake"} if example["two"] else {})}, 0)]

    task = dataclasses.replace(TASKS["cola"], name="mixed", instances=instances)
    architecture = make("bert", "cola")
    architecture.task = task
    rows = {two: architecture.tokenizer("a hat", "by the lake" if two else None)["input_ids"] for two in (True, False)}
    for order in ([True, False, True], [False, True]):
        features = architecture.features([{"two": two, "label": 0} for two in order], training=True)
        assert [row.tolist() for row in map(features.columns["input_ids"].__getitem__, range(len(order)))] == [
            rows[two] for two in order
        ]


def test_t5s_loss_is_that_of_the_whole_padded_batch(make):
    architecture = make("t5", "topics", dropout=0.0)
    module = architecture.build()
    examples = [{"text": "the match", "label": [0]}, {"text": "votes and stars", "label": [0, 1, 2]}]
    batch = architecture.collate(architecture.features(examples, training=True), range(2))
    targets = [architecture.tokenizer(text)["input_ids"] for text in ("sports", "sports, politics, science")]
    longest = max(map(len, targets))
    labels = torch.tensor([target + [-100] * (longest - len(target)) for target in targets])
    texts = {name: batch.inputs[name] for name in ("input_ids", "attention_mask")}
    padded = module(**texts, labels=labels)  # transformers' own loss: the mean over tokens
    loss = architecture.loss(module, batch)
    torch.testing.assert_close(loss, padded.loss * batch.weight)
    assert batch.weight == sum(map(len, targets)) and padded.logits.shape[:2] == (2, longest)
    own, whole = (torch.autograd.grad(value, module.shared.weight)[0] for value in (loss, padded.loss * batch.weight))
    torch.testing.assert_close(own, whole)


def test_the_decoder_starts_with_the_token_of_its_configuration(make):
    sizes = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
             "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "forced_eos_token_id": None,
             "decoder_start_token_id": 1}  # fmt: skip
    examples = sample("cola", "train", 16)
    architecture = make("t5", "cola", config={"model_type": "bart", **sizes}, dropout=0.0)
    training = start(architecture, examples, RECIPE.model_copy(update={"max_steps": 100, "learning_rate": 5e-3}))
    features = architecture.features(examples, training=True)
    assert set(architecture.collate(features, range(4)).inputs["decoder_input_ids"][:, 0].tolist()) == {1}
    for _ in range(100):
        training.update()
    texts = architecture.collate(architecture.features(examples, training=False), range(16))
    module = training.module.eval()
    written = architecture.predict(module, texts)
    expected = module.generate(**texts.inputs, max_new_tokens=architecture.longest_answer, do_sample=False)
    assert written == architecture.tokenizer.batch_decode(expected, skip_special_tokens=True)
    assert set(written) <= set(TASKS["cola"].labels)


@pytest.fixture
def t5_folder(tmp_path, sample_cache):
    """A tiny T5 with two layers on each side."""
    torch.manual_seed(5)
    vocabulary = len(sample_tokenizer("t5", sample_cache))
    config = T5Config(vocab_size=vocabulary, num_decoder_layers=2, decoder_start_token_id=0, **TINY["t5"])
    T5Model(config).save_pretrained(tmp_path / "t5")
    return tmp_path / "t5"


def test_enct5_keeps_the_first_decoder_layers_of_a_t5(t5_folder, make):
    weights = load_file(t5_folder / "model.safetensors")
    for layers in (1, 2):
        own = make("enct5", "cola", folder=t5_folder, num_decoder_layers=layers).build().state_dict()
        kept = {name for name in own if name.startswith("transformer.decoder.block")}
        assert kept == {f"transformer.{n}" for n in weights if n.startswith("decoder.block") and int(n[14]) < layers}
        assert all(torch.equal(own[name], weights[name.removeprefix("transformer.")]) for name in kept)
    with pytest.raises(HarnessError, match=r"model 'kept': .*layers"):
        make("enct5", "cola", folder=t5_folder, num_decoder_layers=3).build()


def test_prompts_without_positions_do_not_know_their_order(make):
    biases = {}
    for known in (True, False):
        own = make("enct5", "topics", prompt_position_bias=known).build()
        name = next(n for n, _ in own.named_parameters() if "decoder" in n and "relative_attention_bias" in n)
        biases[known] = own.get_parameter(name)
    assert biases[True].requires_grad and biases[True].abs().sum() > 0
    assert not biases[False].requires_grad and biases[False].abs().sum() == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hiden_size": 32}, "a config of model_type 'bert' has no 'hiden_size'. Did you mean 'hidden_size'?"),
        ({"model_type": "brt"}, "there is no model_type 'brt'. Did you mean 'bert'?"),
        ({"num_hidden_layers": 10**6}, "num_hidden_layers is at most 1,000, not 1,000,000"),
        ({"pad_token_id": 10**6}, "its config is refused: Padding_idx must be within num_embeddings"),
        ({"hidden_size": "32"}, "its config is refused: .*Field 'hidden_size' expected int, got str"),
    ],
)
def test_a_config_with_mistakes_is_refused(change, message, make):
    with pytest.raises(HarnessError, match=f"model 'bert-tiny': {message}".replace("?", r"\?")):
        make("bert", "cola", config={**TINY["bert"], **change}).build()


# T5's answers ----------------------------------------------------------------------------------------------------


def log_probability(architecture, module, source, answer):
    """Of one answer, alone, token by token."""
    target = architecture.tokenizer(answer)["input_ids"]
    decoder = [module.config.decoder_start_token_id]
    total = 0.0
    for token in target:
        logits = module(input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([decoder])).logits[0, -1]
        total += float(logits.double().log_softmax(-1)[token])
        decoder.append(token)
    return total


@pytest.mark.parametrize(
    ("name", "texts"), [("cola", 5), ("copa", 5), ("stsb", 2), pytest.param("stsb", 5, marks=pytest.mark.slow)]
)
def test_ranking_takes_the_most_probable_answer(name, texts, make):
    architecture = make("t5", name, decoding="rank")
    training = start(architecture, sample(name, "train", 24))
    for _ in range(3):
        training.update()
    examples = sample(name, "validation", texts)
    features = architecture.features(examples, training=False)
    found = evaluate(training, TASKS[name], examples, features)
    module = training.module.eval()
    answers = TASKS[name].answers
    assert len(answers) == {"cola": 2, "copa": 2, "stsb": 26}[name]
    for i, text in enumerate(found.outputs):
        source = features.columns["input_ids"][i].tolist()
        with torch.no_grad():
            logs = [log_probability(architecture, module, source, answer) for answer in answers]
        assert text == answers[max(range(len(answers)), key=logs.__getitem__)]
    assert found.invalid == 0


@pytest.mark.slow
def test_a_trained_t5_writes_the_answer_that_it_ranks_first(make):
    recipe = RECIPE.model_copy(update={"learning_rate": 5e-3, "batch_size": 32, "max_steps": 200})
    training = start(make("t5", "sst2"), load_examples(TASKS["sst2"], "sample", "train"), recipe)
    for _ in range(recipe.max_steps):
        training.update()
    examples = sample("sst2", "validation", 100)
    task, features = TASKS["sst2"], training.architecture.features(examples, training=False)
    written = evaluate(training, task, examples, features)
    training.architecture = make("t5", "sst2", decoding="rank")
    ranked = evaluate(training, task, examples, features)
    pairs = [(w, r) for w, r in zip(written.outputs, ranked.outputs, strict=True) if w in task.answers]
    assert len(pairs) > 80 and {answer for answer, _ in pairs} == set(task.answers)
    # Greedy decoding may write the other answer where their probabilities are nearly equal.
    assert sum(answer != best for answer, best in pairs) <= 2
    assert written.invalid == 100 - len(pairs)


def test_open_answers_cannot_be_ranked(make):
    with pytest.raises(HarnessError, match=r"decoding: rank needs a closed set of answers, which task 'record'"):
        make("t5", "record", decoding="rank").build()


# Checkpoints -----------------------------------------------------------------------------------------------------

SMALL = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "pad_token_id": 0,
}  # fmt: skip
ENCODERS = {
    "bert": {}, "roberta": {}, "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64},
    "albert": {"embedding_size": 16}, "electra": {"embedding_size": 16}, "deberta-v2": {}, "modernbert": {},
    "xlnet": {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64}, "mpnet": {},
}  # fmt: skip
"""Model types, and what they call the sizes."""


def save_encoder(kind, folder, vocabulary, auto=AutoModelForMaskedLM, **options):
    torch.manual_seed(3)
    config = AutoConfig.for_model(kind, vocab_size=vocabulary, **SMALL, **ENCODERS[kind], **options)
    try:
        model = auto.from_config(config)
    except ValueError:  # no masked language model of this type
        model = AutoModel.from_config(config)
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("kind", ENCODERS)
def test_an_encoder_keeps_its_weights_and_gets_a_new_head(kind, tmp_path, make):
    tokenizer = make("bert", "mnli").tokenizer
    saved = save_encoder(kind, tmp_path, len(tokenizer))
    module = make("bert", "mnli", folder=tmp_path).build()
    base = module.get_submodule(module.base_model_prefix).state_dict()
    source = getattr(saved, saved.base_model_prefix, saved).state_dict()
    same = [name for name in base if name in source and torch.equal(base[name], source[name])]
    assert len(same) >= len(source) - 2 and all("pooler" in name for name in source.keys() - same)
    assert {name for name in base.keys() - source.keys() if "pooler" not in name} == set()
    assert module(input_ids=torch.tensor([[2, 9, 3]])).logits.shape == (1, 3)
    assert {parameter.dtype for parameter in module.parameters()} == {torch.float32}


@pytest.mark.parametrize("labels", [2, 3])
def test_the_head_of_another_task_is_not_taken_over(labels, tmp_path, make):
    architecture = make("bert", "mnli", folder=tmp_path)
    saved = save_encoder(
        "bert", tmp_path, len(architecture.tokenizer), AutoModelForSequenceClassification, num_labels=labels
    )
    torch.manual_seed(4)
    module = architecture.build()
    same = {name for name, tensor in module.state_dict().items() if torch.equal(tensor, saved.state_dict()[name])}
    assert module.state_dict().keys() - same - {"classifier.bias"} == {"classifier.weight"}  # a new bias is 0, too
    assert module.classifier.weight.requires_grad and module.classifier.weight.shape == (3, 32)


@pytest.mark.parametrize("change", ["lost", "shape"])
def test_a_checkpoint_without_all_pretrained_weights_is_refused(change, tmp_path, make):
    architecture = make("bert", "cola", folder=tmp_path)
    save_encoder("bert", tmp_path, len(architecture.tokenizer))
    weights = load_file(tmp_path / "model.safetensors")
    name = "bert.encoder.layer.1.output.dense.weight"
    tensor = weights.pop(name)
    if change == "shape":
        weights[name] = tensor[:, :5].contiguous()
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(HarnessError, match=f"model 'kept': its checkpoint lacks 1 weights .*{name}"):
        architecture.build()


def test_a_t5_without_all_weights_is_refused(t5_folder, make):
    weights = load_file(t5_folder / "model.safetensors")
    del weights["decoder.block.1.layer.2.DenseReluDense.wo.weight"]
    save_file(weights, t5_folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(HarnessError, match=r"lacks 1 weights .*decoder\.block\.1\.layer\.2"):
        make("t5", "cola", folder=t5_folder).build()


def test_a_checkpoint_of_another_kind_is_refused(tmp_path, make):
    save_encoder("bert", tmp_path / "bert", 2000)
    with pytest.raises(HarnessError, match=r"model 'kept': transformers has no text-to-text model of type 'bert'"):
        make("t5", "cola", folder=tmp_path / "bert").build()
    with pytest.raises(HarnessError, match=r"model 'kept': .*made from a T5 or mT5 checkpoint, and this one is 'bert'"):
        make("enct5", "cola", folder=tmp_path / "bert").build()
    CLIPConfig().save_pretrained(tmp_path / "clip")
    with pytest.raises(HarnessError, match=r"model 'kept': transformers has no sequence classifier of type 'clip'"):
        make("bert", "cola", folder=tmp_path / "clip").features(sample("cola", "train", 2), training=True)


@pytest.mark.parametrize("content", ["{", '{"model_type": "unheard-of"}', "{}"])
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_a_checkpoint_without_a_sound_config_is_refused(kind, content, t5_folder, make):
    (t5_folder / "config.json").write_text(content)
    with pytest.raises(HarnessError, match=rf"model 'kept': .*{t5_folder.name}"):
        make(kind, "cola", folder=t5_folder).build()


def test_t5_takes_all_weights_of_its_checkpoint(t5_folder, make):
    module, weights = make("t5", "cola", folder=t5_folder).build(), load_file(t5_folder / "model.safetensors")
    assert all(torch.equal(module.state_dict()[name], tensor) for name, tensor in weights.items())


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_a_tokenizer_with_more_ids_than_the_embedding_has_rows_is_refused(kind, make):
    small = {**TINY[kind], "vocab_size": 100}
    with pytest.raises(HarnessError, match=rf"model '{kind}-tiny': .*word embedding has 100 rows"):
        make(kind, "cola", config=small).build()
    larger = make(kind, "cola", config={**TINY[kind], "vocab_size": 5000}).build()
    assert larger.get_input_embeddings().num_embeddings == 5000


def test_segments_are_marked_where_the_model_knows_them(tmp_path, make):
    example = {"sentence1": "the red boat", "sentence2": "the hat", "label": 1}
    vocabulary = len(make("bert", "cola").tokenizer)
    for kind, segments in {"bert": True, "distilbert": False, "deberta-v2": False, "electra": True}.items():
        save_encoder(kind, tmp_path / kind, vocabulary)
        architecture = make("bert", "mrpc", folder=tmp_path / kind)
        features = architecture.features([example], training=True)
        assert ("token_type_ids" in features.columns) == segments
        if segments:
            assert features.columns["token_type_ids"][0].tolist() == [0] * 5 + [1] * 3
        assert float(architecture.loss(architecture.build(), architecture.collate(features, [0])).detach()) > 0


@pytest.mark.parametrize(("kind", "room"), [("bert", 40), ("roberta", 38), ("electra", 40)])
def test_more_tokens_than_a_model_has_positions_are_refused(kind, room, make):
    sizes = {**SMALL, **ENCODERS[kind], "model_type": kind, "max_position_embeddings": 40}
    sizes |= {"pad_token_id": 1} if kind == "roberta" else {}
    long = {"sentence": "the boat " * 50, "label": 1}
    architecture = make("bert", "cola", config=sizes, max_length=room)
    features = architecture.features([long], training=False)
    assert architecture.predict(architecture.build().requires_grad_(False), architecture.collate(features, [0]))
    with pytest.raises(HarnessError, match=f"reads at most {room} tokens, and the recipe's max_length is {room + 1}"):
        make("bert", "cola", config=sizes, max_length=room + 1).build()


def test_padding_changes_no_score(make):
    """A short text scores the same beside a long one."""
    short = {"sentence": "The boat.", "label": 1}
    long = {"sentence": "The boat at the market was what the old farmer bought, " * 3, "label": 0}
    for kind in ("bert", "enct5"):
        architecture = make(kind, "cola")
        module = architecture.build().eval()
        features = architecture.features([short, long], training=False)
        with torch.no_grad():
            both = architecture.predict(module, architecture.collate(features, [0, 1]))
            alone = architecture.predict(module, architecture.collate(features, [0]))
        np.testing.assert_allclose(both[0], alone[0], atol=1e-6)
        assert F.mse_loss(torch.tensor(both[0]), torch.tensor(both[1])) > 0


@pytest.mark.parametrize("name", ["mnli", "copa", "wnut17"])
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_padding_to_a_multiple_of_tokens_changes_no_loss(kind, name, make):
    architecture = make(kind, name)
    features = architecture.features(sample(name, "train", 5), training=True)
    module = architecture.build().eval()
    tight, wide = architecture.collate(features, range(5)), architecture.collate(features, range(5), multiple=32)
    shapes = {inputs["input_ids"].shape[1] for inputs in (tight.inputs, wide.inputs)}
    assert max(shapes) % 32 == 0 and len(shapes) == 2
    assert wide.inputs["attention_mask"].shape == wide.inputs["input_ids"].shape
    with torch.no_grad():
        losses = [float(architecture.loss(module, batch)) for batch in (tight, wide)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
