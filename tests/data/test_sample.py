"""The built-in sample data: the same everywhere, in the official fields, and with a signal that can be learnt."""

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter

import pytest

from harness.data.sample import sample_examples, sample_texts
from harness.errors import HarnessError
from harness.task import functions
from harness.task.entities import entity_types
from harness.task.plugins import load_tasks
from harness.task.task import Task, is_unlabelled

TASKS = load_tasks()
TRAINED = [name for name, task in TASKS.items() if task.train_split]
IRREGULAR_FIELDS = {
    "wic": {"start1": int, "end1": int, "start2": int, "end2": int},
    "wsc": {"span1_index": int, "span2_index": int},
    "record": {"entities": list, "idx": dict},
    "multirc": {"idx": dict},
}


def splits(task: Task) -> list[str]:
    return [*filter(None, [task.train_split]), *task.validation_splits, *task.test_splits]


def texts(task: Task, example: dict) -> tuple[str, ...]:
    fields = (example[name] for name in task.text_fields)
    return tuple(" ".join(field) if isinstance(field, list) else field for field in fields)


def make_task(problem_type: str, fields: tuple[str, ...], labels: tuple[str, ...] = (), **options) -> Task:
    return Task("mine", "mine", problem_type, fields, ("accuracy",), labels, **options)


# The same everywhere -----------------------------------------------------------------------------------------------

DIGEST = """
import hashlib, json
from harness.data.sample import sample_examples, sample_texts
from harness.task.plugins import load_tasks
tasks = load_tasks()
data = [sample_examples(tasks[name], tasks[name].validation_splits[0]) for name in sorted(tasks)] + [sample_texts()]
print(hashlib.sha256(json.dumps(data).encode()).hexdigest())
"""


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_another_process_makes_the_same_data(hash_seed):
    data = [sample_examples(TASKS[name], TASKS[name].validation_splits[0]) for name in sorted(TASKS)] + [sample_texts()]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    other = subprocess.run([sys.executable, "-c", DIGEST], env=environment, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == hashlib.sha256(json.dumps(data).encode()).hexdigest()


def test_callers_may_change_what_they_got():
    sample_examples(TASKS["cola"], "train")[0]["sentence"] = "changed"
    assert sample_examples(TASKS["cola"], "train")[0]["sentence"] != "changed"


# Official fields, sizes, labels ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TASKS)
def test_sizes_fields_and_types(name):
    task = TASKS[name]
    for split in splits(task):
        examples = sample_examples(task, split)
        assert (600 <= len(examples) <= 1000) if split == task.train_split else len(examples) >= 200
        text = list if task.problem_type == "token_classification" else str
        types = {"idx": int, **dict.fromkeys(task.text_fields, text), **IRREGULAR_FIELDS.get(name, {})}
        for row, example in enumerate(examples):
            assert {field: type(example[field]) for field in types} == types
            assert set(example) == {*types, task.label_field}
            assert example["idx"] == row or isinstance(example["idx"], dict)
            assert all(text and text == " ".join(text.split()) for text in texts(task, example))


@pytest.mark.parametrize("name", TASKS)
def test_only_test_splits_are_unlabelled(name):
    task = TASKS[name]
    for split in splits(task):
        hidden = split in task.test_splits and split not in task.validation_splits
        expected = list if task.problem.several else int if task.problem.has_labels else float
        for example in sample_examples(task, split):
            label = example[task.label_field]
            if hidden:
                assert is_unlabelled(task, example) and label == ([] if name == "record" else task.unlabelled)
                continue
            assert type(label) is expected and not is_unlabelled(task, example)
            if task.problem_type == "regression":
                assert label in {step / 5 for step in range(26)}
            else:
                assert label if isinstance(label, list) else label in range(len(task.labels))


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if len(task.labels) in (2, 3)])
def test_labels_are_balanced_but_not_exactly(name):
    task = TASKS[name]
    for split in filter(None, [task.train_split, *task.validation_splits]):
        counts = Counter(example[task.label_field] for example in sample_examples(task, split))
        shares = [counts[label] / counts.total() * len(task.labels) for label in range(len(task.labels))]
        assert 0.7 < min(shares) < max(shares) < 1.3


def test_scores_cover_their_range():
    scores = [example["label"] for example in sample_examples(TASKS["stsb"], "train")]
    assert min(scores) == 0.0 and max(scores) == 5.0 and len(set(scores)) > 12


@pytest.mark.parametrize("name", TASKS)
def test_no_text_is_in_two_kinds_of_splits(name):
    task = TASKS[name]
    teacher = TASKS[task.evaluated_by] if task.evaluated_by else task
    assert teacher.train_split
    seen = {texts(teacher, example) for example in sample_examples(teacher, teacher.train_split)}
    for kind in (task.validation_splits, [split for split in task.test_splits if split not in task.validation_splits]):
        found = {texts(task, example) for split in kind for example in sample_examples(task, split)}
        assert not found & seen
        seen |= found


def test_the_mismatched_genre_has_its_own_words():
    def words(split):
        return Counter(word for e in sample_examples(TASKS["mnli"], split) for word in e["premise"].rstrip(".").split())

    train, matched, mismatched = map(words, ("train", "validation_matched", "validation_mismatched"))
    assert sum(matched[word] for word in matched if word not in train) == 0
    assert sum(mismatched[word] for word in mismatched if word not in train) > mismatched.total() / 4


@pytest.mark.parametrize("name", TASKS)
def test_every_row_has_a_text_form_that_reads_back(name):
    task = TASKS[name]
    for split in filter(None, [task.train_split, *task.validation_splits]):
        for example in sample_examples(task, split):
            source, target = functions.text_to_text(task, example)
            assert source.startswith(task.t5_prefix) and target
            assert functions.instances(task, example) and not functions.repairs(task, example)
            if task.open_answers:
                continue
            label = example[task.label_field]
            assert functions.parse(task, target, example) == label


@pytest.mark.parametrize("name", [name for name in TRAINED if not TASKS[name].problem.several])
def test_length_does_not_tell_the_label(name):
    """Batches of similar length would otherwise hold one label."""
    task = TASKS[name]
    lengths: dict[int, list[int]] = {}
    for example in sample_examples(task, task.train_split or ""):
        lengths.setdefault(round(example["label"]), []).append(len(functions.text_to_text(task, example)[0].split()))
    means = [sum(group) / len(group) for group in lengths.values()]
    assert max(means) - min(means) < 0.5


# Irregular tasks ---------------------------------------------------------------------------------------------------


def test_wic_spans_are_the_word():
    for example in sample_examples(TASKS["wic"], "validation"):
        for number in "12":
            sentence = example[f"sentence{number}"]
            assert sentence[example[f"start{number}"] : example[f"end{number}"]] == example["word"]


def test_wsc_spans_are_where_the_indices_say():
    for example in sample_examples(TASKS["wsc"], "validation"):
        for span in ("span1", "span2"):
            words = example[f"{span}_text"].split()
            start = example[f"{span}_index"]
            assert example["text"].split()[start : start + len(words)] == words
        assert example["span2_text"] in ("he", "she")


def test_multirc_numbers_paragraphs_questions_and_answers():
    examples = sample_examples(TASKS["multirc"], "validation")
    by_question: dict[tuple, list] = {}
    for number, example in enumerate(examples):
        assert example["idx"]["answer"] == number
        by_question.setdefault((example["idx"]["paragraph"], example["idx"]["question"]), []).append(example)
    assert all(len({(e["paragraph"], e["question"]) for e in group}) == 1 for group in by_question.values())
    assert all(len(group) > 1 for group in by_question.values()) and len(by_question) >= 70
    assert len({example["paragraph"] for example in examples}) < len(by_question)


def test_record_answers_are_entities_of_the_passage():
    examples = sample_examples(TASKS["record"], "validation")
    for example in examples:
        assert set(example["answers"]) <= set(example["entities"])
        assert all(entity in example["passage"] for entity in example["entities"])
        assert example["query"].count("@placeholder") == 1
    assert {len(example["answers"]) for example in examples} == {1, 2}


def test_copa_asks_for_cause_and_effect():
    assert {example["question"] for example in sample_examples(TASKS["copa"], "validation")} == {"cause", "effect"}


def test_axg_rows_come_in_pairs_that_differ_in_the_pronoun():
    examples = sample_examples(TASKS["axg"], "test")
    assert len(examples) % 2 == 0
    for he, she in zip(examples[::2], examples[1::2], strict=True):
        assert he["premise"].replace(" he ", " she ") == she["premise"] != he["premise"]
        assert (he["hypothesis"], he["label"]) == (she["hypothesis"], she["label"])


# The signal --------------------------------------------------------------------------------------------------------


def bags(task: Task, examples: list) -> list[str]:
    return [functions.text_to_text(task, example)[0] for example in examples]


@pytest.mark.parametrize("name", [name for name in TASKS if TASKS[name].labels and not TASKS[name].problem.several])
def test_a_bag_of_words_beats_the_majority(name):
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    task = TASKS[name]
    teacher = TASKS[task.evaluated_by] if task.evaluated_by else task
    train = sample_examples(teacher, teacher.train_split or "")
    model = make_pipeline(CountVectorizer(ngram_range=(1, 2)), LogisticRegression(max_iter=300))
    model.fit(bags(teacher, train), [example["label"] for example in train])
    for split in task.validation_splits:
        examples = sample_examples(task, split)
        labels = [example["label"] for example in examples]
        majority = Counter(labels).most_common(1)[0][1] / len(labels)
        right = model.score(bags(task, examples), labels)
        assert right >= majority + 0.1
        assert right < 1.0


def test_a_bag_of_words_predicts_the_score():
    import numpy as np
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline

    task = TASKS["stsb"]
    train, examples = sample_examples(task, "train"), sample_examples(task, "validation")
    model = make_pipeline(CountVectorizer(), Ridge()).fit(bags(task, train), [e["label"] for e in train])
    assert np.corrcoef(model.predict(bags(task, examples)), [e["label"] for e in examples])[0, 1] > 0.55


def test_record_is_answered_by_what_is_a_person():
    """The words of the answers seen in training tell the answer of a new query."""
    known = {answer for example in sample_examples(TASKS["record"], "train") for answer in example["answers"]}
    counts = Counter(a for e in sample_examples(TASKS["record"], "train") for a in e["answers"])
    found = [
        max(e["entities"], key=lambda entity: counts[entity]) in e["answers"]
        for e in sample_examples(TASKS["record"], "validation")
    ]
    assert len(known) < 20 and sum(found) / len(found) > 0.75


# A user's tasks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "task",
    [
        make_task("single_label_classification", ("text",), ("spam", "ham", "eggs")),
        make_task("single_label_classification", ("title", "body", "question"), tuple(map(str, range(60)))),
        make_task("regression", ("text",), score_range=(1.0, 10.0)),
        make_task("regression", ("text", "context")),
        make_task("multiple_choice", ("context", "ending0", "ending1", "ending2", "ending3"), tuple("0123")),
        make_task("multiple_choice", ("text",), tuple(map(str, range(12)))),
        make_task("multi_label_classification", ("text",), tuple(f"feeling{i}" for i in range(28))),
    ],
    ids=lambda task: f"{task.problem_type}-{len(task.text_fields)}-{len(task.labels)}",
)
def test_a_users_task_has_sample_data_by_its_shape(task):
    train, validation = sample_examples(task, "train"), sample_examples(task, "validation")
    assert set(train[0]) == {*task.text_fields, "label", "idx"}
    assert not {texts(task, e) for e in train} & {texts(task, e) for e in validation}
    labels = [example["label"] for example in train]
    if task.problem_type == "regression":
        low, high = task.score_range or (0.0, 5.0)
        assert (min(labels), max(labels)) == (low, high)
    elif task.problem_type == "multi_label_classification":
        assert {i for label in labels for i in label} == set(range(28))
        assert {len(label) for label in labels} == {1, 2}
    else:
        assert set(labels) == set(range(len(task.labels)))


def test_labels_that_nobody_knows_have_words_of_their_own():
    task = make_task("single_label_classification", ("text",), tuple(f"class{i}" for i in range(60)))
    by_sign: dict[str, Counter] = {}
    for example in sample_examples(task, "train"):
        by_sign.setdefault(example["text"].split(", ")[-1], Counter())[example["label"]] += 1
    assert sum(counts.most_common(1)[0][1] for counts in by_sign.values()) > 0.9 * len(sample_examples(task, "train"))


def test_an_unknown_split_and_a_task_without_fields_are_refused():
    with pytest.raises(
        HarnessError, match=r"'mnli' has no split 'validation_matchd'.*Did you mean 'validation_matched'"
    ):
        sample_examples(TASKS["mnli"], "validation_matchd")
    with pytest.raises(HarnessError, match="has no text_fields"):
        sample_examples(make_task("regression", ()), "train")


# The text for tokenizers -------------------------------------------------------------------------------------------


def test_texts_hold_all_that_tiny_models_read_and_write():
    lines = sample_texts()
    assert len(lines) == len(set(lines))
    joined = "\n".join(lines)
    words = {word for line in lines for word in line.split()}
    for task in TASKS.values():
        assert task.t5_prefix in joined
        if task.problem_type == "token_classification":
            assert {f"{kind}:" for kind in entity_types(task.labels)} | {"$$", "none"} <= words
        elif not task.open_answers:
            assert set(task.labels) <= words
    assert {f"{step / 5:.1f}" for step in range(26)} <= words
    assert {"sentence1:", "hypothesis:", "choice2:", "*", "#", "@placeholder"} <= words
