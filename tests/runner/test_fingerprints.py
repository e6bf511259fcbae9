"""Fingerprints: whatever can change a score changes them, and nothing else does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import amounts
from running import tiny
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForMaskedLM

from harness.config.benchmark import read_benchmarks
from harness.errors import HarnessError
from harness.models.tokenizers import sample_tokenizer
from harness.runner.plan import expand
from harness.runner.resources import Resources

PLUGIN = """
import re

from harness import Instance, SplitFile, Task

SHORTEST = 3
SETTINGS = {"short": 1, "kinds": {"b", "a"}}
MARKS = re.compile(r"[?!]+")

class Ending:
    end = ""

    def add(self, text):
        return text + self.end

def strip(text):
    return text.strip()

STEPS = {"first": [strip]}

def make_clean(most):
    def clean(text, limit=99):
        return MARKS.sub("", text)[:most][:limit]
    return clean

CLEAN = make_clean(10)

def shorten(text):
    return text[: 10 * SHORTEST * SETTINGS["short"]]

def instances(example):
    text = Ending().add(CLEAN(STEPS["first"][0](shorten(example["text"]))))
    return [Instance({"text": text}, example["label"])]

LABELS = ("bad", "good")
FILE = {"text": "text", "label": "label"}
mood = Task(
    name="mood", suite="own", problem_type="single_label_classification", text_fields=("text",),
    labels=LABELS, metrics=("accuracy",), test_splits=(), instances=instances,
    files={"train": SplitFile("train.tsv", FILE), "validation": SplitFile("dev.tsv", FILE)},
)
other = Task(
    name="other", suite="own", problem_type="single_label_classification", text_fields=("text",),
    labels=LABELS, metrics=("accuracy",), train_split=None, evaluated_by="mood", test_splits=(),
    files={"validation": SplitFile("other.tsv", FILE)},
)
"""
ROWS = "".join(f"Sentence number {i}\t{'good' if i % 2 else 'bad'}\n" for i in range(8))
DATA = {name: f"text\tlabel\n{name} {ROWS}" for name in ("train.tsv", "dev.tsv", "other.tsv")}
RECIPE = {"learning_rate": 0.001, "batch_size": 4, "max_length": 32, "precision": "fp32"}


@dataclass(frozen=True)
class World:
    """All files that a run is made from, and how they are changed."""

    folder: Path
    recipe: dict[str, Any]
    model: dict[str, Any]
    entry: dict[str, Any]

    def fingerprint(self, name: str = "benchmarks.yaml", dump: Callable[[Any], str] = json.dumps) -> str:
        """Of the one run that the files ask for."""
        entry = {"tasks": "own", "models": "m", "data": "data", "recipe": self.recipe, **self.entry}
        text = dump({"plugins": "plugins", "models": {"m": self.model}, "benchmarks": {"b": entry}})
        (self.folder / name).write_text(text)
        file = read_benchmarks(self.folder / name)
        (run,) = expand(file, Resources(file.benchmark("b"), self.folder / "cache"), torch.device("cpu"))
        return run.fingerprint

    def edit(self, file: str, old: str, new: str) -> None:
        """Change a text file in one place."""
        text = (self.folder / file).read_text()
        assert text.count(old) >= 1
        (self.folder / file).write_text(text.replace(old, new, 1))


@pytest.fixture(scope="module")
def original(tmp_path_factory, sample_cache) -> tuple[World, str]:
    folder = tmp_path_factory.mktemp("world")
    for place, content in [("plugins/own.py", PLUGIN), *((f"data/{name}", text) for name, text in DATA.items())]:
        (folder / place).parent.mkdir(exist_ok=True)
        (folder / place).write_text(content)
    tokenizer = sample_tokenizer("bert", sample_cache)
    tokenizer.save_pretrained(folder / "model")
    torch.manual_seed(0)
    config = AutoConfig.for_model(**tiny("bert")["config"], vocab_size=len(tokenizer))
    AutoModelForMaskedLM.from_config(config).save_pretrained(folder / "model")
    world = World(folder, RECIPE, {"architecture": "bert", "checkpoint": "./model"}, {})
    return world, world.fingerprint()


@pytest.fixture
def world(original, tmp_path) -> World:
    shutil.copytree(original[0].folder, tmp_path / "copy")
    return replace(original[0], folder=tmp_path / "copy")


# What changes them -----------------------------------------------------------------------------------------------

SETTINGS: dict[str, dict[str, Any]] = {
    **{
        f"recipe {key}": {"recipe": {**RECIPE, key: value}}
        for key, value in {
            "learning_rate": 0.0011, "batch_size": 5, "batch_tokens": 64, "epochs": 2, "max_steps": 7,
            "min_steps": 9, "warmup_ratio": 0.1, "deterministic": True,
            "weight_decay": 0.1, "max_length": 33, "optimizer": "adafactor", "schedule": "constant",
            "precision": "bf16", "compile": True, "evaluations": 3, "eval_every": 3, "patience": 1,
            "gradient_accumulation": 2, "gradient_checkpointing": True, "max_grad_norm": 0.5, "label_smoothing": 0.1,
        }.items()
    },
    "seed": {"entry": {"seeds": 2}},
    "selection": {"entry": {"selection": "holdout"}},
    "training limit": {"entry": {"limit": {"train": 5}}},
    "validation limit": {"entry": {"limit": {"validation": 5}}},
    "partial data": {"entry": {"allow_partial": True}},
    "dropout": {"model": {"architecture": "bert", "checkpoint": "./model", "dropout": 0.2}},
    "architecture": {"model": {"architecture": "enct5", "config": {"d_model": 32}, "tokenizer": "./model"}},
}  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_that_decides_a_score_counts(original, world, name):
    assert replace(world, **SETTINGS[name]).fingerprint() != original[1]


def test_every_key_of_a_recipe_is_among_them():
    from harness.config.schema import Recipe

    assert {f"recipe {key}" for key in Recipe.model_fields} <= SETTINGS.keys()


def test_only_the_recipe_that_comes_out_counts(original, world):
    """Not the layer that gives it, nor recipes for other tasks, nor a setting whose second name decides."""
    task_recipes = {"mood": RECIPE, "rte": {"epochs": 9}}
    entry = {"recipe": {"learning_rate": 1}}
    assert replace(world, model={**world.model, "task_recipes": task_recipes}, entry=entry).fingerprint() == original[1]
    steps = [{**RECIPE, "max_steps": 7, "epochs": epochs} for epochs in (1, 2)]
    tokens = [{**RECIPE, "batch_tokens": 64, "batch_size": size} for size in (1, 2)]
    for recipes in (steps, tokens):
        first, second = (replace(world, recipe=recipe).fingerprint() for recipe in recipes)
        assert first == second != original[1]


OPTIONS = {
    "threshold": (0.7, {"goemotions"}),
    "prompt_init": ("label_text", {"goemotions", "record"}),
    "label_attention": ("none", {"goemotions", "record", "wnut17"}),
    "word_states": (False, {"wnut17"}),
    "prefix": (False, {"goemotions", "record", "wnut17", "rte", "stsb", "copa"}),
}
"""Another value of an option of EncT5, and the tasks that it changes."""


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_counts_only_for_the_tasks_that_it_changes(option, bench):
    value, changed = OPTIONS[option]

    def fingerprints():
        tasks = ["goemotions", "record", "wnut17", "rte", "stsb", "copa"]
        file = read_benchmarks(bench.write(tasks=tasks, models=["enct5"]))
        runs = expand(file, Resources(file.benchmark("b"), bench.results / ".cache"), torch.device("cpu"))
        return {run.task.name: run.fingerprint for run in runs}

    before = fingerprints()
    bench.models["enct5"][option] = value
    after = fingerprints()
    assert {name for name in before if before[name] != after[name]} == changed


EDITS = {
    "label order": ('LABELS = ("bad", "good")', 'LABELS = ("good", "bad")'),
    "metric": ('metrics=("accuracy",)', 'metrics=("f1",)'),
    "text field": ('problem_type="single_label_classification", text_fields=("text",)',
                   'problem_type="single_label_classification", text_fields=("text", "label")'),
    "a function": ('{"text": text}', '{"sentence": text}'),
    "a function that it calls": ("text[: 10 *", "text[: 11 *"),
    "a constant": ("SHORTEST = 3", "SHORTEST = 4"),
    "a diagnostic": ('metrics=("accuracy",), train_split=None', 'metrics=("f1",), train_split=None'),
    "a mapping that it reads": ('"short": 1', '"short": 2'),
    "a function in a mapping": ("return text.strip()", "return text.lower()"),
    "a regular expression": ('re.compile(r"[?!]+")', 're.compile(r"[?!]")'),
    "a value in a closure": ("make_clean(10)", "make_clean(11)"),
    "a default argument": ("limit=99", "limit=98"),
    "a method of a class that it uses": ("return text + self.end", "return self.end + text"),
    "the prefix": ('name="mood",', 'name="mood", t5_prefix="feeling",'),
}  # fmt: skip


@pytest.mark.parametrize("name", EDITS)
def test_the_definition_of_the_tasks_counts(original, world, name):
    world.edit("plugins/own.py", *EDITS[name])
    assert world.fingerprint() != original[1]


def is_changed(world: World, fingerprint: str) -> bool:
    """Whether it is another run now, or none at all."""
    try:
        return world.fingerprint() != fingerprint
    except HarnessError:
        return True


def alter(number, check):
    """Call ``check`` with so many places in a file, and what to change there."""
    kept = settings(max_examples=number, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    kept(given(where=st.integers(0, 10**6), change=st.integers(1, 255))(check))()


@amounts(5, 100)
@pytest.mark.parametrize("file", DATA)
def test_every_byte_of_the_data_counts(original, world, file, number):
    path = world.folder / "data" / file
    content = path.read_bytes()

    def check(where, change):
        altered = bytearray(content)
        altered[where % len(altered)] ^= change
        path.write_bytes(altered)
        assert is_changed(world, original[1])
        path.write_bytes(content + b"\n")
        assert is_changed(world, original[1])
        path.write_bytes(content)
        assert world.fingerprint() == original[1]

    alter(number, check)


@amounts(5, 100)
def test_every_byte_of_the_weights_counts(original, world, number):
    path = world.folder / "model" / "model.safetensors"
    content = path.read_bytes()

    def check(where, change):
        altered = bytearray(content)
        altered[where % len(altered)] ^= change
        path.write_bytes(altered)
        try:
            assert world.fingerprint() != original[1]
        except HarnessError as error:  # in the part that says what the file holds
            assert "model.safetensors" in str(error)
        finally:
            path.write_bytes(content)
        assert world.fingerprint() == original[1]

    alter(number, check)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("config.json", '"hidden_dropout_prob": 0.1', '"hidden_dropout_prob": 0.2'),
        ("config.json", "{", "{ "),
        ("tokenizer.json", '"lowercase": true', '"lowercase": false'),
        ("tokenizer_config.json", "{", '{"added": 1,'),
    ],
)
def test_the_other_files_of_a_checkpoint_count(original, world, file, old, new):
    world.edit(f"model/{file}", old, new)
    assert world.fingerprint() != original[1]


def test_a_tokenizer_of_its_own_counts(original, world):
    shutil.copytree(world.folder / "model", world.folder / "words")
    model = {**world.model, "tokenizer": "./words"}
    assert replace(world, model=model).fingerprint() == original[1]
    world.edit("words/tokenizer.json", '"lowercase": true', '"lowercase": false')
    assert replace(world, model=model).fingerprint() != original[1]


def test_the_version_of_the_scores_counts(original, world, monkeypatch):
    monkeypatch.setattr("harness.runner.plan.SCORE_VERSION", 10**6)
    assert world.fingerprint() != original[1]


def test_what_this_machine_makes_of_the_precision_counts(original, world, monkeypatch):
    automatic = replace(world, recipe={**RECIPE, "precision": "auto"})
    for speedup, precision in ((0.6, "fp32"), (1.8, "bf16")):
        monkeypatch.setattr("harness.training.device.bf16_speedup", lambda speedup=speedup: speedup)
        chosen = replace(world, recipe={**RECIPE, "precision": precision}).fingerprint()
        assert automatic.fingerprint() == chosen
        assert (chosen == original[1]) == (precision == "fp32")


def test_the_parent_counts(world):
    world.edit("plugins/own.py", "other = Task(", OTHER_TASK)
    child = replace(world, entry={"tasks": ["first", "mood"]})
    alone = fingerprints(child)
    after = fingerprints(replace(child, entry={**child.entry, "init_from": {"mood": "first"}}))
    assert after["first"] == alone["first"] and after["mood"] != alone["mood"]
    changed = {**child.entry, "init_from": {"mood": "first"}, "overrides": {"tasks": {"first": {"epochs": 9}}}}
    other = fingerprints(replace(child, entry=changed))
    assert len({other["mood"], after["mood"], alone["mood"]}) == 3


OTHER_TASK = """first = Task(
    name="first", suite="own", problem_type="single_label_classification", text_fields=("text",),
    labels=LABELS, metrics=("accuracy",), test_splits=(),
    files={"train": SplitFile("train.tsv", FILE), "validation": SplitFile("dev.tsv", FILE)},
)
other = Task("""


def fingerprints(world: World) -> dict[str, str]:
    """By task."""
    entry = {"models": "m", "data": "data", "recipe": world.recipe, **world.entry}
    path = world.folder / "several.yaml"
    path.write_text(json.dumps({"plugins": "plugins", "models": {"m": world.model}, "benchmarks": {"b": entry}}))
    file = read_benchmarks(path)
    runs = expand(file, Resources(file.benchmark("b"), world.folder / "cache"), torch.device("cpu"))
    return {run.task.name: run.fingerprint for run in runs}


# What does not ---------------------------------------------------------------------------------------------------


def shuffled(value: Any, random: Any) -> Any:
    if isinstance(value, dict):
        keys = random.sample(list(value), len(value))
        return {key: shuffled(value[key], random) for key in keys}
    return value


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    random=st.randoms(use_true_random=False),
    flow=st.sampled_from([True, False, None]),
    rate=st.sampled_from(["0.001", "1e-3", "1.0e-3", "1E-3", "0.00100"]),
    said=st.dictionaries(
        st.sampled_from(["epochs", "warmup_ratio", "optimizer", "max_steps", "evaluations"]), st.just(0), max_size=3
    ),
    comment=st.booleans(),
    name=st.sampled_from(["benchmarks.yaml", "other name.yml"]),
)
def test_order_spelling_and_defaults_do_not_count(original, world, random, flow, rate, said, comment, name):
    defaults = {"epochs": 3, "warmup_ratio": 0.06, "optimizer": "adamw", "max_steps": None, "evaluations": 10}
    recipe = {**RECIPE, **{key: defaults[key] for key in said}}

    def dump(content: Any) -> str:
        text = yaml.safe_dump(shuffled(content, random), sort_keys=False, default_flow_style=flow)
        text = text.replace("learning_rate: 0.001", f"learning_rate: {rate}")
        return f"# a comment\n{text}\n# another" if comment else text

    assert replace(world, recipe=recipe).fingerprint(name, dump) == original[1]


def test_places_names_and_what_decides_no_score_do_not_count(original, world):
    folder = world.folder
    (folder / "far" / "away").mkdir(parents=True)
    for name in ("data", "model", "plugins"):
        (folder / name).rename(folder / "far" / "away" / name)
    entry = {"data": "far/away/data", "keep": "all", "checkpoint_every": 1, "references": True, "description": "x"}
    text = json.dumps({
        "plugins": str(folder / "far" / "away" / "plugins"),
        "models": {"another name": {"architecture": "bert", "checkpoint": "far/away/model"}},
        "benchmarks": {"c": {"tasks": ["other", "mood"], "models": "another name", "recipe": RECIPE, **entry}},
    }).replace("another name", "another-name")  # fmt: skip
    (folder / "b.yaml").write_text(text)
    file = read_benchmarks(folder / "b.yaml")
    (run,) = expand(file, Resources(file.benchmark("c"), folder / "cache"), torch.device("cpu"))
    assert run.fingerprint == original[1]


def test_a_comment_in_a_plugin_and_other_tasks_beside_do_not_count(original, world):
    world.edit("plugins/own.py", "SHORTEST = 3", "# how short\nSHORTEST = 3")
    world.edit("plugins/own.py", "other = Task(", OTHER_TASK.replace('name="first"', 'name="unused"'))
    assert replace(world, entry={"tasks": ["mood"]}).fingerprint() == original[1]


def test_the_same_weights_saved_anew_are_another_checkpoint_only_by_their_bytes(original, world):
    path = world.folder / "model" / "model.safetensors"
    save_file(load_file(path), path, {"format": "pt"})
    assert world.fingerprint() == original[1]
