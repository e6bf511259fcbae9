"""The baseline of every problem type: the answer that the training labels choose, and what it scores."""

from itertools import combinations

import pytest

from harness.data.datasets import load_examples
from harness.task.baseline import constant_answer, constant_predictions, only_answer
from harness.task.plugins import load_tasks
from harness.task.task import Task
from harness.training.evaluation import score

TAGS = ("O", "B-x", "I-x")


def task(problem_type: str, labels: tuple[str, ...] = (), **options) -> Task:
    return Task("t", suite="", problem_type=problem_type, text_fields=("text",), labels=labels, **options)


SINGLE = task("single_label_classification", ("a", "b", "c"), metrics=("accuracy",))
CHOICE = task("multiple_choice", ("one", "two"), metrics=("accuracy",))
SEVERAL = task("multi_label_classification", ("a", "b", "c"), metrics=("micro_f1",))
NUMBER = task("regression", metrics=("pearson",))
WORDS = task("token_classification", TAGS, metrics=("entity_f1",))
OPEN = task("multi_label_classification", ("answer",), metrics=("f1",), open_answers=True, invalid_prediction="")


@pytest.mark.parametrize(
    ("of", "labels", "answer"),
    [
        (SINGLE, [2, 1, 2, 0], 2),
        (SINGLE, [2, 1, -1, -1, -1], 1),  # unlabelled ones do not count; of equal ones the first
        (CHOICE, [0, 1, 1], 1),
        (NUMBER, [1.0, 2.0, 6.0], 3.0),
        (WORDS, [[1, 2], [0]], 0),
        (OPEN, [["Rome", "Roma"], ["Rome"], ["Oslo"]], "Rome"),
        (SINGLE, [], -1),
        # micro-F1 of {a}: 2 * 3 / (4 + 5), of {a, b}: 2 * 5 / (8 + 5), of {a, b, c}: 10 / (12 + 5)
        (SEVERAL, [[0, 1], [0], [0, 1], []], [0, 1]),
        (SEVERAL, [[0], [1], [], [0], [0, 2]], [0]),
        (SEVERAL, [[], []], []),
    ],
)
def test_the_training_labels_choose_the_answer(of, labels, answer):
    assert constant_answer(of, ({"text": "x", "label": label} for label in labels)) == answer


def test_no_set_of_labels_is_a_better_constant_one():
    goemotions = load_tasks()["goemotions"]
    examples = load_examples(goemotions, "sample", "train")
    labels = [example["labels"] for example in examples]

    def micro_f1(chosen):
        hits = sum(len(chosen.intersection(own)) for own in labels)
        return 2 * hits / (len(chosen) * len(labels) + sum(map(len, labels)))

    best = micro_f1(set(constant_answer(goemotions, examples)))
    assert best > 0
    sets = [set(chosen) for size in (0, 1, 2) for chosen in combinations(range(len(goemotions.labels)), size)]
    assert max(map(micro_f1, sets)) <= best


def test_every_word_gets_its_tag():
    assert constant_predictions(WORDS, 0, [{"text": ["a", "b"]}, {"text": ["c"]}]) == [[0, 0], [0]]


@pytest.mark.parametrize(
    ("of", "predictions", "words"),
    [
        (SINGLE, [1, 1], "b"),
        (SINGLE, [1, 0], None),
        (SINGLE, [1], None),  # of one example nothing can be said
        (SINGLE, [-1, -1], "no valid answer"),
        (CHOICE, [0, 0], "one"),
        (SEVERAL, [[0, 2], [0, 2]], "a, c"),
        (SEVERAL, [[], []], "no label"),
        (WORDS, [[0, 0], [0]], "no entity"),
        (WORDS, [[0, 1], [0]], None),
        (NUMBER, [2.5, 2.5], "2.5"),
        (OPEN, ["Rome", "Rome"], "Rome"),
    ],
)
def test_a_model_that_gives_one_answer_is_found(of, predictions, words):
    assert only_answer(of, predictions) == words


@pytest.mark.parametrize("name", load_tasks())
def test_every_built_in_task_has_a_baseline_on_its_sample(name):
    tasks = load_tasks()
    own = tasks[name]
    trained = tasks[own.evaluated_by or name]
    examples = load_examples(own, "sample", own.validation_splits[0])
    answer = constant_answer(trained, load_examples(trained, "sample", trained.train_split))
    scores = score(own, examples, constant_predictions(own, answer, examples))
    assert {metric for _, metric in own.score_parts} <= scores.keys()
    assert all(not value > 0.9 for metric, value in scores.items() if metric != "gender_parity")
