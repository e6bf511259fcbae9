"""Functions of plugins that fail or give something else than they must: one message with the task and the place."""

from dataclasses import replace

import pytest

from harness.cli import main
from harness.errors import HarnessError
from harness.task import functions
from harness.task.plugins import load_tasks
from harness.task.task import Instance, Task

GOOD = {
    "instances": [Instance({"text": "a"}, 0)],
    "text_to_text": ("a", "b"),
    "training_texts": [("a", "b")],
    "parse": None,
    "decide": 1,
    "metric_inputs": (0, 1),
    "repairs": [],
    "cluster": 1,
}
BAD = {
    "instances": [{"text": "a"}],
    "text_to_text": "a",
    "training_texts": [("a", 1)],
    "parse": "good",
    "decide": 2,
    "metric_inputs": None,
    "repairs": "much",
    "cluster": 1.5,
}
PLUGIN = """
from harness import SplitFile, Task

FILE = {"text": "text", "label": "label"}

def decide(scores, example):
    return RESULT

mood = Task(name="mood", suite="own", problem_type="single_label_classification", text_fields=("text",),
            labels=("bad", "good"), metrics=("accuracy",), test_splits=(), decide=decide,
            files={"train": SplitFile("data.tsv", FILE), "validation": SplitFile("data.tsv", FILE)})
"""


def task(**changes) -> Task:
    usual = {"name": "mood", "suite": "", "problem_type": "single_label_classification", "text_fields": ("text",),
             "metrics": ("accuracy",), "labels": ("bad", "good")}  # fmt: skip
    return Task(**{**usual, **changes})


def call(hook: str, made: Task):
    """What a function of a task gives; how many arguments it takes makes no difference here."""
    arguments = [0] if hook in ("parse", "decide", "metric_inputs") else []
    if hook == "cluster":
        return functions.cluster_of(made, {})
    return getattr(functions, hook)(made, *arguments, {})


@pytest.mark.parametrize("hook", GOOD)
def test_what_a_function_gives_is_looked_at(hook):
    assert call(hook, task(**{hook: lambda *arguments: GOOD[hook]})) == (
        str(GOOD[hook]) if hook == "cluster" else GOOD[hook]
    )
    with pytest.raises(HarnessError, match=rf"task 'mood': {hook} gives .*; expected "):
        call(hook, task(**{hook: lambda *arguments: BAD[hook]}))


@pytest.mark.parametrize("hook", GOOD)
def test_a_function_that_fails_is_named_with_its_line(hook):
    def fails(*arguments):
        return 1 / 0

    line = fails.__code__.co_firstlineno + 1
    with pytest.raises(
        HarnessError, match=rf"'mood': {hook} fails: ZeroDivisionError: .* \(.*test_functions.py:{line}\)"
    ):
        call(hook, task(**{hook: fails}))


def test_predictions_of_every_kind():
    def decides(found, **changes):
        return functions.decide(task(decide=lambda scores, example: found, **changes), [], {}) == found

    assert decides(-1) and decides(True)  # an invalid prediction; a boolean is 0 or 1
    assert decides(0.5, problem_type="regression", labels=())
    assert decides([1, 0], problem_type="multi_label_classification")
    assert decides(5, problem_type="multiple_choice")
    assert decides("any text", open_answers=True)
    for found, changes in [(None, {}), (1.0, {}), ("bad", {}), ([2], {"problem_type": "multi_label_classification"})]:
        with pytest.raises(HarnessError, match="expected a class index below 2"):
            decides(found, **changes)


def test_the_built_in_tasks_have_what_they_must():
    assert load_tasks()["multirc"].instances.__name__ == "multirc_instances"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metrics": ("acuracy",)}, "task 'mood': unknown metric 'acuracy'. Did you mean 'accuracy'"),
        ({"metrics": "accuracy"}, "metrics must be a tuple of names"),
        ({"text_fields": "text"}, "text_fields must be a tuple of names"),
        ({"score_range": (0.0, 5.0)}, "score_range is the lowest and the highest score of a regression"),
        ({"decide": max}, "decide must be a function, written with def or lambda"),
    ],
)
def test_mistakes_in_a_definition_are_told_when_it_is_made(changes, message):
    with pytest.raises(HarnessError) as error:
        task(**changes)
    assert message in str(error.value)


def test_a_field_that_the_data_lack():
    with pytest.raises(HarnessError, match=r"no field 'txt', which text_fields names\. Did you mean 'text'"):
        functions.instances(task(text_fields=("txt",)), {"text": "a", "label": 0})


@pytest.mark.parametrize(("result", "code"), [("'good'", 1), ("1 / 0", 1), ("1", 0)])
def test_a_run_with_such_a_function_is_recorded_as_failed_and_others_go_on(result, code, bench, capsys):
    (bench.folder / "plugins").mkdir()
    (bench.folder / "plugins/mood.py").write_text(PLUGIN.replace("RESULT", result))
    (bench.folder / "data.tsv").write_text("text\tlabel\n" + "a fine film\tgood\na bad one\tbad\n" * 20)
    bench.write(tasks=["mood", "cola"], data={"mood": str(bench.folder), "cola": "sample"})
    document = bench.path.read_text().replace("{", '{"plugins": "plugins", ', 1)
    bench.path.write_text(document)
    assert bench.command() == code
    assert bench.record("cola").finished and bench.record("mood").finished is (code == 0)
    assert ("task 'mood': decide" in capsys.readouterr().out) is (code == 1)


def test_a_configuration_that_makes_no_model_is_one_message(bench, capsys):
    for model, config in (("bert", {"hidden_size": 64}), ("enct5", {"d_model": -3})):
        bench.models[model] = {"architecture": model, "config": config, "tokenizer": "sample"}
        bench.write(models=[model])
        assert main(["run", str(bench.path), "--results", str(bench.results)]) == 2
        text = capsys.readouterr().err
        assert f"model '{model}': its config is refused: " in text and "Traceback" not in text


def test_a_changed_copy_of_a_task_has_functions_of_its_own():
    original = task(decide=lambda scores, example: 1)
    copy = replace(original, labels=("bad", "good", "fair"), name="three")
    assert functions.parse(copy, "fair", {}) == 2 and functions.parse(original, "fair", {}) is None
    assert copy.decide is original.decide
    with pytest.raises(HarnessError, match="task 'three': decide gives 3"):
        functions.decide(replace(copy, decide=lambda scores, example: 3), 0, {})


@pytest.mark.parametrize("labels", ['("good", "bad")', '("bad", "good", "fair")'])
def test_a_diagnostic_has_the_labels_of_the_task_whose_model_answers_it(labels, tmp_path):
    other = (
        PLUGIN.replace("RESULT", "1")
        + f"""
probe = Task(name="probe", suite="own", problem_type="single_label_classification", text_fields=("text",),
             labels={labels}, metrics=("accuracy",), train_split=None, evaluated_by="mood")
"""
    )
    (tmp_path / "mood.py").write_text(other)
    with pytest.raises(
        HarnessError, match=r"'probe' has the labels .*, and 'mood', whose models answer it, has bad, good"
    ):
        load_tasks([tmp_path])


# Clusters ----------------------------------------------------------------------------------------------------------


def test_examples_belong_together_by_the_first_text_a_field_several_or_a_function():
    rows = [{"text": "The  Cat", "doc": 1, "part": "a"}, {"text": "the cat", "doc": 1, "part": "b"},
            {"text": "The cats", "doc": 2, "part": "a"}]  # fmt: skip

    def clusters(**changes):
        names = [functions.cluster_of(task(**changes), row) for row in rows]
        return [names.index(name) for name in names]

    assert clusters() == [0, 0, 2]
    assert clusters(cluster="doc") == [0, 0, 2]
    assert clusters(cluster=("doc", "part")) == [0, 1, 2]
    assert clusters(cluster=lambda example: example["part"]) == [0, 1, 0]


@pytest.mark.parametrize("value", [(), ("a", 1), "", 3, ["doc"], len])
def test_what_cannot_say_which_examples_belong_together_is_refused(value):
    with pytest.raises(HarnessError, match="task 'mood': cluster must be the name of a field, a tuple of names, or a"):
        task(cluster=value)


def test_a_cluster_that_is_not_there_is_named():
    with pytest.raises(HarnessError, match=r"no field 'docs', which cluster names\. Did you mean 'doc'\?"):
        functions.cluster_of(task(cluster="docs"), {"text": "a", "doc": 1})
    for nothing in (None, "", "  "):
        with pytest.raises(HarnessError, match="idx 7: there is nothing in doc, by which cluster says"):
            functions.cluster_of(task(cluster="doc"), {"text": "a", "doc": nothing, "idx": 7})


BELONGS = {
    "multirc": ({"paragraph": "P", "question": "Q", "answer": "A"}, "question", "paragraph"),
    "record": ({"passage": "P", "query": "Q"}, "query", "passage"),
    "boolq": ({"question": "Q", "passage": "P"}, "question", "passage"),
    "qnli": ({"question": "Q", "sentence": "S"}, "sentence", "question"),
    "copa": ({"premise": "P", "choice1": "A", "choice2": "B", "question": "cause"}, "choice1", "premise"),
    "wsc": ({"text": "T", "span1_text": "A", "span2_text": "B"}, "span1_text", "text"),
    "wic": ({"sentence1": "A", "sentence2": "B", "word": "W"}, "sentence1", "word"),
    "mnli": ({"premise": "P", "hypothesis": "H"}, "hypothesis", "premise"),
}


@pytest.mark.parametrize("name", BELONGS)
def test_built_in_tasks_keep_together_what_shares_a_passage_a_question_a_text_or_a_word(name):
    example, other, shared = BELONGS[name]
    made = load_tasks()[name]
    first = functions.cluster_of(made, example)
    assert (
        functions.cluster_of(made, {**example, other: "X"})
        == first
        != functions.cluster_of(made, {**example, shared: "X"})
    )


def test_diagnostics_keep_their_pairs_together():
    tasks = load_tasks()
    for name, first, second in (("ax", "premise", "hypothesis"), ("axb", "sentence1", "sentence2")):
        there, back = {first: "A", second: "B"}, {first: "B", second: "A"}
        assert functions.cluster_of(tasks[name], there) == functions.cluster_of(tasks[name], back)
        assert functions.cluster_of(tasks[name], there) != functions.cluster_of(tasks[name], {first: "A", second: "C"})
    assert [functions.cluster_of(tasks["axg"], {"idx": i}) for i in range(4)] == ["0", "0", "1", "1"]
