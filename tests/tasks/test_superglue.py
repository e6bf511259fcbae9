"""SuperGLUE's tasks: T5's forms against the t5 package's own, the official files' counts, and what is irregular."""

import json
import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data.datasets import load_examples
from harness.errors import HarnessError
from harness.task import functions
from harness.task.metrics import compute_metrics
from harness.task.plugins import load_plugins, load_tasks
from harness.task.task import is_unlabelled
from harness.task.texts import input_text

GOLDEN = Path(__file__).parents[1] / "golden"
REAL = os.environ.get("HARNESS_DATA")
needs_data = pytest.mark.skipif(not REAL, reason="HARNESS_DATA does not name the folder of the real data")
EIGHT = ("boolq", "cb", "copa", "multirc", "record", "superglue_rte", "wic", "wsc")


@pytest.fixture(scope="module")
def tasks():
    return load_tasks()


def official(task, split):
    """The examples of the real files; of BoolQ's and ReCoRD's training data only a part is there."""
    if task.name not in ("boolq", "record"):
        return load_examples(task, REAL, split)
    # Where a part is all there is, the validation split is cut from it: together they are the file.
    splits = ("train", "validation") if task.name == "record" else (split,)
    folder = Path(REAL) / "SuperGLUE-part"
    return [example for name in splits for example in load_examples(task, folder, name, allow_partial=True)]


def golden_rows(name):
    return [json.loads(line) for line in (Path(REAL).parent / f"golden/t5_text/{name}.jsonl").open(encoding="utf-8")]


def as_example(task, row):
    example = dict(row["tfds_features"])
    if "label" in example:
        example["label"] = -1 if example["label"] == -1 else task.labels.index(example["label"])
    return example


# T5's forms --------------------------------------------------------------------------------------------------------


@needs_data
@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "file"),
    [(name, name) for name in ("boolq", "cb", "copa", "multirc", "wic", "axb", "axg")]
    + [("superglue_rte", "rte_superglue"), ("wsc", "wsc_simple_eval")],
)
def test_text_to_text_is_that_of_the_t5_package(tasks, name, file):
    rows = golden_rows(file)
    assert len(rows) >= 8
    for row in rows:
        assert functions.text_to_text(tasks[name], as_example(tasks[name], row)) == (row["inputs"], row["targets"])


@needs_data
@pytest.mark.data
def test_record_trains_on_a_text_per_distinct_answer_and_asks_with_the_first(tasks):
    rows = golden_rows("record")
    assert {row.get("copies", 1) for row in rows} == {1, 2}
    for row in rows:
        texts = functions.training_texts(tasks["record"], as_example(tasks["record"], row))
        assert len(texts) == row.get("copies", 1)
        assert texts[row.get("copy", 0)] == (row["inputs"], row["targets"])
        assert texts[0] == functions.text_to_text(tasks["record"], as_example(tasks["record"], row))


@needs_data
@pytest.mark.data
def test_wsc_trains_on_true_candidates_only(tasks):
    rows = golden_rows("wsc_simple_train")
    assert any(row.get("dropped") for row in rows)
    for row in rows:
        expected = [] if row.get("dropped") else [(row["inputs"], row["targets"])]
        assert functions.training_texts(tasks["wsc"], as_example(tasks["wsc"], row)) == expected


@needs_data
@pytest.mark.data
def test_wsc_is_marked_as_t5_does_and_also_where_t5_loses_a_mark(tasks):
    wsc, lost = tasks["wsc"], {}
    for row in golden_rows("wsc_marked"):
        (instance,) = functions.instances(wsc, as_example(wsc, row))
        text = input_text(wsc, instance)
        assert (text.count(" * ") + text.startswith("* "), text.count("# ")) >= (2, 1)
        if text != row["inputs"]:
            lost[row["split"], row["row_index"]] = text
    assert set(lost) == {("val", 42), ("val", 95), ("test", 81)}
    assert "want to use # it # , but" in lost["val", 42]
    assert "and * # their # mothers * are" in lost["val", 95]
    assert "with * Stalin and Kamenev * had" in lost["test", 81] and "urged # them # to" in lost["test", 81]


@pytest.mark.parametrize("note", range(2))
def test_wsc_answers_are_judged_as_the_t5_package_does(tasks, note):
    cases = [c for c in json.loads((GOLDEN / "metrics/t5.json").read_text())["cases"] if c["task"] == "wsc"]
    case = cases[note]
    for text, row, expected in zip(case["predictions_text"], case["examples"], case["prediction_values"], strict=True):
        candidate = row["targets_pretokenized"]
        example = {"text": candidate, "span1_text": candidate, "span1_index": 0}
        assert functions.parse(tasks["wsc"], text, example) == (None if expected == -1 else expected)


# The official files ------------------------------------------------------------------------------------------------

COUNTS = {
    # examples, label distribution, instances, texts T5 trains on
    ("boolq", "validation"): (3270, {1: 2033, 0: 1237}, 3270, 3270),
    ("boolq", "test"): (3245, {-1: 3245}, 3245, 3245),
    ("cb", "train"): (250, {0: 115, 1: 119, 2: 16}, 250, 250),
    ("cb", "validation"): (56, {0: 23, 1: 28, 2: 5}, 56, 56),
    ("cb", "test"): (250, {-1: 250}, 250, 250),
    ("copa", "train"): (400, {0: 195, 1: 205}, 800, 400),
    ("copa", "validation"): (100, {0: 55, 1: 45}, 200, 100),
    ("copa", "test"): (500, {-1: 500}, 1000, 500),
    ("multirc", "train"): (27243, {0: 15218, 1: 12025}, 27243, 27243),
    ("multirc", "validation"): (4848, {0: 2773, 1: 2075}, 4848, 4848),
    ("multirc", "test"): (9693, {-1: 9693}, 9693, 9693),
    ("record", "train"): (64, {}, 766, 90),
    ("superglue_rte", "train"): (2490, {0: 1249, 1: 1241}, 2490, 2490),
    ("superglue_rte", "validation"): (277, {0: 146, 1: 131}, 277, 277),
    ("superglue_rte", "test"): (3000, {-1: 3000}, 3000, 3000),
    ("wic", "train"): (5428, {0: 2714, 1: 2714}, 5428, 5428),
    ("wic", "validation"): (638, {0: 319, 1: 319}, 638, 638),
    ("wic", "test"): (1400, {-1: 1400}, 1400, 1400),
    ("wsc", "train"): (554, {0: 295, 1: 259}, 554, 259),
    ("wsc", "validation"): (104, {0: 66, 1: 38}, 104, 38),
    ("wsc", "test"): (146, {-1: 146}, 146, 0),
    ("axb", "test"): (1104, {0: 460, 1: 644}, 1104, 1104),
}


@needs_data
@pytest.mark.data
@pytest.mark.parametrize(("name", "split"), COUNTS)
def test_official_files_have_the_official_counts(tasks, name, split):
    task = tasks[name]
    examples = official(task, split)
    rows, labels, instances, texts = COUNTS[name, split]
    if name != "record":
        assert task.files[split].rows == (rows,)
        assert Counter(example["label"] for example in examples) == labels
    assert len(examples) == rows
    assert sum(len(functions.instances(task, example)) for example in examples) == instances
    assert sum(len(functions.training_texts(task, example)) for example in examples) == texts
    assert all(is_unlabelled(task, example) == (split == "test" and name != "axb") for example in examples)
    assert all(isinstance(example["idx"], int | dict) for example in examples)


@needs_data
@pytest.mark.data
def test_spans_that_do_not_match_are_repaired_and_reported(tasks):
    wsc, wic = tasks["wsc"], tasks["wic"]
    notes = {
        (task.name, split, example["idx"]): note
        for task in (wsc, wic)
        for split in task.files
        for example in official(task, split)
        for note in functions.repairs(task, example)
    }
    # 88, 8 and 5 spellings are those of wsc.fixed; the rest are places.
    assert Counter((name, split) for name, split, _ in notes) == {
        ("wsc", "train"): 88, ("wsc", "validation"): 8 + 1, ("wsc", "test"): 5 + 3, ("wic", "train"): 1,
    }  # fmt: skip
    assert notes["wsc", "validation", 51] == "span1_text 'The woman' is read as 'the woman'"
    assert notes["wsc", "validation", 42].startswith("span2_text 'it' is not word 30")
    assert notes["wsc", "test", 80].endswith("what it names is read part by part")
    assert "'called' is read instead" in notes["wic", "train", 1868]


@needs_data
@pytest.mark.data
def test_wic_words_are_marked_where_the_data_says(tasks):
    for split in tasks["wic"].files:
        for example in official(tasks["wic"], split):
            if functions.repairs(tasks["wic"], example):
                continue
            (instance,) = functions.instances(tasks["wic"], example)
            for number in "12":
                sentence, start, end = (example[f"{name}{number}"] for name in ("sentence", "start", "end"))
                expected = f"{sentence[:start]}* {sentence[start:end]} *{sentence[end:]}"
                assert instance.fields[f"sentence{number}"] == expected


# COPA, MultiRC, ReCoRD ---------------------------------------------------------------------------------------------

COPA = {"premise": "It rained.", "choice1": "Clouds came.", "choice2": "I sang.", "question": "cause", "idx": 7}


def test_copa_scores_each_choice_and_the_best_one_answers(tasks):
    first, second = functions.instances(tasks["copa"], {**COPA, "label": 0})
    assert first.fields == {
        "premise": "It rained.", "question": "What was the cause of this?", "choice": "Clouds came.",
    }  # fmt: skip
    assert second.fields["choice"] == "I sang." and (first.label, second.label) == (1, 0)
    assert functions.decide(tasks["copa"], [[-1.0], [0.5]], COPA) == 1
    effect = functions.instances(tasks["copa"], {**COPA, "question": "effect", "label": -1})
    assert effect[0].fields["question"] == "What happened as a result?" and effect[0].label is None
    with pytest.raises(HarnessError, match=r"idx 7.*'why'"):
        functions.instances(tasks["copa"], {**COPA, "question": "why", "label": 0})


MULTIRC = {
    "idx": 3, "version": 1.1,
    "passage": {
        "text": "<b>Sent 1: </b>A.<br><B>Sent 2: </b>B<br/>", "questions": [
            {"question": "Who?", "idx": 4, "answers": [
                {"text": "<b>Ann</b>", "idx": 8, "label": 1}, {"text": "Bob", "idx": 9, "label": 0}]},
            {"question": "Why?", "idx": 5, "answers": [{"text": "So", "idx": 10, "label": 1}]},
        ],
    },
}  # fmt: skip


def write_lines(path, *records):
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


def test_multirc_has_an_example_per_answer_scored_by_question(tasks, tmp_path):
    task = tasks["multirc"]
    write_lines(tmp_path / "MultiRC/val.jsonl", MULTIRC)
    write_lines(tmp_path / "x/MultiRC/test.jsonl", json.loads(json.dumps(MULTIRC).replace('"label"', '"unused"')))
    examples = load_examples(task, tmp_path, "validation", allow_partial=True)
    assert [example["idx"] for example in examples] == [
        {"paragraph": 3, "question": question, "answer": answer} for question, answer in ((4, 8), (4, 9), (5, 10))
    ]
    assert [example["label"] for example in examples] == [1, 0, 1]
    pairs = [functions.metric_inputs(task, prediction, e) for prediction, e in zip((1, 1, 1), examples, strict=True)]
    scores = compute_metrics(task.metrics, [p for p, _ in pairs], [r for _, r in pairs])
    assert scores["exact_match"] == 0.5 and scores["f1_a"] == pytest.approx(0.8)
    unlabelled = load_examples(task, tmp_path / "x", "test", allow_partial=True)
    assert [example["label"] for example in unlabelled] == [-1, -1, -1]
    assert functions.text_to_text(task, unlabelled[0])[1] == "<unk>"
    assert functions.instances(task, unlabelled[0])[0].label is None


def test_multirc_loses_the_markup_that_t5_knows(tasks, tmp_path):
    write_lines(tmp_path / "MultiRC/val.jsonl", MULTIRC)
    example = load_examples("multirc", tmp_path, "validation", allow_partial=True)[0]
    (instance,) = functions.instances(tasks["multirc"], example)
    assert instance.fields == {"paragraph": "Sent 1: A. <B>Sent 2: B<br/>", "question": "Who?", "answer": "Ann"}
    assert list(instance.fields) == ["paragraph", "question", "answer"] and instance.truncate == "paragraph"
    expected = "multirc question: Who? answer: Ann paragraph: Sent 1: A. <B>Sent 2: B<br/>"
    assert functions.text_to_text(tasks["multirc"], example) == (expected, "True")


RECORD = {
    "source": "x", "idx": 2,
    "passage": {
        "text": "Ann met Bob.\n@highlight\nBob left\n@highlight\nAnn stayed",
        "entities": [{"start": 0, "end": 2}, {"start": 8, "end": 10}, {"start": 24, "end": 26}],
    },
    "qas": [
        {"idx": 5, "query": "@placeholder stayed.", "answers": [{"start": 0, "end": 2, "text": "Ann"}] * 2},
        {"idx": 6, "query": "@placeholder left.", "answers": [{"start": 8, "end": 10, "text": "Bob"}]},
    ],
}  # fmt: skip


def test_record_scores_each_entity_in_the_gap(tasks, tmp_path):
    task = tasks["record"]
    write_lines(tmp_path / "ReCoRD/val.jsonl", RECORD)
    example, other = load_examples(task, tmp_path, "validation", allow_partial=True)
    assert example["entities"] == ["Ann", "Bob"] and example["answers"] == ["Ann"]
    assert example["idx"] == {"passage": 2, "query": 5} and other["idx"] == {"passage": 2, "query": 6}
    passage = "Ann met Bob. Bob left. Ann stayed"
    assert [(i.fields, i.label, i.truncate) for i in functions.instances(task, example)] == [
        ({"passage": passage, "query": "Ann stayed."}, [0], "passage"),
        ({"passage": passage, "query": "Bob stayed."}, [], "passage"),
    ]
    source = f"record query: @placeholder stayed. entities: Ann, Bob passage: {passage}"
    assert functions.training_texts(task, example) == [(source, "Ann")]
    assert functions.decide(task, [[0.1], [0.7]], example) == "Bob"
    pairs = [functions.metric_inputs(task, p, e) for p, e in (("ann", example), (task.invalid_prediction, other))]
    assert compute_metrics(task.metrics, [p for p, _ in pairs], [r for _, r in pairs]) == {
        "f1": 0.5,
        "exact_match": 0.5,
    }


def test_record_without_answers_is_unlabelled(tasks, tmp_path):
    task = tasks["record"]
    queries = [{key: qa[key] for key in ("idx", "query")} for qa in RECORD["qas"]]
    write_lines(tmp_path / "ReCoRD/test.jsonl", {**RECORD, "qas": queries})
    for example in load_examples(task, tmp_path, "test", allow_partial=True):
        assert is_unlabelled(task, example)
        assert [instance.label for instance in functions.instances(task, example)] == [None, None]
        assert functions.text_to_text(task, example)[1] == "<unk>"
    assert functions.parse(task, "Ann", example) == "Ann" and functions.parse(task, "", example) is None


def test_record_answers_are_open(tasks):
    assert tasks["record"].answers is None and tasks["wsc"].answers is None
    assert tasks["boolq"].answers == ("False", "True")


# WSC and WiC by hand -----------------------------------------------------------------------------------------------


def wsc(text, candidate, candidate_index, pronoun, pronoun_index, label=1):
    return {
        "text": text, "span1_text": candidate, "span1_index": candidate_index,
        "span2_text": pronoun, "span2_index": pronoun_index, "label": label, "idx": 5,
    }  # fmt: skip


MARKED = {
    "right": (wsc("Ann saw Bob , who waved at her.", "Ann", 0, "her", 7), "* Ann * saw Bob , who waved at # her #.", 0),
    "case": (wsc("When the cat ran it fell", "The cat", 1, "it", 4), "When * the cat * ran # it # fell", 1),
    "final dot": (wsc("He saw the light now", "the light.", 2, "He", 0), "# He # saw * the light * now", 1),
    "line break": (wsc("An old man said he", "old\nman", 1, "he", 4), "An * old man * said # he #", 1),
    "off by one": (wsc("Put the egg in and use it now", "egg", 2, "it", 5), "Put the * egg * in and use # it # now", 1),
    "far off": (wsc("The egg fell as it was", "egg", 99, "it", -4), "The * egg * fell as # it # was", 2),
    "one in the other": (wsc("So their mothers cried", "their mothers", 1, "their", 1),
                         "So * # their # mothers * cried", 0),
    "named apart": (wsc("Old Ann's cat, and her son Bob, ate; Ann said they did", "Ann and Bob", 1, "they", 10),
                    "Old * Ann *'s cat, and her son * Bob *, ate; Ann said # they # did", 1),
    "of two the one at the index": (wsc("Ann and Ann met her", "Ann", 2, "her", 4), "Ann and * Ann * met # her #", 0),
    "after a quote": (wsc('Ann said: "He left"', "Ann", 0, "He", 2), '* Ann * said: "# He # left"', 0),
}  # fmt: skip


@pytest.mark.parametrize("case", MARKED)
def test_wsc_marks_and_repairs(tasks, case):
    example, expected, repairs = MARKED[case]
    (instance,) = functions.instances(tasks["wsc"], example)
    assert instance.fields == {"text": expected} and instance.label == 1
    assert len(functions.repairs(tasks["wsc"], example)) == repairs


@pytest.mark.parametrize(
    ("example", "problem"),
    [
        (wsc("Ann saw it and then it broke", "Ann", 0, "it", 3), "idx 5: span2_text 'it' stands there 2 times"),
        (wsc("Ann saw it", "Bob", 0, "it", 2), "idx 5: span1_text 'Bob' is not in the text"),
        (wsc("Ann saw it", "Ann", 0, "", 2), "idx 5: span2_text '' is not in the text"),
        (wsc("Ann saw it", "Ann and Bob", 0, "it", 2), "idx 5: span1_text 'Ann and Bob' is not in the text"),
    ],
)
def test_wsc_refuses_what_it_cannot_repair(tasks, example, problem):
    for function in (functions.instances, functions.repairs):
        with pytest.raises(HarnessError, match=problem):
            function(tasks["wsc"], example)


def test_wsc_asks_t5_for_the_referent(tasks):
    first = wsc("He saw the light", "The light", 2, "He", 0)
    assert functions.text_to_text(tasks["wsc"], first) == ("wsc: *He* saw the light", "the light")
    last = wsc('"Good for him," Ann said. ', "Ann", 3, "him", 2, label=0)
    assert functions.text_to_text(tasks["wsc"], last) == ('wsc: "Good for *him* ," Ann said.', "Ann")
    assert functions.training_texts(tasks["wsc"], last) == []
    assert functions.training_texts(tasks["wsc"], first) == [functions.text_to_text(tasks["wsc"], first)]


WORDS = st.text(alphabet="abcxyz", min_size=1, max_size=6)


@given(words=st.lists(WORDS, min_size=2, max_size=12), data=st.data())
def test_wsc_marks_the_words_at_the_indices_and_changes_nothing_else(tasks, words, data):
    task = tasks["wsc"]
    first, second = data.draw(st.tuples(*[st.integers(0, len(words) - 1)] * 2).filter(lambda pair: pair[0] != pair[1]))
    example = wsc(" ".join(words), words[first], first, words[second], second)
    (instance,) = functions.instances(task, example)
    marked = words.copy()
    marked[first], marked[second] = f"* {words[first]} *", f"# {words[second]} #"
    assert instance.fields["text"] == " ".join(marked) and functions.repairs(task, example) == []
    starred = [f"*{word}*" if i == second else word for i, word in enumerate(words)]
    assert functions.text_to_text(task, example) == (f"wsc: {' '.join(starred)}", words[first])


def wic(word, sentence, start, end):
    return {
        "word": word, "sentence1": sentence, "start1": start, "end1": end,
        "sentence2": word, "start2": 0, "end2": len(word), "label": 1, "idx": 6,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("example", "expected", "repairs"),
    [
        (wic("run", "She ran home.", 4, 7), "She * ran * home.", 0),
        (wic("be", "It was late", 3, 6), "It * was * late", 0),
        (wic("do", "I don't know", 2, 4), "I * do *n't know", 0),
        (wic("have", "I've got it", 1, 4), "I* 've * got it", 0),
        (wic("call", "He called round today", 10, 15), "He * called * round today", 1),
        (wic("class", "The first class left", 9, 14), "The first * class * left", 1),
        (wic("carry", "They carried on", 99, 102), "They * carried * on", 1),
    ],
)
def test_wic_marks_and_repairs(tasks, example, expected, repairs):
    (instance,) = functions.instances(tasks["wic"], example)
    assert instance.fields == {"sentence1": expected, "sentence2": f"* {example['word']} *", "word": example["word"]}
    assert len(functions.repairs(tasks["wic"], example)) == repairs
    assert "*" not in functions.text_to_text(tasks["wic"], example)[0]


@pytest.mark.parametrize("example", [wic("go", "He left early", 1, 4), wic("cut", "Cut and cut it", 4, 7)])
def test_wic_refuses_what_it_cannot_repair(tasks, example):
    with pytest.raises(HarnessError, match=r"wic, idx 6: characters . to . of sentence1"):
        functions.instances(tasks["wic"], example)


# Suite and diagnostics ---------------------------------------------------------------------------------------------


def test_the_average_is_over_the_eight_tasks():
    assert load_plugins().suites["superglue"].averages == {"SuperGLUE avg": EIGHT}


def test_diagnostics_read_like_the_rte_task_that_answers_them(tasks):
    texts = {"premise": "All cats sat.", "hypothesis": "A cat sat."}
    (expected,) = functions.instances(tasks["superglue_rte"], {**texts, "label": 1})
    assert functions.instances(tasks["axg"], {**texts, "label": 1}) == [expected]
    axb = {"sentence1": texts["premise"], "sentence2": texts["hypothesis"], "label": 1}
    assert functions.instances(tasks["axb"], axb) == [expected]
    written = ("rte hypothesis: A cat sat. premise: All cats sat.", "not_entailment")
    assert functions.text_to_text(tasks["axb"], axb) == written
    assert functions.text_to_text(tasks["superglue_rte"], {**texts, "label": 1}) == written
    for name in ("axb", "axg"):
        assert (tasks[name].evaluated_by, tasks[name].train_split) == ("superglue_rte", None)
    assert tasks["axg"].metrics == ("gender_parity", "accuracy")


def test_a_definition_holds_the_functions_that_decide_its_scores(tasks):
    functions = tasks["wsc"].definition()["functions"]
    assert set(functions) == {"instances", "text_to_text", "training_texts", "parse", "repairs"}
    assert "def wsc_spelling" in functions["parse"] and "'whose'" in functions["parse"]
    assert "@highlight" in tasks["record"].definition()["functions"]["instances"]
    assert "def multirc_examples" in tasks["multirc"].definition()["expand"]["train"]
