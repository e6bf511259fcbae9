"""Entities: IOB2 tags and spans, what T5 writes and reads, F1 against seqeval's numbers."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.task.entities import (
    entity_f1,
    iob2_problem,
    read_entities,
    spans,
    surface_f1,
    tag_names_problem,
    tag_order,
    tags_of,
    write_entities,
)
from harness.task.metrics import compute_metrics

GOLDEN = Path(__file__).parents[1] / "golden/metrics/entities.json"
TYPES = ("group", "person", "creative-work")
TAGS = ("O", *(f"{position}-{kind}" for kind in TYPES for position in "BI"))


NUMBERED = st.integers(0, 10**6).map("w{}".format)


@st.composite
def sentences(draw, words=NUMBERED, unique=True):
    """Words, and entities in them."""
    tokens = draw(st.lists(words, min_size=1, max_size=12, unique=unique))
    entities, start = [], 0
    while start < len(tokens):
        length = draw(st.integers(0, len(tokens) - start))
        if length:
            entities.append((draw(st.sampled_from(TYPES)), start, start + length))
        start += max(1, length)
    return tokens, entities


# Tags and spans


@given(sentences())
def test_tags_and_spans_say_the_same(sentence):
    tokens, entities = sentence
    tags = tags_of(entities, len(tokens))
    assert len(tags) == len(tokens) and iob2_problem(tags) is None
    assert spans(tags) == entities


@given(st.lists(st.sampled_from(TAGS), max_size=12))
def test_spans_of_tags_that_break_iob2_are_put_right_once(tags):
    right = tags_of(spans(tags), len(tags))
    assert iob2_problem(right) is None and spans(right) == spans(tags)
    assert (iob2_problem(tags) is None) == (right == tags)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ([], []),
        (["O", "I-person", "I-person"], [("person", 1, 3)]),
        (["B-person", "B-person", "I-group"], [("person", 0, 1), ("person", 1, 2), ("group", 2, 3)]),
        (["B-creative-work", "I-creative-work", "O"], [("creative-work", 0, 2)]),
    ],
)
def test_spans(tags, expected):
    assert spans(tags) == expected


def test_where_tags_are_no_iob2():
    assert iob2_problem(["B-person", "I-group"]) == (
        "word 2 has tag 'I-group' after 'B-person', which is not IOB2: an entity begins with 'B-'"
    )


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (TAGS, None),
        (("O", "B-x"), None),
        (("O",), None),
        (("B-x", "I-x"), "need 'O'"),
        (("O", "I-x"), "no 'B-x'"),
        (("O", "E-x"), "'E-x' is no IOB2 tag"),
        (("O", "B-"), "'B-' is no IOB2 tag"),
    ],
)
def test_names_of_tags(names, problem):
    found = tag_names_problem(names)
    assert found is None if problem is None else problem in found


def test_the_usual_order_of_tags():
    assert tag_order({"I-b", "B-b", "B-a", "I-a"}) == ("O", "B-a", "I-a", "B-b", "I-b")


# What T5 writes


@given(sentences())
def test_what_is_written_reads_back(sentence):
    tokens, entities = sentence
    tags = tags_of(entities, len(tokens))
    assert read_entities(write_entities(tokens, tags), tokens, TYPES) == tags


@given(sentences(words=st.sampled_from(["a", "b", "c", "$", "person:", "none"]), unique=False))
def test_where_words_repeat_the_same_entities_are_found_though_perhaps_earlier(sentence):
    tokens, entities = sentence
    tags = tags_of(entities, len(tokens))
    found = spans(read_entities(write_entities(tokens, tags), tokens, TYPES))
    told = [(kind, tokens[start:end]) for kind, start, end in entities]
    assert [(kind, tokens[start:end]) for kind, start, end in found] == told
    assert all(start <= there for (_, start, _), (_, there, _) in zip(found, entities, strict=True))


@given(st.text(max_size=30), sentences())
def test_any_text_is_read_without_an_error(text, sentence):
    tokens, _ = sentence
    tags = read_entities(text, tokens, TYPES)
    assert tags is None or (len(tags) == len(tokens) and iob2_problem(tags) is None)


SENTENCE = ["Anna", "met", "Anna", "Brook", "of", "Acme", "\u00a0", "in New\u00a0York", "."]


@pytest.mark.parametrize(
    ("text", "entities"),
    [
        ("none", []),
        ("person: Anna Brook $$ group: Acme", [("person", 2, 4), ("group", 5, 6)]),
        ("group: Acme $$ person: Anna Brook", [("person", 2, 4), ("group", 5, 6)]),  # in another order
        ("person: Anna $$ person: Anna", [("person", 0, 1), ("person", 2, 3)]),
        ("person: Anna $$ person: Bob $$ town: Acme", [("person", 0, 1)]),  # what has no place is left out
        ("group: in New York", [("group", 7, 8)]),  # a word with spaces in it
        ("group: New York", None),
        ("person: Anna met Anna $$ person: Anna Brook", [("person", 0, 3)]),  # no word is in two entities
        ("town: Acme", None),
        ("person:", None),
        ("", None),
        ("None", None),
        ("nor nor nor", None),
    ],
)
def test_reading_an_answer(text, entities):
    tags = read_entities(text, SENTENCE, TYPES)
    assert tags == (None if entities is None else tags_of(entities, len(SENTENCE)))


# F1


def test_the_numbers_are_seqevals():
    """Made by seqeval 1.2.2 (default mode) from tags drawn at random, most of which break IOB2."""
    for case in json.loads(GOLDEN.read_text()):
        found = entity_f1(case["predictions"], case["references"])
        expected = {f"entity_{name}": case[name] for name in ("f1", "precision", "recall")}
        assert found == pytest.approx(expected, abs=1e-12)


@given(st.lists(st.lists(st.tuples(st.sampled_from(TAGS), st.sampled_from(TAGS)), min_size=1), min_size=1))
@settings(deadline=None)
@pytest.mark.filterwarnings("ignore")
def test_seqeval_agrees_where_it_is_installed(rows):
    metrics = pytest.importorskip("seqeval.metrics")
    predictions, references = [[p for p, _ in row] for row in rows], [[r for _, r in row] for row in rows]
    found = entity_f1(predictions, references)
    for name in ("f1", "precision", "recall"):
        score = getattr(metrics, f"{name}_score")
        assert found[f"entity_{name}"] == pytest.approx(score(references, predictions, zero_division=0))


def test_an_invalid_answer_has_no_entity():
    right = [["B-person", "O"], ["B-group"], ["B-group"]]
    assert compute_metrics(["entity_f1"], [["B-person", "O"], None, -1], right) == {
        "entity_f1": 0.5,
        "entity_precision": 1.0,
        "entity_recall": 1 / 3,
    }
    assert entity_f1([["O"]], [["O"]]) == {"entity_f1": 0.0, "entity_precision": 0.0, "entity_recall": 0.0}


def sentence(words: str, tags: str) -> dict[str, list[str]]:
    return {"words": words.split(), "tags": tags.split()}


def test_surface_forms_count_once_and_have_to_be_found_in_their_place():
    """The counts of WNUT-17's script by hand: right entities by their places, then their names."""
    right = [
        sentence("Anna met Anna .", "B-person O B-person O"),
        sentence("Oslo Oslo", "B-place O"),
        sentence("New York", "B-place I-place"),
        sentence("anna", "B-person"),
    ]
    answers = [["B-person", "O", "O", "O"], ["O", "B-place"], ["B-place", "I-place"], None]
    # Names: Anna, Oslo, New York and anna; answered Anna, Oslo (not where it stands) and New York.
    assert surface_f1(answers, right) == {"surface_f1": pytest.approx(2 * 2 / (4 + 3))}
    assert entity_f1(answers, right)["entity_f1"] == pytest.approx(2 * 2 / (5 + 3))
    assert surface_f1([s["tags"] for s in right], right) == {"surface_f1": 1.0}
    assert surface_f1([["B-group", "O", "O", "O"]], right[:1]) == {"surface_f1": 0.0}  # another type
    assert entity_f1(answers, right) == entity_f1(answers, [s["tags"] for s in right])


@pytest.mark.parametrize("reference", [["B-person"], {"tags": ["B-person"]}, {"words": ["a", "b"], "tags": ["O"]}])
def test_surface_forms_need_a_word_for_each_tag(reference):
    with pytest.raises(HarnessError, match="does not have a word for each tag"):
        surface_f1([["O"]], [reference])
