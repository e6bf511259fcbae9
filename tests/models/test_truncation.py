"""What a text that is too long loses: the ends of its longest fields, the same for all families."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from running import LIMIT
from tiny import tiny_model
from transformers import AutoTokenizer, BertTokenizer

import harness
from harness.config.architectures import ARCHITECTURES
from harness.data.datasets import load_examples
from harness.models import architecture_class
from harness.models.tokenizers import sample_tokenizer
from harness.models.truncation import FIXED, kept_tokens, owners, shortened
from harness.results.record import Record
from harness.task import functions
from harness.task.plugins import load_tasks
from harness.task.task import Instance, Task
from harness.task.texts import field_places, input_text, places_in

TASKS = load_tasks()
FIELDS = ("end", "begin", "middle")
"""In the order of reading; T5's form has them by name."""
WORDS = ("the", "boat", "river", "bought", "Anna", "market", "zebra,", "(almost)", "3.2!")
texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=25).map(" ".join)
several = st.lists(st.integers(0, 40), min_size=1, max_size=5)


def family(kind, task, max_length, cache, **options):
    tokenizer = sample_tokenizer("bert" if kind == "bert" else "t5", cache)
    return architecture_class(tiny_model(kind))(tiny_model(kind, **options), None, tokenizer, task, max_length)


def own_task(**changes):
    plain = {"name": "own", "suite": "", "problem_type": "single_label_classification", "labels": ("a", "b"),
             "text_fields": FIELDS, "metrics": ("accuracy",)}  # fmt: skip
    return Task(**plain, **changes)


# Which tokens ----------------------------------------------------------------------------------------------------


@given(lengths=several, room=st.integers(0, 120))
def test_one_token_after_another_is_taken_from_the_longest(lengths, room):
    expected, order = list(lengths), sorted(range(len(lengths)), key=lambda i: lengths[i])
    while sum(expected) > room:
        longest = max(expected)
        expected[next(i for i in order if expected[i] == longest)] -= 1
    assert shortened(lengths, room) == expected


@given(first=st.integers(1, 40), second=st.integers(1, 40), max_length=st.integers(8, 60))
@settings(deadline=None)
def test_pairs_lose_what_longest_first_of_the_library_takes(first, second, max_length, sample_cache):
    tokenizer = sample_tokenizer("bert", sample_cache)
    pair = " ".join(["boat"] * first), " ".join(["river"] * second)
    expected = tokenizer(*pair, truncation="longest_first", max_length=max_length)["input_ids"]
    task = own_task()
    bert = family("bert", task, max_length, sample_cache)
    (row,) = bert.encode([Instance(dict(zip(("one", "two"), pair, strict=True)))])
    assert row["input_ids"] == expected
    lost = len(tokenizer(*pair)["input_ids"]) - len(expected)
    assert row["truncated"] == ([lost] if lost else [])


@given(owned=st.lists(st.integers(FIXED, 2), max_size=60), room=st.integers(0, 60), first=st.sampled_from([None, 0, 2]))
def test_what_is_kept_is_in_order_and_each_field_keeps_its_beginning(owned, room, first):
    fixed, lengths = owned.count(FIXED), [owned.count(field) for field in range(3)]
    kept = kept_tokens(owned, 3, room, first)
    if kept is None:
        assert fixed > room or sum(lengths) == 0
        return
    assert kept == sorted(set(kept)) and len(kept) == min(room, len(owned))
    assert [i for i in kept if owned[i] == FIXED] == [i for i in range(len(owned)) if owned[i] == FIXED]
    for field in range(3):
        positions = [i for i in range(len(owned)) if owned[i] == field]
        assert [i for i in kept if owned[i] == field] == positions[: sum(owned[i] == field for i in kept)]
    if first is not None and lengths[first] > len(owned) - room:
        assert all(sum(owned[i] == field for i in kept) == lengths[field] for field in range(3) if field != first)


def test_a_token_belongs_to_the_field_of_its_last_character():
    tokens = [(0, 0), (0, 3), (3, 8), (8, 10), (10, 11), (12, 15), (0, 0)]
    assert owners(tokens, [(4, 10), (12, 15)]) == [FIXED, FIXED, 0, 0, FIXED, 1, FIXED]
    assert owners(tokens, []) == [FIXED] * 7


# Where fields stand ----------------------------------------------------------------------------------------------


@given(values=st.dictionaries(st.sampled_from(FIELDS), st.text(max_size=12)), prefix=st.booleans())
def test_fields_stand_where_they_are_said_to(values, prefix):
    instance = Instance(values)
    text = input_text(TASKS["rte"], instance, prefix)
    assert {n: text[slice(*place)] for n, place in field_places(TASKS["rte"], instance, prefix).items()} == values


def test_fields_are_found_in_a_text_of_other_rules():
    text = "multirc question: who? answer: a boat paragraph: In a boat. a boat"
    fields = {"paragraph": "In a boat. a boat", "question": "who?", "answer": "a boat"}
    found = places_in(text, fields.items())
    assert {name: text[slice(*place)] for name, place in found.items()} == fields
    assert found["answer"] == (31, 37)
    assert places_in(text, [("other", "a boat")]) == {}  # it stands there twice, and without its name
    assert places_in(text, [("other", "who?"), ("empty", "")]) == {"other": (18, 22)}
    assert places_in(text, [("paragraph", "in a boat"), ("paragraph", "In a boat.")]) == {"paragraph": (49, 59)}


@pytest.mark.parametrize("name", ["multirc", "record", "axb"])
def test_the_fields_of_t5s_own_texts_are_found(name):
    task = TASKS[name]
    parts = {
        "multirc": {"paragraph", "question", "answer"},
        "record": {"passage", "query"},
        "axb": {"sentence1", "sentence2"},
    }
    for example in load_examples(task, "sample", task.validation_splits[0])[:20]:
        text, _ = functions.text_to_text(task, example)
        found = functions.source_places(task, example, text)
        assert parts[name] <= found.keys() | (
            {"sentence1", "sentence2"} if {"premise", "hypothesis"} <= found.keys() else set()
        )


# All families ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("truncate", [None, "begin"])
@pytest.mark.parametrize("kind", ARCHITECTURES)
@given(values=st.tuples(texts, texts, texts), max_length=st.integers(16, 70))
@settings(deadline=None, max_examples=25)
def test_only_the_longest_fields_lose_their_ends(kind, truncate, values, max_length, sample_cache):
    task = own_task(truncate=truncate)
    example = {**dict(zip(FIELDS, values, strict=True)), "label": 0}

    def ids(length):
        architecture = family(kind, task, length, sample_cache)
        features = architecture.features([example], training=False)
        return features.columns["input_ids"][0].tolist(), features.truncated, architecture.tokenizer

    (whole, none, tokenizer), (short, count, _) = ids(10_000), ids(max_length)
    assert none == 0 and count == (len(whole) > max_length) and len(short) == min(len(whole), max_length)
    if kind == "bert":
        parts = {name: tokenizer(example[name], add_special_tokens=False)["input_ids"] for name in FIELDS}
        whole_again = [*tokenizer(example["end"])["input_ids"], *parts["begin"], *parts["middle"], whole[-1]]
        assert whole == whole_again
        pieces = [whole[:1], parts["end"], whole[-1:], parts["begin"], parts["middle"], whole[-1:]]
        order = [None, "end", None, "begin", "middle", None]
    else:

        def tokens(text):
            return tokenizer(text, add_special_tokens=False)["input_ids"]

        order, pieces = [None], [tokens("own begin:")]
        for name, following in zip(sorted(FIELDS), ("end:", "middle:", None), strict=True):
            order += [name, None]
            pieces += [tokens(example[name]), tokens(following) if following else whole[-1:]]
            space = pieces[-2][:1] == tokenizer.convert_tokens_to_ids(["▁"])  # alone, it is what parts the words
            pieces[-3:-1] = [pieces[-3] + pieces[-2][:space], pieces[-2][space:]]
        assert whole == [token for piece in pieces for token in piece]
    fields = [i for i, name in enumerate(order) if name]
    lengths = [len(pieces[i]) for i in fields]
    room = max_length - sum(len(piece) for piece, name in zip(pieces, order, strict=True) if not name)
    if room < 0:  # no field could make room: the end of the text is cut
        assert short == [*whole[: max_length - 1], whole[-1]]
        return
    excess = sum(lengths) - room
    chosen = [order[i] for i in fields].index("begin")
    if excess <= 0:
        kept = lengths
    elif truncate and lengths[chosen] > excess:
        kept = [length - excess * (i == chosen) for i, length in enumerate(lengths)]
    else:
        kept = shortened(lengths, room)
    cut = dict(zip(fields, kept, strict=True))
    assert short == [token for i, piece in enumerate(pieces) for token in piece[: cut.get(i, len(piece))]]


@pytest.mark.parametrize("kind", ["enct5", "t5"])
def test_without_a_prefix_fields_give_way_likewise(kind, sample_cache):
    task, example = own_task(), {"end": "boat " * 30, "begin": "zebra", "middle": "river " * 30, "label": 0}
    example = {name: value.strip() if name != "label" else 0 for name, value in example.items() if name != "label"} | {
        "label": 0
    }
    architecture = family(kind, task, 21, sample_cache, prefix=False)
    (row,) = [architecture.features([example], training=False).columns["input_ids"][0].tolist()]
    zebra = len(architecture.tokenizer("zebra", add_special_tokens=False)["input_ids"])
    boat, river = (architecture.tokenizer(word, add_special_tokens=False)["input_ids"] for word in ("boat", "river"))
    assert len(boat) == len(river) == 1
    assert [row.count(boat[0]), row.count(river[0])] == [(20 - zebra) // 2, 20 - zebra - (20 - zebra) // 2]


@pytest.mark.data
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_no_row_of_rte_loses_its_hypothesis(kind, data_folder):
    if kind == "bert":
        tokenizer = BertTokenizer(str(data_folder / "vocab/bert-base-uncased/vocab.txt"))
    else:
        tokenizer = AutoTokenizer.from_pretrained(str(data_folder / "vocab/t5"))
    examples = [e for split in ("train", "validation") for e in load_examples("rte", data_folder, split)]
    architecture = architecture_class(tiny_model(kind))(tiny_model(kind), None, tokenizer, TASKS["rte"], 128)
    features = architecture.features(examples, training=False)
    assert features.lengths.max() == 128 and features.truncated == {"bert": 337}.get(kind, 522)
    rows = features.columns["input_ids"]
    assert len(rows) == 2767
    for row, tokens in enumerate(tokenizer([e["sentence2"] for e in examples], add_special_tokens=False)["input_ids"]):
        text = rows[row].tolist()
        assert any(text[i : i + len(tokens)] == tokens for i in range(len(text)))


# What is said of it ----------------------------------------------------------------------------------------------


def test_truncated_examples_are_counted_and_many_get_a_footnote(bench):
    bench.write({"max_length": 8, "max_steps": 1}, tasks=["rte"], models=["bert", "t5"])
    bench.models["short"] = bench.models["bert"]
    board = bench.run()
    for model in ("bert", "t5"):
        record = bench.record("rte", model)
        assert record.truncated == {"rte": {"train": LIMIT["train"], "validation": LIMIT["validation"]}}
        shown = harness.show(record.folder)
        assert "Examples with a text that was truncated" in shown and "rte.validation" in shown
    assert "100.0 % of the validation texts are longer than max_length (8) and were truncated" in board.markdown
    bench.write({"max_length": 128, "max_steps": 1}, tasks=["rte"])
    assert "truncated" not in bench.run().markdown
    assert bench.record("rte").truncated == {"rte": {"train": 0, "validation": 0}}
    data = json.loads((bench.record("rte").folder / "record.json").read_text())
    assert data["truncated"] == {"rte": {"train": 0, "validation": 0}}
    assert Record.model_fields["truncated"].get_default(call_default_factory=True) == {}


def test_a_sentence_whose_words_are_cut_counts(sample_cache):
    for kind in ("bert", "enct5", "t5"):
        examples = load_examples("wnut17", "sample", "validation")[:6]
        features = family(kind, TASKS["wnut17"], 12, sample_cache).features(examples, training=False)
        whole = family(kind, TASKS["wnut17"], 1000, sample_cache).features(examples, training=False)
        assert features.truncated == int(np.sum(whole.lengths > 12)) > 0 == whole.truncated
