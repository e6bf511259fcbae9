"""What the runs of a command share: which examples choose, train and are reported, and what is read only once."""

import dataclasses
import json
import shutil

import pytest
from running import LIMIT, RECIPE, UNMOVED, WRECK, Bench, Updates, caveats, evaluations, tiny
from tiny import TINY
from transformers import T5Config, T5ForConditionalGeneration

from harness.config.benchmark import read_benchmarks
from harness.data.datasets import load_examples
from harness.errors import HarnessError
from harness.models.bert import Bert
from harness.models.tokenizers import sample_tokenizer
from harness.runner.plan import SELECTED
from harness.runner.resources import HOLDOUT, Resources
from harness.task.plugins import load_tasks

TASKS = load_tasks()
STEPS = RECIPE["max_steps"]


def session_of(bench, **settings):
    return Resources(read_benchmarks(bench.write(**settings)).benchmark("b"), bench.results / ".cache")


# Held out --------------------------------------------------------------------------------------------------------


def test_what_is_held_out_chooses_and_is_not_trained_on(bench):
    task = TASKS["cola"]
    plain, holdout = session_of(bench, limit=None), session_of(bench, limit=None, selection="holdout")
    everything = plain.examples(task, "train")
    trained, held = holdout.examples(task, "train"), holdout.examples(task, HOLDOUT)
    assert len(held) == 80 and len(trained) == 720
    assert sorted([*trained, *held], key=lambda e: e["idx"]) == everything
    assert [e["idx"] for e in held] == sorted(e["idx"] for e in held)
    assert 0 < sum(e["label"] for e in held) < 80
    assert session_of(bench, limit=None, selection="holdout").examples(task, HOLDOUT) == held
    assert holdout.examples(task, "validation") == plain.examples(task, "validation")


@pytest.mark.data
def test_no_held_out_answer_of_multirc_has_its_paragraph_in_training(bench, data_folder):
    task, resources = (
        TASKS["multirc"],
        session_of(bench, limit=None, selection="holdout", tasks=["multirc"], data=str(data_folder)),
    )
    trained, held = (resources.examples(task, name) for name in ("train", HOLDOUT))
    assert 1900 < len(held) <= 2000 and len(trained) + len(held) == 27243
    assert not {e["paragraph"] for e in held} & {e["paragraph"] for e in trained}


def test_who_belongs_together_counts_only_where_something_is_held_out(bench):
    task, other = TASKS["rte"], dataclasses.replace(TASKS["rte"], cluster="sentence2")
    plain, holdout = session_of(bench), session_of(bench, selection="holdout")
    model = read_benchmarks(bench.path).models["bert"]
    assert task.definition() == other.definition()
    assert plain.data(task, ("train",), model) == session_of(bench).data(other, ("train",), model)
    of_one = session_of(bench, selection="holdout").data(task, ("train",), model)
    assert of_one == holdout.data(task, ("train",), model) != holdout.data(other, ("train",), model)


def test_with_holdout_the_evaluation_split_chooses_nothing(bench):
    bench.write({"max_steps": 6, "eval_every": 2}, selection="holdout", limit={"train": 60, "validation": 25})
    bench.run()
    record = bench.record()
    history = evaluations(record)
    assert list(history) == [0, 2, 4, 6]
    assert all(set(row["scores"]) == {HOLDOUT} for row in history.values())
    assert record.selection_score == max(row["selection_score"] for row in history.values())
    assert record.counts == {"cola": {"train": 54, "validation": 25}}
    assert set(record.scores["cola"]) == {"validation"}
    assert {row["split"] for row in record.predictions()} == {"validation"}
    assert record.settings.selection == "holdout"


def test_with_holdout_the_reported_score_is_the_best_models(bench):
    """T5 writes no answer yet, so that all scores are 0 and the first evaluation stays the best, wrecked or not."""
    answers = []
    for rate in (0.05, 1e-12):
        bench.write(WRECK | {"learning_rate": rate}, models=["t5"], selection="holdout",
                    limit={"train": 60, "validation": 10})  # fmt: skip
        bench.run()
        record = bench.record(model="t5")
        assert record.best_step == 1 and record.steps == 2
        answers.append([row["output"] for row in record.predictions()])
    assert answers[0] == answers[1]


def test_the_last_checkpoints_scores_stand_beside_the_best_ones(bench):
    """Its model answers what the evaluations on the way did not ask: here the validation set."""
    recipe = {"max_steps": 16, "eval_every": 2, "learning_rate": 5e-3}
    settings = {"tasks": ["stsb"], "selection": "holdout", "limit": {"train": 160, "validation": 60}}
    bench.write(recipe, **settings)
    bench.run()
    record = bench.record("stsb")
    assert record.best_step < record.steps == 16 and record.evaluations == 8
    assert record.last_scores != record.scores
    bench.write(recipe | {"eval_every": 16}, **settings)
    bench.run()
    last = bench.record("stsb")
    assert last.best_step == last.steps == 16 and last.evaluations == 1
    assert last.last_scores == last.scores == record.last_scores


def test_the_last_checkpoint_answers_diagnostics_too(bench):
    bench.write(WRECK, tasks=["mnli"], selection="holdout", models=["t5"], limit={"train": 60, "validation": 10})
    bench.run()
    record = bench.record("mnli", "t5")
    assert record.best_step == 1 < record.steps
    splits = {task: list(scores) for task, scores in record.last_scores.items()}
    assert splits == {"mnli": ["validation_matched", "validation_mismatched"], "ax": ["test"]}


# Parts of the data -----------------------------------------------------------------------------------------------


def test_limits_shorten_train_and_validation_and_are_marked(bench):
    session = session_of(bench, tasks=["mnli"], limit={"train": 40, "validation": 7})
    task = TASKS["mnli"]
    chosen = session.examples(task, "train")
    assert len(chosen) == 40 and chosen == load_examples(task, "sample", "train", limit=40)
    assert session.examples(task, "validation_mismatched") == load_examples(task, "sample", "validation_mismatched")[:7]
    assert len(session.examples(task, "test_matched")) == 200
    assert len(session.examples(TASKS["ax"], "test")) == 7  # labelled: evaluated, not submitted
    bench.write(limit={"train": 40})
    board = bench.run()
    assert bench.record().counts == {"cola": {"train": 40, "validation": 240}}
    assert caveats(bench.record()) == ("sample data", "limited data", str(SELECTED))
    assert "limited data" in board.text and "limited data" in board.markdown
    bench.write(limit=None)
    assert "limited data" not in bench.run().text
    assert bench.record().counts == {"cola": {"train": 800, "validation": 240}}


def write_cola(folder, splits):
    """Sample examples as the official files of CoLA."""
    (folder / "CoLA").mkdir(parents=True)
    for split, count in splits.items():
        name = "dev" if split == "validation" else split
        rows = [f"gj04\t{e['label']}\t\t{e['sentence']}" for e in load_examples("cola", "sample", split)[:count]]
        (folder / "CoLA" / f"{name}.tsv").write_text("\n".join(rows) + "\n")


def test_a_partial_copy_is_refused_or_used_and_marked(bench):
    write_cola(bench.folder / "GLUE", {"train": 60, "validation": 20})
    data = {"data": "./GLUE", "limit": None}
    bench.write(**data)
    with pytest.raises(HarnessError, match=r"train\.tsv: .*60.*8551"):
        bench.run()
    assert not (bench.results / "b" / "runs").exists()
    bench.write(**data, allow_partial=True)
    board = bench.run()
    record = bench.record()
    assert record.counts == {"cola": {"train": 60, "validation": 20}}
    assert caveats(record) == ("partial data", str(SELECTED))
    assert "partial data" in board.text and "sample data" not in board.text
    assert record.settings.allow_partial is True


def test_a_missing_validation_split_is_cut_from_train(bench):
    write_cola(bench.folder / "GLUE", {"train": 60})
    bench.write(data="./GLUE", limit=None)
    with pytest.raises(HarnessError, match="allow_partial"):
        bench.run()
    bench.write(data="./GLUE", limit=None, allow_partial=True)
    bench.run()
    record = bench.record()
    assert record.counts == {"cola": {"train": 54, "validation": 6}}
    sentences = {e["idx"] for e in session_of(bench, data="./GLUE", limit=None, allow_partial=True).examples(
        TASKS["cola"], "train")}  # fmt: skip
    assert sentences.isdisjoint(row["idx"] for row in record.predictions())


def test_changed_data_is_a_new_run_and_moved_data_is_not(bench, monkeypatch):
    updates = Updates(monkeypatch)
    write_cola(bench.folder / "one", {"train": 40, "validation": 20})
    bench.write(data="./one", limit=None, allow_partial=True)
    bench.run()
    first = bench.record().fingerprint
    shutil.move(bench.folder / "one", bench.folder / "two")
    bench.write(data="./two", limit=None, allow_partial=True)
    bench.run()
    assert updates.new() == STEPS and bench.record().fingerprint == first
    with open(bench.folder / "two" / "CoLA" / "dev.tsv", "a") as file:
        file.write("gj04\t1\t\tOne more.\n")
    bench.run()
    assert updates.new() == STEPS and bench.record().fingerprint != first


def test_each_task_has_its_own_source(bench):
    write_cola(bench.folder / "GLUE", {"train": 30, "validation": 20})
    bench.write(tasks=["cola", "rte"], data={"cola": "./GLUE", "glue": "sample"}, limit=None, allow_partial=True)
    bench.run()
    assert bench.record("cola").settings.data["cola"].source == "files"
    assert bench.record("rte").settings.data["rte"].source == "sample"
    assert "sample data" in caveats(bench.record("rte")) and "sample data" not in caveats(bench.record("cola"))


def test_mistakes_of_all_tasks_are_told_before_any_training(bench):
    for name, files in {"CoLA": ["train", "dev"], "RTE": ["train", "dev"]}.items():
        (bench.folder / "GLUE" / name).mkdir(parents=True)
        for file in files:
            (bench.folder / "GLUE" / name / f"{file}.tsv").write_text("nonsense\n")
    bench.write(tasks=["sst2", "cola", "rte"], data={"cola": "./GLUE", "rte": "./GLUE", "glue": "sample"}, limit=None)
    with pytest.raises(HarnessError) as found:
        bench.run()
    lines = str(found.value).splitlines()
    assert any("CoLA/train.tsv:1" in line for line in lines) and any("RTE/train.tsv" in line for line in lines), lines
    assert not (bench.results / "b" / "runs").exists()


def test_test_data_with_mistakes_are_told_before_any_training(bench):
    write_cola(bench.folder / "GLUE", {"train": 30, "validation": 20})
    (bench.folder / "GLUE" / "CoLA" / "test.tsv").write_text("index\tsentence\n0\tone\ttoo many\n")
    bench.write(data="./GLUE", limit=None, allow_partial=True, predict=["test"])
    with pytest.raises(HarnessError, match=r"test\.tsv:2"):
        bench.run()
    assert not (bench.results / "b" / "runs").exists()


# Read once -------------------------------------------------------------------------------------------------------


def test_texts_are_tokenised_once_for_all_seeds_and_models_that_read_them_alike(bench, monkeypatch):
    encoded = []
    encode = Bert.encode

    def counted(self, instances):
        encoded.append(len(instances))
        return encode(self, instances)

    monkeypatch.setattr(Bert, "encode", counted)
    bench.models["larger"] = tiny("bert", config={**tiny("bert")["config"], "hidden_size": 64})
    bench.write(models=["bert", "larger"], seeds=[1, 2])
    bench.run()
    assert sorted(encoded) == sorted(LIMIT.values())
    bench.run(models=["bert"], seeds=[3], settings={"recipe.learning_rate": "0.01"})
    assert len(encoded) == 2
    bench.run(models=["bert"], seeds=[3], settings={"recipe.max_length": "16"})
    assert len(encoded) == 4


def test_features_made_for_one_run_are_not_taken_for_another_kind(bench):
    """What one model reads is not what another reads that differs in its options only."""
    bench.models["bare"] = tiny("t5", prefix=False)
    bench.models["bare-enct5"] = tiny("enct5", prefix=False)
    bench.write(models=["t5", "bare", "enct5", "bare-enct5"])
    bench.run()
    fresh = Bench(bench.folder / "fresh", bench.results / ".cache")
    fresh.models = bench.models
    fresh.write(models=["bare-enct5", "enct5", "bare", "t5"])  # the other way around
    fresh.run()
    for model in fresh.models:
        if model != "bert":
            assert list(fresh.record(model=model).predictions()) == list(bench.record(model=model).predictions())


# Marks -----------------------------------------------------------------------------------------------------------


def test_a_t5_that_saw_the_tasks_in_its_pretraining_is_marked(bench, sample_cache):
    tokenizer = sample_tokenizer("t5", sample_cache)
    for name in ("v1_0", "v1_1"):
        folder = bench.folder / name
        config = T5Config(vocab_size=len(tokenizer), decoder_start_token_id=0, **tiny("t5")["config"])
        T5ForConditionalGeneration(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        bench.models[name] = {"architecture": "enct5", "checkpoint": f"./{name}"}
    config = json.loads((bench.folder / "v1_0" / "config.json").read_text())
    config["task_specific_params"] = {"summarization": {"prefix": "summarize: "}}
    (bench.folder / "v1_0" / "config.json").write_text(json.dumps(config))
    bench.write(UNMOVED, models=["v1_0", "v1_1"])
    board = bench.run()
    mark = "T5 v1.0 checkpoint: saw GLUE and SuperGLUE in pre-training"
    assert mark in caveats(bench.record(model="v1_0")) and mark not in caveats(bench.record(model="v1_1"))
    assert mark in board.markdown


def test_a_diagnostic_lies_beside_the_data_of_its_task(bench):
    bench.write(tasks=["mnli", "rte"], data={"mnli": "data", "rte": "sample"})
    spec, tasks = read_benchmarks(bench.path).benchmark("b"), load_tasks()
    assert [str(spec.source(tasks[name])) for name in ("mnli", "ax", "rte", "axb")] == [
        str(bench.folder / "data"), str(bench.folder / "data"), "sample", "hub"
    ]  # fmt: skip


@pytest.mark.parametrize("config", [TINY["bert"], TINY["bert"] | {"model_type": "electra"}])
def test_the_type_of_a_model_chooses_the_tokenizer_of_a_vocabulary_alone(bench, tmp_path, config):
    """As in a folder of Google's original BERT."""
    (tmp_path / "words").mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz", "the", "book"]
    (tmp_path / "words/vocab.txt").write_text("\n".join(words))
    (tmp_path / "words/bert_config.json").write_text('{"vocab_size": 33}')
    bench.models["bert"] = tiny("bert", config=config, tokenizer=str(tmp_path / "words"))
    model = read_benchmarks(bench.write()).models["bert"]
    assert session_of(bench).tokenizer(model)("The book")["input_ids"] == [2, 31, 32, 3]
    bench.run()
    assert bench.record().finished
